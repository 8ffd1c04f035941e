"""Records of signals. Numbers, codes, sets and SA_ flags are the kernel's.

`SigAction` and `SigInfo` are the kernel's own tuples (lxemu/kernel/signal.py).
"""

from __future__ import annotations

from typing import NamedTuple

from lxemu.kernel.signal import SigAction, SigInfo

__all__ = ["OldSigAction", "SigAction", "SigInfo", "SignalfdSiginfo", "StackT"]


class OldSigAction(SigAction):
    """The structure of the first i386 sigaction(2): a one-word mask."""

    __slots__ = ()


class StackT(NamedTuple):
    """An alternate signal stack."""

    sp: int
    flags: int
    size: int


class SignalfdSiginfo(NamedTuple):
    """What a read of a signalfd gives (128 bytes). Numbers are Linux's, made by the encoder."""

    signo: int
    errno: int
    code: int
    pid: int = 0
    uid: int = 0
    fd: int = 0
    tid: int = 0
    band: int = 0
    overrun: int = 0
    trapno: int = 0
    status: int = 0
    int_: int = 0
    ptr: int = 0
    utime: int = 0
    stime: int = 0
    addr: int = 0
    addr_lsb: int = 0
    syscall: int = 0
    call_addr: int = 0
    arch: int = 0
