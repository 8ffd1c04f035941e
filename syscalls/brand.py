"""The lx brand: one object each for x86_64 and i386 programs (illumos lx_brand.c).

Everything here is what the kernel asks of a personality and what is not a system call: default
signal actions by Linux's numbering, the vsyscall page, thread pointers, and the doors to the frame,
stack and vDSO modules. A brand object holds no state of a process.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from lxemu.kernel.errno import KernelError
from lxemu.kernel.mm.mman import PAGESIZE, PROT_EXEC
from lxemu.kernel.sig import trapsig
from lxemu.kernel.signal import (
    DEFAULT_ACTIONS,
    SI_KERNEL,
    SIGEMT,
    SIGPWR,
    SIGSEGV,
    Action,
    SigAction,
    SigInfo,
)
from lxemu.loader.exec import EXECSW
from syscalls import rseq, sigframe32, sigframe64
from syscalls.errno import ERRNO_OUT
from syscalls.exec_stack import LxProcData, write_stack
from syscalls.sigframe import force_segv
from syscalls.signum import FROM_LX, sigset_to_lx
from syscalls.vdso import Vdso, Vvar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lxemu.brand import Recogniser, StackPlan, Stub
    from lxemu.kernel.exec import NewImage
    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.mm.as_ import As
    from lxemu.kernel.proc import Proc
    from lxemu.loader.elf import ElfImage
    from syscalls.personality import Personality
    from syscalls.tracing import TracedCalls

#: personality(2) flags that exec minds.
ADDR_NO_RANDOMIZE: Final = 0x0040000
READ_IMPLIES_EXEC: Final = 0x0400000
#: What a set-id program does not inherit (PER_CLEAR_ON_SETID).
PER_CLEAR_ON_SETID: Final = READ_IMPLIES_EXEC | ADDR_NO_RANDOMIZE | 0x0100000 | 0x0200000

VSYSCALL_PAGE: Final = 0xFFFFFFFFFF600000
#: Entry points of the vsyscall page and the calls that they make (gettimeofday, time, getcpu).
VSYSCALLS: Final = {
    0xFFFFFFFFFF600000: 96,
    0xFFFFFFFFFF600400: 201,
    0xFFFFFFFFFF600800: 309,
}

#: clock_gettime, gettimeofday, time by data model (i386: clock_gettime64 too).
CLOCK_CALLS: Final = {64: (228, 96, 201), 32: (265, 403, 78, 13)}

#: Number of execve by data model.
EXECVE: Final = {64: 59, 32: 11}

#: Bytes of the vDSO's __kernel_vsyscall, generously: `int 0x80; ret`, alone in its slot.
_VSYSCALL_SIZE: Final = 16

#: SIGSTKFLT (the kernel's SIGEMT) and SIGPWR terminate a Linux program; illumos dumps or ignores.
_ACTIONS: Final = tuple(
    Action.TERM if sig in (SIGEMT, SIGPWR) else action for sig, action in enumerate(DEFAULT_ACTIONS)
)


class ClockCall:
    """Stub of a call that the vDSO stands for: made when its data page is too old to tell."""

    __slots__ = ("_inner", "_nr", "_personality")

    def __init__(self, personality: Personality, nr: int) -> None:
        self._personality = personality
        self._nr = nr
        self._inner: Stub | None = None

    def __call__(self, lwp: Lwp) -> int:
        """Refresh the page if it is due, then make the call."""
        inner = self._inner
        if inner is None:
            self._inner = inner = self._personality.compile(self._nr)
        brand: Any = lwp.brand
        brand.vvar.clock_read(lwp.machine.clock)
        return inner(lwp)


class LxBrand:
    """The face of Linux for one data model, on one machine."""

    def __init__(self, bits: int, vvar: Vvar) -> None:
        self.name = "lx-x86_64" if bits == 64 else "lx-i386"
        self.bits = bits
        self.machine = b"x86_64" if bits == 64 else b"i686"
        self.errno_out: tuple[int, ...] = ERRNO_OUT
        self.execsw: tuple[Recogniser, ...] = EXECSW
        self.vvar = vvar
        #: The stubs themselves while a tracer has put its own in their place: it then asks the
        #: filters of an lwp itself, to see the calls that they refuse.
        self.untraced: list[Stub] | None = None

    @cached_property
    def personality(self) -> Personality:
        """The system call table; imported when the first program of its kind starts."""
        from syscalls.personality import i386, x86_64

        return x86_64() if self.bits == 64 else i386()

    @cached_property
    def vdso(self) -> Vdso:
        """The vDSO."""
        return Vdso(self.bits, self.vvar)

    @cached_property
    def stubs(self) -> list[Stub]:
        """System calls by number. Those that read a clock also keep the vDSO's page up to date."""
        stubs = self.personality.new_stubs()
        for nr in CLOCK_CALLS[self.bits]:
            stubs[nr] = ClockCall(self.personality, nr)
        return stubs

    @property
    def clock_calls(self) -> tuple[int, ...]:
        """Numbers of the calls that the vDSO makes when its data page is too old to tell."""
        return CLOCK_CALLS[self.bits]

    def stubs_of(self, lwp: Lwp) -> Any:
        """Return what `lwp` finds its calls in: the stubs, or what stands before them."""
        return self.filtered(lwp) if lwp.trace is None else self.traced_calls

    def filtered(self, lwp: Lwp) -> Any:
        """Return the stubs, with the filters of `lwp` before them if it has any."""
        chain = lwp.call_filter
        if chain is None or self.untraced is not None:
            return self.stubs
        return chain.gate(self)

    def in_vdso(self, lwp: Lwp, pc: int) -> bool:
        """Return whether `pc` is in the vDSO, and not behind its way into the kernel (i386)."""
        base = lwp.proc.brand_data.vdso
        if not base or not base <= pc < base + PAGESIZE:
            return False
        entry = self.vdso.symbols.get(b"__kernel_vsyscall")
        return entry is None or not 0 <= pc - base - entry < _VSYSCALL_SIZE

    @cached_property
    def traced_calls(self) -> TracedCalls:
        """What stands in the place of the stubs for an lwp that is traced."""
        from syscalls.tracing import TracedCalls

        return TracedCalls(self)

    def restart_call(self, lwp: Lwp, action: SigAction | None) -> None:
        """Make a traced lwp's interrupted call again, as its registers say (do_signal)."""
        from syscalls.tracing import restart_call

        restart_call(lwp, action)

    def failure(self, lwp: Lwp, error: KernelError) -> int:
        """Return what a failed call of a traced lwp leaves in its result register."""
        from syscalls.tracing import failure

        return failure(lwp, self, error)

    @cached_property
    def names(self) -> Sequence[str]:
        """Names of the system calls by number."""
        return self.personality.names

    @cached_property
    def leaf(self) -> frozenset[int]:
        """Numbers of calls that neither block nor change memory or scheduling."""
        return self.personality.leaf

    def __repr__(self) -> str:
        return f"<LxBrand {self.name}>"

    def name_of(self, nr: int) -> str:
        """Return the name of call number `nr`."""
        return self.personality.name_of(nr)

    def nosys(self, lwp: Lwp, nr: int) -> int:
        """Answer a call that is not in the table: ENOSYS, noted as unsupported."""
        return self.personality.nosys(lwp, nr)

    def restartable(self, nr: int) -> bool:
        """Return whether call `nr` starts again after a handler with SA_RESTART."""
        return self.personality.restartable(nr)

    # -- exec -----------------------------------------------------------------------------------

    def randomises(self, proc: Proc) -> bool:
        """Return whether `proc` has not asked for fixed addresses with personality(2)."""
        return not proc.personality & ADDR_NO_RANDOMIZE

    def read_implies_exec(self, elf: ElfImage) -> bool:
        """Return whether readable means executable (asm/elf.h, elf_read_implies_exec).

        Only for an i386 program that says nothing about its stack.
        """
        return self.bits == 32 and elf.gnu_stack is None

    def map_vdso(self, as_: As) -> tuple[int, int]:
        """Map the vDSO; return its address and that of __kernel_vsyscall (0 on x86_64)."""
        base = self.vdso.map(as_)
        entry = self.vdso.symbols.get(b"__kernel_vsyscall", 0)
        return base, base + entry if entry else 0

    def shared_frames(self) -> int:
        """Return the frames of the vDSO; the 64-bit brand counts the data page of both."""
        return self.vdso.npages()

    def setup_stack(self, as_: As, plan: StackPlan) -> tuple[int, LxProcData]:
        """Write the first stack; return its stack pointer and what the process keeps of it."""
        return write_stack(as_, plan, self.bits)

    def exec_commit(self, lwp: Lwp, image: NewImage) -> None:
        """Set the personality word of the new program, and what a tracer takes for its call."""
        proc = lwp.proc
        lwp.syscall_nr = EXECVE[self.bits]
        lwp.call_bits = self.bits
        if image.secure:
            proc.personality &= ~PER_CLEAR_ON_SETID
        if image.read_implies_exec:
            proc.personality |= READ_IMPLIES_EXEC

    # -- lwps -----------------------------------------------------------------------------------

    def forklwp(self, old: Lwp, new: Lwp) -> None:
        """Give the new lwp what it inherits; segment bases came with its context."""
        new.brand_data = old.brand_data
        if old.sched_policy:
            from syscalls.handlers.sched_ import reset_on_fork

            reset_on_fork(new)

    def lwp_exit(self, lwp: Lwp) -> None:
        """Let go of what the lwp holds in user memory: locks, then its id (mm_release)."""
        if lwp.robust_list[0] or lwp.machine.uwait.mutexes:
            from syscalls.handlers.robust import release_futexes

            release_futexes(lwp)
        addr = lwp.clear_child_tid
        if addr:
            lwp.clear_child_tid = 0
            if not self._shared(lwp):
                return
            try:
                lwp.as_.store_u32(addr, 0)
                lwp.machine.uwait.wake(lwp.as_.futex_key(addr, True), 1)
            except KernelError:
                return

    @staticmethod
    def _shared(lwp: Lwp) -> bool:
        """Return whether somebody else is there to read this address space."""
        return len(lwp.proc.lwps) > 1 or lwp.machine.as_shared(lwp.proc)

    # -- signals and faults ---------------------------------------------------------------------

    def default_action(self, sig: int) -> Action:
        """Return what `sig` does by default (signal(7))."""
        return _ACTIONS[sig]

    def lowest_signal(self, mask: int) -> int:
        """Return the signal of a non-empty set with the lowest Linux number."""
        lx = sigset_to_lx(mask)
        return FROM_LX[(lx & -lx).bit_length()]

    def sendsig(self, lwp: Lwp, sig: int, info: SigInfo, action: SigAction, oldmask: int) -> bool:
        """Build the frame of a handler on the stack it is to run on."""
        if lwp.restartable is not None and not rseq.disturbed(lwp):
            force_segv(lwp, sig, action)
            return False
        if self.bits == 64:
            return sigframe64.sendsig(lwp, sig, info, action, oldmask)
        names = self.vdso.symbols
        base = lwp.proc.brand_data.vdso
        trampolines = (
            base + names[b"__kernel_sigreturn"],
            base + names[b"__kernel_rt_sigreturn"],
        )
        return sigframe32.sendsig(lwp, sig, info, action, oldmask, trampolines)

    def disturbed(self, lwp: Lwp) -> None:
        """Have a pre-empted lwp start its critical section over."""
        if not rseq.disturbed(lwp):
            trapsig(lwp, SigInfo(SIGSEGV, SI_KERNEL))

    def sigreturn(self, lwp: Lwp, rt: bool) -> int:
        """Return from a handler."""
        if self.bits == 64:
            return sigframe64.sigreturn(lwp)
        return sigframe32.sigreturn(lwp, rt)

    def core_dump(self, lwp: Lwp, info: SigInfo) -> bool:
        """Write the core file of a process that `info` is about to end (do_coredump)."""
        from syscalls.coredump import dump

        return dump(lwp, info)

    def pagefault(self, lwp: Lwp, addr: int, access: Any) -> bool:
        """Emulate a call into the vsyscall page (arch/x86/entry/vsyscall, emulate_vsyscall)."""
        if self.bits == 32 or access != PROT_EXEC or addr & ~0xFFF != VSYSCALL_PAGE:
            return False
        if addr not in VSYSCALLS:
            trapsig(lwp, SigInfo(SIGSEGV, SI_KERNEL))
            return True
        q = lwp.q
        try:
            caller = lwp.as_.load_u64(q[4])
        except KernelError:
            return False
        lwp.syscall_nr = nr = VSYSCALLS[addr]
        try:
            result = self.filtered(lwp)[nr](lwp)
        except KernelError as error:
            result = -self.errno_out[error.errno]
        q[0] = result & 0xFFFFFFFFFFFFFFFF
        q[16] = caller
        q[4] += 8
        return True


def brands() -> tuple[LxBrand, LxBrand]:
    """Return the brands of 64 and of 32-bit programs."""
    vvar = Vvar()
    return LxBrand(64, vvar), LxBrand(32, vvar)
