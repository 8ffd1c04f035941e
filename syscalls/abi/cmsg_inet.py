"""Control messages of the Internet protocols: ip(7), ipv6(7). Importing this registers them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.net import in_
from lxemu.kernel.net.inaddr import as_v6, unmap
from lxemu.kernel.net.sockaddr import Inet6Addr, InetAddr
from lxemu.kernel.net.socketvar import IPPROTO_IP, IPPROTO_IPV6, IPPROTO_UDP
from syscalls.errno import ERRNO_OUT

from .cmsg import DECODERS, ENCODERS
from .sockaddr import encode

if TYPE_CHECKING:
    from collections.abc import Callable

_INT: Final = struct.Struct("<i")
_PKTINFO: Final = struct.Struct("<i4s4s")
_PKTINFO6: Final = struct.Struct("<16si")
_EXTENDED_ERR: Final = struct.Struct("<IBBBBII")


def _int(_bits: int, value: int) -> bytes:
    return _INT.pack(value)


def _byte(_bits: int, value: int) -> bytes:
    return bytes((value & 0xFF,))


def _pktinfo(_bits: int, info: in_.PktInfo) -> bytes:
    return _PKTINFO.pack(info.ifindex, info.spec_dst, info.addr)


def _pktinfo6(_bits: int, info: in_.PktInfo) -> bytes:
    return _PKTINFO6.pack(info.addr, info.ifindex)


def _address(_bits: int, value: Any) -> bytes:
    return encode(value)


def _error(_bits: int, error: in_.ExtErr) -> bytes:
    head = _EXTENDED_ERR.pack(
        ERRNO_OUT[error.errno], error.origin, error.type, error.code, 0, error.info, 0
    )
    return head + encode(InetAddr(error.offender, 0))


def _error6(_bits: int, error: in_.ExtErr) -> bytes:
    head = _EXTENDED_ERR.pack(
        ERRNO_OUT[error.errno], error.origin, error.type, error.code, 0, error.info, 0
    )
    return head + encode(Inet6Addr(as_v6(error.offender), 0))


def _take_number(kind: int) -> Callable[[int, bytes], tuple[int, Any]]:
    """Return a decoder of a number that is an int, or one byte."""

    def decoder(_bits: int, data: bytes) -> tuple[int, Any]:
        if len(data) >= 4:
            return kind, _INT.unpack_from(data)[0]
        if len(data) == 1:
            return kind, data[0]
        raise KernelError(Errno.EINVAL)

    return decoder


def _take_pktinfo(_bits: int, data: bytes) -> tuple[int, Any]:
    if len(data) != _PKTINFO.size:
        raise KernelError(Errno.EINVAL)
    return in_.IP_PKTINFO, in_.PktInfo(*_PKTINFO.unpack(data))


def _take_pktinfo6(_bits: int, data: bytes) -> tuple[int, Any]:
    if len(data) < _PKTINFO6.size:
        raise KernelError(Errno.EINVAL)
    host, index = _PKTINFO6.unpack_from(data)
    host = unmap(host)
    return in_.IPV6_PKTINFO, in_.PktInfo(index, host, host)


def _take_segment(_bits: int, data: bytes) -> tuple[int, Any]:
    if len(data) != 2:
        raise KernelError(Errno.EINVAL)
    return in_.UDP_SEGMENT, int.from_bytes(data, "little")


ENCODERS.update(
    {
        (IPPROTO_IP, in_.IP_PKTINFO): (8, _pktinfo),
        (IPPROTO_IP, in_.IP_TTL): (2, _int),
        (IPPROTO_IP, in_.IP_TOS): (1, _byte),
        (IPPROTO_IP, in_.IP_RECVORIGDSTADDR): (20, _address),
        (IPPROTO_IP, in_.IP_RECVERR): (11, _error),
        (IPPROTO_IPV6, in_.IPV6_PKTINFO): (50, _pktinfo6),
        (IPPROTO_IPV6, in_.IPV6_HOPLIMIT): (52, _int),
        (IPPROTO_IPV6, in_.IPV6_OLD_PKTINFO): (2, _pktinfo6),
        (IPPROTO_IPV6, in_.IPV6_OLD_HOPLIMIT): (8, _int),
        (IPPROTO_IPV6, in_.IPV6_TCLASS): (67, _int),
        (IPPROTO_IPV6, in_.IPV6_RECVORIGDSTADDR): (74, _address),
        (IPPROTO_IPV6, in_.IPV6_RECVERR): (25, _error6),
    }
)
DECODERS.update(
    {
        (IPPROTO_IP, 8): _take_pktinfo,
        (IPPROTO_IP, 2): _take_number(in_.IP_TTL),
        (IPPROTO_IP, 1): _take_number(in_.IP_TOS),
        (IPPROTO_IPV6, 50): _take_pktinfo6,
        (IPPROTO_IPV6, 52): _take_number(in_.IPV6_HOPLIMIT),
        (IPPROTO_IPV6, 67): _take_number(in_.IPV6_TCLASS),
        (IPPROTO_UDP, 103): _take_segment,
    }
)
