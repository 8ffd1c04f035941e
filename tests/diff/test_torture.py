"""Random operations on a file and on a tree: the same digest of all results as natively.

By hand, for more of them: `fixtures/bin/x86_64/files/torture tree SEED 100000 DIR`, natively and
under `lxemu run`; `-v` prints each operation, so that diff(1) finds the first difference.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.harness import FIXTURES, execute, lxemu, lxemu_env

COUNT = "1500"


def program(abi: str) -> Path:
    return FIXTURES / "bin" / abi / "files" / "torture"


def native(kind: str, seed: int, directory: Path, abi: str) -> bytes:
    """Run the operations natively in *directory* and return the digest line."""
    directory.mkdir(exist_ok=True)
    outcome = execute([program(abi), kind, str(seed), COUNT, directory], directory)
    assert outcome.status == 0, outcome
    return outcome.stdout


def guest(kind: str, seed: int, directory: str | Path, abi: str, cwd: Path, *options: str | Path):
    command = lxemu("run", *options, program(abi), kind, str(seed), COUNT, directory)
    outcome = execute(command, cwd, env=lxemu_env())
    assert outcome.status == 0, outcome
    return outcome.stdout


@pytest.mark.native
@pytest.mark.parametrize("abi", ["x86_64", "i386"])
@pytest.mark.parametrize("kind", ["file", "tree"])
def test_tmpfs(kind: str, abi: str, tmp_path: Path):
    seed = 11 if abi == "i386" else 12

    expected = native(kind, seed, tmp_path / "native", abi)

    assert guest(kind, seed, "/tmp", abi, tmp_path, "--root", "none") == expected


@pytest.mark.native
@pytest.mark.parametrize("kind", ["file", "tree"])
def test_overlay_of_a_tree_that_is_there(kind: str, tmp_path: Path):
    lower, copy = tmp_path / "lower", tmp_path / "copy"
    native("tree", 1, lower, "x86_64")
    shutil.copytree(lower, copy, symlinks=True)
    before = sorted(str(path) for path in lower.rglob("*"))

    expected = native(kind, 2, copy, "x86_64")

    assert guest(kind, 2, lower, "x86_64", tmp_path, "--root", "host") == expected
    assert sorted(str(path) for path in lower.rglob("*")) == before
