"""The host descriptors that a lofs keeps open, bounded in number."""

from __future__ import annotations

import errno
import os
import resource
from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

#: Part of the host's limit that one cache may use, and the most it ever wants.
_SHARE = 4
_MOST = 2048
_LEAST = 32


class Keeper(Protocol):
    """Something with a descriptor that it can open again."""

    used: bool

    def busy(self) -> bool:
        """Return whether the descriptor must stay open."""

    def drop(self) -> None:
        """Close the descriptor."""


class FdCache:
    """Keepers of idle descriptors, oldest first; one that was used since gets a second round.

    The cache holds its keepers strongly: it is also what keeps recent files, and their pages,
    known.
    """

    def __init__(self, limit: int | None = None) -> None:
        if limit is None:
            soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            if soft == resource.RLIM_INFINITY:
                soft = _MOST * _SHARE
            limit = max(_LEAST, min(_MOST, soft // _SHARE))
        self.limit = limit
        self._keepers: OrderedDict[Keeper, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keepers)

    def add(self, keeper: Keeper) -> None:
        """Take in a keeper whose descriptor has just been opened."""
        self._keepers[keeper] = None
        if len(self._keepers) > self.limit:
            self._evict(1)

    def remove(self, keeper: Keeper) -> None:
        """Forget a keeper that has closed its descriptor."""
        self._keepers.pop(keeper, None)

    def _evict(self, want: int) -> int:
        """Close up to `want` descriptors; returns how many."""
        done = 0
        for _ in range(2 * len(self._keepers)):
            if done >= want:
                break
            keeper, _none = self._keepers.popitem(last=False)
            if keeper.used or keeper.busy():
                keeper.used = False
                self._keepers[keeper] = None
            else:
                keeper.drop()
                done += 1
        return done

    def open(self, open_it: Callable[[], int]) -> int:
        """Call `open_it`; if the host has no descriptor left, close idle ones and try again."""
        try:
            return open_it()
        except OSError as err:
            if err.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            if not self._evict(max(1, len(self._keepers) // 2)):
                raise
            return open_it()

    def clear(self) -> None:
        """Close everything."""
        while self._keepers:
            keeper, _ = self._keepers.popitem()
            keeper.drop()


def close_quietly(fd: int) -> None:
    """Close a host descriptor, which cannot fail in a way that matters here."""
    if fd >= 0:
        try:
            os.close(fd)
        except OSError:
            return
