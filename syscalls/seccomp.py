"""System call filters: what seccomp(2) puts between a thread and its calls (kernel/seccomp.c).

An lwp with filters has another list of stubs, a `Gate`, so that every other lwp pays nothing. The
gate asks the filters once for each call number; only when they look further than the number are
they run at every call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.exit import lwp_exit
from lxemu.kernel.sig import die, trapsig
from lxemu.kernel.signal import CLD_KILLED, SIGKILL, SIGSYS, SigInfo
from syscalls.tracing import filter_stop

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
_MASK64: Final = (1 << 64) - 1


class Filter:
    """One filter and those under it; lwps share the chain, and it never changes.

    With no program it is strict mode.
    """

    __slots__ = ("_gates", "count", "listener", "mode", "path", "prev", "program")

    def __init__(self, program: Program | None, length: int, prev: Filter | None) -> None:
        self.program = program
        self.prev: Filter | None = prev
        self.mode = MODE_STRICT if program is None else MODE_FILTER
        self.count: int = (prev.count if prev is not None else 0) + (program is not None)
        self.path: int = length + (prev.path + _PENALTY if prev is not None else 0)
        #: Who answers for RET_USER_NOTIF.
        self.listener: Any = None
        self._gates: dict[int, Gate] = {}

    def chain(self) -> Iterator[Filter]:
        """Return the filters, the newest first."""
        node: Filter | None = self
        while node is not None:
            yield node
            node = node.prev

    def decide(self, words: Sequence[int]) -> tuple[int, Filter]:
        """Return the action that weighs most, and the filter that wants it.

        Raises IndexError when a filter needs more words than it is given.
        """
        best, whose, weight = RET_ALLOW, self, RET_ALLOW
        for node in self.chain():
            assert node.program is not None
            action = node.program(words)
            # The first word is the sign: to kill the process weighs more than all the rest.
            rank = (action & RET_ACTION ^ 0x80000000) - 0x80000000
            if rank < weight:
                best, whose, weight = action, node, rank
        return best, whose

    def gate(self, brand: Any) -> Gate:
        """Return the stubs of a thread of `brand` under these filters."""
        gate = self._gates.get(brand.bits)
        if gate is None or gate.brand is not brand:
            gate = self._gates[brand.bits] = Gate(self, brand)
        return gate


class Gate:
    """Stands where the list of stubs does: any number leads to `__call__`."""

    __slots__ = ("_allowed", "_clocks", "_known", "_slots", "arch", "brand", "filter", "stubs")

    def __init__(self, chain: Filter, brand: Any) -> None:
        self.filter = chain
        self.brand = brand
        self.stubs: list[Any] = brand.untraced or brand.stubs
        self.arch = AUDIT_ARCH[brand.bits]
        self._slots = brand.personality.model.slots
        self._clocks = frozenset(brand.clock_calls)
        self._allowed: set[int] = set()
        #: Number -> (action, filter), or None when it depends on more than the number.
        self._known: dict[int, tuple[int, Filter] | None] = {}

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
        action, _ = self._action(lwp, nr)
        if action & RET_ACTION not in (RET_ALLOW, RET_LOG):
            return self._from_vdso(lwp, nr)
        if self._known[nr] is not None:
            self._allowed.add(nr)
        return True

    def _action(self, lwp: Lwp, nr: int) -> tuple[int, Filter]:
        try:
            known = self._known[nr]
        except KeyError:
            try:
                known = self.filter.decide((nr, self.arch))
            except IndexError:
                known = None
            self._known[nr] = known
        return known if known is not None else self.filter.decide(self._words(lwp, nr))

    def _words(self, lwp: Lwp, nr: int) -> list[int]:
        """Return the words of struct seccomp_data."""
        q = lwp.q
        mask = _MASK64 if self.brand.bits == 64 else 0xFFFFFFFF
        words = [nr, self.arch]
        for value in (lwp.regs.pc, *(q[slot] for slot in self._slots)):
            value &= mask
            words += (value & 0xFFFFFFFF, value >> 32)
        return words

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
        words = self._words(lwp, nr)
        answer: int | None = whose.listener.ask(lwp, words)
        return self._make(lwp, nr) if answer is None else answer


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
