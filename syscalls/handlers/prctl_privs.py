"""The operations of prctl(2) on capabilities (capabilities(7)): bounding, ambient, securebits."""

from __future__ import annotations

from collections.abc import Callable

from lxemu.kernel.cred import (
    PRIV_PROC_SETPRIV,
    SECURE_ALL,
    SECURE_KEEP_PRIVS,
    SECURE_LOCKS,
    SECURE_NO_AMBIENT_RAISE,
    Cred,
)
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from syscalls.caps import LX_CAP_LAST, PRIVS_OF_CAP, caps_of_privs

Args = tuple[int, int, int, int]
Operation = Callable[[Lwp, Args], int]

LX_PR_GET_KEEPCAPS, LX_PR_SET_KEEPCAPS = 7, 8
LX_PR_CAPBSET_READ, LX_PR_CAPBSET_DROP = 23, 24
LX_PR_GET_SECUREBITS, LX_PR_SET_SECUREBITS = 27, 28
LX_PR_CAP_AMBIENT = 47
LX_PR_CAP_AMBIENT_IS_SET, LX_PR_CAP_AMBIENT_RAISE = 1, 2
LX_PR_CAP_AMBIENT_LOWER, LX_PR_CAP_AMBIENT_CLEAR_ALL = 3, 4


def _change(lwp: Lwp, **changes: int) -> int:
    cred = lwp.proc.cred
    lwp.proc.cred = cred.with_(**changes, privs=cred.privs)
    return 0


def _require_setpriv(cred: Cred) -> None:
    if not cred.own(PRIV_PROC_SETPRIV):
        raise KernelError(Errno.EPERM)


def _set_keepcaps(lwp: Lwp, args: Args) -> int:
    secure = lwp.proc.cred.secure
    if args[0] > 1:
        raise KernelError(Errno.EINVAL)
    if secure & SECURE_KEEP_PRIVS << 1:
        raise KernelError(Errno.EPERM)
    kept = secure | SECURE_KEEP_PRIVS if args[0] else secure & ~SECURE_KEEP_PRIVS
    return _change(lwp, secure=kept)


def _capbset_read(lwp: Lwp, args: Args) -> int:
    if args[0] > LX_CAP_LAST:
        raise KernelError(Errno.EINVAL)
    return caps_of_privs(lwp.proc.cred.bounding) >> args[0] & 1


def _capbset_drop(lwp: Lwp, args: Args) -> int:
    cred = lwp.proc.cred
    _require_setpriv(cred)
    if args[0] > LX_CAP_LAST:
        raise KernelError(Errno.EINVAL)
    return _change(lwp, bounding=cred.bounding & ~PRIVS_OF_CAP[args[0]])


def _set_securebits(lwp: Lwp, args: Args) -> int:
    """Set the secure bits: EPERM to change a locked one, to unlock one, or without SETPCAP."""
    cred = lwp.proc.cred
    old, new = cred.secure, args[0]
    locked = (old & SECURE_LOCKS) >> 1
    if locked & (old ^ new) or old & SECURE_LOCKS & ~new or new & ~SECURE_ALL:
        raise KernelError(Errno.EPERM)
    _require_setpriv(cred)
    return _change(lwp, secure=new)


def _cap_ambient(lwp: Lwp, args: Args) -> int:
    """Read or change the capabilities that survive exec of an ordinary program."""
    action, cap = args[0], args[1]
    cred = lwp.proc.cred
    if action == LX_PR_CAP_AMBIENT_CLEAR_ALL:
        if any(args[1:]):
            raise KernelError(Errno.EINVAL)
        return _change(lwp, ambient=0)
    if cap > LX_CAP_LAST or args[2] or args[3]:
        raise KernelError(Errno.EINVAL)
    privs = PRIVS_OF_CAP[cap]
    if action == LX_PR_CAP_AMBIENT_IS_SET:
        return int(cred.ambient & privs == privs)
    if action == LX_PR_CAP_AMBIENT_LOWER:
        return _change(lwp, ambient=cred.ambient & ~privs)
    if action != LX_PR_CAP_AMBIENT_RAISE:
        raise KernelError(Errno.EINVAL)
    if privs & ~(cred.permitted & cred.inheritable) or cred.secure & SECURE_NO_AMBIENT_RAISE:
        raise KernelError(Errno.EPERM)
    return _change(lwp, ambient=cred.ambient | privs)


OPERATIONS: dict[int, Operation] = {
    LX_PR_GET_KEEPCAPS: lambda lwp, _args: int(lwp.proc.cred.keep_privs),
    LX_PR_SET_KEEPCAPS: _set_keepcaps,
    LX_PR_CAPBSET_READ: _capbset_read,
    LX_PR_CAPBSET_DROP: _capbset_drop,
    LX_PR_GET_SECUREBITS: lambda lwp, _args: lwp.proc.cred.secure,
    LX_PR_SET_SECUREBITS: _set_securebits,
    LX_PR_CAP_AMBIENT: _cap_ambient,
}
