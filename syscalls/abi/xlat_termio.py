"""Terminal modes: Linux's words, characters and speeds to the kernel's and back (asm/termbits.h).

Most flags have the same bits in both. What is unknown to both is kept, as Linux keeps it.
"""

from __future__ import annotations

from typing import Final

from lxemu.kernel import termio as t
from syscalls.records import Termios, Termios2

# Linux's words where they differ.
LX_CBAUD: Final = 0x100F
LX_BOTHER: Final = 0x1000
LX_IBSHIFT: Final = 16
LX_CMSPAR: Final = 0x40000000
#: Addressing of a multi-drop line: no program can set it on a line that has none.
LX_ADDRB: Final = 0x20000000
LX_FLUSHO: Final = 0x1000
_PAREXT: Final = 0x100000

#: Bits per second by Linux's code: B0 to B38400 are 0 to 15, B57600 to B4000000 have CBAUDEX set.
_LOW: Final = (0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400)
_HIGH: Final = (
    57600,
    115200,
    230400,
    460800,
    500000,
    576000,
    921600,
    1000000,
    1152000,
    1500000,
    2000000,
    2500000,
    3000000,
    3500000,
    4000000,
)
RATES: Final = dict(enumerate(_LOW)) | {LX_BOTHER + 1 + n: rate for n, rate in enumerate(_HIGH)}
_CODES: Final = {rate: code for code, rate in RATES.items()}

#: The kernel's place of each of Linux's characters, in Linux's order; the last two mean nothing.
_PLACES: Final = (
    t.VINTR,
    t.VQUIT,
    t.VERASE,
    t.VKILL,
    t.VEOF,
    t.VTIME,
    t.VMIN,
    t.VSWTCH,
    t.VSTART,
    t.VSTOP,
    t.VSUSP,
    t.VEOL,
    t.VREPRINT,
    t.VDISCARD,
    t.VWERASE,
    t.VLNEXT,
    t.VEOL2,
    20,
    21,
)


def _swapped(word: int, one: int, other: int) -> int:
    """Return `word` with two bits exchanged."""
    kept = word & ~(one | other)
    return kept | (other if word & one else 0) | (one if word & other else 0)


def cc_from_lx(cc: bytes) -> bytes:
    """Return the kernel's control characters."""
    out = bytearray(t.NCCS)
    for place, value in zip(_PLACES, cc, strict=True):
        out[place] = value
    return bytes(out)


def cc_to_lx(cc: bytes) -> bytes:
    """Return Linux's control characters."""
    return bytes(cc[place] for place in _PLACES)


def modes_from_lx(lx: Termios | Termios2, old: t.Termios) -> t.Termios:
    """Return the kernel's modes; speeds that are not said with them are those of `old`."""
    iflag, oflag, word, lflag, line, cc = lx[:6]
    numbers = (lx.ispeed, lx.ospeed) if isinstance(lx, Termios2) else (old.ispeed, old.ospeed)
    out, inp = word & LX_CBAUD, word >> LX_IBSHIFT & LX_CBAUD
    codes = LX_CBAUD | LX_CBAUD << LX_IBSHIFT
    cflag = _swapped(word & ~(codes | LX_ADDRB), LX_CMSPAR, _PAREXT)
    ospeed = RATES.get(out, numbers[1])
    if out == LX_BOTHER:
        cflag |= t.CBAUDANY
    ispeed = ospeed
    if inp:
        ispeed = RATES.get(inp, numbers[0])
        cflag |= t.CIBAUD | (t.CIBAUDANY if inp == LX_BOTHER else 0)
    lflag = _swapped(lflag, LX_FLUSHO, t.FLUSHO)
    return t.Termios(iflag, oflag, cflag, lflag, line, cc_from_lx(cc), ispeed, ospeed)


def modes_to_lx(modes: t.Termios) -> Termios2:
    """Return Linux's modes."""
    any_ = t.CBAUDANY | t.CIBAUD | t.CIBAUDANY
    word = _swapped(modes.cflag & ~any_, LX_CMSPAR, _PAREXT)
    word |= LX_BOTHER if modes.cflag & t.CBAUDANY else _CODES.get(modes.ospeed, LX_BOTHER)
    if modes.cflag & t.CIBAUD:
        apart = modes.cflag & t.CIBAUDANY
        code = LX_BOTHER if apart else _CODES.get(modes.ispeed, LX_BOTHER)
        word |= code << LX_IBSHIFT
    return Termios2(
        modes.iflag,
        modes.oflag,
        word,
        _swapped(modes.lflag, LX_FLUSHO, t.FLUSHO),
        modes.line,
        cc_to_lx(modes.cc),
        modes.ispeed,
        modes.ospeed,
    )
