"""Leaving and joining views: a new one for a process or its child, or that of another process."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lxemu.kernel.cred import PRIV_PROC_CHROOT, PRIV_SYS_ADMIN, PRIV_ZONE, Cred
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.ns import Namespaces, NodeNames, Space, namespaces_of, next_number
from lxemu.kernel.pidspace import PidSpace
from lxemu.kernel.resgroup import group_of
from lxemu.kernel.userns import UserSpace, ruled
from lxemu.kernel.vfs.mount import MountTable, translated

if TYPE_CHECKING:
    from lxemu.kernel.proc import FsCtx, Proc
    from lxemu.kernel.vfs.mount import Mount

# What to make anew; bits of `want`.
NEW_MOUNTS = 1
NEW_NAMES = 2
NEW_IPC = 4
NEW_NET = 8
NEW_CGROUP = 16
NEW_TIME = 32
NEW_USERS = 64
NEW_PIDS = 128

_SPACES = ((NEW_IPC, "ipc"), (NEW_NET, "net"), (NEW_CGROUP, "cgroup"), (NEW_TIME, "time"))


class NewViews(NamedTuple):
    """Views made, not yet anybody's: `pairs` says which mounts stand for which."""

    ns: Namespaces | None
    cred: Cred
    pairs: dict[Mount, Mount]

    def give(self, proc: Proc) -> None:
        """Let `proc` have them; its directories are then in the new mounts."""
        proc.cred = self.cred
        if self.ns is not None:
            proc.ns = self.ns
            proc.ipc = self.ns.ipc.content
        if self.pairs:
            move_fs(proc.fs, self.pairs)


def move_fs(fs: FsCtx, pairs: dict[Mount, Mount]) -> None:
    """Move root and working directory to the copies of their mounts."""
    fs.root = translated(fs.root, pairs)
    fs.cwd = translated(fs.cwd, pairs)


def make_views(proc: Proc, want: int) -> NewViews:
    """Make the views of `want` for `proc` or a child of it.

    Raises EPERM (no privilege, or no number in the users' space), ENOSPC (too many nested).
    """
    cred = new_users(proc) if want & NEW_USERS else proc.cred
    if not want & ~NEW_USERS:
        return NewViews(None, cred, {})
    if not cred.own(PRIV_SYS_ADMIN):
        raise KernelError(Errno.EPERM)
    old = namespaces_of(proc)
    pairs: dict[Mount, Mount] = {}
    changes: dict[str, object] = {}
    zone, space = proc.zone, cred.space
    if want & NEW_NAMES:
        names = old.uts
        changes["uts"] = NodeNames(next_number(zone), space, names.nodename, names.domainname)
    for bit, member in _SPACES:
        if want & bit:
            content: object = None
            if bit == NEW_IPC:
                # As for the network.
                from lxemu.kernel.ipc.space import IpcSpace

                content = IpcSpace(proc.machine)
            elif bit == NEW_NET:
                # Imported where needed: few programs ever want another network.
                from lxemu.kernel.net.netstack import new_stack

                content = new_stack(proc.machine)
            elif bit == NEW_CGROUP:
                content = group_of(proc)
            changes[member] = Space(next_number(zone), space, content)
    if want & NEW_PIDS:
        if old.children is not proc.pidspace and old.children is not None:
            raise KernelError(Errno.EINVAL)
        parent = proc.pidspace if old.children is None else old.children
        changes["children"] = PidSpace(next_number(zone), space, parent)
    if want & NEW_MOUNTS:
        table, pairs = old.mounts.copy()
        table.number = next_number(zone)
        table.owner = space
        changes["mounts"] = table
    return NewViews(old.with_(**changes), cred, pairs)


def new_users(proc: Proc) -> Cred:
    """Return the credentials of `proc` in a new users' space, all-powerful there."""
    old = proc.cred
    if proc.fs.root is not proc.mounts.root:
        # A root that is not the tree's own is a prison, and a new space would be the key.
        raise KernelError(Errno.EPERM)
    if old.space is not None and not old.space.maps(old.euid, old.egid):
        raise KernelError(Errno.EPERM)
    space = UserSpace(next_number(proc.zone), old.space, old)
    return in_space(old, space)


def in_space(old: Cred, space: UserSpace | None) -> Cred:
    """Return credentials with every privilege in `space`, and none outside."""
    return old.with_(space=space, privs=PRIV_ZONE, permitted=PRIV_ZONE, inheritable=0)


def join_mounts(proc: Proc, table: MountTable) -> None:
    """See another tree from its root on. Raises EPERM, EINVAL (the directories are shared)."""
    cred = proc.cred
    if not (
        ruled(cred, table.owner, PRIV_SYS_ADMIN)
        and cred.own(PRIV_SYS_ADMIN)
        and cred.own(PRIV_PROC_CHROOT)
    ):
        raise KernelError(Errno.EPERM)
    if proc.fs_shared():
        raise KernelError(Errno.EINVAL)
    proc.ns = namespaces_of(proc).with_(mounts=table)
    proc.fs.root = proc.fs.cwd = table.root


def join_space(proc: Proc, member: str, space: Space) -> None:
    """Share a view of another kind. Raises EPERM."""
    if not ruled(proc.cred, space.owner, PRIV_SYS_ADMIN) or not proc.cred.own(PRIV_SYS_ADMIN):
        raise KernelError(Errno.EPERM)
    proc.ns = namespaces_of(proc).with_(**{member: space})
    if member == "ipc":
        proc.ipc = space.content


def join_pids(proc: Proc, space: PidSpace | None) -> None:
    """Have children made in a space, which is that of `proc` or inside it. Raises EPERM, EINVAL."""
    owner = space.owner if space is not None else None
    if not ruled(proc.cred, owner, PRIV_SYS_ADMIN) or not proc.cred.own(PRIV_SYS_ADMIN):
        raise KernelError(Errno.EPERM)
    above = space
    while above is not None and above is not proc.pidspace:
        above = above.parent
    if above is not proc.pidspace:
        raise KernelError(Errno.EINVAL)
    proc.ns = namespaces_of(proc).with_(children=space)


def join_users(proc: Proc, space: UserSpace | None) -> None:
    """Enter a users' space. Raises EINVAL (already there, or with threads), EPERM."""
    if space is proc.cred.space or len(proc.lwps) > 1 or proc.fs_shared():
        raise KernelError(Errno.EINVAL)
    if not ruled(proc.cred, space, PRIV_SYS_ADMIN):
        raise KernelError(Errno.EPERM)
    proc.cred = in_space(proc.cred, space)
