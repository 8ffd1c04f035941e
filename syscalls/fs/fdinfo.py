"""What /proc/PID/fdinfo tells of event descriptors beside position and flags (proc(5)).

Sources: the show_fdinfo functions of fs/eventfd.c, eventpoll.c, signalfd.c, timerfd.c, pidfs.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.epollfs import EventQueue
from lxemu.kernel.eventfdfs import EventFd
from lxemu.kernel.inotifyfs import EventFile
from lxemu.kernel.procdesc import ProcDesc
from lxemu.kernel.signalfdfs import SignalFd
from lxemu.kernel.timerfdfs import TimerFd
from syscalls.abi.xlat_poll import EPOLL_EVENTS
from syscalls.abi.xlat_proc import CLOCK
from syscalls.signum import sigset_to_lx

if TYPE_CHECKING:
    from lxemu.kernel.vfs.file import File

_NS = 1_000_000_000


def details(file: File) -> bytes:
    """Return the lines for the kind of object that `file` is; none for an ordinary file."""
    vnode = file.vnode
    if isinstance(vnode, EventFd):
        return _eventfd(vnode).encode()
    if isinstance(vnode, TimerFd):
        return _timerfd(vnode).encode()
    if isinstance(vnode, SignalFd):
        return b"sigmask:\t%016x\n" % sigset_to_lx(vnode.mask)
    if isinstance(vnode, ProcDesc):
        pid = -1 if vnode.reaped() else (vnode.lwp.tid if vnode.lwp else vnode.proc.pid)
        return b"Pid:\t%d\nNSpid:\t%d\n" % (pid, pid)
    if isinstance(vnode, EventQueue):
        return "".join(_interests(vnode)).encode()
    if isinstance(vnode, EventFile):
        return "".join(_watches(vnode)).encode()
    return b""


def _eventfd(vnode: EventFd) -> str:
    return (
        f"eventfd-count: {vnode.count:16x}\neventfd-id: {vnode.ident}\n"
        f"eventfd-semaphore: {int(vnode.semaphore)}\n"
    )


def _timerfd(vnode: TimerFd) -> str:
    left, interval = vnode.get()
    return (
        f"clockid: {CLOCK.to_lx[vnode.clockid]}\nticks: {vnode.ticks}\n"
        f"settime flags: 0{vnode.set_flags:o}\n"
        f"it_value: ({left // _NS}, {left % _NS})\n"
        f"it_interval: ({interval // _NS}, {interval % _NS})\n"
    )


def _watches(queue: EventFile) -> list[str]:
    lines = []
    for wd, watch in queue.watches_of.items():
        attr = watch.vnode.getattr()
        lines.append(
            f"inotify wd:{wd:x} ino:{attr.nodeid:x} sdev:{attr.fsid & 0xFFFFFFFF:x} "
            f"mask:{watch.mask:x} ignored_mask:0 \n"
        )
    return lines


def _interests(queue: EventQueue) -> list[str]:
    lines = []
    for interest in queue.interests.values():
        attr = interest.file.vnode.getattr()
        events = EPOLL_EVENTS.to_lx[interest.events | interest.flags]
        lines.append(
            f"tfd: {interest.fd:8d} events: {events:8x} data: {interest.data:16x} "
            f" pos:{interest.file.offset} ino:{attr.nodeid:x} sdev:{attr.fsid & 0xFFFFFFFF:x}\n"
        )
    return lines
