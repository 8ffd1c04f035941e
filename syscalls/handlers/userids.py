"""Ids as a process sees them: those of its users' space (user_namespaces(7))."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.userns import outside
from syscalls.abi import NO_ID

if TYPE_CHECKING:
    from lxemu.kernel.cred import Cred


def shown_uid(cred: Cred, uid: int) -> int:
    """Return the number of a user to a process with `cred`."""
    return uid if cred.space is None else cred.space.uid_inside(uid)


def shown_gid(cred: Cred, gid: int) -> int:
    """Return the number of a group to a process with `cred`."""
    return gid if cred.space is None else cred.space.gid_inside(gid)


def zone_uid(cred: Cred, uid: int) -> int:
    """Return the zone's id of a user that a process names; -1 stays. Raises EINVAL."""
    if cred.space is None or uid == NO_ID:
        return uid
    found = outside(cred.space.uids, uid)
    if found is None:
        raise KernelError(Errno.EINVAL)
    return found


def zone_gid(cred: Cred, gid: int) -> int:
    """Return the zone's id of a group that a process names; -1 stays. Raises EINVAL."""
    if cred.space is None or gid == NO_ID:
        return gid
    found = outside(cred.space.gids, gid)
    if found is None:
        raise KernelError(Errno.EINVAL)
    return found
