"""Data models: what differs between an LP64 and an ILP32 Linux program before any call is known."""

from __future__ import annotations

from typing import Final


class Model:
    """A data model and its system call registers.

    `slots` are indices into the live register array `lwp.q`, in x86 encoding order
    (rax rcx rdx rbx rsp rbp rsi rdi r8 .. r15 rip).
    """

    __slots__ = ("bits", "mask", "max_align", "name", "slots")

    def __init__(self, name: str, bits: int, max_align: int, slots: tuple[int, ...]) -> None:
        self.name = name
        self.bits = bits
        self.mask = (1 << bits) - 1
        self.max_align = max_align
        self.slots = slots

    def __repr__(self) -> str:
        return f"<Model {self.name}>"


#: x86_64: arguments in rdi rsi rdx r10 r8 r9.
LP64: Final = Model("lp64", 64, 8, (7, 6, 2, 10, 8, 9))
#: i386: arguments in ebx ecx edx esi edi ebp; 64-bit members of structures align to 4.
ILP32: Final = Model("ilp32", 32, 4, (3, 1, 2, 6, 7, 5))
