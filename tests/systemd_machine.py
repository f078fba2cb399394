"""systemd as the first process of a machine of its own: the service manager itself, not a reading of its files."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from cloud_root import first_child, network_space, started

_WAIT_S = 60.0
_READY = ("running", "degraded")
_ENTER = r"""
set -e
lower=$1 scratch=$2
mount --make-rprivate /
mount -t overlay -o "lowerdir=$lower,upperdir=$scratch/upper,workdir=$scratch/work" none "$scratch/root"
cd "$scratch/root"
mkdir -p dev proc run sys tmp .old
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 none sys/fs/cgroup
mount -t tmpfs -o mode=755 none dev
for name in null zero full random urandom tty; do touch dev/$name; mount --bind /dev/$name dev/$name; done
touch dev/console
mount --bind "$scratch/console" dev/console
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 none dev/pts
mount -t tmpfs -o mode=1777 none dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=755 none run
mount -t tmpfs -o mode=1777 none tmp
pivot_root . .old
umount -l .old
# As on every machine that systemd has brought up: it hands out credentials by a mount that has to come through.
mount --make-rshared /
exec env -i container=other PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemdMachine:
    """A machine that runs.

    Attributes:
        scratch: What was written on it lies in `upper` there.
        leader: systemd's own process, as it is numbered here.
    """

    scratch: Path
    leader: int

    def run(self, line: str, *, folder: str = "/") -> subprocess.CompletedProcess[str]:
        """Runs a line of a shell there, as root."""
        inside = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd")
        words = ["nsenter", f"--target={self.leader}", *inside, "--", "/bin/bash", "-c", f"cd {folder} && {line}"]
        clean = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root"}
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=90, env=clean)

    def do(self, line: str, *, folder: str = "/") -> str:
        """The same of what must succeed."""
        done = self.run(line, folder=folder)
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
        return done.stdout

    def property_of(self, unit: str, name: str) -> str:
        """What systemd says of a unit."""
        return self.do(f"systemctl show --value --property={name} {unit}").strip()

    def log_of(self, unit: str) -> str:
        """What a unit has written."""
        return self.do(f"journalctl --no-pager --output=cat --unit={unit}")


@contextlib.contextmanager
def booted(lower: Sequence[Path], scratch: Path, *, network: str, mounts_of: int) -> Iterator[SystemdMachine]:
    """A machine that has come up, over folders that stay as they are; gone at the end of the block.

    Args:
        lower: What its root is made of, topmost first.
        scratch: A folder; what is in its `upper` is in the root too.
        network: Name of the network space that it lives in.
        mounts_of: A process that sees all of these folders.
    """
    for name in ("upper", "work", "root"):
        (scratch / name).mkdir(exist_ok=True)
    (scratch / "console").touch()
    with _control_group() as group:
        join = f'echo $$ > "{group}/cgroup.procs"; exec "$@"'
        spaces = ("unshare", "--fork", "--pid", "--mount", "--uts", "--ipc", "--cgroup", "--kill-child")
        mounts = ("nsenter", f"--mount=/proc/{mounts_of}/ns/mnt", "--")
        words = ("/bin/sh", "-c", join, "sh", *network_space(network), *mounts, *spaces, "/bin/sh", "-c", _ENTER, "sh")
        with started(*words, ":".join(map(str, lower)), scratch, log=scratch / "log") as process:
            yield _up(process, scratch)


def _up(process: subprocess.Popen[bytes], scratch: Path) -> SystemdMachine:
    end = time.monotonic() + _WAIT_S
    state = ""
    while state not in _READY:
        is_hopeful = process.poll() is None and time.monotonic() < end
        assert is_hopeful, (scratch / "log").read_text() + state
        time.sleep(0.2)
        with contextlib.suppress(IndexError, FileNotFoundError):
            machine = SystemdMachine(scratch=scratch, leader=first_child(process.pid))
            state = machine.run("systemctl is-system-running").stdout.strip()
    return machine


@contextlib.contextmanager
def _control_group() -> Iterator[Path]:
    """A group of version 2 that the machine takes for its root."""
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    tops = [Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"]
    if not tops or not os.access(tops[0], os.W_OK):
        pytest.skip("faults: systemd needs control groups of version 2")
    group = tops[0] / f"edgeloop-{os.getpid()}"
    group.mkdir()
    try:
        yield group
    finally:
        _remove(group)


def _remove(group: Path) -> None:
    end = time.monotonic() + 10.0
    while group.exists() and time.monotonic() < end:
        for folder, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):  # its processes are still ending
                Path(folder).rmdir()
        time.sleep(0.05)
