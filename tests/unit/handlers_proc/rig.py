"""The callers of handlers_files, with what process calls need of a machine and a CPU context."""

from __future__ import annotations

import struct
from types import SimpleNamespace

from lxemu.kernel.futex import UWaitQueues
from syscalls.signum import FROM_LX
from tests.unit.handlers_files.rig import Guest


class Context:
    """The registers that handlers reach through `lwp.cpu`."""

    def __init__(self):
        self.tls = (0, 0, 0)
        self.fs = self.gs = 0
        self.fs_base = self.gs_base = 0
        self.ret = self.sp = None

    def copy_from(self, lwp):
        self.tls = lwp.cpu.tls
        self.fs_base = lwp.cpu.fs_base

    def set_tls(self, slot, descriptor):
        tls = list(self.tls)
        tls[slot] = descriptor
        self.tls = tuple(tls)

    def reload_segments(self, selector):
        """The bases are not modelled."""

    def set_return(self, value):
        self.ret = value

    def set_stack(self, sp):
        self.sp = sp


class ProcGuest(Guest):
    """A process of our own, on a machine that has clocks, sleep queues and threads."""

    def __init__(self, bits=64, cred=None):
        super().__init__(bits, cred)
        machine = self.machine
        machine.uwait = UWaitQueues()
        machine.entropy = lambda n: bytes(i % 251 for i in range(1, n + 1))
        machine.sigwait_begin = machine.waits.__setitem__
        machine.sigwait_end = lambda lwp: machine.waits.pop(lwp, None)
        machine.as_shared = lambda _proc: False
        machine.engine.new_context = Context
        machine.noted = []
        machine.unsupported = lambda _lwp, call, why: machine.noted.append((call, why))
        zone = machine.zone
        zone.nodename, zone.domainname = b"host", b"(none)"
        zone.kernel_version = "6.12.0"
        zone.boot_hrtime = zone.boot_realtime = 0
        zone.forks = 0
        self.proc.brand_data = None
        self.lwp.cpu = Context()
        self.lwp.regs = SimpleNamespace(sp=0, pc=0, ret=0)
        machine.lwp_started = self._started

    def _started(self, lwp):
        self.machine.lwp_by_tid[lwp.tid] = lwp
        self.machine.nlwps += 1
        self.machine.disp.start(lwp)

    def u32(self, addr):
        return int.from_bytes(self.get(addr, 4), "little")

    def longs(self, addr, count):
        """Read `count` signed longs of the model."""
        return struct.unpack(f"<{count}{self.long}", self.get(addr, count * self.bits // 8))

    @property
    def long(self):
        return "q" if self.bits == 64 else "i"

    def put_longs(self, addr, *values):
        self.put(addr, struct.pack(f"<{len(values)}{self.long}", *values))
        return addr

    def spec(self, sec, nsec=0, at=0):
        """Write a timespec of the model and return its address."""
        return self.put_longs(self.buf + at, sec, nsec)

    def pending(self, *lx_signals):
        """Have signals (Linux numbers) pending, blocked or not."""
        for number in lx_signals:
            self.proc.sigq.post(self.proc.siginfo(FROM_LX[number]))
