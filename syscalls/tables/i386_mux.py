"""The calls inside the two multiplexers of i386: socketcall(2) and ipc(2).

Sources: net/socket.c (the argument counts `nargs`), ipc/syscall.c (which word goes where).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from lxemu.kernel.errno import Errno, KernelError
from syscalls.personality import Mux, Row, row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lxemu.kernel.lwp import Lwp


SOCKETCALL_ROWS: Final[tuple[Row, ...]] = (
    row(1, "socket", "socket_.socket"),
    row(2, "bind", "socket_.bind"),
    row(3, "connect", "socket_.connect"),
    row(4, "listen", "socket_.listen"),
    row(5, "accept", "socket_.accept"),
    row(6, "getsockname", "socket_.getsockname"),
    row(7, "getpeername", "socket_.getpeername"),
    row(8, "socketpair", "socket_.socketpair"),
    row(9, "send", "sockmsg.send"),
    row(10, "recv", "sockmsg.recv"),
    row(11, "sendto", "sockmsg.sendto"),
    row(12, "recvfrom", "sockmsg.recvfrom"),
    row(13, "shutdown", "socket_.shutdown"),
    row(14, "setsockopt", "sockopt.setsockopt"),
    row(15, "getsockopt", "sockopt.getsockopt"),
    row(16, "sendmsg", "sockmsg.sendmsg"),
    row(17, "recvmsg", "sockmsg.recvmsg"),
    row(18, "accept4", "socket_.accept4"),
    row(19, "recvmmsg", "sockmsg.recvmmsg"),
    row(20, "sendmmsg", "sockmsg.sendmmsg"),
)
_NARGS: Final = (0, 3, 3, 3, 2, 3, 3, 3, 4, 4, 4, 6, 6, 2, 5, 5, 3, 3, 4, 5, 4)


def fetch_socketcall(lwp: Lwp, call: int, words: Sequence[int]) -> tuple[int, Sequence[int]]:
    """Copy in the arguments that the second word points to. EINVAL, EFAULT."""
    if not 1 <= call < len(_NARGS):
        raise KernelError(Errno.EINVAL)
    count = _NARGS[call]
    args = struct.unpack(f"<{count}I", lwp.as_.copyin(words[1], 4 * count))
    return call, args + (0,) * (6 - count)


SOCKETCALL: Final = Mux(SOCKETCALL_ROWS, fetch_socketcall)

IPC_ROWS: Final[tuple[Row, ...]] = (
    row(1, "semop", "sem_.semop"),
    row(2, "semget", "sem_.semget"),
    row(3, "semctl", "sem_.old_semctl"),
    row(4, "semtimedop", "sem_.semtimedop"),
    row(11, "msgsnd", "msg_.msgsnd"),
    row(12, "msgrcv", "msg_.msgrcv"),
    row(13, "msgget", "msg_.msgget"),
    row(14, "msgctl", "msg_.old_msgctl"),
    row(21, "shmat", "shm_.old_shmat"),
    row(22, "shmdt", "shm_.shmdt"),
    row(23, "shmget", "shm_.shmget"),
    row(24, "shmctl", "shm_.old_shmctl"),
)


def fetch_ipc(lwp: Lwp, call: int, words: Sequence[int]) -> tuple[int, Sequence[int]]:
    """Put the words of ipc(call, first, second, third, ptr, fifth) where the real call has them.

    The shmat of this form returns the address through `third`: its handler is a call of its own.
    """
    version, number = call >> 16, call & 0xFFFF
    _, first, second, third, ptr, fifth = words
    if not any(inner.nr == number for inner in IPC_ROWS):
        raise KernelError(Errno.ENOSYS)
    if number == 1:
        args = (first, ptr, second, 0)
    elif number in (4, 11):
        args = (first, ptr, second, fifth if number == 4 else third)
    elif number == 3:
        if not ptr:
            raise KernelError(Errno.EINVAL)
        args = (first, second, third, lwp.as_.load_u32(ptr))
    elif number == 12:
        if (first | second) >> 31:
            raise KernelError(Errno.EINVAL)
        if version == 0:
            if not ptr:
                raise KernelError(Errno.EINVAL)
            # struct ipc_kludge { msgp, msgtyp }
            msgp, msgtyp = struct.unpack("<II", lwp.as_.copyin(ptr, 8))
            return number, (first, msgp, second, msgtyp, third, 0)
        return number, (first, ptr, second, fifth, third, 0)
    elif number == 21:
        if version == 1:
            raise KernelError(Errno.EINVAL)
        args = (first, ptr, second, third)
    elif number == 22:
        args = (ptr, 0, 0, 0)
    elif number in (14, 24):
        args = (first, second, ptr, 0)
    else:
        args = (first, second, third, 0)
    return number, (*args, 0, 0)


IPC: Final = Mux(IPC_ROWS, fetch_ipc)
