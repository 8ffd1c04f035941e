"""Words about network interfaces: flags and hardware types (linux/if.h, linux/if_arp.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lxemu.kernel.net import netif as n

from .xlat import EnumTable, FlagTable

if TYPE_CHECKING:
    from lxemu.kernel.net.netif import NetIf

IFF: Final = FlagTable(
    "IFF",
    (0x1, n.IFF_UP, "IFF_UP"),
    (0x2, n.IFF_BROADCAST, "IFF_BROADCAST"),
    (0x8, n.IFF_LOOPBACK, "IFF_LOOPBACK"),
    (0x10, n.IFF_POINTOPOINT, "IFF_POINTOPOINT"),
    (0x40, n.IFF_RUNNING, "IFF_RUNNING"),
    (0x80, n.IFF_NOARP, "IFF_NOARP"),
    (0x100, n.IFF_PROMISC, "IFF_PROMISC"),
    (0x200, n.IFF_ALLMULTI, "IFF_ALLMULTI"),
    (0x1000, n.IFF_MULTICAST, "IFF_MULTICAST"),
    unknown="ignore",
)
#: The carrier is there: shown by rtnetlink only.
LX_IFF_LOWER_UP: Final = 0x10000

ARPHRD: Final = EnumTable(
    "ARPHRD",
    (1, n.IFT_ETHER, "ARPHRD_ETHER"),
    (772, n.IFT_LOOP, "ARPHRD_LOOPBACK"),
    (0xFFFE, n.IFT_OTHER, "ARPHRD_NONE"),
)


def shown_flags(netif: NetIf) -> int:
    """Return the flags as the interface ioctls give them: a running interface is one that is up."""
    flags = netif.flags
    if not flags & n.IFF_UP:
        flags &= ~n.IFF_RUNNING
    return IFF.to_lx[flags]
