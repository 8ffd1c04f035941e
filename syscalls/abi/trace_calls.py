"""The calls whose text depends on more than the types of their arguments.

`SPECIAL[handler](call, param, entering)` answers (handled, text): handled False leaves the
parameter to its type; text None waits for the end of the call, an empty text leaves the parameter
out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lxemu.kernel.errno import KernelError
from syscalls import records as rec
from syscalls.signum import lx_signal_name

from . import trace_ipc, trace_net
from . import trace_records as records
from . import trace_text as text
from .model import LP64
from .pointers import Out, RecordSpec
from .registry import default_codec
from .trace_more import (
    fcntl,
    fcntl_result,
    ioctl,
    poll,
    poll_result,
    prctl,
    prctl_result,
    pselect6,
    select,
    select_result,
)
from .xlat_file import AT_NOFOLLOW_EMPTY, WHENCE
from .xlat_proc import CLONE, FUTEX, SCHED, WAIT
from .xlat_signal import SIG_HOW

if TYPE_CHECKING:
    from collections.abc import Callable

    from .stub import Param
    from .trace import Call

Answer = tuple[bool, str | None]
_LATER: Final[Answer] = (True, None)
_TYPED: Final[Answer] = (False, None)
_SIGSET_SIZE: Final = 8

#: Names that strace writes differently from the table.
RENAMED: Final[dict[str, str]] = {}
#: Results that are not decimal: x hexadecimal, o octal.
RESULT: Final[dict[str, str]] = {
    "brk": "x",
    "mmap": "x",
    "mmap2": "x",
    "old_mmap": "x",
    "mremap": "x",
    "shmat": "x",
    "umask": "o",
}
#: Argument counts of calls without a handler (others show all six registers).
UNIMPLEMENTED: Final[dict[str, int]] = {
    "socket": 3,
    "connect": 3,
    "bind": 3,
    "listen": 2,
    "accept": 3,
    "accept4": 4,
    "shutdown": 2,
    "socketpair": 4,
    "getsockname": 3,
    "getpeername": 3,
    "sendmsg": 3,
    "recvmsg": 3,
    "setsockopt": 5,
    "getsockopt": 5,
    "sendmmsg": 4,
    "recvmmsg": 5,
    "socketcall": 2,
    "epoll_create": 1,
    "epoll_create1": 1,
    "epoll_ctl": 4,
    "epoll_wait": 4,
    "eventfd": 1,
    "eventfd2": 2,
    "timerfd_create": 2,
    "timerfd_settime": 4,
    "timerfd_gettime": 2,
    "signalfd": 3,
    "signalfd4": 4,
    "inotify_init": 0,
    "inotify_init1": 1,
    "inotify_add_watch": 3,
    "inotify_rm_watch": 2,
    "shmget": 3,
    "shmat": 3,
    "shmctl": 3,
    "shmdt": 1,
    "semget": 3,
    "semop": 3,
    "semctl": 4,
    "semtimedop": 4,
    "msgget": 2,
    "msgsnd": 4,
    "msgrcv": 5,
    "msgctl": 3,
    "ptrace": 4,
    "io_setup": 2,
    "io_destroy": 1,
    "io_submit": 3,
    "io_getevents": 5,
    "io_cancel": 3,
    "io_uring_setup": 2,
    "io_uring_enter": 6,
    "io_uring_register": 4,
    "memfd_create": 2,
    "pidfd_open": 2,
    "pidfd_send_signal": 4,
    "bpf": 3,
    "userfaultfd": 1,
    "perf_event_open": 5,
    "keyctl": 5,
    "add_key": 5,
    "request_key": 4,
    "mbind": 6,
    "set_mempolicy": 3,
    "get_mempolicy": 5,
    "pivot_root": 2,
    "swapon": 2,
    "swapoff": 1,
    "iopl": 1,
    "ioperm": 3,
    "uselib": 1,
    "quotactl": 4,
    "landlock_create_ruleset": 3,
}


def _open(call: Call, param: Param, entering: bool) -> Answer:  # noqa: ARG001
    """Write the mode only where the call may make a file."""
    if param.name == "mode" and not call.value_of("flags") & (0o100 | 0o20000000):
        return True, ""
    return _TYPED


def _wait4(call: Call, param: Param, entering: bool) -> Answer:
    if param.name in ("options",):
        return True, WAIT.text(call.word(param) & 0xFFFFFFFF)
    if param.name not in ("wstatus", "rusage"):
        return _TYPED
    if entering:
        return _LATER
    addr = call.word(param)
    if not addr or not call.result or call.result < 0:
        return True, text.pointer(addr)
    if param.name == "rusage":
        return _TYPED
    try:
        return True, text.wait_status(call.as_.load_u32(addr))
    except KernelError:
        return True, text.pointer(addr)


def _waitid(call: Call, param: Param, entering: bool) -> Answer:  # noqa: ARG001
    if param.name == "options":
        return True, WAIT.text(call.word(param) & 0xFFFFFFFF)
    return _TYPED


def _clone(call: Call, param: Param, entering: bool) -> Answer:  # noqa: ARG001
    """Write a clone as strace has it: stack and flags on entry, the rest by `_clone_rest`."""
    if param.first:
        return True, ""
    flags = call.args[0]
    signal, rest = flags & 0xFF, flags & ~0xFF
    # strace has no name for CLONE_DETACHED (0x400000), and puts what it cannot name last
    names = [CLONE.text(rest & ~0x400000)] if rest & ~0x400000 else []
    if rest & 0x400000:
        names.append("0x400000")
    if signal:
        names.append(lx_signal_name(signal))
    shown = "|".join(names) or "0"
    return True, f"child_stack={text.pointer(call.args[1])}, flags={shown}"


def _clone_rest(call: Call) -> str:
    flags, ptid = call.args[0], call.args[2]
    ctid, tls = (call.args[3], call.args[4]) if call.model is LP64 else call.args[4:2:-1]
    parts = [""]
    if flags & 0x100000:
        parts.append(f"parent_tid={_tid_at(call, ptid)}")
    if flags & 0x80000:
        parts.append(f"tls={_tls(call, tls)}")
    if flags & 0x01200000:
        parts.append(f"child_tidptr={text.pointer(ctid)}")
    return ", ".join(parts)


def _tid_at(call: Call, addr: int) -> str:
    """Return the id that the call stored, or the address when there is none."""
    if call.errno:
        return text.pointer(addr)
    try:
        return f"[{call.as_.load_u32(addr)}]"
    except KernelError:
        return text.pointer(addr)


def _tls(call: Call, tls: int) -> str:
    """Return the thread pointer, which is a segment descriptor in memory on i386."""
    if call.model is LP64:
        return text.pointer(tls)
    codec = default_codec(rec.UserDesc, call.model)
    try:
        return records.user_desc(codec.unpack(call.as_.copyin(tls, codec.size)))
    except KernelError:
        return text.pointer(tls)


def _clone3(call: Call, param: Param, entering: bool) -> Answer:  # noqa: ARG001
    """Write the structure on entry; its size follows what the call stored (`_clone3_rest`)."""
    if param.first:
        return True, ""
    return (False, None) if entering else (True, "")


def _clone3_rest(call: Call) -> str:
    size = call.args[1]
    shown = f"{size}"
    try:
        flags = call.as_.load_u32(call.args[0])
        ptid = int.from_bytes(call.as_.copyin(call.args[0] + 24, 8), "little")
    except KernelError:
        return f", {shown}"
    if flags & 0x100000 and not call.errno:
        return f" => {{parent_tid={_tid_at(call, ptid)}}}, {shown}"
    return f", {shown}"


def _mmap(call: Call, param: Param, entering: bool) -> Answer:  # noqa: ARG001
    if param.name in ("offset", "pgoffset", "pgoff"):
        value = call.word(param) * (4096 if call.name == "mmap2" else 1)
        return True, hex(value) if value else "0"
    if param.name == "fd":
        return True, str((call.word(param) & 0xFFFFFFFF ^ 0x80000000) - 0x80000000)
    return _TYPED


def _vector(call: Call, param: Param, entering: bool) -> Answer:
    """Write readv and writev: the buffers' contents, as far as the result goes when reading."""
    if param.name not in ("iov", "vec", "vector"):
        return _TYPED
    reading = "read" in call.name
    if reading and entering:
        return _LATER
    addr, count = call.word(param), call.value_of("iovcnt") or call.value_of("vlen")
    codec = default_codec(rec.Iovec, call.model)
    left = call.result if reading else 1 << 62
    failed = left is None or left < 0
    left = left or 0
    parts = []
    try:
        for index in range(min(count, call.style.strlen)):
            at = addr + index * codec.size
            base, size = codec.unpack(call.as_.copyin(at, codec.size))
            shown = -1 if failed else min(size, left)
            left -= shown
            parts.append(f"{{iov_base={call.buffer(base, shown)}, iov_len={size}}}")
    except KernelError:
        return True, text.pointer(addr)
    more = ", ..." if count > call.style.strlen else ""
    return True, f"[{', '.join(parts)}{more}]"


def _mknod(call: Call, param: Param, entering: bool) -> Answer:  # noqa: ARG001
    mode = call.value_of("mode")
    if param.name == "mode":
        return True, text.file_mode(mode & 0xFFFF)
    if param.name == "dev" and mode & 0o170000 not in (0o020000, 0o060000):
        return True, ""
    return _TYPED


def _sigprocmask(call: Call, param: Param, entering: bool) -> Answer:  # noqa: ARG001
    if param.name == "how":
        return True, SIG_HOW.text(call.word(param) & 0xFFFFFFFF)
    size = call.args[3] if call.name == "rt_sigprocmask" else 0
    if param.first in (1, 2) and (size > _SIGSET_SIZE or size % (call.model.bits // 8)):
        return True, text.pointer(call.word(param))
    return _TYPED


def _sigaction(call: Call, param: Param, entering: bool) -> Answer:
    """Write an action with its flags as they are in memory: the kernel keeps only what it knows."""
    spec = param.spec
    if not isinstance(spec, RecordSpec):
        return _TYPED
    addr = call.word(param)
    if spec.cls is Out and entering:
        return _LATER
    if not addr or (spec.cls is Out and call.errno):
        return True, text.pointer(addr)
    word = call.model.bits // 8
    where = 2 * word if spec.target.__name__ == "OldSigAction" else word
    flags = int.from_bytes(call.as_.copyin(addr + where, word), "little")
    action = spec.codec.unpack(call.as_.copyin(addr, spec.codec.size))
    return True, records.sigaction(action, flags)


def _sleep(call: Call, param: Param, entering: bool) -> Answer:
    """Write the time left is there only after an interruption."""
    if param.name not in ("rem", "rmtp"):
        return _TYPED
    if entering:
        return _LATER
    if call.errno in (4, 514, 516) and isinstance(param.spec, RecordSpec):
        return True, call.record_at(call.word(param), param.spec)
    return True, text.pointer(call.word(param))


def _getcwd(call: Call, param: Param, entering: bool) -> Answer:
    if param.name != "buf":
        return _TYPED
    if entering:
        return _LATER
    addr = call.word(param)
    return True, text.pointer(addr) if call.errno else call.string(addr)


def _getrandom(call: Call, param: Param, entering: bool) -> Answer:
    if param.name != "buf":
        return _TYPED
    if entering:
        return _LATER
    addr, size = call.word(param), call.result or 0
    if call.errno:
        return True, text.pointer(addr)
    data = bytes(call.as_.copyin(addr, min(size, call.style.strlen)))
    return True, text.quote_hex(data) + ("..." if size > call.style.strlen else "")


def _getdents(call: Call, param: Param, entering: bool) -> Answer:
    """Write the number of entries, counted by their lengths."""
    if param.name != "dirp":
        return _TYPED
    if entering:
        return _LATER
    addr = call.word(param)
    if call.errno or call.result is None:
        return True, text.pointer(addr)
    at, count = 0, 0
    where = 16 if call.name == "getdents64" or call.model is LP64 else 8
    while at < call.result:
        size = call.as_.load_u16(addr + at + where)
        if not size:
            break
        at += size
        count += 1
    plural = "y" if count == 1 else "ies"
    return True, f"{addr:#x} /* {count} entr{plural} */"


def _mincore(call: Call, param: Param, entering: bool) -> Answer:
    if param.name != "vec":
        return _TYPED
    if entering:
        return _LATER
    addr = call.word(param)
    pages = (call.value_of("length") + 4095) // 4096
    if call.errno:
        return True, text.pointer(addr)
    data = call.as_.copyin(addr, min(pages, call.style.strlen))
    more = ", ..." if pages > call.style.strlen else ""
    return True, "[" + ", ".join(str(byte & 1) for byte in data) + more + "]"


_FUTEX_ARGS: Final = {
    0: ("val", "timeout"),
    1: ("val",),
    3: ("val", "val2", "uaddr2"),
    4: ("val", "val2", "uaddr2", "val3"),
    5: ("val", "val2", "uaddr2", "val3"),
    6: ("timeout",),
    7: (),
    8: (),
    9: ("val", "timeout", "val3"),
    10: ("val", "val3"),
    11: ("val", "timeout", "uaddr2", "val3"),
    12: ("val", "val2", "uaddr2", "val3"),
    13: ("timeout",),
}


def _futex(call: Call, param: Param, entering: bool) -> Answer:
    if not entering:
        return True, ""
    args = call.args
    if param.first == 0:
        return True, text.pointer(args[0])
    if param.first > 1:
        return True, ""
    op = args[1] & 0xFFFFFFFF
    parts = [FUTEX.text(op)]
    for name in _FUTEX_ARGS.get(op & 0x7F, ("val", "timeout", "uaddr2", "val3")):
        if name == "val":
            parts.append(str(args[2] & 0xFFFFFFFF))
        elif name == "val2":
            parts.append(str(args[3] & 0xFFFFFFFF))
        elif name == "timeout":
            parts.append(_timeout(call, args[3]))
        elif name == "uaddr2":
            parts.append(text.pointer(args[4]))
        elif args[5] & 0xFFFFFFFF == 0xFFFFFFFF:
            parts.append("FUTEX_BITSET_MATCH_ANY")
        else:
            parts.append(hex(args[5] & 0xFFFFFFFF))
    return True, ", ".join(parts)


def _timeout(call: Call, addr: int) -> str:
    if not addr:
        return "NULL"
    codec = default_codec(rec.Timespec, call.model)
    if call.name.endswith("time64"):
        from syscalls.layouts.time import TIMESPEC64

        codec = TIMESPEC64.codec(call.model)
    try:
        return records.timespec(codec.unpack(call.as_.copyin(addr, codec.size)))
    except KernelError:
        return text.pointer(addr)


def _affinity(call: Call, param: Param, entering: bool) -> Answer:
    """Write the mask of CPUs, as their numbers."""
    if param.name not in ("mask", "user_mask_ptr", "cpuset"):
        return _TYPED
    getting = call.name == "sched_getaffinity"
    if getting and entering:
        return _LATER
    addr, size = call.word(param), call.args[1]
    if getting:
        size = call.result or 0
    if call.errno or not addr:
        return True, text.pointer(addr)
    try:
        mask = int.from_bytes(call.as_.copyin(addr, min(size, 128)), "little")
    except KernelError:
        return True, text.pointer(addr)
    cpus = " ".join(str(n) for n in range(mask.bit_length()) if mask >> n & 1)
    return True, f"[{cpus}]"


def _groups(call: Call, param: Param, entering: bool) -> Answer:
    if param.name not in ("list", "grouplist", "groups"):
        return _TYPED
    getting = call.name.startswith("get")
    if getting and entering:
        return _LATER
    size = call.args[0]
    count = (call.result or 0) if getting else size
    addr = call.word(param)
    if call.errno or not addr or (getting and not size):
        return True, text.pointer(addr)
    assert isinstance(param.spec, RecordSpec)
    try:
        ids = param.spec.codec.unpack_array(
            call.as_.copyin(addr, count * param.spec.codec.size) if count else b""
        )
    except KernelError:
        return True, text.pointer(addr)
    return True, "[" + ", ".join(map(str, ids)) + "]"


def _policy(call: Call, param: Param, entering: bool) -> Answer:  # noqa: ARG001
    if param.name in ("policy", "algorithm"):
        return True, SCHED.text(call.word(param) & 0xFFFFFFFF)
    return _TYPED


def _policy_result(call: Call) -> str:
    return SCHED.text(call.result or 0)


def _time_result(call: Call) -> str:
    return text.date(call.result) if call.result else ""


def _sigpending(call: Call, param: Param, entering: bool) -> Answer:
    if param.name != "uset":
        return _TYPED
    if entering:
        return _LATER
    addr = call.word(param)
    if call.errno:
        return True, text.pointer(addr)
    size = min(call.value_of("sigsetsize") or 4, 8)
    return True, text.sigset(int.from_bytes(call.as_.copyin(addr, size), "little"))


def _signal_result(call: Call) -> str:
    return lx_signal_name(call.result) if call.result else ""


def _personality_result(call: Call) -> str:
    return "PER_LINUX" if call.result == 0 else ""


def sigreturn_mask(call: Call) -> str:
    """Return the text of the mask that a sigreturn restores, read from the frame."""
    as_, sp = call.as_, call.lwp.q[4] & call.model.mask
    try:
        if call.model is LP64:
            mask = int.from_bytes(as_.copyin(sp + 296, 8), "little")
        elif call.name == "rt_sigreturn":
            mask = int.from_bytes(as_.copyin(as_.load_u32(sp + 8) + 108, 8), "little")
        else:
            # struct sigcontext_32, an unused struct _fpstate_32, the rest of the mask
            mask = as_.load_u32(sp + 80) | as_.load_u32(sp + 712) << 32
    except KernelError:
        return ""
    return f"{{mask={text.sigset(mask)}}}"


def _llseek(call: Call, param: Param, entering: bool) -> Answer:
    """Write the two halves of the offset as one, and the result behind the pointer."""
    if param.first == 0:
        return _TYPED
    if param.first == 1:
        high, low = call.args[1], call.args[2]
        offset = (high & 0xFFFFFFFF) << 32 | low & 0xFFFFFFFF
        return True, str(offset - (1 << 64) if offset >> 63 else offset)
    if param.first == 2:
        return True, ""
    if param.first == 4:
        return True, WHENCE.text(call.word(param) & 0xFFFFFFFF)
    if entering:
        return _LATER
    addr = call.word(param)
    if call.errno:
        return True, text.pointer(addr)
    data = call.as_.copyin(addr, 8)
    return True, f"[{int.from_bytes(data, 'little', signed=True)}]"


def _truncate64(call: Call, param: Param, entering: bool) -> Answer:  # noqa: ARG001
    """Write the length without a sign, as strace does (but for i386's 32-bit form)."""
    if param.first and (call.model is LP64 or param.width == 2):
        return True, str(call.word(param))
    return _TYPED


def _utimensat(call: Call, param: Param, entering: bool) -> Answer:  # noqa: ARG001
    if param.name == "flags":
        return True, AT_NOFOLLOW_EMPTY.text(call.word(param) & 0xFFFFFFFF)
    return _TYPED


def _entry_number(call: Call) -> str:
    """Return which entry set_thread_area chose when the program left it open."""
    return f"entry_number={call.as_.load_u32(call.args[0])}" if call.kept.get("any") else ""


def _set_thread_area(call: Call, param: Param, entering: bool) -> Answer:
    if entering and param.first == 0:
        try:
            call.kept["any"] = call.as_.load_u32(call.args[0]) == 0xFFFFFFFF
        except KernelError:
            call.kept["any"] = False
    return _TYPED


def _pipe(call: Call, param: Param, entering: bool) -> Answer:
    """Write the two descriptors that the call made."""
    if param.first:
        return _TYPED
    if entering:
        return _LATER
    addr = call.word(param)
    if call.errno:
        return True, text.pointer(addr)
    return True, f"[{call.as_.load_u32(addr)}, {call.as_.load_u32(addr + 4)}]"


def _rseq(call: Call, param: Param, entering: bool) -> Answer:  # noqa: ARG001
    if param.first in (1, 3):
        return True, hex(call.word(param) & 0xFFFFFFFF)
    return _TYPED


def _mremap(call: Call, param: Param, entering: bool) -> Answer:  # noqa: ARG001
    """Write the new address only where it counts: MREMAP_MAYMOVE|MREMAP_FIXED."""
    if param.first == 4 and call.value_of("flags") & 3 != 3:
        return True, ""
    return _TYPED


def _sigsuspend(call: Call, param: Param, entering: bool) -> Answer:  # noqa: ARG001
    """Write the mask alone: the first two words of the i386 call count for nothing."""
    return (True, "") if param.first < 2 else _TYPED


def _handler(value: int) -> str:
    return {0: "SIG_DFL", 1: "SIG_IGN"}.get(value, hex(value))


def _signal(call: Call, param: Param, entering: bool) -> Answer:  # noqa: ARG001
    return (True, _handler(call.word(param))) if param.first else _TYPED


def _signal_old(call: Call) -> str:
    result = call.result or 0
    call.shape = "x"
    return _handler(result) if result < 2 else ""


def _mask_result(call: Call) -> str:
    call.shape = "x"
    old = "old " if call.name == "ssetmask" else ""
    return f"{old}mask {text.sigset(call.result or 0)}"


def _sendfile(call: Call, param: Param, entering: bool) -> Answer:
    """Write the offset before and after."""
    if param.name != "offset" or not isinstance(param.spec, RecordSpec):
        return _TYPED
    addr = call.word(param)
    if entering:
        call.kept["offset"] = call.record_at(addr, param.spec)
        return _LATER
    before = call.kept.get("offset", "NULL")
    after = call.record_at(addr, param.spec)
    return True, before if call.errno or before == after else f"{before} => {after}"


SPECIAL: Final[dict[str, Callable[[Call, Param, bool], Answer]]] = {
    "open_": _open,
    "open": _open,
    "openat": _open,
    "wait4": _wait4,
    "waitpid": _wait4,
    "waitid": _waitid,
    "clone": _clone,
    "clone3": _clone3,
    "clone_i386": _clone,
    "mmap": _mmap,
    "mmap2": _mmap,
    "mremap": _mremap,
    "sigsuspend": _sigsuspend,
    "signal": _signal,
    "sched_get_priority_max": _policy,
    "sched_get_priority_min": _policy,
    "sched_setscheduler": _policy,
    "llseek": _llseek,
    "truncate": _truncate64,
    "ftruncate": _truncate64,
    "utimensat": _utimensat,
    "set_thread_area": _set_thread_area,
    "pipe": _pipe,
    "pipe2": _pipe,
    "rseq": _rseq,
    "readv": _vector,
    "writev": _vector,
    "preadv": _vector,
    "pwritev": _vector,
    "preadv2": _vector,
    "pwritev2": _vector,
    "mknod": _mknod,
    "mknodat": _mknod,
    "rt_sigaction": _sigaction,
    "sigaction": _sigaction,
    "rt_sigprocmask": _sigprocmask,
    "sigprocmask": _sigprocmask,
    "nanosleep": _sleep,
    "clock_nanosleep": _sleep,
    "getcwd": _getcwd,
    "getrandom": _getrandom,
    "getdents": _getdents,
    "getdents64": _getdents,
    "mincore": _mincore,
    "futex": _futex,
    "sched_getaffinity": _affinity,
    "sched_setaffinity": _affinity,
    "getgroups": _groups,
    "setgroups": _groups,
    "rt_sigpending": _sigpending,
    "sigpending": _sigpending,
    "sendfile": _sendfile,
    "poll": poll,
    "ppoll": poll,
    "select": select,
    "pselect6": pselect6,
    "fcntl": fcntl,
    "ioctl": ioctl,
    "prctl": prctl,
    **trace_net.SPECIAL,
    **trace_ipc.SPECIAL,
}

#: Arguments that belong behind all others and are known at the end only; the text begins with
#: its own separator.
REST: Final[dict[str, Callable[[Call], str]]] = {
    "clone": _clone_rest,
    "clone_i386": _clone_rest,
    "clone3": _clone3_rest,
}
#: Text of calls that take their arguments from elsewhere than the registers.
ALONE: Final[dict[str, Callable[[Call], str]]] = {
    "rt_sigreturn": sigreturn_mask,
    "sigreturn": sigreturn_mask,
}

#: Text in parentheses after a result that is no error.
FINISH: Final[dict[str, Callable[[Call], str]]] = {
    "time": _time_result,
    "time_": _time_result,
    "rt_sigtimedwait": _signal_result,
    "personality": _personality_result,
    "signal": _signal_old,
    "sgetmask": _mask_result,
    "ssetmask": _mask_result,
    "sched_getscheduler": _policy_result,
    "set_thread_area": _entry_number,
    "poll": poll_result,
    "ppoll": poll_result,
    "select": select_result,
    "pselect6": select_result,
    "fcntl": fcntl_result,
    "prctl": prctl_result,
    "recvmmsg": trace_net.mmsg_result,
}
