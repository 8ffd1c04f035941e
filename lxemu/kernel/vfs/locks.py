"""Advisory locks: of processes and open files over ranges, and of open files over whole files.

fcntl(2) record locks belong to a descriptor table and go when the process closes any descriptor of
the file; OFD locks and flock(2) locks belong to the open file. The two kinds do not see each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

from lxemu.kernel.cv import CondVar
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.vfs.fcntl import F_RDLCK, F_UNLCK, F_WRLCK, MAXOFFSET

if TYPE_CHECKING:
    from lxemu.kernel.vfs.fdtable import FdTable
    from lxemu.kernel.vfs.file import File
    from lxemu.kernel.vfs.lease import Lease
    from lxemu.kernel.vfs.vnode import Vnode

#: End of a range that reaches to the end of the file, however long it gets.
TO_END = MAXOFFSET


class Lock(NamedTuple):
    """A lock on [start, end]; `pid` is whom F_GETLK tells of, -1 for an open file's lock."""

    owner: FdTable | File
    kind: int
    start: int
    end: int
    pid: int


class LockList:
    """The locks on one vnode."""

    __slots__ = ("cv", "flocks", "leases", "ranges")

    #: Which process waits for which, over all files, to find deadlocks of record locks.
    waiting: ClassVar[dict[FdTable | File, FdTable | File]] = {}

    def __init__(self) -> None:
        self.ranges: list[Lock] = []
        self.flocks: dict[File, int] = {}
        self.leases: dict[File, Lease] = {}
        self.cv = CondVar()

    # -- ranges ---------------------------------------------------------------------------------

    def blocker(self, want: Lock) -> Lock | None:
        """Return the first lock that stands in the way of `want`, or None."""
        for lock in self.ranges:
            if (
                lock.owner is not want.owner
                and lock.start <= want.end
                and want.start <= lock.end
                and (lock.kind == F_WRLCK or want.kind == F_WRLCK)
            ):
                return lock
        return None

    def set(self, want: Lock, *, wait: bool) -> None:
        """Put `want` in the place of what its owner holds in the range; F_UNLCK only takes away.

        Raises EAGAIN (with `wait` it sleeps instead: EINTR, EDEADLK).
        """
        if want.kind != F_UNLCK:
            while (other := self.blocker(want)) is not None:
                if not wait:
                    raise KernelError(Errno.EAGAIN)
                self._sleep(want, other.owner)
        kept: list[Lock] = []
        for lock in self.ranges:
            if lock.owner is not want.owner or lock.end < want.start or lock.start > want.end:
                kept.append(lock)
                continue
            if lock.start < want.start:
                kept.append(lock._replace(end=want.start - 1))
            if lock.end > want.end:
                kept.append(lock._replace(start=want.end + 1))
        if want.kind != F_UNLCK:
            kept.append(want)
        kept.sort(key=_by_start)
        self.ranges = _joined(kept)
        self.cv.broadcast()

    def _sleep(self, want: Lock, other: FdTable | File) -> None:
        owner = want.owner
        if want.pid < 0:
            # An open file belongs to nobody in particular, so it cannot be known to wait in vain.
            self.cv.wait_sig()
            return
        step: FdTable | File | None = other
        while step is not None:
            if step is owner:
                raise KernelError(Errno.EDEADLK)
            step = self.waiting.get(step)
        self.waiting[owner] = other
        try:
            self.cv.wait_sig()
        finally:
            self.waiting.pop(owner, None)

    # -- whole files ----------------------------------------------------------------------------

    def flock(self, file: File, kind: int, *, wait: bool) -> None:
        """Take, change or (F_UNLCK) drop the lock of an open file (flock(2)).

        A change drops the old lock first, as the reference does. Raises EWOULDBLOCK (EAGAIN),
        EINTR.
        """
        if self.flocks.pop(file, None) is not None:
            self.cv.broadcast()
        if kind == F_UNLCK:
            return
        while self.flocks and (kind == F_WRLCK or F_WRLCK in self.flocks.values()):
            if not wait:
                raise KernelError(Errno.EAGAIN)
            self.cv.wait_sig()
        self.flocks[file] = kind

    # -- release --------------------------------------------------------------------------------

    def release_owner(self, owner: FdTable | File) -> None:
        """Drop every range lock of `owner`."""
        if any(lock.owner is owner for lock in self.ranges):
            self.ranges = [lock for lock in self.ranges if lock.owner is not owner]
            self.cv.broadcast()

    def release_file(self, file: File) -> None:
        """Drop the locks of an open file that is closed, and its lease."""
        if self.leases.pop(file, None) is not None:
            self.cv.broadcast()
        if self.flocks.pop(file, None) is not None:
            self.cv.broadcast()
        self.release_owner(file)


def _by_start(lock: Lock) -> int:
    return lock.start


def _joined(locks: list[Lock]) -> list[Lock]:
    """Join neighbouring locks of one owner and kind."""
    out: list[Lock] = []
    last: dict[int, int] = {}
    for lock in locks:
        at = last.get(id(lock.owner))
        if at is not None:
            before = out[at]
            if before.kind == lock.kind and before.end + 1 >= lock.start:
                out[at] = before._replace(end=max(before.end, lock.end))
                continue
        last[id(lock.owner)] = len(out)
        out.append(lock)
    return out


def locks_of(vnode: Vnode) -> LockList:
    """Return the lock list of a vnode, making it."""
    if vnode.locks is None:
        vnode.locks = LockList()
    return vnode.locks


def flock(file: File, kind: int, *, wait: bool) -> None:
    """Lock an open file as a whole (flock(2)); `kind` is F_RDLCK, F_WRLCK or F_UNLCK.

    Raises EAGAIN, EINTR.
    """
    file.ofd_locks = True
    locks_of(file.vnode).flock(file, kind, wait=wait)


def setlk(
    file: File, owner: FdTable | File, kind: int, start: int, end: int, pid: int, *, wait: bool
) -> None:
    """Set a record lock on [start, end].

    `owner` is the descriptor table, or the file itself for an OFD lock.
    Raises EAGAIN, EINTR, EDEADLK.
    """
    if owner is file:
        file.ofd_locks = True
    locks_of(file.vnode).set(Lock(owner, kind, start, end, pid), wait=wait)


def getlk(file: File, owner: FdTable | File, kind: int, start: int, end: int) -> Lock | None:
    """Return a lock that would stand in the way, or None (F_GETLK)."""
    locks = file.vnode.locks
    if locks is None or kind not in (F_RDLCK, F_WRLCK):
        return None
    return locks.blocker(Lock(owner, kind, start, end, 0))
