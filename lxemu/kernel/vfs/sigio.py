"""Signals that tell of input and output: the owner of an open file (SIGPOLL; fcntl(2), O_ASYNC).

A pollhead's wakeup is the news that a signal passes on, so every object that can be polled can
signal, and one that is never asked to pays nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import curlwp
from lxemu.kernel.poll import (
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLPRI,
    POLLRDBAND,
    POLLRDNORM,
    POLLWRBAND,
    POLLWRNORM,
    FdPollhead,
    Pollhead,
    PollHook,
)
from lxemu.kernel.session import pgfind
from lxemu.kernel.sig import sigqueue_full, sigtolwp, sigtoproc
from lxemu.kernel.signal import (
    POLL_ERR,
    POLL_HUP,
    POLL_IN,
    POLL_MSG,
    POLL_OUT,
    POLL_PRI,
    SI_KERNEL,
    SI_POLL,
    SIGBUS,
    SIGCHLD,
    SIGFPE,
    SIGILL,
    SIGPOLL,
    SIGSEGV,
    SIGSYS,
    SIGTRAP,
    SIGURG,
    SigInfo,
)
from lxemu.kernel.vfs.fcntl import FREAD, FWRITE, O_ASYNC

if TYPE_CHECKING:
    from lxemu.kernel.cred import Cred
    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.proc import Proc
    from lxemu.kernel.session import Pgrp
    from lxemu.kernel.vfs.file import File

# Kinds of owner.
OWNER_LWP = 0
OWNER_PROC = 1
OWNER_PGRP = 2

#: si_band of each si_code: the events that a poll would have found.
_BAND = {
    POLL_IN: POLLIN | POLLRDNORM,
    POLL_OUT: POLLOUT | POLLWRNORM | POLLWRBAND,
    POLL_MSG: POLLIN | POLLRDNORM,
    POLL_ERR: POLLERR,
    POLL_PRI: POLLPRI | POLLRDBAND,
    POLL_HUP: POLLHUP | POLLERR,
}
_OWN_CODES = (SIGILL, SIGFPE, SIGSEGV, SIGBUS, SIGTRAP, SIGCHLD, SIGSYS)


class Owner:
    """Who is told of an open file: a process, lwp or group, set by one with `uid` and `euid`."""

    __slots__ = ("euid", "kind", "number", "target", "uid")

    def __init__(self, kind: int, number: int, target: Proc | Lwp | Pgrp, cred: Cred) -> None:
        self.kind = kind
        self.number = number
        self.target = target
        self.uid = cred.ruid
        self.euid = cred.euid

    def alive(self) -> bool:
        """Return whether there is still somebody to tell."""
        target: Any = self.target
        if self.kind == OWNER_PGRP:
            return bool(target.members)
        if self.kind == OWNER_PROC:
            return target.machine.procs.get(self.number) is target
        return target.machine.lwp_by_tid.get(self.number) is target

    def procs(self) -> list[Proc]:
        """Return the processes that would be told."""
        target: Any = self.target
        if self.kind == OWNER_PGRP:
            return list(target.members)
        return [target] if self.kind == OWNER_PROC else [target.proc]


def set_owner(caller: Proc, file: File, kind: int, number: int) -> None:
    """Make process, lwp or group `number` the owner of `file`, 0 for nobody. Raises ESRCH."""
    if not number:
        file.async_owner = None
        return
    machine = caller.machine
    target: Proc | Lwp | Pgrp | None
    if kind == OWNER_PGRP:
        target = pgfind(caller, number)
    elif kind == OWNER_PROC:
        target = machine.procs.get(number)
    else:
        target = machine.lwp_by_tid.get(number)
    if target is None:
        raise KernelError(Errno.ESRCH)
    file.async_owner = Owner(kind, number, target, caller.cred)


class AsyncHook(PollHook):
    """The standing waiter of a file with O_ASYNC; `fd` is where the flag was set."""

    __slots__ = ("fd", "file", "head")

    signals = True

    def __init__(self, file: File, fd: int, head: Pollhead) -> None:
        super().__init__(self._woken)
        self.file = file
        self.fd = fd
        self.head = head
        head.add(self, self._wanted())

    def _wanted(self) -> int:
        flags = self.file.flags
        return (POLLIN if flags & FREAD else 0) | (POLLOUT if flags & FWRITE else 0)

    def _woken(self, events: int) -> None:
        if isinstance(self.head, FdPollhead):
            # The host tells levels: watch again when a transfer has found the end of this one.
            self.head.remove(self)
            self.head.rearm.append(lambda: self.head.add(self, self._wanted()))
        flags = self.file.flags
        if events & (POLLIN | POLLRDNORM | POLLHUP) and flags & FREAD:
            send_sigio(self.file, self.fd, POLL_IN)
        elif events & (POLLOUT | POLLERR) and flags & FWRITE:
            send_sigio(self.file, self.fd, POLL_OUT)
        elif events & (POLLPRI | POLLRDBAND):
            send_sigio(self.file, self.fd, POLL_PRI)

    def end(self) -> None:
        """Stop telling."""
        self.head.remove(self)
        if isinstance(self.head, FdPollhead):
            self.head.rearm.clear()


def set_async(file: File, fd: int, on: bool) -> bool:
    """Set or clear O_ASYNC; False if the file never has news, and then only the flag changes."""
    hook = file.async_hook
    if not on:
        file.flags &= ~O_ASYNC
        if hook is not None:
            hook.end()
            file.async_hook = None
        return True
    head = file.poll(0)[1]
    file.flags |= O_ASYNC
    if head is None:
        return False
    owner = file.vnode.async_owner() if file.async_owner is None else None
    if owner is not None:
        set_owner(curlwp().proc, file, *owner)
    if hook is None:
        file.async_hook = AsyncHook(file, fd, head)
    else:
        hook.fd = fd
    return True


def send_sigio(file: File, fd: int, code: int) -> None:
    """Tell the owner of `file` (POLL_* code): its chosen signal with siginfo, else a bare SIGPOLL.

    A chosen signal that cannot be queued is replaced by SIGPOLL.
    """
    owner = file.async_owner
    if owner is None or not owner.alive():
        return
    for proc in owner.procs():
        if not _permitted(owner, proc.cred):
            continue
        lwp = owner.target if owner.kind == OWNER_LWP else None
        info = SigInfo(SIGPOLL, SI_KERNEL)
        if file.async_sig:
            # Where positive codes of a signal have meanings of their own, say only that it is I/O.
            shown = SI_POLL if file.async_sig in _OWN_CODES else code
            chosen = SigInfo(file.async_sig, shown, band=_BAND[code], fd=fd)
            if not sigqueue_full(proc, chosen):
                info = chosen
        if lwp is not None:
            sigtolwp(lwp, info.signo, info)
        else:
            sigtoproc(proc, info.signo, info)


def send_sigurg(file: File) -> None:
    """Tell the owner of a socket that urgent data have come (SIGURG), O_ASYNC or not."""
    owner = file.async_owner
    if owner is None or not owner.alive():
        return
    for proc in owner.procs():
        if _permitted(owner, proc.cred):
            sigtoproc(proc, SIGURG, SigInfo(SIGURG, SI_KERNEL))


def _permitted(owner: Owner, cred: Cred) -> bool:
    return owner.euid == 0 or {owner.euid, owner.uid} & {cred.suid, cred.ruid} != set()
