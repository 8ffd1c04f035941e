"""Two callers of Linux system calls with one face: the handlers, through their stubs, and the host.

`Guest(bits)` puts numbers and buffers where the stub of a call looks for them; memory, files and
processes are real, there is no CPU. `Native` makes the same call on this host. Both answer with
the result or the name of the error, so a test says once what it does, and compares or looks at
one.
"""

from __future__ import annotations

import ctypes
import errno
import os

from greenlet import getcurrent

from lxemu.kernel.errno import KernelError
from lxemu.kernel.mm.as_ import As
from lxemu.kernel.mm.mman import MAP_ANON, MAP_PRIVATE, PROT_READ, PROT_WRITE
from lxemu.kernel.mm.page import PhysMem
from lxemu.kernel.proc import FsCtx
from lxemu.kernel.vfs.fdtable import FdTable
from lxemu.kernel.vfs.lookup import lookupname
from lxemu.kernel.vfs.mount import MountTable
from lxemu.kernel.vfs.specfs import FullDriver, NullDriver, ZeroDriver
from lxemu.kernel.vfs.tmpfs import Tmpfs
from lxemu.kernel.vfs.vnode import VCHR, makedev
from syscalls.errno import ERRNO_OUT
from syscalls.personality import i386, x86_64
from tests.unit.kernel.fakes import FakeMachine

AT_FDCWD = -100
PAGE = 4096
#: Size of the area for arguments, and where in it a test's own buffers go (`guest.buf`).
AREA = 64 * PAGE
#: An address that nobody has mapped.
BAD = 0x10

_NUMBERS = {
    bits: {row.name: row.nr for row in personality.rows if not row.name.startswith("syscall_")}
    for bits, personality in ((64, x86_64()), (32, i386()))
}
_NAMES = {**errno.errorcode, 95: "EOPNOTSUPP", 11: "EAGAIN", 35: "EDEADLK"}


class MissingCallError(AssertionError):
    """The table has no such call for this ABI."""


class Caller:
    """What both callers share: an area for arguments, filled from its start by each call."""

    area: int
    bits: int

    def __init__(self):
        self.buf = self.area + 16 * PAGE
        #: The last page of the area: a bad page follows it.
        self.edge = self.area + AREA
        self._at = self.area

    def put(self, addr, data):
        raise NotImplementedError

    def get(self, addr, size):
        raise NotImplementedError

    def call(self, number, args):
        raise NotImplementedError

    def sys(self, name, *args):
        """Make a call; bytes become strings in memory. Returns a number or the name of an error."""
        number = _NUMBERS[self.bits].get(name)
        if number is None:
            raise MissingCallError(name)
        self._at = self.area
        return self.call(number, [self._place(arg) for arg in args])

    def _place(self, arg):
        if isinstance(arg, bytes):
            where = self._at
            self.put(where, arg + b"\0")
            self._at += len(arg) + 16 & ~7
            return where
        return arg

    def mem(self, data):
        """Put bytes into the test's buffer and return its address."""
        self.put(self.buf, data)
        return self.buf

    def iovec(self, *pairs, at=0x800):
        """Write an array of struct iovec and return its address."""
        word = self.bits // 8
        mask = (1 << self.bits) - 1
        data = b"".join((value & mask).to_bytes(word, "little") for pair in pairs for value in pair)
        self.put(self.buf + at, data)
        return self.buf + at

    def word(self, addr, size=4, signed=True):
        return int.from_bytes(self.get(addr, size), "little", signed=signed)

    def pipe(self, flags=0):
        """Make a pipe and return its two descriptors."""
        assert self.sys("pipe2", self.buf + 0x700, flags) == 0
        return self.word(self.buf + 0x700), self.word(self.buf + 0x704)

    def open(self, path, flags=0, mode=0o644):
        fd = self.sys("openat", AT_FDCWD, path, flags, mode)
        assert isinstance(fd, int), f"open {path}: {fd}"
        return fd


class Guest(Caller):
    """A process of our own."""

    def __init__(self, bits=64, cred=None, phys_size=32 << 20):
        self.bits = bits
        self.machine = FakeMachine()
        self.machine.brand.bits = bits
        self.machine.unsupported = lambda *_args: None
        self.machine.phys = self.phys = PhysMem(phys_size)
        self.machine.lwp_by_tid = {}
        mounts = MountTable(Tmpfs(self.phys, makedev(0, 0x21), mode=0o755))
        zone = self.machine.zone
        zone.mounts, zone.root = mounts, mounts.root
        for minor, driver in ((3, NullDriver()), (5, ZeroDriver()), (7, FullDriver())):
            mounts.devices.register(makedev(1, minor), driver)
        root = mounts.root.vnode
        boss = self.machine.init.cred
        for name, mode in ((b"base", 0o755), (b"dev", 0o755), (b"tmp", 0o1777)):
            root.mkdir(name, mode, boss)
        dev = root.lookup(b"dev")
        for name, minor in ((b"null", 3), (b"zero", 5), (b"full", 7)):
            dev.create(name, 0o666, VCHR, boss, makedev(1, minor))
        self.proc = self.machine._proc(self.machine.pid_alloc(), self.machine.init)
        self.proc.cred = cred or boss
        self.base = lookupname(mounts.root, mounts.root, b"/base", boss)
        self.proc.fs = FsCtx(mounts.root, self.base, 0o022)
        self.proc.files = FdTable()
        self.proc.as_ = As(self.phys)
        rw, private = PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON
        self.area = self.proc.as_.map(0x10000000, AREA, rw, private, None, 0)
        self.stubs = (x86_64() if bits == 64 else i386()).new_stubs()
        self.slots = (7, 6, 2, 10, 8, 9) if bits == 64 else (3, 1, 2, 6, 7, 5)
        self.machine.engine.q = [0] * 17
        self.lwp = self.new_lwp(lambda _lwp: None)
        super().__init__()

    def new_lwp(self, body):
        """Add an lwp that runs `body(lwp)` when the machine runs."""
        from lxemu.kernel.lwp import Lwp

        lwp = Lwp(self.proc, self.machine.pid_alloc() if self.proc.lwps else self.proc.pid)
        self.proc.lwps.append(lwp)
        self.machine.bodies[lwp.tid] = body
        self.machine.lwp_by_tid[lwp.tid] = lwp
        return lwp

    def start(self, *bodies):
        """Run each body in an lwp of its own until all have ended."""
        from lxemu.kernel.exit import lwp_exit

        def run(body):
            def inner(lwp):
                self.lwp = lwp
                body()
                lwp_exit(lwp)

            return inner

        self.proc.lwps.clear()
        for body in bodies:
            self.machine.lwp_started(self.new_lwp(run(body)))
        self.machine.run()

    def close(self):
        """Give everything back."""
        if self.proc.files.refcnt:
            self.proc.files.rele(self.proc)
        self.proc.as_.free()

    def put(self, addr, data):
        self.proc.as_.copyout(addr, data)

    def get(self, addr, size):
        return self.proc.as_.copyin(addr, size)

    def call(self, number, args):
        lwp = getattr(getcurrent(), "lwp", self.lwp)
        mask = (1 << self.bits) - 1
        for slot, arg in zip(self.slots, [*args, *[0] * (6 - len(args))], strict=True):
            lwp.q[slot] = arg & mask
        lwp.syscall_nr = number
        try:
            result = self.stubs[number](lwp)
        except KernelError as err:
            result = _NAMES[ERRNO_OUT[err.errno]]
        if lwp.ast and getattr(getcurrent(), "lwp", None) is lwp:
            self.machine.ast(lwp)
        if lwp.tmpmask_set:
            lwp.tmpmask_set = False
            lwp.set_sigmask(lwp.oldmask)
        return result


class Native(Caller):
    """This host, in a directory that the test gives."""

    bits = 64

    def __init__(self, base):
        self.cwd = os.getcwd()
        os.chdir(base)
        self.umask = os.umask(0o022)
        libc = ctypes.CDLL(None, use_errno=True)
        libc.syscall.restype = ctypes.c_long
        libc.mmap.restype = ctypes.c_long
        libc.mmap.argtypes = [ctypes.c_void_p, *[ctypes.c_long] * 5]
        self.libc = libc
        self.size = AREA + PAGE
        self.area = libc.mmap(None, self.size, 3, 0x22, -1, 0)
        libc.munmap(ctypes.c_void_p(self.area + AREA), PAGE)
        self.before = set(os.listdir("/proc/self/fd"))
        super().__init__()

    def close(self):
        self.libc.munmap(ctypes.c_void_p(self.area), AREA)
        for fd in set(os.listdir("/proc/self/fd")) - self.before:
            try:
                os.close(int(fd))
            except OSError:
                continue
        os.umask(self.umask)
        os.chdir(self.cwd)

    def put(self, addr, data):
        ctypes.memmove(addr, data, len(data))

    def get(self, addr, size):
        return ctypes.string_at(addr, size)

    def call(self, number, args):
        longs = [ctypes.c_long(arg if arg < 1 << 63 else arg - (1 << 64)) for arg in args]
        ctypes.set_errno(0)
        result = self.libc.syscall(ctypes.c_long(number), *longs)
        if result == -1:
            return _NAMES[ctypes.get_errno()]
        return result
