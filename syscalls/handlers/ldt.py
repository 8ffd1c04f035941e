"""Local descriptor tables: modify_ldt(2) (arch/x86/kernel/ldt.c)."""

from __future__ import annotations

from lxemu.cpu.ldt import ENTRIES, ENTRY_SIZE, Ldt
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from syscalls.abi import In, Int, Ptr, ULong, UserDesc, syscall
from syscalls.abi.pointers import pointer
from syscalls.errno import ERRNO_OUT
from syscalls.handlers import tls

_READ, _WRITE_OLD, _READ_DEFAULT, _WRITE = 0, 1, 2, 0x11
_DEFAULT_SIZE = 128
_DESC_SIZE = 16
_CONTENTS_CONFORMING = 3 << 1
_NOT_PRESENT = 0x20
#: Every flag that an empty entry must and must not have (LDT_empty), with the 64-bit one.
_EMPTY, _EMPTY_MASK = 0x28, 0xFF
_AVAILABLE = 1 << 52


@syscall
def modify_ldt(lwp: Lwp, func: Int, ptr: Ptr, bytecount: ULong) -> int:
    """Read or write the local descriptor table (modify_ldt(2)): EFAULT, EINVAL, ENOMEM, ENOSYS.

    The result is an int, which is not sign-extended: a 64-bit program sees a large number.
    Deviation: the processor that we emulate does not compare addresses with a segment's limit.
    """
    try:
        return _modify(lwp, func, ptr, bytecount)
    except KernelError as error:
        return -ERRNO_OUT[error.errno] & 0xFFFFFFFF


def _modify(lwp: Lwp, func: int, ptr: int, count: int) -> int:
    if func == _READ:
        return _read(lwp, ptr, min(count, ENTRIES * ENTRY_SIZE))
    if func == _READ_DEFAULT:
        size = min(count, _DEFAULT_SIZE)
        lwp.as_.zero(ptr, size)
        return size
    if func in (_WRITE_OLD, _WRITE):
        if count != _DESC_SIZE:
            raise KernelError(Errno.EINVAL)
        area: In[UserDesc] = pointer(In, lwp, UserDesc, ptr)
        _write(lwp, area.get(), old=func == _WRITE_OLD)
        return 0
    raise KernelError(Errno.ENOSYS)


def _read(lwp: Lwp, ptr: int, count: int) -> int:
    ldt = lwp.as_.ldt
    if ldt is None:
        return 0
    lwp.as_.copyout(ptr, ldt.bytes()[:count].ljust(count, b"\0"))
    return count


def _write(lwp: Lwp, desc: UserDesc, *, old: bool) -> None:
    if desc.entry >= ENTRIES:
        raise KernelError(Errno.EINVAL)
    conforming = desc.flags & _CONTENTS_CONFORMING == _CONTENTS_CONFORMING
    if conforming and (old or not desc.flags & _NOT_PRESENT):
        raise KernelError(Errno.EINVAL)
    empty = not desc.base and not desc.limit
    if empty and (old or desc.flags & _EMPTY_MASK == _EMPTY):
        word = 0
    else:
        word = tls.encode(desc) | 1 << 40
        if old:
            word &= ~_AVAILABLE
    as_ = lwp.as_
    if as_.ldt is None:
        as_.ldt = Ldt(lwp.machine.engine.supervisor)
    as_.ldt.write(desc.entry, word)
    for proc in lwp.machine.procs.values():
        for user in proc.lwps:
            if user.as_ is as_:
                lwp.machine.engine.load_ldt(user.cpu, as_.ldt)
