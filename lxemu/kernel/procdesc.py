"""Process descriptors: descriptors that name a process whatever becomes of its id (procdesc(4)).

The word is FreeBSD's; illumos has /proc files for the purpose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.anonfs import AnonVnode
from lxemu.kernel.poll import POLLHUP, POLLIN, POLLRDNORM, Pollhead

if TYPE_CHECKING:
    from lxemu.kernel.anonfs import AnonFs
    from lxemu.kernel.cred import Cred
    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.proc import Proc
    from lxemu.kernel.vfs.file import File
    from lxemu.kernel.vfs.vnode import Vattr


class ProcDesc(AnonVnode):
    """A descriptor of `proc`, or of one of its threads (`lwp`)."""

    __slots__ = ("lwp", "proc")

    label = b"anon_inode:[pidfd]"

    def __init__(self, vfs: AnonFs, proc: Proc, lwp: Lwp | None = None) -> None:
        super().__init__(vfs)
        self.proc = proc
        self.lwp = lwp
        if not proc.desc_node:
            proc.desc_node = vfs.next_node()

    def getattr(self, cred: Cred | None = None) -> Vattr:
        """Return attributes: the node number tells processes apart."""
        return super().getattr(cred)._replace(mode=0o700, nodeid=self.proc.desc_node)

    def reaped(self) -> bool:
        """Return whether the process has been waited for, or the thread has gone."""
        if self.lwp is not None and self.lwp.tid != self.proc.pid:
            return self.lwp not in self.proc.lwps
        return self.proc.machine.procs.get(self.proc.pid) is not self.proc

    def exited(self) -> bool:
        """Return whether there is nothing left that runs."""
        if self.lwp is not None and self.lwp not in self.proc.lwps:
            return True
        return self.proc.zombie or self.reaped()

    def _head(self) -> Pollhead:
        owner = self.lwp or self.proc
        if owner.exit_head is None:
            owner.exit_head = Pollhead()
        return owner.exit_head

    def poll(self, file: File, events: int) -> tuple[int, Pollhead | None]:  # noqa: ARG002
        """Readable when the process has exited, hung up when it has been waited for."""
        ready = 0
        if self.exited():
            ready = events & (POLLIN | POLLRDNORM)
            if self.reaped():
                ready |= events & POLLHUP
        return ready, self._head()
