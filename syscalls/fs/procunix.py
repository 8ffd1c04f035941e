"""/proc/PID/net/unix: the sockets of AF_UNIX (unix(7); net/unix/af_unix.c, unix_seq_show)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lxemu.kernel.net.unix import CONNECTED, LISTENING
from syscalls.abi.xlat_net import SOCK_TYPE

if TYPE_CHECKING:
    from lxemu.kernel.net.netstack import NetStack
    from lxemu.kernel.net.unix import UnixSonode

_HEAD: Final = b"Num       RefCount Protocol Flags    Type St Inode Path\n"
#: __SO_ACCEPTCON, and the states of linux/net.h.
_ACCEPTS: Final = 0x10000
_UNCONNECTED, _CONNECTING, _CONNECTED = 1, 2, 3


def table(stack: NetStack) -> bytes:
    """Return the table; the first column, an address there, is the socket's number here."""
    return _HEAD + b"".join(_line(so) for so in tuple(stack.unix_sockets.values()))


def _line(so: UnixSonode) -> bytes:
    connected = so.state == CONNECTED
    waiting = so.listener is not None
    state = _CONNECTED if connected else _UNCONNECTED
    flags = _ACCEPTS if so.state == LISTENING else 0
    text = (
        f"{so.nodeid:016x}: {3 if connected else 2:08X} 00000000 {flags:08X}"
        f" {SOCK_TYPE.to_lx[so.sotype]:04X} {_CONNECTING if waiting else state:02X}"
        f" {0 if waiting else so.nodeid:5d}"
    ).encode()
    if so.name is not None:
        text += b" " + so.name.path.replace(b"\0", b"@")
    return text + b"\n"
