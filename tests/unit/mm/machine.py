"""What the tests of virtual memory share: a processor that walks tables, objects, and audits."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

from lxemu.kernel.mm.as_ import As
from lxemu.kernel.mm.mman import (
    MAP_ANON,
    MAP_FIXED,
    MAP_PRIVATE,
    PAGESIZE,
    PROT_READ,
    PROT_WRITE,
)
from lxemu.kernel.mm.pagecache import PageCache

if TYPE_CHECKING:
    from lxemu.kernel.mm.page import PhysMem

P = PAGESIZE
RW = PROT_READ | PROT_WRITE
BASE = 0x20_0000_0000
PRIVATE = MAP_PRIVATE | MAP_ANON
FIXED = PRIVATE | MAP_FIXED
ADDR = 0x000F_FFFF_FFFF_F000


def walk(phys: PhysMem, cr3: int, va: int) -> int:
    """Return the leaf entry that the processor finds for *va*, 0 if a level is missing."""
    table = cr3
    for shift in (39, 30, 21):
        entry = phys.q[(table >> 3) + (va >> shift & 511)]
        if entry & 7 != 7:  # present, writable, user: leaf entries decide
            return 0
        table = entry & ADDR
    return phys.q[(table >> 3) + (va >> 12 & 511)]


class Fault(Exception):  # noqa: N818
    """#PF."""


class Cpu:
    """A processor with a translation buffer that forgets only when it is told to, as the real one.

    A load uses a cached translation whatever the tables say by now; a store needs one that was
    cached with write permission, and replaces it otherwise.
    """

    def __init__(self, phys: PhysMem) -> None:
        self.phys = phys
        self.tlb: dict[int, int] = {}
        self.flushes = 0
        self.invalidated: list[int] = []
        phys.mmu.flush = self.flush
        phys.mmu.invalidate = self.invalidated.append

    def flush(self) -> None:
        self.tlb.clear()
        self.flushes += 1

    def switch(self, as_: As) -> None:
        if self.phys.mmu.live is not as_.hat:
            self.tlb.clear()
            self.phys.mmu.live = as_.hat

    def translate(self, va: int, *, write: bool, fetch: bool = False) -> int:
        need = 7 if write else 5
        pte = self.tlb.get(va >> 12, 0)
        if pte & need != need or (fetch and pte >> 63):
            hat = self.phys.mmu.live
            assert hat is not None
            pte = walk(self.phys, hat.cr3, va)
            if pte & need != need or (fetch and pte >> 63):
                raise Fault
            self.tlb[va >> 12] = pte
        return (pte & ADDR) + (va & 0xFFF)

    def access(self, as_: As, va: int, access: int, value: int | None = None) -> int:
        """Do one byte access as the guest, faulting as the trap code does; return the byte."""
        self.switch(as_)
        write = access == PROT_WRITE
        for _ in range(3):
            try:
                pa = self.translate(va, write=write, fetch=access == 4)
            except Fault:
                as_.fault(va, access)
            else:
                if write:
                    assert value is not None
                    self.phys.mv[pa] = value
                return self.phys.mv[pa]
        raise AssertionError("the fault was not resolved")


class Object:
    """A vnode without storage of its own: tmpfs, a memory object."""

    def __init__(self, phys: PhysMem, size: int) -> None:
        self.pages = PageCache(phys, size=size)


class File:
    """A vnode over a byte array: a file of the host. Counts what is asked of it."""

    def __init__(self, phys: PhysMem, data: bytes) -> None:
        self.data = bytearray(data)
        self.reads: list[int] = []
        self.writes: list[int] = []
        self.pages = PageCache(phys, self)

    def getpage(self, index: int) -> bytes:
        self.reads.append(index)
        return bytes(self.data[index * P : (index + 1) * P])

    def putpage(self, index: int, data: bytes) -> None:
        assert len(data) <= P
        self.writes.append(index)
        self.data[index * P : index * P + len(data)] = data

    def size(self) -> int:
        return len(self.data)


class ClusterFile(File):
    """A file that reads several pages at once."""

    def getpages(self, index: int, count: int) -> bytes:
        self.reads.append(index)
        return bytes(self.data[index * P : (index + count) * P])


def shape(as_: As) -> list[tuple[int, int, int, bool, int]]:
    """The map as (first page, last page, prot, shared, object page), pages counted from BASE."""
    return [
        ((s.start - BASE) // P, (s.end - BASE) // P, s.prot, bool(s.flags & 1), s.offset // P)
        for s in as_.maps()
    ]


def entries(phys: PhysMem, table: int, count: int = 512) -> list[tuple[int, int]]:
    """Return (index, address of the next table) of the entries that are set."""
    at = table >> 3
    return [(i, e & ADDR) for i, e in enumerate(phys.q[at : at + count].tolist()) if e]


def check_entry(phys: PhysMem, as_: As, va: int, pte: int) -> None:
    """Check an entry against its segment."""
    seg = as_.segat(va)
    assert seg is not None, hex(va)
    assert bool(pte & 1) == bool(seg.prot), hex(va)
    assert not (pte & 2 and not seg.prot & 2), hex(va)
    assert bool(pte >> 63) == (not seg.prot & 4), hex(va)
    if pte & 2 and not seg.flags & 1:
        assert phys.refs[(pte & ADDR) >> 12] == 1, hex(va)


def audit(phys: PhysMem, spaces: list[As], caches: list[PageCache], used: int = 1) -> None:
    """Recount every reference from the tables and compare with the books.

    used: frames in use besides; frame 0 is never given out.
    """
    refs: Counter[int] = Counter()
    tables = 0
    for as_ in spaces:
        hat = as_.hat
        mapped = 0
        found: dict[int, int] = {}
        tables += 1
        for i4, level3 in entries(phys, hat.cr3, 511):
            tables += 1
            for i3, level2 in entries(phys, level3):
                tables += 1
                for i2, level1 in entries(phys, level2):
                    tables += 1
                    found[i4 << 18 | i3 << 9 | i2] = level1 >> 3
                    base = i4 << 39 | i3 << 30 | i2 << 21
                    at = level1 >> 3
                    for i1, pte in enumerate(phys.q[at : at + 512].tolist()):
                        if pte:
                            refs[(pte & ADDR) >> 12] += 1
                            mapped += 1
                            check_entry(phys, as_, base | i1 << 12, pte)
        assert found == hat.leaves
        assert mapped == hat.npages == as_.rss
        segs = as_.segs
        assert all(a.end <= b.start for a, b in pairwise(segs))
        assert not any(a.joins(b) for a, b in pairwise(segs))
        assert as_._starts == [s.start for s in segs]
        assert as_.vsize == sum(s.end - s.start for s in segs)
    for cache in caches:
        refs.update(cache.pages.values())
        mappers = {s for as_ in spaces for s in as_.segs if s.cache is cache}
        assert mappers == set(cache.mappers)
    for pfn, count in refs.items():
        assert phys.refs[pfn] == count, pfn
    assert phys.nframes - phys.free_frames - used == len(refs) + tables
