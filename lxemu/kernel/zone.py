"""A zone: the processes, names and root of one virtual system (illumos sys/zone.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lxemu.kernel.ipc.space import IpcSpace
    from lxemu.kernel.ns import Namespaces
    from lxemu.kernel.proc import Proc
    from lxemu.kernel.resgroup import ResGroup
    from lxemu.kernel.vfs.mount import MountTable
    from lxemu.kernel.vfs.name import Name


class Zone:
    """What the processes of a machine share besides the machine itself."""

    def __init__(self, nodename: bytes, kernel_version: str) -> None:
        self.nodename = nodename
        self.domainname = b"(none)"
        self.kernel_version = kernel_version
        self.procs: dict[int, Proc] = {}
        self.root: Name | None = None
        self.mounts: MountTable | None = None
        #: What a process that has left nothing sees, made when first asked for; the last number
        #: that a view of another process has got.
        self.namespaces: Namespaces | None = None
        self.last_space = 0
        #: As a view of names: number and ruler.
        self.number = 0xEFFFFFFE
        self.owner = None
        self.boot_hrtime = 0
        self.boot_realtime = 0
        self.forks = 0
        # What an administrator may change while the system runs.
        self.inotify_max_queued_events = 16384
        self.inotify_max_user_instances = 128
        self.inotify_max_user_watches = 1048576
        self.aio_max_requests = 65536
        #: User -> how many event files and watches of files he has.
        self.event_users: dict[int, tuple[int, int]] = {}
        #: How core files are called, and whether a pid is added (illumos coreadm).
        self.core_pattern = b"core"
        self.core_uses_pid = 0
        #: Seconds that the holder of a lease has to give it up.
        self.lease_break_time = 45
        self.ipc: IpcSpace | None = None
        #: The root of the groups of processes with limits.
        self.groups: ResGroup | None = None
        #: How many pseudo terminals there may be, how many of them only in the first file system
        #: of terminals, and how many there are.
        self.pty_max = 4096
        self.pty_reserve = 1024
        self.ptys = 0
