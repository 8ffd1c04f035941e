"""lofs: a directory tree of the host, as illumos lofs(4FS) shows one tree in another.

The guest can never leave the tree. Every host call names one component relative to an open
directory and never follows a symbolic link: links are read and handed to the guest's own lookup.
Files are known by (device, inode); the place where one was last seen is only a hint, checked
whenever it is used to open.

Host attributes are read again at every lookup and getattr; a directory on the way to somewhere else
is believed for a millisecond. No host call here can block on a peer: fifos, sockets and devices of
the tree are only shown, and live in the kernel once opened.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from stat import S_ISREG
from typing import TYPE_CHECKING
from weakref import ref

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.mm.pagecache import PageCache
from lxemu.kernel.vfs import host, lofsxattr
from lxemu.kernel.vfs.fcntl import FREAD, FWRITE
from lxemu.kernel.vfs.host import host_error, host_vattr, process_devices
from lxemu.kernel.vfs.hostfd import FdCache, close_quietly
from lxemu.kernel.vfs.metaindex import HostStat, Meta, MetaIndex, reachable
from lxemu.kernel.vfs.vnode import (
    AT_ATIME,
    AT_GID,
    AT_MODE,
    AT_MTIME,
    AT_SIZE,
    AT_UID,
    IFTOVT,
    VDIR,
    VFS_RDONLY,
    VLNK,
    VNON,
    VREG,
    Statvfs,
    Vattr,
    Vfs,
    Vnode,
    vaccess,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lxemu.kernel.cred import Cred
    from lxemu.kernel.mm.page import PhysMem
    from lxemu.kernel.vfs.file import File
    from lxemu.kernel.vfs.lofsdir import LofsDir

O_PATH = getattr(os, "O_PATH", os.O_RDONLY)
OPEN_DIR = O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
#: How long (ns) a directory is believed to be where it was, and fresh attributes are used again.
DIR_TTL = 1_000_000
ATTR_TTL = 20_000
#: Reads larger than this are cut at the end of the file first, to not ask the host for the memory.
_BIG_READ = 1 << 20

_now = time.monotonic_ns


class Lofs(Vfs):
    """A view of the host's `path`, a directory or a single file; read-only unless told otherwise.

    `phys` lets files be mapped. `meta` shows owners, modes and devices that the host's files do not
    have. Raises OSError when the path cannot be opened: whoever mounts
    reports it.
    """

    name = "lofs"

    def __init__(
        self,
        path: str | bytes,
        fsid: int,
        *,
        readonly: bool = True,
        phys: PhysMem | None = None,
        max_fds: int | None = None,
        meta: MetaIndex | None = None,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(fsid, flags=VFS_RDONLY if readonly else 0, now=now)
        from lxemu.kernel.vfs.lofsdir import LofsDir

        self.readonly = readonly
        self.phys = phys
        self.fds = FdCache(max_fds)
        self.nodes: dict[tuple[int, int], ref[LofsNode]] = {}
        self.meta = meta
        self.may_chown = os.geteuid() == 0 and meta is None
        #: Devices whose directories look empty.
        self.hidden = process_devices()
        host_path = os.path.realpath(os.fsencode(path))
        self.source = host_path
        top = host_path if os.path.isdir(host_path) else os.path.dirname(host_path)
        fd = os.open(top, O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        st = self.view(os.fstat(fd), b"", fd)
        self._top = LofsDir(self, st, None, b"")
        self._top.fd = fd
        self.nodes[self._top.key] = ref(self._top)
        self._root: LofsNode = self._top
        if top != host_path:
            # Only the one file is ever asked of the directory.
            self._root = self._top.find(os.path.basename(host_path))

    def root(self) -> Vnode:
        """Return the vnode of the directory (or file) that is mounted."""
        return self._root

    def view(self, st: os.stat_result, name: bytes, dirfd: int) -> HostStat | os.stat_result:
        """Return the attributes of a file, `name` in `dirfd`, as the guest is to see them."""
        return st if self.meta is None else self.meta.shown(st, name, dirfd)

    def node(
        self, st: HostStat | os.stat_result, parent: LofsDir, name: bytes, now: int
    ) -> LofsNode:
        """Return the vnode of a file that has just been seen as `name` in `parent`."""
        key = (st.st_dev, st.st_ino)
        known = self.nodes.get(key)
        node = known() if known is not None else None
        vtype = IFTOVT.get(st.st_mode & 0o170000, VNON)
        if node is None or node.type != vtype:
            node = _new_node(self, vtype, st, parent, name)
            self.nodes[key] = ref(node)
        else:
            if (node.name != name or node.parent is not parent) and node is not self._top:
                node.parent = parent
                node.name = name
            node.refresh(st)
        node.seen = now
        return node

    def statvfs(self) -> Statvfs:
        """Return the host's figures."""
        st = os.fstatvfs(self._top.fd)
        return Statvfs(
            st.f_bsize,
            st.f_frsize,
            st.f_blocks,
            st.f_bfree,
            st.f_bavail,
            st.f_files,
            st.f_ffree,
            self.fsid,
            self.name,
            self.flags,
            st.f_namemax,
        )

    def may_write(self) -> bool:
        """Return whether the guest may be given write access: whoever mounted it decides."""
        return not self.readonly

    def sync(self) -> None:
        """Write dirty mapped pages to the host, and the index.

        One file that the host does not take (ENOSPC, EIO) does not keep the others from it; the
        first error is raised at the end.
        """
        failure: KernelError | None = None
        if self.meta is not None:
            self.meta.sync()
        for known in list(self.nodes.values()):
            node = known()
            if isinstance(node, LofsFile):
                try:
                    node.flush()
                except KernelError as error:
                    failure = failure or error
        if failure is not None:
            raise failure

    def unmount(self) -> None:
        """Write back and close every descriptor; raises what the host would not take."""
        try:
            self.sync()
        finally:
            self.fds.clear()
            self._top.drop()
            if self.meta is not None:
                self.meta.close()

    def check_writable(self) -> None:
        """Raise EROFS on a read-only view."""
        if self.readonly:
            raise KernelError(Errno.EROFS)


def _new_node(
    vfs: Lofs, vtype: int, st: HostStat | os.stat_result, parent: LofsDir, name: bytes
) -> LofsNode:
    from lxemu.kernel.vfs.lofsdir import LofsDir

    if vtype == VREG:
        return LofsFile(vfs, vtype, st, parent, name)
    if vtype == VDIR:
        return LofsDir(vfs, st, parent, name)
    return LofsNode(vfs, vtype, st, parent, name)


class LofsNode(Vnode):
    """A file of the host tree. `st` are the attributes as of `seen` (monotonic ns).

    `fd` is an open descriptor or -1: of a directory for the names in it, of a file for reading.
    """

    __slots__ = ("_target", "fd", "key", "lofs", "name", "parent", "removed", "seen", "st", "used")

    def __init__(
        self,
        vfs: Lofs,
        vtype: int,
        st: HostStat | os.stat_result,
        parent: LofsDir | None,
        name: bytes,
    ) -> None:
        super().__init__(vfs, vtype, st.st_mode & 0o7777)
        self.lofs = vfs
        self.st = st
        self.key = (st.st_dev, st.st_ino)
        self.parent = parent
        self.name = name
        self.fd = -1
        self.seen = 0
        self.used = False
        #: Whether its last name is gone: with the last user its record goes too.
        self.removed = False
        self._target: bytes | None = None

    def __del__(self) -> None:
        close_quietly(self.fd)
        if self.removed and self.lofs.meta is not None:
            with suppress(KernelError):
                # A stale record does no harm: the next file of this number is younger.
                self.lofs.meta.drop(self.key)
        known = self.lofs.nodes.get(self.key)
        if known is not None and known() in (None, self):
            del self.lofs.nodes[self.key]

    def refresh(self, st: HostStat | os.stat_result) -> None:
        """Take in newly read attributes."""
        self.st = st
        self.mode = st.st_mode & 0o7777

    # -- the host's file ------------------------------------------------------------------------

    def dirfd(self) -> int:
        """Return the descriptor of the directory that this node was last seen in."""
        parent = self.parent
        if parent is None:
            raise KernelError(Errno.ENOENT)
        return parent.openfd()

    def host_stat(self) -> HostStat | os.stat_result:
        """Read the attributes to show; raises ENOENT when the file is not where it was."""
        st = self.raw_stat()
        return st if self.lofs.meta is None else self.lofs.view(st, *self.where())

    def where(self) -> tuple[bytes, int]:
        """Return a name and the directory descriptor it goes with: an open file is its own."""
        return (b"", self.fd) if self.fd >= 0 else (self.name, self.dirfd())

    def raw_stat(self) -> os.stat_result:
        """Read the host's attributes; raises ENOENT when the file is not where it was."""
        try:
            if self.fd >= 0:
                return os.fstat(self.fd)
            st = os.stat(self.name, dir_fd=self.dirfd(), follow_symlinks=False)
        except OSError as err:
            raise host_error(err) from None
        if (st.st_dev, st.st_ino) != self.key:
            raise KernelError(Errno.ENOENT)
        return st

    def host_open(self, flags: int) -> int:
        """Open the file where it was last seen and make sure that it is still this one."""
        try:
            fd = self._host_open(flags)
        except OSError as err:
            raise host_error(err) from None
        st = os.fstat(fd)
        if (st.st_dev, st.st_ino) != self.key:
            os.close(fd)
            raise KernelError(Errno.ENOENT)
        return fd

    def _host_open(self, flags: int) -> int:
        try:
            return self.lofs.fds.open(lambda: os.open(self.name, flags, dir_fd=self.dirfd()))
        except PermissionError:
            # The guest may, by what the index shows; its file on the host is made to follow.
            index, st = self.lofs.meta, self.raw_stat()
            mode = reachable(st.st_mode, self.type)
            if index is None or st.st_uid != index.me or mode == st.st_mode & 0o7777:
                raise
            self._record(index, st, AT_MODE, Vattr(mode=self.mode))
            return self.lofs.fds.open(lambda: os.open(self.name, flags, dir_fd=self.dirfd()))

    def busy(self) -> bool:
        """Return whether the descriptor must stay open."""
        return False

    def drop(self) -> None:
        """Close the descriptor; it is opened again when needed."""
        close_quietly(self.fd)
        self.fd = -1

    def pin(self) -> None:
        """Make the file stay reachable although its name is about to go."""
        if self.fd < 0:
            self.fd = self.host_open(O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)

    # -- attributes -----------------------------------------------------------------------------

    def getattr(self, cred: Cred | None = None) -> Vattr:  # noqa: ARG002
        """Return the host's attributes."""
        now = _now()
        if now - self.seen > ATTR_TTL:
            self.refresh(self.host_stat())
            self.seen = now
        return host_vattr(self.st)

    def size(self) -> int:
        """Return the length in bytes."""
        return self.raw_stat().st_size if self.type == VREG else self.host_stat().st_size

    def access(self, want: int, cred: Cred) -> None:
        """Check permission as the guest's user; the host checks its own when the time comes."""
        if _now() - self.seen > DIR_TTL:
            self.getattr()
        st = self.st
        vaccess(self.type, st.st_mode, st.st_uid, st.st_gid, want, cred)

    def setattr(self, mask: int, attr: Vattr, cred: Cred) -> None:  # noqa: ARG002
        """Change the host's file. Raises EPERM where the host refuses."""
        self.lofs.check_writable()
        if mask & AT_SIZE:
            self.truncate(attr.size)
        try:
            self._setattr(mask, attr)
        except OSError as err:
            raise host_error(err) from None
        finally:
            self.refresh(self.host_stat())

    def _setattr(self, mask: int, attr: Vattr) -> None:
        st = self.raw_stat()
        if self.lofs.meta is not None and mask & (AT_MODE | AT_UID | AT_GID):
            self._record(self.lofs.meta, st, mask, attr)
            mask &= ~(AT_MODE | AT_UID | AT_GID)
        with self.reached() as path:
            if mask & (AT_UID | AT_GID):
                uid = attr.uid if mask & AT_UID else -1
                gid = attr.gid if mask & AT_GID else -1
                os.chown(path, uid, gid)
            if mask & AT_MODE and self.type != VLNK:
                os.chmod(path, attr.mode)
            if mask & (AT_ATIME | AT_MTIME):
                atime = attr.atime if mask & AT_ATIME else st.st_atime_ns
                mtime = attr.mtime if mask & AT_MTIME else st.st_mtime_ns
                os.utime(path, ns=(atime, mtime))

    @contextmanager
    def reached(self) -> Iterator[bytes]:
        """Give a path of the host's that leads to just this file, whatever it is and is called.

        It is that of a descriptor: the one way to a file that may not be opened, or has no name.
        """
        fd = self.fd if self.fd >= 0 else self.host_open(O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            yield b"/proc/self/fd/%d" % fd
        finally:
            if fd != self.fd:
                os.close(fd)

    def host_chmod(self, mode: int) -> None:
        """Set the permission bits of the host's file. Raises OSError."""
        with self.reached() as path:
            os.chmod(path, mode)

    def _record(
        self,
        index: MetaIndex,
        st: os.stat_result,
        mask: int,
        attr: Vattr,
        xattrs: tuple[tuple[bytes, bytes], ...] | None = None,
    ) -> None:
        """Change mode or owner in the index, and the host's mode as far as it can follow."""
        name, dirfd = self.where()
        old = index.get(self.key, name, dirfd)
        shown = index.shown(st, name, dirfd)
        meta = Meta(
            old.born if old is not None else 0,
            self.type,
            attr.mode if mask & AT_MODE else shown.st_mode & 0o7777,
            attr.uid if mask & AT_UID else shown.st_uid,
            attr.gid if mask & AT_GID else shown.st_gid,
            old.rdev if old is not None else 0,
            xattrs if xattrs is not None else old.xattrs if old is not None else (),
        )
        self.apply(index, st, meta)

    def apply(self, index: MetaIndex, st: os.stat_result, meta: Meta) -> None:
        """Have the index show `meta`. Whenever this is cut off, old or new attributes are shown."""
        name, dirfd = self.where()
        mine = st.st_uid == index.me and self.type != VLNK
        mode = reachable(meta.mode, self.type) if mine else st.st_mode & 0o7777
        needed = index.needed(st, meta, mode)
        if needed:
            index.put(st, name, dirfd, meta)
        if mode != st.st_mode & 0o7777:
            self.host_chmod(mode)
        if not needed:
            index.drop(self.key)

    def record(self, *, xattrs: tuple[tuple[bytes, bytes], ...]) -> None:
        """Change the attributes that the index holds. Raises ENOSPC, EIO."""
        index = self.lofs.meta
        assert index is not None
        try:
            self._record(index, self.raw_stat(), 0, Vattr(), xattrs)
        except OSError as err:
            raise host_error(err) from None

    def getxattr(self, name: bytes) -> bytes:
        """Return an attribute; raises ENODATA, EOPNOTSUPP."""
        return lofsxattr.getxattr(self, name)

    def setxattr(self, name: bytes, value: bytes, *, create: bool, replace: bool) -> None:
        """Set an attribute; raises EEXIST, ENODATA, EOPNOTSUPP, ENOSPC."""
        lofsxattr.setxattr(self, name, value, create=create, replace=replace)

    def removexattr(self, name: bytes) -> None:
        """Remove an attribute; raises ENODATA, EOPNOTSUPP."""
        lofsxattr.removexattr(self, name)

    def listxattr(self) -> list[bytes]:
        """Return the names of all attributes."""
        return lofsxattr.listxattr(self)

    def readlink(self) -> bytes:
        """Return the target of a symbolic link, never followed here."""
        if self.type != VLNK:
            raise KernelError(Errno.EINVAL)
        if self._target is None:
            try:
                self._target = os.readlink(self.name, dir_fd=self.dirfd())
            except OSError as err:
                raise host_error(err) from None
        return self._target


class LofsFile(LofsNode):
    """A regular file. `wfd` is a descriptor for writing or -1; it is `fd` when that can do both."""

    __slots__ = ("_pages", "_stamp", "users", "wfd", "wusers")

    def __init__(
        self, vfs: Lofs, vtype: int, st: HostStat | os.stat_result, parent: LofsDir, name: bytes
    ) -> None:
        super().__init__(vfs, vtype, st, parent, name)
        self.wfd = -1
        self.users = 0
        self.wusers = 0
        self._pages: PageCache | None = None
        #: (mtime, size) that the cached pages go with; None after a change of our own.
        self._stamp: tuple[int, int] | None = None

    def __del__(self) -> None:
        if self._pages is not None and self._pages.dirty:
            self.flush()
        if self.wfd != self.fd:
            close_quietly(self.wfd)
        super().__del__()

    def refresh(self, st: HostStat | os.stat_result) -> None:
        """Take in new attributes; pages of a file that the host has changed are forgotten."""
        self.st = st
        self.mode = st.st_mode & 0o7777
        pages = self._pages
        if pages is not None and pages.pages:
            stamp = (st.st_mtime_ns, st.st_size)
            if self._stamp is not None and self._stamp != stamp:
                pages.flush()
                pages.invalidate()
            self._stamp = stamp

    # -- descriptors ----------------------------------------------------------------------------

    def readfd(self) -> int:
        """Return a descriptor to read from, opening one if need be."""
        fd = self.fd
        if fd < 0:
            fd = self._open(os.O_RDONLY)
            self.fd = fd
            if not self.users:
                self.lofs.fds.add(self)
        self.used = True
        return fd

    def writefd(self) -> int:
        """Return a descriptor to write to, opening one if need be."""
        if self.wfd < 0:
            self.lofs.check_writable()
            self.wfd = self._open(os.O_WRONLY)
        return self.wfd

    def _open(self, how: int) -> int:
        fd = self.host_open(how | _OPEN_FILE)
        if not S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise KernelError(Errno.ENOENT)
        return fd

    def adopt(self, fd: int) -> None:
        """Take over a descriptor for reading and writing, of a file just created."""
        self.fd = self.wfd = fd

    def busy(self) -> bool:
        """Return whether somebody has the file open or mapped."""
        return self.users > 0 or (self._pages is not None and bool(self._pages.mappers))

    def drop(self) -> None:
        """Close the descriptors."""
        self.flush()
        if self.wfd != self.fd:
            close_quietly(self.wfd)
        self.wfd = -1
        super().drop()

    def pin(self) -> None:
        """Open the file, so that a user of it can go on when its name has gone."""
        try:
            self.readfd()
        except KernelError:
            # Unreadable for the host's user too: nobody can be reading it.
            return

    def open(self, file: File) -> Vnode | None:
        """Open the host's file as far as `file` needs it. Raises what the host refuses with."""
        if file.flags & FWRITE:
            self.writefd()
            self.wusers += 1
        if file.flags & FREAD:
            try:
                self.readfd()
            except KernelError:
                if file.flags & FWRITE:
                    self.wusers -= 1
                raise
        self.users += 1
        return None

    def close(self, file: File) -> None:
        """Give the descriptor for writing back with its last user; keep the other for the next."""
        self.users -= 1
        if file.flags & FWRITE:
            self.wusers -= 1
            if not self.wusers:
                self._close_write()
        if not self.users and self.fd >= 0:
            self.lofs.fds.add(self)

    def _close_write(self) -> None:
        pages = self._pages
        if pages is not None and (pages.dirty or pages.writable_mappings()):
            return
        if self.wfd == self.fd:
            # The host may not execute a file that anybody has open for writing. Who still reads or
            # maps it may be all that is left of it: its name may be gone.
            self.fd = self._reopen() if self.busy() else -1
            if self.fd < 0:
                self.lofs.fds.remove(self)
        close_quietly(self.wfd)
        self.wfd = -1

    def _reopen(self) -> int:
        """Return a descriptor for reading of what is open for both."""
        path = b"/proc/self/fd/%d" % self.fd
        return self.lofs.fds.open(lambda: os.open(path, os.O_RDONLY | os.O_CLOEXEC))

    # -- data -----------------------------------------------------------------------------------

    def read(self, off: int, n: int) -> bytes:
        """Read from the host, with what a mapping has changed put over it."""
        fd = self.fd if self.fd >= 0 else self.readfd()
        try:
            if n > _BIG_READ:
                n = max(0, min(n, os.fstat(fd).st_size - off))
            data = os.pread(fd, n, off)
        except OSError as err:
            raise host_error(err) from None
        pages = self._pages
        if pages is not None and pages.dirty:
            data = pages.patch(off, data)
        return data

    def write(self, off: int, data: bytes | memoryview) -> int:
        """Write to the host, and to the pages that are mapped or cached."""
        try:
            n = os.pwrite(self.writefd(), data, off)
        except OSError as err:
            raise host_error(err) from None
        self.seen = 0
        if self._pages is not None:
            self._stamp = None
            self._pages.update(off, data[:n])
        return n

    def truncate(self, size: int) -> None:
        """Set the length of the host's file."""
        fd = self.writefd()
        try:
            os.ftruncate(fd, size)
        except OSError as err:
            raise host_error(err) from None
        finally:
            self.seen = 0
            if not self.wusers:
                self._close_write()
        if self._pages is not None:
            self._stamp = None
            self._pages.truncate(size)

    def allocate(self, off: int, length: int, *, keep_size: bool = False) -> None:
        """Have the host allocate a range. Raises EOPNOTSUPP, ENOSPC."""
        self._fallocate(host.ALLOC_KEEP_SIZE if keep_size else 0, off, length)

    def freesp(self, off: int, length: int) -> None:
        """Have the host make a hole."""
        self._fallocate(host.ALLOC_PUNCH, off, length)

    def zero(self, off: int, length: int, *, keep_size: bool) -> None:
        """Have the host zero a range."""
        how = host.ALLOC_ZERO | (host.ALLOC_KEEP_SIZE if keep_size else 0)
        self._fallocate(how, off, length)

    def shift(self, off: int, length: int, *, insert: bool) -> None:
        """Have the host collapse or insert."""
        self._fallocate(host.ALLOC_INSERT if insert else host.ALLOC_COLLAPSE, off, length)

    def _fallocate(self, how: int, off: int, length: int) -> None:
        """Change the host's file; pages that it concerns are read anew."""
        if how & ~host.ALLOC_KEEP_SIZE:
            self.flush()
        try:
            host.fallocate(self.writefd(), how, off, length)
        except OSError as err:
            raise host_error(err) from None
        finally:
            self.seen = 0
            if not self.wusers:
                self._close_write()
        if self._pages is not None and how & ~host.ALLOC_KEEP_SIZE:
            self._stamp = None
            moved = how & (host.ALLOC_INSERT | host.ALLOC_COLLAPSE)
            self._pages.invalidate(off >> 12, None if moved else off + length + 4095 >> 12)

    def seek_data(self, off: int, *, hole: bool) -> int:
        """Ask the host, which may know holes."""
        try:
            return os.lseek(self.readfd(), off, os.SEEK_HOLE if hole else os.SEEK_DATA)
        except OSError as err:
            raise host_error(err) from None

    def fsync(self) -> None:
        """Write mapped pages to the host's file, and have the host write it out.

        What the index says of it is made safe as well.
        """
        self.flush()
        if self.lofs.readonly:
            return
        try:
            os.fsync(self.readfd())
            if self.lofs.meta is not None:
                self.lofs.meta.sync()
        except OSError as err:
            raise host_error(err) from None

    # -- pages ----------------------------------------------------------------------------------

    @property
    def pages(self) -> PageCache | None:
        """The page cache, made when first asked for."""
        if self._pages is None and self.lofs.phys is not None:
            self._pages = PageCache(self.lofs.phys, self)
            self._stamp = (self.st.st_mtime_ns, self.st.st_size)
        return self._pages

    def getpage(self, index: int) -> bytes:
        """Return one page of the host's file."""
        return self.getpages(index, 1)

    def getpages(self, index: int, count: int) -> bytes:
        """Return `count` pages of the host's file."""
        try:
            return os.pread(self.readfd(), count << 12, index << 12)
        except OSError as err:
            raise host_error(err) from None

    def putpage(self, index: int, data: bytes | memoryview) -> None:
        """Write a dirty page back, cut at the end of the file."""
        try:
            fd = self.writefd()
            room = os.fstat(fd).st_size - (index << 12)
            if room > 0:
                os.pwrite(fd, data[:room], index << 12)
        except OSError as err:
            raise host_error(err) from None
        self.seen = 0
        self._stamp = None
        if not self.wusers:
            self._close_write()

    def flush(self) -> None:
        """Write every dirty page back."""
        if self._pages is not None and self._pages.dirty:
            self._pages.flush()
