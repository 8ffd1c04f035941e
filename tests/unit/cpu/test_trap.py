"""Every way out of user mode, in both modes: vector, error code, CR2 and where it leaves rip.

Reference: AMD64 Architecture Programmer's Manual volume 2, chapter 8; for software interrupts other
than 3, 4 and 0x80 also what a 64-bit Linux kernel allows user code (#GP with the descriptor's error
code).
"""

from __future__ import annotations

import pytest

from lxemu.kernel.errno import Errno, KernelError
from tests.unit.cpu.rig import CODE, DATA, NCALLS, RX, Done, FakeAs

EXIT64 = b"\xb8\x3c\0\0\0\x0f\x05"
EXIT32 = b"\xb8\x3c\0\0\0\xcd\x80"
BOTH = (64, 32)

#: name: (modes, code, vector, error, rip - CODE)
FAULTS = {
    "divide": (BOTH, b"\x31\xc9\xf7\xf1", 0, 0, 2),
    "single_step": (BOTH, b"\x9c\x81\x0c\x24\0\x01\0\0\x9d\x90\x90", 1, 0, 10),
    "int1_short": (BOTH, b"\xf1", 1, 0, 1),
    "int1": (BOTH, b"\xcd\x01", 13, 0x0A, 0),
    "int2": (BOTH, b"\xcd\x02", 13, 0x12, 0),
    "int3_short": (BOTH, b"\xcc", 3, 0, 1),
    "int3": (BOTH, b"\xcd\x03", 3, 0, 2),
    "int4": (BOTH, b"\xcd\x04", 4, 0, 2),
    "into": ((32,), b"\xb8\xff\xff\xff\x7f\x40\xce", 4, 0, 7),
    "bound": ((32,), b"\xb8\x05\0\0\0\x62\x04\x24", 5, 0, 5),
    "ud2": (BOTH, b"\x0f\x0b", 6, 0, 0),
    "avx256": ((64,), b"\xc5\xf4\x58\xc1", 6, 0, 0),
    "sysenter": (BOTH, b"\x0f\x34", 6, 0, 0),
    "syscall": ((32,), b"\x0f\x05", 6, 0, 0),
    "int0": (BOTH, b"\xcd\x00", 13, 0x02, 0),
    "int14": (BOTH, b"\xcd\x0e", 13, 0x72, 0),
    "int0x21": (BOTH, b"\xcd\x21", 13, 0x10A, 0),
    "hlt": (BOTH, b"\xf4", 13, 0, 0),
    "cli": (BOTH, b"\xfa", 13, 0, 0),
    "rdmsr": (BOTH, b"\x0f\x32", 13, 0, 0),
    "mov_cr3": (BOTH, b"\x0f\x20\xd8", 13, 0, 0),
    "not_canonical": ((64,), b"\x48\xb8" + bytes(6) + b"\x00\x80\x8b\x00", 13, 0, 10),
    "bad_selector": (BOTH, b"\x66\xb8\xff\x0f\x8e\xe8", 13, 0xFFC, 4),
    "x87": (
        BOTH,  # fninit; unmask division by zero; 1/0; fwait
        b"\xdb\xe3\xd9\x7c\x24\xf8\x66\x83\x64\x24\xf8\xfb\xd9\x6c\x24\xf8"
        b"\xd9\xe8\xd9\xee\xde\xf9\x9b",
        16,
        0,
        22,
    ),
}

#: name: (code, error, cr2, rip - CODE)
PAGE_FAULTS = {
    "read": (b"\xb9\0\0\x05\0\x8b\x01", 4, 0x50000, 5),
    "write": (b"\xb9\0\0\x05\0\x89\x01", 6, 0x50000, 5),
    "write_read_only": (b"\xb9\x10\0\x01\0\x89\x01", 7, CODE + 0x10, 5),
    "fetch": (b"\xb9\x34\x12\x05\0\xff\xe1", 0x14, 0x51234, 0x51234 - CODE),
    "fetch_no_execute": (b"\xb9\0\0\x02\0\xff\xe1", 0x15, DATA, DATA - CODE),
}


@pytest.mark.parametrize(
    ("bits", "name"), [(bits, name) for name, case in FAULTS.items() for bits in case[0]]
)
def test_fault(rig, bits, name):
    _, code, vector, error, pc = FAULTS[name]
    rig.run(rig.lwp(code, bits))

    assert [(v, e, p - CODE) for v, e, _, p in rig.machine.faults] == [(vector, error, pc)]


@pytest.mark.parametrize("bits", BOTH)
@pytest.mark.parametrize("name", PAGE_FAULTS)
def test_page_fault(rig, bits, name):
    code, error, cr2, pc = PAGE_FAULTS[name]
    rig.run(rig.lwp(code, bits))

    assert rig.machine.faults == [(14, error, cr2, CODE + pc)]


def test_fetch_of_the_vsyscall_page_is_a_page_fault(rig):
    rig.run(rig.lwp(b"\x48\xc7\xc0\x00\x00\x60\xff\xff\xe0"))  # jmp *0xffffffffff600000

    assert rig.machine.faults == [(14, 0x14, 0xFFFFFFFFFF600000, 0xFFFFFFFFFF600000)]


def test_supervisor_page_is_out_of_reach(rig):
    rig.run(rig.lwp(b"\x48\xc7\xc0\x00\xf0\xff\xff\x8b\x00"))

    assert rig.machine.faults == [(14, 5, 0xFFFFFFFFFFFFF000, CODE + 7)]


@pytest.mark.parametrize("bits", BOTH)
def test_fault_after_fault_is_never_a_double_fault(rig, bits):
    """Unicorn remembers the last fault for ever (issue 1883 there)."""

    def skip(lwp, _vector, _error, _cr2) -> None:
        if len(rig.machine.faults) == 6:
            raise Done
        lwp.q[16] += 2

    rig.machine.on_fault = skip
    # Three reads and three writes of unmapped memory, two bytes each.
    rig.run(rig.lwp(b"\xb9\0\0\x05\0" + b"\x8b\x01" * 3 + b"\x89\x01" * 3, bits))

    assert [v for v, _, _, _ in rig.machine.faults] == [14] * 6
    assert [e for _, e, _, _ in rig.machine.faults] == [4, 4, 4, 6, 6, 6]


@pytest.mark.parametrize(("bits", "leave"), [(64, EXIT64), (32, EXIT32)])
def test_fault_resolved_by_mapping_runs_the_instruction_again(rig, bits, leave):
    def map_page(lwp, _vector, _error, cr2) -> None:
        lwp.as_.page(cr2 & ~0xFFF, 3)

    rig.machine.on_fault = map_page
    lwp = rig.run(rig.lwp(b"\xb9\0\0\x05\0\xff\x01\xff\x01" + leave, bits))

    assert len(rig.machine.faults) == 1
    assert lwp.as_.read(0x50000, 4) == b"\x02\0\0\0"


def test_syscall_arguments_result_and_clobbers(rig):
    code = (
        b"\xb8\x05\0\0\0\xbf\x01\0\0\0\xbe\x02\0\0\0\xba\x03\0\0\0"
        b"\x41\xba\x04\0\0\0\x41\xb8\x05\0\0\0\x41\xb9\x06\0\0\0\x0f\x05"
    )
    rig.brands[64].stubs[5] = lambda lwp: rig.brands[64]._log(lwp) or 0x1234567890
    lwp = rig.run(rig.lwp(code + b"\x49\x89\xc7\x49\x89\xcd\x4d\x89\xde" + EXIT64))

    assert rig.brands[64].calls == [(5, 1, 2, 3, 4, 5, 6)]
    assert lwp.regs.r15 == 0x1234567890
    assert lwp.regs.r13 == CODE + len(code)  # rcx: the return address
    assert lwp.regs.r14 & 0x202 == 0x202  # r11: the flags


def test_int80_result_is_32_bits(rig):
    rig.brands[32].stubs[5] = lambda _lwp: -1
    lwp = rig.run(rig.lwp((b"\xb8\x05\0\0\0\xcd\x80\x89\xc7") + EXIT32, 32))

    assert lwp.regs.rdi == 0xFFFFFFFF


@pytest.mark.parametrize(
    ("bits", "trap", "leave"), [(64, b"\x0f\x05", EXIT64), (32, b"\xcd\x80", EXIT32)]
)
class TestCalls:
    def _call(self, rig, bits, trap, leave, number: int):
        code = b"\xb8" + number.to_bytes(4, "little") + trap + b"\x89\xc7" + leave
        lwp = rig.run(rig.lwp(code, bits))
        assert rig.machine.faults == []
        return lwp.regs.rdi

    def test_error_is_the_brands_number(self, rig, bits, trap, leave):
        def fail(_lwp) -> int:
            raise KernelError(Errno.ENOTSUP)

        rig.brands[bits].errno_out = tuple(range(1000, 1200))
        rig.brands[bits].stubs[5] = fail

        assert self._call(rig, bits, trap, leave, 5) == -(1000 + Errno.ENOTSUP) & 0xFFFFFFFF

    @pytest.mark.parametrize("number", [NCALLS, 100_000, 0x4000_0000, 0xFFFF_FFFF])
    def test_number_beyond_the_table_asks_nosys(self, rig, bits, trap, leave, number):
        result = self._call(rig, bits, trap, leave, number)

        assert rig.brands[bits].calls == [(number,)]
        assert result == -Errno.ENOSYS & 0xFFFFFFFF

    def test_index_error_of_a_handler_is_not_swallowed(self, rig, bits, trap, leave):
        rig.brands[bits].stubs[5] = lambda _lwp: [][0]

        with pytest.raises(IndexError):
            self._call(rig, bits, trap, leave, 5)

    def test_number_is_known_to_the_handler_and_forgotten_after_a_fault(
        self, rig, bits, trap, leave
    ):
        seen = []
        rig.brands[bits].stubs[5] = lambda lwp: seen.append(lwp.syscall_nr) or 0
        code = b"\xb8\x05\0\0\0" + trap + b"\x0f\x0b" + leave
        lwp = rig.run(rig.lwp(code, bits))

        assert seen == [5]
        assert lwp.syscall_nr == -1

    def test_ast_is_seen_after_the_call(self, rig, bits, trap, leave):
        def notify(lwp) -> int:
            lwp.ast = True
            return 0

        rig.brands[bits].stubs[5] = notify
        self._call(rig, bits, trap, leave, 5)

        assert rig.machine.asts == 1


def test_int80_in_64_bit_code_makes_a_32_bit_call(rig):
    rig.brands[32].stubs[20] = lambda lwp: rig.brands[32]._log(lwp) or -1
    lwp = rig.run(rig.lwp(b"\xb8\x14\0\0\0\xcd\x80\x48\x89\xc7" + EXIT64))

    assert [call[0] for call in rig.brands[32].calls] == [20]
    assert lwp.regs.rdi == (1 << 64) - 1


def test_other_interrupt_at_the_place_of_a_known_int80_of_another_image(rig):
    rig.run(rig.lwp(EXIT32, 32))
    rig.run(rig.lwp(b"\xb8\x05\0\0\0\xcd\x21", 32))

    assert [(v, e) for v, e, _, _ in rig.machine.faults] == [(13, 0x10A)]


@pytest.mark.parametrize(("first", "then"), [(64, 32), (32, 64)])
def test_exec_changes_the_mode(rig, first, then):
    leaves = {64: EXIT64, 32: EXIT32}

    def execute(lwp) -> int:
        lwp.brand = rig.brands[then]
        lwp.stubs = lwp.brand.stubs
        lwp.as_ = FakeAs(rig.phys)
        lwp.as_.page(CODE, RX, b"\xb8\x06\0\0\0" + leaves[then][5:] + leaves[then])
        rig.engine.set_mode(lwp.cpu, then, CODE, 0)
        return 0

    rig.brands[first].stubs[5] = execute
    lwp = rig.run(rig.lwp(b"\xb8\x05\0\0\0" + leaves[first][5:], first))

    assert rig.machine.faults == []
    assert [call[0] for call in rig.brands[then].calls] == [6]
    assert lwp.regs.cs == (0x33 if then == 64 else 0x23)


def test_single_stepped_syscall_is_made(rig):
    """As selftests/x86/single_step_syscall.c has it: no step is seen at the call itself."""
    seen = []

    def step(lwp, vector, _error, _cr2) -> None:
        assert vector == 1
        seen.append(lwp.q[16] - CODE)

    rig.machine.on_fault = step
    lwp = rig.lwp(b"\xb8\x05\0\0\0\x0f\x05\x90\x90" + EXIT64)
    lwp.regs.rflags = 0x302
    rig.run(lwp)

    assert [call[0] for call in rig.brands[64].calls] == [5]
    assert seen == [5, 8, 9, 14]


def test_step_to_the_instruction_after_a_syscall_makes_no_call(rig):
    rig.machine.on_fault = lambda *_: None
    # jmp over a call; nop; exit
    lwp = rig.lwp(b"\x90\xb8\x05\0\0\0\xeb\x02\x0f\x05\x90" + EXIT64)
    lwp.regs.rflags = 0x302
    rig.run(lwp)

    assert rig.brands[64].calls == []
