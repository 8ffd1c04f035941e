"""Text of single values for tracing, as strace(1) writes them."""

from __future__ import annotations

import time
from typing import Final

from syscalls.signum import lx_signal_name

_ESCAPES: Final = {
    0x09: "\\t",
    0x0A: "\\n",
    0x0B: "\\v",
    0x0C: "\\f",
    0x0D: "\\r",
    0x22: '\\"',
    0x5C: "\\\\",
}
_TYPES: Final = {
    0o010000: "S_IFIFO",
    0o020000: "S_IFCHR",
    0o040000: "S_IFDIR",
    0o060000: "S_IFBLK",
    0o100000: "S_IFREG",
    0o120000: "S_IFLNK",
    0o140000: "S_IFSOCK",
}
ALL_SIGNALS: Final = (1 << 64) - 1


def quote(data: bytes) -> str:
    """Quote bytes as a C string: octal escapes, as short as the next character allows."""
    parts: list[str] = []
    for index, byte in enumerate(data):
        known = _ESCAPES.get(byte)
        if known is not None:
            parts.append(known)
        elif 0x20 <= byte < 0x7F:
            parts.append(chr(byte))
        else:
            following = data[index + 1 : index + 2]
            digit = following.isdigit() and following < b"8"
            parts.append(f"\\{byte:03o}" if digit else f"\\{byte:o}")
    return '"' + "".join(parts) + '"'


def quote_hex(data: bytes) -> str:
    """Quote bytes with every one in hexadecimal (random data)."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in data) + '"'


def clipped(data: bytes, limit: int) -> str:
    """Quote at most *limit* bytes; an ellipsis says that there is more."""
    return quote(data) if len(data) <= limit else quote(data[:limit]) + "..."


def pointer(addr: int) -> str:
    """Write an address; NULL for zero."""
    return f"{addr:#x}" if addr else "NULL"


def octal(mode: int) -> str:
    """Write permission bits: a leading zero, and at least three characters."""
    return f"0{mode:o}".zfill(3)


def file_mode(mode: int) -> str:
    """Write st_mode: the type by name, then the permission bits."""
    kind = _TYPES.get(mode & 0o170000)
    if kind is None:
        return octal(mode)
    parts = [kind]
    for bit, name in ((0o4000, "S_ISUID"), (0o2000, "S_ISGID"), (0o1000, "S_ISVTX")):
        if mode & bit:
            parts.append(name)
    parts.append(octal(mode & 0o777))
    return "|".join(parts)


def device(dev: int) -> str:
    """Write a device number of the kernel's form."""
    return f"makedev({dev >> 32:#x}, {dev & 0xFFFFFFFF:#x})"


def short_signal(lx: int) -> str:
    """Name a signal in a set: without SIG, and RTMIN or RT_n for the real-time ones."""
    name = lx_signal_name(lx)
    return name.removeprefix("SIG")


def sigset(mask: int) -> str:
    """Write a Linux signal set; one with most signals set is written as its complement."""
    prefix = ""
    if mask.bit_count() > 64 * 2 // 3:
        prefix = "~"
        mask = ~mask & ALL_SIGNALS
    names = [short_signal(n) for n in range(1, 65) if mask >> (n - 1) & 1]
    return f"{prefix}[{' '.join(names)}]"


def date(sec: int, fraction: str = "") -> str:
    """Write a time as strace does in comments: local time with its offset."""
    try:
        local = time.localtime(sec)
    except (OverflowError, ValueError, OSError):
        return ""
    return time.strftime("%Y-%m-%dT%H:%M:%S", local) + fraction + time.strftime("%z", local)


def ticks(count: int) -> str:
    """Write a number of clock ticks of 1/100 s; the seconds in a comment unless it is zero."""
    return f"{count} /* {count // 100}.{count % 100:02d} s */" if count else "0"


def limit(value: int, infinity: int) -> str:
    """Write a resource limit: infinity by name, multiples of 1024 as such."""
    if value == infinity:
        return "RLIM64_INFINITY" if infinity >> 32 else "RLIM_INFINITY"
    if value > 1024 and value % 1024 == 0:
        return f"{value // 1024}*1024"
    return str(value)


def wait_status(status: int) -> str:
    """Write a wait status as the macros that are true of it."""
    low = status & 0x7F
    if low == 0:
        return f"[{{WIFEXITED(s) && WEXITSTATUS(s) == {status >> 8 & 0xFF}}}]"
    if status == 0xFFFF:
        return "[{WIFCONTINUED(s)}]"
    if status & 0xFF == 0x7F:
        stopped = lx_signal_name(status >> 8 & 0xFF)
        return f"[{{WIFSTOPPED(s) && WSTOPSIG(s) == {stopped}}}]"
    core = " && WCOREDUMP(s)" if status & 0x80 else ""
    return f"[{{WIFSIGNALED(s) && WTERMSIG(s) == {lx_signal_name(low)}{core}}}]"
