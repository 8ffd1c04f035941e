"""What ended a run of user code, told from what the processor leaves behind.

A system call instruction and every exception stop the engine in native code, so no callback of ours says
which it was. The words of the last exception do (see private.py), with the help of a hook that is
called with the vector in the place of its second argument: uc_query answers for the numbers 1 to 4, writing
to `Engine.mark`, and for no other. So a breakpoint is told from other software interrupts without
looking at the code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lxemu.cpu import binding as uc
from lxemu.errors import EngineError

if TYPE_CHECKING:
    from lxemu.cpu.engine import Engine

# Exception vectors (AMD64 Architecture Programmer's Manual, volume 2, table 8-1).
T_DE, T_DB, T_BP, T_OF, T_BR, T_UD, T_GP, T_PF, T_MF = 0, 1, 3, 4, 5, 6, 13, 14, 16
T_INT80 = 0x80
#: Not vectors: the SYSCALL instruction, and a stop that nothing in the guest caused.
T_SYSCALL, T_GATE = 0x100, 0x101

#: Values of the word `Engine.kind` after a run; FAULT and SOFTWARE are the processor's own.
FAULT, SOFTWARE, NOTHING, GATE = 0, 1, 2, 3

#: What uc_query leaves in `Engine.mark` for vectors 1 to 4, and its value before the run.
MARK_IDLE = 0x5EED_5EED_5EED_5EED
_MARKS = {uc.MODE_64: T_DB, 0x1000: 2, uc.ARCH_X86: T_BP, 0: T_OF}

_FPSW_ES = 0x80  # an unmasked x87 exception is pending


class Trap(NamedTuple):
    """One event: vector (or T_SYSCALL, T_GATE), error code, and CR2 for a page fault."""

    vector: int
    error: int = 0
    cr2: int = 0


def decode(engine: Engine, err: int) -> Trap:
    """Say why the run that returned `err` ended, and make the engine ready for the next.

    EngineError when the engine failed in a way that no guest can cause.
    """
    kind = engine.kind[0]
    engine.kind[0] = NOTHING
    if err:
        if err == uc.ERR_INSN_INVALID:
            return Trap(T_UD)
        engine.binding.check(err, f"the run at {engine.q[16]:#x} failed")
    if kind == NOTHING:
        return Trap(T_SYSCALL)
    if kind == GATE:
        return Trap(T_GATE)
    mark = engine.mark.value
    engine.mark.value = MARK_IDLE
    vector = _MARKS[mark] if mark != MARK_IDLE else -1
    if kind == SOFTWARE and vector not in (T_BP, T_OF):
        return _software(engine)
    if vector >= 0:
        return Trap(vector)
    error, old = engine.exception()
    engine.rearm()
    if old == T_PF:
        return Trap(T_PF, error, engine.cr2())
    if old >= 0:
        return Trap(old, error)
    return Trap(_rare(engine))


def _software(engine: Engine) -> Trap:
    """Decode `int n` for n other than 3 and 4: only 0x80 has a gate that user code may use."""
    pc = engine.q[16] & (0xFFFFFFFF if engine.bits == 32 else (1 << 64) - 1)
    number = engine.fetch(pc - 1)
    if number == T_INT80:
        engine.int80_sites.add(pc)
        return Trap(T_INT80)
    engine.q[16] = pc - 2
    # The selector part of the error code names the descriptor of the gate (IDT bit set).
    return Trap(T_GP, (number or 0) << 3 | 2)


def _rare(engine: Engine) -> int:
    """Tell the exceptions that leave no number apart: x87 error and BOUND."""
    if engine.binding.read_reg(engine.handle, uc.REG_FPSW) & _FPSW_ES:
        return T_MF
    if engine.fetch(engine.q[16]) == 0x62:
        return T_BR
    raise EngineError(f"an exception of unknown kind at {engine.q[16]:#x}")
