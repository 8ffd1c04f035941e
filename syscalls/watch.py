"""The debug registers of a tracee (arch/x86/kernel/ptrace.c, ptrace_get_debugreg).

The CPU has none, so an lwp with an enabled one is stepped, and what is watched is looked at after
each instruction. A store that changes nothing goes unseen, unless reads are watched too: then the
page is hidden, and an access that starts in what is watched is noticed by its fault.
"""

from __future__ import annotations

from typing import Final

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.ptrace import Trace, Watch

_TASK_SIZE: Final = 0x7FFFFFFFF000
_STATUS, _CONTROL = 6, 7
_EXECUTE, _WRITE, _PORT, _ACCESS = 0, 1, 2, 3
_LENGTHS: Final = (1, 2, 8, 4)
#: Bits of DR7 that mean nothing (DR_CONTROL_RESERVED), and those of DR6 that are always set.
_RESERVED7: Final = 0xFFFFFFFF0000FC00


def read(trace: Trace, number: int) -> int:
    """Return debug register `number` (0 to 7); 4 and 5 do not exist and read as 0."""
    regs = trace.watchregs
    if regs is None:
        return 0
    if number == _STATUS:
        for watch in trace.watches:
            if watch.hit:
                regs[_STATUS] |= 1 << watch.index
                watch.hit = False
    return regs[number]


def write(trace: Trace, number: int, value: int) -> None:
    """Set debug register `number`: EIO for 4 and 5, EINVAL for what cannot be watched."""
    regs = trace.watchregs
    if regs is None:
        regs = trace.watchregs = [0] * 8
    if number in (4, 5):
        raise KernelError(Errno.EIO)
    if number == _STATUS:
        read(trace, _STATUS)
        regs[_STATUS] = value
        return
    if number == _CONTROL:
        value &= ~_RESERVED7
        trace.watches = _watches(regs, value)
    elif value >= _TASK_SIZE:
        raise KernelError(Errno.EINVAL)
    else:
        for watch in trace.watches:
            if watch.index == number:
                watch.addr = value
    regs[number] = value


def _watches(regs: list[int], control: int) -> list[Watch]:
    found: list[Watch] = []
    for index in range(4):
        if not control >> 2 * index & 3:
            continue
        kind = control >> 16 + 4 * index & 3
        size = _LENGTHS[control >> 18 + 4 * index & 3]
        if kind == _PORT or (kind == _EXECUTE and size != 1):
            raise KernelError(Errno.EINVAL)
        if regs[index] & (size - 1):
            raise KernelError(Errno.EINVAL)
        watched = 0 if kind == _EXECUTE else size
        found.append(Watch(index, regs[index], watched, reads=kind == _ACCESS))
    return found
