"""Netlink sockets (af_netlink.c): routes and lists of sockets; uevents never come."""

from __future__ import annotations

import struct
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from lxemu.kernel.cred import PRIV_SYS_IP_CONFIG, Cred
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import curlwp
from lxemu.kernel.net.sockaddr import NetlinkAddr, OtherAddr
from lxemu.kernel.net.socket import Sonode
from lxemu.kernel.net.socketvar import (
    AF_NETLINK,
    AF_UNSPEC,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    SCM_UCRED,
    SOCK_DGRAM,
    SOCK_RAW,
    SOL_SOCKET,
    Control,
    Received,
    Ucred,
)
from lxemu.kernel.poll import POLLERR, POLLIN, POLLOUT, POLLRDNORM, Pollhead
from syscalls.errno import ERRNO_OUT
from syscalls.netlink import diag, rtnl
from syscalls.netlink import message as m

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lxemu.kernel.net.netif import NetIf
    from lxemu.kernel.net.netstack import NetStack
    from lxemu.kernel.net.sockaddr import Sockaddr
    from lxemu.kernel.vfs.file import File

NETLINK_ROUTE: Final = 0
NETLINK_SOCK_DIAG: Final = 4
NETLINK_KOBJECT_UEVENT: Final = 15
MAX_LINKS: Final = 32
SOL_NETLINK: Final = 270
#: How many bytes of answers one message of a dump holds.
_DUMP_SIZE: Final = 8192
_ADD_MEMBERSHIP, _DROP_MEMBERSHIP, _LIST_MEMBERSHIPS = 1, 2, 9
#: NETLINK_PKTINFO, BROADCAST_ERROR, NO_ENOBUFS, LISTEN_ALL_NSID, CAP_ACK, EXT_ACK, GET_STRICT_CHK.
_FLAGS: Final = frozenset((3, 4, 5, 8, 10, 11, 12))
_CAP_ACK: Final = 10
#: What the kernel answers with, by protocol.
_ANSWERS: Final[dict[int, Callable[[NetStack, m.Message, Cred], rtnl.Answers | None]]] = {
    NETLINK_ROUTE: rtnl.answer,
    NETLINK_SOCK_DIAG: diag.answer,
}
_ERROR: Final = struct.Struct("<i")


def create(stack: NetStack, _family: int, sotype: int, protocol: int, cred: Cred) -> Sonode:
    """Make a netlink socket. Raises ESOCKTNOSUPPORT, EPROTONOSUPPORT."""
    if sotype not in (SOCK_RAW, SOCK_DGRAM):
        raise KernelError(Errno.ESOCKTNOSUPPORT)
    if protocol not in (*_ANSWERS, NETLINK_KOBJECT_UEVENT):
        raise KernelError(Errno.EPROTONOSUPPORT)
    return NetlinkSonode(stack, sotype, protocol, cred)


class NetlinkSonode(Sonode):
    """A netlink socket. `port` is its address, 0 before it has one; `groups` a mask."""

    family = AF_NETLINK
    carries_ucred = True

    def __init__(self, stack: NetStack, sotype: int, protocol: int, cred: Cred) -> None:
        super().__init__(stack, sotype, protocol, cred)
        self.port = 0
        self.peer = NetlinkAddr()
        self.groups = 0
        self.flags: set[int] = set()
        self.queue: deque[tuple[bytes, int]] = deque()
        self.used = 0

    # -- names ------------------------------------------------------------------------------------

    def _ports(self) -> dict[tuple[int, int], Any]:
        ports: dict[tuple[int, int], Any] = self.stack.netlink_ports
        return ports

    def _claim(self, port: int) -> None:
        key = (self.protocol, port)
        if key in self._ports():
            raise KernelError(Errno.EADDRINUSE)
        self._ports()[key] = self
        self.port = port

    def _autobind(self) -> None:
        """Take the process' id as address, or a large number when it is taken."""
        port = curlwp().proc.pid
        spare = 0xFFFFFFFF - 4096
        while (self.protocol, port) in self._ports():
            port, spare = spare, spare - 1
        self._claim(port)

    def bind(self, addr: Sockaddr, cred: Cred) -> None:  # noqa: ARG002
        """Take an address and join groups. Raises EINVAL, EADDRINUSE."""
        if not isinstance(addr, NetlinkAddr):
            raise KernelError(Errno.EINVAL)
        if self.port and addr.pid != self.port:
            raise KernelError(Errno.EINVAL)
        if not self.port:
            if addr.pid:
                self._claim(addr.pid)
            else:
                self._autobind()
        self._set_groups(addr.groups)

    def _set_groups(self, groups: int) -> None:
        self.groups = groups
        listeners = self.stack.on_change
        listening = self._changed in listeners
        if groups and not listening and self.protocol == NETLINK_ROUTE:
            listeners.append(self._changed)
        elif not groups and listening:
            listeners.remove(self._changed)

    def connect(self, addr: Sockaddr, nonblock: bool, cred: Cred) -> None:  # noqa: ARG002
        """Choose the default destination. Raises EINVAL, EPERM (a group, without privilege)."""
        if isinstance(addr, OtherAddr) and addr.family == AF_UNSPEC:
            self.peer = NetlinkAddr()
            return
        if not isinstance(addr, NetlinkAddr):
            raise KernelError(Errno.EINVAL)
        if (addr.pid or addr.groups) and not cred.crhas(PRIV_SYS_IP_CONFIG):
            raise KernelError(Errno.EPERM)
        if not self.port:
            self._autobind()
        self.peer = addr

    def getsockname(self) -> Sockaddr:
        """Return the socket's own address."""
        return NetlinkAddr(self.port, self.groups & 0xFFFFFFFF)

    def getpeername(self) -> Sockaddr:
        """Return the default destination, the kernel's being all zero."""
        return self.peer

    # -- transfer ---------------------------------------------------------------------------------

    def sendmsg(
        self,
        data: bytes | memoryview,
        to: Sockaddr | None,
        control: Sequence[Control],  # noqa: ARG002
        flags: int,
        nonblock: bool,  # noqa: ARG002
    ) -> int:
        """Send requests; the kernel answers before this returns.

        Raises EOPNOTSUPP, EINVAL, EPERM (groups), ECONNREFUSED (nobody there), EMSGSIZE.
        """
        if flags & MSG_OOB:
            raise KernelError(Errno.EOPNOTSUPP)
        dst = self.peer
        if to is not None:
            if not isinstance(to, NetlinkAddr):
                raise KernelError(Errno.EINVAL)
            dst = to
        if not self.port:
            self._autobind()
        if len(data) > self.sndbuf - 32:
            raise KernelError(Errno.EMSGSIZE)
        if dst.groups and not curlwp().proc.cred.crhas(PRIV_SYS_IP_CONFIG):
            raise KernelError(Errno.EPERM)
        if dst.pid:
            other = self._ports().get((self.protocol, dst.pid))
            if other is None or self.protocol in _ANSWERS:
                raise KernelError(Errno.ECONNREFUSED)
            other.deliver(bytes(data), self.port)
        elif self.protocol in _ANSWERS:
            for request in m.parse(bytes(data)):
                self._request(request)
        else:
            raise KernelError(Errno.ECONNREFUSED)
        return len(data)

    def _request(self, request: m.Message) -> None:
        """Do one request and queue its answers (netlink_rcv_skb, rtnetlink_rcv_msg)."""
        errno: Errno | None = None
        if request.flags & m.NLM_F_REQUEST and request.type >= m.NLMSG_MIN_TYPE:
            try:
                answers = _ANSWERS[self.protocol](self.stack, request, curlwp().proc.cred)
            except KernelError as error:
                errno = error.errno
            else:
                if answers is not None:
                    self._dump(request, answers)
                    return
        if errno is not None or request.flags & m.NLM_F_ACK:
            self._acknowledge(request, errno)

    def _dump(self, request: m.Message, answers: list[tuple[int, bytes]]) -> None:
        """Queue what was asked for: many messages and a last one, or the single one."""
        many = request.flags & m.NLM_F_DUMP == m.NLM_F_DUMP
        flags = m.NLM_F_MULTI if many else 0
        packed = b""
        for kind, payload in answers:
            one = m.build(kind, flags, request.seq, self.port, payload)
            if packed and len(packed) + len(one) > _DUMP_SIZE:
                self.deliver(packed, 0)
                packed = b""
            packed += one
        if packed:
            self.deliver(packed, 0)
        if many:
            done = m.build(m.NLMSG_DONE, flags, request.seq, self.port, bytes(4))
            self.deliver(done, 0)
        elif request.flags & m.NLM_F_ACK:
            self._acknowledge(request, None)

    def _acknowledge(self, request: m.Message, errno: Errno | None) -> None:
        """Queue an error, 0 for success, with the request that it is about."""
        size = m.NLMSG.size + len(request.payload)
        head = m.NLMSG.pack(size, request.type, request.flags, request.seq, request.pid)
        code = -ERRNO_OUT[errno] if errno is not None else 0
        whole = errno is not None and _CAP_ACK not in self.flags
        flags = 0 if whole else m.NLM_F_CAPPED
        body = _ERROR.pack(code) + head + (request.payload if whole else b"")
        self.deliver(m.build(m.NLMSG_ERROR, flags, request.seq, self.port, body), 0)

    def _changed(self, kind: str, netif: NetIf) -> None:
        """Tell of a change, if this socket is in the group for it."""
        for group, type_, payload in rtnl.event(kind, netif):
            if self.groups >> group - 1 & 1:
                self.deliver(m.build(type_, 0, 0, 0, payload), 0, 1 << group - 1)

    def deliver(self, data: bytes, sender: int, groups: int = 0) -> None:
        """Put a message into the queue; with no room it is lost and ENOBUFS told instead."""
        if self.used > self.rcvbuf:
            self.so_error = Errno.ENOBUFS
        else:
            self.queue.append((data, sender | groups << 32))
            self.used += len(data)
        self.wake_readers(POLLIN | POLLRDNORM)

    def recvmsg(self, size: int, flags: int, nonblock: bool) -> Received:
        """Receive one message, cut to `size` bytes. Raises EAGAIN, EINTR, ENOBUFS."""
        if flags & MSG_OOB:
            raise KernelError(Errno.EOPNOTSUPP)
        deadline = None if nonblock or self.queue else self.until(self.rcvtimeo)
        while not self.queue:
            self.take_error()
            if nonblock:
                raise KernelError(Errno.EAGAIN)
            self.wait(self.cv_read, deadline)
        data, source = self.queue[0]
        if not flags & MSG_PEEK:
            self.queue.popleft()
            self.used -= len(data)
        control: list[Control] = []
        if self.passcred:
            control.append(Control(SOL_SOCKET, SCM_UCRED, Ucred(0, 0, 0)))
        cut = MSG_TRUNC if len(data) > size else 0
        addr = NetlinkAddr(source & 0xFFFFFFFF, source >> 32)
        return Received(data[:size], addr, tuple(control), cut, len(data))

    def inq(self) -> int:
        """Return the length of the next message."""
        return len(self.queue[0][0]) if self.queue else 0

    def outq(self) -> int:
        """Return 0: requests are answered at once."""
        return 0

    def poll(self, file: File, events: int) -> tuple[int, Pollhead | None]:  # noqa: ARG002
        """Return what is ready."""
        ready = POLLOUT
        if self.queue:
            ready |= POLLIN | POLLRDNORM
        if self.so_error is not None:
            ready |= POLLERR
        return ready & (events | POLLERR), self.pollhead

    def close(self, file: File) -> None:  # noqa: ARG002
        """Give the address back."""
        self._set_groups(0)
        if self.port:
            self._ports().pop((self.protocol, self.port), None)
        self.queue.clear()

    # -- options ----------------------------------------------------------------------------------

    def getsockopt(self, level: int, name: int, size: int) -> Any:
        """Return an option of netlink or SOL_SOCKET. Raises ENOPROTOOPT."""
        if level != SOL_NETLINK:
            return super().getsockopt(level, name, size)
        if name in _FLAGS:
            return int(name in self.flags)
        if name == _LIST_MEMBERSHIPS:
            return self.groups & 0xFFFFFFFF
        raise KernelError(Errno.ENOPROTOOPT)

    def setsockopt(self, level: int, name: int, value: Any, cred: Cred) -> None:
        """Set an option of netlink or SOL_SOCKET. Raises ENOPROTOOPT, EINVAL."""
        if level != SOL_NETLINK:
            super().setsockopt(level, name, value, cred)
        elif name in (_ADD_MEMBERSHIP, _DROP_MEMBERSHIP):
            if not 0 < value < 64:
                raise KernelError(Errno.EINVAL)
            bit = 1 << value - 1
            self._set_groups(self.groups | bit if name == _ADD_MEMBERSHIP else self.groups & ~bit)
        elif name in _FLAGS:
            (self.flags.add if value else self.flags.discard)(name)
        else:
            raise KernelError(Errno.ENOPROTOOPT)
