"""madvise, mincore, msync, mlock."""

from __future__ import annotations

import pytest

from lxemu.kernel.errno import Errno
from lxemu.kernel.mm import mman
from lxemu.kernel.mm.mman import (
    MAP_ANON,
    MAP_FIXED,
    MAP_PRIVATE,
    MAP_SHARED,
    MCL_CURRENT,
    MCL_FUTURE,
    MCL_ONFAULT,
    MS_ASYNC,
    MS_INVALIDATE,
    MS_SYNC,
    PROT_EXEC,
    PROT_NONE,
    PROT_READ,
    RLIM_INFINITY,
    RLIMIT_MEMLOCK,
)

from .machine import BASE, FIXED, RW, File, Object, P
from .test_map import fails

SHARED = MAP_SHARED | MAP_FIXED


@pytest.mark.parametrize("advice", [mman.MADV_PURGE, mman.MADV_DONTNEED, mman.MADV_FREE])
def test_advise_drops_anonymous_contents(as_, advice):
    as_.map(BASE, 2 * P, RW, FIXED)
    as_.copyout(BASE, b"a" * 2 * P)
    as_.advise(BASE, P, advice)
    assert as_.rss == 1
    assert as_.copyin(BASE + P - 1, 2) == b"\0a"


def test_advise_purge_shows_the_file_again(phys, as_):
    file = File(phys, b"f" * P)
    as_.map(BASE, P, RW, MAP_PRIVATE | MAP_FIXED, file, 0)
    as_.copyout(BASE, b"x")
    as_.advise(BASE, P, mman.MADV_PURGE)
    assert as_.copyin(BASE, 1) == b"f"


def test_advise_purge_keeps_shared_memory(as_):
    as_.map(BASE, P, RW, MAP_ANON | SHARED)
    as_.copyout(BASE, b"x")
    as_.advise(BASE, P, mman.MADV_PURGE)
    assert as_.copyin(BASE, 1) == b"x"


@pytest.mark.parametrize(
    ("addr", "length", "advice", "errno"),
    [
        (1, P, mman.MADV_PURGE, Errno.EINVAL),
        (0, P, 77, Errno.EINVAL),
        (0, 0, 77, Errno.EINVAL),
        (0, (1 << 64) - 1, mman.MADV_NORMAL, Errno.EINVAL),
        (0, 3 * P, mman.MADV_NORMAL, Errno.ENOMEM),
        (0, 3 * P, mman.MADV_PURGE, Errno.ENOMEM),
        (2 * P, P, mman.MADV_FREE, Errno.EINVAL),
        (2 * P, P, mman.MADV_WIPEONFORK, Errno.EINVAL),
        (0, P, mman.MADV_REMOVE, Errno.EINVAL),
        (4 * P, P, mman.MADV_REMOVE, Errno.EACCES),
        (0, 3 * P, mman.MADV_POPULATE_READ, Errno.ENOMEM),
        (6 * P, P, mman.MADV_POPULATE_READ, Errno.EINVAL),
        (7 * P, P, mman.MADV_POPULATE_READ, Errno.EINVAL),
        (8 * P, P, mman.MADV_POPULATE_WRITE, Errno.EINVAL),
        (10 * P, P, mman.MADV_POPULATE_WRITE, Errno.EFAULT),
    ],
)
def test_advise_refuses(phys, as_, addr, length, advice, errno):
    vnode = Object(phys, P)
    as_.map(BASE, P, RW, FIXED)
    as_.map(BASE + 2 * P, P, RW, SHARED, vnode, 0)
    as_.map(BASE + 4 * P, P, RW, MAP_PRIVATE | MAP_FIXED, vnode, 0)
    as_.map(BASE + 6 * P, P, PROT_NONE, FIXED)
    as_.map(BASE + 7 * P, P, PROT_EXEC, FIXED)
    as_.map(BASE + 8 * P, P, PROT_READ, FIXED)
    as_.map(BASE + 10 * P, P, RW, SHARED, vnode, P)
    as_.copyout(BASE, b"x")
    assert fails(as_.advise, BASE + addr, length, advice) is errno
    if errno is Errno.ENOMEM and advice == mman.MADV_PURGE:
        assert as_.copyin(BASE, 1) == b"\0"  # done up to the hole


def test_advise_populate(as_):
    as_.map(BASE, 8 * P, RW, FIXED)
    as_.advise(BASE, 4 * P, mman.MADV_POPULATE_WRITE)
    as_.advise(BASE + 4 * P, 4 * P, mman.MADV_POPULATE_READ)
    assert as_.rss == 8


def test_advise_willneed_reads_the_file(phys, as_):
    file = File(phys, bytes(4 * P))
    as_.map(BASE, 4 * P, PROT_READ, SHARED, file, 0)
    as_.advise(BASE + P, 2 * P, mman.MADV_WILLNEED)
    assert as_.incore(BASE, 4 * P) == b"\0\1\1\0"


def test_advise_remove_punches_the_object(phys, as_):
    vnode = Object(phys, 3 * P)
    as_.map(BASE, 3 * P, RW, SHARED, vnode, 0)
    as_.copyout(BASE, b"x" * 3 * P)
    as_.advise(BASE + P, P, mman.MADV_REMOVE)
    assert vnode.pages.npages == 2
    assert as_.copyin(BASE + P, 1) == b"\0"


def test_advise_fork_flags(as_):
    for i in range(3):
        as_.map(BASE + i * P, P, RW, FIXED)
        as_.copyout(BASE + i * P, b"x")
    as_.advise(BASE + P, P, mman.MADV_DONTFORK)
    as_.advise(BASE + 2 * P, P, mman.MADV_WIPEONFORK)
    child = as_.dup()
    assert child.copyin(BASE, 1) == b"x"
    assert fails(child.copyin, BASE + P, 1) is Errno.EFAULT
    assert child.copyin(BASE + 2 * P, 1) == b"\0"
    assert child.vsize == 2 * P
    child.free()
    as_.advise(BASE, 3 * P, mman.MADV_DOFORK)
    as_.advise(BASE, 3 * P, mman.MADV_KEEPONFORK)
    assert len(as_.segs) == 1
    child = as_.dup()
    assert child.copyin(BASE + P, P) == as_.copyin(BASE + P, P)
    child.free()


def test_incore_tells_the_truth(phys, as_):
    file = File(phys, bytes(2 * P))
    as_.map(BASE, 4 * P, RW, FIXED)
    as_.map(BASE + 4 * P, 2 * P, PROT_READ, SHARED, file, 0)
    as_.copyout(BASE + 2 * P, b"x")
    file.pages.get(1)
    assert as_.incore(BASE, 6 * P) == bytes((0, 0, 1, 0, 0, 1))
    assert as_.incore(BASE, 0) == b""
    assert fails(as_.incore, BASE + 1, P) is Errno.EINVAL
    assert fails(as_.incore, BASE, 7 * P) is Errno.ENOMEM
    assert fails(as_.incore, BASE, 1 << 50) is Errno.ENOMEM


def test_sync_writes_back(phys, as_):
    file = File(phys, bytes(3 * P))
    as_.map(BASE, 3 * P, RW, SHARED, file, 0)
    as_.copyout(BASE, b"x" * 3 * P)
    as_.sync(BASE, P, MS_ASYNC)
    assert file.writes == []
    as_.sync(BASE + P, P, MS_SYNC | MS_INVALIDATE)
    assert file.writes == [1]
    assert fails(as_.sync, BASE + P, 3 * P, MS_SYNC) is Errno.ENOMEM
    assert file.writes == [1, 2]


@pytest.mark.parametrize(
    ("addr", "length", "flags", "errno"),
    [
        (1, P, MS_SYNC, Errno.EINVAL),
        (0, P, 8, Errno.EINVAL),
        (0, P, MS_SYNC | MS_ASYNC, Errno.EINVAL),
        (0, (1 << 64) - 1, MS_SYNC, Errno.ENOMEM),
        (0, P, MS_INVALIDATE, Errno.EBUSY),
    ],
)
def test_sync_refuses(as_, addr, length, flags, errno):
    as_.map(BASE, P, RW, FIXED)
    as_.lock(BASE, P)
    assert fails(as_.sync, BASE + addr, length, flags) is errno


def test_lock_makes_resident_and_counts_once(as_):
    as_.limits = lambda r: 3 * P if r == RLIMIT_MEMLOCK else RLIM_INFINITY
    as_.map(BASE, 8 * P, RW, FIXED)
    as_.lock(BASE + 100, 2 * P)  # touches three pages
    assert (as_.locked, as_.rss) == (3 * P, 3)
    as_.lock(BASE, 3 * P)
    assert as_.locked == 3 * P
    assert fails(as_.lock, BASE, 4 * P) is Errno.ENOMEM
    assert fails(as_.advise, BASE, P, mman.MADV_PURGE) is Errno.EINVAL
    as_.advise(BASE, P, mman.MADV_DONTNEED_LOCKED)
    as_.unlock(BASE, P)
    assert as_.locked == 2 * P
    as_.unmap(BASE, 8 * P)
    assert as_.locked == 0


def test_lock_stops_at_a_hole(as_):
    as_.map(BASE, P, RW, FIXED)
    as_.map(BASE + 2 * P, P, RW, FIXED)
    assert fails(as_.lock, BASE, 3 * P) is Errno.ENOMEM
    assert as_.locked == P
    assert fails(as_.unlock, BASE + P, P) is Errno.ENOMEM
    assert fails(as_.lock, (1 << 64) - P, P + 1) is Errno.EINVAL


def test_lock_not_allowed_at_all_eperm(as_):
    as_.limits = lambda _: 0
    assert fails(as_.lock, BASE, P) is Errno.EPERM
    assert fails(as_.lockall, MCL_CURRENT) is Errno.EPERM


def test_lockall_now_and_later(as_):
    as_.map(BASE, 2 * P, RW, FIXED)
    as_.lockall(MCL_CURRENT | MCL_FUTURE)
    assert (as_.locked, as_.rss) == (2 * P, 2)
    as_.map(BASE + 2 * P, 2 * P, RW, FIXED)
    assert (as_.locked, as_.rss) == (4 * P, 4)
    as_.unlockall()
    as_.map(BASE + 4 * P, 2 * P, RW, FIXED)
    assert (as_.locked, as_.rss) == (0, 4)
    as_.lockall(MCL_FUTURE | MCL_ONFAULT)
    as_.map(BASE + 6 * P, 2 * P, RW, FIXED)
    assert (as_.locked, as_.rss) == (2 * P, 4)
    for flags in (0, MCL_ONFAULT, 8):
        assert fails(as_.lockall, flags) is Errno.EINVAL
    as_.limits = lambda r: 3 * P if r == RLIMIT_MEMLOCK else RLIM_INFINITY
    assert fails(as_.lockall, MCL_CURRENT) is Errno.ENOMEM


def test_locks_are_not_inherited(as_):
    as_.map(BASE, P, RW, FIXED)
    as_.lock(BASE, P)
    child = as_.dup()
    assert child.locked == 0
    child.advise(BASE, P, mman.MADV_PURGE)
    child.free()


def test_setname_refuses(phys, as_):
    as_.map(BASE, P, RW, SHARED, Object(phys, P), 0)
    assert fails(as_.setname, BASE, P, b"x") is Errno.EBADF
    assert fails(as_.setname, BASE + 1, P, b"x") is Errno.EINVAL
    assert fails(as_.setname, BASE + P, P, b"x") is Errno.ENOMEM
