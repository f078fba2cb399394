"""One frame answered for, whoever asked: the camera's loop and the kiosk's screen share this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.types import Frame, Inference

if TYPE_CHECKING:
    from edge.bundle.manifest import BundleManifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A frame and what became of it.

    Attributes:
        frame: The picture.
        inference: What the engine said.
        manifest: Of the bundle that said it.
        kept: Whether it is, or is about to be, in the outbox.
        sample_digest: SHA-256 of the payload there, hex; empty where it is not kept.
    """

    frame: Frame
    inference: Inference
    manifest: BundleManifest
    kept: bool = False
    sample_digest: str = ""

    @property
    def model_version(self) -> str:
        """`name version`, as people read it."""
        return f"{self.manifest.name} {self.manifest.version}"
