"""Open files whose reading leaves the access time alone, or changes it each time.

What a file system does by itself is "relatime": the first access after a change is noted. Mounts
and O_NOATIME that want something else get one of these, so that others pay nothing.
"""

from __future__ import annotations

from lxemu.kernel.vfs.file import File


class QuietFile(File):
    """An open file that reads without a trace (O_NOATIME, or a mount with VFS_NOATIME)."""

    __slots__ = ()

    def read(self, n: int) -> bytes:
        """Read at the position."""
        before = self.vnode.get_atime()
        data = super().read(n)
        self.vnode.set_atime(before)
        return data

    def pread(self, n: int, off: int) -> bytes:
        """Read at `off`."""
        before = self.vnode.get_atime()
        data = super().pread(n, off)
        self.vnode.set_atime(before)
        return data


class StrictFile(File):
    """An open file each reading of which is noted (a mount with VFS_STRICTATIME)."""

    __slots__ = ()

    def read(self, n: int) -> bytes:
        """Read at the position."""
        data = super().read(n)
        self.vnode.set_atime(self.vnode.vfs.now())
        return data

    def pread(self, n: int, off: int) -> bytes:
        """Read at `off`."""
        data = super().pread(n, off)
        self.vnode.set_atime(self.vnode.vfs.now())
        return data
