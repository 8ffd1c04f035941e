"""Vnodes that stand before another one: a fifo or device has its attributes on some file system.

illumos calls them fifonode and snode, with `realvp` behind. While anything holds one, its real
vnode leads to it, so that all who open the node meet in the same fifo or device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import ref

from lxemu.kernel.vfs.vnode import Vattr, Vnode

if TYPE_CHECKING:
    from lxemu.kernel.cred import Cred


class PassVnode(Vnode):
    """Passes what concerns attributes to `realvp`."""

    __slots__ = ("realvp",)

    def __init__(self, realvp: Vnode) -> None:
        super().__init__(realvp.vfs, realvp.type, realvp.mode)
        self.realvp = realvp

    def getattr(self, cred: Cred | None = None) -> Vattr:
        """Return the attributes of the node."""
        return self.realvp.getattr(cred)

    def setattr(self, mask: int, attr: Vattr, cred: Cred) -> None:
        """Set attributes of the node."""
        self.realvp.setattr(mask, attr, cred)

    def access(self, want: int, cred: Cred) -> None:
        """Check permission at the node."""
        self.realvp.access(want, cred)

    def getxattr(self, name: bytes) -> bytes:
        """Return an attribute of the node."""
        return self.realvp.getxattr(name)

    def setxattr(self, name: bytes, value: bytes, *, create: bool, replace: bool) -> None:
        """Set an attribute of the node."""
        self.realvp.setxattr(name, value, create=create, replace=replace)

    def removexattr(self, name: bytes) -> None:
        """Remove an attribute of the node."""
        self.realvp.removexattr(name)

    def listxattr(self) -> list[bytes]:
        """Return the attributes of the node."""
        return self.realvp.listxattr()


class ShadowVnode(PassVnode):
    """A vnode that its real vnode leads to."""

    __slots__ = ()

    def __init__(self, realvp: Vnode) -> None:
        super().__init__(realvp)
        realvp.stream = ref(self)


def shadow_of(vnode: Vnode) -> ShadowVnode | None:
    """Return the live shadow of a node, or None."""
    stream = vnode.stream() if isinstance(vnode.stream, ref) else None
    return stream if isinstance(stream, ShadowVnode) else None
