"""What the datagram sockets of the Internet share: queue, errors, connecting (illumos udp, icmp).

A datagram is in the receiver's queue as soon as it is sent, or lost when there is no room: nobody
waits to send. An error that comes back (nobody has the port) is told at the next call, and with
IP_RECVERR it is kept with the datagram that it is about.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.net import in_
from lxemu.kernel.net.inaddr import (
    LOOPBACK4,
    LOOPBACK6,
    as_v6,
    is_any,
    is_loopback,
    is_multicast,
)
from lxemu.kernel.net.inet import InetSonode
from lxemu.kernel.net.sockaddr import OtherAddr
from lxemu.kernel.net.socket import shutdown_bits
from lxemu.kernel.net.socketvar import (
    AF_INET,
    AF_UNSPEC,
    IPPROTO_IP,
    IPPROTO_IPV6,
    MSG_ERRQUEUE,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    RCV_SHUTDOWN,
    SCM_TIMESTAMP,
    SCM_TIMESTAMPNS,
    SEND_SHUTDOWN,
    SO_BROADCAST,
    SO_TIMESTAMP,
    SO_TIMESTAMPNS,
    SOL_SOCKET,
    Control,
    Received,
)
from lxemu.kernel.net.tcpconn import Endpoint
from lxemu.kernel.poll import (
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLRDHUP,
    POLLRDNORM,
    Pollhead,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lxemu.kernel.cred import Cred
    from lxemu.kernel.net.netif import NetIf
    from lxemu.kernel.net.netstack import NetStack
    from lxemu.kernel.net.sockaddr import Sockaddr
    from lxemu.kernel.vfs.file import File

#: What IPv4 sees of a socket that has an IPv6 address.
_LOOPBACK4_OF_6 = b"\x7f\0\0\x06"
#: How much of a datagram comes back with an ICMP error, which has to fit 576 (or 1280) bytes.
_QUOTED4, _QUOTED6 = 520, 1184
_RD = POLLIN | POLLRDNORM
#: What a datagram costs of a receive buffer beside its bytes, as the reference system counts.
_HEADERS, _OVERHEAD = 59, 320
_DESCRIPTOR = 256
_SMALL, _LARGE = 576, 16384
#: What is before the payload in an ICMP error: its header and those of the datagram.
_ICMP_HEADERS = 36
_PAGE = 4096


def _ranged(value: int, low: int, default: int) -> int:
    """Return a byte from a control message, -1 meaning the default. Raises EINVAL."""
    if not low <= value <= 255:
        raise KernelError(Errno.EINVAL)
    return default if value < 0 else value


def _cost(size: int) -> int:
    """Return what `size` bytes of payload take: memory comes in powers of two, or in pages."""
    size = (size + _HEADERS + 63 & -64) + _OVERHEAD
    if size <= _SMALL:
        return _SMALL + _DESCRIPTOR
    if size <= _LARGE:
        return (1 << (size - 1).bit_length()) + _DESCRIPTOR
    return (size + _PAGE - 1) // _PAGE * _PAGE + _OVERHEAD + _DESCRIPTOR


class Datagram(NamedTuple):
    """A datagram that has arrived. `stamp` is the date in ns."""

    data: bytes
    src: Endpoint
    dst: Endpoint
    ifindex: int
    ttl: int
    tos: int
    stamp: int

    def cost(self) -> int:
        """Return how much of a receive buffer it takes."""
        return _cost(len(self.data))


class QueuedError(NamedTuple):
    """An error with the datagram that met it and where that was to go."""

    data: bytes
    dst: Endpoint
    error: in_.ExtErr

    def cost(self) -> int:
        """Return how much of the receive buffer it takes."""
        return _cost(len(self.data) + _ICMP_HEADERS)


class Outgoing(NamedTuple):
    """A datagram on its way out, with what control messages and options say of it."""

    data: bytes
    src: bytes
    dst: Endpoint
    netif: NetIf | None
    ttl: int
    tos: int


class DatagramSonode(InetSonode):
    """A datagram socket. `peer` is what it is connected to."""

    def __init__(
        self, stack: NetStack, family: int, sotype: int, protocol: int, cred: Cred
    ) -> None:
        super().__init__(stack, family, sotype, protocol, cred)
        self.peer: Endpoint | None = None
        #: Whom an IPv6 socket was connected to: until it is connected again, it takes IPv6
        #: datagrams from no other host (the reference system forgets to forget).
        self.last_peer = b""
        self.queue: deque[Datagram] = deque()
        self.used = 0
        self.dropped = 0
        self.errors: deque[QueuedError] = deque()
        self.shut = 0
        #: Whether a bind has chosen the address, which a disconnect then leaves alone.
        self.host_locked = False

    def peer_host(self) -> bytes | None:
        """Return the host that the socket is connected to."""
        return self.peer.host if self.peer is not None else None

    # -- names ------------------------------------------------------------------------------------

    def autobind(self) -> None:
        """Take a port of the protocol's choice, if the socket has none."""

    def unbind(self) -> None:
        """Give up a port that only a connect or a send has taken."""

    def local_host(self) -> bytes:
        """Return the socket's own address, unspecified before it has one."""
        return self.binding.host if self.binding is not None else self.any_host()

    def table_port(self) -> int:
        """Return what a table of sockets shows as the port."""
        return self.binding.port if self.binding is not None else 0

    def set_local_host(self, host: bytes) -> None:
        """Change the socket's own address: it has been connected, or disconnected."""
        assert self.binding is not None
        self.binding.host = host

    def getsockname(self) -> Sockaddr:
        """Return the socket's own address."""
        binding = self.binding
        return self.encode(None if binding is None else Endpoint(binding.host, binding.port))

    def getpeername(self) -> Sockaddr:
        """Return the address that the socket is connected to. Raises ENOTCONN."""
        if self.peer is None:
            raise KernelError(Errno.ENOTCONN)
        return self.encode(self.peer)

    def connect(self, addr: Sockaddr, nonblock: bool, cred: Cred) -> None:  # noqa: ARG002
        """Choose whom to talk to from now on; AF_UNSPEC takes the choice back.

        Raises EINVAL, EAFNOSUPPORT, ENETUNREACH, EACCES (broadcast without leave).
        """
        if isinstance(addr, OtherAddr) and addr.family == AF_UNSPEC:
            self._disconnect()
            return
        self.autobind()
        dst = self.destination(addr)
        if self.mcast_if is None or not is_multicast(dst.host):
            self.check_scope(addr)
        if self.stack.is_broadcast(dst.host) and not self.options.get(SO_BROADCAST, 0):
            raise KernelError(Errno.EACCES)
        source = self.local_host()
        if is_any(source):
            source = self.source_for(dst.host)
        elif len(source) == 4 != len(dst.host):
            raise KernelError(Errno.EAFNOSUPPORT)
        if is_any(self.local_host()):
            self.set_local_host(source)
        self.peer = dst
        self.last_peer = b""

    def _disconnect(self) -> None:
        if self.peer is not None and self.family != AF_INET:
            self.last_peer = as_v6(self.peer.host)
        self.peer = None
        if not self.host_locked and self.binding is not None:
            self.set_local_host(self.any_host())
        self.unbind()

    def destination(self, addr: Sockaddr) -> Endpoint:
        """Return where an address leads. The unspecified one means this machine.

        Raises EINVAL, EAFNOSUPPORT, ENETUNREACH.
        """
        host, port = self.decode(addr, exact=False)
        if len(host) == 4 and self.family != AF_INET and self.v6only:
            raise KernelError(Errno.ENETUNREACH)
        if is_any(host):
            v4 = len(host) == 4 or len(self.local_host()) == 4
            host = LOOPBACK4 if v4 else LOOPBACK6
        return Endpoint(host, port)

    def source_for(self, host: bytes) -> bytes:
        """Return the address that a datagram to `host` comes from. Raises ENETUNREACH."""
        stack = self.stack
        if is_multicast(host) or stack.is_broadcast(host):
            netif = self.mcast_if or self.device or stack.multicast_route(host)
            if netif is None and is_loopback(host):
                netif = stack.loopback
            if netif is None:
                raise KernelError(Errno.ENETUNREACH)
            addr = netif.addr4() if len(host) == 4 else netif.addr6()
            return addr.host if addr is not None else self.any_host()
        return stack.source_for(host)

    # -- sending ----------------------------------------------------------------------------------

    def check_send(self, to: Sockaddr | None, flags: int) -> Endpoint:
        """Return where to send. Raises EOPNOTSUPP, EDESTADDRREQ, EPIPE, EACCES, pending errors."""
        if flags & MSG_OOB:
            raise KernelError(Errno.EOPNOTSUPP)
        if to is not None and not (isinstance(to, OtherAddr) and to.family == AF_UNSPEC):
            dst = self.destination(to)
        elif self.peer is not None:
            dst = self.peer
        elif to is not None:
            raise KernelError(Errno.EINVAL)
        else:
            raise KernelError(Errno.EDESTADDRREQ)
        return dst

    def check_state(self, dst: bytes) -> None:
        """Raise what stands in the way of a send to `dst`: EACCES, a pending error, EPIPE."""
        if self.stack.is_broadcast(dst) and not self.options.get(SO_BROADCAST, 0):
            raise KernelError(Errno.EACCES)
        self.take_error()
        if self.shut & SEND_SHUTDOWN:
            raise KernelError(Errno.EPIPE)

    def outgoing(self, data: bytes, dst: Endpoint, control: Sequence[Control]) -> Outgoing:
        """Return `data` with its source, interface and the rest. Raises EINVAL, ENETUNREACH."""
        v4 = len(dst.host) == 4
        level = IPPROTO_IP if v4 else IPPROTO_IPV6
        group = is_multicast(dst.host)
        opts = self.ipopts
        if v4:
            name = in_.IP_MULTICAST_TTL if group else in_.IP_TTL
            ttl = opts.get((level, name), 1 if group else 64)
            tos = opts.get((level, in_.IP_TOS), 0)
        else:
            name = in_.IPV6_MULTICAST_HOPS if group else in_.IPV6_UNICAST_HOPS
            ttl = opts.get((level, name), 1 if group else 64)
            tos = opts.get((level, in_.IPV6_TCLASS), 0)
        netif = self.mcast_if if group else None
        netif = netif or self.device
        src = self.local_host()
        for message in control:
            kind = (message.level, message.type)
            if kind in _PKTINFO:
                netif, src = self._pktinfo(message.data, netif, src)
            elif kind in _HOPS:
                ttl = _ranged(message.data, 1 if v4 else -1, ttl)
            elif kind in _CLASS:
                tos = _ranged(message.data, 0 if v4 else -1, tos)
        if group and not v4 and netif is not None and netif.is_loopback:
            # The loopback has no route for groups of IPv6.
            raise KernelError(Errno.ENETUNREACH)
        if is_any(src):
            src = self.source_for(dst.host) if netif is None else self._source_on(netif, dst)
        elif len(src) != len(dst.host):
            if not v4:
                raise KernelError(Errno.EAFNOSUPPORT)
            src = _LOOPBACK4_OF_6
        return Outgoing(data, src, dst, netif, ttl, tos)

    def _pktinfo(
        self, info: in_.PktInfo, netif: NetIf | None, src: bytes
    ) -> tuple[NetIf | None, bytes]:
        if info.ifindex:
            netif = self.stack.netif(info.ifindex)
            if netif is None:
                raise KernelError(Errno.ENODEV)
        wanted = info.spec_dst
        if wanted and not is_any(wanted):
            if self.stack.owner_of(wanted) is None:
                raise KernelError(Errno.ENETUNREACH if len(wanted) == 4 else Errno.EINVAL)
            src = wanted
        return netif, src

    def _source_on(self, netif: NetIf, dst: Endpoint) -> bytes:
        if netif.is_local(dst.host) and not self.stack.is_broadcast(dst.host):
            return self.source_for(dst.host)
        addr = netif.addr4() if len(dst.host) == 4 else netif.addr6()
        return addr.host if addr is not None else self.source_for(dst.host)

    def failed(self, errno: Errno, out: Outgoing, kind: int, code: int, *, hard: bool) -> None:
        """Take an error that came back for a datagram (an ICMP message of `kind` and `code`).

        It finds a connected socket only when it is about that one's peer.
        """
        if not self.hears(out.dst):
            return
        v4 = len(out.dst.host) == 4
        key = (IPPROTO_IP, in_.IP_RECVERR) if v4 else (IPPROTO_IPV6, in_.IPV6_RECVERR)
        if self.ipopts.get(key):
            origin = in_.EE_ORIGIN_ICMP if v4 else in_.EE_ORIGIN_ICMP6
            error = in_.ExtErr(errno, origin, kind, code, 0, out.dst.host)
            queued = QueuedError(out.data[: _QUOTED4 if v4 else _QUOTED6], out.dst, error)
            if self.used + queued.cost() < self.rcvbuf:
                self.used += queued.cost()
                self.errors.append(queued)
        elif not hard or self.peer is None:
            return
        self.so_error = errno
        self.wake_readers(POLLERR | _RD)

    def hears(self, src: Endpoint) -> bool:
        """Return whether what comes from `src` can be for this socket."""
        if self.peer is not None:
            return self.peer == src
        return not self.last_peer or len(src.host) == 4 or self.last_peer == src.host

    # -- receiving --------------------------------------------------------------------------------

    def deliver(self, datagram: Datagram) -> bool:
        """Put a datagram into the queue; False when there is no room for it."""
        cost = datagram.cost()
        if self.used and self.used + cost > self.rcvbuf:
            self.dropped += 1
            return False
        self.used += cost
        self.queue.append(datagram)
        self.wake_readers(_RD)
        return True

    def recvmsg(self, size: int, flags: int, nonblock: bool) -> Received:
        """Receive one datagram, cut to `size` bytes. Raises EAGAIN, EINTR, a pending error."""
        if flags & MSG_ERRQUEUE:
            return self._receive_error(size)
        if flags & MSG_OOB:
            raise KernelError(Errno.EOPNOTSUPP)
        queue = self.queue
        deadline: int | None = None
        waited = False
        while True:
            self.take_error()
            if queue:
                break
            if nonblock:
                raise KernelError(Errno.EAGAIN)
            if self.shut & RCV_SHUTDOWN:
                return Received(b"")
            if not waited:
                waited, deadline = True, self.until(self.rcvtimeo)
            self.wait(self.cv_read, deadline)
        self.looked()
        datagram, offset = queue[0], 0
        if flags & MSG_PEEK:
            if self.peek_off >= 0:
                datagram, offset = self._peek_at(self.peek_off)
        else:
            queue.popleft()
            self.taken(datagram.cost())
        data = datagram.data[offset : offset + size]
        if self.peek_off >= 0:
            self.peek_off += len(data) if flags & MSG_PEEK else -len(datagram.data)
            self.peek_off = max(0, self.peek_off)
        full = len(datagram.data) - offset
        return Received(
            data,
            self.encode(self.shown_source(datagram), datagram.ifindex),
            self.ancillary(datagram),
            MSG_TRUNC if full > size else 0,
            full,
        )

    def looked(self) -> None:
        """Note that somebody looks at the queue, which is not empty."""

    def taken(self, cost: int) -> None:
        """Give back what a datagram cost of the buffer."""
        self.used -= cost

    def _peek_at(self, offset: int) -> tuple[Datagram, int]:
        """Return the datagram that byte `offset` of the queue is in, and where in it."""
        for datagram in self.queue:
            if offset < len(datagram.data):
                return datagram, offset
            offset -= len(datagram.data)
        return self.queue[0], len(self.queue[0].data)

    def shown_source(self, datagram: Datagram) -> Endpoint:
        """Return the address that recvmsg gives for a datagram."""
        return datagram.src

    def _receive_error(self, size: int) -> Received:
        """Return the oldest queued error; the next one's number is pending from then on."""
        if not self.errors:
            raise KernelError(Errno.EAGAIN)
        found = self.errors.popleft()
        self.used -= found.cost()
        following = self.errors[0].error.errno if self.errors else None
        self.so_error = Errno(following) if following is not None else None
        v4 = self.family == AF_INET
        level = IPPROTO_IP if v4 else IPPROTO_IPV6
        kind = in_.IP_RECVERR if v4 else in_.IPV6_RECVERR
        error = found.error
        if not v4:
            error = error._replace(offender=as_v6(error.offender))
        flags = MSG_ERRQUEUE | (MSG_TRUNC if len(found.data) > size else 0)
        control = (Control(level, kind, error),)
        return Received(found.data[:size], self.encode(found.dst), control, flags, len(found.data))

    def ancillary(self, datagram: Datagram) -> tuple[Control, ...]:
        """Return the control messages that the options of the socket ask for."""
        found: list[Control] = []
        options = self.options
        if options.get(SO_TIMESTAMP, 0):
            found.append(Control(SOL_SOCKET, SCM_TIMESTAMP, datagram.stamp))
        elif options.get(SO_TIMESTAMPNS, 0):
            found.append(Control(SOL_SOCKET, SCM_TIMESTAMPNS, datagram.stamp))
        if self.ipopts:
            if len(datagram.dst.host) == 4:
                self._ancillary4(datagram, found)
            if self.family != AF_INET:
                self._ancillary6(datagram, found)
        return tuple(found)

    def _ancillary4(self, datagram: Datagram, found: list[Control]) -> None:
        opts = self.ipopts
        host, port = datagram.dst
        if opts.get((IPPROTO_IP, in_.IP_PKTINFO)):
            local = host
            if is_multicast(host) or self.stack.is_broadcast(host):
                netif = self.stack.netif(datagram.ifindex)
                addr = netif.addr4() if netif is not None else None
                local = addr.host if addr is not None else host
            info = in_.PktInfo(datagram.ifindex, local, host)
            found.append(Control(IPPROTO_IP, in_.IP_PKTINFO, info))
        if opts.get((IPPROTO_IP, in_.IP_RECVTTL)):
            found.append(Control(IPPROTO_IP, in_.IP_TTL, datagram.ttl))
        if opts.get((IPPROTO_IP, in_.IP_RECVTOS)):
            found.append(Control(IPPROTO_IP, in_.IP_TOS, datagram.tos))
        if opts.get((IPPROTO_IP, in_.IP_RECVORIGDSTADDR)):
            addr4 = self.encode(Endpoint(host, port))
            found.append(Control(IPPROTO_IP, in_.IP_RECVORIGDSTADDR, addr4))

    def _ancillary6(self, datagram: Datagram, found: list[Control]) -> None:
        opts = self.ipopts
        host = as_v6(datagram.dst.host)
        info = in_.PktInfo(datagram.ifindex, host, host)
        four = len(datagram.dst.host) == 4
        for option, kind, value in (
            (in_.IPV6_RECVPKTINFO, in_.IPV6_PKTINFO, info),
            (in_.IPV6_RECVHOPLIMIT, in_.IPV6_HOPLIMIT, datagram.ttl),
            (in_.IPV6_OLD_PKTINFO, in_.IPV6_OLD_PKTINFO, info),
            (in_.IPV6_OLD_HOPLIMIT, in_.IPV6_OLD_HOPLIMIT, datagram.ttl),
        ):
            # Of what came by IPv4 there is no hop limit and no class.
            if opts.get((IPPROTO_IPV6, option)) and not (four and value is not info):
                found.append(Control(IPPROTO_IPV6, kind, value))
        if opts.get((IPPROTO_IPV6, in_.IPV6_RECVTCLASS)) and not four:
            found.append(Control(IPPROTO_IPV6, in_.IPV6_TCLASS, datagram.tos))
        if opts.get((IPPROTO_IPV6, in_.IPV6_RECVORIGDSTADDR)):
            addr = self.encode(datagram.dst)
            found.append(Control(IPPROTO_IPV6, in_.IPV6_RECVORIGDSTADDR, addr))

    # -- the rest ---------------------------------------------------------------------------------

    def inq(self) -> int:
        """Return the length of the next datagram."""
        if not self.queue:
            return 0
        self.looked()
        return len(self.queue[0].data)

    def outq(self) -> int:
        """Return 0: what is sent is gone at once."""
        return 0

    def poll(self, file: File, events: int) -> tuple[int, Pollhead | None]:  # noqa: ARG002
        """Return what is ready. A datagram can always be sent."""
        ready = POLLOUT
        if self.queue:
            ready |= _RD
        if self.shut & RCV_SHUTDOWN:
            ready |= _RD | POLLRDHUP
            if self.shut & SEND_SHUTDOWN:
                ready |= POLLHUP
        if self.so_error is not None or self.errors:
            ready |= POLLERR
        return ready & (events | POLLERR | POLLHUP), self.pollhead

    def shutdown(self, how: int) -> None:
        """End a direction. Raises ENOTCONN when not connected, though it is done all the same."""
        self.shut |= shutdown_bits(how)
        self.wake_readers(_RD | POLLRDHUP | POLLHUP)
        if self.peer is None:
            raise KernelError(Errno.ENOTCONN)

    def close(self, file: File) -> None:  # noqa: ARG002
        """Give the port and the groups back."""
        self.leave_groups()
        self.queue.clear()
        self.release()

    def setsockopt(self, level: int, name: int, value: Any, cred: Cred) -> None:
        """Set an option; who wants no queued errors any more loses those that there are."""
        super().setsockopt(level, name, value, cred)
        if not value and (level, name) in _RECVERR:
            self.used -= sum(error.cost() for error in self.errors)
            self.errors.clear()

    def release(self) -> None:
        """Be found no more."""

    def in_group(self, group: bytes, src: bytes, netif: NetIf) -> bool:
        """Return whether a datagram to `group` that came over `netif` is for this socket."""
        sources = self.groups.get((group, netif.index))
        if sources is not None:
            return not sources or src in sources
        level = IPPROTO_IP if len(group) == 4 else IPPROTO_IPV6
        name = in_.IP_MULTICAST_ALL if len(group) == 4 else in_.IPV6_MULTICAST_ALL
        return bool(self.ipopts.get((level, name), 1)) and group in netif.groups


_RECVERR = frozenset(((IPPROTO_IP, in_.IP_RECVERR), (IPPROTO_IPV6, in_.IPV6_RECVERR)))
_PKTINFO = frozenset(((IPPROTO_IP, in_.IP_PKTINFO), (IPPROTO_IPV6, in_.IPV6_PKTINFO)))
_HOPS = frozenset(((IPPROTO_IP, in_.IP_TTL), (IPPROTO_IPV6, in_.IPV6_HOPLIMIT)))
_CLASS = frozenset(((IPPROTO_IP, in_.IP_TOS), (IPPROTO_IPV6, in_.IPV6_TCLASS)))
