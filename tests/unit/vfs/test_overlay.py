"""overlay: what is below never changes, and files stay the same through their copying up."""

from __future__ import annotations

import os

import pytest

from lxemu.kernel.cred import Cred
from lxemu.kernel.vfs import ops
from lxemu.kernel.vfs.lofs import Lofs
from lxemu.kernel.vfs.mount import MountTable
from lxemu.kernel.vfs.overlay import FIRST_NODEID, Overlay
from lxemu.kernel.vfs.tmpfs import Tmpfs
from lxemu.kernel.vfs.vnode import AT_MODE, VCHR, VFIFO, Vattr

from .world import Host, Ours, entries

TREE = {
    "base/d/f": b"lower f",
    "base/d/g": b"lower g",
    "base/d/sub/deep": b"lower deep",
    "base/top": b"lower top",
}


def plant(top, files):
    for path, data in files.items():
        where = top / path
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_bytes(data)


@pytest.fixture
def lower(tmp_path):
    top = tmp_path / "lower"
    plant(top, TREE)
    os.link(top / "base/d/g", top / "base/hard")
    return top


@pytest.fixture
def world(lower, phys):
    before = Host(lower).tree()
    world = Ours(MountTable(Overlay(Lofs(lower, 5, phys=phys).root(), Tmpfs(phys, 6))))
    yield world
    world.close()
    assert Host(lower).tree() == before


def test_copy_up_keeps_the_file(world):
    reader = world.vn_open(b"d/f", "rdonly")
    before = reader.vnode.getattr()
    writer = world.vn_open(b"d/f", "rdwr")
    assert reader.vnode is writer.vnode
    assert reader.vnode.getattr() == before, "copying up changes nothing that can be seen"
    writer.write(b"UPPER")

    assert reader.read(100) == b"UPPER f"
    after = reader.vnode.getattr()
    assert (after.nodeid, after.fsid, after.uid, after.mode) == (
        before.nodeid,
        before.fsid,
        before.uid,
        before.mode,
    )
    listed = {entry.name: entry.nodeid for entry in world.name(b"d").vnode.readdir(0)}
    assert listed[b"f"] == before.nodeid
    reader.rele()
    writer.rele()


def test_new_files_have_the_device_of_the_old(world):
    world.open(b"d/new", "wronly|creat")
    old, new = world.name(b"d/f").vnode.getattr(), world.name(b"d/new").vnode.getattr()
    assert old.fsid == new.fsid == world.name(b"d").vnode.getattr().fsid
    assert new.nodeid >= FIRST_NODEID


def test_hard_links_stay_links(world):
    world.open(b"hard", "wronly|trunc", 0, b"changed by one name")
    assert world.read(b"d/g") == b"changed by one name"
    assert world.name(b"d/g").vnode is world.name(b"hard").vnode
    assert world.stat(b"d/g")[3] == 2
    world.link(b"d/g", b"third")
    assert world.stat(b"hard")[3] == 3
    world.unlink(b"d/g")
    world.unlink(b"hard")
    assert world.read(b"third") == b"changed by one name"
    assert world.stat(b"third")[3] == 1


def test_rename_of_the_other_name_of_a_copied_file(world):
    world.open(b"hard", "wronly|trunc", 0, b"copied up")
    world.rename(b"d/g", b"d/moved")
    world.rename(b"hard", b"d/f", "exchange")

    assert world.read(b"d/moved") == world.read(b"d/f") == b"copied up"
    assert world.name(b"d/moved").vnode is world.name(b"d/f").vnode
    assert world.stat(b"d/f")[3] == 2
    assert world.read(b"hard") == b"lower f"
    assert world.do("stat", b"d/g") == "ENOENT"


def test_removed_lower_file_stays_removed_and_open(world):
    file = world.vn_open(b"d/f", "rdwr")
    reader = world.vn_open(b"d/g", "rdonly")
    world.unlink(b"d/f")
    world.unlink(b"d/g")
    assert world.do("stat", b"d/f") == "ENOENT"
    assert file.vnode.getattr().nlink == 0
    assert file.read(100) == b"lower f"
    assert reader.read(100) == b"lower g"
    world.open(b"d/f", "wronly|creat", 0o600, b"again")
    assert world.read(b"d/f") == b"again"
    assert file.pread(100, 0) == b"lower f"
    file.rele()
    reader.rele()


def test_attributes_of_removed_lower_file_can_change(world):
    file = world.vn_open(b"d/f", "rdonly")
    world.unlink(b"d/f")
    file.vnode.setattr(AT_MODE, Vattr(mode=0o600), Cred())
    assert file.vnode.getattr().mode == 0o600
    assert world.do("stat", b"d/f") == "ENOENT"
    file.rele()


def test_removed_directory_made_again_is_empty(world):
    for path in (b"d/sub/deep", b"d/f", b"d/g"):
        world.unlink(path)
    assert world.do("rmdir", b"d") == "ENOTEMPTY"
    world.rmdir(b"d/sub")
    world.rmdir(b"d")
    assert world.do("stat", b"d/f") == "ENOENT"
    world.mkdir(b"d")
    assert entries(world.name(b"d").vnode) == [b".", b".."]
    world.rename(b"d", b"e")
    world.mkdir(b"d")
    world.rename(b"e", b"d")
    assert entries(world.name(b"d").vnode) == [b".", b".."]


def test_lower_directory_renamed_takes_its_contents(world):
    cwd = world.name(b"d/sub")
    world.rename(b"d", b"moved")
    assert world.read(b"moved/sub/deep") == b"lower deep"
    assert cwd.path(world.mounts.root) == b"/base/moved/sub"
    assert world.do("stat", b"d") == "ENOENT"
    world.mkdir(b"d")
    assert entries(world.name(b"d").vnode) == [b".", b".."]
    world.rename(b"moved/sub", b"d/sub")
    assert world.read(b"d/sub/deep") == b"lower deep"
    assert world.listdir(b"moved") == [b"f", b"g"]


def test_new_directory_over_removed_lower_one_is_not_merged(world):
    world.mkdir(b"new")
    world.open(b"new/own", "wronly|creat")
    world.unlink(b"d/sub/deep")
    world.rename(b"new", b"d/sub")
    assert world.listdir(b"d/sub") == [b"own"]
    for name in list(world.mounts.root.mount.recent):
        world.mounts.root.mount.recent.pop(name)
    assert world.listdir(b"d/sub") == [b"own"]


def test_exchange_of_lower_and_new(world):
    world.mkdir(b"n")
    world.open(b"n/x", "wronly|creat")
    world.rename(b"d", b"n", "exchange")
    assert world.listdir(b"d") == [b"x"]
    assert world.listdir(b"n") == [b"f", b"g", b"sub"]
    assert world.read(b"n/sub/deep") == b"lower deep"


def test_truncating_open_copies_nothing(world, phys):
    before = phys.free_frames
    file = world.vn_open(b"d/f", "wronly|trunc")
    assert phys.free_frames == before
    file.rele()


def test_parent_times_do_not_change_by_copy_up(world):
    before = world.name(b"d").vnode.getattr()
    world.chmod(b"d/f", 0o600)
    after = world.name(b"d").vnode.getattr()
    assert (before.mtime, before.ctime) == (after.mtime, after.ctime)
    world.open(b"d/new", "wronly|creat")
    assert world.name(b"d").vnode.getattr().mtime > before.mtime


def test_pages_of_lower_file_are_shared_until_it_is_copied(world):
    vnode = world.name(b"d/f").vnode
    pages = vnode.pages
    assert pages is vnode.lowers[0].pages
    world.open(b"d/f", "wronly", 0, b"X")
    assert vnode.pages is not pages
    assert pages.get(0)


def test_whiteout_device_cannot_be_made(world):
    assert world.do("mknod", b"w", "fifo") is None
    assert world.name(b"w").vnode.type == VFIFO
    with pytest.raises(Exception, match="EPERM"):
        ops.vn_mknod(world.proc, world.cwd, b"c", VCHR, 0o600, 0)


def test_listing_while_removing(world, lower):
    for number in range(1500):
        (lower / "base" / "d" / f"n{number}").touch()
    try:
        directory = world.name(b"d").vnode
        seen = []
        cookie = 0
        while batch := directory.readdir(cookie):
            for entry in batch[:400]:
                seen.append(entry.name)
                cookie = entry.next_cookie
                if entry.name.startswith(b"n"):
                    world.unlink(b"d/" + entry.name)
        assert len(seen) == len(set(seen)) == 1505
        assert world.listdir(b"d") == [b"f", b"g", b"sub"]
    finally:
        for number in range(1500):
            (lower / "base" / "d" / f"n{number}").unlink()


def test_layers(tmp_path, phys):
    """Three layers as images have them, the top one with marks of removal."""
    for number, files in enumerate(
        [
            {"base/a": b"bottom", "base/b": b"bottom", "base/dir/x": b"bottom", "base/opq/o": b"1"},
            {"base/b": b"middle", "base/dir/y": b"middle", "base/c": b"middle"},
            {"base/c": b"top", "base/dir/x": b"top"},
        ]
    ):
        plant(tmp_path / str(number), files)
    layers = [Lofs(tmp_path / str(number), 5, phys=phys).root() for number in (2, 1, 0)]
    world = Ours(MountTable(Overlay(layers, Tmpfs(phys, 6))))

    assert [world.read(path) for path in (b"a", b"b", b"c")] == [b"bottom", b"middle", b"top"]
    assert world.listdir(b".") == [b"a", b"b", b"c", b"dir", b"opq"]
    assert world.read(b"dir/x") == b"top"
    assert world.listdir(b"dir") == [b"x", b"y"]
    world.rename(b"dir", b"moved")
    assert world.read(b"moved/y") == b"middle"
    world.unlink(b"moved/x")
    assert world.listdir(b"moved") == [b"y"]
    assert world.do("stat", b"moved/x") == "ENOENT"
    world.unlink(b"b")
    assert world.do("stat", b"b") == "ENOENT"
    world.close()


def test_overlays_stack_with_whiteouts_of_the_lower(lower, phys):
    inner = Overlay(Lofs(lower, 5, phys=phys).root(), Tmpfs(phys, 6))
    one = Ours(MountTable(inner))
    one.unlink(b"d/f")
    one.open(b"d/new", "wronly|creat", 0o644, b"inner")
    two = Ours(MountTable(Overlay(inner.root(), Tmpfs(phys, 7))))

    assert two.listdir(b"d") == [b"g", b"new", b"sub"]
    two.open(b"d/new", "wronly|trunc", 0, b"outer")
    assert (one.read(b"d/new"), two.read(b"d/new")) == (b"inner", b"outer")
    two.close()
    one.close()


def test_upper_as_a_layer_shows_its_marks(lower, phys):
    """The upper tree of one overlay is a layer of another: whiteouts and opaque directories work."""  # noqa: E501 (a table row)
    upper = Tmpfs(phys, 6)
    one = Ours(MountTable(Overlay(Lofs(lower, 5, phys=phys).root(), upper)))
    one.unlink(b"top")
    for path in (b"d/sub/deep", b"d/f", b"d/g"):
        one.unlink(path)
    one.rmdir(b"d/sub")
    one.rmdir(b"d")
    one.mkdir(b"d")
    one.open(b"d/only", "wronly|creat")
    layers = [upper.root(), Lofs(lower, 5, phys=phys).root()]
    two = Ours(MountTable(Overlay(layers, Tmpfs(phys, 7))))

    assert two.listdir(b".") == [b"d", b"hard"]
    assert two.listdir(b"d") == [b"only"]
    assert two.do("stat", b"top") == "ENOENT"
    two.close()
    one.close()
