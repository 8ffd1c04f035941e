"""Layouts of syscalls/records/ipc.py.

Linux has two of each structure on i386: the first ones with 16-bit ids (`*_OLD`, what the ipc
multiplexer uses without IPC_64), and the "64" ones.
"""

from __future__ import annotations

from typing import Any, Final

from syscalls.abi.layout import I16, I32, LONG, PTR, U16, U32, ULONG, Const, Layout, Member
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
    seq=Member("H", enc="{v} & 0xffff"),
    _pad2=Const("H"),
    _unused1=ULONG,
    _unused2=ULONG,
)
#: A 16-bit id: one that does not fit is 65534 (high2lowuid).
_ID: Final = Member("H", enc="({v} if {v} < 0x10000 else 0xfffe)")
#: 16 bits of a number; the rest is lost.
_LOW: Final = Member("H", enc="{v} & 0xffff")
IPC_PERM_OLD: Final = Layout(
    r.IpcPerm, "IPC_PERM_OLD", key=I32, uid=_ID, gid=_ID, cuid=_ID, cgid=_ID, mode=U16, seq=_LOW
)
_PERM: Final = IPC_PERM.member()
_PERM_OLD: Final = IPC_PERM_OLD.member()
#: A time: a long, or its two halves.
_TIME: Final = Member(
    "q",
    "II",
    enc="*(({v},) if {M} >> 32 else ({v} & 0xffffffff, {v} >> 32))",
    dec="{0}",
)
_TIME_OLD: Final = Member("I", enc="{v} & 0xffffffff")
#: A number that i386 cuts to 32 bits.
_WORD: Final = Member("Q", "I", enc="{v} & {M}")
#: A limit that the first structures show as an int.
_INT: Final = Member("i", enc="min({v}, 0x7fffffff)")

SHMID: Final = Layout(
    r.ShmidDs,
    perm=_PERM,
    segsz=_WORD,
    atime=_TIME,
    dtime=_TIME,
    ctime=_TIME,
    cpid=I32,
    lpid=I32,
    nattch=ULONG,
    _unused4=ULONG,
    _unused5=ULONG,
)
SHMID_OLD: Final = Layout(
    r.ShmidDs,
    "SHMID_OLD",
    perm=_PERM_OLD,
    segsz=_INT,
    atime=_TIME_OLD,
    dtime=_TIME_OLD,
    ctime=_TIME_OLD,
    cpid=_LOW,
    lpid=_LOW,
    nattch=_LOW,
    _unused=U16,
    _unused2=U32,
    _unused3=U32,
)
#: On i386 a limit that does not fit is INT_MAX for shmmax, cut for the others.
SHMINFO: Final = Layout(
    r.ShmInfo,
    shmmax=Member("Q", "I", enc="({v} if {M} >> 32 else min({v}, 0x7fffffff))"),
    shmmin=_WORD,
    shmmni=_WORD,
    shmseg=_WORD,
    shmall=_WORD,
    _unused=Const("QQQQ", "IIII", value="0, 0, 0, 0"),
)
SHMINFO_OLD: Final = Layout(
    r.ShmInfo,
    "SHMINFO_OLD",
    shmmax=_INT,
    shmmin=I32,
    shmmni=I32,
    shmseg=I32,
    shmall=Member("I", enc="{v} & 0xffffffff"),
)
SHMUSAGE: Final = Layout(
    r.ShmUsage,
    used_ids=I32,
    tot=_WORD,
    rss=_WORD,
    swp=_WORD,
    swap_attempts=_WORD,
    swap_successes=_WORD,
)
SEMID: Final = Layout(
    r.SemidDs,
    perm=_PERM,
    otime=_TIME,
    _pad1=Member("Q", "0s"),
    ctime=_TIME,
    _pad2=Member("Q", "0s"),
    nsems=ULONG,
    _unused3=ULONG,
    _unused4=ULONG,
)
SEMID_OLD: Final = Layout(
    r.SemidDs,
    "SEMID_OLD",
    perm=_PERM_OLD,
    otime=_TIME_OLD,
    ctime=_TIME_OLD,
    _pointers=Const("IIII", value="0, 0, 0, 0"),
    nsems=U16,
)
SEMINFO: Final = Layout(
    r.SemInfo,
    semmap=I32,
    semmni=I32,
    semmns=I32,
    semmnu=I32,
    semmsl=I32,
    semopm=I32,
    semume=I32,
    semusz=I32,
    semvmx=I32,
    semaem=I32,
)
MSQID: Final = Layout(
    r.MsqidDs,
    perm=_PERM,
    stime=_TIME,
    rtime=_TIME,
    ctime=_TIME,
    cbytes=ULONG,
    qnum=ULONG,
    qbytes=_WORD,
    lspid=I32,
    lrpid=I32,
    _unused4=ULONG,
    _unused5=ULONG,
)
MSQID_OLD: Final = Layout(
    r.MsqidDs,
    "MSQID_OLD",
    perm=_PERM_OLD,
    _pointers=Const("II", value="0, 0"),
    stime=_TIME_OLD,
    rtime=_TIME_OLD,
    ctime=_TIME_OLD,
    _lcbytes=U32,
    _lqbytes=U32,
    cbytes=_LOW,
    qnum=_LOW,
    qbytes=_LOW,
    lspid=_LOW,
    lrpid=_LOW,
)
MSGINFO: Final = Layout(
    r.MsgInfo,
    msgpool=I32,
    msgmap=I32,
    msgmax=I32,
    msgmnb=I32,
    msgmni=I32,
    msgssz=I32,
    msgtql=I32,
    msgseg=U16,
)
MQ_ATTR: Final = Layout(
    r.MqAttr,
    flags=LONG,
    maxmsg=LONG,
    msgsize=LONG,
    curmsgs=LONG,
    _reserved=Const("qqqq", "iiii", value="0, 0, 0, 0"),
)
#: struct sigevent, 64 bytes.
MQ_EVENT: Final = Layout(r.MqEvent, value=PTR, signo=I32, notify=I32, _pad=Member("48s", "52s"))

DEFAULTS: Final[dict[Any, Any]] = {
    r.Sembuf: SEMBUF,
    r.IpcPerm: IPC_PERM,
    r.ShmidDs: SHMID,
    r.ShmInfo: SHMINFO,
    r.ShmUsage: SHMUSAGE,
    r.SemidDs: SEMID,
    r.SemInfo: SEMINFO,
    r.MsqidDs: MSQID,
    r.MsgInfo: MSGINFO,
    r.MqAttr: MQ_ATTR,
    r.MqEvent: MQ_EVENT,
}
