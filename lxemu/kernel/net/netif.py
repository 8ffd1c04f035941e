"""Network interfaces, their addresses, and the routes (illumos ill_t, ipif_t, ire_t; ip(4P)).

Without leave to use the host's network a machine has one interface, the loopback; with it the
host's interfaces are shown as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from lxemu.kernel.net.inaddr import ANY4, ANY6, LOOPBACK4, LOOPBACK6, in_prefix, netmask

# Interface flags (net/if.h); the ones below 0x1000 are the same on every Unix.
IFF_UP = 0x1
IFF_BROADCAST = 0x2
IFF_LOOPBACK = 0x8
IFF_POINTOPOINT = 0x10
IFF_RUNNING = 0x40
IFF_NOARP = 0x80
IFF_PROMISC = 0x100
IFF_ALLMULTI = 0x200
IFF_MULTICAST = 0x800

# Interface types (net/if_types.h).
IFT_ETHER = 0x6
IFT_LOOP = 0x18
IFT_OTHER = 0x1

LOOPBACK_MTU = 65536


class IfAddr(NamedTuple):
    """One address of an interface, with its prefix, broadcast (or b"") and label."""

    host: bytes
    prefixlen: int
    broadcast: bytes = b""

    @property
    def mask(self) -> bytes:
        """The network mask, as long as the address."""
        return netmask(self.prefixlen, len(self.host))


@dataclass(eq=False)
class NetIf:
    """An interface. The counters are of datagrams and bytes that went each way."""

    name: bytes
    index: int
    type: int
    flags: int
    mtu: int
    hwaddr: bytes = bytes(6)
    txqlen: int = 1000
    addrs: list[IfAddr] = field(default_factory=list)
    groups: dict[bytes, int] = field(default_factory=dict)
    ipackets: int = 0
    ibytes: int = 0
    opackets: int = 0
    obytes: int = 0

    @property
    def is_loopback(self) -> bool:
        """Whether this is the loopback."""
        return self.flags & IFF_LOOPBACK != 0

    def addr4(self) -> IfAddr | None:
        """Return the first IPv4 address."""
        return next((addr for addr in self.addrs if len(addr.host) == 4), None)

    def addr6(self) -> IfAddr | None:
        """Return the first IPv6 address."""
        return next((addr for addr in self.addrs if len(addr.host) == 16), None)

    def is_local(self, host: bytes) -> bool:
        """Return whether `host` is ours: an address, or anything in a loopback's prefix."""
        for addr in self.addrs:
            if addr.host == host:
                return True
            if self.flags & IFF_LOOPBACK and in_prefix(host, addr.host, addr.prefixlen):
                return True
        return False


class Route(NamedTuple):
    """Where to send what is for dest/prefixlen: out of `netif`, through `gateway` if any."""

    dest: bytes
    prefixlen: int
    gateway: bytes
    netif: NetIf
    metric: int = 0


def loopback_interface(*, up: bool = True) -> NetIf:
    """Return a fresh loopback interface; it gets its addresses when it is up."""
    netif = NetIf(b"lo", 1, IFT_LOOP, IFF_LOOPBACK, LOOPBACK_MTU)
    if up:
        bring_up(netif)
    return netif


def bring_up(netif: NetIf) -> None:
    """Mark an interface as up and running; a loopback without addresses gets the usual ones."""
    netif.flags |= IFF_UP | IFF_RUNNING
    if netif.is_loopback and not netif.addrs:
        netif.addrs += [IfAddr(LOOPBACK4, 8), IfAddr(LOOPBACK6, 128)]


def any_like(host: bytes) -> bytes:
    """Return the unspecified address of the family of `host`."""
    return ANY4 if len(host) == 4 else ANY6
