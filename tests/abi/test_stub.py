"""The stub compiler: what a handler gets for the registers of either ABI."""

from __future__ import annotations

import linecache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lxemu.kernel.errno import Errno, Interrupted, KernelError
from syscalls.abi import (
    AT_FDCWD,
    BAD_SIGNAL,
    ILP32,
    LP64,
    NO_ID,
    AtFlags,
    Dev,
    DirFd,
    Fd,
    FdSet,
    In,
    InOut,
    Int,
    Long,
    Mode,
    Off,
    Off64,
    OffPair,
    OldSigMask,
    OpenFlags,
    Out,
    Path,
    PathOrNull,
    Sig,
    SigAny,
    Size,
    Stat,
    StrVec,
    Timespec,
    Uid,
    UInt,
    ULong,
    syscall,
)
from syscalls.abi.stub import BadSignatureError, build, build_mux, signature
from tests.abi.memory import BASE, make_lwp

SEEN = []


def call(handler, model, *args, using=None, lwp=None):
    """Compile a stub, call it with the argument registers holding *args*; return the handler's."""
    lwp = lwp or make_lwp(model.bits, args)
    SEEN.clear()
    result = build("test", signature(handler, model, using or {}), model)(lwp)
    assert result == 0
    return SEEN[0]


@syscall
def ints(lwp, a: Int, b: UInt, c: Long, d: ULong, e: Size, f: Mode) -> int:
    SEEN.append((a, b, c, d, e, f))
    return 0


words = st.integers(0, (1 << 64) - 1)


def signed(value, bits):
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


@given(st.lists(words, min_size=6, max_size=6))
def test_numbers_of_x86_64(args):
    a, b, c, d, e, f = args

    assert call(ints, LP64, *args) == (
        signed(a, 32),
        b & 0xFFFFFFFF,
        signed(c, 64),
        d,
        e,
        f & 0xFFFF,
    )


@given(st.lists(words, min_size=6, max_size=6))
def test_numbers_of_i386_ignore_the_upper_halves(args):
    a, b, c, d, e, f = (arg & 0xFFFFFFFF for arg in args)

    assert call(ints, ILP32, *args) == (signed(a, 32), b, signed(c, 32), d, e, f & 0xFFFF)


@syscall
def wide(lwp, fd: Fd, pos: Off64, size: Size) -> int:
    SEEN.append((fd, pos, size))
    return 0


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_off64_is_two_slots_of_i386(pos):
    low, high = pos & 0xFFFFFFFF, pos >> 32 & 0xFFFFFFFF

    assert call(wide, ILP32, 3, low, high, 9) == (3, pos, 9)
    assert call(wide, LP64, 3, pos, 9) == (3, pos, 9)


def test_using_makes_a_wide_argument_narrow():
    # i386 truncate (92) against truncate64 (193)
    assert call(wide, ILP32, 3, 0xFFFFFFFF, 9, using={"Off64": "Off"}) == (3, -1, 9)
    assert call(wide, ILP32, 3, 1, 2, 9, using={"size": "Int"}) == (3, 1 | 2 << 32, 9)


@syscall
def pair(lwp, fd: Fd, pos: OffPair, flags: UInt) -> int:
    SEEN.append((fd, pos, flags))
    return 0


def test_offset_pair_takes_two_slots_of_both():
    # preadv2: pos_l, pos_h, flags; on x86_64 the high word counts for nothing
    assert call(pair, LP64, 3, 5, 99, 1) == (3, 5, 1)
    assert call(pair, ILP32, 3, 5, 1, 1) == (3, 5 | 1 << 32, 1)


@syscall
def special(lwp, dirfd: DirFd, sig: SigAny, uid: Uid, dev: Dev) -> int:
    SEEN.append((dirfd, sig, uid, dev))
    return 0


@pytest.mark.parametrize("model", [LP64, ILP32], ids=str)
def test_special_numbers_arrive_as_the_kernels(model):
    minus_100 = -100 & model.mask

    assert call(special, model, minus_100, 7, NO_ID, 0x103) == (AT_FDCWD, 10, NO_ID, 1 << 32 | 3)
    assert call(special, model, 5, 65, 0, 0) == (5, BAD_SIGNAL, 0, 0)
    assert call(special, model, 5, -1 & model.mask, 0, 0)[1] == BAD_SIGNAL


@syscall
def strict(lwp, sig: Sig, flags: AtFlags) -> int:
    SEEN.append((sig, flags))
    return 0


def test_strict_arguments_raise_einval():
    assert call(strict, LP64, 64, 0x100) == (74, 0x1000)
    for args in ((65, 0), (1, 0x200), (-1, 0)):
        with pytest.raises(KernelError) as caught:
            call(strict, LP64, *args)
        assert caught.value.errno is Errno.EINVAL


@syscall
def opened(lwp, path: Path, flags: OpenFlags) -> int:
    SEEN.append((path, flags))
    return 0


def test_open_flags_force_largefile_for_64_bit_callers():
    for model, wanted in ((LP64, 0x2000), (ILP32, 0)):
        lwp = make_lwp(model.bits)
        args = (lwp.as_.put(b"/etc\0"), 0)
        lwp.q[:] = make_lwp(model.bits, args).q
        assert call(opened, model, lwp=lwp) == (b"/etc", wanted)


@syscall
def ordered(lwp, path: Path, flags: AtFlags) -> int:
    raise AssertionError


def test_flags_are_checked_before_the_path_is_copied():
    # fstatat(2) with both wrong is EINVAL
    with pytest.raises(KernelError) as caught:
        call(ordered, LP64, 8, 0x8000)
    assert caught.value.errno is Errno.EINVAL
    with pytest.raises(KernelError) as caught:
        call(ordered, LP64, 8, 0)
    assert caught.value.errno is Errno.EFAULT


def test_path_too_long():
    lwp = make_lwp()
    for length, errno in ((4095, None), (4096, Errno.ENAMETOOLONG)):
        at = lwp.as_.put(b"x" * length + b"\0")
        lwp.q[7], lwp.q[6] = at, 0
        if errno is None:
            assert call(opened, LP64, lwp=lwp)[0] == b"x" * length
        else:
            with pytest.raises(KernelError) as caught:
                call(opened, LP64, lwp=lwp)
            assert caught.value.errno is errno


@syscall
def maybe(lwp, path: PathOrNull) -> int:
    SEEN.append(path)
    return 0


def test_path_or_null():
    assert call(maybe, LP64, 0) is None


@syscall
def slept(lwp, req: In[Timespec], rem: Out[Timespec], both: InOut[Int]) -> int:
    SEEN.append((req.get(), bool(rem)))
    rem.put_if(Timespec(7, 8))
    both.put_array([both.get() + 1, 5])
    return 0


@pytest.mark.parametrize(
    ("model", "using", "size"),
    [(LP64, {}, 8), (ILP32, {}, 4), (ILP32, {"Timespec": "TIMESPEC64"}, 8)],
    ids=["x86_64", "i386", "time64"],
)
def test_records_take_the_layout_of_the_row(model, using, size):
    lwp = make_lwp(model.bits)
    one, two = (1).to_bytes(size, "little"), (2).to_bytes(size, "little")
    req, rem, both = lwp.as_.put(one + two), lwp.as_.put(bytes(16)), lwp.as_.put(b"\4\0\0\0" * 2)
    lwp.q[:] = make_lwp(model.bits, (req, rem, both)).q

    assert call(slept, model, lwp=lwp, using=using) == (Timespec(1, 2), True)
    assert lwp.as_.copyin(rem, size) == (7).to_bytes(size, "little")
    assert lwp.as_.copyin(both, 8) == b"\5\0\0\0\5\0\0\0"


def test_null_and_wild_pointers():
    with pytest.raises(KernelError) as caught:
        call(slept, LP64, 0, 0, 0)
    assert caught.value.errno is Errno.EFAULT


@syscall
def vectors(lwp, argv: StrVec, sets: FdSet) -> int:
    SEEN.append((argv.get(), sets.get(70)))
    sets.put(70, 1 << 69)
    return 0


@pytest.mark.parametrize("model", [LP64, ILP32], ids=str)
def test_vectors_of_words(model):
    lwp = make_lwp(model.bits)
    word = model.bits // 8
    strings = [lwp.as_.put(text + b"\0") for text in (b"a", b"bc")]
    argv = lwp.as_.put(b"".join(at.to_bytes(word, "little") for at in (*strings, 0)))
    fds = lwp.as_.put((1 << 3 | 1 << 69 | 1 << 70).to_bytes(16, "little"))
    lwp.q[:] = make_lwp(model.bits, (argv, fds)).q

    assert call(vectors, model, lwp=lwp) == ([b"a", b"bc"], 1 << 3 | 1 << 69)
    nbytes = -(-70 // model.bits) * word
    assert lwp.as_.copyin(fds, nbytes) == (1 << 69).to_bytes(nbytes, "little")


def test_argument_longer_than_a_string_may_be_is_e2big():
    lwp = make_lwp()
    lwp.as_.data.extend(bytes(0x40000))
    long = lwp.as_.put(b"x" * 131072 + b"\0")
    argv = lwp.as_.put(long.to_bytes(8, "little") + bytes(8))
    with pytest.raises(KernelError) as caught:
        StrVec(lwp.as_, argv, 8).get()
    assert caught.value.errno is Errno.E2BIG


@syscall
def who(lwp) -> Uid:
    return 70000


def test_uid16_result_is_65534_when_it_does_not_fit():
    # high2lowuid of include/linux/highuid.h
    sixteen = {"Uid": "Uid16"}

    assert build("t", signature(who, ILP32, sixteen), ILP32)(make_lwp(32)) == 65534
    assert build("t", signature(who, ILP32, {}), ILP32)(make_lwp(32)) == 70000


@syscall
def set_id(lwp, uid: Uid) -> int:
    SEEN.append(uid)
    return 0


def test_uid16_argument_minus_one_is_no_id():
    for word, wanted in ((0xFFFF, NO_ID), (0x1FFFF, NO_ID), (1000, 1000)):
        assert call(set_id, ILP32, word, using={"Uid": "Uid16"}) == wanted


@syscall
def masked(lwp, mask: OldSigMask) -> int:
    SEEN.append(mask)
    return 0


def test_mask_by_value():
    assert call(masked, ILP32, 1 << 6) == 1 << 9  # Linux SIGBUS 7 is 10 inside


@syscall(restart=False)
def sleeper(lwp) -> int:
    raise Interrupted


@syscall
def reader(lwp) -> int:
    raise Interrupted


def test_restart_false_gives_a_plain_eintr():
    for handler, kind in ((sleeper, KernelError), (reader, Interrupted)):
        sig = signature(handler, LP64, {})
        with pytest.raises(KernelError) as caught:
            build("t", sig, LP64)(make_lwp())
        assert type(caught.value) is kind
        assert caught.value.errno is Errno.EINTR
        assert sig.restart is (kind is Interrupted)


def test_mux_stub_takes_its_words():
    stub = build_mux("t", signature(wide, ILP32, {}), ILP32)
    SEEN.clear()
    stub(make_lwp(32), (3, 5, 1, 9, 0, 0))

    assert SEEN == [(3, 5 | 1 << 32, 9)]


def test_source_is_in_linecache():
    build("lx-test stub: wide", signature(wide, LP64, {}), LP64)

    assert "handler(lwp" in "".join(linecache.getlines("<lx-test stub: wide>"))


def unmarked(lwp, a: Int) -> int:
    return a


@syscall
def too_many(lwp, a: Off64, b: Off64, c: Off64, d: Off) -> int:
    return 0


@syscall
def unknown_type(lwp, a: str) -> int:
    return 0


@syscall
def untyped(lwp, a) -> int:
    return 0


@pytest.mark.parametrize("handler", [unmarked, too_many, unknown_type, untyped])
def test_bad_signatures_are_refused(handler):
    with pytest.raises(BadSignatureError):
        signature(handler, ILP32, {})


@syscall
def stats(lwp, buf: Out[Stat]) -> int:
    buf.put(Stat(0, 1, 0o100644, 1, 0, 0, 0, 1 << 31, 4096, 0, 0, 0, 0))
    return 0


def test_layout_named_by_a_row():
    lwp = make_lwp(32, (BASE,))
    build("t", signature(stats, ILP32, {}), ILP32)(lwp)
    with pytest.raises(KernelError) as caught:
        build("t", signature(stats, ILP32, {"Stat": "STAT_I386"}), ILP32)(lwp)
    assert caught.value.errno is Errno.EOVERFLOW
    with pytest.raises(TypeError, match="not one of"):
        signature(stats, ILP32, {"Stat": "WINSIZE"})
