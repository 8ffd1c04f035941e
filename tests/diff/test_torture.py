"""Random operations on a file and on a tree: the same digest of all results as natively.

The fixtures `torture/fsx` and `torture/tree` are compared on a tmpfs as all are; here with other
seeds, on every kind of file system. By hand, for more of them: `fixtures/bin/x86_64/torture/tree
SEED 100000`, natively and under `lxemu run`; a third argument prints each operation, so that
diff(1) finds the first difference.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path

import pytest

from tests.harness import FIXTURES, execute, lxemu, lxemu_env

COUNT = "1500"
FALLOC_FL_ZERO_RANGE = 0x10


def program(kind: str, abi: str) -> Path:
    return FIXTURES / "bin" / abi / "torture" / kind


def has_zero_range(directory: Path) -> bool:
    """Say whether the host's file system can zero a range (tmpfs, for one, cannot)."""
    with (directory / "probe").open("wb") as probe:
        offset = ctypes.c_longlong
        libc = ctypes.CDLL(None)
        return libc.fallocate(probe.fileno(), FALLOC_FL_ZERO_RANGE, offset(0), offset(4096)) == 0


@pytest.fixture(autouse=True)
def _same_file_system(request: pytest.FixtureRequest, tmp_path: Path):
    if request.node.callspec.params["kind"] == "fsx" and not has_zero_range(tmp_path):
        pytest.skip("the host's file system under the temporary directory has no zeroed ranges")


def native(kind: str, seed: int, directory: Path, abi: str) -> bytes:
    """Run the operations natively in *directory* and return the digest line."""
    directory.mkdir(exist_ok=True)
    outcome = execute([program(kind, abi), str(seed), COUNT], directory)
    assert outcome.status == 0, outcome
    return outcome.stdout


def guest(kind: str, seed: int, directory: str | Path, abi: str, cwd: Path, *options: str | Path):
    """Run them here, as the same user, in a directory of the guest."""
    place = ("--workdir", directory, "--user", f"{os.getuid()}:{os.getgid()}")
    command = lxemu("run", *options, *place, program(kind, abi), str(seed), COUNT)
    outcome = execute(command, cwd, env=lxemu_env())
    assert outcome.status == 0, outcome
    return outcome.stdout


@pytest.mark.native
@pytest.mark.parametrize("abi", ["x86_64", "i386"])
@pytest.mark.parametrize("kind", ["fsx", "tree"])
def test_tmpfs(kind: str, abi: str, tmp_path: Path):
    seed = 11 if abi == "i386" else 12

    expected = native(kind, seed, tmp_path / "native", abi)

    assert guest(kind, seed, "/tmp", abi, tmp_path, "--root", "none") == expected


@pytest.mark.native
@pytest.mark.parametrize("kind", ["fsx", "tree"])
def test_overlay_of_a_tree_that_is_there(kind: str, tmp_path: Path):
    lower, copy = tmp_path / "lower", tmp_path / "copy"
    native("tree", 1, lower, "x86_64")
    # cp, unlike shutil.copytree, copies what is no file or directory too, and knows hard links.
    assert execute([shutil.which("cp") or "cp", "-a", lower, copy], tmp_path).status == 0
    before = sorted(str(path) for path in lower.rglob("*"))

    expected = native(kind, 2, copy, "x86_64")

    assert guest(kind, 2, lower, "x86_64", tmp_path, "--root", "host") == expected
    assert sorted(str(path) for path in lower.rglob("*")) == before


@pytest.mark.native
@pytest.mark.parametrize("kind", ["fsx", "tree"])
def test_host_directory(kind: str, tmp_path: Path):
    (tmp_path / "shared").mkdir()

    expected = native(kind, 13, tmp_path / "native", "x86_64")

    options = ("--root", "none", "-v", f"{tmp_path / 'shared'}:/m:rw")
    assert guest(kind, 13, "/m", "x86_64", tmp_path, *options) == expected
