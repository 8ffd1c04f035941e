"""Linux capabilities as sets of the kernel's privileges, both ways.

The map is that of the lx brand (usr/src/lib/brand/lx/lx_brand/common/capabilities.c). A capability
is held when *all* its privileges are; one without an illumos counterpart is never held and cannot
be set.
"""

from __future__ import annotations

from lxemu.kernel import cred as kcred

#: The last capability of current kernels, CAP_CHECKPOINT_RESTORE (linux/capability.h).
LX_CAP_LAST = 40
LX_CAP_SETPCAP = 8

#: Capability number -> privileges (lx-facts; 20, 25 and 27 follow the same reasoning).
PRIVS_OF_CAP: dict[int, int] = {
    0: kcred.PRIV_FILE_CHOWN | kcred.PRIV_FILE_CHOWN_SELF,
    1: kcred.PRIV_FILE_DAC_READ | kcred.PRIV_FILE_DAC_WRITE | kcred.PRIV_FILE_DAC_EXECUTE,
    2: kcred.PRIV_FILE_DAC_SEARCH | kcred.PRIV_FILE_DAC_READ,
    3: kcred.PRIV_FILE_OWNER,
    4: kcred.PRIV_FILE_SETID,
    5: kcred.PRIV_PROC_OWNER,
    6: kcred.PRIV_PROC_SETID,
    7: kcred.PRIV_PROC_SETID,
    9: kcred.PRIV_FILE_FLAG_SET,
    10: kcred.PRIV_NET_PRIVADDR,
    12: kcred.PRIV_SYS_IP_CONFIG,
    13: kcred.PRIV_NET_RAWACCESS | kcred.PRIV_NET_ICMPACCESS,
    14: kcred.PRIV_PROC_LOCK_MEMORY,
    15: kcred.PRIV_IPC_DAC_READ | kcred.PRIV_IPC_DAC_WRITE | kcred.PRIV_IPC_OWNER,
    18: kcred.PRIV_PROC_CHROOT,
    20: kcred.PRIV_SYS_ACCT,
    21: kcred.PRIV_SYS_MOUNT | kcred.PRIV_SYS_ADMIN,
    23: kcred.PRIV_PROC_PRIOUP,
    24: kcred.PRIV_SYS_RESOURCE,
    25: kcred.PRIV_SYS_TIME,
    27: kcred.PRIV_SYS_DEVICES,
    29: kcred.PRIV_PROC_AUDIT,
    30: kcred.PRIV_SYS_AUDIT,
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


def privs_of_caps(caps: int, old: int) -> int | None:
    """Return the privilege set for a capability mask; of `old` what no capability names stays.

    None if a capability without a counterpart is asked for (SETPCAP is let through, as in lx).
    """
    privs = old & ~_ALL_MAPPED
    for cap in range(64):
        if caps >> cap & 1:
            needed = PRIVS_OF_CAP.get(cap)
            if needed is None:
                if cap == LX_CAP_SETPCAP:
                    continue
                return None
            privs |= needed
    return privs
