"""The Linux /proc file system: its root and what concerns the whole system (lx_prvnops.c.

Proc(5)).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.pidspace import PID_MAX
from lxemu.kernel.vfs.vnode import VDIR, Dirent, Vnode
from syscalls.caps import LX_CAP_LAST
from syscalls.fs import procsysnet, proctext
from syscalls.fs.pseudo import (
    ROOT_NODEID,
    PseudoDir,
    PseudoVfs,
    TextFile,
    TextLink,
    reader,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxemu.kernel.pidspace import PidSpace
    from lxemu.kernel.proc import Proc
    from syscalls.fs.procpid import PidDir

#: Cookies of processes start here; what is there always comes first.
_PID_COOKIE = 1000
_INT = 0x7FFFFFFF


class ProcFs(PseudoVfs):
    """One /proc, of one machine."""

    def __init__(self, machine: Any, fsid: int, space: PidSpace | None = None) -> None:
        super().__init__(fsid, "proc", machine.clock.realtime)
        self.machine = machine
        #: Whose processes are shown, by its numbers; None for the zone's.
        self.pids = space
        # A name that does not exist is asked for first, and there is no making it exist.
        self.no_making = Errno.ENOENT
        root = ProcRoot(self)
        self.set_root(root)
        root.fill = lambda: fill_root(root, machine)


class ProcRoot(PseudoDir):
    """The root of /proc: fixed files, and a directory for each process."""

    __slots__ = ("_pids",)

    vfs: ProcFs

    def __init__(self, vfs: ProcFs) -> None:
        super().__init__(vfs, nodeid=ROOT_NODEID)
        self._pids: dict[int, PidDir] = {}

    def lookup(self, name: bytes) -> Vnode:
        """Return a fixed entry or the directory of a process (or of a thread, by its id)."""
        found = self.entries.get(name)
        if found is not None:
            return found
        proc = self._find(name)
        from syscalls.fs.procpid import PidDir

        known = self._pids.get(proc.pid)
        if known is None or known.proc is not proc:
            self._forget_dead()
            known = self._pids[proc.pid] = PidDir(self.vfs, self, proc)
        return known

    def _find(self, name: bytes) -> Proc:
        """Return the process that `name` means; raises ENOENT."""
        if not name.isdigit() or name[0] == 48 or len(name) > 7:
            raise KernelError(Errno.ENOENT)
        machine, pid = self.vfs.machine, int(name)
        if self.vfs.pids is not None:
            pid = self.vfs.pids.zone(pid)
        proc: Proc | None = machine.procs.get(pid)
        if proc is None:
            thread = machine.lwp_by_tid.get(pid)
            if thread is None:
                raise KernelError(Errno.ENOENT)
            proc = thread.proc
            assert proc is not None
        return proc

    def _forget_dead(self) -> None:
        procs = self.vfs.machine.procs
        dead = [pid for pid, node in self._pids.items() if procs.get(pid) is not node.proc]
        for pid in dead:
            del self._pids[pid]

    def nlink(self) -> int:
        """Return a link for each process, as Linux does."""
        return super().nlink() + len(self.vfs.machine.procs)

    def readdir(self, cookie: int) -> list[Dirent]:
        """Return the fixed entries, then the processes by id."""
        found = super().readdir(cookie) if cookie < _PID_COOKIE else []
        if found:
            last = found[-1]
            found[-1] = last._replace(next_cookie=max(last.next_cookie, 1))
        first = max(0, cookie - _PID_COOKIE)
        pids = self.vfs.machine.procs
        if self.vfs.pids is not None:
            pids = [number for pid in pids if (number := self.vfs.pids.shown(pid))]
        for pid in sorted(pids):
            if pid >= first:
                entry = Dirent(b"%d" % pid, pid << 12, VDIR, _PID_COOKIE + pid + 1)
                found.append(entry)
        return found


def _own_ids(pids: PidSpace | None) -> tuple[int, int]:
    """Return the numbers of the reader and its lwp in a space; ENOENT outside of it."""
    lwp = reader()
    if lwp is None:
        raise KernelError(Errno.ENOENT)
    if pids is None:
        return lwp.proc.pid, lwp.tid
    found = pids.shown(lwp.proc.pid), pids.shown(lwp.tid)
    if not found[0]:
        raise KernelError(Errno.ENOENT)
    return found


def fill_root(root: ProcRoot, machine: Any) -> None:
    """Enter everything of /proc that is not a process."""
    pids = root.vfs.pids
    root.link(b"self", lambda: b"%d" % _own_ids(pids)[0])
    root.link(b"thread-self", lambda: b"%d/task/%d" % _own_ids(pids))
    root.link(b"mounts", lambda: b"self/mounts")
    root.link(b"net", lambda: b"self/net")
    for name, text in proctext.FIXED.items():
        root.text(name, _constant(text))
    for name, make in proctext.DYNAMIC.items():
        root.text(name, _of_machine(make, machine))
    root.text(b"filesystems", _filesystems)
    root.text(b"locks", _of_machine(_locks, machine))
    _fill_sys(root.directory(b"sys"), machine)
    from syscalls.fs import procipc

    procipc.fill_sysvipc(root.directory(b"sysvipc"), machine)
    root.directory(b"irq")
    root.directory(b"bus")
    root.directory(b"fs")
    tty = root.directory(b"tty")
    tty.text(b"drivers", _constant(proctext.TTY_DRIVERS))


def _locks(machine: Any) -> bytes:
    from syscalls.fs.locktext import locks

    return locks(machine)


def _constant(text: bytes) -> Callable[[], bytes]:
    return lambda: text


def _of_machine(make: Callable[[Any], bytes], machine: Any) -> Callable[[], bytes]:
    return lambda: make(machine)


# -- /proc/sys ----------------------------------------------------------------------------------


class Setting(TextFile):
    """A value of /proc/sys that can be written.

    `check` returns what is kept of what was written.
    """

    __slots__ = ("_check", "value")

    def __init__(self, vfs: PseudoVfs, value: bytes, check: Callable[[bytes], bytes]) -> None:
        super().__init__(vfs, self.show, 0o644, store=self.change)
        self.value = value
        self._check = check

    def show(self) -> bytes:
        """Return the value as a line."""
        return self.value + b"\n"

    def change(self, data: bytes) -> None:
        """Keep a new value; raises EINVAL."""
        self.value = self._check(data.rstrip(b"\n"))


def _number(data: bytes) -> bytes:
    try:
        return b"%d" % int(data.strip() or b"x")
    except ValueError:
        raise KernelError(Errno.EINVAL) from None


def _numbers(data: bytes) -> bytes:
    return b"\t".join(_number(word) for word in data.split())


def _text(data: bytes) -> bytes:
    return data[:127]


def _setting(where: PseudoDir, name: bytes, value: bytes) -> None:
    """Enter a value that is kept and has no other effect."""
    check = _number if value.lstrip(b"-").isdigit() else _text
    if b"\t" in value:
        check = _numbers
    where.add(name, Setting(where.vfs, value, check))


def _fill_sys(sys_dir: PseudoDir, machine: Any) -> None:
    kernel = sys_dir.directory(b"kernel")
    zone = machine.zone
    kernel.text(b"ostype", _constant(b"Linux\n"))
    kernel.text(b"osrelease", lambda: zone.kernel_version.encode() + b"\n")
    kernel.text(b"version", _constant(proctext.LX_VERSION.encode() + b"\n"))
    kernel.add(b"hostname", _ZoneName(kernel.vfs, zone, "nodename"))
    kernel.add(b"domainname", _ZoneName(kernel.vfs, zone, "domainname"))
    kernel.add(b"core_pattern", _CorePattern(kernel.vfs, zone))
    terminals = kernel.directory(b"pty")
    terminals.add(b"max", _ZoneNumber(kernel.vfs, zone, "pty_max"))
    terminals.text(b"nr", lambda: b"%d\n" % zone.ptys)
    terminals.add(b"reserve", _ZoneNumber(kernel.vfs, zone, "pty_reserve"))
    kernel.add(b"core_uses_pid", _ZoneNumber(kernel.vfs, zone, "core_uses_pid"))
    kernel.text(b"cap_last_cap", _constant(b"%d\n" % LX_CAP_LAST))
    kernel.text(b"ngroups_max", _constant(b"65536\n"))
    kernel.text(b"pid_max", _constant(b"%d\n" % PID_MAX), 0o644)
    kernel.add(b"ns_last_pid", _ZoneNumber(kernel.vfs, machine, "last_pid"))
    for name, value in proctext.SYS_KERNEL.items():
        _setting(kernel, name, value)
    from syscalls.fs import procipc

    procipc.fill_limits(kernel, machine, procipc.KERNEL)
    _fill_random(kernel.directory(b"random"), machine)
    for group, values in proctext.SYS_GROUPS.items():
        where = sys_dir
        for part in group.split(b"/"):
            found = where.entries.get(part)
            where = found if isinstance(found, PseudoDir) else where.directory(part)
        for name, value in values.items():
            _setting(where, name, value)
    net = sys_dir.entries[b"net"]
    assert isinstance(net, PseudoDir)
    ipv4 = net.entries[b"ipv4"]
    assert isinstance(ipv4, PseudoDir)
    procsysnet.fill(ipv4)
    memory = sys_dir.entries[b"vm"]
    assert isinstance(memory, PseudoDir)
    commit = machine.phys.commit
    for name, member, high in (
        (b"overcommit_memory", "mode", 2),
        (b"overcommit_ratio", "ratio", _INT),
        (b"overcommit_kbytes", "kbytes", _INT),
    ):
        memory.add(name, _ZoneNumber(memory.vfs, commit, member, 0, high))
    files = sys_dir.entries[b"fs"]
    assert isinstance(files, PseudoDir)
    files.add(b"lease-break-time", _ZoneNumber(files.vfs, zone, "lease_break_time"))
    procipc.fill_limits(files.directory(b"mqueue"), machine, procipc.MQUEUE)
    files.text(b"aio-nr", lambda: _aio_requests(zone))
    files.add(b"aio-max-nr", _ZoneNumber(files.vfs, zone, "aio_max_requests"))
    watches = files.directory(b"inotify")
    for name in (b"max_queued_events", b"max_user_instances", b"max_user_watches"):
        watches.add(name, _ZoneNumber(files.vfs, zone, "inotify_" + name.decode()))
    files.text(b"file-nr", lambda: b"%d\t0\t9223372036854775807\n" % _open_files(machine))


def _open_files(machine: Any) -> int:
    return sum(len(proc.files) for proc in machine.procs.values() if not proc.zombie)


class _ZoneName(TextFile):
    """A name of the zone, read and set as sethostname(2) does."""

    __slots__ = ("_member", "_zone")

    def __init__(self, vfs: PseudoVfs, zone: Any, member: str) -> None:
        super().__init__(vfs, self._show, 0o644, store=self._change)
        self._zone = zone
        self._member = member

    def _names(self) -> Any:
        lwp = reader()
        return lwp.proc.uts if lwp is not None else self._zone

    def _show(self) -> bytes:
        value: bytes = getattr(self._names(), self._member)
        return value + b"\n"

    def _change(self, data: bytes) -> None:
        setattr(self._names(), self._member, data.rstrip(b"\n")[:64])


class _CorePattern(TextFile):
    """How core files are called; a program to pipe them to is refused (EINVAL)."""

    __slots__ = ("_zone",)

    def __init__(self, vfs: PseudoVfs, zone: Any) -> None:
        super().__init__(vfs, lambda: zone.core_pattern + b"\n", 0o644, store=self._change)
        self._zone = zone

    def _change(self, data: bytes) -> None:
        pattern = data.rstrip(b"\n")[:127]
        if pattern.startswith(b"|"):
            raise KernelError(Errno.EINVAL)
        self._zone.core_pattern = pattern


class _ZoneNumber(TextFile):
    """A number of the zone (or another object) that can be written, `low` to `high`."""

    __slots__ = ("_high", "_low", "_member", "_zone")

    def __init__(
        self, vfs: PseudoVfs, zone: Any, member: str, low: int = -_INT, high: int = _INT
    ) -> None:
        super().__init__(vfs, self._show, 0o644, store=self._change)
        self._zone = zone
        self._member = member
        self._low = low
        self._high = high

    def _show(self) -> bytes:
        return b"%d\n" % getattr(self._zone, self._member)

    def _change(self, data: bytes) -> None:
        value = int(_number(data))
        if not self._low <= value <= self._high:
            raise KernelError(Errno.EINVAL)
        setattr(self._zone, self._member, value)


def _filesystems() -> bytes:
    from syscalls.fs.fstypes import listing

    return listing()


def _aio_requests(zone: Any) -> bytes:
    from lxemu.kernel.aio import requests_made

    return b"%d\n" % requests_made(zone)


def _uuid(machine: Any) -> bytes:
    raw = bytearray(machine.entropy(16))
    # Version 4, variant 1 (RFC 9562).
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:])).encode() + b"\n"


def _fill_random(where: PseudoDir, machine: Any) -> None:
    boot_id: list[bytes] = []

    def boot() -> bytes:
        # Made on first use: start-up needs no entropy.
        if not boot_id:
            boot_id.append(_uuid(machine))
        return boot_id[0]

    where.text(b"boot_id", boot)
    where.text(b"uuid", lambda: _uuid(machine))
    where.text(b"entropy_avail", _constant(b"256\n"))
    where.text(b"poolsize", _constant(b"256\n"))
    where.text(b"write_wakeup_threshold", _constant(b"256\n"))


__all__ = ["ProcFs", "ProcRoot", "TextLink", "fill_root"]
