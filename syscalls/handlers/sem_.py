"""System V semaphores: semget(2), semop(2), semtimedop(2), semctl(2). Source: Linux ipc/sem.c."""

from __future__ import annotations

import struct
from typing import Final

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.ipc import sem as ksem
from lxemu.kernel.ipc.ipc import IPC_NOWAIT, IPC_W
from lxemu.kernel.ipc.sem import SemOp, SemService, SemSet
from lxemu.kernel.ipc.space import ipc_space
from lxemu.kernel.lwp import Lwp
from syscalls.abi import HexInt, In, Int, Ptr, Sembuf, Timespec, UInt, syscall
from syscalls.handlers import ipc_
from syscalls.handlers.ipc_ import Buffer
from syscalls.records.ipc import SemidDs, SemInfo

LX_IPC_NOWAIT: Final = 0o4000
LX_SEM_UNDO: Final = 0x1000
LX_GETPID: Final = 11
LX_GETVAL: Final = 12
LX_GETALL: Final = 13
LX_GETNCNT: Final = 14
LX_GETZCNT: Final = 15
LX_SETVAL: Final = 16
LX_SETALL: Final = 17
LX_SEM_STAT: Final = 18
LX_SEM_INFO: Final = 19
LX_SEM_STAT_ANY: Final = 20
# Constants that only IPC_INFO shows (include/uapi/linux/sem.h).
LX_SEMMNS: Final = 32000 * 32000
LX_SEMUME: Final = 500
LX_SEMUSZ: Final = 20


@syscall
def semget(lwp: Lwp, key: Int, nsems: Int, semflg: HexInt) -> int:
    """Find or make a set (semget(2)): EINVAL, ENOENT, EEXIST, EACCES, ENOSPC."""
    return ipc_space(lwp.proc).sem.semget(lwp.proc, key, nsems, semflg & 0o3777)


def _flags(word: int) -> int:
    flags = IPC_NOWAIT if word & LX_IPC_NOWAIT else 0
    return flags | ksem.SEM_UNDO if word & LX_SEM_UNDO else flags


def _operate(lwp: Lwp, semid: int, sops: In[Sembuf], nsops: int, wait: Timespec | None) -> int:
    service = ipc_space(lwp.proc).sem
    if nsops > service.semopm:
        raise KernelError(Errno.E2BIG)
    if nsops < 1:
        raise KernelError(Errno.EINVAL)
    ops = [SemOp(op.num, op.op, _flags(op.flg)) for op in sops.get_array(nsops)]
    if semid < 0:
        raise KernelError(Errno.EINVAL)
    deadline = None
    if wait is not None:
        deadline = wait.ns() + lwp.machine.clock.hrtime()
    service.semop(lwp.proc, semid, ops, deadline)
    return 0


@syscall(restart=False)
def semop(lwp: Lwp, semid: Int, sops: In[Sembuf], nsops: UInt) -> int:
    """Do operations on a set at once (semop(2)).

    E2BIG, EINVAL, EFAULT, EFBIG, EACCES, EAGAIN, ERANGE, EIDRM, EINTR.
    """
    return _operate(lwp, semid, sops, nsops, None)


@syscall(restart=False)
def semtimedop(lwp: Lwp, semid: Int, sops: In[Sembuf], nsops: UInt, timeout: In[Timespec]) -> int:
    """Do operations on a set at once, waiting for a time at most (semtimedop(2))."""
    return _operate(lwp, semid, sops, nsops, timeout.get_or_none())


# -- semctl --------------------------------------------------------------------------------------


def _info(service: SemService, cmd: int, buf: Buffer) -> int:
    used = cmd == LX_SEM_INFO
    buf.put(
        SemInfo(
            LX_SEMMNS,
            service.semmni,
            service.semmns,
            LX_SEMMNS,
            service.semmsl,
            service.semopm,
            LX_SEMUME,
            len(service) if used else LX_SEMUSZ,
            ksem.SEMVMX,
            service.used if used else ksem.SEMAEM,
        )
    )
    return service.highest


def _stat(lwp: Lwp, service: SemService, semid: int, cmd: int, buf: Buffer) -> int:
    found = service.lookup(semid) if cmd == ipc_.LX_IPC_STAT else service.at(semid)
    if cmd != LX_SEM_STAT_ANY:
        service.stat(lwp.proc, found)
    buf.put(SemidDs(ipc_.perm(found), found.otime, found.ctime, len(found.values)))
    return 0 if cmd == ipc_.LX_IPC_STAT else found.id


def _all(lwp: Lwp, service: SemService, semid: int, cmd: int, array: int) -> int:
    found = service.lookup(semid)
    form = struct.Struct(f"<{len(found.values)}H")
    if cmd == LX_GETALL:
        service.stat(lwp.proc, found)
        lwp.as_.copyout(array, form.pack(*found.values))
        return 0
    found.access(IPC_W, lwp.proc.cred)
    service.setall(lwp.proc, found, form.unpack(lwp.as_.copyin(array, form.size)))
    return 0


def _one(found: SemSet, semnum: int, cmd: int) -> int:
    if cmd == LX_GETVAL:
        return found.values[semnum]
    if cmd == LX_GETPID:
        return found.pids[semnum]
    return found.waiting(semnum, zero=cmd == LX_GETZCNT)


def _control(lwp: Lwp, semid: int, semnum: int, cmd: int, arg: int, *, old: bool) -> int:
    if semid < 0:
        raise KernelError(Errno.EINVAL)
    service, proc = ipc_space(lwp.proc).sem, lwp.proc
    buf = Buffer(lwp, arg, old=old)
    if cmd in (ipc_.LX_IPC_INFO, LX_SEM_INFO):
        return _info(service, cmd, buf)
    if cmd in (ipc_.LX_IPC_STAT, LX_SEM_STAT, LX_SEM_STAT_ANY):
        return _stat(lwp, service, semid, cmd, buf)
    if cmd in (LX_GETALL, LX_SETALL):
        return _all(lwp, service, semid, cmd, arg)
    if cmd in (LX_GETVAL, LX_GETPID, LX_GETNCNT, LX_GETZCNT):
        return _one(service.one(proc, semid, semnum), semnum, cmd)
    if cmd == LX_SETVAL:
        value = (arg & 0xFFFFFFFF ^ 0x80000000) - 0x80000000
        service.setval(proc, semid, semnum, value)
    elif cmd == ipc_.LX_IPC_SET:
        service.set(proc, semid, ipc_.wanted(buf.get(SemidDs).perm))
    elif cmd == ipc_.LX_IPC_RMID:
        service.rmid(proc, semid)
    else:
        raise KernelError(Errno.EINVAL)
    return 0


@syscall
def semctl(lwp: Lwp, semid: Int, semnum: Int, cmd: Int, arg: Ptr) -> int:
    """Control a set (semctl(2)): EINVAL, EACCES, EPERM, ERANGE, EFAULT."""
    return _control(lwp, semid, semnum, ipc_.direct(lwp, cmd), arg, old=False)


@syscall
def old_semctl(lwp: Lwp, semid: Int, semnum: Int, cmd: Int, arg: Ptr) -> int:
    """Control a set through ipc(2), where the command says which structure `arg` points to."""
    cmd, old = ipc_.split_version(cmd)
    return _control(lwp, semid, semnum, cmd, arg, old=old)
