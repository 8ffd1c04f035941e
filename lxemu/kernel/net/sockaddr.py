"""Addresses of sockets, decoded: one immutable type for each family that the kernel speaks."""

from __future__ import annotations

from typing import NamedTuple

from lxemu.kernel.net.socketvar import AF_INET, AF_INET6, AF_NETLINK, AF_UNIX


class UnixAddr(NamedTuple):
    """A name of AF_UNIX: a path, an abstract name (it begins with NUL), or nothing (unnamed)."""

    path: bytes = b""

    @property
    def family(self) -> int:
        """AF_UNIX."""
        return AF_UNIX

    @property
    def abstract(self) -> bool:
        """Whether the name is in no file system."""
        return self.path[:1] == b"\0"


class InetAddr(NamedTuple):
    """An IPv4 address (4 bytes) and a port; `size` is the length that a caller gave it."""

    host: bytes = bytes(4)
    port: int = 0
    size: int = 16

    @property
    def family(self) -> int:
        """AF_INET."""
        return AF_INET


class Inet6Addr(NamedTuple):
    """An IPv6 address (16 bytes), a port, a flow label and the interface of a scoped address."""

    host: bytes = bytes(16)
    port: int = 0
    flowinfo: int = 0
    scope: int = 0

    @property
    def family(self) -> int:
        """AF_INET6."""
        return AF_INET6


class NetlinkAddr(NamedTuple):
    """A netlink port id and a mask of multicast groups."""

    pid: int = 0
    groups: int = 0

    @property
    def family(self) -> int:
        """AF_NETLINK."""
        return AF_NETLINK


class OtherAddr(NamedTuple):
    """What no other type here describes: AF_UNSPEC, a family unknown, or one that is too short.

    A protocol that gets this for its own family answers EINVAL; for AF_UNSPEC it disconnects.
    `size` is the length that the caller gave (below 2 there is no family), `data` the bytes after
    the family.
    """

    family: int = 0
    data: bytes = b""
    size: int = 2


Sockaddr = UnixAddr | InetAddr | Inet6Addr | NetlinkAddr | OtherAddr
