"""The index beside a host tree: what it shows, and that it survives being cut off anywhere."""

from __future__ import annotations

import os
import stat

import pytest

from lxemu.kernel.cred import Cred
from lxemu.kernel.errno import KernelError
from lxemu.kernel.vfs.lofs import Lofs
from lxemu.kernel.vfs.metaindex import HEADER, Meta, MetaIndex, index_paths, open_index
from lxemu.kernel.vfs.mount import MountTable
from lxemu.kernel.vfs.vnode import VCHR, VREG, makedev

from .world import Ours


@pytest.fixture
def top(tmp_path):
    (tmp_path / "tree" / "base").mkdir(parents=True)
    return tmp_path / "tree"


def mount(top, phys, uid=0, cred=None):
    index = open_index(os.fsencode(top), uid, uid)
    return Ours(MountTable(Lofs(top, 5, readonly=False, phys=phys, meta=index)), cred=cred)


def seen(world, name):
    attr = world.name(name, follow=False).vnode.getattr()
    return attr.type, attr.mode, attr.uid, attr.gid, attr.rdev


def test_the_index_lies_beside_the_tree(top):
    assert next(index_paths(b"/some/tree")) == b"/some/.tree.lxemu-meta"


def test_owner_mode_and_device_outlive_the_mount(top, phys):
    world = mount(top, phys)
    world.open(b"f", "wronly|creat")
    world.do("chown", b"f", 33, 44)
    world.do("chmod", b"f", 0o4711)
    world.name(b".").vnode.create(b"null", 0o666, VCHR, Cred(), makedev(1, 3))
    world.close()

    host = (top / "base" / "f").stat()
    assert (stat.S_IMODE(host.st_mode), host.st_uid) == (0o711, os.geteuid())
    assert stat.S_ISREG((top / "base" / "null").stat().st_mode)
    again = mount(top, phys)
    assert seen(again, b"f") == (VREG, 0o4711, 33, 44, 0)
    assert seen(again, b"null") == (VCHR, 0o666, 0, 0, makedev(1, 3))
    again.close()


def test_what_the_host_can_say_takes_no_record(top, phys):
    world = mount(top, phys)
    world.open(b"f", "wronly|creat")
    world.do("chmod", b"f", 0o640)
    assert not os.path.exists(next(index_paths(os.fsencode(top))))
    assert stat.S_IMODE((top / "base" / "f").stat().st_mode) == 0o640
    world.close()


def test_attributes_are_the_hosts_or_the_indexs(top, phys):
    world = mount(top, phys)
    world.open(b"f", "wronly|creat")
    node = world.name(b"f").vnode
    node.setxattr(b"user.a", b"on the host", create=False, replace=False)
    node.setxattr(b"trusted.b", b"in the index", create=True, replace=False)
    assert os.listxattr(top / "base" / "f") == ["user.a"]
    world.close()
    again = mount(top, phys)
    node = again.name(b"f").vnode
    assert (node.getxattr(b"user.a"), node.getxattr(b"trusted.b")) == (
        b"on the host",
        b"in the index",
    )
    assert node.listxattr() == [b"user.a", b"trusted.b"]
    with pytest.raises(KernelError, match="EEXIST"):
        node.setxattr(b"trusted.b", b"", create=True, replace=False)
    node.removexattr(b"trusted.b")
    node.removexattr(b"user.a")
    for name in (b"user.a", b"trusted.b"):
        with pytest.raises(KernelError, match="ENODATA"):
            node.getxattr(name)
    assert node.listxattr() == []
    again.close()


def test_files_of_the_host_user_are_shown_as_the_guests(top, phys):
    (top / "base" / "f").write_text("x")
    world = mount(top, phys, uid=1234)
    assert seen(world, b"f")[2] == 1234
    world.close()


def test_unreadable_for_the_guest_stays_reachable_for_us(top, phys):
    world = mount(top, phys)
    world.open(b"f", "wronly|creat", 0o666, b"secret")
    world.do("chmod", b"f", 0)
    world.close()
    user = mount(top, phys, cred=Cred.for_user(5, 5))
    assert user.do("open", b"f", "rdonly") == "EACCES"
    user.close()
    root = mount(top, phys)
    assert root.read(b"f") == b"secret"
    root.close()


def test_record_of_a_removed_file_goes(top, phys):
    world = mount(top, phys)
    world.open(b"f", "wronly|creat")
    world.do("chown", b"f", 33, 44)
    world.do("unlink", b"f")
    index = world.mounts.root.vnode.vfs.meta
    world.mounts.root.mount.recent.clear()
    assert not index.records
    world.close()


def test_record_of_an_older_file_is_not_believed(top):
    (top / "f").write_text("x")
    path = os.fsencode(top / ".index")
    st = (top / "f").stat()
    index = MetaIndex(path, st.st_dev, 0, 0)
    fd = os.open(top, os.O_RDONLY)
    index.put(st, b"f", fd, Meta(0, VREG, 0o600, 7, 7))
    (key,) = index.records
    if not index.records[key].born:
        pytest.skip("this host does not tell birth times")
    index.records[key] = index.records[key]._replace(born=1)
    index._checked.clear()
    assert index.get(key, b"f", fd) is None
    os.close(fd)
    index.close()


def test_cut_off_anywhere_it_has_all_whole_records(top):
    (top / "f").write_text("x")
    path = os.fsencode(top / ".index")
    st = (top / "f").stat()
    fd = os.open(top, os.O_RDONLY)
    index = MetaIndex(path, st.st_dev, 0, 0)
    for uid in range(1, 6):
        index.put(st, b"f", fd, Meta(0, VREG, 0o600, uid, 7, 0, ((b"user.k", b"v%d" % uid),)))
    index.close()
    whole = (top / ".index").read_bytes()
    ends = [at + 1 for at, byte in enumerate(whole) if byte == 10]
    for cut in range(len(HEADER), len(whole) + 1):
        (top / ".index").write_bytes(whole[:cut])
        again = MetaIndex(path, st.st_dev, 0, 0)
        complete = sum(end <= cut for end in ends) - 1
        meta = again.get((st.st_dev, st.st_ino), b"f", fd)
        assert (meta.uid if meta else 0) == complete
        # And it can be written to: what was torn does not spoil the next record.
        again.put(st, b"f", fd, Meta(0, VREG, 0o600, 99, 7))
        again.close()
        last = MetaIndex(path, st.st_dev, 0, 0)
        assert last.records[st.st_dev, st.st_ino].uid == 99
        last.close()
    os.close(fd)


def test_two_machines_see_each_others_records(top):
    (top / "f").write_text("x")
    path = os.fsencode(top / ".index")
    st = (top / "f").stat()
    key = st.st_dev, st.st_ino
    fd = os.open(top, os.O_RDONLY)
    one, two = MetaIndex(path, st.st_dev, 0, 0), MetaIndex(path, st.st_dev, 0, 0)
    one.put(st, b"f", fd, Meta(0, VREG, 0o600, 1, 1))
    two.put(st, b"f", fd, Meta(0, VREG, 0o600, 2, 2))
    one._looked = 0
    assert one.get(key, b"f", fd).uid == 2
    os.close(fd)
    one.close()
    two.close()


def test_a_long_index_is_written_anew(top):
    (top / "f").write_text("x")
    path = os.fsencode(top / ".index")
    st = (top / "f").stat()
    fd = os.open(top, os.O_RDONLY)
    index = MetaIndex(path, st.st_dev, 0, 0)
    for uid in range(200):
        index.put(st, b"f", fd, Meta(0, VREG, 0o600, uid + 1, 1))
    index.close()
    before = os.stat(path).st_size
    again = MetaIndex(path, st.st_dev, 0, 0)
    assert os.stat(path).st_size < before // 50
    assert again.get((st.st_dev, st.st_ino), b"f", fd).uid == 200
    os.close(fd)
    again.close()


def test_foreign_file_is_refused(top):
    (top / ".index").write_text("something else\n")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="not an index"):
        MetaIndex(os.fsencode(top / ".index"), 1, 0, 0)
    assert len(os.listdir("/proc/self/fd")) == before
