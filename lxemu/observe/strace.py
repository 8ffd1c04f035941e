"""The trace in strace's own format, with unfinished and resumed calls, signals and exits."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, TextIO

from lxemu.kernel.signal import CLD_DUMPED, CLD_EXITED, SIGKILL
from lxemu.observe.tracer import Tracer
from syscalls.abi import trace_text as text
from syscalls.abi.trace import COLUMN
from syscalls.abi.trace_records import siginfo
from syscalls.signum import TO_LX, lx_signal_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.proc import Proc
    from lxemu.kernel.signal import SigInfo
    from lxemu.observe.select import Selection
    from syscalls.abi.trace import Call, Style


class Strace(Tracer):
    """Prints like strace(1).

    *to_file* is the form of -o: every line begins with the thread's id when children are followed.
    *stamp* is what -t, -tt, -ttt or -r print ("t", "tt", "ttt", "r" or ""); *durations* is -T.
    """

    def __init__(
        self,
        selection: Selection,
        style: Style,
        out: TextIO,
        *,
        follow: bool = False,
        to_file: bool = False,
        stamp: str = "",
        durations: bool = False,
    ) -> None:
        super().__init__(selection, style, follow=follow)
        self.out = out
        self.to_file = to_file
        self.stamp = stamp
        self.durations = durations
        self._last_stamp = time.time()
        self._known: set[int] = set()
        self._exec_line = self._exec_tail = ""
        self._argc = 0
        #: The thread whose line is not finished, and how many columns it has.
        self._open_tid = 0
        self._open_column = 0
        self._unfinished: set[int] = set()

    # -- events ---------------------------------------------------------------------------------

    def started(self, path: bytes, argv: Sequence[bytes], env_count: int) -> None:
        """Keep the line of the first execve until something shows that it went well."""
        if not self.shows_exec():
            return
        limit = self.style.strlen
        shown = ", ".join(text.clipped(word, limit) for word in argv[:limit])
        if len(argv) > limit:
            shown += ", ..."
        plural = "" if env_count == 1 else "s"
        self._exec_line = f"execve({text.quote(path)}, [{shown}], "
        self._exec_tail = f" /* {env_count} var{plural} */)"
        self._argc = len(argv)

    def entered(self, lwp: Lwp, call: Call) -> None:
        """Print the call up to its first argument that is not known yet."""
        tid = lwp.tid
        self._meet(tid)
        self._interrupt_line(tid)
        line = self._prefix(tid) + call.enter()
        self.out.write(line)
        self._open_tid, self._open_column = tid, len(line)
        self._flush()

    def left(self, tid: int, call: Call, result: int | None, elapsed: int) -> None:
        """Print the rest of the call."""
        head = ""
        if tid in self._unfinished:
            self._unfinished.discard(tid)
            self._interrupt_line(tid)
            head = f"{self._prefix(tid)}<... {call.name} resumed>"
            self._open_column = len(head)
        rest = call.leave(result, self._open_column)
        spent = f" <{elapsed // 1000 / 1e6:.6f}>" if self.durations and result is not None else ""
        self.out.write(f"{head}{rest}{spent}\n")
        self._open_tid = 0
        self._flush()

    def signalled(self, lwp: Lwp, info: SigInfo) -> None:
        """Print `--- SIGNAL {...} ---`."""
        if info.signo != SIGKILL:  # which a tracer never sees
            name = lx_signal_name(TO_LX[info.signo])
            self._line(lwp.tid, f"--- {name} {siginfo(info)} ---")

    def ended(self, tid: int, proc: Proc, status: int | None) -> None:
        """Print `+++ exited with N +++` or `+++ killed by SIGNAL +++`."""
        code, value = proc.wait_code, proc.wait_status
        if status is not None:
            code, value = CLD_EXITED, status
        if code == CLD_EXITED:
            how = f"exited with {value}"
        else:
            dumped = " (core dumped)" if code == CLD_DUMPED else ""
            how = f"killed by {lx_signal_name(TO_LX[value])}{dumped}"
        self._line(tid, f"+++ {how} +++", others=1)
        self._known.discard(tid)

    def close(self) -> None:
        """Finish the last line."""
        if self._exec_line:
            self._show_exec()
        if self._open_tid:
            self.out.write(" <unfinished ...>\n")
        self.out.flush()

    # -- lines ----------------------------------------------------------------------------------

    def _line(self, tid: int, line: str, *, others: int = 0) -> None:
        self._meet(tid)
        self._interrupt_line(0)
        self.out.write(f"{self._prefix(tid, others)}{line}\n")
        self._flush()

    def _meet(self, tid: int) -> None:
        if self._exec_line:
            self._show_exec(tid)
        if tid in self._known:
            return
        first = self._first_proc()
        if first is not None and tid != first.pid and not self.to_file:
            self.out.write(f"strace: Process {tid} attached\n")
        self._known.add(tid)

    def _show_exec(self, tid: int = 0) -> None:
        line = self._prefix(tid) + self._exec_line + self._envp() + self._exec_tail
        self._exec_line = ""
        self.out.write(f"{line:<{COLUMN}}= 0\n" if len(line) < COLUMN else f"{line} = 0\n")

    def _envp(self) -> str:
        """Return the address of the first program's environment, below its arguments."""
        proc = self._first_proc()
        if proc is None:
            return "NULL"
        at = getattr(proc.brand_data, "start_stack", 0)
        return text.pointer(at + (self._argc + 2) * proc.brand.bits // 8)

    def _interrupt_line(self, tid: int) -> None:
        if self._open_tid and self._open_tid != tid:
            self.out.write(" <unfinished ...>\n")
            self._unfinished.add(self._open_tid)
            self._open_tid = 0

    def _prefix(self, tid: int, others: int = 0) -> str:
        who = ""
        if self.follow and self.to_file:
            who = f"{tid:<5} "
        elif self.follow and self._lwps() + others > 1:
            who = f"[pid {tid:>5}] "
        return who + self._stamp() if self.stamp else who

    def _lwps(self) -> int:
        return len(self.machine.lwp_by_tid) if self.machine is not None else 0

    def _stamp(self) -> str:
        now = time.time()
        if self.stamp == "r":
            since, self._last_stamp = now - self._last_stamp, now
            return f"{since:>13.6f} "
        if self.stamp == "ttt":
            return f"{now:.6f} "
        clock = time.strftime("%H:%M:%S", time.localtime(now))
        return f"{clock}.{int(now % 1 * 1e6):06} " if self.stamp == "tt" else f"{clock} "

    def _flush(self) -> None:
        if not self.to_file:
            self.out.flush()


def open_output(path: str | None) -> tuple[TextIO, bool]:
    """Open the trace's output: the file of -o, or a copy of standard error that stays ours.

    The guest may close or redirect descriptor 2; the trace goes on.
    """
    if path is not None:
        return open(path, "w", encoding="ascii", errors="backslashreplace"), True
    fd = os.dup(2)
    return os.fdopen(fd, "w", encoding="ascii", errors="backslashreplace"), False
