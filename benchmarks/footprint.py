"""Installed size of `edgeloop[device]` in an empty environment, package by package.

python -m benchmarks.footprint

Counted is what `du` counts: blocks on disk, byte code included; `pip` and `setuptools`, which every environment
already has, are named but not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

import click

from benchmarks.installed import installed_site
from benchmarks.peers import PEERS, peer_folder
from benchmarks.table import Row, show

LIMIT_MB = 240
OWN_TOOLS = ("pip", "setuptools")
SMALLEST_MB = 1.0
TITLE = "installed size of edgeloop[device]"


def disk_bytes(folder: Path) -> int:
    """Blocks that a folder takes on disk, links not followed."""
    return sum(path.lstat().st_blocks * 512 for path in (folder, *folder.rglob("*")))


def package_sizes(site: Path) -> dict[str, int]:
    """Bytes on disk of each distribution, largest first; folders that several share go by their files.

    Returns:
        Distribution name to bytes.
    """
    sizes: Counter[str] = Counter()
    for distribution in distributions(path=[str(site)]):
        sizes[distribution.metadata["Name"]] += sum(_blocks(path) for path in _files(distribution))
    return dict(sizes.most_common())


def _files(distribution: Distribution) -> Iterator[Path]:
    for file in distribution.files or ():
        yield Path(str(distribution.locate_file(file)))


def _blocks(path: Path) -> int:
    return path.lstat().st_blocks * 512 if path.is_file() else 0


def rows(site: Path) -> list[Row]:
    """The whole, its larger packages, and the peers that are installed here."""
    sizes = package_sizes(site)
    tools = sum(sizes.get(name, 0) for name in OWN_TOOLS)
    total = (disk_bytes(site) - tools) / 1e6
    large = {name: size / 1e6 for name, size in sizes.items() if size / 1e6 >= SMALLEST_MB and name not in OWN_TOOLS}
    listed = [Row(what=f"- {name}", figures=f"{size:.1f} MB") for name, size in large.items()]
    whole = Row(
        what=f"edgeloop[device] (besides {tools / 1e6:.0f} MB of pip and setuptools)",
        figures=f"{total:.0f} MB",
        target=f"≤ {LIMIT_MB} MB",
        met=total <= LIMIT_MB,
    )
    return [whole, *listed, *_peer_rows()]


def _peer_rows() -> list[Row]:
    made = [name for name in PEERS if (peer_folder(name) / ".made").is_file()]
    return [
        Row(what=f"{name}, as installed for these benchmarks", figures=f"{disk_bytes(peer_folder(name)) / 1e9:.1f} GB")
        for name in made
    ]


def measure() -> list[Row]:
    """Installs and measures."""
    return rows(installed_site())


@click.command()
def main() -> None:
    """Prints the table."""
    show(TITLE, measure())


if __name__ == "__main__":
    main()
