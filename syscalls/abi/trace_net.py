"""Text of the socket calls: addresses, messages, control messages, options."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from lxemu.kernel.errno import KernelError
from lxemu.kernel.net.sockaddr import Inet6Addr, InetAddr, NetlinkAddr, UnixAddr
from syscalls import records as rec
from syscalls.errno import LX_ERRNO_NAMES

from . import cmsg
from . import trace_text as text
from .registry import default_codec
from .sockaddr import STORAGE, decode
from .sockopt import find_option
from .xlat_net import ACCEPT_FLAGS, FAMILY, INET_PROTO, LEVEL, MSG, NETLINK_PROTO

if TYPE_CHECKING:
    from collections.abc import Callable

    from .stub import Param
    from .trace import Call

Answer = tuple[bool, str | None]
_LATER: Final[Answer] = (True, None)
_TYPED: Final[Answer] = (False, None)
_SO_ERROR: Final = 4
_SO_LINGER: Final = 13
_SO_PEERCRED: Final = 17
_TYPES: Final = {
    1: "SOCK_STREAM",
    2: "SOCK_DGRAM",
    3: "SOCK_RAW",
    4: "SOCK_RDM",
    5: "SOCK_SEQPACKET",
    6: "SOCK_DCCP",
    10: "SOCK_PACKET",
}
_IPV6: Final = struct.Struct("!8H")


def _int(word: int) -> int:
    return (word & 0xFFFFFFFF ^ 0x80000000) - 0x80000000


# -- addresses ------------------------------------------------------------------------------------


def sockaddr(call: Call, addr: int, size: int) -> str:
    """Write the address at *addr*; the pointer when it is none or cannot be read."""
    if not addr or size < 2:
        return text.pointer(addr)
    try:
        data = bytes(call.as_.copyin(addr, min(size, STORAGE)))
    except KernelError:
        return text.pointer(addr)
    return "{" + _fields(data) + "}"


def _fields(data: bytes) -> str:
    family = int.from_bytes(data[:2], "little")
    head = f"sa_family={FAMILY.text(family)}"
    found = decode(data)
    if isinstance(found, UnixAddr):
        return head + _unix(data[2:])
    if isinstance(found, InetAddr):
        host = ".".join(map(str, found.host))
        return f'{head}, sin_port=htons({found.port}), sin_addr=inet_addr("{host}")'
    if isinstance(found, Inet6Addr):
        return (
            f"{head}, sin6_port=htons({found.port}), sin6_flowinfo=htonl({found.flowinfo}), "
            f'inet_pton(AF_INET6, "{_host6(found.host)}", &sin6_addr), '
            f"sin6_scope_id={found.scope}"
        )
    if isinstance(found, NetlinkAddr):
        groups = f"{found.groups:#010x}" if found.groups else "00000000"
        return f"{head}, nl_pid={found.pid}, nl_groups={groups}"
    if family == 1:
        return head + _unix(data[2:110])
    return f"{head}, sa_data={text.quote(data[2:])}" if len(data) > 2 else head


def _unix(path: bytes) -> str:
    if not path:
        return ""
    if path[:1] == b"\0":
        return f", sun_path=@{text.quote(path[1:])}"
    return f", sun_path={text.quote(path.split(bytes(1), 1)[0])}"


def _host6(host: bytes) -> str:
    """Write an IPv6 address as inet_ntop does: the longest run of zeros is left out."""
    words = _IPV6.unpack(host)
    if words[:5] == (0,) * 5 and words[5] == 0xFFFF:
        return "::ffff:" + ".".join(map(str, host[12:]))
    best, at, here = 0, -1, 0
    for index, word in enumerate((*words, 1)):
        if word == 0:
            here += 1
            continue
        if here > best and here > 1:
            best, at = here, index - here
        here = 0
    if at < 0:
        return ":".join(f"{word:x}" for word in words)
    left = ":".join(f"{word:x}" for word in words[:at])
    right = ":".join(f"{word:x}" for word in words[at + best :])
    return f"{left}::{right}"


def address(call: Call, param: Param, entering: bool) -> Answer:  # noqa: ARG001
    """Write bind, connect and sendto: the address by its length."""
    if param.name == "addr":
        return True, sockaddr(call, call.word(param), _int(call.value_of("addrlen")))
    if param.name == "addrlen":
        return True, str(_int(call.word(param)))
    return _TYPED


def name(call: Call, param: Param, entering: bool) -> Answer:
    """Write accept, getsockname and recvfrom: the address that comes back, and both lengths."""
    if entering and "room" not in call.kept:
        call.kept["room"] = _length(call, call.value_of("addrlen"))
    if param.name not in ("addr", "addrlen"):
        return _TYPED
    if entering:
        return _LATER
    addr, at = call.value_of("addr"), call.value_of("addrlen")
    room = call.kept.get("room")
    if room is None or (call.name.startswith(("accept", "recv")) and not addr):
        return True, text.pointer(call.word(param))
    if param.name == "addr":
        if call.errno:
            return True, text.pointer(addr)
        return True, sockaddr(call, addr, min(room, _length(call, at) or 0))
    now = _length(call, at)
    if call.errno or now == room or now is None:
        return True, f"[{room}]"
    return True, f"[{room} => {now}]"


def _length(call: Call, at: int) -> int | None:
    try:
        return _int(call.as_.load_u32(at)) if at else None
    except KernelError:
        return None


def socket(call: Call, param: Param, entering: bool) -> Answer:
    """Write socket and socketpair: the protocol by its family, the two descriptors."""
    if param.name == "protocol":
        family, protocol = call.args[0] & 0xFFFFFFFF, _int(call.word(param))
        if family in (2, 10):
            return True, INET_PROTO.text(protocol)
        if family == 16:
            return True, NETLINK_PROTO.text(protocol)
        return True, str(protocol)
    if param.name == "type":
        return True, _type(call.word(param) & 0xFFFFFFFF)
    if param.name != "sv":
        return _TYPED
    if entering:
        return _LATER
    addr = call.word(param)
    if call.errno:
        return True, text.pointer(addr)
    return True, f"[{call.as_.load_u32(addr)}, {call.as_.load_u32(addr + 4)}]"


def _type(word: int) -> str:
    base, flags = word & 0xF, word & ~0xF
    name = _TYPES.get(base)
    if name is None:
        return ACCEPT_FLAGS.text(word)
    return f"{name}|{ACCEPT_FLAGS.text(flags)}" if flags else name


# -- messages -------------------------------------------------------------------------------------


def _header(call: Call, addr: int) -> rec.Msghdr | None:
    codec = default_codec(rec.Msghdr, call.model)
    try:
        found: rec.Msghdr = codec.unpack(call.as_.copyin(addr, codec.size))
    except KernelError:
        return None
    return found


def _message(call: Call, msg: rec.Msghdr, moved: int | None, asked: int | None) -> str:
    """Write a struct msghdr; *moved* bytes of the buffers, *asked* the room for the address."""
    size = msg.addrlen if asked is None else min(asked, msg.addrlen)
    shown = "" if asked in (None, msg.addrlen) else f"{asked} => "
    parts = [
        f"msg_name={sockaddr(call, msg.addr, size)}",
        f"msg_namelen={shown}{msg.addrlen}",
        f"msg_iov={_buffers(call, msg, moved)}",
        f"msg_iovlen={msg.iovlen}",
    ]
    if msg.controllen:
        parts.append(f"msg_control={_control(call, msg.control, msg.controllen)}")
    parts.append(f"msg_controllen={msg.controllen}")
    parts.append(f"msg_flags={MSG.text(msg.flags)}")
    return "{" + ", ".join(parts) + "}"


def _buffers(call: Call, msg: rec.Msghdr, moved: int | None) -> str:
    codec = default_codec(rec.Iovec, call.model)
    left = 1 << 62 if moved is None else moved
    parts = []
    try:
        for index in range(min(msg.iovlen, call.style.strlen)):
            base, size = codec.unpack(call.as_.copyin(msg.iov + index * codec.size, codec.size))
            shown = min(size, left)
            left -= shown
            parts.append(f"{{iov_base={call.buffer(base, shown)}, iov_len={size}}}")
    except KernelError:
        return text.pointer(msg.iov)
    if not msg.iovlen and not msg.iov:
        return "NULL"
    more = ", ..." if msg.iovlen > call.style.strlen else ""
    return f"[{', '.join(parts)}{more}]"


def _control(call: Call, addr: int, size: int) -> str:
    try:
        data = bytes(call.as_.copyin(addr, min(size, 4096)))
    except KernelError:
        return text.pointer(addr)
    bits = call.model.bits
    header = cmsg.header_size(bits)
    parts: list[str] = []
    at = 0
    while at + header <= len(data):
        length = int.from_bytes(data[at : at + bits // 8], "little")
        level, kind = struct.unpack_from("<ii", data, at + bits // 8)
        body = data[at + header : at + min(length, len(data) - at)]
        parts.append(_cmsg(length, level, kind, body, call.style.strlen))
        if length < header:
            if at + header < len(data):
                parts.append(f"... /* {addr + at + cmsg.align(length, bits):#x} */")
            break
        if at + length > len(data):
            break
        at += cmsg.align(length, bits)
    if not parts:
        return text.pointer(addr)
    if 0 < len(data) - at < header and at < len(data):
        parts.append(f"... /* {addr + at:#x} */")
    return f"[{', '.join(parts)}]"


_SCM: Final = {1: "SCM_RIGHTS", 2: "SCM_CREDENTIALS", 3: "SCM_SECURITY", 4: "SCM_PIDFD"}
_SCM_TIMES: Final = {29: "SO_TIMESTAMP_OLD", 35: "SO_TIMESTAMPNS_OLD", 37: "SO_TIMESTAMPING_OLD"}


#: Those of other levels that strace takes apart.
_KNOWN: Final = frozenset({(1, 29), (1, 35), (1, 37)})


def _cmsg(length: int, level: int, kind: int, body: bytes, strlen: int) -> str:
    name = str(kind)
    if level == 1:
        name = _SCM.get(kind) or _SCM_TIMES.get(kind) or f"{kind:#x} /* SCM_??? */"
    elif (level, kind) not in _KNOWN:
        name = f"{kind:#x}"
    head = f"cmsg_len={length}, cmsg_level={_level(level)}, cmsg_type={name}"
    if level == 1 and kind == cmsg.LX_SCM_RIGHTS and len(body) >= 4:
        count = len(body) // 4
        fds = [str(fd) for fd in struct.unpack_from(f"<{count}i", body)]
        if count > strlen:
            fds[strlen:] = ["..."]
        return f"{{{head}, cmsg_data=[{', '.join(fds)}]}}"
    if level == 1 and kind == cmsg.LX_SCM_CREDENTIALS:
        if len(body) < 12:
            return f"{{{head}}}"
        return f"{{{head}, cmsg_data={_ucred(body)}}}"
    if not body or (level, kind) not in _KNOWN:
        return f"{{{head}}}"
    return f"{{{head}, cmsg_data={text.quote(body)}}}"


def _ucred(data: bytes) -> str:
    pid, uid, gid = struct.unpack_from("<iii", data)
    return f"{{pid={pid}, uid={uid}, gid={gid}}}"


def sendmsg(call: Call, param: Param, entering: bool) -> Answer:  # noqa: ARG001
    """Write sendmsg: the whole message on entry."""
    if param.name != "msg":
        return _TYPED
    msg = _header(call, call.word(param))
    return True, text.pointer(call.word(param)) if msg is None else _message(call, msg, None, None)


def recvmsg(call: Call, param: Param, entering: bool) -> Answer:
    """Write recvmsg: what came, or only the room for the address when nothing did."""
    if param.name != "msg":
        return _TYPED
    addr = call.word(param)
    msg = _header(call, addr)
    if entering:
        if msg is None:
            return True, text.pointer(addr)
        call.kept["room"] = msg.addrlen
        return _LATER
    if msg is None or call.errno:
        return True, f"{{msg_namelen={call.kept['room']}}}"
    return True, _message(call, msg, call.result, call.kept["room"])


def mmsg(call: Call, param: Param, entering: bool) -> Answer:
    """Write sendmmsg and recvmmsg: the messages, those that came with their lengths."""
    if entering and "timeout" not in call.kept:
        # The call writes the time that is left over it; shown is what was asked for.
        call.kept["timeout"] = _timeout(call)
    if param.name == "timeout":
        return True, call.kept["timeout"]
    if param.name != "msgvec":
        return _TYPED
    if entering:
        if "recv" in call.name:
            call.kept["rooms"] = _rooms(call, call.word(param), call.value_of("vlen"))
        return _LATER
    addr = call.word(param)
    count = call.result or 0
    if call.errno:
        if "recv" in call.name:
            return True, text.pointer(addr)
        count = call.value_of("vlen") & 0xFFFFFFFF
    return True, _messages(call, addr, count)


def _rooms(call: Call, addr: int, vlen: int) -> list[int]:
    codec = default_codec(rec.Mmsghdr, call.model)
    rooms = []
    for index in range(min(vlen & 0xFFFFFFFF, call.style.strlen)):
        msg = _header(call, addr + index * codec.size)
        if msg is None:
            break
        rooms.append(msg.addrlen)
    return rooms


def _messages(call: Call, addr: int, count: int) -> str:
    codec = default_codec(rec.Mmsghdr, call.model)
    rooms = call.kept.get("rooms", [])
    parts: list[str] = []
    index = 0
    for index in range(min(count, call.style.strlen)):
        try:
            item = codec.unpack(call.as_.copyin(addr + index * codec.size, codec.size))
        except KernelError:
            parts.append(f"... /* {addr + index * codec.size:#x} */")
            break
        done = not call.errno
        asked = rooms[index] if index < len(rooms) else None
        shown = _message(call, item.hdr, item.len if done else None, asked)
        length = f", msg_len={item.len}" if done else ""
        parts.append(f"{{msg_hdr={shown}{length}}}")
    if not addr or (parts and not index and parts[0].startswith("...")):
        return text.pointer(addr)
    return f"[{', '.join(parts)}]"


def mmsg_result(call: Call) -> str:
    """Return the text after the result of recvmmsg: the time that is left."""
    if call.result == 0:
        return "Timeout"
    left = _timeout(call)
    return f"left {left}" if left not in ("", "NULL") else ""


def _timeout(call: Call) -> str:
    for param in call.sig.params if call.sig else ():
        if param.name == "timeout":
            return call.render(param, entering=False) or ""
    return ""


# -- options --------------------------------------------------------------------------------------


def _level(level: int) -> str:
    shown = LEVEL.text(level)
    return shown.replace("SOL_???", "SOL_??")


def _option(call: Call) -> str:
    level, number = _int(call.value_of("level")), _int(call.value_of("optname"))
    found = find_option(level, number)
    if found is not None:
        return found.label
    if level == 1:
        return f"{number:#x} /* SO_??? */" if number else "0 /* SO_??? */"
    return str(number)


def setsockopt(call: Call, param: Param, entering: bool) -> Answer:  # noqa: ARG001
    """Write setsockopt: names, and the value by its length."""
    if param.name == "level":
        return True, _level(_int(call.word(param)))
    if param.name == "optname":
        return True, _option(call)
    if param.name == "optval":
        return True, _value(call, call.word(param), _int(call.value_of("optlen")))
    return _TYPED


def getsockopt(call: Call, param: Param, entering: bool) -> Answer:
    """Write getsockopt: the value that came, and both lengths."""
    if param.name in ("level", "optname"):
        return setsockopt(call, param, entering)
    if param.name not in ("optval", "optlen"):
        return _TYPED
    at = call.value_of("optlen")
    if entering:
        call.kept.setdefault("room", _length(call, at))
        return _LATER
    room, now = call.kept.get("room"), _length(call, at)
    if param.name == "optlen":
        if room is None:
            return True, text.pointer(at)
        return True, f"[{room}]" if call.errno or now == room else f"[{room} => {now}]"
    addr = call.word(param)
    if call.errno or room is None:
        return True, text.pointer(addr)
    return True, _value(call, addr, now or 0, got=True)


def _value(call: Call, addr: int, size: int, *, got: bool = False) -> str:
    if not addr or size <= 0:
        return text.pointer(addr)
    level, number = _int(call.value_of("level")), _int(call.value_of("optname"))
    try:
        data = bytes(call.as_.copyin(addr, min(size, 128)))
    except KernelError:
        return text.pointer(addr)
    writer = _VALUES.get((level, number))
    shown = writer(data, got) if writer is not None else None
    if shown is not None:
        return shown
    if writer is _linger and not got:
        return text.pointer(addr)
    if size == 4:
        return f"[{_int(int.from_bytes(data, 'little'))}]"
    return call.buffer(addr, size) if size > 4 or got else text.pointer(addr)


def _stamping(data: bytes, _got: bool) -> str | None:
    return f"[{int.from_bytes(data[:4], 'little')}]" if len(data) >= 4 else None


def _linger(data: bytes, _got: bool) -> str | None:
    if len(data) < 8:
        return None
    on, seconds = struct.unpack_from("<ii", data)
    return f"{{l_onoff={on}, l_linger={seconds}}}"


def _peercred(data: bytes, _got: bool) -> str | None:
    return _ucred(data) if len(data) >= 12 else None


def _error(data: bytes, got: bool) -> str | None:
    number = int.from_bytes(data[:4], "little")
    return f"[{LX_ERRNO_NAMES.get(number, number)}]" if got and len(data) == 4 else None


_VALUES: Final[dict[tuple[int, int], Callable[[bytes, bool], str | None]]] = {
    (1, _SO_ERROR): _error,
    (1, _SO_LINGER): _linger,
    (1, _SO_PEERCRED): _peercred,
    (1, 37): _stamping,
    (1, 65): _stamping,
}

SPECIAL: Final[dict[str, Callable[[Call, Param, bool], Answer]]] = {
    "socket": socket,
    "socketpair": socket,
    "bind": address,
    "connect": address,
    "sendto": address,
    "accept": name,
    "accept4": name,
    "getsockname": name,
    "getpeername": name,
    "recvfrom": name,
    "sendmsg": sendmsg,
    "recvmsg": recvmsg,
    "sendmmsg": mmsg,
    "recvmmsg": mmsg,
    "setsockopt": setsockopt,
    "getsockopt": getsockopt,
}
