"""Sessions and process groups (illumos sys/session.h, os/pgrp.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxemu.kernel.proc import Proc


class Session:
    """A session: its leader and its process groups.

    `old_fg` is the group that was in the foreground when the terminal was hung up, 0 without.
    """

    __slots__ = ("leader", "old_fg", "pgrps", "sid")

    def __init__(self, sid: int, leader: Proc | None) -> None:
        self.sid = sid
        self.leader = leader
        self.old_fg = 0
        self.pgrps: dict[int, Pgrp] = {}

    def members(self) -> Iterator[Proc]:
        """Return every process of the session."""
        for pgrp in tuple(self.pgrps.values()):
            yield from tuple(pgrp.members)


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
        return not any(self.anchored_by(proc) for proc in self.members)

    def anchored_by(self, proc: Proc) -> bool:
        """Return whether the parent of the member `proc` keeps the group from being orphaned.

        Init, which takes over orphans, does so only for the first program, whose job this is.
        """
        parent = proc.parent
        if proc.zombie or parent is None or parent.exiting:
            return False
        machine = proc.machine
        if parent is machine.init and proc is not machine.first:
            return False
        return parent.pgrp is not self and parent.session is self.session


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
    proc.ctty = None
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
    pgrp = caller.session.pgrps.get(pgid)
    if pgrp is None:
        if pgid != target.pid:
            raise KernelError(Errno.EPERM)
        pgrp = Pgrp(pgid, target.session)
    pgjoin(target, pgrp)
