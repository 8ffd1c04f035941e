"""Text of the calls of System V IPC and of message queues, as strace(1) writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from lxemu.kernel.errno import KernelError
from syscalls import records as rec

from . import trace_text as text
from .model import LP64
from .registry import default_codec, named_layout
from .xlat import EnumTable, FlagTable

if TYPE_CHECKING:
    from collections.abc import Callable

    from .stub import Param
    from .trace import Call

Answer = tuple[bool, str | None]
_LATER: Final[Answer] = (True, None)
_TYPED: Final[Answer] = (False, None)

_GET: Final = ((0o1000, 0o1000, "IPC_CREAT"), (0o2000, 0o2000, "IPC_EXCL"))
SHM_GET: Final = FlagTable(
    "SHM",
    *_GET,
    (0o4000, 0o4000, "SHM_HUGETLB"),
    (0o10000, 0o10000, "SHM_NORESERVE"),
    unknown="keep",
)
IPC_GET: Final = FlagTable("IPC", *_GET, (0o4000, 0o4000, "IPC_NOWAIT"), unknown="keep")
SHM_AT: Final = FlagTable(
    "SHM",
    (0o10000, 0o10000, "SHM_RDONLY"),
    (0o20000, 0o20000, "SHM_RND"),
    (0o40000, 0o40000, "SHM_REMAP"),
    (0o100000, 0o100000, "SHM_EXEC"),
    unknown="keep",
)
MSG: Final = FlagTable(
    "MSG",
    (0o10000, 0o10000, "MSG_NOERROR"),
    (0o20000, 0o20000, "MSG_EXCEPT"),
    (0o40000, 0o40000, "MSG_COPY"),
    (0o4000, 0o4000, "IPC_NOWAIT"),
    unknown="keep",
)
SEM_FLAGS: Final = FlagTable(
    "SEM", (0x1000, 0x1000, "SEM_UNDO"), (0o4000, 0o4000, "IPC_NOWAIT"), unknown="keep"
)
_COMMON: Final = (
    (0, 0, "IPC_RMID"),
    (1, 1, "IPC_SET"),
    (2, 2, "IPC_STAT"),
    (3, 3, "IPC_INFO"),
)
SHM_CMD: Final = EnumTable(
    "SHM",
    *_COMMON,
    (11, 11, "SHM_LOCK"),
    (12, 12, "SHM_UNLOCK"),
    (13, 13, "SHM_STAT"),
    (14, 14, "SHM_INFO"),
    (15, 15, "SHM_STAT_ANY"),
)
SEM_CMD: Final = EnumTable(
    "SEM",
    *_COMMON,
    (11, 11, "GETPID"),
    (12, 12, "GETVAL"),
    (13, 13, "GETALL"),
    (14, 14, "GETNCNT"),
    (15, 15, "GETZCNT"),
    (16, 16, "SETVAL"),
    (17, 17, "SETALL"),
    (18, 18, "SEM_STAT"),
    (19, 19, "SEM_INFO"),
    (20, 20, "SEM_STAT_ANY"),
)
MSG_CMD: Final = EnumTable(
    "MSG",
    *_COMMON,
    (11, 11, "MSG_STAT"),
    (12, 12, "MSG_INFO"),
    (13, 13, "MSG_STAT_ANY"),
)
_IPC_64: Final = 0x100
_SET, _STAT = 1, 2


def _key(word: int) -> str:
    return f"{word & 0xFFFFFFFF:#x}" if word & 0xFFFFFFFF else "IPC_PRIVATE"


def _get_flags(table: FlagTable, word: int) -> str:
    names = table.text(word & 0xFFFFFFFF & ~0o777)
    mode = text.octal(word & 0o777)
    return mode if names == "0" else f"{names}|{mode}"


def get(call: Call, param: Param, entering: bool) -> Answer:  # noqa: ARG001
    """Write shmget, semget, msgget: the key in hexadecimal, the mode in octal."""
    if param.name == "key":
        return True, _key(call.word(param))
    if param.name.endswith("flg"):
        table = SHM_GET if param.name == "shmflg" else IPC_GET
        return True, _get_flags(table, call.word(param))
    return _TYPED


def shmat(call: Call, param: Param, entering: bool) -> Answer:  # noqa: ARG001
    """Write shmat: its flags by name."""
    if param.name == "raddr":
        return True, ""
    if param.name == "shmflg":
        return True, SHM_AT.text(call.word(param) & 0xFFFFFFFF)
    return _TYPED


def _command(table: EnumTable, word: int) -> str:
    word &= 0xFFFFFFFF
    prefix = "IPC_64|" if word & _IPC_64 else ""
    return prefix + table.text(word & ~_IPC_64)


def _perm(perm: rec.IpcPerm, *, full: bool) -> str:
    shown = f"uid={perm.uid}, gid={perm.gid}, mode={text.octal(perm.mode)}"
    if full:
        shown += f", key={perm.key}, cuid={perm.cuid}, cgid={perm.cgid}"
    return f"{{{shown}}}"


def _structure(call: Call, addr: int, record: Any, old: str, prefix: str, cmd: int) -> str:
    """Write the structure of IPC_STAT or IPC_SET at *addr*."""
    codec = default_codec(record, call.model)
    if (
        call.name != "semctl"
        and old
        and not cmd & _IPC_64
        and call.personality.rows[call.nr].name == "ipc"
    ):
        codec = named_layout(record, old).codec(call.model)
    try:
        value = codec.unpack(call.as_.copyin(addr, codec.size))
    except KernelError:
        return text.pointer(addr)
    full = cmd & ~_IPC_64 == _STAT
    parts = [f"{prefix}perm={_perm(value.perm, full=full)}"]
    if record is rec.MsqidDs and not full:
        parts.append(f"msg_qbytes={value.qbytes}")
    if full:
        order = _MSG_ORDER if record is rec.MsqidDs else _SHM_ORDER
        parts += [f"{prefix}{name}={getattr(value, name)}" for name in order]
    return "{" + ", ".join(parts) + "}"


_SHM_ORDER: Final = ("segsz", "cpid", "lpid", "nattch", "atime", "dtime", "ctime")
_MSG_ORDER: Final = ("stime", "rtime", "ctime", "qnum", "qbytes", "lspid", "lrpid")


def _control(
    call: Call, param: Param, entering: bool, table: EnumTable, form: tuple[Any, str, str]
) -> Answer:
    if param.name == "cmd":
        return True, _command(table, call.word(param))
    if param.name != "buf":
        return _TYPED
    cmd, addr = call.value_of("cmd") & 0xFFFFFFFF, call.word(param)
    plain = cmd & ~_IPC_64
    if not addr or plain not in (_SET, _STAT):
        return True, text.pointer(addr)
    if plain == _STAT:
        if entering:
            return _LATER
        if call.errno:
            return True, text.pointer(addr)
    return True, _structure(call, addr, *form, cmd)


def shmctl(call: Call, param: Param, entering: bool) -> Answer:
    """Write shmctl: the command, and the structure of IPC_STAT and IPC_SET."""
    return _control(call, param, entering, SHM_CMD, (rec.ShmidDs, "SHMID_OLD", "shm_"))


def msgctl(call: Call, param: Param, entering: bool) -> Answer:
    """Write msgctl: the command, and the structure of IPC_STAT and IPC_SET."""
    return _control(call, param, entering, MSG_CMD, (rec.MsqidDs, "MSQID_OLD", "msg_"))


def semctl(call: Call, param: Param, entering: bool) -> Answer:  # noqa: ARG001
    """Write semctl: the command by name, the argument as a word."""
    if param.name == "cmd":
        return True, _command(SEM_CMD, call.word(param))
    if param.name == "arg":
        return True, text.pointer(call.word(param))
    return _TYPED


def semop(call: Call, param: Param, entering: bool) -> Answer:  # noqa: ARG001
    """Write semop and semtimedop: all operations."""
    if param.name != "sops":
        return _TYPED
    addr, count = call.word(param), call.value_of("nsops") & 0xFFFFFFFF
    if not addr or not count:
        return True, text.pointer(addr) if not addr else "[]"
    codec = default_codec(rec.Sembuf, call.model)
    shown = min(count, call.style.strlen)
    ops = codec.unpack_array(call.as_.copyin(addr, shown * codec.size))
    parts = [
        f"{{sem_num={op.num}, sem_op={op.op}, sem_flg={SEM_FLAGS.text(op.flg & 0xFFFF)}}}"
        for op in ops
    ]
    if count > shown:
        parts.append("...")
    return True, f"[{', '.join(parts)}]"


def _message(call: Call, addr: int, size: int) -> str:
    word = 8 if call.model is LP64 else 4
    mtype = int.from_bytes(call.as_.copyin(addr, word), "little", signed=True)
    return f"{{mtype={mtype}, mtext={call.buffer(addr + word, size)}}}"


def message(call: Call, param: Param, entering: bool) -> Answer:
    """Write msgsnd and msgrcv: the message itself."""
    if param.name == "msgflg":
        return True, MSG.text(call.word(param) & 0xFFFFFFFF)
    if param.name == "msgsz":
        return True, str(call.word(param) & call.model.mask)
    if param.name != "msgp":
        return _TYPED
    addr = call.word(param)
    if call.name == "msgrcv":
        if entering:
            return _LATER
        if call.errno or call.result is None:
            return True, text.pointer(addr)
    size = call.value_of("msgsz") & call.model.mask
    return True, _message(call, addr, size)


def mq_open(call: Call, param: Param, entering: bool) -> Answer:  # noqa: ARG001
    """Write mq_open: mode and attributes only where the call may make a queue."""
    if param.name in ("mode", "attr") and not call.value_of("oflag") & 0o100:
        return True, ""
    return _TYPED


SPECIAL: Final[dict[str, Callable[[Call, Param, bool], Answer]]] = {
    "shmget": get,
    "semget": get,
    "msgget": get,
    "shmat": shmat,
    "old_shmat": shmat,
    "shmctl": shmctl,
    "old_shmctl": shmctl,
    "msgctl": msgctl,
    "old_msgctl": msgctl,
    "semctl": semctl,
    "old_semctl": semctl,
    "semop": semop,
    "semtimedop": semop,
    "msgsnd": message,
    "msgrcv": message,
    "mq_open": mq_open,
}
