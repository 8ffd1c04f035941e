"""The lx brand objects: default actions, signal order, the vsyscall page, the end of an lwp."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.mm.mman import PROT_EXEC, PROT_READ
from lxemu.kernel.signal import (
    SI_KERNEL,
    SIGBUS,
    SIGCHLD,
    SIGCONT,
    SIGEMT,
    SIGPWR,
    SIGRTMIN,
    SIGSEGV,
    SIGSTOP,
    SIGUSR1,
    SIGUSR2,
    SIGWINCH,
    Action,
    sigmask,
)
from lxemu.loader.elf import ElfImage
from syscalls.brand import brands
from syscalls.exec_stack import LxProcData
from tests.unit.brand.frames import STACK, FakeLwp


@pytest.fixture
def pair():
    return brands()


@pytest.fixture
def lwp():
    lwp = FakeLwp()
    lwp.woken = []
    wake = SimpleNamespace(wake=lambda key, count: lwp.woken.append((key[1], count)) or 1)
    wake.mutexes = {}
    lwp.machine = SimpleNamespace(uwait=wake, as_shared=lambda _proc: False)
    lwp.proc.lwps = [lwp, object()]
    lwp.tid = lwp.vtid = 77
    lwp.robust_list = (0, 0)
    lwp.clear_child_tid = 0
    yield lwp
    lwp.close()


def test_default_actions_are_linux_ones(pair):
    for brand in pair:
        action = brand.default_action
        assert action(SIGPWR) is action(SIGEMT) is action(SIGUSR1) is Action.TERM
        assert action(SIGSEGV) is Action.CORE
        assert action(SIGCHLD) is action(SIGWINCH) is Action.IGNORE
        assert action(SIGSTOP) is Action.STOP
        assert action(SIGCONT) is Action.CONT
        assert action(SIGRTMIN) is Action.TERM


def test_signals_are_delivered_in_linux_order(pair):
    brand = pair[0]
    # Linux: BUS 7, USR1 10, USR2 12, CHLD 17; illumos: 10, 16, 17, 18.
    assert brand.lowest_signal(sigmask(SIGUSR1, SIGBUS)) == SIGBUS
    assert brand.lowest_signal(sigmask(SIGCHLD, SIGUSR2)) == SIGUSR2
    # SIGCONT is 18 there and 25 here, SIGSTOP 19 and 23.
    assert brand.lowest_signal(sigmask(SIGSTOP, SIGCONT)) == SIGCONT
    assert brand.lowest_signal(sigmask(SIGRTMIN + 5)) == SIGRTMIN + 5


@pytest.mark.parametrize(
    ("index", "stack", "expected"), [(0, None, False), (1, None, True), (1, False, False)]
)
def test_read_implies_exec_only_for_old_i386_programs(pair, index, stack, expected):
    elf = ElfImage(2, 3, 32, 0, 0, 32, (), None, stack, 0, 0)
    assert pair[index].read_implies_exec(elf) is expected


def test_personality_word_stops_randomisation(pair):
    assert pair[0].randomises(SimpleNamespace(personality=0))
    assert not pair[0].randomises(SimpleNamespace(personality=0x0040000))


def test_exec_commit_sets_the_personality_word(pair):
    lwp = SimpleNamespace(proc=SimpleNamespace(personality=0x0040000 | 0x8))
    pair[0].exec_commit(lwp, SimpleNamespace(secure=False, read_implies_exec=True))
    assert lwp.proc.personality == 0x0440008
    pair[0].exec_commit(lwp, SimpleNamespace(secure=True, read_implies_exec=False))
    assert lwp.proc.personality == 0x8


# -- the vsyscall page ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("addr", "nr"), [(0xFFFFFFFFFF600000, 96), (0xFFFFFFFFFF600400, 201), (0xFFFFFFFFFF600800, 309)]
)
def test_vsyscall_is_made(pair, lwp, addr, nr):
    brand = pair[0]
    brand.__dict__["stubs"] = {nr: lambda _lwp: 1234}
    lwp.as_.store_u64(lwp.q[4], 0x401234)
    sp = lwp.q[4]
    assert brand.pagefault(lwp, addr, PROT_EXEC)
    assert (lwp.q[0], lwp.q[16], lwp.q[4]) == (1234, 0x401234, sp + 8)


def test_vsyscall_error_is_a_linux_number(pair, lwp):
    def fail(_lwp):
        raise KernelError(Errno.ENOTSUP)

    pair[0].__dict__["stubs"] = {96: fail}
    assert pair[0].pagefault(lwp, 0xFFFFFFFFFF600000, PROT_EXEC)
    assert lwp.q[0] == (1 << 64) - 38


def test_other_faults_are_not_vsyscalls(pair, lwp):
    assert not pair[0].pagefault(lwp, 0xFFFFFFFFFF600000, PROT_READ)
    assert not pair[0].pagefault(lwp, 0xFFFFFFFFFF601000, PROT_EXEC)
    assert not pair[1].pagefault(lwp, 0xFFFFFFFFFF600000, PROT_EXEC)
    lwp.q[4] = 0x1000
    assert not pair[0].pagefault(lwp, 0xFFFFFFFFFF600000, PROT_EXEC)


def test_no_call_in_the_vsyscall_page_is_sigsegv_from_the_kernel(pair, lwp):
    assert pair[0].pagefault(lwp, 0xFFFFFFFFFF600010, PROT_EXEC)
    info = lwp.sigq.take(SIGSEGV)
    assert (info.code, info.addr) == (SI_KERNEL, 0)


# -- the end of an lwp ----------------------------------------------------------------------------


def test_clear_child_tid(pair, lwp):
    lwp.as_.store_u32(STACK, 77)
    lwp.clear_child_tid = STACK
    pair[0].lwp_exit(lwp)
    assert lwp.as_.load_u32(STACK) == 0
    assert (STACK, 1) in lwp.woken


def test_clear_child_tid_is_skipped_when_nobody_is_left(pair, lwp):
    lwp.proc.lwps = [lwp]
    lwp.as_.store_u32(STACK, 77)
    lwp.clear_child_tid = STACK
    pair[0].lwp_exit(lwp)
    assert lwp.as_.load_u32(STACK) == 77


def test_clear_child_tid_at_a_bad_address(pair, lwp):
    lwp.clear_child_tid = 0x1000
    pair[0].lwp_exit(lwp)
    assert not lwp.woken


@pytest.mark.parametrize(("index", "word"), [(0, 8), (1, 4)])
def test_robust_list(pair, lwp, index, word):
    as_ = lwp.as_
    store = as_.store_u64 if word == 8 else as_.store_u32
    head, one, two, other = STACK, STACK + 0x100, STACK + 0x200, STACK + 0x300
    offset = -16
    store(head, one)
    store(head + word, offset & ((1 << 8 * word) - 1))
    store(head + 2 * word, 0)
    store(one, two | 1)
    store(two, other)
    store(other, head)
    as_.store_u32(one + offset, 77 | 0x80000000)
    as_.store_u32(two + offset, 77 | 0x80000000)
    as_.store_u32(other + offset, 78 | 0x80000000)
    lwp.robust_list = (head, 3 * word)

    pair[index].lwp_exit(lwp)

    assert as_.load_u32(one + offset) == 0xC0000000
    assert as_.load_u32(two + offset) == 0xC0000000
    assert as_.load_u32(other + offset) == 78 | 0x80000000
    # The second is a PI futex, whose waiter gets it from the kernel.
    assert {key for key, _ in lwp.woken} == {one + offset}
    assert lwp.robust_list == (0, 0)


def test_robust_list_that_loops_ends(pair, lwp):
    lwp.as_.store_u64(STACK, STACK + 0x100)
    lwp.as_.store_u64(STACK + 0x100, STACK + 0x100)
    lwp.robust_list = (STACK, 24)
    pair[0].lwp_exit(lwp)


def test_robust_list_pending_entry(pair, lwp):
    as_ = lwp.as_
    as_.store_u64(STACK, STACK)
    as_.store_u64(STACK + 8, 8)
    as_.store_u64(STACK + 16, STACK + 0x100)
    as_.store_u32(STACK + 0x108, 77)
    lwp.robust_list = (STACK, 24)
    pair[0].lwp_exit(lwp)
    assert as_.load_u32(STACK + 0x108) == 0x40000000


# -- tables ---------------------------------------------------------------------------------------


def test_brands_have_their_tables(pair):
    wide, narrow = pair
    assert (wide.bits, narrow.bits) == (64, 32)
    assert wide.name_of(0) == "read"
    assert narrow.name_of(3) == "read"
    assert wide.name_of(100_000).startswith("syscall_")
    assert wide.restartable(0)
    assert len(wide.stubs) > 400
    assert LxProcData().auxv == b""
