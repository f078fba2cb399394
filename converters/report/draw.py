"""Plots as stand-alone SVG. The same values give the same bytes.

Colours are from Okabe and Ito's palette, which people with any colour vision tell apart.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from edge.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GOOD, BAD, ASK, BLANK = "#0072B2", "#D55E00", "#56B4E9", "#C8C8C8"
INK = "#555555"
MAX_NAME = 28
_WIDTH = 5.4
# What XML 1.0 does not allow, and what would break a line: one such character and no browser shows the plot.
_UNDRAWABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "edgeloop",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "grid.color": "#E2E2E2",
    "legend.frameon": False,
}


def draw(height: float, paint: Callable[[Axes], None], *, width: float = _WIDTH) -> bytes:
    """Makes one SVG.

    Args:
        height: In inches.
        paint: Draws into the axes.
        width: In inches.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ModuleNotFoundError as cause:
        raise MissingExtraError("matplotlib", "convert") from cause
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class name in a script that the measuring font lacks
        figure: Figure = Figure(figsize=(width, height), layout="constrained")
        paint(figure.add_subplot())
        target = io.BytesIO()
        figure.savefig(target, format="svg", metadata={"Date": None})
    return target.getvalue()


def bars(rows: Sequence[tuple[str, float]], axis: str, form: str, *, tails: Sequence[float] = ()) -> bytes:
    """Horizontal bars with their figures, from 0.

    Args:
        rows: Name and value of each bar, top to bottom, at least one.
        axis: What the values are, with unit.
        form: Format of a figure, for instance `{:.2f} ms`.
        tails: Of the first bars, a greater value to mark with a tick.
    """

    def paint(axes: Axes) -> None:
        places = range(len(rows))
        axes.barh(places, [value for _, value in rows], height=0.55, color=GOOD)
        axes.plot(tails, list(places)[: len(tails)], "|", color="black", markersize=14, markeredgewidth=1.5)
        ends = [max(value, tail) for (_, value), tail in zip(rows, [*tails, *[0.0] * len(rows)], strict=False)]
        for place, (_, value), end in zip(places, rows, ends, strict=True):
            axes.annotate(form.format(value), (end, place), (6, 0), textcoords="offset points", va="center")
        axes.set_yticks(places, [name for name, _ in rows])
        axes.invert_yaxis()
        axes.set_xlim(0, 1.25 * max(ends) or 1)
        axes.set_xlabel(axis)
        axes.grid(axis="x")

    return draw(0.38 * len(rows) + 0.7, paint)


def short(label: str, most: int = MAX_NAME) -> str:
    """A name that fits beside an axis, and that an SVG can hold.

    Args:
        label: Any string.
        most: Longest result, in characters.
    """
    shown = _UNDRAWABLE.sub("\N{REPLACEMENT CHARACTER}", label[: most + 1])
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def short_middle(label: str, most: int = MAX_NAME) -> str:
    """As `short`, for names whose end says as much as their beginning, like those of layers."""
    if len(label) <= most:
        return short(label, most)
    tail = 2 * most // 3
    return _UNDRAWABLE.sub("\N{REPLACEMENT CHARACTER}", f"{label[: most - 1 - tail]}…{label[-tail:]}")
