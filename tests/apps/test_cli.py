"""The command line: exit statuses as a shell gives them, one clear line for each wrong input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.harness import ABIS, FIXTURES, execute, lxemu, lxemu_env

HELLO = FIXTURES / "bin" / "x86_64" / "hello" / "hello"


def cli(*words: str | Path, cwd: Path, stdin: bytes = b"", env: dict[str, str] | None = None):
    """Run lxemu and return its outcome."""
    return execute(lxemu(*words), cwd, stdin=stdin, env=lxemu_env(env))


def check_complaint(outcome, status: int, *needles: str) -> None:
    """One line on standard error that begins with our name, nothing on standard output."""
    text = outcome.stderr.decode()

    assert (status, b"") == (outcome.status, outcome.stdout), text
    assert text.count("\n") == 1, text
    assert text.startswith("lxemu"), text
    for needle in needles:
        assert needle in text, text


def elf(path: Path, edit) -> Path:
    """Write a copy of hello with *edit* applied to its bytes."""
    data = bytearray(HELLO.read_bytes())
    path.write_bytes(bytes(edit(data) or data))
    path.chmod(0o755)
    return path


def set_machine(data: bytearray, machine: int) -> None:
    data[18:20] = machine.to_bytes(2, "little")


def text_file(directory: Path) -> Path:
    path = directory / "text"
    path.write_text("just text\n")
    path.chmod(0o755)
    return path


def unreadable(directory: Path) -> Path:
    path = directory / "unreadable"
    shutil.copy(HELLO, path)
    path.chmod(0)
    return path


WRONG_INPUTS = {
    "missing file": (lambda d: d / "none", 127, "not found"),
    "missing directory": (lambda d: d / "no" / "ne", 127, "not found"),
    "below a file": (lambda d: text_file(d) / "x", 127, "not found"),
    "directory": (lambda d: d, 126, "directory"),
    "text file": (text_file, 126, "not an executable"),
    "empty file": (lambda d: elf(d / "empty", lambda _: b"\0"), 126, "not an executable"),
    "short ELF": (lambda d: elf(d / "short", lambda b: b[:40]), 126, ""),
    "truncated ELF": (lambda d: elf(d / "cut", lambda b: b[:100]), 126, ""),
    "arm64 ELF": (lambda d: elf(d / "arm", lambda b: set_machine(b, 183)), 126, ""),
    "not executable": (unreadable, 126, "permission denied"),
    "missing interpreter": (
        lambda d: elf(d / "script", lambda _: b"#!/no/such/interpreter\n"),
        127,
        "not found",
    ),
}


@pytest.mark.parametrize("kind", WRONG_INPUTS)
def test_wrong_program_is_one_line_and_the_status_of_a_shell(kind: str, tmp_path: Path):
    make, status, needle = WRONG_INPUTS[kind]

    check_complaint(cli("run", make(tmp_path), cwd=tmp_path), status, needle)


@pytest.mark.parametrize("root", ["host", "none"])
def test_unknown_name_is_searched_in_path_and_not_found(root: str, tmp_path: Path):
    outcome = cli("run", "--root", root, "no-such-program", cwd=tmp_path)

    check_complaint(outcome, 127, "no-such-program", "not found")


def test_path_search_prefers_executables_and_reports_permission(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "prog").write_text("not executable")
    path = f"{tmp_path}/a"
    outcome = cli("run", "prog", cwd=tmp_path, env=os.environ | {"PATH": path})
    check_complaint(outcome, 126, "permission denied")

    (tmp_path / "b").mkdir()
    shutil.copy(HELLO, tmp_path / "b" / "prog")
    env = os.environ | {"PATH": f"{path}:{tmp_path}/b"}

    assert cli("run", "prog", cwd=tmp_path, env=env) == (0, b"hello\n", b"")


WRONG_OPTIONS = {
    "no command": ([], ""),
    "unknown command": (["walk"], "unknown command"),
    "no program": (["run"], "no PROGRAM"),
    "unknown option": (["run", "--bogus", "x"], "--bogus"),
    "option without value": (["run", "--root"], "needs a value"),
    "volume without guest": (["run", "-v", "/tmp", "x"], "bad volume"),
    "volume with a bad mode": (["run", "-v", "/tmp:/x:rx", "x"], "bad volume"),
    "relative volume": (["run", "-v", "/tmp:x", "x"], "absolute"),
    "missing volume": (["run", "-v", "/none/at/all:/x", "x"], "does not exist"),
    "bad variable": (["run", "-e", "=x", "x"], "bad variable"),
    "bad user": (["run", "-u", "root", "x"], "bad user"),
    "bad memory": (["run", "--memory", "lots", "x"], "not a size"),
    "bad root": (["run", "--root", "/none/at/all", "x"], "bad root"),
    "bad seed": (["run", "--deterministic", "x", "x"], "bad seed"),
    "relative directory": (["run", "-w", "x", "x"], "absolute"),
    "missing directory": (["run", "-w", "/none/at/all", "/bin/sh"], "does not exist"),
    "file for a directory": (["run", "-w", "/etc/passwd", "/bin/sh"], "not a directory"),
    "bad trace set": (["strace", "-e", "trace=bogus", "x"], "invalid system call"),
    "bad trace file": (["strace", "-o", "/none/x", "x"], "cannot write"),
    "bad ABI": (["syscalls", "--abi", "arm"], "bad ABI"),
}


@pytest.mark.parametrize("kind", WRONG_OPTIONS)
def test_wrong_option_is_status_2(kind: str, tmp_path: Path):
    words, needle = WRONG_OPTIONS[kind]
    outcome = cli(*words, cwd=tmp_path)

    if not words:
        assert (2, b"") == (outcome.status, outcome.stdout)
        assert b"Usage" in outcome.stderr
    else:
        check_complaint(outcome, 2, needle)


def test_working_directory_behind_one_that_the_user_may_not_search(tmp_path: Path):
    volume = tmp_path / "volume"
    (volume / "closed" / "inside").mkdir(parents=True)
    (volume / "closed").chmod(0)
    options = ["-v", f"{volume}:/volume", "-u", "1000"]

    inside = cli("run", *options, "-w", "/volume/closed/inside", HELLO, cwd=tmp_path)
    closed = cli("run", *options, "-w", "/volume/closed", HELLO, cwd=tmp_path)
    (volume / "closed").chmod(0o755)

    check_complaint(inside, 2, "permission denied")
    assert closed == (0, b"hello\n", b"")


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["strace", "--help"]])
def test_help_goes_to_standard_output(words: list[str], tmp_path: Path):
    outcome = cli(*words, cwd=tmp_path)

    assert (0, b"") == (outcome.status, outcome.stderr)
    assert b"Usage" in outcome.stdout


def test_syscalls_prints_both_tables(tmp_path: Path):
    outcome = cli("syscalls", "openat", "mmap2", cwd=tmp_path)
    lines = [line.split()[:3] for line in outcome.stdout.decode().splitlines()]

    assert 0 == outcome.status
    assert [
        ["x86_64", "257", "openat"],
        ["i386", "192", "mmap2"],
        ["i386", "295", "openat"],
    ] == lines


@pytest.mark.parametrize("abi", ABIS)
def test_exit_status_and_signal_are_the_guests(abi: str, tmp_path: Path):
    raw = FIXTURES / "bin" / abi / "hello" / "raw"
    null = FIXTURES / "bin" / abi / "memory" / "segv_null"

    assert cli("run", raw, cwd=tmp_path) == (42, b"raw hello\n", b"")
    assert cli("run", null, cwd=tmp_path) == (139, b"before\n", b"")


def test_stats_shows_registers_and_disassembly_of_a_crash(tmp_path: Path):
    null = FIXTURES / "bin" / "x86_64" / "memory" / "segv_null"
    outcome = cli("run", "--stats", null, cwd=tmp_path)

    assert 139 == outcome.status
    for needle in (b"rip", b"rsp", b"mov", b"SIGSEGV", b"unsupported"):
        assert needle in outcome.stderr, outcome.stderr.decode()


def test_root_none_holds_the_program_and_nothing_of_the_host(tmp_path: Path):
    outcome = cli("run", "--root", "none", HELLO, cwd=tmp_path)
    assert outcome == (0, b"hello\n", b"")

    outcome = cli(
        "run", "--root", "none", "-v", f"{FIXTURES}:/f:ro", "/f/bin/i386/hello/hello", cwd=tmp_path
    )
    assert outcome == (0, b"hello\n", b"")


def test_root_directory_is_read_only_below_a_private_layer(tmp_path: Path):
    (tmp_path / "bin").mkdir()
    shutil.copy(FIXTURES / "bin" / "x86_64" / "files" / "names", tmp_path / "bin" / "names")
    outcome = cli("run", "--root", tmp_path, "-w", "/bin", "names", cwd=tmp_path)

    assert 0 == outcome.status, outcome
    assert ["bin", "bin/names"] == sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*"))


def test_environment_options(tmp_path: Path):
    program = FIXTURES / "bin" / "x86_64" / "args" / "args_env"
    env = os.environ | {"PASSED": "on"}
    words = ["run", "--clean-env", "-e", "A=1", "-e", "PASSED", "-e", "NOTHERE", "-e", "B="]
    outcome = cli(*words, "--", program, "-e", "arg", cwd=tmp_path, env=env)

    assert outcome.stdout.decode().splitlines() == [
        "argc 3", "argv[1] -e", "argv[2] arg", "env A=1", "env PASSED=on", "env B=",
    ]  # fmt: skip


def test_closed_reader_is_quiet(tmp_path: Path):
    command = " ".join(map(str, lxemu("run", "yes", "text")))
    outcome = execute(
        ["bash", "-c", f"{command} | head -2; echo ${{PIPESTATUS[0]}}"], tmp_path, env=lxemu_env()
    )

    assert outcome == (0, b"text\ntext\n141\n", b"")


@pytest.mark.parametrize(("sig", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_to_the_emulator_reaches_the_guest(sig: int, status: int, tmp_path: Path):
    script = "trap 'echo got it' USR1; echo ready; sleep 100"
    process = subprocess.Popen(
        lxemu("run", "--", "sh", "-c", f"exec sh -c \"{script}\""),
        cwd=tmp_path, env=lxemu_env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert b"ready\n" == process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(sig)
    stdout, stderr = process.communicate(timeout=30)

    assert (status, b"", b"") == (process.returncode % 256, stdout, stderr)


def test_standard_input_is_passed_through(tmp_path: Path):
    assert cli("run", "cat", cwd=tmp_path, stdin=b"through\0binary\xff") == (
        0,
        b"through\0binary\xff",
        b"",
    )


def test_closed_standard_streams_are_closed_in_the_guest(tmp_path: Path):
    command = " ".join(map(str, lxemu("run", "sh", "-c", "'cat <&0 2>/dev/null; echo $?'")))
    outcome = execute(["bash", "-c", f"{command} <&-"], tmp_path, env=lxemu_env())

    assert (0, b"1\n") == outcome[:2] or (0, b"2\n") == outcome[:2], outcome


def test_deterministic_runs_are_equal(tmp_path: Path):
    uuid = "cat /proc/sys/kernel/random/uuid 2>/dev/null"
    script = f"echo $$; date +%N; {uuid}; od -An -N8 -tx8 /dev/urandom"
    runs = {
        cli("run", "--deterministic", "7", "--", "sh", "-c", script, cwd=tmp_path) for _ in range(2)
    }

    assert 1 == len(runs)
    assert 0 == runs.pop().status


def test_installed_command_starts_without_slow_imports(tmp_path: Path):
    slow = ("click", "rich", "capstone", "elftools", "argparse", "subprocess", "asyncio")
    code = (
        f"import sys; from lxemu.cli.main import main; main(['run', {str(HELLO)!r}])\n"
        f"sys.stderr.write(' '.join(m for m in {slow!r} if m in sys.modules))"
    )
    outcome = execute([*lxemu()[:1], "-c", code], tmp_path, env=lxemu_env())

    assert outcome == (0, b"hello\n", b"")


def test_tmpfs_option_gives_a_limited_tree(tmp_path: Path):
    outcome = cli(
        *("run", "--root", "host", "--tmpfs", f"{tmp_path}:size=64K", "/bin/sh", "-c"),
        "ls -A; head -c 100000 /dev/zero > full; echo $?; stat -c %s full",
        cwd=tmp_path,
    )

    assert outcome.stdout == b"1\n65536\n", outcome
    assert b"No space left" in outcome.stderr
    for bad in ("tmp", "/tmp:mode=1", "/tmp:size=x"):
        check_complaint(cli("run", "--tmpfs", bad, HELLO, cwd=tmp_path), 2, bad.split("=")[-1])


def test_stats_file_is_json(tmp_path: Path):
    path = tmp_path / "stats.json"
    outcome = cli("run", "--stats-file", path, "/bin/sh", "-c", "exit 3", cwd=tmp_path)

    assert outcome.status == 3
    stats = json.loads(path.read_text())
    assert (stats["status"], stats["processes"], stats["unsupported"]) == (3, 1, [])
    outcome = cli("run", "--stats-file", tmp_path / "no" / "x", HELLO, cwd=tmp_path)
    assert outcome.status == 70
    assert outcome.stderr.count(b"\n") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_full_host_disk_is_told_in_one_line(tmp_path: Path):
    disk = tmp_path / "disk"
    disk.mkdir()
    small = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if subprocess.run(small, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    script = (
        "import mmap\n"
        "f = open('/m/full', 'w+b'); f.truncate(1 << 20); m = mmap.mmap(f.fileno(), 1 << 20)\n"
        "for at in range(0, 1 << 20, 4096): m[at] = 1\n"
        "open('/m/other', 'w').write('whole')\n"
        "try: open('/tmp/more', 'wb').write(open('/m/full', 'rb').read())\n"
        "finally: print('alive', flush=True)\n"
    )
    try:
        outcome = cli("run", "-v", f"{disk}:/m", "python3", "-S", "-c", script, cwd=tmp_path)
        assert (outcome.status, outcome.stdout) == (74, b"alive\n"), outcome.stderr
        assert outcome.stderr == b"lxemu: /m: data could not be written back: ENOSPC\n"
        assert (disk / "other").read_text() == "whole"
    finally:
        subprocess.run(["umount", disk], check=False)
