"""Futexes: futex(2) (futex(7)); the order of the checks is that of kernel/futex in Linux.

The sleep queues are the kernel's (lxemu/kernel/futex.py). The word is compared or changed and the
queue entered with no sleep between, and one host thread runs every lwp, so each operation is
atomic. The operations on locks that name their owner are in futex_pi.py.
"""

from __future__ import annotations

from lxemu.kernel.errno import Errno, Interrupted, KernelError
from lxemu.kernel.futex import MATCH_ANY
from lxemu.kernel.lwp import Lwp
from syscalls.abi import FutexOp, HexInt, In, Ptr, Timespec, UInt, syscall
from syscalls.handlers import futex_call as f
from syscalls.handlers import futex_pi as pi
from syscalls.handlers.futex_call import Call, absolute_deadline, signed

_MAY_USE_REALTIME = (f.LX_FUTEX_WAIT_BITSET, f.LX_FUTEX_WAIT_REQUEUE_PI, f.LX_FUTEX_LOCK_PI2)
_TIMED = (f.LX_FUTEX_WAIT, f.LX_FUTEX_LOCK_PI, *_MAY_USE_REALTIME)


def wait(call: Call) -> int:
    """Wait while the word has the value `val`: EAGAIN, ETIMEDOUT, EINVAL, EFAULT."""
    if not call.val3:
        raise KernelError(Errno.EINVAL)
    key = call.key(call.uaddr)
    if call.lwp.as_.load_u32(call.uaddr) != call.val:
        raise KernelError(Errno.EAGAIN)
    if not call.queues.wait(call.lwp, key, call.deadline, call.val3):
        raise KernelError(Errno.ETIMEDOUT)
    return 0


def _wait(call: Call) -> int:
    try:
        return wait(call)
    except Interrupted:
        if call.deadline is not None:
            # With a timeout the call is not made again after a handler (ERESTART_RESTARTBLOCK).
            raise KernelError(Errno.EINTR) from None
        raise


def _wake(call: Call) -> int:
    if not call.val3:
        raise KernelError(Errno.EINVAL)
    return call.queues.wake(call.key(call.uaddr), max(1, signed(call.val)), call.val3)


def _requeue(call: Call) -> int:
    return _do_requeue(call, compare=False)


def _cmp_requeue(call: Call) -> int:
    return _do_requeue(call, compare=True)


def _do_requeue(call: Call, *, compare: bool) -> int:
    wake, move = signed(call.val), signed(call.count2)
    if wake < 0 or move < 0:
        raise KernelError(Errno.EINVAL)
    key, target = call.key(call.uaddr), call.key(call.uaddr2)
    if compare and call.lwp.as_.load_u32(call.uaddr) != call.val3:
        raise KernelError(Errno.EAGAIN)
    return call.queues.requeue(key, wake, move, target)


def _wake_op(call: Call) -> int:
    """Change the second word, wake at the first, and at the second if its old value compares."""
    key, key2 = call.key(call.uaddr), call.key(call.uaddr2, write=True)
    code = call.val3
    arg, cmparg = signed(code >> 12, 12), signed(code, 12)
    if code & 0x80000000:
        arg = 1 << (arg & 31)
    old = call.lwp.as_.load_u32(call.uaddr2)
    new = _operate(code >> 28 & 7, old, arg)
    call.lwp.as_.store_u32(call.uaddr2, new & 0xFFFFFFFF)
    also = _compare(code >> 24 & 15, signed(old), cmparg)
    woken = call.queues.wake(key, max(1, signed(call.val)))
    if also:
        woken += call.queues.wake(key2, max(1, signed(call.count2)))
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


_OPERATIONS = {
    f.LX_FUTEX_WAIT: _wait,
    f.LX_FUTEX_WAKE: _wake,
    f.LX_FUTEX_REQUEUE: _requeue,
    f.LX_FUTEX_CMP_REQUEUE: _cmp_requeue,
    f.LX_FUTEX_WAKE_OP: _wake_op,
    f.LX_FUTEX_LOCK_PI: pi.lock_pi,
    f.LX_FUTEX_UNLOCK_PI: pi.unlock_pi,
    f.LX_FUTEX_TRYLOCK_PI: pi.trylock_pi,
    f.LX_FUTEX_WAIT_BITSET: _wait,
    f.LX_FUTEX_WAKE_BITSET: _wake,
    f.LX_FUTEX_WAIT_REQUEUE_PI: pi.wait_requeue_pi,
    f.LX_FUTEX_CMP_REQUEUE_PI: pi.cmp_requeue_pi,
    f.LX_FUTEX_LOCK_PI2: pi.lock_pi,
}
_ANY_WAITER = (f.LX_FUTEX_WAIT, f.LX_FUTEX_WAKE, f.LX_FUTEX_WAIT_REQUEUE_PI)


@syscall
def futex(
    lwp: Lwp, uaddr: Ptr, op: FutexOp, val: UInt, timeout: In[Timespec], uaddr2: Ptr, val3: HexInt
) -> int:
    """Wait on, wake at or pass on a word of memory (futex(2)).

    EAGAIN, ETIMEDOUT, EINTR, EINVAL, EFAULT, EDEADLK, EPERM, ESRCH; ENOSYS for FUTEX_FD and what is
    not known.
    """
    command = op & ~(f.LX_FUTEX_PRIVATE | f.LX_FUTEX_CLOCK_REALTIME)
    realtime = bool(op & f.LX_FUTEX_CLOCK_REALTIME)
    deadline = None
    if timeout and command in _TIMED:
        when = timeout.get()
        if command == f.LX_FUTEX_WAIT:
            deadline = when.ns() + lwp.machine.clock.hrtime() - lwp.call_spent()
        else:
            on_wall = realtime or command == f.LX_FUTEX_LOCK_PI
            deadline = absolute_deadline(lwp, when, realtime=on_wall)
    operation = _OPERATIONS.get(command)
    if operation is None or (realtime and command not in _MAY_USE_REALTIME):
        raise KernelError(Errno.ENOSYS)
    if command in _ANY_WAITER:
        val3 = MATCH_ANY
    shared = not op & f.LX_FUTEX_PRIVATE
    count2 = timeout.addr & 0xFFFFFFFF
    return operation(Call(lwp, uaddr, val, deadline, count2, uaddr2, val3, shared))
