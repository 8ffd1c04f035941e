"""Tracing another thread: ptrace(2) (Linux kernel/ptrace.c, arch/x86/kernel/ptrace.c).

The kernel makes the stops (lxemu/kernel/ptrace.py); here are Linux's requests about a tracee that
has stopped: its memory, registers, signals, and how it runs on. The order of the checks is Linux's.
"""

# ruff: noqa: ARG001 -- a request has all arguments, used or not

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from lxemu.kernel import ptrace as kernel
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.mm import foreign
from lxemu.kernel.ptrace import (
    PR_BRAND,
    PR_JOBCONTROL,
    PR_REQUESTED,
    PR_SIGNALLED,
    PR_SYSENTRY,
    PR_SYSEXIT,
    Event,
    Trace,
)
from lxemu.kernel.signal import CANTMASK, CLD_DUMPED, CLD_EXITED, SI_KERNEL, SIGKILL, SigInfo
from syscalls import regsets, watch
from syscalls.abi import Long, Pid, Ptr, syscall
from syscalls.abi.model import ILP32, LP64
from syscalls.layouts.signal import SIGINFO
from syscalls.signum import FROM_LX, TO_LX, sigset_from_lx, sigset_to_lx

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxemu.kernel.signal import SigQueue

    Request = Callable[[Lwp, Trace, int, int], int]

LX_PTRACE_TRACEME = 0
LX_PTRACE_CONT, LX_PTRACE_KILL, LX_PTRACE_SINGLESTEP = 7, 8, 9
LX_PTRACE_ATTACH, LX_PTRACE_DETACH = 16, 17
LX_PTRACE_SYSCALL = 24
LX_PTRACE_SYSEMU, LX_PTRACE_SYSEMU_SINGLESTEP = 31, 32
LX_PTRACE_SEIZE, LX_PTRACE_INTERRUPT, LX_PTRACE_LISTEN = 0x4206, 0x4207, 0x4208

LX_EVENT_STOP = 128
#: Event -> Linux's number; bit n of the options asks for event n.
EVENTS: Final = {
    Event.FORK: 1,
    Event.VFORK: 2,
    Event.CLONE: 3,
    Event.EXEC: 4,
    Event.VFORK_DONE: 5,
    Event.EXIT: 6,
    Event.FILTER: 7,
}
LX_O_TRACESYSGOOD = 1
LX_O_EXITKILL = 1 << 20
LX_O_SUSPEND_SECCOMP = 1 << 21
_OPTIONS: Final = 0xFF | LX_O_EXITKILL | LX_O_SUSPEND_SECCOMP
LX_SIGTRAP = 5
_AUDIT_ARCH: Final = {64: 0xC000003E, 32: 0x40000003}
#: Index of the arguments of a call in the general registers, by data model.
_ARGS: Final = {64: (7, 6, 2, 10, 8, 9), 32: (3, 1, 2, 6, 7, 5)}


def _eio() -> KernelError:
    return KernelError(Errno.EIO)


def _einval() -> KernelError:
    return KernelError(Errno.EINVAL)


def tracee(trace: Trace) -> Lwp:
    """Return the tracee of a trace that has one; ESRCH."""
    if trace.lwp is None:
        raise KernelError(Errno.ESRCH)
    return trace.lwp


def _signal(data: int) -> int:
    """Return the kernel's number for the signal to pass on (0: none); EIO."""
    if data >= len(FROM_LX):
        raise _eio()
    return FROM_LX[data]


def stop_code(stop: kernel.Stop) -> int:
    """Return what wait(2) shows above the 0x7f of a stop: the signal, and an event above it."""
    sig = TO_LX[stop.sig]
    if stop.why in (PR_SYSENTRY, PR_SYSEXIT):
        return sig | 0x80 if stop.marked else sig
    if stop.why == PR_BRAND and stop.event is not None:
        return sig | EVENTS[stop.event] << 8
    if stop.why in (PR_JOBCONTROL, PR_REQUESTED) and stop.seized:
        return sig | LX_EVENT_STOP << 8
    return sig


# -- beginning ----------------------------------------------------------------------------------


def _set_options(trace: Trace, options: int) -> None:
    trace.options = options
    trace.events = frozenset(event for event, bit in EVENTS.items() if options >> bit & 1)
    trace.mark_calls = bool(options & LX_O_TRACESYSGOOD)
    trace.kill_with_tracer = bool(options & LX_O_EXITKILL)


def _check_options(lwp: Lwp, options: int, error: Errno) -> None:
    if options & ~_OPTIONS:
        raise KernelError(error)
    if options & LX_O_SUSPEND_SECCOMP:
        # Only for checkpointing, which this kernel is built without.
        raise _einval()


def _attach(lwp: Lwp, pid: int, addr: int, data: int, *, seize: bool) -> int:
    target: Lwp | None = lwp.machine.lwp_by_tid.get(pid)
    if target is None:
        if pid not in lwp.machine.procs:
            raise KernelError(Errno.ESRCH)
        raise KernelError(Errno.EPERM)
    if seize:
        if addr:
            raise _eio()
        _check_options(lwp, data, Errno.EIO)
    trace = kernel.attach(lwp, target, seized=seize)
    if seize:
        _set_options(trace, data)
    if target.proc.stopped:
        _await_stop(lwp, trace)
    return 0


def _await_stop(lwp: Lwp, trace: Trace) -> None:
    """Let a job that has stopped show it, so that a wait right after this finds it."""
    disp = lwp.machine.disp
    while trace.stop is None and trace.lwp is not None and disp.runq:
        disp.yield_(lwp)


# -- running on ---------------------------------------------------------------------------------


def _resume(trace: Trace, data: int, *, calls: bool = False, step: bool = False) -> int:
    kernel.resume(trace, _signal(data), calls=calls, step=step)
    return 0


def _cont(lwp: Lwp, trace: Trace, addr: int, data: int) -> int:
    return _resume(trace, data)


def _syscall(lwp: Lwp, trace: Trace, addr: int, data: int) -> int:
    return _resume(trace, data, calls=True)


def _singlestep(lwp: Lwp, trace: Trace, addr: int, data: int) -> int:
    return _resume(trace, data, step=True)


def _sysemu(lwp: Lwp, trace: Trace, addr: int, data: int) -> int:
    kernel.resume(trace, _signal(data), emulate=True)
    return 0


def _sysemu_step(lwp: Lwp, trace: Trace, addr: int, data: int) -> int:
    kernel.resume(trace, _signal(data), emulate=True, step=True)
    return 0


def _kill(lwp: Lwp, trace: Trace, addr: int, data: int) -> int:
    proc = trace.proc
    lwp.machine.sigtoproc(proc, SIGKILL, SigInfo(SIGKILL, SI_KERNEL))
    return 0


def _detach(lwp: Lwp, trace: Trace, addr: int, data: int) -> int:
    kernel.detach(trace, _signal(data))
    return 0


def _interrupt(lwp: Lwp, trace: Trace, addr: int, data: int) -> int:
    if not trace.seized:
        raise _eio()
    kernel.request_stop(trace)
    return 0


def _listen(lwp: Lwp, trace: Trace, addr: int, data: int) -> int:
    stop = trace.stop
    if not trace.seized or stop is None or stop.why not in (PR_JOBCONTROL, PR_REQUESTED):
        raise _eio()
    kernel.listen(trace)
    return 0


def _setoptions(lwp: Lwp, trace: Trace, addr: int, data: int) -> int:
    _check_options(lwp, data, Errno.EINVAL)
    _set_options(trace, data)
    return 0


# -- memory and registers -----------------------------------------------------------------------


def _put_word(lwp: Lwp, addr: int, value: int) -> None:
    size = lwp.brand.bits // 8
    lwp.as_.copyout(addr, (value & (1 << lwp.brand.bits) - 1).to_bytes(size, "little"))


def _peek(lwp: Lwp, trace: Trace, addr: int, data: int) -> int:
    size = lwp.brand.bits // 8
    word = foreign.read(tracee(trace).as_, addr, size)
    if len(word) != size:
        raise _eio()
    lwp.as_.copyout(data, word)
    return 0


def _poke(lwp: Lwp, trace: Trace, addr: int, data: int) -> int:
    size = lwp.brand.bits // 8
    if foreign.write(tracee(trace).as_, addr, data.to_bytes(size, "little")) != size:
        raise _eio()
    return 0


#: struct user: its size, where the debug registers are, and the size of a word, by data model.
_USER: Final = {64: (912, 848, 8), 32: (284, 252, 4)}


def _peekuser(lwp: Lwp, trace: Trace, addr: int, data: int) -> int:
    bits = lwp.brand.bits
    size, debug, word = _USER[bits]
    if addr & (word - 1) or addr >= size:
        raise _eio()
    names = regsets.REGS[bits]
    value = 0
    if addr < len(names) * word:
        value = regsets.read_all(tracee(trace))[names[addr // word]]
    elif debug <= addr < debug + 8 * word:
        value = watch.read(trace, (addr - debug) // word)
    _put_word(lwp, data, value)
    return 0


def _pokeuser(lwp: Lwp, trace: Trace, addr: int, data: int) -> int:
    bits = lwp.brand.bits
    size, debug, word = _USER[bits]
    if addr & (word - 1) or addr >= size:
        raise _eio()
    names = regsets.REGS[bits]
    if addr < len(names) * word:
        regsets.write_reg(tracee(trace), names[addr // word], data)
    elif debug <= addr < debug + 8 * word:
        watch.write(trace, (addr - debug) // word, data)
    elif bits == 64:
        raise _eio()
    return 0


def _set_of(lwp: Lwp, kind: int) -> regsets.Regset:
    return regsets.REGSETS[lwp.brand.bits][kind]


def _get_set(kind: int) -> Request:
    def get(lwp: Lwp, trace: Trace, addr: int, data: int) -> int:
        lwp.as_.copyout(data, _set_of(lwp, kind).get(tracee(trace)))
        return 0

    return get


def _put_set(kind: int) -> Request:
    def put(lwp: Lwp, trace: Trace, addr: int, data: int) -> int:
        regset = _set_of(lwp, kind)
        regset.put(tracee(trace), lwp.as_.copyin(data, regset.size))
        return 0

    return put


def _iovec(lwp: Lwp, addr: int) -> tuple[int, int]:
    if lwp.brand.bits == 64:
        base, size = struct.unpack("<QQ", lwp.as_.copyin(addr, 16))
    else:
        base, size = struct.unpack("<II", lwp.as_.copyin(addr, 8))
    return base, size


def _regset(lwp: Lwp, trace: Trace, addr: int, data: int, *, write: bool) -> int:
    """Move a register set; the length in the iovec becomes that of what was moved."""
    target = tracee(trace)
    base, size = _iovec(lwp, data)
    regset = regsets.REGSETS[target.cpu.bits].get(addr)
    if regset is None or size % regset.unit:
        raise _einval()
    size = min(size, regset.size)
    if write:
        regset.put(target, lwp.as_.copyin(base, size))
    else:
        lwp.as_.copyout(base, regset.get(target)[:size])
    _put_word(lwp, data + lwp.brand.bits // 8, size)
    return 0


def _getregset(lwp: Lwp, trace: Trace, addr: int, data: int) -> int:
    return _regset(lwp, trace, addr, data, write=False)


def _setregset(lwp: Lwp, trace: Trace, addr: int, data: int) -> int:
    return _regset(lwp, trace, addr, data, write=True)


def _get_thread_area(lwp: Lwp, trace: Trace, addr: int, data: int) -> int:
    from syscalls.abi import Out, UserDesc, pointer
    from syscalls.handlers import tls

    desc = tls.describe(addr, tracee(trace).cpu.tls[tls.slot_of(addr)])
    out: Out[UserDesc] = pointer(Out, lwp, UserDesc, data)
    out.put(desc)
    return 0


def _set_thread_area(lwp: Lwp, trace: Trace, addr: int, data: int) -> int:
    from syscalls.abi import In, UserDesc, pointer
    from syscalls.handlers import tls

    area: In[UserDesc] = pointer(In, lwp, UserDesc, data)
    desc = area.get()
    tls.check(desc)
    tls.set_entry(tracee(trace), desc._replace(entry=addr))
    return 0


def _arch_prctl(lwp: Lwp, trace: Trace, addr: int, data: int) -> int:
    """Set or read the bases of FS and GS (do_arch_prctl_64): EINVAL, EPERM, EFAULT."""
    registers = {0x1001: "gs", 0x1002: "fs", 0x1003: "fs", 0x1004: "gs"}
    register = registers.get(data)
    if register is None:
        raise _einval()
    target = tracee(trace)
    if data in (0x1003, 0x1004):
        lwp.as_.store_u64(addr, getattr(target.cpu, register + "_base"))
        return 0
    from syscalls.handlers.tls import set_base

    set_base(target, register, addr)
    return 0


# -- signals and what a stop is about -----------------------------------------------------------


def _pack_info(lwp: Lwp, trace: Trace, info: SigInfo) -> bytes:
    """Return a siginfo in the layout of the tracer."""
    models = {64: LP64, 32: ILP32}
    mine, theirs = lwp.brand.bits, tracee(trace).cpu.bits
    if info.raw is not None and mine != theirs:
        info = SIGINFO.codec(models[theirs]).unpack(info.raw)._replace(raw=None)
    data: bytes = SIGINFO.codec(models[mine]).pack(info)
    return data


def _stop_info(lwp: Lwp, trace: Trace) -> bytes:
    """Return the siginfo of the stop; EINVAL for a stop of the job that has none."""
    stop = trace.stop
    if trace.info is not None:
        return _pack_info(lwp, trace, trace.info)
    if stop is None or (stop.why == PR_JOBCONTROL and not stop.seized):
        raise _einval()
    code = stop_code(stop)
    wide = lwp.brand.bits == 64
    head = struct.pack("<iii4x" if wide else "<iii", TO_LX[stop.sig], 0, code)
    return (head + struct.pack("<iI", trace.tid, trace.proc.cred.ruid)).ljust(128, b"\0")


def _getsiginfo(lwp: Lwp, trace: Trace, addr: int, data: int) -> int:
    lwp.as_.copyout(data, _stop_info(lwp, trace))
    return 0


def _setsiginfo(lwp: Lwp, trace: Trace, addr: int, data: int) -> int:
    model = LP64 if lwp.brand.bits == 64 else ILP32
    info: SigInfo = SIGINFO.codec(model).unpack(lwp.as_.copyin(data, 128))
    _stop_info(lwp, trace)
    if lwp.brand.bits != tracee(trace).cpu.bits:
        info = info._replace(raw=None)
    if trace.stop is not None and trace.stop.why == PR_SIGNALLED:
        trace.info = info
    return 0


def _peeksiginfo(lwp: Lwp, trace: Trace, addr: int, data: int) -> int:
    """Copy out pending signals from the `off`th on, of the thread or of its process."""
    off, flags, count = struct.unpack("<QIi", lwp.as_.copyin(addr, 16))
    if flags & ~1 or count < 0:
        raise _einval()
    target = tracee(trace)
    queue: SigQueue = trace.proc.sigq if flags & 1 else target.sigq
    infos = [info for sig in queue.infos for info in queue.infos[sig]]
    done = 0
    for info in infos[off : off + count]:
        try:
            lwp.as_.copyout(data + 128 * done, _pack_info(lwp, trace, info))
        except KernelError:
            if done:
                break
            raise
        done += 1
    return done


def _getsigmask(lwp: Lwp, trace: Trace, addr: int, data: int) -> int:
    if addr != 8:
        raise _einval()
    target = tracee(trace)
    mask = target.oldmask if target.tmpmask_set else target.sigmask
    lwp.as_.copyout(data, sigset_to_lx(mask).to_bytes(8, "little"))
    return 0


def _setsigmask(lwp: Lwp, trace: Trace, addr: int, data: int) -> int:
    if addr != 8:
        raise _einval()
    mask = sigset_from_lx(int.from_bytes(lwp.as_.copyin(data, 8), "little")) & ~CANTMASK
    target = tracee(trace)
    target.tmpmask_set = False
    target.set_sigmask(mask)
    return 0


def message_of(trace: Trace) -> int:
    """Return what PTRACE_GETEVENTMSG does: a thread's id, a wait status, the side of a call."""
    if trace.stop is not None and trace.stop.why in (PR_SYSENTRY, PR_SYSEXIT):
        return 1 if trace.stop.why == PR_SYSENTRY else 2
    if isinstance(trace.message, int):
        return trace.message
    code, status = trace.message
    if code == CLD_EXITED:
        return (status & 0xFF) << 8
    return TO_LX[status] | (0x80 if code == CLD_DUMPED else 0)


def _geteventmsg(lwp: Lwp, trace: Trace, addr: int, data: int) -> int:
    _put_word(lwp, data, message_of(trace))
    return 0


def _get_syscall_info(lwp: Lwp, trace: Trace, addr: int, data: int) -> int:
    """Describe the call that the tracee is at; return the whole size, `addr` bytes are stored."""
    target, stop = tracee(trace), trace.stop
    regs = regsets.read_all(target)
    words = target.cpu.words
    bits = target.call_bits
    mask = (1 << bits) - 1
    op, tail = 0, b""
    why = stop.why if stop is not None else 0
    args = [words[index] & mask for index in _ARGS[bits]]
    if why == PR_SYSENTRY and trace.mark_calls:
        op, tail = 1, struct.pack("<7Q", target.syscall_nr & 0xFFFFFFFFFFFFFFFF, *args)
    elif why == PR_SYSEXIT and trace.mark_calls:
        value = regs["rax"]
        width = target.cpu.bits
        value -= value >> (width - 1) << width
        op, tail = 2, struct.pack("<qB", value, -4095 <= value < 0)
    elif stop is not None and stop.event is Event.FILTER:
        op = 3
        nr = target.syscall_nr & 0xFFFFFFFFFFFFFFFF
        tail = struct.pack("<7QI", nr, *args, message_of(trace))
    head = struct.pack("<B3xIQQ", op, _AUDIT_ARCH[bits], regs["rip"], regs["rsp"])
    info = head + tail
    lwp.as_.copyout(data, info[: min(addr, len(info))])
    return len(info)


_COMMON: Final[dict[int, Request]] = {
    **dict.fromkeys((1, 2), _peek),
    3: _peekuser,
    **dict.fromkeys((4, 5), _poke),
    6: _pokeuser,
    LX_PTRACE_CONT: _cont,
    LX_PTRACE_KILL: _kill,
    LX_PTRACE_SINGLESTEP: _singlestep,
    12: _get_set(regsets.NT_PRSTATUS),
    13: _put_set(regsets.NT_PRSTATUS),
    14: _get_set(regsets.NT_PRFPREG),
    15: _put_set(regsets.NT_PRFPREG),
    LX_PTRACE_DETACH: _detach,
    21: _setoptions,
    LX_PTRACE_SYSCALL: _syscall,
    25: _get_thread_area,
    26: _set_thread_area,
    LX_PTRACE_SYSEMU: _sysemu,
    LX_PTRACE_SYSEMU_SINGLESTEP: _sysemu_step,
    0x4200: _setoptions,
    0x4201: _geteventmsg,
    0x4202: _getsiginfo,
    0x4203: _setsiginfo,
    0x4204: _getregset,
    0x4205: _setregset,
    LX_PTRACE_INTERRUPT: _interrupt,
    LX_PTRACE_LISTEN: _listen,
    0x4209: _peeksiginfo,
    0x420A: _getsigmask,
    0x420B: _setsigmask,
    0x420E: _get_syscall_info,
}
_REQUESTS: Final[dict[int, dict[int, Request]]] = {
    64: {**_COMMON, 30: _arch_prctl},
    32: {
        **_COMMON,
        18: _get_set(regsets.NT_PRXFPREG),
        19: _put_set(regsets.NT_PRXFPREG),
    },
}


@syscall
def ptrace(lwp: Lwp, request: Long, pid: Pid, addr: Ptr, data: Ptr) -> int:
    """Trace another thread (ptrace(2)): EIO, EPERM, ESRCH, EFAULT, EINVAL.

    ESRCH for a thread that the caller does not trace or that has not stopped. Deviation: there are
    no checkpoints (PTRACE_O_SUSPEND_SECCOMP) and no block steps.
    """
    if request == LX_PTRACE_TRACEME:
        kernel.trace_me(lwp)
        return 0
    if request in (LX_PTRACE_ATTACH, LX_PTRACE_SEIZE):
        return _attach(lwp, pid, addr, data, seize=request == LX_PTRACE_SEIZE)
    target: Lwp | None = lwp.machine.lwp_by_tid.get(pid)
    trace = target.trace if target is not None else None
    if trace is None or trace.tracer is not lwp:
        raise KernelError(Errno.ESRCH)
    running = trace.stop is None or trace.listening
    if running and request not in (LX_PTRACE_KILL, LX_PTRACE_INTERRUPT):
        raise KernelError(Errno.ESRCH)
    action = _REQUESTS[lwp.brand.bits].get(request)
    if action is None:
        raise _eio()
    return action(lwp, trace, addr, data)
