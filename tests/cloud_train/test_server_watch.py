"""What a server tells about itself: health, readiness, reflection, metrics; and how it stops."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from pushing import Road, offer_of, pieces
from sample_values import make_picture_sample, sample_of
from serving import ServerProcess

from cloud_train.ingest.server import running_server
from cloud_train.store.opened import open_store
from edge.outbox.base import Sample
from edge.sync.types import ReceiptStatus
from edge.wire import convert
from edge.wire.v1 import edgeloop_pb2_grpc as stubs


def until(condition: Callable[[], object], *, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not come true"
        time.sleep(0.1)


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def health(target: str, service: str = "") -> str:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(target) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=10)
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def metric(text: str, name: str) -> float:
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


def put(target: str, sample: Sample) -> ReceiptStatus:
    with grpc.insecure_channel(target) as channel:
        request = convert.put_request_to_message(offer_of(sample), sample.payload)
        return convert.push_receipt_from_message(stubs.SamplesStub(channel).Put(request, timeout=10)).status


def test_one_call_is_enough_for_a_small_sample_and_is_checked_like_any_other(store: Path) -> None:
    with running_server(store) as info, Road(info.target, store) as road:
        sample = make_picture_sample(1)
        assert put(info.target, sample) is ReceiptStatus.STORED
        assert put(info.target, sample) is ReceiptStatus.STORED
        assert road.offer(sample).known == (sample.digest,)
        lying = Sample(digest="0" * 64, payload=sample.payload, metadata=sample.metadata)
        assert put(info.target, lying) is ReceiptStatus.REFUSED
        assert put(info.target, sample_of(b"GIF89a" + bytes(100))) is ReceiptStatus.REFUSED
        assert [record.digest for record in road.records()] == [sample.digest]


def test_health_readiness_and_metrics_tell_what_happens(store: Path) -> None:
    with running_server(store, http_listen="127.0.0.1:0") as info, Road(info.target, store) as road:
        assert health(info.target) == health(info.target, "edgeloop.wire.v1.Samples") == "SERVING"
        assert get(info.http_port, "/healthz") == (200, "ok\n")
        assert get(info.http_port, "/readyz") == (200, "ready\n")
        road.push_samples([make_picture_sample(number) for number in range(5)])
        road.push(pieces(sample_of(b"GIF89a" + bytes(100))))
        text = get(info.http_port, "/metrics")[1]
    assert metric(text, 'edgeloop_samples_total{result="stored"}') == 5
    assert metric(text, 'edgeloop_samples_total{result="refused"}') == 1
    assert metric(text, "edgeloop_receipt_seconds_count") == 5
    assert metric(text, "edgeloop_group_samples_sum") == 5
    assert metric(text, 'edgeloop_calls_total{code="OK",method="Push"}') == 2
    assert metric(text, 'edgeloop_open_calls{method="Push"}') == 0


def test_reflection_names_the_services(store: Path) -> None:
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    with running_server(store) as info, grpc.insecure_channel(info.target) as channel:
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([ask]))
    named = {service.name for service in answer.list_services_response.service}
    assert {"edgeloop.wire.v1.Samples", "edgeloop.wire.v1.Fleet", "grpc.health.v1.Health"} <= named


def test_a_server_whose_disk_is_full_is_not_ready_and_asks_devices_to_wait(store: Path) -> None:
    from grpc_health.v1 import health_pb2

    with (
        running_server(store, http_listen="127.0.0.1:0", min_free_bytes=2**60) as info,
        Road(info.target, store) as road,
    ):
        assert health(info.target) == health_pb2.HealthCheckResponse.ServingStatus.Name(2) == "NOT_SERVING"
        status, text = get(info.http_port, "/readyz")
        assert (status, text.startswith("the disk is full")) == (503, True)
        with pytest.raises(grpc.RpcError) as caught:
            road.push_samples([make_picture_sample(1)])
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert int(dict(caught.value.trailing_metadata())["retry-after-ms"]) >= 5000
        assert road.records() == ()
        assert get(info.http_port, "/healthz")[0] == 200


def test_http_alone_and_grpc_alone(store: Path) -> None:
    with running_server(store, http_listen="127.0.0.1:0", only="http") as info:
        assert (info.port, get(info.http_port, "/healthz")[0]) == (0, 200)
    with running_server(store, http_listen="127.0.0.1:0", only="grpc") as info:
        assert (info.http_port, health(info.target)) == (0, "SERVING")


def test_the_command_serves_http_and_decodes_what_arrives(store: Path) -> None:
    with ServerProcess(store) as server, Road(server.target, store) as road:
        road.push_samples([make_picture_sample(1)])
        until(lambda: road.records()[0].checked_at)
        until(lambda: metric(get(server.info["http_port"], "/metrics")[1], "edgeloop_decode_cpu_seconds"))
        code, _, said = server.stop()
    assert (code, said) == (0, "")


class Sending:
    """Pushes samples from a thread until the stream ends; the journal of receipts is the oracle."""

    def __init__(self, target: str, samples: list[Sample]) -> None:
        self.receipts: set[str] = set()
        self.error: grpc.RpcError | None = None
        self._target, self._samples = target, samples
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def join(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        with grpc.insecure_channel(self._target) as channel:
            chunks = (chunk for sample in self._samples for chunk in pieces(sample, step=1 << 18))
            try:
                for message in stubs.SamplesStub(channel).Push(convert.chunk_to_message(chunk) for chunk in chunks):
                    self.receipts.add(convert.push_receipt_from_message(message).digest)
            except grpc.RpcError as error:
                self.error = error


def test_a_stop_under_load_ends_streams_in_order_and_loses_nothing_that_was_acknowledged(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGELOOP_SERVE_GRACE_S", "60")  # however slow the disk is, no stream is cut off
    samples = [[make_picture_sample(1000 * device + number) for number in range(400)] for device in range(3)]
    with ServerProcess(store) as server:
        sending = [Sending(server.target, some) for some in samples]
        while not all(one.receipts for one in sending):
            time.sleep(0.01)
        code, seconds, said = server.stop()
        for one in sending:
            one.join()
    assert (code, said) == (0, "")
    assert seconds < 60
    for one in sending:
        assert one.error is None or one.error.code() is grpc.StatusCode.UNAVAILABLE
    stopped = [one.error for one in sending if one.error is not None]
    assert stopped
    assert any("retry-after-ms" in dict(error.trailing_metadata() or ()) for error in stopped)
    with open_store(store) as opened:
        kept = {record.digest for record in opened.meta.samples()}
        actions = {entry.action for entry in opened.audit.newest(limit=20_000) if entry.who == "server"}
        acknowledged = set().union(*(one.receipts for one in sending))
        assert acknowledged <= kept
        assert all(opened.blobs.has(digest) for digest in kept)
    assert {"server.started", "server.draining", "server.stopped"} <= actions


def test_a_kill_under_load_loses_nothing_that_was_acknowledged(store: Path) -> None:
    samples = [make_picture_sample(number) for number in range(600)]
    with ServerProcess(store) as server:
        sending = Sending(server.target, samples)
        while len(sending.receipts) < 40:
            time.sleep(0.005)
        os.kill(server.process.pid, signal.SIGKILL)
        sending.join()
    with open_store(store) as opened:
        assert sending.receipts <= {record.digest for record in opened.meta.samples()}
        assert all(opened.blobs.has(digest) for digest in sending.receipts)


def test_a_revoked_device_gets_no_receipt_and_its_stream_ends(open_road: Callable[..., Road], store: Path) -> None:
    from cloud_train.fleet.members import By, register, revoke
    from cloud_train.store.members import SqlFleetStore

    road, sample = open_road(), make_picture_sample(1)
    with open_store(store) as opened:
        fleet, by = SqlFleetStore(opened.database), By(who="person:ann", now=time.time())
        register(fleet, by, "kiosk-1", labels={})
        revoke(fleet, by, "kiosk-1")
    with pytest.raises(grpc.RpcError) as caught:
        road.push_samples([sample])
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert road.records() == ()


def test_the_audit_and_its_log_lines_tell_of_refusals_and_never_of_payloads(store: Path) -> None:
    bad = sample_of(b"GIF89a" + bytes(100))
    with running_server(store) as info, Road(info.target, store) as road:
        road.push([*pieces(bad), *pieces(make_picture_sample(1))])
    with open_store(store) as opened:
        (refused,) = opened.audit.newest(action="sample.refused")
        (stored,) = opened.audit.newest(action="sample.stored")
    assert (refused.subject, refused.detail) == (
        f"sample:{bad.digest}",
        {"reason": "not a JPEG, PNG or WebP picture"},
    )
    assert stored.who == "device:kiosk-1"
    assert json.dumps(refused.detail)
