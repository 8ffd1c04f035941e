"""Device requests of terminals: ioctl_tty(2), in Linux's numbers and structures."""

from __future__ import annotations

from collections.abc import Callable

from lxemu.kernel import termio
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.pidspace import shown_pid
from lxemu.kernel.vfs.fcntl import O_CLOEXEC
from lxemu.kernel.vfs.file import File
from lxemu.kernel.vfs.vnode import major, minor
from syscalls.abi import In, Out, Termio, Termios, Termios2, Winsize, pointer
from syscalls.abi.xlat_file import OPEN
from syscalls.abi.xlat_termio import modes_from_lx, modes_to_lx
from syscalls.signum import FROM_LX

Request = Callable[[Lwp, File, int, int], int]

_NCC = 8
_LOW_WORD = 0xFFFF


def by_value(cmd: int) -> Request:
    """Return a request whose argument is a number and that gives nothing back."""

    def request(_lwp: Lwp, file: File, _fd: int, arg: int) -> int:
        file.ioctl(cmd, arg & 0xFFFFFFFF)
        return 0

    return request


def gives_int(cmd: int) -> Request:
    """Return a request that stores a number where its argument points to."""

    def request(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
        lwp.as_.store_s32(arg, file.ioctl(cmd))
        return 0

    return request


def gives_pid(cmd: int) -> Request:
    """Return a request that stores the id of a group or session, as the caller knows it."""

    def request(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
        lwp.as_.store_s32(arg, shown_pid(lwp, file.ioctl(cmd)))
        return 0

    return request


def takes_int(cmd: int) -> Request:
    """Return a request that reads a number where its argument points to."""

    def request(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
        _tty_only(file)
        file.ioctl(cmd, lwp.as_.load_s32(arg))
        return 0

    return request


def _tty_only(file: File) -> None:
    """Fail with ENOTTY before the argument is looked at, unless this is a terminal."""
    file.ioctl(termio.TIOCGETD)


def _set_group(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
    """TIOCSPGRP: a terminal that has been hung up says ENOTTY here, and EIO everywhere else."""
    try:
        file.ioctl(termio.TIOCGPGRP)
    except KernelError:
        raise KernelError(Errno.ENOTTY) from None
    pgid = lwp.as_.load_s32(arg)
    space = lwp.proc.pidspace
    file.ioctl(termio.TIOCSPGRP, pgid if space is None else space.zone(pgid))
    return 0


# -- modes ----------------------------------------------------------------------------------------


def _get(cmd: int) -> Request:
    def request(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
        modes = modes_to_lx(file.ioctl(cmd))
        address: Out[Termios] = pointer(Out, lwp, Termios, arg)
        address.put(Termios(*modes[:6]))
        return 0

    return request


def _set(cmd: int, record: type[Termios | Termios2] = Termios) -> Request:
    def request(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
        old = file.ioctl(termio.TCGETS)
        address: In[Termios | Termios2] = pointer(In, lwp, record, arg)
        file.ioctl(cmd, modes_from_lx(address.get(), old))
        return 0

    return request


def _get2(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
    modes = modes_to_lx(file.ioctl(termio.TCGETS))
    address: Out[Termios2] = pointer(Out, lwp, Termios2, arg)
    address.put(modes)
    return 0


def _geta(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
    modes = modes_to_lx(file.ioctl(termio.TCGETS))
    iflag, oflag, cflag, lflag = (word & _LOW_WORD for word in modes[:4])
    address: Out[Termio] = pointer(Out, lwp, Termio, arg)
    address.put(Termio(iflag, oflag, cflag, lflag, modes.line, modes.cc[:_NCC]))
    return 0


def _seta(cmd: int) -> Request:
    """Return a request that sets the low halves of the mode words and eight characters."""

    def request(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
        kernel = file.ioctl(termio.TCGETS)
        old = modes_to_lx(kernel)
        address: In[Termio] = pointer(In, lwp, Termio, arg)
        new = address.get()
        iflag, oflag, cflag, lflag = (
            was & ~_LOW_WORD | now for was, now in zip(old[:4], new[:4], strict=True)
        )
        cc = new.cc + old.cc[_NCC:]
        merged = Termios(iflag, oflag, cflag, lflag, new.line, cc)
        file.ioctl(cmd, modes_from_lx(merged, kernel))
        return 0

    return request


def _soft_carrier(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
    modes = file.ioctl(termio.TCGETS)
    lwp.as_.store_s32(arg, int(bool(modes.cflag & termio.CLOCAL)))
    return 0


def _set_soft_carrier(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
    modes = file.ioctl(termio.TCGETS)
    on = termio.CLOCAL if lwp.as_.load_s32(arg) else 0
    file.ioctl(termio.TCSETS, modes._replace(cflag=modes.cflag & ~termio.CLOCAL | on))
    return 0


# -- the rest -------------------------------------------------------------------------------------


def _get_size(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
    size = file.ioctl(termio.TIOCGWINSZ)
    address: Out[Winsize] = pointer(Out, lwp, Winsize, arg)
    address.put(Winsize(*size))
    return 0


def _set_size(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
    _tty_only(file)
    address: In[Winsize] = pointer(In, lwp, Winsize, arg)
    file.ioctl(termio.TIOCSWINSZ, termio.Winsize(*address.get()))
    return 0


def _insert(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
    _tty_only(file)
    file.ioctl(termio.TIOCSTI, lwp.as_.copyin(arg, 1)[0])
    return 0


def _send_break(_lwp: Lwp, file: File, _fd: int, _arg: int) -> int:
    file.ioctl(termio.TCSBRK, 0)
    return 0


def _signal(_lwp: Lwp, file: File, _fd: int, arg: int) -> int:
    sig = FROM_LX[arg] if arg < len(FROM_LX) else 0
    file.ioctl(termio.TIOCSIGNAL, sig)
    return 0


def _device(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
    rdev = file.ioctl(termio.TIOCGDEV)
    low = minor(rdev)
    lwp.as_.store_s32(arg, low & 0xFF | major(rdev) << 8 | (low & ~0xFF) << 12)
    return 0


def _peer(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
    """TIOCGPTPEER: open the terminal side; the argument is open flags (ioctl_tty(2))."""
    flags = OPEN.translate_in(arg & 0xFFFFFFFF)
    peer = file.ioctl(termio.PTM_PEER, flags)
    try:
        return lwp.proc.files.alloc(peer, 0, bool(flags & O_CLOEXEC))
    except KernelError:
        peer.rele()
        raise


#: Linux's numbers (asm-generic/ioctls.h).
REQUESTS: dict[int, Request] = {
    0x5401: _get(termio.TCGETS),
    0x5402: _set(termio.TCSETS),
    0x5403: _set(termio.TCSETSW),
    0x5404: _set(termio.TCSETSF),
    0x5405: _geta,
    0x5406: _seta(termio.TCSETS),
    0x5407: _seta(termio.TCSETSW),
    0x5408: _seta(termio.TCSETSF),
    0x5409: by_value(termio.TCSBRK),
    0x540A: by_value(termio.TCXONC),
    0x540B: by_value(termio.TCFLSH),
    0x540C: by_value(termio.TIOCEXCL),
    0x540D: by_value(termio.TIOCNXCL),
    0x540E: by_value(termio.TIOCSCTTY),
    0x540F: gives_pid(termio.TIOCGPGRP),
    0x5410: _set_group,
    0x5411: gives_int(termio.TIOCOUTQ),
    0x5412: _insert,
    0x5413: _get_size,
    0x5414: _set_size,
    0x5419: _soft_carrier,
    0x541A: _set_soft_carrier,
    0x5420: takes_int(termio.TIOCPKT),
    0x5422: by_value(termio.TIOCNOTTY),
    0x5423: takes_int(termio.TIOCSETD),
    0x5424: gives_int(termio.TIOCGETD),
    0x5425: _send_break,
    0x5427: _send_break,
    0x5428: _send_break,
    0x5429: gives_pid(termio.TIOCGSID),
    0x802C542A: _get2,
    0x402C542B: _set(termio.TCSETS, Termios2),
    0x402C542C: _set(termio.TCSETSW, Termios2),
    0x402C542D: _set(termio.TCSETSF, Termios2),
    0x80045430: gives_int(termio.PTM_NUMBER),
    0x40045431: takes_int(termio.PTM_LOCK),
    0x80045432: _device,
    0x40045436: _signal,
    0x5437: by_value(termio.TIOCVHANGUP),
    0x80045438: gives_int(termio.PTM_GETPKT),
    0x80045439: gives_int(termio.PTM_GETLOCK),
    0x80045440: gives_int(termio.TIOCGEXCL),
    0x5441: _peer,
    0x5456: _get(termio.TIOCGLCK),
    0x5457: _set(termio.TIOCSLCK),
}
