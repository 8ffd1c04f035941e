"""A lean ELF parser: the parts of a file that exec needs, and precise reasons when it is unfit.

It knows nothing of vnodes: it reads through a callable `(offset, size) -> bytes` that returns fewer
bytes at the end of the file. The checks follow the order of a real kernel (binfmt_elf.c of the
reference kernel; elf(5)): what is refused before the old image is gone raises here, what is noticed
later is left to `check_segments`. pyelftools is the oracle of the tests; importing it costs 40 ms.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from lxemu.errors import ElfError
from lxemu.kernel.errno import Errno

Reader = Callable[[int, int], bytes]

ET_EXEC = 2
ET_DYN = 3
EM_386 = 3
EM_486 = 6
EM_X86_64 = 62
PT_LOAD = 1
PT_INTERP = 3
PT_NOTE = 4
PT_GNU_STACK = 0x6474E551
PT_GNU_PROPERTY = 0x6474E553
PF_X = 1
PF_W = 2
PF_R = 4

PAGESIZE = 4096
_PAGEMASK = PAGESIZE - 1
#: Longest interpreter path, with its NUL (PATH_MAX).
INTERP_MAX = 4096
#: Largest program header table that is accepted, in bytes.
PHDRS_MAX = 65536
_NOTES_MAX = 65536

NT_GNU_PROPERTY_TYPE_0 = 5
GNU_PROPERTY_X86_ISA_1_NEEDED = 0xC0008002
#: x86-64 instruction set levels as bits of the property: baseline, v2, v3, v4.
ISA_LEVELS = ("baseline", "x86-64-v2", "x86-64-v3", "x86-64-v4")
#: The levels that the CPU engine executes correctly: no AVX, hence neither v3 nor v4.
ISA_SUPPORTED = 0b0011

_EHDR32 = struct.Struct("<16sHHIIIIIHHHHHH")
_EHDR64 = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR32 = struct.Struct("<8I")
_PHDR64 = struct.Struct("<IIQQQQQQ")

_BITS = {EM_386: 32, EM_486: 32, EM_X86_64: 64}

#: uname-like names for the machines that people do try.
_MACHINE_NAMES = {
    2: "sparc",
    4: "m68k",
    8: "mips",
    20: "powerpc",
    21: "powerpc64",
    22: "s390",
    40: "arm",
    42: "superh",
    43: "sparc64",
    50: "ia64",
    183: "aarch64",
    243: "riscv",
    258: "loongarch",
}
_TYPE_NAMES = {0: "no type", 1: "a relocatable object", 4: "a core dump"}


class Phdr(NamedTuple):
    """One program header, the same for both classes."""

    type: int
    flags: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    align: int


@dataclass(frozen=True, slots=True)
class ElfImage:
    """What exec needs to know of an ELF file; addresses are not yet relocated.

    `gnu_stack` is None when the file has no PT_GNU_STACK, else whether it asks for an executable
    stack; `align` is the largest alignment of a PT_LOAD; `isa` the GNU_PROPERTY_X86_ISA_1_NEEDED
    bits.
    """

    type: int
    machine: int
    bits: int
    entry: int
    phoff: int
    phentsize: int
    phdrs: tuple[Phdr, ...]
    interp: bytes | None
    gnu_stack: bool | None
    align: int
    isa: int

    @property
    def loads(self) -> tuple[Phdr, ...]:
        """Return the PT_LOAD headers in file order."""
        return tuple(ph for ph in self.phdrs if ph.type == PT_LOAD)

    @property
    def dynamic(self) -> bool:
        """Return whether the image can be placed anywhere (ET_DYN)."""
        return self.type == ET_DYN

    def phdr_address(self) -> int:
        """Return the unrelocated address at which the program headers are mapped, or 0."""
        for ph in self.loads:
            if ph.offset <= self.phoff < ph.offset + ph.filesz:
                return self.phoff - ph.offset + ph.vaddr
        return 0

    def extent(self) -> tuple[int, int]:
        """Return the page-aligned start and the end of all PT_LOADs, unrelocated."""
        loads = self.loads
        if not loads:
            return 0, 0
        return (
            min(ph.vaddr for ph in loads) & ~_PAGEMASK,
            max(ph.vaddr + ph.memsz for ph in loads),
        )

    def check_segments(self, limit: int) -> None:
        """Raise ElfError when a PT_LOAD cannot be mapped below the address `limit`.

        A real kernel notices these only while it maps, with the old image gone.
        """
        if self.type not in (ET_EXEC, ET_DYN):
            raise ElfError("the file is not executable code", fatal_after_commit=True)
        for i, ph in enumerate(self.loads):
            if ph.filesz > ph.memsz:
                problem = "is larger in the file than in memory"
            elif ph.vaddr + ph.memsz > limit or ph.memsz > limit:
                problem = "lies outside the address space"
            elif (ph.vaddr - ph.offset) & _PAGEMASK and ph.filesz:
                problem = "has an address and an offset that differ within the page"
            else:
                continue
            raise ElfError(f"PT_LOAD segment {i} {problem}", fatal_after_commit=True)


def is_elf(head: bytes) -> bool:
    """Return whether a file that begins with `head` claims to be ELF."""
    return head[:4] == b"\x7fELF"


def parse(
    read: Reader, *, as_interpreter: bool = False, isa_supported: int = ISA_SUPPORTED
) -> ElfImage:
    """Parse the ELF file behind `read(offset, size)`; ElfError says why it cannot run.

    Of an interpreter the type is left to `check_segments`, and its own PT_INTERP is ignored.
    """
    head = read(0, 64)
    if not is_elf(head):
        raise ElfError("not an ELF file" if head else "the file is empty")
    bits, fields = _header(head, any_type=as_interpreter)
    e_type, machine, _, entry, phoff, _, _, _, phentsize, phnum = fields
    phdrs = _program_headers(read, bits, phoff, phentsize, phnum)
    interp: bytes | None = None
    gnu_stack: bool | None = None
    align = 0
    for ph in phdrs:
        if ph.type == PT_INTERP and interp is None and not as_interpreter:
            interp = _interpreter(read, ph)
        elif ph.type == PT_GNU_STACK:
            gnu_stack = bool(ph.flags & PF_X)
        elif ph.type == PT_LOAD and ph.align & (ph.align - 1) == 0:
            align = max(align, ph.align)
    isa = _isa_needed(read, bits, phdrs)
    if isa & ~isa_supported:
        level = ISA_LEVELS[min(isa.bit_length(), len(ISA_LEVELS)) - 1]
        raise ElfError(f"needs the {level} instruction set, which this CPU does not have")
    return ElfImage(
        e_type, machine, bits, entry, phoff, phentsize, phdrs, interp, gnu_stack, align, isa
    )


def _header(head: bytes, *, any_type: bool) -> tuple[int, tuple[int, ...]]:
    """Check the ELF header; return the data model in bits and the fields from e_type to e_phnum.

    Like a real kernel it goes by the machine alone; class and byte order only help to explain.
    """
    machine = int.from_bytes(head[18:20], "little")
    if machine not in _BITS:
        if len(head) < _EHDR32.size:
            raise ElfError(f"truncated ELF header: {len(head)} bytes")
        if head[5] == 2:
            machine = int.from_bytes(head[18:20], "big")
            raise ElfError(f"cannot run {_machine_name(machine)} program (big-endian)")
        raise ElfError(f"cannot run {_machine_name(machine)} program")
    bits = _BITS[machine]
    codec = _EHDR64 if bits == 64 else _EHDR32
    if len(head) < codec.size:
        raise ElfError(f"truncated ELF header: {len(head)} of {codec.size} bytes")
    fields = codec.unpack_from(head)[1:11]
    if fields[0] not in (ET_EXEC, ET_DYN) and not any_type:
        kind = _TYPE_NAMES.get(fields[0], f"of type {fields[0]}")
        raise ElfError(f"not an executable: the file is {kind}")
    if fields[8] != (_PHDR64 if bits == 64 else _PHDR32).size:
        raise ElfError(_wrong_phentsize(head, bits, fields[8]))
    return bits, fields


def _wrong_phentsize(head: bytes, bits: int, phentsize: int) -> str:
    """Explain a program header size that does not fit the machine."""
    if bits == 64 and head[4] == 1:
        return "cannot run x32 program (x86-64 code in a 32-bit file)"
    if bits == 32 and head[4] == 2:
        return "an i386 program in a 64-bit ELF file"
    return f"program header entries are {phentsize} bytes long"


def _machine_name(machine: int) -> str:
    return _MACHINE_NAMES.get(machine, f"machine-{machine}")


def _program_headers(
    read: Reader, bits: int, phoff: int, phentsize: int, phnum: int
) -> tuple[Phdr, ...]:
    codec = _PHDR64 if bits == 64 else _PHDR32
    size = phnum * phentsize
    if size == 0:
        raise ElfError("no program headers")
    if size > PHDRS_MAX:
        raise ElfError(f"too many program headers: {phnum}")
    table = read(phoff, size) if phoff < 1 << 63 else b""
    if len(table) != size:
        raise ElfError(f"truncated program headers: {len(table)} of {size} bytes")
    if bits == 64:
        return tuple(Phdr(*row) for row in codec.iter_unpack(table))
    return tuple(
        Phdr(t, flags, off, vaddr, paddr, filesz, memsz, align)
        for t, off, vaddr, paddr, filesz, memsz, flags, align in codec.iter_unpack(table)
    )


def _interpreter(read: Reader, ph: Phdr) -> bytes:
    """Return the path in PT_INTERP without its NUL."""
    if not 2 <= ph.filesz <= INTERP_MAX:
        raise ElfError(f"interpreter path of {ph.filesz} bytes")
    if ph.offset >= 1 << 63:
        raise ElfError("an impossible place for the interpreter path", errno=Errno.EINVAL)
    path = read(ph.offset, ph.filesz)
    if len(path) != ph.filesz:
        raise ElfError("truncated interpreter path", errno=Errno.EIO)
    if path[-1]:
        raise ElfError("the interpreter path has no end")
    return path[: path.index(0)]


def _isa_needed(read: Reader, bits: int, phdrs: tuple[Phdr, ...]) -> int:
    """Return the instruction set bits that the file's property note says it needs, or 0.

    A malformed note counts as none: nothing but this hint depends on it.
    """
    segments = [ph for ph in phdrs if ph.type == PT_GNU_PROPERTY]
    segments = segments or [ph for ph in phdrs if ph.type == PT_NOTE]
    needed = 0
    for ph in segments:
        if ph.filesz > _NOTES_MAX or ph.offset >= 1 << 63:
            continue
        for name, kind, desc in iter_notes(read(ph.offset, ph.filesz), ph.align):
            if kind == NT_GNU_PROPERTY_TYPE_0 and name == b"GNU":
                needed |= _property(desc, GNU_PROPERTY_X86_ISA_1_NEEDED, bits // 8)
    return needed


def iter_notes(data: bytes, align: int) -> Iterator[tuple[bytes, int, bytes]]:
    """Yield (name, type, description) of each note in a PT_NOTE's `data`, up to a bad one."""
    pad = 7 if align == 8 else 3
    pos = 0
    while pos + 12 <= len(data):
        namesz, descsz, kind = struct.unpack_from("<III", data, pos)
        name_end = pos + 12 + namesz
        desc_start = (name_end + pad) & ~pad
        desc_end = desc_start + descsz
        if desc_end > len(data):
            return
        yield data[pos + 12 : name_end].rstrip(b"\0"), kind, data[desc_start:desc_end]
        pos = (desc_end + pad) & ~pad


def _property(desc: bytes, wanted: int, align: int) -> int:
    """Return the 32-bit value of property `wanted` in a GNU property array, or 0."""
    pos = 0
    while pos + 8 <= len(desc):
        kind, size = struct.unpack_from("<II", desc, pos)
        pos += 8
        if kind == wanted and size >= 4 and pos + 4 <= len(desc):
            return int.from_bytes(desc[pos : pos + 4], "little")
        pos += (size + align - 1) & ~(align - 1)
    return 0
