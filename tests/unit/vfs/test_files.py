"""Open files, descriptor tables, locks and devices."""

from __future__ import annotations

import itertools
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lxemu.kernel.cred import Cred
from lxemu.kernel.errno import KernelError
from lxemu.kernel.poll import POLLIN, POLLOUT
from lxemu.kernel.signal import SIGUSR1, SigAction
from lxemu.kernel.vfs import attr, ops
from lxemu.kernel.vfs import fcntl as f
from lxemu.kernel.vfs.fdtable import FdTable
from lxemu.kernel.vfs.locks import Lock, LockList, flock, getlk, setlk
from lxemu.kernel.vfs.specfs import (
    DevSwitch,
    Driver,
    FullDriver,
    NullDriver,
    RandomDriver,
    ZeroDriver,
)
from lxemu.kernel.vfs.vnode import VCHR, VREG, Vnode, makedev
from tests.unit.kernel.fakes import FakeMachine

from .conftest import make_world

USER = Cred.for_user(1000, 1000)


@pytest.fixture
def world(phys, tmp_path):
    world = make_world("tmpfs", phys, tmp_path)
    world.open(b"f", "wronly|creat", 0o644, b"0123456789")
    yield world
    world.close()


def err(call, *args, **kw):
    with pytest.raises(KernelError) as info:
        call(*args, **kw)
    return info.value.errno.name


# -- open files -----------------------------------------------------------------------------------


def test_access_mode_decides(world):
    reader, writer = world.vn_open(b"f", "rdonly"), world.vn_open(b"f", "wronly")
    neither = ops.vn_open(world.proc, world.cwd, b"f", 3)
    opath = world.vn_open(b"f", "path")

    assert err(reader.write, b"x") == err(reader.pwrite, b"x", 0) == "EBADF"
    assert err(writer.read, 1) == err(writer.pread, 1, 0) == "EBADF"
    assert err(neither.read, 1) == err(neither.write, b"x") == "EBADF"
    for call in (lambda: opath.read(1), lambda: opath.seek(0, 0), lambda: opath.truncate(0)):
        assert err(call) == "EBADF"
    assert err(reader.truncate, 0) == "EINVAL"
    assert [file.getfl() & 3 for file in (reader, writer, neither)] == [0, 1, 3]
    assert opath.getfl() == f.O_PATH


def test_append_goes_to_the_end_and_says_where(world):
    file = world.vn_open(b"f", "rdwr|append")
    file.write(b"abc")
    assert file.seek(0, f.SEEK_CUR) == 13
    file.pwrite(b"def", 0)
    assert file.pread(100, 0) == b"0123456789abcdef"
    file.setfl(0)
    file.pwrite(b"X", 0)
    assert file.pread(1, 0) == b"X"


def test_seek_as_native(world, tmp_path):
    (tmp_path / "f").write_bytes(b"0123456789")
    fd = os.open(tmp_path / "f", os.O_RDONLY)
    file = world.vn_open(b"f", "rdonly")
    for off, whence in [
        (5, 0),
        (3, 1),
        (-2, 2),
        (100, 0),
        (-1, 0),
        (-200, 1),
        (0, 9),
    ]:
        try:
            expected = os.lseek(fd, off, whence)
        except OSError:
            expected = "EINVAL"
        assert (
            (expected == file.seek(off, whence))
            if expected != "EINVAL"
            else (err(file.seek, off, whence) == "EINVAL")
        )
    os.close(fd)


def test_seek_finds_holes(world):
    file = world.vn_open(b"f", "rdwr")
    file.truncate(0)
    file.pwrite(b"x", 3 << 12)
    assert file.seek(0, f.SEEK_DATA) == 3 << 12
    assert file.seek(0, f.SEEK_HOLE) == 0
    assert file.seek(3 << 12, f.SEEK_HOLE) == (3 << 12) + 1
    assert err(file.seek, 4 << 12, f.SEEK_DATA) == "ENXIO"


def test_largest_offset(world):
    file = world.vn_open(b"f", "rdwr")
    assert err(file.pwrite, b"x", f.MAXOFFSET) == "EFBIG"
    assert file.pread(5, f.MAXOFFSET - 2) == b""
    assert err(file.pread, 1, -1) == "EINVAL"


def test_write_by_stranger_clears_set_id(world):
    world.chmod(b"f", 0o6777)
    file = ops.vn_open(_as(world, USER), world.cwd, b"f", f.O_WRONLY)
    file.write(b"x")
    assert world.stat(b"f")[0] & 0o7777 == 0o777
    world.chmod(b"f", 0o6777)
    world.vn_open(b"f", "wronly").write(b"x")
    assert world.stat(b"f")[0] & 0o7777 == 0o6777
    attr.vn_truncate(world.name(b"f"), 3, USER)
    assert world.stat(b"f")[0] & 0o7777 == 0o777


def _as(world, cred):
    from types import SimpleNamespace

    return SimpleNamespace(cred=cred, fs=world.proc.fs)


def test_text_file_busy(world):
    vnode = world.name(b"f").vnode
    ops.deny_write(vnode)
    assert err(world.vn_open, b"f", "wronly") == "ETXTBSY"
    assert err(world.vn_open, b"f", "rdonly|trunc") == "ETXTBSY"
    assert world.do("truncate", b"f", 0) == "ETXTBSY"
    ops.allow_write(vnode)
    file = world.vn_open(b"f", "wronly")
    assert err(ops.deny_write, vnode) == "ETXTBSY"
    file.rele()
    ops.deny_write(vnode)


def test_file_created_without_permission_is_open_to_its_maker(world):
    world.chmod(b".", 0o777)
    file = ops.vn_open(_as(world, USER), world.cwd, b"new", f.O_RDWR | f.O_CREAT, 0)
    file.write(b"x")
    assert file.pread(1, 0) == b"x"
    assert err(ops.vn_open, _as(world, USER), world.cwd, b"new", f.O_RDONLY) == "EACCES"


# -- descriptor tables ----------------------------------------------------------------------------


class Model:
    """What a descriptor table does, in few words."""

    def __init__(self, limit):
        self.files, self.cloexec, self.limit = {}, set(), limit

    def alloc(self, file, minfd, cloexec):
        fd = next(n for n in range(minfd, 10**6) if n not in self.files)
        if fd >= self.limit:
            return "EMFILE"
        self.put(fd, file, cloexec)
        return fd

    def put(self, fd, file, cloexec):
        self.files[fd] = file
        self.cloexec.discard(fd)
        if cloexec:
            self.cloexec.add(fd)


fds = st.integers(0, 12)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("alloc"), fds, st.booleans()),
        st.tuples(st.just("close"), fds, st.just(None)),
        st.tuples(st.just("dup2"), fds, fds),
        st.tuples(st.just("exec"), st.just(0), st.just(0)),
        st.tuples(st.just("range"), fds, st.booleans()),
        st.tuples(st.just("fork"), st.just(0), st.just(0)),
    ),
    max_size=40,
)


class Counted:
    """A file that only counts."""

    def __init__(self):
        self.refcnt = 1
        self.vnode = self
        self.locks = None
        self.counts_closes = False

    def rele(self):
        self.refcnt -= 1


@settings(max_examples=200, deadline=None)
@given(steps)
def test_fdtable_as_model(sequence):
    table, model = FdTable(limit=10), Model(10)
    made, parents = [], []
    for step, a, b in sequence:
        if step == "alloc":
            file = Counted()
            expected = model.alloc(file, a, b)
            if expected == "EMFILE":
                assert err(table.alloc, file, a, b) == "EMFILE"
            else:
                made.append(file)
                assert table.alloc(file, a, b) == expected
        elif step == "close":
            if a in model.files:
                table.close(a)
                del model.files[a]
                model.cloexec.discard(a)
            else:
                assert err(table.close, a) == "EBADF"
        elif step == "dup2":
            if a not in model.files or b >= 10:
                assert err(table.dup2, a, b) == "EBADF"
            else:
                assert table.dup2(a, b) == b
                if a != b:
                    model.put(b, model.files[a], False)
        elif step == "exec":
            table.close_on_exec()
            model.files = {n: x for n, x in model.files.items() if n not in model.cloexec}
            model.cloexec = set()
        elif step == "range":
            table.close_range(a, 1 << 30, cloexec=b)
            gone = {n for n in model.files if n >= a}
            if b:
                model.cloexec |= gone
            else:
                model.files = {n: x for n, x in model.files.items() if n < a}
                model.cloexec -= gone
        else:
            parents.append((table, dict(model.files)))
            table = table.copy()
        assert dict(table.items()) == model.files
        assert {n for n in model.files if table.getcloexec(n)} == model.cloexec
    for file in made:
        held = [*model.files.values()] + [x for _, files in parents for x in files.values()]
        assert file.refcnt == held.count(file)
    for owner in [table] + [parent for parent, _ in parents]:
        owner.rele()
    assert all(file.refcnt == 0 for file in made)


def test_fdtable_errors():
    table = FdTable(limit=4)
    assert err(table.get, -1) == err(table.get, 0) == err(table.get, 5) == "EBADF"
    table.alloc(Counted())
    assert err(table.dup, 0, 4) == "EINVAL"
    assert err(table.dup, 0, -1) == "EINVAL"
    assert err(table.dup2, 0, -1) == "EBADF"
    shared = table.hold()
    shared.rele()
    assert len(table) == 1


# -- locks ----------------------------------------------------------------------------------------


def test_record_locks_split_and_join(world):
    file = world.vn_open(b"f", "rdwr")
    mine, other = FdTable(), FdTable()
    setlk(file, mine, f.F_WRLCK, 0, 99, 1, wait=False)
    setlk(file, mine, f.F_UNLCK, 40, 59, 1, wait=False)
    setlk(file, mine, f.F_RDLCK, 90, 99, 1, wait=False)

    held = [(lock.kind, lock.start, lock.end) for lock in file.vnode.locks.ranges]
    assert held == [(f.F_WRLCK, 0, 39), (f.F_WRLCK, 60, 89), (f.F_RDLCK, 90, 99)]
    setlk(file, other, f.F_WRLCK, 40, 59, 2, wait=False)
    setlk(file, other, f.F_RDLCK, 95, 200, 2, wait=False)
    assert err(setlk, file, other, f.F_RDLCK, 39, 39, 2, wait=False) == "EAGAIN"
    blocker = getlk(file, other, f.F_WRLCK, 0, 300)
    assert (blocker.pid, blocker.start, blocker.end) == (1, 0, 39)
    assert getlk(file, other, f.F_RDLCK, 92, 300) is None
    setlk(file, mine, f.F_WRLCK, 60, 94, 1, wait=False)
    setlk(file, mine, f.F_UNLCK, 0, 1 << 40, 1, wait=False)
    assert [lock.owner for lock in file.vnode.locks.ranges] == [other, other]


spans = st.tuples(st.integers(0, 15), st.integers(0, 15)).map(sorted)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([1, 2, 3]), spans), max_size=30))
def test_record_locks_as_model(requests):
    """The model keeps a lock kind for each owner and byte."""
    locks, owners = LockList(), [FdTable() for _ in range(3)]
    model = [[0] * 16 for _ in owners]
    for who, kind, (start, end) in requests:
        others = [
            row[at] for n, row in enumerate(model) if n != who for at in range(start, end + 1)
        ]
        blocked = (kind == 2 and any(others)) or (kind == 1 and 2 in others)
        want = Lock(owners[who], kind, start, end, who)
        if blocked:
            assert err(locks.set, want, wait=False) == "EAGAIN"
        else:
            locks.set(want, wait=False)
            model[who][start : end + 1] = [kind % 3] * (end + 1 - start)
        rows = [[0] * 16 for _ in owners]
        for lock in locks.ranges:
            row = rows[owners.index(lock.owner)]
            for at in range(lock.start, lock.end + 1):
                assert row[at] == 0
                row[at] = lock.kind
        assert rows == model
        neighbours = sorted((owners.index(x.owner), x.start, x.end, x.kind) for x in locks.ranges)
        for one, two in itertools.pairwise(neighbours):
            assert not (one[0] == two[0] and one[2] + 1 == two[1] and one[3] == two[3])


def test_close_of_any_descriptor_drops_record_locks(world):
    table = FdTable()
    one, two = world.vn_open(b"f", "rdwr"), world.vn_open(b"f", "rdonly")
    table.alloc(one)
    fd = table.alloc(two)
    setlk(one, table, f.F_WRLCK, 0, 9, 1, wait=False)
    table.close(fd)
    assert one.vnode.locks.ranges == []


def test_open_file_locks_go_with_the_file(world):
    one, two = world.vn_open(b"f", "rdwr"), world.vn_open(b"f", "rdwr")
    table = FdTable()
    table.alloc(one)
    copy = table.dup(0)
    setlk(one, one, f.F_WRLCK, 0, 9, -1, wait=False)
    flock(one, f.F_WRLCK, wait=False)
    table.close(copy)
    assert err(setlk, two, two, f.F_RDLCK, 5, 5, -1, wait=False) == "EAGAIN"
    assert err(flock, two, f.F_RDLCK, wait=False) == "EAGAIN"
    table.close(0)
    setlk(two, two, f.F_RDLCK, 5, 5, -1, wait=False)
    flock(two, f.F_WRLCK, wait=False)


def test_waiting_for_locks(world):
    machine = FakeMachine()
    files = [world.vn_open(b"f", "rdwr") for _ in range(2)]
    tables = [FdTable(), FdTable()]
    order = []

    def lock(n, start, wait=True):
        setlk(files[n], tables[n], f.F_WRLCK, start, start, n, wait=wait)

    def first(lwp):
        lock(0, 0)
        flock(files[0], f.F_WRLCK, wait=True)
        machine.disp.yield_(lwp)
        lock(0, 1)
        order.append("first has both")
        setlk(files[0], tables[0], f.F_UNLCK, 0, 9, 0, wait=False)

    def second(lwp):
        lock(1, 1)
        machine.disp.yield_(lwp)
        order.append(err(lock, 1, 0))
        setlk(files[1], tables[1], f.F_UNLCK, 0, 9, 0, wait=False)
        flock(files[1], f.F_WRLCK, wait=True)
        order.append("second has the file")

    def third(lwp):
        lwp.proc.sigacts[SIGUSR1] = SigAction(0x1000)
        order.append(err(flock, world.vn_open(b"f", "rdonly"), f.F_RDLCK, wait=True))

    def fourth(lwp):
        machine.disp.yield_(lwp)
        machine.disp.yield_(lwp)
        machine.sigtoproc(waiter.proc, SIGUSR1)
        machine.disp.yield_(lwp)
        flock(files[0], f.F_UNLCK, wait=False)

    machine.spawn(first)
    machine.spawn(second)
    waiter = machine.spawn(third)
    machine.spawn(fourth)
    machine.run()
    assert sorted(order) == ["EDEADLK", "EINTR", "first has both", "second has the file"]


# -- devices --------------------------------------------------------------------------------------


@pytest.fixture
def devices(world):
    switch = world.mounts.devices
    drivers = [NullDriver(), ZeroDriver(), FullDriver(), RandomDriver(lambda n: b"\7" * n)]
    for number, driver in enumerate(drivers):
        switch.register(makedev(1, number), driver)
        name = (b"null", b"zero", b"full", b"random")[number]
        ops.vn_mknod(world.proc, world.cwd, name, VCHR, 0o666, makedev(1, number))
    return world


def test_memory_devices(devices):
    null, zero, full, random = (
        devices.vn_open(name, "rdwr") for name in (b"null", b"zero", b"full", b"random")
    )
    assert null.read(5) == b""
    assert null.write(b"abc") == 3
    assert zero.read(5) == zero.pread(5, 10) == bytes(5)
    assert zero.write(b"abc") == 3
    assert err(full.write, b"x") == "ENOSPC"
    assert full.read(2) == bytes(2)
    assert random.read(3) == b"\7\7\7"
    assert null.seek(100, 0) == 0
    assert null.poll(POLLIN | POLLOUT)[0] == POLLIN | POLLOUT
    assert err(null.ioctl, 1) == "ENOTTY"
    assert (zero.vnode.map_anon, null.vnode.map_anon) == (True, False)
    assert null.vnode.getattr() == devices.name(b"null").vnode.getattr()
    assert err(null.truncate, 0) == "EINVAL"


def test_device_without_driver(devices):
    ops.vn_mknod(devices.proc, devices.cwd, b"x", VCHR, 0o666, makedev(9, 9))
    assert devices.do("open", b"x", "rdonly") == "ENXIO"
    assert err(DevSwitch().find, 1) == "ENXIO"


def test_device_of_a_major_and_clone(devices):
    class Clone(Vnode):
        """What the clone driver puts in the file."""

        opens_itself = True
        closed = False

        def getattr(self, cred=None):
            return devices.name(b"null").vnode.getattr()

        def sread(self, file, n):
            return b"cloned"

        def close(self, file):
            Clone.closed = True

    class CloneDriver(Driver):
        """Gives every opener a vnode of its own."""

        seekable = False

        def open(self, vnode, file):
            return Clone(vnode.vfs, VCHR)

    devices.mounts.devices.register_major(5, CloneDriver())
    ops.vn_mknod(devices.proc, devices.cwd, b"c", VCHR, 0o666, makedev(5, 3))
    one, two = devices.vn_open(b"c", "rdwr"), devices.vn_open(b"c", "rdwr")
    assert one.vnode is not two.vnode
    assert one.read(9) == b"cloned"
    one.rele()
    assert Clone.closed


def test_open_devices_of_one_node_share_it(devices):
    one, two = devices.vn_open(b"null", "rdonly"), devices.vn_open(b"null", "wronly")
    assert one.vnode is two.vnode


def test_regular_file_has_no_device(devices):
    assert err(devices.vn_open(b"f", "rdonly").ioctl, 1) == "ENOTTY"
    assert devices.vn_open(b"f", "rdonly").poll(POLLIN)[0] == POLLIN
    assert devices.name(b"f").vnode.type == VREG
