"""Where drawn answers go: one file for a picture, a folder of the same shape for a folder of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge import durable
from edge.errors import UsageError

if TYPE_CHECKING:
    from edge.types import Inference

_KINDS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}


class Drawings:
    """Writes drawn answers, each whole or not at all; never over a picture that is answered for.

    Args:
        picture: The picture, or the folder of pictures, that is answered for.
        out: A file that ends in `.jpg`, `.jpeg` or `.png`; a folder for a folder.

    Raises:
        UsageError: `out` is the picture or folder itself, or not of that sort.
    """

    def __init__(self, picture: Path, out: Path) -> None:
        if out.exists() and picture.resolve() == out.resolve():
            raise UsageError(f"--annotated {out} would write over the pictures", hint="name another place")
        if not picture.is_dir() and (out.is_dir() or out.suffix.lower() not in _KINDS):
            raise UsageError(f"--annotated {out}: a picture is drawn to a .jpg or .png file")
        if picture.is_dir() and out.exists() and not out.is_dir():
            raise UsageError(f"--annotated {out}: a folder of pictures is drawn to a folder")
        self._folder = picture if picture.is_dir() else None
        self._out = out

    def draw(self, picture: Path, inference: Inference) -> Path:
        """Draws one answer; returns where.

        Raises:
            ImageError: The picture cannot be used.
            StorageError: The disk is full or failing.
        """
        from edge.drawing.annotate import annotate

        target = self._target(picture)
        data = annotate(picture, inference, kind=_KINDS[target.suffix.lower()])
        durable.make_folder(target.parent)
        durable.write_bytes(target, data, point="drawing")
        return target

    def _target(self, picture: Path) -> Path:
        """Of the same name; a WebP gets `.png` behind it."""
        if self._folder is None:
            return self._out
        name = picture.relative_to(self._folder)
        return self._out / (name if name.suffix.lower() in _KINDS else name.with_name(f"{name.name}.png"))
