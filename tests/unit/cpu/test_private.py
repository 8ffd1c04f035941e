"""The private parts are found without the tables too, and agree with the public interface."""

from __future__ import annotations

import pytest

from lxemu.cpu import binding, private
from lxemu.errors import EngineError
from tests.unit.cpu.rig import CODE, DATA, Rig

EXIT64 = b"\xb8\x3c\0\0\0\x0f\x05"


def test_numbers_equal_the_bindings_own():
    from unicorn import unicorn_const, x86_const

    names = {
        "ARCH_X86": "UC_ARCH_X86",
        "MODE_64": "UC_MODE_64",
        "PROT_ALL": "UC_PROT_ALL",
        "CPU_EPYC": "UC_CPU_X86_EPYC",
        "INS_SYSCALL": "UC_X86_INS_SYSCALL",
        "INS_SYSENTER": "UC_X86_INS_SYSENTER",
        "CTL_TB_REMOVE_CACHE": "UC_CTL_TB_REMOVE_CACHE",
        "CTL_TLB_FLUSH": "UC_CTL_TLB_FLUSH",
        "CTL_USE_EXITS": "UC_CTL_UC_USE_EXITS",
        "CTL_EXITS": "UC_CTL_UC_EXITS",
        "CTL_CPU_MODEL": "UC_CTL_CPU_MODEL",
        "CTL_TCG_BUFFER_SIZE": "UC_CTL_TCG_BUFFER_SIZE",
    }
    for name in dir(binding):
        if name.startswith("REG_"):
            names[name] = f"UC_X86_{name}"
        elif name.startswith(("HOOK_", "ERR_")):
            names[name] = f"UC_{name}"
    for ours, theirs in names.items():
        module = x86_const if "X86" in theirs and "ARCH" not in theirs else unicorn_const
        assert getattr(binding, ours) == getattr(module, theirs), ours


def test_table_of_this_version_is_what_the_search_finds(monkeypatch):
    known = Rig()
    monkeypatch.setattr(private, "_BLOBS", {})
    monkeypatch.setattr(private, "_LIVE", {})
    searched = Rig()
    try:
        assert searched.engine.private
        assert searched.engine.blob == known.engine.blob
    finally:
        known.close()
        searched.close()


def test_wrong_table_falls_back_to_the_search(monkeypatch):
    version = binding.Binding(binding.load()).version
    monkeypatch.setattr(private, "_LIVE", {version: private.LiveLayout(0x1B0, 0x8A40)})
    rig = Rig()
    try:
        assert rig.engine.private
        rig.run(rig.lwp(EXIT64))
        assert rig.machine.faults == []
    finally:
        rig.close()


def test_wrong_exception_words_are_refused(monkeypatch):
    version = binding.Binding(binding.load()).version
    layout = private.BlobLayout(0x28, 0x1508, 0x150C, 0x157C)
    monkeypatch.setattr(private, "_BLOBS", {version: layout})
    with pytest.raises(EngineError, match="does not behave"):
        Rig()


def test_environment_selects_the_public_interface(monkeypatch):
    monkeypatch.setenv("LXEMU_CPU", "api")
    rig = Rig(None)
    try:
        assert not rig.engine.private
    finally:
        rig.close()


# mov $DATA,%esi; then arithmetic, a store, an SSE move, flags that are still lazy, a call and an
# exit.
PROGRAM = (
    b"\xbe" + DATA.to_bytes(4, "little") + b"\xb8\x78\x56\x34\x12\xbb\xff\xff\xff\xff"
    b"\x01\xd8\x11\xdb\x89\x06\x0f\x28\xc1\xf2\x0f\x2a\xd0\xf3\x0f\x11\x56\x08"
    b"\x49\xb8\x08\x07\x06\x05\x04\x03\x02\x01\x4d\x01\xc1\x4d\x0f\xaf\xc8"
    b"\xb8\x05\0\0\0\xbf\x07\0\0\0\x0f\x05\x49\x89\xc7\x39\xdb" + EXIT64
)


def test_both_ways_end_in_the_same_state():
    states = []
    for use_private in (True, False):
        rig = Rig(use_private)
        rig.brands[64].stubs[5] = lambda _lwp: -14
        lwp = rig.run(rig.lwp(PROGRAM))
        states.append((lwp.regs.dump(), lwp.regs.fxsave, lwp.as_.read(DATA, 64)))
        rig.close()

    assert states[0] == states[1]
    assert f"{(1 << 64) - 14:016x}" in states[0][0]


def test_mapped_registers_are_the_librarys(rig):
    lwp = rig.lwp(EXIT64)
    rig.engine.switch(lwp)
    for index, reg in enumerate(binding.GPRS):
        rig.engine.q[index] = value = 0x1122_3344_0000 + index
        rig.engine._push_all()
        assert rig.engine.binding.read_reg(rig.engine.handle, reg) == value
    assert lwp.regs.rip == 0x1122_3344_0000 + 16
    lwp.regs.rip = CODE
    rig.run(lwp)
    assert rig.machine.faults == []
