"""Controlling terminals and job control (illumos os/session.c, termio(4I); POSIX 11.1).

What every terminal has, whatever moves its bytes: a session, a foreground group, and the rules by
which processes of other groups are stopped when they read, write or change it. Each process knows
its own controlling terminal (`Proc.ctty`): a member may give it up alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lxemu.kernel import termio
from lxemu.kernel.cred import PRIV_SYS_ADMIN
from lxemu.kernel.errno import Errno, Interrupted, KernelError
from lxemu.kernel.lwp import curlwp
from lxemu.kernel.session import pgfind
from lxemu.kernel.sig import sigtopgrp, sigtoproc
from lxemu.kernel.signal import (
    SI_KERNEL,
    SIG_IGN,
    SIGCONT,
    SIGHUP,
    SIGTTIN,
    SIGTTOU,
    SigInfo,
)
from lxemu.kernel.vfs.fcntl import FREAD

if TYPE_CHECKING:
    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.proc import Proc
    from lxemu.kernel.session import Session
    from lxemu.kernel.vfs.file import File
    from lxemu.kernel.vfs.vnode import Vnode


def _to_group(session: Session, pgid: int, sig: int) -> None:
    """Send `sig` to group `pgid` of `session`, if there is one."""
    pgrp = session.pgrps.get(pgid)
    if pgrp is not None:
        sigtopgrp(pgrp, sig, SigInfo(sig, SI_KERNEL))


class Tty:
    """Job control state of a terminal.

    `fg` is the id of the foreground group, 0 without: a number, for the group may be gone or not
    yet there. `rdev` is the device number by which others know the terminal.
    """

    rdev = 0

    def __init__(self) -> None:
        self.session: Session | None = None
        self.fg = 0

    def open_again(self, file: File) -> Vnode | None:  # noqa: ARG002
        """Open the terminal once more for `file`, as /dev/tty does; None if that cannot be."""
        return None

    # -- the session ----------------------------------------------------------------------------

    def signal(self, sig: int) -> None:
        """Send a signal that the terminal makes (^C, window change) to the foreground group."""
        if self.session is not None:
            _to_group(self.session, self.fg, sig)

    def attach(self, proc: Proc) -> None:
        """Make this the controlling terminal of the session leader `proc`, its group foreground."""
        self.session = proc.session
        self.fg = proc.pgrp.pgid
        proc.ctty = self
        proc.session.old_fg = 0

    def _forget_session(self) -> None:
        """End the terminal's session: it controls nobody any more."""
        session = self.session
        self.session = None
        self.fg = 0
        if session is not None:
            for proc in session.members():
                if proc.ctty is self:
                    proc.ctty = None

    def opened_by(self, proc: Proc) -> None:
        """Become the terminal of a session leader without one that has opened this (open(2))."""
        leads = proc.session.sid == proc.pid
        if leads and proc.ctty is None and self.session is None:
            self.attach(proc)

    def setctty(self, proc: Proc, *, steal: bool, readable: bool = True) -> None:
        """TIOCSCTTY: EPERM for a process that leads no session, or if another session has it."""
        leads = proc.session.sid == proc.pid
        if leads and self.session is proc.session:
            return
        if not leads or proc.ctty is not None:
            raise KernelError(Errno.EPERM)
        privileged = proc.cred.crhas(PRIV_SYS_ADMIN)
        if self.session is not None:
            if not (steal and privileged):
                raise KernelError(Errno.EPERM)
            self._forget_session()
        if not readable and not privileged:
            raise KernelError(Errno.EPERM)
        self.attach(proc)

    def notty(self, proc: Proc) -> None:
        """TIOCNOTTY: give the controlling terminal up; ENOTTY when it is not the caller's."""
        if proc.ctty is not self:
            raise KernelError(Errno.ENOTTY)
        if proc.session.sid == proc.pid:
            self.signal(SIGHUP)
            self.signal(SIGCONT)
            self._forget_session()
        proc.ctty = None

    def leader_exit(self) -> None:
        """Disconnect when the session leader ends; the foreground group gets SIGHUP."""
        self.signal(SIGHUP)
        self._forget_session()

    def hangup(self) -> None:
        """Disconnect because the line is gone: the session leader gets SIGHUP and SIGCONT.

        The foreground group gets them when the leader ends.
        """
        session, fg = self.session, self.fg
        self._forget_session()
        if session is None:
            return
        session.old_fg = fg
        if session.leader is not None and not session.leader.exiting:
            for sig in (SIGHUP, SIGCONT):
                sigtoproc(session.leader, sig, SigInfo(sig, SI_KERNEL))

    # -- requests -------------------------------------------------------------------------------

    def job_request(self, file: File, cmd: int, arg: Any, *, controlling: bool = False) -> Any:
        """Do a job control request; NotImplemented for any other.

        `controlling` when it came through the controlling side of a pseudo terminal, which may ask
        about any session.
        """
        lwp = curlwp()
        proc = lwp.proc
        if cmd == termio.TIOCGPGRP:
            return self.tcgetpgrp(proc, anyone=controlling)
        if cmd == termio.TIOCSPGRP:
            return self.tcsetpgrp(lwp, arg)
        if cmd == termio.TIOCGSID:
            return self.getsid(proc, anyone=controlling)
        if cmd == termio.TIOCSCTTY:
            return self.setctty(proc, steal=arg == 1, readable=bool(file.flags & FREAD))
        if cmd == termio.TIOCNOTTY:
            if controlling:
                raise KernelError(Errno.ENOTTY)
            return self.notty(proc)
        return NotImplemented

    def tcgetpgrp(self, proc: Proc, *, anyone: bool = False) -> int:
        """Return the foreground group's id; ENOTTY when it is not the caller's terminal."""
        if proc.ctty is not self and not anyone:
            raise KernelError(Errno.ENOTTY)
        return self.fg

    def tcsetpgrp(self, lwp: Lwp, pgid: int) -> None:
        """Make `pgid` the foreground group (tcsetpgrp(3)).

        Raises ENOTTY, EINVAL, ESRCH, EPERM; SIGTTOU stops a caller in the background.
        """
        proc = lwp.proc
        try:
            self.check_change(lwp)
        except KernelError as error:
            if error.errno is Errno.EIO:
                raise KernelError(Errno.ENOTTY) from None
            raise
        if proc.ctty is not self or self.session is not proc.session:
            raise KernelError(Errno.ENOTTY)
        if pgid < 0:
            raise KernelError(Errno.EINVAL)
        if pgid not in proc.session.pgrps:
            # A member that leads no group yet will do: its group is about to be made.
            member = proc.machine.procs.get(pgid)
            if member is None:
                other = pgfind(proc, pgid) is not None
                raise KernelError(Errno.EPERM if other else Errno.ESRCH)
            if member.session is not proc.session:
                raise KernelError(Errno.EPERM)
        self.fg = pgid

    def getsid(self, proc: Proc, *, anyone: bool = False) -> int:
        """Return the id of the terminal's session; ENOTTY when it is not the caller's terminal."""
        if self.session is None or (proc.ctty is not self and not anyone):
            raise KernelError(Errno.ENOTTY)
        return self.session.sid

    # -- background processes -------------------------------------------------------------------

    def _in_background(self, proc: Proc) -> bool:
        return proc.ctty is self and self.fg not in (0, proc.pgrp.pgid)

    def check_read(self, lwp: Lwp) -> None:
        """Stop a background reader with SIGTTIN; EIO if that signal cannot stop it."""
        while self._in_background(lwp.proc):
            if self._unstoppable(lwp, SIGTTIN) or lwp.proc.pgrp.orphaned():
                raise KernelError(Errno.EIO)
            self._stop(lwp, SIGTTIN)

    def check_change(self, lwp: Lwp) -> None:
        """Stop a background process that changes the terminal unless it blocks SIGTTOU."""
        while self._in_background(lwp.proc):
            if self._unstoppable(lwp, SIGTTOU):
                return
            if lwp.proc.pgrp.orphaned():
                raise KernelError(Errno.EIO)
            self._stop(lwp, SIGTTOU)

    @staticmethod
    def _unstoppable(lwp: Lwp, sig: int) -> bool:
        blocked = bool(lwp.sigmask >> (sig - 1) & 1)
        return blocked or lwp.proc.sigacts[sig].handler == SIG_IGN

    @staticmethod
    def _stop(lwp: Lwp, sig: int) -> None:
        sigtopgrp(lwp.proc.pgrp, sig, SigInfo(sig, SI_KERNEL))
        if lwp.machine.issig(lwp):
            raise Interrupted
