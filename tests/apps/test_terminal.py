"""A person at a terminal: prompt, line editing, Ctrl-C, job control keys, exit status."""

from __future__ import annotations

import os
import re

import pytest

from tests.harness import ABIS, busybox, lxemu, lxemu_env

pexpect = pytest.importorskip("pexpect")

CASES = [pytest.param(abi, marks=pytest.mark.busybox(abi)) for abi in ABIS]
TIMEOUT = 30


@pytest.fixture(params=CASES)
def shell(request, tmp_path):
    """Return a busybox shell of lxemu on a terminal of its own."""
    program = busybox(request.param)
    command, *words = [str(word) for word in lxemu("run", program, "sh")]
    env = lxemu_env(os.environ | {"PS1": "ready> ", "TERM": "xterm", "HOME": "/"})
    child = pexpect.spawn(
        command, words, cwd=str(tmp_path), env=env, timeout=TIMEOUT, dimensions=(24, 80)
    )
    child.expect_exact("ready> ")
    yield child
    child.close(force=True)


def run(child, line: str) -> str:
    """Type a line and return what is printed up to the next prompt."""
    child.sendline(line)
    child.expect_exact("ready> ")
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", child.before.decode()).replace("\r", "")


def test_commands_answer_at_the_prompt(shell):
    assert "42" in run(shell, "echo $((6 * 7))").splitlines()
    assert "is a tty" in run(shell, "test -t 0 && echo is a tty").splitlines()
    assert "24 80" in run(shell, "stty size").splitlines()


def test_line_editing_moves_erases_and_recalls(shell):
    shell.send("echo wrogn\x7f\x7fng")
    assert "wrong" in run(shell, "").splitlines()
    shell.send("\x1b[A")  # the line before
    assert "wrong" in run(shell, "").splitlines()
    shell.send("cho begin\x01e")  # Ctrl-A: to the start
    assert "begin" in run(shell, "").splitlines()


def test_interrupt_key_kills_the_foreground_job_only(shell):
    shell.sendline("sleep 100")
    shell.expect_exact("sleep 100")
    import time

    time.sleep(0.5)
    shell.send("\x03")
    shell.expect_exact("ready> ")

    assert "130" in run(shell, "echo $?").splitlines()


def test_interrupt_key_discards_a_line(shell):
    shell.send("echo discarded")
    shell.send("\x03")
    shell.expect_exact("ready> ")

    assert "kept" in run(shell, "echo kept").splitlines()


def test_suspend_key_stops_the_job_and_fg_continues_it(shell):
    import time

    shell.sendline("sleep 1; echo finished")
    shell.expect_exact("finished")
    time.sleep(0.4)
    shell.send("\x1a")
    shell.expect_exact("ready> ")
    assert "Stopped" in run(shell, "jobs")
    shell.sendline("fg")
    shell.expect_exact("ready> ")

    assert "still here" in run(shell, "echo still here").splitlines()


def test_window_size_follows_the_terminal(shell):
    shell.setwinsize(30, 100)
    assert "30 100" in run(shell, "stty size").splitlines()


def test_end_of_file_key_ends_the_shell(shell):
    shell.sendeof()
    shell.expect(pexpect.EOF)
    shell.close()

    assert 0 == shell.exitstatus


def test_exit_status_is_returned(shell):
    shell.sendline("exit 3")
    shell.expect(pexpect.EOF)
    shell.close()

    assert 3 == shell.exitstatus
