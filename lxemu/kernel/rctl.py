"""Resource limits (illumos getrlimit(2); numbers of sys/resource.h, ours from 16 on)."""

from __future__ import annotations

RLIMIT_CPU = 0
RLIMIT_FSIZE = 1
RLIMIT_DATA = 2
RLIMIT_STACK = 3
RLIMIT_CORE = 4
RLIMIT_NOFILE = 5
RLIMIT_AS = 6
# The rest are resource controls on illumos (process.max-*, project.max-*); a brand maps them.
RLIMIT_RSS = 16
RLIMIT_NPROC = 17
RLIMIT_MEMLOCK = 18
RLIMIT_LOCKS = 19
RLIMIT_SIGPENDING = 20
RLIMIT_MSGQUEUE = 21
RLIMIT_NICE = 22
RLIMIT_RTPRIO = 23
RLIMIT_RTTIME = 24

RLIM_INFINITY = (1 << 64) - 1

_DEFAULTS: dict[int, tuple[int, int]] = {
    RLIMIT_STACK: (8 << 20, RLIM_INFINITY),
    RLIMIT_CORE: (0, RLIM_INFINITY),
    RLIMIT_NOFILE: (1024, 1 << 20),
    RLIMIT_NPROC: (32768, 32768),
    RLIMIT_MEMLOCK: (8 << 20, 8 << 20),
    RLIMIT_SIGPENDING: (32768, 32768),
    RLIMIT_MSGQUEUE: (819200, 819200),
    RLIMIT_NICE: (0, 0),
    RLIMIT_RTPRIO: (0, 0),
}
_UNLIMITED = (RLIM_INFINITY, RLIM_INFINITY)


class Rctls:
    """Soft and hard limits of one process, in bytes, seconds or counts as each has it."""

    __slots__ = ("_limits",)

    def __init__(self, limits: dict[int, tuple[int, int]] | None = None) -> None:
        self._limits = dict(_DEFAULTS if limits is None else limits)

    def get(self, resource: int) -> tuple[int, int]:
        """Return (soft, hard) of `resource`."""
        return self._limits.get(resource, _UNLIMITED)

    def soft(self, resource: int) -> int:
        """Return the limit in force."""
        return self._limits.get(resource, _UNLIMITED)[0]

    def set(self, resource: int, soft: int, hard: int) -> None:
        """Set both limits; the caller has checked the privilege to raise the hard one."""
        self._limits[resource] = (soft, hard)

    def copy(self) -> Rctls:
        """Return the limits a child inherits."""
        return Rctls(self._limits)
