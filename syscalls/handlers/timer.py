"""Timers: alarm(2), getitimer(2), setitimer(2), timer_create(2) and its relatives."""

from __future__ import annotations

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.proc import Proc
from lxemu.kernel.rctl import RLIMIT_SIGPENDING
from lxemu.kernel.signal import SIGALRM
from lxemu.kernel.timer import (
    CLOCK_HIGHRES,
    CLOCK_PROCESS_CPUTIME,
    CLOCK_REALTIME,
    CLOCK_THREAD_CPUTIME,
    ITIMER_REAL,
    Itimer,
    PosixTimer,
)
from syscalls.abi import (
    Clock,
    ClockId,
    In,
    Int,
    Itimerspec,
    Itimerval,
    ItimerWhich,
    Out,
    Sigevent,
    TimerFlags,
    Timespec,
    Timeval,
    UInt,
    syscall,
)
from syscalls.handlers.time_ import TIMER_ABSTIME, read_clock

LX_SIGEV_SIGNAL, LX_SIGEV_NONE, LX_SIGEV_THREAD, LX_SIGEV_THREAD_ID = 0, 1, 2, 4
_SECOND = 1_000_000_000

#: Clock of a timer -> the kernel's clock that it runs by.
_TIMER_CLOCKS = {
    Clock.REALTIME: CLOCK_REALTIME,
    Clock.TAI: CLOCK_REALTIME,
    Clock.MONOTONIC: CLOCK_HIGHRES,
    Clock.BOOTTIME: CLOCK_HIGHRES,
    Clock.PROCESS_CPUTIME: CLOCK_PROCESS_CPUTIME,
    Clock.THREAD_CPUTIME: CLOCK_THREAD_CPUTIME,
}


def _itimer(lwp: Lwp, which: int) -> Itimer:
    timers = lwp.proc.itimers
    timer: Itimer | None = timers.get(which)
    if timer is None:
        timer = timers[which] = Itimer(lwp.proc, which)
    return timer


@syscall
def alarm(lwp: Lwp, seconds: UInt) -> int:
    """Arm the real-time interval timer once; return the seconds that were left (alarm(2))."""
    timer = _itimer(lwp, ITIMER_REAL)
    left, _ = timer.get()
    timer.set(seconds * _SECOND, 0)
    # Rounded to the nearest second, but never to 0 while armed (alarm_setitimer).
    return max(1, (left + _SECOND // 2) // _SECOND) if left else 0


@syscall
def getitimer(lwp: Lwp, which: ItimerWhich, value: Out[Itimerval]) -> int:
    """Read an interval timer (getitimer(2)): EINVAL, EFAULT."""
    value.put(_itimerval(_itimer(lwp, which).get()))
    return 0


@syscall
def setitimer(lwp: Lwp, which: ItimerWhich, new: In[Itimerval], old: Out[Itimerval]) -> int:
    """Arm an interval timer, a NULL value disarms (setitimer(2)): EINVAL, EFAULT."""
    wanted = new.get_or_none()
    value = wanted.value.ns() if wanted else 0
    interval = wanted.interval.ns() if wanted else 0
    timer = _itimer(lwp, which)
    before = timer.get()
    timer.set(value, interval if value else 0)
    old.put_if(_itimerval(before))
    return 0


def _itimerval(state: tuple[int, int]) -> Itimerval:
    left, interval = state
    # A timer that has less than a microsecond to go is not reported as disarmed.
    shown = Timeval.of(max(left, 1000) if left else 0)
    return Itimerval(Timeval.of(interval), shown)


# -- POSIX timers -------------------------------------------------------------------------------


def _find(lwp: Lwp, timerid: int) -> PosixTimer:
    timer: PosixTimer | None = lwp.proc.ptimers.get(timerid)
    if timer is None:
        raise KernelError(Errno.EINVAL)
    return timer


def _notification(lwp: Lwp, event: Sigevent) -> tuple[int, Lwp | None]:
    """Return the signal (0: none) and the thread that a sigevent means; EINVAL (good_sigevent)."""
    target = None
    if event.notify == LX_SIGEV_THREAD_ID:
        target = lwp.proc.lwp(event.tid)
        if target is None:
            raise KernelError(Errno.EINVAL)
    elif event.notify == LX_SIGEV_NONE:
        return 0, None
    elif event.notify not in (LX_SIGEV_SIGNAL, LX_SIGEV_THREAD):
        raise KernelError(Errno.EINVAL)
    if event.signo <= 0:
        raise KernelError(Errno.EINVAL)
    return event.signo, target


def _timer_clock(lwp: Lwp, clockid: int) -> int:
    """Return the kernel clock for a timer: EINVAL, EOPNOTSUPP for clocks without timers."""
    clock = _TIMER_CLOCKS.get(clockid)
    if clock is not None:
        return clock
    if clockid not in (Clock.REALTIME_ALARM, Clock.BOOTTIME_ALARM):
        read_clock(lwp, clockid)
    if clockid < 0:
        return CLOCK_THREAD_CPUTIME if clockid & 4 else CLOCK_PROCESS_CPUTIME
    raise KernelError(Errno.EOPNOTSUPP)


def _next_id(proc: Proc) -> int:
    """Return the id of the next timer: they count up, and around at the size of an int."""
    ident = proc.ptimers_made & 0x7FFFFFFF
    while ident in proc.ptimers:
        ident = ident + 1 & 0x7FFFFFFF
    return ident


@syscall
def timer_create(lwp: Lwp, clockid: ClockId, sevp: In[Sigevent], timerid: Out[Int]) -> int:
    """Make a timer (timer_create(2)): EINVAL, EOPNOTSUPP, EFAULT, EAGAIN."""
    clock = _timer_clock(lwp, clockid)
    timers = lwp.proc.ptimers
    if len(timers) >= lwp.proc.rctls.soft(RLIMIT_SIGPENDING):
        raise KernelError(Errno.EAGAIN)
    ident = _next_id(lwp.proc)
    if sevp:
        event = sevp.get()
        signo, target = _notification(lwp, event)
        value = event.value
    else:
        signo, target, value = SIGALRM, None, ident
    timerid.put(ident)
    lwp.proc.ptimers_made = ident + 1
    timer = PosixTimer(lwp.proc, ident, clock, signo, value, target)
    if clock == CLOCK_THREAD_CPUTIME and timer.lwp is None:
        timer.lwp = lwp
    timers[ident] = timer
    return 0


@syscall
def timer_settime(
    lwp: Lwp, timerid: Int, flags: TimerFlags, new: In[Itimerspec], old: Out[Itimerspec]
) -> int:
    """Arm or disarm a timer (timer_settime(2)): EINVAL, EFAULT."""
    if not new:
        raise KernelError(Errno.EINVAL)
    wanted = new.get()
    value, interval = wanted.value.ns(), wanted.interval.ns()
    timer = _find(lwp, timerid)
    before = timer.get()
    absolute = bool(flags & TIMER_ABSTIME)
    timer.set(value, interval if value else 0, absolute=absolute)
    old.put_if(itimerspec(before))
    return 0


@syscall
def timer_gettime(lwp: Lwp, timerid: Int, value: Out[Itimerspec]) -> int:
    """Read a timer (timer_gettime(2)): EINVAL, EFAULT."""
    value.put(itimerspec(_find(lwp, timerid).get()))
    return 0


def itimerspec(state: tuple[int, int]) -> Itimerspec:
    """Return the record of (ns left, interval)."""
    left, interval = state
    return Itimerspec(Timespec.of(interval), Timespec.of(left))


@syscall
def timer_getoverrun(lwp: Lwp, timerid: Int) -> int:
    """Return the expiries that the last signal stands for beside its own (timer_getoverrun(2))."""
    return min(_find(lwp, timerid).last_overrun, 0x7FFFFFFF)


@syscall
def timer_delete(lwp: Lwp, timerid: Int) -> int:
    """Delete a timer (timer_delete(2)): EINVAL."""
    _find(lwp, timerid).cancel()
    del lwp.proc.ptimers[timerid]
    return 0
