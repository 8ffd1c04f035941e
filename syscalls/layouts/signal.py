"""Layouts of syscalls/records/signal.py: sigaction in three forms, the siginfo union, stacks."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from lxemu.kernel import signal as k
from syscalls.abi.layout import I32, LONG, PTR, U16, U32, U64, ULONG, Codec, Const, Layout, Member
from syscalls.abi.model import LP64
from syscalls.abi.scalars import SIGNO, SIGSET, SIGSET_OLD
from syscalls.abi.xlat_signal import SA_FLAGS, SI_CODES
from syscalls.records import signal as r
from syscalls.signum import FROM_LX, TO_LX

if TYPE_CHECKING:
    from collections.abc import Callable

    from syscalls.abi.model import Model

_SA_NAMES: Final = {"sa_in": SA_FLAGS.from_lx, "sa_out": SA_FLAGS.to_lx}
_SAFLAGS: Final = Member(
    "Q", "I", enc="sa_out[{v}]", dec="sa_in[{0} & 0xffffffff]", names=_SA_NAMES
)
#: struct kernel_sigaction of rt_sigaction(2). On i386 the mask is 8 bytes aligned to 4.
SIGACTION: Final = Layout(r.SigAction, handler=PTR, flags=_SAFLAGS, restorer=PTR, mask=SIGSET)
#: struct old_sigaction of i386 sigaction(2): a one-word mask, before the flags.
SIGACTION_OLD: Final = Layout(
    r.OldSigAction, handler=PTR, mask=SIGSET_OLD, flags=_SAFLAGS, restorer=PTR
)
STACK_T: Final = Layout(r.StackT, sp=PTR, flags=U32, size=ULONG)
SIGNALFD_SIGINFO: Final = Layout(
    r.SignalfdSiginfo,
    signo=U32,
    errno=I32,
    code=I32,
    pid=U32,
    uid=U32,
    fd=I32,
    tid=U32,
    band=U32,
    overrun=U32,
    trapno=U32,
    status=I32,
    int_=I32,
    ptr=U64,
    utime=U64,
    stime=U64,
    addr=U64,
    addr_lsb=U16,
    _pad2=Const("H"),
    syscall=I32,
    call_addr=U64,
    arch=U32,
    _pad=Member("28s"),
)

SIGINFO_SIZE: Final = 128
_WORD: Final = (1 << 64) - 1
_TICK: Final = 10_000_000
_FAULTS: Final = frozenset({k.SIGSEGV, k.SIGBUS, k.SIGILL, k.SIGFPE, k.SIGTRAP})
_CHILD_EXITED: Final = 1
_LX_SI_TIMER: Final = -2


class SigInfoLayout:
    """siginfo_t: 128 bytes, a union chosen by signal and code (kernel/signal.c siginfo_layout).

    A siginfo that a process made itself (rt_sigqueueinfo) is kept verbatim in `SigInfo.raw`.
    """

    record = k.SigInfo
    name = "SigInfo"

    def __init__(self) -> None:
        self._codecs: dict[int, Codec] = {}

    def codec(self, model: Model) -> Codec:
        """Return the codec for *model*."""
        found = self._codecs.get(model.bits)
        if found is None:
            wide = model.bits == 64
            found = Codec(struct.Struct("<128s"), 8 if wide else 4, _packer(wide), _unpacker(wide))
            self._codecs[model.bits] = found
        return found


def _packer(wide: bool) -> Callable[[k.SigInfo], bytes]:
    head = struct.Struct("<iii4x" if wide else "<iii").pack
    # timer, queue: two ints and a sigval; child; fault; poll
    rt = struct.Struct("<iIQ" if wide else "<iII").pack
    timer = struct.Struct("<iiQ" if wide else "<iiI").pack
    child = struct.Struct("<iIi4xqq" if wide else "<iIiii").pack
    fault = struct.Struct("<Q" if wide else "<I").pack
    poll = struct.Struct("<qi" if wide else "<ii").pack
    word = (1 << 64) - 1 if wide else (1 << 32) - 1

    def union(info: k.SigInfo) -> bytes:
        signo, code = info.signo, info.code
        if code == k.SI_TIMER:
            return timer(info.timerid, info.overrun, info.value & word)
        if code in (k.SI_USER, k.SI_LWP, k.SI_KERNEL):
            if code == k.SI_KERNEL and info.addr:
                return fault(info.addr & word)
            return rt(info.pid, info.uid & 0xFFFFFFFF, 0)
        if code == k.SI_POLL:
            return poll(info.band, info.fd)
        if code < 0:
            return rt(info.pid, info.uid & 0xFFFFFFFF, info.value & word)
        if signo == k.SIGCHLD:
            status = info.status if code == _CHILD_EXITED else TO_LX[info.status]
            return child(
                info.pid, info.uid & 0xFFFFFFFF, status, info.utime // _TICK, info.stime // _TICK
            )
        if signo in _FAULTS:
            return fault(info.addr & word)
        if signo == k.SIGSYS:
            return struct.pack("<QiI" if wide else "<IiI", info.addr & word, info.value, info.err)
        if signo == k.SIGPOLL or k.POLL_IN <= code <= k.POLL_HUP:
            return poll(info.band, info.fd)
        return rt(info.pid, info.uid & 0xFFFFFFFF, info.value & word)

    def pack(info: k.SigInfo) -> bytes:
        if info.raw is not None:
            return info.raw
        data = head(TO_LX[info.signo], info.errno, SI_CODES.to_lx[info.code]) + union(info)
        return data.ljust(SIGINFO_SIZE, b"\0")

    return pack


def _unpacker(wide: bool) -> Callable[[bytes], k.SigInfo]:
    head = struct.Struct("<iii4xiIQ" if wide else "<iiiiII").unpack_from
    child = struct.Struct("<24xi4xqq" if wide else "<20xiii").unpack_from
    fault = struct.Struct("<16xQ" if wide else "<12xI").unpack_from
    poll = struct.Struct("<16xqi" if wide else "<12xii").unpack_from

    def unpack(data: bytes) -> k.SigInfo:
        lx, errno, code, pid, uid, value = head(data)
        signo = FROM_LX[lx] if 0 <= lx <= 64 else -1
        info = k.SigInfo(signo, SI_CODES.from_lx[code], errno, pid, uid, value, raw=bytes(data))
        if code <= 0 or code == k.SI_KERNEL:
            return info._replace(timerid=pid, overrun=uid) if code == _LX_SI_TIMER else info
        if signo == k.SIGCHLD:
            status, utime, stime = child(data)
            if code != _CHILD_EXITED and 0 <= status <= 64:
                status = FROM_LX[status]
            return info._replace(value=0, status=status, utime=utime * _TICK, stime=stime * _TICK)
        if signo in _FAULTS:
            return info._replace(pid=0, uid=0, value=0, addr=fault(data)[0])
        if signo == k.SIGPOLL:
            band, fd = poll(data)
            return info._replace(pid=0, uid=0, value=0, band=band, fd=fd)
        return info

    return unpack


SIGINFO: Final = SigInfoLayout()

SIGNALFD_SIZE: Final = 128
_SIGNALFD_PACK: Final = SIGNALFD_SIGINFO.codec(LP64).pack


def pack_signalfd(info: k.SigInfo) -> bytes:
    """Return the 128 bytes that a read of a signalfd gives of a signal (signalfd_copyinfo)."""
    signo, code = info.signo, info.code
    record = r.SignalfdSiginfo(TO_LX[signo], info.errno, SI_CODES.to_lx[code])
    value, int_ = info.value & _WORD, (info.value + 0x80000000 & 0xFFFFFFFF) - 0x80000000
    pid, uid = info.pid & 0xFFFFFFFF, info.uid & 0xFFFFFFFF
    if code == k.SI_TIMER:
        record = record._replace(tid=info.timerid, overrun=info.overrun, ptr=value, int_=int_)
    elif code in (k.SI_USER, k.SI_LWP, k.SI_KERNEL):
        record = record._replace(pid=pid, uid=uid)
    elif code < 0 and code != k.SI_POLL:
        record = record._replace(pid=pid, uid=uid, ptr=value, int_=int_)
    elif signo == k.SIGCHLD:
        status = info.status if code == _CHILD_EXITED else TO_LX[info.status]
        used = info.utime // _TICK, info.stime // _TICK
        record = record._replace(pid=pid, uid=uid, status=status, utime=used[0], stime=used[1])
    elif signo in _FAULTS:
        record = record._replace(addr=info.addr & _WORD)
    elif signo == k.SIGPOLL or code == k.SI_POLL:
        record = record._replace(band=info.band & 0xFFFFFFFF, fd=info.fd)
    elif signo == k.SIGSYS:
        record = record._replace(call_addr=info.addr, syscall=info.value, arch=info.err)
    else:
        record = record._replace(pid=pid, uid=uid, ptr=value, int_=int_)
    return _SIGNALFD_PACK(record)


DEFAULTS: Final[dict[Any, Any]] = {
    r.SigAction: SIGACTION,
    r.OldSigAction: SIGACTION_OLD,
    r.SigInfo: SIGINFO,
    r.StackT: STACK_T,
    r.SignalfdSiginfo: SIGNALFD_SIGINFO,
}

__all__ = ["DEFAULTS", "LONG", "SIGACTION", "SIGACTION_OLD", "SIGINFO", "SIGNO", "STACK_T"]
