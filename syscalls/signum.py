"""Signal numbers and signal sets, between Linux and the kernel (illumos), both ways.

The map is that of the lx brand (usr/src/common/brand/lx/lx_signum.c). The 31 classic signals are a
permutation of each other (Linux SIGSTKFLT takes the slot of SIGEMT); Linux's real-time signal n is
the kernel's n + 10. The kernel's numbers 32 to 41 are private to illumos and have no Linux number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LX_NSIG = 64
LX_SIGRTMIN = 32

#: (Linux number, kernel number, Linux name); the classic signals.
SIGNALS: tuple[tuple[int, int, str], ...] = (
    (1, 1, "SIGHUP"),
    (2, 2, "SIGINT"),
    (3, 3, "SIGQUIT"),
    (4, 4, "SIGILL"),
    (5, 5, "SIGTRAP"),
    (6, 6, "SIGABRT"),
    (7, 10, "SIGBUS"),
    (8, 8, "SIGFPE"),
    (9, 9, "SIGKILL"),
    (10, 16, "SIGUSR1"),
    (11, 11, "SIGSEGV"),
    (12, 17, "SIGUSR2"),
    (13, 13, "SIGPIPE"),
    (14, 14, "SIGALRM"),
    (15, 15, "SIGTERM"),
    (16, 7, "SIGSTKFLT"),
    (17, 18, "SIGCHLD"),
    (18, 25, "SIGCONT"),
    (19, 23, "SIGSTOP"),
    (20, 24, "SIGTSTP"),
    (21, 26, "SIGTTIN"),
    (22, 27, "SIGTTOU"),
    (23, 21, "SIGURG"),
    (24, 30, "SIGXCPU"),
    (25, 31, "SIGXFSZ"),
    (26, 28, "SIGVTALRM"),
    (27, 29, "SIGPROF"),
    (28, 20, "SIGWINCH"),
    (29, 22, "SIGIO"),
    (30, 19, "SIGPWR"),
    (31, 12, "SIGSYS"),
)


def _build() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Flat maps: Linux 0..64 to kernel, kernel 0..74 to Linux (-1 where there is none)."""
    inward = [0] * (LX_NSIG + 1)
    outward = [-1] * (LX_NSIG + 11)
    outward[0] = 0
    for lx, native, _ in SIGNALS:
        inward[lx] = native
        outward[native] = lx
    for lx in range(LX_SIGRTMIN, LX_NSIG + 1):
        inward[lx] = lx + 10
        outward[lx + 10] = lx
    return tuple(inward), tuple(outward)


#: Kernel number of Linux signal n (0 stays 0).
FROM_LX: tuple[int, ...]
#: Linux number of kernel signal n; -1 for a signal that Linux does not have.
TO_LX: tuple[int, ...]
FROM_LX, TO_LX = _build()

_LX_NAMES = {lx: name for lx, _, name in SIGNALS}


def lx_signal_name(lx: int) -> str:
    """Return the name that strace prints for Linux signal number *lx* (SIGRT_3, or the number)."""
    name = _LX_NAMES.get(lx)
    if name is not None:
        return name
    if lx == LX_SIGRTMIN:
        return "SIGRTMIN"
    if LX_SIGRTMIN < lx <= LX_NSIG:
        return f"SIGRT_{lx - LX_SIGRTMIN}"
    return str(lx)


class _Translated(dict[int, int]):
    """Cache of translated masks: the 31 classic bits are permuted, the others moved.

    Filled on demand, bounded: a program uses the same few masks over and over.
    """

    __slots__ = ("_classic", "_others")

    def __init__(self, classic: tuple[int, ...], others: Callable[[int], int]) -> None:
        super().__init__()
        self._classic = classic
        self._others = others

    def __missing__(self, mask: int) -> int:
        result = self._others(mask)
        for signo in range(1, 32):
            if mask >> (signo - 1) & 1:
                result |= 1 << (self._classic[signo] - 1)
        if len(self) >= 1024:
            self.clear()
        self[mask] = result
        return result


_IN = _Translated(FROM_LX, lambda mask: mask >> 31 << 41)
_OUT = _Translated(TO_LX, lambda mask: mask >> 41 << 31 & 0xFFFFFFFFFFFFFFFF)


def sigset_from_lx(mask: int) -> int:
    """Translate a Linux 64-bit signal mask (bit n-1 is signal n) to the kernel's mask."""
    return _IN[mask]


def sigset_to_lx(mask: int) -> int:
    """Translate a kernel signal mask to Linux's 64 bits; kernel-only signals are dropped."""
    return _OUT[mask]
