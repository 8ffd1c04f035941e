"""Objects that only descriptors name: pipes, memory files, event counters and event queues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.vfs.fcntl import FREAD, FWRITE
from lxemu.kernel.vfs.file import File
from lxemu.kernel.vfs.name import Name
from lxemu.kernel.vfs.tmpfs import Tmpfs
from lxemu.kernel.vfs.vnode import VCHR, Vattr, Vfs, Vnode, makedev

if TYPE_CHECKING:
    from lxemu.kernel.clock import Clock
    from lxemu.kernel.cred import Cred
    from lxemu.kernel.mm.page import PhysMem

# Device numbers of the file systems that hold the objects.
_FSID_MEMORY = makedev(0, 1)
_FSID_ANON = makedev(0, 15)


class AnonFs(Vfs):
    """The file system of objects that only descriptors name: event counters and event queues."""

    name = "anon_inodefs"
    #: Node number of the last object that has one of its own; the others share number 1.
    last_node = 1023

    def next_node(self) -> int:
        """Return a node number that nothing has had."""
        self.last_node += 1
        return self.last_node

    def root(self) -> Vnode:
        """There is no tree; raises ENOENT."""
        raise KernelError(Errno.ENOENT)


class AnonVnode(Vnode):
    """A stream that has no name; `label` is what a listing of descriptors shows for it."""

    __slots__ = ("created",)

    label = b"anon_inode:[none]"

    def __init__(self, vfs: Vfs) -> None:
        super().__init__(vfs, VCHR, 0o600)
        self.created = vfs.now()

    def getattr(self, cred: Cred | None = None) -> Vattr:  # noqa: ARG002
        """Return attributes without a file type, as anonymous objects have none."""
        now = self.created
        return Vattr(
            mode=0o600, fsid=self.vfs.fsid, nodeid=1, nlink=1, atime=now, mtime=now, ctime=now
        )

    def fsync(self) -> None:
        """Raise EINVAL: there is nothing to write out."""
        raise KernelError(Errno.EINVAL)


class AnonFiles:
    """What a machine needs to make objects without names."""

    def __init__(self, phys: PhysMem, clock: Clock) -> None:
        self.memory = Tmpfs(phys, _FSID_MEMORY, now=clock.realtime)
        self.objects = AnonFs(_FSID_ANON, now=clock.realtime)

    def open(self, vnode: AnonVnode, flags: int, cred: Cred, mode: int = FREAD | FWRITE) -> File:
        """Return an open file of a fresh object; `flags` are status flags."""
        name = Name(None, vnode.label, vnode)
        return File(vnode, name, flags | mode, cred)

    def memory_file(self, label: bytes, mode: int, flags: int, cred: Cred, seals: int) -> File:
        """Return an open file in memory that has no name; `label` is what a listing shows."""
        from lxemu.kernel.memfile import MemFile

        vnode = MemFile(self.memory, mode, cred, seals)
        name = Name(None, label, vnode)
        name.unlinked = True
        return File(vnode, name, flags | FREAD | FWRITE, cred)


def anon_files(machine: Any) -> AnonFiles:
    """Return the machine's objects without names, made on first use."""
    found: AnonFiles | None = getattr(machine, "anon", None)
    if found is None:
        found = machine.anon = AnonFiles(machine.phys, machine.clock)
    return found
