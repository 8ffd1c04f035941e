"""C structure layouts as data, compiled to `struct.Struct` codecs.

A *record* (records.py) says what a call exchanges; a *layout* says where the bytes are. A layout
is an ordered list of members; the padding between them follows from the data model (i386 aligns
64-bit members to 4). `Layout.codec(model)` compiles, once and on first use, a pair of functions
between the record and bytes. A value that does not fit its member raises EOVERFLOW, for every call
alike.
"""

from __future__ import annotations

import linecache
import struct
from typing import TYPE_CHECKING, Any, Final

from lxemu.kernel.errno import Errno, KernelError

from .model import ILP32, LP64, Model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SIZES: Final = {"b": 1, "B": 1, "h": 2, "H": 2, "i": 4, "I": 4, "q": 8, "Q": 8}


class Member:
    """One member of a structure: struct format per model, and expressions between value and bytes.

    `enc` makes the packed values out of `{v}`; `dec` makes the record's value out of `{0}`, `{1}`.
    `names` are objects that the expressions mention.
    """

    __slots__ = ("count", "dec", "enc", "fmt32", "fmt64", "names")

    def __init__(
        self,
        fmt64: str,
        fmt32: str | None = None,
        enc: str = "{v}",
        dec: str = "{0}",
        count: int = 1,
        names: dict[str, Any] | None = None,
    ) -> None:
        self.fmt64 = fmt64
        self.fmt32 = fmt64 if fmt32 is None else fmt32
        self.enc = enc
        self.dec = dec
        self.count = count
        self.names = names

    def fmt(self, model: Model) -> str:
        """Return the struct format of this member, without padding."""
        return self.fmt64 if model.bits == 64 else self.fmt32

    def align(self, model: Model) -> int:
        """Return the alignment of this member in *model*."""
        fmt = self.fmt(model).lstrip("0123456789")
        return min(_SIZES.get(fmt[:1], 1), model.max_align)


class Const(Member):
    """A member with a fixed value that no record carries."""

    def __init__(self, fmt64: str, fmt32: str | None = None, value: str = "0") -> None:
        super().__init__(fmt64, fmt32, enc=value)


class Copy(Member):
    """A second member with the value of record field *field*, which has one of its own too."""

    __slots__ = ("field",)

    def __init__(self, field: str, fmt: str, enc: str) -> None:
        super().__init__(fmt, enc=enc)
        self.field = field


U8: Final = Member("B")
U16: Final = Member("H")
U32: Final = Member("I")
U64: Final = Member("Q")
I8: Final = Member("b")
I16: Final = Member("h")
I32: Final = Member("i")
I64: Final = Member("q")
LONG: Final = Member("q", "i")
ULONG: Final = Member("Q", "I")
PTR: Final = Member("Q", "I", enc="{v} & {M}")


def cstr(n: int) -> Member:
    """Return a member of *n* bytes that holds a NUL-terminated string (cut to fit)."""
    return Member(f"{n}s", enc=f"{{v}}[:{n - 1}]", dec="{0}.split(b'\\0', 1)[0]")


def raw(n: int) -> Member:
    """Return a member of *n* bytes, taken as they are."""
    return Member(f"{n}s")


def array(member: Member, n: int) -> Member:
    """Return a member that is an array of *n* plain numbers; the record has a tuple."""
    dec = "(" + "".join(f"{{{i}}}, " for i in range(n)) + ")"
    return Member(member.fmt64 * n, member.fmt32 * n, enc="*{v}", dec=dec, count=n)


class Codec:
    """Pack and unpack one type in one model: `pack(value) -> bytes`, `unpack(bytes) -> value`."""

    __slots__ = ("align", "pack", "size", "struct", "unpack")

    def __init__(
        self,
        struct_: struct.Struct,
        align: int,
        pack: Callable[[Any], bytes],
        unpack: Callable[[bytes], Any],
    ) -> None:
        self.struct = struct_
        self.size = struct_.size
        self.align = align
        self.pack = pack
        self.unpack = unpack

    def pack_array(self, values: Sequence[Any]) -> bytes:
        """Pack consecutive elements."""
        pack = self.pack
        return b"".join([pack(value) for value in values])

    def unpack_array(self, data: bytes) -> list[Any]:
        """Unpack as many elements as *data* holds."""
        size, unpack = self.size, self.unpack
        return [unpack(data[i : i + size]) for i in range(0, len(data) - size + 1, size)]


def _overflow() -> KernelError:
    return KernelError(Errno.EOVERFLOW)


class Layout:
    """The layout of a record: members in C order. Names that start with `_` are padding.

    `packed` drops the implied padding (members then have alignment 1). `align` raises the alignment
    of the whole (tail padding). Record fields without a member keep the record's default.
    """

    __slots__ = ("_align", "_codecs", "members", "name", "packed", "record")

    def __init__(
        self,
        record: Any,
        name: str = "",
        *,
        packed: bool = False,
        align: int = 1,
        **members: Member,
    ) -> None:
        self.record = record
        self.name = name or record.__name__
        self.members = members
        self.packed = packed
        self._align = align
        self._codecs: dict[int, Codec] = {}

    def __repr__(self) -> str:
        return f"<Layout {self.name}>"

    def codec(self, model: Model) -> Codec:
        """Return the codec for *model*, compiling it on first use."""
        found = self._codecs.get(model.bits)
        if found is None:
            found = self._codecs[model.bits] = _compile(self, model)
        return found

    def offsets(self, model: Model) -> tuple[dict[str, int], int, int, str]:
        """Return ({member: offset}, size, alignment, struct format)."""
        fmt, where, most, offset = "<", {}, self._align, 0
        for name, member in self.members.items():
            align = 1 if self.packed else member.align(model)
            most = max(most, align)
            gap = -offset % align
            if gap:
                fmt += f"{gap}x"
            offset += gap
            where[name] = offset
            part = member.fmt(model)
            fmt += part
            offset += struct.calcsize("<" + part)
        gap = -offset % most
        if gap:
            fmt += f"{gap}x"
        return where, offset + gap, most, fmt

    def size(self, model: Model) -> int:
        """Return sizeof in *model*."""
        return self.offsets(model)[1]

    def member(self) -> Member:
        """Return a member that nests this layout inside another one."""
        return _Nested(self)


class _Nested(Member):
    """A structure inside a structure (same model)."""

    __slots__ = ("layout",)

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        key = "nest_" + layout.name
        super().__init__(
            f"{layout.size(LP64)}s",
            f"{layout.size(ILP32)}s",
            enc=key + "{B}.pack({v})",
            dec=key + "{B}.unpack({0})",
        )

    def align(self, model: Model) -> int:
        return self.layout.offsets(model)[2]

    def bind(self, model: Model, names: dict[str, Any]) -> None:
        """Add the codec of the inner layout to the names of the generated source."""
        names[f"nest_{self.layout.name}{model.bits}"] = self.layout.codec(model)


def _compile(layout: Layout, model: Model) -> Codec:
    """Generate and compile pack and unpack for one layout in one model."""
    _, _, align, fmt = layout.offsets(model)
    packer = struct.Struct(fmt)
    fields: tuple[str, ...] = layout.record._fields
    names: dict[str, Any] = {
        "S_pack": packer.pack,
        "S_unpack": packer.unpack,
        "R": layout.record,
        "new": tuple.__new__,
        "StructError": struct.error,
        "overflow": _overflow,
    }
    subst = {"M": hex(model.mask), "B": str(model.bits)}
    values: list[str] = []
    inputs: list[str] = []
    decoded: dict[str, str] = {}
    for number, (name, member) in enumerate(layout.members.items()):
        if member.names:
            names.update(member.names)
        if isinstance(member, _Nested):
            member.bind(model, names)
        parts = [f"r{number}_{i}" for i in range(_arity(member, model))]
        inputs += parts
        field = name.lstrip("_")
        if name in fields:
            values.append(member.enc.format(v=f"v_{name}", **subst))
            decoded[name] = member.dec.format(*parts, **subst)
        elif isinstance(member, Copy):
            values.append(member.enc.format(v=f"v_{member.field}", **subst))
        elif name.startswith("_") or field not in fields:
            values.append(
                member.enc.format(v="0", **subst)
                if isinstance(member, Const)
                else ", ".join(_zero(member, model))
            )
    names["D"] = defaults = layout.record._field_defaults
    made = ", ".join(decoded.get(f) or f"D[{f!r}]" for f in fields)
    missing = [f for f in fields if f not in decoded and f not in defaults]
    if missing:
        raise TypeError(f"layout {layout.name} lacks {missing} of {layout.record.__name__}")
    source = (
        f"def pack(r):\n    ({', '.join('v_' + f for f in fields)},) = r\n"
        f"    try:\n        return S_pack({', '.join(values)})\n"
        f"    except StructError:\n        raise overflow() from None\n"
        f"def unpack(data):\n    ({', '.join(inputs)},) = S_unpack(data)\n"
        f"    return new(R, ({made},))\n"
    )
    filename = f"<lx-{model.name} layout: {layout.name}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    exec(compile(source, filename, "exec"), names)
    return Codec(packer, align, names["pack"], names["unpack"])


def _arity(member: Member, model: Model) -> int:
    fmt = member.fmt(model)
    return len(struct.unpack("<" + fmt, bytes(struct.calcsize("<" + fmt))))


def _zero(member: Member, model: Model) -> list[str]:
    return ["b''" if "s" in member.fmt(model) else "0"] * _arity(member, model)


class ScalarCodec:
    """Codecs of a single number in memory, per model (the pointee of Out[Int] and the like)."""

    __slots__ = ("_codecs", "member")

    def __init__(self, member: Member) -> None:
        self.member = member
        self._codecs: dict[int, Codec] = {}

    def codec(self, model: Model) -> Codec:
        """Return the codec for *model*, compiling it on first use."""
        found = self._codecs.get(model.bits)
        if found is None:
            found = self._codecs[model.bits] = self._compile(model)
        return found

    def _compile(self, model: Model) -> Codec:
        packer = struct.Struct("<" + self.member.fmt(model))
        names: dict[str, Any] = {
            "S_pack": packer.pack,
            "S_unpack": packer.unpack,
            "StructError": struct.error,
            "overflow": _overflow,
            **(self.member.names or {}),
        }
        subst = {"M": hex(model.mask), "B": str(model.bits)}
        source = (
            "def pack(v):\n    try:\n"
            f"        return S_pack({self.member.enc.format(v='v', **subst)})\n"
            "    except StructError:\n        raise overflow() from None\n"
            "def unpack(data):\n    (r,) = S_unpack(data)\n"
            f"    return {self.member.dec.format('r', **subst)}\n"
        )
        exec(compile(source, "<lx scalar codec>", "exec"), names)
        return Codec(packer, self.member.align(model), names["pack"], names["unpack"])
