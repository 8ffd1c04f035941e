"""Attributes of processes and threads.

Prctl(2), arch_prctl(2), personality(2), set_thread_area(2)
"""

# ruff: noqa: ARG001 -- a handler has the C arguments, used or not

from __future__ import annotations

from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from syscalls.abi import (
    ArchPrctlCode,
    InOut,
    PersonalityWord,
    PrctlOption,
    Ptr,
    ULong,
    UserDesc,
    syscall,
)
from syscalls.abi.pointers import copyin_string
from syscalls.handlers import tls
from syscalls.handlers.prctl_privs import OPERATIONS, Args, Operation
from syscalls.signum import FROM_LX, TO_LX

LX_PR_SET_PDEATHSIG = 1
LX_PR_GET_PDEATHSIG = 2
LX_PR_GET_DUMPABLE = 3
LX_PR_SET_DUMPABLE = 4
LX_PR_GET_TIMING = 13
LX_PR_SET_TIMING = 14
LX_PR_SET_NAME = 15
LX_PR_GET_NAME = 16
LX_PR_GET_SECCOMP = 21
LX_PR_SET_SECCOMP = 22
LX_PR_GET_TSC = 25
LX_PR_SET_TSC = 26
LX_PR_SET_TIMERSLACK = 29
LX_PR_GET_TIMERSLACK = 30
LX_PR_SET_CHILD_SUBREAPER = 36
LX_PR_GET_CHILD_SUBREAPER = 37
LX_PR_SET_NO_NEW_PRIVS = 38
LX_PR_GET_NO_NEW_PRIVS = 39
LX_PR_GET_TID_ADDRESS = 40
LX_PR_SET_THP_DISABLE = 41
LX_PR_GET_THP_DISABLE = 42
LX_PR_GET_SPECULATION_CTRL = 52
LX_PR_SET_SPECULATION_CTRL = 53
LX_PR_GET_AUXV = 0x41555856
LX_PR_SET_VMA = 0x53564D41
LX_PR_SPEC_STORE_BYPASS, LX_PR_SPEC_L1D_FLUSH = 0, 2
LX_PR_SPEC_NOT_AFFECTED = 0
LX_PR_TSC_ENABLE, LX_PR_TSC_SIGSEGV = 1, 2
LX_PR_SET_VMA_ANON_NAME = 0

LX_TASK_COMM_LEN = 16
LX_ANON_VMA_NAME_MAX = 80
_NAME_FORBIDS = frozenset(b"\\`$[]")


def _einval() -> KernelError:
    return KernelError(Errno.EINVAL)


def _put_int(lwp: Lwp, addr: int, value: int) -> int:
    lwp.as_.store_u32(addr, value & 0xFFFFFFFF)
    return 0


def _set_pdeathsig(lwp: Lwp, args: Args) -> int:
    if args[0] >= len(FROM_LX):
        raise _einval()
    lwp.proc.pdeathsig = FROM_LX[args[0]]
    return 0


def _get_pdeathsig(lwp: Lwp, args: Args) -> int:
    return _put_int(lwp, args[0], TO_LX[lwp.proc.pdeathsig])


def _set_dumpable(lwp: Lwp, args: Args) -> int:
    if args[0] not in (0, 1):
        raise _einval()
    lwp.proc.dumpable = args[0]
    return 0


def _set_name(lwp: Lwp, args: Args) -> int:
    name = bytearray()
    while len(name) < LX_TASK_COMM_LEN - 1:
        char = lwp.as_.load_u8(args[0] + len(name))
        if not char:
            break
        name.append(char)
    lwp.name = bytes(name)
    if lwp.tid == lwp.proc.pid:
        lwp.proc.comm = lwp.name
    return 0


def _get_name(lwp: Lwp, args: Args) -> int:
    lwp.as_.copyout(args[0], lwp.name[: LX_TASK_COMM_LEN - 1].ljust(LX_TASK_COMM_LEN, b"\0"))
    return 0


def _set_timerslack(lwp: Lwp, args: Args) -> int:
    lwp.timerslack = args[0] or lwp.default_slack
    return 0


def _set_subreaper(lwp: Lwp, args: Args) -> int:
    lwp.proc.subreaper = bool(args[0])
    return 0


def _set_no_new_privs(lwp: Lwp, args: Args) -> int:
    if args != (1, 0, 0, 0):
        raise _einval()
    cred = lwp.proc.cred
    lwp.proc.cred = cred.with_(no_new_privs=True, privs=cred.privs)
    return 0


def _get_no_new_privs(lwp: Lwp, args: Args) -> int:
    if any(args):
        raise _einval()
    return int(lwp.proc.cred.no_new_privs)


def _get_tid_address(lwp: Lwp, args: Args) -> int:
    if lwp.brand.bits == 64:
        lwp.as_.store_u64(args[0], lwp.clear_child_tid)
    else:
        lwp.as_.store_u32(args[0], lwp.clear_child_tid)
    return 0


def _get_thp_disable(lwp: Lwp, args: Args) -> int:
    if any(args):
        raise _einval()
    return int(lwp.proc.large_pages_off)


def _set_thp_disable(lwp: Lwp, args: Args) -> int:
    """Keep the process from large pages, which it never gets here anyway."""
    if any(args[1:]):
        raise _einval()
    lwp.proc.large_pages_off = bool(args[0])
    return 0


def _get_speculation(lwp: Lwp, args: Args) -> int:
    """Tell that the processor does not speculate, so no flaw of that kind affects it."""
    if any(args[1:]):
        raise _einval()
    if not LX_PR_SPEC_STORE_BYPASS <= args[0] <= LX_PR_SPEC_L1D_FLUSH:
        raise KernelError(Errno.ENODEV)
    return LX_PR_SPEC_NOT_AFFECTED


def _set_speculation(lwp: Lwp, args: Args) -> int:
    if any(args[2:]):
        raise _einval()
    known = LX_PR_SPEC_STORE_BYPASS <= args[0] <= LX_PR_SPEC_L1D_FLUSH
    raise KernelError(Errno.ENXIO if known else Errno.ENODEV)


def _get_auxv(lwp: Lwp, args: Args) -> int:
    """Copy out the auxiliary vector, as much as there is room for; the result is its whole size."""
    if any(args[2:]):
        raise _einval()
    vector: bytes = lwp.proc.brand_data.auxv
    lwp.as_.copyout(args[0], vector[: args[1]])
    return len(vector)


def _get_seccomp(lwp: Lwp, args: Args) -> int:
    # Every program asks arch_prctl of this module, hardly any filters: they start sooner.
    from syscalls.seccomp import mode_of

    return mode_of(lwp)


def _set_seccomp(lwp: Lwp, args: Args) -> int:
    from syscalls.handlers.seccomp_ import prctl_set

    return prctl_set(lwp, args[0], args[1])


def _timing(lwp: Lwp, args: Args) -> int:
    if args[0]:
        raise _einval()
    return 0


def _set_tsc(lwp: Lwp, args: Args) -> int:
    """Let the time stamp counter be read, or not: rdtsc is then SIGSEGV."""
    if args[0] not in (LX_PR_TSC_ENABLE, LX_PR_TSC_SIGSEGV):
        raise _einval()
    lwp.cpu.set_tsc(args[0] == LX_PR_TSC_ENABLE)
    return 0


def _get_tsc(lwp: Lwp, args: Args) -> int:
    return _put_int(lwp, args[0], LX_PR_TSC_ENABLE if lwp.cpu.tsc else LX_PR_TSC_SIGSEGV)


def _set_vma(lwp: Lwp, args: Args) -> int:
    """Name anonymous memory; the name shows in /proc/PID/maps."""
    kind, start, size, pointer = args
    if kind != LX_PR_SET_VMA_ANON_NAME:
        raise _einval()
    name = None
    if pointer:
        name = copyin_string(lwp.as_, pointer, LX_ANON_VMA_NAME_MAX, Errno.EINVAL)
        if any(not 0x20 <= char < 0x7F or char in _NAME_FORBIDS for char in name):
            raise _einval()
        name = b"[anon:" + name + b"]"
    lwp.as_.setname(start, size, name)
    return 0


_OPERATIONS: dict[int, Operation] = {
    LX_PR_SET_PDEATHSIG: _set_pdeathsig,
    LX_PR_GET_PDEATHSIG: _get_pdeathsig,
    LX_PR_GET_DUMPABLE: lambda lwp, _args: lwp.proc.dumpable,
    LX_PR_SET_DUMPABLE: _set_dumpable,
    **OPERATIONS,
    LX_PR_GET_TIMING: lambda _lwp, _args: 0,
    LX_PR_SET_TIMING: _timing,
    LX_PR_SET_NAME: _set_name,
    LX_PR_GET_NAME: _get_name,
    LX_PR_GET_SECCOMP: _get_seccomp,
    LX_PR_SET_SECCOMP: _set_seccomp,
    LX_PR_GET_TSC: _get_tsc,
    LX_PR_SET_TSC: _set_tsc,
    LX_PR_SET_TIMERSLACK: _set_timerslack,
    LX_PR_GET_TIMERSLACK: lambda lwp, _args: lwp.timerslack,
    LX_PR_SET_CHILD_SUBREAPER: _set_subreaper,
    LX_PR_GET_CHILD_SUBREAPER: lambda lwp, args: _put_int(lwp, args[0], int(lwp.proc.subreaper)),
    LX_PR_SET_NO_NEW_PRIVS: _set_no_new_privs,
    LX_PR_GET_NO_NEW_PRIVS: _get_no_new_privs,
    LX_PR_GET_TID_ADDRESS: _get_tid_address,
    LX_PR_SET_THP_DISABLE: _set_thp_disable,
    LX_PR_GET_THP_DISABLE: _get_thp_disable,
    LX_PR_GET_SPECULATION_CTRL: _get_speculation,
    LX_PR_SET_SPECULATION_CTRL: _set_speculation,
    LX_PR_GET_AUXV: _get_auxv,
    LX_PR_SET_VMA: _set_vma,
}


@syscall
def prctl(lwp: Lwp, option: PrctlOption, arg2: ULong, arg3: ULong, arg4: ULong, arg5: ULong) -> int:
    """Read or set an attribute of the process or thread (prctl(2)): EINVAL, EFAULT, EPERM.

    Deviation: options without a meaning here (machine checks, PR_SET_MM …) are
    EINVAL, as in a kernel built without them.
    """
    operation = _OPERATIONS.get(option)
    if operation is None:
        lwp.machine.unsupported(lwp, "prctl", f"option {option:#x}")
        raise _einval()
    return operation(lwp, (arg2, arg3, arg4, arg5))


# -- the architecture ---------------------------------------------------------------------------

LX_ARCH_SET_GS, LX_ARCH_SET_FS, LX_ARCH_GET_FS, LX_ARCH_GET_GS = 0x1001, 0x1002, 0x1003, 0x1004
LX_ARCH_GET_CPUID, LX_ARCH_SET_CPUID = 0x1011, 0x1012


@syscall
def arch_prctl(lwp: Lwp, code: ArchPrctlCode, addr: Ptr) -> int:
    """Read or set the base of FS or GS (arch_prctl(2)): EPERM beyond user space, EFAULT, EINVAL."""
    if code == LX_ARCH_GET_CPUID:
        return 1
    if code == LX_ARCH_SET_CPUID:
        raise KernelError(Errno.ENODEV)
    if lwp.brand.bits == 32:
        raise _einval()
    if code == LX_ARCH_SET_FS:
        tls.set_base(lwp, "fs", addr)
    elif code == LX_ARCH_SET_GS:
        tls.set_base(lwp, "gs", addr)
    elif code == LX_ARCH_GET_FS:
        lwp.as_.store_u64(addr, lwp.cpu.fs_base)
    elif code == LX_ARCH_GET_GS:
        lwp.as_.store_u64(addr, lwp.cpu.gs_base)
    else:
        raise _einval()
    return 0


@syscall
def set_thread_area(lwp: Lwp, u_info: InOut[UserDesc]) -> int:
    """Set a thread-local segment (set_thread_area(2)): EFAULT, EINVAL, ESRCH when all are taken."""
    given = u_info.get()
    tls.check(given)
    chosen = tls.free_entry(lwp, given)
    if chosen.entry != given.entry:
        lwp.as_.store_u32(u_info.addr, chosen.entry)
    tls.set_entry(lwp, chosen)
    return 0


@syscall
def get_thread_area(lwp: Lwp, u_info: InOut[UserDesc]) -> int:
    """Read a thread-local segment (get_thread_area(2)): EFAULT, EINVAL."""
    entry = u_info.get().entry
    u_info.put(tls.describe(entry, lwp.cpu.tls[tls.slot_of(entry)]))
    return 0


@syscall
def personality(lwp: Lwp, persona: PersonalityWord) -> int:
    """Set the execution domain and return the old one; 0xffffffff only asks (personality(2))."""
    proc = lwp.proc
    old = proc.personality
    if persona != 0xFFFFFFFF:
        proc.personality = persona
    return old
