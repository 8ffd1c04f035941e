"""AF_UNIX streams: bytes in order, with urgent data, files and credentials among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import curlwp
from lxemu.kernel.net.socketvar import (
    MSG_DONTWAIT,
    MSG_OOB,
    MSG_PEEK,
    MSG_WAITALL,
    RCV_SHUTDOWN,
    SEND_SHUTDOWN,
    SO_OOBINLINE,
    Control,
    Received,
    Ucred,
)
from lxemu.kernel.net.unix import CONNECTED, Message, head_charge, page_align
from lxemu.kernel.net.unix_conn import UnixConn
from lxemu.kernel.poll import POLLPRI

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lxemu.kernel.cred import Cred
    from lxemu.kernel.net.netstack import NetStack
    from lxemu.kernel.net.sockaddr import Sockaddr, UnixAddr
    from lxemu.kernel.vfs.file import File

#: What a receive of a single message must not ask for.
_SLOW = MSG_PEEK | MSG_WAITALL
#: What fits in one page with its trailer; more is in pages of its own.
_INLINE = 4096 - 320
#: A long write goes in pieces of at most this.
_PIECE = _INLINE + 32768


def stream_charge(n: int) -> int:
    """Return what a piece of `n` bytes is charged."""
    if n <= _INLINE:
        return head_charge(n)
    paged = min(n, page_align(n - _INLINE))
    return head_charge(n - paged) + page_align(paged)


class UnixStream(UnixConn):
    """A stream socket; `oob` is the message of one urgent byte, until it is read."""

    def __init__(self, stack: NetStack, sotype: int, cred: Cred) -> None:
        super().__init__(stack, sotype, cred)
        self.oob: Message | None = None

    # -- sending ----------------------------------------------------------------------------------

    def sendmsg(
        self,
        data: bytes | memoryview,
        to: Sockaddr | None,
        control: Sequence[Control],
        flags: int,
        nonblock: bool,
    ) -> int:
        """Send all of `data`, waiting for room; less when that ends early.

        Raises EISCONN or EOPNOTSUPP (with an address), ENOTCONN, EPIPE, EAGAIN, EINTR.
        """
        total = len(data)
        if flags & MSG_OOB:
            if not total:
                raise KernelError(Errno.EOPNOTSUPP)
            total -= 1
        if to is not None:
            raise KernelError(Errno.EISCONN if self.state == CONNECTED else Errno.EOPNOTSUPP)
        peer = self.peer
        if not isinstance(peer, UnixStream):
            raise KernelError(Errno.ENOTCONN)
        if self.shut & SEND_SHUTDOWN:
            raise KernelError(Errno.EPIPE)
        cred = curlwp().proc.cred
        deadline = None if self.sndtimeo is None else self.until(self.sndtimeo)
        data = bytes(data)
        body: bytes | memoryview = data if total == len(data) else data[:total]
        limit = min((self.sndbuf >> 1) - 64, _PIECE)
        if total > limit:
            body = memoryview(body)
        sent = 0
        try:
            while sent < total:
                if self.queued >= self.sndbuf:
                    self.wait_room(nonblock, deadline)
                piece = body if total <= limit else body[sent : sent + limit]
                self._deliver(peer, Message(self, piece, stream_charge(len(piece))), control, cred)
                control = ()
                sent += len(piece)
            if flags & MSG_OOB:
                self.wait_room(nonblock, deadline)
                urgent = Message(self, data[total:], stream_charge(1))
                self._deliver(peer, urgent, control, cred)
                sent += 1
                peer.set_urgent(urgent)
        except KernelError:
            if not sent:
                raise
        return sent

    def _deliver(
        self, peer: UnixStream, message: Message, control: Sequence[Control], cred: Cred
    ) -> None:
        if peer.dead or peer.shut & RCV_SHUTDOWN:
            raise KernelError(Errno.EPIPE)
        self.attach(message, control, peer, cred)
        peer.enqueue(message)

    def set_urgent(self, message: Message) -> None:
        """Note an urgent byte that has come; the one before it becomes ordinary."""
        self.oob = message
        self.signal_urgent()
        self.wake_readers(POLLPRI)

    # -- receiving --------------------------------------------------------------------------------

    def recvmsg(self, size: int, flags: int, nonblock: bool) -> Received:
        """Receive what there is, waiting when there is nothing (for all of it with MSG_WAITALL).

        Files that come with a byte end the data. Raises EINVAL (not connected), EAGAIN, EINTR, and
        an error that has been waiting.
        """
        if self.state != CONNECTED:
            raise KernelError(Errno.EINVAL)
        if flags & MSG_OOB:
            return self._urgent_byte(size, flags)
        queue = self.queue
        if len(queue) == 1 and not flags & _SLOW and not self.identifies and self.peek_off < 0:
            message = queue[0]
            data = message.data
            if (
                self.rcvlowat <= len(data) <= size
                and not message.start
                and not message.files
                and not self.oob
            ):
                # The usual case: one message, taken whole.
                queue.popleft()
                message.free()
                return Received(bytes(data), message.sender.name, (), 0, len(data))
        return _Reader(self, size, flags, nonblock).run()

    def _urgent_byte(self, size: int, flags: int) -> Received:
        message = self.oob
        if message is None or self.options.get(SO_OOBINLINE) or not len(message):
            raise KernelError(Errno.EINVAL)
        data = bytes(message.data[message.start :][:size])
        if not flags & MSG_PEEK:
            # The empty message stays and marks the place.
            message.start = len(message.data)
            self.oob = None
        return Received(data, None, (), MSG_OOB, 1)

    def atmark(self) -> int:
        """Return whether the urgent byte, or the place where it was, is next."""
        if not self.queue:
            return 0
        first = self.queue[0]
        if first is self.oob:
            return 1
        if len(first):
            return 0
        after = self.queue[1] if len(self.queue) > 1 else None
        return int(self.oob is None or after is self.oob)

    def urgent(self) -> bool:
        """Return whether there is urgent data."""
        return self.oob is not None

    def consume(self, message: Message) -> None:
        """Take the first message, which has been read to its end, off the queue."""
        self.queue.popleft()
        message.free()


_STOP, _ORDINARY = -1, -2


class _Reader:
    """One receive on a stream: what it has got so far, and the rules for going on."""

    __slots__ = (
        "addr",
        "copied",
        "files",
        "flags",
        "nonblock",
        "parts",
        "peeking",
        "size",
        "skip",
        "so",
        "ucred",
    )

    def __init__(self, so: UnixStream, size: int, flags: int, nonblock: bool) -> None:
        self.so = so
        self.size = size
        self.flags = flags
        self.nonblock = nonblock or flags & MSG_DONTWAIT != 0
        self.peeking = flags & MSG_PEEK != 0
        self.skip = max(so.peek_off, 0) if self.peeking else 0
        self.parts: list[bytes | memoryview] = []
        self.copied = 0
        self.addr: UnixAddr | None = None
        self.ucred: Ucred | None = None
        self.files: list[File] | None = None

    def run(self) -> Received:
        """Read until there is enough, or nothing more that may go with it."""
        so = self.so
        target = (self.size if self.flags & MSG_WAITALL else min(so.rcvlowat, self.size)) or 1
        deadline = None if so.rcvtimeo is None else so.until(so.rcvtimeo)
        while True:
            if self._take() or self.copied >= target:
                break
            if so.so_error is not None:
                if self.copied:
                    so.so_error = None
                    break
                so.take_error()
            if so.shut & RCV_SHUTDOWN:
                break
            try:
                if self.nonblock:
                    raise KernelError(Errno.EAGAIN)
                so.wait(so.cv_read, deadline)
            except KernelError:
                if self.copied:
                    break
                raise
            if self.peeking:
                self._restart()
        return self._finish()

    def _restart(self) -> None:
        """Look again from the beginning: a peek leaves everything where it was."""
        if self.files:
            for file in self.files:
                file.rele()
        self.skip = max(self.so.peek_off, 0)
        self.parts.clear()
        self.copied = 0
        self.files = None

    def _take(self) -> bool:
        """Take messages from the queue; return whether what follows belongs to another receive."""
        so, queue = self.so, self.so.queue
        at = 0
        passed = skipped = False
        while at < len(queue):
            message = queue[at]
            if not skipped and (message is so.oob or not len(message)):
                step = self._mark(message, at)
                if step == _STOP:
                    return True
                if step != _ORDINARY:
                    at += step
                    passed = True
                    continue
            passed = False
            left = len(message)
            if self.skip >= left:
                # SO_PEEK_OFF passes over an urgent byte as over any other.
                self.skip -= left
                at += 1
                skipped = True
                continue
            skipped = False
            if so.identifies:
                if self.ucred is None:
                    self.ucred = message.ucred
                elif self.ucred != message.ucred:
                    return True
            if self.addr is None:
                self.addr = message.sender.name
            n = min(left - self.skip, self.size - self.copied)
            start = message.start + self.skip
            whole = n == len(message.data)
            self.parts.append(
                message.data if whole else memoryview(message.data)[start : start + n]
            )
            self.copied += n
            if self.peeking:
                # A peek looks at everything up to files, even when it has all the bytes it wants,
                # and does not wait for more: so does the reference system.
                self.skip = 0
                at += 1
                if message.files:
                    self.files = [file.hold() for file in message.files]
                    return True
                continue
            message.start = start + n
            if message.files:
                self.files = so.take_files(message)
            if not len(message):
                so.consume(message)
            if self.files or self.copied >= self.size:
                return True
        return self.peeking and bool(self.parts) and not passed

    def _mark(self, message: Message, at: int) -> int:
        """Deal with an urgent byte, or its empty place.

        Returns how many messages to pass over, or one of _STOP and _ORDINARY (read it as any).
        """
        so = self.so
        if not len(message):
            if self.copied and (so.oob is None or message is so.oob):
                return _STOP
            if self.peeking:
                return 1
            so.consume(message)
            return 0
        if self.copied:
            return _STOP
        inline = so.options.get(SO_OOBINLINE)
        if self.peeking:
            return _ORDINARY if inline else 1
        so.oob = None
        if not inline:
            del so.queue[at]
            message.free()
        return 0

    def _finish(self) -> Received:
        so, parts = self.so, self.parts
        if so.peek_off >= 0:
            off = so.peek_off
            so.peek_off = off + self.copied if self.peeking else max(off - self.copied, 0)
        if len(parts) == 1:
            data = parts[0] if isinstance(parts[0], bytes) else bytes(parts[0])
        else:
            data = b"".join(parts)
        # At the end of a stream there are credentials, too: of nobody, but with root's ids.
        control = so.control_of(self.ucred or Ucred(0, 0, 0), self.files)
        return Received(data, self.addr, control, 0, self.copied)
