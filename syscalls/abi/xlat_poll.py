"""Words of poll and epoll.

Kernel values: illumos sys/poll.h; the bits of epoll alone are ours, with Linux's numbers.
"""

from __future__ import annotations

from typing import Final

from .xlat import EnumTable, FlagTable, Row

_POLL: Final[tuple[Row, ...]] = (
    (0x1, 0x1, "POLLIN"),
    (0x2, 0x2, "POLLPRI"),
    (0x4, 0x4, "POLLOUT"),
    (0x8, 0x8, "POLLERR"),
    (0x10, 0x10, "POLLHUP"),
    (0x20, 0x20, "POLLNVAL"),
    (0x40, 0x40, "POLLRDNORM"),
    (0x80, 0x80, "POLLRDBAND"),
    # illumos has POLLWRNORM == POLLOUT; we keep it apart to give back what was asked for.
    (0x100, 0x400, "POLLWRNORM"),
    (0x200, 0x100, "POLLWRBAND"),
    (0x2000, 0x4000, "POLLRDHUP"),
)
POLL_EVENTS: Final = FlagTable("POLL", *_POLL, unknown="ignore")
EPOLL_EVENTS: Final = FlagTable(
    "EPOLL",
    *((row[0], row[1], "E" + row[2], row[2]) for row in _POLL),
    (1 << 28, 1 << 28, "EPOLLEXCLUSIVE"),
    (1 << 29, 1 << 29, "EPOLLWAKEUP"),
    (1 << 30, 1 << 30, "EPOLLONESHOT"),
    (1 << 31, 1 << 31, "EPOLLET"),
    unknown="ignore",
)
EPOLL_OP: Final = EnumTable(
    "EPOLL_CTL", (1, 1, "EPOLL_CTL_ADD"), (2, 2, "EPOLL_CTL_DEL"), (3, 3, "EPOLL_CTL_MOD")
)
EPOLL_CREATE: Final = FlagTable("EPOLL", (0o2000000, 0x800000, "EPOLL_CLOEXEC", "O_CLOEXEC"))
