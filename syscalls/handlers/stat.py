"""Attributes of files: stat(2), statx(2), access(2), chmod(2), chown(2), utimensat(2), umask(2)."""

from __future__ import annotations

from lxemu.kernel.cred import (
    PRIV_FILE_DAC_EXECUTE,
    PRIV_FILE_DAC_READ,
    PRIV_FILE_DAC_SEARCH,
    PRIV_FILE_DAC_WRITE,
    Cred,
)
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.vfs.attr import vn_chmod, vn_chown, vn_utimens
from lxemu.kernel.vfs.name import Name
from lxemu.kernel.vfs.ops import check_access
from lxemu.kernel.vfs.vnode import FL_APPEND, FL_IMMUTABLE, FL_NODUMP, VLNK, VTTOIF, Vattr
from syscalls.abi import (
    AT_FDCWD,
    NO_ID,
    AccessMode,
    At,
    AtAccess,
    AtChmod,
    AtChown,
    AtFlags,
    AtStatx,
    DirFd,
    Fd,
    Gid,
    HexInt,
    In,
    Mode,
    Out,
    Path,
    PathOrNull,
    Ptr,
    Stat,
    Statx,
    StatxMask,
    Timespec,
    TimespecPair,
    TimevalPair,
    Uid,
    Utimbuf,
    copyin_path,
    syscall,
)
from syscalls.abi.xlat_file import AT_NOFOLLOW_EMPTY
from syscalls.handlers.paths import locate, open_file
from syscalls.handlers.userids import zone_gid, zone_uid


def _stat(attr: Vattr, cred: Cred) -> Stat:
    vtype, mode, uid, gid, fsid, nodeid, nlink, size, atime, mtime, ctime, _, rdev, blk, n512 = attr
    if cred.space is not None:
        uid, gid = cred.space.uid_inside(uid), cred.space.gid_inside(gid)
    return Stat(
        fsid,
        nodeid,
        VTTOIF[vtype] | mode,
        nlink,
        uid,
        gid,
        rdev,
        size,
        blk,
        n512,
        atime,
        mtime,
        ctime,
    )


@syscall
def stat(lwp: Lwp, path: Path, statbuf: Out[Stat]) -> int:
    """Attributes of a file."""
    cred = lwp.proc.cred
    statbuf.put(_stat(locate(lwp, AT_FDCWD, path).vnode.getattr(cred), cred))
    return 0


@syscall
def lstat(lwp: Lwp, path: Path, statbuf: Out[Stat]) -> int:
    """Attributes of a file, or of the symbolic link itself."""
    name = locate(lwp, AT_FDCWD, path, At.SYMLINK_NOFOLLOW)
    cred = lwp.proc.cred
    statbuf.put(_stat(name.vnode.getattr(cred), cred))
    return 0


@syscall
def fstat(lwp: Lwp, fd: Fd, statbuf: Out[Stat]) -> int:
    """Attributes of an open file."""
    proc = lwp.proc
    statbuf.put(_stat(proc.files.get(fd).name.vnode.getattr(proc.cred), proc.cred))
    return 0


@syscall
def fstatat(lwp: Lwp, dirfd: DirFd, path: Ptr, statbuf: Out[Stat], flags: AtFlags) -> int:
    """Attributes of a file below a directory: newfstatat(2), fstatat64(2).

    With AT_EMPTY_PATH a NULL path is an empty one.
    Deviation: AT_NO_AUTOMOUNT has no effect; there is no automounter.
    """
    name = locate(lwp, dirfd, _path(lwp, path, flags), flags)
    cred = lwp.proc.cred
    statbuf.put(_stat(name.vnode.getattr(cred), cred))
    return 0


def _path(lwp: Lwp, path: int, flags: int) -> bytes:
    if not path and flags & At.EMPTY_PATH:
        return b""
    return copyin_path(lwp.as_, path)


LX_STATX_RESERVED = 0x80000000
LX_STATX_BASIC = 0x7FF
LX_STATX_BTIME = 0x800
LX_STATX_MNT_ID = 0x1000
LX_STATX_MNT_ID_UNIQUE = 0x4000
LX_MNT_ID_OFFSET = 1 << 31
LX_STATX_ATTR_MOUNT_ROOT = 0x2000
#: Compressed, immutable, append, nodump, encrypted, automount, mount root, verity, dax: the mask
#: says which attributes the file system could report.
LX_STATX_ATTRS = LX_STATX_ATTR_MOUNT_ROOT
#: The FL_ flags that show as attributes, which have the same values: immutable, append, nodump.
_SHOWN_FLAGS = FL_IMMUTABLE | FL_APPEND | FL_NODUMP


@syscall
def statx(
    lwp: Lwp, dirfd: DirFd, path: Ptr, flags: AtStatx, mask: StatxMask, statxbuf: Out[Statx]
) -> int:
    """Attributes of a file, with the time it was made and its mount."""
    if mask & LX_STATX_RESERVED:
        raise KernelError(Errno.EINVAL)
    sync = flags & (At.STATX_FORCE_SYNC | At.STATX_DONT_SYNC)
    if sync == At.STATX_FORCE_SYNC | At.STATX_DONT_SYNC:
        raise KernelError(Errno.EINVAL)
    name = locate(lwp, dirfd, _path(lwp, path, flags), flags)
    cred = lwp.proc.cred
    attr = name.vnode.getattr(cred)
    if cred.space is not None:
        uid, gid = cred.space.uid_inside(attr.uid), cred.space.gid_inside(attr.gid)
        attr = attr._replace(uid=uid, gid=gid)
    statxbuf.put(_statx(name, attr, mask))
    return 0


def _statx(name: Name, attr: Vattr, wanted: int) -> Statx:
    mount, vnode = name.mount, name.vnode
    is_root = mount is not None and mount.root is name
    unique = wanted & LX_STATX_MNT_ID_UNIQUE
    valid = LX_STATX_BASIC | (LX_STATX_BTIME if attr.btime else 0)
    return Statx(
        mask=valid | (0 if mount is None else unique or LX_STATX_MNT_ID),
        blksize=attr.blksize,
        attributes=(LX_STATX_ATTR_MOUNT_ROOT if is_root else 0) | vnode.iflags & _SHOWN_FLAGS,
        nlink=attr.nlink,
        uid=attr.uid,
        gid=attr.gid,
        mode=attr.st_mode,
        ino=attr.nodeid,
        size=attr.size,
        blocks=attr.nblocks,
        attributes_mask=LX_STATX_ATTRS | (_SHOWN_FLAGS if vnode.vfs.keeps_iflags else 0),
        atime=attr.atime,
        btime=attr.btime,
        ctime=attr.ctime,
        mtime=attr.mtime,
        rdev=attr.rdev,
        dev=attr.fsid,
        mnt_id=0 if mount is None else mount.id + (LX_MNT_ID_OFFSET if unique else 0),
    )


# -- access ---------------------------------------------------------------------------------------


@syscall
def access(lwp: Lwp, path: Path, mode: AccessMode) -> int:
    """Check what the real user may do."""
    return _access(lwp, AT_FDCWD, path, mode, 0)


@syscall
def faccessat(lwp: Lwp, dirfd: DirFd, path: Path, mode: AccessMode) -> int:
    """Check what the real user may do, the call without flags."""
    return _access(lwp, dirfd, path, mode, 0)


@syscall
def faccessat2(lwp: Lwp, dirfd: DirFd, path: Path, mode: AccessMode, flags: AtAccess) -> int:
    """Check what the real or effective user may do."""
    return _access(lwp, dirfd, path, mode, flags)


_DAC = PRIV_FILE_DAC_EXECUTE | PRIV_FILE_DAC_READ | PRIV_FILE_DAC_SEARCH | PRIV_FILE_DAC_WRITE


def _access(lwp: Lwp, dirfd: int, path: bytes, mode: int, flags: int) -> int:
    proc = lwp.proc
    effective = proc.cred
    if not flags & At.EACCESS:
        proc.cred = _real_cred(effective)
    try:
        name = locate(lwp, dirfd, path, flags)
        # R_OK, W_OK and X_OK are VREAD, VWRITE and VEXEC.
        if mode:
            check_access(name, mode, proc.cred)
    finally:
        proc.cred = effective
    return 0


def _real_cred(cred: Cred) -> Cred:
    """Return credentials with the real ids, and the privileges that go with them."""
    if cred.fsuid == cred.ruid and cred.fsgid == cred.rgid:
        return cred
    if cred.ruid == 0:
        privs = cred.privs | cred.permitted
    else:
        privs = cred.privs & ~_DAC
    return cred.with_(fsuid=cred.ruid, fsgid=cred.rgid, privs=privs)


# -- permission bits and owners -------------------------------------------------------------------


@syscall
def chmod(lwp: Lwp, path: Path, mode: Mode) -> int:
    """Set the permission bits."""
    vn_chmod(locate(lwp, AT_FDCWD, path), mode, lwp.proc.cred)
    return 0


@syscall
def fchmod(lwp: Lwp, fd: Fd, mode: Mode) -> int:
    """Set the permission bits of an open file."""
    vn_chmod(open_file(lwp, fd).name, mode, lwp.proc.cred)
    return 0


@syscall
def fchmodat(lwp: Lwp, dirfd: DirFd, path: Path, mode: Mode) -> int:
    """Set the permission bits, the call without flags."""
    vn_chmod(locate(lwp, dirfd, path), mode, lwp.proc.cred)
    return 0


@syscall
def fchmodat2(lwp: Lwp, dirfd: DirFd, path: Path, mode: Mode, flags: AtChmod) -> int:
    """Set the permission bits; a symbolic link has none to set."""
    name = locate(lwp, dirfd, path, flags)
    if name.vnode.type == VLNK:
        raise KernelError(Errno.EOPNOTSUPP)
    vn_chmod(name, mode, lwp.proc.cred)
    return 0


def _chown(lwp: Lwp, name: Name, owner: int, group: int) -> int:
    cred = lwp.proc.cred
    uid, gid = zone_uid(cred, owner), zone_gid(cred, group)
    vn_chown(name, -1 if uid == NO_ID else uid, -1 if gid == NO_ID else gid, cred)
    return 0


@syscall
def chown(lwp: Lwp, path: Path, owner: Uid, group: Gid) -> int:
    """Set owner and group."""
    return _chown(lwp, locate(lwp, AT_FDCWD, path), owner, group)


@syscall
def lchown(lwp: Lwp, path: Path, owner: Uid, group: Gid) -> int:
    """Set owner and group, of a symbolic link itself."""
    name = locate(lwp, AT_FDCWD, path, At.SYMLINK_NOFOLLOW)
    return _chown(lwp, name, owner, group)


@syscall
def fchown(lwp: Lwp, fd: Fd, owner: Uid, group: Gid) -> int:
    """Set owner and group of an open file."""
    return _chown(lwp, open_file(lwp, fd).name, owner, group)


@syscall
def fchownat(lwp: Lwp, dirfd: DirFd, path: Path, owner: Uid, group: Gid, flags: AtChown) -> int:
    """Set owner and group."""
    return _chown(lwp, locate(lwp, dirfd, path, flags), owner, group)


# -- times ----------------------------------------------------------------------------------------

LX_UTIME_NOW = (1 << 30) - 1
LX_UTIME_OMIT = (1 << 30) - 2
_NOW = Timespec(0, LX_UTIME_NOW)
_NS = 1_000_000_000
_US = 1_000_000


@syscall
def utime(lwp: Lwp, path: Path, times: In[Utimbuf]) -> int:
    """Set the times of a file in seconds; now when NULL."""
    pair = None
    if times:
        record = times.get()
        pair = (record.actime * _NS, record.modtime * _NS)
    return _utimens(lwp, AT_FDCWD, path, pair)


@syscall
def utimes(lwp: Lwp, path: Path, times: In[TimevalPair]) -> int:
    """Set the times of a file in microseconds; now when NULL."""
    return _utimens(lwp, AT_FDCWD, path, _microseconds(times))


@syscall
def futimesat(lwp: Lwp, dirfd: DirFd, path: PathOrNull, times: In[TimevalPair]) -> int:
    """Set the times of a file; a NULL path is the descriptor itself."""
    return _utimens(lwp, dirfd, path, _microseconds(times))


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
    lwp: Lwp, dirfd: DirFd, path: PathOrNull, times: In[TimespecPair], flags: HexInt
) -> int:
    """Set the times of a file in nanoseconds; a NULL path is the descriptor."""
    # Nothing to do is found out before the flags are looked at.
    atime, mtime = times.get() if times else (_NOW, _NOW)
    if atime.nsec == LX_UTIME_OMIT and mtime.nsec == LX_UTIME_OMIT:
        return 0
    name = _utime_name(lwp, dirfd, path, AT_NOFOLLOW_EMPTY.from_lx[flags])
    if atime.nsec == LX_UTIME_NOW and mtime.nsec == LX_UTIME_NOW:
        return _set_times(lwp, name, None)
    return _set_times(lwp, name, (_time(lwp, atime), _time(lwp, mtime)))


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
) -> int:
    return _set_times(lwp, _utime_name(lwp, dirfd, path, 0), pair)


def _utime_name(lwp: Lwp, dirfd: int, path: bytes | None, flags: int) -> Name:
    if path is None:
        if dirfd == AT_FDCWD:
            raise KernelError(Errno.EFAULT)
        if flags:
            raise KernelError(Errno.EINVAL)
        return open_file(lwp, dirfd).name
    return locate(lwp, dirfd, path, flags)


def _set_times(lwp: Lwp, name: Name, pair: tuple[int | None, int | None] | None) -> int:
    now = pair is None
    if pair is None:
        pair = (lwp.machine.clock.realtime(),) * 2
    vn_utimens(name, *pair, lwp.proc.cred, now=now)
    return 0


# -- mask -----------------------------------------------------------------------------------------


@syscall
def umask(lwp: Lwp, mask: Mode) -> int:
    """Set the file creation mask and return the old one."""
    fs = lwp.proc.fs
    old = fs.umask
    fs.umask = mask & 0o777
    return old
