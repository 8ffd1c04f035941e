"""/proc/locks: record locks, whole-file locks and leases (proc_locks(5); Linux fs/locks.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lxemu.kernel.vfs.fcntl import F_RDLCK, F_WRLCK
from lxemu.kernel.vfs.locks import TO_END

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxemu.kernel.vfs.file import File
    from lxemu.kernel.vfs.locks import LockList

_KINDS = {F_RDLCK: "READ ", F_WRLCK: "WRITE"}


def locks(machine: Any) -> bytes:
    """Return a line for each lock."""
    lines: list[str] = []
    for pid, file, held in _locked(machine):
        attr = file.vnode.getattr()
        where = f"{attr.fsid >> 32:02x}:{attr.fsid & 0xFFFFFFFF:02x}:{attr.nodeid}"
        for text, owner, extent in _entries(held, pid):
            lines.append(f"{len(lines) + 1}: {text} {owner} {where} {extent}\n")
    return "".join(lines).encode()


def _locked(machine: Any) -> Iterator[tuple[int, File, LockList]]:
    """Return each file with locks once, with a process that has it open."""
    seen: set[int] = set()
    for proc in machine.procs.values():
        if proc.zombie:
            continue
        for _fd, file in proc.files.items():  # noqa: PERF102 -- no dict
            held = file.vnode.locks
            if held is not None and id(held) not in seen:
                seen.add(id(held))
                yield proc.pid, file, held


def _entries(held: LockList, pid: int) -> Iterator[tuple[str, int, str]]:
    """Return kind, owner and extent of each lock of a file; whole-file locks show `pid`."""
    for kind in held.flocks.values():
        yield f"FLOCK  ADVISORY  {_KINDS[kind]}", pid, "0 EOF"
    for lock in held.ranges:
        family = "POSIX " if lock.pid >= 0 else "OFDLCK"
        end = "EOF" if lock.end == TO_END else str(lock.end)
        yield f"{family} ADVISORY  {_KINDS[lock.kind]}", lock.pid, f"{lock.start} {end}"
    for lease in held.leases.values():
        state = "ACTIVE   " if lease.target == lease.kind else "BREAKING "
        yield f"LEASE  {state} {_KINDS[lease.kind]}", pid, "0 EOF"
