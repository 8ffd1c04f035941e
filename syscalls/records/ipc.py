"""Records of System V IPC and message queues."""

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


class MqAttr(NamedTuple):
    """Attributes of a message queue."""

    flags: int
    maxmsg: int
    msgsize: int
    curmsgs: int
