"""How much memory may be promised: the reservation of swap, where there is none (anon_resvmem).

Private writable memory is promised when it is mapped and needed when it is touched. What illumos
always does, to promise no more than there is, is one of three policies here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.mm.mman import PAGESHIFT

if TYPE_CHECKING:
    from collections.abc import Callable

#: Refuse what could never be had; refuse nothing; promise no more than the limit.
GUESS, ALWAYS, STRICT = 0, 1, 2


class Commitment:
    """The policy of a machine. ratio: percent of memory that makes the limit, or kbytes, if set.

    promised: tells how many bytes are promised now; asked under STRICT only.
    """

    __slots__ = ("kbytes", "mode", "nframes", "promised", "ratio")

    def __init__(self, nframes: int) -> None:
        self.nframes = nframes
        self.mode = GUESS
        self.ratio = 50
        self.kbytes = 0
        self.promised: Callable[[], int] = int

    @property
    def limit(self) -> int:
        """The most that may be promised under STRICT, bytes."""
        if self.kbytes:
            return self.kbytes << 10
        return (self.nframes << PAGESHIFT) * self.ratio // 100

    def allows(self, size: int) -> bool:
        """Tell whether *size* more bytes may be promised."""
        if self.mode == GUESS:
            return size <= self.nframes << PAGESHIFT
        return self.mode == ALWAYS or self.promised() + size <= self.limit
