"""The types of file system that mount(2) knows, and their options (filesystems(5), tmpfs(5))."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.vfs.overlay import Overlay
from lxemu.kernel.vfs.tmpfs import TmpDir, Tmpfs
from lxemu.kernel.vfs.vnode import VDIR, VFS_RDONLY, Vfs

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.vfs.vnode import Vnode

Options = list[tuple[bytes, bytes | None]]
_UNITS = {b"k": 10, b"m": 20, b"g": 30, b"t": 40}
_PAGE = 4096


class FsType(NamedTuple):
    """A type: how to make one, whether it needs a device, whether a user namespace may mount it."""

    make: Callable[[Lwp, bytes, Options], Vfs]
    nodev: bool = True
    in_userns: bool = True


def parse_options(data: bytes) -> Options:
    """Split the text of mount(2): `name` or `name=value`, by commas."""
    found: Options = []
    for word in data.split(b","):
        if word:
            name, sep, value = word.partition(b"=")
            found.append((name, value if sep else None))
    return found


def _size(text: bytes | None, percent_of: int | None = None) -> int:
    """Return a number with a unit (memparse). Raises EINVAL."""
    text = (text or b"").strip()
    shift = 0
    if percent_of is not None and text.endswith(b"%"):
        return percent_of * _number(text[:-1], 10) // 100
    unit = text[-1:].lower()
    if unit in _UNITS:
        shift = _UNITS[unit]
        text = text[:-1]
    return _number(text, 0) << shift


def _number(text: bytes | None, base: int) -> int:
    try:
        value = int(text or b"x", base)
    except ValueError:
        raise KernelError(Errno.EINVAL) from None
    if value < 0:
        raise KernelError(Errno.EINVAL)
    return value


# -- tmpfs ----------------------------------------------------------------------------------------

#: Options that are taken and have no effect: numbers of files are 64 bits, there is no swap, no
#: huge page and one memory node.
_TMPFS_IGNORED = frozenset((b"inode32", b"inode64", b"noswap", b"huge", b"mpol"))


def _tmpfs(lwp: Lwp, source: bytes, options: Options) -> Vfs:
    machine = lwp.machine
    total = machine.phys.nframes * _PAGE
    vfs = Tmpfs(
        machine.phys,
        lwp.proc.mounts.domain.next_fsid(),
        size=total // 2,
        inodes=machine.phys.nframes // 2,
        uid=lwp.proc.cred.fsuid,
        gid=lwp.proc.cred.fsgid,
        now=machine.clock.realtime,
    )
    vfs.source = source or b"none"
    set_tmpfs_options(vfs, options, total)
    return vfs


def set_tmpfs_options(vfs: Tmpfs, options: Options, total: int, *, remount: bool = False) -> None:
    """Set limits, and while it is new the owner and mode of the root. Raises EINVAL."""
    root = vfs.root()
    assert isinstance(root, TmpDir)
    size: int | None = None
    inodes: int | None = None
    for name, value in options:
        if name == b"size":
            size = _size(value, total)
        elif name == b"nr_blocks":
            size = _size(value) * _PAGE
        elif name == b"nr_inodes":
            inodes = _size(value)
        elif name == b"mode":
            mode = _number(value, 8) & 0o7777
            root.mode = root.mode if remount else mode
        elif name in (b"uid", b"gid"):
            number = _number(value, 10)
            if not remount:
                setattr(root, name.decode(), number)
        elif name not in _TMPFS_IGNORED:
            raise KernelError(Errno.EINVAL)
    vfs.resize(size, inodes)
    shown = []
    if vfs.max_pages and (size is not None or vfs.max_pages != total // 2 // _PAGE):
        shown.append(b"size=%dk" % (vfs.max_pages * 4))
    if vfs.max_inodes and (inodes is not None or any(o.startswith(b"nr_") for o in vfs.options)):
        shown.append(b"nr_inodes=%d" % vfs.max_inodes)
    if root.mode != 0o1777:
        shown.append(b"mode=%03o" % root.mode)
    if root.uid:
        shown.append(b"uid=%d" % root.uid)
    if root.gid:
        shown.append(b"gid=%d" % root.gid)
    vfs.options = shown


def _ramfs(lwp: Lwp, source: bytes, options: Options) -> Vfs:
    vfs = Tmpfs(
        lwp.machine.phys,
        lwp.proc.mounts.domain.next_fsid(),
        mode=0o755,
        now=lwp.machine.clock.realtime,
    )
    vfs.name = "ramfs"
    vfs.source = source or b"none"
    root = vfs.root()
    for name, value in options:
        if name == b"mode":
            root.mode = _number(value, 8) & 0o7777
    return vfs


# -- the brand's own ------------------------------------------------------------------------------


def _proc(lwp: Lwp, source: bytes, options: Options) -> Vfs:
    from syscalls.fs.procfs import ProcFs

    for name, value in options:
        if name == b"hidepid" and value not in (b"0", b"off"):
            raise KernelError(Errno.EINVAL)
        if name not in (b"hidepid", b"gid", b"subset"):
            raise KernelError(Errno.EINVAL)
    vfs = ProcFs(lwp.machine, lwp.proc.mounts.domain.next_fsid(), lwp.proc.pidspace)
    vfs.source = source or b"none"
    return vfs


def _sysfs(lwp: Lwp, source: bytes, options: Options) -> Vfs:
    from syscalls.fs.sysfs import SysFs

    if options:
        raise KernelError(Errno.EINVAL)
    vfs = SysFs(lwp.machine, lwp.proc.mounts.domain.next_fsid())
    vfs.source = source or b"none"
    return vfs


def _devpts(lwp: Lwp, source: bytes, options: Options) -> Vfs:
    """Make one with terminals of its own: every mount has that (devpts.rst)."""
    from lxemu.kernel.vfs.ptsfs import MOST, PtsOptions
    from syscalls.fs.devfs import make_devpts

    chosen = PtsOptions()
    for name, value in options:
        if name == b"uid":
            chosen.uid = _number(value, 10)
        elif name == b"gid":
            chosen.gid = _number(value, 10)
        elif name == b"mode":
            chosen.mode = _number(value, 8) & 0o7777
        elif name == b"ptmxmode":
            chosen.clone_mode = _number(value, 8) & 0o7777
        elif name == b"max" and _number(value, 10) <= MOST:
            chosen.most = _number(value, 10)
        elif name != b"newinstance":
            raise KernelError(Errno.EINVAL)
    vfs = make_devpts(lwp.machine, lwp.proc.mounts.domain.next_fsid(), chosen)
    vfs.source = source or b"none"
    return vfs


def _existing(name: str) -> Callable[[Lwp, bytes, Options], Vfs]:
    """Return a maker that gives the zone's one file system of a kind again, as Linux does."""

    def make(lwp: Lwp, _source: bytes, _options: Options) -> Vfs:
        assert lwp.proc.zone.mounts is not None
        for mount in lwp.proc.zone.mounts:
            if mount.vfs.name == name:
                return mount.vfs
        raise KernelError(Errno.ENODEV)

    return make


def _devtmpfs(lwp: Lwp, _source: bytes, _options: Options) -> Vfs:
    from lxemu.kernel.vfs.lookup import lookupname

    root = lwp.proc.zone.root
    assert root is not None
    found = lookupname(root, root, b"/dev", lwp.machine.init.cred)
    return found.vnode.vfs


# -- overlay --------------------------------------------------------------------------------------

_OVERLAY_IGNORED = frozenset(
    (b"redirect_dir", b"index", b"metacopy", b"xino", b"nfs_export", b"volatile", b"userxattr")
)


def _overlay(lwp: Lwp, source: bytes, options: Options) -> Vfs:
    paths: dict[bytes, bytes] = {}
    for name, value in options:
        if name in (b"lowerdir", b"upperdir", b"workdir") and value:
            paths[name] = value
        elif name not in _OVERLAY_IGNORED:
            raise KernelError(Errno.EINVAL)
    if b"lowerdir" not in paths or (b"upperdir" in paths) != (b"workdir" in paths):
        raise KernelError(Errno.EINVAL)
    lowers = [_directory(lwp, path) for path in paths[b"lowerdir"].split(b":") if path]
    fsid = lwp.proc.mounts.domain.next_fsid()
    now = lwp.machine.clock.realtime
    readonly = b"upperdir" not in paths
    top: TmpDir | None = None
    if readonly:
        upper = Tmpfs(lwp.machine.phys, fsid, mode=0o755, now=now)
    else:
        found, work = (_directory(lwp, paths[name]) for name in (b"upperdir", b"workdir"))
        # Only what is kept in memory can be the upper tree.
        if not isinstance(found, TmpDir) or work.vfs is not found.vfs or work is found:
            raise KernelError(Errno.EINVAL)
        top = found
        assert isinstance(found.vfs, Tmpfs)
        upper = found.vfs
    vfs = Overlay(lowers, upper, top=top, fsid=fsid, now=now)
    vfs.source = source or b"none"
    vfs.readonly = readonly
    vfs.flags |= VFS_RDONLY if readonly else 0
    vfs.options = [name + b"=" + value for name, value in paths.items()]
    return vfs


def _directory(lwp: Lwp, path: bytes) -> Vnode:
    from lxemu.kernel.vfs.lookup import lookupname

    fs = lwp.proc.fs
    vnode = lookupname(fs.cwd, fs.root, path.replace(b"\\:", b":"), lwp.proc.cred).vnode
    if vnode.type != VDIR:
        raise KernelError(Errno.ENOTDIR)
    return vnode


def _disk(_lwp: Lwp, source: bytes, _options: Options) -> Vfs:
    """No block device holds a file system: ENOTBLK for what is none, as with a loop device."""
    raise KernelError(Errno.EINVAL if not source else Errno.ENOTBLK)


#: By Linux name, in the order of /proc/filesystems.
def _mqueue(lwp: Lwp, source: bytes, options: Options) -> Vfs:
    """Return the one file system that has the message queues of the caller."""
    del source, options
    from lxemu.kernel.ipc.space import ipc_space

    return ipc_space(lwp.proc).mqueue


FS_TYPES: dict[bytes, FsType] = {
    b"sysfs": FsType(_sysfs),
    b"tmpfs": FsType(_tmpfs),
    b"proc": FsType(_proc),
    b"cgroup2": FsType(_existing("cgroup2")),
    b"devtmpfs": FsType(_devtmpfs, in_userns=False),
    b"devpts": FsType(_devpts),
    b"ramfs": FsType(_ramfs),
    b"mqueue": FsType(_mqueue),
    b"overlay": FsType(_overlay),
}


def make_vfs(lwp: Lwp, fstype: bytes, source: bytes, options: Options) -> Vfs:
    """Make a file system. Raises ENODEV for an unknown type, EINVAL for a bad option."""
    known = FS_TYPES.get(fstype)
    if known is None:
        raise KernelError(Errno.ENODEV)
    return known.make(lwp, source, options)


def remount_options(lwp: Lwp, vfs: Vfs, options: Options) -> list[bytes]:
    """Apply options to a mounted file system; what is left is for its own `remount`."""
    if isinstance(vfs, Tmpfs) and vfs.name == "tmpfs":
        set_tmpfs_options(vfs, options, lwp.machine.phys.nframes * _PAGE, remount=True)
    # Others take what they do not know without a word (legacy_reconfigure).
    return []


def listing() -> bytes:
    """/proc/filesystems."""
    lines = [(b"nodev" if t.nodev else b"") + b"\t" + name for name, t in FS_TYPES.items()]
    return b"\n".join(lines) + b"\n"


__all__: list[Any] = ["FS_TYPES", "listing", "make_vfs", "parse_options", "remount_options"]
