"""Words of the file calls.

Kernel values: illumos sys/fcntl.h and sys/file.h, and ours (lxemu/kernel/vfs/fcntl.py).
"""

from __future__ import annotations

from typing import Final

from .xlat import Choice, EnumTable, FlagTable, Row

O_CLOEXEC: Final = 0x800000
O_NONBLOCK: Final = 0x80
O_LARGEFILE: Final = 0x2000
_CLOEXEC: Final[Row] = (0o2000000, O_CLOEXEC, "O_CLOEXEC")
_NONBLOCK: Final[Row] = (0o4000, O_NONBLOCK, "O_NONBLOCK")

_ACCMODE: Final = Choice(
    3, 3, (0, 0, "O_RDONLY"), (1, 1, "O_WRONLY"), (2, 2, "O_RDWR"), (3, 3, "O_ACCMODE")
)
_OPEN: Final[tuple[Row | Choice, ...]] = (
    _ACCMODE,
    (0o100, 0x100, "O_CREAT"),
    (0o200, 0x400, "O_EXCL"),
    (0o400, 0x800, "O_NOCTTY"),
    (0o1000, 0x200, "O_TRUNC"),
    (0o2000, 0x8, "O_APPEND"),
    _NONBLOCK,
    # supersets first: O_SYNC contains O_DSYNC, O_TMPFILE contains O_DIRECTORY
    (0o4010000, 0x10, "O_SYNC"),
    (0o10000, 0x40, "O_DSYNC"),
    (0o20000, 1 << 31, "FASYNC", "FASYNC"),
    (0o40000, 0x2000000, "O_DIRECT"),
    (0o100000, O_LARGEFILE, "O_LARGEFILE"),
    (0o400000, 0x20000, "O_NOFOLLOW"),
    (0o1000000, 1 << 30, "O_NOATIME"),
    _CLOEXEC,
    (0o10000000, 1 << 28, "O_PATH"),
    (0o20200000, 1 << 29, "O_TMPFILE"),
    (0o200000, 0x1000000, "O_DIRECTORY"),
)
#: open(2), openat(2), and F_GETFL/F_SETFL: unknown bits are ignored.
OPEN: Final = FlagTable("O", *_OPEN, unknown="ignore")
#: openat2(2): unknown bits are refused.
OPEN_STRICT: Final = FlagTable("O", *_OPEN)
_OPEN_ROWS: Final[tuple[Row, ...]] = tuple(row for row in _OPEN if not isinstance(row, Choice))
PIPE: Final = FlagTable(
    "O",
    _NONBLOCK,
    _CLOEXEC,
    (0o40000, 0x2000000, "O_DIRECT"),
    (0o200, 0x400, "O_NOTIFICATION_PIPE"),
    others=_OPEN_ROWS,
)
DUP3: Final = FlagTable("O", _CLOEXEC, others=_OPEN_ROWS)

_NOFOLLOW: Final[Row] = (0x100, 0x1000, "AT_SYMLINK_NOFOLLOW")
_FOLLOW: Final[Row] = (0x400, 0x2000, "AT_SYMLINK_FOLLOW")
_EMPTY: Final[Row] = (0x1000, 1 << 17, "AT_EMPTY_PATH")
_AUTOMOUNT: Final[Row] = (0x800, 1 << 16, "AT_NO_AUTOMOUNT")
_REMOVEDIR: Final[Row] = (0x200, 0x1, "AT_REMOVEDIR")
_AT: Final[tuple[Row, ...]] = (
    _NOFOLLOW,
    _REMOVEDIR,
    _FOLLOW,
    _AUTOMOUNT,
    _EMPTY,
    (0x8000, 1 << 19, "AT_RECURSIVE"),
)
AT_STAT: Final = FlagTable("AT", _NOFOLLOW, _AUTOMOUNT, _EMPTY, others=_AT)
AT_STATX: Final = FlagTable(
    "AT",
    Choice(
        0x6000,
        0x6 << 20,
        (0, 0, "AT_STATX_SYNC_AS_STAT"),
        (0x2000, 0x2 << 20, "AT_STATX_FORCE_SYNC"),
        (0x4000, 0x4 << 20, "AT_STATX_DONT_SYNC"),
    ),
    _NOFOLLOW,
    _AUTOMOUNT,
    _EMPTY,
    others=_AT,
)
AT_UNLINK: Final = FlagTable("AT", _REMOVEDIR, others=_AT)
AT_ACCESS: Final = FlagTable("AT", _NOFOLLOW, (0x200, 0x4, "AT_EACCESS"), _EMPTY, others=_AT)
AT_LINK: Final = FlagTable("AT", _FOLLOW, _EMPTY, others=_AT)
AT_NOFOLLOW_EMPTY: Final = FlagTable("AT", _NOFOLLOW, _EMPTY, others=_AT)
AT_HANDLE: Final = FlagTable("AT", _FOLLOW, _EMPTY, (0x200, 1 << 18, "AT_HANDLE_FID"), others=_AT)

ACCESS: Final = FlagTable("?_OK", (4, 4, "R_OK"), (2, 2, "W_OK"), (1, 1, "X_OK"), zero="F_OK")
WHENCE: Final = EnumTable(
    "SEEK",
    (0, 0, "SEEK_SET"),
    (1, 1, "SEEK_CUR"),
    (2, 2, "SEEK_END"),
    (3, 3, "SEEK_DATA"),
    (4, 4, "SEEK_HOLE"),
    unknown="keep",
)
LOCK_TYPE: Final = EnumTable(
    "F",
    (0, 1, "F_RDLCK"),
    (1, 2, "F_WRLCK"),
    (2, 3, "F_UNLCK"),
    # what no lock type is must not look like one inside
    (3, -3, "F_???"),
    unknown="keep",
)
#: fcntl commands; kernel numbers from sys/fcntl.h, those from 1000 on are ours (no illumos equal).
FCNTL: Final = EnumTable(
    "F",
    (0, 0, "F_DUPFD"),
    (1, 1, "F_GETFD"),
    (2, 2, "F_SETFD"),
    (3, 3, "F_GETFL"),
    (4, 4, "F_SETFL"),
    (5, 14, "F_GETLK"),
    (6, 6, "F_SETLK"),
    (7, 7, "F_SETLKW"),
    (8, 24, "F_SETOWN"),
    (9, 23, "F_GETOWN"),
    (10, 1010, "F_SETSIG"),
    (11, 1011, "F_GETSIG"),
    (12, 33, "F_GETLK64"),
    (13, 34, "F_SETLK64"),
    (14, 35, "F_SETLKW64"),
    (15, 1015, "F_SETOWN_EX"),
    (16, 1016, "F_GETOWN_EX"),
    (17, 1017, "F_GETOWNER_UIDS"),
    (36, 47, "F_OFD_GETLK"),
    (37, 48, "F_OFD_SETLK"),
    (38, 49, "F_OFD_SETLKW"),
    (1024, 2024, "F_SETLEASE"),
    (1025, 2025, "F_GETLEASE"),
    (1026, 2026, "F_NOTIFY"),
    (1027, 2027, "F_DUPFD_QUERY"),
    (1028, 2028, "F_CREATED_QUERY"),
    (1029, 2029, "F_CANCELLK"),
    (1030, 37, "F_DUPFD_CLOEXEC"),
    (1031, 2031, "F_SETPIPE_SZ"),
    (1032, 2032, "F_GETPIPE_SZ"),
    (1033, 2033, "F_ADD_SEALS"),
    (1034, 2034, "F_GET_SEALS"),
    (1035, 2035, "F_GET_RW_HINT"),
    (1036, 2036, "F_SET_RW_HINT"),
    (1037, 2037, "F_GET_FILE_RW_HINT"),
    (1038, 2038, "F_SET_FILE_RW_HINT"),
)
FD_FLAGS: Final = FlagTable("FD", (1, 1, "FD_CLOEXEC"), unknown="ignore")
FLOCK: Final = FlagTable(
    "LOCK",
    (1, 1, "LOCK_SH"),
    (2, 2, "LOCK_EX"),
    (4, 4, "LOCK_NB"),
    (8, 8, "LOCK_UN"),
    (32, 32, "LOCK_MAND"),
    unknown="keep",
)
RENAME: Final = FlagTable(
    "RENAME",
    (1, 1, "RENAME_NOREPLACE"),
    (2, 2, "RENAME_EXCHANGE"),
    (4, 4, "RENAME_WHITEOUT"),
)
FALLOC: Final = FlagTable(
    "FALLOC_FL",
    (0x01, 0x01, "FALLOC_FL_KEEP_SIZE"),
    (0x02, 0x02, "FALLOC_FL_PUNCH_HOLE"),
    (0x04, 0x04, "FALLOC_FL_NO_HIDE_STALE"),
    (0x08, 0x08, "FALLOC_FL_COLLAPSE_RANGE"),
    (0x10, 0x10, "FALLOC_FL_ZERO_RANGE"),
    (0x20, 0x20, "FALLOC_FL_INSERT_RANGE"),
    (0x40, 0x40, "FALLOC_FL_UNSHARE_RANGE"),
    unknown="keep",
)
FADVISE: Final = EnumTable(
    "POSIX_FADV",
    (0, 0, "POSIX_FADV_NORMAL"),
    (1, 1, "POSIX_FADV_RANDOM"),
    (2, 2, "POSIX_FADV_SEQUENTIAL"),
    (3, 3, "POSIX_FADV_WILLNEED"),
    (4, 4, "POSIX_FADV_DONTNEED"),
    (5, 5, "POSIX_FADV_NOREUSE"),
    unknown="keep",
)
SYNC_RANGE: Final = FlagTable(
    "SYNC_FILE_RANGE",
    (1, 1, "SYNC_FILE_RANGE_WAIT_BEFORE"),
    (2, 2, "SYNC_FILE_RANGE_WRITE"),
    (4, 4, "SYNC_FILE_RANGE_WAIT_AFTER"),
)
RWF: Final = FlagTable(
    "RWF",
    (0x01, 0x01, "RWF_HIPRI"),
    (0x02, 0x02, "RWF_DSYNC"),
    (0x04, 0x04, "RWF_SYNC"),
    (0x08, 0x08, "RWF_NOWAIT"),
    (0x10, 0x10, "RWF_APPEND"),
    (0x20, 0x20, "RWF_NOAPPEND"),
    (0x40, 0x40, "RWF_ATOMIC"),
    unknown="keep",
)
SPLICE: Final = FlagTable(
    "SPLICE_F",
    (1, 1, "SPLICE_F_MOVE"),
    (2, 2, "SPLICE_F_NONBLOCK"),
    (4, 4, "SPLICE_F_MORE"),
    (8, 8, "SPLICE_F_GIFT"),
)
XATTR: Final = FlagTable("XATTR", (1, 1, "XATTR_CREATE"), (2, 2, "XATTR_REPLACE"))
CLOSE_RANGE: Final = FlagTable(
    "CLOSE_RANGE", (2, 2, "CLOSE_RANGE_UNSHARE"), (4, 4, "CLOSE_RANGE_CLOEXEC")
)
EVENTFD: Final = FlagTable(
    "EFD",
    (1, 1, "EFD_SEMAPHORE"),
    (0o2000000, O_CLOEXEC, "EFD_CLOEXEC", "O_CLOEXEC"),
    (0o4000, O_NONBLOCK, "EFD_NONBLOCK", "O_NONBLOCK"),
)
INOTIFY_INIT: Final = FlagTable(
    "IN",
    (0o2000000, O_CLOEXEC, "IN_CLOEXEC", "O_CLOEXEC"),
    (0o4000, O_NONBLOCK, "IN_NONBLOCK", "O_NONBLOCK"),
)
INOTIFY_MASK: Final = FlagTable(
    "IN",
    (0x1, 0x1, "IN_ACCESS"),
    (0x2, 0x2, "IN_MODIFY"),
    (0x4, 0x4, "IN_ATTRIB"),
    (0x8, 0x8, "IN_CLOSE_WRITE"),
    (0x10, 0x10, "IN_CLOSE_NOWRITE"),
    (0x20, 0x20, "IN_OPEN"),
    (0x40, 0x40, "IN_MOVED_FROM"),
    (0x80, 0x80, "IN_MOVED_TO"),
    (0x100, 0x100, "IN_CREATE"),
    (0x200, 0x200, "IN_DELETE"),
    (0x400, 0x400, "IN_DELETE_SELF"),
    (0x800, 0x800, "IN_MOVE_SELF"),
    (0x2000, 0x2000, "IN_UNMOUNT"),
    (0x4000, 0x4000, "IN_Q_OVERFLOW"),
    (0x8000, 0x8000, "IN_IGNORED"),
    (0x01000000, 0x01000000, "IN_ONLYDIR"),
    (0x02000000, 0x02000000, "IN_DONT_FOLLOW"),
    (0x04000000, 0x04000000, "IN_EXCL_UNLINK"),
    (0x10000000, 0x10000000, "IN_MASK_CREATE"),
    (0x20000000, 0x20000000, "IN_MASK_ADD"),
    (0x40000000, 0x40000000, "IN_ISDIR"),
    (0x80000000, 0x80000000, "IN_ONESHOT"),
    unknown="keep",
)
MEMFD: Final = FlagTable(
    "MFD",
    (1, 1, "MFD_CLOEXEC"),
    (2, 2, "MFD_ALLOW_SEALING"),
    (4, 4, "MFD_HUGETLB"),
    (8, 8, "MFD_NOEXEC_SEAL"),
    (16, 16, "MFD_EXEC"),
    unknown="keep",
)
STATX_MASK: Final = FlagTable(
    "STATX",
    (0x7FF, 0x7FF, "STATX_BASIC_STATS"),
    (0x001, 0x001, "STATX_TYPE"),
    (0x002, 0x002, "STATX_MODE"),
    (0x004, 0x004, "STATX_NLINK"),
    (0x008, 0x008, "STATX_UID"),
    (0x010, 0x010, "STATX_GID"),
    (0x020, 0x020, "STATX_ATIME"),
    (0x040, 0x040, "STATX_MTIME"),
    (0x080, 0x080, "STATX_CTIME"),
    (0x100, 0x100, "STATX_INO"),
    (0x200, 0x200, "STATX_SIZE"),
    (0x400, 0x400, "STATX_BLOCKS"),
    (0x800, 0x800, "STATX_BTIME"),
    (0x1000, 0x1000, "STATX_MNT_ID"),
    (0x2000, 0x2000, "STATX_DIOALIGN"),
    (0x4000, 0x4000, "STATX_MNT_ID_UNIQUE"),
    (0x8000, 0x8000, "STATX_SUBVOL"),
    unknown="keep",
)
MOUNT: Final = FlagTable(
    "MS",
    # the magic of old mount programs, discarded before any flag is looked at
    (0xC0ED0000, 0, "MS_MGC_VAL"),
    (1, 1, "MS_RDONLY"),
    (2, 2, "MS_NOSUID"),
    (4, 4, "MS_NODEV"),
    (8, 8, "MS_NOEXEC"),
    (16, 16, "MS_SYNCHRONOUS"),
    (32, 32, "MS_REMOUNT"),
    (64, 64, "MS_MANDLOCK"),
    (128, 128, "MS_DIRSYNC"),
    (256, 256, "MS_NOSYMFOLLOW"),
    (1024, 1024, "MS_NOATIME"),
    (2048, 2048, "MS_NODIRATIME"),
    (4096, 4096, "MS_BIND"),
    (8192, 8192, "MS_MOVE"),
    (16384, 16384, "MS_REC"),
    (32768, 32768, "MS_SILENT"),
    (1 << 16, 1 << 16, "MS_POSIXACL"),
    (1 << 17, 1 << 17, "MS_UNBINDABLE"),
    (1 << 18, 1 << 18, "MS_PRIVATE"),
    (1 << 19, 1 << 19, "MS_SLAVE"),
    (1 << 20, 1 << 20, "MS_SHARED"),
    (1 << 21, 1 << 21, "MS_RELATIME"),
    (1 << 23, 1 << 23, "MS_I_VERSION"),
    (1 << 24, 1 << 24, "MS_STRICTATIME"),
    (1 << 25, 1 << 25, "MS_LAZYTIME"),
    unknown="keep",
)
UMOUNT: Final = FlagTable(
    "MNT",
    (1, 1, "MNT_FORCE"),
    (2, 2, "MNT_DETACH"),
    (4, 4, "MNT_EXPIRE"),
    (8, 8, "UMOUNT_NOFOLLOW"),
)
