"""errno and signal numbers against lx's own tables (tests/abi/data/lx-errno-signal.json)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lxemu.kernel.errno import Errno
from syscalls.errno import ERRNO_OUT, LX_ERRNO_NAMES
from syscalls.signum import (
    FROM_LX,
    LX_NSIG,
    TO_LX,
    lx_signal_name,
    sigset_from_lx,
    sigset_to_lx,
)

LX = json.loads((Path(__file__).parent / "data/lx-errno-signal.json").read_text())


@pytest.mark.parametrize("err", list(Errno), ids=lambda err: err.name)
def test_errno_is_lx_number(err):
    theirs = LX["errno_native_to_linux"][str(int(err))]
    # -2: illumos' two lock errors, which lx answers with its default, EINVAL
    assert ERRNO_OUT[err] == (22 if theirs == -2 else theirs)


def test_errno_knows_every_number_of_lx():
    used = {int(n) for n, lx in LX["errno_native_to_linux"].items() if lx not in (0, -1)}

    assert used == {int(err) for err in Errno}


def test_errno_names_are_unique_numbers():
    assert LX_ERRNO_NAMES[38] == "ENOSYS"
    assert LX_ERRNO_NAMES[35] == "EDEADLK"
    assert LX_ERRNO_NAMES[95] == "EOPNOTSUPP"


def test_signal_maps_are_lx_maps():
    ours_in = {str(lx): FROM_LX[lx] for lx in range(1, LX_NSIG + 1)}
    ours_out = {str(n): lx for n, lx in enumerate(TO_LX) if n and lx > 0}

    assert ours_in == LX["signal_linux_to_native"]
    assert ours_out == LX["signal_native_to_linux"]


@given(st.integers(0, (1 << 64) - 1))
def test_sigset_round_trip(mask):
    assert sigset_to_lx(sigset_from_lx(mask)) == mask


@given(st.integers(0, (1 << 64) - 1))
def test_sigset_maps_each_bit_as_the_signal(mask):
    native = sigset_from_lx(mask)
    wanted = {FROM_LX[n] for n in range(1, 65) if mask >> (n - 1) & 1}

    assert {n for n in range(1, 75) if native >> (n - 1) & 1} == wanted


def test_sigset_to_lx_drops_kernel_only_signals():
    private = sum(1 << (n - 1) for n in range(32, 42))

    assert sigset_to_lx(private) == 0


def test_signal_names():
    names = [lx_signal_name(n) for n in (1, 16, 31, 32, 33, 64, 0, 65)]

    assert names == [
        "SIGHUP",
        "SIGSTKFLT",
        "SIGSYS",
        "SIGRTMIN",
        "SIGRT_1",
        "SIGRT_32",
        "0",
        "65",
    ]
