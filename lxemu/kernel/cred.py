"""Credentials and privileges (illumos sys/cred.h, sys/priv_names.h; privileges(7)).

A `Cred` never changes: a call that changes one makes a new one and swaps it into the process, so
another holder (an open file, a sleeping lwp) keeps what it had.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lxemu.kernel.userns import UserSpace

PRIV_NAMES = (
    "file_chown",
    "file_chown_self",
    "file_dac_execute",
    "file_dac_read",
    "file_dac_search",
    "file_dac_write",
    "file_link_any",
    "file_owner",
    "file_setid",
    "ipc_dac_read",
    "ipc_dac_write",
    "ipc_owner",
    "net_icmpaccess",
    "net_privaddr",
    "net_rawaccess",
    "proc_audit",
    "proc_chroot",
    "proc_exec",
    "proc_fork",
    "proc_info",
    "proc_lock_memory",
    "proc_owner",
    "proc_prioup",
    "proc_session",
    "proc_setid",
    "proc_taskid",
    "proc_zone",
    "sys_acct",
    "sys_admin",
    "sys_audit",
    "sys_config",
    "sys_devices",
    "sys_ip_config",
    "sys_linkdir",
    "sys_mount",
    "sys_net_config",
    "sys_res_config",
    "sys_resource",
    "sys_suser_compat",
    "sys_time",
    "file_flag_set",
)
_BIT = {name: 1 << i for i, name in enumerate(PRIV_NAMES)}

PRIV_FILE_CHOWN = _BIT["file_chown"]
PRIV_FILE_CHOWN_SELF = _BIT["file_chown_self"]
PRIV_FILE_DAC_EXECUTE = _BIT["file_dac_execute"]
PRIV_FILE_DAC_READ = _BIT["file_dac_read"]
PRIV_FILE_DAC_SEARCH = _BIT["file_dac_search"]
PRIV_FILE_DAC_WRITE = _BIT["file_dac_write"]
PRIV_FILE_LINK_ANY = _BIT["file_link_any"]
PRIV_FILE_OWNER = _BIT["file_owner"]
PRIV_FILE_SETID = _BIT["file_setid"]
PRIV_FILE_FLAG_SET = _BIT["file_flag_set"]
PRIV_IPC_DAC_READ = _BIT["ipc_dac_read"]
PRIV_IPC_DAC_WRITE = _BIT["ipc_dac_write"]
PRIV_IPC_OWNER = _BIT["ipc_owner"]
PRIV_NET_ICMPACCESS = _BIT["net_icmpaccess"]
PRIV_NET_PRIVADDR = _BIT["net_privaddr"]
PRIV_NET_RAWACCESS = _BIT["net_rawaccess"]
PRIV_PROC_AUDIT = _BIT["proc_audit"]
PRIV_PROC_CHROOT = _BIT["proc_chroot"]
PRIV_PROC_EXEC = _BIT["proc_exec"]
PRIV_PROC_FORK = _BIT["proc_fork"]
PRIV_PROC_INFO = _BIT["proc_info"]
PRIV_PROC_LOCK_MEMORY = _BIT["proc_lock_memory"]
PRIV_PROC_OWNER = _BIT["proc_owner"]
PRIV_PROC_PRIOUP = _BIT["proc_prioup"]
PRIV_PROC_SESSION = _BIT["proc_session"]
PRIV_PROC_SETID = _BIT["proc_setid"]
PRIV_PROC_ZONE = _BIT["proc_zone"]
PRIV_SYS_ACCT = _BIT["sys_acct"]
PRIV_SYS_ADMIN = _BIT["sys_admin"]
PRIV_SYS_AUDIT = _BIT["sys_audit"]
PRIV_SYS_CONFIG = _BIT["sys_config"]
PRIV_SYS_DEVICES = _BIT["sys_devices"]
PRIV_SYS_IP_CONFIG = _BIT["sys_ip_config"]
PRIV_SYS_MOUNT = _BIT["sys_mount"]
PRIV_SYS_NET_CONFIG = _BIT["sys_net_config"]
PRIV_SYS_RESOURCE = _BIT["sys_resource"]
PRIV_SYS_TIME = _BIT["sys_time"]

#: What every process has (the "basic" set).
PRIV_BASIC = (
    PRIV_FILE_LINK_ANY | PRIV_PROC_EXEC | PRIV_PROC_FORK | PRIV_PROC_INFO | PRIV_PROC_SESSION
)
PRIV_ALL = (1 << len(PRIV_NAMES)) - 1
#: What uid 0 has in a zone: time and hardware belong to the global zone (lx-facts, zone
#: privileges).
PRIV_ZONE = PRIV_ALL & ~(PRIV_SYS_TIME | PRIV_SYS_CONFIG | PRIV_PROC_ZONE)


@dataclass(frozen=True, slots=True)
class Cred:
    """User and group ids, supplementary groups and the effective privilege set (a bit mask).

    `space` is the users' space of the process, None the zone's: the privileges count in it and in
    those made in it, and towards the zone only what every process may.
    """

    ruid: int = 0
    euid: int = 0
    suid: int = 0
    fsuid: int = 0
    rgid: int = 0
    egid: int = 0
    sgid: int = 0
    fsgid: int = 0
    groups: tuple[int, ...] = ()
    privs: int = PRIV_ZONE
    permitted: int = PRIV_ZONE
    inheritable: int = 0
    bounding: int = PRIV_ALL
    keep_privs: bool = False
    no_new_privs: bool = False
    space: UserSpace | None = None

    def crhas(self, priv: int) -> bool:
        """Return whether the effective set holds `priv` (a PRIV_* bit) towards the zone."""
        return self.privs & priv != 0 and (self.space is None or priv & PRIV_BASIC != 0)

    def own(self, priv: int) -> bool:
        """Return whether the effective set holds `priv` towards the users' space of the process."""
        return self.privs & priv != 0

    def over(self, uid: int, gid: int, priv: int) -> bool:
        """Return whether `priv` may be used on a file of an owner and group."""
        return self.privs & priv != 0 and (self.space is None or self.space.maps(uid, gid))

    @property
    def root(self) -> int:
        """The user whose ids give privileges: 0, or who is 0 in the space; -1 if nobody is."""
        return 0 if self.space is None else self.space.root()

    def groupmember(self, gid: int) -> bool:
        """Return whether `gid` is the file-system group or a supplementary one."""
        return gid == self.fsgid or gid in self.groups

    def with_(self, **changes: Any) -> Cred:
        """Return a copy with `changes` and the privileges that the new user ids imply."""
        new = replace(self, **changes)
        if "privs" in changes:
            return new
        privs, permitted = _setuid_privileges(self, new)
        return replace(new, privs=privs, permitted=permitted)

    @classmethod
    def for_user(cls, uid: int, gid: int, groups: tuple[int, ...] = ()) -> Cred:
        """Return the credentials of a fresh login of `uid`:`gid`."""
        privs = PRIV_ZONE if uid == 0 else PRIV_BASIC
        return cls(uid, uid, uid, uid, gid, gid, gid, gid, groups, privs, privs)


def _setuid_privileges(old: Cred, new: Cred) -> tuple[int, int]:
    """Work out the privilege sets after a change of user ids (capabilities(7), "Effect of ...")."""
    privs, permitted = new.privs, new.permitted
    root = new.root
    had_root = root in (old.ruid, old.euid, old.suid)
    if had_root and root not in (new.ruid, new.euid, new.suid) and not new.keep_privs:
        permitted = PRIV_BASIC
        privs = PRIV_BASIC
    if old.euid == root and new.euid != root:
        privs = PRIV_BASIC
    elif old.euid != root and new.euid == root:
        privs = permitted
    file_privs = (
        PRIV_FILE_CHOWN
        | PRIV_FILE_DAC_EXECUTE
        | PRIV_FILE_DAC_READ
        | PRIV_FILE_DAC_SEARCH
        | PRIV_FILE_DAC_WRITE
        | PRIV_FILE_OWNER
        | PRIV_FILE_SETID
    )
    if old.fsuid == root and new.fsuid != root:
        privs &= ~file_privs
    elif old.fsuid != root and new.fsuid == root:
        privs |= permitted & file_privs
    return privs, permitted


def hasprocperm(sender: Cred, target: Cred) -> bool:
    """Return whether `sender` may signal a process of `target` (illumos hasprocperm; kill(2))."""
    if sender.crhas(PRIV_PROC_OWNER):
        return True
    ids = (target.ruid, target.suid)
    return sender.euid in ids or sender.ruid in ids
