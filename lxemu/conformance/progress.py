"""The progress bar of a run, on a terminal; without one, a line for each failure."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from typing import TYPE_CHECKING, TextIO

from lxemu.conformance.result import Outcome

if TYPE_CHECKING:
    from lxemu.conformance.result import Result

BAR = 24  # columns


class Progress:
    """Shows how far a run of `total` tests is."""

    def __init__(self, total: int, out: TextIO) -> None:
        self._total = total
        self._out = out
        self._bar = out.isatty()
        self._counts: Counter[Outcome] = Counter()
        self._started = time.monotonic()
        self._shown = ""

    def step(self, result: Result) -> None:
        """Count a result and show it."""
        self._counts[result.outcome] += 1
        if result.outcome not in (Outcome.PASS, Outcome.SKIP):
            self._line(f"{result.outcome:<8} {result.abi:<6} {result.id}")
        if self._bar:
            self._draw(result)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar:
            self._out.write("\r\x1b[K")
            self._out.flush()

    def _line(self, text: str) -> None:
        self._out.write(f"\r\x1b[K{text}\n" if self._bar else f"{text}\n")
        self._out.flush()

    def _draw(self, result: Result) -> None:
        done = sum(self._counts.values())
        spent = time.monotonic() - self._started
        left = round(spent / done * (self._total - done))
        full = BAR * done // self._total
        passed = self._counts[Outcome.PASS]
        text = (
            f"[{'#' * full}{'.' * (BAR - full)}] {done}/{self._total}  {passed} passed"
            f"  {left // 60}:{left % 60:02} left  {result.id}"
        )
        width = shutil.get_terminal_size().columns - 1
        self._out.write(f"\r{text[:width]}\x1b[K")
        self._out.flush()
