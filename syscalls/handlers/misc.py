"""Calls that fit nowhere else: membarrier(2), kcmp(2), rseq(2), sysctl(2)."""

# ruff: noqa: ARG001 -- a handler has the C arguments, used or not

from __future__ import annotations

from lxemu.kernel.cred import hasprocperm
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from syscalls.abi import Int, MembarrierCmd, Pid, Ptr, UInt, ULong, syscall
from syscalls.handlers.ids import find_proc
from syscalls.rseq import Area, register, unregister

LX_MEMBARRIER_QUERY = 0
LX_MEMBARRIER_GLOBAL = 1
LX_MEMBARRIER_GLOBAL_EXPEDITED = 2
LX_MEMBARRIER_REGISTER_GLOBAL_EXPEDITED = 4
#: Private commands -> what registers for each: threads, instructions, restartable sequences.
_MEMBARRIER_PRIVATE = {8: 16, 32: 64, 128: 256}
LX_MEMBARRIER_PRIVATE_RSEQ = 128
LX_MEMBARRIER_GET_REGISTRATIONS = 512
_MEMBARRIER_COMMANDS = 1023
LX_MEMBARRIER_FLAG_CPU = 1

LX_RSEQ_UNREGISTER = 1

LX_KCMP_FILE, LX_KCMP_VM, LX_KCMP_FILES, LX_KCMP_FS, LX_KCMP_SIGHAND = range(5)
LX_KCMP_IO, LX_KCMP_SYSVSEM = 5, 6


def unsupported(lwp: Lwp, call: str, reason: str) -> KernelError:
    """Note that a call asked for what is not there, and return the ENOSYS to raise."""
    lwp.machine.unsupported(lwp, call, reason)
    return KernelError(Errno.ENOSYS)


@syscall
def membarrier(lwp: Lwp, cmd: MembarrierCmd, flags: UInt, cpu_id: Int) -> int:
    """Order memory between threads (membarrier(2)): EINVAL, EPERM without registration.

    One host thread runs all lwps of a machine, one after the other, and every switch between them
    is a full barrier, of instructions and of restartable sequences too: so each command is done as
    soon as it is asked for.
    """
    if flags and (cmd != LX_MEMBARRIER_PRIVATE_RSEQ or flags != LX_MEMBARRIER_FLAG_CPU):
        raise KernelError(Errno.EINVAL)
    as_ = lwp.as_
    if cmd == LX_MEMBARRIER_QUERY:
        return _MEMBARRIER_COMMANDS
    if cmd == LX_MEMBARRIER_GET_REGISTRATIONS:
        return as_.barriers
    if cmd in (LX_MEMBARRIER_GLOBAL, LX_MEMBARRIER_GLOBAL_EXPEDITED):
        return 0
    if cmd == LX_MEMBARRIER_REGISTER_GLOBAL_EXPEDITED or cmd in _MEMBARRIER_PRIVATE.values():
        as_.barriers |= cmd
        return 0
    if cmd not in _MEMBARRIER_PRIVATE:
        raise KernelError(Errno.EINVAL)
    if not as_.barriers & _MEMBARRIER_PRIVATE[cmd]:
        raise KernelError(Errno.EPERM)
    return 0


@syscall
def kcmp(lwp: Lwp, pid1: Pid, pid2: Pid, kind: Int, idx1: ULong, idx2: ULong) -> int:
    """Tell whether two processes share a resource: 0 yes, 1 or 2 an order (kcmp(2)).

    ESRCH, EPERM, EBADF, EINVAL.
    """
    one, two = find_proc(lwp, pid1 or -1), find_proc(lwp, pid2 or -1)
    for proc in (one, two):
        if proc is not lwp.proc and not hasprocperm(lwp.proc.cred, proc.cred):
            raise KernelError(Errno.EPERM)
    if kind == LX_KCMP_FILE:
        first: object = one.files.get(idx1)
        second: object = two.files.get(idx2)
    elif kind in (LX_KCMP_VM, LX_KCMP_FILES, LX_KCMP_FS, LX_KCMP_SIGHAND):
        member = ("", "as_", "files", "fs", "sigacts")[kind]
        first, second = getattr(one, member), getattr(two, member)
    elif kind == LX_KCMP_SYSVSEM:
        # Two processes without anything to undo are alike.
        first, second = one.semundo, two.semundo
    elif kind == LX_KCMP_IO:
        # Nobody has an I/O context: there is no block device to have one for.
        first = second = None
    else:
        raise KernelError(Errno.EINVAL)
    if first is second:
        return 0
    return 1 if id(first) < id(second) else 2


@syscall
def rseq(lwp: Lwp, area: Ptr, length: UInt, flags: Int, signature: UInt) -> int:
    """Register or unregister restartable sequences (rseq(2)): EINVAL, EPERM, EBUSY, EFAULT."""
    given = Area(area, length, signature)
    known: Area | None = lwp.restartable
    if flags & ~LX_RSEQ_UNREGISTER:
        raise KernelError(Errno.EINVAL)
    if known is not None or flags:
        if known is None or known[:2] != given[:2]:
            raise KernelError(Errno.EINVAL)
        if known.signature != signature:
            raise KernelError(Errno.EPERM)
        if not flags:
            raise KernelError(Errno.EBUSY)
        unregister(lwp)
        return 0
    register(lwp, given)
    return 0


@syscall
def sysctl(lwp: Lwp, args: Ptr) -> int:
    """Read a kernel parameter by number: ENOSYS, as in every kernel since 5.5."""
    raise KernelError(Errno.ENOSYS)
