"""Interval timers and POSIX timers (illumos os/timer.c; setitimer(2), timer_create(3C))."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.signal import SI_KERNEL, SI_TIMER, SIGALRM, SIGPROF, SIGVTALRM, SigInfo

if TYPE_CHECKING:
    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.proc import Proc
    from lxemu.kernel.sched import Callout

ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF = 0, 1, 2
_ITIMER_SIGNAL = {ITIMER_REAL: SIGALRM, ITIMER_VIRTUAL: SIGVTALRM, ITIMER_PROF: SIGPROF}

CLOCK_REALTIME, CLOCK_HIGHRES, CLOCK_PROCESS_CPUTIME, CLOCK_THREAD_CPUTIME = 3, 4, 5, 2

#: A CPU-time timer looks again this often at least (ns): CPU time never runs ahead of the clock.
_CPU_STEP = 1_000_000


class IntervalTimer:
    """A timer of a process: value and interval in ns, on the clock that `now` reads.

    On expiry it calls `fire`. A timer on CPU time polls, since nothing tells when CPU time will be
    used.
    """

    def __init__(self, proc: Proc, clock: int, lwp: Lwp | None = None) -> None:
        self.proc = proc
        self.clock = clock
        self.lwp = lwp
        self.interval = 0
        self.expires = 0
        self._callout: Callout | None = None

    def now(self) -> int:
        """Return the time of the timer's clock, ns."""
        machine = self.proc.machine
        if self.clock == CLOCK_REALTIME:
            return int(machine.clock.realtime())
        if self.clock == CLOCK_PROCESS_CPUTIME:
            return self.proc.cpu_time()
        if self.clock == CLOCK_THREAD_CPUTIME and self.lwp is not None:
            return self.lwp.cpu_time()
        return int(machine.clock.hrtime())

    def get(self) -> tuple[int, int]:
        """Return (ns left, interval); 0 left when disarmed."""
        if not self.expires:
            return 0, self.interval
        return max(1, self.expires - self.now()), self.interval

    def set(self, value: int, interval: int, *, absolute: bool = False) -> None:
        """Arm for `value` ns from now (or a time, `absolute`), then every `interval`; 0 disarms."""
        self.cancel()
        self.interval = interval
        if value:
            self.expires = value if absolute else self.now() + value
            if self.expires <= self.now():
                self._expire()
            else:
                self._arm()

    def cancel(self) -> None:
        """Disarm."""
        self.expires = 0
        if self._callout is not None:
            self.proc.machine.disp.untimeout(self._callout)
            self._callout = None

    def _arm(self) -> None:
        machine = self.proc.machine
        left = max(0, self.expires - self.now())
        if self.clock in (CLOCK_PROCESS_CPUTIME, CLOCK_THREAD_CPUTIME):
            left = max(left, _CPU_STEP)
        self._callout = machine.disp.timeout(machine.clock.hrtime() + left, self._expire)

    def _expire(self) -> None:
        self._callout = None
        now = self.now()
        if now < self.expires:
            self._arm()
            return
        missed = 0
        if self.interval:
            missed = (now - self.expires) // self.interval
            self.expires += (missed + 1) * self.interval
            self._arm()
        else:
            self.expires = 0
        self.fire(missed)

    def fire(self, missed: int) -> None:
        """Act on an expiry; `missed` more have gone by since it was due."""
        raise NotImplementedError


class Itimer(IntervalTimer):
    """One of the three timers of setitimer(2)."""

    def __init__(self, proc: Proc, which: int) -> None:
        super().__init__(proc, CLOCK_HIGHRES if which == ITIMER_REAL else CLOCK_PROCESS_CPUTIME)
        self.signo = _ITIMER_SIGNAL[which]

    def fire(self, missed: int) -> None:  # noqa: ARG002 (a plain signal does not count)
        """Send the signal of the timer."""
        self.proc.machine.sigtoproc(self.proc, self.signo, SigInfo(self.signo, SI_KERNEL))


class PosixTimer(IntervalTimer):
    """A timer of timer_create; `signo` 0 sends nothing, `target` is the lwp to tell, if one."""

    def __init__(
        self, proc: Proc, ident: int, clock: int, signo: int, value: int, target: Lwp | None
    ) -> None:
        super().__init__(proc, clock, target)
        self.ident = ident
        self.signo = signo
        self.value = value
        self.target = target
        self.overrun = 0
        self.last_overrun = 0

    def taken(self, info: SigInfo) -> SigInfo:
        """Return `info`, on delivery, with the expiries that it stands for besides its own."""
        self.last_overrun, self.overrun = self.overrun, 0
        return info._replace(overrun=self.last_overrun)

    def fire(self, missed: int) -> None:
        """Queue the signal, or count an overrun while the last one is still pending."""
        if not self.signo:
            return
        machine = self.proc.machine
        queue = self.target.sigq if self.target is not None else self.proc.sigq
        pending = any(
            i.timerid == self.ident and i.code == SI_TIMER for i in queue.infos.get(self.signo, ())
        )
        if pending:
            self.overrun += missed + 1
            return
        self.overrun = missed
        info = SigInfo(self.signo, SI_TIMER, value=self.value, timerid=self.ident)
        if self.target is not None and self.target in self.proc.lwps:
            machine.sigtolwp(self.target, self.signo, info)
        else:
            machine.sigtoproc(self.proc, self.signo, info)
