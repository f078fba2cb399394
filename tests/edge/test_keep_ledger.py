from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prediction_values import classification, counted, counts, detection, inference, matches

from edge import jsonvalue
from edge.bundle.manifest import KeepPolicy
from edge.keep.ledger import REMEMBERED_HASHES, KeepLedger

POLICY = KeepPolicy(rare_classes=("a", "b"), rare_per_day=3)


def kept(ledger: KeepLedger, label: str, now: float, **more: int) -> KeepLedger:
    return ledger.after(inference(classification(label, 0.9)), POLICY, now=now, size_bytes=10, **more)


def test_it_counts_rare_classes_for_a_day() -> None:
    ledger = KeepLedger()
    for hour, label in enumerate("abcacac"):
        ledger = kept(ledger, label, hour * 3600.0)
    assert [ledger.rare_kept(label, 7 * 3600.0) for label in "abc"] == [3, 1, 0]
    assert [ledger.rare_kept(label, 40 * 3600.0) for label in "abc"] == [0, 0, 0]
    assert len(ledger.rare) == 2


def test_it_counts_every_rare_class_of_a_picture_once() -> None:
    found = detection("box", 0.9)
    picture = counts(
        counted(found, matches("a", 0.9)), counted(found, matches("a", 0.9)), counted(found, matches("b", 1))
    )
    ledger = KeepLedger().after(inference(picture), POLICY, now=0.0, size_bytes=1)
    assert [ledger.rare_kept(label, 0.0) for label in "ab"] == [1, 1]


def test_classes_that_are_no_longer_rare_are_forgotten() -> None:
    ledger = kept(kept(KeepLedger(), "a", 0.0), "b", 0.0)
    later = ledger.after(inference(classification("z", 0.9)), KeepPolicy(rare_classes=("b",)), now=1.0, size_bytes=1)
    assert [item.label for item in later.rare] == ["b"]
    assert later.rare_kept("b", 1.0) == 1


def test_it_remembers_the_last_hashes() -> None:
    ledger = KeepLedger()
    for number in range(REMEMBERED_HASHES + 10):
        ledger = kept(ledger, "a", 0.0, picture_hash=number)
    assert ledger.hashes == tuple(range(10, REMEMBERED_HASHES + 10))
    assert kept(ledger, "a", 0.0).hashes == ledger.hashes


STEPS = st.lists(
    st.tuples(st.floats(-1000, 100_000), st.sampled_from("abc"), st.none() | st.integers(0, 2**64 - 1)), max_size=12
)


@given(steps=STEPS)
def test_it_survives_as_json(steps: list[tuple[float, str, int | None]]) -> None:
    ledger, now = KeepLedger(), 1.7e9
    for step, label, hashed in steps:
        now += step
        ledger = kept(ledger, label, now, picture_hash=hashed)
    data = jsonvalue.canonical_bytes(ledger)
    assert jsonvalue.load(KeepLedger, data, where="ledger") == ledger


def test_it_stays_small() -> None:
    ledger = KeepLedger()
    for number in range(5000):
        ledger = kept(ledger, "ab"[number % 2], number * 61.0, picture_hash=2**64 - 1 - number)
    assert len(jsonvalue.canonical_bytes(ledger)) < 12_000
