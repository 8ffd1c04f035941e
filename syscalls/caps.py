"""Linux capabilities as sets of the kernel's privileges, both ways.

The map is that of the lx brand (usr/src/lib/brand/lx/lx_brand/common/capabilities.c). A capability
is held when *all* its privileges are. Where illumos is coarser (it has one privilege for both kinds
of set-id, none for tracing) the kernel has privileges of ours.
"""

from __future__ import annotations

from lxemu.kernel import cred as kcred

#: The last capability of current kernels, CAP_CHECKPOINT_RESTORE (linux/capability.h).
LX_CAP_LAST = 40

#: Capability number -> privileges (lx-facts; what illumos does not know has a privilege of ours).
PRIVS_OF_CAP: dict[int, int] = {
    0: kcred.PRIV_FILE_CHOWN | kcred.PRIV_FILE_CHOWN_SELF,
    1: kcred.PRIV_FILE_DAC_READ | kcred.PRIV_FILE_DAC_WRITE | kcred.PRIV_FILE_DAC_EXECUTE,
    2: kcred.PRIV_FILE_DAC_SEARCH | kcred.PRIV_FILE_DAC_READ,
    3: kcred.PRIV_FILE_OWNER,
    4: kcred.PRIV_FILE_SETID,
    5: kcred.PRIV_PROC_OWNER,
    6: kcred.PRIV_PROC_SETGID,
    7: kcred.PRIV_PROC_SETID,
    8: kcred.PRIV_PROC_SETPRIV,
    9: kcred.PRIV_FILE_FLAG_SET,
    10: kcred.PRIV_NET_PRIVADDR,
    11: kcred.PRIV_NET_BROADCAST,
    12: kcred.PRIV_SYS_IP_CONFIG | kcred.PRIV_SYS_NET_CONFIG,
    13: kcred.PRIV_NET_RAWACCESS | kcred.PRIV_NET_ICMPACCESS,
    14: kcred.PRIV_PROC_LOCK_MEMORY,
    15: kcred.PRIV_IPC_DAC_READ | kcred.PRIV_IPC_DAC_WRITE | kcred.PRIV_IPC_OWNER,
    16: kcred.PRIV_SYS_MODULE,
    17: kcred.PRIV_SYS_RAWIO,
    18: kcred.PRIV_PROC_CHROOT,
    19: kcred.PRIV_PROC_TRACE,
    20: kcred.PRIV_SYS_ACCT,
    21: kcred.PRIV_SYS_MOUNT | kcred.PRIV_SYS_ADMIN,
    22: kcred.PRIV_SYS_BOOT,
    23: kcred.PRIV_PROC_PRIOUP,
    24: kcred.PRIV_SYS_RESOURCE,
    25: kcred.PRIV_SYS_TIME,
    26: kcred.PRIV_SYS_TTY_CONFIG,
    27: kcred.PRIV_SYS_MKNOD | kcred.PRIV_SYS_DEVICES,
    28: kcred.PRIV_FILE_LEASE,
    29: kcred.PRIV_PROC_AUDIT,
    30: kcred.PRIV_SYS_AUDIT,
    31: kcred.PRIV_FILE_SETPRIV,
    32: kcred.PRIV_MAC_OVERRIDE,
    33: kcred.PRIV_MAC_ADMIN,
    34: kcred.PRIV_SYS_LOG,
    35: kcred.PRIV_SYS_WAKEUP,
    36: kcred.PRIV_SYS_SUSPEND,
    37: kcred.PRIV_PROC_AUDIT_READ,
    38: kcred.PRIV_PROC_PERFMON,
    39: kcred.PRIV_PROC_BPF,
    40: kcred.PRIV_PROC_CHECKPOINT,
}

_ALL_MAPPED = 0
for _privs in PRIVS_OF_CAP.values():
    _ALL_MAPPED |= _privs


def caps_of_privs(privs: int) -> int:
    """Return the capability mask (bit n: capability n) that a privilege set amounts to."""
    mask = 0
    for cap, needed in PRIVS_OF_CAP.items():
        if privs & needed == needed:
            mask |= 1 << cap
    return mask


def privs_of_caps(caps: int, old: int) -> int:
    """Return the privilege set for a capability mask; of `old` what no capability names stays.

    Bits past the last capability name nothing, as in Linux.
    """
    privs = old & ~_ALL_MAPPED
    for cap, needed in PRIVS_OF_CAP.items():
        if caps >> cap & 1:
            privs |= needed
    return privs
