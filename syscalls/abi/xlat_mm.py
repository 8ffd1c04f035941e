"""Words of the memory calls.

Kernel values: illumos sys/mman.h, and ours (lxemu/kernel/mm/mman.py).
"""

from __future__ import annotations

from typing import Final

from .xlat import Choice, EnumTable, FlagTable

PROT: Final = FlagTable(
    "PROT",
    (1, 1, "PROT_READ"),
    (2, 2, "PROT_WRITE"),
    (4, 4, "PROT_EXEC"),
    (8, 8, "PROT_SEM"),
    (0x01000000, 0x01000000, "PROT_GROWSDOWN"),
    (0x02000000, 0x02000000, "PROT_GROWSUP"),
    unknown="keep",
    zero="PROT_NONE",
)
MAP_TYPE: Final = Choice(
    0xF,
    0xF,
    (1, 1, "MAP_SHARED"),
    (2, 2, "MAP_PRIVATE"),
    (3, 3, "MAP_SHARED_VALIDATE"),
    (0, 0, "MAP_FILE"),
)
#: Ours: a flag that the kernel does not know was given. Only MAP_SHARED_VALIDATE minds.
MAP_OTHER: Final = 1 << 23
#: mmap flags: unknown bits are ignored, a wrong type gives EINVAL in the handler (type 0, 4 to 15).
MMAP: Final = FlagTable(
    "MAP",
    MAP_TYPE,
    (0x10, 0x10, "MAP_FIXED"),
    (0x20, 0x100, "MAP_ANONYMOUS", "MAP_ANON"),
    (0x40, 0x80, "MAP_32BIT", "MAP_LOW32"),
    (0x4000, 0x40, "MAP_NORESERVE"),
    (0x100, 1 << 16, "MAP_GROWSDOWN"),
    (0x20000, 1 << 17, "MAP_STACK"),
    (0x8000, 1 << 18, "MAP_POPULATE"),
    (0x100000, 1 << 19, "MAP_FIXED_NOREPLACE"),
    (0x2000, 1 << 20, "MAP_LOCKED"),
    (0x40000, 1 << 21, "MAP_HUGETLB"),
    (0x800, 0, "MAP_DENYWRITE"),
    (0x1000, 0, "MAP_EXECUTABLE"),
    (0x10000, 0, "MAP_NONBLOCK"),
    (0x80000, 1 << 22, "MAP_SYNC"),
    unknown="ignore",
    mark=MAP_OTHER,
    unmarked=0xFC000080,  # sizes of huge pages, MAP_ABOVE4G
)
MREMAP: Final = FlagTable(
    "MREMAP",
    (1, 1, "MREMAP_MAYMOVE"),
    (2, 2, "MREMAP_FIXED"),
    (4, 4, "MREMAP_DONTUNMAP"),
)
MSYNC: Final = FlagTable("MS", (4, 4, "MS_SYNC"), (1, 1, "MS_ASYNC"), (2, 2, "MS_INVALIDATE"))
#: madvise: illumos' values where it has the advice (MADV_PURGE is Linux's DONTNEED), 1000+ ours.
MADVISE: Final = EnumTable(
    "MADV",
    (0, 0, "MADV_NORMAL"),
    (1, 1, "MADV_RANDOM"),
    (2, 2, "MADV_SEQUENTIAL"),
    (3, 3, "MADV_WILLNEED"),
    (4, 9, "MADV_DONTNEED", "MADV_PURGE"),
    (8, 5, "MADV_FREE"),
    (9, 1009, "MADV_REMOVE"),
    (10, 1010, "MADV_DONTFORK"),
    (11, 1011, "MADV_DOFORK"),
    (12, 1012, "MADV_MERGEABLE"),
    (13, 1013, "MADV_UNMERGEABLE"),
    (14, 1014, "MADV_HUGEPAGE"),
    (15, 1015, "MADV_NOHUGEPAGE"),
    (16, 1016, "MADV_DONTDUMP"),
    (17, 1017, "MADV_DODUMP"),
    (18, 1018, "MADV_WIPEONFORK"),
    (19, 1019, "MADV_KEEPONFORK"),
    (20, 1020, "MADV_COLD"),
    (21, 1021, "MADV_PAGEOUT"),
    (22, 1022, "MADV_POPULATE_READ"),
    (23, 1023, "MADV_POPULATE_WRITE"),
    (24, 1024, "MADV_DONTNEED_LOCKED"),
    (25, 1025, "MADV_COLLAPSE"),
    (100, 1100, "MADV_HWPOISON"),
    (101, 1101, "MADV_SOFT_OFFLINE"),
)
MLOCK2: Final = FlagTable("MLOCK", (1, 1, "MLOCK_ONFAULT"))
MLOCKALL: Final = FlagTable(
    "MCL", (1, 1, "MCL_CURRENT"), (2, 2, "MCL_FUTURE"), (4, 4, "MCL_ONFAULT")
)
