"""Directories: getdents(2), chdir(2), mkdir(2), rmdir(2), chroot(2)."""

from __future__ import annotations

from collections.abc import Callable

from lxemu.kernel.cred import PRIV_PROC_CHROOT
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.vfs import notify
from lxemu.kernel.vfs.name import Name
from lxemu.kernel.vfs.ops import vn_mkdir, vn_rmdir
from lxemu.kernel.vfs.vnode import VDIR, VEXEC
from syscalls.abi import (
    AT_FDCWD,
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

# -- reading --------------------------------------------------------------------------------------


@syscall
def getdents64(lwp: Lwp, fd: Fd, dirp: OutBuf, count: UInt) -> int:
    """Read directory entries with 64-bit numbers."""
    return _getdents(lwp, fd, dirp, count, dirent64)


@syscall
def getdents(lwp: Lwp, fd: Fd, dirp: OutBuf, count: UInt) -> int:
    """Read directory entries in the caller's data model."""
    return _getdents(lwp, fd, dirp, count, dirent_lp64 if lwp.brand.bits == 64 else dirent_ilp32)


def _getdents(lwp: Lwp, fd: int, dirp: int, count: int, encode: Callable[[Entry], bytes]) -> int:
    file = open_file(lwp, fd)
    vnode = file.vnode
    if vnode.type != VDIR:
        raise KernelError(Errno.ENOTDIR)
    if file.name.unlinked:
        raise KernelError(Errno.ENOENT)
    entries = vnode.readdir(file.offset)
    if notify.watching:
        notify.touched(file.name, notify.IN_ACCESS)
    data, cookie = pack_dirents(encode, entries, count)
    if cookie is not None:
        lwp.as_.copyout(dirp, data)
        file.offset = cookie
    return len(data)


@syscall
def readdir(lwp: Lwp, fd: Fd, dirp: Ptr, count: UInt) -> int:  # noqa: ARG001  the call ignores it
    """Read one directory entry, the call that getdents replaced."""
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
    """Change the working directory."""
    lwp.proc.fs.cwd = _searchable(lwp, locate(lwp, AT_FDCWD, path))
    return 0


@syscall
def fchdir(lwp: Lwp, fd: Fd) -> int:
    """Change the working directory to an open one."""
    lwp.proc.fs.cwd = _searchable(lwp, lwp.proc.files.get(fd).name)
    return 0


@syscall
def chroot(lwp: Lwp, path: Path) -> int:
    """Change the root directory."""
    name = _searchable(lwp, locate(lwp, AT_FDCWD, path))
    if not lwp.proc.cred.own(PRIV_PROC_CHROOT):
        raise KernelError(Errno.EPERM)
    lwp.proc.fs.root = name
    return 0


_UNREACHABLE = b"(unreachable)"


@syscall
def getcwd(lwp: Lwp, buf: Ptr, size: Size) -> int:
    """Path of the working directory; returns its length with the NUL.

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
    """Make a directory."""
    vn_mkdir(lwp.proc, start(lwp, AT_FDCWD, path), path, mode)
    return 0


@syscall
def mkdirat(lwp: Lwp, dirfd: DirFd, path: Path, mode: Mode) -> int:
    """Make a directory."""
    vn_mkdir(lwp.proc, start(lwp, dirfd, path), path, mode)
    return 0


@syscall
def rmdir(lwp: Lwp, path: Path) -> int:
    """Remove an empty directory."""
    vn_rmdir(lwp.proc, start(lwp, AT_FDCWD, path), path)
    return 0
