"""Listening, and the handshake between two ends (illumos tcp listener and eager; listen(2))."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from lxemu.kernel.net.tcpconn import (
    TCPS_ESTABLISHED,
    TCPS_SYN_RCVD,
    TCPS_SYN_SENT,
    TcpConn,
)
from lxemu.kernel.poll import POLLIN, POLLRDNORM

if TYPE_CHECKING:
    from lxemu.kernel.net.netstack import NetStack

_SECOND = 1_000_000_000
#: A SYN is sent again this often at intervals of a second, then at doubling ones.
_LINEAR_RETRIES = 4


class Listener:
    """What a listening end has: the connections that wait to be accepted.

    One more than `backlog` may wait. `deferred` are complete connections that are not shown before
    data come, when `defer` (seconds) asks for it.
    """

    __slots__ = ("backlog", "conn", "defer", "deferred", "queue")

    def __init__(self, conn: TcpConn, backlog: int) -> None:
        self.conn = conn
        self.backlog = backlog
        self.defer = 0
        self.queue: deque[TcpConn] = deque()
        self.deferred: list[TcpConn] = []

    def full(self) -> bool:
        """Return whether a further SYN is to be dropped."""
        return len(self.queue) > self.backlog

    def syn(self, client: TcpConn) -> None:
        """Answer a SYN of `client` when there is a place in the queue; else it is as if lost."""
        if self.full():
            return
        assert client.laddr is not None
        assert client.faddr is not None
        conn = self.conn
        child = TcpConn(conn.stack)
        child.laddr, child.faddr = client.faddr, client.laddr
        child.window, child.sndbuf = conn.window, conn.sndbuf
        child.rcv_lowat, child.oob_inline = conn.rcv_lowat, conn.oob_inline
        child.mss = client.mss = conn.stack.mss(child.laddr.host)
        child.parent = self
        conn.stack.tcp.join(child, conn.binding)
        if self.defer:
            child.state = TCPS_SYN_RCVD
            self.deferred.append(child)
            self._limit_deferral(child)
            child.couple(client)
            return
        child.state = TCPS_ESTABLISHED
        child.couple(client)
        self.enqueue(child)

    def enqueue(self, child: TcpConn) -> None:
        """Offer a complete connection to accept."""
        self.queue.append(child)
        self.conn.cv_read.broadcast()
        if self.conn.pollhead.waiters:
            self.conn.pollhead.wakeup(POLLIN | POLLRDNORM)

    def data_came(self, child: TcpConn) -> None:
        """Show a deferred connection: there is something to read in it, or its time is over."""
        if child not in self.deferred:
            return
        child.stop_timer()
        self.deferred.remove(child)
        child.state = TCPS_ESTABLISHED
        self.enqueue(child)

    def _limit_deferral(self, child: TcpConn) -> None:
        stack = child.stack
        deadline = stack.clock.hrtime() + self.defer * _SECOND

        def ended() -> None:
            child.callout = None
            self.data_came(child)

        child.callout = stack.disp.timeout(deadline, ended)

    def close(self) -> None:
        """Reset every connection that nobody will accept."""
        waiting = [*self.queue, *self.deferred]
        self.queue.clear()
        self.deferred.clear()
        for child in waiting:
            child.parent = None
            child.abort()


def send_syn(conn: TcpConn) -> None:
    """Ask the other side for a connection; `conn` has its addresses.

    The answer is there at once, unless the listener's queue is full: then the SYN is sent again
    after a while, until the attempt times out.
    """
    conn.state = TCPS_SYN_SENT
    conn.retries = 0
    _try_syn(conn)


def _try_syn(conn: TcpConn) -> None:
    stack = conn.stack
    conn.callout = None
    assert conn.faddr is not None
    listener = stack.tcp.listener_for(conn.faddr, conn.laddr)
    if listener is None:
        if conn.faddr == conn.laddr:
            # The other side is the socket itself: both SYNs meet (simultaneous open).
            conn.peer = conn
            conn.set_state(TCPS_ESTABLISHED)
            return
        conn.refused()
        return
    listener.syn(conn)
    if conn.state == TCPS_SYN_SENT:
        _retry_later(conn, stack)


def _retry_later(conn: TcpConn, stack: NetStack) -> None:
    if conn.retries > _LINEAR_RETRIES:
        wait = 1 << conn.retries - _LINEAR_RETRIES
    else:
        wait = 1
    limit = conn.syn_retries

    def again() -> None:
        if conn.state != TCPS_SYN_SENT:
            return
        conn.retries += 1
        if conn.retries > limit:
            conn.callout = None
            conn.timed_out()
        else:
            _try_syn(conn)

    conn.callout = stack.disp.timeout(stack.clock.hrtime() + wait * _SECOND, again)
