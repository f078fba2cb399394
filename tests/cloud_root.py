"""A Debian root for machines of tests: with Docker's engine, with systemd, and laid out as the image of Python is.

It lies in `work/cloud-root` of the checkout and is made anew when its recipe changes. It stands in for
`python:3.11-slim-bookworm`: the same Debian, and Python 3.11 with pip below `/usr/local`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SUITE = "bookworm"
PACKAGES = (
    "python3", "python3-venv", "ca-certificates", "netbase", "tzdata", "systemd", "systemd-sysv", "dbus", "docker.io",
    "iptables", "iproute2",
)  # fmt: skip
ENGINE_PROGRAMS = ("docker", "dockerd", "docker-proxy", "containerd", "containerd-shim-runc-v2", "ctr", "runc")
LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*", "/usr/share/lintian/*")
_RECIPE = " ".join((SUITE, *PACKAGES, *LEFT_OUT)) + "\n"
_TOOLS = ("mmdebstrap", "unshare", "nsenter", "setpriv")
_PROBE = """
mount -t tmpfs none /mnt && mkdir /mnt/u /mnt/w /mnt/o && mkdir /mnt/l &&
mount -t overlay -o lowerdir=/mnt/l,upperdir=/mnt/u,workdir=/mnt/w none /mnt/o
"""


def what_is_lacking() -> str:
    """Why no such machine can be had here; empty where it can."""
    missing = [name for name in _TOOLS if shutil.which(name) is None]
    if missing:
        return f"a machine of its own needs {' and '.join(missing)}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", _PROBE],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else f"a machine of its own needs mounts: {done.stderr.strip()}"


def ensure_root() -> Path:
    """The root, made unless it stands already: about a minute."""
    folder = REPOSITORY / "work" / "cloud-root"
    root, stamp = folder / "root", folder / "made-by"
    if not (root.is_dir() and stamp.is_file() and stamp.read_text() == _RECIPE):
        stamp.unlink(missing_ok=True)
        shutil.rmtree(root, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        packages = f"--include={','.join(PACKAGES)}"
        options = [f"--dpkgopt=path-exclude={places}" for places in LEFT_OUT]
        run("mmdebstrap", "--quiet", "--variant=minbase", *options, packages, SUITE, root)
        run("chroot", root, "python3", "-m", "venv", "/usr/local")
        stamp.write_text(_RECIPE)
    return root


def run(*words: object, **changes: object) -> str:
    """Runs a command to its end; what it said where it failed is in the error."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, **changes)
    assert done.returncode == 0, f"{' '.join(map(str, words))}: {(done.stderr or done.stdout)[-3000:]}"
    return done.stdout


def first_child(process: int) -> int:
    """The process that `unshare --fork` started."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return int(children[0])


@contextlib.contextmanager
def started(*words: object, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block, and with ours; under `unshare --kill-child` all that it started does too."""
    with log.open("ab") as out:
        line = ["setpriv", "--pdeathsig=KILL", "--", *map(str, words)]
        process = subprocess.Popen(line, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def network_space(name: str) -> tuple[str, ...]:
    """Words before a command that give it another network and leave its mounts as they are."""
    return ("nsenter", f"--net=/run/netns/{name}", "--")


def environment(**changes: str) -> dict[str, str]:
    """Ours, with changes."""
    return {**os.environ, **changes}
