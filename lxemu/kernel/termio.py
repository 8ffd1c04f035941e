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
TIOCPKT = 0x7470
TIOCSCTTY = 0x7484
TIOCSIGNAL = 0x741F
# Ours, where illumos has none: exclusive use, modes that cannot be changed, hanging up.
TIOCGEXCL = 0x74F0
TIOCGLCK = 0x74F1
TIOCSLCK = 0x74F2
TIOCVHANGUP = 0x74F3
TIOCGDEV = 0x74F4
# Pseudo terminals: ours, in the numbers of ptm(4D) ('P' << 8).
PTM_NUMBER = 0x5010
PTM_LOCK = 0x5011
PTM_GETLOCK = 0x5012
PTM_GETPKT = 0x5013
PTM_PEER = 0x5014

# What a controlling side in packet mode reads before the data (illumos sys/termios.h).
TIOCPKT_DATA = 0x00
TIOCPKT_FLUSHREAD = 0x01
TIOCPKT_FLUSHWRITE = 0x02
TIOCPKT_STOP = 0x04
TIOCPKT_START = 0x08
TIOCPKT_NOSTOP = 0x10
TIOCPKT_DOSTOP = 0x20
TIOCPKT_IOCTL = 0x40

# Arguments of TCFLSH and TCXONC.
TCIFLUSH, TCOFLUSH, TCIOFLUSH = range(3)
TCOOFF, TCOON, TCIOFF, TCION = range(4)

# Input modes.
IGNBRK = 0x1
BRKINT = 0x2
IGNPAR = 0x4
PARMRK = 0x8
INPCK = 0x10
ISTRIP = 0x20
INLCR = 0x40
IGNCR = 0x80
ICRNL = 0x100
IUCLC = 0x200
IXON = 0x400
IXANY = 0x800
IXOFF = 0x1000
IMAXBEL = 0x2000
IUTF8 = 0x4000
# Output modes.
OPOST = 0x1
OLCUC = 0x2
ONLCR = 0x4
OCRNL = 0x8
ONOCR = 0x10
ONLRET = 0x20
TABDLY = 0x1800
XTABS = 0x1800
# Control modes. The last three are ours: speeds are numbers in `Termios`, not codes.
CSIZE = 0x30
CS8 = 0x30
CREAD = 0x80
PARENB = 0x100
CLOCAL = 0x800
#: The output speed was given as a number.
CBAUDANY = 1 << 32
#: The input speed was given apart from the output speed; and that as a number.
CIBAUD = 1 << 33
CIBAUDANY = 1 << 34
# Local modes. EXTPROC is ours.
ISIG = 0x1
ICANON = 0x2
ECHO = 0x8
ECHOE = 0x10
ECHOK = 0x20
ECHONL = 0x40
NOFLSH = 0x80
TOSTOP = 0x100
ECHOCTL = 0x200
ECHOPRT = 0x400
ECHOKE = 0x800
FLUSHO = 0x2000
PENDIN = 0x4000
IEXTEN = 0x8000
EXTPROC = 0x10000

#: Flags by the name that every host has for them.
IFLAGS = {
    "IGNBRK": IGNBRK,
    "BRKINT": BRKINT,
    "IGNPAR": IGNPAR,
    "PARMRK": PARMRK,
    "INPCK": INPCK,
    "ISTRIP": ISTRIP,
    "INLCR": INLCR,
    "IGNCR": IGNCR,
    "ICRNL": ICRNL,
    "IUCLC": IUCLC,
    "IXON": IXON,
    "IXANY": IXANY,
    "IXOFF": IXOFF,
    "IMAXBEL": IMAXBEL,
    "IUTF8": IUTF8,
}
OFLAGS = {
    "OPOST": OPOST,
    "OLCUC": OLCUC,
    "ONLCR": ONLCR,
    "OCRNL": OCRNL,
    "ONOCR": ONOCR,
    "ONLRET": ONLRET,
    "OFILL": 0x40,
    "OFDEL": 0x80,
}
CFLAGS = {
    "CSTOPB": 0x40,
    "CREAD": CREAD,
    "PARENB": PARENB,
    "PARODD": 0x200,
    "HUPCL": 0x400,
    "CLOCAL": CLOCAL,
    "CRTSCTS": 0x80000000,
}
CSIZES = {"CS5": 0, "CS6": 0x10, "CS7": 0x20, "CS8": CS8}
LFLAGS = {
    "ISIG": ISIG,
    "ICANON": ICANON,
    "XCASE": 0x4,
    "ECHO": ECHO,
    "ECHOE": ECHOE,
    "ECHOK": ECHOK,
    "ECHONL": ECHONL,
    "NOFLSH": NOFLSH,
    "TOSTOP": TOSTOP,
    "ECHOCTL": ECHOCTL,
    "ECHOPRT": ECHOPRT,
    "ECHOKE": ECHOKE,
    "PENDIN": PENDIN,
    "IEXTEN": IEXTEN,
}

# Places of the control characters in `Termios.cc`: illumos' indices, but MIN and TIME have places
# of their own beside EOF and EOL, and the last two mean nothing.
VINTR = 0
VQUIT = 1
VERASE = 2
VKILL = 3
VEOF = 4
VEOL = 5
VEOL2 = 6
VSWTCH = 7
VSTART = 8
VSTOP = 9
VSUSP = 10
VREPRINT = 12
VDISCARD = 13
VWERASE = 14
VLNEXT = 15
VMIN = 18
VTIME = 19
NCCS = 22
#: The same by name, as a host may know them.
CC = {
    "VINTR": VINTR,
    "VQUIT": VQUIT,
    "VERASE": VERASE,
    "VKILL": VKILL,
    "VEOF": VEOF,
    "VEOL": VEOL,
    "VEOL2": VEOL2,
    "VSWTC": VSWTCH,
    "VSTART": VSTART,
    "VSTOP": VSTOP,
    "VSUSP": VSUSP,
    "VREPRINT": VREPRINT,
    "VDISCARD": VDISCARD,
    "VWERASE": VWERASE,
    "VLNEXT": VLNEXT,
    "VMIN": VMIN,
    "VTIME": VTIME,
}
#: A control character with this value is switched off.
DISABLED = 0

B38400 = 38400


class Termios(NamedTuple):
    """Modes, control characters and speeds (bits per second) of a terminal: TCGETS and TCSETS."""

    iflag: int
    oflag: int
    cflag: int
    lflag: int
    line: int
    cc: bytes
    ispeed: int = B38400
    ospeed: int = B38400


def _default_cc() -> bytes:
    cc = bytearray(NCCS)
    cc[VINTR], cc[VQUIT], cc[VERASE], cc[VKILL], cc[VEOF] = 3, 0x1C, 0x7F, 0x15, 4
    cc[VSTART], cc[VSTOP], cc[VSUSP] = 0x11, 0x13, 0x1A
    cc[VREPRINT], cc[VDISCARD], cc[VWERASE], cc[VLNEXT] = 0x12, 0xF, 0x17, 0x16
    cc[VMIN] = 1
    return bytes(cc)


#: Modes of a terminal that nobody has set yet.
DEFAULT = Termios(
    ICRNL | IXON,
    OPOST | ONLCR,
    CS8 | CREAD,
    ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
    0,
    _default_cc(),
)
#: Modes of the controlling side of a pseudo terminal, where nothing is done to the data.
RAW = DEFAULT._replace(iflag=0, oflag=0, lflag=0)


class Winsize(NamedTuple):
    """Size of a window, in characters and in pixels."""

    row: int
    col: int
    xpixel: int = 0
    ypixel: int = 0
