"""The report of `--stats`: what ran, what was not supported, and how a program crashed."""

from __future__ import annotations

import json
import resource
from typing import TYPE_CHECKING, TextIO

from lxemu.kernel import signal

if TYPE_CHECKING:
    from lxemu.machine import Machine


def print_stats(machine: Machine, out: TextIO) -> None:
    """Write the report of a machine whose programs have ended."""
    for crash in machine.fatal:
        signo, addr = crash.info.signo, crash.info.addr
        names = (name for name, value in vars(signal).items() if value == signo)
        name = next((n for n in names if n.startswith("SIG")), f"signal {signo}")
        out.write(f"lxemu: {name} at {crash.pc:#x}, address {addr:#x}\n{crash.registers}\n")
        for line in disassemble(crash.pc, crash.code, crash.bits):
            out.write(f"    {line}\n")
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


def write_stats(machine: Machine, status: int, path: str) -> None:
    """Write what a program that drives lxemu wants to know as a JSON object; raises OSError.

    `status` (what a shell would put into `$?`), `cpu_seconds`, `resident_kib` of the host
    process, and `unsupported`: a list of objects with `call`, `reason` and `count`.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    report = {
        "status": status,
        "processes": machine.zone.forks + 1,
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 6),
        "resident_kib": used.ru_maxrss,
        "unsupported": [
            {"call": name, "reason": reason, "count": count}
            for (name, reason), count in sorted(machine.unsupported_calls.items())
        ],
    }
    with open(path, "w", encoding="utf-8") as out:
        json.dump(report, out)


def disassemble(pc: int, code: bytes, bits: int) -> list[str]:
    """Return the first instructions at `pc` as text."""
    from capstone import CS_ARCH_X86, CS_MODE_32, CS_MODE_64, Cs

    engine = Cs(CS_ARCH_X86, CS_MODE_64 if bits == 64 else CS_MODE_32)
    return [f"{at:#x}: {name} {text}" for at, _, name, text in engine.disasm_lite(code, pc, 4)]
