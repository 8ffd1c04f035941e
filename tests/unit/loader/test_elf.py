"""The ELF parser: against pyelftools, against hand-made bad files, against random damage."""

from __future__ import annotations

import io

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given
from hypothesis import strategies as st

from lxemu.errors import ElfError
from lxemu.loader.elf import PT_LOAD, iter_notes, parse
from tests.unit.loader.elfmaker import (
    PT_GNU_PROPERTY,
    PT_GNU_STACK,
    PT_INTERP,
    PT_NOTE,
    Elf,
    Seg,
    host_programs,
    property_note,
    reader,
)


@pytest.mark.parametrize("path", host_programs())
def test_parse_agrees_with_pyelftools(path):
    with open(path, "rb") as file:
        data = file.read()
    oracle = ELFFile(io.BytesIO(data))
    if oracle["e_machine"] not in ("EM_X86_64", "EM_386"):
        pytest.skip("a host of another architecture")

    image = parse(reader(data))

    assert image.entry == oracle["e_entry"]
    assert image.bits == oracle.elfclass
    assert len(image.phdrs) == oracle.num_segments()
    for mine, theirs in zip(image.phdrs, oracle.iter_segments(), strict=True):
        head = theirs.header
        assert (mine.offset, mine.vaddr, mine.filesz, mine.memsz, mine.flags, mine.align) == (
            head["p_offset"],
            head["p_vaddr"],
            head["p_filesz"],
            head["p_memsz"],
            head["p_flags"],
            head["p_align"],
        )
    interp = [s.get_interp_name().encode() for s in oracle.iter_segments("PT_INTERP")]
    assert [image.interp] == (interp or [None])
    loads = list(oracle.iter_segments("PT_LOAD"))
    assert image.extent() == (
        min(s["p_vaddr"] for s in loads) & -4096,
        max(s["p_vaddr"] + s["p_memsz"] for s in loads),
    )


@pytest.mark.parametrize("bits", [32, 64])
def test_parse_made_file(bits):
    code = Seg(data=b"\x90" * 100, vaddr=0x400100, memsz=300, align=0x2000)
    interp = Seg(type=PT_INTERP, data=b"/lib/ld.so\0", vaddr=0)
    stack = Seg(type=PT_GNU_STACK, flags=7, vaddr=0)
    image = parse(reader(Elf(bits, entry=0x400100, segs=[interp, code, stack]).build()))

    assert (image.bits, image.type, image.entry) == (bits, 2, 0x400100)
    assert image.interp == b"/lib/ld.so"
    assert image.gnu_stack is True
    assert image.align == 0x2000
    assert [(ph.type, ph.vaddr, ph.filesz, ph.memsz) for ph in image.loads] == [
        (PT_LOAD, 0x400100, 100, 300)
    ]
    assert image.extent() == (0x400000, 0x400100 + 300)


@pytest.mark.parametrize(("flags", "expected"), [(6, False), (7, True), (None, None)])
def test_gnu_stack_is_told_apart_from_absent(flags, expected):
    segs = [Seg(data=b"x")]
    if flags is not None:
        segs.append(Seg(type=PT_GNU_STACK, flags=flags))
    assert parse(reader(Elf(segs=segs).build())).gnu_stack is expected


def test_phdr_address_is_where_a_load_maps_the_table():
    whole = Seg(vaddr=0x400000, offset=0, filesz=4096)
    assert parse(reader(Elf(segs=[whole]).build().ljust(4096))).phdr_address() == 0x400040
    later = Seg(vaddr=0x401000, offset=0x1000, data=b"x")
    assert parse(reader(Elf(segs=[later]).build())).phdr_address() == 0


BAD = {
    "empty": (b"", "empty"),
    "text": (b"hello", "not an ELF"),
    "truncated header": (Elf(segs=[Seg()]).build()[:40], "truncated ELF header"),
    "aarch64": (Elf(machine=183, segs=[Seg()]).build(), "cannot run aarch64 program"),
    "arm": (Elf(32, machine=40, segs=[Seg()]).build(), "cannot run arm program"),
    "riscv": (Elf(machine=243, segs=[Seg()]).build(), "cannot run riscv program"),
    "unknown machine": (Elf(machine=999, segs=[Seg()]).build(), "machine-999"),
    "x32": (Elf(32, machine=62, segs=[Seg()]).build(), "x32"),
    "i386 in ELF64": (Elf(64, machine=3, segs=[Seg()]).build(), "64-bit ELF"),
    "object": (Elf(type=1, segs=[Seg()]).build(), "relocatable"),
    "core": (Elf(type=4, segs=[Seg()]).build(), "core dump"),
    "phentsize": (Elf(phentsize=57, segs=[Seg()]).build(), "57 bytes long"),
    "no headers": (Elf(segs=[]).build(), "no program headers"),
    "too many": (Elf(phnum=2000, segs=[Seg()]).build(), "too many"),
    "headers past the end": (Elf(phoff=1 << 40, segs=[Seg()]).build(), "truncated program"),
    "absurd phoff": (Elf(phoff=(1 << 64) - 8, segs=[Seg()]).build(), "truncated program"),
    "endless interp": (Elf(segs=[Seg(type=PT_INTERP, data=b"/ld")]).build(), "no end"),
    "short interp": (Elf(segs=[Seg(type=PT_INTERP, data=b"\0")]).build(), "of 1 bytes"),
    "long interp": (Elf(segs=[Seg(type=PT_INTERP, filesz=4097)]).build(), "of 4097 bytes"),
    "lost interp": (
        Elf(segs=[Seg(type=PT_INTERP, offset=1 << 30, filesz=9)]).build(),
        "truncated interpreter",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_parse_bad_file_says_why(case):
    data, reason = BAD[case]
    with pytest.raises(ElfError, match=reason):
        parse(reader(data))


def test_parse_goes_by_the_machine_as_linux_does():
    data = bytearray(Elf(segs=[Seg(data=b"x")]).build())
    data[4:6] = b"\3\2"
    assert parse(reader(bytes(data))).bits == 64


def test_parse_as_interpreter_leaves_type_and_interp():
    data = Elf(type=1, segs=[Seg(data=b"x"), Seg(type=PT_INTERP, data=b"/no")]).build()
    image = parse(reader(data), as_interpreter=True)
    assert image.interp is None
    with pytest.raises(ElfError, match="not executable code"):
        image.check_segments(1 << 47)


def test_parse_big_endian_names_the_machine():
    data = bytearray(Elf(segs=[Seg()]).build())
    data[5] = 2
    data[18:20] = (22).to_bytes(2, "big")
    with pytest.raises(ElfError, match="cannot run s390 program"):
        parse(reader(bytes(data)))


@pytest.mark.parametrize("kind", [PT_NOTE, PT_GNU_PROPERTY])
@pytest.mark.parametrize(
    ("isa", "refused"), [(1, None), (3, None), (7, "x86-64-v3"), (15, "x86-64-v4"), (4, "v3")]
)
def test_isa_property_is_checked(kind, isa, refused):
    note = Seg(type=kind, data=property_note(64, isa), align=8, vaddr=0)
    data = Elf(segs=[Seg(data=b"x"), note]).build()
    if refused is None:
        assert parse(reader(data)).isa == isa
    else:
        with pytest.raises(ElfError, match=refused):
            parse(reader(data))
        assert parse(reader(data), isa_supported=15).isa == isa


def test_notes_stop_at_damage():
    good = property_note(64, 1)
    assert len(list(iter_notes(good, 8))) == 1
    assert list(iter_notes(good[:-1], 8)) == []
    assert len(list(iter_notes(good + b"\xff" * 12, 8))) == 1


@pytest.mark.parametrize(
    ("seg", "reason"),
    [
        (Seg(data=b"xx", memsz=1), "larger in the file"),
        (Seg(data=b"x", vaddr=(1 << 64) - 4096), "outside"),
        (Seg(memsz=(1 << 64) - 1), "outside"),
        (Seg(data=b"x", vaddr=0x400123, offset=0x200), "differ within the page"),
    ],
)
def test_check_segments_finds_what_cannot_be_mapped(seg, reason):
    image = parse(reader(Elf(segs=[seg]).build()))
    with pytest.raises(ElfError, match=reason) as caught:
        image.check_segments(0x7FFF_FFFF_F000)
    assert caught.value.fatal_after_commit


SAMPLE = {
    bits: Elf(
        bits,
        segs=[
            Seg(type=PT_INTERP, data=b"/lib/ld.so\0"),
            Seg(data=b"\x90" * 64, vaddr=0x400100),
            Seg(type=PT_NOTE, data=property_note(bits, 1), align=bits // 8),
            Seg(type=PT_GNU_STACK, flags=6),
        ],
    ).build()
    for bits in (32, 64)
}


@given(st.sampled_from([32, 64]), st.integers(0, 700))
def test_truncated_file_is_only_ever_an_elf_error(bits, size):
    try:
        parse(reader(SAMPLE[bits][:size]))
    except ElfError:
        return


@given(
    st.sampled_from([32, 64]),
    st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=8)), max_size=6),
)
def test_damaged_file_is_only_ever_an_elf_error(bits, patches):
    data = bytearray(SAMPLE[bits])
    for offset, patch in patches:
        data[offset : offset + len(patch)] = patch
    try:
        image = parse(reader(bytes(data)))
        image.extent()
        image.phdr_address()
        image.check_segments(0x7FFF_FFFF_F000)
    except ElfError:
        return


@given(st.binary(max_size=200), st.sampled_from([4, 8, 0, 7]))
def test_notes_survive_anything(data, align):
    list(iter_notes(data, align))
