"""Mounts: which file system is seen where (illumos vfs_list; mount(2), mnttab(5)).

A `MountTable` is one view of the tree: the zone has one, and a process may leave it for a copy of
its own. Every mount has Names of its own, so a tree that is mounted twice can have different things
mounted in it. Mounts may be peers (`PeerGroup`): what is mounted or unmounted in one of them, is so
in the others and in those that follow them.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING
from weakref import WeakSet, ref

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.poll import POLLERR, POLLPRI, Pollhead
from lxemu.kernel.vfs import notify
from lxemu.kernel.vfs.fifofs import PipeFs
from lxemu.kernel.vfs.name import Name
from lxemu.kernel.vfs.specfs import DevSwitch
from lxemu.kernel.vfs.vnode import VDIR, makedev

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lxemu.kernel.userns import UserSpace
    from lxemu.kernel.vfs.vnode import Vfs, Vnode

#: How many Names a mount keeps alive for the next lookup.
RECENT_NAMES = 4096
#: Mounts that one table may have.
MAX_MOUNTS = 100_000


class PeerGroup:
    """Mounts that see each other's changes, and those that only follow."""

    def __init__(self, number: int) -> None:
        self.id = number
        # Weak: a tree that nobody sees any more goes with its last process.
        self._peers: list[ref[Mount]] = []
        self._followers: list[ref[Mount]] = []

    @property
    def peers(self) -> list[Mount]:
        """The mounts that see each other's changes."""
        return _live(self._peers)

    @property
    def followers(self) -> list[Mount]:
        """The mounts that only follow."""
        return _live(self._followers)

    def add(self, mount: Mount, *, peer: bool) -> None:
        """Take in a mount."""
        (self._peers if peer else self._followers).append(ref(mount))

    def remove(self, mount: Mount) -> None:
        """Forget a mount."""
        self._peers = [known for known in self._peers if known() not in (None, mount)]
        self._followers = [known for known in self._followers if known() not in (None, mount)]


def _live(known: list[ref[Mount]]) -> list[Mount]:
    return [mount for one in known if (mount := one()) is not None]


class Mount:
    """One mount: `root` is seen in the place of `covered`.

    `covered` is None at the top of the tree and for what is mounted nowhere (yet, or any more).
    `subpath` is where in the file system `root` is, for a bound subtree.
    """

    def __init__(
        self,
        table: MountTable,
        vfs: Vfs,
        vnode: Vnode,
        *,
        flags: int = 0,
        source: bytes = b"none",
        subpath: bytes = b"/",
    ) -> None:
        self.id = table.domain.next_id()
        self.table = table
        self.vfs = vfs
        self.flags = flags
        self.source = source
        self.subpath = subpath
        self.covered: Name | None = None
        self.parent: Mount | None = None
        self.attached = False
        #: What is mounted over Names of this mount.
        self.children: list[Mount] = []
        self.group: PeerGroup | None = None
        self.master: PeerGroup | None = None
        self.unbindable = False
        #: Set by a first request to unmount what is not used in between.
        self.expiring = False
        #: Strong references that keep the most recent Names of this mount in the cache.
        self.recent: OrderedDict[Name, None] = OrderedDict()
        self.root = Name(None, b"", vnode, self)

    def remember(self, name: Name) -> None:
        """Keep `name` alive until enough others have been looked up after it."""
        recent = self.recent
        recent[name] = None
        if len(recent) > RECENT_NAMES:
            recent.popitem(last=False)

    def path(self, root: Name) -> bytes:
        """Return the mount point as seen from `root`."""
        return self.root.path(root)

    def location(self, name: Name) -> bytes:
        """Return where in the file system `name`, a Name of this mount, is."""
        inside = name.path(self.root)
        return inside if self.subpath == b"/" else (self.subpath + inside).rstrip(b"/")

    # -- peers ----------------------------------------------------------------------------------

    def join(self, group: PeerGroup | None, master: PeerGroup | None) -> None:
        """Leave the old groups and become a peer of `group`, a follower of `master`."""
        for old in (self.group, self.master):
            if old is not None:
                old.remove(self)
        self.group, self.master = group, master
        if group is not None:
            group.add(self, peer=True)
        if master is not None:
            master.add(self, peer=False)

    def receivers(self) -> list[tuple[Mount, bool]]:
        """Return the mounts that follow a change in this one, and whether each is a peer."""
        found: list[tuple[Mount, bool]] = []
        todo = [(self.group, True)]
        while todo:
            group, peer = todo.pop()
            if group is None:
                continue
            found += [(mount, peer) for mount in group.peers if mount is not self]
            for follower in group.followers:
                if follower.group is None:
                    found.append((follower, False))
                todo.append((follower.group, False))
        return [(mount, peer) for mount, peer in found if mount.attached]


class MountDomain:
    """What all tables of a machine share: devices, pipes, numbers."""

    def __init__(self, vfs: Vfs, devices: DevSwitch | None) -> None:
        self.devices = devices if devices is not None else DevSwitch()
        self.pipefs = PipeFs(makedev(0, 0xFFFFF), now=vfs.now)
        self.tables: WeakSet[MountTable] = WeakSet()
        self._last_id = 0
        self._last_group = 0
        self._last_fsid = 0x20

    def next_id(self) -> int:
        """Return the number of a new mount."""
        self._last_id += 1
        return self._last_id

    def next_group(self) -> PeerGroup:
        """Return a new group."""
        self._last_group += 1
        return PeerGroup(self._last_group)

    def next_fsid(self) -> int:
        """Return a device number for a file system without a device (major 0)."""
        self._last_fsid += 1
        return makedev(0, self._last_fsid)

    def file_systems(self) -> list[Vfs]:
        """Return every file system that is mounted somewhere."""
        return list({id(m.vfs): m.vfs for table in self.tables for m in table}.values())


class MountTable:
    """The mounts of one view of the tree, oldest first. `root` is the Name of "/"."""

    def __init__(
        self,
        vfs: Vfs | None,
        *,
        flags: int = 0,
        source: bytes = b"rootfs",
        devices: DevSwitch | None = None,
        domain: MountDomain | None = None,
    ) -> None:
        if domain is None:
            assert vfs is not None
            domain = MountDomain(vfs, devices)
        self.domain = domain
        #: As a view of a process: its number, and the users' space that rules it.
        self.number = 0xEFFFFFF8
        self.owner: UserSpace | None = None
        domain.tables.add(self)
        self.devices = domain.devices
        self.pipefs = domain.pipefs
        self._mounts: list[Mount] = []
        #: How often a mount has come or gone, and where those wait who want to know.
        self.changes = 0
        self.pollhead = Pollhead()
        self.root: Name
        if vfs is not None:
            mount = Mount(self, vfs, vfs.root(), flags=flags, source=source)
            mount.attached = True
            self._mounts.append(mount)
            self.root = mount.root

    def __iter__(self) -> Iterator[Mount]:
        return iter(tuple(self._mounts))

    # -- making ---------------------------------------------------------------------------------

    def mount(self, where: Name, vfs: Vfs, *, flags: int = 0, source: bytes | None = None) -> Mount:
        """Mount `vfs` over `where`, a directory over a directory.

        Raises ENOTDIR, ENOENT (removed), ENOSPC (too many mounts).
        """
        mount = Mount(
            self, vfs, vfs.root(), flags=flags, source=vfs.source if source is None else source
        )
        self.attach(mount, where)
        return mount

    def bind(self, where: Name, what: Name, *, flags: int = 0, recursive: bool = False) -> Mount:
        """Let the tree `what` be seen at `where` too; a file may cover a file.

        Raises ENOTDIR, EINVAL (unbindable).
        """
        mount = self.copy_tree(what, recursive=recursive)
        mount.flags |= flags
        self.attach(mount, where)
        return mount

    def copy_tree(self, what: Name, *, recursive: bool) -> Mount:
        """Return a mount of the tree `what`, mounted nowhere; with what is mounted in it, or not.

        Raises EINVAL when it may not be bound.
        """
        source = what.mount
        if source is None or source.unbindable:
            raise KernelError(Errno.EINVAL)
        return _copy_tree(self, source, what, recursive=recursive)

    def attach(self, mount: Mount, where: Name) -> None:
        """Put `mount`, with all that is mounted in it, over `where`. Raises ENOTDIR, ENOENT."""
        where = topmost(where)
        if (mount.root.vnode.type == VDIR) != (where.vnode.type == VDIR):
            raise KernelError(Errno.ENOTDIR)
        if where.detached():
            raise KernelError(Errno.ENOENT)
        if len(self._mounts) >= MAX_MOUNTS:
            raise KernelError(Errno.ENOSPC)
        into = where.mount
        copies: list[tuple[Mount, Name]] = []
        if into is not None and into.group is not None:
            place = into.location(where)
            for tree in tree_of(mount):
                if tree.group is None:
                    tree.join(self.domain.next_group(), tree.master)
            for other, peer in into.receivers():
                there = other.table.place_of(other, place)
                if there is not None:
                    copy = _copy_tree(other.table, mount, mount.root, recursive=True, peer=peer)
                    copies.append((copy, there))
        self._attach(mount, where)
        for copy, there in copies:
            copy.table._attach(copy, topmost(there))

    def _attach(self, mount: Mount, where: Name) -> None:
        _hang(mount, where)
        for tree in tree_of(mount):
            tree.attached = True
            tree.table = self
            self._mounts.append(tree)
        self._changed()

    def _changed(self) -> None:
        self.changes += 1
        self.pollhead.wakeup(POLLERR | POLLPRI)

    def place_of(self, mount: Mount, place: bytes) -> Name | None:
        """Return the Name in `mount` of `place` in its file system, None if it shows no such."""
        if mount.subpath != b"/":
            if place != mount.subpath and not place.startswith(mount.subpath + b"/"):
                return None
            place = place[len(mount.subpath) :]
        here = mount.root
        try:
            for part in place.split(b"/"):
                if part:
                    here = here.enter(part, here.vnode.lookup(part))
        except KernelError:
            return None
        return here

    # -- finding --------------------------------------------------------------------------------

    def find(self, where: Name) -> Mount:
        """Return the mount whose root is `where`; raises EINVAL."""
        mount = where.mount
        if mount is None or mount.root is not where or not mount.attached:
            raise KernelError(Errno.EINVAL)
        if mount.table is not self:
            raise KernelError(Errno.EINVAL)
        return mount

    def by_id(self, number: int) -> Mount | None:
        """Return the mount with an id, or None."""
        return next((mount for mount in self._mounts if mount.id == number), None)

    # -- changing -------------------------------------------------------------------------------

    def move(self, mount: Mount, where: Name) -> None:
        """Take `mount` away from where it is and put it over `where`.

        Raises EINVAL (the root, or among peers), ELOOP (into itself), ENOTDIR.
        """
        parent = mount.parent
        if mount.covered is None or (parent is not None and parent.group is not None):
            raise KernelError(Errno.EINVAL)
        if (mount.root.vnode.type == VDIR) != (where.vnode.type == VDIR):
            raise KernelError(Errno.EINVAL)
        above: Mount | None = where.mount
        while above is not None:
            if above is mount:
                raise KernelError(Errno.ELOOP)
            above = above.parent
        if where.mount is not None and where.mount.group is not None:
            for tree in tree_of(mount):
                if tree.unbindable:
                    raise KernelError(Errno.EINVAL)
        self._take(mount)
        self.attach(mount, where)

    def _take(self, mount: Mount) -> None:
        for tree in tree_of(mount):
            tree.attached = False
            self._mounts.remove(tree)
        _unhang(mount)
        self._changed()

    def umount(self, where: Name, in_use: Iterable[Name] = (), *, lazy: bool = False) -> None:
        """Take away the mount whose root is `where`, at its peers too.

        `in_use` are Names that processes hold (roots, working directories, open files). Raises
        EINVAL (no mount point, or the root) and EBUSY (in use, or mounts below), the latter not
        with `lazy`.
        """
        mount = self.find(where)
        covered, parent = mount.covered, mount.parent
        if covered is None or parent is None:
            raise KernelError(Errno.EINVAL)
        if not lazy and (len(tree_of(mount)) > 1 or any(n.mount is mount for n in in_use)):
            raise KernelError(Errno.EBUSY)
        place = parent.location(covered)
        used = {name.mount for name in in_use}
        for other, _peer in parent.receivers():
            there = other.table.place_of(other, place)
            twin = there.mounted.mount if there is not None and there.mounted is not None else None
            if twin is None or twin.vfs is not mount.vfs:
                continue
            if lazy or (len(tree_of(twin)) == 1 and twin not in used):
                twin.table.drop(twin)
        self.drop(mount, keep=lazy)

    def drop(self, mount: Mount, *, keep: bool = True) -> None:
        """Forget a mount and what is mounted in it; unless `keep`, its file system may end."""
        trees = tree_of(mount)
        self._take(mount)
        for tree in reversed(trees):
            tree.join(None, None)
            tree.recent.clear()
            if tree is not mount:
                _unhang(tree)
            tree.vfs.sync()
            if not keep and all(tree.vfs is not vfs for vfs in self.domain.file_systems()):
                notify.unmounted(tree.vfs)
                tree.vfs.unmount()

    def pivot(self, root: Mount, new: Mount, old: Name) -> None:
        """Put `new` in the place of `root`, and `root` over `old`, which is below `new`."""
        covered = root.covered
        _unhang(new)
        if covered is None:
            self.root = new.root
        else:
            _unhang(root)
            _hang(new, covered)
        # With `old` the new root itself, the old root is stacked on it: there it can be unmounted.
        _hang(root, topmost(old))

    def copy(self) -> tuple[MountTable, dict[Mount, Mount]]:
        """Return a copy of the table, and which mount of it stands for which of this one."""
        new = MountTable(None, domain=self.domain)
        pairs: dict[Mount, Mount] = {}
        top = self.root.mount
        assert top is not None
        copy = _copy_tree(new, top, top.root, recursive=True, pairs=pairs, all_of_it=True)
        for tree in tree_of(copy):
            tree.attached = True
            new._mounts.append(tree)
        new.root = copy.root
        return new, pairs


# -- the tree of mounts ---------------------------------------------------------------------------


def topmost(name: Name) -> Name:
    """Return what is seen at `name`: the root of the last mount over it, or itself."""
    while name.mounted is not None:
        name = name.mounted
    return name


def _hang(mount: Mount, where: Name) -> None:
    mount.covered = where
    mount.parent = where.mount
    mount.root.parent = where.parent
    mount.root.name = where.name
    where.mounted = mount.root
    if mount.parent is not None:
        mount.parent.children.append(mount)


def _unhang(mount: Mount) -> None:
    if mount.covered is not None:
        mount.covered.mounted = None
    if mount.parent is not None:
        mount.parent.children.remove(mount)
    mount.covered = mount.parent = None
    mount.root.parent = None
    mount.root.name = b""


def tree_of(mount: Mount) -> list[Mount]:
    """Return `mount` and all that is mounted in it, parents first."""
    found = [mount]
    for one in found:
        found += one.children
    return found


def _copy_tree(
    table: MountTable,
    source: Mount,
    what: Name,
    *,
    recursive: bool,
    peer: bool = True,
    pairs: dict[Mount, Mount] | None = None,
    all_of_it: bool = False,
) -> Mount:
    """Copy a mount, from `what` in it on, and with `recursive` the mounts below.

    Those that may not be bound are left out, unless `all_of_it`. A copy is a peer of what it is a
    copy of, or only follows it.
    """
    top = Mount(
        table,
        source.vfs,
        what.vnode,
        flags=source.flags,
        source=source.source,
        subpath=source.location(what),
    )
    top.unbindable = source.unbindable
    top.join(*((source.group, source.master) if peer else (None, source.group)))
    if pairs is not None:
        pairs[source] = top
    if not recursive:
        return top
    for child in source.children:
        covered = child.covered
        if covered is None or not covered.is_below(what) or (child.unbindable and not all_of_it):
            continue
        copy = _copy_tree(
            table,
            child,
            child.root,
            recursive=True,
            peer=peer,
            pairs=pairs,
            all_of_it=all_of_it,
        )
        _hang(copy, counterpart(covered, what, top.root))
    return top


def counterpart(name: Name, old: Name, new: Name) -> Name:
    """Return the Name that is below `new` where `name` is below `old`; the vnodes are the same."""
    chain: list[Name] = []
    node: Name | None = name
    while node is not None and node is not old:
        chain.append(node)
        node = node.parent
    here = new
    for step in reversed(chain):
        here = here.enter(step.name, step.vnode)
    return here


def translated(name: Name, pairs: dict[Mount, Mount]) -> Name:
    """Return where `name` is in the copy of a table that `pairs` tells of; itself if nowhere."""
    mount = name.mount
    new = pairs.get(mount) if mount is not None else None
    if mount is None or new is None:
        return name
    return counterpart(name, mount.root, new.root)
