"""Layouts of syscalls/records/time.py. The *64 forms are those of the i386 time64 calls."""

from __future__ import annotations

from typing import Any, Final

from syscalls.abi.layout import I32, I64, LONG, PTR, Const, Layout, Member
from syscalls.abi.scalars import SIGNO
from syscalls.records import time as r

from .common import NSEC64, SEC

TIMESPEC: Final = Layout(r.Timespec, sec=SEC, nsec=LONG)
TIMESPEC64: Final = Layout(r.Timespec, "TIMESPEC64", sec=I64, nsec=NSEC64)
TIMEVAL: Final = Layout(r.Timeval, sec=SEC, usec=LONG)
ITIMERVAL: Final = Layout(r.Itimerval, interval=TIMEVAL.member(), value=TIMEVAL.member())
ITIMERSPEC: Final = Layout(r.Itimerspec, interval=TIMESPEC.member(), value=TIMESPEC.member())
ITIMERSPEC64: Final = Layout(
    r.Itimerspec, "ITIMERSPEC64", interval=TIMESPEC64.member(), value=TIMESPEC64.member()
)
TIMEVAL_PAIR: Final = Layout(r.TimevalPair, atime=TIMEVAL.member(), mtime=TIMEVAL.member())
TIMESPEC_PAIR: Final = Layout(r.TimespecPair, atime=TIMESPEC.member(), mtime=TIMESPEC.member())
TIMESPEC_PAIR64: Final = Layout(
    r.TimespecPair, "TIMESPEC_PAIR64", atime=TIMESPEC64.member(), mtime=TIMESPEC64.member()
)
TIMEZONE: Final = Layout(r.Timezone, minuteswest=I32, dsttime=I32)
_TICKS: Final = Member(
    "q", "i", enc="({v} if {M} >> 32 else ({v} + 0x80000000 & 0xffffffff) - 0x80000000)"
)
TMS: Final = Layout(r.Tms, utime=_TICKS, stime=_TICKS, cutime=_TICKS, cstime=_TICKS)
_TIMEX_TAIL: Final = Member("44s")
TIMEX: Final = Layout(
    r.Timex,
    modes=Member("I"),
    offset=LONG,
    freq=LONG,
    maxerror=LONG,
    esterror=LONG,
    status=I32,
    constant=LONG,
    precision=LONG,
    tolerance=LONG,
    time=TIMEVAL.member(),
    tick=LONG,
    ppsfreq=LONG,
    jitter=LONG,
    shift=I32,
    stabil=LONG,
    jitcnt=LONG,
    calcnt=LONG,
    errcnt=LONG,
    stbcnt=LONG,
    tai=I32,
    _spare=_TIMEX_TAIL,
)
_TV64: Final = Layout(r.Timeval, "TIMEVAL64", sec=I64, usec=I64)
TIMEX64: Final = Layout(
    r.Timex,
    "TIMEX64",
    modes=Member("I"),
    _pad0=Const("i"),
    offset=I64,
    freq=I64,
    maxerror=I64,
    esterror=I64,
    status=I32,
    _pad1=Const("i"),
    constant=I64,
    precision=I64,
    tolerance=I64,
    time=_TV64.member(),
    tick=I64,
    ppsfreq=I64,
    jitter=I64,
    shift=I32,
    _pad2=Const("i"),
    stabil=I64,
    jitcnt=I64,
    calcnt=I64,
    errcnt=I64,
    stbcnt=I64,
    tai=I32,
    _spare=_TIMEX_TAIL,
)
#: struct sigevent, 64 bytes: value, signo, notify, then a union (here the tid).
SIGEVENT: Final = Layout(
    r.Sigevent,
    value=PTR,
    signo=SIGNO,
    notify=I32,
    tid=I32,
    _pad=Member("44s", "48s"),
)

DEFAULTS: Final[dict[Any, Any]] = {
    r.Timespec: TIMESPEC,
    r.Timeval: TIMEVAL,
    r.Itimerval: ITIMERVAL,
    r.Itimerspec: ITIMERSPEC,
    r.TimevalPair: TIMEVAL_PAIR,
    r.TimespecPair: TIMESPEC_PAIR,
    r.Timezone: TIMEZONE,
    r.Tms: TMS,
    r.Timex: TIMEX,
    r.Sigevent: SIGEVENT,
}
