"""UDP sockets (illumos udp; udp(4P), udp(7)). UDP-Lite is the same with ports of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.net import in_
from lxemu.kernel.net.dgram import Datagram, DatagramSonode, Outgoing
from lxemu.kernel.net.inaddr import is_any, is_multicast
from lxemu.kernel.net.socketvar import (
    AF_INET,
    AF_INET6,
    IPPROTO_UDP,
    MSG_MORE,
    SOCK_DGRAM,
)
from lxemu.kernel.net.tcpconn import Endpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lxemu.kernel.cred import Cred
    from lxemu.kernel.net.netif import NetIf
    from lxemu.kernel.net.netstack import NetStack
    from lxemu.kernel.net.ports import PortTable
    from lxemu.kernel.net.sockaddr import Sockaddr
    from lxemu.kernel.net.socketvar import Control

#: Most payload that a datagram of each family carries.
MAX_PAYLOAD4 = 65507
MAX_PAYLOAD6 = 65527
#: ICMP "destination unreachable", "port unreachable", in both versions.
_UNREACHABLE4, _PORT4 = 3, 3
_UNREACHABLE6, _PORT6 = 1, 4
_UDP_HEADER = 28


class UdpSonode(DatagramSonode):
    """A UDP socket. `corked` is the datagram that MSG_MORE or UDP_CORK keeps back."""

    def __init__(self, stack: NetStack, family: int, protocol: int, cred: Cred) -> None:
        super().__init__(stack, family, SOCK_DGRAM, protocol, cred)
        self.explicit = False
        self.cork = False
        self.corked: tuple[Endpoint, bytearray] | None = None
        self.segment = 0
        #: A reader takes what there is in one go; what that cost of the buffer comes back when the
        #: `batch` is read to its end, or a quarter of the buffer at a time.
        self.batch = 0
        self.owed = 0
        #: What sends to and receives from the host's network, once something has gone there.
        self.outside: Any = None

    # -- ports ------------------------------------------------------------------------------------

    def ports(self) -> PortTable:
        """Return the ports of UDP, or of UDP-Lite."""
        return self.stack.udp if self.protocol == IPPROTO_UDP else self.stack.udplite

    def bind(self, addr: Sockaddr, cred: Cred) -> None:
        """Take an address. Raises EINVAL when the socket has one, EADDRINUSE, EACCES."""
        host, port = self.check_bind(addr, cred)
        if self.binding is not None:
            raise KernelError(Errno.EINVAL)
        self.claim(host, port)
        self.explicit = port != 0
        self.host_locked = not is_any(host)

    def autobind(self) -> None:
        """Take any free port, if the socket has none."""
        if self.binding is None:
            try:
                self.claim(self.any_host(), 0)
            except KernelError:
                raise KernelError(Errno.EAGAIN) from None

    def shares_port(self) -> bool:
        """Return whether the socket is one of a group that shares a port."""
        return self.binding is not None and self.binding.reuse_port

    def unbind(self) -> None:
        """Give up a port that nobody asked for by number."""
        if not self.explicit and self.binding is not None:
            self.release()

    def release(self) -> None:
        """Give the port back, and what was opened on the host."""
        if self.binding is not None:
            self.ports().remove(self.binding)
            self.binding = None
        if self.outside is not None:
            self.outside.close()
            self.outside = None

    def looked(self) -> None:
        """Take all that has come as the next batch, when the last one has been read."""
        if not self.batch:
            self.batch = len(self.queue)

    def taken(self, cost: int) -> None:
        """Give back what datagrams cost of the buffer, several at a time."""
        self.batch -= 1
        self.owed += cost
        if not self.batch or self.owed >= self.rcvbuf >> 2:
            self.used -= self.owed
            self.owed = 0

    # -- sending ----------------------------------------------------------------------------------

    def check_message(self, size: int) -> None:
        """Raise EMSGSIZE for what no datagram can carry."""
        if size > (MAX_PAYLOAD4 if self.family == AF_INET else 0xFFFF):
            raise KernelError(Errno.EMSGSIZE)

    def sendmsg(
        self,
        data: bytes | memoryview,
        to: Sockaddr | None,
        control: Sequence[Control],
        flags: int,
        nonblock: bool,  # noqa: ARG002
    ) -> int:
        """Send one datagram.

        Raises EDESTADDRREQ, EINVAL (port 0), EMSGSIZE, ENETUNREACH, EACCES, EPIPE, and the error
        that an earlier datagram has met.
        """
        self.autobind()
        self.check_message(len(data))
        if self.corked is not None:
            return self._uncork(data, flags)
        dst = self.check_send(to, flags)
        if to is not None and not dst.port:
            raise KernelError(Errno.EINVAL)
        limit = MAX_PAYLOAD4 if len(dst.host) == 4 else MAX_PAYLOAD6
        out = self.outgoing(bytes(data), dst, control)
        self.check_state(dst.host)
        if len(data) > limit:
            raise KernelError(Errno.EMSGSIZE)
        if flags & MSG_MORE or self.cork:
            self.corked = (dst, bytearray(data))
            return len(data)
        segment = self.segment
        for message in control:
            if message.level == IPPROTO_UDP and message.type == in_.UDP_SEGMENT:
                segment = message.data
        if 0 < segment < len(data):
            for at in range(0, len(data), segment):
                self._transmit(out._replace(data=out.data[at : at + segment]))
        else:
            self._transmit(out)
        return len(data)

    def _uncork(self, data: bytes | memoryview, flags: int) -> int:
        """Add to the datagram that is kept back, and send it unless more is to come."""
        assert self.corked is not None
        dst, kept = self.corked
        if len(kept) + len(data) > (MAX_PAYLOAD4 if len(dst.host) == 4 else MAX_PAYLOAD6):
            raise KernelError(Errno.EMSGSIZE)
        kept += data
        if not flags & MSG_MORE and not self.cork:
            self.flush()
        return len(data)

    def flush(self) -> None:
        """Send the datagram that was kept back."""
        if self.corked is not None:
            (dst, kept), self.corked = self.corked, None
            self._transmit(self.outgoing(bytes(kept), dst, ()))

    def _transmit(self, out: Outgoing) -> None:
        stack = self.stack
        assert self.binding is not None
        stack.counters.udp_out += 1
        src = Endpoint(out.src, self.binding.port)
        host = out.dst.host
        ports = self.ports()
        publisher = stack.published_peer(src, out.dst) if ports is stack.udp else None
        if publisher is not None:
            publisher.reply(out.data, out.dst)
        elif is_multicast(host) or stack.is_broadcast(host):
            self._to_many(out, src)
        elif stack.owner_of(host) is None:
            stack.host.send(self, out)
        elif not send_local(stack, ports, src, out):
            if stack.host is not None:
                stack.host.send(self, out)
                return
            v4 = len(host) == 4
            kind, code = (_UNREACHABLE4, _PORT4) if v4 else (_UNREACHABLE6, _PORT6)
            self.failed(Errno.ECONNREFUSED, out, kind, code, hard=True)

    def _to_many(self, out: Outgoing, src: Endpoint) -> None:
        stack = self.stack
        netif = out.netif or stack.owner_of(out.src) or stack.loopback
        if not netif.is_loopback and stack.host is not None:
            stack.host.send(self, out)
        send_to_all(stack, self.ports(), src, out, netif)

    # -- options ----------------------------------------------------------------------------------

    def getsockopt(self, level: int, name: int, size: int) -> Any:
        """Return an option of UDP, IP or SOL_SOCKET. Raises ENOPROTOOPT."""
        if level != self.protocol:
            return super().getsockopt(level, name, size)
        if name == in_.UDP_CORK:
            return int(self.cork)
        if name == in_.UDP_SEGMENT:
            return self.segment
        if name == in_.UDP_GRO:
            return 0
        raise KernelError(Errno.ENOPROTOOPT)

    def setsockopt(self, level: int, name: int, value: Any, cred: Cred) -> None:
        """Set an option of UDP, IP or SOL_SOCKET. Raises ENOPROTOOPT, EINVAL."""
        if level != self.protocol:
            super().setsockopt(level, name, value, cred)
        elif name == in_.UDP_CORK:
            self.cork = value != 0
            if not self.cork:
                self.flush()
        elif name == in_.UDP_SEGMENT:
            if not 0 <= value <= 0xFFFF:
                raise KernelError(Errno.EINVAL)
            self.segment = value
        elif name != in_.UDP_GRO:
            raise KernelError(Errno.ENOPROTOOPT)


# -- delivery -------------------------------------------------------------------------------------


def send_local(stack: NetStack, ports: PortTable, src: Endpoint, out: Outgoing) -> bool:
    """Deliver a datagram for an address of this machine; False when nobody has the port."""
    so = receiver(ports, src, out.dst)
    if so is None:
        stack.counters.udp_noports += 1
        return False
    stack.count(len(out.data) + _UDP_HEADER)
    _hand_over(stack, so, src, out, stack.loopback)
    return True


def receiver(ports: PortTable, src: Endpoint, dst: Endpoint) -> UdpSonode | None:
    """Return the socket that a datagram is for: one connected to its sender before any other."""
    best: list[UdpSonode] = []
    top = 0
    for binding in ports.at(dst.port):
        so = binding.owner
        score = binding.score(dst.host)
        if not score or not so.hears(src):
            continue
        if so.peer is not None:
            score += 8
        if score > top:
            best, top = [so], score
        elif score == top:
            best.append(so)
    if not best:
        return None
    if len(best) > 1 and all(so.shares_port() for so in best):
        return best[hash(src) % len(best)]
    return best[-1]


def send_to_all(
    stack: NetStack, ports: PortTable, src: Endpoint, out: Outgoing, netif: NetIf
) -> None:
    """Deliver a multicast or broadcast to every socket that wants it."""
    host, port = out.dst
    group = is_multicast(host)
    for binding in tuple(ports.at(port)):
        so = binding.owner
        family = AF_INET if len(host) == 4 else AF_INET6
        if so.family != family and not (family == AF_INET and not so.v6only):
            continue
        if not is_any(binding.host) and binding.host != host:
            continue
        if not so.hears(src):
            continue
        if group and not so.in_group(host, src.host, netif):
            continue
        _hand_over(stack, so, src, out, netif)


def _hand_over(stack: NetStack, so: UdpSonode, src: Endpoint, out: Outgoing, netif: NetIf) -> None:
    stamp = stack.clock.realtime()
    datagram = Datagram(out.data, src, out.dst, netif.index, out.ttl, out.tos, stamp)
    if so.deliver(datagram):
        stack.counters.udp_in += 1
    else:
        stack.counters.udp_full += 1
