"""Fixtures: a guest of each ABI, an unprivileged one, and the host."""

from __future__ import annotations

import pytest

from lxemu.kernel.cred import Cred
from tests.unit.handlers_files.rig import Native

from .rig import ProcGuest


@pytest.fixture(params=[64, 32], ids=["x86_64", "i386"])
def guest(request):
    caller = ProcGuest(request.param)
    yield caller
    caller.close()


@pytest.fixture
def guest64():
    caller = ProcGuest(64)
    yield caller
    caller.close()


@pytest.fixture
def guest32():
    caller = ProcGuest(32)
    yield caller
    caller.close()


@pytest.fixture(params=[64, 32], ids=["x86_64", "i386"])
def user(request):
    """Give a process of uid 1000, without privileges."""
    caller = ProcGuest(request.param, Cred.for_user(1000, 1000, (1000, 27)))
    yield caller
    caller.close()


@pytest.fixture
def native(tmp_path):
    caller = Native(tmp_path)
    yield caller
    caller.close()
