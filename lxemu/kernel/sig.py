"""Sending and taking signals (illumos os/sig.c: sigtoproc, issig, psig, stop).

A signal is queued on the process or on one lwp. An lwp takes it in its own context, in `issig`:
when it is about to sleep, when it is woken, or before it returns to user mode. `issig` deals with
ignored signals and with stops on the spot, so a stopped and continued lwp goes on in the middle of
its system call; it returns True only if a handler must run or the process must die, which `psig`
then does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel import ptrace
from lxemu.kernel.exit import end_dying, lwp_exit, proc_exit
from lxemu.kernel.poll import POLLIN, POLLRDNORM
from lxemu.kernel.rctl import RLIMIT_CORE, RLIMIT_SIGPENDING
from lxemu.kernel.sched import TS_SLEEP
from lxemu.kernel.signal import (
    CLD_CONTINUED,
    CLD_DUMPED,
    CLD_KILLED,
    CLD_STOPPED,
    SA_NOCLDSTOP,
    SA_NODEFER,
    SA_RESETHAND,
    SI_TIMER,
    SIG_DFL,
    SIG_IGN,
    SIGCHLD,
    SIGCONT,
    SIGKILL,
    SIGRTMIN,
    SIGSTOP,
    STOP_SIGNALS,
    SYNC_SIGNALS,
    Action,
    SigAction,
    SigInfo,
    lowest,
    sigmask,
)

if TYPE_CHECKING:
    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.proc import Proc
    from lxemu.kernel.session import Pgrp
    from lxemu.kernel.timer import PosixTimer

_KILL_BIT = sigmask(SIGKILL)
_CONT_BIT = sigmask(SIGCONT)


def sig_ignored(proc: Proc, sig: int) -> bool:
    """Return whether delivering `sig` to `proc` would do nothing."""
    handler = proc.sigacts[sig].handler
    if handler == SIG_DFL:
        return proc.brand.default_action(sig) is Action.IGNORE
    return handler == SIG_IGN and sig not in (SIGKILL, SIGSTOP)


def sigtoproc(proc: Proc, sig: int, info: SigInfo | None = None) -> None:
    """Send `sig` to `proc`; the first lwp that does not block it takes it."""
    _post(proc, None, sig, info)


def sigtolwp(lwp: Lwp, sig: int, info: SigInfo | None = None) -> None:
    """Send `sig` to one lwp."""
    _post(lwp.proc, lwp, sig, info)


def sigtopgrp(pgrp: Pgrp, sig: int, info: SigInfo | None = None) -> None:
    """Send `sig` to every process of `pgrp`."""
    for proc in tuple(pgrp.members):
        sigtoproc(proc, sig, info)


def sigqueue_full(proc: Proc, info: SigInfo) -> bool:
    """Return whether queueing `info` would pass RLIMIT_SIGPENDING (sigqueue(3): EAGAIN).

    What counts is what is queued for all processes of the receiver's user.
    """
    if info.signo < SIGRTMIN:
        return False
    user, queued = proc.cred.ruid, 0
    for other in proc.zone.procs.values():
        if other.cred.ruid == user and not other.zombie:
            queued += other.sigq.count() + sum(lwp.sigq.count() for lwp in other.lwps)
    return queued >= proc.rctls.soft(RLIMIT_SIGPENDING)


def _post(proc: Proc, lwp: Lwp | None, sig: int, info: SigInfo | None) -> None:
    if proc.zombie or proc.exiting:
        return
    bit = 1 << (sig - 1)
    if sig == SIGKILL:
        continue_proc(proc, report=False)
    elif sig == SIGCONT:
        _discard(proc, STOP_SIGNALS)
        continue_proc(proc, report=True)
        ptrace.continued(proc)
    elif bit & STOP_SIGNALS:
        _discard(proc, _CONT_BIT)
    takers = [lwp] if lwp is not None else proc.lwps
    blocked = all(taker.sigmask & bit for taker in takers)
    waited = any(taker.machine.sigwaiting(taker) & bit for taker in takers)
    if not blocked and not waited and sig_ignored(proc, sig) and not _is_shown(proc, lwp, sig):
        return
    queue = proc.sigq if lwp is None else lwp.sigq
    queue.post(info if info is not None else SigInfo(sig))
    signal_lwps(takers, bit)
    if proc.sigacts.readers is not None:
        proc.sigacts.readers.wakeup(POLLIN | POLLRDNORM)


def _is_shown(proc: Proc, lwp: Lwp | None, sig: int) -> bool:
    """Return whether a tracer gets to see a signal that would do nothing."""
    taker = lwp if lwp is not None else proc.lwp(proc.pid)
    return taker is not None and taker.trace is not None and sig != SIGKILL


def signal_lwps(takers: list[Lwp], bit: int) -> None:
    """Have one of `takers` look at a pending signal of the set `bit`; all of them for SIGKILL.

    The first lwp is preferred, then whichever does not block the signal (signal(7)).
    """
    for taker in takers:
        if bit & _KILL_BIT or not taker.sigmask & bit or taker.machine.sigwaiting(taker) & bit:
            taker.ast = True
            wake(taker)
            if not bit & _KILL_BIT:
                return


def wake(lwp: Lwp) -> None:
    """Wake `lwp` if it sleeps interruptibly, or until it is killed and now is."""
    if lwp.state == TS_SLEEP and (lwp.sleep_sig or (lwp.sleep_kill and killed(lwp))):
        lwp.machine.disp.setrun(lwp)


def killed(lwp: Lwp) -> bool:
    """Return whether a signal that can only end the process is pending for `lwp`."""
    proc = lwp.proc
    if lwp.trace is not None and lwp.trace.dying is not None:
        return True
    # The tracer of one that is traced decides about all others.
    ready = pending(lwp) & (_KILL_BIT if lwp.trace is not None else ~lwp.sigmask | _KILL_BIT)
    while ready:
        sig = lowest(ready)
        ready &= ready - 1
        if sig == SIGKILL:
            return True
        default = proc.sigacts[sig].handler == SIG_DFL
        if default and proc.brand.default_action(sig) is Action.TERM:
            return True
    return proc.exiting


def _discard(proc: Proc, mask: int) -> None:
    proc.sigq.discard(mask)
    for lwp in proc.lwps:
        lwp.sigq.discard(mask)


def pending(lwp: Lwp) -> int:
    """Return the set of signals pending for `lwp`, its own and its process'."""
    return lwp.sigq.pending | lwp.proc.sigq.pending


def take(lwp: Lwp, mask: int) -> SigInfo | None:
    """Dequeue a pending signal of `mask`, or None: faults first, then the lowest number."""
    own = lwp.sigq.pending & mask
    shared = lwp.proc.sigq.pending & mask
    if not own and not shared:
        return None
    ready = own | shared
    if ready & _KILL_BIT:
        ready = _KILL_BIT
    elif ready & SYNC_SIGNALS:
        ready &= SYNC_SIGNALS
    sig = lwp.brand.lowest_signal(ready) if ready & (ready - 1) else lowest(ready)
    queue = lwp.sigq if own >> (sig - 1) & 1 else lwp.proc.sigq
    info = queue.take(sig)
    if info.pid and lwp.proc.pidspace is not None and info.raw is None:
        info = info._replace(pid=lwp.proc.pidspace.shown(info.pid))
    if info.code == SI_TIMER and info.timerid in lwp.proc.ptimers:
        timer: PosixTimer = lwp.proc.ptimers[info.timerid]
        return timer.taken(info)
    return info


def issig(lwp: Lwp) -> bool:
    """Deal with pending signals; True if `psig` must act (a handler, or death)."""
    proc = lwp.proc
    while True:
        if lwp.cursig or proc.exiting:
            return True
        trace = lwp.trace
        if trace is not None:
            if trace.dying is not None:
                return True
            if ptrace.other_stop(lwp, trace):
                continue
        elif proc.stopped and not pending(lwp) & _KILL_BIT:
            _stay_stopped(lwp)
            continue
        info = take(lwp, ~lwp.sigmask | _KILL_BIT)
        if info is None:
            return False
        if trace is not None and info.signo != SIGKILL:
            info = ptrace.signalled(lwp, info)
            if info is None:
                continue
        sig = info.signo
        handler = proc.sigacts[sig].handler
        if handler == SIG_IGN and sig != SIGKILL:
            continue
        if handler == SIG_DFL:
            action = proc.brand.default_action(sig)
            if action in (Action.IGNORE, Action.CONT):
                continue
            if action is Action.STOP:
                may_stop = trace is None or trace.may_stop
                if may_stop and (sig == SIGSTOP or not proc.pgrp.orphaned()):
                    stop_proc(proc, sig)
                continue
        lwp.machine.trace_signal(lwp, info)
        lwp.cursig, lwp.curinfo = sig, info
        return True


def issig_asleep(lwp: Lwp) -> bool:
    """Look at pending signals in the middle of a call; True if the call must end for them.

    A traced lwp makes its stops when its registers are complete, so it leaves every call first, and
    makes it again if nothing came of the signal (illumos issig(JUSTLOOKING)).
    """
    trace = lwp.trace
    if trace is None:
        return issig(lwp)
    if lwp.cursig or lwp.proc.exiting or trace.dying or ptrace.wants_stop(lwp, trace):
        return True
    return bool(pending(lwp) & (~lwp.sigmask | _KILL_BIT))


def psig(lwp: Lwp) -> None:
    """Act on the signal that `issig` found: run the handler, or end the process. May not return."""
    proc = lwp.proc
    if lwp.trace is not None and lwp.trace.dying is not None:
        end_dying(lwp)
    if proc.exiting:
        lwp_exit(lwp)
    sig, info = lwp.cursig, lwp.curinfo
    lwp.cursig, lwp.curinfo = 0, None
    if not sig or info is None:
        return
    action = proc.sigacts[sig]
    if action.handler == SIG_DFL:
        die(lwp, sig, info)
    if action.flags & SA_RESETHAND:
        proc.sigacts[sig] = action._replace(handler=SIG_DFL)
    saved = lwp.oldmask if lwp.tmpmask_set else lwp.sigmask
    lwp.tmpmask_set = False
    if lwp.trace is not None:
        ptrace.hide_step(lwp)
    if lwp.brand.sendsig(lwp, sig, info, action, saved) is False:
        return  # The frame did not fit: SIGSEGV is on its way instead.
    mask = lwp.sigmask | action.mask
    if not action.flags & SA_NODEFER:
        mask |= 1 << (sig - 1)
    lwp.set_sigmask(mask)
    if lwp.trace is not None:
        ptrace.handler_begins(lwp)


def die(lwp: Lwp, sig: int, info: SigInfo) -> None:
    """End the process by `sig`, with the report of a core dump where the signal asks for one."""
    core = lwp.proc.brand.default_action(sig) is Action.CORE
    dumped = core and lwp.proc.rctls.soft(RLIMIT_CORE) > 0 and lwp.machine.core_dump(lwp, info)
    lwp.machine.fatal_signal(lwp, info)
    proc_exit(lwp, CLD_DUMPED if dumped else CLD_KILLED, sig)


def stop_proc(proc: Proc, sig: int) -> None:
    """Stop every lwp of `proc` and tell its parent."""
    proc.stopped = True
    proc.job_serial += 1
    proc.continued = False
    proc.wait_code, proc.wait_status = CLD_STOPPED, sig
    proc.stop_report = sig
    for lwp in proc.lwps:
        lwp.ast = True
        wake(lwp)
    tell_parent(proc, CLD_STOPPED, sig)
    proc.machine.proc_stopped(proc)


def continue_proc(proc: Proc, *, report: bool) -> None:
    """Let a stopped `proc` run again; `report` when the parent may wait for it (SIGCONT)."""
    if not proc.stopped:
        return
    proc.stopped = False
    proc.stop_report = 0
    if report:
        proc.continued = True
        tell_parent(proc, CLD_CONTINUED, SIGCONT)
    proc.cv_stop.broadcast()


def _stay_stopped(lwp: Lwp) -> None:
    proc = lwp.proc
    while proc.stopped and not lwp.trace and not pending(lwp) & _KILL_BIT and not proc.exiting:
        proc.cv_stop.wait()


def tell_parent(proc: Proc, code: int, status: int) -> None:
    """Send the parent its SIGCHLD for a stop or a continue, and wake its waits."""
    parent = proc.parent
    if parent is None or ptrace.hides_job(proc):
        return
    if not parent.sigacts[SIGCHLD].flags & SA_NOCLDSTOP:
        sigtoproc(parent, SIGCHLD, proc.child_siginfo(SIGCHLD, code, status))
    parent.cv_child.broadcast()


def trapsig(lwp: Lwp, info: SigInfo) -> None:
    """Deliver a fault to the lwp that caused it: blocked or ignored, it kills (illumos trapsig)."""
    bit = 1 << (info.signo - 1)
    proc = lwp.proc
    if lwp.sigmask & bit or proc.sigacts[info.signo].handler == SIG_IGN:
        proc.sigacts[info.signo] = SigAction()
        lwp.sigmask &= ~bit
    lwp.sigq.discard(bit)
    lwp.sigq.post(info)
    lwp.ast = True
