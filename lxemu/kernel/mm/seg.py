"""Segments: the mappings of an address space, and how a page of one comes into being.

One kind of segment serves all (illumos' seg_vn): private or shared, over an object (a page cache)
or anonymous. Shared anonymous memory is a segment over an unnamed object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.mm.hat import (
    LEAFSHIFT,
    PTE_BITS,
    PTE_BITS_RO,
    PTE_P,
    PTE_PFN,
    PTE_W,
    SW_ANON,
)
from lxemu.kernel.mm.mman import (
    FC_OBJERR,
    MAP_GROWSDOWN,
    MAP_SHARED,
    PAGESHIFT,
    PAGESIZE,
    PROT_EXEC,
    PROT_WRITE,
)

if TYPE_CHECKING:
    from lxemu.kernel.mm.as_ import As
    from lxemu.kernel.mm.pagecache import Mappable, PageCache

# Segment flags beside the MAP_* ones that are kept.
SEG_LOCKED = 1 << 24
SEG_DONTFORK = 1 << 25
SEG_WIPEONFORK = 1 << 26
SEG_DONTDUMP = 1 << 27
SEG_LOCKONFAULT = 1 << 28
SEG_SEALED = 1 << 29  # may not be unmapped, moved or changed
SEG_RANDOM = 1 << 30
SEG_SEQUENTIAL = 1 << 31
SEG_RESERVED = 1 << 32  # its memory was promised when it was writable (swap reservation)
SEG_HUGEPAGE = 1 << 33
SEG_NOHUGEPAGE = 1 << 34
SEG_MERGEABLE = 1 << 35

_AROUND = 16 * PAGESIZE  # a read fault on an object maps what is cached in this aligned window
_AHEAD_MAX = 16  # most pages that one fault of a sequential run makes anonymous memory for
_LEAF = (1 << LEAFSHIFT) - 1


class SegFault(Exception):  # noqa: N818 -- the name of what the guest gets
    """An access that the address space does not allow: an FC_* code at an address."""

    def __init__(self, addr: int, code: int) -> None:
        super().__init__(addr, code)
        self.addr = addr
        self.code = code


class OutOfMemory(Exception):  # noqa: N818 -- an outcome, beside SegFault
    """An access that is allowed but finds no frame left."""


class AnonMap:
    """Identity of the private memory of segments that were one, or could be (anon_map)."""

    __slots__ = ()


class SegInfo(NamedTuple):
    """One line of the map of an address space; for /proc and tools."""

    start: int
    end: int
    prot: int
    flags: int
    vnode: Mappable | None
    offset: int
    name: object


class Seg:
    """One mapping: [start, end), page aligned.

    prot, maxprot: current and largest allowed protection. flags: MAP_SHARED or MAP_PRIVATE,
    MAP_GROWSDOWN, MAP_NORESERVE and SEG_*. cache: pages of the object, None for private anonymous
    memory. offset: byte offset of start in the object; for private anonymous memory the address
    where it was first mapped, so that only neighbours that never moved apart merge. name: what
    the mapper called it. source: the open file that was mapped; segments of two do not merge.
    amp: its private memory, None until something is stored there. cowed: the memory came from a
    parent by fork; such a segment does not merge with one that has no memory yet.
    """

    __slots__ = (
        "ahead",
        "amp",
        "as_",
        "cache",
        "cowed",
        "end",
        "flags",
        "maxprot",
        "name",
        "next",
        "offset",
        "prot",
        "source",
        "start",
        "vnode",
    )

    def __init__(
        self,
        as_: As,
        start: int,
        end: int,
        prot: int,
        maxprot: int,
        flags: int,
        vnode: Mappable | None,
        cache: PageCache | None,
        offset: int,
        name: object,
        source: object = None,
    ) -> None:
        self.as_ = as_
        self.start = start
        self.end = end
        self.prot = prot
        self.maxprot = maxprot
        self.flags = flags
        self.vnode = vnode
        self.cache = cache
        self.offset = offset
        self.name = name
        self.source = source
        self.next = 0  # address at which a sequential run of faults would go on
        self.ahead = 1  # pages that the last fault of the run made
        self.amp: AnonMap | None = None
        self.cowed = False
        if cache is not None:
            cache.mappers[self] = None
            if flags & MAP_SHARED and maxprot & PROT_WRITE:
                cache.stores = True
            if cache.watch is not None:
                cache.watch.mapped(self)

    def clone(self, as_: As, flags: int) -> Seg:
        """Return a copy for another address space."""
        copy = Seg(
            as_,
            self.start,
            self.end,
            self.prot,
            self.maxprot,
            flags,
            self.vnode,
            self.cache,
            self.offset,
            self.name,
            self.source,
        )
        copy.amp = self.amp
        copy.cowed = self.cowed
        return copy

    def split(self, addr: int) -> Seg:
        """Cut off and return the part from *addr* on."""
        upper = self.clone(self.as_, self.flags)
        upper.start = addr
        upper.offset = self.offset + addr - self.start
        self.end = addr
        return upper

    def detach(self) -> None:
        """Leave the address space: write shared changes back, forget the object."""
        cache = self.cache
        if cache is not None:
            cache.mappers.pop(self, None)
            if cache.dirty and self.flags & MAP_SHARED:
                first, last = self.indexes()
                cache.flush(first, last)
            if cache.watch is not None:
                cache.watch.unmapped(self)

    def joins(self, upper: Seg) -> bool:
        """Tell whether *upper* continues this segment, so that the two can be one."""
        return (
            self.end == upper.start
            and self.prot == upper.prot
            and self.continues(upper)
            and (self.cache is None or self.cache.watch is None)
            and self._amp_joins(upper)
        )

    def continues(self, upper: Seg) -> bool:
        """Tell whether *upper* is of the same kind and object, and the next part of that."""
        return (
            self.flags == upper.flags
            and self.cache is upper.cache
            and self.offset + self.end - self.start == upper.offset
            and self.maxprot == upper.maxprot
            and self.source is upper.source
            and self.name == upper.name
        )

    def _amp_joins(self, upper: Seg) -> bool:
        """Tell whether the private memory of both is one, or of one of them only and its own."""
        if self.amp is None:
            return not upper.cowed
        return self.amp is upper.amp or (upper.amp is None and not self.cowed)

    def own_amp(self) -> None:
        """Give private memory an identity when it begins: a neighbour's, if they could be one."""
        segs = self.as_.segs
        i = self.as_.first(self.start)
        upper = segs[i + 1] if i + 1 < len(segs) else None
        lower = segs[i - 1] if i else None
        if upper is not None and self._next_part(upper) and not upper.cowed:
            self.amp = upper.amp
        if self.amp is None and lower is not None and lower._next_part(self) and not lower.cowed:
            self.amp = lower.amp
        if self.amp is None:
            self.amp = AnonMap()

    def _next_part(self, upper: Seg) -> bool:
        return self.end == upper.start and self.continues(upper)

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.end - self.start

    @property
    def anon(self) -> bool:
        """Tell whether this is private anonymous memory."""
        return self.cache is None

    def indexes(self) -> tuple[int, int]:
        """Page indexes [first, last) of the object that the segment covers."""
        first = self.offset >> PAGESHIFT
        return first, first + (self.size >> PAGESHIFT)

    # -- called by the page cache ----------------------------------------------------------------

    def zap_object(self, first: int, last: int | None, *, private: bool) -> None:
        """Remove the translations of pages [first, last) of the object (last None: to the end)."""
        mine, end = self.indexes()
        lo = max(first, mine)
        hi = end if last is None else min(last, end)
        if lo >= hi:
            return
        base = self.start - (mine << PAGESHIFT)
        start, stop = base + (lo << PAGESHIFT), base + (hi << PAGESHIFT)
        hat = self.as_.hat
        if private or self.flags & MAP_SHARED:
            hat.unload(start, stop)
        else:
            for va in range(start, stop, PAGESIZE):
                pte = hat.probe(va)
                if pte and not pte & SW_ANON:
                    hat.unload(va, va + PAGESIZE)

    def clean_object(self, index: int) -> None:
        """Make the next store to page *index* of the object fault, so that it is seen as dirty."""
        first, last = self.indexes()
        if self.flags & MAP_SHARED and first <= index < last:
            self.as_.hat.clear_write(self.start + ((index - first) << PAGESHIFT))

    # -- code that is stored to through another mapping --------------------------------------------
    #
    # The translator notices a store to code only through the mapping that was executed. So a page
    # of an object is, at a time, either executable through some mappings or writable through
    # others; a fault changes from one to the other.

    def _has_views(self, cache: PageCache) -> bool:
        """Tell whether some other mapping executes, and one can store to, what this one maps."""
        mappers = cache.mappers
        return len(mappers) > 1 and any(s.prot & PROT_EXEC for s in mappers)

    def _claim(self, cache: PageCache, page: int, write: bool) -> None:
        """Have page *page* of the object for storing to, or for execution, alone."""
        if write:
            for seg in list(cache.mappers):
                if seg is not self and seg.prot & PROT_EXEC:
                    seg.zap_object(page, page + 1, private=False)
            pfn = cache.lookup(page)
            if pfn is not None:
                self.as_.mmu.invalidate(pfn)
        elif self.prot & PROT_EXEC:
            for seg in cache.mappers:
                if seg is not self:
                    seg.clean_object(page)

    # -- faults ----------------------------------------------------------------------------------

    def fault(self, va: int, write: bool) -> None:
        """Make the page at *va* (aligned, inside) accessible; the protection was checked.

        SegFault(FC_OBJERR) when the object has no such page; OutOfMemory.
        """
        hat = self.as_.hat
        if write and self.amp is None and not self.flags & MAP_SHARED:
            self.own_amp()
        try:
            index = hat.leaf(va) + (va >> PAGESHIFT & 511)
            pte = hat.phys.q[index]
            if not pte:
                if self.cache is None:
                    self._fault_anon(va, index)
                else:
                    self._fault_object(self.cache, va, index, write)
            elif write and not pte & PTE_W:
                self._fault_write(va, index, pte)
            elif not pte & PTE_P:
                # An inaccessible page whose segment became accessible again is entered by setprot;
                # under an accessible segment only who watches a page leaves such an entry.
                hat.phys.q[index] = pte | PTE_P
        except KernelError as err:
            if err.errno is Errno.ENOMEM:
                raise OutOfMemory from err
            raise SegFault(va, FC_OBJERR) from err

    def _fault_anon(self, va: int, index: int) -> None:
        """Give zeroed memory: one page, or a growing number ahead of a sequential run.

        Until something was stored to the segment a page can only be read, so that the first store
        is seen.
        """
        as_ = self.as_
        phys = as_.phys
        bits = (PTE_BITS if self.amp is not None else PTE_BITS_RO)[self.prot] | SW_ANON
        q = phys.q
        alloc = phys.page_alloc
        q[index] = alloc() << PAGESHIFT | bits
        count = 1
        if va == self.next:
            want = min(self.ahead * 4, _AHEAD_MAX)
            room = min(self.end - va, _LEAF + 1 - (va & _LEAF)) >> PAGESHIFT
            want = min(want, room)
            self.ahead = max(want, 1)
            try:
                while count < want and not q[index + count]:
                    q[index + count] = alloc() << PAGESHIFT | bits
                    count += 1
            except KernelError:
                pass  # the page that was asked for is there
        else:
            self.ahead = 1
        self.next = va + (count << PAGESHIFT)
        as_.hat.npages += count
        if self.prot & PROT_EXEC:
            for i in range(index, index + count):
                phys.xframes[q[i] >> PAGESHIFT & PTE_PFN] = 1

    def _fault_object(self, cache: PageCache, va: int, index: int, write: bool) -> None:
        """Map a page of the object, or a private copy of it for a store."""
        as_ = self.as_
        phys = as_.phys
        page = (self.offset + va - self.start) >> PAGESHIFT
        pfn = cache.pages.get(page)
        if pfn is None:
            as_.majflt += cache.stored
            pfn = cache.get(page)
        prot = self.prot
        views = cache.stores and self._has_views(cache)
        if views and not (write and not self.flags & MAP_SHARED):
            self._claim(cache, page, write)
        if not self.flags & MAP_SHARED:
            if write:
                new = phys.page_copy(pfn)
                phys.q[index] = new << PAGESHIFT | PTE_BITS[prot] | SW_ANON
                as_.hat.npages += 1
                if prot & PROT_EXEC:
                    phys.xframes[new] = 1
                return
            bits = PTE_BITS_RO[prot]
        elif not cache.stored and (write or not views):
            bits = PTE_BITS[prot]
        elif write:
            cache.dirty.add(page)
            bits = PTE_BITS[prot]
        else:
            bits = PTE_BITS_RO[prot]
        phys.refs[pfn] += 1
        phys.q[index] = pfn << PAGESHIFT | bits
        as_.hat.npages += 1
        if prot & PROT_EXEC:
            phys.xframes[pfn] = 1
        if not views and (not write or not cache.stored):
            self._around(cache, va, bits)

    def _around(self, cache: PageCache, va: int, bits: int) -> None:
        """Map the neighbours that are cached already; each saves a fault of some microseconds."""
        as_ = self.as_
        phys = as_.phys
        lo = max(va & -_AROUND, self.start)
        hi = min((va & -_AROUND) + _AROUND, self.end)
        at = as_.hat.leaves[va >> LEAFSHIFT] + (lo >> PAGESHIFT & 511)
        page = (self.offset + lo - self.start) >> PAGESHIFT
        q = phys.q
        refs = phys.refs
        get = cache.pages.get
        xframes = phys.xframes if self.prot & PROT_EXEC else None
        count = 0
        for i, pte in enumerate(q[at : at + ((hi - lo) >> PAGESHIFT)].tolist()):
            if not pte:
                pfn = get(page + i)
                if pfn is not None:
                    refs[pfn] += 1
                    q[at + i] = pfn << PAGESHIFT | bits
                    count += 1
                    if xframes is not None:
                        xframes[pfn] = 1
        as_.hat.npages += count

    def _fault_write(self, va: int, index: int, pte: int) -> None:
        """Allow a store to a page that is mapped read-only: track it, take it over or copy it."""
        phys = self.as_.phys
        pfn = pte >> PAGESHIFT & PTE_PFN
        if self.flags & MAP_SHARED:
            cache = self.cache
            assert cache is not None
            page = (self.offset + va - self.start) >> PAGESHIFT
            if cache.stored:
                cache.dirty.add(page)
            if cache.stores and self._has_views(cache):
                self._claim(cache, page, write=True)
            phys.q[index] = pte | PTE_W
            return
        if pte & SW_ANON and phys.refs[pfn] == 1:
            phys.q[index] = pte | PTE_W
            return
        new = phys.page_copy(pfn)
        phys.q[index] = new << PAGESHIFT | PTE_BITS[self.prot] | SW_ANON
        phys.page_rele(pfn)
        if self.prot & PROT_EXEC:
            phys.xframes[new] = 1
        self.as_.hat.replaced()

    # -- whole ranges ----------------------------------------------------------------------------

    def chgprot(self, prot: int) -> None:
        """Set the protection of the whole segment and of its pages."""
        self.prot = prot
        cache = self.cache
        if cache is not None and cache.stores and self._has_views(cache):
            # Which view may do what is found out anew, by faults.
            first, last = self.indexes()
            self.zap_object(first, last, private=False)
        self.as_.hat.chgprot(
            self.start,
            self.end,
            prot,
            shared=bool(self.flags & MAP_SHARED) and cache is not None and not cache.stored,
            cow=bool(prot & PROT_WRITE) and self.amp is not None,
        )

    def info(self, name: object) -> SegInfo:
        """Describe the segment, under *name*."""
        offset = 0 if self.cache is None else self.offset
        return SegInfo(self.start, self.end, self.prot, self.flags, self.vnode, offset, name)

    @property
    def grows(self) -> bool:
        """Tell whether the segment grows downwards on a fault below it."""
        return bool(self.flags & MAP_GROWSDOWN)
