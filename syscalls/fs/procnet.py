"""/proc/PID/net: the tables of the network, empty where the machine has none of a kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syscalls.fs.pseudo import PseudoDir, PseudoNode

if TYPE_CHECKING:
    from collections.abc import Callable

    from syscalls.fs.pseudo import PseudoVfs

_INET = (
    b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   ui"
    b"d  timeout inode"
)
_INET6 = (
    b"  sl  local_address                         remote_address                      "
    b"  st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
)
_DEV = (
    b"Inter-|   Receive                                                |  Transmit\n fa"
    b"ce |bytes    packets errs drop fifo frame compressed multicast|bytes    packets "
    b"errs drop fifo colls carrier compressed\n    lo:       0       0    0    0    0  "
    b"   0          0         0        0       0    0    0    0     0       0         "
    b" 0\n"
)
_TABLES: dict[bytes, bytes] = {
    b"arp": b"IP address       HW type     Flags       HW address            Mask     Device\n",
    b"dev": _DEV,
    b"if_inet6": b"",
    b"protocols": b"",
    b"raw": _INET + b" ref pointer drops             \n",
    b"route": b"Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"
    b"                                                       \n",
    b"sockstat": b"sockets: used 0\nTCP: inuse 0 orphan 0 tw 0 alloc 0 mem 0\nUDP: inuse 0 mem 0\n"
    b"UDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n",
    b"tcp": _INET.ljust(149) + b"\n",
    b"tcp6": _INET6 + b"\n",
    b"udp": _INET + b" ref pointer drops             \n",
    b"udp6": _INET6 + b" ref pointer drops\n",
    b"unix": b"Num       RefCount Protocol Flags    Type St Inode Path\n",
}


def make_dir(vfs: PseudoVfs, parent: PseudoNode, nodeid: int) -> PseudoDir:
    """Return the directory."""
    node = PseudoDir(vfs, parent, 0o555, nodeid)
    for name, text in _TABLES.items():
        node.text(name, _constant(text))
    return node


def _constant(text: bytes) -> Callable[[], bytes]:
    return lambda: text
