"""A personality: the table of one ABI, and the flat list of stubs that the trap loop indexes.

A table is a list of rows, every number of it. A row names its handler as "module.function" of
syscalls/handlers; the module is imported, and the stub compiled, on the first call of that number:
a program pays only for the calls it makes. Until then the slot holds a trampoline that does this
and puts the stub in its own place.
"""

from __future__ import annotations

from enum import Enum
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lxemu.kernel.errno import Errno, KernelError

from .abi.model import ILP32, LP64
from .abi.stub import Signature, build, build_mux, signature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lxemu.kernel.lwp import Lwp

    from .abi.model import Model

    Stub = Callable[[Lwp], int]

#: Slots of the flat list; numbers from here on are not in any Linux table (x32 has bit 30 set).
SLOTS: Final = 512


class Reason(Enum):
    """Why a call is not there. The first six are those of the lx brand (lx_syscall.c)."""

    NOT_DONE = "Not done yet"
    NONE = "No such Linux system call"
    NO_EQUIV = "No equivalent illumos functionality"
    KERNEL = "Reads/modifies Linux kernel state"
    UNDOC = "Undocumented and/or rarely used system call"
    OBSOLETE = "Unsupported, obsolete system call"
    PLANNED = "Planned"
    MISSING = "Handler not written yet"


class Support(Enum):
    """How much of a call is there."""

    FULL = "full"
    PARTIAL = "partial"
    NONE = "none"


class Nosys(NamedTuple):
    """The handler of a call that gives ENOSYS, with the reason that users see."""

    reason: Reason
    text: str = ""

    def __str__(self) -> str:
        return f"{self.reason.value}: {self.text}" if self.text else self.reason.value


class Mux(NamedTuple):
    """A call that carries many: the first argument selects the row, `fetch` gets its arguments."""

    rows: tuple[Row, ...]
    fetch: Callable[[Lwp, int, Any], tuple[int, Sequence[int]]]


class Row(NamedTuple):
    """One call of a table."""

    nr: int
    name: str
    handler: str | Nosys | Mux
    #: Alias or parameter name -> alias; record name -> layout name: how this ABI differs.
    using: Mapping[str, str]
    #: What is missing; empty when everything is there.
    partial: str
    #: It neither blocks nor changes memory or scheduling.
    leaf: bool

    @property
    def support(self) -> Support:
        """Return the support level."""
        if isinstance(self.handler, Nosys):
            return Support.NONE
        return Support.PARTIAL if self.partial else Support.FULL


_NO_USING: Final[Mapping[str, str]] = {}


def row(
    nr: int,
    name: str,
    handler: str | Nosys | Mux,
    *,
    using: Mapping[str, str] = _NO_USING,
    partial: str = "",
    leaf: bool = False,
) -> Row:
    """Declare call *nr*."""
    return Row(nr, name, handler, using, partial, leaf)


def nosys(reason: Reason, text: str = "") -> Nosys:
    """Declare that a call gives ENOSYS, and why."""
    return Nosys(reason, text)


def planned(text: str) -> Nosys:
    """Declare that a call gives ENOSYS for now."""
    return Nosys(Reason.PLANNED, text)


def gap(first: int, last: int) -> list[Row]:
    """Declare numbers that Linux does not use."""
    none = Nosys(Reason.NONE)
    return [
        Row(nr, f"syscall_{nr}", none, _NO_USING, "", leaf=False) for nr in range(first, last + 1)
    ]


class Personality:
    """The calls of one ABI.

    A personality serves every machine of the process; each machine's brand has a list of stubs of
    its own (`new_stubs`), where it may put others in front.
    """

    __slots__ = ("_compiled", "_inner", "_stubs", "bits", "leaf", "model", "name", "names", "rows")

    def __init__(self, name: str, model: Model, rows: Iterable[Row]) -> None:
        #: Such as "lx-x86_64"; the names of the stubs begin with it.
        self.name = name
        self.model = model
        self.bits = model.bits
        table = {row.nr: row for row in rows}
        for nr in range(SLOTS):
            if nr not in table:
                table[nr] = Row(
                    nr, f"syscall_{nr:#x}", Nosys(Reason.NONE), _NO_USING, "", leaf=False
                )
        self.rows: tuple[Row, ...] = tuple(table[nr] for nr in range(SLOTS))
        self.names: tuple[str, ...] = tuple(row.name for row in self.rows)
        self.leaf: frozenset[int] = frozenset(row.nr for row in self.rows if row.leaf)
        self._stubs: dict[int, Stub] = {}
        #: Number -> signature (None for nosys and mux rows) of what has been compiled.
        self._compiled: dict[int, Signature | None] = {}
        #: The same for the calls inside a mux row, by both numbers.
        self._inner: dict[tuple[int, int], Signature | None] = {}

    def __repr__(self) -> str:
        return f"<Personality {self.name}>"

    def name_of(self, nr: int) -> str:
        """Return the name of a call, as strace shows it."""
        return self.names[nr] if 0 <= nr < SLOTS else f"syscall_{nr:#x}"

    def compile(self, nr: int) -> Stub:
        """Return the stub of call *nr*, compiled the first time. Raises BadSignatureError.

        `stub(lwp)` performs the call of the live registers and returns its result, or raises
        KernelError.
        """
        stub = self._stubs.get(nr)
        if stub is None:
            stub, self._compiled[nr] = compile_row(self.rows[nr], self.name, self.model)
            self._stubs[nr] = stub
        return stub

    def new_stubs(self) -> list[Stub]:
        """Return a flat list of the stubs by number; one that is called takes its slot compiled."""
        stubs: list[Stub] = []
        stubs += [_Trampoline(self, nr, stubs) for nr in range(SLOTS)]
        return stubs

    def compile_all(self) -> None:
        """Compile every stub (tests; programs that must not pay on first use)."""
        for nr in range(SLOTS):
            self.compile(nr)

    def signature(self, nr: int) -> Signature | None:
        """Return the compiled signature of call *nr*; None when it is not implemented or a mux."""
        if not 0 <= nr < SLOTS:
            return None
        if nr not in self._compiled:
            self.compile(nr)
        return self._compiled[nr]

    def inner(
        self, lwp: Lwp, nr: int, words: Sequence[int]
    ) -> tuple[str, Signature, Sequence[int]] | None:
        """Return the call that a mux row would make of *words*: name, signature and arguments.

        None when *nr* is no mux row, or the call inside it is unknown or not implemented. Raises
        EFAULT, EINVAL.
        """
        mux = self.rows[nr].handler if 0 <= nr < SLOTS else None
        if not isinstance(mux, Mux):
            return None
        number, args = mux.fetch(lwp, words[0], words)
        found = next((row for row in mux.rows if row.nr == number), None)
        if found is None:
            return None
        key = (nr, number)
        if key not in self._inner:
            handler = find_handler(found.handler) if isinstance(found.handler, str) else None
            made = signature(handler, self.model, found.using) if handler is not None else None
            self._inner[key] = made
        sig = self._inner[key]
        return None if sig is None else (found.name, sig, args)

    def restartable(self, nr: int) -> bool:
        """Return whether call *nr* starts again after a handler with SA_RESTART."""
        sig = self._compiled.get(nr)
        return sig is None or sig.restart

    def nosys(self, lwp: Lwp, nr: int) -> int:
        """Answer a number outside of the table: ENOSYS, counted as unsupported."""
        lwp.machine.unsupported(lwp, f"syscall_{nr:#x}", Reason.NONE.value)
        raise KernelError(Errno.ENOSYS)

    def missing(self) -> list[Row]:
        """Return the rows whose handler does not exist (a test wants none)."""
        return [
            row
            for row in self.rows
            if isinstance(row.handler, str) and find_handler(row.handler) is None
        ]


class _Trampoline:
    """The first occupant of a slot: gets the compiled stub, puts it in place, and calls it."""

    __slots__ = ("nr", "owner", "stubs")

    def __init__(self, owner: Personality, nr: int, stubs: list[Stub]) -> None:
        self.owner = owner
        self.nr = nr
        self.stubs = stubs

    def __call__(self, lwp: Lwp) -> int:
        stub = self.owner.compile(self.nr)
        self.stubs[self.nr] = stub
        return stub(lwp)


def find_handler(path: str) -> Any:
    """Import "module.function" of syscalls/handlers; None when there is no such thing."""
    module, _, function = path.partition(".")
    full = f"syscalls.handlers.{module}"
    try:
        loaded = import_module(full)
    except ModuleNotFoundError as err:
        if err.name != full:
            raise
        return None
    return getattr(loaded, function, None)


def compile_row(row: Row, label: str, model: Model) -> tuple[Stub, Signature | None]:
    """Return the stub of a row, and its signature when it has a handler."""
    handler = row.handler
    if isinstance(handler, Mux):
        return _mux_stub(row, handler, label, model), None
    if isinstance(handler, str):
        found = find_handler(handler)
        if found is not None:
            sig = signature(found, model, row.using)
            return build(f"{label} stub: {row.name}", sig, model), sig
        handler = Nosys(Reason.MISSING, handler)
    return _nosys_stub(row.name, str(handler)), None


def _nosys_stub(name: str, why: str) -> Stub:
    def stub(lwp: Lwp) -> int:
        lwp.machine.unsupported(lwp, name, why)
        raise KernelError(Errno.ENOSYS)

    return stub


def _mux_stub(row: Row, mux: Mux, label: str, model: Model) -> Stub:
    """Return the stub of socketcall or ipc: select the row by number, fetch, call."""
    stubs: dict[int, Callable[[Lwp, Any], int]] = {}
    rows = {inner.nr: inner for inner in mux.rows}
    fetch = mux.fetch
    slots = model.slots

    def compile_inner(lwp: Lwp, number: int) -> Callable[[Lwp, Any], int]:
        inner = rows.get(number)
        if inner is None:
            raise KernelError(Errno.EINVAL)
        found = find_handler(inner.handler) if isinstance(inner.handler, str) else None
        if found is None:
            lwp.machine.unsupported(lwp, f"{row.name}({inner.name})", str(inner.handler))
            raise KernelError(Errno.ENOSYS)
        sig = signature(found, model, inner.using)
        stub = build_mux(f"{label} stub: {row.name}({inner.name})", sig, model)
        stubs[number] = stub
        return stub

    def stub(lwp: Lwp) -> int:
        q = lwp.q
        words = [q[slot] & 0xFFFFFFFF for slot in slots]
        number, args = fetch(lwp, words[0], words)
        return (stubs.get(number) or compile_inner(lwp, number))(lwp, args)

    return stub


def x86_64() -> Personality:
    """Return the personality of 64-bit programs."""
    return _personality("x86_64")


def i386() -> Personality:
    """Return the personality of 32-bit programs."""
    return _personality("i386")


@cache
def _personality(abi: str) -> Personality:
    table = import_module(f"syscalls.tables.{abi}").TABLE
    return Personality(f"lx-{abi}", LP64 if abi == "x86_64" else ILP32, table)
