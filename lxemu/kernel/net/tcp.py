"""TCP sockets (illumos tcp; tcp(4P), tcp(7)). The connection itself is in `tcpconn`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from greenlet import getcurrent

from lxemu.kernel.errno import Errno, Interrupted, KernelError
from lxemu.kernel.net import in_, tcpopt
from lxemu.kernel.net.inaddr import LOOPBACK4, LOOPBACK6, is_any, is_multicast
from lxemu.kernel.net.inet import InetSonode
from lxemu.kernel.net.sockaddr import OtherAddr
from lxemu.kernel.net.socket import shutdown_bits
from lxemu.kernel.net.socketvar import (
    AF_INET6,
    AF_UNSPEC,
    BOTH_SHUTDOWN,
    IPPROTO_TCP,
    MSG_ERRQUEUE,
    MSG_MORE,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    MSG_WAITALL,
    RCV_SHUTDOWN,
    SEND_SHUTDOWN,
    SO_OOBINLINE,
    SO_RCVBUF,
    SO_RCVBUFFORCE,
    SO_RCVLOWAT,
    SO_SNDBUF,
    SO_SNDBUFFORCE,
    SOCK_STREAM,
    SOL_SOCKET,
    SOMAXCONN,
    Received,
)
from lxemu.kernel.net.tcpconn import (
    DEFAULT_RCVBUF,
    DEFAULT_SNDBUF,
    TCPS_CLOSE_WAIT,
    TCPS_CLOSED,
    TCPS_CLOSING,
    TCPS_ESTABLISHED,
    TCPS_FIN_WAIT_1,
    TCPS_FIN_WAIT_2,
    TCPS_LAST_ACK,
    TCPS_LISTEN,
    TCPS_SYN_RCVD,
    TCPS_SYN_SENT,
    Endpoint,
    TcpConn,
)
from lxemu.kernel.net.tcplisten import Listener, send_syn
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
from lxemu.kernel.vfs.sigio import send_sigurg

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lxemu.kernel.cred import Cred
    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.net.netstack import NetStack
    from lxemu.kernel.net.ports import Binding, PortTable
    from lxemu.kernel.net.sockaddr import Sockaddr
    from lxemu.kernel.net.socketvar import Control
    from lxemu.kernel.vfs.file import File

_RD = POLLIN | POLLRDNORM
_OPEN = frozenset((TCPS_ESTABLISHED, TCPS_CLOSE_WAIT))
_HANDSHAKE = frozenset((TCPS_SYN_SENT, TCPS_SYN_RCVD))
#: States in which giving a connection up breaks it, which is told as an error.
_NEEDS_RESET = frozenset(
    (
        TCPS_SYN_SENT,
        TCPS_SYN_RCVD,
        TCPS_ESTABLISHED,
        TCPS_CLOSE_WAIT,
        TCPS_FIN_WAIT_1,
        TCPS_FIN_WAIT_2,
    )
)
_DRAINING = frozenset((TCPS_FIN_WAIT_1, TCPS_CLOSING, TCPS_LAST_ACK))
_SECOND = 1_000_000_000
#: Half of what a receive buffer may grow to.
_MAX_LOWAT = 3 << 20

# How far connect is, from the socket's point of view (sys/socketvar.h SS_*).
_UNCONNECTED, _CONNECTING, _CONNECTED, _DISCONNECTING = range(4)


def _caller() -> Lwp | None:
    """Return the lwp that calls; None when it is the kernel itself."""
    lwp: Lwp | None = getattr(getcurrent(), "lwp", None)
    return lwp


class TcpSonode(InetSonode):
    """A TCP socket. `conn` is its end of the connection, whatever the state of it."""

    def __init__(
        self, stack: NetStack, family: int, cred: Cred, conn: TcpConn | None = None
    ) -> None:
        self.conn = TcpConn(stack)
        super().__init__(stack, family, SOCK_STREAM, IPPROTO_TCP, cred)
        if conn is not None:
            self.conn = conn
        self.pollhead = self.conn.pollhead
        self.cred = cred
        self.conn.inode = self.nodeid
        self.conn.uid = self.uid
        self.sndbuf, self.rcvbuf = DEFAULT_SNDBUF, DEFAULT_RCVBUF
        self.progress = _UNCONNECTED
        self.tcpopts: dict[int, Any] = {}
        #: TCP_CORK is on: only whole segments go out.
        self.corked = False
        #: The buffer sizes that have been set, and so do not grow.
        self.locked: set[int] = set()
        self.conn.on_urgent = self.post_urgent

    @property
    def binding(self) -> Binding | None:
        """The port of the socket: its connection's."""
        return self.conn.binding

    @binding.setter
    def binding(self, binding: Binding | None) -> None:
        self.conn.binding = binding

    @property
    def so_error(self) -> Errno | None:
        """The error that the connection has met and nobody has been told of."""
        return self.conn.error

    @so_error.setter
    def so_error(self, error: Errno | None) -> None:
        self.conn.error = error

    def ports(self) -> PortTable:
        """Return the ports of TCP."""
        return self.stack.tcp.ports

    def owner(self) -> TcpConn:
        """Return the end that a binding delivers to."""
        return self.conn

    def listening(self) -> bool:
        """Return whether this socket accepts connections."""
        return self.conn.state == TCPS_LISTEN

    def peer_host(self) -> bytes | None:
        """Return the host at the other end."""
        conn = self.conn
        return conn.faddr.host if conn.faddr is not None and conn.state != TCPS_CLOSED else None

    # -- names ------------------------------------------------------------------------------------

    def bind(self, addr: Sockaddr, cred: Cred) -> None:
        """Take an address. Raises EINVAL when the socket has one, EADDRINUSE, EACCES."""
        host, port = self.check_bind(addr, cred)
        conn = self.conn
        if conn.state != TCPS_CLOSED or conn.binding is not None:
            raise KernelError(Errno.EINVAL)
        self.claim(host, port).explicit = True

    def getsockname(self) -> Sockaddr:
        """Return the socket's own address."""
        conn = self.conn
        if conn.laddr is not None:
            return self.encode(conn.laddr)
        binding = conn.binding
        return self.encode(None if binding is None else Endpoint(binding.host, binding.port))

    def getpeername(self) -> Sockaddr:
        """Return the address of the other end. Raises ENOTCONN."""
        conn = self.conn
        if conn.faddr is None or conn.state in (TCPS_CLOSED, TCPS_SYN_SENT):
            raise KernelError(Errno.ENOTCONN)
        return self.encode(conn.faddr)

    # -- connecting -------------------------------------------------------------------------------

    def connect(self, addr: Sockaddr, nonblock: bool, cred: Cred) -> None:  # noqa: ARG002
        """Connect; AF_UNSPEC disconnects.

        Raises EISCONN, EALREADY, EINPROGRESS (not waited for, or not long enough), ECONNREFUSED,
        ENETUNREACH, EADDRNOTAVAIL, ETIMEDOUT.
        """
        if isinstance(addr, OtherAddr) and addr.family == AF_UNSPEC:
            self._disconnect()
            return
        pending = Errno.EALREADY
        if self.progress == _CONNECTED:
            raise KernelError(Errno.EISCONN)
        if self.progress == _DISCONNECTING:
            raise KernelError(Errno.EINVAL)
        if self.progress == _UNCONNECTED:
            if self.conn.state != TCPS_CLOSED:
                raise KernelError(Errno.EISCONN)
            self._start(self._destination(addr))
            pending = Errno.EINPROGRESS
            if nonblock:
                raise KernelError(pending)
        conn = self.conn
        self._wait_handshake(conn, self.until(self.sndtimeo), nonblock, pending)
        if conn.state == TCPS_CLOSED:
            error, conn.error = conn.error or Errno.ECONNABORTED, None
            self._disconnect()
            raise KernelError(error)
        self.progress = _CONNECTED

    def _wait_handshake(
        self, conn: TcpConn, deadline: int | None, nonblock: bool, pending: Errno
    ) -> None:
        while conn.state in _HANDSHAKE:
            if nonblock:
                raise KernelError(pending)
            try:
                self.wait(conn.cv_write, deadline)
            except KernelError as error:
                if error.errno is Errno.EAGAIN:
                    raise KernelError(pending) from None
                raise

    def _destination(self, addr: Sockaddr) -> Endpoint:
        """Return where to connect to. Raises EINVAL, EAFNOSUPPORT, ENETUNREACH."""
        host, port = self.decode(addr)
        if len(host) == 4 and self.family == AF_INET6 and self.v6only:
            raise KernelError(Errno.ENETUNREACH)
        if is_any(host):
            host = LOOPBACK4 if len(host) == 4 else LOOPBACK6
            binding = self.conn.binding
            if binding is not None and len(binding.host) == 4:
                host = LOOPBACK4
        if is_multicast(host) or self.stack.is_broadcast(host):
            raise KernelError(Errno.ENETUNREACH)
        self.check_scope(addr)
        return Endpoint(host, port)

    def _start(self, faddr: Endpoint) -> None:
        conn, stack = self.conn, self.stack
        source = stack.source_for(faddr.host)
        binding = conn.binding
        if binding is None:
            conn.binding = binding = self.new_binding(source, 0)
        elif is_any(binding.host):
            binding.host = source
        elif len(binding.host) != len(faddr.host):
            raise KernelError(Errno.EINVAL if len(faddr.host) == 16 else Errno.ENETUNREACH)
        conn.faddr = faddr
        try:
            stack.tcp.enter(conn)
        except KernelError:
            conn.faddr = None
            if not binding.explicit:
                conn.binding = None
            raise
        conn.error = None
        conn.rcv_shut = conn.snd_shut = False
        self.progress = _CONNECTING
        conn.syn_retries = tcpopt.syn_retries(self)
        if stack.goes_out(faddr):
            stack.host.connect(conn)
        else:
            send_syn(conn)

    def _disconnect(self) -> None:
        """Give the connection up: the socket is as new, but for an address it was bound to."""
        old = self.conn
        broken = old.state in _NEEDS_RESET
        binding = old.binding
        if old.listener is not None:
            self._stop_listening(old)
        elif old.state in _HANDSHAKE:
            old.peer = None
        keep = binding is not None and binding.explicit
        self.conn = conn = TcpConn(self.stack, self.pollhead)
        old.pollhead = Pollhead()
        if keep:
            assert binding is not None
            old.binding = None
            binding.owner = conn
            if self.family == AF_INET6 and len(binding.host) == 4 and old.laddr is not None:
                binding.host = self.any_host()
            conn.binding = binding
        old.close(hard=True)
        conn.inode, conn.uid = self.nodeid, self.uid
        self._set_up(conn)
        conn.error = Errno.ECONNRESET if broken else old.error
        self.progress = _UNCONNECTED
        self.pollhead.wakeup(_RD | POLLOUT | POLLHUP)

    def _set_up(self, conn: TcpConn) -> None:
        """Give a fresh end what the options of the socket say."""
        for name in self.locked:
            self._apply(conn, name)
        conn.rcv_lowat = self.rcvlowat
        conn.oob_inline = self.options.get(SO_OOBINLINE, 0) != 0
        conn.on_urgent = self.post_urgent

    # -- accepting --------------------------------------------------------------------------------

    def listen(self, backlog: int) -> None:
        """Accept connections. Raises EINVAL when connected, EADDRINUSE."""
        conn = self.conn
        if self.progress != _UNCONNECTED or conn.state not in (TCPS_CLOSED, TCPS_LISTEN):
            raise KernelError(Errno.EINVAL)
        if not 0 <= backlog <= SOMAXCONN:
            backlog = SOMAXCONN
        if conn.listener is not None:
            conn.listener.backlog = backlog
            return
        binding = conn.binding
        if binding is None:
            binding = self.claim(self.any_host(), 0)
        elif self.ports().conflicts(binding):
            raise KernelError(Errno.EADDRINUSE)
        self.ports().listen(binding, on=True)
        conn.listener = Listener(conn, backlog)
        conn.listener.defer = self.tcpopts.get(in_.TCP_DEFER_ACCEPT, 0)
        conn.laddr = None
        conn.state = TCPS_LISTEN

    def accept(self, nonblock: bool) -> TcpSonode:
        """Return the next connection. Raises EINVAL (not listening), EAGAIN, EINTR."""
        conn = self.conn
        listener = conn.listener
        if listener is None:
            raise KernelError(Errno.EINVAL)
        deadline = None if nonblock or listener.queue else self.until(self.rcvtimeo)
        while not listener.queue:
            if nonblock:
                raise KernelError(Errno.EAGAIN)
            self.wait(conn.cv_read, deadline)
            if conn.listener is not listener:
                raise KernelError(Errno.EINVAL)
        child = listener.queue.popleft()
        child.parent = None
        lwp = _caller()
        cred = lwp.proc.cred if lwp is not None else self.cred
        so = TcpSonode(self.stack, self.family, cred, child)
        so.inherit(self)
        return so

    def inherit(self, listener: TcpSonode) -> None:
        """Take over the options of the listening socket."""
        self.options = dict(listener.options)
        self.ipopts = dict(listener.ipopts)
        self.tcpopts = dict(listener.tcpopts)
        self.sndbuf, self.rcvbuf = listener.sndbuf, listener.rcvbuf
        self.rcvlowat, self.linger = listener.rcvlowat, listener.linger
        self.rcvtimeo, self.sndtimeo = listener.rcvtimeo, listener.sndtimeo
        self.locked = set(listener.locked)
        self.progress = _CONNECTED

    def _stop_listening(self, conn: TcpConn) -> None:
        listener, conn.listener = conn.listener, None
        conn.state = TCPS_CLOSED
        if conn.binding is not None:
            self.ports().listen(conn.binding, on=False)
            if not conn.binding.explicit:
                self.ports().remove(conn.binding)
                conn.binding = None
        if listener is not None:
            listener.close()
        conn.wake(_RD | POLLHUP)

    # -- sending ----------------------------------------------------------------------------------

    def sendmsg(
        self,
        data: bytes | memoryview,
        to: Sockaddr | None,
        control: Sequence[Control],  # noqa: ARG002
        flags: int,
        nonblock: bool,
    ) -> int:
        """Send all of `data`, waiting for room; with `nonblock` as much as there is room for.

        An address is not looked at. Raises EPIPE, ECONNRESET, EAGAIN, EINTR.
        """
        conn = self.conn
        deadline: int | None = None
        if conn.state not in _OPEN:
            if tcpopt.fast_open(self, flags, to):
                self._fast_open(to, nonblock)
                conn = self.conn
            if conn.state in _HANDSHAKE:
                deadline = self.until(self.sndtimeo)
                self._wait_connected(conn, deadline, nonblock)
        if conn.error is not None or conn.snd_shut or conn.state not in _OPEN:
            self._broken()
        total = len(data)
        if not total:
            return 0
        if flags & MSG_MORE or self.corked:
            return self._send_held(conn, data, nonblock, deadline)
        if conn.held:
            conn.flush()
        if flags & MSG_OOB:
            conn.push_urgent(bytes(data))
            return total
        if total <= conn.room():
            conn.push(data)
            return total
        return self._send_slowly(conn, data, nonblock, deadline)

    def _send_held(
        self, conn: TcpConn, data: bytes | memoryview, nonblock: bool, deadline: int | None
    ) -> int:
        """Send, but keep the last part of a segment back: more is to come."""
        if len(conn.held) + len(data) < conn.mss:
            conn.hold(data)
            return len(data)
        conn.flush()
        rest = len(data) % conn.mss
        whole = len(data) - rest
        sent = self._send_slowly(conn, memoryview(data)[:whole], nonblock, deadline) if whole else 0
        if sent == whole and rest:
            conn.hold(memoryview(data)[whole:])
            sent += rest
        return sent

    def _send_slowly(
        self, conn: TcpConn, data: bytes | memoryview, nonblock: bool, deadline: int | None
    ) -> int:
        view = memoryview(data)
        total, done = len(data), 0
        try:
            while True:
                room = conn.room()
                if room > 0:
                    conn.push(view[done : done + room])
                    done = min(total, done + room)
                    if done == total:
                        return total
                if conn.error is not None or conn.snd_shut:
                    self._broken()
                if nonblock:
                    raise KernelError(Errno.EAGAIN)
                if deadline is None:
                    deadline = self.until(self.sndtimeo)
                self.wait(conn.cv_write, deadline)
        except KernelError:
            if done:
                return done
            raise

    def _wait_connected(self, conn: TcpConn, deadline: int | None, nonblock: bool) -> None:
        while conn.state in _HANDSHAKE:
            if nonblock:
                raise KernelError(Errno.EAGAIN)
            self.wait(conn.cv_write, deadline)

    def _broken(self) -> None:
        """Raise the error that has come, or EPIPE."""
        self.take_error()
        raise KernelError(Errno.EPIPE)

    def _fast_open(self, to: Sockaddr | None, nonblock: bool) -> None:
        """Connect with the first data on the way. Raises EDESTADDRREQ, EISCONN, ..."""
        if to is None:
            raise KernelError(Errno.EINVAL)
        try:
            self.connect(to, nonblock, self.cred)
        except KernelError as error:
            if error.errno is not Errno.EINPROGRESS or self.conn.state != TCPS_ESTABLISHED:
                raise

    # -- receiving --------------------------------------------------------------------------------

    def recvmsg(self, size: int, flags: int, nonblock: bool) -> Received:
        """Receive up to `size` bytes; they never reach across the urgent mark.

        Raises EAGAIN, EINTR, ENOTCONN, and what error the connection has met.
        """
        conn = self.conn
        if conn.state == TCPS_LISTEN:
            raise KernelError(Errno.ENOTCONN)
        if flags & MSG_ERRQUEUE:
            raise KernelError(Errno.EAGAIN)
        if flags & MSG_OOB:
            return self._urgent_data(size, flags)
        if not flags and conn.urg < 0 and conn.arrived - conn.copied >= self.rcvlowat:
            data = conn.take(size)
            return Received(data, size=len(data))
        return self._receive(conn, size, flags, nonblock)

    def _receive(self, conn: TcpConn, size: int, flags: int, nonblock: bool) -> Received:
        peek = flags & MSG_PEEK != 0
        target = (size if flags & MSG_WAITALL else min(self.rcvlowat, size)) or 1
        start = max(self.peek_off, 0) if peek else 0
        parts: list[bytes] = []
        got = 0
        deadline: int | None = None
        waited = False
        try:
            while got < size or not size:
                ahead = start + got if peek else 0
                data = conn.read(size - got, peek=peek, skip=ahead)
                if data:
                    parts.append(data)
                    got += len(data)
                    ahead += len(data) if peek else 0
                if got >= target or (got and conn.at_mark(ahead)) or (not size and conn.queued):
                    break
                if got and (conn.error is not None or conn.state == TCPS_CLOSED or nonblock):
                    break
                if conn.rcv_shut and (got or conn.done):
                    break
                if not got:
                    self.take_error()
                    if conn.rcv_shut:
                        break
                    if conn.state == TCPS_CLOSED:
                        raise KernelError(Errno.ENOTCONN)
                    if nonblock:
                        raise KernelError(Errno.EAGAIN)
                if not waited:
                    waited, deadline = True, self.until(self.rcvtimeo)
                self.wait(conn.cv_read, deadline)
        except KernelError:
            if not got:
                raise
        if peek and self.peek_off >= 0:
            self.peek_off += got
        elif self.peek_off > 0:
            self.peek_off = max(0, self.peek_off - got)
        if flags & MSG_TRUNC:
            return Received(b"", size=got)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        return Received(data, size=got)

    def _urgent_data(self, size: int, flags: int) -> Received:
        """Return the urgent byte. Raises EINVAL when there is none or it has been read."""
        conn = self.conn
        if conn.oob_inline or conn.urg < 0 or (conn.urg_byte is None):
            raise KernelError(Errno.EINVAL)
        if conn.state == TCPS_CLOSED and not conn.done:
            raise KernelError(Errno.ENOTCONN)
        byte = conn.urg_byte
        if not flags & MSG_PEEK:
            conn.urg_byte = None
        if not size:
            return Received(b"", flags=MSG_OOB | MSG_TRUNC, size=0)
        data = b"" if flags & MSG_TRUNC else bytes((byte,))
        return Received(data, flags=MSG_OOB, size=1)

    def post_urgent(self) -> None:
        """Tell the owner of the socket that urgent data have come."""
        file = self.open_file()
        if file is not None:
            send_sigurg(file)

    def inq(self) -> int:
        """Return the bytes that can be read, up to the urgent mark. Raises EINVAL."""
        conn = self.conn
        if conn.state == TCPS_LISTEN:
            raise KernelError(Errno.EINVAL)
        return conn.readable

    def outq(self) -> int:
        """Return the bytes that the other end has not taken into its window. Raises EINVAL."""
        if self.conn.state == TCPS_LISTEN:
            raise KernelError(Errno.EINVAL)
        return self.conn.unsent

    def atmark(self) -> int:
        """Return whether the next byte is the urgent one."""
        return int(self.conn.urg >= 0 and self.conn.urg == self.conn.copied)

    # -- the rest ---------------------------------------------------------------------------------

    def poll(self, file: File, events: int) -> tuple[int, Pollhead | None]:  # noqa: ARG002
        """Return what is ready."""
        conn = self.conn
        if conn.listener is not None:
            return (_RD if conn.listener.queue else 0) & events, conn.pollhead
        ready = 0
        if conn.state == TCPS_CLOSED or (conn.rcv_shut and conn.snd_shut):
            ready = POLLHUP
        if conn.rcv_shut:
            ready |= _RD | POLLRDHUP
        if conn.state not in _HANDSHAKE:
            target = self.rcvlowat
            if conn.urg >= 0 and conn.urg == conn.copied and not conn.oob_inline:
                target += 1
            if conn.arrived - conn.copied >= target:
                ready |= _RD
            if conn.snd_shut or conn.writable():
                ready |= POLLOUT
            if conn.urg >= 0 and conn.urg_byte is not None:
                ready |= POLLPRI
        if conn.error is not None:
            ready |= POLLERR
        return ready & (events | POLLERR | POLLHUP), conn.pollhead

    def shutdown(self, how: int) -> None:
        """End a direction. Raises EINVAL, ENOTCONN."""
        bits = shutdown_bits(how)
        conn = self.conn
        if self.progress == _CONNECTING:
            open_ = conn.state not in (*_HANDSHAKE, TCPS_CLOSED)
            self.progress = _CONNECTED if open_ else _DISCONNECTING
        if conn.state == TCPS_LISTEN:
            if bits & RCV_SHUTDOWN:
                self._disconnect()
            return
        if conn.state == TCPS_SYN_SENT:
            self._disconnect()
            return
        closed = conn.state == TCPS_CLOSED
        if bits & RCV_SHUTDOWN:
            conn.rcv_shut = True
        if bits & SEND_SHUTDOWN:
            if closed:
                conn.snd_shut = True
            else:
                conn.send_fin()
        conn.wake(_RD | POLLRDHUP | (POLLHUP if bits == BOTH_SHUTDOWN else 0))
        if closed:
            raise KernelError(Errno.ENOTCONN)

    def close(self, file: File) -> None:  # noqa: ARG002
        """Close: FIN, or RST when data have not been read or SO_LINGER says so."""
        conn = self.conn
        self.leave_groups()
        conn.on_urgent = None
        if conn.listener is not None:
            conn.orphan = True
            self._stop_listening(conn)
            self.stack.tcp_gone(conn)
            return
        linger = self.linger
        conn.close(hard=bool(linger.on and not linger.seconds))
        if linger.on and linger.seconds and conn.state in _DRAINING:
            self._linger(conn, linger.seconds)

    def _linger(self, conn: TcpConn, seconds: int) -> None:
        """Wait until what was sent has been taken, unless the process is on its way out."""
        lwp = _caller()
        if lwp is None or lwp.proc.exiting:
            return
        deadline = self.until(seconds * _SECOND)
        try:
            while conn.state in _DRAINING and conn.cv_write.wait_sig_until(deadline):
                pass
        except Interrupted:
            return

    # -- options ----------------------------------------------------------------------------------

    def getsockopt(self, level: int, name: int, size: int) -> Any:
        """Return an option of TCP, IP or SOL_SOCKET. Raises ENOPROTOOPT."""
        if level == IPPROTO_TCP:
            return tcpopt.get(self, name)
        return super().getsockopt(level, name, size)

    def setsockopt(self, level: int, name: int, value: Any, cred: Cred) -> None:
        """Set an option of TCP, IP or SOL_SOCKET. Raises ENOPROTOOPT, EINVAL."""
        if level == IPPROTO_TCP:
            tcpopt.set_(self, name, value, cred)
            return
        super().setsockopt(level, name, value, cred)
        if level == SOL_SOCKET:
            name = _BUFFERS.get(name, name)
            if name in (SO_SNDBUF, SO_RCVBUF):
                self.locked.add(name)
            self._apply(self.conn, name)

    def _apply(self, conn: TcpConn, name: int) -> None:
        """Tell the connection of an option that concerns it."""
        if name == SO_SNDBUF:
            conn.sndbuf = self.sndbuf
            conn.wake_writers()
        elif name == SO_RCVBUF:
            conn.window = self.rcvbuf // 2
        elif name == SO_RCVLOWAT:
            most = self.rcvbuf // 2 if SO_RCVBUF in self.locked else _MAX_LOWAT
            self.rcvlowat = min(self.rcvlowat, most)
            conn.rcv_lowat = self.rcvlowat
            conn.wake(_RD)
        elif name == SO_OOBINLINE:
            conn.oob_inline = self.options.get(SO_OOBINLINE, 0) != 0


_BUFFERS = {SO_SNDBUFFORCE: SO_SNDBUF, SO_RCVBUFFORCE: SO_RCVBUF}
