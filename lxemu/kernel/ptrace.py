"""Tracing: an lwp that stops where another one wants it to (illumos sys/procfs.h).

A `Trace` ties one lwp, the tracee, to the lwp that traces it. The tracee makes every stop in its
own context, at a place where its user registers are complete: before and after a system call, when
it takes a signal, for a stop of its job, when asked to, and at the events that a brand offers. The
tracer learns of a stop from wait, and ends it with `resume` or `detach`. A process may die under a
trace: its tracer then sees the end of each lwp, and first.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from lxemu.kernel.cred import PRIV_PROC_OWNER
from lxemu.kernel.cv import CondVar
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.mm import foreign
from lxemu.kernel.sched import TS_SLEEP
from lxemu.kernel.signal import (
    CLD_STOPPED,
    CLD_TRAPPED,
    SA_NOCLDSTOP,
    SI_KERNEL,
    SI_USER,
    SIG_IGN,
    SIGCHLD,
    SIGKILL,
    SIGSTOP,
    SIGTRAP,
    TRAP_TRACE,
    TRAP_WWATCH,
    SigInfo,
    sigmask,
)

if TYPE_CHECKING:
    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.proc import Proc

# Why an lwp has stopped (sys/procfs.h, pr_why).
PR_REQUESTED, PR_SIGNALLED, PR_SYSENTRY, PR_SYSEXIT, PR_JOBCONTROL = 1, 2, 3, 4, 5
PR_BRAND = 9

_KILL_BIT = sigmask(SIGKILL)


class Event(Enum):
    """The occasions for a PR_BRAND stop; a tracer asks for each of them."""

    FORK = "fork"
    VFORK = "vfork"
    CLONE = "clone"
    EXEC = "exec"
    VFORK_DONE = "vfork done"
    EXIT = "exit"
    FILTER = "filter"


class Stop(NamedTuple):
    """One stop: PR_* reason, the signal that wait reports, the event of a PR_BRAND stop.

    `marked`: the tracer wants stops at calls to look different from those for SIGTRAP. `seized`:
    it wants those for the job and on request to be told apart from those for signals.
    """

    why: int
    sig: int
    event: Event | None = None
    marked: bool = False
    seized: bool = False


class Watch:
    """Memory that is compared after each step (`size` bytes), or an address of code (size 0).

    reads: the memory is watched for reads too; its page is hidden then, and `touched` says that an
    access faulted. hit: what is watched for was seen.
    """

    __slots__ = ("addr", "hit", "index", "last", "reads", "size", "touched")

    def __init__(self, index: int, addr: int, size: int, *, reads: bool = False) -> None:
        self.index = index
        self.addr = addr
        self.size = size
        self.reads = reads
        self.touched = False
        self.last: bytes | None = None
        self.hit = False


class Trace:
    """The tie between a tracee and its tracer.

    lwp: the tracee, None once it is dead and only waits to be waited for; `end` then has its CLD_*
    code and status. stop: the stop it is in, None while it runs. report: wait has not told of the
    stop (or end) yet. calls, step, emulate: what the last `resume` asked for. info: siginfo of the
    stop for a signal, which the tracer may change. message: what an event is about (a new lwp's
    id, the code and status of an end). trap, notify: a stop is wanted, by request or because the
    job was stopped or continued. job_serial: the job stop that the tracee has shown.
    """

    __slots__ = (
        "calls",
        "cv",
        "dying",
        "emulate",
        "end",
        "events",
        "info",
        "job_serial",
        "kill_with_tracer",
        "listening",
        "lwp",
        "mark_calls",
        "may_stop",
        "message",
        "notify",
        "options",
        "proc",
        "report",
        "seized",
        "signal",
        "step",
        "stop",
        "tid",
        "tracer",
        "trap",
        "watches",
        "watchregs",
    )

    def __init__(self, lwp: Lwp, tracer: Lwp, *, seized: bool) -> None:
        self.lwp: Lwp | None = lwp
        self.proc = lwp.proc
        self.tid = lwp.tid
        self.tracer = tracer
        self.seized = seized
        self.events: frozenset[Event] = frozenset()
        self.mark_calls = False
        self.kill_with_tracer = False
        #: The brand's own word for what the four members above say.
        self.options = 0
        self.stop: Stop | None = None
        self.report = False
        self.listening = False
        self.trap = self.notify = False
        #: No SIGCONT has come since a stop signal was taken, so the job may stop.
        self.may_stop = False
        self.job_serial = -1
        self.calls = self.step = self.emulate = False
        self.signal = 0
        self.info: SigInfo | None = None
        self.message: int | tuple[int, int] = 0
        self.end: tuple[int, int] | None = None
        #: How it is to end, since the process does.
        self.dying: tuple[int, int] | None = None
        self.cv = CondVar()
        #: Memory and code that the tracee stops at, and the brand's registers that say so.
        self.watches: list[Watch] = []
        self.watchregs: list[int] | None = None

    @property
    def leader(self) -> bool:
        """Whether the tracee is the lwp whose end is that of its process."""
        return self.tid == self.proc.pid

    def tell(self, code: int, status: int) -> None:
        """Send the tracer its SIGCHLD and wake its waits."""
        proc = self.tracer.proc
        action = proc.sigacts[SIGCHLD]
        if action.handler != SIG_IGN and not action.flags & SA_NOCLDSTOP:
            info = self.proc.child_siginfo(SIGCHLD, code, status)._replace(pid=self.tid)
            proc.machine.sigtoproc(proc, SIGCHLD, info)
        proc.cv_child.broadcast()


# -- who may --------------------------------------------------------------------------------------


def may_examine(caller: Proc, target: Proc, *, effective: bool = False) -> bool:
    """Return whether `caller` may look into and change `target` (illumos prochasprocperm).

    The ids must agree, the target be dumpable and have no privilege that the caller lacks;
    PRIV_PROC_OWNER stands for all of it. `effective`: the caller's ids for files count, not its
    real ones.
    """
    if caller is target:
        return True
    mine, theirs = caller.cred, target.cred
    if mine.crhas(PRIV_PROC_OWNER):
        return True
    uid, gid = (mine.fsuid, mine.fsgid) if effective else (mine.ruid, mine.rgid)
    same = uid == theirs.ruid == theirs.euid == theirs.suid
    same = same and gid == theirs.rgid == theirs.egid == theirs.sgid
    return bool(same and target.dumpable == 1 and not theirs.permitted & ~mine.permitted)


def confines(proc: Proc) -> bool:
    """Return whether a tracer without privileges keeps `proc` from gaining any by exec."""
    return any(
        lwp.trace is not None and not lwp.trace.tracer.proc.cred.crhas(PRIV_PROC_OWNER)
        for lwp in proc.lwps
    )


# -- beginning and end ----------------------------------------------------------------------------


def tie(tracer: Lwp, lwp: Lwp, *, seized: bool) -> Trace:
    """Make `tracer` the tracer of `lwp`; EPERM when it has one."""
    if lwp.trace is not None:
        raise KernelError(Errno.EPERM)
    trace = lwp.trace = Trace(lwp, tracer, seized=seized)
    tracer.proc.tracees.append(trace)
    lwp.bind_calls()
    return trace


def attach(tracer: Lwp, lwp: Lwp, *, seized: bool) -> Trace:
    """Trace a running lwp: EPERM for one of the tracer's own, a traced, dead or protected one.

    Unless it is seized it is sent SIGSTOP. One that has stopped with its job shows that stop.
    """
    proc = lwp.proc
    if proc is tracer.proc or not may_examine(tracer.proc, proc) or proc.exiting:
        raise KernelError(Errno.EPERM)
    trace = tie(tracer, lwp, seized=seized)
    if proc is proc.machine.init:
        # It runs no code that could stop: it is as if it had.
        trace.stop = Stop(PR_SIGNALLED, SIGSTOP)
        trace.info = SigInfo(SIGSTOP, SI_KERNEL)
        trace.report = True
    elif not seized:
        lwp.machine.sigtolwp(lwp, SIGSTOP, SigInfo(SIGSTOP, SI_KERNEL))
    if proc.stopped:
        trace.trap = lwp.ast = True
        proc.cv_stop.broadcast()
    return trace


def trace_me(lwp: Lwp) -> None:
    """Have the parent trace `lwp`: EPERM when somebody does, or the parent runs no program."""
    parent = lwp.proc.parent
    if parent is None or parent.exiting or not parent.lwps:
        raise KernelError(Errno.EPERM)
    maker = lwp.proc.maker
    if maker is None or maker not in parent.lwps:
        maker = parent.lwp(parent.pid) or parent.lwps[0]
    tie(maker, lwp, seized=False)


def inherit(lwp: Lwp, new: Lwp) -> None:
    """Trace `new`, which the tracee `lwp` has made, as `lwp` is; it stops before its first step."""
    old = lwp.trace
    if old is None:
        return
    trace = tie(old.tracer, new, seized=old.seized)
    trace.events, trace.mark_calls = old.events, old.mark_calls
    trace.kill_with_tracer, trace.options = old.kill_with_tracer, old.options
    new.ast = True
    if old.seized:
        trace.trap = True
    else:
        new.sigq.post(SigInfo(SIGSTOP, SI_USER))


def untie(trace: Trace) -> None:
    """End a trace; a tracee that was stopped runs on, with `trace.signal` if that is set."""
    trace.tracer.proc.tracees.remove(trace)
    lwp = trace.lwp
    if lwp is None:
        return
    lwp.trace = None
    lwp.bind_calls()
    if trace.step or trace.watches:
        trace.step = False
        lwp.cpu.set_step(False)
    lwp.ast = True
    trace.stop = None
    trace.cv.broadcast()


def resume(
    trace: Trace, sig: int, *, calls: bool = False, step: bool = False, emulate: bool = False
) -> None:
    """Let a stopped tracee run on, to take `sig` (0: none) if it stopped for a signal.

    calls: it stops at its next system call. step: after its next instruction. emulate: at its next
    system call, which is then not made.
    """
    assert trace.lwp is not None
    trace.calls, trace.step, trace.emulate = calls, step, emulate
    trace.signal = sig
    trace.stop = None
    trace.report = trace.listening = False
    for watch in trace.watches:
        watch.last = foreign.read(trace.lwp.as_, watch.addr, watch.size)
        watch.touched = False
        if watch.reads:
            foreign.hide(trace.lwp.as_, watch.addr)
    trace.lwp.cpu.set_step(step or bool(trace.watches))
    trace.cv.broadcast()


def detach(trace: Trace, sig: int) -> None:
    """Let a stopped tracee go, with `sig` as for `resume`."""
    trace.signal = sig
    untie(trace)


def request_stop(trace: Trace) -> None:
    """Have a seized tracee stop as soon as it can."""
    lwp = trace.lwp
    assert lwp is not None
    trace.trap = lwp.ast = True
    _rouse(trace)


def listen(trace: Trace) -> None:
    """Leave a seized tracee stopped with its job; it stops anew when something happens to that."""
    trace.listening = True
    if trace.notify or trace.trap:
        _rouse(trace)


def continued(proc: Proc) -> None:
    """Note that SIGCONT was sent: no stop signal taken before counts, and seized lwps report."""
    for lwp in proc.lwps:
        trace = lwp.trace
        if trace is not None:
            trace.may_stop = False
            if trace.seized:
                trace.notify = lwp.ast = True
                _rouse(trace)


def _rouse(trace: Trace) -> None:
    """Wake a tracee that only listens, or sleeps in a call; one in another stop stays there."""
    if trace.listening:
        trace.listening = False
        trace.stop = None
        trace.cv.broadcast()
    elif trace.stop is None and trace.lwp is not None:
        lwp = trace.lwp
        if lwp.state == TS_SLEEP and lwp.sleep_sig:
            lwp.machine.disp.setrun(lwp)


# -- stops, in the tracee's context ---------------------------------------------------------------


def _dying(lwp: Lwp) -> int:
    return (lwp.sigq.pending | lwp.proc.sigq.pending) & _KILL_BIT


def stop(
    lwp: Lwp,
    why: int,
    sig: int = SIGTRAP,
    *,
    event: Event | None = None,
    info: SigInfo | None = None,
    message: int | tuple[int, int] | None = None,
) -> int:
    """Stop the running tracee until its tracer resumes it; return the signal it passed on.

    A pending SIGKILL ends the stop, or prevents it.
    """
    trace = lwp.trace
    if trace is None or trace.dying is not None or _dying(lwp):
        return 0
    trace.trap = trace.listening = False
    if why in (PR_JOBCONTROL, PR_REQUESTED):
        trace.notify = False
    if trace.step or trace.watches:
        trace.step = False
        lwp.cpu.set_step(False)
    trace.calls = trace.emulate = False
    trace.stop = Stop(why, sig, event, trace.mark_calls, trace.seized)
    trace.info = info
    if message is not None:
        trace.message = message
    trace.signal = 0
    trace.report = True
    lwp.restarting = True
    trace.tell(CLD_STOPPED if why == PR_JOBCONTROL else CLD_TRAPPED, sig)
    while trace.stop is not None and trace.cv.wait_kill():
        continue
    trace.stop = None
    trace.report = False
    return trace.signal


def hides_job(proc: Proc) -> bool:
    """Return whether the parent learns of the job's stops by tracing the process, so not twice."""
    leader = proc.lwp(proc.pid)
    trace = leader.trace if leader is not None else None
    return trace is not None and trace.tracer.proc is proc.parent


def event_stop(lwp: Lwp, event: Event, message: int | tuple[int, int]) -> bool:
    """Stop for an event if the tracer has asked for it; return whether it has."""
    trace = lwp.trace
    if trace is None or event not in trace.events:
        return False
    stop(lwp, PR_BRAND, event=event, message=message)
    return True


def executed(lwp: Lwp, old_tid: int) -> None:
    """Tell the tracer of a new program: by an event, or SIGTRAP if it did not ask for that."""
    trace = lwp.trace
    if trace is None or event_stop(lwp, Event.EXEC, old_tid):
        return
    if not trace.seized:
        lwp.machine.sigtolwp(lwp, SIGTRAP, SigInfo(SIGTRAP, SI_USER, pid=lwp.proc.pid))


def wants_stop(lwp: Lwp, trace: Trace) -> bool:
    """Return whether the tracee should stop for its job or on request."""
    proc = lwp.proc
    shown = not proc.stopped or trace.job_serial == proc.job_serial
    return trace.trap or trace.notify or not shown


def other_stop(lwp: Lwp, trace: Trace) -> bool:
    """Make a stop that `wants_stop` asks for; False if there is nothing to do."""
    if _dying(lwp) or not wants_stop(lwp, trace):
        return False
    proc = lwp.proc
    trace.trap = trace.notify = False
    if proc.stopped:
        trace.job_serial = proc.job_serial
        stop(lwp, PR_JOBCONTROL, proc.wait_status)
    else:
        stop(lwp, PR_REQUESTED)
    return True


def stepped(lwp: Lwp) -> int:
    """Return the TRAP_* code of a step that the tracee has made, 0 if nobody is to know of it."""
    trace = lwp.trace
    if trace is None or not trace.watches:
        return TRAP_TRACE
    found = False
    for watch in trace.watches:
        if watch.size:
            now = foreign.read(lwp.as_, watch.addr, watch.size)
            hit = watch.touched or now != watch.last
            watch.last = now
            watch.touched = False
            if watch.reads:
                foreign.hide(lwp.as_, watch.addr)
        else:
            hit = lwp.regs.pc == watch.addr
        if hit:
            watch.hit = found = True
    if trace.step:
        return TRAP_TRACE
    return TRAP_WWATCH if found else 0


def touched(trace: Trace, addr: int) -> None:
    """Note that the tracee is about to access `addr`, whose page is not there or hidden."""
    for watch in trace.watches:
        if watch.reads and watch.addr <= addr < watch.addr + watch.size:
            watch.touched = True


def hide_step(lwp: Lwp) -> None:
    """Keep the tracer's single step out of the registers that a signal frame is about to save."""
    trace = lwp.trace
    if trace is not None and (trace.step or trace.watches):
        lwp.cpu.set_step(False)


def handler_begins(lwp: Lwp) -> None:
    """Stop a tracee that makes a step at the first instruction of a signal handler."""
    trace = lwp.trace
    if trace is not None and trace.step:
        stop(lwp, PR_BRAND)
    elif trace is not None and trace.watches:
        lwp.cpu.set_step(True)


def signalled(lwp: Lwp, info: SigInfo) -> SigInfo | None:
    """Stop for a signal that the tracee is about to take; return what it takes in the end."""
    trace = lwp.trace
    assert trace is not None
    trace.may_stop = True
    sig = stop(lwp, PR_SIGNALLED, info.signo, info=info)
    if not sig:
        return None
    wanted = trace.info
    if wanted is None or wanted.signo != sig:
        sender = trace.tracer.proc
        wanted = SigInfo(sig, SI_USER, pid=sender.pid, uid=sender.cred.ruid)
    if lwp.sigmask >> (sig - 1) & 1:
        lwp.sigq.post(wanted)
        return None
    return wanted


# -- ends -----------------------------------------------------------------------------------------


def ends_itself(lwp: Lwp, code: int, status: int) -> bool:
    """Have a tracee that is to end with its process do so in its own context, if it can.

    Only so can it stop for the event before. False: nobody wants to know, or it sleeps where
    nothing wakes it.
    """
    trace = lwp.trace
    if trace is None or Event.EXIT not in trace.events:
        return False
    asleep = lwp.state == TS_SLEEP
    if asleep and not lwp.sleep_sig and not lwp.sleep_kill:
        return False
    trace.dying = code, status
    trace.stop = None
    trace.report = trace.listening = False
    lwp.ast = True
    if asleep:
        lwp.machine.disp.setrun(lwp)
    return True


def lwp_gone(lwp: Lwp, code: int, status: int) -> None:
    """Let go of an lwp that has ended, as a tracer and as a tracee."""
    for trace in tuple(lwp.proc.tracees):
        if trace.tracer is lwp:
            _abandon(trace)
    own = lwp.trace
    if own is None:
        return
    lwp.trace = None
    own.lwp = None
    own.stop = None
    own.end = code, status
    if own.leader:
        # It ends when the whole process has.
        lwp.proc.trace = own
    else:
        own.report = True
        own.tell(code, status)


def _abandon(trace: Trace) -> None:
    """End the trace of a tracer that has died."""
    proc = trace.proc
    if trace.kill_with_tracer and trace.lwp is not None:
        proc.machine.sigtoproc(proc, SIGKILL, SigInfo(SIGKILL, SI_KERNEL))
    trace.signal = 0
    untie(trace)
    if trace.lwp is None:
        _buried(trace)


def reap(trace: Trace) -> None:
    """Forget a dead tracee: its tracer knows of its end."""
    untie(trace)
    _buried(trace)


def _buried(trace: Trace) -> None:
    proc = trace.proc
    if not trace.leader:
        proc.machine.pid_free(trace.tid)
        return
    proc.trace = None
    if proc.zombie:
        from lxemu.kernel.exit import tell_death

        tell_death(proc)


def drop_leader(proc: Proc) -> None:
    """Forget the trace of a first lwp whose id another one takes over in exec."""
    trace = proc.trace
    if trace is not None:
        proc.trace = None
        untie(trace)
