"""Futexes with a size and several at once: futex_waitv(2), futex_wait, futex_wake, futex_requeue.

Only words of 32 bits are there, as in Linux. An interrupted wait is made again, with its absolute
time (kernel/futex/syscalls.c).
"""

from __future__ import annotations

from collections.abc import Hashable

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.futex import UWaitQueues
from lxemu.kernel.lwp import Lwp
from syscalls.abi import (
    Clock,
    ClockId,
    FutexWaitv,
    HexInt,
    In,
    Int,
    Ptr,
    Timespec,
    UInt,
    ULong,
    syscall,
)
from syscalls.handlers.futex import wait
from syscalls.handlers.futex_call import LX_FUTEX_PRIVATE, Call, absolute_deadline, futex_key

LX_FUTEX2_SIZE_MASK = 3
LX_FUTEX2_SIZE_U32 = 2
LX_FUTEX_WAITV_MAX = 128
_U32 = 0xFFFFFFFF


def _check_flags(flags: int) -> None:
    """EINVAL for anything but a 32-bit word, private or not (futex_flags_valid)."""
    valid = not flags & ~(LX_FUTEX_PRIVATE | LX_FUTEX2_SIZE_MASK)
    if not valid or flags & LX_FUTEX2_SIZE_MASK != LX_FUTEX2_SIZE_U32:
        raise KernelError(Errno.EINVAL)


def _check_u32(*values: int) -> None:
    """EINVAL for a value that does not fit the word (futex_validate_input)."""
    if any(value > _U32 for value in values):
        raise KernelError(Errno.EINVAL)


def _deadline(lwp: Lwp, timeout: In[Timespec], clockid: int) -> int | None:
    """Return the hrtime of an absolute time: EINVAL, EFAULT (futex2_setup_timeout)."""
    if not timeout:
        return None
    if clockid not in (Clock.REALTIME, Clock.MONOTONIC):
        raise KernelError(Errno.EINVAL)
    return absolute_deadline(lwp, timeout.get(), realtime=clockid == Clock.REALTIME)


def _entries(waiters: In[FutexWaitv], count: int) -> list[FutexWaitv]:
    """Copy in and check futexes one by one: EFAULT, EINVAL (futex_parse_waitv)."""
    entries = []
    for index in range(count):
        entry = waiters.get_at(index)
        if entry.reserved:
            raise KernelError(Errno.EINVAL)
        _check_flags(entry.flags)
        _check_u32(entry.val)
        entries.append(entry)
    return entries


def _key(lwp: Lwp, entry: FutexWaitv) -> Hashable:
    return futex_key(lwp, entry.uaddr, shared=not entry.flags & LX_FUTEX_PRIVATE)


@syscall
def futex_wake(lwp: Lwp, uaddr: Ptr, mask: ULong, nr: Int, flags: HexInt) -> int:
    """Wake waiters of a word (futex2): EINVAL, EFAULT."""
    _check_flags(flags)
    _check_u32(mask)
    if not mask:
        raise KernelError(Errno.EINVAL)
    key = futex_key(lwp, uaddr, shared=not flags & LX_FUTEX_PRIVATE)
    queues: UWaitQueues = lwp.machine.uwait
    return queues.wake(key, max(1, nr), mask) if nr else 0


@syscall
def futex_wait(
    lwp: Lwp,
    uaddr: Ptr,
    val: ULong,
    mask: ULong,
    flags: HexInt,
    timeout: In[Timespec],
    clockid: ClockId,
) -> int:
    """Wait while a word has a value, with an absolute timeout (futex2).

    EAGAIN, ETIMEDOUT, EINVAL, EFAULT.
    """
    _check_flags(flags)
    _check_u32(val, mask)
    deadline = _deadline(lwp, timeout, clockid)
    shared = not flags & LX_FUTEX_PRIVATE
    return wait(Call(lwp, uaddr, val, deadline, 0, 0, mask, shared))


@syscall
def futex_requeue(
    lwp: Lwp, waiters: In[FutexWaitv], flags: HexInt, nr_wake: Int, nr_requeue: Int
) -> int:
    """Wake some waiters and move others to a second word (futex2): EAGAIN, EINVAL, EFAULT."""
    if flags or not waiters:
        raise KernelError(Errno.EINVAL)
    one, two = _entries(waiters, 2)
    if nr_wake < 0 or nr_requeue < 0:
        raise KernelError(Errno.EINVAL)
    key, target = _key(lwp, one), _key(lwp, two)
    if lwp.as_.load_u32(one.uaddr) != one.val:
        raise KernelError(Errno.EAGAIN)
    queues: UWaitQueues = lwp.machine.uwait
    return queues.requeue(key, nr_wake, nr_requeue, target)


@syscall
def futex_waitv(
    lwp: Lwp,
    waiters: In[FutexWaitv],
    nr_futexes: UInt,
    flags: HexInt,
    timeout: In[Timespec],
    clockid: ClockId,
) -> int:
    """Wait on several words; the index of one that was woken is the result (futex_waitv(2)).

    EAGAIN, ETIMEDOUT, EINVAL, EFAULT.
    """
    if flags or not 0 < nr_futexes <= LX_FUTEX_WAITV_MAX or not waiters:
        raise KernelError(Errno.EINVAL)
    deadline = _deadline(lwp, timeout, clockid)
    entries = _entries(waiters, nr_futexes)
    keys = [_key(lwp, entry) for entry in entries]
    for entry in entries:
        if lwp.as_.load_u32(entry.uaddr) != entry.val:
            raise KernelError(Errno.EAGAIN)
    queues: UWaitQueues = lwp.machine.uwait
    index = queues.wait_any(lwp, keys, deadline)
    if index is None:
        raise KernelError(Errno.ETIMEDOUT)
    return index
