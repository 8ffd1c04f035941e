"""`lxemu strace` and `lxemu truss`: run a program and print its system calls."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lxemu.cli.options import Option, UsageError, help_lines, parse
from lxemu.cli.run import HELP, PLACE, request_of

if TYPE_CHECKING:
    from lxemu.cli.options import Values
    from lxemu.observe.tracer import Tracer

#: Place options keep their long names only: the short ones mean something else to strace.
TRACE = (
    Option(("-f", "--follow-forks"), "follow child processes and threads"),
    Option(("-c", "--summary-only"), "count calls, errors and time instead of printing"),
    Option(("-o", "--output"), "write the trace to FILE", "FILE"),
    Option(("-e", "--trace"), "trace=SET: names, %file, %desc, /regex, !SET", "EXPR", True),
    Option(("-s", "--string-limit"), "print at most N bytes of a string (32)", "N"),
    Option(("-v", "--no-abbrev"), "print structures and environments in full"),
    Option(("-E", "--env"), "set a variable of the program", "NAME=VALUE", True),
    Option(("-t", "--absolute-timestamps"), "print the time (-tt: microseconds, -ttt: since 1970)"),
    Option(("-r", "--relative-timestamps"), "print the time since the line before"),
    Option(("-T", "--syscall-times"), "print the time that a call took"),
)  # fmt: skip
LONG_PLACE = tuple(
    option._replace(names=tuple(name for name in option.names if name.startswith("--")))
    for option in PLACE
)
OPTIONS = (*TRACE, *LONG_PLACE, HELP)

SUMMARY = {
    "strace": "Run PROGRAM and print its system calls on standard error, in strace's format.",
    "truss": "Run PROGRAM and print its system calls as the illumos kernel inside sees them.",
}


def command_trace(kind: str, argv: list[str]) -> int:
    """Carry out `lxemu strace` or `lxemu truss`."""
    values, operands = parse(OPTIONS, argv)
    if values.flag("help"):
        usage = f"Usage: lxemu {kind} [OPTIONS] [--] PROGRAM [ARGS...]\n"
        sys.stdout.write("\n".join((usage, SUMMARY[kind], "", *help_lines(OPTIONS), "")))
        return 0
    request = request_of(values, operands)
    from lxemu.cli.launch import launch

    tracer = make_tracer(kind, values)
    try:
        return launch(request, tracer)
    finally:
        tracer.close()


def make_tracer(kind: str, values: Values) -> Tracer:
    """Build the tracer that the options ask for."""
    from lxemu.observe.select import ExpressionError, Selection
    from lxemu.observe.strace import Strace, open_output
    from lxemu.observe.summary import Summary
    from lxemu.observe.truss import Truss
    from syscalls.abi.trace import Style

    try:
        selection = Selection([_trace_set(text) for text in values.all("trace")])
    except ExpressionError as error:
        raise UsageError(str(error)) from None
    limit = values.value("string_limit") or "32"
    if not limit.isdigit():
        raise UsageError(f"bad length {limit!r}: it must be a number")
    style = Style(strlen=int(limit), verbose=values.flag("no_abbrev"), native=kind == "truss")
    try:
        out, to_file = open_output(values.value("output"))
    except OSError as error:
        raise UsageError(f"cannot write {values.value('output')!r}: {error.strerror}") from None
    follow = values.flag("follow_forks")
    if values.flag("summary_only"):
        return Summary(selection, style, out, follow=follow)
    if kind == "truss":
        return Truss(selection, style, out, follow=follow)
    return Strace(
        selection,
        style,
        out,
        follow=follow,
        to_file=to_file,
        stamp=_stamp(values),
        durations=values.flag("syscall_times"),
    )


def _trace_set(text: str) -> str:
    """Return the set of `-e trace=SET`, or of the short form `-e SET`."""
    key, equals, value = text.partition("=")
    if not equals:
        return text
    if key not in ("trace", "t"):
        raise UsageError(f"-e {key}= is not supported; only trace= is")
    return value


def _stamp(values: Values) -> str:
    if values.flag("relative_timestamps"):
        return "r"
    return "t" * min(values.counts.get("absolute_timestamps", 0), 3)
