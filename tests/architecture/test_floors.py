"""Who may import whom, and what an import costs."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

FLOORS = {"edge": {"edge"}, "converters": {"edge", "converters"}, "model_zoo": {"edge", "model_zoo"}}
OURS = {"edge", "converters", "model_zoo", "cloud_train", "device_tests", "tests", "benchmarks"}
DEVICE_ONLY = {"device_tests": {"edge", "device_tests"}}
_LOADED = "import sys\n{statement}\nprint(__import__('json').dumps(sorted({{n.split('.')[0] for n in sys.modules}})))"


def loaded_after(statement: str, repository: Path) -> set[str]:
    """Top-level modules that a fresh interpreter holds after a statement."""
    done = subprocess.run(
        [sys.executable, "-c", _LOADED.format(statement=statement)],
        check=True,
        capture_output=True,
        text=True,
        cwd=repository,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def imported_names(path: Path) -> set[str]:
    """Top-level names that a file imports anywhere, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_import_linter_holds_the_floors(repository: Path) -> None:
    linter = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([str(linter), "--no-cache"], check=False, capture_output=True, text=True, cwd=repository)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("package", sorted(FLOORS | DEVICE_ONLY))
def test_no_file_imports_upwards(package: str, repository: Path) -> None:
    allowed = (FLOORS | DEVICE_ONLY)[package]
    files = sorted((repository / package).rglob("*.py"))
    assert files
    wrong = {
        str(path.relative_to(repository)): names & OURS - allowed
        for path in files
        if (names := imported_names(path)) & OURS - allowed
    }
    assert wrong == {}


def test_import_edge_loads_only_the_standard_library(repository: Path) -> None:
    before = loaded_after("pass", repository)
    after = loaded_after("import edge; dir(edge); edge.__version__", repository)
    assert after - before - set(sys.stdlib_module_names) == {"edge"}


def test_values_and_formats_need_only_the_standard_library(repository: Path) -> None:
    before = loaded_after("pass", repository)
    modules = (
        *("edge.types", "edge.errors", "edge.durable", "edge.jsonvalue", "edge.engine", "edge.decide"),
        *("edge.bundle.manifest", "edge.bundle.reader", "edge.bundle.archive", "edge.bundle.golden"),
        *("edge.backends.select", "edge.keep.policy", "edge.preprocess", "edge.update.selftest"),
    )
    after = loaded_after(f"import {', '.join(modules)}", repository)
    assert after - before - set(sys.stdlib_module_names) == {"edge"}


def test_engine_loads_one_runtime_and_nothing_else_heavy(repository: Path, tiny_bundle: Path) -> None:
    statement = (
        "import edge, pathlib; e = edge.open_engine(pathlib.Path({!r}), artifact={!r}); e.infer(pathlib.Path({!r}))"
    )
    picture = str(tiny_bundle / "golden-0.png")
    heavy = {"torch", "grpc", "tuf", "click", "sqlalchemy", "scipy", "cv2", "matplotlib", "pydantic"}
    with_onnx = loaded_after(statement.format(str(tiny_bundle), "onnx", picture), repository)
    assert not with_onnx & (heavy | {"ai_edge_litert"})
    with_tflite = loaded_after(statement.format(str(tiny_bundle), "tflite", picture), repository)
    assert not with_tflite & (heavy | {"onnxruntime"})


def test_command_line_starts_with_click_alone(repository: Path) -> None:
    if not (repository / "cloud_train" / "cli.py").is_file():
        pytest.fail("cloud_train/cli.py is missing")
    before = loaded_after("pass", repository)
    after = loaded_after("import cloud_train.cli", repository)
    ours = {"edge", "converters", "model_zoo", "cloud_train"}
    assert after - before - set(sys.stdlib_module_names) - ours == {"click"}


def test_proto_folder_is_no_package(repository: Path) -> None:
    assert list((repository / "proto").rglob("*.proto"))
    assert list((repository / "proto").rglob("__init__.py")) == []


def test_no_cycle_between_files_of_edge(repository: Path) -> None:
    graph = {}
    for path in (repository / "edge").rglob("*.py"):
        module = ".".join(path.relative_to(repository).with_suffix("").parts).removesuffix(".__init__")
        tree = ast.parse(path.read_bytes())
        graph[module] = {
            node.module
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "edge"
        }
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail, module))
        if module in done:
            return
        for target in graph.get(module, ()):
            visit(target, (*trail, module))
        done.add(module)

    for module in graph:
        visit(module, ())
