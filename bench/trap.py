"""Nanoseconds of each stage of a trap: `python -m bench.trap [--json] [--quick]`.

The guest is a loop of a few instructions around a system call whose stub does nothing. Every figure
is the least of many short samples, since the machines this runs on are shared. The budget is 750 ns
for a system call of either ABI, from one user instruction to the next.
"""

from __future__ import annotations

import json
import sys
import time
from ctypes import CFUNCTYPE, c_void_p, cast
from functools import partial
from typing import TYPE_CHECKING

from lxemu.cpu import binding as uc
from lxemu.cpu.engine import Engine
from lxemu.kernel.mm.page import PhysMem
from tests.unit.cpu.rig import CODE, DATA, RW, FakeLwp, Rig

if TYPE_CHECKING:
    from collections.abc import Callable

COUNT = 2000
SAMPLES = 20 if "--quick" in sys.argv else 150
BUDGET = 750
CALL = 5

_EXIT = {64: b"\xb8\x3c\0\0\0\x0f\x05", 32: b"\xb8\x3c\0\0\0\xcd\x80"}
_TRAP = {64: b"\x0f\x05", 32: b"\xcd\x80"}
# 64-bit: mov $n,%r12d; 1: mov $5,%eax; syscall; dec %r12d; jnz 1b. 32-bit the same with %ebp.
_SET = {64: b"\x41\xbc", 32: b"\xbd"}
_DEC = {64: b"\x41\xff\xcc\x75\xf4", 32: b"\x4d\x75\xf6"}


def least(work: Callable[[], object], count: int = 1, samples: int = SAMPLES) -> float:
    """Return the least time (ns) of `work`, divided by `count`."""
    best = float("inf")
    for _ in range(samples):
        started = time.perf_counter_ns()
        work()
        best = min(best, time.perf_counter_ns() - started)
    return best / count


def calls(bits: int, number: int = CALL, count: int = COUNT) -> bytes:
    """Return guest code that makes `count` system calls and exits."""
    body = b"\xb8" + number.to_bytes(4, "little") + _TRAP[bits] + _DEC[bits]
    return _SET[bits] + count.to_bytes(4, "little") + body + _EXIT[bits]


def _nothing(_lwp: object) -> int:
    return 0


def whole_trap(rig: Rig, bits: int) -> float:
    """A system call through the loop, with a stub that returns 0."""
    rig.brands[bits].stubs[CALL] = _nothing
    lwp = rig.lwp(calls(bits), bits)

    def work() -> None:
        rig.engine.set_mode(lwp.cpu, bits, CODE, 0)
        rig.run(lwp)

    return least(work, COUNT)


def engine_only(rig: Rig, bits: int) -> float:
    """Leave the guest and enter it again, nothing else."""
    lwp = rig.lwp(calls(bits, count=1 << 30), bits)
    rig.engine.switch(lwp)

    def work() -> None:
        run, times = rig.engine.run, range(COUNT)
        for _ in times:
            run()

    return least(work, COUNT)


class LeafEngine(Engine):
    """Answers some calls inside the hook: the alternative that was measured and not taken."""

    def _add_hooks(self) -> None:
        b, lib = self.binding, self.binding.lib
        stop = partial(lib.uc_emu_stop, self._ref)
        leaves: list[Callable[[object], int] | None] = [None] * 64
        leaves[CALL] = _nothing

        def answer() -> None:
            leaf = leaves[self.d[0]]
            if leaf is None:
                stop()
            else:
                self.q[0] = leaf(None)

        self.callback = CFUNCTYPE(None)(answer)
        b.hook(self.handle, uc.HOOK_INTR, lib.uc_emu_stop, None, 1, 0)
        address = cast(self.callback, c_void_p)
        b.hook(self.handle, uc.HOOK_INSN, address, None, 1, 0, uc.INS_SYSCALL)


def leaf_option() -> tuple[float, float]:
    """Return the cost of a leaf call and of another call with the combined hook."""
    rig = Rig(engine=LeafEngine)
    rig.brands[64].stubs[CALL + 1] = _nothing
    figures = []
    for number in (CALL, CALL + 1):
        lwp = rig.lwp(calls(64, number))

        def work(lwp: FakeLwp = lwp) -> None:
            rig.engine.set_mode(lwp.cpu, 64, CODE, 0)
            rig.run(lwp)

        figures.append(least(work, COUNT))
    rig.close()
    return figures[0], figures[1]


def page_fault(rig: Rig) -> float:
    """A page fault that is resolved by one store into the page table."""
    lwp = rig.lwp(
        b"\xb9\0\x10\0\0\xbe"
        + (DATA + 0x1000).to_bytes(4, "little")
        # 1: mov (%rsi),%eax; add $4096,%esi; dec %ecx; jnz 1b
        + b"\x8b\x06\x81\xc6\0\x10\0\0\xff\xc9\x75\xf4"
        + _EXIT[64]
    )
    pfn = lwp.as_.page(DATA + 0x100000, RW)
    bits = lwp.as_.hat.probe(DATA + 0x100000)
    count = 4096

    def enter(lwp: FakeLwp, _vector: int, _error: int, cr2: int) -> None:
        lwp.as_.pte(cr2 & ~0xFFF, bits)

    rig.machine.on_fault = enter

    def work() -> None:
        for page in range(count):
            lwp.as_.pte(DATA + 0x1000 + (page << 12), 0)
        rig.engine.set_mode(lwp.cpu, 64, CODE, 0)
        rig.engine.tlb_flush()
        started = time.perf_counter_ns()
        rig.run(lwp)
        samples.append((time.perf_counter_ns() - started) / count)

    samples: list[float] = []
    for _ in range(max(10, SAMPLES // 8)):
        rig.machine.faults.clear()
        work()
    assert len(rig.machine.faults) == count
    assert pfn
    return min(samples)


def small_operations(rig: Rig) -> dict[str, float]:
    """What the kernel asks of the engine between traps."""
    engine = rig.engine
    one, two = rig.lwp(_EXIT[64]), rig.lwp(_EXIT[64])
    thread = rig.lwp(b"", as_=one.as_)
    image = one.regs.fxsave
    pfn = rig.phys.page_alloc()

    def swap(first: FakeLwp, second: FakeLwp) -> Callable[[], None]:
        def work() -> None:
            engine.switch(first)
            engine.switch(second)

        return work

    return {
        "switch, same address space": least(swap(one, thread), 2),
        "switch, other address space": least(swap(one, two), 2),
        "drop cached translations": least(engine.tlb_flush),
        "invalidate one frame of code": least(lambda: engine.invalidate_code(pfn)),
        "new context": least(engine.new_context),
        "copy a live context": least(lambda: thread.cpu.copy_from(two)),
        "read the flags": least(lambda: two.regs.rflags),
        "read x87 and SSE state": least(lambda: two.regs.fxsave),
        "write x87 and SSE state": least(lambda: setattr(two.regs, "fxsave", image)),
    }


def start_up() -> float:
    """Make and close an engine."""

    def work() -> None:
        phys = PhysMem(1 << 32)
        started = time.perf_counter_ns()
        engine = Engine(phys)
        samples.append(time.perf_counter_ns() - started)
        engine.close()

    samples: list[float] = []
    for _ in range(5):
        work()
    return min(samples)


def measure() -> dict[str, float]:
    """Measure everything; keys are what the table shows, values ns."""
    rows: dict[str, float] = {}
    rig = Rig()
    for bits, name in ((64, "syscall"), (32, "int 0x80")):
        rows[f"leave and enter the guest, {name}"] = engine_only(rig, bits)
    for bits, name in ((64, "x86_64"), (32, "i386")):
        rows[f"system call, {name}"] = whole_trap(rig, bits)
    rows["page fault"] = page_fault(rig)
    rows |= small_operations(rig)
    rig.close()
    rig = Rig(private=False)
    for bits, name in ((64, "x86_64"), (32, "i386")):
        rows[f"system call, {name}, public interface"] = whole_trap(rig, bits)
    rig.close()
    rows["leaf call in a hook"], rows["other call with that hook"] = leaf_option()
    rows["start an engine"] = start_up()
    return rows


def main() -> None:
    """Print the figures, and whether the budget is kept."""
    rows = measure()
    if "--json" in sys.argv:
        print(json.dumps({"title": "trap", "unit": "ns", "rows": rows, "budget": BUDGET}))
        return
    for name, nanoseconds in rows.items():
        print(f"{name:42}{nanoseconds:12,.0f} ns")
    for name in ("x86_64", "i386"):
        kept = rows[f"system call, {name}"] <= BUDGET
        print(f"budget of {BUDGET} ns, {name}: {'kept' if kept else 'EXCEEDED'}")


if __name__ == "__main__":
    main()
