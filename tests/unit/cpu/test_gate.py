"""Pre-emption stops between instructions, and always in the end.

The proof is a program of read-modify-write, exchange and locked instructions whose result depends
on every one having been executed exactly once; it is compared with the run that is not stopped.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.unit.cpu.rig import CODE, DATA, Done, Rig

_LEAVE = {64: b"\xb8\x3c\0\0\0\x0f\x05", 32: b"\xb8\x3c\0\0\0\xcd\x80"}

# The encodings mean the same in both modes (push and pop move 8 or 4 bytes).
_BODY = (
    b"\x01\x1e"  # add %ebx,(%esi)
    b"\xc1\x46\x04\x03"  # roll $3,4(%esi)
    b"\x81\x46\x04\xb9\x79\x37\x1e"  # addl $imm,4(%esi)
    b"\xff\x46\x08"  # incl 8(%esi)
    b"\x89\xc8"  # mov %ecx,%eax
    b"\x87\x46\x0c"  # xchg %eax,12(%esi)
    b"\x01\xc3"  # add %eax,%ebx
    b"\xf0\x0f\xc1\x5e\x10"  # lock xadd %ebx,16(%esi)
    b"\xf0\xff\x4e\x14"  # lock decl 20(%esi)
    b"\x31\x5e\x18"  # xor %ebx,24(%esi)
    b"\x11\x5e\x1c"  # adc %ebx,28(%esi)
    b"\xf9"  # stc: the carry must survive the call and the stops in it
    b"\xe8\x20\0\0\0"  # call f
    b"\x83\x56\x24\x00"  # adcl $0,36(%esi)
    b"\x51"  # push %ecx
    b"\xbf\x00\x01\x02\x00"  # mov $DATA+0x100,%edi
    b"\xb9\x05\0\0\0"  # mov $5,%ecx
    b"\xf3\xab"  # rep stosl
    b"\x59"  # pop %ecx
    b"\xff\xc9"  # dec %ecx
)


def _program(count: int, bits: int) -> bytes:
    head = b"\xbe" + DATA.to_bytes(4, "little") + b"\xb9" + count.to_bytes(4, "little")
    head += b"\xbb\x01\0\0\0"
    jump = b"\x75" + bytes((-(len(_BODY) + 2) & 0xFF,))
    leave = _LEAVE[bits]
    call_end = _BODY.index(b"\xe8") + 5
    distance = len(_BODY) - call_end + len(jump) + len(leave)
    body = _BODY.replace(b"\xe8\x20\0\0\0", b"\xe8" + distance.to_bytes(4, "little"))
    return head + body + jump + leave + b"\x53\x8f\x46\x20\xc3"  # f: push %ebx; pop 32(%esi); ret


def _state(rig: Rig, count: int, bits: int) -> tuple[bytes, list[int], int]:
    lwp = rig.lwp(_program(count, bits), bits)
    rig.run(lwp)
    assert rig.machine.faults == []
    registers = [lwp.q[i] for i in range(17)]
    return lwp.as_.read(DATA, 0x200), registers, lwp.regs.rflags


def _head(bits: int) -> int:
    """Address of the loop's first instruction; the code before it is 15 bytes."""
    return CODE + 15


@pytest.mark.parametrize("bits", [64, 32])
def test_stop_at_each_block_in_turn_same_state(hook_rig, bits):
    """Blocks of one iteration: the head, f, the return from f, and a step of `rep stosl`."""
    rig = hook_rig
    count = 1500
    expected = _state(rig, count, bits)
    head = _head(bits)
    after_call = head + _BODY.index(b"\xe8") + 5
    function = CODE + len(_program(count, bits)) - 5
    blocks = (head, function, after_call)
    seen = dict.fromkeys(blocks, 0)

    def onward(lwp) -> None:
        # The ticker may stop the run elsewhere; then the block that was asked for is still due.
        if lwp.q[16] == wanted[0]:
            seen[wanted[0]] += 1
            wanted[0] = blocks[(blocks.index(wanted[0]) + 1) % 3]
        rig.engine.gate.open_at(wanted[0])

    rig.machine.on_preempt = onward
    wanted = [function]
    rig.engine.gate.open_at(function)

    assert _state(rig, count, bits) == expected
    assert all(times >= count - 1 for times in seen.values())


@contextmanager
def pestered(rig: Rig) -> Iterator[None]:
    """Have a thread ask for stops as fast as it can."""
    done = threading.Event()

    def pester() -> None:
        while not done.is_set():
            rig.engine.request_preempt()
            time.sleep(2e-5)

    thread = threading.Thread(target=pester)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("hooks", [False, True], ids=["words", "hooks"])
@pytest.mark.parametrize("bits", [64, 32])
def test_stops_from_a_thread_same_state(bits, hooks):
    rig = Rig(hook_gate=hooks)
    count = 150_000
    expected = _state(rig, count, bits)
    rig.machine.preempts = 0
    with pestered(rig):
        # How often the thread runs at all is up to a busy host: so again, until it has been enough.
        for _ in range(20):
            assert _state(rig, count, bits) == expected
            if rig.machine.preempts > 50:
                break

    assert rig.machine.preempts > 50
    rig.close()


@pytest.mark.parametrize("hooks", [False, True], ids=["words", "hooks"])
@pytest.mark.parametrize("bits", [64, 32])
def test_each_call_is_made_once_whatever_stops_come(bits, hooks):
    """A stop that comes at the same time as a call is neither taken for one nor hides it."""
    rig = Rig(hook_gate=hooks)
    call = b"\x0f\x05" if bits == 64 else b"\xcd\x80"
    number = b"\xb8\x05\0\0\0"  # mov $5,%eax
    body = number + call + b"\xff\xcb" + b"\x75" + bytes(((-(5 + 2 + 2 + 2)) & 0xFF,))
    count = 20_000
    code = b"\xbb" + count.to_bytes(4, "little") + body + _LEAVE[bits]
    lwp = rig.lwp(code, bits)
    with pestered(rig):
        rig.run(lwp)

    assert len(rig.brands[bits].calls) == count
    assert {number for number, *_ in rig.brands[bits].calls} == {5}
    assert rig.machine.faults == []
    rig.close()


@pytest.mark.parametrize("bits", [64, 32])
def test_each_fault_is_seen_once_whatever_stops_come(rig, bits):
    count = 3000
    # mov $count,%ebx; 1: int3; dec %ebx; jnz 1b
    code = b"\xbb" + count.to_bytes(4, "little") + b"\xcc\xff\xcb\x75\xfb" + _LEAVE[bits]
    rig.machine.on_fault = lambda *_: None
    with pestered(rig):
        rig.run(rig.lwp(code, bits))

    assert len(rig.machine.faults) == count


def test_request_before_the_run_is_kept(rig):
    def stop(_lwp) -> None:
        raise Done

    rig.machine.on_preempt = stop
    rig.engine.request_preempt()
    lwp = rig.run(rig.lwp(b"\xeb\xfe"))

    assert lwp.q[16] == CODE


def test_gate_is_exact(rig):
    assert rig.engine.gate.exact


def test_host_signal_reaches_a_guest_that_computes(rig):
    def alarm(_signo, _frame) -> None:
        raise Done

    old = signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    started = time.monotonic()
    try:
        rig.run(rig.lwp(b"\xeb\xfe"))  # jmp .
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)

    assert time.monotonic() - started < 5


def test_ticker_stops_a_guest_while_somebody_waits(rig):
    rig.machine.disp.busy = lambda: True

    def stop(_lwp) -> None:
        if rig.machine.preempts == 5:
            raise Done

    rig.machine.on_preempt = stop
    rig.run(rig.lwp(b"\xeb\xfe"))

    assert rig.machine.preempts == 5
