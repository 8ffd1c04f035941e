"""Codecs of the records: what is packed comes back, what does not fit is EOVERFLOW."""

from __future__ import annotations

import importlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lxemu.kernel import signal as k
from lxemu.kernel.errno import Errno, KernelError
from syscalls.abi import ILP32, LP64, Int, dev_from_lx, dev_to_lx
from syscalls.abi.layout import Layout
from syscalls.abi.registry import default_codec
from syscalls.abi.scalars import Gid16, SigSet
from syscalls.layouts.file import STAT64_I386, STAT_I386, STAT_OLD, STAT_X86_64
from syscalls.layouts.signal import SIGINFO
from syscalls.layouts.time import TIMESPEC, TIMESPEC64
from syscalls.records import Rlimit, Stat, Timespec, Timeval, Utsname
from tests.abi.test_layouts import layout_named

NS = 1_000_000_000
RANGES = {"b": 7, "h": 15, "i": 31, "q": 63, "B": 8, "H": 16, "I": 32, "Q": 64}


def layouts():
    for topic in ("file", "time", "signal", "process", "ipc"):
        module = importlib.import_module(f"syscalls.layouts.{topic}")
        for name, value in vars(module).items():
            if isinstance(value, Layout) and not name.startswith("_"):
                for model in (LP64, ILP32):
                    yield pytest.param(value, model, id=f"{topic}.{name}-{model.bits}")


@pytest.mark.parametrize(("layout", "model"), list(layouts()))
@given(data=st.data())
def test_unpacked_bytes_pack_to_a_fixed_point(layout, model, data):
    # Any bytes unpack; what they mean packs to bytes that mean the same again.
    codec = layout.codec(model)
    raw = data.draw(st.binary(min_size=codec.size, max_size=codec.size))
    try:
        value = codec.unpack(raw)
        packed = codec.pack(value)
    except KernelError:
        return  # a member whose value translates to nothing (a lock type, a signal number)

    assert len(packed) == codec.size
    again = codec.unpack(packed)
    assert codec.pack(again) == packed


stats = st.builds(
    Stat,
    dev=st.builds(lambda a, b: a << 32 | b, st.integers(0, 0xFFF), st.integers(0, 0xFFFFF)),
    ino=st.integers(0, (1 << 32) - 1),
    mode=st.integers(0, 0xFFFF),
    nlink=st.integers(0, 0xFFFF),
    uid=st.integers(0, 65533),
    gid=st.integers(0, 65533),
    rdev=st.builds(lambda a, b: a << 32 | b, st.integers(0, 0xFFF), st.integers(0, 0xFFFFF)),
    size=st.integers(0, (1 << 31) - 1),
    blksize=st.integers(0, 1 << 20),
    blocks=st.integers(0, (1 << 31) - 1),
    atime=st.integers(0, 2**31 * NS),
    mtime=st.integers(0, 2**31 * NS),
    ctime=st.integers(0, 2**31 * NS),
)


@pytest.mark.parametrize(
    ("layout", "model"), [(STAT_X86_64, LP64), (STAT64_I386, ILP32), (STAT_I386, ILP32)], ids=str
)
@given(stat=stats)
def test_stat_round_trip(layout, model, stat):
    codec = layout.codec(model)

    assert codec.unpack(codec.pack(stat)) == stat


SMALL = Stat(1 << 32 | 2, 3, 0o100644, 1, 0, 0, 0, 5, 4096, 8, 0, 0, 0)


@pytest.mark.parametrize(
    "change",
    [{"ino": 1 << 32}, {"nlink": 1 << 16}, {"size": 1 << 31}, {"blocks": 1 << 32}],
    ids=str,
)
def test_stat_i386_that_does_not_fit_is_eoverflow(change):
    # stat(2): EOVERFLOW (fs/stat.c cp_compat_stat)
    with pytest.raises(KernelError) as caught:
        STAT_I386.codec(ILP32).pack(SMALL._replace(**change))

    assert caught.value.errno is Errno.EOVERFLOW


def test_stat_old_device_beyond_16_bits_is_eoverflow():
    with pytest.raises(KernelError) as caught:
        STAT_OLD.codec(ILP32).pack(SMALL._replace(dev=8 << 32 | 256))

    assert caught.value.errno is Errno.EOVERFLOW


def test_stat_i386_high_uid_shows_as_65534():
    codec = STAT_I386.codec(ILP32)

    assert codec.unpack(codec.pack(SMALL._replace(uid=100000))).uid == 65534


def test_time_of_i386_wraps_as_linux_does():
    codec = TIMESPEC.codec(ILP32)

    assert codec.unpack(codec.pack(Timespec(1 << 31, 5))) == Timespec(-(1 << 31), 5)
    assert codec.pack(Timespec(-1, 0)) == b"\xff\xff\xff\xff\0\0\0\0"


def test_time64_of_i386_ignores_the_upper_half_of_nsec():
    # get_timespec64: a 32-bit caller's padding
    data = (7).to_bytes(8, "little") + (9 | 0xDEAD << 32).to_bytes(8, "little")

    assert TIMESPEC64.codec(ILP32).unpack(data) == Timespec(7, 9)
    assert TIMESPEC64.codec(LP64).unpack(data).nsec == 9 | 0xDEAD << 32


@given(st.integers(0, 2**40 * NS))
def test_time_conversions(ns):
    assert Timespec.of(ns).ns() == ns
    assert Timeval.of(ns).ns() == ns // 1000 * 1000


@pytest.mark.parametrize("bad", [Timespec(-1, 0), Timespec(0, -1), Timespec(0, NS)], ids=str)
def test_invalid_timespec_is_einval(bad):
    with pytest.raises(KernelError) as caught:
        bad.ns()

    assert caught.value.errno is Errno.EINVAL


@given(st.integers(0, 0xFFF), st.integers(0, 0xFFFFF))
def test_device_numbers_are_new_encode_dev(major, minor):
    encoded = dev_to_lx(major << 32 | minor)

    assert encoded == (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)
    assert dev_from_lx(encoded) == major << 32 | minor


def test_rlimit_of_i386_infinity():
    codec = default_codec(Rlimit, ILP32)
    infinite = (1 << 64) - 1

    assert codec.pack(Rlimit(1 << 40, infinite)) == b"\xff" * 8
    assert codec.unpack(b"\xff" * 8) == Rlimit(infinite, infinite)


def test_utsname_is_cut_to_64_bytes():
    name = Utsname(b"x" * 100, b"", b"", b"", b"", b"")
    codec = default_codec(Utsname, LP64)

    assert codec.unpack(codec.pack(name)).sysname == b"x" * 64


def test_scalar_codecs():
    assert default_codec(Int, LP64).pack_array([1, -1]) == b"\1\0\0\0\xff\xff\xff\xff"
    assert default_codec(Gid16, ILP32).pack(70000) == b"\xfe\xff"
    assert default_codec(SigSet, LP64).unpack(b"\x40" + bytes(7)) == 1 << 9  # SIGBUS is 10 inside


def test_siginfo_of_each_source():
    pack = SIGINFO.codec(LP64).pack
    kill = pack(k.SigInfo(k.SIGUSR1, k.SI_USER, pid=7, uid=8))
    child = pack(k.SigInfo(k.SIGCHLD, 2, pid=7, uid=8, status=k.SIGBUS, utime=20_000_000))
    fault = pack(k.SigInfo(k.SIGSEGV, k.SEGV_MAPERR, addr=0x1234))

    assert kill[:24] == bytes.fromhex("0a0000000000000000000000000000000700000008000000")
    assert child[:40] == (
        bytes.fromhex("1100000000000000020000000000000007000000080000000700000000000000")
        + (2).to_bytes(8, "little")
    )
    assert fault[16:24] == (0x1234).to_bytes(8, "little")
    assert {len(kill), len(child), len(fault)} == {128}


def test_siginfo_of_i386():
    pack = SIGINFO.codec(ILP32).pack
    child = pack(k.SigInfo(k.SIGCHLD, 1, pid=7, uid=8, status=3, stime=30_000_000))
    queued = pack(k.SigInfo(42, k.SI_QUEUE, pid=7, uid=8, value=0x1_0000_0005))

    assert child[:32] == bytes.fromhex(
        "1100000000000000010000000700000008000000030000000000000003000000"
    )
    assert queued[:24] == bytes.fromhex("2000000000000000ffffffff070000000800000005000000")


def test_siginfo_made_by_a_process_is_kept_verbatim():
    codec = SIGINFO.codec(LP64)
    raw = bytes.fromhex("22000000") + bytes(4) + b"\xff" * 4 + bytes(range(116))

    info = codec.unpack(raw)
    assert (info.signo, info.code) == (44, k.SI_QUEUE)
    assert codec.pack(info) == raw


def test_generated_source_is_in_linecache():
    import linecache

    STAT_X86_64.codec(LP64)
    name = "<lx-lp64 layout: STAT_X86_64>"
    assert re.search("def pack", "".join(linecache.getlines(name)))


def test_layout_without_a_record_field_is_refused():
    bad = Layout(Timespec, sec=layout_named("time.TIMESPEC").members["sec"])

    with pytest.raises(TypeError, match="lacks"):
        bad.codec(LP64)
