"""The peers that benchmarks compare with, each in an environment of its own under work/peers.

python -m benchmarks.peers [NAME…]

A peer that cannot be installed leaves its reason in `<name>.failed`; the tables then say it in its row.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from edge.errors import EdgeloopError

ROOT = Path("work/peers")
ULTRALYTICS = "ultralytics"
MEDIAPIPE = "mediapipe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """What one environment holds.

    Attributes:
        steps: Arguments of one `pip install` after the other: torch before what would pull a larger build of it.
        note: What its licence asks for, or which build it is.
    """

    steps: tuple[tuple[str, ...], ...]
    note: str


_TORCH = "torch==2.13.0"
PEERS = {
    ULTRALYTICS: Peer(
        steps=(
            (_TORCH,),
            (_TORCH, "torchvision==0.28.0", "ultralytics==8.4.190", "litert-torch==0.10.0", "ai-edge-litert==2.3.0"),
            (_TORCH, "onnx==1.23.2", "onnxruntime==1.31.1", "onnxslim>=0.1.82"),
        ),
        note="AGPL-3.0, used as a program only; CPU build of torch where the index offers one",
    ),
    MEDIAPIPE: Peer(steps=(("mediapipe==1.2.2",),), note="Apache-2.0"),
}


def peer_folder(name: str) -> Path:
    """Where a peer's environment lies."""
    return (ROOT / name).absolute()


def peer_python(name: str) -> Path:
    """The interpreter of a peer.

    Raises:
        EdgeloopError: It is not installed; says why where that is known.
    """
    python = peer_folder(name) / "bin" / "python"
    failed = ROOT / f"{name}.failed"
    if failed.is_file():
        raise EdgeloopError(f"{name} could not be installed: {failed.read_text().strip()}")
    if not (peer_folder(name) / ".made").is_file():
        raise EdgeloopError(f"{name} is not installed", hint="python -m benchmarks.peers")
    return python


def peer_environment(name: str, *, threads: int = 1) -> dict[str, str]:
    """Environment variables for a peer's program: no network, and so many threads for each of its libraries."""
    limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    settings = {
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "YOLO_VERBOSE": "false",
        "YOLO_CONFIG_DIR": str((ROOT / f"{name}-settings").absolute()),
        "GLOG_minloglevel": "3",
    }
    return {**os.environ, **limits, **settings}


def install(name: str) -> None:
    """Makes a peer's environment; does nothing where it is made, and leaves its reason where it cannot be.

    Raises:
        EdgeloopError: A step failed.
    """
    folder, failed = peer_folder(name), ROOT / f"{name}.failed"
    if (folder / ".made").is_file():
        return
    failed.unlink(missing_ok=True)
    Path(peer_environment(name)["YOLO_CONFIG_DIR"]).mkdir(parents=True, exist_ok=True)
    try:
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        for step in PEERS[name].steps:
            _run([str(folder / "bin" / "python"), "-m", "pip", "install", "-q", *step])
    except EdgeloopError as error:
        failed.write_text(f"{error.message}\n")
        raise
    (folder / ".made").touch()


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise EdgeloopError(f"{' '.join(command[1:4])} …: {lines[-1] if lines else 'failed without a word'}")


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(PEERS)))
def main(names: tuple[str, ...]) -> None:
    """Installs the peers; one that cannot be installed is said, and is no error."""
    for name in names or PEERS:
        try:
            install(name)
        except EdgeloopError as error:
            print(f"{name}: not installed: {error}")
            continue
        print(f"{name}: {peer_folder(name)} ({PEERS[name].note})")


if __name__ == "__main__":
    main()
