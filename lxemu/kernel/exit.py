"""The end of lwps and processes, and waiting for it (illumos os/exit.c: proc_exit, waitid)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, NoReturn

from lxemu.kernel import ptrace, unshare
from lxemu.kernel.errno import Errno, Interrupted, KernelError
from lxemu.kernel.lwp import LwpExit, curlwp
from lxemu.kernel.pidspace import shown_pid
from lxemu.kernel.poll import POLLHUP, POLLIN, POLLRDNORM
from lxemu.kernel.proc import FsCtx, Usage
from lxemu.kernel.sched import TS_ZOMB
from lxemu.kernel.session import pgexit
from lxemu.kernel.signal import (
    CLD_CONTINUED,
    CLD_EXITED,
    CLD_STOPPED,
    CLD_TRAPPED,
    SA_NOCLDWAIT,
    SI_KERNEL,
    SIG_IGN,
    SIGCHLD,
    SIGCONT,
    SIGHUP,
    SigInfo,
)

if TYPE_CHECKING:
    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.proc import Proc
    from lxemu.kernel.session import Pgrp

#: waitid options (illumos sys/wait.h) and id types (sys/procset.h).
WEXITED = 0x1
WTRAPPED = 0x2
WSTOPPED = 0x4
WCONTINUED = 0x8
WNOHANG = 0x40
WNOWAIT = 0x80
#: Which children by exit signal (ours, after the brand's wait filter): SIGCHLD ones, others, or
#: all.
W_NORMAL = 1 << 16
W_CLONE = 1 << 17
#: Only children that the calling lwp made and what it traces, not those of its process' others.
W_OWN = 1 << 18

P_PID, P_PGID, P_ALL = 0, 2, 7


class WaitInfo(NamedTuple):
    """What a wait found: the child, a CLD_* code, exit status or signal, uid, resources used.

    `stop` is that of a tracee (CLD_TRAPPED).
    """

    pid: int
    code: int
    status: int
    uid: int
    usage: Usage
    stop: ptrace.Stop | None = None


def lwp_destroy(lwp: Lwp, code: int, status: int) -> None:
    """Unwind the kernel stack of another lwp, wherever it sleeps, and forget it."""
    if lwp.state == TS_ZOMB:
        return
    lwp.state = TS_ZOMB
    disp = lwp.machine.disp
    if lwp in disp.runq:
        disp.runq.remove(lwp)
    if lwp.greenlet and not lwp.greenlet.dead:
        lwp.greenlet.parent = curlwp().greenlet
        lwp.greenlet.throw(LwpExit)
    _lwp_gone(lwp, code, status)


def _lwp_gone(lwp: Lwp, code: int, status: int) -> None:
    proc = lwp.proc
    proc.usage.utime += lwp.cpu_time()
    lwp.state = TS_ZOMB
    if lwp in proc.lwps:
        proc.lwps.remove(lwp)
    if proc.split:
        unshare.gone(lwp)
    lwp.machine.lwp_free(lwp)
    proc.cv_vfork.broadcast()
    if lwp.exit_head is not None:
        lwp.exit_head.wakeup(POLLIN | POLLRDNORM | POLLHUP)
    if lwp.trace is not None or proc.tracees:
        ptrace.lwp_gone(lwp, code, status)


def kill_other_lwps(lwp: Lwp, code: int = CLD_EXITED, status: int = 0) -> None:
    """End every other lwp of the process (exit and exec do this first).

    `code` and `status` say how, to who traces them.
    """
    for other in tuple(lwp.proc.lwps):
        if other is not lwp and not ptrace.ends_itself(other, code, status):
            other.brand.lwp_exit(other)
            lwp_destroy(other, code, status)
    while len(lwp.proc.lwps) > 1:
        lwp.proc.cv_vfork.wait()


def lwp_exit(lwp: Lwp, code: int = CLD_EXITED, status: int = 0) -> NoReturn:
    """End the calling lwp, and its process if it is the last one: by its own code and status."""
    proc = lwp.proc
    if len(proc.lwps) == 1 and not proc.exiting:
        proc_exit(lwp, code, status)
    ptrace.event_stop(lwp, ptrace.Event.EXIT, (code, status))
    lwp.brand.lwp_exit(lwp)
    _lwp_gone(lwp, code, status)
    raise LwpExit


def end_dying(lwp: Lwp) -> NoReturn:
    """End a traced lwp as another one of its process, which exits, wants it to."""
    assert lwp.trace is not None
    dying, lwp.trace.dying = lwp.trace.dying, None
    lwp_exit(lwp, *(dying or (CLD_EXITED, 0)))


def proc_exit(lwp: Lwp, code: int, status: int) -> NoReturn:
    """End the process of `lwp`: CLD_EXITED with a status, CLD_KILLED or _DUMPED by a signal."""
    proc = lwp.proc
    if lwp.trace is not None and lwp.trace.dying is not None:
        end_dying(lwp)
    if not proc.exiting:
        proc.stopped = False
        kill_other_lwps(lwp, code, status)
        ptrace.event_stop(lwp, ptrace.Event.EXIT, (code, status))
        proc.exiting = True
        lwp.brand.lwp_exit(lwp)
        _release(proc)
        _lwp_gone(lwp, code, status)
        _become_zombie(proc, code, status)
    raise LwpExit


def _release(proc: Proc) -> None:
    machine = proc.machine
    for timer in (*proc.itimers.values(), *proc.ptimers.values()):
        timer.cancel()
    proc.itimers.clear()
    proc.ptimers.clear()
    proc.usage.maxrss = max(proc.usage.maxrss, proc.as_.maxrss * 4096)
    if proc.semundo is not None:
        proc.semundo.exit(proc)
    proc.files.rele(proc)
    if proc.ns is not None:
        # With its last process a tree of mounts goes, and what is stored in it.
        proc.ns = None
        proc.exe = None
        root = proc.zone.root
        assert root is not None
        proc.fs = FsCtx(root, root, proc.fs.umask)
    machine.as_rele(proc)
    proc.cv_vfork.broadcast()


def _become_zombie(proc: Proc, code: int, status: int) -> None:
    machine = proc.machine
    proc.zombie = True
    proc.usage.utime, proc.usage.stime = proc.cpu_split()
    proc.wait_code, proc.wait_status = code, status
    _leave_terminal(proc)
    space = proc.pidspace
    if space is not None and space.init is proc:
        space.ends()
    for pgrp in _reparent_children(proc):
        _hang_up_orphaned(pgrp)
    parent = proc.parent
    if parent is not None and parent.pgrp is not proc.pgrp and parent.session is proc.session:
        _hang_up_orphaned(proc.pgrp)
    machine.proc_exited(proc)
    if proc.exit_head is not None:
        proc.exit_head.wakeup(POLLIN | POLLRDNORM)
    trace = proc.trace
    if trace is not None:
        trace.report = True
    if trace is not None and trace.tracer.proc is not parent:
        # The tracer comes first; the parent hears of it when that has waited.
        trace.tell(code, status)
    else:
        tell_death(proc)


def tell_death(proc: Proc) -> None:
    """Tell the parent of a zombie about it; nobody else has an interest in it any more."""
    machine, parent = proc.machine, proc.parent
    code, status = proc.wait_code, proc.wait_status
    if parent is None or parent is machine.init:
        freeproc(proc)
        return
    signo = proc.exit_signal
    action = parent.sigacts[SIGCHLD]
    auto = signo == SIGCHLD and (action.handler == SIG_IGN or bool(action.flags & SA_NOCLDWAIT))
    # A parent that traces the process wants to see its end in any case.
    auto = auto and proc.trace is None
    if signo:
        machine.sigtoproc(parent, signo, proc.child_siginfo(signo, code, status))
    if auto:
        freeproc(proc)
    parent.cv_child.broadcast()


def _reaper_of_space(proc: Proc, reaper: Proc | None) -> Proc | None:
    """Return the first process of the space of `proc`, unless a subreaper in it is nearer."""
    space = proc.pidspace
    if space is None or space.init is None or space.init.exiting:
        return None
    return reaper if reaper is not None and space.holds(reaper) else space.init


def _reparent_children(proc: Proc) -> list[Pgrp]:
    """Give the children of `proc` a new parent; return their groups that it may have anchored."""
    machine = proc.machine
    reaper = proc.parent
    while reaper is not None and not (reaper.subreaper and not reaper.exiting):
        reaper = reaper.parent
    new_parent = _reaper_of_space(proc, reaper) or reaper or machine.init
    groups: dict[Pgrp, None] = {}
    for child in tuple(proc.children):
        if child.pgrp is not proc.pgrp and child.session is proc.session:
            groups[child.pgrp] = None
        proc.children.remove(child)
        child.parent = new_parent
        new_parent.children.append(child)
        child.exit_signal = SIGCHLD
        if child.pdeathsig and not child.zombie:
            machine.sigtoproc(child, child.pdeathsig, proc.siginfo(child.pdeathsig))
        if child.zombie and child.trace is not None:
            continue  # its tracer comes first
        if child.zombie and new_parent is machine.init:
            freeproc(child)
        elif child.zombie:
            info = child.child_siginfo(SIGCHLD, child.wait_code, child.wait_status)
            machine.sigtoproc(new_parent, SIGCHLD, info)
            new_parent.cv_child.broadcast()
    return list(groups)


def _hang_up_orphaned(pgrp: Pgrp) -> None:
    """Hang up a group that an exit has orphaned with a stopped member (POSIX _exit)."""
    stopped = any(member.stopped and not member.zombie for member in pgrp.members)
    if stopped and pgrp.orphaned():
        _hang_up(pgrp)


def _hang_up(pgrp: Pgrp) -> None:
    for sig in (SIGHUP, SIGCONT):
        for member in tuple(pgrp.members):
            member.machine.sigtoproc(member, sig, SigInfo(sig, SI_KERNEL))


def _leave_terminal(proc: Proc) -> None:
    """Let go of the controlling terminal; the end of a session leader disconnects it."""
    session = proc.session
    if session.sid == proc.pid:
        if proc.ctty is not None:
            proc.ctty.leader_exit()
        elif session.old_fg in session.pgrps:
            # The line was hung up before: what was in the foreground then hears of it now.
            _hang_up(session.pgrps[session.old_fg])
    proc.ctty = None


def freeproc(proc: Proc, *, waited: bool = False) -> None:
    """Forget a zombie; only a parent that has waited gets what it used (getrusage(2))."""
    parent = proc.parent
    ptrace.drop_leader(proc)
    if parent is not None:
        if proc in parent.children:
            parent.children.remove(proc)
        heir = parent if waited else proc.machine.init
        heir.child_usage.add(proc.usage)
        heir.child_usage.add(proc.child_usage)
    pgexit(proc)
    proc.machine.proc_free(proc)
    if proc.exit_head is not None:
        proc.exit_head.wakeup(POLLIN | POLLRDNORM | POLLHUP)


def waitid(lwp: Lwp, idtype: int, ident: int, options: int) -> WaitInfo | None:
    """Wait for a child to change state (waitid(2), with illumos' option bits).

    Return None when WNOHANG is set and none has. ECHILD without such children; Interrupted.
    """
    proc = lwp.proc
    interrupted: Interrupted | None = None
    while True:
        found = False
        for child in tuple(proc.children):
            if not _selected(child, idtype, ident, options) or _is_others(lwp, child, options):
                continue
            found = True
            # Its number is asked for now: with the child it may go.
            ident_shown = shown_pid(lwp, child.pid)
            info = _look(child, options)
            if info is not None:
                return info._replace(pid=ident_shown)
        for trace in tuple(proc.tracees):
            if not _traced(lwp, trace, idtype, ident, options):
                continue
            found = True
            ident_shown = shown_pid(lwp, trace.tid)
            info = _look_tracee(trace, options)
            if info is not None:
                return info._replace(pid=ident_shown)
        if not found:
            raise KernelError(Errno.ECHILD)
        if options & WNOHANG:
            return None
        if interrupted is not None:
            raise interrupted
        try:
            proc.cv_child.wait_sig()
        except Interrupted as error:
            # The signal may well be the child's own SIGCHLD: a child that is ready comes first.
            interrupted = error


def _selected(child: Proc, idtype: int, ident: int, options: int) -> bool:
    if idtype == P_PID and child.pid != ident:
        return False
    if idtype == P_PGID and child.pgrp.pgid != ident:
        return False
    normal = child.exit_signal == SIGCHLD
    return bool(options & (W_NORMAL if normal else W_CLONE)) or not options & (W_NORMAL | W_CLONE)


def _is_others(lwp: Lwp, child: Proc, options: int) -> bool:
    """Return whether a wait for the caller's own children leaves out that of another lwp."""
    maker = child.maker
    return bool(options & W_OWN) and maker is not lwp and maker in lwp.proc.lwps


def _look(child: Proc, options: int) -> WaitInfo | None:
    code, status = child.wait_code, child.wait_status
    # What the child has used, and its own children that it waited for (getrusage, RUSAGE_BOTH).
    usage = Usage()
    usage.add(child.usage)
    usage.add(child.child_usage)
    if child.zombie:
        elsewhere = child.trace is not None and child.trace.tracer.proc is not child.parent
        if not options & WEXITED or elsewhere:
            return None
        if not options & WNOWAIT:
            freeproc(child, waited=True)
    elif child.stop_report and options & WSTOPPED and not ptrace.hides_job(child):
        code, status = CLD_STOPPED, child.stop_report
        if not options & WNOWAIT:
            child.stop_report = 0
    elif child.continued and options & WCONTINUED:
        code, status = CLD_CONTINUED, SIGCONT
        if not options & WNOWAIT:
            child.continued = False
    else:
        return None
    return WaitInfo(child.pid, code, status, child.cred.ruid, usage)


def _traced(lwp: Lwp, trace: ptrace.Trace, idtype: int, ident: int, options: int) -> bool:
    """Return whether a wait by `lwp` is for this tracee; a dead child was looked at as a child."""
    if options & W_OWN and trace.tracer is not lwp:
        return False
    if idtype == P_PID and trace.tid != ident:
        return False
    if idtype == P_PGID and trace.proc.pgrp.pgid != ident:
        return False
    return not (trace.proc.zombie and trace.leader and trace.proc.parent is lwp.proc)


def _look_tracee(trace: ptrace.Trace, options: int) -> WaitInfo | None:
    proc = trace.proc
    if trace.lwp is None:
        if not trace.report or not options & WEXITED:
            return None
        code, status = trace.end or (CLD_EXITED, 0)
        if trace.leader:
            code, status = proc.wait_code, proc.wait_status
        if not options & WNOWAIT:
            ptrace.reap(trace)
        return WaitInfo(trace.tid, code, status, proc.cred.ruid, proc.usage)
    stop = trace.stop
    if stop is None or not trace.report or trace.listening:
        return None
    if not options & WNOWAIT:
        trace.report = False
    return WaitInfo(trace.tid, CLD_TRAPPED, stop.sig, proc.cred.ruid, proc.usage, stop)
