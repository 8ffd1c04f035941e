"""What the lx brand did with each call, as data (illumos K/os/lx_syscall.c of 2026, OmniOS).

One word a number, from 0: K in the kernel, U in the brand library, U! flagged for the library but
without a handler; the rest is ENOSYS, with lx's reason: null "not done yet", none "no such call",
noeq "no equivalent", kern "Linux kernel state", obs "obsolete". Numbers beyond the end are ENOSYS
(out of bounds).
"""

from __future__ import annotations

from typing import Final

X86_64: Final = (
    "K K K K K K K K K K K K K U U U K K K K K K K K K K K K K U U U K K K K K K U K U K K K "
    "K K K K K K K K K K K K U U U U U K K K U U U U U U U U K K U U U U K K K K K K U K K K "
    "K K K K K K K K K K K K K K K K K K K K K K K K K K K U U K K K K K K K K U U U U U U U "
    "U U kern K obs U U U K K K K K K K K K K K K K K K kern U K K U K K K K U K K K K K K K "
    "noeq noeq kern kern kern kern U kern kern obs obs kern noeq noeq K noeq K K K K K K K K "
    "K K K K K K K K K K K K K K K K noeq K null null noeq K K null U K K U U U U K K K U U K "
    "K K U null null null null null null null null null null null K null null null K K U U U "
    "null K K U K U K K K K K K K K K K K K K K null K null null U K U U K K U U K U K K K K "
    "U K K U null K null null K null null null K K null K null null null null K K null null K "
    "null null null null null null null null null null null null null null null null none "
    "none none none none none none none none none none none none none none none none none "
    "none none none none none none none none none none none none none none none none none "
    "none none none none none none none none none none none none none none none none none "
    "none none none none none none none none none none none none none none none none none "
    "none none none none none none none none none none none none none none none none none "
    "none none none null null null null null null null null null null null null K "
)

I386: Final = (
    "none U U K K K K K K K K U K K U K K obs obs K K K K K K K K K obs K U obs obs K K obs K "
    "K K K U K K K obs K K K U K K K K obs K K obs K obs obs K K obs K K K K U obs obs K K U "
    "U K K K K K U U U obs K obs K kern K K U K K U U K K K K noeq U U noeq K K U K K K K obs "
    "noeq K noeq obs K K K U U U U K K K U K U kern kern kern kern kern K K kern U K kern K K "
    "K K K K K K K K U U K K K K K K K K K K K K K K K K noeq U K kern K K K U U U U U U U K "
    "K K K U U U U obs obs U K K U U K K K K K K K K K K U U K K K K K K K K K K kern K K K K "
    "noeq noeq K noeq K K K K K K K K K K K K K U K K K K K K K K K K K U! U noeq K K K noeq "
    "K K U U U U K K K U U U K U K null null null null null null null null null null null K "
    "null null null null K K U U U null K K U K U K K K K K K K K K K K K K K K null null "
    "null K K U U U K K U U U K K K K U K K U null K null null K null null null K K null null "
    "null null null K K null null K null null null null null null null null null null null "
    "null null null null null null null null null null null null null null null null null "
    "null null null none none none none none none null null null null null null null null "
    "null null null null null null null null null null null null null null none null null "
    "null null null null null null null null null null null null null null null null null "
    "null K "
)
