"""The system as a whole.

Uname(2), sethostname(2), sysinfo(2), syslog(2), getrandom(2), reboot(2).
"""

# ruff: noqa: ARG001 -- a handler has the C arguments, used or not

from __future__ import annotations

from lxemu.kernel.cred import PRIV_SYS_ACCT, PRIV_SYS_ADMIN
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.userns import ruled
from syscalls.abi import (
    GetrandomFlags,
    InBuf,
    Int,
    Out,
    OutBuf,
    PathOrNull,
    Ptr,
    RebootCmd,
    Size,
    Sysinfo,
    UInt,
    Utsname,
    syscall,
)
from syscalls.fs import proctext
from syscalls.handlers.misc import unsupported
from syscalls.handlers.signal_ import wait_for_signal

LX_NEW_UTS_LEN = 64
LX_PER_MASK, LX_PER_LINUX32 = 0xFF, 0x08
LX_GRND_RANDOM, LX_GRND_INSECURE = 2, 4
#: Bytes of entropy made at a time.
_CHUNK = 1 << 16
_INT_MAX = 0x7FFFFFFF


@syscall
def uname(lwp: Lwp, buf: Out[Utsname]) -> int:
    """Name the system (uname(2)): EFAULT.

    An i386 program is told of the 64-bit machine too, unless personality(2) says otherwise.
    """
    zone, names = lwp.proc.zone, lwp.proc.uts
    linux32 = lwp.proc.personality & LX_PER_MASK == LX_PER_LINUX32
    buf.put(
        Utsname(
            b"Linux",
            names.nodename,
            zone.kernel_version.encode(),
            proctext.LX_VERSION.encode(),
            b"i686" if linux32 else b"x86_64",
            names.domainname,
        )
    )
    return 0


def _new_name(lwp: Lwp, name: int, length: int) -> bytes:
    if not ruled(lwp.proc.cred, lwp.proc.uts.owner, PRIV_SYS_ADMIN):
        raise KernelError(Errno.EPERM)
    if not 0 <= length <= LX_NEW_UTS_LEN:
        raise KernelError(Errno.EINVAL)
    return lwp.as_.copyin(name, length) if length else b""


@syscall
def sethostname(lwp: Lwp, name: InBuf, length: Int) -> int:
    """Set the host name (sethostname(2)): EPERM, EINVAL, EFAULT."""
    lwp.proc.uts.nodename = _new_name(lwp, name, length)
    return 0


@syscall
def setdomainname(lwp: Lwp, name: InBuf, length: Int) -> int:
    """Set the NIS domain name (setdomainname(2)): EPERM, EINVAL, EFAULT."""
    lwp.proc.uts.domainname = _new_name(lwp, name, length)
    return 0


@syscall
def sysinfo(lwp: Lwp, info: Out[Sysinfo]) -> int:
    """Tell uptime, load and memory (sysinfo(2)): EFAULT.

    Sizes are in bytes, in pages for an i386 program on a machine with 4 GB or more.
    """
    machine = lwp.machine
    total, free = proctext.mem_total(machine), proctext.mem_free(machine)
    unit = 4096 if lwp.brand.bits == 32 and total >= 1 << 32 else 1
    one, five, fifteen = (int(load * 65536) for load in proctext.loads(machine))
    up = (proctext.uptime_ns(machine) + 999_999_999) // 1_000_000_000
    info.put(
        Sysinfo(
            uptime=up,
            loads=(one, five, fifteen),
            totalram=total // unit,
            freeram=free // unit,
            sharedram=0,
            bufferram=0,
            totalswap=0,
            freeswap=0,
            procs=len(machine.lwp_by_tid),
            totalhigh=0,
            freehigh=0,
            unit=unit,
        )
    )
    return 0


# -- the kernel's log, which is empty -----------------------------------------------------------

LX_SYSLOG_READ, LX_SYSLOG_READ_ALL, LX_SYSLOG_SIZE_BUFFER, LX_SYSLOG_CONSOLE_LEVEL = 2, 3, 10, 8
_LOG_SIZE = 1 << 17


@syscall
def syslog(lwp: Lwp, action: Int, buf: OutBuf, length: Int) -> int:
    """Read and control the kernel's log (syslog(2)): EPERM, EINVAL. Nothing is ever in it."""
    if not lwp.proc.cred.crhas(PRIV_SYS_ADMIN) and action not in (
        LX_SYSLOG_READ_ALL,
        LX_SYSLOG_SIZE_BUFFER,
    ):
        raise KernelError(Errno.EPERM)
    if not 0 <= action <= LX_SYSLOG_SIZE_BUFFER:
        raise KernelError(Errno.EINVAL)
    if action in (LX_SYSLOG_READ, LX_SYSLOG_READ_ALL, 4):
        if not buf or length < 0:
            raise KernelError(Errno.EINVAL)
        if length and action == LX_SYSLOG_READ:
            return wait_for_signal()
    if action == LX_SYSLOG_CONSOLE_LEVEL and not 1 <= length <= 8:
        raise KernelError(Errno.EINVAL)
    return _LOG_SIZE if action == LX_SYSLOG_SIZE_BUFFER else 0


@syscall
def getrandom(lwp: Lwp, buf: OutBuf, length: Size, flags: GetrandomFlags) -> int:
    """Return random bytes (getrandom(2)): EINVAL, EFAULT if none could be stored."""
    if flags & LX_GRND_RANDOM and flags & LX_GRND_INSECURE:
        raise KernelError(Errno.EINVAL)
    length = min(length, _INT_MAX)
    done = 0
    while done < length:
        want = min(_CHUNK, length - done)
        room = lwp.as_.writable_prefix(buf + done, want)
        if not room:
            break
        lwp.as_.copyout(buf + done, lwp.machine.entropy(room))
        done += room
        if room < want:
            break
    if length and not done:
        raise KernelError(Errno.EFAULT)
    return done


@syscall
def reboot(lwp: Lwp, magic: UInt, magic2: UInt, cmd: RebootCmd, arg: Ptr) -> int:
    """Restart the system (reboot(2)): EPERM. No process of a zone has the privilege to."""
    raise KernelError(Errno.EPERM)


@syscall
def acct(lwp: Lwp, filename: PathOrNull) -> int:
    """Switch process accounting (acct(2)): EPERM; with privilege ENOSYS, as it is not there."""
    if not lwp.proc.cred.crhas(PRIV_SYS_ACCT):
        raise KernelError(Errno.EPERM)
    raise unsupported(lwp, "acct", "process accounting")


@syscall
def vhangup(lwp: Lwp) -> int:
    """Hang up the controlling terminal (vhangup(2)): EPERM; without a terminal nothing to do."""
    proc = lwp.proc
    if not proc.cred.crhas(PRIV_SYS_ADMIN):
        raise KernelError(Errno.EPERM)
    if proc.ctty is not None:
        proc.ctty.hangup()
    return 0
