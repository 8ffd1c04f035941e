"""prctl(2), personality(2), set_thread_area(2), scheduling, limits and the system's names."""

from __future__ import annotations

import struct

import pytest

from lxemu.kernel.rctl import RLIM_INFINITY, RLIMIT_NOFILE, RLIMIT_STACK
from lxemu.kernel.signal import SIGUSR1
from tests.unit.handlers_files.rig import BAD

# -- prctl --------------------------------------------------------------------------------------


def test_prctl_name_is_cut_to_15_bytes(guest):
    guest.put(guest.buf, b"a very long thread name\0")
    assert guest.sys("prctl", 15, guest.buf, 0, 0, 0) == 0
    assert guest.sys("prctl", 16, guest.buf, 0, 0, 0) == 0
    assert guest.get(guest.buf, 16) == b"a very long thr\0"
    assert guest.proc.comm == b"a very long thr"


def test_prctl_pdeathsig_is_translated_both_ways(guest):
    assert guest.sys("prctl", 1, 10, 0, 0, 0) == 0
    assert guest.proc.pdeathsig == SIGUSR1
    assert guest.sys("prctl", 2, guest.buf, 0, 0, 0) == 0
    assert guest.u32(guest.buf) == 10


def test_prctl_flags_read_back(guest):
    for setter, getter in ((4, 3), (8, 7)):
        for value in (0, 1):
            assert guest.sys("prctl", setter, value, 0, 0, 0) == 0
            assert guest.sys("prctl", getter, 0, 0, 0, 0) == value


def test_prctl_no_new_privs_stays(guest):
    assert guest.sys("prctl", 39, 0, 0, 0, 0) == 0
    assert guest.sys("prctl", 38, 1, 0, 0, 0) == 0
    assert guest.sys("prctl", 39, 0, 0, 0, 0) == 1
    assert guest.sys("prctl", 38, 0, 0, 0, 0) == "EINVAL"


def test_prctl_child_subreaper(guest):
    assert guest.sys("prctl", 36, 1, 0, 0, 0) == 0
    assert guest.sys("prctl", 37, guest.buf, 0, 0, 0) == 0
    assert guest.u32(guest.buf) == 1


def test_prctl_timerslack_0_is_the_default(guest):
    assert guest.sys("prctl", 29, 7, 0, 0, 0) == 0
    assert guest.sys("prctl", 30, 0, 0, 0, 0) == 7
    assert guest.sys("prctl", 29, 0, 0, 0, 0) == 0
    assert guest.sys("prctl", 30, 0, 0, 0, 0) == 50_000


def test_prctl_capbset(guest):
    assert guest.sys("prctl", 23, 7, 0, 0, 0) == 1
    assert guest.sys("prctl", 24, 7, 0, 0, 0) == 0
    assert guest.sys("prctl", 23, 7, 0, 0, 0) == 0
    assert guest.sys("prctl", 24, 99, 0, 0, 0) == "EINVAL"


def test_prctl_capbset_drop_unprivileged_eperm(user):
    assert user.sys("prctl", 24, 7, 0, 0, 0) == "EPERM"


def test_prctl_tid_address(guest):
    guest.sys("set_tid_address", guest.buf + 8)
    assert guest.sys("prctl", 40, guest.buf, 0, 0, 0) == 0
    assert guest.longs(guest.buf, 1) == (guest.buf + 8,)


def test_prctl_unknown_is_noted(guest):
    assert guest.sys("prctl", 12345, 0, 0, 0, 0) == "EINVAL"
    assert guest.machine.noted == [("prctl", "option 0x3039")]


def test_prctl_names_anonymous_memory(guest64):
    guest64.put(guest64.buf, b"arena 1\0bad[name]\0")
    area = guest64.sys("mmap", 0, 8192, 3, 0x22, -1, 0)
    assert guest64.sys("prctl", 0x53564D41, 0, area, 4096, guest64.buf) == 0
    names = [seg.name for seg in guest64.proc.as_.maps() if seg.start == area]
    assert names == [b"[anon:arena 1]"]
    assert guest64.sys("prctl", 0x53564D41, 0, area, 4096, guest64.buf + 8) == "EINVAL"


def test_personality_returns_the_old_word(guest):
    assert guest.sys("personality", 8) == 0
    assert guest.sys("personality", 0xFFFFFFFF) == 8
    assert guest.sys("personality", 0) == 8


# -- thread pointers ----------------------------------------------------------------------------


def test_arch_prctl_sets_and_gets(guest64):
    assert guest64.sys("arch_prctl", 0x1002, 0x1234) == 0
    assert guest64.sys("arch_prctl", 0x1003, guest64.buf) == 0
    assert guest64.longs(guest64.buf, 1) == (0x1234,)
    assert guest64.sys("arch_prctl", 0x1001, 1 << 63) == "EPERM"


def desc(guest, entry, base=0x12345678, limit=0xFFFFF, flags=0x51):
    guest.put(guest.buf, struct.pack("<4I", entry, base, limit, flags))
    return guest.buf


def test_set_thread_area_chooses_an_entry(guest32):
    for expected in (12, 13, 14):
        assert guest32.sys("set_thread_area", desc(guest32, 0xFFFFFFFF)) == 0
        assert guest32.u32(guest32.buf) == expected
    assert guest32.sys("set_thread_area", desc(guest32, 0xFFFFFFFF)) == "ESRCH"


def test_get_thread_area_gives_back_what_was_set(guest32):
    guest32.sys("set_thread_area", desc(guest32, 13))
    guest32.put(guest32.buf, struct.pack("<4I", 13, 0, 0, 0))
    assert guest32.sys("get_thread_area", guest32.buf) == 0
    assert struct.unpack("<4I", guest32.get(guest32.buf, 16)) == (13, 0x12345678, 0xFFFFF, 0x51)


def test_descriptor_bytes_are_those_of_the_processor(guest32):
    guest32.sys("set_thread_area", desc(guest32, 12))
    word = guest32.lwp.cpu.tls[0]
    assert word >> 40 & 0xFF == 0xF3, "present, ring 3, writable data, accessed"
    assert word >> 52 & 0xF == 0xD, "pages, 32 bits, available"
    assert (word >> 16 & 0xFFFFFF | word >> 32 & 0xFF000000) == 0x12345678


@pytest.mark.parametrize("flags", [0x28, 0])
def test_empty_description_clears_the_entry(guest32, flags):
    guest32.sys("set_thread_area", desc(guest32, 12))
    assert guest32.sys("set_thread_area", desc(guest32, 12, 0, 0, flags)) == 0
    assert guest32.lwp.cpu.tls[0] == 0


@pytest.mark.parametrize(("entry", "flags"), [(11, 0x51), (15, 0x51), (12, 0x50), (12, 0x55)])
def test_set_thread_area_einval(guest32, entry, flags):
    assert guest32.sys("set_thread_area", desc(guest32, entry, flags=flags)) == "EINVAL"


LDT_DESC = struct.Struct("<4I")


def ldt(guest, func, size, *fields):
    """Call modify_ldt; its errors are not sign-extended."""
    if fields:
        guest.put(guest.buf, LDT_DESC.pack(*fields))
    result = guest.sys("modify_ldt", func, guest.buf, size)
    return result - (1 << 32) if isinstance(result, int) and result >> 31 else result


def test_modify_ldt_reads_nothing_before_something_is_written(guest):
    guest.put(guest.buf, b"\xff" * 200)
    assert guest.sys("modify_ldt", 0, guest.buf, 64) == 0
    assert guest.sys("modify_ldt", 2, guest.buf, 150) == 128
    assert guest.get(guest.buf, 129) == bytes(128) + b"\xff"


@pytest.mark.parametrize(
    ("func", "size", "fields", "errno"),
    [
        (1, 15, (0, 0, 5, 0x51), 22),
        (0x11, 16, (8192, 0, 5, 0x51), 22),
        (0x11, 16, (0, 0, 5, 0x57), 22),
        (1, 16, (0, 0, 5, 0x77), 22),
        (3, 16, (), 38),
    ],
)
def test_modify_ldt_refuses(guest, func, size, fields, errno):
    answer = ldt(guest, func, size, *fields)
    assert answer in (-errno, {22: "EINVAL", 38: "ENOSYS"}[errno])


# -- scheduling ---------------------------------------------------------------------------------


def test_nice_values(guest):
    assert guest.sys("getpriority", 0, 0) == 20
    assert guest.sys("setpriority", 0, 0, 5) == 0
    assert guest.sys("getpriority", 0, 0) == 15
    assert guest.sys("setpriority", 0, 0, -100 & 0xFFFFFFFF) == 0
    assert guest.sys("getpriority", 1, 0) == 40


def test_unprivileged_may_only_become_nicer(user):
    assert user.sys("setpriority", 0, 0, 3) == 0
    assert user.sys("setpriority", 0, 0, 2) == "EACCES"
    assert user.sys("setpriority", 2, 1000, 4) == 0
    if user.bits == 32:
        assert user.sys("nice", -1 & 0xFFFFFFFF) == "EPERM"
        assert user.sys("nice", 2) == 0
        assert user.lwp.nice == 6


def test_policies_are_remembered(guest):
    guest.put(guest.buf, struct.pack("<i", 7))
    assert guest.sys("sched_setscheduler", 0, 2, guest.buf) == 0
    assert guest.sys("sched_getscheduler", 0) == 2
    assert guest.sys("sched_getparam", 0, guest.buf + 8) == 0
    assert guest.u32(guest.buf + 8) == 7
    assert guest.sys("sched_setscheduler", 0, 0, guest.buf) == "EINVAL"
    assert guest.sys("sched_setscheduler", 0, 9, guest.buf) == "EINVAL"


def test_unprivileged_realtime_eperm(user):
    user.put(user.buf, struct.pack("<i", 1))
    assert user.sys("sched_setscheduler", 0, 1, user.buf) == "EPERM"


def test_rr_interval(guest):
    guest.put(guest.buf, struct.pack("<i", 7))
    guest.sys("sched_setscheduler", 0, 2, guest.buf)
    assert guest.sys("sched_rr_get_interval", 0, guest.buf) == 0
    assert guest.longs(guest.buf, 2) == (0, 100_000_000)


def test_one_processor(guest):
    assert guest.sys("sched_getaffinity", 0, 128, guest.buf) == 8
    assert guest.get(guest.buf, 8) == b"\1" + bytes(7)
    assert guest.sys("sched_setaffinity", 0, 8, guest.buf) == 0
    guest.put(guest.buf, struct.pack("<Q", 2))
    assert guest.sys("sched_setaffinity", 0, 8, guest.buf) == "EINVAL"
    assert guest.sys("getcpu", guest.buf, guest.buf + 4, 0) == 0
    assert guest.get(guest.buf, 8) == bytes(8)


def test_sched_attr_round_trip(guest):
    attr = struct.pack("<IIQiIQQQ", 48, 1, 1, 0, 9, 0, 0, 0)
    guest.put(guest.buf, attr)
    assert guest.sys("sched_setattr", 0, guest.buf, 0) == 0
    assert guest.sys("sched_getattr", 0, guest.buf + 64, 56, 0) == 0
    size, policy, flags, nice, priority = struct.unpack("<IIQiI", guest.get(guest.buf + 64, 24))
    assert (size, policy, flags, nice, priority) == (56, 1, 1, 0, 9)


def test_sched_setattr_too_big(guest):
    guest.put(guest.buf, struct.pack("<I", 5000))
    assert guest.sys("sched_setattr", 0, guest.buf, 0) == "E2BIG"
    assert guest.u32(guest.buf) == 56


# -- limits -------------------------------------------------------------------------------------


def test_setrlimit_and_getrlimit(guest):
    guest.put_longs(guest.buf, 100, 200)
    assert guest.sys("setrlimit", 7, guest.buf) == 0
    assert guest.proc.rctls.get(RLIMIT_NOFILE) == (100, 200)
    assert guest.proc.files.limit == 100
    name = "getrlimit" if guest.bits == 64 else "ugetrlimit"
    assert guest.sys(name, 7, guest.buf + 64) == 0
    assert guest.longs(guest.buf + 64, 2) == (100, 200)


def test_soft_above_hard_einval(guest):
    guest.put_longs(guest.buf, 300, 200)
    assert guest.sys("setrlimit", 7, guest.buf) == "EINVAL"


def test_raising_the_hard_limit_needs_privilege(user):
    user.put_longs(user.buf, 10, 1 << 19)
    assert user.sys("setrlimit", 7, user.buf) == 0
    user.put_longs(user.buf, 10, 1 << 20)
    assert user.sys("setrlimit", 7, user.buf) == "EPERM"


def test_infinity_on_i386(guest32):
    guest32.proc.rctls.set(RLIMIT_STACK, RLIM_INFINITY, RLIM_INFINITY)
    assert guest32.sys("ugetrlimit", 3, guest32.buf) == 0
    assert struct.unpack("<2I", guest32.get(guest32.buf, 8)) == (0xFFFFFFFF, 0xFFFFFFFF)
    assert guest32.sys("getrlimit", 3, guest32.buf) == 0
    assert struct.unpack("<2I", guest32.get(guest32.buf, 8)) == (0x7FFFFFFF, 0x7FFFFFFF)


def test_prlimit64_reads_before_it_sets(guest):
    guest.put(guest.buf, struct.pack("<QQ", 50, 60))
    assert guest.sys("prlimit64", 0, 7, guest.buf, guest.buf + 64) == 0
    assert struct.unpack("<QQ", guest.get(guest.buf + 64, 16)) == (1024, 1 << 20)
    assert guest.proc.rctls.get(RLIMIT_NOFILE) == (50, 60)


def test_prlimit64_of_another_user_eperm(user):
    assert user.sys("prlimit64", 1, 7, 0, 0) == "EPERM"


@pytest.mark.parametrize("who", [0, 1, 0xFFFFFFFF])
def test_getrusage(guest, who):
    assert guest.sys("getrusage", who, guest.buf) == 0
    assert guest.longs(guest.buf, 2)[0] >= 0


# -- the system ---------------------------------------------------------------------------------


def test_uname(guest):
    assert guest.sys("uname", guest.buf) == 0
    fields = [guest.get(guest.buf + 65 * i, 65).rstrip(b"\0") for i in range(6)]
    assert fields[:3] == [b"Linux", b"host", b"6.12.0"]
    assert fields[4:] == [b"x86_64", b"(none)"]


def test_uname_of_linux32(guest):
    guest.sys("personality", 8)
    guest.sys("uname", guest.buf)
    assert guest.get(guest.buf + 260, 5) == b"i686\0"


def test_sethostname(guest):
    guest.put(guest.buf, b"box")
    assert guest.sys("sethostname", guest.buf, 3) == 0
    assert guest.machine.zone.nodename == b"box"
    assert guest.sys("setdomainname", guest.buf, 65) == "EINVAL"


def test_sethostname_unprivileged_eperm(user):
    assert user.sys("sethostname", BAD, 3) == "EPERM"


def test_sysinfo(guest):
    assert guest.sys("sysinfo", guest.buf) == 0
    words = guest.longs(guest.buf, 6)
    assert words[0] >= 0
    assert words[4] == guest.machine.phys.nframes * 4096
    assert 0 < words[5] < words[4]


def test_getrandom(guest):
    assert guest.sys("getrandom", guest.buf, 16, 0) == 16
    assert guest.get(guest.buf, 16) == bytes(range(1, 17))
    assert guest.sys("getrandom", guest.edge - 4, 16, 0) == 4
    assert guest.sys("getrandom", BAD, 0, 0) == 0


def test_syslog_is_empty(guest):
    assert guest.sys("syslog", 10, 0, 0) > 0
    assert guest.sys("syslog", 3, guest.buf, 100) == 0


def test_reboot_eperm(guest):
    assert guest.sys("reboot", 0xFEE1DEAD, 672274793, 0x4321FEDC, 0) == "EPERM"


def test_membarrier_offers_what_it_does(guest):
    offered = guest.sys("membarrier", 0, 0, 0)
    for register in (4, 16, 64, 256):
        assert guest.sys("membarrier", register, 0, 0) == 0
    for bit in range(9):
        answer = guest.sys("membarrier", 1 << bit, 0, 0)
        assert (answer == 0) == bool(offered >> bit & 1)
    assert guest.sys("membarrier", 512, 0, 0) == 4 | 16 | 64 | 256
    assert guest.sys("membarrier", 1024, 0, 0) == "EINVAL"


def test_rseq_is_registered_once(guest):
    area = guest.buf + 31 & ~31
    assert guest.sys("rseq", area, 32, 0, 5) == 0
    assert guest.sys("rseq", area, 32, 0, 5) == "EBUSY"
    assert guest.sys("rseq", area, 32, 1, 5) == 0
    assert guest.u32(area + 4) == 0xFFFFFFFF
