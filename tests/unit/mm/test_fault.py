"""Demand paging, copy on write, protections, stack growth."""

from __future__ import annotations

import pytest

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.mm.as_ import FC_NOMAP, FC_OBJERR, FC_PROT, As, OutOfMemory, SegFault
from lxemu.kernel.mm.mman import (
    MAP_ANON,
    MAP_FIXED,
    MAP_GROWSDOWN,
    MAP_PRIVATE,
    MAP_SHARED,
    PROT_EXEC,
    PROT_NONE,
    PROT_READ,
    PROT_WRITE,
    RLIM_INFINITY,
    RLIMIT_STACK,
    STACK_GUARD,
)
from lxemu.kernel.mm.page import PhysMem

from .machine import BASE, FIXED, RW, ClusterFile, File, Object, P, audit, walk

SHARED = MAP_SHARED | MAP_FIXED


def test_anonymous_memory_reads_zero_and_keeps_stores(as_, cpu):
    as_.map(BASE, 4 * P, RW, FIXED)
    assert cpu.access(as_, BASE + 5, PROT_READ) == 0
    cpu.access(as_, BASE + 5, PROT_WRITE, 9)
    assert cpu.access(as_, BASE + 5, PROT_READ) == 9
    assert as_.rss == 1


@pytest.mark.parametrize(
    ("prot", "access", "code"),
    [
        (PROT_NONE, PROT_READ, FC_PROT),
        (PROT_NONE, PROT_WRITE, FC_PROT),
        (PROT_READ, PROT_READ, None),
        (PROT_READ, PROT_WRITE, FC_PROT),
        (PROT_READ, PROT_EXEC, FC_PROT),
        (PROT_WRITE, PROT_READ, None),  # x86 has no page that is writable and not readable
        (PROT_WRITE, PROT_WRITE, None),
        (PROT_EXEC, PROT_READ, None),
        (PROT_EXEC, PROT_EXEC, None),
        (PROT_EXEC, PROT_WRITE, FC_PROT),
        (RW, PROT_EXEC, FC_PROT),
    ],
)
def test_access_follows_the_protection(as_, cpu, prot, access, code):
    as_.map(BASE, P, prot, FIXED)
    if code is None:
        cpu.access(as_, BASE, access, 1)
        return
    with pytest.raises(SegFault) as fault:
        cpu.access(as_, BASE + 3, access, 1)
    assert (fault.value.addr, fault.value.code) == (BASE + 3, code)


def test_access_outside_any_mapping_nomap(as_, cpu):
    as_.map(BASE, P, RW, FIXED)
    for va in (BASE - 1, BASE + P, 0, as_.task_size - 1):
        with pytest.raises(SegFault) as fault:
            cpu.access(as_, va, PROT_READ)
        assert (fault.value.addr, fault.value.code) == (va, FC_NOMAP)


def test_sequential_stores_fault_in_growing_runs(as_, cpu):
    as_.map(BASE, 64 * P, RW, FIXED)
    for i in range(64):
        cpu.access(as_, BASE + i * P, PROT_WRITE, i)
    assert as_.rss == 64
    assert as_.minflt < 16


def test_scattered_stores_make_one_page_each(as_, cpu):
    as_.map(BASE, 64 * P, RW, FIXED)
    for i in range(0, 64, 4):
        cpu.access(as_, BASE + i * P, PROT_WRITE, i)
    assert as_.rss == as_.minflt == 16


def test_private_mapping_of_a_file_shares_until_stored_to(phys, as_, cpu):
    file = File(phys, b"A" * P + b"B" * 10)
    as_.map(BASE, 2 * P, RW, MAP_PRIVATE | MAP_FIXED, file, 0)
    assert cpu.access(as_, BASE, PROT_READ) == ord("A")
    assert walk(phys, as_.hat.cr3, BASE) >> 12 & 0xFFFFF == file.pages.lookup(0)
    assert cpu.access(as_, BASE + P, PROT_READ) == ord("B")
    assert cpu.access(as_, BASE + P + 10, PROT_READ) == 0  # past the end, in the last page

    cpu.access(as_, BASE, PROT_WRITE, 7)

    assert cpu.access(as_, BASE, PROT_READ) == 7
    assert file.pages.read(0, 1) == b"A"
    assert file.writes == []
    assert as_.rss_anon == 1


def test_shared_mapping_of_a_file_marks_stores_dirty(phys, as_, cpu):
    file = File(phys, bytes(3 * P))
    as_.map(BASE, 3 * P, RW, SHARED, file, 0)
    cpu.access(as_, BASE, PROT_READ)
    assert not file.pages.dirty
    cpu.access(as_, BASE, PROT_WRITE, 5)
    cpu.access(as_, BASE + 2 * P, PROT_WRITE, 6)
    assert file.pages.dirty == {0, 2}
    as_.unmap(BASE, 3 * P)
    assert (file.data[0], file.data[2 * P], file.writes) == (5, 6, [0, 2])


def test_stores_after_a_flush_are_seen_again(phys, as_, cpu):
    file = File(phys, bytes(P))
    as_.map(BASE, P, RW, SHARED, file, 0)
    cpu.access(as_, BASE, PROT_WRITE, 1)
    file.pages.flush()
    assert file.data[0] == 1
    cpu.access(as_, BASE, PROT_WRITE, 2)
    assert file.pages.dirty == {0}
    file.pages.flush()
    assert file.data[0] == 2


def test_write_back_stops_at_the_end_of_the_file(phys, as_, cpu):
    file = File(phys, b"12345")
    as_.map(BASE, P, RW, SHARED, file, 0)
    cpu.access(as_, BASE + 4, PROT_WRITE, ord("x"))
    cpu.access(as_, BASE + 100, PROT_WRITE, ord("y"))
    as_.unmap(BASE, P)
    assert bytes(file.data) == b"1234x"


@pytest.mark.parametrize("make", [File, ClusterFile, lambda phys, data: Object(phys, len(data))])
def test_access_beyond_the_last_page_of_the_object_objerr(phys, as_, cpu, make):
    vnode = make(phys, bytes(P + 1))
    as_.map(BASE, 4 * P, RW, SHARED, vnode, 0)
    cpu.access(as_, BASE + P + 500, PROT_WRITE, 1)
    for access in (PROT_READ, PROT_WRITE):
        with pytest.raises(SegFault) as fault:
            cpu.access(as_, BASE + 2 * P, access, 1)
        assert fault.value.code == FC_OBJERR


def test_read_fault_on_a_file_maps_cached_neighbours(phys, as_, cpu):
    file = ClusterFile(phys, bytes(40 * P))
    as_.map(BASE, 40 * P, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, 0)
    cpu.access(as_, BASE + 17 * P, PROT_READ)
    assert file.reads == [16]
    assert as_.rss == 16
    for i in range(16, 32):
        cpu.access(as_, BASE + i * P, PROT_READ)
    assert as_.minflt == 1
    assert as_.majflt == 1


def test_executable_pages_are_known(phys, as_, cpu):
    file = File(phys, bytes(P))
    as_.map(BASE, P, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, file, 0)
    cpu.access(as_, BASE, PROT_EXEC)
    pfn = file.pages.get(0)
    assert phys.xframes[pfn]
    file.pages.update(0, b"\x90")
    assert cpu.invalidated == [pfn]


def test_becoming_executable_again_drops_old_code(as_, cpu):
    as_.map(BASE, P, RW | PROT_EXEC, FIXED)
    cpu.access(as_, BASE, PROT_WRITE, 1)
    as_.setprot(BASE, P, RW)
    assert cpu.invalidated == []
    as_.setprot(BASE, P, PROT_READ | PROT_EXEC)
    assert len(cpu.invalidated) == 1


def test_kernel_store_to_code_drops_it(as_, cpu):
    as_.map(BASE, P, RW | PROT_EXEC, FIXED)
    cpu.access(as_, BASE, PROT_WRITE, 1)
    cpu.access(as_, BASE, PROT_EXEC)
    for count, store in enumerate(
        (
            lambda: as_.copyout(BASE, b"\x90"),
            lambda: as_.store_u32(BASE, 1),
            lambda: as_.store_u8(BASE, 1),
            lambda: list(as_.spans(BASE, 4, write=True)),
        ),
        1,
    ):
        store()
        assert len(cpu.invalidated) == count


# -- fork --------------------------------------------------------------------------------------


def test_fork_isolates_private_memory_both_ways(phys, as_, cpu):
    as_.map(BASE, 3 * P, RW, FIXED)
    for i in range(3):
        cpu.access(as_, BASE + i * P, PROT_WRITE, 10 + i)
    child = as_.dup()
    frames = phys.free_frames
    cpu.access(as_, BASE, PROT_WRITE, 99)
    cpu.access(child, BASE + P, PROT_WRITE, 77)
    assert [cpu.access(as_, BASE + i * P, PROT_READ) for i in range(3)] == [99, 11, 12]
    assert [cpu.access(child, BASE + i * P, PROT_READ) for i in range(3)] == [10, 77, 12]
    assert frames - phys.free_frames == 2
    child.free()


def test_last_holder_takes_the_page_over_without_a_copy(phys, as_, cpu):
    as_.map(BASE, P, RW, FIXED)
    cpu.access(as_, BASE, PROT_WRITE, 1)
    as_.dup().free()
    frames = phys.free_frames
    pte = walk(phys, as_.hat.cr3, BASE)
    cpu.access(as_, BASE, PROT_WRITE, 2)
    assert phys.free_frames == frames
    assert walk(phys, as_.hat.cr3, BASE) == pte | 2


def test_fork_shares_shared_memory(phys, as_, cpu):
    as_.map(BASE, P, RW, MAP_SHARED | MAP_ANON | MAP_FIXED)
    child = as_.dup()
    cpu.access(child, BASE, PROT_WRITE, 5)
    assert cpu.access(as_, BASE, PROT_READ) == 5
    cpu.access(as_, BASE, PROT_WRITE, 6)
    assert cpu.access(child, BASE, PROT_READ) == 6
    child.free()


def test_fork_of_inaccessible_memory_keeps_contents(as_, cpu):
    as_.map(BASE, P, RW, FIXED)
    cpu.access(as_, BASE, PROT_WRITE, 5)
    as_.setprot(BASE, P, PROT_NONE)
    child = as_.dup()
    for space in (child, as_):
        with pytest.raises(SegFault):
            cpu.access(space, BASE, PROT_READ)
        space.setprot(BASE, P, RW)
    cpu.access(child, BASE, PROT_WRITE, 6)
    assert cpu.access(as_, BASE, PROT_READ) == 5
    child.free()


def test_fork_out_of_memory_leaves_the_parent_whole():
    phys = PhysMem(64 * P)
    as_ = As(phys)
    as_.map(BASE, 50 * P, RW, FIXED)
    as_.populate(BASE, BASE + 50 * P)
    while phys.free_frames > 2:
        phys.page_alloc()
    refs = list(phys.refs)
    with pytest.raises(KernelError) as failure:
        as_.dup()
    assert failure.value.errno is Errno.ENOMEM
    assert list(phys.refs) == refs
    assert phys.free_frames == 2


def test_kernel_store_after_an_unretried_fault_is_seen(as_, cpu):
    """A signal may keep the store from being retried; its frame goes to the same page."""
    as_.map(BASE, P, RW, FIXED)
    cpu.access(as_, BASE, PROT_WRITE, 1)
    child = as_.dup()
    assert cpu.access(child, BASE, PROT_READ) == 1  # cached: the parent's frame
    child.fault(BASE, PROT_WRITE)  # copied, but the store is not retried
    child.copyout(BASE, b"\2")
    assert cpu.access(child, BASE, PROT_READ) == 2
    assert cpu.access(as_, BASE, PROT_READ) == 1
    child.free()


def test_new_mappings_and_upgrades_do_not_flush(as_, cpu):
    cpu.switch(as_)
    as_.map(BASE, 8 * P, RW, FIXED)
    cpu.access(as_, BASE, PROT_READ)
    cpu.access(as_, BASE, PROT_WRITE, 1)
    as_.setprot(BASE, 8 * P, RW | PROT_EXEC)
    as_.unmap(BASE + 4 * P, 4 * P)  # nothing was there yet
    assert cpu.flushes == 0
    as_.setprot(BASE, P, PROT_READ)
    assert cpu.flushes == 1
    as_.unmap(BASE, 4 * P)
    assert cpu.flushes == 2


def test_changes_of_an_idle_space_do_not_flush(as_, cpu):
    as_.map(BASE, P, RW, FIXED)
    as_.copyout(BASE, b"x")
    as_.dup().free()
    as_.setprot(BASE, P, PROT_READ)
    as_.unmap(BASE, P)
    assert cpu.flushes == 0


# -- memory exhausted, stacks ------------------------------------------------------------------


def test_fault_without_a_frame_is_out_of_memory():
    phys = PhysMem(32 * P)
    as_ = As(phys)
    as_.map(BASE, 31 * P, RW, FIXED)
    as_.populate(BASE, BASE + 31 * P)
    with pytest.raises(OutOfMemory):
        as_.fault(BASE + 30 * P, PROT_WRITE)
    with pytest.raises(KernelError) as failure:
        as_.copyout(BASE + 30 * P, b"x")
    assert failure.value.errno is Errno.ENOMEM


def grow(as_: As, top: int = BASE + 4096 * P) -> int:
    as_.map(top - P, P, RW, FIXED | MAP_GROWSDOWN)
    return top - P


def test_stack_grows_to_the_fault(as_, cpu):
    low = grow(as_)
    cpu.access(as_, low - 20 * P + 8, PROT_WRITE, 1)
    (seg,) = as_.maps()
    assert seg.start == low - 20 * P
    assert as_.vsize == 21 * P


def test_stack_grows_no_further_than_its_limit(as_, cpu):
    as_.limits = lambda r: 16 * P if r == RLIMIT_STACK else RLIM_INFINITY
    low = grow(as_)
    cpu.access(as_, low - 15 * P, PROT_WRITE, 1)
    with pytest.raises(SegFault) as fault:
        cpu.access(as_, low - 16 * P, PROT_WRITE, 1)
    assert fault.value.code == FC_NOMAP


def test_stack_keeps_a_gap_to_what_lies_below(as_, cpu):
    low = grow(as_)
    below = low - STACK_GUARD - 8 * P
    as_.map(below, P, RW, FIXED)
    cpu.access(as_, low - 7 * P, PROT_WRITE, 1)
    with pytest.raises(SegFault):
        cpu.access(as_, low - 8 * P, PROT_WRITE, 1)
    as_.setprot(below, P, PROT_NONE)  # a mapping that is a guard itself may be near
    cpu.access(as_, low - 8 * P, PROT_WRITE, 1)


def test_audit_of_a_busy_space(phys, as_, cpu):
    file = ClusterFile(phys, bytes(8 * P))
    as_.map(BASE, 8 * P, RW | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, file, 0)
    as_.map(BASE + 510 * P, 8 * P, RW, FIXED)
    for i in (0, 3, 510, 511, 512):
        cpu.access(as_, BASE + i * P, PROT_WRITE, i & 0xFF)
    child = as_.dup()
    cpu.access(child, BASE + 3 * P, PROT_WRITE, 1)
    audit(phys, [as_, child], [file.pages])
    child.free()
    audit(phys, [as_], [file.pages])
