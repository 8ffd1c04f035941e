"""POSIX message queues, the files of a file system of their own (mq_open(3C), mq_send(3C)).

illumos keeps them in a library; here they are vnodes, so that descriptors, poll, permissions and
removal work as for any file. Messages are kept by priority, oldest first. Senders and receivers
that wait are served in the order in which they came: whoever makes room or brings a message does
the sleeper's part at once.
"""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lxemu.kernel.cred import PRIV_SYS_RESOURCE
from lxemu.kernel.cv import CondVar
from lxemu.kernel.errno import Errno, Interrupted, KernelError
from lxemu.kernel.lwp import curlwp
from lxemu.kernel.poll import POLLIN, POLLOUT, POLLRDNORM, Pollhead
from lxemu.kernel.rctl import RLIMIT_MSGQUEUE
from lxemu.kernel.signal import SI_MESGQ, SigInfo
from lxemu.kernel.vfs.fcntl import MAXNAMELEN, O_NONBLOCK
from lxemu.kernel.vfs.vnode import (
    AT_ATIME,
    AT_CTIME,
    AT_GID,
    AT_MODE,
    AT_MTIME,
    AT_UID,
    VDIR,
    VREG,
    Dirent,
    Vattr,
    Vfs,
    Vnode,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxemu.kernel.cred import Cred
    from lxemu.kernel.proc import Proc
    from lxemu.kernel.vfs.file import File

#: Priorities are below this (MQ_PRIO_MAX).
PRIO_MAX = 32768
# Largest attributes that privilege may ask for.
_HARD_MSGMAX = 65536
_HARD_MSGSIZE = 16 << 20
# What a message and a priority cost beside their bytes, for the account of a user.
_MSG_COST = 48
_PRIO_COST = 48
#: Length that a queue shows as a file.
_FILE_SIZE = 80
_ULONG_MAX = (1 << 64) - 1


class MqMessage(NamedTuple):
    """A message in a queue; `order` sorts it: high priority first, then the oldest."""

    order: tuple[int, int]
    text: bytes

    @property
    def prio(self) -> int:
        """The priority it was sent with."""
        return -self.order[0]


class Deliver(Protocol):
    """Where a notification goes that starts a thread: it takes the cookie of the request."""

    def __call__(self, cookie: bytes, *, removed: bool) -> None:
        """Pass the cookie on; `removed`: the registration has ended without a message."""


class MqNotify(NamedTuple):
    """Who is to be told of a message that arrives at an empty queue; signo 0: by no signal."""

    owner: Proc
    signo: int = 0
    value: int = 0
    deliver: Deliver | None = None
    cookie: bytes = b""


class _Waiter:
    """One that sleeps: a sender with its message, or a receiver (None) until it is given one."""

    __slots__ = ("cv", "done", "msg")

    def __init__(self, msg: MqMessage | None) -> None:
        self.msg = msg
        self.done = False
        self.cv = CondVar()


class MqFile(Vnode):
    """A queue. maxmsg, msgsize: its limits in messages and in bytes of one."""

    __slots__ = (
        "atime",
        "ctime",
        "fs",
        "gid",
        "maxmsg",
        "messages",
        "msgsize",
        "mtime",
        "nlink",
        "nodeid",
        "notify",
        "opens",
        "owner",
        "pollhead",
        "receivers",
        "senders",
        "sequence",
        "uid",
    )

    pollable = True
    counts_closes = True

    def __init__(self, fs: MqueueFs, mode: int, cred: Cred, maxmsg: int, msgsize: int) -> None:
        super().__init__(fs, VREG, mode)
        self.fs = fs
        self.nodeid = fs.new_nodeid()
        self.uid, self.gid = cred.fsuid, cred.fsgid
        #: Whose account the queue is on, for as long as it exists.
        self.owner = cred.ruid
        self.nlink = 1
        self.opens = 0
        self.maxmsg = maxmsg
        self.msgsize = msgsize
        self.messages: list[MqMessage] = []
        self.sequence = 0
        self.senders: list[_Waiter] = []
        self.receivers: list[_Waiter] = []
        self.notify: MqNotify | None = None
        self.pollhead = Pollhead()
        self.atime = self.mtime = self.ctime = fs.now()

    # -- as a file -------------------------------------------------------------------------------

    def getattr(self, cred: Cred | None = None) -> Vattr:  # noqa: ARG002
        """Return the attributes."""
        return Vattr(
            VREG,
            self.mode,
            self.uid,
            self.gid,
            self.vfs.fsid,
            self.nodeid,
            self.nlink,
            _FILE_SIZE,
            self.atime,
            self.mtime,
            self.ctime,
        )

    def setattr(self, mask: int, attr: Vattr, cred: Cred) -> None:  # noqa: ARG002
        """Set mode, owner and times."""
        self.mode = attr.mode if mask & AT_MODE else self.mode
        self.uid = attr.uid if mask & AT_UID else self.uid
        self.gid = attr.gid if mask & AT_GID else self.gid
        self.atime = attr.atime if mask & AT_ATIME else self.atime
        self.mtime = attr.mtime if mask & AT_MTIME else self.mtime
        self.ctime = attr.ctime if mask & AT_CTIME else self.vfs.now()

    def size(self) -> int:
        """Return the length that the file shows."""
        return _FILE_SIZE

    def truncate(self, size: int) -> None:
        """Do nothing: the length is only for show."""

    def open(self, file: File) -> None:  # noqa: ARG002
        """Count an open file."""
        self.opens += 1

    def close(self, file: File) -> None:  # noqa: ARG002
        """Count the end of an open file; without a name the last one ends the queue."""
        self.opens -= 1
        self.fs.maybe_free(self)

    def fd_closed(self, file: File) -> None:  # noqa: ARG002
        """End the registration of the process that closes one of its descriptors."""
        notify = self.notify
        if notify is not None and notify.owner is curlwp().proc:
            self.unnotify()

    def read(self, off: int, n: int) -> bytes:
        """Return a line that tells the state of the queue."""
        notify = self.notify
        kind = 0
        if notify is not None:
            kind = 2 if notify.deliver else 0 if notify.signo else 1
        text = b"QSIZE:%-10d NOTIFY:%-5d SIGNO:%-5d NOTIFY_PID:%-6d\n" % (
            sum(len(msg.text) for msg in self.messages),
            kind,
            self.fs.signo_out(notify.signo) if notify is not None else 0,
            notify.owner.pid if notify is not None else 0,
        )
        self.atime = self.ctime = self.vfs.now()
        return text[off : off + n]

    def poll(self, file: File, events: int) -> tuple[int, Pollhead | None]:  # noqa: ARG002
        """Readable with a message, writable with room for one."""
        ready = 0
        if self.messages:
            ready |= POLLIN | POLLRDNORM
        if len(self.messages) < self.maxmsg:
            ready |= POLLOUT
        return ready & events, self.pollhead

    # -- messages --------------------------------------------------------------------------------

    def _stamp(self) -> None:
        self.atime = self.mtime = self.ctime = self.vfs.now()

    def _insert(self, msg: MqMessage) -> None:
        insort(self.messages, msg)

    def _message(self, text: bytes, prio: int) -> MqMessage:
        self.sequence += 1
        return MqMessage((-prio, self.sequence), text)

    def send(self, file: File, text: bytes, prio: int, deadline: int | None) -> None:
        """Send a message, waiting for room until *deadline* (hrtime ns). mq_timedsend(3C).

        EAGAIN, ETIMEDOUT, Interrupted.
        """
        msg = self._message(text, prio)
        if len(self.messages) >= self.maxmsg:
            if file.flags & O_NONBLOCK:
                raise KernelError(Errno.EAGAIN)
            self._sleep(self.senders, _Waiter(msg), deadline)
            return
        if self.receivers:
            receiver = self.receivers.pop(0)
            receiver.msg = msg
            self._wake(receiver)
        else:
            self._insert(msg)
            if len(self.messages) == 1:
                self._notify()
            self.pollhead.wakeup(POLLIN | POLLRDNORM)
        self._stamp()

    def receive(self, file: File, deadline: int | None) -> MqMessage:
        """Take the first message, waiting for one until *deadline*. mq_timedreceive(3C).

        EAGAIN, ETIMEDOUT, Interrupted.
        """
        if not self.messages:
            if file.flags & O_NONBLOCK:
                raise KernelError(Errno.EAGAIN)
            waiter = _Waiter(None)
            self._sleep(self.receivers, waiter, deadline)
            assert waiter.msg is not None
            return waiter.msg
        msg = self.messages.pop(0)
        if self.senders:
            sender = self.senders.pop(0)
            assert sender.msg is not None
            self._insert(sender.msg)
            self._wake(sender)
        else:
            self.pollhead.wakeup(POLLOUT)
        self._stamp()
        return msg

    @staticmethod
    def _wake(waiter: _Waiter) -> None:
        waiter.done = True
        waiter.cv.signal()

    @staticmethod
    def _sleep(queue: list[_Waiter], waiter: _Waiter, deadline: int | None) -> None:
        queue.append(waiter)
        try:
            while not waiter.done:
                if not waiter.cv.wait_sig_until(deadline) and not waiter.done:
                    raise KernelError(Errno.ETIMEDOUT)
        except Interrupted:
            if not waiter.done:
                raise
        finally:
            if waiter in queue:
                queue.remove(waiter)

    # -- notification ----------------------------------------------------------------------------

    def ask(self, notify: MqNotify) -> None:
        """Register a process to be told. EBUSY."""
        if self.notify is not None:
            raise KernelError(Errno.EBUSY)
        self.notify = notify
        self.atime = self.ctime = self.vfs.now()

    def unnotify(self) -> None:
        """End the registration."""
        notify, self.notify = self.notify, None
        if notify is not None and notify.deliver is not None:
            notify.deliver(notify.cookie, removed=True)

    def _notify(self) -> None:
        """Tell the registered process that the queue is no longer empty; that ends it."""
        notify, self.notify = self.notify, None
        if notify is None:
            return
        if notify.deliver is not None:
            notify.deliver(notify.cookie, removed=False)
        elif notify.signo and not notify.owner.zombie:
            sender = curlwp().proc
            info = SigInfo(
                notify.signo, SI_MESGQ, pid=sender.pid, uid=sender.cred.ruid, value=notify.value
            )
            notify.owner.machine.sigtoproc(notify.owner, notify.signo, info)


class MqDir(Vnode):
    """The directory of all queues; anybody may make some, only owners may remove them."""

    __slots__ = ("atime", "ctime", "entries", "fs", "gid", "mtime", "uid")

    def __init__(self, fs: MqueueFs) -> None:
        super().__init__(fs, VDIR, 0o1777)
        self.fs = fs
        self.entries: dict[bytes, MqFile] = {}
        self.uid = self.gid = 0
        self.atime = self.mtime = self.ctime = fs.now()

    def getattr(self, cred: Cred | None = None) -> Vattr:  # noqa: ARG002
        """Return the attributes."""
        size = 20 * len(self.entries) + 40
        times = self.atime, self.mtime, self.ctime
        return Vattr(VDIR, self.mode, self.uid, self.gid, self.vfs.fsid, 1, 2, size, *times)

    def setattr(self, mask: int, attr: Vattr, cred: Cred) -> None:  # noqa: ARG002
        """Set mode and owner."""
        self.mode = attr.mode if mask & AT_MODE else self.mode
        self.uid = attr.uid if mask & AT_UID else self.uid
        self.gid = attr.gid if mask & AT_GID else self.gid
        self.ctime = self.vfs.now()

    def lookup(self, name: bytes) -> MqFile:
        """Return a queue; raises ENOENT, ENAMETOOLONG."""
        if len(name) > MAXNAMELEN:
            raise KernelError(Errno.ENAMETOOLONG)
        found = self.entries.get(name)
        if found is None:
            raise KernelError(Errno.ENOENT)
        return found

    def create(self, name: bytes, mode: int, vtype: int, cred: Cred, rdev: int = 0) -> Vnode:  # noqa: ARG002
        """Make a queue with the attributes that the space has for those who ask for none."""
        if vtype != VREG:
            raise KernelError(Errno.EPERM)
        return self.make(name, mode, cred, curlwp().proc, None)

    def make(
        self, name: bytes, mode: int, cred: Cred, proc: Proc, limits: tuple[int, int] | None
    ) -> MqFile:
        """Make a queue of (messages, bytes of one). EINVAL, ENOSPC, EMFILE, EOVERFLOW."""
        fs = self.fs
        if fs.nqueues >= fs.queues_max and not cred.crhas(PRIV_SYS_RESOURCE):
            raise KernelError(Errno.ENOSPC)
        maxmsg, msgsize = fs.check(limits, cred)
        fs.charge(proc, cost(maxmsg, msgsize))
        queue = MqFile(fs, mode, cred, maxmsg, msgsize)
        fs.nqueues += 1
        self.entries[name] = queue
        self.atime = self.mtime = self.ctime = fs.now()
        return queue

    def remove(self, name: bytes) -> None:
        """Remove the name of a queue, which goes with its last open file."""
        queue = self.lookup(name)
        del self.entries[name]
        queue.nlink = 0
        self.atime = self.mtime = self.ctime = self.vfs.now()
        self.fs.maybe_free(queue)

    def readdir(self, cookie: int) -> list[Dirent]:
        """Return the entries."""
        found = [Dirent(b".", 1, VDIR, 1), Dirent(b"..", 1, VDIR, 2)]
        found += [
            Dirent(name, queue.nodeid, VREG, at + 3)
            for at, (name, queue) in enumerate(self.entries.items())
        ]
        return found[max(cookie, 0) :]


class MqueueFs(Vfs):
    """The queues of a space, with the limits for those without privilege.

    queues_max: how many queues; msg_max, msgsize_max: messages of one and bytes of a message;
    msg_default, msgsize_default: for those who do not say. signo_out: how a listing writes a
    signal number.
    """

    name = "mqueue"

    def __init__(self, machine: Any, fsid: int) -> None:
        super().__init__(fsid, now=machine.clock.realtime)
        self.source = b"mqueue"
        self.machine = machine
        self.queues_max = 256
        self.msg_max = 10
        self.msgsize_max = 8192
        self.msg_default = 10
        self.msgsize_default = 8192
        self.nqueues = 0
        self.charged: dict[int, int] = {}
        self.signo_out: Callable[[int], int] = int
        self._nodeid = 1
        self._root = MqDir(self)

    def root(self) -> MqDir:
        """Return the directory of all queues."""
        return self._root

    def new_nodeid(self) -> int:
        """Return the number of a new queue."""
        self._nodeid += 1
        return self._nodeid

    def check(self, limits: tuple[int, int] | None, cred: Cred) -> tuple[int, int]:
        """Return the attributes of a new queue. EINVAL, EOVERFLOW."""
        if limits is None:
            limits = (
                min(self.msg_max, self.msg_default),
                min(self.msgsize_max, self.msgsize_default),
            )
        maxmsg, msgsize = limits
        most = self.msg_max, self.msgsize_max
        if cred.crhas(PRIV_SYS_RESOURCE):
            most = _HARD_MSGMAX, _HARD_MSGSIZE
        if not 0 < maxmsg <= most[0] or not 0 < msgsize <= most[1]:
            raise KernelError(Errno.EINVAL)
        if cost(maxmsg, msgsize) > _ULONG_MAX:
            raise KernelError(Errno.EOVERFLOW)
        return limits

    def charge(self, proc: Proc, size: int) -> None:
        """Put bytes on the account of a user. EMFILE."""
        uid = proc.cred.ruid
        total = self.charged.get(uid, 0) + size
        if total > proc.rctls.soft(RLIMIT_MSGQUEUE):
            raise KernelError(Errno.EMFILE)
        self.charged[uid] = total

    def maybe_free(self, queue: MqFile) -> None:
        """Take a queue off the account when it has neither a name nor an open file."""
        if queue.nlink or queue.opens:
            return
        self.nqueues -= 1
        self.charged[queue.owner] -= cost(queue.maxmsg, queue.msgsize)
        queue.messages.clear()


def cost(maxmsg: int, msgsize: int) -> int:
    """Return the bytes that a queue counts for (RLIMIT_MSGQUEUE)."""
    return maxmsg * msgsize + maxmsg * _MSG_COST + min(maxmsg, PRIO_MAX) * _PRIO_COST
