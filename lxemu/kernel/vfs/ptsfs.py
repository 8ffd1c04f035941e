"""The file system of pseudo terminals: a node for each terminal side there is (illumos dev, pts).

A mount of it has terminals of its own. Who opens the clone device beside its mount point (or in
it) gets a new pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import curlwp
from lxemu.kernel.vfs import fcntl as f
from lxemu.kernel.vfs.file import File
from lxemu.kernel.vfs.lookup import lookup_child
from lxemu.kernel.vfs.specfs import Driver
from lxemu.kernel.vfs.vnode import (
    AT_ATIME,
    AT_GID,
    AT_MODE,
    AT_MTIME,
    AT_UID,
    VCHR,
    VDIR,
    Dirent,
    Statvfs,
    Vattr,
    Vfs,
    Vnode,
    makedev,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxemu.kernel.cred import Cred
    from lxemu.kernel.pty import Pty
    from lxemu.kernel.vfs.name import Name
    from lxemu.kernel.zone import Zone

_ROOT, _CLONE, _FIRST = 1, 2, 3
CLONE_NAME = b"ptmx"
#: More pseudo terminals than this have no numbers.
MOST = 1 << 20


@dataclass(slots=True)
class PtsOptions:
    """What a mount may say: owner (None: the opener's) and mode of nodes, how many there may be.

    `first` is set for the one that the system has from the start.
    """

    uid: int | None = None
    gid: int | None = None
    mode: int = 0o600
    clone_mode: int = 0
    most: int = MOST
    first: bool = False


class PtsFs(Vfs):
    """Pseudo terminals.

    `major` is the major number of terminal sides, `clone` the number of the clone device.
    """

    def __init__(
        self,
        fsid: int,
        name: str,
        major: int,
        clone: int,
        options: PtsOptions,
        zone: Zone,
        now: Callable[[], int],
    ) -> None:
        super().__init__(fsid, now=now)
        self.zone = zone
        self.name = name
        self.source = name.encode()
        self.major = major
        self.opts = options
        self.nodes: dict[int, PtsNode] = {}
        self._numbers: set[int] = set()
        self._root = PtsDir(self, clone)

    def root(self) -> PtsDir:
        """Return the root directory."""
        return self._root

    def statvfs(self) -> Statvfs:
        """Return totals: there is nothing to count."""
        return Statvfs(4096, 4096, 0, 0, 0, 0, 0, self.fsid, self.name, self.flags)

    def new_pty(self, cred: Cred) -> Pty:
        """Make a pair and its node; raises ENOSPC when there are as many as may be."""
        # Terminals are a lot of code, and the file system of them is there from the start.
        from lxemu.kernel.pty import Pty

        number = 0
        while number in self._numbers:
            number += 1
        zone = self.zone
        limit = zone.pty_max - (0 if self.opts.first else zone.pty_reserve)
        if number >= self.opts.most or zone.ptys + 1 >= limit:
            raise KernelError(Errno.ENOSPC)
        zone.ptys += 1
        pty = Pty(number, makedev(self.major, number))
        opts = self.opts
        uid = cred.fsuid if opts.uid is None else opts.uid
        gid = cred.fsgid if opts.gid is None else opts.gid
        self._numbers.add(number)
        self.nodes[number] = pty.node = PtsNode(self, pty, opts.mode, uid, gid)
        self._root.touch()

        def gone() -> None:
            del self.nodes[number]
            self._root.touch()

        def released() -> None:
            self._numbers.discard(number)
            zone.ptys -= 1

        pty.gone = gone
        pty.released = released
        return pty


class _Node(Vnode):
    """Attributes that can be set."""

    __slots__ = ("_attr",)

    def __init__(self, vfs: Vfs, attr: Vattr) -> None:
        super().__init__(vfs, attr.type, attr.mode)
        now = vfs.now()
        self._attr = attr._replace(
            fsid=vfs.fsid, nlink=1, atime=now, mtime=now, ctime=now, blksize=1024
        )

    def getattr(self, cred: Cred | None = None) -> Vattr:  # noqa: ARG002
        """Return the attributes."""
        return self._attr

    def setattr(self, mask: int, attr: Vattr, cred: Cred) -> None:  # noqa: ARG002
        """Set owner, mode and times."""
        fields = {AT_MODE: "mode", AT_UID: "uid", AT_GID: "gid"}
        fields.update({AT_ATIME: "atime", AT_MTIME: "mtime"})
        changes = {name: getattr(attr, name) for bit, name in fields.items() if mask & bit}
        self._attr = self._attr._replace(ctime=self.vfs.now(), **changes)
        self.mode = self._attr.mode

    def touch(self) -> None:
        """Note that it has changed."""
        now = self.vfs.now()
        self._attr = self._attr._replace(mtime=now, ctime=now)


class PtsDir(_Node):
    """The root: the clone device and the terminals."""

    __slots__ = ("clone",)

    vfs: PtsFs

    def __init__(self, vfs: PtsFs, clone: int) -> None:
        super().__init__(vfs, Vattr(VDIR, 0o755, nodeid=_ROOT))
        self.clone = _Node(vfs, Vattr(VCHR, vfs.opts.clone_mode, nodeid=_CLONE, rdev=clone))

    def getattr(self, cred: Cred | None = None) -> Vattr:  # noqa: ARG002
        """Return the attributes."""
        return self._attr._replace(nlink=2)

    def lookup(self, name: bytes) -> Vnode:
        """Return the clone device or a terminal; raises ENOENT."""
        if name == CLONE_NAME:
            return self.clone
        node = None
        if name.isdigit() and b"%d" % int(name) == name:
            node = self.vfs.nodes.get(int(name))
        if node is None:
            raise KernelError(Errno.ENOENT)
        return node

    def readdir(self, cookie: int) -> list[Dirent]:
        """Return the terminals there are."""
        found = [(b".", _ROOT, VDIR), (b"..", _ROOT, VDIR)]
        found += [(b"%d" % n, n + _FIRST, VCHR) for n in sorted(self.vfs.nodes, reverse=True)]
        found.append((CLONE_NAME, _CLONE, VCHR))
        return [Dirent(*entry, at + 1) for at, entry in enumerate(found) if at >= cookie]


class PtsNode(_Node):
    """The node of a terminal side."""

    __slots__ = ("pty",)

    opens_itself = True

    def __init__(self, vfs: PtsFs, pty: Pty, mode: int, uid: int, gid: int) -> None:
        nodeid = pty.number + _FIRST
        rdev = makedev(vfs.major, pty.number)
        super().__init__(vfs, Vattr(VCHR, mode, uid, gid, nodeid=nodeid, rdev=rdev))
        self.pty = pty

    def open(self, file: File) -> Vnode | None:
        """Open the terminal side."""
        return self.pty.open_slave(file, self)


class CloneDriver(Driver):
    """The clone device: each open makes a pair in the file system of terminals that belongs to it.

    That is the one the device lies in, or the one mounted at "pts" beside it.
    """

    seekable = False

    def open(self, vnode: Vnode, file: File) -> Vnode | None:
        """Make a pair and give the opener its controlling side. Raises ENODEV, ENOSPC."""
        place = _terminals_of(file.name)
        fs = place.vnode.vfs
        if not isinstance(fs, PtsFs):
            raise KernelError(Errno.ENODEV)
        pty = fs.new_pty(file.cred)
        pty.peer_file = lambda flags: _open_peer(pty, place, flags)
        return pty.master.add(file, vnode)


def _terminals_of(name: Name) -> Name:
    """Return the directory of terminals that belongs to a clone device."""
    parent = name.parent
    if isinstance(name.vnode.vfs, PtsFs):
        assert name.mount is not None
        return name.mount.root
    if parent is None:
        raise KernelError(Errno.ENODEV)
    try:
        return lookup_child(parent, b"pts")
    except KernelError:
        raise KernelError(Errno.ENODEV) from None


def _open_peer(pty: Pty, place: Name, flags: int) -> File:
    """Open the terminal side of a pair without its path (TIOCGPTPEER)."""
    name = lookup_child(place, b"%d" % pty.number)
    keep = flags & (f.O_SETFL | f.O_NOCTTY)
    file = File(name.vnode, name, keep | f.open_mode(flags), curlwp().proc.cred)
    vnode = name.vnode.open(file)
    if vnode is not None:
        file.set_vnode(vnode)
    file.flags &= ~f.O_NOCTTY
    return file


class ForeignDriver(Driver):
    """A node of a terminal side that does not lie in a file system of terminals."""

    def open(self, vnode: Vnode, file: File) -> Vnode | None:  # noqa: ARG002
        """Fail with EIO: there is no pair behind it."""
        raise KernelError(Errno.EIO)
