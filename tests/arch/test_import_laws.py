"""The laws of the layers, checked on the source: who imports whom, what the kernel may say."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
PACKAGES = ("lxemu", "syscalls")
SOURCES = sorted(path for package in PACKAGES for path in (REPO / package).rglob("*.py"))
NAMES = [str(path.relative_to(REPO)) for path in SOURCES]

CPU = ("lxemu.cpu", "lxemu.kernel", "lxemu.errors")
#: First matching prefix decides: what a module may import of ours, and of others'.
LAWS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("lxemu/kernel/", ("lxemu.kernel",), ("greenlet",)),
    ("lxemu/cpu/", CPU, ("unicorn", "greenlet")),
    ("lxemu/loader/", (*CPU, "lxemu.loader", "lxemu.brand"), ()),
    ("lxemu/machine.py", ("lxemu", "syscalls"), ("greenlet",)),
    ("lxemu/namespace.py", ("lxemu", "syscalls"), ()),
    ("lxemu/cli/", ("lxemu", "syscalls"), ()),
    ("lxemu/observe/", ("lxemu", "syscalls"), ("capstone",)),
    ("lxemu/", ("lxemu",), ()),
    ("syscalls/", ("lxemu", "syscalls"), ()),
)

#: The only module that loads Unicorn.
BINDING = "lxemu/cpu/binding.py"
FORBIDDEN_IN_KERNEL = re.compile(r"LINUX_|\blx_|linux", re.IGNORECASE)
LINE_LIMIT = 800
HANDLER_LIMIT = 60


def imports(path: Path) -> set[tuple[str, bool]]:
    """Return (module, only for type checking) of every import of a file."""
    tree = ast.parse(path.read_text())
    found: set[tuple[str, bool]] = set()

    def visit(node: ast.AST, typing_only: bool) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            typing_only = True
        if isinstance(node, ast.Import):
            found.update((alias.name, typing_only) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = str(path.relative_to(REPO).with_suffix("")).replace("/", ".")
            base = node.module or ""
            if node.level:
                parent = package.split(".")[: -node.level]
                base = ".".join([*parent, base] if base else parent)
            found.add((base, typing_only))
        for child in ast.iter_child_nodes(node):
            visit(child, typing_only)

    visit(tree, typing_only=False)
    return found


def within(module: str, prefixes: tuple[str, ...]) -> bool:
    return any(module == prefix or module.startswith(prefix + ".") for prefix in prefixes)


@pytest.mark.parametrize("name", NAMES)
def test_module_imports_only_what_its_layer_may(name: str):
    ours, others = next((ours, others) for prefix, ours, others in LAWS if name.startswith(prefix))
    wrong = []
    for module, typing_only in imports(REPO / name):
        top = module.split(".")[0]
        if top in PACKAGES:
            # Types may name what the layer only receives from above (a Machine, a Brand).
            if not within(module, ours) and not (typing_only and top == "lxemu"):
                wrong.append(module)
        elif top not in sys.stdlib_module_names and top not in others:
            wrong.append(module)

    assert wrong == []


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("lxemu/kernel/")])
def test_kernel_has_no_word_of_the_brand(name: str):
    lines = (REPO / name).read_text().splitlines()
    wrong = [f"{n}: {line}" for n, line in enumerate(lines, 1) if FORBIDDEN_IN_KERNEL.search(line)]

    assert wrong == []


@pytest.mark.parametrize("name", NAMES)
def test_file_is_not_too_long(name: str):
    assert len((REPO / name).read_text().splitlines()) <= LINE_LIMIT


@pytest.mark.parametrize("name", NAMES)
def test_module_has_a_docstring_and_future_annotations(name: str):
    tree = ast.parse((REPO / name).read_text())

    assert ast.get_docstring(tree)
    if len(tree.body) > 1:
        future = tree.body[1]
        assert isinstance(future, ast.ImportFrom)
        assert future.module == "__future__"


def test_only_one_module_loads_unicorn():
    pattern = re.compile(r"unicorn_py3|uclib|\bCDLL\(")
    users = [name for name in NAMES if pattern.search(code_of(REPO / name))]

    assert users == [BINDING]


def test_only_the_cpu_package_reads_the_memory_of_unicorn():
    pattern = re.compile(r"\bfrom_address\(|\bstring_at\(|\bmemmove\(")
    users = [name for name in NAMES if pattern.search(code_of(REPO / name))]

    assert [name for name in users if not name.startswith("lxemu/cpu/")] == []


def code_of(path: Path) -> str:
    """Return a source without its comments and docstrings."""
    return ast.unparse(strip(ast.parse(path.read_text())))


def strip(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                body[0] = ast.Pass()
    return tree


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("syscalls/handlers/")])
def test_handlers_are_short(name: str):
    """A long handler has kernel work in it: it belongs to lxemu/kernel."""
    tree = ast.parse((REPO / name).read_text())
    wrong = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > HANDLER_LIMIT
    ]

    assert wrong == []


def test_no_bare_except_and_no_unfinished_marks():
    wrong = []
    for name in NAMES:
        for n, line in enumerate((REPO / name).read_text().splitlines(), 1):
            if re.search(r"except\s*:|\bTODO\b|\bFIXME\b|\bXXX\b", line):
                wrong.append(f"{name}:{n}: {line.strip()}")

    assert wrong == []
