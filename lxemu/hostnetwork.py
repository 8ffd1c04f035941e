"""Connecting a machine with the host's network, as its configuration says.

A guest with the host's network sees the host's interfaces, addresses and routes; they are read
once, where the host has Linux's pseudo file systems. Elsewhere it sees one interface.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from lxemu.errors import ConfigError
from lxemu.kernel.net.hostnet import HostNet
from lxemu.kernel.net.inaddr import ANY4, ANY6, is_loopback
from lxemu.kernel.net.netif import (
    IFF_BROADCAST,
    IFF_LOOPBACK,
    IFF_MULTICAST,
    IFF_RUNNING,
    IFF_UP,
    IFT_ETHER,
    IfAddr,
    NetIf,
    Route,
)
from lxemu.kernel.net.netstack import netstack
from lxemu.kernel.net.publish import TcpPublisher, UdpPublisher

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lxemu.machine import Machine, Published

#: ioctl(2) requests of a Linux host (linux/sockios.h).
_SIOCGIFADDR, _SIOCGIFBRDADDR, _SIOCGIFNETMASK = 0x8915, 0x8919, 0x891B
_ADDRESS = slice(20, 24)


def open_network(machine: Machine, net: str, publish: Sequence[Published]) -> None:
    """Publish ports and, with `net` "host", let the guest out. Raises ConfigError."""
    stack = netstack(machine)
    if net == "host":
        stack.host = HostNet(stack)
        add_host_interfaces(stack.interfaces, stack.routes)
    for one in publish:
        maker = TcpPublisher if one.protocol == "tcp" else UdpPublisher
        try:
            publisher = maker(stack, one.address, one.port, one.guest_port)
        except OSError as error:
            where = f"[{one.address}]" if ":" in one.address else one.address
            raise ConfigError(
                f"cannot publish {where}:{one.port}/{one.protocol}: "
                f"{os.strerror(error.errno or 0).lower()}"
            ) from None
        stack.publishers.append(publisher)
        if isinstance(publisher, UdpPublisher):
            stack.published[one.guest_port] = publisher


# -- the host's interfaces ------------------------------------------------------------------------


def add_host_interfaces(interfaces: list[NetIf], routes: list[Route]) -> None:
    """Append the host's interfaces that are up and have an address, and the routes over them."""
    known: dict[str, NetIf] = {}
    used = {netif.index for netif in interfaces}
    for index, name in socket.if_nameindex():
        netif = _interface(index, name)
        if netif is not None and index not in used:
            known[name] = netif
            interfaces.append(netif)
    if not known:
        interfaces.append(_only_interface())
        known["eth0"] = interfaces[-1]
    found = [*_routes4(known), *_routes6(known)]
    if not any(not route.prefixlen for route in found):
        found.append(Route(ANY4, 0, ANY4, interfaces[-1]))
    routes += found


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _interface(index: int, name: str) -> NetIf | None:
    base = f"/sys/class/net/{name}"
    addrs = [*_addresses4(name), *_addresses6(name)]
    if not addrs or any(is_loopback(addr.host) for addr in addrs):
        return None
    flags = IFF_UP | IFF_RUNNING | IFF_BROADCAST | IFF_MULTICAST
    mtu = int(_read(f"{base}/mtu") or 1500)
    hwaddr = bytes.fromhex(_read(f"{base}/address").strip().replace(":", "")) or bytes(6)
    return NetIf(name.encode(), index, IFT_ETHER, flags & ~IFF_LOOPBACK, mtu, hwaddr, 1000, addrs)


def _addresses4(name: str) -> Iterable[IfAddr]:
    request = struct.pack("256s", name.encode()[:15])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            host, mask, last = (
                bytes(fcntl.ioctl(probe, number, request))[_ADDRESS]
                for number in (_SIOCGIFADDR, _SIOCGIFNETMASK, _SIOCGIFBRDADDR)
            )
        except OSError:
            return
    yield IfAddr(host, int.from_bytes(mask, "big").bit_count(), last if any(last) else b"")


def _addresses6(name: str) -> Iterable[IfAddr]:
    for line in _read("/proc/net/if_inet6").splitlines():
        host, _, prefixlen, _, _, device = line.split()
        if device == name:
            yield IfAddr(bytes.fromhex(host), int(prefixlen, 16))


def _routes4(known: dict[str, NetIf]) -> Iterable[Route]:
    for line in _read("/proc/net/route").splitlines()[1:]:
        name, dest, gateway, flags, _, _, metric, mask, *_ = line.split()
        if name in known and int(flags, 16) & 1:
            to, via = (int(word, 16).to_bytes(4, "little") for word in (dest, gateway))
            yield Route(to, int(mask, 16).bit_count(), via, known[name], int(metric))


def _routes6(known: dict[str, NetIf]) -> Iterable[Route]:
    for line in _read("/proc/net/ipv6_route").splitlines():
        dest, prefixlen, _, _, gateway, metric, _, _, flags, name = line.split()
        local = int(flags, 16) & 0x80000000
        if name in known and not local and not dest.startswith("ff"):
            to, via = bytes.fromhex(dest), bytes.fromhex(gateway)
            yield Route(to, int(prefixlen, 16), via, known[name], int(metric, 16))


def _only_interface() -> NetIf:
    """Return an interface for a host that does not show its own."""
    flags = IFF_UP | IFF_RUNNING | IFF_BROADCAST | IFF_MULTICAST
    addrs = []
    for family, far, near in (
        (socket.AF_INET, "192.0.2.1", ANY4),
        (socket.AF_INET6, "2001:db8::1", ANY6),
    ):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((far, 9))
                near = socket.inet_pton(family, probe.getsockname()[0])
            except OSError:
                continue
        addrs.append(IfAddr(near, 24 if family == socket.AF_INET else 64))
    return NetIf(b"eth0", 2, IFT_ETHER, flags, 1500, b"\x02\0\0\0\0\x01", 1000, addrs)
