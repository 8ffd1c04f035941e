"""A small user memory and lwp, enough for pointers, stubs and tracing."""

from __future__ import annotations

from types import SimpleNamespace

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.mm.usercopy import OverlongString

BASE = 0x10000


class Memory:
    """One mapped region from BASE on; anything else is EFAULT."""

    def __init__(self, size=0x10000):
        self.data = bytearray(size)
        self.used = 0x100

    def _slice(self, addr, n):
        if n < 0 or addr < BASE or addr + n > BASE + len(self.data):
            raise KernelError(Errno.EFAULT)
        return slice(addr - BASE, addr - BASE + n)

    def copyin(self, addr, n):
        return bytes(self.data[self._slice(addr, n)])

    def copyout(self, addr, data):
        self.data[self._slice(addr, len(data))] = data

    def copyinstr(self, addr, limit):
        self._slice(addr, 1)
        end = self.data.find(b"\0", addr - BASE)
        if end < 0:
            raise KernelError(Errno.EFAULT)
        if end - (addr - BASE) >= limit:
            raise OverlongString
        return bytes(self.data[addr - BASE : end])

    def load_u16(self, addr):
        return int.from_bytes(self.copyin(addr, 2), "little")

    def load_u32(self, addr):
        return int.from_bytes(self.copyin(addr, 4), "little")

    def put(self, data):
        """Store *data* somewhere, 16-aligned; return its address."""
        at = BASE + self.used
        self.copyout(at, data)
        self.used += (len(data) + 31) & ~15
        return at


#: Where the argument registers are in q, by model bits.
ORDER = {64: (7, 6, 2, 10, 8, 9), 32: (3, 1, 2, 6, 7, 5)}


def make_lwp(bits=64, args=()):
    """An lwp whose argument registers hold *args*."""
    q = [0] * 17
    for slot, value in zip(ORDER[bits], args, strict=False):
        q[slot] = value & 0xFFFFFFFFFFFFFFFF
    misses = []
    machine = SimpleNamespace(unsupported=lambda lwp, name, why: misses.append((name, why)))
    return SimpleNamespace(
        q=q, as_=Memory(), brand=SimpleNamespace(bits=bits), machine=machine, misses=misses
    )
