"""Event queues and poll on descriptors of the host, which tells levels where a queue wants edges.

Reference: epoll(7), "Level-triggered and edge-triggered".
"""

from __future__ import annotations

import os

import pytest

from lxemu.kernel.vfs.hostio import open_host_fd

from .test_blocking import EPOLLET, POLLIN, POLLOUT, Stage, ctl, pollfds, revents, wait


@pytest.fixture
def host(guest64):
    """Give a guest with a host pipe as two of its descriptors, and the host's ends."""
    ends = [*os.pipe(), *os.pipe()]
    table = guest64.machine.zone.mounts.pipefs
    fds = []
    for end in (ends[0], ends[3]):
        file = open_host_fd(table, end, guest64.machine.disp, guest64.proc.cred)
        fds.append(guest64.proc.files.alloc(file))
    stage = Stage(guest64)
    stage.input, stage.output = fds
    stage.feed = lambda data: os.write(ends[1], data)
    stage.drain = lambda: os.read(ends[2], 1 << 20)
    yield stage
    for end in ends:
        os.close(end)


def test_epoll_wakes_when_the_host_has_input(host):
    g = host.g
    e = g.sys("epoll_create1", 0)
    ctl(g, 1, e, host.input)
    g.start(lambda: host.note(wait(g, e)), lambda: host.feed(b"x"))

    assert host.log == [[(POLLIN, 7)]]


def test_two_waiters_for_different_events_both_wake(host):
    g = host.g
    e = g.sys("epoll_create1", 0)
    ctl(g, 1, e, host.input)
    g.start(
        lambda: host.note("epoll", len(wait(g, e))),
        lambda: host.note("poll", g.sys("poll", pollfds(g, (host.input, POLLIN)), 1, -1)),
        lambda: host.note("pri", g.sys("poll", pollfds(g, (host.input, 2), at=0x180), 1, 20)),
        lambda: host.feed(b"x"),
    )

    assert sorted(host.log) == [("epoll", 1), ("poll", 1), ("pri", 0)]


def test_writable_edge_is_told_once(host):
    g = host.g
    e = g.sys("epoll_create1", 0)
    ctl(g, 1, e, host.output, POLLOUT | EPOLLET)

    assert wait(g, e, 0) == [(POLLOUT, 7)]
    assert wait(g, e, 0) == []


def test_writable_edge_comes_again_after_the_host_was_full(host):
    g = host.g
    e = g.sys("epoll_create1", 0)
    g.sys("fcntl", host.output, 4, 0o4000)
    ctl(g, 1, e, host.output, POLLOUT | EPOLLET)
    assert wait(g, e, 0) == [(POLLOUT, 7)]
    while isinstance(g.sys("write", host.output, g.buf, 4096), int):
        pass
    assert wait(g, e, 0) == []
    host.drain()

    assert wait(g, e, 0) == [(POLLOUT, 7)]
    assert wait(g, e, 0) == []


def test_writable_edge_after_a_full_host_that_nobody_looked_at(host):
    g = host.g
    e = g.sys("epoll_create1", 0)
    g.sys("fcntl", host.output, 4, 0o4000)
    ctl(g, 1, e, host.output, POLLOUT | EPOLLET)
    assert wait(g, e, 0) == [(POLLOUT, 7)]
    while isinstance(g.sys("write", host.output, g.buf, 4096), int):
        pass
    host.drain()

    assert wait(g, e, 0) == [(POLLOUT, 7)]


def test_input_that_comes_between_two_looks_is_told(host):
    g = host.g
    e = g.sys("epoll_create1", 0)
    ctl(g, 1, e, host.input, POLLIN | EPOLLET)
    for _ in range(3):
        host.feed(b"abc")
        assert wait(g, e, 0) == [(POLLIN, 7)]
        assert g.sys("read", host.input, g.buf, 3) == 3


def test_poll_sees_the_host_hang_up(host):
    g = host.g
    ends = os.pipe()
    file = open_host_fd(g.machine.zone.mounts.pipefs, ends[0], g.machine.disp, g.proc.cred)
    fd = g.proc.files.alloc(file)
    os.close(ends[1])

    assert g.sys("poll", pollfds(g, (fd, POLLIN)), 1, -1) == 1
    assert revents(g, 1) == [16]
    os.close(ends[0])
