"""The options at SOL_SOCKET that every protocol has, and their rules (socket(7))."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from lxemu.kernel.cred import PRIV_SYS_IP_CONFIG, Cred
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.net import socketvar as s

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxemu.kernel.net.socket import Sonode
    from lxemu.kernel.net.sofilter import Filter

#: Options that are on or off and only kept (protocols look at them where they matter).
_BOOLEAN: Final = frozenset(
    {
        s.SO_REUSEADDR,
        s.SO_DONTROUTE,
        s.SO_BROADCAST,
        s.SO_KEEPALIVE,
        s.SO_OOBINLINE,
        s.SO_NO_CHECK,
        s.SO_RXQ_OVFL,
        s.SO_WIFI_STATUS,
        s.SO_NOFCS,
        s.SO_SELECT_ERR_QUEUE,
        s.SO_PREFER_BUSY_POLL,
    }
)
#: Options that are a number and only kept.
_NUMBER: Final = frozenset({s.SO_INCOMING_CPU, s.SO_BUSY_POLL, s.SO_BUF_LOCK})
#: Their values before anybody sets them, where it is not 0.
_DEFAULT: Final = {
    s.SO_INCOMING_CPU: -1,
    s.SO_MAX_PACING_RATE: -1,
    s.SO_NETNS_COOKIE: 1,
    s.SO_SNDLOWAT: 1,
}
_TIMESTAMPS: Final = (s.SO_TIMESTAMP, s.SO_TIMESTAMPNS)
_UCRED: Final = frozenset({s.SO_RECVUCRED, s.SO_PASSSEC, s.SO_PASSPIDFD})
_FORCE: Final = {s.SO_SNDBUFFORCE: s.SO_SNDBUF, s.SO_RCVBUFFORCE: s.SO_RCVBUF}
_INT_MAX: Final = 0x7FFFFFFF


def get(so: Sonode, name: int) -> Any:
    """Return the value of an option that every protocol has. Raises ENOPROTOOPT."""
    plain = _GET.get(name)
    if plain is not None:
        return getattr(so, plain)
    if name == s.SO_RECVUCRED:
        _check_ucred(so)
        return int(so.passcred)
    if name in _UCRED:
        _check_ucred(so)
        return so.options.get(name, 0)
    if name == s.SO_PEEK_OFF:
        return so.peek_off
    if name == s.SO_BINDTODEVICE:
        return b""
    if name == s.SO_COOKIE:
        return so.nodeid
    if name == s.SO_DEBUG or name in _BOOLEAN or name in _NUMBER or name in _KEPT:
        return so.options.get(name, _DEFAULT.get(name, 0))
    raise KernelError(Errno.ENOPROTOOPT)


#: Options whose value is an attribute of the socket.
_GET: Final = {
    s.SO_SNDBUF: "sndbuf",
    s.SO_RCVBUF: "rcvbuf",
    s.SO_SNDTIMEO: "sndtimeo",
    s.SO_RCVTIMEO: "rcvtimeo",
    s.SO_RCVLOWAT: "rcvlowat",
    s.SO_LINGER: "linger",
}
#: Options with rules of their own that keep a number in the end.
_KEPT: Final = frozenset(
    {
        *_TIMESTAMPS,
        s.SO_PRIORITY,
        s.SO_MARK,
        s.SO_REUSEPORT,
        s.SO_SNDLOWAT,
        s.SO_MAX_PACING_RATE,
        s.SO_NETNS_COOKIE,
        s.SO_LOCK_FILTER,
        s.SO_TIMESTAMPING,
        s.SO_ZEROCOPY,
        s.SO_INCOMING_NAPI_ID,
        s.SO_BSDCOMPAT,
    }
)


def set_(so: Sonode, name: int, value: Any, cred: Cred) -> None:
    """Set an option that every protocol has. Raises ENOPROTOOPT, EPERM, EACCES, EINVAL."""
    if name in _BOOLEAN:
        so.options[name] = int(value != 0)
    elif name in _NUMBER:
        so.options[name] = value
    elif name in _SETTERS:
        _SETTERS[name](so, name, value, cred)
    elif name in _UCRED:
        _check_ucred(so)
        if name == s.SO_RECVUCRED:
            so.passcred = value != 0
        else:
            so.options[name] = int(value != 0)
    elif name == s.SO_BSDCOMPAT:
        return
    else:
        raise KernelError(Errno.ENOPROTOOPT)


def _check_ucred(so: Sonode) -> None:
    if not so.carries_ucred:
        raise KernelError(Errno.EOPNOTSUPP)


def _debug(so: Sonode, name: int, value: int, cred: Cred) -> None:
    if value and not cred.crhas(PRIV_SYS_IP_CONFIG):
        raise KernelError(Errno.EACCES)
    so.options[name] = int(value != 0)


def _reuseport(so: Sonode, name: int, value: int, _cred: Cred) -> None:
    if value and not so.internet:
        raise KernelError(Errno.EOPNOTSUPP)
    so.options[name] = int(value != 0)


def _sndbuf(so: Sonode, _name: int, value: int, _cred: Cred) -> None:
    """Keep twice what was asked for: the room for bookkeeping is counted, too (socket(7))."""
    so.sndbuf = max(min(value & 0xFFFFFFFF, s.BUF_MAX) * 2, s.SNDBUF_MIN)


def _rcvbuf(so: Sonode, _name: int, value: int, _cred: Cred) -> None:
    so.rcvbuf = max(min(value & 0xFFFFFFFF, s.BUF_MAX) * 2, s.RCVBUF_MIN)


def _bufforce(so: Sonode, name: int, value: int, cred: Cred) -> None:
    """Set a buffer size beyond the limit, which takes a privilege."""
    if not cred.crhas(PRIV_SYS_IP_CONFIG):
        raise KernelError(Errno.EPERM)
    value = min(max(value, 0), _INT_MAX // 2) * 2
    if _FORCE[name] == s.SO_SNDBUF:
        so.sndbuf = max(value, s.SNDBUF_MIN)
    else:
        so.rcvbuf = max(value, s.RCVBUF_MIN)


def _priority(so: Sonode, name: int, value: int, cred: Cred) -> None:
    if not 0 <= value <= 6 and not cred.crhas(PRIV_SYS_IP_CONFIG):
        raise KernelError(Errno.EPERM)
    so.options[name] = value


def _privileged(so: Sonode, name: int, value: int, cred: Cred) -> None:
    if not cred.crhas(PRIV_SYS_IP_CONFIG):
        raise KernelError(Errno.EPERM)
    so.options[name] = value


def _linger(so: Sonode, _name: int, value: s.Linger, _cred: Cred) -> None:
    so.linger = s.Linger(int(value.on != 0), value.seconds)


def _rcvtimeo(so: Sonode, _name: int, value: int | None, _cred: Cred) -> None:
    so.rcvtimeo = value


def _sndtimeo(so: Sonode, _name: int, value: int | None, _cred: Cred) -> None:
    so.sndtimeo = value


def _rcvlowat(so: Sonode, _name: int, value: int, _cred: Cred) -> None:
    so.rcvlowat = _INT_MAX if value < 0 else value or 1


def _timestamp(so: Sonode, name: int, value: int, _cred: Cred) -> None:
    """Turn stamps in us or in ns on; the two exclude each other."""
    for other in _TIMESTAMPS:
        so.options[other] = 0
    so.options[name] = int(value != 0)


def _peek_off(so: Sonode, _name: int, value: int, _cred: Cred) -> None:
    so.peek_off = value


def _attach_filter(so: Sonode, _name: int, value: Filter, _cred: Cred) -> None:
    """Put a filter in the place of the one there is. EPERM when that is locked."""
    if so.options.get(s.SO_LOCK_FILTER):
        raise KernelError(Errno.EPERM)
    so.filter = value


def _detach_filter(so: Sonode, _name: int, _value: int, _cred: Cred) -> None:
    if so.options.get(s.SO_LOCK_FILTER):
        raise KernelError(Errno.EPERM)
    if so.filter is None:
        raise KernelError(Errno.ENOENT)
    so.filter = None


def _lock_filter(so: Sonode, name: int, value: int, _cred: Cred) -> None:
    """Lock the filter, for good."""
    if so.options.get(name) and not value:
        raise KernelError(Errno.EPERM)
    so.options[name] = int(value != 0)


def _pacing(so: Sonode, name: int, value: int, _cred: Cred) -> None:
    so.options[name] = value


_SETTERS: Final[dict[int, Callable[[Sonode, int, Any, Cred], None]]] = {
    s.SO_DEBUG: _debug,
    s.SO_REUSEPORT: _reuseport,
    s.SO_SNDBUF: _sndbuf,
    s.SO_RCVBUF: _rcvbuf,
    s.SO_SNDBUFFORCE: _bufforce,
    s.SO_RCVBUFFORCE: _bufforce,
    s.SO_PRIORITY: _priority,
    s.SO_MARK: _privileged,
    s.SO_LINGER: _linger,
    s.SO_RCVTIMEO: _rcvtimeo,
    s.SO_SNDTIMEO: _sndtimeo,
    s.SO_RCVLOWAT: _rcvlowat,
    s.SO_TIMESTAMP: _timestamp,
    s.SO_TIMESTAMPNS: _timestamp,
    s.SO_PEEK_OFF: _peek_off,
    s.SO_MAX_PACING_RATE: _pacing,
    s.SO_ATTACH_FILTER: _attach_filter,
    s.SO_DETACH_FILTER: _detach_filter,
    s.SO_LOCK_FILTER: _lock_filter,
}
