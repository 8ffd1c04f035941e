"""clock_gettime(2), clock_nanosleep(2), setitimer(2), timer_create(2), times(2)."""

from __future__ import annotations

import struct

import pytest

from lxemu.kernel.signal import SIGALRM, SIGUSR1, sigmask
from syscalls.errno import ERRNO_OUT
from tests.unit.handlers_files.rig import BAD

SECOND = 1_000_000_000
REALTIME, MONOTONIC, PROCESS_CPU, THREAD_CPU, TAI, BOOTTIME = 0, 1, 2, 3, 11, 7


def read(guest, clock):
    assert guest.sys("clock_gettime", clock, guest.buf) == 0
    sec, nsec = guest.longs(guest.buf, 2)
    return sec * SECOND + nsec


def test_errno_of_timeouts_has_a_linux_number():
    assert all(number for number in ERRNO_OUT[1:30])


@pytest.mark.parametrize("clock", [0, 1, 2, 3, 4, 5, 6, 7, 11])
def test_clock_gettime_moves_forward(guest, clock):
    first = read(guest, clock)
    assert first <= read(guest, clock)


def test_clock_realtime_and_monotonic_are_apart(guest):
    assert read(guest, REALTIME) > read(guest, MONOTONIC) + 10**18


def test_clock_of_another_process(guest):
    mine = ~guest.proc.pid << 3 | 2
    assert guest.sys("clock_gettime", mine & 0xFFFFFFFF, guest.buf) == 0
    nobody = ~0x3FFFFF << 3 | 2
    assert guest.sys("clock_gettime", nobody & 0xFFFFFFFF, guest.buf) == "EINVAL"


def test_clock_of_a_thread_of_another_process_einval(guest):
    clock = ~guest.proc.pid << 3 | 6
    assert guest.sys("clock_gettime", clock & 0xFFFFFFFF, guest.buf) == 0
    other = guest.machine._proc(guest.machine.pid_alloc(), guest.machine.init)
    clock = ~other.pid << 3 | 6
    assert guest.sys("clock_gettime", clock & 0xFFFFFFFF, guest.buf) == "EINVAL"


@pytest.mark.parametrize(("clock", "resolution"), [(0, 1), (1, 1), (2, 1), (5, 4_000_000)])
def test_clock_getres(guest, clock, resolution):
    assert guest.sys("clock_getres", clock, guest.buf) == 0
    assert guest.longs(guest.buf, 2) == (0, resolution)


def test_nobody_sets_the_clock(guest):
    assert guest.sys("clock_settime", REALTIME, guest.spec(5)) == "EPERM"
    assert guest.sys("clock_settime", REALTIME, guest.spec(-5)) == "EINVAL"
    assert guest.sys("settimeofday", guest.spec(5, 0), 0) == "EPERM"


def test_gettimeofday_and_time_agree(guest):
    assert guest.sys("gettimeofday", guest.buf, guest.buf + 64) == 0
    sec, usec = guest.longs(guest.buf, 2)
    assert sec <= guest.sys("time", guest.buf + 128) <= sec + 1
    assert 0 <= usec < 1_000_000
    assert guest.get(guest.buf + 64, 8) == bytes(8)


def test_times_counts_ticks(guest):
    ticks = guest.sys("times", guest.buf)
    assert ticks >= 0
    assert guest.longs(guest.buf, 4)[1:] == (0, 0, 0)
    assert guest.sys("times", 0) >= ticks


def run(guest, body):
    seen = []
    guest.start(lambda: seen.extend(body()))
    return seen


def test_nanosleep_sleeps(guest):
    def body():
        before = guest.machine.clock.hrtime()
        yield guest.sys("nanosleep", guest.spec(2, 500), 0)
        yield guest.machine.clock.hrtime() - before >= 2 * SECOND + 500

    assert run(guest, body) == [0, True]


@pytest.mark.parametrize(("sec", "nsec"), [(-1, 0), (0, -1), (0, SECOND)])
def test_nanosleep_bad_time_einval(guest, sec, nsec):
    assert guest.sys("nanosleep", guest.spec(sec, nsec), 0) == "EINVAL"


@pytest.mark.parametrize("clock", [REALTIME, MONOTONIC, BOOTTIME, TAI])
def test_clock_nanosleep_absolute(guest, clock):
    def body():
        until = read(guest, clock) + 3 * SECOND
        yield guest.sys("clock_nanosleep", clock, 1, guest.spec(*divmod(until, SECOND)), 0)
        yield read(guest, clock) >= until

    assert run(guest, body) == [0, True]


def test_clock_nanosleep_in_the_past_returns_at_once(guest):
    assert run(guest, lambda: [guest.sys("clock_nanosleep", 1, 1, guest.spec(0, 1), 0)]) == [0]


def test_nanosleep_interrupted_tells_what_is_left(guest):
    from lxemu.kernel.signal import SigAction

    guest.proc.sigacts[SIGALRM] = SigAction(0x1000)

    def body():
        guest.put_longs(guest.buf + 64, 0, 0, 1, 0)
        yield guest.sys("setitimer", 0, guest.buf + 64, 0)
        yield guest.sys("nanosleep", guest.spec(10), guest.buf + 256)
        sec, _nsec = guest.longs(guest.buf + 256, 2)
        yield sec

    *results, left = run(guest, body)

    assert results == [0, "EINTR"]
    assert left in (8, 9), "ten seconds less the one of the timer, give or take what calls take"


# -- interval timers ----------------------------------------------------------------------------


def test_alarm_returns_what_was_left(guest):
    assert guest.sys("alarm", 10) == 0
    assert guest.sys("alarm", 0) == 10
    assert guest.sys("alarm", 0) == 0


def test_alarm_sends_sigalrm(guest):
    def body():
        guest.lwp.set_sigmask(sigmask(SIGALRM))
        guest.sys("alarm", 1)
        guest.sys("nanosleep", guest.spec(2), 0)
        yield guest.proc.sigq.pending

    assert run(guest, body) == [sigmask(SIGALRM)]


def test_setitimer_gives_the_old_value(guest):
    guest.put_longs(guest.buf, 5, 0, 100, 0)
    assert guest.sys("setitimer", 0, guest.buf, 0) == 0
    assert guest.sys("setitimer", 0, 0, guest.buf + 64) == 0
    interval, _, value, _ = guest.longs(guest.buf + 64, 4)
    assert (interval, value) == (5, 99)
    assert guest.sys("getitimer", 0, guest.buf) == 0
    assert guest.longs(guest.buf, 4) == (0, 0, 0, 0)


@pytest.mark.parametrize("value", [(0, 1_000_000), (0, -1), (-1, 0)])
def test_setitimer_bad_value_einval(guest, value):
    guest.put_longs(guest.buf, 0, 0, *value)
    assert guest.sys("setitimer", 0, guest.buf, 0) == "EINVAL"


# -- POSIX timers -------------------------------------------------------------------------------


def event(guest, notify, signo, tid=0, at=0x100):
    word = "Q" if guest.bits == 64 else "I"
    guest.put(guest.buf + at, struct.pack(f"<{word}3i", 77, signo, notify, tid).ljust(64, b"\0"))
    return guest.buf + at


def settime(guest, timer, value, interval=0, flags=0):
    guest.put_longs(guest.buf, interval, 0, value, 0)
    return guest.sys("timer_settime", timer, flags, guest.buf, 0)


def test_timer_ids_do_not_come_again_soon(guest):
    ids = []
    for _ in range(3):
        assert guest.sys("timer_create", 1, 0, guest.buf) == 0
        ids.append(guest.u32(guest.buf))
    assert guest.sys("timer_delete", 1) == 0
    guest.sys("timer_create", 1, 0, guest.buf)
    assert [*ids, guest.u32(guest.buf)] == [0, 1, 2, 3]
    assert guest.sys("timer_delete", 9) == "EINVAL"


@pytest.mark.parametrize(
    ("notify", "signo", "tid", "answer"),
    [
        (0, 10, 0, 0),
        (1, 0, 0, 0),
        (2, 10, 0, 0),
        (3, 10, 0, "EINVAL"),
        (0, 0, 0, "EINVAL"),
        (0, 65, 0, "EINVAL"),
        (4, 10, 0x3FFFFF, "EINVAL"),
        (99, 10, 0, "EINVAL"),
    ],
)
def test_timer_create_checks_the_event(guest, notify, signo, tid, answer):
    assert guest.sys("timer_create", 1, event(guest, notify, signo, tid), guest.buf) == answer


def test_timer_create_bad_id_pointer_makes_no_timer(guest):
    assert guest.sys("timer_create", 1, 0, BAD) == "EFAULT"
    assert guest.proc.ptimers == {}


def test_timer_settime_and_gettime(guest):
    guest.sys("timer_create", 1, 0, guest.buf)
    assert settime(guest, 0, 10, 3) == 0
    assert guest.sys("timer_gettime", 0, guest.buf) == 0
    interval, _, value, nsec = guest.longs(guest.buf, 4)
    assert (interval, value) == (3, 9)
    assert nsec
    assert settime(guest, 0, 0, 3) == 0
    assert guest.sys("timer_gettime", 0, guest.buf) == 0
    assert guest.longs(guest.buf, 4) == (0, 0, 0, 0), "disarmed, the interval goes too"


def test_timer_settime_without_a_value_einval(guest):
    guest.sys("timer_create", 1, 0, guest.buf)
    assert guest.sys("timer_settime", 0, 0, 0, 0) == "EINVAL"


def test_timer_sends_its_signal_with_the_value(guest):
    def body():
        guest.lwp.set_sigmask(sigmask(SIGUSR1))
        guest.sys("timer_create", 1, event(guest, 0, 10), guest.buf)
        settime(guest, 0, 1)
        guest.sys("nanosleep", guest.spec(2), 0)
        info = guest.proc.sigq.infos[SIGUSR1][0]
        yield info.value & 0xFFFFFFFF, info.timerid

    assert run(guest, body) == [(77, 0)]


def test_timer_getoverrun_of_a_fresh_timer(guest):
    guest.sys("timer_create", 1, 0, guest.buf)
    assert guest.sys("timer_getoverrun", 0) == 0
    assert guest.sys("timer_getoverrun", 5) == "EINVAL"


# -- 64-bit times on i386 -----------------------------------------------------------------------


def test_clock_gettime64_writes_64_bit_seconds(guest32):
    assert guest32.sys("clock_gettime64", REALTIME, guest32.buf) == 0
    sec, nsec = struct.unpack("<qq", guest32.get(guest32.buf, 16))
    assert sec > 1_600_000_000
    assert 0 <= nsec < SECOND


def test_time64_ignores_the_upper_half_of_nsec(guest32):
    guest32.put(guest32.buf, struct.pack("<qII", 0, 5, 0xDEAD))
    assert run(guest32, lambda: [guest32.sys("clock_nanosleep_time64", 1, 0, guest32.buf, 0)]) == [
        0
    ]


def test_adjtimex_reads_but_does_not_set(guest):
    guest.put(guest.buf, bytes(256))
    assert guest.sys("adjtimex", guest.buf) == 5
    guest.put(guest.buf, b"\1")
    assert guest.sys("adjtimex", guest.buf) == "EPERM"
