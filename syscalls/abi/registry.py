"""Where the layout of a record is found: beside its record module, by data model.

`syscalls.records.file.Stat` has its layouts in `syscalls.layouts.file`: `DEFAULTS[Stat]` is the
pair (x86_64, i386), and a row may name another one (`using={"Stat": "STAT_OLD"}`). Modules load on
first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .model import LP64, Model
from .scalars import Scalar

if TYPE_CHECKING:
    from .layout import Codec, Layout

_CODECS: dict[tuple[Any, int], Codec] = {}


def layouts_of(record: type) -> Any:
    """Return the module of layouts that goes with the module of *record*."""
    # SigAction and SigInfo are the kernel's own tuples, lxemu.kernel.signal
    return import_module("syscalls.layouts." + record.__module__.rpartition(".")[2])


def default_layout(record: type, model: Model) -> Layout:
    """Return the layout of *record* in *model* when a row does not name another one."""
    pair = layouts_of(record).DEFAULTS[record]
    layout: Layout = pair[0 if model is LP64 else 1] if isinstance(pair, tuple) else pair
    return layout


def named_layout(record: type, name: str) -> Layout:
    """Return layout *name* of *record*; TypeError when it describes something else."""
    layout: Layout = getattr(layouts_of(record), name)
    if layout.record is not record:
        raise TypeError(f"layout {name} is not one of {record.__name__}")
    return layout


def default_codec(target: Any, model: Model) -> Codec:
    """Return the codec of a record class or of a scalar alias, memoised."""
    key = (target, model.bits)
    found = _CODECS.get(key)
    if found is None:
        spec = scalar_of(target)
        found = spec.codec(model) if spec else default_layout(target, model).codec(model)
        _CODECS[key] = found
    return found


def scalar_of(target: Any) -> Scalar | None:
    """Return the scalar of an alias such as Int, None for anything else."""
    for meta in getattr(target, "__metadata__", ()):
        if isinstance(meta, Scalar):
            return meta
    return None
