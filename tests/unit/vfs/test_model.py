"""Random sequences of calls on the three file systems, compared with the host at each step."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lxemu.kernel.cred import Cred
from lxemu.kernel.mm.page import PhysMem

from .conftest import make_world
from .world import Host, entries, host_flags

pytestmark = pytest.mark.native

NAMES = [b"a", b"b", b"c", b"d"]
paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(b"/".join)
handles = st.integers(0, 2)
datas = st.binary(min_size=1, max_size=40)
MODES = ["rdonly", "rdwr", "rdwr|creat", "rdwr|creat|excl", "rdwr|trunc", "wronly|append|creat"]
LOWER = [
    ("mkdir", b"a", 0o755),
    ("mkdir", b"a/b", 0o755),
    ("open", b"a/c", "wronly|creat", 0o644, b"lower a/c"),
    ("open", b"a/b/c", "wronly|creat", 0o644, b"lower a/b/c" * 500),
    ("mkdir", b"b", 0o755),
    ("open", b"c", "wronly|creat", 0o644, b"lower c"),
    ("link", b"c", b"b/d"),
    ("symlink", b"a/b", b"d"),
]


class Compare(RuleBasedStateMachine):
    """Both worlds, and up to three files open in both."""

    kind = "tmpfs"

    @initialize()
    def build(self):
        self.top = Path(tempfile.mkdtemp())
        for side in ("native", "ours"):
            (self.top / side / "base").mkdir(parents=True)
        self.phys = PhysMem(64 << 20)
        self.free = self.phys.free_frames
        cred = Cred() if os.geteuid() == 0 else Cred.for_user(os.getuid(), os.getgid())
        self.host = Host(self.top / "native" / "base")
        self.setup(self.host)
        if self.kind != "tmpfs":
            self.setup(Host(self.top / "ours" / "base"))
        self.ours = make_world(self.kind, self.phys, self.top / "ours", cred)
        if self.kind == "tmpfs":
            self.setup(self.ours)
        self.open = {}

    def setup(self, world):
        for call, *args in LOWER:
            assert not isinstance(world.do(call, *args), str)

    def both(self, call, *args):
        expected = self.host.do(call, *args)
        actual = self.ours.do(call, *args)
        assert (call, args, actual) == (call, args, expected)

    @rule(path=paths)
    def mkdir(self, path):
        self.both("mkdir", path)

    @rule(path=paths)
    def rmdir(self, path):
        self.both("rmdir", path)

    @rule(path=paths)
    def unlink(self, path):
        self.both("unlink", path)

    @rule(old=paths, new=paths)
    def rename(self, old, new):
        self.both("rename", old, new)

    @rule(old=paths, new=paths, how=st.sampled_from(["exchange", "noreplace"]))
    def rename_with(self, old, new, how):
        if self.kind != "lofs":
            self.both("rename", old, new, how)

    @rule(old=paths, new=paths)
    def link(self, old, new):
        self.both("link", old, new)

    @rule(old=paths, path=paths)
    def symlink(self, old, path):
        self.both("symlink", old, path)

    @rule(path=paths, size=st.integers(0, 9000))
    def truncate(self, path, size):
        self.both("truncate", path, size)

    @rule(path=paths, mode=st.sampled_from([0o700, 0o711, 0o755]))
    def chmod(self, path, mode):
        self.both("chmod", path, mode)

    @rule(path=paths)
    def listdir(self, path):
        self.both("listdir", path)

    @rule(path=paths, flags=st.sampled_from(MODES), data=datas)
    def write(self, path, flags, data):
        self.both("open", path, flags, 0o644, data if "rdonly" not in flags else b"")

    @rule(handle=handles, path=paths, flags=st.sampled_from(MODES))
    def keep_open(self, handle, path, flags):
        self.drop(handle)
        ours = self.ours.do("vn_open", path, flags, 0o644)
        with self.host._inside():
            try:
                fd = os.open(path, host_flags(flags), 0o644)
            except OSError:
                assert isinstance(ours, str)
                return
        assert not isinstance(ours, str), ours
        self.open[handle] = (fd, ours)

    @rule(handle=handles)
    def drop(self, handle):
        pair = self.open.pop(handle, None)
        if pair is not None:
            os.close(pair[0])
            pair[1].rele()

    @rule(handle=handles, off=st.sampled_from([0, 3, 4090, 8000]), data=datas)
    def pwrite(self, handle, off, data):
        fd, file = self.open.get(handle, (None, None))
        if file is not None and file.flags & 2:
            assert os.pwrite(fd, data, off) == file.pwrite(data, off)

    @rule(handle=handles, size=st.integers(0, 9000))
    def ftruncate(self, handle, size):
        fd, file = self.open.get(handle, (None, None))
        if file is not None and file.flags & 2:
            os.ftruncate(fd, size)
            file.truncate(size)

    @rule(handle=handles)
    def fstat(self, handle):
        fd, file = self.open.get(handle, (None, None))
        if file is not None:
            st_ = os.fstat(fd)
            vattr = file.vnode.getattr()
            assert vattr.st_mode == st_.st_mode
            if vattr.type == 1:
                assert (vattr.nlink, vattr.size) == (st_.st_nlink, st_.st_size)

    @invariant()
    def same_contents_of_open_files(self):
        for fd, file in getattr(self, "open", {}).values():
            if file.flags & 1 and file.vnode.type == 1:
                assert file.pread(1 << 20, 0) == os.pread(fd, 1 << 20, 0)

    @invariant()
    def same_tree(self):
        if hasattr(self, "ours"):
            assert self.ours.tree() == self.host.tree()

    @invariant()
    def path_of_open_file_leads_to_it(self):
        for _, file in getattr(self, "open", {}).values():
            if not file.name.detached():
                found = self.ours.name(file.name.path(self.ours.mounts.root), follow=False)
                assert found is file.name

    @invariant()
    def numbers_are_unique_and_as_listed(self):
        if not hasattr(self, "ours"):
            return
        seen = {}
        todo = [(b".", self.ours.cwd)]
        while todo:
            path, name = todo.pop()
            for entry in name.vnode.readdir(0):
                if entry.name in (b".", b".."):
                    continue
                sub = path + b"/" + entry.name
                child = self.ours.name(sub, follow=False)
                vattr = child.vnode.getattr()
                assert (sub, vattr.nodeid, vattr.type) == (sub, entry.nodeid, entry.type)
                other = seen.setdefault(vattr.nodeid, child.vnode)
                assert other is child.vnode
                if vattr.type == 2:
                    todo.append((sub, child))

    def teardown(self):
        if not hasattr(self, "ours"):
            return
        for handle in list(self.open):
            self.drop(handle)
        self.ours.close()
        shutil.rmtree(self.top)
        del self.ours
        assert self.phys.free_frames == self.free


def _machine(kind):
    machine = type(f"Compare_{kind}", (Compare,), {"kind": kind})
    case = machine.TestCase
    case.settings = settings(
        max_examples=30,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    return case


TestTmpfs = _machine("tmpfs")
TestLofs = _machine("lofs")
TestOverlay = _machine("overlay")


def test_entries_helper_reads_dots(phys, tmp_path):
    world = make_world("tmpfs", phys, tmp_path)

    assert entries(world.cwd.vnode) == [b".", b".."]

    world.close()
