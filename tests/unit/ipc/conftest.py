"""A machine without a CPU whose processes have an IPC space."""

from __future__ import annotations

import pytest

from lxemu.kernel.ipc.space import ipc_space
from lxemu.kernel.mm.page import PhysMem
from tests.unit.kernel.fakes import FakeMachine


@pytest.fixture
def machine():
    made = FakeMachine()
    made.phys = PhysMem(4 << 20)
    return made


@pytest.fixture
def space(machine):
    return ipc_space(machine.init)
