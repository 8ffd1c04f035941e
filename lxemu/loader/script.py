"""Interpreter scripts: what the `#!` line of a file says (execve(2), "Interpreter scripts")."""

from __future__ import annotations

from typing import NamedTuple

from lxemu.errors import LxemuError

#: The kernel reads this much; the line must end within, less one byte for the terminator.
SCRIPT_HEAD = 256
_BLANK = b" \t"


class ScriptError(LxemuError):
    """The `#!` line is unusable; exec fails with ENOEXEC."""


class ScriptLine(NamedTuple):
    """The interpreter's path and its one optional argument (blanks inside it included)."""

    interp: bytes
    argument: bytes | None


def is_script(head: bytes) -> bool:
    """Return whether a file that begins with `head` is an interpreter script."""
    return head[:2] == b"#!"


def parse_script(head: bytes) -> ScriptLine:
    """Parse the `#!` line of a file from its first 256 bytes (fs/binfmt_script.c, step by step).

    A NUL is no blank but ends a name, so the path may come out empty; opening it then fails.
    """
    text = head[:SCRIPT_HEAD].ljust(SCRIPT_HEAD, b"\0")
    last = SCRIPT_HEAD - 1
    end = text.find(b"\n")
    nul = text.find(b"\0")
    if end < 0 or 0 <= nul < end:
        start = _find(text, 2, last, blank=False)
        if start is None:
            raise ScriptError("the #! line is blank")
        if _find(text, start, last, blank=True) is None:
            raise ScriptError("the interpreter's path is longer than the kernel reads")
        end = last
    while text[end - 1] in _BLANK:
        end -= 1
    start = _find(text, 2, end, blank=False)
    if start is None or start == end:
        raise ScriptError("no interpreter named after #!")
    stop = _find(text, start, end, blank=True)
    argument = None
    if stop is not None and text[stop]:
        begin = _find(text, stop, end, blank=False)
        argument = None if begin is None else _string(text[begin:end])
    return ScriptLine(_string(text[start : end if stop is None else stop]), argument)


def _find(text: bytes, first: int, last: int, *, blank: bool) -> int | None:
    """Return where in [first, last] the first terminator is (`blank`), or the first other byte.

    A terminator is a space, a tab or a NUL; the other search skips spaces and tabs only.
    """
    for at in range(first, last + 1):
        if (text[at] in _BLANK or (blank and not text[at])) == blank:
            return at
    return None


def _string(text: bytes) -> bytes:
    """Return `text` up to its first NUL."""
    return text.split(b"\0", 1)[0]
