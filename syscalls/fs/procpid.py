"""The directories of processes and threads in Linux /proc (proc(5); fs/proc/base.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.mm import foreign
from lxemu.kernel.oom import score
from lxemu.kernel.poll import POLLERR, POLLIN, POLLPRI, POLLRDNORM, Pollhead
from lxemu.kernel.ptrace import may_examine
from lxemu.kernel.vfs.vnode import VDIR, VLNK, VREG, Dirent, Vattr, Vnode
from syscalls.fs import fdinfo, maps, nsfs, pidtext, smaps
from syscalls.fs.idmap import IdMap, SetGroups
from syscalls.fs.pagemap import PageMapFile
from syscalls.fs.pseudo import OpenText, PseudoDir, PseudoNode, TextFile, TextLink, reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lxemu.kernel.cred import Cred
    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.pidspace import PidSpace
    from lxemu.kernel.proc import Proc
    from lxemu.kernel.vfs.file import File
    from lxemu.kernel.vfs.mount import MountTable
    from lxemu.kernel.vfs.name import Name
    from syscalls.fs.pseudo import PseudoVfs

#: Bits of a node number that tell the file within a process' directory.
_NODE_BITS = 12
_FD_NODES, _FDINFO_NODES = 1024, 2560
_NS_NODES = 200
_PER_FD = 1500
_O_CLOEXEC_LX = 0o2000000


def may_access(proc: Proc) -> None:
    """Check that the reader may look into `proc` (ptrace_may_access): EACCES."""
    lwp = reader()
    if lwp is not None and not may_examine(lwp.proc, proc, effective=True):
        raise KernelError(Errno.EACCES)


class ProcText(TextFile):
    """A text file of a process; it has nothing to say once the process is gone (ESRCH)."""

    __slots__ = ("_guarded", "proc")

    def __init__(
        self,
        vfs: PseudoVfs,
        proc: Proc,
        make: Callable[[], bytes],
        mode: int,
        nodeid: int,
        *,
        guarded: bool = False,
        store: Callable[[bytes], None] | None = None,
    ) -> None:
        super().__init__(vfs, make, mode, nodeid, store)
        self.proc = proc
        self._guarded = guarded

    def owner(self) -> tuple[int, int]:
        """Return the owner of the process."""
        return pidtext.owner_of(self.proc)

    def make(self) -> bytes:
        """Return the text: ESRCH, EACCES."""
        if self.proc.machine.procs.get(self.proc.pid) is not self.proc:
            raise KernelError(Errno.ESRCH)
        return super().make()

    def open(self, file: File) -> Vnode | None:
        """Open: a guarded file only for who may trace the process."""
        if self._guarded:
            may_access(self.proc)
        return super().open(file)


class MountsText(ProcText):
    """A list of mounts, whose open files can be polled for changes (proc(5), /proc/mounts)."""

    __slots__ = ()

    def open(self, file: File) -> Vnode | None:
        """Open: each open file notes the changes that it has been told of."""
        super().open(file)
        return OpenMounts(self, self.proc.mounts)


class OpenMounts(OpenText):
    """An open list of mounts: a poll finds POLLERR and POLLPRI once after each change."""

    __slots__ = ("_seen", "_table")

    pollable = True

    def __init__(self, node: MountsText, table: MountTable) -> None:
        super().__init__(node)
        self._table = table
        self._seen = table.changes

    def poll(self, file: File, events: int) -> tuple[int, Pollhead | None]:  # noqa: ARG002
        """Return POLLERR and POLLPRI when the mounts are others than last time; always readable."""
        ready = events & (POLLIN | POLLRDNORM)
        if self._seen != self._table.changes:
            self._seen = self._table.changes
            ready |= POLLERR | events & POLLPRI
        return ready, self._table.pollhead


class JumpLink(PseudoNode):
    """A magic link: what it says is for reading, where it leads it knows itself."""

    __slots__ = ("_find", "proc")

    def __init__(
        self, vfs: PseudoVfs, proc: Proc, find: Callable[[], Name | None], nodeid: int
    ) -> None:
        super().__init__(vfs, VLNK, 0o777, nodeid)
        self.proc = proc
        self._find = find

    def owner(self) -> tuple[int, int]:
        """Return the owner of the process."""
        return pidtext.owner_of(self.proc)

    def _target(self) -> Name:
        may_access(self.proc)
        name = None if self.proc.zombie else self._find()
        if name is None:
            raise KernelError(Errno.ENOENT)
        return name

    def magic_link(self) -> Name:
        """Return where the link leads: ENOENT, EACCES."""
        return self._target()

    def readlink(self) -> bytes:
        """Return the path of that place as the reader sees it."""
        name = self._target()
        lwp = reader()
        return maps.file_path(name, maps.root_of(lwp.proc if lwp is not None else self.proc))


class PidNode(PseudoDir):
    """A directory of a process or thread: entries are made when they are first asked for."""

    __slots__ = ("base", "lwp", "makers", "proc")

    def __init__(
        self, vfs: PseudoVfs, parent: PseudoNode, proc: Proc, lwp: Lwp | None, node: int, mode: int
    ) -> None:
        self.base = (lwp.tid if lwp is not None else proc.pid) << _NODE_BITS
        if lwp is not None:
            # Threads' directories are apart from those of processes: the first thread has both.
            self.base |= 1 << 30
        super().__init__(vfs, parent, mode, self.base + node)
        self.proc = proc
        self.lwp = lwp
        self.makers: dict[bytes, Callable[[int], Vnode]] = {}

    def owner(self) -> tuple[int, int]:
        """Return the owner of the process."""
        return pidtext.owner_of(self.proc)

    def alive(self) -> None:
        """Check that the process is there: ENOENT."""
        if self.proc.machine.procs.get(self.proc.pid) is not self.proc:
            raise KernelError(Errno.ENOENT)

    def lookup(self, name: bytes) -> Vnode:
        """Return an entry, made now if need be: ENOENT."""
        self.alive()
        found = self.entries.get(name)
        if found is None:
            maker = self.makers.get(name)
            if maker is None:
                raise KernelError(Errno.ENOENT)
            index = list(self.makers).index(name) + 1
            found = self.entries[name] = maker(self.base + index)
        return found

    def listing(self) -> Iterable[Dirent]:
        """Return all entries, made or not."""
        self.alive()
        return [
            Dirent(name, self.base + index + 1, TYPES.get(name, VREG), 0)
            for index, name in enumerate(self.makers)
        ]

    def nlink(self) -> int:
        """Return the links of the subdirectories there are."""
        return 2 + sum(TYPES.get(name) == VDIR for name in self.makers)


_DIRS = (b"attr", b"fd", b"fdinfo", b"net", b"task", b"ns", b"map_files")
_LINKS = (b"cwd", b"exe", b"root")
#: Types of the entries that are not regular files.
TYPES: dict[bytes, int] = dict.fromkeys(_DIRS, VDIR) | dict.fromkeys(_LINKS, VLNK)


def _write_own_comm(proc: Proc, lwp: Lwp | None, data: bytes) -> None:
    caller = reader()
    if caller is not None and caller.proc is not proc:
        raise KernelError(Errno.EINVAL)
    target = lwp or pidtext.main_lwp(proc)
    if target is not None:
        pidtext.set_comm(target, data)


def _net_dir(vfs: PseudoVfs, node: PidNode, nodeid: int) -> Vnode:
    # Imported where needed: a process seldom looks at the network.
    from syscalls.fs import procnet

    return procnet.make_dir(vfs, node, nodeid)


class _Entries:
    """Makes the entries that the directories of processes and of threads share."""

    def __init__(self, node: PidNode) -> None:
        self.node = node
        self.vfs = node.vfs
        self.proc = node.proc
        self.lwp = node.lwp

    def text(
        self,
        make: Callable[[], bytes],
        mode: int = 0o444,
        *,
        guarded: bool = False,
        store: Callable[[bytes], None] | None = None,
    ) -> Callable[[int], Vnode]:
        """Return the maker of a text file."""
        vfs, proc = self.vfs, self.proc
        return lambda ino: ProcText(vfs, proc, make, mode, ino, guarded=guarded, store=store)

    def jump(self, find: Callable[[], Name | None]) -> Callable[[int], Vnode]:
        """Return the maker of a magic link."""
        vfs, proc = self.vfs, self.proc
        return lambda ino: JumpLink(vfs, proc, find, ino)

    def common(self) -> dict[bytes, Callable[[int], Vnode]]:
        """Return what both kinds of directory have, in Linux's order."""
        proc, lwp, node, vfs = self.proc, self.lwp, self.node, self.vfs
        whole = lwp is None
        pids: PidSpace | None = getattr(vfs, "pids", None)
        return {
            b"fd": lambda ino: FdDir(vfs, node, proc, ino),
            b"fdinfo": lambda ino: FdInfoDir(vfs, node, proc, ino),
            b"net": lambda ino: _net_dir(vfs, node, ino),
            b"environ": self.text(lambda: pidtext.environ(proc), 0o400, guarded=True),
            b"auxv": self.text(lambda: pidtext.auxv(proc), 0o400, guarded=True),
            b"status": self.text(lambda: pidtext.status(proc, lwp, pids)),
            b"personality": self.text(lambda: b"%08x\n" % proc.personality, 0o400, guarded=True),
            b"limits": self.text(lambda: pidtext.limits(proc)),
            b"comm": self.text(
                lambda: pidtext.comm(proc, lwp),
                0o644,
                store=lambda data: _write_own_comm(proc, lwp, data),
            ),
            b"syscall": self.text(lambda: pidtext.syscall_line(proc, lwp), 0o400, guarded=True),
            b"cmdline": self.text(lambda: pidtext.cmdline(proc)),
            b"stat": self.text(lambda: pidtext.stat(proc, lwp, whole=whole, pids=pids)),
            b"statm": self.text(lambda: pidtext.statm(proc)),
            b"maps": lambda ino: _maps_file(vfs, proc, ino),
            b"mem": lambda ino: MemFile(vfs, proc, ino),
            b"pagemap": lambda ino: PageMapFile(vfs, proc, ino),
            b"cwd": self.jump(lambda: fs.cwd if (fs := pidtext.fs_of(proc)) else None),
            b"root": self.jump(lambda: fs.root if (fs := pidtext.fs_of(proc)) else None),
            b"exe": self.jump(lambda: proc.exe),
            b"mounts": lambda ino: MountsText(vfs, proc, lambda: maps.mounts(proc), 0o444, ino),
            b"mountinfo": lambda ino: MountsText(
                vfs, proc, lambda: maps.mountinfo(proc), 0o444, ino
            ),
            b"smaps": self.text(lambda: smaps.smaps(proc), guarded=True),
            b"smaps_rollup": self.text(lambda: smaps.smaps_rollup(proc), guarded=True),
            b"wchan": self.text(lambda: b"0"),
            b"schedstat": self.text(lambda: pidtext.schedstat(proc)),
            b"cgroup": self.text(lambda: _cgroup(proc)),
            b"oom_score": self.text(lambda: b"%d\n" % score(proc, proc.machine.phys.nframes)),
            b"oom_score_adj": self.text(
                lambda: b"%d\n" % proc.oom_score_adj,
                0o644,
                store=lambda data: pidtext.set_oom_score_adj(proc, data),
            ),
            b"loginuid": self.text(lambda: b"4294967295", 0o644),
            b"sessionid": self.text(lambda: b"4294967295"),
            b"io": self.text(lambda: pidtext.io(proc), 0o400, guarded=True),
            b"uid_map": lambda ino: IdMap(vfs, proc, ino, "uids"),
            b"gid_map": lambda ino: IdMap(vfs, proc, ino, "gids"),
            b"ns": lambda ino: NsDir(vfs, node, proc, ino),
        }


class PidDir(PidNode):
    """/proc/PID."""

    __slots__ = ()

    def __init__(self, vfs: PseudoVfs, parent: PseudoNode, proc: Proc) -> None:
        super().__init__(vfs, parent, proc, None, 0, 0o555)
        make = _Entries(self)
        self.makers = {b"task": lambda ino: TaskDir(vfs, self, proc, ino)} | make.common()
        self.makers |= {
            b"mountstats": make.text(lambda: maps.mountstats(proc), 0o400),
            b"setgroups": lambda ino: SetGroups(vfs, proc, ino),
            b"timerslack_ns": make.text(lambda: _timerslack(proc)),
            b"coredump_filter": make.text(
                lambda: b"%08x\n" % proc.core_filter,
                0o644,
                store=lambda data: pidtext.set_core_filter(proc, data),
            ),
        }


def _maps_file(vfs: PseudoVfs, proc: Proc, nodeid: int) -> Vnode:
    from syscalls.fs.mapsquery import MapsText

    return MapsText(vfs, proc, lambda: maps.maps(proc), 0o444, nodeid, guarded=True)


def _cgroup(proc: Proc) -> bytes:
    from syscalls.fs.cgroupfs import cgroup_line

    lwp = reader()
    return cgroup_line(proc, lwp.proc if lwp is not None else proc)


def _timerslack(proc: Proc) -> bytes:
    lwp = pidtext.main_lwp(proc)
    return b"%d\n" % (lwp.timerslack if lwp is not None else 0)


class TidDir(PidNode):
    """/proc/PID/task/TID."""

    __slots__ = ()

    def __init__(self, vfs: PseudoVfs, parent: PseudoNode, proc: Proc, lwp: Lwp) -> None:
        super().__init__(vfs, parent, proc, lwp, 0, 0o555)
        make = _Entries(self)
        self.makers = make.common() | {
            b"children": make.text(lambda: pidtext.children(proc, lwp, getattr(vfs, "pids", None)))
        }


class _Numbered(PidNode):
    """A directory whose entries have numbers for names."""

    __slots__ = ("_made", "first_node")

    def __init__(
        self, vfs: PseudoVfs, parent: PidNode, proc: Proc, nodeid: int, first_node: int, mode: int
    ) -> None:
        super().__init__(vfs, parent, proc, parent.lwp, nodeid - parent.base, mode)
        self._made: dict[int, Vnode] = {}
        self.first_node = first_node

    def numbers(self) -> list[int]:
        """Return the numbers there are, in order."""
        raise NotImplementedError

    def make(self, number: int) -> Vnode:
        """Return the vnode of an entry."""
        raise NotImplementedError

    def node_of(self, number: int) -> int:
        """Return the node number of an entry."""
        return self.base + self.first_node + number % _PER_FD

    def entry_type(self) -> int:
        """Return the type of the entries."""
        return VLNK

    def lookup(self, name: bytes) -> Vnode:
        """Return the entry of a number that is in use: ENOENT."""
        self.alive()
        number = int(name) if name.isdigit() and len(name) < 11 else -1
        if number < 0 or (name[0] == 48 and len(name) > 1) or number not in self.numbers():
            self._made.pop(number, None)
            raise KernelError(Errno.ENOENT)
        known = self._made.get(number)
        if known is None:
            known = self._made[number] = self.make(number)
        return known

    def readdir(self, cookie: int) -> list[Dirent]:
        """Return the entries; the cookie of a number is the number and a bit."""
        self.alive()
        found = [
            Dirent(name, ino, VDIR, i + 1)
            for i, (name, ino) in enumerate(self.dots())
            if i >= cookie
        ]
        kind = self.entry_type()
        found += [
            Dirent(b"%d" % n, self.node_of(n), kind, n + 3)
            for n in self.numbers()
            if n + 2 >= cookie
        ]
        return found


class NsDir(PidNode):
    """/proc/PID/ns: a magic link for each namespace of the process."""

    __slots__ = ()

    def __init__(self, vfs: PseudoVfs, parent: PidNode, proc: Proc, nodeid: int) -> None:
        super().__init__(vfs, parent, proc, parent.lwp, nodeid - parent.base, 0o511)
        self.base = nodeid + _NS_NODES
        make = _Entries(parent)
        self.makers = nsfs.entries(proc, make.jump)

    def listing(self) -> Iterable[Dirent]:
        """Return the links."""
        self.alive()
        return nsfs.listing(self.base)


class TaskDir(_Numbered):
    """/proc/PID/task: the threads."""

    __slots__ = ()

    def __init__(self, vfs: PseudoVfs, parent: PidNode, proc: Proc, nodeid: int) -> None:
        super().__init__(vfs, parent, proc, nodeid, 0, 0o555)

    def numbers(self) -> list[int]:
        """Return the thread ids; a zombie still has its first."""
        tids = sorted(lwp.tid for lwp in self.proc.lwps) or [self.proc.pid]
        pids: PidSpace | None = getattr(self.vfs, "pids", None)
        return tids if pids is None else [pids.shown(tid) for tid in tids]

    def entry_type(self) -> int:
        """Return the type of the entries."""
        return VDIR

    def node_of(self, number: int) -> int:
        """Return the node number of a thread's directory."""
        return number << _NODE_BITS | 1 << 30

    def make(self, number: int) -> Vnode:
        """Return the directory of a thread."""
        pids: PidSpace | None = getattr(self.vfs, "pids", None)
        lwp = self.proc.lwp(number if pids is None else pids.zone(number))
        if lwp is None:
            return PidDir(self.vfs, self, self.proc)
        return TidDir(self.vfs, self, self.proc, lwp)


class _FdBased(_Numbered):
    """A directory with an entry for each descriptor of the process."""

    __slots__ = ()

    def numbers(self) -> list[int]:
        """Return the descriptors in use: EACCES."""
        may_access(self.proc)
        return [] if self.proc.zombie else [fd for fd, _ in self.proc.files.items()]

    def file(self, fd: int) -> File | None:
        """Return the open file of a descriptor, None if it is closed."""
        if self.proc.zombie:
            return None
        try:
            return self.proc.files.get(fd)
        except KernelError:
            return None


class FdDir(_FdBased):
    """/proc/PID/fd: a magic link for each descriptor."""

    __slots__ = ()

    def __init__(self, vfs: PseudoVfs, parent: PidNode, proc: Proc, nodeid: int) -> None:
        super().__init__(vfs, parent, proc, nodeid, _FD_NODES, 0o500)

    def make(self, number: int) -> Vnode:
        """Return the link of a descriptor."""
        return FdLink(self, number)


class FdLink(JumpLink):
    """/proc/PID/fd/N. Its permission bits show how the file is open."""

    __slots__ = ("directory", "fd")

    def __init__(self, directory: FdDir, fd: int) -> None:
        super().__init__(directory.vfs, directory.proc, self._name, directory.node_of(fd))
        self.directory = directory
        self.fd = fd
        file = directory.file(fd)
        if file is not None:
            self.mode = 0o100 | (0o400 if file.flags & 1 else 0) | (0o200 if file.flags & 2 else 0)

    def getattr(self, cred: Cred | None = None) -> Vattr:
        """Return the attributes; such links show a size of 64 (tid_fd_revalidate)."""
        return super().getattr(cred)._replace(size=64)

    def _name(self) -> Name | None:
        file = self.directory.file(self.fd)
        return file.name if file is not None else None


class FdInfoDir(_FdBased):
    """/proc/PID/fdinfo: a text file for each descriptor."""

    __slots__ = ()

    def __init__(self, vfs: PseudoVfs, parent: PidNode, proc: Proc, nodeid: int) -> None:
        super().__init__(vfs, parent, proc, nodeid, _FDINFO_NODES, 0o555)

    def entry_type(self) -> int:
        """Return the type of the entries."""
        return VREG

    def make(self, number: int) -> Vnode:
        """Return the file of a descriptor."""
        ino = self.node_of(number)
        return ProcText(self.vfs, self.proc, lambda: self._text(number), 0o444, ino, guarded=True)

    def _text(self, fd: int) -> bytes:
        from syscalls.abi.xlat_file import OPEN

        file = self.file(fd)
        if file is None:
            raise KernelError(Errno.ENOENT)
        flags = OPEN.to_lx[file.getfl()]
        if self.proc.files.getcloexec(fd):
            flags |= _O_CLOEXEC_LX
        mount = file.name.mount
        mnt_id = mount.id if mount is not None else 0
        ino = file.vnode.getattr().nodeid
        text = f"pos:\t{file.offset}\nflags:\t0{flags:o}\nmnt_id:\t{mnt_id}\nino:\t{ino}\n"
        return text.encode() + fdinfo.details(file)


class MemFile(PseudoNode):
    """/proc/PID/mem: the memory of the process, at its addresses."""

    __slots__ = ("proc",)

    def __init__(self, vfs: PseudoVfs, proc: Proc, nodeid: int) -> None:
        super().__init__(vfs, VREG, 0o600, nodeid)
        self.proc = proc

    def owner(self) -> tuple[int, int]:
        """Return the owner of the process."""
        return pidtext.owner_of(self.proc)

    def open(self, file: File) -> Vnode | None:  # noqa: ARG002
        """Open, for who may trace the process: EACCES."""
        may_access(self.proc)
        return None

    def read(self, off: int, n: int) -> bytes:
        """Read memory: EIO where nothing is mapped, nothing once the process is gone."""
        if self.proc.zombie:
            return b""
        data = foreign.read(self.proc.as_, off, n)
        if n and not data:
            raise KernelError(Errno.EIO)
        return data

    def write(self, off: int, data: bytes | memoryview) -> int:
        """Write memory, private pages even if the process itself may not: EIO."""
        if self.proc.zombie:
            return 0
        done = foreign.write(self.proc.as_, off, data)
        if data and not done:
            raise KernelError(Errno.EIO)
        return done


__all__ = ["PidDir", "TextLink", "may_access"]
