"""Memory files: regular files that only descriptors name, and the seals that restrict them.

A seal forbids an operation for good, to everybody, so that a process can hand a file to another
one which relies on it. illumos has none; numbers are ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.mm.mman import MAP_SHARED, PROT_WRITE
from lxemu.kernel.vfs.fcntl import FWRITE
from lxemu.kernel.vfs.tmpfs import TmpFile, Tmpfs
from lxemu.kernel.vfs.vnode import AT_MODE

if TYPE_CHECKING:
    from lxemu.kernel.cred import Cred
    from lxemu.kernel.vfs.file import File
    from lxemu.kernel.vfs.vnode import Vattr

# What a seal forbids: more seals; a shorter file; a longer one; changed bytes; new ways to change
# them (mappings that exist stay writable); another executable mode.
SEAL_SEAL = 0x1
SEAL_SHRINK = 0x2
SEAL_GROW = 0x4
SEAL_WRITE = 0x8
SEAL_FUTURE_WRITE = 0x10
SEAL_EXEC = 0x20
SEAL_ALL = 0x3F

_NO_WRITE = SEAL_WRITE | SEAL_FUTURE_WRITE
_PAGE = 4096
_EXECUTE = 0o111


class MemFile(TmpFile):
    """A memory file. It begins with SEAL_SEAL unless its maker wants to seal it."""

    __slots__ = ("seals",)

    def __init__(self, vfs: Tmpfs, mode: int, cred: Cred, seals: int) -> None:
        super().__init__(vfs, mode, cred.fsuid, cred.fsgid)
        self.nlink = 0
        self.seals = seals

    def add_seals(self, file: File, seals: int) -> None:
        """Add seals. EPERM (not writable, or sealed against it), EINVAL, EBUSY."""
        if not file.flags & FWRITE:
            raise KernelError(Errno.EPERM)
        if seals & ~SEAL_ALL:
            raise KernelError(Errno.EINVAL)
        if self.seals & SEAL_SEAL:
            raise KernelError(Errno.EPERM)
        if seals & SEAL_WRITE and not self.seals & SEAL_WRITE and self.pages.writable_mappings():
            raise KernelError(Errno.EBUSY)
        if seals & SEAL_EXEC and self.mode & _EXECUTE:
            # What may be executed must not change.
            seals |= SEAL_SHRINK | SEAL_GROW | _NO_WRITE
        self.seals |= seals

    def _forbid(self, seals: int) -> None:
        if self.seals & seals:
            raise KernelError(Errno.EPERM)

    def write(self, off: int, data: bytes | memoryview) -> int:
        """Write at `off`; against SEAL_GROW only the pages before the one that would grow it."""
        self._forbid(_NO_WRITE)
        size = self.size()
        if self.seals & SEAL_GROW and off + len(data) > size:
            # Whole pages that fit are written first, as a long write goes page by page.
            fits = (size & -_PAGE) - off if size & (_PAGE - 1) else size - off
            if fits <= 0:
                raise KernelError(Errno.EPERM)
            data = data[:fits]
        return super().write(off, data)

    def shift(self, off: int, length: int, *, insert: bool) -> None:  # noqa: ARG002
        """Refuse: what follows a range does not move in a memory file."""
        raise KernelError(Errno.EOPNOTSUPP)

    def truncate(self, size: int) -> None:
        """Set the length."""
        have = self.size()
        if size != have:
            self._forbid(SEAL_SHRINK if size < have else SEAL_GROW)
        super().truncate(size)

    def allocate(self, off: int, length: int, *, keep_size: bool = False) -> None:
        """Give a range its frames now."""
        if off + length > self.size():
            self._forbid(SEAL_GROW)
        super().allocate(off, length, keep_size=keep_size)

    def freesp(self, off: int, length: int) -> None:
        """Make a hole."""
        self._forbid(_NO_WRITE)
        super().freesp(off, length)

    def setattr(self, mask: int, attr: Vattr, cred: Cred) -> None:
        """Set attributes; with SEAL_EXEC who may execute it stays as it is."""
        if mask & AT_MODE and (self.mode ^ attr.mode) & _EXECUTE:
            self._forbid(SEAL_EXEC)
        super().setattr(mask, attr, cred)

    def addmap(self, prot: int, flags: int, maxprot: int) -> int:
        """Return what a mapping may become: never writable and shared against a write seal."""
        if flags & MAP_SHARED and self.seals & _NO_WRITE:
            if prot & PROT_WRITE:
                raise KernelError(Errno.EPERM)
            maxprot &= ~PROT_WRITE
        return maxprot
