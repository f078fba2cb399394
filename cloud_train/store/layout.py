"""Where things lie in a store folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreLayout:
    """The folders of one store. Page: docs/formats/store.md.

    Attributes:
        root: The store folder.
    """

    root: Path

    @property
    def meta(self) -> Path:
        """Samples, answers, devices, releases."""
        return self.root / "meta.sqlite"

    @property
    def blobs(self) -> Path:
        """Pictures, named by digest."""
        return self.root / "blobs"

    @property
    def repository(self) -> Path:
        """What is signed and published."""
        return self.root / "repository"

    @property
    def cache(self) -> Path:
        """Local copies of pictures that lie in an object store; nothing in it is needed."""
        return self.root / "cache"

    @property
    def snapshots(self) -> Path:
        """Data set snapshots, `<digest>.json`."""
        return self.root / "snapshots"

    @property
    def runs(self) -> Path:
        """Training runs, one folder each."""
        return self.root / "runs"

    @property
    def bundles(self) -> Path:
        """Finished bundles, one folder each."""
        return self.root / "bundles"

    @property
    def reports(self) -> Path:
        """Evaluation reports."""
        return self.root / "reports"

    @property
    def authority(self) -> Path:
        """The fleet's certificate authority, for its owner alone."""
        return self.root / "ca"

    @property
    def workflows(self) -> Path:
        """State of durable workflows."""
        return self.root / "workflows.sqlite"

    def snapshot(self, digest: str) -> Path:
        """File of one snapshot."""
        return self.snapshots / f"{digest}.json"
