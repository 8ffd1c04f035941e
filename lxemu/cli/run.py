"""`lxemu run`: build a machine as the options say, run one program in it, report how it ended."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from lxemu.cli.options import (
    Option,
    TmpfsVolume,
    UsageError,
    Values,
    Volume,
    help_lines,
    parse,
    parse_size,
    parse_tmpfs,
    parse_user,
    parse_variable,
    parse_volume,
)
from lxemu.cli.ports import NET, NETWORK_HELP, PUBLISH, Port, parse_net, parse_port

HELP = Option(("-h", "--help"), "this text")
PLACE = (
    Option(("--root",), "'host' (default), 'none' or a directory", "ROOT"),
    Option(
        ("-v", "--volume"), "let the guest see and change a host path", "HOST:GUEST[:ro,...]", True
    ),
    Option(("--tmpfs",), "give the guest an empty tree in memory", "GUEST[:size=N]", True),
    PUBLISH,
    NET,
    Option(("-w", "--workdir"), "the guest's working directory", "DIR"),
    Option(("-u", "--user"), "run as this user", "UID[:GID]"),
    Option(("--hostname",), "the guest's host name", "NAME"),
    Option(("--memory",), "the guest's physical memory, such as 512M", "SIZE"),
    Option(("--strict",), "an unsupported system call kills with SIGSYS"),
    Option(("--clean-env",), "start with no variables but those of -e"),
    Option(("--deterministic",), "fix time, entropy and scheduling by a seed", "SEED"),
    Option(("--no-aslr",), "put everything at the same address each time"),
    Option(("--check-leaks",), "fail when the machine ends with something held", hidden=True),
)
ENVIRONMENT = Option(
    ("-e", "--env"), "set a variable, or pass the invoker's on", "NAME[=VALUE]", True
)
STATS = Option(("--stats",), "print counts at the end, and the registers of a crash")
STATS_FILE = Option(("--stats-file",), "write the counts as JSON to a host file", "FILE")
OPTIONS = (*PLACE, ENVIRONMENT, STATS, STATS_FILE, HELP)

SUMMARY = """\
Usage: lxemu run [OPTIONS] [--] PROGRAM [ARGS...]

Run PROGRAM, found through PATH when its name has no slash. By default it sees the host's files
below a private layer in memory, so that nothing it writes reaches the host, and starts in the
current directory with the invoker's user and environment. With any other root it starts in / as
uid 0 with a minimal environment.
"""
EPILOGUE = """\
Roots:
  host   the host's file tree, read-only, under a private writable layer in memory
  none   an empty tree in memory with PROGRAM, /dev, /proc and /tmp
  DIR    a host directory, read-only, under a private writable layer in memory
"""

MINIMAL_PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Request(NamedTuple):
    """What the command line asks for, checked and with the defaults filled in."""

    root: str | bytes  # "host", "none" or the path of a host directory
    volumes: tuple[Volume, ...]
    tmpfs: tuple[TmpfsVolume, ...]
    env: dict[bytes, bytes]
    cwd: bytes
    uid: int
    gid: int
    groups: tuple[int, ...]
    hostname: bytes
    memory: int | None  # bytes
    strict: bool
    stats: bool
    stats_file: str | None
    seed: int | None
    aslr: bool
    check_leaks: bool
    net: str
    publish: tuple[Port, ...]
    program: bytes
    args: tuple[bytes, ...]


def command_run(argv: list[str]) -> int:
    """Carry out `lxemu run`."""
    values, operands = parse(OPTIONS, argv)
    if values.flag("help"):
        sys.stdout.write(
            "\n".join((SUMMARY, "Options:", *help_lines(OPTIONS), "", EPILOGUE + NETWORK_HELP))
        )
        return 0
    from lxemu.cli.launch import launch

    return launch(request_of(values, operands))


def request_of(values: Values, operands: list[str], *, env_option: str = "env") -> Request:
    """Check the option *values* and fill in the defaults."""
    if not operands:
        raise UsageError("no PROGRAM given")
    root = _root(values)
    as_invoker = root == "host"
    uid, gid, groups = _user(values, as_invoker)
    workdir = values.value("workdir")
    if workdir is not None and not workdir.startswith("/"):
        raise UsageError(f"bad working directory {workdir!r}: it must be an absolute path")
    here = os.getcwdb() if as_invoker else b"/"
    memory, seed, hostname = (
        values.value(name) for name in ("memory", "deterministic", "hostname")
    )
    return Request(
        root=root,
        volumes=tuple(_volume(text) for text in values.all("volume")),
        tmpfs=tuple(parse_tmpfs(text) for text in values.all("tmpfs")),
        env=_environment(values, as_invoker, env_option),
        cwd=here if workdir is None else os.fsencode(workdir),
        uid=uid,
        gid=gid,
        groups=groups,
        hostname=_hostname(hostname, as_invoker),
        memory=None if memory is None else parse_size(memory),
        strict=values.flag("strict"),
        stats=values.flag("stats"),
        stats_file=values.value("stats_file"),
        seed=None if seed is None else _seed(seed),
        aslr=not values.flag("no_aslr"),
        check_leaks=values.flag("check_leaks"),
        net=parse_net(values.value("net")),
        publish=tuple(parse_port(text) for text in values.all("publish")),
        program=os.fsencode(operands[0]),
        args=tuple(os.fsencode(text) for text in operands),
    )


def _root(values: Values) -> str | bytes:
    text = values.value("root") or "host"
    if text in ("host", "none"):
        return text
    if not os.path.isdir(text):
        raise UsageError(f"bad root {text!r}: it is not a directory of the host")
    return os.path.abspath(os.fsencode(text))


def _user(values: Values, as_invoker: bool) -> tuple[int, int, tuple[int, ...]]:
    text = values.value("user")
    if text is not None:
        uid, gid = parse_user(text)
        return uid, (0 if gid is None else gid), ()
    if as_invoker:
        return os.geteuid(), os.getegid(), tuple(os.getgroups())
    return 0, 0, ()


def _hostname(given: str | None, as_invoker: bool) -> bytes:
    if given is None:
        given = os.uname().nodename if as_invoker else "lxemu"
    name = os.fsencode(given)
    if not 0 < len(name) <= 64:
        raise UsageError(f"bad host name {given!r}: it must have 1 to 64 bytes")
    return name


def _volume(text: str) -> Volume:
    volume = parse_volume(text)
    if not os.path.exists(volume.host):
        raise UsageError(f"bad volume {text!r}: {os.fsdecode(volume.host)!r} does not exist")
    return volume._replace(host=os.path.abspath(volume.host))


def _seed(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise UsageError(f"bad seed {text!r}: it must be a number") from None


def _environment(values: Values, as_invoker: bool, option: str) -> dict[bytes, bytes]:
    outer = dict(os.environb)
    env: dict[bytes, bytes] = {}
    if values.flag("clean_env"):
        pass
    elif as_invoker:
        env = outer.copy()
    else:
        env = {b"PATH": MINIMAL_PATH, b"HOME": b"/root"}
        if b"TERM" in outer:
            env[b"TERM"] = outer[b"TERM"]
    for text in values.all(option):
        pair = parse_variable(text, outer)
        if pair is not None:
            env[pair[0]] = pair[1]
    return env
