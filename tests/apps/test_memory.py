"""What a guest's use of memory does to the machine and to the host."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.harness import ABIS, FIXTURES, execute, lxemu, lxemu_env


def program(abi: str, name: str) -> Path:
    return FIXTURES / "bin" / abi / "memory" / name


def run(abi: str, memory: str, *args: str, tmp_path: Path):
    command = lxemu("run", "--check-leaks", "--memory", memory, "--", program(abi, "eaters"))
    return execute([*command, *args], tmp_path, env=lxemu_env())


@pytest.mark.parametrize("abi", ABIS)
@pytest.mark.parametrize(
    ("sizes", "fates"),
    [
        # The largest dies so that the newcomer may go on, until that is the largest.
        (("5", "10", "30", "60"), ["lived", "lived", "killed", "killed"]),
        (("10", "30", "25"), ["lived", "killed", "lived"]),
        (("5", "!30", "35"), ["lived", "lived", "killed"]),
        (("10", "20", "!50"), ["lived", "killed", "lived"]),
    ],
    ids=lambda value: "-".join(value),
)
def test_the_largest_dies_and_the_others_go_on(abi, sizes, fates, tmp_path):
    done = run(abi, "64M", *sizes, tmp_path=tmp_path)
    lines = done.stdout.decode().splitlines()
    kills = fates.count("killed")

    assert done.status == 0
    assert lines[:-1] == [f"{size}: {fate}" for size, fate in zip(sizes, fates, strict=True)]
    assert lines[-1] == f"oom_kill {kills}, most memory free 1"
    assert done.stderr.decode().count("out of memory (64 MiB): killed eaters") == kills


def test_freed_memory_goes_back_to_the_host(tmp_path):
    size = 256
    command = lxemu("run", "--memory", "1G", "--", program("x86_64", "release"), str(size))
    resident: dict[str, int] = {}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path, env=lxemu_env()
    ) as guest:
        assert guest.stdin is not None
        assert guest.stdout is not None
        for line in guest.stdout:
            fields = Path(f"/proc/{guest.pid}/statm").read_text().split()
            resident[line.decode().strip()] = int(fields[1]) * 4 >> 10
            guest.stdin.write(b"x")
            guest.stdin.flush()
    assert guest.returncode == 0

    grown = {name: mb - resident["start"] for name, mb in resident.items()}
    assert min(grown["private"], grown["shared"]) > size * 0.9
    # Some is kept for the next who needs it.
    assert max(grown["dropped"], grown["punched"], grown["closed"]) < size * 0.35
