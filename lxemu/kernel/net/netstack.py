"""A network stack: interfaces, routes, ports and the names of sockets (illumos netstack_t).

A machine has one; processes in a network namespace of their own have another. A datagram that is
sent to an address of the stack is delivered in the same instant; anything else has no route, unless
the stack was given the host's network (`host`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.net.inaddr import (
    BROADCAST4,
    LOOPBACK4,
    LOOPBACK6,
    in_prefix,
    is_any,
    is_loopback,
    is_multicast,
)
from lxemu.kernel.net.netif import IFF_UP, NetIf, Route, loopback_interface
from lxemu.kernel.net.ports import PortTable
from lxemu.kernel.net.sockfs import SockFs
from lxemu.kernel.net.tcptable import TcpTable

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxemu.kernel.clock import Clock
    from lxemu.kernel.net.tcpconn import Endpoint, TcpConn
    from lxemu.kernel.proc import Proc
    from lxemu.kernel.sched import Dispatcher

#: Segment sizes over the loopback: what fits an IP datagram, less the headers.
_MSS4 = 65483
_MSS6 = 65464


class Counters:
    """What a network monitor wants to know of the protocols (illumos mib2.h)."""

    __slots__ = ("icmp_in", "icmp_out", "udp_full", "udp_in", "udp_noports", "udp_out")

    def __init__(self) -> None:
        self.icmp_in = self.icmp_out = 0
        self.udp_in = self.udp_out = self.udp_noports = self.udp_full = 0


class NetStack:
    """One network.

    `unix_names` holds the abstract names of AF_UNIX by (type, name); `unix_sockets` every socket of
    the family, in the order of their making; `unix_rights` are the files in flight between them.
    `host` carries what leaves the machine, None where nothing may. In every stack but the `first`
    of a machine the loopback is down until somebody brings it up.
    """

    def __init__(self, machine: Any, *, first: bool = True) -> None:
        self.machine = machine
        self.clock: Clock = machine.clock
        self.disp: Dispatcher = machine.disp
        self.entropy: Callable[[int], bytes] = machine.entropy
        self.sockfs = SockFs(machine.clock)
        self.unix_names: dict[tuple[int, bytes], Any] = {}
        self.unix_sockets: dict[int, Any] = {}
        self.unix_rights: Any = None
        self.interfaces: list[NetIf] = [loopback_interface(up=first)]
        self.routes: list[Route] = []
        self.tcp = TcpTable(self)
        self.udp = PortTable(self.entropy, datagram=True)
        self.udplite = PortTable(self.entropy, datagram=True)
        #: Raw sockets and echo ("ping") sockets, which have no ports.
        self.raw: list[Any] = []
        self.echo: dict[tuple[int, int], Any] = {}
        self.counters = Counters()
        #: Addresses of a family that a brand has added: netlink sockets by protocol and port.
        self.netlink_ports: dict[tuple[int, int], Any] = {}
        self.first_unprivileged = 1024
        #: Groups whose members may have echo sockets: nobody where the first is above the last.
        self.ping_groups = (1, 0)
        self.host: Any = None
        #: Ports of the host that lead to us, and those of UDP by our port.
        self.publishers: list[Any] = []
        self.published: dict[int, Any] = {}
        #: What holds sockets of the host: connections, and datagram sockets.
        self.host_streams: set[Any] = set()
        self.host_datagrams: set[Any] = set()
        #: In the first network, the others of the machine.
        self.others: WeakSet[NetStack] = WeakSet()
        #: Called with what has changed ("link", "addr") and the interface.
        self.on_change: list[Callable[[str, Any], None]] = []

    # -- addresses and routes ---------------------------------------------------------------------

    @property
    def loopback(self) -> NetIf:
        """The loopback interface."""
        return self.interfaces[0]

    def netif(self, index: int) -> NetIf | None:
        """Return the interface with an index."""
        return next((netif for netif in self.interfaces if netif.index == index), None)

    def netif_by_name(self, name: bytes) -> NetIf | None:
        """Return the interface with a name."""
        return next((netif for netif in self.interfaces if netif.name == name), None)

    def owner_of(self, host: bytes) -> NetIf | None:
        """Return the interface that `host` is an address of, None when it is not ours."""
        for netif in self.interfaces:
            if netif.flags & IFF_UP and netif.is_local(host):
                return netif
        return None

    def is_broadcast(self, host: bytes) -> bool:
        """Return whether `host` is a broadcast address, general or of an interface."""
        if len(host) != 4:
            return False
        return host == BROADCAST4 or any(
            host in (addr.broadcast, _last(addr.host, addr.prefixlen))
            for netif in self.interfaces
            for addr in netif.addrs
            if len(addr.host) == 4 and addr.prefixlen < 31
        )

    def route(self, host: bytes) -> Route | None:
        """Return the route to a foreign host: the longest prefix, then the least metric."""
        best: Route | None = None
        for route in self.routes:
            if not route.netif.flags & IFF_UP or not in_prefix(host, route.dest, route.prefixlen):
                continue
            if best is None or (-route.prefixlen, route.metric) < (-best.prefixlen, best.metric):
                best = route
        return best

    def source_for(self, host: bytes) -> bytes:
        """Return the local address that talks to `host`. Raises ENETUNREACH.

        The unspecified address means this machine.
        """
        if is_any(host):
            return LOOPBACK4 if len(host) == 4 else LOOPBACK6
        netif = self.owner_of(host)
        if netif is not None:
            if netif.is_loopback and len(host) == 4:
                addr = netif.addr4()
                return addr.host if addr is not None else host
            return host
        if self.host is not None:
            route = self.route(host)
            if route is not None:
                addr = route.netif.addr4() if len(host) == 4 else route.netif.addr6()
                if addr is not None:
                    return addr.host
        raise KernelError(Errno.ENETUNREACH)

    def may_bind(self, host: bytes) -> bool:
        """Return whether a socket may have `host` as its own address."""
        if is_any(host) or is_multicast(host) or self.is_broadcast(host):
            return True
        return self.owner_of(host) is not None

    def mtu_to(self, host: bytes) -> int:
        """Return the largest datagram that reaches `host` whole."""
        netif = self.owner_of(host)
        if netif is not None:
            return self.loopback.mtu
        route = self.route(host)
        return route.netif.mtu if route is not None else self.loopback.mtu

    def multicast_route(self, host: bytes) -> NetIf | None:
        """Return the interface that multicasts and broadcasts leave through by default."""
        if self.host is None:
            return None
        route = self.route(host)
        return route.netif if route is not None else None

    def mss(self, host: bytes) -> int:
        """Return the largest segment that a connection to `host` sends."""
        if is_loopback(host):
            return _MSS4 if len(host) == 4 else _MSS6
        return 1460 if len(host) == 4 else 1440

    def count(self, size: int) -> None:
        """Count a datagram that went over the loopback."""
        netif = self.loopback
        netif.ipackets += 1
        netif.opackets += 1
        netif.ibytes += size
        netif.obytes += size

    def changed(self, kind: str, netif: NetIf) -> None:
        """Tell who listens that an interface ("link") or its addresses ("addr") have changed."""
        for tell in tuple(self.on_change):
            tell(kind, netif)

    def drain(self) -> list[str]:
        """Forget what only waits for its time, when no process is left; return what else there is.

        One line for each thing that a socket should have given back.
        """
        self.tcp.drain()
        for other in tuple(self.others):
            other.tcp.drain()
        left = [f"TCP port {port}" for port in self.tcp.ports.bound]
        left += [f"UDP port {port}" for port in (*self.udp.bound, *self.udplite.bound)]
        left += ["a raw socket" for _ in self.raw]
        return left

    def close(self) -> None:
        """Give the sockets of the host back: the machine ends."""
        for stream in tuple(self.host_streams):
            stream.finish()
        for held in (*self.publishers, *self.host_datagrams):
            held.close()
        self.publishers.clear()

    # -- what the connections tell ----------------------------------------------------------------

    def tcp_gone(self, conn: TcpConn) -> None:
        """Take a closed connection out of the tables."""
        self.tcp.gone(conn)

    def time_wait(self, conn: TcpConn) -> None:
        """Keep the addresses of a connection that has ended well."""
        self.tcp.time_wait(conn)

    def goes_out(self, to: Endpoint) -> bool:
        """Return whether a connection to `to` leaves the machine.

        Where the host's network may be used, its loopback begins where ours has no listener.
        """
        if self.owner_of(to.host) is None:
            return True
        return self.host is not None and self.tcp.listener_for(to, None) is None

    def published_peer(self, src: Endpoint, dst: Endpoint) -> Any:
        """Return the published port that a datagram from `src` to `dst` answers through."""
        port = self.published.get(src.port)
        return port if port is not None and port.knows(dst) else None


def _last(host: bytes, prefixlen: int) -> bytes:
    """Return the broadcast address of host/prefixlen."""
    bits = (1 << 32 - prefixlen) - 1
    return (int.from_bytes(host, "big") | bits).to_bytes(4, "big")


def netstack(machine: Any) -> NetStack:
    """Return the first network of a machine, made on first use."""
    found: NetStack | None = getattr(machine, "netstack", None)
    if found is None:
        found = machine.netstack = NetStack(machine)
    return found


def new_stack(machine: Any) -> NetStack:
    """Return a further network, for processes that leave the first one."""
    made = NetStack(machine, first=False)
    netstack(machine).others.add(made)
    return made


def stack_of(proc: Proc) -> NetStack:
    """Return the network that a process is in."""
    if proc.ns is not None and proc.ns.net.content is not None:
        found: NetStack = proc.ns.net.content
        return found
    return netstack(proc.machine)
