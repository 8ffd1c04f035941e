"""File systems: statfs(2), ustat(2), mount(2), umount(2)."""

from __future__ import annotations

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.vfs.name import Name
from lxemu.kernel.vfs.vnode import (
    VFS_NOATIME,
    VFS_NODEVICES,
    VFS_NODIRATIME,
    VFS_NOEXEC,
    VFS_NOSETUID,
    VFS_RDONLY,
    VFS_RELATIME,
)
from syscalls.abi import (
    AT_FDCWD,
    Dev,
    Fd,
    Out,
    Path,
    Size,
    Statfs,
    Ustat,
    syscall,
)
from syscalls.handlers.paths import locate

#: f_type by the kernel's name of a file system (statfs(2), linux/magic.h). What lives on the host
#: shows as ext2, as lx shows ZFS and lofs (lx_stat.c: "Linux can't handle the truth of ZFS").
LX_MAGIC = {
    "tmpfs": 0x01021994,
    "overlay": 0x794C7630,
    "proc": 0x9FA0,
    "lxproc": 0x9FA0,
    "sysfs": 0x62656572,
    "lxsys": 0x62656572,
    "cgroup": 0x27E0EB,
    "devpts": 0x1CD1,
    "fifofs": 0x50495045,
    "pipefs": 0x50495045,
    "sockfs": 0x534F434B,
    "anonfs": 0x09041934,
    "devfs": 0x01021994,
    "devtmpfs": 0x01021994,
    "mqueue": 0x19800202,
}
LX_EXT2_MAGIC = 0xEF53
LX_ST_VALID = 0x20
_ST_FLAGS = (
    (VFS_RDONLY, 0x1),
    (VFS_NOSETUID, 0x2),
    (VFS_NODEVICES, 0x4),
    (VFS_NOEXEC, 0x8),
    (VFS_NOATIME, 0x400),
    (VFS_NODIRATIME, 0x800),
    (VFS_RELATIME, 0x1000),
)


def magic_of(name: str) -> int:
    """Return the f_type of the kernel's name of a file system."""
    return LX_MAGIC.get(name, LX_EXT2_MAGIC)


def _statfs(name: Name) -> Statfs:
    st = name.vnode.vfs.statvfs()
    flags = LX_ST_VALID
    for ours, lx in _ST_FLAGS:
        if name.flags & ours:
            flags |= lx
    return Statfs(
        type=magic_of(st.basetype),
        bsize=st.bsize,
        blocks=st.blocks,
        bfree=st.bfree,
        bavail=st.bavail,
        files=st.files,
        ffree=st.ffree,
        fsid=(st.fsid & 0xFFFFFFFF, st.fsid >> 32 & 0xFFFFFFFF),
        namelen=st.namemax,
        frsize=st.frsize,
        flags=flags,
    )


@syscall
def statfs(lwp: Lwp, path: Path, buf: Out[Statfs]) -> int:
    """Totals of a file system."""
    buf.put(_statfs(locate(lwp, AT_FDCWD, path)))
    return 0


@syscall
def fstatfs(lwp: Lwp, fd: Fd, buf: Out[Statfs]) -> int:
    """Totals of the file system of an open file."""
    buf.put(_statfs(lwp.proc.files.get(fd).name))
    return 0


@syscall
def statfs64(lwp: Lwp, path: Path, size: Size, buf: Out[Statfs]) -> int:
    """Totals of a file system, with the size of the structure."""
    if size != buf.codec.size:
        raise KernelError(Errno.EINVAL)
    buf.put(_statfs(locate(lwp, AT_FDCWD, path)))
    return 0


@syscall
def fstatfs64(lwp: Lwp, fd: Fd, size: Size, buf: Out[Statfs]) -> int:
    """Totals of the file system of an open file, with the size of the structure."""
    if size != buf.codec.size:
        raise KernelError(Errno.EINVAL)
    buf.put(_statfs(lwp.proc.files.get(fd).name))
    return 0


@syscall
def ustat(lwp: Lwp, dev: Dev, buf: Out[Ustat]) -> int:
    """Free space of the file system with a device number."""
    for mount in lwp.proc.mounts:
        if mount.vfs.fsid == dev:
            st = mount.vfs.statvfs()
            buf.put(Ustat(st.bfree & 0x7FFFFFFF, st.ffree))
            return 0
    raise KernelError(Errno.EINVAL)
