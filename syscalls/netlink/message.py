"""Netlink messages: headers and attributes (linux/netlink.h, netlink(7))."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

NLMSG: Final = struct.Struct("<IHHII")
_ATTR: Final = struct.Struct("<HH")

NLMSG_NOOP: Final = 1
NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
#: Types below this one are control messages.
NLMSG_MIN_TYPE: Final = 16

NLM_F_REQUEST: Final = 0x1
NLM_F_MULTI: Final = 0x2
NLM_F_ACK: Final = 0x4
NLM_F_ROOT: Final = 0x100
NLM_F_MATCH: Final = 0x200
NLM_F_DUMP: Final = NLM_F_ROOT | NLM_F_MATCH
NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400
NLM_F_CAPPED: Final = 0x100

_TYPE_MASK: Final = 0x3FFF


class Message(NamedTuple):
    """A message: its type, flags and numbers, and what follows the header."""

    type: int
    flags: int
    seq: int
    pid: int
    payload: bytes


def align4(size: int) -> int:
    """Round up as NLMSG_ALIGN does."""
    return size + 3 & -4


def parse(data: bytes) -> Iterator[Message]:
    """Yield the messages of a buffer; a length that cannot be ends it."""
    at = 0
    while at + NLMSG.size <= len(data):
        size, kind, flags, seq, pid = NLMSG.unpack_from(data, at)
        if size < NLMSG.size or at + size > len(data):
            return
        yield Message(kind, flags, seq, pid, data[at + NLMSG.size : at + size])
        at += align4(size)


def build(kind: int, flags: int, seq: int, pid: int, payload: bytes) -> bytes:
    """Return a message, filled up to its alignment."""
    size = NLMSG.size + len(payload)
    return (NLMSG.pack(size, kind, flags, seq, pid) + payload).ljust(align4(size), b"\0")


def attr(kind: int, data: bytes) -> bytes:
    """Return an attribute, filled up to its alignment."""
    size = _ATTR.size + len(data)
    return (_ATTR.pack(size, kind) + data).ljust(align4(size), b"\0")


def attr_u32(kind: int, value: int) -> bytes:
    """Return an attribute that is a 32-bit number."""
    return attr(kind, struct.pack("<I", value & 0xFFFFFFFF))


def attr_u8(kind: int, value: int) -> bytes:
    """Return an attribute that is a byte."""
    return attr(kind, bytes((value & 0xFF,)))


def attr_text(kind: int, text: bytes) -> bytes:
    """Return an attribute that is a string with its end."""
    return attr(kind, text + b"\0")


def attrs(data: bytes) -> dict[int, bytes]:
    """Return the attributes of a buffer by type."""
    found: dict[int, bytes] = {}
    at = 0
    while at + _ATTR.size <= len(data):
        size, kind = _ATTR.unpack_from(data, at)
        if size < _ATTR.size or at + size > len(data):
            break
        found[kind & _TYPE_MASK] = data[at + _ATTR.size : at + size]
        at += align4(size)
    return found


def number(data: bytes) -> int:
    """Return the value of an attribute that is a number of its own length."""
    return int.from_bytes(data, "little")
