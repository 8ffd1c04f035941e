"""Text of the records for tracing, as strace(1) writes the structures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from syscalls.signum import TO_LX, lx_signal_name, sigset_to_lx

from . import trace_text as text
from .xlat_file import LOCK_TYPE, STATX_MASK, WHENCE
from .xlat_poll import EPOLL_EVENTS, POLL_EVENTS
from .xlat_proc import CLONE, SCHED
from .xlat_signal import SA_FLAGS, SI_CODES, SIGEV, SS_FLAGS

if TYPE_CHECKING:
    from collections.abc import Callable

    from syscalls import records as r

UTIME_NOW: Final = 0x3FFFFFFF
UTIME_OMIT: Final = 0x3FFFFFFE
_NS: Final = 1_000_000_000
_FS_TYPES: Final = {
    0x01021994: "TMPFS_MAGIC",
    0xEF53: "EXT2_SUPER_MAGIC",
    0x9FA0: "PROC_SUPER_MAGIC",
    0x62656572: "SYSFS_MAGIC",
    0x1CD1: "DEVPTS_SUPER_MAGIC",
    0x50495045: "PIPEFS_MAGIC",
    0x534F434B: "SOCKFS_MAGIC",
    0x794C7630: "OVERLAYFS_SUPER_MAGIC",
    0x27E0EB: "CGROUP_SUPER_MAGIC",
    0x63677270: "CGROUP2_SUPER_MAGIC",
    0x9660: "ISOFS_SUPER_MAGIC",
    0x58465342: "XFS_SUPER_MAGIC",
    0x9123683E: "BTRFS_SUPER_MAGIC",
}
_ST_FLAGS: Final = (
    (0x20, "ST_VALID"),
    (0x1, "ST_RDONLY"),
    (0x2, "ST_NOSUID"),
    (0x4, "ST_NODEV"),
    (0x8, "ST_NOEXEC"),
    (0x10, "ST_SYNCHRONOUS"),
    (0x40, "ST_MANDLOCK"),
    (0x400, "ST_NOATIME"),
    (0x800, "ST_NODIRATIME"),
    (0x1000, "ST_RELATIME"),
    (0x2000, "ST_NOSYMFOLLOW"),
)


def bits(value: int, rows: tuple[tuple[int, str], ...], unknown: str = "") -> str:
    """Name the bits of a word that no translation table has."""
    parts = [name for bit, name in rows if value & bit]
    rest = value & ~sum(bit for bit, _ in rows)
    if rest:
        parts.append(hex(rest) + (f" /* {unknown}_??? */" if unknown and not parts else ""))
    return "|".join(parts) or "0"


def kernel_signal(sig: int) -> str:
    """Name a kernel signal by its Linux name."""
    lx = TO_LX[sig] if 0 <= sig < len(TO_LX) else sig
    return lx_signal_name(lx) if lx > 0 else "0"


def _date_ns(at: int) -> str:
    return text.date(at // _NS, f".{at % _NS:09d}" if at % _NS else "")


def stat(v: r.Stat, *, verbose: bool = False) -> str:
    """Write struct stat: the type, and the size or the device."""
    special = v.mode & 0o170000 in (0o020000, 0o060000)
    size = f"st_rdev={text.device(v.rdev)}" if special else f"st_size={v.size}"
    mode = f"st_mode={text.file_mode(v.mode)}"
    if not verbose:
        return f"{{{mode}, {size}, ...}}"
    times = ", ".join(
        f"st_{name}={at // _NS} /* {_date_ns(at)} */, st_{name}_nsec={at % _NS}"
        for name, at in (("atime", v.atime), ("mtime", v.mtime), ("ctime", v.ctime))
    )
    return (
        f"{{st_dev={text.device(v.dev)}, st_ino={v.ino}, {mode}, st_nlink={v.nlink}, "
        f"st_uid={v.uid}, st_gid={v.gid}, st_blksize={v.blksize}, st_blocks={v.blocks}, "
        f"{size}, {times}}}"
    )


def statx(v: r.Statx) -> str:
    """Write struct statx, abbreviated."""
    return (
        f"{{stx_mask={STATX_MASK.text(v.mask)}, stx_attributes={v.attributes:#x}, "
        f"stx_mode={text.file_mode(v.mode)}, stx_size={v.size}, ...}}"
    ).replace("stx_attributes=0x0,", "stx_attributes=0,")


def statfs(v: r.Statfs) -> str:
    """Write struct statfs."""
    return (
        f"{{f_type={_FS_TYPES.get(v.type, hex(v.type))}, f_bsize={v.bsize}, "
        f"f_blocks={v.blocks}, f_bfree={v.bfree}, f_bavail={v.bavail}, f_files={v.files}, "
        f"f_ffree={v.ffree}, f_fsid={{val=[{v.fsid[0]:#x}, {v.fsid[1]:#x}]}}, "
        f"f_namelen={v.namelen}, f_frsize={v.frsize}, f_flags={bits(v.flags, _ST_FLAGS)}}}"
    )


def timespec(v: r.Timespec) -> str:
    """Write struct timespec."""
    return f"{{tv_sec={v.sec}, tv_nsec={v.nsec}}}"


def timeval(v: r.Timeval) -> str:
    """Write struct timeval."""
    return f"{{tv_sec={v.sec}, tv_usec={v.usec}}}"


def _ns_timeval(ns: int) -> str:
    return f"{{tv_sec={ns // _NS}, tv_usec={ns % _NS // 1000}}}"


def itimerval(v: r.Itimerval) -> str:
    """Write struct itimerval."""
    return f"{{it_interval={timeval(v.interval)}, it_value={timeval(v.value)}}}"


def itimerspec(v: r.Itimerspec) -> str:
    """Write struct itimerspec."""
    return f"{{it_interval={timespec(v.interval)}, it_value={timespec(v.value)}}}"


def utimens(v: r.Timespec) -> str:
    """Write one time of utimensat: the special values by name, the date in a comment."""
    if v.nsec == UTIME_NOW:
        return "UTIME_NOW"
    if v.nsec == UTIME_OMIT:
        return "UTIME_OMIT"
    if not 0 <= v.nsec < _NS:
        return timespec(v)
    fraction = f".{v.nsec:09d}" if v.nsec else ""
    return f"{timespec(v)} /* {text.date(v.sec, fraction)} */"


def timespec_pair(v: r.TimespecPair) -> str:
    """Write the two times of utimensat."""
    return f"[{utimens(v.atime)}, {utimens(v.mtime)}]"


def timeval_pair(v: r.TimevalPair) -> str:
    """Write the two times of utimes."""
    parts = []
    for at in (v.atime, v.mtime):
        fraction = f".{at.usec:06d}" if at.usec else ""
        parts.append(f"{timeval(at)} /* {text.date(at.sec, fraction)} */")
    return f"[{', '.join(parts)}]"


def utimbuf(v: r.Utimbuf) -> str:
    """Write struct utimbuf."""
    return (
        f"{{actime={v.actime} /* {text.date(v.actime)} */, "
        f"modtime={v.modtime} /* {text.date(v.modtime)} */}}"
    )


def sigaction(v: r.SigAction, lx_flags: int | None = None) -> str:
    """Write struct sigaction; the restorer only where the flag says that there is one."""
    handler = {0: "SIG_DFL", 1: "SIG_IGN"}.get(v.handler, hex(v.handler))
    flags = SA_FLAGS.to_lx[v.flags] if lx_flags is None else lx_flags
    restorer = f", sa_restorer={text.pointer(v.restorer)}" if flags & 0x04000000 else ""
    mask = text.sigset(sigset_to_lx(v.mask))
    return f"{{sa_handler={handler}, sa_mask={mask}, sa_flags={SA_FLAGS.text(flags)}{restorer}}}"


def siginfo(v: r.SigInfo) -> str:
    """Write siginfo_t, the members that signal and code give a meaning."""
    if not (v.signo or v.code or v.errno):
        return "{}"
    lx = TO_LX[v.signo] if 0 <= v.signo < len(TO_LX) else v.signo
    code = SI_CODES.to_lx[v.code]
    parts = [f"si_signo={lx_signal_name(lx)}", f"si_code={code_name(lx, code)}"]
    if v.errno:
        parts.append(f"si_errno={v.errno}")
    if lx == 17 and code > 0:
        status = v.status if code == 1 else 0
        shown = str(status) if code == 1 else kernel_signal(v.status)
        tick = 10_000_000
        parts += [f"si_pid={v.pid}", f"si_uid={v.uid}", f"si_status={shown}"]
        parts.append(f"si_utime={text.ticks(v.utime // tick)}")
        parts.append(f"si_stime={text.ticks(v.stime // tick)}")
    elif lx in (4, 5, 7, 8, 11) and code > 0:
        parts.append(f"si_addr={text.pointer(v.addr)}")
    elif code == -2:
        parts += [f"si_timerid={hex(v.timerid) if v.timerid else 0}", f"si_overrun={v.overrun}"]
        parts.append(_sigval(v.value))
    elif code == 0x80:
        pass
    else:
        parts += [f"si_pid={v.pid}", f"si_uid={v.uid}"]
        if v.value:
            parts.append(_sigval(v.value))
    return "{" + ", ".join(parts) + "}"


def _sigval(value: int) -> str:
    number = (value & 0xFFFFFFFF ^ 0x80000000) - 0x80000000
    return f"si_int={number}, si_ptr={text.pointer(value)}"


_CODES: Final = {
    17: (
        "",
        "CLD_EXITED",
        "CLD_KILLED",
        "CLD_DUMPED",
        "CLD_TRAPPED",
        "CLD_STOPPED",
        "CLD_CONTINUED",
    ),
    11: ("", "SEGV_MAPERR", "SEGV_ACCERR", "SEGV_BNDERR", "SEGV_PKUERR"),
    7: ("", "BUS_ADRALN", "BUS_ADRERR", "BUS_OBJERR"),
    4: ("", "ILL_ILLOPC", "ILL_ILLOPN", "ILL_ILLADR", "ILL_ILLTRP", "ILL_PRVOPC", "ILL_PRVREG"),
    8: (
        "",
        "FPE_INTDIV",
        "FPE_INTOVF",
        "FPE_FLTDIV",
        "FPE_FLTOVF",
        "FPE_FLTUND",
        "FPE_FLTRES",
        "FPE_FLTINV",
        "FPE_FLTSUB",
    ),
    5: ("", "TRAP_BRKPT", "TRAP_TRACE", "TRAP_BRANCH", "TRAP_HWBKPT"),
    29: ("", "POLL_IN", "POLL_OUT", "POLL_MSG", "POLL_ERR", "POLL_PRI", "POLL_HUP"),
    31: ("", "SYS_SECCOMP", "SYS_USER_DISPATCH"),
}


def code_name(lx: int, code: int) -> str:
    """Name a si_code of Linux signal *lx*."""
    names = _CODES.get(lx, ())
    if 0 < code < len(names):
        return names[code]
    for row in SI_CODES.rows:
        if row[0] == code:
            return row[2]
    return str(code) if code < 0x80 else hex(code)


def stack_t(v: r.StackT) -> str:
    """Write stack_t."""
    flags = SS_FLAGS.text(v.flags)
    return f"{{ss_sp={text.pointer(v.sp)}, ss_flags={flags}, ss_size={v.size}}}"


def rusage(v: r.Rusage) -> str:
    """Write struct rusage, abbreviated."""
    return f"{{ru_utime={_ns_timeval(v.utime)}, ru_stime={_ns_timeval(v.stime)}, ...}}"


_INF: Final = (1 << 64) - 1


def rlimit(v: r.Rlimit) -> str:
    """Write struct rlimit."""
    cur, most = (text.limit(n, _INF) for n in (v.cur, v.max))
    return f"{{rlim_cur={cur}, rlim_max={most}}}"


def utsname(v: r.Utsname) -> str:
    """Write struct utsname, abbreviated."""
    return f"{{sysname={text.quote(v.sysname)}, nodename={text.quote(v.nodename)}, ...}}"


def sysinfo(v: r.Sysinfo) -> str:
    """Write struct sysinfo."""
    names = v._fields[2:-1]
    middle = ", ".join(f"{name}={getattr(v, name)}" for name in names)
    loads = ", ".join(map(str, v.loads))
    return f"{{uptime={v.uptime}, loads=[{loads}], {middle}, mem_unit={v.unit}}}"


def pollfd_in(v: r.Pollfd) -> str:
    """Write struct pollfd on entry."""
    if v.fd < 0:
        return f"{{fd={v.fd}}}"
    return f"{{fd={v.fd}, events={POLL_EVENTS.text(POLL_EVENTS.to_lx[v.events])}}}"


def epoll_event(v: r.EpollEvent) -> str:
    """Write struct epoll_event."""
    events = EPOLL_EVENTS.text(EPOLL_EVENTS.to_lx[v.events])
    data = f"{{u32={v.data & 0xFFFFFFFF}, u64={v.data}}}"
    return f"{{events={events}, data={data}}}"


def flock(v: r.Flock) -> str:
    """Write struct flock, without the pid (only F_GETLK's answer has one)."""
    return (
        f"{{l_type={LOCK_TYPE.text(LOCK_TYPE.to_lx[v.type])}, "
        f"l_whence={WHENCE.text(v.whence)}, l_start={v.start}, l_len={v.len}}}"
    )


def tms(v: r.Tms) -> str:
    """Write struct tms."""
    return (
        "{" + ", ".join(f"tms_{n}={text.ticks(x)}" for n, x in zip(v._fields, v, strict=True)) + "}"
    )


def timezone(v: r.Timezone) -> str:
    """Write struct timezone."""
    return f"{{tz_minuteswest={v.minuteswest}, tz_dsttime={v.dsttime}}}"


def winsize(v: r.Winsize) -> str:
    """Write struct winsize."""
    return f"{{ws_row={v.row}, ws_col={v.col}, ws_xpixel={v.xpixel}, ws_ypixel={v.ypixel}}}"


def sched_param(v: r.SchedParam) -> str:
    """Write struct sched_param, as strace writes it: an array of one."""
    return f"[{v.priority}]"


def sched_attr(v: r.SchedAttr) -> str:
    """Write struct sched_attr."""
    return (
        f"{{size={v.size}, sched_policy={SCHED.text(v.policy)}, sched_flags={v.flags:#x}, "
        f"sched_nice={v.nice}, sched_priority={v.priority}, sched_runtime={v.runtime}, "
        f"sched_deadline={v.deadline}, sched_period={v.period}}}"
    )


def clone_args(v: r.CloneArgs) -> str:
    """Write struct clone_args: the members that the flags make meaningful."""
    parts = [f"flags={CLONE.text(v.flags)}"]
    if v.flags & 0x1000:
        parts.append(f"pidfd={text.pointer(v.pidfd)}")
    if v.flags & 0x01200000:
        parts.append(f"child_tid={text.pointer(v.child_tid)}")
    if v.flags & 0x100000:
        parts.append(f"parent_tid={text.pointer(v.parent_tid)}")
    parts.append(f"exit_signal={lx_signal_name(v.exit_signal) if v.exit_signal else 0}")
    parts.append(f"stack={text.pointer(v.stack)}")
    parts.append(f"stack_size={hex(v.stack_size) if v.stack_size else 0}")
    if v.flags & 0x80000:
        parts.append(f"tls={text.pointer(v.tls)}")
    return "{" + ", ".join(parts) + "}"


def sigevent(v: r.Sigevent) -> str:
    """Write struct sigevent."""
    parts = []
    if v.value:
        number = (v.value & 0xFFFFFFFF ^ 0x80000000) - 0x80000000
        parts.append(f"sigev_value={{sival_int={number}, sival_ptr={text.pointer(v.value)}}}")
    lx = TO_LX[v.signo] if 0 <= v.signo < len(TO_LX) else v.signo
    signals = v.notify in (0, 2, 4)
    parts.append(f"sigev_signo={lx_signal_name(lx) if signals and lx > 0 else lx}")
    parts.append(f"sigev_notify={SIGEV.text(v.notify)}")
    if v.notify == 4:
        parts.append(f"sigev_notify_thread_id={v.tid}")
    return "{" + ", ".join(parts) + "}"


def user_desc(v: r.UserDesc) -> str:
    """Write struct user_desc."""
    entry = -1 if v.entry == 0xFFFFFFFF else v.entry
    f = v.flags
    return (
        f"{{entry_number={entry}, base_addr={v.base:#010x}, limit={v.limit:#08x}, "
        f"seg_32bit={f & 1}, contents={f >> 1 & 3}, read_exec_only={f >> 3 & 1}, "
        f"limit_in_pages={f >> 4 & 1}, seg_not_present={f >> 5 & 1}, useable={f >> 6 & 1}}}"
    )


def mq_attr(v: Any) -> str:
    """Write a struct mq_attr."""
    flags = "O_NONBLOCK" if v.flags == 0o4000 else str(v.flags)
    if v.flags not in (0, 0o4000):
        flags = f"{v.flags:#x} /* O_??? */"
    return (
        f"{{mq_flags={flags}, mq_maxmsg={v.maxmsg}, mq_msgsize={v.msgsize}, "
        f"mq_curmsgs={v.curmsgs}}}"
    )


_NOTIFY: Final = {0: "SIGEV_SIGNAL", 1: "SIGEV_NONE", 2: "SIGEV_THREAD"}


def mq_event(v: Any) -> str:
    """Write the sigevent of mq_notify, whose number is a signal only where it asks for one."""
    number = v.value & 0xFFFFFFFF
    number -= (number & 0x80000000) << 1
    notify = _NOTIFY.get(v.notify, f"{v.notify:#x} /* SIGEV_??? */")
    signo = str(v.signo)
    if v.notify in (0, 2) and 0 < v.signo <= 64:
        signo = lx_signal_name(v.signo)
    return (
        f"{{sigev_value={{sival_int={number}, sival_ptr={text.pointer(v.value)}}}, "
        f"sigev_signo={signo}, sigev_notify={notify}}}"
    )


#: Record name -> its text.
TEXT: Final[dict[str, Callable[[Any], str]]] = {
    "Stat": stat,
    "Statx": statx,
    "Statfs": statfs,
    "Timespec": timespec,
    "Timeval": timeval,
    "Itimerval": itimerval,
    "Itimerspec": itimerspec,
    "TimespecPair": timespec_pair,
    "TimevalPair": timeval_pair,
    "Utimbuf": utimbuf,
    "SigAction": sigaction,
    "OldSigAction": sigaction,
    "SigInfo": siginfo,
    "StackT": stack_t,
    "Rusage": rusage,
    "Rlimit": rlimit,
    "Rlimit64": rlimit,
    "Utsname": utsname,
    "Sysinfo": sysinfo,
    "Pollfd": pollfd_in,
    "EpollEvent": epoll_event,
    "Flock": flock,
    "Flock64": flock,
    "Tms": tms,
    "Timezone": timezone,
    "Winsize": winsize,
    "SchedParam": sched_param,
    "SchedAttr": sched_attr,
    "CloneArgs": clone_args,
    "UserDesc": user_desc,
    "Sigevent": sigevent,
    "MqAttr": mq_attr,
    "MqEvent": mq_event,
}


def generic(value: Any) -> str:
    """Write any other record member by member."""
    parts = []
    for name, member in zip(value._fields, value, strict=True):
        shown = text.quote(member) if isinstance(member, bytes) else str(member)
        parts.append(f"{name}={shown}")
    return "{" + ", ".join(parts) + "}"
