"""Waiting for children: wait4(2), waitpid(2), waitid(2) (Linux kernel/exit.c; lx_wait.c)."""

# ruff: noqa: D402 -- a summary ends with the name of its manual page

from __future__ import annotations

import struct

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.exit import (
    P_ALL,
    P_PGID,
    P_PID,
    W_CLONE,
    W_NORMAL,
    W_OWN,
    WCONTINUED,
    WEXITED,
    WNOHANG,
    WSTOPPED,
    WaitInfo,
)
from lxemu.kernel.exit import waitid as kernel_waitid
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.proc import Usage
from lxemu.kernel.signal import (
    CLD_CONTINUED,
    CLD_DUMPED,
    CLD_EXITED,
    CLD_STOPPED,
    SIGCHLD,
    SigInfo,
)
from lxemu.kernel.vfs.fcntl import O_NONBLOCK
from syscalls.abi import (
    P_PIDFD,
    W_NOTHREAD,
    IdType,
    Int,
    Out,
    Pid,
    Rusage,
    WaitidOptions,
    WaitOptions,
    syscall,
)
from syscalls.handlers.pidfd import find_desc
from syscalls.handlers.ptrace_ import stop_code
from syscalls.signum import TO_LX

_PID_INT_MIN = -(1 << 31)


def filtered(options: int) -> int:
    """Add the brand's choice of children by exit signal: those with SIGCHLD unless told otherwise.

    __WCLONE asks for the others and __WALL for all (eligible_child). __WNOTHREAD leaves out what
    other threads have made or trace.
    """
    if options & W_NOTHREAD:
        options = options & ~W_NOTHREAD | W_OWN
    return options if options & (W_NORMAL | W_CLONE) else options | W_NORMAL


def wait_status(info: WaitInfo) -> int:
    """Return the status word that WIFEXITED and its like take apart (wait(2))."""
    if info.code == CLD_EXITED:
        return (info.status & 0xFF) << 8
    if info.code == CLD_CONTINUED:
        return 0xFFFF
    if info.stop is not None:
        return stop_code(info.stop) << 8 | 0x7F
    signo = TO_LX[info.status]
    if info.code == CLD_STOPPED:
        return signo << 8 | 0x7F
    return signo | (0x80 if info.code == CLD_DUMPED else 0)


def rusage_of(usage: Usage) -> Rusage:
    """Return the record of a kernel `Usage`; sizes are KiB outside, bytes inside."""
    return Rusage(
        usage.utime,
        usage.stime,
        usage.maxrss >> 10,
        minflt=usage.minflt,
        majflt=usage.majflt,
        inblock=usage.inblock,
        oublock=usage.oublock,
        nvcsw=usage.nvcsw,
        nivcsw=usage.nivcsw,
    )


def _wait(lwp: Lwp, pid: int, options: int) -> WaitInfo | None:
    if pid == _PID_INT_MIN:
        raise KernelError(Errno.ESRCH)
    if pid == -1:
        idtype, ident = P_ALL, 0
    elif pid > 0:
        idtype, ident = P_PID, pid
    else:
        idtype, ident = P_PGID, -pid or lwp.proc.pgrp.pgid
    return kernel_waitid(lwp, idtype, ident, filtered(options) | WEXITED)


@syscall
def wait4(lwp: Lwp, pid: Pid, wstatus: Out[Int], options: WaitOptions, rusage: Out[Rusage]) -> int:
    """Wait for a child (wait4(2)): EINVAL, ESRCH for INT_MIN, ECHILD, EINTR, EFAULT."""
    info = _wait(lwp, pid, options)
    if info is None:
        return 0
    rusage.put_if(rusage_of(info.usage))
    wstatus.put_if(wait_status(info))
    return info.pid


@syscall
def waitpid(lwp: Lwp, pid: Pid, wstatus: Out[Int], options: WaitOptions) -> int:
    """Wait for a child, without its resource usage (i386 waitpid(2))."""
    info = _wait(lwp, pid, options)
    if info is None:
        return 0
    wstatus.put_if(wait_status(info))
    return info.pid


def _target(lwp: Lwp, which: int, ident: int) -> tuple[int, int, bool]:
    """Check and complete the id of waitid: id type, id, and whether its pidfd does not block.

    EINVAL, EBADF for a descriptor that is none of a process.
    """
    if which == P_PID and ident <= 0:
        raise KernelError(Errno.EINVAL)
    if which in (P_PGID, P_PIDFD) and ident < 0:
        raise KernelError(Errno.EINVAL)
    if which == P_PIDFD:
        desc, file = find_desc(lwp, ident)
        # A process that is gone is nobody's child, even if its id has been given to another.
        pid = 0 if desc.reaped() else desc.proc.pid
        return P_PID, pid, bool(file.flags & O_NONBLOCK)
    return which, lwp.proc.pgrp.pgid if which == P_PGID and not ident else ident, False


@syscall
def waitid(
    lwp: Lwp,
    idtype: IdType,
    ident: Pid,
    infop: Out[SigInfo],
    options: WaitidOptions,
    rusage: Out[Rusage],
) -> int:
    """Wait for a child to change state (waitid(2)).

    EINVAL, EBADF, ECHILD, EAGAIN for a pidfd that does not block, EINTR, EFAULT.

    With WNOHANG and nothing to report the members of `infop` are 0; so they are after an error.
    """
    if not options & (WEXITED | WSTOPPED | WCONTINUED):
        raise KernelError(Errno.EINVAL)
    kind, target, impatient = _target(lwp, idtype, ident)
    impatient = impatient and not options & WNOHANG
    if impatient:
        options |= WNOHANG
    try:
        info = kernel_waitid(lwp, kind, target, filtered(options))
        if info is None and impatient:
            raise KernelError(Errno.EAGAIN)
    except KernelError:
        if infop:
            put_wait_info(lwp, infop.addr, None)
        raise
    if info is not None:
        rusage.put_if(rusage_of(info.usage))
    if infop:
        put_wait_info(lwp, infop.addr, info)
    return 0


def put_wait_info(lwp: Lwp, addr: int, info: WaitInfo | None) -> None:
    """Store the members of siginfo that waitid defines, and no others; all 0 without a child."""
    head, tail = (0, 0, 0), (0, 0, 0)
    if info is not None:
        head = (TO_LX[SIGCHLD], 0, info.code)
        status = info.status if info.code == CLD_EXITED else TO_LX[info.status]
        if info.stop is not None:
            status = stop_code(info.stop)
        tail = (info.pid, info.uid, status)
    as_ = lwp.as_
    as_.copyout(addr, struct.pack("<3i", *head))
    # The union that holds the pid is aligned to a pointer.
    as_.copyout(addr + (16 if lwp.brand.bits == 64 else 12), struct.pack("<iIi", *tail))
