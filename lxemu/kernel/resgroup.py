"""Groups of processes with limits on how many and how large they are (after illumos projects).

Groups form a tree; a limit holds for a group and all below it. A process is in one group, which its
children inherit. What is used is counted when somebody asks or a limit is at stake: a process that
is in no group but the root pays nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.oom import badness
from lxemu.kernel.sig import sigtoproc
from lxemu.kernel.signal import SI_KERNEL, SIGKILL, SigInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxemu.kernel.proc import Proc
    from lxemu.kernel.zone import Zone

_PAGE = 4096
#: What can be limited.
CONTROLLERS = ("memory", "pids")


class ResGroup:
    """A group. Limits are None where there is none; `enabled` are the controllers of its children.

    `max_hits` counts forks that were refused, `oom` and `oom_kills` what the memory limit has done.
    """

    def __init__(self, zone: Zone, parent: ResGroup | None, name: bytes) -> None:
        self.zone = zone
        self.parent = parent
        self.name = name
        self.children: dict[bytes, ResGroup] = {}
        self.enabled: set[str] = set()
        self.pids_max: int | None = None
        self.memory_max: int | None = None
        self.max_hits = 0
        self.oom = 0
        self.oom_kills = 0
        self.pids_peak = 0
        self.memory_peak = 0
        self.kill_all = False

    # -- the tree -------------------------------------------------------------------------------

    def below(self) -> Iterator[ResGroup]:
        """Return this group and all below it."""
        yield self
        for child in self.children.values():
            yield from child.below()

    def above(self) -> Iterator[ResGroup]:
        """Return this group and those it is in."""
        group: ResGroup | None = self
        while group is not None:
            yield group
            group = group.parent

    def path(self, root: ResGroup | None = None) -> bytes:
        """Return the path from `root`, or from the top; with "/.." for each step out of it."""
        parts: list[bytes] = []
        ups = b""
        while root is not None and root not in self.above():
            ups += b"/.."
            root = root.parent
        group: ResGroup | None = self
        while group is not None and group is not root and group.parent is not None:
            parts.append(group.name)
            group = group.parent
        return ups + b"/" + b"/".join(reversed(parts)) if parts or not ups else ups

    def make(self, name: bytes) -> ResGroup:
        """Make a group in this one."""
        child = self.children[name] = ResGroup(self.zone, self, name)
        return child

    def remove(self, name: bytes) -> None:
        """Remove an empty group. Raises EBUSY."""
        child = self.children[name]
        if child.children or child.members():
            raise KernelError(Errno.EBUSY)
        del self.children[name]

    # -- members --------------------------------------------------------------------------------

    def members(self) -> list[Proc]:
        """Return the processes that are in this very group."""
        mine = None if self.parent is None else self
        return [proc for proc in self.zone.procs.values() if proc.group is mine and not proc.zombie]

    def all_members(self) -> list[Proc]:
        """Return the processes in this group and below."""
        groups = {None if group.parent is None else group for group in self.below()}
        return [
            proc for proc in self.zone.procs.values() if proc.group in groups and not proc.zombie
        ]

    def join(self, proc: Proc) -> None:
        """Move a process here. Raises EBUSY where the children have controllers."""
        if self.enabled and self.parent is not None:
            raise KernelError(Errno.EBUSY)
        proc.group = None if self.parent is None else self
        self.note()

    def enable(self, add: set[str], drop: set[str]) -> None:
        """Change which controllers the children have.

        Raises ENOENT (this group has not got it), EBUSY (processes here, or a child hands it on).
        """
        have = set(CONTROLLERS) if self.parent is None else self.parent.enabled
        if add - have:
            raise KernelError(Errno.ENOENT)
        if add - self.enabled and self.parent is not None and self.members():
            raise KernelError(Errno.EBUSY)
        if any(child.enabled & drop for child in self.children.values()):
            raise KernelError(Errno.EBUSY)
        self.enabled = self.enabled - drop | add
        for child in self.children.values():
            if "pids" in drop:
                child.pids_max = None
            if "memory" in drop:
                child.memory_max = None

    # -- what is used ---------------------------------------------------------------------------

    def pids(self) -> int:
        """Return how many lwps there are in the group and below."""
        return sum(len(proc.lwps) for proc in self.all_members())

    def memory(self) -> int:
        """Return the resident set of the group and below, in bytes."""
        spaces = {id(proc.as_): proc.as_ for proc in self.all_members() if proc.lwps}
        return sum(space.rss for space in spaces.values()) * _PAGE

    def note(self) -> None:
        """Take down new peaks."""
        for group in self.above():
            if group.parent is not None:
                group.pids_peak = max(group.pids_peak, group.pids())
                group.memory_peak = max(group.memory_peak, group.memory())

    # -- limits ---------------------------------------------------------------------------------

    def check_fork(self) -> None:
        """Check that there may be one lwp more. Raises EAGAIN."""
        for group in self.above():
            if group.pids_max is not None and group.pids() >= group.pids_max:
                group.max_hits += 1
                raise KernelError(Errno.EAGAIN)

    def check_memory(self) -> None:
        """Kill the largest process of a group that has grown over its limit."""
        for group in self.above():
            limit = group.memory_max
            if limit is None:
                continue
            used = group.memory()
            group.memory_peak = max(group.memory_peak, min(used, limit))
            if used > limit:
                group.oom += 1
                group.shrink()

    def shrink(self) -> None:
        """Kill the largest process, or all if the group is to die together."""
        living = [proc for proc in self.all_members() if proc.lwps and not proc.exiting]
        if not living:
            return
        victims = living if self.kill_all else [max(living, key=_badness)]
        for proc in victims:
            self.oom_kills += 1
            sigtoproc(proc, SIGKILL, SigInfo(SIGKILL, SI_KERNEL))

    def kill(self) -> None:
        """Kill every process of the group and below."""
        for proc in self.all_members():
            sigtoproc(proc, SIGKILL, SigInfo(SIGKILL, SI_KERNEL))


def _badness(proc: Proc) -> int:
    return badness(proc, proc.machine.phys.nframes)


def root_group(zone: Zone) -> ResGroup:
    """Return the group that everything is in, made when first asked for."""
    if zone.groups is None:
        zone.groups = ResGroup(zone, None, b"")
    return zone.groups


def group_of(proc: Proc) -> ResGroup:
    """Return the group of a process."""
    return proc.group if proc.group is not None else root_group(proc.zone)
