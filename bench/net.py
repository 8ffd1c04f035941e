"""CPU of operations of the network, natively and here: `python -m bench.net`.

Streams are shown in MB/s (64 KB written and read), the rest in microseconds for each operation.
"""

from __future__ import annotations

import os
import sys

from bench.measure import FIXTURES, LXEMU, cpu_seconds, per_operation, report

#: Operation of fixtures/src/bench/net.c and how often it is done under lxemu.
STREAMS = (("tcp", 4_000), ("unix", 4_000))
OPERATIONS = (
    ("tcp_round_trip", 20_000),
    ("connect", 5_000),
    ("udp", 20_000),
    ("epoll_10", 20_000),
    ("epoll_1000", 20_000),
)
BLOCK = 65536


def seconds(prefix: tuple[str, ...], program: str, name: str, count: int) -> float:
    """Return the CPU seconds of one operation."""
    return per_operation(lambda times: cpu_seconds((*prefix, program, name, str(times)), 2), count)


def main() -> None:
    """Measure every operation in each ABI."""
    native = sys.platform == "linux" and os.uname().machine == "x86_64"
    for abi in ("x86_64", "i386"):
        program = str(FIXTURES / abi / "bench" / "net")
        rows = []
        for name, count in STREAMS:
            here = BLOCK / seconds((), program, name, count) / 1e6 if native else 0.0
            rows.append((name, here, BLOCK / seconds(LXEMU, program, name, count) / 1e6))
        report(f"streams, {abi}", "MB/s", rows)
        rows = []
        for name, count in OPERATIONS:
            here = seconds((), program, name, count * 2) * 1e6 if native else 0.0
            rows.append((name, here, seconds(LXEMU, program, name, count) * 1e6))
        report(f"sockets, {abi}", "us", rows)


if __name__ == "__main__":
    main()
