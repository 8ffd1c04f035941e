"""The registers of an lwp as Linux shows them: struct user and the register sets (regset.c).

What ptrace(2) reads and writes and what a core file holds. A set has the layout of the *tracee's*
data model, whoever asks; a 64-bit tracer of a 32-bit program gets both forms, by different calls.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from lxemu.kernel.errno import Errno, KernelError
from syscalls.sigframe import FXSAVE, checked_fxsave
from syscalls.sigframe32 import fsave_from_fxsave, fxsave_from_fsave

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lxemu.kernel.lwp import Lwp

# Types of register sets (uapi/linux/elf.h).
NT_PRSTATUS: Final = 1
NT_PRFPREG: Final = 2
NT_386_TLS: Final = 0x200
NT_X86_XSTATE: Final = 0x202
NT_PRXFPREG: Final = 0x46E62B7F

#: Members of user_regs_struct, in order.
REGS64: Final = (
    *("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx"),
    *("rsi", "rdi", "orig_rax", "rip", "cs", "rflags", "rsp", "ss", "fs_base", "gs_base"),
    *("ds", "es", "fs", "gs"),
)
REGS32: Final = (
    *("rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rax", "ds", "es", "fs", "gs", "orig_rax", "rip"),
    *("cs", "rflags", "rsp", "ss"),
)
REGS: Final[Mapping[int, tuple[str, ...]]] = {64: REGS64, 32: REGS32}

_WORDS: Final = {"rax": 0, "rcx": 1, "rdx": 2, "rbx": 3, "rsp": 4, "rbp": 5, "rsi": 6, "rdi": 7} | {
    **{f"r{i}": i for i in range(8, 16)},
    "rip": 16,
}
_SELECTORS: Final = frozenset({"cs", "ss", "ds", "es", "fs", "gs"})
#: Flags that a tracer may change (FLAG_MASK): CF PF AF ZF SF TF DF OF NT RF AC.
_FLAGS: Final = 0x1 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 0x800 | 0x4000 | 0x10000 | 0x40000
_TASK_SIZE: Final = 0x7FFFFFFFF000
_USER_CODE: Final = {64: 0x33, 32: 0x23}
#: An XSAVE area with x87 and SSE only: the image, then a header that says so.
_XSTATE: Final = FXSAVE + 64
_XCR0: Final = 0x3
_XCR0_AT: Final = 464
_FSAVE: Final = 108


def read_all(lwp: Lwp) -> dict[str, int]:
    """Return the general registers and what goes with them, by name."""
    words: Any = lwp.cpu.words
    mask = 0xFFFFFFFFFFFFFFFF if lwp.cpu.bits == 64 else 0xFFFFFFFF
    found = {name: int(words[index]) & mask for name, index in _WORDS.items()}
    found |= lwp.cpu.control()
    found["orig_rax"] = lwp.syscall_nr & 0xFFFFFFFFFFFFFFFF
    return found


def pack_regs(lwp: Lwp, bits: int) -> bytes:
    """Return user_regs_struct in the layout of a data model."""
    values = read_all(lwp)
    word = (1 << bits) - 1
    names = REGS[bits]
    return struct.pack(
        f"<{len(names)}{'Q' if bits == 64 else 'I'}", *[values[name] & word for name in names]
    )


def write_reg(lwp: Lwp, name: str, value: int) -> None:
    """Set one register as ptrace does: EIO for what no user program could have."""
    cpu = lwp.cpu
    if name in _WORDS:
        cpu.words[_WORDS[name]] = value
    elif name == "orig_rax":
        value &= 0xFFFFFFFF
        lwp.syscall_nr = value - (value >> 31 << 32)
        lwp.restarting = True
    elif name == "rflags":
        cpu.rflags = cpu.rflags & ~_FLAGS | value & _FLAGS
    elif name in _SELECTORS:
        _write_selector(lwp, name, value & 0xFFFF)
    else:
        if value >= _TASK_SIZE:
            raise KernelError(Errno.EIO)
        setattr(cpu, name, value)


def _write_selector(lwp: Lwp, name: str, value: int) -> None:
    if value and value & 3 != 3:
        raise KernelError(Errno.EIO)
    if name not in ("cs", "ss"):
        if value != getattr(lwp.cpu, name):
            setattr(lwp.cpu, name, value)
        return
    # The mode of the code cannot be changed from outside.
    if value != (_USER_CODE[lwp.cpu.bits] if name == "cs" else 0x2B):
        raise KernelError(Errno.EIO)


def unpack_regs(lwp: Lwp, data: bytes, bits: int) -> None:
    """Set registers from the start of a user_regs_struct of a data model: EIO at a bad one."""
    size = bits // 8
    for index, name in enumerate(REGS[bits]):
        if (index + 1) * size > len(data):
            return
        value = int.from_bytes(data[index * size : (index + 1) * size], "little")
        write_reg(lwp, name, value)


def _get_fsave(lwp: Lwp) -> bytes:
    return fsave_from_fxsave(lwp.cpu.fxsave)[:_FSAVE]


def _set_fsave(lwp: Lwp, data: bytes) -> None:
    whole = data + _get_fsave(lwp)[len(data) :]
    lwp.cpu.fxsave = fxsave_from_fsave(whole, lwp.cpu.fxsave)


def _get_fxsave(lwp: Lwp) -> bytes:
    return bytes(lwp.cpu.fxsave)


def _set_fxsave(lwp: Lwp, data: bytes) -> None:
    image = data + bytes(lwp.cpu.fxsave)[len(data) :]
    try:
        lwp.cpu.fxsave = checked_fxsave(image)
    except KernelError:
        raise KernelError(Errno.EINVAL) from None


def _get_xstate(lwp: Lwp) -> bytes:
    image = bytearray(lwp.cpu.fxsave)
    struct.pack_into("<Q", image, _XCR0_AT, _XCR0)
    return bytes(image) + struct.pack("<Q56x", _XCR0)


def _set_xstate(lwp: Lwp, data: bytes) -> None:
    if len(data) != _XSTATE:
        raise KernelError(Errno.EFAULT)
    features, *reserved = struct.unpack_from("<8Q", data, FXSAVE)
    if features & ~_XCR0 or any(reserved):
        raise KernelError(Errno.EINVAL)
    image = bytearray(data[:FXSAVE])
    image[_XCR0_AT : _XCR0_AT + 8] = bytes(8)
    _set_fxsave(lwp, bytes(image))


def _get_tls(lwp: Lwp) -> bytes:
    from syscalls.abi.model import ILP32
    from syscalls.abi.registry import default_codec
    from syscalls.handlers.tls import ENTRIES, FIRST_ENTRY, describe
    from syscalls.records.process import UserDesc

    codec = default_codec(UserDesc, ILP32)
    return b"".join(
        codec.pack(describe(FIRST_ENTRY + slot, lwp.cpu.tls[slot])) for slot in range(ENTRIES)
    )


def _set_tls(lwp: Lwp, data: bytes) -> None:
    from syscalls.abi.model import ILP32
    from syscalls.abi.registry import default_codec
    from syscalls.handlers import tls
    from syscalls.records.process import UserDesc

    codec = default_codec(UserDesc, ILP32)
    descs = [codec.unpack(data[at : at + 16]) for at in range(0, len(data) - 15, 16)]
    for desc in descs:
        tls.check(desc)
    for slot, desc in enumerate(descs):
        tls.set_entry(lwp, desc._replace(entry=tls.FIRST_ENTRY + slot))


class Regset:
    """One register set: the size of its elements and all of it, how to read and write it."""

    __slots__ = ("get", "put", "size", "unit")

    def __init__(
        self, unit: int, size: int, get: Callable[[Lwp], bytes], put: Callable[[Lwp, bytes], None]
    ) -> None:
        self.unit = unit
        self.size = size
        self.get = get
        self.put = put


_FX: Final = Regset(8, FXSAVE, _get_fxsave, _set_fxsave)
_FX32: Final = Regset(4, FXSAVE, _get_fxsave, _set_fxsave)
_XSTATE_SET: Final = Regset(8, _XSTATE, _get_xstate, _set_xstate)
#: Sets by the data model of the tracee and their type.
REGSETS: Final[Mapping[int, Mapping[int, Regset]]] = {
    64: {
        NT_PRSTATUS: Regset(
            8, 216, lambda lwp: pack_regs(lwp, 64), lambda lwp, data: unpack_regs(lwp, data, 64)
        ),
        NT_PRFPREG: _FX,
        NT_X86_XSTATE: _XSTATE_SET,
    },
    32: {
        NT_PRSTATUS: Regset(
            4, 68, lambda lwp: pack_regs(lwp, 32), lambda lwp, data: unpack_regs(lwp, data, 32)
        ),
        NT_PRFPREG: Regset(4, _FSAVE, _get_fsave, _set_fsave),
        NT_PRXFPREG: _FX32,
        NT_X86_XSTATE: _XSTATE_SET,
        NT_386_TLS: Regset(16, 48, _get_tls, _set_tls),
    },
}
