"""Memory.

Brk(2), mmap(2), munmap(2), mprotect(2), mremap(2), madvise(2), mincore(2), msync(2), mlock(2).

The checks that concern memory alone are the address space's (`As`); those of files and of Linux's
own arguments are here, in the order of Linux mm/mmap.c.
"""

# ruff: noqa: ARG001 -- a handler has the C arguments, used or not

from __future__ import annotations

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.mm import memcntl, mman
from lxemu.kernel.mm.as_ import As
from lxemu.kernel.mm.seg import SEG_LOCKED, Seg
from lxemu.kernel.vfs.fcntl import FREAD, FWRITE, O_PATH
from lxemu.kernel.vfs.ops import is_owner
from lxemu.kernel.vfs.vnode import VFS_NOEXEC, VREG, VWRITE
from syscalls.abi import (
    Fd,
    HexInt,
    HexLong,
    In,
    Madvice,
    Mlock2Flags,
    MlockallFlags,
    MmapArgs,
    MmapFlags,
    MmapProt,
    MremapFlags,
    MsyncFlags,
    Out,
    OutBuf,
    Ptr,
    Size,
    UInt,
    ULong,
    syscall,
)
from syscalls.abi.xlat_mm import MAP_OTHER, MMAP
from syscalls.records.file import Cachestat, CachestatRange

PAGE = mman.PAGESIZE
#: personality(2): whatever is readable is executable.
READ_IMPLIES_EXEC = 0x0400000
_MAP_SHARED_VALIDATE = 3
_MAP_SYNC = 1 << 22


def page_up(value: int) -> int:
    """Round up to whole pages."""
    return (value + mman.PAGEOFFSET) & ~mman.PAGEOFFSET


@syscall
def brk(lwp: Lwp, addr: Ptr) -> int:
    """Move the end of the data segment; on failure the old end is the answer (brk(2))."""
    return lwp.as_.setbrk(addr)


def do_mmap(lwp: Lwp, addr: int, length: int, prot: int, flags: int, fd: int, offset: int) -> int:
    """Map memory; `prot` and `flags` are the kernel's.

    EBADF, EINVAL, ENOMEM, EACCES, EPERM, ENODEV.
    """
    kind = flags & mman.MAP_TYPE
    validate = 0
    if kind == _MAP_SHARED_VALIDATE:
        if flags & mman.MAP_ANON:
            raise KernelError(Errno.EINVAL)
        validate = flags & (_MAP_SYNC | mman.MAP_NOREPLACE | MAP_OTHER)
        flags = flags & ~mman.MAP_TYPE | mman.MAP_SHARED
    implied = prot & mman.PROT_READ and lwp.proc.personality & READ_IMPLIES_EXEC
    if flags & mman.MAP_ANON:
        if implied:
            prot |= mman.PROT_EXEC
        return lwp.as_.map(addr, length, prot, flags)
    file = lwp.proc.files.get(fd)
    if file.flags & O_PATH:
        raise KernelError(Errno.EBADF)
    if validate:
        raise KernelError(Errno.EOPNOTSUPP)
    vnode, noexec = file.vnode, file.name.flags & VFS_NOEXEC
    maxprot = mman.PROT_ALL
    if not file.flags & FREAD:
        maxprot = 0
    elif flags & mman.MAP_SHARED and not file.flags & FWRITE:
        maxprot &= ~mman.PROT_WRITE
    if noexec:
        if prot & mman.PROT_EXEC:
            raise KernelError(Errno.EPERM)
        maxprot &= ~mman.PROT_EXEC
    elif implied:
        prot |= mman.PROT_EXEC
    if vnode.map_anon:
        if not maxprot & mman.PROT_READ or prot & ~maxprot:
            raise KernelError(Errno.EACCES)
        flags |= mman.MAP_ANON
        return lwp.as_.map(addr, length, prot, flags, None, 0, maxprot=maxprot, name=file.name)
    maxprot = vnode.addmap(prot, flags, maxprot)
    name = file.name
    return lwp.as_.map(
        addr, length, prot, flags, vnode, offset, maxprot=maxprot, name=name, source=file
    )


@syscall
def mmap(
    lwp: Lwp, addr: Ptr, length: Size, prot: MmapProt, flags: MmapFlags, fd: Fd, offset: ULong
) -> int:
    """Map memory; the offset is in bytes and must be whole pages (mmap(2))."""
    if offset & mman.PAGEOFFSET:
        raise KernelError(Errno.EINVAL)
    return do_mmap(lwp, addr, length, prot, flags, fd, offset)


@syscall
def mmap2(
    lwp: Lwp, addr: Ptr, length: Size, prot: MmapProt, flags: MmapFlags, fd: Fd, pgoffset: ULong
) -> int:
    """Map memory; the offset is in pages of 4096 bytes (mmap2(2))."""
    return do_mmap(lwp, addr, length, prot, flags, fd, pgoffset * PAGE)


@syscall
def old_mmap(lwp: Lwp, args: In[MmapArgs]) -> int:
    """Map memory, the six arguments in a structure (the first i386 mmap)."""
    arg = args.get()
    if arg.offset & mman.PAGEOFFSET:
        raise KernelError(Errno.EINVAL)
    return do_mmap(lwp, arg.addr, arg.len, arg.prot, MMAP.from_lx[arg.flags], arg.fd, arg.offset)


@syscall
def munmap(lwp: Lwp, addr: Ptr, length: Size) -> int:
    """Remove mappings; EINVAL for an unaligned address or no length (munmap(2))."""
    lwp.as_.unmap(addr, length)
    return 0


@syscall
def mprotect(lwp: Lwp, addr: Ptr, length: Size, prot: MmapProt) -> int:
    """Set protections.

    EINVAL, ENOMEM for a hole, EACCES beyond what the file allows (mprotect(2)).
    """
    if prot & mman.PROT_READ and lwp.proc.personality & READ_IMPLIES_EXEC:
        prot |= mman.PROT_EXEC
    lwp.as_.setprot(addr, length, prot)
    return 0


@syscall
def pkey_mprotect(lwp: Lwp, addr: Ptr, length: Size, prot: MmapProt, pkey: Fd) -> int:
    """Set protections and a protection key (pkey_mprotect(2)).

    EINVAL for any key but "none" (-1).
    """
    if pkey != -1:
        raise KernelError(Errno.EINVAL)
    return mprotect(lwp, addr, length, prot)


@syscall
def pkey_alloc(lwp: Lwp, flags: ULong, access_rights: ULong) -> int:
    """Allocate a protection key (pkey_alloc(2)): the CPU has none, so ENOSPC; EINVAL."""
    if flags or access_rights & ~3:
        raise KernelError(Errno.EINVAL)
    raise KernelError(Errno.ENOSPC)


@syscall
def pkey_free(lwp: Lwp, pkey: Fd) -> int:
    """Free a protection key (pkey_free(2)): none was ever given out, so EINVAL."""
    raise KernelError(Errno.EINVAL)


@syscall
def mseal(lwp: Lwp, addr: Ptr, length: Size, flags: ULong) -> int:
    """Forbid changes of mappings for good (mseal(2)): EINVAL, ENOMEM for a hole."""
    if flags:
        raise KernelError(Errno.EINVAL)
    memcntl.seal(lwp.as_, addr, length)
    return 0


@syscall
def mremap(
    lwp: Lwp,
    old_address: Ptr,
    old_size: Size,
    new_size: Size,
    flags: MremapFlags,
    new_address: Ptr,
) -> int:
    """Resize or move a mapping (mremap(2)): EINVAL, EFAULT, ENOMEM, EAGAIN."""
    return lwp.as_.remap(old_address, old_size, new_size, flags, new_address)


@syscall
def madvise(lwp: Lwp, addr: Ptr, length: Size, advice: Madvice) -> int:
    """Advise about memory (madvise(2)): EINVAL, ENOMEM for a hole, EACCES, EPERM."""
    lwp.as_.advise(addr, length, advice)
    return 0


@syscall
def mincore(lwp: Lwp, addr: Ptr, length: Size, vec: OutBuf) -> int:
    """Tell which pages are resident (mincore(2)): EINVAL, ENOMEM for a hole, EFAULT."""
    if addr & mman.PAGEOFFSET:
        raise KernelError(Errno.EINVAL)
    size = page_up(length)
    if addr + size > lwp.as_.task_size:
        raise KernelError(Errno.ENOMEM)
    if vec >= lwp.as_.task_size:
        raise KernelError(Errno.EFAULT)
    if size:
        lwp.as_.copyout(vec, lwp.as_.incore(addr, size))
    return 0


@syscall
def msync(lwp: Lwp, addr: Ptr, length: Size, flags: MsyncFlags) -> int:
    """Write changed pages of shared mappings back (msync(2)): EINVAL, ENOMEM for a hole, EBUSY."""
    lwp.as_.sync(addr, length, flags)
    return 0


@syscall
def mlock(lwp: Lwp, addr: Ptr, length: Size) -> int:
    """Lock pages: EPERM, ENOMEM over the limit or for a hole (mlock(2)).

    The machine never pages out: to lock is to make resident and to count.
    """
    lwp.as_.lock(addr, length)
    return 0


@syscall
def mlock2(lwp: Lwp, addr: Ptr, length: Size, flags: Mlock2Flags) -> int:
    """Lock pages, with MLOCK_ONFAULT only those that are touched later (mlock2(2))."""
    lwp.as_.lock(addr, length, onfault=bool(flags))
    return 0


@syscall
def munlock(lwp: Lwp, addr: Ptr, length: Size) -> int:
    """Unlock pages; ENOMEM for a hole (munlock(2))."""
    lwp.as_.unlock(addr, length)
    return 0


@syscall
def mlockall(lwp: Lwp, flags: MlockallFlags) -> int:
    """Lock all pages, present or future: EINVAL, EPERM, ENOMEM (mlockall(2))."""
    lwp.as_.lockall(flags)
    return 0


@syscall
def munlockall(lwp: Lwp) -> int:
    """Unlock all pages (munlockall(2))."""
    lwp.as_.unlockall()
    return 0


@syscall
def remap_file_pages(
    lwp: Lwp, addr: Ptr, size: Size, prot: HexInt, pgoff: HexLong, flags: HexInt
) -> int:
    """Rearrange a shared file mapping by mapping a part of it anew (remap_file_pages(2)).

    EINVAL.
    """
    start, length = addr & ~mman.PAGEOFFSET, size & ~mman.PAGEOFFSET
    as_ = lwp.as_
    seg = as_.segat(start)
    if prot or not length or seg is None or not _one_mapping(as_, seg, start + length):
        raise KernelError(Errno.EINVAL)
    # A shared mapping of a file that is open for reading only does not count as one.
    if seg.vnode is None or not seg.flags & mman.MAP_SHARED or not seg.maxprot & mman.PROT_WRITE:
        raise KernelError(Errno.EINVAL)
    how = mman.MAP_SHARED | mman.MAP_FIXED | mman.MAP_POPULATE
    if seg.flags & SEG_LOCKED:
        how |= mman.MAP_LOCKED
    as_.map(
        start,
        length,
        seg.prot,
        how,
        seg.vnode,
        pgoff * PAGE,
        maxprot=seg.maxprot,
        name=seg.name,
        source=seg.source,
    )
    return 0


def _one_mapping(as_: As, seg: Seg, end: int) -> bool:
    """Tell whether *seg* reaches to *end*, with others of the same file and kind after it."""
    at = seg
    while at.end < end:
        upper = as_.segat(at.end)
        if upper is None or upper.source is not seg.source or upper.cache is not seg.cache:
            return False
        if (upper.flags, upper.prot, upper.maxprot) != (seg.flags, seg.prot, seg.maxprot):
            return False
        at = upper
    return True


@syscall
def cachestat(
    lwp: Lwp, fd: Fd, cstat_range: In[CachestatRange], cstat: Out[Cachestat], flags: UInt
) -> int:
    """Count the cached pages of a range of a file (cachestat(2)): EBADF, EFAULT, EPERM, EINVAL.

    A file in memory is its own storage, and no page of it is ever dirty.
    """
    file = lwp.proc.files.get(fd)
    wanted = cstat_range.get()
    if not file.flags & FWRITE and not is_owner(file.vnode, lwp.proc.cred):
        try:
            file.vnode.access(VWRITE, lwp.proc.cred)
        except KernelError:
            raise KernelError(Errno.EPERM) from None
    if flags:
        raise KernelError(Errno.EINVAL)
    first = wanted.off // PAGE
    last = (wanted.off + wanted.len - 1) // PAGE if wanted.len else 1 << 64
    cache = file.vnode.pages if file.vnode.type == VREG else None
    pages = [i for i in cache.pages if first <= i <= last] if cache is not None else []
    dirty = sum(i in cache.dirty for i in pages) if cache is not None and cache.stored else 0
    cstat.put(Cachestat(len(pages), dirty, 0, 0, 0))
    return 0
