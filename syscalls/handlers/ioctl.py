"""Device requests: ioctl(2).

Each request names the kernel's number for it and how its argument travels; the vnode does the work.
What is in no table is ENOTTY (lx_ioctl.c gives the same).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from lxemu.kernel import termio
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.vfs.fcntl import FIONREAD, O_ASYNC, O_NONBLOCK, SIOCATMARK
from lxemu.kernel.vfs.file import File
from lxemu.kernel.vfs.sigio import set_async
from lxemu.kernel.vfs.vnode import VDIR, VLNK, VREG, VSOCK
from syscalls.abi import (
    Fd,
    In,
    Out,
    Ptr,
    S64Mem,
    Termio,
    Termios,
    Termios2,
    UInt,
    Winsize,
    pointer,
    syscall,
)
from syscalls.handlers import fcntl_owner as owner
from syscalls.handlers.paths import open_file

Request = Callable[[Lwp, File, int, int], int]

_BAUD = termio.CBAUD
_NCC = 8


@syscall
def ioctl(lwp: Lwp, fd: Fd, request: UInt, arg: Ptr) -> int:
    """Do a device request."""
    file = open_file(lwp, fd)
    handler = _REQUESTS.get(request)
    if handler is None and request >> 8 == LX_SIOC and file.vnode.type == VSOCK:
        handler = socket_request(request)
    if handler is None:
        raise KernelError(Errno.ENOTTY)
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
        return _gives_int(SIOCATMARK)
    try:
        found: Request | None = import_module("syscalls.handlers.netif").REQUESTS.get(request)
    except ModuleNotFoundError:
        return None
    return found


# -- terminals ------------------------------------------------------------------------------------


def _by_value(cmd: int) -> Request:
    """Return a request whose argument is a number and that gives nothing back."""

    def request(_lwp: Lwp, file: File, _fd: int, arg: int) -> int:
        file.ioctl(cmd, arg)
        return 0

    return request


def _gives_int(cmd: int) -> Request:
    def request(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
        return _put_int(lwp, arg, file.ioctl(cmd))

    return request


def _takes_int(cmd: int) -> Request:
    def request(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
        _tty_only(file)
        file.ioctl(cmd, _get_int(lwp, arg))
        return 0

    return request


def _tty_only(file: File) -> None:
    """Fail with ENOTTY before the argument is looked at, unless this is a terminal."""
    file.ioctl(termio.TIOCGETD)


def _tcgets(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
    modes = file.ioctl(termio.TCGETS)
    address: Out[Termios] = pointer(Out, lwp, Termios, arg)
    address.put(Termios(*modes))
    return 0


def _tcsets(cmd: int) -> Request:
    def request(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
        _tty_only(file)
        address: In[Termios] = pointer(In, lwp, Termios, arg)
        file.ioctl(cmd, termio.Termios(*address.get()))
        return 0

    return request


def _tcgets2(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
    modes = file.ioctl(termio.TCGETS)
    speed = termio.SPEEDS[modes.cflag & _BAUD]
    address: Out[Termios2] = pointer(Out, lwp, Termios2, arg)
    iflag, oflag, cflag, lflag, line, cc = modes
    address.put(Termios2(iflag, oflag, cflag, lflag, line, cc, speed, speed))
    return 0


def _tcsets2(cmd: int) -> Request:
    def request(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
        _tty_only(file)
        address: In[Termios2] = pointer(In, lwp, Termios2, arg)
        file.ioctl(cmd, termio.Termios(*address.get()[:6]))
        return 0

    return request


def _tcgeta(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
    modes = file.ioctl(termio.TCGETS)
    iflag, oflag, cflag, lflag = (word & 0xFFFF for word in modes[:4])
    address: Out[Termio] = pointer(Out, lwp, Termio, arg)
    address.put(Termio(iflag, oflag, cflag, lflag, modes.line, modes.cc[:_NCC]))
    return 0


def _tcseta(cmd: int) -> Request:
    """Return a request that sets the low halves of the mode words and eight characters."""

    def request(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
        old = file.ioctl(termio.TCGETS)
        address: In[Termio] = pointer(In, lwp, Termio, arg)
        new = address.get()
        words = [was & ~0xFFFF | now for was, now in zip(old[:4], new[:4], strict=True)]
        iflag, oflag, cflag, lflag = words
        cc = new.cc + old.cc[_NCC:]
        file.ioctl(cmd, termio.Termios(iflag, oflag, cflag, lflag, new.line, cc))
        return 0

    return request


def _tcsbrkp(_lwp: Lwp, file: File, _fd: int, _arg: int) -> int:
    file.ioctl(termio.TCSBRK, 0)
    return 0


def _tiocgwinsz(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
    size = file.ioctl(termio.TIOCGWINSZ)
    address: Out[Winsize] = pointer(Out, lwp, Winsize, arg)
    address.put(Winsize(*size))
    return 0


def _tiocswinsz(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
    _tty_only(file)
    address: In[Winsize] = pointer(In, lwp, Winsize, arg)
    file.ioctl(termio.TIOCSWINSZ, termio.Winsize(*address.get()))
    return 0


#: Linux's numbers (asm-generic/ioctls.h, linux/fs.h).
_REQUESTS: dict[int, Request] = {
    0x5401: _tcgets,
    0x5402: _tcsets(termio.TCSETS),
    0x5403: _tcsets(termio.TCSETSW),
    0x5404: _tcsets(termio.TCSETSF),
    0x5405: _tcgeta,
    0x5406: _tcseta(termio.TCSETS),
    0x5407: _tcseta(termio.TCSETSW),
    0x5408: _tcseta(termio.TCSETSF),
    0x5409: _by_value(termio.TCSBRK),
    0x540A: _by_value(termio.TCXONC),
    0x540B: _by_value(termio.TCFLSH),
    0x540C: _by_value(termio.TIOCEXCL),
    0x540D: _by_value(termio.TIOCNXCL),
    0x540E: _by_value(termio.TIOCSCTTY),
    0x540F: _gives_int(termio.TIOCGPGRP),
    0x5410: _takes_int(termio.TIOCSPGRP),
    0x5411: _gives_int(termio.TIOCOUTQ),
    0x5412: _by_value(termio.TIOCSTI),
    0x5413: _tiocgwinsz,
    0x5414: _tiocswinsz,
    0x541B: _fionread,
    0x5420: _takes_int(termio.PTM_PACKET),
    0x5421: _flag(O_NONBLOCK),
    0x5422: _by_value(termio.TIOCNOTTY),
    0x5423: _takes_int(termio.TIOCSETD),
    0x5424: _gives_int(termio.TIOCGETD),
    0x5425: _tcsbrkp,
    0x5429: _gives_int(termio.TIOCGSID),
    0x802C542A: _tcgets2,
    0x402C542B: _tcsets2(termio.TCSETS),
    0x402C542C: _tcsets2(termio.TCSETSW),
    0x402C542D: _tcsets2(termio.TCSETSF),
    0x80045430: _gives_int(termio.PTM_NUMBER),
    0x40045431: _takes_int(termio.PTM_LOCK),
    0x80045439: _gives_int(termio.PTM_GETLOCK),
    0x5450: _fionclex,
    0x5451: _fioclex,
    0x5452: _fioasync,
    0x8901: _owner_request(True),
    0x8902: _owner_request(True),
    0x8903: _owner_request(False),
    0x8904: _owner_request(False),
    0x5460: _fioqsize,
    0x2: _figetbsz,
    0x40049409: _no_clone,
    0x4020940D: _no_clone,
    0xC0189436: _no_clone,
    0xC020660B: _no_extents,
}
