"""Timers that are descriptors: a read gives how often one has gone off (illumos timerfd(7))."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from lxemu.kernel.anonfs import AnonVnode
from lxemu.kernel.cv import CondVar
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.poll import POLLIN, POLLRDNORM, Pollhead
from lxemu.kernel.vfs.fcntl import O_NONBLOCK

if TYPE_CHECKING:
    from lxemu.kernel.clock import Clock
    from lxemu.kernel.sched import Callout, Dispatcher
    from lxemu.kernel.vfs.file import File
    from lxemu.kernel.vfs.vnode import Vfs

_U64 = struct.Struct("=Q")
_COUNT_MASK = (1 << 64) - 1


class TimerFd(AnonVnode):
    """A timer on the wall clock (`realtime`) or the steady one; times are ns.

    A periodic timer wakes its readers once; the expiries after that are counted when somebody asks,
    so an unread timer costs nothing however short its interval. `clockid` and `set_flags` are what
    the program gave, for a listing of descriptors.
    """

    __slots__ = (
        "_callout",
        "_clock",
        "_disp",
        "_fired",
        "clockid",
        "expires",
        "interval",
        "pollhead",
        "readers",
        "realtime",
        "set_flags",
        "ticks",
    )

    label = b"anon_inode:[timerfd]"

    def __init__(
        self, vfs: Vfs, disp: Dispatcher, clock: Clock, clockid: int, *, realtime: bool
    ) -> None:
        super().__init__(vfs)
        self._disp = disp
        self._clock = clock
        self._callout: Callout | None = None
        self._fired = False
        self.clockid = clockid
        self.realtime = realtime
        self.expires = 0
        self.interval = 0
        self.ticks = 0
        self.set_flags = 0
        self.readers = CondVar()
        self.pollhead = Pollhead()

    def _now(self) -> int:
        return self._clock.realtime() if self.realtime else self._clock.hrtime()

    def get(self) -> tuple[int, int]:
        """Return (ns left, interval); 0 left when disarmed or when a single expiry has passed."""
        self._catch_up()
        return max(0, self.expires - self._now()) if self.expires else 0, self.interval

    def set(self, value: int, interval: int, *, absolute: bool, flags: int = 0) -> None:
        """Arm for `value` ns from now (or that time, `absolute`), then each `interval`; 0 disarms.

        Expiries that nobody has read are forgotten.
        """
        self._disarm()
        self.ticks = 0
        self.interval = interval
        self.set_flags = flags
        self.expires = (value if absolute else self._now() + value) if value else 0
        if self.expires:
            self._arm()

    def _disarm(self) -> None:
        self._fired = False
        if self._callout is not None:
            self._disp.untimeout(self._callout)
            self._callout = None

    def _arm(self) -> None:
        left = self.expires - self._now()
        if left <= 0:
            self._expire()
        else:
            self._callout = self._disp.timeout(self._clock.hrtime() + left, self._expire)

    def _expire(self) -> None:
        self._callout = None
        self._fired = True
        self.ticks += 1
        if not self.interval:
            self.expires = 0
        self.readers.broadcast()
        self.pollhead.wakeup(POLLIN | POLLRDNORM)

    def _catch_up(self) -> None:
        """Count the expiries of a periodic timer since it last woke somebody, and arm it again."""
        if not self._fired or not self.interval:
            return
        self._fired = False
        missed = (self._now() - self.expires) // self.interval
        self.ticks += missed
        self.expires += (missed + 1) * self.interval
        self._arm()

    def sread(self, file: File, n: int) -> bytes:
        """Read the 8-byte count of expiries since the last read. Raises EINVAL, EAGAIN, EINTR."""
        if n < 8:
            raise KernelError(Errno.EINVAL)
        while not self.ticks:
            if file.flags & O_NONBLOCK:
                raise KernelError(Errno.EAGAIN)
            self.readers.wait_sig()
        self._catch_up()
        ticks, self.ticks = self.ticks, 0
        return _U64.pack(ticks & _COUNT_MASK)

    def poll(self, file: File, events: int) -> tuple[int, Pollhead | None]:  # noqa: ARG002
        """Readable once the timer has gone off."""
        return events & (POLLIN | POLLRDNORM) if self.ticks else 0, self.pollhead

    def close(self, file: File) -> None:  # noqa: ARG002
        """Disarm."""
        self._disarm()
