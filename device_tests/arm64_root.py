"""Makes the emulated arm64 root: Debian bookworm, Python 3.11 and the aarch64 wheels of the device, without torch.

    python -m device_tests.arm64_root [--install-packages]

It lies in `work/arm64` of the checkout, or where `EDGELOOP_ARM64_ROOT` says, and is made anew when its recipe changes.
Needs root, `mmdebstrap` and `qemu-aarch64-static`. They are installed by apt-get with `--install-packages` only.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from device_tests.plan import FOLDER
from edge.errors import EdgeloopError, UsageError

QEMU = "qemu-aarch64-static"
SUITE = "bookworm"
DEBIAN_TOOLS = ("qemu-user-static", "mmdebstrap")
PACKAGES = (
    "python3", "libpython3-stdlib", "ca-certificates", "libgomp1", "libsqlite3-0", "libstdc++6", "bash", "dash",
    "coreutils", "libc-bin", "procps", "tzdata", "base-files", "base-passwd",
)  # fmt: skip
LIBRARIES = ("numpy", "pillow", "click", "ai-edge-litert", "onnxruntime")
PLATFORMS = ("manylinux2014_aarch64", "manylinux_2_27_aarch64", "manylinux_2_28_aarch64")
INNER_QEMU = "/usr/bin/qemu-aarch64-static"
INNER_LIBRARIES = "/opt/py"
_CONSTRAINTS = FOLDER.parent / "constraints.txt"
_STAMP = "made-by"


def root_folder() -> Path:
    """Where the root lies, made or not."""
    named = os.environ.get("EDGELOOP_ARM64_ROOT")
    return (Path(named) if named else FOLDER.parent / "work" / "arm64") / "root"


def what_is_missing() -> str:
    """Why no root can be made or entered here; empty where it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "an emulated arm64 root needs root on Linux"
    missing = [name for name in (QEMU, "mmdebstrap") if shutil.which(name) is None]
    if missing:
        return f"an emulated arm64 root needs {' and '.join(missing)}"
    probe = [sys.executable, "-m", "device_tests.mounts"]
    tried = subprocess.run(probe, capture_output=True, text=True, cwd=FOLDER.parent, check=False)  # noqa: S603
    return "" if tried.returncode == 0 else f"an emulated arm64 root needs mounts: {tried.stderr.strip()}"


def ensure_root(*, install_packages: bool = False) -> Path:
    """Makes the root unless it stands already.

    Args:
        install_packages: Whether apt-get may install what is missing on this machine.

    Returns:
        The folder.

    Raises:
        UsageError: Something is missing on this machine.
        EdgeloopError: Making it failed; the last line of the tool says why.
    """
    reason = what_is_missing()
    if reason and install_packages:
        _run(["apt-get", "update", "-qq"])
        _run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *DEBIAN_TOOLS])
        reason = what_is_missing()
    if reason:
        line = f"apt-get install --no-install-recommends {' '.join(DEBIAN_TOOLS)}, or pass --install-packages"
        raise UsageError(reason, hint=line if shutil.which("mmdebstrap") is None else "test a real board: ssh:HOST")
    root = root_folder()
    stamp = root.parent / _STAMP
    if not (root.is_dir() and stamp.is_file() and stamp.read_text() == _recipe()):
        stamp.unlink(missing_ok=True)
        shutil.rmtree(root, ignore_errors=True)
        _make(root)
        stamp.write_text(_recipe())
    return root


def _make(root: Path) -> None:
    print(f"making the emulated arm64 root in {root} (about 30 s)", file=sys.stderr)
    root.parent.mkdir(parents=True, exist_ok=True)
    include = f"--include={','.join(PACKAGES)}"
    _run(["mmdebstrap", "--quiet", "--architectures=arm64", "--variant=extract", include, SUITE, str(root)])
    shell = root / "bin" / "sh"
    if not shell.exists():  # packages are extracted, not configured: nobody made the link
        shell.symlink_to("dash")
    shutil.copy(_qemu(), root / INNER_QEMU.lstrip("/"))
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "-q"]
    pins = ["-c", str(_CONSTRAINTS)] if _CONSTRAINTS.is_file() else []
    where = ["--target", str(root / INNER_LIBRARIES.lstrip("/")), "--only-binary=:all:", "--python-version", "3.11"]
    _run([*pip, *where, *platforms, *pins, *LIBRARIES])


def _recipe() -> str:
    """Changes when the root would."""
    lines = _CONSTRAINTS.read_text().splitlines() if _CONSTRAINTS.is_file() else []
    qemu = hashlib.sha256(_qemu().read_bytes()).hexdigest()
    parts = (SUITE, *PACKAGES, *LIBRARIES, *PLATFORMS, qemu, *sorted(lines))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest() + "\n"


def _qemu() -> Path:
    return Path(str(shutil.which(QEMU))).resolve()


def _run(command: Sequence[str]) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)  # noqa: S603
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        raise EdgeloopError(f"{command[0]} failed: {lines[-1]}", hint=" ".join(command))


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes the root and prints where it is."""
    parser = argparse.ArgumentParser(
        prog="python -m device_tests.arm64_root", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--install-packages", action="store_true", help="let apt-get install what is missing")
    options = parser.parse_args(arguments)
    try:
        print(ensure_root(install_packages=options.install_packages))
    except EdgeloopError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
