"""Groups of processes: the tree, who is counted where, and what the limits do."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lxemu.kernel.errno import KernelError
from lxemu.kernel.resgroup import group_of, root_group
from lxemu.kernel.zone import Zone


@pytest.fixture
def zone():
    return Zone(b"z", "6.12.0")


def process(zone, pid, lwps=1, pages=10):
    proc = SimpleNamespace(
        pid=pid,
        group=None,
        zombie=False,
        exiting=False,
        lwps=[object()] * lwps,
        as_=SimpleNamespace(rss=pages, hat=SimpleNamespace(ntables=0)),
        oom_score_adj=0,
        machine=SimpleNamespace(phys=SimpleNamespace(nframes=1000)),
        zone=zone,
    )
    zone.procs[pid] = proc
    return proc


def test_a_process_begins_in_the_root(zone):
    proc = process(zone, 1)
    assert group_of(proc) is root_group(zone)
    assert root_group(zone).members() == [proc]


def test_paths(zone):
    a = root_group(zone).make(b"a")
    b = a.make(b"b")
    c = root_group(zone).make(b"c")
    assert root_group(zone).path() == b"/"
    assert b.path() == b"/a/b"
    assert b.path(a) == b"/b"
    assert a.path(a) == b"/"
    assert c.path(a) == b"/../c"
    assert root_group(zone).path(b) == b"/../.."


def test_a_limit_counts_all_below(zone):
    root = root_group(zone)
    root.enable({"pids"}, set())
    a = root.make(b"a")
    b = a.make(b"b")
    one, two = process(zone, 1, lwps=2), process(zone, 2)
    a.join(one)
    b.join(two)
    a.pids_max = 4
    b.check_fork()
    a.pids_max = 3
    with pytest.raises(KernelError, match="EAGAIN"):
        b.check_fork()
    assert (a.pids(), b.pids(), a.max_hits, b.max_hits) == (3, 1, 1, 0)


def test_shared_memory_counts_once(zone):
    a = root_group(zone).make(b"a")
    one, two = process(zone, 1), process(zone, 2)
    two.as_ = one.as_
    a.join(one)
    a.join(two)
    assert a.memory() == 10 * 4096


def test_the_largest_process_is_killed(zone, monkeypatch):
    killed = []
    monkeypatch.setattr("lxemu.kernel.resgroup.sigtoproc", lambda p, *_: killed.append(p.pid))
    a = root_group(zone).make(b"a")
    for pid, pages in ((1, 10), (2, 30), (3, 20)):
        a.join(process(zone, pid, pages=pages))
    a.memory_max = 60 * 4096
    a.check_memory()
    assert killed == []
    a.memory_max = 59 * 4096
    a.check_memory()
    assert killed == [2]
    a.kill_all = True
    a.check_memory()
    assert sorted(killed) == [1, 2, 2, 3]
    assert a.oom_kills == 4


def test_controllers_are_handed_down(zone):
    root = root_group(zone)
    a = root.make(b"a")
    with pytest.raises(KernelError, match="ENOENT"):
        a.enable({"pids"}, set())
    root.enable({"pids"}, set())
    a.join(process(zone, 1))
    with pytest.raises(KernelError, match="EBUSY"):
        a.enable({"pids"}, set())
    root.join(zone.procs[1])
    a.enable({"pids"}, set())
    with pytest.raises(KernelError, match="EBUSY"):
        root.enable(set(), {"pids"})
    with pytest.raises(KernelError, match="EBUSY"):
        a.join(zone.procs[1])


def test_only_an_empty_group_goes(zone):
    root = root_group(zone)
    a = root.make(b"a")
    a.make(b"b")
    with pytest.raises(KernelError, match="EBUSY"):
        root.remove(b"a")
    a.remove(b"b")
    proc = process(zone, 1)
    a.join(proc)
    with pytest.raises(KernelError, match="EBUSY"):
        root.remove(b"a")
    proc.zombie = True
    root.remove(b"a")
