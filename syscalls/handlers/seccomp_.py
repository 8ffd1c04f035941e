"""Restricting one's own system calls: seccomp(2), prctl(PR_SET_SECCOMP)."""

from __future__ import annotations

import struct

from lxemu.kernel.anonfs import anon_files
from lxemu.kernel.cbpf import MAX_INSNS, Insn
from lxemu.kernel.cred import PRIV_SYS_ADMIN
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from syscalls import seccomp as core
from syscalls.abi import Ptr, UInt, syscall
from syscalls.bpf import check
from syscalls.seccomp_notify import Listener

LX_SET_MODE_STRICT, LX_SET_MODE_FILTER = 0, 1
LX_GET_ACTION_AVAIL, LX_GET_NOTIF_SIZES = 2, 3
LX_FLAG_TSYNC = 1
LX_FLAG_LOG = 2
LX_FLAG_SPEC_ALLOW = 4
LX_FLAG_NEW_LISTENER = 8
LX_FLAG_TSYNC_ESRCH = 16
LX_FLAG_WAIT_KILLABLE_RECV = 32
_FLAGS = 63
#: Sizes of struct seccomp_notif, seccomp_notif_resp and seccomp_data.
_NOTIF_SIZES = struct.pack("<3H", 80, 24, 64)
_INSN = struct.Struct("<HBBI")


@syscall
def seccomp(lwp: Lwp, operation: UInt, flags: UInt, args: Ptr) -> int:
    """Restrict the calls of the thread (seccomp(2)).

    EINVAL, EFAULT, EACCES without no_new_privs or privilege, ENOMEM, ESRCH, EOPNOTSUPP.
    """
    if operation == LX_SET_MODE_STRICT:
        if flags or args:
            raise KernelError(Errno.EINVAL)
        return set_strict(lwp)
    if operation == LX_SET_MODE_FILTER:
        return set_filter(lwp, flags, args)
    if flags or operation not in (LX_GET_ACTION_AVAIL, LX_GET_NOTIF_SIZES):
        raise KernelError(Errno.EINVAL)
    if operation == LX_GET_NOTIF_SIZES:
        lwp.as_.copyout(args, _NOTIF_SIZES)
        return 0
    if lwp.as_.load_u32(args) not in core.ACTIONS:
        raise KernelError(Errno.EOPNOTSUPP)
    return 0


def set_strict(lwp: Lwp) -> int:
    """Allow only read, write, exit and the return from a handler. EINVAL under a filter."""
    core.install(lwp, core.Filter((), None))
    return 0


def _copy_program(lwp: Lwp, fprog: int) -> list[Insn]:
    """Copy in a struct sock_fprog and what it points to: EFAULT, EINVAL, EACCES."""
    as_ = lwp.as_
    wide = lwp.brand.bits == 64
    head = as_.copyin(fprog, 16 if wide else 8)
    count, addr = struct.unpack("<H6xQ" if wide else "<H2xI", head)
    if not 0 < count <= MAX_INSNS:
        raise KernelError(Errno.EINVAL)
    cred = lwp.proc.cred
    if not cred.no_new_privs and not cred.crhas(PRIV_SYS_ADMIN):
        raise KernelError(Errno.EACCES)
    data = as_.copyin(addr, count * _INSN.size)
    return [Insn(*fields) for fields in _INSN.iter_unpack(data)]


def set_filter(lwp: Lwp, flags: int, fprog: int) -> int:
    """Add a filter; with TSYNC to every thread, or return the id of one that cannot have it."""
    together = flags & (LX_FLAG_TSYNC | LX_FLAG_NEW_LISTENER)
    if flags & ~_FLAGS or (
        together == LX_FLAG_TSYNC | LX_FLAG_NEW_LISTENER and not flags & LX_FLAG_TSYNC_ESRCH
    ):
        raise KernelError(Errno.EINVAL)
    if flags & LX_FLAG_WAIT_KILLABLE_RECV and not flags & LX_FLAG_NEW_LISTENER:
        raise KernelError(Errno.EINVAL)
    program = _copy_program(lwp, fprog)
    check(program)
    old: core.Filter | None = lwp.call_filter
    if old is not None and old.mode != core.MODE_FILTER:
        raise KernelError(Errno.EINVAL)
    if flags & LX_FLAG_TSYNC:
        other = core.cannot_follow(lwp, old)
        if other and flags & LX_FLAG_TSYNC_ESRCH:
            raise KernelError(Errno.ESRCH)
        if other:
            return other
    new = core.Filter(program, old)
    fd = 0
    if flags & LX_FLAG_NEW_LISTENER:
        fd = _listen(lwp, new, patient=bool(flags & LX_FLAG_WAIT_KILLABLE_RECV))
    core.install(lwp, new)
    if flags & LX_FLAG_TSYNC:
        core.synchronise(lwp)
    return fd


def _listen(lwp: Lwp, new: core.Filter, *, patient: bool) -> int:
    """Give the filter a listener and return its descriptor. EBUSY if a filter has one, EMFILE."""
    if any(node.listener is not None for node in new.chain()):
        raise KernelError(Errno.EBUSY)
    proc = lwp.proc
    proc.files.lowest()
    anon = anon_files(lwp.machine)
    new.listener = Listener(anon.objects, proc.zone, new, patient=patient)
    return proc.files.alloc(anon.open(new.listener, 0, proc.cred), 0, cloexec=True)


def prctl_set(lwp: Lwp, mode: int, fprog: int) -> int:
    """Do prctl(PR_SET_SECCOMP): EINVAL for an unknown mode, else as seccomp(2)."""
    if mode == core.MODE_STRICT:
        return set_strict(lwp)
    if mode == core.MODE_FILTER:
        return set_filter(lwp, 0, fprog)
    raise KernelError(Errno.EINVAL)
