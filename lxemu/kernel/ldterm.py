"""The line discipline of terminals (illumos uts/common/io/ldterm.c, termio(4I)).

Input from the driver is edited, echoed and turned into signals here, and kept until it is read;
output is post-processed (`ldout`). Nothing here blocks: who reads or writes a terminal waits
outside. What programs can see of it is as in the reference system, measured.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

from lxemu.kernel import termio as t
from lxemu.kernel.ldout import (
    AFTER_TAB,
    ALNUM,
    BS,
    CNTRL,
    CR,
    CTRL,
    ERASE_TAB,
    MOVE_BACK,
    NL,
    SET_CANON,
    TAB,
    TO_LOWER,
    Downstream,
    Output,
)
from lxemu.kernel.signal import SIGINT, SIGQUIT, SIGTSTP

if TYPE_CHECKING:
    from lxemu.kernel.termio import Termios

#: Most bytes kept for the reader, one place of which stays free for a line end.
BUFSIZE = 4096
_BELOW_SPACE, _CARET, _SLASH, _BACKSLASH = 0x20, 0x5E, 0x2F, 0x5C
_TRANSLATING = t.ISTRIP | t.IUCLC | t.IGNCR | t.ICRNL | t.INLCR | t.IXON | t.PARMRK
_COOKING = t.ICANON | t.ISIG | t.ECHO


class Driver(Downstream, Protocol):
    """What is below a line discipline."""

    def signal(self, sig: int) -> None:
        """Send a signal to the foreground group."""

    def flush_output(self) -> None:
        """Drop output that has not reached the other side."""

    def input_flushed(self) -> None:
        """Take note that the input has been dropped."""

    def flow_changed(self, *, stopped: bool) -> None:
        """Take note that output has been stopped or goes on."""


class Ldterm:
    """The line discipline of one terminal.

    Input lies in `_buf`; positions count bytes since the terminal was made. Of it [_tail, _canon)
    is complete lines, whose ends are `_ends`; a line end of value 0 is an end of file and not data.
    """

    __slots__ = (
        "_buf",
        "_canon",
        "_ends",
        "_erasing",
        "_lnext",
        "_raw",
        "_special",
        "_tail",
        "down",
        "held",
        "modes",
        "out",
        "stopped",
    )

    def __init__(self, down: Driver, modes: Termios) -> None:
        self.down = down
        self.out = Output(down, modes)
        self._buf = bytearray()
        self._tail = 0
        self._canon = 0
        self._ends: deque[int] = deque()
        self._erasing = False
        self._lnext = False
        self._raw = False
        self._special: frozenset[int] = frozenset()
        #: Output is stopped; `held` if by a request and not by a key.
        self.stopped = False
        self.held = False
        self.modes = modes
        self._plan()

    # -- modes ----------------------------------------------------------------------------------

    def set_modes(self, new: Termios) -> None:
        """Change the modes; input that is here already is read by the new ones."""
        old = self.modes
        self.modes = self.out.modes = new
        if (old.lflag ^ new.lflag) & (t.ICANON | t.EXTPROC):
            self._ends.clear()
            if new.lflag & t.ICANON and self._buf:
                self._ends.append(self._head - 1)
                self._canon = self._head
            else:
                self._canon = self._tail
            self._erasing = self._lnext = False
        self._plan()
        if not new.iflag & t.IXON and old.iflag & t.IXON and not self.held:
            self.start()
            self.out.process()

    def _plan(self) -> None:
        """Work out which characters mean something."""
        iflag, lflag, cc = self.modes.iflag, self.modes.lflag, self.modes.cc
        self._raw = not (iflag & _TRANSLATING or lflag & _COOKING)
        special: set[int] = set()
        if iflag & (t.IGNCR | t.ICRNL):
            special.add(CR)
        if iflag & t.INLCR:
            special.add(NL)
        if lflag & t.ICANON:
            special |= {cc[t.VERASE], cc[t.VKILL], cc[t.VEOF], NL, cc[t.VEOL]}
            if lflag & t.IEXTEN:
                special |= {cc[t.VWERASE], cc[t.VLNEXT], cc[t.VEOL2]}
                if lflag & t.ECHO:
                    special.add(cc[t.VREPRINT])
        if iflag & t.IXON:
            special |= {cc[t.VSTART], cc[t.VSTOP]}
        if lflag & t.ISIG:
            special |= {cc[t.VINTR], cc[t.VQUIT], cc[t.VSUSP]}
        special.discard(t.DISABLED)
        self._special = frozenset(special)

    # -- flow -----------------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop output."""
        if not self.stopped:
            self.stopped = True
            self.down.flow_changed(stopped=True)

    def start(self) -> None:
        """Let output go on, unless a request holds it."""
        if self.stopped and not self.held:
            self.stopped = False
            self.down.flow_changed(stopped=False)

    # -- input ----------------------------------------------------------------------------------

    @property
    def _head(self) -> int:
        return self._tail + len(self._buf)

    def receive(self, data: bytes | bytearray) -> int:
        """Take input from the driver; return how much of it there was room for."""
        done, total = 0, len(data)
        while done < total:
            room = BUFSIZE - len(self._buf)
            if self.modes.iflag & t.PARMRK:
                room = (room + 2) // 3
            room -= 1
            if room <= 0:
                # A line without end does not block: erasing must go on, what is too much is lost.
                if not self.modes.lflag & t.ICANON or self._canon != self._tail:
                    break
                if room < 0:
                    self._buf.pop()
                room = 1
            self._receive(data[done : done + room])
            done += room
        return min(done, total)

    def _receive(self, data: bytes | bytearray) -> None:
        iflag, lflag = self.modes.iflag, self.modes.lflag
        lower = iflag & t.IUCLC and lflag & t.IEXTEN
        if self._raw or (lflag & t.EXTPROC and not (iflag & t.ISTRIP or lower)):
            self._buf += data
            return
        special = self._special
        for byte in data:
            c = byte
            if iflag & t.ISTRIP:
                c &= 0x7F
            if lower:
                c = TO_LOWER[c]
            if self._lnext:
                self._lnext = False
                self._ordinary(c)
            elif lflag & t.EXTPROC:
                self._buf.append(c)
            elif c in special:
                self._act(c)
            else:
                self._ordinary(c)
        if lflag & (t.ECHO | t.ECHONL):
            self.out.process()

    def _any_starts(self) -> None:
        both = t.IXON | t.IXANY
        if self.stopped and not self.held and self.modes.iflag & both == both:
            self.start()
            self.out.process()

    def _ordinary(self, c: int) -> None:
        self._any_starts()
        if self.modes.lflag & t.ECHO:
            self._finish_erasing()
            if self._canon == self._head:
                self.out.echo(SET_CANON)
            self._echo(c)
            self.out.commit()
        self._store(c)

    def _store(self, c: int) -> None:
        if c == 0xFF and self.modes.iflag & t.PARMRK:
            self._buf.append(c)
        self._buf.append(c)

    def _act(self, c: int) -> None:
        """Deal with a character that may mean something."""
        iflag, lflag, cc = self.modes.iflag, self.modes.lflag, self.modes.cc
        if iflag & t.IXON:
            if c == cc[t.VSTART]:
                self.start()
                self.out.process()
                return
            if c == cc[t.VSTOP]:
                self.stop()
                return
        if lflag & t.ISIG:
            for place, sig in ((t.VINTR, SIGINT), (t.VQUIT, SIGQUIT), (t.VSUSP, SIGTSTP)):
                if c == cc[place]:
                    self._signal(c, sig)
                    return
        self._any_starts()
        if c == CR:
            if iflag & t.IGNCR:
                return
            if iflag & t.ICRNL:
                c = NL
        elif c == NL and iflag & t.INLCR:
            c = CR
        if lflag & t.ICANON and self._edit(c):
            return
        if lflag & t.ECHO:
            self._finish_erasing()
            if c == NL:
                self.out.echo(NL)
            else:
                if self._canon == self._head:
                    self.out.echo(SET_CANON)
                self._echo(c)
            self.out.commit()
        self._store(c)

    def _signal(self, c: int, sig: int) -> None:
        self.down.signal(sig)
        if not self.modes.lflag & t.NOFLSH:
            self.out.drop_echoes()
            self.down.flush_output()
            self.flush()
        if self.modes.iflag & t.IXON:
            self.start()
        if self.modes.lflag & t.ECHO:
            self._echo(c)
            self.out.commit()
        else:
            self.out.process()

    # -- canonical input ------------------------------------------------------------------------

    def _edit(self, c: int) -> bool:
        """Act on an editing character or a line end; False for any other."""
        lflag, cc = self.modes.lflag, self.modes.cc
        extended = lflag & t.IEXTEN
        if c in (cc[t.VERASE], cc[t.VKILL]) or (c == cc[t.VWERASE] and extended):
            self._erase(c)
            self.out.commit()
        elif c == cc[t.VLNEXT] and extended:
            self._lnext = True
            if lflag & t.ECHO:
                self._finish_erasing()
                if lflag & t.ECHOCTL:
                    self.out.echo(_CARET)
                    self.out.echo(BS)
                    self.out.commit()
        elif c == cc[t.VREPRINT] and lflag & t.ECHO and extended:
            self._reprint(c)
        elif c == NL:
            if lflag & (t.ECHO | t.ECHONL):
                self.out.echo(NL)
                self.out.commit()
            self._end_line(c)
        elif c == cc[t.VEOF]:
            self._end_line(t.DISABLED)
        elif c == cc[t.VEOL] or (c == cc[t.VEOL2] and extended):
            if lflag & t.ECHO:
                if self._canon == self._head:
                    self.out.echo(SET_CANON)
                self._echo(c)
                self.out.commit()
            if c == 0xFF and self.modes.iflag & t.PARMRK:
                self._buf.append(c)
            self._end_line(c)
        else:
            return False
        return True

    def _end_line(self, c: int) -> None:
        self._ends.append(self._head)
        self._buf.append(c)
        self._canon = self._head

    def _reprint(self, c: int) -> None:
        self._finish_erasing()
        self._echo(c)
        self.out.echo(NL)
        for kept in self._buf[self._canon - self._tail :]:
            self._echo(kept)
        self.out.commit()

    def _echo(self, c: int) -> None:
        if c in CNTRL and c != TAB and self.modes.lflag & t.ECHOCTL:
            c += CTRL
        self.out.echo(c)

    def _finish_erasing(self) -> None:
        if self._erasing:
            self.out.echo(_SLASH)
            self._erasing = False

    def _erase(self, c: int) -> None:
        """Erase a character, a word or the line, and show it."""
        lflag, cc, buf = self.modes.lflag, self.modes.cc, self._buf
        start = self._canon - self._tail
        if len(buf) == start:
            return
        one = c == cc[t.VERASE]
        word = not one and c == cc[t.VWERASE]
        if not one and not word:
            if not lflag & t.ECHO:
                del buf[start:]
                return
            if (t.ECHOK | t.ECHOKE | t.ECHOE) & ~lflag:
                del buf[start:]
                self._finish_erasing()
                self._echo(cc[t.VKILL])
                if lflag & t.ECHOK:
                    self.out.echo(NL)
                return
        seen = False
        while len(buf) > start:
            at = len(buf) - 1
            while self._continues(buf[at]) and at > start:
                at -= 1
            if self._continues(buf[at]):
                break
            if word:
                if buf[at] in ALNUM or buf[at] == 0x5F:
                    seen = True
                elif seen:
                    break
            gone = bytes(buf[at:])
            del buf[at:]
            if lflag & t.ECHO:
                self._show_erased(gone, one)
            if one:
                break
        if len(buf) == start and lflag & t.ECHO:
            self._finish_erasing()

    def _continues(self, c: int) -> bool:
        """Return whether `c` is a later byte of a character."""
        return c & 0xC0 == 0x80 and bool(self.modes.iflag & t.IUTF8)

    def _show_erased(self, gone: bytes, one: bool) -> None:
        """Echo the erasing of one character, the bytes `gone`."""
        lflag, out = self.modes.lflag, self.out
        c = gone[0]
        if lflag & t.ECHOPRT:
            if not self._erasing:
                out.echo(_BACKSLASH)
                self._erasing = True
            self._echo(c)
            for more in gone[1:]:
                out.echo(more)
                out.echo(MOVE_BACK)
        elif one and not lflag & t.ECHOE:
            self._echo(self.modes.cc[t.VERASE])
        elif c == TAB:
            out.echo(self._tab_width())
        elif c not in CNTRL:
            self._rub_out()
        elif lflag & t.ECHOCTL:
            self._rub_out()
            self._rub_out()

    def _rub_out(self) -> None:
        self.out.echo(BS)
        self.out.echo(_BELOW_SPACE)
        self.out.echo(BS)

    def _tab_width(self) -> int:
        """Return the operation that goes back over a tab at the end of the line."""
        columns = after = 0
        for c in reversed(self._buf[self._canon - self._tail :]):
            if c == TAB:
                after = AFTER_TAB
                break
            if c in CNTRL:
                columns += 2 if self.modes.lflag & t.ECHOCTL else 0
            elif not self._continues(c):
                columns += 1
        return ERASE_TAB + (columns & 7 | after)

    # -- reading --------------------------------------------------------------------------------

    @property
    def by_lines(self) -> bool:
        """Whether reading gives lines (canonical, and no other program does the editing)."""
        return self.modes.lflag & (t.ICANON | t.EXTPROC) == t.ICANON

    def available(self, amount: int = 1) -> bool:
        """Return whether there is a line to read, or `amount` bytes where lines do not count."""
        if self.by_lines:
            return self._canon != self._tail
        return len(self._buf) >= amount

    def polled(self) -> bool:
        """Return whether a poll finds input: VMIN bytes unless VTIME is set."""
        cc = self.modes.cc
        return self.available(1 if cc[t.VTIME] or not cc[t.VMIN] else cc[t.VMIN])

    def take(self, count: int) -> bytes:
        """Take up to `count` bytes of what is there, a line at most where lines count."""
        if not self.by_lines:
            data = self._drop(min(count, len(self._buf)))
            if self.modes.lflag & t.ICANON and not self._buf and len(data) == 1:
                return b"" if data[0] == self.modes.cc[t.VEOF] else data
            return data
        limit = min(count, self._canon - self._tail)
        end = self._ends[0] - self._tail if self._ends else limit
        if end >= limit:
            data = self._drop(limit)
            self._skip_eof()
            return data
        eof = self._buf[end] == t.DISABLED
        data = self._drop(end + 1)
        self._ends.popleft()
        return data[:-1] if eof else data

    def _skip_eof(self) -> None:
        """Eat an end of file where a read has just filled its buffer."""
        if self._ends and self._ends[0] == self._tail and self._buf[0] == t.DISABLED:
            self._drop(1)
            self._ends.popleft()

    def _drop(self, count: int) -> bytes:
        data = bytes(self._buf[:count])
        del self._buf[:count]
        self._tail += count
        return data

    def queued(self) -> int:
        """Return how many bytes can be read (FIONREAD)."""
        if not self.by_lines:
            return len(self._buf)
        ready = self._canon - self._tail
        return ready - sum(self._buf[end - self._tail] == t.DISABLED for end in self._ends)

    def flush(self) -> None:
        """Drop all input."""
        self._buf.clear()
        self._canon = self._tail
        self._ends.clear()
        self._erasing = False
        self.down.input_flushed()
