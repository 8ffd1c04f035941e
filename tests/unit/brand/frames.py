"""An lwp with a stack, to write signal frames on."""

from __future__ import annotations

from types import SimpleNamespace

from lxemu.kernel.mm.as_ import As
from lxemu.kernel.mm.mman import MAP_ANON, MAP_FIXED, MAP_PRIVATE
from lxemu.kernel.mm.page import PhysMem
from lxemu.kernel.proc import SigActs
from lxemu.kernel.signal import SS_DISABLE, SigQueue

STACK = 0x700000
STACK_SIZE = 0x10000
SA_RESTORER = 0x04000000


class Died(Exception):  # noqa: N818 -- an outcome
    """The process would have been killed."""


class Brand:
    def default_action(self, _sig):
        raise Died


class FakeLwp:
    """Enough of an lwp for syscalls/sigframe*.py; registers hold recognisable values."""

    def __init__(self, bits=64):
        self.phys = PhysMem(16 << 20)
        limit = 0x7FFF_FFFF_F000 if bits == 64 else 0xFFFF_E000
        self.as_ = As(self.phys, task_size=limit)
        self.as_.map(STACK, STACK_SIZE, 3, MAP_PRIVATE | MAP_ANON | MAP_FIXED)
        mask = (1 << bits) - 1
        self.q = [(0x1111111111111111 * (i + 1)) & mask for i in range(17)]
        self.q[4] = STACK + STACK_SIZE - 0x1238
        self.q[16] = 0x401000
        image = bytearray(bytes(range(256)) * 2)
        image[0:8] = (0x37F).to_bytes(2, "little") + b"\x00\x38\xff\x00\x05\x01"
        image[24:32] = bytes.fromhex("801f0000ffff0000")
        image[464:512] = bytes(48)
        self.regs = SimpleNamespace(
            rflags=0x246 | 0x400 | 0x100, fxsave=bytes(image), gs=0x63, fs=0, es=0x2B, ds=0x2B
        )
        self.sigmask = 0
        self.altstack = (0, 0, SS_DISABLE)
        self.sigq = SigQueue()
        self.syscall_nr = 5
        self.ast = False
        self.brand_data = None
        self.call_filter = None
        self.proc = SimpleNamespace(sigacts=SigActs(), brand=Brand())

    def set_sigmask(self, mask):
        self.sigmask = mask

    def state(self):
        regs = self.regs
        return (list(self.q), regs.rflags, regs.fxsave, regs.gs, regs.fs, regs.es, regs.ds)

    def close(self):
        self.phys.close()
