"""Calls that wait: what wakes them, what interrupts them, and what they leave when they give up.

References: pipe(7), fifo(7), poll(2), select(2),
epoll(7), eventfd(2), fcntl(2), flock(2), signal(7).
"""

from __future__ import annotations

import struct

import pytest

from lxemu.kernel.signal import SIG_IGN, SIGPIPE, SIGUSR1, SIGXFSZ, SigAction, SigInfo, sigmask

from .rig import AT_FDCWD, BAD, PAGE

HANDLER = SigAction(0x1234)
O_WRONLY, O_RDWR, O_CREAT, O_NONBLOCK = 1, 2, 0o100, 0o4000
POLLIN, POLLOUT, POLLHUP = 1, 4, 16
MS = 1_000_000
LX_SIGUSR1 = 10


class Stage:
    """A guest, a log, and threads that take turns in the order of their `yield`s."""

    def __init__(self, guest):
        self.g = guest
        self.log = []
        self.machine = guest.machine

    def note(self, text, result=None):
        self.log.append(text if result is None else (text, result))

    def pass_on(self):
        """Let the other threads run until they wait."""
        from greenlet import getcurrent

        self.machine.disp.yield_(getcurrent().lwp)

    def signal(self, signo=SIGUSR1, which=0):
        lwp = self.g.proc.lwps[which]
        self.machine.sigtolwp(lwp, signo, SigInfo(signo))

    def caught(self):
        return [signo for _, signo, _, _ in self.machine.brand.delivered]


@pytest.fixture
def stage(guest):
    guest.proc.sigacts[SIGUSR1] = HANDLER
    guest.proc.sigacts[SIGPIPE] = HANDLER
    guest.proc.sigacts[SIGXFSZ] = HANDLER
    return Stage(guest)


# -- pipes ----------------------------------------------------------------------------------------


def test_read_of_an_empty_pipe_waits_for_a_write(stage):
    g = stage.g
    p0, p1 = g.pipe()

    def reader():
        stage.note("read", g.sys("read", p0, g.buf, 100))
        stage.note(g.get(g.buf, 5))

    def writer():
        stage.note("write", g.sys("write", p1, g.buf + PAGE, 5))

    g.put(g.buf + PAGE, b"hello")
    g.start(reader, writer)

    assert stage.log == [("write", 5), ("read", 5), b"hello"]


def test_read_of_a_pipe_ends_when_the_last_writer_closes(stage):
    g = stage.g
    p0, p1 = g.pipe()
    g.start(
        lambda: stage.note("read", g.sys("read", p0, g.buf, 100)),
        lambda: stage.note("close", g.sys("close", p1)),
    )

    assert stage.log == [("close", 0), ("read", 0)]


def test_write_to_a_full_pipe_waits_and_writes_all(stage):
    g = stage.g
    p0, p1 = g.pipe()
    size = 20 * PAGE

    def reader():
        total = 0
        while total < size:
            got = g.sys("read", p0, g.buf + 24 * PAGE, 3 * PAGE)
            assert isinstance(got, int)
            total += got
        stage.note("total", total)

    g.start(lambda: stage.note("write", g.sys("write", p1, g.buf, size)), reader)

    assert sorted(stage.log) == [("total", size), ("write", size)]


def test_write_that_a_signal_interrupts_half_way_gives_what_went(stage):
    g = stage.g
    _, p1 = g.pipe()
    g.start(
        lambda: stage.note("write", g.sys("write", p1, g.buf, 20 * PAGE)),
        lambda: stage.signal(which=0),
    )

    assert stage.log == [("write", 16 * PAGE)]
    assert stage.caught() == [SIGUSR1]


def test_read_that_a_signal_interrupts_is_eintr(stage):
    g = stage.g
    p0, _ = g.pipe()
    g.start(lambda: stage.note("read", g.sys("read", p0, g.buf, 1)), lambda: stage.signal(which=0))

    assert stage.log == [("read", "EINTR")]


def test_write_to_a_pipe_nobody_reads_is_epipe_and_sigpipe(stage):
    g = stage.g
    p0, p1 = g.pipe()
    g.sys("close", p0)
    g.start(lambda: stage.note("write", g.sys("write", p1, g.buf, 1)))

    assert stage.log == [("write", "EPIPE")]
    assert stage.caught() == [SIGPIPE]


def test_read_into_a_bad_page_waits_and_leaves_the_data(stage):
    g = stage.g
    p0, p1 = g.pipe()
    g.put(g.buf, b"abc")

    def reader():
        stage.note("bad", g.sys("read", p0, BAD, 10))
        stage.note("good", g.sys("read", p0, g.buf + 100, 10))
        stage.note(g.get(g.buf + 100, 3))

    g.start(reader, lambda: stage.note("write", g.sys("write", p1, g.buf, 3)))

    assert stage.log == [("write", 3), ("bad", "EFAULT"), ("good", 3), b"abc"]


def test_open_of_a_fifo_waits_for_the_other_side(stage):
    g = stage.g
    assert g.sys("mknod", b"fifo", 0o010644, 0) == 0

    def reader():
        fd = g.sys("openat", AT_FDCWD, b"fifo", 0, 0)
        stage.note("read", g.sys("read", fd, g.buf, 10))

    def writer():
        fd = g.sys("openat", AT_FDCWD, b"fifo", O_WRONLY, 0)
        stage.note("write", g.sys("write", fd, g.buf, 3))

    g.start(reader, writer)

    assert stage.log == [("write", 3), ("read", 3)]


def test_splice_waits_for_data_and_moves_them(stage):
    g = stage.g
    p0, p1 = g.pipe()
    f = g.open(b"f", O_RDWR | O_CREAT)
    g.put(g.buf, b"spliced")

    def splicer():
        stage.note("splice", g.sys("splice", p0, 0, f, 0, 100, 0))
        stage.note("read", g.sys("pread64", f, g.buf + 50, 10, 0))
        stage.note(g.get(g.buf + 50, 7))

    g.start(splicer, lambda: stage.note("write", g.sys("write", p1, g.buf, 7)))

    assert stage.log == [("write", 7), ("splice", 7), ("read", 7), b"spliced"]


# -- poll and select ------------------------------------------------------------------------------


def pollfds(g, *pairs, at=0x100):
    g.put(g.buf + at, b"".join(struct.pack("<iHH", fd, events, 0xAAAA) for fd, events in pairs))
    return g.buf + at


def revents(g, count, at=0x100):
    return [g.word(g.buf + at + 8 * i + 6, 2) for i in range(count)]


def test_poll_wakes_when_a_descriptor_gets_ready(stage):
    g = stage.g
    p0, p1 = g.pipe()
    q0, _ = g.pipe()

    def poller():
        stage.note("poll", g.sys("poll", pollfds(g, (q0, POLLIN), (p0, POLLIN)), 2, -1))
        stage.note(revents(g, 2))

    g.start(poller, lambda: stage.note("write", g.sys("write", p1, g.buf, 1)))

    assert stage.log == [("write", 1), ("poll", 1), [0, POLLIN]]


def test_poll_times_out_with_nothing_ready(stage):
    g = stage.g
    p0, _ = g.pipe()
    clock = stage.machine.clock

    def poller():
        before = clock.hrtime()
        stage.note("poll", g.sys("poll", pollfds(g, (p0, POLLIN)), 1, 50))
        stage.note(revents(g, 1))
        stage.note("waited", 50 * MS <= clock.hrtime() - before < 51 * MS)

    g.start(poller)

    assert stage.log == [("poll", 0), [0], ("waited", True)]


def test_poll_that_a_signal_interrupts_is_eintr_and_writes_nothing(stage):
    g = stage.g
    p0, _ = g.pipe()

    def poller():
        stage.note("poll", g.sys("poll", pollfds(g, (p0, POLLIN)), 1, -1))
        stage.note(revents(g, 1))

    g.start(poller, lambda: stage.signal(which=0))

    assert stage.log == [("poll", "EINTR"), [0xAAAA - 0x10000]]


def timespec(g, sec, nsec, at=0x40):
    word = g.bits // 8
    data = b"".join(value.to_bytes(word, "little", signed=True) for value in (sec, nsec))
    g.put(g.buf + at, data)
    return g.buf + at


def read_timespec(g, at=0x40):
    word = g.bits // 8
    return [g.word(g.buf + at + word * i, word) for i in range(2)]


def sigset(g, *signals, at=0x20):
    bits = sum(1 << (signo - 1) for signo in signals)
    g.put(g.buf + at, bits.to_bytes(8, "little"))
    return g.buf + at


def test_ppoll_takes_a_pending_signal_that_its_mask_lets_through(stage):
    g = stage.g
    p0, _ = g.pipe()

    def poller():
        lwp = g.proc.lwps[0]
        lwp.set_sigmask(sigmask(SIGUSR1))
        stage.signal(which=0)
        fds = pollfds(g, (p0, POLLIN))
        stage.note("ppoll", g.sys("ppoll", fds, 1, timespec(g, 5, 0), sigset(g), 8))
        stage.note("mask", lwp.sigmask == sigmask(SIGUSR1))
        stage.note("left", read_timespec(g)[0] in (4, 5))

    g.start(poller)

    assert stage.log[0] == ("ppoll", "EINTR")
    assert stage.log[2] == ("left", True)
    # The frame that the handler returns through holds the mask from before the call.
    assert [frame[3] for frame in stage.machine.brand.delivered] == [sigmask(SIGUSR1)]


def test_ppoll_that_finds_something_leaves_the_signal_pending(stage):
    g = stage.g
    p0, p1 = g.pipe()

    def poller():
        lwp = g.proc.lwps[0]
        lwp.set_sigmask(sigmask(SIGUSR1))
        stage.signal(which=0)
        g.sys("write", p1, g.buf, 1)
        fds = pollfds(g, (p0, POLLIN))
        stage.note("ppoll", g.sys("ppoll", fds, 1, 0, sigset(g), 8))
        stage.note("mask", lwp.sigmask == sigmask(SIGUSR1))

    g.start(poller)

    assert stage.log == [("ppoll", 1), ("mask", True)]
    assert stage.caught() == []


def test_select_writes_back_the_time_that_is_left(stage):
    g = stage.g
    p0, p1 = g.pipe()
    word = g.bits // 8

    def selector():
        g.put(g.buf, (1 << p0).to_bytes(128, "little"))
        tv = timespec(g, 10, 0, at=0x200)
        name = "select" if g.bits == 64 else "_newselect"
        stage.note("select", g.sys(name, p0 + 1, g.buf, 0, 0, tv))
        stage.note("bits", g.word(g.buf, word))
        stage.note("left", read_timespec(g, at=0x200)[0] in (9, 10))

    g.start(selector, lambda: g.sys("write", p1, g.buf + 0x300, 1))

    assert stage.log == [("select", 1), ("bits", 1 << p0), ("left", True)]


def test_select_with_no_descriptors_sleeps(stage):
    g = stage.g
    clock = stage.machine.clock

    def sleeper():
        before = clock.hrtime()
        tv = timespec(g, 1, 500_000)
        name = "select" if g.bits == 64 else "_newselect"
        stage.note("select", g.sys(name, 0, 0, 0, 0, tv))
        stage.note("waited", 1500 * MS <= clock.hrtime() - before < 1501 * MS)

    g.start(sleeper)

    assert stage.log == [("select", 0), ("waited", True)]


# -- event queues and counters --------------------------------------------------------------------


def ctl(g, op, epfd, fd, events=1, data=7):
    g.put(g.buf + 0x500, struct.pack("<IQ", events, data))
    return g.sys("epoll_ctl", epfd, op, fd, g.buf + 0x500)


def wait(g, epfd, timeout=-1, limit=8):
    count = g.sys("epoll_wait", epfd, g.buf + 0x600, limit, timeout)
    if not isinstance(count, int):
        return count
    raw = g.get(g.buf + 0x600, 12 * count)
    return [struct.unpack_from("<IQ", raw, 12 * i) for i in range(count)]


EPOLLET, EPOLLONESHOT = 1 << 31, 1 << 30


def test_epoll_wakes_when_a_descriptor_gets_ready(stage):
    g = stage.g
    p0, p1 = g.pipe()
    e = g.sys("epoll_create1", 0)
    assert ctl(g, 1, e, p0) == 0
    g.start(lambda: stage.note(wait(g, e)), lambda: g.sys("write", p1, g.buf, 1))

    assert stage.log == [[(POLLIN, 7)]]


def test_epoll_wakes_for_a_descriptor_added_while_it_waits(stage):
    g = stage.g
    p0, p1 = g.pipe()
    g.sys("write", p1, g.buf, 1)
    e = g.sys("epoll_create1", 0)
    g.start(lambda: stage.note(wait(g, e)), lambda: ctl(g, 1, e, p0))

    assert stage.log == [[(POLLIN, 7)]]


def test_epoll_times_out(stage):
    g = stage.g
    e = g.sys("epoll_create1", 0)
    before = stage.machine.clock.hrtime()
    g.start(lambda: stage.note(wait(g, e, 20)))

    assert stage.log == [[]]
    assert stage.machine.clock.hrtime() - before >= 20 * MS


def test_epoll_edge_triggered_reports_each_write_once(stage):
    g = stage.g
    p0, p1 = g.pipe()
    e = g.sys("epoll_create1", 0)
    ctl(g, 1, e, p0, POLLIN | EPOLLET)

    def waiter():
        stage.note(wait(g, e))
        stage.note(wait(g, e, 0))
        stage.note(wait(g, e))
        stage.note(wait(g, e, 0))

    def writer():
        g.sys("write", p1, g.buf, 1)
        stage.pass_on()
        g.sys("write", p1, g.buf, 1)

    g.start(waiter, writer)

    assert stage.log == [[(POLLIN, 7)], [], [(POLLIN, 7)], []]


def test_epoll_oneshot_is_silent_until_armed_again(stage):
    g = stage.g
    p0, p1 = g.pipe()
    e = g.sys("epoll_create1", 0)
    ctl(g, 1, e, p0, POLLIN | EPOLLONESHOT)
    g.sys("write", p1, g.buf, 1)

    assert wait(g, e, 0) == [(POLLIN, 7)]
    assert wait(g, e, 0) == []
    assert g.sys("write", p1, g.buf, 1) == 1
    assert wait(g, e, 0) == []
    assert ctl(g, 3, e, p0, POLLIN | EPOLLONESHOT, 8) == 0
    assert wait(g, e, 0) == [(POLLIN, 8)]


def test_epoll_gives_every_ready_descriptor_its_turn(stage):
    g = stage.g
    e = g.sys("epoll_create1", 0)
    for data in range(5):
        p0, p1 = g.pipe()
        g.sys("write", p1, g.buf, 1)
        ctl(g, 1, e, p0, POLLIN, data)

    seen = [wait(g, e, 0, limit=2) for _ in range(5)]

    assert [data for batch in seen for _, data in batch] == [0, 1, 2, 3, 4] * 2


def test_epoll_in_epoll_wakes_the_outer_one(stage):
    g = stage.g
    p0, p1 = g.pipe()
    inner, outer = g.sys("epoll_create1", 0), g.sys("epoll_create1", 0)
    ctl(g, 1, inner, p0, POLLIN, 1)
    ctl(g, 1, outer, inner, POLLIN, 2)

    def waiter():
        stage.note(wait(g, outer))
        stage.note(wait(g, inner, 0))

    g.start(waiter, lambda: g.sys("write", p1, g.buf, 1))

    assert stage.log == [[(POLLIN, 2)], [(POLLIN, 1)]]


def test_poll_of_an_epoll_descriptor_wakes(stage):
    g = stage.g
    p0, p1 = g.pipe()
    e = g.sys("epoll_create1", 0)
    ctl(g, 1, e, p0)
    g.start(
        lambda: stage.note("poll", g.sys("poll", pollfds(g, (e, POLLIN)), 1, -1)),
        lambda: g.sys("write", p1, g.buf, 1),
    )

    assert stage.log == [("poll", 1)]


def test_epoll_interest_ends_with_the_last_descriptor_of_the_file(stage):
    g = stage.g
    p0, p1 = g.pipe()
    e = g.sys("epoll_create1", 0)
    ctl(g, 1, e, p0)
    copy = g.sys("dup", p0)
    g.sys("write", p1, g.buf, 1)
    g.sys("close", p0)

    assert wait(g, e, 0) == [(POLLIN, 7)]
    g.sys("close", copy)
    assert wait(g, e, 0) == []


def test_epoll_wait_that_a_signal_interrupts_is_eintr(stage):
    g = stage.g
    e = g.sys("epoll_create1", 0)
    g.start(lambda: stage.note(wait(g, e)), lambda: stage.signal(which=0))

    assert stage.log == ["EINTR"]


def test_epoll_wait_into_a_bad_page_keeps_the_events(stage):
    g = stage.g
    p0, p1 = g.pipe()
    e = g.sys("epoll_create1", 0)
    ctl(g, 1, e, p0, POLLIN | EPOLLET)
    g.sys("write", p1, g.buf, 1)

    assert g.sys("epoll_wait", e, BAD, 1, 0) == "EFAULT"
    assert wait(g, e, 0) == [(POLLIN, 7)]


def test_eventfd_read_waits_for_a_write(stage):
    g = stage.g
    fd = g.sys("eventfd2", 0, 0)

    def reader():
        stage.note("read", g.sys("read", fd, g.buf, 8))
        stage.note(g.word(g.buf, 8))

    def writer():
        g.put(g.buf + 16, (5).to_bytes(8, "little"))
        stage.note("write", g.sys("write", fd, g.buf + 16, 8))

    g.start(reader, writer)

    assert stage.log == [("write", 8), ("read", 8), 5]


def test_eventfd_write_waits_for_room(stage):
    g = stage.g
    fd = g.sys("eventfd2", 0, 0)
    g.put(g.buf, ((1 << 64) - 2).to_bytes(8, "little"))
    g.put(g.buf + 8, (1).to_bytes(8, "little"))
    g.sys("write", fd, g.buf, 8)
    g.start(
        lambda: stage.note("write", g.sys("write", fd, g.buf + 8, 8)),
        lambda: stage.note("read", g.sys("read", fd, g.buf + 16, 8)),
    )

    assert stage.log == [("read", 8), ("write", 8)]


# -- locks ----------------------------------------------------------------------------------------

F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW = 6, 7, 37, 38
F_RDLCK, F_WRLCK, F_UNLCK = 0, 1, 2


def lock(g, fd, cmd, kind, start=0, length=0, at=0x700):
    form = "<hhxxxxqqixxxx" if g.bits == 64 or cmd > 12 else "<hhiii"
    if g.bits == 32 and cmd > 12:
        form = "<hhqqi"
    g.put(g.buf + at, struct.pack(form, kind, 0, start, length, 0))
    name = "fcntl" if g.bits == 64 or cmd < 12 else "fcntl64"
    return g.sys(name, fd, cmd, g.buf + at)


def test_ofd_lock_waits_for_the_other_open_file(stage):
    g = stage.g
    a, b = g.open(b"f", O_RDWR | O_CREAT), g.open(b"f", O_RDWR)
    assert lock(g, a, F_OFD_SETLK, F_WRLCK) == 0
    assert lock(g, b, F_OFD_SETLK, F_RDLCK) == "EAGAIN"
    g.start(
        lambda: stage.note("lock", lock(g, b, F_OFD_SETLKW, F_RDLCK, 5, 5)),
        lambda: stage.note("unlock", lock(g, a, F_OFD_SETLK, F_UNLCK, 5, 5, at=0x780)),
    )

    assert stage.log == [("unlock", 0), ("lock", 0)]


def test_lock_that_a_signal_interrupts_is_eintr(stage):
    g = stage.g
    a, b = g.open(b"f", O_RDWR | O_CREAT), g.open(b"f", O_RDWR)
    lock(g, a, F_OFD_SETLK, F_WRLCK)
    g.start(
        lambda: stage.note("lock", lock(g, b, F_OFD_SETLKW, F_WRLCK)),
        lambda: stage.signal(which=0),
    )

    assert stage.log == [("lock", "EINTR")]


def test_flock_waits_until_the_other_file_is_closed(stage):
    g = stage.g
    a, b = g.open(b"f", O_RDWR | O_CREAT), g.open(b"f", O_RDWR)
    assert g.sys("flock", a, 2) == 0
    g.start(
        lambda: stage.note("flock", g.sys("flock", b, 2)),
        lambda: stage.note("close", g.sys("close", a)),
    )

    assert stage.log == [("close", 0), ("flock", 0)]


# -- limits ---------------------------------------------------------------------------------------


def test_write_over_the_file_size_limit_is_efbig_and_sigxfsz(stage):
    """getrlimit(2), RLIMIT_FSIZE: what fits is written, then SIGXFSZ and EFBIG."""
    g = stage.g
    f = g.open(b"f", O_RDWR | O_CREAT)
    g.proc.rctls.set(1, 16, 16)

    def writer():
        stage.note("partial", g.sys("pwrite64", f, g.buf, 10, 10))
        stage.note("over", g.sys("pwrite64", f, g.buf, 10, 16))
        stage.note("nothing", g.sys("pwrite64", f, g.buf, 0, 16))
        stage.note("vector", g.sys("writev", f, g.iovec((g.buf, 10), (g.buf, 10)), 2))
        stage.note("ftruncate", g.sys("ftruncate", f, 17))

    g.start(writer)

    assert stage.log == [
        ("partial", 6),
        ("over", "EFBIG"),
        ("nothing", 0),
        ("vector", 16),
        ("ftruncate", "EFBIG"),
    ]
    # The second one waits: the handler of the first has not returned.
    assert stage.caught() == [SIGXFSZ]


def test_write_over_the_limit_with_the_signal_ignored_is_efbig(stage):
    g = stage.g
    g.proc.sigacts[SIGXFSZ] = SigAction(SIG_IGN)
    f = g.open(b"f", O_RDWR | O_CREAT)
    g.proc.rctls.set(1, 4, 4)
    g.start(lambda: stage.note("write", g.sys("pwrite64", f, g.buf, 1, 4)))

    assert stage.log == [("write", "EFBIG")]
