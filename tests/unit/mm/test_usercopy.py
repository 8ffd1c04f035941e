"""copyin, copyout and their kin: fast path, page edges, EFAULT."""

from __future__ import annotations

import pytest

from lxemu.kernel.errno import Errno
from lxemu.kernel.mm.as_ import OverlongString
from lxemu.kernel.mm.mman import MAP_ANON, MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_NONE, PROT_READ

from .machine import BASE, FIXED, RW, Object, P
from .test_map import fails


@pytest.fixture
def four(as_):
    """Map four pages, then a read-only one, then nothing."""
    as_.map(BASE, 4 * P, RW, FIXED)
    as_.map(BASE + 4 * P, P, PROT_READ, FIXED)
    return as_


@pytest.mark.parametrize(
    ("at", "size"), [(0, 0), (0, 1), (5, P), (0, P), (P - 1, 2), (1, 3 * P), (P, 3 * P)]
)
def test_copyout_then_copyin(four, at, size):
    data = bytes(i % 251 for i in range(size))
    four.copyout(BASE + at, data)
    assert four.copyin(BASE + at, size) == data
    four.copyout(BASE + at, memoryview(bytearray(data)))
    assert four.copyin(BASE + at, size) == data


@pytest.mark.parametrize(
    "addr", [0, 8, BASE - 1, BASE + 5 * P, 1 << 47, (1 << 64) - 1, -1 % (1 << 64)]
)
def test_bad_addresses_efault(four, addr):
    for call in (four.load_u8, four.load_u16, four.load_u32, four.load_u64):
        assert fails(call, addr) is Errno.EFAULT
    for store in (four.store_u8, four.store_u16, four.store_u32, four.store_u64):
        assert fails(store, addr, 1) is Errno.EFAULT
    assert fails(four.copyin, addr, 1) is Errno.EFAULT
    assert fails(four.copyout, addr, b"x") is Errno.EFAULT
    assert fails(four.copyinstr, addr, 10) is Errno.EFAULT
    assert four.readable_prefix(addr, 5) in (0, 1 if addr == BASE - 1 else 0)
    assert four.copyin(addr, 0) == b""
    four.copyout(addr, b"")


def test_copyout_stops_at_the_bad_page(four):
    assert fails(four.copyout, BASE + 3 * P, b"x" * 2 * P) is Errno.EFAULT
    assert four.copyin(BASE + 3 * P, P) == b"x" * P
    assert four.copyin(BASE + 4 * P, P) == bytes(P)
    assert fails(four.copyin, BASE + 4 * P, P + 1) is Errno.EFAULT


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
@pytest.mark.parametrize("at", [0, 1, P - 1, P - 3])
def test_words(four, bits, at):
    load = getattr(four, f"load_u{bits}")
    store = getattr(four, f"store_u{bits}")
    value = 0xFEDC_BA98_7654_3210 & (1 << bits) - 1
    store(BASE + at, value | 1 << 70)
    assert load(BASE + at) == value
    assert four.copyin(BASE + at, bits // 8) == value.to_bytes(bits // 8, "little")


def test_signed_words(four):
    four.store_s32(BASE, -5)
    four.store_s64(BASE + 8, -6)
    assert (four.load_s32(BASE), four.load_s64(BASE + 8)) == (-5, -6)
    assert four.load_u32(BASE) == 0xFFFF_FFFB


def test_copyinstr(four):
    four.copyout(BASE + P - 3, b"path/name\0rest")
    assert four.copyinstr(BASE + P - 3, 4096) == b"path/name"
    assert four.copyinstr(BASE + P, 4096) == b"h/name"
    assert four.copyinstr(BASE + P - 3, 10) == b"path/name"
    with pytest.raises(OverlongString):
        four.copyinstr(BASE + P - 3, 9)
    assert four.copyinstr(BASE + 100, 1) == b""


def test_copyinstr_without_end_before_unmapped_memory_efault(four):
    four.setprot(BASE + 4 * P, P, RW)
    four.copyout(BASE + 4 * P, b"x" * P)
    assert fails(four.copyinstr, BASE + 4 * P, 4097) is Errno.EFAULT
    with pytest.raises(OverlongString):
        four.copyinstr(BASE + 4 * P, 4096)


def test_prefixes(four):
    assert four.writable_prefix(BASE + 10, 10 * P) == 4 * P - 10
    assert four.readable_prefix(BASE + 10, 10 * P) == 5 * P - 10
    assert four.readable_prefix(BASE + 10, 5) == 5
    assert four.writable_prefix(BASE + 4 * P, 5) == 0
    assert four.writable_prefix(BASE, 0) == 0


def test_spans_cover_the_range_and_write_through(four):
    four.copyout(BASE, b"a" * 4 * P)
    spans = list(four.spans(BASE + 100, 2 * P, write=True))
    assert sum(map(len, spans)) == 2 * P
    spans[0][:3] = b"xyz"
    assert four.copyin(BASE + 100, 3) == b"xyz"
    assert fails(list, four.spans(BASE + 3 * P, 2 * P, write=True)) is Errno.EFAULT
    assert list(four.spans(BASE, 0)) == []
    for span in spans:
        span.release()


def test_spans_join_neighbouring_frames(phys, as_):
    as_.map(BASE, 16 * P, RW, FIXED)
    as_.populate(BASE, BASE + 16 * P)
    assert len(list(as_.spans(BASE, 16 * P))) == 1


def test_copies_break_copy_on_write(four):
    four.copyout(BASE, b"parent")
    child = four.dup()
    child.copyout(BASE, b"child!")
    child.store_u32(BASE + P, 7)
    assert four.copyin(BASE, 6) == b"parent"
    assert four.load_u32(BASE + P) == 0
    child.free()


def test_zero(four):
    four.copyout(BASE, b"x" * 3 * P)
    four.zero(BASE + 10, 2 * P)
    assert four.copyin(BASE, 3 * P) == b"x" * 10 + bytes(2 * P) + b"x" * (P - 10)


def test_inaccessible_memory_efault(four):
    four.store_u64(BASE, 1)
    four.setprot(BASE, P, PROT_NONE)
    assert fails(four.load_u64, BASE) is Errno.EFAULT
    assert four.readable_prefix(BASE, 1) == 0


def test_futex_keys(phys, as_):
    vnode = Object(phys, 2 * P)
    as_.map(BASE, P, RW, FIXED)
    as_.map(BASE + P, P, RW, MAP_SHARED | MAP_FIXED, vnode, P)
    as_.map(BASE + 2 * P, P, RW, MAP_SHARED | MAP_FIXED, vnode, P)
    as_.map(BASE + 3 * P, P, RW, MAP_SHARED | MAP_ANON | MAP_FIXED)
    child = as_.dup()
    as_.map(BASE + 4 * P, P, PROT_READ, MAP_PRIVATE | MAP_FIXED, vnode, P)
    as_.map(BASE + 5 * P, P, PROT_READ, FIXED)
    assert as_.futex_key(BASE, False) == (as_, BASE)
    assert as_.futex_key(BASE, True) not in ((as_, BASE), child.futex_key(BASE, True))
    assert as_.futex_key(BASE + P + 8, True) == child.futex_key(BASE + 2 * P + 8, True)
    assert as_.futex_key(BASE + P + 8, False) != child.futex_key(BASE + P + 8, False)
    assert as_.futex_key(BASE + 3 * P, True) == child.futex_key(BASE + 3 * P, True)
    assert as_.futex_key(BASE + 4 * P, True) == as_.futex_key(BASE + P, True, True)
    assert fails(as_.futex_key, BASE + 4 * P, True, True) is Errno.EFAULT
    assert fails(as_.futex_key, BASE + 5 * P, True) is Errno.EFAULT
    assert fails(as_.futex_key, BASE + 9 * P, True) is Errno.EFAULT
    child.free()
