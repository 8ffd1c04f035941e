"""Words of the signal calls. Kernel values: illumos sys/signal.h, as in lxemu/kernel/signal.py."""

from __future__ import annotations

from typing import Final

from .xlat import EnumTable, FlagTable

SA_FLAGS: Final = FlagTable(
    "SA",
    (0x04000000, 0x04000000, "SA_RESTORER"),
    (0x08000000, 0x1, "SA_ONSTACK", "SA_ONSTACK"),
    (0x10000000, 0x4, "SA_RESTART"),
    (0x00000001, 0x20000, "SA_NOCLDSTOP"),
    (0x00000002, 0x10000, "SA_NOCLDWAIT"),
    (0x00000004, 0x8, "SA_SIGINFO"),
    (0x40000000, 0x10, "SA_NODEFER"),
    (0x80000000, 0x2, "SA_RESETHAND"),
    unknown="ignore",
)
SIG_HOW: Final = EnumTable(
    "SIG", (0, 1, "SIG_BLOCK"), (1, 2, "SIG_UNBLOCK"), (2, 3, "SIG_SETMASK"), unknown="keep"
)
SS_FLAGS: Final = FlagTable(
    "SS",
    (1, 1, "SS_ONSTACK"),
    (2, 2, "SS_DISABLE"),
    (0x80000000, 0x80000000, "SS_AUTODISARM"),
    unknown="keep",
)
SI_CODES: Final = EnumTable(
    "SI",
    (0, 0, "SI_USER"),
    (0x80, 0x80, "SI_KERNEL"),
    (-1, -2, "SI_QUEUE"),
    (-2, -3, "SI_TIMER"),
    (-3, -5, "SI_MESGQ"),
    (-4, -4, "SI_ASYNCIO"),
    (-5, -6, "SI_SIGIO", "SI_POLL"),
    (-6, -1, "SI_TKILL", "SI_LWP"),
    unknown="keep",
)
SFD_FLAGS: Final = FlagTable(
    "SFD",
    (0o2000000, 0x800000, "SFD_CLOEXEC", "O_CLOEXEC"),
    (0o4000, 0x80, "SFD_NONBLOCK", "O_NONBLOCK"),
)
SIGEV: Final = EnumTable(
    "SIGEV",
    (0, 0, "SIGEV_SIGNAL"),
    (1, 1, "SIGEV_NONE"),
    (2, 2, "SIGEV_THREAD"),
    (4, 4, "SIGEV_THREAD_ID"),
    unknown="keep",
)
