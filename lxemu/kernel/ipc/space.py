"""The IPC objects that a set of processes sees, and their limits.

A zone has one space. A process may be given another one (`Proc.ipc`), which its children inherit:
None there means the zone's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lxemu.kernel.ipc.mqueue import MqueueFs
from lxemu.kernel.ipc.msg import MsgService
from lxemu.kernel.ipc.sem import SemService
from lxemu.kernel.ipc.shm import ShmService
from lxemu.kernel.vfs.vnode import makedev

if TYPE_CHECKING:
    from lxemu.kernel.proc import Proc

#: Device number of the file system of message queues; the others are counted up from it.
_FSID_MQUEUE = makedev(0, 17)


class IpcSpace:
    """One set of shared memory, semaphores, messages and message queues."""

    def __init__(self, machine: Any) -> None:
        self.shm = ShmService(machine)
        self.sem = SemService(machine)
        self.msg = MsgService(machine)
        self.mqueue = MqueueFs(machine, _FSID_MQUEUE)


def ipc_space(proc: Proc) -> IpcSpace:
    """Return the space of a process; the zone's is made on first use."""
    space: IpcSpace | None = proc.ipc
    if space is None:
        zone: Any = proc.zone
        space = getattr(zone, "ipc", None)
        if space is None:
            space = zone.ipc = IpcSpace(proc.machine)
    return space
