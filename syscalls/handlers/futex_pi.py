"""Futexes whose word names the owner of a lock (futex(2), "Priority-inheritance futexes").

The word holds the owner's thread id, and a bit that tells the owner to ask the kernel when it lets
go. The kernel's `UPIMutex` knows the owner as long as somebody waits, and hands the lock to the
waiter that gets it; the word is changed in the same moment. There is no priority to inherit, as the
dispatcher has one run queue; waiters of real-time policies do come first. The order of the checks
is that of kernel/futex/pi.c and requeue.c in Linux.
"""

from __future__ import annotations

from lxemu.kernel.errno import Again, Errno, Interrupted, KernelError
from lxemu.kernel.futex import UPIMutex, UWaiter
from lxemu.kernel.lwp import Lwp
from syscalls.handlers.futex_call import (
    LX_FUTEX_OWNER_DIED,
    LX_FUTEX_TID_MASK,
    LX_FUTEX_WAITERS,
    Call,
    signed,
)


def _acquire(
    call: Call, addr: int, lwp: Lwp, top: UWaiter | None, *, waiters: bool = False
) -> UPIMutex | None:
    """Take the lock at `addr` for `lwp`: None; or return the mutex to wait for.

    `top` is the first waiter of the word; `waiters` sets the bit that announces some. EDEADLK,
    ESRCH without the owner, EINVAL where word and kernel disagree (futex_lock_pi_atomic).
    """
    as_ = call.lwp.as_
    word = as_.load_u32(addr)
    owner = word & LX_FUTEX_TID_MASK
    if owner == lwp.vtid:
        raise KernelError(Errno.EDEADLK)
    if top is not None:
        return _attach(top, owner)
    if not owner:
        bit = LX_FUTEX_WAITERS if waiters else 0
        as_.store_u32(addr, lwp.vtid | word & LX_FUTEX_OWNER_DIED | bit)
        return None
    as_.store_u32(addr, word | LX_FUTEX_WAITERS)
    space = lwp.proc.pidspace
    holder = lwp.machine.lwp_by_tid.get(owner if space is None else space.zone(owner))
    if holder is None:
        raise KernelError(Errno.ESRCH)
    return UPIMutex(holder)


def _attach(top: UWaiter, owner: int) -> UPIMutex:
    """Return what the first waiter waits for; EINVAL unless the word names its owner."""
    mutex = top.mutex
    if mutex is None or mutex.owner.vtid != owner:
        raise KernelError(Errno.EINVAL)
    return mutex


def lock_pi(call: Call) -> int:
    """Take the lock, waiting for it: EDEADLK, ESRCH, ETIMEDOUT, EINVAL, EFAULT."""
    lwp, queues, key = call.lwp, call.queues, call.key(call.uaddr, write=True)
    mutex = _acquire(call, call.uaddr, lwp, queues.top(key))
    if mutex is None:
        return 0
    waiter = UWaiter(lwp, key)
    waiter.addr = call.uaddr
    queues.block(waiter, mutex)
    queues.enter(waiter)
    try:
        if not queues.sleep(waiter, call.deadline):
            raise KernelError(Errno.ETIMEDOUT)
    except Interrupted:
        raise Again from None
    return 0


def trylock_pi(call: Call) -> int:
    """Take the lock if it is free, else EAGAIN; the owner is told of a waiter all the same."""
    key = call.key(call.uaddr, write=True)
    if _acquire(call, call.uaddr, call.lwp, call.queues.top(key)) is not None:
        raise KernelError(Errno.EAGAIN)
    return 0


def unlock_pi(call: Call) -> int:
    """Let go of the lock, which goes to the first waiter: EPERM unless the caller holds it."""
    lwp, as_ = call.lwp, call.lwp.as_
    if as_.load_u32(call.uaddr) & LX_FUTEX_TID_MASK != lwp.vtid:
        raise KernelError(Errno.EPERM)
    top = call.queues.top(call.key(call.uaddr, write=True))
    if top is None:
        as_.store_u32(call.uaddr, 0)
        return 0
    if top.mutex is None or top.mutex.owner is not lwp:
        raise KernelError(Errno.EINVAL)
    heir = call.queues.heir(top.mutex)
    as_.store_u32(call.uaddr, LX_FUTEX_WAITERS | heir.lwp.vtid)
    call.queues.pass_on(top.mutex)
    return 0


def owner_died(lwp: Lwp) -> None:
    """Hand on the locks of an ending lwp that others wait for (exit_pi_state_list)."""
    for mutex in lwp.machine.uwait.owned(lwp):
        heir = lwp.machine.uwait.pass_on(mutex)
        word = heir.lwp.vtid | LX_FUTEX_WAITERS | LX_FUTEX_OWNER_DIED
        try:
            heir.lwp.as_.store_u32(heir.addr, word)
        except KernelError:
            continue  # The waiter took its memory away; the lock is its own all the same.


def wait_requeue_pi(call: Call) -> int:
    """Wait at one word to be moved to the lock at another, and for that lock.

    EAGAIN also when a signal comes after the move. EINVAL, EFAULT, ETIMEDOUT, EDEADLK.
    """
    if call.uaddr == call.uaddr2 or not call.val3:
        raise KernelError(Errno.EINVAL)
    queues, target = call.queues, call.key(call.uaddr2, write=True)
    key = call.key(call.uaddr)
    if call.lwp.as_.load_u32(call.uaddr) != call.val:
        raise KernelError(Errno.EAGAIN)
    if key == target:
        raise KernelError(Errno.EINVAL)
    waiter = UWaiter(call.lwp, key, call.val3)
    waiter.target, waiter.addr = target, call.uaddr2
    queues.enter(waiter)
    try:
        if not queues.sleep(waiter, call.deadline):
            raise KernelError(Errno.ETIMEDOUT)
    except Interrupted:
        if waiter.mutex is not None:
            raise KernelError(Errno.EAGAIN) from None
        raise Again from None
    return 0


def cmp_requeue_pi(call: Call) -> int:
    """Give the first waiter the lock at the second word, if it is free, and move others to it.

    EAGAIN when the word has changed, EINVAL for waiters that wait for something else.
    """
    wake, move = signed(call.val), signed(call.count2)
    if wake != 1 or move < 0 or call.uaddr == call.uaddr2:
        raise KernelError(Errno.EINVAL)
    key, target = call.key(call.uaddr), call.key(call.uaddr2, write=True)
    if key == target:
        raise KernelError(Errno.EINVAL)
    if call.lwp.as_.load_u32(call.uaddr) != call.val3:
        raise KernelError(Errno.EAGAIN)
    waiters = call.queues.waiters(key)
    if not waiters:
        call.lwp.as_.load_u32(call.uaddr2)
        return 0
    first = waiters[0]
    _check_moves(first, target)
    top = call.queues.top(target)
    mutex = _acquire(call, call.uaddr2, first.lwp, top, waiters=move > 0)
    done = 0
    if mutex is None:
        call.queues.wake_one(first)
        done = 1
        mutex = UPIMutex(first.lwp)
        del waiters[0]
    for waiter in waiters[: move + 1 - done]:
        _check_moves(waiter, target)
        call.queues.block(waiter, mutex)
        call.queues.move(waiter, target)
        done += 1
    return done


def _check_moves(waiter: UWaiter, target: object) -> None:
    """EINVAL unless the waiter waits to be moved, and to this word."""
    if waiter.target is None or waiter.mutex is not None or waiter.target != target:
        raise KernelError(Errno.EINVAL)
