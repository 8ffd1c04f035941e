"""Traces of IPC calls; the reference is the text of strace(1)."""

from __future__ import annotations

import pytest

from syscalls.abi.trace import format_call
from syscalls.personality import x86_64

from .test_trace import make_lwp

NUMBERS = {row.name: row.nr for row in x86_64().rows}


def shown(name, args, result=0):
    lwp = make_lwp(64)
    words = tuple(arg & (1 << 64) - 1 for arg in args) + (0,) * (6 - len(args))
    line = format_call(lwp, x86_64(), NUMBERS[name], words, "both", result)
    return line.rsplit(" = ", 1)[0].rstrip()


@pytest.mark.parametrize(
    ("name", "args", "wanted"),
    [
        ("shmget", (0, 4096, 0o1600), "shmget(IPC_PRIVATE, 4096, IPC_CREAT|0600)"),
        ("semget", (0x1234, -1, 0o3000), "semget(0x1234, -1, IPC_CREAT|IPC_EXCL|000)"),
        ("msgget", (7, 0o640), "msgget(0x7, 0640)"),
        ("shmat", (3, 0, 0o30000), "shmat(3, NULL, SHM_RDONLY|SHM_RND)"),
        ("shmctl", (3, 0, 0), "shmctl(3, IPC_RMID, NULL)"),
        ("shmctl", (3, 77, 0), "shmctl(3, 0x4d /* SHM_??? */, NULL)"),
        ("semctl", (3, 1, 16, 5), "semctl(3, 1, SETVAL, 0x5)"),
        ("msgctl", (3, 0x102, 8), "msgctl(3, IPC_64|IPC_STAT, 0x8)"),
    ],
)
def test_words_by_name(name, args, wanted):
    assert shown(name, args) == wanted
