"""AF_UNIX: sockets between the processes of one machine (unix(7)).

Here is what stream, sequenced-packet and datagram sockets share: names, peers, credentials and the
accounting of what is queued. The sizes charged for a message are the reference system's, so a
socket is full after as many writes as there.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any
from weakref import ref

from lxemu.kernel.cred import PRIV_SYS_ADMIN, PRIV_SYS_RESOURCE, Cred
from lxemu.kernel.cv import CondVar
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import curlwp
from lxemu.kernel.net.sockaddr import Sockaddr, UnixAddr
from lxemu.kernel.net.socket import Sonode
from lxemu.kernel.net.socketvar import (
    AF_UNIX,
    BOTH_SHUTDOWN,
    NO_UCRED,
    RCV_SHUTDOWN,
    SCM_PIDFD,
    SCM_RIGHTS,
    SCM_UCRED,
    SEND_SHUTDOWN,
    SO_PASSPIDFD,
    SO_PEERCRED,
    SO_PEERGROUPS,
    SO_PEERNAME,
    SO_PEERPIDFD,
    SO_SNDBUF,
    SO_SNDBUFFORCE,
    SOCK_DGRAM,
    SOCK_RAW,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOL_SOCKET,
    Control,
    Ucred,
)
from lxemu.kernel.net.unix_rights import Rights
from lxemu.kernel.poll import (
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLPRI,
    POLLRDHUP,
    POLLRDNORM,
    POLLWRBAND,
)
from lxemu.kernel.rctl import RLIMIT_NOFILE
from lxemu.kernel.vfs.lookup import lookupname
from lxemu.kernel.vfs.ops import check_access, vn_mknod, vn_remove
from lxemu.kernel.vfs.vnode import VSOCK, VWRITE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lxemu.kernel.net.netstack import NetStack
    from lxemu.kernel.vfs.file import File
    from lxemu.kernel.vfs.name import Name

# States.
CLOSED, LISTENING, CONNECTED = range(3)

#: Bytes of bookkeeping that are charged with a message: the header, and the end of its buffer.
_HEADER = 256
_TRAILER = 320
_PAGE = 4096
IN_EVENTS = POLLIN | POLLRDNORM
OUT_EVENTS = POLLOUT | POLLWRBAND
ALL_EVENTS = IN_EVENTS | OUT_EVENTS | POLLERR | POLLHUP | POLLRDHUP | POLLPRI

#: An autobind has this many names to choose from: five hexadecimal digits.
_AUTO_NAMES = 1 << 20


def head_charge(n: int) -> int:
    """Return what `n` bytes in one piece are charged: a power of two, and the header."""
    size = n + _TRAILER
    return (1 << (size - 1).bit_length() if size > 512 else 512) + _HEADER


def page_align(n: int) -> int:
    """Round up to whole pages."""
    return n + _PAGE - 1 & -_PAGE


class Message:
    """One thing that was sent and not received yet: bytes from `start` on, files and credentials.

    `charge` is what the sender has paid for it.
    """

    __slots__ = ("charge", "data", "files", "peeked", "sender", "start", "ucred", "uid")

    def __init__(self, sender: UnixSonode, data: bytes | memoryview, charge: int) -> None:
        self.sender = sender
        self.data = data
        self.start = 0
        self.charge = charge
        self.files: list[File] | None = None
        self.ucred: Ucred = NO_UCRED
        self.uid = 0
        self.peeked = False

    def __len__(self) -> int:
        return len(self.data) - self.start

    def __bool__(self) -> bool:
        return True

    def free(self) -> None:
        """Give the sender its room back; the message has left its queue."""
        sender = self.sender
        sender.queued -= self.charge
        if not sender.dead and sender.writable():
            sender.wake_writers(OUT_EVENTS)


class UnixSonode(Sonode):
    """A socket of AF_UNIX.

    `name` is None while unbound; `node` is the place of a path name. `queued` is what is charged
    for messages that others have not received. `dead` is set when the last descriptor is closed.
    """

    family = AF_UNIX
    carries_ucred = True

    def __init__(self, stack: NetStack, sotype: int, cred: Cred) -> None:
        super().__init__(stack, sotype, 0, cred)
        self.name: UnixAddr | None = None
        self.node: Name | None = None
        self.peer: UnixSonode | None = None
        self.state = CLOSED
        self.shut = 0
        self.queue: deque[Message] = deque()
        self.queued = 0
        self.backlog = 0
        self.dead = False
        #: Whether receivers are told who sent (SO_RECVUCRED, SO_PASSPIDFD).
        self.identifies = False
        #: Who is at the other end, as of the moment of connecting.
        self.peer_ucred: Ucred | None = None
        #: The listening socket of a connection that nobody has accepted yet.
        self.listener: UnixSonode | None = None
        #: Where senders wait for room in `queue`, or in the backlog.
        self.cv_room = CondVar()
        #: Peers that were told by poll that `queue` is full.
        self.blocked: set[UnixSonode] = set()
        rights(stack)
        stack.unix_sockets[self.nodeid] = self

    # -- names ----------------------------------------------------------------------------------

    def bind(self, addr: Sockaddr, cred: Cred) -> None:  # noqa: ARG002
        """Bind to a path (which is made), an abstract name, or one that is chosen.

        Raises EADDRINUSE, EINVAL (bound already, bad address), and the errors of making a file.
        """
        if not isinstance(addr, UnixAddr):
            raise KernelError(Errno.EINVAL)
        if not addr.path:
            self.autobind()
        elif addr.abstract:
            self._bind_abstract(addr)
        else:
            self._bind_path(addr)

    def _bind_abstract(self, addr: UnixAddr) -> None:
        if self.name is not None:
            raise KernelError(Errno.EINVAL)
        key = (self.sotype, addr.path)
        if key in self.stack.unix_names:
            raise KernelError(Errno.EADDRINUSE)
        self.stack.unix_names[key] = self
        self.name = addr

    def _bind_path(self, addr: UnixAddr) -> None:
        proc = curlwp().proc
        try:
            node = vn_mknod(proc, proc.fs.cwd, addr.path, VSOCK, self.mode & 0o7777)
        except KernelError as error:
            if error.errno is Errno.EEXIST:
                raise KernelError(Errno.EADDRINUSE) from None
            raise
        if self.name is not None:
            # Found out only now, as in the reference system: a name in use is the better reason.
            vn_remove(proc, proc.fs.cwd, addr.path)
            raise KernelError(Errno.EINVAL)
        self.name = addr
        self.node = node
        node.vnode.stream = ref(self)

    def autobind(self) -> None:
        """Bind to a free abstract name of five digits, unless bound. Raises ENOSPC."""
        if self.name is not None:
            return
        names = self.stack.unix_names
        first = int.from_bytes(self.stack.machine.entropy(3)) & 0xFFFFF
        for n in range(_AUTO_NAMES):
            path = b"\0%05x" % ((first + n) % _AUTO_NAMES)
            if (self.sotype, path) not in names:
                self._bind_abstract(UnixAddr(path))
                return
        raise KernelError(Errno.ENOSPC)

    def find(self, addr: Sockaddr, cred: Cred) -> UnixSonode:
        """Return the socket that is bound to `addr`.

        Raises EINVAL, ECONNREFUSED (nobody is there), EACCES, EPROTOTYPE, the errors of a path.
        """
        check_name(addr)
        assert isinstance(addr, UnixAddr)
        if addr.abstract:
            other: UnixSonode | None = self.stack.unix_names.get((self.sotype, addr.path))
            if other is None:
                raise KernelError(Errno.ECONNREFUSED)
            return other
        fs = curlwp().proc.fs
        name = lookupname(fs.cwd, fs.root, addr.path, cred)
        check_access(name, VWRITE, cred)
        vnode = name.vnode
        known = vnode.stream if vnode.type == VSOCK else None
        other = known() if known is not None else None
        if not isinstance(other, UnixSonode) or other.dead:
            raise KernelError(Errno.ECONNREFUSED)
        if other.sotype != self.sotype:
            raise KernelError(Errno.EPROTOTYPE)
        return other

    def getsockname(self) -> UnixAddr:
        """Return the name, which is empty while unbound."""
        return self.name or UnixAddr()

    def getpeername(self) -> UnixAddr:
        """Return the name of the peer. Raises ENOTCONN."""
        if self.peer is None:
            raise KernelError(Errno.ENOTCONN)
        return self.peer.getsockname()

    # -- credentials and options ------------------------------------------------------------------

    def getsockopt(self, level: int, name: int, size: int) -> Any:
        """Return an option.

        SO_PEERCRED and SO_PEERGROUPS are a Ucred, SO_PEERPIDFD a process, SO_PEERNAME an address.
        """
        if level == SOL_SOCKET:
            if name == SO_PEERCRED:
                return self.peer_ucred or Ucred(0, 0xFFFFFFFF, 0xFFFFFFFF)
            if name == SO_PEERGROUPS:
                if self.peer_ucred is None:
                    raise KernelError(Errno.ENODATA)
                return self.peer_ucred
            if name == SO_PEERPIDFD:
                if self.peer_ucred is None:
                    raise KernelError(Errno.ENODATA)
                return self.peer_ucred.proc
            if name == SO_PEERNAME:
                return self.getpeername()
        return super().getsockopt(level, name, size)

    def setsockopt(self, level: int, name: int, value: Any, cred: Cred) -> None:
        """Set an option; another size of the send buffer is news to who waits to send."""
        super().setsockopt(level, name, value, cred)
        if level == SOL_SOCKET and name in (SO_SNDBUF, SO_SNDBUFFORCE) and self.writable():
            self.wake_writers(OUT_EVENTS)
        self.identifies = self.passcred or self.options.get(SO_PASSPIDFD, 0) != 0

    def attach(
        self, message: Message, control: Sequence[Control], to: UnixSonode, cred: Cred
    ) -> None:
        """Put files and credentials on a message to `to`. Raises ETOOMANYREFS."""
        for item in control:
            if item.type == SCM_UCRED:
                message.ucred = item.data
            elif item.type == SCM_RIGHTS and item.data:
                self._attach_files(message, item.data, to, cred)
        if message.ucred is NO_UCRED and (
            self.identifies or to.identifies or to.listener is not None
        ):
            proc = curlwp().proc
            message.ucred = Ucred(proc.pid, cred.ruid, cred.rgid, (), proc)

    def _attach_files(
        self, message: Message, files: Sequence[File], to: UnixSonode, cred: Cred
    ) -> None:
        inflight = rights(self.stack)
        uid = cred.ruid
        limit = curlwp().proc.rctls.soft(RLIMIT_NOFILE)
        if inflight.users.get(uid, 0) > limit and not cred.crhas(
            PRIV_SYS_RESOURCE | PRIV_SYS_ADMIN
        ):
            raise KernelError(Errno.ETOOMANYREFS)
        message.files = [file.hold() for file in files]
        message.uid = uid
        inflight.sent(to, message.files, uid)

    def take_files(self, message: Message) -> list[File]:
        """Take the files of a message that leaves the queue."""
        files = message.files
        assert files is not None
        message.files = None
        rights(self.stack).taken(self, files, message.uid)
        return files

    def control_of(self, ucred: Ucred, files: list[File] | None) -> tuple[Control, ...]:
        """Return what the receiver gets beside the data."""
        if not self.identifies:
            return (Control(SOL_SOCKET, SCM_RIGHTS, files),) if files else ()
        found = []
        if self.passcred:
            found.append(Control(SOL_SOCKET, SCM_UCRED, ucred))
        if files:
            found.append(Control(SOL_SOCKET, SCM_RIGHTS, files))
        if self.options.get(SO_PASSPIDFD) and ucred.proc is not None:
            found.append(Control(SOL_SOCKET, SCM_PIDFD, ucred.proc))
        return tuple(found)

    # -- queues -----------------------------------------------------------------------------------

    def writable(self) -> bool:
        """Return whether poll says so: three quarters of the send buffer are free."""
        # One more than what is charged: the reference system counts the socket itself.
        return self.state != LISTENING and (self.queued + 1) << 2 <= self.sndbuf

    def wait_room(self, nonblock: bool, deadline: int | None) -> None:
        """Wait until the send buffer is not full. Raises EAGAIN, EINTR, EPIPE."""
        while self.queued >= self.sndbuf:
            if nonblock:
                raise KernelError(Errno.EAGAIN)
            self.wait(self.cv_write, deadline)
            self.take_error()
            if self.shut & SEND_SHUTDOWN:
                raise KernelError(Errno.EPIPE)

    def enqueue(self, message: Message) -> None:
        """Add a message that has been charged and wake who reads."""
        message.sender.queued += message.charge
        self.queue.append(message)
        self.wake_readers(IN_EVENTS)

    def files_in_flight(self) -> Iterator[File]:
        """Return the files in the messages of this socket (and of those not accepted yet)."""
        for message in self.queue:
            if message.files:
                yield from message.files

    def drop_files(self) -> None:
        """Give back all files in the queue; nobody can receive them."""
        for message in tuple(self.queue):
            if message.files:
                for file in self.take_files(message):
                    file.rele()

    def outq(self) -> int:
        """Return what is charged for data that the other end has not read."""
        return self.queued

    def atmark(self) -> int:
        """Raise EOPNOTSUPP: only streams have urgent data."""
        raise KernelError(Errno.EOPNOTSUPP)

    # -- ending -----------------------------------------------------------------------------------

    def shutdown(self, how: int) -> None:
        """End directions; the peer of a connection sees the other side of it."""
        if not 0 <= how <= 2:
            raise KernelError(Errno.EINVAL)
        mine = how + 1
        self.shut |= mine
        peer = self.peer
        if peer is not None and self.sotype != SOCK_DGRAM:
            theirs = (mine & RCV_SHUTDOWN and SEND_SHUTDOWN) | (
                mine & SEND_SHUTDOWN and RCV_SHUTDOWN
            )
            peer.shut |= theirs
            peer.changed()
        self.changed()

    def changed(self) -> None:
        """Wake everybody: the state is another."""
        self.cv_read.broadcast()
        self.cv_write.broadcast()
        self.cv_room.broadcast()
        if self.pollhead.waiters:
            self.pollhead.wakeup(ALL_EVENTS)

    def close(self, file: File) -> None:  # noqa: ARG002
        """Free the name, tell the peer, throw away what nobody will receive."""
        self.release()
        inflight = rights(self.stack)
        if inflight.counts:
            inflight.collect()

    def release(self, *, embryo: bool = False) -> None:
        """End the socket; that of a connection never accepted is reset."""
        if self.dead:
            return
        self.dead = True
        stack = self.stack
        stack.unix_sockets.pop(self.nodeid, None)
        if self.name is not None:
            # An accepted socket shows its listener's name, but does not own it.
            key = (self.sotype, self.name.path)
            if stack.unix_names.get(key) is self:
                del stack.unix_names[key]
        self.node = None
        self.state = CLOSED
        peer, self.peer = self.peer, None
        unread = self.has_unread()
        self.shut = BOTH_SHUTDOWN
        if peer is not None:
            self.leave(peer, reset=unread or embryo)
        self.drop_files()
        queue, self.queue = self.queue, deque()
        for message in queue:
            message.free()
        self.changed()

    def has_unread(self) -> bool:
        """Return whether closing now throws data away; one empty message is no data."""
        queue = self.queue
        return len(queue) > 1 or (len(queue) == 1 and len(queue[0]) > 0)

    def leave(self, peer: UnixSonode, *, reset: bool) -> None:
        """Tell the peer that this end is gone."""
        if self.sotype != SOCK_DGRAM:
            peer.shut = BOTH_SHUTDOWN
            if reset:
                peer.so_error = Errno.ECONNRESET
        peer.changed()


def check_name(addr: Sockaddr) -> None:
    """Check that `addr` is one that a socket can have. EINVAL."""
    if not isinstance(addr, UnixAddr) or not addr.path:
        raise KernelError(Errno.EINVAL)


def rights(stack: NetStack) -> Rights:
    """Return the files in flight of a network."""
    found: Rights | None = stack.unix_rights
    if found is None:
        found = stack.unix_rights = Rights()
    return found


def my_ucred(cred: Cred) -> Ucred:
    """Return the credentials of the running process as its peers see them."""
    proc = curlwp().proc
    return Ucred(proc.pid, cred.euid, cred.egid, cred.groups, proc)


def create(stack: NetStack, family: int, sotype: int, protocol: int, cred: Cred) -> UnixSonode:
    """Make a socket; a raw one is one of datagrams. Raises EPROTONOSUPPORT, ESOCKTNOSUPPORT."""
    from lxemu.kernel.net.unix_dgram import UnixDgram, UnixSeqpacket
    from lxemu.kernel.net.unix_stream import UnixStream

    if protocol not in (0, family):
        raise KernelError(Errno.EPROTONOSUPPORT)
    if sotype == SOCK_STREAM:
        return UnixStream(stack, sotype, cred)
    if sotype in (SOCK_DGRAM, SOCK_RAW):
        return UnixDgram(stack, SOCK_DGRAM, cred)
    if sotype == SOCK_SEQPACKET:
        return UnixSeqpacket(stack, sotype, cred)
    raise KernelError(Errno.ESOCKTNOSUPPORT)
