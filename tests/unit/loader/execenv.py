"""A machine with real memory, a tmpfs and the real brands, but without a CPU: exec runs on it."""

from __future__ import annotations

import random
from types import SimpleNamespace

from lxemu.kernel.clock import VirtualClock
from lxemu.kernel.cred import Cred
from lxemu.kernel.futex import UWaitQueues
from lxemu.kernel.mm.as_ import As
from lxemu.kernel.mm.mmu import Mmu
from lxemu.kernel.mm.page import PhysMem
from lxemu.kernel.proc import FsCtx, Proc
from lxemu.kernel.session import Pgrp, Session
from lxemu.kernel.vfs.fdtable import FdTable
from lxemu.kernel.vfs.lookup import lookupname
from lxemu.kernel.vfs.mount import MountTable
from lxemu.kernel.vfs.ops import vn_mkdir, vn_open, vn_symlink
from lxemu.kernel.vfs.tmpfs import Tmpfs
from lxemu.kernel.vfs.vnode import AT_GID, AT_MODE, AT_UID, Vattr, makedev
from syscalls.brand import brands

O_CREAT_WRITE = 0x100 | 1


class Context:
    """The saved state of an lwp."""


class Regs(SimpleNamespace):
    """Registers that are not in `q`."""


class Engine:
    """Keeps what exec asks for."""

    def __init__(self):
        self.q = [0] * 17
        self.mode = None

    def new_context(self):
        return Context()

    def regs(self, _lwp):
        return Regs(rflags=0x202, fxsave=bytes(512), gs=0, fs=0, es=0x2B, ds=0x2B)

    def set_mode(self, _context, bits, pc, sp):
        self.mode = (bits, pc, sp)


class Disp:
    hub = None
    curlwp = None


class Machine:
    """What exec and the brands use of a machine."""

    def __init__(self, *, aslr=False):
        self.clock = VirtualClock(step=1)
        self.disp = Disp()
        self.engine = Engine()
        self.uwait = UWaitQueues()
        self.phys = PhysMem(64 << 20)
        self.mmu = Mmu()
        self.aslr = aslr
        self.random = random.Random(1)
        self.brand64, self.brand32 = brands()
        self.lwp_by_tid = {}
        self.freed_pids = []
        self.replaced = []
        self.zone = SimpleNamespace(procs={})
        self.mounts = MountTable(Tmpfs(self.phys, makedev(0, 1), mode=0o755))
        self.root = self.mounts.root
        self.proc = self.make_proc(100)
        self.lwp = self.make_lwp(self.proc, 100)

    def lwp_main(self):
        raise AssertionError("nothing runs here")

    def make_proc(self, pid, cred=None):
        proc = Proc(self, pid, None, self.brand64, cred or Cred(), self.zone)
        proc.as_ = self.new_as()
        proc.fs = FsCtx(self.root, self.root, 0o22)
        proc.files = FdTable()
        proc.session = Session(pid, proc)
        proc.pgrp = Pgrp(pid, proc.session)
        return proc

    def make_lwp(self, proc, tid):
        from lxemu.kernel.lwp import Lwp

        lwp = Lwp(proc, tid)
        proc.lwps.append(lwp)
        self.lwp_by_tid[tid] = lwp
        return lwp

    # -- what the kernel calls ------------------------------------------------------------------

    def new_as(self):
        return As(self.phys, self.mmu)

    def as_replace(self, proc, new):
        self.replaced.append(proc.as_)
        proc.as_ = new
        for lwp in proc.lwps:
            lwp.as_ = new

    def as_shared(self, _proc):
        return False

    def brand_for(self, bits):
        return self.brand64 if bits == 64 else self.brand32

    def entropy(self, count):
        return self.random.randbytes(count)

    def pid_free(self, pid):
        self.freed_pids.append(pid)

    # -- files ----------------------------------------------------------------------------------

    def write(self, path, data, mode=0o755, uid=0, gid=0):
        """Make a file."""
        file = vn_open(self.proc, self.root, path, O_CREAT_WRITE, mode)
        file.pwrite(data, 0)
        file.rele()
        attr = Vattr(mode=mode, uid=uid, gid=gid)
        name = self.lookup(path)
        name.vnode.setattr(AT_MODE | AT_UID | AT_GID, attr, self.proc.cred)
        return name

    def mkdir(self, path, mode=0o755):
        vn_mkdir(self.proc, self.root, path, mode)

    def symlink(self, target, path):
        vn_symlink(self.proc, target, self.root, path)

    def lookup(self, path):
        return lookupname(self.root, self.root, path, Cred())

    def close(self):
        self.phys.close()
