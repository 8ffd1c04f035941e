"""Raw sockets (illumos icmp/rawip; ip(4P), raw(7)), and what the stack does with ICMP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lxemu.kernel.cred import PRIV_NET_RAWACCESS, Cred
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.net import in_
from lxemu.kernel.net import ippacket as ip
from lxemu.kernel.net.dgram import Datagram, DatagramSonode, Outgoing
from lxemu.kernel.net.inaddr import is_any
from lxemu.kernel.net.ports import Binding
from lxemu.kernel.net.socketvar import (
    AF_INET,
    AF_INET6,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPPROTO_RAW,
    SOCK_RAW,
)
from lxemu.kernel.net.tcpconn import Endpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lxemu.kernel.net.netstack import NetStack
    from lxemu.kernel.net.ports import PortTable
    from lxemu.kernel.net.sockaddr import Sockaddr
    from lxemu.kernel.net.socketvar import Control

_MAX_PACKET = 65535


def create_raw(stack: NetStack, family: int, protocol: int, cred: Cred) -> RawSonode:
    """Make a raw socket. Raises EPROTONOSUPPORT, EPERM."""
    if not protocol:
        raise KernelError(Errno.EPROTONOSUPPORT)
    if not cred.crhas(PRIV_NET_RAWACCESS):
        raise KernelError(Errno.EPERM)
    return RawSonode(stack, family, protocol, cred)


class RawSonode(DatagramSonode):
    """A raw socket: it sees every packet of its protocol.

    `icmp_filter` has a bit for every ICMP type that is not wanted.
    """

    def __init__(self, stack: NetStack, family: int, protocol: int, cred: Cred) -> None:
        super().__init__(stack, family, SOCK_RAW, protocol, cred)
        self.binding = Binding(self, 4 if family == AF_INET else 6, self.any_host(), 0)
        self.icmp_filter = 0
        if protocol == IPPROTO_RAW and family == AF_INET:
            self.ipopts[IPPROTO_IP, in_.IP_HDRINCL] = 1
        stack.raw.append(self)

    def ports(self) -> PortTable:
        """Refuse: raw sockets have no ports. Raises EOPNOTSUPP."""
        raise KernelError(Errno.EOPNOTSUPP)

    def table_port(self) -> int:
        """Return what a table of sockets shows as the port: the protocol."""
        return self.protocol

    def bound(self) -> bool:
        """Return whether an address has been chosen."""
        return self.host_locked

    def bind(self, addr: Sockaddr, cred: Cred) -> None:
        """Take an address, again and again if wanted. Raises EADDRNOTAVAIL, EINVAL."""
        host, _ = self.check_bind(addr, cred)
        self.set_local_host(host)
        self.host_locked = not is_any(host)

    def check_bind(self, addr: Sockaddr, cred: Cred) -> Endpoint:  # noqa: ARG002
        """Return the address, checked; a raw socket has no port that would be privileged."""
        host, port = self.decode(addr)
        if not self.stack.may_bind(host):
            raise KernelError(Errno.EADDRNOTAVAIL)
        return Endpoint(host, port)

    def getsockname(self) -> Sockaddr:
        """Return the address; where a port would be there is the protocol."""
        return self.encode(Endpoint(self.local_host(), self.protocol))

    # -- transfer ---------------------------------------------------------------------------------

    def check_message(self, size: int) -> None:
        """Raise EMSGSIZE for what no packet can carry."""
        if size > _MAX_PACKET:
            raise KernelError(Errno.EMSGSIZE)

    def sendmsg(
        self,
        data: bytes | memoryview,
        to: Sockaddr | None,
        control: Sequence[Control],
        flags: int,
        nonblock: bool,  # noqa: ARG002
    ) -> int:
        """Send one packet, with its header when IP_HDRINCL says so.

        Raises EDESTADDRREQ, EMSGSIZE, EINVAL (a bad header), ENETUNREACH, EACCES.
        """
        self.check_message(len(data))
        dst = Endpoint(self.check_send(to, flags).host, 0)
        out = self.outgoing(bytes(data), dst, control)
        self.check_state(dst.host)
        protocol = self.protocol
        if self.family == AF_INET and self.ipopts.get((IPPROTO_IP, in_.IP_HDRINCL)):
            header = ip.parse_ipv4(out.data)
            if header is None:
                raise KernelError(Errno.EINVAL)
            protocol = header.protocol
            src = out.src if is_any(header.src) else header.src
            payload = out.data[header.length :]
            out = out._replace(data=payload, src=src, ttl=header.ttl, tos=header.tos)
        if self.stack.owner_of(dst.host) is None:
            # The host's network is reached through the sockets of its user, which has none of ours.
            raise KernelError(Errno.ENETUNREACH)
        send_packet(self.stack, protocol, out)
        return len(data)

    def take(self, protocol: int, out: Outgoing) -> None:
        """Put a packet into the queue if it is of the kind that the socket is for."""
        v4 = len(out.dst.host) == 4
        if protocol != self.protocol or v4 != (self.family == AF_INET):
            return
        if not is_any(self.local_host()) and self.local_host() != out.dst.host:
            return
        if self.peer is not None and self.peer.host != out.src:
            return
        if protocol in (IPPROTO_ICMP, IPPROTO_ICMPV6) and out.data:
            kind = out.data[0]
            if self.icmp_filter >> kind & 1 and (not v4 or kind < 32):
                return
        data = out.data
        if v4:
            stack = self.stack
            header = ip.IPv4Header(20, out.tos, 0, out.ttl, protocol, out.src, out.dst.host)
            data = ip.ipv4(header, data)
            stamp = stack.clock.realtime()
        else:
            stamp = self.stack.clock.realtime()
        src = Endpoint(out.src, 0)
        ifindex = self.stack.loopback.index
        self.deliver(Datagram(data, src, out.dst, ifindex, out.ttl, out.tos, stamp))

    def release(self) -> None:
        """Be found no more."""
        if self in self.stack.raw:
            self.stack.raw.remove(self)

    # -- options ----------------------------------------------------------------------------------

    def getsockopt(self, level: int, name: int, size: int) -> Any:
        """Return an option of the protocol, IP or SOL_SOCKET. Raises ENOPROTOOPT, EOPNOTSUPP."""
        if self._is_filter(level, name):
            return self.icmp_filter
        return super().getsockopt(level, name, size)

    def setsockopt(self, level: int, name: int, value: Any, cred: Cred) -> None:
        """Set an option of the protocol, IP or SOL_SOCKET. Raises ENOPROTOOPT, EOPNOTSUPP."""
        if self._is_filter(level, name):
            self.icmp_filter = value
        elif level == in_.SOL_RAW and name == in_.IPV6_CHECKSUM and self.family == AF_INET6:
            self.ipopts[IPPROTO_IPV6, name] = value
        else:
            super().setsockopt(level, name, value, cred)

    def _is_filter(self, level: int, name: int) -> bool:
        """Return whether this names the filter of ICMP types. Raises EOPNOTSUPP."""
        if level == in_.SOL_RAW and self.family == AF_INET and name == in_.ICMP_FILTER:
            if self.protocol != IPPROTO_ICMP:
                raise KernelError(Errno.EOPNOTSUPP)
            return True
        if level == IPPROTO_ICMPV6 and self.family == AF_INET6:
            if self.protocol != IPPROTO_ICMPV6:
                raise KernelError(Errno.EOPNOTSUPP)
            return name == in_.ICMP6_FILTER
        return False


# -- what the stack does with a packet ------------------------------------------------------------


def send_packet(stack: NetStack, protocol: int, out: Outgoing) -> None:
    """Deliver a packet for this machine: to raw sockets, and an echo request to us."""
    v4 = len(out.dst.host) == 4
    if protocol == IPPROTO_ICMPV6 and not v4 and len(out.data) >= 4:
        out = out._replace(data=ip.icmp6(out.src, out.dst.host, out.data))
    stack.count(len(out.data) + (20 if v4 else 40))
    for so in tuple(stack.raw):
        so.take(protocol, out)
    if protocol in (IPPROTO_ICMP, IPPROTO_ICMPV6):
        stack.counters.icmp_in += 1
        _icmp_came(stack, protocol, out)


def _icmp_came(stack: NetStack, protocol: int, out: Outgoing) -> None:
    if len(out.data) < ip.ICMP_HEADER:
        return
    kind, _code, _sum, ident, seq = ip.icmp_fields(out.data)
    v4 = protocol == IPPROTO_ICMP
    request, reply = (
        (ip.ICMP_ECHO, ip.ICMP_ECHOREPLY) if v4 else (ip.ICMP6_ECHO_REQUEST, ip.ICMP6_ECHO_REPLY)
    )
    if kind == request:
        payload = out.data[ip.ICMP_HEADER :]
        message = ip.icmp(reply, 0, ident, seq, payload)
        answer = Outgoing(message, out.dst.host, Endpoint(out.src, 0), None, 64, out.tos)
        stack.counters.icmp_out += 1
        send_packet(stack, protocol, answer)
    elif kind == reply:
        echo = stack.echo.get((4 if v4 else 6, ident))
        if echo is not None:
            echo.reply(out)
