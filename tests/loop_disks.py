"""Small disks of their own for tests, on loop devices or in memory, which can fill up, freeze, fail and lose power."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

# The kernel flushes what nobody asked to be flushed this late: what a power cut may lose is not on the disk by chance.
_OPTIONS = "loop,commit=30"
_PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopDisk:
    """A mounted ext4 disk.

    Attributes:
        folder: Where it is mounted.
        image: The file that it lies in.
    """

    folder: Path
    image: Path

    @property
    def device(self) -> str:
        """Its name in the kernel: `loop3`."""
        return Path(_said("findmnt", "-no", "SOURCE", self.folder)).name

    def fill(self) -> Path:
        """Lets something else take all the room there is; returns the file that has it."""
        filler = self.folder / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(self.folder).free)
        with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(1024))
        return filler

    def cut_power(self, copy: Path) -> Path:
        """What would be on the disk if the plug were pulled now. Writers must stand still meanwhile.

        Args:
            copy: Where the image of it goes.
        """
        inflight = Path("/sys/block") / self.device / "inflight"
        deadline = time.monotonic() + _PATIENCE_S
        while inflight.read_text().split() != ["0", "0"]:
            assert time.monotonic() < deadline, "the disk never came to rest"
            time.sleep(0.005)
        shutil.copyfile(self.image, copy)
        return copy

    def turn_read_only(self) -> None:
        """As ext4 does it itself when it meets damage, with `errors=remount-ro`."""
        trigger = Path("/sys/fs/ext4") / self.device / "trigger_fs_error"
        if not trigger.exists():
            pytest.skip("faults: this kernel cannot be told to fail an ext4 disk")
        trigger.write_text("damaged by a test\n")

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Every write waits until the end of the block, as on a card that cleans itself up."""
        _run("fsfreeze", "--freeze", self.folder)
        try:
            yield
        finally:
            _run("fsfreeze", "--unfreeze", self.folder)


@contextlib.contextmanager
def new_disk(place: Path, *, size_mb: int = 24, options: str = "") -> Iterator[LoopDisk]:
    """A new ext4 disk, gone at the end of the block.

    Args:
        place: Folder for the image and the mount point; made here.
        size_mb: Of the disk.
        options: Further options of the mount.
    """
    place.mkdir(parents=True)
    image = place / "disk.img"
    with image.open("wb") as file:
        file.truncate(size_mb << 20)
    if subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", str(image)], capture_output=True, check=False).returncode:  # noqa: S607
        pytest.skip("faults: no ext4 can be made here")
    with mounted(image, place / "disk", options=options) as disk:
        yield disk


@contextlib.contextmanager
def mounted(image: Path, folder: Path, *, options: str = "") -> Iterator[LoopDisk]:
    """Mounts an image for the length of the block."""
    folder.mkdir(exist_ok=True)
    given = ",".join(filter(None, (_OPTIONS, options)))
    done = subprocess.run(["mount", "-o", given, str(image), str(folder)], capture_output=True, text=True, check=False)  # noqa: S607
    if done.returncode:
        pytest.skip(f"faults: no loop device can be mounted here: {done.stderr.strip()}")
    try:
        yield LoopDisk(folder=folder, image=image)
    finally:
        _run("umount", "--lazy", folder)


def repair(image: Path) -> None:
    """What a device does with its disk when it starts: replays the journal and mends."""
    done = subprocess.run(["fsck.ext4", "-p", "-f", str(image)], capture_output=True, text=True, check=False)  # noqa: S607
    assert done.returncode in (0, 1), done.stdout + done.stderr


def _run(*command: object) -> None:
    subprocess.run(list(map(str, command)), check=True, capture_output=True)


def _said(*command: object) -> str:
    return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout.strip()
