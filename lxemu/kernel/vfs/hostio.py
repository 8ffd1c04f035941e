"""The emulator's own descriptors as guest files: stdin, stdout and stderr.

The host's open file is shared with other processes (the shell that started us), so its flags are
never
changed: a pipe or terminal is opened once more through the host's descriptor directory,
non-blocking, where the host has one; elsewhere readiness is asked first and little is moved at a
time. A regular file keeps its position on the host, which whoever shares it sees move.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import curlwp
from lxemu.kernel.poll import POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, FdPollhead, Pollhead
from lxemu.kernel.vfs.fcntl import (
    FIONREAD,
    FREAD,
    FWRITE,
    O_APPEND,
    O_NONBLOCK,
    SEEK_CUR,
    SEEK_END,
    SEEK_SET,
)
from lxemu.kernel.vfs.fifofs import post_sigpipe
from lxemu.kernel.vfs.file import File
from lxemu.kernel.vfs.host import host_error, host_type, host_vattr, pieces
from lxemu.kernel.vfs.hostfd import close_quietly
from lxemu.kernel.vfs.name import Name
from lxemu.kernel.vfs.vnode import VCHR, VFIFO, VREG, VSOCK, Vattr, Vfs, Vnode

if TYPE_CHECKING:
    from socket import socket

    from lxemu.kernel.cred import Cred
    from lxemu.kernel.sched import Dispatcher

#: How much a host that only tells "writable" surely takes without blocking.
_SAFE_PIECE = 4096
#: The emulator itself speaks on this descriptor, so it outlives the guest's use of it.
_OWN_VOICE = 2
_HOST_BITS = POLLIN | POLLOUT | POLLERR | POLLHUP


class HostStream(Vnode):
    """A file of the host behind a descriptor. `tty` may be set to what answers terminal requests.

    `disp` is asked to wait. `io` is the descriptor used for transfers, `fd` the one that was given.
    """

    __slots__ = (
        "_dontwait",
        "_head",
        "_nonblock",
        "_poll",
        "_sock",
        "disp",
        "fd",
        "io",
        "node",
        "tty",
        "users",
    )

    opens_itself = True

    def __init__(self, vfs: Vfs, fd: int, disp: Dispatcher | None) -> None:
        self.io = self.fd = fd
        self._sock: socket | None = None
        st = os.fstat(fd)
        super().__init__(vfs, host_type(st.st_mode), st.st_mode & 0o7777)
        self.disp = disp
        self.tty: Any = None
        #: The node that stands for it among the guest's files, if there is one.
        self.node: Vnode | None = None
        self.users = 0
        self._nonblock = False
        self._dontwait = 0
        if self.type in (VFIFO, VCHR):
            self._reopen()
        elif self.type == VSOCK:
            # Imported where needed: a start-up that somebody waits for seldom has a socket.
            import socket as host_socket

            self._sock = host_socket.socket(fileno=os.dup(fd))
            self._dontwait = host_socket.MSG_DONTWAIT
        self._poll = select.poll()
        self._poll.register(self.io, 0)
        self._head: FdPollhead | None = None

    def __del__(self) -> None:
        if self._sock is not None:
            self._sock.close()
        if self.io != self.fd:
            close_quietly(self.io)

    def _reopen(self) -> None:
        """Get an open file of our own, so that it can be non-blocking without others noticing."""
        if self.host_name().endswith(b"/ptmx"):
            # Opening the controlling side of a terminal again makes a new terminal.
            return
        how = fcntl.fcntl(self.fd, fcntl.F_GETFL) & os.O_ACCMODE
        flags = how | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        with suppress(OSError):
            self.io = os.open(f"/proc/self/fd/{self.fd}", flags)
            self._nonblock = True

    @property
    def own_position(self) -> bool:  # type: ignore[override]
        """Whether the position is the host's: it is for a regular file."""
        return self.type == VREG

    def is_tty(self) -> bool:
        """Return whether the host says that this is a terminal."""
        return self.type == VCHR and os.isatty(self.fd)

    def host_name(self) -> bytes:
        """Return what the host calls the file, as far as it tells."""
        try:
            return os.readlink(b"/proc/self/fd/%d" % self.fd)
        except OSError:
            return b"host:[%d]" % self.fd

    def flags(self) -> int:
        """Return the FREAD, FWRITE and O_APPEND flags that the host's open file has."""
        got = fcntl.fcntl(self.fd, fcntl.F_GETFL)
        mode = {os.O_RDONLY: FREAD, os.O_WRONLY: FWRITE}.get(got & os.O_ACCMODE, FREAD | FWRITE)
        return mode | (O_APPEND if got & os.O_APPEND else 0)

    # -- attributes -----------------------------------------------------------------------------

    def getattr(self, cred: Cred | None = None) -> Vattr:
        """Return the attributes of the node, or the host's."""
        if self.node is not None:
            return self.node.getattr(cred)
        return host_vattr(os.fstat(self.fd))

    def setattr(self, mask: int, attr: Vattr, cred: Cred) -> None:
        """Set attributes of the node; the host's are left alone (EPERM)."""
        if self.node is None:
            super().setattr(mask, attr, cred)
        else:
            self.node.setattr(mask, attr, cred)

    def open(self, file: File) -> Vnode | None:  # noqa: ARG002
        """Count one more user."""
        self.users += 1
        return None

    def close(self, file: File) -> None:  # noqa: ARG002
        """Let go of the host's file with the last user, so that the other end sees the end.

        The descriptor itself stays taken, or another file of the emulator might get its number.
        """
        self.users -= 1
        if self.users or self.fd < 0 or self.fd == _OWN_VOICE:
            return
        if self.io != self.fd:
            close_quietly(self.io)
            self.io = self.fd
        if self._sock is not None:
            self._sock.close()
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(null, self.fd)
        os.close(null)

    # -- transfer -------------------------------------------------------------------------------

    def _ready(self, events: int) -> int:
        self._poll.modify(self.io, events)
        for _, revents in self._poll.poll(0):
            return revents
        return 0

    def _wait(self, events: int) -> None:
        assert self.disp is not None
        self.disp.wait_fd(self.io, events)

    def sread(self, file: File, n: int) -> bytes:
        """Read from the host, waiting in the dispatcher.

        Raises EAGAIN, EINTR, and EIO in the background of a terminal.
        """
        while True:
            if self.tty is not None:
                self.tty.check_read(curlwp())
            if self._nonblock or self.type == VREG or self._ready(POLLIN):
                try:
                    return os.read(self.io, n)
                except BlockingIOError:
                    pass
                except OSError as err:
                    raise host_error(err) from None
            if file.flags & O_NONBLOCK:
                raise KernelError(Errno.EAGAIN)
            self._wait(POLLIN)

    def swrite(self, file: File, data: bytes | memoryview) -> int:
        """Write to the host, waiting in the dispatcher; all of `data` unless O_NONBLOCK is set.

        Raises EPIPE (with SIGPIPE), EAGAIN, EINTR, and EIO in the background of a terminal.
        """
        if self.tty is not None and self.tty.tostop:
            self.tty.check_change(curlwp())
        done = 0
        total = len(data)
        while True:
            try:
                done += self._write_some(data[done:] if done else data)
            except BrokenPipeError:
                post_sigpipe()
                raise KernelError(Errno.EPIPE) from None
            except OSError as err:
                if done:
                    return done
                raise host_error(err) from None
            if done >= total:
                return done
            if self._head is not None:
                self._head.drained()
            if file.flags & O_NONBLOCK:
                if done:
                    return done
                raise KernelError(Errno.EAGAIN)
            try:
                self._wait(POLLOUT)
            except KernelError:
                if done:
                    return done
                raise

    def _write_some(self, data: bytes | memoryview) -> int:
        """Write what the host takes now, maybe nothing."""
        try:
            if self._sock is not None:
                return self._sock.send(data, self._dontwait)
            if self._nonblock or self.type == VREG:
                return os.write(self.io, data)
            done = 0
            for piece in pieces(data, _SAFE_PIECE):
                if not self._ready(POLLOUT):
                    break
                done += os.write(self.io, piece)
            return done
        except BlockingIOError:
            return 0

    # -- regular files --------------------------------------------------------------------------

    def read(self, off: int, n: int) -> bytes:
        """Read at a position, leaving the host's alone."""
        try:
            return os.pread(self.io, n, off)
        except OSError as err:
            raise host_error(err) from None

    def write(self, off: int, data: bytes | memoryview) -> int:
        """Write at a position, leaving the host's alone."""
        try:
            return os.pwrite(self.io, data, off)
        except OSError as err:
            raise host_error(err) from None

    def truncate(self, size: int) -> None:
        """Set the length of the host's file."""
        try:
            os.ftruncate(self.io, size)
        except OSError as err:
            raise host_error(err) from None

    def seek_check(self) -> bool:
        """Return whether it is a regular file, which has a position."""
        return self.type == VREG

    def seek(self, file: File, off: int, whence: int) -> int:  # noqa: ARG002
        """Set the host's position."""
        how = {SEEK_SET: os.SEEK_SET, SEEK_CUR: os.SEEK_CUR, SEEK_END: os.SEEK_END}.get(whence)
        if how is None:
            raise KernelError(Errno.EINVAL)
        try:
            return os.lseek(self.io, off, how)
        except OSError as err:
            raise host_error(err) from None

    # -- the rest -------------------------------------------------------------------------------

    def poll(self, file: File, events: int) -> tuple[int, Pollhead | None]:
        """Ask the host."""
        if self.type == VREG:
            return super().poll(file, events)
        ready = self._ready(events & (POLLIN | POLLOUT)) & _HOST_BITS
        if ready & POLLIN:
            ready |= POLLRDNORM
        if self._head is None and self.disp is not None:
            self._head = FdPollhead(self.disp, self.io)
        return ready & (events | POLLERR | POLLHUP), self._head

    def ioctl(self, file: File, cmd: int, arg: Any) -> Any:
        """FIONREAD is asked of the host, the rest goes to `tty`. Raises ENOTTY."""
        if cmd == FIONREAD and self.type != VREG:
            try:
                raw = fcntl.ioctl(self.io, termios.FIONREAD, bytes(4))
            except OSError as err:
                raise host_error(err) from None
            return struct.unpack("i", raw)[0]
        if self.tty is not None:
            return self.tty.ioctl(file, cmd, arg)
        raise KernelError(Errno.ENOTTY)


def open_host_fd(vfs: Vfs, fd: int, disp: Dispatcher | None, cred: Cred) -> File:
    """Return an open file for the host descriptor `fd`; raises OSError if it is not open.

    Descriptors that share one host file get one vnode only if the caller duplicates the result.
    """
    stream = HostStream(vfs, fd, disp)
    file = File(stream, Name(None, stream.host_name(), stream), stream.flags(), cred)
    stream.open(file)
    return file
