"""Vnodes of file systems whose files are made up when they are opened.

A text file is generated when it is read from its beginning, and the text stays with that open file,
as with Linux's seq_file: reading on gives one consistent text, reading again from 0 a new one.
"""

# ruff: noqa: ARG002 -- a vnode has all arguments of an operation, used or not

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import curlwp
from lxemu.kernel.vfs.vnode import VDIR, VLNK, VREG, Dirent, Statvfs, Vattr, Vfs, Vnode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lxemu.kernel.cred import Cred
    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.vfs.file import File

#: Number of the root directory, and of the first file that is there from the start.
ROOT_NODEID = 1
FIRST_NODEID = 0xF0000000
_BLKSIZE = 1024


def reader() -> Lwp | None:
    """Return the lwp on whose behalf a file is looked at; None outside of any."""
    try:
        return curlwp()
    except AttributeError:
        return None


class PseudoVfs(Vfs):
    """A file system without storage."""

    def __init__(self, fsid: int, name: str, now: Callable[[], int]) -> None:
        super().__init__(fsid, now=now)
        self.name = name
        self.source = name.encode()
        self._next_nodeid = FIRST_NODEID
        self._root: Vnode | None = None
        #: What an attempt to make something fails with.
        self.no_making = Errno.EPERM

    def set_root(self, root: Vnode) -> None:
        """Say which directory is the root."""
        self._root = root

    def root(self) -> Vnode:
        """Return the root directory."""
        assert self._root is not None
        return self._root

    def new_nodeid(self) -> int:
        """Return a number for a file that stays."""
        self._next_nodeid += 1
        return self._next_nodeid

    def statvfs(self) -> Statvfs:
        """Return totals: there is nothing to count."""
        return Statvfs(4096, 4096, 0, 0, 0, 0, 0, self.fsid, self.name, self.flags)


class PseudoNode(Vnode):
    """What directories, files and links have in common: fixed attributes."""

    __slots__ = ("gid", "nodeid", "stamp", "uid")

    vfs: PseudoVfs

    def __init__(
        self, vfs: PseudoVfs, vtype: int, mode: int, nodeid: int = 0, uid: int = 0, gid: int = 0
    ) -> None:
        super().__init__(vfs, vtype, mode)
        self.nodeid = nodeid or vfs.new_nodeid()
        self.uid = uid
        self.gid = gid
        self.stamp = vfs.now()

    def owner(self) -> tuple[int, int]:
        """Return user and group id."""
        return self.uid, self.gid

    def nlink(self) -> int:
        """Return the number of links."""
        return 1

    def getattr(self, cred: Cred | None = None) -> Vattr:
        """Return the attributes; sizes of made-up files are 0."""
        uid, gid = self.owner()
        return Vattr(
            self.type,
            self.mode,
            uid,
            gid,
            self.vfs.fsid,
            self.nodeid,
            self.nlink(),
            0,
            self.stamp,
            self.stamp,
            self.stamp,
            blksize=_BLKSIZE,
        )

    def setattr(self, mask: int, attr: Vattr, cred: Cred) -> None:
        """Refuse: EPERM."""
        raise KernelError(Errno.EPERM)

    def size(self) -> int:
        """Return 0, the length that such files show."""
        return 0


class PseudoDir(PseudoNode):
    """A directory whose entries are known: `entries` maps names to vnodes, in order.

    `fill`, if set, is called once, before somebody first looks: start-up makes no entries.
    """

    __slots__ = ("_entries", "fill", "parent")

    def __init__(
        self, vfs: PseudoVfs, parent: PseudoNode | None = None, mode: int = 0o555, nodeid: int = 0
    ) -> None:
        super().__init__(vfs, VDIR, mode, nodeid)
        self.parent = parent
        self.fill: Callable[[], None] | None = None
        self._entries: dict[bytes, Vnode] = {}

    @property
    def entries(self) -> dict[bytes, Vnode]:
        """The entries by name."""
        if self.fill is not None:
            fill, self.fill = self.fill, None
            fill()
        return self._entries

    def add(self, name: bytes, vnode: Vnode) -> Vnode:
        """Enter `vnode` under `name` and return it."""
        self.entries[name] = vnode
        return vnode

    def text(self, name: bytes, make: Callable[[], bytes], mode: int = 0o444) -> TextFile:
        """Enter a file whose text `make` returns."""
        node = TextFile(self.vfs, make, mode)
        self.entries[name] = node
        return node

    def directory(self, name: bytes, mode: int = 0o555) -> PseudoDir:
        """Enter a subdirectory and return it."""
        node = PseudoDir(self.vfs, self, mode)
        self.entries[name] = node
        return node

    def link(self, name: bytes, target: Callable[[], bytes]) -> None:  # type: ignore[override]
        """Enter a symbolic link whose target `target` returns."""
        self.entries[name] = TextLink(self.vfs, target)

    def nlink(self) -> int:
        """Return 2 and one for each subdirectory."""
        return 2 + sum(node.type == VDIR for node in self.entries.values())

    def lookup(self, name: bytes) -> Vnode:
        """Return the entry `name`; raises ENOENT."""
        found = self.entries.get(name)
        if found is None:
            raise KernelError(Errno.ENOENT)
        return found

    def create(self, name: bytes, mode: int, vtype: int, cred: Cred, rdev: int = 0) -> Vnode:
        """Refuse: EACCES, or what the file system says."""
        error = self.vfs.no_making
        raise KernelError(Errno.EACCES if error is Errno.EPERM and vtype == VREG else error)

    def mkdir(self, name: bytes, mode: int, cred: Cred) -> Vnode:
        """Refuse."""
        raise KernelError(self.vfs.no_making)

    def symlink(self, name: bytes, target: bytes, cred: Cred) -> Vnode:
        """Refuse."""
        raise KernelError(self.vfs.no_making)

    def dots(self) -> list[tuple[bytes, int]]:
        """Return "." and ".." with their numbers."""
        parent = self.parent if self.parent is not None else self
        return [(b".", self.nodeid), (b"..", parent.nodeid)]

    def readdir(self, cookie: int) -> list[Dirent]:
        """Return the entries from `cookie` on."""
        found = [Dirent(name, ino, VDIR, 0) for name, ino in self.dots()]
        found += self.listing()
        return [e._replace(next_cookie=i + 1) for i, e in enumerate(found) if i >= cookie]

    def listing(self) -> Iterable[Dirent]:
        """Return the entries without "." and ".."; cookies are filled in by `readdir`."""
        return [
            Dirent(name, getattr(node, "nodeid", 0), node.type, 0)
            for name, node in self.entries.items()
        ]


class TextFile(PseudoNode):
    """A file whose contents `make` returns.

    `write` takes what is written to it, if anything may be.
    """

    __slots__ = ("_make", "_store")

    def __init__(
        self,
        vfs: PseudoVfs,
        make: Callable[[], bytes],
        mode: int = 0o444,
        nodeid: int = 0,
        store: Callable[[bytes], None] | None = None,
    ) -> None:
        super().__init__(vfs, VREG, mode if store is None else mode | 0o200, nodeid)
        self._make = make
        self._store = store

    def make(self) -> bytes:
        """Return the contents as they are now."""
        return self._make()

    def store(self, data: bytes) -> None:
        """Take what was written; EIO for a file that takes nothing, as seq_file's do."""
        if self._store is None:
            raise KernelError(Errno.EIO)
        self._store(data)

    def open(self, file: File) -> Vnode | None:
        """Open: each open file has contents of its own."""
        return OpenText(self)

    def read(self, off: int, n: int) -> bytes:
        """Read without an open file."""
        return self.make()[off : off + n]

    def truncate(self, size: int) -> None:
        """Do nothing: opening with O_TRUNC is how shells write to such files."""


class OpenText(PseudoNode):
    """An open text file: the text that was made last."""

    __slots__ = ("node", "text")

    def __init__(self, node: TextFile) -> None:
        self.vfs = node.vfs
        super().__init__(node.vfs, VREG, node.mode, node.nodeid)
        self.node = node
        self.text: bytes | None = None

    def getattr(self, cred: Cred | None = None) -> Vattr:
        """Return the attributes of the file."""
        return self.node.getattr(cred)

    def read(self, off: int, n: int) -> bytes:
        """Read; from the beginning the text is made anew."""
        if off == 0 or self.text is None:
            self.text = self.node.make()
        return self.text[off : off + n]

    def write(self, off: int, data: bytes | memoryview) -> int:
        """Write: one call is one value."""
        self.node.store(bytes(data))
        return len(data)

    def truncate(self, size: int) -> None:
        """Do nothing, as `TextFile.truncate`."""


class TextLink(PseudoNode):
    """A symbolic link whose target is made up when it is read."""

    __slots__ = ("_target",)

    def __init__(self, vfs: PseudoVfs, target: Callable[[], bytes], nodeid: int = 0) -> None:
        super().__init__(vfs, VLNK, 0o777, nodeid)
        self._target = target

    def readlink(self) -> bytes:
        """Return the target."""
        return self._target()
