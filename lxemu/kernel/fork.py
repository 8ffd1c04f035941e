"""Making processes and lwps (illumos os/fork.c: cfork; os/lwp.c: lwp_create)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lxemu.kernel import ptrace, unshare
from lxemu.kernel.cred import PRIV_SYS_ADMIN, PRIV_SYS_RESOURCE
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.proc import Proc
from lxemu.kernel.rctl import RLIMIT_NPROC
from lxemu.kernel.sched import TS_ZOMB
from lxemu.kernel.signal import SIGCHLD, SS_DISABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxemu.kernel.pidspace import PidSpace
    from lxemu.kernel.resgroup import ResGroup


@dataclass(slots=True)
class ForkSpec:
    """What the new process or lwp shares with its maker, and how it starts.

    `thread` makes an lwp of the same process (it shares memory and actions in any case); the
    `share_*` members say what it or a new process shares. `stack` is its first stack pointer, 0 to
    keep the maker's. `pid` asks for an id, 0 for any. `traced` lets the maker's tracer trace it in
    any case, `untraced` not even if it asks for such events. `group` and `pidspace` are where a new
    process goes, None for its maker's. `prepare` is called with the new lwp before it can run
    (thread pointer, ids to store).
    """

    thread: bool = False
    share_as: bool = False
    share_files: bool = False
    share_fs: bool = False
    share_sigacts: bool = False
    share_semundo: bool = False
    vfork: bool = False
    same_parent: bool = False
    reset_sigacts: bool = False
    traced: bool = False
    untraced: bool = False
    exit_signal: int = SIGCHLD
    stack: int = 0
    pid: int = 0
    group: ResGroup | None = None
    pidspace: PidSpace | None = None
    prepare: Callable[[Lwp], None] | None = None


def cfork(lwp: Lwp, spec: ForkSpec) -> Lwp:
    """Make a process or an lwp as `spec` says and start it; return its first lwp.

    EAGAIN past the process limit, ENOMEM. With `vfork` it returns when the child execs or exits.
    """
    machine = lwp.machine
    if machine.nlwps >= lwp.proc.rctls.soft(RLIMIT_NPROC) and _too_many(lwp):
        raise KernelError(Errno.EAGAIN)
    group = spec.group if spec.group is not None else lwp.proc.group
    if group is not None:
        group.check_fork()
    space = None if spec.thread else _space_of_child(lwp.proc, spec)
    if space is not None:
        space.check_alive()
    pid = machine.pid_alloc(spec.pid)
    try:
        proc = lwp.proc if spec.thread else _fork_proc(lwp, spec, pid)
        new = _fork_lwp(lwp, proc, pid, spec)
    except BaseException:
        machine.pid_free(pid)
        raise
    event = _event(lwp, spec)
    if event is not None or spec.traced:
        ptrace.inherit(lwp, new)
    machine.lwp_started(new)
    if event is not None:
        ptrace.event_stop(lwp, event, pid)
    if spec.vfork:
        _wait_vfork(lwp, new)
        ptrace.event_stop(lwp, ptrace.Event.VFORK_DONE, pid)
    return new


def _event(lwp: Lwp, spec: ForkSpec) -> ptrace.Event | None:
    """Return the event that the maker's tracer gets, None if it has not asked for it."""
    trace = lwp.trace
    if trace is None or spec.untraced:
        return None
    if spec.vfork:
        event = ptrace.Event.VFORK
    elif spec.exit_signal != SIGCHLD or spec.thread:
        event = ptrace.Event.CLONE
    else:
        event = ptrace.Event.FORK
    return event if event in trace.events else None


def _too_many(lwp: Lwp) -> bool:
    """Return whether the user has as many lwps as allowed, and is not privileged to more."""
    cred = lwp.proc.cred
    if cred.crhas(PRIV_SYS_RESOURCE) or cred.crhas(PRIV_SYS_ADMIN):
        return False
    procs: dict[int, Proc] = lwp.machine.procs
    count = sum(len(proc.lwps) for proc in procs.values() if proc.cred.ruid == cred.ruid)
    return count >= lwp.proc.rctls.soft(RLIMIT_NPROC)


def _wait_vfork(lwp: Lwp, new: Lwp) -> None:
    """Sleep until the child, or the lwp, has ended or the child has another program.

    Only what kills the maker ends the sleep sooner.
    """
    proc = new.proc
    while not (proc.exiting or (proc.execed and proc is not lwp.proc) or new.state == TS_ZOMB):
        if not proc.cv_vfork.wait_kill():
            return


def _fork_proc(lwp: Lwp, spec: ForkSpec, pid: int) -> Proc:
    machine, old = lwp.machine, lwp.proc
    if spec.share_as:
        as_ = machine.as_hold(old)
    else:
        as_ = old.as_.dup()
        machine.as_forked(old.as_, as_)
    parent = old.parent if spec.same_parent and old.parent is not None else old
    proc = Proc(machine, pid, parent, old.brand, old.cred, old.zone)
    proc.as_ = as_
    proc.files = old.files.hold() if spec.share_files else old.files.copy()
    proc.fs = old.fs if spec.share_fs else old.fs.copy()
    proc.sigacts = old.sigacts if spec.share_sigacts else old.sigacts.copy()
    if spec.reset_sigacts:
        proc.sigacts.reset_caught()
    proc.rctls = old.rctls.copy()
    if not spec.share_as:
        as_.limits = proc.as_limit
    proc.comm, proc.exe, proc.psargs = lwp.name, old.exe, old.psargs
    proc.exit_signal = old.exit_signal if spec.same_parent else spec.exit_signal
    proc.session, proc.pgrp, proc.ctty = old.session, old.pgrp, old.ctty
    proc.pgrp.members.append(proc)
    proc.nice, proc.dumpable, proc.personality = old.nice, old.dumpable, old.personality
    proc.oom_score_adj, proc.large_pages_off = old.oom_score_adj, old.large_pages_off
    proc.core_filter = old.core_filter
    proc.ipc = old.ipc
    if spec.share_semundo:
        from lxemu.kernel.ipc.sem import SemUndo

        SemUndo.share(old, proc)
    proc.brand_data = old.brand_data
    proc.ns = old.ns
    proc.pidspace = _space_of_child(old, spec)
    proc.group = old.group
    if spec.group is not None:
        spec.group.join(proc)
    proc.maker = lwp
    parent.children.append(proc)
    machine.proc_started(proc)
    return proc


def _space_of_child(old: Proc, spec: ForkSpec) -> PidSpace | None:
    """Return the space that numbers a child."""
    space = spec.pidspace
    if space is None and old.ns is not None:
        space = old.ns.children
    return old.pidspace if space is None else space


def _fork_lwp(lwp: Lwp, proc: Proc, tid: int, spec: ForkSpec) -> Lwp:
    new = Lwp(proc, tid)
    new.cpu.copy_from(lwp)
    if proc.as_.ldt is not lwp.as_.ldt:
        lwp.machine.engine.load_ldt(new.cpu, proc.as_.ldt)
    if lwp.trace is not None and (lwp.trace.step or lwp.trace.watches):
        new.cpu.set_step(False)
    new.brand, new.call_filter = lwp.brand, lwp.call_filter
    new.bind_calls()
    if not spec.share_as:
        new.restartable = lwp.restartable
    new.sigmask = lwp.oldmask if lwp.tmpmask_set else lwp.sigmask
    # A new stack makes the old alternate stack meaningless; vfork and fork keep it
    # (sigaltstack(2)).
    new.altstack = (0, 0, SS_DISABLE) if spec.share_as and not spec.vfork else lwp.altstack
    new.nice, new.charged, new.name = lwp.nice, lwp.charged, lwp.name
    new.sched_policy, new.sched_priority = lwp.sched_policy, lwp.sched_priority
    new.sched_deadline, new.io_priority = lwp.sched_deadline, lwp.io_priority
    new.mem_policy = lwp.mem_policy
    # What the maker has now is the new lwp's default too (prctl(2), PR_SET_TIMERSLACK).
    new.timerslack = new.default_slack = lwp.timerslack
    if spec.thread:
        unshare.inherit(lwp, new, files=spec.share_files, fs=spec.share_fs)
    proc.lwps.append(new)
    if proc.pidspace is not None:
        proc.pidspace.enter_lwp(new, first=not spec.thread)
    new.cpu.set_return(0)
    if spec.stack:
        new.cpu.set_stack(spec.stack)
    lwp.brand.forklwp(lwp, new)
    if spec.prepare is not None:
        spec.prepare(new)
    return new
