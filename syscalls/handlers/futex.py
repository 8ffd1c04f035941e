"""Futexes: futex(2), futex_waitv(2), the futex2 calls, get_robust_list(2) (futex(7)).

The sleep queues are the kernel's (lxemu/kernel/futex.py). The word is compared or changed and the
queue entered with no sleep between, and one host thread runs every lwp, so each operation is
atomic.
"""

from __future__ import annotations

from typing import NamedTuple

from lxemu.kernel.cred import hasprocperm
from lxemu.kernel.errno import Errno, Interrupted, KernelError
from lxemu.kernel.futex import MATCH_ANY, UWaitQueues
from lxemu.kernel.lwp import Lwp
from syscalls.abi import (
    Clock,
    ClockId,
    FutexOp,
    FutexWaitv,
    HexInt,
    In,
    Int,
    Out,
    Pid,
    Ptr,
    Size,
    Timespec,
    UInt,
    ULong,
    syscall,
)

LX_FUTEX_WAIT = 0
LX_FUTEX_WAKE = 1
LX_FUTEX_REQUEUE = 3
LX_FUTEX_CMP_REQUEUE = 4
LX_FUTEX_WAKE_OP = 5
LX_FUTEX_LOCK_PI = 6
LX_FUTEX_UNLOCK_PI = 7
LX_FUTEX_TRYLOCK_PI = 8
LX_FUTEX_WAIT_BITSET = 9
LX_FUTEX_WAKE_BITSET = 10
LX_FUTEX_LOCK_PI2 = 13
LX_FUTEX_PRIVATE = 0x80
LX_FUTEX_CLOCK_REALTIME = 0x100
LX_FUTEX_WAITERS = 0x80000000
LX_FUTEX_OWNER_DIED = 0x40000000
LX_FUTEX_TID_MASK = 0x3FFFFFFF
LX_FUTEX2_SIZE_U32 = 2
LX_FUTEX_WAITV_MAX = 128

_TIMED = (LX_FUTEX_WAIT, LX_FUTEX_WAIT_BITSET, LX_FUTEX_LOCK_PI, LX_FUTEX_LOCK_PI2)
_MAY_USE_REALTIME = (LX_FUTEX_WAIT_BITSET, LX_FUTEX_LOCK_PI2)


class Call(NamedTuple):
    """A futex call, decoded; `count2` is what the timeout argument is in calls that do not wait."""

    lwp: Lwp
    uaddr: int
    val: int
    deadline: int | None
    count2: int
    uaddr2: int
    val3: int
    shared: bool

    @property
    def queues(self) -> UWaitQueues:
        """The sleep queues of the machine."""
        queues: UWaitQueues = self.lwp.machine.uwait
        return queues

    def key(self, addr: int) -> object:
        """Return the queue of a word.

        EINVAL unless aligned, EFAULT if it is shared and not there.
        """
        return futex_key(self.lwp, addr, shared=self.shared)


def futex_key(lwp: Lwp, addr: int, *, shared: bool) -> object:
    """Return what names the memory of a futex word (get_futex_key): EINVAL, EFAULT."""
    if addr & 3:
        raise KernelError(Errno.EINVAL)
    if addr + 4 > lwp.as_.task_size:
        raise KernelError(Errno.EFAULT)
    return lwp.as_.futex_key(addr, shared)


def _signed(value: int, bits: int = 32) -> int:
    top = 1 << (bits - 1)
    return ((value & ((1 << bits) - 1)) ^ top) - top


def absolute_deadline(lwp: Lwp, when: Timespec, *, realtime: bool) -> int:
    """Return hrtime of an absolute time on the real-time or the monotonic clock; EINVAL."""
    clock = lwp.machine.clock
    at = when.ns()
    return at - clock.realtime() + clock.hrtime() if realtime else at


def _wait(call: Call) -> int:
    if not call.val3:
        raise KernelError(Errno.EINVAL)
    key = call.key(call.uaddr)
    if call.lwp.as_.load_u32(call.uaddr) != call.val:
        raise KernelError(Errno.EAGAIN)
    try:
        if not call.queues.wait(key, call.deadline, call.val3):
            raise KernelError(Errno.ETIMEDOUT)
    except Interrupted:
        if call.deadline is not None:
            # With a timeout the call is not made again after a handler (ERESTART_RESTARTBLOCK).
            raise KernelError(Errno.EINTR) from None
        raise
    return 0


def _wake(call: Call) -> int:
    if not call.val3:
        raise KernelError(Errno.EINVAL)
    return call.queues.wake(call.key(call.uaddr), max(1, _signed(call.val)), call.val3)


def _requeue(call: Call) -> int:
    return _do_requeue(call, compare=False)


def _cmp_requeue(call: Call) -> int:
    return _do_requeue(call, compare=True)


def _do_requeue(call: Call, *, compare: bool) -> int:
    wake, move = _signed(call.val), _signed(call.count2)
    if wake < 0 or move < 0:
        raise KernelError(Errno.EINVAL)
    key, target = call.key(call.uaddr), call.key(call.uaddr2)
    if compare and call.lwp.as_.load_u32(call.uaddr) != call.val3:
        raise KernelError(Errno.EAGAIN)
    woken, moved = call.queues.requeue(key, wake, move, target)
    return woken + moved


def _wake_op(call: Call) -> int:
    """Change the second word, wake at the first, and at the second if its old value compares."""
    key, key2 = call.key(call.uaddr), call.key(call.uaddr2)
    code = call.val3
    arg, cmparg = _signed(code >> 12, 12), _signed(code, 12)
    if code & 0x80000000:
        arg = 1 << (arg & 31)
    old = call.lwp.as_.load_u32(call.uaddr2)
    new = _operate(code >> 28 & 7, old, arg)
    call.lwp.as_.store_u32(call.uaddr2, new & 0xFFFFFFFF)
    also = _compare(code >> 24 & 15, _signed(old), cmparg)
    woken = call.queues.wake(key, max(1, _signed(call.val)))
    if also:
        woken += call.queues.wake(key2, max(1, _signed(call.count2)))
    return woken


def _operate(op: int, old: int, arg: int) -> int:
    if op == 0:
        return arg
    if op == 1:
        return old + arg
    if op == 2:
        return old | arg
    if op == 3:
        return old & ~arg
    if op == 4:
        return old ^ arg
    raise KernelError(Errno.ENOSYS)


def _compare(op: int, old: int, arg: int) -> bool:
    if op > 5:
        raise KernelError(Errno.ENOSYS)
    return (old == arg, old != arg, old < arg, old <= arg, old > arg, old >= arg)[op]


# -- locks whose word names the owner -----------------------------------------------------------
#
# All lwps have one priority here, so there is none to inherit; what is left of these calls is a
# lock that the kernel hands over and whose holder it can check.


def _try_lock(call: Call) -> bool:
    """Take the lock if nobody has it; EDEADLK if the caller has."""
    lwp = call.lwp
    word = lwp.as_.load_u32(call.uaddr)
    owner = word & LX_FUTEX_TID_MASK
    if owner == lwp.tid:
        raise KernelError(Errno.EDEADLK)
    if owner:
        return False
    waiters = LX_FUTEX_WAITERS if call.queues.waiters(call.key(call.uaddr)) else 0
    lwp.as_.store_u32(call.uaddr, lwp.tid | waiters | word & LX_FUTEX_OWNER_DIED)
    return True


def _lock_pi(call: Call) -> int:
    lwp, key = call.lwp, call.key(call.uaddr)
    while not _try_lock(call):
        word = lwp.as_.load_u32(call.uaddr)
        if word & LX_FUTEX_TID_MASK not in lwp.machine.lwp_by_tid:
            raise KernelError(Errno.ESRCH)
        lwp.as_.store_u32(call.uaddr, word | LX_FUTEX_WAITERS)
        if not call.queues.wait(key, call.deadline, MATCH_ANY, lwp.tid):
            raise KernelError(Errno.ETIMEDOUT)
        if lwp.as_.load_u32(call.uaddr) & LX_FUTEX_TID_MASK == lwp.tid:
            return 0
    return 0


def _trylock_pi(call: Call) -> int:
    if not _try_lock(call):
        raise KernelError(Errno.EAGAIN)
    return 0


def _unlock_pi(call: Call) -> int:
    lwp, key = call.lwp, call.key(call.uaddr)
    word = lwp.as_.load_u32(call.uaddr)
    if word & LX_FUTEX_TID_MASK != lwp.tid:
        raise KernelError(Errno.EPERM)
    waiting = call.queues.waiters(key)
    if not waiting:
        lwp.as_.store_u32(call.uaddr, 0)
        return 0
    more = LX_FUTEX_WAITERS if len(waiting) > 1 else 0
    lwp.as_.store_u32(call.uaddr, waiting[0].owner | more)
    call.queues.wake(key, 1)
    return 0


_OPERATIONS = {
    LX_FUTEX_WAIT: _wait,
    LX_FUTEX_WAKE: _wake,
    LX_FUTEX_REQUEUE: _requeue,
    LX_FUTEX_CMP_REQUEUE: _cmp_requeue,
    LX_FUTEX_WAKE_OP: _wake_op,
    LX_FUTEX_LOCK_PI: _lock_pi,
    LX_FUTEX_UNLOCK_PI: _unlock_pi,
    LX_FUTEX_TRYLOCK_PI: _trylock_pi,
    LX_FUTEX_WAIT_BITSET: _wait,
    LX_FUTEX_WAKE_BITSET: _wake,
    LX_FUTEX_LOCK_PI2: _lock_pi,
}


@syscall
def futex(
    lwp: Lwp, uaddr: Ptr, op: FutexOp, val: UInt, timeout: In[Timespec], uaddr2: Ptr, val3: HexInt
) -> int:
    """Wait on, wake at or pass on a word of memory (futex(2)).

    EAGAIN, ETIMEDOUT, EINTR, EINVAL, EFAULT, EDEADLK, EPERM, ESRCH; ENOSYS for FUTEX_FD and the two
    operations that requeue to a PI futex.
    """
    command = op & ~(LX_FUTEX_PRIVATE | LX_FUTEX_CLOCK_REALTIME)
    realtime = bool(op & LX_FUTEX_CLOCK_REALTIME)
    deadline = None
    if timeout and command in _TIMED:
        when = timeout.get()
        if command == LX_FUTEX_WAIT:
            deadline = when.ns() + lwp.machine.clock.hrtime()
        else:
            on_wall = realtime or command == LX_FUTEX_LOCK_PI
            deadline = absolute_deadline(lwp, when, realtime=on_wall)
    operation = _OPERATIONS.get(command)
    if operation is None or (realtime and command not in _MAY_USE_REALTIME):
        raise KernelError(Errno.ENOSYS)
    if command in (LX_FUTEX_WAIT, LX_FUTEX_WAKE):
        val3 = MATCH_ANY
    shared = not op & LX_FUTEX_PRIVATE
    count2 = timeout.addr & 0xFFFFFFFF
    return operation(Call(lwp, uaddr, val, deadline, count2, uaddr2, val3, shared))


# -- futex2 -------------------------------------------------------------------------------------


def _check_flags2(flags: int) -> None:
    """Only 32-bit words, private or not: EINVAL (futex_flags_valid)."""
    if flags & ~(LX_FUTEX_PRIVATE | 3) or flags & 3 != LX_FUTEX2_SIZE_U32:
        raise KernelError(Errno.EINVAL)


def _deadline2(lwp: Lwp, timeout: In[Timespec], clockid: int) -> int | None:
    if not timeout:
        return None
    if clockid not in (Clock.REALTIME, Clock.MONOTONIC):
        raise KernelError(Errno.EINVAL)
    return absolute_deadline(lwp, timeout.get(), realtime=clockid == Clock.REALTIME)


@syscall
def futex_wake(lwp: Lwp, uaddr: Ptr, mask: ULong, nr: Int, flags: HexInt) -> int:
    """Wake waiters of a word (futex2): EINVAL, EFAULT."""
    _check_flags2(flags)
    if mask > 0xFFFFFFFF or not mask:
        raise KernelError(Errno.EINVAL)
    key = futex_key(lwp, uaddr, shared=not flags & LX_FUTEX_PRIVATE)
    queues: UWaitQueues = lwp.machine.uwait
    return queues.wake(key, nr, mask) if nr > 0 else 0


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

    EAGAIN, ETIMEDOUT, EINVAL.
    """
    _check_flags2(flags)
    if val > 0xFFFFFFFF or mask > 0xFFFFFFFF:
        raise KernelError(Errno.EINVAL)
    deadline = _deadline2(lwp, timeout, clockid)
    shared = not flags & LX_FUTEX_PRIVATE
    return _wait(Call(lwp, uaddr, val, deadline, 0, 0, mask, shared))


@syscall
def futex_requeue(
    lwp: Lwp, waiters: In[FutexWaitv], flags: HexInt, nr_wake: Int, nr_requeue: Int
) -> int:
    """Wake some waiters and move others to a second word (futex2): EAGAIN, EINVAL, EFAULT."""
    if flags or not waiters or nr_wake < 0 or nr_requeue < 0:
        raise KernelError(Errno.EINVAL)
    one, two = waiters.get_array(2)
    for waiter in (one, two):
        _check_flags2(waiter.flags)
    key = futex_key(lwp, one.uaddr, shared=not one.flags & LX_FUTEX_PRIVATE)
    target = futex_key(lwp, two.uaddr, shared=not two.flags & LX_FUTEX_PRIVATE)
    if lwp.as_.load_u32(one.uaddr) != one.val:
        raise KernelError(Errno.EAGAIN)
    queues: UWaitQueues = lwp.machine.uwait
    return sum(queues.requeue(key, nr_wake, nr_requeue, target))


@syscall
def futex_waitv(
    lwp: Lwp,
    waiters: In[FutexWaitv],
    nr_futexes: UInt,
    flags: HexInt,
    timeout: In[Timespec],
    clockid: ClockId,
) -> int:
    """Wait on several words; the index of one that was woken is the result (futex_waitv(2))."""
    if flags or not 0 < nr_futexes <= LX_FUTEX_WAITV_MAX or not waiters:
        raise KernelError(Errno.EINVAL)
    deadline = _deadline2(lwp, timeout, clockid)
    entries = waiters.get_array(nr_futexes)
    keys = []
    for entry in entries:
        _check_flags2(entry.flags)
        keys.append(futex_key(lwp, entry.uaddr, shared=not entry.flags & LX_FUTEX_PRIVATE))
    for entry in entries:
        if lwp.as_.load_u32(entry.uaddr) != entry.val:
            raise KernelError(Errno.EAGAIN)
    queues: UWaitQueues = lwp.machine.uwait
    index = queues.wait_any(keys, deadline)
    if index is None:
        raise KernelError(Errno.ETIMEDOUT)
    return index


# -- robust lists -------------------------------------------------------------------------------


@syscall
def set_robust_list(lwp: Lwp, head: Ptr, length: Size) -> int:
    """Tell where the list of held robust futexes begins (set_robust_list(2)): EINVAL."""
    if length != 3 * lwp.brand.bits // 8:
        raise KernelError(Errno.EINVAL)
    lwp.robust_list = (head, length)
    return 0


@syscall
def get_robust_list(lwp: Lwp, pid: Pid, head_ptr: Out[ULong], len_ptr: Out[ULong]) -> int:
    """Read the robust list head of a thread (get_robust_list(2)): ESRCH, EPERM, EFAULT."""
    thread: Lwp | None = lwp if pid == 0 else lwp.machine.lwp_by_tid.get(pid)
    if thread is None:
        raise KernelError(Errno.ESRCH)
    if thread.proc is not lwp.proc and not hasprocperm(lwp.proc.cred, thread.proc.cred):
        raise KernelError(Errno.EPERM)
    head, _ = thread.robust_list
    len_ptr.put(3 * lwp.brand.bits // 8)
    head_ptr.put(head)
    return 0
