"""Docker's own engine, in spaces of its own: its networks, mounts and processes are nobody else's and end with it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from cloud_root import ENGINE_PROGRAMS, environment, first_child, network_space, run, started
from network_spaces import Cable

_WAIT_S, _STOP_S = 60.0, 15.0
_ENTER = r"""
set -e
root=$1 scratch=$2
mount --make-rprivate /
mkdir "$scratch/upper" "$scratch/work" "$scratch/root"
mount -t overlay -o "lowerdir=$root,upperdir=$scratch/upper,workdir=$scratch/work" none "$scratch/root"
cd "$scratch/root"
mount --rbind /dev dev
mount --rbind /sys sys
mount -t proc proc proc
mount -t tmpfs none run
mkdir -p "./$scratch"
mount --bind "$scratch" "./$scratch"
mkdir "$scratch/data"
mount -t tmpfs -o mode=711,size=8g none "./$scratch/data"  # tens of thousands of files, gone with the last process
ln -s /usr/sbin/iptables-legacy usr/local/sbin/iptables
ln -s /usr/sbin/ip6tables-legacy usr/local/sbin/ip6tables
# Not chroot: a command in a container would come out at the root of the mounts, which is ours.
mkdir .old
pivot_root . .old
umount -l .old
export PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
exec dockerd --host "unix://$scratch/socket" --data-root "$scratch/data" --exec-root "$scratch/exec" \
  --pidfile "$scratch/pid" --storage-driver overlay2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerEngine:
    """A running engine.

    Attributes:
        root: Where its programs are.
        scratch: A folder that it and we see under the same name.
        cable: Its network; what containers publish is at the other end.
        leader: Its process, whose mounts hold what it keeps.
    """

    root: Path
    scratch: Path
    cable: Cable
    leader: int = 0

    def docker(self, *words: object, **changes: object) -> str:
        """One command of Docker's own client."""
        return run(self.root / "usr/bin/docker", *words, env=self.environment, **changes)

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs."""
        return environment(DOCKER_HOST=f"unix://{self.scratch / 'socket'}", DOCKER_BUILDKIT="1")

    def import_root(self, name: str, *, settings: str) -> None:
        """Makes the root, without the engine, an image of a name.

        Args:
            name: Of the image.
            settings: `NAME=VALUE …` in the environment of whatever runs in it.
        """
        left_out = [f"--exclude=./usr/{place}/{program}" for place in ("bin", "sbin") for program in ENGINE_PROGRAMS]
        packed = subprocess.Popen(
            ["tar", "-C", str(self.root), "--one-file-system", *left_out, "-c", "."],  # noqa: S607
            stdout=subprocess.PIPE,
        )
        self.docker("import", "--change", f"ENV {settings}", "-", name, stdin=packed.stdout)
        assert packed.wait() == 0

    def layers(self, image: str) -> tuple[Path, ...]:
        """The layers of an image among the mounts of `leader`, topmost first, as an overlay takes its lower folders."""
        told = json.loads(self.docker("image", "inspect", image))[0]["GraphDriver"]["Data"]
        return tuple(map(Path, [told["UpperDir"], *told["LowerDir"].split(":")]))


@contextlib.contextmanager
def running_engine(root: Path, cable: Cable) -> Iterator[DockerEngine]:
    """An engine without images; it and all its containers end with the block."""
    scratch = Path(tempfile.mkdtemp(prefix="edgeloop-docker-"))  # a short name, for there are sockets in it
    words = (*network_space(cable.name), "unshare", "--fork", "--pid", "--mount", "--kill-child")
    try:
        with started(*words, "/bin/sh", "-c", _ENTER, "sh", root, scratch, log=scratch / "log") as process:
            engine = _up(DockerEngine(root=root, scratch=scratch, cable=cable), process)
            yield engine
            for container in engine.docker("ps", "--all", "--quiet").split():
                engine.docker("rm", "--force", container)
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.kill(engine.leader, signal.SIGTERM)  # so that it takes its control groups away
                process.wait(_STOP_S)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _up(engine: DockerEngine, process: subprocess.Popen[bytes]) -> DockerEngine:
    end = time.monotonic() + _WAIT_S
    while True:
        try:
            engine.docker("version")
        except AssertionError:
            is_hopeful = process.poll() is None and time.monotonic() < end
            assert is_hopeful, (engine.scratch / "log").read_text()[-3000:]
            time.sleep(0.2)
        else:
            return replace(engine, leader=first_child(process.pid))
