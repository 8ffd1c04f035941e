"""Classic BPF programs over the words of one system call, as seccomp(2) runs them.

`check` refuses what Linux refuses (net/core/filter.c: bpf_check_classic; kernel/seccomp.c:
seccomp_check_filter). `specialise` runs a program that has passed as far as the words that are
known take it, most often to its end; what is left it turns into a Python function. Jumps only go
forward, so a chain of ascending blocks needs no interpreter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lxemu.kernel import cbpf
from lxemu.kernel.cbpf import (
    ABS,
    ADD,
    ALU,
    AND,
    COMMON,
    DIV,
    IMM,
    JA,
    JEQ,
    JGE,
    JGT,
    JMP,
    JSET,
    LD,
    LDX,
    LEN,
    LSH,
    MEM,
    MISC,
    MUL,
    NEG,
    OR,
    RET,
    RSH,
    ST,
    STX,
    SUB,
    TAX,
    TXA,
    XOR,
    A,
    Insn,
    K,
    X,
    compute,
    holds,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    #: What is left of a program: takes what the words are loaded from, returns the result.
    Program = Callable[[Any], int]

#: struct seccomp_data: nr, arch, instruction pointer, six arguments.
DATA_SIZE: Final = 64
_ALLOWED: Final = COMMON | {LD | ABS}


def check(program: Sequence[Insn]) -> None:
    """Check that a program is well formed, ends, and reads only what there is. Raises EINVAL."""
    cbpf.check(program, _ALLOWED, lambda insn: insn.k < DATA_SIZE and not insn.k & 3)


class State(NamedTuple):
    """Where a program stands: next instruction, accumulator, index register, written memory."""

    pc: int
    a: int
    x: int
    memory: Mapping[int, int]


def specialise(
    program: Sequence[Insn], known: Mapping[int, int], loads: Sequence[str]
) -> int | Program:
    """Return the result of a checked program as far as the `known` words decide it.

    If they do not, return a function of one argument `w`; `loads` is the text that loads each word.
    """
    state = run(program, known)
    if isinstance(state, int):
        return state
    names: dict[str, Program] = {}
    text = _Writer(program, state, known, loads).write()
    exec(compile(text, "<system call filter>", "exec"), names)  # our own source
    return names["run"]


def run(program: Sequence[Insn], known: Mapping[int, int]) -> int | State:
    """Run a program to its result, or to where it loads a word that is not `known`."""
    pc = a = x = 0
    memory: dict[int, int] = {}
    while True:
        code, jt, jf, k = program[pc]
        kind, operand = code & 7, x if code & X else k
        if kind == RET:
            return a if code == RET | A else k
        if kind == JMP:
            if code == JMP | JA:
                pc += k
            else:
                pc += jt if holds(code & 0x70, a, operand) else jf
        elif code == LD | ABS:
            if k >> 2 not in known:
                return State(pc, a, x, memory)
            a = known[k >> 2]
        elif kind in (LD, LDX):
            value = {IMM: k, LEN: DATA_SIZE}.get(code & 0xE0, memory.get(k, 0))
            a, x = (value, x) if kind == LD else (a, value)
        elif kind in (ST, STX):
            memory[k] = a if kind == ST else x
        elif kind == MISC:
            a, x = (x, x) if code & TXA else (a, a)
        else:
            if code == ALU | DIV | X and not x:
                return 0
            a = compute(code & 0xF0, a, operand)
        pc += 1


_TEXT: Final = {
    LD | LEN: f"a = {DATA_SIZE}",
    LDX | LEN: f"x = {DATA_SIZE}",
    MISC | TAX: "x = a",
    MISC | TXA: "a = x",
    ALU | NEG: "a = -a & 0xffffffff",
}
_OPERATORS: Final = {OR: "|", AND: "&", XOR: "^", RSH: ">>", DIV: "//"}
_WRAPPING: Final = {ADD: "+", SUB: "-", MUL: "*", LSH: "<<"}
_COMPARE: Final = {JEQ: "a == {}", JGT: "a > {}", JGE: "a >= {}", JSET: "a & {}"}
_NOT: Final = {JEQ: "a != {}", JGT: "a <= {}", JGE: "a < {}", JSET: "not a & {}"}


class _Writer:
    """Writes the rest of a program as one function.

    A block starts where several jumps meet; `t` names the next one.
    """

    def __init__(
        self,
        program: Sequence[Insn],
        state: State,
        known: Mapping[int, int],
        loads: Sequence[str],
    ) -> None:
        self.program = program
        self.start = state.pc
        self.loads = [hex(known[i]) if i in known else text for i, text in enumerate(loads)]
        self.lines = ["def run(w):", f"    a, x, t = {state.a:#x}, {state.x:#x}, 0"]
        self.lines += [f"    m{i} = {value:#x}" for i, value in state.memory.items()]
        #: Blocks that are still to be written, by their first instruction.
        self.blocks: set[int] = set()
        self.entries = [0] * len(program)
        for pc, (code, jt, jf, k) in enumerate(program):
            if code == JMP | JA:
                self.entries[pc + 1 + k] += 1
            elif code & 7 == JMP:
                self.entries[pc + 1 + jt] += 1
                self.entries[pc + 1 + jf] += 1
            elif code & 7 != RET and pc + 1 < len(program):
                self.entries[pc + 1] += 1

    def write(self) -> str:
        """Return the source."""
        self._trace(self.start, "    ")
        for pc in range(len(self.program)):
            if pc in self.blocks:
                self.lines.append(f"    if t == {pc}:")
                self._trace(pc, "        ")
        return "\n".join((*self.lines, ""))

    def _trace(self, pc: int, indent: str) -> None:
        """Write instructions from `pc` on until the block ends."""
        first = True
        while first or self.entries[pc] == 1:
            first = False
            following = self._step(pc, indent)
            if following is None:
                return
            pc = following
        self._goto(pc, indent)

    def _goto(self, pc: int, indent: str) -> None:
        insn = self.program[pc]
        if insn.code == RET | K:
            self.lines.append(f"{indent}return {insn.k:#x}")
        else:
            self.blocks.add(pc)
            self.lines.append(f"{indent}t = {pc}")

    def _step(self, pc: int, indent: str) -> int | None:
        """Write one instruction; return the next one of the block, None at its end."""
        code, jt, jf, k = self.program[pc]
        if code & 7 == RET:
            self.lines.append(f"{indent}return {'a' if code == RET | A else hex(k)}")
            return None
        if code == JMP | JA:
            return pc + 1 + k
        if code & 7 == JMP:
            return self._branch(code, k, (pc + 1 + jt, pc + 1 + jf), indent)
        lines = [f"a = {self.loads[k >> 2]}"] if code == LD | ABS else _plain(code, k)
        self.lines += [indent + line for line in lines]
        return pc + 1

    def _branch(self, code: int, k: int, targets: tuple[int, int], indent: str) -> int | None:
        yes, no = targets
        if yes == no:
            return yes
        op, operand = code & 0x70, "x" if code & X else hex(k)
        for target, other, table in ((yes, no, _COMPARE), (no, yes, _NOT)):
            insn = self.program[target]
            if insn.code == RET | K:
                condition = table[op].format(operand)
                self.lines.append(f"{indent}if {condition}: return {insn.k:#x}")
                return other
        self.blocks.update(targets)
        self.lines.append(f"{indent}t = {yes} if {_COMPARE[op].format(operand)} else {no}")
        return None


def _plain(code: int, k: int) -> list[str]:
    """Return the lines of an instruction that is no jump and no end."""
    if code in _TEXT:
        return [_TEXT[code]]
    kind = code & 7
    if kind in (LD, LDX):
        value = f"m{k}" if code & 0xE0 == MEM else hex(k)
        return [f"{'a' if kind == LD else 'x'} = {value}"]
    if kind in (ST, STX):
        return [f"m{k} = {'a' if kind == ST else 'x'}"]
    op, operand = code & 0xF0, "x" if code & X else hex(k)
    if op in _OPERATORS:
        shift = " & 31" if op == RSH and code & X else ""
        line = f"a {_OPERATORS[op]}= {operand}{shift}"
        # A division by zero ends the program with 0.
        return ["if not x: return 0", line] if code == ALU | DIV | X else [line]
    shift = " & 31" if op == LSH and code & X else ""
    return [f"a = (a {_WRAPPING[op]} ({operand}{shift})) & 0xffffffff"]
