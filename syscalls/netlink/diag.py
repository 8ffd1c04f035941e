"""NETLINK_SOCK_DIAG: the Internet sockets, as ss(8) asks for them (linux/inet_diag.h)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.net.inaddr import ANY4, ANY6, as_v6
from lxemu.kernel.net.socketvar import IPPROTO_RAW, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE
from lxemu.kernel.net.tcpconn import TCPS_LISTEN, Endpoint
from syscalls.abi.sockopt_inet import TCP_STATES
from syscalls.netlink import message as m

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lxemu.kernel.cred import Cred
    from lxemu.kernel.net.netstack import NetStack
    from lxemu.kernel.net.tcpconn import TcpConn

SOCK_DIAG_BY_FAMILY: Final = 20
#: Linux's families by ours.
_FAMILIES: Final = {2: 4, 10: 6}

#: struct inet_diag_req_v2, of which the addresses are a filter for one socket.
_REQUEST: Final = struct.Struct("<BBBxI48x")
#: struct inet_diag_msg: family, state, timer, retransmissions; then ports (in network order),
#: addresses, interface and cookie; then what else there is to know.
_MESSAGE: Final = struct.Struct("<BBBB2s2s16s16sI8s5I")
_SHUTDOWN, _SKV6ONLY = 8, 11
_CONNECTED, _TIME_WAIT, _OPEN, _LISTEN = 1, 6, 7, 10
_NS_OF_MS: Final = 1_000_000


def answer(stack: NetStack, request: m.Message, _cred: Cred) -> list[tuple[int, bytes]]:
    """Return the sockets of a family, a protocol and some states.

    Raises EINVAL, ENOENT (another family), EOPNOTSUPP (one socket, or another request).
    """
    if request.type != SOCK_DIAG_BY_FAMILY or len(request.payload) < 2:
        raise KernelError(Errno.EINVAL)
    family = _FAMILIES.get(request.payload[0])
    maker = _MAKERS.get(request.payload[1])
    if family is None or maker is None:
        raise KernelError(Errno.ENOENT)
    if len(request.payload) < _REQUEST.size:
        raise KernelError(Errno.EINVAL)
    lx_family, _protocol, _ext, states = _REQUEST.unpack_from(request.payload)
    if request.flags & m.NLM_F_DUMP != m.NLM_F_DUMP:
        raise KernelError(Errno.EOPNOTSUPP)
    return [
        (SOCK_DIAG_BY_FAMILY, _message(lx_family, *row))
        for row in maker(stack, family)
        if states >> row[0] & 1
    ]


#: State, the two addresses, expiry in ms, queues in and out, user, number of the socket, what is
#: shut down, and whether it is for IPv6 only.
Row = tuple[int, Endpoint, Endpoint, int, int, int, int, int, int, bool]


def _message(
    lx_family: int,
    state: int,
    local: Endpoint,
    remote: Endpoint,
    expires: int,
    inq: int,
    outq: int,
    uid: int,
    inode: int,
    shut: int,
    v6only: bool,
) -> bytes:
    timer = 3 if state == _TIME_WAIT else 0
    cookie = struct.pack("<II", inode, 0)
    hosts = (_host(local.host, lx_family), _host(remote.host, lx_family))
    ports = (local.port.to_bytes(2, "big"), remote.port.to_bytes(2, "big"))
    head = _MESSAGE.pack(
        *(lx_family, state, timer, 0), *ports, *hosts, 0, cookie, expires, inq, outq, uid, inode
    )
    extra = m.attr_u8(_SHUTDOWN, shut)
    if lx_family != 2 and state in (_LISTEN, _OPEN):
        extra += m.attr_u8(_SKV6ONLY, int(v6only))
    return head + extra


def _host(host: bytes, lx_family: int) -> bytes:
    if lx_family == 2:
        return host.ljust(16, b"\0")
    return ANY6 if host == ANY4 else as_v6(host)


def _none(family: int) -> Endpoint:
    return Endpoint(ANY4 if family == 4 else ANY6, 0)


def _tcp(stack: NetStack, family: int) -> Iterable[Row]:
    for conn in stack.tcp.all_ends():
        if conn.binding is not None and conn.binding.family == family:
            yield _tcp_row(conn, family)
    now = stack.clock.hrtime()
    for wait in tuple(stack.tcp.waits.values()):
        if wait.binding is not None and wait.binding.family == family:
            left = max(0, wait.expires - now) // _NS_OF_MS
            yield (_TIME_WAIT, wait.laddr, wait.faddr, left, 0, 0, 0, 0, 0, False)


def _tcp_row(conn: TcpConn, family: int) -> Row:
    binding = conn.binding
    assert binding is not None
    local = conn.laddr or Endpoint(binding.host, binding.port)
    if conn.state == TCPS_LISTEN and conn.listener is not None:
        inq, outq = len(conn.listener.queue), conn.listener.backlog
    else:
        inq, outq = min(conn.queued, conn.window), conn.unsent
    shut = int(conn.rcv_shut) | int(conn.snd_shut) << 1
    remote = conn.faddr or _none(family)
    state = TCP_STATES[conn.state]
    uid, inode = conn.uid, conn.inode
    return (state, local, remote, 0, inq, outq, uid, inode, shut, binding.v6only)


def _datagrams(sockets: Iterable[Any], family: int) -> Iterable[Row]:
    for so in sockets:
        if (4 if len(so.any_host()) == 4 else 6) != family:
            continue
        local = Endpoint(so.local_host(), so.table_port())
        state = _CONNECTED if so.peer is not None else _OPEN
        remote = so.peer or _none(family)
        yield (state, local, remote, 0, so.used, 0, so.uid, so.nodeid, so.shut, so.v6only)


def _udp(stack: NetStack, family: int) -> Iterable[Row]:
    return _datagrams(stack.udp.owners(), family)


def _udplite(stack: NetStack, family: int) -> Iterable[Row]:
    return _datagrams(stack.udplite.owners(), family)


def _raw(stack: NetStack, family: int) -> Iterable[Row]:
    return _datagrams(tuple(stack.raw), family)


_MAKERS: Final = {
    IPPROTO_TCP: _tcp,
    IPPROTO_UDP: _udp,
    IPPROTO_UDPLITE: _udplite,
    IPPROTO_RAW: _raw,
}
