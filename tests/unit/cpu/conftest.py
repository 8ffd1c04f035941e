"""A rig per way of reaching the registers: the mapped state, and the library's public interface."""

from __future__ import annotations

import pytest

from tests.unit.cpu.rig import Rig


@pytest.fixture(params=[True, False], ids=["private", "api"])
def rig(request):
    made = Rig(request.param)
    yield made
    made.close()


@pytest.fixture(params=[True, False], ids=["private", "api"])
def hook_rig(request):
    """A rig whose gate is made of hooks, so that it can be opened for one address."""
    made = Rig(request.param, hook_gate=True)
    yield made
    made.close()
