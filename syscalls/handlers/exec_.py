"""Executing programs: execve(2), execveat(2)."""

from __future__ import annotations

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.exec import exec_common
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.vfs.lookup import lookupname
from lxemu.kernel.vfs.name import Name
from lxemu.kernel.vfs.vnode import VDIR, VLNK
from syscalls.abi import AT_FDCWD, At, AtExec, DirFd, Path, StrVec, syscall


@syscall
def execve(lwp: Lwp, path: Path, argv: StrVec, envp: StrVec) -> int:
    """Replace the program (execve(2)). The file is looked at before argument vectors are read."""
    # Linux opens the file first: ENOENT and EACCES come before EFAULT of a vector.
    name = _lookup(lwp, AT_FDCWD, path, 0)
    return exec_common(lwp, name, path, argv.get(), envp.get())


@syscall
def execveat(lwp: Lwp, dirfd: DirFd, path: Path, argv: StrVec, envp: StrVec, flags: AtExec) -> int:
    """Replace the program by a file relative to a directory, or by an open one (execveat(2))."""
    if not path and not flags & At.EMPTY_PATH:
        raise KernelError(Errno.ENOENT)
    name = _lookup(lwp, dirfd, path, flags)
    if path.startswith(b"/") or dirfd == AT_FDCWD:
        shown = path
    else:
        shown = b"/dev/fd/%d" % dirfd + (b"/" + path if path else b"")
    relative = dirfd != AT_FDCWD and not path.startswith(b"/")
    unreachable = relative and lwp.proc.files.getcloexec(dirfd)
    return exec_common(lwp, name, shown, argv.get(), envp.get(), unreachable=unreachable)


def _lookup(lwp: Lwp, dirfd: int, path: bytes, flags: int) -> Name:
    """Return the Name to execute: EBADF, ENOTDIR, ELOOP for a link that may not be followed."""
    proc = lwp.proc
    start = proc.fs.cwd
    if dirfd != AT_FDCWD and not path.startswith(b"/"):
        start = proc.files.get(dirfd).name
        if not path:
            return start
        if start.vnode.type != VDIR:
            raise KernelError(Errno.ENOTDIR)
    follow = not flags & At.SYMLINK_NOFOLLOW
    name = lookupname(start, proc.fs.root, path, proc.cred, follow)
    if not follow and name.vnode.type == VLNK:
        raise KernelError(Errno.ELOOP)
    return name
