"""The vDSO: its images as a loader sees them, its mapping, and the arithmetic of its clock page."""

from __future__ import annotations

import io
import struct

import capstone
import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerDefSection

from lxemu.kernel.errno import KernelError
from lxemu.kernel.mm.as_ import As
from lxemu.kernel.mm.page import PhysMem
from syscalls.vdso import Vdso, Vvar, load_image, symbols
from syscalls.vdso.clock import host_counter

NAMES = {
    64: {
        f"{prefix}{name}"
        for prefix in ("", "__vdso_")
        for name in ("clock_gettime", "clock_getres", "gettimeofday", "time", "getcpu")
    },
    32: {
        "__vdso_clock_gettime",
        "__vdso_clock_gettime64",
        "__vdso_clock_getres",
        "__vdso_gettimeofday",
        "__vdso_time",
        "__vdso_getcpu",
        "__kernel_vsyscall",
        "__kernel_sigreturn",
        "__kernel_rt_sigreturn",
    },
}


@pytest.fixture
def phys():
    phys = PhysMem(16 << 20)
    yield phys
    phys.close()


@pytest.fixture(params=[64, 32])
def bits(request):
    return request.param


def test_image_is_one_page_without_relocations(bits):
    image = load_image(bits)
    elf = ELFFile(io.BytesIO(image))
    assert len(image) <= 4096
    assert elf.elfclass == bits
    loads = list(elf.iter_segments("PT_LOAD"))
    assert [(s["p_offset"], s["p_vaddr"], s["p_flags"]) for s in loads] == [(0, 0, 5)]
    assert not [s for s in elf.iter_sections() if s.name.startswith(".rel")]
    dynamic = next(iter(elf.iter_segments("PT_DYNAMIC")))
    assert not [
        t for t in dynamic.iter_tags() if t.entry.d_tag in ("DT_NEEDED", "DT_REL", "DT_RELA")
    ]


def test_symbols_agree_with_pyelftools(bits):
    image = load_image(bits)
    table = ELFFile(io.BytesIO(image)).get_section_by_name(".dynsym")
    oracle = {
        s.name.encode(): s["st_value"] for s in table.iter_symbols() if s.name and s["st_value"]
    }
    found = {name: value for name, value in symbols(image, bits).items() if value}
    assert found == oracle
    assert {name.decode() for name in found} >= NAMES[bits]


def test_versions_are_linux_ones(bits):
    elf = ELFFile(io.BytesIO(load_image(bits)))
    section = elf.get_section_by_name(".gnu.version_d")
    assert isinstance(section, GNUVerDefSection)
    names = {next(iter(aux)).name for _, aux in section.iter_versions()}
    assert names >= ({"LINUX_2.6"} if bits == 64 else {"LINUX_2.6", "LINUX_2.5"})


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (b"__kernel_vsyscall", "cd80c3"),
        (b"__kernel_sigreturn", "58b877000000cd80"),
        (b"__kernel_rt_sigreturn", "b8ad000000cd80"),
    ],
)
def test_trampolines_are_what_unwinders_look_for(name, code):
    image = load_image(32)
    at = symbols(image, 32)[name]
    assert image[at : at + len(code) // 2].hex() == code


def test_code_has_no_instruction_beyond_the_baseline(bits):
    image = load_image(bits)
    section = ELFFile(io.BytesIO(image)).get_section_by_name(".text")
    mode = capstone.CS_MODE_64 if bits == 64 else capstone.CS_MODE_32
    engine = capstone.Cs(capstone.CS_ARCH_X86, mode)
    code = list(engine.disasm(section.data(), section["sh_addr"]))
    assert sum(len(i.bytes) for i in code) == section["sh_size"]
    assert not [i.mnemonic for i in code if i.mnemonic.startswith("v")]
    assert [i for i in code if i.mnemonic == "rdtsc"]


def test_map_shares_pages_between_address_spaces(phys, bits):
    vvar = Vvar()
    vdso = Vdso(bits, vvar)
    spaces = [As(phys), As(phys)]
    for as_ in spaces:
        base = vdso.map(as_)
        assert as_.copyin(base, len(vdso.image)) == vdso.image
        assert as_.copyin(base - 4096, 64) == bytes(64)
        named = {s.name: (s.start, s.prot) for s in as_.maps() if s.name}
        assert named == {b"[vvar]": (base - 4096, 1), b"[vdso]": (base, 5)}
        with pytest.raises(KernelError):
            as_.setprot(base - 4096, 4096, 3)
    vvar.object(phys).pages.write(0, b"tick")
    assert all(as_.copyin(vdso.map(as_) - 4096, 4) == b"tick" for as_ in spaces)


# -- clocks ---------------------------------------------------------------------------------------


class Host:
    """A host whose counter runs at `mhz` and whose clocks take a while to read."""

    def __init__(self, mhz=3000):
        self.now = 5_000_000_000
        self.mhz = mhz
        self.wall = 1_700_000_000_000_000_000
        self.jitter = 0
        self.hrtime = self.mono

    def _step(self, ns):
        self.now += ns

    def ticks_at(self, ns):
        return ns * self.mhz // 1000

    def counter(self):
        self._step(40 + self.jitter)
        return self.ticks_at(self.now)

    def mono(self):
        self._step(40)
        return self.now

    def real(self):
        self._step(40)
        return self.now + self.wall


class Reader:
    """What the code in the vDSO does with the page."""

    def __init__(self, phys, host):
        self.host = host
        self.vvar = Vvar(host.counter, host.mono, host.real)
        self.vvar._mono = host.hrtime
        self.vvar.object(phys)

    def page(self):
        return struct.unpack("<IIQQIIqqII", self.vvar._object.pages.read(0, 56))

    def read(self, real=False):
        """Return the time the page gives now, None where the system call must be made."""
        _, mode, tsc, limit, mult, shift, msec, rsec, mnsec, rnsec = self.page()
        ticks = self.host.ticks_at(self.host.now) - tsc
        if not mode or not 0 <= ticks <= limit:
            return None
        base = rsec * 10**9 + rnsec if real else msec * 10**9 + mnsec
        assert ticks * mult < 1 << 64
        assert mult < 1 << 32
        return base + (ticks * mult >> shift)

    def call(self):
        self.vvar.clock_read(self.host)


@pytest.fixture(params=[800, 2500, 5000])
def reader(phys, request):
    return Reader(phys, Host(request.param))


def test_page_says_nothing_before_there_is_a_line(reader):
    assert reader.page()[1] == 0
    reader.call()
    assert reader.read() is None
    reader.host.now += 1000
    reader.call()
    assert reader.read() is None


def test_page_follows_the_host(reader):
    last = 0
    host = reader.host
    fallbacks = 0
    for step in range(4000):
        host.now += 37_000 + step % 7 * 1000
        seen = reader.read()
        if seen is None:
            fallbacks += 1
            reader.call()
            continue
        assert abs(seen - host.now) < 200
        assert abs(reader.read(real=True) - host.now - host.wall) < 200
        assert seen >= last
        last = seen
    assert fallbacks < 60


def test_a_slow_reading_never_makes_time_go_back(reader):
    host = reader.host
    last = 0
    for step in range(3000):
        host.jitter = 900 if step % 3 else 0
        host.now += 61_000
        seen = reader.read()
        if seen is None:
            reader.call()
            seen = reader.read()
        if seen is not None:
            assert seen >= last
            last = seen


def test_a_set_wall_clock_is_noticed(reader):
    host = reader.host
    for _ in range(10):
        host.now += 300_000
        reader.call()
    host.wall += 3600 * 10**9
    host.now += 200_000_000
    assert reader.read(real=True) is None
    reader.call()
    assert abs(reader.read(real=True) - host.now - host.wall) < 300


def test_an_unsteady_counter_is_given_up(reader):
    host = reader.host
    for _ in range(5):
        host.now += 1_000_000
        reader.call()
    assert reader.read() is not None
    host.mhz += host.mhz // 4
    for _ in range(50):
        host.now += 100_000_000
        reader.call()
    assert reader.page()[1] == 0
    reader.call()
    assert reader.read() is None


def test_another_clock_than_the_hosts_is_left_to_the_call(phys):
    host = Host()
    reader = Reader(phys, host)
    virtual = Host()
    for _ in range(5):
        host.now += 1_000_000
        reader.vvar.clock_read(virtual)
    assert reader.page()[1] == 0


def test_host_counter_counts():
    counter = host_counter()
    if counter is None:
        pytest.skip("no time stamp counter here")
    readings = [counter() for _ in range(100)]
    assert readings == sorted(readings)
    assert readings[0] < readings[-1]
