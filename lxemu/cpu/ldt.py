"""Local descriptor tables: segments of a program's own (illumos sys/segments.h, p_ldt).

The table of an address space lies in frames of its own, which the supervisor's part of every
address space shows at an address of its own. It is read by the processor when a program loads a
selector with the table bit set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lxemu.cpu.supervisor import Supervisor

ENTRIES, ENTRY_SIZE = 8192, 8
_PER_PAGE = 4096 // ENTRY_SIZE
#: Descriptor bit: this segment is present.
_PRESENT = 1 << 47


class Ldt:
    """One table. base: its address; entries: how many there are, so its limit.

    It moves when it grows past a page: whoever uses it loads it anew.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._pfns: list[int] = []
        self.base = 0
        self.entries = 0

    def __len__(self) -> int:
        return self.entries

    @property
    def limit(self) -> int:
        """Offset of the last byte."""
        return max(0, self.entries * ENTRY_SIZE - 1)

    def write(self, index: int, descriptor: int) -> None:
        """Set one entry (8 bytes as a number, 0 to empty it). ENOMEM."""
        self._grow(index + 1)
        self._supervisor.phys.q[self._word(index)] = descriptor

    def read(self, index: int) -> int:
        """Return one entry, 0 beyond the end."""
        if index >= self.entries:
            return 0
        word: int = self._supervisor.phys.q[self._word(index)]
        return word

    def bytes(self) -> bytes:
        """Return the table as it lies in memory."""
        return b"".join(self.read(i).to_bytes(8, "little") for i in range(self.entries))

    def loadable(self, index: int) -> bool:
        """Return whether an entry names a segment that is present."""
        return bool(self.read(index) & _PRESENT)

    def copy(self) -> Ldt:
        """Return the table that a forked process gets. ENOMEM."""
        new = Ldt(self._supervisor)
        new._grow(self.entries)
        phys = self._supervisor.phys
        for mine, its in zip(self._pfns, new._pfns, strict=True):
            phys.ram[its << 12 : (its + 1) << 12] = phys.ram[mine << 12 : (mine + 1) << 12]
        return new

    def free(self) -> None:
        """Give the frames back; no lwp may have the table loaded."""
        if self._pfns:
            self._supervisor.hide(self.base, len(self._pfns))
        for pfn in self._pfns:
            self._supervisor.phys.page_rele(pfn)
        self._pfns.clear()
        self.entries = 0

    def _word(self, index: int) -> int:
        return (self._pfns[index // _PER_PAGE] << 9) + index % _PER_PAGE

    def _grow(self, entries: int) -> None:
        pages = -(-entries // _PER_PAGE)
        if pages > len(self._pfns):
            more = [self._supervisor.phys.page_alloc() for _ in range(pages - len(self._pfns))]
            if self._pfns:
                self._supervisor.hide(self.base, len(self._pfns))
            self._pfns += more
            self.base = self._supervisor.show(self._pfns)
        self.entries = max(self.entries, entries)
