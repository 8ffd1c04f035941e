"""IPC in /proc: sysvipc/*, and the limits in sys/kernel and sys/fs/mqueue.

Formats: Linux ipc/shm.c, sem.c, msg.c (sysvipc_*_proc_show), ipc/ipc_sysctl.c, ipc/mq_sysctl.c.
What is shown is what the reading process sees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.ipc import shm as kshm
from lxemu.kernel.ipc.ipc import IPC_MAX
from lxemu.kernel.ipc.space import IpcSpace, ipc_space
from syscalls.fs.pseudo import PseudoDir, TextFile, reader

if TYPE_CHECKING:
    from collections.abc import Callable

_INT_MAX = 0x7FFFFFFF
_ULONG_MAX = (1 << 64) - 1
_PAGE = 4096


def _space(machine: Any) -> IpcSpace:
    lwp = reader()
    return ipc_space(lwp.proc if lwp is not None else machine.init)


def shm(space: IpcSpace) -> bytes:
    """/proc/sysvipc/shm."""
    lines = [
        "       key      shmid perms                  size  cpid  lpid nattch   uid   gid"
        "  cuid  cgid      atime      dtime      ctime                   rss                  swap"
    ]
    for s in space.shm:
        mode = s.mode & 0o777
        mode |= (0o1000 if s.mode & kshm.SHM_DEST else 0) | (
            0o2000 if s.mode & kshm.SHM_LOCKED else 0
        )
        lines.append(
            f"{s.key:10d} {s.id:10d}  {mode:4o} {s.size:21d} {s.cpid:5d} {s.lpid:5d}  "
            f"{s.nattch:5d} {s.uid:5d} {s.gid:5d} {s.cuid:5d} {s.cgid:5d} "
            f"{s.atime:10d} {s.dtime:10d} {s.ctime:10d} "
            f"{s.object.pages.npages * _PAGE:21d} {0:21d}"
        )
    return "\n".join([*lines, ""]).encode()


def sem(space: IpcSpace) -> bytes:
    """/proc/sysvipc/sem."""
    lines = ["       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime"]
    lines += [
        f"{s.key:10d} {s.id:10d}  {s.mode:4o} {len(s.values):10d} {s.uid:5d} {s.gid:5d} "
        f"{s.cuid:5d} {s.cgid:5d} {s.otime:10d} {s.ctime:10d}"
        for s in space.sem
    ]
    return "\n".join([*lines, ""]).encode()


def msg(space: IpcSpace) -> bytes:
    """/proc/sysvipc/msg."""
    lines = [
        "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid"
        "  cgid      stime      rtime      ctime"
    ]
    lines += [
        f"{q.key:10d} {q.id:10d}  {q.mode:4o}  {q.cbytes:10d} {len(q.messages):10d} "
        f"{q.lspid:5d} {q.lrpid:5d} {q.uid:5d} {q.gid:5d} {q.cuid:5d} {q.cgid:5d} "
        f"{q.stime:10d} {q.rtime:10d} {q.ctime:10d}"
        for q in space.msg
    ]
    return "\n".join([*lines, ""]).encode()


class Limit(NamedTuple):
    """A number of /proc/sys: which member of which part of a space, and its range."""

    part: str
    member: str
    low: int
    high: int


#: Files of /proc/sys/kernel.
KERNEL: dict[bytes, tuple[Limit, ...]] = {
    b"shmmax": (Limit("shm", "shmmax", 0, _ULONG_MAX),),
    b"shmall": (Limit("shm", "shmall", 0, _ULONG_MAX),),
    b"shmmni": (Limit("shm", "shmmni", 0, IPC_MAX),),
    b"shm_rmid_forced": (Limit("shm", "rmid_forced", 0, 1),),
    b"shm_next_id": (Limit("shm", "next_id", 0, _INT_MAX),),
    b"msgmax": (Limit("msg", "msgmax", 0, _INT_MAX),),
    b"msgmnb": (Limit("msg", "msgmnb", 0, _INT_MAX),),
    b"msgmni": (Limit("msg", "msgmni", 0, IPC_MAX),),
    b"msg_next_id": (Limit("msg", "next_id", 0, _INT_MAX),),
    b"sem": (
        Limit("sem", "semmsl", 0, _INT_MAX),
        Limit("sem", "semmns", 0, _INT_MAX),
        Limit("sem", "semopm", 0, _INT_MAX),
        Limit("sem", "semmni", 0, IPC_MAX),
    ),
    b"sem_next_id": (Limit("sem", "next_id", 0, _INT_MAX),),
}
#: Files of /proc/sys/fs/mqueue.
MQUEUE: dict[bytes, tuple[Limit, ...]] = {
    b"msg_default": (Limit("mqueue", "msg_default", 1, 65536),),
    b"msg_max": (Limit("mqueue", "msg_max", 1, 65536),),
    b"msgsize_default": (Limit("mqueue", "msgsize_default", 128, 16777216),),
    b"msgsize_max": (Limit("mqueue", "msgsize_max", 128, 16777216),),
    b"queues_max": (Limit("mqueue", "queues_max", 0, _INT_MAX),),
}


class LimitFile(TextFile):
    """A file of /proc/sys with the limits that the reading process is under."""

    __slots__ = ("_limits", "_machine")

    def __init__(self, where: PseudoDir, machine: Any, limits: tuple[Limit, ...]) -> None:
        super().__init__(where.vfs, self._show, 0o644, store=self._change)
        self._machine = machine
        self._limits = limits

    def _show(self) -> bytes:
        space = _space(self._machine)
        values = [int(getattr(getattr(space, m.part), m.member)) for m in self._limits]
        return b"\t".join(b"%d" % value for value in values) + b"\n"

    def _change(self, data: bytes) -> None:
        """Set as many of the numbers as are written. EINVAL."""
        try:
            values = [int(word) for word in data.split()[: len(self._limits)]]
        except ValueError:
            raise KernelError(Errno.EINVAL) from None
        space = _space(self._machine)
        for limit, value in zip(self._limits, values, strict=False):
            if not limit.low <= value <= limit.high:
                raise KernelError(Errno.EINVAL)
            if limit.member == "rmid_forced":
                space.shm.set_forced(bool(value))
            else:
                setattr(getattr(space, limit.part), limit.member, value)


def _lister(make: Callable[[IpcSpace], bytes], machine: Any) -> Callable[[], bytes]:
    return lambda: make(_space(machine))


def fill_sysvipc(where: PseudoDir, machine: Any) -> None:
    """Enter the files of /proc/sysvipc."""
    for name, make in ((b"msg", msg), (b"sem", sem), (b"shm", shm)):
        where.text(name, _lister(make, machine))


def fill_limits(where: PseudoDir, machine: Any, limits: dict[bytes, tuple[Limit, ...]]) -> None:
    """Enter limits into a directory of /proc/sys."""
    for name, members in limits.items():
        where.add(name, LimitFile(where, machine, members))
