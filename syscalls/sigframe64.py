"""Signal frames of x86_64 programs (struct rt_sigframe, arch/x86/kernel/signal_64.c).

From the stack pointer up: the restorer's address, a ucontext, a siginfo; the FXSAVE image above
them, 64-aligned. The handler starts with rdi = signal, rsi = siginfo, rdx = ucontext, rax = 0, and
a stack pointer that is 8 below a multiple of 16, as after a call.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from lxemu.kernel.errno import KernelError
from lxemu.kernel.signal import SA_SIGINFO, SigAction, SigInfo
from syscalls.abi.model import LP64
from syscalls.layouts.signal import SIGINFO
from syscalls.sigframe import (
    FIX_EFLAGS,
    FXSAVE,
    FXSAVE_INIT,
    HANDLER_CLEARS,
    BadFrame,
    bad_sigreturn,
    check_overflow,
    checked_fxsave,
    disarm,
    force_segv,
    frame_base,
    last_fault,
    restore_altstack,
)
from syscalls.signum import TO_LX, sigset_from_lx, sigset_to_lx

if TYPE_CHECKING:
    from lxemu.kernel.lwp import Lwp

#: SA_RESTORER in the kernel's flag word (the brand's own bit, kept as it came).
SA_RESTORER: Final = 0x04000000
MINSIGSTKSZ: Final = 2048
_REDZONE: Final = 128

#: uc_flags, uc_link, uc_stack (sp, flags, size).
_UC_HEAD: Final = struct.Struct("<QQQi4xQ")
#: sigcontext: r8 to r15, rdi rsi rbp rbx rdx rax rcx rsp rip, flags, cs gs fs ss, err trapno
#: oldmask cr2, fpstate, 8 reserved words; then uc_sigmask.
_SIGCONTEXT: Final = struct.Struct("<8Q9QQ4HQQQQQ64xQ")
_UCONTEXT: Final = _UC_HEAD.size + _SIGCONTEXT.size
_FRAME: Final = 8 + _UCONTEXT + 128
#: UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS: the ss member is valid, and is restored as it is.
_UC_FLAGS: Final = 0x6
_USER_CS: Final = 0x33
_USER_DS: Final = 0x2B

#: Indices into the live registers (rax rcx rdx rbx rsp rbp rsi rdi r8 .. r15 rip) in frame order.
_ORDER: Final = (8, 9, 10, 11, 12, 13, 14, 15, 7, 6, 5, 3, 2, 0, 1, 4, 16)
_SIGINFO: Final = SIGINFO.codec(LP64)


def sendsig(lwp: Lwp, sig: int, info: SigInfo, action: SigAction, oldmask: int) -> bool:
    """Write the frame, point the registers at the handler; False if SIGSEGV was forced."""
    flags = lwp.regs.rflags
    try:
        frame = _write_frame(lwp, info, action, oldmask, flags)
    except (KernelError, BadFrame):
        force_segv(lwp, sig, action)
        return False
    q, regs = lwp.q, lwp.regs
    if flags & HANDLER_CLEARS:
        regs.rflags = flags & ~HANDLER_CLEARS
    regs.fxsave = FXSAVE_INIT
    q[0] = 0
    q[7] = TO_LX[sig]
    q[6] = frame + 8 + _UCONTEXT
    q[2] = frame + 8
    q[4] = frame
    q[16] = action.handler
    disarm(lwp)
    return True


def _write_frame(lwp: Lwp, info: SigInfo, action: SigAction, oldmask: int, rflags: int) -> int:
    """Write the frame; return its address. KernelError or BadFrame when it does not fit."""
    if not action.flags & SA_RESTORER:
        raise BadFrame
    q, regs = lwp.q, lwp.regs
    old_sp = q[4]
    sp = frame_base(lwp, action, old_sp, _REDZONE)
    fpstate = (sp - FXSAVE) & -64
    frame = ((fpstate - _FRAME) & -16) - 8
    check_overflow(lwp, action, old_sp, _REDZONE, frame)
    base, size, flags = lwp.altstack
    fault = last_fault(lwp, info)
    data = struct.pack("<Q", action.restorer) + _UC_HEAD.pack(
        _UC_FLAGS, 0, base, flags - (flags >> 31 << 32), size
    )
    data += _SIGCONTEXT.pack(
        *[q[i] for i in _ORDER],
        rflags,
        _USER_CS,
        0,
        0,
        _USER_DS,
        fault.err,
        fault.trapno,
        sigset_to_lx(oldmask),
        fault.cr2,
        fpstate,
        sigset_to_lx(oldmask),
    )
    data += _SIGINFO.pack(info) if action.flags & SA_SIGINFO else bytes(128)
    lwp.as_.copyout(fpstate, regs.fxsave)
    lwp.as_.copyout(frame, data)
    return frame


def sigreturn(lwp: Lwp) -> int:
    """Restore what the frame at the stack pointer holds; return the interrupted code's rax."""
    q, regs = lwp.q, lwp.regs
    try:
        data = lwp.as_.copyin(q[4], _UCONTEXT)
        context = _SIGCONTEXT.unpack_from(data, _UC_HEAD.size)
        fpstate = context[26]
        image = checked_fxsave(lwp.as_.copyin(fpstate, FXSAVE)) if fpstate else FXSAVE_INIT
    except KernelError:
        return bad_sigreturn(lwp)
    _, _, base, flags, size = _UC_HEAD.unpack_from(data)
    for index, value in zip(_ORDER, context[:17], strict=True):
        q[index] = value
    regs.rflags = regs.rflags & ~FIX_EFLAGS | context[17] & FIX_EFLAGS
    regs.fxsave = image
    lwp.set_sigmask(sigset_from_lx(context[27]))
    restore_altstack(lwp, base, flags & 0xFFFFFFFF, size, q[4], MINSIGSTKSZ)
    lwp.syscall_nr = -1
    return int(context[13])
