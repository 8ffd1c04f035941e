"""Scenarios for test_native: calls by path."""

from __future__ import annotations

import struct

from .rig import AT_FDCWD, BAD
from .scenario import (
    AT_EMPTY_PATH,
    AT_FOLLOW,
    AT_NOFOLLOW,
    MINUS,
    O_CLOEXEC,
    O_CREAT,
    O_DIRECTORY,
    O_EXCL,
    O_NOFOLLOW,
    O_NONBLOCK,
    O_PATH,
    O_RDONLY,
    O_RDWR,
    O_TMPFILE,
    O_TRUNC,
    O_WRONLY,
    RW,
    setup,
)


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
