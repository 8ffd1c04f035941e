"""/dev and /sys: null(4), random(4), tty(4), sysfs(5)."""

from __future__ import annotations

import pytest

from lxemu.kernel.tty import Tty
from lxemu.kernel.vfs.vnode import VCHR, makedev

DEVICES = {b"null": (1, 3), b"zero": (1, 5), b"full": (1, 7), b"urandom": (1, 9), b"tty": (5, 0)}


@pytest.mark.parametrize("name", DEVICES)
def test_nodes_have_linux_numbers(guest, name):
    attr = guest.run(lambda: guest.proc.files.get(guest.open(b"/dev/" + name, 0o10000000)).vnode)
    found = attr.getattr()
    assert (found.type, found.rdev) == (VCHR, makedev(*DEVICES[name]))


def read(guest, path, n=8):
    fd = guest.open(path, 0)
    got = guest.sys("read", fd, guest.buf, n)
    return guest.get(guest.buf, got) if isinstance(got, int) else got


def test_reads(guest):
    assert guest.run(lambda: read(guest, b"/dev/null")) == b""
    assert guest.run(lambda: read(guest, b"/dev/zero")) == bytes(8)
    assert guest.run(lambda: read(guest, b"/dev/urandom")) == bytes(range(1, 9))
    assert guest.run(lambda: read(guest, b"/dev/kmsg")) == "EAGAIN"


def test_full_is_full(guest):
    def body():
        return guest.sys("write", guest.open(b"/dev/full", 1), guest.buf, 1)

    assert guest.run(body) == "ENOSPC"


def test_tty_without_a_terminal_enxio(guest):
    guest.proc.ctty = None
    assert guest.run(lambda: guest.sys("openat", -100, b"/dev/tty", 2, 0)) == "ENXIO"
    assert guest.run(lambda: guest.sys("openat", -100, b"/dev/console", 2, 0)) == "EIO"


def test_tty_is_the_controlling_terminal(guest):
    tty = Tty()
    tty.attach(guest.proc)

    def body():
        null = guest.proc.files.get(guest.open(b"/dev/null", 2)).vnode
        tty.vnode = null
        return guest.proc.files.get(guest.open(b"/dev/tty", 2)).vnode is null

    assert guest.run(body)


def test_links_into_proc(guest):
    def body():
        fd = guest.open(b"/tmp", 0)
        return guest.link(b"/dev/fd"), guest.link(b"/dev/fd/%d" % fd), guest.link(b"/dev/stdout")

    assert guest.run(body) == (b"/proc/self/fd", b"/tmp", b"/proc/self/fd/1")


def test_shm_is_there_for_everybody(user):
    assert isinstance(user.run(lambda: user.sys("openat", -100, b"/dev/shm/x", 0o102, 0o600)), int)


@pytest.mark.parametrize("name", [b"online", b"possible", b"present"])
def test_sys_tells_one_processor(guest, name):
    assert guest.run(lambda: guest.cat(b"/sys/devices/system/cpu/" + name)) == b"0\n"


def test_sys_class_net_leads_to_the_device(guest):
    assert guest.run(lambda: guest.cat(b"/sys/class/net/lo/mtu")) == b"65536\n"


def test_sys_has_no_huge_pages(guest):
    path = b"/sys/kernel/mm/transparent_hugepage/enabled"
    assert guest.run(lambda: guest.cat(path)) == "ENOENT"
