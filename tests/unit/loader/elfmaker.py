"""Small ELF files for tests, and files of the host to compare with."""

from __future__ import annotations

import os
import struct
import sys
from dataclasses import dataclass, field

EM_386, EM_X86_64 = 3, 62
PT_LOAD, PT_INTERP, PT_NOTE, PT_GNU_STACK, PT_GNU_PROPERTY = 1, 3, 4, 0x6474E551, 0x6474E553


@dataclass
class Seg:
    """A program header and the bytes behind it."""

    type: int = PT_LOAD
    flags: int = 5
    vaddr: int = 0x400000
    data: bytes = b""
    memsz: int | None = None
    align: int = 4096
    offset: int | None = None
    filesz: int | None = None


@dataclass
class Elf:
    """An ELF file in the making; `build` lays it out with congruent offsets."""

    bits: int = 64
    machine: int | None = None
    type: int = 2
    entry: int = 0x400000
    segs: list[Seg] = field(default_factory=list)
    phentsize: int | None = None
    phnum: int | None = None
    phoff: int | None = None
    ident: bytes = b""

    def build(self) -> bytes:
        wide = self.bits == 64
        machine = self.machine if self.machine is not None else (EM_X86_64 if wide else EM_386)
        ehsize, phsize = (64, 56) if wide else (52, 32)
        ident = self.ident or b"\x7fELF" + bytes((2 if wide else 1, 1, 1)) + bytes(9)
        out = bytearray(ehsize + phsize * len(self.segs))
        rows = []
        for seg in self.segs:
            offset = seg.offset
            if offset is None:
                offset = len(out)
                if seg.type == PT_LOAD:
                    offset += (seg.vaddr - offset) % 4096
            if seg.data:
                out.extend(bytes(max(0, offset + len(seg.data) - len(out))))
                out[offset : offset + len(seg.data)] = seg.data
            filesz = len(seg.data) if seg.filesz is None else seg.filesz
            memsz = filesz if seg.memsz is None else seg.memsz
            if wide:
                row = (seg.type, seg.flags, offset, seg.vaddr, 0, filesz, memsz, seg.align)
                rows.append(struct.pack("<IIQQQQQQ", *row))
            else:
                row = (seg.type, offset, seg.vaddr, 0, filesz, memsz, seg.flags, seg.align)
                rows.append(struct.pack("<8I", *row))
        table = b"".join(rows)
        out[ehsize : ehsize + len(table)] = table
        out[:ehsize] = ident + struct.pack(
            "<HHIQQQIHHHHHH" if wide else "<HHIIIIIHHHHHH",
            self.type,
            machine,
            1,
            self.entry,
            ehsize if self.phoff is None else self.phoff,
            0,
            0,
            ehsize,
            phsize if self.phentsize is None else self.phentsize,
            len(self.segs) if self.phnum is None else self.phnum,
            0,
            0,
            0,
        )
        return bytes(out)


def reader(data: bytes):
    """Return the reader callable that the parser wants."""
    return lambda offset, size: data[offset : offset + size]


def property_note(bits: int, isa: int) -> bytes:
    """Return a GNU property note that says the file needs the instruction sets `isa`."""
    body = struct.pack("<III", 0xC0008002, 4, isa)
    body += bytes(-len(body) % (bits // 8))
    return struct.pack("<III", 4, len(body), 5) + b"GNU\0" + body


def host_programs() -> list[str]:
    """Return ELF files that most hosts of the tests have."""
    wanted = ["/bin/ls", "/bin/busybox", "/usr/bin/env", os.path.realpath(sys.executable)]
    found = []
    for path in wanted:
        try:
            with open(path, "rb") as file:
                if file.read(4) == b"\x7fELF":
                    found.append(path)
        except OSError:
            continue
    return found
