"""File events: who watches a file or directory is told what happens to it (sys/inotify.h).

The hooks are in the operations that are asked for by path and in open files, where the name is
known. Each is one look at `watching`; while nothing is watched that is all it costs.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from lxemu.kernel.errno import KernelError
from lxemu.kernel.vfs.vnode import AT_ATIME, AT_GID, AT_MODE, AT_MTIME, AT_SIZE, AT_UID, VDIR

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lxemu.kernel.inotifyfs import EventFile
    from lxemu.kernel.proc import Proc
    from lxemu.kernel.vfs.dirnotice import DirNotice
    from lxemu.kernel.vfs.name import Name
    from lxemu.kernel.vfs.vnode import Vfs, Vnode

# Events (sys/inotify.h).
IN_ACCESS = 0x1
IN_MODIFY = 0x2
IN_ATTRIB = 0x4
IN_CLOSE_WRITE = 0x8
IN_CLOSE_NOWRITE = 0x10
IN_OPEN = 0x20
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_DELETE_SELF = 0x400
IN_MOVE_SELF = 0x800
IN_ALL_EVENTS = 0xFFF
IN_UNMOUNT = 0x2000
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_ISDIR = 0x40000000
# How a watch behaves.
IN_EXCL_UNLINK = 0x04000000
IN_ONESHOT = 0x80000000

#: How many watches there are, in every machine of this process.
watching = 0
_watches: dict[Watch, None] = {}
_cookies = count(1)


class Watch:
    """The interest of `queue` in one vnode, under the number `wd`."""

    __slots__ = ("mask", "queue", "vnode", "wd")

    def __init__(self, queue: EventFile | DirNotice, wd: int, vnode: Vnode, mask: int) -> None:
        global watching
        self.queue = queue
        self.wd = wd
        self.vnode = vnode
        self.mask = mask
        if vnode.watchers is None:
            vnode.watchers = []
        vnode.watchers.append(self)
        _watches[self] = None
        watching = len(_watches)

    def drop(self) -> None:
        """Stop watching."""
        global watching
        held = self.vnode.watchers
        if held is not None and self in held:
            held.remove(self)
            if not held:
                self.vnode.watchers = None
        _watches.pop(self, None)
        watching = len(_watches)

    def post(self, mask: int, name: bytes = b"", cookie: int = 0) -> None:
        """Tell of an event if it is wanted."""
        if mask & self.mask & IN_ALL_EVENTS:
            self.queue.post(self.wd, mask, name, cookie)
            if self.mask & IN_ONESHOT:
                self.queue.forget(self)


def _post(vnode: Vnode, mask: int, name: bytes = b"", cookie: int = 0) -> None:
    if vnode.watchers is not None:
        for watch in tuple(vnode.watchers):
            watch.post(mask, name, cookie)


def touched(name: Name, mask: int, *, opened: bool = True) -> None:
    """Tell of an event of the file at `name`: who watches its directory, then who watches it.

    `opened` says that it comes from an open file: some do not want to hear of that once the name
    has been removed.
    """
    vnode = name.vnode
    if vnode.type == VDIR:
        mask |= IN_ISDIR
    unlinked = opened and name.unlinked
    parent = name.parent
    if parent is not None and parent.mount is name.mount:
        _tell(parent.vnode, mask, name.name, unlinked)
    _tell(vnode, mask, b"", unlinked)


def _tell(vnode: Vnode, mask: int, name: bytes, unlinked: bool) -> None:
    if vnode.watchers is not None:
        for watch in tuple(vnode.watchers):
            if not (unlinked and watch.mask & IN_EXCL_UNLINK):
                watch.post(mask, name)


def entry(dirname: Name, name: bytes, mask: int, vnode: Vnode) -> None:
    """Tell who watches a directory of a change of its entry `name`, which is `vnode`."""
    _post(dirname.vnode, mask | (IN_ISDIR if vnode.type == VDIR else 0), name)


def linked(dirname: Name, name: bytes, vnode: Vnode) -> None:
    """Tell of a new link."""
    _post(vnode, IN_ATTRIB)
    entry(dirname, name, IN_CREATE, vnode)


def removed(dirname: Name, name: bytes, vnode: Vnode) -> None:
    """Tell of a link that has gone, and of the file if it was the last."""
    if vnode.type != VDIR:
        _post(vnode, IN_ATTRIB)
    check_gone(vnode)
    entry(dirname, name, IN_DELETE, vnode)


def renamed(
    olddir: Name, old: bytes, newdir: Name, new: bytes, vnode: Vnode, target: Vnode | None
) -> None:
    """Tell of a move of `vnode`, over `target` if there was one."""
    cookie = next(_cookies)
    kind = IN_ISDIR if vnode.type == VDIR else 0
    _post(olddir.vnode, IN_MOVED_FROM | kind, old, cookie)
    _post(newdir.vnode, IN_MOVED_TO | kind, new, cookie)
    if target is not None:
        _post(target, IN_ATTRIB | (IN_ISDIR if target.type == VDIR else 0))
    _post(vnode, IN_MOVE_SELF)
    if target is not None:
        check_gone(target)


def changed(name: Name, mask: int) -> None:
    """Tell of a change of the attributes `mask` (AT_*)."""
    events = 0
    if mask & (AT_UID | AT_GID | AT_MODE):
        events |= IN_ATTRIB
    if mask & AT_SIZE:
        events |= IN_MODIFY
    times = mask & (AT_ATIME | AT_MTIME)
    if times == AT_ATIME | AT_MTIME:
        events |= IN_ATTRIB
    elif times:
        events |= IN_ACCESS if times == AT_ATIME else IN_MODIFY
    if events:
        touched(name, events, opened=False)


def check_gone(vnode: Vnode) -> None:
    """Tell of the end of a file that has no link left and that nobody holds."""
    if vnode.watchers is None:
        return
    try:
        links = vnode.getattr().nlink
    except KernelError:
        links = 0  # the host has removed it
    if links and not (vnode.type == VDIR and links < 2):
        return
    if not _held(vnode, vnode.watchers[0].queue.procs):
        _post(vnode, IN_DELETE_SELF)
        _forget(vnode)


def _held(vnode: Vnode, procs: Mapping[int, Proc]) -> bool:
    """Return whether a process has the file open, mapped, or as a directory of its own."""
    for proc in procs.values():
        if proc.zombie:
            continue
        if any(file.name.vnode is vnode for _, file in proc.files.items()):
            return True
        fs = getattr(proc, "fs", None)
        if fs is not None and vnode in (fs.cwd.vnode, fs.root.vnode):
            return True
        if any(seg.vnode is vnode for seg in proc.as_.segs):
            return True
    return False


def _forget(vnode: Vnode) -> None:
    for watch in tuple(vnode.watchers or ()):
        watch.queue.forget(watch)


def unmounted(vfs: Vfs) -> None:
    """Tell of the end of a file system."""
    for vnode in [watch.vnode for watch in _watches if watch.vnode.vfs is vfs]:
        for watch in tuple(vnode.watchers or ()):
            watch.queue.post(watch.wd, IN_UNMOUNT)
        _forget(vnode)
