"""The programs of bench.programs under qemu-user, where installed: `python -m bench.peers`."""

from __future__ import annotations

import shutil
import sys

from bench.measure import LXEMU, cpu_seconds, report
from bench.programs import programs


def main() -> int:
    """Measure; the column "native" is the peer's."""
    qemu = shutil.which("qemu-x86_64") or shutil.which("qemu-x86_64-static")
    if qemu is None:
        sys.stderr.write("bench.peers: qemu-user is not installed\n")
        return 1
    rows = []
    for name, command in programs():
        if "i386" not in name:
            peer = cpu_seconds((qemu, *command)) * 1e3
            rows.append((name, peer, cpu_seconds((*LXEMU, *command)) * 1e3))
    report("qemu-user against lxemu", "ms", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
