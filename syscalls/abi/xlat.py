"""Translation tables between Linux words and the kernel's, as data.

A `FlagTable` is a list of rows (Linux bits, kernel bits, Linux name[, kernel name]). Both
directions, the strace names and the truss names come from the same rows. A row that is a superset
of another (O_SYNC contains O_DSYNC) stands before it. A `Choice` inside a flag table is a multi-
bit field (O_ACCMODE). An `EnumTable` maps whole values.
"""

from __future__ import annotations

from typing import Final

from lxemu.kernel.errno import Errno, KernelError

_CACHE_LIMIT: Final = 512

#: (Linux value, kernel value, Linux name) or (..., kernel name).
Row = tuple[int, int, str] | tuple[int, int, str, str]


class Choice:
    """A field of several bits with one value of a list: the O_ACCMODE of open(2)."""

    __slots__ = ("lx_mask", "mask", "rows")

    def __init__(self, lx_mask: int, mask: int, *rows: Row) -> None:
        self.lx_mask = lx_mask
        self.mask = mask
        self.rows = rows


class _Inward(dict[int, int]):
    """Memo of Linux to kernel; a miss translates. Indexing it is the fast path of every stub."""

    __slots__ = ("_table",)

    def __init__(self, table: FlagTable | EnumTable) -> None:
        super().__init__()
        self._table = table

    def __missing__(self, word: int) -> int:
        value = self._table.translate_in(word)
        if len(self) >= _CACHE_LIMIT:
            self.clear()
        self[word] = value
        return value


class _Outward(_Inward):
    """Memo of kernel to Linux."""

    __slots__ = ()

    def __missing__(self, word: int) -> int:
        value = self._table.translate_out(word)
        if len(self) >= _CACHE_LIMIT:
            self.clear()
        self[word] = value
        return value


class FlagTable:
    """A word of flag bits.

    `unknown` is the policy for bits that no row has: "ignore" drops them, "einval" refuses the
    word, "keep" passes them through unchanged (words whose policy depends on the call).
    """

    __slots__ = (
        "choices",
        "from_lx",
        "mark",
        "name",
        "others",
        "rows",
        "to_lx",
        "unknown",
        "unmarked",
        "zero",
    )

    def __init__(
        self,
        name: str,
        *rows: Row | Choice,
        unknown: str = "einval",
        zero: str = "0",
        others: tuple[Row, ...] = (),
        mark: int = 0,
        unmarked: int = 0,
    ) -> None:
        self.name = name
        self.choices = [r for r in rows if isinstance(r, Choice)]
        self.rows: list[Row] = [r for r in rows if not isinstance(r, Choice)]
        self.unknown = unknown
        self.zero = zero
        #: Kernel bits to set when bits that no row has, other than `unmarked`, were dropped.
        self.mark = mark
        self.unmarked = unmarked
        #: Rows of the same name space that this word may not have: known to `text` only.
        self.others = others
        #: Index with a Linux word to get the kernel's; raises KernelError(EINVAL) by policy.
        self.from_lx = _Inward(self)
        #: Index with a kernel word to get Linux's; kernel bits without a row are dropped.
        self.to_lx = _Outward(self)

    def translate_in(self, word: int) -> int:
        """Translate a Linux word, without the memo."""
        value, rest = 0, word
        for choice in self.choices:
            part = rest & choice.lx_mask
            rest &= ~choice.lx_mask
            for row in choice.rows:
                if row[0] == part:
                    value |= row[1]
                    break
            else:
                if self.unknown != "ignore":
                    raise KernelError(Errno.EINVAL)
        for row in self.rows:
            bits = row[0]
            if rest & bits == bits:
                value |= row[1]
                rest &= ~bits
        if rest and self.unknown == "einval":
            raise KernelError(Errno.EINVAL)
        if self.unknown == "keep":
            value |= rest
        elif rest & ~self.unmarked:
            value |= self.mark
        return value

    def translate_out(self, word: int) -> int:
        """Translate a kernel word, without the memo."""
        value, rest = 0, word
        for choice in self.choices:
            part = rest & choice.mask
            rest &= ~choice.mask
            for row in choice.rows:
                if row[1] == part:
                    value |= row[0]
                    break
        for row in self.rows:
            bits = row[1]
            if bits and rest & bits == bits:
                value |= row[0]
                rest &= ~bits
        if self.unknown == "keep":
            value |= rest
        return value

    def text(self, word: int, *, native: bool = False) -> str:
        """Name the bits of a word as strace does; with *native* a kernel word, as truss does."""
        parts: list[str] = []
        rest = word
        for choice in self.choices:
            mask = choice.mask if native else choice.lx_mask
            part = rest & mask
            rest &= ~mask
            for row in choice.rows:
                if (row[1] if native else row[0]) == part:
                    parts.append(row_name(row, native=native))
                    break
            else:
                parts.append(hex(part))
        for row in (*self.rows, *self.others):
            bits = row[1] if native else row[0]
            if bits and rest & bits == bits:
                parts.append(row_name(row, native=native))
                rest &= ~bits
        if rest:
            text = hex(rest)
            if not parts and not native:
                text += f" /* {self.name} */" if "?" in self.name else f" /* {self.name}_??? */"
            parts.append(text)
        return "|".join(parts) if parts else self.zero


class EnumTable:
    """A word that is one value of a list. `unknown`: "einval" refuses, "keep" passes it through."""

    __slots__ = ("_in", "_out", "from_lx", "name", "rows", "to_lx", "unknown")

    def __init__(self, name: str, *rows: Row, unknown: str = "einval") -> None:
        self.name = name
        self.rows = rows
        self.unknown = unknown
        self._in = {row[0]: row[1] for row in reversed(rows)}
        self._out = {row[1]: row[0] for row in reversed(rows)}
        self.from_lx = _Inward(self)
        self.to_lx = _Outward(self)

    def translate_in(self, word: int) -> int:
        """Translate a Linux value, without the memo."""
        value = self._in.get(word)
        if value is None:
            if self.unknown == "einval":
                raise KernelError(Errno.EINVAL)
            return word
        return value

    def translate_out(self, word: int) -> int:
        """Translate a kernel value, without the memo."""
        return self._out.get(word, word)

    def text(self, word: int, *, native: bool = False) -> str:
        """Name a value as strace does (or, with *native*, a kernel value as truss does)."""
        side = 1 if native else 0
        for row in self.rows:
            if row[side] == word:
                return row_name(row, native=native)
        return f"{word:#x} /* {self.name}_??? */" if not native else hex(word)


def row_name(row: Row, *, native: bool = False) -> str:
    """Return the Linux name of a row, or its kernel name (the same unless the row says so)."""
    return row[3] if native and len(row) == 4 else row[2]
