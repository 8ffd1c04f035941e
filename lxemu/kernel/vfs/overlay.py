"""overlay: read-only trees with a writable one in memory on top.

A file is shown from the upper tree if it is there, else from the first lower tree that has it. A
change copies the file up first. A removed lower file leaves a whiteout in the upper tree (a
character device with number 0), a directory that must not be merged with a lower one is marked
opaque by an attribute: the upper tree alone tells all that has changed.

Unlike its models this overlay keeps one vnode for a file from before to after its copying up: open
files see what is written later, hard links stay links, file numbers stay, and a lower directory
can be renamed (its vnode takes along where its lower contents are). Mappings made before the
copying up keep the old pages.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from weakref import ref

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.vfs.dirlist import DirList
from lxemu.kernel.vfs.fcntl import FWRITE, O_TRUNC
from lxemu.kernel.vfs.tmpfs import TmpDir, TmpFile, Tmpfs, TmpLink, TmpNode
from lxemu.kernel.vfs.vnode import (
    AT_SIZE,
    VCHR,
    VDIR,
    VLNK,
    VREG,
    Dirent,
    Statvfs,
    Vattr,
    Vfs,
    Vnode,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lxemu.kernel.cred import Cred
    from lxemu.kernel.mm.pagecache import PageCache
    from lxemu.kernel.vfs.file import File

#: Numbers of files that are new in the upper tree: not those of real file systems, yet 32 bits.
FIRST_NODEID = 0xE0000000
_OPAQUE = b"trusted.overlay.opaque"
_COPY_CHUNK = 1 << 20


class Overlay(Vfs):
    """`lower`, one or more directories (the first hides the others), under `upper`.

    The upper tree is a file system of the overlay's own, or the directory `top` of one. Files show
    the device `fsid`, or that of the first lower root, so that old and new ones look alike.
    """

    name = "overlay"
    keeps_iflags = True

    def __init__(
        self,
        lower: Vnode | Sequence[Vnode],
        upper: Tmpfs,
        *,
        top: TmpDir | None = None,
        fsid: int = 0,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        lowers = [lower] if isinstance(lower, Vnode) else list(lower)
        attr = lowers[0].getattr()
        super().__init__(fsid or attr.fsid, now=now)
        self.source = b"overlay"
        self.upper = upper
        self.readonly = False
        #: The device of files that are (also) in the upper tree.
        self.shared_upper = top is not None
        if top is None:
            upper.fsid = self.fsid
            upper.start_nodeids(FIRST_NODEID)
        #: Vnode of each file that has been copied up, by its upper file: they say what it was.
        self.copied: dict[Vnode, OvlNode] = {}
        #: Vnode of each other file that is in use, by the lower or upper file.
        self.nodes: dict[Vnode, ref[OvlNode]] = {}
        #: Lower files that have lost a name, and have others.
        self.kept: set[OvlNode] = set()
        if top is None:
            found = upper.root()
            assert isinstance(found, TmpDir)
            top = found
            _copy_attributes(top, attr)
        self._root = OvlDir(self, top, lowers, None, b"")
        self.copied[top] = self._root

    def root(self) -> Vnode:
        """Return the merged root."""
        return self._root

    def statvfs(self) -> Statvfs:
        """Return the figures of the upper tree, where there is room or not."""
        return self.upper.statvfs()._replace(basetype=self.name, fsid=self.fsid, flag=self.flags)

    def unmount(self) -> None:
        """Forget everything; an upper tree of somebody else's stays."""
        if not self.shared_upper:
            self.upper.unmount()
        self.copied.clear()
        self.kept.clear()
        self.nodes.clear()

    def may_write(self) -> bool:
        """Return whether there is an upper tree to write to."""
        return not self.readonly

    def of_upper(self, node: TmpNode, parent: OvlDir, name: bytes) -> OvlNode:
        """Return the vnode of a file of the upper tree."""
        found = self.copied.get(node)
        if found is not None:
            return found
        known = self.nodes.get(node)
        found = known() if known is not None else None
        if found is None:
            if isinstance(node, TmpDir):
                found = OvlDir(self, node, parent.lower_dirs(name, node), parent, name)
            elif node.type == VREG:
                found = OvlFile(self, node, [], parent, name)
            else:
                found = OvlNode(self, node, [], parent, name)
            self.nodes[node] = ref(found)
        return found

    def of_lower(self, lowers: list[Vnode], parent: OvlDir, name: bytes) -> OvlNode:
        """Return the vnode of a file that is in lower trees only, or was before its copying up."""
        first = lowers[0]
        known = self.nodes.get(first)
        found = known() if known is not None else None
        if found is None:
            if first.type == VDIR:
                found = OvlDir(self, None, lowers, parent, name)
            elif first.type == VREG:
                found = OvlFile(self, None, lowers, parent, name)
            else:
                found = OvlNode(self, None, lowers, parent, name)
            self.nodes[first] = ref(found)
        elif found.upper is None:
            found.parent = parent
            found.name = name
            found.mode = first.mode
        return found


def _copy_attributes(node: TmpNode, attr: Vattr) -> None:
    node.mode = attr.mode
    node.uid = attr.uid
    node.gid = attr.gid
    node.atime = attr.atime
    node.mtime = attr.mtime
    node.ctime = attr.ctime
    node.btime = attr.btime


def _is_whiteout(node: Vnode) -> bool:
    return node.type == VCHR and node.getattr().rdev == 0


def _is_opaque(node: Vnode) -> bool:
    try:
        return node.getxattr(_OPAQUE) == b"y"
    except KernelError:
        return False


class OvlNode(Vnode):
    """A file of the overlay. `real` is where it is now: `upper` if it has been copied up or is new.

    `lowers` is what it is made of below: at most one for a file, any number for a directory.
    `parent` and `name` say where it was last seen; the name is None when that entry is gone.
    `links` counts links made and removed, on top of those that the lower file has.
    """

    __slots__ = ("fsid", "links", "lowers", "name", "nodeid", "ovl", "parent", "real", "upper")

    def __init__(
        self,
        vfs: Overlay,
        upper: TmpNode | None,
        lowers: list[Vnode],
        parent: OvlDir | None,
        name: bytes | None,
    ) -> None:
        real = upper if upper is not None else lowers[0]
        super().__init__(vfs, real.type, real.mode)
        self.ovl = vfs
        self.upper = upper
        self.lowers = lowers
        self.real: Vnode = real
        self.parent = parent
        self.name = name
        self.links = 0
        # What to show in the place of the real file's numbers; 0 for the real ones.
        self.fsid = self.nodeid = 0
        if upper is not None and parent is not None:
            fsid = parent.getattr().fsid
            self.fsid = fsid if fsid != upper.vfs.fsid else 0

    def __del__(self) -> None:
        nodes = self.ovl.nodes
        for key in (self.upper, self.lowers[0] if self.lowers else None):
            if key is not None:
                known = nodes.get(key)
                if known is not None and known() in (None, self):
                    del nodes[key]

    # -- copying up -----------------------------------------------------------------------------

    def copy_up(self, size: int | None = None) -> TmpNode:
        """Return the upper file, copying the lower one first if there is none.

        Of a regular file at most `size` bytes are copied. Raises ENOSPC, EIO and the like.
        """
        if self.upper is not None:
            return self.upper
        lower = self.lowers[0]
        attr = lower.getattr()
        parent = self.parent
        into = parent.copy_up() if parent is not None and self.name is not None else None
        node = self._copy(lower, attr, size)
        for key in lower.listxattr():
            node.setxattr(key, lower.getxattr(key), create=False, replace=False)
        _copy_attributes(node, attr)
        if isinstance(into, TmpDir) and self.name is not None:
            into.enter(self.name, node)
            if isinstance(node, TmpDir):
                into.nlink += 1
                node.up = into.nodeid
        else:
            node.nlink = 0
        self.nodeid = attr.nodeid
        self.fsid = attr.fsid if attr.fsid != node.vfs.fsid else 0
        self.upper = self.real = node
        self.mode = node.mode
        self.ovl.copied[node] = self
        return node

    def _copy(self, lower: Vnode, attr: Vattr, size: int | None) -> TmpNode:  # noqa: ARG002
        tmpfs = self.ovl.upper
        if self.type == VLNK:
            return TmpLink(tmpfs, lower.readlink(), attr.uid, attr.gid)
        return TmpNode(tmpfs, self.type, attr.mode, attr.uid, attr.gid, attr.rdev)

    def unlinked(self, parent: OvlDir, name: bytes) -> None:
        """Note that the entry `name` of `parent` no longer leads here."""
        if self.lowers:
            self.links -= 1
        if self.parent is parent and self.name == name:
            self.name = None
        if self.type != VDIR and self._lower_links() > 0:
            # Its other names lead here, and must find that they have become fewer.
            self.ovl.kept.add(self)
            return
        self.ovl.kept.discard(self)
        if self.upper is not None and self.upper.nlink == 0:
            self.ovl.copied.pop(self.upper, None)
            self.ovl.nodes[self.upper] = ref(self)

    def place(self, parent: OvlDir, name: bytes) -> None:
        """Say where a file is that is about to be copied up."""
        if self.upper is None:
            self.parent, self.name = parent, name

    def _lower_links(self) -> int:
        """Return how many names in lower trees still lead here."""
        return self.lowers[0].getattr().nlink + self.links if self.lowers else 0

    # -- attributes -----------------------------------------------------------------------------

    def getattr(self, cred: Cred | None = None) -> Vattr:
        """Return the real attributes, with numbers that do not change by copying up."""
        attr = self.real.getattr(cred)
        if self.nodeid:
            attr = attr._replace(nodeid=self.nodeid)
        if self.fsid:
            attr = attr._replace(fsid=self.fsid)
        if self.lowers:
            nlink = self._nlink(attr)
            if nlink != attr.nlink:
                attr = attr._replace(nlink=nlink)
        return attr

    def _nlink(self, attr: Vattr) -> int:
        if self.upper is None:
            return attr.nlink + self.links
        return max(0, self.lowers[0].getattr().nlink + self.links)

    def size(self) -> int:
        """Return the length in bytes."""
        return self.real.size()

    def setattr(self, mask: int, attr: Vattr, cred: Cred) -> None:
        """Set attributes of the upper file."""
        node = self.copy_up(attr.size if mask & AT_SIZE else None)
        node.setattr(mask, attr, cred)
        self.mode = node.mode

    @property
    def iflags(self) -> int:  # type: ignore[override]
        """The flags of the real file."""
        return self.real.iflags

    def get_atime(self) -> int:
        """Return the access time of the real file."""
        return self.real.get_atime()

    def set_atime(self, when: int) -> None:
        """Set the access time of the real file, if it is the overlay's own."""
        if self.upper is not None:
            self.upper.set_atime(when)

    def set_iflags(self, flags: int) -> None:
        """Set flags of the upper file."""
        self.copy_up().set_iflags(flags)

    def access(self, want: int, cred: Cred) -> None:
        """Check permission at the real file."""
        self.real.access(want, cred)

    def readlink(self) -> bytes:
        """Return the target of a symbolic link."""
        return self.real.readlink()

    def magic_link(self) -> None:
        """Return None: a magic link of a lower tree would lead out of this one."""

    def getxattr(self, name: bytes) -> bytes:
        """Return an extended attribute of the real file."""
        return self.real.getxattr(name)

    def setxattr(self, name: bytes, value: bytes, *, create: bool, replace: bool) -> None:
        """Set an extended attribute of the upper file."""
        self.copy_up().setxattr(name, value, create=create, replace=replace)

    def removexattr(self, name: bytes) -> None:
        """Remove an extended attribute of the upper file."""
        self.real.getxattr(name)
        self.copy_up().removexattr(name)

    def listxattr(self) -> list[bytes]:
        """Return the names of the extended attributes, less our own marks."""
        return [name for name in self.real.listxattr() if name != _OPAQUE]


class OvlFile(OvlNode):
    """A regular file. `below` are the open files that have the lower file open."""

    __slots__ = ("below",)

    def __init__(
        self,
        vfs: Overlay,
        upper: TmpNode | None,
        lowers: list[Vnode],
        parent: OvlDir | None,
        name: bytes | None,
    ) -> None:
        super().__init__(vfs, upper, lowers, parent, name)
        self.below: set[File] = set()

    def _copy(self, lower: Vnode, attr: Vattr, size: int | None) -> TmpNode:
        node = TmpFile(self.ovl.upper, attr.mode, attr.uid, attr.gid)
        left = attr.size if size is None else min(size, attr.size)
        off = 0
        while off < left:
            data = lower.read(off, min(_COPY_CHUNK, left - off))
            if not data:
                break
            done = 0
            while done < len(data):
                done += node.write(off + done, data[done:])
            off += len(data)
        return node

    def open(self, file: File) -> Vnode | None:
        """Open for reading where the file is; for writing it is copied up."""
        if file.flags & (FWRITE | O_TRUNC):
            self.copy_up(0 if file.flags & O_TRUNC else None)
        if self.upper is None:
            self.real.open(file)
            self.below.add(file)
        return None

    def close(self, file: File) -> None:
        """Close the lower file if `file` has it open."""
        if file in self.below:
            self.below.discard(file)
            self.lowers[0].close(file)

    def read(self, off: int, n: int) -> bytes:
        """Read from the real file."""
        return self.real.read(off, n)

    def write(self, off: int, data: bytes | memoryview) -> int:
        """Write to the upper file."""
        if self.upper is None:
            self.copy_up()
        return self.real.write(off, data)

    def truncate(self, size: int) -> None:
        """Set the length of the upper file."""
        self.copy_up(size).truncate(size)

    def allocate(self, off: int, length: int, *, keep_size: bool = False) -> None:
        """Allocate in the upper file."""
        self.copy_up().allocate(off, length, keep_size=keep_size)

    def freesp(self, off: int, length: int) -> None:
        """Make a hole in the upper file."""
        self.copy_up().freesp(off, length)

    def zero(self, off: int, length: int, *, keep_size: bool) -> None:
        """Zero a range of the upper file."""
        self.copy_up().zero(off, length, keep_size=keep_size)

    def shift(self, off: int, length: int, *, insert: bool) -> None:
        """Collapse or insert in the upper file."""
        self.copy_up().shift(off, length, insert=insert)

    def seek_data(self, off: int, *, hole: bool) -> int:
        """Ask the real file."""
        return self.real.seek_data(off, hole=hole)

    @property
    def pages(self) -> PageCache | None:
        """The pages of the real file."""
        return self.real.pages


class OvlDir(OvlNode):
    """A directory: the entries of `upper` over those of every directory in `lowers`."""

    __slots__ = ("_list",)

    upper: TmpDir | None

    def __init__(
        self,
        vfs: Overlay,
        upper: TmpDir | None,
        lowers: list[Vnode],
        parent: OvlDir | None,
        name: bytes | None,
    ) -> None:
        super().__init__(vfs, upper, lowers, parent, name)
        self._list = DirList()

    def copy_up(self, size: int | None = None) -> TmpDir:
        """Return the upper directory, making it."""
        node = super().copy_up(size)
        assert isinstance(node, TmpDir)
        return node

    def _copy(self, lower: Vnode, attr: Vattr, size: int | None) -> TmpNode:  # noqa: ARG002
        return TmpDir(self.ovl.upper, attr.mode, attr.uid, attr.gid)

    def _nlink(self, attr: Vattr) -> int:
        # A merged directory would have to be counted; 1 says "not counted".
        return attr.nlink if self.upper is None or self.upper.nlink == 0 else 1

    # -- lookup ---------------------------------------------------------------------------------

    def lookup(self, name: bytes) -> Vnode:
        """Return the entry `name` of the merged directory; raises ENOENT."""
        upper = self.upper
        if upper is not None:
            node = upper.entries.get(name)
            if node is not None:
                if node.type == VCHR and not node.rdev:
                    raise KernelError(Errno.ENOENT)
                return self.ovl.of_upper(node, self, name)
        lowers = self.lowers
        if len(lowers) == 1:
            first = lowers[0].lookup(name)
            known = self.ovl.nodes.get(first)
            there = known() if known is not None else None
            if there is not None and there.upper is None:
                there.parent = self
                there.name = name
                there.mode = first.mode
                return there
            if first.type == VCHR and _is_whiteout(first):
                raise KernelError(Errno.ENOENT)
            return self.ovl.of_lower([first], self, name)
        found = self._find_below(name)
        if not found:
            raise KernelError(Errno.ENOENT)
        return self.ovl.of_lower(found, self, name)

    def _find_below(self, name: bytes) -> list[Vnode]:
        """Return what lower trees have as `name`: one file, or all directories to be merged."""
        found: list[Vnode] = []
        for lower in self.lowers:
            try:
                node = lower.lookup(name)
            except KernelError as err:
                if err.errno is Errno.ENOENT:
                    continue
                raise
            if node.type != VDIR:
                if not found and not _is_whiteout(node):
                    found.append(node)
                break
            found.append(node)
            if len(self.lowers) > 1 and _is_opaque(node):
                break
        return found

    def lower_dirs(self, name: bytes, upper: TmpDir) -> list[Vnode]:
        """Return the lower directories that the upper one at `name` is merged with."""
        if not self.lowers or _is_opaque(upper):
            return []
        return [node for node in self._find_below(name) if node.type == VDIR]

    # -- making ---------------------------------------------------------------------------------

    def _clear(self, name: bytes) -> TmpDir:
        """Get ready to put `name` into the upper directory: a whiteout there goes."""
        upper = self.copy_up()
        if self.name is None and self.parent is not None:
            raise KernelError(Errno.ENOENT)
        self._list.stale = True
        node = upper.entries.get(name)
        if node is not None and _is_whiteout(node):
            upper.remove(name)
        return upper

    def _made(self, name: bytes, node: Vnode) -> OvlNode:
        assert isinstance(node, TmpNode)
        if self.lowers and isinstance(node, TmpDir):
            _set_opaque(node)
        return self.ovl.of_upper(node, self, name)

    def create(self, name: bytes, mode: int, vtype: int, cred: Cred, rdev: int = 0) -> Vnode:
        """Make a file in the upper directory. Raises EPERM for the device that means a whiteout."""
        if vtype == VCHR and rdev == 0:
            raise KernelError(Errno.EPERM)
        return self._made(name, self._clear(name).create(name, mode, vtype, cred, rdev))

    def tmpfile(self, mode: int, cred: Cred) -> Vnode:
        """Make a file without a name in the upper tree."""
        node = self.copy_up().tmpfile(mode, cred)
        assert isinstance(node, TmpNode)
        made = OvlFile(self.ovl, node, [], self, None)
        self.ovl.nodes[node] = ref(made)
        return made

    def mkdir(self, name: bytes, mode: int, cred: Cred) -> Vnode:
        """Make a directory; it is opaque, whatever was here below."""
        return self._made(name, self._clear(name).mkdir(name, mode, cred))

    def symlink(self, name: bytes, target: bytes, cred: Cred) -> Vnode:
        """Make a symbolic link in the upper directory."""
        return self._made(name, self._clear(name).symlink(name, target, cred))

    def link(self, vnode: Vnode, name: bytes) -> None:
        """Make another link, to the upper file."""
        assert isinstance(vnode, OvlNode)
        node = vnode.copy_up()
        self._clear(name).link(node, name)
        if vnode.lowers:
            vnode.links += 1
        if vnode.name is None:
            vnode.parent, vnode.name = self, name

    # -- removing and moving --------------------------------------------------------------------

    def remove(self, name: bytes) -> None:
        """Remove a link; a whiteout hides what is below."""
        node = self.lookup(name)
        assert isinstance(node, OvlNode)
        self._take(name)
        node.unlinked(self, name)

    def rmdir(self, name: bytes) -> None:
        """Remove a directory that is empty when merged. Raises ENOTEMPTY."""
        node = self.lookup(name)
        assert isinstance(node, OvlDir)
        node.make_bare()
        self._take(name)
        node.unlinked(self, name)

    def make_bare(self) -> None:
        """Drop the whiteouts of a directory that is empty otherwise; raises ENOTEMPTY."""
        _, _, entries = self._scan()
        if entries:
            raise KernelError(Errno.ENOTEMPTY)
        if self.upper is not None:
            for name in list(self.upper.entries):
                self.upper.remove(name)

    def _take(self, name: bytes) -> None:
        """Remove the entry from the upper directory, and hide one that is below."""
        below = bool(self.lowers) and bool(self._find_below(name))
        upper = self.copy_up()
        self._list.stale = True
        node = upper.entries.get(name)
        if node is not None:
            if node.type == VDIR:
                upper.rmdir(name)
            else:
                upper.remove(name)
        if below:
            self._whiteout(upper, name)

    def _whiteout(self, upper: TmpDir, name: bytes) -> None:
        upper.enter(name, TmpNode(self.ovl.upper, VCHR, 0, 0, 0))
        upper.touch()

    def _lift(self, name: bytes, node: OvlNode) -> TmpNode:
        """Get the entry `name`, which is `node`, into the upper directory; returns the upper file.

        A file may have been copied up by another of its names, and this one be below only.
        """
        node.place(self, name)
        file = node.copy_up()
        upper = self.copy_up()
        if upper.entries.get(name) is not file:
            upper.enter(name, file)
            file.nlink += 1
        return file

    def rename(self, name: bytes, newdir: Vnode, newname: bytes) -> None:
        """Move an entry; a lower file or directory (alone) is copied up first. Raises ENOTEMPTY."""
        assert isinstance(newdir, OvlDir)
        node = self.lookup(name)
        assert isinstance(node, OvlNode)
        victim = newdir._find(newname)
        if isinstance(victim, OvlDir):
            victim.make_bare()
        moving = self._lift(name, node)
        target = newdir.copy_up()
        below = bool(self.lowers) and bool(self._find_below(name))
        upper = self.copy_up()
        self._list.stale = newdir._list.stale = True
        if newdir.lowers and isinstance(moving, TmpDir) and not node.lowers:
            _set_opaque(moving)
        old = target.entries.get(newname)
        if old is not None and _is_whiteout(old):
            target.remove(newname)
        upper.rename(name, target, newname)
        if below:
            self._whiteout(upper, name)
        if victim is not None:
            victim.unlinked(newdir, newname)
        node.parent, node.name = newdir, newname

    def exchange(self, name: bytes, newdir: Vnode, newname: bytes) -> None:
        """Swap two entries, copying both up first."""
        assert isinstance(newdir, OvlDir)
        one, two = self.lookup(name), newdir.lookup(newname)
        assert isinstance(one, OvlNode)
        assert isinstance(two, OvlNode)
        for node, upper in ((one, self._lift(name, one)), (two, newdir._lift(newname, two))):
            if isinstance(upper, TmpDir) and not node.lowers:
                _set_opaque(upper)
        self.copy_up().exchange(name, newdir.copy_up(), newname)
        self._list.stale = newdir._list.stale = True
        one.parent, one.name = newdir, newname
        two.parent, two.name = self, name

    def _find(self, name: bytes) -> OvlNode | None:
        try:
            node = self.lookup(name)
        except KernelError as err:
            if err.errno is Errno.ENOENT:
                return None
            raise
        assert isinstance(node, OvlNode)
        return node

    # -- listing --------------------------------------------------------------------------------

    def readdir(self, cookie: int) -> list[Dirent]:
        """Return entries of the merged directory from `cookie` on."""
        return self._list.read(cookie, self._scan)

    def _scan(self) -> tuple[int, int, list[tuple[bytes, int, int]]]:
        seen: set[bytes] = set()
        out: list[tuple[bytes, int, int]] = []
        if self.upper is not None:
            copied = self.ovl.copied
            for name, node in self.upper.entries.items():
                seen.add(name)
                if node.type != VCHR or node.rdev:
                    was = copied.get(node)
                    nodeid = was.nodeid if was is not None else 0
                    out.append((name, nodeid or node.nodeid, node.type))
        for lower in self.lowers:
            cookie = 0
            while batch := lower.readdir(cookie):
                for entry in batch:
                    name = entry.name
                    if name in seen or name in (b".", b".."):
                        continue
                    seen.add(name)
                    if entry.type != VCHR or not _is_whiteout(lower.lookup(name)):
                        out.append((name, entry.nodeid, entry.type))
                cookie = batch[-1].next_cookie
        here = self.getattr().nodeid
        return here, self.parent.getattr().nodeid if self.parent is not None else here, out


def _set_opaque(node: TmpDir) -> None:
    node.setxattr(_OPAQUE, b"y", create=False, replace=False)
