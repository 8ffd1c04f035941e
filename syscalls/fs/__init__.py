"""The brand's file systems: Linux /proc, /sys and /dev."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxemu.kernel.vfs.name import Name


def mount_all(machine: Any, next_fsid: Callable[[], int]) -> None:
    """Mount /proc, /sys, /dev and /dev/shm in the zone of `machine`, and register its devices.

    The mount points must exist in the zone's root. `next_fsid` gives a device number not used yet.
    """
    from lxemu.kernel.vfs.tmpfs import Tmpfs
    from lxemu.kernel.vfs.vnode import VFS_NODEVICES, VFS_NOEXEC, VFS_NOSETUID
    from syscalls.fs.cgroupfs import CgroupFs
    from syscalls.fs.devfs import make_dev, make_devpts, register_drivers
    from syscalls.fs.procfs import ProcFs
    from syscalls.fs.sysfs import SysFs

    mounts = machine.zone.mounts
    safe = VFS_NOSETUID | VFS_NODEVICES | VFS_NOEXEC
    register_drivers(mounts.devices, machine)
    mounts.mount(_find(machine, b"proc"), ProcFs(machine, next_fsid()), flags=safe)
    mounts.mount(_find(machine, b"sys"), SysFs(machine, next_fsid()), flags=safe)
    cgroup = CgroupFs(machine, next_fsid())
    mounts.mount(_find(machine, b"sys/fs/cgroup"), cgroup, flags=safe)
    mounts.mount(_find(machine, b"dev"), make_dev(machine, next_fsid()), flags=VFS_NOSETUID)
    pts = make_devpts(machine, next_fsid())
    mounts.mount(_find(machine, b"dev/pts"), pts, flags=VFS_NOSETUID | VFS_NOEXEC)
    shm = Tmpfs(machine.phys, next_fsid(), mode=0o1777, now=machine.clock.realtime)
    shm.source = b"shm"
    mounts.mount(_find(machine, b"dev/shm"), shm, flags=VFS_NOSETUID | VFS_NODEVICES)


def _find(machine: Any, path: bytes) -> Name:
    from lxemu.kernel.cred import Cred
    from lxemu.kernel.vfs.lookup import lookupname

    root: Name = machine.zone.root
    return lookupname(root, root, path, Cred())
