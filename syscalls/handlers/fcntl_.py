"""Descriptors and their locks: dup(2), fcntl(2), flock(2)."""

from __future__ import annotations

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.memfile import SEAL_ALL, MemFile
from lxemu.kernel.vfs import fcntl as f
from lxemu.kernel.vfs.fdtable import FdTable
from lxemu.kernel.vfs.fifofs import FifoVnode
from lxemu.kernel.vfs.file import File
from lxemu.kernel.vfs.locks import TO_END, Lock, getlk, setlk
from lxemu.kernel.vfs.locks import flock as file_lock
from lxemu.kernel.vfs.ops import is_owner
from lxemu.kernel.vfs.sigio import set_async
from lxemu.kernel.vfs.tmpfs import Tmpfs
from lxemu.kernel.vfs.vnode import VREG
from syscalls.abi import (
    Dup3Flags,
    F,
    FcntlCmd,
    Fd,
    Flock,
    Flock64,
    FlockOp,
    In,
    InOut,
    Ptr,
    pointer,
    syscall,
)
from syscalls.abi.xlat_file import OPEN
from syscalls.handlers import fcntl_owner as owner

_INT = 0x7FFFFFFF


@syscall
def dup(lwp: Lwp, fd: Fd) -> int:
    """Duplicate a descriptor to the lowest free one."""
    return lwp.proc.files.dup(fd)


@syscall
def dup2(lwp: Lwp, oldfd: Fd, newfd: Fd) -> int:
    """Duplicate a descriptor to a given one."""
    return lwp.proc.files.dup2(oldfd, newfd)


@syscall
def dup3(lwp: Lwp, oldfd: Fd, newfd: Fd, flags: Dup3Flags) -> int:
    """Duplicate a descriptor to a different one, with flags."""
    if oldfd == newfd:
        raise KernelError(Errno.EINVAL)
    return lwp.proc.files.dup2(oldfd, newfd, flags & f.O_CLOEXEC != 0)


# -- fcntl ----------------------------------------------------------------------------------------


@syscall
def fcntl(lwp: Lwp, fd: Fd, cmd: FcntlCmd, arg: Ptr) -> int:
    """Do one of many small things to a descriptor."""
    file = lwp.proc.files.get(fd)
    if file.flags & f.O_PATH and cmd not in _PATH_COMMANDS:
        raise KernelError(Errno.EBADF)
    command = _COMMANDS.get(cmd)
    if command is None:
        raise KernelError(Errno.EINVAL)
    return command(lwp, file, fd, cmd, arg)


def _dupfd(lwp: Lwp, _file: File, fd: int, cmd: int, arg: int) -> int:
    return lwp.proc.files.dup(fd, owner.signed(arg), cmd == F.DUPFD_CLOEXEC)


def _getfd(lwp: Lwp, _file: File, fd: int, _cmd: int, _arg: int) -> int:
    return int(lwp.proc.files.getcloexec(fd))


def _setfd(lwp: Lwp, _file: File, fd: int, _cmd: int, arg: int) -> int:
    lwp.proc.files.setcloexec(fd, arg & f.FD_CLOEXEC != 0)
    return 0


def _getfl(_lwp: Lwp, file: File, _fd: int, _cmd: int, _arg: int) -> int:
    flags = file.getfl()
    if flags & f.O_PATH:
        flags &= ~f.O_ACCMODE
    return OPEN.to_lx[flags]


def _setfl(lwp: Lwp, file: File, fd: int, _cmd: int, arg: int) -> int:
    flags = OPEN.from_lx[arg & 0xFFFFFFFF]
    noatime = flags & f.O_NOATIME and not file.flags & f.O_NOATIME
    if noatime and not is_owner(file.name.vnode, lwp.proc.cred):
        raise KernelError(Errno.EPERM)
    if flags & f.O_DIRECT and not isinstance(file.vnode, FifoVnode) and file.vnode.type != VREG:
        raise KernelError(Errno.EINVAL)
    if (flags ^ file.flags) & f.O_ASYNC:
        set_async(file, fd, flags & f.O_ASYNC != 0)
    file.setfl(flags)
    return 0


def _dupfd_query(lwp: Lwp, file: File, _fd: int, _cmd: int, arg: int) -> int:
    try:
        return int(lwp.proc.files.get(owner.signed(arg)) is file)
    except KernelError:
        raise KernelError(Errno.EBADF) from None


def _created_query(_lwp: Lwp, file: File, _fd: int, _cmd: int, _arg: int) -> int:
    return int(file.created)


# Record locks.


def _range(record: Flock | Flock64, file: File, limit: int) -> tuple[int, int]:
    """Return the [start, end] that a struct flock means (flock64_to_posix_lock)."""
    if record.whence == f.SEEK_SET:
        base = 0
    elif record.whence == f.SEEK_CUR:
        base = file.offset
    elif record.whence == f.SEEK_END:
        base = file.vnode.size()
    else:
        raise KernelError(Errno.EINVAL)
    start = base + record.start
    if start > f.MAXOFFSET:
        raise KernelError(Errno.EOVERFLOW)
    if start < 0:
        raise KernelError(Errno.EINVAL)
    if record.len > 0:
        end = start + record.len - 1
        if end > limit:
            raise KernelError(Errno.EOVERFLOW)
        return start, end
    if record.len < 0:
        if start + record.len < 0:
            raise KernelError(Errno.EINVAL)
        return start + record.len, start - 1
    return start, TO_END


def _owner(
    lwp: Lwp, file: File, record: Flock | Flock64, *, ofd: bool
) -> tuple[FdTable | File, int]:
    if not ofd:
        return lwp.proc.files, lwp.proc.pid
    if record.pid:
        raise KernelError(Errno.EINVAL)
    return file, -1


def _record(lwp: Lwp, cmd: int) -> type[Flock | Flock64]:
    """Return the structure of a lock command. F_GETLK64 and its kin are only for 32-bit callers."""
    if cmd in (F.GETLK, F.SETLK, F.SETLKW):
        return Flock
    if cmd in (F.GETLK64, F.SETLK64, F.SETLKW64) and lwp.brand.bits == 64:
        raise KernelError(Errno.EINVAL)
    return Flock64


def _getlk(lwp: Lwp, file: File, _fd: int, cmd: int, arg: int) -> int:
    address: InOut[Flock] = pointer(InOut, lwp, _record(lwp, cmd), arg)
    record = address.get()
    ofd = cmd == F.OFD_GETLK
    if record.type not in (F.RDLCK, F.WRLCK) and not (ofd and record.type == F.UNLCK):
        raise KernelError(Errno.EINVAL)
    start, end = _range(record, file, f.MAXOFFSET)
    owner, _ = _owner(lwp, file, record, ofd=ofd)
    found = getlk(file, owner, record.type, start, end)
    address.put(record._replace(type=F.UNLCK) if found is None else _found(record, found))
    return 0


def _found(record: Flock, lock: Lock) -> Flock:
    length = 0 if lock.end == TO_END else lock.end - lock.start + 1
    return record._replace(
        type=lock.kind, whence=f.SEEK_SET, start=lock.start, len=length, pid=lock.pid
    )


def _setlk(lwp: Lwp, file: File, _fd: int, cmd: int, arg: int) -> int:
    address: In[Flock] = pointer(In, lwp, _record(lwp, cmd), arg)
    record = address.get()
    start, end = _range(record, file, f.MAXOFFSET)
    if record.type not in (F.RDLCK, F.WRLCK, F.UNLCK):
        raise KernelError(Errno.EINVAL)
    ofd = cmd in (F.OFD_SETLK, F.OFD_SETLKW)
    owner, pid = _owner(lwp, file, record, ofd=ofd)
    needed = {F.RDLCK: f.FREAD, F.WRLCK: f.FWRITE}.get(record.type, 0)
    if file.flags & needed != needed:
        raise KernelError(Errno.EBADF)
    wait = cmd in (F.SETLKW, F.SETLKW64, F.OFD_SETLKW)
    setlk(file, owner, record.type, start, end, pid, wait=wait)
    return 0


# Pipes.


def _pipe_size(lwp: Lwp, file: File, _fd: int, cmd: int, arg: int) -> int:
    vnode = file.vnode
    if not isinstance(vnode, FifoVnode):
        raise KernelError(Errno.EBADF)
    if cmd == F.GETPIPE_SZ:
        return vnode.getsize()
    size = arg & 0xFFFFFFFF
    if size > _INT:
        raise KernelError(Errno.EINVAL)
    return vnode.setsize(size, lwp.proc.cred)


# Seals, of memory files; other files in memory are sealed against getting any.

LX_F_SEAL_SEAL = 1


def _get_seals(_lwp: Lwp, file: File, _fd: int, _cmd: int, _arg: int) -> int:
    vnode = file.vnode
    if isinstance(vnode, MemFile):
        return vnode.seals  # the kernel's bits have the same values
    if vnode.type != VREG or not isinstance(vnode.vfs, Tmpfs):
        raise KernelError(Errno.EINVAL)
    return LX_F_SEAL_SEAL


def _add_seals(lwp: Lwp, file: File, fd: int, cmd: int, arg: int) -> int:
    vnode, seals = file.vnode, arg & 0xFFFFFFFF
    if isinstance(vnode, MemFile):
        vnode.add_seals(file, seals)
        return 0
    if file.flags & f.FWRITE:
        if seals & ~SEAL_ALL:
            raise KernelError(Errno.EINVAL)
        _get_seals(lwp, file, fd, cmd, arg)
    raise KernelError(Errno.EPERM)


_PATH_COMMANDS = frozenset(
    (F.DUPFD, F.DUPFD_CLOEXEC, F.GETFD, F.SETFD, F.GETFL, F.DUPFD_QUERY, F.CREATED_QUERY)
)
_COMMANDS = {
    F.DUPFD: _dupfd,
    F.DUPFD_CLOEXEC: _dupfd,
    F.GETFD: _getfd,
    F.SETFD: _setfd,
    F.GETFL: _getfl,
    F.SETFL: _setfl,
    F.GETLK: _getlk,
    F.GETLK64: _getlk,
    F.OFD_GETLK: _getlk,
    F.SETLK: _setlk,
    F.SETLKW: _setlk,
    F.SETLK64: _setlk,
    F.SETLKW64: _setlk,
    F.OFD_SETLK: _setlk,
    F.OFD_SETLKW: _setlk,
    F.SETPIPE_SZ: _pipe_size,
    F.GETPIPE_SZ: _pipe_size,
    F.SETOWN: owner.setown,
    F.GETOWN: owner.getown,
    F.SETOWN_EX: owner.setown_ex,
    F.GETOWN_EX: owner.getown_ex,
    F.GETOWNER_UIDS: owner.getowner_uids,
    F.SETSIG: owner.setsig,
    F.GETSIG: owner.getsig,
    F.SETLEASE: owner.setlease,
    F.NOTIFY: owner.set_notify,
    F.GETLEASE: owner.getlease,
    F.DUPFD_QUERY: _dupfd_query,
    F.CREATED_QUERY: _created_query,
    F.GET_SEALS: _get_seals,
    F.ADD_SEALS: _add_seals,
}


# -- flock ----------------------------------------------------------------------------------------

LX_LOCK_SH, LX_LOCK_EX, LX_LOCK_NB, LX_LOCK_UN = 1, 2, 4, 8
#: Mandatory locks: gone from Linux, whose flock(2) takes and forgets the request.
LX_LOCK_MAND = 32
_FLOCK = {LX_LOCK_SH: F.RDLCK, LX_LOCK_EX: F.WRLCK, LX_LOCK_UN: F.UNLCK}


@syscall
def flock(lwp: Lwp, fd: Fd, operation: FlockOp) -> int:
    """Lock an open file as a whole."""
    if operation & LX_LOCK_MAND:
        return 0
    kind = _FLOCK.get(operation & ~LX_LOCK_NB)
    if kind is None:
        raise KernelError(Errno.EINVAL)
    file = lwp.proc.files.get(fd)
    if file.flags & f.O_PATH:
        raise KernelError(Errno.EBADF)
    file_lock(file, kind, wait=not operation & LX_LOCK_NB)
    return 0
