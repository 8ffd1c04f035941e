"""Signals read from descriptors: signalfd(2)."""

from __future__ import annotations

from lxemu.kernel.anonfs import anon_files
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.signal import CANTMASK
from lxemu.kernel.signalfdfs import SignalFd
from lxemu.kernel.vfs.fcntl import O_CLOEXEC, O_NONBLOCK
from syscalls.abi import In, Int, SignalfdFlags, SigSet, Size, syscall
from syscalls.handlers.paths import open_file
from syscalls.handlers.signal_ import LX_SIGSET_SIZE
from syscalls.layouts.signal import SIGNALFD_SIZE, pack_signalfd


@syscall
def signalfd(lwp: Lwp, fd: Int, mask: In[SigSet], sizemask: Size) -> int:
    """Make or change a descriptor that signals are read from (signalfd(2))."""
    return _signalfd(lwp, fd, mask, sizemask, 0)


@syscall
def signalfd4(lwp: Lwp, fd: Int, mask: In[SigSet], sizemask: Size, flags: SignalfdFlags) -> int:
    """Do the same, with flags for a new one: EINVAL, EFAULT, EBADF, EMFILE."""
    return _signalfd(lwp, fd, mask, sizemask, flags)


def _signalfd(lwp: Lwp, fd: int, mask: In[SigSet], sizemask: int, flags: int) -> int:
    if sizemask != LX_SIGSET_SIZE:
        raise KernelError(Errno.EINVAL)
    wanted = mask.get() & ~CANTMASK
    if fd != -1:
        vnode = open_file(lwp, fd).vnode
        if not isinstance(vnode, SignalFd):
            raise KernelError(Errno.EINVAL)
        vnode.set_mask(wanted)
        return fd
    proc = lwp.proc
    proc.files.lowest()
    anon = anon_files(lwp.machine)
    vnode = SignalFd(anon.objects, wanted, pack_signalfd, SIGNALFD_SIZE)
    file = anon.open(vnode, flags & O_NONBLOCK, proc.cred)
    return proc.files.alloc(file, 0, flags & O_CLOEXEC != 0)
