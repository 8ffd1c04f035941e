"""How a test ended, and the comparison with a run on a real kernel."""

from __future__ import annotations

import enum
import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any

from lxemu.conformance.suite import SuiteError, Test

FORMAT = 1
EXIT_SOFTWARE = 70
# The suite's exit status is a set of bits (tst_res_flags.h).
TFAIL, TBROK, TWARN, TCONF = 1, 2, 4, 32
_TPASS = re.compile(r"\bTPASS\b")


class Outcome(enum.StrEnum):
    """What became of a test."""

    PASS = "pass"
    FAIL = "fail"  # an assertion did not hold
    BROKEN = "broken"  # its set-up did not work
    SKIP = "skip"  # it says that it cannot run here
    TIMEOUT = "timeout"
    CRASH = "crash"  # a signal, or an error inside lxemu
    MISSING = "missing"  # the tree does not have the program


@dataclass(slots=True)
class Result:
    """One test of one ABI: the outcome and what a person needs to find out why."""

    abi: str
    id: str
    area: str
    family: str
    command: str  # to run it again by hand
    outcome: Outcome
    status: int  # exit status, or minus the signal
    passes: int  # TPASS lines
    seconds: float  # wall clock
    output: str
    unsupported: list[dict[str, Any]] = field(default_factory=list)
    cpu_seconds: float = 0.0

    @property
    def key(self) -> tuple[str, str]:
        """What names the result in a run."""
        return self.abi, self.id


def judge(status: int, output: str, *, timed_out: bool) -> tuple[Outcome, int]:
    """Return the outcome and the number of passed assertions of a test that ended so."""
    passes = len(_TPASS.findall(output))
    if timed_out:
        return Outcome.TIMEOUT, passes
    if status < 0 or status > 128 or status == EXIT_SOFTWARE:
        return Outcome.CRASH, passes
    if status == 0:
        return Outcome.PASS, passes
    if status & TFAIL:
        return Outcome.FAIL, passes
    if status & (TBROK | TWARN):
        return Outcome.BROKEN, passes
    return (Outcome.SKIP if status & TCONF else Outcome.FAIL), passes


def missing(abi: str, test: Test) -> Result:
    """Return the result of a test whose program the tree lacks."""
    return Result(
        abi, test.id, test.area, test.family, " ".join(test.command), Outcome.MISSING, 0, 0, 0.0, ""
    )


class Baseline:
    """The results of the same tests on a real kernel (`--native`), for "as many as there"."""

    def __init__(self, results: list[Result]) -> None:
        self._by_key = {result.key: result for result in results}

    def passed(self, result: Result) -> bool:
        """Return whether the test passed there."""
        there = self._by_key.get(result.key)
        return there is not None and there.outcome is Outcome.PASS

    def apply(self, result: Result) -> None:
        """Make a pass with fewer passed assertions than there a failure, and say so."""
        there = self._by_key.get(result.key)
        if (
            result.outcome is Outcome.PASS
            and there is not None
            and there.outcome is Outcome.PASS
            and result.passes < there.passes
        ):
            result.outcome = Outcome.FAIL
            result.output += f"\nonly {result.passes} of the baseline's {there.passes} TPASS\n"


def dump(results: list[Result], about: dict[str, Any]) -> str:
    """Return a run as JSON text."""
    rows = [asdict(result) for result in results]
    return json.dumps({"format": FORMAT, **about, "results": rows}, indent=1) + "\n"


def load(path: str) -> list[Result]:
    """Read what `dump` wrote; SuiteError when the file is not such a thing."""
    try:
        with open(path, encoding="utf-8") as source:
            document = json.load(source)
        if document["format"] != FORMAT:
            raise SuiteError(f"{path}: format {document['format']}, not {FORMAT}")
        rows = document["results"]
        return [Result(**{**row, "outcome": Outcome(row["outcome"])}) for row in rows]
    except OSError as error:
        raise SuiteError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise SuiteError(f"{path}: not the results of a conformance run") from None
