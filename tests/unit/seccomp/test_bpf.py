"""Filters: the compiled program against a plain interpreter, the checks against Linux's rules."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lxemu.kernel.cbpf import Insn
from lxemu.kernel.errno import Errno, KernelError
from syscalls.bpf import check, run, specialise

M32 = 0xFFFFFFFF
LOADS = [f"w[{index}]" for index in range(16)]


def interpret(program, words):
    """Run a program one instruction at a time, as the comment of bpf(4) says it."""
    acc = index = pc = 0
    memory = [0] * 16
    while True:
        code, jt, jf, k = program[pc]
        pc += 1
        kind, operand = code & 7, index if code & 8 else k
        if kind == 6:
            return acc if code & 0x18 == 0x10 else k
        if kind in (0, 1):
            mode = code & 0xE0
            if mode == 0x20:
                value = words[k // 4]
            else:
                value = {0x80: 64, 0x60: memory[k & 15]}.get(mode, k)
            if kind == 0:
                acc = value
            else:
                index = value
        elif kind == 2:
            memory[k] = acc
        elif kind == 3:
            memory[k] = index
        elif kind == 7:
            if code & 0x80:
                acc = index
            else:
                index = acc
        elif kind == 5:
            if code & 0x70 == 0:
                pc += k
                continue
            truth = {
                0x10: acc == operand,
                0x20: acc > operand,
                0x30: acc >= operand,
                0x40: acc & operand != 0,
            }[code & 0x70]
            pc += jt if truth else jf
        else:
            op = code & 0xF0
            if op == 0x30:
                if not operand:
                    return 0
                acc //= operand
            elif op == 0x80:
                acc = -acc
            elif op in (0x60, 0x70):
                acc = acc << (operand & 31) if op == 0x60 else acc >> (operand & 31)
            else:
                acc = {
                    0x00: acc + operand,
                    0x10: acc - operand,
                    0x20: acc * operand,
                    0x40: acc | operand,
                    0x50: acc & operand,
                    0xA0: acc ^ operand,
                }[op]
            acc &= M32


WORD = st.one_of(
    st.sampled_from([0, 1, 2, 31, 32, 59, 0x7FFFFFFF, 0x80000000, M32]), st.integers(0, M32)
)
PLAIN = st.one_of(
    st.builds(Insn, st.just(0x20), st.just(0), st.just(0), st.integers(0, 15).map(lambda n: 4 * n)),
    st.builds(Insn, st.sampled_from([0x00, 0x01]), st.just(0), st.just(0), WORD),
    st.builds(
        Insn, st.sampled_from([0x80, 0x81, 0x07, 0x87, 0x84]), st.just(0), st.just(0), st.just(0)
    ),
    st.builds(
        Insn,
        st.sampled_from(
            [op | src | 4 for op in (0, 0x10, 0x20, 0x40, 0x50, 0xA0) for src in (0, 8)]
        ),
        st.just(0),
        st.just(0),
        WORD,
    ),
    st.builds(Insn, st.sampled_from([0x3C, 0x6C, 0x7C]), st.just(0), st.just(0), st.just(0)),
    st.builds(Insn, st.sampled_from([0x64, 0x74]), st.just(0), st.just(0), st.integers(0, 31)),
    st.builds(Insn, st.just(0x34), st.just(0), st.just(0), st.integers(1, M32)),
    st.builds(Insn, st.sampled_from([0x02, 0x03]), st.just(0), st.just(0), st.integers(0, 15)),
    st.builds(Insn, st.sampled_from([0x60, 0x61]), st.just(0), st.just(0), st.integers(0, 15)),
)
JUMP = st.builds(
    Insn,
    st.sampled_from([op | src | 5 for op in (0x10, 0x20, 0x30, 0x40) for src in (0, 8)]),
    st.integers(0, 12),
    st.integers(0, 12),
    WORD,
)
ALWAYS = st.builds(Insn, st.just(0x05), st.just(0), st.just(0), st.integers(0, 12))
STOP = st.builds(Insn, st.sampled_from([0x06, 0x16]), st.just(0), st.just(0), WORD)


@st.composite
def programs(draw):
    body = draw(st.lists(st.one_of(PLAIN, PLAIN, JUMP, JUMP, ALWAYS, STOP), max_size=40))
    body.append(draw(STOP))
    end = len(body)
    for pc, insn in enumerate(body):
        room = end - pc - 2
        if insn.code & 7 != 5:
            continue
        if room < 0:
            body[pc] = Insn(0x06, 0, 0, 1)
        elif insn.code == 5:
            body[pc] = insn._replace(k=insn.k % (room + 1))
        else:
            body[pc] = insn._replace(jt=insn.jt % (room + 1), jf=insn.jf % (room + 1))
    # Memory is written before anything else, so that every read is of a word that is there.
    return [Insn(0x02, 0, 0, n) for n in range(16)] + body


@settings(max_examples=300, deadline=None)
@given(programs(), st.lists(WORD, min_size=16, max_size=16))
def test_compiled_does_what_the_interpreter_does(program, words):
    check(program)

    expected = interpret(program, words)
    for known in ({}, {0: words[0], 1: words[1]}, dict(enumerate(words))):
        rest = specialise(program, known, LOADS)
        assert (rest if isinstance(rest, int) else rest(words)) == expected


def test_a_program_that_is_decided_is_a_number():
    program = [
        Insn(0x20, 0, 0, 0),
        Insn(0x15, 0, 1, 5),
        Insn(0x20, 0, 0, 16),
        Insn(0x16, 0, 0, 0),
    ]

    assert specialise(program, {0: 4}, LOADS) == 4
    rest = specialise(program, {0: 5}, LOADS)
    assert not isinstance(rest, int)
    assert rest([0, 0, 0, 0, 77]) == 77
    assert run(program, {0: 5}).pc == 2


RETURN = Insn(0x06, 0, 0, 0x7FFF0000)


@pytest.mark.parametrize(
    "program",
    [
        [],
        [RETURN] * 4097,
        [Insn(0x20, 0, 0, 0)],
        [Insn(0x20, 0, 0, 64), RETURN],
        [Insn(0x20, 0, 0, 2), RETURN],
        [Insn(0x28, 0, 0, 0), RETURN],
        [Insn(0x34, 0, 0, 0), RETURN],
        [Insn(0x94, 0, 0, 3), RETURN],
        [Insn(0x64, 0, 0, 32), RETURN],
        [Insn(0x60, 0, 0, 0), RETURN],
        [Insn(0x02, 0, 0, 16), RETURN],
        [Insn(0x05, 0, 0, 1), RETURN],
        [Insn(0x15, 1, 0, 0), RETURN],
        [Insn(0x15, 0, 255, 0), RETURN],
        [Insn(0x15, 0, 1, 0), Insn(0x02, 0, 0, 3), Insn(0x60, 0, 0, 3), RETURN],
        [Insn(0xFFFF, 0, 0, 0), RETURN],
        [RETURN, Insn(0x05, 0, 0, 0)],
    ],
)
def test_a_bad_program_is_einval(program):
    with pytest.raises(KernelError) as error:
        check(program)

    assert error.value.errno is Errno.EINVAL


def test_good_programs_pass():
    check([RETURN])
    check([RETURN] * 4096)
    check([Insn(0x15, 0, 0, 0), Insn(0x02, 0, 0, 3), Insn(0x60, 0, 0, 3), RETURN])
