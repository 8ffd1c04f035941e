"""Pipes and named fifos (illumos fifofs; pipe(7), fifo(7)).

A fifo is a ring of page slots, as in the reference system: a write shorter than a page is put into
the last slot when it fits there, and takes a new slot otherwise, so how much a full fifo holds
depends on how it was filled. A write of at most PIPE_BUF bytes always needs one slot, and so is
atomic.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any
from weakref import ref

from lxemu.kernel.cred import PRIV_SYS_RESOURCE, Cred
from lxemu.kernel.cv import CondVar
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.poll import POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, Pollhead
from lxemu.kernel.signal import SIGPIPE
from lxemu.kernel.vfs.fcntl import FIONREAD, FREAD, FWRITE, O_DIRECT, O_NONBLOCK
from lxemu.kernel.vfs.file import File
from lxemu.kernel.vfs.name import Name
from lxemu.kernel.vfs.vnode import (
    AT_ATIME,
    AT_GID,
    AT_MODE,
    AT_MTIME,
    AT_UID,
    VDIR,
    VFIFO,
    Vattr,
    Vfs,
    Vnode,
)

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = 4096
PIPE_BUF = 4096
DEFAULT_SLOTS = 16
#: Largest size an unprivileged process may ask for.
PIPE_MAX_SIZE = 1 << 20
_RDEVENTS = POLLIN | POLLRDNORM


class Packet(bytes):
    """One write in packet mode: a read takes it alone, and loses what it does not take."""

    __slots__ = ()


class FifoVnode(Vnode):
    """A fifo: its bytes and those who wait. `realvp` is its node, None for a pipe.

    `rcount` and `wopens` count the opens for reading and writing there have ever been.
    """

    __slots__ = (
        "attr",
        "bufs",
        "cv_open",
        "cv_read",
        "cv_write",
        "head",
        "nbytes",
        "pollhead",
        "rcount",
        "readers",
        "realvp",
        "slots",
        "wopens",
        "writers",
    )

    opens_itself = True

    def __init__(self, vfs: Vfs, realvp: Vnode | None, attr: Vattr | None = None) -> None:
        super().__init__(vfs, VFIFO, 0o600)
        self.realvp = realvp
        self.attr = attr
        #: Slots in use. A bytearray may still grow; `head` bytes of the first have been read.
        self.bufs: deque[bytes | bytearray] = deque()
        self.head = 0
        self.nbytes = 0
        self.slots = DEFAULT_SLOTS
        self.readers = self.writers = 0
        self.rcount = self.wopens = 0
        self.cv_read = CondVar()
        self.cv_write = CondVar()
        self.cv_open = CondVar()
        self.pollhead = Pollhead()

    # -- attributes -----------------------------------------------------------------------------

    def getattr(self, cred: Cred | None = None) -> Vattr:
        """Return the attributes of the node, or the pipe's own."""
        if self.realvp is not None:
            return self.realvp.getattr(cred)
        assert self.attr is not None
        return self.attr

    def setattr(self, mask: int, attr: Vattr, cred: Cred) -> None:
        """Set attributes of the node, or the pipe's own."""
        if self.realvp is not None:
            self.realvp.setattr(mask, attr, cred)
            return
        assert self.attr is not None
        fields = {AT_MODE: "mode", AT_UID: "uid", AT_GID: "gid", AT_ATIME: "atime"}
        fields[AT_MTIME] = "mtime"
        changes = {name: getattr(attr, name) for bit, name in fields.items() if mask & bit}
        self.attr = self.attr._replace(ctime=self.vfs.now(), **changes)

    # -- open and close -------------------------------------------------------------------------

    def open(self, file: File) -> Vnode | None:
        """Join as reader, writer or both, waiting for the other side (fifo(7)).

        Raises ENXIO for a writer with O_NONBLOCK and no reader, EINTR.
        """
        mode = file.flags & (FREAD | FWRITE)
        if self.realvp is None:
            # A pipe opened again through a descriptor's name never waits for its other end.
            self.attach(file)
            file.data = None
            return None
        if mode == FWRITE and file.flags & O_NONBLOCK and not self.readers:
            raise KernelError(Errno.ENXIO)
        seen_r, seen_w = self.rcount, self.wopens
        self.attach(file)
        try:
            if mode == FREAD and not self.writers and not file.flags & O_NONBLOCK:
                while self.wopens == seen_w:
                    self.cv_open.wait_sig()
            elif mode == FWRITE and not self.readers:
                while self.rcount == seen_r:
                    self.cv_open.wait_sig()
        except BaseException:
            self.close(file)
            raise
        if mode == FREAD and self.writers:
            file.data = None
        return None

    def attach(self, file: File) -> None:
        """Count `file` as a reader and writer, according to its mode, without waiting.

        A reader that no writer has met yet remembers so: it sees no hang-up until one has come.
        """
        if file.flags & FREAD:
            self.readers += 1
            self.rcount += 1
            if not self.writers and not file.flags & FWRITE:
                file.data = self.wopens
        if file.flags & FWRITE:
            self.writers += 1
            self.wopens += 1
        self.cv_open.broadcast()
        self._wake_all()

    def close(self, file: File) -> None:
        """Leave; the last of a side wakes the other."""
        if file.flags & FREAD:
            self.readers -= 1
        if file.flags & FWRITE:
            self.writers -= 1
        if not self.readers and not self.writers:
            self.bufs.clear()
            self.head = self.nbytes = 0
        self._wake_all()

    def _wake_all(self) -> None:
        self.cv_read.broadcast()
        self.cv_write.broadcast()
        if self.pollhead.waiters:
            self.pollhead.wakeup(_RDEVENTS | POLLOUT | POLLHUP | POLLERR)

    def seek_check(self) -> bool:
        """Return false: a fifo has no position."""
        return False

    # -- transfer -------------------------------------------------------------------------------

    def sread(self, file: File, n: int) -> bytes:
        """Read what there is, at most `n` bytes; wait only when there is nothing.

        Empty when no writer is left. Raises EAGAIN, EINTR.
        """
        if n <= 0:
            return b""
        bufs = self.bufs
        while not bufs:
            if not self.writers:
                return b""
            if file.flags & O_NONBLOCK:
                raise KernelError(Errno.EAGAIN)
            self.cv_read.wait_sig()
        was_full = len(bufs) >= self.slots
        data = self._take(n)
        if was_full and len(bufs) < self.slots:
            self.cv_write.broadcast()
            if self.pollhead.waiters:
                self.pollhead.wakeup(POLLOUT)
        elif self.pollhead.waiters:
            self.pollhead.tell(POLLOUT)
        return data

    def _take(self, n: int) -> bytes:
        bufs = self.bufs
        first = bufs[0]
        head = self.head
        left = len(first) - head
        if isinstance(first, Packet):
            bufs.popleft()
            self.nbytes -= left
            return bytes(first[:n])
        if n < left:
            self.head = head + n
            self.nbytes -= n
            return bytes(first[head : head + n])
        bufs.popleft()
        self.head = 0
        if n == left or not bufs:
            self.nbytes -= left
            return bytes(first[head:]) if head else bytes(first)
        parts: list[bytes | bytearray] = [first[head:] if head else first]
        room = n - left
        while room and bufs and not isinstance(bufs[0], Packet):
            buf = bufs[0]
            if room < len(buf):
                parts.append(buf[:room])
                self.head = room
                room = 0
                break
            parts.append(buf)
            room -= len(buf)
            bufs.popleft()
        self.nbytes -= n - room
        return b"".join(parts)

    def swrite(self, file: File, data: bytes | memoryview) -> int:
        """Write all of `data`, waiting for room; with O_NONBLOCK as much as fits.

        Raises EPIPE (with SIGPIPE to the process) when no reader is left, EAGAIN, EINTR.
        """
        total = len(data)
        if not total:
            return 0
        if not self.readers:
            return self._broken(0)
        done = 0
        packets = file.flags & O_DIRECT
        if not packets:
            done = self._merge(data, total)
        try:
            while done < total:
                if not self.readers:
                    return self._broken(done)
                if len(self.bufs) < self.slots:
                    done += self._put(data[done : done + PAGE], bool(packets))
                    continue
                if file.flags & O_NONBLOCK:
                    if done:
                        break
                    # Readers are woken all the same: event queues count it as an edge.
                    self._wake_readers()
                    raise KernelError(Errno.EAGAIN)
                self._wake_readers()
                self.cv_write.wait_sig()
        except KernelError:
            if not done:
                raise
        self._wake_readers()
        return done

    def _merge(self, data: bytes | memoryview, total: int) -> int:
        """Put the odd part of a page into the last slot if it fits; returns how much went."""
        odd = total & (PAGE - 1)
        if odd and self.bufs:
            last = self.bufs[-1]
            if isinstance(last, bytearray) and len(last) + odd <= PAGE:
                last += data[:odd]
                self.nbytes += odd
                return odd
        return 0

    def _put(self, piece: bytes | memoryview, packet: bool) -> int:
        n = len(piece)
        if packet:
            self.bufs.append(Packet(piece))
        else:
            self.bufs.append(bytes(piece) if n == PAGE else bytearray(piece))
        self.nbytes += n
        return n

    def _wake_readers(self) -> None:
        if self.bufs:
            self.cv_read.broadcast()
            if self.pollhead.waiters:
                self.pollhead.wakeup(_RDEVENTS)

    def _broken(self, done: int) -> int:
        """No reader is left: SIGPIPE, and EPIPE unless something had been written."""
        post_sigpipe()
        if not done:
            raise KernelError(Errno.EPIPE)
        return done

    # -- the rest -------------------------------------------------------------------------------

    def poll(self, file: File, events: int) -> tuple[int, Pollhead | None]:
        """Return readiness.

        A reader sees POLLHUP without writers, a writer POLLERR without readers.
        """
        ready = 0
        if file.flags & FREAD:
            if self.bufs:
                ready = _RDEVENTS
            if not self.writers and file.data != self.wopens:
                ready |= POLLHUP
        if file.flags & FWRITE:
            if len(self.bufs) < self.slots:
                ready |= POLLOUT
            if not self.readers:
                ready |= POLLERR
        return ready & (events | POLLHUP | POLLERR), self.pollhead

    def ioctl(self, file: File, cmd: int, arg: Any) -> Any:
        """FIONREAD returns the bytes that can be read; the rest raises ENOTTY."""
        if cmd == FIONREAD:
            return self.nbytes
        return super().ioctl(file, cmd, arg)

    def getsize(self) -> int:
        """Return the capacity in bytes (F_GETPIPE_SZ)."""
        return self.slots * PAGE

    def setsize(self, size: int, cred: Cred) -> int:
        """Set the capacity, rounded up to a power of two pages, and return it (F_SETPIPE_SZ).

        Raises EINVAL, EPERM (over the limit without privilege), EBUSY (more than that is in it).
        """
        if size < 0 or size > 1 << 31:
            raise KernelError(Errno.EINVAL)
        slots = 1 << (max(1, (size + PAGE - 1) // PAGE) - 1).bit_length()
        over = slots > self.slots and slots * PAGE > PIPE_MAX_SIZE
        if over and not cred.crhas(PRIV_SYS_RESOURCE):
            raise KernelError(Errno.EPERM)
        if slots < len(self.bufs):
            raise KernelError(Errno.EBUSY)
        grown = slots > self.slots
        self.slots = slots
        if grown:
            self.cv_write.broadcast()
            self.pollhead.wakeup(POLLOUT)
        return slots * PAGE


def post_sigpipe() -> None:
    """Send SIGPIPE to the lwp that writes to what nobody reads."""
    from lxemu.kernel.lwp import curlwp
    from lxemu.kernel.sig import sigtolwp

    lwp = curlwp()
    sigtolwp(lwp, SIGPIPE, lwp.proc.siginfo(SIGPIPE))


def open_fifo(vnode: Vnode, file: File) -> Vnode:
    """Open the fifo whose node is `vnode`; may block. Raises ENXIO, EINTR."""
    known = vnode.stream
    fifo = known() if known is not None else None
    if not isinstance(fifo, FifoVnode):
        fifo = FifoVnode(vnode.vfs, vnode)
        vnode.stream = ref(fifo)
    fifo.open(file)
    return fifo


class _PipeRoot(Vnode):
    """The directory that no pipe is ever looked up in."""

    __slots__ = ()

    def getattr(self, cred: Cred | None = None) -> Vattr:  # noqa: ARG002
        """Return bare attributes."""
        return Vattr(VDIR, 0o500, fsid=self.vfs.fsid, nodeid=1, nlink=2)


class PipeFs(Vfs):
    """The file system of pipes; its files have no names."""

    name = "fifofs"

    def __init__(self, fsid: int, *, now: Callable[[], int] = time.time_ns) -> None:
        super().__init__(fsid, now=now)
        self._root = _PipeRoot(self, VDIR, 0o500)
        self._next_nodeid = 2

    def root(self) -> Vnode:
        """Return an empty directory."""
        return self._root

    def new_nodeid(self) -> int:
        """Return the number of a new object without a name."""
        self._next_nodeid += 1
        return self._next_nodeid

    def pipe(self, cred: Cred, flags: int = 0) -> tuple[File, File]:
        """Make a pipe and return its read and its write end (pipe2(2)).

        `flags` are status flags.
        """
        nodeid = self.new_nodeid()
        now = self.now()
        attr = Vattr(
            VFIFO, 0o600, cred.fsuid, cred.fsgid, self.fsid, nodeid, 1, 0, now, now, now, now
        )
        fifo = FifoVnode(self, None, attr)
        name = Name(None, b"pipe:[%d]" % nodeid, fifo)
        flags &= O_NONBLOCK | O_DIRECT
        ends = (File(fifo, name, flags | FREAD, cred), File(fifo, name, flags | FWRITE, cred))
        for end in ends:
            fifo.attach(end)
            end.data = None
        return ends
