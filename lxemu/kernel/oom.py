"""When the machine's memory is used up: one process dies so that the others go on.

illumos would send every process to sleep instead; what is done here is what programs of other
systems expect. The victim is the process that holds most memory, with the weight that it or its
parent asked for. Its private memory is taken away at once, before it has even noticed, for whoever
is in need cannot wait for it to run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lxemu.kernel.lwp import curlwp
from lxemu.kernel.mm.mman import MAP_SHARED
from lxemu.kernel.signal import SI_KERNEL, SIGKILL, SigInfo

if TYPE_CHECKING:
    from lxemu.kernel.mm.as_ import As
    from lxemu.kernel.proc import Proc

#: An adjustment that makes a process exempt.
NEVER = -1000


def badness(proc: Proc, total: int) -> int:
    """Return the pages that killing *proc* would free, with its weight; *total*: of the machine.

    0 or less for a process that is not to be killed.
    """
    if proc.zombie or proc.exiting or not proc.lwps or proc.oom_score_adj <= NEVER:
        return 0
    return proc.as_.rss + proc.as_.hat.ntables + proc.oom_score_adj * total // 1000


def score(proc: Proc, total: int) -> int:
    """Return the badness in thousandths of the machine, as a listing shows it (0 to 2000)."""
    if proc.oom_score_adj <= NEVER or not total:
        return 0
    points = badness(proc, total) * 1000 // total
    return max(0, (points + 1000) * 2 // 3)


def relieve(machine: Any, as_: As) -> bool:
    """Free memory for *as_*, the address space of the lwp that runs; False when there is none.

    False also when its own process was chosen, which then has a SIGKILL pending.
    """
    lwp = curlwp()
    if lwp.as_ is not as_:
        return False  # in the middle of something with the memory of another process
    total = machine.phys.nframes
    victims = [proc for proc in machine.procs.values() if proc is not machine.init]
    victim = max(victims, key=lambda proc: badness(proc, total), default=None)
    if victim is None or badness(victim, total) <= 0:
        return False
    machine.out_of_memory(victim)
    doomed = victim.as_
    for proc in victims:
        if proc.as_ is doomed and not proc.zombie and not proc.exiting:
            machine.sigtoproc(proc, SIGKILL, SigInfo(SIGKILL, SI_KERNEL))
    if doomed is as_:
        return False
    before = machine.phys.free_frames
    for seg in doomed.segs:
        if not seg.flags & MAP_SHARED:
            doomed.hat.unload(seg.start, seg.end)
    return bool(machine.phys.free_frames > before)
