"""Signal frames of i386 programs (sigframe_ia32 and rt_sigframe_ia32, signal_32.c).

A handler with SA_SIGINFO gets the second, any other the first, whichever call installed it. Both
kinds pass the arguments on the stack and, for regparm handlers, in eax, edx and ecx too. Without a
restorer of the program's own the handler returns into the vDSO; the eight bytes of code in the
frame are never run, debuggers recognise a frame by them.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from lxemu.kernel.errno import KernelError
from lxemu.kernel.signal import SA_SIGINFO, SigAction, SigInfo
from syscalls.abi.model import ILP32
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

SA_RESTORER: Final = 0x04000000
MINSIGSTKSZ: Final = 2048
_USER_CS: Final = 0x23
_USER_DS: Final = 0x2B

#: gs fs es ds (each in 4 bytes), edi esi ebp esp ebx edx ecx eax, trapno err, eip, cs, eflags,
#: esp_at_signal, ss, fpstate, oldmask, cr2.
_SIGCONTEXT: Final = struct.Struct("<4I8I2I8I")
#: Registers of the second group, as indices into the live ones.
_ORDER: Final = (7, 6, 5, 4, 3, 2, 1, 0)
#: The FSAVE image that precedes the FXSAVE one: environment, eight registers, status, magic.
_FSAVE_HEAD: Final = 112
_FPSTATE_UNUSED: Final = 624
#: uc_flags, uc_link, uc_stack (sp, flags, size).
_UC_HEAD: Final = struct.Struct("<IIIiI")
_UCONTEXT: Final = _UC_HEAD.size + _SIGCONTEXT.size + 8
_FRAME: Final = 8 + _SIGCONTEXT.size + _FPSTATE_UNUSED + 4 + 8
_RT_FRAME: Final = 16 + 128 + _UCONTEXT + 8
#: popl %eax; movl $119,%eax; int $0x80 and movl $173,%eax; int $0x80
_RETCODE: Final = bytes.fromhex("58b877000000cd80")
_RT_RETCODE: Final = bytes.fromhex("b8ad000000cd8000")
_SIGINFO: Final = SIGINFO.codec(ILP32)


#: The eight x87 registers: 16 bytes each in an FXSAVE image, 10 in an FSAVE one.
_ST_OF_FXSAVE: Final = struct.Struct("10s6x" * 8)
_ST_OF_FSAVE: Final = struct.Struct("10s" * 8)


def sendsig(
    lwp: Lwp, sig: int, info: SigInfo, action: SigAction, oldmask: int, vdso: tuple[int, int]
) -> bool:
    """Write the frame and point the registers at the handler; False if SIGSEGV was forced instead.

    `vdso` has the addresses of __kernel_sigreturn and __kernel_rt_sigreturn.
    """
    rt = bool(action.flags & SA_SIGINFO)
    try:
        frame = _write_frame(lwp, info, action, oldmask, vdso[rt], rt=rt)
    except (KernelError, BadFrame):
        force_segv(lwp, sig, action)
        return False
    q, regs = lwp.q, lwp.regs
    rflags = regs.rflags
    if rflags & HANDLER_CLEARS:
        regs.rflags = rflags & ~HANDLER_CLEARS
    regs.fxsave = FXSAVE_INIT
    q[0] = TO_LX[sig]
    q[2] = frame + 16 if rt else 0
    q[1] = frame + 16 + 128 if rt else 0
    q[4] = frame
    q[16] = action.handler
    regs.ds = regs.es = _USER_DS
    disarm(lwp)
    return True


def _write_frame(
    lwp: Lwp, info: SigInfo, action: SigAction, oldmask: int, trampoline: int, *, rt: bool
) -> int:
    """Write the frame; return its address. KernelError or BadFrame when it does not fit."""
    regs = lwp.regs
    old_sp = lwp.q[4] & 0xFFFFFFFF
    sp = frame_base(lwp, action, old_sp, 0)
    fxsave = (sp - FXSAVE) & -64
    fpstate = fxsave - _FSAVE_HEAD
    frame = ((fpstate - (_RT_FRAME if rt else _FRAME) + 4) & -16) - 4
    check_overflow(lwp, action, old_sp, 0, frame)
    if frame < 0:
        raise BadFrame
    mask = sigset_to_lx(oldmask)
    context = _pack_context(lwp, info, fpstate, mask)
    restorer = action.restorer if action.flags & SA_RESTORER else trampoline
    signo = TO_LX[info.signo]
    if rt:
        info_at = frame + 16
        base, size, flags = lwp.altstack
        data = struct.pack(
            "<IIII", restorer or frame + _RT_FRAME - 8, signo, info_at, info_at + 128
        )
        data += _SIGINFO.pack(info)
        data += _UC_HEAD.pack(0, 0, base, flags - (flags >> 31 << 32), size)
        data += context + struct.pack("<Q", mask) + _RT_RETCODE
    else:
        data = struct.pack("<II", restorer or frame + _FRAME - 8, signo) + context
        data += bytes(_FPSTATE_UNUSED) + struct.pack("<I", mask >> 32) + _RETCODE
    image = regs.fxsave
    lwp.as_.copyout(fpstate, fsave_from_fxsave(image) + image)
    lwp.as_.copyout(frame, data)
    return frame


def _pack_context(lwp: Lwp, info: SigInfo, fpstate: int, mask: int) -> bytes:
    q, regs = lwp.q, lwp.regs
    fault = last_fault(lwp, info)
    return _SIGCONTEXT.pack(
        regs.gs,
        regs.fs,
        regs.es,
        regs.ds,
        *[q[i] & 0xFFFFFFFF for i in _ORDER],
        fault.trapno,
        fault.err,
        q[16] & 0xFFFFFFFF,
        _USER_CS,
        regs.rflags & 0xFFFFFFFF,
        q[4] & 0xFFFFFFFF,
        _USER_DS,
        fpstate,
        mask & 0xFFFFFFFF,
        fault.cr2 & 0xFFFFFFFF,
    )


def sigreturn(lwp: Lwp, rt: bool) -> int:
    """Restore what the frame at the stack pointer holds; return the interrupted code's eax."""
    sp = lwp.q[4] & 0xFFFFFFFF
    try:
        if rt:
            # The handler's `ret` has popped the first word.
            data = lwp.as_.copyin(sp - 4 + 16 + 128, _UCONTEXT)
            _, _, base, flags, size = _UC_HEAD.unpack_from(data)
            context = data[_UC_HEAD.size :]
            mask = int.from_bytes(context[_SIGCONTEXT.size :], "little")
        else:
            # `ret` and the trampoline's `pop %eax` have popped two.
            data = lwp.as_.copyin(sp - 8, _FRAME)
            context = data[8:]
            mask = int.from_bytes(data[8 + 80 : 8 + 84], "little")
            mask |= int.from_bytes(data[-12:-8], "little") << 32
            base, size, flags = lwp.altstack
        image = _restore_context(lwp, context)
    except KernelError:
        return bad_sigreturn(lwp)
    lwp.regs.fxsave = image
    lwp.set_sigmask(sigset_from_lx(mask))
    if rt:
        new_sp = lwp.q[4]
        restore_altstack(lwp, base, flags & 0xFFFFFFFF, size, new_sp, MINSIGSTKSZ)
    lwp.syscall_nr = -1
    return int.from_bytes(context[44:48], "little")


def _restore_context(lwp: Lwp, context: bytes) -> bytes:
    """Restore the registers of a sigcontext; return the floating-point state it points at."""
    fields = _SIGCONTEXT.unpack_from(context)
    fpstate = fields[19]
    image = FXSAVE_INIT
    if fpstate:
        saved = lwp.as_.copyin(fpstate, _FSAVE_HEAD + FXSAVE)
        image = fxsave_from_fsave(saved[:_FSAVE_HEAD], checked_fxsave(saved[_FSAVE_HEAD:]))
    q, regs = lwp.q, lwp.regs
    for index, value in zip(_ORDER, fields[4:12], strict=True):
        q[index] = value
    q[16] = fields[14]
    regs.rflags = regs.rflags & ~FIX_EFLAGS | fields[16] & FIX_EFLAGS
    for name, selector in zip(("gs", "fs", "es", "ds"), fields[:4], strict=True):
        setattr(regs, name, selector & 0xFFFF)
    return image


def fsave_from_fxsave(image: bytes) -> bytes:
    """Return the FSAVE form of an FXSAVE image, status and magic 0 (convert_from_fxsr)."""
    cw, sw, ftw, opcode, ip, _, dp = struct.unpack_from("<HHBxHIII", image)
    stack = _ST_OF_FXSAVE.unpack_from(image, 32)
    tag = 0xFFFF
    if ftw:
        top = sw >> 11 & 7
        for reg in range(8):
            if ftw >> reg & 1:
                tag &= ~(3 << 2 * reg) | _tag_of(stack[(reg - top) & 7]) << 2 * reg
    env = struct.pack(
        "<7I",
        cw | 0xFFFF0000,
        sw | 0xFFFF0000,
        tag | 0xFFFF0000,
        ip,
        _USER_CS | (opcode & 0x7FF) << 16,
        dp,
        _USER_DS | 0xFFFF0000,
    )
    return b"".join((env, *stack, struct.pack("<HH", sw, 0)))


def fxsave_from_fsave(head: bytes, image: bytes) -> bytes:
    """Return `image` with the x87 part taken from its FSAVE form `head` (convert_to_fxsr)."""
    cw, sw, tag, ip, cs_op, dp = struct.unpack_from("<6I", head)
    ftw = 0
    if tag & 0xFFFF != 0xFFFF:
        ftw = sum(1 << reg for reg in range(8) if tag >> 2 * reg & 3 != 3)
    out = bytearray(image)
    struct.pack_into("<HHBxHII", out, 0, cw & 0xFFFF, sw & 0xFFFF, ftw, cs_op >> 16, ip, 0)
    struct.pack_into("<I", out, 16, dp)
    _ST_OF_FXSAVE.pack_into(out, 32, *_ST_OF_FSAVE.unpack_from(head, 28))
    return bytes(out)


def _tag_of(register: bytes) -> int:
    """Return the x87 tag of an 80-bit register: 0 valid, 1 zero, 2 special."""
    exponent = int.from_bytes(register[8:10], "little") & 0x7FFF
    if exponent == 0x7FFF:
        return 2
    if exponent == 0:
        return 2 if any(register[:8]) else 1
    return 0 if register[7] & 0x80 else 2
