"""Translation tables: both ways, their policies, and the kernel's own constants."""

from __future__ import annotations

import importlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lxemu.kernel import exit as kexit
from lxemu.kernel import poll as kpoll
from lxemu.kernel import rctl, timer
from lxemu.kernel import signal as ksignal
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.mm import mman
from lxemu.kernel.vfs import fcntl as kfcntl
from syscalls.abi import consts, xlat_file, xlat_mm, xlat_poll, xlat_proc, xlat_signal
from syscalls.abi.xlat import Choice, EnumTable, FlagTable

MODULES = ("file", "mm", "poll", "proc", "signal")


def tables(kind):
    for name in MODULES:
        module = importlib.import_module(f"syscalls.abi.xlat_{name}")
        for constant, value in vars(module).items():
            if isinstance(value, kind) and constant.isupper() and not constant.startswith("_"):
                yield pytest.param(value, id=f"{name}.{constant}")


@pytest.mark.parametrize("table", list(tables(FlagTable)))
def test_flag_round_trip(table):
    for row in table.rows:
        if row[1]:
            base = table.choices[0].rows[0][0] if table.choices else 0
            assert table.to_lx[table.from_lx[row[0] | base]] == row[0] | base


@pytest.mark.parametrize("table", list(tables(FlagTable)))
def test_flag_rows_are_distinct_and_supersets_come_first(table):
    for index, row in enumerate(table.rows):
        for later in table.rows[index + 1 :]:
            assert row[0] & later[0] != row[0], (row, later)
            if row[1] and later[1]:
                assert row[1] & later[1] != row[1], (row, later)


@pytest.mark.parametrize("table", list(tables(EnumTable)))
def test_enum_round_trip(table):
    for row in table.rows:
        assert table.to_lx[table.from_lx[row[0]]] == row[0]


@pytest.mark.parametrize("table", list(tables(EnumTable)))
def test_enum_values_are_distinct(table):
    assert len({row[0] for row in table.rows}) == len(table.rows)
    assert len({row[1] for row in table.rows}) == len(table.rows)


def _no_choice(table):
    return not table.choices


@pytest.mark.parametrize("table", [p for p in tables(FlagTable) if _no_choice(p.values[0])])
@given(data=st.data())
def test_flag_words_round_trip(table, data):
    rows = data.draw(st.sets(st.sampled_from(table.rows)))
    word = 0
    if (0x80000000, 1 << 17, "__WCLONE") in rows:
        rows -= {(0x40000000, 3 << 16, "__WALL")}  # __WALL contains it inside
    for row in rows:
        if row[1]:
            word |= row[0]

    assert table.to_lx[table.from_lx[word]] == word


@given(st.integers(0, 0xFFFFFFFF))
def test_open_flags_ignore_unknown_bits(word):
    # openat(2): bits that the kernel does not know are ignored, so every word translates
    native = xlat_file.OPEN.from_lx[word]

    assert native & 3 == word & 3


@pytest.mark.parametrize(
    ("table", "word"),
    [
        (xlat_file.AT_UNLINK, 0x100),
        (xlat_file.PIPE, 0o2),
        (xlat_file.RENAME, 8),
        (xlat_proc.WAIT4, 4),
        (xlat_file.OPEN_STRICT, 1 << 33),
        (xlat_proc.RESOURCE, 16),
        (xlat_mm.MADVISE, 26),
    ],
    ids=lambda value: f"{value:#x}" if isinstance(value, int) else value.name,
)
def test_strict_tables_refuse(table, word):
    with pytest.raises(KernelError) as caught:
        table.from_lx[word]

    assert caught.value.errno is Errno.EINVAL


def kernel_name(row):
    return row[3] if len(row) == 4 else row[2]


#: Where the kernel defines the names of a table; (prefix the table has, prefix the kernel has).
KERNEL = [
    (xlat_file.OPEN, kfcntl, {"FASYNC": "O_ASYNC"}),
    (xlat_file.FCNTL, kfcntl, {}),
    (xlat_file.LOCK_TYPE, kfcntl, {}),
    (xlat_file.WHENCE, kfcntl, {}),
    (xlat_mm.PROT, mman, {}),
    (xlat_mm.MMAP, mman, {"MAP_FIXED_NOREPLACE": "MAP_NOREPLACE"}),
    (xlat_mm.MSYNC, mman, {}),
    (xlat_mm.MADVISE, mman, {}),
    (xlat_proc.WAIT, kexit, {}),
    (xlat_proc.IDTYPE, kexit, {}),
    (xlat_proc.RESOURCE, rctl, {}),
    (xlat_signal.SA_FLAGS, ksignal, {}),
    (xlat_signal.SIG_HOW, ksignal, {}),
    (xlat_signal.SI_CODES, ksignal, {}),
    (xlat_signal.SS_FLAGS, ksignal, {}),
    (xlat_poll.POLL_EVENTS, kpoll, {}),
    (
        xlat_proc.CLOCK,
        timer,
        {
            "CLOCK_PROCESS_CPUTIME_ID": "CLOCK_PROCESS_CPUTIME",
            "CLOCK_THREAD_CPUTIME_ID": "CLOCK_THREAD_CPUTIME",
        },
    ),
]


@pytest.mark.parametrize(("table", "module", "names"), KERNEL, ids=lambda v: getattr(v, "name", ""))
def test_kernel_values_are_the_kernels(table, module, names):
    rows = list(table.rows)
    for choice in getattr(table, "choices", ()):
        rows += choice.rows
    found = 0
    for row in rows:
        name = kernel_name(row)
        value = getattr(module, names.get(name, name), None)
        # POLLWRNORM is POLLOUT in illumos; we keep it apart (see xlat_poll)
        if value is not None and name not in ("POLLWRNORM", "O_ACCMODE"):
            found += 1
            assert row[1] == value, name

    assert found >= 2


@pytest.mark.parametrize(
    ("names", "table", "prefix"),
    [
        (consts.F, xlat_file.FCNTL, "F_"),
        (consts.Clone, xlat_proc.CLONE, "CLONE_"),
        (consts.Madv, xlat_mm.MADVISE, "MADV_"),
        (consts.Clock, xlat_proc.CLOCK, "CLOCK_"),
    ],
    ids=["F", "Clone", "Madv", "Clock"],
)
def test_constants_are_the_tables(names, table, prefix):
    values = {}
    for row in (*table.rows, *xlat_file.LOCK_TYPE.rows):
        for name in row[2:]:
            values[name] = row[1]
    for name, value in vars(names).items():
        if name.isupper() and name != "CSIGNAL":
            wanted = values.get(prefix + name, values.get(f"{prefix}{name}_ID"))
            assert wanted == value, name


def test_names_of_open_flags():
    text = xlat_file.OPEN.text

    assert text(0) == "O_RDONLY"
    assert text(0o2 | 0o100 | 0o1000) == "O_RDWR|O_CREAT|O_TRUNC"
    assert text(0o4010000 | 1) == "O_WRONLY|O_SYNC"
    assert text(0o20200000) == "O_RDONLY|O_TMPFILE"
    assert text(1 << 28) == "O_RDONLY|0x10000000"


def test_choice_is_data():
    assert isinstance(xlat_file.OPEN.choices[0], Choice)
