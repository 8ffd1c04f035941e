"""Making processes and lwps (illumos os/fork.c: cfork; os/lwp.c: lwp_create)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.proc import Proc
from lxemu.kernel.rctl import RLIMIT_NPROC
from lxemu.kernel.signal import SIGCHLD, SS_DISABLE

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(slots=True)
class ForkSpec:
    """What the new process or lwp shares with its maker, and how it starts.

    `thread` makes an lwp of the same process (it shares everything); otherwise the `share_*`
    members say what a new process shares. `stack` is its first stack pointer, 0 to keep the
    maker's. `prepare` is called with the new lwp before it can run (thread pointer, ids to store).
    """

    thread: bool = False
    share_as: bool = False
    share_files: bool = False
    share_fs: bool = False
    share_sigacts: bool = False
    vfork: bool = False
    same_parent: bool = False
    reset_sigacts: bool = False
    exit_signal: int = SIGCHLD
    stack: int = 0
    prepare: Callable[[Lwp], None] | None = None


def cfork(lwp: Lwp, spec: ForkSpec) -> Lwp:
    """Make a process or an lwp as `spec` says and start it; return its first lwp.

    EAGAIN past the process limit, ENOMEM. With `vfork` it returns when the child execs or exits.
    """
    machine = lwp.machine
    if machine.nlwps >= lwp.proc.rctls.soft(RLIMIT_NPROC):
        raise KernelError(Errno.EAGAIN)
    pid = machine.pid_alloc()
    try:
        proc = lwp.proc if spec.thread else _fork_proc(lwp, spec, pid)
        new = _fork_lwp(lwp, proc, pid, spec)
    except BaseException:
        machine.pid_free(pid)
        raise
    machine.lwp_started(new)
    if spec.vfork:
        while not (proc.exiting or proc.execed):
            proc.cv_vfork.wait()
    return new


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
        as_.limits = proc.rctls.soft
    proc.comm, proc.exe, proc.psargs = lwp.name, old.exe, old.psargs
    proc.exit_signal = old.exit_signal if spec.same_parent else spec.exit_signal
    proc.session, proc.pgrp = old.session, old.pgrp
    proc.pgrp.members.append(proc)
    proc.nice, proc.dumpable, proc.personality = old.nice, old.dumpable, old.personality
    proc.oom_score_adj = old.oom_score_adj
    proc.brand_data = old.brand_data
    parent.children.append(proc)
    machine.proc_started(proc)
    return proc


def _fork_lwp(lwp: Lwp, proc: Proc, tid: int, spec: ForkSpec) -> Lwp:
    new = Lwp(proc, tid)
    new.cpu.copy_from(lwp)
    new.brand, new.stubs = lwp.brand, lwp.stubs
    new.sigmask = lwp.oldmask if lwp.tmpmask_set else lwp.sigmask
    # A new stack makes the old alternate stack meaningless; vfork and fork keep it
    # (sigaltstack(2)).
    new.altstack = (0, 0, SS_DISABLE) if spec.share_as and not spec.vfork else lwp.altstack
    new.nice, new.name = lwp.nice, lwp.name
    new.sched_policy, new.sched_priority = lwp.sched_policy, lwp.sched_priority
    new.timerslack = lwp.timerslack
    proc.lwps.append(new)
    new.cpu.set_return(0)
    if spec.stack:
        new.cpu.set_stack(spec.stack)
    lwp.brand.forklwp(lwp, new)
    if spec.prepare is not None:
        spec.prepare(new)
    return new
