"""Address spaces: an ordered list of segments over a hat, and the calls that change it.

Addresses and lengths are the guest's; every public call rounds and checks as mmap(2), munmap(2),
mprotect(2) and brk(2) document, and raises KernelError. illumos: vm/as.h, vm_as.c.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.mm import gap, memcntl, remap
from lxemu.kernel.mm.commit import STRICT
from lxemu.kernel.mm.hat import Hat
from lxemu.kernel.mm.mman import (
    FC_NOMAP,
    FC_OBJERR,
    FC_PROT,
    MAP_ANON,
    MAP_FIXED,
    MAP_GROWSDOWN,
    MAP_HUGETLB,
    MAP_LOCKED,
    MAP_NOREPLACE,
    MAP_NORESERVE,
    MAP_POPULATE,
    MAP_PRIVATE,
    MAP_SHARED,
    MAP_TYPE,
    MAX_SEGS,
    MCL_FUTURE,
    MCL_ONFAULT,
    MIN_ADDR,
    PAGEOFFSET,
    PAGESIZE,
    PROT_ALL,
    PROT_GROWSDOWN,
    PROT_GROWSUP,
    PROT_READ,
    PROT_SEM,
    PROT_WRITE,
    RLIM_INFINITY,
    RLIMIT_DATA,
    RLIMIT_MEMLOCK,
    RLIMIT_STACK,
    RLIMIT_VMEM,
    STACK_GUARD,
    USERLIMIT64,
    FaultAccess,
    page_up,
)
from lxemu.kernel.mm.pagecache import AnonObject
from lxemu.kernel.mm.seg import (
    SEG_DONTFORK,
    SEG_LOCKED,
    SEG_LOCKONFAULT,
    SEG_RESERVED,
    SEG_SEALED,
    SEG_WIPEONFORK,
    AnonMap,
    OutOfMemory,
    Seg,
    SegFault,
    SegInfo,
)
from lxemu.kernel.mm.usercopy import OverlongString, UserCopy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lxemu.kernel.aio import AioContext
    from lxemu.kernel.mm.mmu import Mmu
    from lxemu.kernel.mm.page import PhysMem
    from lxemu.kernel.mm.pagecache import Mappable
    from lxemu.kernel.vfs.vnode import Vnode

__all__ = [
    "FC_NOMAP",
    "FC_OBJERR",
    "FC_PROT",
    "As",
    "FaultAccess",
    "OutOfMemory",
    "OverlongString",
    "SegFault",
    "SegInfo",
]

_KEPT_FLAGS = MAP_SHARED | MAP_PRIVATE | MAP_GROWSDOWN | MAP_NORESERVE
_MAX_OFFSET = (1 << 63) - 1


def no_limits(_resource: int) -> int:
    """Limit nothing: what an address space starts with."""
    return RLIM_INFINITY


class As(UserCopy):
    """One address space, shared by the lwps of a process (and by processes after vfork).

    task_size: first address past user space. mmap_top: where the search for free space starts,
    downwards. min_addr: lowest address that may be mapped. brk_start, brk: the heap, in bytes.
    start_stack: initial stack pointer, by which the stack is recognised. limits: soft limit of a
    resource (RLIMIT_* of mman), asked when space grows; rebind it after dup(). vsize: bytes
    mapped. locked: bytes locked. lock_future: MCL_* flags for mappings to come. minflt, majflt:
    faults resolved without and with input.
    """

    __slots__ = (
        "_segs",
        "_starts",
        "aio",
        "barriers",
        "brk",
        "brk_start",
        "ldt",
        "limits",
        "lock_future",
        "locked",
        "majflt",
        "min_addr",
        "minflt",
        "mmap_top",
        "start_stack",
        "task_size",
        "text",
        "users",
        "vsize",
    )

    def __init__(
        self,
        phys: PhysMem,
        mmu: Mmu | None = None,
        kernel_entry: int | None = None,
        *,
        task_size: int = USERLIMIT64,
        mmap_top: int = 0,
        limits: Callable[[int], int] = no_limits,
        hat: Hat | None = None,
    ) -> None:
        if mmu is not None:
            phys.mmu = mmu
        self._bind(phys, hat if hat is not None else Hat(phys, kernel_entry))
        self._starts: list[int] = []
        #: Contexts of asynchronous I/O by their address; None while there is none.
        #: Which barriers between its lwps the program has registered for (a brand's word).
        self.barriers = 0
        self.aio: dict[int, AioContext] | None = None
        self._segs: list[Seg] = []
        self.task_size = task_size
        self.mmap_top = mmap_top or task_size - (STACK_GUARD << 4)
        self.min_addr = MIN_ADDR
        self.brk_start = self.brk = 0
        #: The local descriptor table, if a program has made one (lxemu/cpu/ldt.py).
        self.ldt: Any = None
        self.start_stack = 0
        self.limits = limits
        self.vsize = 0
        self.locked = 0
        self.lock_future = 0
        #: How many processes use it, and the executed file that nobody may write to meanwhile.
        self.users = 1
        self.text: Vnode | None = None
        self.minflt = 0
        self.majflt = 0

    # -- segments --------------------------------------------------------------------------------

    @property
    def segs(self) -> list[Seg]:
        """The segments in order of address; not to be changed by the caller."""
        return self._segs

    @property
    def rss(self) -> int:
        """Resident set in pages."""
        return self.hat.npages

    @property
    def rss_anon(self) -> int:
        """The part of the resident set that is private anonymous memory, in pages."""
        return self.hat.count_anon()

    @property
    def maxrss(self) -> int:
        """Largest resident set so far, in pages."""
        return self.hat.peak()

    def segat(self, addr: int) -> Seg | None:
        """Return the segment that contains *addr*."""
        i = bisect_right(self._starts, addr) - 1
        if i >= 0:
            seg = self._segs[i]
            if addr < seg.end:
                return seg
        return None

    def first(self, addr: int) -> int:
        """Index of the first segment that ends above *addr*."""
        i = bisect_right(self._starts, addr) - 1
        return i if i >= 0 and self._segs[i].end > addr else i + 1

    def overlaps(self, start: int, end: int) -> bool:
        """Tell whether anything is mapped in [start, end)."""
        i = self.first(start)
        return i < len(self._segs) and self._starts[i] < end

    def mapped_bytes(self, start: int, end: int) -> int:
        """Return how many bytes of [start, end) are mapped."""
        total = 0
        for i in range(self.first(start), len(self._segs)):
            seg = self._segs[i]
            if seg.start >= end:
                break
            total += min(seg.end, end) - max(seg.start, start)
        return total

    def isolate(self, start: int, end: int) -> tuple[int, int]:
        """Split segments at the edges; return the indexes of those inside [start, end). ENOMEM."""
        i = self.first(start)
        segs = self._segs
        starts = self._starts
        if i < len(segs) and starts[i] < start:
            self._split(i, start)
            i += 1
        j = bisect_left(starts, end, i)
        if j > i and segs[j - 1].end > end:
            self._split(j - 1, end)
        return i, j

    def _split(self, i: int, addr: int) -> None:
        if len(self._segs) >= MAX_SEGS:
            raise KernelError(Errno.ENOMEM)
        self._segs.insert(i + 1, self._segs[i].split(addr))
        self._starts.insert(i + 1, addr)

    def coalesce(self, i: int, j: int) -> None:
        """Join what can be joined at the boundaries below segments i..j, the lower ones first."""
        segs = self._segs
        k = max(i, 1)
        last = min(j, len(segs) - 1)
        while k <= last:
            lower = segs[k - 1]
            upper = segs[k]
            if not lower.joins(upper):
                k += 1
                continue
            if upper.cache is not None:
                upper.cache.mappers.pop(upper, None)
            lower.end = upper.end
            if lower.amp is None:
                lower.amp = upper.amp
            del segs[k]
            del self._starts[k]
            last -= 1

    def insert(self, seg: Seg) -> None:
        """Add a segment where nothing is mapped, joining it with its neighbours."""
        i = bisect_left(self._starts, seg.start)
        self._starts.insert(i, seg.start)
        self._segs.insert(i, seg)
        self.vsize += seg.size
        if seg.flags & SEG_LOCKED:
            self.locked += seg.size
        self.coalesce(i, i + 1)

    def remove(self, start: int, end: int, *, keep_pages: bool = False) -> None:
        """Take everything out of [start, end).

        EPERM for a sealed segment, ENOMEM when a split would make too many segments.
        """
        segs = self._segs
        for at in range(self.first(start), len(segs)):
            if segs[at].start >= end:
                break
            if segs[at].flags & SEG_SEALED:
                raise KernelError(Errno.EPERM)
        i, j = self.isolate(start, end)
        if i == j:
            return
        gone = segs[i:j]
        del segs[i:j]
        del self._starts[i:j]
        for seg in gone:
            self.vsize -= seg.size
            if seg.flags & SEG_LOCKED:
                self.locked -= seg.size
            seg.detach()
        if not keep_pages:
            lo = segs[i - 1].end if i else 0
            hi = segs[i].start if i < len(segs) else self.task_size
            self.hat.unload(max(start, gone[0].start), min(end, gone[-1].end), lo, hi)

    # -- free space ------------------------------------------------------------------------------

    @property
    def starts(self) -> list[int]:
        """Where the segments start, in order; not to be changed by the caller."""
        return self._starts

    def find_gap(self, hint: int, size: int, flags: int = 0) -> int:
        """Choose an address for a mapping of *size* bytes (whole pages). See gap.find_gap()."""
        return gap.find_gap(self, hint, size, flags)

    # -- limits ----------------------------------------------------------------------------------

    def data_bytes(self) -> int:
        """Bytes of private writable memory that is not stack (what RLIMIT_DATA counts)."""
        return sum(s.size for s in self._segs if _is_data(s.prot, s.flags))

    def may_expand(self, prot: int, flags: int, size: int) -> bool:
        """Tell whether *size* more bytes of such a mapping stay within the limits."""
        if self.vsize + size > self.limits(RLIMIT_VMEM):
            return False
        if _is_data(prot, flags):
            limit = self.limits(RLIMIT_DATA)
            if limit < RLIM_INFINITY and self.data_bytes() + size > limit:
                return False
        return True

    def reserved_bytes(self) -> int:
        """Bytes of memory that was promised to this space."""
        return sum(seg.size for seg in self._segs if seg.flags & SEG_RESERVED)

    def may_commit(self, prot: int, flags: int, size: int) -> bool:
        """Tell whether memory for such a mapping may be promised."""
        commit = self.phys.commit
        if not prot & PROT_WRITE or flags & MAP_SHARED:
            return True
        on_credit = flags & MAP_NORESERVE and commit.mode != STRICT
        return bool(on_credit) or commit.allows(size)

    def may_lock(self, size: int) -> bool:
        """Tell whether *size* more bytes may be locked."""
        return self.locked + size <= self.limits(RLIMIT_MEMLOCK)

    # -- mmap, munmap, mprotect, brk -------------------------------------------------------------

    def map(
        self,
        addr: int,
        length: int,
        prot: int,
        flags: int,
        vnode: Mappable | None = None,
        offset: int = 0,
        *,
        maxprot: int = PROT_ALL,
        name: object = None,
        source: object = None,
    ) -> int:
        """Map an object or anonymous memory; return the address. mmap(2).

        maxprot: what the open file allows (no PROT_READ: EACCES whatever *prot* is). name: shown
        by maps(). source: the open file itself. EINVAL, ENOMEM, EEXIST, EACCES, EPERM, EAGAIN,
        ENODEV, EOVERFLOW.
        """
        if offset & PAGEOFFSET or not length:
            raise KernelError(Errno.EINVAL)
        size = page_up(length)
        if size > self.task_size:
            raise KernelError(Errno.ENOMEM)
        if vnode is not None and offset + size > _MAX_OFFSET:
            raise KernelError(Errno.EOVERFLOW)
        if len(self._segs) >= MAX_SEGS:
            raise KernelError(Errno.ENOMEM)
        fixed = flags & (MAP_FIXED | MAP_NOREPLACE)
        if fixed:
            self._check_fixed(addr, size, flags)
        else:
            addr = self.find_gap(addr, size, flags)
        if flags & MAP_HUGETLB:
            # There is no pool of huge pages, and no file system of them.
            raise KernelError(Errno.EINVAL if vnode is not None else Errno.ENOMEM)
        lock = self._lock_flags(flags, size)
        prot &= PROT_ALL
        kind = flags & MAP_TYPE
        if kind not in (MAP_SHARED, MAP_PRIVATE):
            raise KernelError(Errno.EINVAL)
        cache = None
        if vnode is not None and not flags & MAP_ANON:
            if not maxprot & PROT_READ or prot & ~maxprot:
                raise KernelError(Errno.EACCES)
            cache = vnode.pages
            if cache is None:
                raise KernelError(Errno.ENODEV)
            if flags & MAP_GROWSDOWN:
                raise KernelError(Errno.EINVAL)
        else:
            vnode = None
            if flags & MAP_GROWSDOWN and kind == MAP_SHARED:
                raise KernelError(Errno.EINVAL)
        extra = size - self.mapped_bytes(addr, addr + size) if fixed else size
        if not self.may_expand(prot, flags, extra) or not self.may_commit(prot, flags, size):
            raise KernelError(Errno.ENOMEM)
        if fixed:
            self.remove(addr, addr + size)
        if vnode is None:
            offset = addr
            if kind == MAP_SHARED:
                vnode = AnonObject(self.phys, size)
                cache = vnode.pages
                offset = 0
        kept = flags & _KEPT_FLAGS | lock
        if _is_reserved(prot, kept):
            kept |= SEG_RESERVED
        end = addr + size
        self.insert(Seg(self, addr, end, prot, maxprot, kept, vnode, cache, offset, name, source))
        if lock & (SEG_LOCKED | SEG_LOCKONFAULT) == SEG_LOCKED or flags & MAP_POPULATE:
            memcntl.populate(self, addr, addr + size)
        return addr

    def _check_fixed(self, addr: int, size: int, flags: int) -> None:
        if addr > self.task_size - size:
            raise KernelError(Errno.ENOMEM)
        if addr & PAGEOFFSET:
            raise KernelError(Errno.EINVAL)
        if addr < self.min_addr:
            raise KernelError(Errno.EPERM)
        if flags & MAP_NOREPLACE and self.overlaps(addr, addr + size):
            raise KernelError(Errno.EEXIST)

    def _lock_flags(self, flags: int, size: int) -> int:
        """Return the locking of a new mapping. EPERM: none is allowed; EAGAIN: too much."""
        if flags & MAP_LOCKED and not self.limits(RLIMIT_MEMLOCK):
            raise KernelError(Errno.EPERM)
        if not flags & MAP_LOCKED and not self.lock_future & MCL_FUTURE:
            return 0
        if not self.may_lock(size):
            raise KernelError(Errno.EAGAIN)
        onfault = self.lock_future & MCL_ONFAULT and not flags & MAP_LOCKED
        return SEG_LOCKED | SEG_LOCKONFAULT if onfault else SEG_LOCKED

    def unmap(self, addr: int, length: int) -> None:
        """Remove the mappings of a range; holes do not matter. munmap(2). EINVAL, ENOMEM."""
        if (
            addr & PAGEOFFSET
            or addr > self.task_size
            or length > self.task_size - addr
            or length <= 0
        ):
            raise KernelError(Errno.EINVAL)
        self.remove(addr, addr + page_up(length))

    def setprot(self, addr: int, length: int, prot: int) -> None:
        """Change the protection of a range. mprotect(2). EINVAL, ENOMEM, EACCES.

        PROT_GROWSDOWN in *prot*: start at the beginning of the growing segment. At a hole (ENOMEM)
        or a segment that does not allow *prot* (EACCES) the part below it has been changed.
        """
        grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP)
        prot &= ~(grows | PROT_SEM)
        if addr & PAGEOFFSET or prot & ~PROT_ALL or grows == PROT_GROWSDOWN | PROT_GROWSUP:
            raise KernelError(Errno.EINVAL)
        if not length:
            return
        end = addr + page_up(length)
        i = self.first(addr)
        if end > 1 << 64 or i == len(self._segs):
            raise KernelError(Errno.ENOMEM)
        start = self._starts[i]
        if grows:
            # No segment here grows upwards.
            if grows == PROT_GROWSDOWN and start >= end:
                raise KernelError(Errno.ENOMEM)
            if grows == PROT_GROWSUP or not self._segs[i].grows:
                raise KernelError(Errno.EINVAL)
            addr = start
        elif start > addr:
            raise KernelError(Errno.ENOMEM)
        while addr < end:
            seg = self.segat(addr)
            if seg is None:
                raise KernelError(Errno.ENOMEM)
            stop = min(seg.end, end)
            if prot & ~seg.maxprot:
                raise KernelError(Errno.EACCES)
            if seg.flags & SEG_SEALED:
                raise KernelError(Errno.EPERM)
            if seg.prot != prot:
                self._setprot_seg(seg, addr, stop, prot)
            addr = stop

    def _setprot_seg(self, seg: Seg, start: int, end: int, prot: int) -> None:
        """Change [start, end), which lies inside one segment. ENOMEM.

        Memory that becomes writable is reserved; the reservation ends when it stops to be before
        anything was stored there.
        """
        flags = seg.flags
        if _is_data(prot, flags) and not _is_data(seg.prot, flags):
            limit = self.limits(RLIMIT_DATA)
            if limit < RLIM_INFINITY and self.data_bytes() + end - start > limit:
                raise KernelError(Errno.ENOMEM)
        if prot & PROT_WRITE:
            new = not flags & SEG_RESERVED and not seg.prot & PROT_WRITE
            if new and _is_reserved(prot, flags):
                if not self.may_commit(prot, flags, end - start):
                    raise KernelError(Errno.ENOMEM)
                flags |= SEG_RESERVED
        elif seg.cache is None and seg.amp is None:
            flags &= ~SEG_RESERVED
        # Locked memory that becomes writable is copied now, not at the first store.
        copies = (
            prot & PROT_WRITE
            and not seg.prot & PROT_WRITE
            and flags & (MAP_SHARED | SEG_LOCKED | SEG_LOCKONFAULT) == SEG_LOCKED
        )
        i, j = self.isolate(start, end)
        self._segs[i].flags = flags
        self._segs[i].chgprot(prot)
        self.coalesce(i, j)
        if copies:
            memcntl.populate(self, start, end)

    def set_brk_base(self, addr: int) -> None:
        """Say where the heap starts (exec): it is empty."""
        self.brk_start = self.brk = addr

    def setbrk(self, addr: int) -> int:
        """Move the end of the heap; return the new end, the old one if that cannot be. brk(2)."""
        if addr < self.brk_start:
            return self.brk
        old = page_up(self.brk)
        new = page_up(addr)
        if new > old:
            size = new - old
            data = new - self.brk_start
            if (
                new > self.task_size
                or data > self.limits(RLIMIT_DATA)
                or not gap.fits(self, old, size + PAGESIZE)
                or not self.may_expand(PROT_READ | PROT_WRITE, MAP_PRIVATE, size)
                or not self.may_commit(PROT_READ | PROT_WRITE, MAP_PRIVATE, size)
                or len(self._segs) >= MAX_SEGS
            ):
                return self.brk
            try:
                lock = self._lock_flags(0, size)
            except KernelError:
                return self.brk
            prot = PROT_READ | PROT_WRITE
            flags = MAP_PRIVATE | SEG_RESERVED | lock
            self.insert(Seg(self, old, new, prot, PROT_ALL, flags, None, None, old, None))
            if lock == SEG_LOCKED:
                memcntl.populate(self, old, new)
        elif new < old:
            try:
                self.remove(new, old)
            except KernelError:
                return self.brk
        self.brk = addr
        return addr

    # -- faults ----------------------------------------------------------------------------------

    def fault(self, addr: int, access: int) -> None:
        """Make one access possible: PROT_READ, PROT_WRITE or PROT_EXEC at *addr*.

        SegFault(FC_NOMAP, FC_PROT or FC_OBJERR) when it is not allowed; OutOfMemory.
        """
        self.minflt += 1
        seg = self.segat(addr)
        if seg is None:
            seg = self._grow(addr)
        prot = seg.prot
        # x86 has no page that can be written or executed but not read.
        if not (prot if access == PROT_READ else prot & access):
            raise SegFault(addr, FC_PROT)
        try:
            seg.fault(addr & ~PAGEOFFSET, access == PROT_WRITE)
        except SegFault as err:
            err.addr = addr
            raise

    def _grow(self, addr: int) -> Seg:
        """Extend the growing segment above *addr* down to it. SegFault when that cannot be."""
        i = bisect_right(self._starts, addr)
        va = addr & ~PAGEOFFSET
        if i < len(self._segs):
            seg = self._segs[i]
            more = seg.start - va
            if (
                seg.grows
                and va >= self.min_addr
                and seg.end - va <= self.limits(RLIMIT_STACK)
                and (i == 0 or self._clear_of(self._segs[i - 1], va))
                and self.may_expand(seg.prot, seg.flags, more)
                and (not seg.flags & SEG_LOCKED or self.may_lock(more))
            ):
                seg.start -= more
                seg.offset -= more
                self._starts[i] = seg.start
                self.vsize += more
                if seg.flags & SEG_LOCKED:
                    self.locked += more
                return seg
        raise SegFault(addr, FC_NOMAP)

    @staticmethod
    def _clear_of(below: Seg, va: int) -> bool:
        """Tell whether a stack may reach down to *va* with *below* as its lower neighbour."""
        return below.grows or not below.prot or va - below.end >= STACK_GUARD

    # -- whole address spaces --------------------------------------------------------------------

    def dup(self) -> As:
        """Return a copy for fork: objects stay shared, private memory is copied on write. ENOMEM.

        Memory locks are not inherited; rebind `limits` to the child.
        """
        hat = self.hat.dup()
        child = As(
            self.phys, task_size=self.task_size, mmap_top=self.mmap_top, limits=self.limits, hat=hat
        )
        child.min_addr = self.min_addr
        child.brk_start = self.brk_start
        child.brk = self.brk
        child.start_stack = self.start_stack
        child.barriers = self.barriers
        vsize = 0
        segs = child._segs
        for seg in self._segs:
            flags = seg.flags
            if flags & (SEG_DONTFORK | SEG_WIPEONFORK):
                hat.unload(seg.start, seg.end)
                if flags & SEG_DONTFORK:
                    continue
            copy = seg.clone(child, flags & ~(SEG_LOCKED | SEG_LOCKONFAULT))
            segs.append(copy)
            if flags & SEG_WIPEONFORK:
                copy.amp, copy.cowed = None, False
            elif copy.amp is not None:
                copy.amp, copy.cowed = AnonMap(), True
            vsize += seg.end - seg.start
        child._starts.extend([seg.start for seg in segs])
        child.vsize = vsize
        return child

    def free(self) -> None:
        """Release everything: shared changes are written back, frames and tables are free."""
        for context in tuple((self.aio or {}).values()):
            context.destroy()
        self.aio = None
        if self.ldt is not None:
            self.ldt.free()
            self.ldt = None
        for seg in self._segs:
            seg.detach()
        self._segs.clear()
        self._starts.clear()
        self.vsize = self.locked = 0
        if self.hat.cr3:
            self.hat.free()

    def maps(self) -> Iterator[SegInfo]:
        """Describe the segments in order. Heap and stack are named as illumos' pmap names them."""
        for seg in self._segs:
            name = seg.name
            if name is None and seg.cache is None:
                if seg.start < self.brk and seg.end > self.brk_start:
                    name = b"[heap]"
                elif seg.start <= self.start_stack < seg.end:
                    name = b"[stack]"
            yield seg.info(name)

    def futex_key(self, addr: int, shared: bool, write: bool = False) -> tuple[object, ...]:
        """Return what identifies the word at *addr* to all waiters: object and offset, or us.

        EFAULT when a shared word cannot be read, or written if the caller is going to. A word that
        is asked for as shared but is in private memory has an identity of its own.
        """
        if not shared:
            return self, addr
        if write:
            self._pa_write(addr)
        else:
            self._pa_read(addr)
        seg = self.segat(addr)
        if seg is not None and not (seg.flags & MAP_SHARED or seg.prot & PROT_WRITE):
            # Read-only private memory is still the file's, or nobody could ever change it.
            if seg.cache is None or seg.amp is not None:
                raise KernelError(Errno.EFAULT)
        elif seg is None or seg.cache is None or not seg.flags & MAP_SHARED:
            return self, addr, True
        return seg.cache, seg.offset + addr - seg.start

    # -- calls that have a file of their own -----------------------------------------------------

    def remap(self, old: int, oldlen: int, newlen: int, flags: int, newaddr: int = 0) -> int:
        """Resize or move a mapping; return its address. See remap.remap()."""
        return remap.remap(self, old, oldlen, newlen, flags, newaddr)

    def advise(self, addr: int, length: int, advice: int) -> None:
        """Act on advice about a range. See memcntl.advise()."""
        memcntl.advise(self, addr, length, advice)

    def incore(self, addr: int, length: int) -> bytes:
        """Return one byte per page: 1 when it is in memory. See memcntl.incore()."""
        return memcntl.incore(self, addr, length)

    def sync(self, addr: int, length: int, flags: int) -> None:
        """Write shared changes back. See memcntl.sync()."""
        memcntl.sync(self, addr, length, flags)

    def lock(self, addr: int, length: int, *, onfault: bool = False) -> None:
        """Lock a range into memory. See memcntl.lock()."""
        memcntl.lock(self, addr, length, onfault=onfault)

    def unlock(self, addr: int, length: int) -> None:
        """Unlock a range. See memcntl.unlock()."""
        memcntl.unlock(self, addr, length)

    def lockall(self, flags: int) -> None:
        """Lock everything, now or from now on. See memcntl.lockall()."""
        memcntl.lockall(self, flags)

    def unlockall(self) -> None:
        """Undo lockall() and every lock. See memcntl.unlockall()."""
        memcntl.unlockall(self)

    def setname(self, addr: int, length: int, name: bytes | None) -> None:
        """Name anonymous memory. See memcntl.setname()."""
        memcntl.setname(self, addr, length, name)

    def populate(self, start: int, end: int) -> None:
        """Fault a range in ahead of use; pages that cannot be are skipped."""
        memcntl.populate(self, start, end)


def _is_data(prot: int, flags: int) -> bool:
    """Tell whether such a mapping counts as data: private, writable, not a stack."""
    return bool(prot & PROT_WRITE) and not flags & (MAP_SHARED | MAP_GROWSDOWN)


def _is_reserved(prot: int, flags: int) -> bool:
    """Tell whether such a mapping has its memory reserved: private, writable, not on credit."""
    return bool(prot & PROT_WRITE) and not flags & (MAP_SHARED | MAP_NORESERVE)
