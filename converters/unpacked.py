"""A bundle to look at, be it a folder or an `.edgebundle` file."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edge.bundle.archive import unpack
from edge.bundle.reader import Bundle, open_bundle


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[Bundle]:
    """Opens a bundle and checks every digest; what was unpacked goes when the block is left.

    Args:
        path: A bundle folder, or one packed as a file.

    Raises:
        BundleError: It is no bundle, or damaged.
        FormatError: Its manifest does not follow docs/formats/bundle.md.
        StorageError: There is no room to unpack it.
    """
    if not path.is_file():
        yield open_bundle(path)
        return
    with tempfile.TemporaryDirectory(prefix="edgeloop-") as work:
        yield unpack(path, Path(work) / "bundle")
