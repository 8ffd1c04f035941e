"""Kernel values that handlers name and that no kernel module defines."""

from __future__ import annotations

from typing import Final


class At:
    """AT_ flags as handlers get them: illumos sys/fcntl.h; those from 1 << 16 on are ours."""

    FDCWD = 0xFFD19553 - (1 << 32)
    REMOVEDIR = 0x1
    EACCESS = 0x4
    SYMLINK_NOFOLLOW = 0x1000
    SYMLINK_FOLLOW = 0x2000
    NO_AUTOMOUNT = 1 << 16
    EMPTY_PATH = 1 << 17
    HANDLE_FID = 1 << 18
    STATX_FORCE_SYNC = 0x2 << 20
    STATX_DONT_SYNC = 0x4 << 20


class F:
    """fcntl commands as handlers get them: illumos sys/fcntl.h; those from 1000 on are ours."""

    DUPFD = 0
    GETFD = 1
    SETFD = 2
    GETFL = 3
    SETFL = 4
    SETLK = 6
    SETLKW = 7
    GETLK = 14
    GETOWN = 23
    SETOWN = 24
    GETLK64 = 33
    SETLK64 = 34
    SETLKW64 = 35
    DUPFD_CLOEXEC = 37
    OFD_GETLK = 47
    OFD_SETLK = 48
    OFD_SETLKW = 49
    SETSIG = 1010
    GETSIG = 1011
    SETOWN_EX = 1015
    GETOWN_EX = 1016
    GETOWNER_UIDS = 1017
    SETLEASE = 2024
    GETLEASE = 2025
    NOTIFY = 2026
    CANCELLK = 2029
    SETPIPE_SZ = 2031
    GETPIPE_SZ = 2032
    ADD_SEALS = 2033
    GET_SEALS = 2034
    DUPFD_QUERY = 2027
    CREATED_QUERY = 2028
    RDLCK = 1
    WRLCK = 2
    UNLCK = 3


class Clock:
    """Clocks as handlers get them: illumos sys/time_impl.h; those from 64 on are ours."""

    THREAD_CPUTIME = 2
    REALTIME = 3
    MONOTONIC = 4
    PROCESS_CPUTIME = 5
    MONOTONIC_RAW = 68
    REALTIME_COARSE = 69
    MONOTONIC_COARSE = 70
    BOOTTIME = 71
    REALTIME_ALARM = 72
    BOOTTIME_ALARM = 73
    TAI = 75


class Epoll:
    """Bits of EpollEvent.events beyond the kernel's POLL*."""

    EXCLUSIVE = 1 << 28
    WAKEUP = 1 << 29
    ONESHOT = 1 << 30
    ET = 1 << 31
    CTL_ADD = 1
    CTL_DEL = 2
    CTL_MOD = 3


class Clone:
    """clone flags: Linux's, for nothing in illumos corresponds."""

    CSIGNAL = 0xFF
    VM = 0x100
    FS = 0x200
    FILES = 0x400
    SIGHAND = 0x800
    PIDFD = 0x1000
    PTRACE = 0x2000
    VFORK = 0x4000
    PARENT = 0x8000
    THREAD = 0x10000
    NEWNS = 0x20000
    SYSVSEM = 0x40000
    SETTLS = 0x80000
    PARENT_SETTID = 0x100000
    CHILD_CLEARTID = 0x200000
    DETACHED = 0x400000
    UNTRACED = 0x800000
    CHILD_SETTID = 0x1000000
    NEWCGROUP = 0x2000000
    NEWUTS = 0x4000000
    NEWIPC = 0x8000000
    NEWUSER = 0x10000000
    NEWPID = 0x20000000
    NEWNET = 0x40000000
    IO = 0x80000000
    CLEAR_SIGHAND = 0x100000000
    INTO_CGROUP = 0x200000000


class Madv:
    """madvise advice as handlers get it: illumos sys/mman.h; 1000 + Linux's number for the rest."""

    NORMAL = 0
    RANDOM = 1
    SEQUENTIAL = 2
    WILLNEED = 3
    FREE = 5
    PURGE = 9
    REMOVE = 1009
    DONTFORK = 1010
    DOFORK = 1011
    MERGEABLE = 1012
    UNMERGEABLE = 1013
    HUGEPAGE = 1014
    NOHUGEPAGE = 1015
    DONTDUMP = 1016
    DODUMP = 1017
    WIPEONFORK = 1018
    KEEPONFORK = 1019
    COLD = 1020
    PAGEOUT = 1021
    POPULATE_READ = 1022
    POPULATE_WRITE = 1023
    DONTNEED_LOCKED = 1024
    COLLAPSE = 1025


#: waitid id type of a pidfd (ours; the others are lxemu/kernel/exit.py P_*).
P_PIDFD = 100
#: wait options beyond lxemu/kernel/exit.py: __WNOTHREAD.
W_NOTHREAD = 1 << 18
#: POLLWRNORM kept apart from POLLOUT (they are one bit in illumos).
POLL_WRNORM = 0x400

#: What ptrace sees of an interrupted call that is never restarted for a handler: by kind, the
#: number that the kernel uses inside (ERESTARTNOHAND, ERESTART_RESTARTBLOCK).
INTERRUPTED: Final[dict[str, int]] = {
    "pause": 514,
    "sigsuspend": 514,
    "rt_sigsuspend": 514,
    "select": 514,
    "old_select": 514,
    "pselect6": 514,
    "ppoll": 514,
    "poll": 516,
    "nanosleep": 516,
    "clock_nanosleep": 516,
    "futex": 516,
}
