"""An lwp that has ended goes at once: the next one finds its memory still in the caches."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.harness import ABIS, FIXTURES, execute, lxemu_env

THREADS = 60
COUNT_LIVE = f"""
import gc, sys
gc.disable()
from lxemu.cli.main import entry
from lxemu.kernel.lwp import Lwp
from lxemu.machine import Machine
makes = [0]
started = Machine.lwp_started

def count(machine, lwp):
    makes[0] += 1
    if makes[0] == {THREADS}:
        live = sum(isinstance(thing, Lwp) for thing in gc.get_objects())
        print("few" if live <= 3 else live, file=sys.stderr)
    started(machine, lwp)

Machine.lwp_started = count
entry()
"""


@pytest.mark.parametrize("abi", ABIS)
def test_ended_lwps_need_no_collector(abi: str, tmp_path: Path):
    program = FIXTURES / "bin" / abi / "bench" / "calls"
    words = ["run", str(program), "thread_create_join", str(THREADS)]
    run = execute([sys.executable, "-c", COUNT_LIVE, *words], tmp_path, env=lxemu_env())

    assert (run.status, run.stderr) == (0, b"few\n")
