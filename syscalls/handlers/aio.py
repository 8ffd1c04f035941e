"""Asynchronous I/O: io_setup(2), io_submit(2), io_getevents(2), io_cancel(2), io_destroy(2).

As in Linux, a transfer that is not direct is done by io_submit itself (fs/aio.c); its result comes
as an event all the same.
"""

from __future__ import annotations

import struct
from typing import Final

from lxemu.kernel.aio import AioContext, PollRequest, requests_made
from lxemu.kernel.aio import Request as AioRequest
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.eventfdfs import EventFd
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.mm.as_ import As
from lxemu.kernel.mm.mman import MADV_DONTFORK, MAP_ANON, MAP_PRIVATE, PROT_READ, PROT_WRITE
from lxemu.kernel.poll import POLLERR, POLLHUP, POLLIN, POLLOUT
from lxemu.kernel.vfs.fcntl import FREAD, FWRITE
from lxemu.kernel.vfs.file import File
from lxemu.kernel.vfs.vnode import VBLK, VDIR, VREG
from syscalls.abi import In, Iovec, Long, Ptr, SigSet, Timespec, UInt, ULong, pointer, syscall
from syscalls.abi.iovec import MAX_RW
from syscalls.abi.xlat_file import RWF
from syscalls.abi.xlat_poll import POLL_EVENTS
from syscalls.handlers.paths import open_file
from syscalls.handlers.poll import restore_mask, set_mask
from syscalls.handlers.rw import LX_RWF_NOWAIT, check_rwf, write_vector
from syscalls.handlers.transfer import USER_BITS, read_into, user_vector

LX_IOCB_CMD_PREAD, LX_IOCB_CMD_PWRITE, LX_IOCB_CMD_FSYNC, LX_IOCB_CMD_FDSYNC = 0, 1, 2, 3
LX_IOCB_CMD_POLL, LX_IOCB_CMD_PREADV, LX_IOCB_CMD_PWRITEV = 5, 7, 8
LX_IOCB_FLAG_RESFD, LX_IOCB_FLAG_IOPRIO = 1, 2
_READS: Final = (LX_IOCB_CMD_PREAD, LX_IOCB_CMD_PREADV)
_VECTORS: Final = (LX_IOCB_CMD_PREADV, LX_IOCB_CMD_PWRITEV)

#: struct iocb: data, key, rw_flags, opcode, reqprio, fd, buf, nbytes, offset, reserved, flags, fd.
_IOCB: Final = struct.Struct("<QIIHhIQQqQII")
_EVENT: Final = struct.Struct("<QQqq")
_KEY_AT: Final = 8
_RING_HEAD: Final = 32
_PAGE: Final = 4096
_MAX_EVENTS: Final = 0x10000000 // _EVENT.size


class _Context(AioContext):
    """A context whose waits end with Linux's poll bits."""

    ring_size = 0

    def poll_result(self, ready: int) -> int:
        """Return the bits of poll(2)."""
        return POLL_EVENTS.to_lx[ready]


def _contexts(as_: As) -> dict[int, AioContext]:
    if as_.aio is None:
        as_.aio = {}
    return as_.aio


def _find(lwp: Lwp, ctx: int) -> AioContext:
    """Return a context of the address space. EINVAL."""
    found = (lwp.as_.aio or {}).get(ctx)
    if found is None:
        raise KernelError(Errno.EINVAL)
    return found


@syscall
def io_setup(lwp: Lwp, nr_events: UInt, ctxp: Ptr) -> int:
    """Make a context for `nr_events` requests (io_setup(2)): EFAULT, EINVAL, EAGAIN, ENOMEM.

    Its id is the address of a page that Linux keeps the events in; here the page stays empty, with
    no magic number, and libaio makes a call instead of looking there.
    """
    as_, wide = lwp.as_, lwp.brand.bits == 64
    if (as_.load_u64 if wide else as_.load_u32)(ctxp) or not nr_events:
        raise KernelError(Errno.EINVAL)
    if nr_events > _MAX_EVENTS:
        raise KernelError(Errno.EINVAL)
    zone = lwp.proc.zone
    if requests_made(zone) + nr_events > zone.aio_max_requests:
        raise KernelError(Errno.EAGAIN)
    # Twice as many and two more, in whole pages (aio_setup_ring).
    size = _RING_HEAD + _EVENT.size * (2 * max(nr_events, 4) + 2)
    size = -(-size // _PAGE) * _PAGE
    name = b"/[aio] (deleted)"
    ctx = as_.map(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, name=name)
    as_.advise(ctx, size, MADV_DONTFORK)
    context = _Context((size - _RING_HEAD) // _EVENT.size - 1, nr_events)
    context.ring_size = size
    _contexts(as_)[ctx] = context
    try:
        (as_.store_u64 if wide else as_.store_u32)(ctxp, ctx)
    except KernelError:
        _destroy(as_, ctx)
        raise
    return 0


def _destroy(as_: As, ctx: int) -> None:
    context = _contexts(as_).pop(ctx)
    context.destroy()
    if isinstance(context, _Context):
        as_.unmap(ctx, context.ring_size)


@syscall
def io_destroy(lwp: Lwp, ctx: ULong) -> int:
    """End a context (io_destroy(2)): EINVAL."""
    _find(lwp, ctx)
    _destroy(lwp.as_, ctx)
    return 0


# -- submitting -----------------------------------------------------------------------------------


@syscall
def io_submit(lwp: Lwp, ctx: ULong, nr: Long, iocbpp: Ptr) -> int:
    """Do requests; return how many, or the error of the first (io_submit(2)).

    EINVAL, EFAULT, EAGAIN when there is no room for the event, EBADF.
    """
    if nr < 0:
        raise KernelError(Errno.EINVAL)
    context = _find(lwp, ctx)
    wide = lwp.brand.bits == 64
    load = lwp.as_.load_u64 if wide else lwp.as_.load_u32
    done = 0
    try:
        for index in range(min(nr, context.capacity + 1)):
            _submit(lwp, context, load(iocbpp + index * (8 if wide else 4)))
            done += 1
    except KernelError:
        if not done:
            raise
    return done


def _submit(lwp: Lwp, context: AioContext, addr: int) -> None:
    fields = _IOCB.unpack(lwp.as_.copyin(addr, _IOCB.size))
    data, _, _, opcode, _, fd, buf, size, _, reserved, flags, resfd = fields
    limit = 1 << lwp.brand.bits
    if reserved or buf >= limit or size >= limit or size >> (lwp.brand.bits - 1) & 1:
        raise KernelError(Errno.EINVAL)
    context.check_room()
    file = open_file(lwp, fd - (fd >> 31 << 32))
    counter = _counter(lwp, resfd - (resfd >> 31 << 32)) if flags & LX_IOCB_FLAG_RESFD else None
    lwp.as_.store_u32(addr + _KEY_AT, 0)
    request = AioRequest(data, addr, counter)
    if opcode == LX_IOCB_CMD_POLL:
        _poll(context, request, file, fields)
    elif opcode in (LX_IOCB_CMD_FSYNC, LX_IOCB_CMD_FDSYNC):
        _fsync(lwp, context, request, file, fields)
    elif opcode in (LX_IOCB_CMD_PREAD, LX_IOCB_CMD_PWRITE, *_VECTORS):
        _transfer(lwp, context, request, file, fields)
    else:
        raise KernelError(Errno.EINVAL)


def _counter(lwp: Lwp, fd: int) -> EventFd:
    """Return the eventfd that is told of the event. EBADF, EINVAL."""
    vnode = open_file(lwp, fd).vnode
    if not isinstance(vnode, EventFd):
        raise KernelError(Errno.EINVAL)
    return vnode


def _transfer(
    lwp: Lwp, context: AioContext, request: AioRequest, file: File, fields: tuple[int, ...]
) -> None:
    """Read or write. What is wrong with the request is the call's error, the rest the event's."""
    _, _, rw_flags, opcode, reqprio, _, buf, size, offset, _, flags, _ = fields
    reading = opcode in _READS
    if flags & LX_IOCB_FLAG_IOPRIO and not 0 <= reqprio >> 13 <= 3:
        raise KernelError(Errno.EINVAL)
    rwf = RWF.from_lx[rw_flags]
    check_rwf(file, rwf & ~LX_RWF_NOWAIT, 0)
    if not file.flags & (FREAD if reading else FWRITE):
        raise KernelError(Errno.EBADF)
    if file.vnode.type == VDIR:
        raise KernelError(Errno.EINVAL)
    if opcode in _VECTORS:
        vector = user_vector(pointer(In, lwp, Iovec, buf), size)
    else:
        if buf >> USER_BITS:
            raise KernelError(Errno.EFAULT)
        vector = [(buf, min(size, MAX_RW))]
    if offset < 0 and not file.stream:
        raise KernelError(Errno.EINVAL)
    pos = None if file.stream else offset
    try:
        check_rwf(file, rwf, POLLIN if reading else POLLOUT)
        if reading:
            result = read_into(lwp, file, vector, pos)
        else:
            result = write_vector(lwp, file, vector, pos, rwf)
    except KernelError as error:
        result = -lwp.brand.errno_out[error.errno]
    context.complete(request, result)


def _fsync(
    lwp: Lwp, context: AioContext, request: AioRequest, file: File, fields: tuple[int, ...]
) -> None:
    _, _, rw_flags, _, _, _, buf, size, offset, _, _, _ = fields
    if buf or size or offset or rw_flags or file.vnode.type not in (VREG, VDIR, VBLK):
        raise KernelError(Errno.EINVAL)
    try:
        file.vnode.fsync()
        result = 0
    except KernelError as error:
        result = -lwp.brand.errno_out[error.errno]
    context.complete(request, result)


def _poll(context: AioContext, request: AioRequest, file: File, fields: tuple[int, ...]) -> None:
    _, _, rw_flags, _, _, _, buf, size, offset, _, _, _ = fields
    if buf > 0xFFFF or size or offset or rw_flags:
        raise KernelError(Errno.EINVAL)
    PollRequest(context, request, file, POLL_EVENTS.from_lx[buf] | POLLERR | POLLHUP)


@syscall
def io_cancel(lwp: Lwp, ctx: ULong, iocb: Ptr, result: Ptr) -> int:  # noqa: ARG001 (never stored)
    """Cancel a request (io_cancel(2)): EFAULT, EINVAL for one that is not under way, EINPROGRESS.

    A request that could be cancelled gives EINPROGRESS: its event is on its way.
    """
    if lwp.as_.load_u32(iocb + _KEY_AT):
        raise KernelError(Errno.EINVAL)
    context = _find(lwp, ctx)
    raise KernelError(Errno.EINPROGRESS if context.cancel(iocb) else Errno.EINVAL)


# -- reaping --------------------------------------------------------------------------------------


@syscall(restart=False)
def io_getevents(
    lwp: Lwp, ctx: ULong, min_nr: Long, nr: Long, events: Ptr, timeout: In[Timespec]
) -> int:
    """Take events, waiting for at least `min_nr` (io_getevents(2)): EFAULT, EINVAL, EINTR."""
    return _reap(lwp, ctx, min_nr, nr, events, timeout)


@syscall(restart=False)
def io_pgetevents(
    lwp: Lwp, ctx: ULong, min_nr: Long, nr: Long, events: Ptr, timeout: In[Timespec], usig: Ptr
) -> int:
    """Take events with another signal mask (io_pgetevents(2)): EFAULT, EINVAL, EINTR."""
    if timeout:
        timeout.get()
    if usig:
        wide = lwp.brand.bits == 64
        words = lwp.as_.copyin(usig, 16 if wide else 8)
        mask, size = struct.unpack("<QQ" if wide else "<II", words)
        set_mask(lwp, pointer(In, lwp, SigSet, mask), size)
    count = _reap(lwp, ctx, min_nr, nr, events, timeout)
    restore_mask(lwp)
    return count


def _reap(lwp: Lwp, ctx: int, low: int, high: int, events: int, timeout: In[Timespec]) -> int:
    deadline = None
    if timeout:
        given = timeout.get()
        left = given.sec * 1_000_000_000 + given.nsec
        deadline = lwp.machine.clock.hrtime() + left if left > 0 else 0
    context = _find(lwp, ctx)
    if not 0 <= low <= high:
        raise KernelError(Errno.EINVAL)
    taken = context.reap(low, high, deadline)
    for index, event in enumerate(taken):
        record = _EVENT.pack(event.data, event.obj, event.result, 0)
        try:
            lwp.as_.copyout(events + index * _EVENT.size, record)
        except KernelError:
            # What could not be stored is not lost.
            context.done.extendleft(reversed(taken[index:]))
            if index:
                return index
            raise
    return len(taken)
