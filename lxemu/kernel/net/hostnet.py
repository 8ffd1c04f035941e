"""The host's network, for a machine that may use it: what leaves goes through host sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.net.hosttcp import connect_out
from lxemu.kernel.net.hostudp import Outside

if TYPE_CHECKING:
    from lxemu.kernel.net.dgram import Outgoing
    from lxemu.kernel.net.netstack import NetStack
    from lxemu.kernel.net.tcpconn import TcpConn
    from lxemu.kernel.net.udp import UdpSonode


class HostNet:
    """Leave to use the host's network."""

    def __init__(self, stack: NetStack) -> None:
        self.stack = stack

    def connect(self, conn: TcpConn) -> None:
        """Connect to the foreign address of `conn`; the outcome comes later."""
        connect_out(self.stack, conn)

    def send(self, so: UdpSonode, out: Outgoing) -> None:
        """Send a datagram of `so`. Raises KernelError with the host's error."""
        if so.outside is None:
            so.outside = Outside(self.stack, so)
        so.outside.send(out)
