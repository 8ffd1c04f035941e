"""Addresses, checksums, ports and echo: the parts under the sockets."""

from __future__ import annotations

import pytest

from lxemu.cli.options import UsageError
from lxemu.cli.ports import Port, parse_net, parse_port
from lxemu.kernel.cred import Cred
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.net import inaddr, ippacket
from lxemu.kernel.net.ifconfig import set_flags
from lxemu.kernel.net.netif import IFF_UP
from lxemu.kernel.net.netstack import new_stack
from lxemu.kernel.net.sockaddr import InetAddr
from lxemu.kernel.net.socketvar import (
    AF_INET,
    IPPROTO_ICMP,
    IPPROTO_UDP,
    SOCK_DGRAM,
    SOCK_RAW,
    SOCK_STREAM,
)
from lxemu.kernel.net.sockfs import socreate

from .conftest import LOOPBACK, ROOT


def test_checksum_is_that_of_rfc_1071():
    assert inaddr.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D
    assert inaddr.checksum(b"\0\0") == 0xFFFF
    assert inaddr.checksum(b"\xff\xff") == 0


def test_mapped_addresses():
    assert inaddr.unmap(inaddr.as_v6(LOOPBACK)) == LOOPBACK
    assert inaddr.unmap(inaddr.LOOPBACK6) == inaddr.LOOPBACK6
    assert inaddr.in_prefix(b"\x7f\x01\x02\x03", LOOPBACK, 8)
    assert not inaddr.in_prefix(b"\x80\x01\x02\x03", LOOPBACK, 8)
    assert inaddr.netmask(20, 4) == b"\xff\xff\xf0\0"


def test_raw_socket_sees_request_and_reply_and_echo_socket_its_reply(net):
    net.stack.ping_groups = (0, 10)
    raw = net.socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)
    echo = net.socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP)
    request = ippacket.icmp(ippacket.ICMP_ECHO, 0, 1, 7, b"payload")
    echo.sendmsg(request, InetAddr(b"\x7f\0\0\5", 0), (), 0, True)
    seen = [raw.recvmsg(100, 0, True) for _ in range(2)]

    assert [got.data[20] for got in seen] == [ippacket.ICMP_ECHO, ippacket.ICMP_ECHOREPLY]
    assert all(inaddr.checksum(got.data[:20]) == 0 for got in seen)
    assert all(inaddr.checksum(got.data[20:]) == 0 for got in seen)

    got = echo.recvmsg(100, 0, True)

    assert ippacket.icmp_fields(got.data)[0::4] == (ippacket.ICMP_ECHOREPLY, 7)
    assert got.addr.host == b"\x7f\0\0\5"


def test_filter_of_icmp_types(net):
    raw = net.socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)
    raw.icmp_filter = 1 << ippacket.ICMP_ECHO
    request = ippacket.icmp(ippacket.ICMP_ECHO, 0, 1, 7, b"")
    raw.sendmsg(request, InetAddr(LOOPBACK, 0), (), 0, True)

    assert raw.recvmsg(100, 0, True).data[20] == ippacket.ICMP_ECHOREPLY
    assert not raw.queue


def test_echo_sockets_are_for_groups(net):
    with pytest.raises(KernelError) as caught:
        net.socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP)
    assert caught.value.errno is Errno.EACCES


def test_raw_sockets_are_privileged(net):
    with pytest.raises(KernelError) as caught:
        net.socket(AF_INET, SOCK_RAW, IPPROTO_UDP, Cred.for_user(1000, 1000))
    assert caught.value.errno is Errno.EPERM


def test_privileged_port(net):
    so = net.socket()
    with pytest.raises(KernelError) as caught:
        so.bind(InetAddr(LOOPBACK, 80), Cred.for_user(1000, 1000))
    assert caught.value.errno is Errno.EACCES
    so.bind(InetAddr(LOOPBACK, 80), ROOT)


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("8080:80", Port("0.0.0.0", 8080, 80, "tcp")),
        ("8080:80/udp", Port("0.0.0.0", 8080, 80, "udp")),
        ("127.0.0.1:8080:80/tcp", Port("127.0.0.1", 8080, 80, "tcp")),
        ("[::1]:8080:80", Port("::1", 8080, 80, "tcp")),
    ],
)
def test_published_port(text, port):
    assert parse_port(text) == port


@pytest.mark.parametrize(
    "text",
    [
        "80",
        "a:b",
        "0:80",
        "80:65536",
        "1.2.3:80:80",
        "::1:80:80",
        "80:80/sctp",
        "[::1]80:80",
        ":80",
    ],
)
def test_bad_published_port(text):
    with pytest.raises(UsageError, match="bad port"):
        parse_port(text)


def test_bad_network():
    assert parse_net(None) == "none"
    with pytest.raises(UsageError, match="bad network 'bridge'"):
        parse_net("bridge")


def test_another_network_begins_with_its_loopback_down(net):
    other = new_stack(net.machine)
    lone = socreate(other, AF_INET, SOCK_STREAM, 0, ROOT)
    net.listener(port=80)

    with pytest.raises(KernelError) as caught:
        lone.connect(InetAddr(LOOPBACK, 80), False, ROOT)
    assert caught.value.errno is Errno.ENETUNREACH

    set_flags(other, other.loopback, IFF_UP)
    with pytest.raises(KernelError) as caught:
        lone.connect(InetAddr(LOOPBACK, 80), False, ROOT)
    assert caught.value.errno is Errno.ECONNREFUSED
