"""Directories: getdents(2), chdir(2), mkdir(2), rmdir(2), mknod(2), chroot(2)."""

from __future__ import annotations

from collections.abc import Callable

from lxemu.kernel.cred import PRIV_PROC_CHROOT
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.vfs.name import Name
from lxemu.kernel.vfs.ops import vn_mkdir, vn_mknod, vn_rmdir
from lxemu.kernel.vfs.vnode import IFTOVT, VDIR, VEXEC, VREG
from syscalls.abi import (
    AT_FDCWD,
    Dev,
    DirFd,
    Fd,
    Mode,
    OutBuf,
    Path,
    Ptr,
    Size,
    UInt,
    syscall,
)
from syscalls.abi.dirents import (
    Entry,
    dirent64,
    dirent_ilp32,
    dirent_lp64,
    dirent_old,
    pack_dirents,
)
from syscalls.handlers.paths import locate, open_file, start

_S_IFMT = 0o170000


# -- reading --------------------------------------------------------------------------------------


@syscall
def getdents64(lwp: Lwp, fd: Fd, dirp: OutBuf, count: UInt) -> int:
    """Read directory entries with 64-bit numbers: getdents64(2)."""
    return _getdents(lwp, fd, dirp, count, dirent64)


@syscall
def getdents(lwp: Lwp, fd: Fd, dirp: OutBuf, count: UInt) -> int:
    """Read directory entries in the caller's data model: getdents(2)."""
    return _getdents(lwp, fd, dirp, count, dirent_lp64 if lwp.brand.bits == 64 else dirent_ilp32)


def _getdents(lwp: Lwp, fd: int, dirp: int, count: int, encode: Callable[[Entry], bytes]) -> int:
    file = open_file(lwp, fd)
    vnode = file.vnode
    if vnode.type != VDIR:
        raise KernelError(Errno.ENOTDIR)
    if file.name.unlinked:
        raise KernelError(Errno.ENOENT)
    data, cookie = pack_dirents(encode, vnode.readdir(file.offset), count)
    if cookie is not None:
        lwp.as_.copyout(dirp, data)
        file.offset = cookie
    return len(data)


@syscall
def readdir(lwp: Lwp, fd: Fd, dirp: Ptr, count: UInt) -> int:  # noqa: ARG001  the call ignores it
    """Read one directory entry: readdir(2), the call that getdents replaced."""
    file = open_file(lwp, fd)
    vnode = file.vnode
    if vnode.type != VDIR:
        raise KernelError(Errno.ENOTDIR)
    if file.name.unlinked:
        raise KernelError(Errno.ENOENT)
    for entry in vnode.readdir(file.offset):
        lwp.as_.copyout(dirp, dirent_old(entry))
        file.offset = entry.next_cookie
        return 1
    return 0


# -- where a process is ---------------------------------------------------------------------------


def _searchable(lwp: Lwp, name: Name) -> Name:
    if name.vnode.type != VDIR:
        raise KernelError(Errno.ENOTDIR)
    name.vnode.access(VEXEC, lwp.proc.cred)
    return name


@syscall
def chdir(lwp: Lwp, path: Path) -> int:
    """Change the working directory: chdir(2)."""
    lwp.proc.fs.cwd = _searchable(lwp, locate(lwp, AT_FDCWD, path))
    return 0


@syscall
def fchdir(lwp: Lwp, fd: Fd) -> int:
    """Change the working directory to an open one: fchdir(2)."""
    lwp.proc.fs.cwd = _searchable(lwp, lwp.proc.files.get(fd).name)
    return 0


@syscall
def chroot(lwp: Lwp, path: Path) -> int:
    """Change the root directory: chroot(2)."""
    name = _searchable(lwp, locate(lwp, AT_FDCWD, path))
    if not lwp.proc.cred.crhas(PRIV_PROC_CHROOT):
        raise KernelError(Errno.EPERM)
    lwp.proc.fs.root = name
    return 0


_UNREACHABLE = b"(unreachable)"


@syscall
def getcwd(lwp: Lwp, buf: Ptr, size: Size) -> int:
    """Path of the working directory; returns its length with the NUL: getcwd(2).

    ENOENT when it has been removed; outside the root the path starts with "(unreachable)".
    """
    fs = lwp.proc.fs
    if fs.cwd.detached():
        raise KernelError(Errno.ENOENT)
    path = fs.cwd.path(fs.root) + b"\0"
    if not fs.cwd.is_below(fs.root):
        path = _UNREACHABLE + path
    if len(path) > size:
        raise KernelError(Errno.ERANGE)
    lwp.as_.copyout(buf, path)
    return len(path)


# -- making and removing --------------------------------------------------------------------------


@syscall
def mkdir(lwp: Lwp, path: Path, mode: Mode) -> int:
    """Make a directory: mkdir(2)."""
    vn_mkdir(lwp.proc, start(lwp, AT_FDCWD, path), path, mode)
    return 0


@syscall
def mkdirat(lwp: Lwp, dirfd: DirFd, path: Path, mode: Mode) -> int:
    """Make a directory: mkdirat(2)."""
    vn_mkdir(lwp.proc, start(lwp, dirfd, path), path, mode)
    return 0


@syscall
def rmdir(lwp: Lwp, path: Path) -> int:
    """Remove an empty directory: rmdir(2)."""
    vn_rmdir(lwp.proc, start(lwp, AT_FDCWD, path), path)
    return 0


@syscall
def mknod(lwp: Lwp, path: Path, mode: Mode, dev: Dev) -> int:
    """Make a file, fifo, socket or device node: mknod(2)."""
    return _mknod(lwp, AT_FDCWD, path, mode, dev)


@syscall
def mknodat(lwp: Lwp, dirfd: DirFd, path: Path, mode: Mode, dev: Dev) -> int:
    """Make a file, fifo, socket or device node: mknodat(2)."""
    return _mknod(lwp, dirfd, path, mode, dev)


def _mknod(lwp: Lwp, dirfd: int, path: bytes, mode: int, dev: int) -> int:
    kind = mode & _S_IFMT
    vtype = IFTOVT.get(kind) if kind else VREG
    if vtype is None:
        raise KernelError(Errno.EINVAL)
    vn_mknod(lwp.proc, start(lwp, dirfd, path), path, vtype, mode & 0o7777, dev)
    return 0


@syscall
def umask(lwp: Lwp, mask: Mode) -> int:
    """Set the file creation mask and return the old one: umask(2)."""
    fs = lwp.proc.fs
    old = fs.umask
    fs.umask = mask & 0o777
    return old
