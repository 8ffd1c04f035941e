"""The text of calls, against lines that strace 6.1 printed for the same calls on Linux."""

from __future__ import annotations

import pytest

from lxemu.kernel import signal as k
from lxemu.observe.select import MODULES, Selection
from syscalls.abi import trace_text
from syscalls.abi.trace import Call, Style, errno_native, format_call, native_signal_name
from syscalls.abi.trace_records import siginfo
from syscalls.personality import i386, x86_64
from tests.abi.memory import BASE, make_lwp

NR = {name: nr for nr, name in enumerate(x86_64().names)}


class Scene:
    """A memory with named objects; `$name` in an argument list is the address of one."""

    def __init__(self, **objects):
        self.lwp = make_lwp()
        self.at = {name: self.lwp.as_.put(data) for name, data in objects.items()}

    def line(self, name, *args, result=0, style=None):
        words = [self.at[a] if isinstance(a, str) else a & ((1 << 64) - 1) for a in args]
        words += [0] * (6 - len(words))
        return format_call(self.lwp, x86_64(), NR[name], words, "both", result, style or Style())


def n64(*values):
    return b"".join((v & (1 << 64) - 1).to_bytes(8, "little") for v in values)


def n32(*values):
    return b"".join((v & (1 << 32) - 1).to_bytes(4, "little") for v in values)


PATH = {"p": b"/tmp/stx\0"}
#: (objects, call, arguments, result, what strace prints)
LINES = [
    ({}, "getpid", (), 7, "getpid()                                = 7"),
    (
        {"b": b'hello\n\1\177"quote\0'},
        "write",
        (4, "b", 15),
        15,
        'write(4, "hello\\n\\1\\177\\"quote\\0", 15)  = 15',
    ),
    (
        {"b": b"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz\n"},
        "write",
        (2, "b", 53),
        53,
        'write(2, "abcdefghijklmnopqrstuvwxyzabcdef"..., 53) = 53',
    ),
    (
        {"b": b"x\0017"},
        "read",
        (3, "b", 64),
        3,
        'read(3, "x\\0017", 64)                   = 3',
    ),
    (
        {},
        "read",
        (3, 0x7FFC2C034C20, 10),
        -11,
        "read(3, 0x7ffc2c034c20, 10)             = -1 EAGAIN (Resource temporarily unavailable)",
    ),
    ({}, "close", (3,), 0, "close(3)                                = 0"),
    (
        PATH,
        "openat",
        (-100, "p", 0o1102, 0o644),
        5,
        'openat(AT_FDCWD, "/tmp/stx", O_RDWR|O_CREAT|O_TRUNC, 0644) = 5',
    ),
    (
        PATH,
        "openat",
        (-100, "p", 0o200000),
        6,
        'openat(AT_FDCWD, "/tmp/stx", O_RDONLY|O_DIRECTORY) = 6',
    ),
    (
        {},
        "openat",
        (-100, 8, 0),
        -14,
        "openat(AT_FDCWD, 0x8, O_RDONLY)         = -1 EFAULT (Bad address)",
    ),
    ({}, "umask", (0o22,), 0o22, "umask(022)                              = 022"),
    (PATH, "mkdir", ("p", 0o777), 0, 'mkdir("/tmp/stx", 0777)                 = 0'),
    (PATH, "access", ("p", 6), 0, 'access("/tmp/stx", R_OK|W_OK)           = 0'),
    (PATH, "access", ("p", 0), 0, 'access("/tmp/stx", F_OK)                = 0'),
    ({}, "fchown", (5, -1, -1), 0, "fchown(5, -1, -1)                       = 0"),
    ({}, "lseek", (5, -1, 2), 0, "lseek(5, -1, SEEK_END)                  = 0"),
    (
        {},
        "mmap",
        (0, 8192, 3, 0x22, -1, 0),
        0x7FA7168DD000,
        "mmap(NULL, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7fa7168dd000",
    ),
    (
        {},
        "mmap",
        (0x1000, 10, 0, 0x12, 5, 0x3000),
        -9,
        "mmap(0x1000, 10, PROT_NONE, MAP_PRIVATE|MAP_FIXED, 5, 0x3000) "
        "= -1 EBADF (Bad file descriptor)",
    ),
    (
        {},
        "mprotect",
        (0x7FA7168DD000, 4096, 0),
        0,
        "mprotect(0x7fa7168dd000, 4096, PROT_NONE) = 0",
    ),
    ({}, "brk", (0,), 0x55555575A000, "brk(NULL)                               = 0x55555575a000"),
    (
        {},
        "kill",
        (99999999, 10),
        -3,
        "kill(99999999, SIGUSR1)                 = -1 ESRCH (No such process)",
    ),
    ({}, "kill", (5, 0), 0, "kill(5, 0)                              = 0"),
    (
        {"a": n64(0x55C6BD45C729, 0x14000000, 0x7FA716730050, 1 << 16)},
        "rt_sigaction",
        (10, "a", 0, 8),
        0,
        "rt_sigaction(SIGUSR1, {sa_handler=0x55c6bd45c729, sa_mask=[CHLD], "
        "sa_flags=SA_RESTORER|SA_RESTART, sa_restorer=0x7fa716730050}, NULL, 8) = 0",
    ),
    (
        {"a": n64(0, 0, 0, 0)},
        "rt_sigaction",
        (2, 0, "a", 8),
        0,
        "rt_sigaction(SIGINT, NULL, {sa_handler=SIG_DFL, sa_mask=[], sa_flags=0}, 8) = 0",
    ),
    (
        {"s": n64(1 << 1 | 1 << 14 | 1 << 39)},
        "rt_sigprocmask",
        (0, "s", 0, 8),
        0,
        "rt_sigprocmask(SIG_BLOCK, [INT TERM RT_8], NULL, 8) = 0",
    ),
    (
        {"s": n64(~(1 << 13 | 3 << 31)), "o": n64(0)},
        "rt_sigprocmask",
        (0, "s", "o", 8),
        0,
        "rt_sigprocmask(SIG_BLOCK, ~[ALRM RTMIN RT_1], [], 8) = 0",
    ),
    (
        {"t": n64(0, 1000)},
        "clock_nanosleep",
        (0, 0, "t", 0x7FFC2C034C00),
        0,
        "clock_nanosleep(CLOCK_REALTIME, 0, {tv_sec=0, tv_nsec=1000}, 0x7ffc2c034c00) = 0",
    ),
    (
        {"t": n64(0, 0, 1, 0)},
        "setitimer",
        (0, "t", 0),
        0,
        "setitimer(ITIMER_REAL, {it_interval={tv_sec=0, tv_usec=0}, "
        "it_value={tv_sec=1, tv_usec=0}}, NULL) = 0",
    ),
    (
        {"l": n64(20000, (1 << 64) - 1)},
        "prlimit64",
        (0, 7, 0, "l"),
        0,
        "prlimit64(0, RLIMIT_NOFILE, NULL, {rlim_cur=20000, rlim_max=RLIM64_INFINITY}) = 0",
    ),
    (
        {"w": n32(3 << 8)},
        "wait4",
        (23737, "w", 0, 0),
        23737,
        "wait4(23737, [{WIFEXITED(s) && WEXITSTATUS(s) == 3}], 0, NULL) = 23737",
    ),
    (
        {"w": n32(9)},
        "wait4",
        (-1, "w", 1, 0),
        5,
        "wait4(-1, [{WIFSIGNALED(s) && WTERMSIG(s) == SIGKILL}], WNOHANG, NULL) = 5",
    ),
    (
        {},
        "wait4",
        (-1, 0x7FFC2C033C9C, 3, 0x7FFC2C0345D0),
        0,
        "wait4(-1, 0x7ffc2c033c9c, WNOHANG|WSTOPPED, 0x7ffc2c0345d0) = 0",
    ),
    (
        {},
        "clone",
        (0x1200011, 0, 0, 0x7FA7166F1A10, 0),
        23737,
        "clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, "
        "child_tidptr=0x7fa7166f1a10) = 23737",
    ),
    (
        {"f": n32(3) + b"\1\0\0\0" + n32(4) + b"\x0c\0\4\0"},
        "poll",
        ("f", 2, 0),
        1,
        "poll([{fd=3, events=POLLIN}, {fd=4, events=POLLOUT|POLLERR}], 2, 0) "
        "= 1 ([{fd=4, revents=POLLOUT}])",
    ),
    (
        {"f": n32(3) + b"\1\0\0\0"},
        "poll",
        ("f", 1, 5),
        0,
        "poll([{fd=3, events=POLLIN}], 1, 5)     = 0 (Timeout)",
    ),
    (
        {"v": n64(BASE, 2, BASE, 5)},
        "writev",
        (4, "v", 2),
        7,
        'writev(4, [{iov_base="\\0\\0", iov_len=2}, {iov_base="\\0\\0\\0\\0\\0", iov_len=5}], 2)'
        " = 7",
    ),
    (
        {},
        "fcntl",
        (5, 3, 0),
        0x8002,
        "fcntl(5, F_GETFL)                       = 0x8002 (flags O_RDWR|O_LARGEFILE)",
    ),
    (
        {},
        "fcntl",
        (5, 4, 0o6000),
        0,
        "fcntl(5, F_SETFL, O_RDONLY|O_APPEND|O_NONBLOCK) = 0",
    ),
    ({}, "fcntl", (5, 1), 1, "fcntl(5, F_GETFD)                       = 0x1 (flags FD_CLOEXEC)"),
    ({}, "fcntl", (5, 2, 1), 0, "fcntl(5, F_SETFD, FD_CLOEXEC)           = 0"),
    ({}, "fcntl", (5, 0, 10), 11, "fcntl(5, F_DUPFD, 10)                   = 11"),
    (
        {"l": b"\1\0\0\0" + bytes(28)},
        "fcntl",
        (5, 6, "l"),
        0,
        "fcntl(5, F_SETLK, {l_type=F_WRLCK, l_whence=SEEK_SET, l_start=0, l_len=0}) = 0",
    ),
    (
        {},
        "ioctl",
        (0, 0x5413, 0x7FFC2C034968),
        -25,
        "ioctl(0, TIOCGWINSZ, 0x7ffc2c034968)    = -1 ENOTTY (Inappropriate ioctl for device)",
    ),
    (
        {},
        "ioctl",
        (0, 0x1234, 0),
        -25,
        "ioctl(0, _IOC(_IOC_NONE, 0x12, 0x34, 0), 0) = -1 ENOTTY (Inappropriate ioctl for device)",
    ),
    ({"n": n32(0)}, "ioctl", (3, 0x541B, "n"), 0, "ioctl(3, FIONREAD, [0])                 = 0"),
    (
        {},
        "futex",
        (0x7FFC2C0345AC, 0x81, 1),
        0,
        "futex(0x7ffc2c0345ac, FUTEX_WAKE_PRIVATE, 1) = 0",
    ),
    (
        {},
        "futex",
        (0x7FFC2C0345AC, 0, 1, 0),
        -11,
        "futex(0x7ffc2c0345ac, FUTEX_WAIT, 1, NULL) = -1 EAGAIN (Resource temporarily unavailable)",
    ),
    (
        {},
        "exit_group",
        (5,),
        None,
        "exit_group(5)                           = ?",
    ),
    (
        {},
        "syscall_0x1f0",
        (1, 2, 3, 4, 5, 6),
        -38,
        "syscall_0x1f0(0x1, 0x2, 0x3, 0x4, 0x5, 0x6) = -1 ENOSYS (Function not implemented)",
    ),
    (
        {"g": bytes(n32(27, 5))},
        "getgroups",
        (2, "g"),
        2,
        "getgroups(2, [27, 5])                   = 2",
    ),
]


@pytest.mark.parametrize(
    ("objects", "name", "args", "result", "wanted"), LINES, ids=[x[4][:40] for x in LINES]
)
def test_line_is_straces(objects, name, args, result, wanted):
    assert Scene(**objects).line(name, *args, result=result) == wanted


def test_stat_is_abbreviated_as_strace_does():
    from syscalls.abi import LP64
    from syscalls.layouts.file import STAT_X86_64
    from syscalls.records import Stat

    pack = STAT_X86_64.codec(LP64).pack
    plain = Stat(1 << 32, 2, 0o100644, 1, 0, 0, 0, 1221, 4096, 8, 0, 0, 0)
    null = plain._replace(mode=0o020666, rdev=1 << 32 | 3)
    scene = Scene(p=b"/etc/passwd\0", f=pack(plain), d=pack(null))

    assert scene.line("newfstatat", -100, "p", "f", 0) == (
        'newfstatat(AT_FDCWD, "/etc/passwd", {st_mode=S_IFREG|0644, st_size=1221, ...}, 0) = 0'
    )
    assert scene.line("fstat", 0, "d") == (
        "fstat(0, {st_mode=S_IFCHR|0666, st_rdev=makedev(0x1, 0x3), ...}) = 0"
    )
    assert scene.line("newfstatat", -100, "p", "f", 0x100, result=-2) == (
        f'newfstatat(AT_FDCWD, "/etc/passwd", {scene.at["f"]:#x}, AT_SYMLINK_NOFOLLOW)'
        " = -1 ENOENT (No such file or directory)"
    )


def test_execve_shows_strings_and_counts_the_environment():
    scene = Scene(p=b"/bin/echo\0", a=b"echo\0", b=b"hi\0", e=b"A=1\0")
    argv = scene.lwp.as_.put(n64(scene.at["a"], scene.at["b"], 0))
    envp = scene.lwp.as_.put(n64(scene.at["e"], 0))
    scene.at |= {"argv": argv, "envp": envp}

    assert scene.line("execve", "p", "argv", "envp") == (
        f'execve("/bin/echo", ["echo", "hi"], {envp:#x} /* 1 var */) = 0'
    )


def test_phases_split_at_the_first_result():
    scene = Scene(b=b"abc")
    call = Call(scene.lwp, x86_64(), NR["read"], (3, scene.at["b"], 64, 0, 0, 0))
    head = call.enter()

    assert head == "read(3, "
    assert call.leave(3, len(head)) == '"abc", 64)                      = 3'


def test_entry_of_a_call_with_all_arguments_known():
    scene = Scene()
    call = Call(scene.lwp, x86_64(), NR["close"], (3, 0, 0, 0, 0, 0))

    assert call.enter() == "close(3"
    assert call.leave(0, 7) == ")                                = 0"


def test_interrupted_calls_are_to_be_restarted():
    assert Scene().line("close", 3, result=-512) == (
        "close(3)                                = ? ERESTARTSYS "
        "(To be restarted if SA_RESTART is set)"
    )


def test_truss_view_has_the_kernels_names():
    style = Style(native=True)
    scene = Scene(p=b"/x\0")

    assert scene.line("mmap", 0, 4096, 3, 0x22, -1, 0, result=0x1000, style=style) == (
        "mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANON, -1, 0) = 4096"
    )
    assert scene.line("kill", 5, 16, result=-1, style=style) == (
        "kill(5, SIGEMT)                                  Err#1 EPERM"
    )
    assert errno_native(36) == 78
    assert native_signal_name(74) == "SIGRTMIN+32"


def test_siginfo_lines():
    # the texts between the dashes of strace's signal lines
    assert siginfo(k.SigInfo(k.SIGUSR1, k.SI_LWP, pid=23736, uid=0)) == (
        "{si_signo=SIGUSR1, si_code=SI_TKILL, si_pid=23736, si_uid=0}"
    )
    assert siginfo(k.SigInfo(k.SIGCHLD, 2, pid=5, status=9)) == (
        "{si_signo=SIGCHLD, si_code=CLD_KILLED, si_pid=5, si_uid=0, si_status=SIGKILL, "
        "si_utime=0, si_stime=0}"
    )
    assert siginfo(k.SigInfo(k.SIGSEGV, 1, addr=0)) == (
        "{si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=NULL}"
    )


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [
        (0o100644, "S_IFREG|0644"),
        (0o040755, "S_IFDIR|0755"),
        (0o104755, "S_IFREG|S_ISUID|0755"),
        (0o041777, "S_IFDIR|S_ISVTX|0777"),
        (0o100000, "S_IFREG|000"),
    ],
)
def test_file_modes(mode, wanted):
    assert trace_text.file_mode(mode) == wanted


def test_i386_masks_its_words():
    lwp = make_lwp(32)
    nr = i386().names.index("mmap2")
    line = format_call(
        lwp, i386(), nr, (0, 4096, 3, 0x22, 0xFFFFFFFF, 1), "both", 0xF7FC0000 - (1 << 32)
    )

    assert line == (
        "mmap2(NULL, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0x1000)"
        " = 0xf7fc0000"
    )


MULTIPLEXERS = ("ipc", "socketcall")


@pytest.mark.parametrize("personality", [x86_64(), i386()], ids=lambda p: p.name)
@pytest.mark.parametrize("word", [0, 1, 0xDEAD0000, (1 << 64) - 1], ids=hex)
@pytest.mark.parametrize("result", [0, 1, 64, -14, -512, None], ids=str)
def test_no_call_makes_the_trace_fail(personality, word, result):
    # An error of the trace would become the error of the traced call.
    lwp = make_lwp(personality.bits)
    words = (word & personality.model.mask,) * 6
    for nr in range(463):
        for style in (Style(), Style(verbose=True), Style(native=True)):
            line = format_call(lwp, personality, nr, words, "both", result, style)
            name = line.split("(")[0]
            # What goes through a multiplexer is shown as the call that it is.
            assert name == personality.names[nr] or personality.names[nr] in MULTIPLEXERS
            assert ") " in line


@pytest.mark.parametrize(
    ("name", "args", "wanted"),
    [
        ("pause", (), "ERESTARTNOHAND (To be restarted if no handler)"),
        ("poll", (0, 0, 1000), "ERESTART_RESTARTBLOCK (Interrupted by signal)"),
        ("clock_nanosleep", (1, 1, 0, 0), "ERESTARTNOHAND (To be restarted if no handler)"),
        ("clock_nanosleep", (1, 0, 0, 0), "ERESTART_RESTARTBLOCK (Interrupted by signal)"),
    ],
)
def test_calls_that_are_not_restarted_show_what_ptrace_sees(name, args, wanted):
    assert Scene().line(name, *args, result=-4).endswith(f"= ? {wanted}")


def test_clone_shows_what_it_stored_at_the_end():
    scene = Scene(t=n32(24131))
    flags = 0x7D0F00
    call = Call(scene.lwp, x86_64(), NR["clone"], (flags, 0x5000, scene.at["t"], 0x6000, 0x7000))

    assert call.enter() == (
        "clone(child_stack=0x5000, flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD|"
        "CLONE_SYSVSEM|CLONE_SETTLS|CLONE_PARENT_SETTID|CLONE_CHILD_CLEARTID|0x400000"
    )
    assert call.leave(24131) == (", parent_tid=[24131], tls=0x7000, child_tidptr=0x6000) = 24131")


def test_timer_create_shows_the_event():
    event = n64(5) + n32(12, 0) + bytes(48)
    scene = Scene(e=event, t=n32(0))

    assert scene.line("timer_create", 0, "e", "t") == (
        "timer_create(CLOCK_REALTIME, {sigev_value={sival_int=5, sival_ptr=0x5}, "
        "sigev_signo=SIGUSR2, sigev_notify=SIGEV_SIGNAL}, [0]) = 0"
    )


def test_llseek_is_one_offset():
    lwp = make_lwp(32)
    at = lwp.as_.put((6).to_bytes(8, "little"))
    nr = i386().names.index("_llseek")
    words = (3, 0xFFFFFFFF, 0xFFFFFFFB, at, 2, 0)

    assert format_call(lwp, i386(), nr, words, "both", 0) == (
        "_llseek(3, -5, [6], SEEK_END)           = 0"
    )


@pytest.mark.parametrize("name", sorted(MODULES))
@pytest.mark.parametrize("personality", [x86_64(), i386()], ids=["x86_64", "i386"])
def test_every_set_of_calls_holds_some(name, personality):
    chosen = Selection([f"%{name}"])

    assert any(chosen.wants(personality, row.nr) for row in personality.rows)


def test_the_network_set_is_the_socket_calls():
    chosen = Selection(["%network"])
    names = {row.name for row in i386().rows if chosen.wants(i386(), row.nr)}

    assert {"socket", "sendmsg", "recvmmsg_time64", "setsockopt", "socketcall"} <= names
    assert not names & {"read", "shmget", "poll"}
