"""Open files on their way through sockets (SCM_RIGHTS), and the cycles that they can form.

A message that carries files owns a reference of each. A socket whose only references are in such
messages can be reached by nobody when the messages themselves wait in sockets of that kind; when a
socket is closed, and when files are sent, those are looked for and emptied (unix(7)).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lxemu.kernel.net.unix import UnixSonode
    from lxemu.kernel.vfs.file import File


class Rights:
    """What is in flight in one network: `counts` by socket file, `carriers` by receiving socket."""

    __slots__ = ("carriers", "counts", "users")

    def __init__(self) -> None:
        self.counts: dict[File, int] = {}
        self.carriers: dict[UnixSonode, int] = {}
        #: Files in flight by the uid of their sender.
        self.users: dict[int, int] = {}

    def sent(self, to: UnixSonode, files: Iterable[File], uid: int) -> None:
        """Note files that wait in the queue of `to`."""
        from lxemu.kernel.net.unix import UnixSonode

        for file in files:
            self.users[uid] = self.users.get(uid, 0) + 1
            if isinstance(file.vnode, UnixSonode):
                self.counts[file] = self.counts.get(file, 0) + 1
                self.carriers[to] = self.carriers.get(to, 0) + 1

    def taken(self, to: UnixSonode, files: Iterable[File], uid: int) -> None:
        """Note that files have left the queue of `to`."""
        from lxemu.kernel.net.unix import UnixSonode

        for file in files:
            _less(self.users, uid)
            if isinstance(file.vnode, UnixSonode):
                _less(self.counts, file)
                _less(self.carriers, to)

    def collect(self) -> None:
        """Empty the sockets that only messages in each other's queues refer to."""
        lost: set[UnixSonode] = {
            file.vnode  # type: ignore[misc]
            for file, count in self.counts.items()
            if file.refcnt == count
        }
        if not lost:
            return
        # An embryo has no file of its own: it is reached through its listener.
        alive = [so for so in self.carriers if (so.listener or so) not in lost]
        while alive:
            for file in alive.pop().files_in_flight():
                so = file.vnode
                if so in lost:
                    lost.discard(so)
                    alive.append(so)
        for so in lost:
            so.drop_files()


def _less(counts: dict[Any, int], key: Any) -> None:
    left = counts[key] - 1
    if left:
        counts[key] = left
    else:
        del counts[key]
