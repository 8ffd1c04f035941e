"""Run tests in parallel: each in a process, and so in a machine, of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any, NamedTuple

from lxemu.conformance.result import Result, judge, missing
from lxemu.conformance.suite import BIN, Test, Tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

GUEST_TREE = "/opt/ltp"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OUTPUT_LIMIT = 64 << 10  # bytes kept of a test's output, from its end
TEST_TIMEOUT = 30  # seconds that the suite's own time limits start from


#: A static glibc program crashes when it loads the shared modules that the host's file names.
NSSWITCH = "passwd: files\ngroup: files\nhosts: files\n"


class Settings(NamedTuple):
    """How to run: at once, seconds for each test, the guest's memory, or on the host itself."""

    jobs: int
    timeout: float
    memory: str
    native: bool


class Runner:
    """A pool of threads that each look after one test at a time."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.scratch = _directory("lxemu-conformance-")
        with open(os.path.join(self.scratch, "nsswitch.conf"), "w", encoding="ascii") as names:
            names.write(NSSWITCH)
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopping = False

    def run(self, work: Sequence[tuple[Tree, Test]]) -> Iterator[Result]:
        """Run `work` and yield the results as they come.

        Whoever stops iterating (an exception, Ctrl-C) leaves no test and no file behind.
        """
        pool = ThreadPoolExecutor(self.settings.jobs)
        futures = [pool.submit(self._one, tree, test) for tree, test in work]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            with self._lock:
                self._stopping = True
                for process in self._running:
                    kill(process)
            pool.shutdown(cancel_futures=True)
            shutil.rmtree(self.scratch, ignore_errors=True)

    def _one(self, tree: Tree, test: Test) -> Result:
        if not os.access(tree.program(test), os.X_OK):
            return missing(tree.abi, test)
        directory = _directory(f"{test.id}-", self.scratch)
        stats_path = os.path.join(directory, "stats.json")
        argv, env = command_of(tree, test, self.settings, directory, stats_path)
        started = time.monotonic()
        with tempfile.TemporaryFile() as output:
            status, timed_out = self._watch(argv, env, directory, output.fileno())
            seconds = time.monotonic() - started
            text = _tail(output.fileno())
        outcome, passes = judge(status, text, timed_out=timed_out)
        stats = _read_stats(stats_path)
        shutil.rmtree(directory, ignore_errors=True)
        return Result(
            tree.abi,
            test.id,
            test.area,
            test.family,
            shlex.join(_for_people(argv, stats_path)),
            outcome,
            status,
            passes,
            round(seconds, 2),
            text,
            stats.get("unsupported", []),
            stats.get("cpu_seconds", 0.0),
        )

    def _watch(
        self, argv: list[str], env: dict[str, str], directory: str, output: int
    ) -> tuple[int, bool]:
        """Run one command; return its status and whether the time limit ended it."""
        with self._lock:
            if self._stopping:
                return -signal.SIGKILL, False
            process = subprocess.Popen(
                argv,
                cwd=directory,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            self._running.add(process)
        timed_out = False
        try:
            process.wait(self.settings.timeout)
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            kill(process)  # and what it has left behind
            with self._lock:
                self._running.discard(process)
        return process.wait(), timed_out


def _directory(prefix: str, where: str | None = None) -> str:
    """Make a directory that other users may search: tests give up their uid 0."""
    path = tempfile.mkdtemp(prefix=prefix, dir=where)
    os.chmod(path, 0o755)
    return path


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a test and the group that it leads."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _tail(fd: int) -> str:
    size = os.lseek(fd, 0, os.SEEK_END)
    return os.pread(fd, OUTPUT_LIMIT, max(0, size - OUTPUT_LIMIT)).decode(errors="replace")


def _read_stats(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as source:
            stats: dict[str, Any] = json.load(source)
            return stats
    except (OSError, ValueError):
        return {}  # Natively there is none, nor after a kill.


def command_of(
    tree: Tree, test: Test, settings: Settings, directory: str, stats: str
) -> tuple[list[str], dict[str, str]]:
    """Return the argument vector of a test and its host environment."""
    scale = max(1, round(settings.timeout / TEST_TIMEOUT))
    root = tree.path if settings.native else GUEST_TREE
    variables = {
        "PATH": f"{root}/{BIN}:{SYSTEM_PATH}",
        "LTPROOT": root,
        "TMPDIR": directory if settings.native else "/tmp",
        "LTP_TIMEOUT_MUL": str(scale),
        "LTP_COLORIZE_OUTPUT": "n",
        "KCONFIG_SKIP_CHECK": "1",  # there is no /boot/config to be asked
    }
    if settings.native:
        return [tree.program(test), *test.command[1:]], variables
    argv = [sys.executable, "-m", "lxemu", "run", "--clean-env", "--stats-file", stats]
    argv += ["--user", "0:0", "--memory", settings.memory, "--tmpfs", "/tmp", "--workdir", "/tmp"]
    argv += ["--volume", f"{tree.path}:{GUEST_TREE}:ro"]
    argv += ["--volume", f"{os.path.dirname(directory)}/nsswitch.conf:/etc/nsswitch.conf:ro"]
    for name, value in variables.items():
        argv += ["--env", f"{name}={value}"]
    argv += ["--", f"{GUEST_TREE}/{BIN}/{test.command[0]}", *test.command[1:]]
    return argv, dict(os.environ)


def _for_people(argv: list[str], stats: str) -> list[str]:
    """Return `argv` as one would type it."""
    if stats not in argv:
        return argv
    at = argv.index(stats)
    return ["lxemu", *argv[3 : at - 1], *argv[at + 1 :]]
