"""Directory entries in the forms of getdents, getdents64 and the old readdir."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, Protocol

from lxemu.kernel.errno import Errno, KernelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Entry(Protocol):
    """What a directory gives (lxemu/kernel/vfs Dirent)."""

    @property
    def name(self) -> bytes:
        """Name without a slash."""
        raise NotImplementedError

    @property
    def nodeid(self) -> int:
        """Inode number."""
        raise NotImplementedError

    @property
    def type(self) -> int:
        """Vnode type (VREG 1, VDIR 2, VBLK 3, VCHR 4, VLNK 5, VFIFO 6, VSOCK 9)."""
        raise NotImplementedError

    @property
    def next_cookie(self) -> int:
        """Position after this entry."""
        raise NotImplementedError


#: DT_* by illumos vnode type (sys/vnode.h vtype_t).
D_TYPE: Final = (0, 8, 4, 6, 2, 10, 1, 0, 0, 12, 0, 0, 0)

_HEAD64: Final = struct.Struct("<QqHB").pack
_HEAD_LP64: Final = struct.Struct("<QqH").pack
_HEAD_ILP32: Final = struct.Struct("<IiH").pack


def dirent64(entry: Entry) -> bytes:
    """Struct linux_dirent64: ino, off, reclen, type, name; the length a multiple of 8."""
    name = entry.name
    size = (20 + len(name) + 7) & ~7
    head = _HEAD64(entry.nodeid, entry.next_cookie, size, D_TYPE[entry.type])
    return (head + name).ljust(size, b"\0")


def dirent_lp64(entry: Entry) -> bytes:
    """Struct linux_dirent of x86_64: ino, off, reclen, name, and the type in the last byte."""
    name = entry.name
    size = (20 + len(name) + 7) & ~7
    head = _HEAD_LP64(entry.nodeid, entry.next_cookie, size)
    return (head + name).ljust(size - 1, b"\0") + bytes((D_TYPE[entry.type],))


def dirent_ilp32(entry: Entry) -> bytes:
    """Struct linux_dirent of i386; EOVERFLOW when the inode number does not fit."""
    name = entry.name
    size = (12 + len(name) + 3) & ~3
    if entry.nodeid > 0xFFFFFFFF:
        raise KernelError(Errno.EOVERFLOW)
    off = (entry.next_cookie + 0x80000000 & 0xFFFFFFFF) - 0x80000000
    head = _HEAD_ILP32(entry.nodeid, off, size)
    return (head + name).ljust(size - 1, b"\0") + bytes((D_TYPE[entry.type],))


def dirent_old(entry: Entry) -> bytes:
    """Struct old_linux_dirent of i386 readdir(2): ino, offset, length of the name, name."""
    if entry.nodeid > 0xFFFFFFFF:
        raise KernelError(Errno.EOVERFLOW)
    return struct.pack("<IIH", entry.nodeid, entry.next_cookie & 0xFFFFFFFF, len(entry.name)) + (
        entry.name + b"\0"
    )


def pack_dirents(
    encode: Callable[[Entry], bytes], entries: Iterable[Entry], limit: int
) -> tuple[bytes, int | None]:
    """Pack as many entries as fit in *limit* bytes.

    Return the bytes and the cookie after the last packed entry (None: no entry). EINVAL when there
    is an entry and not even one fits, as getdents(2).
    """
    parts: list[bytes] = []
    used, cookie = 0, None
    for entry in entries:
        part = encode(entry)
        if used + len(part) > limit:
            if not parts:
                raise KernelError(Errno.EINVAL)
            break
        parts.append(part)
        used += len(part)
        cookie = entry.next_cookie
    return b"".join(parts), cookie
