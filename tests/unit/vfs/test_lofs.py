"""lofs: the guest stays in the tree, sees the host's changes, and holds few descriptors."""

from __future__ import annotations

import os
import time

import pytest

from lxemu.kernel.errno import KernelError
from lxemu.kernel.mm.mman import MAP_SHARED, PROT_READ, PROT_WRITE
from lxemu.kernel.vfs import ops
from lxemu.kernel.vfs.fcntl import O_CREAT, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY
from lxemu.kernel.vfs.lofs import DIR_TTL, Lofs
from lxemu.kernel.vfs.lookup import lookupname
from lxemu.kernel.vfs.mount import MountTable
from lxemu.kernel.vfs.tmpfs import Tmpfs
from lxemu.kernel.vfs.vnode import VFS_RDONLY, VREG

from .conftest import make_world
from .world import Ours, entries


@pytest.fixture
def top(tmp_path):
    """Give a host directory with a `base` to be shown and a `secret` beside it."""
    (tmp_path / "shown" / "base").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("secret")
    return tmp_path / "shown"


@pytest.fixture
def world(top, phys):
    world = make_world("lofs", phys, top)
    yield world
    world.close()


@pytest.fixture
def base(top):
    return top / "base"


def wait_for_directories():
    """Let the time pass for which a directory is believed to be where it was."""
    time.sleep(2 * DIR_TTL / 1e9)


def open_fds():
    return len(os.listdir("/proc/self/fd"))


# -- staying inside -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    ["../../secret", "../../../../../../../../etc/passwd", "/etc/passwd", "../../outside/file"],
)
@pytest.mark.parametrize("how", ["rdonly", "rdwr|creat", "path"])
def test_symlink_out_of_the_tree_stays_in_it(world, base, target, how):
    (base / "link").symlink_to(target)

    result = world.do("vn_open", b"link", how)

    if isinstance(result, str):
        assert result == "ENOENT"
    else:
        assert result.vnode.vfs is world.mounts.root.vnode.vfs
        result.rele()
    assert not (base.parent.parent / "etc").exists()


def test_absolute_symlink_is_resolved_in_the_guest(world, base):
    (base / "etc").mkdir()
    (base / "etc" / "passwd").write_text("guest")
    (base / "link").symlink_to("/base/etc/passwd")

    assert world.read(b"link") == b"guest"


def test_dotdot_stops_at_the_mount_root(world):
    assert world.do("stat", b"../../../../secret") == "ENOENT"
    assert entries(world.name(b"../../..").vnode) == [b".", b"..", b"base"]


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"../../secret", b"/etc/passwd"])
def test_vnode_refuses_what_is_no_component(world, name):
    directory = world.cwd.vnode
    calls = [
        lambda: directory.lookup(name),
        lambda: directory.create(name, 0o644, VREG, world.proc.cred),
        lambda: directory.mkdir(name, 0o755, world.proc.cred),
        lambda: directory.remove(name),
    ]
    for call in calls:
        with pytest.raises(KernelError):
            call()


def test_directory_replaced_by_symlink_is_not_followed(world, base):
    (base / "d").mkdir()
    (base / "d" / "file").write_text("mine")
    assert world.read(b"d/file") == b"mine"
    directory = world.name(b"d")
    directory.vnode.drop()
    (base / "d").rename(base / "moved")
    (base / "d").symlink_to("../../outside")
    wait_for_directories()

    assert world.do("read", b"d/file") == "ENOENT"
    with pytest.raises(KernelError):
        directory.vnode.lookup(b"file")


def test_file_replaced_by_symlink_before_open_is_not_followed(world, base):
    (base / "f").write_text("mine")
    name = world.name(b"f")
    (base / "f").unlink()
    (base / "f").symlink_to("../../secret")

    with pytest.raises(KernelError):
        ops.open_name(name, O_RDONLY, world.proc.cred)


def test_directory_moved_out_keeps_its_user_inside(world, base):
    (base / "d" / "sub").mkdir(parents=True)
    sub = world.name(b"d/sub")
    (base / "d" / "sub").rename(base.parent.parent / "outside" / "sub")

    up = lookupname(sub, world.mounts.root, b"..", world.proc.cred)
    assert up is world.name(b"d")
    assert world.do("stat", b"d/sub/../../../secret") == "ENOENT"


def test_cwd_in_moved_directory_follows_guest_rename(world):
    world.mkdir(b"d")
    world.mkdir(b"d/sub")
    sub = world.name(b"d/sub")
    world.rename(b"d", b"e")

    assert sub.path(world.mounts.root) == b"/base/e/sub"
    assert lookupname(sub, world.mounts.root, b"../../e/sub", world.proc.cred) is sub


# -- the host's changes ---------------------------------------------------------------------------


def test_host_changes_are_seen_at_once(world, base):
    assert world.do("stat", b"f") == "ENOENT"
    (base / "f").write_text("one")
    assert world.read(b"f") == b"one"
    (base / "f").write_text("twelve")
    assert world.stat(b"f")[4] == 6
    assert world.read(b"f") == b"twelve"
    (base / "f").unlink()
    assert world.do("stat", b"f") == "ENOENT"


def test_replaced_file_is_another_vnode(world, base):
    (base / "f").write_text("old")
    file = world.vn_open(b"f", "rdonly")
    (base / "new").write_text("new contents")
    (base / "new").rename(base / "f")

    assert file.read(100) == b"old"
    assert world.read(b"f") == b"new contents"
    assert world.name(b"f").vnode is not file.vnode
    file.rele()


def test_open_file_survives_removal_by_host_and_guest(world, base):
    for remove in (lambda: (base / "f").unlink(), lambda: world.unlink(b"f")):
        (base / "f").write_text("kept")
        file = world.vn_open(b"f", "rdwr")
        remove()
        file.write(b"K")
        assert file.pread(10, 0) == b"Kept"
        assert file.vnode.getattr().nlink == 0
        file.rele()


def test_removed_file_that_is_only_mapped_can_be_paged_in(world, base):
    (base / "f").write_bytes(b"page")
    vnode = world.name(b"f").vnode
    pages = vnode.pages
    world.unlink(b"f")

    pfn = pages.get(0)
    assert pages.phys.ram[pfn << 12 : (pfn << 12) + 4] == b"page"


def test_mapped_pages_follow_writes_of_guest_and_host(world, base):
    (base / "f").write_bytes(b"0123456789")
    file = world.vn_open(b"f", "rdwr")
    pages = file.vnode.pages
    assert page(pages)[:10] == b"0123456789"
    file.pwrite(b"abc", 2)
    assert page(pages)[:10] == b"01abc56789"
    world.stat(b"f")
    (base / "f").write_bytes(b"host wrote")
    world.stat(b"f")
    assert page(pages)[:10] == b"host wrote"
    file.rele()


def page(cache, index=0):
    pfn = cache.get(index)
    return cache.phys.ram[pfn << 12 : (pfn + 1) << 12]


def test_dirty_mapped_page_is_read_and_written_back(world, base, phys):
    from lxemu.kernel.mm.as_ import As

    (base / "f").write_bytes(b"0123456789")
    file = world.vn_open(b"f", "rdwr")
    space = As(phys)
    at = space.map(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file.vnode, 0)
    space.copyout(at + 2, b"MAPPED")

    assert file.pread(20, 0) == b"01MAPPED89"
    file.rele()
    space.free()
    world.mounts.root.vnode.vfs.sync()
    assert (base / "f").read_bytes() == b"01MAPPED89"


def test_listing_numbers_last_while_entries_go(world, base):
    for number in range(2500):
        (base / f"f{number}").touch()
    directory = world.cwd.vnode
    seen = []
    cookie = 0
    while batch := directory.readdir(cookie):
        # As rm -r does with a small buffer: take a few, remove them, go on.
        for entry in batch[:700]:
            if entry.name not in (b".", b".."):
                world.unlink(entry.name)
            seen.append(entry.name)
            cookie = entry.next_cookie
    assert len(seen) == len(set(seen)) == 2502
    assert os.listdir(base) == []


# -- limits and kinds -----------------------------------------------------------------------------


def test_descriptors_are_bounded(top, phys):
    base = top / "base"
    for number in range(100):
        (base / f"d{number}").mkdir()
        (base / f"d{number}" / "f").write_text(str(number))
    before = open_fds()
    mounts = MountTable(Lofs(top, 5, phys=phys, max_fds=10))
    world = Ours(mounts)

    for _ in range(2):
        for number in range(100):
            assert world.read(b"d%d/f" % number) == str(number).encode()
    assert open_fds() <= before + 12
    files = [world.vn_open(b"d%d/f" % number, "rdonly") for number in range(50)]
    for number, file in enumerate(files):
        assert file.read(10) == str(number).encode()
        file.rele()
    world.close()
    del world, mounts, files, file
    assert open_fds() == before


def test_out_of_descriptors_gives_back_idle_ones(top, phys):
    import resource

    base = top / "base"
    for number in range(60):
        (base / f"f{number}").write_text("x")
    world = Ours(MountTable(Lofs(top, 5, phys=phys, max_fds=1000)))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_fds() + 30, limits[1]))
    try:
        for number in range(60):
            assert world.read(b"f%d" % number) == b"x"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        world.close()


def test_readonly_view_changes_nothing(top, phys):
    base = top / "base"
    (base / "f").write_text("x")
    world = Ours(MountTable(Lofs(top, 5, phys=phys)))
    assert world.cwd.flags & VFS_RDONLY

    assert world.do("open", b"f", "wronly") == "EROFS"
    assert world.do("open", b"f", "rdonly|trunc") == "EROFS"
    assert world.do("open", b"new", "wronly|creat") == "EROFS"
    assert world.do("mkdir", b"new") == "EROFS"
    assert world.do("unlink", b"f") == "EROFS"
    assert world.do("unlink", b"none") == "EROFS"
    assert world.do("chmod", b"f", 0) == "EROFS"
    assert world.do("access", b"f", 2) is False
    for call in (
        lambda: world.cwd.vnode.create(b"n", 0o644, VREG, world.proc.cred),
        lambda: world.cwd.vnode.remove(b"f"),
        lambda: world.name(b"f").vnode.truncate(0),
        lambda: world.name(b"f").vnode.write(0, b"y"),
    ):
        with pytest.raises(KernelError, match="EROFS"):
            call()
    assert (base / "f").read_text() == "x"
    world.close()


def test_fifo_of_the_host_never_blocks(world, base):
    os.mkfifo(base / "fifo")

    reader = world.vn_open(b"fifo", "rdonly|nonblock")
    writer = world.vn_open(b"fifo", "wronly|nonblock")
    writer.write(b"through the kernel")
    assert reader.read(100) == b"through the kernel"
    reader.rele()
    writer.rele()


def test_device_of_the_host_is_not_opened(phys):
    world = Ours(MountTable(Lofs("/dev", 5, phys=phys)), base=b"")

    assert world.do("open", b"null", "rdonly") == "ENXIO"
    world.close()


def test_one_file_can_be_shown(top, phys):
    (top / "one").write_text("alone")
    mounts = MountTable(Tmpfs(phys, 1))
    world = Ours(mounts, base=b"")
    world.open(b"here", "wronly|creat")
    mounts.mount(world.name(b"here"), Lofs(top / "one", 5, readonly=False, phys=phys))

    assert world.read(b"here") == b"alone"
    world.open(b"here", "wronly|trunc", 0, b"changed")
    assert (top / "one").read_text() == "changed"
    assert world.do("unlink", b"here") == "EBUSY"
    assert world.do("stat", b"here/../secret") == "ENOTDIR"
    world.close()


def test_written_file_is_closed_on_the_host(world, base):
    """The host refuses to execute a file that anybody has open for writing."""
    file = ops.vn_open(world.proc, world.cwd, b"prog", O_RDWR | O_CREAT, 0o755)
    file.write(b"#!/bin/sh\nexit 7\n")
    file.rele()

    assert os.waitstatus_to_exitcode(os.system(str(base / "prog"))) == 7


def test_truncating_open_and_new_mode(world, base):
    file = ops.vn_open(world.proc, world.cwd, b"f", O_WRONLY | O_CREAT, 0o604)
    file.write(b"long contents")
    file.rele()
    file = ops.vn_open(world.proc, world.cwd, b"f", O_WRONLY | O_TRUNC)
    file.write(b"short")
    file.rele()

    assert (base / "f").read_text() == "short"
    assert (base / "f").stat().st_mode & 0o777 == 0o604


@pytest.mark.native
def test_process_file_system_of_the_host_looks_empty(phys):
    """Through it a guest could read the emulator's memory."""
    world = Ours(MountTable(Lofs("/", 5, phys=phys)), base=b"proc")

    assert entries(world.cwd.vnode) == [b".", b".."]
    for path in (b"self", b"self/mem", b"self/environ", b"1/root", b"cpuinfo"):
        assert world.do("stat", path) == "ENOENT"
    world.close()


def test_file_written_by_mapping_alone_is_closed_on_the_host(world, base, phys):
    from lxemu.kernel.mm.as_ import As

    world.open(b"prog", "rdwr|creat", 0o755, b"#!/bin/sh\nexit 5\n")
    file = world.vn_open(b"prog", "rdwr")
    space = As(phys)
    at = space.map(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file.vnode, 0)
    file.rele()
    space.copyout(at + 15, b"6")
    space.free()

    assert os.waitstatus_to_exitcode(os.system(str(base / "prog"))) == 6


def test_reader_of_a_removed_file_goes_on_after_its_writer(world):
    writer = world.vn_open(b"f", "rdwr|creat")
    reader = world.vn_open(b"f", "rdonly")
    writer.write(b"text")
    world.do("unlink", b"f")
    writer.rele()
    assert reader.read(10) == b"text"
    assert reader.vnode.getattr().nlink == 0
    reader.rele()
