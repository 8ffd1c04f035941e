"""`lxemu`: the entry point and its commands.

The modules that a command needs are imported inside it, because people wait for the start of
`lxemu run` (see `lxemu/cli/options.py`).

Exit statuses are a shell's: the guest's own, 128 + signal when a signal killed it, 127 when the
program is not found, 126 when it cannot be executed, 2 for a wrong command line, 70 for an error
inside lxemu.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

from lxemu.cli.options import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

EXIT_USAGE = 2

USAGE = """\
lxemu runs unmodified Linux programs (i386 and x86_64) inside one Python process.

Usage:
  lxemu run [OPTIONS] [--] PROGRAM [ARGS...]      run a program
  lxemu strace [OPTIONS] [--] PROGRAM [ARGS...]   print its system calls as strace does
  lxemu truss [OPTIONS] [--] PROGRAM [ARGS...]    the same as the illumos kernel sees them
  lxemu syscalls [--abi ABI] [--csv]              the table of system calls
  lxemu conformance ltp --root DIR [OPTIONS]      run the Linux Test Project's system call tests
  lxemu --version

`lxemu COMMAND --help` describes the options of a command.
Examples:
  lxemu run /bin/ls -l                 the host's files, read-only below a private layer in memory
  lxemu run --root none ./a.out        nothing but the program, /dev, /proc and /tmp
  lxemu run -v "$PWD:/src" -w /src make    a host directory that the guest may really change
"""


def entry() -> NoReturn:
    """Run the command line of this process and exit with its status."""
    try:
        status = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output has gone: as quiet as any Unix tool. The descriptor is
        # replaced so that the interpreter's own flush at exit finds nothing to complain about.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = 128 + 13
    except KeyboardInterrupt:
        status = 128 + 2
    sys.exit(status)


def main(argv: list[str]) -> int:
    """Carry out *argv* (without the program's name) and return the exit status."""
    if not argv:
        sys.stderr.write(USAGE)
        return EXIT_USAGE
    word, rest = argv[0], argv[1:]
    if word in ("--help", "-h", "help"):
        sys.stdout.write(USAGE)
        return 0
    if word in ("--version", "-V"):
        sys.stdout.write(f"lxemu {_version()}\n")
        return 0
    command = COMMANDS.get(word)
    try:
        if command is None:
            raise UsageError(f"unknown command {word!r}")
        return command(rest)
    except UsageError as error:
        where = f"lxemu {word}" if command is not None else "lxemu"
        sys.stderr.write(f"{where}: {error}. Try: {where} --help\n")
        return EXIT_USAGE


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("lxemu")
    except PackageNotFoundError:
        return "(not installed)"


def _run(argv: list[str]) -> int:
    from lxemu.cli.run import command_run

    return command_run(argv)


def _strace(argv: list[str]) -> int:
    from lxemu.cli.trace import command_trace

    return command_trace("strace", argv)


def _truss(argv: list[str]) -> int:
    from lxemu.cli.trace import command_trace

    return command_trace("truss", argv)


def _syscalls(argv: list[str]) -> int:
    from lxemu.cli.table import command_syscalls

    return command_syscalls(argv)


def _conformance(argv: list[str]) -> int:
    from lxemu.cli.conformance import command_conformance

    return command_conformance(argv)


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "run": _run,
    "strace": _strace,
    "truss": _truss,
    "syscalls": _syscalls,
    "conformance": _conformance,
}
