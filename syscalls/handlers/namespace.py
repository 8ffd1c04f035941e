"""Namespaces: unshare(2), setns(2), and what clone(2) asks of them."""

from __future__ import annotations

from lxemu.kernel import nsops
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.ns import namespaces_of
from lxemu.kernel.proc import Proc
from lxemu.kernel.unshare import unshare as kernel_unshare
from syscalls.abi import CloneFlags, Fd, Int, syscall
from syscalls.cloneflags import (
    LX_CLONE_FILES,
    LX_CLONE_FS,
    LX_CLONE_NEW_ANY,
    LX_CLONE_NEWCGROUP,
    LX_CLONE_NEWIPC,
    LX_CLONE_NEWNET,
    LX_CLONE_NEWNS,
    LX_CLONE_NEWPID,
    LX_CLONE_NEWTIME,
    LX_CLONE_NEWUSER,
    LX_CLONE_NEWUTS,
    LX_CLONE_SIGHAND,
    LX_CLONE_SYSVSEM,
    LX_CLONE_THREAD,
    LX_CLONE_VM,
)
from syscalls.fs.nsfs import NsVnode
from syscalls.handlers.misc import unsupported

_WANTED = (
    (LX_CLONE_NEWNS, nsops.NEW_MOUNTS),
    (LX_CLONE_NEWUTS, nsops.NEW_NAMES),
    (LX_CLONE_NEWIPC, nsops.NEW_IPC),
    (LX_CLONE_NEWNET, nsops.NEW_NET),
    (LX_CLONE_NEWCGROUP, nsops.NEW_CGROUP),
    (LX_CLONE_NEWTIME, nsops.NEW_TIME),
    (LX_CLONE_NEWPID, nsops.NEW_PIDS),
    (LX_CLONE_NEWUSER, nsops.NEW_USERS),
)
_CONTEXT = LX_CLONE_VM | LX_CLONE_FS | LX_CLONE_FILES | LX_CLONE_SIGHAND | LX_CLONE_THREAD


def new_views(lwp: Lwp, flags: int) -> nsops.NewViews | None:
    """Make what CLONE_NEW* flags ask for; None if they ask for nothing. Raises EPERM, EINVAL."""
    if not flags & LX_CLONE_NEW_ANY:
        return None
    want = 0
    for lx, ours in _WANTED:
        if flags & lx:
            want |= ours
    return nsops.make_views(lwp.proc, want)


@syscall
def unshare(lwp: Lwp, flags: CloneFlags) -> int:
    """Stop sharing a part of the process context (unshare(2)): EINVAL, EPERM, ENOSPC.

    Deviation: the threads of a process share their views, so one with several threads cannot leave
    any.
    """
    if flags & ~(LX_CLONE_NEW_ANY | _CONTEXT | LX_CLONE_SYSVSEM):
        raise KernelError(Errno.EINVAL)
    _check_unshare(lwp, flags)
    if flags & LX_CLONE_NEW_ANY and len(lwp.proc.lwps) > 1:
        raise unsupported(lwp, "unshare", "namespaces of one thread")
    views = new_views(lwp, flags)
    fs = flags & (LX_CLONE_FS | LX_CLONE_NEWNS | LX_CLONE_NEWUSER) != 0
    if fs or flags & LX_CLONE_FILES:
        kernel_unshare(lwp, files=flags & LX_CLONE_FILES != 0, fs=fs)
    if views is not None:
        views.give(lwp.proc)
    return 0


def _check_unshare(lwp: Lwp, flags: int) -> None:
    """EINVAL for what would have to be unshared with others (check_unshare_flags)."""
    proc, one = lwp.proc, len(lwp.proc.lwps) == 1
    if flags & (LX_CLONE_THREAD | LX_CLONE_NEWUSER | LX_CLONE_SIGHAND | LX_CLONE_VM) and not one:
        raise KernelError(Errno.EINVAL)
    others = (other for other in lwp.machine.procs.values() if other is not proc)
    shared = any(other.sigacts is proc.sigacts for other in others)
    if flags & (LX_CLONE_SIGHAND | LX_CLONE_VM) and shared:
        raise KernelError(Errno.EINVAL)
    if flags & LX_CLONE_VM and lwp.machine.as_shared(proc):
        raise KernelError(Errno.EINVAL)


#: Kind of namespace -> the member of `Namespaces`; mounts and users have ways of their own.
_MEMBERS = {
    LX_CLONE_NEWUTS: "uts",
    LX_CLONE_NEWIPC: "ipc",
    LX_CLONE_NEWNET: "net",
    LX_CLONE_NEWCGROUP: "cgroup",
    LX_CLONE_NEWTIME: "time",
}


@syscall
def setns(lwp: Lwp, fd: Fd, nstype: Int) -> int:
    """Join the namespace of a descriptor, or those of a pidfd's process (setns(2)).

    EBADF, EINVAL, EPERM, ESRCH.
    """
    file = lwp.proc.files.get(fd)
    vnode = file.vnode
    if isinstance(vnode, NsVnode):
        if nstype and nstype != vnode.kind:
            raise KernelError(Errno.EINVAL)
        _join(lwp.proc, vnode.kind, vnode.space)
        return 0
    target: Proc | None = getattr(vnode, "proc", None)
    if target is None or not hasattr(vnode, "ns_source"):
        raise KernelError(Errno.EINVAL)
    if not nstype or nstype & ~LX_CLONE_NEW_ANY:
        raise KernelError(Errno.EINVAL)
    theirs = namespaces_of(target)
    if nstype & LX_CLONE_NEWUSER:
        _join(lwp.proc, LX_CLONE_NEWUSER, target.cred.space)
    if nstype & LX_CLONE_NEWPID:
        _join(lwp.proc, LX_CLONE_NEWPID, target.pidspace)
    for kind, member in (*_MEMBERS.items(), (LX_CLONE_NEWNS, "mounts")):
        if nstype & kind:
            _join(lwp.proc, kind, getattr(theirs, member))
    return 0


def _join(proc: Proc, kind: int, space: object) -> None:
    if kind == LX_CLONE_NEWNS:
        nsops.join_mounts(proc, space)  # type: ignore[arg-type]
    elif kind == LX_CLONE_NEWPID:
        nsops.join_pids(proc, space)  # type: ignore[arg-type]
    elif kind == LX_CLONE_NEWUSER:
        nsops.join_users(proc, space)  # type: ignore[arg-type]
    elif kind in _MEMBERS:
        nsops.join_space(proc, _MEMBERS[kind], space)  # type: ignore[arg-type]
    else:
        raise KernelError(Errno.EINVAL)
