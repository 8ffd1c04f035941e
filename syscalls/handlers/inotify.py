"""Watching files: inotify_init(2), inotify_add_watch(2), inotify_rm_watch(2)."""

from __future__ import annotations

from lxemu.kernel.anonfs import anon_files
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.inotifyfs import EventFile
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.vfs.fcntl import FREAD, O_CLOEXEC, O_NONBLOCK
from lxemu.kernel.vfs.notify import IN_ALL_EVENTS, IN_EXCL_UNLINK, IN_ONESHOT
from lxemu.kernel.vfs.vnode import VDIR, VREAD
from syscalls.abi import AT_FDCWD, At, Fd, InotifyFlags, InotifyMask, Int, PathPtr, syscall
from syscalls.abi.pointers import copyin_path
from syscalls.handlers.paths import locate, open_file

LX_IN_ONLYDIR = 0x01000000
LX_IN_DONT_FOLLOW = 0x02000000
LX_IN_MASK_CREATE = 0x10000000
LX_IN_MASK_ADD = 0x20000000
#: Every bit that means something (ALL_INOTIFY_BITS).
_KNOWN = 0xFFF | 0x0000E000 | 0x07000000 | LX_IN_MASK_CREATE | LX_IN_MASK_ADD | 1 << 30 | 1 << 31
_KEPT = IN_ALL_EVENTS | IN_EXCL_UNLINK | IN_ONESHOT


@syscall
def inotify_init(lwp: Lwp) -> int:
    """Make a queue of file events."""
    return _init(lwp, 0)


@syscall
def inotify_init1(lwp: Lwp, flags: InotifyFlags) -> int:
    """Make a queue of file events, with flags: EINVAL, EMFILE."""
    return _init(lwp, flags)


def _init(lwp: Lwp, flags: int) -> int:
    proc = lwp.proc
    proc.files.lowest()
    anon = anon_files(lwp.machine)
    queue = EventFile(anon.objects, proc.zone, proc.cred.ruid)
    file = anon.open(queue, flags & O_NONBLOCK, proc.cred, FREAD)
    return proc.files.alloc(file, 0, flags & O_CLOEXEC != 0)


def _queue(lwp: Lwp, fd: int) -> EventFile:
    vnode = open_file(lwp, fd).vnode
    if not isinstance(vnode, EventFile):
        raise KernelError(Errno.EINVAL)
    return vnode


@syscall
def inotify_add_watch(lwp: Lwp, fd: Fd, path: PathPtr, mask: InotifyMask) -> int:
    """Watch a file, or change what is watched; return the number of the watch.

    EINVAL, EBADF, EFAULT, ENOTDIR with IN_ONLYDIR, EACCES, EEXIST with IN_MASK_CREATE, ENOSPC.
    """
    if not mask & _KNOWN:
        raise KernelError(Errno.EINVAL)
    open_file(lwp, fd)
    if mask & LX_IN_MASK_ADD and mask & LX_IN_MASK_CREATE:
        raise KernelError(Errno.EINVAL)
    queue = _queue(lwp, fd)
    follow = 0 if not mask & LX_IN_DONT_FOLLOW else At.SYMLINK_NOFOLLOW
    name = locate(lwp, AT_FDCWD, copyin_path(lwp.as_, path), follow)
    vnode = name.vnode
    if mask & LX_IN_ONLYDIR and vnode.type != VDIR:
        raise KernelError(Errno.ENOTDIR)
    vnode.access(VREAD, lwp.proc.cred)
    known = queue.find(vnode)
    if known is None:
        return queue.watch(vnode, mask & _KEPT)
    if mask & LX_IN_MASK_CREATE:
        raise KernelError(Errno.EEXIST)
    known.mask = mask & _KEPT | (known.mask if mask & LX_IN_MASK_ADD else 0)
    return known.wd


@syscall
def inotify_rm_watch(lwp: Lwp, fd: Fd, wd: Int) -> int:
    """End a watch: EBADF, EINVAL."""
    _queue(lwp, fd).unwatch(wd)
    return 0
