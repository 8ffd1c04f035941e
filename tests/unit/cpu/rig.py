"""A machine of the least possible kind: real memory and engine, fake processes, hand-made code.

Guest code is given as bytes. `Rig.run` runs an lwp until a call of number EXIT, or until `limit`
events.
"""

from __future__ import annotations

import contextlib
from typing import Any

from lxemu.cpu.engine import Engine
from lxemu.cpu.loop import user_loop
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.mm.hat import PTE_BITS, Hat
from lxemu.kernel.mm.page import PhysMem

CODE, DATA, STACK = 0x10000, 0x20000, 0x30000
EXIT = 60
NCALLS = 64
RW, RX = 3, 5


class Done(BaseException):
    """Unwinds user_loop."""


class FakeAs:
    """An address space: a hat, and pages mapped by the test."""

    def __init__(self, phys: PhysMem) -> None:
        self.hat = Hat(phys)
        self.phys = phys

    def page(self, va: int, prot: int, data: bytes = b"") -> int:
        pfn = self.phys.page_alloc()
        self.phys.ram[pfn << 12 : (pfn << 12) + len(data)] = data
        self.hat.memload(va, pfn, PTE_BITS[prot])
        return pfn

    def pte(self, va: int, value: int) -> None:
        self.phys.q[self.hat.leaf(va) + (va >> 12 & 511)] = value

    def read(self, va: int, size: int) -> bytes:
        pa = (self.hat.probe(va) & 0xFFFFFFFFFF000) + (va & 0xFFF)
        return bytes(self.phys.ram[pa : pa + size])

    def write(self, va: int, data: bytes) -> None:
        pa = (self.hat.probe(va) & 0xFFFFFFFFFF000) + (va & 0xFFF)
        self.phys.ram[pa : pa + len(data)] = data


class FakeBrand:
    """A table of NCALLS calls: EXIT ends the run, the others log and return 0 unless replaced."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.errno_out = tuple(range(200))
        self.calls: list[tuple[int, ...]] = []
        self.stubs: list[Any] = [self._log for _ in range(NCALLS)]
        self.stubs[EXIT] = self._exit

    def _log(self, lwp: Any) -> int:
        self.calls.append((lwp.syscall_nr, *(lwp.q[i] for i in (7, 6, 2, 10, 8, 9))))
        return 0

    def _exit(self, lwp: Any) -> int:
        raise Done

    def stubs_of(self, lwp: Any) -> list[Any]:
        return self.stubs

    def nosys(self, lwp: Any, number: int) -> int:
        self.calls.append((number,))
        raise KernelError(Errno.ENOSYS)


class FakeDisp:
    def busy(self) -> bool:
        return False


class FakeMachine:
    def __init__(self, engine: Engine, brands: dict[int, FakeBrand]) -> None:
        self.engine = engine
        self.brands = brands
        self.disp = FakeDisp()
        self.faults: list[tuple[int, int, int, int]] = []
        self.on_fault: Any = None
        self.asts = 0
        self.preempts = 0
        self.on_preempt: Any = None

    def brand_for(self, bits: int) -> FakeBrand:
        return self.brands[bits]

    def ast(self, lwp: Any) -> None:
        lwp.ast = False
        self.asts += 1

    def preempt(self, lwp: Any) -> None:
        self.preempts += 1
        if self.on_preempt is not None:
            self.on_preempt(lwp)

    def fault(self, lwp: Any, vector: int, error: int, cr2: int) -> None:
        self.faults.append((vector, error, cr2, lwp.regs.rip))
        if self.on_fault is None:
            raise Done
        self.on_fault(lwp, vector, error, cr2)


class FakeLwp:
    __slots__ = (
        "as_",
        "ast",
        "brand",
        "cpu",
        "machine",
        "q",
        "regs",
        "stubs",
        "syscall_nr",
        "trace",
    )

    def __init__(self, machine: FakeMachine, as_: FakeAs, brand: FakeBrand) -> None:
        self.machine, self.as_, self.brand = machine, as_, brand
        self.stubs = brand.stubs
        self.q = machine.engine.q
        self.cpu = machine.engine.new_context()
        self.regs = machine.engine.regs(self)
        self.ast = False
        self.syscall_nr = -1
        self.trace = None


class Rig:
    """The parts together. `private` False runs on the public interface of the library."""

    def __init__(
        self,
        private: bool | None = True,
        nbytes: int = 64 << 20,
        engine: type[Engine] = Engine,
        hook_gate: bool = False,
    ) -> None:
        self.phys = PhysMem(nbytes)
        self.engine = engine(self.phys, use_private=private, hook_gate=hook_gate)
        self.brands = {64: FakeBrand(64), 32: FakeBrand(32)}
        self.machine = FakeMachine(self.engine, self.brands)

    def lwp(self, code: bytes, bits: int = 64, as_: FakeAs | None = None) -> FakeLwp:
        """Return an lwp about to run `code`, with a page of data and a page of stack."""
        if as_ is None:
            as_ = FakeAs(self.phys)
            as_.page(CODE, RX, code)
            as_.page(DATA, RW)
            as_.page(STACK, RW)
        lwp = FakeLwp(self.machine, as_, self.brands[bits])
        self.engine.set_mode(lwp.cpu, bits, CODE, STACK + 0xFF0)
        return lwp

    def run(self, lwp: FakeLwp) -> FakeLwp:
        """Run `lwp` to its EXIT call or first fault."""
        with contextlib.suppress(Done):
            user_loop(lwp)  # type: ignore[arg-type]
        return lwp

    def close(self) -> None:
        self.engine.close()
