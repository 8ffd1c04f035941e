"""File events: the queue's limits, and that nothing is left when nobody watches."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lxemu.kernel.anonfs import AnonFs
from lxemu.kernel.cred import Cred
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.inotifyfs import EventFile
from lxemu.kernel.mm.page import PhysMem
from lxemu.kernel.vfs import notify
from lxemu.kernel.vfs.fcntl import FREAD, O_NONBLOCK
from lxemu.kernel.vfs.file import File
from lxemu.kernel.vfs.name import Name
from lxemu.kernel.vfs.tmpfs import Tmpfs
from lxemu.kernel.zone import Zone


@pytest.fixture
def zone():
    return Zone(b"z", "6.12.0")


@pytest.fixture
def vnode():
    phys = PhysMem(1 << 20)
    yield Tmpfs(phys, 7).root()
    phys.close()


def queue_of(zone):
    return EventFile(AnonFs(1, now=lambda: 0), zone, 5)


def opened(queue):
    return File(queue, Name(None, b"x", queue), FREAD | O_NONBLOCK, Cred())


def test_nothing_is_left_when_the_queue_is_closed(zone, vnode):
    before = notify.watching
    queue = queue_of(zone)
    queue.watch(vnode, notify.IN_ALL_EVENTS)
    assert notify.watching == before + 1
    opened(queue).rele()

    assert notify.watching == before
    assert vnode.watchers is None
    assert zone.event_users[5] == (0, 0)


def test_a_full_queue_says_so_once(zone, vnode):
    zone.inotify_max_queued_events = 3
    queue = queue_of(zone)
    wd = queue.watch(vnode, notify.IN_CREATE)
    for number in range(10):
        queue.post(wd, notify.IN_CREATE, b"%d" % number)

    assert [(event[0], event[1]) for event in queue.queued] == [
        *[(wd, notify.IN_CREATE)] * 3,
        (-1, notify.IN_Q_OVERFLOW),
    ]
    queue.close(None)


def test_limits_of_a_user(zone, vnode):
    zone.inotify_max_user_instances = 1
    zone.inotify_max_user_watches = 0
    queue = queue_of(zone)
    with pytest.raises(KernelError) as error:
        queue_of(zone)
    assert error.value.errno is Errno.EMFILE
    with pytest.raises(KernelError) as error:
        queue.watch(vnode, notify.IN_CREATE)
    assert error.value.errno is Errno.ENOSPC


def test_the_end_of_a_file_system(zone, vnode):
    queue = queue_of(zone)
    wd = queue.watch(vnode, notify.IN_CREATE)
    notify.unmounted(SimpleNamespace())
    assert not queue.queued
    notify.unmounted(vnode.vfs)

    assert [event[:2] for event in queue.queued] == [
        (wd, notify.IN_UNMOUNT),
        (wd, notify.IN_IGNORED),
    ]
