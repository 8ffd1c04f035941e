"""Changing what a file is, and its storage: chmod(2), chown(2), utimes(2), truncate(2), fsync(2)."""

from __future__ import annotations

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.rctl import RLIMIT_FSIZE
from lxemu.kernel.vfs.attr import vn_chmod, vn_chown, vn_truncate, vn_utimens
from lxemu.kernel.vfs.fcntl import FREAD, FWRITE, MAXOFFSET, O_LARGEFILE
from lxemu.kernel.vfs.file import File
from lxemu.kernel.vfs.vnode import VBLK, VDIR, VFIFO, VLNK, VREG
from syscalls.abi import (
    AT_FDCWD,
    NO_ID,
    At,
    AtChmod,
    AtChown,
    AtUtimens,
    DirFd,
    Fadvice,
    FallocMode,
    Fd,
    Gid,
    In,
    Long,
    Mode,
    Off,
    Off64,
    Path,
    PathOrNull,
    Size,
    SyncRangeFlags,
    Timespec,
    TimespecPair,
    TimevalPair,
    Uid,
    Utimbuf,
    syscall,
)
from syscalls.handlers.open_ import MAX_NON_LFS
from syscalls.handlers.paths import locate, open_file
from syscalls.handlers.rw import check_limit

# -- permission bits and owners -------------------------------------------------------------------


@syscall
def chmod(lwp: Lwp, path: Path, mode: Mode) -> int:
    """Set the permission bits: chmod(2)."""
    vn_chmod(locate(lwp, AT_FDCWD, path), mode, lwp.proc.cred)
    return 0


@syscall
def fchmod(lwp: Lwp, fd: Fd, mode: Mode) -> int:
    """Set the permission bits of an open file: fchmod(2)."""
    vn_chmod(open_file(lwp, fd).name, mode, lwp.proc.cred)
    return 0


@syscall
def fchmodat(lwp: Lwp, dirfd: DirFd, path: Path, mode: Mode) -> int:
    """Set the permission bits: fchmodat(2), the call without flags."""
    vn_chmod(locate(lwp, dirfd, path), mode, lwp.proc.cred)
    return 0


@syscall
def fchmodat2(lwp: Lwp, dirfd: DirFd, path: Path, mode: Mode, flags: AtChmod) -> int:
    """Set the permission bits; a symbolic link has none to set: fchmodat2(2)."""
    name = locate(lwp, dirfd, path, flags)
    if name.vnode.type == VLNK:
        raise KernelError(Errno.EOPNOTSUPP)
    vn_chmod(name, mode, lwp.proc.cred)
    return 0


def _id(number: int) -> int:
    return -1 if number == NO_ID else number


@syscall
def chown(lwp: Lwp, path: Path, owner: Uid, group: Gid) -> int:
    """Set owner and group: chown(2)."""
    vn_chown(locate(lwp, AT_FDCWD, path), _id(owner), _id(group), lwp.proc.cred)
    return 0


@syscall
def lchown(lwp: Lwp, path: Path, owner: Uid, group: Gid) -> int:
    """Set owner and group, of a symbolic link itself: lchown(2)."""
    name = locate(lwp, AT_FDCWD, path, At.SYMLINK_NOFOLLOW)
    vn_chown(name, _id(owner), _id(group), lwp.proc.cred)
    return 0


@syscall
def fchown(lwp: Lwp, fd: Fd, owner: Uid, group: Gid) -> int:
    """Set owner and group of an open file: fchown(2)."""
    vn_chown(open_file(lwp, fd).name, _id(owner), _id(group), lwp.proc.cred)
    return 0


@syscall
def fchownat(lwp: Lwp, dirfd: DirFd, path: Path, owner: Uid, group: Gid, flags: AtChown) -> int:
    """Set owner and group: fchownat(2)."""
    vn_chown(locate(lwp, dirfd, path, flags), _id(owner), _id(group), lwp.proc.cred)
    return 0


# -- times ----------------------------------------------------------------------------------------

LX_UTIME_NOW = (1 << 30) - 1
LX_UTIME_OMIT = (1 << 30) - 2
_NS = 1_000_000_000
_US = 1_000_000


@syscall
def utime(lwp: Lwp, path: Path, times: In[Utimbuf]) -> int:
    """Set the times of a file in seconds; now when NULL: utime(2)."""
    pair = None
    if times:
        record = times.get()
        pair = (record.actime * _NS, record.modtime * _NS)
    return _utimens(lwp, AT_FDCWD, path, pair, 0)


@syscall
def utimes(lwp: Lwp, path: Path, times: In[TimevalPair]) -> int:
    """Set the times of a file in microseconds; now when NULL: utimes(2)."""
    return _utimens(lwp, AT_FDCWD, path, _microseconds(times), 0)


@syscall
def futimesat(lwp: Lwp, dirfd: DirFd, path: PathOrNull, times: In[TimevalPair]) -> int:
    """Set the times of a file; a NULL path is the descriptor itself: futimesat(2)."""
    return _utimens(lwp, dirfd, path, _microseconds(times), 0)


def _microseconds(times: In[TimevalPair]) -> tuple[int, int] | None:
    if not times:
        return None
    pair = times.get()
    for time in pair:
        if not 0 <= time.usec < _US:
            raise KernelError(Errno.EINVAL)
    return tuple(time.sec * _NS + time.usec * 1000 for time in pair)  # type: ignore[return-value]


@syscall
def utimensat(
    lwp: Lwp, dirfd: DirFd, path: PathOrNull, times: In[TimespecPair], flags: AtUtimens
) -> int:
    """Set the times of a file in nanoseconds; a NULL path is the descriptor: utimensat(2)."""
    pair = None
    if times:
        atime, mtime = times.get()
        if atime.nsec == LX_UTIME_OMIT and mtime.nsec == LX_UTIME_OMIT:
            return 0
        if not (atime.nsec == LX_UTIME_NOW and mtime.nsec == LX_UTIME_NOW):
            pair = (_time(lwp, atime), _time(lwp, mtime))
    return _utimens(lwp, dirfd, path, pair, flags)


def _time(lwp: Lwp, time: Timespec) -> int | None:
    if time.nsec == LX_UTIME_OMIT:
        return None
    if time.nsec == LX_UTIME_NOW:
        now: int = lwp.machine.clock.realtime()
        return now
    if not 0 <= time.nsec < _NS:
        raise KernelError(Errno.EINVAL)
    return time.sec * _NS + time.nsec


def _utimens(
    lwp: Lwp,
    dirfd: int,
    path: bytes | None,
    pair: tuple[int | None, int | None] | None,
    flags: int,
) -> int:
    if path is None:
        if dirfd == AT_FDCWD:
            raise KernelError(Errno.EFAULT)
        if flags:
            raise KernelError(Errno.EINVAL)
        name = open_file(lwp, dirfd).name
    else:
        name = locate(lwp, dirfd, path, flags)
    now = pair is None
    if pair is None:
        pair = (lwp.machine.clock.realtime(),) * 2
    vn_utimens(name, *pair, lwp.proc.cred, now=now)
    return 0


# -- length ---------------------------------------------------------------------------------------


@syscall
def truncate(lwp: Lwp, path: Path, length: Long) -> int:
    """Set the length of a file: truncate(2)."""
    return _truncate(lwp, path, length)


@syscall
def truncate64(lwp: Lwp, path: Path, length: Off64) -> int:
    """Set the length of a file, 64 bits in both models: truncate64(2)."""
    return _truncate(lwp, path, length)


def _truncate(lwp: Lwp, path: bytes, length: int) -> int:
    if length < 0:
        raise KernelError(Errno.EINVAL)
    name = locate(lwp, AT_FDCWD, path)
    if name.vnode.type == VREG and length > name.vnode.size():
        check_limit(lwp, length - 1, lwp.proc.rctls.soft(RLIMIT_FSIZE))
    vn_truncate(name, length, lwp.proc.cred)
    return 0


@syscall
def ftruncate(lwp: Lwp, fd: Fd, length: Off) -> int:
    """Set the length of an open file: ftruncate(2)."""
    return _ftruncate(lwp, fd, length)


@syscall
def ftruncate64(lwp: Lwp, fd: Fd, length: Off64) -> int:
    """Set the length of an open file, 64 bits in both models: ftruncate64(2)."""
    return _ftruncate(lwp, fd, length)


def _ftruncate(lwp: Lwp, fd: int, length: int) -> int:
    if length < 0:
        raise KernelError(Errno.EINVAL)
    file = open_file(lwp, fd)
    if file.vnode.type != VREG or not file.flags & FWRITE:
        raise KernelError(Errno.EINVAL)
    if length > MAX_NON_LFS and not file.flags & O_LARGEFILE:
        raise KernelError(Errno.EINVAL)
    if length > file.vnode.size():
        check_limit(lwp, length - 1, lwp.proc.rctls.soft(RLIMIT_FSIZE))
    file.truncate(length)
    return 0


LX_FALLOC_KEEP_SIZE = 0x01
LX_FALLOC_PUNCH_HOLE = 0x02
LX_FALLOC_ZERO_RANGE = 0x10
LX_FALLOC_KNOWN = 0x7F


@syscall
def fallocate(lwp: Lwp, fd: Fd, mode: FallocMode, offset: Off64, length: Off64) -> int:
    """Get storage for a range of a file, or free it: fallocate(2).

    Deviation: only mode 0, KEEP_SIZE, PUNCH_HOLE and ZERO_RANGE; the others are EOPNOTSUPP, as on a
    file system that cannot do them.
    """
    file = open_file(lwp, fd)
    if offset < 0 or length <= 0:
        raise KernelError(Errno.EINVAL)
    if mode & ~LX_FALLOC_KNOWN or mode & LX_FALLOC_PUNCH_HOLE and not mode & LX_FALLOC_KEEP_SIZE:
        raise KernelError(Errno.EOPNOTSUPP)
    _check_fallocate(file)
    if offset + length > MAXOFFSET:
        raise KernelError(Errno.EFBIG)
    keep = mode & LX_FALLOC_KEEP_SIZE != 0
    action = mode & ~LX_FALLOC_KEEP_SIZE
    if action not in (0, LX_FALLOC_PUNCH_HOLE, LX_FALLOC_ZERO_RANGE):
        raise KernelError(Errno.EOPNOTSUPP)
    vnode = file.vnode
    end = offset + length
    if not keep and end > vnode.size():
        check_limit(lwp, end - 1, lwp.proc.rctls.soft(RLIMIT_FSIZE))
    if action:
        vnode.freesp(offset, length)
    if action != LX_FALLOC_PUNCH_HOLE:
        vnode.allocate(offset, length, keep_size=keep)
    return 0


def _check_fallocate(file: File) -> None:
    if not file.flags & FWRITE:
        raise KernelError(Errno.EBADF)
    vtype = file.vnode.type
    if vtype == VFIFO:
        raise KernelError(Errno.ESPIPE)
    if vtype == VDIR:
        raise KernelError(Errno.EISDIR)
    if vtype not in (VREG, VBLK):
        raise KernelError(Errno.ENODEV)


# -- storage --------------------------------------------------------------------------------------


@syscall
def fsync(lwp: Lwp, fd: Fd) -> int:
    """Write a file out: fsync(2)."""
    open_file(lwp, fd).vnode.fsync()
    return 0


@syscall
def fdatasync(lwp: Lwp, fd: Fd) -> int:
    """Write the data of a file out: fdatasync(2)."""
    open_file(lwp, fd).vnode.fsync()
    return 0


@syscall
def sync(lwp: Lwp) -> int:
    """Write every file system out: sync(2)."""
    for mount in lwp.proc.zone.mounts or ():
        mount.vfs.sync()
    return 0


@syscall
def syncfs(lwp: Lwp, fd: Fd) -> int:
    """Write the file system of an open file out: syncfs(2)."""
    open_file(lwp, fd).name.vnode.vfs.sync()
    return 0


@syscall
def sync_file_range(
    lwp: Lwp, fd: Fd, offset: Off64, nbytes: Off64, flags: SyncRangeFlags
) -> int:
    """Write a range of a file out: sync_file_range(2). The whole file is written."""
    file = open_file(lwp, fd)
    if offset < 0 or nbytes < 0 or offset + nbytes > MAXOFFSET:
        raise KernelError(Errno.EINVAL)
    if file.vnode.type not in (VREG, VBLK, VDIR, VLNK):
        raise KernelError(Errno.ESPIPE)
    if flags:
        file.vnode.fsync()
    return 0


LX_FADV_MAX = 5


@syscall
def fadvise64(lwp: Lwp, fd: Fd, offset: Off64, length: Size, advice: Fadvice) -> int:
    """Announce how a file will be read: fadvise64(2) with a length of one word. Nothing to do."""
    return _fadvise(lwp, fd, offset, length, advice)


@syscall
def fadvise64_64(lwp: Lwp, fd: Fd, offset: Off64, length: Off64, advice: Fadvice) -> int:
    """Announce how a file will be read: fadvise64_64(2). Nothing to do."""
    return _fadvise(lwp, fd, offset, length, advice)


def _fadvise(lwp: Lwp, fd: int, offset: int, length: int, advice: int) -> int:  # noqa: ARG001
    file = open_file(lwp, fd)
    if file.vnode.type == VFIFO:
        raise KernelError(Errno.ESPIPE)
    if not 0 <= length <= MAXOFFSET or advice > LX_FADV_MAX:
        raise KernelError(Errno.EINVAL)
    return 0


@syscall
def readahead(lwp: Lwp, fd: Fd, offset: Off64, count: Size) -> int:  # noqa: ARG001
    """Ask for a file to be read ahead: readahead(2). Files are in memory, or the host's."""
    file = open_file(lwp, fd)
    if not file.flags & FREAD:
        raise KernelError(Errno.EBADF)
    if file.vnode.type not in (VREG, VBLK):
        raise KernelError(Errno.EINVAL)
    return 0
