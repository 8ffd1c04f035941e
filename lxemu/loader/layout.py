"""Where things go in a new address space: the placement rules of the reference kernel.

arch/x86/mm/mmap.c (mmap_base), arch/x86/include/asm/elf.h, fs/binfmt_elf.c (randomize_stack_top,
brk). All sizes and addresses are bytes. With `random` None every address is the one that `setarch
--addr-no-randomize` gives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

PAGE = 4096

#: A function `bound -> 0 <= n < bound`, or None where addresses must not vary.
Random = Callable[[int], int] | None

_STACK_GUARD_GAP = 256 * PAGE
_GAP_MIN = 128 << 20


def page_down(addr: int) -> int:
    """Round down to a page boundary."""
    return addr & -PAGE


def page_up(addr: int) -> int:
    """Round up to a page boundary."""
    return (addr + PAGE - 1) & -PAGE


@dataclass(frozen=True, slots=True)
class Layout:
    """The limits of one data model.

    `task_size` ends user memory; `dyn_base` is where a position independent program goes that has
    an interpreter; the `*_random` members bound the pages (stack, mmap) and bytes (brk) of
    randomisation.
    """

    task_size: int
    dyn_base: int
    stack_random: int
    mmap_random: int
    brk_random: int

    def stack_top(self, random: Random) -> int:
        """Return the end of the stack's mapping."""
        if random is None:
            return self.task_size
        return self.task_size - random(self.stack_random) * PAGE

    def mmap_base(self, stack_limit: int, random: Random) -> int:
        """Return the address below which mappings are placed, given RLIMIT_STACK."""
        pad = _STACK_GUARD_GAP + (self.stack_random * PAGE if random else 0)
        gap = max(_GAP_MIN, min(stack_limit + pad, self.task_size // 6 * 5))
        shift = random(self.mmap_random) * PAGE if random else 0
        return page_up(self.task_size - gap - shift)

    def dynamic_base(self, align: int, random: Random) -> int:
        """Return the load address of a position independent program with an interpreter."""
        base = self.dyn_base + (random(self.mmap_random) * PAGE if random else 0)
        return page_down(base & -align if align else base)

    def brk_start(self, end: int, *, moved: bool, random: Random) -> int:
        """Return the start of the heap after an image that ends at `end`.

        `moved`: a position independent program without interpreter lies in the mmap area, and its
        heap goes where such a program with one would be.
        """
        start = page_up(self.dyn_base if moved else end)
        if random is None:
            return start
        if not moved:
            start += PAGE
        return start + random(self.brk_random // PAGE) * PAGE


LAYOUT64 = Layout(
    task_size=0x7FFF_FFFF_F000,
    dyn_base=0x5555_5555_4000,
    stack_random=1 << 22,
    mmap_random=1 << 28,
    brk_random=1 << 30,
)
LAYOUT32 = Layout(
    task_size=0xFFFF_E000,
    dyn_base=0x5655_5000,
    stack_random=1 << 11,
    mmap_random=1 << 8,
    brk_random=32 << 20,
)


def layout_for(bits: int) -> Layout:
    """Return the layout of 32 or 64-bit programs."""
    return LAYOUT64 if bits == 64 else LAYOUT32
