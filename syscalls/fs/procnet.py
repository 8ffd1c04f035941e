"""/proc/PID/net: the tables of the network (proc(5); net/ipv4/*.c, net/core/net-procfs.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from lxemu.kernel.net.inaddr import ANY4, ANY6, as_v6, is_any, is_link_local, is_loopback, netmask
from lxemu.kernel.net.netif import IFF_UP
from lxemu.kernel.net.netstack import stack_of
from lxemu.kernel.net.tcpconn import TCPS_ESTABLISHED, TCPS_LISTEN, Endpoint
from syscalls.fs import procnet_tables as tables
from syscalls.fs.pseudo import PseudoDir, PseudoNode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lxemu.kernel.net.netstack import NetStack
    from lxemu.kernel.net.tcpconn import TcpConn
    from lxemu.kernel.proc import Proc
    from syscalls.fs.pseudo import PseudoVfs

#: States of a connection by the kernel's number (net/tcp_states.h).
_TCP_STATES: Final = {0: 1, -2: 2, -1: 3, 2: 4, 5: 5, 6: 6, 1: 8, 4: 9, -3: 10, 3: 11}
_TIME_WAIT: Final = 6
_UDP_OPEN, _UDP_CONNECTED = 7, 1
#: Clock ticks a second, in which timers are shown.
_HZ: Final = 100
_NS: Final = 1_000_000_000
_NULL: Final = "0000000000000000"


def make_dir(vfs: PseudoVfs, parent: PseudoNode, nodeid: int) -> PseudoDir:
    """Return the directory."""
    proc: Proc = getattr(parent, "proc")  # noqa: B009 (the directory of a process)
    node = PseudoDir(vfs, parent, 0o555, nodeid)
    for name, text in tables.CONSTANT.items():
        node.text(name, _constant(text))
    for name, make in _TABLES.items():
        node.text(name, _of_stack(make, proc))
    return node


def _constant(text: bytes) -> Callable[[], bytes]:
    return lambda: text


def _of_stack(make: Callable[[NetStack], bytes], proc: Proc) -> Callable[[], bytes]:
    return lambda: make(stack_of(proc))


# -- sockets --------------------------------------------------------------------------------------


def _hex(endpoint: Endpoint | None, family: int) -> str:
    """Show an address as the words that it is on a little-endian machine, and the port."""
    host, port = endpoint or Endpoint(ANY4 if family == 4 else ANY6, 0)
    if family == 6:
        host = ANY6 if len(host) == 4 and is_any(host) else as_v6(host)
    words = (int.from_bytes(host[at : at + 4], "little") for at in range(0, len(host), 4))
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"


def _tcp(family: int) -> Callable[[NetStack], bytes]:
    """Return the maker of the table of TCP sockets of a family."""

    def make(stack: NetStack) -> bytes:
        lines = [tables.TCP_HEAD[family]]
        for line in _tcp_lines(stack, family):
            lines.append(f"{len(lines) - 1:4d}: {line}".ljust(149 if family == 4 else 0).encode())
        return b"\n".join(lines) + b"\n"

    return make


def _tcp_lines(stack: NetStack, family: int) -> Iterable[str]:
    for conn in stack.tcp.all_ends():
        binding = conn.binding
        if binding is not None and binding.family == family:
            yield _tcp_line(conn, family)
    now = stack.clock.hrtime()
    for wait in tuple(stack.tcp.waits.values()):
        if wait.binding is None or wait.binding.family != family:
            continue
        ticks = max(0, wait.expires - now) * _HZ // _NS
        pair = f"{_hex(wait.laddr, family)} {_hex(wait.faddr, family)}"
        yield (
            f"{pair} {_TIME_WAIT:02X} 00000000:00000000 03:{ticks:08X} 00000000"
            f"     0        0 0 3 {_NULL}"
        )


def _tcp_line(conn: TcpConn, family: int) -> str:
    binding = conn.binding
    assert binding is not None
    local = conn.laddr or Endpoint(binding.host, binding.port)
    state = _TCP_STATES[conn.state]
    if conn.state == TCPS_LISTEN:
        waiting = len(conn.listener.queue) if conn.listener is not None else 0
        queues, rest, refs = f"00000000:{waiting:08X}", "100 0 0 10 0", 1
    else:
        queues = f"{conn.unsent:08X}:{min(conn.queued, conn.window):08X}"
        rest = "20 4 30 10 -1" if conn.state == TCPS_ESTABLISHED else "20 4 0 10 -1"
        refs = 2 if conn.inode else 1
    return (
        f"{_hex(local, family)} {_hex(conn.faddr, family)} {state:02X} {queues}"
        f" 00:00000000 00000000 {conn.uid:5d} {0:8d} {conn.inode} {refs} {_NULL} {rest}"
    )


def _datagram_line(so: Any, family: int) -> str:
    """Return the line of a datagram or raw socket."""
    local = Endpoint(so.local_host(), so.table_port())
    state = _UDP_CONNECTED if so.peer is not None else _UDP_OPEN
    return (
        f"{_hex(local, family)} {_hex(so.peer, family)} {state:02X}"
        f" 00000000:{so.used:08X} 00:00000000 00000000 {so.uid:5d} {0:8d}"
        f" {so.nodeid} 2 {_NULL} {so.dropped}"
    )


def _datagrams(
    family: int, which: Callable[[NetStack], Iterable[Any]], heads: dict[int, bytes]
) -> Callable[[NetStack], bytes]:
    def make(stack: NetStack) -> bytes:
        lines = [heads[family]]
        for so in which(stack):
            if (4 if len(so.any_host()) == 4 else 6) == family:
                text = f"{so.table_port():5d}: {_datagram_line(so, family)}"
                lines.append(text.ljust(127 if family == 4 else 0).encode())
        return b"\n".join(lines) + b"\n"

    return make


def _udp_sockets(stack: NetStack) -> Iterable[Any]:
    return stack.udp.owners()


def _raw_sockets(stack: NetStack) -> Iterable[Any]:
    return tuple(stack.raw)


def _echo_sockets(stack: NetStack) -> Iterable[Any]:
    return tuple(stack.echo.values())


def _unix(stack: NetStack) -> bytes:
    from syscalls.fs import procunix

    return procunix.table(stack)


def _sockstat(stack: NetStack) -> bytes:
    ends = list(stack.tcp.all_ends())
    four = [end for end in ends if end.binding is not None and end.binding.family == 4]
    orphans = sum(end.orphan for end in ends)
    udp = sum(len(so.any_host()) == 4 for so in _udp_sockets(stack))
    raw = sum(len(so.any_host()) == 4 for so in stack.raw)
    used = len(ends) + len(list(_udp_sockets(stack))) + len(stack.raw) + len(stack.unix_sockets)
    return (
        f"sockets: used {used}\n"
        f"TCP: inuse {len(four)} orphan {orphans} tw {len(stack.tcp.waits)}"
        f" alloc {len(ends)} mem 0\n"
        f"UDP: inuse {udp} mem 0\nUDPLITE: inuse 0\nRAW: inuse {raw}\nFRAG: inuse 0 memory 0\n"
    ).encode()


def _sockstat6(stack: NetStack) -> bytes:
    tcp = sum(end.binding is not None and end.binding.family == 6 for end in stack.tcp.all_ends())
    udp = sum(len(so.any_host()) == 16 for so in _udp_sockets(stack))
    raw = sum(len(so.any_host()) == 16 for so in stack.raw)
    return (
        f"TCP6: inuse {tcp}\nUDP6: inuse {udp}\nUDPLITE6: inuse 0\nRAW6: inuse {raw}\n"
        "FRAG6: inuse 0 memory 0\n"
    ).encode()


# -- interfaces and routes ------------------------------------------------------------------------


def _dev(stack: NetStack) -> bytes:
    lines = [tables.DEV_HEAD]
    for netif in stack.interfaces:
        name = netif.name.decode(errors="replace")
        lines.append(
            f"{name:>6}: {netif.ibytes:7d} {netif.ipackets:7d}    0    0    0     0          0"
            f"         0 {netif.obytes:8d} {netif.opackets:7d}    0    0    0     0       0"
            "          0\n".encode()
        )
    return b"".join(lines)


def _route(stack: NetStack) -> bytes:
    lines = [tables.ROUTE_HEAD]
    for route in stack.routes:
        if len(route.dest) != 4:
            continue
        dest, gateway, mask = (
            int.from_bytes(word, "little")
            for word in (route.dest, route.gateway, netmask(route.prefixlen, 4))
        )
        flags = 1 | (2 if gateway else 0) | (4 if route.prefixlen == 32 else 0)
        text = (
            f"{route.netif.name.decode()}\t{dest:08X}\t{gateway:08X}\t{flags:04X}\t0\t0"
            f"\t{route.metric}\t{mask:08X}\t0\t0\t0"
        )
        lines.append(text.ljust(127).encode() + b"\n")
    return b"".join(lines)


def _scope6(host: bytes) -> int:
    if is_loopback(host):
        return 0x10
    return 0x20 if is_link_local(host) else 0


def _if_inet6(stack: NetStack) -> bytes:
    return b"".join(
        f"{addr.host.hex()} {netif.index:02x} {addr.prefixlen:02x} {_scope6(addr.host):02x} 80"
        f" {netif.name.decode():>8}\n".encode()
        for netif in stack.interfaces
        for addr in netif.addrs
        if len(addr.host) == 16 and netif.flags & IFF_UP
    )


def _ipv6_route(stack: NetStack) -> bytes:
    zero = ANY6.hex()
    lines = []
    for route in stack.routes:
        if len(route.dest) == 16:
            flags = 3 if any(route.gateway) else 1
            lines.append(
                f"{route.dest.hex()} {route.prefixlen:02x} {zero} 00 {route.gateway.hex()}"
                f" {route.metric:08x} 00000001 00000000 {flags:08x} {route.netif.name.decode():>8}"
            )
    lines += [
        f"{addr.host.hex()} 80 {zero} 00 {zero} 00000000 00000002 00000000 80200001"
        f" {netif.name.decode():>8}"
        for netif in stack.interfaces
        for addr in netif.addrs
        if len(addr.host) == 16
    ]
    name = stack.loopback.name.decode()
    lines.insert(0, f"{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200 {name:>8}")
    lines.append(f"{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200 {name:>8}")
    return ("\n".join(lines) + "\n").encode()


def _igmp(stack: NetStack) -> bytes:
    lines = ["Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter"]
    for netif in stack.interfaces:
        groups = [group for group in netif.groups if len(group) == 4]
        name = netif.name.decode()
        lines.append(f"{netif.index}\t{name:<10}: {len(groups) + 1:5d}      V3")
        for group in (*groups, b"\xe0\0\0\x01"):
            users = netif.groups.get(group, 1)
            word = int.from_bytes(group, "little")
            lines.append(f"\t\t\t\t{word:08X} {users:5d} 0:00000000\t\t0")
    return ("\n".join(lines) + "\n").encode()


def _snmp(stack: NetStack) -> bytes:
    count = stack.counters
    packets = stack.loopback.ipackets
    established = sum(end.state != TCPS_LISTEN for end in stack.tcp.all_ends())
    tcp = stack.tcp
    values = {
        "Ip": {"InReceives": packets, "InDelivers": packets, "OutRequests": packets},
        "Icmp": {"InMsgs": count.icmp_in, "OutMsgs": count.icmp_out},
        "Tcp": {
            "ActiveOpens": tcp.active_opens,
            "PassiveOpens": tcp.passive_opens,
            "CurrEstab": established,
        },
        "Udp": {
            "InDatagrams": count.udp_in,
            "NoPorts": count.udp_noports,
            "OutDatagrams": count.udp_out,
            "RcvbufErrors": count.udp_full,
            "InErrors": count.udp_full,
        },
    }
    lines = []
    for group, text in tables.SNMP.items():
        names = text.split()
        given = values.get(group, {})
        fixed = tables.SNMP_FIXED.get(group, {})
        row = [str(given.get(name, fixed.get(name, 0))) for name in names]
        lines.append(f"{group}: {text}\n{group}: {' '.join(row)}\n")
    return "".join(lines).encode()


_TABLES: Final[dict[bytes, Callable[[NetStack], bytes]]] = {
    b"dev": _dev,
    b"if_inet6": _if_inet6,
    b"igmp": _igmp,
    b"ipv6_route": _ipv6_route,
    b"route": _route,
    b"snmp": _snmp,
    b"sockstat": _sockstat,
    b"sockstat6": _sockstat6,
    b"tcp": _tcp(4),
    b"tcp6": _tcp(6),
    b"udp": _datagrams(4, _udp_sockets, tables.DATAGRAM_HEAD),
    b"udp6": _datagrams(6, _udp_sockets, tables.DATAGRAM_HEAD),
    b"unix": _unix,
    b"raw": _datagrams(4, _raw_sockets, tables.RAW_HEAD),
    b"raw6": _datagrams(6, _raw_sockets, tables.RAW_HEAD),
    b"icmp": _datagrams(4, _echo_sockets, tables.DATAGRAM_HEAD),
    b"icmp6": _datagrams(6, _echo_sockets, tables.DATAGRAM_HEAD),
}
