"""Dispatcher, condition variables, signals, exit and wait, on a machine without a CPU."""

from __future__ import annotations

import pytest

from lxemu.kernel import sig
from lxemu.kernel.cv import CondVar
from lxemu.kernel.errno import Errno, Interrupted, KernelError
from lxemu.kernel.exit import (
    P_ALL,
    P_PID,
    WCONTINUED,
    WEXITED,
    WNOHANG,
    WSTOPPED,
    proc_exit,
    waitid,
)
from lxemu.kernel.session import setpgid, setsid
from lxemu.kernel.signal import (
    CLD_CONTINUED,
    CLD_EXITED,
    CLD_KILLED,
    CLD_STOPPED,
    SA_NOCLDWAIT,
    SA_RESETHAND,
    SIG_IGN,
    SIGALRM,
    SIGCHLD,
    SIGCONT,
    SIGHUP,
    SIGKILL,
    SIGRTMIN,
    SIGSEGV,
    SIGSTOP,
    SIGTERM,
    SIGTSTP,
    SIGUSR1,
    SIGUSR2,
    SigAction,
    SigInfo,
    sigmask,
)
from lxemu.kernel.timer import ITIMER_REAL, Itimer
from tests.unit.kernel.fakes import FakeMachine

HANDLER = 0x1000


@pytest.fixture
def machine():
    return FakeMachine()


def test_two_lwps_hand_a_condition_over(machine):
    turn, ready = [], CondVar()

    def consumer(_lwp):
        while not turn:
            ready.wait()
        turn.append("consumed")

    def producer(_lwp):
        turn.append("made")
        ready.signal()

    machine.spawn(consumer)
    machine.spawn(producer)
    machine.run()

    assert turn == ["made", "consumed"]


def test_wait_until_times_out_at_the_deadline(machine):
    seen = []

    def body(_lwp):
        start = machine.clock.now
        seen.append(CondVar().wait_sig_until(start + 5_000_000))
        seen.append(machine.clock.now - start >= 5_000_000)

    machine.spawn(body)
    machine.run()

    assert seen == [False, True]
    assert machine.disp.next_deadline() is None


def test_signal_interrupts_a_sleep_and_runs_the_handler(machine):
    out = []

    def sleeper(lwp):
        lwp.proc.sigacts[SIGUSR1] = SigAction(HANDLER)
        try:
            CondVar().wait_sig()
        except Interrupted:
            out.append("EINTR")
        machine.ast(lwp)

    target = machine.spawn(sleeper)
    machine.spawn(lambda _lwp: sig.sigtoproc(target.proc, SIGUSR1))
    machine.run()

    assert out == ["EINTR"]
    assert machine.brand.delivered == [(target.tid, SIGUSR1, 0, 0)]


def test_ignored_signal_does_not_wake_a_sleep(machine):
    done = CondVar()
    order = []

    def sleeper(lwp):
        lwp.proc.sigacts[SIGUSR1] = SigAction(SIG_IGN)
        done.wait_sig()
        order.append("woken")

    target = machine.spawn(sleeper)

    def sender(_lwp):
        sig.sigtoproc(target.proc, SIGUSR1)
        order.append("sent")
        done.signal()

    machine.spawn(sender)
    machine.run()

    assert order == ["sent", "woken"]


def test_stop_and_continue_keep_the_sleep(machine):
    """A stopped and continued lwp goes on sleeping: no EINTR (signal(7))."""
    done, order = CondVar(), []

    def sleeper(_lwp):
        while "go" not in order:
            done.wait_sig()
        order.append("woken")

    target = machine.spawn(sleeper)

    def sender(lwp):
        sig.sigtoproc(target.proc, SIGSTOP)
        machine.disp.yield_(lwp)
        assert target.proc.stopped
        sig.sigtoproc(target.proc, SIGCONT)
        machine.disp.yield_(lwp)
        order.append("go")
        done.signal()

    machine.spawn(sender)
    machine.run()

    assert order == ["go", "woken"]


def test_default_action_kills_a_sleeper(machine):
    target = machine.spawn(lambda lwp: (_sleep_for_ever(), machine.ast(lwp)))
    machine.spawn(lambda _lwp: sig.sigtoproc(target.proc, SIGTERM))
    machine.run()

    assert (target.proc.pid, CLD_KILLED, SIGTERM) in machine.log


def _sleep_for_ever():
    try:
        CondVar().wait_sig()
    except Interrupted:
        return


def test_sigkill_wakes_a_stopped_process(machine):
    target = machine.spawn(lambda lwp: (_sleep_for_ever(), machine.ast(lwp)))

    def killer(lwp):
        sig.sigtoproc(target.proc, SIGSTOP)
        machine.disp.yield_(lwp)
        sig.sigtoproc(target.proc, SIGKILL)

    machine.spawn(killer)
    machine.run()

    assert (target.proc.pid, CLD_KILLED, SIGKILL) in machine.log


def test_blocked_signal_stays_pending_until_unblocked(machine):
    seen = []

    def body(lwp):
        lwp.proc.sigacts[SIGUSR1] = SigAction(HANDLER)
        lwp.set_sigmask(sigmask(SIGUSR1))
        sig.sigtoproc(lwp.proc, SIGUSR1)
        sig.sigtoproc(lwp.proc, SIGUSR1)
        seen.append(sig.issig(lwp))
        lwp.set_sigmask(0)
        seen.append(lwp.ast)
        machine.ast(lwp)

    machine.spawn(body)
    machine.run()

    assert seen == [False, True]
    assert len(machine.brand.delivered) == 1


def test_real_time_signals_queue_in_order(machine):
    def body(lwp):
        first, second = SIGRTMIN + 1, SIGRTMIN
        for number in (first, second):
            lwp.proc.sigacts[number] = SigAction(HANDLER)
        lwp.set_sigmask(sigmask(first, second))
        for value, number in enumerate((first, second, first)):
            sig.sigtoproc(lwp.proc, number, SigInfo(number, value))
        taken = []
        while (info := sig.take(lwp, sigmask(first, second))) is not None:
            taken.append((info.signo, info.code))
        assert taken == [(second, 1), (first, 0), (first, 2)]

    machine.spawn(body)
    machine.run()


def test_resethand_runs_once(machine):
    def body(lwp):
        lwp.proc.sigacts[SIGUSR1] = SigAction(HANDLER, SA_RESETHAND)
        sig.sigtoproc(lwp.proc, SIGUSR1)
        machine.ast(lwp)
        assert lwp.proc.sigacts[SIGUSR1].handler == 0

    machine.spawn(body)
    machine.run()

    assert len(machine.brand.delivered) == 1


def test_handler_mask_blocks_the_signal_itself(machine):
    def body(lwp):
        lwp.proc.sigacts[SIGUSR1] = SigAction(HANDLER, mask=sigmask(SIGUSR2))
        sig.sigtoproc(lwp.proc, SIGUSR1)
        machine.ast(lwp)
        assert lwp.sigmask == sigmask(SIGUSR1, SIGUSR2)

    machine.spawn(body)
    machine.run()


def test_fault_while_blocked_kills(machine):
    def body(lwp):
        lwp.proc.sigacts[SIGSEGV] = SigAction(HANDLER)
        lwp.set_sigmask(sigmask(SIGSEGV))
        sig.trapsig(lwp, SigInfo(SIGSEGV, 1, addr=8))
        machine.ast(lwp)

    target = machine.spawn(body)
    machine.run()

    assert machine.log == [(target.proc.pid, CLD_KILLED, SIGSEGV)]


def test_wait_returns_the_exit_status_and_frees_the_child(machine):
    got = []

    def parent(lwp):
        child = machine.fork(lwp, lambda new: proc_exit(new, CLD_EXITED, 7))
        got.append(waitid(lwp, P_PID, child.proc.pid, WEXITED))
        with pytest.raises(KernelError) as error:
            waitid(lwp, P_ALL, 0, WEXITED)
        assert error.value.errno is Errno.ECHILD
        assert child.proc.pid not in machine.procs

    machine.spawn(parent)
    machine.run()

    assert (got[0].code, got[0].status) == (CLD_EXITED, 7)


def test_wait_nohang_with_a_living_child_gives_none(machine):
    def parent(lwp):
        child = machine.fork(lwp, lambda _new: _sleep_for_ever())
        assert waitid(lwp, P_ALL, 0, WEXITED | WNOHANG) is None
        sig.sigtoproc(child.proc, SIGKILL)

    machine.spawn(parent)
    machine.run()


def test_wait_reports_stop_then_continue(machine):
    got = []

    def parent(lwp):
        child = machine.fork(lwp, lambda _new: _sleep_for_ever())
        sig.sigtoproc(child.proc, SIGSTOP)
        got.append(waitid(lwp, P_ALL, 0, WSTOPPED).code)
        sig.sigtoproc(child.proc, SIGCONT)
        got.append(waitid(lwp, P_ALL, 0, WCONTINUED).code)
        sig.sigtoproc(child.proc, SIGKILL)

    machine.spawn(parent)
    machine.run()

    assert got == [CLD_STOPPED, CLD_CONTINUED]


@pytest.mark.parametrize("action", [SigAction(SIG_IGN), SigAction(0, SA_NOCLDWAIT)])
def test_child_of_a_parent_that_ignores_sigchld_leaves_no_zombie(machine, action):
    def parent(lwp):
        lwp.proc.sigacts[SIGCHLD] = action
        machine.fork(lwp, lambda new: proc_exit(new, CLD_EXITED, 0))
        with pytest.raises(KernelError):
            waitid(lwp, P_ALL, 0, WEXITED)

    machine.spawn(parent)
    machine.run()

    assert list(machine.procs) == [1]


def test_orphans_go_to_init_and_are_reaped(machine):
    def child(new):
        machine.fork(new, lambda _grand: _sleep_a_little(machine))

    def parent(lwp):
        machine.fork(lwp, child)
        waitid(lwp, P_ALL, 0, WEXITED)

    machine.spawn(parent)
    machine.run()

    assert list(machine.procs) == [1]
    assert machine.init.children == []


def _sleep_a_little(machine):
    deadline = machine.clock.now + 1_000_000
    while CondVar().wait_sig_until(deadline):
        pass


def test_exit_of_a_leader_hangs_up_an_orphaned_stopped_group(machine):
    """POSIX _exit: SIGHUP and SIGCONT to a newly orphaned group with a stopped member."""
    kinds = []

    def job(lwp):
        lwp.proc.sigacts[SIGHUP] = SigAction(HANDLER)
        _sleep_for_ever()
        kinds.append("hup")
        machine.ast(lwp)

    def shell(lwp):
        child = machine.fork(lwp, job)
        setpgid(lwp.proc, child.proc, child.proc.pid)
        sig.sigtoproc(child.proc, SIGTSTP)
        waitid(lwp, P_ALL, 0, WSTOPPED)

    machine.spawn(shell)
    machine.run()

    assert kinds == ["hup"]


def test_itimer_interval_repeats(machine):
    hits = []

    def body(lwp):
        lwp.proc.sigacts[SIGALRM] = SigAction(HANDLER)
        timer = Itimer(lwp.proc, ITIMER_REAL)
        lwp.proc.itimers[ITIMER_REAL] = timer
        timer.set(1_000_000, 2_000_000)
        while len(machine.brand.delivered) < 3:
            _sleep_for_ever()
            machine.ast(lwp)
            lwp.set_sigmask(0)
            hits.append(machine.clock.now)

    machine.spawn(body)
    machine.run()

    assert len(hits) == 3
    assert machine.disp.next_deadline() is None


def test_exit_unwinds_other_lwps_of_the_process(machine):
    cleaned = []

    def thread(_lwp):
        try:
            CondVar().wait()
        finally:
            cleaned.append("unwound")

    def main(lwp):
        machine.fork(lwp, thread, thread=True, share_as=True)
        machine.disp.yield_(lwp)
        proc_exit(lwp, CLD_EXITED, 3)

    target = machine.spawn(main)
    machine.run()

    assert cleaned == ["unwound"]
    assert machine.nlwps == 0
    assert machine.log == [(target.proc.pid, CLD_EXITED, 3)]


def test_vfork_parent_waits_for_the_child(machine):
    order = []

    def child(_new):
        order.append("child")

    def parent(lwp):
        machine.fork(lwp, child, vfork=True, share_as=True)
        order.append("parent")

    machine.spawn(parent)
    machine.run()

    assert order == ["child", "parent"]


def test_setsid_of_a_group_leader_fails(machine):
    def body(lwp):
        with pytest.raises(KernelError) as error:
            setsid(lwp.proc)
        assert error.value.errno is Errno.EPERM
        child = machine.fork(lwp, lambda new: setsid(new.proc))
        waitid(lwp, P_ALL, 0, WEXITED)
        assert child.proc.session.sid == child.proc.pid

    machine.spawn(body)
    machine.run()


def test_many_lwps_that_start_while_others_sleep(machine):
    """A new kernel context starts at the depth of whoever switches to it: that must not add up."""
    cv = CondVar()
    ended = []

    def body(lwp):
        if len(cv.waiters) < 399:
            cv.wait()
        else:
            cv.broadcast()
        ended.append(lwp.tid)

    for _ in range(400):
        machine.spawn(body)
    machine.run()

    assert len(ended) == 400
