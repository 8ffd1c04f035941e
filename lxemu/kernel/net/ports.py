"""Who has which port: one table for each transport protocol (illumos conn hash tables).

The rules of sharing are those of the reference system: two sockets may have one port when their
addresses do not meet, when both allow reuse of addresses and neither listens, or when both are in
one group of port sharers of one user.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.net.inaddr import is_any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FIRST_EPHEMERAL = 32768
LAST_EPHEMERAL = 60999
#: Ports below this one need a privilege.
FIRST_UNPRIVILEGED = 1024

_V4, _V6 = 1, 2


class Binding:
    """A local address and port in use, and how far its owner shares it.

    `family` is 4 or 6; a family-6 wildcard that is not `v6only` takes IPv4 as well. `owner` is
    whatever receives what comes to the port. `closing` marks what only waits for its end,
    `explicit` what a bind asked for, which outlives the connection.
    """

    __slots__ = (
        "closing",
        "connected",
        "explicit",
        "family",
        "host",
        "listening",
        "owner",
        "port",
        "reuse_addr",
        "reuse_port",
        "uid",
        "v6only",
    )

    def __init__(self, owner: Any, family: int, host: bytes, port: int) -> None:
        self.owner = owner
        self.family = family
        self.host = host
        self.port = port
        self.v6only = False
        self.reuse_addr = False
        self.reuse_port = False
        self.uid = 0
        self.listening = False
        self.closing = False
        self.connected = False
        self.explicit = False

    def sharing_of(self, other: Binding) -> None:
        """Take over how `other` shares its port (a connection does from its listener)."""
        self.v6only = other.v6only
        self.reuse_addr = other.reuse_addr
        self.reuse_port = other.reuse_port
        self.uid = other.uid

    def families(self) -> int:
        """Return which families a datagram for this binding may have."""
        if len(self.host) == 4:
            return _V4
        if self.family == 6 and is_any(self.host) and not self.v6only:
            return _V4 | _V6
        return _V6

    def meets(self, other: Binding) -> bool:
        """Return whether some address belongs to both."""
        mine, theirs = is_any(self.host), is_any(other.host)
        if not mine and not theirs:
            return self.host == other.host
        return self.families() & other.families() != 0

    def score(self, host: bytes) -> int:
        """Return how well this binding fits the destination `host`; 0 when not at all."""
        if self.host == host:
            return 4
        if not is_any(self.host):
            return 0
        if not self.families() & (_V4 if len(host) == 4 else _V6):
            return 0
        return 2 if len(self.host) == len(host) else 1


class PortTable:
    """The ports of one transport protocol.

    `datagram` chooses the rules: a stream that listens shares its port with nobody. `entropy` gives
    random bytes.
    """

    def __init__(self, entropy: Callable[[int], bytes], *, datagram: bool) -> None:
        #: The bindings of each port, as ordered sets: a busy server's port has many.
        self.bound: dict[int, dict[Binding, None]] = {}
        self.listening: dict[int, list[Binding]] = {}
        self.datagram = datagram
        self.first, self.last = FIRST_EPHEMERAL, LAST_EPHEMERAL
        self._entropy = entropy

    def at(self, port: int) -> Iterable[Binding]:
        """Return the bindings of a port."""
        return self.bound.get(port, ())

    def owners(self) -> Iterable[Any]:
        """Return what every binding delivers to, by port."""
        return [binding.owner for port in sorted(self.bound) for binding in self.bound[port]]

    def add(self, binding: Binding) -> None:
        """Enter a binding; whether it may be there has been checked."""
        self.bound.setdefault(binding.port, {})[binding] = None

    def remove(self, binding: Binding) -> None:
        """Take a binding out; it is not an error if it is gone."""
        there = self.bound.get(binding.port)
        if there is not None and binding in there:
            del there[binding]
            if not there:
                del self.bound[binding.port]
        if binding.listening:
            self.listen(binding, on=False)

    def listen(self, binding: Binding, *, on: bool) -> None:
        """Note that a binding accepts connections, or does no more."""
        there = self.listening.setdefault(binding.port, [])
        if on and binding not in there:
            there.append(binding)
        elif not on and binding in there:
            there.remove(binding)
        if not there:
            del self.listening[binding.port]
        binding.listening = on

    def conflicts(self, new: Binding) -> bool:
        """Return whether somebody has the port in a way that excludes `new`."""
        return any(
            other is not new and not self._share(new, other) and new.meets(other)
            for other in self.at(new.port)
        )

    def _share(self, new: Binding, other: Binding) -> bool:
        if new.reuse_port and other.reuse_port and (other.closing or new.uid == other.uid):
            return True
        if not (new.reuse_addr and other.reuse_addr):
            return False
        return self.datagram or not other.listening

    def claim(self, new: Binding) -> None:
        """Enter `new`, choosing a port when it has 0. Raises EADDRINUSE."""
        if new.port:
            if self.conflicts(new):
                raise KernelError(Errno.EADDRINUSE)
        else:
            new.port = self._free_port(new)
        self.add(new)

    def _free_port(self, new: Binding) -> int:
        """Return a port that nobody has: odd ones first, even ones are for connections."""
        for port in self.ephemeral(odd=True):
            new.port = port
            if not any(new.meets(other) for other in self.at(port)):
                return port
        new.port = 0
        raise KernelError(Errno.EADDRINUSE)

    def ephemeral(self, *, odd: bool) -> Iterable[int]:
        """Run through the ephemeral ports from a random one on, those of one parity first."""
        first, size = self.first, self.last - self.first + 1
        pairs = size // 2
        if not pairs:
            yield from range(first, self.last + 1)
            return
        start = int.from_bytes(self._entropy(4), "big") % pairs
        base = first + (1 if odd else 0)
        for half in (base, first + (0 if odd else 1)):
            for at in range(pairs):
                yield half + (start + at) % pairs * 2

    def best(self, host: bytes, port: int, *, listening: bool = False) -> list[Binding]:
        """Return the bindings that fit the destination best; several share the port as a group."""
        found: list[Binding] = []
        top = 1
        for binding in self.listening.get(port, ()) if listening else self.at(port):
            score = binding.score(host)
            if score > top or (score == top and not found):
                found, top = [binding], score
            elif score == top and score:
                found.append(binding)
        return found
