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
    """Parse the `#!` line of a file from its first 256 bytes (fs/binfmt_script.c, step by step)."""
    text = head[2:SCRIPT_HEAD]
    newline = text.find(b"\n")
    nul = text.find(b"\0")
    if newline >= 0 and (nul < 0 or newline < nul):
        line = text[:newline]
    else:
        line = text[: SCRIPT_HEAD - 3]
        rest = line.lstrip(_BLANK)
        if not rest:
            raise ScriptError("the #! line is blank")
        whole_file = len(head) < SCRIPT_HEAD
        if not whole_file and not any(c in rest for c in b" \t\0"):
            raise ScriptError("the interpreter's path is longer than the kernel reads")
    line = line.rstrip(_BLANK).lstrip(_BLANK)
    if not line:
        raise ScriptError("no interpreter named after #!")
    end = next((i for i, c in enumerate(line) if c in b" \t\0"), len(line))
    interp = line[:end]
    if end == len(line) or line[end] == 0:
        argument = None
    else:
        argument = line[end:].lstrip(_BLANK).split(b"\0")[0]
    if not interp:
        raise ScriptError("no interpreter named after #!")
    return ScriptLine(interp, argument)
