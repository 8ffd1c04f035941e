"""Pipes and fifos: transfers without blocking as on the host, blocking on a machine of fakes."""

from __future__ import annotations

import errno
import fcntl
import os
import select

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lxemu.kernel.cred import Cred
from lxemu.kernel.errno import KernelError
from lxemu.kernel.signal import SIG_IGN, SIGPIPE, SIGUSR1, SIGUSR2, SigAction
from lxemu.kernel.vfs import ops
from lxemu.kernel.vfs.fcntl import FIONREAD, O_DIRECT, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY
from lxemu.kernel.vfs.fifofs import PipeFs
from lxemu.kernel.vfs.vnode import VFIFO
from tests.unit.kernel.fakes import FakeMachine

USER = Cred.for_user(1000, 1000)
SIZES = st.sampled_from([1, 2, 100, 4095, 4096, 4097, 5000, 8192, 9000, 65535, 65536, 70000])
F_SETPIPE_SZ = 1031
F_GETPIPE_SZ = 1032


def pipe(flags=O_NONBLOCK, cred=USER):
    return PipeFs(9, now=lambda: 7).pipe(cred, flags)


def errno_of(call, *args):
    try:
        return call(*args)
    except KernelError as err:
        return err.errno.name
    except BlockingIOError:
        return "EAGAIN"
    except BrokenPipeError:
        return "EPIPE"


@pytest.mark.native
@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("rrwwwp"), SIZES), max_size=60), st.booleans())
def test_pipe_without_blocking_as_native(steps, packets):
    reader, writer = pipe(O_NONBLOCK | (O_DIRECT if packets else 0))
    rfd, wfd = os.pipe2(os.O_NONBLOCK | (os.O_DIRECT if packets else 0))
    poll = select.poll()
    poll.register(rfd, select.POLLIN)
    poll.register(wfd, select.POLLOUT)
    serial = 0
    try:
        for step, size in steps:
            if step == "w":
                serial += 1
                data = bytes([serial & 255]) * size
                assert errno_of(writer.write, data) == errno_of(os.write, wfd, data)
            elif step == "r":
                assert errno_of(reader.read, size) == errno_of(os.read, rfd, size)
            ready = dict(poll.poll(0))
            assert (reader.poll(1)[0], writer.poll(4)[0]) == (ready.get(rfd, 0), ready.get(wfd, 0))
    finally:
        os.close(rfd)
        os.close(wfd)


@pytest.mark.native
@pytest.mark.parametrize("size", [0, 1, 4096, 4097, 8192, 65536, 100000, 1 << 20])
@pytest.mark.parametrize("filled", [0, 1, 5000, 60000])
def test_setsize_as_native(size, filled):
    reader, writer = pipe(cred=Cred())
    rfd, wfd = os.pipe2(os.O_NONBLOCK)
    try:
        os.write(wfd, b"x" * filled)
        if filled:
            writer.write(b"x" * filled)
        try:
            expected = fcntl.fcntl(wfd, F_SETPIPE_SZ, size)
        except OSError as err:
            expected = errno.errorcode[err.errno]
        assert errno_of(writer.vnode.setsize, size, Cred()) == expected
        assert reader.vnode.getsize() == fcntl.fcntl(rfd, F_GETPIPE_SZ)
    finally:
        os.close(rfd)
        os.close(wfd)


def test_setsize_over_limit_needs_privilege():
    reader, _ = pipe()

    assert errno_of(reader.vnode.setsize, 2 << 20, USER) == "EPERM"
    assert reader.vnode.setsize(2 << 20, Cred()) == 2 << 20


def test_read_of_pipe_without_writer_is_the_end():
    reader, writer = pipe()
    writer.write(b"tail")
    writer.rele()

    assert reader.poll(1)[0] == 0x11  # POLLIN, POLLHUP
    assert reader.read(100) == b"tail"
    assert reader.read(100) == b""
    assert reader.poll(1)[0] == 0x10


def test_poll_of_writer_without_reader_is_error():
    reader, writer = pipe()
    reader.rele()

    assert writer.poll(4)[0] == 4 | 8


def test_fionread_counts_bytes():
    reader, writer = pipe()
    writer.write(b"x" * 5000)
    reader.read(10)

    assert reader.ioctl(FIONREAD) == 4990


def test_pipe_attributes():
    reader, _ = pipe()
    vattr = reader.vnode.getattr()

    assert (vattr.type, vattr.mode, vattr.uid) == (VFIFO, 0o600, 1000)
    assert (vattr.nlink, vattr.size) == (1, 0)
    assert errno_of(reader.seek, 0, 0) == "ESPIPE"
    assert errno_of(reader.pread, 1, 0) == "ESPIPE"
    assert errno_of(reader.write, b"x") == "EBADF"


# -- blocking -------------------------------------------------------------------------------------


@pytest.fixture
def machine():
    return FakeMachine()


def test_write_longer_than_pipe_meets_reader(machine):
    reader, writer = pipe(0)
    got = []

    def produce(_lwp):
        assert writer.write(b"z" * 200000) == 200000
        writer.rele()

    def consume(_lwp):
        while data := reader.read(30000):
            got.append(data)

    machine.spawn(produce)
    machine.spawn(consume)
    machine.run()
    assert b"".join(got) == b"z" * 200000


def test_short_writes_of_two_writers_are_not_mixed(machine):
    reader, writer = pipe(0)
    other = writer.hold()
    got = []

    def produce(char):
        def body(_lwp):
            for _ in range(50):
                assert writer.write(char * 4096) == 4096
            other.rele()

        return body

    def consume(_lwp):
        while data := reader.read(4096):
            got.append(data)

    machine.spawn(produce(b"a"))
    machine.spawn(produce(b"b"))
    machine.spawn(consume)
    machine.run()
    assert len(got) == 100
    assert all(data in (b"a" * 4096, b"b" * 4096) for data in got)


def test_write_to_broken_pipe_signals(machine):
    reader, writer = pipe(0)
    reader.rele()
    result = []

    def body(lwp):
        lwp.proc.sigacts[SIGPIPE] = SigAction(SIG_IGN)
        result.append(errno_of(writer.write, b"x"))

    machine.spawn(body)
    machine.run()
    assert result == ["EPIPE"]


def test_write_to_broken_pipe_kills(machine):
    reader, writer = pipe(0)
    reader.rele()

    def body(lwp):
        assert errno_of(writer.write, b"x") == "EPIPE"
        machine.ast(lwp)
        raise AssertionError("alive")

    lwp = machine.spawn(body)
    machine.run()
    assert machine.log[0][2] == SIGPIPE
    assert lwp.proc.zombie


def test_interrupted_write_tells_what_it_wrote(machine):
    reader, writer = pipe(0)
    result = []

    def body(lwp):
        lwp.proc.sigacts[SIGUSR1] = lwp.proc.sigacts[SIGUSR2] = SigAction(0x1000)
        result.append(writer.write(b"x" * 100000))
        machine.ast(lwp)
        result.append(errno_of(writer.write, b"y"))

    def kill(lwp):
        machine.sigtoproc(writer_lwp.proc, SIGUSR1)
        machine.disp.yield_(lwp)
        machine.sigtoproc(writer_lwp.proc, SIGUSR2)

    writer_lwp = machine.spawn(body)
    machine.spawn(kill)
    machine.run()
    assert result == [65536, "EINTR"]
    assert reader.read(10) == b"x" * 10


# -- named fifos ----------------------------------------------------------------------------------


@pytest.fixture
def world(ours):
    ours.mknod(b"f", "fifo")
    return ours


def _open(world, flags):
    return ops.vn_open(world.proc, world.cwd, b"f", flags)


def test_open_for_reading_waits_for_writer(machine, world):
    order = []

    def read(_lwp):
        order.append("r")
        file = _open(world, O_RDONLY)
        order.append("opened")
        assert file.read(10) == b"hello"
        assert file.read(10) == b""
        file.rele()

    def write(_lwp):
        order.append("w")
        file = _open(world, O_WRONLY)
        file.write(b"hello")
        file.rele()

    machine.spawn(read)
    machine.spawn(write)
    machine.run()
    assert order == ["r", "w", "opened"]


def test_open_interrupted_leaves_no_reader(machine, world):
    result = []

    def read(lwp):
        lwp.proc.sigacts[SIGUSR1] = SigAction(0x1000)
        result.append(errno_of(_open, world, O_RDONLY))

    def kill(_lwp):
        machine.sigtoproc(reader.proc, SIGUSR1)

    reader = machine.spawn(read)
    machine.spawn(kill)
    machine.run()
    assert result == ["EINTR"]
    assert errno_of(_open, world, O_WRONLY | O_NONBLOCK) == "ENXIO"


def test_open_nonblock(world):
    assert errno_of(_open, world, O_WRONLY | O_NONBLOCK) == "ENXIO"
    reader = _open(world, O_RDONLY | O_NONBLOCK)

    assert reader.read(5) == b""
    assert reader.poll(1)[0] == 0, "no hang-up before a writer has come"
    writer = _open(world, O_WRONLY | O_NONBLOCK)
    assert errno_of(reader.read, 5) == "EAGAIN"
    writer.write(b"abc")
    writer.rele()
    assert reader.read(5) == b"abc"
    assert reader.poll(1)[0] == 0x10
    reader.rele()


def test_open_both_ways_needs_nobody(world):
    file = _open(world, O_RDWR)

    file.write(b"self")
    assert file.read(10) == b"self"
    assert file.vnode.getattr() == world.name(b"f").vnode.getattr()
    file.rele()


def test_bytes_go_with_the_last_user(world):
    file = _open(world, O_RDWR)
    file.write(b"gone")
    file.rele()
    file = _open(world, O_RDWR | O_NONBLOCK)

    assert errno_of(file.read, 10) == "EAGAIN"
    file.rele()


def test_two_names_of_a_fifo_lead_to_one(world):
    world.link(b"f", b"g")
    reader = _open(world, O_RDONLY | O_NONBLOCK)
    writer = ops.vn_open(world.proc, world.cwd, b"g", O_WRONLY | O_NONBLOCK)
    writer.write(b"x")

    assert reader.read(1) == b"x"
    reader.rele()
    writer.rele()
