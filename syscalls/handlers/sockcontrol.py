"""Control messages of sendmsg and recvmsg: descriptors and credentials in, the same out."""

from __future__ import annotations

import struct
from importlib import import_module
from typing import TYPE_CHECKING, Final

from lxemu.kernel.cred import PRIV_PROC_SETID, PRIV_SYS_ADMIN
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.net.socket import discard
from lxemu.kernel.net.socketvar import (
    SCM_MAX_FD,
    SCM_PIDFD,
    SCM_RIGHTS,
    SCM_UCRED,
    SOL_SOCKET,
    Control,
    Ucred,
)
from syscalls.abi import cmsg
from syscalls.abi.xlat_net import LEVEL, LX_SOL_SOCKET
from syscalls.errno import ERRNO_OUT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.net.socket import Sonode
    from lxemu.kernel.proc import Proc
    from lxemu.kernel.vfs.file import File

#: net.core.optmem_max: more control data than this is ENOBUFS.
OPTMEM_MAX: Final = 131072
_UCRED_SIZE: Final = 12


def copyin_control(lwp: Lwp, so: Sonode, addr: int, size: int) -> tuple[Control, ...]:
    """Copy in the control messages of a send; the files in them are held for the caller.

    ENOBUFS, EFAULT, EINVAL, EBADF, EPERM, ESRCH (sendmsg's ____sys_sendmsg, __scm_send).
    """
    bits = lwp.brand.bits
    if bits == 32 and size < cmsg.header_size(bits):
        # The translation of 32-bit messages finds none, which is an error only there.
        raise KernelError(Errno.EINVAL)
    if size > OPTMEM_MAX:
        if bits == 32:
            lwp.as_.copyin(addr, OPTMEM_MAX)
        raise KernelError(Errno.ENOBUFS)
    data = lwp.as_.copyin(addr, size)
    if not so.carries_ucred:
        if so.internet:
            # Registers the decoders; a program without such sockets does not wait for them.
            import_module("syscalls.abi.cmsg_inet")
        return tuple(_plain(bits, raw) for raw in cmsg.parse(data, bits))
    files: list[File] = []
    found: list[Control] = []
    try:
        for raw in cmsg.parse(data, bits):
            if raw.level != LX_SOL_SOCKET:
                found.append(_plain(bits, raw))
            elif raw.type == cmsg.LX_SCM_RIGHTS:
                _hold_files(lwp, raw.data, files)
            elif raw.type == cmsg.LX_SCM_CREDENTIALS:
                found.append(Control(SOL_SOCKET, SCM_UCRED, _check_ucred(lwp, raw.data)))
            else:
                raise KernelError(Errno.EINVAL)
    except KernelError:
        for file in files:
            file.rele()
        raise
    if files:
        found.append(Control(SOL_SOCKET, SCM_RIGHTS, files))
    return tuple(found)


def _plain(bits: int, raw: cmsg.RawControl) -> Control:
    """Translate a message that a protocol has to understand; one unknown goes as it is."""
    decoder = cmsg.DECODERS.get((raw.level, raw.type))
    type_, data = decoder(bits, raw.data) if decoder else (raw.type, raw.data)
    return Control(LEVEL.from_lx[raw.level], type_, data)


def _hold_files(lwp: Lwp, data: bytes, files: list[File]) -> None:
    count = len(data) // 4
    if not count:
        return
    if len(files) + count > SCM_MAX_FD:
        raise KernelError(Errno.EINVAL)
    table = lwp.proc.files
    files.extend(table.get(fd).hold() for fd in struct.unpack_from(f"<{count}i", data))


def _check_ucred(lwp: Lwp, data: bytes) -> Ucred:
    """Check that the caller may claim to be this process and user (scm_check_creds)."""
    if len(data) != _UCRED_SIZE:
        raise KernelError(Errno.EINVAL)
    ucred = cmsg.ucred_in(data)
    cred, proc = lwp.proc.cred, lwp.proc
    setid = cred.crhas(PRIV_PROC_SETID)
    if (
        (ucred.pid != proc.pid and not cred.crhas(PRIV_SYS_ADMIN))
        or (ucred.uid not in (cred.ruid, cred.euid, cred.suid) and not setid)
        or (ucred.gid not in (cred.rgid, cred.egid, cred.sgid) and not setid)
    ):
        raise KernelError(Errno.EPERM)
    claimed = lwp.machine.procs.get(ucred.pid, proc if ucred.pid == proc.pid else None)
    if claimed is None:
        raise KernelError(Errno.ESRCH)
    return ucred._replace(proc=claimed)


def copyout_control(
    lwp: Lwp, control: Iterable[Control], addr: int, room: int, *, cloexec: bool
) -> tuple[int, bool]:
    """Store the control messages of a receive; return the bytes used and whether some are lost.

    Descriptors are made here; files for which there is no room are closed.
    """
    if not control:
        return 0, False
    if not addr:
        discard(control)
        return 0, True
    bits = lwp.brand.bits
    writer = cmsg.ControlWriter(bits, room)
    for item in control:
        if item.level == SOL_SOCKET and item.type == SCM_RIGHTS:
            _put_files(lwp, writer, item.data, cloexec=cloexec)
            continue
        if item.level == SOL_SOCKET and item.type == SCM_PIDFD:
            _put_process(lwp, writer, item.data)
            continue
        encoder = cmsg.ENCODERS.get((item.level, item.type))
        if encoder is None:
            writer.put(cmsg.lx_level(item.level), item.type, item.data)
        else:
            lx_type, encode = encoder
            writer.put(cmsg.lx_level(item.level), lx_type, encode(bits, item.data))
    if writer.data:
        lwp.as_.copyout(addr, bytes(writer.data))
    return len(writer.data), writer.truncated


def _put_process(lwp: Lwp, writer: cmsg.ControlWriter, proc: Proc) -> None:
    """Give a descriptor of the sender, or the error that making it had (scm_pidfd_recv)."""
    from syscalls.handlers.pidfd import open_desc

    if not writer.descriptors():
        writer.truncated = True
        return
    try:
        fd = open_desc(lwp, proc, None)
    except KernelError as error:
        fd = -ERRNO_OUT[error.errno]
    writer.put(LX_SOL_SOCKET, cmsg.LX_SCM_PIDFD, struct.pack("<i", fd))


def _put_files(lwp: Lwp, writer: cmsg.ControlWriter, files: list[File], *, cloexec: bool) -> None:
    """Give the files descriptors, as many as fit and as there may be (scm_detach_fds)."""
    table = lwp.proc.files
    room = writer.descriptors()
    fds: list[int] = []
    for file in files:
        try:
            if len(fds) >= room:
                raise KernelError(Errno.EMFILE)
            fds.append(table.alloc(file, 0, cloexec))
        except KernelError:
            break
    for file in files[len(fds) :]:
        file.rele()
        writer.truncated = True
    if fds:
        writer.put_descriptors(fds)
