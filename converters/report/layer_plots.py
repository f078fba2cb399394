"""The plots of what quantization does to each layer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from converters.report.draw import BAD, GOOD, draw, short, short_middle
from converters.report.proof_words import decibels
from converters.types import LayerError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_LAYERS = 30
_MAX_DB = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bar:
    """One layer among others.

    Attributes:
        name: Beside the axis.
        value: Signal to noise, in decibels.
        note: Behind the value.
        colour: Of the bar.
    """

    name: str
    value: float
    note: str
    colour: str = GOOD


def layer_plot(layers: Sequence[LayerError]) -> bytes:
    """Noise of every layer by name, in the order of execution; of more than 30 the noisiest, still in that order."""
    places = range(len(layers))
    noisiest = sorted(places, key=lambda place: layers[place].sqnr_db)[:MAX_LAYERS]
    shown = [(place + 1, layers[place]) for place in sorted(noisiest)]
    bars = [
        _Bar(name=f"{number} {_layer_name(one)}", value=one.sqnr_db, note=short(one.operation)) for number, one in shown
    ]
    return _noise_bars(bars, "signal to noise, dB")


def course_plot(layers: Sequence[LayerError]) -> bytes:
    """Noise from the first layer to the last, as one line; empty where the bars show every layer anyway."""
    if len(layers) <= MAX_LAYERS:
        return b""

    def paint(axes: Axes) -> None:
        values = [min(one.sqnr_db, _MAX_DB) for one in layers]
        axes.plot(range(1, len(values) + 1), values, color=GOOD, linewidth=1.2, marker=".", markersize=3)
        axes.set_ylim(min(0.0, *values), 1.05 * max(1.0, *values))
        axes.set_xlim(0, len(values) + 1)
        axes.set_xlabel("layer, in the order of execution")
        axes.set_ylabel("signal to noise, dB")
        axes.grid()

    return draw(2.4, paint)


def sensitivity_plot(layers: Sequence[LayerError], float_layers: Collection[str]) -> bytes:
    """What quantizing one layer alone does to the outputs, the most harmful layer first; those left float stand out."""
    bars = []
    for one in layers[:MAX_LAYERS]:
        colour, note = (BAD, " [float]") if one.layer in float_layers else (GOOD, "")
        bars.append(_Bar(name=_layer_name(one), value=one.sqnr_db, note=f"{short(one.operation)}{note}", colour=colour))
    return _noise_bars(bars, "signal to noise of the outputs, dB")


def _noise_bars(bars: Sequence[_Bar], axis: str) -> bytes:
    """Bars with names; those of equal outputs are cut at 100 dB and say so."""
    if not bars:
        return b""

    def paint(axes: Axes) -> None:
        ends = [min(bar.value, _MAX_DB) for bar in bars]
        axes.barh(range(len(bars)), ends, height=0.62, color=[bar.colour for bar in bars])
        for place, (end, bar) in enumerate(zip(ends, bars, strict=True)):
            words, start = f"{decibels(bar.value)}  {bar.note}", (max(end, 0), place)
            axes.annotate(words, start, (4, 0), textcoords="offset points", va="center", fontsize=6.5)
        axes.set_yticks(range(len(bars)), [bar.name for bar in bars], fontsize=7)
        axes.set_ylim(len(bars) - 0.4, -0.6)
        axes.set_xlim(min(0.0, *ends), 1.6 * max(1.0, *ends))
        axes.set_xlabel(axis)
        axes.grid(axis="x")

    return draw(0.17 * len(bars) + 0.8, paint)


def _layer_name(one: LayerError) -> str:
    """The first of the names that TFLite joins when it fuses operations says which layer it is."""
    return short_middle(one.layer.partition(";")[0] or one.layer, 34)
