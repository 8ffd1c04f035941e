"""Moving data between descriptors: sendfile(2), copy_file_range(2), splice(2) and its kin."""

from __future__ import annotations

from collections.abc import Callable

from lxemu.kernel.anonfs import AnonVnode
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.vfs.fcntl import (
    FREAD,
    FWRITE,
    MAXOFFSET,
    O_APPEND,
    O_NONBLOCK,
    SEEK_CUR,
    SEEK_SET,
)
from lxemu.kernel.vfs.fifofs import FifoVnode
from lxemu.kernel.vfs.file import File
from lxemu.kernel.vfs.vnode import VBLK, VDIR, VREG, VSOCK, Vnode
from syscalls.abi import (
    MAX_RW,
    Fd,
    In,
    InOut,
    Iovec,
    S64Mem,
    Size,
    SpliceFlags,
    UInt,
    ULong,
    syscall,
)
from syscalls.handlers.paths import open_file
from syscalls.handlers.transfer import (
    CHUNK,
    check_mode,
    read_into,
    user_vector,
    within_limits,
    write_from,
)

LX_SPLICE_F_NONBLOCK = 2
#: splice moves at most this much at a time, as a pipe holds.
_PIPE = 1 << 16


def _copy(
    count: int, read: Callable[[int, int], bytes], write: Callable[[bytes], int], chunk: int = CHUNK
) -> int:
    """Move up to *count* bytes; `read(n, done)` gives, `write(data)` takes. Short at the first end.

    An error after some bytes is not reported: they are.
    """
    done = 0
    while done < count:
        try:
            data = read(min(chunk, count - done), done)
            if not data:
                break
            put = write(data)
        except KernelError:
            if done:
                break
            raise
        done += put
        if put < len(data):
            break
    return done


def _writer(lwp: Lwp, file: File) -> Callable[[bytes], int]:
    def write(data: bytes) -> int:
        if not file.stream:
            data = within_limits(lwp, file, None, data)
        return file.write(data)

    return write


def _position(file: File) -> int:
    """Return the position of a file; that of one of the host's is kept there."""
    return file.seek(0, SEEK_CUR) if file.vnode.own_position else file.offset


def _move_to(file: File, pos: int) -> None:
    if file.vnode.own_position:
        file.seek(pos, SEEK_SET)
    else:
        file.offset = pos


# -- sendfile -------------------------------------------------------------------------------------


@syscall
def sendfile(lwp: Lwp, out_fd: Fd, in_fd: Fd, offset: InOut[S64Mem], count: Size) -> int:
    """Copy from a file to a descriptor; with an offset the file's position stays."""
    start = offset.get() if offset else None
    source = open_file(lwp, in_fd)
    check_mode(source, FREAD, start)
    if start is not None and start < 0:
        raise KernelError(Errno.EINVAL)
    target = open_file(lwp, out_fd)
    check_mode(target, FWRITE, None)
    if source.vnode.type not in (VREG, VBLK) or target.flags & O_APPEND:
        raise KernelError(Errno.EINVAL)
    pos = _position(source) if start is None else start

    def read(size: int, done: int) -> bytes:
        return source.pread(size, pos + done)

    done = _copy(min(count, MAX_RW), read, _writer(lwp, target))
    if start is None:
        _move_to(source, pos + done)
    else:
        offset.put(pos + done)
    return done


# -- copy_file_range ------------------------------------------------------------------------------


@syscall
def copy_file_range(
    lwp: Lwp,
    fd_in: Fd,
    off_in: InOut[S64Mem],
    fd_out: Fd,
    off_out: InOut[S64Mem],
    len_: Size,
    flags: UInt,
) -> int:
    """Copy a range from one file to another."""
    source, target = open_file(lwp, fd_in), open_file(lwp, fd_out)
    pos_in = off_in.get() if off_in else _position(source)
    pos_out = off_out.get() if off_out else _position(target)
    if flags:
        raise KernelError(Errno.EINVAL)
    _check_copy(source, target, pos_in, pos_out, len_)
    count = min(len_, MAX_RW)
    size = source.vnode.size()
    count = max(0, min(count, size - pos_in))
    if source.vnode is target.vnode and pos_in < pos_out + count and pos_out < pos_in + count:
        raise KernelError(Errno.EINVAL)
    state = pos_out

    def write(data: bytes) -> int:
        nonlocal state
        put = target.pwrite(within_limits(lwp, target, state, data), state)
        state += put
        return put

    done = _copy(count, lambda size, done: source.pread(size, pos_in + done), write)
    if off_in:
        off_in.put(pos_in + done)
    else:
        _move_to(source, pos_in + done)
    if off_out:
        off_out.put(pos_out + done)
    else:
        _move_to(target, pos_out + done)
    return done


def _check_copy(source: File, target: File, pos_in: int, pos_out: int, count: int) -> None:
    """Check two files and ranges in the order of generic_copy_file_checks."""
    types = source.vnode.type, target.vnode.type
    if VDIR in types:
        raise KernelError(Errno.EISDIR)
    if types != (VREG, VREG):
        raise KernelError(Errno.EINVAL)
    if not source.flags & FREAD or not target.flags & FWRITE or target.flags & O_APPEND:
        raise KernelError(Errno.EBADF)
    if pos_in < 0 or pos_out < 0 or max(pos_in, pos_out) + count > MAXOFFSET:
        raise KernelError(Errno.EOVERFLOW)


# -- splice ---------------------------------------------------------------------------------------


@syscall
def splice(
    lwp: Lwp,
    fd_in: Fd,
    off_in: InOut[S64Mem],
    fd_out: Fd,
    off_out: InOut[S64Mem],
    len_: Size,
    flags: SpliceFlags,
) -> int:
    """Move data between a pipe and a descriptor. Bytes are copied, never pages."""
    if not len_:
        return 0
    source, target = open_file(lwp, fd_in), open_file(lwp, fd_out)
    if (isinstance(source.vnode, FifoVnode) and off_in) or (
        isinstance(target.vnode, FifoVnode) and off_out
    ):
        raise KernelError(Errno.ESPIPE)
    pos_in = off_in.get() if off_in else None
    pos_out = off_out.get() if off_out else None
    if not source.flags & FREAD or not target.flags & FWRITE:
        raise KernelError(Errno.EBADF)
    _check_splice(source, target, pos_in, pos_out)
    nonblock = flags & LX_SPLICE_F_NONBLOCK != 0
    done = _splice(lwp, source, target, pos_in, pos_out, min(len_, MAX_RW), nonblock=nonblock)
    if pos_in is not None:
        off_in.put(pos_in + done)
    if pos_out is not None:
        off_out.put(pos_out + done)
    return done


def _check_splice(source: File, target: File, pos_in: int | None, pos_out: int | None) -> None:
    pipes = isinstance(source.vnode, FifoVnode), isinstance(target.vnode, FifoVnode)
    if not any(pipes) or source.vnode is target.vnode:
        raise KernelError(Errno.EINVAL)
    if isinstance(source.vnode, AnonVnode) or isinstance(target.vnode, AnonVnode):
        # Counters, timers and queues have no stream of bytes to move.
        raise KernelError(Errno.EINVAL)
    if not pipes[1]:
        if target.flags & O_APPEND or target.vnode.type == VDIR:
            raise KernelError(Errno.EINVAL)
        if pos_out is not None and target.stream and not target.vnode.seek_check():
            raise KernelError(Errno.EINVAL)
    if not pipes[0]:
        if source.vnode.type == VDIR:
            raise KernelError(Errno.EINVAL)
        if pos_in is not None and source.stream and not source.vnode.seek_check():
            raise KernelError(Errno.EINVAL)
    if (pos_in is not None and pos_in < 0) or (pos_out is not None and pos_out < 0):
        raise KernelError(Errno.EINVAL)


def _splice(
    lwp: Lwp,
    source: File,
    target: File,
    pos_in: int | None,
    pos_out: int | None,
    count: int,
    *,
    nonblock: bool,
) -> int:
    """Move one pipeful. What is read from a pipe is always written, waiting for room if need be."""
    if isinstance(target.vnode, FifoVnode):
        count = min(count, _room(target, nonblock=nonblock))
    with _Nonblocking(source, nonblock and _heeds_nonblock(source.vnode)):
        size = min(count, _PIPE)
        data = source.read(size) if pos_in is None else source.pread(size, pos_in)
    if not data:
        return 0
    if pos_out is not None:
        return target.pwrite(within_limits(lwp, target, pos_out, data), pos_out)
    return _writer(lwp, target)(data)


def _heeds_nonblock(vnode: Vnode) -> bool:
    """Say whether SPLICE_F_NONBLOCK counts for a source: pipes, and sockets but those of TCP."""
    return isinstance(vnode, FifoVnode) or (
        vnode.type == VSOCK and not getattr(vnode, "internet", True)
    )


def _room(target: File, *, nonblock: bool) -> int:
    """Wait until a pipe has room and return how much; EAGAIN when it may not wait, EPIPE, EINTR."""
    fifo = target.vnode
    assert isinstance(fifo, FifoVnode)
    while len(fifo.bufs) >= fifo.slots and fifo.readers:
        if nonblock or target.flags & O_NONBLOCK:
            raise KernelError(Errno.EAGAIN)
        fifo.cv_write.wait_sig()
    return max(1, fifo.slots - len(fifo.bufs)) * 4096


class _Nonblocking:
    """An open file that does not wait, for the length of one read."""

    __slots__ = ("file", "flags", "on")

    def __init__(self, file: File, on: bool) -> None:
        self.file = file
        self.on = on
        self.flags = file.flags

    def __enter__(self) -> None:
        if self.on:
            self.file.flags |= O_NONBLOCK

    def __exit__(self, *_exc: object) -> None:
        if self.on:
            self.file.flags = self.flags


@syscall
def tee(lwp: Lwp, fd_in: Fd, fd_out: Fd, len_: Size, flags: SpliceFlags) -> int:
    """Copy from one pipe to another, leaving the data in the first."""
    if not len_:
        return 0
    source, target = open_file(lwp, fd_in), open_file(lwp, fd_out)
    if not source.flags & FREAD or not target.flags & FWRITE:
        raise KernelError(Errno.EBADF)
    fifo = source.vnode
    if (
        not isinstance(fifo, FifoVnode)
        or not isinstance(target.vnode, FifoVnode)
        or fifo is target.vnode
    ):
        raise KernelError(Errno.EINVAL)
    nonblock = flags & LX_SPLICE_F_NONBLOCK != 0
    while not fifo.bufs:
        if not fifo.writers:
            return 0
        if nonblock or source.flags & O_NONBLOCK:
            raise KernelError(Errno.EAGAIN)
        fifo.cv_read.wait_sig()
    room = _room(target, nonblock=nonblock)
    data = b"".join(fifo.bufs)[fifo.head :][: min(len_, room, MAX_RW)]
    return target.write(data)


def _cut(vector: list[tuple[int, int]], room: int) -> list[tuple[int, int]]:
    kept = []
    for base, size in vector:
        kept.append((base, min(size, room)))
        room -= kept[-1][1]
    return kept


@syscall
def vmsplice(lwp: Lwp, fd: Fd, iov: In[Iovec], nr_segs: ULong, flags: SpliceFlags) -> int:
    """Move memory into a pipe, or a pipe into memory. Bytes are copied, never pages."""
    file = open_file(lwp, fd)
    if not file.flags & (FREAD | FWRITE):
        raise KernelError(Errno.EBADF)
    vector = user_vector(iov, nr_segs)
    if not any(size for _, size in vector):
        return 0
    if not isinstance(file.vnode, FifoVnode):
        raise KernelError(Errno.EBADF)
    nonblock = flags & LX_SPLICE_F_NONBLOCK != 0
    with _Nonblocking(file, nonblock):
        if file.flags & FWRITE:
            # No more than fits: a pipe that has been filled is left to its reader.
            return write_from(lwp, file, _cut(vector, _room(file, nonblock=nonblock)), None)
        return read_into(lwp, file, vector, None)
