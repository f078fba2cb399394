"""How long an answer takes: encoded picture to decision, one thread, after warm-up."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from device_tests.models import artifact_digest, bundle_title, variants
from device_tests.plan import VECTORS, Check, Finding, MismatchError, Plan, bundle_name, opened
from device_tests.reference import slower_than
from device_tests.report import LatencyFigure
from edge.bundle.reader import Bundle
from edge.engine import open_engine

PICTURE = VECTORS / "large-eighth.jpg"


def latency_checks(plan: Plan) -> Iterator[Check]:
    """One check for each bundle, over all its models."""
    for path in plan.bundles:
        yield Check(group="latency", name=bundle_name(path), run=partial(_measure_bundle, plan, path))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all values do not exceed (nearest rank).

    Args:
        values: At least one.
        share: Above 0, at most 1.
    """
    ordered = sorted(values)
    return ordered[math.ceil(share * len(ordered)) - 1]


def _measure_bundle(plan: Plan, path: Path) -> Finding:
    with opened(path) as bundle:
        figures = tuple(_measure(plan, bundle, variant) for variant in variants(bundle))
    words, slow = [], False
    for figure in figures:
        against, is_slow = slower_than(plan.reference, figure, factor=plan.slow_factor)
        slow = slow or is_slow
        words.append(f"{figure.artifact} p50 {figure.p50_ms:.2f} ms, p95 {figure.p95_ms:.2f} ms, {against}")
    if slow and plan.strict_latency:
        raise MismatchError(f"{'; '.join(words)}: more than {plan.slow_factor:g}x is too slow")
    return Finding(detail="; ".join(words), slow=slow, latency=figures)


def _measure(plan: Plan, bundle: Bundle, variant: str) -> LatencyFigure:
    data = PICTURE.read_bytes()
    total_ms, network_ms = [], []
    with open_engine(bundle, artifact=variant, allow_unproven=True) as engine:
        artifacts = engine.artifacts
        for _ in range(1 + plan.num_warm_up_frames):  # the first one loads the models
            engine.infer(data)
        for _ in range(plan.num_latency_frames):
            start = time.perf_counter()
            inference = engine.infer(data)
            total_ms.append((time.perf_counter() - start) * 1000)
            network_ms.append(inference.timings.infer_ms)
    return LatencyFigure(
        bundle=bundle_title(bundle),
        artifact="+".join(artifact.file for artifact in artifacts),
        artifact_sha256=artifact_digest(bundle, *artifacts),
        num_frames=plan.num_latency_frames,
        p50_ms=round(percentile(total_ms, 0.5), 4),
        p95_ms=round(percentile(total_ms, 0.95), 4),
        network_p50_ms=round(percentile(network_ms, 0.5), 4),
    )
