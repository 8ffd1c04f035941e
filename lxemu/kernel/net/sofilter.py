"""Packet filters on sockets: the classic Berkeley packet filter (bpf(4D), SO_ATTACH_FILTER).

A filter sees a message before its socket does, and says how many bytes of it to keep; none of them
means that the message never came. A program is checked once, then interpreted: jumps only go
forward, so it ends.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Final, NamedTuple

from lxemu.kernel.errno import Errno, KernelError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_INSNS: Final = 4096
_MEMORY: Final = 16
_WORD: Final = 0xFFFFFFFF

# Classes of instruction, and the fields of the others (net/bpf.h).
_LD, _LDX, _ST, _STX, _ALU, _JMP, _RET, _MISC = range(8)
_IMM, _ABS, _IND, _MEM, _LEN, _MSH = 0x00, 0x20, 0x40, 0x60, 0x80, 0xA0
_SIZES: Final = {0x00: 4, 0x08: 2, 0x10: 1}
_X: Final = 0x08
_NEG: Final = 0x80
_JA: Final = 0x00
_RET_A: Final = 0x10
_TXA: Final = 0x80
_ALU_OPS: Final[dict[int, Callable[[int, int], int]]] = {
    0x00: operator.add,
    0x10: operator.sub,
    0x20: operator.mul,
    0x30: operator.floordiv,
    0x40: operator.or_,
    0x50: operator.and_,
    0x60: operator.lshift,
    0x70: operator.rshift,
    0x90: operator.mod,
    0xA0: operator.xor,
}
_DIVISIONS: Final = (0x30, 0x90)
_SHIFTS: Final = (0x60, 0x70)
_JUMPS: Final[dict[int, Callable[[int, int], bool]]] = {
    0x10: operator.eq,
    0x20: operator.gt,
    0x30: operator.ge,
    0x40: lambda a, b: a & b != 0,
}
#: Offsets from here on mean what is not in the message; there is nothing such here.
_OUTSIDE: Final = 0xFFF00000


class Insn(NamedTuple):
    """struct bpf_insn."""

    code: int
    jt: int
    jf: int
    k: int


class Filter:
    """A filter that has passed the checks. EINVAL for one that does not."""

    __slots__ = ("program",)

    def __init__(self, program: Sequence[Insn]) -> None:
        if not 0 < len(program) <= MAX_INSNS or program[-1].code & 7 != _RET:
            raise KernelError(Errno.EINVAL)
        for at, insn in enumerate(program):
            if not _allowed(insn, len(program) - at - 1):
                raise KernelError(Errno.EINVAL)
        self.program = tuple(program)

    def keep(self, data: bytes | memoryview) -> int:
        """Return how many bytes of a message to keep."""
        try:
            return _run(self.program, data)
        except IndexError:
            # A load beyond the end: the message is not what the filter is about.
            return 0


def _allowed(insn: Insn, left: int) -> bool:
    """Return whether an instruction with `left` after it may stand in a program."""
    code, k = insn.code, insn.k
    kind, mode = code & 7, code & 0xE0
    if kind in (_LD, _LDX):
        return _allowed_load(kind, code, k)
    if kind in (_ST, _STX):
        return code in (_ST, _STX) and k < _MEMORY
    if kind == _ALU:
        op = code & 0xF0
        if code & ~0xFF:
            return False
        if op == _NEG:
            return code == _ALU | _NEG
        if op in _DIVISIONS and not code & _X:
            return k != 0
        return op in _ALU_OPS and not (op in _SHIFTS and not code & _X and k > 31)
    if kind == _JMP:
        if code == _JMP | _JA:
            return k < left
        return code & 0xF0 in _JUMPS and code < 0x100 and max(insn.jt, insn.jf) < left
    if kind == _RET:
        return code in (_RET, _RET | _RET_A)
    return code in (_MISC, _MISC | _TXA) and not mode & ~_TXA


def _allowed_load(kind: int, code: int, k: int) -> bool:
    mode, size = code & 0xE0, code & 0x18
    if mode == _MEM:
        return size == 0 and k < _MEMORY
    if mode in (_IMM, _LEN):
        return size == 0
    if kind == _LDX:
        return mode == _MSH and size == 0x10
    return mode in (_ABS, _IND) and size in _SIZES and k < _OUTSIDE


def _load(data: bytes | memoryview, at: int, size: int) -> int:
    if at + size > len(data):
        raise IndexError
    return int.from_bytes(data[at : at + size])


def _run(program: Sequence[Insn], data: bytes | memoryview) -> int:
    a = x = pc = 0
    memory = [0] * _MEMORY
    while True:
        code, jt, jf, k = program[pc]
        pc += 1
        kind = code & 7
        if kind in (_LD, _LDX):
            mode = code & 0xE0
            if mode == _ABS:
                value = _load(data, k, _SIZES[code & 0x18])
            elif mode == _IND:
                value = _load(data, x + k & _WORD, _SIZES[code & 0x18])
            elif mode == _MSH:
                value = (_load(data, k, 1) & 0xF) * 4
            else:
                value = {_IMM: k, _LEN: len(data)}.get(mode, 0) if mode != _MEM else memory[k]
            if kind == _LD:
                a = value
            else:
                x = value
        elif kind == _JMP:
            if code == _JMP | _JA:
                pc += k
            else:
                pc += jt if _JUMPS[code & 0xF0](a, x if code & _X else k) else jf
        elif kind == _ALU:
            operand = x if code & _X else k
            if code & 0xF0 == _NEG:
                a = -a & _WORD
            elif not operand and code & 0xF0 in _DIVISIONS:
                return 0
            else:
                shift = operand & 31 if code & 0xF0 in _SHIFTS else operand
                a = _ALU_OPS[code & 0xF0](a, shift) & _WORD
        elif kind == _RET:
            return a if code & _RET_A else k
        elif kind in (_ST, _STX):
            memory[k] = a if kind == _ST else x
        elif code & _TXA:
            a = x
        else:
            x = a
