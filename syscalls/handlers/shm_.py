"""System V shared memory: shmget(2), shmat(2), shmdt(2), shmctl(2). Source: Linux ipc/shm.c."""

from __future__ import annotations

from typing import Final

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.ipc import shm as kshm
from lxemu.kernel.ipc.shm import ShmSegment, ShmService
from lxemu.kernel.ipc.space import ipc_space
from lxemu.kernel.lwp import Lwp
from syscalls.abi import HexInt, Int, Ptr, Size, syscall
from syscalls.handlers import ipc_
from syscalls.handlers.ipc_ import Buffer
from syscalls.records.ipc import ShmidDs, ShmInfo, ShmUsage

LX_SHM_HUGETLB: Final = 0o4000
LX_SHM_NORESERVE: Final = 0o10000
LX_SHM_RDONLY: Final = 0o10000
LX_SHM_RND: Final = 0o20000
LX_SHM_REMAP: Final = 0o40000
LX_SHM_EXEC: Final = 0o100000
_ATTACH: Final = (
    (LX_SHM_RDONLY, kshm.SHM_RDONLY),
    (LX_SHM_RND, kshm.SHM_RND),
    (LX_SHM_REMAP, kshm.SHM_REMAP),
    (LX_SHM_EXEC, kshm.SHM_EXEC),
)
LX_SHM_LOCK: Final = 11
LX_SHM_UNLOCK: Final = 12
LX_SHM_STAT: Final = 13
LX_SHM_INFO: Final = 14
LX_SHM_STAT_ANY: Final = 15
#: Bits of the mode that a stat shows.
LX_SHM_DEST: Final = 0o1000
LX_SHM_LOCKED: Final = 0o2000


@syscall
def shmget(lwp: Lwp, key: Int, size: Size, shmflg: HexInt) -> int:
    """Find or make a segment (shmget(2)): EINVAL, ENOENT, EEXIST, EACCES, ENOSPC, ENOMEM.

    There are no huge pages: a new segment of them is ENOMEM, as on a system with an empty pool.
    """
    service = ipc_space(lwp.proc).shm
    flags = shmflg & 0o3777
    if shmflg & LX_SHM_NORESERVE:
        flags |= kshm.SHM_NORESERVE
    return service.shmget(lwp.proc, key, size, flags, huge=bool(shmflg & LX_SHM_HUGETLB))


def _attach(lwp: Lwp, shmid: int, addr: int, shmflg: int) -> int:
    if shmid < 0:
        raise KernelError(Errno.EINVAL)
    flags = sum(kernel for lx, kernel in _ATTACH if shmflg & lx)
    return ipc_space(lwp.proc).shm.shmat(lwp.proc, shmid, addr, flags)


@syscall
def shmat(lwp: Lwp, shmid: Int, shmaddr: Ptr, shmflg: HexInt) -> int:
    """Attach a segment and return its address (shmat(2)): EINVAL, EACCES, ENOMEM."""
    return _attach(lwp, shmid, shmaddr, shmflg)


@syscall
def old_shmat(lwp: Lwp, shmid: Int, shmaddr: Ptr, shmflg: HexInt, raddr: Ptr) -> int:
    """Attach a segment, the address goes where `raddr` points (ipc(2)): also EFAULT."""
    addr = _attach(lwp, shmid, shmaddr, shmflg)
    lwp.as_.store_u32(raddr, addr)
    return 0


@syscall
def shmdt(lwp: Lwp, shmaddr: Ptr) -> int:
    """Detach the segment at an address (shmdt(2)): EINVAL."""
    ipc_space(lwp.proc).shm.shmdt(lwp.proc, shmaddr)
    return 0


def _ds(found: ShmSegment) -> ShmidDs:
    perm = ipc_.perm(found)
    mode = perm.mode & 0o777
    mode |= LX_SHM_DEST if perm.mode & kshm.SHM_DEST else 0
    mode |= LX_SHM_LOCKED if perm.mode & kshm.SHM_LOCKED else 0
    return ShmidDs(
        perm._replace(mode=mode),
        found.size,
        found.atime,
        found.dtime,
        found.ctime,
        found.cpid,
        found.lpid,
        found.nattch,
    )


def _stat(lwp: Lwp, service: ShmService, shmid: int, cmd: int, buf: Buffer) -> int:
    """IPC_STAT by id, SHM_STAT by slot, SHM_STAT_ANY without asking for permission."""
    found = service.lookup(shmid) if cmd == ipc_.LX_IPC_STAT else service.at(shmid)
    if cmd != LX_SHM_STAT_ANY:
        service.stat(lwp.proc, found)
    buf.put(_ds(found))
    return 0 if cmd == ipc_.LX_IPC_STAT else found.id


def _control(lwp: Lwp, shmid: int, cmd: int, buf: Buffer) -> int:
    if cmd < 0 or shmid < 0:
        raise KernelError(Errno.EINVAL)
    service, proc = ipc_space(lwp.proc).shm, lwp.proc
    if cmd == ipc_.LX_IPC_INFO:
        limit = service.shmmni
        buf.put(ShmInfo(service.shmmax, kshm.SHMMIN, limit, limit, service.shmall))
        return service.highest
    if cmd == LX_SHM_INFO:
        buf.put(ShmUsage(len(service), service.total, service.resident))
        return service.highest
    if cmd in (ipc_.LX_IPC_STAT, LX_SHM_STAT, LX_SHM_STAT_ANY):
        return _stat(lwp, service, shmid, cmd, buf)
    if cmd == ipc_.LX_IPC_SET:
        service.set(proc, shmid, ipc_.wanted(buf.get(ShmidDs).perm))
    elif cmd == ipc_.LX_IPC_RMID:
        service.rmid(proc, shmid)
    elif cmd in (LX_SHM_LOCK, LX_SHM_UNLOCK):
        service.lock(proc, shmid, on=cmd == LX_SHM_LOCK)
    else:
        raise KernelError(Errno.EINVAL)
    return 0


@syscall
def shmctl(lwp: Lwp, shmid: Int, cmd: Int, buf: Ptr) -> int:
    """Control a segment (shmctl(2)): EINVAL, EACCES, EPERM, EFAULT, ENOMEM."""
    return _control(lwp, shmid, cmd, Buffer(lwp, buf, old=False))


@syscall
def old_shmctl(lwp: Lwp, shmid: Int, cmd: Int, buf: Ptr) -> int:
    """Control a segment through ipc(2), where the command says which structure `buf` has."""
    cmd, old = ipc_.split_version(cmd)
    return _control(lwp, shmid, cmd, Buffer(lwp, buf, old=old))
