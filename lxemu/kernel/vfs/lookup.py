"""Path resolution (path_resolution(7); illumos lookuppnat).

The rules that are easy to get wrong, all of them kept here: a trailing slash asks for a directory
and makes a last symbolic link be followed; search permission is needed for every component, "."
included; ".." stops at the root of the process and leaves a mount by its mount point; forty links
at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.vfs.fcntl import MAXNAMELEN, MAXPATHLEN, MAXSYMLINKS
from lxemu.kernel.vfs.vnode import VDIR, VEXEC, VFS_NOSYMFOLLOW, VLNK

if TYPE_CHECKING:
    from lxemu.kernel.cred import Cred
    from lxemu.kernel.vfs.name import Name

# Restrictions a caller may put on a walk (openat2's resolve; illumos has none).
RESOLVE_NO_XDEV = 0x1
RESOLVE_NO_MAGICLINKS = 0x2
RESOLVE_NO_SYMLINKS = 0x4
RESOLVE_BENEATH = 0x8
RESOLVE_IN_ROOT = 0x10

_ANY_X = 0o111


class Parent(NamedTuple):
    """Where the last component of a path goes: its directory, itself, and how it ends.

    `last` is b"" for the root directory itself; it may be b"." or b"..".
    """

    dir: Name
    last: bytes
    slash: bool


def lookupname(
    start: Name, root: Name, path: bytes, cred: Cred, follow: bool = True, resolve: int = 0
) -> Name:
    """Return the Name that `path` leads to from `start` for a process with root `root`.

    `follow` says whether a last symbolic link is followed. Raises ENOENT, ENOTDIR, EACCES, ELOOP,
    ENAMETOOLONG; with `resolve` (RESOLVE_*) also EXDEV.
    """
    if not path:
        raise KernelError(Errno.ENOENT)
    if len(path) >= MAXPATHLEN:
        raise KernelError(Errno.ENAMETOOLONG)
    return _walk(start, root, path, cred, follow, resolve)


def _walk(start: Name, root: Name, path: bytes, cred: Cred, follow: bool, resolve: int) -> Name:
    comps = path.split(b"/")
    cur = start
    if not comps[0]:
        cur = _to_root(start, root, resolve)
    if resolve & (RESOLVE_IN_ROOT | RESOLVE_BENEATH):
        root = start
    links = 0
    i = 0
    last = len(comps) - 1
    while i <= last:
        comp = comps[i]
        i += 1
        if not comp:
            continue
        dvp = cur.vnode
        if dvp.type != VDIR:
            raise KernelError(Errno.ENOTDIR)
        if dvp.mode & _ANY_X != _ANY_X:
            dvp.access(VEXEC, cred)
        if comp == b".":
            continue
        if comp == b"..":
            cur = _up(cur, root, resolve)
            continue
        known = cur.children.get(comp)  # type: ignore[union-attr]
        child = known() if known is not None else None
        if child is None or child.mounted is None:
            if len(comp) > MAXNAMELEN:
                raise KernelError(Errno.ENAMETOOLONG)
            vnode = dvp.lookup(comp)
            if child is None or child.vnode is not vnode:
                child = cur.enter(comp, vnode)
            if vnode.type == VLNK and (follow or i <= last):
                links += 1
                if links > MAXSYMLINKS or resolve & RESOLVE_NO_SYMLINKS:
                    raise KernelError(Errno.ELOOP)
                if child.mount is not None and child.mount.flags & VFS_NOSYMFOLLOW:
                    raise KernelError(Errno.ELOOP)
                jump = vnode.magic_link()
                if jump is not None:
                    if resolve:
                        _check_magic(jump, cur, resolve)
                    cur = jump
                    continue
                target = vnode.readlink()
                if not target:
                    raise KernelError(Errno.ENOENT)
                if target[0] == 47:
                    cur = _to_root(start, root, resolve)
                comps = target.split(b"/") + comps[i:]
                i = 0
                last = len(comps) - 1
                continue
        while child.mounted is not None:
            child = child.mounted
        if resolve & RESOLVE_NO_XDEV and child.mount is not cur.mount:
            raise KernelError(Errno.EXDEV)
        cur = child
    if not comps[-1] and cur.vnode.type != VDIR:
        raise KernelError(Errno.ENOTDIR)
    return cur


def _up(cur: Name, root: Name, resolve: int) -> Name:
    if cur is root:
        if resolve & RESOLVE_BENEATH:
            raise KernelError(Errno.EXDEV)
        return cur
    up = cur.parent if cur.parent is not None else cur
    while up.mounted is not None:
        up = up.mounted
    if resolve & RESOLVE_NO_XDEV and up.mount is not cur.mount:
        raise KernelError(Errno.EXDEV)
    return up


def _to_root(start: Name, root: Name, resolve: int) -> Name:
    if not resolve:
        return root
    if resolve & RESOLVE_BENEATH:
        raise KernelError(Errno.EXDEV)
    if resolve & RESOLVE_IN_ROOT:
        return start
    if resolve & RESOLVE_NO_XDEV and root.mount is not start.mount:
        raise KernelError(Errno.EXDEV)
    return root


def _check_magic(jump: Name, cur: Name, resolve: int) -> None:
    if resolve & RESOLVE_NO_MAGICLINKS:
        raise KernelError(Errno.ELOOP)
    if resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT):
        raise KernelError(Errno.EXDEV)
    if resolve & RESOLVE_NO_XDEV and jump.mount is not cur.mount:
        raise KernelError(Errno.EXDEV)


def lookup_parent(start: Name, root: Name, path: bytes, cred: Cred, resolve: int = 0) -> Parent:
    """Resolve all of `path` but its last component, which need not exist.

    The directory is one, and `cred` may search it. Raises what `lookupname` does, except that the
    length of the last component is checked by `lookup_child`.
    """
    if not path:
        raise KernelError(Errno.ENOENT)
    if len(path) >= MAXPATHLEN:
        raise KernelError(Errno.ENAMETOOLONG)
    bare = path.rstrip(b"/")
    if not bare:
        return Parent(_to_root(start, root, resolve), b"", True)
    head, sep, last = bare.rpartition(b"/")
    if sep:
        dirname = _walk(start, root, head + b"/", cred, True, resolve)
    else:
        dirname = start
    dvp = dirname.vnode
    if dvp.type != VDIR:
        raise KernelError(Errno.ENOTDIR)
    if dvp.mode & _ANY_X != _ANY_X:
        dvp.access(VEXEC, cred)
    return Parent(dirname, last, len(bare) != len(path))


def lookup_child(dirname: Name, last: bytes) -> Name:
    """Return the entry `last` (a plain name) of a directory already checked, mounts crossed.

    Raises ENOENT, ENAMETOOLONG.
    """
    if len(last) > MAXNAMELEN:
        raise KernelError(Errno.ENAMETOOLONG)
    child = dirname.cached(last)
    if child is None or child.mounted is None:
        child = dirname.enter(last, dirname.vnode.lookup(last))
    while child.mounted is not None:
        child = child.mounted
    return child
