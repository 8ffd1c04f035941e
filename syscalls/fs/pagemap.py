"""/proc/PID/pagemap: a 64-bit word for each page of the address space (fs/proc/task_mmu.c)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from lxemu.kernel.cred import PRIV_SYS_ADMIN
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.mm.hat import PTE_PFN, SW_ANON
from lxemu.kernel.vfs.vnode import VREG, Vnode
from syscalls.fs.pseudo import PseudoNode, PseudoVfs, reader

if TYPE_CHECKING:
    from lxemu.kernel.proc import Proc
    from lxemu.kernel.vfs.file import File

_WORD = 8
_PRESENT = 1 << 63
_OF_FILE = 1 << 61
_EXCLUSIVE = 1 << 56
_PFN_MASK = (1 << 55) - 1
#: Words that one read returns at most.
_BATCH = 8192


class PageMapFile(PseudoNode):
    """The file; who lacks privilege sees no frame numbers."""

    __slots__ = ("proc",)

    def __init__(self, vfs: PseudoVfs, proc: Proc, nodeid: int) -> None:
        super().__init__(vfs, VREG, 0o400, nodeid)
        self.proc = proc

    def owner(self) -> tuple[int, int]:
        """Return the owner of the process."""
        return self.proc.cred.euid, self.proc.cred.egid

    def open(self, file: File) -> Vnode | None:  # noqa: ARG002
        """Open, for who may look into the process: EACCES."""
        from syscalls.fs.procpid import may_access

        may_access(self.proc)
        return None

    def read(self, off: int, n: int) -> bytes:
        """Return the words of whole pages; EINVAL for parts of a word."""
        if off % _WORD or n % _WORD:
            raise KernelError(Errno.EINVAL)
        if self.proc.zombie:
            return b""
        as_ = self.proc.as_
        first = off // _WORD
        count = max(0, min(n // _WORD, _BATCH, (as_.task_size >> 12) - first))
        lwp = reader()
        shown = _PFN_MASK if lwp is not None and lwp.proc.cred.crhas(PRIV_SYS_ADMIN) else 0
        words = [0] * count
        refs = as_.phys.refs
        for va, pte in as_.hat.entries(first << 12, (first + count) << 12):
            pfn = pte >> 12 & PTE_PFN
            anon = bool(pte & SW_ANON)
            word = _PRESENT | pfn & shown
            if not anon:
                word |= _OF_FILE
            if refs[pfn] - (not anon) == 1:
                word |= _EXCLUSIVE
            words[(va >> 12) - first] = word
        return struct.pack(f"<{count}Q", *words)
