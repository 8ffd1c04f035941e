"""The limit of CPU time (illumos rctl process.max-cpu-time; getrlimit(2), RLIMIT_CPU)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.rctl import RLIM_INFINITY, RLIMIT_CPU
from lxemu.kernel.signal import SI_KERNEL, SIGKILL, SIGXCPU, SigInfo
from lxemu.kernel.timer import CLOCK_PROCESS_CPUTIME, IntervalTimer

if TYPE_CHECKING:
    from lxemu.kernel.proc import Proc

#: Where the timer stands among the interval timers of a process.
CPU_LIMIT = "cpu-limit"
_SECOND = 1_000_000_000


class CpuLimit(IntervalTimer):
    """Sends SIGXCPU at the soft limit and each second after it, SIGKILL at the hard one."""

    def __init__(self, proc: Proc) -> None:
        super().__init__(proc, CLOCK_PROCESS_CPUTIME)

    def fire(self, missed: int) -> None:  # noqa: ARG002 (one signal says it all)
        """Send the signal that is due."""
        proc = self.proc
        hard = proc.rctls.get(RLIMIT_CPU)[1]
        over = hard != RLIM_INFINITY and self.now() >= hard * _SECOND
        signo = SIGKILL if over else SIGXCPU
        proc.machine.sigtoproc(proc, signo, SigInfo(signo, SI_KERNEL))


def watch_cpu_limit(proc: Proc) -> None:
    """Start, move or stop the watch after a change of the limit, and in a new process."""
    soft, hard = proc.rctls.get(RLIMIT_CPU)
    timers: dict[object, object] = proc.itimers  # type: ignore[assignment]
    timer = timers.get(CPU_LIMIT)
    first = min(soft, hard)
    if first == RLIM_INFINITY:
        if isinstance(timer, CpuLimit):
            timer.cancel()
            del timers[CPU_LIMIT]
        return
    if not isinstance(timer, CpuLimit):
        timer = timers[CPU_LIMIT] = CpuLimit(proc)
    # A limit of 0 means at once, which is 1 ns: a timer set to 0 is off.
    timer.set(max(1, first * _SECOND), _SECOND, absolute=True)
