"""Members that several layouts share: device numbers, times, ids."""

from __future__ import annotations

from typing import Final

from syscalls.abi.layout import Member
from syscalls.abi.scalars import dev_from_lx, dev_to_lx

_DEV_NAMES = {"dev_to_lx": dev_to_lx, "dev_from_lx": dev_from_lx}
#: A device number in 64 bits, and in 32 (new_encode_dev).
DEV64: Final = Member("Q", enc="dev_to_lx({v})", dec="dev_from_lx({0})", names=_DEV_NAMES)
DEV32: Final = Member("I", enc="dev_to_lx({v})", dec="dev_from_lx({0})", names=_DEV_NAMES)


def _old_dev(dev: int) -> int:
    """Encode in 16 bits (old_encode_dev); a number that does not fit must fail to pack."""
    major, minor = dev >> 32, dev & 0xFFFFFFFF
    return major << 8 | minor if major < 256 and minor < 256 else -1


DEV16: Final = Member(
    "H",
    enc="old_dev({v})",
    dec="(({0} >> 8) << 32 | {0} & 0xff)",
    names={"old_dev": _old_dev},
)

_SPLIT = "{v} // 1000000000, {v} % 1000000000"
_JOIN = "{0} * 1000000000 + {1}"
#: A time in ns as seconds and nanoseconds: longs on LP64; 32 bits, cut as Linux does, on i386.
NS_LONG: Final = Member("qq", enc=_SPLIT, dec=_JOIN, count=2)
NS_U32: Final = Member(
    "II", enc="{v} // 1000000000 & 0xffffffff, {v} % 1000000000", dec=_JOIN, count=2
)
#: statx: s64 seconds, u32 nanoseconds, 4 bytes of padding.
NS_STATX: Final = Member("qIi", enc=_SPLIT + ", 0", dec="{0} * 1000000000 + {1} + {2} * 0", count=3)
#: A time in ns as a timeval.
NS_TIMEVAL: Final = Member(
    "qq",
    "ii",
    enc="{v} // 1000000000, {v} % 1000000000 // 1000",
    dec="{0} * 1000000000 + {1} * 1000",
    count=2,
)
#: Seconds of a 32-bit time_t on i386: wraps silently, as put_old_timespec32 does.
SEC: Final = Member(
    "q", "i", enc="({v} if {M} >> 32 else ({v} + 0x80000000 & 0xffffffff) - 0x80000000)"
)
#: Nanoseconds of a __kernel_timespec: 64 bits; a 32-bit caller's upper half is ignored.
NSEC64: Final = Member("q", dec="({0} if {M} >> 32 else {0} & 0xffffffff)")
