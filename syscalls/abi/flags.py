"""Argument types whose value is translated: flag words and enumerations.

The comment behind each says what the handler gets. "strict" tables raise EINVAL for a bit or value
that no row has; the others say so.
"""

from __future__ import annotations

from typing import Annotated

from . import xlat_file as f
from . import xlat_mm as m
from . import xlat_net as n
from . import xlat_poll as e
from . import xlat_proc as p
from . import xlat_signal as s
from .scalars import ValueScalar as V

# files. open: LP64 callers get O_LARGEFILE always (force_o_largefile); unknown bits ignored.
OpenFlags = Annotated[int, V("OpenFlags", f.OPEN, force64=f.O_LARGEFILE)]
PipeFlags = Annotated[int, V("PipeFlags", f.PIPE)]
Dup3Flags = Annotated[int, V("Dup3Flags", f.DUP3)]
# *at flags: the kernel's AT_ values (consts.At); strict, one alias per set that a call accepts
AtFlags = Annotated[int, V("AtFlags", f.AT_STAT)]
AtStatx = Annotated[int, V("AtStatx", f.AT_STATX)]
AtUnlink = Annotated[int, V("AtUnlink", f.AT_UNLINK)]
AtAccess = Annotated[int, V("AtAccess", f.AT_ACCESS)]
AtLink = Annotated[int, V("AtLink", f.AT_LINK)]
AtChown = Annotated[int, V("AtChown", f.AT_NOFOLLOW_EMPTY)]
AtUtimens = Annotated[int, V("AtUtimens", f.AT_NOFOLLOW_EMPTY)]
AtChmod = Annotated[int, V("AtChmod", f.AT_NOFOLLOW_EMPTY)]
AtExec = Annotated[int, V("AtExec", f.AT_NOFOLLOW_EMPTY)]
AtXattr = Annotated[int, V("AtXattr", f.AT_NOFOLLOW_EMPTY)]
AtHandle = Annotated[int, V("AtHandle", f.AT_HANDLE)]
AccessMode = Annotated[int, V("AccessMode", f.ACCESS)]  # R_OK 4 W_OK 2 X_OK 1; strict
Whence = Annotated[int, V("Whence", f.WHENCE)]  # SEEK_*; others pass through
FcntlCmd = Annotated[int, V("FcntlCmd", f.FCNTL)]  # consts.F; strict
FlockOp = Annotated[int, V("FlockOp", f.FLOCK)]  # LOCK_ bits; strict
RenameFlags = Annotated[int, V("RenameFlags", f.RENAME)]
FallocMode = Annotated[int, V("FallocMode", f.FALLOC)]  # unknown kept: EOPNOTSUPP is the call's
Fadvice = Annotated[int, V("Fadvice", f.FADVISE)]
SyncRangeFlags = Annotated[int, V("SyncRangeFlags", f.SYNC_RANGE)]
RwfFlags = Annotated[int, V("RwfFlags", f.RWF)]  # unknown kept: EOPNOTSUPP is the call's
SpliceFlags = Annotated[int, V("SpliceFlags", f.SPLICE)]
XattrFlags = Annotated[int, V("XattrFlags", f.XATTR)]
CloseRangeFlags = Annotated[int, V("CloseRangeFlags", f.CLOSE_RANGE)]
EventfdFlags = Annotated[int, V("EventfdFlags", f.EVENTFD)]
InotifyFlags = Annotated[int, V("InotifyFlags", f.INOTIFY_INIT)]
InotifyMask = Annotated[int, V("InotifyMask", f.INOTIFY_MASK)]
MemfdFlags = Annotated[int, V("MemfdFlags", f.MEMFD)]
StatxMask = Annotated[int, V("StatxMask", f.STATX_MASK)]
MountFlags = Annotated[int, V("MountFlags", f.MOUNT, fmt64="Q")]
UmountFlags = Annotated[int, V("UmountFlags", f.UMOUNT)]
# poll
EpollCreateFlags = Annotated[int, V("EpollCreateFlags", e.EPOLL_CREATE)]
EpollOp = Annotated[int, V("EpollOp", e.EPOLL_OP)]
# memory
MmapProt = Annotated[int, V("MmapProt", m.PROT, fmt64="Q")]  # PROT_*; others kept
MmapFlags = Annotated[int, V("MmapFlags", m.MMAP, fmt64="Q")]  # MAP_* of kernel/mm/mman.py
MremapFlags = Annotated[int, V("MremapFlags", m.MREMAP, fmt64="Q")]
MsyncFlags = Annotated[int, V("MsyncFlags", m.MSYNC)]
Madvice = Annotated[int, V("Madvice", m.MADVISE)]  # illumos MADV_*, 1000 + Linux's for the rest
Mlock2Flags = Annotated[int, V("Mlock2Flags", m.MLOCK2)]
MlockallFlags = Annotated[int, V("MlockallFlags", m.MLOCKALL)]
# processes
WaitOptions = Annotated[int, V("WaitOptions", p.WAIT4)]  # exit.py W*; strict
WaitidOptions = Annotated[int, V("WaitidOptions", p.WAIT)]
IdType = Annotated[int, V("IdType", p.IDTYPE)]  # exit.py P_*, P_PIDFD 100; strict
CloneFlags = Annotated[int, V("CloneFlags", p.CLONE, fmt64="Q")]  # raw, low byte is the signal
ClockId = Annotated[
    int, V("ClockId", p.CLOCK, fmt64="i", fmt32="i")
]  # timer.py CLOCK_*, consts.Clock
TimerFlags = Annotated[int, V("TimerFlags", p.TIMER)]
TimerfdFlags = Annotated[int, V("TimerfdFlags", p.TIMERFD)]
TimerfdSetFlags = Annotated[int, V("TimerfdSetFlags", p.TIMERFD_SET)]
ItimerWhich = Annotated[int, V("ItimerWhich", p.ITIMER)]
RusageWho = Annotated[int, V("RusageWho", p.RUSAGE)]  # 0 self, -1 children, 1 thread
Resource = Annotated[int, V("Resource", p.RESOURCE)]  # rctl.py RLIMIT_*; strict
PrioWhich = Annotated[int, V("PrioWhich", p.PRIO)]
SchedPolicy = Annotated[int, V("SchedPolicy", p.SCHED)]
GetrandomFlags = Annotated[int, V("GetrandomFlags", p.GETRANDOM)]
PidfdFlags = Annotated[int, V("PidfdFlags", p.PIDFD)]
PidfdSignalFlags = Annotated[int, V("PidfdSignalFlags", p.PIDFD_SIGNAL)]
PrctlOption = Annotated[int, V("PrctlOption", p.PRCTL)]
ArchPrctlCode = Annotated[int, V("ArchPrctlCode", p.ARCH_PRCTL)]
FutexOp = Annotated[int, V("FutexOp", p.FUTEX)]
MembarrierCmd = Annotated[int, V("MembarrierCmd", p.MEMBARRIER)]
PersonalityWord = Annotated[int, V("PersonalityWord", p.PERSONALITY)]
RebootCmd = Annotated[int, V("RebootCmd", p.REBOOT_CMD)]
# signals
SigHow = Annotated[
    int, V("SigHow", s.SIG_HOW)
]  # signal.py SIG_BLOCK...; others pass through (0 is bad)
SignalfdFlags = Annotated[int, V("SignalfdFlags", s.SFD_FLAGS)]
# sockets
SockFamily = Annotated[
    int, V("SockFamily", n.FAMILY, fmt64="i", fmt32="i")
]  # socketvar AF_*; others pass
SockType = Annotated[int, V("SockType", n.SOCK_TYPE)]  # socketvar SOCK_*; strict
AcceptFlags = Annotated[int, V("AcceptFlags", n.ACCEPT_FLAGS)]  # strict
MsgFlags = Annotated[int, V("MsgFlags", n.MSG)]  # socketvar MSG_*; unknown ignored
ShutHow = Annotated[int, V("ShutHow", n.SHUT, fmt64="i", fmt32="i")]
SockLevel = Annotated[int, V("SockLevel", n.LEVEL, fmt64="i", fmt32="i")]  # SOL_SOCKET is 0xffff
