"""Device requests: ioctl(2).

Each request names the kernel's number for it and how its argument travels; the vnode does the work.
What is in no table is ENOTTY (lx_ioctl.c gives the same).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.vfs.attr import vn_set_iflags
from lxemu.kernel.vfs.fcntl import FIONREAD, O_ASYNC, O_NONBLOCK, SIOCATMARK
from lxemu.kernel.vfs.file import File
from lxemu.kernel.vfs.sigio import set_async
from lxemu.kernel.vfs.specfs import RANDOM_GETENTROPY
from lxemu.kernel.vfs.vnode import (
    FL_APPEND,
    FL_IMMUTABLE,
    FL_NOATIME,
    FL_NODUMP,
    VDIR,
    VLNK,
    VREG,
    VSOCK,
)
from syscalls.abi import (
    Fd,
    Out,
    Ptr,
    S64Mem,
    UInt,
    pointer,
    syscall,
)
from syscalls.handlers import ttyio
from syscalls.handlers.paths import open_file

Request = Callable[[Lwp, File, int, int], int]


@syscall
def ioctl(lwp: Lwp, fd: Fd, request: UInt, arg: Ptr) -> int:
    """Do a device request."""
    file = open_file(lwp, fd)
    handler = _REQUESTS.get(request)
    if handler is None and request >> 8 == LX_SIOC and file.vnode.type == VSOCK:
        handler = socket_request(request)
    if handler is None:
        # Objects of the brand's own have requests that no other file knows.
        own = getattr(file.vnode, "lx_ioctl", None)
        if own is None:
            raise KernelError(Errno.ENOTTY)
        result: int = own(lwp, request, arg)
        return result
    return handler(lwp, file, fd, arg)


# -- every file -----------------------------------------------------------------------------------


def _fioclex(lwp: Lwp, _file: File, fd: int, _arg: int) -> int:
    lwp.proc.files.setcloexec(fd, True)
    return 0


def _fionclex(lwp: Lwp, _file: File, fd: int, _arg: int) -> int:
    lwp.proc.files.setcloexec(fd, False)
    return 0


def _flag(bit: int) -> Request:
    """Return a request that sets or clears a status flag by the int that its argument points to."""

    def request(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
        if _get_int(lwp, arg):
            file.flags |= bit
        else:
            file.flags &= ~bit
        return 0

    return request


def _fioasync(lwp: Lwp, file: File, fd: int, arg: int) -> int:
    on = _get_int(lwp, arg) != 0
    if on != (file.flags & O_ASYNC != 0) and not set_async(file, fd, on):
        file.flags &= ~O_ASYNC
        raise KernelError(Errno.ENOTTY)
    return 0


def _owner_request(set_: bool) -> Request:
    def request(lwp: Lwp, file: File, fd: int, arg: int) -> int:
        # Only sockets and terminals have these; for others there is fcntl.
        if file.vnode.type != VSOCK:
            raise KernelError(Errno.ENOTTY)
        # Imported late: every program that writes to a stream asks this module about it.
        from syscalls.handlers import fcntl_owner as owner

        if set_:
            return owner.setown(lwp, file, fd, 0, _get_int(lwp, arg))
        return _put_int(lwp, arg, owner.getown(lwp, file, fd, 0, 0))

    return request


def _get_int(lwp: Lwp, arg: int) -> int:
    return lwp.as_.load_s32(arg)


def _put_int(lwp: Lwp, arg: int, value: int) -> int:
    lwp.as_.store_s32(arg, value)
    return 0


def _fionread(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
    vnode = file.vnode
    if vnode.type == VREG:
        left = vnode.size() - file.seek(0, 1)
        return _put_int(lwp, arg, left)
    return _put_int(lwp, arg, file.ioctl(FIONREAD))


def _fioqsize(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
    if file.vnode.type not in (VREG, VDIR, VLNK):
        raise KernelError(Errno.ENOTTY)
    address: Out[int] = pointer(Out, lwp, S64Mem, arg)
    address.put(file.vnode.size())
    return 0


def _figetbsz(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
    return _put_int(lwp, arg, file.name.vnode.vfs.statvfs().bsize)


#: The kernel's FL_ flags have the values of Linux's FS_*_FL.
_LX_FS_FLAGS = FL_IMMUTABLE | FL_APPEND | FL_NODUMP | FL_NOATIME


def _getflags(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
    vnode = file.name.vnode
    if not vnode.vfs.keeps_iflags or vnode.type not in (VREG, VDIR):
        raise KernelError(Errno.ENOTTY)
    return _put_int(lwp, arg, vnode.iflags)


def _setflags(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
    vnode = file.name.vnode
    if not vnode.vfs.keeps_iflags or vnode.type not in (VREG, VDIR):
        raise KernelError(Errno.ENOTTY)
    flags = _get_int(lwp, arg)
    if flags & ~_LX_FS_FLAGS:
        raise KernelError(Errno.EOPNOTSUPP)
    vn_set_iflags(file.name, flags, lwp.proc.cred)
    return 0


def _no_clone(_lwp: Lwp, file: File, _fd: int, _arg: int) -> int:
    if file.vnode.type == VDIR:
        raise KernelError(Errno.EISDIR)
    if file.vnode.type != VREG:
        raise KernelError(Errno.EINVAL)
    raise KernelError(Errno.EOPNOTSUPP)


def _no_extents(_lwp: Lwp, file: File, _fd: int, _arg: int) -> int:
    raise KernelError(Errno.EOPNOTSUPP if file.vnode.type == VREG else Errno.ENOTTY)


# -- sockets --------------------------------------------------------------------------------------

#: The high bytes of the requests of sockets (linux/sockios.h).
LX_SIOC = 0x89
LX_SIOCATMARK = 0x8905


def socket_request(request: int) -> Request | None:
    """Return the handler of a request that only sockets have, None when there is none."""
    if request == LX_SIOCATMARK:
        return ttyio.gives_int(SIOCATMARK)
    try:
        found: Request | None = import_module("syscalls.handlers.netif").REQUESTS.get(request)
    except ModuleNotFoundError:
        return None
    return found


#: Linux's numbers (asm-generic/ioctls.h, linux/fs.h).
_REQUESTS: dict[int, Request] = ttyio.REQUESTS | {
    0x541B: _fionread,
    0x5421: _flag(O_NONBLOCK),
    0x5450: _fionclex,
    0x5451: _fioclex,
    0x5452: _fioasync,
    0x8901: _owner_request(True),
    0x8902: _owner_request(True),
    0x8903: _owner_request(False),
    0x8904: _owner_request(False),
    0x5460: _fioqsize,
    0x80045200: ttyio.gives_int(RANDOM_GETENTROPY),
    0x2: _figetbsz,
    0x80086601: _getflags,
    0x40086602: _setflags,
    0x80046601: _getflags,
    0x40046602: _setflags,
    0x40049409: _no_clone,
    0x4020940D: _no_clone,
    0xC0189436: _no_clone,
    0xC020660B: _no_extents,
}
