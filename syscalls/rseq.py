"""Restartable sequences: user code that starts over when its thread has been disturbed (rseq(2)).

A thread registers a `struct rseq`. While its `rseq_cs` member points to a description of a critical
section, a thread that is pre-empted or takes a signal inside of it goes on at the section's abort
address. There is one processor, so its number and the concurrency id never change.

Source: Linux kernel/rseq.c.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from lxemu.kernel.errno import Errno, KernelError

if TYPE_CHECKING:
    from lxemu.kernel.lwp import Lwp

#: The size that the first kernels had, and the members that are used of it.
ORIG_SIZE: Final = 32
FEATURE_SIZE: Final = 28
ALIGN: Final = 32
_CS_AT: Final = 8
#: cpu_id_start, cpu_id, and (behind rseq_cs and flags) node_id, mm_cid.
_HEAD: Final = struct.Struct("<II")
_IDS: Final = struct.Struct("<II")
_IDS_AT: Final = 20
_FLAGS_AT: Final = 16
_UNINITIALISED: Final = 0xFFFFFFFF
#: struct rseq_cs: version, flags, start_ip, post_commit_offset, abort_ip.
_SECTION: Final = struct.Struct("<IIQQQ")


class Area(NamedTuple):
    """What a thread has registered."""

    addr: int
    length: int
    signature: int


def register(lwp: Lwp, area: Area) -> None:
    """Register an area: EINVAL for its size or alignment, EFAULT."""
    addr, length, _ = area
    align = ALIGN if length == ORIG_SIZE else 32
    if length < ORIG_SIZE or addr % align or (length != ORIG_SIZE and length < FEATURE_SIZE):
        raise KernelError(Errno.EINVAL)
    as_ = lwp.as_
    if addr + length > as_.task_size:
        raise KernelError(Errno.EFAULT)
    as_.store_u64(addr + _CS_AT, 0)
    as_.copyout(addr, _HEAD.pack(0, 0))
    as_.copyout(addr + _IDS_AT, _IDS.pack(0, 0))
    lwp.restartable = area


def unregister(lwp: Lwp) -> None:
    """End the registration: the area says that no processor is known. EFAULT."""
    area: Area = lwp.restartable
    lwp.as_.copyout(area.addr, _HEAD.pack(0, _UNINITIALISED))
    lwp.as_.copyout(area.addr + _IDS_AT, _IDS.pack(0, 0))
    lwp.restartable = None


def disturbed(lwp: Lwp) -> bool:
    """Send a thread that is in its critical section to the abort address.

    Return False when the description of the section is bad: the thread is to get SIGSEGV.
    """
    area: Area = lwp.restartable
    as_ = lwp.as_
    try:
        pointer = as_.load_u64(area.addr + _CS_AT)
        if not pointer:
            return True
        if pointer >= as_.task_size:
            return False
        version, flags, start, length, abort = _SECTION.unpack(as_.copyin(pointer, _SECTION.size))
        end = as_.task_size
        bad = start >= end or start + length >= end or abort >= end or version
        if bad or 0 <= abort - start < length or as_.load_u32(abort - 4) != area.signature:
            return False
        if 0 <= lwp.regs.pc - start < length:
            if flags or as_.load_u32(area.addr + _FLAGS_AT):
                return False  # flags that once asked not to restart
            lwp.regs.pc = abort
        as_.store_u64(area.addr + _CS_AT, 0)
    except KernelError:
        return False
    return True
