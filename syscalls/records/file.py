"""Records of files and descriptors. Times are ns since the epoch, device numbers the kernel's."""

from __future__ import annotations

from typing import NamedTuple


class Stat(NamedTuple):
    """What stat(2) tells: every stat call of both ABIs exchanges this."""

    dev: int
    ino: int
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    size: int
    blksize: int
    blocks: int
    atime: int
    mtime: int
    ctime: int


class Statx(NamedTuple):
    """What statx(2) tells; `mask` says which members are valid (STATX_*)."""

    mask: int
    blksize: int
    attributes: int
    nlink: int
    uid: int
    gid: int
    mode: int
    ino: int
    size: int
    blocks: int
    attributes_mask: int
    atime: int
    btime: int
    ctime: int
    mtime: int
    rdev: int
    dev: int
    mnt_id: int = 0
    dio_mem_align: int = 0
    dio_offset_align: int = 0
    subvol: int = 0


class Statfs(NamedTuple):
    """What statfs(2) tells of a file system; `fsid` is a pair of words; `type` is Linux's magic."""

    type: int
    bsize: int
    blocks: int
    bfree: int
    bavail: int
    files: int
    ffree: int
    fsid: tuple[int, int]
    namelen: int
    frsize: int
    flags: int


class Ustat(NamedTuple):
    """What ustat(2) tells."""

    tfree: int
    tinode: int
    fname: bytes = b""
    fpack: bytes = b""


class Iovec(NamedTuple):
    """One buffer of a vector."""

    base: int
    len: int


class Pollfd(NamedTuple):
    """One descriptor of poll(2); the events are the kernel's POLL* values."""

    fd: int
    events: int
    revents: int = 0


class EpollEvent(NamedTuple):
    """An event of epoll; the kernel's POLL* values plus EPOLL_* of abi.consts.Epoll."""

    events: int
    data: int


class Flock(NamedTuple):
    """A record lock. `type` and `whence` are the kernel's (F_RDLCK 1, F_WRLCK 2, F_UNLCK 3)."""

    type: int
    whence: int
    start: int
    len: int
    pid: int


class Flock64(Flock):
    """The lock of F_GETLK64 and friends: 64-bit offsets on i386 too."""

    __slots__ = ()


class FOwnerEx(NamedTuple):
    """F_SETOWN_EX: type F_OWNER_TID 0, PID 1, PGRP 2."""

    type: int
    pid: int


class OpenHow(NamedTuple):
    """The argument of openat2(2); raw Linux bits, for the handler checks them as that call does."""

    flags: int
    mode: int
    resolve: int


class Utimbuf(NamedTuple):
    """The argument of utime(2): seconds."""

    actime: int
    modtime: int


class Winsize(NamedTuple):
    """Size of a terminal window."""

    row: int
    col: int
    xpixel: int = 0
    ypixel: int = 0


class Termios(NamedTuple):
    """The kernel's termios of a Linux tty: flag words, line discipline, 19 control characters.

    The flag words agree with illumos bit by bit, but for IUTF8 and CBAUDEX; `cc` has Linux's order.
    """

    iflag: int
    oflag: int
    cflag: int
    lflag: int
    line: int
    cc: bytes


class Termios2(NamedTuple):
    """TCGETS2: termios with speeds."""

    iflag: int
    oflag: int
    cflag: int
    lflag: int
    line: int
    cc: bytes
    ispeed: int
    ospeed: int


class Termio(NamedTuple):
    """TCGETA: the old termio."""

    iflag: int
    oflag: int
    cflag: int
    lflag: int
    line: int
    cc: bytes


class InotifyEvent(NamedTuple):
    """Head of an inotify record; the padded name follows it."""

    wd: int
    mask: int
    cookie: int
    len: int


class FileHandle(NamedTuple):
    """Head of a struct file_handle."""

    handle_bytes: int
    handle_type: int


class MountAttr(NamedTuple):
    """The argument of mount_setattr(2): raw Linux bits."""

    attr_set: int
    attr_clr: int
    propagation: int
    userns_fd: int


class MntIdReq(NamedTuple):
    """What statmount(2) and listmount(2) are asked."""

    size: int
    spare: int
    mnt_id: int
    param: int
    mnt_ns_id: int


class SelectArgs(NamedTuple):
    """The one argument of the old i386 select(2)."""

    nfds: int
    readfds: int
    writefds: int
    exceptfds: int
    timeout: int


class Sigset6(NamedTuple):
    """The sixth argument of pselect6(2): address and size of a signal set."""

    addr: int
    size: int


class CachestatRange(NamedTuple):
    """Which bytes of a file cachestat(2) is to look at; length 0: to the end."""

    off: int
    len: int


class Cachestat(NamedTuple):
    """Pages in the cache, by their state."""

    cache: int
    dirty: int
    writeback: int
    evicted: int
    recently_evicted: int
