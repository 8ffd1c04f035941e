"""Requests that a pseudo terminal answers: termio(4I), and ptm(4D) for the controlling side.

Most are about the terminal side, through whichever side they come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lxemu.kernel import termio as t
from lxemu.kernel.cred import PRIV_SYS_ADMIN
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import curlwp
from lxemu.kernel.signal import SIGINT, SIGQUIT, SIGTSTP
from lxemu.kernel.vfs.fcntl import FIONREAD

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxemu.kernel.pty import Side
    from lxemu.kernel.termio import Termios, Winsize
    from lxemu.kernel.vfs.file import File

    Request = Callable[[Side, File, Any], Any]

requests: dict[int, Request] = {}


def _request(*numbers: int) -> Callable[[Request], Request]:
    def enter(function: Request) -> Request:
        requests.update(dict.fromkeys(numbers, function))
        return function

    return enter


def _privileged() -> bool:
    return curlwp().proc.cred.crhas(PRIV_SYS_ADMIN)


# -- modes ----------------------------------------------------------------------------------------


@_request(t.TCGETS)
def _get(side: Side, _file: File, _arg: Any) -> Termios:
    return side.pty.slave.ld.modes


@_request(t.TCSETS, t.TCSETSW)
def _set(side: Side, _file: File, new: Termios) -> None:
    # What is written has reached the other side at once: there is nothing to wait for.
    slave = side.pty.slave
    slave.check_change(curlwp())
    slave.set_modes(new)


@_request(t.TCSETSF)
def _set_and_flush(side: Side, _file: File, new: Termios) -> None:
    slave = side.pty.slave
    slave.check_change(curlwp())
    slave.ld.flush()
    slave.set_modes(new)
    slave.drained()


@_request(t.TIOCGLCK)
def _get_locked(side: Side, _file: File, _arg: Any) -> Termios:
    return side.pty.locked_modes or t.Termios(0, 0, 0, 0, 0, bytes(t.NCCS), 0, 0)


@_request(t.TIOCSLCK)
def _set_locked(side: Side, _file: File, new: Termios) -> None:
    if not _privileged():
        raise KernelError(Errno.EPERM)
    side.pty.locked_modes = new


@_request(t.TIOCGETD)
def _discipline(_side: Side, _file: File, _arg: Any) -> int:
    return 0


@_request(t.TIOCSETD)
def _set_discipline(side: Side, _file: File, arg: int) -> None:
    side.check_change(curlwp())
    if arg != 0:
        raise KernelError(Errno.EINVAL)


# -- queues ---------------------------------------------------------------------------------------


@_request(FIONREAD)
def _readable(side: Side, _file: File, _arg: Any) -> int:
    return side.ld.queued()


@_request(t.TIOCOUTQ)
def _unsent(_side: Side, _file: File, _arg: Any) -> int:
    return 0


@_request(t.TCFLSH)
def _flush(side: Side, _file: File, arg: int) -> None:
    side.check_change(curlwp())
    if arg not in (t.TCIFLUSH, t.TCOFLUSH, t.TCIOFLUSH):
        raise KernelError(Errno.EINVAL)
    if arg != t.TCOFLUSH:
        side.pending.clear()
        side.ld.flush()
        side.drained()
    if arg != t.TCIFLUSH:
        side.flush_output()
        side.peer.drained()


@_request(t.TCXONC)
def _flow(side: Side, _file: File, arg: int) -> None:
    side.check_change(curlwp())
    ld = side.ld
    if arg == t.TCOOFF:
        ld.held = True
        ld.stop()
    elif arg == t.TCOON:
        if ld.held:
            ld.held = False
            ld.start()
    elif arg in (t.TCIOFF, t.TCION):
        key = ld.modes.cc[t.VSTOP if arg == t.TCIOFF else t.VSTART]
        if key != t.DISABLED and not ld.held:
            # Sent even while a key has stopped output.
            stopped = ld.stopped
            ld.start()
            side.put(bytes((key,)))
            if stopped:
                ld.stop()
    else:
        raise KernelError(Errno.EINVAL)


@_request(t.TCSBRK)
def _break(side: Side, _file: File, _arg: Any) -> None:
    # All output has been sent, and there is no line that could carry a break.
    side.check_change(curlwp())


@_request(t.TIOCSTI)
def _insert(side: Side, _file: File, arg: int) -> None:
    if curlwp().proc.ctty is not side and not _privileged():
        raise KernelError(Errno.EPERM)
    side.ld.receive(bytes((arg,)))
    side.input_ready()


# -- the terminal ---------------------------------------------------------------------------------


@_request(t.TIOCGWINSZ)
def _get_size(side: Side, _file: File, _arg: Any) -> Winsize:
    return side.pty.winsize


@_request(t.TIOCSWINSZ)
def _set_size(side: Side, _file: File, size: Winsize) -> None:
    side.pty.resize(size)


@_request(t.TIOCGDEV)
def _device(side: Side, _file: File, _arg: Any) -> int:
    return side.pty.slave.rdev


@_request(t.TIOCEXCL)
def _exclusive(side: Side, _file: File, _arg: Any) -> None:
    side.exclusive = True


@_request(t.TIOCNXCL)
def _shared(side: Side, _file: File, _arg: Any) -> None:
    side.exclusive = False


@_request(t.TIOCGEXCL)
def _is_exclusive(side: Side, _file: File, _arg: Any) -> int:
    return int(side.exclusive)


@_request(t.TIOCVHANGUP)
def _hangup(side: Side, _file: File, _arg: Any) -> None:
    if not _privileged():
        raise KernelError(Errno.EPERM)
    side.hangup()


# -- the controlling side -------------------------------------------------------------------------


def _master(side: Side, error: Errno = Errno.ENOTTY) -> None:
    if side is not side.pty.master:
        raise KernelError(error)


@_request(t.PTM_NUMBER)
def _number(side: Side, _file: File, _arg: Any) -> int:
    _master(side)
    return side.pty.number


@_request(t.PTM_LOCK)
def _lock(side: Side, _file: File, arg: int) -> None:
    _master(side)
    side.pty.locked = bool(arg)


@_request(t.PTM_GETLOCK)
def _is_locked(side: Side, _file: File, _arg: Any) -> int:
    _master(side)
    return int(side.pty.locked)


@_request(t.TIOCPKT)
def _set_packets(side: Side, _file: File, arg: int) -> None:
    _master(side)
    if arg and not side.packets:
        side.peer.status = 0
    side.packets = bool(arg)


@_request(t.PTM_GETPKT)
def _packets(side: Side, _file: File, _arg: Any) -> int:
    _master(side)
    return int(side.packets)


@_request(t.TIOCSIGNAL)
def _signal(side: Side, _file: File, sig: int) -> None:
    _master(side)
    if sig not in (SIGINT, SIGQUIT, SIGTSTP):
        raise KernelError(Errno.EINVAL)
    side.peer.signal(sig)


@_request(t.PTM_PEER)
def _peer(side: Side, _file: File, flags: int) -> File:
    _master(side, Errno.EIO)
    assert side.pty.peer_file is not None
    return side.pty.peer_file(flags)
