"""Netlink messages, and what NETLINK_ROUTE and NETLINK_SOCK_DIAG answer (netlink(7), ss(8))."""

from __future__ import annotations

import struct

import pytest

from lxemu.kernel.cred import Cred
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.net.netif import IFF_UP
from syscalls.netlink import diag, rtnl
from syscalls.netlink import message as m

from .conftest import ROOT

USER = Cred.for_user(1000, 1000)


def request(kind, payload, flags=m.NLM_F_REQUEST):
    return m.Message(kind, flags, 1, 0, payload)


def dump(kind, payload):
    return request(kind, payload, m.NLM_F_REQUEST | m.NLM_F_DUMP)


def test_messages_and_attributes_are_padded():
    built = m.build(20, 1, 2, 3, m.attr_text(3, b"lo") + m.attr_u8(5, 9))

    assert len(built) == 16 + 8 + 8
    assert list(m.parse(built + built[:10])) == [m.Message(20, 1, 2, 3, built[16:])]
    assert m.attrs(built[16:]) == {3: b"lo\0", 5: b"\x09"}


def test_addresses_of_one_family(net):
    found = rtnl.answer(net.stack, dump(rtnl.RTM_GETADDR, bytes((rtnl.LX_AF_INET,))), USER)

    assert [kind for kind, _ in found] == [rtnl.RTM_NEWADDR]
    assert m.attrs(found[0][1][8:])[rtnl.IFA_LOCAL] == b"\x7f\0\0\x01"


def test_changes_are_privileged_and_made(net):
    head = rtnl.IFADDR.pack(rtnl.LX_AF_INET, 24, 0, 0, 1)
    change = request(rtnl.RTM_NEWADDR, head + m.attr(rtnl.IFA_LOCAL, b"\x0a\0\0\x01"))
    with pytest.raises(KernelError) as caught:
        rtnl.answer(net.stack, change, USER)
    assert caught.value.errno is Errno.EPERM

    assert rtnl.answer(net.stack, change, ROOT) is None
    assert net.stack.owner_of(b"\x0a\0\0\x01") is net.stack.loopback

    down = request(rtnl.RTM_NEWLINK, rtnl.IFINFO.pack(0, 0, 1, 0, 1))
    rtnl.answer(net.stack, down, ROOT)

    assert not net.stack.loopback.flags & IFF_UP


def test_unknown_requests_are_refused(net):
    for kind, errno in ((rtnl.RTM_GETLINK, Errno.EINVAL), (1998, Errno.EOPNOTSUPP)):
        with pytest.raises(KernelError) as caught:
            rtnl.answer(net.stack, request(kind, b""), ROOT)
        assert caught.value.errno is errno


def test_list_of_sockets_by_state(net):
    net.listener(port=80)
    net.pair()

    def states(mask):
        ask = dump(diag.SOCK_DIAG_BY_FAMILY, struct.pack("<BBBxI48x", 2, 6, 0, mask))
        return sorted(payload[1] for _, payload in diag.answer(net.stack, ask, USER))

    assert states(1 << 10) == [10]
    assert states(~0 & 0xFFFFFFFF) == [1, 1, 10]
