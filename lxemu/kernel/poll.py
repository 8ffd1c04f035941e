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

_HOST_EVENTS = POLLIN | POLLPRI | POLLOUT


class PollWaiter:
    """One sleeping poller: `notify` is called from a wakeup; by default it signals a CondVar.

    Of the `exclusive` ones a wakeup tells only as many as it takes until one is served.
    """

    __slots__ = ("cv",)

    #: Whether this one passes news on as signals, and is told of what no poller would wake for.
    signals = False

    def __init__(self) -> None:
        self.cv = CondVar()

    @property
    def exclusive(self) -> bool:
        """Whether one of several such waiters is enough."""
        return False

    def notify(self, _events: int) -> bool:
        """Wake the poller; return whether there is one."""
        self.cv.signal()
        return True


class ExclusiveWaiter(PollWaiter):
    """A sleeping poller of whom one is enough."""

    __slots__ = ()

    @property
    def exclusive(self) -> bool:
        """Whether one of several such waiters is enough: it is."""
        return True


class PollHook(PollWaiter):
    """A standing waiter that calls a function at every wakeup (an event queue's interest)."""

    __slots__ = ("hook",)

    def __init__(self, hook: Callable[[int], object]) -> None:
        super().__init__()
        self.hook = hook

    def notify(self, events: int) -> bool:
        """Call the hook with the events; return whether it says that it has served somebody."""
        return bool(self.hook(events))


class Pollhead:
    """The pollers of one object."""

    __slots__ = ("waiters",)

    def __init__(self) -> None:
        self.waiters: list[PollWaiter] = []

    def add(self, waiter: PollWaiter, events: int = 0) -> None:  # noqa: ARG002
        """Put `waiter` on the list; `events`, what it wants, matter to a host descriptor."""
        self.waiters.append(waiter)

    def remove(self, waiter: PollWaiter) -> None:
        """Take `waiter` off the list; it is not an error if it is gone."""
        if waiter in self.waiters:
            self.waiters.remove(waiter)

    def wakeup(self, events: int) -> None:
        """Wake every poller, of the exclusive ones one (illumos pollwakeup)."""
        served = False
        for waiter in tuple(self.waiters):
            if not waiter.exclusive:
                waiter.notify(events)
            elif not served:
                served = waiter.notify(events)

    def tell(self, events: int) -> None:
        """Notify only those who signal: there is news, yet no change that a poller waits for."""
        for waiter in tuple(self.waiters):
            if waiter.signals:
                waiter.notify(events)


class FdPollhead(Pollhead):
    """The pollhead of a host descriptor: while somebody waits, the dispatcher watches it for them.

    The host tells levels, not edges. `edges` counts how often a transfer has found the descriptor
    empty or full (`drained`): what is ready after that is news to those who want edges. `rearm` is
    called then, once: one-shot watchers come back.
    """

    __slots__ = ("disp", "edges", "fd", "rearm")

    def __init__(self, disp: Dispatcher, fd: int) -> None:
        super().__init__()
        self.disp = disp
        self.fd = fd
        self.edges = 0
        self.rearm: list[Callable[[], None]] = []

    def add(self, waiter: PollWaiter, events: int = _HOST_EVENTS) -> None:
        """Put `waiter` on the list and have the descriptor watched for `events`."""
        super().add(waiter)
        self.disp.watch(self.fd, events, waiter.notify)

    def remove(self, waiter: PollWaiter) -> None:
        """Take `waiter` off and end its watch."""
        super().remove(waiter)
        self.disp.unwatch(self.fd, waiter.notify)

    def drained(self) -> None:
        """Note that a transfer moved less than it was asked for."""
        self.edges += 1
        if self.rearm:
            again, self.rearm = self.rearm, []
            for func in again:
                func()


def poll_sleep(
    heads: Iterable[tuple[Pollhead, int]],
    deadline: int | None,
    kind: type[PollWaiter] = PollWaiter,
) -> bool:
    """Sleep until one of `heads` (with the events wanted of each) wakes us.

    Return False when `deadline` (hrtime ns) passed. Raises Interrupted.
    """
    waiter = kind()
    added: list[Pollhead] = []
    try:
        for head, events in heads:
            head.add(waiter, events)
            added.append(head)
        return waiter.cv.wait_sig_until(deadline)
    finally:
        for head in added:
            head.remove(waiter)
