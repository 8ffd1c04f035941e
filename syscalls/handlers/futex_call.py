"""What the futex calls share: names of operations and bits, keys of words, deadlines."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.futex import UWaitQueues
from lxemu.kernel.lwp import Lwp
from syscalls.abi import Timespec

LX_FUTEX_WAIT = 0
LX_FUTEX_WAKE = 1
LX_FUTEX_REQUEUE = 3
LX_FUTEX_CMP_REQUEUE = 4
LX_FUTEX_WAKE_OP = 5
LX_FUTEX_LOCK_PI = 6
LX_FUTEX_UNLOCK_PI = 7
LX_FUTEX_TRYLOCK_PI = 8
LX_FUTEX_WAIT_BITSET = 9
LX_FUTEX_WAKE_BITSET = 10
LX_FUTEX_WAIT_REQUEUE_PI = 11
LX_FUTEX_CMP_REQUEUE_PI = 12
LX_FUTEX_LOCK_PI2 = 13
LX_FUTEX_PRIVATE = 0x80
LX_FUTEX_CLOCK_REALTIME = 0x100

#: Bits of a lock word that names its owner.
LX_FUTEX_WAITERS = 0x80000000
LX_FUTEX_OWNER_DIED = 0x40000000
LX_FUTEX_TID_MASK = 0x3FFFFFFF


class Call(NamedTuple):
    """A futex call, decoded; `count2` is what the timeout argument is in calls that do not wait."""

    lwp: Lwp
    uaddr: int
    val: int
    deadline: int | None
    count2: int
    uaddr2: int
    val3: int
    shared: bool

    @property
    def queues(self) -> UWaitQueues:
        """The sleep queues of the machine."""
        queues: UWaitQueues = self.lwp.machine.uwait
        return queues

    def key(self, addr: int, *, write: bool = False) -> Hashable:
        """Return the queue of a word: EINVAL, EFAULT as `futex_key`."""
        return futex_key(self.lwp, addr, shared=self.shared, write=write)


def futex_key(lwp: Lwp, addr: int, *, shared: bool, write: bool = False) -> Hashable:
    """Return what names the memory of a futex word (get_futex_key).

    EINVAL unless it is aligned; EFAULT if it is no user memory, or shared and not to be read
    (written, if `write`).
    """
    if addr & 3:
        raise KernelError(Errno.EINVAL)
    if addr + 4 > lwp.as_.task_size:
        raise KernelError(Errno.EFAULT)
    return lwp.as_.futex_key(addr, shared, write)


def signed(value: int, bits: int = 32) -> int:
    """Read the low `bits` bits as a signed number."""
    top = 1 << (bits - 1)
    return ((value & ((1 << bits) - 1)) ^ top) - top


def absolute_deadline(lwp: Lwp, when: Timespec, *, realtime: bool) -> int:
    """Return hrtime of an absolute time on the real-time or the monotonic clock; EINVAL."""
    clock = lwp.machine.clock
    at = when.ns()
    return at - clock.realtime() + clock.hrtime() if realtime else at
