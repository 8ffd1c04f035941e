"""mremap: in place, moved, to a given address, whole ranges, duplicates."""

from __future__ import annotations

import pytest

from lxemu.kernel.errno import Errno
from lxemu.kernel.mm.mman import (
    MAP_ANON,
    MAP_FIXED,
    MAP_LOCKED,
    MAP_SHARED,
    PROT_NONE,
    PROT_READ,
    REMAP_FIXED,
    REMAP_KEEPOLD,
    REMAP_MAYMOVE,
    RLIM_INFINITY,
    RLIMIT_MEMLOCK,
    RLIMIT_VMEM,
)

from .machine import BASE, FIXED, RW, File, Object, P, audit, shape
from .test_map import fails

MOVE = REMAP_MAYMOVE
TO = REMAP_MAYMOVE | REMAP_FIXED
KEEP = REMAP_MAYMOVE | REMAP_KEEPOLD


@pytest.fixture
def three(as_):
    """Map three pages that hold 'a', 'b', 'c'."""
    as_.map(BASE, 3 * P, RW, FIXED)
    for i, text in enumerate((b"a", b"b", b"c")):
        as_.copyout(BASE + i * P, text)
    return as_


def text(as_, addr, pages):
    return b"".join(as_.copyin(addr + i * P, 1) for i in range(pages))


def test_remap_grows_in_place(three):
    assert three.remap(BASE, 3 * P, 5 * P, 0) == BASE
    assert text(three, BASE, 5) == b"abc\0\0"
    assert len(three.segs) == 1


def test_remap_shrinks(three):
    assert three.remap(BASE, 3 * P, P, 0) == BASE
    assert [s[:2] for s in shape(three)] == [(0, 1)]
    assert three.rss == 1


def test_remap_moves_when_it_cannot_grow(three):
    three.map(BASE + 3 * P, P, PROT_NONE, FIXED)
    assert fails(three.remap, BASE, 3 * P, 4 * P, 0) is Errno.ENOMEM
    new = three.remap(BASE, 3 * P, 4 * P, MOVE)
    assert new == three.mmap_top - 4 * P
    assert text(three, new, 4) == b"abc\0"
    assert three.segat(BASE) is None


def test_remap_of_the_middle_leaves_the_rest(three):
    new = three.remap(BASE + P, P, 2 * P, MOVE)
    assert text(three, new, 2) == b"b\0"
    assert [s[:2] for s in shape(three)][:2] == [(0, 1), (2, 3)]


def test_remap_to_an_address_replaces_what_is_there(phys, three):
    target = BASE + 600 * P
    three.map(target - P, 6 * P, PROT_READ, FIXED)
    three.copyin(target, 1)
    assert three.remap(BASE, 3 * P, 4 * P, TO, target) == target
    assert text(three, target, 4) == b"abc\0"
    assert [s[:2] for s in shape(three)] == [(599, 600), (600, 604), (604, 605)]
    audit(phys, [three], [])


def test_remap_to_an_address_takes_all_mappings_of_a_range_along(three):
    three.setprot(BASE + P, P, PROT_READ)
    target = BASE + 100 * P
    assert three.remap(BASE, 3 * P, 3 * P, TO, target) == target
    assert text(three, target, 3) == b"abc"
    assert [s[:3] for s in shape(three)] == [
        (100, 101, RW),
        (101, 102, PROT_READ),
        (102, 103, RW),
    ]


def test_remap_keeping_the_old_mapping_empties_it(three):
    new = three.remap(BASE, 3 * P, 3 * P, KEEP, 0)
    assert text(three, new, 3) == b"abc"
    assert text(three, BASE, 3) == b"\0\0\0"


def test_remap_of_length_zero_duplicates_shared_memory(as_):
    as_.map(BASE, 2 * P, RW, MAP_SHARED | MAP_ANON | MAP_FIXED)
    new = as_.remap(BASE, 0, 2 * P, MOVE)
    as_.copyout(new + P, b"both")
    assert as_.copyin(BASE + P, 4) == b"both"


def test_remap_of_shared_file_memory_keeps_tracking_stores(phys, as_):
    file = File(phys, bytes(4 * P))
    as_.map(BASE, 2 * P, RW, MAP_SHARED | MAP_FIXED, file, P)
    as_.copyout(BASE, b"1")
    new = as_.remap(BASE, 2 * P, 3 * P, TO, BASE + 50 * P)
    as_.copyout(new, b"2")
    as_.copyout(new + 2 * P, b"3")
    as_.unmap(new, 3 * P)
    assert (file.data[P], file.data[3 * P]) == (ord("2"), ord("3"))


@pytest.mark.parametrize(
    ("old", "oldlen", "newlen", "flags", "newaddr", "errno"),
    [
        (BASE, P, 2 * P, 8, 0, Errno.EINVAL),
        (BASE, P, 2 * P, REMAP_FIXED, BASE + 99 * P, Errno.EINVAL),
        (BASE, P, P, REMAP_KEEPOLD, 0, Errno.EINVAL),
        (BASE, P, 2 * P, KEEP, 0, Errno.EINVAL),
        (BASE + 1, P, P, MOVE, 0, Errno.EINVAL),
        (BASE, P, 0, MOVE, 0, Errno.EINVAL),
        (BASE, P, 1 << 50, MOVE, 0, Errno.EINVAL),
        (BASE, P, P, TO, BASE + 99 * P + 1, Errno.EINVAL),
        (BASE, 2 * P, 2 * P, TO, BASE + P, Errno.EINVAL),
        (BASE, P, P, TO, 0x7FFF_FFFF_F000, Errno.EINVAL),
        (BASE, P, P, TO, 0, Errno.EPERM),
        (BASE, 0, P, MOVE, 0, Errno.EINVAL),
        (BASE + 7 * P, P, P, MOVE, 0, Errno.EFAULT),
        (BASE - P, 2 * P, 2 * P, TO, BASE + 99 * P, Errno.EFAULT),
        (BASE, 4 * P, 5 * P, MOVE, 0, Errno.EFAULT),
    ],
)
def test_remap_refuses(three, old, oldlen, newlen, flags, newaddr, errno):
    assert fails(three.remap, old, oldlen, newlen, flags, newaddr) is errno
    assert text(three, BASE, 3) == b"abc"


def test_remap_within_limits(as_):
    limits = {RLIMIT_VMEM: 4 * P, RLIMIT_MEMLOCK: 2 * P}
    as_.limits = lambda resource: limits.get(resource, RLIM_INFINITY)
    as_.map(BASE, 2 * P, RW, FIXED | MAP_LOCKED)
    assert fails(as_.remap, BASE, 2 * P, 3 * P, 0) is Errno.EAGAIN
    as_.unlock(BASE, 2 * P)
    assert fails(as_.remap, BASE, 2 * P, 5 * P, 0) is Errno.ENOMEM
    as_.remap(BASE, 2 * P, 4 * P, 0)


def test_remap_of_locked_memory_stays_locked_and_resident(as_):
    as_.map(BASE, 2 * P, RW, FIXED | MAP_LOCKED)
    as_.remap(BASE, 2 * P, 4 * P, TO, BASE + 10 * P)
    assert (as_.locked, as_.rss, as_.vsize) == (4 * P, 4, 4 * P)


def test_remap_grows_a_shared_object_past_its_end(phys, as_):
    vnode = Object(phys, P)
    as_.map(BASE, P, RW, MAP_SHARED | MAP_FIXED, vnode, 0)
    as_.remap(BASE, P, 2 * P, 0)
    assert fails(as_.copyin, BASE + P, 1) is Errno.EFAULT
    vnode.pages.truncate(2 * P)
    as_.copyout(BASE + P, b"x")
