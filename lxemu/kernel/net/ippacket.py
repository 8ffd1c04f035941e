"""IP and ICMP headers, for raw sockets: the only place where packets are bytes (RFC 791, 792)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from lxemu.kernel.net.inaddr import checksum

_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_ICMP = struct.Struct("!BBHHH")
_PSEUDO6 = struct.Struct("!16s16sI3xB")

ICMP_HEADER = _ICMP.size
IPV4_HEADER = _IPV4.size

ICMP_ECHOREPLY = 0
ICMP_UNREACH = 3
ICMP_ECHO = 8
ICMP6_ECHO_REQUEST = 128
ICMP6_ECHO_REPLY = 129


class IPv4Header(NamedTuple):
    """The fields of a header that somebody looks at."""

    length: int
    tos: int
    ident: int
    ttl: int
    protocol: int
    src: bytes
    dst: bytes


def ipv4(header: IPv4Header, payload: bytes) -> bytes:
    """Return a packet without options, its checksum filled in."""
    total = IPV4_HEADER + len(payload)
    words = (0x45, header.tos, total, header.ident, 0x4000, header.ttl, header.protocol)
    blank = _IPV4.pack(*words, 0, header.src, header.dst)
    return _IPV4.pack(*words, checksum(blank), header.src, header.dst) + payload


def parse_ipv4(packet: bytes) -> IPv4Header | None:
    """Return the header of a packet, None when it is too short to have one."""
    if len(packet) < IPV4_HEADER:
        return None
    first, tos, _total, ident, _frag, ttl, protocol, _sum, src, dst = _IPV4.unpack_from(packet)
    length = (first & 15) * 4
    if length < IPV4_HEADER or length > len(packet):
        return None
    return IPv4Header(length, tos, ident, ttl, protocol, src, dst)


def icmp(kind: int, code: int, ident: int, seq: int, payload: bytes) -> bytes:
    """Return an ICMP message with its checksum."""
    blank = _ICMP.pack(kind, code, 0, ident, seq) + payload
    return _ICMP.pack(kind, code, checksum(blank), ident, seq) + payload


def icmp6(src: bytes, dst: bytes, message: bytes) -> bytes:
    """Return an ICMPv6 message with its checksum, which covers the addresses as well."""
    blank = message[:2] + b"\0\0" + message[4:]
    total = checksum(_PSEUDO6.pack(src, dst, len(message), 58) + blank)
    return message[:2] + total.to_bytes(2, "big") + message[4:]


def icmp_fields(message: bytes) -> tuple[int, int, int, int, int]:
    """Return type, code, checksum, identifier and sequence number of a message."""
    fields: tuple[int, int, int, int, int] = _ICMP.unpack_from(message)
    return fields
