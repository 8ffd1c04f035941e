"""Pseudo terminals and their line discipline, without a CPU: termio(4I), pty(7)."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lxemu.kernel import termio as t
from lxemu.kernel.cred import Cred
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.ldterm import BUFSIZE
from lxemu.kernel.pty import PENDING, Pty
from lxemu.kernel.signal import SIGHUP, SIGINT, SIGTTIN
from lxemu.kernel.vfs.fcntl import FREAD, FWRITE, O_NOCTTY, O_NONBLOCK
from lxemu.kernel.vfs.file import File
from lxemu.kernel.vfs.name import Name
from lxemu.kernel.vfs.ptsfs import PtsFs, PtsOptions
from tests.unit.kernel.fakes import FakeMachine

RAW = t.DEFAULT._replace(lflag=0, iflag=0, oflag=0)


class Pair:
    """A pair with an open file on each side, of a file system of terminals."""

    def __init__(self, flags: int = 0):
        self.fs = PtsFs(1, "pts", 24, 0, PtsOptions(), zone(), lambda: 0)
        self.pty = self.fs.new_pty(Cred())
        self.pty.locked = False
        self.node = self.pty.node
        self.flags = flags
        self.master = self.file()
        self.master.set_vnode(self.pty.master.add(self.master, self.node))
        self.slave = self.open()

    def file(self, more: int = 0) -> File:
        return File(
            self.node, Name(None, b"0", self.node), FREAD | FWRITE | self.flags | more, Cred()
        )

    def open(self, more: int = O_NOCTTY) -> File:
        file = self.file(more)
        file.set_vnode(self.node.open(file))
        return file


def zone(**members):
    return SimpleNamespace(**({"pty_max": 4096, "pty_reserve": 0, "ptys": 0} | members))


def run(*bodies):
    """Run functions as processes; return what each returned, or the error that it raised."""
    machine = FakeMachine()
    results = [None] * len(bodies)

    def body(index):
        def run_one(lwp):
            try:
                results[index] = bodies[index](lwp)
            except KernelError as error:
                results[index] = error.errno

        return run_one

    for index in range(len(bodies)):
        machine.spawn(body(index))
    machine.run()
    return results if len(bodies) > 1 else results[0]


def test_keys_come_as_a_line_and_are_echoed():
    def body(_lwp):
        pair = Pair()
        pair.master.write(b"helo\x7flo\n")
        return pair.slave.read(100), pair.master.read(100)

    assert run(body) == (b"hello\n", b"helo\b \blo\r\n")


def test_reader_waits_for_the_end_of_a_line():
    pair = None

    def reader(_lwp):
        nonlocal pair
        pair = Pair()
        return pair.slave.read(100)

    def writer(lwp):
        for piece in (b"one ", b"line", b"\nmore"):
            pair.master.write(piece)
            lwp.machine.disp.yield_(lwp)

    assert run(reader, writer)[0] == b"one line\n"


def test_line_that_is_too_long_keeps_its_beginning_and_its_end():
    def body(_lwp):
        pair = Pair()
        pair.master.write(b"x" * (BUFSIZE + 100) + b"\n")
        return pair.slave.read(10000)

    assert run(body) == b"x" * (BUFSIZE - 1) + b"\n"


def test_writer_waits_for_room():
    pair = None
    total = 3 * (PENDING + BUFSIZE)

    def writer(_lwp):
        nonlocal pair
        pair = Pair()
        pair.pty.slave.set_modes(RAW)
        return pair.slave.write(b"w" * total)

    def reader(_lwp):
        got = 0
        while got < total:
            got += len(pair.master.read(1 << 16))
        return got

    assert run(writer, reader) == [total, total]


def test_without_waiting_a_full_terminal_is_eagain():
    def body(_lwp):
        pair = Pair(O_NONBLOCK)
        pair.pty.slave.set_modes(RAW)
        taken = pair.slave.write(b"w" * 100_000)
        with pytest.raises(KernelError, match="EAGAIN"):
            pair.slave.write(b"w")
        return taken

    assert run(body) == PENDING + BUFSIZE - 1


@pytest.mark.parametrize(
    ("least", "tenths", "want"), [(0, 0, b""), (0, 5, b""), (3, 1, b"ab"), (2, 0, b"ab")]
)
def test_bytes_come_as_min_and_time_say(least, tenths, want):
    cc = bytearray(RAW.cc)
    cc[t.VMIN], cc[t.VTIME] = least, tenths

    def body(lwp):
        pair = Pair()
        pair.pty.slave.set_modes(RAW._replace(cc=bytes(cc)))
        if least:
            pair.master.write(b"ab")
        before = lwp.machine.clock.hrtime()
        return pair.slave.read(10), (lwp.machine.clock.hrtime() - before) // 100_000_000

    data, waited = run(body)
    assert data == want
    assert waited == (tenths if not least or len(want) < least else 0)


def test_closing_a_side_is_seen_at_the_other():
    def body(_lwp):
        pair = Pair()
        pair.slave.write(b"left")
        pair.slave.rele()
        left = pair.master.read(100)
        with pytest.raises(KernelError, match="EIO"):
            pair.master.read(100)
        again = pair.open()
        pair.master.rele()
        with pytest.raises(KernelError, match="EIO"):
            again.write(b"x")
        in_use = pair.fs.zone.ptys
        again_read = again.read(10)
        again.rele()
        return left, again_read, in_use, pair.fs.zone.ptys, list(pair.fs.nodes)

    assert run(body) == (b"left", b"", 1, 0, [])


def test_locked_or_closed_terminal_is_eio_exclusive_one_ebusy():
    def body(lwp):
        pair = Pair()
        pair.pty.locked = True
        errors = []
        for prepare in (
            lambda: None,
            lambda: setattr(pair.pty, "locked", False),
            lambda: setattr(pair.pty.slave, "exclusive", True),
            pair.master.rele,
        ):
            prepare()
            lwp.proc.cred = Cred.for_user(7, 7)
            try:
                errors.append(pair.open() and "ok")
            except KernelError as error:
                errors.append(error.errno.name)
        return errors

    assert run(body) == ["EIO", "ok", "EBUSY", "EBUSY"]


def test_numbers_are_used_again_and_end():
    fs = PtsFs(1, "pts", 24, 0, PtsOptions(most=2), zone(), lambda: 0)
    first, second = fs.new_pty(Cred()), fs.new_pty(Cred())
    assert (first.number, second.number) == (0, 1)
    with pytest.raises(KernelError) as caught:
        fs.new_pty(Cred())
    assert caught.value.errno is Errno.ENOSPC
    first.gone()
    first.released()
    assert fs.new_pty(Cred()).number == 0


def test_limit_holds_for_all_file_systems_of_terminals():
    shared = zone(pty_max=4, pty_reserve=1)
    other = PtsFs(1, "pts", 24, 0, PtsOptions(), shared, lambda: 0)
    first = PtsFs(1, "pts", 24, 0, PtsOptions(first=True), shared, lambda: 0)
    other.new_pty(Cred())
    other.new_pty(Cred())
    with pytest.raises(KernelError, match="ENOSPC"):
        other.new_pty(Cred())
    assert first.new_pty(Cred()).number == 0


def test_interrupt_key_signals_the_foreground_group_of_the_session():
    def body(lwp):
        pair = Pair()
        pair.open(0)
        assert lwp.proc.ctty is pair.pty.slave
        lwp.sigmask = 1 << (SIGINT - 1)
        pair.master.write(b"lost\x03")
        return lwp.proc.sigq.pending >> (SIGINT - 1) & 1, pair.master.read(100)

    assert run(body) == (1, b"^C")


def test_background_reader_that_blocks_the_signal_is_eio():
    def body(lwp):
        pair = Pair()
        pair.open(0)
        pair.pty.slave.fg = 4711
        lwp.sigmask = 1 << (SIGTTIN - 1)
        return pair.slave.read(1)

    assert run(body) is Errno.EIO


def test_hangup_signals_the_leader_and_ends_its_terminal():
    def body(lwp):
        pair = Pair()
        pair.open(0)
        lwp.sigmask = 1 << (SIGHUP - 1)
        pair.master.rele()
        pending = lwp.proc.sigq.pending >> (SIGHUP - 1) & 1
        return pending, lwp.proc.ctty, lwp.proc.session.old_fg == lwp.proc.pid

    assert run(body) == (1, None, True)


def test_packets_tell_of_flow_and_flushing():
    def body(_lwp):
        pair = Pair(O_NONBLOCK)
        master = pair.pty.master
        master.packets = True
        pair.slave.write(b"data")
        seen = [pair.master.read(100)]
        pair.pty.slave.ld.stop()
        seen.append(pair.master.read(100))
        pair.pty.slave.ld.flush()
        seen.append(pair.master.read(100))
        return seen

    want = [b"\0data", bytes([t.TIOCPKT_STOP]), bytes([t.TIOCPKT_FLUSHREAD])]
    assert run(body) == want


def test_pair_by_itself_is_closed_with_its_last_file():
    pty = Pty(3, 0)
    assert (pty.number, pty.locked, pty.open, pty.slave.files) == (3, True, True, [])
