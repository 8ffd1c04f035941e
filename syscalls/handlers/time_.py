"""Clocks and sleeping: clock_gettime(2), clock_nanosleep(2), gettimeofday(2), time(2), times(2).

Kernel times are ns: `hrtime` never steps, `realtime` counts from 1970.
"""

# ruff: noqa: ARG001 -- a handler has the C arguments, used or not
# ruff: noqa: D402 -- a summary ends with the name of its manual page

from __future__ import annotations

from lxemu.kernel.cv import CondVar
from lxemu.kernel.errno import Errno, Interrupted, KernelError
from lxemu.kernel.lwp import Lwp
from syscalls.abi import (
    Clock,
    ClockId,
    In,
    InOut,
    Out,
    TimerFlags,
    Timespec,
    TimeT,
    Timeval,
    Timex,
    Timezone,
    Tms,
    syscall,
)

TIMER_ABSTIME = 1
#: Clock ticks a second in times(2) (USER_HZ), as ns.
TICK_NS = 10_000_000
#: Resolution of the coarse clocks: one tick of a 250 Hz kernel.
COARSE_NS = 4_000_000
#: A CPU-time sleep looks again this often: CPU time never runs ahead of the clock.
_CPU_STEP_NS = 1_000_000

_WALL = (Clock.REALTIME, Clock.REALTIME_COARSE, Clock.TAI)
_STEADY = (Clock.MONOTONIC, Clock.MONOTONIC_RAW, Clock.MONOTONIC_COARSE, Clock.BOOTTIME)
_COARSE = (Clock.REALTIME_COARSE, Clock.MONOTONIC_COARSE)
_SLEEPING = (Clock.REALTIME, Clock.MONOTONIC, Clock.BOOTTIME, Clock.TAI, Clock.PROCESS_CPUTIME)
#: Clocks that exist, and alarm clocks, which need hardware that no machine here has.
_ALARMS = (Clock.REALTIME_ALARM, Clock.BOOTTIME_ALARM)

LX_STA_UNSYNC = 0x40
LX_TIME_ERROR = 5


def _cpu_clock(lwp: Lwp, clock: int) -> int:
    """Read the CPU clock of another process or thread, a negative id (clock_getcpuclockid(3))."""
    pid, kind = ~(clock >> 3), clock & 7
    if kind & 3 == 3:
        raise KernelError(Errno.EINVAL)
    if kind & 4:
        thread = lwp if pid == 0 else lwp.machine.lwp_by_tid.get(pid)
        if thread is None or thread.proc is not lwp.proc:
            raise KernelError(Errno.EINVAL)
        return int(thread.cpu_time())
    proc = lwp.proc if pid == 0 else lwp.machine.procs.get(pid)
    if proc is None:
        raise KernelError(Errno.EINVAL)
    return int(proc.cpu_time())


def read_clock(lwp: Lwp, clock: int) -> int:
    """Return the time of a clock in ns; EINVAL for one that does not exist."""
    if clock == Clock.MONOTONIC:
        return int(lwp.machine.clock.hrtime())
    if clock in _WALL:
        now = int(lwp.machine.clock.realtime())
    elif clock in _STEADY:
        now = int(lwp.machine.clock.hrtime())
    elif clock == Clock.PROCESS_CPUTIME:
        return lwp.proc.cpu_time()
    elif clock == Clock.THREAD_CPUTIME:
        return lwp.cpu_time()
    elif clock < 0:
        return _cpu_clock(lwp, clock)
    else:
        raise KernelError(Errno.EINVAL)
    return now - now % COARSE_NS if clock in _COARSE else now


@syscall
def clock_gettime(lwp: Lwp, clockid: ClockId, tp: Out[Timespec]) -> int:
    """Read a clock (clock_gettime(2)): EINVAL, EFAULT."""
    tp.put(Timespec.of(read_clock(lwp, clockid)))
    return 0


@syscall
def clock_getres(lwp: Lwp, clockid: ClockId, res: Out[Timespec]) -> int:
    """Tell the resolution of a clock (clock_getres(2)): EINVAL, EFAULT."""
    if clockid in _ALARMS:
        raise KernelError(Errno.EINVAL)
    read_clock(lwp, clockid)
    res.put_if(Timespec(0, COARSE_NS if clockid in _COARSE else 1))
    return 0


@syscall
def clock_settime(lwp: Lwp, clockid: ClockId, tp: In[Timespec]) -> int:
    """Set a clock (clock_settime(2)): EINVAL, EFAULT, EPERM.

    The clocks belong to the host, as those of a zone do to the global zone: nobody may set them.
    """
    if clockid != Clock.REALTIME:
        if clockid < 0:
            read_clock(lwp, clockid)
            raise KernelError(Errno.EPERM)
        raise KernelError(Errno.EINVAL)
    tp.get().ns()
    raise KernelError(Errno.EPERM)


# -- sleeping -----------------------------------------------------------------------------------


def sleep_until(lwp: Lwp, deadline: int) -> None:
    """Sleep until hrtime `deadline`; raises Interrupted."""
    cv = CondVar()
    while cv.wait_sig_until(deadline):
        pass


def _sleep(lwp: Lwp, clock: int, until: int) -> int:
    """Sleep until `clock` reads `until`; return 0, or the ns left when a signal came."""
    machine = lwp.machine
    try:
        while (left := until - read_clock(lwp, clock)) > 0:
            if clock == Clock.PROCESS_CPUTIME or clock < 0:
                left = max(left, _CPU_STEP_NS)
            sleep_until(lwp, machine.clock.hrtime() + left)
    except Interrupted:
        return max(1, until - read_clock(lwp, clock))
    return 0


@syscall(restart=False)
def nanosleep(lwp: Lwp, req: In[Timespec], rem: Out[Timespec]) -> int:
    """Sleep for a time (nanosleep(2)): EFAULT, EINVAL, EINTR with the rest in `rem`."""
    until = lwp.machine.clock.hrtime() + req.get().ns() - lwp.call_spent()
    left = _sleep(lwp, Clock.MONOTONIC, until)
    if left:
        rem.put_if(Timespec.of(left))
        raise KernelError(Errno.EINTR)
    return 0


@syscall(restart=False)
def clock_nanosleep(
    lwp: Lwp, clockid: ClockId, flags: TimerFlags, req: In[Timespec], rem: Out[Timespec]
) -> int:
    """Sleep by a clock (clock_nanosleep(2)): EINVAL, EOPNOTSUPP, EFAULT, EINTR."""
    if clockid not in _SLEEPING:
        _refuse_sleep(lwp, clockid)
    until = req.get().ns()
    if not flags & TIMER_ABSTIME:
        until += read_clock(lwp, clockid) - lwp.call_spent()
    left = _sleep(lwp, clockid, until)
    if left:
        if not flags & TIMER_ABSTIME:
            rem.put_if(Timespec.of(left))
        raise KernelError(Errno.EINTR)
    return 0


def _refuse_sleep(lwp: Lwp, clock: int) -> None:
    """Raise the error of a clock that nobody can sleep by; negative ids of other processes pass."""
    if clock < 0:
        read_clock(lwp, clock)
        if clock & 4:
            # One cannot wait for one's own CPU time, and other threads' clocks do not sleep.
            raise KernelError(Errno.EINVAL)
        return
    if clock not in _ALARMS:
        read_clock(lwp, clock)
    raise KernelError(Errno.EOPNOTSUPP)


# -- the older calls ----------------------------------------------------------------------------


@syscall
def gettimeofday(lwp: Lwp, tv: Out[Timeval], tz: Out[Timezone]) -> int:
    """Tell the time in microseconds; the time zone is always 0 (gettimeofday(2)): EFAULT."""
    tv.put_if(Timeval.of(lwp.machine.clock.realtime()))
    tz.put_if(Timezone(0, 0))
    return 0


@syscall
def settimeofday(lwp: Lwp, tv: In[Timeval], tz: In[Timezone]) -> int:
    """Set the time (settimeofday(2)): EFAULT, EINVAL, EPERM (see clock_settime)."""
    if tv:
        tv.get().ns()
    tz.get_or_none()
    raise KernelError(Errno.EPERM)


@syscall
def time(lwp: Lwp, tloc: Out[TimeT]) -> int:
    """Tell the time in seconds (time(2)): EFAULT."""
    now = int(lwp.machine.clock.realtime()) // 1_000_000_000
    tloc.put_if(now)
    return now


@syscall
def stime(lwp: Lwp, tptr: In[TimeT]) -> int:
    """Set the time (i386 stime(2)): EFAULT, EPERM (see clock_settime)."""
    tptr.get()
    raise KernelError(Errno.EPERM)


@syscall
def times(lwp: Lwp, buf: Out[Tms]) -> int:
    """Tell CPU times in clock ticks, and the ticks since boot (times(2)): EFAULT."""
    proc = lwp.proc
    gone = proc.child_usage
    if buf:
        user, system = proc.cpu_split()
        buf.put(
            Tms(
                user // TICK_NS,
                system // TICK_NS,
                gone.utime // TICK_NS,
                gone.stime // TICK_NS,
            )
        )
    return int(lwp.machine.clock.hrtime() - proc.zone.boot_hrtime) // TICK_NS


# -- discipline ---------------------------------------------------------------------------------


def _adjust(lwp: Lwp, buf: InOut[Timex]) -> int:
    """Tell the state of the clock, which nobody disciplines; EPERM to change it."""
    if buf.get().modes:
        raise KernelError(Errno.EPERM)
    buf.put(
        Timex(
            modes=0,
            offset=0,
            freq=0,
            maxerror=16_000_000,
            esterror=16_000_000,
            status=LX_STA_UNSYNC,
            constant=2,
            precision=1,
            tolerance=32_768_000,
            time=Timeval.of(lwp.machine.clock.realtime()),
            tick=10_000,
        )
    )
    return LX_TIME_ERROR


@syscall
def adjtimex(lwp: Lwp, buf: InOut[Timex]) -> int:
    """Read the state of the clock (adjtimex(2)): EFAULT, EPERM to change it."""
    return _adjust(lwp, buf)


@syscall
def clock_adjtime(lwp: Lwp, clockid: ClockId, buf: InOut[Timex]) -> int:
    """Read the state of a clock (clock_adjtime(2)): EINVAL, EOPNOTSUPP, EFAULT, EPERM."""
    if clockid != Clock.REALTIME:
        read_clock(lwp, clockid)
        raise KernelError(Errno.EOPNOTSUPP)
    return _adjust(lwp, buf)
