"""Pseudo terminals (illumos ptm(4D), pts(4D), ptem(4M)): two sides, each with a line discipline.

What one side writes is the other's input. The controlling side does nothing to its data; the
terminal side is what programs take for a terminal. Results are the reference system's, measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lxemu.kernel import termio as t
from lxemu.kernel.cred import PRIV_SYS_ADMIN
from lxemu.kernel.cv import CondVar
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.ldterm import BUFSIZE, Ldterm
from lxemu.kernel.lwp import curlwp
from lxemu.kernel.poll import (
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLPRI,
    POLLRDNORM,
    POLLWRNORM,
    Pollhead,
)
from lxemu.kernel.ptyio import requests
from lxemu.kernel.ptyvnode import HungVnode, PtyVnode
from lxemu.kernel.signal import SIGWINCH
from lxemu.kernel.termio import Termios, Winsize
from lxemu.kernel.tty import Tty
from lxemu.kernel.vfs.fcntl import FREAD, O_NOCTTY, O_NONBLOCK

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.vfs.file import File
    from lxemu.kernel.vfs.vnode import Vnode

#: How much waits between the sides beyond what the reader's discipline holds.
PENDING = 9729
#: A read takes so much at first; only then does it look whether there is more than VMIN.
_FIRST_PIECE = 64
_TENTH = 100_000_000
_READABLE = POLLIN | POLLRDNORM
_WRITABLE = POLLOUT | POLLWRNORM


class _Turn:
    """Writers take turns: what one writes while it waits for room is not mixed with another's.

    One that is stopped in its turn has lost it.
    """

    __slots__ = ("_cv", "_holder")

    def __init__(self) -> None:
        self._holder: Lwp | None = None
        self._cv = CondVar()

    def take(self, lwp: Lwp, file: File) -> None:
        """Wait for the turn. Raises EAGAIN for a file with O_NONBLOCK, EINTR."""
        while self._holder is not None and not self._holder.proc.stopped:
            if file.flags & O_NONBLOCK:
                raise KernelError(Errno.EAGAIN)
            self._cv.wait_sig()
        self._holder = lwp

    def give(self, lwp: Lwp) -> None:
        """Let the next one go."""
        if self._holder is lwp:
            self._holder = None
            self._cv.signal()


class Side(Tty):
    """One side of a pseudo terminal: the driver below its line discipline.

    `pending` is input for which the discipline has no room yet. `dead` is set when all files of the
    side are closed, `alone` when those of the other side are; `status` holds what the other side,
    if it reads packets, is to be told.
    """

    peer: Side

    def __init__(self, pty: Pty, modes: Termios) -> None:
        super().__init__()
        self.pty = pty
        self.ld = Ldterm(self, modes)
        self.pending = bytearray()
        self.files: list[File] = []
        self.dead = False
        self.alone = False
        self.exclusive = False
        self.packets = False
        self.status = 0
        self.vnode: PtyVnode | None = None
        self.pollhead = Pollhead()
        self._receiving = False
        self._cv_read = CondVar()
        self._cv_write = CondVar()
        self._writing = _Turn()

    # -- the driver, as the line discipline sees it ---------------------------------------------

    def room(self) -> int:
        """Return how many bytes can be put out now."""
        if self.ld.stopped:
            return 0
        return max(0, PENDING - len(self.peer.pending))

    def put(self, data: bytes) -> None:
        """Put out `data`: it is the other side's input, when what is being received is done.

        Until then a signal key may still drop it, and so the echo of what came before the key.
        """
        self.peer.pending += data
        if not self._receiving or len(self.peer.pending) >= BUFSIZE:
            self.peer.pump()

    def pump(self) -> None:
        """Give the discipline what it takes of the pending input."""
        if not self.pending or self._receiving:
            return
        self._receiving = True
        taken = self.ld.receive(self.pending)
        self._receiving = False
        if taken:
            del self.pending[:taken]
            self.input_ready()
            self.peer.pump()

    def input_ready(self) -> None:
        """Wake the readers if there is something to read."""
        if self.ld.available():
            self._wake_readers(_READABLE)

    def flush_output(self) -> None:
        """Drop what the other side's discipline has not taken yet."""
        self.peer.pending.clear()
        self._tell(t.TIOCPKT_FLUSHWRITE)

    def input_flushed(self) -> None:
        """Tell a reader of packets that the input has been dropped."""
        self._tell(t.TIOCPKT_FLUSHREAD)

    def flow_changed(self, *, stopped: bool) -> None:
        """Tell a reader of packets, and wake the writers when output goes on."""
        if stopped:
            self._tell(t.TIOCPKT_STOP, t.TIOCPKT_START)
        else:
            self._tell(t.TIOCPKT_START, t.TIOCPKT_STOP)
            self._wake_writers()

    def _tell(self, bits: int, instead_of: int = 0) -> None:
        if self.peer.packets:
            self.status = self.status & ~instead_of | bits
            self.peer._wake_readers(_READABLE | POLLPRI)

    def _wake_readers(self, events: int) -> None:
        self._cv_read.broadcast()
        if self.pollhead.waiters:
            self.pollhead.wakeup(events)

    def _wake_writers(self) -> None:
        self._cv_write.broadcast()
        if self.pollhead.waiters:
            self.pollhead.wakeup(_WRITABLE)

    def wake_all(self) -> None:
        """Have everybody look again."""
        self._cv_read.broadcast()
        self._cv_write.broadcast()
        self.pollhead.wakeup(_READABLE | _WRITABLE | POLLHUP | POLLERR)

    def drained(self) -> None:
        """Go on after input has been taken: what waits comes in, who has waited may write."""
        self.pump()
        if self.peer.room():
            self.peer._wake_writers()

    # -- open and close -------------------------------------------------------------------------

    def add(self, file: File, realvp: Vnode) -> PtyVnode:
        """Count `file` as a user; return the vnode that stands for the side."""
        self.files.append(file)
        self.dead = False
        if self.vnode is None:
            self.vnode = PtyVnode(realvp, self)
        return self.vnode

    def close(self, file: File) -> None:
        """Note that a file has gone; the last one closes the side."""
        if file in self.files:
            self.files.remove(file)
        if self.files or self.dead:
            return
        self.dead = True
        self.packets = False
        self.peer.alone = True
        self.wake_all()
        self.peer.wake_all()
        self.pty.closed(self)

    def hangup(self) -> None:
        """Cut off everybody who has the side open, and set it back to how it was at first."""
        for file in self.files:
            file.set_vnode(HungVnode(file.vnode, self))
        super().hangup()
        self.ld.flush()
        self.flush_output()
        self.status = 0
        self.ld = Ldterm(self, self.pty.initial_modes(self))
        self.wake_all()

    # -- reading --------------------------------------------------------------------------------

    def read(self, file: File, count: int) -> bytes:
        """Read a line, or bytes as VMIN and VTIME say. Raises EIO, EAGAIN, EINTR."""
        lwp = curlwp()
        self.check_read(lwp)
        ld, clock = self.ld, lwp.machine.clock
        minimum = between = 0
        deadline: int | None = None
        if not ld.modes.lflag & t.ICANON:
            minimum, tenths = ld.modes.cc[t.VMIN], ld.modes.cc[t.VTIME]
            if minimum:
                between = tenths * _TENTH
            else:
                minimum, deadline = 1, clock.hrtime() + tenths * _TENTH
        out = bytearray()
        first = min(count, _FIRST_PIECE)
        while len(out) < first:
            if self.packets and self.peer.status:
                if not out:
                    out.append(self.peer.status)
                    self.peer.status = 0
                break
            if not ld.available():
                if not self._wait_for_input(lwp, file, bool(out), deadline):
                    break
                continue
            if ld.by_lines:
                out += ld.take(count - len(out))
                self.drained()
                break
            if self.packets and not out:
                out.append(t.TIOCPKT_DATA)
            out += ld.take(first - len(out))
            if len(out) >= minimum:
                out += ld.take(count - len(out))
            self.drained()
            if len(out) >= minimum:
                break
            if between:
                deadline = clock.hrtime() + between
        return bytes(out)

    def _wait_for_input(self, lwp: Lwp, file: File, some: bool, deadline: int | None) -> bool:
        """Wait until something may have come; False if the read is to end with what it has.

        With nothing read yet it raises EIO when the other side is closed, EAGAIN, EINTR.
        One that has been stopped begins anew: it may be in the background now.
        """
        stops = lwp.proc.job_serial
        try:
            if self.alone:
                raise KernelError(Errno.EIO)
            if self.hung(file):
                return False
            if deadline is not None and deadline <= lwp.machine.clock.hrtime():
                return False
            if file.flags & O_NONBLOCK:
                raise KernelError(Errno.EAGAIN)
            in_time = self._cv_read.wait_sig_until(deadline)
            if lwp.proc.job_serial == stops:
                return in_time
            if not some:
                self.check_read(lwp)
            return not some
        except KernelError:
            if some:
                return False
            raise

    def open_again(self, file: File) -> Vnode | None:
        """Open the terminal side for /dev/tty, though nobody may have it open any more."""
        node = self.pty.node
        return self.pty.open_slave(file, node) if node is not None else None

    def hung(self, file: File) -> bool:
        """Return whether `file` has been cut off."""
        return file.vnode is not self.vnode

    # -- writing --------------------------------------------------------------------------------

    def write(self, file: File, data: bytes | memoryview) -> int:
        """Write all of `data`, or what there is room for with O_NONBLOCK.

        Raises EIO, EAGAIN, EINTR.
        """
        if self.dead:
            raise KernelError(Errno.EIO)
        lwp = curlwp()
        self._check_write(lwp)
        self._writing.take(lwp, file)
        try:
            return self._write(lwp, file, data)
        finally:
            self._writing.give(lwp)
            # Others may write now: an edge for those who poll, as every end of a write is.
            if self.pollhead.waiters and self.room():
                self.pollhead.wakeup(_WRITABLE)

    def _check_write(self, lwp: Lwp) -> None:
        if self.ld.modes.lflag & t.TOSTOP:
            self.check_change(lwp)

    def _write(self, lwp: Lwp, file: File, data: bytes | memoryview) -> int:
        stops = lwp.proc.job_serial
        self.ld.out.process()
        done, total = 0, len(data)
        try:
            while True:
                if self.hung(file):
                    raise KernelError(Errno.EIO)
                put = self.ld.out.write(data[done:] if done else data)
                done += put
                if done >= total:
                    return done
                if put:
                    # The other side's discipline has taken some of it: there may be room again.
                    continue
                if file.flags & O_NONBLOCK:
                    raise KernelError(Errno.EAGAIN)
                self._cv_write.wait_sig()
                if lwp.proc.job_serial != stops:
                    if done:
                        return done
                    stops = lwp.proc.job_serial
                    self._check_write(lwp)
        except KernelError:
            if done:
                return done
            raise

    # -- the rest -------------------------------------------------------------------------------

    def poll(self, events: int) -> tuple[int, Pollhead | None]:
        """Return which of `events` are ready."""
        ready = _READABLE if self.ld.polled() else 0
        if self.packets and self.peer.status:
            ready |= POLLPRI | _READABLE
        if self.alone:
            ready |= POLLHUP
        if self.room():
            ready |= _WRITABLE
        return ready & (events | POLLHUP | POLLERR), self.pollhead

    def ioctl(self, file: File, cmd: int, arg: Any) -> Any:
        """Do a request (termio.*, filio). Raises ENOTTY for one that there is not."""
        result = self.pty.slave.job_request(file, cmd, arg, controlling=self is self.pty.master)
        if result is not NotImplemented:
            return result
        request = requests.get(cmd)
        if request is None:
            raise KernelError(Errno.ENOTTY)
        return request(self, file, arg)

    def set_modes(self, new: Termios) -> None:
        """Change the modes, but for what is locked; tell a reader of packets what matters to it."""
        old = self.ld.modes
        locked = self.pty.locked_modes
        if locked is not None:
            new = keep_locked(old, new, locked)
        new = new._replace(cflag=new.cflag & ~(t.CSIZE | t.PARENB) | t.CS8 | t.CREAD)
        if self.peer.packets:
            was, now = _plain_flow(old), _plain_flow(new)
            if was != now:
                bits = (t.TIOCPKT_DOSTOP, t.TIOCPKT_NOSTOP)
                self._tell(bits[not now], bits[now])
            if (old.lflag | new.lflag) & t.EXTPROC:
                self._tell(t.TIOCPKT_IOCTL)
        self.ld.set_modes(new)
        self.pump()
        self.input_ready()
        self._wake_writers()


def _plain_flow(modes: Termios) -> bool:
    """Return whether output is stopped and started with ^S and ^Q."""
    keys = (modes.cc[t.VSTOP], modes.cc[t.VSTART]) == (0x13, 0x11)
    return bool(modes.iflag & t.IXON) and keys


def keep_locked(old: Termios, new: Termios, locked: Termios) -> Termios:
    """Return `new` with what `locked` has set as it is in `old`."""
    iflag, oflag, cflag, lflag = (
        was & lock | now & ~lock
        for was, now, lock in zip(old[:4], new[:4], locked[:4], strict=True)
    )
    cc = bytes(
        was if lock else now for was, now, lock in zip(old.cc, new.cc, locked.cc, strict=True)
    )
    line = old.line if locked.line else new.line
    return Termios(iflag, oflag, cflag, lflag, line, cc, new.ispeed, new.ospeed)


class Pty:
    """A pair of sides. `gone` is called when the controlling side closes, `released` at the end."""

    def __init__(self, number: int, rdev: int) -> None:
        self.number = number
        self.locked = True
        self.locked_modes: Termios | None = None
        self.winsize = Winsize(0, 0)
        self.master = Side(self, t.RAW)
        self.slave = Side(self, t.DEFAULT)
        self.master.peer, self.slave.peer = self.slave, self.master
        self.slave.rdev = rdev
        #: Whether the controlling side is open.
        self.open = True
        self.node: Vnode | None = None
        self.peer_file: Callable[[int], File] | None = None
        self.gone: Callable[[], None] = lambda: None
        self.released: Callable[[], None] = lambda: None

    def initial_modes(self, side: Side) -> Termios:
        """Return the modes that a side has at first."""
        return t.RAW if side is self.master else t.DEFAULT

    def open_slave(self, file: File, realvp: Vnode) -> Vnode:
        """Open the terminal side.

        Raises EIO while it is locked or when the controlling side is closed, EBUSY (TIOCEXCL).
        """
        side = self.slave
        lwp = curlwp()
        if side.exclusive and not lwp.proc.cred.crhas(PRIV_SYS_ADMIN):
            raise KernelError(Errno.EBUSY)
        if not self.open or self.locked:
            raise KernelError(Errno.EIO)
        vnode = side.add(file, realvp)
        self.master.alone = False
        if not file.flags & O_NOCTTY and file.flags & FREAD:
            side.opened_by(lwp.proc)
        return vnode

    def closed(self, side: Side) -> None:
        """Act on the close of the last file of a side."""
        if side is self.master:
            self.open = False
            side.alone = True
            self.gone()
            self.slave.hangup()
        if not self.open and not self.slave.files:
            self.released()

    def resize(self, size: Winsize) -> None:
        """Set the window size; the foreground group hears of a change (SIGWINCH)."""
        if size != self.winsize:
            self.slave.signal(SIGWINCH)
            self.winsize = size
