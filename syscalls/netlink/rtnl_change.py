"""NETLINK_ROUTE: requests that change links, addresses and routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.net import ifconfig
from lxemu.kernel.net.netif import IfAddr, NetIf, Route, any_like
from syscalls.abi.xlat_netif import IFF
from syscalls.netlink import message as m
from syscalls.netlink import rtnl

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxemu.kernel.net.netstack import NetStack


def change(stack: NetStack, request: m.Message) -> None:
    """Do a request of one who may. Raises EOPNOTSUPP, EINVAL, ENODEV, EEXIST, EADDRNOTAVAIL."""
    changer = _CHANGERS.get(request.type)
    if changer is None:
        raise KernelError(Errno.EOPNOTSUPP)
    changer(stack, request)


def _set_link(stack: NetStack, request: m.Message) -> None:
    """Change flags, MTU and name; making an interface is not supported."""
    try:
        netif = rtnl.find_link(stack, request.payload)
    except KernelError as error:
        if error.errno is Errno.ENODEV and request.flags & m.NLM_F_CREATE:
            raise KernelError(Errno.EOPNOTSUPP) from None
        raise
    if request.flags & m.NLM_F_EXCL:
        raise KernelError(Errno.EEXIST)
    _, _, _, flags, mask = rtnl.IFINFO.unpack_from(request.payload)
    given = m.attrs(request.payload[rtnl.IFINFO.size :])
    if rtnl.IFLA_MTU in given:
        ifconfig.set_mtu(stack, netif, m.number(given[rtnl.IFLA_MTU]))
    name = given.get(rtnl.IFLA_IFNAME, b"").rstrip(b"\0")
    if name and name != netif.name:
        ifconfig.rename(stack, netif, name)
    if mask or flags:
        wanted, touched = IFF.from_lx[flags], IFF.from_lx[mask] or IFF.from_lx[0xFFFF]
        ifconfig.set_flags(stack, netif, netif.flags & ~touched | wanted & touched)


def _address(stack: NetStack, request: m.Message) -> tuple[NetIf, IfAddr]:
    if len(request.payload) < rtnl.IFADDR.size:
        raise KernelError(Errno.EINVAL)
    _family, prefixlen, _flags, _scope, index = rtnl.IFADDR.unpack_from(request.payload)
    netif = stack.netif(index)
    if netif is None:
        raise KernelError(Errno.ENODEV)
    given = m.attrs(request.payload[rtnl.IFADDR.size :])
    host = given.get(rtnl.IFA_LOCAL) or given.get(rtnl.IFA_ADDRESS)
    if host is None or len(host) not in (4, 16) or prefixlen > len(host) * 8:
        raise KernelError(Errno.EINVAL)
    return netif, IfAddr(host, prefixlen, given.get(rtnl.IFA_BROADCAST, b""))


def _new_address(stack: NetStack, request: m.Message) -> None:
    netif, addr = _address(stack, request)
    replace = request.flags & m.NLM_F_REPLACE != 0
    ifconfig.add_address(stack, netif, addr, replace=replace)


def _del_address(stack: NetStack, request: m.Message) -> None:
    netif, addr = _address(stack, request)
    ifconfig.remove_address(stack, netif, addr.host)


def _route(stack: NetStack, request: m.Message) -> Route:
    if len(request.payload) < rtnl.RTMSG.size:
        raise KernelError(Errno.EINVAL)
    family, prefixlen, *_ = rtnl.RTMSG.unpack_from(request.payload)
    given = m.attrs(request.payload[rtnl.RTMSG.size :])
    dest = given.get(rtnl.RTA_DST, bytes(4 if family == rtnl.LX_AF_INET else 16))
    gateway = given.get(rtnl.RTA_GATEWAY, any_like(dest))
    netif: NetIf | None
    if rtnl.RTA_OIF in given:
        netif = stack.netif(m.number(given[rtnl.RTA_OIF]))
        if netif is None:
            raise KernelError(Errno.ENODEV)
    else:
        via = stack.route(gateway)
        netif = stack.owner_of(gateway) or (via.netif if via is not None else None)
        if netif is None:
            raise KernelError(Errno.ENETUNREACH)
    metric = m.number(given.get(rtnl.RTA_PRIORITY, b""))
    return Route(dest, prefixlen, gateway, netif, metric)


def _new_route(stack: NetStack, request: m.Message) -> None:
    replace = request.flags & m.NLM_F_REPLACE != 0
    ifconfig.add_route(stack, _route(stack, request), replace=replace)


def _del_route(stack: NetStack, request: m.Message) -> None:
    route = _route(stack, request)
    ifconfig.remove_route(stack, route.dest, route.prefixlen)


_CHANGERS: Final[dict[int, Callable[[NetStack, m.Message], None]]] = {
    rtnl.RTM_NEWLINK: _set_link,
    rtnl.RTM_SETLINK: _set_link,
    rtnl.RTM_NEWADDR: _new_address,
    rtnl.RTM_DELADDR: _del_address,
    rtnl.RTM_NEWROUTE: _new_route,
    rtnl.RTM_DELROUTE: _del_route,
}
