"""Milliseconds of CPU for whole programs, natively and here: `python -m bench.programs`."""

from __future__ import annotations

import shutil

from bench.measure import FIXTURES, LXEMU, cpu_seconds, report


def programs() -> list[tuple[str, tuple[str, ...]]]:
    """Return (name, command) of what is measured; host programs only where they exist."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for abi in ("x86_64", "i386"):
        found.append((f"hello, {abi}", (str(FIXTURES / abi / "hello" / "hello"),)))
    if shutil.which("true"):
        found.append(("dynamic true", ("/bin/true",)))
    found.append(("python3 -c", ("/usr/bin/python3", "-c", "print(1)")))
    for name in ("sieve", "sha256", "fib", "matmul"):
        found.append((name, (str(FIXTURES / "x86_64" / "bench" / name),)))
    return [(name, command) for name, command in found if shutil.which(command[0])]


def main() -> None:
    """Measure every program."""
    rows = []
    for name, command in programs():
        rows.append((name, cpu_seconds(command) * 1e3, cpu_seconds((*LXEMU, *command)) * 1e3))
    report("programs", "ms", rows)


if __name__ == "__main__":
    main()
