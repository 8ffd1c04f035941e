"""The handlers of files against the host: same calls, same results, same errors, same order.

The reference of this whole file is the host's kernel, Linux on x86_64. A scenario makes calls on a
caller and logs what they said; both logs must be equal. Descriptor numbers never show.
"""

from __future__ import annotations

import difflib
import os
import struct
import tempfile
from itertools import pairwise

import pytest

from lxemu.kernel.cred import Cred

from .rig import AT_FDCWD, BAD, Guest, Native

O_RDONLY, O_WRONLY, O_RDWR, O_ACCMODE = 0, 1, 2, 3
O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_NONBLOCK = 0o100, 0o200, 0o1000, 0o2000, 0o4000
O_DIRECTORY, O_NOFOLLOW, O_CLOEXEC, O_PATH = 0o200000, 0o400000, 0o2000000, 0o10000000
O_SYNC, O_DSYNC, O_NOATIME, O_TMPFILE, O_DIRECT = 0o4010000, 0o10000, 0o1000000, 0o20200000, 0o40000
AT_EMPTY_PATH, AT_NOFOLLOW, AT_FOLLOW = 0x1000, 0x100, 0x400
MINUS = (1 << 64) - 1
RW = O_RDWR | O_CREAT

pytestmark = pytest.mark.native


class Log:
    """Collects (label, result)."""

    def __init__(self, caller):
        self.c = caller
        self.lines = []

    def __call__(self, label, result):
        self.lines.append(f"{label} = {result}")

    def do(self, name, *args, fd=False):
        """Make a call and log it; with `fd` a number only counts as success."""
        result = self.c.sys(name, *args)
        shown = [a if isinstance(a, bytes) else _short(a) for a in args]
        self(f"{name}{tuple(shown)}", "fd" if fd and isinstance(result, int) else result)
        return result


def _short(arg):
    """Show a number unless it is an address or a descriptor, which differ."""
    return arg if -200 <= arg <= 2 or 1 << 20 > arg > 1000 else "..."


def setup(c):
    """Make the files that the scenarios use: a file, links good and broken, a directory, a fifo."""
    c.sys("chmod", b".", 0o755)
    f = c.open(b"f", RW)
    c.sys("write", f, b"0123456789", 10)
    c.sys("symlink", b"f", b"l")
    c.sys("symlink", b"nowhere", b"dl")
    c.sys("symlink", b"loop", b"loop")
    c.sys("mkdir", b"d", 0o755)
    c.sys("mkdir", b"full", 0o755)
    c.sys("mkdir", b"full/sub", 0o755)
    c.sys("symlink", b"d", b"ld")
    c.sys("mknod", b"fifo", 0o010644, 0)
    return f


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


def opens(c, log):
    f = setup(c)
    d = c.open(b"d")
    paths = (b"", b"f", b"f/", b"nope", b"nope/", b"l", b"dl", b"loop", b"d", b"d/", b".", b"ld/",
             b"f/x", b"nope/x", b"l/", b"dl/", b"a" * 256)  # fmt: skip
    flag_sets = (
        O_RDONLY,
        O_RDWR,
        O_CREAT | O_EXCL,
        O_CREAT | O_WRONLY,
        O_DIRECTORY,
        O_NOFOLLOW,
        O_NOFOLLOW | O_DIRECTORY,
        O_PATH,
        O_PATH | O_NOFOLLOW,
        O_PATH | O_DIRECTORY,
        O_TRUNC,
        O_CREAT | O_DIRECTORY,
        O_TMPFILE | O_RDWR,
        O_TMPFILE,
        O_CREAT | O_NOFOLLOW,
    )
    for path in paths:
        for flags in flag_sets:
            fd = log.do("openat", AT_FDCWD, path, flags, 0o600, fd=True)
            if isinstance(fd, int):
                c.sys("close", fd)
            for name in (b"nope", b"nowhere"):
                c.sys("unlink", name)
    for dirfd in (f, d, 99):
        for path in (b"", b"x", b"/", b".", b".."):
            log.do("openat", dirfd, path, 0, 0, fd=True)
            log.do("mkdirat", dirfd, path, 0o755)
            log.do("unlinkat", dirfd, path, 0)
            log.do("unlinkat", dirfd, path, 0x200)
    log.do("openat", AT_FDCWD, b"/" + b"d/" * 2100, 0, 0)
    log.do("openat", AT_FDCWD, BAD, 0, 0)
    log.do("openat", 99, BAD, 0, 0)
    log.do("creat", b"new", 0o644, fd=True)
    log.do("openat", AT_FDCWD, b"fifo", O_WRONLY | O_NONBLOCK, 0)
    log.do("openat", AT_FDCWD, b"fifo", O_RDONLY | O_NONBLOCK, 0, fd=True)
    log.do("openat", AT_FDCWD, b"fifo", O_WRONLY | O_NONBLOCK, 0, fd=True)


def openat2(c, log):
    setup(c)

    def how(path, flags=0, mode=0, resolve=0, size=24, extra=0):
        addr = c.mem(struct.pack("<QQQQ", flags, mode, resolve, extra))
        log(f"how {flags:#x} {mode:#x} {resolve:#x} {size} {extra}", "")
        log.do("openat2", AT_FDCWD, path, addr, size, fd=True)

    for size in (0, 23, 24, 32, 5000):
        for extra in (0, 1):
            how(b"f", size=size, extra=extra)
    how(b"f", flags=1 << 40)
    how(b"f", flags=0x10000000)
    how(b"f", mode=0o600)
    how(b"f", flags=O_CREAT, mode=0o600)
    how(b"f", flags=O_CREAT, mode=0o100000)
    how(b"f", flags=O_PATH | O_TRUNC)
    how(b"f", flags=O_PATH | O_CLOEXEC)
    log.do("openat2", AT_FDCWD, b"f", BAD, 24)
    log.do("openat2", AT_FDCWD, BAD, BAD, 24)
    how(b"f", resolve=32)
    for resolve in (1, 2, 4, 8, 16, 24, 64, 0x100):
        for path in (b"f", b"l", b"..", b"d/..", b"d/../f", b"../x", b"ld", b"dl", b""):
            how(path, resolve=resolve)
    for path in (b"/", b"/tmp"):
        how(path, resolve=8)
        how(path, resolve=4)
    how(b"/f", resolve=16)
    how(b"/../f", resolve=16)
    how(b"f", flags=O_TRUNC, resolve=32)


def stats(c, log):
    f = setup(c)
    op, opl = c.open(b"f", O_PATH), c.open(b"l", O_PATH | O_NOFOLLOW)
    d = c.open(b"d")

    def stat(name, *args):
        c.mem(bytes(144))
        log.do(name, *args)
        log("st_mode", c.word(c.buf + 24))

    for path in (b"f", b"l", b"dl", b"d", b"f/", b"l/", b"", b"nope", b"loop"):
        stat("stat", path, c.buf)
        stat("lstat", path, c.buf)
        for flags in (0, AT_NOFOLLOW, 0x800, AT_EMPTY_PATH, 0x8000):
            stat("newfstatat", AT_FDCWD, path, c.buf, flags)
            stat("newfstatat", f, path, c.buf, flags)
            stat("newfstatat", 99, path, c.buf, flags)
            stat("newfstatat", opl, path, c.buf, flags)
    for fd in (f, op, opl, d, 99, c.pipe()[0]):
        stat("fstat", fd, c.buf)
        log.do("fstat", fd, BAD)
        log.do("newfstatat", fd, 0, c.buf, AT_EMPTY_PATH)
        log.do("newfstatat", fd, 0, c.buf, 0)
    log.do("stat", b"f", BAD)
    log.do("stat", BAD, BAD)
    for flags in (0, 0x6000, 0x2000, 0x4000, 0x10000, AT_NOFOLLOW, AT_EMPTY_PATH):
        for mask in (0, 0x7FF, 0x80000000):
            log.do("statx", AT_FDCWD, b"l", flags, mask, c.buf)
    log.do("statx", AT_FDCWD, b"f", 0, 0, BAD)
    log.do("statx", f, 0, AT_EMPTY_PATH, 0, c.buf)
    for mode in (0, 1, 2, 4, 7, 8):
        for path in (b"f", b"d", b"nope", b"", b"dl"):
            log.do("access", path, mode)
            log.do("faccessat", 99, path, mode)
            log.do("faccessat2", AT_FDCWD, path, mode, AT_EMPTY_PATH)
            log.do("faccessat2", AT_FDCWD, path, mode, AT_NOFOLLOW)
            log.do("faccessat2", AT_FDCWD, path, mode, 0x8000)


def names(c, log):
    f = setup(c)
    d = c.open(b"d")
    special = (b"f", b"f/", b"d", b"d/", b".", b"..", b"/", b"", b"nope", b"nope/", b"l", b"l/",
               b"dl", b"dl/", b"full", b"f/x", b"nope/x", b"full/sub", b"full/.", b"full/..",
               b"ld/", b"x" * 256)  # fmt: skip
    for path in special:
        log.do("mkdir", path, 0o755)
        log.do("rmdir", path)
        log.do("mknod", path, 0o100644, 0)
        log.do("symlink", b"target", path)
        log.do("readlink", path, c.buf, 100)
        log.do("readlink", path, c.buf, 0)
        log.do("truncate", path, 3)
        log.do("truncate", path, MINUS)
        log.do("chdir", path)
        log.do("fchdir", d)
        log.do("chdir", b"..")
        if path != b"/":  # another file system on the host
            log.do("link", path, b"newlink")
        log.do("unlink", b"newlink")
        log.do("link", b"f", path)
        log.do("unlink", path)
        c.sys("rmdir", path)
        for name in (b"f", b"l", b"dl", b"d", b"nope", b"full", b"ld"):
            c.sys("unlink", name)
            c.sys("rmdir", name)
        c.sys("rmdir", b"full/sub")
        c.sys("rmdir", b"full")
        c.sys("unlink", b"nowhere")
        setup(c)
        d = c.open(b"d")
    for kind in (0, 0o010000, 0o020000, 0o040000, 0o100000, 0o120000, 0o140000, 0o170000):
        log.do("mknod", b"node", kind | 0o644, 0x103)
        log.do("unlink", b"node")
    log.do("symlink", b"", b"x")
    log.do("readlink", b"l", BAD, 10)
    log.do("readlink", b"l", c.buf, -1 & MINUS)
    opl, op = c.open(b"l", O_PATH | O_NOFOLLOW), c.open(b"f", O_PATH)
    for fd in (f, op, opl, AT_FDCWD, 99):
        log.do("readlinkat", fd, b"", c.buf, 10)
        log.do("linkat", fd, b"", AT_FDCWD, b"e", AT_EMPTY_PATH)
        log.do("unlink", b"e")
        log.do("linkat", fd, b"", AT_FDCWD, b"e", 0)
    log.do("linkat", AT_FDCWD, b"l", AT_FDCWD, b"x", AT_FOLLOW)
    log.do("linkat", AT_FDCWD, b"l", AT_FDCWD, b"y", 1)
    log.do("unlinkat", AT_FDCWD, b"f", 0x100)
    tmp = c.open(b"d", O_TMPFILE | O_RDWR)
    log.do("linkat", tmp, b"", AT_FDCWD, b"named", AT_EMPTY_PATH)
    log.do("stat", b"named", c.buf)
    log.do("linkat", c.open(b"d", O_TMPFILE | O_RDWR | O_EXCL), b"", AT_FDCWD, b"n2", AT_EMPTY_PATH)


def renames(c, log):
    setup(c)
    pool = (b"f", b"f/", b"d", b"d/", b".", b"..", b"", b"nope", b"nope/", b"l", b"dl", b"full",
            b"full/sub", b"full/sub/deep", b"d/x", b"f/x", b"ld/")  # fmt: skip
    for old in pool:
        for new in pool:
            for flags in (0, 1, 2, 3, 8):
                result = log.do("renameat2", AT_FDCWD, old, AT_FDCWD, new, flags)
                if result == 0:
                    for name in (b"f", b"l", b"dl", b"nope", b"full/sub", b"full", b"d/x", b"d",
                                 b"loop", b"ld", b"fifo"):  # fmt: skip
                        for inner in (b"/x", b"/sub", b"/sub/deep", b"/deep", b"/sub/sub"):
                            c.sys("unlink", name + inner)
                            c.sys("rmdir", name + inner)
                        c.sys("rmdir", name + b"/sub")
                        c.sys("unlink", name)
                        c.sys("rmdir", name)
                    setup(c)


def attributes(c, log):
    f = setup(c)
    op, opl, r = c.open(b"f", O_PATH), c.open(b"l", O_PATH | O_NOFOLLOW), c.open(b"f")
    for path in (b"f", b"l", b"nope", b"", b"dl", b"d"):
        log.do("chmod", path, 0o14644)
        log.do("chown", path, 0xFFFFFFFF, 0xFFFFFFFF)
        log.do("lchown", path, 0xFFFFFFFF, 0xFFFFFFFF)
        log.do("fchmodat", AT_FDCWD, path, 0o600)
        log.do("fchmodat", 99, path, 0o600)
        for flags in (0, 8, AT_EMPTY_PATH, AT_NOFOLLOW):
            log.do("fchownat", f, path, 0xFFFFFFFF, 0xFFFFFFFF, flags)
            log.do("utimensat", AT_FDCWD, path, 0, flags)
            log.do("utimensat", f, path, 0, flags)
        log.do("utime", path, 0)
        log.do("utimes", path, BAD)
    for fd in (f, op, opl, 99):
        log.do("fchmod", fd, 0o640)
        log.do("fchown", fd, 0xFFFFFFFF, 0xFFFFFFFF)
        log.do("utimensat", fd, 0, 0, 0)
        log.do("utimensat", fd, 0, 0, AT_NOFOLLOW)
        log.do("utimensat", fd, 0, 0, AT_EMPTY_PATH)
    log.do("utimensat", AT_FDCWD, 0, 0, 0)
    now, omit = (1 << 30) - 1, (1 << 30) - 2
    for nsecs in ((0, MINUS), (10**9, 0), (omit, omit), (omit, 5), (now, omit), (now, now)):
        times = c.mem(struct.pack("<QQQQ", 5, nsecs[0], 6, nsecs[1]))
        log.do("utimensat", AT_FDCWD, b"f", times, 0)
        log.do("utimensat", AT_FDCWD, b"nope", times, 0)
        log.do("utimensat", 99, b"nope", times, 8)
    log.do("utimes", b"nope", c.mem(struct.pack("<QQQQ", 0, 10**6, 0, 0)))
    log.do("futimesat", f, 0, c.mem(struct.pack("<QQQQ", 0, 10**6, 0, 0)))
    log.do("futimesat", f, 0, c.mem(struct.pack("<QQQQ", 7, 5, 8, 6)))
    log.do("fstat", f, c.buf)
    log("times", c.get(c.buf + 72, 32))
    for fd in (f, r, op, 99, c.open(b"d"), c.pipe()[1]):
        for length in (0, 5, MINUS, 100):
            log.do("ftruncate", fd, length)
    log.do("umask", 0o77)
    log.do("umask", 0o22)


def storage(c, log):
    f = setup(c)
    r, d, op = c.open(b"f"), c.open(b"d"), c.open(b"f", O_PATH)
    p0, p1 = c.pipe()
    big = (1 << 63) - 1
    for fd in (f, r, d, op, p1, 99):
        log.do("fsync", fd)
        log.do("fdatasync", fd)
        log.do("syncfs", fd)
        for mode in (0, 1, 2, 3, 0x800):
            for off, n in ((0, 0), (MINUS, 1), (0, MINUS), (100, big)):
                log.do("fallocate", fd, mode, off, n)
        log.do("fadvise64", fd, 0, 0, 9)
        log.do("fadvise64", fd, 0, 0, 0)
        log.do("fadvise64", fd, 0, MINUS, 0)
        log.do("sync_file_range", fd, 0, 0, 2)
        log.do("sync_file_range", fd, MINUS, 0, 0)
        log.do("sync_file_range", fd, 0, MINUS, 0)
    for fd in (f, r, d, op, p0, 99):
        log.do("readahead", fd, 0, 10)
    log.do("fallocate", f, 1, 0, 5000)
    log.do("lseek", f, 0, 2)
    log.do("fallocate", f, 0, 0, 5000)
    log.do("lseek", f, 0, 2)
    log.do("fallocate", f, 3, 2, 3)
    log.do("pread64", f, c.buf, 10, 0)
    log("hole", c.get(c.buf, 10))


def directories(c, log):
    f = setup(c)
    d = c.open(b".")
    for fd in (f, d, c.open(b".", O_PATH), 99):
        for buf, size in ((c.buf, 0), (c.buf, 10), (BAD, 100)):
            log.do("getdents64", fd, buf, size)
            log.do("getdents", fd, buf, size)
    found = []
    c.sys("lseek", d, 0, 0)
    while (n := c.sys("getdents64", d, c.buf, 64)) not in (0, "EINVAL"):
        raw = c.get(c.buf, n)
        at = 0
        while at < n:
            size = struct.unpack_from("<H", raw, at + 16)[0]
            found.append((raw[at + 19 : at + size].split(b"\0")[0], raw[at + 18]))
            at += size
    log("entries", sorted(found))
    c.sys("mkdir", b"gone", 0o755)
    gone = c.open(b"gone")
    c.sys("rmdir", b"gone")
    log.do("getdents64", gone, c.buf, 100)
    log.do("openat", gone, b"x", RW, 0o644)
    log.do("mkdirat", gone, b"x", 0o755)
    log.do("openat", gone, b".", 0, 0, fd=True)
    log.do("openat", gone, b"..", 0, 0, fd=True)
    log.do("fchdir", f)
    log.do("fchdir", gone)
    log.do("getcwd", c.buf, 100)
    log.do("fchdir", d)
    log.do("getcwd", c.buf, 0)
    log.do("getcwd", c.buf, 1)
    log.do("getcwd", BAD, 4096)
    log.do("chroot", b"f")
    log.do("chroot", b"nope")


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


def xattrs(c, log):
    f = setup(c)
    op, p0 = c.open(b"f", O_PATH), c.pipe()[0]
    value = c.mem(b"value")
    for name in (b"", b"foo", b"foo.bar", b"a" * 300, b"user." + b"a" * 251):
        log.do("setxattr", b"f", name, value, 5, 0)
        log.do("getxattr", b"f", name, c.buf + 64, 100)
        log.do("removexattr", b"f", name)
    log.do("setxattr", b"f", b"user.a", value, 70000, 0)
    log.do("setxattr", b"f", b"user.a", value, 5, 8)
    log.do("setxattr", b"f", b"user.a", BAD, 5, 0)
    log.do("setxattr", b"nope", b"user.a", value, 5, 0)
    log.do("fsetxattr", 99, b"user.a", value, 5, 0)
    log.do("fsetxattr", op, b"user.a", value, 5, 0)
    log.do("fsetxattr", p0, b"user.a", value, 5, 0)
    log.do("fgetxattr", p0, b"user.a", c.buf + 64, 5)
    log.do("lgetxattr", b"l", b"user.a", c.buf + 64, 5)
    log.do("lsetxattr", b"l", b"user.a", value, 5, 0)
    log.do("listxattr", b"nope", c.buf, 0)
    log.do("flistxattr", p0, c.buf, 0)
    log.do("flistxattr", f, c.buf, 0)


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


SCENARIOS = (
    read_one,
    write_one,
    vectors,
    positions,
    descriptors,
    fcntls,
    getfl,
    locks,
    opens,
    openat2,
    stats,
    names,
    renames,
    attributes,
    storage,
    directories,
    pipes,
    ioctls,
    polls,
    selects,
    xattrs,
    events,
    counters,
    memfds,
    copies,
)


@pytest.fixture
def host_dir(tmp_path):
    """Give a directory in memory if the host has one: our files are in tmpfs, too."""
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tmp_path
    with tempfile.TemporaryDirectory(dir=where) as path:
        base = os.path.join(path, "base")
        os.mkdir(base)
        yield base


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_scenario_as_the_host(scenario, host_dir):
    native = Native(host_dir)
    expected = Log(native)
    try:
        scenario(native, expected)
    finally:
        native.close()

    groups = tuple(os.getgroups())
    guest = Guest(64, Cred.for_user(os.geteuid(), os.getegid(), groups))
    got = Log(guest)
    for _ in range(3):
        guest.open(b"/dev/null", O_RDWR)
    guest.start(lambda: scenario(guest, got))
    guest.close()

    diff = difflib.unified_diff(expected.lines, got.lines, "host", "ours", n=3, lineterm="")
    assert not list(diff), "\n" + "\n".join(
        difflib.unified_diff(expected.lines, got.lines, "host", "ours", n=3, lineterm="")
    )
