"""Options of sockets: Linux's numbers, names and structures for the kernel's options.

An `Option` says how the value travels. `take(lwp, addr, size)` copies it in and returns what
`Sonode.setsockopt` gets; `give(bits, value)` returns the bytes that getsockopt stores.
"""

from __future__ import annotations

import struct
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lxemu.kernel.cbpf import MAX_INSNS, Insn
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.net import socketvar as s
from lxemu.kernel.net.sofilter import Filter
from syscalls.errno import ERRNO_OUT

from .cmsg import ucred_out
from .sockaddr import encode
from .xlat_net import FAMILY, SOCK_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxemu.kernel.lwp import Lwp

    Take = Callable[[Lwp, int, int], Any]
    Give = Callable[[int, Any], bytes]

_INT: Final = struct.Struct("<i")
_LINGER: Final = struct.Struct("<ii")
_TIMEVALS: Final = {64: struct.Struct("<qq"), 32: struct.Struct("<ii")}
_TIMEVAL64: Final = struct.Struct("<qq")
#: struct sock_fprog, and struct sock_filter.
_FPROGS: Final = {64: struct.Struct("<H6xQ"), 32: struct.Struct("<H2xI")}
_INSN: Final = struct.Struct("<HBBI")
_NS: Final = 1_000_000_000
_MILLION: Final = 1_000_000
#: A timeout of so many seconds has no end (MAX_SCHEDULE_TIMEOUT in ticks).
_FOREVER: Final = (1 << 63) // 1000


class Option(NamedTuple):
    """One option: the kernel's number, the name that a trace shows, and how its value travels."""

    name: int
    label: str
    take: Take
    give: Give


def take_int(lwp: Lwp, addr: int, size: int) -> int:
    """Copy in an int. EINVAL when there is less, EFAULT."""
    if size < 4:
        raise KernelError(Errno.EINVAL)
    return lwp.as_.load_s32(addr)


def give_int(_bits: int, value: int) -> bytes:
    """Return an int."""
    return _INT.pack((int(value) + (1 << 31)) % (1 << 32) - (1 << 31))


def take_bytes(lwp: Lwp, addr: int, size: int) -> bytes:
    """Copy in whatever it is."""
    return lwp.as_.copyin(addr, size) if size > 0 else b""


def give_bytes(_bits: int, value: bytes) -> bytes:
    """Return bytes as they are."""
    return value


def _take_linger(lwp: Lwp, addr: int, size: int) -> s.Linger:
    take_int(lwp, addr, size)
    if size < _LINGER.size:
        raise KernelError(Errno.EINVAL)
    return s.Linger(*_LINGER.unpack(lwp.as_.copyin(addr, _LINGER.size)))


def _give_linger(_bits: int, value: s.Linger) -> bytes:
    return _LINGER.pack(value.on, value.seconds)


def _timeout(sec: int, usec: int) -> int | None:
    """Return a timeout in ns: 0,0 has no end, a negative one is over at once. EDOM."""
    if not 0 <= usec < _MILLION:
        raise KernelError(Errno.EDOM)
    if sec < 0:
        return 0
    if (not sec and not usec) or sec >= _FOREVER:
        return None
    return sec * _NS + usec * 1000


def _take_timeout(lwp: Lwp, addr: int, size: int) -> int | None:
    return _take_time(lwp, addr, size, _TIMEVALS[lwp.brand.bits])


def _take_timeout64(lwp: Lwp, addr: int, size: int) -> int | None:
    return _take_time(lwp, addr, size, _TIMEVAL64)


def _take_time(lwp: Lwp, addr: int, size: int, layout: struct.Struct) -> int | None:
    take_int(lwp, addr, size)
    if size < layout.size:
        raise KernelError(Errno.EINVAL)
    return _timeout(*layout.unpack(lwp.as_.copyin(addr, layout.size)))


def _take_filter(lwp: Lwp, addr: int, size: int) -> Filter:
    """Copy in a struct sock_fprog and its program. EINVAL, EFAULT."""
    take_int(lwp, addr, size)
    layout = _FPROGS[lwp.brand.bits]
    if size != layout.size:
        raise KernelError(Errno.EINVAL)
    count, program = layout.unpack(lwp.as_.copyin(addr, size))
    if not program or not 0 < count <= MAX_INSNS:
        raise KernelError(Errno.EINVAL)
    data = lwp.as_.copyin(program, count * _INSN.size)
    return Filter([Insn(*fields) for fields in _INSN.iter_unpack(data)])


def _give_timeout(bits: int, value: int | None) -> bytes:
    return _TIMEVALS[bits].pack((value or 0) // _NS, (value or 0) % _NS // 1000)


def _give_timeout64(_bits: int, value: int | None) -> bytes:
    return _TIMEVAL64.pack((value or 0) // _NS, (value or 0) % _NS // 1000)


def _give_errno(_bits: int, value: int) -> bytes:
    return _INT.pack(ERRNO_OUT[value] if value else 0)


def _give_type(_bits: int, value: int) -> bytes:
    return _INT.pack(SOCK_TYPE.to_lx[value])


def _give_family(_bits: int, value: int) -> bytes:
    return _INT.pack(FAMILY.to_lx[value])


def _give_ucred(_bits: int, value: s.Ucred) -> bytes:
    return ucred_out(value)


def _give_groups(_bits: int, value: s.Ucred) -> bytes:
    return struct.pack(f"<{len(value.groups)}I", *value.groups)


def _give_address(_bits: int, value: Any) -> bytes:
    return encode(value)


def _give_u64(_bits: int, value: int) -> bytes:
    return struct.pack("<Q", value)


def _give_rate(_bits: int, value: int) -> bytes:
    return struct.pack("<Q", value & 0xFFFFFFFFFFFFFFFF)


def _give_stamping(_bits: int, value: int) -> bytes:
    """Return struct so_timestamping: the flags, and no clock."""
    return struct.pack("<Ii", value, 0)


def number(name: int, label: str) -> Option:
    """Return an option whose value is an int both ways."""
    return Option(name, label, take_int, give_int)


#: Options at SOL_SOCKET by Linux's number (asm-generic/socket.h).
SOCKET: Final[dict[int, Option]] = {
    1: number(s.SO_DEBUG, "SO_DEBUG"),
    2: number(s.SO_REUSEADDR, "SO_REUSEADDR"),
    3: Option(s.SO_TYPE, "SO_TYPE", take_int, _give_type),
    4: Option(s.SO_ERROR, "SO_ERROR", take_int, _give_errno),
    5: number(s.SO_DONTROUTE, "SO_DONTROUTE"),
    6: number(s.SO_BROADCAST, "SO_BROADCAST"),
    7: number(s.SO_SNDBUF, "SO_SNDBUF"),
    8: number(s.SO_RCVBUF, "SO_RCVBUF"),
    9: number(s.SO_KEEPALIVE, "SO_KEEPALIVE"),
    10: number(s.SO_OOBINLINE, "SO_OOBINLINE"),
    11: number(s.SO_NO_CHECK, "SO_NO_CHECK"),
    12: number(s.SO_PRIORITY, "SO_PRIORITY"),
    13: Option(s.SO_LINGER, "SO_LINGER", _take_linger, _give_linger),
    14: number(s.SO_BSDCOMPAT, "SO_BSDCOMPAT"),
    15: number(s.SO_REUSEPORT, "SO_REUSEPORT"),
    16: number(s.SO_RECVUCRED, "SO_PASSCRED"),
    17: Option(s.SO_PEERCRED, "SO_PEERCRED", take_int, _give_ucred),
    18: number(s.SO_RCVLOWAT, "SO_RCVLOWAT"),
    19: number(s.SO_SNDLOWAT, "SO_SNDLOWAT"),
    20: Option(s.SO_RCVTIMEO, "SO_RCVTIMEO_OLD", _take_timeout, _give_timeout),
    21: Option(s.SO_SNDTIMEO, "SO_SNDTIMEO_OLD", _take_timeout, _give_timeout),
    25: Option(s.SO_BINDTODEVICE, "SO_BINDTODEVICE", take_bytes, give_bytes),
    26: Option(s.SO_ATTACH_FILTER, "SO_ATTACH_FILTER", _take_filter, give_bytes),
    27: number(s.SO_DETACH_FILTER, "SO_DETACH_FILTER"),
    28: Option(s.SO_PEERNAME, "SO_PEERNAME", take_int, _give_address),
    29: number(s.SO_TIMESTAMP, "SO_TIMESTAMP_OLD"),
    30: number(s.SO_ACCEPTCONN, "SO_ACCEPTCONN"),
    31: number(s.SO_PEERSEC, "SO_PEERSEC"),
    32: number(s.SO_SNDBUFFORCE, "SO_SNDBUFFORCE"),
    33: number(s.SO_RCVBUFFORCE, "SO_RCVBUFFORCE"),
    34: number(s.SO_PASSSEC, "SO_PASSSEC"),
    35: number(s.SO_TIMESTAMPNS, "SO_TIMESTAMPNS_OLD"),
    36: number(s.SO_MARK, "SO_MARK"),
    37: Option(s.SO_TIMESTAMPING, "SO_TIMESTAMPING_OLD", take_int, _give_stamping),
    38: number(s.SO_PROTOTYPE, "SO_PROTOCOL"),
    39: Option(s.SO_DOMAIN, "SO_DOMAIN", take_int, _give_family),
    40: number(s.SO_RXQ_OVFL, "SO_RXQ_OVFL"),
    41: number(s.SO_WIFI_STATUS, "SO_WIFI_STATUS"),
    42: number(s.SO_PEEK_OFF, "SO_PEEK_OFF"),
    43: number(s.SO_NOFCS, "SO_NOFCS"),
    44: number(s.SO_LOCK_FILTER, "SO_LOCK_FILTER"),
    45: number(s.SO_SELECT_ERR_QUEUE, "SO_SELECT_ERR_QUEUE"),
    46: number(s.SO_BUSY_POLL, "SO_BUSY_POLL"),
    47: Option(s.SO_MAX_PACING_RATE, "SO_MAX_PACING_RATE", take_int, _give_rate),
    49: number(s.SO_INCOMING_CPU, "SO_INCOMING_CPU"),
    50: number(s.SO_ATTACH_BPF, "SO_ATTACH_BPF"),
    55: Option(s.SO_MEMINFO, "SO_MEMINFO", take_int, give_bytes),
    56: number(s.SO_INCOMING_NAPI_ID, "SO_INCOMING_NAPI_ID"),
    57: Option(s.SO_COOKIE, "SO_COOKIE", take_int, _give_u64),
    59: Option(s.SO_PEERGROUPS, "SO_PEERGROUPS", take_int, _give_groups),
    60: number(s.SO_ZEROCOPY, "SO_ZEROCOPY"),
    61: number(s.SO_TXTIME, "SO_TXTIME"),
    62: number(s.SO_BINDTOIFINDEX, "SO_BINDTOIFINDEX"),
    63: number(s.SO_TIMESTAMP, "SO_TIMESTAMP_NEW"),
    64: number(s.SO_TIMESTAMPNS, "SO_TIMESTAMPNS_NEW"),
    65: Option(s.SO_TIMESTAMPING, "SO_TIMESTAMPING_NEW", take_int, _give_stamping),
    66: Option(s.SO_RCVTIMEO, "SO_RCVTIMEO_NEW", _take_timeout64, _give_timeout64),
    67: Option(s.SO_SNDTIMEO, "SO_SNDTIMEO_NEW", _take_timeout64, _give_timeout64),
    69: number(s.SO_PREFER_BUSY_POLL, "SO_PREFER_BUSY_POLL"),
    71: Option(s.SO_NETNS_COOKIE, "SO_NETNS_COOKIE", take_int, _give_u64),
    72: number(s.SO_BUF_LOCK, "SO_BUF_LOCK"),
    73: number(s.SO_RESERVE_MEM, "SO_RESERVE_MEM"),
    74: number(s.SO_TXREHASH, "SO_TXREHASH"),
    76: number(s.SO_PASSPIDFD, "SO_PASSPIDFD"),
    77: number(s.SO_PEERPIDFD, "SO_PEERPIDFD"),
    83: number(s.SO_PASSRIGHTS, "SO_PASSRIGHTS"),
    84: number(s.SO_INQ, "SO_INQ"),
}


def find_option(level: int, name: int) -> Option | None:
    """Return the option that Linux numbers so at Linux's *level*, None when there is none."""
    if level == 1:
        return SOCKET.get(name)
    try:
        levels = import_module("syscalls.abi.sockopt_inet").LEVELS
    except ModuleNotFoundError:
        return None
    known = levels.get(level)
    found: Option | None = known[1].get(name) if known is not None else None
    return found
