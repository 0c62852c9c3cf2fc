"""The wall between run time and training, and an import graph without circles."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

PACKAGE = "fastvoicegrad"
SOURCE = Path(__file__).parents[1] / "src" / PACKAGE
BEHIND_THE_WALL = (f"{PACKAGE}.training", f"{PACKAGE}.evaluation")
COMMAND_LINE = f"{PACKAGE}.cli"


@dataclass(frozen=True)
class Import:
    """One import: which module needs which, where, and whether this happens inside a function."""

    importer: str
    imported: str  # a module of this package, or any other package's
    place: str
    in_function: bool

    def __str__(self) -> str:
        return f"{self.place}: {self.importer} imports {self.imported}"


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    named = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


def statements(tree: ast.AST, in_function: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Every node below `tree`, with whether a function holds it."""
    for node in ast.iter_child_nodes(tree):
        yield node, in_function
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from statements(node, in_function or inside)


def imported_names(node: ast.AST, package: list[str]) -> Iterator[str]:
    """What a statement imports. `from x import y` is x.y where that is a module, else x."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = package[: len(package) - node.level + 1] if node.level else []
        origin = ".".join([*base, *([node.module] if node.module else [])])
        for alias in node.names:
            submodule = f"{origin}.{alias.name}"
            yield submodule if submodule in modules() else origin
    elif isinstance(node, ast.Call):  # a call that names a module, as `importlib.import_module` does
        words = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
        dotted = [word for word in words if isinstance(word, str) and "." in word]
        yield from (name for word in dotted for name in (word, f"{PACKAGE}.{word}") if name in modules())


@cache
def imports() -> list[Import]:
    found = []
    for name, path in modules().items():
        package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
        for node, in_function in statements(ast.parse(path.read_text(encoding="utf-8"))):
            for imported in imported_names(node, package):
                place = f"{path.relative_to(SOURCE.parents[1])}:{getattr(node, 'lineno', 0)}"
                found.append(Import(name, imported, place, in_function))
    return found


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The nodes of one circle in their order, the first again at the end; empty where there is none."""
    done, path = set[str](), list[str]()

    def visit(node: str) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        path.append(node)
        for following in sorted(graph.get(node, ())):
            if found := visit(following):
                return found
        path.pop()
        done.add(node)
        return []

    return next((found for node in sorted(graph) if (found := visit(node))), [])


def below(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def test_the_import_graph_has_no_circle() -> None:
    edges = {(i.importer, i.imported): str(i) for i in imports() if i.imported in modules()}
    graph: dict[str, set[str]] = {}
    for importer, imported in edges:
        graph.setdefault(importer, set()).add(imported)
    found = circle(graph)
    assert not found, "\n".join(["a circle:", *(edges[pair] for pair in pairwise(found))])


def test_the_run_time_never_reaches_over_the_wall() -> None:
    forbidden = (*BEHIND_THE_WALL, "torch", "torchaudio", "accelerate", "safetensors.torch")
    wrong = [
        str(i)
        for i in imports()
        if not below(i.importer, *BEHIND_THE_WALL)
        and below(i.imported, *forbidden)
        and not (i.in_function and below(i.importer, COMMAND_LINE))  # a developer's command loads what it needs
    ]
    assert not wrong, "\n".join(["", *wrong])


@pytest.mark.parametrize("module", [PACKAGE, COMMAND_LINE])
def test_importing_leaves_torch_out(module: str) -> None:
    code = f"import sys, {module}; print(*sorted(name for name in sys.modules if name.count('.') < 2))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.split()
    assert module in loaded
    assert not {"torch", *BEHIND_THE_WALL} & set(loaded)


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b", "c"}, "b": {"c"}, "c": {"b"}}, ["b", "c", "b"]),
        ({"a": {"a"}}, ["a", "a"]),
    ],
)
def test_circles_are_found(graph: dict[str, set[str]], expected: list[str]) -> None:
    assert circle(graph) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import torch.nn", ["torch.nn"]),
        ("from .. import mel", [f"{PACKAGE}.mel"]),
        ("from ..mel import log_mel", [f"{PACKAGE}.mel"]),
        ("from .. import __version__", [PACKAGE]),
        ("from . import losses, models", [f"{PACKAGE}.training.losses", f"{PACKAGE}.training.models"]),
        ("if True:\n def f():\n  from .models import unet", [f"{PACKAGE}.training.models.unet"]),
        ("load('training.losses')", [f"{PACKAGE}.training.losses"]),
        ("load('losses')", []),
    ],
)
def test_every_way_to_import_is_seen(code: str, expected: list[str]) -> None:
    nodes = statements(ast.parse(code))
    names = {name for node, _ in nodes for name in imported_names(node, [PACKAGE, "training"])}
    assert names == set(expected)


def test_imports_in_functions_are_known_as_such() -> None:
    tree = ast.parse("import a\nclass C:\n import b\n def f(self):\n  if self:\n   import c\n")
    assert [inside for node, inside in statements(tree) if isinstance(node, ast.Import)] == [False, False, True]
