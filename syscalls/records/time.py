"""Records of time. Seconds and fractions as the caller gave them; `ns()` checks and converts."""

from __future__ import annotations

from typing import NamedTuple

from lxemu.kernel.errno import Errno, KernelError

NS: int = 1_000_000_000


class Timespec(NamedTuple):
    """Seconds and nanoseconds."""

    sec: int
    nsec: int

    @staticmethod
    def of(ns: int) -> Timespec:
        """Make one from ns."""
        return Timespec(*divmod(ns, NS))

    def ns(self) -> int:
        """Return ns; EINVAL when negative or not normalised (timespec64_valid)."""
        if self.sec < 0 or not 0 <= self.nsec < NS:
            raise KernelError(Errno.EINVAL)
        return self.sec * NS + self.nsec


class Timeval(NamedTuple):
    """Seconds and microseconds."""

    sec: int
    usec: int

    @staticmethod
    def of(ns: int) -> Timeval:
        """Make one from ns, rounded down."""
        sec, rest = divmod(ns, NS)
        return Timeval(sec, rest // 1000)

    def ns(self) -> int:
        """Return ns; EINVAL when negative or not normalised."""
        if self.sec < 0 or not 0 <= self.usec < 1_000_000:
            raise KernelError(Errno.EINVAL)
        return self.sec * NS + self.usec * 1000


class Itimerval(NamedTuple):
    """An interval timer, in microseconds."""

    interval: Timeval
    value: Timeval


class Itimerspec(NamedTuple):
    """An interval timer, in nanoseconds."""

    interval: Timespec
    value: Timespec


class TimevalPair(NamedTuple):
    """The two times of utimes(2): access, modification."""

    atime: Timeval
    mtime: Timeval


class TimespecPair(NamedTuple):
    """The two times of utimensat(2): access, modification (nsec may be UTIME_NOW, UTIME_OMIT)."""

    atime: Timespec
    mtime: Timespec


class Timezone(NamedTuple):
    """The obsolete second argument of gettimeofday(2)."""

    minuteswest: int
    dsttime: int


class Tms(NamedTuple):
    """times(2), in clock ticks of 1/100 s."""

    utime: int
    stime: int
    cutime: int
    cstime: int


class Timex(NamedTuple):
    """adjtimex(2)."""

    modes: int
    offset: int
    freq: int
    maxerror: int
    esterror: int
    status: int
    constant: int
    precision: int
    tolerance: int
    time: Timeval
    tick: int
    ppsfreq: int = 0
    jitter: int = 0
    shift: int = 0
    stabil: int = 0
    jitcnt: int = 0
    calcnt: int = 0
    errcnt: int = 0
    stbcnt: int = 0
    tai: int = 0


class Sigevent(NamedTuple):
    """How a timer or message queue notifies; `signo` is the kernel's (BAD_SIGNAL if none)."""

    value: int
    signo: int
    notify: int
    tid: int
