"""Mounting by descriptors: open_tree(2), move_mount(2), fsopen(2) and its kin, mount_setattr(2).

A mount that is nowhere yet is held by the open file of its root; a file system that is not made yet
is an `FsContext`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.anonfs import AnonVnode, anon_files
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.vfs import mountops
from lxemu.kernel.vfs.fcntl import O_PATH
from lxemu.kernel.vfs.file import File
from lxemu.kernel.vfs.mount import Mount, tree_of
from lxemu.kernel.vfs.name import Name
from lxemu.kernel.vfs.vnode import (
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
    At,
    DirFd,
    Fd,
    HexInt,
    In,
    Int,
    MountAttr,
    PathPtr,
    Size,
    UInt,
    copyin_path,
    copyin_string,
    syscall,
)
from syscalls.fs.fstypes import FS_TYPES, Options, make_vfs, remount_options
from syscalls.handlers.mount import (
    LX_MS_PRIVATE,
    LX_MS_SHARED,
    LX_MS_SLAVE,
    LX_MS_UNBINDABLE,
    check_attached,
    may_mount,
    set_propagation,
)
from syscalls.handlers.paths import locate

if TYPE_CHECKING:
    from lxemu.kernel.vfs.vnode import Vnode

LX_OPEN_TREE_CLOEXEC = 0o2000000
LX_AT_SYMLINK_NOFOLLOW = 0x100
LX_AT_NO_AUTOMOUNT = 0x800
LX_AT_EMPTY_PATH = 0x1000
LX_AT_RECURSIVE = 0x8000
LX_OPEN_TREE_CLONE = 1

LX_MOUNT_ATTR_ATIME = 0x70
LX_MOUNT_ATTR_NOATIME = 0x10
LX_MOUNT_ATTR_STRICTATIME = 0x20
LX_MOUNT_ATTR_IDMAP = 0x100000
_ATTRS = (
    (0x1, VFS_RDONLY),
    (0x2, VFS_NOSETUID),
    (0x4, VFS_NODEVICES),
    (0x8, VFS_NOEXEC),
    (LX_MOUNT_ATTR_NOATIME, VFS_NOATIME),
    (LX_MOUNT_ATTR_STRICTATIME, VFS_STRICTATIME),
    (0x80, VFS_NODIRATIME),
    (0x200000, VFS_NOSYMFOLLOW),
)
_KNOWN_ATTRS = 0x20008F | LX_MOUNT_ATTR_ATIME
_PAGE = 4096


def _located(lwp: Lwp, dirfd: int, path: int, flags: int) -> Name:
    """Find a place by Linux's AT_ flags."""
    ours = At.SYMLINK_NOFOLLOW if flags & LX_AT_SYMLINK_NOFOLLOW else 0
    if flags & LX_AT_EMPTY_PATH:
        ours |= At.EMPTY_PATH
    return locate(lwp, dirfd, copyin_path(lwp.as_, path), ours)


def _install(lwp: Lwp, vnode: Vnode, name: Name, flags: int, *, cloexec: bool) -> int:
    file = File(vnode, name, flags, lwp.proc.cred)
    return lwp.proc.files.alloc(file, 0, cloexec)


def attributes(flags: int) -> int:
    """Return the VFS_ flags that MOUNT_ATTR_ flags mean. Raises EINVAL."""
    if flags & ~_KNOWN_ATTRS:
        raise KernelError(Errno.EINVAL)
    atime = flags & LX_MOUNT_ATTR_ATIME
    if atime not in (0, LX_MOUNT_ATTR_NOATIME, LX_MOUNT_ATTR_STRICTATIME):
        raise KernelError(Errno.EINVAL)
    found = 0
    for lx, ours in _ATTRS:
        if flags & lx:
            found |= ours
    return found


def attributes_of(flags: int) -> int:
    """Return the MOUNT_ATTR_ flags that VFS_ flags of a mount are shown as."""
    return sum(lx for lx, ours in _ATTRS if flags & ours)


# -- trees ----------------------------------------------------------------------------------------


@syscall
def open_tree(lwp: Lwp, dirfd: DirFd, path: PathPtr, flags: UInt) -> int:
    """Open a place for move_mount, or a copy of the tree there that is mounted nowhere."""
    known = LX_AT_EMPTY_PATH | LX_AT_NO_AUTOMOUNT | LX_AT_RECURSIVE | LX_AT_SYMLINK_NOFOLLOW
    if flags & ~(known | LX_OPEN_TREE_CLONE | LX_OPEN_TREE_CLOEXEC):
        raise KernelError(Errno.EINVAL)
    recursive, clone = flags & LX_AT_RECURSIVE, flags & LX_OPEN_TREE_CLONE
    if recursive and not clone:
        raise KernelError(Errno.EINVAL)
    if clone:
        may_mount(lwp)
    name = _located(lwp, dirfd, path, flags)
    if clone:
        if name.mount is None or name.mount.table is not lwp.proc.mounts:
            raise KernelError(Errno.EINVAL)
        name = lwp.proc.mounts.copy_tree(name, recursive=recursive != 0).root
    return _install(lwp, name.vnode, name, O_PATH, cloexec=flags & LX_OPEN_TREE_CLOEXEC != 0)


LX_MOVE_MOUNT_F_SYMLINKS = 0x1
LX_MOVE_MOUNT_F_EMPTY_PATH = 0x4
LX_MOVE_MOUNT_T_SYMLINKS = 0x10
LX_MOVE_MOUNT_T_EMPTY_PATH = 0x40
LX_MOVE_MOUNT_MASK = 0x377
LX_MOVE_MOUNT_SPECIAL = 0x300


@syscall
def move_mount(
    lwp: Lwp, from_dirfd: DirFd, from_path: PathPtr, to_dirfd: DirFd, to_path: PathPtr, flags: UInt
) -> int:
    """Mount what is mounted nowhere yet, or move a mount.

    Deviation: MOVE_MOUNT_SET_GROUP and MOVE_MOUNT_BENEATH are refused with EINVAL.
    """
    may_mount(lwp)
    if flags & ~LX_MOVE_MOUNT_MASK or flags & LX_MOVE_MOUNT_SPECIAL:
        raise KernelError(Errno.EINVAL)
    source = _end(lwp, from_dirfd, from_path, flags)
    where = _end(lwp, to_dirfd, to_path, flags >> 4)
    mount = source.mount
    if mount is None or mount.root is not source:
        raise KernelError(Errno.EINVAL)
    check_attached(lwp, where)
    table = lwp.proc.mounts
    if mount.attached:
        table.move(table.find(source), where)
    elif mount.covered is None:
        table.attach(mount, where)
    else:
        raise KernelError(Errno.EINVAL)
    return 0


def _end(lwp: Lwp, dirfd: int, path: int, flags: int) -> Name:
    """Find one end of a move; `flags` are MOVE_MOUNT_F_*."""
    at = 0 if flags & LX_MOVE_MOUNT_F_SYMLINKS else LX_AT_SYMLINK_NOFOLLOW
    if flags & LX_MOVE_MOUNT_F_EMPTY_PATH:
        at |= LX_AT_EMPTY_PATH
    return _located(lwp, dirfd, path, at)


# -- file systems in the making -------------------------------------------------------------------

LX_FSOPEN_CLOEXEC = 1
(
    LX_FSCONFIG_SET_FLAG,
    LX_FSCONFIG_SET_STRING,
    LX_FSCONFIG_SET_BINARY,
    LX_FSCONFIG_SET_PATH,
    LX_FSCONFIG_SET_PATH_EMPTY,
    LX_FSCONFIG_SET_FD,
    LX_FSCONFIG_CMD_CREATE,
    LX_FSCONFIG_CMD_RECONFIGURE,
    LX_FSCONFIG_CMD_CREATE_EXCL,
) = range(9)


class FsContext(AnonVnode):
    """A file system whose options are collected: a new one of `fstype`, or `vfs` to be changed.

    `made` is what has been made and not yet mounted.
    """

    __slots__ = ("fstype", "made", "options", "readonly", "source", "target")

    label = b"anon_inode:[fscontext]"

    def __init__(self, vfs: Vfs, fstype: bytes, target: Vfs | None = None) -> None:
        super().__init__(vfs)
        self.fstype = fstype
        self.target = target
        self.source = b""
        self.options: Options = []
        self.readonly = target is not None and target.flags & VFS_RDONLY != 0
        self.made: Vfs | None = None


def _context(lwp: Lwp, fstype: bytes, target: Vfs | None, *, cloexec: bool) -> int:
    files = anon_files(lwp.machine)
    file = files.open(FsContext(files.objects, fstype, target), 0, lwp.proc.cred)
    return lwp.proc.files.alloc(file, 0, cloexec)


@syscall
def fsopen(lwp: Lwp, fsname: PathPtr, flags: UInt) -> int:
    """Begin to make a file system: EPERM, EINVAL, ENODEV."""
    may_mount(lwp)
    if flags & ~LX_FSOPEN_CLOEXEC:
        raise KernelError(Errno.EINVAL)
    name = copyin_string(lwp.as_, fsname, _PAGE, Errno.EINVAL)
    if name not in FS_TYPES:
        raise KernelError(Errno.ENODEV)
    return _context(lwp, name, None, cloexec=flags & LX_FSOPEN_CLOEXEC != 0)


LX_FSPICK_SYMLINK_NOFOLLOW = 2
LX_FSPICK_EMPTY_PATH = 8
LX_FSPICK_MASK = 0xF


@syscall
def fspick(lwp: Lwp, dirfd: DirFd, path: PathPtr, flags: UInt) -> int:
    """Begin to change a mounted file system: EPERM, EINVAL."""
    may_mount(lwp)
    if flags & ~LX_FSPICK_MASK:
        raise KernelError(Errno.EINVAL)
    at = LX_AT_SYMLINK_NOFOLLOW if flags & LX_FSPICK_SYMLINK_NOFOLLOW else 0
    if flags & LX_FSPICK_EMPTY_PATH:
        at |= LX_AT_EMPTY_PATH
    name = _located(lwp, dirfd, path, at)
    mount = name.mount
    if mount is None or mount.root is not name:
        raise KernelError(Errno.EINVAL)
    cloexec = flags & LX_FSOPEN_CLOEXEC != 0
    return _context(lwp, mount.vfs.name.encode(), mount.vfs, cloexec=cloexec)


def _find_context(lwp: Lwp, fd: int) -> FsContext:
    vnode = lwp.proc.files.get(fd).vnode
    if not isinstance(vnode, FsContext):
        raise KernelError(Errno.EINVAL)
    return vnode


@syscall
def fsconfig(lwp: Lwp, fd: Fd, cmd: UInt, key: PathPtr, value: PathPtr, aux: Int) -> int:
    """Give an option to a file system in the making, make it, or apply the changes.

    EINVAL for arguments that do not go with the command or options that the type does not know;
    EBUSY once it has been made. Options that are paths or descriptors are EINVAL: no type has any.
    """
    _check_arguments(cmd, key, value, aux)
    context = _find_context(lwp, fd)
    if cmd in (LX_FSCONFIG_SET_FLAG, LX_FSCONFIG_SET_STRING):
        name = copyin_string(lwp.as_, key, 256, Errno.EINVAL)
        text = None
        if cmd == LX_FSCONFIG_SET_STRING:
            text = copyin_string(lwp.as_, value, 256, Errno.EINVAL)
        if context.made is not None:
            raise KernelError(Errno.EBUSY)
        _set_option(context, name, text)
    elif cmd in (LX_FSCONFIG_CMD_CREATE, LX_FSCONFIG_CMD_CREATE_EXCL):
        _create(lwp, context)
    elif cmd == LX_FSCONFIG_CMD_RECONFIGURE:
        _reconfigure(lwp, context)
    else:
        raise KernelError(Errno.EINVAL)
    return 0


def _check_arguments(cmd: int, key: int, value: int, aux: int) -> None:
    """Check which arguments a command has (fsconfig): EINVAL, EOPNOTSUPP for no command."""
    if cmd > LX_FSCONFIG_CMD_CREATE_EXCL:
        raise KernelError(Errno.EOPNOTSUPP)
    if cmd == LX_FSCONFIG_SET_FLAG:
        good = key and not value and not aux
    elif cmd == LX_FSCONFIG_SET_STRING:
        good = key and value and not aux
    elif cmd == LX_FSCONFIG_SET_BINARY:
        good = key and value and 0 < aux <= 1 << 20
    elif cmd in (LX_FSCONFIG_SET_PATH, LX_FSCONFIG_SET_PATH_EMPTY):
        good = key and value and (aux >= 0 or aux == -100)
    elif cmd == LX_FSCONFIG_SET_FD:
        good = key and not value and aux >= 0
    else:
        good = not key and not value and not aux
    if not good:
        raise KernelError(Errno.EINVAL)


def _set_option(context: FsContext, name: bytes, text: bytes | None) -> None:
    if name == b"source" and text is not None:
        if context.source:
            raise KernelError(Errno.EINVAL)
        context.source = text
    elif name in (b"ro", b"rw") and text is None:
        context.readonly = name == b"ro"
    elif name not in (b"sync", b"async", b"dirsync", b"lazytime", b"nolazytime", b"silent"):
        context.options.append((name, text))


def _create(lwp: Lwp, context: FsContext) -> None:
    may_mount(lwp)
    if context.target is not None or context.made is not None:
        raise KernelError(Errno.EBUSY)
    vfs = make_vfs(lwp, context.fstype, context.source, context.options)
    if context.readonly:
        vfs.flags |= VFS_RDONLY
    vfs.space = vfs.space or lwp.proc.cred.space
    context.made = vfs


def _reconfigure(lwp: Lwp, context: FsContext) -> None:
    may_mount(lwp)
    vfs = context.target
    if vfs is None:
        raise KernelError(Errno.EBUSY if context.made is None else Errno.EINVAL)
    flags = vfs.flags & ~VFS_RDONLY | (VFS_RDONLY if context.readonly else 0)
    rest = remount_options(lwp, vfs, context.options)
    mountops.remount_vfs(lwp.machine.procs.values(), vfs, flags, rest)
    context.options = []


@syscall
def fsmount(lwp: Lwp, fs_fd: Fd, flags: UInt, attr_flags: HexInt) -> int:
    """Make a mount, nowhere yet, of a file system that has been made: EPERM, EINVAL, EBUSY."""
    may_mount(lwp)
    if flags & ~LX_FSOPEN_CLOEXEC:
        raise KernelError(Errno.EINVAL)
    wanted = attributes(attr_flags & 0xFFFFFFFF)
    context = _find_context(lwp, fs_fd)
    vfs = context.made
    if vfs is None:
        # Once mounted it can only be changed, as what is picked.
        raise KernelError(Errno.EBUSY if context.target is not None else Errno.EINVAL)
    source = context.source or b"none"
    mount = Mount(lwp.proc.mounts, vfs, vfs.root(), flags=wanted, source=source)
    fd = _install(lwp, mount.root.vnode, mount.root, O_PATH, cloexec=flags != 0)
    context.made, context.target = None, vfs
    return fd


# -- attributes of mounts -------------------------------------------------------------------------

_TYPES = (0, LX_MS_UNBINDABLE, LX_MS_PRIVATE, LX_MS_SLAVE, LX_MS_SHARED)


@syscall
def mount_setattr(
    lwp: Lwp, dirfd: DirFd, path: PathPtr, flags: UInt, attr: In[MountAttr], size: Size
) -> int:
    """Change the attributes of a mount, or with AT_RECURSIVE of a tree of them.

    Deviation: mounts that map ids are refused with EINVAL, as by a file system that cannot.
    """
    known = LX_AT_EMPTY_PATH | LX_AT_RECURSIVE | LX_AT_SYMLINK_NOFOLLOW | LX_AT_NO_AUTOMOUNT
    if flags & ~known:
        raise KernelError(Errno.EINVAL)
    if size > _PAGE:
        raise KernelError(Errno.E2BIG)
    if size < attr.codec.size:
        raise KernelError(Errno.EINVAL)
    may_mount(lwp)
    tail = lwp.as_.copyin(attr.addr + attr.codec.size, size - attr.codec.size)
    if tail.strip(b"\0"):
        raise KernelError(Errno.E2BIG)
    wanted = attr.get()
    if not (wanted.attr_set or wanted.attr_clr or wanted.propagation):
        return 0
    set_, clear = _changes(wanted)
    name = _located(lwp, dirfd, path, flags)
    mount = name.mount
    if mount is None or mount.root is not name:
        raise KernelError(Errno.EINVAL)
    procs = list(lwp.machine.procs.values())
    for one in tree_of(mount) if flags & LX_AT_RECURSIVE else [mount]:
        mountops.remount(procs, one, one.flags & ~clear | set_)
        if wanted.propagation:
            set_propagation(one, wanted.propagation)
    return 0


def _changes(wanted: MountAttr) -> tuple[int, int]:
    """Return the VFS_ flags to set and to clear. Raises EINVAL."""
    if wanted.propagation not in _TYPES:
        raise KernelError(Errno.EINVAL)
    if wanted.attr_set & LX_MOUNT_ATTR_IDMAP or wanted.attr_clr & LX_MOUNT_ATTR_IDMAP:
        raise KernelError(Errno.EINVAL)
    if wanted.attr_clr & LX_MOUNT_ATTR_ATIME:
        # The three ways to keep access times are one value: it is cleared as a whole.
        if wanted.attr_clr & LX_MOUNT_ATTR_ATIME != LX_MOUNT_ATTR_ATIME:
            raise KernelError(Errno.EINVAL)
    elif wanted.attr_set & LX_MOUNT_ATTR_ATIME:
        raise KernelError(Errno.EINVAL)
    set_ = attributes(wanted.attr_set)
    clear = attributes(wanted.attr_clr & ~LX_MOUNT_ATTR_ATIME)
    if wanted.attr_clr & LX_MOUNT_ATTR_ATIME:
        clear |= VFS_NOATIME | VFS_STRICTATIME
    return set_, clear
