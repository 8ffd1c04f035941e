"""Open files: what a descriptor refers to (illumos file_t, open(2) "open file description")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lxemu.kernel.cred import PRIV_FILE_SETID
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.vfs import notify
from lxemu.kernel.vfs.fcntl import (
    FREAD,
    FWRITE,
    MAXIO,
    MAXOFFSET,
    O_APPEND,
    O_PATH,
    O_SETFL,
    SEEK_CUR,
    SEEK_DATA,
    SEEK_END,
    SEEK_HOLE,
    SEEK_SET,
)
from lxemu.kernel.vfs.notify import IN_ACCESS, IN_CLOSE_NOWRITE, IN_CLOSE_WRITE, IN_MODIFY
from lxemu.kernel.vfs.vnode import (
    AT_MODE,
    AT_SIZE,
    S_ISGID,
    S_ISUID,
    VCHR,
    VDIR,
    VREG,
    Vattr,
    is_stream,
)

if TYPE_CHECKING:
    from lxemu.kernel.cred import Cred
    from lxemu.kernel.poll import Pollhead
    from lxemu.kernel.vfs.name import Name
    from lxemu.kernel.vfs.vnode import Vnode

_SETID = S_ISUID | S_ISGID


class File:
    """An open file description, shared by all its descriptors.

    `flags` holds FREAD and FWRITE (not the access mode of open) and the O_* status flags. `cred`
    are the credentials of the opener. `data` belongs to the vnode (a clone's state, an event
    queue). `created` says that the opening has made the file.
    """

    __slots__ = (
        "__weakref__",
        "async_hook",
        "async_owner",
        "async_sig",
        "created",
        "cred",
        "data",
        "flags",
        "name",
        "notice",
        "ofd_locks",
        "offset",
        "refcnt",
        "stream",
        "vnode",
        "writer",
    )

    def __init__(self, vnode: Vnode, name: Name, flags: int, cred: Cred) -> None:
        self.vnode = vnode
        self.name = name
        self.flags = flags
        self.cred = cred
        self.offset = 0
        self.refcnt = 1
        self.stream = vnode.own_position or is_stream(vnode.type)
        self.data: Any = None
        self.writer = False
        self.created = False
        self.ofd_locks = False
        # Owner, AsyncHook (sigio.py).
        self.async_owner: Any = None
        self.async_hook: Any = None
        self.async_sig = 0
        #: DirNotice (dirnotice.py).
        self.notice: Any = None

    def set_vnode(self, vnode: Vnode) -> None:
        """Put `vnode` in the place of the one that was opened (a fifo, a device, a clone)."""
        self.vnode = vnode
        self.stream = vnode.own_position or is_stream(vnode.type)

    # -- life -----------------------------------------------------------------------------------

    def hold(self) -> File:
        """Take another reference."""
        self.refcnt += 1
        return self

    def rele(self) -> None:
        """Give a reference back; the last one closes the file."""
        self.refcnt -= 1
        if self.refcnt:
            return
        vnode = self.vnode
        if notify.watching and not self.flags & O_PATH:
            writing = self.flags & FWRITE
            notify.touched(self.name, IN_CLOSE_WRITE if writing else IN_CLOSE_NOWRITE)
        if self.async_hook is not None:
            self.async_hook.end()
        if self.notice is not None:
            self.notice.end()
        if self.ofd_locks and vnode.locks is not None:
            vnode.locks.release_file(self)
        if self.writer:
            self.writer = False
            vnode.wcount -= 1
        if not self.flags & O_PATH:
            vnode.close(self)
        if notify.watching:
            notify.check_gone(self.name.vnode)

    # -- transfer -------------------------------------------------------------------------------

    def read(self, n: int) -> bytes:
        """Read up to `n` bytes at the position and move it. Raises EBADF, EISDIR, EAGAIN, EINTR."""
        if not self.flags & FREAD:
            raise KernelError(Errno.EBADF)
        if n > MAXIO:
            n = MAXIO
        if self.stream:
            data = self.vnode.sread(self, n)
        else:
            data = self.vnode.read(self.offset, n)
            self.offset += len(data)
        if notify.watching and data:
            notify.touched(self.name, IN_ACCESS)
        return data

    def write(self, data: bytes | memoryview) -> int:
        """Write at the position (the end with O_APPEND) and move it.

        Raises EBADF, ENOSPC, EFBIG, EAGAIN, EINTR, EPIPE.
        """
        flags = self.flags
        if not flags & FWRITE:
            raise KernelError(Errno.EBADF)
        vnode = self.vnode
        if self.stream:
            n = vnode.swrite(self, data)
        else:
            if flags & O_APPEND:
                self.offset = vnode.size()
            n = self._write(self.offset, data)
            self.offset += n
        if notify.watching and n:
            notify.touched(self.name, IN_MODIFY)
        return n

    def pread(self, n: int, off: int) -> bytes:
        """Read at `off`, leaving the position alone. Raises EINVAL (negative), ESPIPE, EBADF."""
        if off < 0:
            raise KernelError(Errno.EINVAL)
        if self.stream and not self.vnode.seek_check():
            raise KernelError(Errno.ESPIPE)
        if not self.flags & FREAD:
            raise KernelError(Errno.EBADF)
        if self.stream and not self.vnode.own_position:
            data = self.vnode.sread(self, n)
        else:
            data = self.vnode.read(off, min(n, MAXIO))
        if notify.watching and data:
            notify.touched(self.name, IN_ACCESS)
        return data

    def pwrite(self, data: bytes | memoryview, off: int) -> int:
        """Write at `off`, leaving the position alone.

        With O_APPEND the data go to the end all the same (pwrite(2), BUGS).
        """
        if off < 0:
            raise KernelError(Errno.EINVAL)
        if self.stream and not self.vnode.seek_check():
            raise KernelError(Errno.ESPIPE)
        if not self.flags & FWRITE:
            raise KernelError(Errno.EBADF)
        if self.stream and not self.vnode.own_position:
            n = self.vnode.swrite(self, data)
        else:
            if self.flags & O_APPEND:
                off = self.vnode.size()
            n = self._write(off, data)
        if notify.watching and n:
            notify.touched(self.name, IN_MODIFY)
        return n

    def _write(self, off: int, data: bytes | memoryview) -> int:
        vnode = self.vnode
        if not data:
            return 0
        room = MAXOFFSET - off
        if len(data) > room:
            if room <= 0:
                raise KernelError(Errno.EFBIG)
            data = data[:room]
        n = vnode.write(off, data)
        if vnode.mode & _SETID and vnode.type == VREG:
            self._clear_setid()
        return n

    def _clear_setid(self) -> None:
        """Take the set-id bits away after a write by one without the privilege (write(2))."""
        mode = self.vnode.getattr().mode
        gone = S_ISUID | (S_ISGID if mode & 0o010 else 0)
        if mode & gone and not self.cred.crhas(PRIV_FILE_SETID):
            self.vnode.setattr(AT_MODE, Vattr(mode=mode & ~gone), self.cred)

    def seek(self, off: int, whence: int) -> int:
        """Set the position and return it. Raises ESPIPE, EINVAL, ENXIO, EOVERFLOW."""
        vnode = self.vnode
        if self.flags & O_PATH:
            raise KernelError(Errno.EBADF)
        if not vnode.seek_check():
            raise KernelError(Errno.ESPIPE)
        if vnode.own_position:
            return vnode.seek(self, off, whence)
        if whence == SEEK_SET:
            pos = off
        elif whence == SEEK_CUR:
            pos = self.offset + off
        elif whence == SEEK_END:
            pos = vnode.size() + off
        elif whence in (SEEK_DATA, SEEK_HOLE):
            if off < 0:
                raise KernelError(Errno.ENXIO)
            pos = vnode.seek_data(off, hole=whence == SEEK_HOLE)
        else:
            raise KernelError(Errno.EINVAL)
        if not 0 <= pos <= MAXOFFSET:
            raise KernelError(Errno.EINVAL)
        if vnode.type == VCHR:
            return 0
        self.offset = pos
        return pos

    # -- the rest -------------------------------------------------------------------------------

    def truncate(self, size: int) -> None:
        """Set the length.

        Raises EINVAL unless it is a regular file open for writing (ftruncate(2)).
        """
        if self.flags & O_PATH:
            raise KernelError(Errno.EBADF)
        if size < 0 or self.vnode.type != VREG or not self.flags & FWRITE:
            raise KernelError(Errno.EINVAL)
        self.vnode.truncate(size)
        if notify.watching:
            notify.changed(self.name, AT_SIZE)
        if self.vnode.mode & _SETID:
            self._clear_setid()

    def poll(self, events: int) -> tuple[int, Pollhead | None]:
        """Return the ready ones of `events` and the pollhead to wait at."""
        return self.vnode.poll(self, events)

    def ioctl(self, cmd: int, arg: Any = None) -> Any:
        """Do a device request (illumos number, decoded values). Raises ENOTTY, EBADF."""
        if self.flags & O_PATH:
            raise KernelError(Errno.EBADF)
        return self.vnode.ioctl(self, cmd, arg)

    def getfl(self) -> int:
        """Return the status flags and access mode as open takes them (F_GETFL)."""
        flags = self.flags
        if flags & O_PATH:
            return flags
        return flags & ~(FREAD | FWRITE) | ((flags & (FREAD | FWRITE)) - 1) & 3

    def setfl(self, flags: int) -> None:
        """Set the status flags that may be changed (F_SETFL); others are ignored."""
        self.flags = self.flags & ~O_SETFL | flags & O_SETFL

    def is_dir(self) -> bool:
        """Return whether this is an open directory."""
        return self.vnode.type == VDIR
