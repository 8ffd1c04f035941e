"""Copies between the kernel and user memory, through the page tables and never past a protection.

The common case, everything inside one page that is present, is one dict lookup, one table entry
and one slice. Otherwise the page is faulted in, as an access by the guest would; what cannot be
is EFAULT. illumos: copyin, copyout, copyinstr, fuword32, suword32 (uts/common/os/copyops.c).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.mm.mman import PAGEOFFSET, PAGESHIFT, PAGESIZE, PROT_READ, PROT_WRITE
from lxemu.kernel.mm.seg import OutOfMemory, SegFault

if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterator

    from lxemu.kernel.mm.hat import Hat
    from lxemu.kernel.mm.mmu import Mmu
    from lxemu.kernel.mm.page import PhysMem

_ADDR = 0x000F_FFFF_FFFF_F000
_MASK = PAGEOFFSET
_RW = 3  # entry bits P | W


class OverlongString(Exception):  # noqa: N818 -- an outcome, not a failure of the program
    """copyinstr() found no end of the string within the limit."""


class UserCopy:
    """The half of an address space that moves bytes; As adds the segments.

    All methods take user addresses and raise KernelError(EFAULT) where the guest could not access.
    """

    __slots__ = ("_d", "_h", "_leaves", "_mv", "_q", "_ram", "_xframes", "hat", "mmu", "phys")

    phys: PhysMem
    hat: Hat
    mmu: Mmu

    def _bind(self, phys: PhysMem, hat: Hat) -> None:
        """Keep what the fast paths touch one attribute away."""
        self.phys = phys
        self.hat = hat
        self.mmu = phys.mmu
        self._ram: mmap.mmap = phys.ram
        self._mv = phys.mv
        self._q = phys.q
        self._d = phys.d
        self._h = phys.h
        self._leaves = hat.leaves
        self._xframes = phys.xframes

    def fault(self, addr: int, access: int) -> None:
        """Resolve an access (As does it)."""
        raise NotImplementedError

    # -- the one place where an address becomes a physical one -----------------------------------

    def _pa_read(self, addr: int) -> int:
        """Physical address behind *addr* for reading, faulting the page in. EFAULT, ENOMEM."""
        key = addr >> 21
        index = self._leaves.get(key)
        if index is not None:
            pte = self._q[index + (addr >> PAGESHIFT & 511)]
            if pte & 1:
                return (pte & _ADDR) + (addr & _MASK)
        self._resolve(addr, PROT_READ)
        pte = self._q[self._leaves[key] + (addr >> PAGESHIFT & 511)]
        return (pte & _ADDR) + (addr & _MASK)

    def _pa_write(self, addr: int) -> int:
        """Physical address behind *addr* for writing, faulting the page in. EFAULT, ENOMEM.

        Translated code of an executable frame is dropped here, before the caller's store: nothing
        runs in between.
        """
        key = addr >> 21
        index = self._leaves.get(key)
        pte = self._q[index + (addr >> PAGESHIFT & 511)] if index is not None else 0
        if pte & _RW != _RW:
            self._resolve(addr, PROT_WRITE)
            pte = self._q[self._leaves[key] + (addr >> PAGESHIFT & 511)]
        if self.mmu.stale:
            self.mmu.settle()
        pa = pte & _ADDR
        if self._xframes[pa >> PAGESHIFT]:
            self.mmu.invalidate(pa >> PAGESHIFT)
        return pa + (addr & _MASK)

    def _resolve(self, addr: int, access: int) -> None:
        while True:
            try:
                self.fault(addr, access)
            except SegFault as err:
                raise KernelError(Errno.EFAULT) from err
            except OutOfMemory as err:
                if self.phys.relieve(self):  # type: ignore[arg-type]  # As is the only subclass
                    continue
                raise KernelError(Errno.ENOMEM) from err
            return

    # -- bytes -----------------------------------------------------------------------------------

    def copyin(self, addr: int, n: int) -> bytes:
        """Return *n* bytes of user memory."""
        if (addr & _MASK) + n <= PAGESIZE:
            index = self._leaves.get(addr >> 21)
            if index is not None:
                pte = self._q[index + (addr >> PAGESHIFT & 511)]
                if pte & 1:
                    pa = (pte & _ADDR) + (addr & _MASK)
                    return self._ram[pa : pa + n]
        if n <= 0:
            return b""
        return self._copyin(addr, n)

    def _copyin(self, addr: int, n: int) -> bytes:
        ram = self._ram
        return b"".join([ram[pa:end] for pa, end in self._runs(addr, n, write=False)])

    def copyout(self, addr: int, data: bytes | bytearray | memoryview) -> None:
        """Store *data* in user memory. On EFAULT the pages before the bad one have been written."""
        n = len(data)
        if (addr & _MASK) + n <= PAGESIZE:
            index = self._leaves.get(addr >> 21)
            if index is not None:
                pte = self._q[index + (addr >> PAGESHIFT & 511)]
                if pte & _RW == _RW and not self.mmu.stale:
                    pa = (pte & _ADDR) + (addr & _MASK)
                    self._ram[pa : pa + n] = data
                    if self._xframes[pa >> PAGESHIFT]:
                        self.mmu.invalidate(pa >> PAGESHIFT)
                    return
        if n:
            self._copyout(addr, data)

    def _copyout(self, addr: int, data: bytes | bytearray | memoryview) -> None:
        ram = self._ram
        view = memoryview(data)
        at = 0
        for pa, end in self._runs(addr, len(data), write=True):
            ram[pa:end] = view[at : at + end - pa]
            at += end - pa

    def _runs(self, addr: int, n: int, *, write: bool) -> Iterator[tuple[int, int]]:
        """Yield (first, last + 1) physical addresses of [addr, addr+n), neighbours joined.

        Pages are faulted in when their turn comes. EFAULT comes after all that is before it.
        """
        q = self._q
        need = _RW if write else 1
        start = end = -1
        if write:
            self.mmu.settle()
        while n > 0:
            first = addr >> PAGESHIFT & 511
            last = min(first + ((addr & _MASK) + n + _MASK >> PAGESHIFT), 512)
            index = self._leaves.get(addr >> 21)
            ptes = q[index + first : index + last].tolist() if index is not None else ()
            for pte in ptes:
                if pte & need != need:
                    break
                pa = (pte & _ADDR) + (addr & _MASK)
                if write and self._xframes[pa >> PAGESHIFT]:
                    self.mmu.invalidate(pa >> PAGESHIFT)
                size = min(n, PAGESIZE - (addr & _MASK))
                if pa != end:
                    if end >= 0:
                        yield start, end
                    start = pa
                end = pa + size
                addr += size
                n -= size
            else:
                if ptes:
                    continue
            if end >= 0:
                yield start, end
                start = end = -1
            if write:
                self._pa_write(addr)
            else:
                self._pa_read(addr)
        if end >= 0:
            yield start, end

    def copyinstr(self, addr: int, limit: int) -> bytes:
        """Return the string at *addr* without its NUL, which must be among the first *limit* bytes.

        OverlongString if it is not.
        """
        index = self._leaves.get(addr >> 21)
        if index is not None:
            pte = self._q[index + (addr >> PAGESHIFT & 511)]
            if pte & 1:
                pa = (pte & _ADDR) + (addr & _MASK)
                end = self._ram.find(b"\0", pa, pa + min(PAGESIZE - (addr & _MASK), limit))
                if end >= 0:
                    return self._ram[pa:end]
        return self._copyinstr(addr, limit)

    def _copyinstr(self, addr: int, limit: int) -> bytes:
        parts: list[bytes] = []
        while limit > 0:
            pa = self._pa_read(addr)
            size = min(PAGESIZE - (addr & _MASK), limit)
            end = self._ram.find(b"\0", pa, pa + size)
            if end >= 0:
                piece = self._ram[pa:end]
                return piece if not parts else b"".join((*parts, piece))
            parts.append(self._ram[pa : pa + size])
            addr += size
            limit -= size
        raise OverlongString

    def zero(self, addr: int, n: int) -> None:
        """Store *n* zero bytes."""
        while n > 0:
            size = min(n, PAGESIZE - (addr & _MASK))
            self.copyout(addr, bytes(size))
            addr += size
            n -= size

    # -- words -----------------------------------------------------------------------------------

    def load_u8(self, addr: int) -> int:
        """Return the byte at *addr*."""
        return self._mv[self._pa_read(addr)]

    def load_u16(self, addr: int) -> int:
        """Return the 16-bit word at *addr*."""
        if addr & 1:
            return int.from_bytes(self.copyin(addr, 2), "little")
        return self._h[self._pa_read(addr) >> 1]

    def load_u32(self, addr: int) -> int:
        """Return the 32-bit word at *addr*."""
        if not addr & 3:
            index = self._leaves.get(addr >> 21)
            if index is not None:
                pte = self._q[index + (addr >> PAGESHIFT & 511)]
                if pte & 1:
                    return self._d[((pte & _ADDR) + (addr & _MASK)) >> 2]
            return self._d[self._pa_read(addr) >> 2]
        return int.from_bytes(self.copyin(addr, 4), "little")

    def load_u64(self, addr: int) -> int:
        """Return the 64-bit word at *addr*."""
        if not addr & 7:
            index = self._leaves.get(addr >> 21)
            if index is not None:
                pte = self._q[index + (addr >> PAGESHIFT & 511)]
                if pte & 1:
                    return self._q[((pte & _ADDR) + (addr & _MASK)) >> 3]
            return self._q[self._pa_read(addr) >> 3]
        return int.from_bytes(self.copyin(addr, 8), "little")

    def load_s32(self, addr: int) -> int:
        """Return the 32-bit word at *addr* as a signed number."""
        value = self.load_u32(addr)
        return value - (1 << 32) if value >> 31 else value

    def load_s64(self, addr: int) -> int:
        """Return the 64-bit word at *addr* as a signed number."""
        value = self.load_u64(addr)
        return value - (1 << 64) if value >> 63 else value

    def store_u8(self, addr: int, value: int) -> None:
        """Store a byte (*value* is cut to 8 bits)."""
        self._mv[self._pa_write(addr)] = value & 0xFF

    def store_u16(self, addr: int, value: int) -> None:
        """Store a 16-bit word (*value* is cut to 16 bits)."""
        if addr & 1:
            self.copyout(addr, (value & 0xFFFF).to_bytes(2, "little"))
        else:
            self._h[self._pa_write(addr) >> 1] = value & 0xFFFF

    def store_u32(self, addr: int, value: int) -> None:
        """Store a 32-bit word (*value* is cut to 32 bits)."""
        if addr & 3:
            self.copyout(addr, (value & 0xFFFF_FFFF).to_bytes(4, "little"))
        else:
            self._d[self._pa_write(addr) >> 2] = value & 0xFFFF_FFFF

    def store_u64(self, addr: int, value: int) -> None:
        """Store a 64-bit word (*value* is cut to 64 bits)."""
        if addr & 7:
            self.copyout(addr, (value & 0xFFFF_FFFF_FFFF_FFFF).to_bytes(8, "little"))
        else:
            self._q[self._pa_write(addr) >> 3] = value & 0xFFFF_FFFF_FFFF_FFFF

    store_s32 = store_u32
    store_s64 = store_u64

    # -- ranges ----------------------------------------------------------------------------------

    def readable_prefix(self, addr: int, n: int) -> int:
        """Return how many bytes of [addr, addr+n) can be read from its start."""
        return self._prefix(addr, n, write=False)

    def writable_prefix(self, addr: int, n: int) -> int:
        """Return how many bytes of [addr, addr+n) can be written from its start."""
        return self._prefix(addr, n, write=True)

    def _prefix(self, addr: int, n: int, *, write: bool) -> int:
        done = 0
        access = self._pa_write if write else self._pa_read
        while done < n:
            try:
                access(addr + done)
            except KernelError:
                return done
            done += PAGESIZE - (addr + done & _MASK)
        return max(n, 0)

    def spans(self, addr: int, n: int, write: bool = False) -> Iterator[memoryview]:
        """Yield views of [addr, addr+n), neighbours in memory joined. EFAULT at the bad page.

        A view, and the iteration, is good until the mapping changes: do not block in between.
        """
        mv = self._mv
        for pa, end in self._runs(addr, n, write=write):
            yield mv[pa:end]
