"""/proc/PID/uid_map, gid_map, setgroups: ids of a user namespace (user_namespaces(7))."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.cred import PRIV_PROC_SETID, PRIV_SYS_ADMIN
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.userns import Extent, inside, outside, ruled
from syscalls.fs.pidtext import owner_of
from syscalls.fs.pseudo import TextFile, reader

if TYPE_CHECKING:
    from lxemu.kernel.cred import Cred
    from lxemu.kernel.proc import Proc
    from lxemu.kernel.userns import UserSpace
    from syscalls.fs.pseudo import PseudoVfs

_MAX_LINES = 340
_MAX_ID = 0xFFFFFFFF


class IdMap(TextFile):
    """uid_map or gid_map: `member` is "uids" or "gids". It can be written once."""

    __slots__ = ("member", "proc")

    def __init__(self, vfs: PseudoVfs, proc: Proc, nodeid: int, member: str) -> None:
        super().__init__(vfs, self._text, 0o644, nodeid, store=self._write)
        self.proc = proc
        self.member = member

    def owner(self) -> tuple[int, int]:
        """Return the owner of the process."""
        return owner_of(self.proc)

    def _text(self) -> bytes:
        space = self.proc.cred.space
        lwp = reader()
        theirs = lwp.proc.cred.space if lwp is not None else None
        if space is None:
            extents = [Extent(0, 0, _MAX_ID)]
        else:
            extents = getattr(space, self.member) or []
        view = theirs if theirs is not space else (space.parent if space is not None else None)
        lines = [
            b"%10d %10d %10d\n" % (first, _seen(view, self.member, outer), number)
            for first, outer, number in extents
        ]
        return b"".join(lines)

    def _write(self, data: bytes) -> None:
        lwp = reader()
        space = self.proc.cred.space
        if lwp is None or space is None or getattr(space, self.member) is not None:
            raise KernelError(Errno.EPERM)
        cred = lwp.proc.cred
        if cred.space is not space and cred.space is not space.parent:
            raise KernelError(Errno.EPERM)
        if not ruled(cred, space, PRIV_SYS_ADMIN):
            raise KernelError(Errno.EPERM)
        lines = _parse(data)
        if not self._permitted(cred, space, lines):
            raise KernelError(Errno.EPERM)
        setattr(space, self.member, [_resolved(space.parent, self.member, ext) for ext in lines])

    def _permitted(self, cred: Cred, space: UserSpace, lines: list[Extent]) -> bool:
        """Return whether the map may be so: one's own id alone, or by who may set any id."""
        if len(lines) == 1 and lines[0].number == 1 and space.uid == cred.euid:
            outer = _outer(space.parent, self.member, lines[0].outer)
            if self.member == "uids":
                if outer == cred.euid:
                    return True
            elif outer == cred.egid and not space.setgroups:
                return True
        return ruled(cred, space.parent, PRIV_PROC_SETID)


def _seen(space: UserSpace | None, member: str, number: int) -> int:
    return number if space is None else inside(getattr(space, member), number)


def _outer(space: UserSpace | None, member: str, number: int) -> int | None:
    return number if space is None else outside(getattr(space, member), number)


def _resolved(parent: UserSpace | None, member: str, extent: Extent) -> Extent:
    """Return an extent in ids of the zone: EPERM for one the parent has no numbers for."""
    outer = _outer(parent, member, extent.outer)
    last = _outer(parent, member, extent.outer + extent.number - 1)
    if outer is None or last != outer + extent.number - 1:
        raise KernelError(Errno.EPERM)
    return extent._replace(outer=outer)


def _parse(data: bytes) -> list[Extent]:
    """Read lines of three numbers that do not overlap: EINVAL."""
    found: list[Extent] = []
    for line in data.rstrip(b"\0").splitlines():
        words = line.split()
        if len(words) != 3 or not all(word.isdigit() for word in words):
            raise KernelError(Errno.EINVAL)
        extent = Extent(*(int(word) for word in words))
        first, outer, number = extent
        if not number or max(first, outer) + number > _MAX_ID:
            raise KernelError(Errno.EINVAL)
        for other in found:
            if _overlap(first, other.first, number, other.number) or _overlap(
                outer, other.outer, number, other.number
            ):
                raise KernelError(Errno.EINVAL)
        found.append(extent)
    if not found or len(found) > _MAX_LINES:
        raise KernelError(Errno.EINVAL)
    return found


def _overlap(one: int, two: int, size_one: int, size_two: int) -> bool:
    return one < two + size_two and two < one + size_one


class SetGroups(TextFile):
    """Whether setgroups(2) may be used in the user namespace of the process."""

    __slots__ = ("proc",)

    def __init__(self, vfs: PseudoVfs, proc: Proc, nodeid: int) -> None:
        super().__init__(vfs, self._text, 0o644, nodeid, store=self._write)
        self.proc = proc

    def owner(self) -> tuple[int, int]:
        """Return the owner of the process."""
        return owner_of(self.proc)

    def _text(self) -> bytes:
        space = self.proc.cred.space
        return b"allow\n" if space is None or space.setgroups else b"deny\n"

    def _write(self, data: bytes) -> None:
        lwp = reader()
        space = self.proc.cred.space
        word = data.strip()
        if word not in (b"allow", b"deny"):
            raise KernelError(Errno.EINVAL)
        if lwp is None or not ruled(lwp.proc.cred, space, PRIV_SYS_ADMIN):
            raise KernelError(Errno.EPERM)
        allow = word == b"allow"
        if space is None:
            if not allow:
                raise KernelError(Errno.EPERM)
            return
        if (allow and not space.setgroups) or (not allow and space.gids is not None):
            raise KernelError(Errno.EPERM)
        space.setgroups = allow
