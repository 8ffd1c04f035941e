"""Listeners of system call filters: another process answers calls (seccomp_unotify(2)).

A filter made with SECCOMP_FILTER_FLAG_NEW_LISTENER has a `Listener`, which is also a descriptor. A
call for which the filter says RET_USER_NOTIF waits until whoever reads the listener has answered.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from lxemu.kernel.anonfs import AnonFs, AnonVnode
from lxemu.kernel.cv import CondVar
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.poll import POLLHUP, POLLIN, POLLOUT, POLLRDNORM, Pollhead

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.vfs.file import File
    from lxemu.kernel.zone import Zone
    from syscalls.seccomp import Filter

_RECV: Final = 0xC0502100
_SEND: Final = 0xC0182101
_ID_VALID: Final = 0x40082102
_ID_VALID_OLD: Final = 0x80082102
_ADDFD: Final = 0x40182103
_SET_FLAGS: Final = 0x40082104

_NOTIF: Final = struct.Struct("<QII16I")
_RESPONSE: Final = struct.Struct("<QqiI")
_ADDFD_ARG: Final = struct.Struct("<QIIII")
_LX_O_CLOEXEC: Final = 0o2000000
_FLAG_CONTINUE: Final = 1
_ADDFD_SETFD, _ADDFD_SEND = 1, 2
_LX_ENOSYS: Final = 38


class Request:
    """A call that waits for its answer: not seen yet, being answered, or answered.

    `answer` is the result of the call, None when it is to be made after all.
    """

    __slots__ = ("answer", "cv", "done", "ident", "lwp", "seen", "words")

    def __init__(self, ident: int, lwp: Lwp, words: Sequence[int]) -> None:
        self.ident = ident
        self.lwp = lwp
        self.words = words
        self.seen = self.done = False
        self.answer: int | None = -_LX_ENOSYS
        self.cv = CondVar()

    def finish(self, answer: int | None) -> None:
        """Answer the call."""
        self.answer = answer
        self.done = True
        self.cv.signal()


class Listener(AnonVnode):
    """The descriptor, and the calls that wait for answers."""

    __slots__ = (
        "_filter",
        "_next",
        "_patient",
        "_pollhead",
        "_readers",
        "_requests",
        "_zone",
        "listening",
    )

    label = b"anon_inode:seccomp notify"

    def __init__(self, vfs: AnonFs, zone: Zone, node: Filter, *, patient: bool) -> None:
        super().__init__(vfs)
        self._zone = zone
        self._filter = node
        self._patient = patient
        self._next = 1
        self._requests: dict[int, Request] = {}
        self._readers = CondVar()
        self._pollhead = Pollhead()
        self.listening = True

    def ask(self, lwp: Lwp, words: Sequence[int]) -> int | None:
        """Wait for the answer to the running call of `lwp`: its result, None to make it.

        Raises Interrupted; a patient listener keeps the call once it has seen it.
        """
        if not self.listening:
            return -_LX_ENOSYS
        request = Request(self._next, lwp, words)
        self._next += 1
        self._requests[request.ident] = request
        self._readers.signal()
        self._pollhead.wakeup(POLLIN | POLLRDNORM)
        try:
            while not request.done:
                if self._patient and request.seen:
                    request.cv.wait()
                else:
                    request.cv.wait_sig()
        finally:
            self._requests.pop(request.ident, None)
        return request.answer

    def _used(self) -> bool:
        """Return whether any thread still has the filter."""
        return any(
            lwp.call_filter is not None and self._filter in lwp.call_filter.chain()
            for proc in self._zone.procs.values()
            for lwp in proc.lwps
        )

    def poll(self, file: File, events: int) -> tuple[int, Pollhead | None]:  # noqa: ARG002
        """Readable when a call waits to be seen, writable when one waits to be answered."""
        ready = 0
        for request in self._requests.values():
            ready |= POLLOUT if request.seen else POLLIN | POLLRDNORM
        ready &= events
        return ready if self._used() else ready | POLLHUP, self._pollhead

    def close(self, file: File) -> None:  # noqa: ARG002
        """Let go of every call that waits: there is nobody to answer."""
        self.listening = False
        for request in tuple(self._requests.values()):
            request.finish(-_LX_ENOSYS)

    # -- the requests of seccomp_unotify(2) -----------------------------------------------------

    def lx_ioctl(self, lwp: Lwp, request: int, arg: int) -> int:
        """Do a device request as the program gave it. Raises ENOTTY, and the errors of each."""
        if request == _RECV:
            return self._receive(lwp, arg)
        if request == _SEND:
            return self._send(lwp, arg)
        if request in (_ID_VALID, _ID_VALID_OLD):
            self._find(lwp.as_.load_u64(arg))
            return 0
        if request == _ADDFD:
            return self._add_fd(lwp, arg)
        if request == _SET_FLAGS:
            # SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP, a hint for the scheduler.
            if arg & ~1:
                raise KernelError(Errno.EINVAL)
            return 0
        raise KernelError(Errno.EINVAL)

    def _receive(self, lwp: Lwp, arg: int) -> int:
        if any(lwp.as_.copyin(arg, _NOTIF.size)):
            raise KernelError(Errno.EINVAL)
        while True:
            for request in self._requests.values():
                if not request.seen:
                    record = _NOTIF.pack(request.ident, request.lwp.tid, 0, *request.words)
                    lwp.as_.copyout(arg, record)
                    request.seen = True
                    self._pollhead.wakeup(POLLOUT)
                    return 0
            if not self._used():
                raise KernelError(Errno.ENOENT)
            self._readers.wait_sig()

    def _find(self, ident: int) -> Request:
        """Return a call that has been seen and not been answered. ENOENT."""
        request = self._requests.get(ident)
        if request is None or not request.seen or request.done:
            raise KernelError(Errno.ENOENT)
        return request

    def _pending(self, ident: int) -> Request:
        """Return a call to answer: ENOENT, EINPROGRESS for one that nobody has seen."""
        request = self._requests.get(ident)
        if request is None:
            raise KernelError(Errno.ENOENT)
        if not request.seen or request.done:
            raise KernelError(Errno.EINPROGRESS)
        return request

    def _send(self, lwp: Lwp, arg: int) -> int:
        ident, value, error, flags = _RESPONSE.unpack(lwp.as_.copyin(arg, _RESPONSE.size))
        go_on = flags & _FLAG_CONTINUE
        if flags & ~_FLAG_CONTINUE or (go_on and (error or value)):
            raise KernelError(Errno.EINVAL)
        self._pending(ident).finish(None if go_on else error or value)
        return 0

    def _add_fd(self, lwp: Lwp, arg: int) -> int:
        """Give the caller of a waiting call a descriptor of ours; with SEND that is the answer."""
        ident, flags, srcfd, newfd, fd_flags = _ADDFD_ARG.unpack(
            lwp.as_.copyin(arg, _ADDFD_ARG.size)
        )
        unknown = flags & ~(_ADDFD_SETFD | _ADDFD_SEND) or fd_flags & ~_LX_O_CLOEXEC
        if unknown or (newfd and not flags & _ADDFD_SETFD):
            raise KernelError(Errno.EINVAL)
        file = lwp.proc.files.get(srcfd)
        request = self._pending(ident)
        files, cloexec = request.lwp.proc.files, bool(fd_flags)
        if flags & _ADDFD_SETFD:
            if newfd >= files.limit:
                raise KernelError(Errno.EBADF)
            files.put(newfd, file.hold(), cloexec)
            fd: int = newfd
        else:
            fd = files.alloc(file, 0, cloexec)
            file.hold()
        if flags & _ADDFD_SEND:
            request.finish(fd)
        return fd
