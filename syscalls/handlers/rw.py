"""Reading, writing, positions, lengths, storage: read(2), pread(2), lseek(2), fsync(2).

The rows of the tables name these functions; the work of a transfer is in `transfer`.
"""

from __future__ import annotations

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.poll import POLLERR, POLLHUP, POLLIN, POLLOUT
from lxemu.kernel.rctl import RLIMIT_FSIZE
from lxemu.kernel.vfs import notify
from lxemu.kernel.vfs.attr import vn_truncate
from lxemu.kernel.vfs.fcntl import FREAD, FWRITE, MAXOFFSET, O_LARGEFILE
from lxemu.kernel.vfs.file import File
from lxemu.kernel.vfs.vnode import VBLK, VDIR, VFIFO, VLNK, VREG
from syscalls.abi import (
    AT_FDCWD,
    MAX_RW,
    Fadvice,
    FallocMode,
    Fd,
    In,
    InBuf,
    Iovec,
    Off,
    Off64,
    OffPair,
    Out,
    OutBuf,
    Path,
    RwfFlags,
    S64Mem,
    Size,
    SyncRangeFlags,
    UInt,
    ULong,
    Whence,
    syscall,
)
from syscalls.handlers.paths import locate, open_file
from syscalls.handlers.transfer import (
    CHUNK,
    MAX_NON_LFS,
    STREAM,
    USER_BITS,
    check_limit,
    check_mode,
    read_into,
    user_vector,
    within_limits,
    write_from,
)

LX_RWF_DSYNC = 0x02
LX_RWF_SYNC = 0x04
LX_RWF_NOWAIT = 0x08
LX_RWF_APPEND = 0x10
LX_RWF_NOAPPEND = 0x20
LX_RWF_SUPPORTED = 0x3F


# -- one buffer -----------------------------------------------------------------------------------


@syscall
def read(lwp: Lwp, fd: Fd, buf: OutBuf, count: Size) -> int:
    """Read at the position of a descriptor."""
    file = lwp.proc.files.get(fd)
    if file.stream:
        as_ = lwp.as_
        if 0 < count <= STREAM and as_.writable_prefix(buf, count) == count:
            data = file.read(count)
            as_.copyout(buf, data)
            return len(data)
        return _read_slow(lwp, file, buf, count)
    if count > CHUNK or buf >> USER_BITS:
        return _read_slow(lwp, file, buf, count)
    before = file.offset
    data = file.read(count)
    try:
        lwp.as_.copyout(buf, data)
    except KernelError:
        file.offset = before
        done = _put_prefix(lwp, buf, data)
        file.offset = before + done
        return done
    return len(data)


@syscall
def write(lwp: Lwp, fd: Fd, buf: InBuf, count: Size) -> int:
    """Write at the position of a descriptor."""
    file = lwp.proc.files.get(fd)
    if 0 < count <= CHUNK:
        try:
            data: bytes = lwp.as_.copyin(buf, count)
        except KernelError:
            return _write_slow(lwp, file, buf, count)
        if file.stream:
            return file.write(data)
        return file.write(within_limits(lwp, file, None, data))
    return _write_slow(lwp, file, buf, count)


@syscall
def pread64(lwp: Lwp, fd: Fd, buf: OutBuf, count: Size, pos: Off64) -> int:
    """Read at a given position: pread(2)."""
    if pos < 0:
        raise KernelError(Errno.EINVAL)
    file = lwp.proc.files.get(fd)
    if file.stream or count > CHUNK or buf >> USER_BITS:
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
    file = lwp.proc.files.get(fd)
    if file.stream or not 0 < count <= CHUNK:
        return _write_slow(lwp, file, buf, count, pos)
    try:
        data: bytes = lwp.as_.copyin(buf, count)
    except KernelError:
        return _write_slow(lwp, file, buf, count, pos)
    return file.pwrite(within_limits(lwp, file, pos, data), pos)


def _read_slow(lwp: Lwp, file: File, buf: int, count: int, pos: int | None = None) -> int:
    check_mode(file, FREAD, pos)
    if buf >> USER_BITS or buf + count >> USER_BITS:
        raise KernelError(Errno.EFAULT)
    return read_into(lwp, file, [(buf, min(count, MAX_RW))], pos)


def _write_slow(lwp: Lwp, file: File, buf: int, count: int, pos: int | None = None) -> int:
    check_mode(file, FWRITE, pos)
    if buf >> USER_BITS or buf + count >> USER_BITS:
        raise KernelError(Errno.EFAULT)
    return write_from(lwp, file, [(buf, min(count, MAX_RW))], pos)


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
    """Read into several buffers."""
    return _readv(lwp, lwp.proc.files.get(fd), iov, iovcnt, None)


@syscall
def writev(lwp: Lwp, fd: Fd, iov: In[Iovec], iovcnt: ULong) -> int:
    """Write from several buffers."""
    return _writev(lwp, lwp.proc.files.get(fd), iov, iovcnt, None)


@syscall
def preadv(lwp: Lwp, fd: Fd, iov: In[Iovec], iovcnt: ULong, pos: OffPair) -> int:
    """Read into several buffers from a given position."""
    if pos < 0:
        raise KernelError(Errno.EINVAL)
    return _readv(lwp, lwp.proc.files.get(fd), iov, iovcnt, pos)


@syscall
def pwritev(lwp: Lwp, fd: Fd, iov: In[Iovec], iovcnt: ULong, pos: OffPair) -> int:
    """Write from several buffers at a given position."""
    if pos < 0:
        raise KernelError(Errno.EINVAL)
    return _writev(lwp, lwp.proc.files.get(fd), iov, iovcnt, pos)


@syscall
def preadv2(lwp: Lwp, fd: Fd, iov: In[Iovec], iovcnt: ULong, pos: OffPair, flags: RwfFlags) -> int:
    """Read into several buffers, position -1 meaning the current one."""
    if pos < -1:
        raise KernelError(Errno.EINVAL)
    file = lwp.proc.files.get(fd)
    at = None if pos == -1 else pos
    return _readv(lwp, file, iov, iovcnt, at, flags)


@syscall
def pwritev2(lwp: Lwp, fd: Fd, iov: In[Iovec], iovcnt: ULong, pos: OffPair, flags: RwfFlags) -> int:
    """Write from several buffers, position -1 meaning the current one."""
    if pos < -1:
        raise KernelError(Errno.EINVAL)
    file = lwp.proc.files.get(fd)
    at = None if pos == -1 else pos
    return _writev(lwp, file, iov, iovcnt, at, flags)


def _readv(
    lwp: Lwp, file: File, iov: In[Iovec], count: int, pos: int | None, flags: int = 0
) -> int:
    check_mode(file, FREAD, pos)
    vector = user_vector(iov, count)
    if flags:
        check_rwf(file, flags, POLLIN)
    return read_into(lwp, file, vector, pos)


def _writev(
    lwp: Lwp, file: File, iov: In[Iovec], count: int, pos: int | None, flags: int = 0
) -> int:
    check_mode(file, FWRITE, pos)
    vector = user_vector(iov, count)
    if flags:
        check_rwf(file, flags, POLLOUT)
    return write_vector(lwp, file, vector, pos, flags)


def write_vector(
    lwp: Lwp, file: File, vector: list[tuple[int, int]], pos: int | None, flags: int
) -> int:
    """Write buffers with checked RWF_ flags."""
    if not flags:
        return write_from(lwp, file, vector, pos)
    if flags & LX_RWF_APPEND and not file.stream:
        before = file.offset
        done = write_from(lwp, file, vector, file.vnode.size())
        file.offset = before if pos is not None else file.vnode.size()
    else:
        done = write_from(lwp, file, vector, pos)
    if flags & (LX_RWF_DSYNC | LX_RWF_SYNC) and done and not file.stream:
        file.vnode.fsync()
    return done


def check_rwf(file: File, flags: int, events: int) -> None:
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


# -- position -------------------------------------------------------------------------------------

_SEEK_MAX = 4
_OFF32_MAX = 0x7FFFFFFF


@syscall
def lseek(lwp: Lwp, fd: Fd, offset: Off, whence: Whence) -> int:
    """Move the position."""
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


# -- length ---------------------------------------------------------------------------------------


@syscall
def truncate(lwp: Lwp, path: Path, length: Off64) -> int:
    """Set the length of a file."""
    return _truncate(lwp, path, length)


def _truncate(lwp: Lwp, path: bytes, length: int) -> int:
    if length < 0:
        raise KernelError(Errno.EINVAL)
    name = locate(lwp, AT_FDCWD, path)
    if name.vnode.type == VREG and length > name.vnode.size():
        check_limit(lwp, length - 1, lwp.proc.rctls.soft(RLIMIT_FSIZE))
    vn_truncate(name, length, lwp.proc.cred)
    return 0


@syscall
def ftruncate(lwp: Lwp, fd: Fd, length: Off64) -> int:
    """Set the length of an open file."""
    return _ftruncate(lwp, fd, length)


def _ftruncate(lwp: Lwp, fd: int, length: int) -> int:
    if length < 0:
        raise KernelError(Errno.EINVAL)
    file = open_file(lwp, fd)
    if file.vnode.type != VREG or not file.flags & FWRITE:
        raise KernelError(Errno.EINVAL)
    if length > MAX_NON_LFS and not file.flags & O_LARGEFILE:
        raise KernelError(Errno.EINVAL)
    if length > file.vnode.size():
        check_limit(lwp, length - 1, lwp.proc.rctls.soft(RLIMIT_FSIZE))
    file.truncate(length)
    return 0


LX_FALLOC_KEEP_SIZE = 0x01
LX_FALLOC_PUNCH_HOLE = 0x02
LX_FALLOC_COLLAPSE_RANGE = 0x08
LX_FALLOC_ZERO_RANGE = 0x10
LX_FALLOC_INSERT_RANGE = 0x20
LX_FALLOC_UNSHARE_RANGE = 0x40
_FALLOC_SHIFT = LX_FALLOC_COLLAPSE_RANGE | LX_FALLOC_INSERT_RANGE
#: Modes that exist; KEEP_SIZE goes with those of the first row, and must go with PUNCH_HOLE.
_FALLOC_MODES = frozenset((
    0, LX_FALLOC_ZERO_RANGE, LX_FALLOC_UNSHARE_RANGE, LX_FALLOC_PUNCH_HOLE,
    LX_FALLOC_COLLAPSE_RANGE, LX_FALLOC_INSERT_RANGE,
))  # fmt: skip


@syscall
def fallocate(lwp: Lwp, fd: Fd, mode: FallocMode, offset: Off64, length: Off64) -> int:
    """Get storage for a range of a file, free it, zero it, take it out or put one in."""
    file = open_file(lwp, fd)
    if offset < 0 or length <= 0:
        raise KernelError(Errno.EINVAL)
    keep = mode & LX_FALLOC_KEEP_SIZE != 0
    action = mode & ~LX_FALLOC_KEEP_SIZE
    if action not in _FALLOC_MODES or (keep and action & _FALLOC_SHIFT):
        raise KernelError(Errno.EOPNOTSUPP)
    if action == LX_FALLOC_PUNCH_HOLE and not keep:
        raise KernelError(Errno.EOPNOTSUPP)
    _check_fallocate(file)
    if offset + length > MAXOFFSET:
        raise KernelError(Errno.EFBIG)
    vnode = file.vnode
    end = offset + length
    if not keep and not action & _FALLOC_SHIFT and end > vnode.size():
        check_limit(lwp, end - 1, lwp.proc.rctls.soft(RLIMIT_FSIZE))
    if action == LX_FALLOC_PUNCH_HOLE:
        vnode.freesp(offset, length)
    elif action & _FALLOC_SHIFT:
        if action == LX_FALLOC_INSERT_RANGE:
            check_limit(lwp, vnode.size() + length - 1, lwp.proc.rctls.soft(RLIMIT_FSIZE))
        vnode.shift(offset, length, insert=action == LX_FALLOC_INSERT_RANGE)
    else:
        _check_space(file, length)
        if action == LX_FALLOC_ZERO_RANGE:
            vnode.zero(offset, length, keep_size=keep)
        else:
            vnode.allocate(offset, length, keep_size=keep)
    if notify.watching:
        notify.touched(file.name, notify.IN_MODIFY)
    return 0


def _check_space(file: File, length: int) -> None:
    """Refuse at once what can never fit, instead of filling the file system first. ENOSPC."""
    held = file.vnode.getattr().nblocks * 512
    totals = file.name.vnode.vfs.statvfs()
    if length - held > totals.bfree * totals.frsize:
        raise KernelError(Errno.ENOSPC)


def _check_fallocate(file: File) -> None:
    if not file.flags & FWRITE:
        raise KernelError(Errno.EBADF)
    vtype = file.vnode.type
    if vtype == VFIFO:
        raise KernelError(Errno.ESPIPE)
    if vtype == VDIR:
        raise KernelError(Errno.EISDIR)
    if vtype not in (VREG, VBLK):
        raise KernelError(Errno.ENODEV)


# -- storage --------------------------------------------------------------------------------------


@syscall
def fsync(lwp: Lwp, fd: Fd) -> int:
    """Write a file out."""
    open_file(lwp, fd).vnode.fsync()
    return 0


@syscall
def fdatasync(lwp: Lwp, fd: Fd) -> int:
    """Write the data of a file out."""
    open_file(lwp, fd).vnode.fsync()
    return 0


@syscall
def sync(lwp: Lwp) -> int:
    """Write every file system out."""
    for mount in lwp.proc.mounts:
        mount.vfs.sync()
    return 0


@syscall
def syncfs(lwp: Lwp, fd: Fd) -> int:
    """Write the file system of an open file out."""
    open_file(lwp, fd).name.vnode.vfs.sync()
    return 0


@syscall
def sync_file_range(lwp: Lwp, fd: Fd, offset: Off64, nbytes: Off64, flags: SyncRangeFlags) -> int:
    """Write a range of a file out. The whole file is written."""
    file = open_file(lwp, fd)
    if offset < 0 or nbytes < 0 or offset + nbytes > MAXOFFSET:
        raise KernelError(Errno.EINVAL)
    if file.vnode.type not in (VREG, VBLK, VDIR, VLNK):
        raise KernelError(Errno.ESPIPE)
    if flags:
        file.vnode.fsync()
    return 0


LX_FADV_MAX = 5


@syscall
def fadvise64(lwp: Lwp, fd: Fd, offset: Off64, len: Off64, advice: Fadvice) -> int:  # noqa: ARG001
    """Announce how a file will be read, fadvise64_64(2). Nothing to do."""
    file = open_file(lwp, fd)
    if file.vnode.type == VFIFO:
        raise KernelError(Errno.ESPIPE)
    if not 0 <= len <= MAXOFFSET or advice > LX_FADV_MAX:
        raise KernelError(Errno.EINVAL)
    return 0


@syscall
def readahead(lwp: Lwp, fd: Fd, offset: Off64, count: Size) -> int:  # noqa: ARG001
    """Ask for a file to be read ahead. Files are in memory, or the host's."""
    file = open_file(lwp, fd)
    if not file.flags & FREAD:
        raise KernelError(Errno.EBADF)
    if file.vnode.type not in (VREG, VBLK):
        raise KernelError(Errno.EINVAL)
    return 0


# The rows name these as rw.*, beside the other transfers.
__all__ = [
    "fadvise64",
    "fallocate",
    "fdatasync",
    "fsync",
    "ftruncate",
    "llseek",
    "lseek",
    "pread64",
    "preadv",
    "preadv2",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "read",
    "readahead",
    "readv",
    "sync",
    "sync_file_range",
    "syncfs",
    "truncate",
    "write",
    "writev",
]
