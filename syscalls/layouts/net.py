"""Layouts of syscalls/records/net.py. Sources: linux/socket.h, net/compat.h."""

from __future__ import annotations

from typing import Any, Final

from syscalls.abi.layout import I32, PTR, U32, ULONG, Layout
from syscalls.records import net as r

#: struct user_msghdr, 56 bytes, and struct compat_msghdr, 28.
MSGHDR: Final = Layout(
    r.Msghdr,
    "MSGHDR",
    addr=PTR,
    addrlen=I32,
    iov=PTR,
    iovlen=ULONG,
    control=PTR,
    controllen=ULONG,
    flags=U32,
)
MMSGHDR: Final = Layout(r.Mmsghdr, "MMSGHDR", hdr=MSGHDR.member(), len=U32)

DEFAULTS: Final[dict[Any, Any]] = {r.Msghdr: MSGHDR, r.Mmsghdr: MMSGHDR}
