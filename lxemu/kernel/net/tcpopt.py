"""Options at the level of TCP (tcp(4P), tcp(7))."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lxemu.kernel.cred import PRIV_NET_RAWACCESS, Cred
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.net import in_
from lxemu.kernel.net.in_ import TCP_DEFER_ACCEPT
from lxemu.kernel.net.socketvar import MSG_FASTOPEN
from lxemu.kernel.net.tcpconn import DEFAULT_SYN_RETRIES, TCPS_CLOSED, TCPS_LISTEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxemu.kernel.net.sockaddr import Sockaddr
    from lxemu.kernel.net.tcp import TcpSonode

DEFAULT_CONGESTION: Final = b"cubic"
CONGESTION: Final = (b"cubic", b"reno")
_DEFAULT_MSS: Final = 536
_MAX_WINDOW: Final = 32767
_INT_MAX: Final = 0x7FFFFFFF
#: An orphan waits for the other end's FIN this long, in seconds.
_FIN_TIMEOUT: Final = 60
_MAX_FIN_TIMEOUT: Final = 120
_MAX_RTO: Final = 120


class Rule(NamedTuple):
    """A numeric option: the value at first, and the range of what may be set."""

    default: int
    low: int
    high: int


#: Options that are on or off.
_FLAGS: Final = {
    in_.TCP_NODELAY: 0,
    in_.TCP_CORK: 0,
    in_.TCP_QUICKACK: 1,
    in_.TCP_THIN_LINEAR_TIMEOUTS: 0,
    in_.TCP_FASTOPEN_CONNECT: 0,
    in_.TCP_SAVE_SYN: 0,
    in_.TCP_INQ: 0,
}
_NUMBERS: Final = {
    in_.TCP_KEEPIDLE: Rule(7200, 1, 32767),
    in_.TCP_KEEPINTVL: Rule(75, 1, 32767),
    in_.TCP_KEEPCNT: Rule(9, 1, 127),
    in_.TCP_SYNCNT: Rule(DEFAULT_SYN_RETRIES, 1, 127),
    in_.TCP_ABORT_THRESHOLD: Rule(0, 0, _INT_MAX),
    in_.TCP_NOTSENT_LOWAT: Rule(0, -_INT_MAX - 1, 0xFFFFFFFF),
    in_.TCP_THIN_DUPACK: Rule(0, 0, 1),
    in_.TCP_TX_DELAY: Rule(0, 0, 1_000_000),
}


class TcpInfo(NamedTuple):
    """What TCP_INFO tells: the state, and figures of a connection without losses."""

    state: int
    options: int
    wscale: int
    rto_us: int
    snd_mss: int
    rcv_mss: int
    backlog: int
    max_backlog: int
    mtu: int
    rtt_us: int
    cwnd: int
    rcv_window: int
    bytes_sent: int
    bytes_received: int
    unsent: int
    segments_out: int
    segments_in: int


def get(so: TcpSonode, name: int) -> Any:
    """Return the value of an option. Raises ENOPROTOOPT."""
    if name in _FLAGS:
        return so.tcpopts.get(name, _FLAGS[name])
    rule = _NUMBERS.get(name)
    if rule is not None:
        return so.tcpopts.get(name, rule.default)
    getter = _GETTERS.get(name)
    if getter is None:
        raise KernelError(Errno.ENOPROTOOPT)
    return getter(so)


def set_(so: TcpSonode, name: int, value: Any, cred: Cred) -> None:
    """Set an option. Raises ENOPROTOOPT, EINVAL, ENOENT (no such congestion control), EPERM."""
    if name in _FLAGS:
        so.tcpopts[name] = int(value != 0)
        if name == in_.TCP_CORK:
            so.corked = value != 0
        if (name == in_.TCP_CORK and not value) or (name == in_.TCP_NODELAY and value):
            so.conn.flush()
        return
    rule = _NUMBERS.get(name)
    if rule is not None:
        if not rule.low <= value <= rule.high:
            raise KernelError(Errno.EINVAL)
        so.tcpopts[name] = value
        return
    setter = _SETTERS.get(name)
    if setter is None:
        raise KernelError(Errno.ENOPROTOOPT)
    setter(so, value, cred)


def syn_retries(so: TcpSonode) -> int:
    """Return how often a SYN is sent again."""
    retries: int = so.tcpopts.get(in_.TCP_SYNCNT, DEFAULT_SYN_RETRIES)
    return retries


def fast_open(so: TcpSonode, flags: int, to: Sockaddr | None) -> bool:
    """Return whether a send on a fresh socket is to connect it as well."""
    if so.conn.state != TCPS_CLOSED or so.conn.done or so.progress:
        return False
    return to is not None and flags & MSG_FASTOPEN != 0


# -- options with rules of their own --------------------------------------------------------------


def _set_maxseg(so: TcpSonode, value: int, _cred: Cred) -> None:
    if value and not 88 <= value <= _MAX_WINDOW:
        raise KernelError(Errno.EINVAL)
    so.tcpopts[in_.TCP_MAXSEG] = value


def _get_maxseg(so: TcpSonode) -> int:
    wanted: int = so.tcpopts.get(in_.TCP_MAXSEG, 0)
    if so.conn.state in (TCPS_CLOSED, TCPS_LISTEN):
        return wanted or so.conn.mss
    return min(so.conn.mss, wanted) if wanted else so.conn.mss


def _set_linger2(so: TcpSonode, value: int, _cred: Cred) -> None:
    if value > _MAX_FIN_TIMEOUT:
        value = _MAX_FIN_TIMEOUT
    if value:
        so.tcpopts[in_.TCP_LINGER2] = max(value, -1)
    else:
        so.tcpopts.pop(in_.TCP_LINGER2, None)


def _set_defer(so: TcpSonode, value: int, _cred: Cred) -> None:
    """Keep seconds, rounded to where a retransmission falls."""
    so.tcpopts[TCP_DEFER_ACCEPT] = seconds = _retransmission(value)
    if so.conn.listener is not None:
        so.conn.listener.defer = seconds


def _retransmission(seconds: int) -> int:
    """Return the first sum 1 + 2 + 4 + ... that is not below `seconds`."""
    if seconds <= 0:
        return 0
    total = step = 1
    while total < seconds:
        step = min(step * 2, _MAX_RTO)
        total += step
    return total


def _set_congestion(_so: TcpSonode, value: bytes, _cred: Cred) -> None:
    if value not in CONGESTION:
        raise KernelError(Errno.ENOENT)
    _so.tcpopts[in_.TCP_CONGESTION] = value


def _set_window_clamp(so: TcpSonode, value: int, _cred: Cred) -> None:
    if not value and so.conn.state != TCPS_CLOSED:
        raise KernelError(Errno.EINVAL)
    so.tcpopts[in_.TCP_WINDOW_CLAMP] = max(value, 2304 // 2) if value else 0


def _get_window_clamp(so: TcpSonode) -> int:
    clamp: int = so.tcpopts.get(in_.TCP_WINDOW_CLAMP, 0)
    if not clamp and so.conn.state not in (TCPS_CLOSED, TCPS_LISTEN):
        return so.conn.window
    return clamp


def _set_fastopen(so: TcpSonode, value: int, _cred: Cred) -> None:
    if value < 0 or so.conn.state not in (TCPS_CLOSED, TCPS_LISTEN):
        raise KernelError(Errno.EINVAL)
    so.tcpopts[in_.TCP_FASTOPEN] = value


def _set_repair(_so: TcpSonode, _value: int, cred: Cred) -> None:
    if not cred.crhas(PRIV_NET_RAWACCESS):
        raise KernelError(Errno.EPERM)
    raise KernelError(Errno.ENOPROTOOPT)


def info(so: TcpSonode) -> TcpInfo:
    """Return the figures of the connection."""
    conn = so.conn
    listener = conn.listener
    mss = _get_maxseg(so)
    peer = conn.peer
    sent = peer.arrived if peer is not None else 0
    fresh = conn.state in (TCPS_CLOSED, TCPS_LISTEN)
    return TcpInfo(
        state=conn.state,
        options=0 if fresh else 7,
        wscale=0 if fresh else 7,
        rto_us=0 if fresh else 204_000,
        snd_mss=0 if fresh else mss,
        rcv_mss=0 if fresh else min(mss, _DEFAULT_MSS),
        backlog=len(listener.queue) if listener is not None else 0,
        max_backlog=listener.backlog if listener is not None else 0,
        mtu=0 if fresh else min(so.stack.loopback.mtu, 65535),
        rtt_us=0 if fresh else 30,
        cwnd=10,
        rcv_window=0 if fresh else max(0, conn.window - conn.queued),
        bytes_sent=sent - conn.unsent,
        bytes_received=conn.arrived,
        unsent=conn.unsent,
        segments_out=0 if fresh else 2 + sent // mss,
        segments_in=0 if fresh else 1 + conn.arrived // mss,
    )


_SETTERS: Final[dict[int, Callable[[TcpSonode, Any, Cred], None]]] = {
    in_.TCP_MAXSEG: _set_maxseg,
    in_.TCP_LINGER2: _set_linger2,
    in_.TCP_DEFER_ACCEPT: _set_defer,
    in_.TCP_CONGESTION: _set_congestion,
    in_.TCP_WINDOW_CLAMP: _set_window_clamp,
    in_.TCP_FASTOPEN: _set_fastopen,
    in_.TCP_REPAIR: _set_repair,
}
_GETTERS: Final[dict[int, Callable[[TcpSonode], Any]]] = {
    in_.TCP_MAXSEG: _get_maxseg,
    in_.TCP_LINGER2: lambda so: so.tcpopts.get(in_.TCP_LINGER2, _FIN_TIMEOUT),
    in_.TCP_DEFER_ACCEPT: lambda so: so.tcpopts.get(TCP_DEFER_ACCEPT, 0),
    in_.TCP_CONGESTION: lambda so: so.tcpopts.get(in_.TCP_CONGESTION, DEFAULT_CONGESTION),
    in_.TCP_WINDOW_CLAMP: _get_window_clamp,
    in_.TCP_FASTOPEN: lambda so: so.tcpopts.get(in_.TCP_FASTOPEN, 0),
    in_.TCP_TIMESTAMP: lambda so: so.stack.clock.hrtime() // 1_000_000 & 0xFFFFFFFF,
    in_.TCP_REPAIR: lambda _so: 0,
    in_.TCP_INFO: info,
}
