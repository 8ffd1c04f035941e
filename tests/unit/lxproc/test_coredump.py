"""Names and contents of core files (core(5)), where no CPU is needed; the files are in fixtures."""

from __future__ import annotations

import struct

import pytest

from lxemu.kernel.signal import SIGBUS, SIGSEGV, SigInfo
from syscalls.coredump import core_name, dump_size, prpsinfo

INFO = SigInfo(SIGBUS, 1)


def store(guest, fd, data):
    """Write to a file, as a program does."""
    guest.put(guest.buf, data)
    return guest.sys("write", fd, guest.buf, len(data))


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        (b"core", b"core"),
        (b"/var/core/%e.%p.%s", b"/var/core/guest.%d.7"),
        (b"%%x%%", b"%x%"),
        (b"a%z%", b"a"),
        (b"%u-%g-%d-%i", b"0-0-1-%d"),
        (b"%h", b"host"),
        (b"", b""),
    ],
)
def test_name(guest, pattern, name):
    made = core_name(guest.lwp, INFO, pattern, uses_pid=False)

    assert made == name.replace(b"%d", b"%d" % guest.proc.pid)


def test_a_slash_in_a_name_leads_nowhere(guest):
    guest.lwp.name = b"a/b"

    assert core_name(guest.lwp, INFO, b"%e", uses_pid=False) == b"a!b"


def test_core_uses_pid(guest):
    pid = guest.proc.pid

    assert core_name(guest.lwp, INFO, b"core", uses_pid=True) == b"core.%d" % pid
    assert core_name(guest.lwp, INFO, b"x%p", uses_pid=True) == b"x%d" % pid


def test_pattern_is_set_by_proc_and_pipes_are_refused(guest):
    path = b"/proc/sys/kernel/core_pattern"
    fd = guest.sys("openat", -100, path, 1, 0)

    assert guest.cat(path) == b"core\n"
    assert store(guest, fd, b"c.%p\n") == 5
    assert guest.cat(path) == b"c.%p\n"
    assert store(guest, fd, b"|/x\n") == "EINVAL"


def test_filter_is_set_by_proc(guest):
    path = b"/proc/self/coredump_filter"

    def body():
        fd = guest.sys("openat", -100, path, 1, 0)
        before = guest.cat(path)
        assert store(guest, fd, b"0x7f") == 4
        return before, guest.cat(path), store(guest, fd, b"zz")

    assert guest.run(body) == (b"00000033\n", b"0000007f\n", "EINVAL")


@pytest.mark.parametrize(("bits", "size"), [(64, 136), (32, 124)])
def test_psinfo(guest, bits, size):
    data = prpsinfo(guest.proc, bits)
    pid, parent, group, session = struct.unpack_from("<4i", data, size - 112)

    assert len(data) == size
    assert (pid, parent) == (guest.proc.pid, guest.proc.ppid)
    assert (group, session) == (guest.proc.pgrp.pgid, guest.proc.session.sid)
    assert data[-96:-80].rstrip(b"\0") == b"guest"
    assert data[-80:].rstrip(b"\0") == b"guest -x"


@pytest.mark.parametrize(
    ("shared", "wanted", "whole"), [(0, 1, True), (0, 2, False), (1, 2, True), (1, 1, False)]
)
def test_filter_chooses_anonymous_memory(guest, shared, wanted, whole):
    from lxemu.kernel.mm.mman import MAP_ANON, MAP_PRIVATE, MAP_SHARED

    as_ = guest.proc.as_
    addr = as_.map(0, 8192, 3, MAP_ANON | (MAP_SHARED if shared else MAP_PRIVATE))

    assert dump_size(as_.segat(addr), wanted) == (8192 if whole else 0)


def test_no_core_without_a_limit_or_for_who_may_not_be_looked_into(guest):
    from syscalls.coredump import dump

    info = SigInfo(SIGSEGV, 1)
    guest.proc.rctls.set(4, 4095, 4095)
    assert not dump(guest.lwp, info)
    guest.proc.rctls.set(4, 1 << 30, 1 << 30)
    guest.proc.dumpable = 0
    assert not dump(guest.lwp, info)
