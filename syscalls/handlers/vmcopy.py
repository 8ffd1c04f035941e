"""The memory of other processes: process_vm_readv(2), process_vm_writev(2), process_madvise(2)."""

from __future__ import annotations

from lxemu.kernel.cred import PRIV_PROC_PRIOUP
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.mm import mman
from lxemu.kernel.mm.as_ import As
from lxemu.kernel.proc import Proc
from lxemu.kernel.ptrace import may_examine
from syscalls.abi import IOV_MAX, Fd, In, Iovec, Madvice, Pid, Size, UInt, ULong, get_iovec, syscall
from syscalls.handlers.ids import find_proc
from syscalls.handlers.pidfd import find_desc

Ranges = list[tuple[int, int]]
#: Bytes copied in one piece.
_CHUNK = 1 << 16


def _foreign(lwp: Lwp, target: Proc) -> As:
    """Return the address space of another process: ESRCH, EPERM (ptrace access check)."""
    if target.zombie:
        raise KernelError(Errno.ESRCH)
    if not may_examine(lwp.proc, target):
        raise KernelError(Errno.EPERM)
    return target.as_


def _local(lwp: Lwp, vec: In[Iovec], count: int) -> Ranges:
    """Copy in a vector of the caller's own buffers: also EFAULT for what is no user memory."""
    ranges = get_iovec(vec, count)
    limit = lwp.as_.task_size
    if any(base + size > limit for base, size in ranges):
        raise KernelError(Errno.EFAULT)
    return ranges


def _remote(vec: In[Iovec], count: int) -> Ranges:
    """Copy in a vector of another process' buffers, uncut: EINVAL, EFAULT."""
    if count > IOV_MAX:
        raise KernelError(Errno.EINVAL)
    limit = 1 << (vec.codec.size * 4 - 1)
    raw = vec.get_array(count)
    if any(entry.len >= limit for entry in raw):
        raise KernelError(Errno.EINVAL)
    return [(entry.base, entry.len) for entry in raw]


def _transfer(source: As, src: Ranges, dest: As, dst: Ranges) -> int:
    """Copy between two lists of ranges; EFAULT only if nothing could be copied."""
    total = 0
    src, dst = [r for r in src if r[1]], [r for r in dst if r[1]]
    while src and dst:
        (at, size), (to, room) = src[0], dst[0]
        n = min(size, room, _CHUNK)
        ready = min(source.readable_prefix(at, n), dest.writable_prefix(to, n))
        if ready:
            dest.copyout(to, source.copyin(at, ready))
            total += ready
        if ready < n:
            break
        src[0:1] = [(at + n, size - n)] if size > n else []
        dst[0:1] = [(to + n, room - n)] if room > n else []
    else:
        return total
    if not total:
        raise KernelError(Errno.EFAULT)
    return total


def _copy(
    lwp: Lwp, pid: int, here: In[Iovec], nhere: int, there: In[Iovec], nthere: int, write: bool
) -> int:
    local = _local(lwp, here, nhere)
    if not any(size for _, size in local):
        return 0
    remote = _remote(there, nthere)
    if not any(size for _, size in remote):
        return 0
    foreign = _foreign(lwp, find_proc(lwp, pid))
    if write:
        return _transfer(lwp.as_, local, foreign, remote)
    return _transfer(foreign, remote, lwp.as_, local)


@syscall
def process_vm_readv(
    lwp: Lwp,
    pid: Pid,
    local_iov: In[Iovec],
    liovcnt: ULong,
    remote_iov: In[Iovec],
    riovcnt: ULong,
    flags: ULong,
) -> int:
    """Read another process' memory (process_vm_readv(2)): EINVAL, EFAULT, ESRCH, EPERM."""
    if flags:
        raise KernelError(Errno.EINVAL)
    return _copy(lwp, pid, local_iov, liovcnt, remote_iov, riovcnt, write=False)


@syscall
def process_vm_writev(
    lwp: Lwp,
    pid: Pid,
    local_iov: In[Iovec],
    liovcnt: ULong,
    remote_iov: In[Iovec],
    riovcnt: ULong,
    flags: ULong,
) -> int:
    """Write another process' memory (process_vm_writev(2)): EINVAL, EFAULT, ESRCH, EPERM."""
    if flags:
        raise KernelError(Errno.EINVAL)
    return _copy(lwp, pid, local_iov, liovcnt, remote_iov, riovcnt, write=True)


#: What one process may advise another about; about itself, anything.
_FOREIGN_ADVICE = frozenset(
    {mman.MADV_COLD, mman.MADV_PAGEOUT, mman.MADV_WILLNEED, mman.MADV_COLLAPSE}
)


@syscall
def process_madvise(
    lwp: Lwp, pidfd: Fd, iovec: In[Iovec], vlen: Size, advice: Madvice, flags: UInt
) -> int:
    """Advise about the memory of a process (process_madvise(2)); return the bytes dealt with.

    EINVAL, EFAULT, EBADF, ESRCH, EPERM, ENOMEM.
    """
    if flags:
        raise KernelError(Errno.EINVAL)
    ranges = _local(lwp, iovec, vlen)
    target = find_desc(lwp, pidfd)[0].proc
    as_ = _foreign(lwp, target)
    if as_ is not lwp.as_:
        if advice not in _FOREIGN_ADVICE:
            raise KernelError(Errno.EINVAL)
        if not lwp.proc.cred.crhas(PRIV_PROC_PRIOUP):
            raise KernelError(Errno.EPERM)
    done = 0
    for base, size in ranges:
        try:
            as_.advise(base, size, advice)
        except KernelError:
            if done:
                break
            raise
        done += size
    return done
