"""The emulator's own descriptors as files of the guest."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import socket

import pytest

from lxemu.kernel.cred import Cred
from lxemu.kernel.errno import KernelError
from lxemu.kernel.poll import POLLHUP, POLLIN, POLLOUT, poll_sleep
from lxemu.kernel.signal import SIG_IGN, SIGPIPE, SigAction
from lxemu.kernel.vfs.fcntl import FIONREAD, FREAD, FWRITE, O_APPEND, O_NONBLOCK
from lxemu.kernel.vfs.fifofs import PipeFs
from lxemu.kernel.vfs.hostio import open_host_fd
from lxemu.kernel.vfs.vnode import VCHR, VFIFO, VREG, VSOCK
from tests.unit.kernel.fakes import FakeMachine


@pytest.fixture
def machine():
    return FakeMachine()


def stream(machine, fd, flags=0):
    file = open_host_fd(PipeFs(3), fd, machine.disp, Cred())
    file.flags |= flags
    return file


@pytest.fixture(params=["pipe", "socket", "pty", "pipe without a way to open it again"])
def ends(request, monkeypatch):
    """Give a readable and a writable end of something of the host."""
    if request.param == "socket":
        one, two = socket.socketpair()
        fds = one.detach(), two.detach()
    elif request.param == "pty":
        fds = pty.openpty()
        import termios

        modes = termios.tcgetattr(fds[1])
        modes[1] &= ~termios.OPOST
        modes[3] &= ~(termios.ICANON | termios.ECHO)
        termios.tcsetattr(fds[1], termios.TCSANOW, modes)
    else:
        fds = os.pipe()
    if "without" in request.param:
        real = os.open

        def refuse(path, *args, **kw):
            if str(path).startswith("/proc/"):
                raise FileNotFoundError(2, "no such thing here")
            return real(path, *args, **kw)

        monkeypatch.setattr(os, "open", refuse)
    yield fds
    for fd in fds:
        os.close(fd)


def errno_of(call, *args):
    with pytest.raises(KernelError) as info:
        call(*args)
    return info.value.errno.name


def test_read_waits_for_the_host(machine, ends):
    reader = stream(machine, ends[0])
    got = []

    def read(_lwp):
        got.append(reader.read(100))

    def write(lwp):
        machine.disp.yield_(lwp)
        assert got == []
        os.write(ends[1], b"from the host")

    machine.spawn(read)
    machine.spawn(write)
    machine.run()
    assert got == [b"from the host"]


def test_long_write_does_not_block_others(machine, ends):
    """More than the host buffers, while another lwp reads it at the host's other end."""
    writer = stream(machine, ends[1])
    total = 300_000
    got = []
    os.set_blocking(ends[0], False)

    def write(_lwp):
        assert writer.write(b"w" * total) == total

    def read(lwp):
        while sum(map(len, got)) < total:
            with contextlib.suppress(BlockingIOError):
                got.append(os.read(ends[0], 65536))
            machine.disp.poll_host(0)
            machine.disp.yield_(lwp)

    machine.spawn(write)
    machine.spawn(read)
    machine.run()
    assert b"".join(got) == b"w" * total


def test_nonblocking(machine, ends):
    reader = stream(machine, ends[0], O_NONBLOCK)
    assert errno_of(reader.read, 10) == "EAGAIN"
    assert reader.poll(POLLIN)[0] & POLLIN == 0
    os.write(ends[1], b"abc")
    select.select([ends[0]], [], [], 10)  # a terminal hands its bytes over in its own time
    assert reader.ioctl(FIONREAD) == 3
    assert reader.poll(POLLIN)[0] & POLLIN
    assert reader.read(10) == b"abc"
    writer = stream(machine, ends[1], O_NONBLOCK)
    assert writer.poll(POLLOUT)[0] == POLLOUT
    wrote = 0
    while True:
        try:
            wrote += writer.write(b"x" * 10_000)
        except KernelError as error:
            if error.errno.name != "EAGAIN":
                raise
            break
    assert wrote >= 4096
    assert fcntl.fcntl(ends[1], fcntl.F_GETFL) & os.O_NONBLOCK == 0, "the host's flag is its own"


def test_poll_sleeps_on_the_host(machine, ends):
    reader = stream(machine, ends[0])
    order = []

    def wait(_lwp):
        ready, head = reader.poll(POLLIN)
        assert not ready
        assert poll_sleep([(head, POLLIN)], None)
        order.append(reader.poll(POLLIN)[0] & POLLIN)

    def write(lwp):
        machine.disp.yield_(lwp)
        order.append("written")
        os.write(ends[1], b"x")

    machine.spawn(wait)
    machine.spawn(write)
    machine.run()
    assert order == ["written", POLLIN]


def test_closed_stream_lets_the_other_end_see_the_end(machine):
    rfd, wfd = os.pipe()
    writer = stream(machine, wfd)
    writer.write(b"last")
    writer.hold()
    writer.rele()
    writer.rele()

    assert os.read(rfd, 10) == b"last"
    assert os.read(rfd, 10) == b""
    assert os.fstat(wfd), "the number stays taken"
    os.close(rfd)
    os.close(wfd)


def test_closed_descriptor_is_an_error(machine):
    rfd, wfd = os.pipe()
    os.close(rfd)
    os.close(wfd)

    with pytest.raises(OSError, match="Bad file descriptor"):
        stream(machine, rfd)


def test_broken_pipe_signals(machine):
    rfd, wfd = os.pipe()
    writer = stream(machine, wfd)
    os.close(rfd)
    result = []

    def ignore(lwp):
        lwp.proc.sigacts[SIGPIPE] = SigAction(SIG_IGN)
        result.append(errno_of(writer.write, b"x"))

    def die(lwp):
        errno_of(writer.write, b"x")
        machine.ast(lwp)

    machine.spawn(ignore)
    machine.spawn(die)
    machine.run()
    assert result == ["EPIPE"]
    assert [status for _, _, status in machine.log] == [0, SIGPIPE]
    os.close(wfd)


def test_end_of_host_pipe(machine):
    rfd, wfd = os.pipe()
    reader = stream(machine, rfd)
    os.close(wfd)

    assert reader.read(10) == b""
    assert reader.poll(POLLIN)[0] & POLLHUP
    os.close(rfd)


def test_types_and_modes(machine, tmp_path):
    rfd, wfd = os.pipe()
    sock, other = socket.socketpair()
    plain = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    main, sub = pty.openpty()
    seen = [stream(machine, fd) for fd in (rfd, wfd, sock.fileno(), plain, sub)]

    assert [file.vnode.type for file in seen] == [VFIFO, VFIFO, VSOCK, VREG, VCHR]
    assert [file.flags & 3 for file in seen] == [FREAD, FWRITE, 3, 3, 3]
    assert seen[3].flags & O_APPEND
    assert [file.vnode.is_tty() for file in seen] == [False] * 4 + [True]
    for file in (seen[0], seen[2], seen[4]):
        assert errno_of(file.seek, 0, 0) == "ESPIPE"
        assert errno_of(file.pread, 1, 0) == "ESPIPE"
    for fd in (rfd, wfd, plain, main, sub):
        os.close(fd)
    sock.close()
    other.close()


def test_regular_file_shares_the_position_of_the_host(machine, tmp_path):
    path = tmp_path / "out"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    file = stream(machine, fd)
    os.write(fd, b"host ")
    file.write(b"guest ")
    os.write(fd, b"host")

    assert path.read_bytes() == b"host guest host"
    assert file.seek(0, 1) == 15
    assert file.seek(5, 0) == 5
    assert os.read(fd, 5) == b"guest"
    assert file.pread(4, 0) == b"host"
    assert file.pwrite(b"H", 0) == 1
    assert file.read(100) == b" host"
    assert file.vnode.getattr().size == 15
    file.truncate(4)
    assert path.read_bytes() == b"Host"
    os.close(fd)
