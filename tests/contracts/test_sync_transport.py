"""What the road promises to the device, against a small test server and against the real ingest server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from loopback_server import loopback_server
from sample_values import make_picture_sample, make_sample, offer_of, sample_of

from cloud_train.ingest.server import running_server
from edge.errors import RefusedError, RoadError
from edge.outbox.base import Sample
from edge.sync.grpc_transport import GrpcTransport
from edge.sync.types import DeviceStatus, Receipt, ReceiptStatus
from edge.sync.upload import chunks_of
from edge.types import Feedback, FeedbackKind
from edge.wire import convert, limits
from edge.wire.v1 import edgeloop_pb2_grpc as stubs

PUBLISHED = bytes(range(256)) * 4000
ANSWER = Feedback(kind=FeedbackKind.CORRECTED, label="tea", who="Ada", at=1_700_000_000.0)


@dataclass(frozen=True)
class Server:
    target: str
    publish: Callable[[str, bytes], None]


@pytest.fixture(params=["loopback", "ingest"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    if request.param == "loopback":
        with loopback_server() as running:
            yield Server(target=running.target, publish=running.state.files.__setitem__)
        return

    def publish(path: str, data: bytes) -> None:
        target = tmp_path / "store" / "repository" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    with running_server(tmp_path / "store") as info:
        yield Server(target=info.target, publish=publish)


@pytest.fixture
def transport(server: Server) -> Iterator[GrpcTransport]:
    with closing(GrpcTransport(server.target)) as transport:
        yield transport


def push(transport: GrpcTransport, *samples: Sample, offset: int = 0) -> dict[str, Receipt]:
    return {receipt.digest: receipt for receipt in transport.push((sample, offset) for sample in samples)}


def status(**changes: object) -> DeviceStatus:
    values: dict[str, object] = {
        "device_id": "kiosk-1", "software": "edgeloop 0.1.0", "bundle_digest": "", "bundle_version": 0,
        "outbox_pending": 3, "frames": 10, "accepted": 5, "confirmed": 3, "unknown": 2, "kept": 4,
        "latency_p50_ms": 12.5,
    }  # fmt: skip
    return DeviceStatus(**{**values, **changes})


def test_what_is_new_is_wanted_and_what_was_pushed_is_known(transport: GrpcTransport) -> None:
    samples = [make_picture_sample(number) for number in range(20)]
    offers = tuple(offer_of(sample) for sample in samples)
    reply = transport.offer(offers)
    assert set(reply.missing) == {sample.digest for sample in samples}
    assert (reply.known, reply.refused, reply.partial) == ((), {}, {})
    receipts = push(transport, *samples)
    assert set(receipts) == {sample.digest for sample in samples}
    assert {receipt.status for receipt in receipts.values()} == {ReceiptStatus.STORED}
    again = transport.offer(offers)
    assert set(again.known) == {sample.digest for sample in samples}
    assert again.missing == ()


def test_an_empty_offer_and_an_empty_push_are_answered(transport: GrpcTransport) -> None:
    assert transport.offer(()).missing == ()
    assert push(transport) == {}


def test_a_receipt_comes_before_the_push_has_ended(transport: GrpcTransport) -> None:
    samples = [make_picture_sample(number) for number in range(2 * limits.WINDOW)]
    given, seen = [], []

    def one_window_ahead() -> Iterator[tuple[Sample, int]]:
        for sample in samples:
            while len(given) - len(seen) >= limits.WINDOW:
                time.sleep(0.001)
            given.append(sample.digest)
            yield sample, 0

    for receipt in transport.push(one_window_ahead()):
        seen.append(receipt.digest)
    assert sorted(seen) == sorted(sample.digest for sample in samples)


def test_small_samples_may_travel_together(transport: GrpcTransport) -> None:
    samples = [make_picture_sample(number) for number in range(20)]
    assert transport.offer(tuple(map(offer_of, samples))).together
    receipts = list(transport.push(((sample, 0) for sample in samples), at_hand=lambda most_bytes: most_bytes > 20_000))
    assert sorted(receipt.digest for receipt in receipts) == sorted(sample.digest for sample in samples)
    assert {receipt.status for receipt in receipts} == {ReceiptStatus.STORED}
    assert set(transport.offer(tuple(map(offer_of, samples))).known) == {sample.digest for sample in samples}


def test_a_large_sample_travels_in_pieces(transport: GrpcTransport) -> None:
    sample = make_picture_sample(1, side=700)
    assert len(sample.payload) > 4 * limits.CHUNK_BYTES
    assert push(transport, sample)[sample.digest].status is ReceiptStatus.STORED


def test_pushing_twice_gives_the_receipt_twice(transport: GrpcTransport) -> None:
    sample = make_picture_sample(1)
    assert push(transport, sample)[sample.digest].status is ReceiptStatus.STORED
    assert push(transport, sample)[sample.digest].status is ReceiptStatus.STORED


def break_off(target: str, sample: Sample, *, num_chunks: int) -> None:
    """Sends the first pieces of a sample and no more."""
    chunks = [chunk for chunk, _ in zip(chunks_of(sample, 0), range(num_chunks), strict=False)]
    with grpc.insecure_channel(target) as channel:
        messages = (convert.chunk_to_message(chunk) for chunk in chunks)
        assert list(stubs.SamplesStub(channel).Push(messages, timeout=20)) == []


def test_a_push_goes_on_where_the_last_one_broke_off(server: Server, transport: GrpcTransport) -> None:
    sample = make_picture_sample(1, side=700)
    break_off(server.target, sample, num_chunks=2)
    reply = transport.offer((offer_of(sample),))
    assert reply.partial == {sample.digest: 2 * limits.CHUNK_BYTES}
    receipts = push(transport, sample, offset=reply.partial[sample.digest])
    assert receipts[sample.digest].status is ReceiptStatus.STORED
    assert transport.offer((offer_of(sample),)).known == (sample.digest,)


def test_a_push_may_begin_anew_although_there_was_a_part(server: Server, transport: GrpcTransport) -> None:
    sample = make_picture_sample(1, side=700)
    break_off(server.target, sample, num_chunks=3)
    assert push(transport, sample)[sample.digest].status is ReceiptStatus.STORED


def test_a_sample_of_which_only_the_end_is_missing_is_ended(server: Server, transport: GrpcTransport) -> None:
    sample = make_picture_sample(1, side=700)
    first, *_ = chunks_of(sample, 0)
    whole = convert.chunk_to_message(first)
    whole.data, whole.last = sample.payload[: limits.MAX_CHUNK_BYTES], False
    rest = convert.chunk_to_message(first)
    rest.ClearField("offer")
    rest.offset, rest.data, rest.last = limits.MAX_CHUNK_BYTES, sample.payload[limits.MAX_CHUNK_BYTES :], False
    with grpc.insecure_channel(server.target) as channel:
        assert list(stubs.SamplesStub(channel).Push(iter((whole, rest)), timeout=20)) == []
    assert transport.offer((offer_of(sample),)).partial == {sample.digest: len(sample.payload)}
    receipts = push(transport, sample, offset=len(sample.payload))
    assert receipts[sample.digest].status is ReceiptStatus.STORED


def test_a_payload_that_is_not_its_digest_is_refused_and_the_others_are_not(transport: GrpcTransport) -> None:
    good, false = make_picture_sample(1), make_picture_sample(2)
    forged = Sample(digest="0" * 64, payload=false.payload, metadata=false.metadata)
    receipts = push(transport, forged, good)
    assert receipts[good.digest].status is ReceiptStatus.STORED
    assert receipts[forged.digest].status is ReceiptStatus.REFUSED
    assert receipts[forged.digest].reason


def test_what_the_feeder_raises_is_raised_to_the_reader(transport: GrpcTransport) -> None:
    good = make_picture_sample(1)

    def feed() -> Iterator[tuple[Sample, int]]:
        yield good, 0
        raise KeyError("the outbox is gone")

    receipts = []
    with pytest.raises(KeyError, match="the outbox is gone"):
        receipts.extend(transport.push(feed()))
    assert transport.offer((offer_of(good),)).known == (good.digest,), "what had arrived was dropped"


def test_a_reader_may_walk_away(transport: GrpcTransport) -> None:
    receipts = transport.push((make_picture_sample(number), 0) for number in range(50))
    next(receipts)
    receipts.close()
    assert transport.offer(()).missing == ()


def test_an_answer_reaches_the_server(transport: GrpcTransport) -> None:
    sample = make_picture_sample(1)
    push(transport, sample)
    transport.annotate(sample.digest, ANSWER)


def test_a_check_in_brings_a_directive(transport: GrpcTransport) -> None:
    directive = transport.check_in(status(last_error="no connection " * 500))
    assert directive.channel
    assert directive.check_in_s >= 0


@pytest.mark.parametrize("offset", [0, 1, limits.CHUNK_BYTES, len(PUBLISHED) - 1, len(PUBLISHED)])
def test_a_published_file_comes_from_any_offset(server: Server, transport: GrpcTransport, offset: int) -> None:
    path = "files/sha256/" + "ab" * 32
    server.publish(path, PUBLISHED)
    pieces = list(transport.fetch(path, offset=offset))
    assert b"".join(pieces) == PUBLISHED[offset:]
    assert max(map(len, pieces), default=0) <= limits.MAX_CHUNK_BYTES


def test_a_file_that_is_not_published_is_not_found(transport: GrpcTransport) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        list(transport.fetch("metadata/9.root.json", offset=0))
    assert caught.value.filename == "metadata/9.root.json"
    assert "\n" not in str(caught.value)


def test_a_server_that_is_gone_is_the_road_and_one_that_is_back_is_found(tmp_path: Path) -> None:
    with running_server(tmp_path / "store") as info, closing(GrpcTransport(info.target)) as transport:
        assert transport.offer(()).missing == ()
        port = info.target.rpartition(":")[2]
    with closing(GrpcTransport(f"127.0.0.1:{port}", timeout_s=5)) as transport:
        with pytest.raises(RoadError, match=f"127.0.0.1:{port}: unavailable"):
            transport.check_in(status())
        with running_server(tmp_path / "store", listen=f"127.0.0.1:{port}"):
            deadline = time.monotonic() + 10
            while True:
                try:
                    assert transport.check_in(status()).channel
                    return
                except RoadError:
                    assert time.monotonic() < deadline, "the server is back and not found"
                    time.sleep(0.1)


def test_closing_twice_is_harmless_and_calls_after_it_are_the_road(server: Server) -> None:
    transport = GrpcTransport(server.target)
    transport.close()
    transport.close()
    with pytest.raises(RoadError):
        transport.offer((offer_of(make_sample(1)),))
    with pytest.raises(RoadError):
        list(transport.push([(make_sample(1), 0)]))
    with pytest.raises(RoadError):
        list(transport.fetch("metadata/1.root.json", offset=0))


def test_what_is_no_picture_is_refused_by_the_real_server(tmp_path: Path) -> None:
    sample = sample_of(b"this is not a picture")
    with running_server(tmp_path / "store") as info, closing(GrpcTransport(info.target)) as transport:
        assert push(transport, sample)[sample.digest].status is ReceiptStatus.REFUSED


def test_an_answer_about_nothing_is_refused_by_the_real_server(tmp_path: Path) -> None:
    with (
        running_server(tmp_path / "store") as info,
        closing(GrpcTransport(info.target)) as transport,
        pytest.raises(RefusedError),
    ):
        transport.annotate("0" * 64, ANSWER)
