"""What is different about files for a 32-bit caller: offsets in two registers, structures, limits.

References: syscall_32.tbl, asm/stat.h, lseek(2), _llseek(2), open(2) (O_LARGEFILE),
readdir(2), select(2) "old_select", statfs64(2), fcntl(2) "fcntl64".
"""

from __future__ import annotations

import struct

from .rig import AT_FDCWD

O_RDWR, O_CREAT, O_LARGEFILE = 2, 0o100, 0o100000
BIG = 5 << 30


def pair(value):
    """Return a 64-bit number as two argument registers."""
    return value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF


def big_file(g):
    fd = g.open(b"big", O_RDWR | O_CREAT | O_LARGEFILE)
    assert g.sys("ftruncate64", fd, *pair(BIG)) == 0
    return fd


def test_pread64_takes_its_offset_in_two_registers(guest32):
    g = guest32
    fd = big_file(g)
    g.put(g.buf, b"far away")

    assert g.sys("pwrite64", fd, g.buf, 8, *pair(4 << 30)) == 8
    assert g.sys("pread64", fd, g.buf + 64, 8, *pair(4 << 30)) == 8
    assert g.get(g.buf + 64, 8) == b"far away"
    assert g.sys("pread64", fd, g.buf, 8, *pair((1 << 64) - 1)) == "EINVAL"


def test_preadv_takes_its_offset_as_low_and_high_words(guest32):
    g = guest32
    fd = big_file(g)
    g.put(g.buf, b"abcdef")
    vector = g.iovec((g.buf, 3), (g.buf + 3, 3))

    assert g.sys("pwritev", fd, vector, 2, *pair(4 << 30)) == 6
    assert g.sys("preadv", fd, vector, 2, *pair(4 << 30)) == 6
    assert g.sys("preadv2", fd, vector, 2, *pair((1 << 64) - 1), 0) == 6


def test_lseek_result_that_does_not_fit_is_eoverflow(guest32):
    g = guest32
    fd = big_file(g)

    assert g.sys("lseek", fd, 0, 2) == "EOVERFLOW"
    assert g.sys("lseek", fd, 0x7FFFFFFF, 0) == 0x7FFFFFFF
    assert g.sys("lseek", fd, 0xFFFFFFFF, 1) == 0x7FFFFFFE


def test_llseek_stores_the_position(guest32):
    g = guest32
    fd = big_file(g)

    assert g.sys("_llseek", fd, 1, 2, g.buf, 0) == 0
    assert g.word(g.buf, 8) == (1 << 32) + 2
    assert g.sys("_llseek", fd, 0xFFFFFFFF, 0xFFFFFFFE, g.buf, 2) == 0
    assert g.word(g.buf, 8) == BIG - 2
    assert g.sys("_llseek", fd, 0, 0, g.buf, 9) == "EINVAL"


def test_open_of_a_large_file_without_largefile_is_eoverflow(guest32):
    g = guest32
    big_file(g)

    assert g.sys("open", b"big", 0, 0) == "EOVERFLOW"
    assert isinstance(g.sys("open", b"big", O_LARGEFILE, 0), int)


def test_write_beyond_two_gigabytes_without_largefile_is_efbig(guest32):
    g = guest32
    fd = g.open(b"small", O_RDWR | O_CREAT)

    assert g.sys("pwrite64", fd, g.buf, 10, *pair(0x7FFFFFFA)) == 5
    assert g.sys("pwrite64", fd, g.buf, 10, *pair(0x7FFFFFFF)) == "EFBIG"
    assert g.sys("ftruncate64", fd, *pair(1 << 31)) == "EINVAL"


def test_getfl_shows_largefile_only_when_asked_for(guest32, guest64):
    for g, flags, shown in ((guest32, 0, 0), (guest32, O_LARGEFILE, O_LARGEFILE)):
        assert g.sys("fcntl", g.open(b"f", flags | O_CREAT), 3, 0) == shown
    assert guest64.sys("fcntl", guest64.open(b"f", O_CREAT), 3, 0) == O_LARGEFILE


def fields(g, form, at=0):
    return struct.unpack(form, g.get(g.buf + at, struct.calcsize(form)))


def test_stat_has_three_forms(guest32):
    g = guest32
    fd = g.open(b"f", O_RDWR | O_CREAT, 0o640)
    g.sys("write", fd, g.buf, 10)
    g.sys("chown32", b"f", 70000, 5)

    assert g.sys("oldstat", b"f", g.buf) == 0
    old = fields(g, "<HHHHHHHHI")
    assert (old[2], old[3], old[4], old[5], old[8]) == (0o100640, 1, 65534, 5, 10)
    assert g.sys("stat", b"f", g.buf) == 0
    now = fields(g, "<IIHHHHIIII")
    assert (now[2], now[3], now[4], now[5], now[7], now[8]) == (0o100640, 1, 65534, 5, 10, 4096)
    assert g.sys("stat64", b"f", g.buf) == 0
    new = fields(g, "<Q4xIIIIIQ4xqIQ")
    assert (new[2], new[3], new[4], new[5], new[7]) == (0o100640, 1, 70000, 5, 10)
    assert g.sys("fstat", fd, g.buf) == 0
    assert g.sys("fstatat64", AT_FDCWD, b"f", g.buf, 0) == 0
    assert fields(g, "<I", 88)[0] == new[1]


def test_stat_of_a_large_file_needs_stat64(guest32):
    g = guest32
    fd = big_file(g)

    assert g.sys("stat", b"big", g.buf) == "EOVERFLOW"
    assert g.sys("oldstat", b"big", g.buf) == "EOVERFLOW"
    assert g.sys("fstat64", fd, g.buf) == 0
    assert fields(g, "<q", 44) == (BIG,)


def test_chown_takes_16_bit_ids_and_leaves_minus_one(guest32):
    g = guest32
    g.open(b"f", O_CREAT)

    assert g.sys("chown", b"f", 7, 0xFFFF) == 0
    assert g.sys("chown", b"f", 0xFFFF, 8) == 0
    assert g.sys("stat64", b"f", g.buf) == 0
    assert fields(g, "<II", 24) == (7, 8)


def test_statfs64_checks_the_size_of_the_structure(guest32):
    g = guest32

    assert g.sys("statfs64", b".", 84, g.buf) == 0
    assert fields(g, "<II") == (0x01021994, 4096)
    assert g.sys("statfs64", b".", 88, g.buf) == "EINVAL"
    assert g.sys("fstatfs64", g.open(b"."), 84, g.buf) == 0
    assert g.sys("statfs", b".", g.buf) == 0


def test_readdir_reads_one_entry_at_a_time(guest32):
    g = guest32
    g.open(b"one", O_CREAT)
    fd = g.open(b".")
    seen = set()
    while (got := g.sys("readdir", fd, g.buf, 1)) == 1:
        length = fields(g, "<H", 8)[0]
        seen.add(g.get(g.buf + 10, length))

    assert got == 0
    assert seen == {b".", b"..", b"one"}


def test_getdents_packs_longs_of_32_bits(guest32):
    g = guest32
    g.open(b"one", O_CREAT)
    size = g.sys("getdents", g.open(b"."), g.buf, 4096)
    raw, at, names = g.get(g.buf, size), 0, {}
    while at < size:
        reclen = struct.unpack_from("<H", raw, at + 8)[0]
        name = raw[at + 10 : at + reclen - 1].split(b"\0")[0]
        names[name] = raw[at + reclen - 1]
        at += reclen

    assert names == {b".": 4, b"..": 4, b"one": 8}


def test_old_select_takes_a_structure(guest32):
    g = guest32
    p0, p1 = g.pipe()
    g.sys("write", p1, g.buf, 1)
    g.put(g.buf, (1 << p0 | 1 << p1).to_bytes(128, "little"))
    g.put(g.buf + 256, struct.pack("<ii", 0, 0))
    g.put(g.buf + 300, struct.pack("<IIIII", p1 + 1, g.buf, 0, 0, g.buf + 256))

    assert g.sys("select", g.buf + 300) == 1
    assert g.word(g.buf) == 1 << p0


def test_time64_calls_take_64_bit_times(guest32):
    g = guest32
    g.open(b"f", O_CREAT)
    p0, _ = g.pipe()
    g.put(g.buf, struct.pack("<qqqq", 5 << 32, 7, 6, 8))

    assert g.sys("utimensat_time64", AT_FDCWD, b"f", g.buf, 0) == 0
    assert g.sys("statx", AT_FDCWD, b"f", 0, 0x7FF, g.buf) == 0
    assert fields(g, "<qI", 64) == (5 << 32, 7)
    g.put(g.buf, struct.pack("<iHH", p0, 1, 0))
    g.put(g.buf + 64, struct.pack("<qq", 0, 0))
    assert g.sys("ppoll_time64", g.buf, 1, g.buf + 64, 0, 8) == 0
    assert g.sys("pselect6_time64", 0, 0, 0, 0, g.buf + 64, 0) == 0


def test_lock_structures_of_both_sizes(guest32):
    g = guest32
    fd = g.open(b"f", O_RDWR | O_CREAT | O_LARGEFILE)
    g.put(g.buf, struct.pack("<hhqqi", 1, 0, 4 << 30, 10, 0))

    assert g.sys("fcntl64", fd, 13, g.buf) == 0
    g.put(g.buf, struct.pack("<hhiii", 1, 0, 5, 10, 0))
    assert g.sys("fcntl", fd, 6, g.buf) == 0
    other = g.open(b"f", O_RDWR)
    g.put(g.buf, struct.pack("<hhqqi", 1, 0, 0, 0, 0))
    assert g.sys("fcntl64", other, 36, g.buf) == 0
    assert fields(g, "<hhqqi") == (1, 0, 5, 10, g.proc.pid)


def test_fallocate_and_advice_take_two_offsets(guest32):
    g = guest32
    fd = g.open(b"f", O_RDWR | O_CREAT | O_LARGEFILE)

    assert g.sys("fallocate", fd, 0, *pair(4096), *pair(4096)) == 0
    assert g.sys("lseek", fd, 0, 2) == 8192
    assert g.sys("fadvise64_64", fd, *pair(BIG), *pair(BIG), 4) == 0
    assert g.sys("fadvise64", fd, *pair(BIG), 4096, 9) == "EINVAL"
    assert g.sys("sync_file_range", fd, *pair(0), *pair(4096), 2) == 0
    assert g.sys("readahead", fd, *pair(BIG), 4096) == 0
    assert g.sys("truncate64", b"f", *pair(BIG)) == 0
    assert g.sys("_llseek", fd, 0, 0, g.buf, 2) == 0
    assert g.word(g.buf, 8) == BIG


def test_sendfile_offsets_of_both_sizes(guest32):
    g = guest32
    fd, out = g.open(b"f", O_RDWR | O_CREAT), g.open(b"g", O_RDWR | O_CREAT)
    g.put(g.buf, b"0123456789")
    g.sys("write", fd, g.buf, 10)
    g.put(g.buf, struct.pack("<iI", 4, 0xDEADBEEF))

    assert g.sys("sendfile", out, fd, g.buf, 3) == 3
    assert fields(g, "<iI") == (7, 0xDEADBEEF)
    g.put(g.buf, struct.pack("<q", 7))
    assert g.sys("sendfile64", out, fd, g.buf, 100) == 3
    assert fields(g, "<q") == (10,)
    assert g.sys("pread64", out, g.buf, 10, 0, 0) == 6
    assert g.get(g.buf, 6) == b"456789"


def test_length_that_is_negative_only_for_a_32_bit_caller(guest32):
    """readv(2): a length over SSIZE_MAX is EINVAL; a count over it is a large count."""
    g = guest32
    fd = g.open(b"f", O_RDWR | O_CREAT)

    assert g.sys("readv", fd, g.iovec((g.buf, 1 << 31)), 1) == "EINVAL"
    assert g.sys("read", fd, g.buf, 0xFFFFFFFF) == 0


def test_termios_requests_on_what_is_no_terminal_are_enotty(guest):
    """ioctl_tty(2)."""
    g = guest
    fd = g.open(b"f", O_RDWR | O_CREAT)
    for request in (0x5401, 0x5402, 0x5405, 0x5413, 0x540F, 0x802C542A, 0x402C542B, 0x80045430):
        assert g.sys("ioctl", fd, request, g.buf) == "ENOTTY"
