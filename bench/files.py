"""Microseconds of CPU for operations on files, natively, on a tmpfs and on a host directory:
`python -m bench.files`.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from bench.measure import FIXTURES, LXEMU, cpu_seconds, per_operation, report

#: Operation of fixtures/src/bench/files.c and how often it is done under lxemu.
OPERATIONS = (
    ("open_close", 20_000),
    ("create_unlink", 10_000),
    ("walk_300", 60),
    ("read_1m", 2_000),
    ("write_1m", 2_000),
    ("mmap_64k", 5_000),
    ("lookup_10", 30_000),
    ("lookup_3000", 30_000),
)


def microseconds(prefix: tuple[str, ...], name: str, count: int, directory: str) -> float:
    """Return microseconds for one operation, each run in an empty directory."""
    program = str(FIXTURES / "x86_64" / "bench" / "files")

    def seconds(times: int) -> float:
        best = float("inf")
        for _ in range(2):
            shutil.rmtree(directory, ignore_errors=True)
            Path(directory).mkdir()
            best = min(best, cpu_seconds((*prefix, program, name, str(times)), 1, directory))
        return best

    return per_operation(seconds, count) * 1e6


def main() -> None:
    """Measure every operation on both kinds of file system."""
    with tempfile.TemporaryDirectory(prefix="lxemu-bench-") as scratch:
        directory = scratch + "/d"
        tmpfs = (*LXEMU, "--root", "none", "-w", "/tmp")
        mount = (*LXEMU, "--root", "none", "-v", f"{directory}:/m", "-w", "/m")
        kinds = {"tmpfs": tmpfs, "host directory": mount}
        rows: dict[str, list[tuple[str, float, float]]] = {kind: [] for kind in kinds}
        for name, count in OPERATIONS:
            native = microseconds((), name, count, directory) if sys.platform == "linux" else 0.0
            for kind, prefix in kinds.items():
                here = microseconds(prefix, name, count, directory)
                rows[kind].append((name, native, here))
        for kind, found in rows.items():
            report(f"files, {kind}", "us", found)


if __name__ == "__main__":
    main()
