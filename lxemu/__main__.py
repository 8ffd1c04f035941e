"""`python -m lxemu`: the command line without an installed script."""

from __future__ import annotations

from lxemu.cli.main import entry

entry()
