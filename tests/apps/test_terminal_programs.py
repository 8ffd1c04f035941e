"""Programs that need a terminal, on the host's and on the guest's own: bash with jobs, vi, less."""

from __future__ import annotations

import os
import re
import shutil
import time

import pytest

from tests.harness import ABIS, busybox, lxemu, lxemu_env

pexpect = pytest.importorskip("pexpect")

CASES = [pytest.param(abi, marks=pytest.mark.busybox(abi)) for abi in ABIS]
TIMEOUT = 60
PROMPT = "ready> "


def needs(*programs: str):
    """Skip a test on a host without `programs`."""
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"no {' '.join(missing)} on this host")


@pytest.fixture
def start(tmp_path):
    """Return a function that starts a program in lxemu on a terminal of its own."""
    children = []

    def run(*words, volume: bool = False):
        options = ["-v", f"{tmp_path}:{tmp_path}:rw"] if volume else []
        command, *args = [str(word) for word in lxemu("run", *options, *words)]
        env = lxemu_env(
            {"PATH": os.environ["PATH"], "PS1": PROMPT, "TERM": "xterm", "HOME": str(tmp_path)}
        )
        child = pexpect.spawn(
            command, args, cwd=str(tmp_path), env=env, timeout=TIMEOUT, dimensions=(24, 80)
        )
        children.append(child)
        return child

    yield run
    for child in children:
        child.close(force=True)


def answer(child, keys: str, want: str) -> None:
    """Type *keys* and a line end; *want* must come as a line of its own, which the echo is not."""
    child.send(keys + "\r")
    child.expect(r"[\r\n]" + re.escape(want) + r"\r\n")


def type_slowly(child, *parts: str) -> None:
    """Type with a pause after each part: an escape is no part of what follows it."""
    for part in parts:
        child.send(part)
        time.sleep(0.5)


def ends_with(child, keys: str, status: int) -> None:
    """Type *keys* and a line end; the program must end with *status*."""
    child.send(keys + "\r")
    child.expect(pexpect.EOF)
    child.close()

    assert status == child.exitstatus


def resize(shell, lines: int, columns: int) -> None:
    """Give the window another size at a prompt, and see that the guest knows it.

    Before a prompt bash reads the size and writes it back, which would undo a change in between.
    """
    shell.expect_exact(PROMPT)
    shell.setwinsize(lines, columns)
    time.sleep(0.5)  # script hands it on
    answer(shell, "stty size", f"{lines} {columns}")


def begin(shell, seconds: int) -> None:
    """Start a job in the foreground that lasts, and wait until it has begun."""
    answer(shell, f"sh -c 'echo up; exec sleep {seconds}'", "up")


def use_jobs(shell) -> None:
    """Do what one does with jobs in bash."""
    shell.expect_exact(PROMPT)
    begin(shell, 100)
    shell.send("\x1a")
    shell.expect(r"\[1\]\+  Stopped +sh -c '.*sleep 100'\r\n")
    answer(shell, "echo status $?", "status 148")
    shell.send("jobs\r")
    shell.expect(r"\[1\]\+  Stopped +sh -c '.*sleep 100'\r\n")
    shell.send("bg\r")
    shell.expect(r"\[1\]\+ sh -c '.*sleep 100' &\r\n")
    begin(shell, 50)
    shell.send("\x03")
    answer(shell, "echo status $?", "status 130")
    shell.send("jobs\r")  # only the job in the foreground has been killed
    shell.expect(r"\[1\]\+  Running +sh -c '.*sleep 100' &\r\n")
    shell.send("fg\r")
    shell.expect(r"[\r\n]sh -c '.*sleep 100'\r\n")
    time.sleep(0.5)
    shell.send("\x1a")
    shell.expect("Stopped")
    # Not `kill %1; wait`: bash says nothing of a job that ends while it waits, here and natively.
    shell.send("kill %1\r")
    time.sleep(0.5)
    shell.send("true\r")  # the next prompt tells at the latest
    shell.expect(r"\[1\]\+  Terminated +sh -c '.*sleep 100'\r\n")
    # One that reads is stopped, and stopped again in the background.
    shell.send("cat\r")
    answer(shell, "through cat", "through cat")
    shell.send("\x1a")
    shell.expect(r"\[1\]\+  Stopped +cat\r\n")
    shell.send("bg\r")
    shell.expect(r"\[1\]\+ cat &\r\n")
    time.sleep(0.5)
    shell.send("jobs\r")
    shell.expect(r"\[1\]\+  Stopped +(\(tty input\) +)?cat\r\n")
    shell.send("fg\r")
    shell.expect(r"[\r\n]cat\r\n")
    answer(shell, "again", "again")
    shell.send("\x04")
    answer(shell, "echo cat $?", "cat 0")


@needs("bash")
def test_bash_controls_jobs(start):
    shell = start("/bin/bash", "--norc", "--noprofile", "-i")
    use_jobs(shell)
    resize(shell, 31, 99)
    ends_with(shell, "exit 7", 7)


@needs("bash", "script")
def test_bash_controls_jobs_on_a_terminal_of_the_guest(start):
    shell = start("script", "-qec", "bash --norc --noprofile -i", "/dev/null")
    use_jobs(shell)
    answer(shell, "tty", "/dev/pts/0")
    resize(shell, 31, 99)
    ends_with(shell, "exit 7", 7)


@needs("script")
@pytest.mark.parametrize("abi", CASES)
def test_busybox_shell_on_a_terminal_of_the_guest(start, abi):
    shell = start("script", "-qec", f"{busybox(abi)} sh", "/dev/null")
    answer(shell, "tty", "/dev/pts/0")
    begin(shell, 100)
    shell.send("\x1a")
    shell.expect(r"\[1\]\+  Stopped +sh -c .*sleep 100.*\r\n")
    answer(shell, "kill %1; fg; echo status $?", "status 143")
    begin(shell, 100)
    shell.send("\x03")
    answer(shell, "echo status $?", "status 130")
    ends_with(shell, "exit 4", 4)


@needs("python3", "stty")
def test_python_spawns_on_a_terminal_of_the_guest(start):
    shell = "['sh', '-c', 'tty; read x; echo got $x; exit 2']"
    code = f"import pty, sys; sys.exit(pty.spawn({shell}) >> 8)"
    child = start(shutil.which("python3"), "-c", code)
    child.expect_exact("/dev/pts/0\r\n")
    child.send("words\r")
    child.expect_exact("got words\r\n")
    child.expect(pexpect.EOF)
    child.close()

    assert child.exitstatus == 2


@pytest.mark.parametrize("abi", CASES)
def test_busybox_vi_edits_and_saves(start, tmp_path, abi):
    text = tmp_path / "text"
    text.write_text("one\ntwo\nthree\n")
    # By a short name: a status line wider than the terminal would ask for a key.
    vi = start(busybox(abi), "vi", "text", volume=True)
    vi.expect_exact("three")
    # Down, and a line less; a new line at the end; a change in the first line.
    type_slowly(vi, "jddjonew line\x1b", "1Gxi<\x1b", ":wq\r")
    vi.expect(pexpect.EOF)

    assert text.read_text() == "<ne\nthree\nnew line\n"


@needs("script")
@pytest.mark.busybox("x86_64")
def test_vi_edits_and_saves_on_a_terminal_of_the_guest(start, tmp_path):
    text = tmp_path / "text"
    text.write_text("one\ntwo\n")
    vi = start("script", "-qec", f"{busybox('x86_64')} vi text", "/dev/null", volume=True)
    vi.expect_exact("two")
    type_slowly(vi, "jAand more\x1b", ":wq\r")
    vi.expect(pexpect.EOF)

    assert text.read_text() == "one\ntwoand more\n"


@needs("vim")
def test_vim_edits_and_saves(start, tmp_path):
    text = tmp_path / "text"
    text.write_text("one\ntwo\nthree\n")
    vim = start(shutil.which("vim"), "-u", "NONE", "-i", "NONE", "-n", text, volume=True)
    vim.expect_exact("three")
    type_slowly(vim, "2GAand more\x1b", ":%s/e/E/g\r", ":wq\r")
    vim.expect(pexpect.EOF)

    assert text.read_text() == "onE\ntwoand morE\nthrEE\n"


@needs("less")
def test_less_pages_and_searches(start, tmp_path):
    text = tmp_path / "text"
    text.write_text("".join(f"line {n}\n" for n in range(1, 101)))
    less = start(shutil.which("less"), text)
    less.expect_exact("line 23")
    less.send(" ")
    less.expect_exact("line 46")
    less.send("/line 9.\r")
    less.expect_exact("line 100")
    less.send("1G")
    less.expect_exact("line 23")
    less.send("q")
    less.expect(pexpect.EOF)
    less.close()

    assert less.exitstatus == 0
