"""tmpfs: files in memory (illumos tmpfs(4FS)).

Contents are frames of the machine, in page caches.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.mm.pagecache import PageCache
from lxemu.kernel.vfs.fcntl import MAXOFFSET
from lxemu.kernel.vfs.vnode import (
    AT_ATIME,
    AT_CTIME,
    AT_GID,
    AT_MODE,
    AT_MTIME,
    AT_SIZE,
    AT_UID,
    FL_IMMUTABLE,
    S_ISGID,
    VDIR,
    VFS_NOATIME,
    VLNK,
    VREG,
    VWRITE,
    Dirent,
    Statvfs,
    Vattr,
    Vfs,
    Vnode,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxemu.kernel.cred import Cred
    from lxemu.kernel.mm.page import PhysMem

#: Size that a directory shows for each of its entries.
_DIRENT_SIZE = 20
#: Entries that one readdir returns at most.
_DIRENT_BATCH = 1024


class Tmpfs(Vfs):
    """A file system in memory. `size` (bytes) and `inodes` are limits, 0 for none."""

    name = "tmpfs"
    has_whiteouts = True
    keeps_iflags = True

    def __init__(
        self,
        phys: PhysMem,
        fsid: int,
        *,
        size: int = 0,
        inodes: int = 0,
        mode: int = 0o1777,
        uid: int = 0,
        gid: int = 0,
        flags: int = 0,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(fsid, flags=flags, now=now)
        self.source = b"tmpfs"
        self.phys = phys
        self.max_pages = size + 4095 >> 12
        self.max_inodes = inodes
        self.npages = 0
        self.ninodes = 0
        self._next_nodeid = 1
        self._root = TmpDir(self, mode, uid, gid)
        self._root.up = self._root.nodeid

    def root(self) -> Vnode:
        """Return the root directory."""
        return self._root

    def resize(self, size: int | None, inodes: int | None) -> None:
        """Set other limits, None leaving one alone. Raises EINVAL for less than is in use."""
        pages = self.max_pages if size is None else size + 4095 >> 12
        files = self.max_inodes if inodes is None else inodes
        if (pages and pages < self.npages) or (files and files < self.ninodes):
            raise KernelError(Errno.EINVAL)
        self.max_pages, self.max_inodes = pages, files

    def charge(self, npages: int) -> None:
        """Account for pages added (or dropped); raises ENOSPC at the limit."""
        self.npages += npages
        if npages > 0 and self.max_pages and self.npages > self.max_pages:
            self.npages -= npages
            raise KernelError(Errno.ENOSPC)

    def new_nodeid(self) -> int:
        """Account for a new file and return its number; raises ENOSPC at the limit."""
        if self.max_inodes and self.ninodes >= self.max_inodes:
            raise KernelError(Errno.ENOSPC)
        self.ninodes += 1
        nodeid = self._next_nodeid
        self._next_nodeid += 1
        return nodeid

    def start_nodeids(self, first: int) -> None:
        """Give new files numbers from `first` on."""
        self._next_nodeid = max(self._next_nodeid, first)

    def unmount(self) -> None:
        """Let every file go; those still open go with their last user."""
        todo = [self._root]
        while todo:
            entries = todo.pop().entries
            todo += [node for node in entries.values() if isinstance(node, TmpDir)]
            entries.clear()

    def statvfs(self) -> Statvfs:
        """Return the limits and what is left; without limits, what memory there is."""
        blocks = self.max_pages or self.phys.nframes
        free = blocks - self.npages if self.max_pages else self.phys.free_frames
        files = self.max_inodes or self.phys.nframes
        return Statvfs(
            4096,
            4096,
            blocks,
            free,
            free,
            files,
            files - self.ninodes,
            self.fsid,
            self.name,
            self.flags,
        )


class TmpNode(Vnode):
    """A file of a tmpfs: its attributes. Used as it is for fifos, sockets and devices."""

    __slots__ = (
        "atime",
        "btime",
        "ctime",
        "gid",
        "iflags",
        "mtime",
        "nlink",
        "nodeid",
        "rdev",
        "tmpfs",
        "uid",
        "xattrs",
    )

    def __init__(
        self, vfs: Tmpfs, vtype: int, mode: int, uid: int, gid: int, rdev: int = 0
    ) -> None:
        self.tmpfs: Tmpfs | None = None
        self.nodeid = vfs.new_nodeid()
        self.tmpfs = vfs
        super().__init__(vfs, vtype, mode)
        self.uid = uid
        self.gid = gid
        self.nlink = 1
        self.iflags = 0
        self.rdev = rdev
        self.xattrs: dict[bytes, bytes] | None = None
        self.atime = self.btime = self.ctime = self.mtime = vfs.now()

    def __del__(self) -> None:
        if self.tmpfs is not None:
            self.tmpfs.ninodes -= 1

    def _nblocks(self) -> int:
        return 0

    def size(self) -> int:
        """Return the length in bytes."""
        return 0

    def getattr(self, cred: Cred | None = None) -> Vattr:  # noqa: ARG002
        """Return the attributes."""
        return Vattr(
            self.type,
            self.mode,
            self.uid,
            self.gid,
            self.vfs.fsid,
            self.nodeid,
            self.nlink,
            self.size(),
            self.atime,
            self.mtime,
            self.ctime,
            self.btime,
            self.rdev,
            4096,
            self._nblocks(),
        )

    def access(self, want: int, cred: Cred) -> None:
        """Check permission without building the attributes."""
        mode = self.mode
        if self.iflags & FL_IMMUTABLE and want & VWRITE:
            raise KernelError(Errno.EPERM)
        if want & ~(mode & mode >> 3 & mode >> 6):
            super().access(want, cred)

    def get_atime(self) -> int:
        """Return the access time."""
        return self.atime

    def set_atime(self, when: int) -> None:
        """Set the access time."""
        self.atime = when

    def set_iflags(self, flags: int) -> None:
        """Set the FL_* bits."""
        self.iflags = flags
        self.ctime = self.vfs.now()

    def setattr(self, mask: int, attr: Vattr, cred: Cred) -> None:  # noqa: ARG002
        """Set attributes; the change time becomes now unless it is set as well."""
        if mask & AT_SIZE:
            self.truncate(attr.size)
        if mask & AT_MODE:
            self.mode = attr.mode
        if mask & AT_UID:
            self.uid = attr.uid
        if mask & AT_GID:
            self.gid = attr.gid
        if mask & AT_ATIME:
            self.atime = attr.atime
        if mask & AT_MTIME:
            self.mtime = attr.mtime
        self.ctime = attr.ctime if mask & AT_CTIME else self.vfs.now()

    def touch(self) -> None:
        """Note a change of contents."""
        self.mtime = self.ctime = self.vfs.now()

    # -- extended attributes --------------------------------------------------------------------

    def getxattr(self, name: bytes) -> bytes:
        """Return the value of an attribute; raises ENODATA."""
        if self.xattrs is None or name not in self.xattrs:
            raise KernelError(Errno.ENODATA)
        return self.xattrs[name]

    def setxattr(self, name: bytes, value: bytes, *, create: bool, replace: bool) -> None:
        """Set an attribute; raises EEXIST, ENODATA."""
        xattrs = self.xattrs if self.xattrs is not None else {}
        if create and name in xattrs:
            raise KernelError(Errno.EEXIST)
        if replace and name not in xattrs:
            raise KernelError(Errno.ENODATA)
        xattrs[name] = value
        self.xattrs = xattrs
        self.ctime = self.vfs.now()

    def removexattr(self, name: bytes) -> None:
        """Remove an attribute; raises ENODATA."""
        self.getxattr(name)
        if self.xattrs is not None:
            del self.xattrs[name]
        self.ctime = self.vfs.now()

    def listxattr(self) -> list[bytes]:
        """Return the names of all attributes."""
        return list(self.xattrs) if self.xattrs is not None else []


class TmpFile(TmpNode):
    """A regular file; its bytes are the frames of `pages`."""

    __slots__ = ("pages",)

    def __init__(self, vfs: Tmpfs, mode: int, uid: int, gid: int) -> None:
        super().__init__(vfs, VREG, mode, uid, gid)
        self.pages: PageCache = PageCache(vfs.phys, charge=vfs.charge)

    def size(self) -> int:
        """Return the length in bytes."""
        return self.pages.size

    def _nblocks(self) -> int:
        return self.pages.npages * 8

    def read(self, off: int, n: int) -> bytes:
        """Return up to `n` bytes at `off`, noting the access as "relatime" does."""
        if self.atime <= self.mtime and not self.vfs.flags & VFS_NOATIME:
            self.atime = self.vfs.now()
        return self.pages.read(off, n)

    def write(self, off: int, data: bytes | memoryview) -> int:
        """Write at `off`. Raises ENOSPC, ENOMEM when nothing could be written."""
        n = self.pages.write(off, data)
        self.mtime = self.ctime = self.vfs.now()
        return n

    def truncate(self, size: int) -> None:
        """Set the length; what is new reads as zeros."""
        if size > MAXOFFSET:
            raise KernelError(Errno.EFBIG)
        self.pages.truncate(size)
        self.touch()

    def allocate(self, off: int, length: int, *, keep_size: bool = False) -> None:
        """Give a range its frames now. Raises ENOSPC, and then nothing has changed."""
        pages = self.pages
        end = off + length
        size = pages.size
        pages.size = max(size, end)
        added: list[int] = []
        try:
            for index in range(off >> 12, end + 4095 >> 12):
                if not pages.has_page(index):
                    pages.get(index)
                    added.append(index)
        except KernelError:
            for index in added:
                pages.punch(index << 12, 4096)
            pages.size = size
            raise
        if keep_size:
            pages.size = size
        self.touch()

    def freesp(self, off: int, length: int) -> None:
        """Make a hole."""
        self.pages.punch(off, length)
        self.touch()

    def shift(self, off: int, length: int, *, insert: bool) -> None:
        """Collapse or insert whole pages."""
        pages = self.pages
        if (off | length) & 4095:
            raise KernelError(Errno.EINVAL)
        if off >= pages.size or (not insert and off + length >= pages.size):
            raise KernelError(Errno.EINVAL)
        if insert and pages.size + length > MAXOFFSET:
            raise KernelError(Errno.EFBIG)
        if not insert:
            pages.punch(off, length)
        pages.shift((off if insert else off + length) >> 12, (length if insert else -length) >> 12)
        self.touch()

    def seek_data(self, off: int, *, hole: bool) -> int:
        """Return the next data or hole; raises ENXIO past the end."""
        pos = self.pages.next_hole(off) if hole else self.pages.next_data(off)
        if pos is None:
            raise KernelError(Errno.ENXIO)
        return pos


class TmpLink(TmpNode):
    """A symbolic link."""

    __slots__ = ("target",)

    def __init__(self, vfs: Tmpfs, target: bytes, uid: int, gid: int) -> None:
        super().__init__(vfs, VLNK, 0o777, uid, gid)
        self.target = target

    def size(self) -> int:
        """Return the length of the target."""
        return len(self.target)

    def readlink(self) -> bytes:
        """Return the target."""
        return self.target


class TmpDir(TmpNode):
    """A directory.

    `up` is the nodeid of the directory above; `cookies` numbers entries as they come.
    """

    __slots__ = ("cookies", "entries", "next_cookie", "up")

    def __init__(self, vfs: Tmpfs, mode: int, uid: int, gid: int) -> None:
        super().__init__(vfs, VDIR, mode, uid, gid)
        self.nlink = 2
        self.entries: dict[bytes, TmpNode] = {}
        #: Entries are kept in the order of their numbers; an entry that moves gets a new one.
        self.cookies: dict[bytes, int] = {}
        self.next_cookie = 2
        self.up = 0

    def size(self) -> int:
        """Return a size that grows with the number of entries."""
        return (2 + len(self.entries)) * _DIRENT_SIZE

    def lookup(self, name: bytes) -> Vnode:
        """Return the entry `name`; raises ENOENT."""
        try:
            return self.entries[name]
        except KeyError:
            raise KernelError(Errno.ENOENT) from None

    # -- entries --------------------------------------------------------------------------------

    def enter(self, name: bytes, node: TmpNode) -> None:
        """Put an entry in, in the place of one of the same name."""
        self._pop(name)
        self.entries[name] = node
        self.cookies[name] = self.next_cookie
        self.next_cookie += 1

    def _pop(self, name: bytes) -> None:
        if name in self.entries:
            del self.entries[name]
            del self.cookies[name]

    def _new(self, name: bytes, node: TmpNode) -> TmpNode:
        self.enter(name, node)
        if node.type == VDIR:
            self.nlink += 1
        self.touch()
        return node

    def _owner(self, cred: Cred) -> tuple[int, int]:
        """Return owner and group of a new file: the directory's group if it is set-gid."""
        if self.nlink == 0:
            raise KernelError(Errno.ENOENT)
        return cred.fsuid, self.gid if self.mode & S_ISGID else cred.fsgid

    def create(self, name: bytes, mode: int, vtype: int, cred: Cred, rdev: int = 0) -> Vnode:
        """Make a file that is not a directory or link."""
        uid, gid = self._owner(cred)
        vfs = self._tmpfs()
        if vtype == VREG:
            return self._new(name, TmpFile(vfs, mode, uid, gid))
        return self._new(name, TmpNode(vfs, vtype, mode, uid, gid, rdev))

    def _tmpfs(self) -> Tmpfs:
        assert self.tmpfs is not None
        return self.tmpfs

    def tmpfile(self, mode: int, cred: Cred) -> Vnode:
        """Make a regular file without a name."""
        uid, gid = self._owner(cred)
        node = TmpFile(self._tmpfs(), mode, uid, gid)
        node.nlink = 0
        return node

    def mkdir(self, name: bytes, mode: int, cred: Cred) -> Vnode:
        """Make a directory; it inherits set-gid."""
        uid, gid = self._owner(cred)
        node = TmpDir(self._tmpfs(), mode | self.mode & S_ISGID, uid, gid)
        node.up = self.nodeid
        return self._new(name, node)

    def symlink(self, name: bytes, target: bytes, cred: Cred) -> Vnode:
        """Make a symbolic link."""
        uid, gid = self._owner(cred)
        return self._new(name, TmpLink(self._tmpfs(), target, uid, gid))

    def link(self, vnode: Vnode, name: bytes) -> None:
        """Make another link to a file of this file system."""
        assert isinstance(vnode, TmpNode)
        if self.nlink == 0:
            raise KernelError(Errno.ENOENT)
        self.enter(name, vnode)
        vnode.nlink += 1
        vnode.ctime = self.vfs.now()
        self.touch()

    def remove(self, name: bytes) -> None:
        """Remove a link; the file goes with its last link and its last user."""
        node = self._entry(name)
        self._pop(name)
        node.nlink -= 1
        node.ctime = self.vfs.now()
        self.touch()

    def rmdir(self, name: bytes) -> None:
        """Remove an empty directory; raises ENOTEMPTY."""
        node = self._entry(name)
        if isinstance(node, TmpDir) and node.entries:
            raise KernelError(Errno.ENOTEMPTY)
        self._pop(name)
        node.nlink = 0
        self.nlink -= 1
        node.ctime = self.vfs.now()
        self.touch()

    def _entry(self, name: bytes) -> TmpNode:
        try:
            return self.entries[name]
        except KeyError:
            raise KernelError(Errno.ENOENT) from None

    def rename(self, name: bytes, newdir: Vnode, newname: bytes) -> None:
        """Move an entry, removing what it replaces. Raises ENOTEMPTY."""
        assert isinstance(newdir, TmpDir)
        node = self._entry(name)
        if newname in newdir.entries:
            if newdir.entries[newname].type == VDIR:
                newdir.rmdir(newname)
            else:
                newdir.remove(newname)
        self._pop(name)
        newdir.enter(newname, node)
        if isinstance(node, TmpDir) and newdir is not self:
            self.nlink -= 1
            newdir.nlink += 1
            node.up = newdir.nodeid
        node.ctime = self.vfs.now()
        self.touch()
        newdir.touch()

    def exchange(self, name: bytes, newdir: Vnode, newname: bytes) -> None:
        """Swap two entries."""
        assert isinstance(newdir, TmpDir)
        one, two = self._entry(name), newdir._entry(newname)
        self.enter(name, two)
        newdir.enter(newname, one)
        for node, old, new in ((one, self, newdir), (two, newdir, self)):
            node.ctime = self.vfs.now()
            if isinstance(node, TmpDir):
                old.nlink -= 1
                new.nlink += 1
                node.up = new.nodeid
        self.touch()
        newdir.touch()

    def readdir(self, cookie: int) -> list[Dirent]:
        """Return entries from `cookie` on. An entry's number does not change while it stays."""
        if self.atime <= self.mtime and not self.vfs.flags & VFS_NOATIME:
            self.atime = self.vfs.now()
        out: list[Dirent] = []
        if cookie <= 0:
            out.append(Dirent(b".", self.nodeid, VDIR, 1))
        if cookie <= 1:
            out.append(Dirent(b"..", self.up, VDIR, 2))
        entries = self.entries
        for name, number in self.cookies.items():
            if number >= cookie:
                node = entries[name]
                out.append(Dirent(name, node.nodeid, node.type, number + 1))
                if len(out) >= _DIRENT_BATCH:
                    break
        return out
