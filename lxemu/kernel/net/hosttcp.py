"""TCP connections with the other end on the host: a pump between a connection and a host socket.

The other end of the guest's connection is an ordinary one of ours, in no table. What arrives in it
is sent on the host, what the host has is sent from it, so that states, windows, half-close and
resets are those of any connection. The host socket never blocks; the dispatcher watches it.
"""

from __future__ import annotations

import contextlib
import socket as host_socket
import struct
from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno
from lxemu.kernel.net.tcpconn import TCPS_CLOSED, TCPS_ESTABLISHED, TCPS_SYN_SENT, TcpConn
from lxemu.kernel.poll import POLLIN, POLLOUT, PollHook
from lxemu.kernel.vfs.host import host_error

if TYPE_CHECKING:
    from lxemu.kernel.net.netstack import NetStack

#: Most bytes moved from the host at a time.
_PIECE = 1 << 18
#: How long (s) the end of the machine waits for the host to take what was sent.
_LAST_WORDS = 5.0
#: SO_LINGER on, with no time: the host closes with a RST.
_RESET = struct.pack("ii", 1, 0)


class HostTcp:
    """A pump between `sock` and `far`, our end of the guest's connection."""

    def __init__(self, stack: NetStack, sock: host_socket.socket, far: TcpConn) -> None:
        self.stack = stack
        self.sock = sock
        self.far = far
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.setsockopt(host_socket.IPPROTO_TCP, host_socket.TCP_NODELAY, 1)
        self._watched = 0
        self._shut = False
        self._ended = False
        self._hook = PollHook(self._woken)
        far.pollhead.add(self._hook)
        stack.host_streams.add(self)

    def _woken(self, _events: int) -> None:
        """Something has changed at our end: data, room, a FIN or a RST."""
        far = self.far
        if far.state == TCPS_SYN_SENT:
            return
        if far.state == TCPS_CLOSED and far.error is not None:
            self.reset()
            return
        self._send()
        self._want()

    def _send(self) -> None:
        """Send on the host what has arrived, then the FIN."""
        far, sock = self.far, self.sock
        while far.queue and not self._ended:
            chunk = far.queue[0]
            try:
                sent = sock.send(chunk)
            except BlockingIOError:
                return
            except OSError:
                self.broken()
                return
            far.take(sent)
        if far.done and not self._shut and not self._ended:
            self._shut = True
            with contextlib.suppress(OSError):
                sock.shutdown(host_socket.SHUT_WR)
            self._finish()

    def _receive(self) -> None:
        """Take what the host has, as long as the guest's end has room."""
        far = self.far
        while not self._ended and not far.snd_shut:
            room = far.room()
            if room <= 0:
                return
            try:
                data = self.sock.recv(min(room, _PIECE))
            except BlockingIOError:
                return
            except OSError:
                self.broken()
                return
            if not data:
                far.send_fin()
                self._finish()
                return
            far.push(data)
            if len(data) < _PIECE:
                return

    def _finish(self) -> None:
        """Close the host socket once both directions have ended."""
        if self._shut and self.far.snd_shut:
            self.close()

    def _want(self) -> None:
        """Watch the host socket for what there is a use for."""
        wanted = 0
        if not self._ended:
            far = self.far
            if far.state >= TCPS_ESTABLISHED and not far.snd_shut and far.writable():
                wanted |= POLLIN
            if far.queue:
                wanted |= POLLOUT
        if wanted == self._watched:
            return
        disp, fd = self.stack.disp, self.sock.fileno()
        if self._watched:
            disp.unwatch(fd, self._ready)
        if wanted:
            disp.watch(fd, wanted, self._ready)
        self._watched = wanted

    def _ready(self, revents: int) -> None:
        """Go on: the host socket is ready."""
        if revents & ~POLLOUT:
            self._receive()
        if revents & POLLOUT:
            self._send()
        self._want()

    def broken(self) -> None:
        """Reset the guest's connection: the host's is broken."""
        self.close()
        self.far.abort()

    def reset(self) -> None:
        """Reset the host's connection: the guest's is."""
        if not self._ended:
            with contextlib.suppress(OSError):
                self.sock.setsockopt(host_socket.SOL_SOCKET, host_socket.SO_LINGER, _RESET)
        self.close()

    def finish(self) -> None:
        """Send what a guest that has ended well has left, for a while; then close."""
        if not self._ended and self.far.queue and self.far.error is None:
            with contextlib.suppress(OSError):
                self.sock.settimeout(_LAST_WORDS)
                for chunk in self.far.queue:
                    self.sock.sendall(chunk)
        self.close()

    def close(self) -> None:
        """Close the host socket."""
        if self._ended:
            return
        self._ended = True
        if self._watched:
            self.stack.disp.unwatch(self.sock.fileno(), self._ready)
            self._watched = 0
        self.far.pollhead.remove(self._hook)
        self.stack.host_streams.discard(self)
        self.sock.close()


class HostConnect:
    """An attempt of the guest's `near` to connect to somewhere through the host."""

    def __init__(self, stack: NetStack, near: TcpConn) -> None:
        self.stack = stack
        self.near = near
        assert near.faddr is not None
        host, port = near.faddr
        family = host_socket.AF_INET if len(host) == 4 else host_socket.AF_INET6
        self.sock = host_socket.socket(family, host_socket.SOCK_STREAM)
        self.sock.setblocking(False)
        near.state = TCPS_SYN_SENT
        near.outside = self
        stack.host_streams.add(self)
        stack.disp.watch(self.sock.fileno(), POLLOUT, self._ready)
        name = host_socket.inet_ntop(family, host)
        try:
            self.sock.connect((name, port))
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error)
        else:
            self._ready(POLLOUT)

    def _ready(self, _revents: int) -> None:
        code = self.sock.getsockopt(host_socket.SOL_SOCKET, host_socket.SO_ERROR)
        if code:
            self._fail(OSError(code, ""))
            return
        stack, near = self.stack, self.near
        self._stop()
        far = TcpConn(stack)
        far.laddr, far.faddr = near.faddr, near.laddr
        far.state = TCPS_ESTABLISHED
        assert near.faddr is not None
        near.mss = far.mss = stack.mss(near.faddr.host)
        pump = HostTcp(stack, self.sock, far)
        far.couple(near)
        pump._woken(0)

    def _fail(self, error: OSError) -> None:
        self._stop()
        self.sock.close()
        self.near.refused(host_error(error).errno)

    def _stop(self) -> None:
        self.near.outside = None
        self.stack.host_streams.discard(self)
        self.stack.disp.unwatch(self.sock.fileno(), self._ready)

    def finish(self) -> None:
        """Give the attempt up: the machine ends."""
        self.close()

    def close(self) -> None:
        """Give the attempt up."""
        self._stop()
        self.sock.close()


def connect_out(stack: NetStack, near: TcpConn) -> None:
    """Connect `near` to its foreign address through the host; the outcome comes later."""
    try:
        HostConnect(stack, near)
    except OSError as error:
        near.refused(host_error(error).errno if error.errno else Errno.ENETUNREACH)
