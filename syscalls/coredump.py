"""Core files: what a process leaves that a signal has killed (Linux fs/coredump.c, binfmt_elf.c).

An ELF file without sections: the notes of the process and of each thread, the one that died first,
then the memory. A page that was never touched is a hole in the file. The file's size stays within
RLIMIT_CORE by being cut off there, as Linux does it.
"""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING, Any, Final

from lxemu.kernel.errno import KernelError
from lxemu.kernel.mm import foreign
from lxemu.kernel.mm.mman import MAP_SHARED, PAGESIZE, PROT_READ
from lxemu.kernel.mm.seg import SEG_DONTDUMP
from lxemu.kernel.rctl import RLIMIT_CORE
from lxemu.kernel.vfs.fcntl import O_CREAT, O_EXCL, O_NOFOLLOW, O_RDWR
from lxemu.kernel.vfs.ops import vn_open, vn_remove
from lxemu.kernel.vfs.vnode import VREG, Vnode
from syscalls import regsets
from syscalls.abi.model import ILP32, LP64
from syscalls.fs.maps import file_name, file_path, root_of
from syscalls.layouts.signal import SIGINFO
from syscalls.signum import TO_LX, sigset_to_lx

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.mm.as_ import As
    from lxemu.kernel.mm.seg import Seg
    from lxemu.kernel.proc import Proc
    from lxemu.kernel.signal import SigInfo
    from lxemu.kernel.vfs.file import File

#: A smaller limit makes no core file at all.
MIN_CORE: Final = PAGESIZE
#: Bits of /proc/PID/coredump_filter.
ANON_PRIVATE, ANON_SHARED, MAPPED_PRIVATE, MAPPED_SHARED, ELF_HEADERS = 1, 2, 4, 8, 16
DEFAULT_FILTER: Final = 0x33
#: What the filter can hold (MMF_DUMP_FILTER_MASK).
FILTER_MASK: Final = 0x1FF

NT_PRPSINFO, NT_AUXV, NT_SIGINFO, NT_FILE = 3, 6, 0x53494749, 0x46494C45
_CORE_NAMES: Final = frozenset({regsets.NT_PRSTATUS, regsets.NT_PRFPREG})
_PT_LOAD, _PT_NOTE = 1, 4
_PN_XNUM: Final = 0xFFFF
_MAX_NAME: Final = 128
_CHUNK: Final = 1 << 20


# -- the name -----------------------------------------------------------------------------------


def core_name(lwp: Lwp, info: SigInfo, pattern: bytes, *, uses_pid: bool) -> bytes:
    """Return the path that the pattern gives (core(5)); an unknown % is dropped with its letter."""
    proc, cred = lwp.proc, lwp.proc.cred
    exe = file_path(proc.exe, root_of(proc)) if proc.exe is not None else b""
    values: dict[int, Any] = {
        ord("p"): proc.pid,
        ord("P"): proc.pid,
        ord("i"): lwp.tid,
        ord("I"): lwp.tid,
        ord("u"): cred.ruid,
        ord("g"): cred.rgid,
        ord("d"): proc.dumpable,
        ord("s"): TO_LX[info.signo],
        ord("t"): proc.machine.clock.realtime() // 1_000_000_000,
        ord("h"): proc.zone.nodename,
        ord("e"): lwp.name,
        ord("f"): exe.rpartition(b"/")[2],
        ord("E"): exe,
        ord("c"): proc.rctls.soft(RLIMIT_CORE),
        ord("C"): 0,
        ord("%"): b"%",
    }
    out = bytearray()
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char != ord("%"):
            out.append(char)
            continue
        if at == len(pattern):
            break
        value = values.get(pattern[at], b"")
        at += 1
        # A name must not lead anywhere else.
        out += value.replace(b"/", b"!") if isinstance(value, bytes) else b"%d" % value
    if uses_pid and b"%p" not in pattern:
        out += b".%d" % proc.pid
    return bytes(out)


def _create(lwp: Lwp, info: SigInfo) -> File | None:
    """Make the file, in the place of one that is there; None where it must not be."""
    proc = lwp.proc
    zone = proc.zone
    path = core_name(lwp, info, zone.core_pattern, uses_pid=bool(zone.core_uses_pid))
    if not path:
        return None
    cwd = proc.fs.cwd
    with contextlib.suppress(KernelError):  # there is none, or the open says why not
        vn_remove(proc, cwd, path)
    file = vn_open(proc, cwd, path, O_CREAT | O_RDWR | O_EXCL | O_NOFOLLOW, 0o600)
    if file.vnode.type != VREG:
        file.rele()
        return None
    return file


def dump(lwp: Lwp, info: SigInfo) -> bool:
    """Write the core file of the process of `lwp`, which dies by `info`; False if there is none."""
    proc = lwp.proc
    limit = proc.rctls.soft(RLIMIT_CORE)
    if limit < MIN_CORE or proc.dumpable != 1:
        return False
    try:
        file = _create(lwp, info)
        if file is None:
            return False
        try:
            _Writer(file, limit).write(lwp, info)
        finally:
            file.rele()
    except KernelError:
        return False
    return True


# -- notes --------------------------------------------------------------------------------------


def _note(name: bytes, kind: int, data: bytes) -> bytes:
    """Return one note: name and contents, each padded to 4 bytes."""
    head = struct.pack("<III", len(name) + 1, len(data), kind)
    return head + (name + b"\0").ljust(8, b"\0") + data.ljust(-(-len(data) // 4) * 4, b"\0")


def _times(proc: Proc, own: int) -> list[int]:
    """Return user, system and children's times as seconds and microseconds."""
    out: list[int] = []
    gone = proc.child_usage
    for ns in (own, proc.usage.stime, gone.utime, gone.stime):
        out += divmod(ns // 1000, 1_000_000)
    return out


def prstatus(lwp: Lwp, info: SigInfo) -> bytes:
    """Return struct elf_prstatus of a thread."""
    proc, bits = lwp.proc, lwp.cpu.bits
    word = "Q" if bits == 64 else "I"
    mask = (1 << bits) - 1
    signo = TO_LX[info.signo]
    pending = sigset_to_lx(lwp.sigq.pending) & mask
    blocked = sigset_to_lx(lwp.sigmask) & mask
    head = struct.pack(f"<3ih2x2{word}", signo, 0, 0, signo, pending, blocked)
    ids = struct.pack("<4i", lwp.tid, proc.ppid, proc.pgrp.pgid, proc.session.sid)
    times = struct.pack(f"<8{word.lower()}", *_times(proc, lwp.cpu_time()))
    tail = struct.pack("<i4x" if bits == 64 else "<i", 1)
    return head + ids + times + regsets.pack_regs(lwp, bits) + tail


def prpsinfo(proc: Proc, bits: int) -> bytes:
    """Return struct elf_prpsinfo: names and arguments of the process."""
    args = b" ".join(proc.psargs)[:79].replace(b"\0", b" ")
    nice = proc.nice & 0xFF
    uid, gid = proc.cred.ruid, proc.cred.rgid
    if bits == 64:
        head = struct.pack("<BBBB4xQII", 0, ord("R"), 0, nice, 0x400600, uid, gid)
    else:
        head = struct.pack(
            "<BBBBIHH", 0, ord("R"), 0, nice, 0x400600, min(uid, 65534), min(gid, 65534)
        )
    ids = struct.pack("<4i", proc.pid, proc.ppid, proc.pgrp.pgid, proc.session.sid)
    return head + ids + proc.comm[:15].ljust(16, b"\0") + args.ljust(80, b"\0")


def _files(proc: Proc, bits: int) -> bytes:
    """Return the contents of NT_FILE: which file is mapped where."""
    entries: list[int] = []
    names: list[bytes] = []
    for seg in proc.as_.maps():
        if not isinstance(seg.vnode, Vnode):
            continue
        entries += [seg.start, seg.end, seg.offset // PAGESIZE]
        names.append(file_name(seg, proc) + b"\0")
    words = [len(names), PAGESIZE, *entries]
    return struct.pack(f"<{len(words)}{'Q' if bits == 64 else 'I'}", *words) + b"".join(names)


def _thread_sets(lwp: Lwp) -> bytes:
    """Return the notes of a thread beside its status: what is not in the general registers."""
    out = b""
    for kind, regset in regsets.REGSETS[lwp.cpu.bits].items():
        if kind != regsets.NT_PRSTATUS:
            name = b"CORE" if kind in _CORE_NAMES else b"LINUX"
            out += _note(name, kind, regset.get(lwp))
    return out


def notes(lwp: Lwp, info: SigInfo) -> bytes:
    """Return all notes; the thread that dies is the first, as debuggers expect."""
    proc, bits = lwp.proc, lwp.cpu.bits
    model = LP64 if bits == 64 else ILP32
    auxv: bytes = proc.brand_data.auxv
    out = _note(b"CORE", regsets.NT_PRSTATUS, prstatus(lwp, info))
    out += _note(b"CORE", NT_PRPSINFO, prpsinfo(proc, bits))
    out += _note(b"CORE", NT_SIGINFO, SIGINFO.codec(model).pack(info))
    out += _note(b"CORE", NT_AUXV, auxv)
    out += _note(b"CORE", NT_FILE, _files(proc, bits))
    out += _thread_sets(lwp)
    for other in proc.lwps:
        if other is not lwp:
            out += _note(b"CORE", regsets.NT_PRSTATUS, prstatus(other, info))
            out += _thread_sets(other)
    return out


# -- memory -------------------------------------------------------------------------------------


def dump_size(seg: Seg, wanted: int) -> int:
    """Return how much of a mapping the core file holds (vma_dump_size)."""
    whole = seg.end - seg.start
    if seg.name in (b"[vdso]", b"[vvar]"):
        return whole
    if seg.flags & SEG_DONTDUMP:
        return 0
    stored = isinstance(seg.vnode, Vnode)
    if seg.flags & MAP_SHARED:
        unlinked = not stored or not seg.vnode.getattr().nlink  # type: ignore[union-attr]
        return whole if wanted & (ANON_SHARED if unlinked else MAPPED_SHARED) else 0
    if (seg.amp is not None or not stored) and wanted & ANON_PRIVATE:
        return whole
    if not isinstance(seg.vnode, Vnode):
        return 0
    if wanted & MAPPED_PRIVATE:
        return whole
    if wanted & ELF_HEADERS and not seg.offset and seg.prot & PROT_READ:
        runs = seg.vnode.getattr().mode & 0o111
        if runs or foreign.read(seg.as_, seg.start, 4) == b"\x7fELF":
            return PAGESIZE
    return 0


def _runs(as_: As, seg: Seg, size: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of a mapping that hold something, at most a chunk at a time."""
    probe = as_.hat.probe
    start = None
    for va in range(seg.start, seg.start + size, PAGESIZE):
        there = seg.cache is not None or probe(va)
        if start is not None and (not there or va - start >= _CHUNK):
            yield start, va
            start = None
        if there and start is None:
            start = va
    if start is not None:
        yield start, seg.start + size


class _Writer:
    """Writes one core file from its beginning to its end."""

    def __init__(self, file: File, limit: int) -> None:
        self.file = file
        self.left = limit
        self.end = 0

    def _put(self, at: int, data: bytes) -> bool:
        """Write at a place; False when the limit is reached."""
        data = data[: self.left]
        if data:
            self.file.pwrite(data, at)
        self.left -= len(data)
        self.end = max(self.end, at + len(data))
        return self.left > 0

    def write(self, lwp: Lwp, info: SigInfo) -> None:
        """Write headers, notes and memory."""
        proc, bits = lwp.proc, lwp.cpu.bits
        as_, wanted = proc.as_, proc.core_filter
        segs = [(seg, dump_size(seg, wanted)) for seg in as_.segs]
        note = notes(lwp, info)
        ehsize, phsize, shsize = (64, 56, 64) if bits == 64 else (52, 32, 40)
        count = len(segs) + 1
        extended = count >= _PN_XNUM
        start = ehsize + count * phsize
        data_at = -(-(start + len(note)) // PAGESIZE) * PAGESIZE
        section_at = data_at + sum(size for _, size in segs) if extended else 0
        head = _elf_header(bits, min(count, _PN_XNUM), section_at, ehsize, phsize, shsize)
        head += _segment(bits, _PT_NOTE, 0, start, 0, len(note), 0, 0)
        at = data_at
        for seg, size in segs:
            flags = (4 if seg.prot & 1 else 0) | seg.prot & 2 | (1 if seg.prot & 4 else 0)
            head += _segment(bits, _PT_LOAD, seg.start, at, flags, size, seg.size, PAGESIZE)
            at += size
        ok = self._put(0, head + note)
        at = data_at
        for seg, size in segs:
            if not ok:
                return
            ok = self._put_segment(as_, seg, size, at)
            at += size
        if ok and self.end < at:
            self.file.vnode.truncate(at)
        if ok and extended:
            self._put(section_at, _count_section(bits, count))

    def _put_segment(self, as_: As, seg: Seg, size: int, at: int) -> bool:
        for first, last in _runs(as_, seg, size):
            data = foreign.read(as_, first, last - first)
            if data and not self._put(at + first - seg.start, data):
                return False
        return True


def _elf_header(
    bits: int, count: int, section_at: int, ehsize: int, phsize: int, shsize: int
) -> bytes:
    wide = bits == 64
    ident = b"\x7fELF" + bytes((2 if wide else 1, 1, 1)).ljust(12, b"\0")
    return ident + struct.pack(
        "<HHIQQQIHHHHHH" if wide else "<HHIIIIIHHHHHH",
        4,  # ET_CORE
        62 if wide else 3,
        1,
        0,
        ehsize,
        section_at,
        0,
        ehsize,
        phsize,
        count,
        shsize if section_at else 0,
        1 if section_at else 0,
        0,
    )


def _segment(
    bits: int, kind: int, addr: int, at: int, flags: int, filesz: int, memsz: int, align: int
) -> bytes:
    if bits == 64:
        return struct.pack("<IIQQQQQQ", kind, flags, at, addr, 0, filesz, memsz, align)
    return struct.pack("<8I", kind, at, addr, 0, filesz, memsz, flags, align)


def _count_section(bits: int, count: int) -> bytes:
    """Return the section header that holds the number of segments when it is too large."""
    if bits == 64:
        return struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, 0, 0, count, 0, 0)
    return struct.pack("<10I", 0, 0, 0, 0, 0, 0, 0, count, 0, 0)
