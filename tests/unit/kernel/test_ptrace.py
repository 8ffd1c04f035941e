"""Tracing in the kernel core: stops, waits, signals and ends, on a machine without a CPU.

The reference of the outcomes is ptrace(2); the same is compared natively in fixtures/src/ptrace.
"""

from __future__ import annotations

import pytest

from lxemu.kernel import exit as kexit
from lxemu.kernel import ptrace, sig
from lxemu.kernel.cred import Cred
from lxemu.kernel.cv import CondVar
from lxemu.kernel.errno import Errno, Interrupted, KernelError
from lxemu.kernel.ptrace import PR_BRAND, PR_JOBCONTROL, PR_REQUESTED, PR_SIGNALLED, Event
from lxemu.kernel.signal import (
    CLD_EXITED,
    CLD_KILLED,
    CLD_STOPPED,
    CLD_TRAPPED,
    SI_USER,
    SIGCHLD,
    SIGCONT,
    SIGKILL,
    SIGSTOP,
    SIGTERM,
    SIGUSR1,
    SIGUSR2,
    SigAction,
    SigInfo,
)

from .fakes import FakeMachine

WAIT = kexit.WEXITED | kexit.WTRAPPED


@pytest.fixture
def machine():
    made = FakeMachine()
    made.issig = sig.issig_asleep
    return made


def wait(lwp, pid, options=WAIT):
    return kexit.waitid(lwp, kexit.P_PID, pid, options)


def looped(machine):
    """Return a body that takes signals, as user mode does, until the tracer has had enough."""

    def body(lwp):
        cv = CondVar()
        lwp.brand_data = cv
        while lwp.name != b"enough":
            try:
                cv.wait_sig()
            except Interrupted:
                machine.ast(lwp)

    return body


def end(lwp):
    """Let the body of `looped` end."""
    lwp.name = b"enough"
    lwp.brand_data.broadcast()


def traced(machine, scenario, *, seized=False):
    """Run `scenario(tracer, child, trace)` in a process that traces a child of its own."""
    seen = []

    def tracer(lwp):
        child = machine.fork(lwp, looped(machine))
        machine.disp.yield_(lwp)
        trace = ptrace.attach(lwp, child, seized=seized)
        seen.append(scenario(lwp, child, trace))

    machine.spawn(tracer)
    machine.run()
    return seen[0] if seen else None


def test_attach_stops_for_sigstop_which_can_be_suppressed(machine):
    def scenario(lwp, child, trace):
        info = wait(lwp, child.tid)
        ptrace.resume(trace, 0)
        end(child)
        return info, wait(lwp, child.tid)

    first, last = traced(machine, scenario)

    assert (first.code, first.status) == (CLD_TRAPPED, SIGSTOP)
    assert first.stop.why == PR_SIGNALLED
    assert (last.code, last.status) == (CLD_EXITED, 0)
    assert machine.nlwps == 0


def test_a_passed_signal_is_another_one_with_the_tracers_siginfo(machine):
    def scenario(lwp, child, trace):
        child.proc.sigacts[SIGUSR1] = child.proc.sigacts[SIGUSR2] = SigAction(0x1000)
        wait(lwp, child.tid)
        ptrace.resume(trace, 0)
        sig.sigtolwp(child, SIGUSR1, SigInfo(SIGUSR1, SI_USER, pid=77))
        wait(lwp, child.tid)
        ptrace.resume(trace, SIGUSR2)
        machine.disp.yield_(lwp)
        delivered = list(machine.brand.delivered)
        end(child)
        wait(lwp, child.tid)
        return delivered, child.tid

    delivered, tid = traced(machine, scenario)

    assert [(who, signo) for who, signo, _, _ in delivered] == [(tid, SIGUSR2)]


def test_an_ignored_signal_is_shown(machine):
    def scenario(lwp, child, trace):
        wait(lwp, child.tid)
        ptrace.resume(trace, 0)
        sig.sigtoproc(child.proc, SIGCHLD)
        info = wait(lwp, child.tid)
        ptrace.resume(trace, SIGCHLD)
        end(child)
        wait(lwp, child.tid)
        return info.status

    assert traced(machine, scenario) == SIGCHLD


def test_sigkill_needs_no_tracer(machine):
    def scenario(lwp, child, trace):
        wait(lwp, child.tid)
        sig.sigtoproc(child.proc, SIGKILL)
        return wait(lwp, child.tid)

    info = traced(machine, scenario)

    assert (info.code, info.status) == (CLD_KILLED, SIGKILL)


def test_a_seized_tracee_stops_on_request_and_shows_stops_of_its_job(machine):
    def scenario(lwp, child, trace):
        whys = []
        ptrace.request_stop(trace)
        whys.append(wait(lwp, child.tid).stop.why)
        ptrace.resume(trace, 0)
        sig.sigtoproc(child.proc, SIGSTOP)
        whys.append(wait(lwp, child.tid).stop.why)
        ptrace.resume(trace, SIGSTOP)
        whys.append(wait(lwp, child.tid).stop.why)
        ptrace.listen(trace)
        assert wait(lwp, child.tid, WAIT | kexit.WNOHANG) is None
        sig.sigtoproc(child.proc, SIGCONT)
        whys.append(wait(lwp, child.tid).stop.why)
        ptrace.resume(trace, 0)
        whys.append(wait(lwp, child.tid).status)
        ptrace.resume(trace, 0)
        end(child)
        wait(lwp, child.tid)
        return whys

    assert traced(machine, scenario, seized=True) == [
        PR_REQUESTED,
        PR_SIGNALLED,
        PR_JOBCONTROL,
        PR_REQUESTED,
        SIGCONT,
    ]


def test_detach_leaves_a_stopped_job_stopped(machine):
    def scenario(lwp, child, trace):
        wait(lwp, child.tid)
        ptrace.detach(trace, SIGSTOP)
        info = wait(lwp, child.tid, WAIT | kexit.WSTOPPED)
        sig.sigtoproc(child.proc, SIGCONT)
        end(child)
        return info.code, info.status, wait(lwp, child.tid).code

    assert traced(machine, scenario) == (CLD_STOPPED, SIGSTOP, CLD_EXITED)


@pytest.mark.parametrize("kill", [False, True])
def test_the_death_of_a_tracer_frees_or_kills_the_tracee(machine, kill):
    seen = []

    def parent(lwp):
        child = machine.fork(lwp, looped(machine))
        machine.disp.yield_(lwp)

        def tracer(other):
            trace = ptrace.attach(other, child, seized=True)
            trace.kill_with_tracer = kill
            ptrace.request_stop(trace)
            seen.append(wait(other, child.tid).code)

        tracing = machine.fork(lwp, tracer)
        seen.append(wait(lwp, tracing.tid).code)
        if not kill:
            assert child.trace is None
            end(child)
        seen.append(wait(lwp, child.tid).code)

    machine.spawn(parent)
    machine.run()

    assert seen == [CLD_TRAPPED, CLD_EXITED, CLD_KILLED if kill else CLD_EXITED]


def test_the_tracer_sees_the_end_before_the_parent(machine):
    order = []

    def parent(lwp):
        child = machine.fork(lwp, looped(machine))
        machine.disp.yield_(lwp)

        def tracer(other):
            ptrace.attach(other, child, seized=True)
            end(child)
            machine.disp.yield_(other)
            machine.disp.yield_(other)
            order.append(("tracer", wait(other, child.tid).code))

        tracing = machine.fork(lwp, tracer)
        order.append(("parent", wait(lwp, child.tid).code))
        wait(lwp, tracing.tid)

    machine.spawn(parent)
    machine.run()

    assert order == [("tracer", CLD_EXITED), ("parent", CLD_EXITED)]


def test_events_of_fork_and_exit_carry_messages(machine):
    def tracer(lwp):
        def body(child):
            ptrace.trace_me(child)
            child.trace.events = frozenset({Event.FORK, Event.EXIT})
            machine.fork(child, lambda new: machine.ast(new))
            kexit.proc_exit(child, CLD_EXITED, 3)

        child = machine.fork(lwp, body)
        fork = wait(lwp, child.tid)
        new = child.trace.message
        seen.append((fork.stop.why, fork.stop.event))
        seen.append(wait(lwp, new).status)
        ptrace.resume(machine.lwps[new].trace, 0)
        seen.append((wait(lwp, new).stop.event, machine.lwps[new].trace.message))
        ptrace.resume(machine.lwps[new].trace, 0)
        seen.append(wait(lwp, new).code)
        ptrace.resume(child.trace, 0)
        seen.append((wait(lwp, child.tid).stop.event, child.trace.message))
        ptrace.resume(child.trace, 0)
        seen.append(wait(lwp, child.tid).status)

    seen = []
    machine.lwps = {}
    started = machine.lwp_started

    def noted(lwp):
        machine.lwps[lwp.tid] = lwp
        started(lwp)

    machine.lwp_started = noted
    machine.spawn(tracer)
    machine.run()

    assert seen == [
        (PR_BRAND, Event.FORK),
        SIGSTOP,
        (Event.EXIT, (CLD_EXITED, 0)),
        CLD_EXITED,
        (Event.EXIT, (CLD_EXITED, 3)),
        3,
    ]


def test_nobody_traces_himself_or_twice(machine):
    def scenario(lwp, child, _trace):
        errors = []
        for target in (lwp, child):
            with pytest.raises(KernelError) as error:
                ptrace.attach(lwp, target, seized=True)
            errors.append(error.value.errno)
        end(child)
        wait(lwp, child.tid)
        return errors

    assert traced(machine, scenario, seized=True) == [Errno.EPERM, Errno.EPERM]


USER = Cred.for_user(1000, 1000)
CASES = {
    "same user": (USER, USER, 1, True),
    "root": (Cred(), USER, 0, True),
    "another user": (USER, Cred.for_user(1001, 1000), 1, False),
    "another group": (USER, Cred.for_user(1000, 1001), 1, False),
    "root's process": (USER, Cred(), 1, False),
    "not dumpable": (USER, USER, 0, False),
    "saved id of root": (USER, USER.with_(suid=0, privs=USER.privs), 1, False),
    "more privileges": (USER, USER.with_(permitted=Cred().privs, privs=USER.privs), 1, False),
}


@pytest.mark.parametrize("case", CASES)
def test_who_may_look_into_a_process(machine, case):
    mine, theirs, dumpable, allowed = CASES[case]
    one, two = machine._proc(50, machine.init), machine._proc(51, machine.init)
    one.cred, two.cred, two.dumpable = mine, theirs, dumpable

    assert ptrace.may_examine(one, two) is allowed
    assert ptrace.may_examine(one, one)


def test_exit_status_of_the_last_lwp_counts(machine):
    seen = []

    def parent(lwp):
        def first(child):
            machine.fork(child, lambda other: kexit.lwp_exit(other, CLD_EXITED, 11), thread=True)
            kexit.lwp_exit(child, CLD_EXITED, 5)

        child = machine.fork(lwp, first)
        seen.append(wait(lwp, child.proc.pid).status)

    machine.spawn(parent)
    machine.run()

    assert seen == [11]


def test_a_term_signal_does_not_end_a_stop(machine):
    def scenario(lwp, child, trace):
        wait(lwp, child.tid)
        sig.sigtoproc(child.proc, SIGTERM)
        machine.disp.yield_(lwp)
        still = trace.stop is not None
        ptrace.resume(trace, 0)
        shown = wait(lwp, child.tid).status
        ptrace.resume(trace, SIGTERM)
        return still, shown, wait(lwp, child.tid).code

    assert traced(machine, scenario) == (True, SIGTERM, CLD_KILLED)
