"""What strangers and broken devices do to a server: a clear status, a line in the audit, and no effect."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from pushing import Road, offer_of, pieces
from sample_values import make_picture_sample
from serving import ServerProcess

from cloud_train.store.opened import open_store
from edge.outbox.base import Sample
from edge.sync.types import Chunk, ReceiptStatus
from edge.wire import convert
from edge.wire.v1 import edgeloop_pb2 as wire
from edge.wire.v1 import edgeloop_pb2_grpc as stubs

STORED, REFUSED = ReceiptStatus.STORED, ReceiptStatus.REFUSED
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


def until(condition: Callable[[], object], *, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not come true"
        time.sleep(0.02)


def whole(sample: Sample, **changes: object) -> list[Chunk]:
    """A sample in one piece."""
    (piece,) = pieces(sample, step=1 << 20)
    return [replace(piece, **changes)]


def wait_ms(error: grpc.RpcError) -> int:
    return int(dict(error.trailing_metadata())["retry-after-ms"])


def audited(store: Path, action: str) -> list[dict[str, str]]:
    with open_store(store) as opened:
        return [entry.detail for entry in opened.audit.newest(action=action)]


LIES = {
    "digest": "the payload does not match its digest",
    "size, too large": "ends after 1820 of 1821 bytes",
    "size, too small": "more than the 1819 bytes that were offered",
}


@pytest.mark.parametrize("lie", LIES)
def test_a_sample_in_one_piece_that_lies_is_refused_and_no_other(road: Road, store: Path, lie: str) -> None:
    bad, good = make_picture_sample(1), make_picture_sample(2)
    if lie == "digest":
        chunks = whole(Sample(digest="0" * 64, payload=bad.payload, metadata=bad.metadata))
    else:
        size = len(bad.payload) + (1 if lie.endswith("large") else -1)
        chunks = whole(bad, offer=replace(offer_of(bad), size_bytes=size))
    said = {receipt.digest: receipt for receipt in road.push([*chunks, *whole(good)])}
    assert said.pop(good.digest).status is STORED
    ((_, refusal),) = said.items()
    assert (refusal.status, refusal.reason) == (REFUSED, LIES[lie])
    assert [record.digest for record in road.records()] == [good.digest]
    until(lambda: audited(store, "sample.refused") == [{"reason": LIES[lie]}])


def test_a_replayed_sample_is_stored_once_and_told_so_each_time(road: Road) -> None:
    sample = make_picture_sample(1)
    receipts = road.push([*whole(sample), *whole(sample), *pieces(sample), *whole(sample)])
    assert [receipt.status for receipt in receipts] == [STORED] * 4
    assert len(road.records()) == 1
    assert road.partials() == {}


def test_a_device_over_its_rate_is_told_when_to_come_back(open_road: Callable[..., Road], store: Path) -> None:
    road = open_road(device_samples_per_minute=5)
    samples = [make_picture_sample(number) for number in range(8)]
    stream = road.open_push()
    stream.send(*(piece for sample in samples for piece in whole(sample)))
    assert [stream.receipt().status for _ in range(5)] == [STORED] * 5
    with pytest.raises(grpc.RpcError) as caught:
        stream.receipt()
    assert caught.value.code() is EXHAUSTED
    assert 10_000 < wait_ms(caught.value) < 20_000
    with pytest.raises(grpc.RpcError) as caught:
        road.offer(*samples)
    assert caught.value.code() is EXHAUSTED
    assert len(road.records()) == 5
    until(lambda: {"limit": "samples"} in audited(store, "device.over_limit"))


def test_a_device_over_its_bytes_of_the_day_waits_until_there_are_some(open_road: Callable[..., Road]) -> None:
    road = open_road(device_bytes_per_day=4000)
    first, *rest = (make_picture_sample(number) for number in range(4))
    assert road.push(whole(first))[0].status is STORED
    with pytest.raises(grpc.RpcError) as caught:
        road.push([piece for sample in rest for piece in whole(sample)])
    assert caught.value.code() is EXHAUSTED
    assert wait_ms(caught.value) > 60_000


def test_more_calls_than_the_server_takes_are_turned_away_at_the_door(open_road: Callable[..., Road]) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    road = open_road(max_calls=2)
    streams = [road.open_push() for _ in range(2)]
    for number, stream in enumerate(streams):
        stream.send(*whole(make_picture_sample(number)))
        stream.receipt()
    waits = set()
    for _ in range(4):
        with pytest.raises(grpc.RpcError) as caught:
            road.offer()
        assert caught.value.code() is EXHAUSTED
        waits.add(wait_ms(caught.value))
    assert len(waits) == 4, "devices must not come back in step"
    with grpc.insecure_channel(road.target) as channel:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
    assert streams[0].end() == []
    road.offer()


def test_one_device_cannot_take_all_streams_of_the_others(open_road: Callable[..., Road]) -> None:
    road = open_road(device_uploads=2)
    streams = [road.open_push() for _ in range(2)]
    for number, stream in enumerate(streams):
        stream.send(*whole(make_picture_sample(number)))
        stream.receipt()
    with pytest.raises(grpc.RpcError) as caught:
        road.push_samples([make_picture_sample(9)])
    assert caught.value.code() is EXHAUSTED
    with grpc.insecure_channel(road.target, options=[("grpc.use_local_subchannel_pool", 1)]) as another:
        messages = (convert.chunk_to_message(piece) for piece in whole(make_picture_sample(8)))
        assert [answer.status for answer in stubs.SamplesStub(another).Push(messages, timeout=20)] == ["stored"]


def test_a_stream_on_which_nothing_comes_is_ended_and_its_part_is_kept(open_road: Callable[..., Road]) -> None:
    road, sample = open_road(push_idle_s=0.4), make_picture_sample(1)
    stream = road.open_push()
    stream.send(*pieces(sample)[:1])
    with pytest.raises(grpc.RpcError) as caught:
        stream.receipt()
    assert caught.value.code() is EXHAUSTED
    assert "nothing came" in caught.value.details()
    assert road.offer(sample).partial == {sample.digest: 700}


def test_a_stream_that_trickles_for_ever_is_ended_and_goes_on_where_it_was(open_road: Callable[..., Road]) -> None:
    road, sample = open_road(push_age_s=1.0), make_picture_sample(1)
    stopped = threading.Event()

    def drops() -> Iterator[wire.Chunk]:
        for drop in pieces(sample, step=1):
            if stopped.wait(0.05):
                return
            yield convert.chunk_to_message(drop)

    with grpc.insecure_channel(road.target) as channel:
        call = stubs.SamplesStub(channel).Push(drops(), timeout=20)
        with pytest.raises(grpc.RpcError) as caught:
            next(call)
        stopped.set()
    assert caught.value.code() is grpc.StatusCode.ABORTED
    offset = road.offer(sample).partial[sample.digest]
    assert 0 < offset < 100
    assert road.push(pieces(sample, start=offset))[0].status is STORED


def rss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def headers(path: str) -> bytes:
    """HPACK, every field as a literal that is not indexed."""
    fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "x", "te": "trailers"}
    fields["content-type"] = "application/grpc"
    return b"".join(
        b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in fields.items()
    )


@contextlib.contextmanager
def bare_http2(target: str, path: str) -> Iterator[socket.socket]:
    """A connection that has sent the headers of one call."""
    host, _, port = target.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as road:
        road.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 4, 1, headers(path)))
        yield road


def test_a_message_of_four_gigabytes_dies_on_its_length_without_memory(store: Path) -> None:
    with ServerProcess(store, "--no-worker", "--no-http") as server, Road(server.target, store) as good:
        good.push_samples([make_picture_sample(0)])
        before = rss_mb(server.process.pid)
        for path in ("/edgeloop.wire.v1.Samples/Offer", "/edgeloop.wire.v1.Samples/Put"):
            with bare_http2(server.target, path) as road:
                road.sendall(frame(0, 0, 1, b"\x00\xff\xff\xff\xff" + bytes(1000)))
                said = b""
                with contextlib.suppress(TimeoutError):
                    while b"larger than max" not in said:
                        part = road.recv(65536)
                        assert part, said
                        said += part
                assert b"larger than max" in said
        assert rss_mb(server.process.pid) - before < 30
        assert good.push_samples([make_picture_sample(1)])
        assert len(good.records()) == 2


def test_a_message_that_is_too_large_is_refused_by_its_size(road: Road) -> None:
    large = [("grpc.max_send_message_length", 1 << 30)]
    with grpc.insecure_channel(road.target, options=large) as channel, pytest.raises(grpc.RpcError) as caught:
        stubs.SamplesStub(channel).Put(wire.PutRequest(data=bytes(32 << 20)), timeout=20)
    assert caught.value.code() is EXHAUSTED
    assert road.records() == ()


def test_connections_that_say_nothing_are_closed_and_disturb_nobody(open_road: Callable[..., Road]) -> None:
    road = open_road(handshake_s=1.0)
    host, _, port = road.target.rpartition(":")
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(300)]
        assert road.push_samples([make_picture_sample(1)])
        for one in silent:
            one.settimeout(30)
            with contextlib.suppress(ConnectionResetError):
                while one.recv(4096):
                    pass
    assert road.push_samples([make_picture_sample(2)])


def test_a_mixture_of_nonsense_in_one_stream_ends_it_and_stores_what_came_before(road: Road) -> None:
    good = make_picture_sample(1)
    messages = [convert.chunk_to_message(piece) for piece in whole(good)]
    nonsense = wire.Chunk(digest=good.digest, offset=2**63, data=b"x")
    with grpc.insecure_channel(road.target) as channel:
        call = stubs.SamplesStub(channel).Push(iter([*messages, nonsense]), timeout=20)
        assert next(call).digest == good.digest
        with pytest.raises(grpc.RpcError) as caught:
            next(call)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert len(road.records()) == 1


def test_a_sample_of_another_device_is_forbidden_and_written_down(store: Path) -> None:
    from cloud_train.errors import ForbiddenError
    from cloud_train.ingest.callers import Caller
    from cloud_train.ingest.journal import Journal
    from cloud_train.ingest.ledger import Ledger
    from cloud_train.ingest.metrics import make_metrics
    from cloud_train.ingest.quota import QuotaLimits, Quotas

    caller, sample = Caller(device_id="kiosk-2", peer="ipv4:x", fingerprint="f"), make_picture_sample(1)
    with open_store(store) as opened:
        journal = Journal(opened.audit, time.time)
        quotas = Quotas(QuotaLimits(bytes_per_day=0, samples_per_minute=0, offers_per_minute=0))
        parts = {"quotas": quotas, "journal": journal, "metrics": make_metrics()}
        ledger = Ledger(**parts, steady=time.monotonic, jitter=lambda: 0.5)
        with pytest.raises(ForbiddenError, match="'kiosk-2' speaks for 'kiosk-1'"):
            ledger.own(caller, sample.metadata.device_id)
        journal.close()
        (entry,) = opened.audit.newest(action="sample.forbidden")
    assert (entry.who, entry.subject) == ("device:kiosk-2", "device:kiosk-1")
