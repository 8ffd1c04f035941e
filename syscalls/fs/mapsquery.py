"""PROCMAP_QUERY: one mapping of /proc/PID/maps by its address (Linux fs/proc/task_mmu.c)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.mm.mman import MAP_SHARED, PROT_EXEC, PROT_READ, PROT_WRITE
from lxemu.kernel.vfs.vnode import Vnode
from syscalls.fs.maps import file_name
from syscalls.fs.procpid import ProcText
from syscalls.fs.pseudo import OpenText

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.mm.seg import SegInfo
    from lxemu.kernel.vfs.file import File

LX_PROCMAP_QUERY = 0xC0686611
LX_READABLE, LX_WRITABLE, LX_EXECUTABLE, LX_SHARED = 1, 2, 4, 8
LX_COVERING_OR_NEXT = 0x10
LX_FILE_BACKED = 0x20
_KNOWN = 0x3F
_PERMISSIONS = LX_READABLE | LX_WRITABLE | LX_EXECUTABLE | LX_SHARED
#: struct procmap_query: size, flags, address; start, end, flags, page size, offset, inode; device
#: (two words), room for the name and the build id; where those go.
_QUERY = struct.Struct("<9Q4I2Q")
_PAGE = 4096


class MapsText(ProcText):
    """/proc/PID/maps."""

    __slots__ = ()

    def open(self, file: File) -> Vnode | None:
        """Open, for who may trace the process: EACCES."""
        super().open(file)
        return OpenMaps(self)


class OpenMaps(OpenText):
    """An open list of mappings."""

    __slots__ = ()

    node: MapsText

    def lx_ioctl(self, lwp: Lwp, request: int, arg: int) -> int:
        """Answer PROCMAP_QUERY: EINVAL, E2BIG, ENOENT, ENAMETOOLONG, ESRCH, EFAULT."""
        if request != LX_PROCMAP_QUERY:
            raise KernelError(Errno.ENOTTY)
        as_ = lwp.as_
        size = int.from_bytes(as_.copyin(arg, 8), "little")
        if size > _PAGE:
            raise KernelError(Errno.E2BIG)
        if size < 24:
            raise KernelError(Errno.EINVAL)
        data = as_.copyin(arg, size)
        if data[_QUERY.size :].strip(b"\0"):
            raise KernelError(Errno.E2BIG)
        query = _QUERY.unpack(data[: _QUERY.size].ljust(_QUERY.size, b"\0"))
        answer = self._answer(lwp, query)
        as_.copyout(arg, _QUERY.pack(*answer)[:size])
        return 0

    def _answer(self, lwp: Lwp, query: tuple[int, ...]) -> tuple[int, ...]:
        size, flags, address = query[:3]
        name_room, id_room, name_at, id_at = query[11:]
        if flags & ~_KNOWN or bool(name_room) != bool(name_at) or bool(id_room) != bool(id_at):
            raise KernelError(Errno.EINVAL)
        proc = self.node.proc
        if proc.zombie or not proc.lwps:
            raise KernelError(Errno.ESRCH)
        seg = _find(proc.as_.maps(), address, flags)
        name = file_name(seg, proc) + b"\0"
        if name == b"\0":
            name = b""
        if name_at:
            if len(name) > name_room:
                raise KernelError(Errno.ENAMETOOLONG)
            lwp.as_.copyout(name_at, name)
        dev = ino = offset = 0
        if isinstance(seg.vnode, Vnode):
            attr = seg.vnode.getattr()
            dev, ino, offset = attr.fsid, attr.nodeid, seg.offset
        return (
            size, flags, address, seg.start, seg.end, _flags(seg), _PAGE, offset, ino,
            dev >> 32, dev & 0xFFFFFFFF, len(name), 0, name_at, id_at,
        )  # fmt: skip


def _flags(seg: SegInfo) -> int:
    found = LX_SHARED if seg.flags & MAP_SHARED else 0
    bits = ((PROT_READ, LX_READABLE), (PROT_WRITE, LX_WRITABLE), (PROT_EXEC, LX_EXECUTABLE))
    for prot, lx in bits:
        if seg.prot & prot:
            found |= lx
    return found


def _find(segs: Iterable[SegInfo], address: int, flags: int) -> SegInfo:
    """Return the mapping that a query is for: ENOENT."""
    wanted = flags & _PERMISSIONS
    for seg in segs:
        if seg.end <= address:
            continue
        covers = seg.start <= address
        if not covers and not flags & LX_COVERING_OR_NEXT:
            break
        backed = isinstance(seg.vnode, Vnode)
        if _flags(seg) & wanted == wanted and (backed or not flags & LX_FILE_BACKED):
            return seg
        if not flags & LX_COVERING_OR_NEXT:
            break
    raise KernelError(Errno.ENOENT)
