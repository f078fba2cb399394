"""The command line, and the plan and target that follow from it."""

from __future__ import annotations

import argparse
from pathlib import Path

from device_tests.arm64 import CPUS
from device_tests.devices import Target
from device_tests.groups import GROUPS
from device_tests.plan import OWN_BUNDLES, Plan
from device_tests.reference import read_reference

# An emulator is fifty times slower, and what it measures says nothing about a board.
FRAMES = {"local": (20, 200, 1000), "arm64": (2, 10, 50), "ssh": (20, 200, 1000)}


def make_parser() -> argparse.ArgumentParser:
    """Options of `python -m device_tests`."""
    parser = argparse.ArgumentParser(
        prog="python -m device_tests",
        description="Checks a device: vectors, latency, memory, faults. "
        "`python -m device_tests compare A.json B.json` compares two reports bit for bit.",
    )
    parser.add_argument("--device", default="local", help="local, arm64 (emulated) or ssh:HOST (default: local)")
    parser.add_argument(
        "--bundle", type=Path, action="append", default=[], help="a bundle folder or .edgebundle file; may be repeated"
    )
    parser.add_argument(
        "--picture", type=Path, action="append", default=[], help="record outputs of this picture too; may be repeated"
    )
    parser.add_argument(
        "--group", action="append", default=[], help=f"only this group, may be repeated: {', '.join(GROUPS)}"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report for `compare` and for machines")
    _add_counts(parser)
    _add_reference(parser)
    _add_far(parser)
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.add_argument("--emulated", default="", help=argparse.SUPPRESS)
    parser.add_argument("--launcher", action="append", default=[], help=argparse.SUPPRESS)
    return parser


def plan_of(options: argparse.Namespace) -> Plan:
    """What to test; the tests' own bundles come first.

    Raises:
        EdgeloopError: A count is too small, two bundles share a name, or the reference cannot be read.
    """
    default = FRAMES[options.device.split(":")[0] if options.device.split(":")[0] in FRAMES else "local"]
    asked = (options.warm_up, options.frames, options.memory_frames)
    warm_up, frames, memory_frames = (d if a is None else a for a, d in zip(asked, default, strict=True))
    return Plan(
        bundles=(*OWN_BUNDLES, *options.bundle),
        pictures=tuple(options.picture),
        groups=tuple(options.group),
        num_warm_up_frames=warm_up,
        num_latency_frames=frames,
        num_memory_frames=memory_frames,
        reference=read_reference(options.reference) if options.reference else None,
        slow_factor=options.slow_factor,
        strict_latency=options.strict_latency,
        emulated=options.emulated,
        launcher=tuple(options.launcher),
    )


def target_of(options: argparse.Namespace) -> Target:
    """Where to test; raises `UsageError` for a device that is none."""
    return Target(
        device=options.device,
        cpu=options.cpu,
        python=options.python,
        ssh_options=tuple(options.ssh_option),
        install_packages=options.install_packages,
    )


def _add_counts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--warm-up", type=int, help="frames before latency is measured (default: 20, emulated 2)")
    parser.add_argument("--frames", type=int, help="frames whose latency is measured (default: 200, emulated 10)")
    parser.add_argument("--memory-frames", type=int, help="frames of a memory check (default: 1000, emulated 50)")


def _add_reference(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--reference", type=Path, metavar="FILE", help="latency to compare with (default: this board's)"
    )
    parser.add_argument("--write-reference", type=Path, metavar="FILE", help="write this run's latency as a reference")
    parser.add_argument("--slow-factor", type=float, default=1.5, help="slower by this is reported (default: 1.5)")
    parser.add_argument("--strict-latency", action="store_true", help="slower than that fails")


def _add_far(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cpu", choices=CPUS, default=CPUS[0], help=f"processor to emulate (default: {CPUS[0]})")
    parser.add_argument("--install-packages", action="store_true", help="let apt-get install what arm64 needs")
    parser.add_argument("--python", default="python3", help="interpreter on the ssh host (default: python3)")
    parser.add_argument(
        "--ssh-option", action="append", default=[], metavar="NAME=VALUE", help="handed to ssh -o; may be repeated"
    )
