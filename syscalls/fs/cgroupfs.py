"""The cgroup2 file system, with the pids and memory controllers (cgroups(7), cgroup-v2.rst)."""

# ruff: noqa: ARG002 -- a vnode has all arguments of an operation, used or not

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.resgroup import CONTROLLERS, ResGroup, group_of, root_group
from lxemu.kernel.vfs.vnode import AT_GID, AT_MODE, AT_UID, Dirent, Vattr, Vnode
from syscalls.fs.pseudo import ROOT_NODEID, PseudoDir, PseudoNode, PseudoVfs, TextFile, reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lxemu.kernel.cred import Cred
    from lxemu.kernel.proc import Proc

_PAGE = 4096
_MAX = b"max"


class CgroupFs(PseudoVfs):
    """The one hierarchy of a zone."""

    def __init__(self, machine: Any, fsid: int) -> None:
        super().__init__(fsid, "cgroup2", machine.clock.realtime)
        self.machine = machine
        self.source = b"cgroup2"
        self.set_root(GroupDir(self, None, root_group(machine.zone), ROOT_NODEID))


def _own(node: PseudoNode, mask: int, attr: Vattr) -> None:
    """Take owner and mode, by which a group is given to another user."""
    if mask & AT_UID:
        node.uid = attr.uid
    if mask & AT_GID:
        node.gid = attr.gid
    if mask & AT_MODE:
        node.mode = attr.mode


class GroupFile(TextFile):
    """A file of a group; its owner can change."""

    __slots__ = ()

    def setattr(self, mask: int, attr: Vattr, cred: Cred) -> None:
        """Change owner or mode."""
        _own(self, mask, attr)


class GroupDir(PseudoDir):
    """A group: the files of its controllers, and a directory for each group in it."""

    __slots__ = ("dirs", "group")

    vfs: CgroupFs

    def __init__(
        self, vfs: CgroupFs, parent: PseudoNode | None, group: ResGroup, nodeid: int = 0
    ) -> None:
        super().__init__(vfs, parent, 0o755, nodeid)
        self.group = group
        self.dirs: dict[bytes, GroupDir] = {}
        self.fill = self._fill

    def setattr(self, mask: int, attr: Vattr, cred: Cred) -> None:
        """Change owner or mode."""
        _own(self, mask, attr)

    def _file(
        self,
        name: bytes,
        make: Callable[[], bytes] | None,
        store: Callable[[bytes], None] | None = None,
    ) -> None:
        mode = 0o444 if make is not None else 0o200
        text = make if make is not None else bytes
        self.entries[name] = GroupFile(self.vfs, text, mode, store=store)

    def _fill(self) -> None:
        """Enter what every group has."""
        group = self.group
        self._file(b"cgroup.controllers", lambda: _words(_available(group)))
        self._file(b"cgroup.subtree_control", lambda: _words(group.enabled), self._enable)
        self._file(b"cgroup.procs", self._procs, self._join)
        self._file(b"cgroup.threads", self._threads, self._join)
        self._file(b"cgroup.stat", self._stat)
        self._file(b"cpu.stat", self._cpu_stat)
        if group.parent is not None:
            self._file(b"cgroup.type", lambda: b"domain\n")
            self._file(b"cgroup.events", self._events)
            self._file(b"cgroup.kill", None, self._kill)

    def _controlled(self) -> dict[bytes, Vnode]:
        """Return the entries, with the files of those controllers that the group has now."""
        entries, group = self.entries, self.group
        parent = group.parent
        if parent is None:
            return entries
        for name in CONTROLLERS:
            files = PIDS_FILES if name == "pids" else MEMORY_FILES
            for entry, (show, store) in files.items():
                if name in parent.enabled:
                    if entry not in entries:
                        self._file(entry, _bound(show, group), _bound_store(store, group))
                else:
                    entries.pop(entry, None)
        return entries

    # -- the directory --------------------------------------------------------------------------

    def lookup(self, name: bytes) -> Vnode:
        """Return a file or a group; raises ENOENT."""
        child = self.group.children.get(name)
        if child is not None:
            known = self.dirs.get(name)
            if known is None or known.group is not child:
                known = self.dirs[name] = GroupDir(self.vfs, self, child)
            return known
        found = self._controlled().get(name)
        if found is None:
            raise KernelError(Errno.ENOENT)
        return found

    def listing(self) -> Iterable[Dirent]:
        """Return files, then groups."""
        self._controlled()
        found = list(super().listing())
        for name in self.group.children:
            node = self.lookup(name)
            assert isinstance(node, GroupDir)
            found.append(Dirent(name, node.nodeid, node.type, 0))
        return found

    def nlink(self) -> int:
        """Return 2 and one for each group."""
        return 2 + len(self.group.children)

    def mkdir(self, name: bytes, mode: int, cred: Cred) -> Vnode:
        """Make a group."""
        if b"\n" in name:
            raise KernelError(Errno.EINVAL)
        self.group.make(name)
        node = self.lookup(name)
        assert isinstance(node, GroupDir)
        node.mode, node.uid, node.gid = mode, cred.fsuid, cred.fsgid
        return node

    def rmdir(self, name: bytes) -> None:
        """Remove an empty group. Raises EBUSY, EPERM for what is no group."""
        if name not in self.group.children:
            raise KernelError(Errno.EPERM)
        self.group.remove(name)
        self.dirs.pop(name, None)

    # -- files ----------------------------------------------------------------------------------

    def _procs(self) -> bytes:
        return b"".join(b"%d\n" % proc.pid for proc in self.group.members() if proc.lwps)

    def _threads(self) -> bytes:
        return b"".join(b"%d\n" % lwp.tid for proc in self.group.members() for lwp in proc.lwps)

    def _join(self, data: bytes) -> None:
        lwp = reader()
        try:
            pid = int(data)
        except ValueError:
            raise KernelError(Errno.EINVAL) from None
        machine = self.vfs.machine
        proc: Proc | None = machine.procs.get(pid)
        if pid == 0 and lwp is not None:
            proc = lwp.proc
        if proc is None or proc.zombie:
            raise KernelError(Errno.ESRCH)
        self.group.join(proc)

    def _enable(self, data: bytes) -> None:
        add: set[str] = set()
        drop: set[str] = set()
        for word in data.decode(errors="replace").split():
            sign, name = word[0], word[1:]
            if sign not in "+-" or name not in CONTROLLERS:
                raise KernelError(Errno.EINVAL)
            (add if sign == "+" else drop).add(name)
        self.group.enable(add, drop)

    def _kill(self, data: bytes) -> None:
        if data.strip() != b"1":
            raise KernelError(Errno.ERANGE)
        self.group.kill()

    def _events(self) -> bytes:
        return b"populated %d\nfrozen 0\n" % bool(self.group.all_members())

    def _stat(self) -> bytes:
        groups = sum(1 for _ in self.group.below()) - 1
        return b"nr_descendants %d\nnr_dying_descendants 0\n" % groups

    def _cpu_stat(self) -> bytes:
        used = sum(proc.cpu_time() for proc in self.group.all_members()) // 1000
        return b"usage_usec %d\nuser_usec %d\nsystem_usec 0\n" % (used, used)


def _available(group: ResGroup) -> set[str]:
    return set(CONTROLLERS) if group.parent is None else group.parent.enabled


def _words(names: set[str]) -> bytes:
    return " ".join(name for name in CONTROLLERS if name in names).encode() + b"\n"


def _bound(show: Callable[[ResGroup], bytes], group: ResGroup) -> Callable[[], bytes]:
    return lambda: show(group)


def _bound_store(
    store: Callable[[ResGroup, bytes], None] | None, group: ResGroup
) -> Callable[[bytes], None] | None:
    if store is None:
        return None
    return lambda data: store(group, data)


def _limit(value: int | None) -> bytes:
    return b"%s\n" % (_MAX if value is None else b"%d" % value)


def _parse_limit(data: bytes) -> int | None:
    """Read "max" or a number, with K, M or G: EINVAL."""
    text = data.strip()
    if text == _MAX:
        return None
    shift = {b"k": 10, b"m": 20, b"g": 30}.get(text[-1:].lower(), 0)
    try:
        value = int(text[:-1] if shift else text)
    except ValueError:
        raise KernelError(Errno.EINVAL) from None
    if value < 0:
        raise KernelError(Errno.EINVAL)
    return value << shift


def _set_pids_max(group: ResGroup, data: bytes) -> None:
    group.pids_max = _parse_limit(data)


def _set_memory_max(group: ResGroup, data: bytes) -> None:
    value = _parse_limit(data)
    group.memory_max = None if value is None else value // _PAGE * _PAGE
    group.check_memory()


def _set_oom_group(group: ResGroup, data: bytes) -> None:
    word = data.strip()
    if word not in (b"0", b"1"):
        raise KernelError(Errno.EINVAL)
    group.kill_all = word == b"1"


def _memory_events(group: ResGroup) -> bytes:
    below = list(group.below())
    oom = sum(one.oom for one in below)
    kills = sum(one.oom_kills for one in below)
    return b"low 0\nhigh 0\nmax %d\noom %d\noom_kill %d\noom_group_kill 0\n" % (oom, oom, kills)


def _memory_stat(group: ResGroup) -> bytes:
    return b"anon %d\nfile 0\n" % group.memory()


def _peaks(group: ResGroup) -> ResGroup:
    group.note()
    return group


_Entry = tuple["Callable[[ResGroup], bytes]", "Callable[[ResGroup, bytes], None] | None"]
PIDS_FILES: dict[bytes, _Entry] = {
    b"pids.max": (lambda g: _limit(g.pids_max), _set_pids_max),
    b"pids.current": (lambda g: b"%d\n" % g.pids(), None),
    b"pids.peak": (lambda g: b"%d\n" % _peaks(g).pids_peak, None),
    b"pids.events": (lambda g: b"max %d\n" % sum(c.max_hits for c in g.below()), None),
}
MEMORY_FILES: dict[bytes, _Entry] = {
    b"memory.max": (lambda g: _limit(g.memory_max), _set_memory_max),
    b"memory.current": (lambda g: b"%d\n" % g.memory(), None),
    b"memory.peak": (lambda g: b"%d\n" % _peaks(g).memory_peak, None),
    b"memory.events": (_memory_events, None),
    b"memory.stat": (_memory_stat, None),
    b"memory.oom.group": (lambda g: b"%d\n" % g.kill_all, _set_oom_group),
}


def cgroup_line(proc: Proc, viewer: Proc) -> bytes:
    """/proc/PID/cgroup, as seen from the cgroup namespace of `viewer`."""
    from lxemu.kernel.ns import namespaces_of

    root = namespaces_of(viewer).cgroup.content
    return b"0::" + group_of(proc).path(root) + b"\n"
