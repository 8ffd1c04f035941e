"""Addresses, control messages and charges: the byte layouts and numbers of socket calls.

References: unix(7), cmsg(3), net/core/scm.c (put_cmsg), and sizes measured on a 6.18 kernel.
"""

from __future__ import annotations

import ctypes
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lxemu.kernel.errno import KernelError
from lxemu.kernel.net.sockaddr import Inet6Addr, InetAddr, NetlinkAddr, OtherAddr, UnixAddr
from lxemu.kernel.net.unix_dgram import dgram_charge
from lxemu.kernel.net.unix_stream import stream_charge
from syscalls.abi import cmsg
from syscalls.abi.sockaddr import decode, encode

PORTS = st.integers(0, 65535)
WORDS = st.integers(0, 0xFFFFFFFF)
ADDRESSES = st.one_of(
    st.builds(UnixAddr, st.binary(min_size=1, max_size=100).filter(lambda path: 0 not in path)),
    st.builds(lambda name: UnixAddr(b"\0" + name), st.binary(max_size=100)),
    st.builds(InetAddr, st.binary(min_size=4, max_size=4), PORTS),
    st.builds(Inet6Addr, st.binary(min_size=16, max_size=16), PORTS, WORDS, WORDS),
    st.builds(NetlinkAddr, WORDS, WORDS),
)


@given(ADDRESSES)
def test_an_address_survives_the_way_out_and_in(addr):
    data = encode(addr)

    assert type(decode(data)) is type(addr)
    assert encode(decode(data)) == data


def test_addresses_have_the_bytes_of_the_headers():
    assert encode(InetAddr(b"\x7f\0\0\1", 80)) == b"\x02\0\0\x50\x7f\0\0\1" + bytes(8)
    assert encode(UnixAddr(b"/x")) == b"\x01\0/x\0"
    assert encode(UnixAddr(b"\0x")) == b"\x01\0\0x"
    assert encode(UnixAddr()) == b"\x01\0"
    six = encode(Inet6Addr(bytes(15) + b"\1", 0x1234, 0x56789, 3))
    assert (
        six == struct.pack("<H", 10) + b"\x12\x34" + b"\0\x05\x67\x89" + bytes(15) + b"\1\3\0\0\0"
    )


@pytest.mark.parametrize("size", [0, 1])
def test_what_is_too_short_for_a_family_has_none(size):
    assert decode(bytes(size)) == OtherAddr(0, b"", size)


def test_a_short_or_foreign_address_keeps_its_family():
    assert decode(b"\x02\0" + bytes(6)) == OtherAddr(2, bytes(6), 8)
    assert decode(b"\x1d\0abc").family == 29 | 1 << 16
    assert decode(b"\x01\0" + b"x" * 109).size == 111


@pytest.mark.parametrize(
    ("bits", "room", "expected"),
    [
        # (what is written, what is left of the room, cut)
        (64, 0, (b"", 0, True)),
        (64, 15, (b"", 15, True)),
        (64, 18, (struct.pack("<Qii", 18, 1, 2) + b"ab", 0, True)),
        (64, 19, (struct.pack("<Qii", 19, 1, 2) + b"abc", 0, False)),
        (64, 100, (struct.pack("<Qii", 19, 1, 2) + b"abc" + bytes(5), 76, False)),
        (32, 100, (struct.pack("<Iii", 15, 1, 2) + b"abc\0", 84, False)),
    ],
)
def test_control_data_is_cut_to_the_room_there_is(bits, room, expected):
    writer = cmsg.ControlWriter(bits, room)
    writer.put(1, 2, b"abc")

    assert (bytes(writer.data), writer.room, writer.truncated) == expected


@pytest.mark.parametrize("bits", [64, 32])
def test_control_messages_are_found_one_after_another(bits):
    writer = cmsg.ControlWriter(bits, 200)
    writer.put(1, 2, b"abc")
    writer.put(41, 50, b"")
    writer.put_descriptors([3, 4])

    assert list(cmsg.parse(bytes(writer.data), bits)) == [
        (1, 2, b"abc"),
        (41, 50, b""),
        (1, 1, struct.pack("<ii", 3, 4)),
    ]


@pytest.mark.parametrize("length", [0, 15, 17 + 100])
def test_a_control_message_of_impossible_length_is_refused(length):
    with pytest.raises(KernelError, match="EINVAL"):
        list(cmsg.parse(struct.pack("<Qii", length, 1, 1) + bytes(8), 64))


#: (bytes, charged for a stream, charged for a datagram)
MEASURED = (
    (1, 768, 768),
    (192, 768, 768),
    (193, 1280, 1280),
    (1728, 2304, 2304),
    (3776, 4352, 4352),
    (3777, 4864, 8448),
    (5000, 6400, 8448),
    (8000, 8960, 16640),
    (16384, 17152, 20736),
    (30000, 30976, 33024),
    (36544, 37120, 37120),
)


@pytest.mark.parametrize(("size", "stream", "datagram"), MEASURED)
def test_messages_are_charged_as_measured(size, stream, datagram):
    assert (stream_charge(size), dgram_charge(size)) == (stream, datagram)


@pytest.mark.native("x86_64")
@pytest.mark.parametrize("size", [row[0] for row in MEASURED])
def test_messages_are_charged_as_by_the_host(size):
    for kind, charge in ((socket.SOCK_STREAM, stream_charge), (socket.SOCK_DGRAM, dgram_charge)):
        one, other = socket.socketpair(socket.AF_UNIX, kind)
        with one, other:
            one.send(bytes(size))
            held = ctypes.c_int()
            libc = ctypes.CDLL(None)
            assert libc.ioctl(one.fileno(), 0x5411, ctypes.byref(held)) == 0
            assert charge(size) == held.value
