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
    # Ours: finer than illumos, for a brand whose programs hold and drop such rights one by one.
    "file_lease",
    "file_setpriv",
    "mac_admin",
    "mac_override",
    "net_broadcast",
    "proc_audit_read",
    "proc_bpf",
    "proc_checkpoint",
    "proc_perfmon",
    "proc_setgid",
    "proc_setpriv",
    "proc_trace",
    "sys_boot",
    "sys_log",
    "sys_module",
    "sys_mknod",
    "sys_rawio",
    "sys_suspend",
    "sys_tty_config",
    "sys_wakeup",
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
PRIV_FILE_LEASE = _BIT["file_lease"]
PRIV_FILE_SETPRIV = _BIT["file_setpriv"]
PRIV_MAC_ADMIN = _BIT["mac_admin"]
PRIV_MAC_OVERRIDE = _BIT["mac_override"]
PRIV_NET_BROADCAST = _BIT["net_broadcast"]
PRIV_PROC_AUDIT_READ = _BIT["proc_audit_read"]
PRIV_PROC_BPF = _BIT["proc_bpf"]
PRIV_PROC_CHECKPOINT = _BIT["proc_checkpoint"]
PRIV_PROC_PERFMON = _BIT["proc_perfmon"]
PRIV_PROC_SETGID = _BIT["proc_setgid"]
PRIV_PROC_SETPRIV = _BIT["proc_setpriv"]
PRIV_PROC_TRACE = _BIT["proc_trace"]
PRIV_SYS_BOOT = _BIT["sys_boot"]
PRIV_SYS_LOG = _BIT["sys_log"]
PRIV_SYS_MODULE = _BIT["sys_module"]
PRIV_SYS_MKNOD = _BIT["sys_mknod"]
PRIV_SYS_RAWIO = _BIT["sys_rawio"]
PRIV_SYS_SUSPEND = _BIT["sys_suspend"]
PRIV_SYS_TTY_CONFIG = _BIT["sys_tty_config"]
PRIV_SYS_WAKEUP = _BIT["sys_wakeup"]

#: What every process has (the "basic" set).
PRIV_BASIC = (
    PRIV_FILE_LINK_ANY | PRIV_PROC_EXEC | PRIV_PROC_FORK | PRIV_PROC_INFO | PRIV_PROC_SESSION
)
PRIV_ALL = (1 << len(PRIV_NAMES)) - 1
#: What uid 0 has in a zone: time and hardware belong to the global zone (lx-facts, zone
#: privileges).
PRIV_ZONE = PRIV_ALL & ~(
    PRIV_SYS_TIME | PRIV_SYS_CONFIG | PRIV_PROC_ZONE | PRIV_SYS_MODULE | PRIV_SYS_RAWIO
)

#: What becomes of privileges at exec and when user ids change; each has a lock one bit above.
SECURE_NOROOT, SECURE_NO_SETUID_FIXUP = 1 << 0, 1 << 2
SECURE_KEEP_PRIVS, SECURE_NO_AMBIENT_RAISE = 1 << 4, 1 << 6
SECURE_LOCKS = 0xAA
SECURE_ALL = 0xFF


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
    ambient: int = 0
    secure: int = 0
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
        privs, permitted, ambient = _setuid_privileges(self, new)
        return replace(new, privs=privs, permitted=permitted, ambient=ambient)

    @property
    def keep_privs(self) -> bool:
        """Whether giving up uid 0 keeps the permitted set."""
        return self.secure & SECURE_KEEP_PRIVS != 0

    @classmethod
    def for_user(cls, uid: int, gid: int, groups: tuple[int, ...] = ()) -> Cred:
        """Return the credentials of a fresh login of `uid`:`gid`."""
        privs = PRIV_ZONE if uid == 0 else PRIV_BASIC
        return cls(uid, uid, uid, uid, gid, gid, gid, gid, groups, privs, privs)


def _setuid_privileges(old: Cred, new: Cred) -> tuple[int, int, int]:
    """Work out the privilege sets after a change of user ids (capabilities(7), "Effect of ...")."""
    privs, permitted, ambient = new.privs, new.permitted, new.ambient
    if new.secure & SECURE_NO_SETUID_FIXUP:
        return privs, permitted, ambient
    root = new.root
    had_root = root in (old.ruid, old.euid, old.suid)
    if had_root and root not in (new.ruid, new.euid, new.suid) and not new.keep_privs:
        permitted = PRIV_BASIC
        privs = PRIV_BASIC
        ambient = 0
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
    return privs, permitted, ambient


def exec_privileges(old: Cred, ruid: int, euid: int, *, setid: bool) -> tuple[int, int, int]:
    """Return the effective, permitted and ambient sets after exec with these user ids.

    capabilities(7), "Transformation of capabilities during execve()" and "... by root".
    """
    ambient = 0 if setid else old.ambient
    if old.root in (ruid, euid) and not old.secure & SECURE_NOROOT:
        permitted = (old.inheritable | old.bounding) & PRIV_ZONE | PRIV_BASIC
        return (permitted if euid == old.root else PRIV_BASIC | ambient), permitted, ambient
    return PRIV_BASIC | ambient, PRIV_BASIC | ambient, ambient


def hasprocperm(sender: Cred, target: Cred) -> bool:
    """Return whether `sender` may signal a process of `target` (illumos hasprocperm; kill(2))."""
    if sender.crhas(PRIV_PROC_OWNER):
        return True
    ids = (target.ruid, target.suid)
    return sender.euid in ids or sender.ruid in ids
