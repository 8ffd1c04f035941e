"""Promises of memory (Documentation/mm/overcommit-accounting)."""

from __future__ import annotations

import pytest

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.mm.as_ import As
from lxemu.kernel.mm.commit import ALWAYS, GUESS, STRICT, Commitment
from lxemu.kernel.mm.mman import (
    MAP_ANON,
    MAP_FIXED,
    MAP_NORESERVE,
    MAP_PRIVATE,
    MAP_SHARED,
    PROT_READ,
    PROT_WRITE,
)
from lxemu.kernel.mm.page import PhysMem

MB = 1 << 20
RW = PROT_READ | PROT_WRITE
ANON = MAP_PRIVATE | MAP_ANON


@pytest.mark.parametrize(
    ("mode", "promised", "size", "allowed"),
    [
        (GUESS, 100 * MB, 16 * MB, True),
        (GUESS, 0, 17 * MB, False),
        (ALWAYS, 100 * MB, 1 << 40, True),
        (STRICT, 6 * MB, 2 * MB, True),
        (STRICT, 7 * MB, 2 * MB, False),
    ],
)
def test_policies(mode, promised, size, allowed):
    commit = Commitment(16 * MB >> 12)
    commit.mode = mode
    commit.promised = lambda: promised
    assert commit.allows(size) is allowed


def test_the_limit():
    commit = Commitment(16 * MB >> 12)
    assert commit.limit == 8 * MB
    commit.ratio = 25
    assert commit.limit == 4 * MB
    commit.kbytes = 3
    assert commit.limit == 3072


def test_what_is_promised_and_what_gives_it_back():
    phys = PhysMem(16 * MB)
    as_ = As(phys)
    phys.commit.mode = STRICT
    phys.commit.promised = as_.reserved_bytes

    def refused(call, *args):
        with pytest.raises(KernelError) as caught:
            call(*args)
        return caught.value.errno is Errno.ENOMEM

    at = as_.map(0, 6 * MB, RW, ANON)
    assert as_.reserved_bytes() == 6 * MB
    assert refused(as_.map, 0, 4 * MB, RW, ANON)
    assert refused(as_.map, 0, 4 * MB, RW, ANON | MAP_NORESERVE)
    as_.map(0, 4 * MB, RW, MAP_SHARED | MAP_ANON)
    other = as_.map(0, 4 * MB, PROT_READ, ANON)
    assert refused(as_.setprot, other, 4 * MB, RW)
    as_.setprot(at, 6 * MB, PROT_READ)  # nothing was stored there
    assert as_.reserved_bytes() == 0
    as_.setprot(other, 4 * MB, RW)
    as_.store_u8(other, 1)
    as_.setprot(other, 4 * MB, PROT_READ)
    assert as_.reserved_bytes() == 4 * MB
    as_.map(other, 4 * MB, PROT_READ, ANON | MAP_FIXED)
    assert as_.reserved_bytes() == 0
    as_.free()
