"""`lxemu syscalls`: the table of system calls and how far each is done."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lxemu.cli.options import Option, UsageError, help_lines, parse
from lxemu.cli.run import HELP

if TYPE_CHECKING:
    from syscalls.personality import Personality, Row

OPTIONS = (
    Option(("--abi",), "only this table: x86_64 or i386", "ABI"),
    Option(("--csv",), "comma-separated values"),
    HELP,
)
ABIS = ("x86_64", "i386")


def command_syscalls(argv: list[str]) -> int:
    """Carry out `lxemu syscalls`."""
    values, operands = parse(OPTIONS, argv)
    if values.flag("help"):
        usage = "Usage: lxemu syscalls [--abi ABI] [--csv] [NAME...]\n"
        sys.stdout.write("\n".join((usage, *help_lines(OPTIONS), "")))
        return 0
    only = values.value("abi")
    if only is not None and only not in ABIS:
        raise UsageError(f"bad ABI {only!r}: it must be x86_64 or i386")
    abis = ABIS if only is None else (only,)
    lines = [line for abi in abis for line in _lines(abi, operands, values.flag("csv"))]
    if operands and not lines:
        raise UsageError(f"no such system call: {' '.join(operands)}")
    sys.stdout.write("".join(lines))
    return 0


def _lines(abi: str, names: list[str], csv: bool) -> list[str]:
    lines = []
    for row in _personality(abi).rows:
        if row.name.startswith("syscall_") or (names and row.name not in names):
            continue
        support, note = _support(row)
        if csv:
            lines.append(f'{abi},{row.nr},{row.name},{support},"{note}"\n')
        else:
            lines.append(
                f"{abi:<7} {row.nr:>4}  {row.name:<26} {support:<8} {note}".rstrip() + "\n"
            )
    return lines


def _personality(abi: str) -> Personality:
    from syscalls.personality import i386, x86_64

    return x86_64() if abi == "x86_64" else i386()


def _support(row: Row) -> tuple[str, str]:
    from syscalls.personality import Nosys

    if isinstance(row.handler, Nosys):
        return row.support.value, str(row.handler)
    return row.support.value, row.partial
