"""Packet filters on sockets: the classic Berkeley packet filter (bpf(4D), SO_ATTACH_FILTER).

A filter sees a message before its socket does, and says how many bytes of it to keep; none of them
means that the message never came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lxemu.kernel.cbpf import (
    ABS,
    ALU,
    COMMON,
    DIV,
    IMM,
    IND,
    JA,
    JMP,
    LD,
    LDX,
    LEN,
    MEM,
    MEMORY_WORDS,
    MOD,
    MSH,
    RET,
    ST,
    STX,
    TXA,
    WORD_MASK,
    A,
    Insn,
    K,
    X,
    check,
    compute,
    holds,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_SIZES: Final = {0x00: 4, 0x08: 2, 0x10: 1}
_BYTE: Final = 0x10
_ALLOWED: Final = (
    COMMON
    | {LD | mode | size for mode in (ABS, IND) for size in _SIZES}
    | {LDX | MSH | _BYTE, ALU | MOD | K, ALU | MOD | X}
)
#: Offsets from here on mean what is not in the message; there is nothing such here.
_OUTSIDE: Final = 0xFFF00000


class Filter:
    """A filter that has passed the checks. EINVAL for one that does not."""

    __slots__ = ("program",)

    def __init__(self, program: Sequence[Insn]) -> None:
        check(program, _ALLOWED, _may_load)
        self.program = tuple(program)

    def keep(self, data: bytes | memoryview) -> int:
        """Return how many bytes of a message to keep."""
        try:
            return _run(self.program, data)
        except IndexError:
            # A load beyond the end: the message is not what the filter is about.
            return 0


def _may_load(insn: Insn) -> bool:
    return insn.code & 7 != LD or insn.k < _OUTSIDE


def _load(data: bytes | memoryview, at: int, size: int) -> int:
    if at + size > len(data):
        raise IndexError
    return int.from_bytes(data[at : at + size])


def _value(code: int, k: int, x: int, data: bytes | memoryview, memory: Sequence[int]) -> int:
    """Return what a load gives; IndexError beyond the end of the message."""
    mode = code & 0xE0
    if mode == ABS:
        return _load(data, k, _SIZES[code & 0x18])
    if mode == IND:
        return _load(data, x + k & WORD_MASK, _SIZES[code & 0x18])
    if mode == MSH:
        return (_load(data, k, 1) & 0xF) * 4
    if mode == MEM:
        return memory[k]
    return {IMM: k, LEN: len(data)}[mode]


def _run(program: Sequence[Insn], data: bytes | memoryview) -> int:
    a = x = pc = 0
    memory = [0] * MEMORY_WORDS
    while True:
        code, jt, jf, k = program[pc]
        pc += 1
        kind, operand = code & 7, x if code & X else k
        if kind == LD:
            a = _value(code, k, x, data, memory)
        elif kind == LDX:
            x = _value(code, k, x, data, memory)
        elif kind == JMP:
            if code == JMP | JA:
                pc += k
            else:
                pc += jt if holds(code & 0xF0, a, operand) else jf
        elif kind == ALU:
            if code & 0xF0 in (DIV, MOD) and not operand:
                return 0
            a = compute(code & 0xF0, a, operand)
        elif kind == RET:
            return a if code & A else k
        elif kind in (ST, STX):
            memory[k] = a if kind == ST else x
        elif code & TXA:
            a = x
        else:
            x = a
