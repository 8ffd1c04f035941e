"""Which calls to trace: the expressions of strace's `-e trace=`.

The sets follow from the signatures: `%file` are the calls with a path among their arguments,
`%desc` those with a descriptor; the others are the handler modules that carry the set's name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from syscalls.personality import Personality

    Test = Callable[[Personality, int], bool]

#: Set -> the handler modules whose calls it holds.
MODULES: dict[str, frozenset[str]] = {
    "memory": frozenset({"mm"}),
    "process": frozenset({"process", "exec_", "clone", "wait"}),
    "signal": frozenset({"signal_"}),
    "network": frozenset({"socket_", "sockmsg", "sockopt"}),
    "ipc": frozenset({"shm_", "sem_", "msg_"}),
    "creds": frozenset({"cred", "ids"}),
    "stat": frozenset({"stat"}),
    "clock": frozenset({"time_"}),
}
#: Calls by name that belong to a set besides its modules'.
NAMES: dict[str, frozenset[str]] = {
    "process": frozenset({"arch_prctl", "kill", "tgkill", "tkill", "exit", "exit_group"}),
    "ipc": frozenset({"ipc"}),
    "network": frozenset({"socketcall", "sendfile", "sendfile64"}),
    "pure": frozenset(
        {"getpid", "gettid", "getppid", "getpgrp", "getuid", "geteuid", "getgid", "getegid"}
    ),
}
_PATH_KINDS = frozenset({"path"})
#: Pointers with these names are paths that a handler looks at late.
_PATH_PARAMETERS = frozenset({"path", "pathname", "oldpath", "newpath", "target", "filename"})
_FD_KINDS = frozenset({"fd", "dirfd"})


class ExpressionError(ValueError):
    """An expression that names no call and no set; the text is for the user."""


class Selection:
    """A set of system calls, built from zero or more expressions; without any, all of them."""

    def __init__(self, expressions: list[str] | None = None) -> None:
        self._tests: list[Test] = []
        self._invert = False
        self._all = not expressions
        for expression in expressions or ():
            self._add(expression)

    def _add(self, expression: str) -> None:
        if expression.startswith("!"):
            self._invert = True
            expression = expression[1:]
        if expression == "all":
            self._all = True
            return
        if expression == "none":
            return
        for word in expression.split(","):
            self._tests.append(_test(word.strip()))

    def wants(self, personality: Personality, nr: int) -> bool:
        """Say whether call *nr* is in the set."""
        found = self._all or any(test(personality, nr) for test in self._tests)
        return found != self._invert


def known_names() -> frozenset[str]:
    """Return the names of all calls of both ABIs."""
    from syscalls.personality import i386, x86_64

    return frozenset(x86_64().names) | frozenset(i386().names)


def _test(word: str) -> Test:
    name = word.lstrip("%")
    if name in ("file", "desc"):
        kinds = _PATH_KINDS if name == "file" else _FD_KINDS
        return lambda personality, nr: _has(personality, nr, kinds)
    if name in MODULES or name in NAMES:
        return lambda personality, nr: _in_set(personality, nr, name)
    if word.startswith("/"):
        try:
            pattern = re.compile(word[1:])
        except re.error as error:
            raise ExpressionError(f"bad regular expression {word!r}: {error}") from None
        return lambda personality, nr: pattern.search(personality.name_of(nr)) is not None
    optional = word.startswith("?")
    if optional:
        word = word[1:]
    if word not in known_names() and not optional:
        raise ExpressionError(f"invalid system call {word!r}")
    return lambda personality, nr: personality.name_of(nr) == word


def _has(personality: Personality, nr: int, kinds: frozenset[str]) -> bool:
    sig = personality.signature(nr)
    if sig is None:
        return False
    for param in sig.params:
        kind = getattr(param.spec, "kind", "")
        late_path = "path" in kinds and kind == "ptr" and param.name in _PATH_PARAMETERS
        if kind in kinds or late_path:
            return True
    return False


def _in_set(personality: Personality, nr: int, name: str) -> bool:
    row = personality.rows[nr]
    if row.name in NAMES.get(name, ()):
        return True
    handler = row.handler
    return isinstance(handler, str) and handler.partition(".")[0] in MODULES.get(name, ())
