"""The trap loop: run user code, find out why it stopped, act on it, run on.

Everything on the path of a system call is bound before the loop. On a 64-bit lwp a stop that leaves
no exception is the SYSCALL instruction; on a 32-bit one the common stop is `int 0x80`, told from
other software interrupts by where it is, once the instruction there has been looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.cpu import trap
from lxemu.cpu.trap import NOTHING, SOFTWARE, T_GATE, T_INT80, T_SYSCALL, T_UD
from lxemu.kernel.errno import Again, Interrupted, KernelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lxemu.brand import Brand, Stub
    from lxemu.cpu.engine import Engine
    from lxemu.kernel.lwp import Lwp

_R11_FLAGS = 0x246  # r11 after SYSCALL: flags are computed lazily, and reading them costs a call


def user_loop(lwp: Lwp) -> None:
    """Run `lwp` in user mode until its kernel context is unwound."""
    engine: Engine = lwp.machine.engine
    engine.switch(lwp)
    engine.kind[0] = NOTHING
    engine.gate.start(lwp.machine.disp.busy)
    while True:
        if engine.bits == 64:
            _loop64(lwp, engine)
        else:
            _loop32(lwp, engine)


def _loop64(lwp: Lwp, engine: Engine) -> None:
    """Run until the mode changes (exec of a 32-bit program)."""
    run, kind, q, d = engine.run, engine.kind, engine.q, engine.d
    ast = lwp.machine.ast
    while True:
        if (err := run()) or kind[0] != NOTHING:
            _event(lwp, engine, err)
        else:
            q[1] = q[16]
            q[11] = _R11_FLAGS
            lwp.syscall_nr = number = d[0]
            try:
                q[0] = lwp.stubs[number](lwp)
            except KernelError as error:
                q[0] = _failed(lwp, error)
            except IndexError:
                q[0] = _no_such_call(lwp, lwp.brand, number)
        if lwp.ast:
            ast(lwp)
            if engine.bits != 64:
                return


def _loop32(lwp: Lwp, engine: Engine) -> None:
    """Run until exec, of a 64-bit program or another of 32 bits."""
    run, kind, d, sites = engine.run, engine.kind, engine.d, lwp.cpu.sites
    ast = lwp.machine.ast
    while True:
        # kind stays at SOFTWARE from call to call; trap.decode knows.
        if (err := run()) or kind[0] != SOFTWARE or d[32] not in sites:
            _event(lwp, engine, err)
        else:
            lwp.syscall_nr = number = d[0]
            try:
                d[0] = lwp.stubs[number](lwp)
            except KernelError as error:
                d[0] = _failed(lwp, error)
            except IndexError:
                d[0] = _no_such_call(lwp, lwp.brand, number)
        if lwp.ast:
            ast(lwp)
            if engine.bits != 32 or lwp.cpu.sites is not sites:
                return


def _no_such_call(lwp: Lwp, brand: Brand, number: int) -> int:
    """Answer a number beyond the brand's table; an IndexError of a handler is a defect."""
    if number < len(brand.stubs):
        raise  # we are called while the IndexError is handled
    return _dispatch(lwp, brand, brand.stubs, number)


def _dispatch(lwp: Lwp, brand: Brand, stubs: Sequence[Stub], number: int) -> int:
    """Make a call by way of `brand` and return the result as a signed number."""
    try:
        if number < len(stubs):
            return int(stubs[number](lwp))
        return int(brand.nosys(lwp, number))
    except KernelError as error:
        return _failed(lwp, error)


def _failed(lwp: Lwp, error: KernelError) -> int:
    """Return what a failed call returns; one that a signal interrupted may be made again."""
    if lwp.trace is not None:
        return lwp.brand.failure(lwp, error)
    if isinstance(error, Interrupted):
        lwp.interrupted = lwp.ast = True
        lwp.again = type(error) is Again
    return -lwp.brand.errno_out[error.errno]


def _event(lwp: Lwp, engine: Engine, err: int) -> None:
    """Act on a stop that is not the usual kind of system call."""
    event = trap.decode(engine, err)
    machine, vector = lwp.machine, event.vector
    if vector == T_INT80 or (vector == T_SYSCALL and engine.bits == 64):
        _call(lwp, engine, vector)
        return
    lwp.syscall_nr = -1
    if vector == T_GATE:
        engine.slice_end()
        machine.preempt(lwp)
        return
    if vector == T_SYSCALL:
        # SYSCALL or SYSENTER in 32-bit code. An AMD processor has the first, for the vDSO alone,
        # and not the second; our vDSO uses neither.
        engine.q[16] -= 2
        vector = T_UD
    machine.fault(lwp, vector, event.error, event.cr2)


def _call(lwp: Lwp, engine: Engine, vector: int) -> None:
    """Make a call that the loop does not: a single-stepped one, or `int 0x80` in an unusual place.

    That is one that has not been looked at yet, or one in 64-bit code, which makes a 32-bit call.
    """
    lwp.syscall_nr = number = engine.d[0]
    native = vector == T_SYSCALL or engine.bits == 32
    brand = lwp.brand if native else lwp.machine.brand_for(32)
    stubs = lwp.stubs if native else brand.stubs_of(lwp)
    words = engine.d if engine.bits == 32 else engine.q
    if vector == T_SYSCALL:
        engine.q[1], engine.q[11] = engine.q[16], _R11_FLAGS
    words[0] = _dispatch(lwp, brand, stubs, number)
