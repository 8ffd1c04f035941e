"""/proc/PID/smaps and smaps_rollup (Linux fs/proc/task_mmu.c): what each mapping has in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.mm.hat import PTE_PFN, SW_ANON
from lxemu.kernel.mm.mman import MAP_GROWSDOWN, MAP_NORESERVE, MAP_SHARED, PROT_WRITE
from lxemu.kernel.mm.seg import (
    SEG_DONTDUMP,
    SEG_DONTFORK,
    SEG_HUGEPAGE,
    SEG_LOCKED,
    SEG_LOCKONFAULT,
    SEG_MERGEABLE,
    SEG_NOHUGEPAGE,
    SEG_RANDOM,
    SEG_RESERVED,
    SEG_SEALED,
    SEG_SEQUENTIAL,
    SEG_WIPEONFORK,
)
from syscalls.fs.maps import NAME_COLUMN, seg_line

if TYPE_CHECKING:
    from lxemu.kernel.mm.seg import Seg
    from lxemu.kernel.proc import Proc

_KB = 4
#: Lines of a mapping, in order; the first three have no sum.
_ROWS = (
    "Size", "KernelPageSize", "MMUPageSize", "Rss", "Pss", "Pss_Dirty", "Shared_Clean",
    "Shared_Dirty", "Private_Clean", "Private_Dirty", "Referenced", "Anonymous", "KSM", "LazyFree",
    "AnonHugePages", "ShmemPmdMapped", "FilePmdMapped", "Shared_Hugetlb", "Private_Hugetlb",
    "Swap", "SwapPss", "Locked",
)  # fmt: skip
#: Lines that only the sum has, after the line of the same name without the suffix.
_ROLLUP = ("Pss_Anon", "Pss_File", "Pss_Shmem")
#: Flags in the order of their bits in vm_flags (show_smap_vma_flags).
_FLAGS = (
    (MAP_GROWSDOWN, "gd"),
    (SEG_LOCKED, "lo"),
    (SEG_SEQUENTIAL, "sr"),
    (SEG_RANDOM, "rr"),
    (SEG_DONTFORK, "dc"),
    (SEG_LOCKONFAULT, "lf"),
    (SEG_RESERVED, "ac"),
    (MAP_NORESERVE, "nr"),
    (SEG_WIPEONFORK, "wf"),
    (SEG_DONTDUMP, "dd"),
    (SEG_HUGEPAGE, "hg"),
    (SEG_NOHUGEPAGE, "nh"),
    (SEG_MERGEABLE, "mg"),
    (SEG_SEALED, "sl"),
)


def _pages(seg: Seg) -> dict[str, float]:
    """Return what the pages of a mapping add up to, in kB (smaps_account).

    How often a page is mapped is the number of its holders, less the one that is the file's.
    """
    sums = dict.fromkeys((*_ROWS, *_ROLLUP), 0.0)
    refs = seg.as_.phys.refs
    cache = seg.cache
    index = seg.indexes()[0]
    kind = "Pss_Shmem" if cache is not None and not cache.stored else "Pss_File"
    for va, pte in seg.as_.hat.entries(seg.start, seg.end):
        pfn = pte >> 12 & PTE_PFN
        anon = bool(pte & SW_ANON)
        mapped = max(1, refs[pfn] - (not anon))
        dirty = anon
        if not anon and cache is not None:
            dirty = not cache.stored or index + (va - seg.start >> 12) in cache.dirty
        share = _KB / mapped
        sums["Rss"] += _KB
        sums["Pss"] += share
        sums["Pss_Anon" if anon else kind] += share
        if dirty:
            sums["Pss_Dirty"] += share
        if anon:
            sums["Anonymous"] += _KB
        owner = "Private" if mapped == 1 else "Shared"
        sums[f"{owner}_{'Dirty' if dirty else 'Clean'}"] += _KB
    sums["Referenced"] = sums["Rss"]
    if seg.flags & SEG_LOCKED:
        sums["Locked"] = sums["Pss"]
    return sums


def _vm_flags(seg: Seg) -> str:
    shared = seg.flags & MAP_SHARED
    flags = [name for name, bit in (("rd", 1), ("wr", 2), ("ex", 4)) if seg.prot & bit]
    if shared and seg.maxprot & PROT_WRITE:
        flags.append("sh")
    flags += [name for name, bit in (("mr", 1), ("mw", 2), ("me", 4)) if seg.maxprot & bit]
    if shared:
        flags.append("ms")
    flags += [name for bit, name in _FLAGS if seg.flags & bit]
    return " ".join(flags)


def smaps(proc: Proc) -> bytes:
    """/proc/PID/smaps."""
    if proc.zombie:
        return b""
    out: list[bytes] = []
    for seg, info in zip(tuple(proc.as_.segs), proc.as_.maps(), strict=True):
        out.append(seg_line(info, proc))
        values = _pages(seg)
        values |= {"Size": seg.size >> 10, "KernelPageSize": _KB, "MMUPageSize": _KB}
        out += [f"{name + ':':<16}{int(values[name]):>8} kB".encode() for name in _ROWS]
        out += [b"THPeligible:           0", f"VmFlags: {_vm_flags(seg)} ".encode()]
    return b"\n".join(out) + b"\n" if out else b""


def smaps_rollup(proc: Proc) -> bytes:
    """/proc/PID/smaps_rollup: the sums."""
    if proc.zombie or not proc.as_.segs:
        return b""
    segs = proc.as_.segs
    total = dict.fromkeys((*_ROWS, *_ROLLUP), 0.0)
    for seg in segs:
        for name, value in _pages(seg).items():
            total[name] += value
    head = f"{segs[0].start:08x}-{segs[-1].end:08x} ---p 00000000 00:00 0 "
    rows = [name for name in _ROWS if "Page" not in name or name == "AnonHugePages"][1:]
    at = rows.index("Pss_Dirty") + 1
    rows[at:at] = _ROLLUP
    lines = [f"{name + ':':<16}{int(total[name]):>8} kB" for name in rows]
    return "\n".join([head.ljust(NAME_COLUMN) + "[rollup]", *lines, ""]).encode()
