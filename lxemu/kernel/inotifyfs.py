"""Queues of file events (illumos io/inotify.c, inotify(7))."""

from __future__ import annotations

import struct
from collections import deque
from typing import TYPE_CHECKING

from lxemu.kernel.anonfs import AnonVnode
from lxemu.kernel.cv import CondVar
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.poll import POLLIN, POLLRDNORM, Pollhead
from lxemu.kernel.vfs.fcntl import FIONREAD, O_NONBLOCK
from lxemu.kernel.vfs.notify import IN_IGNORED, IN_Q_OVERFLOW, Watch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from lxemu.kernel.proc import Proc
    from lxemu.kernel.vfs.file import File
    from lxemu.kernel.vfs.vnode import Vfs, Vnode
    from lxemu.kernel.zone import Zone

_EVENT = struct.Struct("=iIII")


class EventFile(AnonVnode):
    """A set of watches, and the events of them that nobody has read.

    `uid` is the user whom instances and watches are counted against. `queued` holds (wd, mask,
    cookie, padded name).
    """

    __slots__ = ("_next_wd", "_zone", "limit", "pollhead", "queued", "readers", "uid", "watches_of")

    label = b"anon_inode:inotify"

    def __init__(self, vfs: Vfs, zone: Zone, uid: int) -> None:
        super().__init__(vfs)
        count = zone.event_users.get(uid, (0, 0))
        if count[0] >= zone.inotify_max_user_instances:
            raise KernelError(Errno.EMFILE)
        zone.event_users[uid] = (count[0] + 1, count[1])
        self._zone = zone
        self.uid = uid
        self.limit = zone.inotify_max_queued_events
        self._next_wd = 1
        self.watches_of: dict[int, Watch] = {}
        self.queued: deque[tuple[int, int, int, bytes]] = deque()
        self.readers = CondVar()
        self.pollhead = Pollhead()

    @property
    def procs(self) -> Mapping[int, Proc]:
        """The processes that may hold a watched file."""
        return self._zone.procs

    def _account(self, instances: int, watches: int) -> None:
        before = self._zone.event_users[self.uid]
        self._zone.event_users[self.uid] = (before[0] + instances, before[1] + watches)

    # -- watches --------------------------------------------------------------------------------

    def find(self, vnode: Vnode) -> Watch | None:
        """Return the watch of `vnode`, if there is one."""
        for watch in vnode.watchers or ():
            if watch.queue is self:
                return watch
        return None

    def watch(self, vnode: Vnode, mask: int) -> int:
        """Watch a file that is not watched yet; return the number of the watch. Raises ENOSPC."""
        if self._zone.event_users[self.uid][1] >= self._zone.inotify_max_user_watches:
            raise KernelError(Errno.ENOSPC)
        wd, self._next_wd = self._next_wd, self._next_wd + 1
        self.watches_of[wd] = Watch(self, wd, vnode, mask)
        self._account(0, 1)
        return wd

    def unwatch(self, wd: int) -> None:
        """End a watch. Raises EINVAL."""
        watch = self.watches_of.get(wd)
        if watch is None:
            raise KernelError(Errno.EINVAL)
        self.forget(watch)

    def forget(self, watch: Watch) -> None:
        """End a watch, and say so in the queue."""
        if self.watches_of.pop(watch.wd, None) is not None:
            watch.drop()
            self._account(0, -1)
            self.post(watch.wd, IN_IGNORED)

    # -- events ---------------------------------------------------------------------------------

    def post(self, wd: int, mask: int, name: bytes = b"", cookie: int = 0) -> None:
        """Queue an event, unless it is the same as the last one; a full queue says so, once."""
        if name:
            name = name.ljust((len(name) // 16 + 1) * 16, b"\0")
        if self.queued and not mask & IN_IGNORED:
            last = self.queued[-1]
            if (last[0], last[1], last[3]) == (wd, mask, name):
                return
        if len(self.queued) >= self.limit:
            if self.queued[-1][1] != IN_Q_OVERFLOW:
                self.queued.append((-1, IN_Q_OVERFLOW, 0, b""))
            return
        self.queued.append((wd, mask, cookie, name))
        self.readers.signal()
        self.pollhead.wakeup(POLLIN | POLLRDNORM)

    def sread(self, file: File, n: int) -> bytes:
        """Take as many events as `n` bytes hold. Raises EINVAL for none, EAGAIN, EINTR."""
        while not self.queued:
            if file.flags & O_NONBLOCK:
                raise KernelError(Errno.EAGAIN)
            self.readers.wait_sig()
        parts: list[bytes] = []
        while self.queued:
            wd, mask, cookie, name = self.queued[0]
            n -= _EVENT.size + len(name)
            if n < 0:
                break
            parts.append(_EVENT.pack(wd, mask, cookie, len(name)) + name)
            self.queued.popleft()
        if not parts:
            raise KernelError(Errno.EINVAL)
        return b"".join(parts)

    def poll(self, file: File, events: int) -> tuple[int, Pollhead | None]:  # noqa: ARG002
        """Readable when there are events."""
        return events & (POLLIN | POLLRDNORM) if self.queued else 0, self.pollhead

    def ioctl(self, file: File, cmd: int, arg: Any) -> Any:
        """FIONREAD gives the bytes of all events; raises ENOTTY for anything else."""
        if cmd != FIONREAD:
            return super().ioctl(file, cmd, arg)
        return sum(_EVENT.size + len(event[3]) for event in self.queued)

    def close(self, file: File) -> None:  # noqa: ARG002
        """End every watch."""
        for watch in self.watches_of.values():
            watch.drop()
        self._account(-1, -len(self.watches_of))
        self.watches_of.clear()
