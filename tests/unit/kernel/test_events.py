"""Timers, signals and processes as descriptors: what the kernel objects do by themselves."""

from __future__ import annotations

import pytest

from lxemu.kernel.anonfs import AnonFs
from lxemu.kernel.clock import VirtualClock
from lxemu.kernel.cred import Cred
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.poll import POLLHUP, POLLIN
from lxemu.kernel.procdesc import ProcDesc
from lxemu.kernel.sched import Dispatcher
from lxemu.kernel.signal import SIGHUP, SIGINT, SIGUSR1, SigInfo, sigmask
from lxemu.kernel.signalfdfs import SignalFd
from lxemu.kernel.timerfdfs import TimerFd
from lxemu.kernel.vfs.fcntl import FREAD, O_NONBLOCK
from lxemu.kernel.vfs.file import File
from lxemu.kernel.vfs.name import Name
from tests.unit.kernel.fakes import FakeMachine

MS = 1_000_000


def opened(vnode):
    return File(vnode, Name(None, b"x", vnode), FREAD | O_NONBLOCK, Cred())


@pytest.fixture
def fs():
    return AnonFs(1, now=lambda: 0)


class TestTimerFd:
    @pytest.fixture(autouse=True)
    def timer(self, fs):
        self.clock = VirtualClock(step=0)
        self.disp = Dispatcher(self.clock)
        self.timer = TimerFd(fs, self.disp, self.clock, 4, realtime=False)
        self.file = opened(self.timer)

    def after(self, ns):
        self.clock.now += ns
        self.disp.run_callouts()

    def read(self):
        return int.from_bytes(self.file.read(8), "little")

    def test_an_expiry_is_read_once(self):
        self.timer.set(5 * MS, 0, absolute=False)
        assert self.timer.get() == (5 * MS, 0)
        self.after(5 * MS)
        assert self.timer.get() == (0, 0)
        assert self.read() == 1
        with pytest.raises(KernelError) as error:
            self.read()
        assert error.value.errno is Errno.EAGAIN

    def test_expiries_nobody_read_are_counted_without_a_wakeup_each(self):
        self.timer.set(MS, MS, absolute=False)
        self.after(10 * MS + 1)
        assert self.disp.next_deadline() is None
        assert self.read() == 10
        assert self.timer.get() == (MS - 1, MS)
        self.after(MS)
        assert self.read() == 1

    def test_reading_the_time_left_keeps_the_count(self):
        self.timer.set(MS, MS, absolute=False)
        self.after(4 * MS)
        assert self.timer.get() == (MS, MS)
        assert self.read() == 4

    def test_arming_forgets_what_was_not_read(self):
        self.timer.set(MS, 0, absolute=False)
        self.after(MS)
        self.timer.set(0, 0, absolute=False)
        assert self.timer.poll(self.file, POLLIN)[0] == 0

    def test_a_time_in_the_past_goes_off_at_once(self):
        self.timer.set(1, 0, absolute=True)
        assert self.read() == 1

    def test_closing_disarms(self):
        self.timer.set(MS, MS, absolute=False)
        self.file.rele()
        assert self.disp.next_deadline() is None


def test_signals_are_read_by_whoever_reads(fs):
    machine, seen = FakeMachine(), []
    desc = SignalFd(fs, sigmask(SIGUSR1, SIGHUP), lambda info: bytes([info.signo]), 1)

    def child(lwp):
        lwp.set_sigmask(sigmask(SIGUSR1))
        with pytest.raises(KernelError):
            opened(desc).read(4)
        file = opened(desc)
        file.flags &= ~O_NONBLOCK
        seen.append(file.read(4))

    def parent(lwp):
        lwp.set_sigmask(sigmask(SIGUSR1, SIGHUP, SIGINT))
        for signo in (SIGINT, SIGUSR1, SIGHUP):
            machine.sigtoproc(lwp.proc, signo, SigInfo(signo))
        new = machine.fork(lwp, child)
        file = opened(desc)
        assert desc.poll(file, POLLIN)[0] == POLLIN
        seen.append(file.read(4))
        assert desc.poll(file, POLLIN)[0] == 0
        machine.disp.yield_(lwp)
        machine.sigtoproc(new.proc, SIGUSR1, SigInfo(SIGUSR1))

    machine.spawn(parent)
    machine.run()

    assert seen == [bytes([SIGHUP, SIGUSR1]), bytes([SIGUSR1])]


def test_a_process_descriptor_outlives_its_process(fs):
    machine, states = FakeMachine(), []

    def parent(lwp):
        new = machine.fork(lwp, lambda _lwp: None)
        desc = ProcDesc(fs, new.proc)
        file = opened(desc)
        states.append(desc.poll(file, POLLIN | POLLHUP)[0])
        machine.disp.yield_(lwp)
        states.append(desc.poll(file, POLLIN | POLLHUP)[0])
        machine.procs.pop(new.proc.pid)
        states.append(desc.poll(file, POLLIN | POLLHUP)[0])
        assert desc.getattr().nodeid == ProcDesc(fs, new.proc).getattr().nodeid

    machine.spawn(parent)
    machine.run()

    assert states == [0, POLLIN, POLLIN | POLLHUP]
