"""CPU time of whole processes, and the table and JSON that every benchmark prints.

CPU time is user + system of the process and its children, as the host accounts it. The machines
this runs on are shared: a figure is the least of several runs, and a comparison is made in one run.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "fixtures" / "bin"
LXEMU = (sys.executable, "-m", "lxemu", "run")


def cpu_seconds(command: Sequence[str], runs: int = 3, cwd: str = "/tmp") -> float:
    """Return the least CPU time (s) of `runs` runs; raises CalledProcessError if one fails."""
    best = float("inf")
    for _ in range(runs):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=cwd)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        best = min(best, used)
    return best


def per_operation(seconds: Callable[[int], float], count: int) -> float:
    """Return the CPU time (s) of one operation: `seconds(count)` less that of a short run."""
    short = max(3, count // 50)
    low, high = seconds(short), seconds(count)
    return max(1e-9, (high - low) / (count - short))


def peak_memory(command: Sequence[str]) -> float:
    """Return the largest resident size (MiB) of a process; raises OSError if it does not start."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd="/tmp") as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return used.ru_maxrss / 1024


def report(title: str, unit: str, rows: Sequence[tuple[str, float, float]]) -> None:
    """Print rows of (name, native, emulated): as JSON with --json, else as a table."""
    if "--json" in sys.argv:
        records = [{"name": n, "native": a, "lxemu": b, "unit": unit} for n, a, b in rows]
        print(json.dumps({"title": title, "rows": records}))
        return
    print(f"{title:24}{'native':>12}{'lxemu':>12}  {unit:4}{'ratio':>8}")
    for name, native, emulated in rows:
        ratio = f"{emulated / native:8.1f}" if native > 0 else "       -"
        print(f"{name:24}{native:12.3f}{emulated:12.3f}  {unit:4}{ratio}")
