"""Sessions and process groups (illumos sys/session.h, os/pgrp.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError

if TYPE_CHECKING:
    from lxemu.kernel.proc import Proc
    from lxemu.kernel.tty import Tty


class Session:
    """A session: its leader's pid, its controlling terminal and its process groups."""

    __slots__ = ("leader", "pgrps", "sid", "tty")

    def __init__(self, sid: int, leader: Proc | None) -> None:
        self.sid = sid
        self.leader = leader
        self.tty: Tty | None = None
        self.pgrps: dict[int, Pgrp] = {}


class Pgrp:
    """A process group of a session."""

    __slots__ = ("members", "pgid", "session")

    def __init__(self, pgid: int, session: Session) -> None:
        self.pgid = pgid
        self.session = session
        self.members: list[Proc] = []
        session.pgrps[pgid] = self

    def orphaned(self) -> bool:
        """Return whether no member has a parent in another group of the session (POSIX 3.265)."""
        for proc in self.members:
            parent = proc.parent
            if (
                not proc.zombie
                and parent is not None
                and parent.pgrp is not self
                and parent.session is self.session
            ):
                return False
        return True


def pgjoin(proc: Proc, pgrp: Pgrp) -> None:
    """Move `proc` to `pgrp`."""
    pgexit(proc)
    proc.pgrp = pgrp
    proc.session = pgrp.session
    pgrp.members.append(proc)


def pgexit(proc: Proc) -> None:
    """Take `proc` out of its group; an empty group ends."""
    pgrp = proc.pgrp
    if proc in pgrp.members:
        pgrp.members.remove(proc)
        if not pgrp.members:
            pgrp.session.pgrps.pop(pgrp.pgid, None)


def pgfind(proc: Proc, pgid: int) -> Pgrp | None:
    """Return the group `pgid` of any session of the machine, or None."""
    others: dict[int, Proc] = proc.machine.procs
    for other in others.values():
        if other.pgrp.pgid == pgid and other.pgrp.members:
            return other.pgrp
    return None


def setsid(proc: Proc) -> int:
    """Make `proc` the leader of a new session without a terminal; EPERM for a group leader."""
    if pgfind(proc, proc.pid) is not None:
        raise KernelError(Errno.EPERM)
    pgexit(proc)
    session = Session(proc.pid, proc)
    pgrp = Pgrp(proc.pid, session)
    proc.pgrp = pgrp
    proc.session = session
    pgrp.members.append(proc)
    return proc.pid


def setpgid(caller: Proc, target: Proc, pgid: int) -> None:
    """Move `target` (the caller or a child of it) to group `pgid`, made if it is its own pid.

    EACCES after the child's exec, EPERM across sessions, ESRCH when it is neither (setpgid(2)).
    """
    if target is not caller and target.parent is not caller:
        raise KernelError(Errno.ESRCH)
    if target is not caller:
        if target.session is not caller.session:
            raise KernelError(Errno.EPERM)
        if target.execed:
            raise KernelError(Errno.EACCES)
    if target.session.sid == target.pid:
        raise KernelError(Errno.EPERM)
    if target.pgrp.pgid == pgid:
        return
    if pgid == target.pid:
        pgjoin(target, Pgrp(pgid, target.session))
        return
    pgrp = caller.session.pgrps.get(pgid)
    if pgrp is None or pgrp.session is not target.session:
        raise KernelError(Errno.EPERM)
    pgjoin(target, pgrp)
