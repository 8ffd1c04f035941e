"""Timers that are descriptors: timerfd_create(2), timerfd_settime(2), timerfd_gettime(2)."""

from __future__ import annotations

from lxemu.kernel.anonfs import anon_files
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.timerfdfs import TimerFd
from lxemu.kernel.vfs.fcntl import O_CLOEXEC, O_NONBLOCK
from syscalls.abi import (
    Clock,
    ClockId,
    Fd,
    In,
    Itimerspec,
    Out,
    TimerfdFlags,
    TimerfdSetFlags,
    syscall,
)
from syscalls.caps import caps_of_privs
from syscalls.handlers.paths import open_file
from syscalls.handlers.timer import itimerspec

LX_TFD_TIMER_ABSTIME, LX_TFD_TIMER_CANCEL_ON_SET = 1, 2
LX_CAP_WAKE_ALARM = 35

_WALL = (Clock.REALTIME, Clock.REALTIME_ALARM)
_STEADY = (Clock.MONOTONIC, Clock.BOOTTIME, Clock.BOOTTIME_ALARM)
_ALARMS = (Clock.REALTIME_ALARM, Clock.BOOTTIME_ALARM)


@syscall
def timerfd_create(lwp: Lwp, clockid: ClockId, flags: TimerfdFlags) -> int:
    """Make a timer that is a descriptor (timerfd_create(2)): EINVAL, EPERM, EMFILE."""
    if clockid not in _WALL and clockid not in _STEADY:
        raise KernelError(Errno.EINVAL)
    if clockid in _ALARMS:
        _check_alarm(lwp)
    proc, machine = lwp.proc, lwp.machine
    proc.files.lowest()
    anon = anon_files(machine)
    timer = TimerFd(anon.objects, machine.disp, machine.clock, clockid, realtime=clockid in _WALL)
    file = anon.open(timer, flags & O_NONBLOCK, proc.cred)
    return proc.files.alloc(file, 0, flags & O_CLOEXEC != 0)


def _check_alarm(lwp: Lwp) -> None:
    if not caps_of_privs(lwp.proc.cred.privs) >> LX_CAP_WAKE_ALARM & 1:
        raise KernelError(Errno.EPERM)


def _timer(lwp: Lwp, fd: int) -> TimerFd:
    vnode = open_file(lwp, fd).vnode
    if not isinstance(vnode, TimerFd):
        raise KernelError(Errno.EINVAL)
    return vnode


@syscall
def timerfd_settime(
    lwp: Lwp, fd: Fd, flags: TimerfdSetFlags, new: In[Itimerspec], old: Out[Itimerspec]
) -> int:
    """Arm or disarm a timer (timerfd_settime(2)): EFAULT, EINVAL, EBADF, EPERM.

    TFD_TIMER_CANCEL_ON_SET is accepted, and never cancels: nobody can set the clock.
    """
    wanted = new.get()
    if flags & ~(LX_TFD_TIMER_ABSTIME | LX_TFD_TIMER_CANCEL_ON_SET):
        raise KernelError(Errno.EINVAL)
    value, interval = wanted.value.ns(), wanted.interval.ns()
    timer = _timer(lwp, fd)
    if timer.clockid in _ALARMS:
        _check_alarm(lwp)
    before = timer.get()
    timer.set(value, interval, absolute=bool(flags & LX_TFD_TIMER_ABSTIME), flags=flags)
    old.put_if(itimerspec(before))
    return 0


@syscall
def timerfd_gettime(lwp: Lwp, fd: Fd, value: Out[Itimerspec]) -> int:
    """Read a timer (timerfd_gettime(2)): EBADF, EINVAL, EFAULT."""
    value.put(itimerspec(_timer(lwp, fd).get()))
    return 0
