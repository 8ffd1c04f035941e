"""Contexts of asynchronous I/O: requests that are under way, and the ends of those that are not.

A transfer is done when it is asked for; only a wait for readiness (`PollRequest`) is really under
way, until the object it waits for tells of it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from lxemu.kernel.cv import CondVar
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.poll import Pollhead, PollHook

if TYPE_CHECKING:
    from lxemu.kernel.eventfdfs import EventFd
    from lxemu.kernel.vfs.file import File
    from lxemu.kernel.zone import Zone


class Completion(NamedTuple):
    """The end of a request: the caller's word, the request's address, the result."""

    data: int
    obj: int
    result: int


class Request(NamedTuple):
    """What of a request is needed when it ends; `counter` is told of it."""

    data: int
    obj: int
    counter: EventFd | None = None


class PollRequest:
    """A wait for one of `events` of an open file; `translate` makes the result of what is ready."""

    __slots__ = ("context", "events", "file", "head", "hook", "request")

    def __init__(self, context: AioContext, request: Request, file: File, events: int) -> None:
        self.context = context
        self.request = request
        self.file = file.hold()
        self.events = events
        self.head: Pollhead | None = None
        self.hook = PollHook(self._woken)
        context.polls[self] = None
        self._woken(0)

    def _woken(self, _events: int) -> None:
        """Look at the file: end if it is ready, else wait for its next wakeup."""
        if self not in self.context.polls:
            return
        self._detach()
        ready, head = self.file.poll(self.events)
        if ready:
            self.end(ready)
        elif head is not None:
            head.add(self.hook, self.events)
            self.head = head

    def _detach(self) -> None:
        if self.head is not None:
            self.head.remove(self.hook)
            self.head = None

    def end(self, ready: int) -> None:
        """End with the events `ready`; 0 for one that is cancelled."""
        self.drop()
        self.context.complete(self.request, self.context.poll_result(ready))

    def drop(self) -> None:
        """Forget the request."""
        self._detach()
        self.context.polls.pop(self, None)
        self.file.rele()


class AioContext:
    """One context of an address space.

    `capacity` is how many requests may be under way or unreaped; `wanted` what was asked for,
    which counts against the limit of the zone.
    """

    def __init__(self, capacity: int, wanted: int) -> None:
        self.capacity = capacity
        self.wanted = wanted
        self.polls: dict[PollRequest, None] = {}
        self.done: deque[Completion] = deque()
        self.waiters = CondVar()
        self.dead = False

    def poll_result(self, ready: int) -> int:
        """Return the result of a wait; a brand has words of its own for the events."""
        return ready

    def check_room(self) -> None:
        """Check that one more request fits. Raises EAGAIN."""
        if len(self.polls) + len(self.done) >= self.capacity:
            raise KernelError(Errno.EAGAIN)

    def complete(self, request: Request, result: int) -> None:
        """Note the end of a request, and tell who waits."""
        self.done.append(Completion(request.data, request.obj, result))
        if request.counter is not None:
            request.counter.add(1)
        self.waiters.broadcast()

    def cancel(self, obj: int) -> bool:
        """End the wait whose request is at `obj`; False if there is none."""
        for poll in self.polls:
            if poll.request.obj == obj:
                poll.end(0)
                return True
        return False

    def reap(self, low: int, high: int, deadline: int | None) -> list[Completion]:
        """Take up to `high` ends, waiting until there are `low` or `deadline` (hrtime ns).

        A deadline of 0 only looks. Raises Interrupted if there is none when a signal comes, EINVAL
        when the context is destroyed meanwhile.
        """
        taken: list[Completion] = []
        while True:
            while self.done and len(taken) < high:
                taken.append(self.done.popleft())
            if len(taken) >= low or deadline == 0:
                return taken
            if self.dead:
                raise KernelError(Errno.EINVAL)
            try:
                if not self.waiters.wait_sig_until(deadline):
                    deadline = 0
            except KernelError:
                if taken:
                    return taken
                raise

    def destroy(self) -> None:
        """Drop what is under way, and let go of who waits."""
        self.dead = True
        for poll in tuple(self.polls):
            poll.drop()
        self.done.clear()
        self.waiters.broadcast()


def requests_made(zone: Zone) -> int:
    """Return for how many requests all contexts of the zone were made."""
    spaces = {proc.as_ for proc in zone.procs.values() if not proc.zombie}
    return sum(context.wanted for as_ in spaces for context in (as_.aio or {}).values())
