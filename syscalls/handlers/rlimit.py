"""Resource limits and usage: getrlimit(2), setrlimit(2), prlimit(2), getrusage(2)."""

from __future__ import annotations

from lxemu.kernel.cpulimit import watch_cpu_limit
from lxemu.kernel.cred import PRIV_SYS_RESOURCE
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.proc import Proc
from lxemu.kernel.rctl import RLIMIT_CPU, RLIMIT_NOFILE
from syscalls.abi import In, Out, Pid, Resource, Rlimit, Rlimit64, Rusage, RusageWho, syscall
from syscalls.handlers.ids import find_proc
from syscalls.handlers.wait import rusage_of

#: Largest limit of open files (fs.nr_open).
LX_NR_OPEN = 1 << 20
RUSAGE_SELF, RUSAGE_CHILDREN = 0, -1


def set_limit(proc: Proc, resource: int, soft: int, hard: int, *, privileged: bool) -> None:
    """Set both limits of a process: EINVAL, EPERM to raise the hard one (do_prlimit)."""
    if soft > hard:
        raise KernelError(Errno.EINVAL)
    if resource == RLIMIT_NOFILE and hard > LX_NR_OPEN:
        raise KernelError(Errno.EPERM)
    if hard > proc.rctls.get(resource)[1] and not privileged:
        raise KernelError(Errno.EPERM)
    proc.rctls.set(resource, soft, hard)
    if resource == RLIMIT_NOFILE:
        proc.files.limit = soft
    elif resource == RLIMIT_CPU:
        watch_cpu_limit(proc)


@syscall
def getrlimit(lwp: Lwp, resource: Resource, rlim: Out[Rlimit]) -> int:
    """Read limits (getrlimit(2)): EINVAL, EFAULT."""
    rlim.put(Rlimit(*lwp.proc.rctls.get(resource)))
    return 0


@syscall
def setrlimit(lwp: Lwp, resource: Resource, rlim: In[Rlimit]) -> int:
    """Set limits (setrlimit(2)): EFAULT, EINVAL, EPERM."""
    new = rlim.get()
    proc = lwp.proc
    set_limit(proc, resource, new.cur, new.max, privileged=proc.cred.crhas(PRIV_SYS_RESOURCE))
    return 0


@syscall
def prlimit64(
    lwp: Lwp, pid: Pid, resource: Resource, new_limit: In[Rlimit64], old_limit: Out[Rlimit64]
) -> int:
    """Read and set limits of a process (prlimit(2)): EFAULT, EINVAL, EPERM, ESRCH."""
    new = new_limit.get_or_none()
    proc = find_proc(lwp, pid)
    mine, theirs = lwp.proc.cred, proc.cred
    privileged = mine.crhas(PRIV_SYS_RESOURCE)
    if proc is not lwp.proc and not privileged:
        users = {theirs.ruid, theirs.euid, theirs.suid}
        groups = {theirs.rgid, theirs.egid, theirs.sgid}
        if users != {mine.ruid} or groups != {mine.rgid}:
            raise KernelError(Errno.EPERM)
    old = proc.rctls.get(resource)
    if new is not None:
        set_limit(proc, resource, new.cur, new.max, privileged=privileged)
    old_limit.put_if(Rlimit64(*old))
    return 0


def self_usage(proc: Proc) -> Rusage:
    """Return what a live process has used so far."""
    usage, as_ = proc.usage, proc.as_
    user, system = proc.cpu_split()
    return rusage_of(usage)._replace(
        utime=user,
        stime=system,
        maxrss=max(usage.maxrss >> 10, as_.maxrss * 4),
        minflt=usage.minflt + as_.minflt - as_.majflt,
        majflt=usage.majflt + as_.majflt,
    )


@syscall
def getrusage(lwp: Lwp, who: RusageWho, usage: Out[Rusage]) -> int:
    """Tell the resources used by the process, its waited-for children or the thread (getrusage(2)).

    EINVAL, EFAULT. Deviation: all CPU time of a thread counts as user time.
    """
    proc = lwp.proc
    if who == RUSAGE_CHILDREN:
        usage.put(rusage_of(proc.child_usage))
    elif who == RUSAGE_SELF:
        usage.put(self_usage(proc))
    else:
        usage.put(self_usage(proc)._replace(utime=lwp.cpu_time(), stime=0))
    return 0
