"""AF_UNIX with connections: listening, connecting and accepting (unix(7))."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import curlwp
from lxemu.kernel.net.socketvar import BOTH_SHUTDOWN, RCV_SHUTDOWN, SOMAXCONN
from lxemu.kernel.net.unix import (
    CLOSED,
    CONNECTED,
    IN_EVENTS,
    LISTENING,
    OUT_EVENTS,
    UnixSonode,
    check_name,
    my_ucred,
)
from lxemu.kernel.poll import POLLERR, POLLHUP, POLLPRI, POLLRDHUP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxemu.kernel.cred import Cred
    from lxemu.kernel.net.netstack import NetStack
    from lxemu.kernel.net.sockaddr import Sockaddr
    from lxemu.kernel.net.socket import Sonode
    from lxemu.kernel.poll import Pollhead
    from lxemu.kernel.vfs.file import File


class UnixConn(UnixSonode):
    """A socket of connections; `pending` are those that wait to be accepted."""

    def __init__(self, stack: NetStack, sotype: int, cred: Cred) -> None:
        super().__init__(stack, sotype, cred)
        self.pending: deque[UnixConn] = deque()

    def listen(self, backlog: int) -> None:
        """Listen. Raises EINVAL while unbound or connected."""
        if self.name is None or self.state == CONNECTED:
            raise KernelError(Errno.EINVAL)
        self.backlog = min(backlog & 0xFFFFFFFF, SOMAXCONN)
        self.state = LISTENING
        self.peer_ucred = my_ucred(curlwp().proc.cred)
        self.cv_room.broadcast()

    def listening(self) -> bool:
        """Return whether this socket accepts connections."""
        return self.state == LISTENING

    def connect(self, addr: Sockaddr, nonblock: bool, cred: Cred) -> None:
        """Connect, waiting for room in the backlog.

        Raises EINVAL, ECONNREFUSED, EAGAIN (no room), EISCONN, EINTR, EPROTOTYPE.
        """
        check_name(addr)
        if self.identifies and self.name is None:
            self.autobind()
        deadline = self.until(self.sndtimeo)
        while True:
            other = self.find(addr, cred)
            if not isinstance(other, UnixConn) or other.state != LISTENING:
                raise KernelError(Errno.ECONNREFUSED)
            if other.shut & RCV_SHUTDOWN:
                raise KernelError(Errno.ECONNREFUSED)
            if len(other.pending) <= other.backlog:
                break
            if nonblock:
                raise KernelError(Errno.EAGAIN)
            self.wait(other.cv_room, deadline)
        if self.state != CLOSED:
            raise KernelError(Errno.EISCONN if self.state == CONNECTED else Errno.EINVAL)
        self._meet(other, cred)

    def _meet(self, listener: UnixConn, cred: Cred) -> None:
        """Put the other end of a new connection into the backlog of `listener`."""
        end = type(self)(self.stack, self.sotype, cred)
        end.name = listener.name
        end.node = listener.node
        end.passcred, end.identifies = listener.passcred, listener.identifies
        end.options.update(listener.options)
        end.listener = listener
        end.peer_ucred = my_ucred(cred)
        self.peer_ucred = listener.peer_ucred
        self.join(end)
        listener.pending.append(end)
        listener.wake_readers(IN_EVENTS)

    def join(self, other: UnixConn) -> None:
        """Make two sockets the ends of a connection."""
        self.peer, other.peer = other, self
        self.state = other.state = CONNECTED
        self.wake_writers(OUT_EVENTS)

    def pair(self, other: Sonode) -> None:
        """Connect two new sockets."""
        assert isinstance(other, UnixConn)
        self.peer_ucred = other.peer_ucred = my_ucred(curlwp().proc.cred)
        self.join(other)

    def accept(self, nonblock: bool) -> Sonode:
        """Take the first connection. Raises EINVAL (not listening, shut down), EAGAIN, EINTR."""
        if self.state != LISTENING:
            raise KernelError(Errno.EINVAL)
        deadline = self.until(self.rcvtimeo)
        while not self.pending:
            if nonblock:
                raise KernelError(Errno.EAGAIN)
            if self.shut & RCV_SHUTDOWN:
                raise KernelError(Errno.EINVAL)
            self.wait(self.cv_read, deadline)
        end = self.pending.popleft()
        end.listener = None
        self.cv_room.broadcast()
        return end

    def release(self, *, embryo: bool = False) -> None:
        """End the socket and reset the connections that nobody has accepted."""
        pending, self.pending = self.pending, deque()
        super().release(embryo=embryo)
        for end in pending:
            end.listener = None
            end.release(embryo=True)

    def files_in_flight(self) -> Iterator[File]:
        """Return the files in messages here and in connections that wait."""
        yield from super().files_in_flight()
        for end in self.pending:
            yield from end.files_in_flight()

    def drop_files(self) -> None:
        """Give back the files here and in connections that wait."""
        super().drop_files()
        for end in self.pending:
            end.drop_files()

    def readable(self) -> bool:
        """Return whether a receive (or an accept) would find something."""
        return bool(self.queue or self.pending)

    def urgent(self) -> bool:
        """Return whether there is urgent data."""
        return False

    def poll(self, file: File, events: int) -> tuple[int, Pollhead | None]:  # noqa: ARG002
        """Return readiness; a socket that is not connected hangs (POLLHUP)."""
        ready = 0
        shut = self.shut
        if self.readable():
            ready = IN_EVENTS
        if shut:
            if shut & RCV_SHUTDOWN:
                ready |= IN_EVENTS | POLLRDHUP
            if shut == BOTH_SHUTDOWN:
                ready |= POLLHUP
        if self.state == CLOSED:
            ready |= POLLHUP
        if self.urgent():
            ready |= POLLPRI
        if self.writable():
            ready |= OUT_EVENTS
        ready &= events | POLLHUP
        if self.so_error is not None:
            ready |= POLLERR
        return ready, self.pollhead

    def inq(self) -> int:
        """Return the bytes of all messages. Raises EINVAL while listening."""
        if self.state == LISTENING:
            raise KernelError(Errno.EINVAL)
        return sum(map(len, self.queue))
