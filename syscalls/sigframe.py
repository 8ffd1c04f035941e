"""What the signal frames of both data models share (arch/x86/kernel/signal.c).

The kernel decides that a handler runs; here the program's stack gets the frame a Linux program
expects, and the registers of the handler are set. Alternate stacks follow sigaltstack(2) to the
letter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.sig import die, trapsig
from lxemu.kernel.signal import (
    SA_ONSTACK,
    SI_KERNEL,
    SIG_DFL,
    SIGSEGV,
    SS_AUTODISARM,
    SS_DISABLE,
    SS_ONSTACK,
    SYNC_SIGNALS,
    SigAction,
    SigInfo,
    sigmask,
)

if TYPE_CHECKING:
    from lxemu.kernel.lwp import Lwp

#: Bytes of an FXSAVE image.
FXSAVE = 512
#: A floating-point state as it is after reset: all exceptions masked, registers empty.
FXSAVE_INIT = (
    (0x37F).to_bytes(2, "little") + bytes(22) + (0x1F80).to_bytes(4, "little") + bytes(484)
)
_MXCSR_MASK = 0xFFFF

#: Flags that a handler may change for the interrupted code: AC, OF, DF, TF, SF, ZF, AF, PF, CF, RF.
FIX_EFLAGS = 0x40000 | 0x800 | 0x400 | 0x100 | 0x80 | 0x40 | 0x10 | 0x4 | 0x1 | 0x10000
#: Flags that are clear when a handler starts: DF, RF, TF.
HANDLER_CLEARS = 0x400 | 0x10000 | 0x100


def on_altstack(lwp: Lwp, sp: int) -> bool:
    """Return whether `sp` lies on the alternate stack, as the switching rule sees it."""
    base, size, flags = lwp.altstack
    return not flags & SS_AUTODISARM and base < sp <= base + size


def altstack_flags(lwp: Lwp, sp: int) -> int:
    """Return the SS_* state that sigaltstack reports at stack pointer `sp`."""
    if not lwp.altstack[1]:
        return SS_DISABLE
    return SS_ONSTACK if on_altstack(lwp, sp) else 0


class BadFrame(Exception):  # noqa: N818 -- an outcome, not a failure of ours
    """The frame does not fit on its stack."""


class LastFault(NamedTuple):
    """The last fault of an lwp that became a signal (`Lwp.brand_data`); later frames show it."""

    trapno: int = 0
    err: int = 0
    cr2: int = 0


_NO_FAULT = LastFault()
_PAGE_FAULT = 14


def last_fault(lwp: Lwp, info: SigInfo) -> LastFault:
    """Return what the trapno, err and cr2 members of a frame show, `info` being delivered.

    The kernel keeps them in the thread, so a signal that is no fault repeats those of the last.
    """
    known: LastFault = lwp.brand_data or _NO_FAULT
    if info.code <= 0 or not SYNC_SIGNALS >> (info.signo - 1) & 1:
        return known
    if info.code == SI_KERNEL and not info.trapno:
        return known
    cr2 = info.addr if info.trapno == _PAGE_FAULT else known.cr2
    fault = LastFault(info.trapno, info.err, cr2)
    lwp.brand_data = fault
    return fault


def frame_base(lwp: Lwp, action: SigAction, sp: int, redzone: int) -> int:
    """Return the address below which the frame goes: the interrupted stack or the alternate one."""
    sp -= redzone
    if action.flags & SA_ONSTACK and not altstack_flags(lwp, sp) & (SS_ONSTACK | SS_DISABLE):
        sp = lwp.altstack[0] + lwp.altstack[1]
    return sp


def check_overflow(lwp: Lwp, action: SigAction, old_sp: int, redzone: int, sp: int) -> None:
    """Raise BadFrame when a frame that starts on the alternate stack would end below it."""
    base, size, _ = lwp.altstack
    nested = on_altstack(lwp, old_sp)
    entering = bool(action.flags & SA_ONSTACK) and not altstack_flags(lwp, old_sp - redzone)
    if (nested or entering) and not base < sp <= base + size:
        raise BadFrame


def disarm(lwp: Lwp) -> None:
    """Forget the alternate stack once its handler has started, if it asked for that."""
    if lwp.altstack[2] & SS_AUTODISARM:
        lwp.altstack = (0, 0, SS_DISABLE)


def restore_altstack(lwp: Lwp, base: int, flags: int, size: int, sp: int, minimum: int) -> None:
    """Set the alternate stack from a frame, ignoring what sigaltstack would refuse."""
    mode = flags & ~SS_AUTODISARM
    if (base, size, flags) == lwp.altstack or on_altstack(lwp, sp):
        return
    if mode == SS_DISABLE:
        lwp.altstack = (0, 0, flags)
    elif mode in (0, SS_ONSTACK) and size >= minimum:
        lwp.altstack = (base, size, flags)


def force_segv(lwp: Lwp, sig: int, action: SigAction) -> None:
    """Deliver SIGSEGV instead of `sig`, whose frame could not be written (force_sigsegv).

    A handler of another signal leaves SIGSEGV's own handler its chance; SIGSEGV itself, or one that
    could not be delivered now, ends the process.
    """
    info = SigInfo(SIGSEGV, SI_KERNEL)
    bit = sigmask(SIGSEGV)
    if sig == SIGSEGV or action.mask & bit or lwp.proc.sigacts[SIGSEGV].handler == SIG_DFL:
        lwp.proc.sigacts[SIGSEGV] = SigAction()
        die(lwp, SIGSEGV, info)
    trapsig(lwp, info)


def bad_sigreturn(lwp: Lwp) -> int:
    """Deliver the SIGSEGV of a sigreturn whose frame cannot be read; return the result register."""
    trapsig(lwp, SigInfo(SIGSEGV, SI_KERNEL))
    return 0


def checked_fxsave(image: bytes) -> bytes:
    """Return `image`; EFAULT when MXCSR has reserved bits, at which fxrstor faults."""
    if int.from_bytes(image[24:28], "little") & ~_MXCSR_MASK:
        raise KernelError(Errno.EFAULT)
    return image
