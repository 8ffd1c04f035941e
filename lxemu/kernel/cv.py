"""Condition variables: how kernel code sleeps (illumos condvar(9F)).

One host thread runs every lwp of a machine, each in a greenlet, so no lock goes with a condition:
code between two sleeps is atomic. A wait may end for no reason (a wakeup, or a stop and continue);
callers look at their condition again, in a loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from greenlet import getcurrent

from lxemu.kernel.errno import Interrupted

if TYPE_CHECKING:
    from lxemu.kernel.lwp import Lwp


class CondVar:
    """A queue of sleeping lwps."""

    __slots__ = ("waiters",)

    def __init__(self) -> None:
        self.waiters: list[Lwp] = []

    def wait(self) -> None:
        """Sleep until signalled; signals do not end it (cv_wait). The death of the lwp does."""
        lwp: Lwp = getcurrent().lwp  # type: ignore[attr-defined]
        self.waiters.append(lwp)
        try:
            lwp.machine.disp.sleep(lwp, self, interruptible=False)
        finally:
            if lwp in self.waiters:
                self.waiters.remove(lwp)

    def wait_kill(self) -> bool:
        """Sleep until signalled; False when the process is about to be killed instead.

        No other signal, and no stop, is looked at.
        """
        lwp: Lwp = getcurrent().lwp  # type: ignore[attr-defined]
        if lwp.machine.killed(lwp):
            return False
        self.waiters.append(lwp)
        lwp.sleep_kill = True
        try:
            lwp.machine.disp.sleep(lwp, self, interruptible=False)
        finally:
            lwp.sleep_kill = False
            if lwp in self.waiters:
                self.waiters.remove(lwp)
        return not lwp.machine.killed(lwp)

    def wait_sig(self) -> None:
        """Sleep until signalled (cv_wait_sig). Raises Interrupted for a signal to act on."""
        self.wait_sig_until(None)

    def wait_sig_until(self, deadline: int | None) -> bool:
        """Sleep until signalled or `deadline` (hrtime ns); False when it passed (cv_timedwait_sig).

        Raises Interrupted when a signal must be acted on.
        """
        lwp: Lwp = getcurrent().lwp  # type: ignore[attr-defined]
        machine = lwp.machine
        if lwp.ast and machine.issig(lwp):
            raise Interrupted
        disp = machine.disp
        if deadline is not None and deadline <= machine.clock.hrtime():
            return False
        self.waiters.append(lwp)
        callout = None
        if deadline is not None:
            callout = disp.timeout(deadline, lambda: self._expire(lwp))
        lwp.timed_out = False
        try:
            disp.sleep(lwp, self, interruptible=True)
        finally:
            if callout is not None:
                disp.untimeout(callout)
            if lwp in self.waiters:
                self.waiters.remove(lwp)
        if lwp.timed_out:
            return False
        if lwp.ast and machine.issig(lwp):
            raise Interrupted
        return True

    def _expire(self, lwp: Lwp) -> None:
        if lwp in self.waiters:
            self.waiters.remove(lwp)
            lwp.timed_out = True
            lwp.machine.disp.setrun(lwp)

    def signal(self) -> None:
        """Wake the lwp that has waited longest, if any."""
        if self.waiters:
            lwp = self.waiters.pop(0)
            lwp.machine.disp.setrun(lwp)

    def broadcast(self) -> None:
        """Wake every waiting lwp."""
        if self.waiters:
            waiters, self.waiters = self.waiters, []
            for lwp in waiters:
                lwp.machine.disp.setrun(lwp)
