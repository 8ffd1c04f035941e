"""Changing attributes, with the rules of who may (illumos secpolicy_vnode_setattr)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.cred import (
    PRIV_FILE_CHOWN,
    PRIV_FILE_FLAG_SET,
    PRIV_FILE_OWNER,
    PRIV_FILE_SETID,
)
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.vfs import notify
from lxemu.kernel.vfs.lease import break_leases
from lxemu.kernel.vfs.ops import check_access, check_changeable, check_writable_fs, is_owner
from lxemu.kernel.vfs.vnode import (
    AT_ATIME,
    AT_GID,
    AT_MODE,
    AT_MTIME,
    AT_SIZE,
    AT_UID,
    FL_APPEND,
    FL_IMMUTABLE,
    S_ISGID,
    S_ISUID,
    VDIR,
    VREG,
    VWRITE,
    Vattr,
)

if TYPE_CHECKING:
    from lxemu.kernel.cred import Cred
    from lxemu.kernel.vfs.name import Name


def vn_chmod(name: Name, mode: int, cred: Cred) -> None:
    """Set the permission bits (chmod(2)). Raises EROFS, EPERM.

    S_ISGID is dropped when the caller is not in the file's group and lacks the privilege.
    """
    check_writable_fs(name)
    vnode = name.vnode
    check_changeable(vnode)
    attr = vnode.getattr(cred)
    if cred.fsuid != attr.uid and not cred.over(attr.uid, attr.gid, PRIV_FILE_OWNER):
        raise KernelError(Errno.EPERM)
    mode &= 0o7777
    may_setid = cred.groupmember(attr.gid) or cred.over(attr.uid, attr.gid, PRIV_FILE_SETID)
    if mode & S_ISGID and not may_setid:
        mode &= ~S_ISGID
    vnode.setattr(AT_MODE, Vattr(mode=mode), cred)
    if notify.watching:
        notify.changed(name, AT_MODE)


def vn_chown(name: Name, uid: int, gid: int, cred: Cred) -> None:
    """Set owner and group, -1 leaving one alone (chown(2)). Raises EROFS, EPERM.

    The set-id bits of a file that is not a directory go, even when nothing else changes.
    """
    check_writable_fs(name)
    vnode = name.vnode
    check_changeable(vnode)
    attr = vnode.getattr(cred)
    if not cred.over(attr.uid, attr.gid, PRIV_FILE_CHOWN):
        owner = cred.fsuid == attr.uid
        if uid != -1 and not (owner and uid == attr.uid):
            raise KernelError(Errno.EPERM)
        if gid != -1 and not (owner and (gid == attr.gid or cred.groupmember(gid))):
            raise KernelError(Errno.EPERM)
    mask = (AT_UID if uid != -1 else 0) | (AT_GID if gid != -1 else 0)
    mode = attr.mode
    if vnode.type != VDIR and mode & (S_ISUID | S_ISGID):
        mode &= ~S_ISUID
        may_setid = cred.groupmember(attr.gid) or cred.over(attr.uid, attr.gid, PRIV_FILE_SETID)
        if mode & 0o010 or not may_setid:
            mode &= ~S_ISGID
        mask |= AT_MODE
    vnode.setattr(mask, Vattr(mode=mode, uid=uid, gid=gid), cred)
    if notify.watching:
        notify.changed(name, mask)


def vn_utimens(name: Name, atime: int | None, mtime: int | None, cred: Cred, *, now: bool) -> None:
    """Set access and modification time in ns, None leaving one alone (utimensat(2)).

    `now` says that both are the current time: then write permission is enough. Raises EROFS,
    EACCES, EPERM.
    """
    if atime is None and mtime is None:
        return
    check_writable_fs(name)
    vnode = name.vnode
    check_changeable(vnode, appending=now)
    if not is_owner(vnode, cred):
        if not now:
            raise KernelError(Errno.EPERM)
        vnode.access(VWRITE, cred)
    mask = (AT_ATIME if atime is not None else 0) | (AT_MTIME if mtime is not None else 0)
    vnode.setattr(mask, Vattr(atime=atime or 0, mtime=mtime or 0), cred)
    if notify.watching:
        notify.changed(name, mask)


def vn_truncate(name: Name, size: int, cred: Cred) -> None:
    """Set the length of a located file (truncate(2)).

    Order: EINVAL (negative), EISDIR, EINVAL (type), EROFS, EACCES, ETXTBSY.
    """
    if size < 0:
        raise KernelError(Errno.EINVAL)
    vnode = name.vnode
    if vnode.type == VDIR:
        raise KernelError(Errno.EISDIR)
    if vnode.type != VREG:
        raise KernelError(Errno.EINVAL)
    check_access(name, VWRITE, cred)
    check_changeable(vnode)
    if vnode.wcount < 0:
        raise KernelError(Errno.ETXTBSY)
    if vnode.locks is not None and vnode.locks.leases:
        break_leases(vnode, write=True, wait=True)
    vnode.truncate(size)
    if notify.watching:
        notify.changed(name, AT_SIZE)
    drop_setid(name, cred)


def vn_set_iflags(name: Name, flags: int, cred: Cred) -> None:
    """Set the FL_* flags of a file. Raises EROFS, ENOTTY, EPERM."""
    check_writable_fs(name)
    vnode = name.vnode
    if not is_owner(vnode, cred):
        raise KernelError(Errno.EPERM)
    binding = FL_IMMUTABLE | FL_APPEND
    if (flags ^ vnode.iflags) & binding and not cred.crhas(PRIV_FILE_FLAG_SET):
        raise KernelError(Errno.EPERM)
    vnode.set_iflags(flags)


def drop_setid(name: Name, cred: Cred) -> None:
    """Take the set-id bits off a file changed by one without the privilege to keep them."""
    vnode = name.vnode
    if vnode.mode & (S_ISUID | S_ISGID) and not cred.crhas(PRIV_FILE_SETID):
        mode = vnode.getattr(cred).mode
        gone = S_ISUID | (S_ISGID if mode & 0o010 else 0)
        vnode.setattr(AT_MODE, Vattr(mode=mode & ~gone), cred)
