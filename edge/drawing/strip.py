"""The strip below a drawing: the decision in a word, what was found in how many, the rest of the answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from edge.drawing.lettering import Lettering
from edge.drawing.marks import NEUTRAL, WHITE, Rgb, ink_on
from edge.types import Outcome

if TYPE_CHECKING:
    from PIL import ImageDraw

GROUND: Rgb = (24, 24, 27)
MAX_DETAILS = 5
MAX_ROWS = 12
_OUTCOMES: dict[Outcome, Rgb] = {
    Outcome.ACCEPT: (0, 158, 115),
    Outcome.CONFIRM: (240, 228, 66),
    Outcome.UNKNOWN: NEUTRAL,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StripText:
    """What is written below a drawing.

    Attributes:
        outcome: The decision.
        reason: Why, in a word or two.
        summary: The answer in a few words; empty where there is a legend.
        legend: Number and label of what was found, with its colour.
        details: Other lines.
    """

    outcome: Outcome
    reason: str
    summary: str
    legend: tuple[tuple[str, Rgb], ...]
    details: tuple[str, ...]

    def texts(self) -> tuple[str, ...]:
        """All of it, for the choice of a font."""
        return (self.reason, self.summary, *(text for text, _ in self.legend), *self.details)


@dataclass(frozen=True, kw_only=True)
class Strip:
    """The strip with its place.

    Attributes:
        text: What is written.
        letters: The font.
        width: Pixels.
    """

    text: StripText
    letters: Lettering
    width: int

    @property
    def gap(self) -> int:
        """Pixels around everything."""
        return self.letters.height // 3

    @property
    def height(self) -> int:
        """Pixels that the strip needs."""
        lines = 1 + len(self._legend_rows) + min(MAX_DETAILS, len(self.text.details))
        return lines * (self.letters.height + self.gap) + 2 * self.gap

    def draw(self, draw: ImageDraw.ImageDraw, top: int) -> None:
        """Draws it from `top` on."""
        draw.rectangle((0, top, self.width, top + self.height), fill=GROUND)
        y = top + self.gap
        self._draw_decision(draw, y)
        for row in self._legend_rows:
            y += self.letters.height + self.gap
            for x, text, colour in row:
                self._draw_entry(draw, x, y, text, colour)
        for line in self.text.details[:MAX_DETAILS]:
            y += self.letters.height + self.gap
            self._write(draw, 2 * self.gap, y, line, WHITE)

    def _draw_decision(self, draw: ImageDraw.ImageDraw, y: int) -> None:
        word, colour = self.text.outcome.value.upper(), _OUTCOMES[self.text.outcome]
        right = 4 * self.gap + self.letters.width(word)
        draw.rectangle((self.gap, y, right, y + self.letters.height), fill=colour)
        self._write(draw, 2.5 * self.gap, y, word, ink_on(colour))
        rest = f"{self.text.summary} ({self.text.reason})" if self.text.summary else self.text.reason
        self._write(draw, right + 2 * self.gap, y, rest, WHITE)

    def _draw_entry(self, draw: ImageDraw.ImageDraw, x: int, y: int, text: str, colour: Rgb) -> None:
        side = self.letters.height - self.gap
        draw.rectangle((x, y + self.gap // 2, x + side, y + self.gap // 2 + side), fill=colour, outline=WHITE)
        self._write(draw, x + side + self.gap, y, text, WHITE)

    def _write(self, draw: ImageDraw.ImageDraw, x: float, y: float, text: str, colour: Rgb) -> None:
        fitted = self.letters.fitted(text, int(self.width - x - self.gap))
        draw.text((x, y + self.letters.height * 0.08), fitted, fill=colour, font=self.letters.font)

    @cached_property
    def _legend_rows(self) -> list[list[tuple[int, str, Rgb]]]:
        """Entries side by side, as many as fit into a row; what does not fit into the last row is said."""
        rows = list(self._rows())
        if len(rows) <= MAX_ROWS:
            return rows
        more = sum(len(row) for row in rows[MAX_ROWS - 1 :])
        return [*rows[: MAX_ROWS - 1], [(2 * self.gap, f"and {more} more", GROUND)]]

    def _rows(self) -> Iterator[list[tuple[int, str, Rgb]]]:
        row: list[tuple[int, str, Rgb]] = []
        x = 2 * self.gap
        for text, colour in self.text.legend:
            needed = self.letters.height + self.letters.width(text) + 3 * self.gap
            if row and x + needed > self.width:
                yield row
                row, x = [], 2 * self.gap
            row.append((x, text, colour))
            x += needed
        if row:
            yield row
