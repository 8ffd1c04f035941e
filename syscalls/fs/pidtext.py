"""The text of the files in Linux /proc/PID, as a kernel of the 6.x series prints them.

Sources: proc(5), fs/proc/array.c and fs/proc/base.c of Linux; Documentation/filesystems/proc.rst.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel import rctl
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.sched import TS_ONPROC, TS_RUN
from lxemu.kernel.signal import SIG_DFL, SIG_IGN, SigQueue
from syscalls.caps import caps_of_privs
from syscalls.fs.proctext import TICK_NS
from syscalls.signum import TO_LX, sigset_to_lx

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.pidspace import PidSpace
    from lxemu.kernel.proc import FsCtx, Proc

_STATE_NAMES = {
    "R": "R (running)",
    "S": "S (sleeping)",
    "D": "D (disk sleep)",
    "T": "T (stopped)",
    "t": "t (tracing stop)",
    "Z": "Z (zombie)",
}
_PAGE = 4096


def image(proc: Proc, member: str) -> int:
    """Return an address of the program image (`arg_start` and others), 0 if there is none."""
    return int(getattr(proc.brand_data, member, 0) or 0)


def fs_of(proc: Proc) -> FsCtx | None:
    """Return the directories of a process; the kernel's own init has none."""
    return getattr(proc, "fs", None)


def owner_of(proc: Proc) -> tuple[int, int]:
    """Return who owns the files of a process: root's if it is not dumpable."""
    if not proc.dumpable:
        return 0, 0
    return proc.cred.euid, proc.cred.egid


def main_lwp(proc: Proc) -> Lwp | None:
    """Return the lwp whose id is the pid, or the first that is left."""
    return proc.lwp(proc.pid) or (proc.lwps[0] if proc.lwps else None)


def state_letter(proc: Proc, lwp: Lwp | None) -> str:
    """Return R, S, D, T or Z."""
    if proc.zombie:
        return "Z"
    if lwp is None:
        # The kernel's own init, which runs no code.
        return "S"
    if lwp.trace is not None:
        if lwp.trace.stop is not None:
            return "t"
    elif proc.stopped:
        return "T"
    if lwp.state in (TS_RUN, TS_ONPROC):
        return "R"
    return "S" if lwp.sleep_sig else "D"


def tracer_pid(lwp: Lwp | None) -> int:
    """Return the pid of the process that traces an lwp, 0 if none does."""
    return lwp.trace.tracer.proc.pid if lwp is not None and lwp.trace is not None else 0


def tty_nr(proc: Proc) -> tuple[int, int]:
    """Return the controlling terminal as Linux packs it, and its foreground group.

    (0, -1) without.
    """
    tty = proc.ctty
    if tty is None:
        return 0, -1
    major, minor = tty.rdev >> 32, tty.rdev & 0xFFFFFFFF
    return minor & 0xFF | major << 8 | (minor & ~0xFF) << 12, tty.fg or -1


def _memory(proc: Proc) -> tuple[int, int]:
    """Return (virtual size, resident size) in bytes; a zombie has none."""
    if proc.zombie:
        return 0, 0
    return int(proc.as_.vsize), int(proc.as_.rss) * _PAGE


def _signal_sets(proc: Proc) -> tuple[int, int]:
    """Return the ignored and the caught signals, as Linux masks."""
    ignored = caught = 0
    for sig, action in enumerate(proc.sigacts):
        if sig and action.handler == SIG_IGN:
            ignored |= 1 << (sig - 1)
        elif sig and action.handler != SIG_DFL:
            caught |= 1 << (sig - 1)
    return sigset_to_lx(ignored), sigset_to_lx(caught)


def _comm(proc: Proc, lwp: Lwp | None) -> bytes:
    return lwp.name if lwp is not None else proc.comm


def _priority(lwp: Lwp | None) -> tuple[int, int, int, int]:
    """Return priority, nice, rt_priority and policy of field order in stat."""
    if lwp is None:
        return 20, 0, 0, 0
    if lwp.sched_policy in (1, 2):
        return -1 - lwp.sched_priority, lwp.nice, lwp.sched_priority, lwp.sched_policy
    return 20 + lwp.nice, lwp.nice, 0, lwp.sched_policy


def _split(proc: Proc) -> tuple[int, int]:
    """Return user and system time; those of a zombie are what it ended with."""
    return (proc.usage.utime, proc.usage.stime) if proc.zombie else proc.cpu_split()


def shower(pids: PidSpace | None) -> Callable[[int], int]:
    """Return what turns ids of the zone into the numbers of a space."""
    return int if pids is None else lambda ident: pids.shown(ident) if ident > 0 else ident


def stat(proc: Proc, lwp: Lwp | None, *, whole: bool = True, pids: PidSpace | None = None) -> bytes:
    """/proc/PID/stat, 52 fields (do_task_stat).

    `whole` False is the task/TID form: one lwp's times.
    """
    leader = lwp or main_lwp(proc)
    show = shower(pids)
    ident = show(leader.tid if leader is not None and not whole else proc.pid)
    tty, tpgid = tty_nr(proc)
    usage, gone = proc.usage, proc.child_usage
    utime, stime = (leader.cpu_time(), 0) if leader is not None and not whole else _split(proc)
    vsize, rss = _memory(proc)
    prio, nice, rt_priority, policy = _priority(leader)
    ignored, caught = _signal_sets(proc)
    pending = proc.sigq.pending | (leader.sigq.pending if leader else 0)
    blocked = leader.sigmask if leader else 0
    started = leader.start_hrtime if leader is not None and not whole else proc.start_hrtime
    start = max(0, started - proc.zone.boot_hrtime) // TICK_NS
    exit_code = proc.wait_status << 8 if proc.zombie else 0
    low31 = 0x7FFFFFFF
    signal_out = TO_LX[proc.exit_signal] if proc.exit_signal else 0
    fields = (
        state_letter(proc, leader),
        show(proc.ppid), show(proc.pgrp.pgid), show(proc.session.sid), tty, show(tpgid), 0x400000,
        usage.minflt, gone.minflt, usage.majflt, gone.majflt,
        utime // TICK_NS, stime // TICK_NS, gone.utime // TICK_NS, gone.stime // TICK_NS,
        prio, nice, max(1, len(proc.lwps)), 0, start, vsize, rss // _PAGE,
        proc.rctls.soft(rctl.RLIMIT_RSS),
        image(proc, "start_code"), image(proc, "end_code"), image(proc, "start_stack"), 0, 0,
        sigset_to_lx(pending) & low31, sigset_to_lx(blocked) & low31, ignored & low31, caught &
        low31, 0, 0, 0, signal_out, 0, rt_priority, policy, 0, 0, 0, image(proc, "start_data"),
        image(proc, "end_data"), image(proc, "start_brk"), image(proc, "arg_start"), image(proc,
        "arg_end"), image(proc, "env_start"), image(proc, "env_end"), exit_code,
    )  # fmt: skip
    rest = " ".join(map(str, fields)).encode()
    return b"%d (%s) %s\n" % (ident, _comm(proc, leader), rest)


def statm(proc: Proc) -> bytes:
    """/proc/PID/statm: sizes in pages."""
    vsize, rss = _memory(proc)
    text = (image(proc, "end_code") - image(proc, "start_code") + _PAGE - 1) // _PAGE
    return b"%d %d 0 %d 0 %d 0\n" % (vsize // _PAGE, rss // _PAGE, text, vsize // _PAGE - text)


def _escape_comm(name: bytes) -> bytes:
    return name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")


def _status_memory(proc: Proc) -> list[str]:
    vsize, rss = _memory(proc)
    text = image(proc, "end_code") - image(proc, "start_code")
    as_ = proc.as_
    anon = as_.rss_anon * _PAGE
    stack = as_.segat(as_.start_stack)
    rows = {
        "VmPeak": vsize,
        "VmSize": vsize,
        "VmLck": as_.locked,
        "VmPin": 0,
        "VmHWM": max(rss, as_.maxrss * _PAGE),
        "VmRSS": rss,
        "RssAnon": anon,
        "RssFile": rss - anon,
        "RssShmem": 0,
        "VmData": as_.data_bytes(),
        "VmStk": stack.size if stack is not None else 0,
        "VmExe": text,
        "VmLib": 0,
        "VmPTE": as_.hat.ntables * _PAGE,
        "VmSwap": 0,
    }
    lines = [f"{name}:\t{value >> 10:>8} kB" for name, value in rows.items()]
    return [*lines, f"HugetlbPages:\t{0:>8} kB", "CoreDumping:\t0", "THP_enabled:\t0"]


def _queued(queues: list[SigQueue]) -> int:
    return sum(queue.count() for queue in queues)


def _all_ids(ident: int, proc: Proc, viewer: PidSpace | None) -> str:
    """Return the numbers of an id from the viewer's space down to the process' own."""
    found: list[str] = []
    space = proc.pidspace
    while space is not None and space is not viewer:
        found.append(str(space.shown(ident)))
        space = space.parent
    found.append(str(shower(viewer)(ident)))
    return "\t".join(reversed(found))


def status(proc: Proc, lwp: Lwp | None, pids: PidSpace | None = None) -> bytes:
    """/proc/PID/status (proc_pid_status)."""
    leader = lwp or main_lwp(proc)
    show = shower(pids)
    pid, tid = show(proc.pid), show(leader.tid if leader is not None else proc.pid)
    cred, fs = proc.cred, fs_of(proc)
    fd_size = 64 if proc.zombie else max(64, 1 << (len(list(proc.files.items())) - 1).bit_length())
    groups = "".join(f"{gid} " for gid in cred.groups) or " "
    lines = [
        f"Umask:\t{fs.umask if fs is not None else 0o022:04o}",
        f"State:\t{_STATE_NAMES[state_letter(proc, leader)]}",
        f"Tgid:\t{pid}",
        "Ngid:\t0",
        f"Pid:\t{tid}",
        f"PPid:\t{show(proc.ppid)}",
        f"TracerPid:\t{show(tracer_pid(leader))}",
        f"Uid:\t{cred.ruid}\t{cred.euid}\t{cred.suid}\t{cred.fsuid}",
        f"Gid:\t{cred.rgid}\t{cred.egid}\t{cred.sgid}\t{cred.fsgid}",
        f"FDSize:\t{0 if proc.zombie else fd_size}",
        f"Groups:\t{groups}",
        f"NStgid:\t{_all_ids(proc.pid, proc, pids)}",
        f"NSpid:\t{_all_ids(leader.tid if leader is not None else proc.pid, proc, pids)}",
        f"NSpgid:\t{_all_ids(proc.pgrp.pgid, proc, pids)}",
        f"NSsid:\t{_all_ids(proc.session.sid, proc, pids)}",
        "Kthread:\t0",
    ]
    if not proc.zombie:
        lines += _status_memory(proc)
    lines += _status_signals(proc, leader)
    lines += [
        f"CapInh:\t{caps_of_privs(cred.inheritable):016x}",
        f"CapPrm:\t{caps_of_privs(cred.permitted):016x}",
        f"CapEff:\t{caps_of_privs(cred.privs):016x}",
        f"CapBnd:\t{caps_of_privs(cred.bounding):016x}",
        f"CapAmb:\t{caps_of_privs(cred.ambient):016x}",
        f"NoNewPrivs:\t{int(cred.no_new_privs)}",
        *_status_filters(leader),
        "Speculation_Store_Bypass:\tnot vulnerable",
        "SpeculationIndirectBranch:\tunknown",
        "Cpus_allowed:\t1",
        "Cpus_allowed_list:\t0",
        "Mems_allowed:\t1",
        "Mems_allowed_list:\t0",
        f"voluntary_ctxt_switches:\t{proc.usage.nvcsw}",
        f"nonvoluntary_ctxt_switches:\t{proc.usage.nivcsw}",
    ]
    name = _escape_comm(_comm(proc, leader))
    return b"Name:\t" + name + b"\n" + ("\n".join(lines) + "\n").encode()


def _status_filters(lwp: Lwp | None) -> tuple[str, str]:
    from syscalls.seccomp import count_of, mode_of

    mode, count = (mode_of(lwp), count_of(lwp)) if lwp is not None else (0, 0)
    return f"Seccomp:\t{mode}", f"Seccomp_filters:\t{count}"


def _status_signals(proc: Proc, lwp: Lwp | None) -> list[str]:
    ignored, caught = _signal_sets(proc)
    queued = _queued([proc.sigq, *(other.sigq for other in proc.lwps)])
    return [
        f"Threads:\t{max(1, len(proc.lwps))}",
        f"SigQ:\t{queued}/{proc.rctls.soft(rctl.RLIMIT_SIGPENDING)}",
        f"SigPnd:\t{sigset_to_lx(lwp.sigq.pending) if lwp else 0:016x}",
        f"ShdPnd:\t{sigset_to_lx(proc.sigq.pending):016x}",
        f"SigBlk:\t{sigset_to_lx(lwp.sigmask) if lwp else 0:016x}",
        f"SigIgn:\t{ignored:016x}",
        f"SigCgt:\t{caught:016x}",
    ]


def _user_string(proc: Proc, start: int, end: int) -> bytes:
    """Return user memory as far as it can be read; a process may have unmapped or moved it."""
    if proc.zombie or end <= start:
        return b""
    try:
        return proc.as_.copyin(start, min(end - start, 1 << 20))
    except KernelError:
        return b""


def cmdline(proc: Proc) -> bytes:
    """/proc/PID/cmdline: the argument strings as they are in memory now (setproctitle shows)."""
    if proc.zombie:
        return b""
    start, end = image(proc, "arg_start"), image(proc, "arg_end")
    if not start:
        return b"".join(arg + b"\0" for arg in proc.psargs)
    text = _user_string(proc, start, end)
    if text and text[-1] != 0:
        # A title that ran over the arguments into the environment ends at its own NUL.
        more = _user_string(proc, end, image(proc, "env_end"))
        text += more[: more.find(b"\0") + 1] if b"\0" in more else more
        text = text[: text.find(b"\0")] + b"\0" if b"\0" in text else text
    return text


def environ(proc: Proc) -> bytes:
    """/proc/PID/environ: the initial environment as it is in memory."""
    return _user_string(proc, image(proc, "env_start"), image(proc, "env_end"))


def comm(proc: Proc, lwp: Lwp | None) -> bytes:
    """/proc/PID/comm."""
    return _comm(proc, lwp or main_lwp(proc)) + b"\n"


_LIMITS = (
    ("Max cpu time", rctl.RLIMIT_CPU, "seconds"),
    ("Max file size", rctl.RLIMIT_FSIZE, "bytes"),
    ("Max data size", rctl.RLIMIT_DATA, "bytes"),
    ("Max stack size", rctl.RLIMIT_STACK, "bytes"),
    ("Max core file size", rctl.RLIMIT_CORE, "bytes"),
    ("Max resident set", rctl.RLIMIT_RSS, "bytes"),
    ("Max processes", rctl.RLIMIT_NPROC, "processes"),
    ("Max open files", rctl.RLIMIT_NOFILE, "files"),
    ("Max locked memory", rctl.RLIMIT_MEMLOCK, "bytes"),
    ("Max address space", rctl.RLIMIT_AS, "bytes"),
    ("Max file locks", rctl.RLIMIT_LOCKS, "locks"),
    ("Max pending signals", rctl.RLIMIT_SIGPENDING, "signals"),
    ("Max msgqueue size", rctl.RLIMIT_MSGQUEUE, "bytes"),
    ("Max nice priority", rctl.RLIMIT_NICE, ""),
    ("Max realtime priority", rctl.RLIMIT_RTPRIO, ""),
    ("Max realtime timeout", rctl.RLIMIT_RTTIME, "us"),
)


def limits(proc: Proc) -> bytes:
    """/proc/PID/limits."""
    lines = [f"{'Limit':<25} {'Soft Limit':<20} {'Hard Limit':<20} {'Units':<10}\n"]
    for title, resource, unit in _LIMITS:
        soft, hard = (
            "unlimited" if value == rctl.RLIM_INFINITY else str(value)
            for value in proc.rctls.get(resource)
        )
        lines.append(f"{title:<25} {soft:<20} {hard:<20} {unit:<10}\n")
    return "".join(lines).encode()


def auxv(proc: Proc) -> bytes:
    """/proc/PID/auxv: the vector given to the program, AT_NULL included."""
    return bytes(getattr(proc.brand_data, "auxv", b"") or b"")


def io(proc: Proc) -> bytes:
    """/proc/PID/io."""
    usage = proc.usage
    return (
        b"rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: %d\nwrite_bytes: %d\n"
        b"cancelled_write_bytes: 0\n" % (usage.inblock * 512, usage.oublock * 512)
    )


def schedstat(proc: Proc) -> bytes:
    """/proc/PID/schedstat: ns on the CPU, ns waiting, slices."""
    return b"%d 0 %d\n" % (proc.cpu_time(), proc.usage.nvcsw + proc.usage.nivcsw)


def syscall_line(proc: Proc, lwp: Lwp | None) -> bytes:
    """/proc/PID/syscall: `running`, or the call that the lwp sleeps in, its arguments, sp and pc.

    An lwp that sleeps elsewhere (in a fault, stopped) has -1, sp and pc.
    """
    leader = lwp or main_lwp(proc)
    if leader is None or leader.state in (TS_RUN, TS_ONPROC):
        return b"running\n"
    regs = leader.cpu
    numbers: tuple[int, ...] = ()
    if leader.syscall_nr >= 0 and regs.bits == 64:
        numbers = regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9
    elif leader.syscall_nr >= 0:
        numbers = regs.rbx, regs.rcx, regs.rdx, regs.rsi, regs.rdi, regs.rbp
    numbers = *numbers, regs.sp, regs.pc
    return b"%d %s\n" % (leader.syscall_nr, b" ".join(b"%#x" % number for number in numbers))


def children(proc: Proc, lwp: Lwp, pids: PidSpace | None) -> bytes:
    """/proc/PID/task/TID/children: those of the process, all of which its first lwp counts."""
    if lwp is not main_lwp(proc):
        return b""
    shown = shower(pids)
    return b"".join(b"%d " % shown(child.pid) for child in proc.children)


def set_oom_score_adj(proc: Proc, data: bytes) -> None:
    """Write to /proc/PID/oom_score_adj: -1000..1000, EINVAL otherwise.

    Lowering it needs privilege.
    """
    try:
        value = int(data.strip() or b"x")
    except ValueError:
        raise KernelError(Errno.EINVAL) from None
    if not -1000 <= value <= 1000:
        raise KernelError(Errno.EINVAL)
    proc.oom_score_adj = value


def set_comm(lwp: Lwp, data: bytes) -> None:
    """Write to /proc/PID/comm: the name, cut to 15 bytes."""
    lwp.name = data.rstrip(b"\n")[:15]
    if lwp.tid == lwp.proc.pid:
        lwp.proc.comm = lwp.name


def set_core_filter(proc: Proc, data: bytes) -> None:
    """Write to /proc/PID/coredump_filter: a number in any of C's notations; EINVAL."""
    text = data.strip().lower()
    base = 16 if text.startswith(b"0x") else 8 if text.startswith(b"0") else 10
    try:
        value = int(text, base)
    except ValueError:
        raise KernelError(Errno.EINVAL) from None
    proc.core_filter = value & 0x1FF
