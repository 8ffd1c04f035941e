"""clone(2), clone3(2), wait4(2), waitid(2), unshare(2): flags, ids and what is shared."""

from __future__ import annotations

import struct

import pytest

from lxemu.kernel.signal import CLD_EXITED, CLD_KILLED, SIGCHLD, SIGKILL, SIGUSR1, SigAction
from tests.unit.handlers_files.rig import BAD

VM, FS, FILES, SIGHAND, VFORK, PARENT = 0x100, 0x200, 0x400, 0x800, 0x4000, 0x8000
THREAD, SETTLS, PARENT_SETTID, CHILD_CLEARTID, CHILD_SETTID = (
    0x10000,
    0x80000,
    0x100000,
    0x200000,
    0x1000000,
)
SHARE = VM | FS | FILES | SIGHAND | THREAD


def clone(guest, flags, stack=0, ptid=0, ctid=0, tls=0):
    order = (ptid, ctid, tls) if guest.bits == 64 else (ptid, tls, ctid)
    return guest.sys("clone", flags, stack, *order)


def user_desc(guest, entry, base=0x5000, at=0x300):
    guest.put(guest.buf + at, struct.pack("<4I", entry, base, 0xFFFFF, 0x51))
    return guest.buf + at


def test_thread_shares_everything_and_has_its_stack_and_tls(guest):
    tls = 0x7000 if guest.bits == 64 else user_desc(guest, 12)
    flags = SHARE | SETTLS | PARENT_SETTID | CHILD_CLEARTID | CHILD_SETTID
    tid = clone(guest, flags, 0x9000, guest.buf, guest.buf + 4, tls)
    new = guest.machine.lwp_by_tid[tid]

    assert new.proc is guest.proc
    assert new.cpu.sp == 0x9000
    assert new.cpu.ret == 0
    assert guest.u32(guest.buf) == guest.u32(guest.buf + 4) == tid
    assert new.clear_child_tid == guest.buf + 4
    if guest.bits == 64:
        assert new.cpu.fs_base == 0x7000
    else:
        assert new.cpu.tls[0] != 0


def test_fork_copies(guest):
    guest.proc.sigacts[SIGUSR1] = SigAction(0x1000)
    pid = guest.sys("fork")
    child = guest.machine.procs[pid]

    assert child.parent is guest.proc
    assert child.as_ is not guest.proc.as_
    assert child.files is not guest.proc.files
    assert child.fs is not guest.proc.fs
    assert child.sigacts is not guest.proc.sigacts
    assert child.sigacts[SIGUSR1].handler == 0x1000
    assert child.exit_signal == SIGCHLD


@pytest.mark.parametrize(
    ("flag", "member"), [(VM, "as_"), (FS, "fs"), (FILES, "files"), (VM | SIGHAND, "sigacts")]
)
def test_clone_shares_what_is_asked_for(guest, flag, member):
    child = guest.machine.procs[clone(guest, flag | 17, 0x9000)]

    assert getattr(child, member) is getattr(guest.proc, member)


def test_clone_exit_signal_is_the_low_byte(guest):
    assert guest.machine.procs[clone(guest, 10)].exit_signal == SIGUSR1
    assert guest.machine.procs[clone(guest, 0)].exit_signal == 0


def test_clone_parent_makes_a_sibling(guest):
    assert guest.machine.procs[clone(guest, PARENT)].parent is guest.machine.init


def test_clone_bad_tid_pointers_are_nobodys_error(guest):
    assert isinstance(clone(guest, PARENT_SETTID | CHILD_SETTID | 17, 0, BAD, BAD), int)


def test_clone_bad_tls(guest):
    if guest.bits == 64:
        assert clone(guest, SHARE | SETTLS, 0x9000, tls=1 << 62) == "EPERM"
    else:
        assert clone(guest, SHARE | SETTLS, 0x9000, tls=BAD) == "EFAULT"
        assert clone(guest, SHARE | SETTLS, 0x9000, tls=user_desc(guest, 15)) == "EINVAL"
    assert len(guest.proc.lwps) == 1


@pytest.mark.parametrize(
    "flags",
    [THREAD, SIGHAND, THREAD | SIGHAND, FS | 0x20000, FS | 0x10000000],
)
def test_clone_senseless_or_absent_einval(guest, flags):
    assert clone(guest, flags, 0x9000) == "EINVAL"


@pytest.mark.parametrize("flags", [0x20000, 0x4000000, 0x20000000, 0x40000000])
def test_clone_of_a_namespace_without_privilege_eperm(user, flags):
    assert clone(user, flags) == "EPERM"


def clone3(guest, size=88, **args):
    names = "flags pidfd child_tid parent_tid exit_signal stack stack_size tls set_tid set_tid_size"
    values = [args.get(name, 0) for name in (*names.split(), "cgroup", "tail")]
    guest.put(guest.buf, struct.pack("<12Q", *values))
    return guest.sys("clone3", guest.buf, size)


def test_clone3_makes_a_process(guest):
    pid = clone3(guest, exit_signal=17, stack=0x8000, stack_size=0x1000)
    child = guest.machine.procs[pid]

    assert child.exit_signal == SIGCHLD
    assert child.lwps[0].cpu.sp == 0x9000


def test_clone3_clear_sighand_resets_handlers(guest):
    guest.proc.sigacts[SIGUSR1] = SigAction(0x1000)
    child = guest.machine.procs[clone3(guest, flags=0x100000000, exit_signal=17)]

    assert child.sigacts[SIGUSR1].handler == 0


@pytest.mark.parametrize("size", [64, 80, 88, 96])
def test_clone3_sizes(guest, size):
    assert isinstance(clone3(guest, size, exit_signal=17), int)


@pytest.mark.parametrize(
    ("args", "answer"),
    [
        ({"size": 63}, "EINVAL"),
        ({"size": 4097}, "E2BIG"),
        ({"size": 96, "tail": 1}, "E2BIG"),
        ({"exit_signal": 65}, "EINVAL"),
        ({"exit_signal": 256}, "EINVAL"),
        ({"flags": 17}, "EINVAL"),
        ({"flags": 1 << 40}, "EINVAL"),
        ({"flags": 0x400000}, "EINVAL"),
        ({"flags": VM | SIGHAND | 0x100000000}, "EINVAL"),
        ({"flags": PARENT, "exit_signal": 17}, "EINVAL"),
        ({"stack": 0x9000}, "EINVAL"),
        ({"stack_size": 0x9000}, "EINVAL"),
        ({"set_tid": 1}, "EINVAL"),
        ({"set_tid_size": 1}, "EINVAL"),
        ({"set_tid": BAD, "set_tid_size": 1}, "EFAULT"),
    ],
)
def test_clone3_checks(guest, args, answer):
    assert clone3(guest, **args) == answer


def test_set_tid_address_returns_the_id(guest):
    assert guest.sys("set_tid_address", 0x1234) == guest.lwp.tid
    assert guest.lwp.clear_child_tid == 0x1234


# -- wait ---------------------------------------------------------------------------------------


def child(guest, code=CLD_EXITED, status=0, exit_signal=SIGCHLD):
    """Make a child that has ended already."""
    made = guest.machine._proc(guest.machine.pid_alloc(), guest.proc)
    made.exit_signal = exit_signal
    made.zombie = True
    made.wait_code, made.wait_status = code, status
    made.usage.utime = 2_500_000_000
    return made


@pytest.mark.parametrize(
    ("code", "status", "word"),
    [(CLD_EXITED, 7, 7 << 8), (CLD_EXITED, 0, 0), (CLD_KILLED, SIGKILL, 9), (CLD_KILLED, 17, 12)],
)
def test_wait4_status(guest, code, status, word):
    made = child(guest, code, status)

    assert guest.sys("wait4", -1 & 0xFFFFFFFF, guest.buf, 0, guest.buf + 64) == made.pid
    assert guest.u32(guest.buf) == word
    assert guest.longs(guest.buf + 64, 2) == (2, 500_000)
    assert guest.sys("wait4", -1 & 0xFFFFFFFF, 0, 0, 0) == "ECHILD"


def test_wait4_nohang_finds_nothing_yet(guest):
    made = child(guest)
    made.zombie = False

    assert guest.sys("wait4", made.pid, guest.buf, 1, 0) == 0


def test_wait4_by_group(guest):
    made = child(guest)

    assert guest.sys("wait4", 0, 0, 1, 0) == "ECHILD"
    assert guest.sys("wait4", -made.pgrp.pgid & 0xFFFFFFFF, 0, 0, 0) == made.pid


def test_wait4_passes_over_clone_children(guest):
    made = child(guest, exit_signal=0)

    assert guest.sys("wait4", made.pid, 0, 0, 0) == "ECHILD"
    assert guest.sys("wait4", made.pid, 0, 0x80000000, 0) == made.pid


def test_wait4_all_takes_any(guest):
    made = child(guest, exit_signal=0)

    assert guest.sys("wait4", made.pid, 0, 0x40000000, 0) == made.pid


def test_wait4_bad_pointer_has_reaped_the_child(guest):
    made = child(guest)

    assert guest.sys("wait4", made.pid, BAD, 0, 0) == "EFAULT"
    assert guest.sys("wait4", made.pid, 0, 0, 0) == "ECHILD"


def test_waitpid_is_wait4_without_usage(guest32):
    made = child(guest32, CLD_EXITED, 3)

    assert guest32.sys("waitpid", made.pid, guest32.buf, 0) == made.pid
    assert guest32.u32(guest32.buf) == 3 << 8


def info(guest):
    head = struct.unpack("<3i", guest.get(guest.buf, 12))
    at = 16 if guest.bits == 64 else 12
    return head, struct.unpack("<iIi", guest.get(guest.buf + at, 12))


def test_waitid_fills_siginfo(guest):
    made = child(guest, CLD_KILLED, SIGUSR1)

    assert guest.sys("waitid", 1, made.pid, guest.buf, 4, 0) == 0
    assert info(guest) == ((17, 0, 2), (made.pid, 0, 10))


def test_waitid_nowait_leaves_the_child(guest):
    made = child(guest)

    for _ in range(2):
        assert guest.sys("waitid", 0, 0, guest.buf, 4 | 0x01000000, 0) == 0
    assert guest.sys("waitid", 1, made.pid, 0, 4, 0) == 0
    assert guest.sys("waitid", 1, made.pid, 0, 4, 0) == "ECHILD"


def test_waitid_without_news_clears_the_members(guest):
    made = child(guest)
    made.zombie = False
    guest.put(guest.buf, b"\xff" * 128)

    assert guest.sys("waitid", 1, made.pid, guest.buf, 4 | 1, 0) == 0
    assert info(guest) == ((0, 0, 0), (0, 0, 0))
    assert guest.get(guest.buf + 32, 96) == b"\xff" * 96


def test_waitid_of_a_pidfd_ebadf(guest):
    assert guest.sys("waitid", 3, 5, 0, 4, 0) == "EBADF"


# -- unshare ------------------------------------------------------------------------------------


def test_unshare_files_and_fs(guest):
    files, fs = guest.proc.files.hold(), guest.proc.fs

    assert guest.sys("unshare", FILES | FS) == 0
    assert guest.proc.files is not files
    assert guest.proc.fs is not fs


@pytest.mark.parametrize("flags", [1, 17])
def test_unshare_einval(guest, flags):
    assert guest.sys("unshare", flags) == "EINVAL"


def test_unshare_of_a_namespace_without_privilege_eperm(user):
    assert user.sys("unshare", 0x20000) == "EPERM"


def test_kcmp_tells_what_is_shared(guest):
    pid = clone(guest, FILES | 17)
    me = guest.proc.pid

    assert guest.sys("kcmp", me, pid, 2, 0, 0) == 0
    assert guest.sys("kcmp", me, pid, 3, 0, 0) in (1, 2)
    assert guest.sys("kcmp", me, pid, 99, 0, 0) == "EINVAL"
    assert guest.sys("kcmp", 0, 0, 0, 0, 0) == "ESRCH"
