"""A machine without a CPU: the "user code" of an lwp is a Python function.

The kernel core (dispatcher, condition variables, signals, exit, wait) runs unchanged on it.
"""

from __future__ import annotations

from types import SimpleNamespace

from greenlet import getcurrent

from lxemu.kernel import sig
from lxemu.kernel.clock import VirtualClock
from lxemu.kernel.cred import Cred
from lxemu.kernel.fork import ForkSpec, cfork
from lxemu.kernel.lwp import Lwp, LwpExit
from lxemu.kernel.proc import FsCtx, Proc
from lxemu.kernel.sched import Dispatcher
from lxemu.kernel.session import Pgrp, Session
from lxemu.kernel.signal import DEFAULT_ACTIONS, lowest
from lxemu.kernel.zone import Zone


class FakeContext:
    def copy_from(self, lwp):
        self.source = lwp

    def set_return(self, value):
        self.ret = value

    def set_stack(self, sp):
        self.sp = sp

    def set_step(self, on):
        self.step = on


class FakeEngine:
    q = ()
    #: Leaves of CPUID as an EPYC of the first kind has them: vendor, signature and features.
    cpuid = {
        0: (13, 0x68747541, 0x444D4163, 0x69746E65),
        1: (0x800F12, 0x800, 0x82D83203, 0x178BFBFF),
        0x80000001: (0, 0, 0x100001, 0x2BD3FBFF),
    }

    def new_context(self):
        return FakeContext()

    def regs(self, _lwp):
        return SimpleNamespace(pc=0, ret=0)


class FakeBrand:
    bits = 64
    stubs = ()

    def __init__(self):
        self.delivered = []

    def default_action(self, signo):
        return DEFAULT_ACTIONS[signo]

    def lowest_signal(self, mask):
        return lowest(mask)

    def sendsig(self, lwp, signo, info, _action, oldmask):
        self.delivered.append((lwp.tid, signo, info.code, oldmask))

    def forklwp(self, old, new):
        pass

    def lwp_exit(self, lwp):
        pass

    def stubs_of(self, _lwp):
        return self.stubs

    def restartable(self, _nr):
        return True


class FakeAs:
    rss = maxrss = 0
    aio = ldt = None

    def dup(self):
        return FakeAs()


class FakeFiles:
    def hold(self):
        return self

    def copy(self):
        return FakeFiles()

    def rele(self, _proc):
        pass


class FakeMachine:
    issig = staticmethod(sig.issig)
    sigtoproc = staticmethod(sig.sigtoproc)
    sigtolwp = staticmethod(sig.sigtolwp)

    def __init__(self):
        self.clock = VirtualClock(step=1)
        self.disp = Dispatcher(self.clock)
        self.engine = FakeEngine()
        self.brand = FakeBrand()
        self.procs = {}
        self.nlwps = 0
        self.pid = self.last_pid = 100
        self.zone = Zone(b"fake", "6.12.0")
        self.last_pid = 0
        self.zone.procs = self.procs
        self.bodies = {}
        self.log = []
        self.waits = {}
        self.tracer = None
        self.error = None
        self.first = None
        self.init = self._proc(1, None)

    def _proc(self, pid, parent):
        proc = Proc(self, pid, parent, self.brand, Cred(), self.zone)
        proc.as_, proc.files = FakeAs(), FakeFiles()
        proc.fs = FsCtx(None, None, 0o22)
        proc.session = Session(pid, proc)
        proc.pgrp = Pgrp(pid, proc.session)
        proc.pgrp.members.append(proc)
        self.procs[pid] = proc
        if parent is not None:
            parent.children.append(proc)
        return proc

    def spawn(self, body, parent=None):
        """Start a process, child of init, that runs `body(lwp)`."""
        proc = self._proc(self.pid_alloc(), parent or self.init)
        lwp = Lwp(proc, proc.pid)
        proc.lwps.append(lwp)
        self.bodies[lwp.tid] = body
        self.lwp_started(lwp)
        return lwp

    def fork(self, lwp, body, **spec):
        """Fork `lwp`; the child runs `body(child)`."""
        return cfork(lwp, ForkSpec(prepare=lambda new: self.bodies.update({new.tid: body}), **spec))

    def run(self):
        self.disp.loop()
        if self.error is not None:
            raise self.error

    def lwp_main(self):
        lwp = getcurrent().lwp
        try:
            self.bodies[lwp.tid](lwp)
            sig.proc_exit(lwp, 1, 0)
        except LwpExit:
            pass
        except BaseException as error:
            self.error = error
            self.disp.stopping = True

    def ast(self, lwp):
        """As the machine does before user mode."""
        while sig.issig(lwp):
            sig.psig(lwp)
        lwp.ast = False

    def pid_alloc(self, wanted=0):
        self.pid += 1
        return wanted or self.pid

    killed = staticmethod(sig.killed)

    def pid_free(self, _pid):
        pass

    def proc_started(self, proc):
        self.procs[proc.pid] = proc

    def lwp_started(self, lwp):
        self.nlwps += 1
        self.disp.start(lwp)

    def lwp_free(self, _lwp):
        self.nlwps -= 1
        self.disp.stopping = self.nlwps == 0

    def proc_exited(self, proc):
        self.log.append((proc.pid, proc.wait_code, proc.wait_status))

    def proc_stopped(self, proc):
        pass

    def proc_free(self, proc):
        self.procs.pop(proc.pid, None)

    def as_hold(self, proc):
        return proc.as_

    def as_forked(self, _old, _new):
        pass

    def as_rele(self, proc):
        pass

    def sigwaiting(self, lwp):
        return self.waits.get(lwp, 0)

    def trace_signal(self, lwp, info):
        pass

    def fatal_signal(self, lwp, info):
        pass

    def core_dump(self, _lwp, _info):
        return False
