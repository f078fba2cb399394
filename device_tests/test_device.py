from __future__ import annotations

import pytest

from device_tests.report import CheckResult, Status


def test_check(result: CheckResult) -> None:
    if result.status is Status.SKIPPED:
        pytest.skip(result.detail)
    assert result.status is not Status.FAILED, result.detail
