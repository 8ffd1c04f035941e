"""Constants of the memory calls: protections, mapping flags, advice, fault codes, limits.

Values are illumos' (sys/mman.h, vm/faultcode.h, sys/resource.h). Names that illumos lacks and a brand
may need get numbers of our own, above those that illumos uses.
"""

from __future__ import annotations

PAGESHIFT = 12
PAGESIZE = 1 << PAGESHIFT
PAGEOFFSET = PAGESIZE - 1

# Protections; also the access kinds that As.fault() takes.
PROT_NONE = 0
PROT_READ = 1
PROT_WRITE = 2
PROT_EXEC = 4
PROT_ALL = 7

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
MAP_NONBLOCK = 1 << 21

# As.remap() flags, all ours: illumos has no mremap.
REMAP_MAYMOVE = 1
REMAP_FIXED = 2
REMAP_KEEPOLD = 4

# msync flags (sys/mman.h).
MS_ASYNC = 0x1
MS_INVALIDATE = 0x2
MS_SYNC = 0x4

# madvise advice (sys/mman.h 0..9); the rest is ours.
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
MADV_REMOVE = 32
MADV_DONTFORK = 33
MADV_DOFORK = 34
MADV_WIPEONFORK = 35
MADV_KEEPONFORK = 36
MADV_DONTDUMP = 37
MADV_DODUMP = 38
MADV_POPULATE_READ = 39
MADV_POPULATE_WRITE = 40
MADV_MERGEABLE = 41
MADV_UNMERGEABLE = 42
MADV_HUGEPAGE = 43
MADV_NOHUGEPAGE = 44
MADV_COLD = 45
MADV_PAGEOUT = 46
MADV_COLLAPSE = 47

# mlockall flags (sys/mman.h); MCL_ONFAULT is ours.
MCL_CURRENT = 0x1
MCL_FUTURE = 0x2
MCL_ONFAULT = 0x4

# Outcomes of a failed fault (vm/faultcode.h).
FC_NOMAP = 0x3  # no mapping at the address
FC_OBJERR = 0x4  # the object under the mapping has no such page, or failed to give it
FC_PROT = 0x5  # the mapping forbids the access

# Resources that As asks its limit callback for: RLIMIT_* of sys/resource.h, and a number of ours for
# the locked-memory control, which illumos keeps as the rctl project.max-locked-memory.
RLIMIT_DATA = 2
RLIMIT_STACK = 3
RLIMIT_VMEM = 6
RLIMIT_MEMLOCK = 8
RLIM_INFINITY = (1 << 64) - 1

# Address space shapes of x86-64 guests.
USERLIMIT64 = 0x7FFF_FFFF_F000
USERLIMIT32 = 0xFFFF_E000
LOW32_BASE = 0x4000_0000
LOW32_TOP = 0x8000_0000
MIN_ADDR = 0x1_0000
STACK_GUARD = 256 * PAGESIZE
MAX_SEGS = 65530
