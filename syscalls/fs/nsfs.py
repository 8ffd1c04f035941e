"""/proc/PID/ns: the namespaces of a process as files that setns(2) takes (namespaces(7))."""

# ruff: noqa: ARG002 -- a vnode has all arguments of an operation, used or not

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.ns import namespaces_of
from lxemu.kernel.vfs.name import Name
from lxemu.kernel.vfs.vnode import VLNK, VREG, Dirent, Vattr, Vfs, Vnode, makedev

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lxemu.kernel.cred import Cred
    from lxemu.kernel.proc import Proc

#: Name in /proc/PID/ns -> CLONE_NEW* flag, and what the link calls it.
KINDS: dict[bytes, tuple[int, bytes]] = {
    b"cgroup": (0x2000000, b"cgroup"),
    b"ipc": (0x8000000, b"ipc"),
    b"mnt": (0x20000, b"mnt"),
    b"net": (0x40000000, b"net"),
    b"pid": (0x20000000, b"pid"),
    b"pid_for_children": (0x20000000, b"pid"),
    b"time": (0x80, b"time"),
    b"time_for_children": (0x80, b"time"),
    b"user": (0x10000000, b"user"),
    b"uts": (0x4000000, b"uts"),
}
_MEMBERS = {b"mnt": "mounts"}
#: Numbers of the zone's own users, processes and mounts.
_USERS, _PIDS = 0xEFFFFFFD, 0xEFFFFFFC
_FSID = makedev(0, 4)


class NsFs(Vfs):
    """The file system of namespaces; its files have no names."""

    name = "nsfs"

    def __init__(self, fsid: int, *, now: Callable[[], int]) -> None:
        super().__init__(fsid, now=now)
        #: By kind and number: a namespace has one name as long as somebody holds it.
        self.names: WeakValueDictionary[tuple[bytes, int], Name] = WeakValueDictionary()

    def root(self) -> Vnode:
        """There is no tree; raises ENOENT."""
        raise KernelError(Errno.ENOENT)


class NsVnode(Vnode):
    """A namespace of a kind (CLONE_NEW*). `space` is the kernel's object, None the zone's own."""

    __slots__ = ("kind", "number", "space")

    def __init__(self, vfs: NsFs, kind: int, space: Any, number: int) -> None:
        super().__init__(vfs, VREG, 0o444)
        self.kind = kind
        self.space = space
        self.number = number

    def getattr(self, cred: Cred | None = None) -> Vattr:
        """Return the attributes: the number is what tells namespaces apart."""
        now = self.vfs.now()
        return Vattr(
            VREG, 0o444, fsid=self.vfs.fsid, nodeid=self.number, nlink=1, atime=now, mtime=now,
            ctime=now,
        )  # fmt: skip


def _space(proc: Proc, kind: bytes, *, children: bool) -> tuple[Any, int]:
    if kind == b"user":
        users = proc.cred.space
        return users, users.number if users is not None else _USERS
    if kind == b"pid":
        pids = proc.pidspace
        if children and proc.ns is not None and proc.ns.children is not None:
            pids = proc.ns.children
        return pids, pids.number if pids is not None else _PIDS
    space = getattr(namespaces_of(proc), _MEMBERS.get(kind, kind.decode()))
    return space, space.number


def ns_name(proc: Proc, entry: bytes) -> Name:
    """Return the namespace of `proc` that an entry of its directory leads to."""
    flag, kind = KINDS[entry]
    space, number = _space(proc, kind, children=entry == b"pid_for_children")
    known = _nsfs(proc).names
    found = known.get((kind, number))
    if found is None:
        vnode = NsVnode(_nsfs(proc), flag, space, number)
        found = known[kind, number] = Name(None, b"%s:[%d]" % (kind, number), vnode)
    return found


def _nsfs(proc: Proc) -> NsFs:
    machine = proc.machine
    found: NsFs | None = getattr(machine, "nsfs", None)
    if found is None:
        found = machine.nsfs = NsFs(_FSID, now=machine.clock.realtime)
    return found


def entries(
    proc: Proc, link: Callable[[Callable[[], Name]], Callable[[int], Vnode]]
) -> dict[bytes, Callable[[int], Vnode]]:
    """Return the makers of the entries of /proc/PID/ns."""

    def maker(entry: bytes) -> Callable[[int], Vnode]:
        return link(lambda: ns_name(proc, entry))

    return {entry: maker(entry) for entry in KINDS}


def listing(node: int) -> Iterable[Dirent]:
    """Return the entries of the directory whose files are numbered from `node` on."""
    return [Dirent(entry, node + i, VLNK, 0) for i, entry in enumerate(KINDS)]
