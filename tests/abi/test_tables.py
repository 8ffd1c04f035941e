"""The tables: every number has a row, names are Linux's, every handler and layout resolves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lxemu.kernel.errno import Errno, KernelError
from syscalls.abi.model import ILP32, LP64
from syscalls.abi.stub import signature
from syscalls.personality import (
    SLOTS,
    Mux,
    Nosys,
    Personality,
    Reason,
    Support,
    find_handler,
    gap,
    i386,
    nosys,
    row,
    x86_64,
)
from syscalls.tables import i386_mux, lx_status
from syscalls.tables.i386 import LAST as LAST_I386
from syscalls.tables.i386 import TABLE as I386
from syscalls.tables.x86_64 import LAST as LAST_X86_64
from syscalls.tables.x86_64 import TABLE as X86_64
from tests.abi.memory import make_lwp

TABLES = {"x86_64": (X86_64, LAST_X86_64), "i386": (I386, LAST_I386)}
HEADERS = {"x86_64": "unistd_64.h", "i386": "unistd_32.h"}


@pytest.mark.parametrize("abi", TABLES)
def test_every_number_has_one_row_in_order(abi):
    table, last = TABLES[abi]

    assert last == 462  # Linux 6.12: mseal
    assert [r.nr for r in table] == list(range(last + 1))


@pytest.mark.parametrize("abi", TABLES)
def test_names_are_those_of_the_kernel_headers(abi):
    header = Path("/usr/include/x86_64-linux-gnu/asm") / HEADERS[abi]
    if not header.is_file():
        pytest.skip("no linux-libc-dev for x86")
    table, last = TABLES[abi]
    theirs = {
        int(nr): name
        for name, nr in re.findall(r"#define __NR_(\w+)\s+(\d+)", header.read_text())
        if int(nr) <= last
    }

    assert {nr: table[nr].name for nr in theirs} == theirs


@pytest.mark.parametrize("abi", TABLES)
def test_gaps_are_nosys(abi):
    for r in TABLES[abi][0]:
        if r.name.startswith("syscall_"):
            assert r.handler == nosys(Reason.NONE)


@pytest.mark.parametrize("personality", [x86_64(), i386()], ids=lambda p: p.name)
def test_every_row_names_a_handler_that_exists(personality):
    assert [(r.name, r.handler) for r in personality.missing()] == []


@pytest.mark.parametrize("personality", [x86_64(), i386()], ids=lambda p: p.name)
def test_every_stub_compiles(personality):
    personality.compile_all()
    for nr in range(SLOTS):
        assert callable(personality.compile(nr))
        assert type(personality.compile(nr)).__name__ == "function"


@pytest.mark.parametrize("rows", [i386_mux.SOCKETCALL_ROWS, i386_mux.IPC_ROWS])
def test_every_multiplexed_call_compiles(rows):
    for r in rows:
        if isinstance(r.handler, str):
            signature(find_handler(r.handler), ILP32, r.using)


def test_handlers_are_shared_by_the_abis():
    # A handler that only one ABI names must be a call that only that ABI has.
    ours = {abi: {r.name: r.handler for r in table} for abi, (table, _) in TABLES.items()}
    both = ours["x86_64"].keys() & ours["i386"].keys()
    differ = {
        name
        for name in both
        if isinstance(ours["x86_64"][name], str) and ours["x86_64"][name] != ours["i386"][name]
    }

    assert differ == {"clone", "mmap", "select"}


def test_every_handler_is_in_a_table():
    named = {r.handler for table, _ in TABLES.values() for r in table if isinstance(r.handler, str)}
    for mux in (i386_mux.SOCKETCALL_ROWS, i386_mux.IPC_ROWS):
        named |= {r.handler for r in mux if isinstance(r.handler, str)}
    handlers = Path(__file__).resolve().parents[2] / "syscalls/handlers"
    defined = {
        f"{path.stem}.{name}"
        for path in handlers.glob("*.py")
        for name in re.findall(r"^@syscall.*\ndef (\w+)", path.read_text(), re.MULTILINE)
    }

    assert defined - named == set()


@pytest.mark.parametrize(
    ("status", "last"), [(lx_status.X86_64, 436), (lx_status.I386, 436)], ids=["x86_64", "i386"]
)
def test_lx_status_has_a_word_for_every_number(status, last):
    words = status.split()

    assert len(words) == last + 1
    assert set(words) <= {"K", "U", "U!", "null", "none", "noeq", "kern", "obs"}


def test_unsupported_call_is_counted_and_enosys():
    personality = Personality("test", LP64, [row(0, "nope", nosys(Reason.KERNEL, "modules"))])
    lwp = make_lwp()
    for nr, name in ((0, "nope"), (7, "syscall_0x7")):
        with pytest.raises(KernelError) as caught:
            personality.new_stubs()[nr](lwp)
        assert caught.value.errno is Errno.ENOSYS
        assert lwp.misses[-1][0] == name
    with pytest.raises(KernelError):
        personality.nosys(lwp, 0x40000001)

    assert lwp.misses == [
        ("nope", "Reads/modifies Linux kernel state: modules"),
        ("syscall_0x7", "No such Linux system call"),
        ("syscall_0x40000001", "No such Linux system call"),
    ]


def test_missing_handler_is_nosys():
    personality = Personality("test", LP64, [row(0, "soon", "no_such_module.call")])
    lwp = make_lwp()
    with pytest.raises(KernelError):
        personality.new_stubs()[0](lwp)

    assert lwp.misses == [("soon", "Handler not written yet: no_such_module.call")]
    assert [r.name for r in personality.missing()] == ["soon"]


def test_stub_takes_its_slot_on_the_first_call():
    personality = Personality("test", LP64, [row(0, "nope", nosys(Reason.NONE))])
    stubs, others = personality.new_stubs(), personality.new_stubs()
    before, beside = stubs[0], others[0]
    with pytest.raises(KernelError):
        before(make_lwp())

    assert stubs[0] is not before
    assert others[0] is beside, "a machine's list is its own"
    with pytest.raises(KernelError):
        before(make_lwp())


def test_support_levels():
    assert row(0, "a", "m.a").support is Support.FULL
    assert row(0, "a", "m.a", partial="half").support is Support.PARTIAL
    assert row(0, "a", nosys(Reason.NONE)).support is Support.NONE
    assert [r.nr for r in gap(3, 5)] == [3, 4, 5]


def test_socketcall_fetches_its_arguments():
    lwp = make_lwp(32)
    at = lwp.as_.put(b"".join(n.to_bytes(4, "little") for n in (1, 2, 3)))

    assert i386_mux.fetch_socketcall(lwp, 1, (1, at, 0, 0, 0, 0)) == (1, (1, 2, 3, 0, 0, 0))
    for number in (0, 21):
        with pytest.raises(KernelError) as caught:
            i386_mux.fetch_socketcall(lwp, number, (number, at, 0, 0, 0, 0))
        assert caught.value.errno is Errno.EINVAL
    with pytest.raises(KernelError) as caught:
        i386_mux.fetch_socketcall(lwp, 1, (1, 8, 0, 0, 0, 0))
    assert caught.value.errno is Errno.EFAULT


def test_ipc_puts_the_words_in_place():
    lwp = make_lwp(32)
    kludge = lwp.as_.put(b"\x11\0\0\0\x22\0\0\0")

    assert i386_mux.fetch_ipc(lwp, 23, (23, 1, 2, 3, 4, 5)) == (23, (1, 2, 3, 0, 0, 0))
    assert i386_mux.fetch_ipc(lwp, 4, (4, 1, 2, 3, 4, 5)) == (4, (1, 4, 2, 5, 0, 0))
    assert i386_mux.fetch_ipc(lwp, 12, (12, 1, 2, 3, kludge, 5)) == (
        12,
        (1, 0x11, 2, 0x22, 3, 0),
    )
    assert i386_mux.fetch_ipc(lwp, 1 << 16 | 12, (1 << 16 | 12, 1, 2, 3, 4, 5)) == (
        12,
        (1, 4, 2, 5, 3, 0),
    )


def test_mux_without_a_handler_is_counted():
    lwp = make_lwp(32, (1, 0))
    lwp.q[1] = lwp.as_.put(bytes(12))
    socketcall = I386[102]
    assert isinstance(socketcall.handler, Mux)
    if isinstance(socketcall.handler.rows[0].handler, Nosys):
        with pytest.raises(KernelError) as caught:
            i386().compile(102)(lwp)
        assert caught.value.errno is Errno.ENOSYS
        assert lwp.misses[0][0] == "socketcall(socket)"


def test_support_page_counts_a_multiplexer_by_what_is_inside():
    from syscalls.gendocs import status

    levels = {status(inner)[0] for inner in i386_mux.SOCKETCALL_ROWS}
    wanted = levels.pop() if len(levels) == 1 else Support.PARTIAL

    assert status(I386[102])[0] is wanted
