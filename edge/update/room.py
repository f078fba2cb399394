"""What bundles may take of a device's disk: the one that runs, the one to go back to, and the one that comes."""

from __future__ import annotations

from pathlib import Path

from edge.errors import BundleError


def folder_bytes(folder: Path) -> int:
    """Bytes of the files in a folder; 0 where there is none."""
    try:
        return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    except OSError:
        return 0


def check_budget(*, coming: int, active: int, fallback: int, at_most: int) -> None:
    """Refuses a bundle that would not fit beside the others, before anything of it is fetched. Pure.

    Args:
        coming: Bytes of the new bundle.
        active: Bytes of the one that runs.
        fallback: Bytes of the one to go back to, which stays until the new one is whole.
        at_most: The budget (`bundles_max_bytes`), 0 for none.

    Raises:
        BundleError: It does not fit; says all sizes.
    """
    if at_most and coming + active + fallback > at_most:
        raise BundleError(
            f"the new bundle has {coming} bytes; with the one that runs ({active}) and the one to go back to"
            f" ({fallback}) that is above bundles_max_bytes, {at_most}",
            hint="raise it, or publish a smaller bundle; the device stays on the bundle it has",
        )
