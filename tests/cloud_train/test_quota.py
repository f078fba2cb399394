"""Token buckets, and the memory of those of many devices."""

from __future__ import annotations

import pytest

from cloud_train.ingest.quota import Bucket, QuotaLimits, Quotas, Rate, spend

TEN_A_MINUTE = Rate(amount=10, period_s=60)
LIMITS = QuotaLimits(bytes_per_day=86_400, samples_per_minute=10, offers_per_minute=0)


def spend_often(
    rate: Rate, times: int, *, now: float, bucket: Bucket | None = None
) -> tuple[Bucket | None, list[float]]:
    waits = []
    for _ in range(times):
        bucket, wait_s = spend(bucket, rate, 1.0, now=now)
        waits.append(wait_s)
    return bucket, waits


def test_a_fresh_bucket_is_full_and_says_when_there_is_more() -> None:
    bucket, waits = spend_often(TEN_A_MINUTE, 12, now=100.0)
    assert waits == [0.0] * 10 + [6.0, 6.0]
    assert bucket == Bucket(level=0.0, at=100.0)
    _, wait_s = spend(bucket, TEN_A_MINUTE, 1.0, now=104.5)
    assert wait_s == pytest.approx(1.5)
    _, wait_s = spend(bucket, TEN_A_MINUTE, 1.0, now=106.0)
    assert wait_s == 0.0


def test_it_never_holds_more_than_the_whole() -> None:
    bucket, _ = spend_often(TEN_A_MINUTE, 10, now=0.0)
    _, waits = spend_often(TEN_A_MINUTE, 11, now=1e6, bucket=bucket)
    assert waits == [0.0] * 10 + [6.0]


def test_something_larger_than_the_whole_passes_when_it_is_full_and_is_paid_for() -> None:
    rate = Rate(amount=100, period_s=10)
    bucket, wait_s = spend(None, rate, 250, now=0.0)
    assert (bucket.level, wait_s) == (-150.0, 0.0)
    assert spend(bucket, rate, 1, now=0.0)[1] == pytest.approx(15.1)
    assert spend(bucket, rate, 1, now=15.2)[1] == 0.0


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket, _ = spend_often(TEN_A_MINUTE, 10, now=1000.0)
    bucket, wait_s = spend(bucket, TEN_A_MINUTE, 1.0, now=0.0)
    assert wait_s == 6.0
    assert spend(bucket, TEN_A_MINUTE, 1.0, now=6.0)[1] == 0.0


def test_no_limit_never_waits() -> None:
    assert all(wait == 0.0 for wait in spend_often(Rate(amount=0, period_s=60), 1000, now=0.0)[1])


def test_several_amounts_are_spent_all_or_none() -> None:
    quotas = Quotas(LIMITS)
    for _ in range(9):
        assert quotas.spend("a", {"samples": 1, "bytes": 1000}, now=0.0) == ("", 0.0)
    assert quotas.spend("a", {"samples": 1, "bytes": 80_000}, now=0.0) == ("bytes", pytest.approx(2600.0))
    assert quotas.spend("a", {"samples": 1, "bytes": 1}, now=0.0) == ("", 0.0)
    assert quotas.spend("a", {"samples": 1, "bytes": 1}, now=0.0)[0] == "samples"


def test_devices_do_not_share_and_looking_spends_nothing() -> None:
    quotas = Quotas(LIMITS)
    for _ in range(50):
        assert quotas.look("a", {"samples": 1, "offers": 1}, now=0.0) == ("", 0.0)
    for _ in range(10):
        quotas.spend("a", {"samples": 1}, now=0.0)
    assert quotas.look("a", {"samples": 1}, now=0.0) == ("samples", 6.0)
    assert quotas.spend("b", {"samples": 1}, now=0.0) == ("", 0.0)


def test_the_memory_of_devices_is_bounded_and_forgets_who_was_silent_longest() -> None:
    quotas = Quotas(LIMITS, max_devices=3)
    for name in "abc":
        quotas.spend(name, {"samples": 10}, now=0.0)
    quotas.look("a", {"samples": 1}, now=0.0)
    quotas.spend("d", {"samples": 10}, now=0.0)
    assert len(quotas) == 3
    assert quotas.look("a", {"samples": 1}, now=0.0)[1] > 0
    assert quotas.look("b", {"samples": 1}, now=0.0) == ("", 0.0)
