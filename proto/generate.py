"""Writes the Python stubs of the wire into edge/wire/v1; with `--check`, says whether they are up to date."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
ROOT = SOURCES.parent
PROTO = "edge/wire/v1/edgeloop.proto"
STUBS = ("edge/wire/v1/edgeloop_pb2.py", "edge/wire/v1/edgeloop_pb2.pyi", "edge/wire/v1/edgeloop_pb2_grpc.py")


def generate(target: Path) -> None:
    """Runs the protocol compiler.

    Args:
        target: Import root that gets `edge/wire/v1/*`; that folder must exist.

    Raises:
        RuntimeError: The compiler refused the source; what it said is on stderr.
    """
    from grpc_tools import protoc

    outputs = [f"--{kind}={target}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
    if protoc.main(["protoc", f"-I{SOURCES}", *outputs, PROTO]) != 0:
        raise RuntimeError(f"protoc refused proto/{PROTO}")


def differing(root: Path) -> tuple[str, ...]:
    """Names of the stubs under `root` that are not what the compiler writes today."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        (fresh / PROTO).parent.mkdir(parents=True)
        generate(fresh)
        return tuple(name for name in STUBS if _content(root / name) != _content(fresh / name))


def main(arguments: Sequence[str] | None = None) -> int:
    """Generates, or checks; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a stub is stale")
    if not parser.parse_args(arguments).check:
        generate(ROOT)
        return 0
    stale = differing(ROOT)
    if stale:
        sys.stderr.write(f"stale stubs: {', '.join(stale)} (run: python proto/generate.py)\n")
    return 1 if stale else 0


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
