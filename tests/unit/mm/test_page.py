from __future__ import annotations

import pytest

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.mm import page
from lxemu.kernel.mm.page import PhysMem

from .machine import File, P


def test_page_alloc_is_zero_even_when_reused(phys):
    pfn = phys.page_alloc()
    assert pfn > 0
    phys.mv[pfn * P : (pfn + 1) * P] = b"x" * P
    phys.page_rele(pfn)

    again = phys.page_alloc()

    assert again == pfn
    assert bytes(phys.mv[pfn * P : (pfn + 1) * P]) == bytes(P)
    phys.page_rele(again)


def test_page_hold_keeps_the_frame(phys):
    pfn = phys.page_alloc()
    phys.page_hold(pfn)
    assert phys.page_shared(pfn)
    phys.page_rele(pfn)
    assert not phys.page_shared(pfn)
    before = phys.free_frames
    phys.page_rele(pfn)
    assert phys.free_frames == before + 1


def test_page_copy_copies(phys):
    pfn = phys.page_alloc()
    phys.q[pfn << 9] = 0x1234
    new = phys.page_copy(pfn)
    assert new != pfn
    assert phys.q[new << 9] == 0x1234
    phys.page_rele(new)
    phys.page_rele(pfn)


def test_page_alloc_past_the_limit_enomem():
    phys = PhysMem(16 * P)
    pfns = [phys.page_alloc() for _ in range(15)]  # frame 0 is not for use
    with pytest.raises(KernelError) as failure:
        phys.page_alloc()
    assert failure.value.errno is Errno.ENOMEM
    assert len(set(pfns)) == 15
    phys.page_rele(pfns[3])
    assert phys.page_alloc() == pfns[3]


def test_page_alloc_reclaims_clean_file_pages():
    phys = PhysMem(32 * P)
    file = File(phys, b"f" * (8 * P))
    dirty = file.pages.get(0)
    file.pages.dirty.add(0)
    for index in range(1, 8):
        file.pages.get(index)
    for _ in range(31 - 8 + 7):
        phys.page_alloc()
    assert list(file.pages.pages.items()) == [(0, dirty)]
    with pytest.raises(KernelError):
        phys.page_alloc()


def test_executable_frame_is_invalidated_before_reuse(phys, cpu):
    pfn = phys.page_alloc()
    phys.xframes[pfn] = 1
    phys.page_rele(pfn)
    assert cpu.invalidated == []

    assert phys.page_alloc() == pfn

    assert cpu.invalidated == [pfn]
    assert not phys.xframes[pfn]
    phys.page_rele(pfn)


def test_frames_outlive_the_engine(phys, cpu):
    pfn = phys.page_alloc()
    phys.xframes[pfn] = 1
    del phys.mmu.flush, phys.mmu.invalidate  # what the engine does when it is closed
    phys.page_rele(pfn)
    phys.page_rele(phys.page_alloc())
    phys.mmu.stale = True
    phys.mmu.settle()
    assert cpu.invalidated == []


def test_large_frees_give_host_memory_back(phys, cpu, monkeypatch):
    monkeypatch.setattr(page, "_TRIM_HIGH", 64)
    pfns = [phys.page_alloc() for _ in range(512)]
    for pfn in pfns:
        phys.q[pfn << 9] = 1
        phys.refs[pfn] = 0
    phys.xframes[pfns[5]] = 1
    before = phys.free_frames

    phys.pages_free(pfns)

    assert phys.free_frames == before + 512
    assert len(phys._free) < 64
    assert cpu.invalidated == [pfns[5]]
    again = [phys.page_alloc() for _ in range(512)]
    assert set(again) == set(pfns)
    assert not any(phys.q[pfn << 9] for pfn in again)
    for pfn in again:
        phys.page_rele(pfn)


def test_memory_above_4_gib_keeps_root_tables_low():
    phys = PhysMem(8 << 30)
    before = phys.free_frames
    low = phys.page_alloc_low()
    high = phys.page_alloc()
    assert low < 1 << 14 <= high
    phys.page_rele(low)
    phys.page_rele(high)
    assert phys.free_frames == before


def test_close_releases_the_mapping():
    phys = PhysMem(1 << 20)
    phys.close()
    assert phys.ram.closed


def test_frames_freed_after_close_are_not_trimmed(monkeypatch):
    monkeypatch.setattr(page, "_TRIM_HIGH", 64)
    phys = PhysMem(2 << 20)
    pfns = [phys.page_alloc() for _ in range(256)]
    before = phys.free_frames
    phys.close()

    phys.pages_free(pfns)

    assert phys.free_frames == before + 256
