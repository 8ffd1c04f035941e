"""The conformance command: choosing tests, judging ends, comparing with a kernel, the reports."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from lxemu.conformance import page, report
from lxemu.conformance.result import Baseline, Outcome, Result, dump, judge, load
from lxemu.conformance.suite import (
    SuiteError,
    all_tests,
    find_trees,
    listed_tests,
    select,
)
from tests.harness import FIXTURES, execute, lxemu, lxemu_env

ABOUT = {"kernel": "lxemu", "date": "2026-01-01", "seconds": 1.0, "complete": True}


def result(name: str, outcome: Outcome, *, passes: int = 1, output: str = "", abi: str = "x86_64"):
    return Result(abi, name, "area", "family", f"run {name}", outcome, 0, passes, 0.1, output)


def tree(directory: Path, abi: str, **programs: str) -> Path:
    """Make an installed tree of fixtures: test name -> group/program."""
    path = directory / abi / "testcases" / "bin"
    path.mkdir(parents=True)
    for name, program in programs.items():
        shutil.copy(FIXTURES / "bin" / abi / program, path / name)
    return directory


@pytest.mark.parametrize(
    ("status", "timed_out", "outcome"),
    [
        (0, False, Outcome.PASS),
        (1, False, Outcome.FAIL),
        (3, False, Outcome.FAIL),
        (2, False, Outcome.BROKEN),
        (4, False, Outcome.BROKEN),
        (32, False, Outcome.SKIP),
        (33, False, Outcome.FAIL),
        (8, False, Outcome.FAIL),
        (139, False, Outcome.CRASH),
        (-9, False, Outcome.CRASH),
        (70, False, Outcome.CRASH),
        (-9, True, Outcome.TIMEOUT),
    ],
)
def test_exit_status_bits_are_judged(status: int, timed_out: bool, outcome: Outcome):
    assert judge(status, "a TPASS b\nTPASS:\n", timed_out=timed_out) == (outcome, 2)


def test_list_is_whole_and_has_no_test_twice():
    tests = listed_tests()

    assert len(tests) > 1000
    assert len({test.id for test in tests}) == len(tests)
    assert all(test.command and test.area and test.family for test in tests)


def test_selection_by_name_family_and_area():
    tests = listed_tests()

    assert [t.id for t in select(tests, ["fork01"])] == ["fork01"]
    assert {t.area for t in select(tests, ["aio", "xattr"])} == {"aio", "xattr"}
    assert select(tests, []) == tests
    with pytest.raises(SuiteError, match="no test matches 'frok'"):
        select(tests, ["fork01", "frok"])


def test_trees_are_found_by_their_programs(tmp_path: Path):
    tree(tmp_path, "x86_64", fork01="hello/hello")
    tree(tmp_path, "i386", fork01="hello/hello")

    assert [t.abi for t in find_trees(str(tmp_path), None)] == ["x86_64", "i386"]
    assert [t.abi for t in find_trees(str(tmp_path), "i386")] == ["i386"]
    assert [t.abi for t in find_trees(str(tmp_path / "i386"), None)] == ["i386"]
    with pytest.raises(SuiteError, match="no tests for x86_64"):
        find_trees(str(tmp_path / "i386"), "x86_64")
    with pytest.raises(SuiteError, match="no such directory"):
        find_trees(str(tmp_path / "none"), None)
    with pytest.raises(SuiteError, match="no installed tests"):
        find_trees(str(tmp_path / "i386" / "testcases" / "bin"), None)


def test_all_reads_the_run_file(tmp_path: Path):
    root = tree(tmp_path, "x86_64", fork01="hello/hello")
    (root / "x86_64" / "runtest").mkdir()
    path = root / "x86_64" / "runtest" / "syscalls"
    path.write_text("# comment\n\nfork01 fork01 -n 3 # more\nnew77 new77\n")

    first, second = all_tests(find_trees(str(root), None)[0])

    assert (first.command, first.area) == (("fork01", "-n", "3"), "process")
    assert (second.area, second.family) == ("other", "new")


def test_a_pass_with_fewer_assertions_than_natively_fails():
    baseline = Baseline([result("a", Outcome.PASS, passes=3), result("b", Outcome.FAIL)])
    fewer = result("a", Outcome.PASS, passes=2)
    baseline.apply(fewer)

    assert fewer.outcome is Outcome.FAIL
    assert "only 2 of the baseline's 3" in fewer.output
    as_many = result("a", Outcome.PASS, passes=3)
    baseline.apply(as_many)
    assert as_many.outcome is Outcome.PASS


def test_share_counts_native_passes_only():
    baseline = Baseline([result("a", Outcome.PASS), result("b", Outcome.PASS)])
    results = [result("a", Outcome.PASS), result("b", Outcome.FAIL), result("c", Outcome.FAIL)]

    area, whole = report.scores(results, baseline)

    assert (area.kept, area.native, area.share, whole.area) == (1, 2, 0.5, "all")
    assert report.scores(results, None)[0].share == pytest.approx(1 / 3)


def test_results_survive_json(tmp_path: Path):
    results = [result("a", Outcome.PASS), result("b", Outcome.TIMEOUT, output="é\0\n")]
    path = tmp_path / "results.json"
    path.write_text(dump(results, ABOUT))

    assert load(str(path)) == results
    path.write_text("[]")
    with pytest.raises(SuiteError, match="not the results"):
        load(str(path))


def test_junit_and_page_hold_any_output():
    nasty = "<b>&\x00\x1b[0m </pre><script>alert(1)</script>"
    results = [result("a", Outcome.FAIL, output=nasty), result("b", Outcome.SKIP)]

    suite = ET.fromstring(report.junit(results, "ltp")).find("testsuite")

    assert suite is not None
    assert (suite.get("failures"), suite.get("skipped")) == ("1", "1")
    html = page.render(results, None, ABOUT)
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "http" not in html.replace("<!doctype", "")


@pytest.mark.parametrize("abi", ["x86_64", "i386"])
def test_a_run_end_to_end(tmp_path: Path, abi: str):
    root = tree(tmp_path, abi, fork01="hello/hello", abort01="memory/segv_null")
    outcome = execute(
        lxemu("conformance", "ltp", "--root", root, "--filter", "fork01,abort01,exit01", "-j", "1"),
        tmp_path,
        env=lxemu_env(),
    )

    assert outcome.status == 1, outcome.stderr
    document = json.loads((tmp_path / "conformance-ltp" / "results.json").read_text())
    found = {row["id"]: row["outcome"] for row in document["results"]}
    assert found == {"abort01": "crash", "exit01": "missing", "fork01": "pass"}
    fork01 = next(row for row in document["results"] if row["id"] == "fork01")
    assert fork01["command"].startswith("lxemu run --clean-env --user 0:0")
    assert fork01["cpu_seconds"] > 0
    assert (tmp_path / "conformance-ltp" / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "needle"),
    [
        ((), "no suite given"),
        (("lpt", "--root", "/"), "unknown suite 'lpt'"),
        (("ltp",), "no --root"),
        (("ltp", "--root", "/no/such"), "no such directory"),
        (("ltp", "--root", "/", "--abi", "arm"), "bad ABI"),
        (("ltp", "--root", "/", "--jobs", "x"), "bad --jobs"),
        (("ltp", "--root", "/", "extra"), "unexpected 'extra'"),
        (("ltp", "--root", "/", "--memory", "much"), "not a size"),
    ],
)
def test_wrong_command_lines(tmp_path: Path, words: tuple[str, ...], needle: str):
    outcome = execute(lxemu("conformance", *words), tmp_path, env=lxemu_env())

    assert (outcome.status, outcome.stdout) == (2, b"")
    assert needle in outcome.stderr.decode()
    assert outcome.stderr.count(b"\n") == 1
