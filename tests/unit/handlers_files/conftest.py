"""Fixtures: a guest of each ABI, and the host in an empty directory."""

from __future__ import annotations

import pytest

from .rig import Guest, Native


@pytest.fixture(params=[64, 32], ids=["x86_64", "i386"])
def guest(request):
    """Give a process of either ABI."""
    caller = Guest(request.param)
    yield caller
    caller.close()


@pytest.fixture
def guest64():
    caller = Guest(64)
    yield caller
    caller.close()


@pytest.fixture
def guest32():
    caller = Guest(32)
    yield caller
    caller.close()


@pytest.fixture
def native(tmp_path):
    caller = Native(tmp_path)
    yield caller
    caller.close()
