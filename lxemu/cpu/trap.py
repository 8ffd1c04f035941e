"""What ended a run of user code, told from what the processor leaves behind.

A system call instruction and every exception stop the engine in native code, so no callback of ours
says which it was. The processor's own words of the last exception do (see private.py): whether it
was a software interrupt, the error code, and the vector of a serious fault. A second hook on
exceptions is uc_query, called with the vector in the place of its second argument and the word
`Engine.kind` as the third: it knows the numbers 1 to 4 and stores a different value for each, so
that breakpoints and single steps are told apart without a look at the code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lxemu.cpu import binding as uc
from lxemu.cpu.private import GATE_ERROR
from lxemu.errors import EngineError

if TYPE_CHECKING:
    from lxemu.cpu.engine import Engine

# Exception vectors (AMD64 Architecture Programmer's Manual, volume 2, table 8-1).
T_DE, T_DB, T_NMI, T_BP, T_OF, T_BR, T_UD, T_GP, T_PF, T_MF = 0, 1, 2, 3, 4, 5, 6, 13, 14, 16
T_INT80 = 0x80
#: Not vectors: the SYSCALL instruction, and a stop that nothing in the guest caused.
T_SYSCALL, T_GATE = 0x100, 0x101

#: Values of `Engine.kind` after a run. FAULT and SOFTWARE are the processor's, NOTHING says that it
#: raised nothing, GATE is from the gate, the others are what uc_query answers for vectors 1 to 3;
#: for 4 it is FAULT. Bits 32 up of the answer fall on a word that is rewritten before it is read.
FAULT, SOFTWARE, NOTHING, GATE = 0, 1, 2, 3
_ANSWERS = {uc.MODE_64: T_DB, 0x1000: T_NMI, uc.ARCH_X86: T_BP}
#: What the word that uc_query writes to holds before, where it is not `kind` itself.
UNMARKED = 0x5EED_5EED_5EED_5EED

_BOUND, _INT, _INTO, _INT1 = 0x62, 0xCD, 0xCE, 0xF1  # opcodes
TF = 0x100  # single step
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
    if err == GATE_ERROR:
        if not engine.gate.trapped():
            return Trap(T_GATE)
    elif err:
        if err == uc.ERR_INSN_INVALID:
            return _invalid(engine)
        engine.binding.check(err, f"the run at {engine.q[16]:#x} failed")
    if kind == NOTHING:
        return Trap(T_SYSCALL)
    if kind == GATE:
        return Trap(T_GATE)
    if kind == SOFTWARE:
        return _software(engine)
    if kind != FAULT:
        vector = _ANSWERS[kind]
        return Trap(vector) if vector == T_BP else _debug(engine, vector)
    error, old = engine.exception()
    engine.rearm()
    if old == T_PF:
        return Trap(T_PF, error, engine.cr2())
    if old >= 0:
        return Trap(old, error)
    return Trap(_rare(engine))


def _pc(engine: Engine) -> int:
    pc: int = engine.q[16]
    return pc & 0xFFFFFFFF if engine.bits == 32 else pc


def _software(engine: Engine) -> Trap:
    """Decode `int n` for n other than 1 to 4: only 0x80 has a gate that user code may use.

    SYSCALL and SYSENTER of 32-bit code end up here too, after an earlier `int 0x80`.
    """
    pc = _pc(engine)
    opcode, number = engine.fetch(pc - 2), engine.fetch(pc - 1)
    if opcode == _INT and number == T_INT80:
        if engine.live is not None:
            engine.live.sites.add(pc)
        return Trap(T_INT80)
    if opcode == 0x0F:
        return Trap(T_SYSCALL)
    return _denied(engine, number or 0)


def _denied(engine: Engine, number: int) -> Trap:
    """Refuse `int number`; the error code names the descriptor of the gate (IDT bit set)."""
    engine.q[16] -= 2
    return Trap(T_GP, number << 3 | 2)


def _debug(engine: Engine, vector: int) -> Trap:
    """Tell a single step from `int 1`, and refuse that and `int 2`.

    A SYSCALL that was stepped is made instead: a kernel entered with TF set clears it, and the trap
    comes after the instruction that follows the call.
    """
    if vector != T_DB or not engine.binding.read_reg(engine.handle, uc.REG_RFLAGS) & TF:
        return _denied(engine, vector)
    if engine.bits == 64 and engine.stepped_syscall() == engine.q[16] - 2:
        return Trap(T_SYSCALL)
    engine.watch_steps(True)
    return Trap(T_DB)


def _invalid(engine: Engine) -> Trap:
    """Decode an instruction that the engine does not execute; `int1` is one."""
    if engine.fetch(_pc(engine)) == _INT1:
        engine.q[16] += 1
        return Trap(T_DB)
    return Trap(T_UD)


def _rare(engine: Engine) -> int:
    """Tell the exceptions that leave no number apart: x87 error, BOUND, INTO."""
    if engine.binding.read_reg(engine.handle, uc.REG_FPSW) & _FPSW_ES:
        return T_MF
    pc = _pc(engine)
    if engine.fetch(pc) == _BOUND:
        return T_BR
    if engine.fetch(pc - 1) in (_INTO, T_OF):
        return T_OF
    raise EngineError(f"an exception of unknown kind at {engine.q[16]:#x}")
