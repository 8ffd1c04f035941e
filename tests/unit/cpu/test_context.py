"""Contexts keep every register of an lwp while another runs, and give access to all of them."""

from __future__ import annotations

import struct

import pytest

from lxemu.cpu.context import NAMES
from tests.unit.cpu.rig import CODE, DATA, STACK

EXIT64 = b"\xb8\x3c\0\0\0\x0f\x05"
EXIT32 = b"\xb8\x3c\0\0\0\xcd\x80"
LEAVE = {64: EXIT64, 32: EXIT32}


@pytest.mark.parametrize(("bits", "cs", "ds"), [(64, 0x33, 0), (32, 0x23, 0x2B)])
def test_fresh_image(rig, bits, cs, ds):
    """Registers as a Linux program finds them (start_thread, fpu__clear)."""
    lwp = rig.lwp(LEAVE[bits], bits)
    regs = lwp.regs
    words = {name: getattr(regs, name) for name in NAMES if name not in ("rsp", "rip")}

    assert set(words.values()) == {0}
    assert (regs.rip, regs.rsp, regs.rflags) == (CODE, STACK + 0xFF0, 0x202)
    assert (regs.cs, regs.ss, regs.ds, regs.es, regs.fs, regs.gs) == (cs, 0x2B, ds, ds, 0, 0)
    assert (regs.fpcw, regs.fpsw, regs.mxcsr) == (0x37F, 0, 0x1F80)
    assert (regs.fs_base, regs.gs_base) == (0, 0)
    assert regs.fxsave == struct.pack("<H22xII", 0x37F, 0x1F80, 0xFFFF) + bytes(480)


# mov %ds,%eax; mov %eax,(DATA); the same for es, fs, gs, ss, cs
_STORE_SELECTORS = (
    b"\xbf"
    + DATA.to_bytes(4, "little")
    + b"".join(
        b"\x8c" + bytes((0xC0 | sreg << 3,)) + b"\x89\x47" + bytes((4 * i,))
        for i, sreg in enumerate((3, 0, 4, 5, 2, 1))
    )
)


@pytest.mark.parametrize(("bits", "ds"), [(64, 0), (32, 0x2B)])
def test_fresh_selectors_as_the_program_reads_them(rig, bits, ds):
    lwp = rig.run(rig.lwp(_STORE_SELECTORS + LEAVE[bits], bits))
    got = struct.unpack("<6I", lwp.as_.read(DATA, 24))

    assert got == (ds, ds, 0, 0, 0x2B, 0x33 if bits == 64 else 0x23)


# fldpi; fld1; movups of two patterns to xmm1 and xmm9 out of memory at DATA+512.
_FPU = (
    b"\xbf" + DATA.to_bytes(4, "little") + b"\xd9\xeb\xd9\xe8"
    b"\x0f\x10\x8f\x00\x02\0\0\x44\x0f\x10\x8f\x10\x02\0\0"
)
_FXSAVE = b"\x0f\xae\x07"
_FXRSTOR = b"\x0f\xae\x0f"


def test_fxsave_is_the_image_that_the_instruction_stores(rig):
    lwp = rig.lwp(_FPU + _FXSAVE + EXIT64)
    lwp.as_.write(DATA + 0x200, bytes(range(32)))
    rig.run(lwp)
    stored = lwp.as_.read(DATA, 512)
    image = lwp.regs.fxsave

    assert image[:8] == stored[:8]  # control, status, tag, opcode
    assert image[24:28] == stored[24:28]  # mxcsr
    for st in range(8):
        assert image[32 + 16 * st : 42 + 16 * st] == stored[32 + 16 * st : 42 + 16 * st]
    assert image[160:416] == stored[160:416]


def test_fxsave_written_is_what_the_instruction_stores(rig):
    first = rig.lwp(_FPU + EXIT64)
    first.as_.write(DATA + 0x200, bytes(range(32)))
    rig.run(first)
    image = first.regs.fxsave

    second = rig.lwp(b"\xbf" + DATA.to_bytes(4, "little") + _FXSAVE + EXIT64)
    second.regs.fxsave = image
    rig.run(second)
    stored = second.as_.read(DATA, 512)

    assert stored[:6] == image[:6]
    assert stored[24:28] == image[24:28]
    assert stored[160:416] == image[160:416]
    assert [stored[32 + 16 * i : 42 + 16 * i] for i in range(8)] == [
        image[32 + 16 * i : 42 + 16 * i] for i in range(8)
    ]
    assert second.regs.fxsave == image


def test_fxsave_survives_a_round_trip_with_a_rotated_stack(rig):
    """The stack top is in the status word, so registers must come back under their own names."""
    lwp = rig.run(rig.lwp(b"\xd9\xe8\xd9\xeb\xd9\xee\xd9\xf6" + EXIT64))  # fld1 fldpi fldz fdecstp
    image = lwp.regs.fxsave
    lwp.regs.fxsave = bytes(512)
    lwp.regs.fxsave = image

    assert lwp.regs.fxsave == image


def test_rflags_are_materialised(rig):
    lwp = rig.run(rig.lwp(b"\xb8\xff\xff\xff\xff\x05\x01\0\0\0\xb8\x3c\0\0\0\x0f\x05"))

    assert lwp.regs.rflags & 0x8D5 == 0x55  # CF PF AF ZF of 0xffffffff + 1
    lwp.regs.rflags = 0xA93
    assert lwp.regs.rflags == 0xA93


def test_rflags_written_are_what_the_program_sees(rig):
    lwp = rig.lwp(b"\x9c\x5b" + EXIT64)  # pushf; pop %rbx
    lwp.regs.rflags = 0x202 | 0x8C1
    rig.run(lwp)

    assert lwp.regs.rbx == 0xAC3


def _pair(rig, bits=64):
    """Two lwps with distinct general registers, x87 and SSE state, not run yet."""
    made = []
    for tag in (1, 2):
        lwp = rig.lwp(LEAVE[bits], bits)
        for index, name in enumerate(NAMES[:4]):
            setattr(lwp.regs, name, tag << 32 | index)
        lwp.regs.mxcsr = 0x1F80 | tag
        lwp.regs.fs_base = 0x7000_0000_0000 + tag
        lwp.regs.rflags = 0x202 | tag << 6 & 0x40
        made.append(lwp)
    return made


def test_switch_saves_and_restores_everything(rig):
    one, two = _pair(rig)
    before = one.regs.dump(), one.regs.fxsave, two.regs.dump(), two.regs.fxsave
    for lwp in (one, two, one, two, two, one):
        rig.engine.switch(lwp)
        assert rig.engine.owner is lwp
        assert rig.engine.q[0] == lwp.regs.rax
    assert (one.regs.dump(), one.regs.fxsave, two.regs.dump(), two.regs.fxsave) == before
    assert before[0] != before[2]


def test_registers_of_a_sleeping_lwp_can_be_changed(rig):
    one, two = _pair(rig)
    rig.engine.switch(one)
    live = one.regs.dump()
    two.regs.rbx = 77
    two.regs.rflags = 0x246
    two.regs.gs_base = 0x1234

    assert one.regs.dump() == live
    rig.engine.switch(two)
    assert (two.regs.rbx, two.regs.rflags, two.regs.gs_base) == (77, 0x246, 0x1234)
    assert rig.engine.q[3] == 77


def test_switch_changes_the_address_space(rig):
    code = b"\xbf" + DATA.to_bytes(4, "little") + b"\x8b\x1f" + EXIT64  # mov (DATA),%ebx
    lwps = [rig.lwp(code) for _ in range(3)]
    for number, lwp in enumerate(lwps):
        lwp.as_.write(DATA, number.to_bytes(4, "little"))
    for lwp in lwps:
        rig.run(lwp)
        assert rig.phys.mmu.live is lwp.as_.hat

    assert [lwp.regs.rbx for lwp in lwps] == [0, 1, 2]


def test_threads_share_an_address_space_and_nothing_else(rig):
    one = rig.lwp(b"\xff\xc3\xff\x07" + EXIT64)  # inc %ebx; incl (%rdi)
    two = rig.lwp(b"", as_=one.as_)
    one.regs.rdi = two.regs.rdi = DATA
    two.regs.rbx = 10
    rig.run(one)
    rig.run(two)

    assert (one.regs.rbx, two.regs.rbx) == (1, 11)
    assert one.as_.read(DATA, 1) == b"\x02"


@pytest.mark.parametrize("live", [True, False])
def test_copy_for_fork(rig, live):
    parent = _pair(rig)[0]
    other = rig.lwp(EXIT64)
    rig.engine.switch(parent)
    if not live:
        rig.engine.switch(other)
    child = rig.lwp(EXIT64)
    child.cpu.copy_from(parent)
    child.cpu.set_return(0)
    child.cpu.set_stack(0x1230)

    assert child.regs.rax == 0
    assert child.regs.rsp == 0x1230
    assert child.regs.rcx == parent.regs.rcx == 1 << 32 | 1
    assert child.regs.fxsave == parent.regs.fxsave
    assert child.regs.fs_base == parent.regs.fs_base
    assert parent.regs.rax == 1 << 32


def _tls(base: int) -> int:
    """A 32-bit writable data descriptor, as set_thread_area builds it."""
    access = 0xF2 << 40 | 0xF << 48 | 0xC0 << 48
    return 0xFFFF | (base & 0xFFFFFF) << 16 | access | base >> 24 << 56


def test_tls_segment_is_loaded_by_the_program(rig):
    # mov $0x63,%eax; mov %eax,%gs; mov %gs:4,%ebx
    code = b"\xb8\x63\0\0\0\x8e\xe8\x65\x8b\x1d\x04\0\0\0" + EXIT32
    lwps = [rig.lwp(code, 32) for _ in range(2)]
    for number, lwp in enumerate(lwps):
        lwp.cpu.set_tls(0, _tls(DATA + 16 * number))
        lwp.as_.write(DATA + 16 * number + 4, bytes((number + 5,)))
    rig.engine.switch(lwps[0])
    for lwp in (lwps[1], lwps[0]):
        rig.run(lwp)

    assert rig.machine.faults == []
    assert [lwp.regs.rbx for lwp in lwps] == [5, 6]
    assert [lwp.regs.gs_base for lwp in lwps] == [DATA, DATA + 16]
    assert lwps[0].regs.gs == 0x63


def test_selector_written_by_the_kernel_loads_the_base(rig):
    lwp = rig.lwp(b"\x65\x8b\x1d\0\0\0\0" + EXIT32, 32)  # mov %gs:0,%ebx
    lwp.as_.write(DATA + 8, b"\x2a")
    lwp.cpu.set_tls(1, _tls(DATA + 8))
    lwp.regs.gs = 0x6B
    rig.run(lwp)

    assert (lwp.regs.rbx, lwp.regs.gs) == (42, 0x6B)


def test_fs_base_of_64_bit_code(rig):
    lwp = rig.lwp(b"\x64\x48\x8b\x1c\x25\x10\0\0\0" + EXIT64)  # mov %fs:0x10,%rbx
    lwp.as_.write(DATA + 0x10, b"\x2b")
    lwp.regs.fs_base = DATA
    rig.run(lwp)

    assert lwp.regs.rbx == 43


def test_wrfsbase_is_kept_over_a_switch(rig):
    one = rig.run(rig.lwp(b"\xbb\0\0\x02\0\xf3\x48\x0f\xae\xd3" + EXIT64))  # wrfsbase %rbx
    rig.run(rig.lwp(EXIT64))

    assert one.regs.fs_base == DATA


def test_cpuid_has_no_avx_and_no_fast_rep(rig):
    # mov $1,%eax; cpuid; mov %ecx,%esi; mov $7,%eax; xor %ecx,%ecx; cpuid; mov %ebx,%ebp
    code = b"\xb8\x01\0\0\0\x0f\xa2\x89\xce\x41\x89\xd4\xb8\x07\0\0\0\x31\xc9\x0f\xa2\x89\xdd"
    lwp = rig.run(rig.lwp(code + EXIT64))
    leaf1_ecx, leaf1_edx, leaf7_ebx = lwp.regs.rsi, lwp.regs.r12, lwp.regs.rbp

    for bit in (0, 9, 13, 19, 20, 23):  # SSE3 SSSE3 CX16 SSE4.1 SSE4.2 POPCNT: x86-64-v2
        assert leaf1_ecx >> bit & 1
    assert not leaf1_ecx >> 28 & 1  # AVX
    assert not leaf1_ecx >> 27 & 1  # OSXSAVE: the program saves its state with FXSAVE
    assert leaf1_edx >> 26 & 1  # SSE2
    assert not leaf7_ebx >> 9 & 1  # ERMS
    assert not leaf7_ebx >> 5 & 1  # AVX2


def test_use_after_close_is_harmless(rig):
    lwp = rig.lwp(EXIT64)
    rig.engine.close()
    rig.engine.close()
    rig.engine.q[0] = 1
    rig.phys.mmu.flush()
    rig.phys.mmu.invalidate(1)

    assert lwp.regs.rax == 0


@pytest.mark.parametrize("selector", [0x0C, 0x63, 0x28 + 0x100, 0x10])
@pytest.mark.parametrize("name", ["ds", "es", "fs", "gs"])
def test_bad_selector_written_by_the_kernel_becomes_0(rig, name, selector):
    """A local table, an empty slot, beyond the table, the supervisor's code."""
    lwp = rig.lwp(b"\xb9\0\0\x05\0\x8b\x01", 32)
    rig.engine.switch(lwp)
    setattr(lwp.regs, name, selector)
    rig.run(lwp)

    assert getattr(lwp.regs, name) == 0
    assert [(v, e) for v, e, _, _ in rig.machine.faults] == [(14, 4)]


def test_cpuid_for_the_kernel_is_what_programs_see(rig):
    """Asked in the middle of a program, which must not notice."""
    lwp = rig.lwp(b"\xb8\x01\0\0\0\x0f\xa2\x89\xce\x89\xd7" + b"\xb8\x05\0\0\0\x0f\x05" + EXIT64)
    rig.brands[64].stubs[5] = lambda _lwp: len(rig.engine.cpuid)
    rig.run(lwp)
    _, _, ecx, edx = rig.engine.cpuid[1]

    assert rig.machine.faults == []
    assert (ecx, edx) == (lwp.regs.rsi, lwp.regs.rdi)
    assert b"".join(rig.engine.cpuid[0][i].to_bytes(4, "little") for i in (1, 3, 2)) == (
        b"AuthenticAMD"
    )


@pytest.mark.parametrize("selector", [0x63, 0x6B])
def test_segments_of_a_saved_context_are_reloaded_as_the_processor_does(rig, selector):
    lwp = rig.lwp(b"\xcc", 32)
    other, slot = lwp.cpu, (selector >> 3) - 12
    other.set_tls(slot, 0x12CF_F300_3456_FFFF)
    other.fs = other.gs = selector
    other.set_tls(slot, 0x0040_F378_9ABC_0123)
    other.reload_segments(selector)
    quick = bytes(other.buf.raw)
    other.fs = other.gs = selector  # by way of the engine

    assert other.gs_base == 0x00789ABC
    assert quick == bytes(other.buf.raw)
    other.set_tls(slot, 0)
    other.reload_segments(selector)
    assert (other.fs, other.gs) == (0, 0)
