"""Every guest program gives the native output and status, in both ABIs, and leaks nothing.

The reference is the same binary run by the host's own kernel where that is possible, and the golden
output recorded from such a run elsewhere.
"""

from __future__ import annotations

from pathlib import Path

import build
import pytest

from tests.harness import FIXTURES, Outcome, execute, lxemu, lxemu_env, runs_natively

CASES = [(name, abi) for name, abi, _ in build.programs() if not name.startswith("bench/")]


def reference(name: str, abi: str, scratch: Path, given: dict[str, str]) -> str:
    """Return what the program prints natively, ended by its status line.

    A busy host may have the native kernel finish things in another order than when the golden
    output was made; it gets two more tries to do so again.
    """
    golden = build.golden_path(name, abi).read_text(errors="backslashreplace")
    if "differs" in given or not runs_natively(abi) or ("root" in given and not is_root()):
        return golden
    command = [FIXTURES / "bin" / abi / name, *given.get("args", "").split()]
    for attempt in ("one", "two", "three"):
        where = scratch / attempt
        where.mkdir()
        text = execute(command, where, stdin=stdin_of(given), env=env_of(given)).text()
        if text == golden:
            break
    return text


def is_root() -> bool:
    """Return whether this process could mount something."""
    status = Path("/proc/self/status").read_text()
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return int(effective.split()[1], 16) >> 21 & 1 == 1


def stdin_of(given: dict[str, str]) -> bytes:
    """Return the standard input that a source asks for."""
    return given.get("stdin", "").replace("\\n", "\n").encode()


def env_of(given: dict[str, str]) -> dict[str, str]:
    """Return the environment that a source asks for."""
    return dict(pair.split("=", 1) for pair in given.get("env", "").split())


def emulate(name: str, abi: str, scratch: Path, given: dict[str, str]) -> Outcome:
    """Run the program in lxemu, with the leak check at its end."""
    guest_env = [word for pair in given.get("env", "").split() for word in ("-e", pair)]
    program = FIXTURES / "bin" / abi / name
    user = ["-u", "0:0"] if "root" in given else []
    command = lxemu("run", "--check-leaks", "--clean-env", *user, *guest_env, "--", program)
    command += given.get("args", "").split()
    return execute(command, scratch, stdin=stdin_of(given), env=lxemu_env())


@pytest.mark.parametrize(("name", "abi"), CASES, ids=[f"{name}-{abi}" for name, abi in CASES])
def test_program_behaves_as_natively(name: str, abi: str, tmp_path: Path):
    given = build.directives(build.source_of(name))
    for part in ("native", "guest"):
        (tmp_path / part).mkdir()
    expected = reference(name, abi, tmp_path / "native", given)
    outcome = emulate(name, abi, tmp_path / "guest", given)

    assert expected == outcome.text(), outcome.stderr.decode(errors="replace")
    assert not any((tmp_path / "guest").iterdir()), "the private layer leaked to the host"


def test_golden_output_exists_for_every_program():
    missing = [
        f"{name} ({abi})"
        for name, abi, _ in build.programs()
        if not name.startswith("bench/") and not build.golden_path(name, abi).exists()
    ]

    assert missing == []


def test_binaries_are_those_of_their_sources():
    sums = build.read_sums()
    stale = [path for path, digest in sums.items() if digest != build.sha256(FIXTURES / path)]

    assert stale == []
    assert {f"bin/{abi}/{name}" for name, abi, _ in build.programs()} <= set(sums)
