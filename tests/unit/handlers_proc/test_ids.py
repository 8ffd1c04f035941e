"""getpid(2), gettid(2), setpgid(2), setsid(2), credentials(7), capabilities(7)."""

from __future__ import annotations

import struct

import pytest

from tests.unit.handlers_files.rig import BAD

NO_ID = 0xFFFFFFFF


def ids(guest, who):
    calls = {64: f"getres{who}id", 32: f"getres{who}id32"}
    assert guest.sys(calls[guest.bits], guest.buf, guest.buf + 4, guest.buf + 8) == 0
    return struct.unpack("<3I", guest.get(guest.buf, 12))


def call(guest, name):
    return name if guest.bits == 64 else name + "32"


def test_getpid_and_gettid_agree_in_the_first_thread(guest):
    assert guest.proc.pid == guest.sys("getpid") == guest.sys("gettid")
    assert guest.sys("getppid") == 1


def test_gettid_differs_in_another_thread(guest):
    other = guest.new_lwp(lambda _lwp: None)
    guest.lwp = other
    other.q = guest.machine.engine.q

    assert guest.sys("getpid") == guest.proc.pid
    assert guest.sys("gettid") == other.tid != guest.proc.pid


def test_getpgid_of_zero_is_ones_own(guest):
    assert guest.sys("getpgid", 0) == guest.proc.pgrp.pgid == guest.sys("getpgrp")


def test_getpgid_takes_a_thread_id(guest):
    assert guest.sys("getpgid", guest.proc.pid) == guest.proc.pgrp.pgid


def test_setsid_of_a_group_leader_eperm(guest):
    assert guest.sys("setsid") == "EPERM"


def test_setpgid_of_a_session_leader_eperm(guest):
    assert guest.sys("setpgid", 0, 0) == "EPERM"


def test_setuid_with_privilege_sets_all(guest):
    assert guest.sys(call(guest, "setuid"), 1000) == 0
    assert ids(guest, "u") == (1000, 1000, 1000)
    assert guest.sys(call(guest, "setuid"), 0) == "EPERM"


def test_setuid_makes_undumpable(guest):
    guest.sys(call(guest, "setresuid"), NO_ID, 1000, NO_ID)

    assert guest.proc.dumpable == 0


def test_setresuid_keeps_what_is_minus_one(guest):
    assert guest.sys(call(guest, "setresuid"), NO_ID, 7, NO_ID) == 0
    assert ids(guest, "u") == (0, 7, 0)
    assert guest.sys(call(guest, "setresuid"), NO_ID, 0, NO_ID) == 0
    assert ids(guest, "u") == (0, 0, 0)


def test_setreuid_updates_the_saved_id(guest):
    assert guest.sys(call(guest, "setreuid"), 5, 6) == 0
    assert ids(guest, "u") == (5, 6, 6)


def test_setreuid_of_effective_to_real_keeps_the_saved_id(user):
    assert user.sys(call(user, "setreuid"), NO_ID, 1000) == 0
    assert ids(user, "u") == (1000, 1000, 1000)


@pytest.mark.parametrize("name", ["setuid", "setgid"])
def test_unprivileged_cannot_become_another(user, name):
    assert user.sys(call(user, name), 0) == "EPERM"
    assert user.sys(call(user, name), 1000) == 0


def test_setresgid_unprivileged_eperm(user):
    assert user.sys(call(user, "setresgid"), 0, NO_ID, NO_ID) == "EPERM"
    assert user.sys(call(user, "setresgid"), 1000, NO_ID, 1000) == 0


def test_setfsuid_returns_the_old_id_changed_or_not(user):
    assert user.sys(call(user, "setfsuid"), 0) == 1000
    assert user.sys(call(user, "setfsuid"), NO_ID) == 1000


def test_setfsuid_with_privilege(guest):
    assert guest.sys(call(guest, "setfsuid"), 9) == 0
    assert guest.sys(call(guest, "setfsuid"), 0) == 9


def test_setgroups_and_getgroups_sorted(guest):
    guest.put(guest.buf, struct.pack("<3I", 30, 10, 20))
    assert guest.sys(call(guest, "setgroups"), 3, guest.buf) == 0
    assert guest.sys(call(guest, "getgroups"), 0, 0) == 3
    assert guest.sys(call(guest, "getgroups"), 2, guest.buf) == "EINVAL"
    assert guest.sys(call(guest, "getgroups"), 3, guest.buf) == 3
    assert struct.unpack("<3I", guest.get(guest.buf, 12)) == (10, 20, 30)


def test_setgroups_unprivileged_eperm_before_einval(user):
    assert user.sys(call(user, "setgroups"), 70000, BAD) == "EPERM"


def test_old_calls_have_16_bit_ids(guest32):
    assert guest32.sys("setresuid32", 70000, 70000, 0) == 0
    assert guest32.sys("getuid") == 65534
    assert guest32.sys("geteuid32") == 70000
    assert guest32.sys("setreuid", 0xFFFF, 0) == 0
    assert guest32.sys("getuid32") == 70000


def test_old_getgroups_writes_16_bit_ids(guest32):
    guest32.put(guest32.buf, struct.pack("<2H", 5, 6))
    assert guest32.sys("setgroups", 2, guest32.buf) == 0
    assert guest32.sys("getgroups", 2, guest32.buf + 16) == 2
    assert struct.unpack("<2H", guest32.get(guest32.buf + 16, 4)) == (5, 6)


# -- capabilities -------------------------------------------------------------------------------

V1, V3 = 0x19980330, 0x20080522


def header(guest, version, pid=0):
    guest.put(guest.buf, struct.pack("<Ii", version, pid))
    return guest.buf


def test_capget_of_an_unknown_version_stores_the_known_one(guest):
    assert guest.sys("capget", header(guest, 1), guest.buf + 16) == "EINVAL"
    assert guest.u32(guest.buf) == V3
    assert guest.sys("capget", header(guest, 1), 0) == 0


def test_capget_shows_what_the_privileges_amount_to(guest):
    assert guest.sys("capget", header(guest, V3), guest.buf + 16) == 0
    effective, permitted = struct.unpack("<2I", guest.get(guest.buf + 16, 8))
    assert effective == permitted
    assert effective >> 7 & 1
    assert not effective >> 16 & 1


def test_capget_of_nobody_esrch(guest):
    assert guest.sys("capget", header(guest, V3, 0x3FFFFF), guest.buf + 16) == "ESRCH"
    assert guest.sys("capget", header(guest, V3, -1), guest.buf + 16) == "EINVAL"


def test_capset_drops_for_good(guest):
    guest.put(guest.buf + 16, bytes(24))
    assert guest.sys("capset", header(guest, V3), guest.buf + 16) == 0
    assert guest.sys(call(guest, "setuid"), 5) == "EPERM"
    guest.put(guest.buf + 16, struct.pack("<6I", 128, 128, 0, 0, 0, 0))
    assert guest.sys("capset", header(guest, V3), guest.buf + 16) == "EPERM"


def test_capset_of_another_process_eperm(guest):
    assert guest.sys("capset", header(guest, V1, 1), guest.buf + 16) == "EPERM"


def test_capset_effective_beyond_permitted_eperm(guest):
    guest.put(guest.buf + 16, struct.pack("<6I", 128, 0, 0, 0, 0, 0))
    assert guest.sys("capset", header(guest, V3), guest.buf + 16) == "EPERM"
