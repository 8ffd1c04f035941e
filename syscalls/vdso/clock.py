"""The clock data of the vDSO: turning the processor's time stamp counter into the host's clocks.

User code reads the counter with `rdtsc`, which the CPU engine passes through from the host. The
machine reads the same counter and the host's monotonic clock as one point, and draws a line through
two points. The data page then says: at counter value `tsc` it was so late, and a tick is `mult >>
shift` ns. The line is trusted for as long as it took to draw it, 100 ms at most; later a program
makes the system call, which draws a new one. The error so stays that of reading one point, about
0.1 us.

A new line never makes time go backwards: when the old one ran ahead, the new one starts where the
old one was and is a little slower until they meet.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from lxemu.kernel.mm.mman import PAGESIZE
from lxemu.kernel.mm.pagecache import AnonObject

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxemu.kernel.clock import Clock
    from lxemu.kernel.mm.page import PhysMem

#: rdtsc; shl $32, %rdx; or %rdx, %rax; ret
_READ_COUNTER: Final = bytes.fromhex("0f3148c1e2204809d0c3")
#: struct vvar of src/vdso.c.
_PAGE: Final = struct.Struct("<IIQQIIqqII")
_SECOND: Final = 1_000_000_000
#: A line needs points this far apart (ns), and is trusted this long at most.
_BASELINE_MIN: Final = 200_000
_LIMIT_MAX: Final = 100_000_000
#: Older points are given up: the host's clock may be slewed in the long run.
_BASELINE_MAX: Final = 20 * _SECOND
#: How often a point is read; the fastest reading counts.
_READINGS: Final = 5
#: The wall clock has been set when its distance to the steady one changes by more than this (ns).
_STEP: Final = 5_000
#: Two lines whose slopes differ by more come from a counter that is no clock.
_RATE_TOLERANCE: Final = 0.01


class Point(NamedTuple):
    """One reading: counter, monotonic clock and its distance to the wall clock (ns)."""

    ticks: int
    mono: int
    offset: int


class Line(NamedTuple):
    """Time as a function of the counter: `mono` ns at `ticks`, `rate` ns a tick."""

    ticks: int
    mono: int
    rate: float

    def at(self, ticks: int) -> int:
        """Return the time at counter value `ticks`."""
        return self.mono + int((ticks - self.ticks) * self.rate)


def host_counter() -> Callable[[], int] | None:
    """Return a function that reads the host's time stamp counter; None where it has none."""
    if os.uname().machine.lower() not in ("x86_64", "amd64") or struct.calcsize("P") != 8:
        return None
    try:
        memory = mmap.mmap(-1, PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except (OSError, AttributeError):
        return None
    memory.write(_READ_COUNTER)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    call = ctypes.CFUNCTYPE(ctypes.c_uint64)(address)

    def read(_memory: mmap.mmap = memory) -> int:
        ticks: int = call()
        return ticks

    return read


class Vvar:
    """The data page of one machine, shared by its brands; made when the first program is mapped."""

    def __init__(
        self,
        counter: Callable[[], int] | None = None,
        mono: Callable[[], int] = time.monotonic_ns,
        real: Callable[[], int] = time.time_ns,
    ) -> None:
        self._object: AnonObject | None = None
        self._counter = counter
        self._mono = mono
        self._real = real
        self._usable: bool | None = None
        self._anchor: Point | None = None
        self._spare: Point | None = None
        self._line: Line | None = None
        self._seq = 0
        #: Monotonic time until which the page needs no refresh.
        self.fresh_until = 0

    def held(self) -> int:
        """Return how many frames the page takes: none before it is first mapped."""
        return self._object.pages.npages if self._object is not None else 0

    def object(self, phys: PhysMem) -> AnonObject:
        """Return the mappable page."""
        if self._object is None:
            self._object = AnonObject(phys, PAGESIZE)
            self._object.pages.get(0)
        return self._object

    def clock_read(self, clock: Clock) -> None:
        """Refresh the page if it is due; a program reads a clock by system call.

        `clock` is the machine's; only the host's own can be told from the counter.
        """
        if self._usable is None:
            self._usable = self._object is not None and clock.hrtime is self._mono
            if self._usable and self._counter is None:
                self._counter = host_counter()
            self._usable = self._usable and self._counter is not None
        if self._usable and self._mono() >= self.fresh_until:
            self.refresh()

    def refresh(self) -> None:
        """Read a new point, and draw and publish a line if it is far enough from an older one."""
        point = self._read_point()
        anchor = self._anchor
        if anchor is None:
            self._anchor = self._spare = point
            self.fresh_until = point.mono + _BASELINE_MIN
            return
        baseline = point.mono - anchor.mono
        if baseline < _BASELINE_MIN:
            return
        rate = baseline / max(1, point.ticks - anchor.ticks)
        line = self._line
        if line is not None and abs(rate / line.rate - 1) > _RATE_TOLERANCE and baseline > _SECOND:
            self._give_up()
            return
        limit = min(baseline, _LIMIT_MAX)
        self._publish(point, rate, limit)
        self.fresh_until = point.mono + limit // 2
        self._move_anchor(point)

    def _read_point(self) -> Point:
        counter, mono, real = self._counter, self._mono, self._real
        assert counter is not None
        best: tuple[int, int, int, int] | None = None
        for _ in range(_READINGS):
            before = mono()
            ticks = counter()
            wall = real()
            after = mono()
            if best is None or after - before < best[0]:
                best = (after - before, ticks, (before + after) // 2, wall)
        assert best is not None
        _, ticks, middle, wall = best
        offset = wall - middle
        known = self._anchor
        if known is not None and abs(offset - known.offset) < _STEP:
            offset = known.offset
        return Point(ticks, middle, offset)

    def _move_anchor(self, point: Point) -> None:
        spare = self._spare
        assert spare is not None
        if point.mono - spare.mono > _BASELINE_MAX // 2:
            self._anchor, self._spare = spare, point
        anchor = self._anchor
        if anchor is not None and anchor.offset != point.offset:
            self._anchor = anchor._replace(offset=point.offset)

    def _publish(self, point: Point, rate: float, limit: int) -> None:
        mono = point.mono
        old = self._line
        self._line = Line(point.ticks, mono, rate)
        if old is not None:
            ahead = old.at(point.ticks) - mono
            if 0 < ahead < limit // 2:
                mono += ahead
                rate *= 1 - ahead / limit
                self._line = Line(point.ticks, mono, rate)
        shift = 32
        while rate * (1 << shift) >= 1 << 32:
            shift -= 1
        self._write(point, mono, int(rate * (1 << shift)), shift, int(limit / rate))

    def _write(self, point: Point, mono: int, mult: int, shift: int, limit: int) -> None:
        assert self._object is not None
        self._seq = (self._seq + 2) & 0xFFFFFFFE
        mono_sec, mono_nsec = divmod(mono, _SECOND)
        real_sec, real_nsec = divmod(mono + point.offset, _SECOND)
        page = _PAGE.pack(
            self._seq,
            1,
            point.ticks,
            limit,
            mult,
            shift,
            mono_sec,
            real_sec,
            mono_nsec,
            real_nsec,
        )
        self._object.pages.write(0, page)

    def _give_up(self) -> None:
        """Leave the clocks to the system call: the counter is not steady on this host."""
        assert self._object is not None
        self._usable = False
        self._object.pages.write(0, bytes(_PAGE.size))
