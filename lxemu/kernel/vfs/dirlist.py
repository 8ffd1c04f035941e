"""Cookies for directories whose store has none that last: a name keeps its first number."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from lxemu.kernel.vfs.vnode import VDIR, Dirent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Entries that one readdir returns at most.
DIRENT_BATCH = 1024


class DirList:
    """The numbered entries of one directory, for as long as its vnode lives.

    `stale` asks for a new scan at the next reading; a reading from the start always makes one.
    """

    __slots__ = ("_cookies", "_entries", "_next", "stale")

    def __init__(self) -> None:
        self._cookies: dict[bytes, int] = {}
        self._entries: list[Dirent] = []
        self._next = 2
        self.stale = True

    def read(
        self, cookie: int, scan: Callable[[], tuple[int, int, Iterable[tuple[bytes, int, int]]]]
    ) -> list[Dirent]:
        """Return entries from `cookie` on, empty at the end.

        `scan` returns the nodeids of "." and "..", and (name, nodeid, type) of every entry.
        """
        if cookie <= 0 or self.stale:
            self._update(*scan())
            self.stale = False
        at = bisect_left(self._entries, cookie + 1, key=_next_cookie)
        return self._entries[at : at + DIRENT_BATCH]

    def _update(self, here: int, up: int, found: Iterable[tuple[bytes, int, int]]) -> None:
        old = self._cookies
        cookies: dict[bytes, int] = {}
        entries: list[Dirent] = []
        for name, nodeid, vtype in found:
            number = old.get(name, 0)
            if not number:
                number = self._next
                self._next += 1
            cookies[name] = number
            entries.append(Dirent(name, nodeid, vtype, number + 1))
        entries.sort(key=_next_cookie)
        self._cookies = cookies
        self._entries = [Dirent(b".", here, VDIR, 1), Dirent(b"..", up, VDIR, 2), *entries]


def _next_cookie(entry: Dirent) -> int:
    return entry.next_cookie
