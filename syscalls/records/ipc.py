"""Records of System V IPC and message queues. Times are seconds."""

from __future__ import annotations

from typing import NamedTuple


class Sembuf(NamedTuple):
    """One operation of semop(2)."""

    num: int
    op: int
    flg: int


class IpcPerm(NamedTuple):
    """Ownership of an IPC object."""

    key: int
    uid: int
    gid: int
    cuid: int
    cgid: int
    mode: int
    seq: int


class ShmidDs(NamedTuple):
    """A segment of shared memory, for shmctl(2)."""

    perm: IpcPerm
    segsz: int
    atime: int
    dtime: int
    ctime: int
    cpid: int
    lpid: int
    nattch: int


class ShmInfo(NamedTuple):
    """Limits of shared memory (IPC_INFO)."""

    shmmax: int
    shmmin: int
    shmmni: int
    shmseg: int
    shmall: int


class ShmUsage(NamedTuple):
    """What all segments use, in pages (SHM_INFO)."""

    used_ids: int
    tot: int
    rss: int
    swp: int = 0
    swap_attempts: int = 0
    swap_successes: int = 0


class SemidDs(NamedTuple):
    """A set of semaphores, for semctl(2)."""

    perm: IpcPerm
    otime: int
    ctime: int
    nsems: int


class SemInfo(NamedTuple):
    """Limits of semaphores (IPC_INFO), with the use made of two of them (SEM_INFO)."""

    semmap: int
    semmni: int
    semmns: int
    semmnu: int
    semmsl: int
    semopm: int
    semume: int
    semusz: int
    semvmx: int
    semaem: int


class MsqidDs(NamedTuple):
    """A queue of messages, for msgctl(2)."""

    perm: IpcPerm
    stime: int
    rtime: int
    ctime: int
    cbytes: int
    qnum: int
    qbytes: int
    lspid: int
    lrpid: int


class MsgInfo(NamedTuple):
    """Limits of messages (IPC_INFO), or the use made of them (MSG_INFO)."""

    msgpool: int
    msgmap: int
    msgmax: int
    msgmnb: int
    msgmni: int
    msgssz: int
    msgtql: int
    msgseg: int


class MqAttr(NamedTuple):
    """Attributes of a message queue."""

    flags: int
    maxmsg: int
    msgsize: int
    curmsgs: int


class MqEvent(NamedTuple):
    """A sigevent of mq_notify(3), whose number may be a descriptor instead of a signal."""

    value: int
    signo: int
    notify: int
