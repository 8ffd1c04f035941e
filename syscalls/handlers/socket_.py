"""Sockets: making, naming and connecting them: socket(2), bind(2), listen(2), accept(2)."""

from __future__ import annotations

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.net.netstack import stack_of
from lxemu.kernel.net.socket import Sonode
from lxemu.kernel.net.socketvar import AF_NETLINK, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_TYPE_MASK
from lxemu.kernel.net.sockfs import FAMILIES, socreate, sofile
from lxemu.kernel.vfs.fcntl import O_NONBLOCK, O_PATH
from lxemu.kernel.vfs.file import File
from syscalls.abi import (
    AcceptFlags,
    Fd,
    Int,
    Out,
    Ptr,
    ShutHow,
    SockFamily,
    SockType,
    syscall,
)
from syscalls.abi.sockaddr import copyin_sockaddr, copyout_sockaddr, encode
from syscalls.abi.xlat_net import FAMILY, NETLINK_PROTO

#: NETLINK_* go from 0 to one below this.
MAX_LINKS = 32
# The kernel has no such family: it is the brand's, as in lx.
FAMILIES[AF_NETLINK] = "syscalls.netlink.socket"


def sock_file(lwp: Lwp, fd: int) -> tuple[File, Sonode]:
    """Return the open file and the socket of a descriptor. EBADF, ENOTSOCK (sockfd_lookup)."""
    file = lwp.proc.files.get(fd)
    vnode = file.vnode
    if isinstance(vnode, Sonode):
        return file, vnode
    raise KernelError(Errno.EBADF if file.flags & O_PATH else Errno.ENOTSOCK)


def _status(flags: int) -> int:
    return O_NONBLOCK if flags & SOCK_NONBLOCK else 0


@syscall
def socket(lwp: Lwp, domain: SockFamily, type: SockType, protocol: Int) -> int:
    """Make a socket."""
    cred = lwp.proc.cred
    try:
        so = socreate(stack_of(lwp.proc), domain, type & SOCK_TYPE_MASK, protocol, cred)
    except KernelError as error:
        _count_missing(lwp, domain, protocol, error.errno)
        raise
    file = sofile(so, _status(type), cred)
    try:
        return lwp.proc.files.alloc(file, 0, type & SOCK_CLOEXEC != 0)
    except KernelError:
        file.rele()
        raise


def _count_missing(lwp: Lwp, domain: int, protocol: int, errno: Errno) -> None:
    """Count what Linux has and we have not: families, and netlink protocols."""
    if errno is Errno.EAFNOSUPPORT:
        lwp.machine.unsupported(lwp, f"socket({FAMILY.text(FAMILY.to_lx[domain])})", "Not done yet")
    elif errno is Errno.EPROTONOSUPPORT and domain == AF_NETLINK and 0 <= protocol < MAX_LINKS:
        name = NETLINK_PROTO.text(protocol)
        lwp.machine.unsupported(lwp, f"socket(AF_NETLINK, {name})", "Not done yet")


@syscall
def socketpair(lwp: Lwp, domain: SockFamily, type: SockType, protocol: Int, sv: Out[Int]) -> int:
    """Make two sockets that are connected to each other."""
    files, cred = lwp.proc.files, lwp.proc.cred
    first = files.lowest()
    second = files.lowest(first + 1)
    sv.put_array((first, second))
    stack, sotype = stack_of(lwp.proc), type & SOCK_TYPE_MASK
    one = sofile(socreate(stack, domain, sotype, protocol, cred), _status(type), cred)
    other = sofile(socreate(stack, domain, sotype, protocol, cred), _status(type), cred)
    try:
        assert isinstance(one.vnode, Sonode)
        assert isinstance(other.vnode, Sonode)
        one.vnode.pair(other.vnode)
    except KernelError:
        one.rele()
        other.rele()
        raise
    files.put(first, one, type & SOCK_CLOEXEC != 0)
    files.put(second, other, type & SOCK_CLOEXEC != 0)
    return 0


@syscall
def bind(lwp: Lwp, fd: Fd, addr: Ptr, addrlen: Int) -> int:
    """Give a socket a name."""
    _, so = sock_file(lwp, fd)
    so.bind(copyin_sockaddr(lwp.as_, addr, addrlen), lwp.proc.cred)
    return 0


@syscall
def listen(lwp: Lwp, fd: Fd, backlog: Int) -> int:
    """Let a socket accept connections."""
    _, so = sock_file(lwp, fd)
    so.listen(backlog)
    return 0


@syscall
def connect(lwp: Lwp, fd: Fd, addr: Ptr, addrlen: Int) -> int:
    """Connect a socket."""
    to = None
    if not lwp.proc.files.get(fd).flags & O_PATH:
        # Here the address is looked at before what kind of file it is.
        to = copyin_sockaddr(lwp.as_, addr, addrlen)
    file, so = sock_file(lwp, fd)
    assert to is not None
    file.hold()
    try:
        so.connect(to, file.flags & O_NONBLOCK != 0, lwp.proc.cred)
    finally:
        file.rele()
    return 0


@syscall
def accept(lwp: Lwp, fd: Fd, addr: Ptr, addrlen: Ptr) -> int:
    """Take a connection."""
    return _accept(lwp, fd, addr, addrlen, 0)


@syscall
def accept4(lwp: Lwp, fd: Fd, addr: Ptr, addrlen: Ptr, flags: AcceptFlags) -> int:
    """Take a connection, with flags for its descriptor."""
    return _accept(lwp, fd, addr, addrlen, flags)


def _accept(lwp: Lwp, fd: int, addr: int, addrlen: int, flags: int) -> int:
    file, so = sock_file(lwp, fd)
    proc = lwp.proc
    proc.files.lowest()
    file.hold()
    try:
        end = so.accept(file.flags & O_NONBLOCK != 0)
    finally:
        file.rele()
    made = sofile(end, _status(flags), proc.cred)
    try:
        if addr:
            try:
                name = encode(end.getpeername())
            except KernelError:
                raise KernelError(Errno.ECONNABORTED) from None
            copyout_sockaddr(lwp.as_, name, addr, addrlen)
        return proc.files.alloc(made, 0, flags & SOCK_CLOEXEC != 0)
    except KernelError:
        made.rele()
        raise


@syscall
def getsockname(lwp: Lwp, fd: Fd, addr: Ptr, addrlen: Ptr) -> int:
    """Tell the name of a socket."""
    _, so = sock_file(lwp, fd)
    copyout_sockaddr(lwp.as_, encode(so.getsockname()), addr, addrlen)
    return 0


@syscall
def getpeername(lwp: Lwp, fd: Fd, addr: Ptr, addrlen: Ptr) -> int:
    """Tell the name of the other end."""
    _, so = sock_file(lwp, fd)
    copyout_sockaddr(lwp.as_, encode(so.getpeername()), addr, addrlen)
    return 0


@syscall
def shutdown(lwp: Lwp, fd: Fd, how: ShutHow) -> int:
    """End one direction of a connection, or both."""
    _, so = sock_file(lwp, fd)
    so.shutdown(how)
    return 0
