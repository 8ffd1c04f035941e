"""From a CPU exception to what the kernel does about it (illumos os/trap.c).

A page fault is first offered to the address space. What is left over becomes a signal with the
code, address and trap numbers that the brand puts into the frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.mm.as_ import FC_NOMAP, FC_OBJERR, FaultAccess, OutOfMemory, SegFault
from lxemu.kernel.ptrace import stepped, touched
from lxemu.kernel.sig import die, trapsig
from lxemu.kernel.signal import (
    BUS_ADRALN,
    BUS_ADRERR,
    FPE_FLTDIV,
    FPE_FLTINV,
    FPE_FLTOVF,
    FPE_FLTRES,
    FPE_FLTUND,
    FPE_INTDIV,
    ILL_ILLOPN,
    SEGV_ACCERR,
    SEGV_MAPERR,
    SI_KERNEL,
    SIGBUS,
    SIGFPE,
    SIGILL,
    SIGKILL,
    SIGSEGV,
    SIGTRAP,
    SigInfo,
)

if TYPE_CHECKING:
    from lxemu.kernel.lwp import Lwp

# Exception vectors (AMD64 Architecture Programmer's Manual, volume 2, table 8-1).
T_DE, T_DB, T_BP, T_UD, T_PF, T_MF, T_AC, T_XM = 0, 1, 3, 6, 14, 16, 17, 19
_PF_WRITE, _PF_FETCH = 2, 16


def fault(lwp: Lwp, vector: int, error: int, cr2: int) -> None:
    """Resolve the exception `vector` of the running `lwp`, or post its signal."""
    if vector == T_PF:
        page_fault(lwp, error, cr2)
        return
    lwp.syscall_nr = -1
    pc = lwp.regs.pc
    if vector == T_DE:
        info = SigInfo(SIGFPE, FPE_INTDIV, addr=pc, trapno=vector)
    elif vector == T_DB:
        code = stepped(lwp)
        if not code:
            return
        info = SigInfo(SIGTRAP, code, addr=pc, trapno=vector)
    elif vector == T_BP:
        info = SigInfo(SIGTRAP, SI_KERNEL, trapno=vector)
    elif vector == T_UD:
        info = SigInfo(SIGILL, ILL_ILLOPN, addr=pc, trapno=vector)
    elif vector in (T_MF, T_XM):
        info = SigInfo(SIGFPE, _float_code(lwp, vector), addr=pc, trapno=vector)
    elif vector == T_AC:
        info = SigInfo(SIGBUS, BUS_ADRALN, trapno=vector, err=error)
    else:
        info = SigInfo(SIGSEGV, SI_KERNEL, trapno=vector, err=error)
    trapsig(lwp, info)


def page_fault(lwp: Lwp, error: int, cr2: int) -> None:
    """Have the address space resolve a page fault, or post SIGSEGV or SIGBUS."""
    if error & _PF_FETCH:
        access = FaultAccess.EXEC
    elif error & _PF_WRITE:
        access = FaultAccess.WRITE
    else:
        access = FaultAccess.READ
    lwp.proc.usage.minflt += 1
    if lwp.trace is not None:
        touched(lwp.trace, cr2)
    try:
        lwp.as_.fault(cr2, access)
        if lwp.proc.group is not None:
            lwp.proc.group.check_memory()
    except SegFault as failure:
        if lwp.brand.pagefault(lwp, cr2, access):
            return
        lwp.syscall_nr = -1
        sig, code = SIGSEGV, SEGV_ACCERR
        if failure.code == FC_NOMAP:
            code = SEGV_MAPERR
        elif failure.code == FC_OBJERR:
            sig, code = SIGBUS, BUS_ADRERR
        trapsig(lwp, SigInfo(sig, code, addr=cr2, trapno=T_PF, err=error))
    except OutOfMemory:
        # The access is made again once somebody has made room.
        if not lwp.as_.phys.relieve(lwp.as_):
            die(lwp, SIGKILL, SigInfo(SIGKILL, SI_KERNEL))


def _float_code(lwp: Lwp, vector: int) -> int:
    """Name the unmasked floating-point exception that the status word of x87 or SSE shows."""
    status = lwp.regs.mxcsr if vector == T_XM else lwp.regs.fpsw
    control = lwp.regs.mxcsr >> 7 if vector == T_XM else lwp.regs.fpcw
    raised = status & ~control & 0x3F
    for bit, code in (
        (0x01, FPE_FLTINV),
        (0x04, FPE_FLTDIV),
        (0x08, FPE_FLTOVF),
        (0x12, FPE_FLTUND),
        (0x20, FPE_FLTRES),
    ):
        if raised & bit:
            return code
    return 0
