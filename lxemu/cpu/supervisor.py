"""The supervisor's part of every address space: one page of data, and windows onto frames.

It lies in the last 2 MiB of the address space, under a top-level entry that all page tables share.
The page holds the descriptor table and the few instructions that return to user mode for the first
time; it is read-only even for level 0. The 511 pages below it are windows: empty but for the moment
in which the engine needs some frame to have an address. Below that are local descriptor tables.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lxemu.cpu.ldt import Ldt
    from lxemu.kernel.mm.page import PhysMem

BASE = 0xFFFF_FFFF_FFFF_F000
WINDOW_BASE = 0xFFFF_FFFF_FFE0_0000
WINDOWS = 511
TABLES_BASE = 0xFFFF_FFFF_FFC0_0000
GDT_LIMIT = 16 * 8 - 1

USER_CS32, USER_DS, USER_CS64 = 0x23, 0x2B, 0x33
TLS_FIRST, TLS_END = 12, 15  # entries for thread-local segments
_DESCRIPTORS = struct.Struct("<3Q")
RFLAGS_INIT = 0x202

_PTE_P, _PTE_W, _PTE_U, _PTE_A, _PTE_D = 1, 2, 4, 0x20, 0x40
_TABLE = _PTE_P | _PTE_W | _PTE_U | _PTE_A
_PTE_ADDR = 0x000F_FFFF_FFFF_F000

_FRAME = 0x180
#: Per mode: code segment, offset, and code that loads the data segments and returns with iretq.
_ENTRY = {
    64: (USER_CS64, 0x100, bytes.fromhex("31c08ed88ec08ee08ee848cf")),
    32: (USER_CS32, 0x120, bytes.fromhex("31c08ee08ee866b82b008ed88ec048cf")),
}


def _segment(*, code: bool, long: bool = False, level: int = 3) -> int:
    """Return a flat descriptor, marked accessed: the processor must not write to the table."""
    access = 0x80 | level << 5 | 0x10 | (0xB if code else 0x3)
    size = 1 << 53 if long else 1 << 54
    return 0xFFFF | access << 40 | 0xF << 48 | size | 1 << 55


class Supervisor:
    """The page, its tables, and a root (`root`, for CR3) under which nothing else is mapped.

    entry: the top-level entry that leads here.
    """

    def __init__(self, phys: PhysMem) -> None:
        self.phys = phys
        q = phys.q
        third, second, first, page, tables = (phys.page_alloc() << 12 for _ in range(5))
        q[(third >> 3) + 511] = second | _TABLE
        q[(second >> 3) + 511] = first | _TABLE
        q[(first >> 3) + 511] = page | _PTE_P | _PTE_A | _PTE_D
        q[(second >> 3) + 510] = tables | _TABLE
        self._tables = tables >> 3
        self.entry = third | _TABLE
        self.root = phys.page_alloc_low() << 12
        q[(self.root >> 3) + 511] = self.entry
        self._windows = first >> 3
        self._next = 0
        self._gdt = page >> 3
        descriptors = {
            2: _segment(code=True, long=True, level=0),
            3: _segment(code=False, level=0),
            USER_CS32 >> 3: _segment(code=True),
            USER_DS >> 3: _segment(code=False),
            USER_CS64 >> 3: _segment(code=True, long=True),
        }
        for index, value in descriptors.items():
            q[self._gdt + index] = value
        for _, offset, code in _ENTRY.values():
            phys.ram[page + offset : page + offset + len(code)] = code

    def prepare_entry(self, bits: int, target: int) -> tuple[int, int]:
        """Set up a return to user mode at `target`; return pc and sp to start from at level 0."""
        cs, offset, _ = _ENTRY[bits]
        for index, value in enumerate((target, cs, RFLAGS_INIT, 0, USER_DS)):
            self.phys.q[self._gdt + (_FRAME >> 3) + index] = value
        return BASE + offset, BASE + _FRAME

    def descriptor(self, selector: int) -> int:
        """Return the descriptor of a selector of the global table."""
        word: int = self.phys.q[self._gdt + (selector >> 3)]
        return word

    def enter_tls(self, tls: tuple[int, int, int]) -> None:
        """Put three descriptors where thread-local segments are."""
        _DESCRIPTORS.pack_into(self.phys.ram, self._gdt + TLS_FIRST << 3, *tls)

    def loadable(self, selector: int, tls: tuple[int, int, int], ldt: Ldt | None) -> bool:
        """Tell whether user mode can load `selector` into a data segment register."""
        index = selector >> 3
        if selector & 4:
            return ldt is not None and ldt.loadable(index)
        if TLS_FIRST <= index < TLS_END:
            return bool(tls[index - TLS_FIRST])
        return index in (0, USER_CS32 >> 3, USER_DS >> 3, USER_CS64 >> 3)

    def show(self, pfns: Sequence[int]) -> int:
        """Map frames one after the other for the processor alone; return their address. ENOMEM."""
        count, q = len(pfns), self.phys.q
        for first in range(512 - count + 1):
            if not any(q[self._tables + first : self._tables + first + count]):
                break
        else:
            raise KernelError(Errno.ENOMEM)
        for index, pfn in enumerate(pfns, self._tables + first):
            q[index] = pfn << 12 | _PTE_P | _PTE_A | _PTE_D
        self.phys.mmu.flush()
        return TABLES_BASE + (first << 12)

    def hide(self, va: int, count: int) -> None:
        """Unmap what `show` mapped."""
        first = self._tables + ((va - TABLES_BASE) >> 12)
        for index in range(first, first + count):
            self.phys.q[index] = 0
        self.phys.mmu.flush()

    def open_window(self, pfn: int) -> int:
        """Map a frame for user mode, readable and executable; return its address.

        Windows are used in turn, so what the processor has cached of the last one does no harm. The
        caller closes it, and drops the cached translation, before user code runs again.
        """
        window = self._next
        self._next = (window + 1) % WINDOWS
        bits = _PTE_P | _PTE_U | _PTE_A | _PTE_D
        self.phys.q[self._windows + window] = pfn << 12 | bits
        return WINDOW_BASE + (window << 12)

    def close_window(self, va: int) -> None:
        """Unmap the window at `va`."""
        self.phys.q[self._windows + ((va - WINDOW_BASE) >> 12)] = 0

    def fetch(self, cr3: int, va: int) -> int | None:
        """Read a byte by way of the page tables at `cr3`; None where nothing is mapped."""
        entry = cr3
        for shift in (39, 30, 21, 12):
            entry = self.phys.q[((entry & _PTE_ADDR) >> 3) + (va >> shift & 511)]
            if not entry & _PTE_P:
                return None
        return self.phys.ram[(entry & _PTE_ADDR) + (va & 0xFFF)]
