"""Event queues: epoll_create(2), epoll_ctl(2), epoll_wait(2)."""

from __future__ import annotations

from lxemu.kernel.anonfs import anon_files
from lxemu.kernel.epollfs import EventQueue
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.poll import POLLIN, POLLOUT
from lxemu.kernel.vfs.fcntl import O_CLOEXEC, O_PATH
from lxemu.kernel.vfs.hostio import HostStream
from lxemu.kernel.vfs.specfs import Driver, RandomDriver, SpecVnode
from lxemu.kernel.vfs.vnode import VCHR, VDIR, VLNK, VREG, Vnode
from syscalls.abi import (
    POLL_WRNORM,
    Epoll,
    EpollCreateFlags,
    EpollEvent,
    Fd,
    In,
    Int,
    Out,
    SigSet,
    Size,
    Timespec,
    syscall,
)
from syscalls.handlers.paths import open_file
from syscalls.handlers.poll import restore_mask, set_mask
from syscalls.handlers.transfer import USER_BITS

_MS = 1_000_000
#: EP_MAX_EVENTS: INT_MAX divided by the size of an event.
_MAX_EVENTS = 0x7FFFFFFF // 12
#: What may be asked together with EPOLLEXCLUSIVE (EPOLLEXCLUSIVE_OK_BITS); ERR and HUP come always.
_EXCLUSIVE_OK = POLLIN | POLLOUT | 0x18 | Epoll.WAKEUP | Epoll.ET | Epoll.EXCLUSIVE


@syscall
def epoll_create(lwp: Lwp, size: Int) -> int:
    """Make an event queue; the size only has to be positive."""
    if size <= 0:
        raise KernelError(Errno.EINVAL)
    return _create(lwp, 0)


@syscall
def epoll_create1(lwp: Lwp, flags: EpollCreateFlags) -> int:
    """Make an event queue, with flags."""
    return _create(lwp, flags)


def _create(lwp: Lwp, flags: int) -> int:
    proc = lwp.proc
    proc.files.lowest()
    anon = anon_files(lwp.machine)
    file = anon.open(EventQueue(anon.objects), 0, proc.cred)
    return proc.files.alloc(file, 0, flags & O_CLOEXEC != 0)


@syscall
def epoll_ctl(lwp: Lwp, epfd: Fd, op: Int, fd: Fd, event: In[EpollEvent]) -> int:
    """Watch a descriptor, change what is watched, or stop."""
    record = EpollEvent(0, 0) if op == Epoll.CTL_DEL else event.get()
    files = lwp.proc.files
    queue_file, file = files.get(epfd), files.get(fd)
    if (queue_file.flags | file.flags) & O_PATH:
        raise KernelError(Errno.EBADF)
    if not _pollable(file.vnode):
        raise KernelError(Errno.EPERM)
    queue = queue_file.vnode
    if queue_file is file or not isinstance(queue, EventQueue):
        raise KernelError(Errno.EINVAL)
    events = record.events
    if events & Epoll.EXCLUSIVE and op != Epoll.CTL_DEL:
        nested = op == Epoll.CTL_ADD and isinstance(file.vnode, EventQueue)
        if op == Epoll.CTL_MOD or nested or events & ~_EXCLUSIVE_OK:
            raise KernelError(Errno.EINVAL)
    if events & POLL_WRNORM:
        events |= POLLOUT
    if op == Epoll.CTL_ADD:
        queue.watch(fd, file, events, record.data)
    elif op == Epoll.CTL_MOD:
        queue.change(fd, file, events, record.data)
    elif op == Epoll.CTL_DEL:
        queue.unwatch(fd, file)
    else:
        raise KernelError(Errno.EINVAL)
    return 0


def _pollable(vnode: Vnode) -> bool:
    """Return whether a file can be watched: no file on disk, no device always ready."""
    if isinstance(vnode, SpecVnode):
        driver = vnode.driver
        return isinstance(driver, RandomDriver) or type(driver).poll is not Driver.poll
    if isinstance(vnode, HostStream):
        return vnode.type != VCHR or vnode.is_tty()
    return vnode.pollable or vnode.type not in (VREG, VDIR, VLNK)


@syscall(restart=False)
def epoll_wait(lwp: Lwp, epfd: Fd, events: Out[EpollEvent], maxevents: Int, timeout: Int) -> int:
    """Wait for events; the timeout is in milliseconds, negative for none."""
    return _wait(lwp, epfd, events, maxevents, _deadline(lwp, timeout))


@syscall(restart=False)
def epoll_pwait(
    lwp: Lwp,
    epfd: Fd,
    events: Out[EpollEvent],
    maxevents: Int,
    timeout: Int,
    sigmask: In[SigSet],
    sigsetsize: Size,
) -> int:
    """Wait for events with another signal mask."""
    set_mask(lwp, sigmask, sigsetsize)
    count = _wait(lwp, epfd, events, maxevents, _deadline(lwp, timeout))
    restore_mask(lwp)
    return count


@syscall(restart=False)
def epoll_pwait2(
    lwp: Lwp,
    epfd: Fd,
    events: Out[EpollEvent],
    maxevents: Int,
    timeout: In[Timespec],
    sigmask: In[SigSet],
    sigsetsize: Size,
) -> int:
    """Wait for events with another signal mask and a timeout in nanoseconds."""
    deadline = None
    if timeout:
        left = timeout.get().ns()
        deadline = lwp.machine.clock.hrtime() + left if left else 0
    set_mask(lwp, sigmask, sigsetsize)
    count = _wait(lwp, epfd, events, maxevents, deadline)
    restore_mask(lwp)
    return count


def _deadline(lwp: Lwp, timeout: int) -> int | None:
    """Return the hrtime of a timeout in ms; 0 for "only look", None for no end."""
    if timeout < 0:
        return None
    hrtime: int = lwp.machine.clock.hrtime()
    return hrtime + timeout * _MS if timeout else 0


def _wait(
    lwp: Lwp, epfd: int, events: Out[EpollEvent], maxevents: int, deadline: int | None
) -> int:
    queue = open_file(lwp, epfd).vnode
    if not 0 < maxevents <= _MAX_EVENTS:
        raise KernelError(Errno.EINVAL)
    if events.addr >> USER_BITS:
        raise KernelError(Errno.EFAULT)
    if not isinstance(queue, EventQueue):
        raise KernelError(Errno.EINVAL)
    put_at = events.put_at
    count = 0

    def emit(ready: int, data: int, wanted: int) -> None:
        nonlocal count
        if ready & POLLOUT and wanted & POLL_WRNORM:
            ready |= POLL_WRNORM
        put_at(count, EpollEvent(ready, data))
        count += 1

    return queue.wait(maxevents, deadline, emit)
