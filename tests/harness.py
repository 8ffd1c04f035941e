"""Run the same program natively and in lxemu, in a directory of its own, and compare."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

REPO = Path(__file__).resolve().parent.parent
FIXTURES = REPO / "fixtures"
BUSYBOX = REPO / "build" / "busybox"
ABIS = ("x86_64", "i386")

#: Seconds that one program may take in lxemu before the test fails.
TIMEOUT = 60

sys.path.insert(0, str(FIXTURES))


class Outcome(NamedTuple):
    """What a run leaves: the exit status as a shell gives it, and both outputs."""

    status: int
    stdout: bytes
    stderr: bytes = b""

    def text(self) -> str:
        """Return the standard output and status as one text, for readable differences."""
        return self.stdout.decode(errors="backslashreplace") + f"status {self.status}\n"


def shell_status(returncode: int) -> int:
    """Return what a shell would put into `$?`."""
    return returncode if returncode >= 0 else 128 - returncode


def execute(
    command: list[str | Path],
    cwd: Path,
    *,
    stdin: bytes = b"",
    env: dict[str, str] | None = None,
    timeout: float = TIMEOUT,
) -> Outcome:
    """Run *command* on the host; a time-out kills its whole session and fails the test."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(stdin, timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        stdout, stderr = process.communicate()
        raise AssertionError(
            f"no end after {timeout} s: {' '.join(map(str, command))}\n"
            f"stdout: {stdout[-2000:]!r}\nstderr: {stderr[-2000:]!r}"
        ) from None
    return Outcome(shell_status(process.returncode), stdout, stderr)


def lxemu(*words: str | Path) -> list[str | Path]:
    """Return the command line that runs `lxemu` of this tree."""
    return [sys.executable, "-m", "lxemu", *words]


def lxemu_env(env: dict[str, str] | None = None) -> dict[str, str]:
    """Return the host environment of a run: *env* (default: ours) with this tree importable."""
    out = dict(os.environ if env is None else env)
    out["PYTHONPATH"] = str(REPO)
    return out


@functools.cache
def runs_natively(abi: str) -> bool:
    """Say whether this host executes programs of *abi* itself."""
    if sys.platform != "linux":
        return False
    try:
        probe = FIXTURES / "bin" / abi / "hello" / "hello"
        return subprocess.run([probe], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def busybox(abi: str) -> Path | None:
    """Return the busybox of *abi*, None when it could not be had."""
    path = BUSYBOX / abi / "busybox"
    return path if path.exists() else None
