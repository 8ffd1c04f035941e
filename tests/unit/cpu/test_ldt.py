"""Local descriptor tables: what programs load, how a table grows, what is given back."""

from __future__ import annotations

import pytest

from lxemu.cpu.ldt import Ldt
from tests.unit.cpu.rig import DATA, STACK

_LEAVE = {64: b"\xb8\x3c\0\0\0\x0f\x05", 32: b"\xb8\x3c\0\0\0\xcd\x80"}


def segment(base: int) -> int:
    """A 32-bit writable data segment without a limit."""
    return 0xFFFF | (base & 0xFFFFFF) << 16 | 0xF3 << 40 | 0xF << 48 | 0xC << 52 | base >> 24 << 56


def by_gs(selector: int) -> bytes:
    """Mov $selector,%eax; mov %eax,%gs; mov %gs:(%ecx),%ebx."""
    return b"\xb8" + selector.to_bytes(4, "little") + b"\x8e\xe8\x65\x67\x8b\x19"


@pytest.mark.parametrize("bits", [64, 32])
def test_a_program_reads_through_its_segment(rig, bits):
    code = by_gs(2 << 3 | 7) if bits == 64 else by_gs(2 << 3 | 7).replace(b"\x67", b"")
    lwp = rig.lwp(code + _LEAVE[bits], bits)
    lwp.as_.write(DATA + 0x40, b"\x2a\0\0\0")
    ldt = Ldt(rig.engine.supervisor)
    ldt.write(2, segment(DATA))
    rig.engine.load_ldt(lwp.cpu, ldt)
    lwp.regs.rcx = 0x40
    rig.run(lwp)

    assert rig.machine.faults == []
    assert lwp.q[3] == 0x2A


@pytest.mark.parametrize("index", [1, 3, 8191])
def test_an_entry_that_is_not_there_faults(rig, index):
    lwp = rig.lwp(by_gs(index << 3 | 7) + _LEAVE[64])
    ldt = Ldt(rig.engine.supervisor)
    ldt.write(2, segment(STACK))
    rig.engine.load_ldt(lwp.cpu, ldt)
    rig.run(lwp)

    assert [fault[:2] for fault in rig.machine.faults] == [(13, index << 3 | 4)]


def test_a_table_grows_is_copied_and_is_given_back(rig):
    before = rig.phys.free_frames
    ldt = Ldt(rig.engine.supervisor)
    ldt.write(3, 7)
    first = ldt.base
    ldt.write(1500, 8)
    copy = ldt.copy()
    ldt.write(3, 9)
    copy.write(0, 1)

    assert (ldt.read(3), ldt.read(1500), ldt.read(1501)) == (9, 8, 0)
    assert (copy.read(3), copy.read(1500), copy.read(0), ldt.read(0)) == (7, 8, 1, 0)
    assert (ldt.entries, ldt.limit) == (1501, 1501 * 8 - 1)
    assert len({first, copy.base, ldt.base}) >= 2
    assert len(ldt.bytes()) == 1501 * 8
    ldt.free()
    copy.free()
    assert rig.phys.free_frames == before


def test_selectors_of_the_table_can_be_loaded_for_a_program(rig):
    """As a signal frame restores them."""
    lwp = rig.lwp(_LEAVE[64])
    ldt = Ldt(rig.engine.supervisor)
    ldt.write(2, segment(DATA))
    rig.engine.load_ldt(lwp.cpu, ldt)
    lwp.cpu.fs, lwp.cpu.gs = 2 << 3 | 7, 3 << 3 | 7

    assert (lwp.cpu.fs, lwp.cpu.fs_base, lwp.cpu.gs) == (2 << 3 | 7, DATA, 0)
