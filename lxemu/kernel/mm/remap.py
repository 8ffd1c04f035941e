"""Resizing and moving mappings: mremap(2), which illumos has not; flags are REMAP_* of mman."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.mm import memcntl
from lxemu.kernel.mm.mman import (
    MAP_SHARED,
    MAX_SEGS,
    PAGEOFFSET,
    REMAP_FIXED,
    REMAP_KEEPOLD,
    REMAP_MAYMOVE,
)
from lxemu.kernel.mm.seg import SEG_LOCKED, SEG_LOCKONFAULT, SEG_SEALED

if TYPE_CHECKING:
    from lxemu.kernel.mm.as_ import As
    from lxemu.kernel.mm.seg import Seg

_TO = REMAP_FIXED | REMAP_KEEPOLD


def remap(as_: As, old: int, oldlen: int, newlen: int, flags: int, newaddr: int) -> int:
    """Resize, and if need be or asked move, the mapping at *old*; return its address.

    oldlen 0 makes a second mapping of a shared object. A move to a given address without a change
    of length takes all mappings of the range along. EINVAL, EFAULT (not one mapping), ENOMEM,
    EAGAIN (locked memory).
    """
    if flags & ~(REMAP_MAYMOVE | _TO) or old & PAGEOFFSET:
        raise KernelError(Errno.EINVAL)
    oldlen = (oldlen + PAGEOFFSET) & ~PAGEOFFSET
    newlen = (newlen + PAGEOFFSET) & ~PAGEOFFSET
    if not newlen or newlen > as_.task_size:
        raise KernelError(Errno.EINVAL)
    if flags & _TO:
        _check_target(as_, old, oldlen, newlen, flags, newaddr)
        if flags & REMAP_FIXED and oldlen == newlen:
            return _move_range(as_, old, oldlen, flags, newaddr)
        return _remap_to(as_, old, oldlen, newlen, flags, newaddr)
    seg = _movable(as_, old)
    if oldlen >= newlen:
        if oldlen > newlen:
            as_.unmap(old + newlen, oldlen - newlen)
        return old
    return _grow(as_, seg, old, oldlen, newlen, flags)


def _movable(as_: As, old: int) -> Seg:
    """Return the segment at *old*. EFAULT when there is none, EPERM when it is sealed."""
    seg = as_.segat(old)
    if seg is None:
        raise KernelError(Errno.EFAULT)
    if seg.flags & SEG_SEALED:
        raise KernelError(Errno.EPERM)
    return seg


def _check_target(as_: As, old: int, oldlen: int, newlen: int, flags: int, newaddr: int) -> None:
    """EINVAL or ENOMEM for what can be said of the numbers alone."""
    if (
        newaddr > as_.task_size - newlen
        or newaddr & PAGEOFFSET
        or not flags & REMAP_MAYMOVE
        or (flags & REMAP_KEEPOLD and oldlen != newlen)
        or (old + oldlen > newaddr and newaddr + newlen > old)
    ):
        raise KernelError(Errno.EINVAL)
    if len(as_.segs) + 2 >= MAX_SEGS - 3:
        raise KernelError(Errno.ENOMEM)


def _grow(as_: As, seg: Seg, old: int, oldlen: int, newlen: int, flags: int) -> int:
    """Make a mapping longer where it is, or else elsewhere if that is allowed."""
    _check_resize(as_, seg, old, oldlen, newlen)
    more = newlen - oldlen
    if old + oldlen == seg.end and oldlen:
        end = seg.end + more
        if end <= as_.task_size and not as_.overlaps(seg.end, end):
            _extend(as_, seg, more)
            return old
    if not flags & REMAP_MAYMOVE:
        raise KernelError(Errno.ENOMEM)
    return _move(as_, old, oldlen, newlen, as_.find_gap(0, newlen), keep=False)


def _move_range(as_: As, old: int, length: int, flags: int, newaddr: int) -> int:
    """Move every mapping of a range, gaps and all, to a given address."""
    end = old + length
    at = old
    while at < end:
        i = as_.first(at)
        seg = as_.segs[i] if i < len(as_.segs) else None
        if seg is None or seg.start >= end:
            break
        if seg.start > at:
            if at == old:
                raise KernelError(Errno.EFAULT)
            at = seg.start
        size = min(seg.end, end) - at
        _remap_to(as_, at, size, size, flags, at - old + newaddr)
        at += size
    if at == old:
        raise KernelError(Errno.EFAULT)
    return newaddr


def _remap_to(as_: As, old: int, oldlen: int, newlen: int, flags: int, newaddr: int) -> int:
    """Move to a given address, replacing what is there, or (KEEPOLD only) to any."""
    seg = _movable(as_, old)
    _check_resize(as_, seg, old, oldlen, newlen)
    if flags & REMAP_FIXED:
        if newaddr < as_.min_addr:
            raise KernelError(Errno.EPERM)
        as_.remove(newaddr, newaddr + newlen)
    if oldlen > newlen:
        as_.unmap(old + newlen, oldlen - newlen)
        oldlen = newlen
    if flags & REMAP_KEEPOLD and not as_.may_expand(seg.prot, seg.flags, oldlen):
        raise KernelError(Errno.ENOMEM)
    target = newaddr if flags & REMAP_FIXED else as_.find_gap(newaddr, newlen)
    return _move(as_, old, oldlen, newlen, target, keep=bool(flags & REMAP_KEEPOLD))


def _check_resize(as_: As, seg: Seg, old: int, oldlen: int, newlen: int) -> None:
    """EINVAL, EFAULT, EAGAIN or ENOMEM when that part of *seg* cannot become *newlen* long."""
    if not oldlen and not seg.flags & MAP_SHARED:
        raise KernelError(Errno.EINVAL)
    # A range that shrinks may cross into other mappings; they are unmapped.
    if min(oldlen, newlen) > seg.end - old:
        raise KernelError(Errno.EFAULT)
    if newlen <= oldlen:
        return
    more = newlen - oldlen
    if seg.flags & SEG_LOCKED and not as_.may_lock(more):
        raise KernelError(Errno.EAGAIN)
    if not as_.may_expand(seg.prot, seg.flags, more):
        raise KernelError(Errno.ENOMEM)
    if not as_.may_commit(seg.prot, seg.flags, more):
        raise KernelError(Errno.ENOMEM)


def _extend(as_: As, seg: Seg, more: int) -> None:
    """Grow a segment at its end, where the space is known to be free."""
    start = seg.end
    new = seg.clone(as_, seg.flags)
    new.offset = seg.offset + seg.size
    new.start, new.end = start, start + more
    as_.insert(new)
    if seg.flags & (SEG_LOCKED | SEG_LOCKONFAULT) == SEG_LOCKED:
        memcntl.populate(as_, start, start + more)


def _move(as_: As, old: int, oldlen: int, newlen: int, target: int, *, keep: bool) -> int:
    """Give [old, old+oldlen) a new place and length; its pages go along. ENOMEM.

    keep: the old range stays mapped, empty. oldlen 0: it stays mapped, and the pages too.
    """
    seg = as_.segat(old)
    if seg is None:
        raise KernelError(Errno.EFAULT)
    offset = seg.offset + old - seg.start
    if seg.cache is None and seg.amp is None:
        offset = target
    flags = seg.flags
    if oldlen:
        as_.hat.move(old, target, oldlen)
    # The new segment must be in place before the old one leaves: leaving writes shared changes
    # back, which makes the moved pages read-only again, and frees tables that no segment needs.
    new = seg.clone(as_, flags)
    new.start, new.end, new.offset = target, target + newlen, offset
    amp_moves = keep and seg.start == old and seg.end == old + oldlen
    as_.insert(new)
    if oldlen and not keep:
        as_.remove(old, old + oldlen)
    elif oldlen:
        if amp_moves:
            # Nothing of its memory is left behind.
            seg.amp, seg.cowed = None, False
        if flags & SEG_LOCKED:
            # All of the segment is unlocked, not only the part that moved (dontunmap_complete).
            seg.flags &= ~(SEG_LOCKED | SEG_LOCKONFAULT)
            as_.locked -= seg.size
    if newlen > oldlen and flags & (SEG_LOCKED | SEG_LOCKONFAULT) == SEG_LOCKED:
        memcntl.populate(as_, target + oldlen, target + newlen)
    return target
