"""Processes (illumos sys/proc.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lxemu.kernel.cred import PRIV_PROC_LOCK_MEMORY
from lxemu.kernel.cv import CondVar
from lxemu.kernel.rctl import RLIM_INFINITY, RLIMIT_MEMLOCK, Rctls
from lxemu.kernel.signal import NSIG, SIG_IGN, SIGCHLD, SigAction, SigInfo, SigQueue

if TYPE_CHECKING:
    from lxemu.brand import Brand
    from lxemu.kernel.cred import Cred
    from lxemu.kernel.ipc.sem import SemUndo
    from lxemu.kernel.ipc.space import IpcSpace
    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.mm.as_ import As
    from lxemu.kernel.ns import Namespaces
    from lxemu.kernel.pidspace import PidSpace
    from lxemu.kernel.poll import Pollhead
    from lxemu.kernel.ptrace import Trace
    from lxemu.kernel.resgroup import ResGroup
    from lxemu.kernel.session import Pgrp, Session
    from lxemu.kernel.tty import Tty
    from lxemu.kernel.vfs.fdtable import FdTable
    from lxemu.kernel.vfs.mount import MountTable
    from lxemu.kernel.vfs.name import Name
    from lxemu.kernel.zone import Zone

_DEFAULT_ACTION = SigAction()


class FsCtx:
    """Working directory, root directory and file creation mask; threads share one."""

    __slots__ = ("cwd", "root", "umask")

    def __init__(self, root: Name, cwd: Name, umask: int) -> None:
        self.root = root
        self.cwd = cwd
        self.umask = umask

    def copy(self) -> FsCtx:
        """Return the context a forked child gets."""
        return FsCtx(self.root, self.cwd, self.umask)


class SigActs(list[SigAction]):
    """The dispositions of a process, indexed by signal number; threads share one.

    `readers` is where those wait who read signals from descriptors, None while nobody does.
    """

    def __init__(self, actions: list[SigAction] | None = None) -> None:
        super().__init__(actions or [_DEFAULT_ACTION] * NSIG)
        self.readers: Pollhead | None = None

    def copy(self) -> SigActs:
        """Return the dispositions a forked child gets."""
        return SigActs(self)

    def reset_caught(self) -> None:
        """Set caught signals to their default, keep ignored ones (execve(2))."""
        for sig, action in enumerate(self):
            if action.handler == SIG_IGN:
                self[sig] = SigAction(SIG_IGN)
            elif action is not _DEFAULT_ACTION:
                self[sig] = _DEFAULT_ACTION


class Usage:
    """Resources used, ns and counts (getrusage(2))."""

    __slots__ = (
        "inblock",
        "majflt",
        "maxrss",
        "minflt",
        "nivcsw",
        "nvcsw",
        "oublock",
        "stime",
        "utime",
    )

    def __init__(self) -> None:
        self.utime = self.stime = self.maxrss = 0
        self.minflt = self.majflt = self.inblock = self.oublock = self.nvcsw = self.nivcsw = 0

    def add(self, other: Usage) -> None:
        """Add what a waited-for child used."""
        self.utime += other.utime
        self.stime += other.stime
        self.minflt += other.minflt
        self.majflt += other.majflt
        self.nvcsw += other.nvcsw
        self.nivcsw += other.nivcsw
        self.maxrss = max(self.maxrss, other.maxrss)


class Proc:
    """A process: what its lwps share.

    `wait_code`/`wait_status` hold what wait reports of a zombie or a stopped child (CLD_* code and
    the exit status or signal). A `zombie` has no memory, files or lwps any more.
    """

    __slots__ = (
        "as_",
        "brand",
        "brand_data",
        "child_usage",
        "children",
        "comm",
        "continued",
        "core_filter",
        "cpu_marks",
        "cred",
        "ctty",
        "cv_child",
        "cv_stop",
        "cv_vfork",
        "desc_node",
        "dumpable",
        "exe",
        "execed",
        "exit_head",
        "exit_signal",
        "exiting",
        "files",
        "fs",
        "group",
        "ipc",
        "itimers",
        "job_serial",
        "large_pages_off",
        "leader",
        "lwps",
        "machine",
        "maker",
        "nice",
        "ns",
        "oom_score_adj",
        "parent",
        "pdeathsig",
        "personality",
        "pgrp",
        "pid",
        "pidspace",
        "psargs",
        "ptimers",
        "ptimers_made",
        "rctls",
        "semundo",
        "session",
        "sigacts",
        "sigq",
        "split",
        "start_hrtime",
        "stop_report",
        "stopped",
        "subreaper",
        "trace",
        "tracees",
        "usage",
        "vpid",
        "wait_code",
        "wait_status",
        "zombie",
        "zone",
    )

    def __init__(
        self, machine: Any, pid: int, parent: Proc | None, brand: Brand, cred: Cred, zone: Zone
    ) -> None:
        self.machine: Any = machine
        self.pid = pid
        self.parent = parent
        self.brand = brand
        self.brand_data: Any = None
        self.cred = cred
        self.zone = zone
        #: What this process sees of the zone, if it is not all of it.
        self.ns: Namespaces | None = None
        #: The space that numbers it, None for the zone; `vpid` is its id there.
        self.pidspace: PidSpace | None = None
        self.vpid = pid
        #: The group that limits it, None for the zone's root group.
        self.group: ResGroup | None = None
        self.children: list[Proc] = []
        self.lwps: list[Lwp] = []
        self.as_: As
        self.files: FdTable
        self.fs: FsCtx
        self.pgrp: Pgrp
        self.session: Session
        self.ctty: Tty | None = None
        self.sigacts = SigActs()
        self.sigq = SigQueue()
        self.rctls = Rctls()
        self.comm = b""
        self.exe: Name | None = None
        self.psargs: list[bytes] = []
        self.start_hrtime: int = machine.clock.hrtime()
        self.exit_signal = SIGCHLD
        #: Where those wait who poll for the end of the process; None while nobody does.
        self.exit_head: Pollhead | None = None
        #: Node number of its process descriptors, once there is one.
        self.desc_node = 0
        self.exiting = False
        self.zombie = False
        self.stopped = False
        self.stop_report = 0
        self.continued = False
        #: Counts the stops of the job: an lwp that is traced shows each of them once.
        self.job_serial = 0
        #: The lwp that made the process, as long as both are alive.
        self.maker: Lwp | None = None
        #: What its lwps trace, and the trace of its own first lwp once that is dead.
        self.tracees: list[Trace] = []
        self.trace: Trace | None = None
        self.execed = False
        #: Whether lwps have files or directories of their own (unshare.py).
        self.split = False
        self.wait_code = 0
        self.wait_status = 0
        self.cv_child = CondVar()
        self.cv_stop = CondVar()
        self.cv_vfork = CondVar()
        self.itimers: dict[int, Any] = {}
        self.ptimers: dict[int, Any] = {}
        #: How many there have been: ids of timers do not come again soon.
        self.ptimers_made = 0
        #: CPU and system time of the machine when the process began; user and system time shown.
        self.cpu_marks = (machine.clock.cputime(), machine.clock.systime(), 0, 0)
        self.usage = Usage()
        self.child_usage = Usage()
        self.pdeathsig = 0
        self.subreaper = False
        self.dumpable = 1
        self.personality = 0
        self.leader: Lwp | None = None  # the first lwp once it has ended: a zombie has its priority
        self.large_pages_off = False
        self.nice = 0
        self.oom_score_adj = 0
        #: The brand's choice of memory for a core file.
        self.core_filter = 0x33
        #: The IPC objects that it sees, None for the zone's; what its semaphore operations undo.
        self.ipc: IpcSpace | None = None
        self.semundo: SemUndo | None = None

    def fs_shared(self) -> bool:
        """Return whether another process has the same directories as this one."""
        procs = self.machine.procs.values()
        return any(other.fs is self.fs for other in procs if other is not self and other.lwps)

    @property
    def uts(self) -> Any:
        """What has the node name and the domain name that the process sees."""
        return self.ns.uts if self.ns is not None else self.zone

    @property
    def mounts(self) -> MountTable:
        """The mounts that the process sees."""
        found = self.ns.mounts if self.ns is not None else self.zone.mounts
        assert found is not None
        return found

    @property
    def ppid(self) -> int:
        """Pid of the parent, 0 for the first process."""
        return self.parent.pid if self.parent is not None else 0

    def lwp(self, tid: int) -> Lwp | None:
        """Return the lwp with id `tid`, or None."""
        for lwp in self.lwps:
            if lwp.tid == tid:
                return lwp
        return None

    def as_limit(self, resource: int) -> int:
        """Return the limit of a resource for the address space, asked when it grows.

        Whoever may lock memory at will has no limit of locked memory.
        """
        if resource == RLIMIT_MEMLOCK and self.cred.crhas(PRIV_PROC_LOCK_MEMORY):
            return RLIM_INFINITY
        return self.rctls.soft(resource)

    def cpu_time(self) -> int:
        """Return ns of CPU that all lwps of the process have used, ended ones included."""
        gone = self.usage.utime + self.usage.stime
        return gone + sum(lwp.cpu_time() for lwp in self.lwps)

    def cpu_split(self) -> tuple[int, int]:
        """Return the CPU time as (user, system) ns; neither ever goes back.

        What the process has used in all is exact. The share of the system is that of the host's
        kernel in what the whole machine has used since the process began.
        """
        cpu, system, user_shown, system_shown = self.cpu_marks
        clock, total = self.machine.clock, self.cpu_time()
        elapsed = clock.cputime() - cpu
        share = total * (clock.systime() - system) // elapsed if elapsed > 0 else 0
        system_shown = max(system_shown, min(share, total))
        user_shown = max(user_shown, total - system_shown)
        self.cpu_marks = (cpu, system, user_shown, system_shown)
        return user_shown, system_shown

    def siginfo(self, signo: int, code: int = 0) -> SigInfo:
        """Return the siginfo of a signal that this process sends."""
        return SigInfo(signo, code, pid=self.pid, uid=self.cred.ruid)

    def child_siginfo(self, signo: int, code: int, status: int) -> SigInfo:
        """Return the siginfo that tells a parent of this process: CLD_* code, status or signal."""
        used = self.usage
        return self.siginfo(signo, code)._replace(status=status, utime=used.utime, stime=used.stime)
