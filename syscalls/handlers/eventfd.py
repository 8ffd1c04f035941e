"""Event counters: eventfd(2)."""

from __future__ import annotations

from lxemu.kernel.anonfs import anon_files
from lxemu.kernel.eventfdfs import EventFd
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.vfs.fcntl import O_CLOEXEC, O_NONBLOCK
from syscalls.abi import EventfdFlags, UInt, syscall

LX_EFD_SEMAPHORE = 1


@syscall
def eventfd(lwp: Lwp, initval: UInt) -> int:
    """Make an event counter."""
    return _eventfd(lwp, initval, 0)


@syscall
def eventfd2(lwp: Lwp, initval: UInt, flags: EventfdFlags) -> int:
    """Make an event counter, with flags."""
    return _eventfd(lwp, initval, flags)


def _eventfd(lwp: Lwp, initval: int, flags: int) -> int:
    proc = lwp.proc
    proc.files.lowest()
    anon = anon_files(lwp.machine)
    semaphore = flags & LX_EFD_SEMAPHORE != 0
    ident = anon.objects.next_node()
    counter = EventFd(anon.objects, initval, semaphore=semaphore, ident=ident)
    file = anon.open(counter, flags & O_NONBLOCK, proc.cred)
    return proc.files.alloc(file, 0, flags & O_CLOEXEC != 0)
