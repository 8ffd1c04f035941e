"""Random operations on AF_UNIX sockets have the same results here and on the host's kernel."""

from __future__ import annotations

import itertools
import os
import random

import pytest

from lxemu.kernel.signal import SIG_IGN, SIGPIPE, SigAction

from .player import Player, QueuePlayer, choose, choose_with_queues

SEEDS = range(int(os.environ.get("LXEMU_SOCKET_SEEDS", "8")))
#: Sockets in play at most; more would seldom meet.
CROWD = 14


KINDS = {"sockets": (Player, choose), "queues": (QueuePlayer, choose_with_queues)}


@pytest.mark.native("x86_64")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_random_operations(kind, seed, guest64, native):
    guest64.proc.sigacts[SIGPIPE] = SigAction(SIG_IGN)
    player, chooser = KINDS[kind]
    sides = player(guest64, os.getpid()), player(native, os.getpid())
    rng = random.Random(seed)
    log = []

    def body():
        for step in itertools.count():
            if step == 400:
                break
            method, *args = chooser(rng, urgent=seed % 2 == 0)
            crowd = len(sides[0].fds)
            if crowd > CROWD and method in ("pair", "socket", "accept", "dup", "take_fd"):
                method, args = "close_one", args[:1]
            if not crowd and method not in ("pair", "socket", "wait"):
                method, args = "pair", [1]
            ours, theirs = (getattr(side, method)(*args) for side in sides)
            log.append((step, method, args, theirs))
            if ours != theirs or len(sides[0].fds) != len(sides[1].fds):
                log.append(("here", ours))
                return
        log.append("same")

    guest64.start(body)
    sides[1].close()

    assert log[-1] == "same", "\n".join(map(str, log[-12:]))
