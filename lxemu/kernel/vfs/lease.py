"""Leases: a process is told before another opens or truncates a file it has leased (fcntl(2)).

The one who breaks a lease waits until the holder has given it up or has changed it to one that does
not conflict, at most the zone's `lease_break_time`; then the lease is taken away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.cred import PRIV_FILE_OWNER
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import curlwp
from lxemu.kernel.signal import POLL_MSG
from lxemu.kernel.vfs.fcntl import F_RDLCK, F_UNLCK, F_WRLCK, FREAD, FWRITE
from lxemu.kernel.vfs.locks import LockList, locks_of
from lxemu.kernel.vfs.sigio import OWNER_PROC, send_sigio, set_owner
from lxemu.kernel.vfs.vnode import VREG, Vnode

if TYPE_CHECKING:
    from lxemu.kernel.proc import Proc
    from lxemu.kernel.vfs.file import File

_SECOND = 1_000_000_000


class Lease:
    """A lease of `kind` (F_RDLCK, F_WRLCK); `fd` is told in the signal.

    `target` is what it must become while somebody waits, until `deadline` (hrtime ns).
    """

    __slots__ = ("deadline", "fd", "kind", "target")

    def __init__(self, kind: int, fd: int) -> None:
        self.kind = kind
        self.fd = fd
        self.target = kind
        self.deadline = 0


def getlease(file: File) -> int:
    """Return the kind of lease that `file` holds, or is to be left with while it is broken."""
    locks = file.vnode.locks
    lease = locks.leases.get(file) if locks is not None else None
    return lease.target if lease is not None else F_UNLCK


def setlease(proc: Proc, file: File, fd: int, kind: int) -> None:
    """Take, change or (F_UNLCK) give up a lease.

    Raises EACCES (not the owner), EINVAL (no regular file), EAGAIN (in use in a conflicting way).
    """
    vnode = file.vnode
    if kind == F_UNLCK:
        locks = vnode.locks
        if locks is None or locks.leases.pop(file, None) is None:
            raise KernelError(Errno.EAGAIN)
        _ended(locks, file)
        return
    cred = proc.cred
    if cred.fsuid != vnode.getattr(cred).uid and not cred.crhas(PRIV_FILE_OWNER):
        raise KernelError(Errno.EACCES)
    if vnode.type != VREG or kind not in (F_RDLCK, F_WRLCK):
        raise KernelError(Errno.EINVAL)
    _check_users(proc, file, kind)
    locks = locks_of(vnode)
    for holder, lease in locks.leases.items():
        if holder is not file and (kind == F_WRLCK or lease.target != lease.kind):
            raise KernelError(Errno.EAGAIN)
    lease = locks.leases.get(file) or Lease(kind, fd)
    lease.kind = lease.target = kind
    lease.fd = fd
    lease.deadline = 0
    locks.leases[file] = lease
    file.ofd_locks = True
    if file.async_owner is None:
        set_owner(proc, file, OWNER_PROC, proc.pid)
    locks.cv.broadcast()


def _ended(locks: LockList, file: File) -> None:
    """Let those who waited go on; with its lease a file loses its owner and signal."""
    file.async_owner = None
    file.async_sig = 0
    locks.cv.broadcast()


def _check_users(proc: Proc, file: File, kind: int) -> None:
    """Refuse a read lease of what is open for writing, a write lease of what is open at all."""
    vnode = file.vnode
    if kind == F_RDLCK:
        if vnode.wcount > 0:
            raise KernelError(Errno.EAGAIN)
        return
    for other in proc.machine.procs.values():
        if other.zombie:
            continue
        for _fd, user in other.files.items():  # noqa: PERF102 -- no dict
            if user is not file and user.vnode is vnode and user.flags & (FREAD | FWRITE):
                raise KernelError(Errno.EAGAIN)


def break_leases(vnode: Vnode, *, write: bool, wait: bool) -> None:
    """Have conflicting leases of `vnode` given up before it is opened or truncated.

    Without `wait` it only asks, and raises EAGAIN. Raises Interrupted.
    """
    locks = vnode.locks
    assert locks is not None
    machine = curlwp().machine
    while True:
        deadline = 0
        for file, lease in list(locks.leases.items()):
            if lease.kind == F_RDLCK and not write:
                continue
            due = _ask(locks, file, lease, write=write, now=machine.clock.hrtime())
            if due:
                deadline = min(deadline, due) if deadline else due
        if not deadline:
            return
        if not wait:
            raise KernelError(Errno.EAGAIN)
        locks.cv.wait_sig_until(deadline)


def _ask(locks: LockList, file: File, lease: Lease, *, write: bool, now: int) -> int:
    """Tell the holder once; take the lease away when its time is up. Returns when that is."""
    target = F_UNLCK if write else F_RDLCK
    if lease.deadline and lease.target != lease.kind and now >= lease.deadline:
        _downgrade(locks, file, lease)
        if lease.kind == F_UNLCK or not (write or lease.kind == F_WRLCK):
            return 0
    if lease.target not in (target, F_UNLCK):
        lease.target = target
        lease.deadline = now + curlwp().proc.zone.lease_break_time * _SECOND
        send_sigio(file, lease.fd, POLL_MSG)
    return lease.deadline


def _downgrade(locks: LockList, file: File, lease: Lease) -> None:
    lease.kind = lease.target
    lease.deadline = 0
    if lease.kind == F_UNLCK:
        locks.leases.pop(file, None)
        _ended(locks, file)
