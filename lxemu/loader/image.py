"""Mapping an ELF image into an address space (fs/binfmt_elf.c: elf_load, load_elf_interp)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.mm.mman import (
    MAP_ANON,
    MAP_FIXED,
    MAP_NOREPLACE,
    MAP_NORESERVE,
    MAP_PRIVATE,
    PROT_EXEC,
    PROT_NONE,
    PROT_READ,
    PROT_WRITE,
)
from lxemu.loader.elf import PF_R, PF_W, PF_X, ElfImage, Phdr
from lxemu.loader.layout import PAGE, page_down, page_up

if TYPE_CHECKING:
    from lxemu.kernel.mm.as_ import As
    from lxemu.kernel.vfs.vnode import Vnode


def segment_prot(ph: Phdr, *, read_implies_exec: bool = False) -> int:
    """Return the PROT_* bits that the flags of a segment ask for."""
    prot = PROT_NONE
    if ph.flags & PF_R:
        prot |= PROT_READ
        if read_implies_exec:
            prot |= PROT_EXEC
    if ph.flags & PF_W:
        prot |= PROT_WRITE
    if ph.flags & PF_X:
        prot |= PROT_EXEC
    return prot


def map_image(
    as_: As,
    elf: ElfImage,
    vnode: Vnode,
    base: int | None,
    *,
    read_implies_exec: bool = False,
    replace: bool = False,
    name: object = None,
) -> int:
    """Map the segments of `elf` and return the load bias, what to add to its addresses.

    A dynamic image goes to `base`, or where the address space has room if that is None; `base`
    means nothing for one with fixed addresses. Preconditions: `elf.check_segments` has passed. With
    `replace`, as for an interpreter, it may take the place of what is mapped, and must have a
    segment. `name` is what /proc shows for the file. EINVAL, EEXIST when something is in the way,
    ENOMEM.
    """
    start, end = elf.extent()
    bias = 0
    if replace and end <= start:
        raise KernelError(Errno.EINVAL)
    if elf.dynamic and elf.loads:
        if end <= start:
            raise KernelError(Errno.EINVAL)
        if base is None:
            base = _find_room(as_, page_up(end) - start, elf.align)
        bias = base - start
    flags = MAP_PRIVATE | MAP_FIXED | (0 if replace else MAP_NOREPLACE)
    for ph in elf.loads:
        prot = segment_prot(ph, read_implies_exec=read_implies_exec)
        _map_segment(as_, ph, vnode, bias, prot, flags, name)
        # Later segments may share a page with an earlier one and take it over.
        flags = MAP_PRIVATE | MAP_FIXED
    return bias


def _find_room(as_: As, span: int, align: int) -> int:
    """Return an address where `span` bytes are free, a multiple of `align`."""
    extra = align if align > PAGE else 0
    addr = as_.map(0, span + extra, PROT_NONE, MAP_PRIVATE | MAP_ANON | MAP_NORESERVE, None, 0)
    as_.unmap(addr, span + extra)
    return (addr + extra - 1) & -align if extra else addr


def _map_segment(
    as_: As, ph: Phdr, vnode: Vnode, bias: int, prot: int, flags: int, name: object
) -> None:
    """Map one PT_LOAD: file pages, the zeroed rest of the last one, anonymous pages."""
    vaddr = ph.vaddr + bias
    first = page_down(vaddr)
    file_end = vaddr + ph.filesz
    end = vaddr + ph.memsz
    zero_from = first
    if ph.filesz:
        zero_from = page_up(file_end)
        offset = ph.offset - (vaddr - first)
        as_.map(first, zero_from - first, prot, flags, vnode, offset, name=name)
        # A segment that may not be written keeps what the file has after its end, as on a real
        # kernel.
        if end > file_end and file_end < zero_from and prot & PROT_WRITE:
            as_.copyout(file_end, bytes(zero_from - file_end))
    if page_up(end) > zero_from and ph.memsz > ph.filesz:
        rest = PROT_READ | PROT_WRITE | prot & PROT_EXEC
        anon = MAP_PRIVATE | MAP_FIXED | MAP_ANON
        as_.map(zero_from, page_up(end) - zero_from, rest, anon, None, 0)
