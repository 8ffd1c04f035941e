"""UDP over the host's sockets: one for each guest socket that has sent something outside."""

from __future__ import annotations

import contextlib
import socket as host_socket
from typing import TYPE_CHECKING

from lxemu.kernel.net import in_
from lxemu.kernel.net.dgram import Datagram
from lxemu.kernel.net.socketvar import IPPROTO_IP, SO_BROADCAST
from lxemu.kernel.net.tcpconn import Endpoint
from lxemu.kernel.poll import POLLIN
from lxemu.kernel.vfs.host import host_error

if TYPE_CHECKING:
    from lxemu.kernel.errno import Errno
    from lxemu.kernel.net.dgram import Outgoing
    from lxemu.kernel.net.netstack import NetStack
    from lxemu.kernel.net.udp import UdpSonode

_MAX = 65536
#: Datagrams taken at a time, so that a flood leaves the guest a turn.
_TURN = 64
_UNREACHABLE = {4: (3, 3), 16: (1, 4)}


def address_of(endpoint: Endpoint) -> tuple[int, tuple[str, int]]:
    """Return the host's family and address of an endpoint."""
    family = host_socket.AF_INET if len(endpoint.host) == 4 else host_socket.AF_INET6
    return family, (host_socket.inet_ntop(family, endpoint.host), endpoint.port)


def endpoint_of(family: int, address: tuple[str, int]) -> Endpoint:
    """Return the endpoint of a host's address."""
    name = address[0].split("%", 1)[0]
    return Endpoint(host_socket.inet_pton(family, name), address[1])


class HostUdp:
    """The host socket of a guest socket. `last` is the datagram that an error is about."""

    def __init__(self, stack: NetStack, so: UdpSonode, family: int) -> None:
        self.stack = stack
        self.so = so
        self.family = family
        self.sock = host_socket.socket(family, host_socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.peer: Endpoint | None = None
        self.last: Outgoing | None = None
        stack.disp.watch(self.sock.fileno(), POLLIN, self._ready)

    def send(self, out: Outgoing) -> None:
        """Send a datagram; one that the host has no room for is lost. Raises KernelError."""
        self.last = out
        self._prepare(out)
        _, address = address_of(out.dst)
        try:
            if self.so.peer == out.dst:
                if self.peer != out.dst:
                    self.sock.connect(address)
                    self.peer = out.dst
                self.sock.send(out.data)
            else:
                if self.peer is not None:
                    self._renew()
                self.sock.sendto(out.data, address)
        except BlockingIOError:
            return
        except OSError as error:
            raise host_error(error) from None

    def _prepare(self, out: Outgoing) -> None:
        """Set the options of the guest's socket that concern what leaves."""
        so = self.so
        if so.options.get(SO_BROADCAST, 0):
            self.sock.setsockopt(host_socket.SOL_SOCKET, host_socket.SO_BROADCAST, 1)
        if self.family == host_socket.AF_INET and (IPPROTO_IP, in_.IP_TTL) in so.ipopts:
            self.sock.setsockopt(host_socket.IPPROTO_IP, host_socket.IP_TTL, out.ttl)

    def _renew(self) -> None:
        """Take a fresh host socket: this one is connected to somebody else."""
        self.close()
        self.sock = host_socket.socket(self.family, host_socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.peer = None
        self.stack.disp.watch(self.sock.fileno(), POLLIN, self._ready)

    def _ready(self, _revents: int) -> None:
        for _ in range(_TURN):
            try:
                data, address = self.sock.recvfrom(_MAX)
            except BlockingIOError:
                return
            except OSError as error:
                self._failed(host_error(error).errno)
                return
            src = endpoint_of(self.family, address)
            so = self.so
            if so.peer is not None and so.peer != src:
                continue
            port = so.binding.port if so.binding is not None else 0
            dst = Endpoint(so.local_host(), port)
            route = self.stack.route(src.host)
            index = route.netif.index if route is not None else self.stack.loopback.index
            so.deliver(Datagram(data, src, dst, index, 64, 0, self.stack.clock.realtime()))

    def _failed(self, errno: Errno) -> None:
        if self.last is not None:
            kind, code = _UNREACHABLE[len(self.last.dst.host)]
            self.so.failed(errno, self.last, kind, code, hard=True)

    def close(self) -> None:
        """Close the host socket."""
        if self.sock.fileno() >= 0:
            self.stack.disp.unwatch(self.sock.fileno(), self._ready)
            with contextlib.suppress(OSError):
                self.sock.close()


class Outside:
    """The host sockets of a guest socket, one for each family."""

    def __init__(self, stack: NetStack, so: UdpSonode) -> None:
        self.stack = stack
        self.so = so
        self.sockets: dict[int, HostUdp] = {}
        stack.host_datagrams.add(self)

    def send(self, out: Outgoing) -> None:
        """Send a datagram through the socket of its family. Raises KernelError."""
        family, _ = address_of(out.dst)
        host = self.sockets.get(family)
        if host is None:
            try:
                host = self.sockets[family] = HostUdp(self.stack, self.so, family)
            except OSError as error:
                raise host_error(error) from None
        host.send(out)

    def close(self) -> None:
        """Close the host sockets."""
        for host in self.sockets.values():
            host.close()
        self.stack.host_datagrams.discard(self)
