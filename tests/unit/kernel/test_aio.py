"""Contexts of asynchronous I/O by themselves."""

from __future__ import annotations

import pytest

from lxemu.kernel.aio import AioContext, PollRequest, Request
from lxemu.kernel.anonfs import AnonFs
from lxemu.kernel.cred import Cred
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.eventfdfs import EventFd
from lxemu.kernel.poll import POLLIN
from lxemu.kernel.vfs.fcntl import FREAD
from lxemu.kernel.vfs.file import File
from lxemu.kernel.vfs.name import Name


@pytest.fixture
def counter():
    return EventFd(AnonFs(1, now=lambda: 0), 0, semaphore=False)


def opened(vnode):
    return File(vnode, Name(None, b"x", vnode), FREAD, Cred())


def test_events_come_in_order_and_tell_a_counter(counter):
    context = AioContext(4, 2)
    for number in range(3):
        context.complete(Request(number, 0, counter), number * 10)

    assert [event.result for event in context.reap(0, 2, 0)] == [0, 10]
    assert [event.data for event in context.reap(1, 9, None)] == [2]
    assert counter.take() == 3


def test_a_full_context_takes_no_more():
    context = AioContext(1, 1)
    context.check_room()
    context.complete(Request(0, 0), 0)
    with pytest.raises(KernelError) as error:
        context.check_room()

    assert error.value.errno is Errno.EAGAIN


def test_a_wait_ends_with_a_wakeup_and_lets_the_file_go(counter):
    context, file = AioContext(4, 4), opened(counter)
    PollRequest(context, Request(7, 8), file, POLLIN)
    assert file.refcnt == 2
    assert not context.done
    counter.add(1)

    assert [tuple(event) for event in context.done] == [(7, 8, POLLIN)]
    assert file.refcnt == 1
    assert not counter.pollhead.waiters


def test_a_cancelled_wait_ends_with_nothing(counter):
    context = AioContext(4, 4)
    PollRequest(context, Request(7, 8), opened(counter), POLLIN)

    assert context.cancel(8)
    assert not context.cancel(8)
    assert context.done[0].result == 0


def test_a_destroyed_context_drops_its_waits(counter):
    context = AioContext(4, 4)
    PollRequest(context, Request(7, 8), opened(counter), POLLIN)
    context.destroy()
    counter.add(1)

    assert not context.done
    assert not counter.pollhead.waiters
    with pytest.raises(KernelError):
        context.reap(1, 1, None)
