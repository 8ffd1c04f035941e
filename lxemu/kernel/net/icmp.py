"""Echo sockets: SOCK_DGRAM of ICMP, with which ping needs no privilege (icmp(7), ping sockets)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.net import ippacket as ip
from lxemu.kernel.net.dgram import Datagram, DatagramSonode, Outgoing
from lxemu.kernel.net.inaddr import is_any
from lxemu.kernel.net.ports import Binding
from lxemu.kernel.net.rawip import send_packet
from lxemu.kernel.net.socketvar import AF_INET, SOCK_DGRAM
from lxemu.kernel.net.tcpconn import Endpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lxemu.kernel.cred import Cred
    from lxemu.kernel.net.netstack import NetStack
    from lxemu.kernel.net.ports import PortTable
    from lxemu.kernel.net.sockaddr import Sockaddr
    from lxemu.kernel.net.socketvar import Control


def create_echo(stack: NetStack, family: int, protocol: int, cred: Cred) -> EchoSonode:
    """Make an echo socket. Raises EACCES unless a group of the caller may have one."""
    low, high = stack.ping_groups
    if not any(low <= gid <= high for gid in (cred.egid, *cred.groups)):
        raise KernelError(Errno.EACCES)
    return EchoSonode(stack, family, protocol, cred)


class EchoSonode(DatagramSonode):
    """An echo socket; its port is the identifier of its requests."""

    def __init__(self, stack: NetStack, family: int, protocol: int, cred: Cred) -> None:
        super().__init__(stack, family, SOCK_DGRAM, protocol, cred)

    def ports(self) -> PortTable:
        """Refuse: identifiers are no ports. Raises EOPNOTSUPP."""
        raise KernelError(Errno.EOPNOTSUPP)

    def _claim(self, host: bytes, ident: int) -> None:
        family = 4 if self.family == AF_INET else 6
        table = self.stack.echo
        if not ident:
            start = int.from_bytes(self.stack.entropy(2), "big")
            for step in range(0x10000):
                ident = (start + step) & 0xFFFF
                if ident and (family, ident) not in table:
                    break
        if (family, ident) in table:
            raise KernelError(Errno.EADDRINUSE)
        self.binding = Binding(self, family, host, ident)
        table[family, ident] = self

    def bind(self, addr: Sockaddr, cred: Cred) -> None:
        """Take an address and an identifier. Raises EADDRINUSE, EINVAL, EADDRNOTAVAIL."""
        host, ident = self.check_bind(addr, cred)
        if self.binding is not None:
            raise KernelError(Errno.EINVAL)
        self._claim(host, ident)
        self.host_locked = not is_any(host)

    def check_bind(self, addr: Sockaddr, cred: Cred) -> Endpoint:  # noqa: ARG002
        """Return address and identifier, checked; none of them is privileged."""
        host, ident = self.decode(addr)
        if not self.stack.may_bind(host):
            raise KernelError(Errno.EADDRNOTAVAIL)
        return Endpoint(host, ident)

    def autobind(self) -> None:
        """Take any identifier, if the socket has none."""
        if self.binding is None:
            self._claim(self.any_host(), 0)

    def check_message(self, size: int) -> None:
        """Raise EMSGSIZE for what no packet can carry."""
        if size > 0xFFFF:
            raise KernelError(Errno.EMSGSIZE)

    def sendmsg(
        self,
        data: bytes | memoryview,
        to: Sockaddr | None,
        control: Sequence[Control],
        flags: int,
        nonblock: bool,  # noqa: ARG002
    ) -> int:
        """Send an echo request; identifier and checksum are ours. Raises EINVAL for another."""
        self.check_message(len(data))
        if len(data) < ip.ICMP_HEADER:
            raise KernelError(Errno.EINVAL)
        kind, code, _sum, _ident, seq = ip.icmp_fields(bytes(data[: ip.ICMP_HEADER]))
        request = ip.ICMP_ECHO if self.family == AF_INET else ip.ICMP6_ECHO_REQUEST
        if kind != request or code:
            raise KernelError(Errno.EINVAL)
        dst = Endpoint(self.check_send(to, flags).host, 0)
        self.autobind()
        assert self.binding is not None
        out = self.outgoing(b"", dst, control)
        self.check_state(dst.host)
        if self.stack.owner_of(dst.host) is None:
            raise KernelError(Errno.ENETUNREACH)
        message = ip.icmp(kind, 0, self.binding.port, seq, bytes(data[ip.ICMP_HEADER :]))
        send_packet(self.stack, self.protocol, out._replace(data=message))
        return len(data)

    def reply(self, out: Outgoing) -> None:
        """Take a reply to one of our requests."""
        stamp = self.stack.clock.realtime()
        src = Endpoint(out.src, 0)
        index = self.stack.loopback.index
        self.deliver(Datagram(out.data, src, out.dst, index, out.ttl, out.tos, stamp))

    def release(self) -> None:
        """Give the identifier back."""
        binding, self.binding = self.binding, None
        if binding is not None:
            self.stack.echo.pop((binding.family, binding.port), None)
