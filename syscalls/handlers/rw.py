"""Reading and writing: read(2), readv(2), pread(2), lseek(2) and their kin.

A transfer that meets a bad page counts the bytes before it (regular files) or fails as a whole and
leaves the data where they were (streams), as Linux does. Long transfers go in pieces of `CHUNK`, so that
a guest's idea of a large buffer is never the size of a Python object.
"""

from __future__ import annotations

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.poll import POLLERR, POLLHUP, POLLIN, POLLOUT
from lxemu.kernel.rctl import RLIM_INFINITY, RLIMIT_FSIZE
from lxemu.kernel.sig import sigtolwp
from lxemu.kernel.signal import SIGXFSZ
from lxemu.kernel.vfs.fcntl import FIONREAD, FREAD, FWRITE, O_APPEND, O_LARGEFILE
from lxemu.kernel.vfs.file import File
from lxemu.kernel.vfs.vnode import VCHR
from syscalls.abi import (
    MAX_RW,
    Fd,
    In,
    InBuf,
    Iovec,
    Off,
    Off64,
    OffPair,
    Out,
    OutBuf,
    RwfFlags,
    S64Mem,
    Size,
    UInt,
    ULong,
    Whence,
    get_iovec,
    syscall,
)
from syscalls.handlers.open_ import MAX_NON_LFS
from syscalls.handlers.paths import open_file

#: Bytes moved at a time.
CHUNK = 1 << 20
#: How much of a stream's buffer is checked beforehand: what a pipe holds.
_STREAM = 1 << 16
_USER_BITS = 47

LX_RWF_DSYNC = 0x02
LX_RWF_SYNC = 0x04
LX_RWF_NOWAIT = 0x08
LX_RWF_APPEND = 0x10
LX_RWF_NOAPPEND = 0x20
LX_RWF_SUPPORTED = 0x3F


# -- one buffer -----------------------------------------------------------------------------------


@syscall
def read(lwp: Lwp, fd: Fd, buf: OutBuf, count: Size) -> int:
    """Read at the position of a descriptor: read(2)."""
    file = lwp.proc.files.get(fd)
    if file.stream or count > CHUNK or buf >> _USER_BITS:
        return _read_slow(lwp, file, buf, count)
    data = file.read(count)
    try:
        lwp.as_.copyout(buf, data)
    except KernelError:
        done = _put_prefix(lwp, buf, data)
        file.offset -= len(data) - done
        return done
    return len(data)


@syscall
def write(lwp: Lwp, fd: Fd, buf: InBuf, count: Size) -> int:
    """Write at the position of a descriptor: write(2)."""
    file = lwp.proc.files.get(fd)
    if count <= CHUNK:
        try:
            data: bytes = lwp.as_.copyin(buf, count)
        except KernelError:
            return _write_slow(lwp, file, buf, count)
        if file.stream:
            return file.write(data)
        return file.write(_within_limits(lwp, file, None, data))
    return _write_slow(lwp, file, buf, count)


@syscall
def pread64(lwp: Lwp, fd: Fd, buf: OutBuf, count: Size, pos: Off64) -> int:
    """Read at a given position: pread(2)."""
    if pos < 0:
        raise KernelError(Errno.EINVAL)
    file = lwp.proc.files.get(fd)
    if file.stream or count > CHUNK or buf >> _USER_BITS:
        return _read_slow(lwp, file, buf, count, pos)
    data = file.pread(count, pos)
    try:
        lwp.as_.copyout(buf, data)
    except KernelError:
        return _put_prefix(lwp, buf, data)
    return len(data)


@syscall
def pwrite64(lwp: Lwp, fd: Fd, buf: InBuf, count: Size, pos: Off64) -> int:
    """Write at a given position: pwrite(2)."""
    if pos < 0:
        raise KernelError(Errno.EINVAL)
    return _write_slow(lwp, lwp.proc.files.get(fd), buf, count, pos)


def _read_slow(lwp: Lwp, file: File, buf: int, count: int, pos: int | None = None) -> int:
    _check_mode(file, FREAD, pos)
    if buf >> _USER_BITS or buf + count >> _USER_BITS:
        raise KernelError(Errno.EFAULT)
    return _read_into(lwp, file, [(buf, min(count, MAX_RW))], pos)


def _write_slow(lwp: Lwp, file: File, buf: int, count: int, pos: int | None = None) -> int:
    _check_mode(file, FWRITE, pos)
    if buf >> _USER_BITS or buf + count >> _USER_BITS:
        raise KernelError(Errno.EFAULT)
    return _write_from(lwp, file, [(buf, min(count, MAX_RW))], pos)


def _check_mode(file: File, mode: int, pos: int | None) -> None:
    """Check what comes before the buffer: a position at all (ESPIPE), then the mode (EBADF)."""
    if pos is not None and file.stream and not file.vnode.seek_check():
        raise KernelError(Errno.ESPIPE)
    if not file.flags & mode:
        raise KernelError(Errno.EBADF)


def _put_prefix(lwp: Lwp, buf: int, data: bytes) -> int:
    """Store what fits before the bad page; EFAULT when nothing does."""
    room = lwp.as_.writable_prefix(buf, len(data))
    if not room:
        raise KernelError(Errno.EFAULT)
    lwp.as_.copyout(buf, data[:room])
    return room


# -- vectors --------------------------------------------------------------------------------------


@syscall
def readv(lwp: Lwp, fd: Fd, iov: In[Iovec], iovcnt: ULong) -> int:
    """Read into several buffers: readv(2)."""
    return _readv(lwp, lwp.proc.files.get(fd), iov, iovcnt, None)


@syscall
def writev(lwp: Lwp, fd: Fd, iov: In[Iovec], iovcnt: ULong) -> int:
    """Write from several buffers: writev(2)."""
    return _writev(lwp, lwp.proc.files.get(fd), iov, iovcnt, None)


@syscall
def preadv(lwp: Lwp, fd: Fd, iov: In[Iovec], iovcnt: ULong, pos: OffPair) -> int:
    """Read into several buffers from a given position: preadv(2)."""
    if pos < 0:
        raise KernelError(Errno.EINVAL)
    return _readv(lwp, lwp.proc.files.get(fd), iov, iovcnt, pos)


@syscall
def pwritev(lwp: Lwp, fd: Fd, iov: In[Iovec], iovcnt: ULong, pos: OffPair) -> int:
    """Write from several buffers at a given position: pwritev(2)."""
    if pos < 0:
        raise KernelError(Errno.EINVAL)
    return _writev(lwp, lwp.proc.files.get(fd), iov, iovcnt, pos)


@syscall
def preadv2(
    lwp: Lwp, fd: Fd, iov: In[Iovec], iovcnt: ULong, pos: OffPair, flags: RwfFlags
) -> int:
    """Read into several buffers, position -1 meaning the current one: preadv2(2)."""
    if pos < -1:
        raise KernelError(Errno.EINVAL)
    file = lwp.proc.files.get(fd)
    at = None if pos == -1 else pos
    return _readv(lwp, file, iov, iovcnt, at, flags)


@syscall
def pwritev2(
    lwp: Lwp, fd: Fd, iov: In[Iovec], iovcnt: ULong, pos: OffPair, flags: RwfFlags
) -> int:
    """Write from several buffers, position -1 meaning the current one: pwritev2(2)."""
    if pos < -1:
        raise KernelError(Errno.EINVAL)
    file = lwp.proc.files.get(fd)
    at = None if pos == -1 else pos
    return _writev(lwp, file, iov, iovcnt, at, flags)


def _readv(
    lwp: Lwp, file: File, iov: In[Iovec], count: int, pos: int | None, flags: int = 0
) -> int:
    _check_mode(file, FREAD, pos)
    vector = _vector(iov, count)
    if flags:
        _check_rwf(file, flags, POLLIN)
    return _read_into(lwp, file, vector, pos)


def _writev(
    lwp: Lwp, file: File, iov: In[Iovec], count: int, pos: int | None, flags: int = 0
) -> int:
    _check_mode(file, FWRITE, pos)
    vector = _vector(iov, count)
    if not flags:
        return _write_from(lwp, file, vector, pos)
    _check_rwf(file, flags, POLLOUT)
    if flags & LX_RWF_APPEND and not file.stream:
        before = file.offset
        done = _write_from(lwp, file, vector, file.vnode.size())
        file.offset = before if pos is not None else file.vnode.size()
    else:
        done = _write_from(lwp, file, vector, pos)
    if flags & (LX_RWF_DSYNC | LX_RWF_SYNC) and done and not file.stream:
        file.vnode.fsync()
    return done


def _vector(iov: In[Iovec], count: int) -> list[tuple[int, int]]:
    vector = get_iovec(iov, count)
    for base, size in vector:
        if base + size >> _USER_BITS:
            raise KernelError(Errno.EFAULT)
    return vector


def _check_rwf(file: File, flags: int, events: int) -> None:
    """Check RWF_ flags (kiocb_set_rw_flags); RWF_NOWAIT on a stream that is not ready is EAGAIN."""
    if flags & ~LX_RWF_SUPPORTED:
        raise KernelError(Errno.EOPNOTSUPP)
    both = LX_RWF_APPEND | LX_RWF_NOAPPEND
    if flags & both == both:
        raise KernelError(Errno.EINVAL)
    if flags & LX_RWF_NOWAIT and file.stream:
        ready, _ = file.poll(events | POLLERR | POLLHUP)
        if not ready:
            raise KernelError(Errno.EAGAIN)


# -- the transfer ---------------------------------------------------------------------------------


def _read_into(lwp: Lwp, file: File, vector: list[tuple[int, int]], pos: int | None) -> int:
    """Fill the buffers of *vector* in order; stop at a short read."""
    total = sum(size for _, size in vector)
    if file.stream:
        total = min(total, _stream_room(lwp, file, vector, min(total, _STREAM)))
    done = 0
    while True:
        want = min(CHUNK, total - done)
        try:
            data = file.read(want) if pos is None else file.pread(want, pos + done)
        except KernelError:
            if done:
                return done
            raise
        put = _scatter(lwp, vector, done, data)
        done += put
        if put < len(data):
            if pos is None and not file.stream:
                file.offset -= len(data) - put
            if not done:
                raise KernelError(Errno.EFAULT)
            return done
        if put < want or done >= total or (file.stream and file.vnode.type != VCHR):
            return done


def _stream_room(lwp: Lwp, file: File, vector: list[tuple[int, int]], want: int) -> int:
    """Return how much may be read from a stream without losing data to a bad page.

    EFAULT when the stream holds more than the good part of the buffer.
    """
    room = 0
    for base, size in vector:
        if room >= want:
            break
        part = min(size, want - room)
        good = lwp.as_.writable_prefix(base, part)
        room += good
        if good < part:
            if not room or file.vnode.type == VCHR:
                raise KernelError(Errno.EFAULT)
            if file.ioctl(FIONREAD) > room:
                raise KernelError(Errno.EFAULT)
            return room
    return MAX_RW


def _scatter(lwp: Lwp, vector: list[tuple[int, int]], skip: int, data: bytes) -> int:
    """Store *data* in the buffers from byte *skip* of them on; return how much was stored."""
    as_ = lwp.as_
    done, end = 0, len(data)
    for base, size in vector:
        if skip >= size:
            skip -= size
            continue
        part = data[done : done + size - skip] if done or end > size - skip else data
        try:
            as_.copyout(base + skip, part)
        except KernelError:
            room = as_.writable_prefix(base + skip, len(part))
            as_.copyout(base + skip, part[:room])
            return done + room
        done += len(part)
        skip = 0
        if done == end:
            break
    return done


def _write_from(lwp: Lwp, file: File, vector: list[tuple[int, int]], pos: int | None) -> int:
    """Write the buffers of *vector* in order; stop at a short write or a bad page."""
    total = sum(size for _, size in vector)
    done = 0
    while True:
        want = min(CHUNK, total - done)
        data = _gather(lwp, vector, done, want)
        bad = len(data) < want
        if bad and (not data or (file.stream and file.vnode.type != VCHR)):
            if done:
                return done
            raise KernelError(Errno.EFAULT)
        try:
            if not file.stream:
                data = _within_limits(lwp, file, None if pos is None else pos + done, data)
            put = file.write(data) if pos is None else file.pwrite(data, pos + done)
        except KernelError:
            if done:
                return done
            raise
        done += put
        if put < want or done >= total:
            return done


def _gather(lwp: Lwp, vector: list[tuple[int, int]], skip: int, want: int) -> bytes:
    """Copy in *want* bytes from byte *skip* of the buffers on; fewer when there is a bad page."""
    as_ = lwp.as_
    parts: list[bytes] = []
    for base, size in vector:
        if skip >= size:
            skip -= size
            continue
        part = min(size - skip, want)
        try:
            parts.append(as_.copyin(base + skip, part))
        except KernelError:
            good = as_.readable_prefix(base + skip, part)
            parts.append(as_.copyin(base + skip, good))
            break
        want -= part
        skip = 0
        if not want:
            break
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _within_limits(lwp: Lwp, file: File, pos: int | None, data: bytes) -> bytes:
    """Cut *data* to the limits on the size of files: RLIMIT_FSIZE and files opened as small.

    EFBIG when there is no room at all, with SIGXFSZ for the resource limit (generic_write_checks).
    """
    limit = lwp.proc.rctls.soft(RLIMIT_FSIZE)
    flags = file.flags
    if limit == RLIM_INFINITY and flags & O_LARGEFILE or not data or not flags & FWRITE:
        return data
    if flags & O_APPEND:
        pos = file.vnode.size()
    elif pos is None:
        pos = file.offset
    check_limit(lwp, pos, limit)
    if not flags & O_LARGEFILE:
        limit = min(limit, MAX_NON_LFS)
        if pos >= limit:
            raise KernelError(Errno.EFBIG)
    return data[: limit - pos]


def check_limit(lwp: Lwp, pos: int, limit: int) -> None:
    """Send SIGXFSZ and raise EFBIG when position *pos* is at or over the file size limit."""
    if pos >= limit:
        sigtolwp(lwp, SIGXFSZ, lwp.proc.siginfo(SIGXFSZ))
        raise KernelError(Errno.EFBIG)


# -- position -------------------------------------------------------------------------------------

_SEEK_MAX = 4
_OFF32_MAX = 0x7FFFFFFF


@syscall
def lseek(lwp: Lwp, fd: Fd, offset: Off, whence: Whence) -> int:
    """Move the position: lseek(2)."""
    pos = _seek(lwp, fd, offset, whence)
    if pos > _OFF32_MAX and lwp.brand.bits == 32:
        raise KernelError(Errno.EOVERFLOW)
    return pos


@syscall
def llseek(
    lwp: Lwp, fd: Fd, offset_high: ULong, offset_low: ULong, result: Out[S64Mem], whence: UInt
) -> int:
    """Move the position of a large file: _llseek(2)."""
    offset = offset_high << 32 | offset_low
    if offset >> 63:
        offset -= 1 << 64
    result.put(_seek(lwp, fd, offset, whence))
    return 0


def _seek(lwp: Lwp, fd: int, offset: int, whence: int) -> int:
    file = open_file(lwp, fd)
    if whence > _SEEK_MAX:
        raise KernelError(Errno.EINVAL)
    return file.seek(offset, whence)
