from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_values import digest_of

from cloud_train.datasets.split import Fractions, share, split_groups, split_of
from cloud_train.types import Split

AIM = Fractions(train=0.6, val=0.15, test=0.25)
FROZEN = "rrarrererereeererrerreer"
SHARE_0 = 0.46696710795071006
ALL = {Split.TRAIN, Split.VAL, Split.TEST}


def _groups(counts: dict[str, int]) -> dict[str, frozenset[str]]:
    return {
        digest_of(f"{label} {number}"): frozenset({label}) for label, count in counts.items() for number in range(count)
    }


def test_known_splits_never_change() -> None:
    """Splits are frozen for ever: these were written down with the first release."""
    found = "".join(split_of(digest_of(str(number)), AIM).value[1] for number in range(24))
    assert found == FROZEN
    assert share(digest_of("0")) == pytest.approx(SHARE_0, abs=1e-12)


def test_fractions_are_met() -> None:
    splits = split_groups(_groups({"a": 4000, "b": 4000}), AIM)
    counts = Counter(splits.values())
    assert counts[Split.TEST] == pytest.approx(2000, abs=120)
    assert counts[Split.VAL] == pytest.approx(1200, abs=120)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 12), min_size=1))
def test_every_class_of_three_groups_gets_every_split(counts: dict[str, int]) -> None:
    groups = _groups(counts)
    splits = split_groups(groups, AIM)
    assert set(splits) == set(groups)
    for label, count in counts.items():
        own = {splits[digest_of(f"{label} {number}")] for number in range(count)}
        if count >= 3:
            assert own == ALL
        elif count:
            assert own == {Split.TRAIN}


@settings(deadline=None)
@given(st.randoms(use_true_random=False))
def test_order_plays_no_part(rng: random.Random) -> None:
    groups = list(_groups({"a": 30, "b": 3, "c": 1}).items())
    expected = split_groups(dict(groups), AIM)
    rng.shuffle(groups)
    assert split_groups(dict(groups), AIM) == expected


def test_joining_groups_move_none_of_a_large_class() -> None:
    before = split_groups(_groups({"a": 50, "b": 40}), AIM)
    after = split_groups(_groups({"a": 90, "b": 41, "c": 7}), AIM)
    assert {group: after[group] for group in before} == before


def test_a_split_without_a_fraction_stays_empty() -> None:
    splits = split_groups(_groups({"a": 60, "b": 3}), Fractions(train=0.85, val=0.15, test=0.0))
    assert set(splits.values()) == {Split.TRAIN, Split.VAL}


def test_groups_of_several_classes_are_not_moved_by_either() -> None:
    groups = _groups({"a": 3, "b": 3})
    mixed = next(digest for number in range(100) if split_of(digest := digest_of(f"m{number}"), AIM) is Split.VAL)
    splits = split_groups(groups | {mixed: frozenset({"a", "b"})}, AIM)
    assert splits[mixed] is Split.VAL
    assert {splits[digest_of(f"a {number}")] for number in range(3)} == ALL


def test_another_salt_is_another_draw() -> None:
    pairs = [(share(digest_of(str(number))), share(digest_of(str(number)), salt="x")) for number in range(200)]
    assert sum(first < 0.5 for first, second in pairs if second < 0.5) == pytest.approx(50, abs=20)


@pytest.mark.parametrize("parts", [(0.5, 0.5, 0.5), (0.0, 0.5, 0.5), (1.2, -0.2, 0.0)])
def test_impossible_fractions_are_refused(parts: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="fractions"):
        Fractions(train=parts[0], val=parts[1], test=parts[2])
