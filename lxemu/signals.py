r"""Signals of the host process, handed on to the guest.

The keys of a terminal (^C, ^\\, ^Z) and window changes go to the guest's foreground group, as the
terminal driver would send them; SIGTERM and SIGHUP go to the first program. A Python handler only
notes the number: it may run between any two bytecodes of the kernel. `dispatch` acts on it at a
safe point.
"""

from __future__ import annotations

import os
import signal as host
from typing import TYPE_CHECKING, Any

from lxemu.kernel.poll import POLLIN
from lxemu.kernel.sig import sigtopgrp, sigtoproc
from lxemu.kernel.signal import (
    SI_KERNEL,
    SIGCONT,
    SIGHUP,
    SIGINT,
    SIGQUIT,
    SIGTERM,
    SIGTSTP,
    SIGWINCH,
    SigInfo,
)

if TYPE_CHECKING:
    from lxemu.machine import Machine

#: Host signal -> the guest's (illumos numbers), sent to the foreground group.
_TO_FOREGROUND: dict[int, int] = {
    host.SIGINT: SIGINT,
    host.SIGQUIT: SIGQUIT,
    host.SIGTSTP: SIGTSTP,
    host.SIGWINCH: SIGWINCH,
}
_TO_FIRST: dict[int, int] = {host.SIGTERM: SIGTERM, host.SIGHUP: SIGHUP, host.SIGCONT: SIGCONT}


class HostSignals:
    """Catches the host's signals while a machine runs; `close` puts the old handlers back."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.pending: list[int] = []
        self.stop_wanted = False
        #: SIGTERM or SIGHUP has come: the machine ends with its first program, whatever else runs.
        self.asked_to_end = False
        self.read_fd, self._write_fd = os.pipe()
        os.set_blocking(self.read_fd, False)
        os.set_blocking(self._write_fd, False)
        self._old_wakeup = host.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        self._old: dict[int, Any] = {
            signo: host.signal(signo, self._note) for signo in (*_TO_FOREGROUND, *_TO_FIRST)
        }
        machine.disp.watch(self.read_fd, POLLIN, self._drain)

    def _note(self, signo: int, _frame: object) -> None:
        self.pending.append(signo)

    def _drain(self, _events: int) -> None:
        try:
            os.read(self.read_fd, 512)
        except BlockingIOError:
            return

    def dispatch(self) -> None:
        """Send what has been noted; called where the kernel may send signals."""
        if self.stop_wanted:
            self._stop_host()
        while self.pending:
            self._send(self.pending.pop(0))

    def _send(self, signo: int) -> None:
        first = self.machine.first
        if first is None or first.zombie:
            return
        guest = _TO_FIRST.get(signo)
        if guest is not None:
            self.asked_to_end |= guest != SIGCONT
            sigtoproc(first, guest, SigInfo(guest, SI_KERNEL))
            return
        guest = _TO_FOREGROUND[signo]
        tty = first.ctty
        if tty is not None:
            tty.signal(guest)
        else:
            sigtopgrp(first.pgrp, guest, SigInfo(guest, SI_KERNEL))

    def _stop_host(self) -> None:
        """Stop with the first program, for the shell outside to see; go on with it afterwards."""
        self.stop_wanted = False
        first = self.machine.first
        if first is not None and first.stopped:
            os.kill(os.getpid(), host.SIGSTOP)
            self.pending.append(host.SIGCONT)

    def close(self) -> None:
        """Put back the handlers that were there before."""
        for signo, handler in self._old.items():
            host.signal(signo, handler)
        host.set_wakeup_fd(self._old_wakeup)
        self.machine.disp.unwatch(self.read_fd, self._drain)
        os.close(self.read_fd)
        os.close(self._write_fd)
