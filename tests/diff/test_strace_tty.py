"""The requests of terminals in `lxemu strace`, as strace(1) writes them."""

from __future__ import annotations

import re
import shutil

import pytest

from tests.harness import ABIS, FIXTURES, execute, lxemu, lxemu_env

#: What differs from run to run, and the names of another driver's requests with equal numbers.
VARYING = (
    (re.compile(r"SNDCTL_TMR_(START|STOP) or "), ""),
    (re.compile(r"0x(7f|ff)[0-9a-f]{6,}"), "ADDRESS"),
    (re.compile(r"(TIOCGPTN|TIOCGDEV), \[\d+\]"), r"\1, [N]"),
    (re.compile(r" +="), " ="),
)
CASES = [pytest.param(abi, marks=pytest.mark.native(abi)) for abi in ABIS]


def requests(path) -> list[str]:
    """Return the ioctl calls of a trace without what varies."""
    text = path.read_text()
    for pattern, instead in VARYING:
        text = pattern.sub(instead, text)
    return re.findall(r"ioctl\(.*", text)


@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace on this host")
@pytest.mark.parametrize("abi", CASES)
@pytest.mark.parametrize("name", ["modes", "packet", "pair", "winsize"])
def test_requests_are_written_as_strace_does(abi, name, tmp_path):
    program = FIXTURES / "bin" / abi / "tty" / name
    words = ["-o", tmp_path / "native", "-e", "trace=ioctl", program]
    execute(["strace", *words], tmp_path)
    words[1] = tmp_path / "guest"
    execute(lxemu("strace", *words), tmp_path, env=lxemu_env())

    assert requests(tmp_path / "native") == requests(tmp_path / "guest")
