"""Waiting for descriptors: poll(2), ppoll(2), select(2), pselect(2)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.poll import (
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLNVAL,
    POLLOUT,
    POLLPRI,
    POLLRDBAND,
    POLLRDNORM,
    POLLWRBAND,
    Pollhead,
    poll_sleep,
)
from lxemu.kernel.vfs.fcntl import O_PATH
from lxemu.kernel.vfs.fdtable import FdTable
from syscalls.abi import (
    POLL_WRNORM,
    FdSet,
    In,
    InOut,
    Int,
    Pollfd,
    Ptr,
    SelectArgs,
    SigSet,
    Sigset6,
    Size,
    Timespec,
    Timeval,
    UInt,
    pointer,
    syscall,
)
from syscalls.abi.xlat_poll import POLL_EVENTS

_MS = 1_000_000
_NS = 1_000_000_000
_US = 1_000_000
_SIGSET_SIZE = 8
LX_STICKY_TIMEOUTS = 0x4000000  # personality(2): a time-out is not written back

#: struct pollfd in both models: fd, events, revents.
_POLLFD = struct.Struct("<iHH")
_REVENTS = 6


# -- what poll and select share -------------------------------------------------------------------


def set_mask(lwp: Lwp, sigmask: In[SigSet], sigsetsize: int) -> None:
    """Put the signal mask of ppoll, pselect6 and epoll_pwait in force (set_user_sigmask)."""
    if not sigmask:
        return
    if sigsetsize != _SIGSET_SIZE:
        raise KernelError(Errno.EINVAL)
    lwp.set_tmp_sigmask(sigmask.get())


def restore_mask(lwp: Lwp) -> None:
    """End `set_mask` after a call that no signal ended: what the mask let through stays pending."""
    if lwp.tmpmask_set:
        lwp.tmpmask_set = False
        lwp.set_sigmask(lwp.oldmask)


def _deadline(lwp: Lwp, timeout: int | None) -> int | None:
    """Return the hrtime that a relative timeout (ns) ends at; 0 to only look, None for no end."""
    if not timeout:
        return timeout
    hrtime: int = lwp.machine.clock.hrtime()
    return hrtime + timeout - lwp.call_spent()


@contextmanager
def _remaining(lwp: Lwp, timeout: InOut[Timespec], deadline: int | None) -> Iterator[None]:
    """Write back the time that is left, whatever the call ends with (poll_select_finish)."""
    try:
        yield
    finally:
        if timeout and not lwp.proc.personality & LX_STICKY_TIMEOUTS:
            with suppress(KernelError):
                timeout.put(Timespec.of(_left(lwp, deadline)))


def _left(lwp: Lwp, deadline: int | None) -> int:
    return max(0, deadline - lwp.machine.clock.hrtime()) if deadline else 0


# -- poll -----------------------------------------------------------------------------------------


@syscall(restart=False)
def poll(lwp: Lwp, fds: InOut[Pollfd], nfds: UInt, timeout: Int) -> int:
    """Wait for one of several descriptors; the timeout is in milliseconds, negative for none."""
    return _poll(lwp, fds.addr, nfds, _deadline(lwp, None if timeout < 0 else timeout * _MS))


@syscall(restart=False)
def ppoll(
    lwp: Lwp,
    fds: InOut[Pollfd],
    nfds: UInt,
    tmo_p: InOut[Timespec],
    sigmask: In[SigSet],
    sigsetsize: Size,
) -> int:
    """Wait for one of several descriptors, with another signal mask and a finer timeout."""
    deadline = _deadline(lwp, tmo_p.get().ns() if tmo_p else None)
    set_mask(lwp, sigmask, sigsetsize)
    with _remaining(lwp, tmo_p, deadline):
        count = _poll(lwp, fds.addr, nfds, deadline)
    restore_mask(lwp)
    return count


def _poll(lwp: Lwp, addr: int, nfds: int, deadline: int | None) -> int:
    files = lwp.proc.files
    if nfds > files.limit:
        raise KernelError(Errno.EINVAL)
    as_ = lwp.as_
    from_lx, to_lx = POLL_EVENTS.from_lx, POLL_EVENTS.to_lx
    data = as_.copyin(addr, nfds * _POLLFD.size)
    wanted = [(fd, from_lx[events]) for fd, events, _ in _POLLFD.iter_unpack(data)]
    while True:
        ready, heads = _scan(files, wanted)
        count = len(ready) - ready.count(0)
        if count or deadline == 0:
            break
        if not poll_sleep(heads, deadline):
            deadline = 0
    at = addr + _REVENTS
    for events in ready:
        as_.store_u16(at, to_lx[events])
        at += _POLLFD.size
    return count


def _scan(
    files: FdTable, wanted: list[tuple[int, int]]
) -> tuple[list[int], list[tuple[Pollhead, int]]]:
    """Poll each (fd, events) once: the ready events of each, and where to wait for them."""
    ready: list[int] = []
    heads: list[tuple[Pollhead, int]] = []
    for fd, events in wanted:
        if fd < 0:
            ready.append(0)
            continue
        try:
            file = files.get(fd)
        except KernelError:
            ready.append(POLLNVAL)
            continue
        if file.flags & O_PATH:
            ready.append(POLLNVAL)
            continue
        asked = events | POLLERR | POLLHUP
        if events & POLL_WRNORM:
            asked |= POLLOUT
        found, head = file.vnode.poll(file, asked)
        if found & POLLOUT and events & POLL_WRNORM:
            found |= POLL_WRNORM
        ready.append(found & (events | POLLERR | POLLHUP))
        if head is not None:
            heads.append((head, asked))
    return ready, heads


# -- select ---------------------------------------------------------------------------------------

#: Descriptors beyond the size of the table are not looked at; Linux's tables have at least this.
_TABLE_MIN = 256
_IN_SET = POLLIN | POLLRDNORM | POLLRDBAND | POLLHUP | POLLERR | POLLNVAL
_OUT_SET = POLLOUT | POLLWRBAND | POLLERR | POLLNVAL
_EX_SET = POLLPRI | POLLNVAL


@syscall(restart=False)
def select(
    lwp: Lwp,
    nfds: Int,
    readfds: FdSet,
    writefds: FdSet,
    exceptfds: FdSet,
    timeout: InOut[Timeval],
) -> int:
    """Wait for one of three sets of descriptors; the time left is written back."""
    deadline = _deadline(lwp, _timeval(timeout.get()) if timeout else None)
    try:
        return _select(lwp, nfds, (readfds, writefds, exceptfds), deadline)
    finally:
        if timeout and not lwp.proc.personality & LX_STICKY_TIMEOUTS:
            with suppress(KernelError):
                timeout.put(Timeval.of(_left(lwp, deadline)))


def _timeval(time: Timeval) -> int:
    """Return ns of a timeval whose microseconds may be over a second. EINVAL when negative."""
    if time.usec < 0 or time.sec + time.usec // _US < 0:
        raise KernelError(Errno.EINVAL)
    return time.sec * _NS + time.usec * 1000


@syscall(restart=False)
def old_select(lwp: Lwp, arg: In[SelectArgs]) -> int:
    """Wait for one of three sets of descriptors: i386's first select, its arguments in memory."""
    nfds, readfds, writefds, exceptfds, timeout = arg.get()
    as_, word = lwp.as_, lwp.brand.bits // 8
    return select(
        lwp,
        nfds,
        FdSet(as_, readfds, word),
        FdSet(as_, writefds, word),
        FdSet(as_, exceptfds, word),
        pointer(InOut, lwp, Timeval, timeout),
    )


@syscall(restart=False)
def pselect6(
    lwp: Lwp,
    nfds: Int,
    readfds: FdSet,
    writefds: FdSet,
    exceptfds: FdSet,
    timeout: InOut[Timespec],
    sig: Ptr,
) -> int:
    """Wait for one of three sets of descriptors with another signal mask."""
    mask_at, mask_size = (0, 0)
    if sig:
        address: In[Sigset6] = pointer(In, lwp, Sigset6, sig)
        mask_at, mask_size = address.get()
    deadline = _deadline(lwp, timeout.get().ns() if timeout else None)
    set_mask(lwp, pointer(In, lwp, SigSet, mask_at), mask_size)
    with _remaining(lwp, timeout, deadline):
        count = _select(lwp, nfds, (readfds, writefds, exceptfds), deadline)
    restore_mask(lwp)
    return count


def _select(lwp: Lwp, nfds: int, sets: tuple[FdSet, ...], deadline: int | None) -> int:
    if nfds < 0:
        raise KernelError(Errno.EINVAL)
    files = lwp.proc.files
    nfds = min(nfds, _table_size(files))
    asked = [fdset.get(nfds) for fdset in sets]
    wanted = list(_select_events(asked))
    for fd, _ in wanted:
        files.get(fd)
    while True:
        ready, heads = _scan(files, wanted)
        found = _select_bits(asked, wanted, ready)
        count = sum(bits.bit_count() for bits in found)
        if count or deadline == 0:
            break
        if not poll_sleep(heads, deadline):
            deadline = 0
    for fdset, bits in zip(sets, found, strict=True):
        fdset.put(nfds, bits)
    return count


def _table_size(files: FdTable) -> int:
    highest = max((fd for fd, _ in files.items()), default=0)
    return max(_TABLE_MIN, 1 << highest.bit_length())


def _select_events(asked: list[int]) -> Iterator[tuple[int, int]]:
    """Yield (fd, events) of every descriptor in one of the three bit sets."""
    readers, writers, others = asked
    every = readers | writers | others
    while every:
        fd = (every & -every).bit_length() - 1
        every &= every - 1
        events = 0
        if readers >> fd & 1:
            events |= _IN_SET
        if writers >> fd & 1:
            events |= _OUT_SET
        if others >> fd & 1:
            events |= _EX_SET
        yield fd, events


def _select_bits(
    asked: list[int], wanted: list[tuple[int, int]], ready: list[int]
) -> tuple[int, int, int]:
    """Turn the ready events back into three bit sets."""
    readers = writers = others = 0
    for (fd, _), events in zip(wanted, ready, strict=True):
        if not events:
            continue
        bit = 1 << fd
        if events & _IN_SET:
            readers |= bit
        if events & _OUT_SET:
            writers |= bit
        if events & _EX_SET:
            others |= bit
    return readers & asked[0], writers & asked[1], others & asked[2]
