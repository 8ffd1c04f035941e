"""futex(2), futex_waitv(2), set_robust_list(2)."""

from __future__ import annotations

import struct

import pytest

from lxemu.kernel.signal import SIGUSR1, SigAction
from tests.unit.handlers_files.rig import BAD

WAIT, WAKE, REQUEUE, CMP_REQUEUE, WAKE_OP = 0, 1, 3, 4, 5
LOCK_PI, UNLOCK_PI, TRYLOCK_PI, WAIT_BITSET, WAKE_BITSET = 6, 7, 8, 9, 10
PRIVATE, CLOCK_RT = 0x80, 0x100
WORD, WORD2, SPEC = 0x40, 0x80, 0x100
ALL = 0x7FFFFFFF


def futex(guest, op, val=0, timeout=0, val3=0, word=WORD, word2=WORD2):
    return guest.sys(
        "futex", guest.buf + word, op, val, timeout, guest.buf + word2, val3 & 0xFFFFFFFF
    )


def word(guest, value, at=WORD):
    guest.put(guest.buf + at, struct.pack("<I", value & 0xFFFFFFFF))


def run(guest, *bodies):
    """Run generators side by side; return what each yielded."""
    seen = [[] for _ in bodies]
    guest.start(*[lambda b=b, s=s: s.extend(b()) for b, s in zip(bodies, seen, strict=True)])
    return seen


@pytest.mark.parametrize("op", [WAIT, WAIT | PRIVATE])
def test_wait_with_another_value_eagain(guest, op):
    word(guest, 5)
    assert futex(guest, op, 4) == "EAGAIN"


def test_wait_misaligned_einval(guest):
    assert futex(guest, WAIT, 0, word=WORD + 1) == "EINVAL"


@pytest.mark.parametrize("op", [WAIT, WAIT | PRIVATE])
def test_wait_and_wake(guest, op):
    def waiter():
        yield futex(guest, op, 0)

    def waker():
        yield futex(guest, WAKE | op & PRIVATE, 1)

    assert run(guest, waiter, waiter, waker, waker) == [[0], [0], [1], [1]]


def test_wake_wakes_as_many_as_asked_for_in_order(guest):
    order = []

    def waiter(n):
        def body():
            yield futex(guest, WAIT, 0)
            order.append(n)

        return body

    def waker():
        yield futex(guest, WAKE, 2)
        yield futex(guest, WAKE, ALL)
        yield futex(guest, WAKE, ALL)

    assert run(guest, waiter(0), waiter(1), waiter(2), waker)[3] == [2, 1, 0]
    assert order == [0, 1, 2]


def test_wake_with_0_wakes_one(guest):
    """futex_wake counts before it compares, for old programs (kernel/futex/waitwake.c)."""

    def waiter():
        yield futex(guest, WAIT, 0)

    def waker():
        yield futex(guest, WAKE, 0)

    assert run(guest, waiter, waker) == [[0], [1]]


def test_wait_times_out(guest):
    def body():
        yield futex(guest, WAIT, 0, guest.spec(1, at=SPEC))
        yield futex(guest, WAIT, 0, guest.spec(0, at=SPEC))

    assert run(guest, body) == [["ETIMEDOUT", "ETIMEDOUT"]]


def test_wait_with_a_bad_timeout_einval(guest):
    assert futex(guest, WAIT, 0, guest.spec(0, -1, at=SPEC)) == "EINVAL"
    assert futex(guest, WAIT, 0, BAD) == "EFAULT"


@pytest.mark.parametrize("clock", [0, CLOCK_RT])
def test_wait_bitset_has_an_absolute_timeout(guest, clock):
    def body():
        guest.sys("clock_gettime", 0 if clock else 1, guest.buf)
        sec, _ = guest.longs(guest.buf, 2)
        yield futex(guest, WAIT_BITSET | clock, 0, guest.spec(sec + 2, at=SPEC), -1)
        guest.sys("clock_gettime", 0 if clock else 1, guest.buf)
        yield guest.longs(guest.buf, 1)[0] - sec

    assert run(guest, body) == [["ETIMEDOUT", 2]]


def test_bitset_of_0_einval(guest):
    assert futex(guest, WAIT_BITSET, 0, 0, 0) == "EINVAL"
    assert futex(guest, WAKE_BITSET, 1, 0, 0) == "EINVAL"


def test_wake_bitset_wakes_those_it_meets(guest):
    def waiter(bits):
        def body():
            yield futex(guest, WAIT_BITSET, 0, 0, bits)

        return body

    def waker():
        yield futex(guest, WAKE_BITSET, ALL, 0, 4)
        yield futex(guest, WAKE_BITSET, ALL, 0, 2)
        yield futex(guest, WAKE, ALL)

    assert run(guest, waiter(1), waiter(2), waker)[2] == [0, 1, 1]


def test_requeue_wakes_some_and_moves_others(guest):
    def waiter():
        yield futex(guest, WAIT, 0)

    def waker():
        yield futex(guest, CMP_REQUEUE, 1, ALL, 7)
        yield futex(guest, CMP_REQUEUE, 1, ALL, 0)
        yield futex(guest, WAKE, ALL)
        yield futex(guest, WAKE, ALL, word=WORD2)

    assert run(guest, waiter, waiter, waiter, waker)[3] == ["EAGAIN", 3, 0, 2]


def test_requeue_negative_einval(guest):
    assert futex(guest, REQUEUE, 0xFFFFFFFF, 0) == "EINVAL"


def encode(op, oparg, cmp, cmparg):
    return op << 28 | cmp << 24 | (oparg & 0xFFF) << 12 | cmparg & 0xFFF


@pytest.mark.parametrize(
    ("op", "arg", "old", "new"),
    [(0, 9, 5, 9), (1, -2, 5, 3), (2, 8, 5, 13), (3, 4, 5, 1), (4, 1, 5, 4), (8 | 2, 4, 1, 17)],
    ids=["set", "add", "or", "andn", "xor", "or-shift"],
)
def test_wake_op_changes_the_second_word(guest, op, arg, old, new):
    word(guest, old, WORD2)
    assert futex(guest, WAKE_OP, 1, 1, encode(op, arg, 0, 0)) == 0
    assert guest.u32(guest.buf + WORD2) == new


def test_wake_op_wakes_at_the_second_word_if_the_old_value_compares(guest):
    def waiter():
        yield futex(guest, WAIT, 3, word=WORD2)

    def waker():
        yield futex(guest, WAKE_OP, 1, 1, encode(1, 1, 4, 3))
        word(guest, 3, WORD2)
        yield futex(guest, WAKE_OP, 1, 1, encode(1, 1, 5, 3))

    word(guest, 3, WORD2)
    assert run(guest, waiter, waker)[1] == [0, 1]


@pytest.mark.parametrize("code", [encode(5, 0, 0, 0), encode(0, 0, 6, 0)])
def test_wake_op_unknown_enosys(guest, code):
    assert futex(guest, WAKE_OP, 1, 1, code) == "ENOSYS"


def test_realtime_is_only_for_waits_with_a_bitset(guest):
    assert futex(guest, WAIT | CLOCK_RT, 0) == "ENOSYS"
    assert futex(guest, WAKE | CLOCK_RT, 0) == "ENOSYS"


def test_wait_interrupted_with_a_timeout_never_restarts(guest):
    guest.proc.sigacts[SIGUSR1] = SigAction(0x1000, 4)

    def waiter():
        yield futex(guest, WAIT, 0, guest.spec(100, at=SPEC))

    def sender():
        yield guest.sys("tgkill", guest.proc.pid, min(guest.machine.lwp_by_tid), 10)

    assert run(guest, waiter, sender) == [["EINTR"], [0]]
    assert guest.machine.uwait.queues == {}


# -- locks with an owner ------------------------------------------------------------------------


def test_pi_lock_is_taken_and_given_back(guest):
    assert futex(guest, LOCK_PI) == 0
    assert guest.u32(guest.buf + WORD) == guest.lwp.tid
    assert futex(guest, LOCK_PI) == "EDEADLK"
    assert futex(guest, TRYLOCK_PI) == "EDEADLK"
    assert futex(guest, UNLOCK_PI) == 0
    assert guest.u32(guest.buf + WORD) == 0
    assert futex(guest, UNLOCK_PI) == "EPERM"


def test_pi_lock_of_nobody_esrch(guest):
    word(guest, 0x3FFFFF)
    assert futex(guest, LOCK_PI) == "ESRCH"


def test_pi_lock_is_handed_over(guest):
    def one():
        yield futex(guest, LOCK_PI)
        guest.sys("sched_yield")
        yield futex(guest, UNLOCK_PI)

    def two():
        yield futex(guest, TRYLOCK_PI)
        yield futex(guest, LOCK_PI)
        yield futex(guest, UNLOCK_PI)

    assert run(guest, one, two) == [[0, 0], ["EAGAIN", 0, 0]]
    assert guest.u32(guest.buf + WORD) == 0


# -- futex_waitv and futex2 ---------------------------------------------------------------------


def waiters(guest, *entries, at=0x200):
    data = b"".join(struct.pack("<QQII", v, guest.buf + w, f, 0) for v, w, f in entries)
    guest.put(guest.buf + at, data)
    return guest.buf + at


def test_waitv_tells_which_was_woken(guest):
    def waiter():
        vec = waiters(guest, (0, WORD, 2 | PRIVATE), (0, WORD2, 2 | PRIVATE))
        yield guest.sys("futex_waitv", vec, 2, 0, 0, 0)

    def waker():
        yield futex(guest, WAKE | PRIVATE, 1, word=WORD2)

    assert run(guest, waiter, waker) == [[1], [1]]
    assert guest.machine.uwait.queues == {}


def test_waitv_errors(guest):
    vec = waiters(guest, (1, WORD, 2))
    assert guest.sys("futex_waitv", vec, 1, 0, 0, 0) == "EAGAIN"
    assert guest.sys("futex_waitv", waiters(guest, (0, WORD, 1)), 1, 0, 0, 0) == "EINVAL"
    assert guest.sys("futex_waitv", waiters(guest, (0, WORD + 2, 2)), 1, 0, 0, 0) == "EINVAL"
    assert guest.sys("futex_waitv", vec, 1, 1, 0, 0) == "EINVAL"


def test_futex2_wait_and_wake(guest64):
    def waiter():
        yield guest64.sys("futex_wait", guest64.buf + WORD, 0, 1, 2, 0, 1)

    def waker():
        yield guest64.sys("futex_wake", guest64.buf + WORD, 2, 1, 2)
        yield guest64.sys("futex_wake", guest64.buf + WORD, 1, 1, 2)

    assert run(guest64, waiter, waker) == [[0], [0, 1]]


# -- robust lists -------------------------------------------------------------------------------


def test_robust_list_head_is_kept(guest):
    size = 24 if guest.bits == 64 else 12
    assert guest.sys("set_robust_list", guest.buf, size + 1) == "EINVAL"
    assert guest.sys("set_robust_list", guest.buf, size) == 0
    assert guest.sys("get_robust_list", 0, guest.buf + 64, guest.buf + 128) == 0
    assert guest.longs(guest.buf + 64, 1) == (guest.buf,)
    assert guest.longs(guest.buf + 128, 1) == (size,)
