"""Names of files: link(2), symlink(2), readlink(2), unlink(2), rename(2), mknod(2)."""

from __future__ import annotations

from lxemu.kernel.cred import PRIV_FILE_DAC_SEARCH, PRIV_SYS_DEVICES
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.vfs.lookup import lookup_parent
from lxemu.kernel.vfs.ops import (
    link_tmpfile,
    vn_link,
    vn_mknod,
    vn_remove,
    vn_rename,
    vn_rmdir,
    vn_symlink,
)
from lxemu.kernel.vfs.vnode import IFTOVT, VLNK, VREG
from syscalls.abi import (
    AT_FDCWD,
    At,
    AtLink,
    AtUnlink,
    Dev,
    DirFd,
    Int,
    Mode,
    OutBuf,
    Path,
    RenameFlags,
    syscall,
)
from syscalls.handlers.paths import locate, start

LX_RENAME_NOREPLACE = 1
LX_RENAME_EXCHANGE = 2
LX_RENAME_WHITEOUT = 4


@syscall
def link(lwp: Lwp, oldpath: Path, newpath: Path) -> int:
    """Give a file another name."""
    return _link(lwp, AT_FDCWD, oldpath, AT_FDCWD, newpath, 0)


@syscall
def linkat(
    lwp: Lwp, olddirfd: DirFd, oldpath: Path, newdirfd: DirFd, newpath: Path, flags: AtLink
) -> int:
    """Give a file another name."""
    return _link(lwp, olddirfd, oldpath, newdirfd, newpath, flags)


def _link(
    lwp: Lwp, olddirfd: int, oldpath: bytes, newdirfd: int, newpath: bytes, flags: int
) -> int:
    proc = lwp.proc
    if not oldpath and flags & At.EMPTY_PATH:
        if not proc.cred.crhas(PRIV_FILE_DAC_SEARCH):
            raise KernelError(Errno.ENOENT)
        begin = start(lwp, newdirfd, newpath)
        if olddirfd == AT_FDCWD:
            vn_link(proc, proc.fs.cwd, begin, newpath)
            return 0
        file = proc.files.get(olddirfd)
        if file.name.unlinked:
            link_tmpfile(proc, file, begin, newpath)
        else:
            vn_link(proc, file.name, begin, newpath)
        return 0
    follow = 0 if flags & At.SYMLINK_FOLLOW else At.SYMLINK_NOFOLLOW
    source = locate(lwp, olddirfd, oldpath, follow)
    vn_link(proc, source, start(lwp, newdirfd, newpath), newpath)
    return 0


@syscall
def symlink(lwp: Lwp, target: Path, linkpath: Path) -> int:
    """Make a symbolic link."""
    return _symlink(lwp, target, AT_FDCWD, linkpath)


@syscall
def symlinkat(lwp: Lwp, target: Path, newdirfd: DirFd, linkpath: Path) -> int:
    """Make a symbolic link."""
    return _symlink(lwp, target, newdirfd, linkpath)


def _symlink(lwp: Lwp, target: bytes, newdirfd: int, linkpath: bytes) -> int:
    if not target:
        raise KernelError(Errno.ENOENT)
    vn_symlink(lwp.proc, target, start(lwp, newdirfd, linkpath), linkpath)
    return 0


@syscall
def readlink(lwp: Lwp, path: Path, buf: OutBuf, bufsiz: Int) -> int:
    """Read the target of a symbolic link, without a NUL."""
    return _readlink(lwp, AT_FDCWD, path, buf, bufsiz)


@syscall
def readlinkat(lwp: Lwp, dirfd: DirFd, path: Path, buf: OutBuf, bufsiz: Int) -> int:
    """Read the target of a symbolic link; an empty path is the descriptor itself."""
    return _readlink(lwp, dirfd, path, buf, bufsiz)


def _readlink(lwp: Lwp, dirfd: int, path: bytes, buf: int, bufsiz: int) -> int:
    if bufsiz <= 0:
        raise KernelError(Errno.EINVAL)
    name = locate(lwp, dirfd, path, At.SYMLINK_NOFOLLOW | At.EMPTY_PATH)
    vnode = name.vnode
    if vnode.type != VLNK:
        raise KernelError(Errno.EINVAL if path else Errno.ENOENT)
    target = vnode.readlink()[:bufsiz]
    lwp.as_.copyout(buf, target)
    return len(target)


@syscall
def unlink(lwp: Lwp, path: Path) -> int:
    """Remove a name of a file."""
    vn_remove(lwp.proc, start(lwp, AT_FDCWD, path), path)
    return 0


@syscall
def unlinkat(lwp: Lwp, dirfd: DirFd, path: Path, flags: AtUnlink) -> int:
    """Remove a name of a file or, with AT_REMOVEDIR, an empty directory."""
    remove = vn_rmdir if flags & At.REMOVEDIR else vn_remove
    remove(lwp.proc, start(lwp, dirfd, path), path)
    return 0


@syscall
def rename(lwp: Lwp, oldpath: Path, newpath: Path) -> int:
    """Move a file."""
    return _rename(lwp, AT_FDCWD, oldpath, AT_FDCWD, newpath, 0)


@syscall
def renameat(lwp: Lwp, olddirfd: DirFd, oldpath: Path, newdirfd: DirFd, newpath: Path) -> int:
    """Move a file."""
    return _rename(lwp, olddirfd, oldpath, newdirfd, newpath, 0)


@syscall
def renameat2(
    lwp: Lwp,
    olddirfd: DirFd,
    oldpath: Path,
    newdirfd: DirFd,
    newpath: Path,
    flags: RenameFlags,
) -> int:
    """Move a file, only to a free name, leaving a whiteout behind, or swap two files."""
    if flags & LX_RENAME_EXCHANGE and flags != LX_RENAME_EXCHANGE:
        raise KernelError(Errno.EINVAL)
    if flags & LX_RENAME_WHITEOUT and not lwp.proc.cred.crhas(PRIV_SYS_DEVICES):
        raise KernelError(Errno.EPERM)
    return _rename(lwp, olddirfd, oldpath, newdirfd, newpath, flags)


def _rename(
    lwp: Lwp, olddirfd: int, oldpath: bytes, newdirfd: int, newpath: bytes, flags: int
) -> int:
    proc = lwp.proc
    begin = start(lwp, olddirfd, oldpath)
    try:
        target = start(lwp, newdirfd, newpath)
    except KernelError:
        # What is wrong with the way to the old name comes first.
        lookup_parent(begin, proc.fs.root, oldpath, proc.cred)
        raise
    vn_rename(
        proc,
        begin,
        oldpath,
        target,
        newpath,
        noreplace=flags & LX_RENAME_NOREPLACE != 0,
        exchange=flags & LX_RENAME_EXCHANGE != 0,
        whiteout=flags & LX_RENAME_WHITEOUT != 0,
    )
    return 0


_S_IFMT = 0o170000


@syscall
def mknod(lwp: Lwp, path: Path, mode: Mode, dev: Dev) -> int:
    """Make a file, fifo, socket or device node."""
    return _mknod(lwp, AT_FDCWD, path, mode, dev)


@syscall
def mknodat(lwp: Lwp, dirfd: DirFd, path: Path, mode: Mode, dev: Dev) -> int:
    """Make a file, fifo, socket or device node."""
    return _mknod(lwp, dirfd, path, mode, dev)


def _mknod(lwp: Lwp, dirfd: int, path: bytes, mode: int, dev: int) -> int:
    kind = mode & _S_IFMT
    vtype = IFTOVT.get(kind) if kind else VREG
    if vtype is None:
        raise KernelError(Errno.EINVAL)
    vn_mknod(lwp.proc, start(lwp, dirfd, path), path, vtype, mode & 0o7777, dev)
    return 0
