"""POSIX message queues: order, accounts, who is told; the reference is Linux (ipc/mqueue.c)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lxemu.kernel.cred import Cred
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.ipc.mqueue import MqNotify, cost
from lxemu.kernel.ipc.space import ipc_space
from lxemu.kernel.rctl import RLIMIT_MSGQUEUE
from lxemu.kernel.vfs.fcntl import FREAD, FWRITE, O_NONBLOCK
from lxemu.kernel.vfs.file import File
from lxemu.kernel.vfs.name import Name
from tests.unit.kernel.fakes import FakeMachine

ROOT = Cred()


def refused(call, *args, **named):
    with pytest.raises(KernelError) as caught:
        call(*args, **named)
    return caught.value.errno


def opened(queue, flags=O_NONBLOCK):
    file = File(queue, Name(None, b"/q", queue), flags | FREAD | FWRITE, ROOT)
    queue.open(file)
    return file


def queue_of(machine, space, limits=(4, 16), name=b"q"):
    return space.mqueue.root().make(name, 0o600, ROOT, machine.init, limits)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(0, 3)), max_size=30))
def test_the_oldest_of_the_highest_priority_comes_first(steps):
    machine = FakeMachine()
    queue = queue_of(machine, ipc_space(machine.init))
    file = opened(queue)
    model = []
    for at, prio in enumerate(steps):
        if prio is None:
            if not model:
                assert refused(queue.receive, file, None) is Errno.EAGAIN
                continue
            first = max(model, key=lambda m: m[0])
            got = queue.receive(file, None)
            assert (got.prio, got.text) == first
            model.remove(first)
        elif len(model) == 4:
            assert refused(queue.send, file, b"x", prio, None) is Errno.EAGAIN
        else:
            queue.send(file, b"%d" % at, prio, None)
            model.append((prio, b"%d" % at))


def test_a_receiver_that_waits_gets_the_message_and_nobody_is_told(machine, space):
    queue = queue_of(machine, space)
    file = opened(queue, 0)
    log = []

    def receiver(_lwp):
        log.append(queue.receive(file, None).text)

    def sender(lwp):
        queue.ask(MqNotify(lwp.proc))
        queue.send(file, b"direct", 0, None)
        assert queue.notify is not None
        queue.send(file, b"kept", 0, None)
        assert queue.notify is None

    machine.spawn(receiver)
    machine.spawn(sender)
    machine.run()
    assert log == [b"direct"]
    assert [m.text for m in queue.messages] == [b"kept"]


def test_time_runs_out(machine, space):
    queue = queue_of(machine, space)
    file = opened(queue, 0)
    log = []

    def receiver(lwp):
        log.append(refused(queue.receive, file, lwp.machine.clock.hrtime() + 1000))

    machine.spawn(receiver)
    machine.run()
    assert log == [Errno.ETIMEDOUT]
    assert queue.receivers == []


def test_the_account_of_a_user(machine, space):
    proc = machine.init
    proc.rctls.set(RLIMIT_MSGQUEUE, 2 * cost(4, 16), 1 << 20)
    first = queue_of(machine, space)
    queue_of(machine, space, name=b"r")
    assert refused(queue_of, machine, space, name=b"s") is Errno.EMFILE
    file = opened(first)
    space.mqueue.root().remove(b"q")
    assert refused(queue_of, machine, space, name=b"s") is Errno.EMFILE
    first.close(file)
    queue_of(machine, space, name=b"s")
    assert space.mqueue.nqueues == 2


def test_limits_of_those_without_privilege(machine, space):
    fs = space.mqueue
    user = Cred.for_user(1000, 1000)
    assert fs.check(None, user) == (10, 8192)
    assert refused(fs.check, (11, 10), user) is Errno.EINVAL
    assert refused(fs.check, (10, 8193), user) is Errno.EINVAL
    assert fs.check((65536, 100), ROOT) == (65536, 100)
    assert refused(fs.check, (65537, 100), ROOT) is Errno.EINVAL
    fs.queues_max = 1
    queue_of(machine, space)
    root = fs.root()
    assert refused(root.make, b"t", 0o600, user, machine.init, None) is Errno.ENOSPC
