"""Text of the calls that carry many things: poll, select, fcntl, ioctl, prctl."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lxemu.kernel.errno import KernelError
from syscalls import records as rec
from syscalls.signum import lx_signal_name

from . import trace_records as records
from . import trace_text as text
from . import trace_tty as tty
from .pointers import InOut, RecordSpec
from .registry import default_codec
from .xlat_file import FD_FLAGS, OPEN
from .xlat_poll import POLL_EVENTS

if TYPE_CHECKING:
    from .stub import Param
    from .trace import Call

Answer = tuple[bool, str | None]
_LATER: Final[Answer] = (True, None)
_TYPED: Final[Answer] = (False, None)


# -- poll ---------------------------------------------------------------------------------------


def _pollfds(call: Call, addr: int, count: int) -> list[rec.Pollfd]:
    codec = default_codec(rec.Pollfd, call.model)
    count = min(count, call.style.strlen)
    found: list[rec.Pollfd] = codec.unpack_array(call.as_.copyin(addr, count * codec.size))
    return found


def poll(call: Call, param: Param, entering: bool) -> Answer:  # noqa: ARG001
    """Write a poll call: the requests on entry; what is ready comes after the result."""
    if isinstance(param.spec, RecordSpec) and param.spec.cls is InOut and param.first:
        return True, call.record_at(call.word(param), param.spec)
    if param.name not in ("fds", "ufds"):
        return _TYPED
    addr, count = call.word(param), call.value_of("nfds") & 0xFFFFFFFF
    if not addr:
        return True, "NULL"
    if not count:
        return True, "[]"
    try:
        fds = _pollfds(call, addr, count)
    except KernelError:
        return True, text.pointer(addr)
    parts = [records.pollfd_in(fd) for fd in fds]
    if count > len(fds):
        parts.append("...")
    return True, f"[{', '.join(parts)}]"


def poll_result(call: Call) -> str:
    """Return the text after the result: the descriptors with events, or that time ran out."""
    if call.result == 0:
        return "Timeout"
    addr = call.args[0]
    try:
        fds = _pollfds(call, addr, call.args[1] & 0xFFFFFFFF)
    except KernelError:
        return ""
    ready = ", ".join(
        f"{{fd={fd.fd}, revents={POLL_EVENTS.text(POLL_EVENTS.to_lx[fd.revents])}}}"
        for fd in fds
        if fd.revents and fd.fd >= 0
    )
    left = _left(call)
    return f"[{ready}]" + (f", left {left}" if left else "")


def _left(call: Call) -> str:
    """Return the text of the timeout that the call wrote back, empty when it has none."""
    for param in call.sig.params if call.sig else ():
        spec = param.spec
        if isinstance(spec, RecordSpec) and spec.cls is InOut and param.first:
            return call.record_at(call.word(param), spec) if call.word(param) else ""
    return ""


# -- select -------------------------------------------------------------------------------------

_SETS: Final = ("in", "out", "except")


def _fdset(call: Call, addr: int) -> str:
    if not addr:
        return "NULL"
    nfds = min(call.args[0] & 0xFFFFFFFF, 1024)
    word = call.model.bits // 8
    size = (nfds + word * 8 - 1) // (word * 8) * word
    try:
        bits = int.from_bytes(call.as_.copyin(addr, size), "little") if size else 0
    except KernelError:
        return text.pointer(addr)
    return "[" + " ".join(str(n) for n in range(nfds) if bits >> n & 1) + "]"


def select(call: Call, param: Param, entering: bool) -> Answer:  # noqa: ARG001
    """Write a select call: the sets on entry; what is ready comes after the result."""
    if param.spec.kind == "fdset":
        return True, _fdset(call, call.word(param))
    if isinstance(param.spec, RecordSpec):
        return True, call.record_at(call.word(param), param.spec)
    return _TYPED


def pselect6(call: Call, param: Param, entering: bool) -> Answer:
    """Write a pselect6 call: as select; the signal set is behind a pointer."""
    if param.first < 5:
        return select(call, param, entering)
    addr = call.word(param)
    if not addr:
        return True, "NULL"
    codec = default_codec(rec.Sigset6, call.model)
    try:
        inner = codec.unpack(call.as_.copyin(addr, codec.size))
        if not inner.addr:
            return True, f"{{sigmask=NULL, sigsetsize={inner.size}}}"
        mask = int.from_bytes(call.as_.copyin(inner.addr, 8), "little")
    except KernelError:
        return True, text.pointer(addr)
    return True, f"{{sigmask={text.sigset(mask)}, sigsetsize={inner.size}}}"


def select_result(call: Call) -> str:
    """Return the text after the result: the sets with members, and the time that is left."""
    if call.result == 0:
        return "Timeout"
    parts = []
    for index, label in enumerate(_SETS):
        addr = call.args[1 + index]
        shown = _fdset(call, addr) if addr else "[]"
        if shown != "[]":
            parts.append(f"{label} {shown}")
    left = _left(call)
    if left:
        parts.append(f"left {left}")
    return ", ".join(parts)


# -- fcntl --------------------------------------------------------------------------------------

_LOCKS: Final = {5: 0, 6: 0, 7: 0, 12: 1, 13: 1, 14: 1, 36: 2, 37: 2, 38: 2}
_NO_ARG: Final = frozenset({1, 3, 9, 11, 1025, 1032, 1034})


def fcntl(call: Call, param: Param, entering: bool) -> Answer:
    """Write a fcntl call: the argument that the command has."""
    if param.name != "arg":
        return _TYPED
    cmd = call.value_of("cmd") & 0xFFFFFFFF
    word = call.word(param)
    if cmd in _NO_ARG:
        return True, ""
    if cmd in _LOCKS:
        return _lock(call, cmd, word, entering)
    number = (word & 0xFFFFFFFF ^ 0x80000000) - 0x80000000
    if cmd == 2:
        return True, FD_FLAGS.text(word & 0xFFFFFFFF)
    if cmd == 4:
        return True, OPEN.text(word & 0xFFFFFFFF)
    if cmd == 10:
        return True, lx_signal_name(number) if number else "0"
    if cmd in (0, 1030, 1031):
        return True, str(word)
    if cmd in (8, 1024):
        return True, str(number)
    return True, hex(word) if word else "0"


def fcntl_result(call: Call) -> str:
    """Return the text after the result: the flags that F_GETFD and F_GETFL gave."""
    cmd, result = call.args[1] & 0xFFFFFFFF, call.result or 0
    if cmd == 1:
        call.shape = "x"
        return "flags " + FD_FLAGS.text(result) if result else ""
    if cmd == 3:
        call.shape = "x"
        return "flags " + OPEN.text(result)
    return ""


def _lock(call: Call, cmd: int, addr: int, entering: bool) -> Answer:
    getting = cmd in (5, 12, 36)
    if getting and entering:
        return _LATER
    record = rec.Flock64 if _LOCKS[cmd] or call.model.bits == 64 else rec.Flock
    codec = default_codec(record, call.model)
    try:
        lock = codec.unpack(call.as_.copyin(addr, codec.size))
    except KernelError:
        return True, text.pointer(addr)
    shown = records.flock(lock)
    return True, f"{shown[:-1]}, l_pid={lock.pid}}}" if getting and not call.errno else shown


# -- ioctl --------------------------------------------------------------------------------------

IOCTLS: Final[dict[int, str]] = {number: form.name for number, form in tty.REQUESTS.items()} | {
    0x5460: "FIOQSIZE",
    0x40049409: "FICLONE",
    0x80045200: "RNDGETENTCNT",
    0x80086601: "FS_IOC_GETFLAGS",
    0x1260: "BLKGETSIZE",
    0x80081272: "BLKGETSIZE64",
    0x8905: "SIOCATMARK",
}
_AT_MARK: Final = tty.Form("SIOCATMARK", "int", True)
_DIRECTIONS: Final = ("_IOC_NONE", "_IOC_WRITE", "_IOC_READ", "_IOC_READ|_IOC_WRITE")


def ioctl(call: Call, param: Param, entering: bool) -> Answer:
    """Write a ioctl call: the request by name, the argument by request."""
    if param.name in ("request", "cmd"):
        return True, ioctl_name(call.word(param) & 0xFFFFFFFF)
    if param.name not in ("arg", "argp"):
        return _TYPED
    request = (call.args[1]) & 0xFFFFFFFF
    addr = call.word(param)
    form = _AT_MARK if request == 0x8905 else tty.REQUESTS.get(request)
    if form is None:
        return True, hex(addr) if addr else "0"
    if form.out and entering:
        return _LATER
    return True, tty.argument(call, form, addr)


def ioctl_name(request: int) -> str:
    """Name a request, or take its number apart as strace does."""
    name = IOCTLS.get(request)
    if name is not None:
        return name
    direction, size = request >> 30, request >> 16 & 0x3FFF
    kind, number = request >> 8 & 0xFF, request & 0xFF
    return f"_IOC({_DIRECTIONS[direction]}, {kind:#x}, {number:#x}, {size:#x})".replace(
        ", 0x0)", ", 0)"
    )


# -- prctl --------------------------------------------------------------------------------------

_PR_NO_ARG: Final = frozenset({3, 7, 14, 21, 27, 30, 34})
_PR_DECIMAL: Final = frozenset({8, 13, 29, 36, 41})
_DUMPABLE: Final = ("SUID_DUMP_DISABLE", "SUID_DUMP_USER", "SUID_DUMP_ROOT")


def prctl(call: Call, param: Param, entering: bool) -> Answer:
    """Write a prctl call: as many arguments as the option has, by its type."""
    option = call.args[0] & 0xFFFFFFFF
    if param.first == 0:
        return _TYPED
    word = call.word(param)
    index = param.first - 1
    if option in _PR_NO_ARG:
        return True, ""
    if option in (15, 16):
        if index:
            return True, ""
        if option == 16 and entering:
            return _LATER
        return True, call.string(word, 15) if not call.errno else text.pointer(word)
    if option == 1 and not index:
        return True, lx_signal_name(word) if word else "0"
    if option in (2, 37) and not index:
        if entering:
            return _LATER
        if call.errno:
            return True, text.pointer(word)
        number = call.as_.load_u32(word)
        return True, f"[{lx_signal_name(number) if option == 2 and number else number}]"
    if option == 4:
        shown = _DUMPABLE[word] if word < 3 else f"{word:#x} /* SUID_DUMP_??? */"
        return True, "" if index else shown
    if option in (38, 39):
        return True, str(word)
    if option in (1, 2, 37) or (option in _PR_DECIMAL and index):
        return True, ""
    if option in _PR_DECIMAL:
        return True, str(word)
    return True, hex(word) if word else "0"


def prctl_result(call: Call) -> str:
    """Return the text after the result: what PR_GET_DUMPABLE gave."""
    result = call.result or 0
    return _DUMPABLE[result] if call.args[0] & 0xFFFFFFFF == 3 and result < 3 else ""
