"""Corners of the way in: what was revoked, hung up on, damaged, flooded or broken off at an awkward moment."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import pytest
from overlapping import NUM_SAMPLES, add_overlapping
from pushing import Road, offer_of, pieces
from sample_values import make_picture_sample

from cloud_train.api.asked import read_after
from cloud_train.api.session import read_cookie
from cloud_train.errors import ForbiddenError
from cloud_train.fleet import members
from cloud_train.fleet.authority import create_authority
from cloud_train.fleet.enrolment import MAX_RENEWALS, Enrolments
from cloud_train.fleet.members import By
from cloud_train.fleet_types import AuditEntry
from cloud_train.ingest.arrivals import Arrival, ArrivalParts, store_arrivals
from cloud_train.ingest.callers import Caller
from cloud_train.ingest.commit import GroupCommit, GroupLimits, Outcomes
from cloud_train.ingest.decoding.decoder import Decoder
from cloud_train.ingest.decoding.worker import DecodeWorker
from cloud_train.ingest.door import Door, StoppingError
from cloud_train.ingest.intake import Intake
from cloud_train.ingest.journal import Journal, JournalLimits
from cloud_train.ingest.ledger import Ledger
from cloud_train.ingest.metrics import make_metrics
from cloud_train.ingest.push import put
from cloud_train.ingest.push_stream import PushLimits, PushParts, PushStream
from cloud_train.ingest.quota import QuotaLimits, Quotas
from cloud_train.ingest.room import Room
from cloud_train.ingest.turns import Turns
from cloud_train.store.audit import SqlAuditLog
from cloud_train.store.backup import back_up
from cloud_train.store.checks import SqlCheckStore
from cloud_train.store.database import Database, open_database
from cloud_train.store.device_rows import Sort
from cloud_train.store.folder_blobs import FolderBlobStore
from cloud_train.store.members import SqlFleetStore
from cloud_train.store.opened import RESTORE_MARK, Store, open_store
from cloud_train.store.restore import restore
from cloud_train.store.tables import CERTIFICATES
from cloud_train.types import SampleRecord
from edge import durable
from edge.errors import RoadError, StorageError
from edge.identity import request
from edge.kiosk.refusals import RequestError
from edge.outbox.base import Sample
from edge.sync.types import Chunk, Receipt, ReceiptStatus

NOW = 1_700_000_000.0
PEER = "ipv4:192.0.2.7:4711"
CALLER = Caller(device_id="kiosk-1", peer=PEER)
HUGE = int("9" * 400)


@pytest.fixture
def opened(store: Path) -> Iterator[Store]:
    with open_store(store) as parts:
        yield parts


# Pushes.


class Bench:
    """The parts of a push over a real store, without a wire; `go_on` holds its commits back."""

    def __init__(self, opened: Store, writer: ThreadPoolExecutor) -> None:
        metrics = make_metrics()
        intake = Intake(opened.layout.root / "partial", max_bytes=10**7, max_pixels=10**7)
        self._arrivals = ArrivalParts(
            meta=opened.meta,
            blobs=opened.blobs,
            intake=intake,
            metrics=metrics,
            max_pixels=10**7,
            clock=time.time,
        )
        self.go_on = threading.Event()
        self.go_on.set()
        self.room = Room(10**7)
        limits = GroupLimits(size=8, max_size=32, wait_s=0.01)
        quotas = Quotas(QuotaLimits(bytes_per_day=0, samples_per_minute=0, offers_per_minute=0))
        self.parts = PushParts(
            intake=intake,
            turns=Turns(),
            commits=GroupCommit(self._commit, writer, limits=limits),
            room=self.room,
            ledger=Ledger(
                quotas=quotas,
                journal=Journal(opened.audit, time.time),
                metrics=metrics,
                steady=time.monotonic,
                jitter=lambda: 0.0,
            ),
            open=set(),
            is_stored=lambda digest: False,
            in_thread=partial(asyncio.get_running_loop().run_in_executor, None),
            limits=PushLimits(max_payload_bytes=10**6, idle_s=60.0, max_age_s=60.0),
        )

    def _commit(self, group: tuple[Arrival, ...]) -> Outcomes:
        assert self.go_on.wait(10)
        return store_arrivals(self._arrivals, group)


@asynccontextmanager
async def bench_of(opened: Store) -> AsyncIterator[Bench]:
    with ThreadPoolExecutor(1) as writer:
        bench = Bench(opened, writer)
        try:
            yield bench
        finally:
            bench.go_on.set()
            await bench.parts.commits.close()


def stray(number: int) -> Chunk:
    """A first piece that says nothing of what it begins."""
    return Chunk(digest=hashlib.sha256(str(number).encode()).hexdigest(), offset=0, data=b"x", last=True, offer=None)


def test_a_sample_that_is_there_already_gets_no_receipt_once_its_device_is_revoked(
    open_road: Callable[..., Road], store: Path
) -> None:
    road, sample = open_road(), make_picture_sample(1)
    assert len(pieces(sample)) > 1
    assert road.push_samples([sample]) == {sample.digest: ReceiptStatus.STORED}
    assert road.push_samples([sample]) == {sample.digest: ReceiptStatus.STORED}
    with open_store(store) as opened:
        fleet, by = SqlFleetStore(opened.database), By(who="person:ann", now=time.time())
        members.register(fleet, by, "kiosk-1", labels={})
        members.revoke(fleet, by, "kiosk-1")
    with pytest.raises(grpc.RpcError) as caught:
        road.push_samples([sample])
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert [record.digest for record in road.records()] == [sample.digest]


def test_a_flood_of_first_pieces_without_an_offer_is_counted(open_road: Callable[..., Road]) -> None:
    road = open_road(device_samples_per_minute=20)
    with pytest.raises(grpc.RpcError) as caught:
        road.push(stray(number) for number in range(200))
    assert caught.value.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)


def test_receipts_that_nobody_reads_do_not_grow_without_bound(opened: Store) -> None:
    num, most = 600, 300
    sent = 0

    async def strays() -> AsyncIterator[Chunk]:
        nonlocal sent
        for number in range(num):
            sent += 1
            yield stray(number)

    async def run() -> None:
        async with bench_of(opened) as bench:
            stream = PushStream(bench.parts, CALLER)
            reader = asyncio.create_task(stream.read(strays()))
            await asyncio.sleep(0.15)
            assert 0 < stream.num_unread < most
            assert sent < most
            said: list[Receipt] = []
            async with asyncio.timeout(20):
                while receipts := await stream.receipts():
                    said.extend(receipts)
            await reader
            assert [receipt.status for receipt in said] == [ReceiptStatus.REFUSED] * num

    asyncio.run(run())


def test_who_hangs_up_leaves_its_bytes_counted_until_they_are_durable(opened: Store) -> None:
    sample = make_picture_sample(1)

    async def run() -> None:
        async with bench_of(opened) as bench:
            bench.go_on.clear()
            call = asyncio.create_task(put(offer_of(sample), sample.payload, bench.parts, caller=CALLER))
            await asyncio.sleep(0.05)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            assert call.cancelled()
            assert bench.room.taken_bytes == len(sample.payload)
            bench.go_on.set()
            await bench.parts.commits.close()
            await asyncio.sleep(0)
            assert bench.room.taken_bytes == 0

    asyncio.run(run())
    assert [record.digest for record in opened.meta.samples()] == [sample.digest]


def test_what_cannot_be_taken_holds_no_room(opened: Store) -> None:
    sample = make_picture_sample(1)

    async def run() -> Receipt:
        async with bench_of(opened) as bench:
            receipt = await put(offer_of(sample), sample.payload[:-1], bench.parts, caller=CALLER)
            assert bench.room.taken_bytes == 0
            return receipt

    assert asyncio.run(run()).status is ReceiptStatus.REFUSED


def test_an_upload_that_was_let_in_before_the_server_began_to_stop_is_told(opened: Store) -> None:
    door = Door(max_calls=9, max_uploads=9, device_uploads=9, metrics=make_metrics(), jitter=lambda: 0.0)
    with door.upload(CALLER):
        door.draining = True
        with pytest.raises(StoppingError, match="is stopping") as caught, door.upload(CALLER):
            pass
    assert caught.value.retry_after_s > 0


# The audit of the door.


def test_an_address_is_counted_whatever_its_ports(opened: Store) -> None:
    journal = Journal(opened.audit, lambda: NOW, JournalLimits(each_minute=3, each_address=5, callers=4))
    for port in range(100):
        journal.note(f"peer:ipv4:192.0.2.7:{port}", "device.over_limit", "x")
    for number in range(5):
        journal.note(f"peer:ipv6:%5B2001:db8::{number}%5D:1", "device.over_limit", "x")
    journal.note("peer:ipv4:192.0.2.8:1", "device.over_limit", "x")
    assert journal.flush() == 5 + 5 + 1
    assert "peer:ipv4:192.0.2.8:1" in {entry.who for entry in opened.audit.newest()}
    journal.close()
    (more,) = (entry for entry in opened.audit.newest() if entry.subject == "more")
    assert (more.who, more.detail) == ("peer:192.0.2.7", {"times": "95"})


def test_what_is_not_written_of_many_callers_is_always_counted(opened: Store) -> None:
    """Whoever comes after the table is full is counted together: entries and the number of the rest are all there."""
    journal = Journal(opened.audit, lambda: NOW, JournalLimits(each_minute=3, each_address=50, callers=4))
    for number in range(34):
        journal.note(f"device:d{number}", "sample.refused", "x")
    written = journal.flush()
    journal.close()
    counted = sum(int(entry.detail["times"]) for entry in opened.audit.newest() if entry.subject == "more")
    assert written + counted == 34


# Certificates.


class Fleet:
    """A fleet on a disk, without a server."""

    def __init__(self, folder: Path) -> None:
        self.database: Database = open_database(folder / "fleet.sqlite")
        self.store = SqlFleetStore(self.database)
        authority = create_authority(folder / "ca", "a fleet", NOW)
        audit = SqlAuditLog(self.database)
        self.enrolments = Enrolments(self.store, audit, authority, new_name=lambda: "device-1")
        by = By(who="person:ann", now=NOW)
        self.code = members.make_codes(self.store, by, random_bytes=secrets.token_bytes)[0].code

    def enrol(self, csr: bytes, *, now: float) -> None:
        self.enrolments.enroll(self.code, "a", csr, peer=PEER, now=now)

    def fingerprints(self) -> list[str]:
        return [one.fingerprint for one in self.store.certificates("a")]

    def end(self, fingerprint: str) -> None:
        """As a readmitted device's other certificate is: the device belongs, this one does not."""
        with self.database.connect(writes=True) as connection:
            query = CERTIFICATES.update().where(CERTIFICATES.c.fingerprint == fingerprint)
            connection.execute(query.values(revoked_at=NOW))


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path)
    yield made
    made.database.close()


def csr() -> bytes:
    return request.signing_request(request.new_key())


def test_a_certificate_that_was_ended_cannot_renew(fleet: Fleet) -> None:
    fleet.enrol(csr(), now=NOW + 1)
    (first,) = fleet.fingerprints()
    fleet.enrolments.renew("a", csr(), now=NOW + 2, by=first)
    (second,) = set(fleet.fingerprints()) - {first}
    fleet.end(first)
    for asking in (first, "f" * 64):
        with pytest.raises(ForbiddenError):
            fleet.enrolments.renew("a", csr(), now=NOW + 3, by=asking)
    assert len(fleet.fingerprints()) == 2
    fleet.enrolments.renew("a", csr(), now=NOW + 4, by=second)
    assert len(fleet.fingerprints()) == 3


def test_a_used_code_gives_no_certificates_without_end(fleet: Fleet) -> None:
    asked = csr()
    for number in range(MAX_RENEWALS):
        fleet.enrol(asked, now=NOW + 1 + number)
    with pytest.raises(RoadError, match="too many new certificates") as caught:
        fleet.enrol(asked, now=NOW + 100)
    assert caught.value.retry_after_s
    assert len(fleet.fingerprints()) == MAX_RENEWALS
    fleet.enrol(asked, now=NOW + 4000)


# Numbers that no float holds.


def test_a_cookie_with_a_huge_number_is_none() -> None:
    claim = {"name": "ada", "ends_at": HUGE, "nonce": "00"}
    said = base64.urlsafe_b64encode(json.dumps(claim).encode()).decode()
    assert read_cookie(f"{said}.00") is None


@pytest.mark.parametrize("number", [HUGE, -HUGE], ids=["far up", "far down"])
def test_a_page_that_begins_at_a_huge_number_is_none(number: int) -> None:
    text = base64.urlsafe_b64encode(json.dumps([number, "till-1"]).encode()).decode()
    with pytest.raises(RequestError, match="no page begins there"):
        read_after(text, Sort.OUTBOX)


# Pictures.


def keep(opened: Store, *samples: Sample) -> None:
    opened.blobs.put_many({sample.digest: sample.payload for sample in samples})
    opened.meta.add_samples(
        tuple(
            SampleRecord(
                digest=sample.digest, size_bytes=len(sample.payload), received_at=9.0, metadata=sample.metadata
            )
            for sample in samples
        )
    )


def test_a_damaged_picture_keeps_no_other_from_being_checked(opened: Store) -> None:
    samples = [make_picture_sample(number) for number in range(3)]
    keep(opened, *samples)
    opened.blobs.path(samples[0].digest).write_bytes(b"dama")
    with Decoder() as decoder:
        worker = DecodeWorker(SqlCheckStore(opened.database), opened.blobs, decoder, clock=lambda: NOW)
        assert worker.step() == 3
        assert (worker.counts.passed, worker.counts.failed) == (2, 0)
    assert [opened.meta.sample(sample.digest).checked_at for sample in samples[1:]] == [NOW, NOW]
    assert opened.meta.sample(samples[0].digest).checked_at is None
    assert not opened.meta.sample(samples[0].digest).fault  # nothing is known of the picture itself


def test_a_damaged_picture_is_left_out_of_a_backup_and_said(
    opened: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    samples = [make_picture_sample(number) for number in range(3)]
    keep(opened, *samples)
    opened.blobs.path(samples[0].digest).write_bytes(b"dama")
    made = back_up(opened, tmp_path / "b.tar", with_keys=False, now=1.0)
    assert made.num_blobs == 2
    assert f"{samples[0].digest} is damaged" in caplog.text
    restore(tmp_path / "b.tar", tmp_path / "new")
    with open_store(tmp_path / "new") as found:
        assert set(found.blobs.digests()) == {sample.digest for sample in samples[1:]}
        assert len(found.meta.samples()) == 3  # its device is asked for it again


def test_a_file_of_another_file_system_is_taken_over(tmp_path: Path) -> None:
    shm = Path("/dev/shm")  # noqa: S108 - another file system, by its nature
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system to take a file from")
    samples = [make_picture_sample(number) for number in range(3)]
    blobs = FolderBlobStore(tmp_path / "blobs")
    with TemporaryDirectory(dir=shm) as far:
        places = [Path(far) / "a", tmp_path / "b", Path(far) / "c"]
        for sample, place in zip(samples, places, strict=True):
            place.write_bytes(sample.payload)
        blobs.adopt({sample.digest: place for sample, place in zip(samples, places, strict=True)})
        assert not any(place.exists() for place in places)
    assert set(blobs.digests()) == {sample.digest for sample in samples}
    assert all(blobs.read(sample.digest) == sample.payload for sample in samples)


# Restores.


class KilledError(BaseException):
    """Stands for the end of the process."""


def kill_restore(file: Path, root: Path, point: str) -> None:
    def kill(reached: str) -> None:
        if reached == point:
            raise KilledError

    durable.observe(kill)
    try:
        with pytest.raises(KilledError):
            restore(file, root)
    finally:
        durable.observe(None)


@pytest.fixture
def backup(store: Path, tmp_path: Path) -> Path:
    add_overlapping(store, seed=1)
    with open_store(store) as opened:
        back_up(opened, tmp_path / "b.tar", with_keys=False, now=5.0)
    return tmp_path / "b.tar"


def test_rows_of_somebody_else_are_not_taken_for_a_restore_that_was_done(backup: Path, tmp_path: Path) -> None:
    root = tmp_path / "new"
    kill_restore(backup, root, "blob.put:after")
    database = open_database(root / "meta.sqlite")
    SqlAuditLog(database).record(AuditEntry(at=1.0, who="somebody", action="a", subject="s"))
    database.close()
    with pytest.raises(StorageError, match="is not empty"):
        restore(backup, root)
    assert (root / RESTORE_MARK).exists()  # so it does not open as if it were whole
    with pytest.raises(StorageError, match="was not finished"):
        open_store(root)


def test_a_restore_that_was_killed_after_its_tables_is_done(backup: Path, tmp_path: Path) -> None:
    root = tmp_path / "new"
    kill_restore(backup, root, "restore.done:before")
    assert (root / RESTORE_MARK).exists()
    reached: list[str] = []
    durable.observe(reached.append)
    try:
        made = restore(backup, root)
    finally:
        durable.observe(None)
    assert not [point for point in reached if point.startswith("blob.")]  # nothing is put there twice
    with open_store(root) as opened:
        assert made.num_blobs == len(set(opened.blobs.digests())) == NUM_SAMPLES
        (entry,) = opened.audit.newest(action="store.restored")
    assert entry.subject.startswith("backup:")


def test_a_backup_of_a_restored_store_is_restored_like_any_other(backup: Path, tmp_path: Path) -> None:
    """The first restore's entry travels in it, and must not pass for the second's."""
    restore(backup, tmp_path / "new")
    with open_store(tmp_path / "new") as opened:
        back_up(opened, tmp_path / "c.tar", with_keys=False, now=6.0)
    kill_restore(tmp_path / "c.tar", tmp_path / "newer", "restore.done:before")
    restore(tmp_path / "c.tar", tmp_path / "newer")
    with open_store(tmp_path / "newer") as opened:
        assert len(opened.audit.newest(action="store.restored")) == 2


def test_what_the_intake_remembers_goes_with_the_uploads(tmp_path: Path) -> None:
    """Every large sample would leave a name in memory for ever."""
    intake = Intake(tmp_path / "partial", max_bytes=10**7, max_pixels=10**7)
    for number in range(5):
        sample = make_picture_sample(number)
        upload = intake.begin(offer_of(sample), offset=0)
        upload.append(0, sample.payload)
        upload.finish()
        upload.path.rename(tmp_path / sample.digest)
        upload.close()
    assert intake.num_remembered == 0
    left = make_picture_sample(9)
    upload = intake.begin(offer_of(left), offset=0)
    upload.append(0, left.payload[:100])
    upload.close()
    assert (intake.num_remembered, intake.offset(offer_of(left))) == (1, 100)
    intake.forget(left.digest)
    assert (intake.num_remembered, intake.offset(offer_of(left))) == (0, 0)
