"""The classic Berkeley packet filter (bpf(4D)): its instructions, and what makes a program safe.

Sockets run such programs over messages (net/sofilter.py), a brand may run them over system calls;
each has its own loads. A program is checked once: no jump leaves it or goes backward, so it ends,
and no word of memory is read that may not have been written.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Final, NamedTuple

from lxemu.kernel.errno import Errno, KernelError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_INSNS: Final = 4096
MEMORY_WORDS: Final = 16
WORD_MASK: Final = 0xFFFFFFFF

# Classes of instruction, and the fields of the others (net/bpf.h).
LD, LDX, ST, STX, ALU, JMP, RET, MISC = range(8)
IMM, ABS, IND, MEM, LEN, MSH = 0x00, 0x20, 0x40, 0x60, 0x80, 0xA0
ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, NEG, MOD, XOR = range(0x00, 0xB0, 0x10)
JA, JEQ, JGT, JGE, JSET = 0x00, 0x10, 0x20, 0x30, 0x40
K, X, A = 0x00, 0x08, 0x10
TAX, TXA = 0x00, 0x80

_MEMORY: Final = (LD | MEM, LDX | MEM, ST, STX)
_BINARY: Final = (ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, XOR)
_CONDITIONS: Final = (JEQ, JGT, JGE, JSET)

#: Operations that every user of filters allows. The loads that look at data are its own.
COMMON: Final = frozenset(
    [LD | LEN, LDX | LEN, LD | IMM, LDX | IMM, *_MEMORY, RET | K, RET | A]
    + [ALU | op | source for op in _BINARY for source in (K, X)]
    + [ALU | NEG, MISC | TAX, MISC | TXA, JMP | JA]
    + [JMP | op | source for op in _CONDITIONS for source in (K, X)]
)


class Insn(NamedTuple):
    """struct bpf_insn: operation, jumps if true and false, constant."""

    code: int
    jt: int
    jf: int
    k: int


def check(
    program: Sequence[Insn], allowed: frozenset[int], may_load: Callable[[Insn], bool]
) -> None:
    """Check that a program is well formed, ends, and reads only what there is. Raises EINVAL.

    `allowed` are its operations; `may_load` judges the constant of one that is not in COMMON.
    """
    end = len(program)
    if not 0 < end <= MAX_INSNS:
        raise KernelError(Errno.EINVAL)
    for pc, insn in enumerate(program):
        if insn.code not in allowed or not _well_formed(insn, end - pc - 1):
            raise KernelError(Errno.EINVAL)
        if insn.code not in COMMON and not may_load(insn):
            raise KernelError(Errno.EINVAL)
    if program[-1].code not in (RET | K, RET | A):
        raise KernelError(Errno.EINVAL)
    _check_memory(program)


def _well_formed(insn: Insn, left: int) -> bool:
    """Return whether the constant and the jumps of an instruction, `left` after it, are right."""
    code, k = insn.code, insn.k
    if code in (ALU | DIV | K, ALU | MOD | K):
        return k != 0
    if code in (ALU | LSH | K, ALU | RSH | K):
        return k < 32
    if code in _MEMORY:
        return k < MEMORY_WORDS
    if code == JMP | JA:
        return k < left
    if code & 7 == JMP:
        return insn.jt < left and insn.jf < left
    return True


def _check_memory(program: Sequence[Insn]) -> None:
    """Check that no word of memory is read on any path before it has been written. EINVAL."""
    every = (1 << MEMORY_WORDS) - 1
    at = [every] * len(program)
    known = 0
    for pc, (code, jt, jf, k) in enumerate(program):
        known &= at[pc]
        if code in (ST, STX):
            known |= 1 << k
        elif code in _MEMORY and not known >> k & 1:
            raise KernelError(Errno.EINVAL)
        elif code == JMP | JA:
            at[pc + 1 + k] &= known
            known = every
        elif code & 7 == JMP:
            at[pc + 1 + jt] &= known
            at[pc + 1 + jf] &= known
            known = every


def holds(op: int, a: int, operand: int) -> bool:
    """Return whether the condition of a jump (JEQ, JGT, JGE, JSET) holds."""
    return _COMPARISONS[op](a, operand)


def compute(op: int, a: int, operand: int) -> int:
    """Return the result of an operation on 32-bit words. The caller rules out a division by 0."""
    return _ARITHMETIC[op](a, operand) & WORD_MASK


_COMPARISONS: Final[dict[int, Callable[[int, int], bool]]] = {
    JEQ: operator.eq,
    JGT: operator.gt,
    JGE: operator.ge,
    JSET: lambda a, b: a & b != 0,
}

_ARITHMETIC: Final[dict[int, Callable[[int, int], int]]] = {
    ADD: operator.add,
    SUB: operator.sub,
    MUL: operator.mul,
    DIV: operator.floordiv,
    OR: operator.or_,
    AND: operator.and_,
    LSH: lambda a, n: a << (n & 31),
    RSH: lambda a, n: a >> (n & 31),
    NEG: lambda a, _: -a,
    MOD: operator.mod,
    XOR: operator.xor,
}
