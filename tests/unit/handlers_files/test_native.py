"""The handlers of files against the host: same calls, same results, same errors, same order.

The reference of this whole file is the host's kernel, Linux on x86_64. A scenario makes calls on a
caller and logs what they said; both logs must be equal. Descriptor numbers never show.
"""

from __future__ import annotations

import difflib
import os
import tempfile

import pytest

from lxemu.kernel.cred import Cred

from .rig import Guest, Native
from .scenario import (
    O_RDWR,
    Log,
)
from .scenarios_io import (
    copies,
    counters,
    descriptors,
    events,
    fcntls,
    getfl,
    ioctls,
    locks,
    memfds,
    pipes,
    polls,
    positions,
    read_one,
    selects,
    vectors,
    write_one,
)
from .scenarios_paths import (
    attributes,
    directories,
    names,
    openat2,
    opens,
    renames,
    stats,
    storage,
    xattrs,
)

pytestmark = pytest.mark.native


SCENARIOS = (
    read_one,
    write_one,
    vectors,
    positions,
    descriptors,
    fcntls,
    getfl,
    locks,
    opens,
    openat2,
    stats,
    names,
    renames,
    attributes,
    storage,
    directories,
    pipes,
    ioctls,
    polls,
    selects,
    xattrs,
    events,
    counters,
    memfds,
    copies,
)


@pytest.fixture
def host_dir(tmp_path):
    """Give a directory in memory if the host has one: our files are in tmpfs, too."""
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tmp_path
    with tempfile.TemporaryDirectory(dir=where) as path:
        base = os.path.join(path, "base")
        os.mkdir(base)
        yield base


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_scenario_as_the_host(scenario, host_dir):
    native = Native(host_dir)
    expected = Log(native)
    try:
        scenario(native, expected)
    finally:
        native.close()

    groups = tuple(os.getgroups())
    guest = Guest(64, Cred.for_user(os.geteuid(), os.getegid(), groups))
    got = Log(guest)
    for _ in range(3):
        guest.open(b"/dev/null", O_RDWR)
    guest.start(lambda: scenario(guest, got))
    guest.close()

    diff = difflib.unified_diff(expected.lines, got.lines, "host", "ours", n=3, lineterm="")
    assert not list(diff), "\n" + "\n".join(
        difflib.unified_diff(expected.lines, got.lines, "host", "ours", n=3, lineterm="")
    )
