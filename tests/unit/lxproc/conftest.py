"""Fixture: a process on a machine whose /proc, /sys and /dev are mounted."""

from __future__ import annotations

import itertools

import pytest

from lxemu.kernel.lwp import LwpGreenlet
from lxemu.kernel.vfs.fdtable import FdTable
from lxemu.kernel.vfs.vnode import makedev
from syscalls.exec_stack import LxProcData
from syscalls.fs import mount_all
from tests.unit.handlers_proc.rig import ProcGuest


class FsGuest(ProcGuest):
    """A process that can look at the brand's file systems."""

    def __init__(self, bits=64, cred=None):
        super().__init__(bits, cred)
        root = self.machine.zone.root.vnode
        boss = self.machine.init.cred
        for name in (b"proc", b"sys"):
            root.mkdir(name, 0o755, boss)
        minors = itertools.count(0x30)
        self.machine.console = None
        mount_all(self.machine, lambda: makedev(0, next(minors)))
        self.proc.comm = self.lwp.name = b"guest"
        self.proc.psargs = [b"guest", b"-x"]
        self.proc.brand_data = LxProcData()
        self.machine.procs[self.proc.pid] = self.proc
        self.machine.init.files = FdTable()

    def run(self, body):
        """Run `body` in the lwp's own context and return what it returns."""
        context = LwpGreenlet(body)
        context.lwp = self.lwp
        return context.switch()

    def cat(self, path):
        """Read a file whole, as a program does: in pieces, to the end."""
        fd = self.sys("openat", -100, path, 0, 0)
        if not isinstance(fd, int):
            return fd
        text = b""
        while (n := self.sys("read", fd, self.buf, 1000)) and isinstance(n, int):
            text += self.get(self.buf, n)
        self.sys("close", fd)
        return text if isinstance(n, int) else n

    def link(self, path):
        n = self.sys("readlinkat", -100, path, self.buf, 4096)
        return self.get(self.buf, n) if isinstance(n, int) else n


@pytest.fixture
def guest():
    caller = FsGuest()
    yield caller
    caller.close()


@pytest.fixture
def user():
    from lxemu.kernel.cred import Cred

    caller = FsGuest(cred=Cred.for_user(1000, 1000, (1000,)))
    yield caller
    caller.close()
