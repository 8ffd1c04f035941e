"""NETLINK_ROUTE: links, addresses, routes, rules, neighbours (rtnetlink(7))."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.net.ifconfig import check_privilege
from lxemu.kernel.net.inaddr import is_link_local, is_loopback, netmask
from lxemu.kernel.net.netif import IFF_UP, IfAddr, NetIf, Route
from syscalls.abi.xlat_netif import ARPHRD, LX_IFF_LOWER_UP, shown_flags
from syscalls.netlink import message as m

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lxemu.kernel.cred import Cred
    from lxemu.kernel.net.netstack import NetStack

Answers = list[tuple[int, bytes]]

LX_AF_INET: Final = 2
LX_AF_INET6: Final = 10
LX_AF_UNSPEC: Final = 0

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = range(16, 20)
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = range(20, 23)
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = range(24, 27)
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = range(28, 31)
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = range(32, 35)
RTM_GETNEIGHTBL: Final = 66
RTM_GETNETCONF: Final = 82

IFINFO: Final = struct.Struct("<BxHiII")
IFADDR: Final = struct.Struct("<BBBBi")
RTMSG: Final = struct.Struct("<8BI")

IFLA_ADDRESS, IFLA_BROADCAST, IFLA_IFNAME, IFLA_MTU = 1, 2, 3, 4
_IFLA_QDISC, _IFLA_STATS, _IFLA_TXQLEN, _IFLA_MAP = 6, 7, 13, 14
_IFLA_OPERSTATE, _IFLA_LINKMODE, _IFLA_STATS64, _IFLA_GROUP = 16, 17, 23, 27
_IFLA_PROMISCUITY, _IFLA_NUM_TX_QUEUES, _IFLA_NUM_RX_QUEUES = 30, 31, 32
_IFLA_CARRIER, _IFLA_CARRIER_CHANGES = 33, 35
_OPER_UNKNOWN, _OPER_DOWN, _OPER_UP = 0, 2, 6

IFA_ADDRESS, IFA_LOCAL, IFA_LABEL, IFA_BROADCAST = 1, 2, 3, 4
_IFA_CACHEINFO, _IFA_FLAGS = 6, 8
_IFA_F_PERMANENT: Final = 0x80
_SCOPE_GLOBAL, _SCOPE_LINK, _SCOPE_HOST = 0, 253, 254
_FOREVER: Final = 0xFFFFFFFF

RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_TABLE = 1, 4, 5, 6, 7, 15
RTA_CACHEINFO: Final = 12
_RTA_UID: Final = 25
#: A route that was looked up, not one of a table; it leads to this machine.
_RTM_F_CLONED, _RTCF_LOCAL = 0x200, 0x80000000
RT_TABLE_MAIN, RT_TABLE_LOCAL = 254, 255
_RTPROT_KERNEL, RTPROT_BOOT = 2, 3
_RTN_UNICAST, _RTN_LOCAL, _RTN_BROADCAST = 1, 2, 3

#: Groups of events: links, and addresses of each family.
_GROUP_LINK, _GROUP_ADDR4, _GROUP_ADDR6 = 1, 5, 9


def answer(stack: NetStack, request: m.Message, cred: Cred) -> Answers | None:
    """Do a request: what it asks for, or None when there is only success to tell.

    Raises EPERM (a change without privilege), EOPNOTSUPP, EINVAL, ENODEV and more.
    """
    kind = request.type
    if kind & 3 != 2:
        check_privilege(cred)
        from syscalls.netlink import rtnl_change

        rtnl_change.change(stack, request)
        return None
    getter = _GETTERS.get(kind)
    if getter is None:
        raise KernelError(Errno.EOPNOTSUPP)
    return getter(stack, request)


def family_of(host: bytes) -> int:
    """Return Linux's family of an address."""
    return LX_AF_INET if len(host) == 4 else LX_AF_INET6


# -- links ----------------------------------------------------------------------------------------


def _stats(netif: NetIf, word: str) -> bytes:
    values = [netif.ipackets, netif.opackets, netif.ibytes, netif.obytes]
    count = 24 if word == "I" else 25
    mask = 0xFFFFFFFF if word == "I" else (1 << 64) - 1
    return struct.pack(f"<{count}{word}", *(value & mask for value in values), *[0] * (count - 4))


def link_payload(netif: NetIf) -> bytes:
    """Return a struct ifinfomsg and the attributes of an interface."""
    up = netif.flags & IFF_UP
    flags = shown_flags(netif) | (LX_IFF_LOWER_UP if up else 0)
    qdisc = b"noqueue" if netif.is_loopback else b"fq_codel"
    state = _OPER_DOWN if not up else _OPER_UNKNOWN if netif.is_loopback else _OPER_UP
    broadcast = netif.hwaddr if netif.is_loopback else b"\xff" * len(netif.hwaddr)
    parts = (
        IFINFO.pack(LX_AF_UNSPEC, ARPHRD.to_lx[netif.type], netif.index, flags, 0),
        m.attr_text(IFLA_IFNAME, netif.name),
        m.attr_u32(_IFLA_TXQLEN, netif.txqlen),
        m.attr_u8(_IFLA_OPERSTATE, state),
        m.attr_u8(_IFLA_LINKMODE, 0),
        m.attr_u32(IFLA_MTU, netif.mtu),
        m.attr_u32(_IFLA_GROUP, 0),
        m.attr_u32(_IFLA_PROMISCUITY, 0),
        m.attr_u32(_IFLA_NUM_TX_QUEUES, 1),
        m.attr_u32(_IFLA_NUM_RX_QUEUES, 1),
        m.attr_u8(_IFLA_CARRIER, 1 if up else 0),
        m.attr_text(_IFLA_QDISC, qdisc if up else b"noop"),
        m.attr_u32(_IFLA_CARRIER_CHANGES, 0),
        m.attr(_IFLA_MAP, bytes(32)),
        m.attr(IFLA_ADDRESS, netif.hwaddr),
        m.attr(IFLA_BROADCAST, broadcast),
        m.attr(_IFLA_STATS64, _stats(netif, "Q")),
        m.attr(_IFLA_STATS, _stats(netif, "I")),
    )
    return b"".join(parts)


def find_link(stack: NetStack, payload: bytes) -> NetIf:
    """Return the interface that a request names by index or name. Raises EINVAL, ENODEV."""
    if len(payload) < IFINFO.size:
        raise KernelError(Errno.EINVAL)
    index = IFINFO.unpack_from(payload)[2]
    name = m.attrs(payload[IFINFO.size :]).get(IFLA_IFNAME)
    if index > 0:
        found = stack.netif(index)
    elif name is not None:
        found = stack.netif_by_name(name.rstrip(b"\0"))
    else:
        raise KernelError(Errno.EINVAL)
    if found is None:
        raise KernelError(Errno.ENODEV)
    return found


def _get_links(stack: NetStack, request: m.Message) -> Answers:
    if request.flags & m.NLM_F_DUMP == m.NLM_F_DUMP:
        return [(RTM_NEWLINK, link_payload(netif)) for netif in stack.interfaces]
    return [(RTM_NEWLINK, link_payload(find_link(stack, request.payload)))]


# -- addresses ------------------------------------------------------------------------------------


def _scope(host: bytes) -> int:
    if is_loopback(host):
        return _SCOPE_HOST
    return _SCOPE_LINK if is_link_local(host) else _SCOPE_GLOBAL


def address_payload(netif: NetIf, addr: IfAddr) -> bytes:
    """Return a struct ifaddrmsg and the attributes of an address."""
    host = addr.host
    family = family_of(host)
    parts = [
        IFADDR.pack(family, addr.prefixlen, _IFA_F_PERMANENT, _scope(host), netif.index),
        m.attr(IFA_ADDRESS, host),
    ]
    if family == LX_AF_INET:
        parts.append(m.attr(IFA_LOCAL, host))
        if addr.broadcast:
            parts.append(m.attr(IFA_BROADCAST, addr.broadcast))
        parts.append(m.attr_text(IFA_LABEL, netif.name))
    parts.append(m.attr_u32(_IFA_FLAGS, _IFA_F_PERMANENT))
    parts.append(m.attr(_IFA_CACHEINFO, struct.pack("<4I", _FOREVER, _FOREVER, 0, 0)))
    return b"".join(parts)


def _get_addresses(stack: NetStack, request: m.Message) -> Answers:
    """Return the addresses, those of IPv4 first, of one family and interface if it says so."""
    family, index = LX_AF_UNSPEC, 0
    if len(request.payload) >= IFADDR.size:
        family, _, _, _, index = IFADDR.unpack_from(request.payload)
    elif request.payload:
        family = request.payload[0]
    if request.flags & m.NLM_F_DUMP != m.NLM_F_DUMP:
        raise KernelError(Errno.EOPNOTSUPP)
    found: Answers = []
    for wanted in (LX_AF_INET, LX_AF_INET6):
        if family not in (LX_AF_UNSPEC, wanted):
            continue
        for netif in stack.interfaces:
            if index and index != netif.index:
                continue
            for addr in netif.addrs:
                if family_of(addr.host) == wanted:
                    found.append((RTM_NEWADDR, address_payload(netif, addr)))
    return found


# -- routes ---------------------------------------------------------------------------------------


def _route_payload(
    dest: bytes,
    prefixlen: int,
    netif: NetIf,
    *,
    table: int = RT_TABLE_MAIN,
    kind: int = _RTN_UNICAST,
    scope: int = _SCOPE_GLOBAL,
    gateway: bytes = b"",
    source: bytes = b"",
    metric: int = 0,
    protocol: int = _RTPROT_KERNEL,
    flags: int = 0,
) -> bytes:
    size = len(dest)
    parts = [
        RTMSG.pack(family_of(dest), prefixlen, 0, 0, table, protocol, scope, kind, flags),
        m.attr_u32(RTA_TABLE, table),
    ]
    if prefixlen:
        parts.append(m.attr(RTA_DST, _network(dest, prefixlen)))
    if gateway and any(gateway):
        parts.append(m.attr(RTA_GATEWAY, gateway))
    if source:
        parts.append(m.attr(RTA_PREFSRC, source))
    if metric or size == 16:
        parts.append(m.attr_u32(RTA_PRIORITY, metric))
    parts.append(m.attr_u32(RTA_OIF, netif.index))
    if flags:
        parts.append(m.attr_u32(_RTA_UID, 0))
    if size == 16 or flags:
        parts.append(m.attr(RTA_CACHEINFO, bytes(32)))
    return b"".join(parts)


def _network(host: bytes, prefixlen: int) -> bytes:
    mask = netmask(prefixlen, len(host))
    return bytes(a & b for a, b in zip(host, mask, strict=True))


def _local_routes(netif: NetIf, addr: IfAddr) -> Iterable[bytes]:
    """Return what the table of local addresses has of one."""
    host, size = addr.host, len(addr.host)
    if size == 16:
        yield _route_payload(host, 128, netif, table=RT_TABLE_LOCAL, kind=_RTN_LOCAL)
        return
    rows = [(host, 32, _RTN_LOCAL, _SCOPE_HOST)]
    if netif.is_loopback and addr.prefixlen < 32:
        rows.insert(0, (host, addr.prefixlen, _RTN_LOCAL, _SCOPE_HOST))
    if addr.prefixlen < 31:
        rest = (1 << 32 - addr.prefixlen) - 1
        last = (int.from_bytes(host, "big") | rest).to_bytes(4, "big")
        rows.append((last, 32, _RTN_BROADCAST, _SCOPE_LINK))
    for dest, prefixlen, kind, scope in rows:
        yield _route_payload(
            dest, prefixlen, netif, table=RT_TABLE_LOCAL, kind=kind, scope=scope, source=host
        )


def _main_route(route: Route) -> bytes:
    source = b""
    scope = _SCOPE_GLOBAL
    protocol = RTPROT_BOOT
    if not any(route.gateway) and len(route.dest) == 4:
        addr = route.netif.addr4()
        source, scope = (addr.host if addr is not None else b""), _SCOPE_LINK
        protocol = _RTPROT_KERNEL
    return _route_payload(
        route.dest,
        route.prefixlen,
        route.netif,
        gateway=route.gateway,
        source=source,
        scope=scope,
        metric=route.metric,
        protocol=protocol,
    )


def _get_routes(stack: NetStack, request: m.Message) -> Answers:
    if request.flags & m.NLM_F_DUMP != m.NLM_F_DUMP:
        return [(RTM_NEWROUTE, _lookup_route(stack, request.payload))]
    family = request.payload[0] if request.payload else LX_AF_UNSPEC
    found: list[bytes] = []
    for wanted in (LX_AF_INET, LX_AF_INET6):
        if family not in (LX_AF_UNSPEC, wanted):
            continue
        found += [_main_route(route) for route in stack.routes if family_of(route.dest) == wanted]
        for netif in stack.interfaces:
            for addr in netif.addrs:
                if family_of(addr.host) == wanted and netif.flags & IFF_UP:
                    found += _local_routes(netif, addr)
    return [(RTM_NEWROUTE, payload) for payload in found]


def _lookup_route(stack: NetStack, payload: bytes) -> bytes:
    """Return the route that a datagram would take. Raises EINVAL, ENETUNREACH."""
    if len(payload) < RTMSG.size:
        raise KernelError(Errno.EINVAL)
    dest = m.attrs(payload[RTMSG.size :]).get(RTA_DST)
    if dest is None or len(dest) not in (4, 16):
        raise KernelError(Errno.EINVAL)
    source = stack.source_for(dest)
    netif = stack.owner_of(dest)
    if netif is not None:
        return _route_payload(
            dest,
            len(dest) * 8,
            stack.loopback,
            kind=_RTN_LOCAL,
            source=source,
            protocol=0,
            flags=_RTM_F_CLONED | _RTCF_LOCAL,
        )
    route = stack.route(dest)
    if route is None:
        raise KernelError(Errno.ENETUNREACH)
    size = len(dest) * 8
    return _route_payload(
        dest,
        size,
        route.netif,
        gateway=route.gateway,
        source=source,
        protocol=0,
        flags=_RTM_F_CLONED,
    )


# -- rules and neighbours -------------------------------------------------------------------------


def _get_rules(_stack: NetStack, request: m.Message) -> Answers:
    """Return the three rules that there always are: local, main and default."""
    family = request.payload[0] if request.payload else LX_AF_INET
    found: Answers = []
    for wanted in (LX_AF_INET, LX_AF_INET6):
        if family not in (LX_AF_UNSPEC, wanted):
            continue
        tables = ((0, RT_TABLE_LOCAL), (32766, RT_TABLE_MAIN), (32767, 253))
        for priority, table in tables[: 3 if wanted == LX_AF_INET else 2]:
            head = RTMSG.pack(wanted, 0, 0, 0, table, _RTPROT_KERNEL, 0, _RTN_UNICAST, 0)
            parts = head + m.attr_u32(RTA_TABLE, table) + m.attr_u32(14, _FOREVER)
            if priority:
                parts += m.attr_u32(RTA_PRIORITY, priority)
            found.append((RTM_NEWRULE, parts))
    return found


def _get_nothing(_stack: NetStack, request: m.Message) -> Answers:
    if request.flags & m.NLM_F_DUMP != m.NLM_F_DUMP:
        raise KernelError(Errno.ENOENT)
    return []


_GETTERS: Final[dict[int, Callable[[NetStack, m.Message], Answers]]] = {
    RTM_GETLINK: _get_links,
    RTM_GETADDR: _get_addresses,
    RTM_GETROUTE: _get_routes,
    RTM_GETNEIGH: _get_nothing,
    RTM_GETRULE: _get_rules,
    RTM_GETNEIGHTBL: _get_nothing,
    RTM_GETNETCONF: _get_nothing,
}


def event(kind: str, netif: NetIf) -> Iterable[tuple[int, int, bytes]]:
    """Return what to tell of a change: the group, the type and the payload of each message."""
    if kind == "link":
        yield _GROUP_LINK, RTM_NEWLINK, link_payload(netif)
        return
    for addr in netif.addrs:
        group = _GROUP_ADDR4 if len(addr.host) == 4 else _GROUP_ADDR6
        yield group, RTM_NEWADDR, address_payload(netif, addr)
