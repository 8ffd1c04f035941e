"""Layouts against the C compiler: sizes and offsets of the kernel's own headers, in both models.

The headers are those of linux-libc-dev; -m32 needs no 32-bit C library, for nothing is linked.
"""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from syscalls.abi.model import ILP32, LP64

#: layout -> (header, C type, {member: C member} where the names differ by more than a prefix)
CASES = {
    "file.STAT_X86_64@64": ("asm/stat.h", "struct stat", "st_", {"rdev": "st_rdev"}),
    "file.STAT_I386@32": ("asm/stat.h", "struct stat", "st_", {}),
    "file.STAT64_I386@32": ("asm/stat.h", "struct stat64", "st_", {"_ino32": "__st_ino"}),
    "file.STAT_OLD@32": (
        "asm/stat.h",
        "struct __old_kernel_stat",
        "st_",
        {"blksize": None, "blocks": None},
    ),
    "file.STATX": (
        "linux/stat.h",
        "struct statx",
        "stx_",
        {"rdev": "stx_rdev_major", "dev": "stx_dev_major", "subvol": None},
    ),
    "file.STATFS": ("asm/statfs.h", "struct statfs", "f_", {}),
    "file.IOVEC": ("linux/uio.h", "struct iovec", "iov_", {}),
    "file.POLLFD": ("asm/poll.h", "struct pollfd", "", {}),
    "file.EPOLL_EVENT@64": ("linux/eventpoll.h", "struct epoll_event", "", {}),
    "file.FLOCK": ("linux/fcntl.h", "struct flock", "l_", {}),
    "file.FLOCK64@32": ("linux/fcntl.h", "struct flock64", "l_", {}),
    "file.F_OWNER_EX": ("linux/fcntl.h", "struct f_owner_ex", "", {}),
    "file.OPEN_HOW": ("linux/openat2.h", "struct open_how", "", {}),
    "file.UTIMBUF": ("linux/utime.h", "struct utimbuf", "", {}),
    "file.WINSIZE": ("asm/termios.h", "struct winsize", "ws_", {}),
    "file.TERMIOS": ("asm/termbits.h", "struct termios", "c_", {}),
    "file.TERMIOS2": ("asm/termbits.h", "struct termios2", "c_", {}),
    "file.TERMIO": ("asm/termios.h", "struct termio", "c_", {}),
    "file.INOTIFY_EVENT": ("linux/inotify.h", "struct inotify_event", "", {}),
    "time.TIMESPEC": ("linux/time.h", "struct timespec", "tv_", {}),
    "time.TIMESPEC64": ("linux/time_types.h", "struct __kernel_timespec", "tv_", {}),
    "time.TIMEVAL": ("linux/time.h", "struct timeval", "tv_", {}),
    "time.ITIMERVAL": ("linux/time.h", "struct itimerval", "it_", {}),
    "time.ITIMERSPEC": ("linux/time.h", "struct itimerspec", "it_", {}),
    "time.ITIMERSPEC64": ("linux/time_types.h", "struct __kernel_itimerspec", "it_", {}),
    "time.TIMEZONE": ("linux/time.h", "struct timezone", "tz_", {}),
    "time.TMS": ("linux/times.h", "struct tms", "tms_", {}),
    "time.TIMEX@64": ("linux/timex.h", "struct timex", "", {}),
    "time.TIMEX64": ("linux/timex.h", "struct __kernel_timex", "", {}),
    "time.SIGEVENT": ("asm/siginfo.h", "struct sigevent", "sigev_", {"tid": "_sigev_un._tid"}),
    "signal.SIGACTION@64": (
        "asm/signal.h",
        "struct sigaction",
        "sa_",
        {"handler": "sa_handler"},
    ),
    "signal.SIGACTION_OLD@32": (
        "asm/signal.h",
        "struct sigaction",
        "sa_",
        {"handler": "_u._sa_handler"},
    ),
    "signal.STACK_T": ("asm/signal.h", "stack_t", "ss_", {}),
    "signal.SIGNALFD_SIGINFO": (
        "linux/signalfd.h",
        "struct signalfd_siginfo",
        "ssi_",
        {"int_": "ssi_int"},
    ),
    "process.RUSAGE": ("linux/resource.h", "struct rusage", "ru_", {}),
    "process.RLIMIT": ("linux/resource.h", "struct rlimit", "rlim_", {}),
    "process.RLIMIT64": ("linux/resource.h", "struct rlimit64", "rlim_", {}),
    "process.UTSNAME": ("linux/utsname.h", "struct new_utsname", "", {}),
    "process.UTSNAME_OLD": ("linux/utsname.h", "struct old_utsname", "", {"domainname": None}),
    "process.UTSNAME_OLDOLD": (
        "linux/utsname.h",
        "struct oldold_utsname",
        "",
        {"domainname": None},
    ),
    "process.SYSINFO": ("linux/sysinfo.h", "struct sysinfo", "", {"unit": "mem_unit"}),
    "process.USER_DESC": (
        "asm/ldt.h",
        "struct user_desc",
        "",
        {"entry": "entry_number", "base": "base_addr", "flags": None},
    ),
    "process.CAP_HEADER": ("linux/capability.h", "struct __user_cap_header_struct", "", {}),
    "process.CAP_DATA": ("linux/capability.h", "struct __user_cap_data_struct", "", {}),
    "process.CLONE_ARGS": ("linux/sched.h", "struct clone_args", "", {}),
    "process.SCHED_ATTR": (
        "linux/sched/types.h",
        "struct sched_attr",
        "sched_",
        {"size": "size", "util_min": "sched_util_min", "util_max": "sched_util_max"},
    ),
    "process.ROBUST_LIST_HEAD": ("linux/futex.h", "struct robust_list_head", "", {}),
    "process.FUTEX_WAITV": ("linux/futex.h", "struct futex_waitv", "", {"reserved": "__reserved"}),
    "ipc.SEMBUF": ("linux/sem.h", "struct sembuf", "sem_", {"flg": "sem_flg"}),
    "ipc.IPC_PERM": ("asm/ipcbuf.h", "struct ipc64_perm", "", {}),
    "ipc.IPC_PERM_OLD@32": ("linux/ipc.h", "struct ipc_perm", "", {}),
    "ipc.SHMID": (
        "asm/shmbuf.h",
        "struct shmid64_ds",
        "shm_",
        {},
    ),
    "ipc.SHMID_OLD@32": ("linux/shm.h", "struct shmid_ds", "shm_", {}),
    "ipc.SHMINFO": ("asm/shmbuf.h", "struct shminfo64", "", {}),
    "ipc.SHMINFO_OLD@32": ("linux/shm.h", "struct shminfo", "", {}),
    "ipc.SHMUSAGE": (
        "linux/shm.h",
        "struct shm_info",
        "shm_",
        {
            "used_ids": "used_ids",
            "swap_attempts": "swap_attempts",
            "swap_successes": "swap_successes",
        },
    ),
    "ipc.SEMID": ("asm/sembuf.h", "struct semid64_ds", "sem_", {}),
    "ipc.SEMID_OLD@32": ("linux/sem.h", "struct semid_ds", "sem_", {}),
    "ipc.SEMINFO": ("linux/sem.h", "struct seminfo", "", {}),
    "ipc.MSQID": ("asm/msgbuf.h", "struct msqid64_ds", "msg_", {}),
    "ipc.MSQID_OLD@32": (
        "linux/msg.h",
        "struct msqid_ds",
        "msg_",
        {"_lcbytes": "msg_lcbytes", "_lqbytes": "msg_lqbytes"},
    ),
    "ipc.MSGINFO": ("linux/msg.h", "struct msginfo", "", {}),
    "ipc.MQ_EVENT": ("asm/siginfo.h", "struct sigevent", "sigev_", {}),
    "ipc.MQ_ATTR": ("linux/mqueue.h", "struct mq_attr", "mq_", {}),
}
#: Linux headers that include libc's, or clash with each other: what to define before them.
PRELUDE = {
    "linux/sched/types.h": "#include <linux/types.h>",
    "linux/stat.h": "#include <linux/types.h>",
    "asm/siginfo.h": "#include <linux/types.h>",
    "linux/mqueue.h": "#include <linux/types.h>",
    "asm/shmbuf.h": "#include <asm/ipcbuf.h>",
    "asm/sembuf.h": "#include <asm/ipcbuf.h>",
    "asm/msgbuf.h": "#include <asm/ipcbuf.h>",
}
MODELS = {64: LP64, 32: ILP32}
INCLUDE = Path("/usr/include/x86_64-linux-gnu")

needs_gcc = pytest.mark.skipif(
    shutil.which("gcc") is None or not (INCLUDE / "asm/stat.h").is_file(),
    reason="needs gcc and linux-libc-dev for x86",
)


def layout_named(name):
    topic, _, constant = name.partition(".")
    return getattr(importlib.import_module(f"syscalls.layouts.{topic}"), constant)


def c_offsets(bits, header, ctype, members):
    """Ask gcc for sizeof and the offsets: as immediates in assembler text, nothing is run."""
    lines = [PRELUDE.get(header, ""), f"#include <{header}>", "void probe(void) {"]
    lines.append(f'__asm__ volatile("@@_sizeof %c0" :: "i"(sizeof({ctype})));')
    lines += [
        f'__asm__ volatile("@@{ours} %c0" :: "i"(__builtin_offsetof({ctype}, {theirs})));'
        for ours, theirs in members.items()
    ]
    lines.append("}")
    done = subprocess.run(
        f"gcc -m{bits} -ffreestanding -w -S -O0 -o - -I {INCLUDE} -x c -".split(),
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {name: int(value) for name, value in re.findall(r"@@(\w+) (-?\d+)", done.stdout)}


def params():
    for name, case in CASES.items():
        base, _, only = name.partition("@")
        for bits in (64, 32):
            if not only or int(only) == bits:
                yield pytest.param(base, bits, *case, id=f"{base}-{bits}")


@needs_gcc
@pytest.mark.parametrize(("name", "bits", "header", "ctype", "prefix", "names"), list(params()))
def test_layout_equals_compiler(name, bits, header, ctype, prefix, names):
    layout = layout_named(name)
    ours, size, _, _ = layout.offsets(MODELS[bits])
    wanted = {}
    for member in ours:
        if member in names:
            if names[member] is not None:
                wanted[member] = names[member]
        elif not member.startswith("_"):
            wanted[member] = prefix + member
    theirs = c_offsets(bits, header, ctype, wanted)

    assert {m: ours[m] for m in wanted} == {m: theirs[m] for m in wanted}
    assert size == theirs["_sizeof"]


#: Layouts that no user header has: sizes from the kernel's compat headers (arch/x86 asm/compat.h).
SIZES = {
    ("file.CACHESTAT_RANGE", 64): 16,
    ("file.CACHESTAT", 32): 40,
    ("file.STATFS64_I386", 32): 84,
    ("file.EPOLL_EVENT", 32): 12,
    ("file.FLOCK64", 64): 32,
    ("file.USTAT", 64): 32,
    ("file.USTAT", 32): 20,
    ("signal.SIGACTION", 32): 20,
    ("time.TIMEX", 32): 128,
    ("process.MMAP_ARGS", 32): 24,
    ("file.SELECT_ARGS", 32): 20,
    ("file.MOUNT_ATTR", 32): 32,
    ("file.MNT_ID_REQ", 64): 32,
    ("process.RLIMIT_OLD", 32): 8,
    ("time.TIMESPEC_PAIR64", 32): 32,
}


@pytest.mark.parametrize(("case", "size"), SIZES.items(), ids=str)
def test_layout_size(case, size):
    name, bits = case

    assert layout_named(name).size(MODELS[bits]) == size


def test_every_layout_has_a_check():
    checked = {name.partition("@")[0] for name in CASES} | {name for name, _ in SIZES}
    missing = []
    for topic in ("file", "time", "signal", "process", "ipc"):
        module = importlib.import_module(f"syscalls.layouts.{topic}")
        for value in module.DEFAULTS.values():
            for layout in value if isinstance(value, tuple) else (value,):
                names = [n for n, v in vars(module).items() if v is layout and n.isupper()]
                if not any(f"{topic}.{n}" in checked for n in names):
                    missing.append((topic, names))

    assert missing == [
        ("file", ["FILE_HANDLE"]),
        ("file", ["SIGSET6"]),
        ("time", ["TIMEVAL_PAIR"]),
        ("time", ["TIMESPEC_PAIR"]),
        ("signal", ["SIGINFO"]),
        ("process", ["SCHED_PARAM"]),
    ]
