"""The `#!` line, case by case as fs/binfmt_script.c has it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lxemu.loader.script import ScriptError, is_script, parse_script

GOOD = {
    "plain": (b"#!/bin/sh\necho\n", (b"/bin/sh", None)),
    "blanks around": (b"#! \t /bin/sh \t \n", (b"/bin/sh", None)),
    "argument": (b"#!/bin/sh -e\n", (b"/bin/sh", b"-e")),
    "one argument only": (b"#!/usr/bin/env  -S  a b\t\n", (b"/usr/bin/env", b"-S  a b")),
    "tab": (b"#!/bin/sh\t-x\n", (b"/bin/sh", b"-x")),
    "no newline": (b"#!/bin/sh", (b"/bin/sh", None)),
    "no newline, argument": (b"#!/bin/sh -e", (b"/bin/sh", b"-e")),
    "carriage return kept": (b"#!/bin/sh\r\n", (b"/bin/sh\r", None)),
    "relative": (b"#!sh\n", (b"sh", None)),
    "nul ends the path": (b"#!/bin/sh\0 -e\n", (b"/bin/sh", None)),
    "cut argument": (b"#!/bin/sh " + b"a" * 300 + b"\n", (b"/bin/sh", b"a" * 245)),
    "nothing is an empty path": (b"#!", (b"", None)),
    "nul is an empty path": (b"#! \0\n", (b"", None)),
    "path up to the last byte": (b"#!" + b" " * 240 + b"/tmp/ld/p 1234", (b"/tmp/ld/p", b"123")),
    "argument cut away": (b"#!" + b" " * 243 + b"/tmp/ld/p 1234", (b"/tmp/ld/p", None)),
    "longest path": (b"#!/" + b"a" * 252 + b"\n", (b"/" + b"a" * 252, None)),
}
BAD = {
    "blank": b"#!\n",
    "spaces": b"#!   \t\n",
    "cut path": b"#!/" + b"a" * 300 + b"\n",
    "path of 254": b"#!/" + b"a" * 253 + b"\n",
    "all blanks": b"#!" + b" " * 300,
}


@pytest.mark.parametrize("case", GOOD)
def test_parse_script(case):
    data, expected = GOOD[case]
    assert parse_script(data[:256]) == expected


@pytest.mark.parametrize("case", BAD)
def test_parse_script_refuses(case):
    with pytest.raises(ScriptError):
        parse_script(BAD[case][:256])


def test_is_script():
    assert is_script(b"#!/bin/sh")
    assert not is_script(b"# !/bin/sh")


@given(st.binary(max_size=254))
def test_parse_script_survives_anything(rest):
    try:
        line = parse_script(b"#!" + rest)
    except ScriptError:
        return
    assert not set(line.interp) & set(b" \t\0")
