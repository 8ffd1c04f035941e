"""AF_UNIX messages: datagrams, and sequenced packets over connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import curlwp
from lxemu.kernel.net.sockaddr import OtherAddr
from lxemu.kernel.net.socketvar import (
    AF_UNSPEC,
    BOTH_SHUTDOWN,
    MSG_DONTWAIT,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    RCV_SHUTDOWN,
    SEND_SHUTDOWN,
    Control,
    Received,
)
from lxemu.kernel.net.unix import (
    CLOSED,
    CONNECTED,
    IN_EVENTS,
    LISTENING,
    OUT_EVENTS,
    Message,
    UnixSonode,
    check_name,
    head_charge,
    my_ucred,
    page_align,
)
from lxemu.kernel.net.unix_conn import UnixConn
from lxemu.kernel.poll import POLLERR, POLLHUP, POLLRDHUP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lxemu.kernel.cred import Cred
    from lxemu.kernel.net.netstack import NetStack
    from lxemu.kernel.net.sockaddr import Sockaddr
    from lxemu.kernel.net.socket import Sonode
    from lxemu.kernel.poll import Pollhead
    from lxemu.kernel.vfs.file import File

#: Messages that wait in a socket before senders who are not its peer must wait.
MAX_DGRAM_QLEN = 10
#: The longest message in one piece, and how much of a longer one can be in pages.
_PIECE = 16064
_PAGES = 17 * 4096


def dgram_charge(n: int) -> int:
    """Return what a message of `n` bytes is charged."""
    if n <= _PIECE:
        return head_charge(n)
    paged = page_align(min(n - _PIECE, _PAGES))
    return head_charge(max(n - paged, 0)) + paged


class Messages(UnixSonode):
    """What datagrams and sequenced packets share: messages are sent and received whole."""

    def check_message(self, size: int) -> None:
        """Raise EMSGSIZE for a message that is longer than the send buffer."""
        if size > self.sndbuf - 32:
            raise KernelError(Errno.EMSGSIZE)

    def recvmsg(self, size: int, flags: int, nonblock: bool) -> Received:
        """Receive one message; MSG_TRUNC says that it was longer. Raises EAGAIN, EINTR."""
        if flags & MSG_OOB:
            raise KernelError(Errno.EOPNOTSUPP)
        nonblock = nonblock or flags & MSG_DONTWAIT != 0
        deadline = None if self.rcvtimeo is None else self.until(self.rcvtimeo)
        peeking = flags & MSG_PEEK != 0
        while True:
            self.take_error()
            found = self._look(self.peek_off if peeking else -1)
            if found is not None:
                return self._receive(*found, size, peeking)
            if self._no_more(nonblock):
                return Received(b"")
            if nonblock:
                raise KernelError(Errno.EAGAIN)
            self.wait(self.cv_read, deadline)

    def _look(self, skip: int) -> tuple[Message, int] | None:
        """Return the message in which byte `skip` of the queue is, and where in it.

        A negative number (SO_PEEK_OFF unset) means the first message.
        """
        if skip < 0:
            return (self.queue[0], 0) if self.queue else None
        for message in self.queue:
            if skip < len(message) or not (skip or message.peeked):
                return message, skip
            skip -= len(message)
        return None

    def _no_more(self, nonblock: bool) -> bool:
        """Return whether nothing can come any more, which a receive shows as an end of file."""
        return self.shut & RCV_SHUTDOWN != 0 and not nonblock

    def _receive(self, message: Message, skip: int, size: int, peeking: bool) -> Received:
        full = len(message) - skip
        data = bytes(message.data[skip : skip + size]) if size < full or skip else message.data
        files = None
        if peeking:
            message.peeked = True
            if message.files:
                files = [file.hold() for file in message.files]
            if self.peek_off >= 0:
                self.peek_off += len(data)
        else:
            if message.files:
                files = self.take_files(message)
            self.queue.popleft()
            if self.peek_off >= 0:
                self.peek_off = max(self.peek_off - len(message), 0)
            message.free()
            self._made_room()
        control: tuple[Control, ...] = ()
        if files or self.identifies:
            control = self.control_of(message.ucred, files)
        flags = MSG_TRUNC if size < full else 0
        return Received(bytes(data), message.sender.name, control, flags, full)

    def _made_room(self) -> None:
        self.cv_room.broadcast()

    def inq(self) -> int:
        """Return the length of the next message. Raises EINVAL while listening."""
        if self.state == LISTENING:
            raise KernelError(Errno.EINVAL)
        return len(self.queue[0]) if self.queue else 0


class UnixSeqpacket(UnixConn, Messages):
    """Messages over a connection."""

    def sendmsg(
        self,
        data: bytes | memoryview,
        to: Sockaddr | None,  # noqa: ARG002 (a connection has its address: ignored)
        control: Sequence[Control],
        flags: int,
        nonblock: bool,
    ) -> int:
        """Send one message to the peer. Raises ENOTCONN, EPIPE, EMSGSIZE, EAGAIN, EINTR."""
        self.take_error()
        if self.state != CONNECTED:
            raise KernelError(Errno.ENOTCONN)
        if flags & MSG_OOB:
            raise KernelError(Errno.EOPNOTSUPP)
        peer = self.peer
        if peer is None:
            raise KernelError(Errno.ENOTCONN)
        if self.identifies and self.name is None:
            self.autobind()
        self.check_message(len(data))
        if self.shut & SEND_SHUTDOWN:
            raise KernelError(Errno.EPIPE)
        self.wait_room(nonblock or flags & MSG_DONTWAIT != 0, self.until(self.sndtimeo))
        if peer.dead or peer.shut & RCV_SHUTDOWN:
            raise KernelError(Errno.EPIPE)
        kept = peer.filtered(data)
        if kept is None:
            return len(data)
        message = Message(self, bytes(kept), dgram_charge(len(data)))
        self.attach(message, control, peer, curlwp().proc.cred)
        peer.enqueue(message)
        return len(data)

    def recvmsg(self, size: int, flags: int, nonblock: bool) -> Received:
        """Receive one message. Raises ENOTCONN, EAGAIN, EINTR."""
        if self.state != CONNECTED:
            raise KernelError(Errno.ENOTCONN)
        return Messages.recvmsg(self, size, flags, nonblock)

    def _no_more(self, nonblock: bool) -> bool:  # noqa: ARG002
        return self.shut & RCV_SHUTDOWN != 0

    def inq(self) -> int:
        """Return the bytes of all messages. Raises EINVAL while listening."""
        return UnixConn.inq(self)


class UnixDgram(Messages):
    """Datagrams, to a peer or to the address of each message."""

    def __init__(self, stack: NetStack, sotype: int, cred: Cred) -> None:
        super().__init__(stack, sotype, cred)
        self.backlog = MAX_DGRAM_QLEN

    def pair(self, other: Sonode) -> None:
        """Make two new sockets each other's peer."""
        assert isinstance(other, UnixDgram)
        self.peer_ucred = other.peer_ucred = my_ucred(curlwp().proc.cred)
        self.peer, other.peer = other, self
        self.state = other.state = CONNECTED

    def connect(self, addr: Sockaddr, nonblock: bool, cred: Cred) -> None:  # noqa: ARG002
        """Choose the peer; AF_UNSPEC takes it away. Raises EPERM when that one has another peer."""
        if isinstance(addr, OtherAddr) and addr.size < 2:
            raise KernelError(Errno.EINVAL)
        if addr.family == AF_UNSPEC:
            self._set_peer(None)
            return
        check_name(addr)
        if self.identifies and self.name is None:
            self.autobind()
        other = self.find(addr, cred)
        assert isinstance(other, UnixDgram)
        if not self._may_send(other):
            raise KernelError(Errno.EPERM)
        self._set_peer(other)
        self.state = other.state = CONNECTED

    def _may_send(self, other: UnixSonode) -> bool:
        return other.peer is None or other.peer is self

    def _set_peer(self, other: UnixDgram | None) -> None:
        """Change the peer; what the old one has sent is void, and it is told when we were its."""
        old, self.peer = self.peer, other
        if other is None:
            self.state = CLOSED
        if old is None:
            return
        # It may be the full queue of the old peer that kept this socket from being writable.
        old.blocked.discard(self)
        self.wake_writers(OUT_EVENTS)
        if old is other:
            return
        if self.queue:
            self.drop_files()
            queue = tuple(self.queue)
            self.queue.clear()
            for message in queue:
                message.free()
            self._made_room()
            if not old.dead and old.peer is self:
                old.so_error = Errno.ECONNRESET
                old.changed()

    def sendmsg(
        self,
        data: bytes | memoryview,
        to: Sockaddr | None,
        control: Sequence[Control],
        flags: int,
        nonblock: bool,
    ) -> int:
        """Send one message, waiting for room in both sockets.

        Raises ENOTCONN, ECONNREFUSED (the peer is gone), EPERM, EPIPE, EMSGSIZE, EAGAIN, EINTR.
        """
        if flags & MSG_OOB:
            raise KernelError(Errno.EOPNOTSUPP)
        cred = curlwp().proc.cred
        if to is not None:
            check_name(to)
        if self.identifies and self.name is None:
            self.autobind()
        self.check_message(len(data))
        nonblock = nonblock or flags & MSG_DONTWAIT != 0
        deadline = self.until(self.sndtimeo)
        self.take_error()
        if self.shut & SEND_SHUTDOWN:
            raise KernelError(Errno.EPIPE)
        self.wait_room(nonblock, deadline)
        try:
            other = self._target(to, cred, nonblock, deadline)
        except KernelError:
            # The message that has been made for nothing gives its room back, which is news.
            self.wake_writers(OUT_EVENTS)
            raise
        kept = other.filtered(data)
        if kept is None:
            return len(data)
        message = Message(self, bytes(kept), dgram_charge(len(data)))
        self.attach(message, control, other, cred)
        other.enqueue(message)
        return len(data)

    def _target(
        self, to: Sockaddr | None, cred: Cred, nonblock: bool, deadline: int | None
    ) -> UnixSonode:
        """Return who gets a message, once there is room for it."""
        while True:
            other = self.peer if to is None else self.find(to, cred)
            if other is None:
                raise KernelError(Errno.ENOTCONN)
            if other.dead:
                if self.peer is other:
                    self._set_peer(None)
                raise KernelError(Errno.ECONNREFUSED)
            if not self._may_send(other):
                raise KernelError(Errno.EPERM)
            if other.shut & RCV_SHUTDOWN:
                raise KernelError(Errno.EPIPE)
            if other.peer is self or len(other.queue) <= other.backlog:
                return other
            if nonblock:
                raise KernelError(Errno.EAGAIN)
            self.wait(other.cv_room, deadline)

    def _made_room(self) -> None:
        self.cv_room.broadcast()
        if self.blocked and len(self.queue) <= self.backlog:
            blocked, self.blocked = self.blocked, set()
            for so in blocked:
                so.wake_writers(OUT_EVENTS)

    def leave(self, peer: UnixSonode, *, reset: bool) -> None:  # noqa: ARG002
        """Tell nobody: a datagram socket finds out that its peer is gone when it sends."""
        peer.blocked.discard(self)

    def poll(self, file: File, events: int) -> tuple[int, Pollhead | None]:  # noqa: ARG002
        """Return readiness; not writable while the peer's queue is full."""
        ready = 0
        if self.queue:
            ready = IN_EVENTS
        if self.shut & RCV_SHUTDOWN:
            ready |= IN_EVENTS | POLLRDHUP
        if self.shut == BOTH_SHUTDOWN:
            ready |= POLLHUP
        if events & OUT_EVENTS and self.writable():
            peer = self.peer
            full = peer is not None and peer.peer is not self and len(peer.queue) > peer.backlog
            if full and peer is not None and not peer.dead:
                peer.blocked.add(self)
            else:
                ready |= OUT_EVENTS
        ready &= events | POLLHUP
        if self.so_error is not None:
            ready |= POLLERR
        return ready, self.pollhead
