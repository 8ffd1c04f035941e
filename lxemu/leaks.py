"""What a machine still holds after its programs have ended (after xv6's countfree)."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from lxemu.kernel.vfs.overlay import Overlay
from lxemu.kernel.vfs.tmpfs import Tmpfs

if TYPE_CHECKING:
    from lxemu.machine import Machine


def find_leaks(machine: Machine) -> list[str]:
    """Return one line for each thing that outlives the processes that could have held it."""
    found = [
        f"process {proc.pid} ({proc.comm.decode(errors='replace')})"
        for proc in machine.procs.values()
        if proc is not machine.init
    ]
    threads = machine.lwp_by_tid.items()
    found += [f"lwp {tid}" for tid, lwp in threads if lwp.proc is not machine.init]
    if machine.procs and len(machine.procs) > 1:
        return found
    if machine.uwait.queues:
        found.append(f"{len(machine.uwait.queues)} user-level sleep queues")
    stack = getattr(machine, "netstack", None)
    if stack is not None:
        found += stack.drain()
    callouts = machine.disp.next_deadline()
    if callouts is not None:
        found.append("a callout")
    if machine.zone.ptys:
        found.append(f"{machine.zone.ptys} pseudo terminals")
    lost = unaccounted_frames(machine) - machine.base_frames
    if lost:
        gc.collect()
        lost = unaccounted_frames(machine) - machine.base_frames
    if lost:
        found.append(f"{lost} frames of guest memory")
    return found


def unaccounted_frames(machine: Machine) -> int:
    """Return the frames in use that are neither file data nor a brand's shared code."""
    phys = machine.phys
    used = phys.nframes - phys.free_frames
    cached = sum(cache.npages for cache in tuple(phys.caches))
    stored = 0
    for mount in machine.zone.mounts or ():
        vfs = mount.vfs.upper if isinstance(mount.vfs, Overlay) else mount.vfs
        if isinstance(vfs, Tmpfs):
            stored += vfs.npages
    if machine.zone.ipc is not None:
        stored += machine.zone.ipc.shm.resident
    shared = machine.brand64.shared_frames() + machine.brand32.shared_frames()
    return used - cached - stored - shared
