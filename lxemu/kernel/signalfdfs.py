"""Signals that are read from a descriptor instead of being delivered (illumos signalfd(7)).

The descriptor belongs to nobody: whoever reads or polls it gets the signals that are pending for
him, so a child that inherits it sees its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.anonfs import AnonVnode
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import curlwp
from lxemu.kernel.poll import POLLIN, POLLRDNORM, Pollhead, poll_sleep
from lxemu.kernel.sig import pending, take
from lxemu.kernel.vfs.fcntl import O_NONBLOCK

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxemu.kernel.proc import Proc
    from lxemu.kernel.signal import SigInfo
    from lxemu.kernel.vfs.file import File
    from lxemu.kernel.vfs.vnode import Vfs


def _head_of(proc: Proc) -> Pollhead:
    """Return where the readers of signals of `proc` wait; `sig` wakes them for every signal."""
    head = proc.sigacts.readers
    if head is None:
        head = proc.sigacts.readers = Pollhead()
    return head


class SignalFd(AnonVnode):
    """Reads the signals of the set `mask`.

    `encode` makes the record of `size` bytes that the program expects of a signal.
    """

    __slots__ = ("_encode", "_size", "mask")

    label = b"anon_inode:[signalfd]"

    def __init__(self, vfs: Vfs, mask: int, encode: Callable[[SigInfo], bytes], size: int) -> None:
        super().__init__(vfs)
        self.mask = mask
        self._encode = encode
        self._size = size

    def set_mask(self, mask: int) -> None:
        """Read other signals from now on; who waits looks again."""
        self.mask = mask
        _head_of(curlwp().proc).wakeup(POLLIN | POLLRDNORM)

    def sread(self, file: File, n: int) -> bytes:
        """Take as many pending signals as `n` bytes hold, waiting for the first.

        Raises EINVAL when there is no room for one, EAGAIN, EINTR.
        """
        room = n // self._size
        if not room:
            raise KernelError(Errno.EINVAL)
        lwp = curlwp()
        records: list[bytes] = []
        while True:
            info = take(lwp, self.mask)
            if info is not None:
                records.append(self._encode(info))
                if len(records) < room:
                    continue
            if records:
                return b"".join(records)
            if file.flags & O_NONBLOCK:
                raise KernelError(Errno.EAGAIN)
            poll_sleep([(_head_of(lwp.proc), POLLIN)], None)

    def poll(self, file: File, events: int) -> tuple[int, Pollhead | None]:  # noqa: ARG002
        """Readable when the caller has a signal of the set pending."""
        lwp = curlwp()
        ready = events & (POLLIN | POLLRDNORM) if pending(lwp) & self.mask else 0
        return ready, _head_of(lwp.proc)
