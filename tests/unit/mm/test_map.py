"""mmap, munmap, mprotect, brk: placement, errors in their order, merging and splitting.

Reference: the man pages, and the native kernel by test_native.py.
"""

from __future__ import annotations

import pytest

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.mm.as_ import As
from lxemu.kernel.mm.mman import (
    MAP_ANON,
    MAP_FIXED,
    MAP_GROWSDOWN,
    MAP_HUGETLB,
    MAP_LOCKED,
    MAP_LOW32,
    MAP_NOREPLACE,
    MAP_NORESERVE,
    MAP_POPULATE,
    MAP_PRIVATE,
    MAP_SHARED,
    PROT_EXEC,
    PROT_GROWSDOWN,
    PROT_GROWSUP,
    PROT_NONE,
    PROT_READ,
    PROT_SEM,
    PROT_WRITE,
    RLIM_INFINITY,
    RLIMIT_DATA,
    RLIMIT_MEMLOCK,
    RLIMIT_VMEM,
    STACK_GUARD,
    USERLIMIT32,
)

from .machine import BASE, FIXED, PRIVATE, RW, File, Object, P, shape


def fails(call, *args, **kwargs) -> Errno:
    with pytest.raises(KernelError) as failure:
        call(*args, **kwargs)
    return failure.value.errno


# -- placement ---------------------------------------------------------------------------------


def test_map_goes_down_from_the_top_and_fills_holes(as_):
    first = as_.map(0, 3 * P, RW, PRIVATE)
    second = as_.map(0, P, PROT_READ, PRIVATE)
    assert first == as_.mmap_top - 3 * P
    assert second == first - P
    as_.unmap(first + P, P)
    assert as_.map(0, 2 * P, RW, PRIVATE) == second - 2 * P
    assert as_.map(0, P, RW, PRIVATE) == first + P


def test_map_takes_a_free_hint_rounded_down(as_):
    assert as_.map(BASE + 5, P, RW, PRIVATE) == BASE
    assert as_.map(BASE, P, RW, PRIVATE) == as_.mmap_top - P
    assert as_.map(1, P, RW, PRIVATE) == as_.min_addr


def test_map_keeps_clear_of_a_growing_stack(as_):
    top = as_.mmap_top
    as_.map(top - P, P, RW, FIXED | MAP_GROWSDOWN)
    assert as_.map(0, P, RW, PRIVATE) == top - P - STACK_GUARD - P
    assert as_.map(top - 2 * P, P, RW, PRIVATE) == top - P - STACK_GUARD - 2 * P
    assert as_.map(top - 2 * P, P, RW, FIXED) == top - 2 * P


def test_map_searches_upwards_when_the_bottom_is_full(phys):
    as_ = As(phys, mmap_top=0x40000)
    as_.map(as_.min_addr, 0x40000 - as_.min_addr, PROT_NONE, FIXED)
    addr = as_.map(0, P, RW, PRIVATE)
    assert addr >= as_.task_size // 3
    as_.free()


def test_map_low_goes_to_the_second_gigabyte(as_):
    assert as_.map(0, P, RW, PRIVATE | MAP_LOW32) == 0x4000_0000
    assert as_.map(0, P, RW, PRIVATE | MAP_LOW32) == 0x4000_1000
    assert as_.map(0x5000_0000, P, RW, PRIVATE | MAP_LOW32) == 0x5000_0000
    assert as_.map(BASE, P, RW, PRIVATE | MAP_LOW32) == 0x4000_2000


def test_map_of_a_32_bit_guest_ends_at_its_limit(phys):
    as_ = As(phys, task_size=USERLIMIT32)
    assert as_.map(0, P, RW, PRIVATE) < USERLIMIT32
    assert fails(as_.map, USERLIMIT32, P, RW, FIXED) is Errno.ENOMEM
    assert as_.map(USERLIMIT32 - P, P, RW, FIXED) == USERLIMIT32 - P
    as_.free()


# -- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("addr", "length", "flags", "offset", "errno"),
    [
        (0, 0, PRIVATE, 0, Errno.EINVAL),
        (0, P, PRIVATE, 1, Errno.EINVAL),
        (0, P, MAP_ANON, 0, Errno.EINVAL),
        (0, P, MAP_ANON | 4, 0, Errno.EINVAL),
        (0, (1 << 64) - 1, PRIVATE, 0, Errno.ENOMEM),
        (0, 1 << 47, PRIVATE, 0, Errno.ENOMEM),
        (BASE + 1, P, FIXED, 0, Errno.EINVAL),
        (0x7FFF_FFFF_F000, P, FIXED, 0, Errno.ENOMEM),
        (0x7FFF_FFFF_F001, P, FIXED, 0, Errno.ENOMEM),  # the range is looked at first
        (0, P, FIXED, 0, Errno.EPERM),
        (0x8000, P, FIXED, 0, Errno.EPERM),
        (BASE, P, PRIVATE | MAP_NOREPLACE, 0, Errno.EEXIST),
        (BASE - P, 2 * P, PRIVATE | MAP_NOREPLACE, 0, Errno.EEXIST),
        (0, P, MAP_SHARED | MAP_ANON | MAP_GROWSDOWN, 0, Errno.EINVAL),
        (0, 1 << 30, PRIVATE, 0, Errno.ENOMEM),  # more than the machine has
        (0, P, PRIVATE | MAP_HUGETLB, 0, Errno.ENOMEM),
    ],
)
def test_map_refuses(as_, addr, length, flags, offset, errno):
    as_.map(BASE, P, RW, FIXED)
    assert fails(as_.map, addr, length, RW, flags, None, offset) is errno
    assert shape(as_) == [(0, 1, RW, False, 0)]


def test_map_reserves_more_than_the_machine_has(as_):
    as_.map(0, 1 << 40, RW, PRIVATE | MAP_NORESERVE)
    as_.map(0, 1 << 40, PROT_NONE, PRIVATE)
    assert as_.vsize == 2 << 40


@pytest.mark.parametrize(
    ("prot", "flags", "maxprot", "errno"),
    [
        (RW, MAP_SHARED, PROT_READ, Errno.EACCES),
        (PROT_NONE, MAP_PRIVATE, PROT_WRITE, Errno.EACCES),
        (PROT_READ, MAP_PRIVATE | MAP_GROWSDOWN, 7, Errno.EINVAL),
        (PROT_READ, 0, 7, Errno.EINVAL),
    ],
)
def test_map_of_a_file_refuses(phys, as_, prot, flags, maxprot, errno):
    file = File(phys, bytes(P))
    assert fails(as_.map, 0, P, prot, flags, file, 0, maxprot=maxprot) is errno


def test_map_of_a_file_offset_overflow(phys, as_):
    file = File(phys, bytes(P))
    assert fails(as_.map, 0, 2 * P, 1, MAP_PRIVATE, file, (1 << 63) - P) is Errno.EOVERFLOW


def test_map_of_something_without_pages_enodev(as_):
    class Pipe:
        pages = None

    assert fails(as_.map, 0, P, PROT_READ, MAP_PRIVATE, Pipe(), 0) is Errno.ENODEV


def test_limits_of_space_data_and_locks(as_):
    limits = {RLIMIT_VMEM: 10 * P, RLIMIT_DATA: 4 * P, RLIMIT_MEMLOCK: 2 * P}
    as_.limits = lambda resource: limits.get(resource, RLIM_INFINITY)
    as_.map(BASE, 4 * P, RW, FIXED)
    assert fails(as_.map, 0, P, RW, PRIVATE) is Errno.ENOMEM
    as_.map(BASE + 4 * P, 6 * P, PROT_READ, FIXED)
    assert fails(as_.map, 0, P, PROT_READ, PRIVATE) is Errno.ENOMEM
    as_.map(BASE + 4 * P, 6 * P, PROT_READ, FIXED)  # what is replaced does not count
    assert fails(as_.setprot, BASE + 4 * P, P, RW) is Errno.ENOMEM
    as_.unmap(BASE, 4 * P)
    as_.map(BASE, 2 * P, RW, FIXED | MAP_LOCKED)
    assert (as_.locked, as_.rss) == (2 * P, 2)
    assert fails(as_.map, 0, P, PROT_READ, PRIVATE | MAP_LOCKED) is Errno.EAGAIN
    limits[RLIMIT_MEMLOCK] = 0
    assert fails(as_.map, 0, P, PROT_READ, PRIVATE | MAP_LOCKED) is Errno.EPERM


def test_map_populate_makes_resident(as_):
    as_.map(BASE, 40 * P, RW, FIXED | MAP_POPULATE)
    assert as_.rss == 40
    as_.map(BASE, 40 * P, PROT_NONE, FIXED | MAP_POPULATE)
    assert as_.rss == 0


# -- merging and splitting ---------------------------------------------------------------------


def test_neighbours_of_a_kind_are_one(as_):
    as_.map(BASE, P, RW, FIXED)
    as_.map(BASE + 2 * P, P, RW, FIXED)
    as_.map(BASE + P, P, RW, FIXED)
    assert [(a, b) for a, b, *_ in shape(as_)] == [(0, 3)]
    as_.map(BASE + 3 * P, P, PROT_READ, FIXED)
    assert [(a, b) for a, b, *_ in shape(as_)] == [(0, 3), (3, 4)]
    as_.setprot(BASE + 3 * P, P, RW)
    assert [(a, b) for a, b, *_ in shape(as_)] == [(0, 4)]


def test_file_neighbours_merge_only_in_file_order(phys, as_):
    vnode = Object(phys, 8 * P)
    flags = MAP_SHARED | MAP_FIXED
    as_.map(BASE, P, RW, flags, vnode, 0)
    as_.map(BASE + P, P, RW, flags, vnode, P)
    as_.map(BASE + 2 * P, P, RW, flags, vnode, 5 * P)
    as_.map(BASE + 3 * P, P, RW, MAP_PRIVATE | MAP_FIXED, vnode, 6 * P)
    assert shape(as_) == [(0, 2, RW, True, 0), (2, 3, RW, True, 5), (3, 4, RW, False, 6)]


def test_names_keep_neighbours_apart(as_):
    as_.map(BASE, P, RW, FIXED)
    as_.map(BASE + P, P, RW, FIXED)
    as_.setname(BASE + P, P, b"arena")
    assert [s.name for s in as_.maps()] == [None, b"arena"]
    as_.setname(BASE + P, P, None)
    assert len(as_.segs) == 1


def test_unmap_splits_and_ignores_holes(phys, as_):
    as_.map(BASE, 6 * P, RW, MAP_SHARED | MAP_FIXED, Object(phys, 8 * P), P)
    as_.unmap(BASE + 2 * P, 2 * P - 1)
    assert shape(as_) == [(0, 2, RW, True, 1), (4, 6, RW, True, 5)]
    as_.unmap(BASE + P, 100 * P)
    assert shape(as_) == [(0, 1, RW, True, 1)]
    as_.unmap(BASE + 50 * P, P)


@pytest.mark.parametrize(
    ("addr", "length"),
    [(BASE + 1, P), (BASE, 0), (0x7FFF_FFFF_F000, P), (BASE, 1 << 47), (1 << 63, P)],
)
def test_unmap_refuses(as_, addr, length):
    assert fails(as_.unmap, addr, length) is Errno.EINVAL


def test_unmap_frees_leaf_tables(phys, as_):
    before = phys.free_frames
    as_.map(BASE, 1024 * P, RW, FIXED)
    as_.populate(BASE, BASE + 1024 * P)
    as_.unmap(BASE, 1024 * P)
    assert before - phys.free_frames == 2  # the two levels above stay
    assert as_.hat.leaves == {}
    assert as_.maxrss == 1024


# -- mprotect ----------------------------------------------------------------------------------


def test_setprot_splits_and_merges(as_):
    as_.map(BASE, 4 * P, RW, FIXED)
    as_.setprot(BASE + P, P, PROT_READ)
    assert [s[:3] for s in shape(as_)] == [(0, 1, RW), (1, 2, PROT_READ), (2, 4, RW)]
    as_.setprot(BASE + P, 1, RW)
    assert [s[:3] for s in shape(as_)] == [(0, 4, RW)]
    as_.setprot(BASE + 1000 * P, 0, RW)


def test_setprot_stops_at_a_hole(as_):
    as_.map(BASE, P, RW, FIXED)
    as_.map(BASE + 2 * P, P, RW, FIXED)
    assert fails(as_.setprot, BASE, 3 * P, PROT_READ) is Errno.ENOMEM
    assert [s[2] for s in shape(as_)] == [PROT_READ, RW]
    assert fails(as_.setprot, BASE + P, 2 * P, PROT_READ) is Errno.ENOMEM
    assert [s[2] for s in shape(as_)] == [PROT_READ, RW]


def test_setprot_respects_the_open_file(phys, as_):
    vnode = Object(phys, 2 * P)
    as_.map(BASE, P, PROT_READ, FIXED)
    as_.map(BASE + P, P, PROT_READ, MAP_SHARED | MAP_FIXED, vnode, 0, maxprot=5)
    assert fails(as_.setprot, BASE, 2 * P, RW) is Errno.EACCES
    assert [s[2] for s in shape(as_)] == [RW, PROT_READ]
    as_.setprot(BASE + P, P, PROT_EXEC)


@pytest.mark.parametrize(
    ("addr", "prot"), [(1, RW), (0, 0x10), (0, RW | PROT_GROWSDOWN | PROT_GROWSUP)]
)
def test_setprot_refuses(as_, addr, prot):
    as_.map(BASE, P, RW, FIXED)
    assert fails(as_.setprot, BASE + addr, P, prot) is Errno.EINVAL


def test_setprot_of_a_growing_segment_starts_at_its_beginning(as_):
    as_.map(BASE, 4 * P, RW, FIXED | MAP_GROWSDOWN)
    as_.map(BASE + 5 * P, P, RW, FIXED)
    as_.setprot(BASE + 2 * P, P, PROT_READ | PROT_SEM | PROT_GROWSDOWN)
    assert [s[:3] for s in shape(as_)] == [(0, 3, PROT_READ), (3, 4, RW), (5, 6, RW)]
    assert fails(as_.setprot, BASE + 5 * P, P, RW | PROT_GROWSDOWN) is Errno.EINVAL
    assert fails(as_.setprot, BASE, P, RW | PROT_GROWSUP) is Errno.EINVAL


def test_setprot_keeps_contents(as_):
    as_.map(BASE, P, RW, FIXED)
    as_.copyout(BASE, b"keep")
    as_.setprot(BASE, P, PROT_NONE)
    assert fails(as_.copyin, BASE, 4) is Errno.EFAULT
    assert as_.rss == 1
    as_.setprot(BASE, P, PROT_READ)
    assert as_.copyin(BASE, 4) == b"keep"
    assert fails(as_.copyout, BASE, b"x") is Errno.EFAULT


def test_write_permission_of_a_clean_private_file_page_copies(phys, as_):
    file = File(phys, b"f" * P)
    as_.map(BASE, P, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, 0)
    as_.copyin(BASE, 1)
    as_.setprot(BASE, P, RW)
    as_.copyout(BASE, b"x")
    assert file.pages.read(0, 2) == b"ff"
    assert as_.copyin(BASE, 2) == b"xf"


# -- brk ---------------------------------------------------------------------------------------


def test_brk_grows_and_shrinks(as_):
    as_.set_brk_base(BASE + 100)
    assert as_.setbrk(0) == BASE + 100
    assert as_.setbrk(BASE + 3 * P) == BASE + 3 * P
    assert shape(as_) == [(1, 3, RW, False, 0)]
    as_.copyout(BASE + 2 * P, b"x")
    assert as_.setbrk(BASE + P + 1) == BASE + P + 1
    assert as_.setbrk(BASE + 3 * P) == BASE + 3 * P
    assert as_.copyin(BASE + 2 * P, 1) == b"\0"
    assert [s.name for s in as_.maps()] == [b"[heap]"]
    assert as_.setbrk(BASE + 100) == BASE + 100
    assert as_.segs == []


def test_brk_stops_at_a_mapping_and_at_the_limits(as_):
    as_.set_brk_base(BASE)
    as_.map(BASE + 4 * P, P, RW, FIXED)
    assert as_.setbrk(BASE + 4 * P) == BASE  # a page stays free
    assert as_.setbrk(BASE + 3 * P) == BASE + 3 * P
    as_.limits = lambda r: 3 * P if r == RLIMIT_DATA else RLIM_INFINITY
    as_.unmap(BASE + 4 * P, P)
    assert as_.setbrk(BASE + 4 * P) == BASE + 3 * P
    as_.limits = lambda r: 3 * P if r == RLIMIT_VMEM else RLIM_INFINITY
    assert as_.setbrk(BASE + 4 * P) == BASE + 3 * P


def test_maps_names_the_stack(as_):
    as_.map(BASE, 4 * P, RW, FIXED | MAP_GROWSDOWN)
    as_.start_stack = BASE + 3 * P
    as_.map(BASE + 8 * P, P, RW, MAP_SHARED | MAP_ANON | MAP_FIXED)
    first, second = as_.maps()
    assert (first.name, first.offset, first.vnode) == (b"[stack]", 0, None)
    assert second.vnode is not None
