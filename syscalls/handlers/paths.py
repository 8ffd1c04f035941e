"""Where the path of a call starts and where it leads: the part that all *at calls share.

Order, as Linux's getname and path_init have it: an empty path is ENOENT before the descriptor is
looked at; an absolute path never looks at it; no directory is ENOTDIR, from the walk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.vfs.fcntl import O_PATH
from lxemu.kernel.vfs.lookup import lookupname
from syscalls.abi import AT_FDCWD, At

if TYPE_CHECKING:
    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.vfs.file import File
    from lxemu.kernel.vfs.name import Name


def start(lwp: Lwp, dirfd: int, path: bytes) -> Name:
    """Return the Name where *path* starts. Raises ENOENT (empty path), EBADF."""
    proc = lwp.proc
    if not path:
        raise KernelError(Errno.ENOENT)
    if dirfd == AT_FDCWD or path[0] == 47:
        return proc.fs.cwd
    return proc.files.get(dirfd).name


def locate(lwp: Lwp, dirfd: int, path: bytes, flags: int = 0) -> Name:
    """Return the Name that *path* leads to; `flags` are At.SYMLINK_NOFOLLOW and At.EMPTY_PATH."""
    proc = lwp.proc
    if path:
        fs = proc.fs
        if dirfd == AT_FDCWD or path[0] == 47:
            begin = fs.cwd
        else:
            begin = proc.files.get(dirfd).name
        return lookupname(begin, fs.root, path, proc.cred, not flags & At.SYMLINK_NOFOLLOW)
    if not flags & At.EMPTY_PATH:
        raise KernelError(Errno.ENOENT)
    if dirfd == AT_FDCWD:
        return proc.fs.cwd
    return proc.files.get(dirfd).name


def open_file(lwp: Lwp, fd: int) -> File:
    """Return the open file of *fd*; EBADF also for one opened with O_PATH (Linux's fdget)."""
    file = lwp.proc.files.get(fd)
    if file.flags & O_PATH:
        raise KernelError(Errno.EBADF)
    return file
