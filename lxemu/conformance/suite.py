"""What to run: an installed tree of the Linux Test Project and the list of its tests.

`ltp.tsv` names the tests that mean something to a kernel inside one process (no block devices,
modules, clock setting, NUMA ...), each with its command, area and family.
"""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from importlib.resources import files
from typing import NamedTuple

ABIS = ("x86_64", "i386")
BIN = "testcases/bin"
_ELF_CLASS = {1: "i386", 2: "x86_64"}


class SuiteError(Exception):
    """A tree or list that cannot be used; the message is one line for the user."""


class Test(NamedTuple):
    """One test: its name, its command line, and where it belongs."""

    id: str
    command: tuple[str, ...]
    area: str
    family: str


class Tree(NamedTuple):
    """An installed tree for one ABI."""

    abi: str
    path: str

    def program(self, test: Test) -> str:
        """Return the host path of a test's program."""
        return os.path.join(self.path, BIN, test.command[0])


def find_trees(root: str, abi: str | None) -> list[Tree]:
    """Return the trees at `root`: it is one itself, or has one in a directory for each ABI.

    SuiteError when there is none, or none for `abi`.
    """
    if not os.path.isdir(root):
        raise SuiteError(f"{root}: no such directory")
    places = [root, *(os.path.join(root, name) for name in ABIS)]
    trees: dict[str, Tree] = {}
    for place in places:
        found = _abi_of(os.path.join(place, BIN))
        if found is not None:
            trees.setdefault(found, Tree(found, os.path.abspath(place)))
    if not trees:
        raise SuiteError(f"{root}: no installed tests here (there is no {BIN} with programs)")
    wanted = ABIS if abi is None else (abi,)
    chosen = [trees[name] for name in wanted if name in trees]
    if not chosen:
        raise SuiteError(f"{root}: no tests for {abi} here")
    return chosen


def _abi_of(directory: str) -> str | None:
    """Return the ABI of the first ELF program in `directory`."""
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return None
    for name in names:
        try:
            with open(os.path.join(directory, name), "rb") as program:
                head = program.read(5)
        except OSError:
            continue
        if head[:4] == b"\x7fELF":
            return _ELF_CLASS.get(head[4])
    return None


def listed_tests() -> list[Test]:
    """Return the tests of `ltp.tsv`, in its order."""
    text = files("lxemu.conformance").joinpath("ltp.tsv").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines()[1:])
    return [Test(name, tuple(cmd.split()), area, family) for name, cmd, area, family in rows]


def all_tests(tree: Tree) -> list[Test]:
    """Return every test of the tree's `runtest/syscalls`; areas come from the list where known."""
    path = os.path.join(tree.path, "runtest", "syscalls")
    try:
        with open(path, encoding="utf-8") as source:
            lines = source.read().splitlines()
    except OSError as error:
        raise SuiteError(f"{path}: {error.strerror}") from None
    known = {test.id: test for test in listed_tests()}
    tests = []
    for line in lines:
        words = line.split("#", 1)[0].split()
        if len(words) < 2:
            continue
        name, command = words[0], tuple(words[1:])
        test = known.get(name)
        area, family = (test.area, test.family) if test else ("other", name.rstrip("0123456789_"))
        tests.append(Test(name, command, area, family))
    return tests


def select(tests: list[Test], patterns: list[str]) -> list[Test]:
    """Keep the tests whose name, family or area matches one of the glob `patterns` (all if none).

    SuiteError for a pattern that matches nothing: it is a typing error.
    """
    if not patterns:
        return tests
    chosen: dict[str, Test] = {}
    for pattern in patterns:
        hits = [t for t in tests if any(fnmatchcase(w, pattern) for w in (t.id, t.family, t.area))]
        if not hits:
            raise SuiteError(f"no test matches {pattern!r}")
        chosen.update((test.id, test) for test in hits)
    return [test for test in tests if test.id in chosen]
