from __future__ import annotations

import numpy as np
import pytest

from converters.calibrate import observe_ranges
from converters.ranges import CUT_SHARE, TailTracker
from converters.types import CalibrationRange
from edge.errors import EdgeloopError


@pytest.mark.parametrize("share", [0.0, 1e-3, 0.01, 0.2])
@pytest.mark.parametrize("shape", ["normal", "relu6", "constant"])
def test_the_range_is_exactly_that_of_all_values_sorted(share, shape):
    rng = np.random.default_rng(8)
    make = {
        "normal": lambda: rng.normal(size=997),
        "relu6": lambda: np.clip(rng.normal(3, 4, size=997), 0, 6),
        "constant": lambda: np.full(997, 2.5),
    }[shape]
    parts = [make().astype(np.float32).reshape(1, 997) for _ in range(23)]
    tracker = TailTracker(share=share, total=997 * 23)
    for part in parts:
        tracker.see(part)
    ordered, cut = np.sort(np.concatenate(parts, axis=None)), int(share * 997 * 23)
    assert tracker.range().low == ordered[cut]
    assert tracker.range().high == ordered[-1 - cut]


def test_percentiles_lie_inside_the_exact_range(models):
    exact = observe_ranges(models.tflite, models.pixels, CalibrationRange.EXACT)
    cut = observe_ranges(models.tflite, models.pixels, CalibrationRange.P99_99)
    assert exact.keys() == cut.keys()
    assert all(exact[name].low <= cut[name].low <= cut[name].high <= exact[name].high for name in exact)
    assert any(exact[name].high > cut[name].high for name in exact)
    assert CUT_SHARE[CalibrationRange.P99_999] < CUT_SHARE[CalibrationRange.P99_99]


def test_ranges_are_the_true_ends_not_a_moving_average(models):
    """Against the network itself in torch, at a place where the graph has not been fused away."""
    import torch

    batch = torch.from_numpy(np.stack(models.pixels)).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        features, logits = models.network.features(batch).numpy(), models.network(batch).numpy()
    ranges = observe_ranges(models.tflite, models.pixels, CalibrationRange.EXACT)
    found = {(round(r.low, 3), round(r.high, 3)) for r in ranges.values()}
    for values in (features, logits):
        assert (round(float(values.min()), 3), round(float(values.max()), 3)) in found


def test_the_picture_is_always_0_to_255_with_its_border_too(models):
    dark = [np.full((32, 32, 3), 90, dtype=np.uint8)] * 2
    ranges = observe_ranges(models.tflite, dark, CalibrationRange.EXACT)
    full = [name for name, found in ranges.items() if (found.low, found.high) == (0.0, 255.0)]
    assert "serving_default_image" in full
    assert len(full) == 3  # as it came, with rows, with rows and columns around it


def test_calibration_needs_a_picture(models):
    with pytest.raises(EdgeloopError, match="at least one calibration picture"):
        observe_ranges(models.tflite, [], CalibrationRange.EXACT)
    with pytest.raises(EdgeloopError, match="at least one calibration picture"):
        TailTracker(share=0.0, total=0).range()
