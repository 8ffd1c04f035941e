"""Layouts of syscalls/records/process.py."""

from __future__ import annotations

from typing import Any, Final

from syscalls.abi.layout import (
    I32,
    LONG,
    PTR,
    U16,
    U32,
    U64,
    ULONG,
    Const,
    Layout,
    Member,
    array,
    cstr,
)
from syscalls.records import process as r

from .common import NS_TIMEVAL

RUSAGE: Final = Layout(
    r.Rusage,
    utime=NS_TIMEVAL,
    stime=NS_TIMEVAL,
    maxrss=LONG,
    ixrss=LONG,
    idrss=LONG,
    isrss=LONG,
    minflt=LONG,
    majflt=LONG,
    nswap=LONG,
    inblock=LONG,
    oublock=LONG,
    msgsnd=LONG,
    msgrcv=LONG,
    nsignals=LONG,
    nvcsw=LONG,
    nivcsw=LONG,
)
_INF: Final = "0xffffffffffffffff"
#: A limit in a long: on i386 what does not fit reads as infinity, and infinity comes in as such.
_LIMIT: Final = Member(
    "Q",
    "I",
    enc="({v} if {v} <= {M} else {M})",
    dec=f"({{0}} if {{0}} != {{M}} else {_INF})",
)
#: The first i386 getrlimit: infinity is 0x7fffffff.
_LIMIT_OLD: Final = Member(
    "Q",
    "I",
    enc="({v} if {v} <= 0x7fffffff else 0x7fffffff)",
    dec=f"({{0}} if {{0}} < 0x7fffffff else {_INF})",
)
RLIMIT: Final = Layout(r.Rlimit, cur=_LIMIT, max=_LIMIT)
RLIMIT_OLD: Final = Layout(r.Rlimit, "RLIMIT_OLD", cur=_LIMIT_OLD, max=_LIMIT_OLD)
RLIMIT64: Final = Layout(r.Rlimit64, cur=U64, max=U64)
_NAME: Final = cstr(65)
UTSNAME: Final = Layout(
    r.Utsname,
    sysname=_NAME,
    nodename=_NAME,
    release=_NAME,
    version=_NAME,
    machine=_NAME,
    domainname=_NAME,
)
#: The name of call 109: no domain; and of call 59: 9 bytes each.
UTSNAME_OLD: Final = Layout(
    r.Utsname,
    "UTSNAME_OLD",
    sysname=_NAME,
    nodename=_NAME,
    release=_NAME,
    version=_NAME,
    machine=_NAME,
    domainname=Member("", enc="*()", dec="b''", count=0),
)
_NAME9: Final = cstr(9)
UTSNAME_OLDOLD: Final = Layout(
    r.Utsname,
    "UTSNAME_OLDOLD",
    sysname=_NAME9,
    nodename=_NAME9,
    release=_NAME9,
    version=_NAME9,
    machine=_NAME9,
    domainname=Member("", enc="*()", dec="b''", count=0),
)
SYSINFO: Final = Layout(
    r.Sysinfo,
    uptime=LONG,
    loads=array(ULONG, 3),
    totalram=ULONG,
    freeram=ULONG,
    sharedram=ULONG,
    bufferram=ULONG,
    totalswap=ULONG,
    freeswap=ULONG,
    procs=U16,
    _pad=Const("H"),
    totalhigh=ULONG,
    freehigh=ULONG,
    unit=U32,
    _f=Member("0s", "8s"),
)
USER_DESC: Final = Layout(r.UserDesc, entry=U32, base=U32, limit=U32, flags=U32)
CAP_HEADER: Final = Layout(r.CapHeader, version=U32, pid=I32)
CAP_DATA: Final = Layout(r.CapData, effective=U32, permitted=U32, inheritable=U32)
CLONE_ARGS: Final = Layout(
    r.CloneArgs,
    flags=U64,
    pidfd=U64,
    child_tid=U64,
    parent_tid=U64,
    exit_signal=U64,
    stack=U64,
    stack_size=U64,
    tls=U64,
    set_tid=U64,
    set_tid_size=U64,
    cgroup=U64,
)
SCHED_PARAM: Final = Layout(r.SchedParam, priority=I32)
SCHED_ATTR: Final = Layout(
    r.SchedAttr,
    size=U32,
    policy=U32,
    flags=U64,
    nice=I32,
    priority=U32,
    runtime=U64,
    deadline=U64,
    period=U64,
    util_min=U32,
    util_max=U32,
)
ROBUST_LIST_HEAD: Final = Layout(r.RobustListHead, list=PTR, futex_offset=LONG, list_op_pending=PTR)
FUTEX_WAITV: Final = Layout(r.FutexWaitv, val=U64, uaddr=U64, flags=U32, reserved=U32)
MMAP_ARGS: Final = Layout(
    r.MmapArgs, addr=PTR, len=ULONG, prot=ULONG, flags=ULONG, fd=LONG, offset=ULONG
)

DEFAULTS: Final[dict[Any, Any]] = {
    r.Rusage: RUSAGE,
    r.Rlimit: RLIMIT,
    r.Rlimit64: RLIMIT64,
    r.Utsname: UTSNAME,
    r.Sysinfo: SYSINFO,
    r.UserDesc: USER_DESC,
    r.CapHeader: CAP_HEADER,
    r.CapData: CAP_DATA,
    r.CloneArgs: CLONE_ARGS,
    r.SchedParam: SCHED_PARAM,
    r.SchedAttr: SCHED_ATTR,
    r.RobustListHead: ROBUST_LIST_HEAD,
    r.FutexWaitv: FUTEX_WAITV,
    r.MmapArgs: MMAP_ARGS,
}
