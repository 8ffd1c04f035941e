"""Opening, and closing descriptors: open(2), close(2), memfd_create(2)."""

from __future__ import annotations

from lxemu.kernel.anonfs import anon_files
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.memfile import SEAL_EXEC, SEAL_SEAL
from lxemu.kernel.vfs import fcntl as f
from lxemu.kernel.vfs.file import File
from lxemu.kernel.vfs.name import Name
from lxemu.kernel.vfs.ops import vn_open
from lxemu.kernel.vfs.vnode import VREG
from syscalls.abi import (
    AT_FDCWD,
    CloseRangeFlags,
    DirFd,
    Fd,
    In,
    MemfdFlags,
    Mode,
    OpenFlags,
    OpenHow,
    Path,
    Ptr,
    Size,
    UInt,
    copyin_string,
    syscall,
)
from syscalls.abi.xlat_file import OPEN_STRICT
from syscalls.handlers.paths import start
from syscalls.handlers.transfer import MAX_NON_LFS

_MODE_BITS = 0o7777
_UNUSUAL = f.O_DIRECTORY | f.O_TMPFILE


def _open(lwp: Lwp, begin: Name, path: bytes, flags: int, mode: int, resolve: int = 0) -> int:
    """Open and install: EMFILE comes before anything that the path could fail with."""
    proc = lwp.proc
    files = proc.files
    files.lowest()
    file = vn_open(proc, begin, path, flags, mode, resolve)
    try:
        if not file.flags & (f.O_LARGEFILE | f.O_PATH):
            _check_small(file)
        return files.alloc(file, 0, flags & f.O_CLOEXEC != 0)
    except KernelError:
        file.rele()
        raise


def _check_small(file: File) -> None:
    if file.vnode.type == VREG and file.vnode.size() > MAX_NON_LFS:
        raise KernelError(Errno.EOVERFLOW)


def _check_flags(flags: int) -> None:
    """Refuse flags that no path can make good (build_open_flags)."""
    if flags & f.O_PATH:
        return
    if flags & f.O_TMPFILE:
        if flags & f.O_CREAT or not f.open_mode(flags) & f.FWRITE:
            raise KernelError(Errno.EINVAL)
    elif flags & f.O_CREAT:
        raise KernelError(Errno.EINVAL)


@syscall
def open_(lwp: Lwp, path: Path, flags: OpenFlags, mode: Mode) -> int:
    """Open (and make) a file: open(2)."""
    if flags & _UNUSUAL:
        _check_flags(flags)
    return _open(lwp, lwp.proc.fs.cwd, path, flags, mode)


@syscall
def openat(lwp: Lwp, dirfd: DirFd, path: Path, flags: OpenFlags, mode: Mode) -> int:
    """Open (and make) a file."""
    if flags & _UNUSUAL:
        _check_flags(flags)
    return _open(lwp, start(lwp, dirfd, path), path, flags, mode)


@syscall
def creat(lwp: Lwp, path: Path, mode: Mode) -> int:
    """Make an empty file and open it for writing."""
    flags = f.O_CREAT | f.O_WRONLY | f.O_TRUNC
    if lwp.brand.bits == 64:
        flags |= f.O_LARGEFILE
    return _open(lwp, lwp.proc.fs.cwd, path, flags, mode)


@syscall
def openat2(lwp: Lwp, dirfd: DirFd, path: Ptr, how: In[OpenHow], size: Size) -> int:
    """Open a file with a restricted path walk.

    Deviation: RESOLVE_CACHED has no effect, for a lookup here never waits for a disk.
    """
    flags, mode, resolve = _open_how(lwp, how, size)
    name = copyin_string(lwp.as_, path, f.MAXPATHLEN, Errno.ENAMETOOLONG)
    begin = start(lwp, dirfd, name)
    if resolve and dirfd != AT_FDCWD:
        # RESOLVE_IN_ROOT and RESOLVE_BENEATH hold an absolute path to the directory, too.
        begin = lwp.proc.files.get(dirfd).name
    return _open(lwp, begin, name, flags, mode, resolve)


LX_RESOLVE_BENEATH = 0x08
LX_RESOLVE_IN_ROOT = 0x10
LX_RESOLVE_CACHED = 0x20
LX_RESOLVE_ALL = 0x3F
_PAGE = 4096
_HOW_SIZE = 24


def _open_how(lwp: Lwp, how: In[OpenHow], size: int) -> tuple[int, int, int]:
    """Check a struct open_how (build_open_flags, copy_struct_from_user)."""
    if size < _HOW_SIZE:
        raise KernelError(Errno.EINVAL)
    if size > _PAGE:
        raise KernelError(Errno.E2BIG)
    if size > _HOW_SIZE and lwp.as_.copyin(how.addr + _HOW_SIZE, size - _HOW_SIZE).strip(b"\0"):
        raise KernelError(Errno.E2BIG)
    raw, mode, resolve = how.get()
    if raw >> 32:
        raise KernelError(Errno.EINVAL)
    flags = OPEN_STRICT.from_lx[raw]
    if flags & _UNUSUAL:
        _check_flags(flags)
    both = LX_RESOLVE_BENEATH | LX_RESOLVE_IN_ROOT
    if resolve & ~LX_RESOLVE_ALL or resolve & both == both:
        raise KernelError(Errno.EINVAL)
    if flags & (f.O_CREAT | f.O_TMPFILE):
        if mode & ~_MODE_BITS:
            raise KernelError(Errno.EINVAL)
    elif mode:
        raise KernelError(Errno.EINVAL)
    if flags & f.O_PATH:
        if flags & ~(f.O_PATH | f.O_DIRECTORY | f.O_NOFOLLOW | f.O_CLOEXEC):
            raise KernelError(Errno.EINVAL)
    elif lwp.brand.bits == 64:
        flags |= f.O_LARGEFILE
    if resolve & LX_RESOLVE_CACHED and flags & (f.O_TRUNC | f.O_CREAT | f.O_TMPFILE):
        raise KernelError(Errno.EAGAIN)
    # The kernel's RESOLVE_ bits have the same values (lxemu/kernel/vfs/lookup.py).
    return flags, mode, resolve & ~LX_RESOLVE_CACHED


@syscall
def close(lwp: Lwp, fd: Fd) -> int:
    """Close a descriptor."""
    lwp.proc.files.close(fd)
    return 0


@syscall
def close_range(lwp: Lwp, first: UInt, last: UInt, flags: CloseRangeFlags) -> int:
    """Close descriptors, or mark them close-on-exec."""
    if first > last:
        raise KernelError(Errno.EINVAL)
    proc = lwp.proc
    if flags & LX_CLOSE_RANGE_UNSHARE and proc.files.refcnt > 1:
        shared = proc.files
        proc.files = shared.copy()
        shared.rele(proc)
    proc.files.close_range(first, last, cloexec=flags & LX_CLOSE_RANGE_CLOEXEC != 0)
    return 0


LX_CLOSE_RANGE_UNSHARE = 2
LX_CLOSE_RANGE_CLOEXEC = 4


LX_MFD_CLOEXEC = 0x01
LX_MFD_ALLOW_SEALING = 0x02
LX_MFD_HUGETLB = 0x04
LX_MFD_NOEXEC_SEAL = 0x08
LX_MFD_EXEC = 0x10
LX_MFD_HUGE_MASK = 0x3F << 26
_MFD_PREFIX = b"/memfd:"
_MFD_NAME_MAX = 249


@syscall
def memfd_create(lwp: Lwp, name: Ptr, flags: MemfdFlags) -> int:
    """Make a file that only a descriptor names (memfd_create(2)): EINVAL, EFAULT, EMFILE.

    There are no huge pages, and no file system of them: MFD_HUGETLB is ENOSYS.
    """
    known = LX_MFD_CLOEXEC | LX_MFD_ALLOW_SEALING | LX_MFD_NOEXEC_SEAL | LX_MFD_EXEC
    known |= LX_MFD_HUGETLB | (LX_MFD_HUGE_MASK if flags & LX_MFD_HUGETLB else 0)
    both = LX_MFD_NOEXEC_SEAL | LX_MFD_EXEC
    if flags & ~known or flags & both == both:
        raise KernelError(Errno.EINVAL)
    label = copyin_string(lwp.as_, name, _MFD_NAME_MAX + 1, Errno.EINVAL)
    proc = lwp.proc
    proc.files.lowest()
    if flags & LX_MFD_HUGETLB:
        lwp.machine.unsupported(lwp, "memfd_create", "MFD_HUGETLB")
        raise KernelError(Errno.ENOSYS)
    mode, seals = 0o777, SEAL_SEAL
    if flags & LX_MFD_NOEXEC_SEAL:
        mode, seals = 0o666, SEAL_EXEC
    elif flags & LX_MFD_ALLOW_SEALING:
        seals = 0
    files = anon_files(lwp.machine)
    file = files.memory_file(_MFD_PREFIX + label, mode, f.O_LARGEFILE, proc.cred, seals)
    return proc.files.alloc(file, 0, flags & LX_MFD_CLOEXEC != 0)
