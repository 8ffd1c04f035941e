"""What a process keeps of its first lwp: a zombie still answers for its priority."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lxemu.machine import Machine


@pytest.mark.parametrize(("tid", "kept"), [(100, True), (101, False)])
@pytest.mark.parametrize("trace", [None, object()])
def test_only_the_first_lwp_is_kept(tid: int, kept: bool, trace: object):
    proc = SimpleNamespace(pid=100, leader=None, pidspace=None)
    lwp = SimpleNamespace(tid=tid, proc=proc, trace=trace)
    freed: list[int] = []
    machine = SimpleNamespace(
        lwp_by_tid={tid: lwp},
        nlwps=1,
        _sigwait={},
        engine=SimpleNamespace(owner=lwp),
        tracer=None,
        pid_free=freed.append,
    )

    Machine.lwp_free(machine, lwp)

    assert proc.leader is (lwp if kept else None)
    assert freed == ([] if kept or trace is not None else [101])
