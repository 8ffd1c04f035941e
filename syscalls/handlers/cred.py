"""User and group ids, and capabilities (credentials(7), capabilities(7)).

A change makes a new `Cred`; the rules of who may change what are those of Linux kernel/sys.c. On
i386 the 16-bit calls are these with other scalars.
"""

from __future__ import annotations

from typing import Any

from lxemu.kernel.cred import PRIV_PROC_SETGID, PRIV_PROC_SETID, PRIV_PROC_SETPRIV, Cred
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from syscalls.abi import (
    NO_ID,
    CapData,
    CapHeader,
    Gid,
    In,
    InOut,
    Int,
    Out,
    Ptr,
    Uid,
    syscall,
)
from syscalls.abi.pointers import pointer
from syscalls.caps import caps_of_privs, privs_of_caps
from syscalls.handlers.ids import find_proc
from syscalls.handlers.userids import shown_gid, shown_uid, zone_gid, zone_uid

LX_NGROUPS_MAX = 65536
LX_CAPABILITY_VERSION_1 = 0x19980330
LX_CAPABILITY_VERSION_2 = 0x20071026
LX_CAPABILITY_VERSION_3 = 0x20080522


def _change(lwp: Lwp, **ids: Any) -> int:
    """Install new ids.

    A process whose effective ids change is no longer dumpable (commit_creds).
    """
    proc = lwp.proc
    old = proc.cred
    new = old.with_(**ids)
    if (new.euid, new.egid, new.fsuid, new.fsgid) != (old.euid, old.egid, old.fsuid, old.fsgid):
        proc.dumpable = 0
        proc.pdeathsig = 0
    proc.cred = new
    return 0


def _may_setuid(cred: Cred) -> bool:
    return cred.own(PRIV_PROC_SETID)


def _may_setgid(cred: Cred) -> bool:
    return cred.own(PRIV_PROC_SETGID)


# -- reading ------------------------------------------------------------------------------------


@syscall
def getuid(lwp: Lwp) -> Uid:
    """Return the real user id (getuid(2))."""
    cred = lwp.proc.cred
    return shown_uid(cred, cred.ruid)


@syscall
def geteuid(lwp: Lwp) -> Uid:
    """Return the effective user id (geteuid(2))."""
    cred = lwp.proc.cred
    return shown_uid(cred, cred.euid)


@syscall
def getgid(lwp: Lwp) -> Gid:
    """Return the real group id (getgid(2))."""
    cred = lwp.proc.cred
    return shown_gid(cred, cred.rgid)


@syscall
def getegid(lwp: Lwp) -> Gid:
    """Return the effective group id (getegid(2))."""
    cred = lwp.proc.cred
    return shown_gid(cred, cred.egid)


@syscall
def getresuid(lwp: Lwp, ruid: Out[Uid], euid: Out[Uid], suid: Out[Uid]) -> int:
    """Return the three user ids (getresuid(2)): EFAULT."""
    cred = lwp.proc.cred
    ruid.put(shown_uid(cred, cred.ruid))
    euid.put(shown_uid(cred, cred.euid))
    suid.put(shown_uid(cred, cred.suid))
    return 0


@syscall
def getresgid(lwp: Lwp, rgid: Out[Gid], egid: Out[Gid], sgid: Out[Gid]) -> int:
    """Return the three group ids (getresgid(2)): EFAULT."""
    cred = lwp.proc.cred
    rgid.put(shown_gid(cred, cred.rgid))
    egid.put(shown_gid(cred, cred.egid))
    sgid.put(shown_gid(cred, cred.sgid))
    return 0


@syscall
def getgroups(lwp: Lwp, size: Int, grouplist: Out[Gid]) -> int:
    """Return the supplementary groups, or with size 0 their number (getgroups(2)).

    EINVAL, EFAULT.
    """
    cred = lwp.proc.cred
    groups = [shown_gid(cred, gid) for gid in cred.groups]
    if size < 0 or 0 < size < len(groups):
        raise KernelError(Errno.EINVAL)
    if size:
        grouplist.put_array(groups)
    return len(groups)


# -- the rules that user and group ids share ----------------------------------------------------

#: Real, effective and saved id.
Ids = tuple[int, int, int]


def _set_two(may_choose: bool, held: Ids, real: int, effective: int) -> Ids:
    """Return the ids after setreuid or setregid (setreuid(2)); EPERM."""
    if not may_choose and (
        real not in (NO_ID, held[0], held[1]) or effective not in (NO_ID, *held)
    ):
        raise KernelError(Errno.EPERM)
    new_effective = held[1] if effective == NO_ID else effective
    keeps_saved = real == NO_ID and effective in (NO_ID, held[0])
    return (
        held[0] if real == NO_ID else real,
        new_effective,
        held[2] if keeps_saved else new_effective,
    )


def _set_three(may_choose: bool, held: Ids, wanted: Ids) -> Ids:
    """Return the ids after setresuid or setresgid (setresuid(2)); EPERM."""
    if not may_choose and any(new not in (NO_ID, *held) for new in wanted):
        raise KernelError(Errno.EPERM)
    real, effective, saved = (
        old if new == NO_ID else new for old, new in zip(held, wanted, strict=True)
    )
    return real, effective, saved


# -- user ids -----------------------------------------------------------------------------------


@syscall
def setuid(lwp: Lwp, uid: Uid) -> int:
    """Set the effective user id, all of them with privilege (setuid(2)): EINVAL, EPERM."""
    cred = lwp.proc.cred
    if uid == NO_ID:
        raise KernelError(Errno.EINVAL)
    uid = zone_uid(cred, uid)
    if _may_setuid(cred):
        return _change(lwp, ruid=uid, euid=uid, suid=uid, fsuid=uid)
    if uid not in (cred.ruid, cred.suid):
        raise KernelError(Errno.EPERM)
    return _change(lwp, euid=uid, fsuid=uid)


@syscall
def setreuid(lwp: Lwp, ruid: Uid, euid: Uid) -> int:
    """Set real and effective user id, -1 leaves one alone (setreuid(2)): EPERM."""
    cred = lwp.proc.cred
    wanted = zone_uid(cred, ruid), zone_uid(cred, euid)
    real, effective, saved = _set_two(_may_setuid(cred), (cred.ruid, cred.euid, cred.suid), *wanted)
    return _change(lwp, ruid=real, euid=effective, suid=saved, fsuid=effective)


@syscall
def setresuid(lwp: Lwp, ruid: Uid, euid: Uid, suid: Uid) -> int:
    """Set the three user ids, -1 leaves one alone (setresuid(2)): EPERM."""
    cred = lwp.proc.cred
    held = (cred.ruid, cred.euid, cred.suid)
    wanted = zone_uid(cred, ruid), zone_uid(cred, euid), zone_uid(cred, suid)
    real, effective, saved = _set_three(_may_setuid(cred), held, wanted)
    return _change(lwp, ruid=real, euid=effective, suid=saved, fsuid=effective)


@syscall
def setfsuid(lwp: Lwp, fsuid: Uid) -> Uid:
    """Set the user id for file access; the old one is the result, changed or not (setfsuid(2))."""
    cred = lwp.proc.cred
    old = shown_uid(cred, cred.fsuid)
    try:
        fsuid = zone_uid(cred, fsuid)
    except KernelError:
        return old
    allowed = fsuid in (cred.ruid, cred.euid, cred.suid, cred.fsuid) or _may_setuid(cred)
    if fsuid != NO_ID and allowed:
        _change(lwp, fsuid=fsuid)
    return old


# -- group ids ----------------------------------------------------------------------------------


@syscall
def setgid(lwp: Lwp, gid: Gid) -> int:
    """Set the effective group id, all of them with privilege (setgid(2)): EINVAL, EPERM."""
    cred = lwp.proc.cred
    if gid == NO_ID:
        raise KernelError(Errno.EINVAL)
    gid = zone_gid(cred, gid)
    if _may_setgid(cred):
        return _change(lwp, rgid=gid, egid=gid, sgid=gid, fsgid=gid)
    if gid not in (cred.rgid, cred.sgid):
        raise KernelError(Errno.EPERM)
    return _change(lwp, egid=gid, fsgid=gid)


@syscall
def setregid(lwp: Lwp, rgid: Gid, egid: Gid) -> int:
    """Set real and effective group id, -1 leaves one alone (setregid(2)): EPERM."""
    cred = lwp.proc.cred
    wanted = zone_gid(cred, rgid), zone_gid(cred, egid)
    real, effective, saved = _set_two(_may_setgid(cred), (cred.rgid, cred.egid, cred.sgid), *wanted)
    return _change(lwp, rgid=real, egid=effective, sgid=saved, fsgid=effective)


@syscall
def setresgid(lwp: Lwp, rgid: Gid, egid: Gid, sgid: Gid) -> int:
    """Set the three group ids, -1 leaves one alone (setresgid(2)): EPERM."""
    cred = lwp.proc.cred
    held = (cred.rgid, cred.egid, cred.sgid)
    wanted = zone_gid(cred, rgid), zone_gid(cred, egid), zone_gid(cred, sgid)
    real, effective, saved = _set_three(_may_setgid(cred), held, wanted)
    return _change(lwp, rgid=real, egid=effective, sgid=saved, fsgid=effective)


@syscall
def setfsgid(lwp: Lwp, fsgid: Gid) -> Gid:
    """Set the group id for file access; the old one is the result, changed or not (setfsgid(2))."""
    cred = lwp.proc.cred
    old = shown_gid(cred, cred.fsgid)
    try:
        fsgid = zone_gid(cred, fsgid)
    except KernelError:
        return old
    allowed = fsgid in (cred.rgid, cred.egid, cred.sgid, cred.fsgid) or _may_setgid(cred)
    if fsgid != NO_ID and allowed:
        _change(lwp, fsgid=fsgid)
    return old


@syscall
def setgroups(lwp: Lwp, size: Int, grouplist: In[Gid]) -> int:
    """Set the supplementary groups (setgroups(2)): EPERM, EINVAL, EFAULT."""
    cred = lwp.proc.cred
    space = cred.space
    if not _may_setgid(cred) or (space is not None and not (space.gids and space.setgroups)):
        raise KernelError(Errno.EPERM)
    if not 0 <= size <= LX_NGROUPS_MAX:
        raise KernelError(Errno.EINVAL)
    groups = grouplist.get_array(size)
    if NO_ID in groups:
        raise KernelError(Errno.EINVAL)
    return _change(lwp, groups=tuple(sorted(zone_gid(cred, gid) for gid in groups)))


# -- capabilities -------------------------------------------------------------------------------


def _version_words(header: InOut[CapHeader], given: CapHeader) -> int | None:
    """Return how many 32-bit words a set has.

    None, the version stored, for one that we do not know.
    """
    if given.version == LX_CAPABILITY_VERSION_1:
        return 1
    if given.version in (LX_CAPABILITY_VERSION_2, LX_CAPABILITY_VERSION_3):
        return 2
    header.put(given._replace(version=LX_CAPABILITY_VERSION_3))
    return None


@syscall
def capget(lwp: Lwp, hdrp: InOut[CapHeader], datap: Ptr) -> int:
    """Read capability sets (capget(2)).

    EFAULT, EINVAL, ESRCH. A NULL `datap` only asks the version.
    """
    given = hdrp.get()
    words = _version_words(hdrp, given)
    if words is None or not datap:
        if not datap:
            return 0
        raise KernelError(Errno.EINVAL)
    if given.pid < 0:
        raise KernelError(Errno.EINVAL)
    cred = find_proc(lwp, given.pid).cred
    sets = [caps_of_privs(p) for p in (cred.privs, cred.permitted, cred.inheritable)]
    out: Out[CapData] = pointer(Out, lwp, CapData, datap)
    out.put_array([CapData(*(s >> 32 * i & 0xFFFFFFFF for s in sets)) for i in range(words)])
    return 0


@syscall
def capset(lwp: Lwp, hdrp: InOut[CapHeader], datap: In[CapData]) -> int:
    """Set the caller's capability sets (capset(2)): EFAULT, EINVAL, EPERM.

    Deviation: DAC_OVERRIDE and DAC_READ_SEARCH share the privilege to read (as in lx).
    """
    given = hdrp.get()
    words = _version_words(hdrp, given)
    if words is None:
        raise KernelError(Errno.EINVAL)
    if given.pid not in (0, lwp.proc.pid):
        raise KernelError(Errno.EPERM)
    data = datap.get_array(words)
    effective, permitted, inheritable = (
        sum(getattr(word, name) << 32 * i for i, word in enumerate(data))
        for name in ("effective", "permitted", "inheritable")
    )
    cred = lwp.proc.cred
    old_permitted = caps_of_privs(cred.permitted)
    old_inheritable = caps_of_privs(cred.inheritable)
    bounded = old_inheritable | caps_of_privs(cred.bounding)
    if not cred.own(PRIV_PROC_SETPRIV):
        bounded &= old_inheritable | old_permitted
    if permitted & ~old_permitted or effective & ~permitted or inheritable & ~bounded:
        raise KernelError(Errno.EPERM)
    privs = privs_of_caps(effective, cred.privs)
    allowed = privs_of_caps(permitted, cred.permitted)
    kept = privs_of_caps(inheritable, cred.inheritable)
    ambient = cred.ambient & allowed & kept
    lwp.proc.cred = cred.with_(privs=privs, permitted=allowed, inheritable=kept, ambient=ambient)
    return 0
