"""Records of the socket calls."""

from __future__ import annotations

from typing import NamedTuple


class Msghdr(NamedTuple):
    """The argument of sendmsg(2) and recvmsg(2): addresses and sizes; `flags` are Linux's MSG_*."""

    addr: int
    addrlen: int
    iov: int
    iovlen: int
    control: int
    controllen: int
    flags: int


class Mmsghdr(NamedTuple):
    """One element of sendmmsg(2) and recvmmsg(2): a message, and how many bytes it had."""

    hdr: Msghdr
    len: int
