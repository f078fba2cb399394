"""Two reports side by side: do the same models say the same things on both machines, to the bit?"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from device_tests.report import OutputDigest, Report

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MIN_RANGE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One model on two machines.

    Attributes:
        bundle: Name and version of the bundle.
        artifact: File name of the model.
        recipe: How it was quantized.
        tolerance: Allowed difference as a fraction of the output's range; 0 asks for equality to the last bit.
        num_outputs: Outputs that both machines have.
        num_equal: How many of them are equal to the last bit.
        difference: Greatest difference of the values that were kept, as a fraction of the output's range; None where
            shapes differ.
    """

    bundle: str
    artifact: str
    recipe: str
    tolerance: float
    num_outputs: int
    num_equal: int
    difference: float | None

    @property
    def holds(self) -> bool:
        """Whether the difference is within the tolerance."""
        if self.num_equal == self.num_outputs:
            return True
        return self.difference is not None and self.tolerance > 0 and self.difference <= self.tolerance

    @property
    def verdict(self) -> str:
        """In words."""
        if self.num_equal == self.num_outputs:
            return "equal to the last bit"
        size = "in shape" if self.difference is None else f"by up to {self.difference:.3g} of the range"
        allowed = "must be equal" if self.tolerance == 0 else f"{self.tolerance:g} is allowed"
        return f"{'differs' if self.holds else 'DIFFERS'} {size}, {allowed}"


def compare_reports(first: Report, second: Report) -> tuple[Comparison, ...]:
    """Compares every model that both reports hold, by the digest of its file."""
    others = {_key(item): item for item in second.outputs}
    models = dict.fromkeys((item.bundle, item.artifact, item.artifact_sha256) for item in first.outputs)
    groups = ([item for item in first.outputs if _model(item) == model and _key(item) in others] for model in models)
    return tuple(_compare([(item, others[_key(item)]) for item in group]) for group in groups if group)


def comparison_lines(first: Report, second: Report) -> Iterator[str]:
    """A table for people."""
    names = [f"{report.device.device} ({report.device.machine}, {report.device.board})" for report in (first, second)]
    yield f"{names[0]} and {names[1]}:"
    rows = compare_reports(first, second)
    for row in rows:
        counted = f"{row.num_equal} of {row.num_outputs} equal"
        yield f"  {row.bundle}  {row.artifact}  {row.recipe}: {row.verdict} ({counted})"
    if not rows:
        yield "  no model is in both reports"


def both_hold(first: Report, second: Report) -> bool:
    """Whether there is something to compare, and nothing differs more than it may."""
    rows = compare_reports(first, second)
    return bool(rows) and all(row.holds for row in rows)


def _key(item: OutputDigest) -> tuple[str, str, str]:
    return item.artifact_sha256, item.input, item.output


def _model(item: OutputDigest) -> tuple[str, str, str]:
    return item.bundle, item.artifact, item.artifact_sha256


def _compare(pairs: Sequence[tuple[OutputDigest, OutputDigest]]) -> Comparison:
    item = pairs[0][0]
    return Comparison(
        bundle=item.bundle,
        artifact=item.artifact,
        recipe=item.recipe,
        tolerance=item.tolerance,
        num_outputs=len(pairs),
        num_equal=sum(one.sha256 == other.sha256 for one, other in pairs),
        difference=_difference(pairs),
    )


def _difference(pairs: Sequence[tuple[OutputDigest, OutputDigest]]) -> float | None:
    """Greatest difference as a fraction of the range of each output over all pictures."""
    import numpy as np

    ranges = _ranges([one for one, _ in pairs])
    found = 0.0
    for one, other in pairs:
        if one.sha256 == other.sha256:
            continue
        if one.shape != other.shape:
            return None
        found = max(found, float(np.abs(_values(one) - _values(other)).max()) / ranges[one.output])
    return found


def _ranges(items: Sequence[OutputDigest]) -> Mapping[str, float]:
    arrays: dict[str, list[npt.NDArray[np.float64]]] = {}
    for item in items:
        arrays.setdefault(item.output, []).append(_values(item))
    return {
        name: max(MIN_RANGE, float(max(a.max() for a in found) - min(a.min() for a in found)))
        for name, found in arrays.items()
    }


def _values(item: OutputDigest) -> npt.NDArray[np.float64]:
    import numpy as np

    return np.frombuffer(base64.b64decode(item.values), dtype="<f4").astype(np.float64)
