"""Unicorn's C interface, reached with ctypes directly.

The Python binding that comes with the library costs about 48 ms to import, most of it for modules
that nothing here needs; loading the same shared library by hand takes 7. Only functions and numbers
of the public header (unicorn/unicorn.h, unicorn/x86.h) appear in this module; a test compares them
with the binding's own constants.
"""

from __future__ import annotations

import ctypes
import os
import sys
from ctypes import byref, c_size_t, c_uint16, c_uint32, c_uint64, c_void_p

from lxemu.errors import EngineError

ARCH_X86 = 4
MODE_64 = 8
PROT_ALL = 7
CPU_EPYC = 35

ERR_OK = 0
ERR_INSN_INVALID = 10

HOOK_INTR = 1
HOOK_INSN = 2
HOOK_BLOCK = 8
INS_SYSCALL = 699
INS_SYSENTER = 700

CTL_USE_EXITS = 4
CTL_EXITS = 6
CTL_CPU_MODEL = 7
CTL_TB_REMOVE_CACHE = 9
CTL_TB_FLUSH = 10
CTL_TLB_FLUSH = 11
CTL_TCG_BUFFER_SIZE = 13

REG_CS, REG_DS, REG_ES, REG_FS, REG_GS, REG_SS = 11, 17, 28, 32, 33, 49
REG_CR0, REG_CR2, REG_CR3, REG_CR4 = 50, 52, 53, 54
REG_RAX, REG_RBP, REG_RBX, REG_RCX, REG_RDI, REG_RDX, REG_RIP = 35, 36, 37, 38, 39, 40, 41
REG_RSI, REG_RSP, REG_R8 = 43, 44, 106
REG_ST0, REG_XMM0 = 114, 122
REG_LDTR = 244
REG_GDTR, REG_FPSW, REG_FPCW, REG_FPTAG, REG_MSR, REG_MXCSR = 243, 31, 246, 247, 248, 249
REG_FS_BASE, REG_GS_BASE, REG_RFLAGS = 250, 251, 253
REG_FIP, REG_FCS, REG_FDP, REG_FDS, REG_FOP = 254, 255, 256, 257, 258

#: The general registers and rip in the order of instruction encoding: the order of `Engine.q`.
GPRS = (
    REG_RAX,
    REG_RCX,
    REG_RDX,
    REG_RBX,
    REG_RSP,
    REG_RBP,
    REG_RSI,
    REG_RDI,
    *range(REG_R8, REG_R8 + 8),
    REG_RIP,
)


class TableRegister(ctypes.Structure):
    """Value of GDTR (uc_x86_mmr)."""

    _fields_ = (
        ("selector", c_uint16),
        ("base", c_uint64),
        ("limit", c_uint32),
        ("flags", c_uint32),
    )


class ModelRegister(ctypes.Structure):
    """A model specific register and its value (uc_x86_msr)."""

    _fields_ = (("number", c_uint32), ("value", c_uint64))


def _library_name() -> str:
    return "libunicorn.2.dylib" if sys.platform == "darwin" else "libunicorn.so.2"


def _open_lazily(path: str) -> ctypes.CDLL:
    """Open a shared library without binding the thousands of functions that it calls in itself.

    ctypes always asks for all of them to be bound, which takes a third of the time.
    """
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.restype = c_void_p
    handle = dlopen(os.fsencode(path), os.RTLD_LAZY)
    return ctypes.CDLL(path, handle=handle)


def load() -> ctypes.CDLL:
    """Load the shared library that lies in the installed `unicorn` package. EngineError."""
    for entry in sys.path:
        path = os.path.join(entry, "unicorn", "lib", _library_name())
        if os.path.exists(path):
            return _open_lazily(path)
    try:
        # A package built against a system library keeps it elsewhere; the binding knows where.
        from unicorn.unicorn_py3 import unicorn as binding
    except ImportError as error:
        raise EngineError("the unicorn package is not installed") from error
    return ctypes.CDLL(binding.uclib._name)


class Binding:
    """One engine handle and the calls on it that raise EngineError when they fail.

    The raw functions are reached through `lib`; they have no argtypes, because converting the
    arguments costs more than most of the calls.
    """

    __slots__ = ("_keep", "lib", "version")

    def __init__(self, lib: ctypes.CDLL) -> None:
        self.lib = lib
        self._keep: list[object] = []
        packed = lib.uc_version(None, None)
        self.version = (packed >> 24 & 0xFF, packed >> 16 & 0xFF, packed >> 8 & 0xFF)

    def check(self, err: int, what: str) -> None:
        """Raise EngineError unless `err` is 0."""
        if err:
            self.lib.uc_strerror.restype = ctypes.c_char_p
            text = self.lib.uc_strerror(err).decode()
            raise EngineError(f"unicorn: {what}: {text}")

    def open(self) -> c_void_p:
        """Make a 64-bit x86 engine."""
        handle = c_void_p()
        self.check(self.lib.uc_open(ARCH_X86, MODE_64, byref(handle)), "uc_open")
        return handle

    def ctl_write(self, handle: c_void_p, control: int, *args: object) -> None:
        """Call uc_ctl in its writing form (UC_CTL_WRITE)."""
        word = c_uint32(control | len(args) << 26 | 1 << 30)
        self.check(self.lib.uc_ctl(handle, word, *args), f"uc_ctl {control}")

    def map_memory(self, handle: c_void_p, address: int, size: int) -> None:
        """Make `size` bytes of host memory at `address` the guest's physical memory from 0."""
        err = self.lib.uc_mem_map_ptr(
            handle, c_uint64(0), c_uint64(size), PROT_ALL, c_void_p(address)
        )
        self.check(err, "uc_mem_map_ptr")

    def hook(
        self,
        handle: c_void_p,
        kind: int,
        func: object,
        data: object,
        first: int,
        last: int,
        *extra: int,
    ) -> int:
        """Add a hook and return its handle. `func` is anything ctypes passes as an address."""
        self._keep += [func, data]
        out = c_uint64()
        bounds = (c_uint64(first), c_uint64(last))
        err = self.lib.uc_hook_add(handle, byref(out), kind, func, data, *bounds, *extra)
        self.check(err, "uc_hook_add")
        return out.value

    def write_reg(self, handle: c_void_p, reg: int, value: int) -> None:
        """Write a register of up to 64 bits."""
        if err := self.lib.uc_reg_write(handle, reg, byref(c_uint64(value))):
            self.check(err, f"write {reg}")

    def read_reg(self, handle: c_void_p, reg: int) -> int:
        """Read a register of up to 64 bits."""
        out = c_uint64()
        if err := self.lib.uc_reg_read(handle, reg, byref(out)):
            self.check(err, f"read {reg}")
        return out.value

    def write_msr(self, handle: c_void_p, number: int, value: int) -> None:
        """Write a model specific register."""
        err = self.lib.uc_reg_write(handle, REG_MSR, byref(ModelRegister(number, value)))
        self.check(err, f"write MSR {number:#x}")

    def write_gdtr(self, handle: c_void_p, base: int, limit: int) -> None:
        """Load GDTR."""
        err = self.lib.uc_reg_write(handle, REG_GDTR, byref(TableRegister(0, base, limit, 0)))
        self.check(err, "write GDTR")

    def write_ldtr(self, handle: c_void_p, base: int, limit: int) -> None:
        """Load LDTR, of a table that is present."""
        value = TableRegister(0x80, base, limit, 0x8200)
        self.check(self.lib.uc_reg_write(handle, REG_LDTR, byref(value)), "write LDTR")

    def context_size(self, handle: c_void_p) -> int:
        """Return the size of a saved context of the library, in bytes."""
        self.lib.uc_context_size.restype = c_size_t
        size: int = self.lib.uc_context_size(handle)
        return size

    def context_alloc(self, handle: c_void_p) -> c_void_p:
        """Return a context object of the library, for uc_context_save and uc_context_restore."""
        out = c_void_p()
        self.check(self.lib.uc_context_alloc(handle, byref(out)), "uc_context_alloc")
        return out
