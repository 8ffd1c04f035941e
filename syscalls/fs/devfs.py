"""Linux device numbers: /dev and the drivers behind it (lxd_vfsops.c; admin-guide/devices.txt)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lxemu.kernel.cred import Cred
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.vfs.ptsfs import MOST, CloneDriver, ForeignDriver, PtsFs, PtsOptions
from lxemu.kernel.vfs.specfs import (
    DevSwitch,
    Driver,
    FullDriver,
    NullDriver,
    RandomDriver,
    ZeroDriver,
)
from lxemu.kernel.vfs.tmpfs import Tmpfs
from lxemu.kernel.vfs.vnode import VCHR, Vnode, makedev
from syscalls.fs.pseudo import reader

if TYPE_CHECKING:
    from lxemu.kernel.vfs.file import File

#: Name, major and minor number, permissions.
NODES = (
    (b"null", 1, 3, 0o666),
    (b"zero", 1, 5, 0o666),
    (b"full", 1, 7, 0o666),
    (b"random", 1, 8, 0o666),
    (b"urandom", 1, 9, 0o666),
    (b"kmsg", 1, 11, 0o644),
    (b"tty", 5, 0, 0o666),
    (b"console", 5, 1, 0o620),
    (b"ptmx", 5, 2, 0o666),
)
LINKS = (
    (b"fd", b"/proc/self/fd"),
    (b"stdin", b"/proc/self/fd/0"),
    (b"stdout", b"/proc/self/fd/1"),
    (b"stderr", b"/proc/self/fd/2"),
    (b"core", b"/proc/kcore"),
)
_ROOT = Cred()
_TTY_GID = 5
#: Major number of the terminal sides of pseudo terminals, number of the clone device.
_PTS_MAJOR = 136
_PTMX = makedev(5, 2)


class ControllingTtyDriver(Driver):
    """/dev/tty: another name for the terminal that controls the opener (tty(4))."""

    seekable = False

    def open(self, vnode: Vnode, file: File) -> Vnode | None:  # noqa: ARG002
        """Put the terminal itself in the place of the device: ENXIO without one."""
        lwp = reader()
        tty = lwp.proc.ctty if lwp is not None else None
        if lwp is None or tty is None:
            raise KernelError(Errno.ENXIO)
        again = tty.open_again(file)
        if again is not None:
            return again
        found = find_terminal(lwp.machine, tty)
        if found is None:
            raise KernelError(Errno.ENXIO)
        return found.open(file) or found


class ConsoleDriver(Driver):
    """/dev/console: the terminal that the machine was started on."""

    seekable = False

    def __init__(self, machine: Any) -> None:
        self.machine = machine

    def open(self, vnode: Vnode, file: File) -> Vnode | None:  # noqa: ARG002
        """Put the terminal in the place of the device: EIO without one."""
        console = getattr(self.machine, "console", None)
        found = find_terminal(self.machine, console) if console is not None else None
        if found is None:
            raise KernelError(Errno.EIO)
        return found.open(file) or found


class KmsgDriver(NullDriver):
    """/dev/kmsg: the kernel's log, always empty; what is written to it is dropped."""

    seekable = True

    def read(self, file: File, n: int) -> bytes:  # noqa: ARG002
        """Find no message: EAGAIN, as a log that has been read to its end gives."""
        raise KernelError(Errno.EAGAIN)


def find_terminal(machine: Any, tty: Any) -> Vnode | None:
    """Return the vnode of a terminal: the terminal knows it, or somebody has it open."""
    vnode: Vnode | None = getattr(tty, "vnode", None)
    if vnode is not None:
        return vnode
    for proc in machine.procs.values():
        if proc.zombie:
            continue
        for _fd, file in proc.files.items():  # noqa: PERF102 -- no dict
            if getattr(file.vnode, "tty", None) is tty:
                found: Vnode = file.vnode
                return found
    return None


def register_drivers(devices: DevSwitch, machine: Any) -> None:
    """Say which driver serves which Linux device number."""
    random = RandomDriver(machine.entropy)
    drivers: dict[tuple[int, int], Driver] = {
        (1, 3): NullDriver(),
        (1, 5): ZeroDriver(),
        (1, 7): FullDriver(),
        (1, 8): random,
        (1, 9): random,
        (1, 11): KmsgDriver(),
        (5, 0): ControllingTtyDriver(),
        (5, 1): ConsoleDriver(machine),
        (5, 2): CloneDriver(),
    }
    devices.register_major(_PTS_MAJOR, ForeignDriver())
    for (major, minor), driver in drivers.items():
        devices.register(makedev(major, minor), driver)


def make_dev(machine: Any, fsid: int) -> Tmpfs:
    """Return a /dev: a file system in memory with the nodes and links of a small Linux system."""
    vfs = Tmpfs(machine.phys, fsid, mode=0o755, now=machine.clock.realtime)
    root = vfs.root()
    for name, major, minor, mode in NODES:
        root.create(name, mode, VCHR, _ROOT, makedev(major, minor))
    for name, target in LINKS:
        root.symlink(name, target, _ROOT)
    for name in (b"pts", b"shm", b"mqueue"):
        root.mkdir(name, 0o1777 if name != b"pts" else 0o755, _ROOT)
    return vfs


def make_devpts(machine: Any, fsid: int, options: PtsOptions | None = None) -> PtsFs:
    """Return a file system of pseudo terminals; the default options are those of distributions."""
    chosen = options or PtsOptions(gid=_TTY_GID, mode=0o620, first=True)
    vfs = PtsFs(fsid, "devpts", _PTS_MAJOR, _PTMX, chosen, machine.zone, machine.clock.realtime)
    vfs.options = _shown(chosen)
    return vfs


def _shown(options: PtsOptions) -> list[bytes]:
    """Return the options as /proc/mounts shows them."""
    words = []
    if options.uid is not None:
        words.append(b"uid=%d" % options.uid)
    if options.gid is not None:
        words.append(b"gid=%d" % options.gid)
    words += [b"mode=%03o" % options.mode, b"ptmxmode=%03o" % options.clone_mode]
    if options.most < MOST:
        words.append(b"max=%d" % options.most)
    return words
