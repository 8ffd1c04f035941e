"""The composition root: one machine, its CPU, memory, kernel and brands.

This is the only module that knows both the kernel and the lx personalities. It builds a machine
from a `MachineConfig`, runs a program in it, and carries out what the kernel asks of its
surroundings: pids, entropy, host signals, the report of an unsupported call or a fatal signal.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from greenlet import getcurrent

from lxemu.cpu.engine import Engine
from lxemu.cpu.loop import user_loop
from lxemu.errors import ConfigError, ExecFailed, InternalError, LxemuError
from lxemu.faults import fault
from lxemu.kernel import oom, sig, unshare
from lxemu.kernel.clock import Clock, HostClock, VirtualClock
from lxemu.kernel.cred import Cred
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.exec import exec_common, exec_lookup
from lxemu.kernel.futex import UWaitQueues
from lxemu.kernel.lwp import Lwp, LwpExit, LwpGreenlet
from lxemu.kernel.mm.as_ import As
from lxemu.kernel.mm.page import PhysMem
from lxemu.kernel.pidspace import PID_MAX
from lxemu.kernel.proc import FsCtx, Proc
from lxemu.kernel.sched import TS_SLEEP, Dispatcher
from lxemu.kernel.session import Pgrp, Session
from lxemu.kernel.signal import CLD_EXITED, SA_RESTART, SIGSYS, SigInfo
from lxemu.kernel.vfs.fdtable import FdTable
from lxemu.kernel.vfs.lookup import lookupname
from lxemu.kernel.vfs.ops import allow_write, deny_write
from lxemu.kernel.vfs.vnode import VDIR, Vnode
from lxemu.kernel.zone import Zone
from lxemu.leaks import find_leaks, unaccounted_frames
from lxemu.namespace import build_namespace, holds_host_streams, open_stdio
from lxemu.signals import HostSignals

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

    from lxemu.brand import Brand
    from lxemu.kernel.hosttty import HostTty
    from lxemu.observe.tracer import Tracer

FIRST_PID = 100

#: Why the first program cannot start where it is to.
_BAD_CWD = {
    Errno.ENOENT: "it does not exist",
    Errno.ENOTDIR: "it is not a directory",
    Errno.EACCES: "permission denied",
}


class Mount(NamedTuple):
    """A host path to mount: where from, where to, and whether the guest may write to it.

    `metadata` is where what the host's files cannot have is kept: "auto", "yes", "no" or a path.
    """

    host: bytes
    guest: bytes
    readonly: bool = False
    metadata: str = "auto"


class TmpfsMount(NamedTuple):
    """An empty tree in memory to mount: where, and its limit in bytes (0: the guest's memory)."""

    guest: bytes
    size: int = 0


class Published(NamedTuple):
    """A port of the host that leads to one in the machine; `protocol` is "tcp" or "udp"."""

    address: str
    port: int
    guest_port: int
    protocol: str


class Crash(NamedTuple):
    """An lwp that a fault killed: the signal, its registers as text, the code where it stood."""

    info: SigInfo
    registers: str
    pc: int
    code: bytes
    bits: int


class ExitStatus(NamedTuple):
    """How the first program ended: its exit code, or the signal that killed it (illumos number)."""

    code: int
    signal: int = 0


@dataclass(slots=True)
class MachineConfig:
    """What a machine is built from.

    `root` is "host", "none", or a host directory; memory is in bytes; `seed` makes a deterministic
    machine. `net` is "none", or "host" to let the guest use the host's network; `publish` are ports
    of the host that lead into the machine. `stdio` are the host descriptors that become 0, 1 and 2,
    -1 for a closed one.
    """

    root: str | bytes = "none"
    volumes: Sequence[Mount] = ()
    tmpfs: Sequence[TmpfsMount] = ()
    cwd: bytes = b"/"
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    umask: int = 0o022
    hostname: bytes = b"lxemu"
    memory: int = 4 << 30
    strict: bool = False
    seed: int | None = None
    aslr: bool = True
    kernel_version: str = "6.12.0"
    stdio: tuple[int, int, int] = (0, 1, 2)
    host_signals: bool = False
    limits: dict[int, tuple[int, int]] = field(default_factory=dict)
    tracer: Tracer | None = None
    net: str = "none"
    publish: Sequence[Published] = ()


class Machine:
    """A running machine. Create it, `run` one program, `close` it."""

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        self.clock: Clock = HostClock() if config.seed is None else VirtualClock()
        self._random = _seeded(config.seed)
        self.disp = Dispatcher(self.clock)
        self.phys = PhysMem(config.memory)
        self.engine = Engine(self.phys)
        self.phys.relieve = lambda as_: oom.relieve(self, as_)
        self.oom_kills = 0
        self.phys.commit.promised = self.promised_memory
        self.mmu = self.phys.mmu
        self.uwait = UWaitQueues()
        self.aslr = config.aslr
        self.tracer = config.tracer
        self.procs: dict[int, Proc] = {}
        self.lwp_by_tid: dict[int, Lwp] = {}
        self.nlwps = 0
        self._next_pid = FIRST_PID
        self._pids_again = False  # ids are being given out for a second time
        self._used_pids: set[int] = {1}
        self._sigwait: dict[Lwp, int] = {}
        self.unsupported_calls: dict[tuple[str, str], int] = {}
        self.fatal: list[Crash] = []
        self.crash: BaseException | None = None
        self.status: ExitStatus | None = None
        self.first: Proc | None = None
        self.console: HostTty | None = None
        self.zone = Zone(config.hostname, config.kernel_version)
        self.zone.procs = self.procs
        self.zone.boot_hrtime = self.clock.hrtime()
        self.zone.boot_realtime = self.clock.realtime()
        self.brand64, self.brand32 = _brands()
        self.disp.switch_in = self._switch_in
        self.disp.switch_out = self._switch_out
        self.init = self._make_init()
        build_namespace(self)
        if config.publish or config.net != "none":
            from lxemu.hostnetwork import open_network

            open_network(self, config.net, config.publish)
        self.base_frames = unaccounted_frames(self)
        self._switched_at = self.clock.cputime()
        self.host_signals = HostSignals(self) if config.host_signals else None
        if self.host_signals is not None:
            self.disp.host_events = self.host_signals.dispatch

    # -- building -------------------------------------------------------------------------------

    def _make_init(self) -> Proc:
        """Make pid 1: it runs no code, and takes over and reaps orphans."""
        init = Proc(self, 1, None, self.brand64, Cred(), self.zone)
        init.comm = b"init"
        init.psargs = [b"init"]
        init.session = Session(1, init)
        init.pgrp = Pgrp(1, init.session)
        init.pgrp.members.append(init)
        init.files = FdTable()
        init.as_ = self.new_as()
        self.procs[1] = init
        # It never runs; those who ask for its priority or limits find something to look at.
        self.lwp_by_tid[1] = Lwp(init, 1)
        self.lwp_by_tid[1].state = TS_SLEEP
        return init

    def new_as(self) -> As:
        """Return an empty address space of this machine."""
        return As(self.phys)

    def _first_proc(self) -> Proc:
        config = self.config
        cred = Cred.for_user(config.uid, config.gid, config.groups)
        proc = Proc(self, self.pid_alloc(), self.init, self.brand64, cred, self.zone)
        self.init.children.append(proc)
        # A job of init's session, as a program that a shell starts is one of the shell's: its group
        # is not orphaned, so terminal stops work, and it may not call setsid.
        proc.session = self.init.session
        proc.pgrp = Pgrp(proc.pid, proc.session)
        proc.pgrp.members.append(proc)
        root = self.zone.root
        assert root is not None
        proc.fs = FsCtx(root, root, config.umask)
        proc.files = FdTable()
        proc.as_ = self.new_as()
        for resource, (soft, hard) in config.limits.items():
            proc.rctls.set(resource, soft, hard)
        self.procs[proc.pid] = proc
        return proc

    # -- running --------------------------------------------------------------------------------

    def run(self, program: bytes, argv: Sequence[bytes], env: Mapping[bytes, bytes]) -> ExitStatus:
        """Run `program` (a guest path) to its end and return how it ended.

        Raises ConfigError for a bad working directory, ExecFailed when the program cannot be
        started, InternalError on a fault of ours.
        """
        self.disp.hub = getcurrent()
        proc = self._first_proc()
        self._chdir(proc)
        lwp = Lwp(proc, proc.pid)
        proc.lwps.append(lwp)
        self.first = proc
        envp = [key + b"=" + value for key, value in env.items()]
        failure: list[KernelError] = []

        def start() -> None:
            try:
                open_stdio(self, proc)
                exec_common(lwp, None, program, list(argv), envp)
            except KernelError as error:
                failure.append(error)
                self.disp.stopping = True
                return
            except LwpExit:
                return  # The image was bad past the point of no return: the process has died.
            self.lwp_main(first=True)

        lwp.greenlet.run = start
        self.lwp_started(lwp)
        self.disp.loop()
        if self.crash is not None:
            raise InternalError(self.crash_report()) from self.crash
        if failure:
            errno, cause = failure[0].errno, failure[0].__cause__
            reason = str(cause) if isinstance(cause, LxemuError) else errno.name
            if errno is Errno.EACCES and self._is_directory(proc, program):
                reason = "is a directory"
            raise ExecFailed(errno, f"{os.fsdecode(program)}: {reason}")
        assert self.status is not None
        return self.status

    def _chdir(self, proc: Proc) -> None:
        # It need not be one that the user may search: sudo in one's own directory is the same.
        try:
            name = lookupname(proc.fs.root, proc.fs.root, self.config.cwd, proc.cred)
            if name.vnode.type != VDIR:
                raise KernelError(Errno.ENOTDIR)
        except KernelError as error:
            reason = _BAD_CWD.get(error.errno, error.errno.name)
            text = f"bad working directory {os.fsdecode(self.config.cwd)!r}: {reason}"
            raise ConfigError(text) from None
        proc.fs.cwd = name

    @staticmethod
    def _is_directory(proc: Proc, program: bytes) -> bool:
        try:
            return exec_lookup(proc, program).vnode.type == VDIR
        except KernelError:
            return False

    def lwp_main(self, *, first: bool = False) -> None:
        """Body of an lwp's greenlet: user mode and traps until the lwp ends."""
        context: LwpGreenlet = getcurrent()  # type: ignore[assignment]
        lwp = context.lwp
        try:
            if not first:
                self._switch_in(lwp)
                if lwp.ast:
                    self.ast(lwp)
            user_loop(lwp)
        except LwpExit:
            return
        except BaseException as error:
            self.crash = error
            self.disp.stopping = True
        finally:
            # Without this cycle the lwp goes now, and the next one gets its memory, still cached.
            del context.lwp

    def _switch_in(self, lwp: Lwp) -> None:
        lwp.onproc_since = self._switched_at
        if lwp.proc.split:
            unshare.switch_in(lwp)
        if self.engine.gate.wanted:
            # A switch, or an idle time, is what the request was to bring about.
            self.engine.gate.acknowledge()
            self.disp.poll_host(0)
        if self.engine.owner is not lwp:
            self.engine.switch(lwp)

    def _switch_out(self, lwp: Lwp) -> None:
        # One reading serves the lwp that leaves and the next one: it costs a host system call.
        self._switched_at = now = self.clock.cputime()
        lwp.utime += now - lwp.onproc_since
        lwp.onproc_since = now
        if lwp.proc.split:
            unshare.switch_out(lwp)

    # -- traps ----------------------------------------------------------------------------------

    fault = staticmethod(fault)
    issig = staticmethod(sig.issig_asleep)
    killed = staticmethod(sig.killed)
    sigtoproc = staticmethod(sig.sigtoproc)
    sigtolwp = staticmethod(sig.sigtolwp)

    def ast(self, lwp: Lwp) -> None:
        """Do what must be done before `lwp` returns to user mode: signals, restarts, a due mask."""
        while True:
            lwp.ast = False
            if self.engine.gate.wanted:
                self.engine.gate.acknowledge()
                self._look_around(lwp)
            if sig.issig(lwp):
                if lwp.restarting:
                    lwp.brand.restart_call(lwp, lwp.proc.sigacts[lwp.cursig])
                if lwp.interrupted:
                    self._end_interrupted(lwp)
                sig.psig(lwp)
                lwp.ast = True
                continue
            if lwp.restarting:
                lwp.brand.restart_call(lwp, None)
            if lwp.interrupted:
                lwp.interrupted = False
                self._rewind(lwp)
            if lwp.tmpmask_set:
                lwp.tmpmask_set = False
                lwp.set_sigmask(lwp.oldmask)
                if lwp.ast:
                    continue
            return

    def _end_interrupted(self, lwp: Lwp) -> None:
        """Decide whether the call that a handler interrupts is made again after it."""
        lwp.interrupted = False
        if not lwp.cursig:
            return
        action = lwp.proc.sigacts[lwp.cursig]
        again = action.flags & SA_RESTART and lwp.brand.restartable(lwp.syscall_nr)
        if again or lwp.again:
            self._rewind(lwp)

    @staticmethod
    def _rewind(lwp: Lwp) -> None:
        # Every system call instruction is two bytes long.
        lwp.regs.pc -= 2
        lwp.regs.ret = lwp.syscall_nr

    def preempt(self, lwp: Lwp) -> None:
        """Look around in the middle of a computation: timers, host input, other lwps."""
        self._look_around(lwp)
        if lwp.ast:
            self.ast(lwp)

    def _look_around(self, lwp: Lwp) -> None:
        self.disp.host_events()
        self.disp.run_callouts()
        self.disp.poll_host(0)
        self.disp.quantum_over(lwp)
        if lwp.restartable is not None:
            lwp.brand.disturbed(lwp)

    def sigwait_begin(self, lwp: Lwp, mask: int) -> None:
        """Have signals of `mask` wake `lwp` though it blocks them (sigtimedwait)."""
        self._sigwait[lwp] = mask

    def sigwait_end(self, lwp: Lwp) -> None:
        """End `sigwait_begin`."""
        self._sigwait.pop(lwp, None)

    def sigwaiting(self, lwp: Lwp) -> int:
        """Return the set that `lwp` waits for in sigtimedwait."""
        return self._sigwait.get(lwp, 0)

    def unsupported(self, lwp: Lwp, name: str, reason: str) -> None:
        """Count a call that is not supported; with `strict` it also sends SIGSYS."""
        key = (name, reason)
        self.unsupported_calls[key] = self.unsupported_calls.get(key, 0) + 1
        if self.config.strict:
            sig.sigtolwp(lwp, SIGSYS, SigInfo(SIGSYS, 1, addr=lwp.regs.pc))

    # -- processes ------------------------------------------------------------------------------

    def pid_alloc(self, wanted: int = 0) -> int:
        """Return an unused process id; EAGAIN when there is none.

        With `wanted` that one: EINVAL for what cannot be an id, EEXIST when it is in use.
        """
        if wanted:
            if not 0 < wanted < PID_MAX:
                raise KernelError(Errno.EINVAL)
            if wanted in self._used_pids or self._names_group(wanted):
                raise KernelError(Errno.EEXIST)
            self._used_pids.add(wanted)
            return wanted
        for _ in range(PID_MAX):
            pid = self._next_pid
            self._next_pid = pid + 1
            if self._next_pid == PID_MAX:
                self._next_pid, self._pids_again = FIRST_PID, True
            if pid not in self._used_pids and not (self._pids_again and self._names_group(pid)):
                self._used_pids.add(pid)
                return pid
        raise KernelError(Errno.EAGAIN)

    @property
    def last_pid(self) -> int:
        """The process id that was given out last; the next ones come after it."""
        return self._next_pid - 1

    @last_pid.setter
    def last_pid(self, pid: int) -> None:
        self._next_pid = pid + 1 if 0 <= pid < PID_MAX - 1 else FIRST_PID

    def _names_group(self, pid: int) -> bool:
        """Return whether a process group or session that has members is named by the id."""
        return any(pid in (proc.pgrp.pgid, proc.session.sid) for proc in self.procs.values())

    def pid_free(self, pid: int) -> None:
        """Give a process id back."""
        self._used_pids.discard(pid)

    def proc_started(self, proc: Proc) -> None:
        """Enter a new process."""
        self.procs[proc.pid] = proc
        self.zone.forks += 1

    def lwp_started(self, lwp: Lwp) -> None:
        """Enter a new lwp and let it run."""
        self.lwp_by_tid[lwp.tid] = lwp
        self.nlwps += 1
        self.disp.start(lwp)

    def lwp_free(self, lwp: Lwp) -> None:
        """Forget an lwp that has ended; its process' own id stays in use until it is waited for."""
        if self.lwp_by_tid.pop(lwp.tid, None) is not None:
            self.nlwps -= 1
        self._sigwait.pop(lwp, None)
        if self.engine.owner is lwp:
            self.engine.owner = None
        if lwp.tid == lwp.proc.pid:
            lwp.proc.leader = lwp
        elif lwp.trace is None:
            self.pid_free(lwp.tid)
            if lwp.proc.pidspace is not None:
                lwp.proc.pidspace.leave(lwp.tid, self.procs.values())
        if self.tracer is not None:
            self.tracer.lwp_exit(lwp)

    def proc_exited(self, proc: Proc) -> None:
        """Note that a process has become a zombie."""
        if self.tracer is not None:
            self.tracer.exit(proc)
        if proc is self.first:
            if proc.wait_code == CLD_EXITED:
                self.status = ExitStatus(proc.wait_status)
            else:
                self.status = ExitStatus(128, proc.wait_status)
        if self.status is not None:
            self._maybe_stop()

    def _maybe_stop(self) -> None:
        """End the machine once the first program has and nobody else holds its standard streams.

        What a pipe's reader would see natively is then complete; a daemon that has closed them does
        not keep the machine alive (as with ssh, whose session ends the same way).
        """
        asked = self.host_signals is not None and self.host_signals.asked_to_end
        for proc in self.procs.values():
            if not asked and not proc.zombie and proc.lwps and holds_host_streams(proc):
                return
        self.disp.stopping = True

    def proc_stopped(self, proc: Proc) -> None:
        """Note a stop; when it is the first program's, the emulator stops with it."""
        if proc is self.first and self.host_signals is not None:
            self.host_signals.stop_wanted = True

    def proc_free(self, proc: Proc) -> None:
        """Forget a process that has been waited for."""
        self.procs.pop(proc.pid, None)
        if proc.pidspace is not None:
            proc.pidspace.leave(proc.pid, self.procs.values())
        self.pid_free(proc.pid)

    def promised_memory(self) -> int:
        """Return how much private memory the processes have been promised, bytes."""
        spaces = {id(proc.as_): proc.as_ for proc in self.procs.values() if not proc.zombie}
        return sum(space.reserved_bytes() for space in spaces.values())

    def as_hold(self, proc: Proc) -> As:
        """Share the address space of `proc` with one more process."""
        proc.as_.users += 1
        return proc.as_

    def as_shared(self, proc: Proc) -> bool:
        """Return whether another process uses the address space of `proc`."""
        return proc.as_.users > 1

    def as_rele(self, proc: Proc) -> None:
        """Give up the address space of `proc`; the last process frees it."""
        as_ = proc.as_
        as_.users -= 1
        if as_.users:
            return
        if as_.text is not None:
            allow_write(as_.text)
        if self.mmu.live is as_.hat:
            self.engine.leave_address_space()
        as_.free()

    def as_replace(self, proc: Proc, new: As) -> None:
        """Give `proc` and its lwps the address space that exec has made."""
        self.as_rele(proc)
        proc.as_ = new
        assert proc.exe is not None
        self._hold_text(new, proc.exe.vnode)
        for lwp in proc.lwps:
            lwp.as_ = new

    def as_forked(self, old: As, new: As) -> None:
        """Note that `new` is a copy of `old`: it executes the same file, with the same segments."""
        if old.ldt is not None:
            new.ldt = old.ldt.copy()
        if old.text is not None:
            self._hold_text(new, old.text)

    @staticmethod
    def _hold_text(as_: As, text: Vnode) -> None:
        """Keep the executed file from being written to as long as `as_` lives (ETXTBSY)."""
        deny_write(text)
        as_.text = text

    def brand_for(self, bits: int) -> Brand:
        """Return the personality for an executable of 32 or 64 bits."""
        return self.brand64 if bits == 64 else self.brand32

    # -- surroundings ---------------------------------------------------------------------------

    def entropy(self, count: int) -> bytes:
        """Return `count` random bytes, reproducible on a machine with a seed."""
        return self._random.randbytes(count) if self._random is not None else os.urandom(count)

    def trace_signal(self, lwp: Lwp, info: SigInfo) -> None:
        """Tell the tracer that `lwp` takes a signal."""
        if self.tracer is not None:
            self.tracer.signal(lwp, info)

    def fatal_signal(self, lwp: Lwp, info: SigInfo) -> None:
        """Keep the state of an lwp that a fault kills, for the report of --stats."""
        if info.trapno or info.addr:
            pc = lwp.regs.pc
            try:
                code = lwp.as_.copyin(pc, min(32, 4096 - (pc & 0xFFF)))
            except KernelError:
                code = b""
            self.fatal.append(Crash(info, lwp.regs.dump(), pc, code, lwp.brand.bits))

    def core_dump(self, lwp: Lwp, info: SigInfo) -> bool:
        """Write a core file; return whether there is one."""
        return lwp.brand.core_dump(lwp, info)

    def out_of_memory(self, victim: Proc) -> None:
        """Say that the machine's memory is used up, and who dies for it."""
        self.oom_kills += 1
        sys.stderr.write(
            f"lxemu: out of memory ({self.config.memory >> 20} MiB): "
            f"killed {victim.comm.decode(errors='replace')} ({victim.pid})\n"
        )

    def crash_report(self) -> str:
        """Describe a fault of ours: the host traceback and where the guest was."""
        assert self.crash is not None
        import traceback

        lines = traceback.format_exception(self.crash)
        lwp = self.disp.curlwp
        if lwp is not None:
            lines.append(
                f"in {lwp.proc.comm.decode(errors='replace')} ({lwp.proc.pid}), "
                f"call {lwp.brand.name_of(lwp.syscall_nr)}\n{lwp.regs.dump()}\n"
            )
        return "".join(lines)

    def leaks(self) -> list[str]:
        """Return what is still held after the run, one line each; empty when all is given back."""
        return find_leaks(self)

    def close(self) -> list[str]:
        """Give the host's resources back; return a line for each mount that could not be saved."""
        lost: list[str] = []
        if self.host_signals is not None:
            self.host_signals.close()
        if self.console is not None:
            self.console.close()
        for proc in tuple(self.procs.values()):
            if not proc.zombie and proc.files is not None:
                proc.files.rele(proc)
        stack = getattr(self, "netstack", None)
        if stack is not None:
            stack.close()
        root = self.zone.root
        if self.zone.mounts is not None and root is not None:
            for mount in self.zone.mounts:
                try:
                    mount.vfs.unmount()
                except KernelError as error:
                    where = os.fsdecode(mount.path(root))
                    lost.append(f"{where}: data could not be written back: {error.errno.name}")
        self.engine.close()
        self.phys.close()
        return lost


def _seeded(seed: int | None) -> Random | None:
    """Return a reproducible source of entropy; None for a machine that uses the host's."""
    if seed is None:
        return None
    from random import Random

    return Random(seed)


def _brands() -> tuple[Brand, Brand]:
    from syscalls.brand import brands

    return brands()
