"""What a machine still holds after its programs have ended (after xv6's countfree)."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lxemu.machine import Machine


def find_leaks(machine: Machine) -> list[str]:
    """Return one line for each thing that outlives the processes that could have held it."""
    found = [
        f"process {proc.pid} ({proc.comm.decode(errors='replace')})"
        for proc in machine.procs.values()
        if proc is not machine.init
    ]
    found += [f"lwp {tid}" for tid in machine.lwp_by_tid]
    if machine.procs and len(machine.procs) > 1:
        return found
    if machine.uwait.queues:
        found.append(f"{len(machine.uwait.queues)} user-level sleep queues")
    callouts = machine.disp.next_deadline()
    if callouts is not None:
        found.append("a callout")
    gc.collect()
    used = machine.phys.nframes_used()
    cached = machine.phys.nframes_cached()
    held = machine.init.as_.hat.nframes()
    if used != cached + held:
        found.append(f"{used - cached - held} frames ({used} used, {cached} in caches, {held} in init)")
    return found
