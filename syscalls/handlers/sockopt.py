"""Options of sockets: getsockopt(2), setsockopt(2). The options are in abi/sockopt.py."""

from __future__ import annotations

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.net.socketvar import (
    IPPROTO_IP,
    SO_ATTACH_BPF,
    SO_PEERGROUPS,
    SO_PEERNAME,
    SO_PEERPIDFD,
    SO_RESERVE_MEM,
    SO_TXREHASH,
    SO_TXTIME,
    SOL_SOCKET,
)
from syscalls.abi import Fd, InOut, Int, Ptr, SockLevel, syscall
from syscalls.abi.sockopt import find_option
from syscalls.abi.xlat_net import LEVEL
from syscalls.handlers.socket_ import sock_file

#: What a protocol is asked for when Linux's number is in no table: it knows whether it has options.
UNKNOWN = -1
#: Options that Linux has and this kernel has not: ENOPROTOOPT, counted.
_NOT_DONE = frozenset({SO_ATTACH_BPF, SO_TXTIME, SO_RESERVE_MEM, SO_TXREHASH})


@syscall
def setsockopt(lwp: Lwp, fd: Fd, level: SockLevel, optname: Int, optval: Ptr, optlen: Int) -> int:
    """Set an option.

    Deviation: no eBPF filters, and none of the options that pace or reserve for a device.
    """
    if optlen < 0:
        raise KernelError(Errno.EINVAL)
    _, so = sock_file(lwp, fd)
    option = find_option(LEVEL.to_lx[level], optname)
    if option is None:
        if level == SOL_SOCKET and optlen < 4:
            raise KernelError(Errno.EINVAL)
        so.setsockopt(level, UNKNOWN, 0, lwp.proc.cred)
        return 0
    value = option.take(lwp, optval, optlen)
    if level == SOL_SOCKET and option.name in _NOT_DONE:
        lwp.machine.unsupported(lwp, f"setsockopt({option.label})", "Not done yet")
    so.setsockopt(level, option.name, value, lwp.proc.cred)
    return 0


@syscall
def getsockopt(
    lwp: Lwp, fd: Fd, level: SockLevel, optname: Int, optval: Ptr, optlen: InOut[Int]
) -> int:
    """Get an option; what does not fit is cut, but for lists of ids and addresses."""
    _, so = sock_file(lwp, fd)
    option = find_option(LEVEL.to_lx[level], optname)
    if option is None:
        so.getsockopt(level, UNKNOWN, optlen.get())
        raise KernelError(Errno.ENOPROTOOPT)
    room = optlen.get()
    if room < 0:
        raise KernelError(Errno.EINVAL)
    value = so.getsockopt(level, option.name, room)
    if option.name == SO_PEERPIDFD:
        from syscalls.handlers.pidfd import open_desc

        value = open_desc(lwp, value, None)
    data = option.give(lwp.brand.bits, value)
    if level == IPPROTO_IP and 0 < room < 4 and len(data) == 4 and 0 <= value <= 255:
        # An option of IP that fits one byte is given as one where there is no room for an int.
        data = data[:1]
    if option.name == SO_PEERGROUPS and len(data) > room:
        optlen.put(len(data))
        raise KernelError(Errno.ERANGE)
    if option.name == SO_PEERNAME and len(data) < room:
        raise KernelError(Errno.EINVAL)
    if data and room:
        lwp.as_.copyout(optval, data[:room])
    optlen.put(min(room, len(data)))
    return 0
