"""Where a new mapping goes: the search for free space in an address space (vm_as.c: as_gap)."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.mm.mman import (
    LOW32_BASE,
    LOW32_TOP,
    MAP_GROWSDOWN,
    MAP_LOW32,
    PAGEOFFSET,
    PAGESIZE,
    STACK_GUARD,
    page_up,
)

if TYPE_CHECKING:
    from lxemu.kernel.mm.as_ import As


def _edge(as_: As, i: int) -> int:
    """Lowest address that segment *i* claims: a growing one keeps a guard gap below it."""
    seg = as_.segs[i]
    return seg.start - STACK_GUARD if seg.flags & MAP_GROWSDOWN else seg.start


def fits(as_: As, addr: int, size: int) -> bool:
    """Tell whether [addr, addr+size) is free and keeps clear of guard gaps."""
    i = as_.first(addr)
    return i == len(as_.segs) or addr + size <= _edge(as_, i)


def _gap_down(as_: As, size: int, floor: int, top: int) -> int | None:
    """Highest address of a free range below *top*."""
    segs = as_.segs
    i = bisect_left(as_.starts, top)
    hi = min(top, _edge(as_, i)) if i < len(segs) else top
    while i > 0:
        i -= 1
        seg = segs[i]
        if hi - max(seg.end, floor) >= size:
            return hi - size
        hi = min(hi, seg.start)
        if seg.flags & MAP_GROWSDOWN:
            hi = min(hi, seg.start - STACK_GUARD)
        if hi - floor < size:
            return None
    return hi - size if hi - floor >= size else None


def _gap_up(as_: As, size: int, floor: int, top: int) -> int | None:
    """Lowest address of a free range from *floor* up."""
    lo = floor
    for i in range(as_.first(floor), len(as_.segs)):
        if _edge(as_, i) - lo >= size and lo + size <= top:
            return lo
        lo = max(lo, as_.segs[i].end)
        if lo + size > top:
            return None
    return lo if lo + size <= top else None


def find_gap(as_: As, hint: int, size: int, flags: int = 0) -> int:
    """Choose an address for a mapping of *size* bytes (whole pages). ENOMEM.

    The hint is taken when it is free; then the search goes down from mmap_top, and up from a
    third of the space when that fails. MAP_LOW32 searches upwards in the second gigabyte.
    """
    if size > as_.task_size:
        raise KernelError(Errno.ENOMEM)
    if hint:
        hint &= ~PAGEOFFSET
        hint = max(hint, page_up(as_.min_addr))
    low = flags & MAP_LOW32 and as_.task_size > 1 << 32
    top = LOW32_TOP if low else as_.task_size
    if hint and hint <= top - size and fits(as_, hint, size):
        return hint
    found = None
    if low:
        found = _gap_up(as_, size, LOW32_BASE, LOW32_TOP)
    else:
        found = _gap_down(as_, size, page_up(max(as_.min_addr, PAGESIZE)), as_.mmap_top)
        if found is None:
            found = _gap_up(as_, size, page_up(as_.task_size // 3), as_.task_size)
    if found is None:
        raise KernelError(Errno.ENOMEM)
    return found
