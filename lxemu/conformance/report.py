"""What a run found: a table to read, and files for other programs."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree as ET

from lxemu.conformance.result import Baseline, Outcome, Result

if TYPE_CHECKING:
    from collections.abc import Iterable

BAD = (Outcome.FAIL, Outcome.BROKEN, Outcome.CRASH, Outcome.TIMEOUT, Outcome.MISSING)
#: XML 1.0 has no place for these, escaped or not.
_UNPRINTABLE = {code: "\N{REPLACEMENT CHARACTER}" for code in range(32) if code not in (9, 10, 13)}


class Score(NamedTuple):
    """The results of one area and ABI; `native` tests pass on a real kernel, `kept` here too."""

    abi: str
    area: str
    counts: Counter[Outcome]
    native: int
    kept: int

    @property
    def total(self) -> int:
        """The number of tests."""
        return sum(self.counts.values())

    @property
    def share(self) -> float:
        """The part that passes: of the native passes where they are known, else of all."""
        if self.native:
            return self.kept / self.native
        return self.counts[Outcome.PASS] / self.total


def scores(results: Iterable[Result], baseline: Baseline | None) -> list[Score]:
    """Return a score for each ABI and area, then one for each whole ABI (area `all`)."""
    groups: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in results:
        groups[result.abi, result.area].append(result)
    abis = sorted({abi for abi, _ in groups}, reverse=True)
    table = []
    for abi in abis:
        areas = sorted(area for key, area in groups if key == abi)
        table += [_score(abi, area, groups[abi, area], baseline) for area in areas]
        whole = [result for area in areas for result in groups[abi, area]]
        table.append(_score(abi, "all", whole, baseline))
    return table


def _score(abi: str, area: str, results: list[Result], baseline: Baseline | None) -> Score:
    native = [r for r in results if baseline is not None and baseline.passed(r)]
    kept = sum(result.outcome is Outcome.PASS for result in native)
    return Score(abi, area, Counter(r.outcome for r in results), len(native), kept)


def table(results: list[Result], baseline: Baseline | None) -> str:
    """Return the scores as text, a line for each area and ABI."""
    head = f"{'abi':<7} {'area':<16} {'tests':>5} {'pass':>5} {'fail':>5} {'skip':>5}   share"
    lines = [head]
    for score in scores(results, baseline):
        if score.area == "all":
            lines.append("")
        failed = sum(score.counts[outcome] for outcome in BAD)
        part = f"{score.share:7.1%}"
        if score.native:
            part += f" ({score.kept} of {score.native} that pass natively)"
        lines.append(
            f"{score.abi:<7} {score.area:<16} {score.total:5} {score.counts[Outcome.PASS]:5} "
            f"{failed:5} {score.counts[Outcome.SKIP]:5} {part}"
        )
        if score.area == "all":
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def unsupported(results: Iterable[Result]) -> list[tuple[str, str, int]]:
    """Return (call, reason, number of tests that met it), the most frequent first."""
    tests: Counter[tuple[str, str]] = Counter()
    for result in results:
        tests.update({(item["call"], item["reason"]) for item in result.unsupported})
    return [(call, reason, count) for (call, reason), count in tests.most_common()]


def junit(results: list[Result], name: str) -> str:
    """Return the run as JUnit XML, a suite for each ABI and area."""
    root = ET.Element("testsuites", name=name)
    groups: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in results:
        groups[result.abi, result.area].append(result)
    for (abi, area), members in sorted(groups.items()):
        outcomes = Counter(member.outcome for member in members)
        errors = outcomes[Outcome.CRASH] + outcomes[Outcome.TIMEOUT] + outcomes[Outcome.MISSING]
        suite = ET.SubElement(
            root,
            "testsuite",
            name=f"{abi}.{area}",
            tests=str(len(members)),
            failures=str(outcomes[Outcome.FAIL] + outcomes[Outcome.BROKEN]),
            errors=str(errors),
            skipped=str(outcomes[Outcome.SKIP]),
            time=f"{sum(member.seconds for member in members):.2f}",
        )
        for member in members:
            _case(suite, member)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: ET.Element, result: Result) -> None:
    case = ET.SubElement(
        suite,
        "testcase",
        classname=f"{result.abi}.{result.area}.{result.family}",
        name=result.id,
        time=f"{result.seconds:.2f}",
    )
    kinds = {
        Outcome.FAIL: "failure",
        Outcome.BROKEN: "failure",
        Outcome.SKIP: "skipped",
        Outcome.PASS: "system-out",
    }
    detail = ET.SubElement(case, kinds.get(result.outcome, "error"))
    if result.outcome is not Outcome.PASS:
        detail.set("message", f"{result.outcome} (status {result.status})")
    detail.text = result.output.translate(_UNPRINTABLE)
