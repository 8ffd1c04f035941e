"""The vDSO: code that the kernel lends to every program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.mm.as_ import As


class Vdso:
    """The vDSO of one data model."""

    def __init__(self, bits: int) -> None:
        self.bits = bits

    def map(self, machine: Any, as_: As) -> tuple[int, int]:
        """Map nothing: a program without a vDSO makes system calls."""
        return 0, 0

    def trampolines(self, lwp: Lwp) -> tuple[int, int]:
        """Return the addresses of __kernel_sigreturn and __kernel_rt_sigreturn, or zeros."""
        return 0, 0
