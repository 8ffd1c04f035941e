"""Asking for mounts by their numbers: statmount(2), listmount(2).

The numbers are those that statx(2) gives with STATX_MNT_ID_UNIQUE: never used again.
"""

from __future__ import annotations

import struct

from lxemu.kernel.cred import PRIV_SYS_ADMIN
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.vfs.mount import Mount
from lxemu.kernel.vfs.vnode import VFS_RDONLY
from syscalls.abi import In, MntIdReq, OutBuf, Ptr, Size, UInt, syscall
from syscalls.fs.maps import fs_name
from syscalls.handlers.fs import magic_of
from syscalls.handlers.mount import (
    LX_MS_PRIVATE,
    LX_MS_RDONLY,
    LX_MS_SHARED,
    LX_MS_SLAVE,
    LX_MS_UNBINDABLE,
)
from syscalls.handlers.mountfd import attributes_of
from syscalls.handlers.stat import LX_MNT_ID_OFFSET

LX_LSMT_ROOT = 0xFFFFFFFFFFFFFFFF
LX_LISTMOUNT_REVERSE = 1
_MOST = 1_000_000
_PAGE = 4096

LX_SB_BASIC, LX_MNT_BASIC, LX_PROPAGATE_FROM, LX_MNT_ROOT = 1, 2, 4, 8
LX_MNT_POINT, LX_FS_TYPE, LX_MNT_NS_ID = 0x10, 0x20, 0x40
_KNOWN = 0x7F
#: struct statmount up to the spare words: size, (options), mask; device, magic, flags, type; ids,
#: old ids, attributes, propagation, peers, master, from; root and mount point, namespace.
_FIXED = struct.Struct("<2IQ2IQ2I2Q2I5Q2IQ")
_HEAD = 512


def unique_id(mount: Mount) -> int:
    """Return the number of a mount that no other one ever has."""
    return LX_MNT_ID_OFFSET + mount.id


def _request(lwp: Lwp, req: In[MntIdReq]) -> MntIdReq:
    """Copy in a request of the caller's size: EFAULT, EINVAL, E2BIG."""
    codec = req.codec
    size = lwp.as_.load_u32(req.addr)
    if size < 24:
        raise KernelError(Errno.EINVAL)
    if size > _PAGE:
        raise KernelError(Errno.E2BIG)
    data = lwp.as_.copyin(req.addr, size)
    if data[codec.size :].strip(b"\0"):
        raise KernelError(Errno.E2BIG)
    found: MntIdReq = codec.unpack(data[: codec.size].ljust(codec.size, b"\0"))
    if found.spare or found.mnt_id <= LX_MNT_ID_OFFSET:
        raise KernelError(Errno.EINVAL)
    if found.mnt_ns_id not in (0, lwp.proc.mounts.number):
        raise KernelError(Errno.ENOENT)
    return found


def _find(lwp: Lwp, number: int) -> Mount:
    found = lwp.proc.mounts.by_id(number - LX_MNT_ID_OFFSET)
    if found is None:
        raise KernelError(Errno.ENOENT)
    root = lwp.proc.fs.root
    if not found.root.is_below(root) and not lwp.proc.cred.own(PRIV_SYS_ADMIN):
        raise KernelError(Errno.EPERM)
    return found


@syscall
def listmount(lwp: Lwp, req: In[MntIdReq], mnt_ids: Ptr, nr_mnt_ids: Size, flags: UInt) -> int:
    """List the mounts below one, or below the root of the caller: how many there were room for."""
    if flags & ~LX_LISTMOUNT_REVERSE:
        raise KernelError(Errno.EINVAL)
    if nr_mnt_ids > _MOST:
        raise KernelError(Errno.EOVERFLOW)
    asked = _request(lwp, req)
    if asked.mnt_id == LX_LSMT_ROOT:
        top, self_id = lwp.proc.fs.root, 0
    else:
        top, self_id = _find(lwp, asked.mnt_id).root, asked.mnt_id
    found = sorted(
        unique_id(mount)
        for mount in lwp.proc.mounts
        if unique_id(mount) != self_id and mount.root.is_below(top)
    )
    last = asked.param
    if flags & LX_LISTMOUNT_REVERSE:
        found = [number for number in reversed(found) if not last or number < last]
    else:
        found = [number for number in found if number > last]
    found = found[:nr_mnt_ids]
    lwp.as_.copyout(mnt_ids, struct.pack(f"<{len(found)}Q", *found))
    return len(found)


@syscall
def statmount(lwp: Lwp, req: In[MntIdReq], buf: OutBuf, bufsize: Size, flags: UInt) -> int:
    """Tell of a mount what the request asks for: EINVAL, ENOENT, EPERM, EOVERFLOW."""
    if flags:
        raise KernelError(Errno.EINVAL)
    asked = _request(lwp, req)
    mount = _find(lwp, asked.mnt_id)
    text = b"\0"
    offsets: dict[int, int] = {}
    for bit, value in (
        (LX_FS_TYPE, fs_name(mount.vfs.name)),
        (LX_MNT_ROOT, mount.subpath),
        (LX_MNT_POINT, mount.path(lwp.proc.fs.root)),
    ):
        if asked.param & bit:
            offsets[bit] = len(text)
            text += value + b"\0"
    if not offsets:
        text = b""
    size = _HEAD + len(text)
    if offsets and bufsize < size:
        raise KernelError(Errno.EOVERFLOW)
    data = _fixed(lwp, mount, asked.param & _KNOWN, size, offsets).ljust(_HEAD, b"\0") + text
    lwp.as_.copyout(buf, data[:bufsize])
    return 0


def _fixed(lwp: Lwp, mount: Mount, mask: int, size: int, offsets: dict[int, int]) -> bytes:
    dev = magic = sb_flags = 0
    if mask & LX_SB_BASIC:
        dev, magic = mount.vfs.fsid, magic_of(mount.vfs.name)
        sb_flags = LX_MS_RDONLY if mount.vfs.flags & VFS_RDONLY else 0
    basic = [0] * 8
    if mask & LX_MNT_BASIC:
        parent = mount.parent if mount.parent is not None else mount
        kind = LX_MS_SHARED if mount.group is not None else 0
        kind |= LX_MS_SLAVE if mount.master is not None else 0
        kind |= LX_MS_UNBINDABLE if mount.unbindable else 0
        basic = [
            unique_id(mount),
            unique_id(parent),
            mount.id,
            parent.id,
            attributes_of(mount.flags),
            kind or LX_MS_PRIVATE,
            mount.group.id if mount.group is not None else 0,
            mount.master.id if mount.master is not None else 0,
        ]
    number = lwp.proc.mounts.number if mask & LX_MNT_NS_ID else 0
    return _FIXED.pack(
        size, 0, mask, dev >> 32, dev & 0xFFFFFFFF, magic, sb_flags, offsets.get(LX_FS_TYPE, 0),
        *basic, 0, offsets.get(LX_MNT_ROOT, 0), offsets.get(LX_MNT_POINT, 0), number,
    )  # fmt: skip
