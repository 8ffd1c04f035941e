"""The file tree of a machine: its root, volumes, brand file systems and standard streams."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from lxemu.errors import ConfigError
from lxemu.kernel.cred import Cred
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.hosttty import HostTty
from lxemu.kernel.vfs.fcntl import O_LARGEFILE
from lxemu.kernel.vfs.hostio import HostStream, open_host_fd
from lxemu.kernel.vfs.lofs import Lofs
from lxemu.kernel.vfs.lookup import lookup_child, lookupname
from lxemu.kernel.vfs.metaindex import index_paths, open_index
from lxemu.kernel.vfs.mount import MountTable
from lxemu.kernel.vfs.tmpfs import Tmpfs
from lxemu.kernel.vfs.vnode import AT_UID, VDIR, VREG, Vattr, makedev

if TYPE_CHECKING:
    from lxemu.kernel.proc import Proc
    from lxemu.kernel.vfs.file import File
    from lxemu.kernel.vfs.metaindex import MetaIndex
    from lxemu.kernel.vfs.name import Name
    from lxemu.kernel.vfs.vnode import Vfs
    from lxemu.machine import Machine, Mount, TmpfsMount

_ROOT = Cred()


class FsIds:
    """Hands out the device numbers of file systems that have no device (major 0)."""

    def __init__(self) -> None:
        self._minor = 0x20

    def next(self) -> int:
        """Return a device number not used before."""
        self._minor += 1
        return makedev(0, self._minor)


def build_namespace(machine: Machine) -> None:
    """Mount the root that the configuration asks for, then the brand's file systems and volumes.

    ConfigError when a host path of the configuration cannot be had.
    """
    config = machine.config
    ids = FsIds()
    zone = machine.zone
    root = _root_vfs(machine, ids)
    zone.mounts = MountTable(root, source=root.source)
    zone.root = zone.mounts.root
    zone.mounts.domain.next_fsid = ids.next  # type: ignore[method-assign]
    _mount_brand(machine, ids)
    for mount in config.tmpfs:
        _mount_tmpfs(machine, ids, mount)
    for volume in config.volumes:
        _mount_volume(machine, ids, volume)


def _root_vfs(machine: Machine, ids: FsIds) -> Vfs:
    root = machine.config.root
    clock = machine.clock.realtime
    if root == "none":
        return Tmpfs(machine.phys, ids.next(), mode=0o755, now=clock)
    lower = _lofs(machine, ids, b"/" if root == "host" else os.fsencode(root), readonly=True)
    if lower.root().type != VDIR:
        raise ConfigError(f"{os.fsdecode(root)}: not a directory")
    from lxemu.kernel.vfs.overlay import Overlay

    upper = Tmpfs(machine.phys, ids.next(), mode=0o755, now=clock)
    return Overlay(lower.root(), upper, now=clock)


def _lofs(
    machine: Machine, ids: FsIds, path: bytes, *, readonly: bool, index: str = "auto"
) -> Lofs:
    try:
        return Lofs(
            path,
            ids.next(),
            readonly=readonly,
            phys=machine.phys,
            meta=_index(machine, path, readonly=readonly, index=index),
            now=machine.clock.realtime,
        )
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error.args[-1])
        raise ConfigError(f"{os.fsdecode(path)}: {reason}") from None


def _index(machine: Machine, path: bytes, *, readonly: bool, index: str) -> MetaIndex | None:
    """Return the index of a host tree, if it is to have one.

    Without a wish it is kept for what a user may write who is not root on the host, and read where
    there is one.
    """
    tree = os.path.realpath(path)
    if index == "no" or not os.path.isdir(tree):
        return None
    config = machine.config
    if index in ("auto", "yes"):
        wanted = index == "yes" or (os.geteuid() != 0 and not readonly)
        if not wanted and not any(map(os.path.exists, index_paths(tree))):
            return None
        try:
            return open_index(tree, config.uid, config.gid)
        except OSError:
            if index == "auto":
                return None
            raise
    return open_index(tree, config.uid, config.gid, os.fsencode(index))


def _mount_brand(machine: Machine, ids: FsIds) -> None:
    try:
        from syscalls.fs import mount_all
    except ImportError:
        return

    for path in (b"proc", b"dev", b"sys"):
        make_path(machine, path, directory=True)
    make_path(machine, b"tmp", directory=True, mode=0o1777)
    mount_all(machine, ids.next)


def make_path(machine: Machine, path: bytes, *, directory: bool, mode: int = 0o755) -> Name:
    """Return the Name of `path`, making what is missing of it as root (`mode`: of directories)."""
    root = machine.zone.root
    assert root is not None
    here = root
    parts = [part for part in path.split(b"/") if part]
    for at, part in enumerate(parts):
        try:
            here = lookupname(here, root, part, _ROOT)
        except KernelError as error:
            if error.errno is not Errno.ENOENT:
                raise
            vnode = here.vnode
            if at + 1 < len(parts) or directory:
                made = vnode.mkdir(part, mode, _ROOT)
            else:
                made = vnode.create(part, 0o644, VREG, _ROOT)
            here.enter(part, made)
            here = lookup_child(here, part)
    return here


def _mount_tmpfs(machine: Machine, ids: FsIds, mount: TmpfsMount) -> None:
    vfs = Tmpfs(machine.phys, ids.next(), size=mount.size, now=machine.clock.realtime)
    _mount_at(machine, mount.guest, vfs, directory=True)


def _mount_volume(machine: Machine, ids: FsIds, volume: Mount) -> None:
    vfs = _lofs(machine, ids, volume.host, readonly=volume.readonly, index=volume.metadata)
    _mount_at(machine, volume.guest, vfs, directory=vfs.root().type == VDIR)


def _mount_at(machine: Machine, guest: bytes, vfs: Vfs, *, directory: bool) -> None:
    mounts = machine.zone.mounts
    assert mounts is not None
    try:
        mounts.mount(make_path(machine, guest, directory=directory), vfs)
    except KernelError as error:
        where = os.fsdecode(guest)
        raise ConfigError(f"cannot mount at {where}: {error.errno.name}") from None


def open_stdio(machine: Machine, proc: Proc) -> None:
    """Give `proc` the host's standard streams as 0, 1 and 2; the first terminal controls it."""
    assert machine.zone.mounts is not None
    for guest_fd, host_fd in enumerate(machine.config.stdio):
        if host_fd < 0:
            continue
        try:
            file = open_host_fd(machine.zone.mounts.pipefs, host_fd, machine.disp, proc.cred)
        except OSError:
            continue
        file.flags |= O_LARGEFILE  # whoever opened it had no 2 GiB limit in mind
        proc.files.put(guest_fd, file)
        vnode = file.vnode
        assert isinstance(vnode, HostStream)
        if vnode.is_tty():
            _take_console(machine, proc, file, vnode)


def _take_console(machine: Machine, proc: Proc, file: File, stream: HostStream) -> None:
    """Let the host's terminal be the guest's /dev/console, which controls the first program."""
    root = machine.zone.root
    assert root is not None
    node: Name | None = None
    with suppress(KernelError):
        node = lookupname(root, root, b"/dev/console", _ROOT)
    if machine.console is None:
        machine.console = HostTty(os.dup(stream.fd))
        machine.console.attach(proc)
        if node is not None:
            machine.console.rdev = node.vnode.getattr().rdev
            node.vnode.setattr(AT_UID, Vattr(uid=proc.cred.ruid), _ROOT)
    stream.tty = machine.console
    if node is not None:
        stream.node = node.vnode
        file.name = node


def holds_host_streams(proc: Proc) -> bool:
    """Return whether `proc` has one of the emulator's own descriptors open."""
    return any(isinstance(file.vnode, HostStream) for _, file in proc.files.items())
