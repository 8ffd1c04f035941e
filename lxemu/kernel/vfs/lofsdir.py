"""Directories of a lofs: names in them, and how they are made, moved and removed on the host."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import ref

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.vfs.dirlist import DirList
from lxemu.kernel.vfs.host import host_error, host_type
from lxemu.kernel.vfs.lofs import DIR_TTL, OPEN_DIR, Lofs, LofsFile, LofsNode, _now
from lxemu.kernel.vfs.vnode import (
    AT_MODE,
    S_ISGID,
    S_ISUID,
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

    def __init__(self, vfs: Lofs, st: os.stat_result, parent: LofsDir | None, name: bytes) -> None:
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
            st = os.stat(name, dir_fd=self.openfd(), follow_symlinks=False)
        except OSError as err:
            self.dirs.pop(name, None)
            raise host_error(err) from None
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
        if self.lofs.may_chown and (st.st_uid, st.st_gid) != (uid, gid):
            with _host_errors():
                os.chown(name, uid, gid, dir_fd=self.openfd(), follow_symlinks=False)
            node = self.find(name)
            if mode & (S_ISUID | S_ISGID):
                node.setattr(AT_MODE, Vattr(mode=mode), cred)
        return node

    def create(
        self,
        name: bytes,
        mode: int,
        vtype: int,
        cred: Cred,
        rdev: int = 0,  # noqa: ARG002
    ) -> Vnode:
        """Make a file, fifo or socket node on the host; device nodes are refused with EPERM."""
        self.lofs.check_writable()
        _check_name(name)
        dirfd = self.openfd()
        with _host_errors():
            if vtype == VREG:
                fd = self.lofs.fds.open(lambda: os.open(name, _CREATE, mode, dir_fd=dirfd))
            elif vtype == VFIFO:
                os.mkfifo(name, mode, dir_fd=dirfd)
            elif vtype == VSOCK:
                os.mknod(name, VTTOIF[VSOCK] | mode, dir_fd=dirfd)
            else:
                raise KernelError(Errno.EPERM)
        node = self._made(name, cred, mode)
        if vtype == VREG:
            if isinstance(node, LofsFile) and node.key == _key(fd):
                node.adopt(fd)
                self.lofs.fds.add(node)
            else:
                os.close(fd)
        return node

    def tmpfile(self, mode: int, cred: Cred) -> Vnode:  # noqa: ARG002
        """Make a file without a name, if the host can. Raises EOPNOTSUPP."""
        self.lofs.check_writable()
        flag = getattr(os, "O_TMPFILE", 0)
        if not flag:
            raise KernelError(Errno.EOPNOTSUPP)
        dirfd = self.openfd()
        with _host_errors():
            fd = os.open(b".", flag | os.O_RDWR | os.O_CLOEXEC, mode, dir_fd=dirfd)
        node = LofsFile(self.lofs, VREG, os.fstat(fd), self, b"")
        node.adopt(fd)
        self.lofs.nodes[node.key] = ref(node)
        return node

    def mkdir(self, name: bytes, mode: int, cred: Cred) -> Vnode:
        """Make a directory on the host."""
        self.lofs.check_writable()
        _check_name(name)
        with _host_errors():
            os.mkdir(name, mode, dir_fd=self.openfd())
        return self._made(name, cred)

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
