"""Samples on their way in: offers, pieces, receipts, refusals, broken connections, bounds."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from pushing import Road, offer_of, pieces
from sample_values import make_picture_sample, make_sample, sample_of

from edge import durable
from edge.outbox.base import Sample
from edge.sync.types import DeviceStatus, ReceiptStatus
from edge.types import Feedback, FeedbackKind
from edge.wire import convert
from edge.wire.v1 import edgeloop_pb2_grpc as stubs

STORED, REFUSED = ReceiptStatus.STORED, ReceiptStatus.REFUSED


def until(condition: Callable[[], bool], *, timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not come true"
        time.sleep(0.005)


def blob(store: Path, sample: Sample) -> Path:
    new = store / "blobs" / "new" / sample.digest
    return new if new.exists() else store / "blobs" / sample.digest[:2] / sample.digest


def test_what_is_pushed_is_stored_with_its_metadata_and_known_from_then_on(road: Road, store: Path) -> None:
    samples = [make_picture_sample(number, source=f"frame {number}") for number in range(20)]
    reply = road.offer(*samples)
    assert reply.missing == tuple(sample.digest for sample in samples)
    assert road.push_samples(samples) == {sample.digest: STORED for sample in samples}
    assert all(blob(store, sample).read_bytes() == sample.payload for sample in samples)
    rows = {record.digest: (record.size_bytes, record.metadata) for record in road.records()}
    assert rows == {sample.digest: (len(sample.payload), sample.metadata) for sample in samples}
    assert road.partials() == {}
    again = road.offer(*samples, make_picture_sample(99))
    assert set(again.known) == set(rows)
    assert again.missing == (make_picture_sample(99).digest,)


def test_a_receipt_comes_only_after_the_sample_is_durable(road: Road, store: Path) -> None:
    stream = road.open_push()
    for number in range(3):
        sample = make_picture_sample(number)
        stream.send(*pieces(sample))
        assert stream.receipt().digest == sample.digest
        assert blob(store, sample).exists()
        assert sample.digest in {record.digest for record in road.records()}
    assert stream.end() == []


def test_receipts_come_together_to_a_device_that_sends_together_and_to_no_other(open_road: Callable[..., Road]) -> None:
    road = open_road(group_wait_s=0.2)
    samples = [make_picture_sample(number) for number in range(16)]
    chunks = [chunk for sample in samples for chunk in pieces(sample, step=1 << 18)]
    with grpc.insecure_channel(road.target) as channel:
        push = stubs.SamplesStub(channel).Push
        alone = list(push(iter([convert.chunk_to_message(chunk) for chunk in chunks]), timeout=30))
        together = list(push(iter([convert.chunks_to_message(chunks)]), timeout=30))
    digests = sorted(sample.digest for sample in samples)
    assert [len(message.more) for message in alone] == [0] * 16
    assert sorted(message.digest for message in alone) == digests
    receipts = [receipt for message in together for receipt in convert.push_receipts_from_message(message)]
    assert sorted(receipt.digest for receipt in receipts) == digests
    assert len(together) < 16
    assert sorted(record.digest for record in road.records()) == digests


def test_one_bad_sample_among_those_that_travel_together_is_refused_alone(open_road: Callable[..., Road]) -> None:
    road = open_road()
    good, bad, large = make_picture_sample(1), sample_of(b"GIF89a" + bytes(100)), make_picture_sample(3, side=700)
    (first,), (second,), parts = (pieces(sample, step=1 << 18) for sample in (good, bad, large))
    messages = [convert.chunks_to_message([first, second, parts[0]]), convert.chunks_to_message(parts[1:])]
    with grpc.insecure_channel(road.target) as channel:
        answers = list(stubs.SamplesStub(channel).Push(iter(messages), timeout=30))
    status = {one.digest: one.status.value for each in answers for one in convert.push_receipts_from_message(each)}
    assert status == {good.digest: "stored", bad.digest: "refused", large.digest: "stored"}


def test_samples_that_come_together_are_committed_together(open_road: Callable[..., Road]) -> None:
    commits: list[str] = []
    road = open_road(group_wait_s=0.2)
    durable.observe(lambda point: commits.append(point) if point == "meta.samples:after" else None)
    try:
        road.push_samples([make_picture_sample(number) for number in range(24)])
    finally:
        durable.observe(None)
    assert 1 <= len(commits) <= 5


def test_pushing_again_stores_nothing_twice(road: Road, store: Path) -> None:
    samples = [make_picture_sample(number) for number in range(5)]
    road.push_samples(samples)
    before = (road.records(), blob(store, samples[0]).stat().st_ino)
    assert set(road.push_samples(samples).values()) == {STORED}
    assert (road.records(), blob(store, samples[0]).stat().st_ino) == before
    assert road.partials() == {}


def test_a_restarted_server_knows_what_it_has(open_road: Callable[..., Road], store: Path) -> None:
    from cloud_train.ingest.server import running_server

    samples = [make_picture_sample(number) for number in range(3)]
    with running_server(store) as info, Road(info.target, store) as first:
        first.push_samples(samples)
    road = open_road()
    assert set(road.offer(*samples).known) == {sample.digest for sample in samples}
    assert set(road.push_samples(samples).values()) == {STORED}
    assert len(road.records()) == 3


def test_a_lost_blob_is_asked_for_again(road: Road, store: Path) -> None:
    sample = make_picture_sample(1)
    road.push_samples([sample])
    blob(store, sample).unlink()
    assert road.offer(sample).missing == (sample.digest,)
    assert road.push_samples([sample]) == {sample.digest: STORED}
    assert blob(store, sample).read_bytes() == sample.payload
    assert len(road.records()) == 1


def test_a_cut_push_goes_on_where_it_broke(road: Road, store: Path) -> None:
    whole, broken = make_picture_sample(1), make_picture_sample(2)
    stream = road.open_push()
    stream.send(*pieces(whole), *pieces(broken)[:2])
    assert stream.receipt().status is STORED
    until(lambda: road.partials().get(broken.digest) == 1400)
    stream.cut()
    reply = road.offer(whole, broken)
    assert (reply.known, reply.partial) == ((whole.digest,), {broken.digest: 1400})
    (receipt,) = road.push(pieces(broken, start=1400))
    assert receipt.status is STORED
    assert blob(store, broken).read_bytes() == broken.payload


def test_a_push_that_broke_after_its_last_byte_needs_only_an_empty_piece(road: Road, store: Path) -> None:
    sample = make_picture_sample(1)
    (store / "partial" / sample.digest).write_bytes(sample.payload)
    assert road.offer(sample).partial == {sample.digest: len(sample.payload)}
    (receipt,) = road.push(pieces(sample, start=len(sample.payload)))
    assert receipt.status is STORED


def test_a_device_may_begin_anew_although_a_part_is_here(road: Road, store: Path) -> None:
    sample = make_picture_sample(1)
    (store / "partial" / sample.digest).write_bytes(sample.payload[:1000])
    assert road.push_samples([sample]) == {sample.digest: STORED}
    assert blob(store, sample).read_bytes() == sample.payload


def test_a_damaged_earlier_part_is_dropped_and_the_sample_is_not_refused(road: Road, store: Path) -> None:
    sample = make_picture_sample(1)
    (store / "partial" / sample.digest).write_bytes(b"\x00" * 700)
    with pytest.raises(grpc.RpcError) as caught:
        road.push(pieces(sample, start=700))
    assert caught.value.code() is grpc.StatusCode.ABORTED
    assert "send it again from the start" in caught.value.details()
    assert road.offer(sample).partial == {}
    assert road.push_samples([sample]) == {sample.digest: STORED}


def test_a_device_that_trusts_in_a_part_that_is_gone_offers_again(road: Road) -> None:
    sample = make_picture_sample(1)
    with pytest.raises(grpc.RpcError) as caught:
        road.push(pieces(sample, start=700))
    assert caught.value.code() is grpc.StatusCode.ABORTED
    assert road.push_samples([sample]) == {sample.digest: STORED}


def png_of_size(width: int, height: int) -> bytes:
    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(b"\x00" * 99)) + part(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"#!/bin/sh\nrm -rf /\n" * 100, "not a JPEG, PNG or WebP picture"),
        (b"GIF89a" + b"\x00" * 2000, "not a JPEG, PNG or WebP picture"),
        (b"\x89PNG\r\n\x1a\n" + b"\x00" * 2000, "the picture's header is damaged"),
        (png_of_size(60_000, 60_000), "more than 64000000 pixels"),
        (png_of_size(9_000, 9_000), "more than 64000000 pixels"),
    ],
    ids=["script", "gif", "damaged", "bomb", "large"],
)
def test_what_is_no_acceptable_picture_is_refused_for_good(
    road: Road, store: Path, payload: bytes, reason: str
) -> None:
    bad, good = sample_of(payload), make_picture_sample(1)
    receipts = road.push([*pieces(bad), *pieces(good)])
    said = {receipt.digest: (receipt.status, receipt.reason) for receipt in receipts}
    assert said.pop(good.digest) == (STORED, "")
    assert said == {bad.digest: (REFUSED, reason)}
    assert not blob(store, bad).exists()
    assert road.partials() == {}


def wrong_pieces(case: str, sample: Sample) -> list:
    whole = pieces(sample)
    match case:
        case "another content":
            return pieces(Sample(digest="0" * 64, payload=sample.payload, metadata=sample.metadata))
        case "a gap":
            return [whole[0], *whole[2:]]
        case "a piece twice":
            return [whole[0], whole[0], *whole[1:]]
        case "too short":
            return [whole[0], replace(whole[1], last=True)]
        case "too long":
            return [
                *(replace(piece, last=False) for piece in whole),
                replace(whole[0], offset=len(sample.payload), offer=None, last=True),
            ]
        case "no offer":
            return [replace(whole[0], offer=None), *whole[1:]]
        case "larger than the server takes":
            return pieces(sample, offer=replace(offer_of(sample), size_bytes=20_000_000))
    raise AssertionError(case)


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("another content", "the payload does not match its digest"),
        ("a gap", "offset 1400 where 700 comes next"),
        ("a piece twice", "offset 0 where 700 comes next"),
        ("too short", "ends after 1400 of"),
        ("too long", "more than the"),
        ("no offer", "its first piece carries no offer"),
        ("larger than the server takes", "20000000 bytes, at most 16000000 are taken"),
    ],
)
def test_pieces_that_do_not_fit_refuse_their_sample_and_no_other(
    road: Road, store: Path, case: str, reason: str
) -> None:
    before, bad, after = (make_picture_sample(number) for number in range(3))
    receipts = road.push([*pieces(before), *wrong_pieces(case, bad), *pieces(after)])
    said = {receipt.digest: receipt for receipt in receipts}
    assert len(receipts) == 3
    assert (said[before.digest].status, said[after.digest].status) == (STORED, STORED)
    (refusal,) = (receipt for receipt in receipts if receipt.status is REFUSED)
    assert reason in refusal.reason
    assert road.partials() == {}
    assert {record.digest for record in road.records()} == {before.digest, after.digest}


def test_an_offer_that_is_too_large_is_refused(road: Road) -> None:
    sample, large = make_picture_sample(1), make_sample(2, size_bytes=16_000_001)
    reply = road.offer(sample, large)
    assert reply.missing == (sample.digest,)
    assert reply.refused == {large.digest: "16000001 bytes, at most 16000000 are taken"}


def test_nonsense_is_told_as_such(road: Road) -> None:
    from edge.wire.v1 import edgeloop_pb2 as wire
    from edge.wire.v1 import edgeloop_pb2_grpc as stubs

    with grpc.insecure_channel(road.target) as channel:
        samples, fleet = stubs.SamplesStub(channel), stubs.FleetStub(channel)
        calls = (
            lambda: samples.Offer(wire.OfferRequest(offers=[wire.SampleOffer(digest="../../x")])),
            lambda: samples.Annotate(wire.AnnotateRequest(digest="a" * 64)),
            lambda: fleet.CheckIn(wire.CheckInRequest()),
            lambda: list(samples.Push(iter([wire.Chunk(digest="x")]))),
        )
        for call in calls:
            with pytest.raises(grpc.RpcError) as caught:
                call()
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert road.records() == ()


def test_many_devices_may_send_the_same_samples_at_once(road: Road, store: Path) -> None:
    samples = [make_picture_sample(number) for number in range(20)]
    commits: list[str] = []
    durable.observe(lambda point: commits.append(point) if point == "blob.adopt:after" else None)

    def one_device(number: int) -> dict[str, ReceiptStatus]:
        with Road(road.target, store) as own:
            return own.push_samples([*samples[number * 3 :], *samples[: number * 3]])

    try:
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(one_device, range(6)))
    finally:
        durable.observe(None)
    assert all(answer == {sample.digest: STORED for sample in samples} for answer in answers)
    assert len(road.records()) == 20
    assert all(blob(store, sample).read_bytes() == sample.payload for sample in samples)
    assert len(commits) <= 20


def test_who_sends_the_same_waits_for_the_other_and_takes_over_when_it_breaks(road: Road, store: Path) -> None:
    sample = make_picture_sample(1)
    first, second = road.open_push(), road.open_push()
    first.send(*pieces(sample)[:2])
    until(lambda: road.partials().get(sample.digest) == 1400)
    second.send(*pieces(sample))
    time.sleep(0.1)
    assert road.partials() == {sample.digest: 1400}
    first.cut()
    assert second.receipt().status is STORED
    assert blob(store, sample).read_bytes() == sample.payload


def test_one_stream_may_leave_a_sample_and_come_back_to_it(road: Road) -> None:
    left, other = make_picture_sample(1), make_picture_sample(2)
    receipts = road.push([*pieces(left)[:1], *pieces(other), *pieces(left, start=700)])
    assert {receipt.digest: receipt.status for receipt in receipts} == {left.digest: STORED, other.digest: STORED}


def test_unfinished_uploads_stay_within_their_bound_oldest_dropped_first(open_road: Callable[..., Road]) -> None:
    samples = [make_picture_sample(number) for number in range(4)]
    size = len(samples[0].payload)
    road = open_road(max_partial_bytes=int(size * 2.5))
    for sample in samples[:3]:
        stream = road.open_push()
        stream.send(*pieces(sample)[:-1])
        until(lambda digest=sample.digest: road.partials().get(digest) == 1400)
        stream.cut()
        time.sleep(0.02)
    assert sum(road.partials().values()) <= size * 2.5
    road.push_samples(samples[3:])
    assert samples[2].digest in road.partials()
    assert samples[0].digest not in road.partials()


def test_too_many_uploads_at_a_time_are_asked_to_wait(open_road: Callable[..., Road]) -> None:
    one, two = make_picture_sample(1), make_picture_sample(2)
    road = open_road(max_partial_bytes=len(one.payload))
    stream = road.open_push()
    stream.send(*pieces(one)[:1])
    until(lambda: one.digest in road.partials())
    assert road.offer(two).retry_after_s > 0
    with pytest.raises(grpc.RpcError) as caught:
        road.push(pieces(two))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert dict(caught.value.trailing_metadata())["retry-after-ms"] == "5000"
    stream.send(*pieces(one)[1:])
    assert stream.receipt().status is STORED
    assert road.push_samples([two]) == {two.digest: STORED}


def test_a_failing_disk_is_the_roads_fault_and_stores_nothing_by_halves(road: Road, store: Path) -> None:
    samples = [make_picture_sample(number) for number in range(3)]
    (store / "blobs" / "new").write_bytes(b"in the way")
    begun = time.monotonic()
    stream = road.open_push()
    stream.send(*(piece for sample in samples for piece in pieces(sample)))
    with pytest.raises(grpc.RpcError) as caught:
        stream.receipts(len(samples))
    assert time.monotonic() - begun < 5
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "cannot write" in caught.value.details()
    (store / "blobs" / "new").unlink()
    assert road.push_samples(samples) == {sample.digest: STORED for sample in samples}
    assert len(road.records()) == 3


def test_a_stopping_server_ends_within_its_grace_and_keeps_what_it_has(store: Path) -> None:
    from cloud_train.ingest.server import running_server

    whole, broken = make_picture_sample(1), make_picture_sample(2)
    with running_server(store, grace_s=0.2) as info, Road(info.target, store) as road:
        stream = road.open_push()
        stream.send(*pieces(whole), *pieces(broken)[:1])
        assert stream.receipt().status is STORED
        until(lambda: broken.digest in road.partials())
        begun = time.monotonic()
    assert time.monotonic() - begun < 5
    assert not (store / "server.json").exists()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("edgeloop-")]
    with running_server(store) as info, Road(info.target, store) as road:
        assert road.offer(whole, broken).partial == {broken.digest: 700}


def test_an_answer_is_recorded_once_and_one_about_a_stranger_is_refused(road: Road, store: Path) -> None:
    from cloud_train.store.sql import open_meta_store

    sample = make_picture_sample(1)
    road.push_samples([sample])
    answer = Feedback(kind=FeedbackKind.CORRECTED, label="żółty", who="ann", at=5.5)
    road.annotate(sample.digest, answer)
    road.annotate(sample.digest, answer)
    with pytest.raises(grpc.RpcError) as caught:
        road.annotate("0" * 64, answer)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "no sample 0000" in caught.value.details()
    meta = open_meta_store(store / "meta.sqlite")
    (label,) = meta.labels()
    meta.close()
    assert (label.digest, label.kind, label.label, label.who, label.at) == (
        sample.digest,
        answer.kind,
        "żółty",
        "ann",
        5.5,
    )


STATUS = DeviceStatus(
    device_id="kiosk-1",
    software="edgeloop 0.1.0",
    bundle_digest="",
    bundle_version=0,
    outbox_pending=3,
    frames=12,
    accepted=1,
    confirmed=2,
    unknown=9,
    kept=3,
    latency_p50_ms=4.5,
    last_error="none to speak of",
)


def test_a_check_in_is_recorded_and_answered_with_what_the_channel_offers(
    open_road: Callable[..., Road], store: Path, make_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    from cloud_train.publish.repository import open_repository
    from cloud_train.store.sql import open_meta_store

    road = open_road(channel="beta", check_in_s=7.0)
    empty = road.check_in(STATUS)
    assert (empty.channel, empty.bundle_digest, empty.check_in_s) == ("beta", "", 7.0)
    release = open_repository(store, now=time.time()).publish(
        make_bundle(tmp_path / "b"), channel="beta", now=time.time()
    )
    assert road.check_in(replace(STATUS, frames=13)).bundle_digest == release.bundle_digest
    meta = open_meta_store(store / "meta.sqlite")
    (device,) = meta.devices()
    meta.close()
    assert (device.device_id, device.frames, device.last_error) == ("kiosk-1", 13, "none to speak of")
    assert abs(device.last_seen - time.time()) < 60


def hashed(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_published_files_can_be_fetched_from_any_offset(road: Road, store: Path) -> None:
    folder = store / "repository" / "files" / "sha256"
    folder.mkdir(parents=True)
    data = make_sample(1, size_bytes=700_001).payload
    (folder / hashed(data)).write_bytes(data)
    path = f"files/sha256/{hashed(data)}"
    whole = road.fetch(path)
    assert b"".join(whole) == data
    assert max(map(len, whole)) <= 256 * 1024
    for offset in (1, 262_144, 700_000):
        assert b"".join(road.fetch(path, offset)) == data[offset:]
    assert road.fetch(path, 700_001) == []
    assert road.fetch(path, 10**9) == []


def test_only_what_is_published_can_be_fetched(road: Road, store: Path, tmp_path: Path) -> None:
    published = store / "repository" / "files" / "sha256"
    published.mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"secret")
    (store / "repository" / "keys.pem").write_bytes(b"secret")
    (published / ".x.tmp").write_bytes(b"unfinished")
    (published / "link").symlink_to(tmp_path / "secret")
    (store / "repository" / "targets").symlink_to(tmp_path)
    for path in ("keys.pem", "files/sha256/link", "files/sha256", "targets/secret", "files/sha256/none", "meta.sqlite"):
        with pytest.raises(grpc.RpcError) as caught:
            road.fetch(path)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND, path


@pytest.mark.parametrize(
    "path", ["../meta.sqlite", "/etc/passwd", "files/../../keys/root.pem", "files/sha256/.x.tmp", "", "files//x"]
)
def test_paths_that_are_none_are_refused(road: Road, path: str) -> None:
    from edge.wire.v1 import edgeloop_pb2 as wire
    from edge.wire.v1 import edgeloop_pb2_grpc as stubs

    with grpc.insecure_channel(road.target) as channel, pytest.raises(grpc.RpcError) as caught:
        list(stubs.UpdatesStub(channel).Fetch(wire.FetchRequest(path=path)))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_file_that_can_grow_no_further_is_never_mistaken_for_a_whole_one(tmp_path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from pushing import offer_of
from sample_values import make_picture_sample
from cloud_train.ingest.intake import Intake
from edge.errors import StorageError
intake = Intake(Path(sys.argv[1]), max_bytes=10**9, max_pixels=10**6)
sample = make_picture_sample(1)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
upload = intake.begin(offer_of(sample), offset=0)
upload.append(0, sample.payload[:700])
try:
    upload.append(700, sample.payload[700:])
except StorageError as error:
    print(error)
upload.close()
print(intake.offset(offer_of(sample)))
"""
    line = [sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parents[1])]
    run = subprocess.run(line, capture_output=True, text=True, check=True)
    error, offset = run.stdout.splitlines()
    assert error.startswith("cannot write")
    assert offset == "1000"
