"""sigaction(2), sigprocmask(2), sigtimedwait(2), kill(2), sigaltstack(2), signal(7)."""

from __future__ import annotations

import struct

import pytest

from lxemu.kernel.signal import SIGCHLD, SIGUSR1, SIGWINCH, SigAction, sigmask
from tests.unit.handlers_files.rig import BAD

USR1, USR2, KILL, STOP, CHLD, WINCH, RT1 = 10, 12, 9, 19, 17, 28, 35


def bit(*signals):
    return sum(1 << (s - 1) for s in signals)


def mask_at(guest, mask, at=0):
    guest.put(guest.buf + at, struct.pack("<Q", mask))
    return guest.buf + at


def read_mask(guest, at):
    return struct.unpack("<Q", guest.get(guest.buf + at, 8))[0]


def action(guest, handler, flags=0, mask=0, at=0x100):
    word = "Q" if guest.bits == 64 else "I"
    data = struct.pack(f"<3{word}Q", handler, flags, 0, mask)
    guest.put(guest.buf + at, data)
    return guest.buf + at


# -- actions ------------------------------------------------------------------------------------


def test_rt_sigaction_gives_back_what_was_set(guest):
    new = action(guest, 0x1234, 0x10000004, bit(USR2))
    assert guest.sys("rt_sigaction", USR1, new, 0, 8) == 0
    assert guest.sys("rt_sigaction", USR1, 0, guest.buf + 0x200, 8) == 0
    size = 32 if guest.bits == 64 else 20
    assert guest.get(guest.buf + 0x100, size) == guest.get(guest.buf + 0x200, size)


def test_rt_sigaction_takes_kill_and_stop_out_of_the_mask(guest):
    assert guest.sys("rt_sigaction", USR1, action(guest, 5, 0, bit(KILL, STOP, USR2)), 0, 8) == 0
    assert guest.proc.sigacts[SIGUSR1].mask == sigmask(17)


@pytest.mark.parametrize("signum", [KILL, STOP])
def test_rt_sigaction_of_kill_or_stop_einval(guest, signum):
    assert guest.sys("rt_sigaction", signum, action(guest, 1), 0, 8) == "EINVAL"
    assert guest.sys("rt_sigaction", signum, 0, guest.buf, 8) == 0


def test_rt_sigaction_to_ignore_discards_what_is_pending(guest):
    guest.lwp.sigmask = sigmask(SIGUSR1)
    guest.pending(USR1)
    assert guest.sys("rt_sigaction", USR1, action(guest, 1), 0, 8) == 0
    assert guest.proc.sigq.pending == 0


def test_rt_sigaction_to_default_discards_only_what_is_ignored_by_default(guest):
    guest.lwp.sigmask = sigmask(SIGUSR1, SIGWINCH)
    guest.pending(USR1, WINCH)
    for number in (USR1, WINCH):
        assert guest.sys("rt_sigaction", number, action(guest, 0), 0, 8) == 0
    assert guest.proc.sigq.pending == sigmask(SIGUSR1)


def test_old_signal_resets_and_does_not_defer(guest32):
    assert guest32.sys("signal", USR1, 0x1000) == 0
    assert guest32.sys("signal", USR1, 1) == 0x1000
    assert guest32.sys("signal", KILL, 1) == "EINVAL"
    assert guest32.sys("signal", 77, 1) == "EINVAL"


def test_old_sigaction_has_a_one_word_mask(guest32):
    guest32.put(guest32.buf, struct.pack("<4I", 0x1000, bit(USR2), 0x10000000, 0))
    assert guest32.sys("sigaction", USR1, guest32.buf, 0) == 0
    assert guest32.sys("sigaction", USR1, 0, guest32.buf + 32) == 0
    assert guest32.get(guest32.buf, 16) == guest32.get(guest32.buf + 32, 16)


# -- masks --------------------------------------------------------------------------------------


def test_rt_sigprocmask_block_unblock_set(guest):
    def change(how, mask):
        assert guest.sys("rt_sigprocmask", how, mask_at(guest, mask), guest.buf + 16, 8) == 0
        return read_mask(guest, 16)

    assert change(0, bit(USR1)) == 0
    assert change(0, bit(USR2, RT1)) == bit(USR1)
    assert change(1, bit(USR1)) == bit(USR1, USR2, RT1)
    assert change(2, bit(CHLD)) == bit(USR2, RT1)
    assert change(2, 0) == bit(CHLD)


def test_rt_sigprocmask_never_blocks_kill_and_stop(guest):
    assert guest.sys("rt_sigprocmask", 2, mask_at(guest, (1 << 64) - 1), 0, 8) == 0
    assert guest.sys("rt_sigprocmask", 0, 0, guest.buf, 8) == 0
    assert read_mask(guest, 0) == ((1 << 64) - 1) & ~bit(KILL, STOP)


def test_rt_sigprocmask_looks_at_how_only_with_a_set(guest):
    assert guest.sys("rt_sigprocmask", 9, 0, guest.buf, 8) == 0
    assert guest.sys("rt_sigprocmask", 9, mask_at(guest, 0), 0, 8) == "EINVAL"


def test_rt_sigprocmask_has_changed_the_mask_when_storing_the_old_one_fails(guest):
    assert guest.sys("rt_sigprocmask", 0, mask_at(guest, bit(USR1)), BAD, 8) == "EFAULT"
    assert guest.lwp.sigmask == sigmask(SIGUSR1)


def test_old_sigprocmask_set_keeps_the_upper_signals(guest32):
    guest32.sys("rt_sigprocmask", 2, mask_at(guest32, bit(USR1, 40)), 0, 8)
    guest32.put(guest32.buf, struct.pack("<I", bit(USR2)))
    assert guest32.sys("sigprocmask", 2, guest32.buf, 0) == 0
    guest32.sys("rt_sigprocmask", 0, 0, guest32.buf, 8)
    assert read_mask(guest32, 0) == bit(USR2, 40)


def test_sgetmask_and_ssetmask(guest32):
    assert guest32.sys("ssetmask", bit(USR1)) == 0
    assert guest32.sys("sgetmask") == bit(USR1)


def test_rt_sigpending_shows_blocked_ones_only(guest):
    guest.lwp.sigmask = sigmask(SIGUSR1)
    guest.pending(USR1, RT1)
    assert guest.sys("rt_sigpending", guest.buf, 8) == 0
    assert read_mask(guest, 0) == bit(USR1)


def test_rt_sigpending_stores_as_much_as_asked_for(guest):
    guest.put(guest.buf, b"\xff" * 8)
    assert guest.sys("rt_sigpending", guest.buf, 4) == 0
    assert guest.get(guest.buf, 8) == bytes(4) + b"\xff" * 4


# -- waiting ------------------------------------------------------------------------------------


def test_rt_sigtimedwait_takes_a_pending_signal(guest):
    guest.lwp.sigmask = sigmask(SIGUSR1)
    guest.pending(USR1)
    assert guest.sys("rt_sigtimedwait", mask_at(guest, bit(USR1)), guest.buf + 64, 0, 8) == USR1
    signo, _, code = struct.unpack("<3i", guest.get(guest.buf + 64, 12))
    assert (signo, code) == (USR1, 0)
    assert guest.proc.sigq.pending == 0


def test_rt_sigtimedwait_takes_the_lowest_linux_number_first(guest):
    guest.lwp.sigmask = sigmask(SIGUSR1, SIGCHLD)
    guest.pending(CHLD, USR1)
    assert guest.sys("rt_sigtimedwait", mask_at(guest, bit(USR1, CHLD)), 0, 0, 8) == USR1


def test_rt_sigtimedwait_with_no_time_eagain(guest):
    when = guest.spec(0, 0, at=32)
    name = "rt_sigtimedwait"
    assert guest.sys(name, mask_at(guest, bit(USR1)), 0, when, 8) == "EAGAIN"


def test_rt_sigtimedwait_with_a_bad_time_einval(guest):
    when = guest.spec(0, -1, at=32)
    assert guest.sys("rt_sigtimedwait", mask_at(guest, bit(USR1)), 0, when, 8) == "EINVAL"


def test_rt_sigtimedwait_times_out(guest):
    seen = []

    def body():
        when = guest.spec(1, 0, at=32)
        seen.append(guest.sys("rt_sigtimedwait", mask_at(guest, bit(USR1)), 0, when, 8))

    guest.start(body)
    assert seen == ["EAGAIN"]


def test_rt_sigtimedwait_wakes_for_a_signal_that_is_ignored_by_default(guest):
    """A waited-for signal is kept though its default is to be ignored (signal(7); sigwait)."""
    seen = []

    def waiter():
        seen.append(guest.sys("rt_sigtimedwait", mask_at(guest, bit(CHLD)), 0, 0, 8))

    def sender():
        guest.lwp.set_sigmask(sigmask(SIGCHLD))
        seen.append(guest.sys("kill", guest.proc.pid, CHLD))

    guest.start(waiter, sender)
    assert seen == [0, CHLD]
    assert guest.proc.sigq.pending == 0


def test_rt_sigtimedwait_leaves_the_mask_as_it_was(guest):
    seen = []

    def body():
        guest.sys("rt_sigtimedwait", mask_at(guest, bit(USR1)), 0, guest.spec(0, 5, at=32), 8)
        seen.append(guest.lwp.sigmask)

    guest.start(body)
    assert seen == [0]


def test_rt_sigsuspend_ends_with_eintr_and_the_old_mask(guest):
    seen = []
    guest.proc.sigacts[SIGUSR1] = SigAction(0x1000)

    def waiter():
        guest.lwp.set_sigmask(sigmask(SIGUSR1))
        seen.append(guest.sys("rt_sigsuspend", mask_at(guest, 0), 8))
        seen.append(guest.lwp.sigmask)

    def sender():
        guest.lwp.set_sigmask(sigmask(SIGUSR1))
        guest.sys("kill", guest.proc.pid, USR1)

    guest.start(waiter, sender)
    assert seen == ["EINTR", sigmask(SIGUSR1)]


def test_pause_ends_with_eintr(guest):
    guest.proc.sigacts[SIGUSR1] = SigAction(0x1000)
    seen = []

    def waiter():
        seen.append(guest.sys("pause"))

    def sender():
        guest.sys("tgkill", guest.proc.pid, min(guest.machine.lwp_by_tid), USR1)

    guest.start(waiter, sender)
    assert seen == ["EINTR"]


# -- sending ------------------------------------------------------------------------------------


def test_kill_with_0_only_looks(guest):
    assert guest.sys("kill", guest.proc.pid, 0) == 0
    assert guest.proc.sigq.pending == 0


def test_kill_esrch_comes_before_einval(guest):
    assert guest.sys("kill", 0x3FFFFF, 99) == "ESRCH"
    assert guest.sys("kill", guest.proc.pid, 99) == "EINVAL"


def test_kill_of_init_does_nothing(guest):
    assert guest.sys("kill", 1, KILL) == 0
    assert guest.machine.init.sigq.pending == 0


def test_kill_of_another_user_eperm(user):
    assert user.sys("kill", 1, USR1) == "EPERM"
    assert user.sys("kill", 1, 99) == "EINVAL"


def test_kill_all_without_anybody_else_esrch(guest):
    assert guest.sys("kill", -1 & 0xFFFFFFFF, 0) == "ESRCH"


def test_kill_all_passes_over_init_and_the_caller(guest):
    other = guest.machine._proc(guest.machine.pid_alloc(), guest.machine.init)
    other.lwps = [guest.lwp]
    guest.lwp.sigmask = sigmask(SIGUSR1)
    assert guest.sys("kill", -1 & 0xFFFFFFFF, USR1) == 0
    assert guest.proc.sigq.pending == 0
    assert other.sigq.pending == sigmask(SIGUSR1)


def test_kill_of_a_group_without_members_esrch(guest):
    assert guest.sys("kill", -4242 & 0xFFFFFFFF, 0) == "ESRCH"


def test_kill_of_ones_own_group(guest):
    guest.lwp.sigmask = sigmask(SIGUSR1)
    assert guest.sys("kill", 0, USR1) == 0
    assert guest.proc.sigq.pending == sigmask(SIGUSR1)


def test_tgkill_of_a_thread_of_another_process_esrch(guest):
    assert guest.sys("tgkill", 1, guest.lwp.tid, 0) == "ESRCH"


def test_tgkill_is_for_the_thread(guest):
    guest.lwp.sigmask = sigmask(SIGUSR1)
    assert guest.sys("tgkill", guest.proc.pid, guest.lwp.tid, USR1) == 0
    assert guest.lwp.sigq.pending == sigmask(SIGUSR1)
    assert guest.lwp.sigq.infos[SIGUSR1][0].code == -1


def test_rt_sigqueueinfo_hands_the_value_on(guest):
    data = struct.pack("<3i", 99, 0, -1).ljust(128, b"\7")
    guest.lwp.sigmask = sigmask(SIGUSR1)
    guest.put(guest.buf, data)
    assert guest.sys("rt_sigqueueinfo", guest.proc.pid, USR1, guest.buf) == 0
    guest.sys("rt_sigtimedwait", mask_at(guest, bit(USR1), 512), guest.buf + 128, 0, 8)
    assert guest.get(guest.buf + 128, 128) == struct.pack("<i", USR1) + data[4:]


def test_rt_sigqueueinfo_pretending_to_be_the_kernel_eperm(guest):
    guest.put(guest.buf, struct.pack("<3i", 0, 0, 0).ljust(128, b"\0"))
    assert guest.sys("rt_sigqueueinfo", 1, USR1, guest.buf) == "EPERM"
    assert guest.sys("rt_sigqueueinfo", guest.proc.pid, 0, guest.buf) == 0


def test_rt_sigqueueinfo_over_the_limit_eagain(guest):
    guest.proc.rctls.set(20, 1, 1)
    guest.lwp.sigmask = (1 << 74) - 1
    guest.put(guest.buf, struct.pack("<3i", 0, 0, -1).ljust(128, b"\0"))
    assert guest.sys("rt_sigqueueinfo", guest.proc.pid, RT1, guest.buf) == 0
    assert guest.sys("rt_sigqueueinfo", guest.proc.pid, RT1, guest.buf) == "EAGAIN"
    assert guest.sys("kill", guest.proc.pid, RT1) == 0, "kill(2) is let through"


# -- alternate stacks ---------------------------------------------------------------------------


def stack(guest, sp, flags, size, at=0):
    if guest.bits == 64:
        guest.put(guest.buf + at, struct.pack("<QiiQ", sp, flags, 0, size))
    else:
        guest.put(guest.buf + at, struct.pack("<IiI", sp, flags, size))
    return guest.buf + at


def test_sigaltstack_gives_back_what_was_set(guest):
    assert guest.sys("sigaltstack", stack(guest, 0x10000, 0, 8192), 0) == 0
    assert guest.sys("sigaltstack", 0, guest.buf + 64) == 0
    size = 24 if guest.bits == 64 else 12
    assert guest.get(guest.buf, size) == guest.get(guest.buf + 64, size)


def test_sigaltstack_too_small_enomem(guest):
    assert guest.sys("sigaltstack", stack(guest, 0x10000, 0, 2047), 0) == "ENOMEM"


def test_sigaltstack_bad_flags_einval(guest):
    assert guest.sys("sigaltstack", stack(guest, 0x10000, 4, 8192), 0) == "EINVAL"


def test_sigaltstack_in_use_eperm_and_shown(guest):
    guest.sys("sigaltstack", stack(guest, 0x10000, 0, 8192), 0)
    guest.lwp.regs.sp = 0x10100
    assert guest.sys("sigaltstack", stack(guest, 0x20000, 0, 8192), 0) == "EPERM"
    assert guest.sys("sigaltstack", 0, guest.buf) == 0
    assert guest.u32(guest.buf + guest.bits // 8) == 1


def test_sigaltstack_disable(guest):
    guest.sys("sigaltstack", stack(guest, 0x10000, 0, 8192), 0)
    assert guest.sys("sigaltstack", stack(guest, 0, 2, 0), 0) == 0
    assert guest.sys("sigaltstack", 0, guest.buf) == 0
    assert guest.u32(guest.buf + guest.bits // 8) == 2


def test_restart_syscall_eintr(guest):
    assert guest.sys("restart_syscall") == "EINTR"
