"""A person at a terminal: prompt, line editing, Ctrl-C, job control keys, exit status."""

from __future__ import annotations

import os
import re
import time

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
    env = lxemu_env({"PATH": os.environ["PATH"], "PS1": "ready> ", "TERM": "xterm", "HOME": "/"})
    child = pexpect.spawn(
        command, words, cwd=str(tmp_path), env=env, timeout=TIMEOUT, dimensions=(24, 80)
    )
    child.expect_exact("ready> ")
    yield child
    child.close(force=True)


def answer(child, keys: str, want: str) -> None:
    """Type *keys* and a line end; *want* must come as a line of its own (the echo does not count).

    The editor prints its prompt again whenever it likes, so prompts are nothing to wait for.
    """
    child.send(keys + "\r")
    child.expect(r"\n" + re.escape(want) + r"\r\n")


def test_commands_answer_at_the_prompt(shell):
    answer(shell, "echo $((6 * 7))", "42")
    answer(shell, "test -t 0 && echo is a tty", "is a tty")
    answer(shell, "stty size", "24 80")


def test_terminal_is_the_console(shell):
    answer(shell, "tty", "/dev/console")
    answer(shell, "echo through its name > /dev/console", "through its name")
    answer(shell, "echo through the other > /dev/tty", "through the other")


def test_background_writer_is_stopped_if_the_terminal_says_so(shell):
    answer(shell, "stty tostop; (sleep 0.3; echo heard) & echo $((1 + 1))", "2")
    time.sleep(1.5)
    shell.send("jobs\r")
    shell.expect(r"\[1\]\+  Stopped \(tty output\)")
    shell.send("fg\r")
    shell.expect(r"\nheard\r\n")
    answer(shell, "stty -tostop; (echo free) & wait; echo done", "done")


def test_line_editing_moves_erases_and_recalls(shell):
    answer(shell, "echo wrogn\x7f\x7fng", "wrong")
    answer(shell, "echo other", "other")
    answer(shell, "\x1b[A\x1b[A", "wrong")  # two lines up in the history
    answer(shell, "cho begin\x01e", "begin")  # Ctrl-A: to the start


def test_interrupt_key_kills_the_foreground_job_only(shell):
    answer(shell, "trap 'echo not me' USR1; echo started; sleep 100", "started")
    time.sleep(0.5)
    shell.send("\x03")
    answer(shell, "echo status $?", "status 130")


def test_suspend_key_stops_the_job_and_fg_continues_it(shell):
    shell.send("sleep 3\r")
    time.sleep(0.7)
    shell.send("\x1a")
    shell.expect(r"\[1\]\+  Stopped +sleep 3\r\n")
    answer(shell, "echo status $?", "status 148")
    answer(shell, "fg; echo continued $?", "continued 0")
    answer(shell, "jobs; echo none left", "none left")


def test_stopped_job_goes_on_in_the_background_and_can_be_killed(shell):
    shell.send("sleep 100\r")
    time.sleep(0.7)
    shell.send("\x1a")
    shell.expect("Stopped")
    shell.send("bg\r")
    shell.expect_exact("[1] sleep 100\r\n")
    answer(shell, "kill %1; wait %1; echo status $?", "status 143")


def test_interrupt_key_discards_a_line(shell):
    shell.send("echo discarded")
    time.sleep(0.3)
    shell.send("\x03")
    answer(shell, "echo kept", "kept")


def test_window_size_follows_the_terminal(shell):
    answer(shell, "stty size", "24 80")
    shell.setwinsize(30, 100)
    answer(shell, "stty size", "30 100")


def test_end_of_file_key_ends_the_shell(shell):
    shell.sendeof()
    shell.expect(pexpect.EOF)
    shell.close()

    assert 0 == shell.exitstatus


def test_exit_status_is_returned(shell):
    shell.send("exit 3\r")
    shell.expect(pexpect.EOF)
    shell.close()

    assert 3 == shell.exitstatus
