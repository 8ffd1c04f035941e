"""One end of a TCP connection (illumos tcp_t; RFC 9293, tcp(4P)).

Both ends of a connection live in this machine, so they are coupled directly: what one end sends is
put into the other's queue in the same instant, and no segment is ever lost. The states are the true
ones. An end's queue holds what has arrived and, beyond the window, what the sender still keeps in
its send buffer: it counts as unsent, and a FIN waits behind it.

An end lives on after its socket is closed, until the protocol is done with it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from lxemu.kernel.cv import CondVar
from lxemu.kernel.errno import Errno
from lxemu.kernel.poll import (
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLPRI,
    POLLRDHUP,
    POLLRDNORM,
    Pollhead,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxemu.kernel.net.hosttcp import HostConnect
    from lxemu.kernel.net.netstack import NetStack
    from lxemu.kernel.net.ports import Binding
    from lxemu.kernel.net.tcplisten import Listener
    from lxemu.kernel.sched import Callout

# States (inet/tcp.h).
TCPS_CLOSED = -6
TCPS_BOUND = -4
TCPS_LISTEN = -3
TCPS_SYN_SENT = -2
TCPS_SYN_RCVD = -1
TCPS_ESTABLISHED = 0
TCPS_CLOSE_WAIT = 1
TCPS_FIN_WAIT_1 = 2
TCPS_CLOSING = 3
TCPS_LAST_ACK = 4
TCPS_FIN_WAIT_2 = 5
TCPS_TIME_WAIT = 6

#: Our FIN is on its way or has arrived.
_SENT_FIN = frozenset((TCPS_FIN_WAIT_1, TCPS_FIN_WAIT_2, TCPS_CLOSING, TCPS_LAST_ACK))

#: How often a SYN is sent again before the attempt is given up.
DEFAULT_SYN_RETRIES = 6
#: Buffers of a socket that asks for nothing: what is shown, and what they grow to.
DEFAULT_SNDBUF = 16384
DEFAULT_RCVBUF = 131072
GROWN_SNDBUF = 2626560
MAX_WINDOW = 65536

_SECOND = 1_000_000_000
#: Writes up to this size are gathered in chunks of about that one.
_SMALL, _CHUNK = 1024, 4096
#: How long part of a segment waits for the rest.
_HOLD = 200_000_000
#: How long a closed end waits for the other's FIN.
FIN_WAIT_2_TIMEOUT = 60 * _SECOND

_RD = POLLIN | POLLRDNORM
_ALL = _RD | POLLOUT | POLLHUP | POLLERR | POLLPRI | POLLRDHUP


class Endpoint(NamedTuple):
    """A host and a port."""

    host: bytes
    port: int


class TcpConn:
    """One end of a connection, or a socket that is on the way to one.

    `arrived` counts the bytes that the other end has put in the queue, `copied` those that the
    socket has taken out. `urg` is the position of the urgent byte in that count, `urg_byte` its
    value, None once it has been taken out of line.
    """

    __slots__ = (
        "arrived",
        "binding",
        "callout",
        "copied",
        "cv_read",
        "cv_write",
        "done",
        "error",
        "faddr",
        "fin_queued",
        "held",
        "held_timer",
        "inode",
        "laddr",
        "listener",
        "mss",
        "on_urgent",
        "oob_inline",
        "orphan",
        "outside",
        "parent",
        "peer",
        "pollhead",
        "queue",
        "rcv_lowat",
        "rcv_shut",
        "retries",
        "snd_shut",
        "sndbuf",
        "stack",
        "state",
        "syn_retries",
        "uid",
        "urg",
        "urg_byte",
        "window",
    )

    def __init__(self, stack: NetStack, pollhead: Pollhead | None = None) -> None:
        self.stack = stack
        self.state = TCPS_CLOSED
        self.laddr: Endpoint | None = None
        self.faddr: Endpoint | None = None
        self.peer: TcpConn | None = None
        self.listener: Listener | None = None
        #: The listener in whose queue this end waits to be accepted.
        self.parent: Listener | None = None
        self.binding: Binding | None = None
        #: Small writes are gathered in bytearrays, which grow as long as nobody reads them.
        self.queue: deque[bytes | bytearray | memoryview] = deque()
        self.arrived = self.copied = 0
        self.window = MAX_WINDOW
        self.sndbuf = GROWN_SNDBUF
        self.mss = 536
        self.rcv_lowat = 1
        self.cv_read = CondVar()
        self.cv_write = CondVar()
        self.pollhead = pollhead or Pollhead()
        self.error: Errno | None = None
        #: A FIN has come: the end of the data is known.
        self.done = False
        self.rcv_shut = self.snd_shut = False
        self.fin_queued = False
        #: What has been sent with more to come, less than a segment: it waits for the rest.
        self.held = bytearray()
        self.held_timer: Callout | None = None
        self.orphan = False
        #: What tries to connect on the host, to be told when there is no need for it any more.
        self.outside: HostConnect | None = None
        self.oob_inline = False
        self.urg = -1
        self.urg_byte: int | None = None
        self.on_urgent: Callable[[], None] | None = None
        self.callout: Callout | None = None
        self.retries = 0
        self.syn_retries = DEFAULT_SYN_RETRIES
        self.inode = 0
        self.uid = 0

    # -- what there is ----------------------------------------------------------------------------

    @property
    def queued(self) -> int:
        """Bytes in the queue, those that the sender still keeps included."""
        return self.arrived - self.copied

    @property
    def readable(self) -> int:
        """Bytes that have arrived and can be read before the urgent one (FIONREAD)."""
        have = min(self.arrived - self.copied, self.window)
        if self.urg < 0 or self.oob_inline:
            return have
        return min(have, self.urg - self.copied)

    def at_mark(self, ahead: int = 0) -> bool:
        """Return whether the byte `ahead` of the reading position is the urgent one."""
        return self.urg >= 0 and self.urg == self.copied + ahead

    @property
    def unsent(self) -> int:
        """Bytes that we have sent and the other end had no window for."""
        peer = self.peer
        if peer is None:
            return 0
        return max(0, peer.queued - peer.window) + len(self.held)

    def room(self) -> int:
        """Return how many bytes may be sent now without waiting."""
        peer = self.peer
        if peer is None:
            return 0
        return peer.window + self.sndbuf - (peer.arrived - peer.copied) - len(self.held)

    def writable(self) -> bool:
        """Return whether a poller should be told to write: a third of the buffer is free."""
        peer = self.peer
        if peer is None:
            return True
        return (peer.arrived - peer.copied - peer.window) * 3 <= self.sndbuf * 2

    # -- opening ----------------------------------------------------------------------------------

    def couple(self, client: TcpConn) -> None:
        """Connect this end, fresh from a listener, with the `client` that asked."""
        self.peer = client
        client.peer = self
        client.set_state(TCPS_ESTABLISHED)

    def set_state(self, state: int) -> None:
        """Change the state and wake whoever waits for one."""
        self.state = state
        self.wake(_ALL)

    def refused(self, errno: Errno = Errno.ECONNREFUSED) -> None:
        """End an attempt to connect."""
        self.error = errno
        self.shut()

    def timed_out(self) -> None:
        """End an attempt to connect that nobody has answered."""
        self.refused(Errno.ETIMEDOUT)

    # -- sending ----------------------------------------------------------------------------------

    def push(self, data: bytes | memoryview) -> None:
        """Put `data` (not empty; the caller has looked for room) into the other end's queue."""
        peer = self.peer
        if peer is None:
            return
        if peer.rcv_shut and peer.state in _SENT_FIN:
            # Data for one who has said that it reads no more: both sides find a reset.
            self.peer = peer.peer = None
            peer.reset_came()
            self.reset_came()
            return
        if peer.state == TCPS_CLOSED:
            self.peer = None
            self.reset_came()
            return
        size = len(data)
        queue = peer.queue
        if size > _SMALL:
            queue.append(data)
        elif queue and type(tail := queue[-1]) is bytearray and len(tail) < _CHUNK:
            tail += data
        else:
            queue.append(bytearray(data))
        peer.arrived += size
        if peer.state == TCPS_SYN_RCVD and peer.parent is not None:
            peer.parent.data_came(peer)
        peer.cv_read.broadcast()
        if peer.pollhead.waiters:
            peer.pollhead.wakeup(_RD)

    def hold(self, data: bytes | memoryview) -> None:
        """Keep data back until they fill a segment, the rest comes, or a moment has passed."""
        held = self.held
        held += data
        if len(held) >= self.mss:
            self.flush()
        elif self.held_timer is None:
            deadline = self.stack.clock.hrtime() + _HOLD
            self.held_timer = self.stack.disp.timeout(deadline, self._held_long)

    def flush(self) -> None:
        """Send what has been kept back."""
        if self.held_timer is not None:
            self.stack.disp.untimeout(self.held_timer)
            self.held_timer = None
        if self.held:
            data, self.held = bytes(self.held), bytearray()
            self.push(data)

    def _held_long(self) -> None:
        self.held_timer = None
        self.flush()

    def push_urgent(self, data: bytes | memoryview) -> None:
        """Send `data`, whose last byte is urgent."""
        peer = self.peer
        if peer is None:
            return
        if peer.urg == peer.copied and not peer.oob_inline and peer.urg < peer.arrived:
            # The old mark is where the reader stands; a new one takes its place and the old
            # byte, never asked for, falls out of the stream.
            peer.take(1)
        peer.urg = peer.arrived + len(data) - 1
        peer.urg_byte = data[-1]
        self.push(data)
        if peer.on_urgent is not None:
            peer.on_urgent()
        if peer.pollhead.waiters:
            peer.pollhead.wakeup(POLLPRI)

    def send_fin(self) -> None:
        """Send no more: the FIN goes out behind what is queued."""
        if self.snd_shut:
            return
        if self.held:
            self.flush()
        self.snd_shut = True
        if self.state in (TCPS_ESTABLISHED, TCPS_SYN_RCVD):
            self.state = TCPS_FIN_WAIT_1
        elif self.state == TCPS_CLOSE_WAIT:
            self.state = TCPS_LAST_ACK
        else:
            return
        self.fin_queued = True
        self._flush_fin()
        self.wake(POLLOUT)

    def _flush_fin(self) -> None:
        """Let the FIN arrive once the other end has window for everything before it."""
        peer = self.peer
        if not self.fin_queued or peer is None or peer.queued > peer.window:
            return
        self.fin_queued = False
        peer._fin_came()
        # The acknowledgement comes back at once.
        if self.state == TCPS_FIN_WAIT_1:
            self.state = TCPS_FIN_WAIT_2
            if self.orphan:
                self._orphan_timer()
        elif self.state == TCPS_CLOSING:
            self.time_wait()
        elif self.state == TCPS_LAST_ACK:
            self.shut()
        self.cv_write.broadcast()

    def _fin_came(self) -> None:
        self.done = True
        self.rcv_shut = True
        if self.state == TCPS_SYN_RCVD and self.parent is not None:
            self.parent.data_came(self)
        if self.state == TCPS_ESTABLISHED:
            self.state = TCPS_CLOSE_WAIT
        elif self.state == TCPS_FIN_WAIT_1:
            self.state = TCPS_CLOSING
        elif self.state == TCPS_FIN_WAIT_2:
            self.time_wait()
        self.wake(_RD | POLLRDHUP | (POLLHUP if self.snd_shut else 0))

    # -- receiving --------------------------------------------------------------------------------

    def read(self, size: int, *, peek: bool, skip: int) -> bytes:
        """Return up to `size` bytes as `take` does, but not across the urgent mark.

        An urgent byte at the reading position is not in the stream, unless it is wanted in line.
        """
        if self.urg < 0 or not size:
            return self.take(size, peek=peek, skip=skip)
        ahead = self.urg - self.copied - skip
        if ahead > 0:
            size = min(size, ahead)
        elif not ahead and not self.oob_inline:
            if peek:
                skip += 1
            else:
                self.take(1)
        data = self.take(size, peek=peek, skip=skip)
        if self.copied > self.urg:
            self.urg, self.urg_byte = -1, None
        return data

    def take(self, size: int, *, peek: bool = False, skip: int = 0) -> bytes:
        """Return up to `size` bytes that have arrived, from `skip` bytes on, and remove them.

        With `peek` they stay. The caller looks after the urgent mark.
        """
        queue = self.queue
        size = min(size, self.arrived - self.copied - skip)
        if size <= 0:
            return b""
        first = queue[0]
        if peek:
            return self._peek(size, skip)
        if len(first) == size:
            queue.popleft()
            self._took(size)
            return bytes(first)
        if len(first) > size:
            view = memoryview(first)
            queue[0] = view[size:]
            self._took(size)
            return bytes(view[:size])
        parts: list[bytes | bytearray | memoryview] = []
        left = size
        while left:
            chunk = queue.popleft()
            if len(chunk) > left:
                view = memoryview(chunk)
                queue.appendleft(view[left:])
                chunk = view[:left]
            parts.append(chunk)
            left -= len(chunk)
        self._took(size)
        return b"".join(parts)

    def _peek(self, size: int, skip: int) -> bytes:
        parts: list[bytes | bytearray | memoryview] = []
        for chunk in self.queue:
            if skip >= len(chunk):
                skip -= len(chunk)
                continue
            part = memoryview(chunk)[skip : skip + size]
            skip = 0
            parts.append(part)
            size -= len(part)
            if not size:
                break
        return b"".join(parts)

    def _took(self, count: int) -> None:
        """Note that the reader has made room: the sender and its FIN may go on."""
        self.copied += count
        peer = self.peer
        if peer is None:
            return
        if peer.fin_queued:
            peer._flush_fin()
        elif peer.cv_write.waiters or peer.pollhead.waiters:
            excess = self.arrived - self.copied - self.window
            # Once, when the free third of the send buffer comes about.
            if excess * 3 <= peer.sndbuf * 2 and (excess + count) * 3 > peer.sndbuf * 2:
                peer.wake_writers()

    def wake_writers(self) -> None:
        """Tell who waits for room that there is some."""
        self.cv_write.broadcast()
        if self.pollhead.waiters:
            self.pollhead.wakeup(POLLOUT)

    def wake(self, events: int) -> None:
        """Wake every reader, writer and poller: the state has changed."""
        self.cv_read.broadcast()
        self.cv_write.broadcast()
        if self.pollhead.waiters:
            self.pollhead.wakeup(events)

    # -- ending -----------------------------------------------------------------------------------

    def abort(self) -> None:
        """Reset the connection: the other end is told, nothing more is sent."""
        peer, self.peer = self.peer, None
        self.shut()
        if peer is not None and peer is not self:
            peer.peer = None
            peer.reset_came()

    def reset_came(self) -> None:
        """Take a RST: the error depends on how far the connection was."""
        if self.state == TCPS_SYN_SENT:
            self.error = Errno.ECONNREFUSED
        elif self.state == TCPS_CLOSE_WAIT:
            self.error = Errno.EPIPE
        elif self.state != TCPS_CLOSED:
            self.error = Errno.ECONNRESET
        self.shut()

    def shut(self) -> None:
        """Be closed: out of the tables, nothing more to send or to come."""
        self.state = TCPS_CLOSED
        self.rcv_shut = self.snd_shut = True
        self.fin_queued = False
        self.stop_timer()
        if self.held_timer is not None:
            self.stack.disp.untimeout(self.held_timer)
            self.held_timer = None
        if self.outside is not None:
            self.outside.close()
        self.stack.tcp_gone(self)
        peer = self.peer
        if peer is not None and peer.peer is self and peer.state == TCPS_CLOSED:
            self.peer = peer.peer = None
        self.wake(_ALL)

    def time_wait(self) -> None:
        """Be closed, with the addresses kept from use for a while."""
        self.stack.time_wait(self)
        self.shut()

    def close(self, *, hard: bool) -> None:
        """Close with the socket: by a FIN, or a RST with `hard` or when data are unread."""
        self.orphan = True
        unread = self.queued
        if self.state == TCPS_CLOSED:
            self.stack.tcp_gone(self)
        elif self.state == TCPS_SYN_SENT:
            self.peer = None
            self.shut()
        elif hard or unread:
            self.queue.clear()
            self.abort()
        else:
            self.rcv_shut = True
            self.send_fin()
            if self.state == TCPS_FIN_WAIT_2:
                self._orphan_timer()

    def _orphan_timer(self) -> None:
        """Give the other end a time to send its FIN."""
        if self.callout is None:
            disp = self.stack.disp
            deadline = self.stack.clock.hrtime() + FIN_WAIT_2_TIMEOUT
            self.callout = disp.timeout(deadline, self._orphan_ended)

    def _orphan_ended(self) -> None:
        self.callout = None
        self.peer = None
        self.shut()

    def stop_timer(self) -> None:
        """Cancel the timer that runs, if any."""
        if self.callout is not None:
            self.stack.disp.untimeout(self.callout)
            self.callout = None
