"""The user registers of one lwp: saved when another lwp runs, in the engine when it is live.

The saved form is a context object of the library (uc_context), copied as opaque bytes. Registers
are read and written through properties that work in both states; the trap loop and the handlers use
`Engine.q` instead, which is valid for the running lwp only.
"""

from __future__ import annotations

import ctypes
from ctypes import c_uint16, c_uint64
from typing import TYPE_CHECKING, Any

from lxemu.cpu import binding as uc
from lxemu.cpu.trap import TF

if TYPE_CHECKING:
    from lxemu.cpu.engine import Engine
    from lxemu.cpu.ldt import Ldt


#: Names of `Engine.q` by index.
NAMES = (
    *("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"),
    *(f"r{i}" for i in range(8, 16)),
    "rip",
)

FXSAVE_SIZE = 512
_MXCSR_MASK = 0xFFFF  # what FXSAVE reports on processors with denormals-are-zero
NO_TLS = (0, 0, 0)
CR4_TSD = 1 << 2
_Gprs = c_uint64 * 17


def _gpr(index: int) -> property:
    def read(self: Context) -> int:
        value: int = self.words[index]
        return value

    def write(self: Context, value: int) -> None:
        self.words[index] = value

    return property(read, write, doc=f"Register {NAMES[index]}, 64 bits.")


def _api(reg: int, doc: str, bits: int = 64) -> property:
    mask = (1 << bits) - 1

    def read(self: Context) -> int:
        return self.engine.read(self, reg) & mask

    def write(self: Context, value: int) -> None:
        self.engine.write(self, reg, value & mask)

    return property(read, write, doc=doc)


def _base(reg: int, doc: str) -> property:
    """Make a property for a segment base, which is quick to write while another lwp is live."""

    def read(self: Context) -> int:
        return self.engine.read(self, reg)

    def write(self: Context, value: int) -> None:
        offset = self.engine.bases[reg]
        if offset is None or self.engine.live is self:
            self.engine.write(self, reg, value)
        else:
            c_uint64.from_buffer(self.buf, offset).value = value

    return property(read, write, doc=doc)


def _segment(reg: int, doc: str) -> property:
    def read(self: Context) -> int:
        return self.engine.read(self, reg) & 0xFFFF

    def write(self: Context, selector: int) -> None:
        self.engine.load_segment(self, reg, selector & 0xFFFF)

    return property(read, write, doc=doc)


#: What `control` returns, by name: its number in the library.
_CONTROL = {
    "rflags": uc.REG_RFLAGS,
    "cs": uc.REG_CS,
    "ss": uc.REG_SS,
    "ds": uc.REG_DS,
    "es": uc.REG_ES,
    "fs": uc.REG_FS,
    "gs": uc.REG_GS,
    "fs_base": uc.REG_FS_BASE,
    "gs_base": uc.REG_GS_BASE,
}


class Context:
    """Registers of one lwp.

    bits: 64 or 32, the mode of its code. tls: raw descriptors of GDT entries 12 to 14. cr3: root of
    the page tables that the saved state has loaded. sites: addresses after an `int 0x80` that has
    been looked at (see loop.py); threads and forked processes share the set until they exec. ldt:
    the local descriptor table, if there is one.
    """

    __slots__ = ("bits", "buf", "cr3", "engine", "ldt", "saved", "sites", "tls")

    def __init__(self, engine: Engine, template: bytes, cr3: int) -> None:
        self.engine = engine
        self.buf = engine.image.from_buffer_copy(template)
        # This neither copies nor holds the buffer, which lives as long as the context.
        self.saved = _Gprs.from_address(ctypes.addressof(self.buf) + engine.blob.state)
        self.tls = NO_TLS
        self.ldt: Ldt | None = None
        self.bits = 64
        self.sites: set[int] = set()
        self.cr3 = cr3

    @property
    def words(self) -> Any:
        """Return the general registers as an array in the order of `NAMES`."""
        return self.engine.q if self.engine.live is self else self.saved

    rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi = (_gpr(i) for i in range(8))
    r8, r9, r10, r11, r12, r13, r14, r15 = (_gpr(i) for i in range(8, 16))
    rip = pc = _gpr(16)
    sp = rsp
    ret = rax

    @property
    def rflags(self) -> int:
        """The flags, all 64 bits of RFLAGS."""
        return self.engine.read(self, uc.REG_RFLAGS)

    @rflags.setter
    def rflags(self, value: int) -> None:
        self.engine.write(self, uc.REG_RFLAGS, value)
        if value & TF:
            self.engine.watch_steps(True)

    mxcsr = _api(uc.REG_MXCSR, "SSE control and status.", 32)
    fpcw = _api(uc.REG_FPCW, "x87 control word.", 16)
    fpsw = _api(uc.REG_FPSW, "x87 status word.", 16)
    cs = _api(uc.REG_CS, "Selector of the code segment; writing does not load it.", 16)
    ss = _api(uc.REG_SS, "Selector of the stack segment.", 16)
    ds = _segment(uc.REG_DS, "Selector of the data segment; writing loads it, or 0 if it is bad.")
    es = _segment(uc.REG_ES, "Selector of the extra segment, likewise.")
    fs = _segment(uc.REG_FS, "Selector of FS; writing loads the base from the descriptor.")
    gs = _segment(uc.REG_GS, "Selector of GS, likewise.")
    fs_base = _base(uc.REG_FS_BASE, "Base address of FS (the 64-bit thread pointer).")
    gs_base = _base(uc.REG_GS_BASE, "Base address of GS.")
    cr2 = _api(uc.REG_CR2, "Address of the last page fault.")

    def control(self) -> dict[str, int]:
        """Return flags, segment selectors and bases by name; cheaper than one by one."""
        values = self.engine.read_many(self, tuple(_CONTROL.values()))
        return dict(zip(_CONTROL, values, strict=True))

    def set_step(self, on: bool) -> None:
        """Have the processor trap after each instruction, or no longer."""
        flags = self.rflags
        if bool(flags & TF) is not on:
            self.rflags = flags ^ TF

    @property
    def tsc(self) -> bool:
        """Whether user mode may read the time stamp counter; rdtsc is #GP otherwise."""
        return not self.engine.read(self, uc.REG_CR4) & CR4_TSD

    def set_tsc(self, allowed: bool) -> None:
        """Let user mode read the time stamp counter, or not."""
        control = self.engine.read(self, uc.REG_CR4)
        self.engine.write(self, uc.REG_CR4, control & ~CR4_TSD if allowed else control | CR4_TSD)

    def set_return(self, value: int) -> None:
        """Set what a system call returns."""
        self.words[0] = value

    def set_stack(self, sp: int) -> None:
        """Set the stack pointer."""
        self.words[4] = sp

    def copy_from(self, other: Any) -> None:
        """Become a copy of another context (or of the lwp that has it), as fork needs."""
        source: Context = other if isinstance(other, Context) else other.cpu
        if self.engine.live is source:
            self.engine.save(self)
        else:
            ctypes.memmove(self.buf, source.buf, len(source.buf))
        self.tls, self.bits, self.cr3 = source.tls, source.bits, source.cr3
        self.sites, self.ldt = source.sites, source.ldt

    def set_tls(self, slot: int, descriptor: int) -> None:
        """Set a thread-local segment (0 to 2 for GDT entries 12 to 14); 0 empties it.

        The accessed bit is set, as in Linux (fill_ldt): the processor must not write to the table.
        A segment register that holds its selector keeps the old base until it is loaded again, as
        on a real processor; Linux reloads it, which the caller does by writing `gs` or `fs`.
        """
        tls = list(self.tls)
        tls[slot] = descriptor | 1 << 40 if descriptor else 0
        self.tls = (tls[0], tls[1], tls[2])
        if self.engine.live is self:
            self.engine.load_tls(self)

    def reload_segments(self, selector: int) -> None:
        """Load FS and GS anew where they hold `selector`, after its descriptor has changed."""
        self.engine.reload_segments(self, selector)

    @property
    def fxsave(self) -> bytes:
        """The x87 and SSE state as FXSAVE stores it (512 bytes)."""
        return self.engine.read_fpu(self)

    @fxsave.setter
    def fxsave(self, image: bytes) -> None:
        self.engine.write_fpu(self, image)

    def dump(self) -> str:
        """Return the registers as text, four to a line."""
        names = (*NAMES, "rflags", "fs_base", "gs_base")
        texts = [f"{name:>7} {getattr(self, name):016x}" for name in names]
        return "\n".join(" ".join(texts[i : i + 4]) for i in range(0, len(texts), 4))


class FpuBatch:
    """Moves an FXSAVE image between a buffer and the engine with one call of the library.

    The registers are addressed where they lie in the image, so nothing is copied field by field;
    only the tag word differs in form, and takes a word of its own.
    """

    #: (register, offset in the image); FIP and FDP are the 64-bit forms.
    _FIELDS = (
        (uc.REG_FPCW, 0),
        (uc.REG_FPSW, 2),
        (uc.REG_FOP, 6),
        (uc.REG_FIP, 8),
        (uc.REG_FDP, 16),
        (uc.REG_MXCSR, 24),
        *((uc.REG_ST0 + i, 32 + 16 * i) for i in range(8)),
        *((uc.REG_XMM0 + i, 160 + 16 * i) for i in range(16)),
    )

    def __init__(self) -> None:
        self.image = (ctypes.c_char * FXSAVE_SIZE)()
        self.tag = c_uint16()
        base = ctypes.addressof(self.image)
        regs = [uc.REG_FPTAG, *(reg for reg, _ in self._FIELDS)]
        places = [ctypes.addressof(self.tag), *(base + offset for _, offset in self._FIELDS)]
        self.count = len(regs)
        self.regs = (ctypes.c_int * self.count)(*regs)
        self.places = (ctypes.c_void_p * self.count)(*places)

    def to_image(self) -> bytes:
        """Return the image, after a read of the batch."""
        raw = self.image.raw
        return raw[:4] + _ABRIDGED[self.tag.value] + raw[6:28] + _MXCSR_MASK_BYTES + raw[32:]

    def from_image(self, image: bytes) -> None:
        """Fill the batch from `image`, for a write."""
        if len(image) != FXSAVE_SIZE:
            raise ValueError("an FXSAVE image has 512 bytes")
        self.image.raw = image
        self.tag.value = _FULL[image[4]]


class _Abridged(dict[int, bytes]):
    """Two-bit tags of FSTENV to the bytes that FXSAVE has in their place (a set bit: not empty)."""

    __slots__ = ()

    def __missing__(self, tag: int) -> bytes:
        bits = sum(1 << i for i in range(8) if tag >> 2 * i & 3 != 3)
        self[tag] = both = bytes((bits, 0))
        return both


_ABRIDGED = _Abridged()
_MXCSR_MASK_BYTES = _MXCSR_MASK.to_bytes(4, "little")


#: One-bit tags of FXSAVE to two-bit tags; "valid" is any kind of number.
_FULL = tuple(sum(3 << 2 * i for i in range(8) if not tag >> i & 1) for tag in range(256))
