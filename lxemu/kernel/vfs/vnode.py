"""The vnode: one file of any file system, and the operations on it (illumos sys/vnode.h).

A file system subclasses `Vnode` and overrides what its files can do; every other operation fails
with the error that the call gives for such a type of file. A vnode knows nothing of paths: those
are `Name`s.
Checks that need a path or a process (permission in a directory, sticky bits, read-only mounts) are
in `ops`; a vnode's own methods do what they are told.
"""

# The defaults of an interface look at no arguments, and some have nothing to do.
# ruff: noqa: ARG002, B027
from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

from lxemu.kernel.cred import (
    PRIV_FILE_DAC_EXECUTE,
    PRIV_FILE_DAC_READ,
    PRIV_FILE_DAC_SEARCH,
    PRIV_FILE_DAC_WRITE,
    Cred,
)
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.poll import POLLIN, POLLOUT, POLLRDNORM, POLLWRBAND, POLLWRNORM, Pollhead

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxemu.kernel.mm.pagecache import PageCache
    from lxemu.kernel.userns import UserSpace
    from lxemu.kernel.vfs.file import File
    from lxemu.kernel.vfs.locks import LockList
    from lxemu.kernel.vfs.name import Name
    from lxemu.kernel.vfs.notify import Watch

# Types of vnode (enum vtype).
VNON = 0
VREG = 1
VDIR = 2
VBLK = 3
VCHR = 4
VLNK = 5
VFIFO = 6
VDOOR = 7
VPROC = 8
VSOCK = 9
VPORT = 10

#: S_IFMT bits of each type; they are the same on every Unix.
VTTOIF = (0, 0o100000, 0o040000, 0o060000, 0o020000, 0o120000, 0o010000, 0, 0, 0o140000, 0)
IFTOVT = {bits: vtype for vtype, bits in enumerate(VTTOIF) if bits}

# Access wanted of a file; the bits of "other" in a mode.
VEXEC = 1
VWRITE = 2
VREAD = 4

S_ISUID = 0o4000
S_ISGID = 0o2000
S_ISVTX = 0o1000

# Which attributes a setattr changes (AT_* of sys/vnode.h).
AT_MODE = 0x2
AT_UID = 0x4
AT_GID = 0x8
AT_SIZE = 0x80
AT_ATIME = 0x100
AT_MTIME = 0x200
AT_CTIME = 0x400

# Flags of a file that bind even its owner (illumos sys/attr.h, A_IMMUTABLE and its kin).
FL_IMMUTABLE = 0x10
FL_APPEND = 0x20
FL_NODUMP = 0x40
FL_NOATIME = 0x80

# Flags of a file system or of one mount of it (sys/vfs.h; those from NOATIME on are ours).
VFS_RDONLY = 0x1
VFS_NOSETUID = 0x8
VFS_NODEVICES = 0x800
VFS_NOEXEC = 0x1000
VFS_NOATIME = 0x10000
VFS_NODIRATIME = 0x20000
VFS_RELATIME = 0x40000
VFS_STRICTATIME = 0x80000
VFS_NOSYMFOLLOW = 0x100000

_READY = POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLWRBAND


def makedev(major: int, minor: int) -> int:
    """Return the device number of `major` and `minor` (64-bit dev_t)."""
    return major << 32 | minor


def major(dev: int) -> int:
    """Return the major part of a device number."""
    return dev >> 32


def minor(dev: int) -> int:
    """Return the minor part of a device number."""
    return dev & 0xFFFFFFFF


class Vattr(NamedTuple):
    """Attributes of a file.

    Times are ns since 1970, `mode` is permission bits, `nblocks` 512 bytes.
    """

    type: int = VNON
    mode: int = 0
    uid: int = 0
    gid: int = 0
    fsid: int = 0
    nodeid: int = 0
    nlink: int = 0
    size: int = 0
    atime: int = 0
    mtime: int = 0
    ctime: int = 0
    btime: int = 0
    rdev: int = 0
    blksize: int = 4096
    nblocks: int = 0

    @property
    def st_mode(self) -> int:
        """Type and permission bits as st_mode has them."""
        return VTTOIF[self.type] | self.mode


class Dirent(NamedTuple):
    """One directory entry; reading on from `next_cookie` gives the entry after it."""

    name: bytes
    nodeid: int
    type: int
    next_cookie: int


class Statvfs(NamedTuple):
    """What statvfs tells of a file system; sizes in units of `frsize` bytes."""

    bsize: int
    frsize: int
    blocks: int
    bfree: int
    bavail: int
    files: int
    ffree: int
    fsid: int
    basetype: str
    flag: int
    namemax: int = 255


class Vfs(ABC):
    """One file system instance. `fsid` is the device number its files show."""

    name = "none"
    #: Whether a rename may leave a whiteout behind.
    has_whiteouts = False
    #: Whether files have FL_* flags.
    keeps_iflags = False

    def __init__(self, fsid: int, *, flags: int = 0, now: Callable[[], int] = time.time_ns) -> None:
        self.fsid = fsid
        self.flags = flags
        self.now = now
        self.source = b"none"
        self.options: list[bytes] = []
        #: Where the files are, by number, that somebody has asked a handle of.
        self.handles: dict[int, Name] = {}
        #: The users' space that it was mounted in, None for the zone's.
        self.space: UserSpace | None = None

    @abstractmethod
    def root(self) -> Vnode:
        """Return the root vnode."""

    def statvfs(self) -> Statvfs:
        """Return totals; zeros where the notion makes no sense, as pseudo file systems do."""
        return Statvfs(4096, 4096, 0, 0, 0, 0, 0, self.fsid, self.name, self.flags)

    def remount(self, options: list[bytes]) -> None:
        """Change options that may be changed while mounted. Raises EINVAL for one that may not."""
        if options:
            raise KernelError(Errno.EINVAL)

    def may_write(self) -> bool:
        """Return whether it can be made writable."""
        return True

    def sync(self) -> None:
        """Write out what is dirty."""

    def unmount(self) -> None:
        """Give up everything held; called once, after the last mount of it has gone."""


class Vnode(ABC):
    """A file.

    `mode` mirrors the permission bits so that lookup may pass a searchable directory without
    asking; a file system that does not keep it leaves it 0 and pays one `access` call.
    `stream` is (a weak reference to) the fifo, device or socket behind a node of such type.
    `own_position` says that reads and writes go through sread and swrite although the type is not a
    stream's, because the position lives elsewhere; `map_anon` that a mapping is anonymous memory.
    `watchers` are those who want to know what happens to the file (see notify.py).
    `wcount` counts open writers, or is negative while the file is being executed.
    """

    __slots__ = ("__weakref__", "locks", "mode", "stream", "type", "vfs", "watchers", "wcount")

    own_position = False
    map_anon = False
    #: A regular file that can be waited for all the same.
    pollable = False
    #: Whether `fd_closed` wants to know of every descriptor that is closed.
    counts_closes = False
    #: FL_* bits, where the file system keeps any.
    iflags = 0
    #: A fifo, device or socket whose own `open` is to be called (it is no node of a file system).
    opens_itself = False

    def __init__(self, vfs: Vfs, vtype: int, mode: int = 0) -> None:
        self.vfs = vfs
        self.type = vtype
        self.mode = mode
        self.stream: Any = None
        self.locks: LockList | None = None
        self.watchers: list[Watch] | None = None
        self.wcount = 0

    @property
    def pages(self) -> PageCache | None:
        """The cache of the file's pages, made when first asked for; None if it cannot be mapped."""
        return None

    # -- attributes -----------------------------------------------------------------------------

    @abstractmethod
    def getattr(self, cred: Cred | None = None) -> Vattr:
        """Return the attributes."""

    def setattr(self, mask: int, attr: Vattr, cred: Cred) -> None:
        """Set the attributes that `mask` (AT_*) names; the caller has checked the permission.

        Raises EPERM, EROFS, ENOSPC, EFBIG.
        """
        raise KernelError(Errno.EPERM)

    def get_atime(self) -> int:
        """Return the access time where reading changes it, 0 elsewhere."""
        return 0

    def set_atime(self, when: int) -> None:
        """Set the access time and nothing else, where there is one to keep."""

    def set_iflags(self, flags: int) -> None:
        """Set the FL_* bits; the caller has checked the permission. Raises ENOTTY."""
        raise KernelError(Errno.ENOTTY)

    def size(self) -> int:
        """Return the length in bytes."""
        return self.getattr().size

    def access(self, want: int, cred: Cred) -> None:
        """Check that `cred` may do `want` (VREAD, VWRITE, VEXEC); raises EACCES."""
        attr = self.getattr(cred)
        vaccess(self.type, attr.mode, attr.uid, attr.gid, want, cred)

    # -- directories ----------------------------------------------------------------------------

    def lookup(self, name: bytes) -> Vnode:
        """Return the entry `name`, never "." or ".."; raises ENOENT, ENOTDIR, ENAMETOOLONG."""
        raise KernelError(Errno.ENOENT if self.type == VDIR else Errno.ENOTDIR)

    def create(self, name: bytes, mode: int, vtype: int, cred: Cred, rdev: int = 0) -> Vnode:
        """Make a file of `vtype` that does not exist yet.

        Raises EACCES, ENOSPC, ENOENT (removed).
        """
        raise KernelError(Errno.EACCES if vtype == VREG else Errno.EPERM)

    def tmpfile(self, mode: int, cred: Cred) -> Vnode:
        """Make a regular file without a name in this directory's file system. Raises EOPNOTSUPP."""
        raise KernelError(Errno.EOPNOTSUPP)

    def mkdir(self, name: bytes, mode: int, cred: Cred) -> Vnode:
        """Make a directory that does not exist yet."""
        raise KernelError(Errno.EPERM)

    def symlink(self, name: bytes, target: bytes, cred: Cred) -> Vnode:
        """Make a symbolic link."""
        raise KernelError(Errno.EPERM)

    def link(self, vnode: Vnode, name: bytes) -> None:
        """Make `name` another link to `vnode` of the same file system. Raises EMLINK, ENOSPC."""
        raise KernelError(Errno.EPERM)

    def remove(self, name: bytes) -> None:
        """Remove the entry of a file that is not a directory."""
        raise KernelError(Errno.EPERM)

    def rmdir(self, name: bytes) -> None:
        """Remove an empty directory; raises ENOTEMPTY."""
        raise KernelError(Errno.EPERM)

    def rename(self, name: bytes, newdir: Vnode, newname: bytes) -> None:
        """Move the entry over what `newname` of `newdir` (same file system) may be.

        The caller has checked types, loops and permissions. Raises ENOTEMPTY, ENOSPC.
        """
        raise KernelError(Errno.EPERM)

    def exchange(self, name: bytes, newdir: Vnode, newname: bytes) -> None:
        """Swap two existing entries. Raises EINVAL where the file system cannot."""
        raise KernelError(Errno.EINVAL)

    def readdir(self, cookie: int) -> list[Dirent]:
        """Return entries from `cookie` on (0: the start), "." and ".." included; empty at the end.

        Cookies stay good while entries come and go. Raises ENOTDIR.
        """
        raise KernelError(Errno.ENOTDIR)

    # -- symbolic links -------------------------------------------------------------------------

    def readlink(self) -> bytes:
        """Return the target of a symbolic link; raises EINVAL for another type."""
        raise KernelError(Errno.EINVAL)

    def magic_link(self) -> Name | None:
        """Return the place a magic link jumps to.

        None for an ordinary one. Raises what it likes.
        """
        return None

    # -- data -----------------------------------------------------------------------------------

    def open(self, file: File) -> Vnode | None:
        """Prepare for use through `file`; a returned vnode takes this one's place in it."""
        return None

    def close(self, file: File) -> None:
        """Note that the last descriptor of `file` has gone."""

    def fd_closed(self, file: File) -> None:
        """Note that a descriptor of `file` is closed (only with `counts_closes`)."""

    def read(self, off: int, n: int) -> bytes:
        """Return up to `n` bytes at `off`; empty at the end."""
        raise KernelError(Errno.EISDIR if self.type == VDIR else Errno.EINVAL)

    def write(self, off: int, data: bytes | memoryview) -> int:
        """Write at `off` and return how much was written. Raises ENOSPC, EFBIG."""
        raise KernelError(Errno.EISDIR if self.type == VDIR else Errno.EINVAL)

    def truncate(self, size: int) -> None:
        """Set the length of a regular file."""
        raise KernelError(Errno.EISDIR if self.type == VDIR else Errno.EINVAL)

    def allocate(self, off: int, length: int, *, keep_size: bool = False) -> None:
        """Make sure that a range has storage (posix_fallocate(3C)). Raises EOPNOTSUPP, ENOSPC."""
        raise KernelError(Errno.EOPNOTSUPP)

    def freesp(self, off: int, length: int) -> None:
        """Free the storage of a range, which then reads as zeros (F_FREESP). Raises EOPNOTSUPP."""
        raise KernelError(Errno.EOPNOTSUPP)

    def zero(self, off: int, length: int, *, keep_size: bool) -> None:
        """Make a range read as zeros and have storage. Raises EOPNOTSUPP, ENOSPC."""
        self.freesp(off, length)
        self.allocate(off, length, keep_size=keep_size)

    def shift(self, off: int, length: int, *, insert: bool) -> None:
        """Take a range out of the file, or put a hole into it: what follows moves.

        Raises EINVAL unless it is whole blocks, and inside the file. Raises EOPNOTSUPP.
        """
        raise KernelError(Errno.EOPNOTSUPP)

    def seek_data(self, off: int, *, hole: bool) -> int:
        """Return the next data (or hole) at or after `off`; raises ENXIO past the end.

        The default knows no holes but the one at the end of the file.
        """
        size = self.size()
        if off >= size:
            raise KernelError(Errno.ENXIO)
        return size if hole else off

    def seek_check(self) -> bool:
        """Return whether this file has a position at all; if not, lseek fails with ESPIPE."""
        return self.type in (VREG, VDIR, VBLK, VLNK)

    def seek(self, file: File, off: int, whence: int) -> int:
        """Set a position that the vnode itself keeps (`own_position`). Raises ESPIPE, EINVAL."""
        raise KernelError(Errno.ESPIPE)

    def fsync(self) -> None:
        """Write out data and attributes. Raises EINVAL where it makes no sense (fifos, sockets)."""
        if self.type not in (VREG, VDIR, VBLK):
            raise KernelError(Errno.EINVAL)

    def sread(self, file: File, n: int) -> bytes:
        """Read from a stream, blocking; empty at the end of it. Raises EAGAIN, EINTR."""
        raise KernelError(Errno.EINVAL)

    def swrite(self, file: File, data: bytes | memoryview) -> int:
        """Write to a stream, blocking. Raises EAGAIN, EINTR, EPIPE."""
        raise KernelError(Errno.EINVAL)

    def ioctl(self, file: File, cmd: int, arg: Any) -> Any:
        """Do device request `cmd` (illumos number); `arg` and the result are decoded values.

        The default raises ENOTTY.
        """
        raise KernelError(Errno.ENOTTY)

    def poll(self, file: File, events: int) -> tuple[int, Pollhead | None]:
        """Return which of `events` are ready (POLLERR, POLLHUP too), and where to wait for them.

        Files are always ready, the default.
        """
        return events & _READY, None

    def addmap(self, prot: int, flags: int, maxprot: int) -> int:
        """Return the largest protection of a new mapping, `maxprot` or less (VOP_ADDMAP).

        The default allows what the open file does. Raises EPERM.
        """
        return maxprot

    def async_owner(self) -> tuple[int, int] | None:
        """Return whom news goes to when nobody has said (kind and number, as in sigio)."""
        return None

    def getpage(self, index: int) -> bytes:
        """Return page `index` of the contents for the page cache, at most 4096 bytes."""
        return self.read(index << 12, 4096)

    def putpage(self, index: int, data: bytes | memoryview) -> None:
        """Write a dirty page of the page cache back; the caller cuts it at the end of the file."""
        self.write(index << 12, data)

    # -- extended attributes --------------------------------------------------------------------

    def getxattr(self, name: bytes) -> bytes:
        """Return the value of an attribute; raises ENODATA, EOPNOTSUPP."""
        raise KernelError(Errno.EOPNOTSUPP)

    def setxattr(self, name: bytes, value: bytes, *, create: bool, replace: bool) -> None:
        """Set an attribute; raises EEXIST with `create`, ENODATA with `replace`, EOPNOTSUPP."""
        raise KernelError(Errno.EOPNOTSUPP)

    def removexattr(self, name: bytes) -> None:
        """Remove an attribute; raises ENODATA, EOPNOTSUPP."""
        raise KernelError(Errno.EOPNOTSUPP)

    def listxattr(self) -> list[bytes]:
        """Return the names of all attributes."""
        return []


_STREAMS = frozenset((VFIFO, VCHR, VSOCK))


def is_stream(vtype: int) -> bool:
    """Return whether files of `vtype` are read and written with sread and swrite."""
    return vtype in _STREAMS


def vaccess(vtype: int, mode: int, uid: int, gid: int, want: int, cred: Cred) -> None:
    """Check `want` against permission bits, then against privileges; raises EACCES.

    As path_resolution(7) and capabilities(7) have it: the class is owner, else group, else other;
    the privilege to execute does not help where no execute bit is set at all.
    """
    if cred.fsuid == uid:
        have = mode >> 6
    elif cred.groupmember(gid):
        have = mode >> 3
    else:
        have = mode
    missing = want & ~have & 7
    if not missing:
        return
    if missing & VREAD and not cred.over(uid, gid, PRIV_FILE_DAC_READ):
        raise KernelError(Errno.EACCES)
    if missing & VWRITE and not cred.over(uid, gid, PRIV_FILE_DAC_WRITE):
        raise KernelError(Errno.EACCES)
    if missing & VEXEC:
        if vtype == VDIR:
            if not cred.over(uid, gid, PRIV_FILE_DAC_SEARCH):
                raise KernelError(Errno.EACCES)
        elif not mode & 0o111 or not cred.over(uid, gid, PRIV_FILE_DAC_EXECUTE):
            raise KernelError(Errno.EACCES)
