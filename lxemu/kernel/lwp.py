"""Light-weight processes: one thread of execution each (illumos sys/klwp.h, sys/thread.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from greenlet import getcurrent, greenlet

from lxemu.kernel.sched import TS_RUN
from lxemu.kernel.signal import CANTMASK, SS_DISABLE, SigInfo, SigQueue

if TYPE_CHECKING:
    from lxemu.brand import Brand
    from lxemu.kernel.cv import CondVar
    from lxemu.kernel.mm.as_ import As
    from lxemu.kernel.poll import Pollhead
    from lxemu.kernel.proc import FsCtx, Proc
    from lxemu.kernel.ptrace import Trace
    from lxemu.kernel.vfs.fdtable import FdTable


class LwpExit(BaseException):
    """Unwinds the kernel stack of an lwp that ends; not an error, so not an Exception."""


class LwpGreenlet(greenlet):
    """The kernel context of an lwp."""

    lwp: Lwp


class Lwp:
    """One thread of a process: its user registers, signal mask and sleeping state.

    `ast` is the one word the trap loop looks at: true when something must be done before user mode
    (a signal, an exit, a change of brand). `q` is the live register file of the CPU.
    """

    __slots__ = (
        "again",
        "altstack",
        "as_",
        "ast",
        "brand",
        "brand_data",
        "call_bits",
        "call_filter",
        "call_resumed",
        "call_start",
        "charged",
        "clear_child_tid",
        "cpu",
        "curinfo",
        "cursig",
        "default_slack",
        "exit_head",
        "files",
        "fs",
        "greenlet",
        "interrupted",
        "io_priority",
        "machine",
        "mem_policy",
        "name",
        "nice",
        "oldmask",
        "onproc_since",
        "proc",
        "q",
        "regs",
        "restart",
        "restartable",
        "restarting",
        "robust_list",
        "sched_deadline",
        "sched_policy",
        "sched_priority",
        "sigmask",
        "sigq",
        "sleep_kill",
        "sleep_sig",
        "start_hrtime",
        "state",
        "stubs",
        "syscall_nr",
        "tid",
        "timed_out",
        "timerslack",
        "tmpmask_set",
        "trace",
        "utime",
        "vtid",
        "wchan",
    )

    def __init__(self, proc: Proc, tid: int) -> None:
        machine = proc.machine
        self.proc = proc
        self.tid = tid
        #: The id in the space of its process.
        self.vtid = tid
        self.machine: Any = machine
        self.as_: As = proc.as_
        self.brand: Brand = proc.brand
        self.brand_data: Any = None
        self.stubs: Any = proc.brand.stubs
        #: What decides which calls it may make, of the brand's making; None: all.
        self.call_filter: Any = None
        #: Who traces it, and what only a traced lwp needs: the registers may say that the call is
        #: to be made again (`restarting`), how to go on with it (`restart`); whether the running
        #: call goes on so (`call_resumed`), the data model of its number. `call_start` is when the
        #: last call with a relative time-out began (hrtime).
        self.trace: Trace | None = None
        self.restarting = False
        self.restart: Any = None
        self.call_resumed = False
        self.call_start = 0
        self.call_bits = proc.brand.bits
        self.q: Any = machine.engine.q
        self.cpu: Any = machine.engine.new_context()
        self.regs: Any = machine.engine.regs(self)
        self.ast = False
        self.sigmask = 0
        self.sigq = SigQueue()
        self.oldmask = 0
        self.tmpmask_set = False
        self.altstack: tuple[int, int, int] = (0, 0, SS_DISABLE)
        self.cursig = 0
        self.curinfo: SigInfo | None = None
        self.interrupted = self.again = False
        self.syscall_nr = -1
        self.clear_child_tid = 0
        self.exit_head: Pollhead | None = None
        #: What the brand knows of user code that starts over when the lwp is disturbed; or None.
        self.restartable: Any = None
        self.robust_list = (0, 0)
        self.name = proc.comm
        self.nice = 0
        self.charged = 0.0  # quanta, weighed by `nice`
        self.sched_policy = 0
        self.sched_priority = 0
        # Run time, deadline and period in ns; the brand's I/O priority and memory policy.
        self.sched_deadline = (0, 0, 0)
        self.io_priority = 0
        self.mem_policy = (0, 0)
        self.timerslack = self.default_slack = 50_000  # ns
        self.state = TS_RUN
        self.wchan: CondVar | None = None
        self.sleep_sig = self.sleep_kill = False
        self.timed_out = False
        # Set while `proc.split`: see unshare.py.
        self.files: FdTable
        self.fs: FsCtx
        self.utime = 0
        self.onproc_since = 0
        self.start_hrtime = machine.clock.hrtime()
        self.greenlet = LwpGreenlet(machine.lwp_main, machine.disp.hub)
        self.greenlet.lwp = self

    def bind_calls(self) -> None:
        """Choose the stubs of its system calls anew: its brand, or who watches it, has changed."""
        self.stubs = self.brand.stubs_of(self)

    def call_spent(self) -> int:
        """Return the ns that a call with a time-out, which was interrupted, has taken already."""
        now = int(self.machine.clock.hrtime())
        if self.call_resumed:
            return now - self.call_start
        self.call_start = now
        return 0

    def set_tmp_sigmask(self, mask: int) -> None:
        """Block `mask` until the call returns: the old mask is restored, or goes into the frame.

        This is what sigsuspend, ppoll and pselect need (sigsuspend(2): atomically).
        """
        if not self.tmpmask_set:
            self.oldmask = self.sigmask
            self.tmpmask_set = True
        self.set_sigmask(mask)
        self.ast = True

    def set_sigmask(self, mask: int) -> None:
        """Block exactly `mask`; a signal that this unblocks is acted on before user mode."""
        self.sigmask = mask & ~CANTMASK
        if (self.sigq.pending | self.proc.sigq.pending) & ~self.sigmask:
            self.ast = True

    def cpu_time(self) -> int:
        """Return ns of CPU that this lwp has used."""
        used = self.utime
        if self.machine.disp.curlwp is self:
            used += self.machine.clock.cputime() - self.onproc_since
        return used


def curlwp() -> Lwp:
    """Return the lwp whose kernel context is running."""
    lwp: Lwp = getcurrent().lwp  # type: ignore[attr-defined]
    return lwp
