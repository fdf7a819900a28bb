"""The layers of ddlabel/README.md and the measures of the house, read off the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ddlabel"
# From the lowest to the highest: a layer imports from itself and from those before it.
LAYERS = ["core", "data", "methods", "training", "figures", "commands", "cli"]
MODULES = sorted(PACKAGE.rglob("*.py"))
TORCH_FREE_COMMANDS = ["bundle_files", "command", "execute", "inputs", "reporter"]
TORCH_FREE_COMMANDS += ["import_images", "info", "check", "guide", "compare", "report"]
MAX_COLUMNS = 100
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 40


def name_of(path: Path) -> str:
    parts = ["ddlabel", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts).removesuffix(".__init__")


NAMES = {name_of(path) for path in MODULES}


def layer_of(name: str) -> str:
    """The layer of a module, or the module itself for those beside the layers."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "ddlabel"


def imported_modules(nodes) -> set[str]:
    """The modules of the package that import statements name."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                names.add(full if full in NAMES else node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if name.split(".")[0] == "ddlabel"}


def at_import(tree: ast.Module):
    """The statements that run when a module is imported: those outside of functions."""
    pending = list(tree.body)
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            pending += ast.iter_child_nodes(node)


def test_the_folders_are_the_layers():
    folders = {path.name for path in PACKAGE.iterdir() if any(path.glob("*.py"))}
    assert folders - {"__pycache__"} == set(LAYERS)
    files = {path.name for path in PACKAGE.glob("*.py")}
    assert files == {"__init__.py", "__main__.py"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_down(path):
    own = layer_of(name_of(path))
    if own not in LAYERS:
        return
    used = {layer_of(name) for name in imported_modules(ast.walk(ast.parse(path.read_text())))}
    above = set(LAYERS[LAYERS.index(own) + 1 :])
    assert not used & above


def test_no_module_imports_itself_through_others():
    graph = {}
    for path in MODULES:
        name = name_of(path)
        tree = ast.parse(path.read_text())
        graph[name] = imported_modules(at_import(tree)) & NAMES - {name, "ddlabel"}
    while leaves := [name for name, needs in graph.items() if not needs & graph.keys()]:
        for name in leaves:
            del graph[name]
    assert not graph, f"a circle among {sorted(graph)}"


def loaded_after(statement: str) -> set[str]:
    """The top-level packages that a fresh Python has loaded after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_core_data_cli_and_some_commands_need_no_torch_to_be_imported():
    free = [name for name in NAMES if layer_of(name) in ("core", "data", "cli")]
    free += [f"ddlabel.commands.{name}" for name in TORCH_FREE_COMMANDS]
    assert "torch" not in loaded_after(f"import {', '.join(sorted(free))}")


def test_help_needs_neither_torch_nor_numpy():
    assert not loaded_after("import ddlabel.cli.app") & {"torch", "numpy", "h5py", "PIL"}


def test_the_package_itself_needs_no_library_to_be_imported():
    assert not loaded_after("import ddlabel") & {"torch", "numpy", "typer", "rich", "h5py"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_files_functions_and_lines_are_short(path):
    text = path.read_text()
    lines = text.splitlines()
    assert len(lines) < MAX_FILE_LINES
    assert [line for line in lines if len(line) > MAX_COLUMNS] == []
    long = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documentation = ast.get_docstring(node, clean=False) or ""
            length = node.end_lineno - node.lineno + 1 - len(documentation.splitlines())
            if length >= MAX_FUNCTION_LINES:
                long.append(f"{node.name}: {length} lines")
    assert long == []


def test_tests_mirror_the_layers_and_are_short():
    tests = PACKAGE.parent / "tests"
    folders = {path.name for path in tests.iterdir() if any(path.rglob("test_*.py"))}
    assert folders - {"__pycache__", "benchmarks", "faults", "fuzz", "guide"} <= set(LAYERS)
    lengths = {path: len(path.read_text().splitlines()) for path in tests.rglob("*.py")}
    assert [str(path) for path, length in lengths.items() if length > 400] == []
