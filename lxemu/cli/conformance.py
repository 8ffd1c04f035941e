"""`lxemu conformance`: run a system call test suite here, or natively for comparison."""

from __future__ import annotations

import os
import platform
import sys
import time
from typing import TYPE_CHECKING

from lxemu.cli.options import Option, UsageError, Values, help_lines, parse
from lxemu.cli.run import HELP

if TYPE_CHECKING:
    from lxemu.conformance.result import Baseline, Result
    from lxemu.conformance.runner import Settings
    from lxemu.conformance.suite import Test, Tree

OPTIONS = (
    Option(("--root",), "the installed tree, or a directory with x86_64/ and i386/", "DIR"),
    Option(("--abi",), "only these programs: x86_64 or i386", "ABI"),
    Option(("-f", "--filter"), "only tests, families or areas that match (glob)", "NAME", True),
    Option(("--all",), "all of runtest/syscalls, not only what can work in one process"),
    Option(("-j", "--jobs"), "tests at a time (the number of cores)", "N"),
    Option(("--timeout",), "seconds for each test (60)", "N"),
    Option(("--memory",), "memory of each machine (1G)", "SIZE"),
    Option(("--baseline",), "results.json of a --native run to compare with", "FILE"),
    Option(("--native",), "run the tests on the host's own kernel instead"),
    Option(("-o", "--out"), "where the reports go (conformance-ltp)", "DIR"),
    Option(("--list",), "print the chosen tests and run none"),
    HELP,
)
USAGE = """\
Usage: lxemu conformance ltp --root DIR [OPTIONS]

Run the Linux Test Project's system call tests, each in a machine of its own, and write a table to
standard output and results.json, junit.xml and report.html (one page, for any browser) to the
directory of --out. Build and install the suite first, statically linked (LDFLAGS=-static).
Exit status: 0 when no test failed, 1 when some did, 2 for a wrong command line.
"""


def command_conformance(argv: list[str]) -> int:
    """Carry out `lxemu conformance`."""
    suite = argv[0] if argv and not argv[0].startswith("-") else ""
    values, operands = parse(OPTIONS, argv[1:] if suite else argv)
    if values.flag("help"):
        sys.stdout.write("\n".join((USAGE, "Options:", *help_lines(OPTIONS), "")))
        return 0
    if suite != "ltp":
        what = f"unknown suite {suite!r}" if suite else "no suite given"
        raise UsageError(f"{what}: 'ltp' is the one there is")
    if operands:
        raise UsageError(f"unexpected {operands[0]!r}")
    root = values.value("root")
    if root is None:
        raise UsageError("no --root DIR given")
    from lxemu.conformance.suite import SuiteError

    try:
        return _run(values, root)
    except SuiteError as error:
        raise UsageError(str(error)) from None


def _run(values: Values, root: str) -> int:
    from lxemu.conformance.result import Baseline, load

    settings = _settings(values)
    work = _work(values, root)
    if values.flag("list"):
        for tree, test in work:
            print(f"{tree.abi:<6} {test.area:<16} {test.family:<20} {' '.join(test.command)}")
        return 0
    baseline_path = values.value("baseline")
    baseline = None if baseline_path is None else Baseline(load(baseline_path))
    out = values.value("out") or "conformance-ltp"
    try:
        os.makedirs(out, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make {out}: {error.strerror}") from None
    started = time.time()
    results, whole = _collect(work, settings, baseline)
    about = {
        "suite": "ltp",
        "kernel": f"{platform.system()} {platform.release()}" if settings.native else "lxemu",
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 1),
        "complete": whole,
    }
    return _report(results, baseline, about, out)


def _collect(
    work: list[tuple[Tree, Test]], settings: Settings, baseline: Baseline | None
) -> tuple[list[Result], bool]:
    """Run everything; return the results in the order of `work`, and False after a Ctrl-C."""
    from lxemu.conformance.progress import Progress
    from lxemu.conformance.runner import Runner

    order = {(tree.abi, test.id): at for at, (tree, test) in enumerate(work)}
    progress = Progress(len(work), sys.stderr)
    results: list[Result] = []
    whole = True
    try:
        for result in Runner(settings).run(work):
            if baseline is not None:
                baseline.apply(result)
            results.append(result)
            progress.step(result)
    except KeyboardInterrupt:
        whole = False
    finally:
        progress.close()
    return sorted(results, key=lambda result: order[result.key]), whole


def _report(
    results: list[Result], baseline: Baseline | None, about: dict[str, object], out: str
) -> int:
    from lxemu.conformance import page, report
    from lxemu.conformance.result import dump

    texts = {
        "results.json": dump(results, about),
        "junit.xml": report.junit(results, "ltp"),
        "report.html": page.render(results, baseline, about),
    }
    sys.stdout.write(report.table(results, baseline))
    for call, reason, count in report.unsupported(results)[:20]:
        print(f"unsupported: {call} in {count} tests: {reason}")
    for name, text in texts.items():
        path = os.path.join(out, name)
        try:
            with open(path, "w", encoding="utf-8") as target:
                target.write(text)
        except OSError as error:
            sys.stderr.write(f"lxemu: cannot write {path}: {error.strerror}\n")
            return 1
    print(f"reports: {', '.join(os.path.join(out, name) for name in texts)}")
    if not about["complete"]:
        return 128 + 2
    return int(any(result.outcome in report.BAD for result in results))


def _work(values: Values, root: str) -> list[tuple[Tree, Test]]:
    from lxemu.conformance.suite import ABIS, all_tests, find_trees, listed_tests, select

    abi = values.value("abi")
    if abi is not None and abi not in ABIS:
        raise UsageError(f"bad ABI {abi!r}: it must be x86_64 or i386")
    patterns = [part for text in values.all("filter") for part in text.split(",")]
    work = []
    for tree in find_trees(root, abi):
        tests = all_tests(tree) if values.flag("all") else listed_tests()
        work += [(tree, test) for test in select(tests, patterns)]
    return work


def _settings(values: Values) -> Settings:
    from lxemu.cli.options import parse_size
    from lxemu.conformance.runner import Settings

    memory = values.value("memory") or "1G"
    parse_size(memory)
    return Settings(
        jobs=_number(values, "jobs", os.cpu_count() or 1),
        timeout=_number(values, "timeout", 60),
        memory=memory,
        native=values.flag("native"),
    )


def _number(values: Values, name: str, default: int) -> int:
    text = values.value(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or int(text) == 0:
        raise UsageError(f"bad --{name} {text!r}: it must be a positive number")
    return int(text)
