"""Internet host addresses as bytes: 4 for IPv4, 16 for IPv6 (netinet/in.h).

Inside the stack an IPv4 address that came in mapped form (::ffff:a.b.c.d) is always its 4 bytes;
only a socket of the other family shows it mapped again.
"""

from __future__ import annotations

from functools import lru_cache

ANY4 = bytes(4)
ANY6 = bytes(16)
LOOPBACK4 = b"\x7f\0\0\x01"
LOOPBACK6 = bytes(15) + b"\x01"
BROADCAST4 = b"\xff\xff\xff\xff"
_MAPPED = bytes(10) + b"\xff\xff"


def unmap(host: bytes) -> bytes:
    """Return the 4 bytes inside a mapped address, any other address as it is."""
    return host[12:] if len(host) == 16 and host.startswith(_MAPPED) else host


def as_v6(host: bytes) -> bytes:
    """Return the 16-byte form of any address."""
    return _MAPPED + host if len(host) == 4 else host


def is_any(host: bytes) -> bool:
    """Return whether `host` is INADDR_ANY or in6addr_any."""
    return not any(host)


def is_loopback(host: bytes) -> bool:
    """Return whether `host` is in 127.0.0.0/8 or ::1."""
    return host[0] == 127 if len(host) == 4 else host == LOOPBACK6


def is_multicast(host: bytes) -> bool:
    """Return whether `host` is a group address."""
    return 224 <= host[0] < 240 if len(host) == 4 else host[0] == 0xFF


def is_link_local(host: bytes) -> bool:
    """Return whether `host` is in fe80::/10."""
    return len(host) == 16 and host[0] == 0xFE and host[1] & 0xC0 == 0x80


def needs_scope(host: bytes) -> bool:
    """Return whether `host` means something only together with an interface (RFC 4007)."""
    if len(host) != 16:
        return False
    return is_link_local(host) or (host[0] == 0xFF and host[1] & 0xF in (1, 2))


@lru_cache(maxsize=256)
def netmask(prefixlen: int, size: int) -> bytes:
    """Return the mask of `prefixlen` bits as `size` bytes."""
    bits = size * 8
    return ((1 << bits) - (1 << bits - prefixlen)).to_bytes(size, "big")


def in_prefix(host: bytes, net: bytes, prefixlen: int) -> bool:
    """Return whether `host` lies in net/prefixlen, both of one family."""
    if len(host) != len(net):
        return False
    shift = len(host) * 8 - prefixlen
    return int.from_bytes(host, "big") >> shift == int.from_bytes(net, "big") >> shift


def checksum(data: bytes) -> int:
    """Return the Internet checksum of `data` (RFC 1071), in network order."""
    if len(data) & 1:
        data += b"\0"
    total = int.from_bytes(data, "big") % 0xFFFF if data else 0
    # A sum of ones' complement words is the number modulo 0xffff; zero data stay zero.
    if not total and any(data):
        total = 0xFFFF
    return ~total & 0xFFFF
