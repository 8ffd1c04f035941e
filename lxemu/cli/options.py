"""A small option parser: one table drives both parsing and the help text.

The start of `lxemu run` is something that people wait for, and argparse costs 7 ms of CPU there
(click 25 ms), a quarter of what a native dynamic program costs in whole; this module costs none.
Parsing follows the POSIX utility conventions: options end at the first operand or at `--`, short
flags may be joined (`-fc`), a value may follow its short letter directly (`-s64`) or its long name
after an equals sign (`--root=none`).
"""

from __future__ import annotations

import os
from typing import NamedTuple


class UsageError(Exception):
    """A wrong command line: the message is one line for the user, the exit status is 2."""


class Option(NamedTuple):
    """One option: its names, where its value goes and what the help says."""

    names: tuple[str, ...]
    help: str
    metavar: str = ""  # empty: a flag without a value
    many: bool = False  # may be given again; values are collected in order
    hidden: bool = False

    @property
    def dest(self) -> str:
        """The key of the value: the last long name without its dashes."""
        return self.names[-1].lstrip("-").replace("-", "_")


class Values:
    """What was given: flags as counts, single values as the last one, `many` values as lists."""

    __slots__ = ("counts", "lists")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.lists: dict[str, list[str]] = {}

    def flag(self, dest: str) -> bool:
        """Say whether flag *dest* was given."""
        return dest in self.counts

    def value(self, dest: str) -> str | None:
        """Return the last value given for *dest*, or None."""
        given = self.lists.get(dest)
        return given[-1] if given else None

    def all(self, dest: str) -> list[str]:
        """Return every value given for *dest*, in order."""
        return self.lists.get(dest, [])


def parse(options: tuple[Option, ...], argv: list[str]) -> tuple[Values, list[str]]:
    """Split *argv* into option values and operands; raise UsageError for anything unknown."""
    table = {name: option for option in options for name in option.names}
    values = Values()
    rest = list(argv)
    while rest:
        word = rest[0]
        if word == "--":
            return values, rest[1:]
        if word == "-" or not word.startswith("-"):
            break
        del rest[0]
        if word.startswith("--"):
            _long(table, word, rest, values)
        else:
            _short(table, word, rest, values)
    return values, rest


def _long(table: dict[str, Option], word: str, rest: list[str], values: Values) -> None:
    name, equals, text = word.partition("=")
    option = table.get(name)
    if option is None:
        raise UsageError(f"unknown option {name}")
    if not option.metavar:
        if equals:
            raise UsageError(f"option {name} takes no value")
        _count(values, option)
    else:
        _store(values, option, text if equals else _take(name, rest))


def _short(table: dict[str, Option], word: str, rest: list[str], values: Values) -> None:
    letters = word[1:]
    while letters:
        name, letters = "-" + letters[0], letters[1:]
        option = table.get(name)
        if option is None:
            raise UsageError(f"unknown option {name}")
        if option.metavar:
            _store(values, option, letters or _take(name, rest))
            return
        _count(values, option)


def _take(name: str, rest: list[str]) -> str:
    if not rest:
        raise UsageError(f"option {name} needs a value")
    return rest.pop(0)


def _count(values: Values, option: Option) -> None:
    values.counts[option.dest] = values.counts.get(option.dest, 0) + 1


def _store(values: Values, option: Option, text: str) -> None:
    if option.many:
        values.lists.setdefault(option.dest, []).append(text)
    else:
        values.lists[option.dest] = [text]


def help_lines(options: tuple[Option, ...]) -> list[str]:
    """Format the options for a help text, one line each."""
    lines = []
    for option in options:
        if option.hidden:
            continue
        names = ", ".join(option.names)
        left = f"  {names} {option.metavar}".rstrip()
        lines.append(
            f"{left:<32} {option.help}" if len(left) < 32 else f"{left}\n{'':33}{option.help}"
        )
    return lines


_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_size(text: str) -> int:
    """Return the bytes of a size such as `512M`, `2G`, `64KiB` or a plain number."""
    upper = text.upper()
    for suffix in ("IB", "B"):
        upper = upper.removesuffix(suffix)
    unit = upper[-1:] if upper[-1:] in _UNITS else ""
    digits = upper.removesuffix(unit) if unit else upper
    if not (digits.isascii() and digits.isdigit()) or int(digits) == 0:
        raise UsageError(f"not a size: {text!r} (examples: 512M, 2G)")
    return int(digits) * _UNITS[unit]


class Volume(NamedTuple):
    """A host directory or file that the guest sees: `-v HOST:GUEST[:OPTION,...]`.

    `metadata` says where owners, modes and devices are kept that the host's files cannot have:
    "auto" (beside the tree, for who is not root on the host), "yes", "no" or a path.
    """

    host: bytes
    guest: bytes
    readonly: bool
    metadata: str = "auto"


def parse_volume(text: str) -> Volume:
    """Take apart `HOST:GUEST[:OPTION,...]`; the caller checks that HOST exists."""
    parts = text.split(":")
    options = parts.pop().split(",") if len(parts) == 3 else []
    if len(parts) != 2 or not all(parts):
        raise UsageError(f"bad volume {text!r}: it must be HOST:GUEST or HOST:GUEST:ro")
    host, guest = parts
    if not guest.startswith("/"):
        raise UsageError(f"bad volume {text!r}: {guest!r} is not an absolute path")
    readonly, index = False, "auto"
    for option in options:
        name, equals, value = option.partition("=")
        if option in ("ro", "rw"):
            readonly = option == "ro"
        elif option in ("index", "noindex"):
            index = "yes" if option == "index" else "no"
        elif name == "index" and value and equals:
            index = os.path.abspath(value)
        else:
            raise UsageError(
                f"bad volume {text!r}: {option!r} is not ro, rw, index, index=FILE or noindex"
            )
    return Volume(os.fsencode(host), os.fsencode(guest), readonly, index)


class TmpfsVolume(NamedTuple):
    """An empty tree in memory that the guest sees: `--tmpfs GUEST[:size=SIZE]`; bytes, 0 = all."""

    guest: bytes
    size: int


def parse_tmpfs(text: str) -> TmpfsVolume:
    """Take apart `GUEST[:size=SIZE]`."""
    guest, colon, settings = text.partition(":")
    key, _, value = settings.partition("=")
    if not guest.startswith("/") or (colon and key != "size"):
        raise UsageError(f"bad tmpfs {text!r}: it must be /PATH or /PATH:size=SIZE")
    return TmpfsVolume(os.fsencode(guest), parse_size(value) if colon else 0)


def parse_user(text: str) -> tuple[int, int | None]:
    """Take apart `UID[:GID]`, both numbers."""
    uid, colon, gid = text.partition(":")
    if not _is_id(uid) or (colon and not _is_id(gid)):
        raise UsageError(f"bad user {text!r}: it must be UID or UID:GID, in numbers")
    return int(uid), int(gid) if colon else None


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) < 0xFFFFFFFF


def parse_variable(text: str, environ: dict[bytes, bytes]) -> tuple[bytes, bytes] | None:
    """Take apart `K=V`; `K` alone takes the value of *environ*, None when it has none."""
    name, equals, value = text.partition("=")
    if not name:
        raise UsageError(f"bad variable {text!r}: it must be NAME=VALUE")
    key = os.fsencode(name)
    if equals:
        return key, os.fsencode(value)
    found = environ.get(key)
    return None if found is None else (key, found)
