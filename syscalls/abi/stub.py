"""The stub compiler: a handler's signature and a row become one small Python function.

A stub takes the lwp, reads the argument registers from `lwp.q`, converts each by its declared type
and calls the handler positionally. The source is generated, compiled on the first call of its
number (or by `Personality.compile_all`), and registered in linecache, so that a traceback shows
it.
"""

from __future__ import annotations

import linecache
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, overload

from lxemu.kernel.errno import Errno, Interrupted, KernelError
from lxemu.kernel.pidspace import shown_pid

from . import registry
from .pointers import WORD_POINTERS, In, InOut, Out, RecordSpec
from .scalars import ArgSpec, IdScalar, Scalar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .model import Model

F = TypeVar("F", bound="Callable[..., int]")

#: The two attributes that `@syscall` leaves on a handler.
RESTART = "lx_restart"


@overload
def syscall(handler: F) -> F: ...
@overload
def syscall(*, restart: bool = True) -> Callable[[F], F]: ...
def syscall(handler: Any = None, *, restart: bool = True) -> Any:
    """Mark a function as a system call handler.

    `restart=False`: interrupted by a handled signal the call gives EINTR, even with SA_RESTART
    (signal(7): poll, select, nanosleep, pause, sigsuspend, sigtimedwait, epoll_wait...).
    """

    def mark(fn: Any) -> Any:
        fn.__dict__[RESTART] = restart
        return fn

    return mark if handler is None else mark(handler)


class Param:
    """One decoded parameter: its name, type, alias name and argument slots."""

    __slots__ = ("first", "name", "spec", "width")

    def __init__(self, name: str, spec: ArgSpec, first: int, width: int) -> None:
        self.name = name
        self.spec = spec
        self.first = first
        self.width = width


class Signature:
    """The parameters of a handler in one model with a row's `using`."""

    __slots__ = ("handler", "params", "restart", "result")

    def __init__(
        self, handler: Any, params: list[Param], restart: bool, result: ArgSpec | None
    ) -> None:
        self.handler = handler
        self.params = params
        self.restart = restart
        self.result = result


class BadSignatureError(TypeError):
    """A handler's signature cannot be compiled; the tables' tests report it."""


def signature(handler: Any, model: Model, using: Mapping[str, str]) -> Signature:
    """Read the annotations of *handler* into argument types. Raises BadSignatureError."""
    code = handler.__code__
    names = code.co_varnames[: code.co_argcount]
    if RESTART not in handler.__dict__ or not names or names[0] != "lwp":
        raise BadSignatureError(f"{handler.__name__} is not a @syscall handler with lwp first")
    params: list[Param] = []
    slot = 0
    for name in names[1:]:
        hint = _evaluate(handler, name)
        spec = _spec(handler, name, hint, model, using)
        width = spec.slots(model)
        params.append(Param(name, spec, slot, width))
        slot += width
    if slot > len(model.slots):
        raise BadSignatureError(f"{handler.__name__} takes {slot} argument registers")
    result = _evaluate(handler, "return")
    result_spec = None if result is int or result is None else _scalar(result, using)
    return Signature(handler, params, handler.__dict__[RESTART], result_spec)


def _evaluate(handler: Any, name: str) -> Any:
    hint = handler.__annotations__.get(name)
    if hint is None:
        raise BadSignatureError(f"{handler.__name__}: {name} has no annotation")
    if isinstance(hint, str):
        try:
            return eval(hint, handler.__globals__)  # our own handlers' annotations
        except (NameError, TypeError, AttributeError) as err:
            raise BadSignatureError(f"{handler.__name__}: {name}: {hint}: {err}") from err
    return hint


def _scalar(hint: Any, using: Mapping[str, str], name: str = "") -> ArgSpec | None:
    for meta in getattr(hint, "__metadata__", ()):
        if isinstance(meta, ArgSpec):
            other = using.get(name) or using.get(meta.name)
            return alias_spec(other) if other else meta
    return None


def alias_spec(name: str) -> ArgSpec:
    """Return the type behind an alias name such as "Uid16" (what `using=` names)."""
    import syscalls.abi

    for meta in getattr(syscalls.abi, name).__metadata__:
        if isinstance(meta, ArgSpec):
            return meta
    raise BadSignatureError(f"{name} is not an argument type")


def _spec(handler: Any, name: str, hint: Any, model: Model, using: Mapping[str, str]) -> ArgSpec:
    spec = _scalar(hint, using, name)
    if spec is not None:
        return spec
    if hint in WORD_POINTERS:
        return WORD_POINTERS[hint]
    origin = get_origin(hint)
    if origin in (In, Out, InOut):
        (target,) = get_args(hint)
        inner = _scalar(target, using)
        if isinstance(inner, Scalar):
            return RecordSpec(origin, inner, inner.codec(model), f"{origin.__name__}[{inner.name}]")
        other = using.get(target.__name__)
        layout = (
            registry.named_layout(target, other)
            if other
            else registry.default_layout(target, model)
        )
        label = f"{origin.__name__}[{target.__name__}]"
        return RecordSpec(origin, target, layout.codec(model), label)
    raise BadSignatureError(f"{handler.__name__}: {name}: {hint!r} is not an argument type")


def generate(sig: Signature, model: Model, *, mux: bool = False) -> tuple[str, dict[str, Any]]:
    """Return the source of a stub and the names it uses.

    With *mux* the stub takes its arguments as a second parameter, a sequence of words.
    """
    names: dict[str, Any] = {"handler": sig.handler}
    regs = [f"q[{slot}]" for slot in (range(6) if mux else model.slots)]
    exprs: list[str] = []
    late = any(param.spec.late for param in sig.params)
    early_lines: list[str] = []
    late_lines: list[str] = []
    for number, param in enumerate(sig.params):
        text = param.spec.expr(regs[param.first : param.first + param.width], model, names)
        if isinstance(param.spec, Scalar) and param.spec.name == "Pid":
            # A process in a space of its own knows others by other numbers.
            text = f"({text} if (s := lwp.proc.pidspace) is None else s.zone({text}))"
        if late and len(sig.params) > 1:
            lines = late_lines if param.spec.late else early_lines
            lines.append(f"    x{number} = {text}")
            text = f"x{number}"
        exprs.append(text)
    call = f"handler({', '.join(['lwp', *exprs])})"
    body = [*early_lines, *late_lines]
    everything = "\n".join([*body, call])
    head = []
    if "q[" in everything and not mux:
        head.append("    q = lwp.q")
    if "as_" in everything:
        head.append("    as_ = lwp.as_")
    tail = _tail(sig, call, names)
    first = "def stub(lwp, q):" if mux else "def stub(lwp):"
    return "\n".join([first, *head, *body, *tail, ""]), names


def _tail(sig: Signature, call: str, names: dict[str, Any]) -> list[str]:
    if isinstance(sig.result, Scalar) and sig.result.name == "Pid":
        names["shown_pid"] = shown_pid
        call = f"shown_pid(lwp, {call})"
    if isinstance(sig.result, IdScalar):
        return [f"    r = {call}", "    return r if r < 0x10000 else 0xfffe"]
    if sig.restart:
        return [f"    return {call}"]
    names["Interrupted"] = Interrupted
    names["no_restart"] = no_restart
    return [
        "    try:",
        f"        return {call}",
        "    except Interrupted:",
        "        raise no_restart() from None",
    ]


def no_restart() -> KernelError:
    """Return the EINTR of a call that is never restarted: a KernelError that is not Interrupted."""
    return KernelError(Errno.EINTR)


def build(label: str, sig: Signature, model: Model) -> Callable[[Any], int]:
    """Compile the stub of one row; *label* names it in tracebacks: "lx-i386 stub: read"."""
    stub: Callable[[Any], int] = _compiled(label, *generate(sig, model))
    return stub


def build_mux(label: str, sig: Signature, model: Model) -> Callable[[Any, Any], int]:
    """Compile the stub of a call inside another one (socketcall, ipc): `stub(lwp, words)`."""
    stub: Callable[[Any, Any], int] = _compiled(label, *generate(sig, model, mux=True))
    return stub


def _compiled(label: str, source: str, names: dict[str, Any]) -> Any:
    filename = f"<{label}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    exec(compile(source, filename, "exec"), names)  # the generated source above
    return names["stub"]
