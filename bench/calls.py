"""Microseconds of CPU for one operation, natively and here: `python -m bench.calls`."""

from __future__ import annotations

import os
import sys

from bench.measure import FIXTURES, LXEMU, ROOT, cpu_seconds, per_operation, report

#: Operation of fixtures/src/bench/calls.c and how often it is done under lxemu.
OPERATIONS = (
    ("getpid", 400_000),
    ("write", 200_000),
    ("lseek_read", 200_000),
    ("open_fstat_close", 60_000),
    ("mmap_munmap", 10_000),
    ("pipe_round_trip", 20_000),
    ("fork_wait", 1_000),
    ("fork_exec_wait", 200),
    ("cond_round_trip", 20_000),
    ("thread_create_join", 4_000),
)


def microseconds(prefix: tuple[str, ...], program: str, name: str, count: int) -> float:
    """Return microseconds for one operation."""
    busybox = ROOT / "build" / "busybox" / "x86_64" / "busybox"
    tail = (str(busybox),) if busybox.exists() else ()

    def seconds(times: int) -> float:
        return cpu_seconds((*prefix, program, name, str(times), *tail), 2)

    return per_operation(seconds, count) * 1e6


def main() -> None:
    """Measure every operation in each ABI."""
    native = sys.platform == "linux" and os.uname().machine == "x86_64"
    for abi in ("x86_64", "i386"):
        program = str(FIXTURES / abi / "bench" / "calls")
        rows = []
        for name, count in OPERATIONS:
            here = microseconds((), program, name, count * 4) if native else 0.0
            rows.append((name, here, microseconds(LXEMU, program, name, count)))
        report(f"calls, {abi}", "us", rows)


if __name__ == "__main__":
    main()
