"""Who dies when memory is used up (oom_badness of Linux mm/oom_kill.c)."""

from __future__ import annotations

from types import SimpleNamespace

from lxemu.kernel.oom import badness, score


def proc(rss, adj=0, **more):
    as_ = SimpleNamespace(rss=rss, hat=SimpleNamespace(ntables=4))
    fields = {"zombie": False, "exiting": False, "lwps": [1], "oom_score_adj": adj, "as_": as_}
    return SimpleNamespace(**fields | more)


def test_size_and_weight():
    assert badness(proc(100), 10_000) == 104
    assert badness(proc(100, 100), 10_000) == 1104
    assert badness(proc(100, -999), 10_000) < 0
    assert badness(proc(5000, -1000), 10_000) == 0
    assert badness(proc(5000, zombie=True), 10_000) == 0
    assert badness(proc(5000, exiting=True), 10_000) == 0


def test_score_is_a_share_of_the_machine():
    assert score(proc(0), 10_000) == 666
    assert score(proc(9_996), 10_000) == 1333
    assert score(proc(0, 1000), 10_000) == 1333
    assert score(proc(9_996, -1000), 10_000) == 0
