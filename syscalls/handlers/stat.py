"""What a file is: stat(2), statx(2), access(2), statfs(2)."""

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
from lxemu.kernel.vfs.name import Name
from lxemu.kernel.vfs.ops import check_access
from lxemu.kernel.vfs.vnode import (
    VFS_NOATIME,
    VFS_NODEVICES,
    VFS_NODIRATIME,
    VFS_NOEXEC,
    VFS_NOSETUID,
    VFS_RDONLY,
    VFS_RELATIME,
    VTTOIF,
    Vattr,
)
from syscalls.abi import (
    AT_FDCWD,
    AccessMode,
    At,
    AtAccess,
    AtFlags,
    AtStatx,
    Dev,
    DirFd,
    Fd,
    Out,
    Path,
    Ptr,
    Size,
    Stat,
    Statfs,
    Statx,
    StatxMask,
    Ustat,
    copyin_path,
    syscall,
)
from syscalls.handlers.paths import locate, open_file


def _stat(attr: Vattr) -> Stat:
    vtype, mode, uid, gid, fsid, nodeid, nlink, size, atime, mtime, ctime, _, rdev, blk, n512 = attr
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
    """Attributes of a file: stat(2)."""
    statbuf.put(_stat(locate(lwp, AT_FDCWD, path).vnode.getattr(lwp.proc.cred)))
    return 0


@syscall
def lstat(lwp: Lwp, path: Path, statbuf: Out[Stat]) -> int:
    """Attributes of a file, or of the symbolic link itself: lstat(2)."""
    name = locate(lwp, AT_FDCWD, path, At.SYMLINK_NOFOLLOW)
    statbuf.put(_stat(name.vnode.getattr(lwp.proc.cred)))
    return 0


@syscall
def fstat(lwp: Lwp, fd: Fd, statbuf: Out[Stat]) -> int:
    """Attributes of an open file: fstat(2)."""
    proc = lwp.proc
    statbuf.put(_stat(proc.files.get(fd).name.vnode.getattr(proc.cred)))
    return 0


@syscall
def fstatat(lwp: Lwp, dirfd: DirFd, path: Ptr, statbuf: Out[Stat], flags: AtFlags) -> int:
    """Attributes of a file below a directory: newfstatat(2), fstatat64(2).

    With AT_EMPTY_PATH a NULL path is an empty one. Deviation: AT_NO_AUTOMOUNT has no effect; there is
    no automounter.
    """
    name = locate(lwp, dirfd, _path(lwp, path, flags), flags)
    statbuf.put(_stat(name.vnode.getattr(lwp.proc.cred)))
    return 0


def _path(lwp: Lwp, path: int, flags: int) -> bytes:
    if not path and flags & At.EMPTY_PATH:
        return b""
    return copyin_path(lwp.as_, path)


LX_STATX_RESERVED = 0x80000000
LX_STATX_BASIC = 0x7FF
LX_STATX_BTIME = 0x800
LX_STATX_MNT_ID = 0x1000
LX_STATX_ATTR_MOUNT_ROOT = 0x2000
#: Compressed, immutable, append, nodump, encrypted, automount, mount root, verity, dax: the mask
#: says which attributes the file system could report.
LX_STATX_ATTRS = LX_STATX_ATTR_MOUNT_ROOT


@syscall
def statx(
    lwp: Lwp, dirfd: DirFd, path: Ptr, flags: AtStatx, mask: StatxMask, statxbuf: Out[Statx]
) -> int:
    """Extended attributes of a file: statx(2)."""
    if mask & LX_STATX_RESERVED:
        raise KernelError(Errno.EINVAL)
    sync = flags & (At.STATX_FORCE_SYNC | At.STATX_DONT_SYNC)
    if sync == At.STATX_FORCE_SYNC | At.STATX_DONT_SYNC:
        raise KernelError(Errno.EINVAL)
    name = locate(lwp, dirfd, _path(lwp, path, flags), flags)
    statxbuf.put(_statx(name, name.vnode.getattr(lwp.proc.cred)))
    return 0


def _statx(name: Name, attr: Vattr) -> Statx:
    mount = name.mount
    is_root = mount is not None and mount.root is name
    valid = LX_STATX_BASIC | (LX_STATX_BTIME if attr.btime else 0)
    return Statx(
        mask=valid | (LX_STATX_MNT_ID if mount is not None else 0),
        blksize=attr.blksize,
        attributes=LX_STATX_ATTR_MOUNT_ROOT if is_root else 0,
        nlink=attr.nlink,
        uid=attr.uid,
        gid=attr.gid,
        mode=attr.st_mode,
        ino=attr.nodeid,
        size=attr.size,
        blocks=attr.nblocks,
        attributes_mask=LX_STATX_ATTRS,
        atime=attr.atime,
        btime=attr.btime,
        ctime=attr.ctime,
        mtime=attr.mtime,
        rdev=attr.rdev,
        dev=attr.fsid,
        mnt_id=mount.id if mount is not None else 0,
    )


# -- access ---------------------------------------------------------------------------------------


@syscall
def access(lwp: Lwp, path: Path, mode: AccessMode) -> int:
    """Check what the real user may do: access(2)."""
    return _access(lwp, AT_FDCWD, path, mode, 0)


@syscall
def faccessat(lwp: Lwp, dirfd: DirFd, path: Path, mode: AccessMode) -> int:
    """Check what the real user may do: faccessat(2), the call without flags."""
    return _access(lwp, dirfd, path, mode, 0)


@syscall
def faccessat2(lwp: Lwp, dirfd: DirFd, path: Path, mode: AccessMode, flags: AtAccess) -> int:
    """Check what the real or effective user may do: faccessat2(2)."""
    return _access(lwp, dirfd, path, mode, flags)


_DAC = (
    PRIV_FILE_DAC_EXECUTE | PRIV_FILE_DAC_READ | PRIV_FILE_DAC_SEARCH | PRIV_FILE_DAC_WRITE
)


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
    """Return credentials with the real ids, and root's privileges exactly when the real user is 0."""
    if cred.fsuid == cred.ruid and cred.fsgid == cred.rgid:
        return cred
    if cred.ruid == 0:
        privs = cred.privs | cred.permitted
    else:
        privs = cred.privs & ~_DAC
    return cred.with_(fsuid=cred.ruid, fsgid=cred.rgid, privs=privs)


# -- file systems ---------------------------------------------------------------------------------

#: f_type by the kernel's name of a file system (statfs(2), linux/magic.h). What lives on the host
#: shows as ext2, as lx shows ZFS and lofs (lx_stat.c: "Linux can't handle the truth of ZFS").
LX_MAGIC = {
    "tmpfs": 0x01021994,
    "overlay": 0x794C7630,
    "proc": 0x9FA0,
    "lxproc": 0x9FA0,
    "sysfs": 0x62656572,
    "lxsys": 0x62656572,
    "cgroup": 0x27E0EB,
    "devpts": 0x1CD1,
    "fifofs": 0x50495045,
    "pipefs": 0x50495045,
    "sockfs": 0x534F434B,
    "anonfs": 0x09041934,
    "devfs": 0x01021994,
    "devtmpfs": 0x01021994,
    "mqueue": 0x19800202,
}
LX_EXT2_MAGIC = 0xEF53
LX_ST_VALID = 0x20
_ST_FLAGS = (
    (VFS_RDONLY, 0x1),
    (VFS_NOSETUID, 0x2),
    (VFS_NODEVICES, 0x4),
    (VFS_NOEXEC, 0x8),
    (VFS_NOATIME, 0x400),
    (VFS_NODIRATIME, 0x800),
    (VFS_RELATIME, 0x1000),
)


def _statfs(name: Name) -> Statfs:
    st = name.vnode.vfs.statvfs()
    flags = LX_ST_VALID
    for ours, lx in _ST_FLAGS:
        if name.flags & ours:
            flags |= lx
    return Statfs(
        type=LX_MAGIC.get(st.basetype, LX_EXT2_MAGIC),
        bsize=st.bsize,
        blocks=st.blocks,
        bfree=st.bfree,
        bavail=st.bavail,
        files=st.files,
        ffree=st.ffree,
        fsid=(st.fsid & 0xFFFFFFFF, st.fsid >> 32 & 0xFFFFFFFF),
        namelen=st.namemax,
        frsize=st.frsize,
        flags=flags,
    )


@syscall
def statfs(lwp: Lwp, path: Path, buf: Out[Statfs]) -> int:
    """Totals of a file system: statfs(2)."""
    buf.put(_statfs(locate(lwp, AT_FDCWD, path)))
    return 0


@syscall
def fstatfs(lwp: Lwp, fd: Fd, buf: Out[Statfs]) -> int:
    """Totals of the file system of an open file: fstatfs(2)."""
    buf.put(_statfs(lwp.proc.files.get(fd).name))
    return 0


@syscall
def statfs64(lwp: Lwp, path: Path, size: Size, buf: Out[Statfs]) -> int:
    """Totals of a file system, with the size of the structure: statfs64(2)."""
    if size != buf.codec.size:
        raise KernelError(Errno.EINVAL)
    buf.put(_statfs(locate(lwp, AT_FDCWD, path)))
    return 0


@syscall
def fstatfs64(lwp: Lwp, fd: Fd, size: Size, buf: Out[Statfs]) -> int:
    """Totals of the file system of an open file, with the size of the structure: fstatfs64(2)."""
    if size != buf.codec.size:
        raise KernelError(Errno.EINVAL)
    buf.put(_statfs(lwp.proc.files.get(fd).name))
    return 0


@syscall
def ustat(lwp: Lwp, dev: Dev, buf: Out[Ustat]) -> int:
    """Free space of the file system with a device number: ustat(2)."""
    for mount in lwp.proc.zone.mounts or ():
        if mount.vfs.fsid == dev:
            st = mount.vfs.statvfs()
            buf.put(Ustat(st.bfree & 0x7FFFFFFF, st.ffree))
            return 0
    raise KernelError(Errno.EINVAL)
