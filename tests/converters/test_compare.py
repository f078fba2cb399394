from __future__ import annotations

import numpy as np
import pytest

from converters.compare import output_error, paired_interval, unseen_bound
from edge.errors import UsageError


def test_paired_interval_agrees_with_drawing_pictures_one_by_one():
    rng = np.random.default_rng(5)
    differences = rng.choice([-1.0, 0.0, 0.0, 0.0, 1.0, 1.0], size=150)
    mean, lower, upper = paired_interval(differences, resamples=8000)
    drawn = differences[rng.integers(0, 150, size=(8000, 150))].mean(axis=1)
    assert mean == pytest.approx(differences.mean())
    assert (lower, upper) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.012)


def test_paired_interval_of_real_numbers_is_the_normal_one_for_many_pictures():
    differences = np.random.default_rng(1).normal(0.3, 2.0, size=4000)
    mean, lower, upper = paired_interval(differences)
    half = 1.96 * differences.std() / np.sqrt(4000)
    assert (lower, upper) == pytest.approx((mean - half, mean + half), abs=0.006)


def test_paired_interval_covers_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(2)
    hits = 0
    for trial in range(300):
        _, lower, upper = paired_interval(
            rng.choice([-1, 0, 1], p=[0.1, 0.6, 0.3], size=200), seed=trial, resamples=500
        )
        hits += lower <= 0.2 <= upper
    assert 0.90 <= hits / 300 <= 0.985


def test_paired_interval_depends_on_the_seed_and_on_nothing_else():
    differences = [0.0, 1.0, -1.0, 1.0, 0.0, 0.5] * 9
    assert paired_interval(differences, seed=4) == paired_interval(list(reversed(differences)), seed=4)
    assert paired_interval(differences, seed=4) != paired_interval(differences, seed=5)


def test_no_pictures_have_no_interval():
    with pytest.raises(UsageError, match="at least one picture"):
        paired_interval([])


@pytest.mark.parametrize(("num", "bound"), [(1, 0.975), (20, 0.1684), (200, 0.01828), (1000, 0.003682)])
def test_unseen_bound_is_clopper_and_pearson(num, bound):
    assert unseen_bound(num) == pytest.approx(bound, rel=1e-3)


def test_output_error_by_hand():
    reference = np.array([[3.0, 4.0], [1.0, 0.0]], dtype=np.float32)
    error = output_error("logits", reference, reference + np.array([[0.5, 0.0], [0.0, -0.5]], dtype=np.float32))
    assert (error.output, error.max_abs, error.mean_abs) == ("logits", 0.5, 0.25)
    assert error.sqnr_db == pytest.approx(10 * np.log10(26 / 0.5), abs=0.01)
    assert error.cosine == pytest.approx((26.5 / (5 * np.hypot(3.5, 4)) + 1 / np.hypot(1, 0.5)) / 2, abs=1e-4)


def test_equal_outputs_are_200_db_apart_and_lost_ones_never_better_than_0():
    reference = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    assert output_error("logits", reference, reference).sqnr_db == 200
    assert output_error("logits", reference, np.zeros_like(reference)).sqnr_db == 0
