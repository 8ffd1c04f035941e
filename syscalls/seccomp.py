"""System call filters: what seccomp(2) puts between a thread and its calls (kernel/seccomp.c).

An lwp with filters has another list of stubs, a `Gate`, so that every other lwp pays nothing. The
gate asks the filters once for each call number; what looks further than the number is compiled for
that number, and run at every such call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.exit import lwp_exit
from lxemu.kernel.sig import die, trapsig
from lxemu.kernel.signal import CLD_KILLED, SIGKILL, SIGSYS, SigInfo
from syscalls.bpf import specialise
from syscalls.tracing import filter_stop

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lxemu.kernel.cbpf import Insn
    from lxemu.kernel.lwp import Lwp
    from syscalls.bpf import Program

RET_KILL_PROCESS: Final = 0x80000000
RET_KILL_THREAD: Final = 0x00000000
RET_TRAP: Final = 0x00030000
RET_ERRNO: Final = 0x00050000
RET_USER_NOTIF: Final = 0x7FC00000
RET_TRACE: Final = 0x7FF00000
RET_LOG: Final = 0x7FFC0000
RET_ALLOW: Final = 0x7FFF0000
RET_ACTION: Final = 0xFFFF0000
RET_DATA: Final = 0x0000FFFF
ACTIONS: Final = (
    RET_KILL_PROCESS,
    RET_KILL_THREAD,
    RET_TRAP,
    RET_ERRNO,
    RET_USER_NOTIF,
    RET_TRACE,
    RET_LOG,
    RET_ALLOW,
)

_PASSING: Final = (RET_ALLOW, RET_LOG)

MODE_STRICT, MODE_FILTER = 1, 2
#: AUDIT_ARCH_X86_64 and AUDIT_ARCH_I386, by data model.
AUDIT_ARCH: Final = {64: 0xC000003E, 32: 0x40000003}
#: What strict mode lets through: read, write, exit and the return from a handler.
_STRICT: Final = {64: frozenset((0, 1, 60, 15)), 32: frozenset((3, 4, 1, 119))}
#: More instructions than this on one path are too many; each filter counts for 4 more.
MAX_PATH: Final = 32768
_PENALTY: Final = 4
_MAX_ERRNO: Final = 4095
_SYS_SECCOMP: Final = 1
_LX_ENOSYS: Final = 38


class Filter:
    """One filter and those under it; lwps share the chain, and it never changes.

    Without instructions it is strict mode.
    """

    __slots__ = ("_gates", "code", "count", "listener", "mode", "path", "prev")

    def __init__(self, code: Sequence[Insn], prev: Filter | None) -> None:
        self.code = code
        self.prev: Filter | None = prev
        self.mode = MODE_FILTER if code else MODE_STRICT
        self.count: int = (prev.count if prev is not None else 0) + bool(code)
        self.path: int = len(code) + (prev.path + _PENALTY if prev is not None else 0)
        #: Who answers for RET_USER_NOTIF.
        self.listener: Any = None
        self._gates: dict[int, Gate] = {}

    def chain(self) -> Iterator[Filter]:
        """Return the filters, the newest first."""
        node: Filter | None = self
        while node is not None:
            yield node
            node = node.prev

    def gate(self, brand: Any) -> Gate:
        """Return the stubs of a thread of `brand` under these filters."""
        gate = self._gates.get(brand.bits)
        if gate is None or gate.brand is not brand:
            gate = self._gates[brand.bits] = Gate(self, brand)
        return gate


class Gate:
    """Stands where the list of stubs does: any number leads to `__call__`."""

    __slots__ = ("_allowed", "_clocks", "_loads", "_steps", "arch", "brand", "filter", "stubs")

    def __init__(self, chain: Filter, brand: Any) -> None:
        self.filter = chain
        self.brand = brand
        self.stubs: list[Any] = brand.untraced or brand.stubs
        self.arch = AUDIT_ARCH[brand.bits]
        self._loads = _loads(brand)
        self._clocks = frozenset(brand.clock_calls)
        self._allowed: set[int] = set()
        #: Number -> what each filter says of it: an action, or what finds it out.
        self._steps: dict[int, list[tuple[int | Program, Filter]]] = {}

    def __len__(self) -> int:
        return 1 << 32

    def __getitem__(self, nr: int) -> Gate:
        return self

    def __call__(self, lwp: Lwp) -> int:
        """Make the running call of `lwp`, or do what its filters want instead."""
        nr = lwp.syscall_nr
        if nr not in self._allowed:
            if self.filter.mode == MODE_STRICT:
                if nr not in _STRICT[self.brand.bits] and not self._from_vdso(lwp, nr):
                    kill_thread(lwp, SIGKILL)
            elif not self._passes(lwp, nr):
                return self._refuse(lwp, nr)
        return self._make(lwp, nr)

    def _make(self, lwp: Lwp, nr: int) -> int:
        stubs = self.stubs
        result: int = stubs[nr](lwp) if nr < len(stubs) else self.brand.nosys(lwp, nr)
        return result

    # -- deciding -------------------------------------------------------------------------------

    def _passes(self, lwp: Lwp, nr: int) -> bool:
        action = self._action(lwp, nr)[0] & RET_ACTION
        return action in _PASSING or self._from_vdso(lwp, nr)

    def _action(self, lwp: Lwp, nr: int) -> tuple[int, Filter]:
        """Return the action that weighs most, and the newest filter that wants it."""
        steps = self._steps.get(nr) or self._specialise(nr)
        best, whose, weight = RET_ALLOW, self.filter, RET_ALLOW
        for step, node in steps:
            action = step if isinstance(step, int) else step(lwp)
            # The first bit is the sign: to kill the process weighs more than all the rest.
            rank = (action & RET_ACTION ^ 0x80000000) - 0x80000000
            if rank < weight:
                best, whose, weight = action, node, rank
        return best, whose

    def _specialise(self, nr: int) -> list[tuple[int | Program, Filter]]:
        """Note what each filter says of calls with a number."""
        known = {0: nr, 1: self.arch}
        steps = [(specialise(node.code, known, self._loads), node) for node in self.filter.chain()]
        self._steps[nr] = steps
        if all(isinstance(step, int) and step & RET_ACTION in _PASSING for step, _ in steps):
            self._allowed.add(nr)
        return steps

    def _from_vdso(self, lwp: Lwp, nr: int) -> bool:
        """Return whether the vDSO reads a clock: elsewhere it would not have had to ask."""
        return nr in self._clocks and self.brand.in_vdso(lwp, lwp.regs.pc)

    # -- refusing -------------------------------------------------------------------------------

    def _refuse(self, lwp: Lwp, nr: int) -> int:
        word, whose = self._action(lwp, nr)
        action, data = word & RET_ACTION, word & RET_DATA
        if action == RET_ERRNO:
            return -min(data, _MAX_ERRNO)
        if action == RET_TRAP:
            trapsig(lwp, self._siginfo(lwp, nr, data))
            return nr  # the result register is as before the call (syscall_rollback)
        if action == RET_TRACE:
            return self._ask_tracer(lwp, data)
        if action == RET_USER_NOTIF:
            return self._ask_listener(lwp, nr, whose)
        # Unknown actions kill the process, as they do in every newer kernel.
        if action == RET_KILL_THREAD and len(lwp.proc.lwps) > 1:
            kill_thread(lwp, SIGSYS)
        die(lwp, SIGSYS, self._siginfo(lwp, nr, data))
        return unchanged(lwp)

    def _siginfo(self, lwp: Lwp, nr: int, reason: int) -> SigInfo:
        """Return siginfo as the layout of SIGSYS has it: value is the number, err the ABI."""
        return SigInfo(
            SIGSYS, _SYS_SECCOMP, errno=reason, addr=lwp.regs.pc, value=nr, err=self.arch
        )

    def _ask_tracer(self, lwp: Lwp, data: int) -> int:
        """Have the tracer decide; without one that wants to there is no such call.

        What it made of the call is filtered once more, but it is not asked again.
        """
        if not filter_stop(lwp, data):
            return -_LX_ENOSYS
        nr = lwp.syscall_nr
        if nr < 0:
            return unchanged(lwp)
        action = self._action(lwp, nr)[0] & RET_ACTION
        if action in (RET_ALLOW, RET_LOG, RET_TRACE):
            return self._make(lwp, nr)
        return self._refuse(lwp, nr)

    def _ask_listener(self, lwp: Lwp, nr: int, whose: Filter) -> int:
        """Have the listener of the filter decide; without one there is no such call."""
        if whose.listener is None:
            return -_LX_ENOSYS
        words = [nr, self.arch, *(eval(text, {"w": lwp}) for text in self._loads[2:])]
        answer: int | None = whose.listener.ask(lwp, words)
        return self._make(lwp, nr) if answer is None else answer


def _loads(brand: Any) -> list[str]:
    """Return the text that loads each word of struct seccomp_data from an lwp `w`.

    The words are number, ABI, and in two halves the instruction pointer and six arguments.
    """
    texts = ["w.syscall_nr & 0xffffffff", str(AUDIT_ARCH[brand.bits])]
    wide = brand.bits == 64
    for value in ("w.regs.pc", *(f"w.q[{slot}]" for slot in brand.personality.model.slots)):
        texts += [f"{value} & 0xffffffff", f"{value} >> 32" if wide else "0"]
    return texts


def unchanged(lwp: Lwp) -> int:
    """Return what leaves the result register as it is: the call has not been made."""
    value: int = lwp.q[0] if lwp.brand.bits == 64 else lwp.q[0] & 0xFFFFFFFF
    return value


def kill_thread(lwp: Lwp, signo: int) -> None:
    """End one thread as if by `signo`; the process goes on if it has others (do_exit)."""
    lwp_exit(lwp, CLD_KILLED, signo)


def mode_of(lwp: Lwp) -> int:
    """Return the mode of a thread: 0 for none."""
    chain: Filter | None = lwp.call_filter
    return chain.mode if chain is not None else 0


def count_of(lwp: Lwp) -> int:
    """Return how many filters a thread has."""
    chain: Filter | None = lwp.call_filter
    return chain.count if chain is not None else 0


def install(lwp: Lwp, new: Filter) -> None:
    """Put `lwp` under a chain whose newest filter is `new`. Raises EINVAL, ENOMEM (too long)."""
    current = mode_of(lwp)
    if current and current != new.mode:
        raise KernelError(Errno.EINVAL)
    if new.path > MAX_PATH:
        raise KernelError(Errno.ENOMEM)
    lwp.call_filter = new
    lwp.bind_calls()


def cannot_follow(lwp: Lwp, chain: Filter | None) -> int:
    """Return the id of a thread whose filters are not among those of `lwp`, 0 if there is none."""
    ancestors = set(chain.chain()) if chain is not None else set()
    for other in lwp.proc.lwps:
        known = other.call_filter
        if other is lwp or known is None:
            continue
        if known.mode != MODE_FILTER or known not in ancestors:
            return other.tid
    return 0


def synchronise(lwp: Lwp) -> None:
    """Put every thread of the process under the filters of `lwp`."""
    for other in lwp.proc.lwps:
        if other is not lwp:
            other.call_filter = lwp.call_filter
            other.bind_calls()
