"""What travels to another machine: the runtime, these tests and the bundles, as one zip, and how it is asked there."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import edge
from device_tests.plan import FOLDER, OWN_BUNDLES, Plan, bundle_name
from edge.bundle.archive import pack
from edge.errors import UsageError
from edge.image.decode import read_picture

_SUFFIXES = (".py", ".typed", ".json", ".png", ".jpg", ".webp", ".edgebundle")


def pack_kit(plan: Plan, target: Path) -> None:
    """Writes the zip: `edge/`, `device_tests/`, `bundles/` and `pictures/`.

    Args:
        plan: Its bundles and pictures travel.
        target: The zip file.

    Raises:
        EdgeloopError: A bundle or picture is missing or damaged.
    """
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for package in (Path(edge.__file__).resolve().parent, FOLDER):
            for path in _sources(package):
                archive.write(path, f"{package.name}/{path.relative_to(package)}")
        for bundle in _travelling(plan):
            _add_bundle(archive, bundle)
        for picture in plan.pictures:
            archive.writestr(f"pictures/{picture.name}", read_picture(picture))


def inner_arguments(plan: Plan) -> list[str]:
    """Arguments of `python -m device_tests` in the folder where the kit was unpacked."""
    words = ["--device", "local", "--quiet"]
    words += ["--warm-up", str(plan.num_warm_up_frames), "--frames", str(plan.num_latency_frames)]
    words += ["--memory-frames", str(plan.num_memory_frames), "--slow-factor", str(plan.slow_factor)]
    words += ["--strict-latency"] if plan.strict_latency else []
    words += [word for name in plan.groups for word in ("--group", name)]
    words += [word for path in _travelling(plan) for word in ("--bundle", f"bundles/{bundle_name(path)}.edgebundle")]
    words += [word for path in plan.pictures for word in ("--picture", f"pictures/{path.name}")]
    words += ["--emulated", plan.emulated] if plan.emulated else []
    return words + [f"--launcher={word}" for word in plan.launcher]


def _travelling(plan: Plan) -> list[Path]:
    """The bundles that are not part of the tests anyway."""
    return [path for path in plan.bundles if path not in OWN_BUNDLES]


def _sources(package: Path) -> Iterator[Path]:
    for path in sorted(package.rglob("*")):
        if path.suffix in _SUFFIXES and "__pycache__" not in path.parts:
            yield path


def _add_bundle(archive: zipfile.ZipFile, bundle: Path) -> None:
    name = f"bundles/{bundle_name(bundle)}.edgebundle"
    if bundle.is_file():
        archive.write(bundle, name, zipfile.ZIP_STORED)
    elif bundle.is_dir():
        with TemporaryDirectory() as folder:
            packed = Path(folder) / "packed"
            pack(bundle, packed)
            archive.write(packed, name, zipfile.ZIP_STORED)
    else:
        raise UsageError(f"{bundle}: no such bundle")
