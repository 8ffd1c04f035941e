"""System V messages: msgget(2), msgsnd(2), msgrcv(2), msgctl(2). Source: Linux ipc/msg.c."""

from __future__ import annotations

from typing import Final

from lxemu.kernel.errno import Errno, Interrupted, KernelError
from lxemu.kernel.ipc import msg as kmsg
from lxemu.kernel.ipc.ipc import IPC_NOWAIT
from lxemu.kernel.ipc.msg import Msg, MsgService
from lxemu.kernel.ipc.space import ipc_space
from lxemu.kernel.lwp import Lwp
from syscalls.abi import HexInt, In, Int, Long, Out, Ptr, pointer, syscall
from syscalls.handlers import ipc_
from syscalls.handlers.ipc_ import Buffer
from syscalls.records.ipc import MsgInfo, MsqidDs

LX_IPC_NOWAIT: Final = 0o4000
LX_MSG_NOERROR: Final = 0o10000
LX_MSG_EXCEPT: Final = 0o20000
LX_MSG_COPY: Final = 0o40000
LX_MSG_STAT: Final = 11
LX_MSG_INFO: Final = 12
LX_MSG_STAT_ANY: Final = 13
# Constants that only IPC_INFO shows (include/uapi/linux/msg.h).
LX_MSGPOOL: Final = 512000
LX_MSGMNB: Final = 16384
LX_MSGSSZ: Final = 16
LX_MSGSEG: Final = 0xFFFF


@syscall
def msgget(lwp: Lwp, key: Int, msgflg: HexInt) -> int:
    """Find or make a queue (msgget(2)): ENOENT, EEXIST, EACCES, ENOSPC."""
    return ipc_space(lwp.proc).msg.msgget(lwp.proc, key, msgflg & 0o3777)


@syscall
def msgsnd(lwp: Lwp, msqid: Int, msgp: Ptr, msgsz: Long, msgflg: HexInt) -> int:
    """Send a message (msgsnd(2)): EFAULT, EINVAL, EACCES, EAGAIN, EIDRM, EINTR."""
    service = ipc_space(lwp.proc).msg
    word = lwp.brand.bits // 8
    mtype = pointer(In, lwp, Long, msgp).get()
    if not 0 <= msgsz <= service.msgmax or msqid < 0 or mtype < 1:
        raise KernelError(Errno.EINVAL)
    message = Msg(mtype, lwp.as_.copyin(msgp + word, msgsz))
    flags = IPC_NOWAIT if msgflg & LX_IPC_NOWAIT else 0
    try:
        service.msgsnd(lwp.proc, msqid, message, flags)
    except Interrupted as error:
        raise ipc_.interrupted(lwp, error) from None
    return 0


def _receive_flags(msgflg: int) -> int:
    copy = msgflg & LX_MSG_COPY
    if copy and (msgflg & LX_MSG_EXCEPT or not msgflg & LX_IPC_NOWAIT):
        raise KernelError(Errno.EINVAL)
    flags = kmsg.MSG_COPY if copy else 0
    flags |= IPC_NOWAIT if msgflg & LX_IPC_NOWAIT else 0
    flags |= kmsg.MSG_EXCEPT if msgflg & LX_MSG_EXCEPT else 0
    return flags | kmsg.MSG_NOERROR if msgflg & LX_MSG_NOERROR else flags


@syscall
def msgrcv(lwp: Lwp, msqid: Int, msgp: Ptr, msgsz: Long, msgtyp: Long, msgflg: HexInt) -> int:
    """Take a message (msgrcv(2)): EINVAL, EACCES, E2BIG, ENOMSG, EIDRM, EINTR, EFAULT."""
    if msqid < 0 or msgsz < 0:
        raise KernelError(Errno.EINVAL)
    flags = _receive_flags(msgflg)
    try:
        message = ipc_space(lwp.proc).msg.msgrcv(lwp.proc, msqid, msgsz, msgtyp, flags)
    except Interrupted as error:
        raise ipc_.interrupted(lwp, error) from None
    text = message.text[:msgsz]
    pointer(Out, lwp, Long, msgp).put(message.type)
    lwp.as_.copyout(msgp + lwp.brand.bits // 8, text)
    return len(text)


# -- msgctl --------------------------------------------------------------------------------------


def _info(service: MsgService, cmd: int, buf: Buffer) -> int:
    pool, maps, total = LX_MSGPOOL, LX_MSGMNB, LX_MSGMNB
    if cmd == LX_MSG_INFO:
        pool = len(service)
        maps, total = service.totals()
    limits = service.msgmax, service.msgmnb, service.msgmni
    buf.put(MsgInfo(pool, maps, *limits, LX_MSGSSZ, total, LX_MSGSEG))
    return service.highest


def _stat(lwp: Lwp, service: MsgService, msqid: int, cmd: int, buf: Buffer) -> int:
    queue = service.lookup(msqid) if cmd == ipc_.LX_IPC_STAT else service.at(msqid)
    if cmd != LX_MSG_STAT_ANY:
        service.stat(lwp.proc, queue)
    buf.put(
        MsqidDs(
            ipc_.perm(queue),
            queue.stime,
            queue.rtime,
            queue.ctime,
            queue.cbytes,
            len(queue.messages),
            queue.qbytes,
            queue.lspid,
            queue.lrpid,
        )
    )
    return 0 if cmd == ipc_.LX_IPC_STAT else queue.id


def _control(lwp: Lwp, msqid: int, cmd: int, buf: Buffer) -> int:
    if msqid < 0 or cmd < 0:
        raise KernelError(Errno.EINVAL)
    service = ipc_space(lwp.proc).msg
    if cmd in (ipc_.LX_IPC_INFO, LX_MSG_INFO):
        return _info(service, cmd, buf)
    if cmd in (ipc_.LX_IPC_STAT, LX_MSG_STAT, LX_MSG_STAT_ANY):
        return _stat(lwp, service, msqid, cmd, buf)
    if cmd == ipc_.LX_IPC_SET:
        record: MsqidDs = buf.get(MsqidDs)
        service.set(lwp.proc, msqid, ipc_.wanted(record.perm), record.qbytes)
    elif cmd == ipc_.LX_IPC_RMID:
        service.rmid(lwp.proc, msqid)
    else:
        raise KernelError(Errno.EINVAL)
    return 0


@syscall
def msgctl(lwp: Lwp, msqid: Int, cmd: Int, buf: Ptr) -> int:
    """Control a queue (msgctl(2)): EINVAL, EACCES, EPERM, EFAULT."""
    return _control(lwp, msqid, ipc_.direct(lwp, cmd), Buffer(lwp, buf, old=False))


@syscall
def old_msgctl(lwp: Lwp, msqid: Int, cmd: Int, buf: Ptr) -> int:
    """Control a queue through ipc(2), where the command says which structure `buf` has."""
    cmd, old = ipc_.split_version(cmd)
    return _control(lwp, msqid, cmd, Buffer(lwp, buf, old=old))
