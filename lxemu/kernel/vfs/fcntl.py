"""Open flags, fcntl commands and the other small numbers of the file layer (sys/fcntl.h).

Values are illumos'. The four above bit 27 are ours: illumos has no such open flag.
"""

from __future__ import annotations

# How a file was opened, as open(2) takes it.
O_RDONLY = 0
O_WRONLY = 1
O_RDWR = 2
O_ACCMODE = 3
O_APPEND = 0x8
O_SYNC = 0x10
O_DSYNC = 0x40
O_NONBLOCK = 0x80
O_CREAT = 0x100
O_TRUNC = 0x200
O_EXCL = 0x400
O_NOCTTY = 0x800
O_LARGEFILE = 0x2000
O_RSYNC = 0x8000
O_NOFOLLOW = 0x20000
O_CLOEXEC = 0x800000
O_DIRECTORY = 0x1000000
O_DIRECT = 0x2000000
O_PATH = 1 << 28
O_TMPFILE = 1 << 29
O_NOATIME = 1 << 30
O_ASYNC = 1 << 31

# Bits of File.mode: what the descriptor may do.
FREAD = 1
FWRITE = 2

#: Status flags that F_SETFL may change (fcntl(2)); O_ASYNC goes through `set_async`.
O_SETFL = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME

# fcntl(2) commands (sys/fcntl.h).
F_DUPFD = 0
F_GETFD = 1
F_SETFD = 2
F_GETFL = 3
F_SETFL = 4
F_SETLK = 6
F_SETLKW = 7
F_GETLK = 14
F_DUPFD_CLOEXEC = 37
F_OFD_GETLK = 47
F_OFD_SETLK = 48
F_OFD_SETLKW = 49
F_FLOCK = 53
F_FLOCKW = 54
FD_CLOEXEC = 1

# Lock types (struct flock).
F_RDLCK = 1
F_WRLCK = 2
F_UNLCK = 3

# lseek(2) whence.
SEEK_SET = 0
SEEK_CUR = 1
SEEK_END = 2
SEEK_DATA = 3
SEEK_HOLE = 4

# ioctl(2) commands that the file layer itself answers (sys/filio.h), and one of
# sockets (sys/sockio.h).
FIONREAD = 0x4004667F
SIOCATMARK = 0x40047307

#: Largest file offset (off_t is signed, 64 bits).
MAXOFFSET = (1 << 63) - 1
#: Most bytes one read or write moves: INT_MAX cut down to a page.
MAXIO = 0x7FFFF000

MAXNAMELEN = 255
MAXPATHLEN = 4096
MAXSYMLINKS = 40


def open_mode(flags: int) -> int:
    """Return the FREAD and FWRITE bits of open flags; access mode 3 gives neither."""
    return (FREAD, FWRITE, FREAD | FWRITE, 0)[flags & O_ACCMODE]
