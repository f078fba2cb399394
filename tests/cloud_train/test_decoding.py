"""Samples are decoded after their receipt, by a process that may die of them; what fails is kept in quarantine."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from sample_values import make_picture_sample, sample_of
from serving import Finished

from cloud_train.errors import UnknownSampleError
from cloud_train.ingest.decoding.decoder import Decoder, DecoderLimits
from cloud_train.ingest.decoding.worker import LEASE_S, DecodeWorker
from cloud_train.store.checks import SqlCheckStore
from cloud_train.store.opened import Store, open_store
from cloud_train.types import SampleRecord
from edge.outbox.base import Sample
from edge.types import FeedbackKind


@pytest.fixture
def opened(store: Path) -> Iterator[Store]:
    with open_store(store) as parts:
        yield parts


@pytest.fixture
def checks(opened: Store) -> SqlCheckStore:
    return SqlCheckStore(opened.database)


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder() as running:
        yield running


def keep(opened: Store, *samples: Sample) -> None:
    opened.blobs.put_many({sample.digest: sample.payload for sample in samples})
    opened.meta.add_samples(
        tuple(
            SampleRecord(
                digest=sample.digest,
                size_bytes=len(sample.payload),
                received_at=100.0 + number,
                metadata=sample.metadata,
            )
            for number, sample in enumerate(samples)
        )
    )


def broken_picture() -> Sample:
    payload = make_picture_sample(7, side=60).payload
    return sample_of(payload[: len(payload) // 2])


def worker_of(opened: Store, checks: SqlCheckStore, decoder: Decoder, now: float = 1000.0) -> DecodeWorker:
    return DecodeWorker(checks, opened.blobs, decoder, clock=lambda: now)


def jpeg(mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (64, 48), 7 if mode == "L" else (9, 8, 7)).save(file, "JPEG")
    return file.getvalue()


def test_sound_pictures_pass_and_a_broken_one_goes_into_quarantine_and_is_not_lost(
    opened: Store, checks: SqlCheckStore, decoder: Decoder
) -> None:
    sound, broken = make_picture_sample(1), broken_picture()
    keep(opened, sound, broken, sample_of(jpeg("L")))
    worker = worker_of(opened, checks, decoder)
    assert (worker.step(), worker.step()) == (3, 0)
    assert (worker.counts.passed, worker.counts.failed, worker.counts.crashes) == (2, 1, 0)
    assert opened.meta.sample(sound.digest).checked_at == 1000.0
    held = opened.meta.sample(broken.digest)
    assert "truncated" in held.fault
    assert broken.digest not in {record.digest for record in opened.meta.samples()}
    assert broken.digest not in {record.digest for record in opened.meta.unlabelled(limit=10)}
    assert opened.blobs.read(broken.digest) == broken.payload
    (entry,) = opened.audit.newest(action="sample.quarantined")
    assert (entry.who, entry.subject, entry.detail) == ("server", f"sample:{broken.digest}", {"reason": held.fault})
    assert checks.counts().quarantined == 1
    assert checks.counts().unchecked == 0
    assert worker.counts.cpu_s > 0


def test_what_a_person_releases_is_a_sample_again(opened: Store, checks: SqlCheckStore, decoder: Decoder) -> None:
    broken = broken_picture()
    keep(opened, broken)
    worker_of(opened, checks, decoder).step()
    checks.release(broken.digest, who="person:ann", now=2000.0)
    assert [record.digest for record in opened.meta.samples()] == [broken.digest]
    assert opened.audit.newest(action="sample.released")[0].who == "person:ann"
    assert worker_of(opened, checks, decoder, now=3000.0).step() == 0
    with pytest.raises(UnknownSampleError, match="is in quarantine"):
        checks.release(broken.digest, who="person:ann", now=2000.0)


def test_two_workers_never_hold_the_same_sample_and_a_lease_ends(opened: Store, checks: SqlCheckStore) -> None:
    keep(opened, *(make_picture_sample(number) for number in range(5)))
    first = checks.claim(limit=3, now=1000.0, lease_s=LEASE_S)
    second = checks.claim(limit=3, now=1000.0, lease_s=LEASE_S)
    assert (len(first), len(second)) == (3, 2)
    assert not set(first) & set(second)
    assert checks.claim(limit=3, now=1001.0, lease_s=LEASE_S) == ()
    checks.passed(first, now=1002.0)
    assert set(checks.claim(limit=9, now=1000.0 + LEASE_S + 1, lease_s=LEASE_S)) == set(second)


def test_a_late_word_about_a_sample_changes_nothing(opened: Store, checks: SqlCheckStore) -> None:
    sample = make_picture_sample(1)
    keep(opened, sample)
    checks.passed((sample.digest,), now=1.0)
    checks.failed(sample.digest, "too late", now=2.0)
    assert opened.meta.sample(sample.digest).fault == ""
    assert opened.audit.newest(action="sample.quarantined") == ()


def test_a_picture_that_is_gone_holds_nobody_up(opened: Store, checks: SqlCheckStore, decoder: Decoder) -> None:
    gone, sound = make_picture_sample(1), make_picture_sample(2)
    keep(opened, gone, sound)
    for name in opened.layout.blobs.rglob(gone.digest):
        name.unlink()
    worker = worker_of(opened, checks, decoder)
    assert (worker.step(), worker.step()) == (2, 0)
    assert opened.meta.sample(sound.digest).checked_at
    assert opened.meta.sample(gone.digest).checked_at is None


class Slaughter(Decoder):
    """Kills its child at once whenever it is given a certain picture."""

    def __init__(self, victim: bytes, times: int) -> None:
        super().__init__(DecoderLimits(wall_s=20))
        self.left = times
        self._victim = victim

    def _started(self) -> subprocess.Popen[bytes]:
        child = super()._started()
        if self.left:
            self.left -= 1
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
        return child


def test_a_child_that_is_killed_once_is_nobodys_fault(opened: Store, checks: SqlCheckStore) -> None:
    sample = make_picture_sample(1)
    keep(opened, sample)
    with Slaughter(sample.payload, 1) as decoder:
        worker_of(opened, checks, decoder).step()
        assert decoder.crashes == 1
    assert opened.meta.sample(sample.digest).fault == ""


def test_a_picture_that_kills_twice_is_kept_away_and_the_next_one_is_decoded(
    opened: Store, checks: SqlCheckStore
) -> None:
    bad, good = make_picture_sample(1), make_picture_sample(2)
    keep(opened, bad, good)
    with Slaughter(bad.payload, 2) as decoder:
        worker_of(opened, checks, decoder).step()
    assert "was killed" in opened.meta.sample(bad.digest).fault
    assert opened.meta.sample(good.digest).checked_at == 1000.0


def large_png(side: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side)).save(file, "PNG")
    return file.getvalue()


def test_too_much_memory_is_a_fault_and_not_a_crash() -> None:
    with Decoder(DecoderLimits(memory_bytes=180_000_000)) as decoder:
        assert "memory" in decoder.fault_of(large_png(7000))
        assert decoder.fault_of(jpeg()) == ""


def test_a_picture_that_takes_too_long_is_a_fault() -> None:
    with Decoder(DecoderLimits(wall_s=0.0001)) as decoder:
        assert "was killed" in decoder.fault_of(large_png(3000))
        assert decoder.crashes == 2


_CONFINED = """
import os, resource, socket, sys
from cloud_train.ingest.decoding.child import confine, grant_cpu, fault_of
confine(memory_bytes=1_500_000_000, cpu_s=1)
def tried(what):
    try:
        what()
    except OSError as error:
        return error.errno
    except MemoryError:
        return "memory"
    return "allowed"
def write():
    os.write(os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY), b"x")
print(tried(write), tried(lambda: bytearray(2_000_000_000)))
print([resource.getrlimit(what)[1] for what in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_NOFILE)])
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("NoNewPrivs")], flush=True)
while True:
    pass
"""


def test_the_child_gives_up_what_it_does_not_need(tmp_path: Path) -> None:
    line = [sys.executable, "-c", "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)" + _CONFINED]
    run = subprocess.run([*line, tmp_path / "x"], capture_output=True, text=True, check=False, timeout=30)
    tried, limits, rights = run.stdout.splitlines()
    assert tried == f"{27} memory"  # EFBIG
    assert limits == "[0, 0, 16]"
    assert rights == "['1']"
    assert run.returncode == -signal.SIGXCPU


def test_a_worker_that_is_killed_leaves_its_samples_to_the_next(opened: Store, checks: SqlCheckStore) -> None:
    samples = [make_picture_sample(number, side=200) for number in range(40)]
    keep(opened, *samples)
    line = [sys.executable, "-m", "cloud_train.ingest.decoding", str(opened.location.root)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert json.loads(worker.stdout.readline())["passed"]
        worker.kill()
    left = checks.counts().unchecked
    assert left
    with Decoder() as decoder:
        later = worker_of(opened, checks, decoder, now=time.time() + LEASE_S + 1)
        while later.step():
            pass
    assert checks.counts().unchecked == 0
    assert checks.counts().quarantined == 0


def test_a_worker_ends_when_its_server_is_gone(store: Path) -> None:
    open_store(store).database.close()
    line = [sys.executable, "-m", "cloud_train.ingest.decoding", str(store)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        worker.stdin.close()
        assert worker.wait(timeout=20) == 0


def test_people_see_and_release_what_is_in_quarantine(
    opened: Store, store: Path, run_here: Callable[..., Finished]
) -> None:
    broken = broken_picture()
    keep(opened, broken, make_picture_sample(1))
    once = run_here("worker", "--store", store, "--once")
    assert once.returncode == 0, once.stderr
    listed = run_here("quarantine", "--store", store, "--list")
    assert listed.stdout.startswith(f"{broken.digest}  kiosk-1  ")
    assert json.loads(run_here("quarantine", "--store", store, "--list", "--json").stdout)[0]["digest"] == broken.digest
    released = run_here("quarantine", "--store", store, "--release", broken.digest, "--who", "ann")
    assert (released.returncode, released.stdout) == (0, f"{broken.digest[:12]} is out of quarantine\n")
    empty = run_here("quarantine", "--store", store, "--list")
    assert (empty.returncode, empty.stdout, empty.stderr) == (0, "", "nothing is in quarantine\n")
    again = run_here("quarantine", "--store", store, "--release", broken.digest)
    assert again.returncode == 1
    assert again.stderr.startswith("edgeloop: error: no sample ")
    assert run_here("quarantine", "--store", store).returncode == 2


def test_answers_of_people_leave_their_mark_in_the_audit(opened: Store) -> None:
    from cloud_train.review.labels import record_feedback
    from edge.types import Feedback

    sample = make_picture_sample(1)
    keep(opened, sample)
    answer = Feedback(kind=FeedbackKind.CORRECTED, label="pear", who="ann", at=5.5)
    for _ in range(2):
        record_feedback(opened.meta, sample.digest, answer, through="device:kiosk-1")
    (entry,) = opened.audit.newest(action="label.added")
    assert (entry.who, entry.subject) == ("device:kiosk-1", f"sample:{sample.digest}")
    assert entry.detail == {"kind": "corrected", "label": "pear", "answered_by": "ann"}
