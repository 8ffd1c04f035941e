"""Sleep queues keyed by a word of user memory, under user-level locks (illumos lwp_sobj.c).

illumos keeps the waiters of user-level mutexes and condition variables (`lwp_mutex_lock`,
`lwp_cond_wait`, `lwp_futex`) in sleep queues found by the *memory* that the lock lives in, so that
two mappings of one page meet in one queue. Here the same: `As.futex_key` names the memory, the
queue is made on demand and dropped when the last waiter leaves.

Nothing here touches user memory: a caller compares the user's word and calls `wait` without a sleep
between the two, which is what makes the pair atomic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.cv import CondVar
from lxemu.kernel.errno import Interrupted

if TYPE_CHECKING:
    from collections.abc import Hashable

#: Wakes any waiter, whatever mask it waits with.
MATCH_ANY = 0xFFFFFFFF


class UWaiter:
    """One sleeping lwp.

    The word it sleeps on, the mask that may wake it, and whether it was woken.
    """

    __slots__ = ("bits", "cv", "key", "owner", "woken")

    def __init__(self, key: Hashable, bits: int, owner: int) -> None:
        self.key = key
        self.bits = bits
        self.cv = CondVar()
        self.woken = False
        #: The tid of the waiter, for queues whose lock word names its owner.
        self.owner = owner


class UWaitQueues:
    """The queues of one machine, first in first out for each word."""

    __slots__ = ("queues",)

    def __init__(self) -> None:
        self.queues: dict[Hashable, list[UWaiter]] = {}

    def wait(
        self, key: Hashable, deadline: int | None = None, bits: int = MATCH_ANY, owner: int = 0
    ) -> bool:
        """Sleep on `key` until woken or `deadline` (hrtime ns).

        Return False when the deadline passed. Raises Interrupted when a signal came first; a wakeup
        that was given to this waiter is never lost to either.
        """
        waiter = UWaiter(key, bits, owner)
        self.queues.setdefault(key, []).append(waiter)
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

    def wait_any(self, keys: list[Hashable], deadline: int | None) -> int | None:
        """Sleep on several words at once; return the index of the one that was woken, or None.

        None is the deadline. Raises Interrupted.
        """
        cv = CondVar()
        waiters = [UWaiter(key, MATCH_ANY, 0) for key in keys]
        for waiter in waiters:
            waiter.cv = cv
            self.queues.setdefault(waiter.key, []).append(waiter)
        try:
            while True:
                for index, waiter in enumerate(waiters):
                    if waiter.woken:
                        return index
                if not cv.wait_sig_until(deadline):
                    return next((i for i, w in enumerate(waiters) if w.woken), None)
        except Interrupted:
            for index, waiter in enumerate(waiters):
                if waiter.woken:
                    return index
            raise
        finally:
            for waiter in waiters:
                self._leave(waiter)

    def wake(self, key: Hashable, count: int, bits: int = MATCH_ANY) -> int:
        """Wake up to `count` waiters of `key` whose mask meets `bits`; return how many."""
        queue = self.queues.get(key)
        if queue is None:
            return 0
        woken = 0
        for waiter in tuple(queue):
            if woken >= count:
                break
            if waiter.bits & bits:
                self._wake_one(waiter)
                woken += 1
        return woken

    def requeue(self, key: Hashable, wake: int, move: int, target: Hashable) -> tuple[int, int]:
        """Wake up to `wake` waiters of `key` and put up to `move` others on `target`'s queue.

        Return the numbers woken and moved.
        """
        woken = self.wake(key, wake)
        queue = self.queues.get(key)
        if queue is None:
            return woken, 0
        moving = queue[:move]
        if target != key:
            for waiter in moving:
                self._leave(waiter)
                waiter.key = target
                self.queues.setdefault(target, []).append(waiter)
        return woken, len(moving)

    def waiters(self, key: Hashable) -> list[UWaiter]:
        """Return the waiters of `key`, the oldest first."""
        return list(self.queues.get(key, ()))

    def _wake_one(self, waiter: UWaiter) -> None:
        self._leave(waiter)
        waiter.woken = True
        waiter.cv.signal()

    def _leave(self, waiter: UWaiter) -> None:
        queue = self.queues.get(waiter.key)
        if queue is not None and waiter in queue:
            queue.remove(waiter)
            if not queue:
                del self.queues[waiter.key]
