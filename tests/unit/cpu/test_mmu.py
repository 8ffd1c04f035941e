"""What the processor caches of the kernel's tables, and when it must be told.

The rules that the memory code relies on: a translation that was absent, and one that a write fault
replaces, need no flush; one that is removed or restricted does; code that the kernel writes must be
invalidated.
"""

from __future__ import annotations

import pytest

from lxemu.kernel.mm.hat import PTE_BITS, PTE_BITS_RO
from tests.unit.cpu.rig import CODE, RW, RX, Done, FakeAs

EXIT64 = b"\xb8\x3c\0\0\0\x0f\x05"
CALL5 = b"\xb8\x05\0\0\0\x0f\x05"
PAGE = 0x50000


def _at(va: int) -> bytes:
    return b"\xbe" + va.to_bytes(4, "little")  # mov $va,%esi


def test_new_translation_needs_no_flush(rig):
    rig.machine.on_fault = lambda lwp, _v, _e, cr2: lwp.as_.page(cr2 & ~0xFFF, RW, b"\x07")
    # Two pages, each faulted in by a read, with a system call between.
    code = _at(PAGE) + b"\x8b\x1e" + CALL5 + b"\x8b\xbe\0\x10\0\0" + EXIT64
    lwp = rig.run(rig.lwp(code))

    assert (lwp.regs.rbx, lwp.regs.rdi) == (7, 7)
    assert len(rig.machine.faults) == 2


def test_copy_on_write_upgrade_needs_no_flush(rig):
    """A read caches the old frame; the write fault must be answered by the new one."""

    def copy(lwp, _vector, error, cr2) -> None:
        assert error == 7
        old = lwp.as_.hat.probe(cr2) >> 12 & 0xFFFFFFFF
        new = rig.phys.page_copy(old)
        lwp.as_.pte(PAGE, new << 12 | PTE_BITS[RW])

    rig.machine.on_fault = copy
    # mov (%rsi),%ebx; incl (%rsi); mov (%rsi),%edi; mov 4(%rsi),%ebp
    lwp = rig.lwp(_at(PAGE) + b"\x8b\x1e\xff\x06\x8b\x3e\x8b\x6e\x04" + EXIT64)
    old = rig.phys.page_alloc()
    rig.phys.d[old << 10] = 41
    rig.phys.d[(old << 10) + 1] = 9
    lwp.as_.hat.memload(PAGE, old, PTE_BITS_RO[RW])
    rig.run(lwp)

    assert (lwp.regs.rbx, lwp.regs.rdi, lwp.regs.rbp) == (41, 42, 9)
    assert rig.phys.d[old << 10] == 41
    assert lwp.as_.read(PAGE, 4) == b"\x2a\0\0\0"


@pytest.mark.parametrize("restrict", ["remove", "write_protect"])
def test_restriction_needs_a_flush(rig, restrict):
    lwp = rig.lwp(_at(PAGE) + b"\xff\x06" + CALL5 + b"\xff\x06" + EXIT64)  # incl (%rsi), twice
    pfn = lwp.as_.page(PAGE, RW)
    bits = 0 if restrict == "remove" else pfn << 12 | PTE_BITS_RO[RW]

    def narrow(lwp) -> int:
        lwp.as_.pte(PAGE, bits)
        rig.engine.tlb_flush()
        return 0

    rig.brands[64].stubs[5] = narrow
    rig.run(lwp)

    # The load of `incl` faults before its store does: the error code says "read" where a real
    # processor says "write".
    assert [(v, e, c) for v, e, c, _ in rig.machine.faults] == [
        (14, 4 if restrict == "remove" else 7, PAGE)
    ]
    assert rig.phys.d[pfn << 10] == 1


def test_flush_settles_a_stale_page(rig):
    rig.phys.mmu.stale = True
    rig.engine.tlb_flush()

    assert not rig.phys.mmu.stale


def _calls_a_function(rig, rewrite):
    """Call a function in PAGE, let `rewrite` change it in a system call, call it again."""
    # mov $PAGE,%esi; call *%rsi; mov %eax,%ebp; <call 5>; call *%rsi; mov %eax,%ebx
    code = _at(PAGE) + b"\xff\xd6\x89\xc5" + CALL5 + b"\xff\xd6\x89\xc3" + EXIT64
    lwp = rig.lwp(code)
    pfn = lwp.as_.page(PAGE, RX, b"\xb8\x01\0\0\0\xc3")  # mov $1,%eax; ret
    rig.brands[64].stubs[5] = lambda lwp: rewrite(lwp, pfn) or 0
    rig.run(lwp)
    assert rig.machine.faults == []
    return lwp.regs.rbp, lwp.regs.rbx


def test_host_write_to_code_needs_invalidation(rig):
    def rewrite(_lwp, pfn) -> None:
        rig.phys.ram[(pfn << 12) + 1] = 2
        rig.engine.invalidate_code(pfn)

    assert _calls_a_function(rig, rewrite) == (1, 2)


def test_without_invalidation_the_old_code_runs(rig):
    """A failure here means that the library notices by itself, and the seam can go."""

    def rewrite(_lwp, pfn) -> None:
        rig.phys.ram[(pfn << 12) + 1] = 2

    assert _calls_a_function(rig, rewrite) == (1, 1)


def test_invalidation_of_a_frame_that_is_not_mapped(rig):
    pfn = rig.phys.page_alloc()
    for _ in range(1200):  # more than there are windows
        rig.engine.invalidate_code(pfn)
    lwp = rig.run(rig.lwp(EXIT64))

    assert rig.machine.faults == []
    assert lwp.regs.rip == CODE + len(EXIT64)


def test_window_is_closed_after_the_invalidation(rig):
    """No address of the supervisor's half may stay readable."""
    # mov $window,%rsi; <call 5>; mov (%rsi),%ebx
    code = b"\x48\xbe\0\0\xe0\xff\xff\xff\xff\xff" + CALL5 + b"\x8b\x1e"
    lwp = rig.lwp(code)
    rig.engine.supervisor._next = 0
    rig.brands[64].stubs[5] = lambda lwp: rig.engine.invalidate_code(rig.phys.page_alloc()) or 0
    rig.run(lwp)

    assert [(v, c) for v, _, c, _ in rig.machine.faults] == [(14, 0xFFFFFFFFFFE00000)]


def test_program_that_writes_its_own_code(rig):
    """W^X by mprotect, as a JIT does: write, make executable, run, four times over."""
    seen = []

    def protect(lwp) -> int:
        executable = lwp.q[7]
        pfn = lwp.as_.hat.probe(PAGE) >> 12 & 0xFFFFFFFF
        lwp.as_.pte(PAGE, pfn << 12 | PTE_BITS[RX if executable else RW])
        rig.engine.tlb_flush()
        if executable:
            rig.engine.invalidate_code(pfn)
        return 0

    def report(lwp) -> int:
        seen.append(lwp.q[7])
        return 0

    rig.brands[64].stubs[5], rig.brands[64].stubs[6] = protect, report
    body = (
        b"\x31\xff\xb8\x05\0\0\0\x0f\x05"  # protect(0)
        b"\x44\x88\x66\x01"  # mov %r12b,1(%rsi)
        b"\xbf\x01\0\0\0\xb8\x05\0\0\0\x0f\x05"  # protect(1)
        b"\xff\xd6\x89\xc7\xb8\x06\0\0\0\x0f\x05"  # call *%rsi; report(%eax)
        b"\x41\x83\xc4\x02\x41\x83\xfc\x0a"  # add $2,%r12d; cmp $10,%r12d
    )
    code = _at(PAGE) + b"\x41\xbc\x02\0\0\0" + body + b"\x75" + bytes((-(len(body) + 2) & 0xFF,))
    lwp = rig.lwp(code + EXIT64)
    lwp.as_.page(PAGE, RW, b"\xb8\x01\0\0\0\xc3")
    rig.run(lwp)

    assert seen == [2, 4, 6, 8]


def test_frame_freed_and_used_again_by_another_program(rig):
    """PhysMem invalidates an executable frame when it hands it out again."""
    one = rig.lwp(b"\xbb\x01\0\0\0" + EXIT64)
    rig.run(one)
    pfn = one.as_.hat.probe(CODE) >> 12 & 0xFFFFFFFF
    space = FakeAs(rig.phys)
    space.page(CODE + 0x1000, RW)  # takes the frames of the tables
    one.as_.pte(CODE, 0)
    rig.phys.page_rele(pfn)
    space.page(CODE, RX, b"\xbb\x02\0\0\0" + EXIT64)
    two = rig.lwp(b"", as_=space)

    assert two.as_.hat.probe(CODE) >> 12 & 0xFFFFFFFF == pfn
    assert rig.run(two).regs.rbx == 2


def test_leaving_an_address_space_maps_nothing(rig):
    lwp = rig.lwp(EXIT64)
    rig.engine.switch(lwp)
    rig.engine.leave_address_space()

    assert rig.phys.mmu.live is None
    assert rig.engine.fetch(CODE) is None
    rig.engine.owner = None
    rig.run(lwp)
    assert rig.machine.faults == []


def test_slices_flush_so_that_the_cache_can_grow(hook_rig):
    rig = hook_rig
    flushes = []
    rig.engine.tlb_flush = lambda: flushes.append(rig.engine.slices)

    def again(_lwp) -> None:
        if rig.engine.slices == 256:
            raise Done
        rig.engine.gate.open_at(CODE + 2 * (rig.engine.slices & 1))

    rig.machine.on_preempt = again
    rig.engine.gate.open_at(CODE)
    rig.run(rig.lwp(b"\xeb\x00\xeb\xfc"))  # jmp 1f; 1: jmp back

    assert flushes == [*range(1, 21), 128, 256]
