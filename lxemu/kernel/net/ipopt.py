"""Options at the levels of IP and IPv6, for all Internet sockets (ip(4P), ip6(4P); ip(7)).

An option is a number with a default and a range; who sends or receives looks at it. What needs more
than a number (groups, interfaces) has a function of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lxemu.kernel.cred import PRIV_NET_RAWACCESS, PRIV_SYS_IP_CONFIG, Cred
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.net import in_
from lxemu.kernel.net.inaddr import is_any, is_multicast
from lxemu.kernel.net.socketvar import (
    AF_INET,
    IPPROTO_IP,
    IPPROTO_IPV6,
    SOCK_RAW,
    SOCK_STREAM,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxemu.kernel.net.inet import InetSonode
    from lxemu.kernel.net.netif import NetIf


class Rule(NamedTuple):
    """A numeric option: its value at first, and what may be set (`unset` stands for the first)."""

    default: int = 0
    low: int = 0
    high: int = 1
    unset: int | None = None
    boolean: bool = True


def _number(default: int, low: int, high: int, unset: int | None = None) -> Rule:
    return Rule(default, low, high, unset, False)


_FLAG: Final = Rule()
_ON: Final = Rule(1)
_INT_MAX: Final = 0x7FFFFFFF

V4: Final[dict[int, Rule]] = {
    in_.IP_TOS: _number(0, -_INT_MAX - 1, _INT_MAX),
    in_.IP_TTL: _number(64, 1, 255, -1),
    in_.IP_RECVOPTS: _FLAG,
    in_.IP_RECVRETOPTS: _FLAG,
    in_.IP_RECVTTL: _FLAG,
    in_.IP_RECVTOS: _FLAG,
    in_.IP_PKTINFO: _FLAG,
    in_.IP_RECVERR: _FLAG,
    in_.IP_RECVERR_RFC4884: _FLAG,
    in_.IP_RECVORIGDSTADDR: _FLAG,
    in_.IP_RECVFRAGSIZE: _FLAG,
    in_.IP_PASSSEC: _FLAG,
    in_.IP_FREEBIND: _FLAG,
    in_.IP_CHECKSUM: _FLAG,
    in_.IP_BIND_ADDRESS_NO_PORT: _FLAG,
    in_.IP_MTU_DISCOVER: _number(in_.PMTUDISC_WANT, 0, in_.PMTUDISC_OMIT),
    in_.IP_MINTTL: _number(0, 0, 255),
    in_.IP_MULTICAST_TTL: _number(1, 0, 255, -1),
    in_.IP_MULTICAST_LOOP: _ON,
    in_.IP_MULTICAST_ALL: _number(1, 0, 1),
    in_.IP_LOCAL_PORT_RANGE: _number(0, 0, 0xFFFFFFFF),
}
V6: Final[dict[int, Rule]] = {
    in_.IPV6_UNICAST_HOPS: _number(64, 0, 255, -1),
    in_.IPV6_MULTICAST_HOPS: _number(1, 0, 255, -1),
    in_.IPV6_MULTICAST_LOOP: _number(1, 0, 1),
    in_.IPV6_MULTICAST_ALL: _number(1, 0, 1),
    in_.IPV6_V6ONLY: _FLAG,
    in_.IPV6_RECVPKTINFO: _FLAG,
    in_.IPV6_RECVHOPLIMIT: _FLAG,
    in_.IPV6_RECVHOPOPTS: _FLAG,
    in_.IPV6_RECVRTHDR: _FLAG,
    in_.IPV6_RECVDSTOPTS: _FLAG,
    in_.IPV6_RECVPATHMTU: _FLAG,
    in_.IPV6_RECVTCLASS: _FLAG,
    in_.IPV6_RECVORIGDSTADDR: _FLAG,
    in_.IPV6_RECVFRAGSIZE: _FLAG,
    in_.IPV6_RECVERR: _FLAG,
    in_.IPV6_OLD_PKTINFO: _FLAG,
    in_.IPV6_OLD_HOPLIMIT: _FLAG,
    in_.IPV6_FLOWINFO: _FLAG,
    in_.IPV6_FLOWINFO_SEND: _FLAG,
    in_.IPV6_AUTOFLOWLABEL: _ON,
    in_.IPV6_DONTFRAG: _FLAG,
    in_.IPV6_FREEBIND: _FLAG,
    in_.IPV6_MTU_DISCOVER: _number(in_.PMTUDISC_WANT, 0, in_.PMTUDISC_OMIT),
    in_.IPV6_TCLASS: _number(0, 0, 255, -1),
    in_.IPV6_MINHOPCOUNT: _number(0, 0, 255),
    in_.IPV6_CHECKSUM: _number(-1, -1, _INT_MAX),
}
_RULES: Final = {IPPROTO_IP: V4, IPPROTO_IPV6: V6}
_TRANSPARENT: Final = {
    (IPPROTO_IP, in_.IP_TRANSPARENT),
    (IPPROTO_IPV6, in_.IPV6_TRANSPARENT),
}


def get(so: InetSonode, level: int, name: int) -> Any:
    """Return the value of an option. Raises ENOPROTOOPT, ENOTCONN (the MTU of no connection)."""
    key = (level, name)
    rule = _RULES[level].get(name)
    if rule is not None:
        return so.ipopts.get(key, rule.default)
    getter = _GETTERS.get(key)
    if getter is not None:
        return getter(so)
    if key in _KEPT:
        return so.ipopts.get(key, _KEPT[key])
    raise KernelError(Errno.ENOPROTOOPT)


def set_(so: InetSonode, level: int, name: int, value: Any, cred: Cred) -> None:
    """Set an option. Raises ENOPROTOOPT, EINVAL, EPERM, EADDRNOTAVAIL, EADDRINUSE, ENODEV."""
    key = (level, name)
    setter = _SETTERS.get(key)
    if setter is not None:
        setter(so, value)
        return
    if key in _TRANSPARENT:
        if value and not cred.crhas(PRIV_NET_RAWACCESS | PRIV_SYS_IP_CONFIG):
            raise KernelError(Errno.EPERM)
        so.ipopts[key] = int(value != 0)
        return
    rule = _RULES[level].get(name)
    if rule is None:
        raise KernelError(Errno.ENOPROTOOPT)
    if rule.boolean:
        so.ipopts[key] = int(value != 0)
    elif rule.unset is not None and value == rule.unset:
        so.ipopts.pop(key, None)
    elif rule.low <= value <= rule.high:
        so.ipopts[key] = value
    else:
        raise KernelError(Errno.EINVAL)


# -- options with rules of their own --------------------------------------------------------------


def _set_tos(so: InetSonode, value: int) -> None:
    """Keep one byte; a stream leaves the congestion bits alone."""
    value &= 0xFF
    if so.sotype == SOCK_STREAM:
        value &= ~3
    so.ipopts[IPPROTO_IP, in_.IP_TOS] = value


def _set_tclass(so: InetSonode, value: int) -> None:
    """Keep one byte; a stream leaves the congestion bits alone. Raises EINVAL."""
    if not -1 <= value <= 255:
        raise KernelError(Errno.EINVAL)
    value = max(value, 0)
    so.ipopts[IPPROTO_IPV6, in_.IPV6_TCLASS] = value & ~3 if so.sotype == SOCK_STREAM else value


def _not_stream(name: int, level: int) -> Callable[[InetSonode, int], None]:
    """Return a setter of a number of multicasting, which a stream does not do."""

    def setter(so: InetSonode, value: int) -> None:
        if so.sotype == SOCK_STREAM:
            raise KernelError(Errno.EINVAL if level == IPPROTO_IP else Errno.ENOPROTOOPT)
        if value == -1:
            so.ipopts.pop((level, name), None)
        elif 0 <= value <= 255:
            so.ipopts[level, name] = value
        else:
            raise KernelError(Errno.EINVAL)

    return setter


def _set_hdrincl(so: InetSonode, value: int) -> None:
    if so.sotype != SOCK_RAW:
        raise KernelError(Errno.ENOPROTOOPT)
    so.ipopts[IPPROTO_IP, in_.IP_HDRINCL] = int(value != 0)


def _set_v6only(so: InetSonode, value: int) -> None:
    """Only before the socket is bound."""
    if so.bound():
        raise KernelError(Errno.EINVAL)
    so.ipopts[IPPROTO_IPV6, in_.IPV6_V6ONLY] = int(value != 0)


def _set_addrform(so: InetSonode, value: int) -> None:
    """Make a socket that talks to a mapped address one of IPv4. Raises EINVAL, ENOTCONN, ..."""
    if value != AF_INET or so.sotype == SOCK_RAW:
        raise KernelError(Errno.EINVAL)
    peer = so.peer_host()
    if peer is None:
        raise KernelError(Errno.ENOTCONN)
    if so.v6only or len(peer) != 4:
        raise KernelError(Errno.EADDRNOTAVAIL)
    so.family = AF_INET
    if so.binding is not None:
        so.binding.family = 4


def _set_options(so: InetSonode, value: bytes) -> None:
    if len(value) > 40:
        raise KernelError(Errno.EINVAL)
    so.ipopts[IPPROTO_IP, in_.IP_OPTIONS] = value


def _get_mtu(level: int) -> Callable[[InetSonode], int]:
    def getter(so: InetSonode) -> int:
        peer = so.peer_host()
        if peer is None:
            if level == IPPROTO_IP:
                raise KernelError(Errno.ENOTCONN)
            return so.stack.loopback.mtu
        mtu = so.stack.mtu_to(peer)
        return min(mtu, 65535) if len(peer) == 4 and level == IPPROTO_IP else mtu

    return getter


def _set_unicast_if(level: int, name: int) -> Callable[[InetSonode, int], None]:
    def setter(so: InetSonode, value: int) -> None:
        if value and so.stack.netif(value) is None:
            raise KernelError(Errno.EADDRNOTAVAIL)
        so.ipopts[level, name] = value

    return setter


# -- groups ---------------------------------------------------------------------------------------


def _interface(so: InetSonode, ifindex: int, local: bytes) -> NetIf | None:
    """Return the interface that an index or an address names; None when none does."""
    if ifindex:
        return so.stack.netif(ifindex)
    if local and not is_any(local):
        return so.stack.owner_of(local)
    return None


def _set_multicast_if(so: InetSonode, value: in_.Membership) -> None:
    """Choose the interface that multicasts leave through; all zero takes the choice back."""
    if so.sotype == SOCK_STREAM:
        raise KernelError(Errno.EINVAL)
    if not value.ifindex and is_any(value.local):
        so.mcast_if = None
        return
    netif = _interface(so, value.ifindex, value.local)
    if netif is None:
        raise KernelError(Errno.EADDRNOTAVAIL)
    so.mcast_if = netif


def _get_multicast_if(so: InetSonode) -> in_.Membership:
    netif = so.mcast_if
    if netif is None:
        return in_.Membership(b"", 0, bytes(4))
    addr = netif.addr4()
    return in_.Membership(b"", netif.index, addr.host if addr is not None else bytes(4))


def _set_multicast_if6(so: InetSonode, value: int) -> None:
    if so.sotype == SOCK_STREAM:
        raise KernelError(Errno.ENOPROTOOPT)
    netif = so.stack.netif(value) if value else None
    if value and netif is None:
        raise KernelError(Errno.ENODEV)
    so.mcast_if = netif


def _get_multicast_if6(so: InetSonode) -> int:
    return so.mcast_if.index if so.mcast_if is not None else 0


def join(so: InetSonode, value: in_.Membership) -> None:
    """Become a member of a group. Raises EINVAL, ENODEV, EADDRINUSE (already a member)."""
    if not is_multicast(value.group):
        raise KernelError(Errno.EINVAL)
    netif = _interface(so, value.ifindex, value.local) or so.stack.multicast_route(value.group)
    if netif is None:
        raise KernelError(Errno.ENODEV)
    key = (value.group, netif.index)
    sources = so.groups.get(key)
    if value.source:
        if sources is None:
            so.groups[key] = {value.source}
            netif.groups[value.group] = netif.groups.get(value.group, 0) + 1
        elif value.source in sources or not sources:
            raise KernelError(Errno.EADDRNOTAVAIL if sources else Errno.EINVAL)
        else:
            sources.add(value.source)
        return
    if sources is not None:
        raise KernelError(Errno.EADDRINUSE)
    so.groups[key] = set()
    netif.groups[value.group] = netif.groups.get(value.group, 0) + 1


def leave(so: InetSonode, value: in_.Membership) -> None:
    """End a membership. Raises EADDRNOTAVAIL when there is none, EINVAL for no group."""
    if not is_multicast(value.group):
        raise KernelError(Errno.EINVAL)
    netif = _interface(so, value.ifindex, value.local)
    for key in so.groups:
        if key[0] == value.group and (netif is None or key[1] == netif.index):
            break
    else:
        raise KernelError(Errno.EADDRNOTAVAIL)
    sources = so.groups[key]
    if value.source:
        if value.source not in sources:
            raise KernelError(Errno.EADDRNOTAVAIL)
        sources.discard(value.source)
        if sources:
            return
    forget_group(so, key)


def forget_group(so: InetSonode, key: tuple[bytes, int]) -> None:
    """Take a membership of a socket away."""
    del so.groups[key]
    netif = so.stack.netif(key[1])
    if netif is not None:
        left = netif.groups.get(key[0], 0) - 1
        if left > 0:
            netif.groups[key[0]] = left
        else:
            netif.groups.pop(key[0], None)


_IP, _IP6 = IPPROTO_IP, IPPROTO_IPV6
_SETTERS: Final[dict[tuple[int, int], Callable[[InetSonode, Any], None]]] = {
    (_IP, in_.IP_TOS): _set_tos,
    (_IP, in_.IP_HDRINCL): _set_hdrincl,
    (_IP, in_.IP_OPTIONS): _set_options,
    (_IP, in_.IP_MULTICAST_TTL): _not_stream(in_.IP_MULTICAST_TTL, _IP),
    (_IP, in_.IP_MULTICAST_IF): _set_multicast_if,
    (_IP, in_.IP_ADD_MEMBERSHIP): join,
    (_IP, in_.IP_DROP_MEMBERSHIP): leave,
    (_IP, in_.IP_ADD_SOURCE_MEMBERSHIP): join,
    (_IP, in_.IP_DROP_SOURCE_MEMBERSHIP): leave,
    (_IP, in_.MCAST_JOIN_GROUP): join,
    (_IP, in_.MCAST_LEAVE_GROUP): leave,
    (_IP, in_.IP_UNICAST_IF): _set_unicast_if(_IP, in_.IP_UNICAST_IF),
    (_IP6, in_.IPV6_V6ONLY): _set_v6only,
    (_IP6, in_.IPV6_ADDRFORM): _set_addrform,
    (_IP6, in_.IPV6_TCLASS): _set_tclass,
    (_IP6, in_.IPV6_MULTICAST_HOPS): _not_stream(in_.IPV6_MULTICAST_HOPS, _IP6),
    (_IP6, in_.IPV6_MULTICAST_IF): _set_multicast_if6,
    (_IP6, in_.IPV6_JOIN_GROUP): join,
    (_IP6, in_.IPV6_LEAVE_GROUP): leave,
    (_IP6, in_.MCAST_JOIN_GROUP): join,
    (_IP6, in_.MCAST_LEAVE_GROUP): leave,
    (_IP6, in_.IPV6_UNICAST_IF): _set_unicast_if(_IP6, in_.IPV6_UNICAST_IF),
}
_GETTERS: Final[dict[tuple[int, int], Callable[[InetSonode], Any]]] = {
    (_IP, in_.IP_MTU): _get_mtu(_IP),
    (_IP6, in_.IPV6_MTU): _get_mtu(_IP6),
    (_IP, in_.IP_MULTICAST_IF): _get_multicast_if,
    (_IP6, in_.IPV6_MULTICAST_IF): _get_multicast_if6,
    (_IP, in_.IP_PROTOCOL): lambda so: so.protocol,
    (_IP6, in_.IPV6_ADDRFORM): lambda so: so.family,
}
#: Options that are read as they were set, and what they are before.
_KEPT: Final[dict[tuple[int, int], Any]] = {
    (_IP, in_.IP_OPTIONS): b"",
    (_IP, in_.IP_HDRINCL): 0,
    (_IP, in_.IP_NODEFRAG): 0,
    (_IP, in_.IP_TRANSPARENT): 0,
    (_IP, in_.IP_UNICAST_IF): 0,
    (_IP6, in_.IPV6_UNICAST_IF): 0,
    (_IP6, in_.IPV6_TRANSPARENT): 0,
}
