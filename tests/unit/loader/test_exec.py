"""exec: what is refused and why, scripts, interpreters, and what a new program starts with.

The errors were checked natively with the same files (execve(2) names most of them).
"""

from __future__ import annotations

import pytest

from lxemu.errors import ElfError
from lxemu.kernel.cred import PRIV_BASIC, Cred
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.exec import exec_common
from lxemu.kernel.rctl import RLIM_INFINITY, RLIMIT_STACK
from lxemu.kernel.signal import SIG_IGN, SIGHUP, SIGTERM, SS_DISABLE, SigAction
from lxemu.kernel.vfs.vnode import VFS_NOEXEC, VFS_NOSETUID
from tests.unit.loader.elfmaker import (
    PT_GNU_STACK,
    PT_INTERP,
    Elf,
    Seg,
    host_programs,
)
from tests.unit.loader.execenv import Machine

CODE = Seg(data=b"\x90" * 100, vaddr=0x400100, memsz=100)
STATIC = Elf(entry=0x400100, segs=[CODE, Seg(type=PT_GNU_STACK, flags=6)]).build()
STATIC32 = Elf(32, entry=0x400100, segs=[CODE, Seg(type=PT_GNU_STACK, flags=6)]).build()


@pytest.fixture
def machine():
    machine = Machine()
    yield machine
    machine.close()


def run(machine, path, argv=(b"prog",), envp=(), **options):
    return exec_common(machine.lwp, None, path, list(argv), list(envp), **options)


def refused(machine, path, *args, **options):
    """Return the errno and the cause of an exec that fails; nothing may have changed."""
    before = machine.proc.as_
    with pytest.raises(KernelError) as caught:
        run(machine, path, *args, **options)
    assert machine.proc.as_ is before
    return caught.value.errno


def strings(machine, address, count):
    """Return the strings that `count` pointers at `address` point at."""
    as_, wide = machine.proc.as_, machine.lwp.brand.bits == 64
    load, size = (as_.load_u64, 8) if wide else (as_.load_u32, 4)
    return [as_.copyinstr(load(address + size * i), 4096) for i in range(count)]


# -- starting -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "bits"), [(STATIC, 64), (STATIC32, 32)])
def test_exec_static_program(machine, data, bits):
    machine.write(b"/prog", data)

    assert run(machine, b"/prog", [b"prog", b"x"], [b"A=b"]) == 0

    mode_bits, pc, sp = machine.engine.mode
    assert (mode_bits, pc) == (bits, 0x400100)
    assert sp % 16 == 0
    proc = machine.proc
    assert machine.lwp.brand is proc.brand is machine.brand_for(bits)
    assert machine.lwp.stubs is proc.brand.stubs
    word = bits // 8
    assert strings(machine, sp + word, 2) == [b"prog", b"x"]
    assert strings(machine, sp + 4 * word, 1) == [b"A=b"]
    assert proc.as_.copyin(0x400100, 100) == b"\x90" * 100
    assert proc.comm == b"prog"
    assert proc.exe is machine.lookup(b"/prog")
    assert proc.psargs == [b"prog", b"x"]
    assert proc.execed


def test_exec_without_arguments_gives_one_empty_one(machine):
    machine.write(b"/prog", STATIC)
    run(machine, b"/prog", [])
    sp = machine.engine.mode[2]
    assert machine.proc.as_.load_u64(sp) == 1
    assert strings(machine, sp + 8, 1) == [b""]


def test_comm_is_cut_to_15_bytes(machine):
    machine.write(b"/a-very-long-program-name", STATIC)
    run(machine, b"/a-very-long-program-name")
    assert machine.proc.comm == machine.lwp.name == b"a-very-long-pro"


@pytest.mark.parametrize("path", host_programs())
def test_exec_host_program_maps_every_segment(machine, path):
    with open(path, "rb") as file:
        data = file.read()
    machine.mkdir(b"/lib64")
    machine.write(b"/prog", data)
    machine.write(
        b"/lib64/ld-linux-x86-64.so.2",
        Elf(type=3, entry=0x100, segs=[Seg(data=b"\x90", vaddr=0x100)]).build(),
    )

    run(machine, b"/prog")

    from lxemu.loader.elf import parse

    image = parse(lambda off, n: data[off : off + n])
    bias = 0x555555554000 if image.dynamic else 0
    for ph in image.loads:
        want = data[ph.offset : ph.offset + ph.filesz] + bytes(ph.memsz - ph.filesz)
        assert machine.proc.as_.copyin(ph.vaddr + bias, ph.memsz) == want
    assert machine.proc.as_.brk_start == -(-(image.extent()[1] + bias) // 4096) * 4096


# -- refusals -------------------------------------------------------------------------------------


def test_missing_file_enoent(machine):
    assert refused(machine, b"/nope") is Errno.ENOENT


def test_empty_path_enoent(machine):
    assert refused(machine, b"") is Errno.ENOENT


def test_directory_eacces(machine):
    machine.mkdir(b"/dir")
    assert refused(machine, b"/dir") is Errno.EACCES


def test_no_execute_bit_eacces_even_for_root(machine):
    machine.write(b"/prog", STATIC, mode=0o644)
    assert refused(machine, b"/prog") is Errno.EACCES


def test_noexec_mount_eacces(machine):
    machine.write(b"/prog", STATIC)
    machine.root.vnode.vfs.flags |= VFS_NOEXEC
    assert refused(machine, b"/prog") is Errno.EACCES


def test_file_open_for_writing_etxtbsy(machine):
    machine.write(b"/prog", STATIC).vnode.wcount = 1
    assert refused(machine, b"/prog") is Errno.ETXTBSY


@pytest.mark.parametrize("data", [b"", b"hello", b"#!", b"#! \n", b"\x7fELF", STATIC[:40]])
def test_unknown_format(machine, data):
    machine.write(b"/prog", data)
    # "#!" names the empty path, which is the working directory.
    expected = Errno.EACCES if data == b"#!" else Errno.ENOEXEC
    assert refused(machine, b"/prog") is expected


def test_wrong_machine_says_which(machine):
    machine.write(b"/prog", Elf(machine=183, segs=[CODE]).build())
    with pytest.raises(KernelError) as caught:
        run(machine, b"/prog")
    assert caught.value.errno is Errno.ENOEXEC
    assert isinstance(caught.value.__cause__, ElfError)
    assert "aarch64" in str(caught.value.__cause__)


# -- size limits ----------------------------------------------------------------------------------


def test_one_string_too_long_e2big(machine):
    machine.write(b"/prog", STATIC)
    assert refused(machine, b"/prog", [b"a" * 131072]) is Errno.E2BIG
    run(machine, b"/prog", [b"a" * 131071])


def test_total_too_long_e2big(machine):
    machine.write(b"/prog", STATIC)
    machine.proc.rctls.set(RLIMIT_STACK, 1 << 20, RLIM_INFINITY)
    room = (1 << 18) - 8 * 4 - len(b"/prog\0")
    args = [b"a" * 100_000, b"b" * 100_000, b""]
    args[2] = b"c" * (room - 200_002 - 1)
    assert refused(machine, b"/prog", args, [b"x"]) is Errno.E2BIG
    args[2] = args[2][2:]
    run(machine, b"/prog", args, [b"x"])


def test_small_stack_limit_leaves_128_kib(machine):
    machine.write(b"/prog", STATIC)
    machine.proc.rctls.set(RLIMIT_STACK, 256 << 10, RLIM_INFINITY)
    run(machine, b"/prog", [b"a" * 100_000])


# -- scripts --------------------------------------------------------------------------------------


def test_script(machine):
    machine.write(b"/interp", STATIC)
    machine.write(b"/script", b"#!/interp -a b\nrest\n")

    run(machine, b"/script", [b"zero", b"one"])

    assert machine.proc.psargs == [b"/interp", b"-a b", b"/script", b"one"]
    assert machine.proc.comm == b"script"
    assert machine.proc.exe is machine.lookup(b"/interp")
    sp = machine.engine.mode[2]
    assert strings(machine, sp + 8, 4) == [b"/interp", b"-a b", b"/script", b"one"]
    assert machine.proc.as_.copyinstr(auxv(machine)[31], 100) == b"/script"


def test_script_of_script(machine):
    machine.write(b"/interp", STATIC)
    machine.write(b"/one", b"#!/interp x\n")
    machine.write(b"/two", b"#!/one y\n")
    run(machine, b"/two", [b"zero", b"arg"])
    assert machine.proc.psargs == [b"/interp", b"x", b"/one", b"y", b"/two", b"arg"]


@pytest.mark.parametrize(("depth", "ok"), [(5, True), (6, False)])
def test_script_depth(machine, depth, ok):
    machine.write(b"/s0", STATIC)
    for level in range(1, depth + 1):
        machine.write(b"/s%d" % level, b"#!/s%d\n" % (level - 1))
    if ok:
        run(machine, b"/s%d" % depth)
    else:
        assert refused(machine, b"/s%d" % depth) is Errno.ELOOP


def test_script_interpreter_missing_enoent(machine):
    machine.write(b"/script", b"#!/nope\n")
    assert refused(machine, b"/script") is Errno.ENOENT


def test_script_interpreter_not_executable_eacces(machine):
    machine.write(b"/interp", STATIC, mode=0o644)
    machine.write(b"/script", b"#!/interp\n")
    assert refused(machine, b"/script") is Errno.EACCES


def test_script_on_descriptor_that_closes_enoent(machine):
    machine.write(b"/interp", STATIC)
    machine.write(b"/script", b"#!/interp\n")
    assert refused(machine, b"/script", unreachable=True) is Errno.ENOENT


def test_script_with_relative_interpreter(machine):
    machine.mkdir(b"/dir")
    machine.write(b"/dir/interp", STATIC)
    machine.write(b"/script", b"#!interp\n")
    assert refused(machine, b"/script") is Errno.ENOENT
    machine.proc.fs.cwd = machine.lookup(b"/dir")
    run(machine, b"/script")


# -- ELF interpreters -----------------------------------------------------------------------------

INTERP = Elf(type=3, entry=0x200, segs=[Seg(data=b"\xcc" * 50, vaddr=0x200)]).build()
DYNAMIC = Elf(
    type=3,
    entry=0x100,
    segs=[Seg(type=PT_INTERP, data=b"/ld\0"), Seg(data=b"\x90" * 64, vaddr=0x100)],
).build()


def auxv(machine):
    """Return the auxiliary vector that the program finds on its stack."""
    as_, bits, sp = machine.proc.as_, machine.lwp.brand.bits, machine.engine.mode[2]
    load, size = (as_.load_u64, 8) if bits == 64 else (as_.load_u32, 4)
    pos = sp + size * (load(sp) + 2)
    while load(pos):
        pos += size
    pos += size
    found = {}
    while load(pos):
        found[load(pos)] = load(pos + size)
        pos += 2 * size
    return found


def test_interpreter_starts_first(machine):
    machine.write(b"/ld", INTERP)
    machine.write(b"/prog", DYNAMIC)

    run(machine, b"/prog")

    vector = auxv(machine)
    assert vector[9] == 0x555555554000 + 0x100
    assert vector[7] % 4096 == 0
    assert machine.engine.mode[1] == vector[7] + 0x200
    assert machine.proc.as_.copyin(vector[7] + 0x200, 50) == b"\xcc" * 50
    assert machine.proc.exe is machine.lookup(b"/prog")


@pytest.mark.parametrize(
    ("data", "mode", "errno"),
    [
        (None, 0, Errno.ENOENT),
        (INTERP, 0o644, Errno.EACCES),
        (b"x" * 100, 0o755, Errno.ELIBBAD),
        (b"short", 0o755, Errno.EIO),
        (Elf(machine=183, segs=[CODE]).build(), 0o755, Errno.ELIBBAD),
        (STATIC32, 0o755, Errno.ELIBBAD),
    ],
    ids=["missing", "not executable", "no ELF", "short", "aarch64", "other class"],
)
def test_bad_interpreter(machine, data, mode, errno):
    if data is not None:
        machine.write(b"/ld", data, mode=mode)
    machine.write(b"/prog", DYNAMIC)
    assert refused(machine, b"/prog") is errno


# -- what a program inherits ----------------------------------------------------------------------


def test_exec_resets_signals_and_closes_descriptors(machine):
    machine.write(b"/prog", STATIC)
    proc, lwp = machine.proc, machine.lwp
    proc.sigacts[SIGTERM] = SigAction(0x1234)
    proc.sigacts[SIGHUP] = SigAction(SIG_IGN)
    lwp.sigmask = 0x10
    lwp.altstack = (0x1000, 0x4000, 0)
    from lxemu.kernel.vfs.ops import vn_open

    kept = proc.files.alloc(vn_open(proc, machine.root, b"/prog", 0, 0))
    gone = proc.files.alloc(vn_open(proc, machine.root, b"/prog", 0, 0), cloexec=True)
    shared = proc.files.hold()

    run(machine, b"/prog")

    assert proc.sigacts[SIGTERM] == SigAction()
    assert proc.sigacts[SIGHUP].handler == SIG_IGN
    assert lwp.sigmask == 0x10
    assert lwp.altstack == (0, 0, SS_DISABLE)
    assert [fd for fd, _ in proc.files.items()] == [kept]
    assert [fd for fd, _ in shared.items()] == [kept, gone]


def test_set_user_id_program(machine):
    machine.write(b"/prog", STATIC, mode=0o4755, uid=0)
    proc = machine.proc
    proc.cred = Cred.for_user(1000, 1000)

    run(machine, b"/prog")

    cred = proc.cred
    assert (cred.ruid, cred.euid, cred.suid, cred.fsuid) == (1000, 0, 0, 0)
    assert cred.privs & ~PRIV_BASIC
    assert auxv(machine)[23] == 1
    assert auxv(machine)[12] == 0
    assert proc.dumpable == 0


def test_set_group_id_needs_group_execute(machine):
    proc = machine.proc
    machine.write(b"/locked", STATIC, mode=0o2745, gid=5)
    machine.write(b"/prog", STATIC, mode=0o2755, gid=5)
    proc.cred = Cred.for_user(1000, 1000)
    run(machine, b"/locked")
    assert proc.cred.egid == 1000
    run(machine, b"/prog")
    assert (proc.cred.rgid, proc.cred.egid, proc.cred.sgid) == (1000, 5, 5)


def test_set_user_id_is_ignored_on_nosuid_and_with_no_new_privs(machine):
    machine.write(b"/prog", STATIC, mode=0o4755)
    proc = machine.proc
    proc.cred = Cred.for_user(1000, 1000).with_(no_new_privs=True)
    run(machine, b"/prog")
    assert proc.cred.euid == 1000
    proc.cred = Cred.for_user(1000, 1000)
    machine.root.vnode.vfs.flags |= VFS_NOSETUID
    run(machine, b"/prog")
    assert proc.cred.euid == 1000
    assert proc.dumpable == 1


def test_unreadable_program_is_not_dumpable(machine):
    machine.write(b"/prog", STATIC, mode=0o711)
    machine.proc.cred = Cred.for_user(1000, 1000)
    run(machine, b"/prog")
    assert machine.proc.dumpable == 0


@pytest.mark.parametrize(
    ("bits", "flags", "expected"),
    [(64, 6, 3), (64, 7, 7), (64, None, 3), (32, 6, 3), (32, 7, 7), (32, None, 7)],
)
def test_executable_stack(machine, bits, flags, expected):
    segs = [CODE] if flags is None else [CODE, Seg(type=PT_GNU_STACK, flags=flags)]
    machine.write(b"/prog", Elf(bits, entry=0x400100, segs=segs).build())
    run(machine, b"/prog")
    stack = [s for s in machine.proc.as_.maps() if s.name == b"[stack]"]
    assert [s.prot for s in stack] == [expected]
    implied = bits == 32 and flags is None
    assert bool(machine.proc.personality & 0x0400000) == implied


def test_segments_with_zeroed_rest(machine):
    data = Seg(data=b"d" * 100, vaddr=0x600F80, memsz=0x2000, flags=6)
    machine.write(b"/prog", Elf(segs=[CODE, data]).build())
    run(machine, b"/prog")
    as_ = machine.proc.as_
    assert as_.copyin(0x600F80, 100) == b"d" * 100
    assert as_.copyin(0x600F80 + 100, 0x2000 - 100) == bytes(0x2000 - 100)
    assert as_.brk_start == 0x603000
    as_.copyout(0x602F00, b"writable")
    with pytest.raises(KernelError):
        as_.copyout(0x400100, b"read only")


@pytest.mark.parametrize("bits", [32, 64])
def test_random_layout_differs_and_stays_in_bounds(bits):
    seen = set()
    machine = Machine(aslr=True)
    limit = 0x7FFF_FFFF_F000 if bits == 64 else 0xFFFF_E000
    interp = Elf(bits, type=3, entry=0x200, segs=[Seg(data=b"\xcc", vaddr=0x200)]).build()
    segs = [Seg(type=PT_INTERP, data=b"/ld\0"), Seg(data=b"\x90" * 64, vaddr=0x100)]
    machine.write(b"/ld", interp)
    machine.write(b"/prog", Elf(bits, type=3, entry=0x100, segs=segs).build())
    for _ in range(20):
        run(machine, b"/prog", [b"prog"] * 50, [b"A=b"] * 50)
        vector = auxv(machine)
        _, _, sp = machine.engine.mode
        assert sp % 16 == 0
        assert sp < limit
        assert machine.proc.as_.brk_start > vector[9]
        seen.add((vector[7], vector[9], sp, machine.proc.as_.brk_start))
        assert machine.proc.as_.copyin(vector[25], 16)
    assert len(seen) == 20
    machine.close()
