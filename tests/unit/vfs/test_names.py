"""Names, lookup and mounts: identity, paths under renames, crossing, restricted walks."""

from __future__ import annotations

import pytest

from lxemu.kernel.cred import Cred
from lxemu.kernel.errno import KernelError
from lxemu.kernel.vfs import lookup, ops
from lxemu.kernel.vfs.lookup import lookupname
from lxemu.kernel.vfs.mount import RECENT_NAMES, MountTable
from lxemu.kernel.vfs.name import Name
from lxemu.kernel.vfs.tmpfs import TmpDir, Tmpfs, TmpNode
from lxemu.kernel.vfs.vnode import (
    AT_ATIME,
    VDIR,
    VFS_NOEXEC,
    VFS_RDONLY,
    VLNK,
    VREG,
    Vattr,
    makedev,
)

from .conftest import make_world
from .world import entries


@pytest.fixture
def world(phys, tmp_path):
    world = make_world("tmpfs", phys, tmp_path)
    for path in (b"a", b"a/b", b"a/b/c", b"m", b"n"):
        world.mkdir(path)
    world.open(b"a/b/f", "wronly|creat", 0o644, b"f")
    yield world
    world.close()


def path(world, name):
    return name.path(world.mounts.root)


# -- names ----------------------------------------------------------------------------------------


def test_one_name_for_one_place(world):
    assert world.name(b"a/b") is world.name(b"./a/../a//b/.")
    world.link(b"a/b/f", b"g")
    assert world.name(b"g") is not world.name(b"a/b/f")
    assert world.name(b"g").vnode is world.name(b"a/b/f").vnode


def test_rename_moves_names_and_what_is_below(world):
    deep = world.name(b"a/b/c")
    file = world.vn_open(b"a/b/f", "rdonly")
    world.rename(b"a/b", b"m/new")

    assert path(world, deep) == b"/base/m/new/c"
    assert path(world, file.name) == b"/base/m/new/f"
    assert lookupname(deep, world.mounts.root, b"..", Cred()) is world.name(b"m/new")
    file.rele()


def test_rename_over_unlinks_the_old_name(world):
    world.open(b"g", "wronly|creat")
    old = world.name(b"g")
    new = world.name(b"a/b/f")
    world.rename(b"a/b/f", b"g")

    assert old.unlinked
    assert not new.unlinked
    assert world.name(b"g") is new


def test_exchange_swaps_names(world):
    one, two = world.name(b"a"), world.name(b"m")
    world.rename(b"a", b"m", "exchange")

    assert (path(world, one), path(world, two)) == (b"/base/m", b"/base/a")
    assert world.name(b"m/b/c").parent.parent is one
    assert world.do("rename", b"a", b"none", "exchange") == "ENOENT"
    assert world.do("rename", b"m", b"m/b", "exchange") == "EINVAL"
    assert world.do("rename", b"m", b"n", "noreplace") == "EEXIST"


def test_removed_directory_as_cwd(world):
    gone = world.name(b"a/b/c")
    world.rmdir(b"a/b/c")

    assert gone.unlinked
    assert gone.detached()
    assert lookupname(gone, world.mounts.root, b"..", Cred()) is world.name(b"a/b")
    world.cwd = world.proc.fs.cwd = gone
    assert world.do("open", b"x", "wronly|creat") == "ENOENT"
    assert world.do("mkdir", b"x") == "ENOENT"
    assert world.do("stat", b"x") == "ENOENT"
    assert entries(gone.vnode)[:2] == [b".", b".."]


def test_recreated_entry_is_another_name(world):
    old = world.name(b"a/b/f")
    world.unlink(b"a/b/f")
    world.open(b"a/b/f", "wronly|creat")

    assert world.name(b"a/b/f") is not old
    assert old.unlinked


def test_cache_forgets_the_oldest(world):
    kept = world.name(b"a")
    known = kept.children
    for number in range(RECENT_NAMES + 100):
        world.open(b"a/x%d" % number, "wronly|creat")

    assert RECENT_NAMES - 10 <= len(known) <= RECENT_NAMES
    assert world.name(b"a") is kept


def test_removed_file_gives_its_memory_back_at_once(world, phys):
    before = phys.free_frames
    world.open(b"big", "wronly|creat", 0o644, bytes(1 << 20))
    assert phys.free_frames == before - 256
    world.unlink(b"big")
    assert phys.free_frames == before


def test_very_deep_tree_is_let_go(phys, tmp_path):
    world = make_world("tmpfs", phys, tmp_path)
    start = world.cwd
    for _ in range(20_000):
        world.mkdir(b"d")
        world.cwd = world.name(b"d")
    assert len(path(world, world.cwd)) == len(b"/base") + 2 * 20_000
    world.cwd = start
    world.close()


# -- roots and walks ------------------------------------------------------------------------------


def test_dotdot_stops_at_the_root_of_the_process(world):
    jail = world.name(b"a")
    world.symlink(b"/b/f", b"a/abs")
    world.symlink(b"../../../b/f", b"a/b/rel")

    for escape in (b"/../..", b"/b/../../../..", b"/"):
        assert lookupname(jail, jail, escape, Cred()) is jail
    for link in (b"/abs", b"/b/rel", b"b/rel"):
        assert lookupname(jail, jail, link, Cred()).path(jail) == b"/b/f"
    assert not world.name(b"m").is_below(jail)


@pytest.mark.parametrize(
    ("where", "flag", "expected"),
    [
        (b"b/f", lookup.RESOLVE_BENEATH, None),
        (b"b/../b/f", lookup.RESOLVE_BENEATH, None),
        (b"../m", lookup.RESOLVE_BENEATH, "EXDEV"),
        (b"b/../../m", lookup.RESOLVE_BENEATH, "EXDEV"),
        (b"/base", lookup.RESOLVE_BENEATH, "EXDEV"),
        (b"abs", lookup.RESOLVE_BENEATH, "EXDEV"),
        (b"in", lookup.RESOLVE_BENEATH, None),
        (b"out", lookup.RESOLVE_BENEATH, "EXDEV"),
        (b"in", lookup.RESOLVE_NO_SYMLINKS, "ELOOP"),
        (b"b/f", lookup.RESOLVE_NO_SYMLINKS, None),
        (b"../../../b/f", lookup.RESOLVE_IN_ROOT, None),
        (b"/b/f", lookup.RESOLVE_IN_ROOT, None),
        (b"abs", lookup.RESOLVE_IN_ROOT, None),
        (b"magic", lookup.RESOLVE_NO_MAGICLINKS, "ELOOP"),
        (b"magic", lookup.RESOLVE_NO_SYMLINKS, "ELOOP"),
        (b"magic", lookup.RESOLVE_BENEATH, "EXDEV"),
        (b"magic", 0, None),
        (b"mnt/x", lookup.RESOLVE_NO_XDEV, "EXDEV"),
        (b"../a/b/f", lookup.RESOLVE_NO_XDEV, None),
    ],
)
def test_restricted_walk(world, phys, where, flag, expected):
    """As openat2(2) has it."""
    world.symlink(b"/b/f", b"a/abs")
    world.symlink(b"b/f", b"a/in")
    world.symlink(b"../m", b"a/out")
    directory = world.name(b"a")
    directory.vnode.enter(b"magic", Magic(directory.vnode.vfs, world.name(b"n")))
    world.mkdir(b"a/mnt")
    other = Tmpfs(phys, 77)
    other.root().mkdir(b"x", 0o755, Cred())
    world.mounts.mount(world.name(b"a/mnt"), other)

    try:
        lookupname(directory, world.mounts.root, where, Cred(), resolve=flag)
        result = None
    except KernelError as err:
        result = err.errno.name
    assert result == expected


class Magic(TmpNode):
    """A magic link, as a process file system has them."""

    def __init__(self, vfs, where):
        super().__init__(vfs, VLNK, 0o777, 0, 0)
        self.where = where

    def magic_link(self):
        return self.where

    def readlink(self):
        return b"told, not followed"


def test_magic_link_jumps(world):
    directory = world.name(b"a")
    outside = Name(None, b"thing:[1]", world.name(b"n").vnode)
    directory.vnode.enter(b"magic", Magic(directory.vnode.vfs, outside))

    assert world.name(b"a/magic") is outside
    assert world.name(b"a/magic/") is outside
    assert world.readlink(b"a/magic") == b"told, not followed"
    assert outside.path(world.mounts.root) == b"thing:[1]"
    assert world.do("open", b"a/magic", "rdonly|creat") == "EISDIR"
    assert world.do("open", b"a/magic", "rdonly|nofollow") == "ELOOP"


# -- mounts ---------------------------------------------------------------------------------------


@pytest.fixture
def mounted(world, phys):
    other = Tmpfs(phys, makedev(0, 9))
    other.root().mkdir(b"inside", 0o755, Cred())
    mount = world.mounts.mount(world.name(b"m"), other, source=b"other")
    return world, mount


def test_mount_is_crossed_both_ways(mounted):
    world, mount = mounted

    assert world.name(b"m") is mount.root
    assert world.name(b"m/inside/../..") is world.cwd
    assert path(world, world.name(b"m/inside")) == b"/base/m/inside"
    assert world.name(b"m").vnode.getattr().fsid == makedev(0, 9)
    assert [m.source for m in world.mounts] == [b"rootfs", b"other"]


def test_mount_point_is_busy(mounted):
    world, _ = mounted

    assert world.do("rmdir", b"m") == "EBUSY"
    assert world.do("rename", b"m", b"x") == "EBUSY"
    assert world.do("rename", b"n", b"m") == "EBUSY"
    assert world.do("rename", b"m/inside", b"x") == "EXDEV"
    assert world.do("link", b"a/b/f", b"m/f") == "EXDEV"


def test_mount_follows_its_point(mounted):
    world, mount = mounted
    world.mkdir(b"a/deep")
    inner = world.mounts.mount(world.name(b"a/deep"), Tmpfs(mount.vfs.phys, 8))
    world.rename(b"a", b"z")

    assert inner.path(world.mounts.root) == b"/base/z/deep"
    assert world.name(b"z/deep/..") is world.name(b"z")
    assert world.name(b"z/deep/../..") is world.cwd


def test_umount(mounted):
    world, mount = mounted
    inside = world.name(b"m/inside")

    with pytest.raises(KernelError, match="EBUSY"):
        world.mounts.umount(mount.root, [inside])
    with pytest.raises(KernelError, match="EINVAL"):
        world.mounts.umount(world.name(b"n"))
    with pytest.raises(KernelError, match="EINVAL"):
        world.mounts.umount(world.mounts.root)
    world.mounts.umount(mount.root)
    assert world.do("stat", b"m/inside") == "ENOENT"


def test_bind_shows_a_tree_twice(world):
    world.mounts.bind(world.name(b"m"), world.name(b"a"), flags=VFS_RDONLY)

    assert world.name(b"m/b/f").vnode is world.name(b"a/b/f").vnode
    assert path(world, world.name(b"m/b/f")) == b"/base/m/b/f"
    assert world.do("open", b"m/b/f", "wronly") == "EROFS"
    assert world.do("unlink", b"m/b/f") == "EROFS"
    assert world.do("link", b"m/b/f", b"x") == "EXDEV"
    world.unlink(b"a/b/f")
    assert world.do("stat", b"m/b/f") == "ENOENT"


def test_noexec_mount_refuses_execution(world):
    world.chmod(b"a/b/f", 0o755)
    world.mounts.bind(world.name(b"m"), world.name(b"a"), flags=VFS_NOEXEC)

    assert world.access(b"a/b/f", 1)
    assert not world.access(b"m/b/f", 1)
    assert world.access(b"m/b", 1)


def test_mount_needs_matching_types(world, phys):
    with pytest.raises(KernelError, match="ENOTDIR"):
        world.mounts.mount(world.name(b"a/b/f"), Tmpfs(phys, 8))
    with pytest.raises(KernelError, match="ENOTDIR"):
        world.mounts.bind(world.name(b"a/b/f"), world.name(b"m"))
    gone = world.name(b"n")
    world.rmdir(b"n")
    with pytest.raises(KernelError, match="ENOENT"):
        world.mounts.mount(gone, Tmpfs(phys, 8))


# -- tmpfs ----------------------------------------------------------------------------------------


@pytest.fixture
def small(phys):
    vfs = Tmpfs(phys, 3, size=8 << 12, inodes=5)
    mounts = MountTable(vfs)
    yield vfs, mounts.root
    vfs.unmount()


def test_size_limit(small):
    vfs, top = small
    file = top.vnode.create(b"f", 0o644, VREG, Cred())

    assert file.write(0, bytes(10 << 12)) == 8 << 12
    with pytest.raises(KernelError, match="ENOSPC"):
        file.write(8 << 12, b"x")
    assert file.write(0, b"y" * 100) == 100
    file.truncate(1 << 40)
    assert file.getattr().nblocks == 64
    file.truncate(4096)
    assert (vfs.npages, vfs.statvfs().bfree) == (1, 7)
    with pytest.raises(KernelError, match="ENOSPC"):
        file.allocate(0, 9 << 12)
    assert (vfs.npages, file.size()) == (1, 4096)
    file.allocate(0, 8 << 12, keep_size=True)
    assert (vfs.npages, file.size()) == (8, 4096)
    file.freesp(0, 4096)
    assert vfs.npages == 7


def test_inode_limit_counts_open_files(small):
    vfs, top = small
    files = [top.vnode.create(b"%d" % n, 0o644, VREG, Cred()) for n in range(4)]
    with pytest.raises(KernelError, match="ENOSPC"):
        top.vnode.mkdir(b"d", 0o755, Cred())
    top.vnode.remove(b"0")
    with pytest.raises(KernelError, match="ENOSPC"):
        top.vnode.mkdir(b"d", 0o755, Cred())
    del files[0]
    top.vnode.mkdir(b"d", 0o755, Cred())
    assert vfs.statvfs().ffree == 0


def test_setgid_directory_hands_its_group_down(world):
    world.chown(b"m", -1, 55)
    world.chmod(b"m", 0o2755)
    world.mkdir(b"m/d")
    world.open(b"m/f", "wronly|creat")

    assert world.stat(b"m/d")[:3] == (0o42755, 0, 55)
    assert world.stat(b"m/f")[2] == 55


def test_directory_links_and_times(phys):
    clock = iter(range(100, 10**6))
    vfs = Tmpfs(phys, 3, now=lambda: next(clock))
    top = vfs.root()
    assert isinstance(top, TmpDir)
    one = top.mkdir(b"one", 0o755, Cred())
    two = top.mkdir(b"two", 0o755, Cred())
    assert (top.getattr().nlink, one.getattr().nlink) == (4, 2)
    before = one.getattr().mtime
    two.mkdir(b"x", 0o755, Cred())
    two.rename(b"x", one, b"y")
    assert one.getattr().mtime > before
    assert (one.getattr().nlink, two.getattr().nlink) == (3, 2)
    assert one.readdir(0)[1].nodeid == top.getattr().nodeid
    assert one.lookup(b"y").readdir(0)[1].nodeid == one.getattr().nodeid
    file = top.create(b"f", 0o644, VREG, Cred())
    changed = file.getattr()
    file.setattr(AT_ATIME, Vattr(atime=5), Cred())
    assert file.getattr().atime == 5
    assert file.getattr().ctime > changed.ctime
    file.read(0, 1)
    assert file.getattr().atime > changed.mtime, "relatime: older than the last change"
    vfs.unmount()


def test_listing_numbers_last_while_entries_come_and_go(world):
    for number in range(3000):
        world.mknod(b"m/%d" % number, "reg")
    directory = world.name(b"m").vnode
    seen = []
    cookie = 0
    while batch := directory.readdir(cookie):
        for entry in batch[:500]:
            seen.append(entry.name)
            cookie = entry.next_cookie
            if entry.type != VDIR:
                world.unlink(b"m/" + entry.name)
    assert len(seen) == len(set(seen)) == 3002


def test_xattrs(world):
    vnode = world.name(b"a/b/f").vnode
    assert vnode.listxattr() == []
    with pytest.raises(KernelError, match="ENODATA"):
        vnode.getxattr(b"user.x")
    vnode.setxattr(b"user.x", b"1", create=True, replace=False)
    with pytest.raises(KernelError, match="EEXIST"):
        vnode.setxattr(b"user.x", b"2", create=True, replace=False)
    vnode.setxattr(b"user.x", b"2", create=False, replace=True)
    assert (vnode.getxattr(b"user.x"), vnode.listxattr()) == (b"2", [b"user.x"])
    vnode.removexattr(b"user.x")
    with pytest.raises(KernelError, match="ENODATA"):
        vnode.setxattr(b"user.x", b"2", create=False, replace=True)


def test_tmpfile_gets_a_name(world):
    file = world.vn_open(b"m", "rdwr|tmpfile")
    file.write(b"late")
    assert entries(world.name(b"m").vnode) == [b".", b".."]
    assert file.vnode.getattr().nlink == 0
    ops.link_tmpfile(world.proc, file, world.cwd, b"m/named")
    assert world.read(b"m/named") == b"late"
    assert path(world, file.name) == b"/base/m/named"
    file.rele()
    secret = world.vn_open(b"m", "rdwr|tmpfile|excl")
    with pytest.raises(KernelError, match="ENOENT"):
        ops.link_tmpfile(world.proc, secret, world.cwd, b"m/other")
    secret.rele()
