"""Words of the socket calls. Kernel values: lxemu/kernel/net/socketvar.py (illumos' sys/socket.h).

Families, types and flags that the kernel does not know get values of their own, so that nothing of
Linux's is taken for one of illumos': the socket layer answers that it has no such thing.
"""

from __future__ import annotations

from typing import Final

from lxemu.kernel.net import socketvar as s

from .xlat import Choice, EnumTable, FlagTable

#: Linux's families without one in the kernel.
_FOREIGN: Final = (
    (3, "AF_AX25"),
    (4, "AF_IPX"),
    (5, "AF_APPLETALK"),
    (6, "AF_NETROM"),
    (7, "AF_BRIDGE"),
    (8, "AF_ATMPVC"),
    (9, "AF_X25"),
    (11, "AF_ROSE"),
    (12, "AF_DECnet"),
    (13, "AF_NETBEUI"),
    (14, "AF_SECURITY"),
    (15, "AF_KEY"),
    (18, "AF_ASH"),
    (19, "AF_ECONET"),
    (20, "AF_ATMSVC"),
    (21, "AF_RDS"),
    (22, "AF_SNA"),
    (23, "AF_IRDA"),
    (24, "AF_PPPOX"),
    (25, "AF_WANPIPE"),
    (26, "AF_LLC"),
    (27, "AF_IB"),
    (28, "AF_MPLS"),
    (29, "AF_CAN"),
    (30, "AF_TIPC"),
    (31, "AF_BLUETOOTH"),
    (32, "AF_IUCV"),
    (33, "AF_RXRPC"),
    (34, "AF_ISDN"),
    (35, "AF_PHONET"),
    (36, "AF_IEEE802154"),
    (37, "AF_CAIF"),
    (38, "AF_ALG"),
    (39, "AF_NFC"),
    (40, "AF_VSOCK"),
    (41, "AF_KCM"),
    (42, "AF_QIPCRTR"),
    (43, "AF_SMC"),
    (44, "AF_XDP"),
    (45, "AF_MCTP"),
)
#: Kernel value of a foreign family: Linux's, out of the way.
_AWAY: Final = 1 << 16

FAMILY: Final = EnumTable(
    "AF",
    (0, s.AF_UNSPEC, "AF_UNSPEC"),
    (1, s.AF_UNIX, "AF_UNIX"),
    (2, s.AF_INET, "AF_INET"),
    (10, s.AF_INET6, "AF_INET6"),
    (16, s.AF_NETLINK, "AF_NETLINK"),
    (17, s.AF_PACKET, "AF_PACKET"),
    *((lx, lx | _AWAY, name) for lx, name in _FOREIGN),
    unknown="keep",
)
SOCK_TYPE: Final = FlagTable(
    "SOCK",
    Choice(
        0xF,
        0xFFFF,
        (0, 0, "0 /* SOCK_??? */"),
        (1, s.SOCK_STREAM, "SOCK_STREAM"),
        (2, s.SOCK_DGRAM, "SOCK_DGRAM"),
        (3, s.SOCK_RAW, "SOCK_RAW"),
        (4, s.SOCK_RDM, "SOCK_RDM"),
        (5, s.SOCK_SEQPACKET, "SOCK_SEQPACKET"),
        (6, 0x106, "SOCK_DCCP"),
        (7, 0x107, "0x7 /* SOCK_??? */"),
        (8, 0x108, "0x8 /* SOCK_??? */"),
        (9, 0x109, "0x9 /* SOCK_??? */"),
        (10, 0x10A, "SOCK_PACKET"),
    ),
    (0o2000000, s.SOCK_CLOEXEC, "SOCK_CLOEXEC"),
    (0o4000, s.SOCK_NONBLOCK, "SOCK_NONBLOCK"),
)
ACCEPT_FLAGS: Final = FlagTable(
    "SOCK",
    (0o2000000, s.SOCK_CLOEXEC, "SOCK_CLOEXEC"),
    (0o4000, s.SOCK_NONBLOCK, "SOCK_NONBLOCK"),
)
SHUT: Final = EnumTable(
    "SHUT",
    (0, s.SHUT_RD, "SHUT_RD"),
    (1, s.SHUT_WR, "SHUT_WR"),
    (2, s.SHUT_RDWR, "SHUT_RDWR"),
    unknown="keep",
)
MSG: Final = FlagTable(
    "MSG",
    (0x1, s.MSG_OOB, "MSG_OOB"),
    (0x2, s.MSG_PEEK, "MSG_PEEK"),
    (0x4, s.MSG_DONTROUTE, "MSG_DONTROUTE"),
    (0x8, s.MSG_CTRUNC, "MSG_CTRUNC"),
    (0x10, s.MSG_PROBE, "MSG_PROBE"),
    (0x20, s.MSG_TRUNC, "MSG_TRUNC"),
    (0x40, s.MSG_DONTWAIT, "MSG_DONTWAIT"),
    (0x80, s.MSG_EOR, "MSG_EOR"),
    (0x100, s.MSG_WAITALL, "MSG_WAITALL"),
    (0x800, s.MSG_CONFIRM, "MSG_CONFIRM"),
    (0x2000, s.MSG_ERRQUEUE, "MSG_ERRQUEUE"),
    (0x4000, s.MSG_NOSIGNAL, "MSG_NOSIGNAL"),
    (0x8000, s.MSG_MORE, "MSG_MORE"),
    (0x10000, s.MSG_WAITFORONE, "MSG_WAITFORONE"),
    (0x40000, s.MSG_BATCH, "MSG_BATCH"),
    (0x4000000, s.MSG_ZEROCOPY, "MSG_ZEROCOPY"),
    (0x20000000, s.MSG_FASTOPEN, "MSG_FASTOPEN"),
    (0x40000000, s.MSG_CMSG_CLOEXEC, "MSG_CMSG_CLOEXEC"),
    (0x80000000, s.MSG_CMSG_COMPAT, "MSG_CMSG_COMPAT"),
    unknown="ignore",
    others=((0x200, 0, "MSG_FIN"), (0x400, 0, "MSG_SYN"), (0x1000, 0, "MSG_RST")),
)
#: Linux's level of socket options; all others are protocol numbers, the same everywhere.
LX_SOL_SOCKET: Final = 1
LEVEL: Final = EnumTable(
    "SOL",
    (0, 0, "SOL_IP"),
    (1, s.SOL_SOCKET, "SOL_SOCKET"),
    (6, 6, "SOL_TCP"),
    (17, 17, "SOL_UDP"),
    (41, 41, "SOL_IPV6"),
    (58, 58, "SOL_ICMPV6"),
    (255, 255, "SOL_RAW"),
    (263, 263, "SOL_PACKET"),
    (270, 270, "SOL_NETLINK"),
    unknown="keep",
)
INET_PROTO: Final = EnumTable(
    "IPPROTO",
    (0, 0, "IPPROTO_IP"),
    (1, 1, "IPPROTO_ICMP"),
    (2, 2, "IPPROTO_IGMP"),
    (6, 6, "IPPROTO_TCP"),
    (17, 17, "IPPROTO_UDP"),
    (41, 41, "IPPROTO_IPV6"),
    (58, 58, "IPPROTO_ICMPV6"),
    (132, 132, "IPPROTO_SCTP"),
    (136, 136, "IPPROTO_UDPLITE"),
    (255, 255, "IPPROTO_RAW"),
    (262, 262, "IPPROTO_MPTCP"),
    unknown="keep",
)
NETLINK_PROTO: Final = EnumTable(
    "NETLINK",
    (0, 0, "NETLINK_ROUTE"),
    (2, 2, "NETLINK_USERSOCK"),
    (4, 4, "NETLINK_SOCK_DIAG"),
    (9, 9, "NETLINK_AUDIT"),
    (12, 12, "NETLINK_NETFILTER"),
    (15, 15, "NETLINK_KOBJECT_UEVENT"),
    (16, 16, "NETLINK_GENERIC"),
    unknown="keep",
)
