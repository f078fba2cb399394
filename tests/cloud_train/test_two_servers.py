"""Two server processes over one database and one object store: samples arrive once, whoever they were sent to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from pushing import offer_of, pieces
from sample_values import make_picture_sample
from serving import ServerProcess

from cloud_train.store.location import write_location
from cloud_train.store.opened import open_store
from edge.outbox.base import Sample
from edge.sync.types import ReceiptStatus
from edge.wire import convert
from edge.wire.v1 import edgeloop_pb2_grpc as stubs

pytestmark = pytest.mark.server


@pytest.fixture
def roots(tmp_path: Path, postgres_url: str, s3_objects_url: str) -> list[Path]:
    """Local folders of two servers that share everything else."""
    made = [tmp_path / "one", tmp_path / "two"]
    for root in made:
        write_location(root, database=postgres_url, objects=s3_objects_url)
    return made


@pytest.fixture
def servers(roots: list[Path]) -> Iterator[list[ServerProcess]]:
    with ExitStack() as stack:
        yield [stack.enter_context(ServerProcess(root, "--no-http", "--no-worker")) for root in roots]


def push(target: str, samples: list[Sample], *, step: int) -> dict[str, ReceiptStatus]:
    chunks = (piece for sample in samples for piece in pieces(sample, step=step))
    with grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        messages = stubs.SamplesStub(channel).Push(map(convert.chunk_to_message, chunks), timeout=60)
        receipts = [convert.push_receipt_from_message(message) for message in messages]
    return {receipt.digest: receipt.status for receipt in receipts}


def test_the_same_samples_sent_to_both_are_stored_once(servers: list[ServerProcess], roots: list[Path]) -> None:
    samples = [make_picture_sample(number) for number in range(60)]
    orders = [(samples, 1 << 18), (samples[::-1], 1 << 18), (samples[30:] + samples[:30], 700)]
    with ThreadPoolExecutor(6) as pool:
        running = [pool.submit(push, server.target, some, step=step) for server in servers for some, step in orders]
        answers = [one.result() for one in running]
    assert all(answer == dict.fromkeys((s.digest for s in samples), ReceiptStatus.STORED) for answer in answers)
    with open_store(roots[1]) as opened:
        assert Counter(record.digest for record in opened.meta.samples()) == Counter(s.digest for s in samples)
        stored = Counter(entry.subject for entry in opened.audit.newest(action="sample.stored", limit=1000))
        assert set(stored.values()) == {1}
        assert len(stored) == 60
        assert all(opened.blobs.read(sample.digest) == sample.payload for sample in samples)


def test_what_one_server_took_the_other_knows_even_after_the_first_has_died(
    servers: list[ServerProcess], roots: list[Path]
) -> None:
    samples = [make_picture_sample(number) for number in range(20)]
    push(servers[0].target, samples, step=1 << 18)
    servers[0].process.kill()
    with grpc.insecure_channel(servers[1].target) as channel:
        request = convert.offer_request_to_message(tuple(map(offer_of, samples)))
        reply = convert.offer_response_from_message(stubs.SamplesStub(channel).Offer(request, timeout=20))
    assert set(reply.known) == {sample.digest for sample in samples}
    assert [*roots[1].joinpath("partial").iterdir()] == []
