"""Constants of the memory calls: protections, mapping flags, advice, fault codes, limits.

Values are illumos' (sys/mman.h, vm/faultcode.h, sys/resource.h). Names that illumos lacks and a
brand may need get numbers of our own, above those that illumos uses.
"""

from __future__ import annotations

from enum import IntEnum

PAGESHIFT = 12
PAGESIZE = 1 << PAGESHIFT
PAGEOFFSET = PAGESIZE - 1

# Protections.
PROT_NONE = 0
PROT_READ = 1
PROT_WRITE = 2
PROT_EXEC = 4
PROT_ALL = 7
# Ours, in setprot() only: no effect; start at the bottom (end at the top) of a growing segment.
PROT_SEM = 0x8
PROT_GROWSDOWN = 0x0100_0000
PROT_GROWSUP = 0x0200_0000


class FaultAccess(IntEnum):
    """What an access that faulted wanted to do; values are the protection that it needs."""

    READ = PROT_READ
    WRITE = PROT_WRITE
    EXEC = PROT_EXEC


# Mapping flags (sys/mman.h).
MAP_SHARED = 0x1
MAP_PRIVATE = 0x2
MAP_TYPE = 0xF
MAP_FIXED = 0x10
MAP_NORESERVE = 0x40
MAP_LOW32 = 0x80
MAP_ANON = 0x100
# Ours: above the 16 bits in which illumos keeps its own.
MAP_GROWSDOWN = 1 << 16
MAP_STACK = 1 << 17
MAP_POPULATE = 1 << 18
MAP_NOREPLACE = 1 << 19
MAP_LOCKED = 1 << 20
MAP_HUGETLB = 1 << 21

# As.remap() flags, all ours: illumos has no mremap.
REMAP_MAYMOVE = 1
REMAP_FIXED = 2
REMAP_KEEPOLD = 4

# msync flags (sys/mman.h).
MS_ASYNC = 0x1
MS_INVALIDATE = 0x2
MS_SYNC = 0x4

# madvise advice (sys/mman.h). MADV_PURGE is the one that drops anonymous memory's contents.
MADV_NORMAL = 0
MADV_RANDOM = 1
MADV_SEQUENTIAL = 2
MADV_WILLNEED = 3
MADV_DONTNEED = 4
MADV_FREE = 5
MADV_ACCESS_DEFAULT = 6
MADV_ACCESS_LWP = 7
MADV_ACCESS_MANY = 8
MADV_PURGE = 9
# Ours, from 1000 on.
MADV_REMOVE = 1009
MADV_DONTFORK = 1010
MADV_DOFORK = 1011
MADV_MERGEABLE = 1012
MADV_UNMERGEABLE = 1013
MADV_HUGEPAGE = 1014
MADV_NOHUGEPAGE = 1015
MADV_DONTDUMP = 1016
MADV_DODUMP = 1017
MADV_WIPEONFORK = 1018
MADV_KEEPONFORK = 1019
MADV_COLD = 1020
MADV_PAGEOUT = 1021
MADV_POPULATE_READ = 1022
MADV_POPULATE_WRITE = 1023
MADV_DONTNEED_LOCKED = 1024
MADV_COLLAPSE = 1025

# mlockall flags (sys/mman.h); MCL_ONFAULT is ours.
MCL_CURRENT = 0x1
MCL_FUTURE = 0x2
MCL_ONFAULT = 0x4

# Outcomes of a failed fault (vm/faultcode.h).
FC_NOMAP = 0x3  # no mapping at the address
FC_OBJERR = 0x4  # the object under the mapping has no such page, or failed to give it
FC_PROT = 0x5  # the mapping forbids the access

# Resources that As asks its limit callback for: RLIMIT_* of sys/resource.h, and (as in
# kernel/rctl.py) a number of ours for what illumos has as the rctl project.max-locked-memory.
RLIMIT_DATA = 2
RLIMIT_STACK = 3
RLIMIT_VMEM = 6
RLIMIT_MEMLOCK = 18
RLIM_INFINITY = (1 << 64) - 1

# Address space shapes of x86-64 guests.
USERLIMIT64 = 0x7FFF_FFFF_F000
USERLIMIT32 = 0xFFFF_E000
LOW32_BASE = 0x4000_0000
LOW32_TOP = 0x8000_0000
MIN_ADDR = 0x1_0000
STACK_GUARD = 256 * PAGESIZE
MAX_SEGS = 65530


def page_up(n: int) -> int:
    """Round up to whole pages."""
    return (n + PAGEOFFSET) & ~PAGEOFFSET
