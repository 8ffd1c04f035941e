"""Constants of sockets in illumos' values (sys/socket.h, netinet/in.h), and small shared types.

Values from 1 << 16 up are ours: illumos has no such option or flag.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from lxemu.kernel.proc import Proc

AF_UNSPEC = 0
AF_UNIX = 1
AF_INET = 2
AF_INET6 = 26
AF_PACKET = 32
#: In an illumos kernel only its brands use this one.
AF_NETLINK = 33

SOCK_DGRAM = 1
SOCK_STREAM = 2
SOCK_RAW = 4
SOCK_RDM = 5
SOCK_SEQPACKET = 6
SOCK_TYPE_MASK = 0xFFFF
SOCK_CLOEXEC = 0x080000
SOCK_NONBLOCK = 0x100000

SHUT_RD = 0
SHUT_WR = 1
SHUT_RDWR = 2
#: What has been shut down, as bits.
RCV_SHUTDOWN = 1
SEND_SHUTDOWN = 2
BOTH_SHUTDOWN = 3

MSG_OOB = 0x1
MSG_PEEK = 0x2
MSG_DONTROUTE = 0x4
MSG_EOR = 0x8
MSG_CTRUNC = 0x10
MSG_TRUNC = 0x20
MSG_WAITALL = 0x40
MSG_DONTWAIT = 0x80
MSG_NOSIGNAL = 0x200
MSG_CMSG_CLOEXEC = 0x1000
MSG_CONFIRM = 1 << 16
MSG_ERRQUEUE = 1 << 17
MSG_MORE = 1 << 18
MSG_WAITFORONE = 1 << 19
MSG_FASTOPEN = 1 << 20
MSG_ZEROCOPY = 1 << 21
MSG_PROBE = 1 << 22
MSG_BATCH = 1 << 23
MSG_NO_SHARED_FRAGS = 1 << 24
MSG_CMSG_COMPAT = 1 << 31

SOL_SOCKET = 0xFFFF
SO_DEBUG = 0x1
SO_ACCEPTCONN = 0x2
SO_REUSEADDR = 0x4
SO_KEEPALIVE = 0x8
SO_DONTROUTE = 0x10
SO_BROADCAST = 0x20
SO_LINGER = 0x80
SO_OOBINLINE = 0x100
SO_RECVUCRED = 0x400
SO_SNDBUF = 0x1001
SO_RCVBUF = 0x1002
SO_SNDLOWAT = 0x1003
SO_RCVLOWAT = 0x1004
SO_SNDTIMEO = 0x1005
SO_RCVTIMEO = 0x1006
SO_ERROR = 0x1007
SO_TYPE = 0x1008
SO_PROTOTYPE = 0x1009
SO_DOMAIN = 0x100C
SO_TIMESTAMP = 0x1013
SO_REUSEPORT = 0x2004
SO_ATTACH_FILTER = 0x40000001
SO_DETACH_FILTER = 0x40000002
SO_SNDBUFFORCE = 1 << 16
SO_RCVBUFFORCE = (1 << 16) + 1
SO_PEERCRED = (1 << 16) + 2
SO_PEERGROUPS = (1 << 16) + 3
SO_PEERSEC = (1 << 16) + 4
SO_PEERNAME = (1 << 16) + 5
SO_PEERPIDFD = (1 << 16) + 6
SO_PASSSEC = (1 << 16) + 7
SO_PASSPIDFD = (1 << 16) + 8
SO_PEEK_OFF = (1 << 16) + 9
SO_PRIORITY = (1 << 16) + 10
SO_NO_CHECK = (1 << 16) + 11
SO_BSDCOMPAT = (1 << 16) + 12
SO_BINDTODEVICE = (1 << 16) + 13
SO_MARK = (1 << 16) + 14
SO_RXQ_OVFL = (1 << 16) + 15
SO_TIMESTAMPNS = (1 << 16) + 16
SO_TIMESTAMPING = (1 << 16) + 17
SO_WIFI_STATUS = (1 << 16) + 18
SO_NOFCS = (1 << 16) + 19
SO_LOCK_FILTER = (1 << 16) + 20
SO_SELECT_ERR_QUEUE = (1 << 16) + 21
SO_BUSY_POLL = (1 << 16) + 22
SO_MAX_PACING_RATE = (1 << 16) + 23
SO_INCOMING_CPU = (1 << 16) + 24
SO_COOKIE = (1 << 16) + 25
SO_MEMINFO = (1 << 16) + 26
SO_ZEROCOPY = (1 << 16) + 27
SO_BUF_LOCK = (1 << 16) + 28
SO_PREFER_BUSY_POLL = (1 << 16) + 29
SO_INCOMING_NAPI_ID = (1 << 16) + 30
SO_TXREHASH = (1 << 16) + 31
SO_RESERVE_MEM = (1 << 16) + 32
SO_ATTACH_BPF = (1 << 16) + 33
SO_TXTIME = (1 << 16) + 34
SO_BINDTOIFINDEX = (1 << 16) + 35
SO_NETNS_COOKIE = (1 << 16) + 36
SO_PASSRIGHTS = (1 << 16) + 37
SO_INQ = (1 << 16) + 38

# Types of control messages at SOL_SOCKET.
SCM_RIGHTS = 0x1010
SCM_UCRED = 0x1012
SCM_TIMESTAMP = SO_TIMESTAMP
SCM_TIMESTAMPNS = SO_TIMESTAMPNS
SCM_PIDFD = SO_PASSPIDFD

IPPROTO_IP = 0
IPPROTO_ICMP = 1
IPPROTO_TCP = 6
IPPROTO_UDP = 17
IPPROTO_IPV6 = 41
IPPROTO_ICMPV6 = 58
IPPROTO_UDPLITE = 136
IPPROTO_RAW = 255

SOMAXCONN = 4096
#: Default and largest buffer sizes in bytes, and the smallest, as the reference system has them.
BUF_DEFAULT = 212992
BUF_MAX = 212992
SNDBUF_MIN = 4608
RCVBUF_MIN = 2304
#: Most descriptors that one message carries.
SCM_MAX_FD = 253


class Control(NamedTuple):
    """A control message: level and type are the kernel's, `data` is decoded where it is known.

    SCM_RIGHTS carries a list of open files (each with a reference), SCM_UCRED a `Ucred`, SCM_PIDFD
    a process; anything else its bytes.
    """

    level: int
    type: int
    data: Any


class Ucred(NamedTuple):
    """Who sent a message or is at the other end: ids, and the process where it is known."""

    pid: int
    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    proc: Proc | None = None


#: Of a message whose sender was not asked for credentials: no process, and nobody's ids.
NO_UCRED = Ucred(0, 65534, 65534)


class Linger(NamedTuple):
    """SO_LINGER: on or off, and for how many seconds."""

    on: int
    seconds: int


class Received(NamedTuple):
    """What recvmsg found.

    `flags` are MSG_TRUNC, MSG_CTRUNC, MSG_EOR and the like; `size` is how much there was of it, of
    which `data` may be the beginning.
    """

    data: bytes
    addr: Any = None
    control: tuple[Control, ...] = ()
    flags: int = 0
    size: int = 0
