"""Requests about network interfaces: netdevice(7). Any socket may be asked."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.net import ifconfig
from lxemu.kernel.net.inaddr import in_prefix
from lxemu.kernel.net.netif import NetIf
from lxemu.kernel.net.netstack import NetStack
from lxemu.kernel.net.sockaddr import InetAddr
from lxemu.kernel.net.socket import Sonode
from lxemu.kernel.net.socketvar import AF_INET
from lxemu.kernel.vfs.file import File
from syscalls.abi.sockaddr import encode
from syscalls.abi.xlat_netif import ARPHRD, IFF, shown_flags

Request = Callable[[Lwp, File, int, int], int]

#: struct ifreq: a name, then a union as large as its struct ifmap.
_NAME: Final = 16
_SIZE: Final = {64: 40, 32: 32}
_INT: Final = struct.Struct("<i")
_SHORT: Final = struct.Struct("<H")
_IN_ADDR_AT: Final = slice(4, 8)


def _stack(file: File) -> NetStack:
    """Return the network of the socket that is asked."""
    vnode = file.vnode
    assert isinstance(vnode, Sonode)
    return vnode.stack


def _find(lwp: Lwp, file: File, arg: int) -> tuple[NetIf, bytes]:
    """Return the interface that a struct ifreq names, and its union. EFAULT, ENODEV."""
    data = bytes(lwp.as_.copyin(arg, _SIZE[lwp.brand.bits]))
    name = data[:_NAME].split(b"\0", 1)[0]
    # A label such as "eth0:1" means the interface before the colon.
    netif = _stack(file).netif_by_name(name.split(b":", 1)[0])
    if netif is None:
        raise KernelError(Errno.ENODEV)
    return netif, data[_NAME:]


def _reads(get: Callable[[NetIf], bytes]) -> Request:
    """Return a request that stores what `get` tells of an interface."""

    def request(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
        netif, _ = _find(lwp, file, arg)
        lwp.as_.copyout(arg + _NAME, get(netif))
        return 0

    return request


def _writes(change: Callable[[NetStack, NetIf, bytes], None]) -> Request:
    """Return a request that changes an interface, which takes a privilege. EPERM."""

    def request(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
        data = bytes(lwp.as_.copyin(arg, _SIZE[lwp.brand.bits]))
        ifconfig.check_privilege(lwp.proc.cred)
        netif, _ = _find(lwp, file, arg)
        change(_stack(file), netif, data[_NAME:])
        return 0

    return request


def _of_inet(request: Request) -> Request:
    """Return a request that only sockets of IPv4 answer: the ones about its addresses. ENOTTY."""

    def check(lwp: Lwp, file: File, fd: int, arg: int) -> int:
        if getattr(file.vnode, "family", 0) != AF_INET:
            raise KernelError(Errno.ENOTTY)
        return request(lwp, file, fd, arg)

    return check


def _address(netif: NetIf, which: Callable[[NetIf], bytes | None]) -> bytes:
    host = which(netif)
    if host is None:
        raise KernelError(Errno.EADDRNOTAVAIL)
    return encode(InetAddr(host, 0))


def _own(netif: NetIf) -> bytes | None:
    addr = netif.addr4()
    return addr.host if addr is not None else None


def _mask(netif: NetIf) -> bytes | None:
    addr = netif.addr4()
    return addr.mask if addr is not None else None


def _broadcast(netif: NetIf) -> bytes | None:
    addr = netif.addr4()
    return (addr.broadcast or bytes(4)) if addr is not None else None


def _number(value: Callable[[NetIf], int]) -> Request:
    return _reads(lambda netif: _INT.pack(value(netif)))


def _gets_address(which: Callable[[NetIf], bytes | None]) -> Request:
    return _of_inet(_reads(lambda netif: _address(netif, which)))


def _hardware(netif: NetIf) -> bytes:
    return _SHORT.pack(ARPHRD.to_lx[netif.type]) + netif.hwaddr.ljust(14, b"\0")


def _gifname(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
    """Store the name of the interface with an index. ENODEV."""
    data = bytes(lwp.as_.copyin(arg, _SIZE[lwp.brand.bits]))
    netif = _stack(file).netif(_INT.unpack_from(data, _NAME)[0])
    if netif is None:
        raise KernelError(Errno.ENODEV)
    lwp.as_.copyout(arg, netif.name.ljust(_NAME, b"\0"))
    return 0


def _gifconf(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
    """Store a struct ifreq of every IPv4 address, as many as fit whole; without a buffer, count."""
    bits = lwp.brand.bits
    layout = struct.Struct("<i4xQ" if bits == 64 else "<iI")
    room, buf = layout.unpack(lwp.as_.copyin(arg, layout.size))
    size = _SIZE[bits]
    found = bytearray()
    for netif in _stack(file).interfaces:
        for addr in netif.addrs:
            if len(addr.host) != 4 or (buf and len(found) + size > room):
                continue
            entry = netif.name.ljust(_NAME, b"\0") + encode(InetAddr(addr.host, 0))
            found += entry.ljust(size, b"\0")
    if buf:
        lwp.as_.copyout(buf, bytes(found))
    lwp.as_.store_s32(arg, len(found))
    return 0


def _gifmap(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
    """Store a struct ifmap, all zero: no interface has memory or interrupts."""
    _find(lwp, file, arg)
    lwp.as_.copyout(arg + _NAME, bytes(_SIZE[lwp.brand.bits] - _NAME))
    return 0


def _sifflags(stack: NetStack, netif: NetIf, data: bytes) -> None:
    ifconfig.set_flags(stack, netif, IFF.from_lx[_SHORT.unpack_from(data)[0]])


def _sifaddr(stack: NetStack, netif: NetIf, data: bytes) -> None:
    ifconfig.set_address(stack, netif, data[_IN_ADDR_AT])


def _sifnetmask(stack: NetStack, netif: NetIf, data: bytes) -> None:
    ifconfig.set_netmask(stack, netif, data[_IN_ADDR_AT])


def _sifmtu(stack: NetStack, netif: NetIf, data: bytes) -> None:
    ifconfig.set_mtu(stack, netif, _INT.unpack_from(data)[0])


def _sifname(stack: NetStack, netif: NetIf, data: bytes) -> None:
    ifconfig.rename(stack, netif, data[:_NAME].split(b"\0", 1)[0])


def _refuse(errno: Errno) -> Request:
    def request(_lwp: Lwp, _file: File, _fd: int, _arg: int) -> int:
        raise KernelError(errno)

    return request


def _garp(lwp: Lwp, file: File, _fd: int, arg: int) -> int:
    """Look for a neighbour; there are none: ENXIO, or ENETUNREACH off every interface."""
    data = bytes(lwp.as_.copyin(arg, 16))
    host = data[_IN_ADDR_AT]
    near = any(
        in_prefix(host, addr.host, addr.prefixlen)
        for netif in _stack(file).interfaces
        for addr in netif.addrs
    )
    raise KernelError(Errno.ENXIO if near else Errno.ENETUNREACH)


#: By Linux's number (linux/sockios.h).
REQUESTS: Final[dict[int, Request]] = {
    0x8910: _gifname,
    0x8912: _gifconf,
    0x8913: _reads(lambda netif: _SHORT.pack(shown_flags(netif) & 0xFFFF)),
    0x8914: _writes(_sifflags),
    0x8915: _gets_address(_own),
    0x8916: _of_inet(_writes(_sifaddr)),
    0x8917: _gets_address(_own),
    0x8919: _gets_address(_broadcast),
    0x891B: _gets_address(_mask),
    0x891C: _of_inet(_writes(_sifnetmask)),
    0x891D: _number(lambda _netif: 0),
    0x8921: _number(lambda netif: netif.mtu),
    0x8922: _writes(_sifmtu),
    0x8923: _writes(_sifname),
    0x8927: _reads(_hardware),
    0x8933: _number(lambda netif: netif.index),
    0x8942: _number(lambda netif: netif.txqlen),
    0x8946: _refuse(Errno.EOPNOTSUPP),
    0x8954: _of_inet(_garp),
    0x8970: _gifmap,
    0x8B01: _refuse(Errno.EOPNOTSUPP),
}
