"""What the handlers of System V IPC share: commands, versions of structures, permissions.

Sources: Linux ipc/util.c, ipc/syscall.c.
"""

from __future__ import annotations

from typing import Any, Final

from lxemu.kernel.errno import Errno, Interrupted, KernelError
from lxemu.kernel.ipc.ipc import Kipc
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.signal import SIG_DFL, SIG_IGN
from syscalls.abi import In, Out, pointer
from syscalls.abi.model import ILP32
from syscalls.abi.registry import named_layout
from syscalls.records.ipc import IpcPerm

LX_IPC_RMID: Final = 0
LX_IPC_SET: Final = 1
LX_IPC_STAT: Final = 2
LX_IPC_INFO: Final = 3
#: Bit of a command to the i386 multiplexer: the structures with 32-bit ids.
LX_IPC_64: Final = 0x100
_OLD: Final = {
    "ShmidDs": "SHMID_OLD",
    "ShmInfo": "SHMINFO_OLD",
    "SemidDs": "SEMID_OLD",
    "MsqidDs": "MSQID_OLD",
}


class Buffer:
    """The buffer of a control call: which of the two versions of a structure it holds."""

    __slots__ = ("addr", "lwp", "old")

    def __init__(self, lwp: Lwp, addr: int, *, old: bool) -> None:
        self.lwp = lwp
        self.addr = addr
        self.old = old

    def _pointer(self, cls: Any, record: Any) -> Any:
        name = _OLD.get(record.__name__) if self.old else None
        if name is None:
            return pointer(cls, self.lwp, record, self.addr)
        return cls(self.lwp.as_, self.addr, named_layout(record, name).codec(ILP32))

    def get(self, record: Any) -> Any:
        """Copy in one record. EFAULT."""
        return self._pointer(In, record).get()

    def put(self, value: Any) -> None:
        """Copy out one record. EFAULT."""
        self._pointer(Out, type(value)).put(value)


def split_version(cmd: int) -> tuple[int, bool]:
    """Return the command of a multiplexed call and whether it means the old structures."""
    return cmd & ~LX_IPC_64, not cmd & LX_IPC_64


def direct(lwp: Lwp, cmd: int) -> int:
    """Return the command of a direct call; on i386 that of semctl and msgctl may have IPC_64."""
    return cmd if lwp.brand.bits == 64 else cmd & ~LX_IPC_64


def perm(obj: Kipc) -> IpcPerm:
    """Describe ownership and mode."""
    return IpcPerm(obj.key, obj.uid, obj.gid, obj.cuid, obj.cgid, obj.mode, obj.seq)


def wanted(record: IpcPerm) -> tuple[int, int, int]:
    """Return owner, group and mode that an IPC_SET asks for."""
    return record.uid, record.gid, record.mode


def interrupted(lwp: Lwp, error: Interrupted) -> KernelError:
    """Return what a sleep ends with that only a handler may end (-ERESTARTNOHAND).

    EINTR when a handler will run, whatever SA_RESTART says; else the call starts again.
    """
    if lwp.cursig and lwp.proc.sigacts[lwp.cursig].handler not in (SIG_DFL, SIG_IGN):
        return KernelError(Errno.EINTR)
    return error
