"""Time sources of a machine. All values are nanoseconds.

`HostClock` follows the host. `VirtualClock` moves only when asked to: by a fixed step at each
reading, and straight to the next deadline when nothing can run, so that a run gives the same times
every time.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the kernel asks of a clock."""

    def hrtime(self) -> int:
        """Return nanoseconds of a clock that never steps (gethrtime)."""

    def realtime(self) -> int:
        """Return nanoseconds since 1970-01-01 UTC."""

    def cputime(self) -> int:
        """Return nanoseconds of CPU that the machine has used."""

    def systime(self) -> int:
        """Return nanoseconds of that CPU time which the host's kernel has used for the machine."""

    def idle(self, until: int | None) -> int | None:
        """Say how long (ns) the host may sleep before `until` (hrtime); None is without end."""


class HostClock:
    """The host's clocks."""

    hrtime = staticmethod(time.monotonic_ns)
    realtime = staticmethod(time.time_ns)
    cputime = staticmethod(time.thread_time_ns)

    def systime(self) -> int:
        """Return the system time of this thread."""
        import resource  # not needed by most programs, and not there everywhere

        return int(resource.getrusage(resource.RUSAGE_THREAD).ru_stime * 1e9)

    def idle(self, until: int | None) -> int | None:
        """Return the real distance to `until`."""
        return None if until is None else max(0, until - time.monotonic_ns())


class VirtualClock:
    """A clock for reproducible runs: `step` ns pass at each reading, and idle time is skipped."""

    EPOCH = 1_700_000_000_000_000_000

    def __init__(self, step: int = 1000) -> None:
        self.now = 1_000_000_000
        self.step = step

    def hrtime(self) -> int:
        """Return the virtual time, one step on."""
        self.now += self.step
        return self.now

    def realtime(self) -> int:
        """Return the virtual time as a date."""
        return self.EPOCH + self.hrtime()

    def cputime(self) -> int:
        """Return the virtual time: the only lwp that runs is the one that asks."""
        return self.now

    def systime(self) -> int:
        """Return 0: virtual time is all the program's."""
        return 0

    def idle(self, until: int | None) -> int | None:
        """Skip straight to `until`."""
        if until is None:
            return None
        self.now = max(self.now, until)
        return 0
