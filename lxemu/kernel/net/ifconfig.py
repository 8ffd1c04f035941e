"""Changing interfaces, addresses and routes, which takes a privilege (illumos ipadm, route(8))."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.cred import PRIV_SYS_IP_CONFIG, Cred
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.net.netif import IFF_ALLMULTI, IFF_PROMISC, IFF_UP, IfAddr, bring_up

if TYPE_CHECKING:
    from lxemu.kernel.net.netif import NetIf, Route
    from lxemu.kernel.net.netstack import NetStack

#: Flags that may be changed.
_CHANGEABLE = IFF_UP | IFF_PROMISC | IFF_ALLMULTI
_MIN_MTU = 68


def check_privilege(cred: Cred) -> None:
    """Raise EPERM for who may not configure the network."""
    if not cred.crhas(PRIV_SYS_IP_CONFIG):
        raise KernelError(Errno.EPERM)


def set_flags(stack: NetStack, netif: NetIf, flags: int) -> None:
    """Change the flags of an interface, as far as they can be; an interface that goes up runs."""
    netif.flags = netif.flags & ~_CHANGEABLE | flags & _CHANGEABLE
    if netif.flags & IFF_UP:
        bring_up(netif)
    stack.changed("link", netif)


def set_mtu(stack: NetStack, netif: NetIf, mtu: int) -> None:
    """Change the largest datagram. Raises EINVAL."""
    if mtu < (0 if netif.is_loopback else _MIN_MTU):
        raise KernelError(Errno.EINVAL)
    netif.mtu = mtu
    stack.changed("link", netif)


def rename(stack: NetStack, netif: NetIf, name: bytes) -> None:
    """Change the name. Raises EEXIST, EINVAL."""
    if not 0 < len(name) < 16 or b"/" in name:
        raise KernelError(Errno.EINVAL)
    if stack.netif_by_name(name) not in (None, netif):
        raise KernelError(Errno.EEXIST)
    netif.name = name
    stack.changed("link", netif)


def add_address(stack: NetStack, netif: NetIf, addr: IfAddr, *, replace: bool = False) -> None:
    """Give an interface another address. Raises EEXIST."""
    for at, known in enumerate(netif.addrs):
        if known.host == addr.host and known.prefixlen == addr.prefixlen:
            if not replace:
                raise KernelError(Errno.EEXIST)
            netif.addrs[at] = addr
            return
    netif.addrs.append(addr)
    stack.changed("addr", netif)


def remove_address(stack: NetStack, netif: NetIf, host: bytes) -> None:
    """Take an address away. Raises EADDRNOTAVAIL."""
    for addr in netif.addrs:
        if addr.host == host:
            netif.addrs.remove(addr)
            stack.changed("addr", netif)
            return
    raise KernelError(Errno.EADDRNOTAVAIL)


def set_address(stack: NetStack, netif: NetIf, host: bytes) -> None:
    """Replace the first IPv4 address, keeping the length of its prefix."""
    old = netif.addr4()
    if old is not None:
        netif.addrs.remove(old)
    if any(host):
        prefixlen = old.prefixlen if old is not None else 8 if netif.is_loopback else 24
        netif.addrs.insert(0, IfAddr(host, prefixlen))
    stack.changed("addr", netif)


def set_netmask(stack: NetStack, netif: NetIf, mask: bytes) -> None:
    """Replace the prefix length of the first IPv4 address. Raises EADDRNOTAVAIL, EINVAL."""
    old = netif.addr4()
    if old is None:
        raise KernelError(Errno.EADDRNOTAVAIL)
    bits = int.from_bytes(mask, "big")
    prefixlen = bits.bit_count()
    if bits != (0xFFFFFFFF << 32 - prefixlen) & 0xFFFFFFFF:
        raise KernelError(Errno.EINVAL)
    netif.addrs[netif.addrs.index(old)] = old._replace(prefixlen=prefixlen)
    stack.changed("addr", netif)


def add_route(stack: NetStack, route: Route, *, replace: bool = False) -> None:
    """Enter a route. Raises EEXIST."""
    for at, known in enumerate(stack.routes):
        if known[:2] == route[:2] and known.metric == route.metric:
            if not replace:
                raise KernelError(Errno.EEXIST)
            stack.routes[at] = route
            return
    stack.routes.append(route)


def remove_route(stack: NetStack, dest: bytes, prefixlen: int) -> None:
    """Take a route out. Raises ESRCH."""
    for route in stack.routes:
        if route.dest == dest and route.prefixlen == prefixlen:
            stack.routes.remove(route)
            return
    raise KernelError(Errno.ESRCH)
