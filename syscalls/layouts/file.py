"""Layouts of syscalls/records/file.py. Sources: asm/stat.h, asm/compat.h, asm-generic headers."""

from __future__ import annotations

from typing import Any, Final

from syscalls.abi.layout import (
    I32,
    I64,
    LONG,
    PTR,
    U8,
    U16,
    U32,
    U64,
    ULONG,
    Const,
    Copy,
    Layout,
    Member,
    array,
    raw,
)
from syscalls.abi.scalars import ID16
from syscalls.abi.xlat_file import LOCK_TYPE, WHENCE
from syscalls.abi.xlat_poll import EPOLL_EVENTS, POLL_EVENTS
from syscalls.records import file as r

from .common import DEV16, DEV32, DEV64, NS_LONG, NS_STATX, NS_U32

_Z32: Final = Const("I")

STAT_X86_64: Final = Layout(
    r.Stat,
    "STAT_X86_64",
    dev=DEV64,
    ino=U64,
    nlink=U64,
    mode=U32,
    uid=U32,
    gid=U32,
    _pad0=_Z32,
    rdev=DEV64,
    size=I64,
    blksize=I64,
    blocks=I64,
    atime=NS_LONG,
    mtime=NS_LONG,
    ctime=NS_LONG,
    _unused=Const("qqq", value="0, 0, 0"),
)
#: struct stat of i386 (compat_stat): calls 106 to 108.
STAT_I386: Final = Layout(
    r.Stat,
    "STAT_I386",
    dev=DEV32,
    ino=U32,
    mode=U16,
    nlink=U16,
    uid=ID16,
    gid=ID16,
    rdev=DEV32,
    size=Member("i"),
    blksize=U32,
    blocks=U32,
    atime=NS_U32,
    mtime=NS_U32,
    ctime=NS_U32,
    _unused=Const("II", value="0, 0"),
)
#: struct stat64 of i386, 96 bytes: calls 195 to 197 and 300.
STAT64_I386: Final = Layout(
    r.Stat,
    "STAT64_I386",
    dev=DEV64,
    _pad0=_Z32,
    _ino32=Copy("ino", "I", "{v} & 0xffffffff"),
    mode=U32,
    nlink=U32,
    uid=U32,
    gid=U32,
    rdev=DEV64,
    _pad3=_Z32,
    size=I64,
    blksize=U32,
    blocks=U64,
    atime=NS_U32,
    mtime=NS_U32,
    ctime=NS_U32,
    ino=U64,
)
_SEC32: Final = Member("I", enc="{v} // 1000000000 & 0xffffffff", dec="{0} * 1000000000")
#: struct __old_kernel_stat, 32 bytes: calls 18, 28 and 84.
STAT_OLD: Final = Layout(
    r.Stat,
    "STAT_OLD",
    dev=DEV16,
    ino=Member("H", enc="{v} & 0xffff"),
    mode=U16,
    nlink=U16,
    uid=ID16,
    gid=ID16,
    rdev=DEV16,
    size=Member("I", enc="({v} if {v} <= 0x7fffffff else -1)"),
    atime=_SEC32,
    mtime=_SEC32,
    ctime=_SEC32,
    blksize=Member("", enc="*()", dec="512", count=0),
    blocks=Member("", enc="*()", dec="0", count=0),
)
_MAJOR: Final = Member("II", enc="{v} >> 32, {v} & 0xffffffff", dec="({0} << 32 | {1})", count=2)
STATX: Final = Layout(
    r.Statx,
    "STATX",
    mask=U32,
    blksize=U32,
    attributes=U64,
    nlink=U32,
    uid=U32,
    gid=U32,
    mode=U16,
    _spare0=Const("H"),
    ino=U64,
    size=U64,
    blocks=U64,
    attributes_mask=U64,
    atime=NS_STATX,
    btime=NS_STATX,
    ctime=NS_STATX,
    mtime=NS_STATX,
    rdev=_MAJOR,
    dev=_MAJOR,
    mnt_id=U64,
    dio_mem_align=U32,
    dio_offset_align=U32,
    subvol=U64,
    _spare=Member("88s"),
)
STATFS: Final = Layout(
    r.Statfs,
    "STATFS",
    type=LONG,
    bsize=LONG,
    blocks=ULONG,
    bfree=ULONG,
    bavail=ULONG,
    files=ULONG,
    ffree=ULONG,
    fsid=array(U32, 2),
    namelen=LONG,
    frsize=LONG,
    flags=LONG,
    _spare=Const("qqqq", "iiii", value="0, 0, 0, 0"),
)
#: struct statfs64 of i386: packed, 84 bytes.
STATFS64_I386: Final = Layout(
    r.Statfs,
    "STATFS64_I386",
    packed=True,
    type=U32,
    bsize=U32,
    blocks=U64,
    bfree=U64,
    bavail=U64,
    files=U64,
    ffree=U64,
    fsid=array(U32, 2),
    namelen=U32,
    frsize=U32,
    flags=U32,
    _spare=Const("IIII", value="0, 0, 0, 0"),
)
USTAT: Final = Layout(r.Ustat, tfree=I32, tinode=ULONG, fname=raw(6), fpack=raw(6))
IOVEC: Final = Layout(r.Iovec, base=PTR, len=ULONG)

_POLL: Final = Member(
    "H",
    enc="poll_out[{v}]",
    dec="poll_in[{0}]",
    names={"poll_in": POLL_EVENTS.from_lx, "poll_out": POLL_EVENTS.to_lx},
)
POLLFD: Final = Layout(r.Pollfd, fd=I32, events=_POLL, revents=_POLL)
_EPOLL: Final = Member(
    "I",
    enc="epoll_out[{v}]",
    dec="epoll_in[{0}]",
    names={"epoll_in": EPOLL_EVENTS.from_lx, "epoll_out": EPOLL_EVENTS.to_lx},
)
#: Packed on x86_64 too, so that both ABIs have the same 12 bytes (eventpoll.h).
EPOLL_EVENT: Final = Layout(r.EpollEvent, packed=True, events=_EPOLL, data=U64)

_LOCK_NAMES: Final = {
    "lock_in": LOCK_TYPE.from_lx,
    "lock_out": LOCK_TYPE.to_lx,
    "whence_in": WHENCE.from_lx,
    "whence_out": WHENCE.to_lx,
}
_LTYPE: Final = Member("h", enc="lock_out[{v}]", dec="lock_in[{0}]", names=_LOCK_NAMES)
_WHENCE: Final = Member("h", enc="whence_out[{v}]", dec="whence_in[{0}]", names=_LOCK_NAMES)
FLOCK: Final = Layout(r.Flock, type=_LTYPE, whence=_WHENCE, start=LONG, len=LONG, pid=I32)
FLOCK64: Final = Layout(r.Flock64, type=_LTYPE, whence=_WHENCE, start=I64, len=I64, pid=I32)
F_OWNER_EX: Final = Layout(r.FOwnerEx, type=I32, pid=I32)
OPEN_HOW: Final = Layout(r.OpenHow, flags=U64, mode=U64, resolve=U64)
UTIMBUF: Final = Layout(r.Utimbuf, actime=LONG, modtime=LONG)
WINSIZE: Final = Layout(r.Winsize, row=U16, col=U16, xpixel=U16, ypixel=U16)
TERMIOS: Final = Layout(r.Termios, iflag=U32, oflag=U32, cflag=U32, lflag=U32, line=U8, cc=raw(19))
TERMIOS2: Final = Layout(
    r.Termios2,
    iflag=U32,
    oflag=U32,
    cflag=U32,
    lflag=U32,
    line=U8,
    cc=raw(19),
    ispeed=U32,
    ospeed=U32,
)
TERMIO: Final = Layout(
    r.Termio, align=2, iflag=U16, oflag=U16, cflag=U16, lflag=U16, line=U8, cc=raw(8)
)
INOTIFY_EVENT: Final = Layout(r.InotifyEvent, wd=I32, mask=U32, cookie=U32, len=U32)
MOUNT_ATTR: Final = Layout(r.MountAttr, attr_set=U64, attr_clr=U64, propagation=U64, userns_fd=U64)
MNT_ID_REQ: Final = Layout(r.MntIdReq, size=U32, spare=U32, mnt_id=U64, param=U64, mnt_ns_id=U64)
FILE_HANDLE: Final = Layout(r.FileHandle, handle_bytes=U32, handle_type=I32)
SELECT_ARGS: Final = Layout(
    r.SelectArgs, nfds=LONG, readfds=PTR, writefds=PTR, exceptfds=PTR, timeout=PTR
)
SIGSET6: Final = Layout(r.Sigset6, addr=PTR, size=ULONG)

#: Record -> layout, or (x86_64, i386) where they differ by more than the data model.
CACHESTAT_RANGE: Final = Layout(r.CachestatRange, off=U64, len=U64)
CACHESTAT: Final = Layout(
    r.Cachestat, cache=U64, dirty=U64, writeback=U64, evicted=U64, recently_evicted=U64
)

DEFAULTS: Final[dict[Any, Any]] = {
    r.CachestatRange: CACHESTAT_RANGE,
    r.Cachestat: CACHESTAT,
    r.Stat: (STAT_X86_64, STAT64_I386),
    r.Statx: STATX,
    r.Statfs: STATFS,
    r.Ustat: USTAT,
    r.Iovec: IOVEC,
    r.Pollfd: POLLFD,
    r.EpollEvent: EPOLL_EVENT,
    r.Flock: FLOCK,
    r.Flock64: FLOCK64,
    r.FOwnerEx: F_OWNER_EX,
    r.OpenHow: OPEN_HOW,
    r.Utimbuf: UTIMBUF,
    r.Winsize: WINSIZE,
    r.Termios: TERMIOS,
    r.Termios2: TERMIOS2,
    r.Termio: TERMIO,
    r.InotifyEvent: INOTIFY_EVENT,
    r.FileHandle: FILE_HANDLE,
    r.MountAttr: MOUNT_ATTR,
    r.MntIdReq: MNT_ID_REQ,
    r.SelectArgs: SELECT_ARGS,
    r.Sigset6: SIGSET6,
}
