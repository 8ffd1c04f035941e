"""Pages of a vnode: one set of frames for read, write, shared and private mappings, and exec.

A cache with a source holds copies of what the source (a file system with its own storage) gives;
dirty pages go back with putpage. A cache without one *is* the object: tmpfs files and anonymous
shared memory keep their bytes here, and holes read as zeroes without taking a frame. illumos:
vm/pvn.h, swapfs.
"""

from __future__ import annotations

import weakref
from itertools import count
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.mm.mman import MAP_SHARED, PAGEOFFSET, PAGESHIFT, PAGESIZE, PROT_WRITE
from lxemu.kernel.mm.page import ZEROES

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxemu.kernel.mm.page import PhysMem
    from lxemu.kernel.mm.seg import Seg

CLUSTER = 16  # pages asked from a source at once, aligned
_MASK = PAGEOFFSET


class PageSource(Protocol):
    """Where the pages of a cache come from and go to; a file system's vnode satisfies it."""

    def getpage(self, index: int) -> bytes:
        """Return page *index*: shorter than a page at the end of the file, empty beyond it."""

    def putpage(self, index: int, data: bytes) -> None:
        """Write page *index* back: at most a page, never past the end of the file."""

    def size(self) -> int:
        """Return the length of the file in bytes."""


@runtime_checkable
class ClusterSource(Protocol):
    """A source that reads several pages in one go."""

    def getpages(self, index: int, count: int) -> bytes:
        """Return the bytes of *count* pages from *index*, short at the end of the file."""


class MapWatch(Protocol):
    """Who wants to know of the mappings of an object."""

    def mapped(self, seg: Seg) -> None:
        """Note that *seg* maps the object."""

    def unmapped(self, seg: Seg) -> None:
        """Note that *seg* no longer does."""


class Mappable(Protocol):
    """What As.map() needs of a vnode."""

    @property
    def pages(self) -> PageCache | None:
        """The cache of the object's pages; None when it cannot be mapped."""


class PageCache:
    """The pages of one object.

    pages: page index -> frame; the cache owns one reference of each. dirty: indexes to be written
    back. size: length in bytes of an object without a source (with one, the source knows).
    mappers: segments that map the object. stores: a segment was made through which it can be
    stored to. watch: told of each mapping that begins and ends.
    charge: called with the number of pages about to be added (negative: dropped) by an object
    without a source; raises KernelError to refuse (a file system's limit).
    """

    __slots__ = (
        "__weakref__",
        "_clusters",
        "_source",
        "charge",
        "dirty",
        "mappers",
        "pages",
        "phys",
        "size",
        "stores",
        "watch",
    )

    def __init__(
        self,
        phys: PhysMem,
        source: PageSource | None = None,
        size: int = 0,
        charge: Callable[[int], None] | None = None,
    ) -> None:
        self.phys = phys
        self.pages: dict[int, int] = {}
        self.dirty: set[int] = set()
        self.size = size
        self.mappers: dict[Seg, None] = {}
        self.watch: MapWatch | None = None
        self.stores = False
        self.charge = charge
        self._source: Callable[[], PageSource | None] | None = None
        self._clusters = False
        if source is not None:
            # Weak: the source owns the cache, and a cycle would keep frames until a collection.
            self._source = weakref.ref(source)
            self._clusters = isinstance(source, ClusterSource)
            phys.caches.add(self)

    def __del__(self) -> None:
        """Give the frames back when the object is forgotten."""
        self.free()

    @property
    def stored(self) -> bool:
        """Tell whether the bytes live elsewhere: stores are tracked, and written back."""
        return self._source is not None

    @property
    def npages(self) -> int:
        """Number of frames held."""
        return len(self.pages)

    def free(self) -> None:
        """Release every frame, written back or not (the caller flushes first if it cares)."""
        self._release(list(self.pages.values()))
        self.pages.clear()
        self.dirty.clear()

    def _release(self, pfns: list[int]) -> None:
        refs = self.phys.refs
        freed: list[int] = []
        for pfn in pfns:
            left = refs[pfn] - 1
            refs[pfn] = left
            if not left:
                freed.append(pfn)
        if freed:
            self.phys.pages_free(freed)
        if pfns and self.charge is not None:
            self.charge(-len(pfns))

    # -- single pages ----------------------------------------------------------------------------

    def lookup(self, index: int) -> int | None:
        """Return the frame of a page that is present; no reference is taken."""
        return self.pages.get(index)

    def has_page(self, index: int) -> bool:
        """Tell whether the page is present."""
        return index in self.pages

    def get(self, index: int) -> int:
        """Return the frame of a page, filling it; no reference is taken.

        ENXIO beyond the end of the object, ENOMEM, or what the source or the charge raises.
        """
        pfn = self.pages.get(index)
        if pfn is not None:
            return pfn
        if self._source is not None:
            self._fill(index)
            return self.pages[index]
        if index << PAGESHIFT >= self.size:
            raise KernelError(Errno.ENXIO)
        return self._add(index)

    def _add(self, index: int) -> int:
        """Add a zero page to an object without a source."""
        if self.charge is not None:
            self.charge(1)
        try:
            pfn = self.phys.page_alloc()
        except KernelError:
            if self.charge is not None:
                self.charge(-1)
            raise
        self.pages[index] = pfn
        return pfn

    def _fill(self, index: int) -> None:
        """Read the page, and its neighbours if the source gives clusters. ENXIO beyond the end."""
        source = self._source() if self._source is not None else None
        if source is None:
            raise KernelError(Errno.ENXIO)
        if self._clusters:
            first = index & -CLUSTER
            data = cast("ClusterSource", source).getpages(first, CLUSTER)
            if len(data) <= (index - first) << PAGESHIFT:
                raise KernelError(Errno.ENXIO)
        else:
            first = index
            data = source.getpage(index)
            if not data:
                raise KernelError(Errno.ENXIO)
        pages = self.pages
        phys = self.phys
        ram = phys.ram
        # The wanted page goes first: memory may run out before the neighbours have theirs.
        for i in (index, *range(first, first + (len(data) + _MASK >> PAGESHIFT))):
            if i not in pages:
                at = (i - first) << PAGESHIFT
                piece = data[at : at + PAGESIZE]
                try:
                    pfn = phys.page_alloc_raw()
                except KernelError:
                    if i == index:
                        raise
                    return
                pa = pfn << PAGESHIFT
                ram[pa : pa + PAGESIZE] = (
                    piece if len(piece) == PAGESIZE else piece.ljust(PAGESIZE, b"\0")
                )
                pages[i] = pfn

    # -- bytes -----------------------------------------------------------------------------------

    def read(self, off: int, n: int) -> bytes:
        """Return up to *n* bytes at *off*; short at the end. Holes read as zeroes, taking no frame.

        With a source, absent pages are read from it and stay cached.
        """
        if self._source is not None:
            return self._read_stored(off, n)
        n = min(n, self.size - off)
        if n <= 0:
            return b""
        ram = self.phys.ram
        pages = self.pages
        at = off & _MASK
        index = off >> PAGESHIFT
        if at + n <= PAGESIZE:
            pfn = pages.get(index)
            if pfn is None:
                return ZEROES[:n]
            pa = (pfn << PAGESHIFT) + at
            return ram[pa : pa + n]
        parts = []
        while n > 0:
            size = min(PAGESIZE - at, n)
            pfn = pages.get(index)
            if pfn is None:
                parts.append(ZEROES[:size])
            else:
                pa = (pfn << PAGESHIFT) + at
                parts.append(ram[pa : pa + size])
            n -= size
            at = 0
            index += 1
        return b"".join(parts)

    def _read_stored(self, off: int, n: int) -> bytes:
        """Read through the cache, up to the end that the source tells."""
        source = self._source() if self._source is not None else None
        if source is None:
            return b""
        n = min(n, source.size() - off)
        parts = []
        while n > 0:
            at = off & _MASK
            size = min(PAGESIZE - at, n)
            pa = (self.get(off >> PAGESHIFT) << PAGESHIFT) + at
            parts.append(self.phys.ram[pa : pa + size])
            off += size
            n -= size
        return b"".join(parts)

    def write(self, off: int, data: bytes | bytearray | memoryview) -> int:
        """Store *data* at *off*, growing an object without a source; return the bytes stored.

        Short when memory or the charge ran out after the first page; the error when nothing was
        stored.
        """
        size = len(data)
        done = 0
        pages = self.pages
        phys = self.phys
        phys.mmu.settle()
        while done < size:
            index = (off + done) >> PAGESHIFT
            at = (off + done) & _MASK
            n = min(PAGESIZE - at, size - done)
            pfn = pages.get(index)
            if pfn is None:
                try:
                    pfn = self._add(index)
                except KernelError:
                    if done:
                        break
                    raise
            pa = (pfn << PAGESHIFT) + at
            phys.ram[pa : pa + n] = data if n == size else data[done : done + n]
            if phys.xframes[pfn]:
                phys.mmu.invalidate(pfn)
            done += n
        self.size = max(self.size, off + done)
        return done

    def update(self, off: int, data: bytes | bytearray | memoryview) -> None:
        """Bring present pages up to date after *data* was written to the source at *off*."""
        if not self.pages:
            return
        size = len(data)
        done = 0
        phys = self.phys
        phys.mmu.settle()
        while done < size:
            at = (off + done) & _MASK
            n = min(PAGESIZE - at, size - done)
            pfn = self.pages.get((off + done) >> PAGESHIFT)
            if pfn is not None:
                pa = (pfn << PAGESHIFT) + at
                phys.ram[pa : pa + n] = data[done : done + n]
                if phys.xframes[pfn]:
                    phys.mmu.invalidate(pfn)
            done += n

    def patch(self, off: int, data: bytes) -> bytes:
        """Return *data*, read from the source at *off*, with the dirty pages' bytes put over it."""
        if not self.dirty or not data:
            return data
        end = off + len(data)
        out = bytearray(data)
        for index in sorted(self.dirty):
            lo = max(index << PAGESHIFT, off)
            hi = min((index + 1) << PAGESHIFT, end)
            if lo < hi:
                pa = (self.pages[index] << PAGESHIFT) + (lo & _MASK)
                out[lo - off : hi - off] = self.phys.ram[pa : pa + hi - lo]
        return bytes(out)

    # -- shape -----------------------------------------------------------------------------------

    def truncate(self, size: int) -> None:
        """Set the length. Pages beyond it vanish, from mappings too (a later access is FC_OBJERR).

        The rest of the last page reads as zeroes, whether the object shrinks or grows.
        """
        edge = min(size, self.size) if self._source is None else size
        grown = size > self.size
        self.size = size
        if edge & _MASK:
            pfn = self.pages.get(edge >> PAGESHIFT)
            if pfn is not None:
                self.phys.zero(pfn, edge & _MASK, PAGESIZE - (edge & _MASK))
        if grown and self._source is None:
            return
        self._zap(size + _MASK >> PAGESHIFT, None, private=True)

    def punch(self, off: int, length: int) -> None:
        """Make [off, off+length) a hole: whole pages are dropped, the edges zeroed."""
        end = off + length
        first = off + _MASK >> PAGESHIFT
        last = end >> PAGESHIFT
        if first > last:  # inside one page
            self._zero(off, end)
            return
        self._zero(off, first << PAGESHIFT)
        self._zero(last << PAGESHIFT, end)
        if first < last:
            self._zap(first, last, private=False)

    def shift(self, first: int, by: int) -> None:
        """Move the pages from index `first` on by `by`, of an object without a source.

        Where they move to must be a hole. They go from all mappings, and are found again there.
        """
        for seg in list(self.mappers):
            seg.zap_object(first + min(by, 0), None, private=True)
        self.pages = {
            index + by if index >= first else index: pfn for index, pfn in self.pages.items()
        }
        self.size += by << PAGESHIFT

    def _zero(self, off: int, end: int) -> None:
        pfn = self.pages.get(off >> PAGESHIFT)
        if off < end and pfn is not None:
            self.phys.zero(pfn, off & _MASK, end - off)

    def _zap(self, first: int, last: int | None, *, private: bool) -> None:
        """Drop the pages of [first, last) from the cache and from every mapping.

        private: also take private copies out of the mappings (what truncation does).
        """
        pages = self.pages
        gone = [i for i in pages if i >= first and (last is None or i < last)]
        for seg in list(self.mappers):
            seg.zap_object(first, last, private=private)
        pfns = [pages.pop(i) for i in gone]
        self.dirty.difference_update(gone)
        self._release(pfns)

    def next_data(self, off: int) -> int | None:
        """Return the first offset >= *off* that holds data; None when there is none (SEEK_DATA)."""
        if off >= self.size:
            return None
        index = off >> PAGESHIFT
        if index in self.pages:
            return off
        later = min((i for i in self.pages if i > index), default=None)
        if later is None or later << PAGESHIFT >= self.size:
            return None
        return later << PAGESHIFT

    def next_hole(self, off: int) -> int | None:
        """Return the first offset >= *off* in a hole; the end counts as one (SEEK_HOLE)."""
        if off >= self.size:
            return None
        index = off >> PAGESHIFT
        if index not in self.pages:
            return off
        while index in self.pages:
            index += 1
        return min(index << PAGESHIFT, self.size)

    # -- write-back and eviction -----------------------------------------------------------------

    def flush(self, first: int = 0, last: int | None = None) -> None:
        """Write the dirty pages of [first, last) back; later stores are tracked anew."""
        if not self.dirty:
            return
        source = self._source() if self._source is not None else None
        if source is None:
            self.dirty.clear()
            return
        for index in sorted(i for i in self.dirty if i >= first and (last is None or i < last)):
            for seg in self.mappers:
                seg.clean_object(index)
            self.dirty.discard(index)
            pa = self.pages[index] << PAGESHIFT
            n = min(source.size() - (index << PAGESHIFT), PAGESIZE)
            if n > 0:
                source.putpage(index, self.phys.ram[pa : pa + n])

    def invalidate(self, first: int = 0, last: int | None = None) -> None:
        """Forget the pages of [first, last), dirty or not: the source has changed behind us."""
        self._zap(first, last, private=False)

    def shrink(self, want: int) -> int:
        """Drop up to *want* clean pages that nothing maps; return how many."""
        refs = self.phys.refs
        if self._source is None:
            return 0
        gone = [i for i, pfn in self.pages.items() if refs[pfn] == 1 and i not in self.dirty][:want]
        for index in gone:
            self.phys.page_rele(self.pages.pop(index))
        return len(gone)

    def writable_mappings(self) -> int:
        """Count the segments that share the object and may store to it (ETXTBSY, seals)."""
        return sum(1 for s in self.mappers if s.flags & MAP_SHARED and s.maxprot & PROT_WRITE)


_nodeids = count(1024)


class AnonObject:
    """The unnamed vnode under a shared anonymous mapping; `nodeid` is the number that it shows."""

    __slots__ = ("__weakref__", "nodeid", "pages")

    def __init__(self, phys: PhysMem, size: int) -> None:
        self.nodeid = next(_nodeids)
        self.pages = PageCache(phys, size=size)
