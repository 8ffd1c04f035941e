"""What the scenarios of test_native share: constants, the log, and the files they use."""

from __future__ import annotations

O_RDONLY, O_WRONLY, O_RDWR, O_ACCMODE = 0, 1, 2, 3
O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_NONBLOCK = 0o100, 0o200, 0o1000, 0o2000, 0o4000
O_DIRECTORY, O_NOFOLLOW, O_CLOEXEC, O_PATH = 0o200000, 0o400000, 0o2000000, 0o10000000
O_SYNC, O_DSYNC, O_NOATIME, O_TMPFILE, O_DIRECT = 0o4010000, 0o10000, 0o1000000, 0o20200000, 0o40000
AT_EMPTY_PATH, AT_NOFOLLOW, AT_FOLLOW = 0x1000, 0x100, 0x400
MINUS = (1 << 64) - 1
RW = O_RDWR | O_CREAT


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
