"""Scenarios for test_native: calls on descriptors."""

from __future__ import annotations

import os
import struct
from itertools import pairwise

from .rig import AT_FDCWD, BAD, Native
from .scenario import (
    MINUS,
    O_ACCMODE,
    O_APPEND,
    O_CLOEXEC,
    O_CREAT,
    O_DIRECT,
    O_DIRECTORY,
    O_DSYNC,
    O_NOFOLLOW,
    O_NONBLOCK,
    O_PATH,
    O_RDONLY,
    O_RDWR,
    O_SYNC,
    O_TRUNC,
    O_WRONLY,
    setup,
)


def read_one(c, log):
    f = setup(c)
    w, r, d, op = c.open(b"f", O_WRONLY), c.open(b"f"), c.open(b"."), c.open(b"f", O_PATH)
    p0, p1 = c.pipe()
    none = c.open(b"f", O_ACCMODE)
    end = c.edge - 5
    for fd, what in ((f, "f"), (w, "w"), (r, "r"), (d, "d"), (op, "path"), (99, "99"), (none, "3")):
        for buf, n in ((c.buf, 0), (c.buf, 10), (BAD, 10), (BAD, 0), (end, 10), (c.buf, MINUS)):
            log(what, 0)
            log.do("pread64", fd, buf, n, 0)
            log.do("pread64", fd, buf, n, MINUS)
            log.do("lseek", fd, 0, 0)
            if not (what == "f" and n == MINUS):
                log.do("read", fd, buf, n)
            log.do("lseek", fd, 0, 1)
    for fd in (p0, p1):
        log.do("pread64", fd, c.buf, 1, 0)
        log.do("pwrite64", fd, c.buf, 1, 0)
        log.do("lseek", fd, 0, 0)
        log.do("lseek", fd, 0, 99)
    c.sys("write", p1, b"0123456789", 10)
    log.do("read", p0, c.buf, 0)
    log.do("read", p0, BAD, 10)
    log.do("read", p0, end, 10)
    log.do("read", p0, end, 3)
    log.do("read", p0, c.buf, 100)
    log("data", c.get(c.buf, 7))


def write_one(c, log):
    f = setup(c)
    r, d, op, ap = (
        c.open(b"f"),
        c.open(b"."),
        c.open(b"f", O_PATH),
        c.open(b"f", O_WRONLY | O_APPEND),
    )
    _, p1 = c.pipe(O_NONBLOCK)
    end = c.edge - 5
    c.put(end, b"abcde")
    for fd, what in ((f, "f"), (r, "r"), (d, "d"), (op, "path"), (99, "99"), (ap, "ap")):
        for buf, n in ((c.buf, 0), (c.buf, 10), (BAD, 10), (BAD, 0), (end, 10), (c.buf, MINUS)):
            log(what, 0)
            log.do("write", fd, buf, n)
            log.do("pwrite64", fd, buf, n, 3)
            log.do("pwrite64", fd, buf, n, MINUS)
            log.do("lseek", fd, 0, 1)
    log.do("write", p1, end, 10)
    log.do("write", p1, end, 5)
    log.do("write", p1, BAD, 0)
    log.do("pread64", f, c.buf, 100, 0)
    log("file", c.get(c.buf, 60))


def vectors(c, log):
    f = setup(c)
    w, r = c.open(b"f", O_WRONLY), c.open(b"f")
    p0, p1 = c.pipe(O_NONBLOCK)
    ssize = (1 << 63) - 1
    one = c.iovec((c.buf, 5))
    for fd in (f, w, r, 99):
        for vec, n in (
            (one, 0),
            (one, 1),
            (one, 1025),
            (one, MINUS),
            (BAD, 0),
            (BAD, 1),
        ):
            log.do("readv", fd, vec, n)
            log.do("preadv", fd, vec, n, 2, 0)
            log.do("preadv", fd, vec, n, MINUS, 0)
            log.do("preadv2", fd, vec, n, MINUS, 0, 0)
            log.do("preadv2", fd, vec, n, MINUS - 1, 0, 0)
            log.do("writev", fd, vec, n)
            log.do("pwritev", fd, vec, n, 2, 0)
            log.do("lseek", fd, 0, 1)
    for pairs in (
        ((c.buf, ssize), (c.buf, ssize)),
        ((c.buf, MINUS), (c.buf, 1)),
        ((c.buf, 2), (BAD, 5)),
        ((BAD, 5), (c.buf, 2)),
        ((c.buf, 0), (c.buf + 8, 3), (BAD, 0), (c.edge - 2, 4)),
    ):
        vec = c.iovec(*pairs)
        for fd in (f, r):
            c.sys("lseek", fd, 0, 0)
            log.do("readv", fd, vec, len(pairs))
            log.do("lseek", fd, 0, 1)
        log.do("pwritev", f, vec, len(pairs), 4, 0)
        log.do("writev", p1, vec, len(pairs))
        log.do("readv", p0, vec, len(pairs))
    one = c.iovec((c.buf, 5))
    log.do("preadv2", p0, one, 1, MINUS, 0, 8)
    log.do("pwritev2", f, one, 1, 0, 0, 0x30)
    log.do("pwritev2", f, one, 1, 0, 0, 0x10)
    log.do("pwritev2", f, one, 1, MINUS, 0, 0x2)
    log.do("preadv2", p0, one, 1, 0, 0, 0)
    log.do("lseek", f, 0, 2)


def positions(c, log):
    f = setup(c)
    d = c.open(b".")
    for fd in (f, d, 99):
        for off in (0, 5, MINUS, 100, (1 << 63) - 1):
            for whence in (0, 1, 2, 3, 4, 5, 99):
                if fd == d and whence > 1:
                    continue
                log.do("lseek", fd, off, whence)
                log.do("lseek", fd, 0, 0)


def descriptors(c, log):
    f = setup(c)
    op = c.open(b"f", O_PATH)
    log.do("dup", 99)
    log.do("dup", f, fd=True)
    log.do("dup", op, fd=True)
    for new in (f, -1, 1 << 30):
        log.do("dup2", f, new, fd=True)
        log.do("dup2", 99, new)
    for flags in (0, 1, O_CLOEXEC, 7):
        log.do("dup3", f, f, flags)
        log.do("dup3", 99, 99, flags)
        log.do("dup3", 99, 98, flags)
        log.do("dup3", f, 200, flags)
        log.do("fcntl", 200, 1, 0)
    log.do("dup3", f, 1 << 30, 0)
    log.do("close", 200)
    log.do("close", 200)
    log.do("close", -1)
    log.do("close_range", 300, 200, 0)
    log.do("close_range", 300, 400, 1)
    log.do("close_range", 300, 400, 2)
    log.do("close_range", 300, 0xFFFFFFFF, 4)


def fcntls(c, log):
    f = setup(c)
    op, d, r = c.open(b"f", O_PATH), c.open(b".", O_DIRECTORY), c.open(b"f")
    p0, p1 = c.pipe()
    for fd in (f, op, d, p0, p1, 99):
        for cmd, arg in (
            (0, MINUS),
            (0, 1 << 30),
            (1, 0),
            (2, 1),
            (1, 0),
            (2, MINUS - 1),
            (1, 0),
            (3, 0),
            (4, O_APPEND | O_NONBLOCK | O_TRUNC | O_RDWR),
            (3, 0),
            (4, 0),
            (3, 0),
            (1032, 0),
            (8, 99999),
            (9, 0),
            (10, 70),
            (10, 12),
            (11, 0),
            (1025, 0),
            (1034, 0),
            (1033, 1),
            (12, c.buf),
        ):
            log.do("fcntl", fd, cmd, arg)
    for size in (0, 1, 5000, 65536, 1 << 20):
        log.do("fcntl", p0, 1031, size)
    log.do("fcntl", r, 1030, 100, fd=True)
    log.do("fcntl", r, 9999, 0)
    log.do("fcntl", p0, 4, O_DIRECT)
    log.do("fcntl", p0, 3, 0)
    log("set", c.sys("fcntl", f, 8, os.getpid() if isinstance(c, Native) else c.proc.pid))
    log("own", c.sys("fcntl", f, 9, 0) > 0)


def getfl(c, log):
    setup(c)
    for flags in (
        O_RDONLY,
        O_WRONLY,
        O_RDWR,
        O_ACCMODE,
        O_RDWR | O_APPEND,
        O_RDONLY | O_NONBLOCK | O_CLOEXEC,
        O_SYNC | O_CREAT,
        O_DSYNC | 0o400,
        O_PATH,
        O_PATH | O_NOFOLLOW | O_CLOEXEC | O_RDWR,
        O_PATH | O_CREAT | O_TRUNC,
        O_NOFOLLOW,
        0x10000000,
    ):
        fd = log.do("openat", AT_FDCWD, b"f", flags, 0, fd=True)
        log.do("fcntl", fd, 3, 0)
        log.do("fcntl", fd, 1, 0)
    log.do("fcntl", c.open(b"d", O_DIRECTORY | O_NOFOLLOW), 3, 0)


LOCK = struct.Struct("<hhxxxxqqixxxx")


def locks(c, log):
    f = setup(c)
    w, r, d = c.open(b"f", O_WRONLY), c.open(b"f"), c.open(b"d")
    op = c.open(b"f", O_PATH)
    p0, _ = c.pipe()

    def lock(fd, cmd, kind, whence=0, start=0, length=0, pid=0):
        addr = c.mem(LOCK.pack(kind, whence, start, length, pid))
        log.do("fcntl", fd, cmd, addr)
        log(f"{cmd} {kind} {whence} {start} {length}", LOCK.unpack(c.get(addr, LOCK.size))[:4])

    big = (1 << 63) - 1
    for fd in (f, w, r, d, p0, op, 99):
        for kind in (0, 1, 2, 9, -1):
            lock(fd, 6, kind)
            lock(fd, 5, kind)
            lock(fd, 37, kind)
            lock(fd, 36, kind)
            lock(fd, 37, 2)
    for args in (
        (9, 0, 0),
        (0, -1, 0),
        (0, 5, -5),
        (0, 5, -6),
        (0, big, 2),
        (0, big, 1),
        (1, -1, 0),
        (1, big, 0),
        (2, -3, 2),
        (2, 1, 0),
    ):
        lock(f, 6, 1, *args)
        lock(f, 36, 1, *args)
    lock(f, 36, 0, 0, 0, 0, 5)
    log.do("fcntl", f, 6, BAD)
    log.do("fcntl", 99, 6, BAD)
    for op_ in (0, 1, 2, 3, 8, 9, 10, 5, 6, 12, 4):
        for fd in (f, r, d, p0, op, 99):
            log.do("flock", fd, op_ | 4)
    log.do("flock", f, 2)
    log.do("flock", r, 1 | 4)
    log.do("flock", r, 8)
    log.do("flock", f, 1)
    log.do("flock", r, 2 | 4)
    log.do("flock", w, 1 | 4)


def pipes(c, log):
    log.do("pipe2", BAD, 0)
    log.do("pipe2", BAD, 1)
    log.do("pipe2", c.buf, 1)
    log.do("pipe", BAD)
    p0, p1 = c.pipe(O_NONBLOCK)
    c.put(c.buf, bytes(range(256)) * 16)
    total = 0
    while isinstance(n := c.sys("write", p1, c.buf, 4096), int):
        total += n
    log("full", (total, n))
    log.do("write", p1, c.buf, 1)
    log.do("read", p0, c.buf, 100)
    log.do("write", p1, c.buf, 100)
    log.do("read", p0, c.buf, 3996)
    log.do("write", p1, c.buf, 100)
    log.do("ioctl", p0, 0x541B, c.buf)
    log("nread", c.word(c.buf))
    log.do("close", p1)
    while isinstance(n := c.sys("read", p0, c.buf, 65536), int) and n:
        log("rest", n)
    log("eof", n)
    log.do("write", p0, c.buf, 1)
    log.do("read", p0, BAD, 1)
    log.do("sync_file_range", p0, 0, 0, 8)


def ioctls(c, log):
    f = setup(c)
    d, op = c.open(b"d"), c.open(b"f", O_PATH)
    p0, p1 = c.pipe()
    c.sys("write", p1, b"abc", 3)
    for fd in (f, d, op, p0, 99):
        for cmd in (
            0x5401,
            0x5413,
            0x541B,
            0x5421,
            0x5450,
            0x5451,
            0x5460,
            2,
            0x12345,
            0x5411,
            0x5402,
        ):
            c.mem(bytes(16))
            log.do("ioctl", fd, cmd, c.buf)
            if cmd not in (0x5460, 2):
                log("value", c.word(c.buf))
            log.do("ioctl", fd, cmd, BAD)
        log.do("fcntl", fd, 3, 0)
        log.do("fcntl", fd, 1, 0)
    c.mem(b"\1\0\0\0")
    log.do("ioctl", p0, 0x5421, c.buf)
    log.do("fcntl", p0, 3, 0)


def polls(c, log):
    f = setup(c)
    op = c.open(b"f", O_PATH)
    p0, p1 = c.pipe()

    def poll(label, *pairs):
        addr = c.mem(b"".join(struct.pack("<iHH", fd, events, 99) for fd, events in pairs))
        log.do("poll", addr, len(pairs), 0)
        raw = c.get(addr, 8 * len(pairs))
        log(label, [struct.unpack_from("<H", raw, at + 6)[0] for at in range(0, len(raw), 8)])

    every = 0xFFFF
    poll("mixed", (-1, 7), (99, 7), (f, 7), (op, 7), (p0, every), (p1, every))
    c.sys("write", p1, b"x", 1)
    poll("data", (p0, every), (p1, every), (p0, 0), (p0, 0x100))
    c.sys("close", p1)
    poll("hup", (p0, every), (p0, 0))
    c.sys("read", p0, c.buf, 10)
    poll("empty hup", (p0, every), (p0, 0))
    p0, p1 = c.pipe()
    c.sys("close", p0)
    poll("broken", (p1, every), (p1, 0))
    log.do("poll", BAD, 1, 0)
    log.do("poll", BAD, 0, 0)
    log.do("poll", c.buf, 1 << 20, 0)
    for spec in ((0, 10**9), (-1, 0), (0, -1)):
        ts = c.mem(struct.pack("<qq", *spec))
        log.do("ppoll", c.buf + 64, 0, ts, 0, 8)
        log.do("pselect6", 0, 0, 0, 0, ts, 0)
    ts = c.mem(struct.pack("<qq", 0, 0))
    log.do("ppoll", c.buf + 64, 0, ts, c.buf + 128, 4)
    log.do("ppoll", c.buf + 64, 0, ts, BAD, 8)
    log.do("ppoll", c.buf + 64, 0, BAD, 0, 8)
    log.do("ppoll", c.buf + 64, 0, ts, 0, 4)


def selects(c, log):
    f = setup(c)
    p0, p1 = c.pipe()
    every = [f, p0, p1]

    def select(label, n, *sets, time=(0, 0)):
        c.mem(b"".join(sum(1 << fd for fd in s).to_bytes(128, "little") for s in sets))
        c.put(c.buf + 512, struct.pack("<qq", *time))
        at = [c.buf + 128 * i for i in range(3)]
        result = c.sys("select", n, *at, c.buf + 512)
        words = [c.word(addr, 128, signed=False) for addr in at]
        left = [{every.index(fd) for fd in every if word >> fd & 1} for word in words]
        log(label, (result, left, [word.bit_count() for word in words]))

    top = max(every) + 1
    select("ready", top, every, every, every)
    select("none", 0, every, every, every)
    select("negative", -1, [], [], [])
    select("bad", 100, [99], [], [])
    select("huge", 1 << 20, [], [], [])
    for time in ((0, -1), (-1, 0), (-1, 2000000)):
        select(f"time {time}", 0, [], [], [], time=time)
    c.sys("close", p1)
    select("hup", top, [p0], [], [p0])
    log.do("select", 5, BAD, 0, 0, c.buf + 512)
    log.do("select", 5, 0, 0, 0, BAD)
    log.do("pselect6", 0, 0, 0, 0, 0, BAD)
    c.put(c.buf, struct.pack("<QQ", c.buf + 64, 4))
    c.put(c.buf + 512, bytes(16))
    log.do("pselect6", 0, 0, 0, 0, c.buf + 512, c.buf)


def events(c, log):
    f = setup(c)
    d, op = c.open(b"d"), c.open(b"f", O_PATH)
    p0, p1 = c.pipe()
    log.do("epoll_create", 0)
    log.do("epoll_create1", 1)
    e, e2 = c.sys("epoll_create1", O_CLOEXEC), c.sys("epoll_create", 5)
    log.do("fcntl", e, 1, 0)
    log.do("fcntl", e, 3, 0)

    def ctl(op_, epfd, fd, bits=1, data=7):
        log.do("epoll_ctl", epfd, op_, fd, c.mem(struct.pack("<IQ", bits, data)))

    def wait(epfd=e, n=10):
        c.put(c.buf, bytes(120))
        log.do("epoll_wait", epfd, c.buf, n, 0)
        log("events", c.get(c.buf, 36))

    for fd in (f, d, e, 99, op):
        ctl(1, e, fd)
        ctl(1, fd, p0)
    ctl(9, e, p0)
    log.do("epoll_ctl", e, 1, p0, BAD)
    log.do("epoll_ctl", e, 2, p0, 0)
    ctl(3, e, p0)
    ctl(1, e, p0)
    ctl(1, e, p0)
    wait()
    c.sys("write", p1, b"x", 1)
    wait()
    wait()
    ctl(3, e, p0, 0x80000001, 8)
    wait()
    wait()
    c.sys("write", p1, b"x", 1)
    wait()
    ctl(3, e, p0, 0x40000001, 9)
    wait()
    wait()
    ctl(3, e, p0, 0x145, 10)
    ctl(1, e, p1, 0xFFF, 11)
    wait()
    wait(n=1)
    wait(n=1)
    for n in (0, -1 & MINUS, 0x7FFFFFFF):
        log.do("epoll_wait", e, c.buf, n, 0)
    for fd in (f, 99, p0):
        log.do("epoll_wait", fd, c.buf, 1, 0)
    log.do("epoll_wait", e, BAD, 1, 0)
    log.do("epoll_pwait", e, c.buf, 1, 0, c.buf, 4)
    ctl(1, e2, e, 1, 12)
    ctl(1, e, e2)
    wait(e2)
    q = [c.sys("epoll_create1", 0) for _ in range(7)]
    for above, below in pairwise(q):
        ctl(1, above, below)
    ctl(1, q[4], q[0])
    ctl(3, e, p0, 1 << 28 | 1)
    ctl(2, e, p0)
    ctl(1, e, p0, 1 << 28 | 0x2001)
    ctl(1, e, p0, 1 << 28 | 1)
    ctl(3, e, p0, 1)
    dup = c.sys("dup", p0)
    c.sys("close", p0)
    wait()
    c.sys("close", dup)
    wait()
    c.sys("close", p1)
    wait()
    for name in ("read", "write"):
        log.do(name, e, c.buf, 10)


def counters(c, log):
    log.do("eventfd2", 0, 0x10)
    q = c.sys("eventfd2", 5, O_NONBLOCK)
    log.do("fcntl", q, 3, 0)
    full = (1 << 64) - 1

    def write(value, size=8):
        log.do("write", q, c.mem(value.to_bytes(8, "little") + bytes(8)), size)

    for size in (7, 8, 8):
        log.do("read", q, c.buf, size)
    log("value", c.get(c.buf, 8))
    write(1, 7)
    write(full)
    write(full - 1)
    write(1)
    write(0)
    write(1, 16)
    log.do("read", q, BAD, 8)
    log.do("write", q, BAD, 8)
    log.do("read", q, c.buf, 100)
    s = c.sys("eventfd2", 3, O_NONBLOCK | 1)
    for _ in range(4):
        log.do("read", s, c.buf, 8)
    log("one", c.get(c.buf, 8))
    log.do("pread64", q, c.buf, 8, 0)
    log.do("fsync", q)
    log.do("fstat", q, c.buf)
    log("mode", c.get(c.buf + 24, 4))


def memfds(c, log):
    for flags in (0, 1, 0x20, 0x40, 0x18):
        log.do("memfd_create", b"x", flags, fd=True)
    log.do("memfd_create", BAD, 0)
    log.do("memfd_create", BAD, 0x100)
    log.do("memfd_create", b"a" * 249, 0, fd=True)
    log.do("memfd_create", b"a" * 250, 0)
    fd = c.sys("memfd_create", b"x", 0)
    log.do("fcntl", fd, 3, 0)
    log.do("fstat", fd, c.buf)
    log("mode and nlink", (c.get(c.buf + 24, 4), c.get(c.buf + 16, 8)))
    log.do("write", fd, b"hello", 5)
    log.do("ftruncate", fd, 3)
    log.do("lseek", fd, 0, 2)
    log.do("fallocate", fd, 0, 0, 100)
    log.do("lseek", fd, 0, 2)


def copies(c, log):
    f = setup(c)
    w, r, d = c.open(b"g", O_WRONLY | O_CREAT), c.open(b"f"), c.open(b"d")
    ap = c.open(b"f", O_WRONLY | O_APPEND)
    p0, p1 = c.pipe(O_NONBLOCK)

    def offset(value, at=0):
        c.put(c.buf + at, (value & MINUS).to_bytes(8, "little"))
        return c.buf + at

    for out, inp in (
        (p1, f),
        (w, r),
        (99, f),
        (p1, 99),
        (p1, w),
        (r, f),
        (p1, p0),
        (p1, d),
        (ap, f),
        (d, r),
    ):
        log.do("sendfile", out, inp, 0, 3)
        for off in (0, -1, 100):
            log.do("sendfile", out, inp, offset(off), 5)
            log("offset", c.word(c.buf, 8))
        log.do("sendfile", out, inp, BAD, 5)
    while isinstance(n := c.sys("read", p0, c.buf, 100), int):
        log("piped", c.get(c.buf, n))
    files = (f, w, r, d, ap, p0, p1, 99)
    for a in files:
        for b in files:
            log.do("copy_file_range", a, 0, b, 0, 3, 0)
    log.do("copy_file_range", f, 0, w, 0, 3, 1)
    for a, b, n in (
        (0, 5, 5),
        (0, 5, 6),
        (0, 7, 8),
        (0, 0, 0),
        (-1, 0, 5),
        (1000, 0, 5),
        (5, 0, 5),
    ):
        log.do("copy_file_range", f, offset(a), f, offset(b, 8), n, 0)
        log("offsets", (c.word(c.buf, 8), c.word(c.buf + 8, 8)))
    log.do("copy_file_range", f, BAD, w, 0, 5, 0)
    for a in files:
        for b in files:
            log.do("splice", a, 0, b, 0, 5, 0)
            log.do("splice", a, offset(1), b, 0, 5, 2)
            log.do("splice", a, 0, b, offset(1), 5, 2)
            log.do("splice", a, 0, b, 0, 0, 0)
            log.do("splice", a, 0, b, 0, 5, 0x100)
            log.do("splice", a, BAD, b, 0, 5, 2)
            log.do("tee", a, b, 5, 2)
            log.do("tee", a, b, 0, 0)
    q0, q1 = c.pipe(O_NONBLOCK)
    log.do("write", q1, b"abcdef", 6)
    log.do("tee", q0, p1, 4, 0)
    log.do("splice", q0, 0, w, 0, 4, 0)
    log.do("splice", q0, 0, p1, 0, 100, 0)
    log.do("splice", q0, 0, p1, 0, 100, 0)
    log.do("read", p0, c.buf, 100)
    log("tee and splice", c.get(c.buf, 6))
    one = c.iovec((c.buf, 5))
    for fd in (p1, p0, f, 99):
        log.do("vmsplice", fd, one, 1, 2)
        log.do("vmsplice", fd, one, 1025, 2)
        log.do("vmsplice", fd, one, 1, 0x100)
    log.do("vmsplice", p1, one, 0, 2)
