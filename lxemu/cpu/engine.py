"""One Unicorn engine for a whole machine: paged 64-bit mode, user code at privilege level 3.

The engine walks the kernel's page tables in `PhysMem`. Every address space shares the last
top-level entry, which leads to the supervisor's page. Its code runs twice, when the templates of
fresh contexts are made; nothing else ever runs at level 0: a trap stops the engine, the kernel is
Python, and the next run goes on in user mode.

Facts about Unicorn that this code relies on are measured; tests/unit/cpu repeats the measurements.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager
from ctypes import CFUNCTYPE, byref, c_char, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from functools import cached_property, partial
from itertools import repeat
from typing import TYPE_CHECKING, Any

from lxemu.cpu import binding as uc
from lxemu.cpu import private, supervisor, trap
from lxemu.cpu.binding import Binding
from lxemu.cpu.context import NO_TLS, Context, FpuBatch
from lxemu.cpu.gate import FIRST_SLICES, Gate, HookGate
from lxemu.cpu.supervisor import Supervisor
from lxemu.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lxemu.cpu.ldt import Ldt
    from lxemu.kernel.mm.page import PhysMem

_CR0 = 0x8005_0033  # PG AM WP NE ET MP PE
_CR4 = 1 << 5 | 1 << 9 | 1 << 10 | 1 << 16  # PAE OSFXSR OSXMMEXCPT FSGSBASE; no OSXSAVE
_EFER, _EFER_INIT = 0xC000_0080, 0xD01  # SCE LME LMA NXE
_TCG_BUFFER = 128 << 20
_CPUID_LEAVES = (0, 1, 7, *range(0x8000_0000, 0x8000_0005), 0x8000_0008)
_MASK32 = 0xFFFF_FFFF
_UNMAPPED = 0x1000  # an address at which no program can have anything while there is none


def _use_private() -> bool:
    return os.environ.get("LXEMU_CPU", "") != "api"


class Engine:
    """The processor of a machine.

    q: the live general registers (rax rcx rdx rbx rsp rbp rsi rdi r8..r15 rip) as 64-bit words; d:
    the same memory as 32-bit words. Valid between runs, for the lwp that is `owner`. owner: the lwp
    whose state is live, or None; live: its context. run(): go on in user mode until something
    happens; returns the library's error code. kind: word that tells a trap from a system call (see
    trap.py). kernel_entry: top-level page table entry that every address space must have in slot
    511.

    `use_private` False (or LXEMU_CPU=api in the environment) keeps to the public interface of the
    library, which makes a trap about twice as expensive. `hook_gate` True pre-empts with hooks.
    """

    def __init__(
        self, phys: PhysMem, *, use_private: bool | None = None, hook_gate: bool = False
    ) -> None:
        self.phys = phys
        self.binding = Binding(uc.load())
        self.owner: Any = None
        self.live: Context | None = None
        self.closed = False
        self.slices = 0
        self._fpu = FpuBatch()
        self._live_tls = NO_TLS
        self.supervisor = Supervisor(phys)
        self.kernel_entry, self.boot_cr3 = self.supervisor.entry, self.supervisor.root
        self.cr3 = self.boot_cr3
        self.handle = self._open()
        self._ref = byref(c_char.from_address(self.handle.value or 0))
        self._bind_calls()
        self._init_control_registers()
        self._init_blob()
        self._map_registers(_use_private() if use_private is None else use_private)
        self._add_hooks()
        self._find_exception_words()
        self._make_gate(hook_gate or not self.private)
        mmu = phys.mmu
        mmu.flush = self.tlb_flush
        mmu.invalidate = self.invalidate_code
        mmu.kernel_entry = self.kernel_entry

    # -- construction ---------------------------------------------------------------------------

    def _open(self) -> c_void_p:
        b, phys = self.binding, self.phys
        handle = b.open()
        b.ctl_write(handle, uc.CTL_CPU_MODEL, uc.CPU_EPYC)
        b.ctl_write(handle, uc.CTL_TCG_BUFFER_SIZE, c_uint32(_TCG_BUFFER))
        b.map_memory(handle, phys.address, phys.nframes << 12)
        # An `until` address would be looked up, and might fault, at every exit.
        b.ctl_write(handle, uc.CTL_USE_EXITS, 1)
        b.ctl_write(handle, uc.CTL_EXITS, c_void_p(phys.address), c_size_t(0))
        return handle

    def _bind_calls(self) -> None:
        """Bind the calls that are made often to arguments that ctypes need not convert."""
        lib = self.binding.lib
        flush_tlb = c_uint32(uc.CTL_TLB_FLUSH | 1 << 30)
        self._flush = partial(lib.uc_ctl, self._ref, flush_tlb)
        self._cr3 = c_uint64(self.boot_cr3)
        self._load_cr3 = partial(lib.uc_reg_write, self._ref, uc.REG_CR3, byref(self._cr3))
        self._cr2 = c_uint64()
        self._read_cr2 = partial(lib.uc_reg_read, self._ref, uc.REG_CR2, byref(self._cr2))
        self._save = partial(lib.uc_context_save, self._ref)
        self._restore = partial(lib.uc_context_restore, self._ref)

    def _init_control_registers(self) -> None:
        b, handle = self.binding, self.handle
        b.write_reg(handle, uc.REG_CR3, self.boot_cr3)
        b.write_reg(handle, uc.REG_CR4, _CR4)
        b.write_msr(handle, _EFER, _EFER_INIT)
        b.write_reg(handle, uc.REG_CR0, _CR0)
        b.write_gdtr(handle, supervisor.BASE, supervisor.GDT_LIMIT)
        b.write_reg(handle, uc.REG_FPCW, 0x37F)
        b.write_reg(handle, uc.REG_MXCSR, 0x1F80)
        b.write_reg(handle, uc.REG_FPTAG, 0xFFFF)

    def _init_blob(self) -> None:
        """Make the context object that all contexts are copies of, and learn its layout."""
        b = self.binding
        source = b.context_alloc(self.handle)
        size = b.context_size(self.handle)
        #: Type of the buffer that a context is saved in.
        self.image = c_char * size
        self._scratch = self.image.from_buffer_copy(ctypes.string_at(source, size))
        b.lib.uc_context_free(source)

        def save() -> bytes:
            b.check(self._save(self._scratch), "uc_context_save")
            return self._scratch.raw

        #: Where a saved context has the bases of FS and GS.
        self.bases = {
            reg: private.find_base(b, self.handle, reg, save)
            for reg in (uc.REG_FS_BASE, uc.REG_GS_BASE)
        }
        state, layout = private.find_blob(b, self.handle, save)
        self.blob = layout or private.BlobLayout(state, 0, 0, 0)
        self._layout_known = layout is not None

    def _add_hooks(self) -> None:
        b, lib = self.binding, self.binding.lib
        b.hook(self.handle, uc.HOOK_INTR, lib.uc_emu_stop, None, 1, 0)
        self._add_step_hook()
        b.hook(self.handle, uc.HOOK_INSN, lib.uc_emu_stop, None, 1, 0, uc.INS_SYSCALL)
        # Unhooked, a SYSENTER of 32-bit code would do nothing at all; 64-bit code gets #UD.
        b.hook(self.handle, uc.HOOK_INSN, lib.uc_emu_stop, None, 1, 0, uc.INS_SYSENTER)

    def _add_step_hook(self) -> None:
        """Add the hook that notes where a SYSCALL was, for programs that are single-stepped.

        With TF set the instruction stops the engine and then raises #DB, which hides the call. The
        hook is closed until a single step is seen. It must come before the one that stops, and must
        not run Python code (see gate.py).
        """
        self._stepped = (c_uint64 * 1)()
        where = map(self.q.__getitem__, repeat(16))
        note = map(self._stepped.__setitem__, repeat(0), where)
        self._step_callback = CFUNCTYPE(None)(note.__next__)
        handle = self.binding.hook(
            self.handle,
            uc.HOOK_INSN,
            self._step_callback,
            None,
            *private.PROBE,
            uc.INS_SYSCALL,
        )
        self._step_bounds = private.hook_bounds(handle)

    def watch_steps(self, on: bool) -> None:
        """Note, or no longer note, where SYSCALL instructions are."""
        self._stepped[0] = 0
        if self._step_bounds is not None:
            self._step_bounds[0], self._step_bounds[1] = private.OPEN if on else private.CLOSED

    def stepped_syscall(self) -> int:
        """Return the address of the SYSCALL that the last single step executed, or 0."""
        address: int = self._stepped[0]
        self._stepped[0] = 0
        return address

    def _map_registers(self, use_private: bool) -> None:
        env = private.find_env(self.binding, self.handle) if use_private else None
        self.private = env is not None
        start = self.binding.lib.uc_emu_start
        if env is not None:
            self.q = (c_uint64 * 17).from_address(env)
            self.d = (c_uint32 * 34).from_address(env)
            pc = c_uint64.from_address(env + 128)
            self.run = self._start = partial(start, self._ref, pc, None, None, None)
            self._env = env
        else:
            self.q = (c_uint64 * 17)()
            self.d = (c_uint32 * 34).from_buffer(self.q)
            self._make_api_run()

    def _find_exception_words(self) -> None:
        if not self._layout_known:
            self.blob = self._search_layout()
        blob = self.blob
        if self.private:
            self.kind = (c_int * 1).from_address(self._env + blob.is_int)
            self._old = c_int.from_address(self._env + blob.old_exception)
            self._error = c_int.from_address(self._env + blob.error_code)
        else:
            self.kind = (c_int * 1)()
            self._old, self._error = c_int(-1), c_int()
            self._mark = c_uint64(trap.UNMARKED)
        self.kind[0] = trap.NOTHING
        mark = byref(self.kind) if self.private else byref(self._mark)
        self.binding.hook(self.handle, uc.HOOK_INTR, self.binding.lib.uc_query, mark, 1, 0)

    def _make_api_run(self) -> None:
        """Make a `run` of the same behaviour from the public interface alone."""
        lib, ref, q = self.binding.lib, self._ref, self.q
        base = ctypes.addressof(q)
        regs = (c_int * 17)(*uc.GPRS)
        places = (c_void_p * 17)(*(base + 8 * i for i in range(17)))
        write = partial(lib.uc_reg_write_batch, ref, regs, places, 17)
        read = partial(lib.uc_reg_read_batch, ref, regs, places, 17)
        pc = c_uint64.from_buffer(q, 128)
        start = partial(lib.uc_emu_start, ref, pc, None, None, None)
        self._push, self._pull, self._start = write, read, start

        def run() -> int:
            self.kind[0] = trap.NOTHING
            write()
            err: int = start()
            read()
            if self.kind[0] == trap.NOTHING:
                self._take_exception()
            return err

        self.run = run  # type: ignore[assignment]

    def _take_exception(self) -> None:
        """Read the words of the last exception through a saved context, and reset them there."""
        scratch, blob = self._scratch, self.blob
        self._save(scratch)
        kind = c_int.from_buffer(scratch, blob.state + blob.is_int)
        if kind.value == trap.NOTHING:
            return
        old = c_int.from_buffer(scratch, blob.state + blob.old_exception)
        self.kind[0] = kind.value
        if self._mark.value != trap.UNMARKED:
            self.kind[0] = self._mark.value
            self._mark.value = trap.UNMARKED
        self._old.value = old.value
        self._error.value = c_int.from_buffer(scratch, blob.state + blob.error_code).value
        kind.value, old.value = trap.NOTHING, -1
        self._restore(scratch)

    def _search_layout(self) -> private.BlobLayout:
        """Find the words of the last exception, for a version that is not in the table."""
        before = self._saved()
        frame = self.phys.page_alloc()
        self.phys.ram[frame << 12 : (frame << 12) + 2] = b"\xcd\x80"
        results = []
        window = self.supervisor.open_window(frame)
        for target in (_UNMAPPED, window):
            self._load(before)
            self.q[16], self.q[4] = self.supervisor.prepare_entry(64, target)
            self._push_all()
            self._start()
            results.append(self._saved())
        self._close_window(window)
        self._load(before)
        self.phys.page_rele(frame)
        return private.search_exception_words(self.blob.state, before, results[0], results[1])

    def _saved(self) -> bytes:
        self._save(self._scratch)
        return self._scratch.raw

    def _load(self, blob: bytes) -> None:
        ctypes.memmove(self._scratch, blob, len(blob))
        self._restore(self._scratch)

    def _make_gate(self, hooks: bool) -> None:
        """Make the gate and the templates, whose runs show whether the words for it are right."""
        words = None if hooks else private.exit_words(self.binding, self.handle)
        self.gate: Gate | HookGate
        if words is not None:
            self.gate = Gate(self, words)
        else:
            self.gate = HookGate(self)
        self._make_templates()
        if words is not None and not words.cleared():
            self.gate = HookGate(self)

    def _make_templates(self) -> None:
        """Enter user mode once per mode, and keep the state just before the first instruction.

        The address entered is not mapped, so the run ends with a page fault whose every word is
        known: that proves the layout of the exception words on this very engine.
        """
        boot = self._saved()
        self.templates: dict[int, bytes] = {}
        for bits in (64, 32):
            self._load(boot)
            self.templates[bits] = self._enter(bits)
        self.segments_known = self._segments_known()

    def _segments_known(self) -> bool:
        """Return whether a saved context has segments in the form that private.py knows."""
        selector = supervisor.USER_DS
        expected = private.SegmentCache.of(selector, self.supervisor.descriptor(selector))
        for reg, base_reg in ((uc.REG_FS, uc.REG_FS_BASE), (uc.REG_GS, uc.REG_GS_BASE)):
            self.binding.write_reg(self.handle, reg, selector)
            base = self.bases[base_reg]
            if base is None or private.SegmentCache.read(self._saved(), base) != expected:
                return False
            self.binding.write_reg(self.handle, reg, 0)
        return True

    def _enter(self, bits: int) -> bytes:
        self.q[16], self.q[4] = self.supervisor.prepare_entry(bits, _UNMAPPED)
        self.kind[0] = trap.NOTHING
        self._error.value, self._old.value = -1, -1
        err = self.run()
        self._pull_all()
        seen = (err, self.kind[0], self._error.value, self._old.value, self.cr2(), self.q[16])
        if seen != (0, trap.FAULT, 0x14, trap.T_PF, _UNMAPPED, _UNMAPPED):
            raise EngineError(f"this version of unicorn does not behave as expected: {seen}")
        self.rearm()
        self.kind[0] = trap.NOTHING
        for index in range(17):
            self.q[index] = 0
        self._push_all()
        return self._saved()

    def _push_all(self) -> None:
        if not self.private:
            self._push()

    def _pull_all(self) -> None:
        if not self.private:
            self._pull()

    # -- contexts -------------------------------------------------------------------------------

    def new_context(self) -> Context:
        """Return the registers of a new lwp: a fresh 64-bit image, all zero."""
        return Context(self, self.templates[64], self.boot_cr3)

    def regs(self, lwp: Any) -> Context:
        """Return the accessor of an lwp's user registers, which is its context."""
        context: Context = lwp.cpu
        return context

    def set_mode(self, ctx: Context, bits: int, pc: int, sp: int) -> None:
        """Make `ctx` a fresh image: registers zero, x87 and SSE reset, segments for `bits`."""
        template = self.templates[bits]
        ctypes.memmove(ctx.buf, template, len(template))
        ctx.bits, ctx.tls, ctx.cr3, ctx.sites = bits, NO_TLS, self.boot_cr3, set()
        ctx.ldt = None
        ctx.saved[4], ctx.saved[16] = sp, pc
        self.slices = 0
        if self.live is ctx:
            owner, self.owner, self.live = self.owner, None, None
            self.switch(owner)
            owner.ast = True  # the trap loop must look at the mode again

    def save(self, ctx: Context) -> None:
        """Store the live state, which is that of `ctx` or is to be copied, into it."""
        self._push_all()
        self._save(ctx.buf)

    def switch(self, lwp: Any) -> None:
        """Make the state and the address space of `lwp` live, saving those of the owner."""
        if self.owner is lwp:
            return
        if self.owner is not None and self.live is not None:
            self.save(self.live)
        ctx: Context = lwp.cpu
        self._restore(ctx.buf)
        self._pull_all()
        hat = lwp.as_.hat
        if hat.cr3 != self.cr3 or ctx.cr3 != hat.cr3:
            self._set_cr3(hat.cr3)
        ctx.cr3 = hat.cr3
        if ctx.tls is not self._live_tls:
            self.load_tls(ctx)
        self.owner, self.live = lwp, ctx
        self.phys.mmu.live = hat

    def _set_cr3(self, cr3: int) -> None:
        self.cr3 = self._cr3.value = cr3
        self._load_cr3()
        self.phys.mmu.stale = False

    def leave_address_space(self) -> None:
        """Load page tables that map nothing, since those that are loaded are about to be freed.

        Call it with the owner's address space still in place; the owner gets its new one from
        `set_mode`, or is dead.
        """
        self._set_cr3(self.boot_cr3)
        if self.live is not None:
            self.live.cr3 = self.boot_cr3
        self.phys.mmu.live = None

    def load_tls(self, ctx: Context) -> None:
        """Enter the thread-local segments of `ctx` into the descriptor table."""
        self._live_tls = ctx.tls
        self.supervisor.enter_tls(ctx.tls)

    def load_ldt(self, ctx: Context, ldt: Ldt) -> None:
        """Have `ctx` use a local descriptor table; do so again when it has moved or grown."""
        ctx.ldt = ldt
        with self._borrow(ctx):
            self.binding.write_ldtr(self.handle, ldt.base, ldt.limit)

    # -- registers that are not general ---------------------------------------------------------

    @contextmanager
    def _borrow(self, ctx: Context) -> Iterator[None]:
        """Have the state of `ctx` in the engine for a moment (registers only, not memory)."""
        if self.live is ctx:
            yield
            return
        self._push_all()
        kept = self._saved()
        self._restore(ctx.buf)
        try:
            yield
        finally:
            self._save(ctx.buf)
            self._load(kept)

    def read(self, ctx: Context, reg: int) -> int:
        """Read a register of `ctx` by its number in the library."""
        if self.live is ctx:
            return self.binding.read_reg(self.handle, reg)
        with self._borrow(ctx):
            return self.binding.read_reg(self.handle, reg)

    def read_many(self, ctx: Context, regs: Sequence[int]) -> list[int]:
        """Read several registers of `ctx`."""
        with self._borrow(ctx):
            return [self.binding.read_reg(self.handle, reg) for reg in regs]

    def write(self, ctx: Context, reg: int, value: int) -> None:
        """Write a register of `ctx` by its number in the library."""
        if self.live is ctx:
            self.binding.write_reg(self.handle, reg, value)
            return
        with self._borrow(ctx):
            self.binding.write_reg(self.handle, reg, value)

    def load_segment(self, ctx: Context, reg: int, selector: int) -> None:
        """Load a data segment register of `ctx`; a selector that cannot be loaded gives 0.

        Linux does the same where it restores segments (loadsegment), so a program that puts
        nonsense into a signal frame gets no exception in the kernel's name. The library loads FS
        and GS from the table, but only stores the selector of DS and ES, whose base stays 0.
        """
        if not self.supervisor.loadable(selector, ctx.tls, ctx.ldt):
            selector = 0
        if self.live is ctx:
            self.binding.write_reg(self.handle, reg, selector)
            return
        with self._borrow(ctx):
            self.supervisor.enter_tls(ctx.tls)
            self.binding.write_reg(self.handle, reg, selector)
            self.supervisor.enter_tls(self._live_tls)

    def reload_segments(self, ctx: Context, selector: int) -> None:
        """Load FS and GS of `ctx` anew where they hold `selector`, whose descriptor has changed."""
        if self.live is not ctx and self.segments_known and not selector & 4:
            self._patch_segments(ctx, selector)
            return
        with self._borrow(ctx):
            for reg in (uc.REG_FS, uc.REG_GS):
                if self.binding.read_reg(self.handle, reg) & 0xFFFF == selector:
                    loadable = self.supervisor.loadable(selector, ctx.tls, ctx.ldt)
                    self.supervisor.enter_tls(ctx.tls)
                    self.binding.write_reg(self.handle, reg, selector if loadable else 0)
                    self.supervisor.enter_tls(self._live_tls)

    def _patch_segments(self, ctx: Context, selector: int) -> None:
        descriptor = ctx.tls[(selector >> 3) - supervisor.TLS_FIRST]
        for base in self.bases.values():
            assert base is not None
            if private.unpack_selector(ctx.buf, base - 8)[0] == selector:
                loaded = private.SegmentCache.of(selector if descriptor else 0, descriptor)
                loaded.write(ctx.buf, base)

    def read_fpu(self, ctx: Context) -> bytes:
        """Return the x87 and SSE state of `ctx` as an FXSAVE image."""
        fpu, read = self._fpu, self.binding.lib.uc_reg_read_batch
        if self.live is ctx:
            err = read(self._ref, fpu.regs, fpu.places, fpu.count)
        else:
            with self._borrow(ctx):
                err = read(self._ref, fpu.regs, fpu.places, fpu.count)
        self.binding.check(err, "reading the FPU")
        return fpu.to_image()

    def write_fpu(self, ctx: Context, image: bytes) -> None:
        """Set the x87 and SSE state of `ctx` from an FXSAVE image."""
        fpu, write = self._fpu, self.binding.lib.uc_reg_write_batch
        fpu.from_image(image)
        if self.live is ctx:
            err = write(self._ref, fpu.regs, fpu.places, fpu.count)
        else:
            with self._borrow(ctx):
                err = write(self._ref, fpu.regs, fpu.places, fpu.count)
        self.binding.check(err, "writing the FPU")

    # -- exceptions -----------------------------------------------------------------------------

    @property
    def bits(self) -> int:
        """Mode of the live context."""
        return 64 if self.live is None else self.live.bits

    def exception(self) -> tuple[int, int]:
        """Return (error code, vector or -1) of the last fault that the processor remembers."""
        return self._error.value & _MASK32, self._old.value

    def rearm(self) -> None:
        """Forget the last fault: while it is remembered, the next would become a double fault."""
        self._old.value = -1

    def cr2(self) -> int:
        """Return the address of the last page fault."""
        self._read_cr2()
        return self._cr2.value

    def fetch(self, va: int) -> int | None:
        """Read a byte of the live address space; None where nothing is mapped."""
        return self.supervisor.fetch(self.cr3, va)

    # -- caches ---------------------------------------------------------------------------------

    def tlb_flush(self) -> None:
        """Drop every cached translation, after a present one was removed or restricted."""
        self._flush()
        self.phys.mmu.stale = False

    def invalidate_code(self, pfn: int) -> None:
        """Drop the translated code of one frame, after the kernel wrote to it.

        The library takes a virtual address that user mode may execute, so the frame gets a window
        for the moment. Its translation is cached; it is dropped before user code can run.
        """
        va = self.supervisor.open_window(pfn)
        control = c_uint32(uc.CTL_TB_REMOVE_CACHE | 2 << 26 | 1 << 30)
        err = self.binding.lib.uc_ctl(self._ref, control, c_uint64(va), c_uint64(va + 0x1000))
        self._close_window(va)
        self.binding.check(err, "invalidating code")

    def _close_window(self, va: int) -> None:
        self.supervisor.close_window(va)
        self.tlb_flush()

    @cached_property
    def cpuid(self) -> dict[int, tuple[int, int, int, int]]:
        """What the CPUID instruction tells programs: leaf (subleaf 0) to eax, ebx, ecx, edx."""
        frame = self.phys.page_alloc()
        self.phys.ram[frame << 12 : (frame << 12) + 3] = b"\x0f\xa2\xcc"  # cpuid; int3
        window = self.supervisor.open_window(frame)
        self._push_all()
        kept = self._saved()
        try:
            return {leaf: self._cpuid(window, leaf) for leaf in _CPUID_LEAVES}
        finally:
            self._close_window(window)
            self._load(kept)
            self._pull_all()
            self.phys.page_rele(frame)

    def _cpuid(self, code: int, leaf: int) -> tuple[int, int, int, int]:
        self._load(self.templates[64])
        self._pull_all()
        self.q[0], self.q[16] = leaf, code
        while trap.decode(self, self.run()).vector != trap.T_BP:
            self.gate.acknowledge()
        eax, ecx, edx, ebx = self.d[0:8:2]
        return eax, ebx, ecx, edx

    # -- pre-emption ----------------------------------------------------------------------------

    def request_preempt(self) -> None:
        """Have the run end at the next block of guest code. Any thread may call this."""
        self.gate.open()

    def slice_end(self) -> None:
        """Account for a stop that the gate caused.

        The translation cache only grows when it is dropped, from 256 entries: a program that
        computes is given a larger one by dropping it during its first slices, and now and then
        later.
        """
        self.gate.acknowledge()
        self.slices += 1
        if self.slices <= FIRST_SLICES or not self.slices % 128:
            self.tlb_flush()

    # -- end ------------------------------------------------------------------------------------

    def close(self) -> None:
        """Give the engine's memory back; contexts and `q` must not be used afterwards."""
        if self.closed:
            return
        self.closed = True
        self.gate.close()
        self.owner = self.live = None
        mmu = self.phys.mmu
        without = type(mmu)()
        mmu.live, mmu.flush, mmu.invalidate = None, without.flush, without.invalidate
        self.q = (c_uint64 * 17)()
        self.d = (c_uint32 * 34)()
        self.binding.lib.uc_close(self.handle)
