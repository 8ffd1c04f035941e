"""The page cache: objects that live in it, and files that it keeps copies of."""

from __future__ import annotations

import gc

import pytest

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.mm.as_ import FC_OBJERR, As, SegFault
from lxemu.kernel.mm.mman import MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE
from lxemu.kernel.mm.page import PhysMem
from lxemu.kernel.mm.pagecache import PageCache

from .machine import BASE, RW, ClusterFile, File, Object, P
from .test_map import fails

SHARED = MAP_SHARED | MAP_FIXED
PRIVATE = MAP_PRIVATE | MAP_FIXED


@pytest.fixture
def cache(phys):
    made = PageCache(phys)
    yield made
    made.free()


def test_object_holes_read_zero_and_take_no_frame(cache):
    cache.truncate(10 * P)
    assert cache.read(5, 3 * P) == bytes(3 * P)
    assert cache.npages == 0
    assert cache.read(10 * P - 2, 100) == b"\0\0"
    assert cache.read(10 * P, 1) == b""
    assert cache.read(99 * P, 1) == b""


def test_object_write_then_read(cache):
    assert cache.write(P - 3, b"abcdef") == 6
    assert cache.size == P + 3
    assert cache.read(P - 3, 100) == b"abcdef"
    assert cache.read(0, P) == bytes(P - 3) + b"abc"
    assert cache.npages == 2
    cache.write(10 * P, memoryview(b"far"))
    assert cache.npages == 3
    assert cache.read(5 * P - 1, 2) == b"\0\0"
    assert cache.write(3, b"") == 0


def test_object_truncate_drops_and_zeroes(cache):
    cache.write(0, b"x" * 3 * P)
    cache.truncate(P + 10)
    assert cache.npages == 2
    cache.truncate(3 * P)
    assert cache.read(P + 8, 4) == b"xx\0\0"


def test_object_truncate_reaches_into_mappings(phys, as_, cpu):
    vnode = Object(phys, 4 * P)
    as_.map(BASE, 4 * P, RW, SHARED, vnode, 0)
    as_.map(BASE + 4 * P, 4 * P, RW, PRIVATE, vnode, 0)
    as_.copyout(BASE, b"s" * 4 * P)
    as_.copyout(BASE + 4 * P, b"p" * 4 * P)
    cpu.access(as_, BASE + 2 * P, PROT_READ)

    vnode.pages.truncate(P + 1)

    assert cpu.access(as_, BASE + P, PROT_READ) == ord("s")
    assert cpu.access(as_, BASE + P + 1, PROT_READ) == 0
    assert cpu.access(as_, BASE + 5 * P + 1, PROT_READ) == ord("p")  # a private copy stays as it is
    for va in (BASE + 2 * P, BASE + 6 * P):
        with pytest.raises(SegFault) as fault:
            cpu.access(as_, va, PROT_READ)
        assert fault.value.code == FC_OBJERR
    vnode.pages.truncate(4 * P)
    assert as_.copyin(BASE + 2 * P, 1) == as_.copyin(BASE + 6 * P, 1) == b"\0"


def test_object_growth_zeroes_what_was_stored_past_the_end(phys, as_):
    vnode = Object(phys, 10)
    as_.map(BASE, P, RW, SHARED, vnode, 0)
    as_.copyout(BASE + 10, b"beyond")
    vnode.pages.truncate(100)
    assert vnode.pages.read(0, 100) == bytes(100)


@pytest.mark.parametrize(
    ("off", "length", "npages"), [(P, P, 3), (P + 1, 2 * P, 3), (10, 20, 4), (P - 1, 2, 4)]
)
def test_object_punch(cache, off, length, npages):
    cache.write(0, b"x" * 4 * P)
    cache.punch(off, length)
    assert cache.npages == npages
    assert cache.size == 4 * P
    assert cache.read(0, 4 * P) == b"x" * off + bytes(length) + b"x" * (4 * P - off - length)


def test_object_punch_keeps_private_copies(phys, as_):
    vnode = Object(phys, P)
    as_.map(BASE, P, RW, SHARED, vnode, 0)
    as_.map(BASE + P, P, RW, PRIVATE, vnode, 0)
    as_.copyout(BASE, b"s")
    as_.copyout(BASE + P, b"p")
    vnode.pages.punch(0, P)
    assert as_.copyin(BASE, 1) == b"\0"
    assert as_.copyin(BASE + P, 1) == b"p"


def test_object_data_and_holes(cache):
    cache.write(2 * P, b"x" * (P + 5))
    cache.truncate(8 * P)
    assert [cache.next_data(off) for off in (0, 2 * P + 7, 4 * P, 8 * P)] == [
        2 * P,
        2 * P + 7,
        None,
        None,
    ]
    assert [cache.next_hole(off) for off in (0, 2 * P, 3 * P + 9, 5 * P, 8 * P)] == [
        0,
        4 * P,
        4 * P,
        5 * P,
        None,
    ]
    cache.truncate(3 * P + 5)
    assert cache.next_hole(2 * P) == 3 * P + 5
    assert cache.has_page(2)


def test_object_charge_can_refuse(phys, as_):
    room = 2

    def charge(n: int) -> None:
        nonlocal room
        if n > room:
            raise KernelError(Errno.ENOSPC)
        room -= n

    vnode = Object(phys, 0)
    vnode.pages.charge = charge
    assert vnode.pages.write(0, b"x" * 3 * P) == 2 * P  # short: what there was room for
    assert fails(vnode.pages.write, 2 * P, b"x") is Errno.ENOSPC
    vnode.pages.truncate(3 * P)
    as_.map(BASE, 3 * P, RW, SHARED, vnode, 0)
    assert fails(as_.copyout, BASE + 2 * P, b"x") is Errno.EFAULT
    vnode.pages.truncate(P)
    assert room == 1
    vnode.pages.free()
    assert room == 2


def test_object_without_memory_enomem():
    phys = PhysMem(8 * P)
    room = 0

    def charge(n: int) -> None:
        nonlocal room
        room += n

    cache = PageCache(phys, charge=charge)
    assert cache.write(0, b"x" * 9 * P) == 7 * P
    assert fails(cache.write, 8 * P, b"x") is Errno.ENOMEM
    assert room == 7


def test_forgotten_object_frees_its_frames(phys):
    before = phys.free_frames
    vnode = Object(phys, 0)
    vnode.pages.write(0, b"x" * 5 * P)
    file = File(phys, b"f" * P)
    file.pages.get(0)
    assert before - phys.free_frames == 6
    del vnode, file
    gc.collect()
    assert phys.free_frames == before


def test_mapping_keeps_a_removed_object_alive(phys, as_):
    as_.map(BASE, P, RW, SHARED, Object(phys, P), 0)
    as_.copyout(BASE, b"x")
    gc.collect()
    assert as_.copyin(BASE, 1) == b"x"


# -- files with storage of their own -----------------------------------------------------------


@pytest.mark.parametrize("make", [File, ClusterFile])
def test_file_read_through_the_cache(phys, make):
    data = bytes(range(256)) * 48 + b"tail"
    file = make(phys, data)
    assert file.pages.read(0, 3 * P) == data[: 3 * P]
    assert file.pages.read(100, 5000) == data[100:5100]
    assert file.pages.read(3 * P - 2, 1) == data[3 * P - 2 : 3 * P - 1]
    assert file.pages.read(3 * P, 100) == b"tail"
    assert file.pages.read(9 * P, 100) == b""


def test_file_fill_reads_clusters_once(phys):
    file = ClusterFile(phys, b"x" * 20 * P)
    for index in range(20):
        file.pages.get(index)
    assert file.reads == [0, 16]
    assert fails(file.pages.get, 20) is Errno.ENXIO


def test_file_update_and_patch_keep_both_views_equal(phys, as_):
    file = File(phys, b"f" * 3 * P)
    as_.map(BASE, 3 * P, RW, SHARED, file, 0)
    assert as_.copyin(BASE + P, 1) == b"f"
    file.data[P - 1 : P + 1] = b"ww"
    file.pages.update(P - 1, b"ww")
    assert as_.copyin(BASE + P - 1, 3) == b"wwf"
    as_.copyout(BASE + 2 * P, b"mm")
    assert file.pages.patch(2 * P - 1, b"fff") == b"fmm"
    assert file.pages.patch(0, b"ff") == b"ff"
    assert file.writes == []


def test_file_invalidate_reads_anew(phys, as_, cpu):
    file = File(phys, b"1" * P)
    as_.map(BASE, P, PROT_READ, SHARED, file, 0)
    assert cpu.access(as_, BASE, PROT_READ) == ord("1")
    file.data[:] = b"2" * P
    file.pages.invalidate()
    assert cpu.access(as_, BASE, PROT_READ) == ord("2")


def test_file_shrink_spares_what_is_used(phys, as_):
    file = File(phys, b"x" * 4 * P)
    for index in range(4):
        file.pages.get(index)
    as_.map(BASE, P, RW, SHARED, file, 0)
    as_.copyin(BASE, 1)
    file.pages.dirty.add(1)
    assert file.pages.shrink(100) == 2
    assert sorted(file.pages.pages) == [0, 1]
    file.pages.dirty.clear()


def test_file_io_error_objerr(phys, as_):
    class Broken(File):
        def getpage(self, index: int) -> bytes:
            raise KernelError(Errno.EIO)

    file = Broken(phys, bytes(P))
    as_.map(BASE, P, RW, SHARED, file, 0)
    with pytest.raises(SegFault) as fault:
        as_.fault(BASE, PROT_READ)
    assert fault.value.code == FC_OBJERR


def test_writable_mappings_are_counted(phys, as_):
    vnode = Object(phys, P)
    as_.map(BASE, P, RW, PRIVATE, vnode, 0)
    as_.map(BASE + P, P, PROT_READ, SHARED, vnode, 0, maxprot=PROT_READ)
    assert vnode.pages.writable_mappings() == 0
    as_.map(BASE + 2 * P, P, PROT_READ, SHARED, vnode, 0)
    assert vnode.pages.writable_mappings() == 1
    as_.setprot(BASE + 2 * P, P, PROT_READ | PROT_WRITE)
    child = as_.dup()
    assert vnode.pages.writable_mappings() == 2
    child.free()
    as_.unmap(BASE + 2 * P, P)
    assert vnode.pages.writable_mappings() == 0


def test_space_freed_with_dirty_pages_writes_them(phys):
    file = File(phys, bytes(P))
    as_ = As(phys)
    as_.map(BASE, P, RW, SHARED, file, 0)
    as_.copyout(BASE, b"late")
    as_.free()
    assert file.data[:4] == b"late"
