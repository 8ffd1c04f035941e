"""A network of its own: what the sockets of one machine share (illumos netstack(9F))."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lxemu.kernel.net.sockfs import SockFs

if TYPE_CHECKING:
    from lxemu.kernel.clock import Clock
    from lxemu.kernel.sched import Dispatcher


class NetStack:
    """The sockets of one network namespace.

    `unix_names` holds the abstract names of AF_UNIX by (type, name); `unix_sockets` every socket of
    the family, in the order of their making; `unix_rights` are the files in flight between them.
    """

    def __init__(self, machine: Any) -> None:
        self.machine = machine
        self.clock: Clock = machine.clock
        self.disp: Dispatcher = machine.disp
        self.sockfs = SockFs(machine.clock)
        self.unix_names: dict[tuple[int, bytes], Any] = {}
        self.unix_sockets: dict[int, Any] = {}
        self.unix_rights: Any = None


def netstack(machine: Any) -> NetStack:
    """Return the network of a machine, made on first use."""
    found: NetStack | None = getattr(machine, "netstack", None)
    if found is None:
        found = machine.netstack = NetStack(machine)
    return found
