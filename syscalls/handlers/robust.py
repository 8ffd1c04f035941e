"""Robust futexes: set_robust_list(2), get_robust_list(2), and what an ending thread leaves behind.

A thread keeps a list of the locks it holds in its own memory. When it ends, in whatever way, the
locks are marked and their waiters woken (Documentation/locking/robust-futex-ABI.rst).
"""

from __future__ import annotations

from contextlib import suppress

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.proc import Proc
from syscalls.abi import Out, Pid, Ptr, Size, ULong, syscall
from syscalls.handlers.futex_call import (
    LX_FUTEX_OWNER_DIED,
    LX_FUTEX_TID_MASK,
    LX_FUTEX_WAITERS,
)
from syscalls.handlers.futex_pi import owner_died

#: Longest list that is walked, against circles.
_LIMIT = 2048


@syscall
def set_robust_list(lwp: Lwp, head: Ptr, length: Size) -> int:
    """Tell where the list of held robust futexes begins (set_robust_list(2)): EINVAL."""
    if length != 3 * lwp.brand.bits // 8:
        raise KernelError(Errno.EINVAL)
    lwp.robust_list = (head, length)
    return 0


@syscall
def get_robust_list(lwp: Lwp, pid: Pid, head_ptr: Out[ULong], len_ptr: Out[ULong]) -> int:
    """Read the robust list head of a thread (get_robust_list(2)): ESRCH, EPERM, EFAULT."""
    from syscalls.fs.procpid import may_access

    thread: Lwp | None = lwp if pid == 0 else lwp.machine.lwp_by_tid.get(pid)
    proc: Proc | None = lwp.machine.procs.get(pid) if thread is None else thread.proc
    if proc is None:
        raise KernelError(Errno.ESRCH)
    if proc is not lwp.proc:
        try:
            may_access(proc)
        except KernelError:
            raise KernelError(Errno.EPERM) from None
    head, _ = thread.robust_list if thread is not None else (0, 0)
    len_ptr.put(3 * lwp.brand.bits // 8)
    head_ptr.put(head)
    return 0


def release_futexes(lwp: Lwp) -> None:
    """Let go of the locks of an ending lwp, while its memory is still there (futex_cleanup)."""
    head, length = lwp.robust_list
    if head:
        lwp.robust_list = (0, 0)
        # The list is the program's own; where it leads nowhere it ends.
        with suppress(KernelError):
            _walk(lwp, head, length // 3)
    if lwp.machine.uwait.mutexes:
        owner_died(lwp)


def wake_shared(lwp: Lwp, addr: int) -> None:
    """Wake one waiter on a word, as a futex that is not private; nobody is told of errors."""
    with suppress(KernelError):
        lwp.machine.uwait.wake(lwp.as_.futex_key(addr, True), 1)


def _walk(lwp: Lwp, head: int, size: int) -> None:
    """Go through a list with links of `size` bytes; bit 0 of a link marks a PI futex."""
    load = lwp.as_.load_u64 if size == 8 else lwp.as_.load_u32
    entry = load(head)
    offset = load(head + size)
    pending = load(head + 2 * size)
    mask = (1 << 8 * size) - 1
    for _ in range(_LIMIT):
        node = entry & ~1
        if node == head:
            break
        following: int | None
        try:
            following = load(node)
        except KernelError:
            following = None
        if node != pending & ~1:
            _died(lwp, node + offset & mask, pi=bool(entry & 1), pending=False)
        if following is None:
            return
        entry = following
    if pending & ~1:
        _died(lwp, (pending & ~1) + offset & mask, pi=bool(pending & 1), pending=True)


def _died(lwp: Lwp, addr: int, *, pi: bool, pending: bool) -> None:
    """Mark one lock as its owner's legacy and wake a waiter: EINVAL, EFAULT (handle_futex_death).

    A lock that was just being released or taken, and has no owner, only gets its waiter woken.
    """
    if addr & 3:
        raise KernelError(Errno.EINVAL)
    word = lwp.as_.load_u32(addr)
    owner = word & LX_FUTEX_TID_MASK
    if pending and not pi and not owner:
        wake_shared(lwp, addr)
        return
    if owner != lwp.vtid:
        return
    lwp.as_.store_u32(addr, word & LX_FUTEX_WAITERS | LX_FUTEX_OWNER_DIED)
    if not pi and word & LX_FUTEX_WAITERS:
        wake_shared(lwp, addr)
