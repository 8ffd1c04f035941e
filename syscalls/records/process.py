"""Records of processes, limits, scheduling and the system."""

from __future__ import annotations

from typing import NamedTuple


class Rusage(NamedTuple):
    """Resource usage; times in ns, maxrss in KiB."""

    utime: int
    stime: int
    maxrss: int = 0
    ixrss: int = 0
    idrss: int = 0
    isrss: int = 0
    minflt: int = 0
    majflt: int = 0
    nswap: int = 0
    inblock: int = 0
    oublock: int = 0
    msgsnd: int = 0
    msgrcv: int = 0
    nsignals: int = 0
    nvcsw: int = 0
    nivcsw: int = 0


class Rlimit(NamedTuple):
    """A pair of limits; infinity is the kernel's RLIM_INFINITY whatever the width."""

    cur: int
    max: int


class Rlimit64(Rlimit):
    """The limits of prlimit64(2): 64 bits everywhere."""

    __slots__ = ()


class Utsname(NamedTuple):
    """uname(2): six strings of up to 64 bytes."""

    sysname: bytes
    nodename: bytes
    release: bytes
    version: bytes
    machine: bytes
    domainname: bytes


class Sysinfo(NamedTuple):
    """sysinfo(2); loads have 16 bits of fraction, sizes are in units of `unit` bytes."""

    uptime: int
    loads: tuple[int, int, int]
    totalram: int
    freeram: int
    sharedram: int
    bufferram: int
    totalswap: int
    freeswap: int
    procs: int
    totalhigh: int
    freehigh: int
    unit: int


class UserDesc(NamedTuple):
    """A segment of set_thread_area and modify_ldt; `flags` bits as in asm/ldt.h."""

    entry: int
    base: int
    limit: int
    flags: int


class CapHeader(NamedTuple):
    """Header of capget and capset."""

    version: int
    pid: int


class CapData(NamedTuple):
    """32 bits of each capability set."""

    effective: int
    permitted: int
    inheritable: int


class CloneArgs(NamedTuple):
    """The argument of clone3(2): CLONE_ARGS_SIZE_VER2, 88 bytes; all 64-bit, raw Linux bits."""

    flags: int
    pidfd: int
    child_tid: int
    parent_tid: int
    exit_signal: int
    stack: int
    stack_size: int
    tls: int
    set_tid: int = 0
    set_tid_size: int = 0
    cgroup: int = 0


class SchedParam(NamedTuple):
    """Priority of a scheduling policy."""

    priority: int


class SchedAttr(NamedTuple):
    """sched_setattr(2), 56 bytes."""

    size: int
    policy: int
    flags: int
    nice: int
    priority: int
    runtime: int
    deadline: int
    period: int
    util_min: int = 0
    util_max: int = 0


class RobustListHead(NamedTuple):
    """Head of the robust futex list: address of the first entry, offset of the lock word."""

    list: int
    futex_offset: int
    list_op_pending: int


class FutexWaitv(NamedTuple):
    """One futex of futex_waitv(2)."""

    val: int
    uaddr: int
    flags: int
    reserved: int = 0


class MmapArgs(NamedTuple):
    """The one argument of the old i386 mmap(2)."""

    addr: int
    len: int
    prot: int
    flags: int
    fd: int
    offset: int
