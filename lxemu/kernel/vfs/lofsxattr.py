"""Extended attributes of files of the host: users' own on the host, the rest in the index.

What the host's user may not set, or would mean something to the host, never gets there.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.vfs.host import host_error

if TYPE_CHECKING:
    from lxemu.kernel.vfs.lofs import LofsNode

_USER = b"user."


def getxattr(node: LofsNode, name: bytes) -> bytes:
    """Return the value of an attribute. Raises ENODATA, EOPNOTSUPP."""
    if not name.startswith(_USER):
        values = dict(_recorded(node))
        if name not in values:
            raise KernelError(Errno.ENODATA)
        return values[name]
    try:
        with node.reached() as path:
            return os.getxattr(path, name)
    except OSError as err:
        raise host_error(err) from None


def setxattr(node: LofsNode, name: bytes, value: bytes, *, create: bool, replace: bool) -> None:
    """Set an attribute. Raises EEXIST, ENODATA, ENOSPC, EOPNOTSUPP."""
    node.lofs.check_writable()
    if not name.startswith(_USER):
        values = dict(_recorded(node))
        if create and name in values:
            raise KernelError(Errno.EEXIST)
        if replace and name not in values:
            raise KernelError(Errno.ENODATA)
        values[name] = value
        node.record(xattrs=tuple(values.items()))
        return
    how = (os.XATTR_CREATE if create else 0) | (os.XATTR_REPLACE if replace else 0)
    try:
        with node.reached() as path:
            os.setxattr(path, name, value, how)
    except OSError as err:
        raise host_error(err) from None


def removexattr(node: LofsNode, name: bytes) -> None:
    """Remove an attribute. Raises ENODATA, EOPNOTSUPP."""
    node.lofs.check_writable()
    if not name.startswith(_USER):
        values = dict(_recorded(node))
        if values.pop(name, None) is None:
            raise KernelError(Errno.ENODATA)
        node.record(xattrs=tuple(values.items()))
        return
    try:
        with node.reached() as path:
            os.removexattr(path, name)
    except OSError as err:
        raise host_error(err) from None


def listxattr(node: LofsNode) -> list[bytes]:
    """Return the names of all attributes; none where the host has no such thing."""
    try:
        with node.reached() as path:
            found = [os.fsencode(name) for name in os.listxattr(path)]
    except (OSError, KernelError):
        found = []
    own = [name for name in found if name.startswith(_USER)]
    if node.lofs.meta is not None:
        own += [name for name, _ in _recorded(node)]
    return own


def _recorded(node: LofsNode) -> tuple[tuple[bytes, bytes], ...]:
    """Return what the index holds of a file. Raises EOPNOTSUPP without one."""
    index = node.lofs.meta
    if index is None:
        raise KernelError(Errno.EOPNOTSUPP)
    meta = index.get(node.key, *node.where())
    return meta.xattrs if meta is not None else ()
