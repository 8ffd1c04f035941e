"""The vnodes of the open files of a pseudo terminal, and of files that have been cut off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lxemu.kernel import termio as t
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import curlwp
from lxemu.kernel.poll import (
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLRDNORM,
    POLLWRNORM,
    Pollhead,
)
from lxemu.kernel.vfs.shadow import PassVnode
from lxemu.kernel.vfs.sigio import OWNER_PGRP, OWNER_PROC

if TYPE_CHECKING:
    from lxemu.kernel.pty import Side
    from lxemu.kernel.vfs.file import File
    from lxemu.kernel.vfs.vnode import Vnode

#: What a file that has been cut off is always ready for: nothing will change.
_ALL = POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLERR | POLLHUP


class PtyVnode(PassVnode):
    """The vnode of the open files of one side; attributes are those of the node that was opened."""

    __slots__ = ("side",)

    opens_itself = True

    def __init__(self, realvp: Vnode, side: Side) -> None:
        super().__init__(realvp)
        self.side = side

    def close(self, file: File) -> None:
        """Close one file of the side."""
        self.side.close(file)

    def seek_check(self) -> bool:
        """Return false: a terminal has no position."""
        return False

    def async_owner(self) -> tuple[int, int]:
        """Return the foreground group, or the caller where there is none."""
        if self.side.fg:
            return OWNER_PGRP, self.side.fg
        return OWNER_PROC, curlwp().proc.pid

    def sread(self, file: File, n: int) -> bytes:
        """Read from the side."""
        return self.side.read(file, n)

    def swrite(self, file: File, data: bytes | memoryview) -> int:
        """Write to the side."""
        return self.side.write(file, data)

    def poll(self, file: File, events: int) -> tuple[int, Pollhead | None]:  # noqa: ARG002
        """Poll the side."""
        return self.side.poll(events)

    def ioctl(self, file: File, cmd: int, arg: Any) -> Any:
        """Do a request at the side."""
        return self.side.ioctl(file, cmd, arg)


class HungVnode(PtyVnode):
    """What an open file leads to after a hangup: the end of file, and EIO."""

    __slots__ = ()

    def sread(self, file: File, n: int) -> bytes:  # noqa: ARG002
        """Return the end of file."""
        return b""

    def swrite(self, file: File, data: bytes | memoryview) -> int:  # noqa: ARG002
        """Fail with EIO."""
        raise KernelError(Errno.EIO)

    def poll(self, file: File, events: int) -> tuple[int, Pollhead | None]:  # noqa: ARG002
        """Be ready for all."""
        return _ALL & (events | POLLERR | POLLHUP), None

    def ioctl(self, file: File, cmd: int, arg: Any) -> Any:  # noqa: ARG002
        """Fail with EIO, or ENOTTY for a change of the foreground group."""
        raise KernelError(Errno.ENOTTY if cmd == t.TIOCSPGRP else Errno.EIO)
