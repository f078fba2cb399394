"""Pictures that nothing names go, in two steps; what a row or a snapshot names never does, whoever writes meanwhile."""

from __future__ import annotations

import hashlib
import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from pushing import Road, offer_of
from sample_values import make_picture_sample, make_sample

from cloud_train.cli import edgeloop
from cloud_train.errors import ForbiddenError
from cloud_train.fleet import members
from cloud_train.fleet.members import By
from cloud_train.ingest.arrivals import Arrival, ArrivalParts, store_arrivals
from cloud_train.ingest.intake import Intake
from cloud_train.ingest.metrics import make_metrics
from cloud_train.ingest.server import running_server
from cloud_train.store.aside import Aside
from cloud_train.store.backup import back_up
from cloud_train.store.check import check_store
from cloud_train.store.digests import ASIDE
from cloud_train.store.location import write_location
from cloud_train.store.members import SqlFleetStore
from cloud_train.store.named import COLUMN, named_in_rows, share_snapshots
from cloud_train.store.opened import Store, open_store
from cloud_train.store.restore import restore
from cloud_train.store.sweep import AGE_S, SweepReport, require_own, sweep
from cloud_train.store.tables import TABLES
from cloud_train.types import SampleRecord
from edge import durable
from edge.errors import DamagedError, UsageError
from edge.outbox.base import Sample
from edge.sync.types import ReceiptStatus

ON_S3 = pytest.param("s3", marks=pytest.mark.server)


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(params=["folder", "memory", ON_S3])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A store folder whose pictures lie in it, or elsewhere."""
    made = tmp_path / "store"
    if request.param != "folder":
        url = request.getfixturevalue("s3_objects_url") if request.param == "s3" else f"memory://{tmp_path.name}"
        write_location(made, objects=url)
    return made


@pytest.fixture
def opened(root: Path) -> Iterator[Store]:
    with open_store(root) as parts:
        yield parts


def swept(store: Store, *, days: float = 0.0, age_s: float = AGE_S) -> SweepReport:
    """A sweep so long from now, that removes."""
    return sweep(store, who="person:ann", now=time.time() + days * 86_400, age_s=age_s, removes=True)


def add_row(store: Store, sample: Sample) -> None:
    record = SampleRecord(
        digest=sample.digest, size_bytes=len(sample.payload), received_at=9.0, metadata=sample.metadata
    )
    assert not store.meta.add_samples((record,))


def keep(store: Store, *samples: Sample) -> None:
    store.blobs.put_many({sample.digest: sample.payload for sample in samples})
    for sample in samples:
        add_row(store, sample)


def write_snapshot(folder: Path, *digests: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{hashlib.sha256(str(digests).encode()).hexdigest()}.json"
    file.write_text(json.dumps({"items": [{"digest": digest} for digest in digests]}))
    return file


def done_to(store: Store, digest: str) -> list[str]:
    return [entry.action for entry in reversed(store.audit.about(f"picture:{digest}"))]


def is_readable(store: Store, sample: Sample) -> bool:
    try:
        return store.blobs.read(sample.digest) == sample.payload
    except KeyError:
        return False


def arrival_parts(store: Store) -> ArrivalParts:
    intake = Intake(store.layout.root / "partial", max_bytes=10**7, max_pixels=10**7)
    return ArrivalParts(
        meta=store.meta,
        blobs=store.blobs,
        intake=intake,
        metrics=make_metrics(),
        max_pixels=10**7,
        clock=time.time,
    )


# What goes, and what stays.


def test_what_a_device_left_that_was_shut_out_goes_and_the_audit_says_when(opened: Store) -> None:
    sound, left = make_picture_sample(1), make_picture_sample(2, device_id="till-7")
    fleet, by = SqlFleetStore(opened.database), By(who="person:ann", now=time.time())
    members.register(fleet, by, "till-7", labels={})
    members.revoke(fleet, by, "till-7")
    arrivals = tuple(Arrival(offer=offer_of(sample), data=sample.payload) for sample in (sound, left))
    outcomes = store_arrivals(arrival_parts(opened), arrivals)
    assert outcomes[0] is None
    assert isinstance(outcomes[1], ForbiddenError)
    assert opened.blobs.has(left.digest), "the picture comes before the row that is refused"

    assert swept(opened) == SweepReport()
    assert swept(opened, days=1.1) == SweepReport(num_set_aside=1, num_waiting=1)
    assert not opened.blobs.has(left.digest)
    assert is_readable(opened, left)
    assert swept(opened, days=0.5) == SweepReport(num_waiting=1)
    assert swept(opened, days=2.2) == SweepReport(num_removed=1)
    assert not is_readable(opened, left)
    assert (opened.blobs.has(sound.digest), is_readable(opened, sound)) == (True, True)
    assert done_to(opened, left.digest) == ["picture.set_aside", "picture.removed"]
    assert {entry.who for entry in opened.audit.about(f"picture:{left.digest}")} == {"person:ann"}
    assert done_to(opened, sound.digest) == []
    assert swept(opened, days=9) == SweepReport()


def test_what_rows_and_snapshots_name_stays_whatever_its_age(opened: Store) -> None:
    row, frozen = make_sample(1), make_sample(2)
    keep(opened, row)
    opened.blobs.put(frozen.payload)
    write_snapshot(opened.layout.snapshots, frozen.digest)
    for days in (10, 20, 30):
        assert swept(opened, days=days) == SweepReport()
    assert all(opened.blobs.has(sample.digest) for sample in (row, frozen))


def test_every_column_that_names_pictures_counts(opened: Store) -> None:
    """A table that is added later counts too when its column is called so; this list is for whoever adds one."""
    named = {f"{table.name}.{column.name}" for table in TABLES.sorted_tables for column in table.c}
    assert {name for name in named if "digest" in name} == {
        "samples.digest",
        "labels.digest",
        "samples.bundle_digest",
        "devices.bundle_digest",
        "releases.bundle_digest",
        "rollouts.bundle_digest",
        "rollouts.base_digest",
        "bundle_hours.bundle_digest",
    }
    assert {name for name in named if name.endswith(f".{COLUMN}")} == {"samples.digest", "labels.digest"}
    samples = [make_sample(number) for number in range(600)]
    for sample in samples[:3]:
        add_row(opened, sample)
    assert named_in_rows(opened, [sample.digest for sample in samples]) == {sample.digest for sample in samples[:3]}


def test_a_snapshot_of_another_folder_counts_once_it_is_shared(tmp_path: Path) -> None:
    roots, place = [tmp_path / "one", tmp_path / "two"], tmp_path / "pictures"
    for root in roots:
        write_location(root, database=f"sqlite:///{tmp_path}/meta.sqlite", objects=f"file://{place}")
    sample = make_sample(1)
    with open_store(roots[0]) as one, open_store(roots[1]) as two:
        two.blobs.put(sample.payload)
        write_snapshot(two.layout.snapshots, sample.digest)
        assert swept(one, days=1.1).num_set_aside == 1  # nobody has told it
        share_snapshots(two)
        assert swept(one, days=9) == SweepReport(num_brought_back=1)
        assert done_to(one, sample.digest) == ["picture.set_aside", "picture.brought_back"]
        assert one.blobs.has(sample.digest)
        report = check_store(one)
        assert (report.num_snapshot_items, report.num_orphans, report.is_whole) == (1, 0, True)
        two.aside.take([sample.digest], before=time.time() + 9)
        assert swept(two, days=9) == SweepReport(num_brought_back=1)


def test_snapshots_are_shared_by_whoever_makes_one(
    root: Path, tmp_path: Path, picture_bytes: Callable[..., bytes]
) -> None:
    for name, colour in (("a", "red"), ("b", "green")):
        (tmp_path / "in" / name).mkdir(parents=True)
        for number in range(4):
            data = picture_bytes(colour, size=(40 + number, 30))
            (tmp_path / "in" / name / f"{number}.png").write_bytes(data)
    line = ["data", "snapshot", str(tmp_path / "in"), "--store", str(root), "--name", "n"]
    assert CliRunner().invoke(edgeloop, line).exit_code == 0
    with open_store(root) as store:
        (file,) = store.layout.snapshots.glob("*.json")
        assert b"".join(store.shared_snapshots.read(file.name)) == file.read_bytes()
        back_up(store, tmp_path / "b.tar", with_keys=False, now=1.0)
    write_location(tmp_path / "new", objects=f"memory://{tmp_path.name}-new")
    restore(tmp_path / "b.tar", tmp_path / "new")
    with open_store(tmp_path / "new") as store:
        assert [name for name, _ in store.shared_snapshots.list()] == [file.name]


def test_a_damaged_snapshot_ends_a_sweep_before_anything_is_moved(opened: Store) -> None:
    sample = make_sample(1)
    opened.blobs.put(sample.payload)
    write_snapshot(opened.layout.snapshots, "x").write_text("{")
    with pytest.raises(DamagedError, match=r"snapshot .* is damaged"):
        swept(opened, days=9)
    assert opened.blobs.has(sample.digest)


# Age.


def test_the_young_stay_and_what_is_put_again_is_young_again(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        old, again, adopted = (make_sample(number) for number in range(3))
        for sample in (old, again):
            store.blobs.put(sample.payload)
            os.utime(tmp_path / "blobs" / "new" / sample.digest, (1.0, 1.0))
        store.blobs.shelve()
        store.blobs.put(again.payload)
        upload = tmp_path / "upload"
        upload.write_bytes(adopted.payload)
        os.utime(upload, (1.0, 1.0))
        store.blobs.adopt({adopted.digest: upload})
        assert swept(store) == SweepReport(num_set_aside=1, num_waiting=1)
        assert [store.blobs.has(sample.digest) for sample in (old, again, adopted)] == [False, True, True]
        assert swept(store) == SweepReport(num_waiting=1), "it is aside since now, however old it is"


def test_age_is_looked_at_again_when_something_is_moved(opened: Store) -> None:
    digest, before = opened.blobs.put(b"data"), time.time() - 60
    assert opened.aside.take([digest, "0" * 64], before=before) == ()
    assert opened.blobs.has(digest)
    assert opened.aside.take([digest], before=time.time() + 60) == (digest,)
    assert opened.aside.remove([digest, "0" * 64], before=before) == ()
    assert opened.blobs.read(digest) == b"data"
    opened.aside.give_back(["0" * 64])
    assert opened.aside.remove([digest], before=time.time() + 60) == (digest,)
    assert list(opened.blobs.digests()) == []


def test_what_is_put_while_it_is_aside_is_kept_afresh(opened: Store) -> None:
    sample = make_sample(1)
    opened.blobs.put(sample.payload)
    swept(opened, days=1.1)
    keep(opened, sample)
    assert opened.blobs.has(sample.digest)
    assert swept(opened, days=9) == SweepReport(num_brought_back=1)
    assert (opened.blobs.has(sample.digest), is_readable(opened, sample)) == (True, True)
    assert list(opened.blobs.digests()) == [sample.digest]


def test_both_names_of_one_file_move(tmp_path: Path) -> None:
    """As a killed shelving leaves them."""
    with open_store(tmp_path) as store:
        digest = store.blobs.put(b"data")
        shelf = store.blobs.path(digest)
        assert sorted(path.parent.name for path in (tmp_path / "blobs").rglob(digest)) == sorted(["new", digest[:2]])
        assert swept(store, days=1.1).num_set_aside == 1
        assert [path.parent.name for path in (tmp_path / "blobs").rglob(digest)] == [ASIDE]
        assert store.blobs.path(digest) == shelf  # asked for as a file it is in use, and has a name that stays
        assert store.blobs.has(digest)
        assert swept(store, days=1.1).num_set_aside == 1
        assert [path.parent.name for path in (tmp_path / "blobs").rglob(digest)] == [ASIDE]


# Rows that come meanwhile.


@pytest.mark.parametrize("when", ["before the sweep looks", "between look and move", "after the move"])
def test_a_row_that_is_committed_at_any_moment_keeps_its_picture(
    opened: Store, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The worst that can be: a picture as old as any, whose row comes just now, and nobody puts it again."""
    sample, other = make_sample(1), make_sample(2)
    for one in (sample, other):
        opened.blobs.put(one.payload)
    kind = type(opened.aside)
    real = kind.take

    def take(aside: Aside, digests: object, *, before: float) -> tuple[str, ...]:
        if when == "between look and move":
            add_row(opened, sample)
        taken = real(aside, digests, before=before)
        assert is_readable(opened, sample)
        if when == "after the move":
            add_row(opened, sample)
        return taken

    if when == "before the sweep looks":
        add_row(opened, sample)
    with monkeypatch.context() as patched:
        patched.setattr(kind, "take", take)
        report = swept(opened, days=1.1)
    assert report == SweepReport(
        num_set_aside=1 + (when != "before the sweep looks"),
        num_brought_back=int(when != "before the sweep looks"),
        num_waiting=1,
    )
    assert opened.blobs.has(sample.digest)
    assert swept(opened, days=9) == SweepReport(num_removed=1)
    assert check_store(opened).is_whole


def test_a_row_that_comes_after_the_sweep_can_be_read_and_the_next_sweep_brings_it_back(opened: Store) -> None:
    sample = make_picture_sample(1)
    opened.blobs.put(sample.payload)
    swept(opened, days=1.1)
    add_row(opened, sample)
    assert is_readable(opened, sample)
    assert check_store(opened).is_whole
    made = back_up(opened, opened.layout.root / "b.tar", with_keys=False, now=1.0)
    assert made.num_blobs == 1
    assert swept(opened, days=9) == SweepReport(num_brought_back=1)
    assert opened.blobs.has(sample.digest)
    assert done_to(opened, sample.digest) == ["picture.set_aside", "picture.brought_back"]


def test_a_backup_goes_on_when_a_sweep_removes_what_nothing_names(opened: Store, tmp_path: Path) -> None:
    row, orphans = make_sample(1), [make_sample(number) for number in range(2, 6)]
    keep(opened, row)
    opened.blobs.put_many({sample.digest: sample.payload for sample in orphans})
    swept(opened, days=1.1)

    def remove(done: int, total: int | None) -> None:
        opened.aside.remove([sample.digest for sample in orphans], before=time.time() + 60)

    back_up(opened, tmp_path / "b.tar", with_keys=False, now=1.0, progress=remove)
    restore(tmp_path / "b.tar", tmp_path / "new")
    with open_store(tmp_path / "new") as store:
        assert store.blobs.has(row.digest)
        assert check_store(store).is_whole


def test_sweeps_beside_a_running_push_lose_nothing(root: Path) -> None:
    """Half of what is pushed lay there as old as can be, so the sweeps reach for it while its rows are committed."""
    samples = [make_picture_sample(number, side=24) for number in range(80)]
    with open_store(root) as store:
        store.blobs.put_many({sample.digest: sample.payload for sample in samples[::2]})
        time.sleep(1.1)  # S3 tells whole seconds
        begun = time.time() - 0.05
        stop, reports = threading.Event(), list[SweepReport]()

        def sweep_on() -> None:
            while not stop.is_set():
                reports.append(sweep(store, who="server", now=begun + AGE_S))

        with running_server(root) as info, Road(info.target, root) as road:
            sweeper = threading.Thread(target=sweep_on)
            sweeper.start()
            try:
                order = samples[:]
                random.Random(4).shuffle(order)
                receipts = {}
                for start in range(0, len(order), 8):
                    receipts |= road.push_samples(order[start : start + 8])
            finally:
                stop.set()
                sweeper.join(60)
        assert receipts == dict.fromkeys((sample.digest for sample in samples), ReceiptStatus.STORED)
        assert sum(report.num_set_aside for report in reports) > 0, "the sweeps found nothing to reach for"
        assert all(is_readable(store, sample) for sample in samples)
        swept(store, days=9)
        assert all(store.blobs.has(sample.digest) for sample in samples)
        assert check_store(store).is_whole


@pytest.mark.server
def test_sweeps_of_two_machines_do_not_meet(tmp_path: Path, postgres_url: str, s3_objects_url: str) -> None:
    roots = [tmp_path / "one", tmp_path / "two"]
    for root in roots:
        write_location(root, database=postgres_url, objects=s3_objects_url)
    named, left = make_sample(1), [make_sample(number) for number in range(2, 22)]
    with open_store(roots[0]) as one, open_store(roots[1]) as two:
        keep(one, named)
        one.blobs.put_many({sample.digest: sample.payload for sample in left})
        for days in (1.1, 2.2):
            threads = [threading.Thread(target=swept, args=(store,), kwargs={"days": days}) for store in (one, two)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
        assert list(two.blobs.digests()) == [named.digest]
        assert Counter(map(len, (done_to(one, sample.digest) for sample in left))).total() == 20
        assert done_to(two, named.digest) == []


# Kills.


def killed_at(number: int) -> Callable[[str], None]:
    left = [number]

    def kill(reached: str) -> None:
        if reached.startswith("blob.aside:"):
            left[0] -= 1
            if left[0] < 0:
                raise Killed

    return kill


def test_a_sweep_that_is_killed_anywhere_loses_nothing_and_the_next_goes_on(opened: Store) -> None:
    row, places = make_sample(1), opened.location.objects
    keep(opened, row)
    for number in range(3 if isinstance(places, Path) else 1):
        orphan = make_sample(2 + number)
        opened.blobs.put(orphan.payload)
        durable.observe(killed_at(number))
        try:
            with pytest.raises(Killed):
                swept(opened, days=1.1)
        finally:
            durable.observe(None)
        assert all(is_readable(opened, sample) for sample in (row, orphan))
        assert sorted(opened.blobs.digests()) == sorted([row.digest, orphan.digest])
        swept(opened, days=2.2)
        swept(opened, days=3.3)
        assert list(opened.blobs.digests()) == [row.digest]
        assert opened.blobs.has(row.digest)


# The command.


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(edgeloop, ["store", "check", *map(str, words)])
    return result.exit_code, result.output


def test_the_command(tmp_path: Path) -> None:
    sample, left = make_sample(1), make_sample(2)
    with open_store(tmp_path) as store:
        keep(store, sample)
        store.blobs.put(left.payload)
    assert run("--store", tmp_path, "--quick")[1].splitlines()[1] == "2 pictures, none read, 1 that nothing names"
    assert run("--store", tmp_path, "--sweep")[1].splitlines()[0] == (
        "0 pictures that nothing names set aside, 0 removed, 0 brought back; 0 wait aside"
    )
    os.utime(tmp_path / "blobs" / "new" / left.digest, (time.time() - 7300,) * 2)
    code, said = run("--store", tmp_path, "--sweep", "--older-than", 2, "--json")
    assert (code, json.loads(said)["sweep"]["num_set_aside"]) == (0, 1)
    os.utime(tmp_path / "blobs" / ASIDE / left.digest, (time.time() - 7300,) * 2)
    assert "0 removed, 0 brought back; 1 wait aside" in run("--store", tmp_path, "--sweep", "--older-than", 2)[1]
    code, said = run("--store", tmp_path, "--sweep", "--remove", "--older-than", 2)
    assert said.splitlines() == [
        "0 pictures that nothing names set aside, 1 removed, 0 brought back; 0 wait aside",
        "1 samples, 0 pictures in snapshots",
        "1 pictures, 1 read, 0 that nothing names",
        "whole",
    ]
    code, said = run("--store", tmp_path, "--sweep", "--older-than", 0)
    assert (code, "0 is not in the range x>=1" in said) == (2, True)
    with open_store(tmp_path) as store:
        assert {entry.who.partition(":")[0] for entry in store.audit.about(f"picture:{left.digest}")} == {"person"}


def test_a_folder_whose_database_names_none_of_the_pictures_sweeps_nothing(tmp_path: Path) -> None:
    """As a trainer's, which knows where the pictures lie and nothing else."""
    places = (tmp_path / "pictures").as_uri()
    server, trainer = tmp_path / "server", tmp_path / "trainer"
    for root in (server, trainer):
        write_location(root, objects=places)
    with open_store(server) as theirs:
        keep(theirs, make_sample(1))
    with open_store(trainer) as other, pytest.raises(UsageError, match="names none of the 1 pictures in"):
        require_own(other)
    result = CliRunner().invoke(edgeloop, ["store", "check", "--store", str(trainer), "--sweep", "--quick"])
    assert isinstance(result.exception, UsageError)
    with open_store(server) as theirs:
        require_own(theirs)
        assert is_readable(theirs, make_sample(1))


def test_without_the_option_nothing_is_moved(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        digest = store.blobs.put(b"data")
        os.utime(tmp_path / "blobs" / "new" / digest, (1.0, 1.0))
        store.meta.samples()
    assert run("--store", tmp_path)[0] == 0
    assert [path.name for path in (tmp_path / "blobs" / "new").iterdir()] == [digest]
    assert not (tmp_path / "blobs" / ASIDE).exists()
