"""Mounting on behalf of a process: who uses a mount, changing its flags, the root of processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.vfs.fcntl import FWRITE
from lxemu.kernel.vfs.name import Name
from lxemu.kernel.vfs.vnode import VDIR, VFS_RDONLY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lxemu.kernel.proc import Proc
    from lxemu.kernel.vfs.file import File
    from lxemu.kernel.vfs.mount import Mount, MountTable
    from lxemu.kernel.vfs.vnode import Vfs


def _alive(procs: Iterable[Proc]) -> Iterator[Proc]:
    return (proc for proc in procs if not proc.zombie and not proc.exiting and proc.lwps)


def open_files(procs: Iterable[Proc]) -> Iterator[File]:
    """Return the open files of processes."""
    for proc in _alive(procs):
        for _fd, file in proc.files.items():  # noqa: PERF102 -- no dict
            yield file


def names_in_use(procs: Iterable[Proc]) -> Iterator[Name]:
    """Return the places that processes hold: roots, working directories, programs, open files.

    Files that are mapped count too.
    """
    procs = list(procs)
    for proc in _alive(procs):
        yield proc.fs.root
        yield proc.fs.cwd
        if proc.exe is not None:
            yield proc.exe
        for seg in proc.as_.segs:
            if isinstance(seg.name, Name):
                yield seg.name
    for file in open_files(procs):
        yield file.name


def remount(procs: Iterable[Proc], mount: Mount, flags: int) -> None:
    """Give one mount other flags. Raises EBUSY for a read-only one while it is written to."""
    if flags & ~mount.flags & VFS_RDONLY:
        _no_writers(open_files(procs), mount=mount)
    mount.flags = flags


def remount_vfs(procs: Iterable[Proc], vfs: Vfs, flags: int, options: list[bytes]) -> None:
    """Change a file system, for all its mounts. Raises EBUSY, EINVAL (options), EROFS."""
    readonly = flags & VFS_RDONLY
    if readonly and not vfs.flags & VFS_RDONLY:
        _no_writers(open_files(procs), vfs=vfs)
    vfs.remount(options)
    if not readonly and vfs.flags & VFS_RDONLY and not vfs.may_write():
        raise KernelError(Errno.EROFS)
    vfs.flags = vfs.flags & ~VFS_RDONLY | readonly


def _no_writers(
    files: Iterable[File], *, mount: Mount | None = None, vfs: Vfs | None = None
) -> None:
    for file in files:
        name = file.name
        there = (mount is not None and name.mount is mount) or name.vnode.vfs is vfs
        if there and file.flags & FWRITE and name.vnode.type != VDIR:
            raise KernelError(Errno.EBUSY)


def umount(proc: Proc, where: Name, *, lazy: bool = False, expire: bool = False) -> None:
    """Unmount what is mounted at `where`, its root. Raises EINVAL, EBUSY, EAGAIN (`expire`)."""
    table = proc.mounts
    mount = table.find(where)
    procs = proc.machine.procs.values()
    if mount is proc.fs.root.mount and not lazy:
        if expire:
            raise KernelError(Errno.EINVAL)
        if mount.covered is None:
            # The root cannot go: all that is left to do is to make it safe.
            remount_vfs(procs, mount.vfs, mount.vfs.flags | VFS_RDONLY, [])
            return
    in_use = [] if lazy else list(names_in_use(procs))
    if expire and not mount.expiring:
        if any(name.mount is mount for name in in_use):
            raise KernelError(Errno.EBUSY)
        mount.expiring = True
        raise KernelError(Errno.EAGAIN)
    table.umount(where, in_use, lazy=lazy)


def pivot_root(proc: Proc, new: Name, old: Name) -> None:
    """Make `new` the root of the processes that have this one's, and move that to `old`.

    Raises EINVAL, EBUSY, ENOENT in the order of pivot_root(2).
    """
    root = proc.fs.root
    root_mount, new_mount, old_mount = root.mount, new.mount, old.mount
    if root_mount is None or new_mount is None or old_mount is None:
        raise KernelError(Errno.EINVAL)
    for shared in (old_mount, new_mount.parent, root_mount.parent):
        if shared is not None and shared.group is not None:
            raise KernelError(Errno.EINVAL)
    table: MountTable = proc.mounts
    if root_mount.table is not table or new_mount.table is not table:
        raise KernelError(Errno.EINVAL)
    if new.detached():
        raise KernelError(Errno.ENOENT)
    if root_mount in (new_mount, old_mount):
        raise KernelError(Errno.EBUSY)
    if root_mount.root is not root or new_mount.root is not new or new_mount.covered is None:
        raise KernelError(Errno.EINVAL)
    if not old.is_below(new) or not new.is_below(root):
        raise KernelError(Errno.EINVAL)
    table.pivot(root_mount, new_mount, old)
    for other in _alive(proc.machine.procs.values()):
        if other.fs.root is root:
            other.fs.root = new
        if other.fs.cwd is root:
            other.fs.cwd = new
