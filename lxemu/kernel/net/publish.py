"""Published ports: who connects to a port of the host reaches a program in the machine.

The guest sees the true address of the other side. A connection is refused (reset, on the host)
while nobody in the machine listens on the port.
"""

from __future__ import annotations

import contextlib
import socket as host_socket
from typing import TYPE_CHECKING

from lxemu.kernel.net.dgram import Datagram
from lxemu.kernel.net.hosttcp import HostTcp
from lxemu.kernel.net.hostudp import address_of, endpoint_of
from lxemu.kernel.net.inaddr import LOOPBACK4, LOOPBACK6, as_v6, is_any, unmap
from lxemu.kernel.net.tcpconn import Endpoint, TcpConn
from lxemu.kernel.net.tcplisten import send_syn
from lxemu.kernel.net.udp import receiver
from lxemu.kernel.poll import POLLIN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lxemu.kernel.net.netstack import NetStack
    from lxemu.kernel.net.ports import Binding

_BACKLOG = 128
_MAX = 65536
_TURN = 64
#: How many senders a published UDP port remembers, to answer them.
_SENDERS = 4096


def _bound(family: int, kind: int, address: str, port: int) -> host_socket.socket:
    """Return a host socket with an address. Raises OSError."""
    sock = host_socket.socket(family, kind)
    try:
        sock.setblocking(False)
        if kind == host_socket.SOCK_STREAM:
            sock.setsockopt(host_socket.SOL_SOCKET, host_socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock


def _family(address: str) -> int:
    return host_socket.AF_INET6 if ":" in address else host_socket.AF_INET


def _local_host(bindings: Iterable[Binding], like: bytes) -> bytes:
    """Return which of our addresses a visitor reaches: what is bound, or a loopback address."""
    for binding in bindings:
        if not is_any(binding.host):
            return binding.host
        if len(like) == 16 and binding.family == 6:
            return LOOPBACK6
        return LOOPBACK4 if binding.family == 4 or not binding.v6only else LOOPBACK6
    return LOOPBACK4


def _visitor(remote: Endpoint, local: bytes) -> Endpoint:
    """Return the visitor's address in the family of ours; another family becomes the loopback."""
    host = unmap(remote.host)
    if len(host) != len(local):
        host = LOOPBACK4 if len(local) == 4 else LOOPBACK6
    return Endpoint(host, remote.port)


class TcpPublisher:
    """A published TCP port."""

    def __init__(self, stack: NetStack, address: str, port: int, guest_port: int) -> None:
        self.stack = stack
        self.guest_port = guest_port
        self.family = _family(address)
        self.sock = _bound(self.family, host_socket.SOCK_STREAM, address, port)
        self.sock.listen(_BACKLOG)
        stack.disp.watch(self.sock.fileno(), POLLIN, self._ready)

    def _ready(self, _revents: int) -> None:
        for _ in range(_TURN):
            try:
                sock, address = self.sock.accept()
            except OSError:
                return
            self._enter(sock, endpoint_of(self.family, address[:2]))

    def _enter(self, sock: host_socket.socket, remote: Endpoint) -> None:
        stack = self.stack
        listeners = stack.tcp.ports.listening.get(self.guest_port, ())
        local = _local_host(listeners, unmap(remote.host))
        far = TcpConn(stack)
        far.laddr = _visitor(remote, local)
        far.faddr = Endpoint(local, self.guest_port)
        pump = HostTcp(stack, sock, far)
        send_syn(far)
        if far.error is not None:
            pump.reset()

    def close(self) -> None:
        """Close the host's port."""
        self.stack.disp.unwatch(self.sock.fileno(), self._ready)
        self.sock.close()


class UdpPublisher:
    """A published UDP port; who has sent to it can be answered."""

    def __init__(self, stack: NetStack, address: str, port: int, guest_port: int) -> None:
        self.stack = stack
        self.guest_port = guest_port
        self.family = _family(address)
        self.sock = _bound(self.family, host_socket.SOCK_DGRAM, address, port)
        self.senders: dict[Endpoint, Endpoint] = {}
        stack.disp.watch(self.sock.fileno(), POLLIN, self._ready)

    def _ready(self, _revents: int) -> None:
        for _ in range(_TURN):
            try:
                data, address = self.sock.recvfrom(_MAX)
            except OSError:
                return
            self._enter(data, endpoint_of(self.family, address[:2]))

    def _enter(self, data: bytes, remote: Endpoint) -> None:
        stack = self.stack
        bindings = list(stack.udp.at(self.guest_port))
        dst = Endpoint(_local_host(bindings, unmap(remote.host)), self.guest_port)
        src = _visitor(remote, dst.host)
        so = receiver(stack.udp, src, dst)
        if so is None:
            return
        self.senders.pop(src, None)
        self.senders[src] = remote
        if len(self.senders) > _SENDERS:
            del self.senders[next(iter(self.senders))]
        index = stack.loopback.index
        so.deliver(Datagram(data, src, dst, index, 64, 0, stack.clock.realtime()))

    def knows(self, dst: Endpoint) -> bool:
        """Return whether `dst` has sent something to this port."""
        return dst in self.senders

    def reply(self, data: bytes, dst: Endpoint) -> None:
        """Send to one who has sent before; like any datagram it may be lost."""
        remote = self.senders[dst]
        if self.family == host_socket.AF_INET6:
            remote = remote._replace(host=as_v6(remote.host))
        with contextlib.suppress(OSError):
            self.sock.sendto(data, address_of(remote)[1])

    def close(self) -> None:
        """Close the host's port."""
        self.stack.disp.unwatch(self.sock.fileno(), self._ready)
        self.sock.close()
