"""Everything that depends on how this version of Unicorn is built. No other module may know it.

Three things are not in the public interface: where the live CPU state (QEMU's CPUX86State, "env")
lies in memory, where in it the words of the last exception are, and that a hook's handle is the
address of a structure with its bounds in it. None of them is taken on trust: offsets come from a
table by version or are searched for, and either way they are checked on every engine before they
are used. What fails the check is not used, and the caller falls back to the public interface.
"""

from __future__ import annotations

import ctypes
import os
import struct
from ctypes import c_uint64
from typing import TYPE_CHECKING, NamedTuple

from lxemu.cpu.binding import GPRS
from lxemu.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxemu.cpu.binding import Binding

    Buffer = bytes | ctypes.Array[ctypes.c_char]

_WORDS = len(GPRS)
_SCAN_UC = 0x4000  # bytes of uc_struct that are searched for the pointer to the CPU
_SCAN_CPU = 0x20000  # bytes behind that pointer that are searched for the registers


class BlobLayout(NamedTuple):
    """Offsets in a saved context of the library (bytes).

    `state` is where the copy of env starts, which starts with the general registers in `GPRS`
    order; the others are relative to `state`.
    """

    state: int
    error_code: int
    is_int: int
    old_exception: int


class LiveLayout(NamedTuple):
    """Where env is: `*(uc + cpu) + env`."""

    cpu: int
    env: int


_BLOBS: dict[tuple[int, int, int], BlobLayout] = {
    (2, 1, 4): BlobLayout(0x28, 0x1508, 0x150C, 0x1578),
}
_LIVE: dict[tuple[int, int, int], LiveLayout] = {(2, 1, 4): LiveLayout(0x1B8, 0x8A50)}

_HOOK_BEGIN, _HOOK_END = 24, 32


def _sentinels(salt: int) -> list[int]:
    """Return a canonical value per register that nothing else in memory is likely to equal."""
    return [0x0000_5EED_0000_0000 | salt << 16 | (i + 1) * 0x0101 for i in range(_WORDS)]


def _plant(binding: Binding, handle: ctypes.c_void_p, salt: int) -> bytes:
    values = _sentinels(salt)
    for reg, value in zip(GPRS, values, strict=True):
        binding.write_reg(handle, reg, value)
    return struct.pack(f"<{_WORDS}Q", *values)


def find_blob(
    binding: Binding, handle: ctypes.c_void_p, save: Callable[[], bytes]
) -> tuple[int, BlobLayout | None]:
    """Return where the registers are in a saved context, and the rest of the layout if it is known.

    `save` returns the bytes of a context saved now.
    """
    pattern = _plant(binding, handle, 1)
    state = save().find(pattern)
    if state < 0:
        raise EngineError("this version of unicorn keeps its registers in a way that is not known")
    known = _BLOBS.get(binding.version)
    return state, known if known is not None and known.state == state else None


def find_base(
    binding: Binding, handle: ctypes.c_void_p, reg: int, save: Callable[[], bytes]
) -> int | None:
    """Return where the base of a segment is in a saved context; None if that is not certain."""
    places: set[int] = set()
    for value in (0x5EED_1122_3344, 0x5EED_5566_7788):
        binding.write_reg(handle, reg, value)
        blob, pattern = save(), struct.pack("<Q", value)
        if blob.count(pattern) != 1:
            return None
        places.add(blob.index(pattern))
    binding.write_reg(handle, reg, 0)
    return places.pop() if len(places) == 1 else None


class SegmentCache(NamedTuple):
    """A segment register as a saved context has it, the selector 8 bytes before the base."""

    selector: int
    base: int
    limit: int
    flags: int

    @staticmethod
    def of(selector: int, descriptor: int) -> SegmentCache:
        """Return what loading `selector` of a descriptor makes of the register."""
        high = descriptor >> 32
        limit = descriptor & 0xFFFF | high & 0xF0000
        if high & 0x800000:
            limit = limit << 12 | 0xFFF
        return SegmentCache(selector, descriptor >> 16 & 0xFFFFFF | high & 0xFF000000, limit, high)

    @staticmethod
    def read(blob: Buffer, base: int) -> SegmentCache:
        """Read the register whose base is at offset `base`."""
        return SegmentCache(*_SEGMENT.unpack_from(blob, base - 8))

    def write(self, blob: Buffer, base: int) -> None:
        """Write it to where the base is at offset `base`."""
        _SEGMENT.pack_into(blob, base - 8, *self)


_SEGMENT = struct.Struct("<I4xQII")
#: Reads (selector,) of a saved context, at the offset of the base less 8.
unpack_selector = struct.Struct("<I").unpack_from


def search_exception_words(state: int, before: bytes, fault: bytes, software: bytes) -> BlobLayout:
    """Find the words of the last exception by what two known exceptions change.

    The three are saved contexts: before any exception, after a page fault by fetching an unmapped
    page in user mode (error code 0x14), and, from the first again, after an `int 0x80`.
    """
    size = len(before) - state

    def word(blob: bytes, offset: int) -> int:
        value: int = struct.unpack_from("<i", blob, state + offset)[0]
        return value

    offsets = range(_WORDS * 8, size - 7, 4)
    old = [
        o for o in offsets if (word(before, o), word(fault, o), word(software, o)) == (-1, 14, -1)
    ]
    errors = [
        o
        for o in offsets
        if (word(fault, o), word(fault, o + 4)) == (0x14, 0)
        and (word(software, o), word(software, o + 4)) == (0, 1)
    ]
    if len(old) != 1 or len(errors) != 1:
        raise EngineError("this version of unicorn keeps exceptions in a way that is not known")
    return BlobLayout(state, errors[0], errors[0] + 4, old[0])


def _read_memory(address: int, size: int) -> bytes:
    """Read our own memory without faulting: b"" where nothing is mapped."""
    try:
        fd = os.open("/proc/self/mem", os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.pread(fd, size, address)
    except (OSError, OverflowError):
        return b""
    finally:
        os.close(fd)


def _is_live(binding: Binding, handle: ctypes.c_void_p, env: int) -> bool:
    """Check that the words at `env` follow the registers. `env` must be readable."""
    for salt in (0x51, 0x52):
        pattern = _plant(binding, handle, salt)
        if ctypes.string_at(env, len(pattern)) != pattern:
            return False
    words = (c_uint64 * _WORDS).from_address(env)
    for index, reg in enumerate(GPRS[:-1]):
        words[index] = value = 0x1000 + index
        if binding.read_reg(handle, reg) != value:
            return False
    return True


def find_env(binding: Binding, handle: ctypes.c_void_p) -> int | None:
    """Return the address of the live CPU state, or None when it cannot be established.

    Overwrites the general registers.
    """
    uc = handle.value
    if uc is None:
        return None
    known = _LIVE.get(binding.version)
    pattern = _plant(binding, handle, 0x50)
    if known is not None:
        cpu = struct.unpack("<Q", _read_memory(uc + known.cpu, 8) or bytes(8))[0]
        env: int = cpu + known.env
        if _read_memory(env, len(pattern)) == pattern and _is_live(binding, handle, env):
            return env
    for cpu in set(_pointers(uc)):
        _plant(binding, handle, 0x50)
        found = _read_memory(cpu, _SCAN_CPU).find(pattern)
        if found >= 0 and _is_live(binding, handle, cpu + found):
            return cpu + found
    return None


def _pointers(base: int) -> list[int]:
    """Return the aligned words behind `base` that could be addresses."""
    data = _read_memory(base, _SCAN_UC)
    words = struct.unpack(f"<{len(data) // 8}Q", data[: len(data) & ~7])
    return [word for word in words if 0x10000 < word < 1 << 47 and not word & 7]


#: Bounds that no address is between, and those that all are (the library reads first > last so).
CLOSED, OPEN = (7, 7), (1, 0)
#: Bounds to make a hook with whose bounds are going to be changed.
PROBE = (0x5EED_0001, 0x5EED_0002)


def hook_bounds(handle: int) -> ctypes.Array[c_uint64] | None:
    """Return the two bounds of a hook that was made with `PROBE`, closed; None if not found.

    The handle of a hook is the address of its structure, so the bounds are at a fixed distance.
    """
    data = _read_memory(handle, _HOOK_END + 8)
    if len(data) < _HOOK_END + 8 or struct.unpack_from("<QQ", data, _HOOK_BEGIN) != PROBE:
        return None
    bounds = (c_uint64 * 2).from_address(handle + _HOOK_BEGIN)
    bounds[0], bounds[1] = CLOSED
    return bounds


class ExitLayout(NamedTuple):
    """Offsets of what ends a run, in uc (the first three) and in the CPU.

    The names in the library: stop_request, invalid_error, no_exit_request; exit_request, and the
    pointer icount_decr_ptr, whose word translated code looks at before each block.
    """

    stopped: int
    error: int
    unchecked: int
    request: int
    counter: int


_EXITS: dict[tuple[int, int, int], ExitLayout] = {
    (2, 1, 4): ExitLayout(0x56D, 0x590, 0x7F2, 0x15, 0x130),
}
#: What a run that the gate ended returns: an error number that the library does not have.
GATE_ERROR = 0x5EED


class ExitWords:
    """The words by which a run is ended from outside between two blocks.

    Translated code looks at the counter before each block and, by a call, after each access to
    memory, which may be in the middle of an instruction. The library leaves the latter out of what
    it translates while `unchecked` is set, so we set it for good: runs end exactly, and accesses
    are faster. The main loop then finds `exit_request` and ends the run as it does when an access
    has failed, by `invalid_error`. stopped: set when a hook has called uc_emu_stop.
    """

    __slots__ = ("_counter", "_error", "_request", "_unchecked", "stopped")

    def __init__(self, uc: int, cpu: int, counter: int, layout: ExitLayout) -> None:
        self.stopped = ctypes.c_uint8.from_address(uc + layout.stopped)
        self._error = ctypes.c_int.from_address(uc + layout.error)
        self._unchecked = ctypes.c_uint8.from_address(uc + layout.unchecked)
        self._request = ctypes.c_uint8.from_address(cpu + layout.request)
        # The upper half: a negative number means "look what there is".
        self._counter = ctypes.c_uint16.from_address(counter + 2)

    def ask(self) -> None:
        """End the run at the next entry of a block. Any thread; no effect when none is going on."""
        self._error.value = GATE_ERROR
        self._request.value = 1
        self._counter.value = 0xFFFF

    def claim(self, binding: Binding, handle: ctypes.c_void_p, cpu: int) -> bool:
        """Check that the library's functions change these very words, and have checks left out.

        No run may be going on. The next one must clear the error number: see `cleared`.
        """
        self.stopped.value = self._request.value = self._counter.value = 0
        binding.lib.cpu_exit(ctypes.c_void_p(cpu))
        seen = (self.stopped.value, self._request.value, self._counter.value)
        self._request.value = self._counter.value = 0
        binding.lib.uc_emu_stop(handle)
        if seen != (0, 1, 0xFFFF) or self.stopped.value != 1:
            return False
        self._unchecked.value = 1
        self._error.value = GATE_ERROR
        return True

    def cleared(self) -> bool:
        """Return whether a run has cleared the error number; if not, put the checks back."""
        good = self._error.value == 0
        if not good:
            self._unchecked.value = 0
        return good


def exit_words(binding: Binding, handle: ctypes.c_void_p) -> ExitWords | None:
    """Return the words that end a run between blocks; None if they are not known for certain.

    Call it before anything is translated.
    """
    layout, live, uc = _EXITS.get(binding.version), _LIVE.get(binding.version), handle.value
    if layout is None or live is None or uc is None or not hasattr(binding.lib, "cpu_exit"):
        return None
    # Two more flags and the one that says that the engine is initialised are beside `unchecked`.
    flags = _read_memory(uc + layout.unchecked - 2, 4)
    if len(flags) != 4 or (flags[0], flags[2], flags[3]) != (0, 0, 1):
        return None
    cpu = struct.unpack("<Q", _read_memory(uc + live.cpu, 8) or bytes(8))[0]
    counter = struct.unpack("<Q", _read_memory(cpu + layout.counter, 8) or bytes(8))[0]
    if not _read_memory(counter, 4):
        return None
    words = ExitWords(uc, cpu, counter, layout)
    return words if words.claim(binding, handle, cpu) else None
