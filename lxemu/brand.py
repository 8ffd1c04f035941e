"""The seam between the kernel and a personality (after illumos sys/brand.h, struct brand_ops).

The kernel owns processes, memory, files and signals, all in its own numbers. A `Brand` gives a
process the face its program expects: the system call table, the first stack, signal frames, thread
pointers. `lwp.brand` is an object, so a 64-bit program that executes a 32-bit one changes its face
in one store.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from lxemu.kernel.cred import Cred
    from lxemu.kernel.errno import KernelError
    from lxemu.kernel.exec import ExecArgs, NewImage
    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.mm.as_ import As
    from lxemu.kernel.proc import Proc
    from lxemu.kernel.signal import Action, SigAction, SigInfo
    from lxemu.loader.elf import ElfImage

#: A compiled system call: takes the lwp, reads the registers, returns the result.
Stub = Callable[["Lwp"], int]
#: A recogniser of executable files; None when it turned the request into one for another file.
Recogniser = Callable[["Lwp", "ExecArgs"], "NewImage | None"]


class CodeSpan(NamedTuple):
    """Where the segments of a program ended up, as /proc shows it: relocated addresses."""

    start_code: int
    end_code: int
    start_data: int
    end_data: int
    start_brk: int


@dataclass(frozen=True, slots=True)
class StackPlan:
    """What the first stack of a program tells it; addresses are relocated.

    `top` is the end of the stack's mapping, `base` the interpreter's load address (0 without one),
    `vdso` the address of the brand's shared code, `sysinfo` its system call entry (0 where unused).
    """

    path: bytes
    argv: Sequence[bytes]
    envp: Sequence[bytes]
    top: int
    phdr: int
    phent: int
    phnum: int
    base: int
    entry: int
    cred: Cred
    secure: bool
    vdso: int
    sysinfo: int
    #: 16 bytes for the program's own use, and the distance by which the stack pointer is moved.
    random: bytes
    shift: int
    span: CodeSpan


class Brand(Protocol):
    """A personality. One object serves every process of its kind, so it holds no process state."""

    name: str
    bits: int
    #: Value of uname's machine member.
    machine: bytes
    #: Kernel error number to the number the program sees.
    errno_out: tuple[int, ...]
    #: Recognisers of executable files, tried in turn.
    execsw: tuple[Recogniser, ...]

    @property
    def stubs(self) -> list[Stub]:
        """System calls by number; numbers beyond the list are for `nosys`."""

    def stubs_of(self, lwp: Lwp) -> Any:
        """Return what `lwp` finds its system calls in: `stubs`, or what stands before them."""

    def failure(self, lwp: Lwp, error: KernelError) -> int:
        """Return what a failed call leaves in the result register of a traced lwp."""

    def restart_call(self, lwp: Lwp, action: SigAction | None) -> None:
        """Make the call again that the registers of a traced lwp say was interrupted, or end it.

        `action` is that of the signal about to be taken, None without one.
        """

    @property
    def names(self) -> Sequence[str]:
        """Names of the system calls by number."""

    @property
    def leaf(self) -> frozenset[int]:
        """Numbers of calls that neither block nor change memory or scheduling."""

    def name_of(self, nr: int) -> str:
        """Return the name of call number `nr`."""

    def nosys(self, lwp: Lwp, nr: int) -> int:
        """Answer a call number that is not in the table."""

    def restartable(self, nr: int) -> bool:
        """Return whether call `nr` starts again after a handler with SA_RESTART."""

    # -- exec -----------------------------------------------------------------------------------

    def randomises(self, proc: Proc) -> bool:
        """Return whether `proc` has not asked for fixed addresses."""

    def read_implies_exec(self, elf: ElfImage) -> bool:
        """Return whether readable memory of the new program is executable too."""

    def map_vdso(self, as_: As) -> tuple[int, int]:
        """Map the brand's shared code; return its address and its system call entry, or zeros."""

    def shared_frames(self) -> int:
        """Return how many frames the brand holds for the whole machine."""

    def setup_stack(self, as_: As, plan: StackPlan) -> tuple[int, Any]:
        """Write the first stack of a program; return its stack pointer and its brand data."""

    def exec_commit(self, lwp: Lwp, image: NewImage) -> None:
        """Do the brand's part of exec, the new image being in place."""

    # -- lwps -----------------------------------------------------------------------------------

    def forklwp(self, old: Lwp, new: Lwp) -> None:
        """Copy the brand's state of `old` to the lwp just made from it."""

    def lwp_exit(self, lwp: Lwp) -> None:
        """Clean up for an lwp that ends, while its address space is still there."""

    # -- signals and faults ---------------------------------------------------------------------

    def default_action(self, sig: int) -> Action:
        """Return what `sig` does by default."""

    def lowest_signal(self, mask: int) -> int:
        """Return the signal of a non-empty set that is delivered first."""

    def sendsig(self, lwp: Lwp, sig: int, info: SigInfo, action: SigAction, oldmask: int) -> bool:
        """Make `lwp` run a handler; False if its frame did not fit and SIGSEGV was forced.

        `oldmask` is the signal mask that the frame restores.
        """

    def disturbed(self, lwp: Lwp) -> None:
        """Note that an lwp with a `restartable` part was pre-empted."""

    def sigreturn(self, lwp: Lwp, rt: bool) -> int:
        """Undo `sendsig` from the frame on the stack; return the value of the result register."""

    def core_dump(self, lwp: Lwp, info: SigInfo) -> bool:
        """Write the core file of a process that `info` is about to end; False if there is none."""

    def pagefault(self, lwp: Lwp, addr: int, access: Any) -> bool:
        """Offer a fault that the address space could not resolve; True if it is dealt with."""
