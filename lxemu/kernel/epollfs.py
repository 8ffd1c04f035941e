"""Event queues: /dev/poll in its epoll mode (illumos poll(4D), sys/devpoll.h, sys/epoll.h).

A queue holds interests: a descriptor, the open file behind it, the events wanted and a datum. Each
interest hangs a standing hook on the pollhead of its file; a wakeup puts it on the ready list. Who
waits takes from the ready list and asks the file again, so the list may hold too much but never too
little.

The interest belongs to the open file: it ends when the last descriptor of that file is closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.anonfs import AnonVnode
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.poll import (
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLRDNORM,
    ExclusiveWaiter,
    FdPollhead,
    Pollhead,
    PollHook,
    poll_sleep,
)
from lxemu.kernel.vfs.fcntl import FREAD, FWRITE

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxemu.kernel.vfs.file import File
    from lxemu.kernel.vfs.vnode import Vfs

# Behaviour of an interest, beside the POLL* bits (sys/epoll.h has them too).
POLLEXCLUSIVE = 1 << 28
POLLWAKEUP = 1 << 29
POLLONESHOT = 1 << 30
POLLET = 1 << 31

_BEHAVIOUR = POLLONESHOT | POLLET | POLLWAKEUP | POLLEXCLUSIVE
_ALWAYS = POLLERR | POLLHUP
#: What a host descriptor's edges are not kept of.
_LEVEL = POLLIN | POLLRDNORM | POLLERR | POLLHUP
#: Queues may watch queues, this deep.
MAX_NESTING = 5


class _InterestHook(PollHook):
    """The standing waiter of an interest, which knows whose it is."""

    __slots__ = ("owner",)

    def __init__(self, owner: Interest) -> None:
        super().__init__(owner.wakeup)
        self.owner = owner

    @property
    def exclusive(self) -> bool:
        """Whether the interest asked for one queue being woken only."""
        return bool(self.owner.flags & POLLEXCLUSIVE)


class Interest:
    """One watched descriptor.

    On the pollhead of a kernel object the hook stays. A host descriptor is watched by level, so
    there the hook is good for one wakeup, and is hung again when the descriptor is found not ready;
    `seen` holds what an edge-triggered interest has already reported of it, and is void once a
    transfer has emptied or filled it. Input is reported by level even so: new input may come
    between two looks, and an edge too many is only a read that finds nothing.
    """

    __slots__ = (
        "armed",
        "data",
        "edges",
        "events",
        "fd",
        "file",
        "flags",
        "head",
        "hook",
        "queue",
        "seen",
        "wakes",
    )

    def __init__(self, queue: EventQueue, fd: int, file: File, events: int, data: int) -> None:
        self.queue = queue
        self.fd = fd
        self.file = file
        self.hook = _InterestHook(self)
        self.head: Pollhead | None = None
        self.edges = 0
        self.set(events, data)

    def set(self, events: int, data: int) -> None:
        """Change what is wanted, and arm the interest again."""
        self.events = events & ~_BEHAVIOUR | _ALWAYS
        # The two ends of a pipe have one pollhead: what wakes one end is no news to the other.
        self.wakes = self.events
        if not self.file.flags & FREAD:
            self.wakes &= ~(POLLIN | POLLRDNORM)
        if not self.file.flags & FWRITE:
            self.wakes &= ~POLLOUT
        self.flags = events & _BEHAVIOUR
        self.data = data
        self.armed = True
        self.seen = 0

    def poll(self) -> int:
        """Ask the file for the events wanted, and see that a change will wake us."""
        if not self.armed:
            return 0
        ready, head = self.file.vnode.poll(self.file, self.events)
        ready &= self.events
        if isinstance(head, FdPollhead):
            ready = self._poll_host(ready, head)
        elif head is not self.head:
            self.detach()
            if head is not None:
                head.add(self.hook)
                self.head = head
        return ready

    def peek(self) -> int:
        """Poll without taking note of what is ready."""
        ready = self.poll()
        self.seen &= ~ready
        return ready

    def _poll_host(self, ready: int, head: FdPollhead) -> int:
        self.queue.hosted[self] = None
        self.seen = self.seen & ready if head.edges == self.edges else 0
        self.edges = head.edges
        ready &= ~self.seen
        self.detach()
        if not ready:
            head.add(self.hook, self.events & ~self.seen)
            self.head = head
        elif self.flags & POLLET:
            self.seen |= ready & ~_LEVEL
        return ready

    def detach(self) -> None:
        """Take the hook off."""
        if self.head is not None:
            self.head.remove(self.hook)
            self.head = None

    def gone(self) -> bool:
        """Return whether the open file has been closed for good."""
        return self.file.refcnt <= 0

    def wakeup(self, events: int) -> bool:
        """Mark the interest ready; called by whoever wakes the pollhead.

        Return whether somebody waits for it.
        """
        if isinstance(self.head, FdPollhead):
            self.detach()
        if not self.armed or (events and not events & self.wakes):
            return False
        waited_for = bool(self.queue.pollhead.waiters)
        self.queue.activate(self)
        return waited_for


class EventQueue(AnonVnode):
    """A set of interests and the list of those that may be ready."""

    __slots__ = ("hosted", "interests", "pollhead", "ready")

    label = b"anon_inode:[eventpoll]"

    def __init__(self, vfs: Vfs) -> None:
        super().__init__(vfs)
        self.interests: dict[tuple[int, File], Interest] = {}
        self.ready: dict[Interest, None] = {}
        #: Those that watch descriptors of the host.
        self.hosted: dict[Interest, None] = {}
        self.pollhead = Pollhead()

    # -- changing -------------------------------------------------------------------------------

    def watch(self, fd: int, file: File, events: int, data: int) -> None:
        """Watch `fd`. Raises EEXIST; EINVAL for itself; ELOOP for a circle or too deep a nest."""
        target = file.vnode
        if target is self:
            raise KernelError(Errno.EINVAL)
        if (fd, file) in self.interests:
            raise KernelError(Errno.EEXIST)
        if isinstance(target, EventQueue) and (
            target.watches(self) or self._height() + target._depth() > MAX_NESTING
        ):
            raise KernelError(Errno.ELOOP)
        interest = self.interests[fd, file] = Interest(self, fd, file, events, data)
        if interest.poll():
            self._ready_again(interest)

    def change(self, fd: int, file: File, events: int, data: int) -> None:
        """Change the interest in `fd`. Raises ENOENT, EINVAL for one that is exclusive."""
        interest = self._find(fd, file)
        if (interest.flags | events) & POLLEXCLUSIVE:
            raise KernelError(Errno.EINVAL)
        interest.set(events, data)
        # One that is on the list already is no news to those who wait.
        if interest.poll() and interest not in self.ready:
            self._ready_again(interest)

    def unwatch(self, fd: int, file: File) -> None:
        """Watch `fd` no more. Raises ENOENT."""
        self._drop(self._find(fd, file))

    def _find(self, fd: int, file: File) -> Interest:
        interest = self.interests.get((fd, file))
        if interest is None:
            raise KernelError(Errno.ENOENT)
        return interest

    def _drop(self, interest: Interest) -> None:
        interest.detach()
        interest.armed = False
        self.ready.pop(interest, None)
        self.hosted.pop(interest, None)
        self.interests.pop((interest.fd, interest.file), None)

    def _ready_again(self, interest: Interest) -> None:
        interest.seen = 0
        self.activate(interest)

    def activate(self, interest: Interest) -> None:
        """Put an interest on the ready list and wake who waits (called from wakeups)."""
        self.ready[interest] = None
        self.pollhead.wakeup(POLLIN | POLLRDNORM)

    def close(self, file: File) -> None:  # noqa: ARG002
        """Drop every interest."""
        for interest in tuple(self.interests.values()):
            self._drop(interest)

    # -- nesting --------------------------------------------------------------------------------

    def watches(self, other: EventQueue) -> bool:
        """Return whether `other` is this queue, or watched by it however indirectly."""
        return self is other or any(queue.watches(other) for queue in self._below())

    def _below(self) -> list[EventQueue]:
        vnodes = [interest.file.vnode for interest in self.interests.values()]
        return [vnode for vnode in vnodes if isinstance(vnode, EventQueue)]

    def _depth(self) -> int:
        return 1 + max((queue._depth() for queue in self._below()), default=0)

    def _height(self) -> int:
        above = [w.owner.queue for w in self.pollhead.waiters if isinstance(w, _InterestHook)]
        return 1 + max((queue._height() for queue in above), default=0)

    # -- waiting --------------------------------------------------------------------------------

    def harvest(self, limit: int, emit: Callable[[int, int, int], None]) -> int:
        """Give up to `limit` ready events to `emit(events, data, wanted)`; return how many.

        An interest whose `emit` raises stays ready; the error is raised only if it was the first.
        """
        count = 0
        for interest in tuple(self.ready):
            if count == limit:
                break
            self.ready.pop(interest, None)
            if interest.gone():
                self._drop(interest)
                continue
            events = interest.poll()
            if not events:
                continue
            try:
                emit(events, interest.data, interest.events)
            except KernelError:
                interest.seen &= ~events
                self.ready[interest] = None
                if count:
                    return count
                raise
            count += 1
            if interest.flags & POLLONESHOT:
                interest.armed = False
            elif not interest.flags & POLLET:
                self.ready[interest] = None
        return count

    def wait(self, limit: int, deadline: int | None, emit: Callable[[int, int, int], None]) -> int:
        """Harvest, sleeping until there is something or `deadline` (hrtime ns; None: no end).

        Raises Interrupted. A deadline of 0 only looks.
        """
        self._look_at_host()
        while True:
            count = self.harvest(limit, emit)
            if count and self.ready:
                # One waiter is woken for all that is ready: there may be something for the next.
                self._wake_next()
            if count or deadline == 0:
                return count
            try:
                woken = poll_sleep([(self.pollhead, POLLIN)], deadline, ExclusiveWaiter)
            except BaseException:
                # What this waiter was woken for goes to the next one.
                if self.ready:
                    self._wake_next()
                raise
            if not woken:
                return self.harvest(limit, emit)

    def _wake_next(self) -> None:
        """Wake one who sleeps in `wait`; to queues that watch this one nothing has happened."""
        for waiter in self.pollhead.waiters:
            if isinstance(waiter, ExclusiveWaiter):
                waiter.notify(POLLIN)
                return

    def _look_at_host(self) -> None:
        """Ask the host about its descriptors, which tell of nothing while nobody sleeps."""
        for interest in self.hosted:
            if interest not in self.ready and interest.peek():
                self.ready[interest] = None

    def poll(self, file: File, events: int) -> tuple[int, Pollhead | None]:  # noqa: ARG002
        """Readable when an interest is ready."""
        for interest in tuple(self.ready):
            if interest.gone():
                self._drop(interest)
            elif interest.peek():
                return events & (POLLIN | POLLRDNORM), self.pollhead
            else:
                self.ready.pop(interest, None)
        return 0, self.pollhead
