"""The vDSO: code and a page of clock data that the kernel lends to every program (vdso(7)).

The images are small ELF files (images.py, made from src/vdso.c). All processes of a machine share
their pages: the data page `[vvar]` lies right before the code `[vdso]`, which finds it from its own
address. Until the machine sets the clocks in it the functions make the system call that they stand
for.
"""

from __future__ import annotations

import binascii
import struct
from typing import TYPE_CHECKING, Final

from lxemu.kernel.mm.mman import (
    MAP_ANON,
    MAP_FIXED,
    MAP_NORESERVE,
    MAP_PRIVATE,
    PAGESIZE,
    PROT_EXEC,
    PROT_NONE,
    PROT_READ,
    PROT_WRITE,
)
from lxemu.kernel.mm.pagecache import AnonObject
from syscalls.vdso.clock import Vvar

if TYPE_CHECKING:
    from lxemu.kernel.mm.as_ import As

__all__ = ["Vdso", "Vvar", "load_image", "symbols"]

_DT_HASH: Final = 4
_DT_STRTAB: Final = 5
_DT_SYMTAB: Final = 6
_PT_DYNAMIC: Final = 2


class Vdso:
    """The vDSO of one data model on one machine."""

    def __init__(self, bits: int, vvar: Vvar) -> None:
        self.bits = bits
        self.vvar = vvar
        self.image = load_image(bits)
        self.symbols = symbols(self.image, bits)
        self._code: AnonObject | None = None

    def npages(self) -> int:
        """Return how many frames the code holds, and with the 64-bit one the data page."""
        code = self._code.pages.npages if self._code is not None else 0
        data = self.vvar.held() if self.bits == 64 else 0
        return code + data

    def map(self, as_: As) -> int:
        """Map `[vvar]` and `[vdso]` where there is room; return the address of the code. ENOMEM."""
        if self._code is None:
            self._code = AnonObject(as_.phys, PAGESIZE)
            self._code.pages.write(0, self.image)
        flags = MAP_PRIVATE | MAP_ANON | MAP_NORESERVE
        data = as_.map(0, 2 * PAGESIZE, PROT_NONE, flags)
        code = data + PAGESIZE
        flags = MAP_PRIVATE | MAP_FIXED
        page = self.vvar.object(as_.phys)
        as_.map(data, PAGESIZE, PROT_READ, flags, page, maxprot=PROT_READ, name=b"[vvar]")
        # A debugger may plant breakpoints here, in a copy of its own.
        may = PROT_READ | PROT_WRITE | PROT_EXEC
        prot = PROT_READ | PROT_EXEC
        as_.map(code, PAGESIZE, prot, flags, self._code, maxprot=may, name=b"[vdso]")
        return code


def load_image(bits: int) -> bytes:
    """Return the ELF image for programs of `bits`."""
    from syscalls.vdso.images import IMAGES

    return binascii.a2b_base64(IMAGES[bits])


def symbols(image: bytes, bits: int) -> dict[bytes, int]:
    """Return the exported symbols of an image and their offsets."""
    wide = bits == 64
    header = struct.Struct("<32xQ14xHH" if wide else "<28xI10xHH")
    phoff, phentsize, phnum = header.unpack_from(image)
    dynamic: dict[int, int] = {}
    for i in range(phnum):
        at = phoff + i * phentsize
        if struct.unpack_from("<I", image, at)[0] == _PT_DYNAMIC:
            offset, size = struct.unpack_from("<8xQ16xQ" if wide else "<4xI8xI", image, at)
            pairs = struct.iter_unpack("<QQ" if wide else "<II", image[offset : offset + size])
            dynamic = {tag: value for tag, value in pairs if tag}
    strings, table = dynamic[_DT_STRTAB], dynamic[_DT_SYMTAB]
    count = struct.unpack_from("<I", image, dynamic[_DT_HASH] + 4)[0]
    entry = struct.Struct("<IBBHQQ" if wide else "<IIIBBH")
    found: dict[bytes, int] = {}
    for i in range(1, count):
        fields = entry.unpack_from(image, table + i * entry.size)
        name = strings + fields[0]
        found[image[name : image.index(0, name)]] = fields[4 if wide else 1]
    return found
