"""Parity: preprocessing gives the vectors' tensors to the bit, and every bundle gives its golden outputs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from device_tests.models import bundle_title, runnable, variants
from device_tests.picture_vectors import PreprocessVector, check_vector, load_vectors
from device_tests.plan import VECTORS, Check, Finding, Plan, bundle_name, opened
from edge.bundle.golden_reader import load_golden
from edge.bundle.reader import Bundle
from edge.engine import open_engine
from edge.update.selftest import self_test


def preprocess_checks(plan: Plan) -> Iterator[Check]:
    """One check for each picture and spec."""
    for vector in load_vectors():
        yield Check(group="preprocess", name=vector.name, run=partial(_preprocess_finding, vector))


def bundle_checks(plan: Plan) -> Iterator[Check]:
    """One check for each bundle: its golden vectors, and one picture through the whole engine."""
    for path in plan.bundles:
        yield Check(group="bundle", name=bundle_name(path), run=partial(_bundle_finding, path))


def check_bundle(path: Path) -> str:
    """Opens a bundle folder or archive, runs its golden vectors, and one picture through the whole engine.

    Returns:
        One line: what was run.

    Raises:
        EdgeloopError: The bundle is damaged, or the device differs.
        SkippedError: No runtime for any of its models is installed.
    """
    with opened(path) as bundle:
        runnable(bundle)
        if not bundle.manifest.golden_file:
            return _run_engine(bundle, VECTORS / "rgb.png") + " (imported, no golden vectors)"
        self_test(bundle)
        return _run_engine(bundle, bundle.path(load_golden(bundle).vectors[0].input_file))


def _run_engine(bundle: Bundle, picture: Path) -> str:
    ran = []
    for variant in variants(bundle):
        with open_engine(bundle, artifact=variant, allow_unproven=True) as engine:
            ran.append(engine.infer(picture).artifact)
    return f"{bundle_title(bundle)}: {', '.join(ran)}"


def _preprocess_finding(vector: PreprocessVector) -> Finding:
    check_vector(vector)
    return Finding()


def _bundle_finding(path: Path) -> Finding:
    return Finding(detail=check_bundle(path))
