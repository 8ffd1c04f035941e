"""Advice, residency, write-back and locking of ranges: madvise, mincore, msync, mlock.

Each call goes over the segments of a range. A hole makes it ENOMEM, after the mapped parts have
been dealt with, unless the call says otherwise. illumos: memcntl(2), uts/common/os/mmapobj.c,
vm_as.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.mm import mman
from lxemu.kernel.mm.mman import (
    MAP_SHARED,
    MCL_CURRENT,
    MCL_FUTURE,
    MCL_ONFAULT,
    MS_ASYNC,
    MS_INVALIDATE,
    MS_SYNC,
    PAGEOFFSET,
    PAGESHIFT,
    PAGESIZE,
    PROT_READ,
    PROT_WRITE,
    RLIMIT_MEMLOCK,
)
from lxemu.kernel.mm.seg import (
    SEG_DONTDUMP,
    SEG_DONTFORK,
    SEG_HUGEPAGE,
    SEG_LOCKED,
    SEG_LOCKONFAULT,
    SEG_MERGEABLE,
    SEG_NOHUGEPAGE,
    SEG_RANDOM,
    SEG_SEALED,
    SEG_SEQUENTIAL,
    SEG_WIPEONFORK,
    OutOfMemory,
    Seg,
    SegFault,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lxemu.kernel.mm.as_ import As

_WORD = 1 << 64

# Advice that changes nothing that a guest can see, once the segment is known to be fit for it.
_IDLE = frozenset(
    {
        mman.MADV_ACCESS_DEFAULT,
        mman.MADV_ACCESS_LWP,
        mman.MADV_ACCESS_MANY,
        mman.MADV_COLLAPSE,
    }
)
# Advice kept as a segment flag: (bits to set, bits to clear).
_FLAGS = {
    mman.MADV_NORMAL: (0, SEG_RANDOM | SEG_SEQUENTIAL),
    mman.MADV_RANDOM: (SEG_RANDOM, SEG_SEQUENTIAL),
    mman.MADV_SEQUENTIAL: (SEG_SEQUENTIAL, SEG_RANDOM),
    mman.MADV_DONTFORK: (SEG_DONTFORK, 0),
    mman.MADV_DOFORK: (0, SEG_DONTFORK),
    mman.MADV_WIPEONFORK: (SEG_WIPEONFORK, 0),
    mman.MADV_KEEPONFORK: (0, SEG_WIPEONFORK),
    mman.MADV_DONTDUMP: (SEG_DONTDUMP, 0),
    mman.MADV_DODUMP: (0, SEG_DONTDUMP),
    mman.MADV_HUGEPAGE: (SEG_HUGEPAGE, SEG_NOHUGEPAGE),
    mman.MADV_NOHUGEPAGE: (SEG_NOHUGEPAGE, SEG_HUGEPAGE),
    mman.MADV_MERGEABLE: (SEG_MERGEABLE, 0),
    mman.MADV_UNMERGEABLE: (0, SEG_MERGEABLE),
}
# Advice by which contents are lost: refused for sealed memory that the caller could not overwrite.
_DISCARD = frozenset(
    {
        mman.MADV_DONTNEED,
        mman.MADV_PURGE,
        mman.MADV_DONTNEED_LOCKED,
        mman.MADV_FREE,
        mman.MADV_REMOVE,
        mman.MADV_DONTFORK,
        mman.MADV_WIPEONFORK,
    }
)


def _pieces(as_: As, start: int, end: int) -> Iterator[tuple[Seg, int, int]]:
    """Yield (segment, first, last address) for the mapped parts of [start, end)."""
    for seg in as_.segs[as_.first(start) :]:
        if seg.start >= end or start == end:
            return
        yield seg, max(seg.start, start), min(seg.end, end)


def _has_hole(as_: As, start: int, end: int) -> bool:
    return as_.mapped_bytes(start, end) != end - start


def populate(as_: As, start: int, end: int) -> Errno | None:
    """Fault a range in, for writing where it is private and writable.

    A segment is left at its first page that cannot be had. Return why the first such page could
    not: ENOMEM when it may not be accessed or its object has none, EAGAIN without memory.
    """
    failure = None
    for seg, lo, hi in list(_pieces(as_, start, end)):
        reason = _populate_seg(as_, seg, lo, hi)
        failure = failure or reason
    return failure


def _populate_seg(as_: As, seg: Seg, lo: int, hi: int) -> Errno | None:
    if not seg.prot:
        return Errno.ENOMEM
    write = bool(seg.prot & PROT_WRITE) and not seg.flags & MAP_SHARED
    probe = as_.hat.probe
    need = 3 if write else 1
    for va in range(lo, hi, PAGESIZE):
        if probe(va) & need != need:
            try:
                seg.fault(va, write)
            except SegFault:
                return Errno.ENOMEM
            except OutOfMemory:
                return Errno.EAGAIN
    return None


# -- madvise -------------------------------------------------------------------------------------


def advise(as_: As, addr: int, length: int, advice: int) -> None:
    """Act on *advice* (MADV_* of mman) about a range. madvise(2).

    EINVAL, ENOMEM (a hole; the mapped parts were dealt with), EACCES, EFAULT.
    """
    act = _ACTIONS.get(advice)
    known = act is not None or advice in _IDLE or advice in _FLAGS
    end = addr + ((length + PAGEOFFSET) & ~PAGEOFFSET)
    if not known or addr & PAGEOFFSET or length < 0 or end > _WORD:
        raise KernelError(Errno.EINVAL)
    if not length:
        return
    if advice in (mman.MADV_POPULATE_READ, mman.MADV_POPULATE_WRITE):
        _populate_strict(as_, addr, end, write=advice == mman.MADV_POPULATE_WRITE)
        return
    for seg, lo, hi in list(_pieces(as_, addr, end)):
        if seg.flags & SEG_SEALED and advice in _DISCARD and seg.anon and not seg.prot & PROT_WRITE:
            raise KernelError(Errno.EPERM)
        if act is not None:
            act(as_, seg, lo, hi)
        elif advice in _FLAGS:
            # Joined with what was changed before, this one may be gone.
            _advise_flags(as_, as_.segat(lo) or seg, lo, hi, advice)
    if _has_hole(as_, addr, end):
        raise KernelError(Errno.ENOMEM)


def _advise_flags(as_: As, seg: Seg, lo: int, hi: int, advice: int) -> None:
    on, off = _FLAGS[advice]
    if advice == mman.MADV_WIPEONFORK and not seg.anon:
        raise KernelError(Errno.EINVAL)
    if advice == mman.MADV_MERGEABLE and seg.flags & MAP_SHARED:
        return
    _change_flags(as_, seg, lo, hi, on, off)


def _change_flags(as_: As, seg: Seg, lo: int, hi: int, on: int, off: int) -> None:
    """Set and clear flags of [lo, hi), which is part of *seg*."""
    if seg.flags & ~off | on == seg.flags:
        return
    i, j = as_.isolate(lo, hi)
    part = as_.segs[i]
    part.flags = part.flags & ~off | on
    as_.coalesce(i, j)


def _zap(as_: As, seg: Seg, lo: int, hi: int) -> None:
    """Drop the pages: anonymous memory reads as zeroes afterwards, an object is read anew."""
    if seg.flags & SEG_LOCKED:
        raise KernelError(Errno.EINVAL)
    as_.hat.unload(lo, hi)


def _zap_locked(as_: As, seg: Seg, lo: int, hi: int) -> None:
    """Drop the pages of a locked range too."""
    del seg
    as_.hat.unload(lo, hi)


def _free(as_: As, seg: Seg, lo: int, hi: int) -> None:
    """Allow the pages to be dropped at any time; we do it at once."""
    if not seg.anon:
        raise KernelError(Errno.EINVAL)
    _zap(as_, seg, lo, hi)


def _willneed(as_: As, seg: Seg, lo: int, hi: int) -> None:
    """Read an object's pages into the cache."""
    if seg.cache is None:
        return
    first = (seg.offset + lo - seg.start) >> PAGESHIFT
    for index in range(first, first + ((hi - lo) >> PAGESHIFT)):
        if seg.cache.stored:
            try:
                seg.cache.get(index)
            except KernelError:
                return
    del as_


def _reclaim(as_: As, seg: Seg, lo: int, hi: int) -> None:
    """Let the pages be reclaimed first, which never happens here; locked ones must not be."""
    del as_, lo, hi
    if seg.flags & SEG_LOCKED:
        raise KernelError(Errno.EINVAL)


def _remove(as_: As, seg: Seg, lo: int, hi: int) -> None:
    """Punch a hole into the object itself."""
    if seg.flags & SEG_LOCKED or seg.cache is None:
        raise KernelError(Errno.EINVAL)
    if not seg.flags & MAP_SHARED or not seg.maxprot & PROT_WRITE:
        raise KernelError(Errno.EACCES)
    if seg.cache.stored:
        raise KernelError(Errno.EOPNOTSUPP)
    seg.cache.punch(seg.offset + lo - seg.start, hi - lo)
    del as_


_ACTIONS: dict[int, Callable[[As, Seg, int, int], None] | None] = {
    mman.MADV_DONTNEED: _zap,
    mman.MADV_PURGE: _zap,
    mman.MADV_DONTNEED_LOCKED: _zap_locked,
    mman.MADV_FREE: _free,
    mman.MADV_WILLNEED: _willneed,
    mman.MADV_COLD: _reclaim,
    mman.MADV_PAGEOUT: _reclaim,
    mman.MADV_REMOVE: _remove,
    mman.MADV_POPULATE_READ: _willneed,
    mman.MADV_POPULATE_WRITE: _willneed,
}


def _populate_strict(as_: As, start: int, end: int, *, write: bool) -> None:
    """Fault a range in and report why a page could not be."""
    access = PROT_WRITE if write else PROT_READ
    need = 3 if write else 1
    for va in range(start, end, PAGESIZE):
        seg = as_.segat(va)
        if seg is None:
            raise KernelError(Errno.ENOMEM)
        if not seg.prot & access:
            raise KernelError(Errno.EINVAL)
        if as_.hat.probe(va) & need == need:
            continue
        try:
            seg.fault(va, write)
        except SegFault as err:
            raise KernelError(Errno.EFAULT) from err
        except OutOfMemory as err:
            raise KernelError(Errno.ENOMEM) from err


# -- mincore, msync ------------------------------------------------------------------------------


def incore(as_: As, addr: int, length: int) -> bytes:
    """Return one byte per page of a range, 1 when it is in memory. mincore(2). EINVAL, ENOMEM."""
    if addr & PAGEOFFSET:
        raise KernelError(Errno.EINVAL)
    end = addr + ((length + PAGEOFFSET) & ~PAGEOFFSET)
    if end > as_.task_size or _has_hole(as_, addr, end):
        raise KernelError(Errno.ENOMEM)
    out = bytearray()
    for seg, lo, hi in _pieces(as_, addr, end):
        cache = seg.cache
        for va in range(lo, hi, PAGESIZE):
            there = as_.hat.probe(va) != 0
            if not there and cache is not None:
                there = cache.has_page((seg.offset + va - seg.start) >> PAGESHIFT)
            out.append(there)
    return bytes(out)


def sync(as_: As, addr: int, length: int, flags: int) -> None:
    """Write the shared changes of a range back. msync(2). EINVAL, ENOMEM, EBUSY."""
    if (
        flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC)
        or addr & PAGEOFFSET
        or flags & (MS_ASYNC | MS_SYNC) == MS_ASYNC | MS_SYNC
    ):
        raise KernelError(Errno.EINVAL)
    end = addr + ((length + PAGEOFFSET) & ~PAGEOFFSET)
    if end > _WORD:
        raise KernelError(Errno.ENOMEM)
    for seg, lo, hi in list(_pieces(as_, addr, end)):
        if flags & MS_INVALIDATE and seg.flags & SEG_LOCKED:
            raise KernelError(Errno.EBUSY)
        if seg.cache is not None and seg.flags & MAP_SHARED and not flags & MS_ASYNC:
            first = (seg.offset + lo - seg.start) >> PAGESHIFT
            seg.cache.flush(first, first + ((hi - lo) >> PAGESHIFT))
    if _has_hole(as_, addr, end):
        raise KernelError(Errno.ENOMEM)


# -- mlock ---------------------------------------------------------------------------------------


def _lock_range(addr: int, length: int) -> tuple[int, int]:
    """Return the pages that a lock call means. EINVAL when the range wraps."""
    end = (addr + length + PAGEOFFSET) & ~PAGEOFFSET
    start = addr & ~PAGEOFFSET
    if end > _WORD:
        raise KernelError(Errno.EINVAL)
    return start, end


def lock(as_: As, addr: int, length: int, *, onfault: bool = False) -> None:
    """Lock the pages of a range into memory. mlock(2). EPERM, ENOMEM, EINVAL, EAGAIN."""
    limit = as_.limits(RLIMIT_MEMLOCK)
    if not limit:
        raise KernelError(Errno.EPERM)
    start, end = _lock_range(addr, length)
    more = end - start
    if as_.locked + more > limit:
        # What is locked already does not count twice.
        more -= sum(hi - lo for seg, lo, hi in _pieces(as_, start, end) if seg.flags & SEG_LOCKED)
        if as_.locked + more > limit:
            raise KernelError(Errno.ENOMEM)
    flags = SEG_LOCKED | SEG_LOCKONFAULT if onfault else SEG_LOCKED
    _apply_lock(as_, start, end, flags)
    failure = None if onfault else populate(as_, start, end)
    if failure is not None:
        raise KernelError(failure)


def _apply_lock(as_: As, start: int, end: int, flags: int) -> None:
    """Give the segments of a range these lock flags, up to the first hole (ENOMEM)."""
    if start == end:
        return
    at = start
    for seg, lo, hi in list(_pieces(as_, start, end)):
        if lo != at:
            break
        if bool(flags) != bool(seg.flags & SEG_LOCKED):
            as_.locked += hi - lo if flags else lo - hi
        _change_flags(as_, seg, lo, hi, flags, SEG_LOCKED | SEG_LOCKONFAULT)
        at = hi
    if at != end:
        raise KernelError(Errno.ENOMEM)


def unlock(as_: As, addr: int, length: int) -> None:
    """Unlock the pages of a range. munlock(2). ENOMEM, EINVAL."""
    start, end = _lock_range(addr, length)
    _apply_lock(as_, start, end, 0)


def lockall(as_: As, flags: int) -> None:
    """Lock what is mapped, or what will be. mlockall(2). EINVAL, EPERM, ENOMEM."""
    if not flags or flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) or flags == MCL_ONFAULT:
        raise KernelError(Errno.EINVAL)
    limit = as_.limits(RLIMIT_MEMLOCK)
    if not limit:
        raise KernelError(Errno.EPERM)
    if flags & MCL_CURRENT and as_.vsize > limit:
        raise KernelError(Errno.ENOMEM)
    as_.lock_future = flags & (MCL_FUTURE | MCL_ONFAULT) if flags & MCL_FUTURE else 0
    if flags & MCL_CURRENT:
        on = SEG_LOCKED | SEG_LOCKONFAULT if flags & MCL_ONFAULT else SEG_LOCKED
        for seg in list(as_.segs):
            _apply_lock(as_, seg.start, seg.end, on)
        if not flags & MCL_ONFAULT:
            populate(as_, 0, as_.task_size)


def unlockall(as_: As) -> None:
    """Unlock everything, now and from now on. munlockall(2)."""
    as_.lock_future = 0
    for seg in list(as_.segs):
        _apply_lock(as_, seg.start, seg.end, 0)


def setname(as_: As, addr: int, length: int, name: bytes | None) -> None:
    """Name private anonymous memory for maps(). EINVAL, ENOMEM (a hole), EBADF (an object)."""
    end = addr + ((length + PAGEOFFSET) & ~PAGEOFFSET)
    if addr & PAGEOFFSET or end > _WORD:
        raise KernelError(Errno.EINVAL)
    for seg, lo, hi in list(_pieces(as_, addr, end)):
        if not seg.anon:
            raise KernelError(Errno.EBADF)
        i, j = as_.isolate(lo, hi)
        as_.segs[i].name = name
        as_.coalesce(i, j)
    if _has_hole(as_, addr, end):
        raise KernelError(Errno.ENOMEM)


def seal(as_: As, addr: int, length: int) -> None:
    """Forbid for good that a range is unmapped, moved or changed. EINVAL, ENOMEM (a hole)."""
    end = addr + ((length + PAGEOFFSET) & ~PAGEOFFSET)
    if addr & PAGEOFFSET or end > _WORD:
        raise KernelError(Errno.EINVAL)
    if _has_hole(as_, addr, end):
        raise KernelError(Errno.ENOMEM)
    for seg, lo, hi in list(_pieces(as_, addr, end)):
        _change_flags(as_, as_.segat(lo) or seg, lo, hi, SEG_SEALED, 0)
