"""The TCP connections of a network stack: who listens where, and which addresses are in use."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.net.ports import Binding, PortTable
from lxemu.kernel.net.tcpconn import TCPS_LISTEN, Endpoint, TcpConn

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lxemu.kernel.net.netstack import NetStack
    from lxemu.kernel.net.tcplisten import Listener
    from lxemu.kernel.sched import Callout

_SECOND = 1_000_000_000
TIME_WAIT_LENGTH = 60 * _SECOND
#: A connection may take over the addresses of one that has been in TIME_WAIT for so long.
TIME_WAIT_REUSE = _SECOND


class TimeWait:
    """What is left of a connection for a while, so that late segments could not hit a new one."""

    __slots__ = ("binding", "expires", "faddr", "laddr")

    def __init__(self, laddr: Endpoint, faddr: Endpoint, expires: int) -> None:
        self.laddr = laddr
        self.faddr = faddr
        self.expires = expires
        self.binding: Binding | None = None


Key = tuple[Endpoint, Endpoint]


class TcpTable:
    """Ports, connections by their addresses, and what is in TIME_WAIT."""

    def __init__(self, stack: NetStack) -> None:
        self.stack = stack
        self.ports = PortTable(stack.entropy, datagram=False)
        self.conns: dict[Key, TcpConn] = {}
        self.waits: dict[Key, TimeWait] = {}
        self._expiry: deque[TimeWait] = deque()
        self._callout: Callout | None = None
        self.active_opens = self.passive_opens = self.resets = 0

    # -- listeners --------------------------------------------------------------------------------

    def listener_for(self, to: Endpoint, who: Endpoint | None) -> Listener | None:
        """Return who answers a SYN from `who` to `to`."""
        found = self.ports.best(to.host, to.port, listening=True)
        if not found:
            return None
        binding = found[0]
        if len(found) > 1:
            binding = found[hash(who) % len(found)]
        conn = binding.owner
        assert isinstance(conn, TcpConn)
        return conn.listener

    def listeners(self) -> Iterable[TcpConn]:
        """Return every listening end."""
        for bindings in tuple(self.ports.listening.values()):
            for binding in bindings:
                yield binding.owner

    # -- connections ------------------------------------------------------------------------------

    def join(self, conn: TcpConn, like: Binding | None) -> None:
        """Enter a connection that a listener's binding `like` has made."""
        assert conn.laddr is not None
        assert conn.faddr is not None
        key = (conn.laddr, conn.faddr)
        self._forget(key)
        self.conns[key] = conn
        host = conn.laddr.host
        family = like.family if like is not None else 4 if len(host) == 4 else 6
        binding = Binding(conn, family, host, conn.laddr.port)
        if like is not None:
            binding.sharing_of(like)
        binding.connected = True
        conn.binding = binding
        self.ports.add(binding)
        self.passive_opens += 1

    def enter(self, conn: TcpConn) -> None:
        """Enter a connection that a socket starts. Raises EADDRNOTAVAIL: these addresses are used.

        The binding has a port, or 0: then it gets one that makes the pair of addresses unique.
        """
        binding = conn.binding
        assert binding is not None
        assert conn.faddr is not None
        if binding.port:
            laddr = Endpoint(binding.host, binding.port)
            if not self._free((laddr, conn.faddr)):
                raise KernelError(Errno.EADDRNOTAVAIL)
        else:
            laddr = self._choose(binding, conn.faddr)
            binding.port = laddr.port
            binding.connected = True
            self.ports.add(binding)
        conn.laddr = laddr
        key = (laddr, conn.faddr)
        self._forget(key)
        self.conns[key] = conn
        self.active_opens += 1

    def _choose(self, binding: Binding, faddr: Endpoint) -> Endpoint:
        """Return a local address with an ephemeral port; connections may share one port."""
        for port in self.ports.ephemeral(odd=False):
            laddr = Endpoint(binding.host, port)
            others = self.ports.at(port)
            if others and not all(other.connected for other in others):
                continue
            if self._free((laddr, faddr)):
                return laddr
        raise KernelError(Errno.EADDRNOTAVAIL)

    def _free(self, key: Key) -> bool:
        if key in self.conns:
            return False
        wait = self.waits.get(key)
        if wait is None:
            return True
        age = TIME_WAIT_LENGTH - (wait.expires - self.stack.clock.hrtime())
        return age >= TIME_WAIT_REUSE

    def gone(self, conn: TcpConn) -> None:
        """Take a connection out of the tables; it is not an error if it is not there."""
        if conn.laddr is not None and conn.faddr is not None:
            key = (conn.laddr, conn.faddr)
            if self.conns.get(key) is conn:
                del self.conns[key]
        binding = conn.binding
        if binding is not None and (conn.orphan or not binding.explicit):
            self.ports.remove(binding)
            conn.binding = None

    # -- TIME_WAIT --------------------------------------------------------------------------------

    def time_wait(self, conn: TcpConn) -> None:
        """Keep the addresses of `conn` in use for a while after its end."""
        if conn.laddr is None or conn.faddr is None or conn.binding is None:
            return
        expires = self.stack.clock.hrtime() + TIME_WAIT_LENGTH
        wait = TimeWait(conn.laddr, conn.faddr, expires)
        like = conn.binding
        assert like is not None
        binding = Binding(wait, like.family, wait.laddr.host, wait.laddr.port)
        binding.sharing_of(like)
        binding.closing = binding.connected = True
        wait.binding = binding
        self.ports.add(binding)
        self.waits[wait.laddr, wait.faddr] = wait
        self._expiry.append(wait)
        if self._callout is None:
            self._callout = self.stack.disp.timeout(expires, self._expire)

    def _forget(self, key: Key) -> None:
        wait = self.waits.pop(key, None)
        if wait is not None and wait.binding is not None:
            self.ports.remove(wait.binding)

    def _expire(self) -> None:
        self._callout = None
        now = self.stack.clock.hrtime()
        expiry = self._expiry
        while expiry and expiry[0].expires <= now:
            wait = expiry.popleft()
            if self.waits.get((wait.laddr, wait.faddr)) is wait:
                self._forget((wait.laddr, wait.faddr))
        if expiry:
            self._callout = self.stack.disp.timeout(expiry[0].expires, self._expire)

    def drain(self) -> None:
        """End every wait: of TIME_WAIT, and of closed ends for the others' FIN."""
        for key in tuple(self.waits):
            self._forget(key)
        if self._callout is not None:
            self.stack.disp.untimeout(self._callout)
            self._callout = None
        self._expiry.clear()
        for conn in tuple(self.conns.values()):
            if conn.orphan:
                conn.abort()

    def all_ends(self) -> Iterable[TcpConn]:
        """Return what a table of connections shows: listeners, then connections."""
        for conn in self.listeners():
            assert conn.state == TCPS_LISTEN
            yield conn
        yield from tuple(self.conns.values())
