"""An emulated arm64 machine on which commands of a page are run as a person would type them.

Unlike the root of `device_tests`, it has what an installation begins with (venv, pip's own wheels, systemd's tools) and
none of edgeloop's libraries; those lie in a folder of wheels that stands in for the registry. Commands run in name
spaces of their own with an overlay over the root: the emulator is known to the kernel, mounts are there, and what is
written stays, only as long as they run. Needs no rights on Linux 6.7 or newer.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from device_tests.arm64_root import PLATFORMS, QEMU, SUITE, root_folder
from device_tests.enter_root import cpu_description

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = (
    "python3", "python3-venv", "python3-pip-whl", "python3-setuptools-whl", "libpython3-stdlib", "ca-certificates",
    "libgomp1", "libsqlite3-0", "libstdc++6", "dash", "bash", "coreutils", "libc-bin", "procps", "tzdata", "base-files",
    "base-passwd", "grep", "sed", "tar", "gzip", "systemd",
)  # fmt: skip
SOURCES = ("edge", "converters", "model_zoo", "cloud_train", "pyproject.toml", "README.md", "LICENSE")
CPU = "cortex-a72"
# An ARM program by its head; F opens the emulator now, so that it need not be found in the root later.
_KNOWN_BY = (
    r":qemu-aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
    r":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:{qemu}:F"
)
_ENTER = r"""
set -e
base=$1 scratch=$2 wheels=$3
mount -t tmpfs none /mnt
mkdir /mnt/binfmt
mount -t binfmt_misc none /mnt/binfmt
printf '%s' '{known_by}' > /mnt/binfmt/register
mkdir -p "$scratch/upper" "$scratch/work" "$scratch/root"
mount -t overlay -o "lowerdir=$base,upperdir=$scratch/upper,workdir=$scratch/work" none "$scratch/root"
cd "$scratch/root"
mount --rbind /dev dev
mount --rbind /sys sys
mount -t proc proc proc
mount --bind "$scratch/cpuinfo" proc/cpuinfo
# The last one is made by the scripts of packages that were only extracted.
mkdir -p wheels root tmp usr/local/bin
mount --bind "$wheels" wheels
exec chroot . /bin/sh /root/commands.sh
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a command came to.

    Attributes:
        command: As it was typed.
        status: Its exit status.
        output: What it wrote, to whichever stream.
    """

    command: str
    status: int
    output: str


def what_is_lacking() -> str:
    """Why no such machine can be had here; empty where it can."""
    missing = [name for name in (QEMU, "mmdebstrap", "unshare") if shutil.which(name) is None]
    if missing:
        return f"an emulated machine needs {' and '.join(missing)}"
    probe = "mount -t tmpfs none /mnt && mkdir /mnt/b && mount -t binfmt_misc none /mnt/b && test -e /mnt/b/register"
    done = subprocess.run([*_unshare(), "/bin/sh", "-c", probe], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"an emulated machine needs binfmt_misc of its own: {done.stderr.strip()}"


def ensure_base() -> Path:
    """The root file system, made unless it stands already."""
    folder = root_folder().parent
    base, stamp = folder / "install-root", folder / "install-made-by"
    recipe = hashlib.sha256("\n".join((SUITE, *PACKAGES)).encode()).hexdigest()
    if not (base.is_dir() and stamp.is_file() and stamp.read_text() == recipe):
        stamp.unlink(missing_ok=True)
        shutil.rmtree(base, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        include = f"--include={','.join(PACKAGES)}"
        _run(["mmdebstrap", "--quiet", "--architectures=arm64", "--variant=extract", include, SUITE, str(base)])
        if not (base / "bin" / "sh").exists():  # packages are extracted, not configured: nobody made the link
            (base / "bin" / "sh").symlink_to("dash")
        stamp.write_text(recipe)
    return base


def ensure_wheels(folder: Path, extras: str) -> Path:
    """Edgeloop as it is now, and what it needs on arm64, as wheels; the latter are kept for the next time.

    Args:
        folder: For edgeloop's own wheel; a scratch folder.
        extras: For instance `device,camera`.

    Returns:
        A folder that stands in for the registry.
    """
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy
        copy(REPOSITORY / name, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    _run([*pip, "wheel", "-q", "--no-deps", "-w", str(folder / "own"), str(source)])
    (own,) = (folder / "own").glob("edgeloop-*.whl")
    kept = root_folder().parent / "install-wheels"
    for old in kept.glob("edgeloop-*.whl"):  # pip would take it, and what it needed, for the one of now
        old.unlink()
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    binary = ["--only-binary=:all:", "--python-version", "3.11", *platforms]
    wanted = ["-c", str(REPOSITORY / "constraints.txt"), f"{own}[{extras}]"]
    _run([*pip, "download", "-q", "-d", str(kept), *binary, *wanted])
    wheels = folder / "wheels"
    wheels.mkdir()
    shutil.copy(own, wheels)
    for wheel in kept.glob("*.whl"):
        if not wheel.name.startswith("edgeloop-"):
            (wheels / wheel.name).hardlink_to(wheel) if _same_disk(wheel, wheels) else shutil.copy(wheel, wheels)
    return wheels


def run_commands(
    commands: list[str], scratch: Path, wheels: Path, *, environment: dict[str, str], timeout_s: float
) -> list[Ran]:
    """Types commands into the machine, one after another, whatever each comes to.

    Args:
        commands: With their continued lines and here-documents.
        scratch: What is written goes here; files for `/root` are laid into `scratch/upper/root` before.
        wheels: From `ensure_wheels`.
        environment: Besides what a login has.
        timeout_s: For all of them.
    """
    home = scratch / "upper" / "root"
    home.mkdir(parents=True, exist_ok=True)
    (scratch / "cpuinfo").write_text(cpu_description(CPU, num_cores=os.cpu_count() or 1))
    parts = [f"@begin {number}\n({command}\n) </dev/null 2>&1\n@end" for number, command in enumerate(commands)]
    script = "\n".join(parts).replace("@begin ", "echo; echo @@begin ").replace("@end", 'echo; echo "@@end $?"')
    (home / "commands.sh").write_text(script.replace('echo; echo "@@end $?"', 'status=$?; echo; echo "@@end $status"'))
    enter = _ENTER.replace("{known_by}", _KNOWN_BY.replace("{qemu}", str(Path(str(shutil.which(QEMU))).resolve())))
    login = {
        "PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "QEMU_CPU": CPU,
    }
    command = [*_unshare(), "/bin/sh", "-c", enter, "enter", str(ensure_base()), str(scratch), str(wheels)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        env=login | environment,
        timeout=timeout_s,
        check=False,
    )
    return _read(done.stdout, commands, done.stderr)


def _read(text: str, commands: list[str], complaint: str) -> list[Ran]:
    found = []
    for part in text.split("@@begin ")[1:]:
        number, _, rest = part.partition("\n")
        output, _, status = rest.rpartition("@@end ")
        found.append(Ran(command=commands[int(number)], status=int(status.strip() or -1), output=output.strip()))
    assert len(found) == len(commands), f"only {len(found)} of {len(commands)} commands ran: {complaint}"
    return found


def _unshare() -> list[str]:
    return ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]


def _same_disk(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}"
