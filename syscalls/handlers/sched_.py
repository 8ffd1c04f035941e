"""Scheduling: nice(2), getpriority(2), sched_setscheduler(2), sched_setaffinity(2), getcpu(2).

A machine has one processor and runs its lwps round robin. As in lx, whose zones cannot leave their
scheduler, policies and priorities are remembered for each lwp and read back.
"""

# ruff: noqa: ARG001 -- a handler has the C arguments, used or not

from __future__ import annotations

from lxemu.kernel.cred import PRIV_PROC_PRIOUP, Cred
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.proc import Proc
from lxemu.kernel.rctl import RLIMIT_NICE, RLIMIT_RTPRIO
from lxemu.kernel.session import pgfind
from syscalls.abi import (
    In,
    InBuf,
    InOut,
    Int,
    Out,
    OutBuf,
    Pid,
    PrioWhich,
    Ptr,
    SchedAttr,
    SchedParam,
    SchedPolicy,
    Timespec,
    UInt,
    syscall,
)

PRIO_PROCESS, PRIO_PGRP, PRIO_USER = 0, 1, 2
LX_SCHED_OTHER, LX_SCHED_FIFO, LX_SCHED_RR, LX_SCHED_BATCH = 0, 1, 2, 3
LX_SCHED_IDLE, LX_SCHED_DEADLINE = 5, 6
LX_SCHED_RESET_ON_FORK = 0x40000000
_REALTIME = (LX_SCHED_FIFO, LX_SCHED_RR)
_ORDINARY = (LX_SCHED_OTHER, LX_SCHED_BATCH, LX_SCHED_IDLE)
#: Size of a CPU mask as the kernel sees it (64 processors at most).
LX_CPUMASK_SIZE = 8
LX_SCHED_ATTR_VER0, LX_SCHED_ATTR_SIZE = 48, 56
_RR_NS, _SLICE_NS = 100_000_000, 3_000_000


def find_lwp(lwp: Lwp, pid: int) -> Lwp:
    """Return the thread that `pid` names, the caller for 0: EINVAL, ESRCH."""
    if pid < 0:
        raise KernelError(Errno.EINVAL)
    if pid == 0:
        return lwp
    found = lookup_lwp(lwp, pid)
    if found is None:
        raise KernelError(Errno.ESRCH)
    return found


def lookup_lwp(lwp: Lwp, tid: int) -> Lwp | None:
    """Return the thread with this id, be it that of a process that waits to be reaped; or None."""
    found: Lwp | None = lwp.machine.lwp_by_tid.get(tid)
    if found is None:
        proc = lwp.machine.procs.get(tid)
        return proc.leader if proc is not None else None
    return found


def _same_owner(caller: Cred, target: Cred) -> bool:
    return caller.euid in (target.euid, target.ruid)


def _may_touch(lwp: Lwp, target: Lwp) -> None:
    cred = lwp.proc.cred
    if not _same_owner(cred, target.proc.cred) and not cred.crhas(PRIV_PROC_PRIOUP):
        raise KernelError(Errno.EPERM)


# -- nice ---------------------------------------------------------------------------------------


def _may_raise(lwp: Lwp, target: Lwp, nice: int) -> bool:
    limit = target.proc.rctls.soft(RLIMIT_NICE)
    return 20 - nice <= limit or lwp.proc.cred.crhas(PRIV_PROC_PRIOUP)


def _set_nice(target: Lwp, nice: int) -> None:
    target.nice = nice
    if target.tid == target.proc.pid:
        target.proc.nice = nice


def selected(lwp: Lwp, which: int, who: int) -> list[Lwp]:
    """Return the lwps that a (which, who) pair names; none for a number that nobody has."""
    if which == PRIO_PROCESS:
        found = lwp if who == 0 else lookup_lwp(lwp, who)
        return [found] if found is not None else []
    if which == PRIO_PGRP:
        pgrp = pgfind(lwp.proc, who) if who else lwp.proc.pgrp
        procs: list[Proc] = list(pgrp.members) if pgrp is not None else []
        return [other for proc in procs for other in proc.lwps]
    uid = who & 0xFFFFFFFF if who else lwp.proc.cred.ruid
    return [other for other in lwp.machine.lwp_by_tid.values() if other.proc.cred.ruid == uid]


@syscall
def getpriority(lwp: Lwp, which: PrioWhich, who: Int) -> int:
    """Return 20 minus the lowest nice value of a set of threads (getpriority(2)): EINVAL, ESRCH."""
    found = selected(lwp, which, who)
    if not found:
        raise KernelError(Errno.ESRCH)
    return 20 - min(other.nice for other in found)


@syscall
def setpriority(lwp: Lwp, which: PrioWhich, who: Int, niceval: Int) -> int:
    """Set the nice value of a set of threads (setpriority(2)): EINVAL, ESRCH, EPERM, EACCES."""
    nice = max(-20, min(19, niceval))
    error = Errno.ESRCH
    done = False
    for target in selected(lwp, which, who):
        cred = lwp.proc.cred
        if not _same_owner(cred, target.proc.cred) and not cred.crhas(PRIV_PROC_PRIOUP):
            error = Errno.EPERM
        elif nice < target.nice and not _may_raise(lwp, target, nice):
            error = Errno.EACCES
        else:
            done = True
            _set_nice(target, nice)
            continue
        raise KernelError(error)
    if not done:
        raise KernelError(error)
    return 0


@syscall
def nice(lwp: Lwp, increment: Int) -> int:
    """Change the caller's nice value (nice(2)): EPERM."""
    step = max(-40, min(40, increment))
    value = max(-20, min(19, lwp.nice + step))
    if step < 0 and not _may_raise(lwp, lwp, value):
        raise KernelError(Errno.EPERM)
    _set_nice(lwp, value)
    return 0


def reset_on_fork(new: Lwp) -> None:
    """Take from a new thread what SCHED_RESET_ON_FORK does not let it inherit (sched(7))."""
    if not new.sched_policy & LX_SCHED_RESET_ON_FORK:
        return
    new.sched_policy &= ~LX_SCHED_RESET_ON_FORK
    if new.sched_policy in (*_REALTIME, LX_SCHED_DEADLINE):
        new.sched_policy = LX_SCHED_OTHER
        new.sched_priority = 0
        new.sched_deadline = (0, 0, 0)
        _set_nice(new, 0)
    elif new.nice < 0:
        _set_nice(new, 0)


# -- policies -----------------------------------------------------------------------------------


def _check_policy(lwp: Lwp, target: Lwp, policy: int, priority: int) -> None:
    """EINVAL for a policy or priority that does not exist, EPERM for one that is not allowed."""
    base = policy & ~LX_SCHED_RESET_ON_FORK
    if base in _REALTIME:
        if not 1 <= priority <= 99:
            raise KernelError(Errno.EINVAL)
    elif base not in _ORDINARY or priority:
        raise KernelError(Errno.EINVAL)
    cred = lwp.proc.cred
    if cred.crhas(PRIV_PROC_PRIOUP):
        return
    if base in _REALTIME:
        limit = target.proc.rctls.soft(RLIMIT_RTPRIO)
        held = target.sched_policy & ~LX_SCHED_RESET_ON_FORK
        if (base != held and not limit) or priority > max(target.sched_priority, limit):
            raise KernelError(Errno.EPERM)
    if not _same_owner(cred, target.proc.cred):
        raise KernelError(Errno.EPERM)


@syscall
def sched_setscheduler(lwp: Lwp, pid: Pid, policy: SchedPolicy, param: In[SchedParam]) -> int:
    """Set policy and priority of a thread (sched_setscheduler(2)): EINVAL, EFAULT, ESRCH, EPERM."""
    if policy & 0x80000000 or not param or pid < 0:
        raise KernelError(Errno.EINVAL)
    priority = param.get().priority
    target = find_lwp(lwp, pid)
    _check_policy(lwp, target, policy, priority)
    target.sched_policy, target.sched_priority = policy, priority
    return 0


@syscall
def sched_getscheduler(lwp: Lwp, pid: Pid) -> int:
    """Return the policy of a thread (sched_getscheduler(2)): EINVAL, ESRCH."""
    return find_lwp(lwp, pid).sched_policy


@syscall
def sched_setparam(lwp: Lwp, pid: Pid, param: In[SchedParam]) -> int:
    """Set the priority of a thread (sched_setparam(2)): EINVAL, EFAULT, ESRCH, EPERM."""
    if not param or pid < 0:
        raise KernelError(Errno.EINVAL)
    priority = param.get().priority
    target = find_lwp(lwp, pid)
    _check_policy(lwp, target, target.sched_policy, priority)
    target.sched_priority = priority
    return 0


@syscall
def sched_getparam(lwp: Lwp, pid: Pid, param: Out[SchedParam]) -> int:
    """Return the priority of a thread (sched_getparam(2)): EINVAL, ESRCH, EFAULT."""
    if not param or pid < 0:
        raise KernelError(Errno.EINVAL)
    param.put(SchedParam(find_lwp(lwp, pid).sched_priority))
    return 0


@syscall
def sched_get_priority_max(lwp: Lwp, policy: Int) -> int:
    """Return the highest priority of a policy (sched_get_priority_max(2)): EINVAL."""
    if policy in _REALTIME:
        return 99
    if policy in _ORDINARY or policy == LX_SCHED_DEADLINE:
        return 0
    raise KernelError(Errno.EINVAL)


@syscall
def sched_get_priority_min(lwp: Lwp, policy: Int) -> int:
    """Return the lowest priority of a policy (sched_get_priority_min(2)): EINVAL."""
    if policy in _REALTIME:
        return 1
    if policy in _ORDINARY or policy == LX_SCHED_DEADLINE:
        return 0
    raise KernelError(Errno.EINVAL)


@syscall
def sched_rr_get_interval(lwp: Lwp, pid: Pid, interval: Out[Timespec]) -> int:
    """Return the quantum of a thread (sched_rr_get_interval(2)): EINVAL, ESRCH, EFAULT."""
    policy = find_lwp(lwp, pid).sched_policy & ~LX_SCHED_RESET_ON_FORK
    quantum = {LX_SCHED_FIFO: 0, LX_SCHED_RR: _RR_NS}.get(policy, _SLICE_NS)
    interval.put(Timespec.of(quantum))
    return 0


@syscall
def sched_yield(lwp: Lwp) -> int:
    """Let other runnable threads go first (sched_yield(2))."""
    lwp.machine.disp.yield_(lwp)
    return 0


@syscall
def sched_getattr(lwp: Lwp, pid: Pid, attr: Ptr, size: UInt, flags: UInt) -> int:
    """Return policy, nice value and priority of a thread (sched_getattr(2)).

    EINVAL, ESRCH, EFAULT.
    """
    if not attr or pid < 0 or not LX_SCHED_ATTR_VER0 <= size <= 4096 or flags:
        raise KernelError(Errno.EINVAL)
    target = find_lwp(lwp, pid)
    policy = target.sched_policy & ~LX_SCHED_RESET_ON_FORK
    reset = int(bool(target.sched_policy & LX_SCHED_RESET_ON_FORK))
    known = min(size, LX_SCHED_ATTR_SIZE)
    times = (_SLICE_NS, 0, 0) if policy in _ORDINARY else target.sched_deadline
    record = SchedAttr(
        known, policy, reset, target.nice if policy in _ORDINARY else 0, target.sched_priority,
        *times, 0, 1024,
    )  # fmt: skip
    from syscalls.abi.model import LP64
    from syscalls.abi.registry import default_codec

    lwp.as_.copyout(attr, default_codec(SchedAttr, LP64).pack(record)[:known])
    return 0


@syscall
def sched_setattr(lwp: Lwp, pid: Pid, attr: InOut[SchedAttr], flags: UInt) -> int:
    """Set policy, nice value and priority of a thread (sched_setattr(2)).

    EINVAL, E2BIG, EFAULT, ESRCH, EPERM. SCHED_DEADLINE is remembered, not kept.
    """
    if not attr or pid < 0 or flags:
        raise KernelError(Errno.EINVAL)
    new = _copy_attr(lwp, attr)
    target = find_lwp(lwp, pid)
    policy = new.policy | (LX_SCHED_RESET_ON_FORK if new.flags & 1 else 0)
    if new.policy == LX_SCHED_DEADLINE:
        _check_deadline(lwp, new)
    else:
        _check_policy(lwp, target, policy, new.priority)
    if new.policy in _ORDINARY:
        nice_value = max(-20, min(19, new.nice))
        if nice_value < target.nice and not _may_raise(lwp, target, nice_value):
            raise KernelError(Errno.EPERM)
        _set_nice(target, nice_value)
    target.sched_policy, target.sched_priority = policy, new.priority
    target.sched_deadline = _deadline(new)
    return 0


def _deadline(new: SchedAttr) -> tuple[int, int, int]:
    """Return run time, deadline and period (0: the deadline) of an attribute, in ns."""
    if new.policy != LX_SCHED_DEADLINE:
        return (0, 0, 0)
    return new.runtime, new.deadline, new.period or new.deadline


def _check_deadline(lwp: Lwp, new: SchedAttr) -> None:
    """EINVAL for times that make no sense (__checkparam_dl), EPERM without privilege."""
    runtime, deadline, period = _deadline(new)
    limit = 1 << 63
    if new.priority or not 1 << 10 <= runtime <= deadline <= period or period >= limit:
        raise KernelError(Errno.EINVAL)
    if not lwp.proc.cred.crhas(PRIV_PROC_PRIOUP):
        raise KernelError(Errno.EPERM)


def _copy_attr(lwp: Lwp, attr: InOut[SchedAttr]) -> SchedAttr:
    """Copy in a sched_attr of the size that it says it has (sched_copy_attr)."""
    size = lwp.as_.load_u32(attr.addr) or LX_SCHED_ATTR_VER0
    if not LX_SCHED_ATTR_VER0 <= size <= 4096:
        lwp.as_.store_u32(attr.addr, LX_SCHED_ATTR_SIZE)
        raise KernelError(Errno.E2BIG)
    data = lwp.as_.copyin(attr.addr, size)
    if any(data[LX_SCHED_ATTR_SIZE:]):
        lwp.as_.store_u32(attr.addr, LX_SCHED_ATTR_SIZE)
        raise KernelError(Errno.E2BIG)
    new: SchedAttr = attr.codec.unpack(data[:LX_SCHED_ATTR_SIZE].ljust(LX_SCHED_ATTR_SIZE, b"\0"))
    if new.policy & 0x80000000 or new.flags & ~0x7F:
        raise KernelError(Errno.EINVAL)
    return new


# -- processors ---------------------------------------------------------------------------------


@syscall
def sched_getaffinity(lwp: Lwp, pid: Pid, length: UInt, mask: OutBuf) -> int:
    """Return the processors a thread may run on, always the one (sched_getaffinity(2)).

    The result is the size of the mask: EINVAL, ESRCH, EFAULT.
    """
    word = lwp.brand.bits // 8
    if not length or length % word:
        raise KernelError(Errno.EINVAL)
    find_lwp(lwp, pid) if pid >= 0 else _no_such(pid)
    size = min(length, LX_CPUMASK_SIZE)
    lwp.as_.copyout(mask, (1).to_bytes(size, "little"))
    return size


def _no_such(_pid: int) -> None:
    raise KernelError(Errno.ESRCH)


@syscall
def sched_setaffinity(lwp: Lwp, pid: Pid, length: UInt, mask: InBuf) -> int:
    """Choose the processors a thread may run on (sched_setaffinity(2)).

    EFAULT, ESRCH, EPERM; EINVAL without the one there is.
    """
    bits = int.from_bytes(lwp.as_.copyin(mask, min(length, LX_CPUMASK_SIZE)), "little")
    if pid < 0:
        raise KernelError(Errno.ESRCH)
    _may_touch(lwp, find_lwp(lwp, pid))
    if not bits & 1:
        raise KernelError(Errno.EINVAL)
    return 0


@syscall
def getcpu(lwp: Lwp, cpu: Out[UInt], node: Out[UInt], unused: Ptr) -> int:
    """Tell the processor and node that the caller runs on: 0 and 0 (getcpu(2)): EFAULT."""
    cpu.put_if(0)
    node.put_if(0)
    return 0
