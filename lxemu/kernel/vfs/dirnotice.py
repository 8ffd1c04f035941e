"""Signals that tell of changes in an open directory (fcntl(2), F_NOTIFY; illumos has none)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.signal import POLL_MSG
from lxemu.kernel.vfs import notify
from lxemu.kernel.vfs.notify import Watch
from lxemu.kernel.vfs.sigio import OWNER_PROC, send_sigio, set_owner
from lxemu.kernel.vfs.vnode import VDIR

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lxemu.kernel.proc import Proc
    from lxemu.kernel.vfs.file import File

# What to tell of.
DN_ACCESS = 0x1
DN_MODIFY = 0x2
DN_CREATE = 0x4
DN_DELETE = 0x8
DN_RENAME = 0x10
DN_ATTRIB = 0x20
DN_EVENTS = 0x3F
#: Go on telling after the first time.
DN_MULTISHOT = 0x80000000

_MEANING = (
    (notify.IN_ACCESS, DN_ACCESS),
    (notify.IN_MODIFY, DN_MODIFY),
    (notify.IN_CREATE | notify.IN_MOVED_TO, DN_CREATE),
    (notify.IN_DELETE | notify.IN_MOVED_FROM, DN_DELETE),
    (notify.IN_ATTRIB, DN_ATTRIB),
)


class DirNotice:
    """The interest of one open directory; it takes events as a queue does, and signals."""

    __slots__ = ("_cookie", "fd", "file", "procs", "want", "watch")

    def __init__(self, file: File, fd: int, procs: Mapping[int, Proc]) -> None:
        self.file = file
        self.fd = fd
        self.procs = procs
        self.want = 0
        self._cookie = -1
        self.watch = Watch(self, 0, file.vnode, notify.IN_ALL_EVENTS)

    def post(self, wd: int, mask: int, name: bytes = b"", cookie: int = 0) -> None:  # noqa: ARG002
        """Signal an event that is wanted, once unless told to go on."""
        happened = 0
        for events, meaning in _MEANING:
            if mask & events:
                happened |= meaning
        if mask & notify.IN_MOVED_FROM:
            self._cookie = cookie
        elif mask & notify.IN_MOVED_TO and cookie == self._cookie:
            happened |= DN_RENAME
        if not happened & self.want & DN_EVENTS:
            return
        if not self.want & DN_MULTISHOT:
            self.end()
        send_sigio(self.file, self.fd, POLL_MSG)

    def forget(self, watch: Watch) -> None:  # noqa: ARG002
        """Stop: the directory is gone."""
        self.end()

    def end(self) -> None:
        """Stop telling."""
        self.watch.drop()
        self.file.notice = None


def set_notice(proc: Proc, file: File, fd: int, want: int) -> None:
    """Tell the owner of `file`, now `proc`, of the events `want` in the directory; 0 ends it.

    Raises ENOTDIR.
    """
    if file.vnode.type != VDIR:
        raise KernelError(Errno.ENOTDIR)
    notice: DirNotice | None = file.notice
    if not want & DN_EVENTS:
        if notice is not None:
            notice.end()
        return
    if notice is None:
        notice = file.notice = DirNotice(file, fd, proc.machine.procs)
    if file.async_owner is None:
        set_owner(proc, file, OWNER_PROC, proc.pid)
    notice.fd = fd
    notice.want |= want
