"""The trace in truss' format: the same calls as the illumos kernel inside sees them.

Flags, signals and error numbers are the kernel's own values and names, after translation: an
`open(2)` with Linux's O_CREAT (0x40) shows as illumos' O_CREAT (0x100).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from lxemu.observe.tracer import Tracer
from syscalls.abi import trace_text as text
from syscalls.abi.trace import native_signal_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.proc import Proc
    from lxemu.kernel.signal import SigInfo
    from lxemu.observe.select import Selection
    from syscalls.abi.trace import Call, Style

SIG_DFL, SIG_IGN = 0, 1


class Truss(Tracer):
    """Prints like truss(1): one line a call, after its process when children are followed."""

    def __init__(
        self, selection: Selection, style: Style, out: TextIO, *, follow: bool = False
    ) -> None:
        super().__init__(selection, style, follow=follow)
        self.out = out
        self._heads: dict[int, str] = {}

    def started(self, path: bytes, argv: Sequence[bytes], env_count: int) -> None:
        """Print the first execve."""
        if self.shows_exec():
            self.out.write(f"execve({text.quote(path)}, ...)  argc = {len(argv)}\n")

    def entered(self, lwp: Lwp, call: Call) -> None:
        """Keep the head of the call; it is printed in one line with its end."""
        self._heads[lwp.tid] = call.enter()

    def left(self, tid: int, call: Call, result: int | None, elapsed: int) -> None:
        """Print the call."""
        head = self._heads.pop(tid, "")
        rest = call.leave(result, len(head))
        if result is None:
            rest = rest.partition(" = ?")[0].rstrip()
        self._line(tid, head + rest)

    def signalled(self, lwp: Lwp, info: SigInfo) -> None:
        """Print a signal and where it came from."""
        name = native_signal_name(info.signo)
        handler = lwp.proc.sigacts[info.signo].handler
        how = {SIG_DFL: "default", SIG_IGN: "ignored"}.get(handler, "caught")
        self._line(lwp.tid, f"    Received signal #{info.signo}, {name} [{how}]")
        if info.addr:
            self._line(lwp.tid, f"      siginfo: {name} code={info.code} addr={info.addr:#x}")
        elif info.pid:
            self._line(
                lwp.tid, f"      siginfo: {name} pid={info.pid} uid={info.uid} code={info.code}"
            )

    def ended(self, tid: int, proc: Proc, status: int | None) -> None:
        """Say nothing: truss shows the exit call itself."""

    def close(self) -> None:
        """Write what is buffered."""
        self.out.flush()

    def _line(self, tid: int, line: str) -> None:
        self.out.write(f"{tid}:\t{line}\n" if self.follow else f"{line}\n")
        self.out.flush()
