"""A machine without a CPU whose programs are Python functions, and its network."""

from __future__ import annotations

import pytest

from lxemu.kernel.cred import Cred
from lxemu.kernel.net.netstack import netstack
from lxemu.kernel.net.sockaddr import InetAddr
from lxemu.kernel.net.socketvar import AF_INET, SOCK_STREAM
from lxemu.kernel.net.sockfs import socreate, sofile
from tests.unit.kernel.fakes import FakeMachine

LOOPBACK = b"\x7f\0\0\x01"
ROOT = Cred()


class Net:
    """Sockets of one machine; `run` lets each function be a process, by virtual time."""

    def __init__(self):
        self.machine = FakeMachine()
        self.machine.entropy = lambda count: bytes(count)
        self.stack = netstack(self.machine)
        self.log = []

    def socket(self, family=AF_INET, sotype=SOCK_STREAM, protocol=0, cred=ROOT):
        so = socreate(self.stack, family, sotype, protocol, cred)
        self.keep(so)
        return so

    @staticmethod
    def keep(so):
        so.test_file = sofile(so, 0, ROOT)
        return so

    def listener(self, backlog=5, port=0, **options):
        so = self.socket()
        for level, name, value in options.get("opts", ()):
            so.setsockopt(level, name, value, ROOT)
        so.bind(InetAddr(LOOPBACK, port), ROOT)
        so.listen(backlog)
        return so

    def pair(self):
        listener = self.listener()
        client = self.socket()
        client.connect(listener.getsockname(), False, ROOT)
        server = self.keep(listener.accept(True))
        self.close(listener)
        return client, server

    @staticmethod
    def close(so):
        so.test_file.rele()

    def now(self):
        """Return seconds of virtual time."""
        return self.machine.clock.now / 1e9

    def run(self, *bodies):
        for body in bodies:
            self.machine.spawn(lambda _lwp, body=body: body())
        self.machine.run()


@pytest.fixture
def net():
    return Net()
