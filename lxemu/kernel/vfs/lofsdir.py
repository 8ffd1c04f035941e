"""Directories of a lofs: names in them, and how they are made, moved and removed on the host."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import ref

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.vfs.dirlist import DirList
from lxemu.kernel.vfs.host import exchange as host_exchange
from lxemu.kernel.vfs.host import host_error, host_type
from lxemu.kernel.vfs.lofs import DIR_TTL, OPEN_DIR, Lofs, LofsFile, LofsNode, _now
from lxemu.kernel.vfs.metaindex import Meta, MetaIndex, reachable
from lxemu.kernel.vfs.vnode import (
    AT_MODE,
    S_ISGID,
    S_ISUID,
    VBLK,
    VCHR,
    VDIR,
    VFIFO,
    VLNK,
    VREG,
    VSOCK,
    VTTOIF,
    Dirent,
    Vattr,
    Vnode,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxemu.kernel.cred import Cred
    from lxemu.kernel.vfs.metaindex import HostStat

_TMPFILE = getattr(os, "O_TMPFILE", 0)
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def _host_errors() -> Iterator[None]:
    """Turn host errors into kernel errors; file modes are taken as given meanwhile."""
    old = os.umask(0)
    try:
        yield
    except OSError as err:
        raise host_error(err) from None
    finally:
        os.umask(old)


def _check_name(name: bytes) -> None:
    """Refuse what is not one component. Lookup never asks for such; it would leave the tree."""
    if b"/" in name or name in (b"", b".", b".."):
        raise KernelError(Errno.EINVAL)


class LofsDir(LofsNode):
    """A directory. `dirs` leads to the directories in it that are known, for the way through."""

    __slots__ = ("_list", "dirs")

    def __init__(
        self, vfs: Lofs, st: HostStat | os.stat_result, parent: LofsDir | None, name: bytes
    ) -> None:
        super().__init__(vfs, VDIR, st, parent, name)
        self.dirs: dict[bytes, ref[LofsNode]] = {}
        self._list = DirList()

    # -- descriptor -----------------------------------------------------------------------------

    def openfd(self) -> int:
        """Return a descriptor of the directory, opening it where it was last seen if need be."""
        self.used = True
        if self.fd < 0:
            self.fd = self.host_open(OPEN_DIR)
            self.lofs.fds.add(self)
        return self.fd

    def pin(self) -> None:
        """Open the directory before its name goes."""
        self.openfd()

    # -- lookup ---------------------------------------------------------------------------------

    def lookup(self, name: bytes) -> Vnode:
        """Return the entry `name`, as the host has it now. Raises ENOENT, EACCES."""
        known = self.dirs.get(name)
        if known is not None:
            node = known()
            if node is not None and _now() - node.seen < DIR_TTL and node.name == name:
                return node
        return self.find(name)

    def find(self, name: bytes) -> LofsNode:
        """Ask the host for the entry `name`."""
        _check_name(name)
        if self.key[0] in self.lofs.hidden:
            raise KernelError(Errno.ENOENT)
        try:
            st: HostStat | os.stat_result = os.stat(
                name, dir_fd=self.openfd(), follow_symlinks=False
            )
        except OSError as err:
            self.dirs.pop(name, None)
            raise host_error(err) from None
        if self.lofs.meta is not None:
            st = self.lofs.meta.shown(st, name, self.fd)  # type: ignore[arg-type]
        node = self.lofs.node(st, self, name, _now())
        if node.type == VDIR:
            self.dirs[name] = ref(node)
        return node

    def _known(self, name: bytes) -> LofsNode | None:
        """Return the node of an entry if anybody may be using it."""
        try:
            return self.find(name)
        except KernelError:
            return None

    # -- making ---------------------------------------------------------------------------------

    def _changed(self) -> None:
        self.seen = 0
        self._list.stale = True

    def _made(self, name: bytes, cred: Cred, mode: int = 0) -> LofsNode:
        """Give a new file to its maker and return its node; set-id bits in `mode` survive that."""
        self._changed()
        node = self.find(name)
        st = node.st
        uid = cred.fsuid
        gid = st.st_gid if self.mode & S_ISGID else cred.fsgid
        if self.lofs.meta is not None:
            gid = self.st.st_gid if self.mode & S_ISGID else cred.fsgid
            self._index(self.lofs.meta, node, Meta(0, node.type, mode, uid, gid))
            return self.find(name)
        if self.lofs.may_chown and (st.st_uid, st.st_gid) != (uid, gid):
            with _host_errors():
                os.chown(name, uid, gid, dir_fd=self.openfd(), follow_symlinks=False)
            node = self.find(name)
            if mode & (S_ISUID | S_ISGID):
                node.setattr(AT_MODE, Vattr(mode=mode), cred)
        return node

    @staticmethod
    def _index(index: MetaIndex, node: LofsNode, meta: Meta) -> None:
        if meta.type == VLNK:
            meta = meta._replace(mode=0o777)
        with _host_errors():
            node.apply(index, node.raw_stat(), meta)

    def _host_mode(self, mode: int, vtype: int) -> int:
        """Return the mode to make a host file with."""
        return mode if self.lofs.meta is None else reachable(mode, vtype)

    def create(self, name: bytes, mode: int, vtype: int, cred: Cred, rdev: int = 0) -> Vnode:
        """Make a file, fifo or socket node on the host, a device node in the index.

        Without an index devices are refused with EPERM.
        """
        self.lofs.check_writable()
        _check_name(name)
        dirfd = self.openfd()
        if vtype in (VCHR, VBLK):
            return self._device(name, Meta(0, vtype, mode, *self._owner(cred), rdev))
        host_mode = self._host_mode(mode, vtype)
        with _host_errors():
            if vtype == VREG:
                fd = self.lofs.fds.open(lambda: os.open(name, _CREATE, host_mode, dir_fd=dirfd))
            elif vtype == VFIFO:
                os.mkfifo(name, host_mode, dir_fd=dirfd)
            else:
                os.mknod(name, VTTOIF[VSOCK] | host_mode, dir_fd=dirfd)
        node = self._made(name, cred, mode)
        if vtype == VREG:
            if isinstance(node, LofsFile) and node.key == _key(fd):
                node.adopt(fd)
                self.lofs.fds.add(node)
            else:
                os.close(fd)
        return node

    def _owner(self, cred: Cred) -> tuple[int, int]:
        return cred.fsuid, self.st.st_gid if self.mode & S_ISGID else cred.fsgid

    def _device(self, name: bytes, meta: Meta) -> LofsNode:
        """Make an empty file that the index says is a device; it has a name only when it is one."""
        index = self.lofs.meta
        if index is None or not _TMPFILE:
            raise KernelError(Errno.EPERM)
        major, minor = meta.rdev >> 32, meta.rdev & 0xFFFFFFFF
        dirfd = self.openfd()
        with _host_errors():
            fd = os.open(b".", _TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=dirfd)
            try:
                index.put(os.fstat(fd), b"", fd, meta._replace(rdev=os.makedev(major, minor)))
                os.link(b"/proc/self/fd/%d" % fd, name, dst_dir_fd=dirfd)
            finally:
                os.close(fd)
        self._changed()
        return self.find(name)

    def tmpfile(self, mode: int, cred: Cred) -> Vnode:
        """Make a file without a name, if the host can. Raises EOPNOTSUPP."""
        self.lofs.check_writable()
        if not _TMPFILE:
            raise KernelError(Errno.EOPNOTSUPP)
        dirfd = self.openfd()
        host_mode = self._host_mode(mode, VREG)
        with _host_errors():
            fd = os.open(b".", _TMPFILE | os.O_RDWR | os.O_CLOEXEC, host_mode, dir_fd=dirfd)
        node = LofsFile(self.lofs, VREG, os.fstat(fd), self, b"")
        node.adopt(fd)
        self.lofs.nodes[node.key] = ref(node)
        if self.lofs.meta is not None:
            self._index(self.lofs.meta, node, Meta(0, VREG, mode, *self._owner(cred)))
            node.refresh(node.host_stat())
        return node

    def mkdir(self, name: bytes, mode: int, cred: Cred) -> Vnode:
        """Make a directory on the host."""
        self.lofs.check_writable()
        _check_name(name)
        with _host_errors():
            os.mkdir(name, self._host_mode(mode, VDIR), dir_fd=self.openfd())
        return self._made(name, cred, mode | self.mode & S_ISGID)

    def symlink(self, name: bytes, target: bytes, cred: Cred) -> Vnode:
        """Make a symbolic link on the host."""
        self.lofs.check_writable()
        _check_name(name)
        with _host_errors():
            os.symlink(target, name, dir_fd=self.openfd())
        return self._made(name, cred)

    def link(self, vnode: Vnode, name: bytes) -> None:
        """Make another link on the host."""
        self.lofs.check_writable()
        _check_name(name)
        assert isinstance(vnode, LofsNode)
        with _host_errors():
            if isinstance(vnode, LofsFile) and vnode.fd >= 0 and not vnode.name:
                os.link(b"/proc/self/fd/%d" % vnode.fd, name, dst_dir_fd=self.openfd())
            else:
                vnode.host_stat()
                os.link(
                    vnode.name,
                    name,
                    src_dir_fd=vnode.dirfd(),
                    dst_dir_fd=self.openfd(),
                    follow_symlinks=False,
                )
        vnode.seen = 0
        self._changed()
        self.find(name)

    # -- removing and moving --------------------------------------------------------------------

    def remove(self, name: bytes) -> None:
        """Remove a link on the host; who has the file open keeps it."""
        self._remove(name, is_dir=False)

    def rmdir(self, name: bytes) -> None:
        """Remove an empty directory on the host."""
        self._remove(name, is_dir=True)

    def _remove(self, name: bytes, *, is_dir: bool) -> None:
        self.lofs.check_writable()
        node = self.find(name)
        node.pin()
        with _host_errors():
            if is_dir:
                os.rmdir(name, dir_fd=self.openfd())
            else:
                os.unlink(name, dir_fd=self.openfd())
        self._gone(name, node)
        self._changed()

    def _gone(self, name: bytes, node: LofsNode | None) -> None:
        """Note that `node` is not at `name` any more."""
        self.dirs.pop(name, None)
        if node is not None:
            node.seen = 0
            if node.type == VDIR or node.st.st_nlink <= 1:
                # Only its users keep it now, and its number may be given to another file.
                self.lofs.fds.remove(node)
                self.lofs.nodes.pop(node.key, None)
                if self.lofs.meta is not None:
                    node.removed = True

    def rename(self, name: bytes, newdir: Vnode, newname: bytes) -> None:
        """Move an entry on the host."""
        self.lofs.check_writable()
        _check_name(newname)
        assert isinstance(newdir, LofsDir)
        node = self.find(name)
        victim = newdir._known(newname)
        if victim is not None and victim is not node:
            victim.pin()
        with _host_errors():
            os.rename(name, newname, src_dir_fd=self.openfd(), dst_dir_fd=newdir.openfd())
        if victim is not None and victim is not node:
            newdir._gone(newname, victim)
        self.dirs.pop(name, None)
        self._changed()
        newdir._changed()
        node.seen = 0
        newdir.find(newname)

    def exchange(self, name: bytes, newdir: Vnode, newname: bytes) -> None:
        """Swap two entries on the host. Raises EINVAL where the host cannot."""
        self.lofs.check_writable()
        assert isinstance(newdir, LofsDir)
        self.find(name)
        newdir.find(newname)
        with _host_errors():
            host_exchange(self.openfd(), name, newdir.openfd(), newname)
        for where, entry in ((self, name), (newdir, newname)):
            where.dirs.pop(entry, None)
            where._changed()
        self.find(name)
        newdir.find(newname)

    # -- listing --------------------------------------------------------------------------------

    def readdir(self, cookie: int) -> list[Dirent]:
        """Return entries from `cookie` on; an entry keeps its number as long as the node lives."""
        return self._list.read(cookie, self._scan)

    def _scan(self) -> tuple[int, int, list[tuple[bytes, int, int]]]:
        up = self.parent if self.parent is not None and self is not self.lofs.root() else self
        if self.key[0] in self.lofs.hidden:
            return self.key[1], up.key[1], []
        try:
            fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.openfd())
            try:
                with os.scandir(fd) as entries:
                    found = [
                        (os.fsencode(entry.name), entry.inode(), _entry_type(entry))
                        for entry in entries
                    ]
                if self.lofs.meta is not None:
                    types = self.lofs.meta.types(self.key[0])
                    found = [(name, ino, types.get(ino, vtype)) for name, ino, vtype in found]
            finally:
                os.close(fd)
        except OSError as err:
            raise host_error(err) from None
        return self.key[1], up.key[1], found


def _key(fd: int) -> tuple[int, int]:
    st = os.fstat(fd)
    return st.st_dev, st.st_ino


def _entry_type(entry: os.DirEntry[str]) -> int:
    """Return the type of an entry, asking for its attributes only if the listing does not tell."""
    if entry.is_symlink():
        return VLNK
    if entry.is_dir(follow_symlinks=False):
        return VDIR
    if entry.is_file(follow_symlinks=False):
        return VREG
    try:
        return host_type(entry.stat(follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return 0
