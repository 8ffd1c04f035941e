"""Vectors of buffers (readv, writev and everything that takes a struct iovec array)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lxemu.kernel.errno import Errno, KernelError

if TYPE_CHECKING:
    from syscalls.records.file import Iovec

    from .pointers import In

#: UIO_MAXIOV: more buffers than this give EINVAL.
IOV_MAX: Final = 1024
#: MAX_RW_COUNT: one call transfers at most this (a page less than 2 GiB); the rest is cut off.
MAX_RW: Final = 0x7FFFF000


def get_iovec(vector: In[Iovec], count: int) -> list[tuple[int, int]]:
    """Copy in a vector as (address, length) pairs, cut to MAX_RW bytes in all.

    EINVAL for a count out of range or a length that is negative as ssize_t, EFAULT (import_iovec).
    """
    if not 0 <= count <= IOV_MAX:
        raise KernelError(Errno.EINVAL)
    limit = 1 << (vector.codec.size * 4 - 1)
    found: list[tuple[int, int]] = []
    total = 0
    raw = vector.get_array(count)
    for entry in raw:
        if entry.len >= limit:
            raise KernelError(Errno.EINVAL)
    for base, size in raw:
        size = min(size, MAX_RW - total)
        found.append((base, size))
        total += size
    return found
