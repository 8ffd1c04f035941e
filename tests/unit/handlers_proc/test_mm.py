"""mmap(2), mremap(2), madvise(2), mincore(2), process_vm_readv(2), personality(2)."""

from __future__ import annotations

import struct

import pytest

from tests.unit.handlers_files.rig import BAD, PAGE

READ, WRITE, EXEC = 1, 2, 4
SHARED, PRIVATE, FIXED, ANON = 1, 2, 0x10, 0x20
MINUS_1 = 0xFFFFFFFFFFFFFFFF


def mmap(guest, length, prot=READ | WRITE, flags=PRIVATE | ANON, fd=-1, offset=0, addr=0):
    if guest.bits == 64:
        return guest.sys("mmap", addr, length, prot, flags, fd, offset)
    # The space of the rig is a 64-bit one: say where.
    return guest.sys("mmap2", addr or 0x20000000, length, prot, flags, fd, offset // PAGE)


def file(guest, flags=0o2, size=PAGE):
    fd = guest.open(b"f", flags | 0o100)
    guest.proc.files.get(fd).vnode.truncate(size)
    return fd


def test_mmap_of_a_file_shows_and_changes_it(guest):
    fd = file(guest)
    addr = mmap(guest, PAGE, READ | WRITE, SHARED, fd)
    guest.put(addr, b"through memory")
    assert guest.proc.files.get(fd).pread(14, 0) == b"through memory"


def test_mmap_private_does_not_change_the_file(guest):
    fd = file(guest)
    addr = mmap(guest, PAGE, READ | WRITE, PRIVATE, fd)
    guest.put(addr, b"mine")
    assert guest.proc.files.get(fd).pread(4, 0) == bytes(4)


@pytest.mark.parametrize(
    ("opened", "prot", "flags", "answer"),
    [
        (0, READ | WRITE, SHARED, "EACCES"),
        (0, READ | WRITE, PRIVATE, None),
        (1, READ, PRIVATE, "EACCES"),
        (1, WRITE, SHARED, "EACCES"),
        (0, READ, SHARED, None),
        (0o10000000, READ, PRIVATE, "EBADF"),
    ],
)
def test_mmap_asks_how_the_file_is_open(guest, opened, prot, flags, answer):
    file(guest)
    fd = guest.open(b"f", opened)
    found = mmap(guest, PAGE, prot, flags, fd)
    assert (found == answer) if answer else isinstance(found, int)


def test_mprotect_of_a_shared_readonly_file_eacces(guest):
    file(guest)
    addr = mmap(guest, PAGE, READ, SHARED, guest.open(b"f", 0))
    assert guest.sys("mprotect", addr, PAGE, READ | WRITE) == "EACCES"


@pytest.mark.parametrize("flags", [0, 4, 3 | 0x80000])
def test_mmap_bad_type(guest, flags):
    fd = file(guest)
    expected = "EOPNOTSUPP" if flags & 3 == 3 else "EINVAL"
    assert mmap(guest, PAGE, READ, flags, fd) == expected


def test_mmap_of_a_directory_enodev(guest):
    assert mmap(guest, PAGE, READ, PRIVATE, guest.open(b"/", 0)) == "ENODEV"


def test_mmap_of_dev_zero_is_anonymous(guest):
    addr = mmap(guest, PAGE, READ | WRITE, PRIVATE, guest.open(b"/dev/zero", 2))
    assert guest.get(addr, 8) == bytes(8)
    assert mmap(guest, PAGE, READ, PRIVATE, guest.open(b"/dev/null", 2)) == "ENODEV"


def test_mmap2_counts_in_pages(guest32):
    fd = file(guest32, size=2 * PAGE)
    guest32.proc.files.get(fd).pwrite(b"second", PAGE)
    addr = guest32.sys("mmap2", 0x30000000, PAGE, READ, PRIVATE, fd, 1)
    assert guest32.get(addr, 6) == b"second"


def test_old_mmap_takes_a_structure(guest32):
    args = struct.pack("<6I", 0x30000000, PAGE, READ | WRITE, PRIVATE | ANON, 0xFFFFFFFF, 0)
    guest32.put(guest32.buf, args)
    assert guest32.sys("mmap", guest32.buf) == 0x30000000
    guest32.put(guest32.buf, args[:20] + struct.pack("<I", 1))
    assert guest32.sys("mmap", guest32.buf) == "EINVAL"
    assert guest32.sys("mmap", BAD) == "EFAULT"


def test_read_implies_exec(guest):
    guest.sys("personality", 0x400000)
    addr = mmap(guest, PAGE, READ)
    assert guest.proc.as_.segat(addr).prot == READ | EXEC
    guest.sys("mprotect", addr, PAGE, 0)
    guest.sys("mprotect", addr, PAGE, READ)
    assert guest.proc.as_.segat(addr).prot == READ | EXEC


def test_mremap_moves_contents_along(guest64):
    addr = mmap(guest64, PAGE)
    guest64.put(addr, b"kept")
    mmap(guest64, PAGE, addr=addr + PAGE, flags=PRIVATE | ANON | FIXED)
    moved = guest64.sys("mremap", addr, PAGE, 4 * PAGE, 1, 0)
    assert moved != addr
    assert guest64.get(moved, 4) == b"kept"
    assert guest64.sys("mremap", moved, 4 * PAGE, 8 * PAGE, 4, 0) == "EINVAL"


def test_madvise_dontneed_forgets(guest):
    addr = mmap(guest, PAGE)
    guest.put(addr, b"data")
    assert guest.sys("madvise", addr, PAGE, 4) == 0
    assert guest.get(addr, 4) == bytes(4)


def test_mincore(guest):
    addr = mmap(guest, 3 * PAGE)
    guest.put(addr + PAGE, b"x")
    assert guest.sys("mincore", addr, 3 * PAGE, guest.buf) == 0
    assert guest.get(guest.buf, 3) == b"\0\1\0"
    assert guest.sys("mincore", addr, PAGE, BAD) == "EFAULT"


def test_mlock_counts_against_the_limit(user):
    addr = mmap(user, 4 * PAGE)
    user.proc.as_.limits = lambda _resource: 2 * PAGE
    assert user.sys("mlock", addr + 5, PAGE) == 0
    assert user.sys("mlock", addr, 4 * PAGE) == "ENOMEM"
    assert user.sys("munlock", addr, 4 * PAGE) == 0
    assert user.sys("mlock2", addr, PAGE, 1) == 0


def test_brk_grows_and_answers_with_the_end(guest):
    guest.proc.as_.set_brk_base(0x50000000)
    assert guest.sys("brk", 0) == 0x50000000
    assert guest.sys("brk", 0x50003000) == 0x50003000
    guest.put(0x50002FF0, b"heap")
    assert guest.sys("brk", 1) == 0x50003000


def test_pkeys_are_absent(guest):
    assert guest.sys("pkey_alloc", 0, 0) == "ENOSPC"
    assert guest.sys("pkey_free", 1) == "EINVAL"
    addr = mmap(guest, PAGE)
    assert guest.sys("pkey_mprotect", addr, PAGE, READ, MINUS_1) == 0
    assert guest.sys("pkey_mprotect", addr, PAGE, READ, 1) == "EINVAL"


def test_process_vm_readv_stops_at_what_is_not_there(guest):
    pid = guest.proc.pid
    guest.put(guest.edge - 8, b"ABCDEFGH")
    remote = guest.iovec((guest.edge - 8, 16), at=0x900)
    local = guest.iovec((guest.buf, 4), (guest.buf + 16, 100))
    assert guest.sys("process_vm_readv", pid, local, 2, remote, 1, 0) == 8
    assert guest.get(guest.buf, 4) == b"ABCD"
    assert guest.get(guest.buf + 16, 4) == b"EFGH"


def test_process_vm_writev(guest):
    pid = guest.proc.pid
    guest.put(guest.buf, b"hello")
    local = guest.iovec((guest.buf, 5))
    remote = guest.iovec((guest.buf + 64, 5), at=0x900)
    assert guest.sys("process_vm_writev", pid, local, 1, remote, 1, 0) == 5
    assert guest.get(guest.buf + 64, 5) == b"hello"
    assert guest.sys("process_vm_writev", pid, local, 1, guest.iovec((BAD, 5)), 1, 0) == "EFAULT"


def test_process_vm_of_another_user_eperm(user):
    other = user.machine._proc(user.machine.pid_alloc(), user.machine.init)
    vec = user.iovec((user.buf, 5))
    assert user.sys("process_vm_readv", other.pid, vec, 1, vec, 1, 0) == "EPERM"


def test_remap_file_pages(guest):
    fd = file(guest, size=2 * PAGE)
    guest.proc.files.get(fd).pwrite(b"page two", PAGE)
    addr = mmap(guest, 2 * PAGE, READ | WRITE, SHARED, fd)
    assert guest.sys("remap_file_pages", addr, PAGE, 0, 1, 0) == 0
    assert guest.get(addr, 8) == b"page two"
    assert guest.sys("remap_file_pages", addr, PAGE, READ, 1, 0) == "EINVAL"
