"""Process ids of their own for a process and all below it (pid_namespaces(7); illumos has zones).

Inside, the kernel knows every process and lwp by the zone's id. A space gives those that are in it
other ids, from 1 on, and so does each space around it. Its first process is to it what init is to
the zone: orphans go to it, and with it everything in the space ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.ns import Space
from lxemu.kernel.signal import SI_KERNEL, SIGKILL, SigInfo

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.proc import Proc
    from lxemu.kernel.userns import UserSpace

PID_MAX = 32768
#: An id that nobody has: what an unknown number of a space becomes.
NOBODY = 0x3FFFFFFF
MAX_LEVEL = 32


class PidSpace(Space):
    """A space: `shown` gives the number in it of a zone's id, `known` the other way."""

    def __init__(self, number: int, owner: UserSpace | None, parent: PidSpace | None) -> None:
        super().__init__(number, owner)
        self.parent = parent
        self.level: int = 1 if parent is None else parent.level + 1
        if self.level > MAX_LEVEL:
            raise KernelError(Errno.ENOSPC)
        self.init: Proc | None = None
        self.ended = False
        self._shown: dict[int, int] = {}
        self._known: dict[int, int] = {}
        self._next = 1

    def check_alive(self) -> None:
        """Raise ENOMEM once the first process has ended."""
        if self.ended:
            raise KernelError(Errno.ENOMEM)

    def enter(self, ident: int) -> None:
        """Give numbers to the zone's id of a new process or lwp, here and in the spaces around."""
        space: PidSpace | None = self
        while space is not None:
            space.forget(ident)
            number = space._free()
            space._shown[ident] = number
            space._known[number] = ident
            space = space.parent

    def enter_lwp(self, lwp: Lwp, *, first: bool) -> None:
        """Give numbers to a new lwp, and to its process if it is the `first` of it. EAGAIN."""
        self.enter(lwp.tid)
        lwp.vtid = self.shown(lwp.tid)
        if first:
            lwp.proc.vpid = lwp.vtid
            if self.init is None and not self.ended:
                self.init = lwp.proc

    def leave(self, ident: int, procs: Iterable[Proc]) -> None:
        """Take back the numbers of an id that is free again, unless it still names a group."""
        if any(proc.pgrp.pgid == ident or proc.session.sid == ident for proc in procs):
            return
        space: PidSpace | None = self
        while space is not None:
            space.forget(ident)
            space = space.parent

    def _free(self) -> int:
        for _ in range(PID_MAX):
            number = self._next
            self._next = number + 1 if number + 1 < PID_MAX else 2
            if number not in self._known:
                return number
        raise KernelError(Errno.EAGAIN)

    def forget(self, ident: int) -> None:
        """Take the number of an id back."""
        number = self._shown.pop(ident, 0)
        self._known.pop(number, None)

    def shown(self, ident: int) -> int:
        """Return the number of a zone's id, 0 for what is not in the space."""
        return self._shown.get(ident, 0)

    def zone(self, number: int) -> int:
        """Return the zone's id of a number (of a group, if negative); 0 and -1 mean themselves."""
        if number > 0:
            return self._known.get(number, NOBODY)
        if number >= -1:
            return number
        return -self._known.get(-number, NOBODY)

    def holds(self, proc: Proc) -> bool:
        """Return whether a process is in the space or one inside it."""
        return proc.pid in self._shown

    def ends(self) -> None:
        """Kill everything in the space: its first process has ended."""
        assert self.init is not None
        first, self.init, self.ended = self.init, None, True
        for proc in list(first.machine.procs.values()):
            if proc is not first and self.holds(proc):
                proc.machine.sigtoproc(proc, SIGKILL, SigInfo(SIGKILL, SI_KERNEL))


def shown_pid(viewer: Lwp, ident: int) -> int:
    """Return the number that an lwp is shown for a zone's id; 0 and less stay."""
    space = viewer.proc.pidspace
    return ident if space is None or ident <= 0 else space.shown(ident)


def space_init(proc: Proc) -> Proc | None:
    """Return the first process of the space of `proc`, if it can take over orphans."""
    space = proc.pidspace
    if space is None or space.init is None or space.init.exiting:
        return None
    return space.init
