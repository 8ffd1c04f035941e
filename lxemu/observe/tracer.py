"""The seam between a machine and whoever watches its system calls.

A tracer that is installed puts its own stubs before those of each brand, so that an untraced
machine pays nothing. It sees a call begin and end, a signal being taken, an lwp and a process
ending; the text of a call comes from `syscalls.abi.trace`, which reads the stubs' own signatures.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from lxemu.kernel.errno import Interrupted, KernelError
from syscalls.abi.trace import Call, Style, raw_args

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.proc import Proc
    from lxemu.kernel.signal import SigInfo
    from lxemu.machine import Machine
    from lxemu.observe.select import Selection
    from syscalls.personality import Personality

    Stub = Callable[[Lwp], int]

#: What ptrace shows of a call that a signal interrupted and that may be made again.
ERESTARTSYS = 512
ERESTARTNOHAND = 514


class Tracer:
    """Watches a machine. Subclasses print; this class finds out what happens and in which order."""

    def __init__(self, selection: Selection, style: Style, *, follow: bool) -> None:
        self.selection = selection
        self.style = style
        self.follow = follow
        self.machine: Machine | None = None
        self.first: Proc | None = None
        #: Calls in flight by thread id: a call that never returns is finished at its lwp's end.
        self.flying: dict[int, Call] = {}
        #: Signals that a sleeping call has been woken for: they follow the end of the call.
        self._woken: dict[int, list[SigInfo]] = {}
        #: Lwps that ended together with their process, reported with it.
        self._ended: dict[int, list[int]] = {}

    # -- the machine's side ---------------------------------------------------------------------

    def install(self, machine: Machine) -> None:
        """Put this tracer between the machine's programs and their system calls."""
        self.machine = machine
        machine.tracer = self
        for face in (machine.brand64, machine.brand32):
            brand: Any = face  # the one place that replaces a brand's stubs
            brand.leaf = frozenset()  # a leaf call may be answered without a look at the stubs
            brand.untraced = brand.stubs
            brand.stubs = self._wrap(brand)

    def follows(self, proc: Proc) -> bool:
        """Say whether this process is watched: all with -f, else the first one."""
        return self.follow or proc is self._first_proc()

    def _first_proc(self) -> Proc | None:
        if self.first is None and self.machine is not None:
            self.first = self.machine.first
        return self.first

    def _wrap(self, brand: Any) -> list[Stub]:
        return [self._traced(brand, nr) for nr in range(len(brand.untraced))]

    def _traced(self, brand: Any, nr: int) -> Stub:
        personality: Personality = brand.personality
        unfiltered: list[Stub] = brand.untraced
        wanted: bool | None = None

        def traced(lwp: Lwp) -> int:
            nonlocal wanted
            if wanted is None:
                wanted = self.selection.wants(personality, nr)
            chain = lwp.call_filter
            stubs = unfiltered if chain is None else chain.gate(brand)
            if not wanted or not self.follows(lwp.proc):
                return stubs[nr](lwp)
            return self._watch(lwp, personality, nr, stubs[nr])

        return traced

    def _watch(self, lwp: Lwp, personality: Personality, nr: int, stub: Stub) -> int:
        call = Call(lwp, personality, nr, raw_args(lwp, personality), self.style)
        tid = lwp.tid
        self.flying[tid] = call
        self.entered(lwp, call)
        started = time.perf_counter_ns()
        try:
            result = stub(lwp)
        except Interrupted:
            sig = call.sig
            again = ERESTARTSYS if sig is None or sig.restart else ERESTARTNOHAND
            self._left(lwp, call, -again, started)
            raise
        except KernelError as error:
            self._left(lwp, call, -lwp.brand.errno_out[error.errno], started)
            raise
        # A call that does not return (exit, a fatal signal) is finished by `lwp_exit`.
        self._left(lwp, call, result, started)
        return result

    def _left(self, lwp: Lwp, call: Call, result: int, started: int) -> None:
        if self.flying.pop(lwp.tid, None) is call:
            self.left(lwp.tid, call, result, time.perf_counter_ns() - started)
        for info in self._woken.pop(lwp.tid, ()):
            self.signalled(lwp, info)

    def lwp_exit(self, lwp: Lwp) -> None:
        """Note the end of an lwp (from the machine)."""
        if not self.follows(lwp.proc):
            return
        call = self.flying.pop(lwp.tid, None)
        if call is not None:
            self.left(lwp.tid, call, None, 0)
        self._woken.pop(lwp.tid, None)
        proc = lwp.proc
        if proc.exiting:
            self._ended.setdefault(proc.pid, []).append(lwp.tid)
        else:
            self.ended(lwp.tid, proc, 0)

    def exit(self, proc: Proc) -> None:
        """Note the end of a process (from the machine)."""
        tids = self._ended.pop(proc.pid, [])
        if self.follows(proc):
            for tid in sorted(tids, key=lambda tid: tid == proc.pid):
                self.ended(tid, proc, None)

    def signal(self, lwp: Lwp, info: SigInfo) -> None:
        """Note that an lwp takes a signal (from the machine)."""
        if not self.follows(lwp.proc):
            return
        if lwp.tid in self.flying:
            self._woken.setdefault(lwp.tid, []).append(info)
        else:
            self.signalled(lwp, info)

    def shows_exec(self) -> bool:
        """Say whether the selection holds the first execve, which no stub carries out."""
        from syscalls.personality import x86_64

        personality = x86_64()
        return self.selection.wants(personality, personality.names.index("execve"))

    # -- what subclasses do ---------------------------------------------------------------------

    def started(self, path: bytes, argv: Sequence[bytes], env_count: int) -> None:
        """Note that the machine has been asked to run a program."""

    def entered(self, lwp: Lwp, call: Call) -> None:
        """Note the begin of a call."""

    def left(self, tid: int, call: Call, result: int | None, elapsed: int) -> None:
        """Note the end of a call after *elapsed* ns; *result* is None when it does not return."""

    def signalled(self, lwp: Lwp, info: SigInfo) -> None:
        """Note a signal."""

    def ended(self, tid: int, proc: Proc, status: int | None) -> None:
        """Note the end of a thread; *status* None means the way its process ended."""

    def close(self) -> None:
        """Write what is still to be written."""
