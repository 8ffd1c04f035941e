"""Poll events, and the pollheads through which an object wakes those who poll it (sys/poll.h).

A vnode's `poll` answers at once with the ready events and its pollhead. A poller that finds
nothing ready adds a `PollWaiter` to each pollhead, sleeps on it, and looks again: a wakeup says
"look", not what.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.cv import CondVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lxemu.kernel.sched import Dispatcher

POLLIN = 0x1
POLLPRI = 0x2
POLLOUT = 0x4
POLLERR = 0x8
POLLHUP = 0x10
POLLNVAL = 0x20
POLLRDNORM = 0x40
POLLWRNORM = POLLOUT
POLLRDBAND = 0x80
POLLWRBAND = 0x100
POLLRDHUP = 0x4000


class PollWaiter:
    """One sleeping poller: `notify` is called from a wakeup; by default it signals a CondVar."""

    __slots__ = ("cv", "fired")

    def __init__(self) -> None:
        self.cv = CondVar()
        self.fired = False

    def notify(self, _events: int) -> None:
        """Wake the poller."""
        self.fired = True
        self.cv.signal()


class PollHook(PollWaiter):
    """A standing waiter that calls a function at every wakeup (an event queue's interest)."""

    __slots__ = ("hook",)

    def __init__(self, hook: Callable[[int], None]) -> None:
        super().__init__()
        self.hook = hook

    def notify(self, events: int) -> None:
        """Call the hook with the events."""
        self.hook(events)


class Pollhead:
    """The pollers of one object."""

    __slots__ = ("waiters",)

    def __init__(self) -> None:
        self.waiters: list[PollWaiter] = []

    def add(self, waiter: PollWaiter) -> None:
        """Put `waiter` on the list."""
        self.waiters.append(waiter)

    def remove(self, waiter: PollWaiter) -> None:
        """Take `waiter` off the list; it is not an error if it is gone."""
        if waiter in self.waiters:
            self.waiters.remove(waiter)

    def wakeup(self, events: int) -> None:
        """Wake every poller (illumos pollwakeup)."""
        for waiter in tuple(self.waiters):
            waiter.notify(events)


class FdPollhead(Pollhead):
    """The pollhead of a host descriptor: while somebody waits, the dispatcher watches it."""

    __slots__ = ("disp", "fd", "watched")

    def __init__(self, disp: Dispatcher, fd: int) -> None:
        super().__init__()
        self.disp = disp
        self.fd = fd
        self.watched = False

    def add(self, waiter: PollWaiter) -> None:
        """Put `waiter` on the list and have the descriptor watched."""
        super().add(waiter)
        if not self.watched:
            self.watched = True
            self.disp.watch(self.fd, POLLIN | POLLPRI | POLLOUT, self._ready)

    def remove(self, waiter: PollWaiter) -> None:
        """Take `waiter` off; the last one ends the watch."""
        super().remove(waiter)
        if not self.waiters and self.watched:
            self.watched = False
            self.disp.unwatch(self.fd, self._ready)

    def watch_for(self, events: int) -> None:
        """Narrow the watch to `events`, so that an always writable descriptor does not spin."""
        if self.watched:
            self.disp.unwatch(self.fd, self._ready)
            self.disp.watch(self.fd, events, self._ready)

    def _ready(self, events: int) -> None:
        self.wakeup(events)


def poll_sleep(heads: Iterable[tuple[Pollhead, int]], deadline: int | None) -> bool:
    """Sleep until one of `heads` (with the events wanted of each) wakes us.

    Return False when `deadline` (hrtime ns) passed. Raises Interrupted.
    """
    waiter = PollWaiter()
    added: list[Pollhead] = []
    try:
        for head, events in heads:
            head.add(waiter)
            added.append(head)
            if isinstance(head, FdPollhead):
                head.watch_for(events)
        return waiter.cv.wait_sig_until(deadline)
    finally:
        for head in added:
            head.remove(waiter)
