"""Mounting: mount(2), umount2(2), pivot_root(2), sysfs(2)."""

from __future__ import annotations

from lxemu.kernel.cred import PRIV_SYS_MOUNT
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.userns import ruled
from lxemu.kernel.vfs import mountops
from lxemu.kernel.vfs.mount import Mount, tree_of
from lxemu.kernel.vfs.name import Name
from lxemu.kernel.vfs.vnode import (
    VDIR,
    VFS_NOATIME,
    VFS_NODEVICES,
    VFS_NODIRATIME,
    VFS_NOEXEC,
    VFS_NOSETUID,
    VFS_NOSYMFOLLOW,
    VFS_RDONLY,
    VFS_STRICTATIME,
    Vfs,
)
from syscalls.abi import (
    AT_FDCWD,
    At,
    Int,
    MountFlags,
    Path,
    PathPtr,
    Ptr,
    ULong,
    UmountFlags,
    copyin_path,
    copyin_string,
    syscall,
)
from syscalls.fs.fstypes import FS_TYPES, Options, make_vfs, parse_options, remount_options
from syscalls.handlers.paths import locate

LX_MS_RDONLY = 0x1
LX_MS_NOSUID = 0x2
LX_MS_NODEV = 0x4
LX_MS_NOEXEC = 0x8
LX_MS_SYNCHRONOUS = 0x10
LX_MS_REMOUNT = 0x20
LX_MS_DIRSYNC = 0x80
LX_MS_NOSYMFOLLOW = 0x100
LX_MS_NOATIME = 0x400
LX_MS_NODIRATIME = 0x800
LX_MS_BIND = 0x1000
LX_MS_MOVE = 0x2000
LX_MS_REC = 0x4000
LX_MS_SILENT = 0x8000
LX_MS_UNBINDABLE = 1 << 17
LX_MS_PRIVATE = 1 << 18
LX_MS_SLAVE = 1 << 19
LX_MS_SHARED = 1 << 20
LX_MS_RELATIME = 1 << 21
LX_MS_STRICTATIME = 1 << 24
LX_MS_NOUSER = 1 << 31
_PROPAGATION = LX_MS_UNBINDABLE | LX_MS_PRIVATE | LX_MS_SLAVE | LX_MS_SHARED
_PAGE = 4096

_FLAGS = (
    (LX_MS_RDONLY, VFS_RDONLY),
    (LX_MS_NOSUID, VFS_NOSETUID),
    (LX_MS_NODEV, VFS_NODEVICES),
    (LX_MS_NOEXEC, VFS_NOEXEC),
    (LX_MS_NOSYMFOLLOW, VFS_NOSYMFOLLOW),
    (LX_MS_NOATIME, VFS_NOATIME),
    (LX_MS_NODIRATIME, VFS_NODIRATIME),
)


def may_mount(lwp: Lwp) -> None:
    """Check the privilege over the tree that the process sees: EPERM."""
    if not ruled(lwp.proc.cred, lwp.proc.mounts.owner, PRIV_SYS_MOUNT):
        raise KernelError(Errno.EPERM)


def mount_flags(flags: int) -> int:
    """Return the VFS_ flags of one mount that MS_ flags mean."""
    found = 0
    for lx, ours in _FLAGS:
        if flags & lx:
            found |= ours
    if flags & LX_MS_STRICTATIME:
        found = found & ~VFS_NOATIME | VFS_STRICTATIME
    return found


def _data(lwp: Lwp, data: int) -> bytes:
    """Copy in the options: at most a page, up to the NUL (copy_mount_options)."""
    if not data:
        return b""
    room = lwp.as_.readable_prefix(data, _PAGE)
    if not room:
        raise KernelError(Errno.EFAULT)
    text: bytes = lwp.as_.copyin(data, room)
    return text[: _PAGE - 1].split(b"\0", 1)[0]


def _string(lwp: Lwp, addr: int) -> bytes | None:
    return copyin_string(lwp.as_, addr, _PAGE, Errno.EINVAL) if addr else None


@syscall
def mount(
    lwp: Lwp,
    source: PathPtr,
    target: PathPtr,
    filesystemtype: PathPtr,
    flags: MountFlags,
    data: Ptr,
) -> int:
    """Mount a file system, or change a mount, as the flags say."""
    fstype = _string(lwp, filesystemtype)
    name = _string(lwp, source)
    options = _data(lwp, data)
    where = locate(lwp, AT_FDCWD, copyin_path(lwp.as_, target))
    if flags & LX_MS_NOUSER:
        raise KernelError(Errno.EINVAL)
    may_mount(lwp)
    if flags & LX_MS_REMOUNT:
        _remount(lwp, where, flags, parse_options(options))
    elif flags & LX_MS_BIND:
        _bind(lwp, where, name, recursive=flags & LX_MS_REC != 0)
    elif flags & _PROPAGATION:
        _change_type(lwp, where, flags)
    elif flags & LX_MS_MOVE:
        _move(lwp, where, name)
    else:
        _new_mount(lwp, where, fstype, name, flags, parse_options(options))
    return 0


def _mounted(lwp: Lwp, where: Name) -> Mount:
    """Return the mount that has `where` as its root: EINVAL if it is none."""
    return lwp.proc.mounts.find(where)


def _remount(lwp: Lwp, where: Name, flags: int, options: Options) -> None:
    found = _mounted(lwp, where)
    wanted = mount_flags(flags)
    if not flags & (LX_MS_NOATIME | LX_MS_NODIRATIME | LX_MS_RELATIME | LX_MS_STRICTATIME):
        wanted |= found.flags & (VFS_NOATIME | VFS_NODIRATIME | VFS_STRICTATIME)
    procs = lwp.machine.procs.values()
    if not flags & LX_MS_BIND:
        vfs = found.vfs
        changed = vfs.flags & ~VFS_RDONLY | wanted & VFS_RDONLY
        rest = remount_options(lwp, vfs, options)
        mountops.remount_vfs(procs, vfs, changed, rest)
    mountops.remount(procs, found, wanted)


def _bind(lwp: Lwp, where: Name, source: bytes | None, *, recursive: bool) -> None:
    if not source:
        raise KernelError(Errno.EINVAL)
    what = locate(lwp, AT_FDCWD, source)
    table = lwp.proc.mounts
    if what.mount is None or what.mount.table is not table or not what.mount.attached:
        raise KernelError(Errno.EINVAL)
    check_attached(lwp, where)
    table.bind(where, what, recursive=recursive)


def check_attached(lwp: Lwp, where: Name) -> None:
    """Check that `where` is in the tree that the process sees: EINVAL."""
    into = where.mount
    if into is None or not into.attached or into.table is not lwp.proc.mounts:
        raise KernelError(Errno.EINVAL)


def _change_type(lwp: Lwp, where: Name, flags: int) -> None:
    kind = flags & ~(LX_MS_REC | LX_MS_SILENT)
    if kind & ~_PROPAGATION or kind & (kind - 1):
        raise KernelError(Errno.EINVAL)
    top = _mounted(lwp, where)
    for found in tree_of(top) if flags & LX_MS_REC else [top]:
        set_propagation(found, kind)


def set_propagation(found: Mount, kind: int) -> None:
    """Make a mount shared, a slave, private or unbindable (one of the four MS_ flags)."""
    found.unbindable = kind == LX_MS_UNBINDABLE
    if kind == LX_MS_SHARED:
        if found.group is None:
            found.join(found.table.domain.next_group(), found.master)
    elif kind == LX_MS_SLAVE:
        group = found.group
        if group is not None and len(group.peers) > 1:
            found.join(None, group)
        else:
            found.join(None, found.master)
    else:
        found.join(None, None)


def _move(lwp: Lwp, where: Name, source: bytes | None) -> None:
    if not source:
        raise KernelError(Errno.EINVAL)
    what = locate(lwp, AT_FDCWD, source)
    check_attached(lwp, where)
    lwp.proc.mounts.move(_mounted(lwp, what), where)


def _new_mount(
    lwp: Lwp, where: Name, fstype: bytes | None, source: bytes | None, flags: int, options: Options
) -> None:
    if not fstype:
        raise KernelError(Errno.EINVAL)
    vfs = make_vfs(lwp, fstype.split(b".")[0], source or b"", options)
    add_mount(lwp, vfs, where, flags, source)


def add_mount(lwp: Lwp, vfs: Vfs, where: Name, flags: int, source: bytes | None) -> Mount:
    """Put a file system over `where`: EBUSY if just this one is there, ENOTDIR, EINVAL."""
    check_attached(lwp, where)
    into = where.mount
    if into is not None and into.vfs is vfs and into.root is where:
        raise KernelError(Errno.EBUSY)
    if vfs.root().type != VDIR or where.vnode.type != VDIR:
        raise KernelError(Errno.ENOTDIR)
    if flags & LX_MS_RDONLY:
        vfs.flags |= VFS_RDONLY
    vfs.space = vfs.space or lwp.proc.cred.space
    table = lwp.proc.mounts
    return table.mount(where, vfs, flags=mount_flags(flags), source=source or b"none")


# -- unmounting -----------------------------------------------------------------------------------

LX_MNT_FORCE = 1
LX_MNT_DETACH = 2
LX_MNT_EXPIRE = 4
LX_UMOUNT_NOFOLLOW = 8


@syscall
def umount2(lwp: Lwp, target: Path, flags: UmountFlags) -> int:
    """Unmount what is mounted at a path.

    Deviation: of what is used between two calls with MNT_EXPIRE only what is still used counts.
    """
    follow = At.SYMLINK_NOFOLLOW if flags & LX_UMOUNT_NOFOLLOW else 0
    where = locate(lwp, AT_FDCWD, target, follow)
    may_mount(lwp)
    lazy = flags & LX_MNT_DETACH != 0
    expire = flags & LX_MNT_EXPIRE != 0
    if expire and flags & (LX_MNT_FORCE | LX_MNT_DETACH):
        raise KernelError(Errno.EINVAL)
    mountops.umount(lwp.proc, where, lazy=lazy, expire=expire)
    return 0


@syscall
def umount(lwp: Lwp, target: Path) -> int:
    """Unmount, the call without flags (i386)."""
    where = locate(lwp, AT_FDCWD, target)
    may_mount(lwp)
    mountops.umount(lwp.proc, where)
    return 0


@syscall
def pivot_root(lwp: Lwp, new_root: PathPtr, put_old: PathPtr) -> int:
    """Change the root of the tree that the process sees."""
    may_mount(lwp)
    new = _directory(lwp, new_root)
    old = _directory(lwp, put_old)
    mountops.pivot_root(lwp.proc, new, old)
    return 0


def _directory(lwp: Lwp, path: int) -> Name:
    name = locate(lwp, AT_FDCWD, copyin_path(lwp.as_, path))
    if name.vnode.type != VDIR:
        raise KernelError(Errno.ENOTDIR)
    return name


# -- names of types -------------------------------------------------------------------------------


@syscall
def sysfs(lwp: Lwp, option: Int, arg1: ULong, arg2: Ptr) -> int:
    """Turn numbers of file system types into names and back: 1 index, 2 name, 3 how many."""
    types = list(FS_TYPES)
    if option == 1:
        name = copyin_string(lwp.as_, arg1, _PAGE, Errno.EINVAL)
        if name not in FS_TYPES:
            raise KernelError(Errno.EINVAL)
        return types.index(name)
    if option == 2:
        if arg1 >= len(types):
            raise KernelError(Errno.EINVAL)
        lwp.as_.copyout(arg2, types[arg1] + b"\0")
        return 0
    if option == 3:
        return len(types)
    raise KernelError(Errno.EINVAL)
