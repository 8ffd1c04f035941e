"""Random operations on AF_UNIX sockets, played by a guest and by the host alike.

Nothing waits: sockets do not block. Descriptors are named by their place in the list of those that
have been made, so that the two sides need not agree on numbers.
"""

from __future__ import annotations

import random
import struct
import zlib

AF_UNIX = 1
STREAM, DGRAM, SEQPACKET = 1, 2, 5
NONBLOCK = 0o4000
MSG_OOB, MSG_PEEK, MSG_TRUNC, MSG_DONTWAIT, MSG_WAITALL, MSG_NOSIGNAL = (
    1,
    2,
    0x20,
    0x40,
    0x100,
    0x4000,
)
SOL_SOCKET = 1
SO_ERROR, SO_SNDBUF, SO_OOBINLINE, SO_PASSCRED, SO_PEEK_OFF, SO_RCVLOWAT = 4, 7, 10, 16, 42, 18
FIONREAD, SIOCOUTQ, SIOCATMARK = 0x541B, 0x5411, 0x8905
ALL_EVENTS = 0x1 | 0x2 | 0x4 | 0x40 | 0x80 | 0x100 | 0x200 | 0x2000


def short(data):
    """Return what stands for data in a log: their beginning and a checksum."""
    return data[:6], zlib.crc32(data)


class Player:
    """One side: a caller of system calls, and the descriptors it has."""

    def __init__(self, caller, tag):
        self.c = caller
        self.tag = tag
        self.fds = []
        #: What is passed in messages: no socket, for the host collects cycles when it likes.
        self.pipe = caller.pipe()

    def close(self):
        for fd in (*self.fds, *self.pipe):
            self.c.sys("close", fd)

    # -- pieces ---------------------------------------------------------------------------------

    def _name(self, number):
        path = b"\0lxemu-random-%d-%d" % (self.tag, number)
        self.c.put(self.c.buf + 0x600, struct.pack("<H", AF_UNIX) + path)
        return self.c.buf + 0x600, 2 + len(path)

    def _fd(self, place):
        return self.fds[place % len(self.fds)] if self.fds else None

    def _keep(self, fd):
        if isinstance(fd, int):
            self.fds.append(fd)
            return "made"
        return fd

    def _int_of(self, name, *args):
        self.c.put(self.c.buf + 0x500, b"\xee" * 4)
        result = self.c.sys(name, *args, self.c.buf + 0x500)
        return result, self.c.word(self.c.buf + 0x500)

    # -- operations -----------------------------------------------------------------------------

    def pair(self, sotype):
        result = self.c.sys("socketpair", AF_UNIX, sotype | NONBLOCK, 0, self.c.buf)
        if result == 0:
            self.fds += [self.c.word(self.c.buf), self.c.word(self.c.buf + 4)]
        return result

    def socket(self, sotype):
        return self._keep(self.c.sys("socket", AF_UNIX, sotype | NONBLOCK, 0))

    def bind(self, place, number):
        return self.c.sys("bind", self._fd(place), *self._name(number))

    def connect(self, place, number):
        return self.c.sys("connect", self._fd(place), *self._name(number))

    def disconnect(self, place):
        self.c.put(self.c.buf, bytes(16))
        return self.c.sys("connect", self._fd(place), self.c.buf, 16)

    def listen(self, place, backlog):
        return self.c.sys("listen", self._fd(place), backlog)

    def accept(self, place):
        return self._keep(self.c.sys("accept4", self._fd(place), 0, 0, NONBLOCK))

    def send(self, place, size, flags, seed):
        data = random.Random(seed).randbytes(size)
        self.c.put(self.c.buf + 0x1000, data)
        return self.c.sys(
            "sendto", self._fd(place), self.c.buf + 0x1000, size, flags | MSG_NOSIGNAL, 0, 0
        )

    def sendto(self, place, number, size):
        addr, length = self._name(number)
        self.c.put(self.c.buf + 0x1000, bytes(size))
        fd = self._fd(place)
        return self.c.sys("sendto", fd, self.c.buf + 0x1000, size, MSG_NOSIGNAL, addr, length)

    def recv(self, place, size, flags):
        at, buf = self.c.buf + 0x500, self.c.buf + 0x1000
        self.c.put(at, struct.pack("<I", 110))
        self.c.put(buf, b"\xcc" * size)
        result = self.c.sys("recvfrom", self._fd(place), buf, size, flags, self.c.buf + 0x580, at)
        if not isinstance(result, int):
            return result
        return result, short(self.c.get(buf, size)), self.c.word(at)

    def recvmsg(self, place, size, room, flags):
        """Receive with control data; credentials are told by their presence only."""
        c, word = self.c, self.c.bits // 8
        buf, control = c.buf + 0x1000, c.buf + 0x400
        c.iovec((buf, size), at=0x800)
        ptr = "Q" if word == 8 else "I"
        header = struct.pack(
            f"<{ptr}I{'4x' if word == 8 else ''}{ptr}{ptr}{ptr}{ptr}I{'4x' if word == 8 else ''}",
            0, 0, c.buf + 0x800, 1, control, room, 0,
        )  # fmt: skip
        c.put(c.buf + 0x900, header)
        c.put(control, bytes(64))
        result = c.sys("recvmsg", self._fd(place), c.buf + 0x900, flags)
        if not isinstance(result, int):
            return result
        after = c.get(c.buf + 0x900, len(header))
        used = int.from_bytes(after[5 * word : 6 * word], "little")
        seen = int.from_bytes(after[6 * word : 6 * word + 4], "little")
        return result, short(c.get(buf, min(size, result))), used > 0, seen

    def pass_fd(self, place, size):
        """Send a descriptor with some bytes."""
        c, word = self.c, self.c.bits // 8
        ptr = "Q" if word == 8 else "I"
        fd, passed = self._fd(place), self.pipe[0]
        head = word + 8
        c.put(c.buf + 0x400, struct.pack(f"<{ptr}iii", head + 4, SOL_SOCKET, 1, passed))
        c.put(c.buf + 0x1000, bytes(size))
        c.iovec((c.buf + 0x1000, size), at=0x800)
        header = struct.pack(
            f"<{ptr}I{'4x' if word == 8 else ''}{ptr}{ptr}{ptr}{ptr}I{'4x' if word == 8 else ''}",
            0, 0, c.buf + 0x800, 1, c.buf + 0x400, head + (8 if word == 8 else 4), 0,
        )  # fmt: skip
        c.put(c.buf + 0x900, header)
        return c.sys("sendmsg", fd, c.buf + 0x900, MSG_NOSIGNAL)

    def take_fd(self, place, size):
        """Receive a descriptor, and close it."""
        got = self.recvmsg(place, size, 24 if self.c.bits == 64 else 16, 0)
        data = self.c.get(self.c.buf + 0x400, 24)
        word = self.c.bits // 8
        length, level, kind = struct.unpack_from("<Qii" if word == 8 else "<Iii", data)
        if isinstance(got, tuple) and got[2] and (level, kind) == (1, 1) and length > word + 8:
            self.c.sys("close", int.from_bytes(data[word + 8 : word + 12], "little"))
        return got

    def shutdown(self, place, how):
        return self.c.sys("shutdown", self._fd(place), how)

    def close_one(self, place):
        if not self.fds:
            return None
        return self.c.sys("close", self.fds.pop(place % len(self.fds)))

    def dup(self, place):
        return self._keep(self.c.sys("dup", self._fd(place)))

    def poll(self, place):
        self.c.put(self.c.buf, struct.pack("<iHH", self._fd(place), ALL_EVENTS, 0))
        result = self.c.sys("poll", self.c.buf, 1, 0)
        return result, self.c.word(self.c.buf + 6, 2, signed=False)

    def count(self, place, request):
        return self._int_of("ioctl", self._fd(place), request)

    def option(self, place, name, value):
        self.c.put(self.c.buf, struct.pack("<i", value))
        return self.c.sys("setsockopt", self._fd(place), SOL_SOCKET, name, self.c.buf, 4)

    def error(self, place):
        self.c.put(self.c.buf, struct.pack("<ii", -1, 4))
        fd = self._fd(place)
        result = self.c.sys("getsockopt", fd, SOL_SOCKET, SO_ERROR, self.c.buf, self.c.buf + 4)
        return result, self.c.word(self.c.buf)

    def names(self, place):
        out = []
        for call in ("getsockname", "getpeername"):
            self.c.put(self.c.buf, struct.pack("<I", 110) + bytes(110))
            result = self.c.sys(call, self._fd(place), self.c.buf + 4, self.c.buf)
            size = self.c.word(self.c.buf)
            addr = self.c.get(self.c.buf + 4, min(size, 110))
            # A name that was chosen by the kernel is random.
            out.append((result, size, addr if size != 8 else b"chosen"))
        return out


SIZES = (0, 1, 3, 10, 100, 1000, 4000, 9000)
SEND_FLAGS = (0, 0, 0, 0, MSG_OOB)
RECV_FLAGS = (
    0,
    0,
    0,
    MSG_PEEK,
    MSG_TRUNC,
    MSG_WAITALL,
    MSG_OOB,
    MSG_PEEK | MSG_OOB,
    MSG_PEEK | MSG_TRUNC,
)
ROOMS = (0, 4, 12, 16, 20, 24, 64)
OPTIONS = (
    (SO_OOBINLINE, (0, 1)),
    (SO_PASSCRED, (0, 1)),
    (SO_PEEK_OFF, (-1, 0, 2, 50)),
    (SO_SNDBUF, (2000, 5000, 20000)),
    (SO_RCVLOWAT, (1, 5)),
)


def choose(rng, *, urgent):
    """Return one operation: a method of Player and its arguments.

    With `urgent` data there is no FIONREAD: some hosts' kernels go on counting an urgent byte that
    has been passed over.
    """
    what, place = rng.random(), rng.randrange(1000)
    sotype = rng.choice((STREAM, DGRAM, SEQPACKET))
    size = rng.choice(SIZES)
    table = (
        (0.04, "pair", sotype),
        (0.02, "socket", sotype),
        (0.03, "bind", place, rng.randrange(6)),
        (0.04, "connect", place, rng.randrange(6)),
        (0.01, "disconnect", place),
        (0.02, "listen", place, rng.choice((0, 1, 5, -1))),
        (0.03, "accept", place),
        (0.20, "send", place, size, rng.choice(SEND_FLAGS) * urgent, rng.randrange(1 << 30)),
        (0.04, "sendto", place, rng.randrange(6), size),
        (0.20, "recv", place, size, rng.choice(RECV_FLAGS)),
        (0.05, "recvmsg", place, size, rng.choice(ROOMS), rng.choice(RECV_FLAGS)),
        (0.03, "pass_fd", place, size),
        (0.03, "take_fd", place, size),
        (0.03, "shutdown", place, rng.choice((0, 1, 2, 3))),
        (0.05, "close_one", place),
        (0.01, "dup", place),
        (0.07, "poll", place),
        (0.06, "count", place, rng.choice((SIOCATMARK if urgent else FIONREAD, SIOCOUTQ))),
        (0.02, "error", place),
        (0.01, "names", place),
    )  # fmt: skip
    for share, *operation in table:
        what -= share
        if what < 0:
            return operation
    name, values = rng.choice(OPTIONS)
    return ["option", place, name, rng.choice(values)]


class QueuePlayer(Player):
    """A player that watches its sockets with two event queues; an interest is named by its turn."""

    def __init__(self, caller, tag):
        super().__init__(caller, tag)
        self.queues = [caller.sys("epoll_create1", 0) for _ in range(2)]
        self.turn = 0

    def close(self):
        super().close()
        for queue in self.queues:
            self.c.sys("close", queue)

    def watch(self, place, queue, operation, events):
        self.turn += 1
        self.c.put(self.c.buf, struct.pack("<IQ", events, self.turn))
        return self.c.sys("epoll_ctl", self.queues[queue], operation, self._fd(place), self.c.buf)

    def wait(self, queue):
        result = self.c.sys("epoll_wait", self.queues[queue], self.c.buf + 0x1000, 64, 0)
        if not isinstance(result, int):
            return result
        data = self.c.get(self.c.buf + 0x1000, 12 * result)
        return sorted((turn, hex(events)) for events, turn in struct.iter_unpack("<IQ", data))


EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLONESHOT, EPOLLET = 1, 4, 0x2000, 1 << 30, 1 << 31
INTERESTS = (
    EPOLLIN,
    EPOLLOUT,
    EPOLLIN | EPOLLOUT,
    EPOLLIN | EPOLLRDHUP,
    EPOLLIN | EPOLLET,
    EPOLLOUT | EPOLLET,
    EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
    EPOLLIN | EPOLLONESHOT,
    EPOLLIN | EPOLLOUT | EPOLLET | EPOLLONESHOT,
)
ADD, DELETE, CHANGE = 1, 2, 3


def choose_with_queues(rng, *, urgent):
    """Return one operation on sockets or event queues."""
    what, place, queue = rng.random(), rng.randrange(1000), rng.randrange(2)
    for share, operation in ((0.10, ADD), (0.03, CHANGE), (0.02, DELETE)):
        what -= share
        if what < 0:
            return ["watch", place, queue, operation, rng.choice(INTERESTS)]
    return ["wait", queue] if what < 0.2 else choose(rng, urgent=urgent)
