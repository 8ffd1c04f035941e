"""Shell scripts give the same output and status under lxemu as natively, in both ABIs.

Each script of `busybox/` runs in an empty directory by the static busybox of the distribution, so
that the applets, not the host's tools, do the work.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import ABIS, Outcome, busybox, execute, lxemu, lxemu_env, runs_natively

SCRIPTS = sorted((Path(__file__).parent / "busybox").glob("*.sh"))
CASES = [
    pytest.param(script, abi, id=f"{script.stem}-{abi}", marks=pytest.mark.busybox(abi))
    for script in SCRIPTS
    for abi in ABIS
]


def environment(program: Path) -> dict[str, str]:
    """Return the whole environment of a script; BB is the busybox that runs it."""
    return {"BB": str(program), "PATH": "/usr/bin:/bin", "HOME": "/", "LC_ALL": "C", "TZ": "UTC"}


def natively(script: Path, abi: str, directory: Path) -> Outcome:
    """Run the script by the host's kernel."""
    program = busybox(abi)
    assert program is not None
    return execute([program, "sh", script], directory, env=environment(program))


def emulated(script: Path, abi: str, directory: Path) -> Outcome:
    """Run the script in lxemu, with the leak check."""
    program = busybox(abi)
    assert program is not None
    given = [w for item in environment(program).items() for w in ("-e", "=".join(item))]
    command = lxemu("run", "--clean-env", "--check-leaks", *given, "--", program, "sh", script)
    return execute(command, directory, env=lxemu_env(), timeout=120)


@pytest.mark.parametrize(("script", "abi"), CASES)
def test_script_behaves_as_natively(script: Path, abi: str, tmp_path: Path):
    if not runs_natively(abi):
        pytest.skip("this host does not run the ABI natively")
    directory = tmp_path / "here"
    directory.mkdir()
    guest = emulated(script, abi, directory)
    assert not any(directory.iterdir()), "the private layer leaked to the host"
    host = natively(script, abi, directory)

    assert host.text() == guest.text(), guest.stderr.decode(errors="replace")
    assert host.stderr == guest.stderr
