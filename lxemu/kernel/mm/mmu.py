"""The seam between address spaces and the processor that walks their page tables.

The kernel half edits tables; only the processor knows what it has cached of them. The engine
replaces the two callables when it starts; without an engine (unit tests) they do nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxemu.kernel.mm.hat import Hat


def _no_flush() -> None:
    """Drop nothing: there is no processor."""


def _no_invalidate(_pfn: int) -> None:
    """Drop nothing: there is no processor."""


class Mmu:
    """What the processor caches of the kernel's tables, and how to make it forget.

    live: the hat whose tables are loaded (CR3), or None.
    flush: drop every cached translation. Called only when a present translation of the live hat
        was removed, restricted or replaced by the kernel.
    invalidate: drop translated code of one frame (its number), after the kernel wrote to it.
    stale: a write fault gave the live hat a private copy of a page, and the processor may still
        read the old frame until the store is retried. Kernel stores settle() first; the engine
        may clear it whenever it drops all translations for reasons of its own.
    kernel_entry: top-level table entry of the supervisor's pages, shared by every hat.
    """

    # Class attributes, no slots: an engine that goes away deletes its own and these show again.
    flush: Callable[[], None] = staticmethod(_no_flush)
    invalidate: Callable[[int], None] = staticmethod(_no_invalidate)

    def __init__(self) -> None:
        self.live: Hat | None = None
        self.stale = False
        self.kernel_entry = 0

    def settle(self) -> None:
        """Drop translations if one may be stale: the kernel is about to store to some frame."""
        if self.stale:
            self.stale = False
            self.flush()
