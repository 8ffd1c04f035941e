"""Fixtures: memory that must be whole again, and a world on each kind of file system."""

from __future__ import annotations

import gc
import os

import pytest

from lxemu.kernel.cred import Cred
from lxemu.kernel.mm.page import PhysMem
from lxemu.kernel.vfs.lofs import Lofs
from lxemu.kernel.vfs.metaindex import open_index
from lxemu.kernel.vfs.mount import MountTable
from lxemu.kernel.vfs.overlay import Overlay
from lxemu.kernel.vfs.tmpfs import Tmpfs

from .world import Ours


@pytest.fixture
def phys():
    """Give 64 MiB of memory, all of which must be free again when the test is done."""
    memory = PhysMem(64 << 20)
    before = memory.free_frames
    yield memory
    gc.collect()
    assert memory.free_frames == before


def make_world(kind, phys, host_dir, cred=None):
    """Return a world on an empty file system of `kind`; `host_dir` is what host trees live in."""
    if kind == "tmpfs":
        maker = cred if cred is not None else Cred()
        vfs = Tmpfs(phys, 5, mode=0o755, uid=maker.fsuid, gid=maker.fsgid)
        vfs.root().mkdir(b"base", 0o755, maker)
    elif kind == "lofs":
        vfs = Lofs(host_dir, 5, readonly=False, phys=phys)
    elif kind == "indexed":
        maker = cred if cred is not None else Cred()
        index = open_index(os.fsencode(host_dir), maker.fsuid, maker.fsgid)
        vfs = Lofs(host_dir, 5, readonly=False, phys=phys, meta=index)
    elif kind == "overlay":
        vfs = Overlay(Lofs(host_dir, 5, phys=phys).root(), Tmpfs(phys, 6))
    else:
        raise AssertionError(kind)
    mounts = MountTable(vfs)
    return Ours(mounts, cred=cred)


@pytest.fixture(params=["tmpfs", "lofs", "indexed", "overlay"])
def ours(request, phys, tmp_path):
    """Give an empty world on each kind of file system."""
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "base").mkdir(mode=0o755)
    world = make_world(request.param, phys, tmp_path / "ours")
    yield world
    world.close()
