"""System V message queues (illumos os/msg.c; msgget(2), msgop(2), msgctl(2)).

A sender that finds a receiver waiting for such a message hands it over; the queue then never
holds it. Sleepers are served in the order in which they came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from lxemu.kernel.cred import PRIV_SYS_RESOURCE
from lxemu.kernel.cv import CondVar
from lxemu.kernel.errno import Errno, Interrupted, KernelError
from lxemu.kernel.ipc.ipc import IPC_NOWAIT, IPC_R, IPC_W, IpcService, Kipc

if TYPE_CHECKING:
    from lxemu.kernel.cred import Cred
    from lxemu.kernel.proc import Proc

# Flags of msgrcv (sys/msg.h); MSG_EXCEPT and MSG_COPY are ours.
MSG_NOERROR = 0o10000
MSG_EXCEPT = 0o20000
MSG_COPY = 0o40000

_LONG_MAX = (1 << 63) - 1


class Msg(NamedTuple):
    """A message: its type (positive) and text."""

    type: int
    text: bytes


class _Receiver:
    """A process that waits for a message: what it takes, and what it was given."""

    __slots__ = ("cv", "error", "msg", "pid", "room", "want")

    def __init__(self, pid: int, want: _Want, room: int) -> None:
        self.pid = pid
        self.want = want
        self.room = room
        self.msg: Msg | None = None
        self.error: Errno | None = None
        self.cv = CondVar()


class _Want:
    """Which messages a msgrcv takes."""

    __slots__ = ("flags", "type")

    def __init__(self, mtype: int, flags: int) -> None:
        self.type = mtype
        self.flags = flags

    def takes(self, msg: Msg) -> bool:
        """Tell whether *msg* is one that is waited for."""
        if self.type == 0:
            return True
        if self.type < 0:
            return msg.type <= -self.type
        return (msg.type != self.type) if self.flags & MSG_EXCEPT else msg.type == self.type

    def find(self, queue: list[Msg]) -> int:
        """Return the place of the message to take first, -1 if there is none."""
        if self.flags & MSG_COPY:
            return self.type if 0 <= self.type < len(queue) else -1
        best = -1
        for at, msg in enumerate(queue):
            if self.takes(msg):
                if self.type >= 0:
                    return at
                if best < 0 or msg.type < queue[best].type:
                    best = at
        return best


class MsgQueue(Kipc):
    """A queue of messages (kmsqid_t). Times in s; `cbytes` is what all texts have together."""

    __slots__ = (
        "cbytes",
        "ctime",
        "lrpid",
        "lspid",
        "messages",
        "qbytes",
        "receivers",
        "rtime",
        "senders",
        "stime",
    )

    def __init__(self, key: int, mode: int, cred: Cred, qbytes: int, now: int) -> None:
        super().__init__(key, mode, cred)
        self.qbytes = qbytes
        self.cbytes = 0
        self.messages: list[Msg] = []
        self.lspid = self.lrpid = 0
        self.stime = self.rtime = 0
        self.ctime = now
        self.receivers: list[_Receiver] = []
        self.senders = CondVar()

    def fits(self, size: int) -> bool:
        """Tell whether there is room for a message of *size* bytes."""
        return size + self.cbytes <= self.qbytes and len(self.messages) < self.qbytes


class MsgService(IpcService[MsgQueue]):
    """All message queues of a space. msgmax, msgmnb in bytes; msgmni is the number of queues."""

    def __init__(self, machine: Any) -> None:
        super().__init__(machine, lambda: self.msgmni)
        self.msgmax = 8192
        self.msgmnb = 16384
        self.msgmni = 32000

    def msgget(self, proc: Proc, key: int, flags: int) -> int:
        """Find or make a queue; return its id. ENOENT, EEXIST, EACCES, ENOSPC."""
        cred = proc.cred
        queue = self.get(
            key,
            flags,
            cred,
            lambda: MsgQueue(key, flags, cred, self.msgmnb, self.now()),
            lambda _queue: None,
        )
        return queue.id

    def msgsnd(self, proc: Proc, ident: int, msg: Msg, flags: int) -> None:
        """Send a message. msgop(2). EINVAL, EACCES, EAGAIN, EIDRM, Interrupted."""
        queue = self.lookup(ident)
        size = len(msg.text)
        while True:
            queue.access(IPC_W, proc.cred)
            if queue.gone:
                raise KernelError(Errno.EIDRM)
            if queue.fits(size):
                break
            if flags & IPC_NOWAIT:
                raise KernelError(Errno.EAGAIN)
            try:
                queue.senders.wait_sig()
            except Interrupted:
                if queue.gone:
                    raise KernelError(Errno.EIDRM) from None
                raise
            if queue.gone:
                raise KernelError(Errno.EIDRM)
        queue.lspid = proc.pid
        queue.stime = self.now()
        if not self._hand_over(queue, msg):
            queue.messages.append(msg)
            queue.cbytes += size

    def _hand_over(self, queue: MsgQueue, msg: Msg) -> bool:
        """Give a message to the first process that waits for one like it."""
        for receiver in list(queue.receivers):
            if not receiver.want.takes(msg):
                continue
            queue.receivers.remove(receiver)
            receiver.cv.signal()
            if len(msg.text) > receiver.room:
                receiver.error = Errno.E2BIG
                continue
            receiver.msg = msg
            queue.lrpid = receiver.pid
            queue.rtime = self.now()
            return True
        return False

    def msgrcv(self, proc: Proc, ident: int, size: int, mtype: int, flags: int) -> Msg:
        """Take a message with at most *size* bytes (MSG_NOERROR: the caller cuts it). msgop(2).

        EINVAL, EACCES, E2BIG, ENOMSG, EIDRM, Interrupted.
        """
        want = _Want(max(mtype, -_LONG_MAX), flags)
        queue = self.lookup(ident)
        while True:
            queue.access(IPC_R, proc.cred)
            at = want.find(queue.messages)
            if at >= 0:
                return self._take(queue, proc, at, size, flags)
            if flags & IPC_NOWAIT:
                raise KernelError(Errno.ENOMSG)
            room = _LONG_MAX if flags & MSG_NOERROR else size
            receiver = _Receiver(proc.pid, want, room)
            queue.receivers.append(receiver)
            self._sleep(queue, receiver)
            if receiver.msg is not None:
                return receiver.msg
            if receiver.error is not None and receiver.error is not Errno.EAGAIN:
                raise KernelError(receiver.error)

    @staticmethod
    def _sleep(queue: MsgQueue, receiver: _Receiver) -> None:
        """Wait until a receiver is given something; Interrupted only if it was not."""
        try:
            while receiver.msg is None and receiver.error is None:
                receiver.cv.wait_sig()
        except Interrupted:
            if receiver.msg is None and receiver.error is None:
                raise
        finally:
            if receiver in queue.receivers:
                queue.receivers.remove(receiver)

    def _take(self, queue: MsgQueue, proc: Proc, at: int, size: int, flags: int) -> Msg:
        msg = queue.messages[at]
        if len(msg.text) > size and not flags & MSG_NOERROR:
            raise KernelError(Errno.E2BIG)
        if not flags & MSG_COPY:
            del queue.messages[at]
            queue.cbytes -= len(msg.text)
            queue.lrpid = proc.pid
            queue.rtime = self.now()
            queue.senders.broadcast()
        return msg

    def stat(self, proc: Proc, queue: MsgQueue) -> MsgQueue:
        """Return a queue that may be looked at. EACCES."""
        queue.access(IPC_R, proc.cred)
        return queue

    def set(self, proc: Proc, ident: int, perm: tuple[int, int, int], qbytes: int) -> None:
        """Change owner, group, mode and size. msgctl(2), IPC_SET. EINVAL, EPERM."""
        queue = self.lookup(ident)
        queue.own(proc.cred)
        if qbytes > self.msgmnb and not proc.cred.crhas(PRIV_SYS_RESOURCE):
            raise KernelError(Errno.EPERM)
        queue.set_owner(*perm)
        queue.qbytes = qbytes
        queue.ctime = self.now()
        self._expunge(queue, Errno.EAGAIN)
        queue.senders.broadcast()

    def rmid(self, proc: Proc, ident: int) -> None:
        """Remove a queue and what is in it; whoever waits at it gets EIDRM. EINVAL, EPERM."""
        queue = self.lookup(ident)
        queue.own(proc.cred)
        self.remove(queue)
        self._expunge(queue, Errno.EIDRM)
        queue.senders.broadcast()
        queue.messages.clear()

    @staticmethod
    def _expunge(queue: MsgQueue, error: Errno) -> None:
        """Send every receiver away: EAGAIN has it look again, with the permissions of now."""
        receivers, queue.receivers = queue.receivers, []
        for receiver in receivers:
            receiver.error = error
            receiver.cv.signal()

    def totals(self) -> tuple[int, int]:
        """Return the number of messages in all queues and of bytes in them."""
        queues = list(self)
        return sum(len(q.messages) for q in queues), sum(q.cbytes for q in queues)
