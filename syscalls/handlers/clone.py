"""Making processes and threads: fork(2), vfork(2), clone(2), clone3(2), set_tid_address(2).

The kernel's `cfork` takes a `ForkSpec`; here Linux's flag word becomes one. The order of the checks
is that of copy_process (Linux kernel/fork.c).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxemu.kernel.cpulimit import watch_cpu_limit
from lxemu.kernel.cred import PRIV_SYS_ADMIN
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.fork import ForkSpec, cfork
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.pidspace import PID_MAX, shown_pid
from lxemu.kernel.resgroup import ResGroup
from lxemu.kernel.signal import SIGCHLD
from lxemu.kernel.vfs.vnode import VWRITE
from syscalls.abi import CloneFlags, In, Pid, Ptr, Size, ULong, syscall
from syscalls.cloneflags import (
    LX_CLONE_CHILD_CLEARTID,
    LX_CLONE_CHILD_SETTID,
    LX_CLONE_CLEAR_SIGHAND,
    LX_CLONE_DETACHED,
    LX_CLONE_FILES,
    LX_CLONE_FS,
    LX_CLONE_INTO_CGROUP,
    LX_CLONE_NEW_ANY,
    LX_CLONE_NEWNS,
    LX_CLONE_NEWPID,
    LX_CLONE_NEWUSER,
    LX_CLONE_PARENT,
    LX_CLONE_PARENT_SETTID,
    LX_CLONE_PIDFD,
    LX_CLONE_PTRACE,
    LX_CLONE_SETTLS,
    LX_CLONE_SIGHAND,
    LX_CLONE_THREAD,
    LX_CLONE_UNTRACED,
    LX_CLONE_VFORK,
    LX_CLONE_VM,
    LX_CSIGNAL,
)
from syscalls.handlers.tls import check_child_tls, set_child_tls
from syscalls.records.process import CloneArgs
from syscalls.signum import FROM_LX

if TYPE_CHECKING:
    from lxemu.kernel.nsops import NewViews


_THREAD_SHARES = LX_CLONE_VM | LX_CLONE_FS | LX_CLONE_FILES | LX_CLONE_SIGHAND
#: Size of the argument from the member `cgroup` on (CLONE_ARGS_SIZE_VER2).
_SIZE_WITH_CGROUP = 88
#: A stack must end below this in either ABI (access_ok).
_STACK_MAX = 0x7FFFFFFFF000
#: Legacy flags plus the two that only clone3 takes.
_CLONE3_FLAGS = 0xFFFFFFFF | LX_CLONE_CLEAR_SIGHAND | LX_CLONE_INTO_CGROUP


def do_clone(lwp: Lwp, args: CloneArgs, group: ResGroup | None = None) -> int:
    """Make the process or thread that `args` ask for and return its id, as the caller sees it.

    EINVAL for senseless combinations, EPERM for a namespace without privilege; EAGAIN and ENOMEM
    from the kernel.
    """
    flags = args.flags
    _check_flags(flags)
    if flags & LX_CLONE_PIDFD:
        _check_pidfd(lwp, args)
    tls = args.tls if flags & LX_CLONE_SETTLS else None
    desc = check_child_tls(lwp, tls) if tls is not None else None
    ns = lwp.proc.ns
    if flags & LX_CLONE_THREAD and ns is not None and ns.children not in (None, lwp.proc.pidspace):
        raise KernelError(Errno.EINVAL)
    views = _new_views(lwp, flags) if flags & LX_CLONE_NEW_ANY else None

    def prepare(new: Lwp) -> None:
        if flags & LX_CLONE_CHILD_CLEARTID:
            new.clear_child_tid = args.child_tid
        if flags & LX_CLONE_CHILD_SETTID:
            _store_tid(new, args.child_tid)
        if tls is not None:
            set_child_tls(new, tls, desc)
        if views is not None:
            views.give(new.proc)
        if new.proc is not lwp.proc:
            watch_cpu_limit(new.proc)
        if flags & LX_CLONE_PARENT_SETTID:
            _store_tid(lwp, args.parent_tid, shown_pid(lwp, new.tid))
        if flags & LX_CLONE_PIDFD:
            _store_desc(lwp, args.pidfd, new, thread=bool(flags & LX_CLONE_THREAD))

    stack = args.stack + args.stack_size
    spec = ForkSpec(
        thread=bool(flags & LX_CLONE_THREAD),
        share_as=bool(flags & LX_CLONE_VM),
        share_files=bool(flags & LX_CLONE_FILES),
        share_fs=bool(flags & LX_CLONE_FS),
        share_sigacts=bool(flags & LX_CLONE_SIGHAND),
        vfork=bool(flags & LX_CLONE_VFORK),
        same_parent=bool(flags & LX_CLONE_PARENT),
        reset_sigacts=bool(flags & LX_CLONE_CLEAR_SIGHAND),
        traced=bool(flags & LX_CLONE_PTRACE),
        untraced=bool(flags & LX_CLONE_UNTRACED),
        exit_signal=args.exit_signal,
        stack=stack,
        group=group,
        pidspace=views.ns.children if views is not None and views.ns is not None else None,
        pid=args.set_tid,
        prepare=prepare,
    )
    return cfork(lwp, spec).tid


def _new_views(lwp: Lwp, flags: int) -> NewViews | None:
    # Most programs never make a namespace, or a descriptor of a process: they start sooner.
    from syscalls.handlers.namespace import new_views

    return new_views(lwp, flags)


def _store_desc(lwp: Lwp, addr: int, new: Lwp, *, thread: bool) -> None:
    from syscalls.handlers.pidfd import open_desc

    lwp.as_.store_u32(addr, open_desc(lwp, new.proc, new if thread else None))


def _check_flags(flags: int) -> None:
    if flags & LX_CLONE_FS and flags & (LX_CLONE_NEWNS | LX_CLONE_NEWUSER):
        raise KernelError(Errno.EINVAL)
    if flags & LX_CLONE_THREAD and not flags & LX_CLONE_SIGHAND:
        raise KernelError(Errno.EINVAL)
    if flags & LX_CLONE_SIGHAND and not flags & LX_CLONE_VM:
        raise KernelError(Errno.EINVAL)
    if flags & LX_CLONE_THREAD and flags & (LX_CLONE_NEWUSER | LX_CLONE_NEWPID):
        raise KernelError(Errno.EINVAL)


def _check_pidfd(lwp: Lwp, args: CloneArgs) -> None:
    """Check what could fail after the process has been made: EINVAL, EMFILE, EFAULT."""
    flags, addr = args.flags, args.pidfd
    if flags & LX_CLONE_DETACHED:
        raise KernelError(Errno.EINVAL)
    if flags & LX_CLONE_PARENT_SETTID and addr == args.parent_tid:
        raise KernelError(Errno.EINVAL)
    lwp.proc.files.lowest()
    lwp.as_.store_u32(addr, lwp.as_.load_u32(addr))


def _store_tid(lwp: Lwp, addr: int, tid: int | None = None) -> None:
    """Store a thread id where the caller wants it; a bad address is nobody's error (put_user)."""
    try:
        lwp.as_.store_u32(addr, lwp.vtid if tid is None else tid)
    except KernelError:
        return


def _legacy(lwp: Lwp, flags: int, stack: int, ptid: int, ctid: int, tls: int) -> int:
    flags &= 0xFFFFFFFF
    lx_sig = flags & LX_CSIGNAL
    signo = FROM_LX[lx_sig] if lx_sig < len(FROM_LX) else 0
    args = CloneArgs(flags & ~LX_CSIGNAL, ptid, ctid, ptid, signo, stack, 0, tls)
    return do_clone(lwp, args)


@syscall
def fork(lwp: Lwp) -> Pid:
    """Make a copy of the process (fork(2)): EAGAIN, ENOMEM."""
    return do_clone(lwp, CloneArgs(0, 0, 0, 0, SIGCHLD, 0, 0, 0))


@syscall
def vfork(lwp: Lwp) -> Pid:
    """Make a child that borrows the memory until it execs or exits (vfork(2))."""
    return do_clone(lwp, CloneArgs(LX_CLONE_VM | LX_CLONE_VFORK, 0, 0, 0, SIGCHLD, 0, 0, 0))


@syscall
def clone(
    lwp: Lwp, flags: CloneFlags, stack: Ptr, parent_tid: Ptr, child_tid: Ptr, tls: ULong
) -> Pid:
    """Make a process or thread; the argument order of x86_64 (clone(2))."""
    return _legacy(lwp, flags, stack, parent_tid, child_tid, tls)


@syscall
def clone_i386(
    lwp: Lwp, flags: CloneFlags, stack: Ptr, parent_tid: Ptr, tls: ULong, child_tid: Ptr
) -> Pid:
    """Make a process or thread; the argument order of i386 (CONFIG_CLONE_BACKWARDS)."""
    return _legacy(lwp, flags, stack, parent_tid, child_tid, tls)


@syscall
def clone3(lwp: Lwp, cl_args: In[CloneArgs], size: Size) -> Pid:
    """Make a process or thread (clone3(2)): EINVAL, E2BIG, EFAULT.

    EPERM, EEXIST for a tid that is asked for, EBADF for a cgroup, which no descriptor here is.
    """
    args = _copy_clone_args(cl_args, size)
    flags = args.flags
    if (args.set_tid == 0) != (args.set_tid_size == 0) or args.set_tid_size > 32:
        raise KernelError(Errno.EINVAL)
    if args.exit_signal & ~LX_CSIGNAL or args.exit_signal >= len(FROM_LX):
        raise KernelError(Errno.EINVAL)
    if flags & LX_CLONE_INTO_CGROUP and (args.cgroup > 0x7FFFFFFF or size < _SIZE_WITH_CGROUP):
        raise KernelError(Errno.EINVAL)
    tids = lwp.as_.copyin(args.set_tid, args.set_tid_size * 4)
    if flags & ~_CLONE3_FLAGS or flags & (LX_CLONE_DETACHED | LX_CSIGNAL):
        raise KernelError(Errno.EINVAL)
    if flags & LX_CLONE_SIGHAND and flags & LX_CLONE_CLEAR_SIGHAND:
        raise KernelError(Errno.EINVAL)
    if flags & (LX_CLONE_THREAD | LX_CLONE_PARENT) and args.exit_signal:
        raise KernelError(Errno.EINVAL)
    if (args.stack == 0) != (args.stack_size == 0):
        raise KernelError(Errno.EINVAL)
    if args.stack + args.stack_size > _STACK_MAX:
        raise KernelError(Errno.EINVAL)
    _check_flags(flags)
    pid = _wanted_tid(lwp, tids)
    group = _wanted_group(lwp, args.cgroup) if flags & LX_CLONE_INTO_CGROUP else None
    args = args._replace(exit_signal=FROM_LX[args.exit_signal], set_tid=pid)
    return do_clone(lwp, args, group)


def _wanted_group(lwp: Lwp, fd: int) -> ResGroup:
    """Return the cgroup that a descriptor of its directory means: EBADF, EACCES, EBUSY."""
    vnode = lwp.proc.files.get(fd).vnode
    group: ResGroup | None = getattr(vnode, "group", None)
    if group is None:
        raise KernelError(Errno.EBADF)
    vnode.lookup(b"cgroup.procs").access(VWRITE, lwp.proc.cred)
    if group.enabled and group.parent is not None:
        raise KernelError(Errno.EBUSY)
    return group


def _wanted_tid(lwp: Lwp, tids: bytes) -> int:
    """Return the id that `set_tid` asks for, 0 for any: EINVAL, EPERM (alloc_pid).

    There is one pid namespace, so one id is all that can be asked for.
    """
    if not tids:
        return 0
    pid = int.from_bytes(tids[:4], "little", signed=True)
    if len(tids) > 4 or not 0 < pid < PID_MAX:
        raise KernelError(Errno.EINVAL)
    if not lwp.proc.cred.crhas(PRIV_SYS_ADMIN):
        raise KernelError(Errno.EPERM)
    return pid


def _copy_clone_args(pointer: In[CloneArgs], size: int) -> CloneArgs:
    """Copy in a clone_args of the caller's size (copy_struct_from_user).

    64, 80, 88 bytes or longer.
    """
    if size > 4096:
        raise KernelError(Errno.E2BIG)
    if size < 64:
        raise KernelError(Errno.EINVAL)
    codec = pointer.codec
    data = pointer.as_.copyin(pointer.addr, size)
    if any(data[codec.size :]):
        raise KernelError(Errno.E2BIG)
    args: CloneArgs = codec.unpack(data[: codec.size].ljust(codec.size, b"\0"))
    return args


@syscall
def set_tid_address(lwp: Lwp, tidptr: Ptr) -> int:
    """Set where 0 is stored, and a waiter woken, when the thread ends (set_tid_address(2))."""
    lwp.clear_child_tid = tidptr
    return lwp.vtid
