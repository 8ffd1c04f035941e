"""Scalar arguments: how a register becomes the integer that a handler gets.

Every alias is `Annotated[int, Scalar(...)]`, so that a type checker sees an int, and the stub
compiler sees the C type, the trace format and the codec in memory (for `Out[Int]` and the like).
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from syscalls.signum import FROM_LX, TO_LX, sigset_from_lx, sigset_to_lx

from .layout import Codec, Member, ScalarCodec
from .model import ILP32, LP64, Model

#: uid_t or gid_t -1: "leave it as it is" in chown, setresuid and the like.
NO_ID: Final = 0xFFFFFFFF
#: What `SigAny` gives for a number that is no signal.
BAD_SIGNAL: Final = -1


class ArgSpec:
    """What the stub compiler needs to know about the type of one argument."""

    __slots__ = ("kind", "name")

    #: True when decoding reads user memory: then all other arguments are decoded before it.
    late = False

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        #: Trace format, see abi/trace.py.
        self.kind = kind

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def slots(self, model: Model) -> int:  # noqa: ARG002  the two-slot kinds override it
        """Return how many argument registers this takes."""
        return 1

    def expr(self, regs: list[str], model: Model, names: dict[str, Any]) -> str:
        """Return the source of the decoded value; may add to *names* of the stub."""
        raise NotImplementedError


_S32 = "(a if (a := {r}) < 0x80000000 else (a & 0xffffffff ^ 0x80000000) - 0x80000000)"
_S64 = "(a if (a := {r}) < 0x8000000000000000 else a - 0x10000000000000000)"
_EXPR: Final = {
    "q": _S64,
    "Q": "{r}",
    "i": _S32,
    "I": "{r} & 0xffffffff",
    "h": "({r} & 0xffff ^ 0x8000) - 0x8000",
    "H": "{r} & 0xffff",
}
_PAIR: Final = "({lo} & 0xffffffff | ({hi} & 0xffffffff) << 32)"


class Scalar(ArgSpec):
    """A plain number of a C type; `wide32`: 64 bits that i386 passes as (low, high)."""

    __slots__ = ("_memory", "fmt32", "fmt64", "member", "pair", "wide32")

    def __init__(
        self,
        name: str,
        fmt64: str,
        fmt32: str | None = None,
        kind: str = "d",
        *,
        wide32: bool = False,
        pair: bool = False,
        member: Member | None = None,
    ) -> None:
        super().__init__(name, kind)
        self.fmt64 = fmt64
        self.fmt32 = fmt64 if fmt32 is None else fmt32
        self.wide32 = wide32
        self.pair = pair
        self.member = Member(self.fmt64, self.fmt32) if member is None else member
        self._memory = ScalarCodec(self.member)

    def slots(self, model: Model) -> int:
        """Return how many argument registers this takes."""
        if self.pair:
            return 2
        return 2 if self.wide32 and model is ILP32 else 1

    def expr(self, regs: list[str], model: Model, names: dict[str, Any]) -> str:  # noqa: ARG002
        """Return the source of the decoded value."""
        if model is LP64:
            return _EXPR[self.fmt64].format(r=regs[0])
        if len(regs) == 2:
            pair = _PAIR.format(lo=regs[0], hi=regs[1])
            return _EXPR[self.fmt32].format(r=pair)
        text = _EXPR[self.fmt32]
        return text.format(r=regs[0])

    def codec(self, model: Model) -> Codec:
        """Return the codec of this number in memory."""
        return self._memory.codec(model)


class IdScalar(Scalar):
    """A 16-bit uid or gid of old i386 calls: 0xffff is -1; one that does not fit is 65534."""

    __slots__ = ()

    def __init__(self, name: str) -> None:
        super().__init__(name, "H", kind="id", member=ID16)

    def expr(self, regs: list[str], model: Model, names: dict[str, Any]) -> str:  # noqa: ARG002
        """Return the source of the decoded value."""
        return f"(a if (a := {regs[0]} & 0xffff) != 0xffff else 0xffffffff)"


#: Member: a 16-bit id in a structure (high2lowuid: 65534 when it does not fit).
ID16: Final = Member(
    "H",
    enc="({v} if {v} < 0x10000 else 0xfffe if {v} != 0xffffffff else 0xffff)",
    dec="({0} if {0} != 0xffff else 0xffffffff)",
)


class DirFdScalar(Scalar):
    """A directory descriptor: Linux's AT_FDCWD (-100) arrives as the kernel's AT_FDCWD."""

    __slots__ = ()

    def expr(self, regs: list[str], model: Model, names: dict[str, Any]) -> str:
        """Return the source of the decoded value."""
        number = super().expr(regs, model, names)
        return f"(d if (d := {number}) != -100 else {AT_FDCWD})"


#: illumos' AT_FDCWD (sys/fcntl.h, 0xffd19553), as the signed number that a handler gets.
AT_FDCWD: Final = 0xFFD19553 - (1 << 32)


class SigScalar(Scalar):
    """A signal number: arrives as the kernel's. Zero stays zero; others raise EINVAL or give -1."""

    __slots__ = ("strict",)

    def __init__(self, name: str, *, strict: bool) -> None:
        super().__init__(name, "i", kind="sig", member=SIGNO)
        self.strict = strict

    def expr(self, regs: list[str], model: Model, names: dict[str, Any]) -> str:
        """Return the source of the decoded value."""
        number = super().expr(regs, model, names)
        names["sig_in"] = FROM_LX
        if self.strict:
            names["sig_strict"] = _StrictSignals()
            return f"(sig_in[s] if 0 <= (s := {number}) <= 64 else sig_strict[s])"
        return f"(sig_in[s] if 0 <= (s := {number}) <= 64 else {BAD_SIGNAL})"


class _StrictSignals(dict[int, int]):
    """Raise EINVAL for a number that is no signal."""

    def __missing__(self, number: int) -> int:
        from lxemu.kernel.errno import Errno, KernelError

        raise KernelError(Errno.EINVAL)


#: Member: a signal number in a structure. A number that is no signal arrives as BAD_SIGNAL.
SIGNO: Final = Member(
    "i",
    enc="(sig_out[{v}] if 0 <= {v} <= 74 else {v})",
    dec="(sig_in[{0}] if 0 <= {0} <= 64 else -1)",
    names={"sig_in": FROM_LX, "sig_out": TO_LX},
)
#: Member: a 64-bit signal set, translated.
SIGSET: Final = Member(
    "Q",
    enc="sigset_to_lx({v})",
    dec="sigset_from_lx({0})",
    names={"sigset_to_lx": sigset_to_lx, "sigset_from_lx": sigset_from_lx},
)
#: Member: the one-word signal set of the first i386 calls (signals 1 to 32 only).
SIGSET_OLD: Final = Member(
    "Q",
    "I",
    enc="sigset_to_lx({v}) & 0xffffffff",
    dec="sigset_from_lx({0} & 0xffffffff)",
    names={"sigset_to_lx": sigset_to_lx, "sigset_from_lx": sigset_from_lx},
)


class SigMaskScalar(Scalar):
    """A one-word signal set passed by value (i386 sigsuspend, ssetmask)."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("OldSigMask", "I", kind="sigset", member=SIGSET_OLD)

    def expr(self, regs: list[str], model: Model, names: dict[str, Any]) -> str:  # noqa: ARG002
        """Return the source of the decoded value."""
        names["sigset_in"] = sigset_from_lx
        return f"sigset_in({regs[0]} & 0xffffffff)"


class DevScalar(Scalar):
    """A device number by value: 32 bits, Linux's new encoding, arrives as major << 32 | minor."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("Dev", "I", kind="dev")

    def expr(self, regs: list[str], model: Model, names: dict[str, Any]) -> str:  # noqa: ARG002
        """Return the source of the decoded value."""
        names["dev_in"] = dev_from_lx
        return f"dev_in({regs[0]} & 0xffffffff)"


def dev_from_lx(dev: int) -> int:
    """Decode a Linux device number (new_decode_dev, or the 64-bit form) to major << 32 | minor."""
    major = dev >> 8 & 0xFFF | dev >> 32 & 0xFFFFF000
    minor = dev & 0xFF | dev >> 12 & 0xFFFFFF00
    return major << 32 | minor


def dev_to_lx(dev: int) -> int:
    """Encode major << 32 | minor as Linux's dev_t (sysmacros.h makedev; 32 bits when it fits)."""
    major, minor = dev >> 32, dev & 0xFFFFFFFF
    return (
        (major & 0xFFF) << 8
        | (major & 0xFFFFF000) << 32
        | minor & 0xFF
        | (minor & 0xFFFFFF00) << 12
    )


class ValueScalar(Scalar):
    """A number whose value is looked up in a translation table (flags and enumerations)."""

    __slots__ = ("force64", "table")

    def __init__(
        self,
        name: str,
        table: Any,
        *,
        fmt64: str = "I",
        fmt32: str = "I",
        force64: int = 0,
    ) -> None:
        super().__init__(name, fmt64, fmt32, kind="xlat")
        self.table = table
        #: Kernel bits that are always set for LP64 callers.
        self.force64 = force64

    def expr(self, regs: list[str], model: Model, names: dict[str, Any]) -> str:
        """Return the source of the decoded value."""
        word = super().expr(regs, model, names)
        key = f"in_{self.name}"
        names[key] = self.table.from_lx
        forced = self.force64 if model is LP64 else 0
        return f"({key}[{word}] | {forced:#x})" if forced else f"{key}[{word}]"


Int = Annotated[int, Scalar("Int", "i")]
UInt = Annotated[int, Scalar("UInt", "I", kind="u")]
HexInt = Annotated[int, Scalar("HexInt", "I", kind="x")]
Long = Annotated[int, Scalar("Long", "q", "i")]
ULong = Annotated[int, Scalar("ULong", "Q", "I", kind="u")]
HexLong = Annotated[int, Scalar("HexLong", "Q", "I", kind="x")]
Size = Annotated[int, Scalar("Size", "Q", "I", kind="u")]
Off = Annotated[int, Scalar("Off", "q", "i")]
Off64 = Annotated[int, Scalar("Off64", "q", "q", wide32=True)]
OffPair = Annotated[int, Scalar("OffPair", "q", "q", wide32=True, pair=True)]
U64Pair = Annotated[int, Scalar("U64Pair", "Q", "Q", kind="x", wide32=True)]
S64Mem = Annotated[int, Scalar("S64Mem", "q", "q")]
U64Mem = Annotated[int, Scalar("U64Mem", "Q", "Q", kind="u")]
Mode = Annotated[int, Scalar("Mode", "H", kind="mode")]
Pid = Annotated[int, Scalar("Pid", "i")]
Tid = Annotated[int, Scalar("Tid", "i")]
Uid = Annotated[int, Scalar("Uid", "I", kind="id")]
Gid = Annotated[int, Scalar("Gid", "I", kind="id")]
Uid16 = Annotated[int, IdScalar("Uid16")]
Gid16 = Annotated[int, IdScalar("Gid16")]
Fd = Annotated[int, Scalar("Fd", "i", kind="fd")]
DirFd = Annotated[int, DirFdScalar("DirFd", "i", kind="dirfd")]
Ptr = Annotated[int, Scalar("Ptr", "Q", "I", kind="ptr")]
#: The address of a path that the handler copies in itself (copyin_path), for the order of errors.
PathPtr = Annotated[int, Scalar("PathPtr", "Q", "I", kind="path")]
#: A buffer that the call reads; the length is the next argument.
InBuf = Annotated[int, Scalar("InBuf", "Q", "I", kind="inbuf")]
#: A buffer that the call fills; the result says how far.
OutBuf = Annotated[int, Scalar("OutBuf", "Q", "I", kind="outbuf")]
Sig = Annotated[int, SigScalar("Sig", strict=True)]
SigAny = Annotated[int, SigScalar("SigAny", strict=False)]
OldSigMask = Annotated[int, SigMaskScalar()]
#: In memory only: In[SigSet], Out[SigSet] exchange a kernel bit mask.
SigSet = Annotated[int, Scalar("SigSet", "Q", "Q", kind="sigset", member=SIGSET)]
OldSigSet = Annotated[int, Scalar("OldSigSet", "Q", "I", kind="sigset", member=SIGSET_OLD)]
Dev = Annotated[int, DevScalar()]
TimeT = Annotated[int, Scalar("TimeT", "q", "i")]
