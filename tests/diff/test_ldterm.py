"""The line discipline against the host's: the same keys, modes and output give the same results.

Each side is read until nothing is left before anything else is done, which also makes the host
finish with its queues: what it does with input it does a moment later.
"""

from __future__ import annotations

import fcntl
import os
import struct
import termios

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lxemu.kernel import termio as t
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.pty import Pty
from lxemu.kernel.ptyio import requests
from lxemu.kernel.vfs.fcntl import O_NONBLOCK
from syscalls.abi.xlat_termio import modes_from_lx, modes_to_lx
from syscalls.records import Termios2
from tests.harness import runs_natively
from tests.unit.kernel.fakes import FakeMachine

pytestmark = pytest.mark.skipif(not runs_natively("x86_64"), reason="needs a Linux host")

TCGETS2, TCSETS2 = 0x802C542A, 0x402C542B
WORDS = struct.Struct("IIIIB19sII")
#: Read so much at once; a reader's buffer may be smaller than a line.
PIECES = (1, 3, 64, 5000)
DEFAULT_CC = bytes((3, 0x1C, 0x7F, 0x15, 4, 0, 1, 0, 0x11, 0x13, 0x1A, 0, 0x12, 0xF, 0x17, 0x16))
FIRST = (0x500, 5, 0xBF, 0x8A3B, 0, DEFAULT_CC + bytes(3), 38400, 38400)
IFLAGS = [1 << n for n in range(15)]
OFLAGS = [1, 2, 4, 8, 0x10, 0x20, 0x1800]
LFLAGS = [1 << n for n in (0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 15, 16)]


class Native:
    """A pair of the host's."""

    def __init__(self):
        self.master, self.slave = os.openpty()
        os.set_blocking(self.master, False)
        os.set_blocking(self.slave, False)

    def close(self):
        os.close(self.slave)
        os.close(self.master)

    @staticmethod
    def _or_none(call, *args):
        try:
            return call(*args)
        except BlockingIOError:
            return None

    def modes(self, words):
        fcntl.ioctl(self.slave, TCSETS2, WORDS.pack(*words))

    def type(self, data):
        return self._or_none(os.write, self.master, data)

    def say(self, data):
        return self._or_none(os.write, self.slave, data)

    def read(self, count):
        return self._or_none(os.read, self.slave, count)

    def screen(self):
        return self._or_none(os.read, self.master, 1 << 16)

    def flow(self, how):
        termios.tcflow(self.slave, how)

    def flush(self, which):
        termios.tcflush(self.slave, which)

    def packets(self, on):
        fcntl.ioctl(self.master, termios.TIOCPKT, struct.pack("i", on))

    def state(self):
        queued = fcntl.ioctl(self.slave, termios.FIONREAD, bytes(4))
        words = WORDS.unpack(fcntl.ioctl(self.slave, TCGETS2, bytes(WORDS.size)))
        return struct.unpack("i", queued)[0], words


class OpenFile:
    flags = O_NONBLOCK
    vnode = None


class Ours(Native):
    """A pair of ours, driven by a process of a machine without a CPU."""

    def __init__(self):
        self.pty = Pty(0, 0)
        self.file = OpenFile()

    def close(self):
        pass

    @staticmethod
    def _or_none(call, *args):
        try:
            return call(*args)
        except KernelError as error:
            if error.errno is not Errno.EAGAIN:
                raise
            return None

    def modes(self, words):
        old = self.pty.slave.ld.modes
        self._request(t.TCSETS, modes_from_lx(Termios2(*words), old))

    def _request(self, cmd, arg, side=None):
        return requests[cmd](side or self.pty.slave, self.file, arg)

    def type(self, data):
        return self._or_none(self.pty.master.write, self.file, data)

    def say(self, data):
        return self._or_none(self.pty.slave.write, self.file, data)

    def read(self, count):
        return self._or_none(self.pty.slave.read, self.file, count)

    def screen(self):
        return self._or_none(self.pty.master.read, self.file, 1 << 16)

    def flow(self, how):
        self._request(t.TCXONC, how)

    def flush(self, which):
        self._request(t.TCFLSH, which)

    def packets(self, on):
        self._request(t.TIOCPKT, on, self.pty.master)

    def state(self):
        return self.pty.slave.ld.queued(), tuple(modes_to_lx(self.pty.slave.ld.modes))


def drain(pair, piece):
    """Read both sides empty: what was read in its pieces, and all that was on the screen."""
    lines, screen = [], b""
    while (data := pair.read(piece)) is not None:
        lines.append(data)
        if not data and not pair.state()[1][3] & 2:
            break  # bytes with MIN 0: the end
    while data := pair.screen():
        screen += data
    return lines, screen


def play(pair, steps, piece):
    """Do the steps and return what each of them gave."""
    return [(getattr(pair, name)(arg), drain(pair, piece), pair.state()) for name, arg in steps]


def natively(steps, piece):
    pair = Native()
    try:
        return play(pair, steps, piece)
    finally:
        pair.close()


def in_machine(steps, piece):
    found = []
    machine = FakeMachine()
    machine.spawn(lambda _lwp: found.append(play(Ours(), steps, piece)))
    machine.run()
    return found[0]


@st.composite
def modes(draw):
    def flip(word, bits):
        for bit in draw(st.lists(st.sampled_from(bits), max_size=4)):
            word ^= bit
        return word

    iflag, oflag, cflag, lflag, line, cc, ispeed, ospeed = FIRST
    chars = bytearray(cc)
    values = st.sampled_from(b"\0\1\2\3\4\t\n\rab\x7f\xff")
    places = st.integers(0, 16).filter(lambda place: place != 5)
    for place, value in draw(st.lists(st.tuples(places, values), max_size=3)):
        chars[place] = value
    words = flip(iflag, IFLAGS), flip(oflag, OFLAGS), cflag, flip(lflag, LFLAGS)
    return (*words, line, bytes(chars), ispeed, ospeed)


KEYS = st.one_of(
    st.lists(
        st.sampled_from(
            b"ab \tB_\n\r\x7f\x15\x17\x16\x12\x04\x03\x1a\x1c\x11\x13\x08\xc3\xa9\xff\0"
        ),
        min_size=1,
        max_size=20,
    ).map(bytes),
    st.binary(min_size=1, max_size=12),
)
STEP = st.one_of(
    st.tuples(st.just("type"), KEYS),
    st.tuples(st.just("modes"), modes()),
    st.tuples(st.just("say"), KEYS),
    st.tuples(st.just("flow"), st.integers(0, 3)),
    st.tuples(st.just("flush"), st.integers(0, 2)),
    st.tuples(st.just("packets"), st.integers(0, 1)),
)


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEP, min_size=1, max_size=8), piece=st.sampled_from(PIECES))
def test_line_discipline_does_as_the_host_does(steps, piece):
    ours = in_machine(steps, piece)
    for _ in range(5):
        # Which echoes a signal key still finds unsent is a matter of the host's timing.
        expected = natively(steps, piece)
        if expected == ours:
            break

    assert expected == ours
