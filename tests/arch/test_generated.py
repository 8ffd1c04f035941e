"""What is generated is fresh, and nothing of one machine is committed."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.harness import REPO

TEXT = {".py", ".md", ".sh", ".toml", ".c", ".h", ".csv", ".json", ".out", ""}


def committed() -> list[str]:
    """Return the paths of all committed files."""
    done = subprocess.run(
        ["git", "ls-files"], cwd=REPO, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    return done.stdout.splitlines()


def test_support_table_is_fresh():
    done = subprocess.run(
        [sys.executable, "-m", "syscalls.gendocs", "--check"],
        cwd=REPO, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr


def test_no_path_of_this_machine_is_committed():
    home = re.compile(r"/(?:home|Users|root)/\w|" + re.escape(str(REPO)) + r"(?:/|\b)")
    wrong = []
    for name in committed():
        path = REPO / name
        if path.suffix not in TEXT or not path.is_file() or name.startswith("fixtures/bin/"):
            continue
        for n, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if home.search(line):
                wrong.append(f"{name}:{n}: {line.strip()}")

    assert wrong == []
