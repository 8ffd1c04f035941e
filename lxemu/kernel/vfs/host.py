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


def host_vattr(st: os.stat_result) -> Vattr:
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
