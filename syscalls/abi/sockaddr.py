"""struct sockaddr of every family, to and from the kernel's addresses (bits/socket.h, sys/un.h)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.net.sockaddr import (
    Inet6Addr,
    InetAddr,
    NetlinkAddr,
    OtherAddr,
    Sockaddr,
    UnixAddr,
)

from .xlat_net import FAMILY

if TYPE_CHECKING:
    from lxemu.kernel.mm.as_ import As

LX_AF_UNIX: Final = 1
LX_AF_INET: Final = 2
LX_AF_INET6: Final = 10
LX_AF_NETLINK: Final = 16

#: sizeof(struct sockaddr_storage): no address is longer.
STORAGE: Final = 128
_UNIX_MAX: Final = 110
#: sockaddr_in6 of RFC 2133 had no scope; it is still taken.
_IN6_MIN: Final = 24

_FAMILY: Final = struct.Struct("<H")
_IN: Final = struct.Struct("<H2s4s8x")
_IN6: Final = struct.Struct("<H2sI16sI")
_IN6_OLD: Final = struct.Struct("<H2sI16s")
_NETLINK: Final = struct.Struct("<HHII")


def decode(data: bytes) -> Sockaddr:
    """Return the address that *data* (its whole length counts) is."""
    size = len(data)
    if size < 2:
        return OtherAddr(0, b"", size)
    (lx_family,) = _FAMILY.unpack_from(data)
    if lx_family == LX_AF_UNIX and size <= _UNIX_MAX:
        path = data[2:]
        return UnixAddr(path if path[:1] == b"\0" else path.split(b"\0", 1)[0])
    if lx_family == LX_AF_INET and size >= _IN.size:
        _, port, host = _IN.unpack_from(data)
        return InetAddr(host, int.from_bytes(port), size)
    if lx_family == LX_AF_INET6 and size >= _IN6_MIN:
        return _decode_in6(data)
    if lx_family == LX_AF_NETLINK and size >= _NETLINK.size:
        _, _, pid, groups = _NETLINK.unpack_from(data)
        return NetlinkAddr(pid, groups)
    return OtherAddr(FAMILY.from_lx[lx_family], data[2:], size)


def _decode_in6(data: bytes) -> Inet6Addr:
    scope = 0
    if len(data) >= _IN6.size:
        _, port, flow, host, scope = _IN6.unpack_from(data)
    else:
        _, port, flow, host = _IN6_OLD.unpack_from(data)
    return Inet6Addr(host, int.from_bytes(port), int.from_bytes(flow.to_bytes(4, "little")), scope)


def encode(addr: Sockaddr) -> bytes:
    """Return the structure; its length is the address's."""
    if isinstance(addr, UnixAddr):
        path = addr.path
        end = b"\0" if path and not addr.abstract else b""
        return _FAMILY.pack(LX_AF_UNIX) + path + end
    if isinstance(addr, InetAddr):
        return _IN.pack(LX_AF_INET, addr.port.to_bytes(2), addr.host)
    if isinstance(addr, Inet6Addr):
        flow = int.from_bytes(addr.flowinfo.to_bytes(4), "little")
        return _IN6.pack(LX_AF_INET6, addr.port.to_bytes(2), flow, addr.host, addr.scope)
    if isinstance(addr, NetlinkAddr):
        return _NETLINK.pack(LX_AF_NETLINK, 0, addr.pid, addr.groups)
    return _FAMILY.pack(FAMILY.to_lx[addr.family]) + addr.data


def copyin_sockaddr(as_: As, addr: int, size: int) -> Sockaddr:
    """Copy in an address of *size* bytes. EINVAL, EFAULT (move_addr_to_kernel)."""
    if not 0 <= size <= STORAGE:
        raise KernelError(Errno.EINVAL)
    return decode(as_.copyin(addr, size) if size else b"")


def copyout_sockaddr(as_: As, data: bytes, addr: int, size_at: int) -> None:
    """Copy out an address, as much of it as there is room for, and its real length.

    The room is the int at *size_at*. EFAULT, EINVAL (move_addr_to_user).
    """
    room = as_.load_s32(size_at)
    if room < 0:
        raise KernelError(Errno.EINVAL)
    as_.store_s32(size_at, len(data))
    if room:
        as_.copyout(addr, data[:room])
