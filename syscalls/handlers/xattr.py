"""Extended attributes: getxattr(2), setxattr(2), listxattr(2), removexattr(2), in three forms."""

from __future__ import annotations

from lxemu.kernel.cred import PRIV_SYS_ADMIN
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.vfs import notify
from lxemu.kernel.vfs.name import Name
from lxemu.kernel.vfs.ops import check_access, check_changeable, check_writable_fs, is_owner
from lxemu.kernel.vfs.vnode import S_ISVTX, VDIR, VREAD, VREG, VWRITE
from syscalls.abi import (
    AT_FDCWD,
    At,
    Fd,
    OutBuf,
    Path,
    Ptr,
    Size,
    XattrFlags,
    XattrName,
    syscall,
)
from syscalls.handlers.paths import locate, open_file

LX_XATTR_CREATE = 1
LX_XATTR_REPLACE = 2
LX_XATTR_SIZE_MAX = 65536
LX_XATTR_LIST_MAX = 65536
_USER = b"user."
_TRUSTED = b"trusted."
_SECURITY = b"security."
_SYSTEM = b"system."


def _check_name(name: bytes) -> None:
    """Refuse an empty name with ERANGE, one of no known class with EOPNOTSUPP (xattr(7))."""
    if not name:
        raise KernelError(Errno.ERANGE)
    if not name.startswith((_USER, _TRUSTED, _SECURITY, _SYSTEM)):
        raise KernelError(Errno.EOPNOTSUPP)


def _permission(lwp: Lwp, where: Name, name: bytes, *, write: bool) -> None:
    """Check access to an attribute by its class (xattr_permission)."""
    cred = lwp.proc.cred
    if write:
        check_writable_fs(where)
        check_changeable(where.vnode)
    if name.startswith(_SYSTEM):
        # Access control lists are not kept: a mode is all that is checked.
        raise KernelError(Errno.EOPNOTSUPP)
    if name.startswith(_SECURITY):
        if write and not cred.crhas(PRIV_SYS_ADMIN):
            raise KernelError(Errno.EPERM)
        return
    if name.startswith(_TRUSTED):
        if not cred.crhas(PRIV_SYS_ADMIN):
            raise KernelError(Errno.EPERM if write else Errno.ENODATA)
        return
    vnode = where.vnode
    if vnode.type not in (VREG, VDIR):
        raise KernelError(Errno.EPERM if write else Errno.ENODATA)
    if (
        write
        and vnode.type == VDIR
        and vnode.getattr().mode & S_ISVTX
        and not is_owner(vnode, cred)
    ):
        raise KernelError(Errno.EPERM)
    check_access(where, VWRITE if write else VREAD, cred)


def _at(lwp: Lwp, path: bytes) -> Name:
    return locate(lwp, AT_FDCWD, path)


def _at_link(lwp: Lwp, path: bytes) -> Name:
    return locate(lwp, AT_FDCWD, path, At.SYMLINK_NOFOLLOW)


# -- set ------------------------------------------------------------------------------------------


@syscall
def setxattr(
    lwp: Lwp, path: Path, name: XattrName, value: Ptr, size: Size, flags: XattrFlags
) -> int:
    """Set an attribute of a file."""
    return _set(lwp, _at(lwp, path), name, value, size, flags)


@syscall
def lsetxattr(
    lwp: Lwp, path: Path, name: XattrName, value: Ptr, size: Size, flags: XattrFlags
) -> int:
    """Set an attribute of a file, or of a symbolic link itself."""
    return _set(lwp, _at_link(lwp, path), name, value, size, flags)


@syscall
def fsetxattr(lwp: Lwp, fd: Fd, name: XattrName, value: Ptr, size: Size, flags: XattrFlags) -> int:
    """Set an attribute of an open file."""
    return _set(lwp, open_file(lwp, fd).name, name, value, size, flags)


def _set(lwp: Lwp, where: Name, name: bytes, value: int, size: int, flags: int) -> int:
    if not name:
        raise KernelError(Errno.ERANGE)
    if size > LX_XATTR_SIZE_MAX:
        raise KernelError(Errno.E2BIG)
    data = lwp.as_.copyin(value, size) if size else b""
    _check_name(name)
    _permission(lwp, where, name, write=True)
    create, replace = flags & LX_XATTR_CREATE != 0, flags & LX_XATTR_REPLACE != 0
    where.vnode.setxattr(name, data, create=create, replace=replace)
    if notify.watching:
        notify.touched(where, notify.IN_ATTRIB, opened=False)
    return 0


# -- get ------------------------------------------------------------------------------------------


@syscall
def getxattr(lwp: Lwp, path: Path, name: XattrName, value: OutBuf, size: Size) -> int:
    """Read an attribute of a file; a size of 0 asks how long it is."""
    return _get(lwp, _at(lwp, path), name, value, size)


@syscall
def lgetxattr(lwp: Lwp, path: Path, name: XattrName, value: OutBuf, size: Size) -> int:
    """Read an attribute of a file, or of a symbolic link itself."""
    return _get(lwp, _at_link(lwp, path), name, value, size)


@syscall
def fgetxattr(lwp: Lwp, fd: Fd, name: XattrName, value: OutBuf, size: Size) -> int:
    """Read an attribute of an open file."""
    return _get(lwp, open_file(lwp, fd).name, name, value, size)


def _get(lwp: Lwp, where: Name, name: bytes, value: int, size: int) -> int:
    _check_name(name)
    _permission(lwp, where, name, write=False)
    data = where.vnode.getxattr(name)
    return _give(lwp, data, value, size)


def _give(lwp: Lwp, data: bytes, buf: int, size: int) -> int:
    if size:
        if len(data) > size:
            raise KernelError(Errno.ERANGE)
        lwp.as_.copyout(buf, data)
    return len(data)


# -- list -----------------------------------------------------------------------------------------


@syscall
def listxattr(lwp: Lwp, path: Path, list_: OutBuf, size: Size) -> int:
    """Read the names of a file's attributes, each with its NUL."""
    return _list(lwp, _at(lwp, path), list_, size)


@syscall
def llistxattr(lwp: Lwp, path: Path, list_: OutBuf, size: Size) -> int:
    """Read the names of the attributes of a file, or of a symbolic link itself."""
    return _list(lwp, _at_link(lwp, path), list_, size)


@syscall
def flistxattr(lwp: Lwp, fd: Fd, list_: OutBuf, size: Size) -> int:
    """Read the names of the attributes of an open file."""
    return _list(lwp, open_file(lwp, fd).name, list_, size)


def _list(lwp: Lwp, where: Name, buf: int, size: int) -> int:
    trusted = lwp.proc.cred.crhas(PRIV_SYS_ADMIN)
    names = where.vnode.listxattr()
    shown = [name for name in names if trusted or not name.startswith(_TRUSTED)]
    data = b"".join([name + b"\0" for name in shown])
    if len(data) > LX_XATTR_LIST_MAX:
        raise KernelError(Errno.E2BIG)
    return _give(lwp, data, buf, size)


# -- remove ---------------------------------------------------------------------------------------


@syscall
def removexattr(lwp: Lwp, path: Path, name: XattrName) -> int:
    """Remove an attribute of a file."""
    return _remove(lwp, _at(lwp, path), name)


@syscall
def lremovexattr(lwp: Lwp, path: Path, name: XattrName) -> int:
    """Remove an attribute of a file, or of a symbolic link itself."""
    return _remove(lwp, _at_link(lwp, path), name)


@syscall
def fremovexattr(lwp: Lwp, fd: Fd, name: XattrName) -> int:
    """Remove an attribute of an open file."""
    return _remove(lwp, open_file(lwp, fd).name, name)


def _remove(lwp: Lwp, where: Name, name: bytes) -> int:
    _check_name(name)
    _permission(lwp, where, name, write=True)
    where.vnode.removexattr(name)
    if notify.watching:
        notify.touched(where, notify.IN_ATTRIB, opened=False)
    return 0
