"""Arguments that point into user memory: paths, records, vectors of strings, descriptor sets.

The pointer objects do nothing until asked: `get` and `put` touch memory at the line where the real
kernel would copy, so the order of errors is the handler's. All raise KernelError(EFAULT).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, TypeVar

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.mm.usercopy import OverlongString

from .model import ILP32, LP64, Model
from .registry import default_codec
from .scalars import ArgSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.mm.as_ import As

    from .layout import Codec

T = TypeVar("T")

PATH_MAX: Final = 4096
#: MAX_ARG_STRLEN of Linux: the longest single argument of exec, with its NUL.
ARG_STRLEN: Final = 131072


class _Pointer(Generic[T]):
    """A typed user address; false when NULL."""

    __slots__ = ("addr", "as_", "codec")

    def __init__(self, as_: As, addr: int, codec: Codec) -> None:
        self.as_ = as_
        self.addr = addr
        self.codec = codec

    def __bool__(self) -> bool:
        return self.addr != 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.addr:#x}>"


class In(_Pointer[T]):
    """A pointer that the call reads through."""

    __slots__ = ()

    def get(self) -> T:
        """Copy in one T."""
        codec = self.codec
        value: T = codec.unpack(self.as_.copyin(self.addr, codec.size))
        return value

    def get_or_none(self) -> T | None:
        """Copy in one T; None when the pointer is NULL."""
        return self.get() if self.addr else None

    def get_at(self, index: int) -> T:
        """Copy in element *index* of an array."""
        codec = self.codec
        value: T = codec.unpack(self.as_.copyin(self.addr + index * codec.size, codec.size))
        return value

    def get_array(self, count: int) -> list[T]:
        """Copy in *count* elements with one copy."""
        if count <= 0:
            return []
        values: list[T] = self.codec.unpack_array(
            self.as_.copyin(self.addr, count * self.codec.size)
        )
        return values


class Out(_Pointer[T]):
    """A pointer that the call writes through."""

    __slots__ = ()

    def put(self, value: T) -> None:
        """Copy out one T."""
        self.as_.copyout(self.addr, self.codec.pack(value))

    def put_if(self, value: T) -> None:
        """Copy out one T unless the pointer is NULL."""
        if self.addr:
            self.as_.copyout(self.addr, self.codec.pack(value))

    def put_at(self, index: int, value: T) -> None:
        """Copy out element *index* of an array."""
        codec = self.codec
        self.as_.copyout(self.addr + index * codec.size, codec.pack(value))

    def put_array(self, values: Sequence[T]) -> None:
        """Copy out consecutive elements with one copy."""
        if values:
            self.as_.copyout(self.addr, self.codec.pack_array(values))


class InOut(In[T], Out[T]):
    """A pointer that the call reads and then writes through."""

    __slots__ = ()


class StrVec:
    """A NULL-terminated vector of string pointers (argv, envp)."""

    __slots__ = ("addr", "as_", "word")

    def __init__(self, as_: As, addr: int, word: int) -> None:
        self.as_ = as_
        self.addr = addr
        #: Size of a pointer.
        self.word = word

    def __bool__(self) -> bool:
        return self.addr != 0

    def get(self, limit: int = 2 << 20) -> list[bytes]:
        """Copy in all strings; E2BIG beyond *limit* bytes in all, EFAULT. NULL is empty."""
        found: list[bytes] = []
        if not self.addr:
            return found
        as_, word, at, total = self.as_, self.word, self.addr, 0
        while True:
            pointer = int.from_bytes(as_.copyin(at, word), "little")
            if not pointer:
                return found
            string = copyin_string(as_, pointer, ARG_STRLEN, Errno.E2BIG)
            total += len(string) + 1 + word
            if total > limit:
                raise KernelError(Errno.E2BIG)
            found.append(string)
            at += word


class FdSet:
    """The fd_set of select(2): a bitmap of longs, exchanged as a Python int."""

    __slots__ = ("addr", "as_", "word")

    def __init__(self, as_: As, addr: int, word: int) -> None:
        self.as_ = as_
        self.addr = addr
        self.word = word

    def __bool__(self) -> bool:
        return self.addr != 0

    def get(self, nfds: int) -> int:
        """Copy in the first *nfds* bits; 0 when NULL."""
        if not self.addr or not nfds:
            return 0
        data = self.as_.copyin(self.addr, self._nbytes(nfds))
        return int.from_bytes(data, "little") & ((1 << nfds) - 1)

    def put(self, nfds: int, bits: int) -> None:
        """Copy out *nfds* bits, whole longs; nothing when NULL."""
        if self.addr and nfds:
            self.as_.copyout(self.addr, bits.to_bytes(self._nbytes(nfds), "little"))

    def _nbytes(self, nfds: int) -> int:
        return (nfds + self.word * 8 - 1) // (self.word * 8) * self.word


def copyin_string(as_: As, addr: int, limit: int, toolong: Errno) -> bytes:
    """Copy in a NUL-terminated string of fewer than *limit* bytes; *toolong* when it is not."""
    try:
        return as_.copyinstr(addr, limit)
    except OverlongString:
        raise KernelError(toolong) from None


def copyin_path(as_: As, addr: int) -> bytes:
    """Copy in a path name: EFAULT, ENAMETOOLONG."""
    try:
        return as_.copyinstr(addr, PATH_MAX)
    except OverlongString:
        raise KernelError(Errno.ENAMETOOLONG) from None


class PathSpec(ArgSpec):
    """A path name, copied in before the handler runs."""

    __slots__ = ("nullable",)

    late = True

    def __init__(self, name: str, *, nullable: bool) -> None:
        super().__init__(name, "path")
        self.nullable = nullable

    def expr(self, regs: list[str], model: Model, names: dict[str, Any]) -> str:
        """Return the source of the decoded value."""
        names["copyin_path"] = copyin_path
        reg = regs[0] if model is LP64 else f"{regs[0]} & 0xffffffff"
        if self.nullable:
            return f"(copyin_path(as_, a) if (a := {reg}) else None)"
        return f"copyin_path(as_, {reg})"


class NameSpec(PathSpec):
    """A short name with its own limit and error (xattr names: ERANGE at 256 bytes)."""

    __slots__ = ("limit", "toolong")

    def __init__(self, name: str, limit: int, toolong: Errno) -> None:
        super().__init__(name, nullable=False)
        self.limit = limit
        self.toolong = toolong

    def expr(self, regs: list[str], model: Model, names: dict[str, Any]) -> str:
        """Return the source of the decoded value."""
        names["copyin_string"] = copyin_string
        names[f"err_{self.name}"] = self.toolong
        reg = regs[0] if model is LP64 else f"{regs[0]} & 0xffffffff"
        return f"copyin_string(as_, {reg}, {self.limit}, err_{self.name})"


class WordPointerSpec(ArgSpec):
    """A pointer object that only needs the size of a word."""

    __slots__ = ("cls",)

    def __init__(self, cls: type, kind: str) -> None:
        super().__init__(cls.__name__, kind)
        self.cls = cls

    def expr(self, regs: list[str], model: Model, names: dict[str, Any]) -> str:
        """Return the source of the decoded value."""
        names[self.cls.__name__] = self.cls
        reg = regs[0] if model is LP64 else f"{regs[0]} & 0xffffffff"
        return f"{self.cls.__name__}(as_, {reg}, {model.bits // 8})"


class RecordSpec(ArgSpec):
    """In[T], Out[T] or InOut[T], with the codec of T in the model."""

    __slots__ = ("cls", "codec", "target")

    def __init__(self, cls: type, target: Any, codec: Codec, name: str) -> None:
        super().__init__(name, "record")
        self.cls = cls
        #: The record class, or the ArgSpec of a scalar.
        self.target = target
        self.codec = codec

    def expr(self, regs: list[str], model: Model, names: dict[str, Any]) -> str:
        """Return the source of the decoded value."""
        key = f"codec{len(names)}"
        names[key] = self.codec
        names[self.cls.__name__] = self.cls
        reg = regs[0] if model is LP64 else f"{regs[0]} & 0xffffffff"
        return f"{self.cls.__name__}(as_, {reg}, {key})"


WORD_POINTERS: Final = {
    StrVec: WordPointerSpec(StrVec, "strvec"),
    FdSet: WordPointerSpec(FdSet, "fdset"),
}

Path = Annotated[bytes, PathSpec("Path", nullable=False)]
PathOrNull = Annotated[bytes | None, PathSpec("PathOrNull", nullable=True)]
XattrName = Annotated[bytes, NameSpec("XattrName", 256, Errno.ERANGE)]


def pointer(cls: type[_Pointer[Any]], lwp: Lwp, target: Any, addr: int) -> Any:
    """Make a pointer at run time, for arguments whose type depends on another argument (ioctl)."""
    model = LP64 if lwp.brand.bits == 64 else ILP32
    return cls(lwp.as_, addr, default_codec(target, model))
