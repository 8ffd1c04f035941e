"""Write docs/syscall-support.md from the tables: `python -m syscalls.gendocs [--check|--missing]`.

The page shows every number of both ABIs, what we do with it, and what the lx brand did. `--check`
fails when the page in the tree is stale, `--missing` lists the rows that name a handler which does
not exist.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from syscalls.personality import Mux, Nosys, Reason, Support, find_handler, i386, x86_64
from syscalls.tables import lx_status
from syscalls.tables.i386 import LAST as LAST_I386
from syscalls.tables.x86_64 import LAST as LAST_X86_64

if TYPE_CHECKING:
    from collections.abc import Iterator

    from syscalls.personality import Personality, Row

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "syscall-support.md"

#: What a code of lx_status means on the page.
_LX: Final = {
    "K": "kernel",
    "U": "library",
    "U!": "aborts",
    "null": "no: not done",
    "none": "no: no such call",
    "noeq": "no: no equivalent",
    "kern": "no: Linux kernel state",
    "obs": "no: obsolete",
}
_OUT_OF_BOUNDS: Final = "no: beyond its table"

_HEAD: Final = """# System call support

Generated from `syscalls/tables` by `python -m syscalls.gendocs`; do not edit.

- *Status*: **full**; **partial**, and the note says what is missing or different; **none**: the
  call fails with ENOSYS and is counted as unsupported, and the note has the reason.
- *lx*: what the illumos lx brand did with the call, in its newest source: handled in the kernel, in
  the brand library, or refused, with its reason.
"""


def rows_of(personality: Personality, last: int) -> Iterator[Row]:
    """Yield the rows of Linux's numbers, those of the multiplexers behind their call."""
    for row in personality.rows[: last + 1]:
        yield row
        if isinstance(row.handler, Mux):
            for inner in row.handler.rows:
                yield inner._replace(name=f"{row.name}: {inner.name}", nr=-1)


def status(row: Row) -> tuple[Support, str]:
    """Return the support level and the note of a row."""
    handler = row.handler
    if isinstance(handler, Nosys):
        return Support.NONE, str(handler)
    if isinstance(handler, Mux):
        levels = {status(inner)[0] for inner in handler.rows}
        level = levels.pop() if len(levels) == 1 else Support.PARTIAL
        return level, "see the calls inside it, below"
    found = find_handler(handler)
    if found is None:
        return Support.NONE, f"{Reason.MISSING.value}: {handler}"
    note = "; ".join(filter(None, (row.partial, deviation(found.__doc__ or ""))))
    return (Support.PARTIAL if note else Support.FULL), note


def deviation(doc: str) -> str:
    """Return what a handler's docstring says after "Deviation:", up to the end of the paragraph."""
    _, found, rest = doc.partition("Deviation:")
    return " ".join(rest.partition("\n\n")[0].split()).replace("|", "\\|") if found else ""


def render() -> str:
    """Return the page."""
    parts = [_HEAD]
    tables = (
        ("x86_64", x86_64(), LAST_X86_64, lx_status.X86_64.split()),
        ("i386", i386(), LAST_I386, lx_status.I386.split()),
    )
    for title, personality, last, lx in tables:
        body: list[str] = []
        counts = dict.fromkeys(Support, 0)
        for row in rows_of(personality, last):
            level, note = status(row)
            number = str(row.nr) if row.nr >= 0 else ""
            code = lx[row.nr] if 0 <= row.nr < len(lx) else ""
            was = _LX.get(code, "" if row.nr < 0 else _OUT_OF_BOUNDS)
            if row.nr >= 0 and not row.name.startswith("syscall_"):
                counts[level] += 1
            body.append(f"| {number} | {row.name} | {level.value} | {was} | {note} |")
        total = sum(counts.values())
        parts.append(
            f"\n## {title}\n\n{total} calls: {counts[Support.FULL]} full, "
            f"{counts[Support.PARTIAL]} partial, {counts[Support.NONE]} none.\n\n"
            "| nr | name | status | lx | note |\n|--:|--|--|--|--|\n" + "\n".join(body) + "\n"
        )
    return "".join(parts)


def missing() -> list[str]:
    """Return "abi name handler" of the rows whose handler does not exist."""
    return [
        f"{personality.name} {row.name} {row.handler}"
        for personality in (x86_64(), i386())
        for row in personality.missing()
    ]


def main(args: list[str]) -> int:
    """Write the page, check it, or list what is missing; return the exit status."""
    if args == ["--missing"]:
        lines = missing()
        sys.stdout.write("".join(line + "\n" for line in lines))
        return 1 if lines else 0
    text = render()
    if args == ["--check"]:
        stale = not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text
        if stale:
            sys.stderr.write("docs/syscall-support.md is stale: run python -m syscalls.gendocs\n")
        return 1 if stale else 0
    if args:
        sys.stderr.write("usage: python -m syscalls.gendocs [--check|--missing]\n")
        return 2
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
