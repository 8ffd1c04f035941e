"""A rig per way of reaching the registers: the mapped state, and the library's public interface."""

from __future__ import annotations

import pytest

from tests.unit.cpu.rig import Rig


@pytest.fixture(params=[True, False], ids=["private", "api"])
def rig(request):
    made = Rig(request.param)
    yield made
    made.close()
