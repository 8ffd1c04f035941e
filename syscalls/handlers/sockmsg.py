"""Sending and receiving on sockets: send(2), recv(2) and all their forms.

The work on control messages is in `sockcontrol`.
"""

from __future__ import annotations

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.net.sockaddr import Sockaddr
from lxemu.kernel.net.socket import Sonode, discard
from lxemu.kernel.net.socketvar import (
    MSG_CMSG_CLOEXEC,
    MSG_CMSG_COMPAT,
    MSG_CTRUNC,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    MSG_WAITFORONE,
    SOCK_STREAM,
    Control,
    Received,
)
from lxemu.kernel.vfs.fcntl import O_NONBLOCK
from lxemu.kernel.vfs.file import File
from syscalls.abi import (
    IOV_MAX,
    MAX_RW,
    Fd,
    In,
    InBuf,
    InOut,
    Int,
    Iovec,
    Mmsghdr,
    MsgFlags,
    Msghdr,
    OutBuf,
    Ptr,
    Size,
    Timespec,
    UInt,
    pointer,
    syscall,
)
from syscalls.abi.sockaddr import STORAGE, copyin_sockaddr, copyout_sockaddr, encode
from syscalls.abi.xlat_net import MSG
from syscalls.handlers.sockcontrol import copyin_control, copyout_control
from syscalls.handlers.socket_ import sock_file
from syscalls.handlers.transfer import CHUNK, STREAM, USER_BITS, gather, scatter, user_vector

Vector = list[tuple[int, int]]

#: Where struct msghdr has the members that a receive writes (x86_64, i386).
_NAMELEN = {64: 8, 32: 4}
_CONTROLLEN = {64: 40, 32: 20}
_FLAGS = {64: 48, 32: 24}

#: A message that is longer is looked at before its bytes are: it may be too long for its protocol.
_LONG = 1 << 15


# -- sending --------------------------------------------------------------------------------------


@syscall
def sendto(
    lwp: Lwp, fd: Fd, buf: InBuf, len: Size, flags: MsgFlags, addr: Ptr, addrlen: Int
) -> int:
    """Send, to an address or to the peer."""
    size = _user_range(buf, len)
    file, so = sock_file(lwp, fd)
    to = copyin_sockaddr(lwp.as_, addr, addrlen) if addr else None
    return _send(lwp, file, so, [(buf, size)], to, (), flags)


@syscall
def send(lwp: Lwp, fd: Fd, buf: InBuf, len: Size, flags: MsgFlags) -> int:
    """Send to the peer."""
    size = _user_range(buf, len)
    file, so = sock_file(lwp, fd)
    return _send(lwp, file, so, [(buf, size)], None, (), flags)


def _user_range(buf: int, size: int) -> int:
    """Check a buffer as access_ok does and cut its size to what one call moves. EFAULT."""
    if buf >> USER_BITS or buf + size >> USER_BITS:
        raise KernelError(Errno.EFAULT)
    return min(size, MAX_RW)


@syscall
def sendmsg(lwp: Lwp, fd: Fd, msg: In[Msghdr], flags: MsgFlags) -> int:
    """Send from several buffers, with control messages."""
    _no_compat(flags)
    file, so = sock_file(lwp, fd)
    return _sendmsg(lwp, file, so, msg.get(), flags)


@syscall
def sendmmsg(lwp: Lwp, fd: Fd, msgvec: In[Mmsghdr], vlen: UInt, flags: MsgFlags) -> int:
    """Send several messages; the length of each is stored."""
    _no_compat(flags)
    file, so = sock_file(lwp, fd)
    size = msgvec.codec.size
    done = 0
    try:
        for index in range(min(vlen, IOV_MAX)):
            at = msgvec.addr + index * size
            header: In[Msghdr] = pointer(In, lwp, Msghdr, at)
            sent = _sendmsg(lwp, file, so, header.get(), flags)
            lwp.as_.store_u32(at + header.codec.size, sent)
            done += 1
    except KernelError:
        if not done:
            raise
    return done


def _no_compat(flags: int) -> None:
    """Refuse the flag by which Linux marks the calls of 32-bit programs inside. EINVAL."""
    if flags & MSG_CMSG_COMPAT:
        raise KernelError(Errno.EINVAL)


def _sendmsg(lwp: Lwp, file: File, so: Sonode, msg: Msghdr, flags: int) -> int:
    namelen = _name_length(msg)
    to = copyin_sockaddr(lwp.as_, msg.addr, namelen) if namelen else None
    vector = _vector(lwp, msg)
    if not msg.controllen:
        return _send(lwp, file, so, vector, to, (), flags)
    control = copyin_control(lwp, so, msg.control, msg.controllen)
    try:
        return _send(lwp, file, so, vector, to, control, flags)
    finally:
        discard(control)


def _name_length(msg: Msghdr) -> int:
    """Return the length of a message's address, 0 without one. EINVAL when negative."""
    if msg.addrlen < 0 and msg.addr:
        raise KernelError(Errno.EINVAL)
    return min(msg.addrlen, STORAGE) if msg.addr else 0


def _vector(lwp: Lwp, msg: Msghdr) -> Vector:
    if msg.iovlen > IOV_MAX:
        raise KernelError(Errno.EMSGSIZE)
    return user_vector(pointer(In, lwp, Iovec, msg.iov), msg.iovlen)


def _send(
    lwp: Lwp,
    file: File,
    so: Sonode,
    vector: Vector,
    to: Sockaddr | None,
    control: tuple[Control, ...],
    flags: int,
) -> int:
    """Send the bytes of *vector*: a message in one, a long stream in pieces."""
    nonblock = file.flags & O_NONBLOCK != 0 or flags & MSG_DONTWAIT != 0
    total = vector[0][1] if len(vector) == 1 else sum(size for _, size in vector)
    stream = so.sotype == SOCK_STREAM
    if total > CHUNK or (total > _LONG and not stream):
        so.check_message(total)
    pieces = total > CHUNK and stream
    done = 0
    file.hold()
    try:
        while True:
            want = min(CHUNK, total - done) if pieces else total
            data = gather(lwp, vector, done, want)
            if len(data) < want and not (data and pieces):
                raise KernelError(Errno.EFAULT)
            sent = so.sendmsg(data, to, control, flags, nonblock)
            done += sent
            if sent < want or done >= total:
                return done
            control = ()
    except KernelError as error:
        if done:
            return done
        if not flags & MSG_NOSIGNAL:
            so.broken_pipe(error)
        raise
    finally:
        file.rele()


# -- receiving ------------------------------------------------------------------------------------


@syscall
def recvfrom(
    lwp: Lwp, fd: Fd, buf: OutBuf, len: Size, flags: MsgFlags, addr: Ptr, addrlen: Ptr
) -> int:
    """Receive, and tell from whom."""
    size = _user_range(buf, len)
    file, so = sock_file(lwp, fd)
    got = _recv(lwp, file, so, [(buf, size)], flags)
    discard(got.control)
    if addr:
        name = b"" if got.addr is None else encode(got.addr)
        copyout_sockaddr(lwp.as_, name, addr, addrlen)
    return _result(got, flags)


@syscall
def recv(lwp: Lwp, fd: Fd, buf: OutBuf, len: Size, flags: MsgFlags) -> int:
    """Receive."""
    size = _user_range(buf, len)
    file, so = sock_file(lwp, fd)
    got = _recv(lwp, file, so, [(buf, size)], flags)
    discard(got.control)
    return _result(got, flags)


@syscall
def recvmsg(lwp: Lwp, fd: Fd, msg: InOut[Msghdr], flags: MsgFlags) -> int:
    """Receive into several buffers, with control messages."""
    _no_compat(flags)
    file, so = sock_file(lwp, fd)
    return _recvmsg(lwp, file, so, msg.addr, msg.get(), flags)[0]


@syscall
def recvmmsg(
    lwp: Lwp,
    fd: Fd,
    msgvec: InOut[Mmsghdr],
    vlen: UInt,
    flags: MsgFlags,
    timeout: InOut[Timespec],
) -> int:
    """Receive several messages; the time is looked at after each (recvmmsg(2), BUGS)."""
    _no_compat(flags)
    hrtime = lwp.machine.clock.hrtime
    deadline = hrtime() + timeout.get().ns() if timeout else None
    file, so = sock_file(lwp, fd)
    so.take_error()
    done = 0
    try:
        for index in range(vlen):
            at = msgvec.addr + index * msgvec.codec.size
            header: In[Msghdr] = pointer(In, lwp, Msghdr, at)
            got, seen = _recvmsg(lwp, file, so, at, header.get(), flags & ~MSG_WAITFORONE)
            lwp.as_.store_u32(at + header.codec.size, got)
            done += 1
            if flags & MSG_WAITFORONE:
                flags |= MSG_DONTWAIT
            if seen & MSG_OOB or (deadline is not None and hrtime() >= deadline):
                break
    except KernelError as error:
        if not done:
            raise
        if error.errno is not Errno.EAGAIN:
            so.so_error = error.errno
    if timeout and done:
        timeout.put(Timespec.of(max(0, (deadline or 0) - hrtime())))
    return done


def _recvmsg(lwp: Lwp, file: File, so: Sonode, at: int, msg: Msghdr, flags: int) -> tuple[int, int]:
    """Receive one message and store what the header at *at* tells; the result, and its flags."""
    as_, bits = lwp.as_, lwp.brand.bits
    namelen = _name_length(msg)
    got = _recv(lwp, file, so, _vector(lwp, msg), flags)
    seen = got.flags | flags & MSG_CMSG_CLOEXEC
    try:
        if msg.addr:
            name = b"" if got.addr is None else encode(got.addr)
            if namelen:
                as_.copyout(msg.addr, name[:namelen])
            as_.store_s32(at + _NAMELEN[bits], len(name))
    except KernelError:
        discard(got.control)
        raise
    cloexec = flags & MSG_CMSG_CLOEXEC != 0
    used, cut = copyout_control(lwp, got.control, msg.control, msg.controllen, cloexec=cloexec)
    if cut:
        seen |= MSG_CTRUNC
    as_.store_u32(at + _FLAGS[bits], MSG.to_lx[seen])
    where = at + _CONTROLLEN[bits]
    if bits == 64:
        as_.store_u64(where, used)
    else:
        as_.store_u32(where, used)
    return _result(got, flags), seen


def _result(got: Received, flags: int) -> int:
    # An urgent byte counts even where there is no room for it.
    return got.size if flags & MSG_TRUNC or got.flags & MSG_OOB else len(got.data)


def _recv(lwp: Lwp, file: File, so: Sonode, vector: Vector, flags: int) -> Received:
    """Receive and store the data. EFAULT: a bad buffer loses a message, not a stream's bytes."""
    nonblock = file.flags & O_NONBLOCK != 0 or flags & MSG_DONTWAIT != 0
    total = sum(size for _, size in vector)
    file.hold()
    try:
        room = _writable(lwp, vector, min(total, STREAM))
        if room < min(total, STREAM) and not (flags & MSG_TRUNC and so.internet):
            total = _good_part(so, room, total, flags, nonblock)
        got = so.recvmsg(total, flags, nonblock)
    finally:
        file.rele()
    if got.data and scatter(lwp, vector, 0, got.data) < len(got.data):
        discard(got.control)
        raise KernelError(Errno.EFAULT)
    return got


def _writable(lwp: Lwp, vector: Vector, want: int) -> int:
    """Return how many of the first *want* bytes of the buffers can be stored."""
    if len(vector) == 1:
        return lwp.as_.writable_prefix(vector[0][0], want)
    room = 0
    for base, size in vector:
        part = min(size, want - room)
        good = lwp.as_.writable_prefix(base, part)
        room += good
        if good < part:
            break
    return room


def _good_part(so: Sonode, room: int, total: int, flags: int, nonblock: bool) -> int:
    """Return how much of a stream to receive when only *room* bytes of the buffer are good.

    Waits until there is something. EFAULT when that does not fit, and nothing is taken.
    """
    if so.sotype != SOCK_STREAM or flags & MSG_OOB:
        return total
    seen = so.recvmsg(room + 1, flags | MSG_PEEK, nonblock)
    discard(seen.control)
    if len(seen.data) > room:
        raise KernelError(Errno.EFAULT)
    return room
