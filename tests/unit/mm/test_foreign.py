"""Access to another's memory past its protections: what a debugger writes stays with its victim."""

from __future__ import annotations

import pytest

from lxemu.kernel.mm import foreign
from lxemu.kernel.mm.hat import PTE_P, PTE_W
from lxemu.kernel.mm.mman import (
    MAP_FIXED,
    MAP_PRIVATE,
    MAP_SHARED,
    PROT_EXEC,
    PROT_NONE,
    PROT_READ,
)

from .machine import BASE, FIXED, RW, File, P

TEXT = PROT_READ | PROT_EXEC


@pytest.fixture
def text(as_, phys):
    """Map two pages of a file as code, and return the file."""
    file = File(phys, bytes(range(1, 251)) * 40)
    as_.map(BASE, 2 * P, TEXT, MAP_PRIVATE | MAP_FIXED, file)
    yield file
    as_.unmap(BASE, 2 * P)
    del file.pages


def test_code_is_written_in_a_copy_that_stays_code(as_, cpu, phys, text):
    before = cpu.access(as_, BASE + 5, PROT_EXEC)
    assert foreign.write(as_, BASE + 5, b"\xcc") == 1

    assert cpu.access(as_, BASE + 5, PROT_EXEC) == 0xCC
    assert cpu.access(as_, BASE + 6, PROT_EXEC) == text.data[6]
    assert not as_.hat.probe(BASE) & PTE_W
    assert text.data[5] == before
    assert text.pages.read(5, 1) == bytes((before,))
    assert as_.hat.probe(BASE) >> 12 & 0xFFFFFFFF in cpu.invalidated


def test_a_second_write_needs_no_second_copy(as_, cpu, text):
    foreign.write(as_, BASE, b"\xcc")
    frame = as_.hat.probe(BASE)
    foreign.write(as_, BASE + 1, b"\xcc")

    assert as_.hat.probe(BASE) == frame
    assert foreign.read(as_, BASE, 3) == b"\xcc\xcc" + text.data[2:3]


def test_a_copy_is_not_shared_with_a_forked_child(as_, cpu, text):
    foreign.write(as_, BASE, b"\xcc")
    child = as_.dup()
    foreign.write(as_, BASE, b"\x90")

    assert foreign.read(child, BASE, 1) == b"\xcc"
    assert foreign.read(as_, BASE, 1) == b"\x90"
    child.free()


def test_what_is_shared_keeps_its_protection(as_, cpu, phys):
    file = File(phys, b"shared" * 100)
    as_.map(BASE, P, PROT_READ, MAP_SHARED | MAP_FIXED, file)

    assert foreign.write(as_, BASE, b"x") == 0
    assert foreign.read(as_, BASE, 6) == b"shared"
    as_.unmap(BASE, P)


def test_inaccessible_memory_is_read_and_written_and_stays_inaccessible(as_, cpu):
    as_.map(BASE, P, RW, FIXED)
    as_.copyout(BASE, b"hidden")
    as_.setprot(BASE, P, PROT_NONE)
    as_.map(BASE + P, P, PROT_NONE, FIXED)

    assert foreign.read(as_, BASE, 6) == b"hidden"
    assert foreign.write(as_, BASE + P, b"new") == 3
    assert foreign.read(as_, BASE + P, 4) == b"new\0"
    assert not as_.hat.probe(BASE) & PTE_P
    assert not as_.hat.probe(BASE + P) & PTE_P


def test_copies_end_where_nothing_is_mapped(as_, cpu):
    as_.map(BASE, P, RW, FIXED)

    assert foreign.write(as_, BASE + P - 2, b"abcd") == 2
    assert foreign.read(as_, BASE + P - 2, 10) == b"ab"
    assert foreign.read(as_, 8, 4) == b""
    assert foreign.read(as_, 1 << 60, 4) == b""


@pytest.mark.parametrize("access", [PROT_READ, 2])
def test_a_hidden_page_faults_once(as_, cpu, access):
    as_.map(BASE, P, RW, FIXED)
    as_.copyout(BASE, b"seen")
    cpu.access(as_, BASE, PROT_READ)
    foreign.hide(as_, BASE)

    assert not as_.hat.probe(BASE) & PTE_P
    faults = as_.minflt
    cpu.access(as_, BASE, access, 0x73)
    assert as_.minflt == faults + 1
    assert cpu.access(as_, BASE, PROT_READ) == ord("s")
    assert as_.copyin(BASE, 4) == b"seen"
