"""Fixtures: a small memory that must be whole again at the end of every test."""

from __future__ import annotations

import gc

import pytest

from lxemu.kernel.mm.as_ import As
from lxemu.kernel.mm.page import PhysMem

from .machine import Cpu


@pytest.fixture
def phys():
    """Give 64 MiB of memory, all of which must be free again when the test is done."""
    memory = PhysMem(64 << 20)
    before = memory.free_frames
    yield memory
    gc.collect()
    assert memory.free_frames == before


@pytest.fixture
def cpu(phys):
    return Cpu(phys)


@pytest.fixture
def as_(phys):
    space = As(phys)
    yield space
    space.free()
