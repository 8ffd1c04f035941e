"""POSIX message queues: mq_open(2) and its relatives. Source: Linux ipc/mqueue.c.

The library has taken the leading slash off a name already.
"""

from __future__ import annotations

from typing import Any, Final

from lxemu.kernel.cred import PRIV_FILE_OWNER
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.ipc.mqueue import PRIO_MAX, MqFile, MqNotify
from lxemu.kernel.ipc.space import ipc_space
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.vfs import fcntl as f
from lxemu.kernel.vfs.file import File
from lxemu.kernel.vfs.name import Name
from lxemu.kernel.vfs.ops import open_name
from lxemu.kernel.vfs.vnode import S_ISVTX, VSOCK
from syscalls.abi import (
    BAD_SIGNAL,
    Fd,
    In,
    InBuf,
    Mode,
    MqAttr,
    OpenFlags,
    Out,
    OutBuf,
    Path,
    Size,
    Timespec,
    UInt,
    syscall,
)
from syscalls.records.ipc import MqEvent
from syscalls.signum import FROM_LX, TO_LX

LX_O_NONBLOCK: Final = 0o4000
LX_SIGEV_SIGNAL, LX_SIGEV_NONE, LX_SIGEV_THREAD = 0, 1, 2
LX_NSIG: Final = 64
#: A thread's cookie, and what its last byte says when it comes back (linux/mqueue.h).
_COOKIE: Final = 32
_WOKENUP: Final = b"\1"
_REMOVED: Final = b"\2"
_MODE_BITS: Final = 0o7777


def _check_name(name: bytes) -> None:
    """Refuse what is no name of a file (lookup_noperm_common). EACCES, ENAMETOOLONG."""
    if not name:
        raise KernelError(Errno.ENOENT)
    if name in (b".", b"..") or b"/" in name:
        raise KernelError(Errno.EACCES)
    if len(name) > f.MAXNAMELEN:
        raise KernelError(Errno.ENAMETOOLONG)


@syscall
def mq_open(lwp: Lwp, name: Path, oflag: OpenFlags, mode: Mode, attr: In[MqAttr]) -> int:
    """Open or make a queue (mq_open(2)).

    EFAULT, EMFILE, EACCES, ENAMETOOLONG, ENOENT, EEXIST, EINVAL, ENOSPC, EOVERFLOW.
    """
    proc = lwp.proc
    # The 32-bit form of the call looks at the attributes only when it may need them.
    unread = lwp.brand.bits == 32 and not oflag & f.O_CREAT
    limits = None if unread else attr.get_or_none()
    _check_name(name)
    proc.files.lowest()
    root = ipc_space(proc).mqueue.root()
    root.fs.signo_out = TO_LX.__getitem__
    created = name not in root.entries
    if created:
        if not oflag & f.O_CREAT:
            raise KernelError(Errno.ENOENT)
        wanted = (limits.maxmsg, limits.msgsize) if limits is not None else None
        bits = mode & _MODE_BITS & ~proc.fs.umask
        queue = root.make(name, bits, proc.cred, proc, wanted)
    else:
        if oflag & f.O_CREAT and oflag & f.O_EXCL:
            raise KernelError(Errno.EEXIST)
        if oflag & f.O_ACCMODE == f.O_ACCMODE:
            raise KernelError(Errno.EINVAL)
        queue = root.lookup(name)
    flags = oflag & (f.O_ACCMODE | f.O_NONBLOCK)
    file = open_name(Name(None, b"/" + name, queue), flags, proc.cred, created=created)
    return proc.files.alloc(file, 0, cloexec=True)


@syscall
def mq_unlink(lwp: Lwp, name: Path) -> int:
    """Remove the name of a queue (mq_unlink(2)): EACCES, ENAMETOOLONG, ENOENT, EPERM."""
    _check_name(name)
    root = ipc_space(lwp.proc).mqueue.root()
    queue = root.lookup(name)
    cred = lwp.proc.cred
    root.access(3, cred)
    owner = cred.fsuid in (queue.uid, root.uid)
    if root.mode & S_ISVTX and not owner and not cred.crhas(PRIV_FILE_OWNER):
        raise KernelError(Errno.EPERM)
    root.remove(name)
    return 0


def _queue(lwp: Lwp, fd: int, mode: int = 0) -> tuple[File, MqFile]:
    """Return the queue that a descriptor names, open for *mode* (FREAD, FWRITE). EBADF."""
    file = lwp.proc.files.get(fd)
    vnode = file.vnode
    if not isinstance(vnode, MqFile) or file.flags & f.O_PATH or file.flags & mode != mode:
        raise KernelError(Errno.EBADF)
    return file, vnode


def _deadline(lwp: Lwp, timeout: In[Timespec]) -> int | None:
    """Return an absolute real time as hrtime, None for none. EFAULT, EINVAL."""
    wanted = timeout.get_or_none()
    if wanted is None:
        return None
    clock = lwp.machine.clock
    return wanted.ns() - int(clock.realtime()) + int(clock.hrtime())


@syscall
def mq_timedsend(
    lwp: Lwp,
    mqdes: Fd,
    msg_ptr: InBuf,
    msg_len: Size,
    msg_prio: UInt,
    abs_timeout: In[Timespec],
) -> int:
    """Send a message (mq_timedsend(2)): EINVAL, EBADF, EMSGSIZE, EAGAIN, ETIMEDOUT, EINTR."""
    deadline = _deadline(lwp, abs_timeout)
    if msg_prio >= PRIO_MAX:
        raise KernelError(Errno.EINVAL)
    file, queue = _queue(lwp, mqdes, f.FWRITE)
    if msg_len > queue.msgsize:
        raise KernelError(Errno.EMSGSIZE)
    queue.send(file, lwp.as_.copyin(msg_ptr, msg_len), msg_prio, deadline)
    return 0


@syscall
def mq_timedreceive(
    lwp: Lwp,
    mqdes: Fd,
    msg_ptr: OutBuf,
    msg_len: Size,
    msg_prio: Out[UInt],
    abs_timeout: In[Timespec],
) -> int:
    """Take the first message (mq_timedreceive(2)): EBADF, EMSGSIZE, EAGAIN, ETIMEDOUT, EINTR."""
    deadline = _deadline(lwp, abs_timeout)
    file, queue = _queue(lwp, mqdes, f.FREAD)
    if msg_len < queue.msgsize:
        raise KernelError(Errno.EMSGSIZE)
    message = queue.receive(file, deadline)
    msg_prio.put_if(message.prio)
    lwp.as_.copyout(msg_ptr, message.text)
    return len(message.text)


class _Thread:
    """Delivers a notification through the socket that a library's helper thread reads from."""

    __slots__ = ("file",)

    def __init__(self, file: File) -> None:
        self.file = file.hold()

    def __call__(self, cookie: bytes, *, removed: bool) -> None:
        """Send the cookie back, marked, and let the socket go."""
        vnode: Any = self.file.vnode
        vnode.deliver(cookie[:-1] + (_REMOVED if removed else _WOKENUP), 0)
        self.file.rele()


def _notification(lwp: Lwp, event: MqEvent) -> MqNotify:
    """Return what a sigevent asks for. EINVAL, EFAULT, EBADF, ENOTSOCK."""
    if event.notify == LX_SIGEV_NONE:
        return MqNotify(lwp.proc)
    if event.notify == LX_SIGEV_SIGNAL:
        if not 0 <= event.signo <= LX_NSIG or FROM_LX[event.signo] == BAD_SIGNAL:
            raise KernelError(Errno.EINVAL)
        return MqNotify(lwp.proc, FROM_LX[event.signo], event.value)
    if event.notify != LX_SIGEV_THREAD:
        raise KernelError(Errno.EINVAL)
    cookie = lwp.as_.copyin(event.value, _COOKIE)
    file = lwp.proc.files.get(event.signo)
    if file.vnode.type != VSOCK:
        raise KernelError(Errno.ENOTSOCK)
    from syscalls.netlink.socket import NetlinkSonode

    if not isinstance(file.vnode, NetlinkSonode):
        raise KernelError(Errno.EINVAL)
    return MqNotify(lwp.proc, cookie=cookie, deliver=_Thread(file))


@syscall
def mq_notify(lwp: Lwp, mqdes: Fd, sevp: In[MqEvent]) -> int:
    """Ask to be told of the next message, or no longer (mq_notify(2)): EINVAL, EBADF, EBUSY."""
    event = sevp.get_or_none()
    wanted = _notification(lwp, event) if event is not None else None
    try:
        _, queue = _queue(lwp, mqdes)
        if wanted is not None:
            queue.ask(wanted)
    except KernelError:
        if wanted is not None and isinstance(wanted.deliver, _Thread):
            wanted.deliver.file.rele()
        raise
    if wanted is None and queue.notify is not None and queue.notify.owner is lwp.proc:
        queue.unnotify()
    return 0


@syscall
def mq_getsetattr(lwp: Lwp, mqdes: Fd, newattr: In[MqAttr], oldattr: Out[MqAttr]) -> int:
    """Read the attributes and set the flags (mq_getsetattr(2)): EFAULT, EINVAL, EBADF."""
    new = newattr.get_or_none()
    if new is not None and new.flags & ~LX_O_NONBLOCK:
        raise KernelError(Errno.EINVAL)
    file, queue = _queue(lwp, mqdes)
    flags = LX_O_NONBLOCK if file.flags & f.O_NONBLOCK else 0
    before = MqAttr(flags, queue.maxmsg, queue.msgsize, len(queue.messages))
    if new is not None:
        on = f.O_NONBLOCK if new.flags & LX_O_NONBLOCK else 0
        file.flags = file.flags & ~f.O_NONBLOCK | on
    oldattr.put_if(before)
    return 0
