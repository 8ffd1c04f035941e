"""Lwps with files or a working directory of their own.

illumos keeps both in the process, and so do we: `proc.files` and `proc.fs` are what handlers use.
In a process of which some lwp has unshared one of them (`proc.split`), each lwp keeps its own, and
a switch to it puts them into the process. Seen from elsewhere, the process has those of its first
lwp.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lxemu.kernel.lwp import Lwp


def unshare(lwp: Lwp, *, files: bool, fs: bool) -> None:
    """Give the running `lwp` a copy of its descriptor table or context, if others share it."""
    proc = lwp.proc
    if len(proc.lwps) > 1:
        _split(lwp)
    if fs:
        proc.fs = proc.fs.copy()
    if files and proc.files.refcnt > 1:
        old = proc.files
        proc.files = old.copy()
        old.rele(proc)


def inherit(lwp: Lwp, new: Lwp, *, files: bool, fs: bool) -> None:
    """Give `new`, made by the running `lwp` in its process, what it shares or a copy of it."""
    proc = lwp.proc
    if not proc.split:
        if files and fs:
            return
        _split(lwp)
    new.files = proc.files.hold() if files else proc.files.copy()
    new.fs = proc.fs if fs else proc.fs.copy()


def _split(lwp: Lwp) -> None:
    """Have every lwp of the process hold its own reference."""
    proc = lwp.proc
    if proc.split:
        return
    proc.split = True
    for other in proc.lwps:
        other.fs = proc.fs
        other.files = proc.files if other is lwp else proc.files.hold()


def switch_out(lwp: Lwp) -> None:
    """Keep what a lwp of a split process has; let others see what the first one has."""
    proc = lwp.proc
    lwp.files, lwp.fs = proc.files, proc.fs
    if proc.lwps:
        first = proc.lwps[0]
        proc.files, proc.fs = first.files, first.fs


def switch_in(lwp: Lwp) -> None:
    """Make what a lwp of a split process has that of the process."""
    lwp.proc.files, lwp.proc.fs = lwp.files, lwp.fs


def gone(lwp: Lwp) -> None:
    """Drop what an ended lwp of a split process held; the last one leaves it to the process."""
    proc = lwp.proc
    if lwp.machine.disp.curlwp is lwp:
        lwp.files, lwp.fs = proc.files, proc.fs
    if not proc.lwps:
        return
    lwp.files.rele(proc)
    if lwp.machine.disp.curlwp is lwp:
        first = proc.lwps[0]
        proc.files, proc.fs = first.files, first.fs
