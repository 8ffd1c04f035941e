"""The first stack, against one that a native kernel made.

The native program printed its stack pointer and string addresses under `setarch -R`.
"""

from __future__ import annotations

import struct

import pytest

from lxemu.brand import CodeSpan, StackPlan
from lxemu.kernel.cred import Cred
from lxemu.kernel.mm.as_ import As
from lxemu.kernel.mm.mman import MAP_ANON, MAP_FIXED, MAP_PRIVATE
from lxemu.kernel.mm.page import PhysMem
from syscalls.exec_stack import write_stack

TOP = {64: 0x7FFFFFFFF000, 32: 0xFFFFE000}


@pytest.fixture
def phys():
    phys = PhysMem(16 << 20)
    yield phys
    phys.close()


def make_as(phys, bits):
    as_ = As(phys, task_size=TOP[bits])
    as_.map(TOP[bits] - 0x80000, 0x80000, 3, MAP_PRIVATE | MAP_ANON | MAP_FIXED)
    return as_


def plan(bits, **changes):
    values = {
        "path": b"./aux%d" % bits,
        "argv": [b"./aux%d" % bits, b"x"],
        "envp": [b"A=b"],
        "top": TOP[bits],
        "phdr": 0x400040,
        "phent": 56,
        "phnum": 7,
        "base": 0x7F0000,
        "entry": 0x401000,
        "cred": Cred(ruid=1, euid=2, rgid=3, egid=4),
        "secure": True,
        "vdso": 0x7FE000,
        "sysinfo": 0x7FE530 if bits == 32 else 0,
        "random": bytes(range(16)),
        "shift": 0,
        "span": CodeSpan(1, 2, 3, 4, 5),
    }
    return StackPlan(**{**values, **changes})


def read_back(as_, sp, bits):
    """Return (argv, envp, auxv) as a program finds them."""
    size, fmt = (8, "<Q") if bits == 64 else (4, "<I")

    def word(at):
        return struct.unpack(fmt, as_.copyin(at, size))[0]

    argc, pos = word(sp), sp + size
    lists = []
    for _ in range(2):
        strings = []
        while word(pos):
            strings.append(as_.copyinstr(word(pos), 200_000))
            pos += size
        pos += size
        lists.append(strings)
    vector = []
    while word(pos):
        vector.append((word(pos), word(pos + size)))
        pos += 2 * size
    assert len(lists[0]) == argc
    return lists[0], lists[1], vector


def test_strings_are_where_a_native_kernel_puts_them(phys):
    as_ = make_as(phys, 64)
    sp, data = write_stack(as_, plan(64), 64)
    vector = dict(read_back(as_, sp, 64)[2])
    assert as_.load_u64(sp + 8) == 0x7FFFFFFFEFE2
    assert as_.load_u64(sp + 32) == 0x7FFFFFFFEFEC
    assert vector[31] == 0x7FFFFFFFEFF0
    assert vector[15] == 0x7FFFFFFFEFD9
    assert vector[25] == 0x7FFFFFFFEFC9
    # The native vector has two entries more (AT_RSEQ_*), 32 bytes.
    assert sp == 0x7FFFFFFFEE20 + 0x20 - (len(vector) - 20) * 16 & -16
    assert (data.arg_start, data.arg_end) == (0x7FFFFFFFEFE2, 0x7FFFFFFFEFEC)
    assert (data.env_start, data.env_end) == (0x7FFFFFFFEFEC, 0x7FFFFFFFEFF0)


def test_strings_of_an_i386_program(phys):
    as_ = make_as(phys, 32)
    sp, _ = write_stack(as_, plan(32), 32)
    vector = dict(read_back(as_, sp, 32)[2])
    assert as_.load_u32(sp + 4) == 0xFFFFDFE2
    assert (vector[31], vector[15], vector[25]) == (0xFFFFDFF0, 0xFFFFDFDB, 0xFFFFDFCB)


@pytest.mark.parametrize("bits", [64, 32])
def test_vector(phys, bits):
    as_ = make_as(phys, bits)
    sp, data = write_stack(as_, plan(bits), bits)
    argv, envp, vector = read_back(as_, sp, bits)
    assert (argv, envp) == ([b"./aux%d" % bits, b"x"], [b"A=b"])
    order = [33, 51, 16, 6, 17, 3, 4, 5, 7, 8, 9, 11, 12, 13, 14, 23, 25, 26, 31, 15, 27, 28]
    assert [tag for tag, _ in vector] == ([32, *order] if bits == 32 else order)
    values = dict(vector)
    assert [values[tag] for tag in (11, 12, 13, 14, 23)] == [1, 2, 3, 4, 1]
    assert (values[3], values[4], values[5], values[7]) == (0x400040, 56, 7, 0x7F0000)
    assert (values[6], values[17], values[9], values[33]) == (4096, 100, 0x401000, 0x7FE000)
    assert as_.copyin(values[25], 16) == bytes(range(16))
    assert as_.copyinstr(values[15], 16) == (b"x86_64" if bits == 64 else b"i686")
    assert as_.copyinstr(values[31], 16) == b"./aux%d" % bits
    fmt = f"<{2 * len(vector) + 2}{'Q' if bits == 64 else 'I'}"
    flat = [word for pair in [*vector, (0, 0)] for word in pair]
    assert data.auxv == struct.pack(fmt, *flat)
    assert (data.start_code, data.start_brk, data.vdso) == (1, 5, 0x7FE000)


def test_no_vdso_no_entries(phys):
    as_ = make_as(phys, 32)
    sp, _ = write_stack(as_, plan(32, vdso=0, sysinfo=0), 32)
    assert not {32, 33} & dict(read_back(as_, sp, 32)[2]).keys()


@pytest.mark.parametrize("bits", [64, 32])
@pytest.mark.parametrize("args", range(6))
@pytest.mark.parametrize("shift", [0, 1, 15, 8191])
def test_stack_pointer_is_always_aligned(phys, bits, args, shift):
    as_ = make_as(phys, bits)
    strings = [b"a" * n for n in range(args)]
    sp, _ = write_stack(as_, plan(bits, argv=strings, envp=strings[1:], shift=shift), bits)
    assert sp % 16 == 0
    assert read_back(as_, sp, bits)[:2] == (strings, strings[1:])


def test_large_arguments(phys):
    as_ = make_as(phys, 64)
    strings = [b"%d" % n * 50 for n in range(2000)]
    sp, _ = write_stack(as_, plan(64, argv=strings, envp=[]), 64)
    assert read_back(as_, sp, 64)[:2] == (strings, [])
