"""Samples whose stored bytes are damaged: tried a few times, then in quarantine where people see them, never lost."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sample_values import make_picture_sample
from serving import Finished

from cloud_train.ingest.decoding.decoder import Decoder
from cloud_train.ingest.decoding.worker import LEASE_S, DecodeWorker
from cloud_train.store.check import check_store
from cloud_train.store.checks import MAX_TRIES, SqlCheckStore
from cloud_train.store.folder_blobs import FolderBlobStore
from cloud_train.store.location import write_location
from cloud_train.store.objects import ObjectPlace
from cloud_train.store.opened import Store, open_store
from cloud_train.types import SampleRecord
from edge.errors import DamagedError, StorageError
from edge.outbox.base import Sample

REASON = "its stored bytes are damaged: restore the picture from a backup"
SOUND, ROTTEN = make_picture_sample(1), make_picture_sample(2)


@pytest.fixture(params=["folder", *(pytest.param(kind, marks=pytest.mark.server) for kind in ("s3", "postgresql"))])
def opened(request: pytest.FixtureRequest, store: Path) -> Iterator[Store]:
    if request.param == "s3":
        write_location(store, objects=request.getfixturevalue("s3_objects_url"))
    elif request.param == "postgresql":
        write_location(store, database=request.getfixturevalue("postgres_url"))
    with open_store(store) as parts:
        keep(parts, SOUND, ROTTEN)
        yield parts


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder() as running:
        yield running


def keep(opened: Store, *samples: Sample) -> None:
    opened.blobs.put_many({sample.digest: sample.payload for sample in samples})
    opened.meta.add_samples(
        tuple(
            SampleRecord(digest=one.digest, size_bytes=len(one.payload), received_at=9.0, metadata=one.metadata)
            for one in samples
        )
    )


def write_over(opened: Store, digest: str, data: bytes) -> None:
    """As rot does, past the store."""
    where = opened.location.objects
    if isinstance(where, Path):
        (where / "blobs" / "new" / digest).write_bytes(data)
    else:
        ObjectPlace(f"{where}/blobs").write({f"{digest[:2]}/{digest}": data})


class Shift:
    """Workers one after the other, a lease apart, as after a restart of each."""

    def __init__(self, opened: Store, decoder: Decoder) -> None:
        self.now = 1000.0
        self.checks = SqlCheckStore(opened.database)
        self._blobs, self._decoder = opened.blobs, decoder

    def work(self) -> int:
        worker = DecodeWorker(self.checks, self._blobs, self._decoder, clock=lambda: self.now)
        claimed = worker.step()
        self.failed = worker.counts.failed
        self.now += LEASE_S + 1
        return claimed


def actions(opened: Store, sample: Sample) -> list[str]:
    entries = opened.audit.about(f"sample:{sample.digest}")
    return [entry.action for entry in reversed(entries)][1:]  # the first is its arrival


def test_a_damaged_sample_is_tried_a_few_times_and_ends_in_quarantine(opened: Store, decoder: Decoder) -> None:
    write_over(opened, ROTTEN.digest, b"dama")
    shift = Shift(opened, decoder)
    assert shift.work() == 2
    assert opened.meta.sample(SOUND.digest).checked_at == 1000.0
    for _ in range(MAX_TRIES - 1):
        assert (shift.failed, shift.checks.counts().unchecked, opened.meta.sample(ROTTEN.digest).fault) == (0, 1, "")
        assert shift.work() == 1
    assert (shift.failed, shift.checks.counts().unchecked, shift.checks.counts().quarantined) == (1, 0, 1)
    assert shift.work() == 0, "nobody claims it any more"
    (held,) = shift.checks.quarantined()
    assert (held.digest, held.fault) == (ROTTEN.digest, REASON)
    assert actions(opened, ROTTEN) == ["sample.unreadable"] * MAX_TRIES + ["sample.quarantined"]
    newest = opened.audit.about(f"sample:{ROTTEN.digest}")[0]
    assert (newest.who, newest.detail) == ("server", {"reason": REASON})
    assert actions(opened, SOUND) == []
    assert ROTTEN.digest not in {record.digest for record in opened.meta.samples()}
    with pytest.raises(DamagedError):  # what is left of it is still there
        opened.blobs.read(ROTTEN.digest)


def test_one_that_reads_well_again_before_the_last_try_passes(opened: Store, decoder: Decoder) -> None:
    write_over(opened, ROTTEN.digest, b"dama")
    shift = Shift(opened, decoder)
    for _ in range(MAX_TRIES - 1):
        shift.work()
    write_over(opened, ROTTEN.digest, ROTTEN.payload)
    shift.work()
    record = opened.meta.sample(ROTTEN.digest)
    assert (record.fault, record.checked_at is not None, shift.work()) == ("", True, 0)
    assert actions(opened, ROTTEN) == ["sample.unreadable"] * (MAX_TRIES - 1)


def test_people_see_it_and_release_it_when_it_is_restored(
    opened: Store, decoder: Decoder, run_here: Callable[..., Finished]
) -> None:
    write_over(opened, ROTTEN.digest, b"dama")
    shift = Shift(opened, decoder)
    while shift.work():
        pass
    root = opened.layout.root
    listed = run_here("quarantine", "--store", root, "--list").stdout
    assert listed == f"{ROTTEN.digest}  kiosk-1  {REASON}\n"
    write_over(opened, ROTTEN.digest, ROTTEN.payload)
    assert run_here("quarantine", "--store", root, "--release", ROTTEN.digest, "--who", "ann").returncode == 0
    assert {record.digest for record in opened.meta.samples()} == {SOUND.digest, ROTTEN.digest}


def test_a_word_about_a_sample_that_is_checked_is_none(opened: Store) -> None:
    checks = SqlCheckStore(opened.database)
    checks.passed((SOUND.digest,), now=1.0)
    for digest in (SOUND.digest, "0" * 64):
        for _ in range(MAX_TRIES + 1):
            assert not checks.unreadable(digest, REASON, now=2.0)
    assert opened.audit.newest(action="sample.unreadable") == ()
    assert checks.counts().quarantined == 0


# Sectors that cannot be read.


@pytest.fixture
def bad_sectors(store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A disk that cannot read one file any more."""
    real = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path.name == ROTTEN.digest:
            raise OSError(errno.EIO, "Input/output error")
        return real(path)

    with open_store(store) as parts:
        keep(parts, SOUND, ROTTEN)
        monkeypatch.setattr(Path, "read_bytes", read_bytes)
        yield parts


def test_a_bad_sector_is_damage_and_holds_nobody_up(
    bad_sectors: Store, decoder: Decoder, caplog: pytest.LogCaptureFixture
) -> None:
    shift = Shift(bad_sectors, decoder)
    with caplog.at_level(logging.ERROR):
        assert shift.work() == 2
    assert f"{ROTTEN.digest} cannot be read: input/output error (restore it from a backup)" in caplog.text
    assert bad_sectors.meta.sample(SOUND.digest).checked_at
    while shift.work():
        pass
    assert [record.digest for record in shift.checks.quarantined()] == [ROTTEN.digest]
    assert check_store(bad_sectors).damaged == (ROTTEN.digest,)


def test_a_file_that_may_not_be_read_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = FolderBlobStore(tmp_path)
    digest = blobs.put(b"data")

    def read_bytes(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    with pytest.raises(StorageError, match="cannot be read: permission denied") as caught:
        blobs.read(digest)
    assert not isinstance(caught.value, DamagedError)
