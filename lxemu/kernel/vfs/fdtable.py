"""Descriptor tables (illumos uf_info_t): small integers to open files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lxemu.kernel.errno import Errno, KernelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxemu.kernel.vfs.file import File


class FdTable:
    """The descriptors of a process, or of several that share them.

    `limit` is one more than the largest descriptor allowed (RLIMIT_NOFILE); whoever changes the
    limit sets it here. The table is also the owner of the process's advisory record locks.
    """

    __slots__ = ("__weakref__", "_cloexec", "_files", "_low", "limit", "refcnt")

    def __init__(self, limit: int = 1024) -> None:
        self._files: list[File | None] = []
        self._cloexec: set[int] = set()
        #: No descriptor below this one is free.
        self._low = 0
        self.limit = limit
        self.refcnt = 1

    def __len__(self) -> int:
        return sum(file is not None for file in self._files)

    # -- life -----------------------------------------------------------------------------------

    def hold(self) -> FdTable:
        """Share the table with another process."""
        self.refcnt += 1
        return self

    def rele(self, _proc: Any = None) -> None:
        """Give the table up; the last process to do so closes every descriptor."""
        self.refcnt -= 1
        if not self.refcnt:
            self.close_range(0, len(self._files) - 1)

    def copy(self) -> FdTable:
        """Return what a forked child gets: the same open files under the same numbers."""
        new = FdTable(self.limit)
        new._files = list(self._files)
        new._cloexec = set(self._cloexec)
        new._low = self._low
        for file in new._files:
            if file is not None:
                file.refcnt += 1
        return new

    # -- access ---------------------------------------------------------------------------------

    def get(self, fd: int) -> File:
        """Return the open file of `fd`; raises EBADF."""
        if fd >= 0:
            try:
                file = self._files[fd]
            except IndexError:
                file = None
            if file is not None:
                return file
        raise KernelError(Errno.EBADF)

    def items(self) -> Iterator[tuple[int, File]]:
        """Return the descriptors in use with their files, in order."""
        for fd, file in enumerate(self._files):
            if file is not None:
                yield fd, file

    def getcloexec(self, fd: int) -> bool:
        """Return whether `fd` is closed by exec; raises EBADF."""
        self.get(fd)
        return fd in self._cloexec

    def setcloexec(self, fd: int, on: bool) -> None:
        """Set or clear close-on-exec; raises EBADF."""
        self.get(fd)
        if on:
            self._cloexec.add(fd)
        else:
            self._cloexec.discard(fd)

    # -- allocation -----------------------------------------------------------------------------

    def lowest(self, minfd: int = 0) -> int:
        """Return the lowest free descriptor not below `minfd`; raises EMFILE."""
        files = self._files
        fd = max(minfd, self._low)
        end = len(files)
        while fd < end and files[fd] is not None:
            fd += 1
        if minfd <= self._low:
            self._low = min(fd, end)
        if fd >= self.limit:
            raise KernelError(Errno.EMFILE)
        return fd

    def alloc(self, file: File, minfd: int = 0, cloexec: bool = False) -> int:
        """Give `file` the lowest free descriptor; the caller's reference goes into the table.

        Raises EMFILE, and then the caller still owns its reference.
        """
        fd = self.lowest(minfd)
        self._install(fd, file, cloexec)
        return fd

    def _install(self, fd: int, file: File, cloexec: bool) -> None:
        files = self._files
        if fd >= len(files):
            files.extend([None] * (fd + 1 - len(files)))
        files[fd] = file
        if cloexec:
            self._cloexec.add(fd)

    def dup(self, fd: int, minfd: int = 0, cloexec: bool = False) -> int:
        """Duplicate `fd` to the lowest free one from `minfd` on; raises EBADF, EINVAL, EMFILE."""
        file = self.get(fd)
        if not 0 <= minfd < self.limit:
            raise KernelError(Errno.EINVAL)
        new = self.alloc(file, minfd, cloexec)
        file.refcnt += 1
        return new

    def dup2(self, oldfd: int, newfd: int, cloexec: bool = False) -> int:
        """Make `newfd` refer to the file of `oldfd`, closing what it was; raises EBADF.

        Equal descriptors are left alone; a call for which that is an error checks it first.
        """
        file = self.get(oldfd)
        if not 0 <= newfd < self.limit:
            raise KernelError(Errno.EBADF)
        if newfd == oldfd:
            return newfd
        file.refcnt += 1
        self.put(newfd, file, cloexec)
        return newfd

    def put(self, fd: int, file: File, cloexec: bool = False) -> None:
        """Install `file` (the caller's reference) at exactly `fd`, closing what was there."""
        if fd < len(self._files) and self._files[fd] is not None:
            self.close(fd)
        self._install(fd, file, cloexec)

    # -- closing --------------------------------------------------------------------------------

    def close(self, fd: int) -> None:
        """Close `fd`; raises EBADF, or what closing the file raises when `fd` is gone already."""
        file = self.get(fd)
        self._files[fd] = None
        if self._cloexec:
            self._cloexec.discard(fd)
        if fd < self._low:
            self._low = fd
        locks = file.vnode.locks
        if locks is not None:
            locks.release_owner(self)
        if file.vnode.counts_closes:
            file.vnode.fd_closed(file)
        file.rele()

    def close_range(self, first: int, last: int, *, cloexec: bool = False) -> None:
        """Close every descriptor from `first` to `last`, or mark them close-on-exec instead."""
        for fd in range(first, min(last + 1, len(self._files))):
            if self._files[fd] is None:
                continue
            if cloexec:
                self._cloexec.add(fd)
            else:
                self.close(fd)

    def close_on_exec(self) -> None:
        """Close the descriptors marked so; exec has passed the point of no return."""
        for fd in sorted(self._cloexec):
            self.close(fd)
