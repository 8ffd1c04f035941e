"""System calls of an lwp that is traced (Linux kernel/entry/common.c, arch/x86/kernel/signal.c).

While it is traced, `TracedCalls` stands in the place of its list of stubs: it stops the lwp before
and after each call if its tracer asks for that, and lets the tracer change number and arguments,
skip the call and change the result. A call that a signal interrupts leaves one of Linux's internal
error numbers in the result register, where a tracer sees it and may change it; `restart_call` acts
on it when the signal has been dealt with.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from lxemu.kernel.errno import Again, Errno, Interrupted, KernelError
from lxemu.kernel.ptrace import PR_SYSENTRY, PR_SYSEXIT, Event, event_stop, stop
from lxemu.kernel.signal import (
    SA_RESTART,
    SI_KERNEL,
    SIG_DFL,
    SIGTRAP,
    TRAP_BRKPT,
    SigAction,
    SigInfo,
)
from syscalls.abi.consts import INTERRUPTED

if TYPE_CHECKING:
    from lxemu.brand import Stub
    from lxemu.kernel.lwp import Lwp
    from syscalls.brand import LxBrand

ENOSYS: Final = 38
EINTR: Final = 4
ERESTARTSYS: Final = 512
ERESTARTNOINTR: Final = 513
ERESTARTNOHAND: Final = 514
ERESTART_RESTARTBLOCK: Final = 516
_CODES: Final = (ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK)
RESTART_SYSCALL: Final = {64: 219, 32: 0}
_TIMER_ABSTIME: Final = 1


def set_result(lwp: Lwp, value: int) -> None:
    """Set the result register of the running lwp, all of it."""
    lwp.q[0] = value & (0xFFFFFFFFFFFFFFFF if lwp.cpu.bits == 64 else 0xFFFFFFFF)


def result(lwp: Lwp) -> int:
    """Return the result register of the running lwp, signed."""
    value: int = lwp.q[0]
    if lwp.cpu.bits == 64:
        return value - (value >> 63 << 64)
    value &= 0xFFFFFFFF
    return value - (value >> 31 << 32)


class TracedCalls(Sequence["Stub"]):
    """A list of stubs in which every number, known or not, is the same stub."""

    def __init__(self, brand: LxBrand) -> None:
        self.brand = brand
        self._stub = self._call

    def __len__(self) -> int:
        return 1 << 32

    def __getitem__(self, _nr: Any) -> Any:
        return self._stub

    def _call(self, lwp: Lwp) -> int:
        """Make the call whose number is `lwp.syscall_nr`, with the stops around it."""
        trace = lwp.trace
        lwp.call_bits = self.brand.bits
        set_result(lwp, -ENOSYS)
        emulate = trace is not None and trace.emulate
        if trace is not None and (trace.calls or emulate):
            _pass_on(lwp, stop(lwp, PR_SYSENTRY))
        if lwp.syscall_nr != -1 and not emulate:
            set_result(lwp, self._make(lwp, lwp.syscall_nr & 0xFFFFFFFF))
        self._leave(lwp, emulate=emulate)
        value: int = lwp.q[0]
        return value

    def _make(self, lwp: Lwp, nr: int) -> int:
        """Make one call; return its result, an error as a negative number."""
        brand = self.brand
        stubs = brand.filtered(lwp)
        try:
            if nr < len(stubs):
                return int(stubs[nr](lwp))
            return brand.nosys(lwp, nr)
        except KernelError as error:
            return failure(lwp, brand, error)

    def _leave(self, lwp: Lwp, *, emulate: bool) -> None:
        trace = lwp.trace
        if trace is None:
            return
        if trace.step and not emulate:
            info = SigInfo(SIGTRAP, TRAP_BRKPT, addr=lwp.regs.pc)
            lwp.machine.sigtolwp(lwp, SIGTRAP, info)
        elif trace.calls and not emulate:
            _pass_on(lwp, stop(lwp, PR_SYSEXIT))


def failure(lwp: Lwp, brand: LxBrand, error: KernelError) -> int:
    """Return what a failed call of a traced lwp leaves in its result register.

    For a call that a signal ended that is one of the internal numbers.
    """
    if isinstance(error, Interrupted):
        code = ERESTARTNOINTR if type(error) is Again else ERESTARTSYS
    elif error.errno is Errno.EINTR:
        code = _interrupted(lwp, brand)
    else:
        code = brand.errno_out[error.errno]
    if code in _CODES:
        lwp.restarting = lwp.ast = True
    if code == ERESTART_RESTARTBLOCK and lwp.syscall_nr != RESTART_SYSCALL[brand.bits]:
        lwp.restart = partial(_go_on, stub=brand.stubs[lwp.syscall_nr], start=lwp.call_start)
    return -code


def _go_on(lwp: Lwp, stub: Stub, start: int) -> int:
    """Go on with a call that began at `start`."""
    lwp.call_start = start
    lwp.call_resumed = True
    try:
        return stub(lwp)
    finally:
        lwp.call_resumed = False


def _interrupted(lwp: Lwp, brand: LxBrand) -> int:
    """Return the internal number of a call that no handler restarts, or EINTR."""
    signature = brand.personality.signature(lwp.syscall_nr)
    if signature is None:
        return EINTR
    name = signature.handler.__name__
    if name == "restart_syscall" and lwp.restart is not None:
        return ERESTART_RESTARTBLOCK
    if name == "clock_nanosleep" and lwp.q[6 if lwp.cpu.bits == 64 else 1] & _TIMER_ABSTIME:
        return ERESTARTNOHAND
    return INTERRUPTED.get(name, EINTR)


def _pass_on(lwp: Lwp, sig: int) -> None:
    """Send the signal with which a tracer ended a stop at a call."""
    if sig:
        lwp.machine.sigtolwp(lwp, sig, SigInfo(sig, SI_KERNEL))


def filter_stop(lwp: Lwp, data: int) -> bool:
    """Stop for a filter that leaves the decision about a call to the tracer (SECCOMP_RET_TRACE).

    `data` is the filter's 16 bits. False when nobody asked for such stops: the call is to fail with
    ENOSYS. The number of the call, its arguments and its result register may be others afterwards;
    -1 as its number skips it.
    """
    return event_stop(lwp, Event.FILTER, data)


def restart_call(lwp: Lwp, action: SigAction | None) -> None:
    """Act on the registers of an interrupted call, with a handler about to run or not."""
    lwp.restarting = False
    code = -result(lwp)
    if lwp.syscall_nr < 0 or code not in _CODES:
        return
    if action is not None:
        if action.handler == SIG_DFL:
            return  # the process dies, its registers as they are
        restarts = code == ERESTARTNOINTR or (code == ERESTARTSYS and action.flags & SA_RESTART)
        if not restarts:
            set_result(lwp, -EINTR)
            return
    nr = RESTART_SYSCALL[lwp.call_bits] if code == ERESTART_RESTARTBLOCK else lwp.syscall_nr
    set_result(lwp, nr)
    lwp.regs.pc -= 2
