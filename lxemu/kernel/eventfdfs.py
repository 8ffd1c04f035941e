"""Event counters: 64-bit numbers that reads take and writes add to (illumos eventfd(7))."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from lxemu.kernel.anonfs import AnonVnode
from lxemu.kernel.cv import CondVar
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.poll import POLLERR, POLLIN, POLLOUT, POLLRDNORM, Pollhead
from lxemu.kernel.vfs.fcntl import O_NONBLOCK

if TYPE_CHECKING:
    from lxemu.kernel.vfs.file import File
    from lxemu.kernel.vfs.vnode import Vfs

#: The counter never holds 2^64-1: a write that would reach it waits.
COUNTER_MAX = (1 << 64) - 2
_COUNTER_FULL = COUNTER_MAX + 1

_U64 = struct.Struct("=Q")


class EventFd(AnonVnode):
    """An event counter; with `semaphore` a read takes 1, otherwise all of it.

    `ident` is the number that a listing of descriptors shows for it.
    """

    __slots__ = ("count", "ident", "pollhead", "readers", "semaphore", "writers")

    label = b"anon_inode:[eventfd]"

    def __init__(self, vfs: Vfs, count: int, *, semaphore: bool, ident: int = 0) -> None:
        super().__init__(vfs)
        self.count = count
        self.semaphore = semaphore
        self.ident = ident
        self.readers = CondVar()
        self.writers = CondVar()
        self.pollhead = Pollhead()

    def take(self) -> int:
        """Take from the counter without waiting; 0 when it is zero."""
        count = self.count
        if count:
            if self.semaphore:
                count = 1
            self.count -= count
            self.writers.broadcast()
            self.pollhead.wakeup(POLLOUT)
        return count

    def add(self, value: int) -> None:
        """Add to the counter without waiting; it stops at its maximum + 1 (a kernel's own post)."""
        self.count = min(self.count + value, _COUNTER_FULL)
        self.readers.signal()
        self.pollhead.wakeup(POLLIN | POLLRDNORM)

    def sread(self, file: File, n: int) -> bytes:
        """Read the 8 bytes of the counter when it is not zero. Raises EINVAL, EAGAIN, EINTR."""
        if n < 8:
            raise KernelError(Errno.EINVAL)
        while True:
            count = self.take()
            if count:
                return _U64.pack(count)
            if file.flags & O_NONBLOCK:
                raise KernelError(Errno.EAGAIN)
            self.readers.wait_sig()

    def swrite(self, file: File, data: bytes | memoryview) -> int:
        """Add an 8-byte number when there is room for it. Raises EINVAL, EAGAIN, EINTR."""
        if len(data) != 8:
            raise KernelError(Errno.EINVAL)
        (value,) = _U64.unpack(data)
        if value == _COUNTER_FULL:
            raise KernelError(Errno.EINVAL)
        while self.count + value > COUNTER_MAX:
            if file.flags & O_NONBLOCK:
                raise KernelError(Errno.EAGAIN)
            self.writers.wait_sig()
        self.add(value)
        return 8

    def poll(self, file: File, events: int) -> tuple[int, Pollhead | None]:  # noqa: ARG002
        """Readable when not zero, writable when 1 can be added, in error at the maximum + 1."""
        ready = 0
        if self.count:
            ready |= POLLIN | POLLRDNORM
        if self.count < COUNTER_MAX:
            ready |= POLLOUT
        ready &= events
        if self.count == _COUNTER_FULL:
            ready |= POLLERR
        return ready, self.pollhead
