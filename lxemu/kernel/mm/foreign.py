"""Access to an address space from outside, past the protections of its pages (a debugger's).

Private memory can be written to though its owner may not: the page becomes the owner's own copy
first, so that no other user of the file sees the change. What is shared keeps its protection.
illumos: pr_usrio, as_fault with F_SOFTLOCK and a forced PROT_WRITE.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.mm.hat import PTE_BITS, PTE_P, PTE_PFN, SW_ANON
from lxemu.kernel.mm.mman import (
    MAP_SHARED,
    PAGEOFFSET,
    PAGESHIFT,
    PAGESIZE,
    PROT_EXEC,
    PROT_WRITE,
)
from lxemu.kernel.mm.seg import OutOfMemory, SegFault

if TYPE_CHECKING:
    from lxemu.kernel.mm.as_ import As
    from lxemu.kernel.mm.seg import Seg


def read(as_: As, addr: int, count: int) -> bytes:
    """Return up to `count` bytes from `addr`, fewer where nothing more is mapped."""
    parts: list[bytes] = []
    while count > 0:
        size = min(count, PAGESIZE - (addr & PAGEOFFSET))
        try:
            pfn = _page(as_, addr, write=False)
        except KernelError:
            break
        pa = (pfn << PAGESHIFT) + (addr & PAGEOFFSET)
        parts.append(as_.phys.ram[pa : pa + size])
        addr += size
        count -= size
    return b"".join(parts)


def write(as_: As, addr: int, data: bytes | memoryview) -> int:
    """Store `data` at `addr`; return how much of it, less where no more may be written."""
    done = 0
    while done < len(data):
        size = min(len(data) - done, PAGESIZE - (addr + done & PAGEOFFSET))
        try:
            pfn = _page(as_, addr + done, write=True)
        except KernelError:
            break
        as_.mmu.settle()
        pa = (pfn << PAGESHIFT) + (addr + done & PAGEOFFSET)
        as_.phys.ram[pa : pa + size] = data[done : done + size]
        if as_.phys.xframes[pfn]:
            as_.mmu.invalidate(pfn)
        done += size
    return done


def hide(as_: As, addr: int) -> None:
    """Make the next access to the page at `addr` fault, and that one only, if it is there."""
    if not as_.hat.probe(addr):
        return
    as_.phys.q[as_.hat.leaf(addr) + (addr >> PAGESHIFT & 511)] &= ~PTE_P
    if as_.mmu.live is as_.hat:
        as_.hat.flush()


def _page(as_: As, addr: int, *, write: bool) -> int:
    """Return the frame at `addr`, made private if it is to be written. EFAULT, ENOMEM."""
    seg = as_.segat(addr) if addr < as_.task_size else None
    if seg is None:
        raise KernelError(Errno.EFAULT)
    va = addr & ~PAGEOFFSET
    private = not seg.flags & MAP_SHARED
    try:
        if write and (seg.prot & PROT_WRITE or not private):
            if not seg.prot & PROT_WRITE:
                raise KernelError(Errno.EFAULT)
            seg.fault(va, write=True)
        elif not as_.hat.probe(va):
            if seg.prot:
                seg.fault(va, write=False)
            else:
                _hidden_page(as_, seg, va)
    except (SegFault, OutOfMemory) as err:
        raise KernelError(Errno.EFAULT) from err
    pfn = as_.hat.probe(va) >> PAGESHIFT & PTE_PFN
    if write and not seg.prot & PROT_WRITE:
        return _own_copy(as_, seg, va)
    return pfn


def _hidden_page(as_: As, seg: Seg, va: int) -> None:
    """Bring in a page of a mapping that its owner may not access at all."""
    phys = as_.phys
    if seg.cache is None:
        pfn, mark = phys.page_alloc(), SW_ANON
    else:
        index = (seg.offset + va - seg.start) >> PAGESHIFT
        found = seg.cache.pages.get(index)
        pfn, mark = seg.cache.get(index) if found is None else found, 0
        phys.refs[pfn] += 1
    as_.hat.memload(va, pfn, PTE_BITS[0] | mark)


def _own_copy(as_: As, seg: Seg, va: int) -> int:
    """Make the page at `va`, which its owner may not write, the owner's own."""
    phys = as_.phys
    if seg.amp is None:
        seg.own_amp()
    index = as_.hat.leaf(va) + (va >> PAGESHIFT & 511)
    pte = phys.q[index]
    pfn = pte >> PAGESHIFT & PTE_PFN
    if pte & SW_ANON and phys.refs[pfn] == 1:
        return pfn
    new = phys.page_copy(pfn)
    phys.q[index] = new << PAGESHIFT | PTE_BITS[seg.prot] | SW_ANON
    phys.page_rele(pfn)
    if seg.prot & PROT_EXEC:
        phys.xframes[new] = 1
    as_.hat.replaced()
    return new
