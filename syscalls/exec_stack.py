"""The first stack of a Linux program: strings, auxiliary vector, environment, arguments.

As fs/exec.c (bprm_mm_init, copy_strings) and fs/binfmt_elf.c (create_elf_tables) lay it out, from
the top:

    a null word (of the kernel's size, 8 bytes in both data models) the path that was executed
    (AT_EXECFN), the environment strings, the argument strings [random shift, then down to a
    multiple of 16] the platform string (AT_PLATFORM), 16 random bytes (AT_RANDOM) [padding]
    auxiliary vector, envp pointers and NULL, argv pointers and NULL, argc   <- stack pointer,
    16-aligned

The order of the vector's entries is Linux's too; programs have been seen to depend on less.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from syscalls.rseq import ALIGN, FEATURE_SIZE

if TYPE_CHECKING:
    from lxemu.brand import StackPlan
    from lxemu.kernel.mm.as_ import As

AT_NULL = 0
AT_PHDR = 3
AT_PHENT = 4
AT_PHNUM = 5
AT_PAGESZ = 6
AT_BASE = 7
AT_FLAGS = 8
AT_ENTRY = 9
AT_UID = 11
AT_EUID = 12
AT_GID = 13
AT_EGID = 14
AT_PLATFORM = 15
AT_HWCAP = 16
AT_CLKTCK = 17
AT_SECURE = 23
AT_RANDOM = 25
AT_HWCAP2 = 26
AT_RSEQ_FEATURE_SIZE = 27
AT_RSEQ_ALIGN = 28
AT_EXECFN = 31
AT_SYSINFO = 32
AT_SYSINFO_EHDR = 33
AT_MINSIGSTKSZ = 51

#: Ticks per second of times(2).
CLKTCK = 100
#: AT_HWCAP is CPUID(1).EDX: x87, TSC, MSR, CX8, CMOV, MMX, FXSR, SSE, SSE2 and the usual company.
HWCAP = 0x078BFBFD
#: AT_HWCAP2 bit 1: the FSGSBASE instructions work in user mode.
HWCAP2 = 0x2
#: Bytes of stack that a signal frame takes at most: the i386 frame, FSAVE and FXSAVE, alignments.
MINSIGSTKSZ = 0x5A0
PLATFORM = {64: b"x86_64", 32: b"i686"}


class LxProcData(NamedTuple):
    """What the brand keeps of a process (`Proc.brand_data`): what /proc and signals need.

    Addresses of the program's parts, its auxiliary vector as bytes, and the vDSO's address.
    """

    start_code: int = 0
    end_code: int = 0
    start_data: int = 0
    end_data: int = 0
    start_brk: int = 0
    start_stack: int = 0
    arg_start: int = 0
    arg_end: int = 0
    env_start: int = 0
    env_end: int = 0
    auxv: bytes = b""
    vdso: int = 0


def write_stack(as_: As, plan: StackPlan, bits: int) -> tuple[int, LxProcData]:
    """Write the stack that `plan` describes, for a program of `bits`.

    Return the stack pointer, and what the process keeps. KernelError when there is no room.
    """
    strings, start, argv, envp, execfn = _place_strings(plan)
    as_.copyout(start, strings)
    pos = (start - plan.shift) & ~15
    block = PLATFORM[bits] + b"\0"
    pos -= len(block)
    platform = pos
    pos -= len(plan.random)
    random = pos
    as_.copyout(random, plan.random + block)
    vector = _auxv(plan, bits, platform=platform, random=random, execfn=execfn)
    words = [len(argv), *argv, 0, *envp, 0, *vector]
    size = bits // 8
    # The pointers grow up from a 16-aligned place below the vector.
    sp = ((pos & -size) - len(words) * size) & ~15
    block = struct.pack(f"<{len(words)}{'Q' if bits == 64 else 'I'}", *words)
    as_.copyout(sp, block)
    env_start = envp[0] if envp else execfn
    return sp, LxProcData(
        *plan.span,
        start_stack=sp,
        arg_start=start,
        arg_end=env_start,
        env_start=env_start,
        env_end=execfn,
        auxv=block[-len(vector) * size :],
        vdso=plan.vdso,
    )


def _place_strings(plan: StackPlan) -> tuple[bytes, int, list[int], list[int], int]:
    """Return the string area, its address, the argv and envp pointers, and the path's address."""
    pos = plan.top - 8 - (sum(len(s) + 1 for s in (*plan.argv, *plan.envp, plan.path)))
    start = pos
    pointers: list[list[int]] = []
    for strings in (plan.argv, plan.envp):
        addresses = []
        for string in strings:
            addresses.append(pos)
            pos += len(string) + 1
        pointers.append(addresses)
    data = b"".join(s + b"\0" for s in (*plan.argv, *plan.envp, plan.path))
    return data, start, pointers[0], pointers[1], pos


def _auxv(
    plan: StackPlan, bits: int, *, platform: int, random: int, execfn: int
) -> tuple[int, ...]:
    """Return the auxiliary vector, AT_NULL included, as a flat row of words."""
    cred = plan.cred
    entries: list[tuple[int, int]] = []
    if plan.vdso:
        if bits == 32:
            entries.append((AT_SYSINFO, plan.sysinfo))
        entries.append((AT_SYSINFO_EHDR, plan.vdso))
    entries += [
        (AT_MINSIGSTKSZ, MINSIGSTKSZ),
        (AT_HWCAP, HWCAP),
        (AT_PAGESZ, 4096),
        (AT_CLKTCK, CLKTCK),
        (AT_PHDR, plan.phdr),
        (AT_PHENT, plan.phent),
        (AT_PHNUM, plan.phnum),
        (AT_BASE, plan.base),
        (AT_FLAGS, 0),
        (AT_ENTRY, plan.entry),
        (AT_UID, cred.ruid),
        (AT_EUID, cred.euid),
        (AT_GID, cred.rgid),
        (AT_EGID, cred.egid),
        (AT_SECURE, int(plan.secure)),
        (AT_RANDOM, random),
        (AT_HWCAP2, HWCAP2),
        (AT_EXECFN, execfn),
        (AT_PLATFORM, platform),
        (AT_RSEQ_FEATURE_SIZE, FEATURE_SIZE),
        (AT_RSEQ_ALIGN, ALIGN),
        (AT_NULL, 0),
    ]
    # A wild entry point of a program with an interpreter is passed on as it comes.
    mask = (1 << bits) - 1
    return tuple(word & mask for entry in entries for word in entry)
