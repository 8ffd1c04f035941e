"""Physical memory: one sparse host mapping cut into frames, with reference counts.

A frame is named by its number (pfn); its bytes are at `pfn << 12` in `PhysMem.ram`. Every holder
of a frame (a page table entry, a page cache, a page table's parent) owns one reference; the frame
is free when the last one is released. illumos: vm/page.h, with page_t reduced to a counter.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import weakref
from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.mm.commit import Commitment
from lxemu.kernel.mm.mman import PAGESHIFT, PAGESIZE
from lxemu.kernel.mm.mmu import Mmu

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxemu.kernel.mm.as_ import As
    from lxemu.kernel.mm.pagecache import PageCache

ZEROES = bytes(PAGESIZE)

# The host flag that keeps a sparse mapping from being charged in full. Python names it only from
# 3.13 on; 0x4000 is its value on the hosts that the engine is built for.
_HOST_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)

_CHUNK = 256  # frames taken from the untouched end of memory at a time
_TRIM_HIGH = 16384  # free frames with host memory behind them (64 MiB) before some is given back
_TRIM_RUN = 8  # shortest run of frames worth one madvise call
_LOW_FRAMES = 1 << 20  # frames below 4 GiB, where the root table must be


def _no_relief(_as: As) -> bool:
    """Free nothing: there is no machine."""
    return False


class PhysMem:
    """All guest-visible memory of a machine, and the account of its frames.

    ram, mv, q, d, h: the memory as mmap, bytes, 64-bit, 32-bit and 16-bit words (index = pa >>
    shift). address: host address of frame 0, for the engine. nframes: the limit. refs: reference
    count per frame number (list; grows as memory is first touched). xframes: 1 for a frame that
    was mapped executable: a host write must invalidate its code. relieve: called with the address
    space that found no frame; True when there may be one now.
    """

    __slots__ = (
        "_clean",
        "_free",
        "_fresh",
        "_low",
        "_trim_at",
        "address",
        "caches",
        "commit",
        "d",
        "h",
        "mmu",
        "mv",
        "nframes",
        "q",
        "ram",
        "refs",
        "relieve",
        "xframes",
    )

    def __init__(self, nbytes: int = 4 << 30) -> None:
        self.nframes = nbytes >> PAGESHIFT
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _HOST_NORESERVE
        self.ram = mmap.mmap(-1, self.nframes << PAGESHIFT, flags=flags)
        self.mv = memoryview(self.ram)
        self.q = self.mv.cast("Q")
        self.d = self.mv.cast("I")
        self.h = self.mv.cast("H")
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.ram))
        self.mmu = Mmu()
        self.refs: list[int] = [1]  # frame 0 is never given out: entry 0 means "nothing there"
        self.xframes = bytearray(self.nframes)
        self.commit = Commitment(self.nframes)
        self.relieve: Callable[[As], bool] = _no_relief
        self._trim_at = 0
        self._free: list[int] = []  # released, contents stale
        self._clean: list[int] = []  # zero; popped in ascending order after a refill
        self._fresh = 1  # first frame never handed to a list
        # With more than 4 GiB, root tables come from a reserve at the bottom.
        self._low: list[int] | None = None
        if self.nframes > _LOW_FRAMES:
            self._fresh = 1 << 14
            self.refs.extend([0] * (self._fresh - 1))
            self._low = list(range(self._fresh - 1, 0, -1))
        self.caches: weakref.WeakSet[PageCache] = weakref.WeakSet()

    def close(self) -> None:
        """Give the memory back to the host; afterwards frames may only be freed.

        While the engine still holds its address, the host mapping stays until both are forgotten.
        """
        self._trim_at = self.nframes  # what is freed late, by a destructor, finds nothing to trim
        for view in (self.q, self.d, self.h, self.mv):
            view.release()
        with contextlib.suppress(BufferError):
            self.ram.close()

    @property
    def free_frames(self) -> int:
        """Number of frames that can still be allocated without reclaiming anything."""
        low = len(self._low) if self._low is not None else 0
        return len(self._free) + len(self._clean) + self.nframes - self._fresh + low

    @property
    def used_frames(self) -> int:
        """Number of frames that somebody holds, caches included."""
        return self.nframes - self.free_frames

    def page_alloc(self) -> int:
        """Return a zeroed frame with one reference. ENOMEM when none is left."""
        if self._free:
            pfn = self._free.pop()
            if self.xframes[pfn]:
                self.xframes[pfn] = 0
                self.mmu.invalidate(pfn)
            pa = pfn << PAGESHIFT
            self.ram[pa : pa + PAGESIZE] = ZEROES
        else:
            if not self._clean:
                self._refill()
            pfn = self._clean.pop()
        self.refs[pfn] = 1
        return pfn

    def page_alloc_raw(self) -> int:
        """Return a frame of undefined contents, for a caller that overwrites all of it. ENOMEM."""
        if self._free:
            pfn = self._free.pop()
            if self.xframes[pfn]:
                self.xframes[pfn] = 0
                self.mmu.invalidate(pfn)
        else:
            if not self._clean:
                self._refill()
            pfn = self._clean.pop()
        self.refs[pfn] = 1
        return pfn

    def page_alloc_low(self) -> int:
        """Return a zeroed frame below 4 GiB (a root table). ENOMEM when none is left."""
        if self._low is None:
            return self.page_alloc()
        if not self._low:
            raise KernelError(Errno.ENOMEM)
        pfn = self._low.pop()
        self.ram[pfn << PAGESHIFT : (pfn + 1) << PAGESHIFT] = ZEROES
        self.refs[pfn] = 1
        return pfn

    def page_copy(self, pfn: int) -> int:
        """Return a new frame with the contents of *pfn*, which the caller still holds."""
        new = self.page_alloc_raw()
        self.ram.move(new << PAGESHIFT, pfn << PAGESHIFT, PAGESIZE)
        return new

    def page_hold(self, pfn: int) -> None:
        """Take one more reference."""
        self.refs[pfn] += 1

    def page_rele(self, pfn: int) -> None:
        """Drop one reference; the frame is free when it was the last."""
        left = self.refs[pfn] - 1
        self.refs[pfn] = left
        if not left:
            self.page_free(pfn)

    def page_free(self, pfn: int) -> None:
        """Put a frame whose count has reached 0 on a free list."""
        if self._low is not None and pfn < 1 << 14:
            self._low.append(pfn)
        else:
            self._free.append(pfn)

    def pages_free(self, pfns: list[int]) -> None:
        """Free many frames whose counts have reached 0 (never root tables)."""
        self._free += pfns
        if len(self._free) > max(_TRIM_HIGH, self._trim_at):
            self.trim()
            # What is left lies in short runs: do not look at it again before there is more.
            self._trim_at = 2 * len(self._free)

    def page_shared(self, pfn: int) -> bool:
        """Tell whether more than one holder exists."""
        return self.refs[pfn] > 1

    def _refill(self) -> None:
        """Take untouched frames into the clean list, or reclaim cached file pages. ENOMEM."""
        first = self._fresh
        last = min(first + _CHUNK, self.nframes)
        if first < last:
            self._fresh = last
            self.refs.extend([0] * (last - first))
            self._clean.extend(range(last - 1, first - 1, -1))
            return
        self.reclaim(_CHUNK)
        if not self._free:
            raise KernelError(Errno.ENOMEM)
        pfn = self._free.pop()
        if self.xframes[pfn]:
            self.xframes[pfn] = 0
            self.mmu.invalidate(pfn)
        self.ram[pfn << PAGESHIFT : (pfn + 1) << PAGESHIFT] = ZEROES
        self._clean.append(pfn)

    def reclaim(self, want: int) -> int:
        """Drop up to *want* clean, unmapped pages of stored files; return how many."""
        done = 0
        for cache in list(self.caches):
            done += cache.shrink(want - done)
            if done >= want:
                break
        return done

    def trim(self) -> None:
        """Give the host the memory behind long runs of free frames; they are zero then."""
        free = self._free
        keep = free[-_TRIM_HIGH // 4 :]  # the most recently used ones are reused soonest
        pfns = sorted(free[: -_TRIM_HIGH // 4])
        rest: list[int] = []
        start = 0
        count = len(pfns)
        while start < count:
            stop = start + 1
            while stop < count and pfns[stop] == pfns[stop - 1] + 1:
                stop += 1
            run = pfns[start:stop]
            if len(run) >= _TRIM_RUN:
                self._discard(run)
            else:
                rest += run
            start = stop
        self._free = rest + keep

    def _discard(self, run: list[int]) -> None:
        """Return a run of consecutive free frames to the host and count them as clean."""
        first = run[0]
        size = len(run)
        mark = self.xframes.find(1, first, first + size)
        while mark >= 0:
            self.xframes[mark] = 0
            self.mmu.invalidate(mark)
            mark = self.xframes.find(1, mark + 1, first + size)
        self.ram.madvise(mmap.MADV_DONTNEED, first << PAGESHIFT, size << PAGESHIFT)
        run.reverse()
        self._clean += run

    def zero(self, pfn: int, off: int, size: int) -> None:
        """Zero *size* bytes at *off* in a frame; translated code of it is invalid then."""
        self.mmu.settle()
        pa = (pfn << PAGESHIFT) + off
        self.ram[pa : pa + size] = ZEROES[:size]
        if self.xframes[pfn]:
            self.mmu.invalidate(pfn)
