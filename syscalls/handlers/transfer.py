"""Moving bytes between open files and user memory: what all read and write calls share.

A transfer that meets a bad page counts the bytes before it (regular files) or fails as a whole and
leaves the data where they were (streams), as Linux does. Long transfers go in pieces of `CHUNK`, so
that a guest's idea of a large buffer is never the size of a Python object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.poll import POLLERR, POLLHUP, POLLIN, poll_sleep
from lxemu.kernel.rctl import RLIM_INFINITY, RLIMIT_FSIZE
from lxemu.kernel.sig import sigtolwp
from lxemu.kernel.signal import SIGXFSZ
from lxemu.kernel.vfs.fcntl import FIONREAD, FWRITE, O_APPEND, O_LARGEFILE, O_NONBLOCK
from lxemu.kernel.vfs.vnode import VCHR
from syscalls.abi import IOV_MAX, MAX_RW

if TYPE_CHECKING:
    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.vfs.file import File
    from syscalls.abi import In
    from syscalls.records.file import Iovec

#: Bytes moved at a time.
CHUNK = 1 << 20
#: How much of a stream's buffer is checked beforehand: what a pipe holds.
STREAM = 1 << 16
#: Addresses of user space have fewer bits than this.
USER_BITS = 47
#: Largest size of a file opened without O_LARGEFILE.
MAX_NON_LFS = 0x7FFFFFFF


def user_vector(iov: In[Iovec], count: int) -> list[tuple[int, int]]:
    """Copy in an iovec array; EINVAL, EFAULT for what lies outside user space (import_iovec)."""
    if not 0 <= count <= IOV_MAX:
        raise KernelError(Errno.EINVAL)
    layout = iov.codec.struct
    data = iov.as_.copyin(iov.addr, count * layout.size) if count else b""
    vector = list(layout.iter_unpack(data))
    most = 1 << layout.size * 4 - 1
    total = 0
    for _, size in vector:
        if size >= most:
            raise KernelError(Errno.EINVAL)
        total += size
    for base, size in vector:
        if base + size >> USER_BITS:
            raise KernelError(Errno.EFAULT)
    return vector if total <= MAX_RW else _cut(vector)


def _cut(vector: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Cut a vector to what one call may move."""
    room = MAX_RW
    kept = []
    for base, size in vector:
        part = min(size, room)
        kept.append((base, part))
        room -= part
    return kept


def check_mode(file: File, mode: int, pos: int | None) -> None:
    """Check what comes before the buffer: a position at all (ESPIPE), then the mode (EBADF)."""
    if pos is not None and file.stream and not file.vnode.seek_check():
        raise KernelError(Errno.ESPIPE)
    if not file.flags & mode:
        raise KernelError(Errno.EBADF)


def read_into(lwp: Lwp, file: File, vector: list[tuple[int, int]], pos: int | None) -> int:
    """Fill the buffers of *vector* in order; stop at a short read."""
    total = sum(size for _, size in vector)
    if file.stream:
        total = min(total, _stream_room(lwp, file, vector, min(total, STREAM)))
    done = 0
    while True:
        want = min(CHUNK, total - done)
        try:
            data = file.read(want) if pos is None else file.pread(want, pos + done)
        except KernelError:
            if done:
                return done
            raise
        put = scatter(lwp, vector, done, data)
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
            return _good_part(file, room)
    return MAX_RW


def _good_part(file: File, room: int) -> int:
    """Return how much to read when only the first *room* bytes of the buffer are good.

    What a stream holds is all that is stored, so nothing is wrong until it holds more than that. A
    stream that does not know how much it holds gives, and what it gives is lost (eventfd(2)).
    """
    while True:
        try:
            held = file.ioctl(FIONREAD)
        except KernelError:
            return MAX_RW
        if held > room:
            raise KernelError(Errno.EFAULT)
        if held:
            return room
        ready, head = file.poll(POLLIN | POLLHUP | POLLERR)
        if ready or head is None or file.flags & O_NONBLOCK:
            return MAX_RW
        poll_sleep([(head, POLLIN)], None)


def scatter(lwp: Lwp, vector: list[tuple[int, int]], skip: int, data: bytes) -> int:
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


def write_from(lwp: Lwp, file: File, vector: list[tuple[int, int]], pos: int | None) -> int:
    """Write the buffers of *vector* in order; stop at a short write or a bad page."""
    total = sum(size for _, size in vector)
    if not total and not file.stream:
        return 0
    done = 0
    while True:
        want = min(CHUNK, total - done)
        data = gather(lwp, vector, done, want)
        bad = len(data) < want
        if bad and (not data or (file.stream and file.vnode.type != VCHR)):
            if done:
                return done
            raise KernelError(Errno.EFAULT)
        try:
            if not file.stream:
                data = within_limits(lwp, file, None if pos is None else pos + done, data)
            put = file.write(data) if pos is None else file.pwrite(data, pos + done)
        except KernelError:
            if done:
                return done
            raise
        done += put
        if put < want or done >= total:
            return done


def gather(lwp: Lwp, vector: list[tuple[int, int]], skip: int, want: int) -> bytes:
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


def within_limits(lwp: Lwp, file: File, pos: int | None, data: bytes) -> bytes:
    """Cut *data* to the limits on the size of files: RLIMIT_FSIZE and files opened as small.

    EFBIG when there is no room at all, with SIGXFSZ for the resource limit (generic_write_checks).
    """
    limit = lwp.proc.rctls.soft(RLIMIT_FSIZE)
    flags = file.flags
    if (limit == RLIM_INFINITY and flags & O_LARGEFILE) or not data or not flags & FWRITE:
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
