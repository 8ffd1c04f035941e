"""proc(5): what is there, what it says, and who may look."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lxemu.kernel.mm.as_ import As
from lxemu.kernel.mm.mman import MAP_ANON, MAP_PRIVATE, PROT_READ

native = pytest.mark.skipif(sys.platform != "linux", reason="needs a Linux host")


def shape(text):
    """Return a text with its numbers and words of letters made equal, line by line."""
    return [re.sub(rb"-?\d+", b"N", line) for line in text.splitlines()]


def keys(text):
    return [line.split(b":")[0].strip() for line in text.splitlines()]


def test_self_is_the_reader(guest):
    pid = b"%d" % guest.proc.pid
    assert guest.run(lambda: guest.link(b"/proc/self")) == pid
    assert guest.run(lambda: guest.link(b"/proc/thread-self")).startswith(pid + b"/task/")


def test_stat_has_52_fields(guest):
    text = guest.run(lambda: guest.cat(b"/proc/self/stat"))
    head, _, rest = text.rpartition(b")")
    assert head == b"%d (guest" % guest.proc.pid
    fields = rest.split()
    assert len(fields) == 50
    assert fields[0] == b"R"
    assert int(fields[1]) == 1
    assert int(fields[17]) == 1


@native
def test_status_has_the_lines_of_linux_in_order(guest):
    ours = keys(guest.run(lambda: guest.cat(b"/proc/self/status")))
    theirs = keys(Path("/proc/self/status").read_bytes())
    missing = [key for key in ours if key not in theirs]
    assert missing == [] or set(missing) <= {b"Kthread", b"Seccomp_filters"}
    assert [key for key in theirs if key in ours] == [key for key in ours if key in theirs]


@native
@pytest.mark.parametrize("name", ["limits", "statm", "stat", "io", "schedstat", "oom_score_adj"])
def test_process_file_looks_like_linux(guest, name):
    ours = guest.run(lambda: guest.cat(f"/proc/self/{name}".encode()))
    theirs = Path(f"/proc/self/{name}").read_bytes()
    if name == "stat":
        assert len(ours.split()) == len(theirs.split())
    elif name == "limits":
        assert len(ours.splitlines()[0]) == len(theirs.splitlines()[0])
        assert [line[:25] for line in ours.splitlines()] == [
            line[:25] for line in theirs.splitlines()
        ]
    else:
        assert shape(ours) == shape(theirs)


@native
@pytest.mark.parametrize("name", ["uptime", "loadavg", "swaps", "sys/kernel/ostype"])
def test_system_file_looks_like_linux(guest, name):
    ours = guest.run(lambda: guest.cat(f"/proc/{name}".encode()))
    assert shape(ours) == shape(Path(f"/proc/{name}").read_bytes())


@native
@pytest.mark.parametrize("name", ["meminfo", "cpuinfo"])
def test_system_file_has_lines_of_linux(guest, name):
    ours = keys(guest.run(lambda: guest.cat(f"/proc/{name}".encode())))
    theirs = keys(Path(f"/proc/{name}").read_bytes())
    assert set(ours) - {b"bugs", b"microcode"} <= set(theirs)


@native
def test_meminfo_columns_are_those_of_linux(guest):
    ours = guest.run(lambda: guest.cat(b"/proc/meminfo")).splitlines()
    theirs = Path("/proc/meminfo").read_bytes().splitlines()
    assert len(ours[0]) == len(theirs[0])
    assert ours[0].startswith(b"MemTotal:       ")


def test_maps_line_is_padded_to_the_name(guest):
    rw = PROT_READ
    guest.proc.as_.map(0x400000, 4096, rw, MAP_PRIVATE | MAP_ANON, None, 0, name=b"[vdso]")
    lines = guest.run(lambda: guest.cat(b"/proc/self/maps")).splitlines()
    assert lines[0] == (
        b"00400000-00401000 r--p 00000000 00:00 0                                  [vdso]"
    )
    assert lines[1].endswith(b" 00:00 0 ")


def test_smaps_adds_up(guest):
    guest.put(guest.buf, b"x")
    text = guest.run(lambda: guest.cat(b"/proc/self/smaps"))
    rollup = guest.run(lambda: guest.cat(b"/proc/self/smaps_rollup"))
    total = sum(int(m) for m in re.findall(rb"^Rss: +(\d+) kB", text, re.M))
    assert int(re.search(rb"^Rss: +(\d+) kB", rollup, re.M)[1]) == total > 0


def test_cmdline_and_comm(guest):
    assert guest.run(lambda: guest.cat(b"/proc/self/cmdline")) == b"guest\0-x\0"
    assert guest.run(lambda: guest.cat(b"/proc/self/comm")) == b"guest\n"


def test_cmdline_follows_memory(guest):
    guest.put(guest.buf + 0x2000, b"new title\0environment")
    at = guest.buf + 0x2000
    guest.proc.brand_data = guest.proc.brand_data._replace(
        arg_start=at, arg_end=at + 4, env_start=at + 4, env_end=at + 20
    )
    assert guest.run(lambda: guest.cat(b"/proc/self/cmdline")) == b"new title\0"


def test_comm_can_be_written(guest):
    def body():
        fd = guest.open(b"/proc/self/comm", 1)
        guest.mem(b"renamed\n")
        guest.sys("write", fd, guest.buf, 8)
        return guest.cat(b"/proc/self/comm")

    assert guest.run(body) == b"renamed\n"


def test_oom_score_adj_reads_back(guest):
    def body():
        fd = guest.open(b"/proc/self/oom_score_adj", 1)
        guest.mem(b"-500")
        first = guest.sys("write", fd, guest.buf, 4)
        guest.mem(b"1001")
        return first, guest.sys("write", fd, guest.buf, 4), guest.cat(b"/proc/self/oom_score_adj")

    assert guest.run(body) == (4, "EINVAL", b"-500\n")


def test_fd_links_say_what_they_are(guest):
    def body():
        fd = guest.open(b"/tmp", 0)
        file = guest.open(b"gone", 0o102)
        guest.sys("unlinkat", -100, b"gone", 0)
        read_end, _ = guest.pipe()
        names = [guest.link(b"/proc/self/fd/%d" % n) for n in (fd, file, read_end)]
        return names[0], names[1], names[2][:6], guest.link(b"/proc/self/fd/99")

    assert guest.run(body) == (b"/tmp", b"/base/gone (deleted)", b"pipe:[", "ENOENT")


def test_fd_link_opens_the_deleted_file_anew(guest):
    def body():
        fd = guest.open(b"gone", 0o102)
        guest.mem(b"still here")
        guest.sys("write", fd, guest.buf, 10)
        guest.sys("unlinkat", -100, b"gone", 0)
        return guest.cat(b"/proc/self/fd/%d" % fd)

    assert guest.run(body) == b"still here"


def test_fdinfo_tells_position_and_flags(guest):
    def body():
        fd = guest.open(b"f", 0o2102)
        guest.sys("lseek", fd, 7, 0)
        return guest.cat(b"/proc/self/fdinfo/%d" % fd)

    text = guest.run(body)
    assert text.splitlines()[:2] == [b"pos:\t7", b"flags:\t0102002"]


def test_cwd_and_root_are_magic(guest):
    assert guest.run(lambda: guest.link(b"/proc/self/cwd")) == b"/base"
    assert guest.run(lambda: guest.link(b"/proc/self/root")) == b"/"
    assert isinstance(guest.run(lambda: guest.open(b"/proc/self/cwd/../tmp", 0)), int)


def test_listing_has_the_processes_and_nobody_else(guest):
    names = {e.name for e in guest.run(lambda: listing(guest, b"/proc"))}
    assert {b"1", b"self", b"cpuinfo", b"%d" % guest.proc.pid} <= names
    assert {n for n in names if n.isdigit()} == {b"%d" % pid for pid in guest.machine.procs}


def listing(guest, path):
    """Read a directory through its cookies, a few entries at a time."""
    vnode = guest.proc.files.get(guest.open(path, 0)).vnode
    found, cookie = [], 0
    while entries := vnode.readdir(cookie):
        found += entries[:3]
        cookie = entries[:3][-1].next_cookie
    return found


@pytest.mark.parametrize("path", [b"/proc", b"/proc/self", b"/proc/self/fd", b"/sys", b"/proc/sys"])
def test_listing_in_pieces_is_complete(guest, path):
    def body():
        fd = guest.open(path, 0)
        whole = [e.name for e in guest.proc.files.get(fd).vnode.readdir(0)]
        guest.sys("close", fd)
        pieces = [e.name for e in listing(guest, path)]
        return whole, pieces

    whole, pieces = guest.run(body)
    assert len(whole) == len(set(whole))
    assert whole == pieces


def test_every_file_can_be_read(guest):
    """Nothing that is listed fails in a way that Linux does not know."""
    failed = []

    def visit(path, depth):
        for entry in listing(guest, path):
            if entry.name in (b".", b"..", b"mem", b"pagemap"):
                continue
            child = path + b"/" + entry.name
            if entry.type == 2 and depth and not entry.name.isdigit():
                visit(child, depth - 1)
            elif entry.type == 1 and isinstance(text := guest.cat(child), str):
                failed.append((child, text))

    def body():
        visit(b"/proc", 4)
        visit(b"/proc/self", 3)
        visit(b"/sys", 8)

    guest.run(body)
    assert failed == []


def test_zombie_still_has_stat_and_no_memory(guest):
    child = guest.machine._proc(guest.machine.pid_alloc(), guest.proc)
    child.zombie, child.wait_code, child.wait_status = True, 1, 3
    child.comm = b"dead"
    base = b"/proc/%d/" % child.pid

    def body():
        return [guest.cat(base + name) for name in (b"stat", b"maps", b"cmdline", b"status")]

    stat, maps, cmdline, status = guest.run(body)
    assert b"(dead) Z" in stat
    assert stat.split()[-1] == b"768"
    assert maps == cmdline == b""
    assert b"State:\tZ (zombie)\n" in status
    assert b"VmSize" not in status
    assert guest.run(lambda: guest.link(base + b"cwd")) == "ENOENT"


def test_file_of_a_process_that_has_gone_esrch(guest):
    child = guest.machine._proc(guest.machine.pid_alloc(), guest.proc)

    def body():
        fd = guest.open(b"/proc/%d/stat" % child.pid, 0)
        del guest.machine.procs[child.pid]
        found = guest.sys("read", fd, guest.buf, 100)
        again = guest.sys("openat", -100, b"/proc/%d/stat" % child.pid, 0, 0)
        return found, again

    assert guest.run(body) == ("ESRCH", "ENOENT")


def test_another_users_process_is_closed(user):
    other = user.machine._proc(user.machine.pid_alloc(), user.machine.init)
    other.brand_data = user.proc.brand_data
    base = b"/proc/%d/" % other.pid

    def body():
        return (
            isinstance(user.cat(base + b"comm"), bytes),
            user.cat(base + b"maps"),
            user.link(base + b"exe"),
            user.cat(base + b"environ"),
        )

    assert user.run(body) == (True, "EACCES", "EACCES", "EACCES")


@pytest.mark.parametrize("name", [b"0", b"01", b"99999999", b"-1", b"1x", b"nothing"])
def test_no_such_process_enoent(guest, name):
    assert guest.run(lambda: guest.cat(b"/proc/" + name)) == "ENOENT"


def test_nothing_can_be_made_or_removed(guest):
    def body():
        return (
            guest.sys("mkdirat", -100, b"/proc/x", 0o755),
            guest.sys("openat", -100, b"/proc/x", 0o101, 0o644),
            guest.sys("unlinkat", -100, b"/proc/uptime", 0),
            guest.sys("mkdirat", -100, b"/sys/x", 0o755),
        )

    assert guest.run(body) == ("ENOENT", "ENOENT", "EPERM", "EPERM")


def test_hostname_is_the_zones(guest):
    def body():
        fd = guest.open(b"/proc/sys/kernel/hostname", 1)
        guest.mem(b"other\n")
        guest.sys("write", fd, guest.buf, 6)
        return guest.cat(b"/proc/sys/kernel/hostname")

    assert guest.run(body) == b"other\n"
    assert guest.machine.zone.nodename == b"other"


def test_settings_are_kept(guest):
    def body():
        fd = guest.open(b"/proc/sys/vm/overcommit_memory", 1)
        guest.mem(b"1\nx\n")
        good = guest.sys("write", fd, guest.buf, 2)
        bad = guest.sys("write", fd, guest.buf + 2, 2)
        return good, bad, guest.cat(b"/proc/sys/vm/overcommit_memory")

    assert guest.run(body) == (2, "EINVAL", b"1\n")


def test_boot_id_stays_and_uuid_does_not(guest):
    boot = b"/proc/sys/kernel/random/boot_id"
    assert guest.run(lambda: guest.cat(boot) == guest.cat(boot))
    assert re.fullmatch(
        rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\n",
        guest.run(lambda: guest.cat(b"/proc/sys/kernel/random/uuid")),
    )


def test_reading_again_from_the_start_makes_the_text_anew(guest):
    def body():
        fd = guest.open(b"/proc/uptime", 0)
        guest.sys("read", fd, guest.buf, 100)
        guest.machine.clock.now += 10**10
        guest.sys("lseek", fd, 0, 0)
        n = guest.sys("read", fd, guest.buf, 100)
        return float(guest.get(guest.buf, n).split()[0])

    assert guest.run(body) >= 10


def test_mounts(guest):
    text = guest.run(lambda: guest.cat(b"/proc/mounts"))
    assert b"proc /proc proc rw,nosuid,nodev,noexec,relatime 0 0\n" in text
    info = guest.run(lambda: guest.cat(b"/proc/self/mountinfo"))
    assert re.search(
        rb"^\d+ \d+ 0:\d+ / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw$", info, re.M
    )


def test_mem_is_the_memory(guest):
    def body():
        fd = guest.open(b"/proc/self/mem", 2)
        guest.put(guest.buf + 0x3000, b"secret")
        n = guest.sys("pread64", fd, guest.buf, 6, guest.buf + 0x3000)
        bad = guest.sys("pread64", fd, guest.buf, 6, 0x10)
        return guest.get(guest.buf, n), bad

    assert guest.run(body) == (b"secret", "EIO")


def test_task_lists_threads(guest):
    def body():
        return [e.name for e in listing(guest, b"/proc/self/task")][2:]

    assert guest.run(body) == [b"%d" % guest.lwp.tid]


def test_the_kernels_own_init_can_be_looked_at(guest):
    del guest.machine.init.fs
    guest.machine.init.as_ = As(guest.phys)
    guest.machine.init.comm = b"init"

    def body():
        base = b"/proc/1/"
        names = (b"stat", b"status", b"maps", b"mounts", b"cmdline", b"smaps", b"limits")
        return [guest.cat(base + name) for name in names], guest.link(base + b"cwd")

    texts, cwd = guest.run(body)
    assert all(isinstance(text, bytes) for text in texts)
    assert texts[0].startswith(b"1 (init) S 0 ")
    assert cwd == "ENOENT"


def test_a_sleeping_call_is_shown_with_its_arguments(guest):
    from lxemu.kernel.sched import TS_SLEEP
    from syscalls.fs.pidtext import syscall_line

    lwp = guest.lwp
    lwp.cpu = SimpleNamespace(
        bits=64, rdi=1, rsi=2, rdx=3, r10=4, r8=5, r9=6, rbx=7, rcx=8, rbp=9, sp=0x10, pc=0x20
    )
    state, lwp.state, lwp.syscall_nr = lwp.state, TS_SLEEP, 202
    assert syscall_line(lwp.proc, lwp) == b"202 0x1 0x2 0x3 0x4 0x5 0x6 0x10 0x20\n"
    lwp.cpu.bits = 32
    assert syscall_line(lwp.proc, lwp) == b"202 0x7 0x8 0x3 0x2 0x1 0x9 0x10 0x20\n"
    lwp.syscall_nr = -1
    assert syscall_line(lwp.proc, lwp) == b"-1 0x10 0x20\n"
    lwp.state = state
    assert syscall_line(lwp.proc, lwp) == b"running\n"
