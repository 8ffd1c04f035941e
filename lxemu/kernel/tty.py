"""Controlling terminals and job control (illumos os/session.c, termio(4I); POSIX 11.1).

What every terminal has, whatever moves its bytes: a session, a foreground group, and the rules by
which processes of other groups are stopped when they read, write or change it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.cred import PRIV_SYS_ADMIN
from lxemu.kernel.errno import Errno, Interrupted, KernelError
from lxemu.kernel.sig import sigtopgrp
from lxemu.kernel.signal import (
    SI_KERNEL,
    SIG_IGN,
    SIGCONT,
    SIGHUP,
    SIGTTIN,
    SIGTTOU,
    SigInfo,
)

if TYPE_CHECKING:
    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.proc import Proc
    from lxemu.kernel.session import Pgrp, Session


class Tty:
    """Job control state of a terminal."""

    def __init__(self) -> None:
        self.session: Session | None = None
        self.fg: Pgrp | None = None

    def signal(self, sig: int) -> None:
        """Send a signal that the terminal makes (^C, window change) to the foreground group."""
        if self.fg is not None:
            sigtopgrp(self.fg, sig, SigInfo(sig, SI_KERNEL))

    def leader_exit(self, session: Session) -> None:
        """Disconnect when the session leader ends; the foreground group gets SIGHUP."""
        if self.session is not session:
            return
        fg = self.fg
        self.detach()
        if fg is not None:
            sigtopgrp(fg, SIGHUP, SigInfo(SIGHUP, SI_KERNEL))
            sigtopgrp(fg, SIGCONT, SigInfo(SIGCONT, SI_KERNEL))

    def detach(self) -> None:
        """End the terminal's session."""
        if self.session is not None:
            self.session.tty = None
        self.session = None
        self.fg = None

    def attach(self, proc: Proc) -> None:
        """Make this the controlling terminal of `proc`'s session, its group the foreground."""
        self.session = proc.session
        self.fg = proc.pgrp
        proc.session.tty = self

    def setctty(self, proc: Proc, *, steal: bool) -> None:
        """TIOCSCTTY: EPERM for a process that leads no session, or if another session has it."""
        session = proc.session
        if session.tty is self and session.sid == proc.pid:
            return
        if session.sid != proc.pid or session.tty is not None:
            raise KernelError(Errno.EPERM)
        if self.session is not None and self.session is not session:
            if not (steal and proc.cred.crhas(PRIV_SYS_ADMIN)):
                raise KernelError(Errno.EPERM)
            self.detach()
        self.attach(proc)

    def notty(self, proc: Proc) -> None:
        """TIOCNOTTY: give the controlling terminal up; ENOTTY when it is not the caller's."""
        if proc.session.tty is not self:
            raise KernelError(Errno.ENOTTY)
        if proc.session.sid == proc.pid:
            self.leader_exit(proc.session)
        else:
            # A member cannot leave alone here: sessions own the terminal, as in illumos.
            raise KernelError(Errno.EPERM)

    def tcgetpgrp(self, proc: Proc) -> int:
        """Return the foreground group's id; ENOTTY when it is not the caller's terminal."""
        if proc.session.tty is not self:
            raise KernelError(Errno.ENOTTY)
        return self.fg.pgid if self.fg is not None else 0

    def tcsetpgrp(self, lwp: Lwp, pgid: int) -> None:
        """Make `pgid` the foreground group (tcsetpgrp(3): ENOTTY, EINVAL, EPERM; SIGTTOU)."""
        proc = lwp.proc
        if proc.session.tty is not self:
            raise KernelError(Errno.ENOTTY)
        self.check_change(lwp)
        if pgid < 0:
            raise KernelError(Errno.EINVAL)
        pgrp = proc.session.pgrps.get(pgid)
        if pgrp is None:
            other = any(p.pgrp.pgid == pgid for p in proc.machine.procs.values())
            raise KernelError(Errno.EPERM if other else Errno.ESRCH)
        self.fg = pgrp

    def getsid(self, proc: Proc) -> int:
        """Return the id of the terminal's session; ENOTTY when it is not the caller's terminal."""
        if proc.session.tty is not self:
            raise KernelError(Errno.ENOTTY)
        return proc.session.sid

    def check_read(self, lwp: Lwp) -> None:
        """Stop a background reader with SIGTTIN; EIO if that signal cannot stop it."""
        proc = lwp.proc
        while proc.session.tty is self and proc.pgrp is not self.fg and self.fg is not None:
            if self._unstoppable(lwp, SIGTTIN) or proc.pgrp.orphaned():
                raise KernelError(Errno.EIO)
            self._stop(lwp, SIGTTIN)

    def check_change(self, lwp: Lwp) -> None:
        """Stop a background process that changes the terminal unless it blocks SIGTTOU."""
        proc = lwp.proc
        while proc.session.tty is self and proc.pgrp is not self.fg and self.fg is not None:
            if self._unstoppable(lwp, SIGTTOU):
                return
            if proc.pgrp.orphaned():
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
