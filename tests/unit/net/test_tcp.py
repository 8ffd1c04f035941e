"""TCP ends: what takes time (by a virtual clock), windows, reuse. Reference: tcp(7), RFC 9293.

What can be compared with the native kernel is in fixtures/src/net.
"""

from __future__ import annotations

import pytest

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.net import in_
from lxemu.kernel.net.sockaddr import InetAddr
from lxemu.kernel.net.socketvar import (
    IPPROTO_TCP,
    MSG_MORE,
    SHUT_WR,
    SO_LINGER,
    SO_RCVBUF,
    SO_SNDBUF,
    SOL_SOCKET,
    Linger,
)
from lxemu.kernel.net.tcpconn import (
    TCPS_CLOSED,
    TCPS_ESTABLISHED,
    TCPS_FIN_WAIT_1,
    TCPS_FIN_WAIT_2,
    TCPS_SYN_RCVD,
)

from .conftest import LOOPBACK, ROOT


def errno_of(call, *args):
    with pytest.raises(KernelError) as caught:
        call(*args)
    return caught.value.errno


def test_connect_to_a_full_listener_times_out_after_its_retries(net):
    listener = net.listener(backlog=0)

    def client():
        net.socket().connect(listener.getsockname(), False, ROOT)
        late = net.socket()
        late.setsockopt(IPPROTO_TCP, in_.TCP_SYNCNT, 2, ROOT)
        start = net.now()
        net.log.append(errno_of(late.connect, listener.getsockname(), False, ROOT))
        net.log.append(round(net.now() - start))

    net.run(client)

    assert net.log == [Errno.ETIMEDOUT, 3]


def test_syn_is_sent_again_when_a_place_has_come_free(net):
    listener = net.listener(backlog=0)

    def client():
        net.socket().connect(listener.getsockname(), False, ROOT)
        start = net.now()
        net.socket().connect(listener.getsockname(), False, ROOT)
        net.log.append(("connected", round(net.now() - start)))

    def server():
        net.keep(listener.accept(False))
        net.keep(listener.accept(False))

    net.run(client, server)

    assert net.log == [("connected", 1)]


def test_time_wait_keeps_a_port_for_a_minute(net):
    server_port = net.listener().getsockname().port
    listener = net.listener(port=server_port + 2)
    client = net.socket()
    client.connect(listener.getsockname(), False, ROOT)
    server = net.keep(listener.accept(True))
    for so in (server, client, listener):
        net.close(so)
    again = net.socket()
    addr = InetAddr(LOOPBACK, server_port + 2)

    assert errno_of(again.bind, addr, ROOT) is Errno.EADDRINUSE
    assert len(net.stack.tcp.waits) == 1

    net.machine.clock.now += 61_000_000_000
    net.machine.disp.run_callouts()
    again.bind(addr, ROOT)

    assert not net.stack.tcp.waits


def test_closed_end_waits_a_minute_for_the_other_fin(net):
    client, server = net.pair()
    conn = client.conn
    net.close(client)

    assert conn.state == TCPS_FIN_WAIT_2

    net.machine.clock.now += 61_000_000_000
    net.machine.disp.run_callouts()

    assert conn.state == TCPS_CLOSED
    assert server.sendmsg(b"x", None, (), 0, True) == 1
    assert server.conn.error is Errno.EPIPE


def test_fin_waits_behind_data_that_the_window_does_not_hold(net):
    client, server = net.pair()
    server.setsockopt(SOL_SOCKET, SO_RCVBUF, 4096, ROOT)
    client.setsockopt(SOL_SOCKET, SO_SNDBUF, 20000, ROOT)

    assert client.sendmsg(b"x" * 10000, None, (), 0, True) == 10000
    assert client.outq() == 10000 - 4096

    client.shutdown(SHUT_WR)

    assert client.conn.state == TCPS_FIN_WAIT_1
    assert server.conn.state == TCPS_ESTABLISHED
    assert len(server.recvmsg(20000, 0, True).data) == 10000
    assert client.conn.state == TCPS_FIN_WAIT_2
    assert server.recvmsg(1, 0, True).data == b""


def test_nonblocking_send_takes_what_fits_and_a_reader_makes_room(net):
    client, server = net.pair()
    client.setsockopt(SOL_SOCKET, SO_SNDBUF, 4096, ROOT)
    server.setsockopt(SOL_SOCKET, SO_RCVBUF, 4096, ROOT)
    sent = client.sendmsg(b"x" * 100_000, None, (), 0, True)

    assert sent == client.sndbuf + server.rcvbuf // 2
    assert errno_of(client.sendmsg, b"x", None, (), 0, True) is Errno.EAGAIN

    server.recvmsg(sent, 0, True)

    assert client.sendmsg(b"x", None, (), 0, True) == 1


def test_blocked_writer_goes_on_as_the_reader_reads(net):
    client, server = net.pair()
    data = bytes(range(256)) * 40_000

    def writer():
        net.log.append(client.sendmsg(data, None, (), 0, False))
        net.close(client)

    def reader():
        got = []
        while part := server.recvmsg(100_000, 0, False).data:
            got.append(part)
        net.log.append(b"".join(got) == data)

    net.run(writer, reader)

    assert sorted(net.log) == [True, len(data)]


def test_deferred_accept_waits_for_data_but_not_for_ever(net):
    opts = [(IPPROTO_TCP, in_.TCP_DEFER_ACCEPT, 1)]
    listener = net.listener(opts=opts)
    client = net.socket()
    client.connect(listener.getsockname(), False, ROOT)

    assert client.conn.state == TCPS_ESTABLISHED
    assert client.conn.peer.state == TCPS_SYN_RCVD
    assert errno_of(listener.accept, True) is Errno.EAGAIN

    client.sendmsg(b"x", None, (), 0, True)

    assert listener.accept(True).recvmsg(1, 0, True).data == b"x"

    silent = net.socket()
    silent.connect(listener.getsockname(), False, ROOT)
    net.machine.clock.now += 2_000_000_000
    net.machine.disp.run_callouts()

    assert listener.accept(True).conn.state == TCPS_ESTABLISHED


def test_part_of_a_segment_is_sent_after_200_ms(net):
    client, server = net.pair()
    client.sendmsg(b"part", None, (), MSG_MORE, True)

    assert server.inq() == 0

    net.machine.clock.now += 201_000_000
    net.machine.disp.run_callouts()

    assert server.recvmsg(10, 0, True).data == b"part"


def test_uncorking_sends(net):
    client, server = net.pair()
    client.setsockopt(IPPROTO_TCP, in_.TCP_CORK, 1, ROOT)
    for word in (b"a", b"b", b"c"):
        client.sendmsg(word, None, (), 0, True)

    assert server.inq() == 0

    client.setsockopt(IPPROTO_TCP, in_.TCP_CORK, 0, ROOT)

    assert server.recvmsg(10, 0, True).data == b"abc"


def test_linger_ends_after_its_time(net):
    client, server = net.pair()
    server.setsockopt(SOL_SOCKET, SO_RCVBUF, 4096, ROOT)
    client.setsockopt(SOL_SOCKET, SO_LINGER, Linger(1, 3), ROOT)
    client.sendmsg(b"x" * 10000, None, (), 0, True)

    def closer():
        start = net.now()
        net.close(client)
        net.log.append(round(net.now() - start))

    net.run(closer)

    assert net.log == [3]


def test_socket_may_connect_to_itself(net):
    so = net.socket()
    so.bind(InetAddr(LOOPBACK, 0), ROOT)
    so.connect(so.getsockname(), False, ROOT)
    so.sendmsg(b"echo", None, (), 0, True)

    assert so.getpeername() == so.getsockname()
    assert so.recvmsg(10, 0, True).data == b"echo"

    net.close(so)

    assert net.stack.drain() == []


def test_ephemeral_ports_run_out(net):
    net.stack.tcp.ports.first, net.stack.tcp.ports.last = 40000, 40003
    listener = net.listener(backlog=10, port=9)
    for _ in range(4):
        net.socket().connect(listener.getsockname(), False, ROOT)
    last = net.socket()

    assert errno_of(last.connect, listener.getsockname(), False, ROOT) is Errno.EADDRNOTAVAIL


def test_everything_is_given_back(net):
    client, server = net.pair()
    net.close(client)
    net.close(server)

    assert net.stack.drain() == []
    assert net.machine.disp.next_deadline() is None
