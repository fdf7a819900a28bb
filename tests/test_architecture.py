"""The layers of ddlabel/README.md, read off the imports."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from ddlabel.cli.inspect import KINDS

PACKAGE = Path(__file__).parent.parent / "ddlabel"
LAYERS = ["core", "guide", "data", "methods", "training", "commands", "cli"]
LAYER = {name: number for number, name in enumerate([*LAYERS, "__main__"])}
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Parts of the package that a module imports, wherever in the module it does."""
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module == "ddlabel":
            names = [f"ddlabel.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        parts |= {name.split(".")[1] for name in names if name.startswith("ddlabel.")}
    return parts - {"__version__"}


def test_every_part_has_a_layer():
    assert {part(path) for path in MODULES} == set(LAYER)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    own = part(path)
    upward = {name for name in imported(path) if LAYER[name] > LAYER[own]}
    assert not upward


def test_no_part_imports_itself_through_others():
    graph = {name: set() for name in LAYER}
    for path in MODULES:
        graph[part(path)] |= imported(path) - {part(path)}
    while leaves := [name for name, needs in graph.items() if not needs & set(graph)]:
        for name in leaves:
            del graph[name]
    assert not graph, f"a circle among {sorted(graph)}"


def test_torch_is_not_imported_by_core_data_and_cli():
    modules = [
        "ddlabel."
        + str(path.relative_to(PACKAGE).with_suffix("")).replace("/", ".").removesuffix(".__init__")
        for path in MODULES
        if part(path) in ("core", "data", "cli") and path.name != "__main__.py"
    ]
    code = f"import sys, {', '.join(modules)}\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def lines_of_code(path: Path) -> int:
    """Lines with something on them besides comments and docstrings."""
    text = path.read_text()
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    documented = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, kinds) and ast.get_docstring(node)
    ]
    docstrings = {
        n for node in documented for n in range(node.body[0].lineno, node.body[0].end_lineno + 1)
    }
    written = (line for number, line in enumerate(text.splitlines(), 1) if number not in docstrings)
    return sum(bool(line.strip()) and not line.lstrip().startswith("#") for line in written)


def test_package_keeps_its_size():
    lengths = {path: len(path.read_text().splitlines()) for path in MODULES}
    assert [str(path) for path, length in lengths.items() if length > 300] == []


def test_lists_made_without_torch_are_those_made_with_it():
    program = (
        "import json, sys\n"
        "from dataclasses import asdict\n"
        "from ddlabel.cli.inspect import KINDS, torchless\n"
        "found = {k: [asdict(e) for e in getattr(torchless.load(m), n).entries()] for k, (m, n) in KINDS.items()}\n"
        "assert not {'torch', 'torchvision', 'scipy', 'ddlabel.methods.losses'} & sys.modules.keys()\n"
        "print(json.dumps(found))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    real = {
        kind: getattr(importlib.import_module(m), name).entries()
        for kind, (m, name) in KINDS.items()
    }
    assert json.loads(said) == json.loads(
        json.dumps({kind: list(map(asdict, each)) for kind, each in real.items()})
    )
