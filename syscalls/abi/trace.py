"""Text of a system call, before and after it, in the format of strace(1) or of truss(1).

The signature that decodes the arguments says how to write them. A call is written in two parts,
since it may sleep, or never return: `enter` gives the name and the arguments that are known, up to
the first that the call fills in; `leave` gives the rest, and the result.

    enter:  read(3,                    leave:  "hello", 64)             = 5

Nothing here runs unless a trace is on.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.mm.usercopy import OverlongString
from syscalls.errno import ERRNO_OUT, LX_ERRNO_NAMES
from syscalls.signum import lx_signal_name, sigset_to_lx

from . import trace_text as text
from .model import LP64, Model
from .pointers import In, InOut, Out, RecordSpec
from .scalars import BAD_SIGNAL, Scalar, ValueScalar, dev_from_lx
from .trace_errors import MESSAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lxemu.kernel.lwp import Lwp
    from syscalls.personality import Personality

    from .stub import Param, Signature

    Special = Callable[["Call", Param, bool], tuple[bool, str | None]]

#: The column at which the result begins, of strace and of truss.
COLUMN: Final = 40
TRUSS_COLUMN: Final = 49
_EINTR: Final = 4
_ERESTARTNOHAND: Final = 514
#: A pointer parameter with one of these names is a path (a handler that must look at it late).
_PATHS: Final = frozenset(
    {"path", "pathname", "oldpath", "newpath", "target", "linkpath", "filename", "name"}
)
_ERESTART: Final = {
    512: ("ERESTARTSYS", "To be restarted if SA_RESTART is set"),
    513: ("ERESTARTNOINTR", "To be restarted"),
    514: ("ERESTARTNOHAND", "To be restarted if no handler"),
    516: ("ERESTART_RESTARTBLOCK", "Interrupted by signal"),
}


class Style:
    """How to write: length of strings, everything (-v), the view (False: strace, True: truss)."""

    __slots__ = ("native", "strlen", "verbose")

    def __init__(self, *, strlen: int = 32, verbose: bool = False, native: bool = False) -> None:
        self.strlen = strlen
        self.verbose = verbose
        self.native = native


DEFAULT_STYLE: Final = Style()


class Call:
    """One call in flight: `args` are the raw words, `result` is set at its end."""

    __slots__ = (
        "args",
        "as_",
        "errno",
        "kept",
        "lwp",
        "model",
        "name",
        "next",
        "nr",
        "personality",
        "result",
        "shape",
        "sig",
        "style",
    )

    def __init__(
        self,
        lwp: Lwp,
        personality: Personality,
        nr: int,
        args: Sequence[int],
        style: Style = DEFAULT_STYLE,
    ) -> None:
        self.lwp = lwp
        self.as_ = lwp.as_
        self.personality = personality
        self.model: Model = personality.model
        self.nr = nr
        self.name = personality.name_of(nr)
        self.args = args
        self.style = style
        self.sig: Signature | None = personality.signature(nr)
        self._look_inside()
        #: The result as the program sees it, signed; None until the call ends.
        self.result: int | None = None
        #: Linux error number of a failed call, else 0.
        self.errno = 0
        #: How a result is written: d decimal, x hexadecimal, o octal.
        self.shape = "d"
        #: Index of the first argument not written yet.
        self.next = 0
        #: Values kept from entry to exit by parameter name (the events of poll).
        self.kept: dict[str, Any] = {}

    def _look_inside(self) -> None:
        """Show the call that socketcall(2) or ipc(2) carries, as strace does."""
        try:
            inner = self.personality.inner(self.lwp, self.nr, self.args)
        except KernelError:
            return
        if inner is not None:
            self.name, self.sig, self.args = inner

    def enter(self) -> str:
        """Return the text of the call on entry: without the closing parenthesis."""
        from .trace_calls import RENAMED

        texts = self._arguments(entering=True)
        name = RENAMED.get(self.name, self.name)
        joined = ", ".join(texts)
        more = ", " if texts and self.next < self._count() else ""
        return f"{name}({joined}{more}"

    def leave(self, result: int | None, column: int = 0) -> str:
        """Return the rest of the text, padded so that the result is at its column.

        *result* is the signed value the program gets (minus a Linux errno when it failed), None
        when the call does not return. *column* is how much of the line is written already.
        """
        if result is not None:
            # a sigreturn gives back a whole register; strace shows a word of i386 without a sign
            bits = self.model.bits
            result &= self.model.mask
            if result >> (bits - 1) and (bits == 64 or result > self.model.mask - 4095):
                result -= 1 << bits
        self.result = result
        if result is not None and -4095 <= result < 0:
            self.errno = -result
        if self.errno == _EINTR:
            self.errno = self._interrupted()
        texts = self._arguments(entering=False)
        rest = ", ".join(texts) + self._rest() + ")"
        edge = TRUSS_COLUMN if self.style.native else COLUMN
        pad = " " * max(edge - column - len(rest), 1)
        return rest + pad + self._result()

    def _interrupted(self) -> int:
        """Return what ptrace shows of an interrupted call: EINTR, or a number to restart it by."""
        from .consts import INTERRUPTED

        if self.sig is None:
            return _EINTR
        number = INTERRUPTED.get(self.sig.handler.__name__, _EINTR)
        if self.name.startswith("clock_nanosleep") and self.value_of("flags") & 1:
            return _ERESTARTNOHAND
        return number

    def _rest(self) -> str:
        from .trace_calls import REST

        rest = REST.get(self.sig.handler.__name__) if self.sig else None
        return rest(self) if rest else ""

    # -- arguments ------------------------------------------------------------------------------

    def _count(self) -> int:
        return len(self.sig.params) if self.sig else len(self.model.slots)

    def _arguments(self, *, entering: bool) -> list[str]:
        from .trace_calls import ALONE, SPECIAL

        if self.sig is None:
            if not entering:
                return []
            return self._unknown()
        handler = self.sig.handler.__name__
        if handler in ALONE:
            return [ALONE[handler](self)] if entering else []
        special = SPECIAL.get(handler)
        texts: list[str] = []
        params = self.sig.params
        while self.next < len(params):
            param = params[self.next]
            shown = self._argument(special, param, entering=entering)
            if shown is None:
                break
            self.next += 1
            if shown:
                texts.append(shown)
        return texts

    def _argument(self, special: Special | None, param: Param, *, entering: bool) -> str | None:
        # Memory that the call did not look at may not be there: a trace must not fail for it,
        # or its error would become the call's.
        try:
            if special is not None:
                handled, shown = special(self, param, entering)
                if handled:
                    return shown
            return self.render(param, entering=entering)
        except KernelError:
            return text.pointer(self.word(param))

    def _unknown(self) -> list[str]:
        from .trace_calls import UNIMPLEMENTED

        count = UNIMPLEMENTED.get(self.name, 6)
        self.next = len(self.model.slots)
        return [hex(word) if word else "0" for word in self.args[:count]]

    def word(self, param: Param) -> int:
        """Return the raw value of a parameter (both words of a pair)."""
        value = self.args[param.first]
        if self.model is not LP64 and param.width == 2:
            value |= self.args[param.first + 1] << 32
        return value

    def value_of(self, name: str) -> int:
        """Return the raw value of the parameter called *name*, 0 when there is none."""
        if self.sig is not None:
            for param in self.sig.params:
                if param.name == name:
                    return self.word(param)
        return 0

    def signed(self, param: Param) -> int:
        """Return a parameter as the signed number of its width."""
        spec = param.spec
        value = self.word(param)
        fmt = "q"
        if isinstance(spec, Scalar):
            fmt = spec.fmt64 if self.model is LP64 else spec.fmt32
        bits = 64 if fmt in "qQ" else 32
        value &= (1 << bits) - 1
        return value - (1 << bits) if value >> (bits - 1) else value

    def render(self, param: Param, *, entering: bool) -> str | None:
        """Write one argument by its type; None when only the end of the call can tell."""
        spec = param.spec
        if isinstance(spec, RecordSpec):
            return self._record(param, spec, entering=entering)
        if isinstance(spec, ValueScalar):
            return self.xlat(spec, self.word(param))
        kind = spec.kind
        if kind == "ptr" and param.name in _PATHS:
            kind = "path"
        if kind == "outbuf":
            return None if entering else self.buffer(self.word(param), self._moved(param))
        if kind == "inbuf":
            return self.buffer(self.word(param), self._length_after(param))
        writer = _KINDS.get(kind)
        return writer(self, param) if writer else str(self.signed(param))

    def xlat(self, spec: ValueScalar, word: int) -> str:
        """Write a translated word by name: Linux's names, or the kernel's in truss view."""
        narrow = spec.fmt64 if self.model is LP64 else spec.fmt32
        if narrow in "iI":
            word &= 0xFFFFFFFF
        if not self.style.native:
            shown: str = spec.table.text(word)
            return shown
        try:
            native: str = spec.table.text(spec.table.from_lx[word], native=True)
        except KernelError:
            return hex(word)
        return native

    def _length_after(self, param: Param) -> int:
        assert self.sig is not None
        following = self.sig.params[self.sig.params.index(param) + 1 :]
        return self.word(following[0]) if following else 0

    def _moved(self, param: Param) -> int:
        """Return how many bytes the call put in a buffer; -1 when it failed."""
        if self.errno or self.result is None:
            return -1
        return min(self.result, self._length_after(param))

    def buffer(self, addr: int, size: int) -> str:
        """Write the bytes at *addr* as a string; the address when they cannot be read."""
        limit = self.style.strlen
        if size < 0 or (addr == 0 and size == 0):
            return text.pointer(addr)
        try:
            data = self.as_.copyin(addr, min(size, limit)) if size else b""
        except KernelError:
            return text.pointer(addr)
        return text.quote(bytes(data)) + ("..." if size > limit else "")

    def string(self, addr: int, limit: int = 4096) -> str:
        """Write the string at *addr*; the address when it cannot be read."""
        if not addr:
            return "NULL"
        try:
            return text.clipped(self.as_.copyinstr(addr, limit + 1), limit)
        except KernelError:
            return text.pointer(addr)
        except OverlongString:
            return text.quote(bytes(self.as_.copyin(addr, limit - (limit == 4096)))) + "..."

    # -- records --------------------------------------------------------------------------------

    def _record(self, param: Param, spec: RecordSpec, *, entering: bool) -> str | None:
        if spec.cls is Out:
            if entering:
                return None
            if self.errno:
                return text.pointer(self.word(param))
        return self.record_at(self.word(param), spec)

    def record_at(self, addr: int, spec: RecordSpec) -> str:
        """Write the record at *addr*; the address when it cannot be read."""
        if not addr:
            return "NULL"
        try:
            value = spec.codec.unpack(self.as_.copyin(addr, spec.codec.size))
        except KernelError:
            return text.pointer(addr)
        return self.record_text(value, spec.target)

    def record_text(self, value: Any, target: Any) -> str:
        """Write a decoded record or scalar."""
        from . import trace_records as records

        if isinstance(target, Scalar):
            if target.kind == "sigset":
                return text.sigset(sigset_to_lx(value))
            return f"[{value}]"
        if self.style.verbose and target.__name__ == "Stat":
            return records.stat(value, verbose=True)
        return records.TEXT.get(target.__name__, records.generic)(value)

    def array(self, addr: int, spec: RecordSpec, count: int) -> str:
        """Write *count* records at *addr*."""
        if not addr:
            return "NULL"
        parts: list[str] = []
        for index in range(min(count, self.style.strlen)):
            shown = self.record_at(addr + index * spec.codec.size, spec)
            if shown.startswith("0x"):
                return text.pointer(addr) if not index else f"[{', '.join(parts)}, ...]"
            parts.append(shown)
        more = ", ..." if count > self.style.strlen else ""
        return f"[{', '.join(parts)}{more}]"

    # -- result ---------------------------------------------------------------------------------

    def _result(self) -> str:
        result = self.result
        if result is None:
            return "= ?"
        if self.style.native:
            if self.errno:
                native = errno_native(self.errno)
                return f"Err#{native} {Errno(native).name}" if native else f"Err#{self.errno}"
            return f"= {result}" if abs(result) < 1 << 31 else f"= {result:#x}"
        if self.errno:
            restart = _ERESTART.get(self.errno)
            if restart:
                return f"= ? {restart[0]} ({restart[1]})"
            name = LX_ERRNO_NAMES.get(self.errno)
            if name is None:
                return f"= -1 (errno {self.errno})"
            return f"= -1 {name} ({MESSAGES.get(self.errno, f'Unknown error {self.errno}')})"
        return self._success(result)

    def _success(self, result: int) -> str:
        from .trace_calls import FINISH, RESULT

        handler = self.sig.handler.__name__ if self.sig else ""
        self.shape = RESULT.get(handler, "d")
        finish = FINISH.get(handler)
        extra = ""
        if finish:
            with suppress(KernelError):
                extra = finish(self)
        if self.shape == "x":
            shown = hex(result & self.model.mask) if result else "0"
        elif self.shape == "o":
            shown = text.octal(result)
        else:
            shown = str(result)
        return f"= {shown}" + (f" ({extra})" if extra else "")


def errno_native(lx: int) -> int:
    """Return a kernel error number that shows as Linux's *lx*; 0 when there is none."""
    for err in Errno:
        if ERRNO_OUT[err] == lx and err not in (Errno.ENOTSUP, Errno.EDEADLOCK):
            return int(err)
    return 0


def _signal(call: Call, param: Param) -> str:
    number = call.signed(param)
    if call.style.native:
        from syscalls.signum import FROM_LX

        native = FROM_LX[number] if 0 < number <= 64 else BAD_SIGNAL
        return native_signal_name(native) if native > 0 else str(number)
    return lx_signal_name(number) if number else "0"


def native_signal_name(sig: int) -> str:
    """Name a kernel signal as illumos does (sig2str)."""
    from lxemu.kernel import signal as k

    if k.SIGRTMIN <= sig <= k.SIGRTMAX:
        return "SIGRTMIN" + (f"+{sig - k.SIGRTMIN}" if sig > k.SIGRTMIN else "")
    for name, value in vars(k).items():
        if value == sig and name.startswith("SIG") and "_" not in name:
            return name
    return f"SIG#{sig}"


def _dirfd(call: Call, param: Param) -> str:
    number = call.signed(param)
    return "AT_FDCWD" if number == -100 else str(number)


def _id(call: Call, param: Param) -> str:
    spec = param.spec
    word = call.word(param) & 0xFFFFFFFF
    if isinstance(spec, Scalar) and spec.fmt64 == "H":
        word &= 0xFFFF
        return "-1" if word == 0xFFFF else str(word)
    return "-1" if word == 0xFFFFFFFF else str(word)


def _strvec(call: Call, param: Param) -> str:
    addr = call.word(param)
    if not addr:
        return "NULL"
    word = call.model.bits // 8
    items: list[str] = []
    count = 0
    try:
        while True:
            at = int.from_bytes(call.as_.copyin(addr + count * word, word), "little")
            if not at:
                break
            if count < call.style.strlen:
                items.append(call.string(at, call.style.strlen))
            count += 1
    except KernelError:
        return text.pointer(addr)
    if param.name == "envp" and not call.style.verbose:
        plural = "" if count == 1 else "s"
        return f"{addr:#x} /* {count} var{plural} */"
    more = ", ..." if count > len(items) else ""
    return f"[{', '.join(items)}{more}]"


_KINDS: Final[dict[str, Callable[[Call, Param], str]]] = {
    "d": lambda call, param: str(call.signed(param)),
    "u": lambda call, param: str(call.word(param) & _width(call, param)),
    "x": lambda call, param: _hex(call.word(param) & _width(call, param)),
    "fd": lambda call, param: str(call.signed(param)),
    "dirfd": _dirfd,
    "mode": lambda call, param: text.octal(call.word(param) & 0xFFFF),
    "ptr": lambda call, param: text.pointer(call.word(param)),
    "path": lambda call, param: call.string(call.word(param)),
    "sig": _signal,
    "id": _id,
    "sigset": lambda call, param: text.sigset(call.word(param) & 0xFFFFFFFF),
    "dev": lambda call, param: text.device(dev_from_lx(call.word(param) & 0xFFFFFFFF)),
    "strvec": _strvec,
    "fdset": lambda call, param: text.pointer(call.word(param)),
}


def _hex(word: int) -> str:
    return hex(word) if word else "0"


def _width(call: Call, param: Param) -> int:
    spec = param.spec
    if isinstance(spec, Scalar):
        fmt = spec.fmt64 if call.model is LP64 else spec.fmt32
        return {"Q": (1 << 64) - 1, "H": 0xFFFF}.get(fmt, 0xFFFFFFFF)
    return call.model.mask


def raw_args(lwp: Lwp, personality: Personality) -> tuple[int, ...]:
    """Return the six argument words of the live registers (masked for i386)."""
    q, mask = lwp.q, personality.model.mask
    return tuple(q[slot] & mask for slot in personality.model.slots)


def format_call(
    lwp: Lwp,
    personality: Personality,
    nr: int,
    args_before: Sequence[int],
    phase: str,
    result: int | None = None,
    style: Style = DEFAULT_STYLE,
) -> str:
    """Write one phase of a call: "enter", "leave" (all of the rest), or "both" (the whole line).

    A tracer that prints both phases of a sleeping call keeps a `Call` and asks it.
    """
    call = Call(lwp, personality, nr, args_before, style)
    head = call.enter()
    if phase == "enter":
        return head
    tail = call.leave(result, len(head))
    return tail if phase == "leave" else head + tail


__all__ = ["Call", "In", "InOut", "Style", "format_call", "raw_args"]
