"""The callers of the file tests serve sockets, too."""

from __future__ import annotations

import os

import pytest

from tests.unit.handlers_files.conftest import native
from tests.unit.handlers_files.rig import Guest

__all__ = ["native"]


def _guest(bits):
    caller = Guest(bits)
    caller.machine.entropy = os.urandom
    return caller


@pytest.fixture(params=[64, 32], ids=["x86_64", "i386"])
def guest(request):
    """Give a process of either ABI."""
    caller = _guest(request.param)
    yield caller
    caller.close()


@pytest.fixture
def guest64():
    caller = _guest(64)
    yield caller
    caller.close()
