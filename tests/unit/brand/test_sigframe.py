"""Signal frames: the offsets of a native frame, the round trip, alternate stacks, bad stacks.

The offsets were read off frames that a native kernel wrote (see struct rt_sigframe and friends).
"""

from __future__ import annotations

import pytest

from lxemu.kernel.signal import (
    SA_ONSTACK,
    SA_SIGINFO,
    SI_LWP,
    SIGFPE,
    SIGSEGV,
    SIGUSR1,
    SS_AUTODISARM,
    SS_DISABLE,
    SigAction,
    SigInfo,
    sigmask,
)
from syscalls import sigframe32, sigframe64
from syscalls.sigframe import FXSAVE_INIT
from syscalls.signum import sigset_from_lx
from tests.unit.brand.frames import SA_RESTORER, STACK, STACK_SIZE, Died, FakeLwp

HANDLER, RESTORER = 0x402000, 0x403000
INFO = SigInfo(SIGUSR1, SI_LWP, pid=77, uid=88)
FAULT = SigInfo(SIGSEGV, 1, addr=0xDEAD000, trapno=14, err=6)
#: Linux signals 2 and 40, as a native test blocked.
LX_MASK = 1 << 39 | 1 << 1
VDSO = (0xF7FFD531, 0xF7FFD551)


def action(*, siginfo=True, onstack=False, restorer=True):
    flags = SA_SIGINFO if siginfo else 0
    flags |= SA_ONSTACK if onstack else 0
    flags |= SA_RESTORER if restorer else 0
    return SigAction(HANDLER, flags, 0, RESTORER if restorer else 0)


def send(lwp, bits, info=INFO, act=None, mask=LX_MASK):
    act = act or action()
    oldmask = sigset_from_lx(mask)
    if bits == 64:
        return sigframe64.sendsig(lwp, info.signo, info, act, oldmask)
    return sigframe32.sendsig(lwp, info.signo, info, act, oldmask, VDSO)


@pytest.fixture(params=[64, 32])
def bits(request):
    return request.param


@pytest.fixture
def lwp(bits):
    lwp = FakeLwp(bits)
    yield lwp
    lwp.close()


# -- layout ---------------------------------------------------------------------------------------


@pytest.fixture
def lwp64():
    lwp = FakeLwp(64)
    yield lwp
    lwp.close()


@pytest.fixture
def lwp32():
    lwp = FakeLwp(32)
    yield lwp
    lwp.close()


def test_frame64_is_where_linux_puts_it(lwp64):
    lwp, as_ = lwp64, lwp64.as_
    before = list(lwp.q)
    flags, fx = lwp.regs.rflags, lwp.regs.fxsave

    assert send(lwp, 64, FAULT) is True

    sp = lwp.q[4]
    assert sp % 16 == 8
    assert (lwp.q[7], lwp.q[6], lwp.q[2], lwp.q[0]) == (11, sp + 312, sp + 8, 0)
    assert lwp.q[16] == HANDLER
    assert as_.load_u64(sp) == RESTORER
    assert as_.load_u64(sp + 8) == 6
    assert [as_.load_u64(sp + 48 + 8 * i) for i in range(8)] == before[8:16]
    order = [7, 6, 5, 3, 2, 0, 1, 4, 16]
    assert [as_.load_u64(sp + 112 + 8 * i) for i in range(9)] == [before[i] for i in order]
    assert as_.load_u64(sp + 184) == flags
    assert as_.load_u64(sp + 192) == 0x2B000000000033
    assert as_.load_u64(sp + 200) == 6
    assert as_.load_u64(sp + 208) == 14
    assert as_.load_u64(sp + 216) == LX_MASK
    assert as_.load_u64(sp + 224) == 0xDEAD000
    fpstate = as_.load_u64(sp + 232)
    assert fpstate % 64 == 0
    assert sp + 440 <= fpstate
    assert fpstate + 512 <= before[4] - 128
    assert as_.copyin(fpstate, 512) == fx
    assert as_.load_u64(sp + 304) == LX_MASK
    assert as_.load_u32(sp + 312) == 11
    assert as_.load_u64(sp + 312 + 16) == 0xDEAD000
    assert lwp.regs.fxsave == FXSAVE_INIT
    assert not lwp.regs.rflags & 0x10500


def test_rt_frame32_is_where_linux_puts_it(lwp32):
    lwp, as_ = lwp32, lwp32.as_
    before, flags, fx = list(lwp.q), lwp.regs.rflags, lwp.regs.fxsave

    send(lwp, 32)

    sp = lwp.q[4]
    assert sp % 16 == 12
    assert (lwp.q[0], lwp.q[2], lwp.q[1], lwp.q[16]) == (10, sp + 16, sp + 144, HANDLER)
    words = {at: as_.load_u32(sp + at) for at in range(0, 272, 4)}
    assert (words[0], words[4], words[8], words[12]) == (RESTORER, 10, sp + 16, sp + 144)
    assert (words[16], words[24], words[28], words[32]) == (10, 0xFFFFFFFA, 77, 88)
    assert (words[164], words[168], words[172], words[176]) == (0x63, 0, 0x2B, 0x2B)
    assert [words[at] for at in range(180, 212, 4)] == [before[i] for i in (7, 6, 5, 4, 3, 2, 1, 0)]
    assert (words[220], words[224], words[228]) == (0x401000, 0x23, flags)
    assert (words[232], words[236], words[244]) == (before[4], 0x2B, LX_MASK & 0xFFFFFFFF)
    assert (words[252], words[256]) == (LX_MASK & 0xFFFFFFFF, LX_MASK >> 32)
    assert (words[260], words[264]) == (0xADB8, 0x80CD00)
    fpstate = words[240]
    assert (fpstate + 112) % 64 == 0
    assert as_.copyin(fpstate + 112, 512) == fx
    env = [as_.load_u32(fpstate + 4 * i) for i in range(7)]
    assert env[0] == 0xFFFF037F
    assert env[1] == 0xFFFF3800
    assert env[4] & 0xFFFF == 0x23
    assert env[6] == 0xFFFF002B


def test_plain_frame32_is_where_linux_puts_it(lwp32):
    lwp, as_ = lwp32, lwp32.as_
    before = list(lwp.q)

    send(lwp, 32, act=action(siginfo=False))

    sp = lwp.q[4]
    assert sp % 16 == 12
    assert (lwp.q[0], lwp.q[2], lwp.q[1]) == (10, 0, 0)
    assert (as_.load_u32(sp), as_.load_u32(sp + 4)) == (RESTORER, 10)
    assert as_.load_u32(sp + 8) == 0x63
    assert as_.load_u32(sp + 36) == before[4]
    assert as_.load_u32(sp + 88) == LX_MASK & 0xFFFFFFFF
    assert as_.load_u32(sp + 720) == LX_MASK >> 32
    assert as_.copyin(sp + 724, 8) == bytes.fromhex("58b877000000cd80")
    assert (as_.load_u32(sp + 84) + 112) % 64 == 0


def test_frame_repeats_the_last_fault(lwp64):
    send(lwp64, 64, FAULT)
    send(lwp64, 64, SigInfo(SIGFPE, 1, addr=0x401000, trapno=0))
    send(lwp64, 64)
    sp = lwp64.q[4]
    fields = [lwp64.as_.load_u64(sp + at) for at in (200, 208, 224)]
    assert fields == [0, 0, 0xDEAD000]


@pytest.mark.parametrize(("siginfo", "index"), [(False, 0), (True, 1)])
def test_frame32_without_restorer_returns_into_the_vdso(lwp32, siginfo, index):
    send(lwp32, 32, act=action(siginfo=siginfo, restorer=False))
    assert lwp32.as_.load_u32(lwp32.q[4]) == VDSO[index]


def test_frame64_without_restorer_is_sigsegv(lwp64):
    with pytest.raises(Died):
        send(lwp64, 64, act=action(restorer=False))


# -- the round trip -------------------------------------------------------------------------------


@pytest.mark.parametrize("siginfo", [False, True])
def test_sigreturn_restores_everything(lwp, bits, siginfo):
    before = lwp.state()
    lwp.altstack = (0x1000, 0x4000, 0)

    send(lwp, bits, act=action(siginfo=siginfo))
    # What the handler and its restorer do to the registers.
    sp = lwp.q[4]
    lwp.q[:] = [0xAAAA + i for i in range(17)]
    lwp.regs.fxsave = bytes(24) + bytes.fromhex("801f0000") + bytes(484)
    lwp.regs.rflags = 0x202
    lwp.q[4] = sp + (8 if bits == 64 or not siginfo else 4)
    if bits == 64:
        result = sigframe64.sigreturn(lwp)
    else:
        result = sigframe32.sigreturn(lwp, siginfo)

    q, rflags, fxsave, *segments = before
    assert result == q[0]
    # i386 code has no r8 to r15.
    kept = list(range(17)) if bits == 64 else [*range(8), 16]
    assert [lwp.q[i] for i in kept] == [q[i] for i in kept]
    assert lwp.regs.rflags == rflags
    if bits == 64:
        assert lwp.regs.fxsave == fxsave
    else:
        # The i386 form loses what FSAVE does not have: the reserved bytes of the x87 registers.
        for at in range(32, 160, 16):
            assert lwp.regs.fxsave[at : at + 10] == fxsave[at : at + 10]
        assert lwp.regs.fxsave[160:] == fxsave[160:]
        assert lwp.regs.fxsave[:8] == fxsave[:8]
    assert [lwp.regs.gs, lwp.regs.fs, lwp.regs.es, lwp.regs.ds] == segments
    assert lwp.sigmask == sigset_from_lx(LX_MASK)
    assert lwp.altstack == (0x1000, 0x4000, 0)
    assert lwp.syscall_nr == -1


def test_handler_can_change_the_interrupted_context(lwp64):
    lwp, as_ = lwp64, lwp64.as_
    send(lwp, 64)
    sp = lwp.q[4]
    as_.store_u64(sp + 176, 0x404040)
    as_.store_u64(sp + 152, 0x1234)
    as_.store_u64(sp + 184, 0xFFFFFFFFFFFFFFFF)
    as_.store_u64(sp + 304, 1 << 2)
    lwp.q[4] = sp + 8
    assert sigframe64.sigreturn(lwp) == 0x1234
    assert lwp.q[16] == 0x404040
    # Only the flags a program owns: never IF, IOPL, VM.
    assert lwp.regs.rflags & 0x3200 == 0x200
    assert lwp.sigmask == sigset_from_lx(1 << 2)


def test_sigreturn_from_nowhere_is_sigsegv(lwp, bits):
    lwp.q[4] = 0x123000
    if bits == 64:
        sigframe64.sigreturn(lwp)
    else:
        sigframe32.sigreturn(lwp, True)
    assert lwp.sigq.pending == sigmask(SIGSEGV)


def test_sigreturn_with_bad_mxcsr_is_sigsegv(lwp64):
    send(lwp64, 64)
    sp = lwp64.q[4]
    lwp64.as_.store_u32(lwp64.as_.load_u64(sp + 232) + 24, 0xFFFF0000)
    lwp64.q[4] = sp + 8
    sigframe64.sigreturn(lwp64)
    assert lwp64.sigq.pending == sigmask(SIGSEGV)


def test_null_fpstate_resets_the_fpu(lwp64):
    send(lwp64, 64)
    sp = lwp64.q[4]
    lwp64.as_.store_u64(sp + 232, 0)
    lwp64.q[4] = sp + 8
    lwp64.regs.fxsave = bytes(512)
    sigframe64.sigreturn(lwp64)
    assert lwp64.regs.fxsave == FXSAVE_INIT


# -- alternate stacks -----------------------------------------------------------------------------


def test_handler_runs_on_the_alternate_stack(lwp, bits):
    lwp.altstack = (STACK, 0x4000, 0)
    assert send(lwp, bits, act=action(onstack=True))
    assert STACK < lwp.q[4] < STACK + 0x4000
    # A second one goes below it, on the same stack.
    first = lwp.q[4]
    assert send(lwp, bits, act=action(onstack=True))
    assert STACK < lwp.q[4] < first


def test_handler_without_onstack_stays(lwp, bits):
    lwp.altstack = (STACK, 0x4000, 0)
    send(lwp, bits, act=action(onstack=False))
    assert lwp.q[4] > STACK + 0x4000


def test_no_alternate_stack_means_the_normal_one(lwp, bits):
    send(lwp, bits, act=action(onstack=True))
    assert lwp.q[4] > STACK + 0x8000


def test_alternate_stack_too_small_is_sigsegv(lwp, bits):
    lwp.altstack = (STACK, 0x200, 0)
    with pytest.raises(Died):
        send(lwp, bits, act=action(onstack=True))


def test_alternate_stack_overflow_is_sigsegv(lwp, bits):
    lwp.altstack = (STACK + 0x4000, 0x1000, 0)
    lwp.q[4] = STACK + 0x4000 + 0x300
    with pytest.raises(Died):
        send(lwp, bits, act=action(onstack=True))


def test_autodisarm(lwp, bits):
    lwp.altstack = (STACK, 0x4000, SS_AUTODISARM)
    send(lwp, bits, act=action(onstack=True))
    assert lwp.altstack == (0, 0, SS_DISABLE)
    assert STACK < lwp.q[4] < STACK + 0x4000
    lwp.q[4] += 8 if bits == 64 else 4
    if bits == 64:
        sigframe64.sigreturn(lwp)
    else:
        sigframe32.sigreturn(lwp, True)
    assert lwp.altstack == (STACK, 0x4000, SS_AUTODISARM)


# -- bad stacks -----------------------------------------------------------------------------------


def test_unmapped_stack_kills_without_a_handler(lwp, bits):
    lwp.q[4] = 0x1000
    with pytest.raises(Died):
        send(lwp, bits)


def test_unmapped_stack_gives_sigsegv_its_chance(lwp, bits):
    lwp.proc.sigacts[SIGSEGV] = SigAction(0x5000, SA_ONSTACK | SA_RESTORER, 0, RESTORER)
    lwp.q[4] = 0x1000
    assert send(lwp, bits) is False
    assert lwp.sigq.pending == sigmask(SIGSEGV)
    assert lwp.q[16] == 0x401000


def test_unmapped_stack_for_sigsegv_itself_kills(lwp, bits):
    lwp.proc.sigacts[SIGSEGV] = SigAction(0x5000, SA_RESTORER, 0, RESTORER)
    lwp.q[4] = 0x1000
    with pytest.raises(Died):
        send(lwp, bits, FAULT)


def test_frame_at_the_end_of_the_stack(lwp, bits):
    lwp.q[4] = STACK + STACK_SIZE
    assert send(lwp, bits)
