"""What all sockets of the Internet families share (illumos sockcommon, ip; ip(7), ipv6(7)).

A socket of family 6 that is not for IPv6 alone speaks IPv4, too: inside, its IPv4 addresses have 4
bytes like those of any other; only at the socket they are mapped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lxemu.kernel.cred import PRIV_NET_PRIVADDR, Cred
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.net import in_, ipopt
from lxemu.kernel.net.inaddr import (
    ANY4,
    ANY6,
    as_v6,
    is_any,
    is_link_local,
    needs_scope,
    unmap,
)
from lxemu.kernel.net.ports import Binding
from lxemu.kernel.net.sockaddr import Inet6Addr, InetAddr, OtherAddr
from lxemu.kernel.net.socket import Sonode
from lxemu.kernel.net.socketvar import (
    AF_INET,
    AF_INET6,
    AF_UNSPEC,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPPROTO_UDPLITE,
    SO_BINDTODEVICE,
    SO_BINDTOIFINDEX,
    SO_REUSEADDR,
    SO_REUSEPORT,
    SOCK_DGRAM,
    SOCK_RAW,
    SOCK_STREAM,
    SOL_SOCKET,
)
from lxemu.kernel.net.tcpconn import Endpoint

if TYPE_CHECKING:
    from lxemu.kernel.net.netif import NetIf
    from lxemu.kernel.net.netstack import NetStack
    from lxemu.kernel.net.ports import PortTable
    from lxemu.kernel.net.sockaddr import Sockaddr

#: Shortest lengths of a sockaddr of each family (an IPv6 one may lack the scope).
_MIN4, _MIN6 = 16, 24


def create(stack: NetStack, family: int, sotype: int, protocol: int, cred: Cred) -> Sonode:
    """Make an Internet socket. Raises EPROTONOSUPPORT, ESOCKTNOSUPPORT, EPERM, EACCES."""
    icmp = IPPROTO_ICMP if family == AF_INET else IPPROTO_ICMPV6
    if sotype == SOCK_STREAM:
        if protocol not in (0, IPPROTO_TCP):
            raise KernelError(Errno.EPROTONOSUPPORT)
        from lxemu.kernel.net.tcp import TcpSonode

        return TcpSonode(stack, family, cred)
    if sotype == SOCK_DGRAM and protocol in (0, IPPROTO_UDP, IPPROTO_UDPLITE):
        from lxemu.kernel.net.udp import UdpSonode

        return UdpSonode(stack, family, protocol or IPPROTO_UDP, cred)
    if sotype == SOCK_DGRAM and protocol == icmp:
        from lxemu.kernel.net.icmp import create_echo

        return create_echo(stack, family, protocol, cred)
    if sotype == SOCK_RAW:
        from lxemu.kernel.net.rawip import create_raw

        return create_raw(stack, family, protocol, cred)
    if sotype == SOCK_DGRAM:
        raise KernelError(Errno.EPROTONOSUPPORT)
    raise KernelError(Errno.ESOCKTNOSUPPORT)


class InetSonode(Sonode):
    """A socket of AF_INET or AF_INET6.

    `binding` is its port, None before it has one. `ipopts` holds the options of IP and IPv6 by
    level and name, `groups` the multicast memberships: (group, interface index) and the sources,
    where they are limited.
    """

    internet = True

    def __init__(
        self, stack: NetStack, family: int, sotype: int, protocol: int, cred: Cred
    ) -> None:
        super().__init__(stack, sotype, protocol, cred)
        self.family = family
        self.binding: Binding | None = None
        self.ipopts: dict[tuple[int, int], Any] = {}
        self.groups: dict[tuple[bytes, int], set[bytes]] = {}
        self.mcast_if: NetIf | None = None
        self.device: NetIf | None = None

    # -- addresses --------------------------------------------------------------------------------

    @property
    def v6only(self) -> bool:
        """Whether a socket of family 6 speaks IPv6 alone."""
        return bool(self.ipopts.get((IPPROTO_IPV6, in_.IPV6_V6ONLY), 0))

    def any_host(self) -> bytes:
        """Return the unspecified address of the socket's family."""
        return ANY4 if self.family == AF_INET else ANY6

    def decode(self, addr: Sockaddr, *, exact: bool = True) -> Endpoint:
        """Return what a socket address says. Raises EINVAL (too short), EAFNOSUPPORT.

        Without `exact` a socket of family 6 takes addresses of family 4 as well.
        """
        if isinstance(addr, InetAddr):
            if self.family == AF_INET6 and exact:
                raise KernelError(Errno.EINVAL if addr.size < _MIN6 else Errno.EAFNOSUPPORT)
            return Endpoint(addr.host, addr.port)
        if isinstance(addr, Inet6Addr):
            if self.family == AF_INET:
                raise KernelError(Errno.EAFNOSUPPORT)
            return Endpoint(unmap(addr.host), addr.port)
        size = addr.size if isinstance(addr, OtherAddr) else _MIN6
        if size < (_MIN4 if self.family == AF_INET else _MIN6):
            raise KernelError(Errno.EINVAL)
        raise KernelError(Errno.EAFNOSUPPORT)

    def check_scope(self, addr: Sockaddr) -> None:
        """Raise EINVAL for an address that needs an interface to be chosen, and has none."""
        if isinstance(addr, Inet6Addr) and needs_scope(addr.host):
            index = addr.scope or (self.device.index if self.device is not None else 0)
            if not index or self.stack.netif(index) is None:
                raise KernelError(Errno.EINVAL)

    def encode(self, endpoint: Endpoint | None, scope: int = 0) -> Sockaddr:
        """Return an endpoint as the socket's family shows it; None is all zero."""
        host, port = endpoint or Endpoint(self.any_host(), 0)
        if self.family == AF_INET:
            return InetAddr(host, port)
        if len(host) == 4 and is_any(host):
            return Inet6Addr(ANY6, port)
        if not scope and is_link_local(host):
            netif = self.stack.owner_of(host)
            scope = netif.index if netif is not None else 0
        return Inet6Addr(as_v6(host), port, 0, scope if is_link_local(host) else 0)

    def bound(self) -> bool:
        """Return whether the socket has a port."""
        return self.binding is not None

    def peer_host(self) -> bytes | None:
        """Return the host that the socket is connected to."""
        return None

    # -- binding ----------------------------------------------------------------------------------

    def ports(self) -> PortTable:
        """Return the table that the socket's port is in."""
        raise NotImplementedError

    def owner(self) -> Any:
        """Return what a binding of the socket delivers to."""
        return self

    def check_bind(self, addr: Sockaddr, cred: Cred) -> Endpoint:
        """Return the address to bind to, checked. Raises EADDRNOTAVAIL, EACCES, EINVAL."""
        if isinstance(addr, OtherAddr) and addr.family == AF_UNSPEC and self.family == AF_INET:
            # An old form: no family, and the unspecified address.
            if addr.size < _MIN4:
                raise KernelError(Errno.EINVAL)
            if any(addr.data[2:6]):
                raise KernelError(Errno.EAFNOSUPPORT)
            addr = InetAddr(ANY4, int.from_bytes(addr.data[:2], "big"))
        host, port = self.decode(addr)
        if self.family == AF_INET6 and len(host) == 4 and self.v6only:
            raise KernelError(Errno.EINVAL)
        self.check_scope(addr)
        if not self.stack.may_bind(host) and not self._free_bind():
            raise KernelError(Errno.EADDRNOTAVAIL)
        if 0 < port < self.stack.first_unprivileged and not cred.crhas(PRIV_NET_PRIVADDR):
            raise KernelError(Errno.EACCES)
        return Endpoint(host, port)

    def _free_bind(self) -> bool:
        opts = self.ipopts
        return bool(
            opts.get((IPPROTO_IP, in_.IP_FREEBIND))
            or opts.get((IPPROTO_IPV6, in_.IPV6_FREEBIND))
            or opts.get((IPPROTO_IP, in_.IP_TRANSPARENT))
            or opts.get((IPPROTO_IPV6, in_.IPV6_TRANSPARENT))
        )

    def new_binding(self, host: bytes, port: int) -> Binding:
        """Return a binding with the socket's rules of sharing, not entered yet."""
        binding = Binding(self.owner(), 4 if self.family == AF_INET else 6, host, port)
        binding.v6only = self.v6only
        binding.reuse_addr = self.options.get(SO_REUSEADDR, 0) != 0
        binding.reuse_port = self.options.get(SO_REUSEPORT, 0) != 0
        binding.uid = self.uid
        return binding

    def claim(self, host: bytes, port: int) -> Binding:
        """Take a port, any free one for 0. Raises EADDRINUSE."""
        binding = self.new_binding(host, port)
        self.ports().claim(binding)
        self.binding = binding
        return binding

    # -- options ----------------------------------------------------------------------------------

    def getsockopt(self, level: int, name: int, size: int) -> Any:
        """Return an option of IP, IPv6 or SOL_SOCKET. Raises ENOPROTOOPT, EOPNOTSUPP."""
        if level == IPPROTO_IP:
            return ipopt.get(self, level, name)
        if level == IPPROTO_IPV6 and self.family == AF_INET6:
            return ipopt.get(self, level, name)
        if level == SOL_SOCKET and name == SO_BINDTODEVICE:
            return self.device.name if self.device is not None else b""
        if level == SOL_SOCKET and name == SO_BINDTOIFINDEX:
            return self.device.index if self.device is not None else 0
        if level != SOL_SOCKET:
            other = self.family == AF_INET
            raise KernelError(Errno.EOPNOTSUPP if other else Errno.ENOPROTOOPT)
        return super().getsockopt(level, name, size)

    def setsockopt(self, level: int, name: int, value: Any, cred: Cred) -> None:
        """Set an option of IP, IPv6 or SOL_SOCKET. Raises ENOPROTOOPT, EINVAL, ..."""
        if level == IPPROTO_IP or (level == IPPROTO_IPV6 and self.family == AF_INET6):
            ipopt.set_(self, level, name, value, cred)
        elif level == SOL_SOCKET and name in (SO_BINDTODEVICE, SO_BINDTOIFINDEX):
            self._bind_to_device(name, value)
        elif level == SOL_SOCKET:
            super().setsockopt(level, name, value, cred)
            if self.binding is not None:
                self.binding.reuse_addr = self.options.get(SO_REUSEADDR, 0) != 0
                self.binding.reuse_port = self.options.get(SO_REUSEPORT, 0) != 0
        else:
            raise KernelError(Errno.ENOPROTOOPT)

    def _bind_to_device(self, name: int, value: Any) -> None:
        if not value:
            self.device = None
            return
        stack = self.stack
        named = name == SO_BINDTODEVICE
        netif = stack.netif_by_name(value) if named else stack.netif(value)
        if netif is None:
            raise KernelError(Errno.ENODEV)
        self.device = netif

    def leave_groups(self) -> None:
        """End every membership: the socket is closed."""
        for key in tuple(self.groups):
            ipopt.forget_group(self, key)
