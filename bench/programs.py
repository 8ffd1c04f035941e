"""Milliseconds of CPU for whole programs, natively and here: `python -m bench.programs`."""

from __future__ import annotations

import shutil

from bench.measure import FIXTURES, LXEMU, cpu_seconds, peak_memory, report


def programs() -> list[tuple[str, tuple[str, ...]]]:
    """Return (name, command) of what is measured; host programs only where they exist."""
    guests = FIXTURES / "x86_64" / "bench"
    found: list[tuple[str, tuple[str, ...]]] = [
        ("hello, x86_64", (str(FIXTURES / "x86_64" / "hello" / "hello"),)),
        ("hello, i386", (str(FIXTURES / "i386" / "hello" / "hello"),)),
        ("dynamic true", ("/bin/true",)),
        ("python3 -c", ("/usr/bin/python3", "-c", "print(1)")),
        *((name, (str(guests / name),)) for name in ("sieve", "sha256", "fib", "matmul")),
    ]
    return [(name, command) for name, command in found if shutil.which(command[0])]


def main() -> None:
    """Measure every program."""
    found = programs()
    rows = []
    for name, command in found:
        rows.append((name, cpu_seconds(command) * 1e3, cpu_seconds((*LXEMU, *command)) * 1e3))
    report("programs", "ms", rows)
    # A native process starts with the peak of the Python that starts it: there is no such column.
    memory = [(name, 0.0, peak_memory((*LXEMU, *command))) for name, command in found]
    report("programs, peak memory", "MiB", memory)


if __name__ == "__main__":
    main()
