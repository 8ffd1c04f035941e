"""/proc/PID/maps and mount tables (Linux fs/proc/task_mmu.c, fs/proc_namespace.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.mm.mman import MAP_SHARED, PROT_EXEC, PROT_READ, PROT_WRITE
from lxemu.kernel.vfs.name import Name
from lxemu.kernel.vfs.vnode import (
    VFS_NOATIME,
    VFS_NODEVICES,
    VFS_NODIRATIME,
    VFS_NOEXEC,
    VFS_NOSETUID,
    VFS_NOSYMFOLLOW,
    VFS_RDONLY,
    VFS_STRICTATIME,
    Vnode,
)
from syscalls.fs.pidtext import fs_of

if TYPE_CHECKING:
    from lxemu.kernel.mm.seg import SegInfo
    from lxemu.kernel.proc import Proc
    from lxemu.kernel.vfs.mount import Mount

#: Column where the name of a mapping starts (seq_setwidth in show_vma_header_prefix).
NAME_COLUMN = 73


_MANGLED = frozenset(b" \t\n\\")


def escape(path: bytes) -> bytes:
    """Write the characters that would end a field, and the backslash, in octal (mangle)."""
    if _MANGLED.isdisjoint(path):
        return path
    return b"".join(b"\\%03o" % c if c in _MANGLED else bytes((c,)) for c in path)


def file_path(name: Name, root: Name) -> bytes:
    """Return the path of a located file as seen from `root`, marked if it is gone (d_path)."""
    path = name.path(root)
    if name.parent is not None and name.detached():
        return path + b" (deleted)"
    if name.parent is None and name.unlinked:
        return path + b" (deleted)"
    return path


def root_of(proc: Proc) -> Name:
    """Return the root directory of a process, the zone's for the kernel's own init."""
    fs = fs_of(proc)
    root = fs.root if fs is not None else proc.zone.root
    assert root is not None
    return root


def file_name(seg: SegInfo, proc: Proc) -> bytes:
    """Return what /proc shows as the name of a mapping: a path, or something in brackets."""
    root = root_of(proc)
    name = seg.name
    if name is None and proc.exe is not None and seg.vnode is proc.exe.vnode:
        name = proc.exe
    if isinstance(name, Name):
        return file_path(name, root).replace(b"\n", b"\\012")
    if isinstance(name, bytes):
        return name
    if seg.vnode is not None and not isinstance(seg.vnode, Vnode):
        return b"/dev/zero (deleted)"
    return b""


def seg_line(seg: SegInfo, proc: Proc) -> bytes:
    """Return the line of a mapping, without its end."""
    prot = seg.prot
    bits = "".join(
        letter if prot & bit else "-"
        for letter, bit in (("r", PROT_READ), ("w", PROT_WRITE), ("x", PROT_EXEC))
    )
    bits += "s" if seg.flags & MAP_SHARED else "p"
    dev = ino = 0
    if isinstance(seg.vnode, Vnode):
        attr = seg.vnode.getattr()
        dev, ino = attr.fsid, attr.nodeid
    elif seg.vnode is not None:
        # Memory without a file shows the number of its object; the brand's own code has none.
        ino = getattr(seg.vnode, "nodeid", 0)
        dev = 1 if ino else dev
    text = (
        f"{seg.start:08x}-{seg.end:08x} {bits} {seg.offset:08x} "
        f"{dev >> 32:02x}:{dev & 0xFFFFFFFF:02x} {ino} "
    )
    name = file_name(seg, proc)
    return text.ljust(NAME_COLUMN).encode() + name if name else text.encode()


#: The page that the kernel emulates for old programs: it can be called, not read.
_VSYSCALL = b"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n"


def maps(proc: Proc) -> bytes:
    """/proc/PID/maps."""
    if proc.zombie:
        return b""
    text = b"".join(seg_line(seg, proc) + b"\n" for seg in proc.as_.maps())
    return text + _VSYSCALL if proc.brand.bits == 64 else text


# -- mounts -------------------------------------------------------------------------------------

_OPTIONS = (
    (VFS_NOSETUID, b"nosuid"),
    (VFS_NODEVICES, b"nodev"),
    (VFS_NOEXEC, b"noexec"),
    (VFS_NOATIME, b"noatime"),
    (VFS_NODIRATIME, b"nodiratime"),
    (VFS_NOSYMFOLLOW, b"nosymfollow"),
)
#: Kernel name of a file system -> the name that Linux programs know; what is on the host is ext4.
_FS_NAMES = {"lofs": b"ext4", "devfs": b"devtmpfs"}


def fs_name(name: str) -> bytes:
    """Return the Linux name of a file system type."""
    return _FS_NAMES.get(name, name.encode())


def _mount_options(mount: Mount) -> bytes:
    flags = mount.flags
    options = [b"ro" if flags & VFS_RDONLY else b"rw"]
    options += [text for bit, text in _OPTIONS if flags & bit]
    if not flags & (VFS_NOATIME | VFS_STRICTATIME):
        options.append(b"relatime")
    return b",".join(options)


def _visible(proc: Proc) -> list[tuple[Mount, bytes]]:
    """Return the mounts below the root of `proc`, with their mount points as it sees them."""
    table = proc.mounts
    root = root_of(proc)
    return [(mount, mount.path(root)) for mount in table if mount.root.is_below(root)]


def mounts(proc: Proc) -> bytes:
    """/proc/PID/mounts."""
    return b"".join(
        b"%s %s %s %s 0 0\n"
        % (escape(m.source), escape(path), fs_name(m.vfs.name), _all_options(m))
        for m, path in _visible(proc)
    )


def _all_options(mount: Mount) -> bytes:
    """Return the options of the mount and of its file system, as one list."""
    options = _mount_options(mount)
    if mount.vfs.flags & VFS_RDONLY:
        options = b"ro" + options[2:]
    return b",".join([options, *mount.vfs.options])


def _optional(mount: Mount) -> bytes:
    """Return the fields of mountinfo that tell of propagation."""
    fields = b""
    if mount.group is not None:
        fields += b" shared:%d" % mount.group.id
    if mount.master is not None:
        fields += b" master:%d" % mount.master.id
    return fields + b" unbindable" if mount.unbindable else fields


def mountinfo(proc: Proc) -> bytes:
    """/proc/PID/mountinfo."""
    lines: list[bytes] = []
    for mount, path in _visible(proc):
        parent = mount.parent.id if mount.parent is not None else 1
        dev = mount.vfs.fsid
        super_options = b",".join(
            [b"ro" if mount.vfs.flags & VFS_RDONLY else b"rw", *mount.vfs.options]
        )
        lines.append(
            b"%d %d %d:%d %s %s %s%s - %s %s %s\n"
            % (
                mount.id,
                parent,
                dev >> 32,
                dev & 0xFFFFFFFF,
                escape(mount.subpath),
                escape(path),
                _mount_options(mount),
                _optional(mount),
                fs_name(mount.vfs.name),
                escape(mount.source),
                super_options,
            )
        )
    return b"".join(lines)


def mountstats(proc: Proc) -> bytes:
    """/proc/PID/mountstats."""
    return b"".join(
        b"device %s mounted on %s with fstype %s\n"
        % (escape(m.source), escape(path), fs_name(m.vfs.name))
        for m, path in _visible(proc)
    )
