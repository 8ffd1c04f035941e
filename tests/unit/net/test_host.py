"""Published ports and the host's network: a guest's sockets with the host's at the other end."""

from __future__ import annotations

import select
import socket

import pytest

from lxemu.errors import ConfigError
from lxemu.hostnetwork import open_network
from lxemu.kernel.clock import HostClock
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.net.netif import IFF_UP, IFT_ETHER, IfAddr, NetIf, Route
from lxemu.kernel.net.sockaddr import InetAddr
from lxemu.kernel.net.socketvar import AF_INET, SOCK_DGRAM, SOCK_STREAM
from lxemu.machine import Published

from .conftest import LOOPBACK, ROOT, Net


class HostedNet(Net):
    """A network with the real time and the host's sockets; 192.0.2.0/24 stands for outside."""

    def __init__(self):
        super().__init__()
        self.machine.clock = self.machine.disp.clock = self.stack.clock = HostClock()
        self.hosts = []

    def host(self, kind):
        sock = socket.socket(socket.AF_INET, kind)
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        self.hosts.append(sock)
        return sock

    def turn(self, done, seconds=5):
        """Let the dispatcher look at the host until `done` says so."""
        end = HostClock.hrtime() + int(seconds * 1e9)
        while not done():
            assert HostClock.hrtime() < end, "nothing came"
            self.machine.disp.poll_host(20)
            self.machine.disp.run_callouts()


@pytest.fixture
def hosted():
    net = HostedNet()
    yield net
    net.stack.close()
    for sock in net.hosts:
        sock.close()


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def publish(net, protocol):
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    port = free_port(kind)
    open_network(net.machine, "none", [Published("127.0.0.1", port, 80, protocol)])
    return port


def visit(net, port):
    sock = socket.create_connection(("127.0.0.1", port), 5)
    net.hosts.append(sock)
    return sock


def test_visitor_reaches_a_listener(hosted):
    port = publish(hosted, "tcp")
    listener = hosted.listener(port=80)
    sock = visit(hosted, port)
    hosted.turn(lambda: listener.conn.listener.queue)
    server = hosted.keep(listener.accept(True))

    assert server.getpeername() == InetAddr(LOOPBACK, sock.getsockname()[1])

    sock.sendall(b"ask")
    hosted.turn(lambda: server.inq() == 3)
    server.recvmsg(10, 0, True)
    server.sendmsg(b"answer", None, (), 0, True)

    assert sock.recv(100) == b"answer"

    hosted.close(server)

    assert sock.recv(100) == b""


def test_large_answer_flows_as_the_host_takes_it(hosted):
    port = publish(hosted, "tcp")
    listener = hosted.listener(port=80)
    sock = visit(hosted, port)
    hosted.turn(lambda: listener.conn.listener.queue)
    server = hosted.keep(listener.accept(True))
    sent = 0
    while sent < 20_000_000:
        try:
            sent += server.sendmsg(b"x" * 1_000_000, None, (), 0, True)
        except KernelError:
            break
    hosted.close(server)
    got = 0
    sock.setblocking(False)
    while True:
        hosted.machine.disp.poll_host(0)
        select.select([sock], [], [], 0.1)
        try:
            part = sock.recv(1 << 20)
        except BlockingIOError:
            continue
        if not part:
            break
        got += len(part)

    assert got == sent


def test_visitor_is_reset_while_nobody_listens(hosted):
    port = publish(hosted, "tcp")
    sock = visit(hosted, port)
    hosted.turn(lambda: select.select([sock], [], [], 0)[0])

    with pytest.raises(ConnectionResetError):
        sock.recv(1)
    assert not hosted.stack.host_streams


def test_reset_of_the_visitor_reaches_the_guest(hosted):
    port = publish(hosted, "tcp")
    listener = hosted.listener(port=80)
    sock = visit(hosted, port)
    hosted.turn(lambda: listener.conn.listener.queue)
    server = hosted.keep(listener.accept(True))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()
    hosted.turn(lambda: server.conn.error is not None)

    assert server.conn.error is Errno.ECONNRESET


def test_datagrams_go_both_ways(hosted):
    port = publish(hosted, "udp")
    server = hosted.socket(sotype=SOCK_DGRAM)
    server.bind(InetAddr(bytes(4), 80), ROOT)
    sock = hosted.host(socket.SOCK_DGRAM)
    sock.sendto(b"ask", ("127.0.0.1", port))
    hosted.turn(lambda: server.queue)
    got = server.recvmsg(10, 0, True)

    assert (got.data, got.addr.port) == (b"ask", sock.getsockname()[1])

    server.sendmsg(b"answer", got.addr, (), 0, True)

    assert sock.recvfrom(100) == (b"answer", ("127.0.0.1", port))


def test_port_that_is_taken_is_a_configuration_error(hosted):
    busy = hosted.host(socket.SOCK_STREAM)
    busy.listen()
    one = Published("127.0.0.1", busy.getsockname()[1], 80, "tcp")

    with pytest.raises(ConfigError, match=r"cannot publish 127\.0\.0\.1:.*in use"):
        open_network(hosted.machine, "none", [one])


# -- outwards -------------------------------------------------------------------------------------


def test_without_the_host_there_is_only_the_loopback(net):
    so = net.socket()

    with pytest.raises(KernelError) as caught:
        so.connect(InetAddr(b"\xc0\0\2\1", 80), False, ROOT)
    assert caught.value.errno is Errno.ENETUNREACH


def connect_out(net, port):
    """Connect a guest socket to a port of the host's loopback, which the guest does not use."""
    so = net.socket(AF_INET, SOCK_STREAM)
    with pytest.raises(KernelError) as caught:
        so.connect(InetAddr(LOOPBACK, port), True, ROOT)
    assert caught.value.errno is Errno.EINPROGRESS
    return so


def test_connection_goes_out_where_the_guest_has_no_listener(hosted):
    open_network(hosted.machine, "host", [])
    server = hosted.host(socket.SOCK_STREAM)
    server.listen()
    so = connect_out(hosted, server.getsockname()[1])
    hosted.turn(lambda: so.conn.state == 0)
    other, _ = server.accept()
    hosted.hosts.append(other)
    so.sendmsg(b"out", None, (), 0, True)

    assert other.recv(10) == b"out"

    other.sendall(b"back")
    other.close()
    hosted.turn(lambda: so.conn.done)

    assert so.recvmsg(10, 0, True).data == b"back"
    assert so.recvmsg(10, 0, True).data == b""


def test_refusal_of_the_host_is_the_guests(hosted):
    open_network(hosted.machine, "host", [])
    so = connect_out(hosted, free_port(socket.SOCK_STREAM))
    hosted.turn(lambda: so.conn.error is not None)

    assert so.conn.error is Errno.ECONNREFUSED


def test_closing_gives_an_attempt_up(hosted):
    open_network(hosted.machine, "host", [])
    server = hosted.host(socket.SOCK_STREAM)
    so = connect_out(hosted, server.getsockname()[1])
    hosted.close(so)

    assert not hosted.stack.host_streams


def test_datagram_goes_out_and_the_answer_comes_back(hosted):
    open_network(hosted.machine, "host", [])
    server = hosted.host(socket.SOCK_DGRAM)
    so = hosted.socket(sotype=SOCK_DGRAM)
    so.sendmsg(b"ask", InetAddr(LOOPBACK, server.getsockname()[1]), (), 0, True)
    data, sender = server.recvfrom(10)
    server.sendto(b"answer to " + data, sender)
    hosted.turn(lambda: so.queue)

    assert so.recvmsg(100, 0, True).data == b"answer to ask"

    hosted.close(so)

    assert not hosted.stack.host_datagrams


def test_refused_datagram_tells_a_connected_socket(hosted):
    open_network(hosted.machine, "host", [])
    so = hosted.socket(sotype=SOCK_DGRAM)
    so.connect(InetAddr(LOOPBACK, free_port(socket.SOCK_DGRAM)), False, ROOT)
    so.sendmsg(b"x", None, (), 0, True)
    hosted.turn(lambda: so.so_error is not None)

    assert so.so_error is Errno.ECONNREFUSED


def test_routes_choose_the_source(net):
    eth = NetIf(b"eth0", 2, IFT_ETHER, IFF_UP, 1500, addrs=[IfAddr(b"\xc0\0\2\7", 24)])
    net.stack.interfaces.append(eth)
    net.stack.routes.append(Route(bytes(4), 0, b"\xc0\0\2\1", eth))
    net.stack.host = object()

    assert net.stack.source_for(b"\x08\x08\x08\x08") == b"\xc0\0\2\7"
    assert net.stack.source_for(LOOPBACK) == LOOPBACK
    assert net.stack.mtu_to(b"\x08\x08\x08\x08") == 1500
