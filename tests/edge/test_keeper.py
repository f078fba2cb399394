"""What the agent keeps: budgets, duplicates and privacy, through a real outbox."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pipeline_bundles import COLOURS, build_pipeline, squares

from edge.bundle.manifest import KeepBudget, KeepPolicy
from edge.engine import Engine, open_engine
from edge.errors import RefusedError, StorageError, UsageError
from edge.keeper import Keeper
from edge.outbox.base import OutboxLimits, PutOutcome
from edge.outbox.memory import MemoryOutbox
from edge.settings import AgentSettings
from edge.telemetry import Telemetry
from edge.types import Feedback, FeedbackKind, Frame, KeepReason

RED, GREEN, BLUE = COLOURS.values()
ALL = KeepPolicy(random_fraction=1.0)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine(build_pipeline(tmp_path_factory.mktemp("keeper") / "bundle")) as opened:
        yield opened


class Bench:
    """A keeper over a real outbox, with a clock that stands still."""

    def __init__(self, engine: Engine, home: Path, policy: KeepPolicy, **settings: object) -> None:
        self.engine = engine
        self.now = 1000.0
        self.outbox = MemoryOutbox()
        self.said: list[str] = []
        self.telemetry = Telemetry()
        self.manifest = replace(engine.bundle.manifest, keep=policy)
        self.keeper = Keeper(
            AgentSettings(home=home, **{"payload": "original"} | settings),
            self.outbox,
            self.telemetry,
            clock=lambda: self.now,
            report=self.said.append,
        )

    def keep(self, data: bytes) -> bool:
        return bool(self.keeper.keep(self.frame(data), self.engine.infer(data), self.manifest))

    def frame(self, data: bytes) -> Frame:
        return Frame(data=data, captured_at=self.now, source="camera", sequence=0)

    def payloads(self) -> list[bytes]:
        return [self.outbox.payload(entry.digest) for entry in self.outbox.claim(limit=100, lease_s=60, now=self.now)]


Make = Callable[..., Bench]


@pytest.fixture
def make(engine: Engine, tmp_path: Path) -> Make:
    return lambda policy=ALL, **settings: Bench(engine, tmp_path, policy, **settings)


def picture(number: int) -> bytes:
    return squares((number % 8, number // 8, RED))


def test_keeps_what_the_policy_asks_for(make: Make) -> None:
    bench = make(KeepPolicy(random_fraction=0.0))
    assert not bench.keep(picture(9))
    assert bench.keep(squares((1, 1, (230, 220, 20))))
    entry = bench.outbox.claim(limit=1, lease_s=60, now=bench.now)[0]
    assert entry.metadata.reason is KeepReason.NOT_RECOGNISED
    assert bench.telemetry.counts().kept == 1


def test_a_budget_holds_and_opens_again(make: Make) -> None:
    bench = make(replace(ALL, budget=KeepBudget(per_minute=3)))
    assert [bench.keep(picture(number)) for number in range(6)] == [True] * 3 + [False] * 3
    assert bench.telemetry.counts().over_budget == 3
    bench.now += 120
    assert bench.keep(picture(6))


def test_the_same_picture_again_costs_no_budget(make: Make) -> None:
    bench = make(replace(ALL, budget=KeepBudget(per_minute=2)))
    assert [bench.keep(picture(1)) for _ in range(4)] == [True] * 4
    assert bench.keep(picture(2))
    assert bench.telemetry.counts().kept == 2


def test_near_duplicates_are_left_out(make: Make) -> None:
    bench = make(KeepPolicy(below_confidence=1.0, random_fraction=0.0, duplicate_bits=4))
    assert bench.keep(squares((1, 1, RED), (2, 6, RED)))
    assert not bench.keep(squares((1, 1, RED), (2, 6, RED), kind="JPEG"))
    assert bench.telemetry.counts().near_duplicates == 1
    assert bench.keep(squares((6, 3, BLUE), (0, 0, GREEN), (3, 3, RED)))


def test_private_things_are_blurred_before_they_are_kept(make: Make) -> None:
    import io

    from PIL import Image

    data = squares((2, 2, RED), (5, 5, GREEN))
    bench = make(private_labels="thing")
    assert bench.keep(data)
    kept = bench.payloads()[0]
    assert kept != data
    assert bench.outbox.stats().sent == 0
    with Image.open(io.BytesIO(kept)) as picture:
        assert picture.convert("RGB").getpixel((5, 5)) == pytest.approx((120, 120, 120), abs=3)


def test_private_samples_can_be_vetoed(make: Make) -> None:
    bench = make(private_labels="thing, person", private_action="veto")
    assert not bench.keep(squares((2, 2, RED)))
    assert bench.keep(squares())
    assert bench.telemetry.counts().private == 1


def test_settings_of_privacy_are_checked(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="private_action 'hide' must be 'blur' or 'veto'"):
        AgentSettings(home=tmp_path, private_labels="person", private_action="hide")


def test_too_large_samples_and_a_full_disk_are_counted(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make(max_sample_bytes=10)
    assert not bench.keep(picture(1))
    assert bench.telemetry.counts().too_large == 1
    bench = make()

    def full(*_: object, **__: object) -> tuple[PutOutcome, ...]:
        raise StorageError("the disk is full")

    monkeypatch.setattr(bench.outbox, "put_many", full)
    assert not bench.keep(picture(1))
    assert (bench.telemetry.counts().keep_failed, bench.keeper.last_error) == (1, "the disk is full")
    assert bench.said == ["the disk is full"]


def test_what_is_kept_has_the_digest_of_its_bytes(make: Make) -> None:
    bench = make(private_labels="thing")
    bench.keep(squares((2, 2, RED)))
    entry = bench.outbox.claim(limit=1, lease_s=60, now=bench.now)[0]
    assert entry.digest == hashlib.sha256(bench.outbox.payload(entry.digest)).hexdigest()


def test_a_kept_picture_is_a_small_jpeg_unless_the_original_is_asked_for(make: Make) -> None:
    data = squares((2, 2, RED))
    bench = make(payload="jpeg", payload_max_side=64)
    assert bench.keep(data)
    kept = bench.payloads()[0]
    assert kept[:3] == b"\xff\xd8\xff"
    assert bench.keep(data)  # the same bytes again, so the same sample
    assert bench.telemetry.counts().kept == 1


def test_a_payload_that_there_is_not_is_said_at_the_start(make: Make) -> None:
    with pytest.raises(UsageError, match="payload 'raw' is not one of jpeg, original"):
        make(payload="raw")


def test_pixels_of_a_camera_are_kept_too(make: Make, engine: Engine) -> None:
    import io

    import numpy as np
    from PIL import Image

    pixels = np.asarray(Image.open(io.BytesIO(squares((1, 1, RED)))).convert("RGB"))
    for payload, kind in (("jpeg", "JPEG"), ("original", "PNG")):
        bench = make(payload=payload, private_labels="thing")
        frame = Frame(data=pixels, captured_at=1.0, source="camera", sequence=0)
        digest = bench.keeper.keep(frame, engine.infer(pixels), bench.manifest)
        kept = bench.outbox.payload(digest)
        assert hashlib.sha256(kept).hexdigest() == digest
        with Image.open(io.BytesIO(kept)) as picture:
            assert picture.format == kind
            assert not np.array_equal(np.asarray(picture.convert("RGB")), pixels)  # blurred


def test_what_a_person_answered_is_kept_against_all_rules(make: Make, engine: Engine) -> None:
    bench = make(KeepPolicy(random_fraction=0.0, budget=KeepBudget(per_minute=1)))
    data = picture(9)
    assert not bench.keep(data)
    digest = bench.keeper.keep_for_answer(bench.frame(data), engine.infer(data))
    assert bench.keeper.keep_for_answer(bench.frame(data), engine.infer(data)) == digest
    entry = bench.outbox.entries()[0]
    assert (entry.digest, entry.metadata.reason, entry.metadata.value) == (digest, KeepReason.FEEDBACK, 1.0)
    assert bench.telemetry.counts().kept == 1


def test_a_person_cannot_have_kept_what_is_private(make: Make, engine: Engine) -> None:
    bench = make(private_labels="thing", private_action="veto")
    data = squares((2, 2, RED))
    with pytest.raises(RefusedError, match="camera: the picture may not be kept"):
        bench.keeper.keep_for_answer(bench.frame(data), engine.infer(data))
    assert bench.outbox.entries() == ()


def test_an_answer_for_which_there_is_no_room_is_said(make: Make, engine: Engine) -> None:
    bench = make()
    bench.keeper._outbox = MemoryOutbox(limits=OutboxLimits(max_entries=1))
    for number in (1, 2):
        data = picture(number)
        if number == 1:
            digest = bench.keeper.keep_for_answer(bench.frame(data), engine.infer(data))
            bench.keeper._outbox.put_answer(
                digest, Feedback(kind=FeedbackKind.CONFIRMED, label="red", who="ada", at=1.0), now=1.0
            )
            continue
        with pytest.raises(StorageError, match="full of samples that people answered"):
            bench.keeper.keep_for_answer(bench.frame(data), engine.infer(data))


def test_in_the_background_the_budget_is_spent_at_once_and_nothing_is_lost(make: Make, engine: Engine) -> None:
    bench = make(replace(ALL, budget=KeepBudget(per_minute=3)))
    keeper = Keeper(
        bench.keeper._settings,
        bench.outbox,
        bench.telemetry,
        clock=lambda: bench.now,
        report=bench.said.append,
        in_background=True,
    )
    kept = [keeper.keep(bench.frame(data), engine.infer(data), bench.manifest) for data in map(picture, range(6))]
    keeper.stop(timeout_s=10)
    assert [bool(digest) for digest in kept] == [True] * 3 + [False] * 3
    assert [entry.digest for entry in bench.outbox.entries()] == kept[:3]
    assert (bench.telemetry.counts().kept, bench.telemetry.counts().over_budget) == (3, 3)
