"""Signal numbers, sets, actions and information (illumos sys/iso/signal_iso.h, sys/signal.h).

A signal set is an int used as a bit mask: signal n is bit n-1. Actions, flags and `si_code` values
are illumos'; the brand translates all of them when it builds or reads a frame.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

SIGHUP = 1
SIGINT = 2
SIGQUIT = 3
SIGILL = 4
SIGTRAP = 5
SIGABRT = 6
SIGEMT = 7
SIGFPE = 8
SIGKILL = 9
SIGBUS = 10
SIGSEGV = 11
SIGSYS = 12
SIGPIPE = 13
SIGALRM = 14
SIGTERM = 15
SIGUSR1 = 16
SIGUSR2 = 17
SIGCHLD = 18
SIGPWR = 19
SIGWINCH = 20
SIGURG = 21
SIGPOLL = 22
SIGSTOP = 23
SIGTSTP = 24
SIGCONT = 25
SIGTTIN = 26
SIGTTOU = 27
SIGVTALRM = 28
SIGPROF = 29
SIGXCPU = 30
SIGXFSZ = 31
SIGRTMIN = 42
SIGRTMAX = 74
NSIG = 75

SIG_DFL = 0
SIG_IGN = 1

SA_ONSTACK = 0x1
SA_RESETHAND = 0x2
SA_RESTART = 0x4
SA_SIGINFO = 0x8
SA_NODEFER = 0x10
SA_NOCLDWAIT = 0x10000
SA_NOCLDSTOP = 0x20000

SS_ONSTACK = 1
SS_DISABLE = 2
SS_AUTODISARM = 1 << 31

SI_USER = 0
SI_LWP = -1
SI_QUEUE = -2
SI_TIMER = -3
SI_ASYNCIO = -4
SI_MESGQ = -5
SI_POLL = -6
#: Sent by the kernel itself without a source of its own (ours; illumos leaves such signals bare).
SI_KERNEL = 0x80

ILL_ILLOPC = 1
ILL_ILLOPN = 2
FPE_INTDIV = 1
FPE_INTOVF = 2
FPE_FLTDIV = 3
FPE_FLTOVF = 4
FPE_FLTUND = 5
FPE_FLTRES = 6
FPE_FLTINV = 7
SEGV_MAPERR = 1
SEGV_ACCERR = 2
BUS_ADRALN = 1
BUS_ADRERR = 2
BUS_OBJERR = 3
TRAP_BRKPT = 1
TRAP_TRACE = 2
TRAP_WWATCH = 4
POLL_IN = 1
POLL_OUT = 2
POLL_MSG = 3
POLL_ERR = 4
POLL_PRI = 5
POLL_HUP = 6
CLD_EXITED = 1
CLD_KILLED = 2
CLD_DUMPED = 3
CLD_TRAPPED = 4
CLD_STOPPED = 5
CLD_CONTINUED = 6

SIG_BLOCK = 1
SIG_UNBLOCK = 2
SIG_SETMASK = 3


class Action(Enum):
    """What a signal does when its disposition is SIG_DFL."""

    TERM = "term"
    CORE = "core"
    IGNORE = "ignore"
    STOP = "stop"
    CONT = "cont"


def sigmask(*signals: int) -> int:
    """Return the set of `signals` as a bit mask."""
    mask = 0
    for sig in signals:
        mask |= 1 << (sig - 1)
    return mask


_CORE = (
    SIGQUIT,
    SIGILL,
    SIGTRAP,
    SIGABRT,
    SIGEMT,
    SIGFPE,
    SIGBUS,
    SIGSEGV,
    SIGSYS,
    SIGXCPU,
    SIGXFSZ,
)
_IGNORE = (SIGCHLD, SIGPWR, SIGWINCH, SIGURG)
_STOP = (SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU)

#: Default action by signal number, illumos' own table; a brand may carry another one.
DEFAULT_ACTIONS: tuple[Action, ...] = tuple(
    Action.CORE
    if sig in _CORE
    else Action.IGNORE
    if sig in _IGNORE
    else Action.STOP
    if sig in _STOP
    else Action.CONT
    if sig == SIGCONT
    else Action.TERM
    for sig in range(NSIG)
)

#: Signals that can be neither caught, ignored nor blocked.
CANTMASK = sigmask(SIGKILL, SIGSTOP)
STOP_SIGNALS = sigmask(*_STOP)
#: Signals a fault raises: taken before any other, in the context that caused them.
SYNC_SIGNALS = sigmask(SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGSYS)


class SigAction(NamedTuple):
    """Disposition of one signal: handler address or SIG_DFL/SIG_IGN, SA_* flags, mask, restorer."""

    handler: int = SIG_DFL
    flags: int = 0
    mask: int = 0
    restorer: int = 0


class SigInfo(NamedTuple):
    """siginfo: which members mean something depends on `signo` and `code` (illumos sys/siginfo.h).

    `value` is the sigval word; `status` a child's exit code or signal; `utime`/`stime` ns of CPU;
    `addr`, `trapno`, `err` describe a fault; `timerid`, `overrun` a timer expiry; `band`, `fd` a
    poll.
    """

    signo: int
    code: int = SI_USER
    errno: int = 0
    pid: int = 0
    uid: int = 0
    value: int = 0
    status: int = 0
    utime: int = 0
    stime: int = 0
    addr: int = 0
    trapno: int = 0
    err: int = 0
    timerid: int = 0
    overrun: int = 0
    band: int = 0
    fd: int = 0
    #: Raw bytes of a caller-made siginfo (sigqueue family), kept verbatim for the receiver.
    raw: bytes | None = None


class SigQueue:
    """Pending signals of a process or an lwp: one entry a signal, many for real-time ones."""

    __slots__ = ("infos", "pending")

    def __init__(self) -> None:
        self.pending = 0
        self.infos: dict[int, list[SigInfo]] = {}

    def post(self, info: SigInfo) -> bool:
        """Queue `info`; False if its signal does not queue and was pending already."""
        sig = info.signo
        bit = 1 << (sig - 1)
        if self.pending & bit:
            if sig < SIGRTMIN:
                return False
            self.infos[sig].append(info)
            return True
        self.pending |= bit
        self.infos[sig] = [info]
        return True

    def take(self, sig: int) -> SigInfo:
        """Remove and return the oldest entry of `sig`, which must be pending."""
        queue = self.infos[sig]
        info = queue.pop(0)
        if not queue:
            del self.infos[sig]
            self.pending &= ~(1 << (sig - 1))
        return info

    def discard(self, mask: int) -> None:
        """Drop every pending signal of the set `mask`."""
        hit = self.pending & mask
        if hit:
            self.pending &= ~mask
            self.infos = {s: q for s, q in self.infos.items() if not mask >> (s - 1) & 1}

    def count(self) -> int:
        """Return how many entries are queued (for RLIMIT_SIGPENDING)."""
        return sum(len(queue) for queue in self.infos.values())


def lowest(mask: int) -> int:
    """Return the lowest signal number in a non-empty set."""
    return (mask & -mask).bit_length()
