"""Opening of what is not a regular file or directory: which object takes the node's place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.vfs.fifofs import open_fifo
from lxemu.kernel.vfs.specfs import open_device
from lxemu.kernel.vfs.vnode import VBLK, VCHR, VFIFO, VSOCK, Vnode

if TYPE_CHECKING:
    from lxemu.kernel.vfs.file import File


def realize(vnode: Vnode, file: File) -> Vnode | None:
    """Open a fifo or device node through `file` and return the vnode to use instead of it.

    A vnode that is its own stream (a clone, a socket without a node) opens itself. Raises ENXIO for
    sockets and devices nobody drives, and what opening the thing raises; may block on a fifo.
    """
    if vnode.type == VFIFO and not vnode.opens_itself:
        return open_fifo(vnode, file)
    if vnode.type in (VCHR, VBLK) and not vnode.opens_itself:
        mount = file.name.mount
        return open_device(vnode, file, mount.table.devices if mount is not None else None)
    if vnode.type == VSOCK and not vnode.opens_itself:
        raise KernelError(Errno.ENXIO)
    return vnode.open(file)
