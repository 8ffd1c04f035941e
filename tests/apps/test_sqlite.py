"""sqlite3 on a host directory: a database that survives the death of lxemu at any moment.

`LXEMU_KILLS=20 pytest tests/apps/test_sqlite.py` kills that often; the suite only a few times.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.harness import execute, lxemu, lxemu_env

KILLS = int(os.environ.get("LXEMU_KILLS", "2"))
ROWS = 20  # that one transaction adds

pytestmark = pytest.mark.skipif(shutil.which("sqlite3") is None, reason="no sqlite3 on this host")


def script(mode: str, transactions: int) -> bytes:
    """Return SQL that adds rows in transactions and prints the count after each commit."""
    row = "INSERT INTO t(a, b) VALUES (hex(randomblob(8)), randomblob(500));"
    lines = [
        f"PRAGMA journal_mode={mode};",
        "PRAGMA synchronous=FULL;",
        "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, a TEXT, b BLOB);",
        "CREATE INDEX IF NOT EXISTS ta ON t(a);",
    ]
    for _ in range(transactions):
        lines += ["BEGIN;", row * ROWS, "UPDATE t SET b = randomblob(600) WHERE id % 9 = 0;"]
        lines += ["COMMIT;", "SELECT count(*) FROM t;"]
    return "\n".join(lines).encode()


def native(database: Path, sql: str) -> str:
    outcome = execute(["sqlite3", database, sql], database.parent)
    return outcome.stdout.decode().strip()


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_database_is_whole_on_the_host(mode: str, tmp_path: Path):
    command = lxemu("run", "-v", f"{tmp_path}:/m", shutil.which("sqlite3"), "/m/db")

    outcome = execute(command, tmp_path, stdin=script(mode, 5), env=lxemu_env())

    assert outcome.status == 0, outcome.stderr
    assert outcome.stdout.split() == [mode.lower().encode(), b"20", b"40", b"60", b"80", b"100"]
    assert native(tmp_path / "db", "PRAGMA integrity_check; SELECT count(*) FROM t") == "ok\n100"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["db"]


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_kill_in_mid_transaction_loses_nothing_committed(mode: str, tmp_path: Path):
    moments = random.Random(mode)
    command = lxemu("run", "-v", f"{tmp_path}:/m", shutil.which("sqlite3"), "/m/db")
    committed = 0
    for _ in range(KILLS):
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=tmp_path,
            env=lxemu_env(),
            start_new_session=True,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            sql = script(mode, 400)
            os.set_blocking(process.stdin.fileno(), False)
            sent = os.write(process.stdin.fileno(), sql[:65536])
            assert sent
            # The mode, then the first counts: it is at work now. Die at a moment of its own.
            for _line in range(3):
                committed = _count(process.stdout.readline(), committed)
            time.sleep(moments.random() * 0.4)
            os.killpg(process.pid, signal.SIGKILL)
            for line in process.stdout:
                committed = _count(line, committed)
        check, count = native(
            tmp_path / "db", "PRAGMA integrity_check; SELECT count(*) FROM t"
        ).split()
        assert check == "ok"
        assert int(count) >= committed
        assert int(count) % ROWS == 0
        committed = int(count)


def _count(line: bytes, before: int) -> int:
    """Return the count that a whole line of output says."""
    text = line.strip()
    return int(text) if line.endswith(b"\n") and text.isdigit() else before
