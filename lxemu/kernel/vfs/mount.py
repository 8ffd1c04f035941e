"""Mounts: which file system is seen where (illumos vfs_list; mount(2), mnttab(5))."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.vfs.fifofs import PipeFs
from lxemu.kernel.vfs.name import Name
from lxemu.kernel.vfs.specfs import DevSwitch
from lxemu.kernel.vfs.vnode import VDIR, makedev

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lxemu.kernel.vfs.vnode import Vfs, Vnode

#: How many Names a mount keeps alive for the next lookup.
RECENT_NAMES = 4096


class Mount:
    """One mount: `root` is seen in the place of `covered` (None at the top of the tree)."""

    def __init__(
        self,
        table: MountTable,
        mount_id: int,
        vfs: Vfs,
        vnode: Vnode,
        covered: Name | None,
        *,
        flags: int = 0,
        source: bytes = b"none",
    ) -> None:
        self.id = mount_id
        self.vfs = vfs
        self.covered = covered
        self.flags = flags
        self.source = source
        #: Strong references that keep the most recent Names of this mount in the cache.
        self.recent: OrderedDict[Name, None] = OrderedDict()
        self.table = table
        parent = covered.parent if covered is not None else None
        self.root = Name(parent, covered.name if covered is not None else b"", vnode, self)
        self.parent: Mount | None = covered.mount if covered is not None else None

    def remember(self, name: Name) -> None:
        """Keep `name` alive until enough others have been looked up after it."""
        recent = self.recent
        recent[name] = None
        if len(recent) > RECENT_NAMES:
            recent.popitem(last=False)

    def path(self, root: Name) -> bytes:
        """Return the mount point as seen from `root`."""
        return self.root.path(root)


class MountTable:
    """The mounts of a zone, oldest first. `root` is the Name of "/".

    What every mount of the zone shares is here too: the device switch and the file system of pipes.
    """

    def __init__(
        self,
        vfs: Vfs,
        *,
        flags: int = 0,
        source: bytes = b"rootfs",
        devices: DevSwitch | None = None,
    ) -> None:
        self.devices = devices if devices is not None else DevSwitch()
        self.pipefs = PipeFs(makedev(0, 0xFFFFF), now=vfs.now)
        self._next_id = 1
        self._mounts: list[Mount] = []
        self.root = self._add(vfs, vfs.root(), None, flags, source).root

    def __iter__(self) -> Iterator[Mount]:
        return iter(tuple(self._mounts))

    def mount(self, where: Name, vfs: Vfs, *, flags: int = 0, source: bytes | None = None) -> Mount:
        """Mount `vfs` over `where`, a directory over a directory.

        Raises ENOTDIR, ENOENT (removed).
        """
        if (where.vnode.type == VDIR) != (vfs.root().type == VDIR):
            raise KernelError(Errno.ENOTDIR)
        src = vfs.source if source is None else source
        return self._add(vfs, vfs.root(), where, flags, src)

    def bind(self, where: Name, what: Name, *, flags: int = 0) -> Mount:
        """Let the tree `what` be seen at `where` too; a file may cover a file. Raises ENOTDIR."""
        if (what.vnode.type == VDIR) != (where.vnode.type == VDIR):
            raise KernelError(Errno.ENOTDIR)
        source = what.mount.source if what.mount is not None else b"none"
        inherited = what.mount.flags if what.mount is not None else 0
        return self._add(what.vnode.vfs, what.vnode, where, flags | inherited, source)

    def _add(
        self, vfs: Vfs, vnode: Vnode, covered: Name | None, flags: int, source: bytes
    ) -> Mount:
        if covered is not None and covered.detached():
            raise KernelError(Errno.ENOENT)
        mount = Mount(self, self._next_id, vfs, vnode, covered, flags=flags, source=source)
        self._next_id += 1
        self._mounts.append(mount)
        if covered is not None:
            covered.mounted = mount.root
        return mount

    def find(self, where: Name) -> Mount:
        """Return the mount whose root is `where`; raises EINVAL."""
        for mount in self._mounts:
            if mount.root is where:
                return mount
        raise KernelError(Errno.EINVAL)

    def umount(self, where: Name, in_use: Iterable[Name] = (), *, lazy: bool = False) -> None:
        """Take away the mount whose root is `where`.

        `in_use` are Names that processes hold (roots, working directories, open files). Raises
        EINVAL (no mount point, or the root) and EBUSY (in use, or mounts below), the latter not
        with `lazy`.
        """
        mount = self.find(where)
        covered = mount.covered
        if covered is None:
            raise KernelError(Errno.EINVAL)
        if not lazy:
            below = any(other.parent is mount for other in self._mounts)
            if below or any(name.mount is mount for name in in_use):
                raise KernelError(Errno.EBUSY)
        covered.mounted = None
        self._mounts.remove(mount)
        mount.recent.clear()
        if not any(other.vfs is mount.vfs for other in self._mounts):
            mount.vfs.sync()
            if not lazy:
                mount.vfs.unmount()
