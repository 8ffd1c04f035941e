"""What the host says, in kernel terms: errors, attributes, device numbers."""

from __future__ import annotations

import errno
import os
from stat import S_IFMT
from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.vfs.vnode import IFTOVT, VNON, Vattr, makedev

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxemu.kernel.vfs.metaindex import HostStat

_BY_HOST: dict[int, Errno] = {
    number: Errno[name] for number, name in errno.errorcode.items() if name in Errno.__members__
}
# Two names for one number on some hosts; the one with a network meaning is the one meant here.
_BY_HOST[errno.EOPNOTSUPP] = Errno.EOPNOTSUPP
_BY_HOST[errno.EAGAIN] = Errno.EAGAIN
_BY_HOST[errno.EDEADLK] = Errno.EDEADLK


def host_error(err: OSError) -> KernelError:
    """Return the kernel's form of a host error; one that it has no name for is EIO."""
    return KernelError(_BY_HOST.get(err.errno or 0, Errno.EIO))


def host_dev(dev: int) -> int:
    """Return a host device number in the kernel's form."""
    return makedev(os.major(dev), os.minor(dev))


def host_type(mode: int) -> int:
    """Return the vnode type of an st_mode."""
    return IFTOVT.get(S_IFMT(mode), VNON)


def host_vattr(st: os.stat_result | HostStat) -> Vattr:
    """Return host attributes as vnode attributes."""
    mode = st.st_mode
    rdev = st.st_rdev
    return Vattr(
        IFTOVT.get(mode & 0o170000, VNON),
        mode & 0o7777,
        st.st_uid,
        st.st_gid,
        host_dev(st.st_dev),
        st.st_ino,
        st.st_nlink,
        st.st_size,
        st.st_atime_ns,
        st.st_mtime_ns,
        st.st_ctime_ns,
        getattr(st, "st_birthtime_ns", 0),
        host_dev(rdev) if rdev else 0,
        st.st_blksize,
        st.st_blocks,
    )


def process_devices() -> frozenset[int]:
    """Return the st_dev of each of the host's process file systems, as far as it tells.

    Through those a guest could read the memory and environment of the emulator.
    """
    found = set()
    try:
        with open("/proc/self/mountinfo", "rb") as table:
            for line in table:
                fields, _, rest = line.partition(b" - ")
                if rest.startswith(b"proc "):
                    major, _, minor = fields.split()[2].partition(b":")
                    found.add(os.makedev(int(major), int(minor)))
    except OSError:
        return frozenset()
    return frozenset(found)


def pieces(data: bytes | memoryview, size: int) -> Iterator[bytes | memoryview]:
    """Cut `data` into pieces of at most `size` bytes."""
    for at in range(0, len(data), size):
        yield data[at : at + size]


# -- calls of the host's C library that Python has no name for -------------------------------------

_RENAME_EXCHANGE = 2
_BTIME_MASK = 0x800
_SYMLINK_NOFOLLOW, _EMPTY_PATH = 0x100, 0x1000
#: Offsets in the host's struct statx: mask, and seconds and nanoseconds of the birth time.
_STATX_SIZE, _STATX_BTIME = 256, 80


class _Libc:
    """The functions, looked up once; None where the host has none."""

    def __init__(self) -> None:
        import ctypes

        self.ctypes = ctypes
        self.lib = ctypes.PyDLL(None, use_errno=True)

    def call(self, name: str, *args: object) -> None:
        """Call a function that returns -1 and errno. Raises OSError; ENOSYS if there is none."""
        function = getattr(self.lib, name, None)
        if function is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        if function(*args) == -1:
            number = self.ctypes.get_errno()
            raise OSError(number, os.strerror(number))


_libc: list[_Libc] = []


def _host_libc() -> _Libc:
    if not _libc:
        _libc.append(_Libc())
    return _libc[0]


def birth_time(name: bytes, dirfd: int) -> int:
    """Return when a file was made, ns since 1970; 0 where the host does not tell.

    An empty name is the descriptor itself.
    """
    libc = _host_libc()
    buffer = libc.ctypes.create_string_buffer(_STATX_SIZE)
    flags = _SYMLINK_NOFOLLOW if name else _EMPTY_PATH
    try:
        libc.call("statx", dirfd, name, flags, _BTIME_MASK, buffer)
    except OSError:
        return 0
    raw = buffer.raw
    if not int.from_bytes(raw[:4], "little") & _BTIME_MASK:
        return 0
    seconds = int.from_bytes(raw[_STATX_BTIME : _STATX_BTIME + 8], "little", signed=True)
    nanos = int.from_bytes(raw[_STATX_BTIME + 8 : _STATX_BTIME + 12], "little")
    return seconds * 1_000_000_000 + nanos


def exchange(olddir: int, old: bytes, newdir: int, new: bytes) -> None:
    """Swap two entries of the host. Raises OSError."""
    _host_libc().call("renameat2", olddir, old, newdir, new, _RENAME_EXCHANGE)


# What `fallocate` is to do with a range; the host's values.
ALLOC_KEEP_SIZE = 0x01
ALLOC_PUNCH = 0x02 | ALLOC_KEEP_SIZE
ALLOC_COLLAPSE = 0x08
ALLOC_ZERO = 0x10
ALLOC_INSERT = 0x20


def fallocate(fd: int, how: int, off: int, length: int) -> None:
    """Change the storage of a range of a host file (ALLOC_*). Raises OSError."""
    libc = _host_libc()
    long64 = libc.ctypes.c_longlong
    libc.call("fallocate64", fd, how, long64(off), long64(length))
