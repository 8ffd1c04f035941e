"""The two recognisers of executable files: ELF programs and interpreter scripts.

Both are entries of a brand's execsw (illumos exec/elf, exec/intp). Which brand a program gets
follows from its ELF class. A program that this machine cannot run is ENOEXEC to the guest, with an
`ElfError` as the cause, whose text is for the person who started it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lxemu.brand import CodeSpan, StackPlan
from lxemu.errors import ElfError
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.exec import (
    ExecArgs,
    ExecFatal,
    NewImage,
    check_executable,
    exec_cred,
    exec_lookup,
)
from lxemu.kernel.mm.mman import (
    MAP_ANON,
    MAP_FIXED,
    MAP_GROWSDOWN,
    MAP_NORESERVE,
    MAP_PRIVATE,
    MAP_STACK,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
)
from lxemu.kernel.rctl import RLIMIT_STACK
from lxemu.loader.elf import PF_X, ElfImage, is_elf, parse
from lxemu.loader.image import map_image
from lxemu.loader.layout import Layout, Random, layout_for, page_down, page_up
from lxemu.loader.script import ScriptError, is_script, parse_script

if TYPE_CHECKING:
    from lxemu.brand import Brand
    from lxemu.kernel.lwp import Lwp
    from lxemu.kernel.mm.as_ import As
    from lxemu.kernel.vfs.name import Name

#: A new stack is mapped this far below what it holds; it grows from there on faults.
STACK_EXPAND = 128 << 10


@dataclass(slots=True)
class _Program:
    """An ELF file with its interpreter, parsed but not mapped."""

    name: Name
    elf: ElfImage
    interp_name: Name | None
    interp: ElfImage | None
    brand: Brand


def intpexec(lwp: Lwp, args: ExecArgs) -> None:
    """Turn the exec of a script into that of its interpreter.

    ENOEXEC when the file is no script, ENOENT when the script will be closed before the interpreter
    can open it, and what looking the interpreter up raises.
    """
    if not is_script(args.head):
        raise KernelError(Errno.ENOEXEC)
    try:
        line = parse_script(args.head)
    except ScriptError as error:
        raise KernelError(Errno.ENOEXEC) from error
    if args.unreachable:
        raise KernelError(Errno.ENOENT)
    argument = [] if line.argument is None else [line.argument]
    args.argv = [line.interp, *argument, args.interp, *args.argv[1:]]
    args.interp = line.interp
    args.name = _open_interpreter(lwp, line.interp)


def _open_interpreter(lwp: Lwp, path: bytes) -> Name:
    """Look an interpreter up and check that it may be executed."""
    if not path:
        # The kernel's own lookup of nothing finds the working directory, which is no regular file.
        raise KernelError(Errno.EACCES)
    name = exec_lookup(lwp.proc, path)
    check_executable(lwp.proc, name)
    return name


def elfexec(lwp: Lwp, args: ExecArgs) -> NewImage:
    """Build the image of an ELF program. ENOEXEC, ELIBBAD; EIO for a truncated interpreter."""
    if not is_elf(args.head):
        raise KernelError(Errno.ENOEXEC)
    program = _parse_program(lwp, args.name)
    machine = lwp.machine
    as_ = machine.new_as()
    try:
        return _build(lwp, args, program, as_)
    except (KernelError, ElfError) as error:
        as_.free()
        raise ExecFatal(str(error)) from error
    except BaseException:
        as_.free()
        raise


def _parse_program(lwp: Lwp, name: Name) -> _Program:
    try:
        elf = parse(name.vnode.read)
    except ElfError as error:
        raise KernelError(error.errno) from error
    brand = lwp.machine.brand_for(elf.bits)
    if elf.interp is None:
        return _Program(name, elf, None, None, brand)
    interp_name = _open_interpreter(lwp, elf.interp)
    if len(interp_name.vnode.read(0, 64)) < (64 if elf.bits == 64 else 52):
        raise KernelError(Errno.EIO)
    try:
        interp = parse(interp_name.vnode.read, as_interpreter=True)
    except ElfError as error:
        raise KernelError(Errno.ELIBBAD) from error
    if interp.bits != elf.bits:
        raise KernelError(Errno.ELIBBAD)
    return _Program(name, elf, interp_name, interp, brand)


def _random(machine: Any, brand: Brand, lwp: Lwp) -> Random:
    """Return the source of random addresses, None where they are to be fixed."""
    if not machine.aslr or not brand.randomises(lwp.proc):
        return None

    def below(bound: int) -> int:
        return int.from_bytes(machine.entropy(8), "little") % bound

    return below


def _build(lwp: Lwp, args: ExecArgs, program: _Program, as_: As) -> NewImage:
    """Map the program, its interpreter, the brand's shared code and the stack into `as_`."""
    machine, brand, elf = lwp.machine, program.brand, program.elf
    layout = layout_for(elf.bits)
    random = _random(machine, brand, lwp)
    implied = brand.read_implies_exec(elf)
    cred, secure = exec_cred(lwp.proc, program.name)
    top = layout.stack_top(random)
    as_.task_size = layout.task_size
    as_.limits = lwp.proc.as_limit
    stack_limit = lwp.proc.rctls.soft(RLIMIT_STACK)
    as_.mmap_top = layout.mmap_base(stack_limit, random)
    _map_stack(as_, top, args, stack_limit, executable=elf.gnu_stack or implied)
    elf.check_segments(layout.task_size)
    bias = _map_program(as_, program, layout, random, implied)
    entry = elf.entry + bias
    pc, base = entry, 0
    if program.interp is not None and program.interp_name is not None:
        program.interp.check_segments(layout.task_size)
        # An interpreter with fixed addresses takes the place of what it meets there.
        base = map_image(
            as_,
            program.interp,
            program.interp_name.vnode,
            None,
            read_implies_exec=implied,
            replace=True,
            name=program.interp_name,
        )
        pc = program.interp.entry + base
    if pc >= layout.task_size:
        raise ElfError("the entry point lies outside the address space", fatal_after_commit=True)
    vdso, sysinfo = brand.map_vdso(as_)
    phdr = elf.phdr_address()
    plan = StackPlan(
        path=args.path,
        argv=args.argv,
        envp=args.envp,
        top=top,
        phdr=phdr + bias if phdr else 0,
        phent=elf.phentsize,
        phnum=len(elf.phdrs),
        base=base,
        entry=entry,
        cred=cred,
        secure=secure,
        vdso=vdso,
        sysinfo=sysinfo,
        random=machine.entropy(16),
        shift=random(8192) if random else 0,
        span=_code_span(elf, bias, as_.brk_start),
    )
    sp, data = brand.setup_stack(as_, plan)
    as_.start_stack = sp
    return NewImage(as_, brand, program.name, args.argv, pc, sp, cred, secure, implied, data)


def _map_program(as_: As, program: _Program, layout: Layout, random: Random, implied: bool) -> int:
    """Map the program itself and set the heap after it; return its load bias."""
    elf = program.elf
    base = None
    if elf.dynamic and program.interp is not None:
        base = layout.dynamic_base(elf.align, random)
    bias = map_image(as_, elf, program.name.vnode, base, read_implies_exec=implied)
    moved = elf.dynamic and program.interp is None
    as_.brk_start = as_.brk = layout.brk_start(elf.extent()[1] + bias, moved=moved, random=random)
    return bias


def _code_span(elf: ElfImage, bias: int, start_brk: int) -> CodeSpan:
    """Return what /proc tells of the program's segments (fs/binfmt_elf.c: start_code and so on)."""
    loads = elf.loads
    if not loads:
        return CodeSpan(0, 0, 0, 0, start_brk)
    code = [ph for ph in loads if ph.flags & PF_X] or loads
    return CodeSpan(
        min(ph.vaddr for ph in code) + bias,
        max(ph.vaddr + ph.filesz for ph in code) + bias,
        max(ph.vaddr for ph in loads) + bias,
        max(ph.vaddr + ph.filesz for ph in loads) + bias,
        start_brk,
    )


def _map_stack(as_: As, top: int, args: ExecArgs, limit: int, *, executable: bool) -> None:
    """Map the first stack: the strings and what it may grow by without a fault, within `limit`.

    The pointers go below the strings and may make it grow (fs/exec.c: setup_arg_pages).
    """
    strings = 8 + sum(len(s) + 1 for s in (args.path, *args.argv, *args.envp))
    low = page_down(top - strings) - STACK_EXPAND
    if top - low > limit:
        low = page_up(top - min(limit, strings + STACK_EXPAND))
    prot = PROT_READ | PROT_WRITE | (PROT_EXEC if executable else 0)
    flags = MAP_PRIVATE | MAP_FIXED | MAP_ANON | MAP_GROWSDOWN | MAP_STACK | MAP_NORESERVE
    as_.start_stack = top - strings
    as_.map(low, page_up(top) - low, prot, flags, None, 0)


EXECSW = (elfexec, intpexec)
