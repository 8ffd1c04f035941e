"""What a process sees of its zone when it has left the common view: names, mounts, numbers, users.

A process shares each of these with others until it asks for one of its own. `Namespaces` never
changes, so that threads and children hold one together; a view is an object of its own kind, or a
bare `Space` where there is nothing but its identity.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lxemu.kernel.pidspace import PidSpace
    from lxemu.kernel.proc import Proc
    from lxemu.kernel.userns import UserSpace
    from lxemu.kernel.vfs.mount import MountTable
    from lxemu.kernel.zone import Zone

#: Numbers of views made later than the zone's own.
_FIRST_NUMBER = 0xF0000010


class Space:
    """A view: its number, and the users' space whose root rules it (None: the zone's).

    `content` is what is seen in it, None for what the zone has.
    """

    def __init__(self, number: int, owner: UserSpace | None = None, content: Any = None) -> None:
        self.number = number
        self.owner = owner
        self.content = content


class NodeNames(Space):
    """The names of a system of one's own."""

    def __init__(
        self, number: int, owner: UserSpace | None, nodename: bytes, domainname: bytes
    ) -> None:
        super().__init__(number, owner)
        self.nodename = nodename
        self.domainname = domainname


@dataclass(frozen=True, slots=True)
class Namespaces:
    """The views of one process.

    `uts` has the node name and the domain name, `children` numbers the processes that it makes.
    """

    mounts: MountTable
    uts: Any
    ipc: Any
    net: Any
    cgroup: Any
    time: Any
    children: PidSpace | None = None

    def with_(self, **changes: Any) -> Namespaces:
        """Return a copy with some views replaced."""
        return replace(self, **changes)


def namespaces_of(proc: Proc) -> Namespaces:
    """Return what a process sees."""
    return proc.ns if proc.ns is not None else initial(proc.zone)


def initial(zone: Zone) -> Namespaces:
    """Return the view that a zone's first process has."""
    found = zone.namespaces
    if found is None:
        assert zone.mounts is not None
        ipc, net, cgroup, time = (Space(number) for number in _ZONE_NUMBERS)
        found = zone.namespaces = Namespaces(zone.mounts, zone, ipc, net, cgroup, time)
    return found


#: Numbers of the zone's own views, in the order of the members they go to.
_ZONE_NUMBERS = (0xEFFFFFFF, 0xEFFFFFF9, 0xEFFFFFFB, 0xEFFFFFFA)


def next_number(zone: Zone) -> int:
    """Return the number of a new view."""
    zone.last_space = max(zone.last_space + 1, _FIRST_NUMBER)
    return zone.last_space
