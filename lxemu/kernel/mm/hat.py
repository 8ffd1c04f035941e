"""Hardware address translation: x86-64 page tables of one address space.

Four levels of 512 entries live in frames of PhysMem, where the processor walks them. `Hat.leaves`
maps va >> 21 to the index (in PhysMem.q) of the first entry of a leaf table, so the kernel
reaches an entry with one dict lookup; it doubles as the translation buffer of the user copy
routines.

Leaf entry: frame address, P, W, U, A, D, NX as the processor wants them, and one bit of ours:
SW_ANON marks a frame that belongs to the private anonymous memory of processes (not to a page
cache). An entry that is not present but not 0 keeps a page that may not be accessed (PROT_NONE).
A and D are always set: the processor then never writes to the tables. Every non-zero entry owns
one reference of its frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.mm.mman import PAGEOFFSET, PAGESHIFT, PAGESIZE, PROT_EXEC, PROT_WRITE
from lxemu.kernel.mm.mmu import Mmu
from lxemu.kernel.mm.page import ZEROES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lxemu.kernel.mm.page import PhysMem

__all__ = ["PTE_BITS", "PTE_BITS_RO", "PTE_P", "PTE_PFN", "PTE_W", "SW_ANON", "Hat", "Mmu"]

PTE_P = 0x1
PTE_W = 0x2
PTE_U = 0x4
PTE_A = 0x20
PTE_D = 0x40
PTE_NX = 1 << 63
SW_ANON = 1 << 9
PTE_PFN = 0xFF_FFFF_FFFF  # mask after >> 12
_TABLE = PTE_P | PTE_W | PTE_U | PTE_A


def _bits(prot: int) -> int:
    """Entry bits for a protection, without the frame. x86 cannot deny reads of a present page."""
    if not prot:
        return PTE_NX
    bits = PTE_P | PTE_U | PTE_A | PTE_D
    if prot & PROT_WRITE:
        bits |= PTE_W
    return bits if prot & PROT_EXEC else bits | PTE_NX


PTE_BITS = tuple(_bits(prot) for prot in range(8))
PTE_BITS_RO = tuple(bits & ~PTE_W for bits in PTE_BITS)

LEAFSHIFT = 21
_LEAF_SPAN = 1 << LEAFSHIFT
_WORDS = 512
_PART = 64  # entries looked at together when a table is emptied
_EMPTY_PART = bytes(8 * _PART)
_NOT_W = int.from_bytes((~PTE_W & (1 << 64) - 1).to_bytes(8, "little") * _WORDS, "little")


class Hat:
    """Page tables of one address space.

    cr3: physical address of the root. npages: pages mapped (entries that are not 0), the resident
    set. hiwater: the largest npages so far, exact after peak().
    """

    __slots__ = ("_dirs", "_tables", "cr3", "hiwater", "leaves", "mmu", "npages", "phys")

    def __init__(self, phys: PhysMem, kernel_entry: int | None = None) -> None:
        self.phys = phys
        self.mmu = phys.mmu
        root = phys.page_alloc_low()
        self.cr3 = root << PAGESHIFT
        phys.q[(self.cr3 >> 3) + 511] = (
            self.mmu.kernel_entry if kernel_entry is None else kernel_entry
        )
        self.leaves: dict[int, int] = {}
        self._dirs: dict[int, int] = {}  # va >> 30 -> index of the first entry of its directory
        self._tables: dict[int, int] = {}  # va >> 39 -> index of the first entry of its third level
        self.npages = 0
        self.hiwater = 0

    def leaf(self, va: int) -> int:
        """Return the index of the leaf table for *va*, building the levels above. ENOMEM."""
        key = va >> LEAFSHIFT
        index = self.leaves.get(key)
        if index is None:
            pfn = self.phys.page_alloc()
            index = self._enter_leaf(key, pfn)
        return index

    def _enter_leaf(self, key: int, pfn: int) -> int:
        """Hang the leaf table in frame *pfn* into the tree for va >> 21 == *key*."""
        try:
            directory = self._directory(key >> 9)
        except BaseException:
            self.phys.page_rele(pfn)
            raise
        self.phys.q[directory + (key & 511)] = pfn << PAGESHIFT | _TABLE
        index = pfn << 9
        self.leaves[key] = index
        return index

    def _directory(self, key: int) -> int:
        index = self._dirs.get(key)
        if index is None:
            q = self.phys.q
            table = self._tables.get(key >> 9)
            if table is None:
                pfn = self.phys.page_alloc()
                q[(self.cr3 >> 3) + (key >> 9)] = pfn << PAGESHIFT | _TABLE
                table = self._tables[key >> 9] = pfn << 9
            pfn = self.phys.page_alloc()
            q[table + (key & 511)] = pfn << PAGESHIFT | _TABLE
            index = self._dirs[key] = pfn << 9
        return index

    def memload(self, va: int, pfn: int, bits: int) -> None:
        """Enter a page where none is; the entry takes over the caller's reference. ENOMEM."""
        self.phys.q[self.leaf(va) + (va >> PAGESHIFT & 511)] = pfn << PAGESHIFT | bits
        self.npages += 1
        if not bits & PTE_NX:
            self.phys.xframes[pfn] = 1

    def probe(self, va: int) -> int:
        """Return the entry of *va*, 0 when nothing is mapped."""
        index = self.leaves.get(va >> LEAFSHIFT)
        return 0 if index is None else self.phys.q[index + (va >> PAGESHIFT & 511)]

    def entries(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield (address, entry) of the pages of [start, end) that are mapped."""
        for key in sorted(self._keys(start, end)):
            base = key << LEAFSHIFT
            index = self.leaves[key]
            first = max(start - base, 0) >> PAGESHIFT
            last = min(end - base, _LEAF_SPAN) >> PAGESHIFT
            for i, pte in enumerate(self.phys.q[index + first : index + last].tolist(), first):
                if pte:
                    yield base + (i << PAGESHIFT), pte

    def _keys(self, start: int, end: int) -> list[int]:
        """Keys of the existing leaf tables that cover any of [start, end)."""
        first = start >> LEAFSHIFT
        last = (end - 1) >> LEAFSHIFT
        leaves = self.leaves
        if last - first < len(leaves):
            return [key for key in range(first, last + 1) if key in leaves]
        return [key for key in leaves if first <= key <= last]

    def unload(self, start: int, end: int, lo: int = 0, hi: int = 0) -> None:
        """Remove every page of [start, end), dropping references; flush if the hat is live.

        Leaf tables of [start, end) that lie entirely inside [lo, hi), where no segment is left,
        are freed.
        """
        if start >= end:
            return
        self.peak()
        before = self.npages
        for key in self._keys(start, end):
            base = key << LEAFSHIFT
            index = self.leaves[key]
            if base >= lo and base + _LEAF_SPAN <= hi:
                self._drop(index, _WORDS)
                self._free_leaf(key)
            else:
                first = max(start - base, 0) >> PAGESHIFT
                last = min(end - base, _LEAF_SPAN) >> PAGESHIFT
                if self._drop(index + first, last - first):
                    pa = (index + first) << 3
                    size = (last - first) << 3
                    self.phys.ram[pa : pa + size] = ZEROES[:size]
        if self.npages != before and self.mmu.live is self:
            self.flush()

    def _entries(self, index: int, count: int) -> Sequence[int]:
        """Return *count* entries of a leaf table; none at all when all of them are empty."""
        phys, size = self.phys, count << 3
        if phys.ram[index << 3 : (index << 3) + size] == ZEROES[:size]:
            return ()
        entries: list[int] = phys.q[index : index + count].tolist()
        return entries

    def _drop(self, index: int, count: int) -> int:
        """Release the frames of *count* entries at *index* (left as they are); return how many."""
        phys = self.phys
        refs = phys.refs
        freed: list[int] = []
        ptes: list[int] = []
        # Tables are mostly empty: a stack of 8 MB has a page or two at its end.
        ram, q, end = phys.ram, phys.q, index + count
        for first in range(index, end, _PART):
            last = min(first + _PART, end)
            if ram[first << 3 : last << 3] != _EMPTY_PART:
                ptes += filter(None, q[first:last].tolist())
        for pte in ptes:
            pfn = pte >> 12 & PTE_PFN
            left = refs[pfn] - 1
            refs[pfn] = left
            if not left:
                freed.append(pfn)
        if freed:
            phys.pages_free(freed)
        self.npages -= len(ptes)
        return len(ptes)

    def _free_leaf(self, key: int) -> None:
        self.phys.q[self._dirs[key >> 9] + (key & 511)] = 0
        self.phys.page_rele(self.leaves.pop(key) >> 9)

    def flush(self) -> None:
        """Make the processor forget translations (the caller knows that this hat is live)."""
        self.mmu.stale = False
        self.mmu.flush()

    def replaced(self) -> None:
        """Note that a present entry now names another frame (a private copy was made)."""
        if self.mmu.live is self:
            self.mmu.stale = True

    def chgprot(self, start: int, end: int, prot: int, *, shared: bool, cow: bool) -> None:
        """Give the pages of [start, end) the protection *prot*; flush if any was restricted.

        shared: a page of a shared object may be writable at once (its stores need no tracking).
        cow: an anonymous page with one holder may be writable at once.
        """
        phys = self.phys
        q = phys.q
        refs = phys.refs
        full = PTE_BITS[prot]
        readonly = PTE_BITS_RO[prot]
        execute = prot & PROT_EXEC
        flush = False
        for key in self._keys(start, end):
            base = key << LEAFSHIFT
            index = self.leaves[key]
            first = index + (max(start - base, 0) >> PAGESHIFT)
            last = index + (min(end - base, _LEAF_SPAN) >> PAGESHIFT)
            for i, pte in enumerate(self._entries(first, last - first), first):
                if not pte:
                    continue
                pfn = pte >> 12 & PTE_PFN
                anon = pte & SW_ANON
                owner = shared if not anon else cow and refs[pfn] == 1
                new = pfn << 12 | anon | (full if owner else readonly)
                q[i] = new
                flush = flush or bool(pte & ~new & (PTE_P | PTE_W) or new & ~pte & PTE_NX)
                if execute:
                    # Stores made while the page was not executable went unseen by the translator.
                    if phys.xframes[pfn] and pte & PTE_NX:
                        self.mmu.invalidate(pfn)
                    phys.xframes[pfn] = 1
        if flush and self.mmu.live is self:
            self.flush()

    def clear_write(self, va: int) -> None:
        """Make one present page read-only, so that the next store faults (page cleaning)."""
        index = self.leaves.get(va >> LEAFSHIFT)
        if index is not None:
            index += va >> PAGESHIFT & 511
            pte = self.phys.q[index]
            if pte & PTE_W and pte & PTE_P:
                self.phys.q[index] = pte & ~PTE_W
                if self.mmu.live is self:
                    self.flush()

    def move(self, old: int, new: int, size: int) -> None:
        """Move the pages of [old, old+size) to *new*, where nothing is. ENOMEM before any move."""
        q = self.phys.q
        keys = self._keys(old, old + size)
        for key in keys:
            base = key << LEAFSHIFT
            self.leaf(max(base, old) - old + new)
            self.leaf(min(base + _LEAF_SPAN, old + size) - 1 - old + new)
        moved = False
        for key in keys:
            base = key << LEAFSHIFT
            index = self.leaves[key]
            first = max(old - base, 0) >> PAGESHIFT
            last = min(old + size - base, _LEAF_SPAN) >> PAGESHIFT
            for i, pte in enumerate(q[index + first : index + last].tolist(), first):
                if pte:
                    va = base + (i << PAGESHIFT) - old + new
                    q[self.leaf(va) + (va >> PAGESHIFT & 511)] = pte
                    q[index + i] = 0
                    moved = True
        if moved and self.mmu.live is self:
            self.flush()

    def dup(self) -> Hat:
        """Return a copy for fork: the same frames, not writable on either side. ENOMEM."""
        phys = self.phys
        ram = phys.ram
        q = phys.q
        refs = phys.refs
        child = Hat(phys, q[(self.cr3 >> 3) + 511])
        restricted = False
        try:
            for key, index in self.leaves.items():
                pa = index << 3
                table = ram[pa : pa + PAGESIZE]
                words = int.from_bytes(table, "little")
                if not words:
                    continue
                readonly = words & _NOT_W
                if readonly != words:
                    restricted = True
                    table = readonly.to_bytes(PAGESIZE, "little")
                    ram[pa : pa + PAGESIZE] = table
                pfn = phys.page_alloc_raw()
                ram[pfn << 12 : (pfn + 1) << 12] = table
                child._enter_leaf(key, pfn)
                for pte in filter(None, q[index : index + _WORDS].tolist()):
                    refs[pte >> 12 & PTE_PFN] += 1
            child.npages = child.hiwater = self.npages
        except BaseException:
            child.free()
            raise
        finally:
            if restricted and self.mmu.live is self:
                self.flush()
        return child

    @property
    def ntables(self) -> int:
        """Number of frames that the tables take."""
        return 1 + len(self._tables) + len(self._dirs) + len(self.leaves)

    def peak(self) -> int:
        """Return the largest resident set so far, in pages."""
        self.hiwater = max(self.hiwater, self.npages)
        return self.hiwater

    def count_anon(self) -> int:
        """Return how many mapped pages are private anonymous memory (the rest is of objects)."""
        q = self.phys.q
        return sum(
            1 for i in self.leaves.values() for pte in q[i : i + _WORDS].tolist() if pte & SW_ANON
        )

    def free(self) -> None:
        """Release every page and table. The hat must not be used afterwards."""
        self.peak()
        phys = self.phys
        for index in self.leaves.values():
            self._drop(index, _WORDS)
        tables = [*self.leaves.values(), *self._dirs.values(), *self._tables.values()]
        for index in tables:
            phys.page_rele(index >> 9)
        self.leaves.clear()
        self._dirs.clear()
        self._tables.clear()
        if self.mmu.live is self:
            self.mmu.live = None
            self.flush()
        phys.page_rele(self.cr3 >> PAGESHIFT)
        self.cr3 = 0


assert PAGEOFFSET == 0xFFF, "entry layout above assumes 4 KiB pages"
