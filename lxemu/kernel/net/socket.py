"""Sockets: what all protocols share (illumos sonode, sys/socketvar.h; socket(7)).

A socket is a vnode of type VSOCK with one open file. A protocol subclasses `Sonode`; the operations
here refuse what a protocol does not override, with the error that a caller of it gets.
Sleeping is in plain code on condition variables, through `wait`, which knows of the timeouts.
"""

# The defaults of an interface look at no arguments.
# ruff: noqa: ARG002
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lxemu.kernel.cv import CondVar
from lxemu.kernel.errno import Errno, Interrupted, KernelError
from lxemu.kernel.net import sockopt
from lxemu.kernel.net.socketvar import (
    BUF_DEFAULT,
    SCM_RIGHTS,
    SHUT_RD,
    SHUT_RDWR,
    SO_ACCEPTCONN,
    SO_DOMAIN,
    SO_ERROR,
    SO_PROTOTYPE,
    SO_TYPE,
    SOCK_STREAM,
    SOL_SOCKET,
    Control,
    Linger,
)
from lxemu.kernel.poll import Pollhead
from lxemu.kernel.termio import TIOCOUTQ
from lxemu.kernel.vfs.fcntl import FIONREAD, O_NONBLOCK, SIOCATMARK
from lxemu.kernel.vfs.fifofs import post_sigpipe
from lxemu.kernel.vfs.sigio import send_sigurg
from lxemu.kernel.vfs.vnode import AT_GID, AT_MODE, AT_UID, VSOCK, Vattr, Vnode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from lxemu.kernel.cred import Cred
    from lxemu.kernel.net.netstack import NetStack
    from lxemu.kernel.net.sockaddr import Sockaddr
    from lxemu.kernel.net.socketvar import Received
    from lxemu.kernel.net.sofilter import Filter
    from lxemu.kernel.vfs.file import File


class Sonode(Vnode):
    """A socket.

    `so_error` is an error that came after the call that caused it (SO_ERROR); timeouts are ns, None
    for no end; `options` holds the options at SOL_SOCKET that are plain numbers, by name.
    """

    family = 0
    #: SO_RECVUCRED and its kin may be set (sockets that carry control messages of that kind).
    carries_ucred = False
    #: The errors of `connect` may come later, and SO_REUSEPORT may be set.
    internet = False

    def __init__(self, stack: NetStack, sotype: int, protocol: int, cred: Cred) -> None:
        super().__init__(stack.sockfs, VSOCK, 0o777)
        self.stack = stack
        self.sotype = sotype
        self.protocol = protocol
        self.nodeid = stack.sockfs.new_nodeid()
        self.uid = cred.fsuid
        self.gid = cred.fsgid
        self.created = stack.sockfs.now()
        self.so_error: Errno | None = None
        self.sndbuf = self.rcvbuf = BUF_DEFAULT
        self.sndtimeo: int | None = None
        self.rcvtimeo: int | None = None
        self.rcvlowat = 1
        self.peek_off = -1
        self.linger = Linger(0, 0)
        self.passcred = False
        self.options: dict[int, int] = {}
        #: What decides on messages before this socket sees them (SO_ATTACH_FILTER).
        self.filter: Filter | None = None
        self.cv_read = CondVar()
        self.cv_write = CondVar()
        self.pollhead = Pollhead()
        #: The open file, once there is one.
        self.open_file: Callable[[], File | None] = lambda: None

    # -- the vnode ------------------------------------------------------------------------------

    def getattr(self, cred: Cred | None = None) -> Vattr:
        """Return the attributes of a socket, which has no size and no links to speak of."""
        when = self.created
        return Vattr(
            VSOCK,
            self.mode,
            self.uid,
            self.gid,
            self.vfs.fsid,
            self.nodeid,
            1,
            atime=when,
            mtime=when,
            ctime=when,
            btime=when,
        )

    def setattr(self, mask: int, attr: Vattr, cred: Cred) -> None:
        """Set mode and owner; the times of a socket do not change."""
        if mask & AT_MODE:
            self.mode = attr.mode
        if mask & AT_UID:
            self.uid = attr.uid
        if mask & AT_GID:
            self.gid = attr.gid

    def sread(self, file: File, n: int) -> bytes:
        """Read: a recvmsg without flags whose control messages are thrown away."""
        if not n:
            return b""
        # Whoever closes the descriptor meanwhile does not end a read that waits.
        file.refcnt += 1
        try:
            got = self.recvmsg(n, 0, file.flags & O_NONBLOCK != 0)
        finally:
            file.rele()
        if got.control:
            discard(got.control)
        return got.data

    def swrite(self, file: File, data: bytes | memoryview) -> int:
        """Write: a sendmsg without flags."""
        file.refcnt += 1
        try:
            return self.sendmsg(data, None, (), 0, file.flags & O_NONBLOCK != 0)
        except KernelError as error:
            self.broken_pipe(error)
            raise
        finally:
            file.rele()

    def ioctl(self, file: File, cmd: int, arg: Any) -> Any:
        """FIONREAD, TIOCOUTQ and SIOCATMARK return their numbers. Raises ENOTTY, EINVAL."""
        if cmd == FIONREAD:
            return self.inq()
        if cmd == TIOCOUTQ:
            return self.outq()
        if cmd == SIOCATMARK:
            return self.atmark()
        return super().ioctl(file, cmd, arg)

    # -- the protocol's part --------------------------------------------------------------------

    def bind(self, addr: Sockaddr, cred: Cred) -> None:
        """Give the socket a name."""
        raise KernelError(Errno.EOPNOTSUPP)

    def connect(self, addr: Sockaddr, nonblock: bool, cred: Cred) -> None:
        """Connect to `addr`, or with AF_UNSPEC disconnect. Raises EINPROGRESS when it goes on."""
        raise KernelError(Errno.EOPNOTSUPP)

    def listen(self, backlog: int) -> None:
        """Accept connections from now on, `backlog` of them waiting."""
        raise KernelError(Errno.EOPNOTSUPP)

    def accept(self, nonblock: bool) -> Sonode:
        """Return the next connection. Raises EAGAIN, EINTR."""
        raise KernelError(Errno.EOPNOTSUPP)

    def pair(self, other: Sonode) -> None:
        """Connect two new sockets to each other (socketpair(3C))."""
        raise KernelError(Errno.EOPNOTSUPP)

    def shutdown(self, how: int) -> None:
        """End one direction or both (SHUT_*)."""
        raise KernelError(Errno.EOPNOTSUPP)

    def getsockname(self) -> Sockaddr:
        """Return the socket's own name."""
        raise KernelError(Errno.EOPNOTSUPP)

    def getpeername(self) -> Sockaddr:
        """Return the name of the other end. Raises ENOTCONN."""
        raise KernelError(Errno.EOPNOTSUPP)

    def sendmsg(
        self,
        data: bytes | memoryview,
        to: Sockaddr | None,
        control: Sequence[Control],
        flags: int,
        nonblock: bool,
    ) -> int:
        """Send, waiting for room, and return how much went.

        The files of SCM_RIGHTS stay the caller's: what is sent takes references of its own. Raises
        EPIPE without a signal (`broken_pipe` posts it), EAGAIN, EINTR, EMSGSIZE, ENOTCONN.
        """
        raise KernelError(Errno.EOPNOTSUPP)

    def recvmsg(self, size: int, flags: int, nonblock: bool) -> Received:
        """Receive up to `size` bytes and what came with them.

        The files of a SCM_RIGHTS in the result belong to the caller. Raises EAGAIN, EINTR.
        """
        raise KernelError(Errno.EOPNOTSUPP)

    def check_message(self, size: int) -> None:
        """Raise EMSGSIZE when a message of `size` bytes could never be sent.

        Asked before the data are copied in.
        """

    def inq(self) -> int:
        """Return how many bytes can be read (FIONREAD)."""
        raise KernelError(Errno.ENOTTY)

    def outq(self) -> int:
        """Return how many bytes the other end has not taken (TIOCOUTQ)."""
        raise KernelError(Errno.ENOTTY)

    def atmark(self) -> int:
        """Return whether the next byte to read is the urgent one (SIOCATMARK)."""
        raise KernelError(Errno.ENOTTY)

    def listening(self) -> bool:
        """Return whether this socket accepts connections."""
        return False

    # -- options --------------------------------------------------------------------------------

    def getsockopt(self, level: int, name: int, size: int) -> Any:
        """Return the value of an option as a kernel object; `size` is the room there is for it.

        Raises ENOPROTOOPT, EOPNOTSUPP (the protocol has no options at this level).
        """
        if level != SOL_SOCKET:
            raise KernelError(Errno.EOPNOTSUPP)
        if name == SO_ERROR:
            error, self.so_error = self.so_error, None
            return error or 0
        if name == SO_TYPE:
            return self.sotype
        if name == SO_DOMAIN:
            return self.family
        if name == SO_PROTOTYPE:
            return self.protocol
        if name == SO_ACCEPTCONN:
            return int(self.listening())
        return sockopt.get(self, name)

    def setsockopt(self, level: int, name: int, value: Any, cred: Cred) -> None:
        """Set an option to a kernel object (an int, a Linger, ns or None for a timeout).

        Raises ENOPROTOOPT, EOPNOTSUPP, EPERM, EINVAL.
        """
        if level != SOL_SOCKET:
            raise KernelError(Errno.EOPNOTSUPP)
        sockopt.set_(self, name, value, cred)

    # -- for protocols --------------------------------------------------------------------------

    def until(self, timeout: int | None) -> int | None:
        """Return the time (hrtime ns) at which a timeout that begins now ends."""
        return None if timeout is None else self.stack.clock.hrtime() + timeout

    def wait(self, cv: CondVar, deadline: int | None) -> None:
        """Sleep on `cv`. Raises EAGAIN at the deadline, Interrupted, or EINTR with a deadline.

        A call that a timeout limits is not made again after a signal handler (signal(7)).
        """
        try:
            woken = cv.wait_sig_until(deadline)
        except Interrupted:
            if deadline is None:
                raise
            raise KernelError(Errno.EINTR) from None
        if not woken:
            raise KernelError(Errno.EAGAIN)

    def take_error(self) -> None:
        """Raise the error that has been waiting to be told, if there is one."""
        error = self.so_error
        if error is not None:
            self.so_error = None
            raise KernelError(error)

    def broken_pipe(self, error: KernelError) -> None:
        """Send SIGPIPE for an EPIPE on a stream; a message that nobody takes is no broken pipe."""
        if error.errno is Errno.EPIPE and self.sotype == SOCK_STREAM:
            post_sigpipe()

    def filtered(self, data: bytes | memoryview) -> bytes | memoryview | None:
        """Return what the filter of this socket leaves of a message, None when nothing."""
        if self.filter is None:
            return data
        keep = self.filter.keep(data)
        return data[:keep] if keep else None

    def signal_urgent(self) -> None:
        """Send SIGURG to the owner of the socket's file, if it has one: urgent data have come."""
        file = self.open_file()
        if file is not None and file.async_owner is not None:
            send_sigurg(file)

    def wake_readers(self, events: int) -> None:
        """Wake who waits to read, and pollers, of whom `events` are news."""
        self.cv_read.broadcast()
        if self.pollhead.waiters:
            self.pollhead.wakeup(events)

    def wake_writers(self, events: int) -> None:
        """Wake who waits to write, and pollers, of whom `events` are news."""
        self.cv_write.broadcast()
        if self.pollhead.waiters:
            self.pollhead.wakeup(events)


def shutdown_bits(how: int) -> int:
    """Return the RCV_SHUTDOWN and SEND_SHUTDOWN bits of SHUT_*. Raises EINVAL for another."""
    if not SHUT_RD <= how <= SHUT_RDWR:
        raise KernelError(Errno.EINVAL)
    return how + 1


def discard(control: Iterable[Control]) -> None:
    """Give back the files of control messages that nobody wants."""
    for message in control:
        if message.level == SOL_SOCKET and message.type == SCM_RIGHTS:
            for file in message.data:
                file.rele()
