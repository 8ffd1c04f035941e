"""The counts of -c: calls, errors and time by system call, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from lxemu.observe.tracer import Tracer

if TYPE_CHECKING:
    from lxemu.observe.select import Selection
    from syscalls.abi.trace import Call, Style


class Counts:
    """What is counted of one system call; time in nanoseconds of the host."""

    __slots__ = ("calls", "errors", "time")

    def __init__(self) -> None:
        self.calls = 0
        self.errors = 0
        self.time = 0


class Summary(Tracer):
    """Counts instead of printing; the table comes at the end, in strace's form or in truss'."""

    def __init__(
        self, selection: Selection, style: Style, out: TextIO, *, follow: bool = False
    ) -> None:
        super().__init__(selection, style, follow=follow)
        self.out = out
        self.counts: dict[str, Counts] = {}

    def left(self, tid: int, call: Call, result: int | None, elapsed: int) -> None:
        """Count a call."""
        counts = self.counts.get(call.name)
        if counts is None:
            counts = self.counts[call.name] = Counts()
        counts.calls += 1
        counts.time += elapsed
        if result is not None and -4095 <= result < 0:
            counts.errors += 1

    def close(self) -> None:
        """Print the table."""
        rows = sorted(self.counts.items(), key=lambda item: (-item[1].time, item[0]))
        write = self._truss if self.style.native else self._strace
        write(rows)
        self.out.flush()

    def _strace(self, rows: list[tuple[str, Counts]]) -> None:
        rule = " ".join(("------", "-----------", "-----------", "---------", "---------"))
        heads = ("% time", "seconds", "usecs/call", "calls", "errors", "syscall")
        out = self.out
        out.write("{:>6} {:>11} {:>11} {:>9} {:>9} {}\n".format(*heads))
        out.write(f"{rule} {'-' * 16}\n")
        total = Counts()
        everything = sum(counts.time for _, counts in rows) or 1
        for name, counts in rows:
            _add(total, counts)
            share = 100 * counts.time / everything
            out.write(_strace_row(share, counts, name))
        out.write(f"{rule} {'-' * 16}\n")
        out.write(_strace_row(100.0, total, "total"))

    def _truss(self, rows: list[tuple[str, Counts]]) -> None:
        out = self.out
        out.write(f"{'syscall':<20}{'seconds':>10}{'calls':>9}{'errors':>9}\n")
        total = Counts()
        for name, counts in sorted(rows):
            _add(total, counts)
            out.write(_truss_row(name, counts))
        out.write(f"{'':<20}{'--------':>10}{'------':>9}{'----':>9}\n")
        out.write(_truss_row("sys totals:", total))


def _add(total: Counts, counts: Counts) -> None:
    total.calls += counts.calls
    total.errors += counts.errors
    total.time += counts.time


def _strace_row(share: float, counts: Counts, name: str) -> str:
    each = counts.time // 1000 // counts.calls if counts.calls else 0
    errors = counts.errors or ""
    seconds = counts.time / 1e9
    return f"{share:>6.2f} {seconds:>11.6f} {each:>11} {counts.calls:>9} {errors:>9} {name}\n"


def _truss_row(name: str, counts: Counts) -> str:
    errors = counts.errors or ""
    return f"{name:<20}{counts.time / 1e9:>10.3f}{counts.calls:>9}{errors:>9}\n"
