"""The same programs and calls under qemu-user and Qiling, where installed: `python -m bench.peers`.

qemu-user is looked up in PATH. Qiling is used from the Python that QILING_PYTHON names (it wants
other versions of our dependencies), or from this one. Figures are CPU time, of one run of all.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from bench.calls import OPERATIONS, per_operation
from bench.measure import FIXTURES, LXEMU, cpu_seconds
from bench.programs import programs

if TYPE_CHECKING:
    from collections.abc import Callable

#: Qiling has no processes, and its traps cost enough to count them in hundreds.
SINGLE = ("getpid", "write", "lseek_read", "open_fstat_close", "mmap_munmap")
QILING = (
    "import sys; from qiling import Qiling; from qiling.const import QL_VERBOSE; "
    "Qiling(sys.argv[1:], '/', verbose=QL_VERBOSE.DISABLED).run()"
)


def peers(abi: str) -> dict[str, tuple[str, ...]]:
    """Return the command prefix of each emulator that is here."""
    found: dict[str, tuple[str, ...]] = {"native": (), "lxemu": LXEMU}
    for name in (f"qemu-{abi}", f"qemu-{abi}-static"):
        path = shutil.which(name)
        if path is not None:
            found["qemu-user"] = (path,)
            break
    python = os.environ.get("QILING_PYTHON")
    if python is None and importlib.util.find_spec("qiling") is not None:
        python = sys.executable
    if python is not None:
        found["Qiling"] = (python, "-c", QILING)
    return found


def attempt(measure: Callable[[], float]) -> float | None:
    """Return a measurement, None when the emulator cannot do it."""
    try:
        return measure()
    except (subprocess.SubprocessError, OSError):
        return None


def measure_calls(abi: str) -> list[dict[str, object]]:
    """Measure every operation under every peer, in microseconds."""
    program = str(FIXTURES / abi / "bench" / "calls")
    rows: list[dict[str, object]] = []
    for name, count in OPERATIONS:
        row: dict[str, object] = {"name": f"{name}, {abi}", "unit": "us"}
        for peer, prefix in peers(abi).items():
            if peer == "Qiling" and name not in SINGLE:
                row[peer] = None
                continue
            times = count // 40 if peer == "Qiling" else count * (4 if peer == "native" else 1)
            row[peer] = attempt(lambda p=prefix, n=times, op=name: per_operation(p, program, op, n))
        rows.append(row)
    return rows


def measure_programs() -> list[dict[str, object]]:
    """Measure whole programs under every peer, in milliseconds."""
    rows: list[dict[str, object]] = []
    for name, command in programs():
        row: dict[str, object] = {"name": name, "unit": "ms"}
        for peer, prefix in peers("i386" if "i386" in name else "x86_64").items():
            seconds = attempt(lambda p=prefix, c=command: cpu_seconds((*p, *c), 2))
            row[peer] = None if seconds is None else seconds * 1e3
        rows.append(row)
    return rows


def show(rows: list[dict[str, object]]) -> None:
    """Print a table, or JSON with --json."""
    if "--json" in sys.argv:
        print(json.dumps(rows))
        return
    names = [name for name in rows[0] if name not in ("name", "unit")]
    print(f"{'':28}" + "".join(f"{name:>12}" for name in names))
    for row in rows:
        cells = [row[name] for name in names]
        figures = "".join(f"{c:12.2f}" if isinstance(c, float) else f"{'-':>12}" for c in cells)
        print(f"{row['name']!s:28}{figures}  {row['unit']}")


def main() -> int:
    """Measure what is installed; 1 when no peer is."""
    if len(peers("x86_64")) == 2:
        sys.stderr.write("bench.peers: neither qemu-user nor Qiling is installed\n")
        return 1
    show(measure_programs())
    show(measure_calls("x86_64"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
