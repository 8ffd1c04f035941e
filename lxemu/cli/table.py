"""`lxemu syscalls`: the table of system calls, how far each is done, and whether lx had it."""

from __future__ import annotations

import sys

from lxemu.cli.options import Option, UsageError, help_lines, parse
from lxemu.cli.run import HELP

OPTIONS = (
    Option(("--abi",), "only this table: x86_64 or i386", "ABI"),
    Option(("--csv",), "comma-separated values"),
    HELP,
)
ABIS = ("x86_64", "i386")
#: Codes of syscalls/tables/lx_status.py for a call that lx carried out.
LX_HAD = ("K", "U")


def command_syscalls(argv: list[str]) -> int:
    """Carry out `lxemu syscalls`."""
    values, names = parse(OPTIONS, argv)
    if values.flag("help"):
        usage = "Usage: lxemu syscalls [--abi ABI] [--csv] [NAME...]\n"
        sys.stdout.write("\n".join((usage, *help_lines(OPTIONS), "")))
        return 0
    only = values.value("abi")
    if only is not None and only not in ABIS:
        raise UsageError(f"bad ABI {only!r}: it must be x86_64 or i386")
    abis = ABIS if only is None else (only,)
    rows = [row for abi in abis for row in table(abi) if not names or row[2] in names]
    if names and not rows:
        raise UsageError(f"no such system call: {' '.join(names)}")
    if values.flag("csv"):
        _write_csv(rows)
    else:
        for abi, number, name, support, lx, note in rows:
            line = f"{abi:<6} {number:>4}  {name:<26} {support:<8} lx: {lx:<4} {note}"
            sys.stdout.write(line.rstrip() + "\n")
    return 0


def _write_csv(rows: list[tuple[str, int, str, str, str, str]]) -> None:
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("abi", "number", "name", "support", "lx", "note"))
    writer.writerows(rows)


def table(abi: str) -> list[tuple[str, int, str, str, str, str]]:
    """Return (ABI, number, name, support level, whether lx had it, note) of every call."""
    from syscalls.gendocs import status
    from syscalls.personality import i386, x86_64
    from syscalls.tables import lx_status

    personality = x86_64() if abi == "x86_64" else i386()
    codes = (lx_status.X86_64 if abi == "x86_64" else lx_status.I386).split()
    rows = []
    for row in personality.rows:
        if row.name.startswith("syscall_"):
            continue
        level, note = status(row)
        had = row.nr < len(codes) and codes[row.nr] in LX_HAD
        rows.append((abi, row.nr, row.name, level.value, "yes" if had else "no", note))
    return rows
