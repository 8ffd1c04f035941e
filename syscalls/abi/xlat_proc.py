"""Words of the process, scheduling, time and system calls. Kernel values: illumos, or ours."""

from __future__ import annotations

from typing import Final

from .xlat import EnumTable, FlagTable

#: wait options (sys/wait.h) and the brand's filters (lxemu/kernel/exit.py W_CLONE and W_NORMAL).
WAIT: Final = FlagTable(
    "W",
    (0x1, 0x40, "WNOHANG"),
    (0x2, 0x4, "WSTOPPED"),
    (0x4, 0x1, "WEXITED"),
    (0x8, 0x8, "WCONTINUED"),
    (0x01000000, 0x80, "WNOWAIT"),
    (0x20000000, 1 << 18, "__WNOTHREAD"),
    (0x40000000, 1 << 16 | 1 << 17, "__WALL"),
    (0x80000000, 1 << 17, "__WCLONE"),
)
#: wait4 and waitpid: the same, with no WEXITED or WNOWAIT; WUNTRACED is the name.
WAIT4: Final = FlagTable(
    "W",
    (0x1, 0x40, "WNOHANG"),
    (0x2, 0x4, "WSTOPPED"),
    (0x8, 0x8, "WCONTINUED"),
    (0x20000000, 1 << 18, "__WNOTHREAD"),
    (0x40000000, 1 << 16 | 1 << 17, "__WALL"),
    (0x80000000, 1 << 17, "__WCLONE"),
)
#: id types (sys/procset.h); P_PIDFD is ours.
IDTYPE: Final = EnumTable(
    "P", (0, 7, "P_ALL"), (1, 0, "P_PID"), (2, 2, "P_PGID"), (3, 100, "P_PIDFD")
)
#: clone flags stay as Linux has them: there is no illumos call to translate to.
CLONE: Final = FlagTable(
    "CLONE",
    (0x100, 0x100, "CLONE_VM"),
    (0x200, 0x200, "CLONE_FS"),
    (0x400, 0x400, "CLONE_FILES"),
    (0x800, 0x800, "CLONE_SIGHAND"),
    (0x1000, 0x1000, "CLONE_PIDFD"),
    (0x2000, 0x2000, "CLONE_PTRACE"),
    (0x4000, 0x4000, "CLONE_VFORK"),
    (0x8000, 0x8000, "CLONE_PARENT"),
    (0x10000, 0x10000, "CLONE_THREAD"),
    (0x20000, 0x20000, "CLONE_NEWNS"),
    (0x40000, 0x40000, "CLONE_SYSVSEM"),
    (0x80000, 0x80000, "CLONE_SETTLS"),
    (0x100000, 0x100000, "CLONE_PARENT_SETTID"),
    (0x200000, 0x200000, "CLONE_CHILD_CLEARTID"),
    (0x400000, 0x400000, "CLONE_DETACHED"),
    (0x800000, 0x800000, "CLONE_UNTRACED"),
    (0x1000000, 0x1000000, "CLONE_CHILD_SETTID"),
    (0x2000000, 0x2000000, "CLONE_NEWCGROUP"),
    (0x4000000, 0x4000000, "CLONE_NEWUTS"),
    (0x8000000, 0x8000000, "CLONE_NEWIPC"),
    (0x10000000, 0x10000000, "CLONE_NEWUSER"),
    (0x20000000, 0x20000000, "CLONE_NEWPID"),
    (0x40000000, 0x40000000, "CLONE_NEWNET"),
    (0x80000000, 0x80000000, "CLONE_IO"),
    (0x100000000, 0x100000000, "CLONE_CLEAR_SIGHAND"),
    (0x200000000, 0x200000000, "CLONE_INTO_CGROUP"),
    unknown="keep",
)
#: Clocks (sys/time_impl.h); those from 64 on are ours: illumos has no such variants. Negative ids
#: (CPU clocks of other processes) and unknown ones pass through; the handler refuses them.
CLOCK: Final = EnumTable(
    "CLOCK",
    (0, 3, "CLOCK_REALTIME"),
    (1, 4, "CLOCK_MONOTONIC", "CLOCK_HIGHRES"),
    (2, 5, "CLOCK_PROCESS_CPUTIME_ID"),
    (3, 2, "CLOCK_THREAD_CPUTIME_ID"),
    (4, 68, "CLOCK_MONOTONIC_RAW"),
    (5, 69, "CLOCK_REALTIME_COARSE"),
    (6, 70, "CLOCK_MONOTONIC_COARSE"),
    (7, 71, "CLOCK_BOOTTIME"),
    (8, 72, "CLOCK_REALTIME_ALARM"),
    (9, 73, "CLOCK_BOOTTIME_ALARM"),
    (11, 75, "CLOCK_TAI"),
    # numbers that no Linux clock has must not come out as one of the kernel's
    (10, 74, "CLOCK_SGI_CYCLE"),
    unknown="keep",
)
TIMER: Final = FlagTable("TIMER", (1, 1, "TIMER_ABSTIME"), unknown="ignore")
TIMERFD_SET: Final = FlagTable(
    "TFD", (1, 1, "TFD_TIMER_ABSTIME"), (2, 2, "TFD_TIMER_CANCEL_ON_SET"), unknown="keep"
)
PIDFD_SIGNAL: Final = FlagTable(
    "PIDFD_SIGNAL",
    (1, 1, "PIDFD_SIGNAL_THREAD"),
    (2, 2, "PIDFD_SIGNAL_THREAD_GROUP"),
    (4, 4, "PIDFD_SIGNAL_PROCESS_GROUP"),
)
TIMERFD: Final = FlagTable(
    "TFD",
    (0o2000000, 0x800000, "TFD_CLOEXEC", "O_CLOEXEC"),
    (0o4000, 0x80, "TFD_NONBLOCK", "O_NONBLOCK"),
)
ITIMER: Final = EnumTable(
    "ITIMER", (0, 0, "ITIMER_REAL"), (1, 1, "ITIMER_VIRTUAL"), (2, 2, "ITIMER_PROF")
)
RUSAGE: Final = EnumTable(
    "RUSAGE",
    (0, 0, "RUSAGE_SELF"),
    (0xFFFFFFFF, -1, "RUSAGE_CHILDREN"),
    (1, 1, "RUSAGE_THREAD", "RUSAGE_LWP"),
)
#: Limits (sys/resource.h); those from 16 on are resource controls (lxemu/kernel/rctl.py).
RESOURCE: Final = EnumTable(
    "RLIMIT",
    (0, 0, "RLIMIT_CPU"),
    (1, 1, "RLIMIT_FSIZE"),
    (2, 2, "RLIMIT_DATA"),
    (3, 3, "RLIMIT_STACK"),
    (4, 4, "RLIMIT_CORE"),
    (5, 16, "RLIMIT_RSS"),
    (6, 17, "RLIMIT_NPROC"),
    (7, 5, "RLIMIT_NOFILE"),
    (8, 18, "RLIMIT_MEMLOCK"),
    (9, 6, "RLIMIT_AS"),
    (10, 19, "RLIMIT_LOCKS"),
    (11, 20, "RLIMIT_SIGPENDING"),
    (12, 21, "RLIMIT_MSGQUEUE"),
    (13, 22, "RLIMIT_NICE"),
    (14, 23, "RLIMIT_RTPRIO"),
    (15, 24, "RLIMIT_RTTIME"),
)
PRIO: Final = EnumTable("PRIO", (0, 0, "PRIO_PROCESS"), (1, 1, "PRIO_PGRP"), (2, 2, "PRIO_USER"))
SCHED: Final = EnumTable(
    "SCHED",
    (0, 0, "SCHED_OTHER"),
    (1, 1, "SCHED_FIFO"),
    (2, 2, "SCHED_RR"),
    (3, 3, "SCHED_BATCH"),
    (5, 5, "SCHED_IDLE"),
    (6, 6, "SCHED_DEADLINE"),
    (0x40000000, 0x40000000, "SCHED_OTHER|SCHED_RESET_ON_FORK"),
    unknown="keep",
)
GETRANDOM: Final = FlagTable(
    "GRND", (1, 1, "GRND_NONBLOCK"), (2, 2, "GRND_RANDOM"), (4, 4, "GRND_INSECURE")
)
PIDFD: Final = FlagTable(
    "PIDFD", (0o4000, 0x80, "PIDFD_NONBLOCK", "O_NONBLOCK"), (0o200, 0x400, "PIDFD_THREAD")
)
PRCTL: Final = EnumTable(
    "PR",
    (1, 1, "PR_SET_PDEATHSIG"),
    (2, 2, "PR_GET_PDEATHSIG"),
    (3, 3, "PR_GET_DUMPABLE"),
    (4, 4, "PR_SET_DUMPABLE"),
    (5, 5, "PR_GET_UNALIGN"),
    (6, 6, "PR_SET_UNALIGN"),
    (7, 7, "PR_GET_KEEPCAPS"),
    (8, 8, "PR_SET_KEEPCAPS"),
    (9, 9, "PR_GET_FPEMU"),
    (10, 10, "PR_SET_FPEMU"),
    (11, 11, "PR_GET_FPEXC"),
    (12, 12, "PR_SET_FPEXC"),
    (13, 13, "PR_GET_TIMING"),
    (14, 14, "PR_SET_TIMING"),
    (15, 15, "PR_SET_NAME"),
    (16, 16, "PR_GET_NAME"),
    (19, 19, "PR_GET_ENDIAN"),
    (20, 20, "PR_SET_ENDIAN"),
    (21, 21, "PR_GET_SECCOMP"),
    (22, 22, "PR_SET_SECCOMP"),
    (23, 23, "PR_CAPBSET_READ"),
    (24, 24, "PR_CAPBSET_DROP"),
    (25, 25, "PR_GET_TSC"),
    (26, 26, "PR_SET_TSC"),
    (27, 27, "PR_GET_SECUREBITS"),
    (28, 28, "PR_SET_SECUREBITS"),
    (29, 29, "PR_SET_TIMERSLACK"),
    (30, 30, "PR_GET_TIMERSLACK"),
    (31, 31, "PR_TASK_PERF_EVENTS_DISABLE"),
    (32, 32, "PR_TASK_PERF_EVENTS_ENABLE"),
    (33, 33, "PR_MCE_KILL"),
    (34, 34, "PR_MCE_KILL_GET"),
    (35, 35, "PR_SET_MM"),
    (36, 36, "PR_SET_CHILD_SUBREAPER"),
    (37, 37, "PR_GET_CHILD_SUBREAPER"),
    (38, 38, "PR_SET_NO_NEW_PRIVS"),
    (39, 39, "PR_GET_NO_NEW_PRIVS"),
    (40, 40, "PR_GET_TID_ADDRESS"),
    (41, 41, "PR_SET_THP_DISABLE"),
    (42, 42, "PR_GET_THP_DISABLE"),
    (45, 45, "PR_SET_FP_MODE"),
    (46, 46, "PR_GET_FP_MODE"),
    (47, 47, "PR_CAP_AMBIENT"),
    (52, 52, "PR_GET_SPECULATION_CTRL"),
    (53, 53, "PR_SET_SPECULATION_CTRL"),
    (57, 57, "PR_SET_IO_FLUSHER"),
    (58, 58, "PR_GET_IO_FLUSHER"),
    (59, 59, "PR_SET_SYSCALL_USER_DISPATCH"),
    (62, 62, "PR_SCHED_CORE"),
    (65, 65, "PR_SET_MDWE"),
    (66, 66, "PR_GET_MDWE"),
    (0x53564D41, 0x53564D41, "PR_SET_VMA"),
    (0x59616D61, 0x59616D61, "PR_SET_PTRACER"),
    unknown="keep",
)
ARCH_PRCTL: Final = EnumTable(
    "ARCH",
    (0x1001, 0x1001, "ARCH_SET_GS"),
    (0x1002, 0x1002, "ARCH_SET_FS"),
    (0x1003, 0x1003, "ARCH_GET_FS"),
    (0x1004, 0x1004, "ARCH_GET_GS"),
    (0x1011, 0x1011, "ARCH_GET_CPUID"),
    (0x1012, 0x1012, "ARCH_SET_CPUID"),
    unknown="keep",
)
FUTEX: Final = EnumTable(
    "FUTEX",
    *(
        (number | extra, number | extra, name + suffix)
        for extra, suffix in (
            (0, ""),
            (0x80, "_PRIVATE"),
            (0x100, "|FUTEX_CLOCK_REALTIME"),
            (0x180, "_PRIVATE|FUTEX_CLOCK_REALTIME"),
        )
        for number, name in enumerate(
            (
                "FUTEX_WAIT",
                "FUTEX_WAKE",
                "FUTEX_FD",
                "FUTEX_REQUEUE",
                "FUTEX_CMP_REQUEUE",
                "FUTEX_WAKE_OP",
                "FUTEX_LOCK_PI",
                "FUTEX_UNLOCK_PI",
                "FUTEX_TRYLOCK_PI",
                "FUTEX_WAIT_BITSET",
                "FUTEX_WAKE_BITSET",
                "FUTEX_WAIT_REQUEUE_PI",
                "FUTEX_CMP_REQUEUE_PI",
                "FUTEX_LOCK_PI2",
            )
        )
    ),
    unknown="keep",
)
MEMBARRIER: Final = EnumTable(
    "MEMBARRIER_CMD",
    (0, 0, "MEMBARRIER_CMD_QUERY"),
    (1, 1, "MEMBARRIER_CMD_GLOBAL"),
    (2, 2, "MEMBARRIER_CMD_GLOBAL_EXPEDITED"),
    (4, 4, "MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED"),
    (8, 8, "MEMBARRIER_CMD_PRIVATE_EXPEDITED"),
    (16, 16, "MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED"),
    (32, 32, "MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE"),
    (64, 64, "MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE"),
    (128, 128, "MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ"),
    (256, 256, "MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ"),
    (512, 512, "MEMBARRIER_CMD_GET_REGISTRATIONS"),
    unknown="keep",
)
PERSONALITY: Final = EnumTable(
    "PER", (0, 0, "PER_LINUX"), (0xFFFFFFFF, 0xFFFFFFFF, "0xffffffff"), unknown="keep"
)
REBOOT_CMD: Final = EnumTable(
    "LINUX_REBOOT_CMD",
    (0x01234567, 0x01234567, "LINUX_REBOOT_CMD_RESTART"),
    (0xCDEF0123, 0xCDEF0123, "LINUX_REBOOT_CMD_HALT"),
    (0x4321FEDC, 0x4321FEDC, "LINUX_REBOOT_CMD_POWER_OFF"),
    (0x89ABCDEF, 0x89ABCDEF, "LINUX_REBOOT_CMD_CAD_ON"),
    (0, 0, "LINUX_REBOOT_CMD_CAD_OFF"),
    unknown="keep",
)
