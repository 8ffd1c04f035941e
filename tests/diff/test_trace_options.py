"""The options of `lxemu strace` and `lxemu truss`, over a program whose calls are known."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.harness import ABIS, FIXTURES, execute, lxemu, lxemu_env


def trace(directory: Path, *words: str | Path) -> tuple[int, list[str], list[str]]:
    """Run a trace; return the status and the lines of both outputs."""
    done = execute(lxemu(*words), directory, env=lxemu_env())
    return done.status, done.stdout.decode().splitlines(), done.stderr.decode().splitlines()


def program(name: str, abi: str = "x86_64") -> Path:
    return FIXTURES / "bin" / abi / name


@pytest.mark.parametrize("abi", ABIS)
def test_raw_program_has_two_calls_and_an_exit(abi: str, tmp_path: Path):
    status, _, lines = trace(tmp_path, "strace", program("hello/raw", abi))

    assert 42 == status
    assert re.fullmatch(
        r'execve\(".*/raw", \[".*"\.*\], 0x[0-9a-f]+ /\* \d+ vars \*/\) = 0', lines[0]
    )
    assert ['write(1, "raw hello\\n", 10)             = 10', "+++ exited with 42 +++"] == lines[
        1::2
    ]
    assert "exit_group(42)                          = ?" == lines[2]


def test_selection_by_name_set_and_negation(tmp_path: Path):
    shown = {
        "trace=write": {"write"},
        "trace=%desc": {"write"},
        "exit_group": {"exit_group"},
        "trace=!write": {"execve", "exit_group"},
        "trace=/^exit": {"exit_group"},
        "trace=none": set(),
        "trace=all": {"execve", "write", "exit_group"},
    }
    for expression, names in shown.items():
        _, _, lines = trace(tmp_path, "strace", "-e", expression, program("hello/raw"))
        found = {line.partition("(")[0] for line in lines if not line.startswith("+++")}

        assert names == found, expression


def test_summary_counts_calls_and_errors(tmp_path: Path):
    status, _, lines = trace(tmp_path, "strace", "-c", program("files/rw_seek"))
    counts = {line.split()[-1]: line.split() for line in lines}

    assert 0 == status
    assert "% time     seconds  usecs/call     calls    errors syscall" == lines[0]
    assert ["2", "1"] == counts["close"][3:5] or ["3", "1"] == counts["close"][3:5]
    assert "total" in counts


def test_children_are_followed_only_when_asked(tmp_path: Path):
    name = program("process/fork_wait")
    _, _, alone = trace(tmp_path, "strace", "-e", "trace=exit_group", name)
    _, _, followed = trace(tmp_path, "strace", "-f", "-e", "trace=exit_group", name)

    assert 1 == sum("exit_group" in line for line in alone)
    assert 9 == sum("+++" in line for line in followed)
    assert 8 == sum("attached" in line for line in followed)
    assert any(line.startswith("[pid ") for line in followed)


def test_file_has_the_trace_and_the_terminal_the_output(tmp_path: Path):
    out = tmp_path / "out"
    status, stdout, stderr = trace(tmp_path, "strace", "-o", out, program("hello/raw"))

    assert (42, ["raw hello"], []) == (status, stdout, stderr)
    assert 4 == len(out.read_text().splitlines())


def test_strings_are_cut_at_the_limit(tmp_path: Path):
    _, _, lines = trace(tmp_path, "strace", "-s", "3", "-e", "write", program("hello/raw"))

    assert 'write(1, "raw"..., 10)                  = 10' == lines[0]


def test_stamps_and_durations(tmp_path: Path):
    _, _, lines = trace(tmp_path, "strace", "-ttt", "-T", "-e", "write", program("hello/raw"))

    assert re.fullmatch(r'\d{10}\.\d{6} write\(1, "raw hello\\n", 10\) += 10 <\d\.\d{6}>', lines[0])


def test_killed_program_ends_its_trace_with_the_signal(tmp_path: Path):
    status, _, lines = trace(tmp_path, "strace", program("memory/segv_null"))

    assert 139 == status
    assert "--- SIGSEGV {si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=NULL} ---" == lines[-2]
    assert re.fullmatch(r"\+\+\+ killed by SIGSEGV( \(core dumped\))? \+\+\+", lines[-1])


def test_truss_shows_what_the_kernel_sees(tmp_path: Path):
    status, _, lines = trace(tmp_path, "truss", program("files/open_flags"))
    opens = [line for line in lines if line.startswith("open")]

    assert 0 == status
    assert any("O_RDWR|O_CREAT|O_EXCL" in line and "Err#17 EEXIST" in line for line in opens)
    assert any("Err#90 ELOOP" in line for line in opens)  # 40 on the other side


def test_trace_goes_on_when_the_program_closes_its_standard_error(tmp_path: Path):
    _, stdout, lines = trace(
        tmp_path, "strace", "-e", "trace=write", "sh", "-c", "exec 2>&-; echo x"
    )

    assert ["x"] == stdout
    assert any('write(1, "x\\n", 2)' in line for line in lines)
