"""The network options of `lxemu run`: published ports and what the guest may reach."""

from __future__ import annotations

from typing import NamedTuple

from lxemu.cli.options import Option, UsageError

PUBLISH = Option(
    ("-p", "--publish"),
    "a port of the host leads to one of the guest",
    "[ADDR:]HOST:GUEST[/udp]",
    many=True,
)
NET = Option(("--net",), "'none' (default): a loopback only; 'host': out through the host", "NET")

NETWORK_HELP = """\

Network:
  The guest has a loopback of its own. With --net host it also reaches what the host reaches
  (TCP and UDP; names by its /etc/resolv.conf); 127.x with no listener in the guest is then the
  host's. -p 8080:80 makes port 80 of the guest port 8080 on every address of the host,
  -p 127.0.0.1:8080:80 on that address only.
"""

#: Where a published port is bound without an address: as with docker, everywhere.
EVERYWHERE = "0.0.0.0"
_LAST_PORT = 65535


class Port(NamedTuple):
    """A port of the host that leads into the machine: `-p [ADDR:]HOST:GUEST[/tcp|udp]`."""

    address: str
    port: int
    guest_port: int
    protocol: str


def parse_port(text: str) -> Port:
    """Take apart `[ADDR:]HOST:GUEST[/tcp|udp]`; an IPv6 address is in brackets."""
    bad = UsageError(f"bad port {text!r}: it must be [ADDRESS:]HOST:GUEST or ...:GUEST/udp")
    rest, slash, protocol = text.partition("/")
    if slash and protocol not in ("tcp", "udp"):
        raise bad
    address = EVERYWHERE
    if rest.startswith("["):
        address, bracket, rest = rest[1:].partition("]:")
        if not bracket:
            raise bad
    elif rest.count(":") == 2:
        address, _, rest = rest.partition(":")
    words = rest.split(":")
    if len(words) != 2 or not all(word.isascii() and word.isdigit() for word in words):
        raise bad
    host, guest = (int(word) for word in words)
    if not (0 < host <= _LAST_PORT and 0 < guest <= _LAST_PORT):
        raise UsageError(f"bad port {text!r}: a port is a number from 1 to {_LAST_PORT}")
    if not _is_address(address):
        raise UsageError(f"bad port {text!r}: {address!r} is not an IP address")
    return Port(address, host, guest, protocol or "tcp")


def _is_address(text: str) -> bool:
    import socket  # a start without the option does not wait for it

    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except OSError:
            continue
        return True
    return False


def parse_net(text: str | None) -> str:
    """Check the value of --net; none without one."""
    if text not in (None, "none", "host"):
        raise UsageError(f"bad network {text!r}: it must be none or host")
    return text or "none"
