"""A device's world for tests: signed repositories on disk and a road that reads them, with faults on demand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cloud_train.ingest.handlers import published_file
from cloud_train.publish.repository import Repository, open_repository
from edge.errors import RoadError
from edge.outbox.base import Sample
from edge.sync.types import DeviceStatus, Directive, OfferReply, Receipt, ReceiptStatus, SampleOffer
from edge.types import Feedback

TESTS = Path(__file__).resolve().parent
CHUNK = 512


@dataclass
class RepositoryRoad:
    """A `SyncTransport` whose server is a store folder on this disk; samples are kept in memory.

    `break_after` lets so many bytes of `files/…` through and then fails each time; `down` fails everything.
    """

    store: Path
    down: bool = False
    break_after: int | None = None
    fetched: list[tuple[str, int]] = field(default_factory=list)
    fetched_bytes: int = 0
    stored: dict[str, bytes] = field(default_factory=dict)
    stored_times: list[str] = field(default_factory=list)
    statuses: list[DeviceStatus] = field(default_factory=list)
    answers: list[tuple[str, Feedback]] = field(default_factory=list)
    announced: str = ""
    check_in_s: float = 0.0
    closed: bool = False

    def _require_up(self) -> None:
        if self.down or self.closed:
            raise RoadError("the server does not answer", hint="check the connection")

    def offer(self, offers: tuple[SampleOffer, ...]) -> OfferReply:
        self._require_up()
        digests = [offer.digest for offer in offers]
        return OfferReply(
            missing=tuple(digest for digest in digests if digest not in self.stored),
            known=tuple(digest for digest in digests if digest in self.stored),
            refused={},
            partial={},
            retry_after_s=0.0,
        )

    def push(self, samples: Iterable[tuple[Sample, int]], *, at_hand: object = None) -> Iterator[Receipt]:
        self._require_up()
        for sample, offset in samples:
            assert offset == 0
            self.stored[sample.digest] = sample.payload
            self.stored_times.append(sample.digest)
            yield Receipt(digest=sample.digest, status=ReceiptStatus.STORED)

    def annotate(self, digest: str, feedback: Feedback) -> None:
        self._require_up()
        self.answers.append((digest, feedback))

    def check_in(self, status: DeviceStatus) -> Directive:
        self._require_up()
        self.statuses.append(status)
        return Directive(channel="stable", bundle_digest=self.announced, check_in_s=self.check_in_s)

    def fetch(self, path: str, *, offset: int) -> Iterator[bytes]:
        self._require_up()
        self.fetched.append((path, offset))
        data = published_file(self.store / "repository", path).read_bytes()
        for begin in range(offset, len(data), CHUNK):
            if path.startswith("files/") and self.break_after is not None:
                if self.break_after < CHUNK:
                    raise RoadError("the connection broke")
                self.break_after -= CHUNK
            chunk = data[begin : begin + CHUNK]
            self.fetched_bytes += len(chunk)
            yield chunk

    def close(self) -> None:
        self.closed = True


def publish(store: Path, bundle: Path, *, now: float) -> Repository:
    """Publishes a bundle on `stable`, making the repository when there is none."""
    repository = open_repository(store, now=now)
    repository.publish(bundle, channel="stable", now=now)
    return repository


def root_file(store: Path) -> Path:
    """The trusted root that is given to a device."""
    return store / "repository" / "metadata" / "1.root.json"


def metadata_folder(store: Path) -> Path:
    return store / "repository" / "metadata"


def edgeloop(*arguments: object, timeout: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `edgeloop …` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "device_process", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=process_environment(**environment),
        check=False,
    )


def process_environment(**environment: str) -> dict[str, str]:
    """A clean environment that finds the tests' own modules."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("EDGELOOP_", "LOG_LEVEL"))}
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    # Tests know pictures by the digest of their files, so a device keeps those unless a test says otherwise.
    return kept | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "EDGELOOP_PAYLOAD": "original"} | environment


def error_line(finished: subprocess.CompletedProcess[str]) -> str:
    """The one line a failed command ends with; fails on a traceback or on several."""
    assert "Traceback" not in finished.stderr + finished.stdout, finished.stderr
    lines = [line for line in finished.stderr.splitlines() if line.startswith("edgeloop: error: ")]
    assert len(lines) == 1, finished.stderr
    assert finished.stderr.rstrip().splitlines()[-1] == lines[0]
    return lines[0].removeprefix("edgeloop: error: ")


def copy_tree(source: Path, target: Path) -> None:
    """Replaces a folder by a copy of another."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
