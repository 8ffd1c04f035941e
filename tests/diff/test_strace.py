"""`lxemu strace` prints what strace(1) prints of the same program on the host's kernel."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import build
import pytest

from tests.diff.test_fixtures import env_of, stdin_of
from tests.harness import ABIS, FIXTURES, execute, lxemu, lxemu_env

#: Programs whose calls do not depend on time or on the order in which processes run.
NAMES = (
    "hello/hello",
    "hello/raw",
    "files/cwd",
    "files/fcntl_dup",
    "files/names",
    "files/open_flags",
    "files/rw_seek",
    "files/truncate",
    "memory/madvise",
    "memory/mmap_basic",
    "memory/mprotect",
    "memory/mremap",
    "memory/segv_null",
    "process/exec_self",
    "process/fork_wait",
    "signals/altstack",
    "signals/mask",
    "creds/setids",
    "sockets/unix_dgram",
    "sockets/unix_seqpacket",
    "sockets/unix_stream",
)
CASES = [
    pytest.param(name, abi, id=f"{name}-{abi}", marks=pytest.mark.native(abi))
    for name in NAMES
    for abi in ABIS
]
#: Where a number is a process id; the ids here are small and meet ordinary numbers.
PID = re.compile(r"(?<=_pid=)\d+|(?<=kill\()\d+|(?<=wait4\()\d+|(?<=P_PID, )\d+")
RETURN_PID = ("fork", "vfork", "clone", "getpid", "gettid", "getppid", "set_tid_address", "wait4")
LINE = re.compile(r"(\d+) +(.*)")
RESUMED = re.compile(r"<\.\.\. \w+ resumed>")


def calls_of(trace: str) -> dict[str, list[str]]:
    """Take a trace of -f apart: the lines of each process, unfinished calls made whole."""
    matches = [LINE.fullmatch(line) for line in trace.splitlines()]
    parts = [match.groups() for match in matches if match is not None]
    names = {pid: f"P{n}" for n, pid in enumerate(sorted({pid for pid, _ in parts}, key=int))}
    out: dict[str, list[str]] = {name: [] for name in names.values()}
    heads: dict[str, str] = {}
    for pid, text in parts:
        if text.endswith(" <unfinished ...>"):
            heads[pid] = text.removesuffix(" <unfinished ...>")
            continue
        line = RESUMED.sub("", heads.pop(pid), count=1) if pid in heads else ""
        line = normal(line + RESUMED.sub("", text, count=1), names)
        # A signal that is ignored is discarded when it is sent, as illumos does; ptrace shows it,
        # and a wait for another child that it happens to interrupt for a moment.
        noticed = line.startswith("wait4(") and "? ERESTARTSYS" in line
        if not line.startswith("--- SIGCHLD") and not noticed:
            out[names[pid]].append(line)
    return out


def normal(line: str, names: dict[str, str]) -> str:
    """Blank what differs from run to run: addresses, process ids, times, padding."""
    line = PID.sub(lambda match: names.get(match.group(), match.group()), line)
    if line.startswith(RETURN_PID):
        line = re.sub(r"\d+$", lambda match: names.get(match.group(), match.group()), line)
    line = re.sub(r"(rt_)?sigreturn\((.*)\) += .*", r"\1sigreturn(\2)", line)
    line = re.sub(r"0x[0-9a-f]{5,}", "PTR", line)
    line = re.sub(r"(kill\(.*SIGKILL\)) += .*", r"\1", line)  # its end is a race
    line = re.sub(r'getcwd\(".*?/[12]/', 'getcwd("', line)
    line = re.sub(r"\|?STATX_BTIME", "", line)  # a matter of the file system
    line = re.sub(r"(st_mode=S_IFDIR[^,]*), st_size=\d+", r"\1", line)
    line = re.sub(r"/\* \d+ vars? \*/", "/* vars */", line)
    line = re.sub(r"si_[us]time=\d+", "si_time", line)
    line = re.sub(r"(st_(?:dev|ino|blksize)|stx_\w+)=[^,}]*", r"\1", line)
    return re.sub(r" += ", " = ", line)


@pytest.mark.skipif(shutil.which("strace") is None, reason="this host has no strace")
@pytest.mark.parametrize(("name", "abi"), CASES)
def test_trace_is_that_of_strace(name: str, abi: str, tmp_path: Path):
    given = build.directives(build.source_of(name))
    command = [FIXTURES / "bin" / abi / name, *given.get("args", "").split()]
    traces = {}
    given_env = [word for pair in env_of(given).items() for word in ("-E", "=".join(pair))]
    guest = lxemu("strace", "--clean-env", *given_env)
    for who, prefix in (("1", ["strace"]), ("2", guest)):
        directory = tmp_path / who / "here"
        directory.mkdir(parents=True)
        out = tmp_path / f"{who}.trace"
        done = execute(
            [*prefix, "-f", "-o", out, *command],
            directory,
            stdin=stdin_of(given),
            env=lxemu_env() if who == "2" else env_of(given) | {"PATH": "/usr/bin:/bin"},
        )
        calls = calls_of(out.read_text())
        lines = [f"{process} {line}" for process in calls for line in calls[process]]
        traces[who] = "\n".join([*lines, f"status {done.status}"])

    assert traces["1"] == traces["2"]
