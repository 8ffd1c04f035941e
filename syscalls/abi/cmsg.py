"""Control messages: struct cmsghdr in both layouts, to and from the kernel's (cmsg(3))."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.net.socketvar import (
    SCM_TIMESTAMP,
    SCM_TIMESTAMPNS,
    SCM_UCRED,
    SOL_SOCKET,
    Ucred,
)

from .xlat_net import LEVEL, LX_SOL_SOCKET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LX_SCM_RIGHTS: Final = 1
LX_SCM_CREDENTIALS: Final = 2
LX_SCM_TIMESTAMP: Final = 29
LX_SCM_TIMESTAMPNS: Final = 35
LX_SCM_PIDFD: Final = 4

#: struct cmsghdr: its length (with the header), level and type; the data are aligned to the long.
_HEADERS: Final = {64: struct.Struct("<Qii"), 32: struct.Struct("<Iii")}
_UCRED: Final = struct.Struct("<iII")
_INT: Final = struct.Struct("<i")
_TIMES: Final = {64: struct.Struct("<qq"), 32: struct.Struct("<ii")}
_NS: Final = 1_000_000_000


class RawControl(NamedTuple):
    """A control message as it is in memory: Linux's level and type."""

    level: int
    type: int
    data: bytes


def header_size(bits: int) -> int:
    """Return sizeof(struct cmsghdr)."""
    return _HEADERS[bits].size


def align(size: int, bits: int) -> int:
    """Round a length up as CMSG_ALIGN does."""
    word = bits // 8
    return size + word - 1 & -word


def parse(data: bytes, bits: int) -> Iterator[RawControl]:
    """Yield the messages of a control buffer. EINVAL for a length that cannot be (CMSG_OK)."""
    header = _HEADERS[bits]
    at = 0
    while at + header.size <= len(data):
        size, level, type_ = header.unpack_from(data, at)
        if size < header.size or at + size > len(data):
            raise KernelError(Errno.EINVAL)
        yield RawControl(level, type_, data[at + header.size : at + size])
        at += align(size, bits)


def ucred_in(data: bytes) -> Ucred:
    """Decode a struct ucred."""
    return Ucred(*_UCRED.unpack(data))


def ucred_out(ucred: Ucred) -> bytes:
    """Encode a struct ucred."""
    return _UCRED.pack(ucred.pid, ucred.uid & 0xFFFFFFFF, ucred.gid & 0xFFFFFFFF)


def _time(bits: int, ns: int, unit: int) -> bytes:
    return _TIMES[bits].pack(ns // _NS, ns % _NS // unit)


#: Kernel (level, type) to Linux's type and an encoder; those that make descriptors are the
#: caller's. Other protocols add theirs.
ENCODERS: Final[dict[tuple[int, int], tuple[int, Callable[[int, Any], bytes]]]] = {
    (SOL_SOCKET, SCM_UCRED): (LX_SCM_CREDENTIALS, lambda _bits, value: ucred_out(value)),
    (SOL_SOCKET, SCM_TIMESTAMP): (LX_SCM_TIMESTAMP, lambda bits, ns: _time(bits, ns, 1000)),
    (SOL_SOCKET, SCM_TIMESTAMPNS): (LX_SCM_TIMESTAMPNS, lambda bits, ns: _time(bits, ns, 1)),
}
#: (level, type) of Linux to a decoder that returns the kernel's type and data.
DECODERS: Final[dict[tuple[int, int], Callable[[int, bytes], tuple[int, Any]]]] = {}


class ControlWriter:
    """Fills a control buffer: where the next message goes, and whether one did not fit."""

    __slots__ = ("bits", "data", "room", "truncated")

    def __init__(self, bits: int, room: int) -> None:
        self.bits = bits
        #: Bytes of the buffer that are left; `data` is what has been put before them.
        self.room = room
        self.data = bytearray()
        self.truncated = False

    def put(self, level: int, type_: int, data: bytes) -> None:
        """Add a message, cut to the room there is (put_cmsg)."""
        header = _HEADERS[self.bits]
        if self.room < header.size:
            self.truncated = True
            return
        size = header.size + len(data)
        if size > self.room:
            self.truncated = True
            size = self.room
        self.data += header.pack(size, level, type_) + data[: size - header.size]
        self._pad(header.size + len(data), size)

    def _pad(self, full: int, size: int) -> None:
        space = min(align(full, self.bits), self.room)
        self.data += bytes(space - size)
        self.room -= space

    def descriptors(self) -> int:
        """Return how many descriptors there is room for (scm_max_fds)."""
        return max(0, self.room - header_size(self.bits)) // 4

    def put_descriptors(self, fds: list[int]) -> None:
        """Add a message of descriptors, which fits."""
        data = struct.pack(f"<{len(fds)}i", *fds)
        self.put(LX_SOL_SOCKET, LX_SCM_RIGHTS, data)


def lx_level(level: int) -> int:
    """Return Linux's level of a kernel one."""
    return LEVEL.to_lx[level]


__all__ = [
    "DECODERS",
    "ENCODERS",
    "LX_SCM_CREDENTIALS",
    "LX_SCM_RIGHTS",
    "ControlWriter",
    "RawControl",
    "align",
    "header_size",
    "lx_level",
    "parse",
    "ucred_in",
    "ucred_out",
]
