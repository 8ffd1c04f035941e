"""Users' spaces: ids of their own for users and groups, and privileges over nothing else.

Ids inside the kernel are the zone's. A process in a users' space is shown the ids that its space
maps them to, and its privileges count only towards what its space rules (user_namespaces(7)).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.ns import Space

if TYPE_CHECKING:
    from lxemu.kernel.cred import Cred

#: What an id looks like that a space has no number for.
OVERFLOW_ID = 65534
#: Spaces may be nested this deep.
MAX_LEVEL = 32


class Extent(NamedTuple):
    """`number` ids from `first` on are the zone's ids from `outer` on."""

    first: int
    outer: int
    number: int


class UserSpace(Space):
    """A users' space. A map is None until it has been written, once."""

    def __init__(self, number: int, parent: UserSpace | None, creator: Cred) -> None:
        super().__init__(number, parent)
        self.parent = parent
        self.level: int = parent.level + 1 if parent is not None else 1
        if self.level > MAX_LEVEL:
            raise KernelError(Errno.ENOSPC)
        self.uid = creator.euid
        self.gid = creator.egid
        self.uids: list[Extent] | None = None
        self.gids: list[Extent] | None = None
        self.setgroups: bool = parent.setgroups if parent is not None else True

    def is_below(self, other: UserSpace | None) -> bool:
        """Return whether this is `other` or was made in it."""
        space: UserSpace | None = self
        while space is not None:
            if space is other:
                return True
            space = space.parent
        return other is None

    def uid_inside(self, uid: int) -> int:
        """Return what users of the space are shown for the zone's user `uid`."""
        return inside(self.uids, uid)

    def gid_inside(self, gid: int) -> int:
        """Return what users of the space are shown for the zone's group `gid`."""
        return inside(self.gids, gid)

    def root(self) -> int:
        """Return the zone's id of the space's user 0, -1 if there is none."""
        found = outside(self.uids, 0)
        return -1 if found is None else found

    def maps(self, uid: int, gid: int) -> bool:
        """Return whether the space has numbers for both."""
        return _has(self.uids, uid) and _has(self.gids, gid)


def inside(extents: list[Extent] | None, number: int) -> int:
    """Return the number that a space shows for an id of the zone."""
    for first, outer, count in extents or ():
        if outer <= number < outer + count:
            return number - outer + first
    return OVERFLOW_ID


def _has(extents: list[Extent] | None, number: int) -> bool:
    return any(outer <= number < outer + count for _, outer, count in extents or ())


def outside(extents: list[Extent] | None, number: int) -> int | None:
    """Return the zone's id for a number of a space, None if there is none."""
    for first, outer, count in extents or ():
        if first <= number < first + count:
            return number - first + outer
    return None


def ruled(cred: Cred, space: UserSpace | None, priv: int) -> bool:
    """Return whether `cred` has `priv` over what `space` rules (None: the zone).

    A process has its privileges in its own space and those made in it; who made a space has all.
    """
    mine = cred.space
    here = space
    while True:
        if here is mine:
            return cred.own(priv)
        if here is None:
            return False
        if here.parent is mine and here.uid == cred.euid:
            return True
        here = here.parent
