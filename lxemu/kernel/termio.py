"""Terminal parameters and requests (illumos termio(4I), sys/termios.h, sys/filio.h)."""

from __future__ import annotations

from typing import NamedTuple

# Requests: 'T' << 8, 't' << 8, 'f' << 8.
TCSBRK = 0x5405
TCXONC = 0x5406
TCFLSH = 0x5407
TCGETS = 0x540D
TCSETS = 0x540E
TCSETSW = 0x540F
TCSETSF = 0x5410
TIOCSWINSZ = 0x5467
TIOCGWINSZ = 0x5468
TIOCGETD = 0x7400
TIOCSETD = 0x7401
TIOCEXCL = 0x740D
TIOCNXCL = 0x740E
TIOCGPGRP = 0x7414
TIOCSPGRP = 0x7415
TIOCGSID = 0x7416
TIOCSTI = 0x7417
TIOCNOTTY = 0x7471
TIOCOUTQ = 0x7473
TIOCSCTTY = 0x7484
# Pseudo terminals: ours, in the numbers of ptm(4D) ('P' << 8).
PTM_NUMBER = 0x5010
PTM_LOCK = 0x5011
PTM_GETLOCK = 0x5012
PTM_PACKET = 0x5013

# Input, output, control and local modes.
IFLAGS = {
    "IGNBRK": 0x1,
    "BRKINT": 0x2,
    "IGNPAR": 0x4,
    "PARMRK": 0x8,
    "INPCK": 0x10,
    "ISTRIP": 0x20,
    "INLCR": 0x40,
    "IGNCR": 0x80,
    "ICRNL": 0x100,
    "IUCLC": 0x200,
    "IXON": 0x400,
    "IXANY": 0x800,
    "IXOFF": 0x1000,
    "IMAXBEL": 0x2000,
    "IUTF8": 0x4000,
}
OFLAGS = {
    "OPOST": 0x1,
    "OLCUC": 0x2,
    "ONLCR": 0x4,
    "OCRNL": 0x8,
    "ONOCR": 0x10,
    "ONLRET": 0x20,
    "OFILL": 0x40,
    "OFDEL": 0x80,
}
CFLAGS = {
    "CSTOPB": 0x40,
    "CREAD": 0x80,
    "PARENB": 0x100,
    "PARODD": 0x200,
    "HUPCL": 0x400,
    "CLOCAL": 0x800,
    "CRTSCTS": 0x80000000,
}
CSIZE = 0x30
CSIZES = {"CS5": 0, "CS6": 0x10, "CS7": 0x20, "CS8": 0x30}
CBAUD = 0xF
LFLAGS = {
    "ISIG": 0x1,
    "ICANON": 0x2,
    "XCASE": 0x4,
    "ECHO": 0x8,
    "ECHOE": 0x10,
    "ECHOK": 0x20,
    "ECHONL": 0x40,
    "NOFLSH": 0x80,
    "TOSTOP": 0x100,
    "ECHOCTL": 0x200,
    "ECHOPRT": 0x400,
    "ECHOKE": 0x800,
    "PENDIN": 0x4000,
    "IEXTEN": 0x8000,
}
#: Speeds that CBAUD can say, by their code; those above take an extra bit and are not kept.
SPEEDS = (0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400)

#: Names of the control characters in the order of `Termios.cc`. Unlike in struct termios, MIN and
#: TIME have places of their own beside EOF and EOL.
CC_NAMES = (
    "VINTR",
    "VQUIT",
    "VERASE",
    "VKILL",
    "VEOF",
    "VTIME",
    "VMIN",
    "VSWTC",
    "VSTART",
    "VSTOP",
    "VSUSP",
    "VEOL",
    "VREPRINT",
    "VDISCARD",
    "VWERASE",
    "VLNEXT",
    "VEOL2",
)
NCCS = 19


class Termios(NamedTuple):
    """Modes and control characters of a terminal, what TCGETS gives and TCSETS takes."""

    iflag: int
    oflag: int
    cflag: int
    lflag: int
    line: int
    cc: bytes


class Winsize(NamedTuple):
    """Size of a window, in characters and in pixels."""

    row: int
    col: int
    xpixel: int = 0
    ypixel: int = 0
