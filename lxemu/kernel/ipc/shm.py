"""System V shared memory (illumos os/shm.c; shmget(2), shmop(2), shmctl(2)).

A segment is an object of pages (`ShmObject`) that address spaces map. Its attaches are counted by
the mappings themselves, so fork, exec, exit and a partial unmap need nothing of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lxemu.kernel.cred import PRIV_PROC_LOCK_MEMORY
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.ipc.ipc import IPC_R, IPC_W, IpcService, Kipc
from lxemu.kernel.lwp import curlwp
from lxemu.kernel.mm.mman import (
    MAP_FIXED,
    MAP_SHARED,
    PAGEOFFSET,
    PAGESHIFT,
    PAGESIZE,
    PROT_ALL,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
)
from lxemu.kernel.mm.pagecache import PageCache
from lxemu.kernel.rctl import RLIMIT_MEMLOCK

if TYPE_CHECKING:
    from lxemu.kernel.cred import Cred
    from lxemu.kernel.mm.seg import Seg
    from lxemu.kernel.proc import Proc

#: Flag of shmget (ours): promise no memory.
SHM_NORESERVE = 0o10000
# Flags of shmat (sys/shm.h); SHM_REMAP and SHM_EXEC are ours.
SHM_RDONLY = 0o10000
SHM_RND = 0o20000
SHM_REMAP = 0o40000
SHM_EXEC = 0o100000
# Bits above the mode (ours): to be destroyed with the last attach; locked in memory.
SHM_DEST = 0o1000
SHM_LOCKED = 0o2000

#: Attach addresses are multiples of this.
SHMLBA = PAGESIZE
SHMMIN = 1
_NO_LIMIT = (1 << 64) - 1 - (1 << 24)
_MAX_SIZE = (1 << 63) - 1


class ShmObject:
    """What the mappings of a segment map (the anon_map behind a kshmid_t)."""

    __slots__ = ("__weakref__", "nodeid", "pages", "segment")

    def __init__(self, segment: ShmSegment, pages: PageCache) -> None:
        self.pages = pages
        self.segment = segment
        #: What a listing of mappings shows as the file's number.
        self.nodeid = 0


class ShmSegment(Kipc):
    """A segment (kshmid_t). size in bytes; times in s; pids of its maker and of its last user."""

    __slots__ = ("atime", "cpid", "ctime", "dtime", "lpid", "name", "object", "service", "size")

    def __init__(self, service: ShmService, proc: Proc, key: int, mode: int, size: int) -> None:
        super().__init__(key, mode, proc.cred)
        self.service = service
        self.size = size
        self.name = b"/SYSV%08x (deleted)" % (key & 0xFFFFFFFF)
        pages = PageCache(service.machine.phys, size=(size + PAGEOFFSET) & ~PAGEOFFSET)
        pages.watch = self
        self.object = ShmObject(self, pages)
        self.cpid = proc.pid
        self.lpid = 0
        self.atime = self.dtime = 0
        self.ctime = service.now()

    @property
    def npages(self) -> int:
        """Length in pages."""
        return (self.size + PAGEOFFSET) >> PAGESHIFT

    @property
    def nattch(self) -> int:
        """Number of mappings."""
        return len(self.object.pages.mappers)

    def mapped(self, _seg: Seg) -> None:
        """Note a new mapping: an attach, a fork, or a part of one that was split."""
        self.atime = self.service.now()
        self.lpid = _current_pid(self.lpid)

    def unmapped(self, _seg: Seg) -> None:
        """Note the end of a mapping; the last one may be the end of the segment."""
        self.dtime = self.service.now()
        self.lpid = _current_pid(self.lpid)
        if not self.nattch and (self.mode & SHM_DEST or self.service.rmid_forced):
            self.service.destroy(self)


def _current_pid(otherwise: int) -> int:
    try:
        return curlwp().proc.pid
    except AttributeError:
        return otherwise


class ShmService(IpcService[ShmSegment]):
    """All segments of a space.

    shmmax: bytes of one segment; shmall: pages of all; shmmni: segments. rmid_forced: a segment
    goes when nobody has it attached.
    """

    def __init__(self, machine: Any) -> None:
        super().__init__(machine, lambda: self.shmmni)
        self.shmmax = _NO_LIMIT
        self.shmall = _NO_LIMIT
        self.shmmni = 4096
        self.rmid_forced = False
        self.total = 0

    @property
    def resident(self) -> int:
        """Pages of all segments that are in memory."""
        return sum(found.object.pages.npages for found in self)

    def shmget(self, proc: Proc, key: int, size: int, flags: int, *, huge: bool = False) -> int:
        """Find or make a segment; return its id.

        EINVAL, ENOENT, EEXIST, EACCES, ENOSPC; ENOMEM also for huge pages, of which there are none.
        """

        def make() -> ShmSegment:
            npages = (size + PAGEOFFSET) >> PAGESHIFT
            if not SHMMIN <= size <= self.shmmax:
                raise KernelError(Errno.EINVAL)
            if self.total + npages > self.shmall or size + PAGEOFFSET >> 64:
                raise KernelError(Errno.ENOSPC)
            if npages << PAGESHIFT > _MAX_SIZE:
                raise KernelError(Errno.EINVAL)
            if huge or (not flags & SHM_NORESERVE and npages > self.machine.phys.nframes):
                raise KernelError(Errno.ENOMEM)
            return ShmSegment(self, proc, key, flags, size)

        def check(found: ShmSegment) -> None:
            if size > found.size:
                raise KernelError(Errno.EINVAL)

        known = len(self)
        found = self.get(key, flags, proc.cred, make, check)
        if len(self) != known:
            self.total += found.npages
            found.object.nodeid = found.id
        return found.id

    def destroy(self, found: ShmSegment) -> None:
        """Forget a segment that nobody has attached; its memory goes with its last user."""
        if not found.gone:
            self.total -= found.npages
            self.remove(found)
            found.object.pages.watch = None  # or the two would keep each other alive

    def shmat(self, proc: Proc, ident: int, addr: int, flags: int) -> int:
        """Attach a segment; return its address. shmop(2). EINVAL, EACCES, ENOMEM."""
        if addr & (SHMLBA - 1):
            if not flags & SHM_RND:
                raise KernelError(Errno.EINVAL)
            addr &= -SHMLBA
        if not addr and flags & SHM_REMAP:
            raise KernelError(Errno.EINVAL)
        want, prot = IPC_R, PROT_READ
        if not flags & SHM_RDONLY:
            want, prot = IPC_R | IPC_W, PROT_READ | PROT_WRITE
        maxprot = prot | PROT_EXEC
        if flags & SHM_EXEC:
            want, prot = want | 0o111, prot | PROT_EXEC
        found = self.lookup(ident)
        found.access(want, proc.cred)
        as_ = proc.as_
        fixed = 0
        if addr:
            fixed = MAP_FIXED
            if not flags & SHM_REMAP and as_.overlaps(addr, addr + found.size):
                raise KernelError(Errno.EINVAL)
        # The object is held here: a segment that waits for its end must not go meanwhile.
        item = found.object
        return as_.map(
            addr,
            found.size,
            prot,
            MAP_SHARED | fixed,
            item,
            0,
            maxprot=maxprot & PROT_ALL,
            name=found.name,
        )

    @staticmethod
    def shmdt(proc: Proc, addr: int) -> None:
        """Detach what shmat mapped at *addr*, in however many pieces it is now. EINVAL."""
        if addr & PAGEOFFSET:
            raise KernelError(Errno.EINVAL)
        as_ = proc.as_
        item = None
        for seg in as_.segs[as_.first(addr) :]:
            if item is not None and seg.end - addr > item.pages.size:
                break
            theirs = seg.vnode
            if not isinstance(theirs, ShmObject) or seg.start - addr != seg.offset:
                continue
            if item is None:
                item = theirs
            if theirs is item:
                as_.unmap(seg.start, seg.size)
        if item is None:
            raise KernelError(Errno.EINVAL)

    # -- shmctl ----------------------------------------------------------------------------------

    def stat(self, proc: Proc, found: ShmSegment) -> ShmSegment:
        """Return a segment that may be looked at. EACCES."""
        found.access(IPC_R, proc.cred)
        return found

    def set(self, proc: Proc, ident: int, perm: tuple[int, int, int]) -> None:
        """Change owner, group and mode. shmctl(2), IPC_SET. EINVAL, EPERM."""
        found = self.lookup(ident)
        found.own(proc.cred)
        found.set_owner(*perm)
        found.ctime = self.now()

    def rmid(self, proc: Proc, ident: int) -> None:
        """Remove a segment, once nobody has it attached any more. EINVAL, EPERM."""
        found = self.lookup(ident)
        found.own(proc.cred)
        if found.nattch:
            found.mode |= SHM_DEST
            self.hide(found)
        else:
            self.destroy(found)

    def lock(self, proc: Proc, ident: int, *, on: bool) -> None:
        """Lock a segment into memory, where all of it is anyway, or unlock it.

        EINVAL, EPERM, ENOMEM.
        """
        found = self.lookup(ident)
        cred: Cred = proc.cred
        limit = proc.rctls.soft(RLIMIT_MEMLOCK)
        privileged = cred.crhas(PRIV_PROC_LOCK_MEMORY)
        refused = cred.euid not in (found.uid, found.cuid) or (on and not limit)
        if refused and not privileged:
            raise KernelError(Errno.EPERM)
        if on and not found.mode & SHM_LOCKED:
            locked = sum(s.npages for s in self if s.mode & SHM_LOCKED) + found.npages
            if not privileged and locked << PAGESHIFT > limit:
                raise KernelError(Errno.ENOMEM)
            found.mode |= SHM_LOCKED
        elif not on:
            found.mode &= ~SHM_LOCKED

    def set_forced(self, on: bool) -> None:
        """Set rmid_forced; what nobody has attached goes at once."""
        self.rmid_forced = on
        if on:
            for found in list(self):
                if not found.nattch:
                    self.destroy(found)
