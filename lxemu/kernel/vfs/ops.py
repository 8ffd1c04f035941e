"""File operations by path, with every check that needs a process or a mount (illumos vn_open).

Each takes the process (credentials, root, umask) and the Name where a relative path starts. The
order of the checks is part of the interface: a call that could fail for two reasons fails for the
one that the reference system finds first, and its order is written here, once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from lxemu.kernel.cred import PRIV_FILE_OWNER, PRIV_FILE_SETID, PRIV_SYS_DEVICES, Cred
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.vfs import fcntl as f
from lxemu.kernel.vfs import notify
from lxemu.kernel.vfs.file import File
from lxemu.kernel.vfs.lease import break_leases
from lxemu.kernel.vfs.lookup import Parent, lookup_child, lookup_parent, lookupname
from lxemu.kernel.vfs.name import Name
from lxemu.kernel.vfs.special import realize
from lxemu.kernel.vfs.vnode import (
    FL_APPEND,
    FL_IMMUTABLE,
    S_ISGID,
    S_ISVTX,
    VBLK,
    VCHR,
    VDIR,
    VEXEC,
    VFIFO,
    VFS_NOATIME,
    VFS_NODEVICES,
    VFS_NOEXEC,
    VFS_RDONLY,
    VFS_STRICTATIME,
    VLNK,
    VREAD,
    VREG,
    VSOCK,
    VWRITE,
    Vnode,
)

if TYPE_CHECKING:
    from lxemu.kernel.proc import FsCtx

_CREAT_EXCL = f.O_CREAT | f.O_EXCL
#: What an O_PATH open keeps of its flags.
_PATH_FLAGS = f.O_PATH | f.O_DIRECTORY | f.O_NOFOLLOW | f.O_CLOEXEC
#: Flags that matter only while opening, and are not kept in the open file.
_OPEN_ONLY = f.O_CREAT | f.O_EXCL | f.O_TRUNC | f.O_NOCTTY | f.O_CLOEXEC | f.O_ACCMODE
_ACCMODE_WANT = (VREAD, VWRITE, VREAD | VWRITE, VREAD | VWRITE)


class Caller(Protocol):
    """What is asked of a process."""

    cred: Cred
    fs: FsCtx


# -- checks
# -------------------------------------------------------------------------------------------


def check_access(name: Name, want: int, cred: Cred) -> None:
    """Check `want` (VREAD, VWRITE, VEXEC) of a located file; raises EROFS, EACCES (access(2))."""
    vnode = name.vnode
    if want & VWRITE and name.flags & VFS_RDONLY and vnode.type in (VREG, VDIR, VLNK):
        raise KernelError(Errno.EROFS)
    if want & VEXEC and vnode.type == VREG and name.flags & VFS_NOEXEC:
        raise KernelError(Errno.EACCES)
    vnode.access(want, cred)


def check_writable_fs(name: Name) -> None:
    """Raise EROFS when the place is on a read-only file system or mount."""
    if name.flags & VFS_RDONLY:
        raise KernelError(Errno.EROFS)


def check_changeable(vnode: Vnode, *, appending: bool = False) -> None:
    """Raise EPERM for a file whose flags forbid any change, or any but `appending` to it."""
    flags = vnode.iflags
    if flags & FL_IMMUTABLE or (flags & FL_APPEND and not appending):
        raise KernelError(Errno.EPERM)


def is_owner(vnode: Vnode, cred: Cred) -> bool:
    """Return whether `cred` owns the file or may act as its owner."""
    attr = vnode.getattr(cred)
    return cred.fsuid == attr.uid or cred.over(attr.uid, attr.gid, PRIV_FILE_OWNER)


def _may_create(dirname: Name, cred: Cred) -> None:
    if dirname.unlinked:
        raise KernelError(Errno.ENOENT)
    space = dirname.vnode.vfs.space
    if space is not None and not space.maps(cred.fsuid, cred.fsgid):
        raise KernelError(Errno.EOVERFLOW)
    dirname.vnode.access(VWRITE | VEXEC, cred)


def _may_delete(dirname: Name, victim: Name, cred: Cred, want_dir: bool) -> None:
    """Check the removal of an entry: write permission, the sticky bit, its type, in this order."""
    dvp = dirname.vnode
    dvp.access(VWRITE | VEXEC, cred)
    if dvp.iflags & FL_APPEND:
        raise KernelError(Errno.EPERM)
    attr = dvp.getattr(cred)
    if attr.mode & S_ISVTX:
        theirs = victim.vnode.getattr(cred)
        free = cred.fsuid in (theirs.uid, attr.uid)
        if not free and not cred.over(theirs.uid, theirs.gid, PRIV_FILE_OWNER):
            raise KernelError(Errno.EPERM)
    check_changeable(victim.vnode)
    if want_dir:
        if victim.vnode.type != VDIR:
            raise KernelError(Errno.ENOTDIR)
        if victim.mount is not dirname.mount:
            raise KernelError(Errno.EBUSY)
    elif victim.vnode.type == VDIR:
        raise KernelError(Errno.EISDIR)
    if dirname.unlinked:
        raise KernelError(Errno.ENOENT)
    if victim.mount is not dirname.mount:
        raise KernelError(Errno.EBUSY)


def _create_mode(dvp: Vnode, mode: int, cred: Cred) -> int:
    """Drop S_ISGID from a new group-executable file whose group the caller is not in."""
    if mode & (S_ISGID | 0o010) == (S_ISGID | 0o010) and dvp.mode & S_ISGID:
        attr = dvp.getattr(cred)
        if not cred.groupmember(attr.gid) and not cred.over(attr.uid, attr.gid, PRIV_FILE_SETID):
            return mode & ~S_ISGID
    return mode


def _child_or_none(dirname: Name, last: bytes) -> Name | None:
    try:
        return lookup_child(dirname, last)
    except KernelError as err:
        if err.errno is Errno.ENOENT:
            return None
        raise


# -- open
# ---------------------------------------------------------------------------------------------


def vn_open(
    proc: Caller, start: Name, path: bytes, flags: int, mode: int = 0, resolve: int = 0
) -> File:
    """Open (and with O_CREAT make) the file at `path`; may block on a fifo.

    `flags` are O_*, `mode` the bits before the umask. Raises the errors of open(2).
    """
    cred = proc.cred
    root = proc.fs.root
    if flags & f.O_PATH:
        flags &= _PATH_FLAGS
        name = lookupname(start, root, path, cred, not flags & f.O_NOFOLLOW, resolve)
        if flags & f.O_DIRECTORY and name.vnode.type != VDIR:
            raise KernelError(Errno.ENOTDIR)
        return File(name.vnode, name, flags & ~f.O_CLOEXEC, cred)
    if flags & f.O_TMPFILE:
        return _open_tmpfile(proc, start, path, flags, mode, resolve)
    created = False
    if flags & f.O_CREAT:
        if flags & f.O_DIRECTORY:
            raise KernelError(Errno.EINVAL)
        name, created = _open_create(proc, start, path, flags, mode, resolve)
    else:
        name = lookupname(start, root, path, cred, not flags & f.O_NOFOLLOW, resolve)
    return open_name(name, flags, cred, created=created)


#: The file layer's O_NOATIME and the VFS_ flags of a place are different bits.
_ATIME = f.O_NOATIME | VFS_NOATIME | VFS_STRICTATIME


def _atime_file(flags: int, place: int) -> type[File]:
    """Return the kind of open file for how access times are to be kept."""
    from lxemu.kernel.vfs.atime import QuietFile, StrictFile

    if flags & f.O_NOATIME or place & VFS_NOATIME:
        return QuietFile
    return StrictFile if place & VFS_STRICTATIME else File


def open_name(name: Name, flags: int, cred: Cred, *, created: bool = False) -> File:
    """Open a located file: the second half of open(2), and all of it for a magic link or handle.

    A file that has just been `created` is open to its creator whatever its mode.
    """
    vnode = name.vnode
    vtype = vnode.type
    if flags & f.O_DIRECTORY and vtype != VDIR:
        raise KernelError(Errno.ENOTDIR)
    want = _ACCMODE_WANT[flags & f.O_ACCMODE]
    if flags & f.O_TRUNC:
        want |= VWRITE
    if vtype == VREG:
        if want & VWRITE and name.flags & VFS_RDONLY:
            raise KernelError(Errno.EROFS)
    elif vtype == VLNK:
        raise KernelError(Errno.ELOOP)
    elif vtype == VDIR:
        if want & VWRITE or flags & f.O_CREAT:
            raise KernelError(Errno.EISDIR)
    elif vtype in (VCHR, VBLK) and name.flags & VFS_NODEVICES:
        raise KernelError(Errno.EACCES)
    if not created:
        vnode.access(want, cred)
        if vnode.iflags & FL_APPEND and want & VWRITE:
            check_changeable(vnode, appending=flags & (f.O_APPEND | f.O_TRUNC) == f.O_APPEND)
        if flags & f.O_NOATIME and not is_owner(vnode, cred):
            raise KernelError(Errno.EPERM)
    opened = File
    if (flags | name.flags) & _ATIME and vtype == VREG:
        opened = _atime_file(flags, name.flags)
    file = opened(vnode, name, flags & ~_OPEN_ONLY | f.open_mode(flags), cred)
    if vtype == VREG:
        file.created = created
        _open_regular(file, flags, created)
        return file
    # Seen by a terminal while it opens.
    file.flags |= flags & f.O_NOCTTY
    replacement = realize(vnode, file) if vtype != VDIR else vnode.open(file)
    file.flags &= ~f.O_NOCTTY
    if replacement is not None:
        file.set_vnode(replacement)
    if notify.watching:
        notify.touched(name, notify.IN_OPEN)
    return file


def _open_regular(file: File, flags: int, created: bool) -> None:
    vnode = file.vnode
    writing = file.flags & f.FWRITE
    truncate = flags & f.O_TRUNC and not created
    if (writing or truncate) and vnode.wcount < 0:
        raise KernelError(Errno.ETXTBSY)
    locks = vnode.locks
    if locks is not None and locks.leases:
        break_leases(vnode, write=bool(writing or truncate), wait=not flags & f.O_NONBLOCK)
    if truncate:
        # Seen by the vnode while it opens: contents that are about to go need not be prepared.
        file.flags |= f.O_TRUNC
    replacement = vnode.open(file)
    if replacement is not None:
        file.set_vnode(replacement)
    if notify.watching:
        notify.touched(file.name, notify.IN_OPEN)
    if truncate:
        file.flags &= ~f.O_TRUNC
        try:
            file.vnode.truncate(0)
        except KernelError:
            file.vnode.close(file)
            raise
        if notify.watching:
            notify.touched(file.name, notify.IN_MODIFY)
    if writing:
        file.vnode.wcount += 1
        file.writer = True


def _open_create(
    proc: Caller, start: Name, path: bytes, flags: int, mode: int, resolve: int
) -> tuple[Name, bool]:
    """Find or make the file of an O_CREAT open; returns it and whether it is new."""
    cred = proc.cred
    links = 0
    while True:
        parent = lookup_parent(start, proc.fs.root, path, cred, resolve)
        dirname, last, slash = parent
        if last in (b"", b".", b".."):
            raise KernelError(Errno.EEXIST if flags & f.O_EXCL else Errno.EISDIR)
        if slash:
            raise KernelError(Errno.EISDIR)
        name = _child_or_none(dirname, last)
        if name is None:
            return _create_here(proc, dirname, last, mode), True
        if flags & f.O_EXCL:
            raise KernelError(Errno.EEXIST)
        if name.vnode.type != VLNK or flags & f.O_NOFOLLOW:
            return name, False
        links += 1
        if links > f.MAXSYMLINKS or resolve:
            # A restricted walk looks at every link itself.
            return lookupname(start, proc.fs.root, path, cred, True, resolve), False
        jump = name.vnode.magic_link()
        if jump is not None:
            return jump, False
        start, path = dirname, name.vnode.readlink()


def _entered(dirname: Name, last: bytes, vnode: Vnode) -> Name:
    """Return the Name of a file that has just been made."""
    if notify.watching:
        notify.entry(dirname, last, notify.IN_CREATE, vnode)
    return dirname.enter(last, vnode)


def _create_here(proc: Caller, dirname: Name, last: bytes, mode: int) -> Name:
    check_writable_fs(dirname)
    cred = proc.cred
    _may_create(dirname, cred)
    dvp = dirname.vnode
    mode = _create_mode(dvp, mode & 0o7777 & ~proc.fs.umask, cred)
    return _entered(dirname, last, dvp.create(last, mode, VREG, cred))


def _open_tmpfile(
    proc: Caller, start: Name, path: bytes, flags: int, mode: int, resolve: int
) -> File:
    """O_TMPFILE: a file without a name in the directory `path`; link(2) may give it one later."""
    mode_bits = f.open_mode(flags)
    if not mode_bits & f.FWRITE or flags & f.O_CREAT:
        raise KernelError(Errno.EINVAL)
    cred = proc.cred
    name = lookupname(start, proc.fs.root, path, cred, not flags & f.O_NOFOLLOW, resolve)
    if name.vnode.type != VDIR:
        raise KernelError(Errno.ENOTDIR)
    check_writable_fs(name)
    name.vnode.access(VWRITE | VEXEC, cred)
    vnode = name.vnode.tmpfile(mode & 0o7777 & ~proc.fs.umask, cred)
    tmp = Name(name, b"#%d" % vnode.getattr().nodeid, vnode, name.mount)
    tmp.unlinked = True
    file = File(vnode, tmp, flags & ~(_OPEN_ONLY | f.O_TMPFILE) | mode_bits, cred)
    file.data = None if flags & f.O_EXCL else LINKABLE
    _open_regular(file, 0, True)
    return file


#: Marks the open file of an O_TMPFILE that may be given a name.
LINKABLE = "linkable"


# -- making
# -------------------------------------------------------------------------------------------


def _create_parent(proc: Caller, start: Name, path: bytes, *, is_dir: bool) -> Parent:
    """Find where a new entry goes and check that it may be made there.

    Order: EEXIST, ENOENT (trailing slash), EROFS, ENOENT (removed directory), EACCES.
    """
    parent = lookup_parent(start, proc.fs.root, path, proc.cred)
    dirname, last, slash = parent
    if last in (b"", b".", b".."):
        raise KernelError(Errno.EEXIST)
    if _child_or_none(dirname, last) is not None:
        raise KernelError(Errno.EEXIST)
    if slash and not is_dir:
        raise KernelError(Errno.ENOENT)
    check_writable_fs(dirname)
    _may_create(dirname, proc.cred)
    return parent


def vn_mkdir(proc: Caller, start: Name, path: bytes, mode: int) -> Name:
    """Make a directory (mkdir(2)); S_ISVTX is kept, set-id bits are not taken from `mode`."""
    dirname, last, _ = _create_parent(proc, start, path, is_dir=True)
    mode = mode & 0o1777 & ~proc.fs.umask
    return _entered(dirname, last, dirname.vnode.mkdir(last, mode, proc.cred))


def vn_mknod(proc: Caller, start: Name, path: bytes, vtype: int, mode: int, rdev: int = 0) -> Name:
    """Make a file, fifo, socket or device node (mknod(2)). Raises EPERM, EINVAL for the type."""
    if vtype == VDIR:
        raise KernelError(Errno.EPERM)
    if vtype not in (VREG, VFIFO, VSOCK, VCHR, VBLK):
        raise KernelError(Errno.EINVAL)
    dirname, last, _ = _create_parent(proc, start, path, is_dir=False)
    cred = proc.cred
    if vtype in (VCHR, VBLK) and not cred.crhas(PRIV_SYS_DEVICES):
        raise KernelError(Errno.EPERM)
    dvp = dirname.vnode
    mode = _create_mode(dvp, mode & 0o7777 & ~proc.fs.umask, cred)
    return _entered(dirname, last, dvp.create(last, mode, vtype, cred, rdev))


def vn_symlink(proc: Caller, target: bytes, start: Name, path: bytes) -> Name:
    """Make a symbolic link at `path` (symlink(2))."""
    if not target:
        raise KernelError(Errno.ENOENT)
    if len(target) >= f.MAXPATHLEN:
        raise KernelError(Errno.ENAMETOOLONG)
    dirname, last, _ = _create_parent(proc, start, path, is_dir=False)
    return _entered(dirname, last, dirname.vnode.symlink(last, target, proc.cred))


def vn_link(proc: Caller, source: Name, start: Name, path: bytes) -> None:
    """Make `path` another link to the located file `source` (link(2)).

    Order: the errors of making, EXDEV, EPERM (directory), ENOENT (no link left).
    """
    parent = lookup_parent(start, proc.fs.root, path, proc.cred)
    dirname, last, slash = parent
    if last in (b"", b".", b"..") or _child_or_none(dirname, last) is not None:
        raise KernelError(Errno.EEXIST)
    if slash:
        raise KernelError(Errno.ENOENT)
    check_writable_fs(dirname)
    if source.mount is not dirname.mount:
        raise KernelError(Errno.EXDEV)
    _may_create(dirname, proc.cred)
    vnode = source.vnode
    if vnode.vfs is not dirname.vnode.vfs:
        raise KernelError(Errno.EXDEV)
    if vnode.type == VDIR:
        raise KernelError(Errno.EPERM)
    check_changeable(vnode)
    dirname.vnode.link(vnode, last)
    dirname.enter(last, vnode)
    if notify.watching:
        notify.linked(dirname, last, vnode)


def link_tmpfile(proc: Caller, file: File, start: Name, path: bytes) -> None:
    """Give the file of an O_TMPFILE open a name (linkat of a descriptor).

    Raises ENOENT with O_EXCL.
    """
    if file.data is not LINKABLE and file.vnode.getattr().nlink == 0:
        raise KernelError(Errno.ENOENT)
    vn_link(proc, file.name, start, path)
    parent = lookup_parent(start, proc.fs.root, path, proc.cred)
    file.name = parent.dir.enter(parent.last, file.vnode)


# -- removing and moving
# ------------------------------------------------------------------------------


def vn_remove(proc: Caller, start: Name, path: bytes) -> None:
    """Remove a name of a file that is not a directory (unlink(2))."""
    dirname, last, slash = lookup_parent(start, proc.fs.root, path, proc.cred)
    if last in (b"", b".", b".."):
        raise KernelError(Errno.EISDIR)
    check_writable_fs(dirname)
    victim = lookup_child(dirname, last)
    if slash:
        raise KernelError(Errno.EISDIR if victim.vnode.type == VDIR else Errno.ENOTDIR)
    _may_delete(dirname, victim, proc.cred, want_dir=False)
    dirname.vnode.remove(last)
    dirname.forget(last)
    if notify.watching:
        notify.removed(dirname, last, victim.vnode)


def vn_rmdir(proc: Caller, start: Name, path: bytes) -> None:
    """Remove an empty directory (rmdir(2))."""
    dirname, last, _ = lookup_parent(start, proc.fs.root, path, proc.cred)
    special = {b"": Errno.EBUSY, b".": Errno.EINVAL, b"..": Errno.ENOTEMPTY}.get(last)
    if special is not None:
        raise KernelError(special)
    check_writable_fs(dirname)
    victim = lookup_child(dirname, last)
    _may_delete(dirname, victim, proc.cred, want_dir=True)
    dirname.vnode.rmdir(last)
    dirname.forget(last)
    if notify.watching:
        notify.removed(dirname, last, victim.vnode)


def vn_rename(
    proc: Caller,
    start: Name,
    path: bytes,
    newstart: Name,
    newpath: bytes,
    *,
    noreplace: bool = False,
    exchange: bool = False,
    whiteout: bool = False,
) -> None:
    """Move `path` to `newpath` (rename(2)).

    With `exchange` swap them, with `noreplace` only if free; with `whiteout` a device with number 0
    stays in the old place.
    """
    cred = proc.cred
    root = proc.fs.root
    olddir, old, oldslash = lookup_parent(start, root, path, cred)
    newdir, new, newslash = lookup_parent(newstart, root, newpath, cred)
    if olddir.mount is not newdir.mount:
        raise KernelError(Errno.EXDEV)
    if old in (b"", b".", b".."):
        raise KernelError(Errno.EBUSY)
    if new in (b"", b".", b".."):
        raise KernelError(Errno.EEXIST if noreplace else Errno.EBUSY)
    check_writable_fs(olddir)
    source = lookup_child(olddir, old)
    target = _child_or_none(newdir, new)
    if noreplace and target is not None:
        raise KernelError(Errno.EEXIST)
    if exchange:
        if target is None:
            raise KernelError(Errno.ENOENT)
        if target.vnode.type != VDIR and newslash:
            raise KernelError(Errno.ENOTDIR)
    if source.vnode.type != VDIR and (oldslash or (newslash and not exchange)):
        raise KernelError(Errno.ENOTDIR)
    if newdir.is_below(source) or (exchange and target is not None and olddir.is_below(target)):
        raise KernelError(Errno.EINVAL)
    if target is not None and olddir.is_below(target):
        raise KernelError(Errno.ENOTEMPTY)
    if target is not None and target.vnode is source.vnode:
        return
    _rename_checks(olddir, source, newdir, target, cred, exchange)
    if exchange:
        olddir.vnode.exchange(old, newdir.vnode, new)
        olddir.exchanged(old, newdir, new)
        if notify.watching and target is not None:
            notify.renamed(olddir, old, newdir, new, source.vnode, None)
            notify.renamed(newdir, new, olddir, old, target.vnode, None)
    else:
        if whiteout and not olddir.vnode.vfs.has_whiteouts:
            raise KernelError(Errno.EINVAL)
        olddir.vnode.rename(old, newdir.vnode, new)
        olddir.moved(old, newdir, new)
        if whiteout:
            olddir.vnode.create(old, 0, VCHR, cred)
        if notify.watching:
            over = target.vnode if target is not None else None
            notify.renamed(olddir, old, newdir, new, source.vnode, over)


def _rename_checks(
    olddir: Name, source: Name, newdir: Name, target: Name | None, cred: Cred, exchange: bool
) -> None:
    is_dir = source.vnode.type == VDIR
    _may_delete(olddir, source, cred, is_dir)
    if target is None:
        _may_create(newdir, cred)
    else:
        _may_delete(newdir, target, cred, target.vnode.type == VDIR if exchange else is_dir)
    if newdir is not olddir:
        # A directory that changes its parent has its ".." rewritten: that is a write to it.
        if is_dir:
            source.vnode.access(VWRITE, cred)
        if exchange and target is not None and target.vnode.type == VDIR:
            target.vnode.access(VWRITE, cred)


# -- execution
# ----------------------------------------------------------------------------------------


def deny_write(vnode: Vnode) -> None:
    """Keep a file from being opened for writing while it is executed; raises ETXTBSY."""
    if vnode.wcount > 0:
        raise KernelError(Errno.ETXTBSY)
    vnode.wcount -= 1


def allow_write(vnode: Vnode) -> None:
    """End one `deny_write`."""
    vnode.wcount += 1
