"""Process descriptors: pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2)."""

from __future__ import annotations

from lxemu.kernel.anonfs import anon_files
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.proc import Proc
from lxemu.kernel.procdesc import ProcDesc
from lxemu.kernel.signal import SI_LWP, SigInfo
from lxemu.kernel.vfs.fcntl import O_NONBLOCK, O_PATH
from lxemu.kernel.vfs.file import File
from syscalls.abi import Fd, In, Pid, PidfdFlags, PidfdSignalFlags, SigAny, UInt, syscall
from syscalls.handlers.signal_ import kill_group, may_signal, send

#: PIDFD_THREAD as the kernel side of the flag table has it (O_EXCL in the file's flags).
_THREAD = 0x400
LX_PIDFD_SIGNAL_THREAD = 1
LX_PIDFD_SIGNAL_THREAD_GROUP = 2
LX_PIDFD_SIGNAL_PROCESS_GROUP = 4


def open_desc(lwp: Lwp, proc: Proc, thread: Lwp | None, flags: int = 0) -> int:
    """Return a new descriptor, close-on-exec, of a process or thread. EMFILE."""
    files = lwp.proc.files
    files.lowest()
    anon = anon_files(lwp.machine)
    desc = ProcDesc(anon.objects, proc, thread)
    return files.alloc(anon.open(desc, flags & O_NONBLOCK, lwp.proc.cred), 0, cloexec=True)


def find_desc(lwp: Lwp, fd: int) -> tuple[ProcDesc, File]:
    """Return the process descriptor `fd`; EBADF for anything else."""
    file = lwp.proc.files.get(fd)
    if file.flags & O_PATH or not isinstance(file.vnode, ProcDesc):
        raise KernelError(Errno.EBADF)
    return file.vnode, file


def _find_target(lwp: Lwp, fd: int) -> ProcDesc:
    """Return what a signal goes to: a descriptor, or a /proc/PID directory opened for reading."""
    file = lwp.proc.files.get(fd)
    if isinstance(file.vnode, ProcDesc) and not file.flags & O_PATH:
        return file.vnode
    from syscalls.fs.procpid import PidNode

    node = file.vnode
    if not isinstance(node, PidNode) or node.lwp is not None:
        raise KernelError(Errno.EBADF)
    return ProcDesc(anon_files(lwp.machine).objects, node.proc)


@syscall
def pidfd_open(lwp: Lwp, pid: Pid, flags: PidfdFlags) -> int:
    """Make a descriptor of a process, or of a thread (pidfd_open(2)).

    EINVAL, ESRCH, ENOENT for a thread that is not the first without PIDFD_THREAD.
    """
    if pid <= 0:
        raise KernelError(Errno.EINVAL)
    machine = lwp.machine
    thread: Lwp | None = machine.lwp_by_tid.get(pid)
    proc: Proc | None = machine.procs.get(pid)
    if flags & _THREAD:
        if thread is None and proc is None:
            raise KernelError(Errno.ESRCH)
        owner = proc if thread is None else thread.proc
        assert owner is not None
        return open_desc(lwp, owner, thread, flags)
    if proc is None:
        raise KernelError(Errno.ESRCH if thread is None else Errno.ENOENT)
    return open_desc(lwp, proc, None, flags)


@syscall
def pidfd_send_signal(
    lwp: Lwp, pidfd: Fd, sig: SigAny, info: In[SigInfo], flags: PidfdSignalFlags
) -> int:
    """Signal the process of a descriptor (pidfd_send_signal(2)).

    EINVAL, EBADF, EFAULT, EPERM, ESRCH.
    """
    if flags & (flags - 1):
        raise KernelError(Errno.EINVAL)
    desc = _find_target(lwp, pidfd)
    scope = flags or (LX_PIDFD_SIGNAL_THREAD if desc.lwp else LX_PIDFD_SIGNAL_THREAD_GROUP)
    proc, thread = desc.proc, None
    if scope == LX_PIDFD_SIGNAL_THREAD:
        thread = desc.lwp or proc.lwp(proc.pid)
    what = _info(lwp, info, sig, desc, scope)
    if desc.reaped():
        raise KernelError(Errno.ESRCH)
    if scope == LX_PIDFD_SIGNAL_PROCESS_GROUP:
        kill_group(lwp, proc.pid, sig, what)
        return 0
    may_signal(lwp.proc, proc, sig)
    send(lwp, proc, sig, what, thread)
    return 0


def _info(lwp: Lwp, info: In[SigInfo], sig: int, desc: ProcDesc, scope: int) -> SigInfo:
    """Return the siginfo to send: the caller's, if it is for the caller or pretends to nothing."""
    if not info:
        code = SI_LWP if scope == LX_PIDFD_SIGNAL_THREAD else 0
        return lwp.proc.siginfo(max(sig, 0), code)
    given = info.get()
    if given.signo != sig:
        raise KernelError(Errno.EINVAL)
    to_self = desc.proc is lwp.proc and desc.lwp in (None, lwp)
    group = scope == LX_PIDFD_SIGNAL_PROCESS_GROUP
    if (not to_self or group) and (given.code >= 0 or given.code == SI_LWP):
        raise KernelError(Errno.EPERM)
    return given


@syscall
def pidfd_getfd(lwp: Lwp, pidfd: Fd, targetfd: Fd, flags: UInt) -> int:
    """Duplicate a descriptor of another process (pidfd_getfd(2)).

    EINVAL, EBADF, ESRCH, EPERM, EMFILE.
    """
    if flags:
        raise KernelError(Errno.EINVAL)
    desc, _ = find_desc(lwp, pidfd)
    proc = desc.proc
    if desc.reaped():
        raise KernelError(Errno.ESRCH)
    _may_attach(proc)
    if proc.zombie:
        raise KernelError(Errno.ESRCH)
    file = proc.files.get(targetfd)
    fd = lwp.proc.files.alloc(file, 0, cloexec=True)
    file.hold()
    return fd


def _may_attach(proc: Proc) -> None:
    from syscalls.fs.procpid import may_access

    try:
        may_access(proc)
    except KernelError:
        raise KernelError(Errno.EPERM) from None
