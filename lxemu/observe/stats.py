"""The report of `--stats`: what ran, what was not supported, and how a program crashed."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from lxemu.machine import Machine


def print_stats(machine: Machine, out: TextIO) -> None:
    """Write the report of a machine whose programs have ended."""
    for dump in machine.fatal:
        out.write(f"{dump}\n")
    used = resource.getrusage(resource.RUSAGE_SELF)
    held = (machine.phys.nframes - machine.phys.free_frames) * 4
    out.write(
        f"lxemu: {machine.zone.forks + 1} processes, {held} KiB of guest memory held at the end, "
        f"host: {used.ru_utime + used.ru_stime:.3f} s of CPU, {used.ru_maxrss} KiB resident\n"
    )
    calls = sorted(machine.unsupported_calls.items(), key=lambda item: (-item[1], item[0]))
    if not calls:
        out.write("lxemu: no unsupported calls\n")
    for (name, reason), count in calls:
        times = "once" if count == 1 else f"{count} times"
        out.write(f"lxemu: unsupported: {name}, {times}: {reason}\n")
