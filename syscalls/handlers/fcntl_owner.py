"""The commands of fcntl(2) that concern signals: owners, F_SETSIG, leases, F_NOTIFY."""

from __future__ import annotations

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.pidspace import shown_pid
from lxemu.kernel.vfs import lease
from lxemu.kernel.vfs.dirnotice import set_notice
from lxemu.kernel.vfs.file import File
from lxemu.kernel.vfs.sigio import OWNER_LWP, OWNER_PGRP, OWNER_PROC, Owner, set_owner
from syscalls.abi import FOwnerEx, In, Out, UInt, pointer
from syscalls.abi.xlat_file import LOCK_TYPE
from syscalls.signum import FROM_LX, LX_NSIG, TO_LX

_INT = 0x7FFFFFFF
# The kernel's kinds of owner have Linux's values: F_OWNER_TID 0, F_OWNER_PID 1, F_OWNER_PGRP 2.
_KINDS = (OWNER_LWP, OWNER_PROC, OWNER_PGRP)


def signed(arg: int) -> int:
    """Return an int argument that was decoded as an address."""
    arg &= 0xFFFFFFFF
    return arg - (1 << 32) if arg > _INT else arg


def setown(lwp: Lwp, file: File, _fd: int, _cmd: int, arg: int) -> int:
    """F_SETOWN: a process, or a group by its negative number."""
    who = signed(arg)
    if who == -(1 << 31):
        raise KernelError(Errno.EINVAL)
    _own(lwp, file, OWNER_PGRP if who < 0 else OWNER_PROC, abs(who))
    return 0


def _own(lwp: Lwp, file: File, kind: int, number: int) -> None:
    space = lwp.proc.pidspace
    set_owner(lwp.proc, file, kind, number if space is None else space.zone(number))


def _owner(lwp: Lwp, file: File) -> tuple[int, int]:
    owner: Owner | None = file.async_owner
    if owner is None:
        return OWNER_LWP, 0
    return owner.kind, shown_pid(lwp, owner.number) if owner.alive() else 0


def getown(lwp: Lwp, file: File, _fd: int, _cmd: int, _arg: int) -> int:
    """F_GETOWN."""
    kind, number = _owner(lwp, file)
    return -number if kind == OWNER_PGRP else number


def setown_ex(lwp: Lwp, file: File, _fd: int, _cmd: int, arg: int) -> int:
    """F_SETOWN_EX: EINVAL for an unknown kind, ESRCH."""
    address: In[FOwnerEx] = pointer(In, lwp, FOwnerEx, arg)
    kind, number = address.get()
    if kind not in _KINDS:
        raise KernelError(Errno.EINVAL)
    if number < 0:
        raise KernelError(Errno.ESRCH)
    _own(lwp, file, kind, number)
    return 0


def getown_ex(lwp: Lwp, file: File, _fd: int, _cmd: int, arg: int) -> int:
    """F_GETOWN_EX."""
    address: Out[FOwnerEx] = pointer(Out, lwp, FOwnerEx, arg)
    address.put(FOwnerEx(*_owner(lwp, file)))
    return 0


def getowner_uids(lwp: Lwp, file: File, _fd: int, _cmd: int, arg: int) -> int:
    """F_GETOWNER_UIDS: the real and effective user who set the owner."""
    owner: Owner | None = file.async_owner
    address: Out[int] = pointer(Out, lwp, UInt, arg)
    address.put_at(0, owner.uid if owner is not None else 0)
    address.put_at(1, owner.euid if owner is not None else 0)
    return 0


def setsig(_lwp: Lwp, file: File, _fd: int, _cmd: int, arg: int) -> int:
    """F_SETSIG: the signal to send instead of SIGIO."""
    if arg > LX_NSIG:
        raise KernelError(Errno.EINVAL)
    file.async_sig = FROM_LX[arg]
    return 0


def getsig(_lwp: Lwp, file: File, _fd: int, _cmd: int, _arg: int) -> int:
    """F_GETSIG."""
    return TO_LX[file.async_sig]


def setlease(lwp: Lwp, file: File, fd: int, _cmd: int, arg: int) -> int:
    """F_SETLEASE."""
    lease.setlease(lwp.proc, file, fd, LOCK_TYPE.from_lx[signed(arg)])
    return 0


def getlease(_lwp: Lwp, file: File, _fd: int, _cmd: int, _arg: int) -> int:
    """F_GETLEASE."""
    return LOCK_TYPE.to_lx[lease.getlease(file)]


def set_notify(lwp: Lwp, file: File, fd: int, _cmd: int, arg: int) -> int:
    """F_NOTIFY. The kernel's DN_ flags have Linux's values."""
    set_notice(lwp.proc, file, fd, arg & 0xFFFFFFFF)
    return 0
