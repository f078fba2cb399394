"""A server that dies in the middle of a push: every sample with a receipt is there, none is there twice.

The oracle is the test's own journal of receipts.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import threading
from pathlib import Path

import grpc
import pytest
from pushing import Road, pieces
from sample_values import make_picture_sample
from serving import ServerProcess

from edge.outbox.base import Sample
from edge.sync.types import ReceiptStatus

_DIE_AT = """
import os, sys
from edge import durable
left = [int(sys.argv.pop(1))]
def observe(point):
    if point.startswith(("blob.", "meta.samples")):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), 9)
durable.observe(observe)
from cloud_train.cli import main
main()
"""


def push_all(target: str, store: Path, samples: list[Sample], journal: dict[str, int]) -> None:
    """Offers and pushes once, as a device does after each start; every receipt goes into the journal."""
    with Road(target, store) as road:
        reply = road.offer(*samples)
        wanted = [sample for sample in samples if sample.digest in reply.missing]
        stream = road.open_push()
        for sample in wanted:
            stream.send(*pieces(sample, start=reply.partial.get(sample.digest, 0), step=3000))
        for _ in wanted:
            receipt = stream.receipt()
            assert receipt.status is ReceiptStatus.STORED, receipt
            journal[receipt.digest] = journal.get(receipt.digest, 0) + 1
        stream.end()


def check(store: Path, samples: list[Sample], journal: dict[str, int]) -> None:
    """Everything is there, once, and nobody was told so twice."""
    with ServerProcess(store) as server, Road(server.target, store) as road:
        known = set(road.offer(*samples).known)
        records = [record.digest for record in road.records()]
    assert set(journal) <= known
    assert known == {sample.digest for sample in samples}
    assert sorted(records) == sorted(known)
    for sample in samples:
        assert next((store / "blobs").rglob(sample.digest)).read_bytes() == sample.payload
    assert len(list((store / "blobs").rglob("?" * 64))) == len(samples)
    assert set(journal.values()) == {1}
    assert list((store / "partial").iterdir()) == []


@pytest.mark.slow
def test_killed_at_every_durable_write_of_a_push(tmp_path: Path) -> None:
    store, journal = tmp_path / "store", {}
    samples = [make_picture_sample(number, side=40) for number in range(40)]
    for kill in range(1, 6):
        launcher = (sys.executable, "-c", _DIE_AT, str(kill))
        with ServerProcess(store, launcher=launcher) as server:
            with pytest.raises(grpc.RpcError):
                push_all(server.target, store, samples, journal)
            assert server.process.wait(timeout=10) == -signal.SIGKILL
    assert 0 < len(journal) < 40
    with ServerProcess(store) as server:
        push_all(server.target, store, samples, journal)
    check(store, samples, journal)


@pytest.mark.slow
def test_killed_at_seeded_random_moments(tmp_path: Path) -> None:
    store, journal, rng = tmp_path / "store", {}, random.Random(1)
    samples = [make_picture_sample(number, side=60) for number in range(120)]
    for _ in range(3):
        with ServerProcess(store) as server:
            moment = rng.uniform(0.005, 0.15)
            killer = threading.Timer(moment, os.kill, (server.process.pid, signal.SIGKILL))
            killer.start()
            with contextlib.suppress(grpc.RpcError):
                push_all(server.target, store, samples, journal)
            killer.join()
            server.process.wait(timeout=10)
    with ServerProcess(store) as server:
        push_all(server.target, store, samples, journal)
    check(store, samples, journal)
