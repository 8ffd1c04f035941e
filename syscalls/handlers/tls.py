"""Thread pointers and segments: the work under arch_prctl(2), set_thread_area(2) and CLONE_SETTLS.

x86_64 threads have a base address for FS. i386 threads have three entries of the descriptor table,
12 to 14, described by `struct user_desc` (arch/x86/kernel/tls.c).
"""

from __future__ import annotations

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from syscalls.abi import UserDesc
from syscalls.abi.model import ILP32
from syscalls.abi.registry import default_codec

FIRST_ENTRY, ENTRIES = 12, 3
_ANY_ENTRY = 0xFFFFFFFF
#: First address past user space; a thread pointer must lie below.
_TASK_SIZE_MAX = 0x7FFFFFFFF000

# Bits of user_desc.flags.
_SEG_32BIT = 0x1
_CONTENTS = 0x6
_READ_EXEC_ONLY = 0x8
_LIMIT_IN_PAGES = 0x10
_NOT_PRESENT = 0x20
_USEABLE = 0x40
_EMPTY_FLAGS = _READ_EXEC_ONLY | _NOT_PRESENT


def is_empty(desc: UserDesc) -> bool:
    """Return whether a description clears its entry (LDT_empty, or all zeros)."""
    return not desc.base and not desc.limit and desc.flags & 0x7F in (0, _EMPTY_FLAGS)


def descriptor(desc: UserDesc) -> int:
    """Return the 8 bytes of a segment descriptor; 0 for an empty entry."""
    return 0 if is_empty(desc) else encode(desc)


def encode(desc: UserDesc) -> int:
    """Return the 8 bytes that a description stands for (fill_ldt)."""
    flags = desc.flags
    word = 0x71 << 40 | (flags & _CONTENTS) << 41
    if not flags & _READ_EXEC_ONLY:
        word |= 1 << 41
    if not flags & _NOT_PRESENT:
        word |= 1 << 47
    if flags & _USEABLE:
        word |= 1 << 52
    if flags & _SEG_32BIT:
        word |= 1 << 54
    if flags & _LIMIT_IN_PAGES:
        word |= 1 << 55
    base, limit = desc.base, desc.limit
    return (
        word
        | limit & 0xFFFF
        | (base & 0xFFFFFF) << 16
        | (limit & 0xF0000) << 32
        | (base & 0xFF000000) << 32
    )


def describe(entry: int, word: int) -> UserDesc:
    """Return the description of a descriptor (fill_user_desc)."""
    if not word:
        return UserDesc(entry, 0, 0, _EMPTY_FLAGS)
    access, high = word >> 40 & 0xFF, word >> 52 & 0xF
    flags = (
        (_SEG_32BIT if high & 4 else 0)
        | (access >> 2 & 3) << 1
        | (0 if access & 2 else _READ_EXEC_ONLY)
        | (_LIMIT_IN_PAGES if high & 8 else 0)
        | (0 if access & 0x80 else _NOT_PRESENT)
        | (_USEABLE if high & 1 else 0)
    )
    limit = word & 0xFFFF | (word >> 48 & 0xF) << 16
    return UserDesc(entry, word >> 16 & 0xFFFFFF | word >> 32 & 0xFF000000, limit, flags)


def check(desc: UserDesc) -> None:
    """EINVAL for what is no 32-bit data segment (tls_desc_okay)."""
    if is_empty(desc):
        return
    flags = desc.flags
    if not flags & _SEG_32BIT or flags & _CONTENTS > 2 or flags & _NOT_PRESENT:
        raise KernelError(Errno.EINVAL)


def slot_of(entry: int) -> int:
    """Return the slot of a descriptor table entry; EINVAL outside 12 to 14."""
    if not FIRST_ENTRY <= entry < FIRST_ENTRY + ENTRIES:
        raise KernelError(Errno.EINVAL)
    return entry - FIRST_ENTRY


def free_entry(lwp: Lwp, desc: UserDesc) -> UserDesc:
    """Choose an entry for a description that asks for any; ESRCH when all are taken."""
    if desc.entry != _ANY_ENTRY:
        return desc
    for slot in range(ENTRIES):
        if not lwp.cpu.tls[slot]:
            return desc._replace(entry=FIRST_ENTRY + slot)
    raise KernelError(Errno.ESRCH)


def set_entry(lwp: Lwp, desc: UserDesc) -> None:
    """Set one entry of a thread; segment registers that use it are loaded anew."""
    slot = slot_of(desc.entry)
    lwp.cpu.set_tls(slot, descriptor(desc))
    lwp.cpu.reload_segments(desc.entry << 3 | 3)


def check_child_tls(lwp: Lwp, tls: int) -> UserDesc | None:
    """Check the TLS argument of clone before anything is made: EPERM, EFAULT, EINVAL."""
    if lwp.brand.bits == 64:
        if tls >= _TASK_SIZE_MAX:
            raise KernelError(Errno.EPERM)
        return None
    codec = default_codec(UserDesc, ILP32)
    desc: UserDesc = codec.unpack(lwp.as_.copyin(tls, codec.size))
    check(desc)
    slot_of(desc.entry)
    return desc


def set_child_tls(new: Lwp, tls: int, desc: UserDesc | None) -> None:
    """Give a new thread its thread pointer, checked by `check_child_tls`."""
    if desc is None:
        new.cpu.fs_base = tls
    else:
        set_entry(new, desc)


def set_base(lwp: Lwp, register: str, base: int) -> None:
    """Set the base of FS or GS; EPERM beyond user space (do_arch_prctl_64)."""
    if base >= _TASK_SIZE_MAX:
        raise KernelError(Errno.EPERM)
    setattr(lwp.cpu, register, 0)
    setattr(lwp.cpu, register + "_base", base)
