"""Output of a line discipline: post-processing, the column, echoes (illumos ldterm.c).

Echoes are queued and go out together at the end of a piece of input, so that stopped output holds
them back in the order in which they came.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Protocol

from lxemu.kernel import termio as t

if TYPE_CHECKING:
    from lxemu.kernel.termio import Termios

NL, CR, TAB, BS = 10, 13, 9, 8
_ONE = tuple(bytes((c,)) for c in range(256))

# Classes of characters in Latin-1, which is what the discipline takes bytes for.
CNTRL = frozenset((*range(32), 127))
_UPPER = frozenset((*range(0x41, 0x5B), *range(0xC0, 0xD7), *range(0xD8, 0xDF)))
_LOWER = frozenset((*range(0x61, 0x7B), 0xDF, *range(0xE0, 0xF7), *range(0xF8, 0x100)))
ALNUM = _UPPER | _LOWER | frozenset(range(0x30, 0x3A))
TO_UPPER = bytes(c - 32 if c in _LOWER else c for c in range(256))
TO_LOWER = bytes(c + 32 if c in _UPPER else c for c in range(256))

# Echo operations that are no plain character: "^X" is CTRL + X, a tab to be erased ERASE_TAB + how
# many columns come before it (+ AFTER_TAB if they are counted from another tab).
CTRL = 0x100
MOVE_BACK = 0x200
SET_CANON = 0x201
ERASE_TAB = 0x400
AFTER_TAB = 0x80

#: So many echoes go out at once without waiting for the end of the input.
_COMMIT = 256
#: With more echoes than this waiting for stopped output, the oldest are dropped.
_MOST_ECHOES = 4096 - (_COMMIT + 32)
_PLAIN = re.compile(rb"[ -~\n]*")


class Downstream(Protocol):
    """What takes the output: a driver."""

    def room(self) -> int:
        """Return how many bytes the driver takes now."""

    def put(self, data: bytes) -> None:
        """Take `data`, for which there is room."""


class Output:
    """The output side of a line discipline."""

    __slots__ = ("_after", "_echo_size", "_echoes", "canon_column", "column", "down", "modes")

    def __init__(self, down: Downstream, modes: Termios) -> None:
        self.down = down
        self.modes = modes
        self.column = 0
        #: The column in which the current input line begins.
        self.canon_column = 0
        self._echoes: deque[int] = deque()
        self._echo_size = 0
        self._after = 0

    # -- post-processing ------------------------------------------------------------------------

    def write(self, data: bytes | memoryview) -> int:
        """Put out as much of `data` as there is room for; return how much that was."""
        room = self.down.room()
        oflag = self.modes.oflag
        if not oflag & t.OPOST:
            piece = bytes(data[:room])
            if piece:
                self.down.put(piece)
            return len(piece)
        data = bytes(data)
        if 2 * len(data) <= room and oflag & (t.OLCUC | t.ONLRET) == 0:
            plain = _PLAIN.match(data)
            if plain is not None and plain.end() == len(data):
                self._write_plain(data, oflag)
                return len(data)
        out = bytearray()
        done = 0
        for c in data:
            piece_or_none = self._post(c, room)
            if piece_or_none is None:
                break
            out += piece_or_none
            room -= len(piece_or_none)
            done += 1
        if out:
            self.down.put(bytes(out))
        return done

    def _write_plain(self, data: bytes, oflag: int) -> None:
        """Put out text of printable characters and line ends."""
        at = data.rfind(b"\n")
        if at < 0:
            self.column += len(data)
        elif oflag & t.ONLCR:
            data = data.replace(b"\n", b"\r\n")
            self.canon_column = 0
            self.column = len(data) - data.rfind(b"\n") - 1
        else:
            lines = data.count(b"\n")
            self.canon_column = self.column + at - lines + 1
            self.column += len(data) - lines
        if data:
            self.down.put(data)

    def _post(self, c: int, room: int) -> bytes | None:
        """Return what goes out for `c`; None if there is no room for it."""
        if not room:
            return None
        oflag = self.modes.oflag
        if c == NL:
            if oflag & t.ONLRET:
                self.column = 0
            if oflag & t.ONLCR:
                if room < 2:
                    return None
                self.canon_column = self.column = 0
                return b"\r\n"
            self.canon_column = self.column
        elif c == CR:
            if oflag & t.ONOCR and self.column == 0:
                return b""
            if oflag & t.OCRNL:
                if oflag & t.ONLRET:
                    self.canon_column = self.column = 0
                return b"\n"
            self.canon_column = self.column = 0
        elif c == TAB:
            spaces = 8 - (self.column & 7)
            if oflag & t.TABDLY == t.XTABS:
                if room < spaces:
                    return None
                self.column += spaces
                return b" " * spaces
            self.column += spaces
        elif c == BS:
            self.column -= self.column > 0
        elif c not in CNTRL:
            if oflag & t.OLCUC:
                c = TO_UPPER[c]
            if not (self.modes.iflag & t.IUTF8 and c & 0xC0 == 0x80):
                self.column += 1
        return _ONE[c]

    # -- echoes ---------------------------------------------------------------------------------

    def echo(self, op: int) -> None:
        """Queue a character or an operation."""
        self._echoes.append(op)
        self._echo_size += _size(op)

    def commit(self) -> None:
        """Note that the echo of a character is complete; a long queue goes out at once."""
        size = self._echo_size
        if size < _COMMIT or size % _COMMIT > self._after % _COMMIT:
            return
        self.process()
        while self._echo_size >= _MOST_ECHOES:
            self._echo_size -= _size(self._echoes.popleft())

    def process(self) -> None:
        """Put out the queued echoes as far as there is room."""
        echoes = self._echoes
        room = self.down.room()
        out = bytearray()
        while echoes:
            op = echoes[0]
            piece = self._piece(op, room)
            if piece is None:
                break
            out += piece
            room -= len(piece)
            echoes.popleft()
            self._echo_size -= _size(op)
        self._after = self._echo_size
        if out:
            self.down.put(bytes(out))

    def drop_echoes(self) -> None:
        """Forget the queued echoes."""
        self._echoes.clear()
        self._echo_size = self._after = 0

    def _piece(self, op: int, room: int) -> bytes | None:
        if op < CTRL:
            if self.modes.oflag & t.OPOST and op != 0xFF:
                return self._post(op, room)
            if op == 0xFF:
                self.column += room > 0
            return _ONE[op] if room else None
        if op < MOVE_BACK:
            if room < 2:
                return None
            self.column += 2
            return b"^" + _ONE[(op - CTRL) ^ 0x40]
        if op == MOVE_BACK:
            self.column -= self.column > 0
            return b""
        if op == SET_CANON:
            self.canon_column = self.column
            return b""
        before = op - ERASE_TAB
        if not before & AFTER_TAB:
            before += self.canon_column
        back = 8 - (before & 7)
        if back > room:
            return None
        self.column = max(0, self.column - back)
        return b"\b" * back


def _size(op: int) -> int:
    """Return the room that an operation takes in the queue, which has an end."""
    if op < CTRL:
        return 2 if op == 0xFF else 1
    return 3 if op >= ERASE_TAB else 2
