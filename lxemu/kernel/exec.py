"""Replacing the program of a process (illumos os/exec.c: exec_common, gexec).

The kernel's half knows no file format. A brand has a list of recognisers (`Brand.execsw`, illumos'
execsw[]); the first that does not answer ENOEXEC either turns the request into one for another file
(an interpreter script) or returns a `NewImage`, a complete address space that has not touched the
process yet. `exec_common` then passes the point of no return: it ends the other lwps and swaps the
image in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lxemu.kernel import ptrace
from lxemu.kernel.cred import PRIV_FILE_DAC_READ, SECURE_KEEP_PRIVS, Cred, exec_privileges
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.exit import kill_other_lwps
from lxemu.kernel.rctl import RLIMIT_STACK
from lxemu.kernel.sig import die
from lxemu.kernel.signal import SI_KERNEL, SIGSEGV, SS_DISABLE, SigInfo
from lxemu.kernel.vfs.lookup import lookupname
from lxemu.kernel.vfs.vnode import (
    S_ISGID,
    S_ISUID,
    VEXEC,
    VFS_NOEXEC,
    VFS_NOSETUID,
    VREAD,
    VREG,
    Vattr,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lxemu.brand import Brand
    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.mm.as_ import As
    from lxemu.kernel.proc import Proc
    from lxemu.kernel.vfs.name import Name

#: How much of a file the recognisers see.
HEAD = 256
#: Interpreters in a row: the sixth is ELOOP.
MAX_DEPTH = 5
#: Longest single argument or environment string, with its NUL.
ARG_STRLEN_MAX = 131072
#: Room for strings and pointers that there always is (ARG_MAX), and the most there can be.
ARG_MAX = 131072
ARG_CEILING = 6 << 20
#: Longest command name.
COMM_MAX = 15


@dataclass(slots=True)
class ExecArgs:
    """One exec request on its way to an image.

    `name` is the file looked at now, `path` the name the caller used for the first one (AT_EXECFN),
    `interp` the path of the current file as a script's interpreter gets to see it. `head` is the
    start of the file. `unreachable` is set when `path` names a descriptor that closes on exec.
    """

    name: Name
    path: bytes
    argv: list[bytes]
    envp: list[bytes]
    interp: bytes
    unreachable: bool = False
    head: bytes = b""


@dataclass(slots=True)
class NewImage:
    """A program ready to run: everything that `commit` installs.

    `read_implies_exec`: the brand is to make readable mappings executable from now on.
    `brand_data` becomes that of the process.
    """

    as_: As
    brand: Brand
    name: Name
    argv: list[bytes]
    pc: int
    sp: int
    cred: Cred
    secure: bool
    read_implies_exec: bool = False
    brand_data: Any = None


class ExecFatal(Exception):  # noqa: N818 -- an outcome that ends the process
    """The image turned out bad when the old one would be gone: the process dies (SIGSEGV)."""


def exec_common(
    lwp: Lwp,
    name: Name | None,
    path: bytes,
    argv: Sequence[bytes],
    envp: Sequence[bytes],
    *,
    unreachable: bool = False,
) -> int:
    """Replace the program of `lwp`'s process by the file `name` (None: look `path` up); return 0.

    EACCES, ENOENT, ENOTDIR, ELOOP, ENOEXEC, E2BIG, ETXTBSY, ENOMEM, and what a file system raises.
    Once the old image would be gone there are no errors: the process dies by SIGSEGV.
    """
    if name is None:
        name = exec_lookup(lwp.proc, path)
    check_executable(lwp.proc, name)
    args = ExecArgs(name, path, list(argv) or [b""], list(envp), path, unreachable)
    check_size(lwp.proc, args)
    try:
        image = _recognise(lwp, args)
    except ExecFatal:
        die(lwp, SIGSEGV, SigInfo(SIGSEGV, SI_KERNEL))
    commit(lwp, args, image)
    return 0


def exec_lookup(proc: Proc, path: bytes) -> Name:
    """Look `path` up for execution, from the working directory."""
    fs = proc.fs
    start = fs.root if path.startswith(b"/") else fs.cwd
    return lookupname(start, fs.root, path, proc.cred)


def check_executable(proc: Proc, name: Name) -> None:
    """Check that `proc` may execute the file: EACCES, ETXTBSY while somebody writes to it."""
    vnode = name.vnode
    if vnode.type != VREG or mount_flags(name) & VFS_NOEXEC:
        raise KernelError(Errno.EACCES)
    vnode.access(VEXEC, proc.cred)
    if vnode.wcount > 0:
        raise KernelError(Errno.ETXTBSY)


def mount_flags(name: Name) -> int:
    """Return the VFS_* flags that hold for the file, those of its file system and of its mount."""
    return name.flags


def check_size(proc: Proc, args: ExecArgs) -> None:
    """Raise E2BIG when arguments and environment do not fit (execve(2), "Limits on size")."""
    room = min(proc.rctls.soft(RLIMIT_STACK) // 4, ARG_CEILING)
    room = max(room, ARG_MAX)
    # Pointers are counted with the kernel's own word size, whatever the new program's is.
    room -= (len(args.argv) + len(args.envp)) * 8
    room -= len(args.path) + 1
    for strings in (args.argv, args.envp):
        for string in strings:
            size = len(string) + 1
            if size > ARG_STRLEN_MAX:
                raise KernelError(Errno.E2BIG)
            room -= size
    if room < 0:
        raise KernelError(Errno.E2BIG)


def _recognise(lwp: Lwp, args: ExecArgs) -> NewImage:
    """Offer the file to the brand's recognisers until one returns an image (illumos gexec)."""
    for _ in range(MAX_DEPTH + 1):
        args.head = args.name.vnode.read(0, HEAD)
        image = _offer(lwp, args)
        if image is not None:
            return image
        check_size(lwp.proc, args)
    raise KernelError(Errno.ELOOP)


def _offer(lwp: Lwp, args: ExecArgs) -> NewImage | None:
    """Return what the first recogniser that knows the file makes of it; ENOEXEC from all is ours.

    The refusal that says why (it has a cause) is the one that is passed on.
    """
    refusal = KernelError(Errno.ENOEXEC)
    for recogniser in lwp.brand.execsw:
        try:
            return recogniser(lwp, args)
        except KernelError as error:
            if error.errno is not Errno.ENOEXEC:
                raise
            if error.__cause__ is not None:
                refusal = error
    raise refusal


def exec_cred(proc: Proc, name: Name) -> tuple[Cred, bool]:
    """Return the credentials after exec of `name`, and whether to distrust the caller.

    execve(2) on set-id files; capabilities(7), "Capabilities and execution of programs by root".
    """
    old = proc.cred
    attr: Vattr = name.vnode.getattr(old)
    euid, egid = old.euid, old.egid
    kept = old.no_new_privs or mount_flags(name) & VFS_NOSETUID or ptrace.confines(proc)
    if not kept:
        # In a users' space only ids that it has numbers for are taken.
        mapped = old.space is None or old.space.maps(attr.uid, attr.gid)
        if attr.mode & S_ISUID and mapped:
            euid = attr.uid
        # Without group execute permission the bit means mandatory locking, not set-group-id.
        if attr.mode & S_ISGID and attr.mode & 0o010 and mapped:
            egid = attr.gid
    setid = euid != old.euid or egid != old.egid
    privs, permitted, ambient = exec_privileges(old, old.ruid, euid, setid=setid)
    cred = old.with_(
        euid=euid,
        suid=euid,
        fsuid=euid,
        egid=egid,
        sgid=egid,
        fsgid=egid,
        privs=privs,
        permitted=permitted,
        ambient=ambient,
        secure=old.secure & ~SECURE_KEEP_PRIVS,
    )
    return cred, euid != old.ruid or egid != old.rgid


def commit(lwp: Lwp, args: ExecArgs, image: NewImage) -> None:
    """Pass the point of no return: make `image` the program of the process."""
    proc, machine = lwp.proc, lwp.machine
    old_tid = lwp.tid
    kill_other_lwps(lwp)
    proc.split = False
    lwp.brand.lwp_exit(lwp)
    _take_process_id(lwp)
    _reset_kernel_state(lwp)
    if image.secure:
        proc.pdeathsig = 0
    proc.dumpable = int(not image.secure and _readable(image.name, image.cred))
    proc.cred = image.cred
    proc.exe = image.name
    proc.psargs = image.argv
    proc.comm = lwp.name = args.path.rpartition(b"/")[2][:COMM_MAX]
    proc.brand = lwp.brand = image.brand
    lwp.restartable = None
    lwp.bind_calls()
    proc.brand_data = image.brand_data
    lwp.brand_data = None
    image.as_.limits = proc.as_limit
    machine.as_replace(proc, image.as_)
    image.brand.exec_commit(lwp, image)
    machine.engine.set_mode(lwp.cpu, image.brand.bits, image.pc, image.sp)
    proc.execed = True
    proc.cv_vfork.broadcast()
    ptrace.executed(lwp, old_tid)


def _readable(name: Name, cred: Cred) -> bool:
    """Return whether the program may be read, hence traced and dumped."""
    if cred.crhas(PRIV_FILE_DAC_READ):
        return True
    try:
        name.vnode.access(VREAD, cred)
    except KernelError:
        return False
    return True


def _take_process_id(lwp: Lwp) -> None:
    """Let the surviving lwp carry the process' id, as its first lwp did (execve(2), threads)."""
    proc, machine = lwp.proc, lwp.machine
    if lwp.tid == proc.pid:
        return
    ptrace.drop_leader(proc)
    if lwp.trace is not None:
        lwp.trace.tid = proc.pid
    machine.lwp_by_tid.pop(lwp.tid, None)
    machine.pid_free(lwp.tid)
    lwp.tid = proc.pid
    lwp.vtid = proc.vpid
    machine.lwp_by_tid[lwp.tid] = lwp


def _reset_kernel_state(lwp: Lwp) -> None:
    """Drop what does not outlive a program: handlers, timers, descriptors that close on exec."""
    proc = lwp.proc
    sigacts = proc.sigacts.copy()
    sigacts.reset_caught()
    proc.sigacts = sigacts
    for timer in proc.ptimers.values():
        timer.cancel()
    proc.ptimers.clear()
    if proc.files.refcnt > 1:
        files = proc.files.copy()
        proc.files.rele(proc)
        proc.files = files
    proc.files.close_on_exec()
    lwp.altstack = (0, 0, SS_DISABLE)
    lwp.clear_child_tid = 0
    lwp.robust_list = (0, 0)
