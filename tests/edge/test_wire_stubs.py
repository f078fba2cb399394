"""The committed stubs are what the compiler makes of the source today, and the extra `sync` can load them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STUBS = ROOT / "edge" / "wire" / "v1"


def generate(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "proto" / "generate.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=root)


def copy_of_the_wire(folder: Path) -> Path:
    shutil.copytree(ROOT / "proto", folder / "proto", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(STUBS, folder / "edge" / "wire" / "v1", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_the_committed_stubs_are_up_to_date() -> None:
    done = generate(ROOT, "--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_stale_stub_is_named_in_one_line_and_generating_mends_it(tmp_path: Path) -> None:
    root = copy_of_the_wire(tmp_path)
    stub = root / "edge" / "wire" / "v1" / "edgeloop_pb2.pyi"
    stub.write_text(stub.read_text() + "# touched\n")
    done = generate(root, "--check")
    assert done.returncode == 1
    assert done.stderr == "stale stubs: edge/wire/v1/edgeloop_pb2.pyi (run: python proto/generate.py)\n"
    assert generate(root).returncode == 0
    assert generate(root, "--check").returncode == 0


def test_a_changed_source_makes_the_stubs_stale(tmp_path: Path) -> None:
    root = copy_of_the_wire(tmp_path)
    source = root / "proto" / "edge" / "wire" / "v1" / "edgeloop.proto"
    source.write_text(source.read_text().replace("double value = 11;", "double value = 11;\n  string lens = 12;"))
    done = generate(root, "--check")
    assert done.returncode == 1
    assert "edgeloop_pb2.py," in done.stderr


def test_the_sources_folder_is_no_package() -> None:
    assert list((ROOT / "proto").rglob("__init__.py")) == []


def test_the_lowest_versions_of_the_extra_can_load_the_stubs() -> None:
    """Generated code refuses to run under libraries older than those it was generated for."""
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["sync"]
    lowest = {name: version(bound) for name, bound in (re.split(">=", line) for line in extra)}
    protobuf = re.search(r"# Protobuf Python Version: ([\d.]+)", (STUBS / "edgeloop_pb2.py").read_text())
    grpcio = re.search(r"GRPC_GENERATED_VERSION = '([\d.]+)'", (STUBS / "edgeloop_pb2_grpc.py").read_text())
    assert protobuf is not None
    assert grpcio is not None
    assert lowest["protobuf"] >= version(protobuf[1])
    assert lowest["grpcio"] >= version(grpcio[1])


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
