"""Layouts of syscalls/records/ipc.py."""

from __future__ import annotations

from typing import Any, Final

from syscalls.abi.layout import I16, I32, LONG, U16, U32, ULONG, Const, Layout
from syscalls.records import ipc as r

SEMBUF: Final = Layout(r.Sembuf, num=U16, op=I16, flg=I16)
#: struct ipc64_perm (x86_64: 48 bytes; i386: 36 bytes).
IPC_PERM: Final = Layout(
    r.IpcPerm,
    key=I32,
    uid=U32,
    gid=U32,
    cuid=U32,
    cgid=U32,
    mode=U16,
    _pad1=Const("H"),
    seq=U16,
    _pad2=Const("H"),
    _unused1=ULONG,
    _unused2=ULONG,
)
MQ_ATTR: Final = Layout(
    r.MqAttr,
    flags=LONG,
    maxmsg=LONG,
    msgsize=LONG,
    curmsgs=LONG,
    _reserved=Const("qqqq", "iiii", value="0, 0, 0, 0"),
)

DEFAULTS: Final[dict[Any, Any]] = {r.Sembuf: SEMBUF, r.IpcPerm: IPC_PERM, r.MqAttr: MQ_ATTR}
