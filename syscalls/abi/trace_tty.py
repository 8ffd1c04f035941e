"""Text of the device requests of terminals, as strace 6 writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from lxemu.kernel.errno import KernelError
from syscalls import records as rec

from . import trace_records as records
from . import trace_text as text
from .registry import default_codec
from .xlat_termio import LX_BOTHER, LX_CBAUD, LX_IBSHIFT, RATES

if TYPE_CHECKING:
    from .trace import Call

Names = tuple[tuple[int, str], ...]


class Form(NamedTuple):
    """A request: its name, what its argument is, and whether it is known only at the end."""

    name: str
    kind: str
    out: bool = False


_QUEUES: Final = ("TCIFLUSH", "TCOFLUSH", "TCIOFLUSH")
_FLOWS: Final = ("TCOOFF", "TCOON", "TCIOFF", "TCION")

REQUESTS: Final[dict[int, Form]] = {
    0x5401: Form("TCGETS", "termios", True),
    0x5402: Form("TCSETS", "termios"),
    0x5403: Form("TCSETSW", "termios"),
    0x5404: Form("TCSETSF", "termios"),
    0x5405: Form("TCGETA", "termio", True),
    0x5406: Form("TCSETA", "termio"),
    0x5407: Form("TCSETAW", "termio"),
    0x5408: Form("TCSETAF", "termio"),
    0x5409: Form("TCSBRK", "decimal"),
    0x540A: Form("TCXONC", "flow"),
    0x540B: Form("TCFLSH", "queue"),
    0x540C: Form("TIOCEXCL", "nothing"),
    0x540D: Form("TIOCNXCL", "nothing"),
    0x540E: Form("TIOCSCTTY", "decimal"),
    0x540F: Form("TIOCGPGRP", "int", True),
    0x5410: Form("TIOCSPGRP", "int"),
    0x5411: Form("TIOCOUTQ", "int", True),
    0x5412: Form("TIOCSTI", "pointer"),
    0x5413: Form("TIOCGWINSZ", "winsize", True),
    0x5414: Form("TIOCSWINSZ", "winsize"),
    0x5415: Form("TIOCMGET", "int", True),
    0x5419: Form("TIOCGSOFTCAR", "int", True),
    0x541A: Form("TIOCSSOFTCAR", "int"),
    0x541B: Form("FIONREAD", "int", True),
    0x5420: Form("TIOCPKT", "int"),
    0x5421: Form("FIONBIO", "int"),
    0x5422: Form("TIOCNOTTY", "nothing"),
    0x5423: Form("TIOCSETD", "int"),
    0x5424: Form("TIOCGETD", "int", True),
    0x5425: Form("TCSBRKP", "decimal"),
    0x5427: Form("TIOCSBRK", "nothing"),
    0x5428: Form("TIOCCBRK", "nothing"),
    0x5429: Form("TIOCGSID", "int", True),
    0x802C542A: Form("TCGETS2", "termios2", True),
    0x402C542B: Form("TCSETS2", "termios2"),
    0x402C542C: Form("TCSETSW2", "termios2"),
    0x402C542D: Form("TCSETSF2", "termios2"),
    0x80045430: Form("TIOCGPTN", "int", True),
    0x40045431: Form("TIOCSPTLCK", "int"),
    0x80045432: Form("TIOCGDEV", "int", True),
    0x40045436: Form("TIOCSIG", "pointer"),
    0x5437: Form("TIOCVHANGUP", "nothing"),
    0x80045438: Form("TIOCGPKT", "pointer"),
    0x80045439: Form("TIOCGPTLCK", "pointer"),
    0x80045440: Form("TIOCGEXCL", "int", True),
    0x5441: Form("TIOCGPTPEER", "pointer"),
    0x5450: Form("FIONCLEX", "nothing"),
    0x5451: Form("FIOCLEX", "nothing"),
    0x5452: Form("FIOASYNC", "int"),
    0x5456: Form("TIOCGLCKTRMIOS", "termios", True),
    0x5457: Form("TIOCSLCKTRMIOS", "termios"),
}

_IFLAG: Final[Names] = (
    (0x1, "IGNBRK"),
    (0x2, "BRKINT"),
    (0x4, "IGNPAR"),
    (0x8, "PARMRK"),
    (0x10, "INPCK"),
    (0x20, "ISTRIP"),
    (0x40, "INLCR"),
    (0x80, "IGNCR"),
    (0x100, "ICRNL"),
    (0x200, "IUCLC"),
    (0x400, "IXON"),
    (0x800, "IXANY"),
    (0x1000, "IXOFF"),
    (0x2000, "IMAXBEL"),
    (0x4000, "IUTF8"),
)
#: Fields of the output word: mask, shift, name of the values.
_DELAYS: Final = (
    (0x100, 8, ("NL0", "NL1")),
    (0x600, 9, ("CR0", "CR1", "CR2", "CR3")),
    (0x1800, 11, ("TAB0", "TAB1", "TAB2", "XTABS")),
    (0x2000, 13, ("BS0", "BS1")),
    (0x4000, 14, ("VT0", "VT1")),
    (0x8000, 15, ("FF0", "FF1")),
)
_OFLAG: Final[Names] = (
    (0x1, "OPOST"),
    (0x2, "OLCUC"),
    (0x4, "ONLCR"),
    (0x8, "OCRNL"),
    (0x10, "ONOCR"),
    (0x20, "ONLRET"),
    (0x40, "OFILL"),
    (0x80, "OFDEL"),
)
_CFLAG: Final[Names] = (
    (0x40, "CSTOPB"),
    (0x80, "CREAD"),
    (0x100, "PARENB"),
    (0x200, "PARODD"),
    (0x400, "HUPCL"),
    (0x800, "CLOCAL"),
    (0x40000000, "CMSPAR"),
    (0x80000000, "CRTSCTS"),
)
_LFLAG: Final[Names] = (
    (0x1, "ISIG"),
    (0x2, "ICANON"),
    (0x4, "XCASE"),
    (0x8, "ECHO"),
    (0x10, "ECHOE"),
    (0x20, "ECHOK"),
    (0x40, "ECHONL"),
    (0x80, "NOFLSH"),
    (0x8000, "IEXTEN"),
    (0x200, "ECHOCTL"),
    (0x400, "ECHOPRT"),
    (0x800, "ECHOKE"),
    (0x1000, "FLUSHO"),
    (0x4000, "PENDIN"),
    (0x100, "TOSTOP"),
    (0x10000, "EXTPROC"),
)
_KINDS: Final = {"termios": rec.Termios, "termios2": rec.Termios2, "termio": rec.Termio}


def argument(call: Call, form: Form, addr: int) -> str:
    """Write the argument of a request; what it points to only if the call has not failed."""
    if form.kind == "nothing":
        return ""
    if form.kind == "decimal":
        return str(addr)
    if form.kind in ("flow", "queue"):
        names = _FLOWS if form.kind == "flow" else _QUEUES
        return names[addr] if addr < len(names) else hex(addr)
    if form.kind == "pointer" or (form.out and call.errno):
        return text.pointer(addr) if form.out else hex(addr)
    try:
        return _pointed(call, form.kind, addr)
    except KernelError:
        return text.pointer(addr)


def _pointed(call: Call, kind: str, addr: int) -> str:
    if kind == "int":
        return f"[{(call.as_.load_u32(addr) ^ 0x80000000) - 0x80000000}]"
    if kind == "winsize":
        codec = default_codec(rec.Winsize, call.model)
        return records.winsize(codec.unpack(call.as_.copyin(addr, codec.size)))
    codec = default_codec(_KINDS[kind], call.model)
    modes: rec.Termios = codec.unpack(call.as_.copyin(addr, codec.size))
    words = (
        f"c_iflag={_flags(modes.iflag, _IFLAG)}",
        f"c_oflag={_output(modes.oflag)}",
        f"c_cflag={_control(modes.cflag)}",
        f"c_lflag={_flags(modes.lflag, _LFLAG)}",
    )
    return "{" + ", ".join(words) + ", ...}"


def _flags(word: int, names: Names) -> str:
    found = [name for bit, name in names if word & bit]
    rest = word & ~sum(bit for bit, _ in names)
    return "|".join(found + ([hex(rest)] if rest else []))


def _output(word: int) -> str:
    delays = "|".join(names[(word & mask) >> shift] for mask, shift, names in _DELAYS)
    return delays + "|" + _flags(word & ~sum(mask for mask, _, _ in _DELAYS), _OFLAG)


def _control(word: int) -> str:
    parts = [_speed(word & LX_CBAUD)]
    apart = word >> LX_IBSHIFT & LX_CBAUD
    if apart:
        parts.append(_speed(apart) + "<<IBSHIFT")
    parts.append(f"CS{5 + (word >> 4 & 3)}")
    rest = word & ~(LX_CBAUD | LX_CBAUD << LX_IBSHIFT | 0x30)
    return "|".join(parts) + "|" + _flags(rest, _CFLAG)


def _speed(code: int) -> str:
    return "BOTHER" if code == LX_BOTHER else f"B{RATES[code]}"
