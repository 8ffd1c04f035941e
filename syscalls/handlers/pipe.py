"""Pipes: pipe(2), pipe2(2)."""

from __future__ import annotations

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.vfs.fcntl import O_CLOEXEC, O_EXCL
from syscalls.abi import Int, Out, PipeFlags, syscall


@syscall
def pipe(lwp: Lwp, pipefd: Out[Int]) -> int:
    """Make a pipe; the read end comes first."""
    return _pipe(lwp, pipefd, 0)


@syscall
def pipe2(lwp: Lwp, pipefd: Out[Int], flags: PipeFlags) -> int:
    """Make a pipe, with flags.

    Deviation: O_NOTIFICATION_PIPE is ENOPKG, as on a kernel built without watch queues.
    """
    if flags & O_EXCL:
        raise KernelError(Errno.ENOPKG)
    return _pipe(lwp, pipefd, flags)


def _pipe(lwp: Lwp, pipefd: Out[Int], flags: int) -> int:
    proc = lwp.proc
    files = proc.files
    cloexec = flags & O_CLOEXEC != 0
    mounts = proc.mounts
    assert mounts is not None
    reader, writer = mounts.pipefs.pipe(proc.cred, flags)
    try:
        first = files.alloc(reader, 0, cloexec)
    except KernelError:
        reader.rele()
        writer.rele()
        raise
    try:
        second = files.alloc(writer, 0, cloexec)
    except KernelError:
        files.close(first)
        writer.rele()
        raise
    try:
        pipefd.put_array((first, second))
    except KernelError:
        files.close(first)
        files.close(second)
        raise
    return 0
