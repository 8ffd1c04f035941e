"""The same calls at the same addresses in this process and in an As have the same outcome.

One thing is not modelled: natively two neighbours that were stored to apart, and came together
later, may stay two (each has an anon_vma of its own). Maps are compared with such joints closed.
"""

from __future__ import annotations

import ctypes
import errno as host_errno
import os
import random
from pathlib import Path

import pytest

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.mm import mman
from lxemu.kernel.mm.as_ import As
from lxemu.kernel.mm.mman import MAP_ANON, MAP_FIXED, MAP_NOREPLACE, MAP_NORESERVE, MAP_PRIVATE

from .machine import Object, P

pytestmark = pytest.mark.native("x86_64")

BASE = 0x2000_0000_0000
PAGES = 40
LX_FIXED, LX_ANON, LX_NORESERVE, LX_NOREPLACE = 0x10, 0x20, 0x4000, 0x10_0000
ADVICE = [
    (0, mman.MADV_NORMAL),
    (3, mman.MADV_WILLNEED),
    (4, mman.MADV_PURGE),
    (9, mman.MADV_REMOVE),
    (10, mman.MADV_DONTFORK),
    (11, mman.MADV_DOFORK),
    (16, mman.MADV_DONTDUMP),
    (17, mman.MADV_DODUMP),
    (18, mman.MADV_WIPEONFORK),
    (19, mman.MADV_KEEPONFORK),
    (22, mman.MADV_POPULATE_READ),
    (23, mman.MADV_POPULATE_WRITE),
    (99, 12345),
]


class Native:
    """The calls of the host, and what it says of the region."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        word, number = ctypes.c_ulong, ctypes.c_int
        for name, types in {
            "mmap": [word, word, number, number, number, ctypes.c_long],
            "munmap": [word, word],
            "mprotect": [word, word, number],
            "mremap": [word, word, word, number, word],
            "madvise": [word, word, number],
            "msync": [word, word, number],
            "mlock": [word, word],
            "munlock": [word, word],
            "mincore": [word, word, ctypes.c_void_p],
            "read": [number, word, word],
        }.items():
            function = getattr(libc, name)
            function.restype = ctypes.c_long if name in ("mmap", "mremap", "read") else number
            function.argtypes = types
        self.libc = libc
        self.mem = os.open("/proc/self/mem", os.O_RDONLY)
        self.file = os.memfd_create("native")
        self.source = os.memfd_create("source")

    def call(self, name: str, *args: object) -> tuple[int, str]:
        """Return (result, error name)."""
        ctypes.set_errno(0)
        result = getattr(self.libc, name)(*args)
        if result != -1:
            return result, ""
        code = host_errno.errorcode[ctypes.get_errno()]
        return -1, {"ENOTSUP": "EOPNOTSUPP"}.get(code, code)

    def store(self, addr: int, byte: int) -> str:
        """Store a byte where that may fail; return the error name."""
        os.pwrite(self.source, bytes((byte,)), 0)
        os.lseek(self.source, 0, os.SEEK_SET)
        return self.call("read", self.source, addr, 1)[1]

    def load(self, addr: int) -> int | None:
        try:
            return os.pread(self.mem, 1, addr)[0]
        except OSError:
            return None

    def reset(self) -> None:
        os.ftruncate(self.file, 0)
        os.ftruncate(self.file, 64 * P)
        self.call("munmap", BASE - P, (PAGES + 2) * P)
        for addr in (BASE - P, BASE + PAGES * P):  # nothing grows out of the region
            self.call("mmap", addr, P, 0, 2 | LX_FIXED | LX_ANON | LX_NORESERVE, -1, 0)

    def maps(self) -> list[tuple[int, int, str, int]]:
        found = []
        for line in Path("/proc/self/maps").read_text().splitlines():
            field = line.split(None, 5)
            start, end = (int(x, 16) for x in field[0].split("-"))
            file = len(field) > 5 and "memfd:native" in field[5]
            found.append((start, end, field[1], int(field[2], 16) if file else 0))
        return found

    def close(self) -> None:
        self.call("munmap", BASE - P, (PAGES + 2) * P)
        for fd in (self.mem, self.file, self.source):
            os.close(fd)


@pytest.fixture
def native():
    host = Native()
    yield host
    host.close()


def normal(maps: list[tuple[int, int, str, int]]) -> list[tuple[int, int, str, int]]:
    """Cut to the region, in pages, and close joints between neighbours of a kind."""
    out: list[tuple[int, int, str, int]] = []
    for start, end, perms, offset in maps:
        first = (max(start, BASE) - BASE) // P
        last = (min(end, BASE + PAGES * P) - BASE) // P
        if first >= last:
            continue
        if out and out[-1][1:3] == (first, perms):
            before = out[-1]
            file = before[3] or offset
            if perms[3] == "p" and (not file or before[3] + (before[1] - before[0]) * P == offset):
                out[-1] = (before[0], last, perms, before[3])
                continue
        out.append((first, last, perms, offset))
    return out


def ours(as_: As, vnode: Object) -> list[tuple[int, int, str, int]]:
    return [
        (
            s.start,
            s.end,
            "".join(c if s.prot & bit else "-" for c, bit in (("r", 1), ("w", 2), ("x", 4)))
            + ("s" if s.flags & 1 else "p"),
            s.offset if s.vnode is vnode else 0,
        )
        for s in as_.maps()
    ]


def attempt(call, *args) -> tuple[int, str]:
    try:
        result = call(*args)
    except KernelError as err:
        return -1, err.errno.name
    return (result if isinstance(result, int) else 0), ""


def step(rnd: random.Random, native: Native, as_: As, vnode: Object) -> tuple[object, object]:
    """Make one random call both ways; return the two outcomes."""
    page = rnd.randrange(PAGES)
    count = rnd.randint(1, min(10, PAGES - page))
    addr = BASE + page * P + (rnd.choice((1, 100)) if rnd.random() < 0.03 else 0)
    size = rnd.choice((0, count * P - 5)) if rnd.random() < 0.05 else count * P
    prot = rnd.choice((0, 1, 3, 3, 3, 5, 7, 2, 4))
    kind = rnd.choice(("anon", "anon", "file", "munmap", "mprotect", "mremap", "madvise", "other"))
    if kind == "anon":
        sharing, careful = rnd.choice((1, 2, 2, 2)), rnd.random() < 0.3
        fixed = LX_NOREPLACE if careful else LX_FIXED
        flags = sharing | MAP_ANON | MAP_NORESERVE | (MAP_NOREPLACE if careful else MAP_FIXED)
        lx_flags = sharing | LX_ANON | LX_NORESERVE | fixed
        return (
            native.call("mmap", addr, size, prot, lx_flags, -1, 0),
            attempt(as_.map, addr, size, prot, flags),
        )
    if kind == "file":
        sharing, offset = rnd.choice((1, 2)), rnd.randrange(20) * P
        return (
            native.call("mmap", addr, size, prot, sharing | LX_FIXED, native.file, offset),
            attempt(as_.map, addr, size, prot, sharing | MAP_FIXED, vnode, offset),
        )
    if kind == "munmap":
        return native.call("munmap", addr, size), attempt(as_.unmap, addr, size)
    if kind == "mprotect":
        return native.call("mprotect", addr, size, prot), attempt(as_.setprot, addr, size, prot)
    if kind == "mremap":
        flags = rnd.choice((0, 3, 3, 7, 2))
        size = 0 if rnd.random() < 0.1 else size
        new = size if flags & 4 else rnd.randrange(8) * P
        to = BASE + rnd.randrange(PAGES - 10) * P
        args = (addr, size, new, flags, to)
        return native.call("mremap", *args), attempt(as_.remap, *args)
    if kind == "madvise":
        theirs, mine = rnd.choice(ADVICE)
        return native.call("madvise", addr, size, theirs), attempt(as_.advise, addr, size, mine)
    which = rnd.randrange(4)
    if which == 0:
        flags = rnd.choice((1, 2, 4, 5, 6, 8))
        return native.call("msync", addr, size, flags), attempt(as_.sync, addr, size, flags)
    if which == 1:
        vec = ctypes.create_string_buffer(PAGES)
        return native.call("mincore", addr, size, vec), attempt(as_.incore, addr, size)
    if which == 2:
        result = native.call("mlock", addr, size), attempt(as_.lock, addr, size)
        for va in range(BASE, BASE + PAGES * P, P):  # page by page: a hole does not matter
            assert native.call("munlock", va, P) == attempt(as_.unlock, va, P)
        return result
    byte = rnd.randrange(256)
    return native.store(addr, byte), attempt(as_.copyout, addr, bytes((byte,)))[1]


@pytest.mark.parametrize("seed", range(25))
def test_same_calls_same_outcome(phys, native, seed):
    rnd = random.Random(seed)
    native.reset()
    vnode = Object(phys, 64 * P)
    as_ = As(phys)
    for addr in (BASE - P, BASE + PAGES * P):
        as_.map(addr, P, 0, MAP_PRIVATE | MAP_ANON | MAP_FIXED | MAP_NORESERVE)
    for _ in range(60):
        theirs, mine = step(rnd, native, as_, vnode)
        assert mine == theirs
        assert normal(ours(as_, vnode)) == normal(native.maps())
    for page in range(PAGES):
        addr = BASE + page * P
        if as_.readable_prefix(addr, 1):
            assert as_.load_u8(addr) == native.load(addr)
    as_.free()


def test_errno_names_are_known():
    assert {"EOPNOTSUPP", "ENOMEM", "EFAULT"} <= set(Errno.__members__)
