"""Enters the emulated arm64 root and becomes the tests there.

    python -m device_tests.enter_root ROOT FOLDER CPU ARGUMENTS...

Started by `device_tests.arm64`. The mounts belong to this process alone and end with it. The processor is pinned: with
`max`, qemu 7.2 gives wrong int8 results without a word. The emulated `/proc/cpuinfo` must be an ARM one, because
onnxruntime reads it and crashes on that of an x86-64 host.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from device_tests.arm64_root import INNER_LIBRARIES, INNER_QEMU
from device_tests.mounts import bind, leave_shared_mounts, mount_proc
from device_tests.plan import SkippedError

_PARTS = {"cortex-a72": "0xd08", "cortex-a76": "0xd0b"}
_FEATURES = {
    "cortex-a72": "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid",
    "cortex-a76": "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
}


def cpu_description(cpu: str, *, num_cores: int) -> str:
    """`/proc/cpuinfo` of a board with this processor, as Linux on ARM writes it."""
    lines = (
        "BogoMIPS\t: 108.00",
        f"Features\t: {_FEATURES[cpu]}",
        "CPU implementer\t: 0x41",
        "CPU architecture: 8",
        "CPU variant\t: 0x0",
        f"CPU part\t: {_PARTS[cpu]}",
        "CPU revision\t: 3",
    )
    blocks = ("\n".join((f"processor\t: {core}", *lines)) for core in range(num_cores))
    return "\n\n".join(blocks) + "\n\n"


def enter(root: Path, folder: str, cpu: str, arguments: list[str]) -> None:
    """Mounts, changes the root and becomes Python on the emulated processor; does not return.

    Raises:
        SkippedError: No mounts can be made here.
    """
    described = root / folder.lstrip("/") / "cpuinfo"
    described.write_text(cpu_description(cpu, num_cores=os.cpu_count() or 1))
    leave_shared_mounts()
    bind(root, root)  # a mount point of its own, so that mounts can be made in there too
    bind(Path("/dev"), root / "dev")
    bind(Path("/sys"), root / "sys")
    mount_proc(root / "proc")
    bind(described, root / "proc" / "cpuinfo")
    os.chroot(root)
    os.chdir(folder)
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "PYTHONPATH": f"{folder}:{INNER_LIBRARIES}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "QEMU_CPU": cpu,
    }
    command = [INNER_QEMU, "/usr/bin/python3", "-m", "device_tests", *arguments]
    os.execve(INNER_QEMU, command, environment)  # noqa: S606


def main(words: list[str]) -> int:
    """Enters, or says why not.

    Returns:
        77 where no mounts can be made.
    """
    try:
        enter(Path(words[0]), words[1], words[2], words[3:])
    except SkippedError as reason:
        print(reason, file=sys.stderr)
    return 77


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
