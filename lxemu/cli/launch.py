"""Start a machine for a `Request`, run its program and turn the end into an exit status."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from lxemu.errors import ConfigError, ExecFailed, InternalError
from lxemu.kernel.cred import Cred
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.vfs.lookup import lookupname
from lxemu.kernel.vfs.vnode import VREG
from lxemu.machine import Machine, MachineConfig, Mount, Published, TmpfsMount
from syscalls.signum import TO_LX

if TYPE_CHECKING:
    from lxemu.cli.run import Request
    from lxemu.machine import ExitStatus
    from lxemu.observe.tracer import Tracer

EXIT_CANNOT_EXECUTE = 126
EXIT_NOT_FOUND = 127
EXIT_SOFTWARE = 70
EXIT_IOERR = 74
X_OK = 1

#: What a shell says, by errno; anything else is said by its name.
REASONS = {
    Errno.ENOENT: "not found",
    Errno.EACCES: "permission denied",
    Errno.ENOEXEC: "not an executable program",
    Errno.EISDIR: "is a directory",
    Errno.ENOTDIR: "not found: a part of the path is not a directory",
    Errno.ELOOP: "too many levels of symbolic links",
    Errno.ENOMEM: "out of memory",
    Errno.E2BIG: "argument list too long",
}


def launch(request: Request, tracer: Tracer | None = None) -> int:
    """Run the program of *request* and return the exit status for the invoker."""
    program, mounts = _place(request)
    config = MachineConfig(
        root=request.root,
        volumes=mounts,
        tmpfs=tuple(TmpfsMount(*mount) for mount in request.tmpfs),
        cwd=request.cwd,
        uid=request.uid,
        gid=request.gid,
        groups=request.groups,
        umask=_umask(),
        hostname=request.hostname,
        strict=request.strict,
        seed=request.seed,
        aslr=request.aslr,
        host_signals=True,
        tracer=tracer,
        net=request.net,
        publish=tuple(Published(*port) for port in request.publish),
    )
    if request.memory is not None:
        config.memory = request.memory
    try:
        machine = Machine(config)
    except ConfigError as error:
        return _complain(str(error), 2)
    try:
        if tracer is not None:
            tracer.install(machine)
        status = _run(machine, request, program)
    except BaseException:
        machine.close()
        raise
    for line in machine.close():
        _complain(line, EXIT_IOERR)
        status = status or EXIT_IOERR
    return status


def _run(machine: Machine, request: Request, program: bytes) -> int:
    try:
        path = program if b"/" in program else search_path(machine, program, request.env)
        argv = (program, *request.args[1:])
        if machine.tracer is not None:
            machine.tracer.started(path, argv, len(request.env))
        status = machine.run(path, argv, request.env)
    except ConfigError as error:
        return _complain(str(error), 2)
    except ExecFailed as error:
        return _cannot_start(request.program, error.errno, str(error))
    except KernelError as error:
        return _cannot_start(request.program, error.errno, "")
    except InternalError as error:
        return _complain(f"internal error\n{error}", EXIT_SOFTWARE)
    if request.stats:
        from lxemu.observe.stats import print_stats

        print_stats(machine, sys.stderr)
    if request.stats_file is not None:
        from lxemu.observe.stats import write_stats

        try:
            write_stats(machine, exit_code(status), request.stats_file)
        except OSError as error:
            return _complain(f"cannot write {request.stats_file}: {error.strerror}", EXIT_SOFTWARE)
    if request.check_leaks:
        leaks = machine.leaks()
        if leaks:
            return _complain("leaked: " + "; ".join(leaks), EXIT_SOFTWARE)
    return exit_code(status)


def exit_code(status: ExitStatus) -> int:
    """Return what a shell would put into `$?`."""
    return 128 + TO_LX[status.signal] if status.signal else status.code


def search_path(machine: Machine, program: bytes, env: dict[bytes, bytes]) -> bytes:
    """Find *program* in the guest's PATH as execvp(3) does; raises KernelError ENOENT or EACCES."""
    root = machine.zone.root
    assert root is not None
    config = machine.config
    cred = Cred.for_user(config.uid, config.gid, config.groups)
    failure = Errno.ENOENT
    for directory in env.get(b"PATH", b"/bin:/usr/bin").split(b":"):
        path = os.path.join(config.cwd, directory or b".", program)
        try:
            vnode = lookupname(root, root, path, cred).vnode
            if vnode.type == VREG:
                vnode.access(X_OK, cred)
                return path
            failure = Errno.EACCES
        except KernelError as error:
            if error.errno == Errno.EACCES:
                failure = Errno.EACCES
    raise KernelError(failure)


def _place(request: Request) -> tuple[bytes, tuple[Mount, ...]]:
    """Return the program's guest path and the mounts; an empty root needs the program mounted."""
    mounts = tuple(Mount(*volume) for volume in request.volumes)
    program = request.program
    if request.root != "none" or any(_below(program, mount.guest) for mount in mounts):
        return program, mounts
    found = program if b"/" in program else _search_host(program)
    if found is None or not os.path.isfile(found):
        return program, mounts
    guest = b"/" + os.path.basename(found)
    return guest, (*mounts, Mount(os.path.abspath(found), guest, readonly=True))


def _below(path: bytes, directory: bytes) -> bool:
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")


def _search_host(program: bytes) -> bytes | None:
    for directory in os.get_exec_path():
        path = os.path.join(os.fsencode(directory), program)
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return None


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _cannot_start(program: bytes, errno: Errno, detail: str) -> int:
    reason = REASONS.get(errno, errno.name)
    status = EXIT_NOT_FOUND if errno in (Errno.ENOENT, Errno.ENOTDIR) else EXIT_CANNOT_EXECUTE
    if detail and not detail.endswith(errno.name):
        return _complain(detail, status)
    return _complain(f"{os.fsdecode(program)}: {reason}", status)


def _complain(text: str, status: int) -> int:
    sys.stderr.write(f"lxemu: {text}\n")
    return status
