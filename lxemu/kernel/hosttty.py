"""The emulator's own terminal as the guest's: the host's line discipline, our job control.

Modes and sizes are asked of the host and set there; flags go by name, for their values differ from
host to host. Sessions and foreground groups are the guest's, and the host knows nothing of them.
"""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from typing import TYPE_CHECKING, Any

from lxemu.kernel import termio
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import curlwp
from lxemu.kernel.termio import Termios, Winsize
from lxemu.kernel.tty import Tty
from lxemu.kernel.vfs.host import host_error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lxemu.kernel.vfs.file import File

_WINSIZE = struct.Struct("HHHH")
_IFLAG, _OFLAG, _CFLAG, _LFLAG, _ISPEED, _OSPEED, _CC = range(7)
_WHEN = {
    termio.TCSETS: termios.TCSANOW,
    termio.TCSETSW: termios.TCSADRAIN,
    termio.TCSETSF: termios.TCSAFLUSH,
}
_SHARED = termios.VMIN == termios.VEOF
_QUEUES = (termios.TCIFLUSH, termios.TCOFLUSH, termios.TCIOFLUSH)
_FLOW = (termios.TCOOFF, termios.TCOON, termios.TCIOFF, termios.TCION)


def _from_host(word: int, flags: Mapping[str, int]) -> int:
    """Translate a word of host flags, by name."""
    result = 0
    for name, bit in flags.items():
        if word & getattr(termios, name, 0):
            result |= bit
    return result


def _to_host(word: int, flags: Mapping[str, int], old: int) -> int:
    """Translate a word of our flags; host flags that we have no name for stay as they are."""
    for name, bit in flags.items():
        host = getattr(termios, name, 0)
        old = old | host if word & bit else old & ~host
    return old


def _host_speeds() -> dict[int, int]:
    """Return bits per second by the host's code for them."""
    names = (name for name in dir(termios) if name[0] == "B" and name[1:].isdigit())
    return {getattr(termios, name): int(name[1:]) for name in names}


class HostTty(Tty):
    """The terminal behind the host descriptor `fd`."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self.fd = fd
        self._requests: dict[int, Callable[[Any], Any]] = {
            termio.TCGETS: self._get,
            termio.TCSBRK: self._break,
            termio.TCXONC: self._flow,
            termio.TCFLSH: self._flush,
            termio.TIOCGWINSZ: self._get_size,
            termio.TIOCSWINSZ: self._set_size,
            termio.TIOCOUTQ: lambda _arg: 0,
            termio.TIOCGETD: lambda _arg: 0,
        }

        self._saved = termios.tcgetattr(fd)
        #: Whether a background process is stopped when it writes. The host cannot do it for us.
        self.tostop = bool(self._saved[_LFLAG] & termios.TOSTOP)

    def close(self) -> None:
        """Give the host its modes back, as a shell expects of a program that has ended."""
        try:
            termios.tcsetattr(self.fd, termios.TCSADRAIN, self._saved)
        except termios.error:
            return  # The terminal is gone: there is nobody to restore it for.
        finally:
            os.close(self.fd)

    def ioctl(self, file: File, cmd: int, arg: Any) -> Any:
        """Do a terminal request (termio.*). Raises ENOTTY for one it does not know, EINTR, EIO."""
        result = self.job_request(file, cmd, arg)
        if result is not NotImplemented:
            return result
        try:
            if cmd in _WHEN:
                return self._set(arg, _WHEN[cmd])
            request = self._requests.get(cmd)
            if request is None:
                raise KernelError(Errno.ENOTTY)
            return request(arg)
        except OSError as err:
            raise host_error(err) from None
        except termios.error as err:
            raise host_error(OSError(*err.args)) from None

    # -- modes ----------------------------------------------------------------------------------

    def _get(self, _arg: Any) -> Termios:
        host = termios.tcgetattr(self.fd)
        cflag = _from_host(host[_CFLAG], termio.CFLAGS)
        for name, size in termio.CSIZES.items():
            if host[_CFLAG] & termios.CSIZE == getattr(termios, name):
                cflag |= size
        speeds = _host_speeds()
        cc = bytearray(termio.NCCS)
        for name, at in termio.CC.items():
            where = getattr(termios, name, None)
            if where is not None and where < len(host[_CC]):
                value = host[_CC][where]
                cc[at] = value if isinstance(value, int) else value[0]
        return Termios(
            _from_host(host[_IFLAG], termio.IFLAGS),
            _from_host(host[_OFLAG], termio.OFLAGS),
            cflag,
            _from_host(host[_LFLAG], termio.LFLAGS),
            0,
            bytes(cc),
            speeds.get(host[_ISPEED], termio.B38400),
            speeds.get(host[_OSPEED], termio.B38400),
        )

    def _set(self, new: Termios, when: int) -> None:
        self.check_change(curlwp())
        host = termios.tcgetattr(self.fd)
        host[_IFLAG] = _to_host(new.iflag, termio.IFLAGS, host[_IFLAG])
        host[_OFLAG] = _to_host(new.oflag, termio.OFLAGS, host[_OFLAG])
        host[_LFLAG] = _to_host(new.lflag, termio.LFLAGS, host[_LFLAG])
        cflag = _to_host(new.cflag, termio.CFLAGS, host[_CFLAG]) & ~termios.CSIZE
        for name, size in termio.CSIZES.items():
            if new.cflag & termio.CSIZE == size:
                cflag |= getattr(termios, name)
        host[_CFLAG] = cflag
        # The fourth and fifth characters mean MIN and TIME without ICANON on hosts that share them.
        for name, at in termio.CC.items():
            if not new.lflag & termio.ICANON and name in ("VEOF", "VEOL") and _SHARED:
                continue
            where = getattr(termios, name, None)
            if where is not None and where < len(host[_CC]):
                host[_CC][where] = bytes((new.cc[at],))
        termios.tcsetattr(self.fd, when, host)
        self.tostop = bool(new.lflag & termio.TOSTOP)

    # -- the rest -------------------------------------------------------------------------------

    def _break(self, arg: int) -> None:
        self.check_change(curlwp())
        if arg:
            termios.tcdrain(self.fd)
        else:
            termios.tcsendbreak(self.fd, 0)

    def _flow(self, arg: int) -> None:
        self.check_change(curlwp())
        if not 0 <= arg < len(_FLOW):
            raise KernelError(Errno.EINVAL)
        termios.tcflow(self.fd, _FLOW[arg])

    def _flush(self, arg: int) -> None:
        self.check_change(curlwp())
        if not 0 <= arg < len(_QUEUES):
            raise KernelError(Errno.EINVAL)
        termios.tcflush(self.fd, _QUEUES[arg])

    def _get_size(self, _arg: Any) -> Winsize:
        raw = fcntl.ioctl(self.fd, termios.TIOCGWINSZ, bytes(_WINSIZE.size))
        return Winsize(*_WINSIZE.unpack(raw))

    def _set_size(self, arg: Winsize) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, _WINSIZE.pack(*arg))
