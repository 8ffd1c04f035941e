"""/proc/sys/net: the values that the network of the reading process acts by (ip-sysctl).

Others, that only tune what is not there, are kept as written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lxemu.kernel.errno import Errno, KernelError
from syscalls.fs.pseudo import PseudoDir, TextFile, reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxemu.kernel.net.netstack import NetStack
    from syscalls.fs.pseudo import PseudoVfs

_LAST_PORT: Final = 65535
_MAX_GROUP: Final = (1 << 31) - 1


class _NetValue(TextFile):
    """Numbers of a network, read and written; `take` checks what is written. EINVAL."""

    __slots__ = ("_show", "_take")

    def __init__(
        self,
        vfs: PseudoVfs,
        show: Callable[[NetStack], tuple[int, ...]],
        take: Callable[[NetStack, tuple[int, ...]], None],
    ) -> None:
        super().__init__(vfs, self._text, 0o644, store=self._written)
        self._show = show
        self._take = take

    @staticmethod
    def _stack() -> NetStack:
        # Imported where needed: /proc is there long before a program wants a network.
        from lxemu.kernel.net.netstack import stack_of

        lwp = reader()
        if lwp is None:
            raise KernelError(Errno.EINVAL)
        return stack_of(lwp.proc)

    def _text(self) -> bytes:
        if reader() is None:
            return b"0\n"
        return b"\t".join(b"%d" % value for value in self._show(self._stack())) + b"\n"

    def _written(self, data: bytes) -> None:
        stack = self._stack()
        try:
            values = tuple(int(word) for word in data.split())
        except ValueError:
            raise KernelError(Errno.EINVAL) from None
        if len(values) != len(self._show(stack)):
            raise KernelError(Errno.EINVAL)
        self._take(stack, values)


def _take_ports(stack: NetStack, values: tuple[int, ...]) -> None:
    low, high = values
    if not 0 < low <= high <= _LAST_PORT:
        raise KernelError(Errno.EINVAL)
    for table in (stack.tcp.ports, stack.udp, stack.udplite):
        table.first, table.last = low, high


def _take_unprivileged(stack: NetStack, values: tuple[int, ...]) -> None:
    if not 0 <= values[0] <= _LAST_PORT:
        raise KernelError(Errno.EINVAL)
    stack.first_unprivileged = values[0]


def _take_ping(stack: NetStack, values: tuple[int, ...]) -> None:
    low, high = values
    if not 0 <= low <= _MAX_GROUP or not 0 <= high <= _MAX_GROUP:
        raise KernelError(Errno.EINVAL)
    stack.ping_groups = (low, high)


def fill(ipv4: PseudoDir) -> None:
    """Enter the values into the directory net/ipv4."""
    vfs = ipv4.vfs
    ipv4.add(
        b"ip_local_port_range",
        _NetValue(vfs, lambda net: (net.tcp.ports.first, net.tcp.ports.last), _take_ports),
    )
    ipv4.add(
        b"ip_unprivileged_port_start",
        _NetValue(vfs, lambda net: (net.first_unprivileged,), _take_unprivileged),
    )
    ipv4.add(b"ping_group_range", _NetValue(vfs, lambda net: net.ping_groups, _take_ping))
