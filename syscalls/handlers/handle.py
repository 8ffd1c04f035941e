"""Handles of files: name_to_handle_at(2), open_by_handle_at(2).

A handle holds the number of the file. Who makes one makes the file system remember where it is.
"""

from __future__ import annotations

import struct

from lxemu.kernel.cred import PRIV_FILE_DAC_SEARCH
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.vfs import fcntl as f
from lxemu.kernel.vfs.name import Name
from lxemu.kernel.vfs.ops import open_name
from syscalls.abi import (
    At,
    AtHandle,
    DirFd,
    FileHandle,
    InOut,
    Int,
    OpenFlags,
    Out,
    PathPtr,
    copyin_path,
    syscall,
)
from syscalls.handlers.paths import locate

LX_MAX_HANDLE_SZ = 128
LX_FILEID_INO32_GEN = 1
_HANDLE = struct.Struct("<IQ")
#: File systems whose files cannot be found by number (no exportfs operations in Linux).
_NO_HANDLES = frozenset(("proc", "sysfs", "fifofs", "sockfs", "anon_inodefs", "devpts", "mqueue"))


@syscall
def name_to_handle_at(
    lwp: Lwp,
    dirfd: DirFd,
    path: PathPtr,
    handle: InOut[FileHandle],
    mount_id: Out[Int],
    flags: AtHandle,
) -> int:
    """Give the handle of a file, and the number of its mount.

    EOVERFLOW, with the size needed, when the handle has no room.
    """
    follow = 0 if flags & At.SYMLINK_FOLLOW else At.SYMLINK_NOFOLLOW
    name = locate(lwp, dirfd, copyin_path(lwp.as_, path), follow | flags & At.EMPTY_PATH)
    vfs = name.vnode.vfs
    if vfs.name in _NO_HANDLES and not flags & At.HANDLE_FID:
        raise KernelError(Errno.EOPNOTSUPP)
    head = handle.get()
    if not 0 <= head.handle_bytes <= LX_MAX_HANDLE_SZ:
        raise KernelError(Errno.EINVAL)
    room = head.handle_bytes >= _HANDLE.size
    nodeid = name.vnode.getattr().nodeid
    if room:
        vfs.handles[nodeid] = name
        lwp.as_.copyout(handle.addr + handle.codec.size, _HANDLE.pack(0, nodeid))
    mount_id.put(name.mount.id if name.mount is not None else 0)
    handle.put(FileHandle(_HANDLE.size, LX_FILEID_INO32_GEN if room else 0xFF))
    if not room:
        raise KernelError(Errno.EOVERFLOW)
    return 0


@syscall
def open_by_handle_at(lwp: Lwp, mount_fd: Int, handle: InOut[FileHandle], flags: OpenFlags) -> int:
    """Open the file of a handle, whatever has become of its name. ESTALE when it is gone."""
    proc = lwp.proc
    if mount_fd == LX_AT_FDCWD:
        anchor = proc.fs.cwd
    else:
        anchor = proc.files.get(mount_fd).name
    if not proc.cred.crhas(PRIV_FILE_DAC_SEARCH):
        raise KernelError(Errno.EPERM)
    head = handle.get()
    if not 0 < head.handle_bytes <= LX_MAX_HANDLE_SZ:
        raise KernelError(Errno.EINVAL)
    data = lwp.as_.copyin(handle.addr + handle.codec.size, head.handle_bytes)
    name = _find(anchor, head, data)
    proc.files.lowest()
    file = open_name(name, flags & ~(f.O_CREAT | f.O_EXCL), proc.cred)
    try:
        return proc.files.alloc(file, 0, flags & f.O_CLOEXEC != 0)
    except KernelError:
        file.rele()
        raise


LX_AT_FDCWD = -100


def _find(anchor: Name, head: FileHandle, data: bytes) -> Name:
    if head.handle_type != LX_FILEID_INO32_GEN or head.handle_bytes < _HANDLE.size:
        raise KernelError(Errno.ESTALE)
    nodeid = _HANDLE.unpack(data[: _HANDLE.size])[1]
    name = anchor.vnode.vfs.handles.get(nodeid)
    if name is None or not name.vnode.getattr().nlink:
        raise KernelError(Errno.ESTALE)
    return name
