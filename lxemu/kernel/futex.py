"""Sleep queues keyed by a word of user memory, under user-level locks (illumos lwp_sobj.c).

illumos keeps the waiters of user-level mutexes and condition variables (`lwp_mutex_lock`,
`lwp_cond_wait`, `lwp_futex`) in sleep queues found by the *memory* that the lock lives in, so that
two mappings of one page meet in one queue. Here the same: `As.futex_key` names the memory, the
queue is made on demand and dropped when the last waiter leaves. A queue is ordered by priority, and
by age among equals.

A priority-inheritance mutex (`upimutex_t`) has an owner that the kernel knows while somebody waits.
It is handed to the waiter that gets it, who owns it from that moment, asleep or not.

Nothing here touches user memory: a caller compares the user's word and calls `wait` without a sleep
between the two, which is what makes the pair atomic.
"""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING

from lxemu.kernel.cv import CondVar
from lxemu.kernel.errno import Errno, Interrupted, KernelError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from lxemu.kernel.lwp import Lwp

#: Wakes any waiter, whatever mask it waits with.
MATCH_ANY = 0xFFFFFFFF


class UPIMutex:
    """A mutex with a known owner, as long as it has waiters (illumos upimutex_t)."""

    __slots__ = ("owner", "waiters")

    def __init__(self, owner: Lwp) -> None:
        self.owner = owner
        self.waiters: list[UWaiter] = []


class UWaiter:
    """One sleeping lwp.

    `key` is the word it sleeps on, `bits` the mask that may wake it, `woken` whether it was. For a
    mutex with an owner, `addr` is the lock word in the waiter's own address space and `mutex` what
    it waits for; one that may only be moved to such a mutex has `target`, the key of the lock word.
    """

    __slots__ = ("addr", "bits", "cv", "key", "lwp", "mutex", "target", "woken")

    def __init__(self, lwp: Lwp, key: Hashable, bits: int = MATCH_ANY) -> None:
        self.lwp = lwp
        self.key = key
        self.bits = bits
        self.cv = CondVar()
        self.woken = False
        self.addr = 0
        self.mutex: UPIMutex | None = None
        self.target: Hashable = None

    @property
    def rank(self) -> int:
        """Place in a queue: real-time lwps by priority, all others after them."""
        return -self.lwp.sched_priority


def _rank(waiter: UWaiter) -> int:
    return waiter.rank


class UWaitQueues:
    """The queues of one machine, by priority and then first in first out for each word."""

    __slots__ = ("mutexes", "queues")

    def __init__(self) -> None:
        self.queues: dict[Hashable, list[UWaiter]] = {}
        #: Mutexes that somebody waits for, in the order in which they got their first waiter.
        self.mutexes: dict[UPIMutex, None] = {}

    # -- waiting --------------------------------------------------------------------------------

    def wait(
        self, lwp: Lwp, key: Hashable, deadline: int | None = None, bits: int = MATCH_ANY
    ) -> bool:
        """Have `lwp`, which runs, sleep on `key` until woken or `deadline` (hrtime ns).

        Return False when the deadline passed. Raises Interrupted when a signal came first; a wakeup
        that was given to this waiter is never lost to either.
        """
        waiter = UWaiter(lwp, key, bits)
        self.enter(waiter)
        return self.sleep(waiter, deadline)

    def enter(self, waiter: UWaiter) -> None:
        """Put a waiter on the queue of its key."""
        insort(self.queues.setdefault(waiter.key, []), waiter, key=_rank)

    def sleep(self, waiter: UWaiter, deadline: int | None) -> bool:
        """Sleep as an entered waiter and leave its queue; see `wait`."""
        try:
            while not waiter.woken:
                if not waiter.cv.wait_sig_until(deadline):
                    return waiter.woken
        except Interrupted:
            if waiter.woken:
                return True
            raise
        finally:
            self._leave(waiter)
        return True

    def wait_any(self, lwp: Lwp, keys: Iterable[Hashable], deadline: int | None) -> int | None:
        """Sleep on several words at once; return the index of one that was woken, or None.

        Of several that were, the last. None is the deadline. Raises Interrupted.
        """
        cv = CondVar()
        waiters = [UWaiter(lwp, key) for key in keys]
        for waiter in waiters:
            waiter.cv = cv
            self.enter(waiter)
        try:
            while not any(waiter.woken for waiter in waiters):
                if not cv.wait_sig_until(deadline):
                    break
        except Interrupted:
            if not any(waiter.woken for waiter in waiters):
                raise
        finally:
            for waiter in waiters:
                self._leave(waiter)
        return max((i for i, waiter in enumerate(waiters) if waiter.woken), default=None)

    # -- waking ---------------------------------------------------------------------------------

    def wake(self, key: Hashable, count: int, bits: int = MATCH_ANY) -> int:
        """Wake up to `count` waiters of `key` whose mask meets `bits`; return how many.

        EINVAL at a waiter that waits for a mutex with an owner; those before it stay woken.
        """
        woken = 0
        for waiter in tuple(self.queues.get(key, ())):
            if woken >= count:
                break
            if waiter.mutex is not None or waiter.target is not None:
                raise KernelError(Errno.EINVAL)
            if waiter.bits & bits:
                self.wake_one(waiter)
                woken += 1
        return woken

    def requeue(self, key: Hashable, wake: int, move: int, target: Hashable) -> int:
        """Wake up to `wake` waiters of `key` and put up to `move` others on `target`'s queue.

        Return how many were woken or moved. EINVAL as for `wake`.
        """
        done = 0
        for waiter in tuple(self.queues.get(key, ())):
            if done - wake >= move:
                break
            if waiter.mutex is not None or waiter.target is not None:
                raise KernelError(Errno.EINVAL)
            done += 1
            if done <= wake:
                self.wake_one(waiter)
            else:
                self.move(waiter, target)
        return done

    def move(self, waiter: UWaiter, target: Hashable) -> None:
        """Put a waiter on another queue; on its own it keeps its place."""
        if target != waiter.key:
            self._unqueue(waiter)
            waiter.key = target
            self.enter(waiter)

    def wake_one(self, waiter: UWaiter) -> None:
        """Wake one waiter."""
        self._leave(waiter)
        waiter.woken = True
        waiter.cv.signal()

    def waiters(self, key: Hashable) -> list[UWaiter]:
        """Return the waiters of `key`, the first to be woken first."""
        return list(self.queues.get(key, ()))

    def top(self, key: Hashable) -> UWaiter | None:
        """Return the first waiter of `key`, or None."""
        queue = self.queues.get(key)
        return queue[0] if queue else None

    # -- mutexes with an owner ------------------------------------------------------------------

    def block(self, waiter: UWaiter, mutex: UPIMutex) -> None:
        """Make a queued waiter one of `mutex`; EDEADLK if its owner waits for the waiter's lwp."""
        owner: Lwp | None = mutex.owner
        while owner is not None:
            if owner is waiter.lwp:
                raise KernelError(Errno.EDEADLK)
            owner = self._waits_for(owner)
        waiter.mutex = mutex
        insort(mutex.waiters, waiter, key=_rank)
        self.mutexes[mutex] = None

    def _waits_for(self, lwp: Lwp) -> Lwp | None:
        """Return the owner of the mutex that `lwp` waits for, or None."""
        for mutex in self.mutexes:
            if any(waiter.lwp is lwp for waiter in mutex.waiters):
                return mutex.owner
        return None

    @staticmethod
    def heir(mutex: UPIMutex) -> UWaiter:
        """Return the waiter that gets a mutex next."""
        return mutex.waiters[0]

    def pass_on(self, mutex: UPIMutex) -> UWaiter:
        """Give a mutex with waiters to the first of them, which is woken, and return it."""
        waiter = mutex.waiters[0]
        mutex.owner = waiter.lwp
        self.wake_one(waiter)
        return waiter

    def owned(self, lwp: Lwp) -> list[UPIMutex]:
        """Return the mutexes of `lwp` that others wait for."""
        return [mutex for mutex in self.mutexes if mutex.owner is lwp]

    # -- leaving --------------------------------------------------------------------------------

    def _leave(self, waiter: UWaiter) -> None:
        self._unqueue(waiter)
        mutex = waiter.mutex
        if mutex is not None and waiter in mutex.waiters:
            mutex.waiters.remove(waiter)
            if not mutex.waiters:
                del self.mutexes[mutex]

    def _unqueue(self, waiter: UWaiter) -> None:
        queue = self.queues.get(waiter.key)
        if queue is not None and waiter in queue:
            queue.remove(waiter)
            if not queue:
                del self.queues[waiter.key]
