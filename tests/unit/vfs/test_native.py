"""Every call with every kind of path, compared with the host's kernel (which is the reference)."""

from __future__ import annotations

import os

import pytest

from lxemu.kernel.cred import Cred

from .conftest import make_world
from .world import Host

pytestmark = pytest.mark.native

LONG = b"n" * 255
SETUP = [
    ("mkdir", b"d", 0o755),
    ("mkdir", b"d/sub", 0o755),
    ("open", b"d/file", "wronly|creat", 0o644, b"hello"),
    ("open", b"file", "wronly|creat", 0o644, b"0123456789"),
    ("link", b"file", b"hard"),
    ("mkdir", b"empty", 0o755),
    ("symlink", b"file", b"lfile"),
    ("symlink", b"d", b"ldir"),
    ("symlink", b"d/", b"ldirslash"),
    ("symlink", b"nowhere", b"dangling"),
    ("symlink", b"d/new", b"ltonew"),
    ("symlink", b"loop2", b"loop1"),
    ("symlink", b"loop1", b"loop2"),
    ("symlink", b"lfile", b"llfile"),
    ("symlink", b"d/../file", b"ldotdot"),
    ("mknod", b"fifo", "fifo", 0o644),
    ("mknod", b"sock", "sock", 0o644),
]
PATHS = [
    b"",
    b".",
    b"..",
    b"./",
    b"d",
    b"d/",
    b"d/.",
    b"d/..",
    b"d//file",
    b"file",
    b"file/",
    b"file/.",
    b"file/x",
    b"file/..",
    b"hard",
    b"empty",
    b"empty/",
    b"none",
    b"none/",
    b"none/x",
    b"none/..",
    b"d/none",
    b"lfile",
    b"lfile/",
    b"llfile",
    b"ldir",
    b"ldir/",
    b"ldir/file",
    b"ldir/..",
    b"ldirslash",
    b"ldirslash/file",
    b"dangling",
    b"dangling/",
    b"dangling/x",
    b"ltonew",
    b"loop1",
    b"loop1/x",
    b"ldotdot",
    b"fifo",
    b"fifo/",
    b"sock",
    LONG,
    LONG + b"x",
    LONG + b"x/y",
    b"d/" * 1999 + b"x",
    b"./" * 2046 + b"file",
    b"./" * 2047 + b"file",
    b"./" * 2045 + b"xfile",
]
OPENS = [
    "rdonly|nonblock",
    "wronly|nonblock",
    "rdwr|nonblock",
    "rdonly|trunc|nonblock",
    "rdonly|directory",
    "rdonly|nofollow|nonblock",
    "rdonly|directory|nofollow",
    "wronly|creat|nonblock",
    "rdonly|creat|nonblock",
    "wronly|creat|excl",
    "wronly|creat|trunc|nonblock",
    "wronly|creat|nofollow|nonblock",
    "rdonly|creat|directory",
    "path|rdonly",
    "path|nofollow",
    "path|directory",
    "path|creat|wronly",
    "rdwr|tmpfile",
    "rdonly|tmpfile",
]
ONE_PATH = [
    *[("open", flags) for flags in OPENS],
    ("mkdir",),
    ("rmdir",),
    ("unlink",),
    ("readlink",),
    ("listdir",),
    ("stat",),
    ("stat", False),
    ("truncate", 3),
    ("truncate", 20),
    ("truncate", -1),
    ("chmod", 0o6755),
    ("chown", -1, -1),
    ("utime", 10**18, 2 * 10**18),
    ("mknod", "fifo"),
    ("mknod", "reg"),
    ("access", 4),
    ("read",),
]
TWO_PATHS = [("rename",), ("rename", "noreplace"), ("rename", "exchange"), ("link",)]


def _setup(world):
    for call, *args in SETUP:
        result = world.do(call, *args)
        assert not isinstance(result, str), (call, args, result)


def _worlds(tmp_path, phys, kind, cred=None):
    native = tmp_path / "native" / "base"
    native.mkdir(parents=True, mode=0o755)
    mine = tmp_path / "ours" / "base"
    mine.mkdir(parents=True, mode=0o755)
    host = Host(native)
    _setup(host)
    if kind == "overlay":
        _setup(Host(mine))
    ours = make_world(kind, phys, tmp_path / "ours", cred)
    if kind != "overlay":
        _setup(ours)
    host.cred = cred
    return host, ours


def _same(host, ours, call, *args):
    expected = host.do(call, *args)
    actual = ours.do(call, *args)
    assert (call, args, actual) == (call, args, expected)


@pytest.fixture(params=["tmpfs", "lofs", "overlay"])
def kind(request):
    return request.param


@pytest.fixture
def pair(kind, phys, tmp_path):
    cred = None if os.geteuid() == 0 else Cred.for_user(os.getuid(), os.getgid())
    host, ours = _worlds(tmp_path, phys, kind, cred)
    yield host, ours
    ours.close()


@pytest.mark.parametrize("case", ONE_PATH, ids=lambda case: "-".join(map(str, case)))
def test_call_on_every_path_as_native(pair, case):
    host, ours = pair
    call, *args = case

    for path in PATHS:
        _same(host, ours, call, path, *args)

    assert ours.tree() == host.tree()


@pytest.mark.parametrize("case", TWO_PATHS, ids="-".join)
def test_two_paths_as_native(kind, phys, tmp_path, case):
    if kind == "lofs" and case[1:] == ("exchange",):
        pytest.skip("needs a call of the host that Python does not offer")
    call, *args = case
    paths = [p for p in PATHS if len(p) < 20] + [b"d/sub", b"d/sub/x", b"empty/y", b"new"]
    cred = None if os.geteuid() == 0 else Cred.for_user(os.getuid(), os.getgid())
    for number, first in enumerate(paths):
        host, ours = _worlds(tmp_path / str(number), phys, kind, cred)
        for second in paths:
            _same(host, ours, call, first, second, *args)
        assert (first, ours.tree()) == (first, host.tree())
        ours.close()


@pytest.mark.parametrize("target", [b"", b"x", b"t" * 4095, b"t" * 4096])
def test_symlink_on_every_path_as_native(pair, target):
    host, ours = pair

    for path in PATHS:
        _same(host, ours, "symlink", target, path)


# -- permissions ----------------------------------------------------------------------------------

UID, GID = 1234, 2345
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
MODES = [0o000, 0o111, 0o222, 0o444, 0o555, 0o666, 0o777, 0o700, 0o070, 0o007, 0o1777, 0o2775]
OWNERS = [(0, 0), (UID, GID), (0, GID), (77, 88), (77, 99)]


@needs_root
@pytest.mark.parametrize("owner", OWNERS, ids=str)
@pytest.mark.parametrize("mode", MODES, ids=oct)
def test_permission_of_other_user_as_native(kind, phys, tmp_path, owner, mode):
    cred = Cred.for_user(UID, GID, (88,))
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.stat().st_uid == 0 and parent.name:
            parent.chmod(parent.stat().st_mode | 0o111)
    host, ours = _worlds(tmp_path, phys, kind)
    boss = ours.proc.cred
    for world in (host, ours):
        world.do("mkdir", b"p", 0o755)
        world.do("open", b"p/f", "wronly|creat", 0o644, b"x")
        world.do("open", b"p/g", "wronly|creat", 0o644, b"x")
        world.do("mkdir", b"p/e")
        world.do("open", b"mine", "wronly|creat")
        world.do("chown", b"mine", UID, GID)
        world.do("chmod", b".", 0o777)
        for path in (b"p/f", b"p"):
            world.do("chown", path, *owner)
            world.do("chmod", path, mode)
        world.do("chown", b"p/g", UID, GID)
        world.do("chmod", b"p/g", 0o6777)
    host.cred = cred
    ours.proc.cred = cred

    for call, *args in [
        ("stat", b"p/f"),
        ("stat", b"p/."),
        ("stat", b"p/.."),
        ("listdir", b"p"),
        ("open", b"p", "rdonly"),
        ("open", b"p", "wronly"),
        ("open", b"p", "path"),
        ("open", b"p/f", "rdonly"),
        ("open", b"p/f", "wronly"),
        ("open", b"p/f", "rdwr|trunc"),
        ("open", b"p/f", "rdonly|trunc"),
        ("open", b"p/f", "path"),
        ("open", b"p/f", "rdonly|noatime"),
        ("open", b"p/g", "wronly", 0, b"new data"),
        ("open", b"p/new", "wronly|creat", 0o2755),
        ("open", b"p/new2", "rdonly|creat", 0o200),
        ("open", b"p", "rdwr|tmpfile"),
        ("mkdir", b"p/newd", 0o777),
        ("mkdir", b"p/f", 0o777),
        ("mknod", b"p/fifo", "fifo"),
        ("symlink", b"t", b"p/l"),
        ("link", b"mine", b"p/hard"),
        ("truncate", b"p/f", 0),
        ("chmod", b"p/f", 0o777),
        ("chmod", b"p/g", 0o6755),
        ("chown", b"p/f", UID, GID),
        ("chown", b"p/g", -1, 88),
        ("chown", b"p/g", UID, GID),
        ("chown", b"p/g", 0, -1),
        ("chown", b"p/g", -1, 99),
        ("utime", b"p/f", 5, 6),
        ("touch", b"p/f"),
        ("access", b"p/f", 4),
        ("access", b"p/f", 2),
        ("access", b"p/f", 1),
        ("access", b"p", 7),
        ("rename", b"p/f", b"f2"),
        ("rename", b"mine", b"p/mine"),
        ("rename", b"p/e", b"e2"),
        ("unlink", b"p/g"),
        ("unlink", b"p/f"),
        ("rmdir", b"p/e"),
        ("rmdir", b"p"),
    ]:
        if call == "link" and _protected_links():
            continue
        _same(host, ours, call, *args)

    host.cred = None
    ours.proc.cred = boss
    assert ours.tree() == host.tree()
    ours.close()


def _protected_links():
    try:
        with open("/proc/sys/fs/protected_hardlinks") as file:
            return file.read().strip() != "0"
    except OSError:
        return False
