"""Options of the Internet protocols: Linux's numbers and structures (linux/in.h, in6.h, tcp.h).

Options at the level of IP take an int or one byte, and give one byte to who has no room for more.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.net import in_
from lxemu.kernel.net.inaddr import unmap
from lxemu.kernel.net.sockaddr import Inet6Addr, InetAddr

from . import cmsg_inet  # noqa: F401 (options make control messages come)
from .sockaddr import decode
from .sockopt import Option, give_bytes, give_int, number, take_bytes, take_int
from .xlat_net import FAMILY

if TYPE_CHECKING:
    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.net.tcpopt import TcpInfo

_INT: Final = struct.Struct("<i")
_MREQ: Final = struct.Struct("<4s4s")
_MREQN: Final = struct.Struct("<4s4si")
_MREQ_SOURCE: Final = struct.Struct("<4s4s4s")
_MREQ6: Final = struct.Struct("<16si")
#: struct group_req: an index and a sockaddr_storage, aligned to the long.
_GROUP_AT: Final = {64: 8, 32: 4}
_STORAGE: Final = 128
_UNSIGNED: Final = 0xFFFFFFFF
#: struct tcp_info: as many bytes as the reference system gives.
_TCP_INFO_SIZE: Final = 280
#: Congestion control names and the like.
_CA_NAME_MAX: Final = 16


def take_ip(lwp: Lwp, addr: int, size: int) -> int:
    """Copy in an int, or one byte when there is no more; 0 when there is nothing."""
    if size >= 4:
        return lwp.as_.load_s32(addr)
    return lwp.as_.copyin(addr, 1)[0] if size else 0


def take_mreq(lwp: Lwp, addr: int, size: int) -> in_.Membership:
    """Copy in a struct ip_mreq or ip_mreqn. EINVAL when it is shorter."""
    if size < _MREQ.size:
        raise KernelError(Errno.EINVAL)
    if size >= _MREQN.size:
        group, local, index = _MREQN.unpack(lwp.as_.copyin(addr, _MREQN.size))
        return in_.Membership(group, index, local)
    group, local = _MREQ.unpack(lwp.as_.copyin(addr, _MREQ.size))
    return in_.Membership(group, 0, local)


def take_multicast_if(lwp: Lwp, addr: int, size: int) -> in_.Membership:
    """Copy in what chooses an interface: an address, a struct ip_mreq or ip_mreqn. EINVAL."""
    if size < 4:
        raise KernelError(Errno.EINVAL)
    if size >= _MREQ.size:
        return take_mreq(lwp, addr, size)
    return in_.Membership(b"", 0, lwp.as_.copyin(addr, 4))


def _give_multicast_if(_bits: int, value: in_.Membership) -> bytes:
    return value.local


def _take_source(lwp: Lwp, addr: int, size: int) -> in_.Membership:
    if size != _MREQ_SOURCE.size:
        raise KernelError(Errno.EINVAL)
    group, local, source = _MREQ_SOURCE.unpack(lwp.as_.copyin(addr, size))
    return in_.Membership(group, 0, local, source)


def _take_mreq6(lwp: Lwp, addr: int, size: int) -> in_.Membership:
    if size < _MREQ6.size:
        raise KernelError(Errno.EINVAL)
    group, index = _MREQ6.unpack(lwp.as_.copyin(addr, _MREQ6.size))
    return in_.Membership(group, index)


def _take_group(lwp: Lwp, addr: int, size: int) -> in_.Membership:
    at = _GROUP_AT[lwp.brand.bits]
    if size < at + _STORAGE:
        raise KernelError(Errno.EINVAL)
    data = lwp.as_.copyin(addr, at + _STORAGE)
    group = decode(data[at:])
    if not isinstance(group, (InetAddr, Inet6Addr)):
        raise KernelError(Errno.EADDRNOTAVAIL)
    return in_.Membership(unmap(group.host), _INT.unpack_from(data)[0])


def _take_index_be(lwp: Lwp, addr: int, size: int) -> int:
    """Copy in an interface index in network order."""
    return int.from_bytes((take_int(lwp, addr, size) & _UNSIGNED).to_bytes(4, "little"), "big")


def _give_index_be(_bits: int, value: int) -> bytes:
    return value.to_bytes(4, "big")


def _take_unsigned(lwp: Lwp, addr: int, size: int) -> int:
    return take_int(lwp, addr, size) & _UNSIGNED


def _take_family(lwp: Lwp, addr: int, size: int) -> int:
    return FAMILY.from_lx[take_int(lwp, addr, size)]


def _give_family(bits: int, value: int) -> bytes:
    return give_int(bits, FAMILY.to_lx[value])


def _take_name(lwp: Lwp, addr: int, size: int) -> bytes:
    if size < 1:
        raise KernelError(Errno.EINVAL)
    data = lwp.as_.copyin(addr, min(size, _CA_NAME_MAX - 1))
    return bytes(data).split(b"\0", 1)[0]


def _give_name(_bits: int, value: bytes) -> bytes:
    return value.ljust(_CA_NAME_MAX, b"\0")


#: States as TCP_INFO and /proc/net/tcp show them, by the kernel's.
TCP_STATES: Final = {
    0: 1,  # ESTABLISHED
    -2: 2,  # SYN_SENT
    -1: 3,  # SYN_RECV
    2: 4,  # FIN_WAIT1
    5: 5,  # FIN_WAIT2
    6: 6,  # TIME_WAIT
    -6: 7,  # CLOSE
    -4: 7,
    1: 8,  # CLOSE_WAIT
    4: 9,  # LAST_ACK
    -3: 10,  # LISTEN
    3: 11,  # CLOSING
}
_INFO_HEAD: Final = struct.Struct("<8B24I")
_INFO_TAIL: Final = struct.Struct("<6Q4IQ")


def _give_info(_bits: int, info: TcpInfo) -> bytes:
    """Encode a struct tcp_info; what a loopback without losses never has is zero."""
    head = _INFO_HEAD.pack(
        TCP_STATES[info.state],
        *(0, 0, 0, 0),
        info.options,
        info.wscale << 4 | info.wscale,
        0,
        *(info.rto_us, 0, info.snd_mss, info.rcv_mss),
        *(info.backlog or (info.unsent // max(1, info.snd_mss)), info.max_backlog, 0, 0, 0),
        *(0, 0, 0, 0),
        *(info.mtu, max(0, info.mtu - 40), info.rtt_us, info.rtt_us // 2),
        *(0x7FFFFFFF, info.cwnd, info.snd_mss or 0, 3),
        *(0, info.mtu, 0),
    )
    tail = _INFO_TAIL.pack(
        *((1 << 64) - 1, (1 << 64) - 1, info.bytes_sent, info.bytes_received),
        info.segments_out | info.segments_in << 32,
        info.unsent,
        *(info.rtt_us, 0, 0, 0),
        0,
    )
    return (head + tail).ljust(_TCP_INFO_SIZE, b"\0")


def _ip(name: int, label: str) -> Option:
    return Option(name, label, take_ip, give_int)


def _bytes(name: int, label: str) -> Option:
    return Option(name, label, take_bytes, give_bytes)


#: SOL_IP (linux/in.h).
IP: Final[dict[int, Option]] = {
    1: _ip(in_.IP_TOS, "IP_TOS"),
    2: _ip(in_.IP_TTL, "IP_TTL"),
    3: _ip(in_.IP_HDRINCL, "IP_HDRINCL"),
    4: _bytes(in_.IP_OPTIONS, "IP_OPTIONS"),
    5: _ip(in_.IP_ROUTER_ALERT, "IP_ROUTER_ALERT"),
    6: _ip(in_.IP_RECVOPTS, "IP_RECVOPTS"),
    7: _ip(in_.IP_RECVRETOPTS, "IP_RETOPTS"),
    8: _ip(in_.IP_PKTINFO, "IP_PKTINFO"),
    10: _ip(in_.IP_MTU_DISCOVER, "IP_MTU_DISCOVER"),
    11: _ip(in_.IP_RECVERR, "IP_RECVERR"),
    12: _ip(in_.IP_RECVTTL, "IP_RECVTTL"),
    13: _ip(in_.IP_RECVTOS, "IP_RECVTOS"),
    14: _ip(in_.IP_MTU, "IP_MTU"),
    15: _ip(in_.IP_FREEBIND, "IP_FREEBIND"),
    18: _ip(in_.IP_PASSSEC, "IP_PASSSEC"),
    19: _ip(in_.IP_TRANSPARENT, "IP_TRANSPARENT"),
    20: _ip(in_.IP_RECVORIGDSTADDR, "IP_RECVORIGDSTADDR"),
    21: _ip(in_.IP_MINTTL, "IP_MINTTL"),
    22: _ip(in_.IP_NODEFRAG, "IP_NODEFRAG"),
    23: _ip(in_.IP_CHECKSUM, "IP_CHECKSUM"),
    24: _ip(in_.IP_BIND_ADDRESS_NO_PORT, "IP_BIND_ADDRESS_NO_PORT"),
    25: _ip(in_.IP_RECVFRAGSIZE, "IP_RECVFRAGSIZE"),
    26: _ip(in_.IP_RECVERR_RFC4884, "IP_RECVERR_RFC4884"),
    32: Option(in_.IP_MULTICAST_IF, "IP_MULTICAST_IF", take_multicast_if, _give_multicast_if),
    33: _ip(in_.IP_MULTICAST_TTL, "IP_MULTICAST_TTL"),
    34: _ip(in_.IP_MULTICAST_LOOP, "IP_MULTICAST_LOOP"),
    35: Option(in_.IP_ADD_MEMBERSHIP, "IP_ADD_MEMBERSHIP", take_mreq, give_bytes),
    36: Option(in_.IP_DROP_MEMBERSHIP, "IP_DROP_MEMBERSHIP", take_mreq, give_bytes),
    39: Option(in_.IP_ADD_SOURCE_MEMBERSHIP, "IP_ADD_SOURCE_MEMBERSHIP", _take_source, give_bytes),
    40: Option(
        in_.IP_DROP_SOURCE_MEMBERSHIP, "IP_DROP_SOURCE_MEMBERSHIP", _take_source, give_bytes
    ),
    42: Option(in_.MCAST_JOIN_GROUP, "MCAST_JOIN_GROUP", _take_group, give_bytes),
    45: Option(in_.MCAST_LEAVE_GROUP, "MCAST_LEAVE_GROUP", _take_group, give_bytes),
    49: _ip(in_.IP_MULTICAST_ALL, "IP_MULTICAST_ALL"),
    50: Option(in_.IP_UNICAST_IF, "IP_UNICAST_IF", _take_index_be, _give_index_be),
    51: Option(in_.IP_LOCAL_PORT_RANGE, "IP_LOCAL_PORT_RANGE", _take_unsigned, give_int),
    52: _ip(in_.IP_PROTOCOL, "IP_PROTOCOL"),
}
#: SOL_IPV6 (linux/in6.h).
IPV6: Final[dict[int, Option]] = {
    1: Option(in_.IPV6_ADDRFORM, "IPV6_ADDRFORM", _take_family, _give_family),
    2: number(in_.IPV6_OLD_PKTINFO, "IPV6_2292PKTINFO"),
    7: number(in_.IPV6_CHECKSUM, "IPV6_CHECKSUM"),
    8: number(in_.IPV6_OLD_HOPLIMIT, "IPV6_2292HOPLIMIT"),
    16: number(in_.IPV6_UNICAST_HOPS, "IPV6_UNICAST_HOPS"),
    17: number(in_.IPV6_MULTICAST_IF, "IPV6_MULTICAST_IF"),
    18: number(in_.IPV6_MULTICAST_HOPS, "IPV6_MULTICAST_HOPS"),
    19: number(in_.IPV6_MULTICAST_LOOP, "IPV6_MULTICAST_LOOP"),
    20: Option(in_.IPV6_JOIN_GROUP, "IPV6_ADD_MEMBERSHIP", _take_mreq6, give_bytes),
    21: Option(in_.IPV6_LEAVE_GROUP, "IPV6_DROP_MEMBERSHIP", _take_mreq6, give_bytes),
    23: number(in_.IPV6_MTU_DISCOVER, "IPV6_MTU_DISCOVER"),
    24: number(in_.IPV6_MTU, "IPV6_MTU"),
    25: number(in_.IPV6_RECVERR, "IPV6_RECVERR"),
    26: number(in_.IPV6_V6ONLY, "IPV6_V6ONLY"),
    29: number(in_.IPV6_MULTICAST_ALL, "IPV6_MULTICAST_ALL"),
    33: number(in_.IPV6_FLOWINFO_SEND, "IPV6_FLOWINFO_SEND"),
    11: number(in_.IPV6_FLOWINFO, "IPV6_FLOWINFO"),
    42: Option(in_.MCAST_JOIN_GROUP, "MCAST_JOIN_GROUP", _take_group, give_bytes),
    45: Option(in_.MCAST_LEAVE_GROUP, "MCAST_LEAVE_GROUP", _take_group, give_bytes),
    49: number(in_.IPV6_RECVPKTINFO, "IPV6_RECVPKTINFO"),
    51: number(in_.IPV6_RECVHOPLIMIT, "IPV6_RECVHOPLIMIT"),
    53: number(in_.IPV6_RECVHOPOPTS, "IPV6_RECVHOPOPTS"),
    56: number(in_.IPV6_RECVRTHDR, "IPV6_RECVRTHDR"),
    58: number(in_.IPV6_RECVDSTOPTS, "IPV6_RECVDSTOPTS"),
    60: number(in_.IPV6_RECVPATHMTU, "IPV6_RECVPATHMTU"),
    62: number(in_.IPV6_DONTFRAG, "IPV6_DONTFRAG"),
    66: number(in_.IPV6_RECVTCLASS, "IPV6_RECVTCLASS"),
    67: number(in_.IPV6_TCLASS, "IPV6_TCLASS"),
    70: number(in_.IPV6_AUTOFLOWLABEL, "IPV6_AUTOFLOWLABEL"),
    73: number(in_.IPV6_MINHOPCOUNT, "IPV6_MINHOPCOUNT"),
    74: number(in_.IPV6_RECVORIGDSTADDR, "IPV6_ORIGDSTADDR"),
    75: number(in_.IPV6_TRANSPARENT, "IPV6_TRANSPARENT"),
    76: Option(in_.IPV6_UNICAST_IF, "IPV6_UNICAST_IF", _take_index_be, _give_index_be),
    77: number(in_.IPV6_RECVFRAGSIZE, "IPV6_RECVFRAGSIZE"),
    78: number(in_.IPV6_FREEBIND, "IPV6_FREEBIND"),
}
#: SOL_TCP (linux/tcp.h).
TCP: Final[dict[int, Option]] = {
    1: number(in_.TCP_NODELAY, "TCP_NODELAY"),
    2: number(in_.TCP_MAXSEG, "TCP_MAXSEG"),
    3: number(in_.TCP_CORK, "TCP_CORK"),
    4: number(in_.TCP_KEEPIDLE, "TCP_KEEPIDLE"),
    5: number(in_.TCP_KEEPINTVL, "TCP_KEEPINTVL"),
    6: number(in_.TCP_KEEPCNT, "TCP_KEEPCNT"),
    7: number(in_.TCP_SYNCNT, "TCP_SYNCNT"),
    8: number(in_.TCP_LINGER2, "TCP_LINGER2"),
    9: number(in_.TCP_DEFER_ACCEPT, "TCP_DEFER_ACCEPT"),
    10: number(in_.TCP_WINDOW_CLAMP, "TCP_WINDOW_CLAMP"),
    11: Option(in_.TCP_INFO, "TCP_INFO", take_int, _give_info),
    12: number(in_.TCP_QUICKACK, "TCP_QUICKACK"),
    13: Option(in_.TCP_CONGESTION, "TCP_CONGESTION", _take_name, _give_name),
    16: number(in_.TCP_THIN_LINEAR_TIMEOUTS, "TCP_THIN_LINEAR_TIMEOUTS"),
    17: number(in_.TCP_THIN_DUPACK, "TCP_THIN_DUPACK"),
    18: number(in_.TCP_ABORT_THRESHOLD, "TCP_USER_TIMEOUT"),
    19: number(in_.TCP_REPAIR, "TCP_REPAIR"),
    23: number(in_.TCP_FASTOPEN, "TCP_FASTOPEN"),
    24: Option(in_.TCP_TIMESTAMP, "TCP_TIMESTAMP", take_int, give_int),
    25: Option(in_.TCP_NOTSENT_LOWAT, "TCP_NOTSENT_LOWAT", _take_unsigned, give_int),
    27: number(in_.TCP_SAVE_SYN, "TCP_SAVE_SYN"),
    30: number(in_.TCP_FASTOPEN_CONNECT, "TCP_FASTOPEN_CONNECT"),
    36: number(in_.TCP_INQ, "TCP_INQ"),
    37: number(in_.TCP_TX_DELAY, "TCP_TX_DELAY"),
}
#: SOL_UDP (linux/udp.h).
UDP: Final[dict[int, Option]] = {
    1: number(in_.UDP_CORK, "UDP_CORK"),
    103: number(in_.UDP_SEGMENT, "UDP_SEGMENT"),
    104: number(in_.UDP_GRO, "UDP_GRO"),
}


def _take_filter4(lwp: Lwp, addr: int, size: int) -> int:
    value = lwp.as_.copyin(addr, min(size, 4)) if size else b""
    return int.from_bytes(value, "little")


def _give_filter4(_bits: int, value: int) -> bytes:
    return (value & _UNSIGNED).to_bytes(4, "little")


def _take_filter6(lwp: Lwp, addr: int, size: int) -> int:
    value = lwp.as_.copyin(addr, min(size, 32)) if size else b""
    return int.from_bytes(value, "little")


def _give_filter6(_bits: int, value: int) -> bytes:
    return (value & ((1 << 256) - 1)).to_bytes(32, "little")


#: SOL_RAW and SOL_ICMPV6: the filters of raw sockets.
RAW: Final[dict[int, Option]] = {
    7: number(in_.IPV6_CHECKSUM, "IPV6_CHECKSUM"),
    1: Option(in_.ICMP_FILTER, "ICMP_FILTER", _take_filter4, _give_filter4),
}
ICMPV6: Final[dict[int, Option]] = {
    1: Option(in_.ICMP6_FILTER, "ICMPV6_FILTER", _take_filter6, _give_filter6),
    7: number(in_.IPV6_CHECKSUM, "IPV6_CHECKSUM"),
}

#: SOL_NETLINK (linux/netlink.h); netlink sockets are Linux's own, so the numbers are, too.
NETLINK: Final[dict[int, Option]] = {
    1: number(1, "NETLINK_ADD_MEMBERSHIP"),
    2: number(2, "NETLINK_DROP_MEMBERSHIP"),
    3: number(3, "NETLINK_PKTINFO"),
    4: number(4, "NETLINK_BROADCAST_ERROR"),
    5: number(5, "NETLINK_NO_ENOBUFS"),
    8: number(8, "NETLINK_LISTEN_ALL_NSID"),
    9: number(9, "NETLINK_LIST_MEMBERSHIPS"),
    10: number(10, "NETLINK_CAP_ACK"),
    11: number(11, "NETLINK_EXT_ACK"),
    12: number(12, "NETLINK_GET_STRICT_CHK"),
}

#: By Linux's level: what strace calls the name space, and the options.
LEVELS: Final[dict[int, tuple[str, dict[int, Option]]]] = {
    0: ("IP", IP),
    6: ("TCP", TCP),
    17: ("UDP", UDP),
    41: ("IPV6", IPV6),
    58: ("ICMPV6", ICMPV6),
    255: ("ICMP", RAW),
    270: ("NETLINK", NETLINK),
}
