"""Signals.

Actions, masks, waiting and sending (signal(7), sigaction(2), kill(2), sigaltstack(2)).

Numbers and sets arrive as the kernel's. The order of the checks is that of Linux kernel/signal.c.
"""

# ruff: noqa: ARG001 -- a handler has the C arguments, used or not
# ruff: noqa: D402 -- a summary ends with the name of its manual page

from __future__ import annotations

import struct

from lxemu.kernel import sig as ksig
from lxemu.kernel.cred import hasprocperm
from lxemu.kernel.cv import CondVar
from lxemu.kernel.errno import Errno, Interrupted, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.proc import Proc
from lxemu.kernel.session import pgfind
from lxemu.kernel.signal import (
    CANTMASK,
    SA_NODEFER,
    SA_RESETHAND,
    SI_LWP,
    SIG_DFL,
    SIGCONT,
    SIGKILL,
    SIGSTOP,
    SS_AUTODISARM,
    SS_DISABLE,
    SS_ONSTACK,
    SigAction,
    SigInfo,
)
from syscalls.abi import (
    In,
    Int,
    OldSigMask,
    OldSigSet,
    Out,
    Pid,
    Ptr,
    SigAny,
    SigSet,
    Size,
    syscall,
)
from syscalls.records.signal import OldSigAction, StackT
from syscalls.records.time import Timespec
from syscalls.signum import TO_LX, sigset_from_lx, sigset_to_lx

LX_SIG_BLOCK, LX_SIG_UNBLOCK, LX_SIG_SETMASK = 0, 1, 2
LX_SIGSET_SIZE = 8
LX_MINSIGSTKSZ = 2048
#: Kernel bits of Linux signals 1 to 32, which the one-word calls know.
_FIRST_WORD = sigset_from_lx(0xFFFFFFFF)
_PID_INT_MIN = -(1 << 31)


# -- actions ------------------------------------------------------------------------------------


def set_action(proc: Proc, sig: int, action: SigAction | None) -> SigAction:
    """Set the action of `sig` and return the old one; EINVAL for no signal, SIGKILL and SIGSTOP."""
    if sig < 1 or (action is not None and CANTMASK >> (sig - 1) & 1):
        raise KernelError(Errno.EINVAL)
    old = proc.sigacts[sig]
    if action is not None:
        handler, flags, mask, restorer = action
        proc.sigacts[sig] = SigAction(handler, flags, mask & ~CANTMASK, restorer)
        if ksig.sig_ignored(proc, sig):
            # POSIX 2.4.3: a pending signal that becomes ignored is discarded, blocked or not.
            proc.sigq.discard(1 << (sig - 1))
            for lwp in proc.lwps:
                lwp.sigq.discard(1 << (sig - 1))
    return old


@syscall
def rt_sigaction(
    lwp: Lwp, signum: SigAny, act: In[SigAction], oldact: Out[SigAction], sigsetsize: Size
) -> int:
    """Examine and change a signal action (sigaction(2)): EINVAL, EFAULT."""
    if sigsetsize != LX_SIGSET_SIZE:
        raise KernelError(Errno.EINVAL)
    old = set_action(lwp.proc, signum, act.get_or_none())
    oldact.put_if(old)
    return 0


@syscall
def sigaction(lwp: Lwp, signum: SigAny, act: In[OldSigAction], oldact: Out[OldSigAction]) -> int:
    """Examine and change a signal action, one-word mask (the first i386 sigaction)."""
    old = set_action(lwp.proc, signum, act.get_or_none())
    oldact.put_if(OldSigAction(*old))
    return 0


@syscall
def signal(lwp: Lwp, signum: SigAny, handler: Ptr) -> int:
    """Set a handler with System V semantics and return the old one (i386 signal(2))."""
    return set_action(lwp.proc, signum, SigAction(handler, SA_RESETHAND | SA_NODEFER)).handler


# -- masks --------------------------------------------------------------------------------------


def change_mask(lwp: Lwp, how: int, mask: int) -> None:
    """Apply a sigprocmask operation to the blocked set; EINVAL for an unknown one."""
    if how == LX_SIG_BLOCK:
        lwp.set_sigmask(lwp.sigmask | mask)
    elif how == LX_SIG_UNBLOCK:
        lwp.set_sigmask(lwp.sigmask & ~mask)
    elif how == LX_SIG_SETMASK:
        lwp.set_sigmask(mask)
    else:
        raise KernelError(Errno.EINVAL)


@syscall
def rt_sigprocmask(
    lwp: Lwp, how: Int, nset: In[SigSet], oset: Out[SigSet], sigsetsize: Size
) -> int:
    """Examine and change blocked signals (sigprocmask(2)): EINVAL, EFAULT."""
    if sigsetsize != LX_SIGSET_SIZE:
        raise KernelError(Errno.EINVAL)
    old = lwp.sigmask
    mask = nset.get_or_none()
    if mask is not None:
        change_mask(lwp, how, mask)
    oset.put_if(old)
    return 0


@syscall
def sigprocmask(lwp: Lwp, how: Int, nset: In[OldSigSet], oset: Out[OldSigSet]) -> int:
    """Examine and change blocked signals 1 to 32 (i386 sigprocmask): EINVAL, EFAULT."""
    old = lwp.sigmask
    if nset:
        mask = nset.get()
        if how == LX_SIG_SETMASK:
            mask |= old & ~_FIRST_WORD
        change_mask(lwp, how, mask)
    oset.put_if(old)
    return 0


@syscall
def sgetmask(lwp: Lwp) -> int:
    """Return the blocked set, one word (i386 sgetmask(2))."""
    return sigset_to_lx(lwp.sigmask) & 0xFFFFFFFF


@syscall
def ssetmask(lwp: Lwp, mask: OldSigMask) -> int:
    """Block exactly `mask` and return the old set, one word (i386 ssetmask(2))."""
    old = lwp.sigmask
    lwp.set_sigmask(mask)
    return sigset_to_lx(old) & 0xFFFFFFFF


@syscall
def rt_sigpending(lwp: Lwp, uset: Ptr, sigsetsize: Size) -> int:
    """Tell which blocked signals are pending (sigpending(2)): EINVAL, EFAULT."""
    if sigsetsize > LX_SIGSET_SIZE:
        raise KernelError(Errno.EINVAL)
    mask = sigset_to_lx(ksig.pending(lwp) & lwp.sigmask)
    lwp.as_.copyout(uset, mask.to_bytes(8, "little")[:sigsetsize])
    return 0


@syscall
def sigpending(lwp: Lwp, uset: Out[OldSigSet]) -> int:
    """Tell which blocked signals 1 to 32 are pending (i386 sigpending)."""
    uset.put(ksig.pending(lwp) & lwp.sigmask)
    return 0


# -- waiting ------------------------------------------------------------------------------------


def wait_for_signal() -> int:
    """Sleep until a handler must run; always ends with EINTR."""
    cv = CondVar()
    while True:
        cv.wait_sig()


@syscall(restart=False)
def rt_sigsuspend(lwp: Lwp, unewset: In[SigSet], sigsetsize: Size) -> int:
    """Block another set until a signal is handled (sigsuspend(2)): EINTR, EINVAL, EFAULT."""
    if sigsetsize != LX_SIGSET_SIZE:
        raise KernelError(Errno.EINVAL)
    lwp.set_tmp_sigmask(unewset.get())
    return wait_for_signal()


@syscall(restart=False)
def sigsuspend(lwp: Lwp, unused1: Int, unused2: Int, mask: OldSigMask) -> int:
    """Block another one-word set until a signal is handled (i386 sigsuspend)."""
    lwp.set_tmp_sigmask(mask)
    return wait_for_signal()


@syscall(restart=False)
def pause(lwp: Lwp) -> int:
    """Sleep until a signal is handled (pause(2)): EINTR."""
    return wait_for_signal()


def sigtimedwait(lwp: Lwp, mask: int, deadline: int | None) -> SigInfo | None:
    """Take a pending signal of `mask`, waiting until `deadline` (hrtime ns, 0: not at all).

    None when the time passed. The set is blocked meanwhile, so that no handler of this lwp steals
    it. Raises Interrupted.
    """
    info = ksig.take(lwp, mask)
    if info is not None or deadline == 0:
        return info
    old, cv = lwp.sigmask, CondVar()
    lwp.machine.sigwait_begin(lwp, mask)
    lwp.sigmask = old | mask
    try:
        waiting = True
        while info is None and waiting:
            waiting = cv.wait_sig_until(deadline)
            info = ksig.take(lwp, mask)
    except Interrupted:
        info = ksig.take(lwp, mask)
        if info is None:
            raise
        # A handler is due as well: it runs on the way out.
        lwp.ast = True
    finally:
        lwp.machine.sigwait_end(lwp)
        lwp.set_sigmask(old)
    return info


@syscall(restart=False)
def rt_sigtimedwait(
    lwp: Lwp, uthese: In[SigSet], uinfo: Out[SigInfo], uts: In[Timespec], sigsetsize: Size
) -> int:
    """Wait for a signal of a set (sigtimedwait(2)): EAGAIN, EINTR, EINVAL, EFAULT."""
    if sigsetsize != LX_SIGSET_SIZE:
        raise KernelError(Errno.EINVAL)
    mask = uthese.get() & ~CANTMASK
    deadline = None
    if uts:
        timeout = uts.get().ns()
        deadline = lwp.machine.clock.hrtime() + timeout if timeout else 0
    info = sigtimedwait(lwp, mask, deadline)
    if info is None:
        raise KernelError(Errno.EAGAIN)
    uinfo.put_if(info)
    return TO_LX[info.signo]


@syscall(restart=False)
def restart_syscall(lwp: Lwp) -> int:
    """Go on with a call that a stop interrupted (restart_syscall(2)): EINTR.

    A stop takes only the calls of a traced lwp out of their sleep.
    """
    again = lwp.restart
    if again is None:
        raise KernelError(Errno.EINTR)
    return int(again(lwp))


# -- sending ------------------------------------------------------------------------------------


def may_signal(sender: Proc, target: Proc, sig: int) -> None:
    """Check a signal before it is sent: EINVAL for no signal, EPERM (check_kill_permission)."""
    if sig < 0:
        raise KernelError(Errno.EINVAL)
    if sender is target or hasprocperm(sender.cred, target.cred):
        return
    if sig == SIGCONT and sender.session is target.session:
        return
    raise KernelError(Errno.EPERM)


def send(lwp: Lwp, target: Proc, sig: int, info: SigInfo, thread: Lwp | None = None) -> None:
    """Send a checked signal. 0 sends nothing, and pid 1 takes none that it does not handle."""
    if not sig or target is target.machine.init:
        return
    space = target.pidspace
    if space is not None and space.init is target and space.holds(lwp.proc):
        # From inside, its first process takes only what it has a handler for.
        action = target.sigacts[sig].handler
        if action == SIG_DFL or sig in (SIGKILL, SIGSTOP):
            return
    if info.code != 0 and ksig.sigqueue_full(target, info):
        raise KernelError(Errno.EAGAIN)
    if thread is not None:
        lwp.machine.sigtolwp(thread, sig, info)
    else:
        lwp.machine.sigtoproc(target, sig, info)


def find_target(lwp: Lwp, pid: int) -> Proc:
    """Return the process that `pid` (or a thread of that id) names; ESRCH."""
    proc: Proc | None = lwp.machine.procs.get(pid)
    if proc is None:
        thread = lwp.machine.lwp_by_tid.get(pid)
        if thread is None:
            raise KernelError(Errno.ESRCH)
        proc = thread.proc
    return proc


@syscall
def kill(lwp: Lwp, pid: Pid, sig: SigAny) -> int:
    """Send a signal to a process, a group or all (kill(2)): EINVAL, EPERM, ESRCH."""
    caller = lwp.proc
    info = caller.siginfo(sig) if sig > 0 else SigInfo(0)
    if pid > 0:
        target = find_target(lwp, pid)
        may_signal(caller, target, sig)
        send(lwp, target, sig, info)
    elif pid == -1:
        _kill_all(lwp, sig, info)
    elif pid == _PID_INT_MIN:
        raise KernelError(Errno.ESRCH)
    else:
        kill_group(lwp, -pid, sig, info)
    return 0


def _kill_all(lwp: Lwp, sig: int, info: SigInfo) -> None:
    """Signal all processes but pid 1 and the caller.

    One that may not be signalled is passed over.
    """
    count = 0
    space = lwp.proc.pidspace
    for target in tuple(lwp.machine.procs.values()):
        if target is lwp.proc or target.pid == 1 or (space is not None and not space.holds(target)):
            continue
        if space is not None and target is space.init:
            continue
        count += 1
        try:
            may_signal(lwp.proc, target, sig)
        except KernelError as error:
            if error.errno == Errno.EPERM:
                continue
            raise
        send(lwp, target, sig, info)
    if not count:
        raise KernelError(Errno.ESRCH)


def kill_group(lwp: Lwp, pgid: int, sig: int, info: SigInfo) -> None:
    """Signal a group (0: the caller's); an error only if no member could be signalled."""
    pgrp = pgfind(lwp.proc, pgid) if pgid else lwp.proc.pgrp
    failure: KernelError | None = KernelError(Errno.ESRCH)
    sent = False
    for target in tuple(pgrp.members) if pgrp is not None else ():
        try:
            may_signal(lwp.proc, target, sig)
            send(lwp, target, sig, info)
            sent = True
        except KernelError as error:
            failure = error
    if not sent and failure is not None:
        raise failure


def _send_thread(lwp: Lwp, tgid: int, tid: int, sig: int, info: SigInfo) -> int:
    """Send to one thread of process `tgid` (0: of whichever); ESRCH (do_send_specific)."""
    thread: Lwp | None = lwp.machine.lwp_by_tid.get(tid)
    target: Proc | None = thread.proc if thread is not None else lwp.machine.procs.get(tid)
    if target is None or (tgid and target.pid != tgid) or (thread is None and not target.zombie):
        raise KernelError(Errno.ESRCH)
    may_signal(lwp.proc, target, sig)
    if thread is not None:
        send(lwp, target, sig, info, thread)
    return 0


@syscall
def tkill(lwp: Lwp, tid: Pid, sig: SigAny) -> int:
    """Send a signal to a thread (tkill(2)): EINVAL, EPERM, ESRCH, EAGAIN."""
    if tid <= 0:
        raise KernelError(Errno.EINVAL)
    return _send_thread(lwp, 0, tid, sig, lwp.proc.siginfo(sig, SI_LWP))


@syscall
def tgkill(lwp: Lwp, tgid: Pid, tid: Pid, sig: SigAny) -> int:
    """Send a signal to a thread of a process (tgkill(2)): EINVAL, EPERM, ESRCH, EAGAIN."""
    if tgid <= 0 or tid <= 0:
        raise KernelError(Errno.EINVAL)
    return _send_thread(lwp, tgid, tid, sig, lwp.proc.siginfo(sig, SI_LWP))


def _user_info(lwp: Lwp, uinfo: In[SigInfo], sig: int, target: int) -> SigInfo:
    """Copy in a caller-made siginfo.

    EPERM if it pretends to come from the kernel or from kill(2).
    """
    info = uinfo.get()._replace(signo=max(sig, 0))
    if info.raw is not None:
        info = info._replace(raw=struct.pack("<i", TO_LX[info.signo]) + info.raw[4:])
    if (info.code >= 0 or info.code == SI_LWP) and target != lwp.proc.pid:
        raise KernelError(Errno.EPERM)
    return info


@syscall
def rt_sigqueueinfo(lwp: Lwp, pid: Pid, sig: SigAny, uinfo: In[SigInfo]) -> int:
    """Queue a signal with data (rt_sigqueueinfo(2)): EFAULT, EPERM, ESRCH, EINVAL, EAGAIN."""
    info = _user_info(lwp, uinfo, sig, pid)
    target = find_target(lwp, pid)
    may_signal(lwp.proc, target, sig)
    send(lwp, target, sig, info)
    return 0


@syscall
def rt_tgsigqueueinfo(lwp: Lwp, tgid: Pid, tid: Pid, sig: SigAny, uinfo: In[SigInfo]) -> int:
    """Queue a signal with data for one thread (rt_tgsigqueueinfo(2))."""
    info = _user_info(lwp, uinfo, sig, tid)
    if tgid <= 0 or tid <= 0:
        raise KernelError(Errno.EINVAL)
    return _send_thread(lwp, tgid, tid, sig, info)


# -- frames and stacks --------------------------------------------------------------------------


@syscall
def rt_sigreturn(lwp: Lwp) -> int:
    """Return from a handler: the frame on the stack is the state to go on with (sigreturn(2))."""
    return int(lwp.brand.sigreturn(lwp, True))


@syscall
def sigreturn(lwp: Lwp) -> int:
    """Return from a handler installed without SA_SIGINFO (i386 sigreturn(2))."""
    return lwp.brand.sigreturn(lwp, False)


def on_altstack(lwp: Lwp) -> bool:
    """Return whether the user stack pointer is on the alternate stack (on_sig_stack)."""
    base, size, flags = lwp.altstack
    if flags & SS_AUTODISARM:
        return False
    return bool(base < lwp.regs.sp <= base + size)


def altstack_flags(lwp: Lwp) -> int:
    """Return ss_flags as sigaltstack(2) reports them."""
    _, size, flags = lwp.altstack
    mode = SS_DISABLE if not size else SS_ONSTACK if on_altstack(lwp) else 0
    return mode | flags & SS_AUTODISARM


@syscall
def sigaltstack(lwp: Lwp, uss: In[StackT], uoss: Out[StackT]) -> int:
    """Set the stack that SA_ONSTACK handlers run on (sigaltstack(2)).

    EFAULT, EPERM, EINVAL, ENOMEM.
    """
    new = uss.get_or_none()
    base, size, _ = lwp.altstack
    old = StackT(base, altstack_flags(lwp), size)
    if new is not None:
        _set_altstack(lwp, new)
    uoss.put_if(old)
    return 0


def _set_altstack(lwp: Lwp, new: StackT) -> None:
    if on_altstack(lwp):
        raise KernelError(Errno.EPERM)
    flags = new.flags & 0xFFFFFFFF
    mode = flags & ~SS_AUTODISARM
    if mode not in (0, SS_ONSTACK, SS_DISABLE):
        raise KernelError(Errno.EINVAL)
    if mode == SS_DISABLE:
        lwp.altstack = (0, 0, flags)
        return
    if new.size < LX_MINSIGSTKSZ:
        raise KernelError(Errno.ENOMEM)
    lwp.altstack = (new.sp, new.size, flags)
